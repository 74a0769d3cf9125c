//! Deployments and their merge requests, with what their seed leaves out.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::super::model::{DEPLOYMENT_STATUSES, Deployment, Job, Record};
use super::super::slug;
use super::fields::{Fields, default_user, fields, fill_user, list, moment, number, one_of, read, set};
use super::jobs::{TURN, as_factor, fill_job};
use super::merge_requests::merge_request;
use crate::clock::stamp;

/// When deployments begin: on the day before the pipelines.
const DEPLOYED: OffsetDateTime = time::macros::datetime!(2025-02-28 10:00:00 UTC);

/// The numbers that are given out over all deployments.
#[derive(Default)]
pub(super) struct Numbers {
    /// Of each project's environments.
    environments: BTreeMap<(u64, String), usize>,
    /// Of merge requests, in each project.
    titles: BTreeMap<u64, u64>,
}

impl Record {
    /// The next deployment; `first` is the id of a project's first one.
    pub(super) fn deployment(
        &self,
        turn: usize,
        given: &Value,
        first: u64,
        numbers: &mut Numbers,
    ) -> Result<Deployment, String> {
        let mut deployment = fields(given)?;
        let previous = self.deployments.last();
        set(&mut deployment, "id", || {
            previous.map_or(first, |previous| previous.id + 1)
        });
        set(&mut deployment, "iid", || {
            previous.map_or(1, |previous| previous.iid + 1)
        });
        let id = number(&deployment, "id")?;
        number(&deployment, "iid")?;
        // What it is the deployment of says the rest.
        let job = match deployment.get("deployable") {
            Some(Value::Number(number)) => {
                let job = number.as_u64().and_then(|id| self.job(id));
                Some(job.ok_or(format!("no pipeline has a job {number}"))?)
            }
            _ => None,
        };
        let own = deployment.get("deployable").and_then(Value::as_object).cloned();
        let own = own.unwrap_or_default();
        let of_own = |name: &str| own.get(name).filter(|given| !given.is_null()).cloned();
        let pipeline = job
            .map(|(pipeline, _)| pipeline)
            .or_else(|| own.get("pipeline").and_then(pipeline_id));
        let pipeline = pipeline.and_then(|id| self.pipelines.get(&id));
        set(&mut deployment, "status", || {
            let own = own.get("status").and_then(Value::as_str);
            job.map(|(_, job)| job.status.as_str())
                .or(own)
                .map_or("success", status_by_job)
        });
        set(&mut deployment, "sha", || {
            pipeline.map_or_else(|| format!("{id:040x}"), |pipeline| pipeline.sha.clone())
        });
        set(&mut deployment, "ref", || {
            let own = own.get("pipeline").and_then(|pipeline| pipeline["ref"].as_str());
            pipeline.map_or(own.unwrap_or("main"), |pipeline| pipeline.reference.as_str())
        });
        set(&mut deployment, "user", || match job {
            Some((_, job)) => job.user.clone(),
            None => of_own("user").unwrap_or_else(default_user),
        });
        fill_user(&mut deployment, "user")?;
        let created = DEPLOYED.saturating_add(TURN * 60 * as_factor(turn));
        set(&mut deployment, "created_at", || match job {
            Some((_, job)) => json!(job.created_at),
            None => of_own("created_at").unwrap_or_else(|| json!(stamp(created))),
        });
        let created = moment(&mut deployment, "created_at")?.ok_or("\"created_at\" is null")?;
        let status = one_of(&deployment, "status", &DEPLOYMENT_STATUSES)?;
        set(&mut deployment, "deployable", || json!({}));
        let mut own_job = None;
        if deployment["deployable"].is_object() {
            let filled = self.own_deployable(&deployment["deployable"], id, &status, created, &deployment["user"]);
            let (filled, read) = filled.map_err(|error| format!("deployable: {error}"))?;
            deployment["deployable"] = filled;
            own_job = Some(read);
        } else if !deployment["deployable"].is_null() && job.is_none() {
            return Err("\"deployable\" is neither a job nor a job's id".to_owned());
        }
        let job = job.map(|(_, job)| job).or(own_job.as_ref());
        let ended = matches!(status.as_str(), "success" | "failed" | "canceled");
        set(&mut deployment, "finished_at", || {
            let finished = job.and_then(|job| job.finished_at.clone());
            ended.then(|| finished.unwrap_or_else(|| stamp(created.saturating_add(TURN))))
        });
        let finished = moment(&mut deployment, "finished_at")?.map(stamp);
        set(&mut deployment, "updated_at", || {
            let started = job.and_then(|job| job.started_at.clone());
            finished.or(started).unwrap_or_else(|| stamp(created))
        });
        moment(&mut deployment, "updated_at")?;
        environment(&mut deployment, self.project.id, numbers)?;
        let requests = deployment.get("merge_requests").map_or(Ok(&[][..]), list);
        let requests = requests.map_err(|error| format!("merge_requests: {error}"))?;
        let requests = requests.iter().map(|given| {
            let turn = numbers.titles.entry(self.project.id).or_default();
            *turn += 1;
            merge_request(given, *turn, created, &self.project)
        });
        let requests = requests
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| format!("merge_requests: {error}"))?;
        deployment.insert("merge_requests".to_owned(), Value::Array(requests));
        let deployment = read::<Deployment>(Value::Object(deployment))?;
        Ok(Deployment { own_job, ..deployment })
    }

    /// A job that no pipeline here has, of an earlier pipeline; as it is held, and read.
    fn own_deployable(
        &self,
        given: &Value,
        deployment: u64,
        status: &str,
        created: OffsetDateTime,
        user: &Value,
    ) -> Result<(Value, Job), String> {
        let mut job = fields(given)?;
        set(&mut job, "id", || 70_000 + deployment);
        set(&mut job, "name", || "deploy");
        set(&mut job, "stage", || "deploy");
        set(
            &mut job,
            "status",
            || if status == "blocked" { "manual" } else { status },
        );
        let pipeline = job.remove("pipeline").unwrap_or(json!(8000 + deployment));
        let id = pipeline_id(&pipeline).ok_or("\"pipeline\" is neither an id nor an object with one")?;
        let mut pipeline = pipeline.as_object().cloned().unwrap_or_default();
        pipeline.insert("id".to_owned(), json!(id));
        if let Some(name) = pipeline.keys().find(|name| !OF_PIPELINES.contains(&name.as_str())) {
            return Err(format!("pipeline: unknown field {name:?}"));
        }
        for name in ["created_at", "updated_at"] {
            moment(&mut pipeline, name).map_err(|error| format!("pipeline: {error}"))?;
        }
        let mut filled = fill_job(&Value::Object(job), 0, created, user, &self.project)?;
        let job = read::<Job>(Value::Object(filled.clone()))?;
        filled.insert("pipeline".to_owned(), Value::Object(pipeline));
        Ok((Value::Object(filled), job))
    }
}

/// What a deployment's own job may say of its pipeline.
const OF_PIPELINES: [&str; 9] = [
    "id",
    "iid",
    "sha",
    "ref",
    "status",
    "source",
    "created_at",
    "updated_at",
    "web_url",
];

/// The pipeline that a deployment's own job names: by an id, or an object with one.
fn pipeline_id(pipeline: &Value) -> Option<u64> {
    pipeline.as_u64().or_else(|| pipeline["id"].as_u64())
}

/// What a deployment is when its job is this.
fn status_by_job(job: &str) -> &'static str {
    match job {
        "canceling" | "running" => "running",
        "manual" => "blocked",
        "success" => "success",
        "failed" => "failed",
        "canceled" => "canceled",
        "skipped" => "skipped",
        _ => "created",
    }
}

/// A name, or an object that has one. Equal names are one environment.
fn environment(deployment: &mut Fields, project: u64, numbers: &mut Numbers) -> Result<(), String> {
    set(deployment, "environment", || "production");
    let mut environment = match deployment.remove("environment") {
        Some(Value::String(name)) => fields(&json!({"name": name}))?,
        Some(Value::Object(environment)) => environment,
        _ => return Err("\"environment\" is neither a name nor an object".to_owned()),
    };
    let name = environment.get("name").and_then(Value::as_str);
    let name = name.ok_or("\"environment\" has no name")?.to_owned();
    let next = numbers.environments.len() + 1;
    let number = *numbers.environments.entry((project, name.clone())).or_insert(next);
    set(&mut environment, "id", || number);
    set(&mut environment, "slug", || slug::environment(&name));
    set(&mut environment, "external_url", || Value::Null);
    deployment.insert("environment".to_owned(), Value::Object(environment));
    Ok(())
}
