//! The lists: what they may be asked for, and in which order they are.

use serde_json::{Value, json};

use super::model::{DEPLOYMENT_STATUSES, Deployment, State, latest};
use super::page::page;
use super::parameters::{check, choice, scope};
use super::refusal::Refusal;
use super::show::basic_pipeline;
use crate::wire::{Reply, Request};

/// What a trigger job lacks of a job (`lib/api/entities/ci/bridge.rb`: it is a `JobBasic`).
const NOT_OF_BRIDGES: [&str; 5] = ["artifacts", "artifacts_expire_at", "archived", "runner", "tag_list"];

impl State {
    /// `GET …/pipelines/:id/jobs`.
    pub(super) fn list_jobs(&self, request: &Request, scheme: &str, id: &str) -> Result<Reply, Refusal> {
        let query = request.query();
        check(&query, &["include_retried", "scope", "scope[]"])?;
        let retried = match query.get("include_retried") {
            None | Some("false" | "0") => false,
            Some("true" | "1") => true,
            Some(_) => return Err(Refusal::error(400, "include_retried is invalid")),
        };
        let (id, pipeline) = self.find_pipeline(id)?;
        let mut jobs = pipeline.jobs.iter().collect::<Vec<_>>();
        if retried {
            jobs.sort_by_key(|job| std::cmp::Reverse(job.id));
        } else {
            jobs = latest(jobs);
        }
        let scope = scope(&query)?;
        jobs.retain(|job| scope.is_empty() || scope.contains(&job.status));
        page(request, scheme, &jobs, |job| self.show_job(id, job))
    }

    /// The same for a token that may not read them, which GitLab does not say.
    pub(super) fn list_no_jobs(&self, request: &Request, scheme: &str, id: &str) -> Result<Reply, Refusal> {
        self.find_pipeline(id)?;
        page(request, scheme, &[], |nothing: &Value| nothing.clone())
    }

    /// `GET …/pipelines/:id/trigger_jobs`, and as it was called before: `…/bridges`.
    pub(super) fn list_bridges(&self, request: &Request, scheme: &str, id: &str) -> Result<Reply, Refusal> {
        let query = request.query();
        check(&query, &["scope", "scope[]"])?;
        let (id, pipeline) = self.find_pipeline(id)?;
        let mut jobs = latest(pipeline.read_bridges.iter().map(|bridge| &bridge.job).collect());
        let scope = scope(&query)?;
        jobs.retain(|job| scope.is_empty() || scope.contains(&job.status));
        page(request, scheme, &jobs, |job| {
            let mut shown = self.show_job(id, job);
            // What only a job with a runner has.
            if let Some(fields) = shown.as_object_mut() {
                fields.retain(|name, _| !NOT_OF_BRIDGES.contains(&name.as_str()));
            }
            let bridge = pipeline.read_bridges.iter().find(|bridge| bridge.job.id == job.id);
            shown["downstream_pipeline"] = match bridge.map(|bridge| &bridge.downstream_pipeline) {
                Some(Value::Number(downstream)) => downstream.as_u64().map_or(Value::Null, |downstream| {
                    let pipeline = &self.pipelines[&downstream];
                    basic_pipeline(downstream, pipeline, self)
                }),
                given => json!(given),
            };
            shown
        })
    }

    /// `GET …/deployments`.
    pub(super) fn list_deployments(&self, request: &Request, scheme: &str) -> Result<Reply, Refusal> {
        let query = request.query();
        check(&query, &["environment", "status", "order_by", "sort"])?;
        let order = choice(
            &query,
            "order_by",
            &["id", "iid", "created_at", "updated_at", "finished_at", "ref"],
        )?;
        let sort = choice(&query, "sort", &["asc", "desc"])?;
        let status = match query.get("status") {
            None => None,
            Some(_) => Some(choice(&query, "status", &DEPLOYMENT_STATUSES)?),
        };
        let environment = query.get("environment");
        let fits = |deployment: &&Deployment| {
            status.is_none_or(|status| deployment.status == status)
                && environment.is_none_or(|name| deployment.environment["name"] == name)
        };
        let mut deployments = self.deployments.iter().filter(fits).collect::<Vec<_>>();
        deployments.sort_by(|one, other| {
            let ordering = match order {
                "iid" => one.iid.cmp(&other.iid),
                "created_at" => one.created_at.cmp(&other.created_at),
                "updated_at" => one.updated_at.cmp(&other.updated_at),
                "finished_at" => one.finished_at.cmp(&other.finished_at),
                "ref" => one.reference.cmp(&other.reference),
                _ => std::cmp::Ordering::Equal,
            };
            ordering.then(one.id.cmp(&other.id))
        });
        if sort == "desc" {
            deployments.reverse();
        }
        page(request, scheme, &deployments, |deployment| {
            self.show_deployment(deployment)
        })
    }

    /// `GET …/deployments/:id/merge_requests`: what the deployment brought, newest first.
    pub(super) fn list_merge_requests(&self, request: &Request, scheme: &str, id: &str) -> Result<Reply, Refusal> {
        let query = request.query();
        check(&query, &["order_by", "sort"])?;
        let order = choice(&query, "order_by", &["created_at", "updated_at", "merged_at", "title"])?;
        let sort = choice(&query, "sort", &["desc", "asc"])?;
        let mut requests = self.find_deployment(id)?.merge_requests.iter().collect::<Vec<_>>();
        let key = |request: &Value| {
            (
                request[order].as_str().unwrap_or_default().to_owned(),
                request["iid"].as_u64(),
            )
        };
        requests.sort_by_key(|request| key(request));
        if sort == "desc" {
            requests.reverse();
        }
        page(request, scheme, &requests, |request| (*request).clone())
    }
}
