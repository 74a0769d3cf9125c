//! Tells what the report of a recorded deployment would have told: the event is made as in its own job, of an environment
//! that is the deployment's. Of this job's own variables only those count that say the same in every job.

use std::time::SystemTime;

use super::portrait::Times;
use crate::{
    environment::{Environment, base},
    event::{Action, Event, resolve::Resolver, scope::Names, variables::EventVariables},
    gitlab::{
        deployment::Deployment,
        outcome::{Finding, Outcome},
        pipeline::PREDEFINED,
        slug,
    },
    problem::Unmade,
    time::timestamp,
    variables::{Group as _, Variable},
};

/// The event's own variables that a report of any deployment is made of; the others mean one report.
const READ: &[&str] = &["EVENT_NAME", "EVENT_SERVICE", "EVENT_PROPERTIES"];
/// GitLab's variables that are the same for every job of the instance begin so.
const OF_INSTANCE: &[&str] = &[
    "CI_SERVER",
    "CI_API_",
    "CI_TEMPLATE_REGISTRY_HOST",
    "GITLAB_CI",
    "GITLAB_FEATURES",
];
/// And for every job of a project so.
const OF_PROJECT: &[&str] = &["CI_PROJECT_", "CI_DEFAULT_BRANCH", "CI_REGISTRY", "CI_PAGES_"];

/// A project whose deployments are compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Its id, as GitLab has it; empty where that is not known.
    pub id: String,
    /// Group and name.
    pub path: String,
    /// `CI_PROJECT_PATH_SLUG`.
    pub slug: String,
    /// Its page.
    pub url: Option<String>,
}

impl Project {
    /// The project of this job.
    pub fn of_job(environment: &Environment) -> Option<Self> {
        let text = |name: &str| environment.predefined(name).map(str::to_owned);
        let path = text("CI_PROJECT_PATH")?;
        Some(Self {
            id: text("CI_PROJECT_ID")?,
            slug: text("CI_PROJECT_PATH_SLUG").unwrap_or_else(|| slug::path(&path)),
            url: text("CI_PROJECT_URL"),
            path,
        })
    }

    /// A project of which nothing is known but its path.
    pub fn called(path: &str) -> Self {
        Self {
            id: String::new(),
            slug: slug::path(path),
            url: None,
            path: path.to_owned(),
        }
    }
}

/// A deployment, and what else has to be known to tell of it.
#[derive(Debug, Clone, Copy)]
pub struct Recorded<'a> {
    /// Whose it is.
    pub project: &'a Project,
    /// The attempt that counts.
    pub deployment: &'a Deployment,
    /// Which attempt of its job that is, from 1.
    pub attempt: u32,
    /// The source branch of its merge request, where it is of one and that is known.
    pub source_branch: Option<&'a str>,
}

/// What tells.
pub struct Teller<'a> {
    /// What is the same for every deployment of a project, of this one and of any other.
    own: Environment,
    other: Environment,
    own_id: Option<&'a str>,
    literals: &'a [&'a str],
    open: &'a [String],
    declared: Vec<&'static Variable>,
}

impl<'a> Teller<'a> {
    /// Tells as a job with `environment` would; `literals` and `open` are as for [`Resolver::new`].
    pub fn new(
        environment: &'a Environment,
        literals: &'a [&'a str],
        open: &'a [String],
        declared: Vec<&'static Variable>,
    ) -> Self {
        let starts = |name: &str, with: &[&str]| with.iter().any(|start| name.starts_with(start));
        let of_report = |name: &str| {
            let is_event = EventVariables::VARIABLES
                .iter()
                .any(|variable| variable.name == base(name));
            is_event && !READ.contains(&base(name))
        };
        let of_job = |name: &str| PREDEFINED.contains(&name) && name != "CI" && !starts(name, OF_INSTANCE);
        let own = environment.without(|name| of_report(name) || (of_job(name) && !starts(name, OF_PROJECT)));
        Self {
            other: own.without(|name| starts(name, OF_PROJECT)),
            own,
            own_id: environment.predefined("CI_PROJECT_ID"),
            literals,
            open,
            declared,
        }
    }

    /// The event of a report that tells `action` of a job that ran at `times`, and the names for what is made from it. `id`
    /// is another one than the event's own, if it is to have that.
    pub fn tell(
        &self,
        recorded: Recorded<'_>,
        action: &Action,
        times: Times,
        id: Option<&str>,
    ) -> (Result<Event, Unmade>, Names) {
        let Recorded {
            project, deployment, ..
        } = recorded;
        let base = if self.own_id == Some(project.id.as_str()) {
            &self.own
        } else {
            &self.other
        };
        let environment = base.with(variables(recorded));
        let is_end = action.is_final() || times.start.is_none();
        let now = if is_end {
            times.end
        } else {
            times.start.unwrap_or(times.end)
        };
        let job = deployment.made_by.as_ref().map(|by| {
            let mut job = by.deploy_job(action, recorded.attempt);
            job.started_at = times.start.map(timestamp);
            let has_ended = action.is_final();
            job.finished_at = has_ended.then(|| timestamp(times.end));
            job.duration = times.start.filter(|_| has_ended).map(|_| times.duration);
            job
        });
        let job = job.unwrap_or_default();
        let name = job.name.clone();
        let mut resolver = Resolver::new(
            &environment,
            self.literals,
            name.as_deref(),
            self.open,
            &self.declared,
            now,
        );
        resolver.report_deploy_job();
        resolver.set_changes(&Err(
            "a deployment of the record is not asked what it brought".to_owned()
        ));
        resolver.set_outcome(Outcome::Happened(Finding {
            action: action.clone(),
            why: format!("deployment {} is {}", deployment.id, deployment.status),
            job,
        }));
        let (mut event, mut names) = resolver.finish();
        if let (Some(id), Ok(event)) = (id, &mut event) {
            event.id = Some(id.to_owned());
            names.set_field("id", &id.into());
        }
        (event, names)
    }
}

/// GitLab's variables as the deployment's own job had them, as far as the record tells.
fn variables(recorded: Recorded<'_>) -> Vec<(&'static str, String)> {
    let Recorded {
        project,
        deployment,
        source_branch,
        ..
    } = recorded;
    let merge_request = deployment.merge_request();
    let is_branch = !deployment.is_tag && merge_request.is_none();
    let reference = (!deployment.reference.is_empty()).then(|| deployment.reference.clone());
    let ref_name = match merge_request {
        Some(_) => source_branch.map(str::to_owned),
        None => reference.clone(),
    };
    let (namespace, name) = project.path.rsplit_once('/').unwrap_or(("", &project.path));
    let sha = deployment.sha.as_deref();
    let mut variables = vec![
        ("CI_PROJECT_ID", Some(project.id.clone()).filter(|id| !id.is_empty())),
        ("CI_PROJECT_PATH", Some(project.path.clone())),
        ("CI_PROJECT_PATH_SLUG", Some(project.slug.clone())),
        ("CI_PROJECT_NAME", Some(name.to_owned())),
        ("CI_PROJECT_NAMESPACE", Some(namespace.to_owned())),
        ("CI_PROJECT_URL", project.url.clone()),
        ("CI_COMMIT_SHA", sha.map(str::to_owned)),
        ("CI_COMMIT_SHORT_SHA", sha.map(|sha| sha.chars().take(8).collect())),
        ("CI_COMMIT_REF_NAME", ref_name),
        ("CI_COMMIT_BRANCH", reference.clone().filter(|_| is_branch)),
        ("CI_COMMIT_TAG", reference.filter(|_| deployment.is_tag)),
        ("CI_MERGE_REQUEST_IID", merge_request.map(|number| number.to_string())),
        ("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", source_branch.map(str::to_owned)),
        ("CI_ENVIRONMENT_NAME", Some(deployment.environment.clone())),
        ("CI_ENVIRONMENT_SLUG", Some(deployment.environment_slug.clone())),
        ("GITLAB_USER_LOGIN", deployment.user.clone()),
    ];
    if let Some(by) = &deployment.made_by {
        let job = &by.job;
        let [title, message, author, at] = by.commit.clone();
        variables.extend([
            ("CI_PIPELINE_ID", Some(by.pipeline.to_string())),
            ("CI_PIPELINE_URL", by.pipeline_url.clone()),
            ("CI_PIPELINE_SOURCE", by.source.clone()),
            ("CI_PIPELINE_CREATED_AT", by.pipeline_created_at.map(timestamp)),
            ("CI_COMMIT_TITLE", title),
            ("CI_COMMIT_MESSAGE", message),
            ("CI_COMMIT_AUTHOR", author),
            ("CI_COMMIT_TIMESTAMP", at),
            ("CI_JOB_ID", Some(job.id.to_string())),
            ("CI_JOB_NAME", Some(job.name.clone())),
            ("CI_JOB_STAGE", Some(job.stage.clone())),
            ("CI_JOB_URL", job.web_url.clone()),
            ("CI_JOB_STARTED_AT", job.started_at.clone()),
        ]);
    }
    let set = variables.into_iter().filter_map(|(name, value)| Some((name, value?)));
    set.collect()
}

/// When the attempt that `deployment` is of ran. As long as it has not ended, its end is one for comparison alone.
pub fn times(deployment: &Deployment, now: SystemTime) -> Times {
    let job = deployment.made_by.as_ref().map(|by| by.deploy_job(&Action::Success, 1));
    let read = |moment: Option<&String>| moment.and_then(|text| crate::time::parse(text));
    let start = job.as_ref().and_then(|job| read(job.started_at.as_ref()));
    let end = job.as_ref().and_then(|job| read(job.finished_at.as_ref()));
    let end = end
        .or(deployment.updated_at)
        .unwrap_or(now)
        .max(start.unwrap_or(SystemTime::UNIX_EPOCH));
    Times {
        start,
        end,
        duration: job.and_then(|job| job.duration).unwrap_or_default(),
    }
}
