//! CDEvents 0.5.1, to whatever takes CloudEvents over HTTP: a broker of Knative's or Argo's, a portal. Facts:
//! docs/vendors/cdevents.md.

use serde_json::{Value, json};

use super::{
    Context, Destination, HiddenJob, Operation, Repetition,
    cloudevent::{self, CloudEvent},
};
use crate::{
    choice,
    delivery::{
        plan::{Plan, Step, Verdict},
        request::{Method, Request},
    },
    event::Event,
    problem::{Problem, Unmade},
    secret::Secret,
    variables,
    variables::{BaseUrl, Group as _},
};

#[cfg(test)]
mod tests;
mod values;
mod vocabulary;

use values::{Purl, Source, TypeName};
use vocabulary::Type;

variables! {
    /// What `cdevents` reads.
    pub struct Settings, "CDEvents 0.5.1, and its binding to CloudEvents" {
        /// Where events are sent: a broker, or anything else that takes CloudEvents over HTTP.
        url: BaseUrl = "CDEVENTS_URL", required;
        /// A token, sent as `Authorization: Bearer`.
        token: Option<Secret> = "CDEVENTS_TOKEN", optional;
        /// The type of event, as in `pipelinerun.finished` or `dev.cdevents.pipelinerun.finished.0.3.0`, whatever happened.
        kind: Option<TypeName> = "CDEVENTS_TYPE", derived "what happened";
        /// How events are sent: `structured` is all of it as one JSON, `binary` its envelope as headers.
        mode: Mode = "CDEVENTS_MODE", default "structured";
        /// What is deployed, as a package URL: `pkg:generic/acme/shop@1.4.2`. Events about a service want it, and only with it is a success one of these.
        artifact_id: Option<Purl> = "CDEVENTS_ARTIFACT_ID", optional;
        /// Where events come from, as a URI-reference; together with their ids it tells them apart.
        source: Option<Source> = "CDEVENTS_SOURCE", derived "the project's URL";
    }
}

choice! {
    /// How an event is put into a request (docs/vendors/cdevents.md 2).
    pub enum Mode {
        /// All of it is the body.
        Structured = "structured",
        /// What it says is the body, the rest are headers.
        Binary = "binary",
    }
}

/// CDEvents.
pub const DESTINATION: Destination = Destination {
    name: "cdevents",
    title: "CDEvents",
    operations: &[Operation::new("event", "sends the event as a CDEvent, in a CloudEvent")
        .repeated(Repetition::Deduplicated)
        .reports_action()
        .carries_properties()],
    variables: &[Settings::VARIABLES],
    // Other tools have variables of these names: it is sent only where it is named.
    credentials: &[],
    hidden_jobs: &[HiddenJob::new("cdevents-notify", "cdevents", "Sends a CDEvent.")],
    plan,
    check,
    register: None,
};

/// The version of the specification that is followed.
const SPECIFICATION: &str = "0.5.1";

/// A receiver of events has nothing to read, and every POST is an event: that anything answers is all that can be seen.
fn check(context: &Context) -> Result<Plan, Unmade> {
    let settings: Settings = context.values.read()?;
    let request = Request::new(Method::Get, settings.url.whole());
    let step = Step::new("check", request, |reply, _| match reply.status {
        408 | 425 | 429 | 500.. => Verdict::ByStatus,
        _ => Verdict::noted("it answers; whether it takes events can't be tried without sending one"),
    });
    Ok(Plan::new(None, vec![step]))
}

fn plan(context: &Context) -> Result<Plan, Unmade> {
    let settings: Settings = context.values.read()?;
    let event = context.event;
    let action = event.action()?;
    let of_action = Type::of(action, settings.artifact_id.is_some());
    let given = settings.kind.map(|TypeName(kind)| kind);
    let Some(kind) = given.or(of_action) else {
        return Ok(Plan::skip(format!(
            "CDEvents has no type for the action `{action}`; CDEVENTS_TYPE can name one"
        )));
    };
    let id = event.delivery_id()?;
    // Another event of the same report: a receiver would take it for a repetition (docs/vendors/cdevents.md 1).
    let id = if Some(kind) == of_action {
        id
    } else {
        format!("{id}-{}", kind.in_id())
    };
    let subject = kind.subject(event, cloudevent::subject(event));
    let about = subject.as_deref().unwrap_or_default();
    let artifact = settings.artifact_id.as_ref().map(|artifact| artifact.0.as_str());
    let said = kind.content(event, about, artifact);
    let (subject, said) = match (subject, said) {
        (Ok(subject), Ok(said)) => (subject, said),
        (subject, said) => {
            let problems = subject.err().into_iter().chain(said.err().into_iter().flatten());
            return Err(Unmade::Wrong(problems.collect::<Vec<Problem>>()));
        }
    };
    let mut envelope = CloudEvent {
        id,
        source: settings
            .source
            .map_or_else(|| cloudevent::source(event), |source| source.0),
        kind: kind.name(),
        subject: Some(subject),
        time: event.time.clone(),
        data: Value::Null,
    };
    envelope.data = cdevent(&envelope, &said, event);
    let request = Request::new(Method::Post, settings.url.whole());
    let request = match &settings.token {
        Some(token) => request.bearer(token),
        None => request,
    };
    let request = match settings.mode {
        Mode::Structured => envelope.structured(request),
        Mode::Binary => envelope.binary(request),
    };
    let step = Step::new("event", request, |reply, _| match reply.expect_no_page() {
        Ok(()) => Verdict::delivered(),
        Err(unexpected) => unexpected.into(),
    });
    Ok(Plan::new(Some(envelope.id), vec![step]))
}

/// The CDEvent itself. Its context says what its envelope says.
fn cdevent(envelope: &CloudEvent, said: &Value, event: &Event) -> Value {
    let mut cdevent = json!({
        "context": {
            "specversion": SPECIFICATION,
            "id": envelope.id,
            "source": envelope.source,
            "type": envelope.kind,
            "timestamp": envelope.time,
        },
        "subject": { "id": envelope.subject, "content": said },
    });
    if !event.properties.is_empty() {
        cdevent["customData"] = event.properties.clone().into();
        cdevent["customDataContentType"] = "application/json".into();
    }
    cdevent
}
