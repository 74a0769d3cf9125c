//! What GitLab's API is asked, and by which right (docs/gitlab.md 2.5, 11). Requests only; the courier sends them.

use std::rc::Rc;

use serde_json::Value;

use super::outcome::Question;
use crate::{
    delivery::{
        plan::{Delivered, Plan, Step, Verdict},
        request::{Form, Method, Request, Text, query, segment},
    },
    environment::Environment,
    secret::Secret,
    variables,
    variables::BaseUrl,
};

variables! {
    /// What is read to ask GitLab, beside its own `CI_*`.
    pub struct Settings, "notify-event, README" {
        /// The job whose end is reported, parallel and matrix jobs by the name before the slash or colon. Without it, all jobs of the pipeline but this one.
        job: Option<String> = "NOTIFY_JOB", optional;
        /// A token with `read_api`, for instances that don't show a pipeline's jobs to a job token.
        token: Option<Secret> = "NOTIFY_GITLAB_TOKEN", derived "CI_JOB_TOKEN";
    }
}

/// The most that one page holds (docs/gitlab.md 11).
const PER_PAGE: usize = 100;
/// More pages than this are not read: 3000 jobs.
const PAGES: usize = 30;
/// Attempts at a question to GitLab: the event is waiting.
const ATTEMPTS: u32 = 3;

/// GitLab's API, as this job may ask it.
#[derive(Debug, Clone)]
pub struct GitLab {
    project: String,
    pipeline: String,
    header: &'static str,
    token: Secret,
    /// This job.
    pub own_id: Option<u64>,
    /// This job's name.
    pub own_name: Option<String>,
    /// This job's stage.
    pub own_stage: Option<String>,
    /// The job whose end is reported.
    pub watched: Option<String>,
}

impl GitLab {
    /// The API that this job's variables lead to.
    ///
    /// # Errors
    /// Which of them is missing or unusable: the program does not run in a GitLab job.
    pub fn of(environment: &Environment, settings: &Settings, allow_http: bool) -> Result<Self, String> {
        let needed = |name: &str| {
            environment
                .predefined(name)
                .ok_or_else(|| format!("{name} is not set, as it is in every job of GitLab"))
        };
        let api = BaseUrl::parse(needed("CI_API_V4_URL")?)
            .and_then(|url| {
                if allow_http {
                    Ok(url)
                } else {
                    url.require_tls().map(|()| url)
                }
            })
            .map_err(|why| format!("CI_API_V4_URL {why}"))?;
        let project = format!("/projects/{}", segment(needed("CI_PROJECT_ID")?));
        let (header, token) = match &settings.token {
            Some(token) => ("PRIVATE-TOKEN", token.clone()),
            None => ("JOB-TOKEN", Secret::new(needed("CI_JOB_TOKEN")?, "CI_JOB_TOKEN")),
        };
        let text = |name: &str| environment.predefined(name).map(str::to_owned);
        Ok(Self {
            pipeline: segment(needed("CI_PIPELINE_ID")?),
            project: api.join(&[], &project),
            header,
            token,
            own_id: text("CI_JOB_ID").and_then(|id| id.parse().ok()),
            own_name: text("CI_JOB_NAME"),
            own_stage: text("CI_JOB_STAGE"),
            watched: settings.job.clone(),
        })
    }

    /// What is asked about the outcome, and by which job.
    pub fn question(&self) -> Question<'_> {
        Question {
            own_id: self.own_id,
            own_name: self.own_name.as_deref(),
            own_stage: self.own_stage.as_deref(),
            watched: self.watched.as_deref(),
        }
    }

    /// The variable that holds the token.
    pub fn token_variable(&self) -> &str {
        self.token.variable()
    }

    /// This pipeline.
    pub fn pipeline_id(&self) -> Option<u64> {
        self.pipeline.parse().ok()
    }

    /// Every job of the pipeline, earlier attempts included, as one array.
    pub fn jobs(&self) -> Plan {
        self.paged(
            "jobs",
            format!("/pipelines/{}/jobs", self.pipeline),
            vec![("include_retried", "true".to_owned())],
            PAGES,
        )
    }

    /// The latest deployments to an environment, whatever became of them, newest first, as one array.
    pub fn deployments(&self, environment: &str) -> Plan {
        let filters = vec![
            ("environment", environment.to_owned()),
            ("order_by", "id".to_owned()),
            ("sort", "desc".to_owned()),
        ];
        self.paged("deployments", "/deployments".to_owned(), filters, 1)
    }

    /// The merge requests that a deployment brought, as one array.
    pub fn merge_requests(&self, deployment: u64) -> Plan {
        let path = format!("/deployments/{deployment}/merge_requests");
        self.paged("merge requests", path, Vec::new(), PAGES)
    }

    /// A JSON file among a job's artifacts.
    pub fn artifact(&self, job: u64, path: &str) -> Plan {
        let path: Vec<String> = path.split('/').map(segment).collect();
        let request = self.request(&format!("/jobs/{job}/artifacts/{}", path.join("/")));
        let step = Step::new("artifact", request, |reply, _| match reply.expect_json() {
            Ok(json) => Verdict::Delivered(Delivered {
                json: Some(json.clone()),
                ..Delivered::default()
            }),
            Err(unexpected) => unexpected.into(),
        });
        limited(vec![step])
    }

    fn request(&self, path: &str) -> Request {
        Request::new(Method::Get, format!("{}{path}", self.project))
            .header(self.header, Text::default().secret(&self.token, Form::Plain))
    }

    fn paged(&self, name: &'static str, path: String, filters: Vec<(&'static str, String)>, pages: usize) -> Plan {
        let list = Rc::new(Pager {
            gitlab: self.clone(),
            name,
            path,
            filters,
            pages,
        });
        limited(vec![list.page(1, Rc::default())])
    }
}

fn limited(steps: Vec<Step>) -> Plan {
    let mut plan = Plan::new(None, steps);
    plan.attempts = Some(ATTEMPTS);
    plan
}

/// A list that comes in pages.
struct Pager {
    gitlab: GitLab,
    name: &'static str,
    path: String,
    filters: Vec<(&'static str, String)>,
    pages: usize,
}

impl Pager {
    /// Page `number`; `before` is what the pages before it held.
    fn page(self: &Rc<Self>, number: usize, before: Rc<Vec<Value>>) -> Step {
        let (number_text, per_page) = (number.to_string(), PER_PAGE.to_string());
        let pairs = self
            .filters
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .chain([("per_page", per_page.as_str()), ("page", number_text.as_str())]);
        let request = self.gitlab.request(&format!("{}{}", self.path, query(pairs)));
        let pager = Rc::clone(self);
        Step::new(self.name, request, move |reply, _| {
            let items = match reply.expect_json() {
                Ok(Value::Array(items)) => items,
                Ok(_) => return Verdict::Rejected("GitLab's API answered with JSON that is no list".to_owned()),
                Err(unexpected) => return unexpected.into(),
            };
            let found: Vec<Value> = before.iter().chain(items).cloned().collect();
            // GitLab names the next page, and leaves the header empty on the last; a proxy may have dropped it.
            let has_more = match reply.header("x-next-page") {
                Some(next) => !next.trim().is_empty(),
                None => items.len() == PER_PAGE,
            };
            if has_more && !items.is_empty() && number < pager.pages {
                return Verdict::Then(pager.page(number + 1, Rc::new(found)));
            }
            Verdict::Delivered(Delivered {
                json: Some(Value::Array(found)),
                ..Delivered::default()
            })
        })
        // Pages are no attempts.
        .poll()
        .large()
    }
}
