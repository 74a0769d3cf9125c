//! The receipt: how each delivery of a job ended. Written and read by this code alone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    delivery::result::{DeliveryResult, Tally},
    destinations::{self, Target},
    event::{DeployRun, Event, SCHEMA_VERSION},
    redaction::Redactor,
    report::class::Class,
    text::one_line,
    variables::Values,
};

/// GitLab reads this many variables from a dotenv report (docs/gitlab.md 3.7).
const DOTENV_VARIABLES: usize = 20;
/// And this many bytes.
const DOTENV_BYTES: usize = 5 * 1024;

/// What every file names that a job leaves: where it comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_field_names, reason = "they are named as the files' keys are")]
pub struct Origin {
    /// The project's id, in GitLab.
    pub project_id: Option<String>,
    /// The pipeline's id.
    pub pipeline_id: Option<String>,
    /// The job's id.
    pub job_id: Option<String>,
}

impl Origin {
    /// Whether what is of `other` is of this one's pipeline. Outside of GitLab there is none, and everything is.
    pub fn has_pipeline_of(&self, other: &Self) -> bool {
        self.pipeline_id.is_none() || (self.pipeline_id == other.pipeline_id && self.project_id == other.project_id)
    }

    /// Whether this is a job, and `other` is the same one.
    pub fn is_job(&self, other: &Self) -> bool {
        self.job_id.is_some() && self == other
    }
}

/// `receipt.json`. What is missing in a file is as nothing was there: an older version may have written it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Receipt {
    /// The version of the event's form.
    pub schema_version: u32,
    /// The version of the program.
    pub notify_event: String,
    /// The job that it is of.
    #[serde(flatten)]
    pub origin: Origin,
    /// How the run ended; none as long as it has not, and for ever where it was killed.
    pub exit_code: Option<u8>,
    /// What it was about; none where several events were delivered.
    pub event: Option<Value>,
    /// How each delivery of the last run ended.
    pub destinations: Vec<Entry>,
    /// How each delivery of the same job's runs before it ended: a job may report more than one event.
    pub earlier: Vec<Entry>,
    /// The files beside this one that the program has made.
    pub files: Vec<String>,
    /// What is kept for a replay, as files beside this one.
    pub undelivered: Vec<String>,
}

/// How one delivery ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "they are the file's keys, each of its own")]
pub struct Entry {
    /// The service.
    pub destination: String,
    /// What it was to do.
    pub operation: String,
    /// Whether a failure was not to change the exit code.
    #[serde(default)]
    pub optional: bool,
    /// Result class.
    #[serde(with = "class_word")]
    pub class: Class,
    /// Why, or what else there is to say.
    #[serde(default)]
    pub detail: Option<String>,
    /// What the service knows it by.
    #[serde(default)]
    pub identifier: Option<String>,
    /// The blueprint of the entity that it was about, where it was about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blueprint: Option<String>,
    /// HTTP status of the last reply.
    #[serde(default)]
    pub status: Option<u16>,
    /// Whether the service has accepted it, and only its end is not known.
    #[serde(default)]
    pub accepted: bool,
    /// Whether it may have been processed although it failed.
    #[serde(default)]
    pub ambiguous: bool,
    /// Whether it was being sent when this was written. If it still says so, the run was killed meanwhile.
    #[serde(default)]
    pub under_way: bool,
    /// Whether it may have counted, by this attempt or by one before, and so was not sent again.
    #[serde(default)]
    pub in_doubt: bool,
    /// What became of the entities of a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entities: Option<Tally>,
    /// Attempts at the request that decided.
    #[serde(default)]
    pub attempts: u32,
    /// Time from the first attempt to the end.
    #[serde(default)]
    pub milliseconds: u64,
    /// What the service calls the last request.
    #[serde(default)]
    pub request_id: Option<String>,
    /// The event's name.
    #[serde(default)]
    pub event_name: Option<String>,
    /// The event's id.
    #[serde(default)]
    pub event_id: Option<String>,
    /// The event's action.
    #[serde(default)]
    pub action: Option<String>,
    /// Which run of the deploy job it told of.
    #[serde(default)]
    pub deploy_run: Option<DeployRun>,
    /// Which receiver, where its destination may lead anywhere, see [`Target::receiver`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receiver: Option<String>,
    /// Variables of which nothing is left to do, although the rest failed.
    #[serde(default)]
    pub completed: Vec<String>,
}

/// Classes by their words.
mod class_word {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    use crate::report::class::Class;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
    pub fn serialize<S: Serializer>(class: &Class, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(class.word())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Class, D::Error> {
        let word = String::deserialize(deserializer)?;
        let class = Class::ALL.iter().find(|class| class.word() == word);
        class
            .copied()
            .ok_or_else(|| D::Error::custom("it has a class that is none"))
    }
}

impl Entry {
    /// Its JSON form, with secrets hidden.
    pub fn to_json(&self, redactor: &Redactor) -> Value {
        redactor.record(&serde_json::to_value(self).unwrap_or_default())
    }

    /// How the delivery of `event` to `target`, by its `values`, ended.
    pub fn new(target: &Target, event: Option<&Event>, values: &Values, result: &DeliveryResult) -> Self {
        Self {
            destination: target.destination.name.to_owned(),
            operation: target.operation.name.to_owned(),
            optional: target.is_optional,
            class: result.class,
            detail: result.detail.clone(),
            identifier: result.identifier.clone(),
            blueprint: target.blueprint(values),
            status: result.status,
            accepted: result.is_accepted,
            ambiguous: result.is_ambiguous,
            under_way: false,
            in_doubt: result.is_in_doubt(target.counts(values)),
            entities: result.entities,
            attempts: result.attempts,
            milliseconds: u64::try_from(result.elapsed.as_millis()).unwrap_or(u64::MAX),
            request_id: result.request_id.clone(),
            event_name: event.map(|event| event.name.clone()),
            event_id: event.and_then(|event| event.id.clone()),
            action: event.and_then(|event| event.known_action().map(str::to_owned)),
            deploy_run: event.map(Event::deploy_run),
            receiver: target.receiver(values),
            completed: result.completed.iter().map(|&name| name.to_owned()).collect(),
        }
    }

    /// Whether it says under which identifier an entity of an event was written, or was to be.
    pub fn names_entity(&self) -> bool {
        let target = Target::parse(&format!("{}:{}", self.destination, self.operation));
        let writes = target.is_ok_and(|target| target.operation.writes_entity());
        writes && self.identifier.is_some() && self.event_id.is_some()
    }

    /// Whether this tells of the same event, the same operation and the same receiver as `other`.
    pub fn is_about(&self, other: &Self) -> bool {
        self.destination == other.destination
            && self.operation == other.operation
            && self.event_id == other.event_id
            && self.event_name == other.event_name
            && self.action == other.action
            && self.receiver == other.receiver
    }
}

impl Receipt {
    /// The receipt of a run that begins. `before` is what earlier runs of the same job left, if there were any.
    pub fn begun(origin: Origin, before: Option<Self>) -> Self {
        let before = before.unwrap_or_default();
        let mut earlier = before.earlier;
        earlier.extend(before.destinations);
        Self {
            schema_version: SCHEMA_VERSION,
            notify_event: env!("CARGO_PKG_VERSION").to_owned(),
            origin,
            exit_code: None,
            event: None,
            destinations: Vec::new(),
            earlier,
            files: before.files,
            undelivered: before.undelivered,
        }
    }

    /// This without the deliveries that have not ended, of which there is no result to tell.
    pub fn of_what_ended(&self) -> Self {
        let mut ended = self.clone();
        ended.earlier.retain(|entry| !entry.under_way);
        ended.destinations.retain(|entry| !entry.under_way);
        ended
    }

    /// The receipt that `json` is, if it is one.
    pub fn from_json(json: &Value) -> Option<Self> {
        Self::deserialize(json).ok()
    }

    /// Its JSON form, with secrets hidden.
    pub fn to_json(&self, redactor: &Redactor) -> Value {
        // Nothing in it can't be written as JSON.
        redactor.record(&serde_json::to_value(self).unwrap_or_default())
    }

    /// The same with `destinations` in place of its own, of which the secrets are hidden already: a run writes its receipt
    /// as each of its deliveries ends, and a replay may have hundreds.
    pub fn to_json_with(&self, destinations: Vec<Value>, redactor: &Redactor) -> Value {
        let rest = Self {
            destinations: Vec::new(),
            ..self.clone()
        };
        let mut json = rest.to_json(redactor);
        json["destinations"] = destinations.into();
        json
    }

    /// How every delivery of the job ended, those of its runs before the last one first.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.earlier.iter().chain(&self.destinations)
    }

    /// Whether it says that the event of this `id` was told to have begun.
    pub fn tells_start(&self, id: &str) -> bool {
        self.entries().any(|entry| {
            let is_start = matches!(entry.action.as_deref(), Some("started" | "progressing"));
            is_start && entry.event_id.as_deref() == Some(id) && (entry.class == Class::Sent || entry.accepted)
        })
    }

    /// The results as variables that GitLab hands to later jobs: one line each, no quotes, within its limits. `event`
    /// is what the run was about. A value that carries a trace of a secret is left out, and so is one that GitLab would
    /// expand in those jobs.
    pub fn dotenv(&self, event: Option<&Event>, redactor: &Redactor) -> String {
        let mut pairs: BTreeMap<String, String> = BTreeMap::new();
        let mut add = |name: String, value: Option<&str>| {
            let is_fit = |value: &&str| !value.is_empty() && !is_expanded(value) && !redactor.is_traced(value);
            if let Some(value) = value.filter(is_fit) {
                // GitLab keeps quotes as they are and knows no line breaks.
                pairs.insert(name, one_line(value));
            }
        };
        if let Some(event) = event {
            add(OF_EVENT[0].to_owned(), event.id.as_deref());
            add(OF_EVENT[1].to_owned(), event.known_action());
        }
        // Of the same destination and operation the last one counts.
        for entry in self.entries() {
            let label = format!("{}:{}", entry.destination, entry.operation);
            if let Ok(target) = Target::parse(&label) {
                add(variable(&target, OF_TARGET[0]), Some(entry.class.word()));
                add(variable(&target, OF_TARGET[1]), entry.identifier.as_deref());
            }
        }
        let mut text = String::new();
        for (name, value) in pairs.into_iter().take(DOTENV_VARIABLES) {
            let line = format!("{name}={value}\n");
            if text.len() + line.len() <= DOTENV_BYTES {
                text.push_str(&line);
            }
        }
        text
    }
}

/// What later jobs are told of the event: its id and its action.
const OF_EVENT: [&str; 2] = ["NOTIFY_EVENT_ID", "NOTIFY_EVENT_ACTION"];
/// What they are told of each target: its result class, and what the service knows it by.
const OF_TARGET: [&str; 2] = ["RESULT", "ID"];

/// The names of all variables that a receipt may hand to later jobs.
pub fn names() -> impl Iterator<Item = String> {
    let targets = destinations::ALL.iter().flat_map(|destination| destination.targets());
    let of_targets = targets.flat_map(|target| OF_TARGET.map(|what| variable(&target, what)));
    OF_EVENT.map(str::to_owned).into_iter().chain(of_targets)
}

/// Whether GitLab would take it for something to expand: `$X`, `${X}` or `%X%` (docs/gitlab.md 2.3). The runner expands
/// every other `$`.
fn is_expanded(value: &str) -> bool {
    let mut between = value.split('%').skip(1).peekable();
    let is_name =
        |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let mut names = std::iter::from_fn(|| between.next().filter(|_| between.peek().is_some()));
    value.contains('$') || names.any(is_name)
}

/// `NOTIFY_RELY_ID`, or `NOTIFY_AVIATOR_RELEASE_ID` for an operation that is not the default.
fn variable(target: &Target, what: &str) -> String {
    format!(
        "NOTIFY_{}_{what}",
        target.label().to_uppercase().replace([':', '-'], "_")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry() -> Entry {
        let json = json!({"destination": "cto", "operation": "event", "class": "sent"});
        Entry::deserialize(&json).unwrap()
    }

    #[test]
    fn a_receipt_is_read_as_it_is_written() {
        let mut entry = entry();
        entry.ambiguous = true;
        entry.completed = vec!["PORT_RUN_LOG".to_owned()];
        entry.deploy_run = Some(DeployRun {
            attempt: 2,
            ..DeployRun::default()
        });
        let origin = Origin {
            job_id: Some("991".to_owned()),
            ..Origin::default()
        };
        let mut receipt = Receipt::begun(origin.clone(), None);
        assert_eq!(receipt.to_json(&Redactor::default())["exit_code"], Value::Null);
        receipt.exit_code = Some(75);
        receipt.destinations = vec![entry.clone()];
        receipt.earlier = vec![entry];
        let json = receipt.to_json(&Redactor::default());
        assert_eq!(json["job_id"], "991");
        let redactor = Redactor::default();
        let destinations = receipt
            .destinations
            .iter()
            .map(|entry| entry.to_json(&redactor))
            .collect();
        assert_eq!(receipt.to_json_with(destinations, &redactor), json);
        assert_eq!(Receipt::from_json(&json), Some(receipt.clone()));
        let next = Receipt::begun(origin, Some(receipt));
        assert_eq!(
            (next.exit_code, next.earlier.len(), next.destinations.len()),
            (None, 2, 0)
        );
    }

    #[test]
    fn what_was_under_way_has_no_result_and_is_in_doubt_for_every_reader() {
        let mut receipt = Receipt::begun(Origin::default(), None);
        receipt.destinations = vec![Entry {
            under_way: true,
            ambiguous: true,
            class: Class::Unavailable,
            ..entry()
        }];
        assert_eq!(receipt.of_what_ended().dotenv(None, &Redactor::default()), "");
        let json = receipt.to_json(&Redactor::default());
        assert_eq!(
            (&json["destinations"][0]["class"], &json["destinations"][0]["ambiguous"]),
            (&json!("unavailable"), &json!(true)),
            "a version that knows no such mark doubts it too"
        );
    }

    #[test]
    fn a_file_is_of_a_pipeline_by_its_project_and_pipeline() {
        let origin = |project: &str, pipeline: &str, job: &str| Origin {
            project_id: Some(project.to_owned()),
            pipeline_id: Some(pipeline.to_owned()),
            job_id: Some(job.to_owned()),
        };
        let ours = origin("42", "8812", "991");
        assert!(ours.has_pipeline_of(&origin("42", "8812", "5")));
        assert!(!ours.is_job(&origin("42", "8812", "5")));
        assert!(ours.is_job(&ours.clone()));
        for other in [
            origin("43", "8812", "991"),
            origin("42", "9001", "991"),
            Origin::default(),
        ] {
            assert!(!ours.has_pipeline_of(&other), "{other:?}");
            assert!(!ours.is_job(&other), "{other:?}");
            assert!(
                Origin::default().has_pipeline_of(&other),
                "outside of GitLab: {other:?}"
            );
        }
        assert!(!Origin::default().is_job(&Origin::default()));
    }

    #[test]
    fn what_later_jobs_are_handed_is_cleaned_value_by_value() {
        let redactor = Redactor::default();
        redactor.hide("NOTIFY_CTO_RESULT", "RELY_API_TOKEN");
        redactor.hide("s3cret-token-value", "RELY_API_TOKEN");
        let dotenv = |identifier: &str| {
            let mut entry = entry();
            entry.identifier = Some(identifier.to_owned());
            let receipt = Receipt {
                destinations: vec![entry],
                ..Receipt::default()
            };
            receipt.dotenv(None, &redactor)
        };
        assert_eq!(dotenv("shop-8812"), "NOTIFY_CTO_ID=shop-8812\nNOTIFY_CTO_RESULT=sent\n");
        for unfit in [
            "x-s3cret%2Dtoken-value",
            "a$CI_JOB_TOKEN",
            "${HOME}",
            "%CI_JOB_TOKEN%",
            "5% of%HOME%x",
            "a$",
            "",
        ] {
            assert_eq!(dotenv(unfit), "NOTIFY_CTO_RESULT=sent\n", "{unfit}");
        }
        assert_eq!(dotenv("100% or 5 %").lines().next(), Some("NOTIFY_CTO_ID=100% or 5 %"));
        assert_eq!(
            dotenv("a\nNOTIFY_RELY_RESULT=sent\u{1b}"),
            "NOTIFY_CTO_ID=a NOTIFY_RELY_RESULT=sent\\u{1b}\nNOTIFY_CTO_RESULT=sent\n"
        );
    }

    #[test]
    fn what_is_no_receipt_is_none() {
        for json in [
            json!(null),
            json!([]),
            json!({"destinations": [{"destination": "cto", "operation": "event", "class": "fine"}]}),
            json!({"destinations": {}}),
        ] {
            assert_eq!(Receipt::from_json(&json), None, "{json}");
        }
        assert_eq!(Receipt::from_json(&json!({})), Some(Receipt::default()));
    }
}
