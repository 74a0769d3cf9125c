//! A broker that takes CDEvents in CloudEvents, as docs/vendors/cdevents.md describes them. What is sent is read by the
//! specifications' own kits; what those let through is refused here.
//!
//! State: `{"events": [{"attributes": {"id": …}, "cdevent": …}]}`, oldest first; one that is known by its source and id is
//! taken and not kept again.

use cdevents_sdk::CDEvent;
use cloudevents::AttributesReader;
use cloudevents::binding::http::to_event;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use crate::clock::parse_time;
use crate::json::merge;
use crate::options::Options;
use crate::stand_in::{CredentialsIn, Declaration, StandIn, Variable};
use crate::wire::{Reply, Request, percent_decode};

pub(super) const DECLARATION: Declaration = Declaration {
    name: "cdevents",
    title: "CDEvents",
    address: ("CDEVENTS_URL", BROKER),
    variables: &[Variable::secret("CDEVENTS_TOKEN", |known| &known.cdevents_token)],
    credentials_in: CredentialsIn::STANDARD_HEADERS,
    fixed_state: &[],
    reported_state: "/events",
    start: |options| Box::new(Broker::new(options)),
};

/// Where Knative's ingress has a broker: its namespace and its name.
const BROKER: &str = "/acme/default";

struct Broker {
    token: String,
    events: Vec<Value>,
}

/// A refusal: brokers differ in what they say (docs/vendors/cdevents.md 5), so this is the sandbox's choice.
struct Refusal(u16, String);

impl Refusal {
    fn new(status: u16, message: impl Into<String>) -> Self {
        Self(status, message.into())
    }

    fn invalid(message: impl std::fmt::Display) -> Self {
        Self::new(400, format!("invalid event: {message}"))
    }

    fn reply(self) -> Reply {
        Reply::json(self.0, &json!({"error": self.1}))
    }
}

impl Broker {
    fn new(options: &Options) -> Self {
        Self {
            token: options.credentials.cdevents_token.clone(),
            events: Vec::new(),
        }
    }

    fn route(&mut self, request: &Request) -> Result<Reply, Refusal> {
        if request.path != BROKER {
            return Err(Refusal::new(404, "there is no such broker"));
        }
        if request.method != "POST" {
            return Err(Refusal::new(405, "events are posted"));
        }
        if request.bearer() != Some(&self.token) {
            return Err(Refusal::new(401, "unauthorized"));
        }
        let event = read(request)?;
        let key = |event: &Value| (event["attributes"]["source"].clone(), event["attributes"]["id"].clone());
        if !self.events.iter().any(|known| key(known) == key(&event)) {
            self.events.push(event);
        }
        Ok(Reply::empty(202))
    }
}

/// The event in a request, in either mode.
fn read(request: &Request) -> Result<Value, Refusal> {
    let kind = request.header("content-type").unwrap_or_default();
    let is_binary = request.header("ce-specversion").is_some();
    let wanted = if is_binary {
        "application/json"
    } else {
        "application/cloudevents+json"
    };
    if kind.split(';').next().map(str::trim) != Some(wanted) {
        return Err(Refusal::new(415, format!("{wanted} is wanted, not {kind:?}")));
    }
    let mut headers = HeaderMap::new();
    for (name, value) in &request.headers {
        if name.starts_with("ce-") && !value.bytes().all(is_plain) {
            return Err(Refusal::invalid(format!("{name} is not percent-encoded: {value:?}")));
        }
        let name = HeaderName::try_from(name).map_err(Refusal::invalid)?;
        headers.append(name, HeaderValue::try_from(value).map_err(Refusal::invalid)?);
    }
    let event = to_event(&headers, request.body.clone()).map_err(Refusal::invalid)?;
    // The kit takes headers as they are, where the binding has them decoded (docs/vendors/cdevents.md 2).
    let text = |value: &str| {
        let decoded = if is_binary {
            percent_decode(value)
        } else {
            Some(value.to_owned())
        };
        decoded.ok_or_else(|| Refusal::invalid(format!("{value:?} can't be decoded")))
    };
    let body = request.json().map_err(Refusal::invalid)?;
    let time = if is_binary {
        request.header("ce-time")
    } else {
        body["time"].as_str()
    };
    let attributes = json!({
        "id": text(event.id())?,
        "source": text(event.source())?,
        "type": text(event.ty())?,
        "subject": text(event.subject().unwrap_or_default())?,
        "time": time,
    });
    let cdevent = if is_binary { body } else { body["data"].clone() };
    CDEvent::try_from(event).map_err(Refusal::invalid)?;
    check(&attributes, &cdevent)?;
    Ok(json!({"attributes": attributes, "cdevent": cdevent}))
}

/// What a header's value may hold as it is; a percent sign begins an escape.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'"'
}

/// What the kit leaves to the reader: that envelope and event say the same, the version, and words and identifiers that
/// are only text to it (docs/vendors/cdevents.md 1, 3).
fn check(attributes: &Value, cdevent: &Value) -> Result<(), Refusal> {
    let (context, subject) = (&cdevent["context"], &cdevent["subject"]);
    for (attribute, said) in [
        ("id", &context["id"]),
        ("source", &context["source"]),
        ("type", &context["type"]),
        ("subject", &subject["id"]),
    ] {
        if &attributes[attribute] != said {
            return Err(Refusal::invalid(format!(
                "{attribute} is {}, and {said}",
                attributes[attribute]
            )));
        }
    }
    let time = |value: &Value| value.as_str().and_then(parse_time);
    if time(&attributes["time"]).is_none() || time(&attributes["time"]) != time(&context["timestamp"]) {
        return Err(Refusal::invalid("time is not the timestamp"));
    }
    if context["specversion"] != "0.5.1" || subject.get("type").is_some() {
        return Err(Refusal::invalid("it is not of the version 0.5.1"));
    }
    if !context["type"].as_str().is_some_and(|kind| kind.ends_with(".0.3.0")) {
        return Err(Refusal::invalid("its type is not of the version 0.3.0"));
    }
    if has_empty(context) || has_empty(subject) {
        return Err(Refusal::invalid("it has an empty identifier"));
    }
    let said = &subject["content"];
    let outcome = said["outcome"].as_str();
    if outcome.is_some_and(|outcome| !["success", "failure", "cancel", "error"].contains(&outcome)) {
        return Err(Refusal::invalid(format!("{outcome:?} is no outcome")));
    }
    if said["artifactId"].as_str().is_some_and(|id| !id.starts_with("pkg:")) {
        return Err(Refusal::invalid("artifactId is no package URL"));
    }
    match cdevent.get("customData") {
        None | Some(Value::Object(_)) => Ok(()),
        Some(_) => Err(Refusal::invalid("customData is no object")),
    }
}

/// Whether an identifier in it is empty, which the schemas rule out and the kit lets through.
fn has_empty(value: &Value) -> bool {
    let Value::Object(members) = value else { return false };
    members.iter().any(|(name, member)| {
        let is_id = matches!(name.as_str(), "id" | "source" | "artifactId" | "specversion");
        is_id && member == "" || has_empty(member)
    })
}

impl StandIn for Broker {
    fn answer(&mut self, request: &Request) -> Reply {
        self.route(request).unwrap_or_else(Refusal::reply)
    }

    fn error_reply(&self, status: u16, message: &str) -> Reply {
        Refusal::new(status, message).reply()
    }

    fn state(&mut self) -> Value {
        json!({"events": self.events})
    }

    fn seed(&mut self, state: Value) -> Result<(), String> {
        let mut merged = self.state();
        merge(&mut merged, state);
        self.events = merged["events"].as_array().cloned().ok_or("\"events\" is not a list")?;
        Ok(())
    }
}
