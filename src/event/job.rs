//! Which job an event tells of, by its name.

use crate::{environment::Environment, gitlab::outcome::is_part, problem::Problem};

/// The job that an event tells of, as far as it is known.
pub struct ReportedJob<'a> {
    /// `NOTIFY_JOB`.
    watched: Option<&'a str>,
    /// The name of this job, if this is its `after_script`.
    own: Option<&'a str>,
    /// Whether the event tells of the deployment of this one job, and so has an id of its own.
    pub is_deployment: bool,
    /// The one part of a matrix that `NOTIFY_JOB` stands for, once the pipeline's jobs are known.
    only_part: Option<String>,
}

/// What became of the job that this is the `after_script` of, in GitLab's word. None: this is none.
pub fn status(environment: &Environment) -> Option<&str> {
    let status = environment.predefined("CI_JOB_STATUS")?;
    (status != "running").then_some(status)
}

impl<'a> ReportedJob<'a> {
    /// The job that `environment` tells of, where `watched` is `NOTIFY_JOB`.
    pub fn new(environment: &'a Environment, watched: Option<&'a str>) -> Self {
        Self {
            watched,
            own: status(environment).and_then(|_| environment.predefined("CI_JOB_NAME")),
            is_deployment: false,
            only_part: None,
        }
    }

    /// The name under which its deployment is reported: the same from every job, whatever else is known.
    pub fn name(&self) -> Option<&'a str> {
        match (self.watched, self.own) {
            // Several jobs have one name for all of them, and each knows its own.
            (Some(watched), Some(own)) if is_part(own, watched) => Some(own),
            (watched, own) => watched.or(own),
        }
    }

    /// Its name for templates, which want to know what is between the brackets.
    pub fn full_name(&self) -> Option<&str> {
        self.only_part.as_deref().or_else(|| self.name())
    }

    /// Whether that is known before GitLab is asked: of a name without brackets, only GitLab knows whether the pipeline
    /// has one job of that name, or parts.
    pub fn is_known(&self) -> bool {
        self.own.is_some() || self.watched.is_some_and(|watched| watched.ends_with(']'))
    }

    /// Takes in the names of the pipeline's jobs.
    pub fn find_part<'n>(&mut self, names: impl Iterator<Item = &'n str>) {
        let Some(watched) = self.watched else { return };
        let mut parts: Vec<&str> = names.filter(|name| is_part(name, watched)).collect();
        parts.sort_unstable();
        parts.dedup();
        if let [only] = parts.as_slice() {
            self.only_part = Some((*only).to_owned());
        }
    }

    /// That it is not known which job's deployment is reported.
    pub fn problem(&self) -> Option<Problem> {
        let is_missing = self.is_deployment && self.name().is_none();
        is_missing.then(|| {
            Problem::new(
                "NOTIFY_JOB",
                "is not set, and this is no after_script: --deploy-job reports the deployment of one job, so name it",
            )
        })
    }
}
