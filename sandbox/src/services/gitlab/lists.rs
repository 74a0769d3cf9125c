//! The lists: what they may be asked for, and in which order they are.

use serde_json::{Value, json};

use super::model::{DEPLOYMENT_STATUSES, Deployment, Record, latest};
use super::page::page;
use super::parameters::{check, choice, flag, scope, time};
use super::refusal::Refusal;
use super::show::basic_pipeline;
use crate::wire::{Reply, Request};

/// What a trigger job lacks of a job (`lib/api/entities/ci/bridge.rb`: it is a `JobBasic`).
const NOT_OF_BRIDGES: [&str; 5] = ["artifacts", "artifacts_expire_at", "archived", "runner", "tag_list"];

impl Record {
    /// `GET …/pipelines/:id/jobs`.
    pub(super) fn list_jobs(&self, request: &Request, scheme: &str, id: &str) -> Result<Reply, Refusal> {
        let query = request.query();
        check(&query, &["include_retried", "scope", "scope[]"])?;
        let retried = flag(&query, "include_retried")?.unwrap_or_default();
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
                    basic_pipeline(downstream, pipeline, &self.project)
                }),
                given => json!(given),
            };
            shown
        })
    }

    /// `GET …/deployments` (`app/finders/deployments_finder.rb`).
    pub(super) fn list_deployments(&self, request: &Request, scheme: &str) -> Result<Reply, Refusal> {
        let query = request.query();
        check(
            &query,
            &[
                "environment",
                "status",
                "order_by",
                "sort",
                "updated_after",
                "updated_before",
                "finished_after",
                "finished_before",
            ],
        )?;
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
        let [updated_after, updated_before] = ["updated_after", "updated_before"].map(|name| time(&query, name));
        let [finished_after, finished_before] = ["finished_after", "finished_before"].map(|name| time(&query, name));
        let (updated_after, updated_before) = (updated_after?, updated_before?);
        let (finished_after, finished_before) = (finished_after?, finished_before?);
        let by_update = updated_after.is_some() || updated_before.is_some();
        let by_end = finished_after.is_some() || finished_before.is_some();
        let problem = if by_update && by_end {
            "Both `updated_at` filter and `finished_at` filter can not be specified"
        } else if by_update && order != "updated_at" {
            "`updated_at` filter requires `updated_at` sort"
        } else if by_end && order != "finished_at" {
            "`finished_at` filter requires `finished_at` sort."
        } else if order == "finished_at" && !by_end && !matches!(status, Some("success" | "failed" | "canceled")) {
            "`finished_at` sort requires `finished_at` filter or a filter with at least one of the finished statuses."
        } else if by_end && status != Some("success") {
            "`finished_at` filter must be combined with `success` status filter."
        } else {
            ""
        };
        if !problem.is_empty() {
            return Err(Refusal::new(400, &format!("400 Bad request - {problem}")));
        }
        let fits = |deployment: &&Deployment| {
            let (updated, finished) = (&deployment.updated_at, deployment.finished_at.as_ref());
            status.is_none_or(|status| deployment.status == status)
                && environment.is_none_or(|name| deployment.environment["name"] == name)
                && updated_after.as_ref().is_none_or(|after| updated >= after)
                && updated_before.as_ref().is_none_or(|before| updated <= before)
                && finished_after.as_ref().is_none_or(|after| finished >= Some(after))
                && finished_before
                    .as_ref()
                    .is_none_or(|before| finished.is_some_and(|finished| finished < before))
        };
        let mut deployments = self.deployments.iter().filter(fits).collect::<Vec<_>>();
        deployments.sort_by(|one, other| {
            let ordering = match order {
                "updated_at" => one.updated_at.cmp(&other.updated_at),
                "finished_at" => one.finished_at.cmp(&other.finished_at),
                "ref" => one.reference.cmp(&other.reference),
                // GitLab takes the id for `iid` and `created_at` too.
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
