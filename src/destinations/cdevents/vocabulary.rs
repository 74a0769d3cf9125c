//! The types of CDEvents 0.5.1 that a deployment can be told as, and what each of them wants said
//! (docs/vendors/cdevents.md 3).

use serde_json::{Map, Value, json};
use url::Url;

use crate::{
    choice,
    event::{Action, Event},
    problem::Problem,
};

choice! {
    /// A type of event, by the short name that leaves out [`Type::PREFIX`] and [`Type::VERSION`].
    pub enum Type {
        /// A job has begun.
        TaskrunStarted = "taskrun.started",
        /// A job has ended, in whatever way.
        TaskrunFinished = "taskrun.finished",
        /// A pipeline waits to begin.
        PipelinerunQueued = "pipelinerun.queued",
        /// A pipeline has begun.
        PipelinerunStarted = "pipelinerun.started",
        /// A pipeline has ended, in whatever way.
        PipelinerunFinished = "pipelinerun.finished",
        /// A service runs in an environment in which it did not.
        ServiceDeployed = "service.deployed",
        /// Another version of it runs there.
        ServiceUpgraded = "service.upgraded",
        /// The version before runs there again.
        ServiceRolledback = "service.rolledback",
        /// It runs there no more.
        ServiceRemoved = "service.removed",
        /// It can be reached.
        ServicePublished = "service.published",
        /// There is a new environment.
        EnvironmentCreated = "environment.created",
        /// It is another one than it was.
        EnvironmentModified = "environment.modified",
        /// It is gone.
        EnvironmentDeleted = "environment.deleted",
        /// Something is wrong in an environment.
        IncidentDetected = "incident.detected",
        /// Somebody was told, by a ticket.
        IncidentReported = "incident.reported",
        /// It is right again.
        IncidentResolved = "incident.resolved",
    }
}

impl Type {
    /// What a full name begins with.
    pub const PREFIX: &'static str = "dev.cdevents.";
    /// What a full name ends with: in 0.5.1 all of these types have the same version.
    pub const VERSION: &'static str = ".0.3.0";

    /// The type that says what happened, if there is one.
    pub fn of(action: &Action, has_artifact: bool) -> Option<Self> {
        match action {
            Action::Started => Some(Self::TaskrunStarted),
            // A service's events want its artifact.
            Action::Success if has_artifact => Some(Self::ServiceDeployed),
            Action::Success | Action::Failure | Action::Canceled | Action::Open => Some(Self::TaskrunFinished),
            Action::Stopped => Some(Self::ServiceRemoved),
            // Without an artifact, too: any other type would tell of a deployment that went well.
            Action::RolledBack => Some(Self::ServiceRolledback),
            Action::Progressing | Action::Blocked | Action::Other(_) => None,
        }
    }

    fn short(self) -> &'static str {
        Self::WORDS[self as usize]
    }

    /// Its name as a part of an id, which has no dots.
    pub fn in_id(self) -> String {
        self.short().replace('.', "-")
    }

    /// Its full name.
    pub fn name(self) -> String {
        format!("{}{}{}", Self::PREFIX, self.short(), Self::VERSION)
    }

    /// What it is about: the environment where it is an environment's, else the service or the project.
    pub fn subject(self, event: &Event, service: Option<&str>) -> Result<String, Problem> {
        let environment = self.short().starts_with("environment.");
        let (id, variable) = if environment {
            (event.environment.as_deref(), "EVENT_ENVIRONMENT")
        } else {
            (service, "EVENT_REPO")
        };
        let id = id.filter(|id| !id.is_empty());
        id.map(str::to_owned)
            .ok_or_else(|| self.lacks(variable, "what it is about"))
    }

    fn lacks(self, variable: &str, what: &str) -> Problem {
        let is = match variable {
            "EVENT_URL" => "is no address",
            _ => "is not set",
        };
        Problem::new(
            variable,
            format!("{is}: a CDEvent of the type {} wants {what}", self.short()),
        )
    }

    /// What is said of the subject.
    ///
    /// # Errors
    /// Everything that the type wants and the event lacks.
    pub fn content(self, event: &Event, subject: &str, artifact: Option<&str>) -> Result<Value, Vec<Problem>> {
        let mut wrong = Vec::new();
        let mut content = Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                content.insert(name.to_owned(), value);
            }
        };
        let text = |text: Option<&str>| text.map(Value::from);
        let mut wanted = |value: Option<Value>, variable: &str, what: &str| {
            if value.is_none() {
                wrong.push(self.lacks(variable, what));
            }
            value
        };
        let page = |address: Option<&str>| {
            address
                .and_then(|address| Url::parse(address).ok())
                .map(|url| url.as_str().into())
        };
        let pipeline = page(event.url.as_deref());
        let environment = event.environment.as_ref().map(|name| json!({"id": name}));
        let artifact_id = text(artifact);
        let outcome = event.action.as_ref().ok().and_then(outcome);
        match self {
            Self::TaskrunStarted | Self::TaskrunFinished => {
                put("taskName", text(Some(event.job.name.as_deref().unwrap_or(&event.name))));
                put("pipelineRun", pipeline_run(event));
                put("uri", page(event.job.url.as_deref()).or(pipeline));
                if self == Self::TaskrunFinished {
                    put("outcome", text(outcome));
                }
            }
            Self::PipelinerunQueued | Self::PipelinerunStarted | Self::PipelinerunFinished => {
                put("pipelineName", text(Some(event.repo.as_deref().unwrap_or(subject))));
                if self == Self::PipelinerunStarted {
                    put("uri", wanted(pipeline, "EVENT_URL", "the pipeline's page"));
                } else {
                    put("uri", pipeline);
                }
                if self == Self::PipelinerunFinished {
                    put("outcome", text(outcome));
                }
            }
            Self::ServiceDeployed | Self::ServiceUpgraded | Self::ServiceRolledback => {
                put(
                    "environment",
                    wanted(environment, "EVENT_ENVIRONMENT", "the environment"),
                );
                let what = "the artifact, as a package URL like pkg:generic/acme/shop@1.4.2";
                put("artifactId", wanted(artifact_id, "CDEVENTS_ARTIFACT_ID", what));
            }
            Self::ServiceRemoved | Self::ServicePublished => {
                put(
                    "environment",
                    wanted(environment, "EVENT_ENVIRONMENT", "the environment"),
                );
            }
            Self::EnvironmentCreated | Self::EnvironmentModified | Self::EnvironmentDeleted => {
                put("name", text(event.environment.as_deref()));
            }
            Self::IncidentDetected | Self::IncidentReported | Self::IncidentResolved => {
                put("description", text(event.title.as_deref()));
                put(
                    "environment",
                    wanted(environment, "EVENT_ENVIRONMENT", "the environment"),
                );
                put("service", Some(json!({"id": subject})));
                put("artifactId", artifact_id);
                if self == Self::IncidentReported {
                    put("ticketURI", wanted(pipeline, "EVENT_URL", "the ticket's page"));
                }
            }
        }
        if wrong.is_empty() {
            Ok(content.into())
        } else {
            Err(wrong)
        }
    }
}

/// How it ended, in CDEvents' words; nothing where it did not, or where they have no word for it. Their `error` is a
/// failure of the tools rather than of what was deployed, which nobody tells us.
fn outcome(action: &Action) -> Option<&str> {
    match action {
        Action::Success => Some("success"),
        Action::Failure => Some("failure"),
        Action::Canceled => Some("cancel"),
        Action::Open => Some(action.word()),
        _ => None,
    }
}

/// The pipeline, by the number that GitLab's address of it ends in.
fn pipeline_run(event: &Event) -> Option<Value> {
    let (_, rest) = event.url.as_deref()?.split_once("/-/pipelines/")?;
    let number: String = rest.chars().take_while(char::is_ascii_digit).collect();
    (!number.is_empty()).then(|| json!({"id": number}))
}
