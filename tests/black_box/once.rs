//! Exactly once: a job that is run again sends what its earlier attempts did not deliver, and nothing else
//! (docs/gitlab.md 3.8).

use std::{fs, path::PathBuf, time::Duration};

use sandbox::{Fault, GitLabAccess, Options, Sandbox, Service};
use serde_json::{Value, json};

use crate::{
    gitlab::{OWN, in_job, jobs, own, seed_only, writes},
    support::{
        Ran, Run, folder,
        held::{cto_actions, direktiv_namespace, rely_entity},
        json_of,
    },
};

/// A job that is run again and again, in a pipeline of its own.
struct Notify {
    sandbox: Sandbox,
    folder: PathBuf,
    arguments: &'static [&'static str],
    variables: Vec<(&'static str, &'static str)>,
    /// The pipeline's other jobs.
    others: Vec<Value>,
    /// The attempts so far, as GitLab lists them.
    attempts: Vec<Value>,
    /// Whether attempts leave their receipts as artifacts.
    keeps_receipts: bool,
}

impl Notify {
    fn new(name: &str, arguments: &'static [&'static str]) -> Self {
        Self::at(Sandbox::start(), name, arguments)
    }

    fn at(sandbox: Sandbox, name: &str, arguments: &'static [&'static str]) -> Self {
        Self {
            sandbox,
            folder: folder(&format!("once-{name}")),
            arguments,
            variables: vec![("NOTIFY_ATTEMPTS", "1")],
            others: Vec::new(),
            attempts: Vec::new(),
            keeps_receipts: true,
        }
    }

    fn var(mut self, name: &'static str, value: &'static str) -> Self {
        self.variables.push((name, value));
        self
    }

    fn set(&mut self, name: &'static str, value: &'static str) {
        self.variables.push((name, value));
    }

    fn without_receipts(mut self) -> Self {
        self.keeps_receipts = false;
        self
    }

    /// The next attempt: a job with the same name and a higher id. Afterwards it is one of the earlier attempts, with
    /// the end that its exit code means and the receipt that it wrote.
    fn attempt(&mut self) -> Ran {
        let number = self.attempts.len();
        let id = OWN + number as u64;
        let mut list = self.others.clone();
        list.extend(self.attempts.iter().cloned());
        list.push(json!({"id": id, "name": "notify", "stage": ".post", "status": "running"}));
        seed_only(&self.sandbox, &list);
        let output = self.folder.join("receipts");
        let mut run: Run = in_job(self.arguments, &self.sandbox)
            .var("CI_JOB_ID", id.to_string())
            .var("CI_PROJECT_DIR", &self.folder)
            .var("NOTIFY_OUTPUT_DIR", &output);
        run = run.vars(self.variables.iter().copied());
        let ran = run.run();
        let mut attempt = json!({
            "id": id,
            "name": "notify",
            "stage": ".post",
            "status": if ran.code == 0 { "success" } else { "failed" },
            "allow_failure": ran.code != 0,
            "started_at": format!("2025-03-01T11:{number:02}:00.000Z"),
        });
        if self.keeps_receipts {
            attempt["artifacts"] = json!({"receipts/receipt.json": json_of(&output.join("receipt.json"))});
        }
        fs::remove_dir_all(&output).expect("the receipts can be removed");
        self.attempts.push(attempt);
        ran
    }

    fn writes(&self) -> usize {
        writes(&self.sandbox).len()
    }
}

type Setup = fn(&Sandbox);
type Operation = (&'static [&'static str], Vec<(&'static str, &'static str)>, Setup);

/// Every operation that adds or triggers something: arguments, variables, and what has to be there before.
fn once_operations() -> Vec<Operation> {
    let release: Setup = |sandbox| {
        let release = json!({"repo": "acme/shop", "commit": "9f2c1e7d"});
        sandbox.seed(
            Service::Aviator,
            json!({"releases": {"1.4.0-rc1": release, "1.3.0-rc1": release}}),
        );
        let deployed =
            |candidate| json!({"id": candidate, "release_candidate_version": candidate, "status": "success"});
        let deployments = json!([deployed("1.4.0-rc1"), deployed("1.3.0-rc1")]);
        sandbox.seed(
            Service::Aviator,
            json!({"environments": {"production": {"deployments": deployments}}}),
        );
    };
    let run: Setup = |sandbox| sandbox.seed(Service::Port, json!({"runs": {"r_1": {}}}));
    let nothing: Setup = |_| {};
    let candidate = ("AVIATOR_RELEASE_CANDIDATE", "1.4.0-rc1");
    let production = ("EVENT_ENVIRONMENT", "production");
    vec![
        (&["cto"], vec![], nothing),
        (&["rely:create"], vec![], nothing),
        (&["port:create"], vec![], nothing),
        (
            &["aviator:release"],
            vec![("AVIATOR_RELEASE_CANDIDATE", "2.0.0-rc1")],
            nothing,
        ),
        (&["aviator:deployment"], vec![candidate, production], release),
        (&["aviator:rollback"], vec![production], release),
        (
            &["direktiv:execute"],
            vec![("DIREKTIV_WORKFLOW", "/wf/deploy.yaml")],
            nothing,
        ),
        (&["port:run-create"], vec![("PORT_ACTION", "deploy")], nothing),
        (
            &["port:run-log"],
            vec![("PORT_RUN_ID", "r_1"), ("PORT_RUN_LOG", "deployed")],
            run,
        ),
        (
            &["port:run-update"],
            vec![("PORT_RUN_ID", "r_1"), ("PORT_RUN_LOG", "deployed")],
            run,
        ),
    ]
}

fn job_of((arguments, variables, setup): Operation) -> Notify {
    let mut job = Notify::new(&arguments[0].replace(':', "-"), arguments).var("EVENT_ACTION", "success");
    job.variables.extend(variables);
    setup(&job.sandbox);
    job
}

#[test]
fn what_was_delivered_is_not_delivered_again() {
    for operation in once_operations() {
        let mut job = job_of(operation);
        job.attempt().exits(0).says("1 sent");
        let sent = job.writes();
        for _ in 0..2 {
            job.attempt()
                .exits(0)
                .says("skipped")
                .says("job 991, an earlier attempt, has sent it");
        }
        assert_eq!(job.writes(), sent, "{:?}", job.arguments);
    }
}

#[test]
fn what_failed_is_delivered_by_the_next_attempt_and_then_no_more() {
    for operation in once_operations() {
        let mut job = job_of(operation);
        for service in Service::DESTINATIONS {
            job.sandbox.fail(service, 1, Fault::status(403));
        }
        job.attempt().exits(76);
        job.attempt().exits(0).says("1 sent");
        let sent = job.writes();
        job.attempt().exits(0).says("job 992, an earlier attempt, has sent it");
        assert_eq!(job.writes(), sent, "{:?}", job.arguments);
    }
}

#[test]
fn only_what_is_missing_is_sent() {
    let mut job = Notify::new("missing", &["rely", "cto", "port:run-create"])
        .var("EVENT_ACTION", "success")
        .var("PORT_ACTION", "deploy");
    job.sandbox.fail(Service::Port, 1, Fault::status(403));
    job.attempt().exits(76).says("2 sent, 1 rejected");
    // What repeats without harm repeats.
    job.attempt().exits(0).says("2 sent, 1 skipped");
    assert_eq!(cto_actions(&job.sandbox), ["success"]);
    assert_eq!(
        job.sandbox.state(Service::Port)["runs"]
            .as_object()
            .map(serde_json::Map::len),
        Some(1)
    );
    assert_eq!(rely_entity(&job.sandbox)["properties"]["status"], "SUCCESS");
    job.attempt().exits(0).says("1 sent, 2 skipped");
}

#[test]
fn what_is_an_upsert_asks_nobody_and_repeats() {
    let mut job = Notify::new("upsert", &["rely", "port", "direktiv"]).var("EVENT_ACTION", "success");
    job.attempt().exits(0).says("3 sent");
    job.attempt()
        .exits(0)
        .says("2 sent, 1 skipped")
        .says("already received the event acme-shop-8812-deployment-success-");
    assert_eq!(job.sandbox.requests_to(Service::GitLab).len(), 0);
    let entities = |service, kind: &str| job.sandbox.state(service)["entities"][kind].clone();
    assert_eq!(
        entities(Service::Rely, "acme-shop-8812")["properties"]["status"],
        "SUCCESS"
    );
    let deployments = entities(Service::Port, "deployment");
    assert_eq!(
        deployments.as_object().map(serde_json::Map::len),
        Some(1),
        "{deployments}"
    );
}

#[test]
fn another_event_of_the_same_job_is_another_event() {
    for (name, first, second) in [
        ("EVENT_ACTION", "failure", "success"),
        ("EVENT_ENVIRONMENT", "staging", "production"),
        ("EVENT_NAME", "release", "deployment"),
    ] {
        let mut job = Notify::new(&format!("other-{name}"), &["cto"]).var("EVENT_ACTION", "success");
        job.set(name, first);
        job.attempt().exits(0).says("1 sent");
        job.set(name, second);
        job.attempt().exits(0).says("1 sent");
        job.attempt().exits(0).says("1 skipped");
        assert_eq!(cto_actions(&job.sandbox).len(), 2, "{name}");
    }
}

/// Each row: what the deploy job went through, and what has arrived after the notify job has run behind each of its
/// attempts, and once more at the end.
#[test]
fn a_changed_truth_is_sent_and_an_unchanged_one_is_not() {
    for fates in [
        &["failed", "success"][..],
        &["success", "failed"],
        // The second failure is as much news as the first was.
        &["failed", "failed"],
        &["failed", "success", "failed"],
        &["failed", "failed", "success"],
    ] {
        for watched in ["deploy", ""] {
            let mut job = Notify::new(&format!("truth-{}-{watched}", fates.join("-")), &["cto"]);
            job.set("NOTIFY_JOB", watched);
            let mut expected = Vec::new();
            for (attempt, fate) in fates.iter().enumerate() {
                // It runs after the notify job behind the attempt before, and before the one behind it: each of
                // those starts on a minute of 11:00 to 11:09.
                let minute = (2 * attempt)
                    .checked_sub(1)
                    .map_or("10:00".to_owned(), |m| format!("11:{m:02}"));
                let mut deploy = jobs(&format!("deploy {fate}")).remove(0);
                deploy["id"] = json!(attempt + 1);
                deploy["started_at"] = json!(format!("2025-03-01T{minute}:10.000Z"));
                deploy["finished_at"] = json!(format!("2025-03-01T{minute}:40.000Z"));
                job.others.push(deploy);
                expected.push(if *fate == "failed" { "failure" } else { "success" });
                let case = format!("{fates:?}, NOTIFY_JOB={watched:?}, {attempt}");
                job.attempt().exits(0);
                assert_eq!(cto_actions(&job.sandbox), expected, "{case}");
                job.attempt().exits(0).says("an earlier attempt");
                assert_eq!(cto_actions(&job.sandbox), expected, "{case}, again");
            }
        }
    }
}

#[test]
fn a_deploy_job_that_reports_from_its_after_script_reports_each_of_its_runs() {
    let mut job = Notify::new("after-script", &["cto"]).var("CI_JOB_STATUS", "failed");
    job.set("CI_JOB_STARTED_AT", "2025-03-01T10:00:00Z");
    job.attempt().exits(0).says("1 sent");
    job.set("CI_JOB_STARTED_AT", "2025-03-01T11:00:30Z");
    job.attempt().exits(0).says("1 sent");
    job.set("CI_JOB_STATUS", "success");
    job.set("CI_JOB_STARTED_AT", "2025-03-01T11:01:30Z");
    job.attempt().exits(0).says("1 sent");
    assert_eq!(cto_actions(&job.sandbox), ["failure", "failure", "success"]);
}

/// An attempt that ended well may have sent it, or may have been switched off, filtered, or told that nothing had happened.
#[test]
fn without_receipts_a_good_end_tells_nothing() {
    for (name, value) in [("", ""), ("NOTIFY_ENABLED", "false"), ("NOTIFY_ONLY", "failure")] {
        let mut job = Notify::new(&format!("good-end-{name}"), &["cto"])
            .without_receipts()
            .var("EVENT_ACTION", "success");
        if !name.is_empty() {
            job.set(name, value);
        }
        job.attempt().exits(0);
        job.variables.retain(|(set, _)| *set != name);
        let sent = job.writes();
        job.attempt().exits(75).says("(job 991) left no receipt");
        assert_eq!(job.writes(), sent, "{name}");
        job.set("NOTIFY_ON_DOUBT", "send");
        job.attempt().exits(0).says("1 sent");
        assert_eq!(job.writes(), sent + 1, "{name}");
    }
}

#[test]
fn without_receipts_a_bad_end_tells_nothing_and_that_is_said() {
    let cases: [(&str, GitLabAccess, bool); 4] = [
        ("no artifacts", GitLabAccess::Allowed, false),
        ("refused 401", GitLabAccess::Refused(401), true),
        ("refused 403", GitLabAccess::Refused(403), true),
        ("refused 404", GitLabAccess::Refused(404), true),
    ];
    for (case, gitlab_artifacts, keeps_receipts) in cases {
        let sandbox = Sandbox::start_with(Options {
            gitlab_artifacts,
            ..Options::default()
        });
        let mut job = Notify::at(sandbox, "bad-end", &["cto", "rely"]).var("EVENT_ACTION", "success");
        job.keeps_receipts = keeps_receipts;
        job.sandbox.fail(Service::Rely, 1, Fault::status(403));
        job.attempt().exits(76).says("1 sent, 1 rejected");
        let ran = job.attempt().exits(75).says_of("cto", "unavailable");
        let text = "(job 991) left no receipt, so it can't be known whether it sent this already (with NOTIFY_OUTPUT_DIR \
                    kept as an artifact it would be known)";
        assert!(ran.stderr.contains(text), "{case}: {}", ran.stderr);
        assert_eq!(cto_actions(&job.sandbox).len(), 1, "{case}");
        job.set("NOTIFY_ON_DOUBT", "send");
        job.attempt()
            .exits(0)
            .says_of("cto", "it is sent, as NOTIFY_ON_DOUBT=send says");
        assert_eq!(cto_actions(&job.sandbox).len(), 2, "{case}");
    }
}

#[test]
fn what_may_have_arrived_is_sent_again_only_where_somebody_says_so() {
    let mut job = Notify::new("ambiguous", &["cto"]).var("EVENT_ACTION", "success");
    job.sandbox.fail(Service::Cto, 1, Fault::ProcessThenReset);
    job.attempt().exits(75).says("It may have been processed all the same");
    // The doubt is handed on from attempt to attempt, in receipts and in what is kept.
    for number in 1..3 {
        job.attempt()
            .exits(75)
            .says("sent it and saw no answer that tells, so it can't be known whether it was processed")
            .says("In doubt: look at CTO.ai whether it counted")
            .says("kept for `notify-event replay`");
        let entry = &job.attempts[number]["artifacts"]["receipts/receipt.json"]["destinations"][0];
        assert_eq!(
            (&entry["class"], &entry["in_doubt"], &entry["attempts"]),
            (&json!("unavailable"), &json!(true), &json!(0))
        );
    }
    assert_eq!(cto_actions(&job.sandbox).len(), 1);
    job.set("NOTIFY_ON_DOUBT", "send");
    job.attempt()
        .exits(0)
        .says_of("cto", "it is sent, as NOTIFY_ON_DOUBT=send says");
    job.attempt().exits(0).says("job 994, an earlier attempt, has sent it");
    assert_eq!(cto_actions(&job.sandbox).len(), 2);
}

#[test]
fn what_is_left_out_is_left_out_whatever_is_in_doubt() {
    let mut job = Notify::new("doubt-only", &["cto"]).var("EVENT_ACTION", "success");
    job.sandbox.fail(Service::Cto, 1, Fault::ProcessThenReset);
    job.attempt().exits(75);
    job.set("NOTIFY_ONLY", "failure");
    job.attempt().exits(0).says("NOTIFY_ONLY=failure leaves success out");
    job.set("NOTIFY_ONLY", "");
    job.set("CTOAI_TEAM_ID", "");
    job.attempt().exits(78).says("CTOAI_TEAM_ID is not set");
}

#[test]
fn a_workflow_that_was_started_and_not_seen_to_end_is_not_started_again() {
    let sandbox = Sandbox::start_with(Options {
        direktiv_workflow_takes: Duration::from_mins(1),
        ..Options::default()
    });
    let mut job = Notify::at(sandbox, "accepted", &["direktiv:execute"])
        .var("EVENT_ACTION", "success")
        .var("DIREKTIV_WORKFLOW", "/wf/deploy.yaml")
        .var("DIREKTIV_WAIT", "true")
        .var("NOTIFY_TIMEOUT", "1");
    job.attempt().exits(75).says("the 1 s of NOTIFY_TIMEOUT are over");
    job.attempt()
        .exits(0)
        .says("has sent it and it was accepted; how it ended was not seen");
    let instances = direktiv_namespace(&job.sandbox)["instances"].clone();
    assert_eq!(instances.as_array().map(Vec::len), Some(1), "{instances}");
}

#[test]
fn a_receipt_that_is_none_counts_as_none() {
    for content in [json!("<html>sign in</html>"), json!("[]"), json!({"destinations": "x"})] {
        let mut job = Notify::new("no-receipt", &["cto"]).var("EVENT_ACTION", "success");
        job.sandbox.fail(Service::Cto, 1, Fault::status(403));
        job.attempt().exits(76);
        job.attempts[0]["artifacts"]["receipts/receipt.json"] = content;
        job.attempt().exits(75).says("(job 991) left no receipt");
        assert!(cto_actions(&job.sandbox).is_empty());
    }
}

#[test]
fn a_gitlab_that_shows_no_jobs_is_named_and_the_event_is_sent() {
    for status in [401, 403, 404] {
        let sandbox = Sandbox::start_with(Options {
            gitlab_jobs: GitLabAccess::Refused(status),
            ..Options::default()
        });
        let mut job = Notify::at(sandbox, "no-jobs", &["cto"]).var("EVENT_ACTION", "success");
        job.attempt()
            .exits(0)
            .says("whether an earlier attempt of this job has sent this can't be known: GitLab does not show this to CI_JOB_TOKEN");
        assert_eq!(cto_actions(&job.sandbox), ["success"]);
    }
}

#[test]
fn an_optional_destination_says_nothing_by_the_jobs_good_end() {
    for keeps_receipts in [true, false] {
        let mut job = Notify::new("optional", &["cto?", "port:run-create?"])
            .var("EVENT_ACTION", "success")
            .var("PORT_ACTION", "deploy");
        job.keeps_receipts = keeps_receipts;
        job.sandbox.fail(Service::Cto, 1, Fault::status(403));
        job.attempt().exits(0).says("1 sent, 1 rejected");
        let ran = job.attempt().exits(0);
        let runs = job.sandbox.state(Service::Port)["runs"]
            .as_object()
            .map(serde_json::Map::len);
        assert_eq!(runs, Some(1), "what was sent is not sent again");
        if keeps_receipts {
            assert_eq!(cto_actions(&job.sandbox), ["success"], "what failed is sent");
        } else {
            ran.says("it can't be known").says("2 unavailable");
            assert!(cto_actions(&job.sandbox).is_empty(), "nor what may have been sent");
        }
    }
}

#[test]
fn a_policy_that_ignores_failures_says_nothing_by_the_jobs_good_end() {
    for keeps_receipts in [true, false] {
        let mut job = Notify::new("ignore", &["cto"])
            .var("EVENT_ACTION", "success")
            .var("NOTIFY_ON_ERROR", "ignore");
        job.keeps_receipts = keeps_receipts;
        job.sandbox.fail(Service::Cto, 1, Fault::status(403));
        job.attempt().exits(0).says("1 rejected");
        let ran = job.attempt().exits(0);
        if keeps_receipts {
            ran.says("1 sent");
            let ran = job.attempt().exits(0);
            ran.says("job 992, an earlier attempt, has sent it");
        } else {
            ran.says("it can't be known").says("1 unavailable");
        }
    }
}

#[test]
fn a_run_whose_log_got_through_is_only_updated_by_the_next_attempt() {
    let mut job = Notify::new("log", &["port:run-update"])
        .var("EVENT_ACTION", "success")
        .var("PORT_RUN_ID", "r_1")
        .var("PORT_RUN_LOG", "deployed");
    job.sandbox.seed(Service::Port, json!({"runs": {"r_1": {}}}));
    job.sandbox.fail_on(Service::Port, "PATCH /", 2, Fault::status(503));
    job.attempt().exits(75);
    job.attempt().exits(75);
    assert_eq!(
        job.attempts[1]["artifacts"]["receipts/receipt.json"]["destinations"][0]["completed"],
        json!(["PORT_RUN_LOG"])
    );
    job.attempt().exits(0).says("1 sent");
    let state = job.sandbox.state(Service::Port);
    assert_eq!(state["runs"]["r_1"]["status"], "SUCCESS");
    assert_eq!(state["logs"]["r_1"].as_array().map(Vec::len), Some(1), "{state}");
}

#[test]
fn a_job_that_reports_several_events_repeats_none_of_them() {
    let sandbox = Sandbox::start();
    let folder = folder("once-several");
    let environments = ["staging", "production", "demo"];
    let run_all = |id: u64, expected: [&str; 3]| {
        for (environment, expected) in environments.iter().zip(expected) {
            in_job(&["cto"], &sandbox)
                .var("EVENT_ACTION", "success")
                .var("EVENT_ENVIRONMENT", environment)
                .var("CI_JOB_ID", id.to_string())
                .var("CI_PROJECT_DIR", &folder)
                .var("NOTIFY_OUTPUT_DIR", folder.join("receipts"))
                .var("NOTIFY_ATTEMPTS", "1")
                .run()
                .says(expected);
        }
    };
    let running = |id: u64| json!({"id": id, "name": "notify", "status": "running"});
    let left = |id: u64| {
        let receipt = json_of(&folder.join("receipts/receipt.json"));
        json!({"id": id, "name": "notify", "status": "failed", "artifacts": {"receipts/receipt.json": receipt}})
    };
    seed_only(&sandbox, &[running(OWN)]);
    sandbox.fail(Service::Cto, 1, Fault::status(403));
    run_all(OWN, ["1 rejected", "1 sent", "1 sent"]);
    let first = left(OWN);
    // The runner's folder may still be there: what another job has left in it is not this job's.
    seed_only(&sandbox, &[first.clone(), running(OWN + 1)]);
    run_all(OWN + 1, ["1 sent", "1 skipped", "1 skipped"]);
    seed_only(&sandbox, &[first, left(OWN + 1), running(OWN + 2)]);
    run_all(OWN + 2, ["1 skipped", "1 skipped", "1 skipped"]);
    assert_eq!(cto_actions(&sandbox).len(), 3);
}

#[test]
fn jobs_of_other_names_and_later_ones_are_no_earlier_attempts() {
    let mut job = Notify::new("names", &["cto"]).var("EVENT_ACTION", "success");
    let receipt = json!({"destinations": [{
        "destination": "cto", "operation": "event", "class": "sent", "event_id": "acme-shop-8812",
        "event_name": "deployment", "action": "success",
    }]});
    for (id, name) in [(5, "notify 1/2"), (6, "notify-staging"), (2000, "notify")] {
        job.others
            .push(json!({"id": id, "name": name, "artifacts": {"receipts/receipt.json": receipt}}));
    }
    job.attempt().exits(0).says("1 sent");
    let asked = job.sandbox.requests_to(Service::GitLab);
    assert_eq!(asked.len(), 1, "no artifact of theirs is read: {asked:?}");
}

#[test]
fn receipts_are_looked_for_where_artifacts_have_them() {
    // Outside of the project's folder nothing can be an artifact, and nothing is asked for.
    for (output, path) in [
        ("receipts", Some("receipts")),
        ("./a/b", Some("a/b")),
        ("$PROJECT/a b", Some("a%20b")),
        ("$ELSEWHERE/receipts", None),
    ] {
        let folder = folder("once-places");
        let elsewhere = crate::support::folder("once-elsewhere");
        let sandbox = Sandbox::start();
        seed_only(
            &sandbox,
            &[json!({"id": 900, "name": "notify", "status": "failed"}), own()],
        );
        in_job(&["cto"], &sandbox)
            .var("EVENT_ACTION", "success")
            .var("CI_PROJECT_DIR", &folder)
            .var(
                "NOTIFY_OUTPUT_DIR",
                output
                    .replace("$PROJECT", folder.to_str().expect("UTF-8"))
                    .replace("$ELSEWHERE", elsewhere.to_str().expect("UTF-8")),
            )
            .within(&folder)
            .run()
            .says("(job 900) left no receipt");
        let asked: Vec<String> = sandbox
            .requests_to(Service::GitLab)
            .iter()
            .map(|request| request.path.clone())
            .collect();
        let expected = path.map(|path| format!("/api/v4/projects/42/jobs/900/artifacts/{path}/receipt.json"));
        assert_eq!(asked.get(1), expected.as_ref(), "{output}");
    }
}

#[test]
fn outside_of_a_job_nothing_is_asked() {
    let sandbox = Sandbox::start();
    in_job(&["cto"], &sandbox)
        .var("EVENT_ACTION", "success")
        .without("CI_API_V4_URL")
        .run()
        .exits(0);
    assert_eq!(cto_actions(&sandbox), ["success"]);
    assert_eq!(sandbox.requests_to(Service::GitLab).len(), 0);
}
