//! Under which id a deployment is reported: of a service, of a deploy job, of the job that deployed what another one
//! stops; and what stands in where GitLab can't be asked what became of it.

use sandbox::{Fault, GitLabAccess, Options, Sandbox, Service};
use serde_json::{Value, json};

use crate::{
    gitlab::{in_job, jobs, seed, writes},
    support::{
        Run,
        faults::{reply, status as answers},
        folder,
        held::{cto_actions, port_deployment, rely_entities, rely_production},
        notify,
    },
};

/// A list of jobs of which one has a status that nobody knows.
const LEVITATING: &str = r#"[{"id": 1, "name": "deploy", "stage": "deploy", "status": "levitating"}]"#;

const ID: &str = "acme-shop-8812-production";

/// The ids of the entities that Rely holds.
fn rely_ids(sandbox: &Sandbox) -> Vec<String> {
    let state = sandbox.state(Service::Rely);
    let entities = state["entities"].as_object().expect("an object");
    let mut ids: Vec<String> = entities.keys().cloned().collect();
    ids.sort_unstable();
    ids
}

/// The status of an entity that Rely holds.
fn status(sandbox: &Sandbox, id: &str) -> String {
    let status = &sandbox.state(Service::Rely)["entities"][id]["properties"]["status"];
    status.as_str().unwrap_or("none").to_owned()
}

/// The `after_script` of a job of the environment `production`, which ended with this status.
fn after(arguments: &[&str], sandbox: &Sandbox, job: &str, status: &str) -> Run {
    in_job(arguments, sandbox)
        .var("CI_JOB_NAME", job)
        .var("CI_JOB_STATUS", status)
        .var("CI_JOB_STARTED_AT", "2025-03-01T10:00:01Z")
        .var("CI_ENVIRONMENT_NAME", "production")
        .var("CI_ENVIRONMENT_SLUG", "production")
}

#[test]
fn a_job_without_a_matrix_is_told_what_a_matrix_is() {
    let of = |service: &str| {
        after(&["--deploy-job", "rely"], &Sandbox::start(), "deploy", "success")
            .var("EVENT_SERVICE", service)
            .run()
    };
    of("{{ job.matrix[0] }}")
        .exits(78)
        .says("EVENT_SERVICE has a template at character 1: `job.matrix[0]` has no value here")
        .says("{{ job.matrix[0] | default(\"…\") }}")
        .says("job.matrix is the list of values between the brackets of the deploy job's name");
    of("{{ job.matrix[0] | default('all') }}").exits(0);
}

#[test]
fn three_services_of_one_pipeline_are_three_true_entities() {
    let sandbox = Sandbox::start();
    let report = |job: &str, status: &str| {
        after(&["--deploy-job", "rely", "port"], &sandbox, job, status)
            .var("EVENT_SERVICE", "{{ job.matrix[0] }}")
            .run()
            .exits(0);
    };
    report("deploy: [shop]", "failed");
    report("deploy: [api]", "canceled");
    report("deploy: [web]", "failed");
    report("deploy: [web]", "success");
    let ids = ["api-dbr2ew", "shop-sc8683", "web-yexb1f"].map(|part| format!("{ID}--deploy-{part}"));
    assert_eq!(rely_ids(&sandbox), ids);
    assert_eq!(
        ids.each_ref().map(|id| status(&sandbox, id)),
        ["CANCELED", "FAILED", "SUCCESS"]
    );
    let held = port_deployment(&sandbox, &ids[1]);
    assert_eq!(
        (&held["properties"]["service"], &held["title"]),
        (&json!("shop"), &json!("acme/shop/shop #8812 (production)"))
    );

    // From beside it comes the same id, whether GitLab can be asked or not.
    for (job, id) in [("deploy: [shop]", &ids[1]), ("deploy: [web]", &ids[2])] {
        notify(&["--deploy-job", "rely"])
            .at(&sandbox)
            .var("EVENT_ENVIRONMENT", "production")
            .var("EVENT_SERVICE", "{{ job.matrix[0] }}")
            .var("EVENT_ACTION", "auto:canceled")
            .var("NOTIFY_JOB", job)
            .run()
            .exits(0)
            .says("action by EVENT_ACTION's auto:canceled, since GitLab's jobs can't be read");
        assert_eq!(status(&sandbox, id), "CANCELED");
    }
    assert_eq!(rely_entities(&sandbox), 3);
}

/// A deployment to production by a job of this pipeline.
fn deployed_by(job: &str, has_started: bool) -> Value {
    let started_at = has_started.then_some("2025-03-01T10:00:00.000Z");
    let status = if has_started { "success" } else { "created" };
    json!({
        "environment": "production", "status": status,
        "deployable": {"name": job, "pipeline": 8812, "status": status, "started_at": started_at},
    })
}

/// How often GitLab was asked for deployments.
fn asked(sandbox: &Sandbox) -> usize {
    let requests = sandbox.requests_to(Service::GitLab);
    requests
        .iter()
        .filter(|request| request.path.contains("/deployments"))
        .count()
}

fn stop(sandbox: &Sandbox, arguments: &[&str], status: &str) -> Run {
    after(arguments, sandbox, "stop_review", status).var("CI_ENVIRONMENT_ACTION", "stop")
}

#[test]
fn what_a_job_stops_is_the_deployment_of_another() {
    let all = &["--deploy-job", "rely", "port", "cto"];
    let unknown = |why: &str| format!("skipped: which job has deployed what this one stops is not known: {why}");
    let two = "several jobs of this pipeline have deployed to the environment: `api`, `deploy`; name it in NOTIFY_JOB";
    let by_another =
        json!({"environment": "production", "status": "success", "deployable": {"name": "other", "pipeline": 77}});
    for (deployments, more, expected) in [
        (
            vec![
                deployed_by("deploy", true),
                deployed_by("canary", false),
                by_another.clone(),
            ],
            None,
            Ok("deploy"),
        ),
        (
            vec![deployed_by("deploy", true), deployed_by("api", true)],
            None,
            Err(unknown(two)),
        ),
        (
            vec![deployed_by("deploy", true), deployed_by("api", true)],
            Some(("NOTIFY_JOB", "api")),
            Ok("api"),
        ),
        (
            vec![by_another],
            None,
            Err(unknown("GitLab has no deployment of this pipeline to the environment")),
        ),
    ] {
        let sandbox = Sandbox::start();
        sandbox.seed(Service::GitLab, json!({"deployments": deployments}));
        for job in ["deploy", "api"] {
            after(&["--deploy-job", "rely"], &sandbox, job, "success")
                .run()
                .exits(0);
        }
        let before = [
            status(&sandbox, &format!("{ID}--deploy")),
            status(&sandbox, &format!("{ID}--api")),
        ];
        assert_eq!(before, ["SUCCESS", "SUCCESS"]);
        let asked = asked(&sandbox);
        let ran = stop(&sandbox, all, "success").vars(more).run().exits(0);
        assert_eq!(
            self::asked(&sandbox) - asked,
            usize::from(more.is_none()),
            "one question, if any"
        );
        assert_eq!(
            cto_actions(&sandbox),
            ["stopped"],
            "who holds no entities is told all the same"
        );
        assert_eq!(rely_entities(&sandbox), 2);
        match expected {
            Ok(job) => {
                let id = format!("{ID}--{job}");
                assert_eq!(status(&sandbox, &id), "STOPPED");
                let held = &sandbox.state(Service::Rely)["entities"][&id]["properties"];
                assert_eq!(held["successful"], true, "it was deployed well");
            }
            Err(why) => {
                ran.says_of("rely", &why).says_of("port", &why);
            }
        }
    }
}

#[test]
fn what_has_an_id_of_its_own_is_stopped_by_it() {
    let options = Options {
        gitlab_deployments: GitLabAccess::Refused(403),
        ..Options::default()
    };
    let sandbox = Sandbox::start_with(options);
    let stop = || stop(&sandbox, &["--deploy-job", "rely"], "success");
    stop()
        .run()
        .exits(0)
        .says_of("rely", "GitLab does not show this to CI_JOB_TOKEN");
    stop()
        .var("RELY_ENTITY_ID", "{{ event.id }}-x")
        .run()
        .exits(0)
        .says_of("rely", "name it in NOTIFY_JOB");
    assert!(writes(&sandbox).is_empty());
    stop()
        .var("RELY_ENTITY_ID", "mine")
        .run()
        .exits(0)
        .says_of("rely", "sent");
    stop().var("EVENT_ID", "ours").run().exits(0).says_of("rely", "sent");
    assert_eq!(rely_ids(&sandbox), ["mine", "ours"]);
    assert_eq!(asked(&sandbox), 3, "with EVENT_ID there is nothing to ask");
}

#[test]
fn a_job_that_deploys_nothing_tells_nothing() {
    for (action, status) in [
        ("stop", "failed"),
        ("stop", "canceled"),
        ("stop", "timedout"),
        ("prepare", "success"),
        ("verify", "failed"),
        ("access", "success"),
    ] {
        let sandbox = Sandbox::start();
        let ran = after(
            &["--deploy-job", "rely", "port", "cto", "aviator"],
            &sandbox,
            "verify",
            status,
        )
        .var("CI_ENVIRONMENT_ACTION", action)
        .var("AVIATOR_STATUS", "success")
        .var("AVIATOR_RELEASE_CANDIDATE", "1-rc1")
        .var("RELY_PROPERTIES", r#"{"status": "DONE"}"#)
        .run()
        .exits(0);
        let why = if action == "stop" {
            "this job stops the environment, and tells of it only where it succeeds"
        } else {
            "so it deploys nothing"
        };
        let _ = ["rely", "port", "cto", "aviator"]
            .iter()
            .fold(ran, |ran, target| ran.says_of(target, "skipped").says_of(target, why));
        assert!(writes(&sandbox).is_empty(), "{action} {status}");
        // Somebody who says what happened is believed.
        after(&["rely"], &sandbox, "verify", status)
            .var("CI_ENVIRONMENT_ACTION", action)
            .var("EVENT_ACTION", "failed")
            .run()
            .exits(0);
        assert_eq!(rely_production(&sandbox)["properties"]["status"], "FAILED");
    }
}

#[test]
fn what_stands_in_counts_only_where_gitlab_could_not_be_asked() {
    let refused = |status| {
        Sandbox::start_with(Options {
            gitlab_jobs: GitLabAccess::Refused(status),
            ..Options::default()
        })
    };
    let failing = |fault| {
        let sandbox = Sandbox::start();
        sandbox.fail(Service::GitLab, 100, fault);
        sandbox
    };
    let with = |list: &str| {
        let sandbox = Sandbox::start();
        seed(&sandbox, jobs(list));
        sandbox
    };
    let fallback = "deployment success, acme-shop-8812--deploy (action by EVENT_ACTION's auto:success, since ";
    for (case, sandbox, code, text) in [
        ("refused", refused(403), 0, fallback),
        ("404", refused(404), 0, fallback),
        ("down", failing(answers(503)), 0, fallback),
        ("hangs up", failing(Fault::Reset), 0, fallback),
        (
            "an empty list",
            failing(reply(200, &[], "[]")),
            0,
            "since GitLab shows CI_JOB_TOKEN none of the pipeline's jobs",
        ),
        (
            "known",
            with("deploy failed"),
            0,
            "deployment failure, acme-shop-8812--deploy (action from GitLab's jobs: ",
        ),
        (
            "nothing happened",
            with("build failed | deploy skipped"),
            0,
            "skipped: `deploy` was skipped",
        ),
        ("no such job", with("deplyo success"), 78, "did you mean `deplyo`?"),
        (
            "an unknown status",
            failing(reply(200, &[], LEVITATING)),
            78,
            "a status this version doesn't know",
        ),
    ] {
        let ran = in_job(&["--deploy-job", "cto"], &sandbox)
            .var("NOTIFY_JOB", "deploy")
            .var("EVENT_ACTION", "auto:success")
            .var("NOTIFY_ATTEMPT_TIMEOUT", "1")
            .run();
        let said = (ran.code, ran.stderr.contains(text));
        assert_eq!(said, (code, true), "{case}: {}", ran.stderr);
    }
    // A status of this very job that nobody knows is no case of it.
    let sandbox = Sandbox::start();
    after(&["--deploy-job", "rely"], &sandbox, "deploy", "levitating")
        .var("EVENT_ACTION", "auto:success")
        .run()
        .exits(78)
        .says("CI_JOB_STATUS is `levitating`");
    assert!(sandbox.requests().is_empty());
    // A preflight knows of it too.
    in_job(&["check", "rely"], &refused(403))
        .var("EVENT_ACTION", "auto:success")
        .run()
        .exits(0)
        .says("not readable, so EVENT_ACTION's auto:success would be told");
}

#[test]
fn fields_of_ones_own_join_the_default_ones_or_it_is_said_that_they_do_not() {
    let sandbox = Sandbox::start();
    let with = |arguments: &[&str], properties: &str| {
        notify(arguments)
            .at(&sandbox)
            .var("EVENT_ENVIRONMENT", "production")
            .var("EVENT_PROPERTIES", properties)
            .var("AVIATOR_RELEASE_CANDIDATE", "1-rc1")
    };
    let silent = |ran: &crate::support::Ran, target: &str| {
        let line = format!("  {target:<18} EVENT_PROPERTIES");
        assert!(!ran.stderr.contains(&line), "{target}: {}", ran.stderr);
    };
    notify(&["aviator:release"])
        .at(&sandbox)
        .var("AVIATOR_RELEASE_CANDIDATE", "1-rc1")
        .run()
        .exits(0);
    let own = r#"{"status": "GREEN", "triggeredBy": "a \"team\""}"#;
    let ran = with(&["rely", "port", "cto", "aviator", "direktiv"], own)
        .run()
        .exits(0)
        .says_of("cto", "EVENT_PROPERTIES do not go along: CTO.ai has no room for them")
        .says_of(
            "aviator",
            "EVENT_PROPERTIES do not go along: Aviator Releases has no room for them",
        );
    for target in ["rely", "port", "direktiv"] {
        silent(&ran, target);
    }
    let held = rely_production(&sandbox);
    let (status, by, commit) = ("GREEN", "a \"team\"", "9f2c1e7d0b4a5c6d7e8f90123456789abcdef012");
    assert_eq!(
        (&held["properties"]["status"], &held["properties"]["triggeredBy"]),
        (&json!(status), &json!(by))
    );
    assert_eq!(held["properties"]["sourceCommit"], commit);
    let held = port_deployment(&sandbox, ID);
    assert_eq!(
        (&held["properties"]["status"], &held["properties"]["commit"]),
        (&json!(status), &json!(commit))
    );
    // What is said in full is not added to.
    let said = |properties: &str| with(&["rely"], own).var("RELY_PROPERTIES", properties).run().exits(0);
    said(r#"{"status": "X"}"#).says_of(
        "rely",
        "EVENT_PROPERTIES do not go along: RELY_PROPERTIES says what is sent",
    );
    silent(&said(r#"{"status": "{{ event.properties.status }}"}"#), "rely");
    silent(&with(&["cto"], "{}").run().exits(0), "cto");
}

#[test]
fn a_late_end_does_not_undo_that_it_was_stopped_since() {
    for destination in ["rely", "port"] {
        let sandbox = Sandbox::start();
        let folder = folder(&format!("identity-late-{destination}"));
        let service = if destination == "rely" {
            Service::Rely
        } else {
            Service::Port
        };
        sandbox.fail(service, 1, answers(503));
        after(&["--deploy-job", destination], &sandbox, "deploy", "success")
            .var("NOTIFY_ATTEMPTS", "1")
            .var("NOTIFY_OUTPUT_DIR", &folder)
            .run()
            .exits(75);
        std::thread::sleep(std::time::Duration::from_millis(1100));
        stop(&sandbox, &["--deploy-job", destination], "success")
            .var("NOTIFY_JOB", "deploy")
            .run()
            .exits(0);
        let kept = folder.join("undelivered").display().to_string();
        notify(&["replay", &kept])
            .at(&sandbox)
            .var("NOTIFY_DESTINATIONS", destination)
            .run()
            .exits(0)
            .says_of(destination, "a newer report has reached the entity");
    }
}
