//! Jobs, with what their seed leaves out.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use super::super::model::{JOB_STATUSES, Project, page_url};
use super::fields::{Fields, LARGEST_ID, fields, fill_user, moment, number, one_of, set};
use crate::clock::stamp;

/// Each job waits and runs for a minute together, one after another.
pub(super) const TURN: Duration = Duration::seconds(60);
const QUEUED: Duration = Duration::seconds(2);
/// A running job's duration grows with the clock; here it is one that doesn't.
const RUNNING_FOR: f64 = 30.0;

/// The ids of jobs and bridges, which share theirs. Each is later than the one before it in its list.
pub(super) struct JobIds(BTreeSet<u64>);

impl JobIds {
    /// Those that the seed names, which nothing else may get.
    pub(super) fn of<'a>(pipelines: impl Iterator<Item = &'a Value>) -> Result<Self, String> {
        let mut taken = BTreeSet::new();
        let jobs = pipelines.flat_map(|pipeline| {
            let of = |name: &str| pipeline[name].as_array().into_iter().flatten();
            of("jobs").chain(of("bridges"))
        });
        for id in jobs.filter_map(|job| job["id"].as_u64()) {
            if !taken.insert(id) {
                return Err(format!("there are two jobs {id}"));
            }
        }
        Ok(Self(taken))
    }

    pub(super) fn next(&mut self, job: &Value, previous: u64) -> u64 {
        if let Some(id) = job["id"].as_u64() {
            return id.min(LARGEST_ID);
        }
        let mut free = previous + 1;
        while !self.0.insert(free) {
            free += 1;
        }
        free
    }
}

pub(super) fn with_id(job: &Value, id: u64) -> Result<Value, String> {
    let mut job = fields(job)?;
    set(&mut job, "id", || id);
    Ok(Value::Object(job))
}

pub(super) fn fill_job(
    given: &Value,
    turn: usize,
    created: OffsetDateTime,
    user: &Value,
    project: &Project,
) -> Result<Fields, String> {
    let mut job = fields(given)?;
    if !job.get("name").is_some_and(Value::is_string) {
        return Err("it has no name".to_owned());
    }
    set(&mut job, "stage", || "test");
    set(&mut job, "status", || "success");
    set(&mut job, "allow_failure", || false);
    set(&mut job, "user", || user.clone());
    fill_user(&mut job, "user")?;
    let status = one_of(&job, "status", &JOB_STATUSES)?;
    set(&mut job, "created_at", || stamp(created));
    let created = moment(&mut job, "created_at")?.ok_or("\"created_at\" is null")?;
    let lasts = job
        .get("duration")
        .and_then(Value::as_f64)
        .filter(|seconds| (0.0..1e9).contains(seconds));
    let lasts = lasts.map_or(TURN - QUEUED, Duration::seconds_f64);
    let due = created.saturating_add(TURN * as_factor(turn));
    let finish = moment(&mut job, "finished_at")?;
    let began = finish.is_some() || matches!(status.as_str(), "running" | "success" | "failed" | "canceling");
    set(&mut job, "started_at", || {
        began.then(|| stamp(finish.map_or(due.saturating_add(QUEUED), |finish| finish.saturating_sub(lasts))))
    });
    let started = moment(&mut job, "started_at")?;
    // What never started has run no script that could fail.
    let reason = started.map_or("stuck_or_timeout_failure", |_| "script_failure");
    set(&mut job, "failure_reason", || (status == "failed").then_some(reason));
    let ended = matches!(status.as_str(), "success" | "failed" | "canceled");
    // A job that is canceled before it starts is finished all the same.
    set(&mut job, "finished_at", || {
        ended.then(|| stamp(started.map_or(due, |started| started.saturating_add(lasts))))
    });
    let finished = moment(&mut job, "finished_at")?;
    set(&mut job, "duration", || {
        let started = started?;
        Some(finished.map_or(RUNNING_FOR, |finished| (finished - started).as_seconds_f64()))
    });
    set(&mut job, "queued_duration", || started.map(|_| QUEUED.as_seconds_f64()));
    let id = number(&job, "id")?;
    set(&mut job, "web_url", || page_url(project, "jobs", id));
    set(&mut job, "artifacts", || json!({}));
    let artifacts = job["artifacts"]
        .as_object_mut()
        .ok_or("\"artifacts\" is not an object")?;
    for content in artifacts.values_mut() {
        if !content.is_string() {
            *content = Value::from(content.to_string());
        }
    }
    Ok(job)
}

pub(super) fn as_factor(turn: usize) -> i32 {
    i32::try_from(turn).unwrap_or(i32::MAX / 60)
}
