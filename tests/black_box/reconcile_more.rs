//! `reconcile` with a GitLab as its documentation shows it, and with what jobs beside a deploy job left.

use sandbox::{Fault, Sandbox, Service};
use serde_json::{Value, json};

use crate::{gitlab::in_job, reconcile::ago, support::Run};

const ID: &str = "acme-shop-8812-production--deploy";
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
