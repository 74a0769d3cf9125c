//! `reconcile`: what Rely and Port hold is made to agree with GitLab's record.

use sandbox::{Sandbox, Service};
use serde_json::{Value, json};

use crate::{
    gitlab::in_job,
    support::{Ran, Run},
};

/// So many seconds ago, RFC 3339.
pub fn ago(seconds: u64) -> String {
    let time = std::time::SystemTime::now() - std::time::Duration::from_secs(seconds);
    humantime::format_rfc3339_seconds(time).to_string()
}

/// A deploy job of pipeline 8812 that was told to have started and then ended so, an hour ago.
fn job(id: u64, name: &str, status: &str, reason: Option<&str>) -> Value {
    json!({
        "id": id, "name": name, "stage": "deploy", "status": status, "failure_reason": reason,
        "created_at": ago(4000), "started_at": ago(3600),
        "finished_at": if status == "running" { None } else { Some(ago(3000)) },
    })
}

/// A sandbox whose GitLab has these deployments, each of a job in pipeline 8812 by its id.
fn seeded(jobs: &[Value], deployments: &Value) -> Sandbox {
    let sandbox = Sandbox::start();
    sandbox.seed(
        Service::GitLab,
        json!({"pipelines": {"8812": {"created_at": ago(4200), "jobs": jobs}}, "deployments": deployments}),
    );
    sandbox
}

fn reconcile(sandbox: &Sandbox) -> Run {
    in_job(&["reconcile"], sandbox)
        .without("EVENT_ACTION")
        .var("NOTIFY_DESTINATIONS", "rely,port")
}

fn entity(sandbox: &Sandbox, service: Service, id: &str) -> Value {
    let state = sandbox.state(service);
    match service {
        Service::Port => state["entities"]["deployment"][id]["properties"].clone(),
        _ => state["entities"][id]["properties"].clone(),
    }
}

fn writes(sandbox: &Sandbox) -> Vec<String> {
    let of_all = sandbox.requests().into_iter();
    of_all
        .filter(|request| {
            request.method != "GET" && !request.path.ends_with("/search") && !request.path.contains("auth")
        })
        .map(|request| format!("{} {}", request.method, request.path))
        .collect()
}

const ID: &str = "acme-shop-8812-production--deploy";

#[test]
fn a_lost_deployment_is_put_right_once() {
    let sandbox = seeded(
        &[job(7, "deploy", "failed", Some("runner_system_failure"))],
        &json!([{"deployable": 7}]),
    );
    let ran: Ran = reconcile(&sandbox).run();
    println!("{}", ran.stderr);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(entity(&sandbox, Service::Rely, ID)["status"], "FAILED");
    assert_eq!(entity(&sandbox, Service::Port, ID)["status"], "FAILURE");
    let before = writes(&sandbox).len();
    let again = reconcile(&sandbox).run();
    println!("{}", again.stderr);
    assert_eq!(writes(&sandbox).len(), before, "{}", again.stderr);
}
