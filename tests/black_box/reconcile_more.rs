//! `reconcile` with a GitLab as its documentation shows it, and with what jobs beside a deploy job left.

use sandbox::{Fault, Recorded, Sandbox, Service};
use serde_json::{Value, json};

use crate::{
    gitlab::in_job,
    support::{
        Run,
        record::{ID, ago},
        wait_until,
    },
};

const PAGE: &str = "https://gitlab.example.com/acme/shop/-/jobs/7";

/// A deployment with the fields of GitLab's documentation, which shows neither why its job failed nor what that left.
fn documented(id: u64, pipeline: u64, status: &str, updated: &str) -> Value {
    json!({
        "id": id, "iid": id, "ref": "main", "sha": "a91957a858320c0e17f3a0eca7cfacbff50ea29a", "status": status,
        "created_at": ago(4000), "updated_at": updated, "user": {"username": "dana"},
        "environment": {"id": 9, "name": "production", "external_url": "https://shop.example.com"},
        "deployable": {
            "id": 7, "name": "deploy", "stage": "deploy", "status": status, "ref": "main", "tag": false,
            "created_at": ago(4000), "started_at": ago(3600), "finished_at": ago(3000), "user": {"username": "dana"},
            "commit": {"id": "a91957a858320c0e17f3a0eca7cfacbff50ea29a", "title": "Ship"}, "web_url": PAGE,
            "pipeline": {"id": pipeline, "ref": "main", "status": status, "web_url": "https://gitlab.example.com/-/pipelines/1"},
        },
    })
}

/// GitLab answers its next question for deployments with these; `link` says that there are more.
fn answered(sandbox: &Sandbox, deployments: &Value, link: Option<&str>) {
    let headers = link.map(|link| ("link".to_owned(), link.to_owned()));
    let fault = Fault::Status {
        code: 200,
        headers: headers.into_iter().collect(),
        body: deployments.to_string(),
    };
    sandbox.fail_on(Service::GitLab, "/deployments?", 1, fault);
}

/// Pipeline 8812 with these jobs, one of which GitLab records as a deployment.
fn pipeline(jobs: &Value) -> Sandbox {
    let sandbox = Sandbox::start();
    let pipeline = json!({"created_at": ago(4200), "jobs": jobs});
    sandbox.seed(
        Service::GitLab,
        json!({"pipelines": {"8812": pipeline}, "deployments": [{"deployable": 7}]}),
    );
    sandbox
}

fn job(status: &str) -> Value {
    let reason = (status == "failed").then_some("image_pull_failure");
    json!({
        "id": 7, "name": "deploy", "stage": "deploy", "status": status, "failure_reason": reason, "web_url": PAGE,
        "created_at": ago(4000), "started_at": ago(3600), "finished_at": ago(3000),
    })
}

fn reconcile(sandbox: &Sandbox, destination: &str) -> Run {
    in_job(&["reconcile"], sandbox)
        .without("EVENT_ACTION")
        .var("NOTIFY_DESTINATIONS", destination)
}

#[test]
fn pages_end_where_gitlab_says_and_nothing_before_the_window_counts() {
    let sandbox = Sandbox::start();
    let next =
        "<https://gitlab.example.com/x?page=2>; rel=\"next\", <https://gitlab.example.com/x?page=1>; rel=\"first\"";
    let one = documented(602, 8802, "success", &ago(2900));
    let two = documented(601, 8801, "success", &ago(3000));
    let old = documented(600, 8800, "success", &ago(30 * 24 * 3600));
    answered(&sandbox, &json!([one]), Some(next));
    answered(
        &sandbox,
        &json!([two, old]),
        Some("<https://gitlab.example.com/x?page=1>; rel=\"first\""),
    );
    answered(&sandbox, &json!([one, two, old]), None);
    let ran = reconcile(&sandbox, "port").run();
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let held = sandbox.state(Service::Port)["entities"]["deployment"].clone();
    let ids: Vec<&String> = held.as_object().unwrap().keys().collect();
    assert_eq!(
        ids,
        ["acme-shop-8801-production--deploy", "acme-shop-8802-production--deploy"]
    );
}

#[test]
fn why_a_job_failed_is_read_where_gitlab_documents_it() {
    let sandbox = pipeline(&json!([job("failed")]));
    let failed = documented(501, 8812, "failed", &ago(3000));
    answered(&sandbox, &json!([failed]), None);
    let ran = reconcile(&sandbox, "cto")
        .var("NOTIFY_RECONCILE_SINCE", "pipeline")
        .run();
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let told = sandbox.requests_to(Service::Cto);
    assert_eq!(told.len(), 1, "{}", ran.stderr);
    assert_eq!(told[0].json()["event_action"], "failure");
}

#[test]
fn an_end_is_told_unless_a_report_told_of_this_very_run() {
    let no_run = json!({"attempt": 1, "started_at": null, "job_url": null});
    let this_run = json!({"attempt": 1, "started_at": ago(3600), "job_url": PAGE});
    let other_run =
        json!({"attempt": 1, "started_at": ago(3900), "job_url": "https://gitlab.example.com/acme/shop/-/jobs/6"});
    for (case, entry_id, action, told_at, run, expected) in [
        (
            "of its environment",
            "acme-shop-8812-production",
            "failure",
            ago(60),
            &no_run,
            0,
        ),
        (
            "of its environment, before it began",
            "acme-shop-8812-production",
            "failure",
            ago(3900),
            &no_run,
            1,
        ),
        (
            "of its start",
            "acme-shop-8812-production",
            "started",
            ago(60),
            &no_run,
            1,
        ),
        (
            "of this run",
            "acme-shop-8812-production",
            "failure",
            ago(60),
            &this_run,
            0,
        ),
        ("of an earlier attempt", ID, "failure", ago(60), &other_run, 1),
    ] {
        let entry = json!({
            "destination": "cto", "operation": "event", "class": "sent", "event_name": "deployment",
            "event_id": entry_id, "action": action, "deploy_run": run,
        });
        let event = json!({
            "schema_version": 1, "name": "deployment", "action": action, "id": entry_id, "environment": "production",
            "job": null, "time": told_at,
        });
        let receipt = json!({
            "schema_version": 1, "notify_event": "0.1.0", "project_id": "42", "pipeline_id": "8812", "job_id": "8",
            "exit_code": 0, "event": event, "destinations": [entry], "earlier": [], "files": [], "undelivered": [],
        });
        let beside = json!({
            "id": 8, "name": "notify", "stage": ".post", "artifacts": {".notify-event/receipt.json": receipt},
        });
        let sandbox = pipeline(&json!([job("failed"), beside]));
        let ran = reconcile(&sandbox, "cto")
            .var("NOTIFY_RECONCILE_SINCE", "pipeline")
            .run();
        assert_eq!(ran.code, 0, "{case}: {}", ran.stderr);
        assert_eq!(
            sandbox.requests_to(Service::Cto).len(),
            expected,
            "{case}: {}",
            ran.stderr
        );
    }
}

#[test]
fn a_start_of_the_same_attempt_stays_as_it_was_told() {
    let sandbox = pipeline(&json!([job("success")]));
    let start = ago(3600 - 90);
    let properties = json!({"status": "IN_PROGRESS", "action": "started", "createdAt": start, "startedAt": start});
    let entity = json!({"identifier": ID, "title": "Mine", "properties": properties, "relations": {}});
    sandbox.seed(Service::Port, json!({"entities": {"deployment": {ID: entity}}}));
    let ran = reconcile(&sandbox, "port").run();
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let held = &sandbox.state(Service::Port)["entities"]["deployment"][ID];
    assert_eq!(held["properties"]["status"], "SUCCESS", "{}", ran.stderr);
    assert_eq!(held["properties"]["createdAt"], start, "{}", ran.stderr);
}

#[test]
fn a_run_that_is_asked_to_end_tells_what_it_was_at() {
    let sandbox = pipeline(&json!([job("success")]));
    sandbox.fail_on(
        Service::Rely,
        "POST /api/v1/entities",
        1,
        Fault::ProcessThen(Box::new(Fault::Hang)),
    );
    let run = reconcile(&sandbox, "rely").start();
    let is_write = |request: &Recorded| request.method == "POST";
    wait_until("the write", || sandbox.requests_to(Service::Rely).iter().any(is_write));
    run.signal("TERM");
    let ran = run.ends();
    assert_eq!(ran.code, 75, "{}", ran.stderr);
    for told in ["not compared", "asked to end while 1 were being written"] {
        assert!(ran.stderr.contains(told), "{}", ran.stderr);
    }
}

#[test]
fn a_refused_token_is_told_what_it_lacks() {
    let sandbox = Sandbox::start();
    let run = || reconcile(&sandbox, "port").var("NOTIFY_RECONCILE_PROJECTS", "acme/nowhere");
    let own = run().var("NOTIFY_GITLAB_TOKEN", sandbox.gitlab_access_token()).run();
    assert_eq!(own.code, 78, "{}", own.stderr);
    assert!(own.stderr.contains("it needs the scope read_api"), "{}", own.stderr);
    assert!(!own.stderr.contains("job token"), "{}", own.stderr);
    let none = run().without("CI_JOB_TOKEN").run();
    assert_eq!(none.code, 78, "{}", none.stderr);
    assert!(none.stderr.contains("nor is NOTIFY_GITLAB_TOKEN"), "{}", none.stderr);
}

/// Port takes until the end of the run to answer nothing, and Rely is put right meanwhile.
#[test]
fn a_service_that_hangs_holds_up_no_other() {
    let sandbox = Sandbox::start();
    let jobs = json!([{
        "id": 7, "name": "deploy", "status": "failed", "failure_reason": "runner_system_failure",
        "created_at": ago(4000), "started_at": ago(3600), "finished_at": ago(3000),
    }]);
    sandbox.seed(
        Service::GitLab,
        json!({"pipelines": {"8812": {"created_at": ago(4200), "jobs": jobs}}, "deployments": [{"deployable": 7}]}),
    );
    sandbox.fail(Service::Port, 100, Fault::Hang);
    let ran = in_job(&["reconcile"], &sandbox)
        .var("NOTIFY_DESTINATIONS", "rely,port")
        .var("NOTIFY_TIMEOUT", "3")
        .run();
    assert_eq!(ran.code, 75, "{}", ran.stderr);
    let held = &sandbox.state(Service::Rely)["entities"][ID];
    assert_eq!(held["properties"]["status"], "FAILED", "{}", ran.stderr);
}
