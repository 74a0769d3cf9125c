//! GitLab's own API, as `gitlab.md` §2.5 and §11 describe it: what a job may ask about its pipeline.
//!
//! It is no destination, and it only answers: no write is ever accepted. A job token (`JOB-TOKEN: …` or `?job_token=`)
//! may read what it may read in GitLab, an access token (`PRIVATE-TOKEN: …` or `Authorization: Bearer …`) all of it.
//! Parameters that aren't known are refused, where GitLab would ignore them.
//!
//! State: `{"project": {"id": 42, "path": "acme/shop"}, "current_job": id, "pipelines": {"8812": {"jobs": [job],
//! "bridges": [job]}}, "deployments": [deployment]}`. Everything may be left out of a seed but a job's `name`:
//!
//! | of | fields, and what they are when they are left out |
//! |---|---|
//! | state | `current_job`, which the job token is of: the newest pipeline job that runs |
//! | pipeline | `iid` `name` `ref` (`main`) `tag` `sha` `source` (`push`) `user` `created_at` (2025-03-01T10:00:00.000Z) `updated_at` `web_url`; `status` as GitLab composes it from the jobs |
//! | job | `name`; `id` one more than the job before, from 8812001 in pipeline 8812 (bridges from 8812901); `stage` (`test`) `status` (`success`) `allow_failure` `user` `web_url`; `failure_reason` (`script_failure` of a failed one); `created_at` (the pipeline's), `started_at`, `finished_at`, `duration` (58) and `queued_duration` (2) as the status and the place in the list have them: one job a minute; `artifacts` `{path: text}`, or JSON instead of the text |
//! | bridge | as a job, and `downstream_pipeline`: the id of one of the pipelines, or an object as GitLab's; null |
//! | deployment | `id` (from 501) `iid` `ref` `sha` (the id, in 40 digits) `environment` (`production`; a name or an object) `status` (`success`) `user` `created_at` (an hour apart, the day before) `updated_at` `finished_at`; `deployable`: null, the id of a pipeline's job, which then says all of these, or a job of its own and the id of its `pipeline`; `merge_requests` |
//! | merge request | a title, or an object: `iid` (1, 2, … over all deployments) `title` `author` `created_at` `merged_at` `sha` `merge_commit_sha` and what else GitLab says |
//!
//! Users are a login or an object. Of jobs with one name, the newest id counts, and the others were retried.

mod model;

use serde_json::{Map, Value, json};

use crate::wire::{Query, Reply, Request, merge};
use crate::{Options, StandIn};
use model::{DEPLOYMENT_STATUSES, Deployment, JOB_STATUSES, Job, Pipeline, State, latest};

/// The project and the pipeline that exist from the start.
pub(crate) const PROJECT: &str = "42";
pub(crate) const PIPELINE: &str = "8812";

/// Whether GitLab lets a job token read something. An access token always may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GitLabAccess {
    /// It does.
    Allowed,
    /// It answers this status: 401, 403 or 404, as instances differ.
    Refused(u16),
}

pub(crate) struct GitLab {
    job_token: String,
    access_token: String,
    expired: bool,
    jobs: GitLabAccess,
    pipelines: GitLabAccess,
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

/// What is served, and of which project.
enum Route {
    CurrentJob,
    Of(String, Resource),
}

enum Resource {
    Pipeline(String),
    Jobs(String),
    Bridges(String),
    Job(String),
    Artifact { job: String, path: Vec<String> },
    ArtifactOfRef { reference: String, path: Vec<String> },
    Deployments,
    Deployment(String),
    MergeRequests(String),
}

/// A refusal, in either of GitLab's envelopes.
struct Refusal(u16, Value);

impl Refusal {
    /// GitLab's own.
    fn new(status: u16, message: &str) -> Self {
        Self(status, json!({"message": message}))
    }

    /// That of its framework: of routes and parameters.
    fn error(status: u16, message: impl Into<String>) -> Self {
        Self(status, json!({"error": message.into()}))
    }

    fn of(status: u16) -> Self {
        match status {
            401 => Self::new(401, "401 Unauthorized"),
            403 => Self::new(403, "403 Forbidden"),
            404 => Self::new(404, "404 Project Not Found"),
            other => Self::new(other, &other.to_string()),
        }
    }

    /// A record that isn't there.
    fn no_record() -> Self {
        Self::new(404, "404 Not found")
    }
}

impl GitLab {
    pub(crate) fn new(options: &Options) -> Self {
        let seeded = model::initial();
        let state = State::derive(&seeded).expect("the initial state is one");
        Self {
            job_token: options.credentials.gitlab_job_token.clone(),
            access_token: options.credentials.gitlab_access_token.clone(),
            expired: options.gitlab_job_token_expired,
            jobs: options.gitlab_jobs,
            pipelines: options.gitlab_pipelines,
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
            Route::Of(project, resource) => (project, resource),
        };
        let known = &self.state.project;
        if project != known.path && project != known.id.to_string() {
            return Err(Refusal::of(404));
        }
        let access = match resource {
            Resource::Pipeline(_) | Resource::Bridges(_) => self.pipelines,
            Resource::Jobs(_) => self.jobs,
            // Nobody has ever let a job token read a single job by its id.
            Resource::Job(_) => GitLabAccess::Refused(401),
            Resource::Artifact { .. } | Resource::ArtifactOfRef { .. } => self.artifacts,
            Resource::Deployments | Resource::Deployment(_) | Resource::MergeRequests(_) => self.deployments,
        };
        if let (Caller::Job, GitLabAccess::Refused(status)) = (caller, access) {
            return Err(Refusal::of(status));
        }
        match resource {
            Resource::Pipeline(id) => {
                let (id, pipeline) = self.pipeline(&id)?;
                Ok(Reply::json(200, &full_pipeline(id, pipeline, &self.state)))
            }
            Resource::Jobs(id) => self.jobs(request, &id),
            Resource::Bridges(id) => self.bridges(request, &id),
            Resource::Job(id) => {
                let (pipeline, job) = self.job(&id)?;
                Ok(Reply::json(200, &self.show_job(pipeline, job)))
            }
            Resource::Artifact { job, path } => artifact(self.job(&job)?.1, &path),
            Resource::ArtifactOfRef { reference, path } => self.artifact_of_ref(request, &reference, &path),
            Resource::Deployments => self.deployments(request),
            Resource::Deployment(id) => Ok(Reply::json(200, &self.show_deployment(self.deployment(&id)?))),
            Resource::MergeRequests(id) => self.merge_requests(request, &id),
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
            .and_then(|id| self.state.job(id))
            .ok_or(Refusal::new(404, "404 Job Not Found"))?;
        Ok(Reply::json(200, &self.show_job(pipeline, job)))
    }

    /// `GET …/pipelines/:id/jobs`.
    fn jobs(&self, request: &Request, id: &str) -> Result<Reply, Refusal> {
        let query = request.query();
        check(&query, &["include_retried", "scope", "scope[]"])?;
        let retried = match query.get("include_retried") {
            None | Some("false" | "0") => false,
            Some("true" | "1") => true,
            Some(_) => return Err(Refusal::error(400, "include_retried is invalid")),
        };
        let (id, pipeline) = self.pipeline(id)?;
        let mut jobs = pipeline.jobs.iter().collect::<Vec<_>>();
        if retried {
            jobs.sort_by_key(|job| std::cmp::Reverse(job.id));
        } else {
            jobs = latest(jobs);
        }
        let scope = scope(&query)?;
        jobs.retain(|job| scope.is_empty() || scope.contains(&job.status));
        self.page(request, &jobs, |job| self.show_job(id, job))
    }

    /// `GET …/pipelines/:id/bridges`.
    fn bridges(&self, request: &Request, id: &str) -> Result<Reply, Refusal> {
        let query = request.query();
        check(&query, &["scope", "scope[]"])?;
        let (id, pipeline) = self.pipeline(id)?;
        let mut jobs = latest(pipeline.read_bridges.iter().map(|bridge| &bridge.job).collect());
        let scope = scope(&query)?;
        jobs.retain(|job| scope.is_empty() || scope.contains(&job.status));
        self.page(request, &jobs, |job| {
            let mut shown = self.show_job(id, job);
            // What only a job with a runner has.
            if let Some(fields) = shown.as_object_mut() {
                fields.retain(|name, _| !["artifacts", "runner", "tag_list"].contains(&name.as_str()));
            }
            let bridge = pipeline.read_bridges.iter().find(|bridge| bridge.job.id == job.id);
            shown["downstream_pipeline"] = match bridge.map(|bridge| &bridge.downstream_pipeline) {
                Some(Value::Number(downstream)) => downstream.as_u64().map_or(Value::Null, |downstream| {
                    let pipeline = &self.state.pipelines[&downstream];
                    basic_pipeline(downstream, pipeline, &self.state)
                }),
                given => json!(given),
            };
            shown
        })
    }

    /// `GET …/jobs/artifacts/:ref/raw/*path?job=`: of the newest pipeline of the ref that succeeded as a whole.
    fn artifact_of_ref(&self, request: &Request, reference: &str, path: &[String]) -> Result<Reply, Refusal> {
        let query = request.query();
        refuse_unknown(&query, &["job", "job_token"])?;
        let name = query.get("job").ok_or(Refusal::error(400, "job is missing"))?;
        let mut pipelines = self.state.pipelines.values().rev();
        let pipeline = pipelines.find(|pipeline| pipeline.reference == reference && pipeline.status == "success");
        let jobs = latest(pipeline.ok_or_else(Refusal::no_record)?.jobs.iter().collect());
        let job = jobs
            .into_iter()
            .find(|job| job.name == name && !job.artifacts.is_empty());
        artifact(job.ok_or_else(Refusal::no_record)?, path)
    }

    /// `GET …/deployments`.
    fn deployments(&self, request: &Request) -> Result<Reply, Refusal> {
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
        let mut deployments = self.state.deployments.iter().filter(fits).collect::<Vec<_>>();
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
        self.page(request, &deployments, |deployment| self.show_deployment(deployment))
    }

    /// `GET …/deployments/:id/merge_requests`: what the deployment brought, newest first.
    fn merge_requests(&self, request: &Request, id: &str) -> Result<Reply, Refusal> {
        let query = request.query();
        check(&query, &["order_by", "sort"])?;
        let order = choice(&query, "order_by", &["created_at", "updated_at", "merged_at", "title"])?;
        let sort = choice(&query, "sort", &["desc", "asc"])?;
        let mut requests = self.deployment(id)?.merge_requests.iter().collect::<Vec<_>>();
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
        self.page(request, &requests, |request| (*request).clone())
    }

    fn pipeline(&self, id: &str) -> Result<(u64, &Pipeline), Refusal> {
        let id = number(id, "pipeline_id")?;
        let pipeline = self.state.pipelines.get(&id).ok_or_else(Refusal::no_record)?;
        Ok((id, pipeline))
    }

    fn job(&self, id: &str) -> Result<(u64, &Job), Refusal> {
        let job = self.state.job(number(id, "job_id")?);
        job.ok_or(Refusal::new(404, "404 Not Found"))
    }

    fn deployment(&self, id: &str) -> Result<&Deployment, Refusal> {
        let id = number(id, "deployment_id")?;
        let mut deployments = self.state.deployments.iter();
        deployments
            .find(|deployment| deployment.id == id)
            .ok_or_else(Refusal::no_record)
    }

    fn show_job(&self, id: u64, job: &Job) -> Value {
        let pipeline = &self.state.pipelines[&id];
        let origin = Origin {
            reference: &pipeline.reference,
            tag: pipeline.tag,
            sha: &pipeline.sha,
            pipeline: basic_pipeline(id, pipeline, &self.state),
        };
        show_job(job, &origin)
    }

    fn show_deployment(&self, deployment: &Deployment) -> Value {
        let deployable = match &deployment.deployable {
            Value::Number(id) => {
                let job = id.as_u64().and_then(|id| self.state.job(id));
                job.map_or(Value::Null, |(pipeline, job)| self.show_job(pipeline, job))
            }
            Value::Object(own) => self.show_own(own.clone(), deployment),
            _ => Value::Null,
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
    fn show_own(&self, mut own: Map<String, Value>, deployment: &Deployment) -> Value {
        let id = own
            .remove("pipeline")
            .and_then(|pipeline| pipeline["id"].as_u64())
            .unwrap_or_default();
        let Ok(job) = serde_json::from_value::<Job>(Value::Object(own)) else {
            return Value::Null;
        };
        let project = &self.state.project;
        let pipeline = json!({
            "id": id,
            "project_id": project.id,
            "sha": deployment.sha,
            "ref": deployment.reference,
            "status": job.status,
            "source": "push",
            "created_at": job.created_at,
            "updated_at": job.finished_at.as_ref().unwrap_or(&job.created_at),
            "web_url": model::web(project, "pipelines", id),
        });
        let origin = Origin {
            reference: &deployment.reference,
            tag: false,
            sha: &deployment.sha,
            pipeline,
        };
        show_job(&job, &origin)
    }

    /// One page, and the headers that lead to the others.
    fn page<T>(&self, request: &Request, all: &[T], show: impl Fn(&T) -> Value) -> Result<Reply, Refusal> {
        let query = request.query();
        let positive = |name: &str, default: usize| match query.get(name).map(str::parse::<usize>) {
            None => Ok(default),
            Some(Ok(0)) => Err(Refusal::error(400, format!("{name} does not have a valid value"))),
            Some(Ok(number)) => Ok(number),
            Some(Err(_)) => Err(Refusal::error(400, format!("{name} is invalid"))),
        };
        let (page, per_page) = (positive("page", 1)?, positive("per_page", 20)?.min(100));
        let pages = all.len().div_ceil(per_page).max(1);
        let shown = all.iter().skip((page - 1).saturating_mul(per_page)).take(per_page);
        let body = shown.map(show).collect::<Value>();
        let (next, previous) = ((page < pages).then_some(page + 1), (page > 1).then(|| page - 1));
        let link = |page: usize, relation: &str| {
            let kept = request.query.split('&').filter(|pair| {
                let name = pair.split('=').next().unwrap_or_default();
                !["", "page", "per_page"].contains(&name)
            });
            let kept = kept.flat_map(|pair| [pair, "&"]).collect::<String>();
            let host = request.header("host").unwrap_or("localhost");
            let (scheme, path) = (self.scheme, &request.path);
            format!("<{scheme}://{host}/gitlab{path}?{kept}page={page}&per_page={per_page}>; rel=\"{relation}\"")
        };
        let links = [
            previous.map(|page| link(page, "prev")),
            next.map(|page| link(page, "next")),
            Some(link(1, "first")),
            Some(link(pages, "last")),
        ];
        let or_empty = |page: Option<usize>| page.map_or_else(String::new, |page| page.to_string());
        Ok(Reply::json(200, &body)
            .with("x-per-page", &per_page.to_string())
            .with("x-page", &page.to_string())
            .with("x-next-page", &or_empty(next))
            .with("x-prev-page", &or_empty(previous))
            .with("x-total", &all.len().to_string())
            .with("x-total-pages", &pages.to_string())
            .with("link", &links.into_iter().flatten().collect::<Vec<_>>().join(", ")))
    }
}

impl Route {
    /// Where a path below `/api/v4` leads. Only an artifact's path may have slashes of its own.
    fn of(segments: &[&str]) -> Option<Self> {
        let owned = |parts: &[&str]| parts.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>();
        let ["projects", project, rest @ ..] = segments else {
            return matches!(segments, ["job"]).then_some(Self::CurrentJob);
        };
        let resource = match *rest {
            ["pipelines", id] => Resource::Pipeline(id.to_owned()),
            ["pipelines", id, "jobs"] => Resource::Jobs(id.to_owned()),
            ["pipelines", id, "bridges"] => Resource::Bridges(id.to_owned()),
            ["jobs", "artifacts", ref rest @ ..] => {
                // A ref may have slashes that aren't encoded.
                let raw = rest.iter().skip(1).position(|part| *part == "raw")? + 1;
                Resource::ArtifactOfRef {
                    reference: rest[..raw].join("/"),
                    path: (raw + 1 < rest.len()).then(|| owned(&rest[raw + 1..]))?,
                }
            }
            ["jobs", id] => Resource::Job(id.to_owned()),
            ["jobs", id, "artifacts", ref path @ ..] if !path.is_empty() => Resource::Artifact {
                job: id.to_owned(),
                path: owned(path),
            },
            ["deployments"] => Resource::Deployments,
            ["deployments", id] => Resource::Deployment(id.to_owned()),
            ["deployments", id, "merge_requests"] => Resource::MergeRequests(id.to_owned()),
            _ => return None,
        };
        Some(Self::Of((*project).to_owned(), resource))
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

fn basic_pipeline(id: u64, pipeline: &Pipeline, state: &State) -> Value {
    json!({
        "id": id,
        "iid": pipeline.iid,
        "project_id": state.project.id,
        "sha": pipeline.sha,
        "ref": pipeline.reference,
        "status": pipeline.status,
        "source": pipeline.source,
        "created_at": pipeline.created_at,
        "updated_at": pipeline.updated_at,
        "web_url": pipeline.web_url,
    })
}

fn full_pipeline(id: u64, pipeline: &Pipeline, state: &State) -> Value {
    let mut shown = basic_pipeline(id, pipeline, state);
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

/// A file of a job's archive. GitLab answers for a job without one; what isn't in it, the proxy in front of GitLab
/// doesn't find, which speaks no JSON (`workhorse/internal/artifacts/entry.go`).
fn artifact(job: &Job, path: &[String]) -> Result<Reply, Refusal> {
    if job.artifacts.is_empty() {
        return Err(Refusal::new(404, "404 Not Found"));
    }
    let path = path.join("/");
    if path.split('/').any(|part| ["", ".", ".."].contains(&part)) {
        return Err(Refusal::new(400, "400 Bad request"));
    }
    let Some(content) = job.artifacts.get(&path) else {
        return Ok(Reply::text(404, "404 page not found\n"));
    };
    let name = path.rsplit('/').next().unwrap_or_default();
    let kind = match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "json" => "application/json",
        "txt" | "log" => "text/plain; charset=utf-8",
        "html" => "text/html; charset=utf-8",
        _ => "application/octet-stream",
    };
    let plain = |letter: char| {
        if letter.is_ascii_graphic() && !"\"\\".contains(letter) {
            letter
        } else {
            '_'
        }
    };
    let name = name.chars().map(plain).collect::<String>();
    Ok(Reply::bytes(200, kind, content.clone().into_bytes())
        .with("content-disposition", &format!("attachment; filename=\"{name}\"")))
}

/// The parameters of a list: its own, those of every list, and the token.
fn check(query: &Query, own: &[&str]) -> Result<(), Refusal> {
    refuse_unknown(query, &[own, &["page", "per_page", "job_token"]].concat())
}

fn refuse_unknown(query: &Query, known: &[&str]) -> Result<(), Refusal> {
    match query.unknown(known) {
        None => Ok(()),
        Some(name) => Err(Refusal::error(
            400,
            format!("{name} is unknown to the sandbox, and ignored by GitLab"),
        )),
    }
}

/// The statuses that are asked for; none for all.
fn scope(query: &Query) -> Result<Vec<String>, Refusal> {
    let scope = [query.all("scope"), query.all("scope[]")].concat();
    if scope.iter().all(|status| JOB_STATUSES.contains(status)) {
        Ok(scope.into_iter().map(str::to_owned).collect())
    } else {
        Err(Refusal::error(400, "scope does not have a valid value"))
    }
}

/// One of the known values; the first, where there is none.
fn choice<'a>(query: &Query, name: &str, known: &[&'a str]) -> Result<&'a str, Refusal> {
    match query.get(name) {
        None => Ok(known[0]),
        Some(value) => {
            let known = known.iter().find(|known| **known == value);
            known
                .copied()
                .ok_or_else(|| Refusal::error(400, format!("{name} does not have a valid value")))
        }
    }
}

fn number(text: &str, name: &str) -> Result<u64, Refusal> {
    text.parse()
        .map_err(|_| Refusal::error(400, format!("{name} is invalid")))
}

impl StandIn for GitLab {
    fn answer(&mut self, request: &Request) -> Reply {
        self.route(request)
            .unwrap_or_else(|Refusal(status, body)| Reply::json(status, &body))
    }

    fn complain(&self, status: u16, message: &str) -> Reply {
        Reply::json(status, &json!({"message": message}))
    }

    fn state(&mut self) -> Value {
        json!(self.state)
    }

    fn seed(&mut self, state: Value) -> Result<(), String> {
        let mut seeded = self.seeded.clone();
        merge(&mut seeded, state);
        self.state = State::derive(&seeded)?;
        self.seeded = seeded;
        Ok(())
    }
}
