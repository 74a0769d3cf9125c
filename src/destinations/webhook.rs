//! Any webhook: an HTTP request with the event, or with a body of one's own, signed where there is a secret. Facts:
//! docs/vendors/webhook.md.

use serde_json::Value;

use super::{Context, Destination, HiddenJob, Operation, Repetition, Words};
use crate::{
    choice, credentials,
    delivery::{
        plan::{Plan, Repeat, Step, Verdict},
        reply::Reply,
        request::{Form, Method, Request, Text},
        signature::{self, Signing},
    },
    problem::Unmade,
    secret::Secret,
    variables,
    variables::{Body, Group as _, Headers, SecretUrl},
};

variables! {
    /// What `webhook` reads.
    pub struct Settings, "Standard Webhooks 1.0.0; recipes for services in docs/recipes.md" {
        /// Where the event is sent. The address is itself a credential for many services: its host at most is shown.
        url: SecretUrl = "WEBHOOK_URL", required;
        /// Signs each attempt by the Standard Webhooks specification: `whsec_` and base64; during a rotation several, with spaces or commas between.
        secret: Option<Secret> = "WEBHOOK_SECRET", optional;
        /// What is sent: JSON where it starts with `{` or `[`, otherwise text. It may hold credentials.
        body: Option<Body> = "WEBHOOK_BODY", derived "the event's JSON, by schema/event.json";
        /// Headers, as a JSON object of names and values, which may be credentials.
        headers: Option<Headers> = "WEBHOOK_HEADERS", optional;
        /// The HTTP method.
        method: Verb = "WEBHOOK_METHOD", default "POST";
    }
}

choice! {
    /// The methods that send something.
    pub enum Verb {
        /// Adds, or does.
        Post = "POST",
        /// Puts in place.
        Put = "PUT",
        /// Changes parts.
        Patch = "PATCH",
    }
}

/// Any webhook.
pub const DESTINATION: Destination = Destination {
    name: "webhook",
    title: "Webhook",
    operations: &[Operation::new(
        "event",
        "sends the event, or what `WEBHOOK_BODY` makes of it, to `WEBHOOK_URL`",
    )
    .repeated(Repetition::Unasked)
    .repeated_if_set(SECRET, Repetition::Deduplicated)
    .reports_action_unless_set_without(BODY, SECRET)
    .in_words(Words::Any)
    .carries_properties_unless_set(BODY)],
    variables: &[Settings::VARIABLES],
    // None: the names of its variables are too common to mean us.
    credentials: &[],
    hidden_jobs: &[HiddenJob::new(
        "webhook-notify",
        "webhook",
        "Sends the event, or a message made of it, to any webhook; docs/recipes.md has the variables for chats and monitoring.",
    )],
    plan,
    check,
    register: None,
};

/// With this, a receiver knows each event by its id; the id is made of the action.
const SECRET: &str = "WEBHOOK_SECRET";
/// This says instead of the action what happened.
const BODY: &str = "WEBHOOK_BODY";

/// No read is harmless at an address that may do anything when it is asked: that its host answers is all that is looked at,
/// and nothing of the credential goes there.
fn check(context: &Context) -> Result<Plan, Unmade> {
    let settings: Settings = context.values.read()?;
    let request = Request::new(Method::Get, settings.url.root());
    let step = Step::new("check", request, |reply, _| match reply.status {
        408 | 425 | 429 | 500.. => Verdict::ByStatus,
        _ => Verdict::noted("its host answers; whether the address takes events is seen only when one is sent"),
    });
    Ok(Plan::new(None, vec![step]))
}

fn plan(context: &Context) -> Result<Plan, Unmade> {
    let settings: Settings = context.values.read()?;
    let event = context.event;
    let (kind, body) = match &settings.body {
        None => {
            event.action()?;
            (JSON, Text::from(event.to_json().to_string()))
        }
        Some(Body::Json(json)) => (JSON, with_holes(json)),
        // A message for one case alone, and this is another one.
        Some(Body::Text(text)) if text.trim().is_empty() => {
            return Ok(Plan::skip("WEBHOOK_BODY makes no message of this event".to_owned()));
        }
        Some(Body::Text(text)) => (TEXT, Text::from(text.as_str())),
    };
    let method = match settings.method {
        Verb::Post => Method::Post,
        Verb::Put => Method::Put,
        Verb::Patch => Method::Patch,
    };
    let headers = settings.headers.unwrap_or_default();
    let mut request = Request::new(method, Text::default().secret(&settings.url.whole, Form::Plain));
    if headers.get("content-type").is_none() {
        request = request.header("Content-Type", kind);
    }
    request.body = Some(body);
    for (name, value) in headers.0 {
        let text = if credentials::is_secret_header(&name, value.expose()) {
            Text::default().secret(&value, Form::Member(name.clone()))
        } else {
            Text::from(value.expose())
        };
        request = request.header(name, text);
    }
    // Without a signature the id promises nothing, and so may be missing where the event has none.
    let id = match (event.delivery_id(), &settings.secret) {
        (Ok(id), _) => Some(id),
        (Err(_), None) => None,
        (Err(why), Some(_)) => return Err(why),
    };
    // Of a receiver that nobody knows, no 5xx says that it did nothing (docs/vendors/webhook.md 5).
    let mut repeat = Repeat::Unprocessed(&[]);
    if let Some(id) = &id {
        request = request.header(signature::ID, id.as_str());
        if let Some(secret) = &settings.secret {
            request = request.signed(Signing::new(id.clone(), secret)?);
            repeat = Repeat::Freely;
        }
    }
    Ok(Plan::new(
        id,
        vec![Step::new("event", request, |reply, _| read(reply)).repeat(repeat)],
    ))
}

/// What the body is, unless a header says otherwise.
const JSON: &str = "application/json";
/// The same of text.
const TEXT: &str = "text/plain; charset=utf-8";

/// JSON with a hole in place of every text that is taken for a credential.
fn with_holes(json: &Value) -> Text {
    let mut text = Text::default();
    let mut known = String::new();
    write(json, &mut text, &mut known);
    text.known(known)
}

fn write(json: &Value, text: &mut Text, known: &mut String) {
    match json {
        Value::Array(items) => {
            known.push('[');
            for (place, item) in items.iter().enumerate() {
                known.push_str(if place > 0 { "," } else { "" });
                write(item, text, known);
            }
            known.push(']');
        }
        Value::Object(members) => {
            known.push('{');
            for (place, (name, member)) in members.iter().enumerate() {
                known.push_str(if place > 0 { "," } else { "" });
                known.push_str(&format!("{}:", Value::from(name.as_str())));
                match member {
                    Value::String(value) if credentials::is_secret_member(name, value) => {
                        let secret = Secret::new(value, BODY);
                        let hole = Form::MemberInJson(name.clone());
                        let before = std::mem::take(known) + "\"";
                        *text = std::mem::take(text).known(before).secret(&secret, hole);
                        known.push('"');
                    }
                    other => write(other, text, known),
                }
            }
            known.push('}');
        }
        scalar => known.push_str(&scalar.to_string()),
    }
}

/// Any success is one, whatever comes with it, but for a page: that is somebody else's, a login's or a proxy's
/// (docs/vendors/webhook.md 4).
fn read(reply: &Reply) -> Verdict {
    if reply.status == 410 {
        return Verdict::Rejected(
            "answered 410: whoever it belongs to wants no more events there; take it out, or give another WEBHOOK_URL"
                .to_owned(),
        );
    }
    match reply.expect_no_page() {
        Ok(()) => Verdict::delivered(),
        Err(unexpected) => unexpected.into(),
    }
}
