//! GitLab's record of deployments, and what the portals show of it.

use std::{
    fs,
    sync::LazyLock,
    time::{Duration, SystemTime},
};

use sandbox::{Sandbox, Service};
use serde_json::{Value, json};

use super::{GITLAB, Ran, Run, UGLY_BRANCH, folder, operations::LOGIN};
use crate::gitlab::in_job;

/// The entity of the job `deploy`, which deploys to production.
pub const ID: &str = "acme-shop-8812-production--deploy";

/// So many seconds ago; the same for all of a run's tests.
pub fn ago(seconds: u64) -> String {
    static NOW: LazyLock<SystemTime> = LazyLock::new(SystemTime::now);
    humantime::format_rfc3339_seconds(*NOW - Duration::from_secs(seconds)).to_string()
}

/// When the job of that id began.
pub fn began(id: u64) -> String {
    ago(7200 - 600 * id)
}

/// When it ended.
pub fn ended(id: u64) -> String {
    ago(7200 - 600 * id - 300)
}

/// Jobs of pipeline 8812 as `name environment status | …`, ids ascending from 1. `failed~reason` gives GitLab's reason, `!`
/// behind the status says that it never started. Job n began ten minutes after job n-1, and lasted for five.
pub fn jobs(rows: &str) -> Vec<Value> {
    let rows = rows.split(" | ").filter(|row| !row.is_empty());
    rows.zip(1_u64..)
        .map(|(row, id)| {
            let parts: Vec<&str> = row.rsplitn(3, ' ').collect();
            let (status, name) = (parts[0], parts[2]);
            let (status, reason) = status.split_once('~').map_or((status, None), |(a, b)| (a, Some(b)));
            let (status, never) = (status.trim_end_matches('!'), status.ends_with('!'));
            let (status, never) = if status == "blocked" {
                ("manual", true)
            } else {
                (status, never)
            };
            let has_ended = matches!(status, "success" | "failed" | "canceled");
            json!({
                "id": id, "name": name, "stage": "deploy", "status": status, "failure_reason": reason,
                "created_at": ago(7200), "started_at": (!never).then(|| began(id)),
                "finished_at": has_ended.then(|| ended(id)), "artifacts": {},
            })
        })
        .collect()
}

/// A deployment for each of them.
pub fn deployments(rows: &str) -> Vec<Value> {
    let rows = rows.split(" | ").filter(|row| !row.is_empty());
    rows.zip(1_u64..)
        .map(|(row, id)| json!({"deployable": id, "environment": row.rsplit(' ').nth(1)}))
        .collect()
}

/// Lets GitLab have recorded these jobs' deployments, see [`jobs`].
pub fn seed(sandbox: &Sandbox, rows: &str) {
    seed_jobs(sandbox, &jobs(rows), &json!(deployments(rows)));
}

/// The same of jobs and deployments that are made by hand.
pub fn seed_jobs(sandbox: &Sandbox, jobs: &[Value], deployments: &Value) {
    let mut jobs = jobs.to_vec();
    jobs.push(crate::gitlab::own());
    let of_ours = |name: &str| GITLAB.iter().find(|(own, _)| *own == name).map(|(_, value)| *value);
    let pipelines = json!({"8812": {
        "created_at": ago(7300), "jobs": jobs, "sha": of_ours("CI_COMMIT_SHA"), "ref": UGLY_BRANCH,
    }});
    sandbox.seed(
        Service::GitLab,
        json!({"pipelines": pipelines, "deployments": deployments}),
    );
}

/// A sandbox whose GitLab has recorded these jobs' deployments.
pub fn recorded(rows: &str) -> Sandbox {
    let sandbox = Sandbox::start();
    seed(&sandbox, rows);
    sandbox
}

/// `reconcile` for both portals, in the job of a scheduled pipeline: of another one, by somebody else.
pub fn reconcile(sandbox: &Sandbox) -> Run {
    in_job(&["reconcile"], sandbox)
        .vars([
            ("CI_PIPELINE_ID", "9999"),
            (
                "CI_PIPELINE_URL",
                "https://gitlab.example.com/acme/shop/-/pipelines/9999",
            ),
            ("CI_COMMIT_SHA", "0000000000000000000000000000000000000000"),
            ("CI_COMMIT_BRANCH", "schedule"),
            ("CI_COMMIT_REF_NAME", "schedule"),
            ("GITLAB_USER_LOGIN", "scheduler"),
        ])
        .var("NOTIFY_DESTINATIONS", "rely,port")
        .var("NOTIFY_ATTEMPTS", "2")
}

/// Lets both portals hold an entity with these properties.
pub fn hold(sandbox: &Sandbox, id: &str, properties: &Value) {
    let entity = json!({"blueprintId": "deployment", "title": "t", "properties": properties});
    sandbox.seed(Service::Rely, json!({"entities": {id: entity}}));
    let entity = json!({"title": "t", "properties": properties});
    sandbox.seed(Service::Port, json!({"entities": {"deployment": {id: entity}}}));
}

/// The entity that a portal holds.
pub fn held(sandbox: &Sandbox, service: Service, id: &str) -> Value {
    let state = sandbox.state(service);
    match service {
        Service::Port => state["entities"]["deployment"][id].clone(),
        _ => state["entities"][id].clone(),
    }
}

/// What both portals hold: each entity as `id status`, in order; what is only one portal's with its name.
pub fn shown(sandbox: &Sandbox) -> Vec<String> {
    let of = |service: Service| {
        let state = sandbox.state(service);
        let entities = match service {
            Service::Port => state["entities"]["deployment"].clone(),
            _ => state["entities"].clone(),
        };
        let entities = entities.as_object().cloned().unwrap_or_default();
        let line = |(id, entity): (String, Value)| {
            // Rely's word for a failure is another one.
            let status = entity["properties"]["status"]
                .as_str()
                .unwrap_or("-")
                .replace("FAILED", "FAILURE");
            format!("{id} {status}")
        };
        entities.into_iter().map(line).collect::<Vec<_>>()
    };
    let (rely, port) = (of(Service::Rely), of(Service::Port));
    let mut all: Vec<String> = rely
        .iter()
        .map(|line| {
            if port.contains(line) {
                line.clone()
            } else {
                format!("rely: {line}")
            }
        })
        .collect();
    let only = port.iter().filter(|line| !rely.contains(line));
    all.extend(only.map(|line| format!("port: {line}")));
    all.sort();
    all
}

/// The report of a deploy job's deployment to production, by GitLab's jobs, under the id that `reconcile` derives.
pub fn report(sandbox: &Sandbox, job: &str) -> Run {
    in_job(&["--deploy-job"], sandbox)
        .var("NOTIFY_DESTINATIONS", "rely,port")
        .var("NOTIFY_JOB", job)
        .vars([
            ("CI_ENVIRONMENT_NAME", "production"),
            ("CI_ENVIRONMENT_SLUG", "production"),
        ])
}

/// The report that a deploy job makes from inside, in its `after_script`, as the component `deployment-report` calls it.
pub fn from_inside(sandbox: &Sandbox, (id, job): (u64, &str), status: &str) -> Run {
    report(sandbox, job)
        .var("CI_JOB_ID", id.to_string())
        .vars([("CI_JOB_NAME", job), ("CI_JOB_STATUS", status)])
        .var("CI_JOB_STARTED_AT", began(id))
        .var(
            "CI_JOB_URL",
            format!("https://gitlab.example.com/acme/shop/-/jobs/{id}"),
        )
}

/// Runs something in a folder of its own, and takes what it leaves in its output folder as the artifacts of a job.
pub fn artifacts(run: Run) -> (Ran, Value) {
    artifacts_of(run, &json!({}))
}

/// The same where the job has downloaded the artifacts of another one.
pub fn artifacts_of(run: Run, downloaded: &Value) -> (Ran, Value) {
    let folder = folder("artifacts");
    fs::create_dir_all(folder.join(".notify-event/undelivered")).expect("a folder can be made");
    for (path, text) in downloaded.as_object().expect("an object") {
        fs::write(folder.join(path), text.as_str().expect("text")).expect("a file can be written");
    }
    let ran = run.within(&folder).var("NOTIFY_OUTPUT_DIR", ".notify-event").run();
    let mut left = serde_json::Map::new();
    for below in [".notify-event", ".notify-event/undelivered"] {
        let entries = fs::read_dir(folder.join(below)).expect("the folder stays");
        for entry in entries.map(|entry| entry.expect("an entry")) {
            if let Ok(text) = fs::read_to_string(entry.path()) {
                left.insert(format!("{below}/{}", entry.file_name().display()), text.into());
            }
        }
    }
    (ran, left.into())
}

/// What the portals were sent to change something, as `service METHOD path`.
pub fn writes(sandbox: &Sandbox) -> Vec<String> {
    let requests = sandbox.requests().into_iter().filter(|request| {
        let is_read = request.method == "GET" || request.path.ends_with("/search") || request.path == LOGIN;
        request.service != Service::GitLab && !is_read
    });
    let line = |request: sandbox::Recorded| format!("{} {} {}", request.service.name(), request.method, request.path);
    requests.map(line).collect()
}
