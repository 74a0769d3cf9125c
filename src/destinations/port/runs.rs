//! Runs of self-service actions: created, updated, logged to (docs/vendors/port.md 3).

use std::{
    rc::Rc,
    time::{Duration, SystemTime},
};

use serde_json::{Map, Value, json};

use super::{Api, Job, RunStatus, accepted, check_segment, entities::check_identifier, error, is_missing, shown};
use crate::{
    delivery::{
        plan::{Delivered, Plan, Repeat, Step, Verdict},
        reply::Reply,
        request::{Method, query, segment},
    },
    event::Action,
    problem::{Problem, Unmade},
    time, variables,
    variables::{Foreign, JsonOrText, Object, parse_json, type_of},
};

variables! {
    /// What Port hands to the pipeline that it triggers.
    pub struct Trigger, "GitLab, pipeline triggers" {
        /// The file with the JSON that triggered the pipeline, set by GitLab. The run's id is read from it: `port_context.runId`, `context.runId`, `port_payload.context.runId` or `runId`.
        payload: Option<Foreign> = "TRIGGER_PAYLOAD", optional, foreign;
    }
}

/// Where Port's guides put the run's id, in the order in which it is looked for (docs/vendors/port.md 3).
const RUN_ID: &[&str] = &[
    "/port_context/runId",
    "/context/runId",
    "/port_payload/context/runId",
    "/runId",
];

/// How many entries of a log are asked for at a time, and how many times: a log that is longer is not read to its end.
const LOGS: &str = "100";
const PAGES: u32 = 100;

/// An entry that is this much older than the attempt may still be of it: clocks differ.
const CLOCKS_DIFFER_BY: Duration = Duration::from_mins(1);

/// `run-create`. It is not idempotent, so it is sent again only if Port can't have seen it (docs/vendors/port.md 6).
pub(super) fn create(job: &Job) -> Result<Plan, Problem> {
    let settings = &job.settings;
    let Some(action) = &settings.action else {
        return Err(Problem::new(
            "PORT_ACTION",
            "is not set; run-create needs the identifier of the action to run",
        ));
    };
    check_segment("PORT_ACTION", action)?;
    let inputs = settings.properties.as_ref().map(|Object(inputs)| inputs.clone());
    let mut body = json!({ "properties": inputs.unwrap_or_default() });
    if let Some(entity) = &settings.id {
        check_identifier("PORT_ENTITY_ID", entity)?;
        body["entity"] = entity.as_str().into();
    }
    let path = format!("/actions/{}/runs", segment(action));
    let request = job.api.send(Method::Post, &path, &body, "PORT_PROPERTIES")?;
    let step = Step::new("create run", request, |reply, _| match accepted(reply) {
        Ok(_) => {
            // The run is there even if its id can't be read: saying otherwise would make somebody start another.
            let id = reply.text_at("/run/id");
            Verdict::Delivered(Delivered {
                identifier: id.map(str::to_owned),
                note: id.is_none().then(|| "the reply does not tell the run's id".to_owned()),
                json: None,
            })
        }
        Err(verdict) => verdict,
    });
    Ok(Plan::new(None, vec![step.repeat(Repeat::Unprocessed(&[]))]))
}

/// `run-update`: the log first, since Port takes none after the end; then everything else.
pub(super) fn update(job: &Job) -> Result<Plan, Unmade> {
    let settings = &job.settings;
    let event = job.context.event;
    let action = event.action.as_ref().ok();
    let derived = match action {
        Some(Action::Success) => Some(RunStatus::Success),
        Some(Action::Failure | Action::Canceled) => Some(RunStatus::Failure),
        _ => None,
    };
    let status = settings.run_status.or(derived);
    let is_open = status.is_none() && action == Some(&Action::Open);
    let status_word = status.map(RunStatus::word).or(is_open.then_some("<status>"));
    let changes = [
        ("status", status_word.map(Value::from)),
        ("statusLabel", settings.run_status_label.as_deref().map(Value::from)),
        ("link", link(settings.run_link.as_ref())?),
        ("summary", settings.run_summary.as_deref().map(Value::from)),
        ("externalRunId", settings.run_external_id.as_deref().map(Value::from)),
    ];
    let changes: Map<String, Value> = changes
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect();
    if changes.is_empty() && settings.run_log.is_none() {
        return match &event.action {
            Ok(action) => Ok(Plan::skip(format!(
                "Port has no status for `{action}`: a run is in progress until it ends, and no other PORT_RUN_… \
                 variable is set"
            ))),
            Err(why @ Unmade::Nothing(_)) => Err(why.clone()),
            Err(Unmade::Wrong(_)) => Err(Problem::new(
                "PORT_RUN_STATUS",
                "is not set, nor is anything else that run-update could tell: set one of PORT_RUN_STATUS, \
                 PORT_RUN_STATUS_LABEL, PORT_RUN_SUMMARY, PORT_RUN_LINK, PORT_RUN_EXTERNAL_ID, PORT_RUN_LOG, or \
                 EVENT_ACTION to success, failure or canceled",
            )
            .into()),
        };
    }
    let id = run_id(job)?;
    let mut steps = Vec::new();
    if let Some(message) = &settings.run_log {
        // What was logged is not logged again when the rest is delivered later.
        steps.push(log_step(job, &id, message, &json!({ "message": message }))?.completes("PORT_RUN_LOG"));
    }
    let mut notes = Vec::new();
    if let (None, Err(why)) = (settings.run_status, &event.action) {
        notes.push(format!("the run's status is left as it is: {why}"));
    }
    if !changes.is_empty() {
        let path = format!("/actions/runs/{}", segment(&id));
        let request = job
            .api
            .send(Method::Patch, &path, &Value::Object(changes), "PORT_RUN_SUMMARY")?;
        let is_end = status.is_some();
        let (is_replay, is_in_doubt) = (job.context.is_replay, job.context.is_in_doubt());
        let end = ask_how_it_ended(job, &path, status);
        steps.push(Step::new("update run", request, move |reply, sent| {
            // Port takes no update of a run that has ended: here, by an attempt of our own whose reply was lost
            // (docs/vendors/port.md 6).
            let is_exhausted = is_exhausted(reply);
            match accepted(reply) {
                Err(_) if is_end && sent.ambiguous && is_exhausted => Verdict::noted(ENDED_BY_US),
                // An earlier attempt of the job, or somebody else since: the run tells.
                Err(_) if is_end && is_in_doubt && is_exhausted => Verdict::Then(end.clone()),
                // Late: an earlier attempt, or somebody else, has ended it meanwhile.
                Err(_) if is_replay && is_exhausted => ended_meanwhile(),
                Err(verdict) => verdict,
                Ok(_) => Verdict::delivered(),
            }
        }));
        if let (None, Some(status)) = (settings.run_status, status) {
            notes.push(format!(
                "the run ends as {}, {} (set PORT_RUN_STATUS to say otherwise); Port takes no update after that",
                status.word(),
                event.action_source
            ));
        }
    }
    Ok(Plan {
        notes,
        found: vec![("PORT_RUN_ID", id.clone())],
        ..Plan::new(Some(id), steps)
    })
}

/// `run-log`. It ends the run only if told so by `PORT_RUN_STATUS`.
pub(super) fn log(job: &Job) -> Result<Plan, Problem> {
    let settings = &job.settings;
    let Some(message) = &settings.run_log else {
        return Err(Problem::new(
            "PORT_RUN_LOG",
            "is not set; run-log needs the message to log",
        ));
    };
    let mut body = json!({ "message": message });
    if let Some(status) = settings.run_status {
        body["terminationStatus"] = status.word().into();
    }
    if let Some(label) = &settings.run_status_label {
        body["statusLabel"] = label.as_str().into();
    }
    let id = run_id(job)?;
    let step = log_step(job, &id, message, &body)?;
    Ok(Plan {
        found: vec![("PORT_RUN_ID", id.clone())],
        ..Plan::new(Some(id), vec![step])
    })
}

/// Reads the run: that tells whether the credentials are accepted, and the run is there.
pub(super) fn check(job: &Job) -> Result<Plan, Problem> {
    let id = run_id(job)?;
    let path = format!("/actions/runs/{}{}", segment(&id), query([("version", "v2")]));
    let shown = shown(&id);
    let step = Step::new(
        "check",
        job.api.request(Method::Get, &path),
        move |reply, _| match accepted(reply) {
            Err(Verdict::ByStatus) if is_missing(reply) => Verdict::Misconfigured(format!(
                "PORT_RUN_ID is `{shown}`, and Port has no such run: {}",
                reply.complaint()
            )),
            Err(verdict) => verdict,
            Ok(_) => Verdict::noted("the credentials are accepted, and the run is there"),
        },
    );
    Ok(Plan::new(Some(id), vec![step]))
}

/// Whether Port refuses an update or a log because the run has ended. The code is not certain; that of a run which Port
/// ends by itself is another (docs/vendors/port.md 3).
fn is_exhausted(reply: &Reply) -> bool {
    match error(reply) {
        Some("run_synchronized_error") => false,
        Some("run_exhausted") => matches!(reply.status, 400 | 422),
        _ => reply.status == 422,
    }
}

/// What is said of a run that an attempt has ended whose reply was lost.
const ENDED_BY_US: &str = "the run has ended: an earlier attempt got through, though its reply did not";

/// The question how a run has ended, of which an earlier attempt may have told the end.
fn ask_how_it_ended(job: &Job, path: &str, status: Option<RunStatus>) -> Step {
    let is_replay = job.context.is_replay;
    let request = job
        .api
        .request(Method::Get, &format!("{path}{}", query([("version", "v2")])));
    Step::new("how did it end", request, move |reply, _| match accepted(reply) {
        Ok(_) if reply.text_at("/run/status") == status.map(RunStatus::word) => Verdict::noted(ENDED_BY_US),
        Ok(_) if is_replay => ended_meanwhile(),
        Ok(_) => Verdict::Rejected(format!(
            "the run has ended as {}, and Port takes no update after that",
            shown(reply.text_at("/run/status").unwrap_or("something else"))
        )),
        Err(Verdict::ByStatus) if matches!(reply.status, 408 | 425 | 429 | 500..) => Verdict::ByStatus,
        // That it has ended is what can be known (docs/vendors/port.md 6).
        Err(_) => Verdict::noted(ENDED_BY_US),
    })
}

/// The verdict on what comes too late.
fn ended_meanwhile() -> Verdict {
    Verdict::Skipped("the run has ended meanwhile, and Port takes nothing after that".to_owned())
}

/// A line in the log of a run. A repetition would be a second line (docs/vendors/port.md 6), so where an earlier attempt
/// may have logged it, the log is read first.
fn log_step(job: &Job, id: &str, message: &str, body: &Value) -> Result<Step, Problem> {
    let path = format!("/actions/runs/{}/logs", segment(id));
    let request = job.api.send(Method::Post, &path, body, "PORT_RUN_LOG")?;
    let is_replay = job.context.is_replay;
    let step = Step::new("log", request, move |reply, _| match accepted(reply) {
        Ok(_) => Verdict::delivered(),
        // Only Port's own word for it: another 422 is about the line.
        Err(_) if is_replay && error(reply) == Some("run_exhausted") => ended_meanwhile(),
        Err(verdict) => verdict,
    });
    let step = step.repeat(Repeat::Unprocessed(&[]));
    Ok(match job.context.in_doubt_since {
        None => step,
        Some(since) => {
            let asking = Rc::new(Asking {
                api: job.api.clone(),
                path,
                message: message.to_owned(),
                since,
                log: step,
            });
            asking.page(0, 1)
        }
    })
}

/// The question whether a line has been logged since a point in time.
struct Asking {
    api: Api,
    path: String,
    message: String,
    since: SystemTime,
    log: Step,
}

impl Asking {
    /// Reads the log from its entry `offset` on, page by page: in which order Port lists it, and how many at a time, is not
    /// documented (docs/vendors/port.md 3).
    fn page(self: &Rc<Self>, offset: usize, page: u32) -> Step {
        let offset_word = offset.to_string();
        let pairs = [("limit", LOGS), ("offset", offset_word.as_str())];
        let request = self.api.request(Method::Get, &format!("{}{}", self.path, query(pairs)));
        let asking = Rc::clone(self);
        Step::new("was it logged", request, move |reply, _| {
            asking.read(reply, offset, page)
        })
        .large()
        .poll()
    }

    fn read(self: &Rc<Self>, reply: &Reply, offset: usize, page: u32) -> Verdict {
        let logs = match accepted(reply) {
            Err(Verdict::ByStatus) if matches!(reply.status, 408 | 425 | 429 | 500..) => return Verdict::ByStatus,
            Ok(body) => body.get("runLogs").and_then(Value::as_array),
            Err(_) => None,
        };
        let Some(logs) = logs.filter(|_| page <= PAGES) else {
            return Verdict::InDoubt(format!(
                "it may have been logged, and Port does not tell: it answered {} to the question. It was not sent again",
                reply.status
            ));
        };
        if logs.iter().any(|log| self.is_ours(log)) {
            return Verdict::noted("found in the run's log: an earlier attempt had logged it");
        }
        if logs.is_empty() {
            Verdict::Then(self.log.clone())
        } else {
            Verdict::Then(self.page(offset + logs.len(), page + 1))
        }
    }

    /// The same text, no older than the attempt; of an entry without a time, the text decides.
    fn is_ours(&self, log: &Value) -> bool {
        let is_older = log["createdAt"]
            .as_str()
            .and_then(time::parse)
            .is_some_and(|created| created + CLOCKS_DIFFER_BY < self.since);
        log["message"].as_str().map(str::trim) == Some(self.message.trim()) && !is_older
    }
}

/// A link, or an array of links (docs/vendors/port.md 3).
fn link(link: Option<&JsonOrText>) -> Result<Option<Value>, Problem> {
    let Some(JsonOrText(link)) = link else {
        return Ok(None);
    };
    match link {
        Value::String(_) => Ok(Some(link.clone())),
        Value::Array(links) if links.iter().all(Value::is_string) => Ok(Some(link.clone())),
        other => Err(Problem::new(
            "PORT_RUN_LINK",
            format!(
                "has to be a link, or a JSON array of links in quotes; it is {}",
                type_of(other)
            ),
        )),
    }
}

/// The run's id: its own variable, else what the trigger's payload says.
fn run_id(job: &Job) -> Result<String, Problem> {
    let (variable, id) = match &job.settings.run_id {
        Some(id) => ("PORT_RUN_ID", id.clone()),
        None => ("TRIGGER_PAYLOAD", triggered_by(job)?),
    };
    check_segment(variable, &id)?;
    Ok(id)
}

/// The id of the run that triggered this pipeline. The payload is somebody else's text: templates in it are not run.
fn triggered_by(job: &Job) -> Result<String, Problem> {
    let problem = |why: String| Problem::new("PORT_RUN_ID", format!("is not set, and {why}; set PORT_RUN_ID"));
    let trigger: Trigger = job.context.values.read().map_err(|why| problem(why.to_string()))?;
    let Some(Foreign(payload)) = trigger.payload else {
        return Err(problem(
            "without TRIGGER_PAYLOAD, which GitLab sets in a pipeline that Port triggers, there is none to read"
                .to_owned(),
        ));
    };
    let payload = parse_json(&payload).map_err(|why| problem(format!("TRIGGER_PAYLOAD {why}")))?;
    RUN_ID
        .iter()
        .find_map(|pointer| payload.pointer(pointer)?.as_str().filter(|id| !id.is_empty()))
        .map(str::to_owned)
        .ok_or_else(|| {
            problem("TRIGGER_PAYLOAD has none in port_context.runId, context.runId, port_payload.context.runId or runId, as text".to_owned())
        })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{
        super::testing::{AGAIN, FIRST, in_words, plan, problem, read, request, requests},
        *,
    };

    const RUN: (&str, &str) = ("PORT_RUN_ID", "r_1/2");
    const URL: &str = "https://api.port.io/v1/actions/runs/r_1%2F2";

    fn patch(body: &str) -> String {
        format!("PATCH {URL}\n{body}")
    }

    #[test]
    fn a_run_is_created_once() {
        let action = ("PORT_ACTION", "deploy it");
        let url = "POST https://api.port.io/v1/actions/deploy%20it/runs";
        assert_eq!(
            request("run-create", &[action]),
            format!("{url}\n{{\"properties\":{{}}}}")
        );
        let more = [
            action,
            ("PORT_PROPERTIES", r#"{"why":"{{ pipeline.commit_title }}"}"#),
            ("PORT_ENTITY_ID", "a/b"),
        ];
        let body = r#"{"properties":{"why":"say \"hi\"\n🚀 {{ not.a.template }}"},"entity":"a/b"}"#;
        assert_eq!(request("run-create", &more), format!("{url}\n{body}"));
        let plan = plan("run-create", &[action]);
        assert_eq!(plan.identifier, None);
        let step = &plan.steps[0];
        assert!(matches!(step.repeat, Repeat::Unprocessed(&[])));
        assert_eq!(
            in_words(&read(step, FIRST, 202, r#"{"ok":true,"run":{"id":"r_9"}}"#)),
            "delivered r_9 -"
        );
        assert!(in_words(&read(step, FIRST, 202, r#"{"ok":true}"#)).starts_with("delivered - the reply does not tell"));
        assert!(problem("run-create", &[]).starts_with("PORT_ACTION is not set"));
        assert!(problem("run-create", &[("PORT_ACTION", "..")]).starts_with("PORT_ACTION is `..`"));
        assert!(problem("run-create", &[action, ("PORT_ENTITY_ID", "a b")]).starts_with("PORT_ENTITY_ID is `a b`"));
    }

    #[test]
    fn an_update_logs_first_and_patches_the_rest() {
        let all = [
            RUN,
            ("PORT_RUN_STATUS", "Success"),
            ("PORT_RUN_STATUS_LABEL", "live \"now\""),
            ("PORT_RUN_LINK", r#"["https://a", "https://b"]"#),
            ("PORT_RUN_SUMMARY", "line\nline 🚀"),
            ("PORT_RUN_EXTERNAL_ID", "{{ pipeline.id }}"),
            ("PORT_RUN_LOG", "Deployed \"{{ pipeline.project_path }}\""),
        ];
        assert_eq!(
            requests("run-update", &all),
            [
                format!("POST {URL}/logs\n{{\"message\":\"Deployed \\\"acme/shop\\\"\"}}"),
                patch(
                    "{\"status\":\"SUCCESS\",\"statusLabel\":\"live \\\"now\\\"\",\"link\":[\"https://a\",\"https://b\"],\
                     \"summary\":\"line\\nline 🚀\",\"externalRunId\":\"8812\"}"
                ),
            ]
        );
        let plan = plan("run-update", &all);
        assert_eq!((plan.identifier.as_deref(), plan.notes.len()), (Some("r_1/2"), 0));
        assert!(matches!(plan.steps[0].repeat, Repeat::Unprocessed(&[])));
        assert!(matches!(plan.steps[1].repeat, Repeat::Freely));
        assert_eq!(
            in_words(&read(&plan.steps[0], FIRST, 201, r#"{"ok":true,"runLog":{"id":"l"}}"#)),
            "delivered - -"
        );
        assert_eq!(
            in_words(&read(&plan.steps[1], FIRST, 200, r#"{"ok":true,"run":{}}"#)),
            "delivered - -"
        );
    }

    #[test]
    fn an_update_takes_its_status_from_the_event() {
        for (action, status) in [("success", "SUCCESS"), ("failure", "FAILURE"), ("canceled", "FAILURE")] {
            let more = [RUN, ("EVENT_ACTION", action)];
            assert_eq!(
                request("run-update", &more),
                patch(&format!("{{\"status\":\"{status}\"}}"))
            );
            assert!(plan("run-update", &more).notes[0].contains("from EVENT_ACTION (set PORT_RUN_STATUS"));
        }
        assert_eq!(
            request("run-update", &[RUN, ("CI_JOB_STATUS", "failed")]),
            patch(r#"{"status":"FAILURE"}"#)
        );
        let explicit = [RUN, ("EVENT_ACTION", "failure"), ("PORT_RUN_STATUS", "success")];
        assert_eq!(request("run-update", &explicit), patch(r#"{"status":"SUCCESS"}"#));
        let link = ("PORT_RUN_LINK", "https://a");
        for more in [vec![RUN, link], vec![RUN, link, ("EVENT_ACTION", "started")]] {
            assert_eq!(request("run-update", &more), patch(r#"{"link":"https://a"}"#));
        }
        let log = [RUN, ("EVENT_ACTION", "started"), ("PORT_RUN_LOG", "begun")];
        assert_eq!(
            request("run-update", &log),
            format!("POST {URL}/logs\n{{\"message\":\"begun\"}}")
        );
        let started = plan("run-update", &[RUN, ("EVENT_ACTION", "started")]);
        assert!(started.skip.unwrap().starts_with("Port has no status for `started`"));
        let nothing = problem("run-update", &[RUN]);
        assert!(
            nothing.starts_with("PORT_RUN_STATUS is not set") && nothing.contains("PORT_RUN_LOG"),
            "{nothing}"
        );
    }

    #[test]
    fn an_end_that_was_lost_is_found_again() {
        let ended = r#"{"ok":false,"error":"run_exhausted","message":"already completed"}"#;
        let synchronized = r#"{"ok":false,"error":"run_synchronized_error"}"#;
        let update = |more: &[(&str, &str)], sent, status, body| {
            in_words(&read(
                &plan("run-update", &[&[RUN], more].concat()).steps[0],
                sent,
                status,
                body,
            ))
        };
        let end = [("PORT_RUN_STATUS", "FAILURE")];
        assert_eq!(update(&end, FIRST, 422, ended), "by status");
        for status in [400, 422] {
            assert!(update(&end, AGAIN, status, ended).starts_with("delivered - the run has ended: an earlier"));
        }
        assert_eq!(update(&end, AGAIN, 422, synchronized), "by status");
        assert_eq!(update(&[("PORT_RUN_SUMMARY", "s")], AGAIN, 422, ended), "by status");
    }

    #[test]
    fn a_log_ends_the_run_only_when_told_so() {
        let log = [RUN, ("EVENT_ACTION", "success"), ("PORT_RUN_LOG", "a \"b\"\n🚀")];
        let message = r#""message":"a \"b\"\n🚀""#;
        assert_eq!(request("run-log", &log), format!("POST {URL}/logs\n{{{message}}}"));
        let end = [
            &log[..],
            &[("PORT_RUN_STATUS", "FAILURE"), ("PORT_RUN_STATUS_LABEL", "l")],
        ]
        .concat();
        assert_eq!(
            request("run-log", &end),
            format!("POST {URL}/logs\n{{{message},\"terminationStatus\":\"FAILURE\",\"statusLabel\":\"l\"}}")
        );
        let plan = plan("run-log", &end);
        assert_eq!(plan.identifier.as_deref(), Some("r_1/2"));
        assert!(matches!(plan.steps[0].repeat, Repeat::Unprocessed(&[])));
        let exhausted = r#"{"ok":false,"error":"run_exhausted"}"#;
        assert_eq!(in_words(&read(&plan.steps[0], AGAIN, 422, exhausted)), "by status");
        assert!(problem("run-log", &[RUN]).starts_with("PORT_RUN_LOG is not set"));
        let lengthy = "x".repeat(1_048_576);
        assert!(problem("run-log", &[RUN, ("PORT_RUN_LOG", &lengthy)]).starts_with("PORT_RUN_LOG is too long"));
    }

    #[test]
    fn bad_values_name_their_variable() {
        for (name, value, why) in [
            (
                "PORT_RUN_STATUS",
                "canceled",
                "PORT_RUN_STATUS is `canceled`; it can be success, failure",
            ),
            (
                "PORT_RUN_LINK",
                "{}",
                "PORT_RUN_LINK has to be a link, or a JSON array of links in quotes; it is an object",
            ),
            ("PORT_RUN_LINK", "[1]", "PORT_RUN_LINK has to be a link"),
            ("PORT_RUN_ID", "..", "PORT_RUN_ID is `..`"),
        ] {
            let problem = problem("run-update", &[RUN, ("EVENT_ACTION", "success"), (name, value)]);
            assert!(problem.starts_with(why), "{problem}");
        }
    }

    #[test]
    fn the_runs_id_is_found_in_the_payload() {
        let log = ("PORT_RUN_LOG", "m");
        for payload in [
            r#"{"port_context":{"runId":"r_9"},"context":{"runId":"no"},"runId":"no"}"#,
            r#"{"port_context":{},"context":{"runId":"r_9"},"runId":"no","text":"{{ not.a.template }}"}"#,
            r#"{"port_context":null,"context":{"runId":""},"runId":"r_9"}"#,
            r#"{"port_payload":{"context":{"runId":"r_9"}},"runId":"no"}"#,
        ] {
            let request = request("run-log", &[log, ("TRIGGER_PAYLOAD", payload)]);
            assert!(
                request.starts_with("POST https://api.port.io/v1/actions/runs/r_9/logs\n"),
                "{request}"
            );
        }
        let both = [log, RUN, ("TRIGGER_PAYLOAD", "no JSON")];
        assert!(request("run-log", &both).starts_with(&format!("POST {URL}/logs\n")));
        for (payload, why) in [
            ("", "without TRIGGER_PAYLOAD"),
            ("{\"runId\": ", "TRIGGER_PAYLOAD is not JSON"),
            (r#"{"runId": 7}"#, "TRIGGER_PAYLOAD has none"),
            ("[]", "TRIGGER_PAYLOAD has none"),
            ("$TRIGGER_PAYLOAD", "TRIGGER_PAYLOAD is literally"),
        ] {
            let problem = problem("run-log", &[log, ("TRIGGER_PAYLOAD", payload)]);
            assert!(
                problem.starts_with("PORT_RUN_ID is not set, and ") && problem.contains(why),
                "{problem}"
            );
        }
        assert!(
            problem("run-log", &[log, ("TRIGGER_PAYLOAD", r#"{"runId":".."}"#)]).starts_with("TRIGGER_PAYLOAD is `..`")
        );
    }

    #[test]
    fn the_payload_is_a_file_of_gitlabs() {
        let folder = std::env::temp_dir().join(format!("notify-event-port-{}.tmp", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("TRIGGER_PAYLOAD");
        fs::write(&file, "{\n  \"context\": {\"runId\": \"r_file\"}\n}\n").unwrap();
        let variables = [("PORT_RUN_LOG", "m"), ("TRIGGER_PAYLOAD", file.to_str().unwrap())];
        let request = request("run-log", &variables);
        fs::remove_dir_all(&folder).unwrap();
        assert!(
            request.starts_with("POST https://api.port.io/v1/actions/runs/r_file/logs"),
            "{request}"
        );
        // An entity's write is tied to a run only where PORT_RUN_ID says so, and needs no payload that can be read.
        let upsert = super::super::testing::request("upsert", &[("EVENT_ACTION", "success"), variables[1]]);
        assert!(
            upsert.lines().next().unwrap().ends_with("?upsert=true&merge=true"),
            "{upsert}"
        );
    }
}
