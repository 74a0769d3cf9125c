//! Exactly once, for operations that add or trigger something: a job that is run again sends only what its earlier
//! attempts did not deliver. They tell by their receipts, which are artifacts, and by nothing else: one that ended well may
//! have been switched off, filtered, or found that nothing had happened.

use std::time::SystemTime;

use serde_json::json;

use super::receipt::{Entry, Receipt};
use crate::{
    delivery::result::DeliveryResult,
    destinations::Target,
    event::Event,
    gitlab::job::{Job, Status},
    redaction::Redactor,
    report::class::Class,
    time,
    variables::Values,
};

/// An earlier attempt of this job, and its receipt if it left one.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The job.
    pub job: Job,
    /// Its receipt.
    pub receipt: Option<Receipt>,
}

impl Attempt {
    /// What calls before this one, in the same job, left in doubt, as its `receipt` says; none if there is nothing. What
    /// they have sent may be meant to be sent again, with other settings: that a call ended, its script knows.
    pub fn of_this_job(receipt: &Receipt) -> Option<Self> {
        let mut receipt = receipt.clone();
        // What was held back was not sent by them.
        receipt
            .earlier
            .retain(|entry| entry.ambiguous && (entry.under_way || entry.attempts > 0));
        Self::of_calls_before(receipt)
    }

    /// All that calls before this one, in the same job, left, as its receipt says: for a call that never means to send again
    /// what another one has sent.
    pub fn of_calls_before(receipt: Receipt) -> Option<Self> {
        if receipt.earlier.is_empty() {
            return None;
        }
        let id: u64 = receipt.origin.job_id.as_deref()?.parse().ok()?;
        let job = Job::from_json(&json!({"id": id, "name": "this job", "status": Status::Running.word()}))?;
        Some(Self {
            job,
            receipt: Some(receipt),
        })
    }
}

/// What the earlier attempts mean for one delivery.
#[derive(Debug, PartialEq, Eq)]
pub enum Decision {
    /// It was not delivered, as far as can be known for certain.
    Send,
    /// It can't be known.
    Doubt(Doubt),
    /// It was delivered, as this says.
    Skip(String),
}

/// That an earlier attempt may have delivered it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// Which attempt, and why that can't be known.
    pub why: String,
    /// No attempt that may have delivered it began before this.
    pub since: SystemTime,
}

/// Decides whether `event` still has to go to `target`, and there to `receiver`, if it has several.
pub fn decide(
    attempts: &[Attempt],
    target: &Target,
    receiver: Option<&str>,
    event: &Event,
    redactor: &Redactor,
) -> Decision {
    let mut unsure: Vec<&Job> = Vec::new();
    let mut lost: Vec<&Job> = Vec::new();
    for Attempt { job, receipt } in attempts {
        match receipt {
            Some(receipt) => {
                for entry in entries(receipt, target, receiver, event, redactor) {
                    if entry.class == Class::Sent {
                        return Decision::Skip(format!("job {}, an earlier attempt, has sent it", job.id));
                    }
                    if entry.class == Class::Unavailable && entry.accepted {
                        return Decision::Skip(format!(
                            "job {}, an earlier attempt, has sent it and it was accepted; how it ended was not seen",
                            job.id
                        ));
                    }
                    if entry.ambiguous || entry.in_doubt {
                        lost.push(job);
                    }
                }
            }
            // What never began has sent nothing.
            None if job.started_at.is_none() => {}
            None if ended_before(job, event) => {}
            None => unsure.push(job),
        }
    }
    if !lost.is_empty() {
        let why = format!(
            "an earlier attempt (job {}) sent it and saw no answer that tells, so it can't be known whether it was processed",
            ids(&lost)
        );
        lost.extend(unsure);
        return Decision::Doubt(Doubt {
            why,
            since: since(&lost),
        });
    }
    if unsure.is_empty() {
        return Decision::Send;
    }
    Decision::Doubt(Doubt {
        why: format!(
            "an earlier attempt (job {}) left no receipt, so it can't be known whether it sent this already (with \
             NOTIFY_OUTPUT_DIR kept as an artifact it would be known)",
            ids(&unsure)
        ),
        since: since(&unsure),
    })
}

fn ids(jobs: &[&Job]) -> String {
    let mut ids: Vec<u64> = jobs.iter().map(|job| job.id).collect();
    ids.sort_unstable();
    ids.dedup();
    let ids: Vec<String> = ids.iter().map(u64::to_string).collect();
    ids.join(", ")
}

/// When the first of these began; where that is not known, everything there ever was may be of them.
fn since(jobs: &[&Job]) -> SystemTime {
    let started = jobs.iter().map(|job| time::parse(job.started_at.as_deref()?));
    let first = started.collect::<Option<Vec<SystemTime>>>();
    first
        .and_then(|all| all.into_iter().min())
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The variables of which earlier attempts left nothing to do, although the rest failed.
pub fn completed(
    attempts: &[Attempt],
    target: &Target,
    receiver: Option<&str>,
    event: &Event,
    redactor: &Redactor,
) -> Vec<&'static str> {
    let receipts = attempts.iter().filter_map(|attempt| attempt.receipt.as_ref());
    let names: Vec<&String> = receipts
        .flat_map(|receipt| entries(receipt, target, receiver, event, redactor))
        .flat_map(|entry| &entry.completed)
        .collect();
    let declared = target.destination.variables().map(|variable| variable.name);
    declared
        .filter(|name| names.iter().any(|completed| completed == name))
        .collect()
}

/// What receipts say of an operation that is to be made up for.
#[derive(Debug, PartialEq, Eq)]
pub enum Told {
    /// This very event was sent in the end.
    Sent,
    /// The operation was tried, and failed.
    Failed,
    /// Neither.
    Nothing,
}

/// What `receipts` say of the operation of `target`, and of `event` in particular, which is kept in a file of the name
/// `file`: a receipt that lists it among what is undelivered tells of another delivery of the same event.
pub fn told<'a>(
    receipts: impl Iterator<Item = &'a Receipt> + Clone,
    target: &Target,
    receiver: Option<&str>,
    event: &Event,
    file: &str,
    redactor: &Redactor,
) -> Told {
    let of_event = |receipt: &'a Receipt| {
        let is_kept = receipt.undelivered.iter().any(|kept| kept.ends_with(file));
        // A later call of the same job that had nothing to do takes nothing back.
        entries(receipt, target, receiver, event, redactor)
            .filter(|entry| entry.class != Class::Skipped)
            .last()
            .filter(|_| !is_kept)
    };
    let is_sent = |entry: &Entry| entry.class == Class::Sent;
    if receipts.clone().filter_map(of_event).any(is_sent) {
        return Told::Sent;
    }
    let is_failure = |entry: &Entry| {
        entry.destination == target.destination.name
            && entry.operation == target.operation.name
            && entry.class.is_failure()
    };
    if receipts.flat_map(Receipt::entries).any(is_failure) {
        Told::Failed
    } else {
        Told::Nothing
    }
}

/// What a receipt says of this very event and this very operation. Receipts are written with secrets hidden, so what is
/// compared with them is hidden too.
fn entries<'a>(
    receipt: &'a Receipt,
    target: &Target,
    receiver: Option<&str>,
    event: &Event,
    redactor: &Redactor,
) -> impl Iterator<Item = &'a Entry> {
    let hidden = |text: Option<String>| text.map(|text| redactor.text(&text));
    let nothing = DeliveryResult::unsent(Class::Skipped, "", None);
    let mut ours = Entry::new(target, Some(event), &Values::default(), &nothing);
    ours.receiver = receiver.map(str::to_owned);
    ours.event_id = hidden(ours.event_id);
    ours.event_name = hidden(ours.event_name);
    ours.action = hidden(ours.action);
    if let Some(run) = &mut ours.deploy_run {
        run.started_at = hidden(run.started_at.take());
        run.job_url = hidden(run.job_url.take());
    }
    let is_given = event.action_is_given();
    let is_same = move |entry: &&Entry| entry.is_about(&ours) && (is_given || entry.deploy_run == ours.deploy_run);
    receipt.entries().filter(is_same)
}

/// Whether an attempt had ended when the run began that is to be reported, so that it can't have told of it: from inside a
/// deploy job, each attempt is a run of its own. What is fixed by a variable is the same in every run.
fn ended_before(attempt: &Job, event: &Event) -> bool {
    let read = |moment: &Option<String>| moment.as_deref().and_then(time::parse);
    let moments = read(&attempt.finished_at).zip(read(&event.job.started_at));
    !event.action_is_given() && moments.is_some_and(|(end, start)| end <= start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(action: &str, source: &str, finished_at: Option<&str>) -> Event {
        Event::from_json(&json!({
            "schema_version": 1, "name": "deployment", "action": action, "action_source": source, "id": "shop-1",
            "time": "2025-03-01T10:10:00Z", "finished_at": finished_at,
        }))
        .unwrap()
    }

    fn attempt(id: u64, status: &str, receipt: Option<Receipt>) -> Attempt {
        let job = json!({"id": id, "name": "notify", "status": status, "started_at": "2025-03-01T10:05:00.000Z"});
        Attempt {
            job: Job::from_json(&job).unwrap(),
            receipt,
        }
    }

    fn receipt(class: &str, action: &str) -> Receipt {
        let json = json!({"destinations": [{
            "destination": "cto", "operation": "event", "class": class, "event_id": "shop-1",
            "event_name": "deployment", "action": action,
        }]});
        Receipt::from_json(&json).unwrap()
    }

    fn sent(event: &Event) -> Receipt {
        let mut receipt = receipt("sent", event.known_action().unwrap());
        receipt.destinations[0].deploy_run = Some(event.deploy_run());
        receipt
    }

    fn decision(attempts: &[Attempt], event: &Event) -> Decision {
        decide(
            attempts,
            &Target::parse("cto").unwrap(),
            None,
            event,
            &Redactor::default(),
        )
    }

    #[test]
    fn a_call_of_the_same_job_knows_what_the_one_before_left_in_doubt() {
        let event = event("success", GIVEN, None);
        let mut before = receipt("unavailable", "success");
        before.origin.job_id = Some("991".to_owned());
        let attempt =
            |before: &Receipt| Attempt::of_this_job(&Receipt::begun(before.origin.clone(), Some(before.clone())));
        assert!(attempt(&before).is_none(), "it failed for certain");
        before.destinations[0].ambiguous = true;
        before.destinations[0].under_way = true;
        let doubted = [attempt(&before).unwrap()];
        assert!(matches!(decision(&doubted, &event), Decision::Doubt(doubt) if doubt.why.contains("job 991")));
        before.destinations[0].class = Class::Sent;
        before.destinations[0].ambiguous = false;
        assert!(attempt(&before).is_none(), "a second one may be meant");
    }

    #[test]
    fn receipts_tell_of_an_operation_and_of_one_event() {
        let event = event("success", GIVEN, None);
        let target = |label: &str| Target::parse(label).unwrap();
        let told = |receipts: &[Receipt], label: &str| {
            told(
                receipts.iter(),
                &target(label),
                None,
                &event,
                "a.json",
                &Redactor::default(),
            )
        };
        let mut listed = receipt("sent", "success");
        listed.undelivered = vec!["undelivered/a.json".to_owned()];
        let then = |first: &str, second: &str| Receipt {
            earlier: receipt(first, "success").destinations,
            ..receipt(second, "success")
        };
        for (receipts, expected) in [
            (vec![], Told::Nothing),
            (vec![receipt("skipped", "success")], Told::Nothing),
            (vec![receipt("sent", "success")], Told::Sent),
            (vec![receipt("sent", "failure")], Told::Nothing),
            (vec![receipt("rejected", "failure")], Told::Failed),
            (
                vec![receipt("unavailable", "success"), receipt("sent", "success")],
                Told::Sent,
            ),
            (vec![listed.clone()], Told::Nothing),
            (vec![then("sent", "skipped")], Told::Sent),
            (vec![then("sent", "rejected")], Told::Failed),
            (vec![then("rejected", "skipped")], Told::Failed),
            (vec![listed, receipt("unavailable", "failure")], Told::Failed),
        ] {
            assert_eq!(told(&receipts, "cto"), expected, "{receipts:?}");
            assert_eq!(told(&receipts, "rely"), Told::Nothing, "{receipts:?}");
        }
    }

    const GIVEN: &str = "from EVENT_ACTION";
    const FOUND: &str = "from GitLab's jobs: job `deploy` succeeded";

    #[test]
    fn the_first_attempt_sends() {
        assert_eq!(decision(&[], &event("success", GIVEN, None)), Decision::Send);
    }

    #[test]
    fn what_a_receipt_says_was_sent_is_not_sent_again() {
        let attempts = [
            attempt(2, "failed", Some(receipt("unavailable", "success"))),
            attempt(1, "failed", Some(receipt("sent", "success"))),
        ];
        assert!(
            matches!(decision(&attempts, &event("success", GIVEN, None)), Decision::Skip(why) if why.contains("job 1"))
        );
    }

    #[test]
    fn what_failed_is_sent_again_and_so_is_another_truth() {
        let failed = [attempt(1, "failed", Some(receipt("unavailable", "success")))];
        assert_eq!(decision(&failed, &event("success", GIVEN, None)), Decision::Send);
        let other = [attempt(1, "success", Some(receipt("sent", "failure")))];
        assert_eq!(decision(&other, &event("success", FOUND, None)), Decision::Send);
    }

    #[test]
    fn what_may_have_been_sent_stays_in_doubt_until_it_is_known() {
        let doubtful = |key: &str| {
            let mut receipt = receipt("unavailable", "success");
            match key {
                "ambiguous" => receipt.destinations[0].ambiguous = true,
                _ => receipt.destinations[0].in_doubt = true,
            }
            receipt
        };
        let event = event("success", GIVEN, None);
        for key in ["ambiguous", "in_doubt"] {
            let attempts = [
                attempt(3, "failed", Some(receipt("rejected", "success"))),
                attempt(2, "failed", Some(doubtful(key))),
                attempt(1, "failed", Some(receipt("unavailable", "success"))),
            ];
            match decision(&attempts, &event) {
                Decision::Doubt(doubt) => {
                    assert!(doubt.why.contains("(job 2)"), "{}", doubt.why);
                    assert_eq!(Some(doubt.since), time::parse("2025-03-01T10:05:00Z"));
                }
                other => panic!("{other:?}"),
            }
            let mut sent = attempts.to_vec();
            sent.push(attempt(4, "success", Some(receipt("sent", "success"))));
            assert!(matches!(decision(&sent, &event), Decision::Skip(why) if why.contains("job 4")));
        }
    }

    #[test]
    fn an_attempt_that_never_began_has_sent_nothing() {
        let mut never = attempt(1, "canceled", None);
        never.job.started_at = None;
        assert_eq!(decision(&[never], &event("success", GIVEN, None)), Decision::Send);
    }

    #[test]
    fn a_second_run_of_the_deploy_job_is_another_run() {
        let first = event("failure", FOUND, None);
        let mut second = event("failure", FOUND, None);
        let sent = [attempt(1, "success", Some(sent(&first)))];
        assert!(matches!(decision(&sent, &first), Decision::Skip(_)));
        second.job.attempt = 2;
        assert_eq!(decision(&sent, &second), Decision::Send);
        let mut given = event("failure", GIVEN, None);
        given.job.attempt = 2;
        assert!(
            matches!(decision(&sent, &given), Decision::Skip(_)),
            "what is given is the same however often the job ran"
        );
    }

    #[test]
    fn an_attempt_that_had_ended_when_the_run_began_has_not_told_of_it() {
        let mut failed = attempt(1, "failed", None);
        failed.job.finished_at = Some("2025-03-01T10:06:00.500Z".to_owned());
        let of_run = |source: &str, start: Option<&str>| {
            let mut event = event("success", source, None);
            event.job.started_at = start.map(str::to_owned);
            decision(std::slice::from_ref(&failed), &event)
        };
        // A deploy job whose image could not be pulled is run again, and reports from inside.
        assert_eq!(of_run(FOUND, Some("2025-03-01T10:06:02Z")), Decision::Send);
        for (source, start) in [
            (FOUND, Some("2025-03-01T10:06:00Z")),
            (FOUND, None),
            (GIVEN, Some("2025-03-01T10:06:02Z")),
        ] {
            let decision = of_run(source, start);
            assert!(
                matches!(decision, Decision::Doubt(_)),
                "{source}, {start:?}: {decision:?}"
            );
        }
    }

    #[test]
    fn without_a_receipt_no_end_tells() {
        for (status, source) in [("success", GIVEN), ("success", FOUND), ("failed", GIVEN)] {
            let ended = [attempt(1, status, None)];
            let event = event("success", source, Some("2025-03-01T10:09:00Z"));
            assert!(
                matches!(decision(&ended, &event), Decision::Doubt(doubt) if doubt.why.contains("job 1")),
                "{status}"
            );
        }
    }
}
