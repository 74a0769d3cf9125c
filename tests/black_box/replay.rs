//! Nothing lost: what could not be delivered is kept without its secrets, and delivered later as it would have been,
//! once, in order, and never over something newer.

use std::{
    fs,
    path::{Path, PathBuf},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use sandbox::{Fault, Options, Recorded, Sandbox, Service};
use serde_json::{Value, json};

use crate::{
    gitlab::{OWN, in_job, jobs, seed, seed_only, writes},
    support::{
        Run, folder,
        held::{cto_actions, deployed, port_deployment, rely_entity, rely_production, workflows},
        json_of, notify,
        operations::service_of,
        secrets::{credentials, forms},
    },
};

type Variables = &'static [(&'static str, &'static str)];

const CANDIDATE: (&str, &str) = ("AVIATOR_RELEASE_CANDIDATE", "1.4.0-rc1");
const PRODUCTION: (&str, &str) = ("EVENT_ENVIRONMENT", "production");
const WORKFLOW: (&str, &str) = ("DIREKTIV_WORKFLOW", "/wf/deploy.yaml");
const RUN: (&str, &str) = ("PORT_RUN_ID", "r_1");

/// Every operation that writes, which of its requests fail at first, and its variables.
const WRITES: &[(&str, &str, Variables)] = &[
    ("rely", "/", &[]),
    ("rely:create", "/", &[("RELY_ENTITY_ID", "new")]),
    ("rely:replace", "PUT", &[]),
    (
        "rely:patch",
        "PUT",
        &[("RELY_PROPERTIES", r#"{"status": "ODD \"one\""}"#)],
    ),
    ("cto", "/", &[("EVENT_IMAGE", "shop:1.4.2")]),
    ("direktiv", "POST", &[]),
    ("direktiv:sync", "POST", &[]),
    ("direktiv:execute", "POST", &[WORKFLOW]),
    ("aviator", "PATCH", &[CANDIDATE, PRODUCTION]),
    ("aviator:release", "POST", &[("AVIATOR_RELEASE_CANDIDATE", "2.0.0-rc1")]),
    ("aviator:deployment", "POST", &[CANDIDATE, PRODUCTION]),
    ("aviator:rollback", "POST", &[PRODUCTION]),
    ("port", "POST /v1/blueprints", &[]),
    ("port:create", "POST /v1/blueprints", &[("PORT_ENTITY_ID", "new")]),
    ("port:replace", "PUT", &[]),
    ("port:patch", "PATCH", &[("PORT_PROPERTIES", r#"{"version": "1.4.2"}"#)]),
    ("port:delete", "DELETE", &[("PORT_ENTITY_ID", "acme-shop-8812")]),
    ("port:run-create", "POST /v1/actions", &[("PORT_ACTION", "deploy")]),
    ("port:run-update", "PATCH", &[RUN]),
    ("port:run-log", "POST /v1/actions", &[RUN, ("PORT_RUN_LOG", "deployed")]),
    ("cdevents", "POST", &[]),
];

/// Those of them that delete something, or have a service act.
const DRASTIC: &[&str] = &[
    "direktiv:execute",
    "aviator:deployment",
    "aviator:rollback",
    "port:delete",
    "port:run-create",
];

/// Puts there what an operation needs: an entity, releases and deployments, a run.
fn prepare(sandbox: &Sandbox) {
    let entity = json!({"blueprintId": "deployment", "title": "t"});
    sandbox.seed(Service::Rely, json!({"entities": {"acme-shop-8812": entity}}));
    let entities = json!({"deployment": {"acme-shop-8812": {}}});
    sandbox.seed(Service::Port, json!({"entities": entities, "runs": {"r_1": {}}}));
    let release = json!({"repo": "acme/shop", "commit": "9f2c1e7d"});
    sandbox.seed(
        Service::Aviator,
        json!({"releases": {"1.4.0-rc1": release, "1.3.0-rc1": release}}),
    );
    let deployed = |candidate, start| json!({"id": candidate, "release_candidate_version": candidate, "status": "success", "deploy_start_at": start});
    let deployments = json!([
        deployed("1.4.0-rc1", "2025-03-01T10:00:00Z"),
        deployed("1.3.0-rc1", "2025-02-01T10:00:00Z")
    ]);
    sandbox.seed(
        Service::Aviator,
        json!({"environments": {"production": {"deployments": deployments}}}),
    );
}

/// Lets every request that fits `on` (a method, a part of the path, or both) fail, so many times.
fn fail(sandbox: &Sandbox, service: Service, on: &str, times: usize, fault: Fault) {
    let on = if on.contains(' ') || on.starts_with('/') {
        on.to_owned()
    } else {
        format!("{on} /")
    };
    sandbox.fail_on(service, &on, times, fault);
}

/// A run that can't deliver, and keeps what it could not in `folder`.
fn failing(arguments: &[&str], sandbox: &Sandbox, folder: &Path) -> Run {
    notify(arguments)
        .at(sandbox)
        .var("NOTIFY_ATTEMPTS", "1")
        .var("NOTIFY_OUTPUT_DIR", folder)
}

/// A replay, in a job that knows nothing but the pipeline and the way to the services.
fn replay(paths: &[&Path], sandbox: &Sandbox) -> Run {
    let mut arguments = vec!["replay"];
    arguments.extend(paths.iter().map(|path| path.to_str().expect("UTF-8")));
    notify(&arguments)
        .at(sandbox)
        .without("EVENT_ACTION")
        .var("CI_JOB_NAME", "replay")
        .var("CI_COMMIT_SHA", "0000000000000000000000000000000000000000")
        .var("CI_COMMIT_BRANCH", "main")
        .var("GITLAB_USER_LOGIN", "robin")
        .var("NOTIFY_ATTEMPTS", "1")
}

fn undelivered(folder: &Path) -> PathBuf {
    folder.join("undelivered")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(undelivered(folder)) else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

/// What was asked for, apart from credentials.
fn essence(request: &Recorded) -> String {
    format!(
        "{} {}?{} {}",
        request.method,
        request.path,
        request.query,
        request.text()
    )
}

#[test]
fn every_operation_is_kept_and_delivered_later_as_it_would_have_been() {
    for fault in [Fault::status(503), Fault::status(403), Fault::EchoSecrets] {
        for (target, on, variables) in WRITES {
            let is_503 = fault == Fault::status(503);
            let case = format!("{target}, {fault:?}");
            let sandbox = Sandbox::start();
            prepare(&sandbox);
            let folder = folder(&format!("replay-{}", target.replace(':', "-")));
            let service = service_of(target);
            fail(&sandbox, service, on, 1, fault.clone());
            let run = || failing(&[target], &sandbox, &folder).vars(variables.iter().copied());
            // A 503 may have been processed, of what is not known to be repeatable: that is another test.
            let is_doubtful = is_503
                && *target != "cto"
                && [
                    "direktiv:execute",
                    "aviator:deployment",
                    "aviator:rollback",
                    "port:run-create",
                    "port:run-log",
                ]
                .contains(target);
            if is_doubtful {
                continue;
            }
            let code = if is_503 { 75 } else { 76 };
            run().run().exits(code).says("kept for `notify-event replay` in");
            let kept = files(&folder);
            assert_eq!(kept.len(), 1, "{case}");
            let failed = writes(&sandbox);
            assert_eq!(failed.len(), 1, "{case}: {failed:?}");
            let mut named = undelivered(&folder);
            if DRASTIC.contains(target) {
                replay(&[&named], &sandbox)
                    .run()
                    .exits(0)
                    .says("1 skipped")
                    .says("deletes or triggers something, which the replay of a folder does not; name the file itself");
                assert_eq!(writes(&sandbox).len(), 1, "{case}");
                named.clone_from(&kept[0]);
            }
            replay(&[&named], &sandbox)
                .run()
                .exits(0)
                .says("1 sent")
                .says(kept[0].to_str().expect("UTF-8"));
            let sent = writes(&sandbox);
            assert_eq!(sent.len(), 2, "{case}: {sent:?}");
            assert_eq!(essence(&sent[1]), essence(&failed[0]), "{case}");
            assert!(files(&folder).is_empty(), "{case}");
            replay(&[&undelivered(&folder)], &sandbox)
                .run()
                .exits(0)
                .says("there is nothing to replay");
            assert_eq!(writes(&sandbox).len(), 2, "{case}");
        }
    }
}

#[test]
fn what_is_kept_holds_no_secret_in_any_form() {
    for (target, on, variables) in WRITES {
        let sandbox = Sandbox::start();
        prepare(&sandbox);
        let folder = folder(&format!("replay-secrets-{}", target.replace(':', "-")));
        fail(&sandbox, service_of(target), on, 1, Fault::EchoSecrets);
        let mut secrets: Vec<String> = credentials().into_iter().map(|credential| credential.value).collect();
        secrets.push("glcbt-64_job-token-value".to_owned());
        // Somebody has put a secret where none belongs.
        let token = &secrets[0];
        failing(&[target], &sandbox, &folder)
            .vars(variables.iter().copied())
            .var("EVENT_TITLE", format!("with {token}"))
            .var(
                "EVENT_PROPERTIES",
                json!({"header": format!("Bearer {}", BASE64_STANDARD.encode(token))}).to_string(),
            )
            .run()
            .exits(76);
        let kept = files(&folder);
        assert_eq!(kept.len(), 1, "{target}");
        for file in kept
            .iter()
            .chain([&folder.join("receipt.json"), &folder.join("receipt.env")])
        {
            let text = fs::read_to_string(file).expect("a file");
            for form in secrets.iter().flat_map(|secret| forms(secret)) {
                assert!(
                    !text.contains(&form),
                    "{target}: {form} is in {}: {text}",
                    file.display()
                );
            }
            assert!(!text.contains("eyJ"), "{target}: a token that Port gave is in {text}");
        }
    }
}

#[test]
fn reads_and_what_was_sent_are_not_kept() {
    let sandbox = Sandbox::start();
    for service in [Service::Rely, Service::Aviator, Service::Port] {
        sandbox.fail(service, 10, Fault::status(503));
    }
    let folder = folder("replay-reads");
    failing(
        &["rely:get", "aviator:list", "port:get", "port:search", "cto"],
        &sandbox,
        &folder,
    )
    .vars([PRODUCTION, ("PORT_QUERY", r#"{"combinator": "and", "rules": []}"#)])
    .run()
    .exits(75)
    .says("1 sent, 4 unavailable");
    assert!(files(&folder).is_empty());
}

#[test]
fn without_an_output_folder_nothing_is_kept() {
    let sandbox = Sandbox::start();
    sandbox.fail(Service::Cto, 10, Fault::status(403));
    let folder = folder("replay-nowhere");
    failing(&["cto"], &sandbox, &folder)
        .without("NOTIFY_OUTPUT_DIR")
        .within(&folder)
        .run()
        .exits(76);
    assert_eq!(fs::read_dir(&folder).expect("the folder").count(), 0);
}

#[test]
fn only_what_failed_is_kept() {
    let sandbox = Sandbox::start();
    sandbox.fail(Service::Rely, 1, Fault::status(503));
    let folder = folder("replay-one");
    failing(&["rely", "port", "cto"], &sandbox, &folder)
        .run()
        .exits(75)
        .says("2 sent, 1 unavailable");
    let [file] = &files(&folder)[..] else {
        panic!("one file")
    };
    let kept = json_of(file);
    assert_eq!(
        (&kept["destination"], &kept["operation"]),
        (&json!("rely"), &json!("upsert"))
    );
    replay(&[&undelivered(&folder)], &sandbox).run().exits(0).says("1 sent");
    assert_eq!(cto_actions(&sandbox), ["success"]);
    assert_eq!(rely_entity(&sandbox)["properties"]["status"], "SUCCESS");
}

#[test]
fn events_of_the_same_second_are_all_kept_and_replayed_as_they_came() {
    let sandbox = Sandbox::start();
    sandbox.fail(Service::Cto, 12, Fault::status(403));
    let folder = folder("replay-second");
    for number in 0..12 {
        failing(&["cto"], &sandbox, &folder)
            .var("EVENT_NAME", "change")
            .var("EVENT_ACTION", format!("step {number:02}"))
            .run()
            .exits(76);
    }
    assert_eq!(files(&folder).len(), 12);
    replay(&[&undelivered(&folder)], &sandbox)
        .run()
        .exits(0)
        .says("12 sent");
    let expected: Vec<String> = (0..12).map(|number| format!("step {number:02}")).collect();
    assert_eq!(cto_actions(&sandbox), expected);
}

#[test]
fn a_life_is_replayed_in_its_order_with_its_times() {
    let sandbox = Sandbox::start();
    let folder = folder("replay-life");
    seed(&sandbox, jobs("deploy success"));
    sandbox.fail(Service::Rely, 2, Fault::status(503));
    // The end was kept in a folder that is named first.
    let (start, end) = (folder.join("start"), folder.join("end"));
    let at = |action: &'static str, output: &Path| {
        let run = in_job(&["rely"], &sandbox).var("NOTIFY_JOB", "deploy");
        let run = if action.is_empty() {
            run
        } else {
            run.var("EVENT_ACTION", action)
        };
        run.var("NOTIFY_ATTEMPTS", "1")
            .var("NOTIFY_OUTPUT_DIR", output)
            .run()
            .exits(75);
    };
    at("started", &start);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    at("", &end);
    let started = json_of(&files(&start)[0])["event"]["time"].clone();
    replay(&[&undelivered(&end), &undelivered(&start)], &sandbox)
        .run()
        .exits(0)
        .says("2 sent");
    let entity = rely_entity(&sandbox);
    assert_eq!(entity["properties"]["status"], "SUCCESS");
    assert_eq!(
        entity["properties"]["createdAt"], "2025-03-01T10:01:02Z",
        "when the job started, which its end knows"
    );
    let written = writes(&sandbox);
    assert_eq!(
        written[written.len() - 2].json()["properties"]["createdAt"],
        started,
        "when it was reported, not when it was replayed"
    );
    assert_eq!(
        entity["properties"]["closedAt"], "2025-03-01T10:02:00Z",
        "when the job ended"
    );
    assert_eq!(entity["properties"]["duration"], 58);
    assert_eq!(entity["title"], "acme/shop #8812", "of the pipeline that reported");
}

#[test]
fn a_replay_reads_credentials_and_addresses_anew() {
    let sandbox = Sandbox::start();
    let folder = folder("replay-fixed");
    let closed = "http://127.0.0.1:9";
    failing(&["rely", "cto", "direktiv", "port"], &sandbox, &folder)
        .var("RELY_API_TOKEN", "wrong-token-1")
        .var("CTOAI_EVENTS_API_TOKEN", "wrong-token-2")
        .var("DIREKTIV_URL", closed)
        .var("PORT_API_URL", closed)
        .run()
        .exits(76)
        .says("2 unavailable, 2 rejected");
    // Still wrong: they stay.
    replay(&[&undelivered(&folder)], &sandbox)
        .var("RELY_API_TOKEN", "wrong-token-3")
        .var("CTOAI_EVENTS_API_TOKEN", "")
        .run()
        .exits(78)
        .says("2 sent, 1 rejected, 1 misconfigured")
        .says("CTOAI_EVENTS_API_TOKEN");
    assert_eq!(files(&folder).len(), 2);
    replay(&[&undelivered(&folder)], &sandbox).run().exits(0).says("2 sent");
    assert_eq!(cto_actions(&sandbox), ["success"]);
    assert_eq!(rely_entity(&sandbox)["properties"]["status"], "SUCCESS");
    assert!(files(&folder).is_empty());
}

#[test]
fn a_replay_takes_no_other_value_from_its_own_job() {
    let sandbox = Sandbox::start();
    let folder = folder("replay-own");
    sandbox.fail(Service::Rely, 1, Fault::status(503));
    failing(&["rely"], &sandbox, &folder)
        .var("RELY_RELATIONS", r#"{"service": "shop.service"}"#)
        .run()
        .exits(75);
    // In another pipeline, which sends elsewhere: who names a file has decided.
    replay(&[&files(&folder)[0]], &sandbox)
        .var("CI_PIPELINE_ID", "9999")
        .var("RELY_ENTITY_ID", "another")
        .var("RELY_ENTITY_TITLE", "another")
        .var("RELY_PROPERTIES", "{}")
        .var("EVENT_ACTION", "failure")
        .var("EVENT_ID", "another")
        .var("CI_JOB_STATUS", "failed")
        .var("NOTIFY_DESTINATIONS", "cto")
        .run()
        .exits(0)
        .says("1 sent");
    let entity = rely_entity(&sandbox);
    assert_eq!(entity["properties"]["status"], "SUCCESS");
    assert_eq!(entity["properties"]["triggeredBy"], "dana");
    assert_eq!(entity["title"], "acme/shop #8812");
    assert_eq!(entity["relations"]["service"]["value"], "shop.service");
    assert!(cto_actions(&sandbox).is_empty());
}

#[test]
fn texts_are_kept_as_they_were_and_not_read_a_second_time() {
    for text in [
        "Use {{ env.CI_JOB_TOKEN }} and {{ nothing }}",
        "$PAID",
        "${PAID}",
        "@b64@aGVsbG8=",
        "a \"quote\", a \\ and\na line",
        "/etc/hostname",
    ] {
        let sandbox = Sandbox::start();
        let folder = folder("replay-texts");
        sandbox.fail(Service::Rely, 1, Fault::status(503));
        // From a commit, by a template: whatever it looks like, it is text.
        failing(&["rely"], &sandbox, &folder)
            .var("CI_COMMIT_TITLE", text)
            .var("EVENT_TITLE", "{{ env.CI_COMMIT_TITLE }}")
            .var("RELY_ENTITY_DESCRIPTION", "{{ env.CI_COMMIT_TITLE }}")
            .var("RELY_PROPERTIES", r#"{"status": "{{ env.CI_COMMIT_TITLE }}"}"#)
            .run()
            .exits(75);
        replay(&[&undelivered(&folder)], &sandbox)
            .var("PAID", "no")
            .run()
            .exits(0);
        let entity = rely_entity(&sandbox);
        assert_eq!(entity["title"], text);
        assert_eq!(entity["description"], text);
        assert_eq!(entity["properties"]["status"], text);
    }
}

/// Each row: the action that was kept, and the one that has been delivered since.
#[test]
fn a_replay_never_moves_a_finished_deployment_backwards() {
    for (kept, since, word) in [
        ("started", "success", "success"),
        ("progressing", "failure", "failure"),
        ("blocked", "canceled", "canceled"),
        ("failure", "success", "success"),
        ("success", "failure", "failure"),
    ] {
        let sandbox = Sandbox::start();
        prepare(&sandbox);
        let folder = folder(&format!("replay-back-{kept}"));
        let targets = ["rely", "port", "aviator"];
        for (target, on) in [("rely", "PUT"), ("port", "POST /v1/blueprints"), ("aviator", "PATCH")] {
            fail(&sandbox, service_of(target), on, 1, Fault::status(403));
        }
        let run = |action| {
            failing(&targets, &sandbox, &folder)
                .vars([CANDIDATE, PRODUCTION])
                .var("EVENT_ACTION", action)
                .run()
        };
        run(kept).exits(76);
        assert_eq!(files(&folder).len(), 3);
        std::thread::sleep(std::time::Duration::from_millis(1100));
        run(since).exits(0);
        let state = |service| sandbox.state(service);
        let before = [state(Service::Rely), state(Service::Port), state(Service::Aviator)];
        replay(&[&undelivered(&folder)], &sandbox)
            .run()
            .exits(0)
            .says("3 skipped")
            .says("a newer report has reached the entity; this one would undo it")
            .says("the deployment has ended with");
        assert_eq!(
            [state(Service::Rely), state(Service::Port), state(Service::Aviator)],
            before,
            "{kept}"
        );
        let deployments = &before[2]["environments"]["production"]["deployments"];
        assert_eq!(deployments[0]["status"], word, "{deployments}");
        assert!(files(&folder).is_empty(), "what is overtaken is done with");
    }
}

#[test]
fn an_end_is_replayed_over_a_start() {
    let sandbox = Sandbox::start();
    prepare(&sandbox);
    let folder = folder("replay-forward");
    let targets = ["rely", "port", "aviator"];
    let run = |action| {
        failing(&targets, &sandbox, &folder)
            .vars([CANDIDATE, PRODUCTION])
            .var("EVENT_ACTION", action)
            .run()
    };
    run("started").exits(0);
    for (target, on) in [("rely", "PUT"), ("port", "POST /v1/blueprints"), ("aviator", "PATCH")] {
        fail(&sandbox, service_of(target), on, 1, Fault::status(503));
    }
    run("failure").exits(75);
    replay(&[&undelivered(&folder)], &sandbox).run().exits(0).says("3 sent");
    assert_eq!(rely_production(&sandbox)["properties"]["status"], "FAILED");
    let port = port_deployment(&sandbox, "acme-shop-8812-production");
    assert_eq!(port["properties"]["status"], "FAILURE");
    assert_eq!(deployed(&sandbox), "failure");
}

#[test]
fn what_may_have_been_processed_is_replayed_only_when_its_file_is_named() {
    let cases: [(&str, Variables); 4] = [
        ("cto", &[]),
        ("aviator:rollback", &[PRODUCTION]),
        ("direktiv:execute", &[WORKFLOW]),
        ("port:run-create", &[("PORT_ACTION", "deploy")]),
    ];
    for (target, variables) in cases {
        let sandbox = Sandbox::start();
        prepare(&sandbox);
        let folder = folder(&format!("replay-doubt-{}", target.replace(':', "-")));
        let on = WRITES.iter().find(|(name, ..)| *name == target).expect("it writes").1;
        fail(&sandbox, service_of(target), on, 1, Fault::ProcessThenReset);
        failing(&[target], &sandbox, &folder)
            .vars(variables.iter().copied())
            .run()
            .exits(75)
            .says("It may have been processed all the same");
        let [file] = &files(&folder)[..] else {
            panic!("{target}: one file")
        };
        let sent = writes(&sandbox).len();
        replay(&[&undelivered(&folder)], &sandbox)
            .run()
            .exits(75)
            .says("1 unavailable")
            .says("name its file in `notify-event replay`, or run this again with NOTIFY_ON_DOUBT=send");
        assert_eq!(writes(&sandbox).len(), sent, "{target}");
        assert!(file.exists(), "{target}: nobody has decided yet");
        assert_eq!(json_of(file)["in_doubt"], true, "{target}");
        // A second rollback has nothing to go back to, so what comes of it is Aviator's to say.
        let ran = replay(&[file], &sandbox).run();
        assert_eq!(writes(&sandbox).len(), sent + 1, "{target}");
        if target != "aviator:rollback" {
            ran.exits(0).says("1 sent");
            assert!(!file.exists(), "{target}");
        }
    }
}

#[test]
fn a_deployment_that_may_have_been_created_is_looked_for_first() {
    let sandbox = Sandbox::start();
    prepare(&sandbox);
    let folder = folder("replay-deployment");
    fail(&sandbox, Service::Aviator, "POST", 1, Fault::ProcessThenReset);
    failing(&["aviator:deployment"], &sandbox, &folder)
        .vars([CANDIDATE, PRODUCTION])
        .run()
        .exits(75);
    let [file] = &files(&folder)[..] else {
        panic!("one file")
    };
    replay(&[file], &sandbox)
        .run()
        .exits(0)
        .says("an earlier attempt had created it");
    assert_eq!(workflows(&sandbox), 1);
}

#[test]
fn a_workflow_whose_end_was_not_seen_is_not_kept() {
    let sandbox = Sandbox::start_with(Options {
        direktiv_workflow_takes: std::time::Duration::from_mins(1),
        ..Options::default()
    });
    let folder = folder("replay-accepted");
    failing(&["direktiv:execute"], &sandbox, &folder)
        .vars([WORKFLOW, ("DIREKTIV_WAIT", "true"), ("NOTIFY_TIMEOUT", "1")])
        .run()
        .exits(75);
    assert!(files(&folder).is_empty());
    assert_eq!(
        json_of(&folder.join("receipt.json"))["destinations"][0]["class"],
        "unavailable"
    );
}

#[test]
fn a_run_whose_log_got_through_is_updated_and_not_logged_to_again() {
    for payload in [false, true] {
        let sandbox = Sandbox::start();
        prepare(&sandbox);
        let folder = folder(&format!("replay-run-{payload}"));
        fail(&sandbox, Service::Port, "PATCH", 1, Fault::status(503));
        let run = failing(&["port:run-update"], &sandbox, &folder)
            .vars([("PORT_RUN_LOG", "deployed"), ("PORT_RUN_SUMMARY", "all \"well\"")]);
        // The id may come from the payload that triggered the pipeline, which a replay does not have.
        let (name, value) = if payload {
            ("TRIGGER_PAYLOAD", r#"{"runId": "r_1"}"#)
        } else {
            RUN
        };
        run.var(name, value).run().exits(75);
        replay(&[&undelivered(&folder)], &sandbox).run().exits(0).says("1 sent");
        let state = sandbox.state(Service::Port);
        let run = &state["runs"]["r_1"];
        assert_eq!(
            (&run["status"], &run["summary"]),
            (&json!("SUCCESS"), &json!("all \"well\""))
        );
        let logs = state["logs"]["r_1"].as_array().map(Vec::len);
        assert_eq!(logs, Some(1), "{state}");
    }
}

#[test]
fn a_run_that_has_ended_meanwhile_is_left_alone() {
    for fault in [Fault::ProcessThenReset, Fault::status(503)] {
        let sandbox = Sandbox::start();
        prepare(&sandbox);
        let folder = folder("replay-run-ended");
        fail(&sandbox, Service::Port, "PATCH", 1, fault.clone());
        let run = |status| {
            failing(&["port:run-update"], &sandbox, &folder)
                .vars([RUN, ("PORT_RUN_STATUS", status)])
                .run()
        };
        let got_through = fault == Fault::ProcessThenReset;
        run("failure").exits(75);
        // Either the first one got through, or somebody has said something else since. That one's replay is not asked for.
        let first = files(&folder);
        run("success");
        let before = sandbox.state(Service::Port);
        replay(&[&first[0]], &sandbox).run().exits(0).says(if got_through {
            "the run has ended: an earlier attempt got through"
        } else {
            "the run has ended meanwhile"
        });
        assert_eq!(sandbox.state(Service::Port), before);
    }
}

#[test]
fn an_event_whose_action_could_not_be_found_out_is_replayed_once_somebody_tells_it() {
    let sandbox = Sandbox::start();
    let folder = folder("replay-unknown");
    seed(&sandbox, Vec::new());
    in_job(&["cto", "rely"], &sandbox)
        .var("NOTIFY_OUTPUT_DIR", &folder)
        .run()
        .exits(78)
        .says("EVENT_ACTION is auto, and");
    let run = || replay(&[&undelivered(&folder)], &sandbox);
    for action in ["", "auto"] {
        run()
            .var("EVENT_ACTION", action)
            .run()
            .exits(78)
            .says("EVENT_ACTION was not known when the event was kept; set it to one of started,");
    }
    assert!(writes(&sandbox).is_empty());
    run().var("EVENT_ACTION", "failed").run().exits(0).says("2 sent");
    assert_eq!(cto_actions(&sandbox), ["failure"]);
    assert_eq!(rely_entity(&sandbox)["properties"]["status"], "FAILED");
    assert!(files(&folder).is_empty());
}

#[test]
fn what_another_pipeline_left_in_the_work_tree_is_replayed_only_when_its_file_is_named() {
    let (sandbox, folder) = (Sandbox::start(), folder("replay-other-pipeline"));
    fail(&sandbox, Service::Cto, "/", 1, Fault::status(401));
    failing(&["cto"], &sandbox, &folder)
        .var("CI_PIPELINE_ID", "8811")
        .run()
        .exits(76);
    let sent = sandbox.requests_to(Service::Cto).len();
    replay(&[&undelivered(&folder)], &sandbox)
        .run()
        .exits(0)
        .says("it is of another pipeline; name the file itself");
    assert_eq!(sandbox.requests_to(Service::Cto).len(), sent);
    let kept = files(&folder);
    assert_eq!(kept.len(), 1, "it is still there");
    replay(&[&kept[0]], &sandbox).run().exits(0);
    assert_eq!(cto_actions(&sandbox), ["success"]);
    assert!(files(&folder).is_empty());
}

#[test]
fn a_job_keeps_only_what_it_could_not_deliver_itself() {
    let (sandbox, folder) = (Sandbox::start(), folder("replay-other-job"));
    fail(&sandbox, Service::Cto, "/", 1, Fault::status(401));
    failing(&["cto"], &sandbox, &folder).run().exits(76);
    assert_eq!(files(&folder).len(), 1);
    // The folder comes along with the first job's artifacts; its own copy of them has the file all the same.
    failing(&["rely"], &sandbox, &folder)
        .var("CI_JOB_ID", "99999")
        .run()
        .exits(0);
    assert!(files(&folder).is_empty());
}

#[test]
fn what_was_kept_with_a_secret_hidden_in_it_is_not_sent_as_that() {
    let (sandbox, folder) = (Sandbox::start(), folder("replay-hidden"));
    fail(&sandbox, Service::Rely, "/", 1, Fault::status(401));
    failing(&["rely"], &sandbox, &folder)
        .var("NAMESPACE_PASSWORD", "hunter2-hunter2")
        .var("EVENT_TITLE", "deployed with hunter2-hunter2")
        .run()
        .exits(76)
        .hides("hunter2-hunter2");
    let sent = sandbox.requests_to(Service::Rely).len();
    replay(&[&undelivered(&folder)], &sandbox)
        .run()
        .exits(78)
        .says("holds [hidden] in its event");
    assert_eq!(sandbox.requests_to(Service::Rely).len(), sent);
    assert_eq!(files(&folder).len(), 1, "it is still there");
}

#[test]
fn a_project_that_a_secret_is_named_after_is_no_secret() {
    let (sandbox, folder) = (Sandbox::start(), folder("replay-public"));
    failing(&["rely"], &sandbox, &folder)
        .var("SECRET_NAME", "acme-shop")
        .run()
        .exits(0);
    assert_eq!(json_of(&folder.join("receipt.json"))["event"]["id"], "acme-shop-8812");
}

#[test]
fn a_bad_file_is_named_and_the_others_are_delivered() {
    let sandbox = Sandbox::start();
    let folder = folder("replay-bad");
    sandbox.fail(Service::Cto, 1, Fault::status(403));
    failing(&["cto"], &sandbox, &folder).run().exits(76);
    let good = json_of(&files(&folder)[0]);
    let with = |field: &str, value: Value| {
        let mut bad = good.clone();
        bad[field] = value;
        bad.to_string()
    };
    let no_time = |mut event: Value| {
        event["time"].take();
        event
    };
    let bad = [
        ("0-cut.json", "{\"undelivered\": 1, \"dest".to_owned(), "is no JSON"),
        ("1-other.json", "{}".to_owned(), "is no undelivered event of version 1"),
        (
            "2-version.json",
            with("undelivered", json!(2)),
            "is no undelivered event of version 1",
        ),
        (
            "3-destination.json",
            with("destination", json!("crelly")),
            "there is no destination `crelly`",
        ),
        (
            "4-operation.json",
            with("operation", json!("explode")),
            "there is no operation of cto `explode`",
        ),
        (
            "5-event.json",
            with("event", json!({"schema_version": 7})),
            "its event has schema_version 7",
        ),
        (
            "6-time.json",
            with("event", no_time(good["event"].clone())),
            "its event has no time",
        ),
        ("7-binary.json", String::new(), "is no JSON"),
    ];
    for (name, text, _) in &bad {
        fs::write(undelivered(&folder).join(name), text).expect("a file");
    }
    // What is no JSON file is no business of ours.
    fs::write(undelivered(&folder).join("README.md"), "hello").expect("a file");
    let ran = replay(&[&undelivered(&folder)], &sandbox)
        .run()
        .exits(78)
        .says("1 sent");
    for (name, _, why) in &bad {
        let line = ran.stderr.lines().find(|line| line.contains(name));
        assert!(line.is_some_and(|line| line.contains(why)), "{name}: {}", ran.stderr);
        assert!(undelivered(&folder).join(name).exists(), "{name} is not ours to remove");
    }
    assert_eq!(cto_actions(&sandbox), ["success"]);
}

#[test]
fn a_path_that_is_missing_is_a_mistake_of_the_command_line() {
    let sandbox = Sandbox::start();
    replay(&[Path::new("/nonexistent/receipts")], &sandbox)
        .run()
        .exits(2)
        .says("there is no file or folder /nonexistent/receipts");
    // But a run that has lost nothing leaves no such folder.
    replay(&[Path::new("/nonexistent/undelivered")], &sandbox)
        .run()
        .exits(0)
        .says("there is nothing to replay");
    replay(&[], &sandbox)
        .run()
        .exits(2)
        .says("`replay` takes files or folders");
    let empty = folder("replay-empty");
    replay(&[&empty], &sandbox)
        .run()
        .exits(0)
        .says("there is nothing to replay");
}

#[test]
fn a_replay_that_fails_obeys_the_policy() {
    for (policy, code) in [("warn", 75), ("fail", 1), ("ignore", 0)] {
        let sandbox = Sandbox::start();
        let folder = folder(&format!("replay-{policy}"));
        sandbox.fail(Service::Rely, 2, Fault::status(503));
        failing(&["rely"], &sandbox, &folder).run().exits(75);
        replay(&[&undelivered(&folder)], &sandbox)
            .var("NOTIFY_ON_ERROR", policy)
            .run()
            .exits(code);
        assert_eq!(files(&folder).len(), 1, "{policy}: it stays");
    }
    let sandbox = Sandbox::start();
    let folder = folder("replay-optional");
    sandbox.fail(Service::Rely, 2, Fault::status(503));
    failing(&["rely?"], &sandbox, &folder).run().exits(0);
    replay(&[&undelivered(&folder)], &sandbox)
        .run()
        .exits(0)
        .says("unavailable, optional");
    assert_eq!(files(&folder).len(), 1);
}

#[test]
fn a_replay_job_that_is_run_again_repeats_nothing_that_counts() {
    let sandbox = Sandbox::start();
    let folder = folder("replay-again");
    fail(&sandbox, Service::Cto, "POST", 1, Fault::status(403));
    fail(&sandbox, Service::Port, "POST /v1/actions", 2, Fault::status(403));
    failing(&["cto", "port:run-create"], &sandbox, &folder)
        .var("PORT_ACTION", "deploy")
        .run()
        .exits(76);
    let kept: Vec<(PathBuf, String)> = files(&folder)
        .into_iter()
        .map(|file| (file.clone(), fs::read_to_string(file).expect("a file")))
        .collect();
    let mut attempts: Vec<Value> = Vec::new();
    for expected in ["1 sent, 1 rejected", "1 sent, 1 skipped", "2 skipped"] {
        // Each attempt gets the same artifact of the job that failed.
        for (path, text) in &kept {
            fs::write(path, text).expect("a file");
        }
        let id = OWN + attempts.len() as u64;
        let mut list = attempts.clone();
        list.push(json!({"id": id, "name": "replay", "status": "running"}));
        seed_only(&sandbox, &list);
        let output = folder.join("receipts");
        // By name, since one of them triggers something.
        let paths: Vec<&Path> = kept.iter().map(|(path, _)| path.as_path()).collect();
        let mut run = replay(&paths, &sandbox);
        for (name, value) in sandbox.gitlab_variables() {
            run = run.var(&name, value);
        }
        let ran = run
            .var("CI_JOB_ID", id.to_string())
            .var("CI_PROJECT_DIR", &folder)
            .var("NOTIFY_OUTPUT_DIR", &output)
            .run()
            .says(expected);
        let status = if ran.code == 0 { "success" } else { "failed" };
        let artifacts = json!({"receipts/receipt.json": json_of(&output.join("receipt.json"))});
        attempts.push(json!({"id": id, "name": "replay", "status": status, "artifacts": artifacts}));
    }
    assert_eq!(cto_actions(&sandbox), ["success"]);
    let runs = sandbox.state(Service::Port)["runs"]
        .as_object()
        .map(serde_json::Map::len);
    assert_eq!(runs, Some(1));
}

#[test]
fn the_whole_output_folder_may_be_named() {
    let (sandbox, folder) = (Sandbox::start(), folder("replay-whole"));
    fail(&sandbox, Service::Rely, "/", 1, Fault::status(401));
    failing(&["rely"], &sandbox, &folder).run().exits(76);
    replay(&[&folder], &sandbox).run().exits(0).says("1 sent");
    assert!(files(&folder).is_empty());
}

#[test]
fn what_was_misconfigured_is_mended_by_the_replay_and_nothing_else_is() {
    let folder = folder("mended");
    let sandbox = Sandbox::start();
    sandbox.seed(
        Service::Rely,
        json!({"blueprints": {"release": {"properties": {"version": {"type": "string"}}}}}),
    );
    notify(&["rely"])
        .at(&sandbox)
        .var("NOTIFY_OUTPUT_DIR", &folder)
        .var("RELY_BLUEPRINT", "release")
        .var("RELY_ENTITY_TITLE", "Then")
        .var("RELY_PROPERTIES", r#"{"version": "1.4.2""#)
        .run()
        .exits(78);
    let path = folder.join("undelivered");
    let kept = json_of(&fs::read_dir(&path).unwrap().next().unwrap().unwrap().path());
    assert_eq!(kept["unreadable"], json!(["RELY_PROPERTIES"]), "{kept}");
    let replay = |properties: &str| {
        notify(&["replay", path.to_str().unwrap()])
            .at(&sandbox)
            .var("RELY_BLUEPRINT", "another")
            .var("RELY_ENTITY_TITLE", "Now")
            .var("RELY_PROPERTIES", properties)
            .run()
    };
    // It is as wrong as it was: it stays.
    replay("{").exits(78);
    assert!(sandbox.requests().is_empty());
    replay(r#"{"version": "{{ event.id }}"}"#)
        .exits(0)
        .says_of("rely", "sent");
    let entity = rely_entity(&sandbox);
    assert_eq!(entity["blueprintId"], "release", "{entity}");
    assert_eq!(entity["title"], "Then", "{entity}");
    assert_eq!(entity["properties"], json!({"version": "acme-shop-8812"}), "{entity}");
}

#[test]
fn a_word_that_looks_like_a_credential_is_no_reason_not_to_deliver() {
    let folder = folder("auth");
    let sandbox = Sandbox::start();
    sandbox.fail(Service::Direktiv, 1, Fault::status(503));
    let auth = |arguments: &[&str]| notify(arguments).at(&sandbox).var("DIREKTIV_AUTH", "api-key");
    auth(&["direktiv"])
        .var("NOTIFY_OUTPUT_DIR", &folder)
        .var("NOTIFY_ATTEMPTS", "1")
        .run()
        .exits(75);
    let path = folder.join("undelivered");
    auth(&["replay", path.to_str().unwrap()]).run().exits(0).says("1 sent");
}
