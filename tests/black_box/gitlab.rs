//! The pipeline that the tests pretend to be in, as the sandbox's GitLab knows it.

use sandbox::{Recorded, Sandbox, Service};
use serde_json::{Value, json};

use crate::support::{Run, notify, operations::LOGIN};

/// The id of the job that the binary runs in, as the harness has it.
pub const OWN: u64 = 991;

/// Jobs as `name@stage status | …`, ids ascending from 1; the stage is `main` if it isn't given, and `?` behind the
/// status means `allow_failure`, `!` that it never started. Job n starts at 10:0n:02.400 and ends 58 s later, as far as
/// its status lets it. `own>downstream` is the status of a trigger job and that of its downstream pipeline.
pub fn jobs(jobs: &str) -> Vec<Value> {
    let jobs = jobs.split(" | ").filter(|job| !job.trim().is_empty());
    jobs.zip(1_u64..)
        .map(|(job, id)| {
            let (name, status) = job.trim().rsplit_once(' ').expect("a name and a status");
            let (name, stage) = name.split_once('@').unwrap_or((name, "main"));
            let (status, never_started) = (status.trim_end_matches('!'), status.ends_with('!'));
            let allowed = status.ends_with('?');
            let (word, downstream) = match status.trim_end_matches('?').split_once('>') {
                Some((word, downstream)) => (word, Some(downstream)),
                None => (status.trim_end_matches('?'), None),
            };
            let has_started =
                matches!(word, "success" | "failed" | "canceled" | "running" | "canceling") && !never_started;
            let has_ended = matches!(word, "success" | "failed" | "canceled");
            let mut job = json!({
                "id": id,
                "name": name,
                "stage": stage,
                "status": word,
                "allow_failure": allowed,
                "started_at": has_started.then(|| format!("2025-03-01T10:{id:02}:02.400Z")),
                "finished_at": has_ended.then(|| format!("2025-03-01T10:{:02}:00.400Z", id + 1)),
                "user": format!("user{id}"),
            });
            if let Some(status) = downstream {
                let updated_at = format!("2025-03-01T11:{id:02}:00.000Z");
                job["downstream_pipeline"] = json!({"id": 9000 + id, "status": status, "updated_at": updated_at});
            }
            job
        })
        .collect()
}

/// The job that the binary runs in.
pub fn own() -> Value {
    json!({"id": OWN, "name": "notify", "stage": ".post", "status": "running"})
}

/// Lets the pipeline have these jobs, and the one that asks.
pub fn seed(sandbox: &Sandbox, mut jobs: Vec<Value>) {
    jobs.push(own());
    seed_only(sandbox, &jobs);
}

/// Lets the pipeline have these jobs and no other.
pub fn seed_only(sandbox: &Sandbox, jobs: &[Value]) {
    let is_trigger = |job: &&Value| job.get("downstream_pipeline").is_some();
    let (bridges, jobs): (Vec<&Value>, Vec<&Value>) = jobs.iter().partition(is_trigger);
    sandbox.seed(
        Service::GitLab,
        json!({"pipelines": {"8812": {"jobs": jobs, "bridges": bridges}}}),
    );
}

/// The binary in a job of the sandbox's GitLab, with `EVENT_ACTION` unset.
pub fn in_job(arguments: &[&str], sandbox: &Sandbox) -> Run {
    let mut run = notify(arguments).at(sandbox).without("EVENT_ACTION");
    for (name, value) in sandbox.gitlab_variables() {
        run = run.var(&name, value);
    }
    run
}

/// What the services that are reported to were sent, reads left out.
pub fn writes(sandbox: &Sandbox) -> Vec<Recorded> {
    let mut requests = sandbox.requests();
    requests.retain(|request| request.service != Service::GitLab && request.method != "GET" && request.path != LOGIN);
    requests
}
