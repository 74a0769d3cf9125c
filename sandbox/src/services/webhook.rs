//! Receivers of webhooks, as docs/vendors/webhook.md and docs/recipes.md describe them.
//!
//! - `/signed/<token>` takes what is signed by the Standard Webhooks specification, each id once, and checks that with the
//!   specification's reference library;
//! - `/open/<token>` takes anything, each time anew;
//! - `/recipes/<service>/…` takes what one of the services of docs/recipes.md takes, at that service's own path.
//!
//! State: `{"events": [{"id": …, "body": …}], "recipes": {service: [body]}}`, oldest first. A body that is no JSON is its
//! text.

mod recipes;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use standardwebhooks::Webhook as Verifier;

use crate::json::merge;
use crate::options::Options;
use crate::stand_in::{CredentialsIn, Declaration, StandIn, Variable};
use crate::wire::{Reply, Request};

pub(super) const DECLARATION: Declaration = Declaration {
    name: "webhook",
    title: "Webhook",
    address: ("WEBHOOK_URL", "/signed/wh-sandbox-3f9c51a7e2d84b60"),
    variables: &[Variable::secret("WEBHOOK_SECRET", |known| &known.webhook_secret)],
    credentials_in: CredentialsIn {
        headers: recipes::CREDENTIAL_HEADERS,
        parameters: recipes::CREDENTIAL_PARAMETERS,
        fields: recipes::CREDENTIAL_FIELDS,
    },
    fixed_state: &[],
    reported_state: "/events",
    start: |options| Box::new(Webhook::new(options)),
};

/// The last part of both addresses: who knows it may use them.
const TOKEN: &str = "wh-sandbox-3f9c51a7e2d84b60";

struct Webhook {
    secret: String,
    events: Vec<Value>,
    recipes: BTreeMap<String, Vec<Value>>,
}

/// A refusal, in the words of nobody in particular.
struct Refusal(u16, String);

impl Refusal {
    fn new(status: u16, message: impl Into<String>) -> Self {
        Self(status, message.into())
    }

    fn reply(self) -> Reply {
        Reply::json(self.0, &json!({"error": self.1}))
    }
}

impl Webhook {
    fn new(options: &Options) -> Self {
        Self {
            secret: options.credentials.webhook_secret.clone(),
            events: Vec::new(),
            recipes: BTreeMap::new(),
        }
    }

    fn route(&mut self, request: &Request) -> Result<Reply, Refusal> {
        let segments = request.segments().ok_or(Refusal::new(400, "the path is not UTF-8"))?;
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        match segments[..] {
            ["signed", TOKEN] => self.signed(request),
            ["open", TOKEN] => {
                sent(request)?;
                self.events
                    .push(json!({"id": request.header("webhook-id"), "body": body(request)}));
                Ok(Reply::text(200, "ok"))
            }
            ["recipes", service, ref path @ ..] => {
                let taken = recipes::take(service, path, request).map_err(|(status, why)| Refusal(status, why))?;
                self.recipes.entry(service.to_owned()).or_default().push(body(request));
                Ok(taken)
            }
            _ => Err(Refusal::new(404, "not found")),
        }
    }

    fn signed(&mut self, request: &Request) -> Result<Reply, Refusal> {
        sent(request)?;
        let mut headers = http::HeaderMap::new();
        for (name, value) in &request.headers {
            if let (Ok(name), Ok(value)) = (http::HeaderName::try_from(name), http::HeaderValue::try_from(value)) {
                headers.append(name, value);
            }
        }
        let verifier = Verifier::new(&self.secret).map_err(|error| Refusal::new(500, error.to_string()))?;
        let answer = verifier.verify(&request.body, &headers);
        answer.map_err(|error| Refusal::new(401, error.to_string()))?;
        let id = request.header("webhook-id").unwrap_or_default();
        // What the specification wants of senders, and its library can't see (docs/vendors/webhook.md 2).
        if id.is_empty() || id.contains('.') {
            return Err(Refusal::new(400, "webhook-id must not hold a full stop"));
        }
        if !self.events.iter().any(|event| event["id"] == id) {
            self.events.push(json!({"id": id, "body": body(request)}));
        }
        Ok(Reply::json(200, &json!({"status": "taken"})))
    }
}

/// Whether a request is one that sends something.
fn sent(request: &Request) -> Result<(), Refusal> {
    if !["POST", "PUT", "PATCH"].contains(&request.method.as_str()) {
        return Err(Refusal::new(405, "method not allowed"));
    }
    if request.says_json() && request.json().is_err() {
        return Err(Refusal::new(400, "the body is not JSON"));
    }
    if request.header("content-type").is_none() {
        return Err(Refusal::new(415, "Content-Type is missing"));
    }
    Ok(())
}

fn body(request: &Request) -> Value {
    request
        .json()
        .unwrap_or_else(|_| String::from_utf8_lossy(&request.body).into())
}

impl StandIn for Webhook {
    fn answer(&mut self, request: &Request) -> Reply {
        self.route(request).unwrap_or_else(Refusal::reply)
    }

    fn error_reply(&self, status: u16, message: &str) -> Reply {
        Refusal::new(status, message).reply()
    }

    fn state(&mut self) -> Value {
        json!({"events": self.events, "recipes": self.recipes})
    }

    fn seed(&mut self, state: Value) -> Result<(), String> {
        let mut merged = self.state();
        merge(&mut merged, state);
        self.events = merged["events"].as_array().cloned().ok_or("\"events\" is not a list")?;
        self.recipes = serde_json::from_value(merged["recipes"].take()).map_err(|error| error.to_string())?;
        Ok(())
    }

    fn secrets(&self) -> Vec<String> {
        vec![TOKEN.to_owned()]
    }
}
