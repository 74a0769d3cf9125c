//! What really happened, judged from a pipeline's jobs (docs/gitlab.md 2.4, 3, 8, 11). Pure: the jobs come in, the
//! outcome comes out.

use std::{collections::BTreeMap, time::Duration};

use super::job::{Job, Status};
use crate::{
    event::{Action, DeployJob},
    text::nearest,
    time::timestamp,
};

/// What is asked, and by which job.
#[derive(Debug, Clone, Copy, Default)]
pub struct Question<'a> {
    /// The asking job's id (`CI_JOB_ID`).
    pub own_id: Option<u64>,
    /// Its name (`CI_JOB_NAME`); known from the jobs if its id is among them.
    pub own_name: Option<&'a str>,
    /// Its stage (`CI_JOB_STAGE`); likewise.
    pub own_stage: Option<&'a str>,
    /// The job that is asked about (`NOTIFY_JOB`); all others of the pipeline if there is none.
    pub watched: Option<&'a str>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// This happened.
    Happened(Finding),
    /// Nothing happened that could be reported: why.
    Nothing(String),
    /// It can't be known: why, and what to set.
    Unknown(String),
}

/// What happened, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What became of it.
    pub action: Action,
    /// How that is known, for the report.
    pub why: String,
    /// The job that decided it. Its name is the one that all parts share, and there is none where a whole pipeline
    /// decided; there is no page where several jobs did; the attempt is the highest of theirs. It began when the first
    /// of them did and ended when the last did, and was started by who started the one that ended last.
    pub job: DeployJob,
}

/// Judges a pipeline's `jobs`, which may be in any order and should hold earlier attempts (`include_retried=true`).
pub fn judge(jobs: &[Job], question: &Question) -> Outcome {
    // A job that shows up twice, because a new one moved the pages while they were read, is as the later page has it.
    let jobs: BTreeMap<u64, &Job> = jobs.iter().map(|job| (job.id, job)).collect();
    let own = question.own_id.and_then(|id| jobs.get(&id));
    let own_name = question.own_name.or(own.map(|job| job.name.as_str()));
    let own_stage = question.own_stage.or(own.map(|job| job.stage.as_str()));

    let mut live: BTreeMap<&str, Live> = BTreeMap::new();
    for job in jobs.into_values() {
        // Ids ascend, so the last of a name is the live attempt: the reply has no `retried` (docs/gitlab.md 11).
        let attempt = live.get(job.name.as_str()).map_or(0, |earlier| earlier.attempt) + 1;
        live.insert(&job.name, Live { job, attempt });
    }
    let mut others: Vec<Live> = live
        .into_values()
        .filter(|live| Some(live.job.name.as_str()) != own_name && Some(live.job.id) != question.own_id)
        .collect();
    others.sort_by_key(|live| live.job.id);

    match question.watched {
        Some(watched) => judge_watched(&others, watched, own_name),
        None => judge_pipeline(&others, own_stage),
    }
}

/// The attempts of the job `own_name` before the one with the id `own_id`, newest first.
pub fn earlier_attempts<'a>(jobs: &'a [Job], own_id: u64, own_name: &str) -> Vec<&'a Job> {
    let mut earlier: Vec<&Job> = jobs
        .iter()
        .filter(|job| job.name == own_name && job.id < own_id)
        .collect();
    earlier.sort_by_key(|job| std::cmp::Reverse(job.id));
    earlier.dedup_by_key(|job| job.id);
    earlier
}

/// A job in its live attempt.
#[derive(Debug, Clone, Copy)]
struct Live<'a> {
    job: &'a Job,
    /// Which attempt that is, from 1.
    attempt: u32,
}

/// What a job's `allow_failure` means when all jobs are looked at.
const ALLOWED: &str = "which allow_failure lets pass";

/// What no list of jobs shows (docs/gitlab.md 11).
const UNSEEN: &str = "trigger jobs and their child pipelines, which a job token can't see, are not counted";

/// The stages that GitLab runs after all others (docs/gitlab.md 3.2).
const LAST_STAGES: &[&str] = &[".post", ".pipeline-policy-post"];

fn is_last(live: &Live) -> bool {
    LAST_STAGES.contains(&live.job.stage.as_str())
}

/// Of one job, which may be several by `parallel:`. Its `allow_failure` doesn't count: a deployment that was allowed to
/// fail has failed all the same.
fn judge_watched(others: &[Live], watched: &str, own_name: Option<&str>) -> Outcome {
    let exact = others.iter().filter(|live| live.job.name == watched);
    let mut parts: Vec<Live> = exact.copied().collect();
    if parts.is_empty() {
        if let Some(own) = own_name.filter(|own| *own == watched || is_part(own, watched)) {
            return Outcome::Unknown(format!(
                "NOTIFY_JOB is `{watched}`, and this job, `{own}`, can't see its own end before it has ended: report from \
                 its after_script without NOTIFY_JOB, or set EVENT_ACTION"
            ));
        }
        let is_of_it = |live: &&Live| is_part(&live.job.name, watched);
        parts = others.iter().filter(is_of_it).copied().collect();
    }
    if parts.is_empty() {
        return Outcome::Unknown(not_found(others, watched));
    }
    let with = |is: fn(&Status) -> bool| select(&parts, |live| is(&live.job.status));
    let happened = |action, deciding: &[Live]| {
        let mut why = tell(deciding);
        if let [one] = parts.as_slice() {
            if one.job.status == Status::Failed && one.job.allow_failure {
                why = format!("{why}, though GitLab lets it pass (allow_failure)");
            }
            if one.attempt > 1 {
                why = format!("{why}, at attempt {}", one.attempt);
            }
        } else {
            why = format!("{why}; {} parts of `{watched}`: {}", parts.len(), tally(&parts));
        }
        find(action, why, deciding.first(), &parts)
    };

    let failed = in_order_of_end(with(|status| *status == Status::Failed));
    if !failed.is_empty() {
        return happened(Action::Failure, &failed);
    }
    if let Some(unknown) = unknown_status(&parts) {
        return unknown;
    }
    let canceled = in_order_of_end(with(Status::is_canceled));
    if !canceled.is_empty() {
        return happened(Action::Canceled, &canceled);
    }
    let running = with(|status| *status == Status::Running);
    if !running.is_empty() {
        return happened(Action::Progressing, &running);
    }
    let succeeded = with(|status| *status == Status::Success);
    let has_begun = !succeeded.is_empty();
    for waiting in [with(Status::is_waiting), with(|status| *status == Status::Manual)] {
        match (waiting.is_empty(), has_begun) {
            (true, _) => {}
            (false, true) => return happened(Action::Progressing, &waiting),
            (false, false) => return happened(Action::Blocked, &waiting),
        }
    }
    if succeeded.is_empty() {
        let culprit = others.iter().find(|live| is_fatal(live.job));
        let culprit = culprit.map(|live| format!(" (job {})", live.job));
        return Outcome::Nothing(format!(
            "`{watched}` was skipped: it never ran, so nothing was deployed{}",
            culprit.unwrap_or_default()
        ));
    }
    if parts.len() == 1 {
        return happened(Action::Success, &succeeded);
    }
    let skipped = match parts.len() - succeeded.len() {
        0 => String::new(),
        1 => ", 1 was skipped".to_owned(),
        count => format!(", {count} were skipped"),
    };
    let all = if skipped.is_empty() {
        format!("all {}", parts.len())
    } else {
        format!("{} of {}", succeeded.len(), parts.len())
    };
    let why = format!("{all} parts of `{watched}` succeeded{skipped}");
    let mut verdict = find(Action::Success, why, None, &parts);
    if let Outcome::Happened(finding) = &mut verdict {
        finding.job.name = Some(watched.to_owned());
    }
    verdict
}

/// Of all other jobs, as GitLab itself comes to a pipeline's status (docs/gitlab.md 3.1), except that jobs which follow
/// whatever happened don't keep it open: the other notify jobs wait for this one as it would for them.
fn judge_pipeline(others: &[Live], own_stage: Option<&str>) -> Outcome {
    if others.is_empty() {
        return Outcome::Unknown(format!(
            "the pipeline has no job but this one that GitLab's list shows ({UNSEEN}): set EVENT_ACTION"
        ));
    }
    let is_peer = |live: &Live| is_last(live) || Some(live.job.stage.as_str()) == own_stage;
    let before_last = select(others, |live| !is_last(live));
    // The times of a notify job that ran before this one are not the deployment's.
    let timed = if before_last.is_empty() { others } else { &before_last };
    let happened = |action, deciding: &[Live]| find(action, tell(deciding), deciding.first(), timed);

    let failed = in_order_of_end(select(others, |live| is_fatal(live.job)));
    if !failed.is_empty() {
        return happened(Action::Failure, &failed);
    }
    if let Some(unknown) = unknown_status(others) {
        return unknown;
    }
    let canceled = in_order_of_end(select(others, |live| live.job.status.is_canceled()));
    if !canceled.is_empty() {
        return happened(Action::Canceled, &canceled);
    }
    // One that waits in the own stage blocks too: this job ran beside it, not after it.
    let blocking = select(others, |live| {
        live.job.status == Status::Manual && !live.job.allow_failure && !is_last(live)
    });
    if !blocking.is_empty() {
        return happened(Action::Blocked, &blocking);
    }
    let running = select(others, |live| live.job.status == Status::Running);
    let waiting = select(others, |live| live.job.status.is_waiting());
    let unfinished = [running, waiting].concat();
    let (peers, unfinished): (Vec<Live>, Vec<Live>) = unfinished.iter().partition(|live| is_peer(live));
    if !unfinished.is_empty() {
        let why = format!(
            "{}: the pipeline goes on; to report on one job of it, name it in NOTIFY_JOB",
            tell(&unfinished)
        );
        return find(Action::Progressing, why, unfinished.first(), timed);
    }

    let warned = select(others, |live| live.job.status == Status::Failed);
    let ran = select(others, |live| {
        matches!(live.job.status, Status::Success | Status::Failed)
    });
    let manual = select(others, |live| live.job.status == Status::Manual);
    let skipped = select(others, |live| live.job.status == Status::Skipped);
    if ran.is_empty() && !peers.is_empty() {
        // They may be notify jobs like this one, or the deployment itself: nothing in the list tells which.
        return Outcome::Unknown(format!(
            "of the pipeline's other jobs none has ended, and those that have not ({}) are of this job's stage or run \
             last, so they may be notify jobs too: name the one that deploys in NOTIFY_JOB, or set EVENT_ACTION ({UNSEEN})",
            quoted(&peers)
        ));
    }
    let mut left_out = Vec::new();
    if !peers.is_empty() {
        left_out.push(format!("{}, of this job's stage or last", quoted(&peers)));
    }
    if !manual.is_empty() {
        left_out.push(format!("{}, which nobody has started", quoted(&manual)));
    }
    if !skipped.is_empty() {
        left_out.push(format!("{}, skipped", quoted(&skipped)));
    }
    let left_out = left_out.join("; ");
    if ran.is_empty() {
        return Outcome::Nothing(format!(
            "none of the pipeline's other jobs ran, so nothing was deployed: {left_out} ({UNSEEN})"
        ));
    }
    let mut why = match ran.as_slice() {
        [_] => "the one other job that ran succeeded".to_owned(),
        several => format!("all {} other jobs that ran succeeded", several.len()),
    };
    if let Some(first) = warned.first() {
        let more = if warned.len() > 1 { ", the first:" } else { ":" };
        why = format!("{why}, {} with a warning{more} {}, {ALLOWED}", warned.len(), first.job);
    }
    if !left_out.is_empty() {
        why = format!("{why}; left out: {left_out}");
    }
    if !warned.is_empty() || !manual.is_empty() {
        why = format!("{why}; if one of these is what you report on, name it in NOTIFY_JOB");
    }
    let why = format!("{why}; {UNSEEN}");
    let only = ran.first().filter(|_| ran.len() == 1);
    find(Action::Success, why, only, timed)
}

fn select<'a>(jobs: &[Live<'a>], is: impl Fn(&Live) -> bool) -> Vec<Live<'a>> {
    jobs.iter().filter(|live| is(live)).copied().collect()
}

/// Whether GitLab counts it as the pipeline's failure.
fn is_fatal(job: &Job) -> bool {
    job.status == Status::Failed && !job.allow_failure
}

/// The first to end first: it is the one that the others followed.
fn in_order_of_end(mut jobs: Vec<Live>) -> Vec<Live> {
    jobs.sort_by_key(|live| (live.job.finished().is_none(), live.job.finished(), live.job.id));
    jobs
}

fn unknown_status(jobs: &[Live]) -> Option<Outcome> {
    jobs.iter().find_map(|live| match &live.job.status {
        Status::Unknown(word) => Some(Outcome::Unknown(format!(
            "GitLab says that job `{}` is `{word}`, a status this version doesn't know: set EVENT_ACTION",
            live.job.name
        ))),
        _ => None,
    })
}

/// The finding of `action`, decided by the job `deciding`, with the times of all `jobs`.
fn find(action: Action, why: String, deciding: Option<&Live>, jobs: &[Live]) -> Outcome {
    let first = jobs
        .iter()
        .filter_map(|live| Some((live.job.started()?, live)))
        .min_by_key(|(start, _)| *start);
    let started = first.map(|(start, _)| start);
    let ends = jobs.iter().filter_map(|live| live.job.finished());
    let finished = ends.max().filter(|_| action.is_final());
    let measured = match jobs {
        [one] => one.job.duration.filter(|_| started.is_some()).and_then(seconds),
        _ => None,
    };
    let between = || Some(finished?.duration_since(started?).ok()?.as_secs_f64());
    let duration = match finished {
        Some(_) => measured.or_else(|| between().and_then(seconds)),
        None => None,
    };
    let last = jobs
        .iter()
        .max_by_key(|live| (live.job.finished(), live.job.started(), live.job.id));
    Outcome::Happened(Finding {
        action,
        why,
        job: DeployJob {
            name: deciding.map(|live| live.job.name.clone()),
            url: deciding.and_then(|live| live.job.web_url.clone()),
            attempt: jobs.iter().map(|live| live.attempt).max().unwrap_or(1),
            started_at: started.map(timestamp),
            finished_at: finished.map(timestamp),
            duration,
            // Of a job that never started it would be the time until now, which grows.
            queued: first.and_then(|(_, live)| live.job.queued_duration).and_then(seconds),
            started_by: last.and_then(|live| live.job.user.clone()),
        },
    })
}

/// What became of the first of `jobs`, and how many more there are.
fn tell(jobs: &[Live]) -> String {
    match jobs {
        [] => String::new(),
        [one] => format!("job {}", one.job),
        [first, more @ ..] => format!("job {} (and {} more like it)", first.job, more.len()),
    }
}

/// How many are in which status.
fn tally(jobs: &[Live]) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for live in jobs {
        let word = live.job.status.word();
        match counts.iter_mut().find(|(counted, _)| *counted == word) {
            Some((_, count)) => *count += 1,
            None => counts.push((word, 1)),
        }
    }
    let counts: Vec<String> = counts.iter().map(|(word, count)| format!("{count} {word}")).collect();
    counts.join(", ")
}

/// How many names a message lists.
const NAMES: usize = 5;

/// Their names, the first few of them.
fn quoted(jobs: &[Live]) -> String {
    let names: Vec<String> = jobs.iter().map(|live| format!("`{}`", live.job.name)).collect();
    shortened(&names)
}

fn shortened(names: &[String]) -> String {
    match names.len().checked_sub(NAMES) {
        None | Some(0) => names.join(", "),
        Some(more) => format!("{} and {more} more", names[..NAMES].join(", ")),
    }
}

fn not_found(others: &[Live], watched: &str) -> String {
    let mut names: Vec<&str> = others.iter().map(|live| whole(&live.job.name)).collect();
    names.sort_unstable();
    names.dedup();
    let hint = match nearest(watched, names.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if names.is_empty() => "this job is alone.".to_owned(),
        None => {
            let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            format!("there is {}.", shortened(&names))
        }
    };
    format!(
        "NOTIFY_JOB is `{watched}`, and GitLab lists no such job in this pipeline; {hint} Trigger jobs, and the jobs of \
         child pipelines, are not in that list: for those set EVENT_ACTION"
    )
}

/// Whether `name` is one of the jobs that `parallel:` makes of `whole`: `NAME 1/3`, `NAME: [a, b]`, or a matrix's part
/// with a number (GitLab's `Normalizer::NumberStrategy` and `MatrixStrategy`).
fn is_part(name: &str, whole: &str) -> bool {
    let Some(rest) = name.strip_prefix(whole) else {
        return false;
    };
    match without_number(rest) {
        Some("") => true,
        Some(matrix) => is_matrix(matrix),
        None => is_matrix(rest),
    }
}

fn is_matrix(suffix: &str) -> bool {
    suffix.starts_with(": [") && suffix.ends_with(']')
}

/// `name` without ` 1/3` at its end, if it has one.
fn without_number(name: &str) -> Option<&str> {
    let (rest, number) = name.rsplit_once(' ')?;
    let (index, total) = number.split_once('/')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(index) && is_number(total)).then_some(rest)
}

/// The name that a part's siblings share.
fn whole(name: &str) -> &str {
    let unnumbered = without_number(name).unwrap_or(name);
    match unnumbered.find(": [") {
        Some(start) if is_matrix(&unnumbered[start..]) => &unnumbered[..start],
        _ => unnumbered,
    }
}

/// Whole seconds, rounded.
fn seconds(seconds: f64) -> Option<u64> {
    let duration = Duration::try_from_secs_f64(seconds.max(0.0)).ok()?;
    Some(duration.saturating_add(Duration::from_millis(500)).as_secs())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const OWN: u64 = 1000;

    /// Jobs in the order of their ids, from 1, as `name@stage status | …`; the stage is `main` if it isn't given, and
    /// `?` behind the status means `allow_failure`. Each starts at minute `id` and ends 30 seconds later, as far as its
    /// status lets it. The asking job comes last.
    fn pipeline(jobs: &str) -> Vec<Job> {
        let jobs = jobs.split(" | ").filter(|job| !job.trim().is_empty());
        let others = jobs.zip(1..).map(|(job, id)| {
            let (name, status) = job.trim().rsplit_once(' ').unwrap();
            let (name, stage) = name.split_once('@').unwrap_or((name, "main"));
            let word = status.trim_end_matches('?');
            let has_ended = matches!(word, "success" | "failed" | "canceled");
            let has_started = has_ended || matches!(word, "running" | "canceling");
            Job::from_json(&json!({
                "id": id,
                "name": name,
                "stage": stage,
                "status": word,
                "allow_failure": word.len() < status.len(),
                "started_at": has_started.then(|| format!("2025-03-01T10:{id:02}:00.250Z")),
                "finished_at": has_ended.then(|| format!("2025-03-01T10:{id:02}:30.750Z")),
                "duration": has_started.then_some(30.5),
                "queued_duration": 2.4 + f64::from(id),
                "user": {"username": format!("user{id}")},
                "web_url": format!("https://gitlab.example.com/acme/shop/-/jobs/{id}"),
                "failure_reason": (word == "failed").then_some("script_failure"),
            }))
        });
        let own = json!({"id": OWN, "name": "notify", "stage": ".post", "status": "running"});
        let mut jobs: Vec<Job> = others.chain([Job::from_json(&own)]).map(Option::unwrap).collect();
        // As GitLab lists them.
        jobs.reverse();
        jobs
    }

    fn ask(jobs: &[Job], watched: Option<&str>) -> Outcome {
        let question = Question {
            own_id: Some(OWN),
            watched,
            ..Question::default()
        };
        judge(jobs, &question)
    }

    fn finding(jobs: &str, watched: Option<&str>) -> Finding {
        match ask(&pipeline(jobs), watched) {
            Outcome::Happened(finding) => finding,
            other => panic!("{other:?}"),
        }
    }

    /// Each row: `jobs => action: text that the reason holds  // the case`, with `nothing` and `unknown` for verdicts
    /// without an action.
    fn check(watched: Option<&str>, rows: &str) {
        for row in rows.trim().lines() {
            let (row, case) = row.rsplit_once("  // ").unwrap();
            let (jobs, expected) = row.split_once(" => ").unwrap();
            let (expected, reason) = expected.split_once(": ").unwrap();
            let (word, why) = match ask(&pipeline(jobs), watched) {
                Outcome::Happened(finding) => (finding.action.word().to_owned(), finding.why),
                Outcome::Nothing(why) => ("nothing".to_owned(), why),
                Outcome::Unknown(why) => ("unknown".to_owned(), why),
            };
            assert_eq!(word, expected, "{case}: {why}");
            assert!(why.contains(reason), "{case}: {why}");
        }
    }

    #[test]
    fn a_watched_job() {
        check(
            Some("deploy"),
            "
            build success | deploy success => success: job `deploy` succeeded  // success
            deploy success | smoke failed => success: job `deploy` succeeded  // another job's failure is not the deployment's
            build success | deploy failed => failure: job `deploy` failed (script_failure)  // failure
            build failed | deploy skipped => nothing: `deploy` was skipped: it never ran, so nothing was deployed (job `build` failed (script_failure))  // skipped after a failure
            gate manual? | deploy skipped => nothing: so nothing was deployed  // skipped for another reason
            deploy failed? => failure: job `deploy` failed (script_failure), though GitLab lets it pass (allow_failure)  // failed, and allowed to
            build success | deploy manual? => blocked: job `deploy` waits for somebody to start it  // manual, optional, not played
            deploy manual | clean created => blocked: waits for somebody  // manual, blocking, not played
            deploy success? => success: job `deploy` succeeded  // manual, played, succeeded
            deploy running? => progressing: job `deploy` still runs  // manual, played, running
            deploy failed? => failure: job `deploy` failed  // manual, played, failed (issue 249524)
            deploy canceled => canceled: job `deploy` was canceled  // canceled while it ran
            deploy canceling => canceled: job `deploy` is being canceled  // being canceled
            deploy failed | deploy failed => failure: job `deploy` failed (script_failure), at attempt 2  // retried once
            deploy failed | deploy canceled | deploy success => success: job `deploy` succeeded, at attempt 3  // retried twice: failure, then success
            deploy success | deploy failed => failure: at attempt 2  // success, then a retry that fails
            deploy failed | deploy running => progressing: job `deploy` still runs, at attempt 2  // a retry that runs
            test running | deploy success | docs created => success: job `deploy` succeeded  // needs: it ended while others of its stage and before still run
            test running | deploy created => blocked: job `deploy` waits for other jobs (created)  // stage order: it has not begun
            deploy levitating => unknown: job `deploy` is `levitating`, a status this version doesn't know: set EVENT_ACTION  // a status nobody knows
            deploy success | x levitating => success: succeeded  // another job's unknown status doesn't matter
            ",
        );
        for waiting in [
            "created",
            "pending",
            "preparing",
            "waiting_for_resource",
            "waiting_for_callback",
            "scheduled",
        ] {
            let finding = finding(&format!("deploy {waiting}"), Some("deploy"));
            assert_eq!(finding.action, Action::Blocked);
            assert!(finding.why.contains(&format!("({waiting})")), "{}", finding.why);
        }
    }

    #[test]
    fn parallel_and_matrix_jobs_are_one() {
        let table = "
            success | success | success => success: all 3 parts of `deploy` succeeded
            success | skipped | success => success: 2 of 3 parts of `deploy` succeeded, 1 was skipped
            success | failed | success => failure: job `deploy 2/3` failed (script_failure); 3 parts of `deploy`: 2 success, 1 failed
            failed | success | failed => failure: job `deploy 1/3` failed (script_failure) (and 1 more like it)
            running | failed? | success => failure: job `deploy 2/3` failed
            levitating | failed | success => failure: job `deploy 2/3` failed
            levitating | success | success => unknown: `levitating`
            canceled | failed | canceled => failure: 3 parts of `deploy`: 2 canceled, 1 failed
            canceled | success | running => canceled: job `deploy 1/3` was canceled
            success | canceling | success => canceled: is being canceled
            success | running | created => progressing: job `deploy 2/3` still runs
            created | running | manual => progressing: still runs
            success | pending | pending => progressing: job `deploy 2/3` waits for a runner
            skipped | pending | created => blocked: waits for a runner
            manual | pending | manual => blocked: waits for a runner
            manual | manual? | manual => blocked: waits for somebody
            success | manual | manual => progressing: waits for somebody
            skipped | skipped | skipped => nothing: `deploy` was skipped
        ";
        for row in table.trim().lines() {
            let (statuses, expected) = row.split_once(" => ").unwrap();
            let jobs = statuses.trim().split(" | ").zip(1..);
            let jobs: Vec<String> = jobs.map(|(status, part)| format!("deploy {part}/3 {status}")).collect();
            check(
                Some("deploy"),
                &format!("{} => {expected}  // {statuses}", jobs.join(" | ")),
            );
        }
        check(
            Some("deploy"),
            "
            deploy: [eu, blue] success | deploy: [us, [1]] 1/2 success | deploy: [us, [1]] 2/2 success | deploy docs failed | deploy: docs failed | deploy-eu 1/2 failed | redeploy 1/2 failed | deploy 1/two failed => success: all 3 parts of `deploy` succeeded  // a matrix, with a neighbour of a similar name
            deploy: [eu] success | deploy: [us] failed | deploy: [us] success => success: all 2 parts  // a part that was retried
            deploy success | deploy 1/2 failed => success: job `deploy` succeeded  // a job of exactly this name comes first
            ",
        );
        check(
            Some("deploy: [us]"),
            "
            deploy: [eu] failed | deploy: [us] success => success: job `deploy: [us]` succeeded  // one part by its own name
            ",
        );
    }

    #[test]
    fn a_watched_job_that_is_not_there() {
        check(
            Some("deploy-prd"),
            "
            build success | deploy-prod: [eu] success => unknown: NOTIFY_JOB is `deploy-prd`, and GitLab lists no such job in this pipeline; did you mean `deploy-prod`? Trigger jobs, and the jobs of child pipelines, are not in that list  // a slip
            build success | lint success => unknown: there is `build`, `lint`. Trigger jobs  // nothing like it: a trigger job, perhaps
             => unknown: this job is alone. Trigger jobs  // nothing at all
            ",
        );
        for watched in ["notify", "deploy"] {
            let mut jobs = pipeline("deploy 1/2 success");
            let question = Question {
                own_id: Some(OWN),
                own_name: Some(if watched == "deploy" { "deploy 2/2" } else { "notify" }),
                own_stage: None,
                watched: Some(watched),
            };
            jobs[0].name = question.own_name.unwrap().to_owned();
            let verdict = judge(&jobs, &question);
            assert!(
                matches!(&verdict, Outcome::Unknown(why) if why.contains("can't see its own end")),
                "{verdict:?}"
            );
        }
    }

    #[test]
    fn a_whole_pipeline() {
        check(
            None,
            "
            build success | deploy success => success: all 2 other jobs that ran succeeded; trigger jobs and their child pipelines, which a job token can't see, are not counted  // 3.1: all success
            build success | test failed | deploy skipped => failure: job `test` failed (script_failure)  // 3.1: one failed, others success or skipped
            build failed | deploy skipped => failure: job `build` failed  // 3.1: one failed, one skipped
            build success | deploy failed? => success: all 2 other jobs that ran succeeded, 1 with a warning: `deploy` failed (script_failure), which allow_failure lets pass; if one of these is what you report on, name it in NOTIFY_JOB  // 3.1: failed with allow_failure
            build success | deploy manual? => success: the one other job that ran succeeded; left out: `deploy`, which nobody has started; if one of these is what you report on, name it in NOTIFY_JOB  // 3.1: manual never started, optional
            build success | deploy canceled => canceled: job `deploy` was canceled  // 3.1: canceled only
            build canceled | deploy failed => failure: job `deploy` failed  // 3.1: canceled and failed
            build canceled | deploy skipped => canceled: job `build` was canceled  // canceled and skipped
            build canceling | deploy created => canceled: is being canceled  // canceling
            test failed | deploy running => failure: job `test` failed  // a failure while others still run
            a failed | b failed | c failed? => failure: job `a` failed (script_failure) (and 1 more like it)  // several failures
            deploy failed | deploy failed | deploy success => success: the one other job that ran succeeded  // retried until it succeeded
            build success | deploy manual | clean created => blocked: job `deploy` waits for somebody to start it  // manual and blocking, not played
            build success | deploy failed? => success: name it in NOTIFY_JOB  // manual and optional, played and failed
            test running | deploy success => progressing: job `test` still runs: the pipeline goes on; to report on one job of it, name it in NOTIFY_JOB  // needs: it runs before earlier stages have ended
            deploy success | clean created | purge created => progressing: job `clean` waits for other jobs (created) (and 1 more like it)  // stage order: a stage after this job's own
            a pending | b running => progressing: job `b` still runs  // a running job is named before a waiting one
            deploy success | docs skipped | notify-port@.post running | notify-cto@.post pending | audit@.pipeline-policy-post created | undo@.post manual => success: the one other job that ran succeeded; left out: `notify-port`, `notify-cto`, `audit`, of this job's stage or last; `undo`, which nobody has started; `docs`, skipped  // peers in .post, and a policy's jobs after them
            test skipped | deploy manual? => nothing: none of the pipeline's other jobs ran, so nothing was deployed: `deploy`, which nobody has started; `test`, skipped  // nothing ran
             => unknown: no job but this one that GitLab's list shows (trigger jobs and their child pipelines  // a child pipeline does the work
            deploy@.post running | a skipped => unknown: name the one that deploys in NOTIFY_JOB  // only peers, which may be anything
            build success | deploy levitating => unknown: `levitating`  // a status nobody knows
            build failed | deploy levitating => failure: job `build` failed  // a failure is one, whatever else there is
            ",
        );
    }

    #[test]
    fn peers_of_the_own_stage_and_earlier_attempts_of_the_own_job() {
        let mut jobs = pipeline("deploy success | notify@report failed | notify-port@report created");
        let judged = |jobs: &[Job], own_stage| {
            let own_name = Some("notify");
            judge(
                jobs,
                &Question {
                    own_id: Some(OWN),
                    own_name,
                    own_stage,
                    watched: None,
                },
            )
        };
        let succeeded =
            |verdict: &Outcome| matches!(verdict, Outcome::Happened(finding) if finding.action == Action::Success);
        assert!(succeeded(&judged(&jobs, Some("report"))));
        jobs[0].stage = "report".to_owned();
        assert!(succeeded(&judged(&jobs, None)), "the stage is known from the list");
        // A blocking manual job beside this one has not deployed yet.
        let deploy = jobs.iter_mut().find(|job| job.name == "deploy").unwrap();
        (deploy.stage, deploy.status) = ("report".to_owned(), Status::Manual);
        let verdict = judged(&jobs, None);
        assert!(
            matches!(&verdict, Outcome::Happened(finding) if finding.action == Action::Blocked),
            "{verdict:?}"
        );

        let jobs = pipeline("notify@.post failed | x failed | notify@.post success");
        let earlier: Vec<u64> = earlier_attempts(&jobs, OWN, "notify")
            .iter()
            .map(|job| job.id)
            .collect();
        assert_eq!(earlier, [3, 1]);
        assert!(earlier_attempts(&jobs, 1, "notify").is_empty());
        let twice = [jobs.clone(), jobs].concat();
        assert_eq!(earlier_attempts(&twice, OWN, "notify").len(), 2);
    }

    #[test]
    fn a_job_that_two_pages_show_is_one_attempt_and_the_later_page_is_right() {
        let mut jobs = pipeline("deploy running");
        jobs.extend(pipeline("deploy success"));
        let Outcome::Happened(finding) = ask(&jobs, Some("deploy")) else {
            panic!()
        };
        assert_eq!((finding.action, finding.job.attempt), (Action::Success, 1));
    }

    #[test]
    fn what_never_started_is_told_apart() {
        let mut jobs = pipeline("deploy canceled");
        let deploy = jobs.iter_mut().find(|job| job.name == "deploy").unwrap();
        (deploy.started_at, deploy.duration) = (None, None);
        let deploy = deploy.clone();
        let Outcome::Happened(finding) = judge(
            std::slice::from_ref(&deploy),
            &Question {
                watched: Some("deploy"),
                ..Question::default()
            },
        ) else {
            panic!()
        };
        assert_eq!(finding.why, "job `deploy` was canceled before it started");
        assert_eq!(
            (finding.job.started_at, finding.job.duration, finding.job.queued),
            (None, None, None)
        );
        assert_eq!(finding.job.finished_at.as_deref(), Some("2025-03-01T10:01:30Z"));

        for (reason, started, expected) in [
            (
                "job_execution_timeout",
                true,
                "job `deploy` failed (job_execution_timeout)",
            ),
            (
                "stuck_or_timeout_failure",
                false,
                "job `deploy` failed before it started (stuck_or_timeout_failure)",
            ),
        ] {
            let timeout = Job {
                status: Status::Failed,
                failure_reason: Some(reason.to_owned()),
                started_at: started.then(|| "2025-03-01T10:00:00Z".to_owned()),
                ..deploy.clone()
            };
            for watched in [Some("deploy"), None] {
                let Outcome::Happened(finding) = judge(
                    std::slice::from_ref(&timeout),
                    &Question {
                        watched,
                        ..Question::default()
                    },
                ) else {
                    panic!()
                };
                assert_eq!((finding.action, finding.why.as_str()), (Action::Failure, expected));
            }
        }
    }

    #[test]
    fn times_of_one_job() {
        let found = finding("build success | deploy failed | deploy success", Some("deploy"));
        let expected = Finding {
            action: Action::Success,
            why: "job `deploy` succeeded, at attempt 2".to_owned(),
            job: DeployJob {
                name: Some("deploy".to_owned()),
                url: Some("https://gitlab.example.com/acme/shop/-/jobs/3".to_owned()),
                attempt: 2,
                started_at: Some("2025-03-01T10:03:00Z".to_owned()),
                finished_at: Some("2025-03-01T10:03:30Z".to_owned()),
                duration: Some(31),
                queued: Some(5),
                started_by: Some("user3".to_owned()),
            },
        };
        assert_eq!(found, expected);

        let running = finding("deploy running", Some("deploy"));
        assert_eq!(running.job.started_at.as_deref(), Some("2025-03-01T10:01:00Z"));
        assert_eq!((running.job.finished_at, running.job.duration), (None, None));
        let canceling = finding("deploy canceling", Some("deploy"));
        assert_eq!((canceling.job.finished_at, canceling.job.duration), (None, None));
    }

    #[test]
    fn times_of_several_jobs() {
        let parts = "deploy 1/3 success | deploy 2/3 skipped | deploy 3/3 success | smoke success";
        let found = finding(parts, Some("deploy"));
        assert_eq!((found.job.name.as_deref(), found.job.url), (Some("deploy"), None));
        assert_eq!(found.job.started_at.as_deref(), Some("2025-03-01T10:01:00Z"));
        assert_eq!(found.job.finished_at.as_deref(), Some("2025-03-01T10:03:30Z"));
        assert_eq!((found.job.duration, found.job.queued), (Some(151), Some(3)));
        assert_eq!(found.job.started_by.as_deref(), Some("user3"));

        let failed = finding(
            "deploy 1/2 failed | deploy 2/2 success | deploy 1/2 failed",
            Some("deploy"),
        );
        assert_eq!(
            (failed.job.name.as_deref(), failed.job.attempt),
            (Some("deploy 1/2"), 2)
        );
        assert!(failed.job.url.unwrap().ends_with("/3"));
        assert_eq!(failed.job.started_at.as_deref(), Some("2025-03-01T10:02:00Z"));

        // A notify job that ran last before this one has no part in it.
        let whole = finding("build success | deploy success | notify-port@.post success", None);
        assert_eq!(whole.job.finished_at.as_deref(), Some("2025-03-01T10:02:30Z"));
        assert_eq!(
            (whole.job.duration, whole.job.name, whole.job.attempt),
            (Some(91), None, 1)
        );
        assert_eq!(whole.job.started_by.as_deref(), Some("user2"));
    }

    #[test]
    fn times_are_compared_as_times() {
        assert_eq!(seconds(0.5), Some(1));
        assert_eq!((seconds(-3.0), seconds(f64::INFINITY)), (Some(0), None));
        // Offsets are compared as times, not as text.
        let mut jobs = pipeline("deploy 1/2 success | deploy 2/2 success");
        jobs[1].started_at = Some("2025-03-01T11:00:30.000+01:00".to_owned());
        let Outcome::Happened(found) = ask(&jobs, Some("deploy")) else {
            panic!()
        };
        assert_eq!(found.job.started_at.as_deref(), Some("2025-03-01T10:00:30Z"));
    }
}
