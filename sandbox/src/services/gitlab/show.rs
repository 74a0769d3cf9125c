//! What GitLab shows of its records.

use serde_json::{Value, json};

use super::model::{Deployment, Job, Pipeline, Project, Record, page_url, source_of};
use crate::json::merge;

impl Record {
    pub(super) fn show_job(&self, id: u64, job: &Job) -> Value {
        let pipeline = &self.pipelines[&id];
        let origin = Origin {
            reference: &pipeline.reference,
            tag: pipeline.tag,
            sha: &pipeline.sha,
            pipeline: basic_pipeline(id, pipeline, &self.project),
        };
        show_job(job, &origin)
    }

    pub(super) fn show_deployment(&self, deployment: &Deployment) -> Value {
        let named = deployment.deployable.as_u64().and_then(|id| self.job(id));
        let deployable = match (named, &deployment.own_job) {
            (Some((pipeline, job)), _) => self.show_job(pipeline, job),
            (None, Some(own)) => self.show_own(own, deployment),
            (None, None) => Value::Null,
        };
        json!({
            "id": deployment.id,
            "iid": deployment.iid,
            "ref": deployment.reference,
            "sha": deployment.sha,
            "created_at": deployment.created_at,
            "updated_at": deployment.updated_at,
            "user": deployment.user,
            "environment": deployment.environment,
            "deployable": deployable,
            "status": deployment.status,
        })
    }

    /// A deployment's own job, of a pipeline that needn't be one of those that can be asked for.
    fn show_own(&self, job: &Job, deployment: &Deployment) -> Value {
        let given = &deployment.deployable["pipeline"];
        let id = given["id"].as_u64().unwrap_or_default();
        let known = self.pipelines.get(&id);
        let pipeline = known.map_or_else(
            || {
                let mut shown = json!({
                    "id": id,
                    "iid": id % 1000,
                    "project_id": self.project.id,
                    "sha": deployment.sha,
                    "ref": deployment.reference,
                    "status": job.status,
                    "source": source_of(&deployment.reference),
                    "created_at": job.created_at,
                    "updated_at": job.finished_at.as_ref().unwrap_or(&job.created_at),
                    "web_url": page_url(&self.project, "pipelines", id),
                });
                merge(&mut shown, given.clone());
                shown
            },
            |pipeline| basic_pipeline(id, pipeline, &self.project),
        );
        let origin = Origin {
            reference: &deployment.reference,
            tag: known.is_some_and(|pipeline| pipeline.tag),
            sha: &deployment.sha,
            pipeline,
        };
        show_job(job, &origin)
    }
}

/// What a job was started for.
struct Origin<'a> {
    reference: &'a str,
    tag: bool,
    sha: &'a str,
    pipeline: Value,
}

/// A job as `lib/api/entities/ci/job.rb` prints it.
fn show_job(job: &Job, origin: &Origin) -> Value {
    let mut shown = json!({
        "id": job.id,
        "status": job.status,
        "stage": job.stage,
        "name": job.name,
        "ref": origin.reference,
        "tag": origin.tag,
        "coverage": null,
        "allow_failure": job.allow_failure,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "erased_at": null,
        "duration": job.duration,
        "queued_duration": job.queued_duration,
        "user": job.user,
        "commit": {
            "id": origin.sha,
            "short_id": origin.sha.get(..8).unwrap_or(origin.sha),
            "title": "Show the price with tax",
            "message": "Show the price with tax\n",
            "author_name": "Dana",
            "author_email": "dana@example.com",
            "created_at": "2025-03-01T09:58:00.000+00:00",
        },
        "pipeline": origin.pipeline,
        "web_url": job.web_url,
        "project": {"ci_job_token_scope_enabled": false},
        "artifacts": [],
        "runner": null,
        "artifacts_expire_at": null,
        "archived": false,
        "tag_list": [],
    });
    if job.status == "failed" {
        shown["failure_reason"] = json!(job.failure_reason);
    }
    if !job.artifacts.is_empty() {
        let size = job.artifacts.values().map(String::len).sum::<usize>();
        shown["artifacts_file"] = json!({"filename": "artifacts.zip", "size": size});
        shown["artifacts"] =
            json!([{"file_type": "archive", "size": size, "filename": "artifacts.zip", "file_format": "zip"}]);
    }
    shown
}

pub(super) fn basic_pipeline(id: u64, pipeline: &Pipeline, project: &Project) -> Value {
    json!({
        "id": id,
        "iid": pipeline.iid,
        "project_id": project.id,
        "sha": pipeline.sha,
        "ref": pipeline.reference,
        "status": pipeline.status,
        "source": pipeline.source,
        "created_at": pipeline.created_at,
        "updated_at": pipeline.updated_at,
        "web_url": pipeline.web_url,
    })
}

pub(super) fn full_pipeline(id: u64, pipeline: &Pipeline, project: &Project) -> Value {
    let mut shown = basic_pipeline(id, pipeline, project);
    let ended = ["success", "failed", "canceled"].contains(&pipeline.status.as_str());
    let started = pipeline.jobs.iter().filter_map(|job| job.started_at.as_ref()).min();
    let finished = pipeline.jobs.iter().filter_map(|job| job.finished_at.as_ref()).max();
    shown["before_sha"] = json!("0".repeat(40));
    shown["tag"] = json!(pipeline.tag);
    shown["name"] = json!(pipeline.name);
    shown["yaml_errors"] = Value::Null;
    shown["user"] = pipeline.user.clone();
    shown["started_at"] = json!(started);
    shown["finished_at"] = json!(finished.filter(|_| ended));
    shown["coverage"] = Value::Null;
    shown
}
