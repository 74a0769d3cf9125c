//! The neutral event: what happened, to what, when. Plain data that is made once; every destination is fed from it.

use std::fmt;

use ring::digest;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

pub mod action;
pub mod auto;
pub mod job;
pub mod resolve;
pub mod scope;
pub mod variables;

pub use action::Action;

use crate::problem::{Problem, Unmade};

/// The version of the event's JSON form. `schema/event.json` describes it; it grows by one when a field changes its
/// meaning or goes, not when one is added.
pub const SCHEMA_VERSION: u32 = 1;

/// How much of an id is for people to read, in characters.
const READABLE: usize = 120;

/// How the action was found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActionSource {
    /// Somebody set it.
    Variable,
    /// The job's own status, in its `after_script`.
    JobStatus,
    /// The pipeline's jobs, as this says.
    Jobs(String),
    /// What `EVENT_ACTION` names for the case that GitLab's jobs can't be asked: that, and why.
    Fallback(String),
    /// It was not found out.
    Unknown,
}

impl ActionSource {
    /// Reads what [`fmt::Display`] wrote.
    fn from_text(text: &str) -> Self {
        if let Some(why) = text.strip_prefix(BY_FALLBACK) {
            return Self::Fallback(why.to_owned());
        }
        let known = [Self::Variable, Self::JobStatus, Self::Unknown];
        known
            .into_iter()
            .find(|source| source.to_string() == text)
            .unwrap_or_else(|| Self::Jobs(text.strip_prefix(FROM_JOBS).unwrap_or(text).to_owned()))
    }
}

/// How a source begins that is GitLab's jobs.
const FROM_JOBS: &str = "from GitLab's jobs: ";

/// How a source begins that is what stands in for them.
const BY_FALLBACK: &str = "by EVENT_ACTION's auto:";

impl fmt::Display for ActionSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable => formatter.write_str("from EVENT_ACTION"),
            Self::JobStatus => formatter.write_str("from CI_JOB_STATUS"),
            Self::Jobs(why) => write!(formatter, "{FROM_JOBS}{why}"),
            Self::Fallback(why) => write!(formatter, "{BY_FALLBACK}{why}"),
            Self::Unknown => formatter.write_str("unknown"),
        }
    }
}

/// Which run of the deploy job an event tells of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeployRun {
    /// Which attempt of the job.
    pub attempt: u32,
    /// When it started.
    pub started_at: Option<String>,
    /// Its page, once it has ended.
    pub job_url: Option<String>,
}

/// What happened, resolved.
#[derive(Debug, Clone)]
pub struct Event {
    /// Kind of thing: `deployment`.
    pub name: String,
    /// What became of it, or why that is not known; only destinations that need it care.
    pub action: Result<Action, Unmade>,
    /// The word as it was given, for destinations with words of their own.
    pub action_word: Option<String>,
    /// How the action was found out.
    pub action_source: ActionSource,
    /// What is deployed, where a pipeline deploys more than one thing.
    pub service: Option<String>,
    /// Under which everything about this deployment is reported; see [`Event::id`].
    pub id: Option<String>,
    /// For people; see [`Event::title`].
    pub title: Option<String>,
    /// Group and project.
    pub repo: Option<String>,
    /// Branch, or the ref's name.
    pub branch: Option<String>,
    /// Full SHA.
    pub commit: Option<String>,
    /// Environment.
    pub environment: Option<String>,
    /// Image.
    pub image: Option<String>,
    /// Version.
    pub version: Option<String>,
    /// Where a person finds more.
    pub url: Option<String>,
    /// Who did it.
    pub user: Option<String>,
    /// The user's own fields.
    pub properties: Map<String, Value>,
    /// When it is reported, RFC 3339 in UTC.
    pub time: String,
    /// What is known of the deploy job.
    pub job: DeployJob,
}

/// The job that deploys, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeployJob {
    /// Its name.
    pub name: Option<String>,
    /// Its page.
    pub url: Option<String>,
    /// Which attempt of the job this tells of: 1, unless GitLab says otherwise.
    pub attempt: u32,
    /// When it started, RFC 3339.
    pub started_at: Option<String>,
    /// When it ended, RFC 3339.
    pub finished_at: Option<String>,
    /// Seconds between the two.
    pub duration: Option<u64>,
    /// Seconds that it waited for a runner.
    pub queued: Option<u64>,
    /// Who started it.
    pub started_by: Option<String>,
}

impl Default for DeployJob {
    fn default() -> Self {
        Self {
            name: None,
            url: None,
            attempt: 1,
            started_at: None,
            finished_at: None,
            duration: None,
            queued: None,
            started_by: None,
        }
    }
}

impl DeployJob {
    /// What it is in the event's JSON form, by the names of the fields there.
    pub fn fields(&self) -> [(&'static str, Value); 8] {
        [
            ("started_at", json!(self.started_at)),
            ("finished_at", json!(self.finished_at)),
            ("duration", json!(self.duration)),
            ("queued", json!(self.queued)),
            ("job", json!(self.name)),
            ("job_url", json!(self.url)),
            ("started_by", json!(self.started_by)),
            ("attempt", json!(self.attempt)),
        ]
    }
}

impl Event {
    /// What became of it.
    ///
    /// # Errors
    /// `EVENT_ACTION` is `auto`, and nothing tells the outcome; or nothing happened that could be told.
    pub fn action(&self) -> Result<&Action, Unmade> {
        self.action.as_ref().map_err(Clone::clone)
    }

    /// The action's word, if it is known.
    pub fn known_action(&self) -> Option<&str> {
        self.action.as_ref().ok().map(Action::word)
    }

    /// Whether somebody set the action, rather than that it was found out.
    pub fn action_is_given(&self) -> bool {
        self.action_source == ActionSource::Variable
    }

    /// Whether the deployment has ended with it.
    pub fn is_final(&self) -> bool {
        self.action.as_ref().is_ok_and(Action::is_final)
    }

    /// When the deployment was made, as far as an event of `action` may say so: the report of the start is that moment; an
    /// end knows it where the deploy job's start is known, and there it may be the only one that tells.
    pub fn created_at(&self, action: &Action) -> Option<&String> {
        match action {
            Action::Started => Some(&self.time),
            _ => self.job.started_at.as_ref().filter(|_| action.ends_run()),
        }
    }

    /// When the run ended that an event of `action` tells the end of: the deploy job's own end where it is known.
    pub fn ended_at(&self, action: &Action) -> Option<&String> {
        action
            .ends_run()
            .then(|| self.job.finished_at.as_ref().unwrap_or(&self.time))
    }

    /// What tells two events of the same id and action apart that are about two runs of the deploy job: a second
    /// failure is as much news as the first was.
    pub fn deploy_run(&self) -> DeployRun {
        DeployRun {
            attempt: self.job.attempt,
            started_at: self.job.started_at.clone(),
            // Of a pipeline that goes on, it is whichever job is not done yet.
            job_url: self.job.url.clone().filter(|_| self.is_final()),
        }
    }

    /// The id under which everything about this deployment is reported.
    ///
    /// # Errors
    /// Outside GitLab there is nothing to make one from.
    pub fn id(&self) -> Result<&str, Problem> {
        self.id.as_deref().ok_or_else(|| {
            Problem::new(
                "EVENT_ID",
                "is not set, and without CI_PROJECT_PATH_SLUG (or CI_PROJECT_PATH) and CI_PIPELINE_ID there is nothing \
                 to make one from; set it",
            )
        })
    }

    /// The id under which a receiver knows this one report again: equal for every attempt, replay and re-run of it, another
    /// one for another event, name or action, and for the next run of the deploy job. Letters, digits, `-` and `_` alone,
    /// so that it fits a header and what is put together by dots (docs/vendors/webhook.md 2).
    ///
    /// # Errors
    /// The event has no id, or it is not known what happened.
    pub fn delivery_id(&self) -> Result<String, Unmade> {
        let (id, action) = (self.id()?, self.action()?);
        let fits = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_');
        let readable: String = format!("{id}-{}-{action}", self.name)
            .chars()
            .map(|character| if fits(character) { character } else { '-' })
            .take(READABLE)
            .collect();
        // What was lost on the way, and the run of the job, is in here.
        let whole = json!([id, self.name, action.word(), self.deploy_run()]).to_string();
        let hash = digest::digest(&digest::SHA256, whole.as_bytes());
        let hash: String = hash.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(format!("{readable}-{hash}"))
    }

    /// The title for people; the id where there is none.
    ///
    /// # Errors
    /// Neither a title nor an id can be had.
    pub fn title(&self) -> Result<&str, Problem> {
        self.title.as_deref().map_or_else(|| self.id(), Ok)
    }

    /// The event's JSON form, as `schema/event.json` describes it.
    pub fn to_json(&self) -> Value {
        let mut json = json!({
            "schema_version": SCHEMA_VERSION,
            "name": self.name,
            "action": self.known_action(),
            "action_source": self.action_source.to_string(),
            "service": self.service,
            "id": self.id,
            "title": self.title,
            "repo": self.repo,
            "branch": self.branch,
            "commit": self.commit,
            "environment": self.environment,
            "image": self.image,
            "version": self.version,
            "url": self.url,
            "user": self.user,
            "time": self.time,
        });
        for (field, value) in self.job.fields() {
            json[field] = value;
        }
        json["properties"] = Value::Object(self.properties.clone());
        json
    }

    /// The event of which `json` is the form that [`Event::to_json`] gave: for a replay, with its original times.
    ///
    /// # Errors
    /// What is missing, or of another version of the form.
    pub fn from_json(json: &Value) -> Result<Self, String> {
        if json["schema_version"] != SCHEMA_VERSION {
            return Err(format!(
                "its event has schema_version {}, not {SCHEMA_VERSION}",
                json["schema_version"]
            ));
        }
        let text = |field: &str| json[field].as_str().map(str::to_owned);
        let needed = |field: &str| text(field).ok_or_else(|| format!("its event has no {field}"));
        let attempt = json["attempt"].as_u64().and_then(|attempt| attempt.try_into().ok());
        Ok(Self {
            name: needed("name")?,
            action: text("action").map(|word| Action::from_word(&word)).ok_or_else(|| {
                let message = format!(
                    "was not known when the event was kept; set it to one of {}",
                    Action::WORDS.join(", ")
                );
                Problem::new("EVENT_ACTION", message).into()
            }),
            action_word: text("action"),
            action_source: ActionSource::from_text(&needed("action_source")?),
            service: text("service"),
            id: text("id"),
            title: text("title"),
            repo: text("repo"),
            branch: text("branch"),
            commit: text("commit"),
            environment: text("environment"),
            image: text("image"),
            version: text("version"),
            url: text("url"),
            user: text("user"),
            properties: json["properties"].as_object().cloned().unwrap_or_default(),
            time: needed("time")?,
            job: DeployJob {
                name: text("job"),
                url: text("job_url"),
                attempt: attempt.unwrap_or(1),
                started_at: text("started_at"),
                finished_at: text("finished_at"),
                duration: json["duration"].as_u64(),
                queued: json["queued"].as_u64(),
                started_by: text("started_by"),
            },
        })
    }

    /// This event with the action that `word` means, if none is known: what could not be found out then is set now.
    pub fn or_action(mut self, word: &str) -> Self {
        if self.action.is_err() {
            self.action = Ok(Action::from_word(word));
            self.action_word = Some(word.to_owned());
            self.action_source = ActionSource::Variable;
        }
        self
    }

    /// The event in one line, for the report.
    pub fn summary(&self) -> String {
        let id = self.id.as_deref().unwrap_or("without id");
        match &self.action {
            Ok(action) => format!("{} {action}, {id} (action {})", self.name, self.action_source),
            // Reads, releases and the like need none.
            Err(_) => format!("{} {id}", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_survives_being_kept() {
        let json = json!({
            "schema_version": 1, "name": "deployment", "action": "failure",
            "action_source": "from GitLab's jobs: job `deploy` failed", "service": "shop", "id": "shop-1", "title": null, "repo": null,
            "branch": null, "commit": null, "environment": "production", "image": null, "version": null, "url": null,
            "user": "dana", "time": "2025-03-01T10:00:00Z", "started_at": null, "finished_at": null, "duration": 450,
            "queued": null, "job": "deploy", "job_url": null, "started_by": null, "attempt": 2,
            "properties": {"price": 1.50},
        });
        let event = Event::from_json(&json).unwrap();
        assert_eq!(
            event.action_source,
            ActionSource::Jobs("job `deploy` failed".to_owned())
        );
        assert_eq!(event.to_json(), json);
    }

    #[test]
    fn a_report_has_one_id_and_every_other_report_another() {
        let of = |more: Value| {
            let mut json = json!({
                "schema_version": 1, "name": "deployment", "action": "success", "action_source": "unknown",
                "id": "shop-1-v1.2", "time": "2025-03-01T10:00:00Z", "started_at": "2025-03-01T09:00:00Z",
                "job_url": "https://gitlab.example.com/-/jobs/1", "attempt": 1,
            });
            for (key, value) in more.as_object().unwrap() {
                json[key] = value.clone();
            }
            Event::from_json(&json).unwrap().delivery_id().unwrap()
        };
        let id = of(json!({}));
        assert!(id.starts_with("shop-1-v1-2-deployment-success-"), "{id}");
        let same = [
            json!({"time": "2025-03-01T11:00:00Z"}),
            json!({"action": "succeeded", "action_source": "from EVENT_ACTION"}),
            json!({"title": "Another"}),
        ];
        for more in same {
            assert_eq!(of(more.clone()), id, "{more}");
        }
        let others = [
            json!({"id": "shop-1-v1-2"}),
            json!({"id": "shop-1", "name": "v1.2-deployment"}),
            json!({"action": "failure"}),
            json!({"attempt": 2}),
            json!({"started_at": "2025-03-01T09:30:00Z"}),
            json!({"job_url": "https://gitlab.example.com/-/jobs/2"}),
        ];
        let mut ids = vec![id];
        ids.extend(others.into_iter().map(of));
        assert_eq!(
            ids.iter().collect::<std::collections::BTreeSet<_>>().len(),
            7,
            "{ids:?}"
        );
        let ugly = of(json!({"id": "ü\n\"$.é 🚀".repeat(100)}));
        assert!(
            ugly.len() < 200 && ugly.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'),
            "{ugly}"
        );
    }

    #[test]
    fn sources_are_read_as_they_are_written() {
        for source in [
            ActionSource::Variable,
            ActionSource::JobStatus,
            ActionSource::Jobs("job `deploy` succeeded".to_owned()),
            ActionSource::Fallback("success, since GitLab did not tell".to_owned()),
            ActionSource::Unknown,
        ] {
            assert_eq!(ActionSource::from_text(&source.to_string()), source);
        }
    }

    #[test]
    fn the_published_schema_names_every_field() {
        let schema: Value = serde_json::from_str(include_str!("../schema/event.json")).unwrap();
        let minimal = json!({"schema_version": 1, "name": "n", "action_source": "unknown", "time": "t"});
        let event = Event::from_json(&minimal).unwrap().to_json();
        let fields: Vec<&String> = event.as_object().unwrap().keys().collect();
        for field in &fields {
            assert!(schema["properties"][field.as_str()].is_object(), "{field}");
        }
        assert_eq!(schema["properties"].as_object().unwrap().len(), fields.len());
        assert_eq!(schema["required"].as_array().unwrap().len(), fields.len());
        assert_eq!(schema["properties"]["schema_version"]["const"], SCHEMA_VERSION);
    }
}
