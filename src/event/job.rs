//! Which job an event tells of, by its name.

use super::DeployJob;
use crate::{environment::Environment, gitlab::outcome::is_part, problem::Problem};

/// The job that an event tells of, as far as it is known.
pub struct ReportedJob<'a> {
    /// `NOTIFY_JOB`.
    watched: Option<&'a str>,
    /// The name of this job, if this is its `after_script`.
    own: Option<&'a str>,
    /// Whether the event tells of the deployment of this one job, and so has an id of its own.
    pub is_deployment: bool,
    /// Whether this job stops an environment: then it is not the one that deployed.
    is_stop: bool,
    /// The job that deployed what this one stops, by GitLab's record; or why that does not tell.
    deployer: Option<Result<String, String>>,
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
            is_stop: environment.predefined("CI_ENVIRONMENT_ACTION") == Some("stop"),
            deployer: None,
            only_part: None,
        }
    }

    /// What is known of it where nobody was asked: that `NOTIFY_JOB` names it.
    pub fn by_name(&self) -> DeployJob {
        DeployJob {
            name: self.watched.map(str::to_owned),
            ..DeployJob::default()
        }
    }

    /// The name under which its deployment is reported: the same from every job, whatever else is known.
    pub fn name(&self) -> Option<&str> {
        match (self.watched, self.own) {
            (None, own) if self.is_deployment && self.is_stop => match &self.deployer {
                Some(Ok(deployer)) => Some(deployer),
                // That is no deployment's name, but what two jobs stop has at least two.
                _ => own,
            },
            // Several jobs have one name for all of them, and each knows its own.
            (Some(watched), Some(own)) if is_part(own, watched) => Some(own),
            (watched, own) => watched.or(own),
        }
    }

    /// Its name for templates, which want to know what is between the brackets.
    pub fn full_name(&self) -> Option<&str> {
        // A report of one's own tells of the job that it is made in.
        let own = self.own.filter(|_| !self.is_deployment && !self.is_stop);
        own.or(self.only_part.as_deref()).or_else(|| self.name()).or(self.own)
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

    /// Whether only GitLab's record tells which job it is: this one stops what another one has deployed.
    pub fn needs_deployer(&self) -> bool {
        self.is_deployment && self.is_stop && self.watched.is_none()
    }

    /// Takes in which job deployed what this one stops, or why GitLab's record does not tell.
    pub fn set_deployer(&mut self, deployer: Result<String, String>) {
        self.deployer = Some(deployer);
    }

    /// Why it is not known which job deployed what this one stops.
    pub fn no_deployer(&self) -> Option<String> {
        let Some(Err(why)) = &self.deployer else { return None };
        Some(format!(
            "which job has deployed what this one stops is not known: {why}; name it in NOTIFY_JOB"
        ))
    }

    /// That it is not known which job's deployment is reported.
    pub fn problem(&self) -> Option<Problem> {
        let is_missing = self.is_deployment && self.name().is_none() && !self.needs_deployer();
        is_missing.then(|| {
            Problem::new(
                "NOTIFY_JOB",
                "is not set, and this is no after_script: --deploy-job reports the deployment of one job, so name it",
            )
        })
    }
}
