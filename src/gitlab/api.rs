//! What GitLab's API is asked, and by which right (docs/gitlab.md 2.5, 11, 11.1). Requests only; the courier sends them.

use std::rc::Rc;

use serde_json::{Value, json};

use super::outcome::Question;
use crate::{
    delivery::{
        plan::{Delivered, LARGE, Plan, Step, Verdict},
        reply::Reply,
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
        /// The job whose end is reported: parallel and matrix jobs all together by the name before the number or colon, one of a matrix by its whole name, as in `deploy: [shop]`; a trigger job ends as its downstream pipeline does. Without it, all jobs of the pipeline but this one. With `--deploy-job`, the job whose deployment is reported.
        job: Option<String> = "NOTIFY_JOB", optional;
        /// A token with `read_api`, for instances that don't show a pipeline's jobs, or its trigger jobs, to a job token.
        token: Option<Secret> = "NOTIFY_GITLAB_TOKEN", derived "CI_JOB_TOKEN";
    }
}

/// The most that one page holds (docs/gitlab.md 11).
const PER_PAGE: usize = 100;
/// More pages than this are not read: 3000 jobs. What would be missing could be the job that failed, so a longer list
/// is none.
const PAGES: usize = 30;
/// Attempts at a question to GitLab: the event is waiting.
const ATTEMPTS: u32 = 3;

/// GitLab's API, as this job may ask it.
#[derive(Debug, Clone)]
pub struct GitLab {
    api: String,
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
        let gitlab = Self::anywhere(environment, settings, allow_http)?;
        for name in ["CI_PROJECT_ID", "CI_PIPELINE_ID"] {
            needed(environment, name)?;
        }
        Ok(gitlab)
    }

    /// The same where this may be no job: then there is an address and a token, and nothing of its own to ask about.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub fn anywhere(environment: &Environment, settings: &Settings, allow_http: bool) -> Result<Self, String> {
        let needed = |name: &str| needed(environment, name);
        let api = BaseUrl::parse(needed("CI_API_V4_URL")?)
            .and_then(|url| {
                if allow_http {
                    Ok(url)
                } else {
                    url.require_tls().map(|()| url)
                }
            })
            .map_err(|why| format!("CI_API_V4_URL {why}"))?;
        let (header, token) = if let Some(token) = &settings.token {
            ("PRIVATE-TOKEN", token.clone())
        } else {
            let token = needed("CI_JOB_TOKEN").map_err(|why| format!("{why}, nor is NOTIFY_GITLAB_TOKEN"))?;
            ("JOB-TOKEN", Secret::new(token, "CI_JOB_TOKEN"))
        };
        let text = |name: &str| environment.predefined(name).map(str::to_owned);
        Ok(Self {
            pipeline: segment(&text("CI_PIPELINE_ID").unwrap_or_default()),
            project: segment(&text("CI_PROJECT_ID").unwrap_or_default()),
            api: api.join(&[], ""),
            header,
            token,
            own_id: text("CI_JOB_ID").and_then(|id| id.parse().ok()),
            own_name: text("CI_JOB_NAME"),
            own_stage: text("CI_JOB_STAGE"),
            watched: settings.job.clone(),
        })
    }

    /// The same API, asked about another project, by its id or its path.
    pub fn of_project(&self, project: &str) -> Self {
        Self {
            project: segment(project),
            ..self.clone()
        }
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
        self.jobs_of(&self.pipeline)
    }

    /// Every job of this or another pipeline of the project, likewise.
    pub fn jobs_of(&self, pipeline: &str) -> Plan {
        self.paged(
            "jobs",
            self.of_this(&format!("/pipelines/{}/jobs", segment(pipeline))),
            vec![("include_retried", "true".to_owned())],
            Pages::All,
        )
    }

    /// Every trigger job of the pipeline, in its newest attempt, as one array.
    pub fn trigger_jobs(&self) -> Plan {
        self.triggers("trigger_jobs")
    }

    /// The same by the name that the route had before 19.2 (docs/gitlab.md 11.1).
    pub fn bridges(&self) -> Plan {
        self.triggers("bridges")
    }

    fn triggers(&self, route: &str) -> Plan {
        let path = format!("/pipelines/{}/{route}", self.pipeline);
        self.paged("trigger jobs", self.of_this(&path), Vec::new(), Pages::All)
    }

    /// The latest deployments to an environment, whatever became of them, newest first, as one array.
    pub fn deployments(&self, environment: &str) -> Plan {
        let filters = vec![
            ("environment", environment.to_owned()),
            ("order_by", "id".to_owned()),
            ("sort", "desc".to_owned()),
        ];
        self.paged("deployments", self.of_this("/deployments"), filters, Pages::First)
    }

    /// One page, from 1, of the deployments that were changed after `moment` (RFC 3339), the latest change first, as
    /// [`page_alone`](Self::page_alone) has it. GitLab takes `updated_after` together with this order alone
    /// (docs/gitlab.md 11).
    pub fn deployments_since(&self, moment: &str, page: usize) -> Plan {
        let filters = [("updated_after", moment), ("order_by", "updated_at"), ("sort", "desc")];
        self.page_alone(filters, page)
    }

    /// One page, from 1, of the deployments to an environment, the newest first, likewise.
    pub fn deployments_page(&self, environment: &str, page: usize) -> Plan {
        let filters = [("environment", environment), ("order_by", "id"), ("sort", "desc")];
        self.page_alone(filters, page)
    }

    /// What GitLab says of the project.
    pub fn about(&self) -> Plan {
        limited(vec![object("project", self.request(&self.of_this("")))])
    }

    /// Every project below a group, those of its subgroups too, but for archived ones, as one array.
    pub fn projects_of(&self, group: &str) -> Plan {
        let filters = [
            ("include_subgroups", "true"),
            ("archived", "false"),
            ("with_shared", "false"),
            ("simple", "true"),
        ];
        let filters = filters.map(|(name, value)| (name, value.to_owned())).to_vec();
        self.paged(
            "projects",
            format!("/groups/{}/projects", segment(group)),
            filters,
            Pages::All,
        )
    }

    /// What GitLab says of a merge request of the project.
    pub fn merge_request(&self, number: u64) -> Plan {
        let request = self.request(&self.of_this(&format!("/merge_requests/{number}")));
        limited(vec![object("merge request", request)])
    }

    /// The merge requests that a deployment brought, as one array.
    pub fn merge_requests(&self, deployment: u64) -> Plan {
        let path = format!("/deployments/{deployment}/merge_requests");
        self.paged("merge requests", self.of_this(&path), Vec::new(), Pages::All)
    }

    /// A JSON file among a job's artifacts.
    pub fn artifact(&self, job: u64, path: &str) -> Plan {
        let path: Vec<String> = path.split('/').map(segment).collect();
        let path = self.of_this(&format!("/jobs/{job}/artifacts/{}", path.join("/")));
        limited(vec![object("artifact", self.request(&path))])
    }

    /// The path of something of the project's.
    fn of_this(&self, path: &str) -> String {
        format!("/projects/{}{path}", self.project)
    }

    /// One page of deployments and no other: `{"items": […], "has_more": …}`. A list of any length is read page by page,
    /// and of each only what is needed is kept.
    fn page_alone(&self, filters: [(&str, &str); 3], page: usize) -> Plan {
        let (page, per_page) = (page.to_string(), PER_PAGE.to_string());
        let pairs = filters
            .into_iter()
            .chain([("per_page", per_page.as_str()), ("page", page.as_str())]);
        let request = self.request(&self.of_this(&format!("/deployments{}", query(pairs))));
        let step = Step::new("deployments", request, |reply, _| {
            let (items, has_more) = match listed(reply) {
                Ok(listed) => listed,
                Err(verdict) => return verdict,
            };
            Verdict::Delivered(Delivered {
                json: Some(Rc::new(json!({ "items": items, "has_more": has_more }))),
                ..Delivered::default()
            })
        });
        limited(vec![step.large()])
    }

    fn request(&self, path: &str) -> Request {
        Request::new(Method::Get, format!("{}{path}", self.api))
            .header(self.header, Text::default().secret(&self.token, Form::Plain))
    }

    fn paged(&self, name: &'static str, path: String, filters: Vec<(&'static str, String)>, pages: Pages) -> Plan {
        let list = Rc::new(Pager {
            gitlab: self.clone(),
            name,
            path,
            filters,
            pages,
        });
        limited(vec![list.page(1, Found::default())])
    }
}

fn needed<'e>(environment: &'e Environment, name: &str) -> Result<&'e str, String> {
    environment
        .predefined(name)
        .ok_or_else(|| format!("{name} is not set, as it is in every job of GitLab"))
}

fn limited(steps: Vec<Step>) -> Plan {
    let mut plan = Plan::new(None, steps);
    plan.address = Some("CI_API_V4_URL");
    plan.attempts = Some(ATTEMPTS);
    plan
}

/// A question that is answered with JSON.
fn object(name: &'static str, request: Request) -> Step {
    Step::new(name, request, |reply, _| match reply.expect_json() {
        Ok(_) => Verdict::Delivered(Delivered {
            json: reply.shared_json(),
            ..Delivered::default()
        }),
        Err(unexpected) => unexpected.into(),
    })
}

/// What a page of a list holds, and whether there are more.
fn listed(reply: &Reply) -> Result<(&Vec<Value>, bool), Verdict> {
    match reply.expect_json()? {
        Value::Array(items) => {
            // GitLab names the next page, and leaves the header empty on the last; a proxy may have dropped it, and of some
            // lists GitLab says it by `Link` alone.
            let has_more = match (reply.header("x-next-page"), reply.header("link")) {
                (Some(next), _) => !next.trim().is_empty(),
                (None, Some(links)) => links.contains("rel=\"next\""),
                (None, None) => items.len() == PER_PAGE,
            };
            Ok((items, has_more && !items.is_empty()))
        }
        _ => Err(Verdict::Rejected(
            "GitLab's API answered with JSON that is no list".to_owned(),
        )),
    }
}

/// How much of a list is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pages {
    /// What comes first.
    First,
    /// Everything.
    All,
}

/// A list that comes in pages.
struct Pager {
    gitlab: GitLab,
    name: &'static str,
    path: String,
    filters: Vec<(&'static str, String)>,
    pages: Pages,
}

/// What the pages so far hold. The next one shares them, so that a long list is not copied again and again.
#[derive(Clone, Default)]
struct Found {
    pages: Vec<Rc<Vec<Value>>>,
    bytes: usize,
}

impl Pager {
    /// Page `number`; `before` is what the pages before it held.
    fn page(self: &Rc<Self>, number: usize, before: Found) -> Step {
        let (number_text, per_page) = (number.to_string(), PER_PAGE.to_string());
        let pairs = self
            .filters
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .chain([("per_page", per_page.as_str()), ("page", number_text.as_str())]);
        let request = self.gitlab.request(&format!("{}{}", self.path, query(pairs)));
        let pager = Rc::clone(self);
        // What one page may be long, all of them may be long together.
        let left = LARGE.saturating_sub(before.bytes);
        Step::new(self.name, request, move |reply, _| {
            let (items, has_more) = match listed(reply) {
                Ok(listed) => listed,
                Err(verdict) => return verdict,
            };
            if reply.body.len() > left {
                return Verdict::Rejected(format!(
                    "the {} are longer than the {LARGE} bytes that are read, after {number} pages",
                    pager.name
                ));
            }
            let mut found = before.clone();
            found.bytes += reply.body.len();
            found.pages.push(Rc::new(items.clone()));
            if has_more && pager.pages == Pages::All {
                if number == PAGES {
                    return Verdict::Rejected(format!(
                        "the {} are more than the {} that are read ({PAGES} pages)",
                        pager.name,
                        PAGES * PER_PAGE
                    ));
                }
                return Verdict::Then(pager.page(number + 1, found));
            }
            let whole = found.pages.iter().flat_map(|page| page.iter().cloned()).collect();
            Verdict::Delivered(Delivered {
                json: Some(Rc::new(Value::Array(whole))),
                ..Delivered::default()
            })
        })
        // Pages are no attempts.
        .poll()
        .large()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{delivery::plan::Sent, variables::Reader};

    fn gitlab() -> GitLab {
        let own = [
            ("CI_API_V4_URL", "https://gitlab.example.com/api/v4"),
            ("CI_PROJECT_ID", "42"),
            ("CI_PIPELINE_ID", "8812"),
            ("CI_JOB_TOKEN", "glcbt-64_job-token-value"),
        ];
        let environment = Environment::from_variables(own.map(|(name, value)| (name.into(), value.into())));
        let reader = Reader {
            environment: &environment,
            official_names: false,
            allow_http: false,
            literals: &[],
        };
        let settings = reader.read::<Settings>().expect("nothing is wrong");
        GitLab::of(&environment, &settings, false).expect("these are GitLab's variables")
    }

    fn read(step: &Step, body: String, next: &str) -> Verdict {
        let headers = vec![("x-next-page".to_owned(), next.to_owned())];
        step.read(&Reply::new(200, headers, body), Sent::default())
    }

    /// The step after `count` pages, each of which holds its number and `filler` more bytes.
    fn after(count: usize, filler: usize) -> Step {
        let mut step = gitlab().jobs().steps.remove(0);
        for number in 1..=count {
            let body = format!("[{number}]{}", " ".repeat(filler));
            step = match read(&step, body, "more") {
                Verdict::Then(step) => step,
                other => panic!("{number}: {other:?}"),
            };
        }
        step
    }

    #[test]
    fn pages_become_one_list() {
        match read(&after(PAGES - 1, 0), "[30]".to_owned(), "") {
            Verdict::Delivered(delivered) => {
                assert_eq!(delivered.json, Some(Rc::new((1..=30).collect())));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_list_that_is_not_read_to_its_end_is_none() {
        for (step, filler, bound) in [
            (after(PAGES - 1, 0), 0, "more than the 3000 that are read (30 pages)"),
            (
                after(1, LARGE / 2),
                LARGE / 2,
                "longer than the 16777216 bytes that are read, after 2 pages",
            ),
        ] {
            match read(&step, format!("[1]{}", " ".repeat(filler)), "more") {
                Verdict::Rejected(why) => assert!(why.contains(bound), "{why}"),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn of_deployments_the_newest_are_enough() {
        let step = gitlab().deployments("production").steps.remove(0);
        assert!(matches!(read(&step, "[1]".to_owned(), "2"), Verdict::Delivered(_)));
    }
}
