//! Aviator's stand-in against docs/vendors/aviator.md.

mod common;

use common::{Client, aviator, with};
use sandbox::{Sandbox, Service};
use serde_json::{Value, json};

const COMMIT: &str = "9f2c1e7d0b4a5c6e8f90a1b2c3d4e5f60718293a";
const DEPLOYMENTS: &str = "/api/releases/Shop%20API/environments/production/deployments";
const ROLLBACK: &str = "/api/releases/Shop%20API/environments/production/rollback";

fn release(aviator: &Client, candidate: &str) -> common::Reply {
    let body = json!({"repo": "acme/shop", "commit": COMMIT, "trigger_build_workflow": false});
    aviator.post(&format!("/api/releases/Shop%20API/releases/{candidate}"), &body)
}

fn report(aviator: &Client, candidate: &str, status: &str) -> common::Reply {
    aviator.send(
        "PATCH",
        DEPLOYMENTS,
        &json!({"release_candidate_version": candidate, "status": status}),
    )
}

fn error(reply: &common::Reply) -> (u16, String) {
    (
        reply.status,
        reply.json()["error"].as_str().unwrap_or_default().to_owned(),
    )
}

fn production(sandbox: &Sandbox) -> Value {
    sandbox.state(Service::Aviator)["environments"]["production"].clone()
}

#[test]
fn a_release_is_cut_and_its_deployment_reported() {
    let sandbox = Sandbox::start();
    let aviator = aviator(&sandbox);
    let cut = release(&aviator, "2025.03.01-rc1");
    assert_eq!((cut.status, cut.text.as_str()), (201, ""));
    for status in [
        "pending",
        "in_progress",
        "success",
        "failure",
        "canceling",
        "canceled",
        "error",
        "unknown",
    ] {
        let reported = report(&aviator, "2025.03.01-rc1", status);
        assert_eq!((reported.status, reported.text.as_str()), (200, ""));
        assert_eq!(production(&sandbox)["deployments"][0]["status"], status);
    }
    assert_eq!(
        production(&sandbox)["deployments"].as_array().unwrap().len(),
        1,
        "updated, not added"
    );
    assert_eq!(
        production(&sandbox)["triggered_workflows"],
        0,
        "a status never triggers"
    );
}

#[test]
fn a_deployment_triggers_each_time() {
    let sandbox = with(|options| options.aviator_replies = true);
    let aviator = aviator(&sandbox);
    release(&aviator, "1.0-rc1");
    for _ in 0..2 {
        let created = aviator.post(DEPLOYMENTS, &json!({"release_candidate_version": "1.0-rc1"}));
        assert_eq!(
            (created.status, created.json()["status"].clone()),
            (201, json!("pending"))
        );
    }
    assert_eq!(production(&sandbox)["triggered_workflows"], 2);
}

#[test]
fn deployments_are_listed_newest_first_in_pages() {
    let sandbox = Sandbox::start();
    let aviator = aviator(&sandbox);
    for number in 1..=12 {
        release(&aviator, &format!("1.{number}-rc1"));
        report(&aviator, &format!("1.{number}-rc1"), "success");
    }
    let first = aviator.get(DEPLOYMENTS).json();
    assert_eq!(first.as_array().unwrap().len(), 10);
    assert_eq!(first[0]["release_candidate_version"], "1.12-rc1");
    assert_eq!(first[0]["from_release_version"], "1.11");
    let second = aviator.get(&format!("{DEPLOYMENTS}?page=2&per_page=10")).json();
    assert_eq!(second.as_array().unwrap().len(), 2);
    assert_eq!(aviator.get(&format!("{DEPLOYMENTS}?per_page=101")).status, 400);
    assert_eq!(aviator.get(&format!("{DEPLOYMENTS}?page=0")).status, 400);
    assert_eq!(aviator.get(&format!("{DEPLOYMENTS}?limit=1")).status, 400);
}

#[test]
fn a_rollback_goes_back_and_then_has_nowhere_to_go() {
    let sandbox = Sandbox::start();
    let aviator = aviator(&sandbox);
    let nothing = (404, "No previous deployment to roll back from".to_owned());
    assert_eq!(error(&aviator.post(ROLLBACK, &json!({}))), nothing);
    for candidate in ["1.0-rc1", "1.1-rc1"] {
        release(&aviator, candidate);
        report(&aviator, candidate, "success");
    }
    report(&aviator, "1.1-rc1", "in_progress");
    let back = aviator.post(ROLLBACK, &json!({"force": false}));
    assert_eq!(
        (back.status, back.json()["release_candidate_version"].clone()),
        (201, json!("1.0-rc1"))
    );
    assert_eq!(production(&sandbox)["deployments"][1]["status"], "canceled");
    assert_eq!(error(&aviator.bytes("POST", ROLLBACK, b"")), nothing);
    sandbox.seed(
        Service::Aviator,
        json!({"environments": {"production": {"frozen": true, "deployments": [
            {"release_candidate_version": "1.1-rc1", "status": "success"},
            {"release_candidate_version": "1.0-rc1", "status": "success"},
        ]}}}),
    );
    assert_eq!(
        error(&aviator.post(ROLLBACK, &json!({}))),
        (400, "Environment is frozen".to_owned())
    );
    assert_eq!(aviator.post(ROLLBACK, &json!({"force": true})).status, 201);
    assert_eq!(aviator.post(ROLLBACK, &json!({"force": "yes"})).status, 400);
}

#[test]
fn what_is_stuck_for_an_hour_becomes_an_error() {
    let sandbox = Sandbox::start();
    sandbox.seed(Service::Aviator, json!({"environments": {"staging": {"deployments": [
        {"release_candidate_version": "1.0-rc1", "status": "in_progress", "deploy_start_at": "2025-03-01T10:00:00Z"},
    ]}}}));
    let listed = aviator(&sandbox)
        .get("/api/releases/Shop%20API/environments/staging/deployments")
        .json();
    assert_eq!(listed[0]["status"], "error");
}

#[test]
fn each_documented_error_is_answered() {
    let sandbox = Sandbox::start();
    let aviator = aviator(&sandbox);
    release(&aviator, "1.0-rc1");
    let candidate = |version: &str| json!({"release_candidate_version": version});
    let invalid = (400, "Invalid release candidate version".to_owned());
    assert_eq!(error(&release(&aviator, "1.0")), invalid);
    assert_eq!(error(&release(&aviator, "1.0.rc1")), invalid);
    assert_eq!(error(&release(&aviator, "1.0-rc1x")), invalid);
    let cut = |body: &Value| error(&aviator.post("/api/releases/Shop%20API/releases/2.0-rc1", body));
    assert_eq!(
        cut(&json!({"repo": "acme/shop", "commit": "main"})),
        (400, "Invalid commit hash".to_owned())
    );
    assert_eq!(
        cut(&json!({"repo": "acme/else", "commit": COMMIT})),
        (404, "GitHub repository not found".to_owned())
    );
    assert_eq!(
        cut(&json!({"repo": "acme/shop", "commit": COMMIT, "branch": "main"})).0,
        400
    );
    assert_eq!(
        cut(&json!({"repo": "acme/shop", "commit": COMMIT, "trigger_build_workflow": "true"})).0,
        400
    );
    assert_eq!(release(&aviator, "1.0-rc1").status, 400);
    assert_eq!(error(&aviator.post(DEPLOYMENTS, &candidate("1.0"))), invalid);
    assert_eq!(error(&report(&aviator, "1.0", "success")), invalid);
    let unknown = (404, "Release not found".to_owned());
    assert_eq!(error(&aviator.post(DEPLOYMENTS, &candidate("9.9-rc1"))), unknown);
    assert_eq!(error(&report(&aviator, "9.9-rc1", "success")), unknown);
    assert_eq!(report(&aviator, "1.0-rc1", "failed").status, 400);
    let nowhere = "/api/releases/Shop%20API/environments/qa";
    let missing = (404, "Release environment not found".to_owned());
    assert_eq!(
        error(&aviator.post(&format!("{nowhere}/deployments"), &candidate("1.0-rc1"))),
        missing
    );
    assert_eq!(error(&aviator.get(&format!("{nowhere}/deployments"))), missing);
    assert_eq!(
        error(&aviator.post(&format!("{nowhere}/rollback"), &json!({}))),
        missing
    );
    let project = aviator.get("/api/releases/shop%20api/environments/production/deployments");
    assert_eq!(error(&project), (404, "Release project not found".to_owned()));
    assert_eq!(aviator.with("authorization", None).get(DEPLOYMENTS).status, 401);
    assert_eq!(
        aviator.with("authorization", Some("Bearer no")).get(DEPLOYMENTS).status,
        401
    );
    assert_eq!(aviator.get("/api/v1/releases").status, 404);
    assert_eq!(aviator.bytes("DELETE", DEPLOYMENTS, b"").status, 405);
    assert_eq!(production(&sandbox)["deployments"], json!([]));
}
