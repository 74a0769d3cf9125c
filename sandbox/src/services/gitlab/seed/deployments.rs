//! Deployments and their merge requests, with what their seed leaves out.

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::super::model::{DEPLOYMENT_STATUSES, Deployment, Job, Project, State, page_url};
use super::fields::{Fields, default_user, fields, fill_user, list, moment, number, one_of, read, set};
use super::jobs::{TURN, as_factor, fill_job};
use crate::clock::stamp;

/// When deployments begin: on the day before the pipelines.
const DEPLOYED: OffsetDateTime = time::macros::datetime!(2025-02-28 10:00:00 UTC);

impl State {
    /// The next deployment.
    pub(super) fn deployment(
        &self,
        turn: usize,
        given: &Value,
        environments: &mut Vec<String>,
        titles: &mut u64,
    ) -> Result<Deployment, String> {
        let mut deployment = fields(given)?;
        let previous = self.deployments.last();
        set(&mut deployment, "id", || {
            previous.map_or(501, |previous| previous.id + 1)
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
        let pipeline = job.map(|(pipeline, _)| &self.pipelines[&pipeline]);
        set(&mut deployment, "status", || {
            job.map_or("success", |(_, job)| status_by_job(&job.status))
        });
        set(&mut deployment, "sha", || {
            pipeline.map_or_else(|| format!("{id:040x}"), |pipeline| pipeline.sha.clone())
        });
        set(&mut deployment, "ref", || {
            pipeline.map_or("main", |pipeline| pipeline.reference.as_str())
        });
        set(&mut deployment, "user", || {
            job.map_or_else(default_user, |(_, job)| job.user.clone())
        });
        fill_user(&mut deployment, "user")?;
        let created = DEPLOYED.saturating_add(TURN * 60 * as_factor(turn));
        set(&mut deployment, "created_at", || {
            job.map_or_else(|| stamp(created), |(_, job)| job.created_at.clone())
        });
        let created = moment(&mut deployment, "created_at")?.ok_or("\"created_at\" is null")?;
        let status = one_of(&deployment, "status", &DEPLOYMENT_STATUSES)?;
        let ended = matches!(status.as_str(), "success" | "failed" | "canceled" | "skipped");
        set(&mut deployment, "finished_at", || {
            let finished = job.and_then(|(_, job)| job.finished_at.clone());
            ended.then(|| finished.unwrap_or_else(|| stamp(created.saturating_add(TURN))))
        });
        let finished = moment(&mut deployment, "finished_at")?;
        set(&mut deployment, "updated_at", || stamp(finished.unwrap_or(created)));
        moment(&mut deployment, "updated_at")?;
        environment(&mut deployment, environments)?;
        set(&mut deployment, "deployable", || json!({}));
        if deployment["deployable"].is_object() {
            let filled = self.own_deployable(&deployment["deployable"], id, &status, created, &deployment["user"]);
            deployment["deployable"] = filled.map_err(|error| format!("deployable: {error}"))?;
        } else if !deployment["deployable"].is_null() && job.is_none() {
            return Err("\"deployable\" is neither a job nor a job's id".to_owned());
        }
        let requests = deployment.get("merge_requests").map_or(Ok(&[][..]), list);
        let requests = requests.map_err(|error| format!("merge_requests: {error}"))?;
        let requests = requests.iter().map(|given| {
            *titles += 1;
            merge_request(given, *titles, created, &self.project)
        });
        let requests = requests
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| format!("merge_requests: {error}"))?;
        deployment.insert("merge_requests".to_owned(), Value::Array(requests));
        read(Value::Object(deployment))
    }

    /// A job that no pipeline here has: of an earlier pipeline.
    fn own_deployable(
        &self,
        given: &Value,
        deployment: u64,
        status: &str,
        created: OffsetDateTime,
        user: &Value,
    ) -> Result<Value, String> {
        let mut job = fields(given)?;
        set(&mut job, "id", || 70_000 + deployment);
        set(&mut job, "name", || "deploy");
        set(&mut job, "stage", || "deploy");
        set(
            &mut job,
            "status",
            || if status == "blocked" { "manual" } else { status },
        );
        let pipeline = match job.remove("pipeline") {
            None => json!(8000 + deployment),
            Some(Value::Object(mut pipeline)) => pipeline.remove("id").unwrap_or_default(),
            Some(number) => number,
        };
        let pipeline = pipeline
            .as_u64()
            .ok_or("\"pipeline\" is neither an id nor an object with one")?;
        let mut filled = fill_job(&Value::Object(job), 0, created, user, &self.project)?;
        read::<Job>(Value::Object(filled.clone()))?;
        filled.insert("pipeline".to_owned(), json!({"id": pipeline}));
        Ok(Value::Object(filled))
    }
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
fn environment(deployment: &mut Fields, known: &mut Vec<String>) -> Result<(), String> {
    set(deployment, "environment", || "production");
    let mut environment = match deployment.remove("environment") {
        Some(Value::String(name)) => fields(&json!({"name": name}))?,
        Some(Value::Object(environment)) => environment,
        _ => return Err("\"environment\" is neither a name nor an object".to_owned()),
    };
    let name = environment.get("name").and_then(Value::as_str);
    let name = name.ok_or("\"environment\" has no name")?.to_owned();
    let number = known.iter().position(|other| *other == name).unwrap_or_else(|| {
        known.push(name.clone());
        known.len() - 1
    });
    set(&mut environment, "id", || number + 1);
    let slug = name
        .to_lowercase()
        .replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
    set(&mut environment, "slug", || slug);
    set(&mut environment, "external_url", || Value::Null);
    deployment.insert("environment".to_owned(), Value::Object(environment));
    Ok(())
}

/// A title, or any of a merge request's fields. It was made on the day before the deployment, and merged an hour
/// before.
fn merge_request(given: &Value, turn: u64, deployed: OffsetDateTime, project: &Project) -> Result<Value, String> {
    let mut request = match given {
        Value::String(title) => fields(&json!({"title": title}))?,
        other => fields(other)?,
    };
    set(&mut request, "iid", || turn);
    let iid = number(&request, "iid")?;
    set(&mut request, "id", || 6000 + iid);
    set(&mut request, "project_id", || project.id);
    set(&mut request, "title", || format!("Change {iid}"));
    set(&mut request, "description", || "");
    set(&mut request, "state", || "merged");
    set(&mut request, "created_at", || {
        stamp(deployed.saturating_sub(TURN * 60 * 24))
    });
    set(&mut request, "merged_at", || stamp(deployed.saturating_sub(TURN * 60)));
    moment(&mut request, "created_at")?.ok_or("\"created_at\" is null")?;
    let merged = moment(&mut request, "merged_at")?;
    set(&mut request, "updated_at", || merged.map(stamp));
    set(&mut request, "author", default_user);
    fill_user(&mut request, "author")?;
    let author = request["author"].clone();
    set(&mut request, "merge_user", || merged.map(|_| author));
    if !request["merge_user"].is_null() {
        fill_user(&mut request, "merge_user")?;
    }
    set(&mut request, "source_branch", || format!("change-{iid}"));
    set(&mut request, "target_branch", || "main");
    set(&mut request, "labels", || json!([]));
    set(&mut request, "draft", || false);
    set(&mut request, "sha", || format!("{:040x}", 0xa000 + iid));
    set(&mut request, "merge_commit_sha", || format!("{:040x}", 0xb000 + iid));
    set(&mut request, "squash_commit_sha", || Value::Null);
    set(&mut request, "web_url", || page_url(project, "merge_requests", iid));
    Ok(Value::Object(request))
}
