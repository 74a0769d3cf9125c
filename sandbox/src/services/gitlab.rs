//! GitLab's own API: what a job may ask about its pipeline (docs/gitlab.md 2.5, 3.9, 11), and what anybody with a token
//! may ask about the deployments, merge requests and projects of a group.
//!
//! It is no destination, and it only answers: no write is ever accepted. A job token (`JOB-TOKEN: …` or `?job_token=`)
//! may read what it may read in GitLab, an access token (`PRIVATE-TOKEN: …` or `Authorization: Bearer …`) all of it.
//! Parameters that aren't known are refused, where GitLab would ignore them, and so are times that are neither RFC 3339
//! nor a day, where GitLab would guess.
//!
//! A job token reads its own project. Another one it reads if that has it in its allowlist (`job_token_access`), and is
//! refused with 403 otherwise; a project itself and a group's projects it is told not to be there, as everybody
//! without a token is. All projects are private.
//!
//! State: `{"project": {"id": 42, "path": "acme/shop"}, "current_job": id, "pipelines": {"8812": {"jobs": [job],
//! "bridges": [job]}}, "deployments": [deployment], "merge_requests": {"12": merge request}, "projects": {"43": {"path":
//! "acme/api", "pipelines": …, "deployments": …, "merge_requests": …}}}`: the job token's own project, and others, whose
//! groups are those of their paths. No two of them share the id of a pipeline, job or deployment. Everything may be left
//! out of a seed but a job's `name` and a project's `path`:
//!
//! | of | fields, and what they are when they are left out |
//! |---|---|
//! | state | `current_job`, which the job token is of: the newest pipeline job of its project that runs |
//! | project | `id`, which is the key where it is one of the `projects`; `archived` (false) `default_branch` (`main`) `created_at` (2024-01-01T10:00:00.000Z) `job_token_access` (false) |
//! | pipeline | `iid` `name` `ref` (`main`) `tag` `sha` `source` (`push`; `merge_request_event` where the ref is `refs/merge-requests/…`) `user` `created_at` (2025-03-01T10:00:00.000Z) `updated_at` `web_url`; `status` as GitLab composes it from the jobs |
//! | job | `name`; `id` one more than the job before, from 8812001 in pipeline 8812 (bridges from 8812901); `stage` (`test`) `status` (`success`) `allow_failure` `user` `web_url`; `failure_reason` (`script_failure` of a failed one, `stuck_or_timeout_failure` where `started_at` is null); `created_at` (the pipeline's), `started_at`, `finished_at`, `duration` (58) and `queued_duration` (2) as the status and the place in the list have them: one job a minute; `artifacts` `{path: text}`, or JSON instead of the text |
//! | bridge | as a job, and `downstream_pipeline`: the id of one of the pipelines, of a higher id, or an object as GitLab's; null. `strategy`: `depend`, `mirror` or null, by which `status` follows that pipeline's; without one it is `success` |
//! | deployment | `id` (from 501; in project 43 from 430501) `iid` `ref` `sha` (the id, in 40 digits) `environment` (`production`; a name or an object) `status` (`success`) `user` `created_at` (an hour apart, the day before) `finished_at` `updated_at` (its end, else its job's start, else `created_at`); `deployable`: null, the id of a pipeline's job, or a job of its own and its `pipeline`, an id or an object; the job says of the others what it knows; `merge_requests` |
//! | merge request | a title, or an object: `iid` (1, 2, … over all deployments of a project) `title` `author` `created_at` `merged_at` `sha` `merge_commit_sha` and what else GitLab says; merged where a deployment brought it, `opened` where it is the project's |
//!
//! What changes between two requests is seeded by `Sandbox::seed_after`. A merge replaces lists as a whole.
//!
//! Users are a login or an object. Of jobs with one name, the newest id counts, and the others were retried.

mod artifacts;
mod find;
mod lists;
mod model;
mod page;
mod parameters;
mod projects;
mod refusal;
mod routes;
mod seed;
mod show;
mod slug;

use serde_json::{Value, json};

use crate::json::merge;
use crate::options::{GitLabAccess, Options};
use crate::stand_in::{CredentialsIn, Declaration, StandIn, Variable};
use crate::wire::{Reply, Request};
use artifacts::artifact;
use model::State;
use refusal::Refusal;
use routes::{Resource, Route};
use show::full_pipeline;

pub(super) const DECLARATION: Declaration = Declaration {
    name: "gitlab",
    title: "GitLab",
    address: ("CI_API_V4_URL", "/api/v4"),
    variables: &[
        Variable::open("CI_PROJECT_ID", |_| PROJECT),
        Variable::open("CI_PIPELINE_ID", |_| PIPELINE),
        Variable::secret("CI_JOB_TOKEN", |known| &known.gitlab_job_token),
    ],
    credentials_in: CredentialsIn {
        headers: &["job-token", "private-token"],
        parameters: &["job_token", "private_token", "access_token"],
        fields: &[],
    },
    fixed_state: &[],
    reported_state: "",
    start: |options| Box::new(GitLab::new(options)),
};

/// The project and the pipeline that exist from the start.
const PROJECT: &str = "42";
const PIPELINE: &str = "8812";

struct GitLab {
    job_token: String,
    access_token: String,
    expired: bool,
    jobs: GitLabAccess,
    pipelines: GitLabAccess,
    trigger_jobs: GitLabAccess,
    bridges: GitLabAccess,
    reads_builds: bool,
    deployments: GitLabAccess,
    artifacts: GitLabAccess,
    scheme: &'static str,
    /// What was seeded, as it came; `state` follows from it.
    seeded: Value,
    state: State,
}

/// Whose token a request has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Caller {
    Job,
    User,
}

impl GitLab {
    fn new(options: &Options) -> Self {
        let seeded = seed::initial();
        let state = State::derive(&seeded).expect("the initial state is one");
        Self {
            job_token: options.credentials.gitlab_job_token.clone(),
            access_token: options.credentials.gitlab_access_token.clone(),
            expired: options.gitlab_job_token_expired,
            jobs: options.gitlab_jobs,
            pipelines: options.gitlab_pipelines,
            trigger_jobs: options.gitlab_trigger_jobs,
            bridges: options.gitlab_bridges,
            reads_builds: options.gitlab_reads_builds,
            deployments: options.gitlab_deployments,
            artifacts: options.gitlab_artifacts,
            scheme: if options.tls { "https" } else { "http" },
            seeded,
            state,
        }
    }

    fn route(&self, request: &Request) -> Result<Reply, Refusal> {
        let segments = request.segments().ok_or(Refusal::new(400, "400 Bad request"))?;
        let segments = segments.iter().map(String::as_str).collect::<Vec<_>>();
        let ["api", "v4", rest @ ..] = segments.as_slice() else {
            // Web pages aren't served: what asks for one has the wrong base URL.
            return Ok(Reply::html(
                404,
                "<!DOCTYPE html><title>The page could not be found (404)</title>",
            ));
        };
        let reads = matches!(request.method.as_str(), "GET" | "HEAD");
        let Some(route) = Route::of(rest) else {
            if reads {
                return Err(Refusal::error(404, "404 Not Found"));
            }
            self.caller(request)?;
            return Err(Refusal::of(403));
        };
        let caller = self.caller(request)?;
        if !reads {
            return Ok(Reply::json(405, &json!({"error": "405 Not Allowed"})).with("allow", "OPTIONS, GET, HEAD"));
        }
        let (project, resource) = match route {
            Route::CurrentJob => return self.current_job(caller),
            // These take no job token, and want no token at all: one who only has that is anybody, whom private groups
            // and projects aren't shown.
            Route::GroupProjects(_) if caller == Caller::Job => {
                return Err(Refusal::new(404, "404 Group Not Found"));
            }
            Route::GroupProjects(group) => return self.state.list_group(request, self.scheme, &group),
            Route::Of(project, resource) => (project, resource),
        };
        let record = self.state.find_project(&project)?;
        let access = match resource {
            Resource::Pipeline(_) => self.pipelines,
            Resource::TriggerJobs(_) => self.trigger_jobs,
            Resource::Bridges(_) => self.bridges,
            Resource::Jobs(_) => self.jobs,
            Resource::Project => GitLabAccess::Refused(404),
            Resource::MergeRequest(_) => GitLabAccess::Allowed,
            // Nobody has ever let a job token read a single job by its id.
            Resource::Job(_) => GitLabAccess::Refused(401),
            Resource::Artifact { .. } | Resource::ArtifactOfRef { .. } => self.artifacts,
            Resource::Deployments | Resource::Deployment(_) | Resource::MergeRequests(_) => self.deployments,
        };
        match (caller, access) {
            (_, GitLabAccess::Missing) => return Err(Refusal::error(404, "404 Not Found")),
            (Caller::Job, GitLabAccess::Refused(status)) => return Err(Refusal::of(status)),
            _ => {}
        }
        // `handle_job_token_failure!`: what isn't open to the token is refused by name.
        let own = &self.state.own.project;
        if caller == Caller::Job && record.project.id != own.id && !record.project.job_token_access {
            let (from, to) = (own.parts().1, record.project.parts().1);
            let message = format!("403 Forbidden - Authentication by CI/CD job token not allowed from {from} to {to}.");
            return Err(Refusal::new(403, &message));
        }
        if caller == Caller::Job && !self.reads_builds {
            match &resource {
                // `Ci::JobsFinder` finds nothing; the others ask for the right themselves.
                Resource::Jobs(id) => return record.list_no_jobs(request, self.scheme, id),
                Resource::TriggerJobs(_)
                | Resource::Bridges(_)
                | Resource::Artifact { .. }
                | Resource::ArtifactOfRef { .. } => return Err(Refusal::of(403)),
                _ => {}
            }
        }
        match resource {
            Resource::Project => projects::project(request, &record.project),
            Resource::MergeRequest(iid) => Ok(Reply::json(200, record.find_merge_request(&iid)?)),
            Resource::Pipeline(id) => {
                let (id, pipeline) = record.find_pipeline(&id)?;
                Ok(Reply::json(200, &full_pipeline(id, pipeline, &record.project)))
            }
            Resource::Jobs(id) => record.list_jobs(request, self.scheme, &id),
            Resource::TriggerJobs(id) | Resource::Bridges(id) => record.list_bridges(request, self.scheme, &id),
            Resource::Job(id) => {
                let (pipeline, job) = record.find_job(&id)?;
                Ok(Reply::json(200, &record.show_job(pipeline, job)))
            }
            Resource::Artifact { job, path } => artifact(record.find_any_job(&job)?, &path),
            Resource::ArtifactOfRef { reference, path } => record.artifact_of_ref(request, &reference, &path),
            Resource::Deployments => record.list_deployments(request, self.scheme),
            Resource::Deployment(id) => Ok(Reply::json(200, &record.show_deployment(record.find_deployment(&id)?))),
            Resource::MergeRequests(id) => record.list_merge_requests(request, self.scheme, &id),
        }
    }

    /// An access token decides where there is one, as in GitLab; a wrong token is refused whatever else there is.
    fn caller(&self, request: &Request) -> Result<Caller, Refusal> {
        let query = request.query();
        let access = request.header("private-token").or(request.bearer());
        let job = request.header("job-token").or(query.get("job_token"));
        match (access, job) {
            (Some(token), _) if token == self.access_token => Ok(Caller::User),
            (None, Some(token)) if token == self.job_token && !self.expired => Ok(Caller::Job),
            _ => Err(Refusal::of(401)),
        }
    }

    /// `GET /job`: for the job token, and nobody else.
    fn current_job(&self, caller: Caller) -> Result<Reply, Refusal> {
        let job = self.state.current_job.filter(|_| caller == Caller::Job);
        let (pipeline, job) = job
            .and_then(|id| self.state.own.job(id))
            .ok_or(Refusal::new(404, "404 Job Not Found"))?;
        Ok(Reply::json(200, &self.state.own.show_job(pipeline, job)))
    }
}

impl StandIn for GitLab {
    fn answer(&mut self, request: &Request) -> Reply {
        self.route(request).unwrap_or_else(Refusal::reply)
    }

    fn error_reply(&self, status: u16, message: &str) -> Reply {
        Reply::json(status, &json!({"message": message}))
    }

    fn state(&mut self) -> Value {
        self.state.held()
    }

    fn seed(&mut self, state: Value) -> Result<(), String> {
        let mut seeded = self.seeded.clone();
        merge(&mut seeded, state);
        self.state = State::derive(&seeded)?;
        self.seeded = seeded;
        Ok(())
    }

    fn secrets(&self) -> Vec<String> {
        vec![self.access_token.clone()]
    }
}
