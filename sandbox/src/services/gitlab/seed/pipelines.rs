//! Pipelines and their bridges, with what their seed leaves out.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::super::model::{Bridge, JOB_STATUSES, Job, Pipeline, Project, latest, page_url, source_of};
use super::fields::{default_user, fields, fill_user, list, moment, one_of, read, set, take};
use super::jobs::{JobIds, fill_job, with_id};
use crate::clock::stamp;

pub(super) const SHA: &str = "9f2c1e7d0b4a5c6e8f90a1b2c3d4e5f60718293a";

/// When pipelines are created.
pub(super) const CREATED: OffsetDateTime = time::macros::datetime!(2025-03-01 10:00:00 UTC);

impl Pipeline {
    /// The pipeline `id`; `downstream` are those with higher ids.
    pub(super) fn derive(
        id: u64,
        given: &Value,
        project: &Project,
        ids: &mut JobIds,
        downstream: &BTreeMap<u64, Self>,
    ) -> Result<Self, String> {
        let mut pipeline = fields(given)?;
        set(&mut pipeline, "created_at", || stamp(CREATED));
        let created = moment(&mut pipeline, "created_at")?.ok_or("\"created_at\" is null")?;
        set(&mut pipeline, "user", default_user);
        fill_user(&mut pipeline, "user")?;
        let user = pipeline["user"].clone();
        let jobs = pipeline.remove("jobs").unwrap_or(json!([]));
        let mut previous = id * 1000;
        let mut filled = Vec::new();
        for (turn, job) in list(&jobs)
            .map_err(|error| format!("jobs: {error}"))?
            .iter()
            .enumerate()
        {
            previous = ids.next(job, previous);
            let job = with_id(job, previous).and_then(|job| fill_job(&job, turn, created, &user, project));
            let job = job.and_then(|job| read::<Job>(Value::Object(job)));
            filled.push(job.map_err(|error| format!("job {}: {error}", turn + 1))?);
        }
        let bridges = pipeline.remove("bridges").unwrap_or(json!([]));
        let (mut shown, mut read_bridges) = (Vec::new(), Vec::new());
        let mut previous = id * 1000 + 900;
        for (turn, bridge) in list(&bridges)
            .map_err(|error| format!("bridges: {error}"))?
            .iter()
            .enumerate()
        {
            previous = ids.next(bridge, previous);
            let bridge = fields(bridge).and_then(|mut bridge| {
                let strategy = take::<Option<String>, _>(&mut bridge, "strategy", || Value::Null)?;
                let made = bridge.remove("downstream_pipeline").unwrap_or_default();
                let status = match &made {
                    Value::Object(made) => made.get("status").and_then(Value::as_str),
                    number => number
                        .as_u64()
                        .and_then(|id| Some(downstream.get(&id)?.status.as_str())),
                };
                let status = follow(strategy.as_deref(), status)?;
                set(&mut bridge, "status", || status);
                let job = fill_job(
                    &with_id(&Value::Object(bridge), previous)?,
                    turn,
                    created,
                    &user,
                    project,
                )?;
                Ok(Bridge {
                    job: read(Value::Object(job))?,
                    strategy,
                    downstream_pipeline: made,
                })
            });
            let bridge: Bridge = bridge.map_err(|error| format!("bridge {}: {error}", turn + 1))?;
            let mut fields = fields(&json!(bridge.job))?;
            fields.insert("strategy".to_owned(), json!(bridge.strategy));
            fields.insert("downstream_pipeline".to_owned(), bridge.downstream_pipeline.clone());
            shown.push(Value::Object(fields));
            read_bridges.push(bridge);
        }
        let known = [
            "iid",
            "name",
            "ref",
            "tag",
            "sha",
            "source",
            "status",
            "user",
            "created_at",
            "updated_at",
            "web_url",
        ];
        if let Some(name) = pipeline.keys().find(|name| !known.contains(&name.as_str())) {
            return Err(format!("unknown field {name:?}"));
        }
        set(&mut pipeline, "status", || composite(&filled, &read_bridges));
        let ends = filled
            .iter()
            .filter_map(|job| job.finished_at.as_ref().or(job.started_at.as_ref()));
        set(&mut pipeline, "updated_at", || {
            ends.max().cloned().unwrap_or_else(|| stamp(created))
        });
        moment(&mut pipeline, "updated_at")?;
        let source = source_of(pipeline.get("ref").and_then(Value::as_str).unwrap_or_default());
        Ok(Self {
            iid: take(&mut pipeline, "iid", || id % 1000)?,
            name: take(&mut pipeline, "name", || Value::Null)?,
            reference: take(&mut pipeline, "ref", || "main")?,
            tag: take(&mut pipeline, "tag", || false)?,
            sha: take(&mut pipeline, "sha", || SHA)?,
            source: take(&mut pipeline, "source", || source)?,
            status: one_of(&pipeline, "status", &JOB_STATUSES)?,
            user,
            created_at: stamp(created),
            updated_at: take(&mut pipeline, "updated_at", || Value::Null)?,
            web_url: take(&mut pipeline, "web_url", || page_url(project, "pipelines", id))?,
            jobs: filled,
            bridges: shown,
            read_bridges,
        })
    }
}

/// What a trigger job is when its downstream pipeline is this (`Ci::Bridge#inherit_status_from_downstream`). Without a
/// strategy it has done its work when that is there.
fn follow(strategy: Option<&str>, downstream: Option<&str>) -> Result<&'static str, String> {
    Ok(match (strategy, downstream) {
        (None, _) | (Some("depend" | "mirror"), Some("success")) => "success",
        (Some("depend" | "mirror"), Some("canceled")) => "canceled",
        (Some("depend" | "mirror"), Some("failed")) | (Some("depend"), Some("skipped")) => "failed",
        (Some("mirror"), Some("manual")) => "manual",
        (Some("mirror"), Some("skipped")) => "skipped",
        (Some("depend" | "mirror"), _) => "running",
        (Some(other), _) => return Err(format!("\"strategy\" is {other:?}, and neither depend nor mirror")),
    })
}

/// The status that GitLab gives a pipeline for those of its jobs (`lib/gitlab/ci/status/composite.rb`).
fn composite(jobs: &[Job], bridges: &[Bridge]) -> String {
    let bridges = bridges.iter().map(|bridge| &bridge.job).collect::<Vec<_>>();
    let jobs = latest(jobs.iter().collect()).into_iter().chain(latest(bridges));
    let statuses = jobs.map(|job| match (job.status.as_str(), job.allow_failure) {
        ("failed" | "canceled", true) => "success",
        ("manual", true) => "skipped",
        (status, _) => status,
    });
    let statuses = statuses.collect::<BTreeSet<_>>();
    let only = |allowed: &[&str]| statuses.iter().all(|status| allowed.contains(status));
    let any = |sought: &[&str]| statuses.iter().any(|status| sought.contains(status));
    let status = if statuses.is_empty() || only(&["created"]) {
        "created"
    } else if only(&["skipped"]) {
        "skipped"
    } else if only(&["success", "skipped"]) {
        "success"
    } else if only(&["success", "skipped", "canceled"]) {
        "canceled"
    } else if only(&["created", "skipped", "pending"]) {
        "pending"
    } else if any(&["canceling"]) {
        "canceling"
    } else if any(&["running", "pending"]) {
        "running"
    } else if let Some(held) = [
        "waiting_for_resource",
        "waiting_for_callback",
        "manual",
        "scheduled",
        "preparing",
    ]
    .into_iter()
    .find(|held| statuses.contains(held))
    {
        held
    } else if any(&["created"]) {
        "running"
    } else {
        "failed"
    };
    status.to_owned()
}
