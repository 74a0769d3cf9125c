//! Doubt: every operation of the catalog, a reply that is lost or can't be understood, and then the job again and a replay:
//! nothing that counts is done twice, and what is in doubt says so.

use std::{path::PathBuf, time::Duration};

use sandbox::{Fault, Options, Sandbox, Service};
use serde_json::{Value, json};

use crate::{
    gitlab::{OWN, seed_only},
    support::{
        Ran, at_once, catalog,
        faults::{fail, reply},
        folder,
        held::{cdevents, cto_events, direktiv_namespace, workflows},
        json_of, notify,
        operations::{OPERATIONS, prepared, ready_with, service_of},
    },
};

/// One operation's life: a job that reports it, attempt after attempt, and the replay of what that keeps.
struct Life {
    label: &'static str,
    sandbox: Sandbox,
    folder: PathBuf,
    /// The attempts so far, as GitLab lists them.
    attempts: Vec<Value>,
}

impl Life {
    fn new(label: &'static str) -> Self {
        let sandbox = ready_with(Options {
            // A sync that still ran would be waited out.
            direktiv_sync_takes: Duration::ZERO,
            ..Options::default()
        });
        Self {
            label,
            sandbox,
            folder: folder(&format!("doubt-{}", label.replace(':', "-"))),
            attempts: Vec::new(),
        }
    }

    /// Lets the next request of the operation go wrong.
    fn fault(&self, fault: &Fault) {
        fail(&self.sandbox, service_of(self.label), 1, fault);
    }

    fn attempt(&mut self, more: &[(&str, &str)]) -> Ran {
        let number = self.attempts.len();
        let id = OWN + number as u64;
        let mut list = self.attempts.clone();
        list.push(json!({"id": id, "name": "notify", "status": "running"}));
        seed_only(&self.sandbox, &list);
        let output = self.folder.join("receipts");
        let mut run = prepared(&self.sandbox, &[self.label]);
        for (name, value) in self.sandbox.gitlab_variables() {
            run = run.var(&name, value);
        }
        let ran = run
            .vars([
                ("AVIATOR_TRIGGER_BUILD", "true"),
                ("PORT_RUN_LOG", "a line"),
                ("PORT_VALIDATION_ONLY", ""),
            ])
            .vars([("WEBHOOK_URL", self.unsigned().as_str()), ("WEBHOOK_SECRET", "")])
            .vars(more.iter().copied())
            .var("NOTIFY_ATTEMPTS", "1")
            .var("CI_JOB_ID", id.to_string())
            .var("CI_PROJECT_DIR", &self.folder)
            .var("NOTIFY_OUTPUT_DIR", &output)
            .run();
        // Nobody knows how far in the past a job began that a test has made up.
        let started = "2025-03-01T10:59:00.000Z";
        self.attempts.push(json!({
            "id": id, "name": "notify", "started_at": started,
            "status": if ran.code == 0 { "success" } else { "failed" },
            "artifacts": {"receipts/receipt.json": json_of(&output.join("receipt.json"))},
        }));
        ran
    }

    /// What the last attempt's receipt says of the operation.
    fn entry(&self) -> Value {
        let last = self.attempts.last().expect("an attempt");
        last["artifacts"]["receipts/receipt.json"]["destinations"][0].clone()
    }

    fn replay(&self) -> Ran {
        let kept = self.folder.join("receipts/undelivered");
        notify(&["replay", kept.to_str().expect("UTF-8")])
            .at(&self.sandbox)
            .without("EVENT_ACTION")
            .vars([("WEBHOOK_URL", self.unsigned().as_str()), ("WEBHOOK_SECRET", "")])
            .var("CI_JOB_NAME", "replay")
            .run()
    }

    /// The address of a webhook that nobody signs, of which the catalog says that it is not asked.
    fn unsigned(&self) -> String {
        format!(
            "{}/open/wh-sandbox-3f9c51a7e2d84b60",
            self.sandbox.url(Service::Webhook)
        )
    }

    /// How often the operation has counted; of what can't count twice, one.
    fn counted(&self) -> u64 {
        let state = |service| self.sandbox.state(service);
        let length = |value: &Value| value.as_array().map_or(0, Vec::len) as u64;
        match self.label {
            "cto" => cto_events(&self.sandbox).len() as u64,
            "cdevents" => cdevents(&self.sandbox).len() as u64,
            "direktiv:execute" => length(&direktiv_namespace(&self.sandbox)["instances"]),
            "direktiv" => length(&direktiv_namespace(&self.sandbox)["events"]),
            "aviator:release" => state(Service::Aviator)["triggered_builds"].as_u64().expect("a number"),
            "aviator:deployment" | "aviator:rollback" => workflows(&self.sandbox),
            "rely:create" => u64::from(!state(Service::Rely)["entities"]["new"].is_null()),
            "port:create" => u64::from(!state(Service::Port)["entities"]["deployment"]["new"].is_null()),
            "port:run-create" => state(Service::Port)["runs"].as_object().map_or(0, serde_json::Map::len) as u64 - 1,
            "webhook" => length(&state(Service::Webhook)["events"]),
            "port:run-log" | "port:run-update" => length(&state(Service::Port)["logs"]["r_1"]),
            _ => 1,
        }
    }
}

/// What comes of doing an operation a second time, as the catalog says.
fn repetition(label: &str) -> &'static str {
    let mut all = catalog::destinations().iter().flat_map(|one| &one.operations);
    let operation = all
        .find(|operation| operation.label == label)
        .expect("it is in the catalog");
    &operation.repetition
}

/// Replies that can't be understood, by their names.
fn unreadable(label: &str) -> Vec<(&'static str, Fault)> {
    let json = [("content-type", "application/json")];
    // Longer than what is read of it.
    let is_read = ["get", "search", "list"].iter().any(|read| label.ends_with(read));
    let long = "x".repeat(if is_read { 17 << 20 } else { 5 << 18 });
    let long = format!(r#"{{"padding":"{long}"}}"#);
    vec![
        ("204", reply(204, &[], "")),
        ("empty", reply(200, &[], "")),
        ("html", Fault::Html),
        ("cut JSON", Fault::NotJson),
        (
            "gzip",
            reply(200, &[json[0], ("content-encoding", "gzip")], r#"{"ok":true}"#),
        ),
        ("foreign", reply(200, &json, r#"{"status":"up"}"#)),
        ("null", reply(200, &json, "null")),
        ("an error", reply(200, &json, r#"{"error":"no","message":"no"}"#)),
        ("long 200", reply(200, &json, &long)),
        ("long 500", reply(500, &json, &long)),
    ]
}

/// Whether a service documents this reply as its success: then nobody can tell that it is none.
fn is_documented(label: &str, name: &str) -> bool {
    match name {
        // All but a page, and what is too long to be read.
        _ if matches!(label, "webhook" | "cdevents") => !matches!(name, "html" | "long 200" | "long 500"),
        "empty" => matches!(label, "aviator" | "direktiv"),
        // An object of unknown form.
        "foreign" => label == "aviator",
        _ => false,
    }
}

#[test]
fn nothing_that_counts_is_done_twice_and_what_is_in_doubt_says_so() {
    at_once(OPERATIONS.iter().map(|(label, _)| *label), |label| {
        let mut faults = vec![
            ("lost".to_owned(), true, Fault::ProcessThenReset),
            ("cut".to_owned(), true, Fault::Truncate),
            ("reset".to_owned(), false, Fault::Reset),
        ];
        for (name, fault) in unreadable(label) {
            if !is_documented(label, name) {
                let processed = Fault::ProcessThen(Box::new(fault.clone()));
                faults.push((name.to_owned(), true, processed));
                if ["204", "foreign", "long 500"].contains(&name) {
                    faults.push((format!("{name}, nothing done"), false, fault));
                }
            }
        }
        for (place, (name, is_processed, fault)) in faults.iter().enumerate() {
            check(label, name, *is_processed, fault, place % 2 == 0);
        }
    });
}

/// Whether the line about the operation tells of doubt, and of what can be done about it.
fn says_doubt(label: &str, ran: &Ran) -> bool {
    let start = format!("  {label} ");
    let mut lines = ran.stderr.lines().filter(|line| line.starts_with(&start));
    lines.any(|line| line.contains("In doubt: "))
}

/// One cell of the table: the fault, then the job again and a replay, in either order.
fn check(label: &'static str, name: &str, is_processed: bool, fault: &Fault, replays_first: bool) {
    let case = format!("{label}, {name}, replay first: {replays_first}");
    let mut life = Life::new(label);
    life.fault(fault);
    let first = life.attempt(&[]);
    let counts = matches!(repetition(label), "asked" | "unasked");
    let is_unavailable = matches!(name, "lost" | "cut" | "reset") || name.starts_with("long 500");
    assert_eq!(
        first.code,
        if is_unavailable { 75 } else { 76 },
        "{case}: {}",
        first.stderr
    );
    assert_eq!(life.entry()["in_doubt"], counts, "{case}: {}", life.entry());
    assert_eq!(says_doubt(label, &first), counts, "{case}: {}", first.stderr);
    let once = if counts { u64::from(is_processed) } else { 1 };
    if counts {
        assert_eq!(life.counted(), once, "{case}");
    }
    let (code, in_the_end) = match repetition(label) {
        "unasked" => (75, once),
        _ => (0, 1),
    };
    for is_replay in [replays_first, !replays_first, false] {
        let before = life.counted();
        let ran = if is_replay { life.replay() } else { life.attempt(&[]) };
        if is_replay && label == "aviator:deployment" && ran.code == 75 {
            // It could trigger something, which the replay of a folder does not, not even to find out.
            assert!(ran.stderr.contains("name the file itself"), "{case}: {}", ran.stderr);
            assert_eq!(life.counted(), before, "{case}: {}", ran.stderr);
            continue;
        }
        assert_eq!(ran.code, code, "{case}, replay {is_replay}: {}", ran.stderr);
        assert_eq!(life.counted(), in_the_end, "{case}, replay {is_replay}: {}", ran.stderr);
        assert_eq!(says_doubt(label, &ran), code == 75, "{case}: {}", ran.stderr);
    }
    if repetition(label) == "unasked" {
        life.attempt(&[("NOTIFY_ON_DOUBT", "send")]);
        let more = u64::from(label != "aviator:rollback" || !is_processed);
        assert_eq!(life.counted(), once + more, "{case}: somebody has said so");
    }
}

#[test]
fn a_deployment_stays_in_doubt_while_the_question_after_it_fails_too() {
    for list in [Fault::status(503), Fault::status(404), Fault::Html, Fault::Reset] {
        for attempts in ["1", "3"] {
            let mut life = Life::new("aviator:deployment");
            life.sandbox
                .fail_on(Service::Aviator, "POST ", 1, Fault::ProcessThenReset);
            life.sandbox.fail_on(Service::Aviator, "GET ", 99, list.clone());
            for _ in 0..2 {
                let ran = life.attempt(&[("NOTIFY_ATTEMPTS", attempts)]);
                assert_eq!(ran.code, 75, "{list:?}: {}", ran.stderr);
                assert_eq!(life.entry()["in_doubt"], true, "{list:?}: {}", ran.stderr);
                assert_eq!(life.replay().code, 75, "{list:?}");
                assert_eq!(life.counted(), 1, "{list:?}");
            }
            // Now it tells.
            life.sandbox.clear_faults();
            let ran = life.attempt(&[]).exits(0);
            ran.says("found among the deployments: an earlier attempt had created it");
            assert_eq!(life.counted(), 1, "{list:?}");
        }
    }
}

#[test]
fn what_a_service_was_asked_and_did_not_have_is_sent_and_a_refusal_of_it_is_certain() {
    let mut life = Life::new("aviator:deployment");
    life.sandbox.fail_on(Service::Aviator, "POST ", 1, Fault::Reset);
    life.attempt(&[]).exits(75);
    life.sandbox.fail_on(Service::Aviator, "POST ", 1, Fault::status(403));
    life.attempt(&[]).exits(76);
    assert_eq!(
        life.entry()["in_doubt"],
        false,
        "the list has shown that there was none"
    );
    life.attempt(&[]).exits(0);
    assert_eq!(life.counted(), 1);
}

#[test]
fn an_entity_that_was_there_before_was_not_created_by_a_lost_attempt() {
    for (created_at, code) in [("2024-12-24T00:00:00.000Z", 76), ("2025-03-01T10:59:10.000Z", 0)] {
        let mut life = Life::new("rely:create");
        life.fault(&Fault::Reset);
        life.attempt(&[]).exits(75);
        let entity = json!({"id": "new", "blueprintId": "deployment", "title": "t", "createdAt": created_at});
        life.sandbox.seed(Service::Rely, json!({"entities": {"new": entity}}));
        life.attempt(&[]).exits(code);
    }
}

#[test]
fn a_line_that_may_be_in_a_long_log_is_found_there_and_one_that_is_older_is_another() {
    for (lines, at, found) in [
        (250, "2025-03-01T10:59:30.000Z", true),
        (0, "2025-03-01T10:59:30.000Z", true),
        (3, "2025-03-01T09:00:00.000Z", false),
    ] {
        let mut life = Life::new("port:run-log");
        life.fault(&Fault::Reset);
        life.attempt(&[]).exits(75);
        let others = (0..lines).map(|number| json!({"message": format!("step {number}"), "createdAt": at}));
        let mut logs: Vec<Value> = others.collect();
        logs.push(json!({"message": "a line", "createdAt": at}));
        life.sandbox.seed(Service::Port, json!({"logs": {"r_1": logs}}));
        let before = life.counted();
        life.attempt(&[]).exits(0);
        assert_eq!(life.counted(), before + u64::from(!found), "{lines} lines before");
    }
}

#[test]
fn a_run_whose_end_was_told_without_an_answer_is_asked_how_it_ended() {
    for (fault, ended, code) in [
        (Fault::ProcessThenReset, None, 0),
        // Somebody else has ended it, otherwise.
        (Fault::Reset, Some("FAILURE"), 76),
        (Fault::Reset, None, 0),
    ] {
        let mut life = Life::new("port:run-update");
        life.sandbox.fail_on(Service::Port, "PATCH ", 1, fault.clone());
        life.attempt(&[]).exits(75);
        if let Some(status) = ended {
            life.sandbox
                .seed(Service::Port, json!({"runs": {"r_1": {"status": status}}}));
        }
        let ran = life.attempt(&[]);
        assert_eq!(ran.code, code, "{fault:?}: {}", ran.stderr);
        assert_eq!(life.counted(), 1, "its log is written once");
        let status = &life.sandbox.state(Service::Port)["runs"]["r_1"]["status"];
        assert_eq!(status, ended.unwrap_or("SUCCESS"));
    }
}

#[test]
fn an_older_direktiv_that_fails_leaves_in_doubt_whether_it_started_the_workflow() {
    for (code, body, is_in_doubt) in [
        (500, r#"{"code":500,"message":"boom"}"#, true),
        (
            400,
            r#"{"code":400,"message":"rpc error: code = DeadlineExceeded desc = context deadline exceeded"}"#,
            true,
        ),
        (
            400,
            r#"{"code":400,"message":"connection error: desc = \"transport: Error while dialing\""}"#,
            false,
        ),
        (406, r#"{"code":406,"message":"input is not JSON"}"#, false),
    ] {
        let mut life = Life::new("direktiv:execute");
        life.fault(&reply(code, &[], body));
        let v1 = [("DIREKTIV_API", "v1")];
        life.attempt(&v1);
        assert_eq!(life.entry()["in_doubt"], is_in_doubt, "{body}: {}", life.entry());
        let requests = life.sandbox.requests_to(Service::Direktiv).len();
        life.attempt(&v1);
        let more = life.sandbox.requests_to(Service::Direktiv).len() - requests;
        assert_eq!(more, usize::from(!is_in_doubt), "{body}");
    }
}

#[test]
fn a_workflow_that_ran_and_failed_is_not_kept_to_be_started_again() {
    let mut life = Life::new("direktiv:execute");
    let failed = [("direktiv-instance-error-code", "my.error")];
    life.fault(&reply(500, &failed, r#"{"code":500,"message":"too late"}"#));
    life.attempt(&[("DIREKTIV_API", "v1"), ("DIREKTIV_WAIT", "true")])
        .exits(76)
        .says("the workflow failed: my.error");
    life.replay().exits(0).says("there is nothing to replay");
}

#[test]
fn a_replay_that_saw_no_answer_marks_its_file() {
    let mut life = Life::new("cto");
    life.fault(&Fault::status(403));
    life.attempt(&[]).exits(76);
    life.fault(&Fault::ProcessThenReset);
    life.replay().exits(75).says_of("cto", "In doubt: ");
    for _ in 0..2 {
        life.replay().exits(75).says_of("cto", "it may have been processed");
    }
    assert_eq!(life.counted(), 1);
    let kept = life.folder.join("receipts/undelivered");
    let files: Vec<PathBuf> = std::fs::read_dir(&kept)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    assert_eq!(files.len(), 1, "nothing else is left: {files:?}");
    assert_eq!(json_of(&files[0])["in_doubt"], true);
    notify(&["replay", kept.to_str().expect("UTF-8")])
        .at(&life.sandbox)
        .without("EVENT_ACTION")
        .var("NOTIFY_ON_DOUBT", "send")
        .run()
        .exits(0)
        .says_of("cto", "it is sent, as NOTIFY_ON_DOUBT=send says");
    assert_eq!(life.counted(), 2);
    life.replay().exits(0).says("there is nothing to replay");
}

#[test]
fn what_is_in_doubt_stays_so_where_the_next_attempt_can_not_even_try() {
    for (name, value, code) in [("CTOAI_TEAM_ID", "", 78), ("CTOAI_API_URL", "http://127.0.0.1:9", 75)] {
        let mut life = Life::new("cto");
        life.fault(&Fault::ProcessThenReset);
        life.attempt(&[]).exits(75);
        life.attempt(&[(name, value)]).exits(code).says_of("cto", "In doubt: ");
        assert_eq!(life.entry()["in_doubt"], true, "{name}");
        // What this attempt has kept is all that a replay gets.
        life.replay().exits(75).says_of("cto", "it may have been processed");
        assert_eq!(life.counted(), 1, "{name}");
    }
}

#[test]
fn a_dry_run_shows_what_is_in_doubt_and_sends_nothing() {
    let mut life = Life::new("cto");
    life.fault(&Fault::ProcessThenReset);
    life.attempt(&[]).exits(75);
    let id = (OWN + 1).to_string();
    let mut list = life.attempts.clone();
    list.push(json!({"id": OWN + 1, "name": "notify", "status": "running"}));
    seed_only(&life.sandbox, &list);
    let mut run = prepared(&life.sandbox, &["--dry-run", "cto"]);
    for (name, value) in life.sandbox.gitlab_variables() {
        run = run.var(&name, value);
    }
    let output = life.folder.join("receipts");
    run.var("CI_JOB_ID", id)
        .var("CI_PROJECT_DIR", &life.folder)
        .var("NOTIFY_OUTPUT_DIR", output)
        .run()
        .exits(0)
        .says_of(
            "cto",
            "unavailable: an earlier attempt (job 991) sent it and saw no answer that tells",
        );
    assert_eq!(life.counted(), 1);
}

#[test]
fn an_outage_is_one_however_long_its_page_is() {
    let page = "x".repeat(5 << 18);
    for code in [500, 503, 429] {
        let sandbox = ready_with(Options::default());
        fail(&sandbox, Service::Rely, 1, &reply(code, &[("retry-after", "0")], &page));
        prepared(&sandbox, &["rely"])
            .run()
            .exits(0)
            .says_of("rely", "2 attempts");
    }
    // What refuses is no outage.
    let sandbox = ready_with(Options::default());
    fail(&sandbox, Service::Cto, 1, &reply(400, &[], &page));
    prepared(&sandbox, &["cto"])
        .run()
        .exits(76)
        .says_of("cto", "answered 400 with more than the");
}

#[test]
fn no_compressed_reply_is_asked_for() {
    let sandbox = ready_with(Options::default());
    prepared(&sandbox, &["rely", "port", "cto"]).run().exits(0);
    let requests = sandbox.requests();
    assert!(requests.len() >= 4);
    for request in requests {
        let asked = request.headers.iter().find(|(name, _)| name == "accept-encoding");
        assert_eq!(
            asked.map(|(_, value)| value.as_str()),
            Some("identity"),
            "{}",
            request.path
        );
    }
}
