//! What a request says, and how it is refused.

use serde_json::{Map, Value, json};

use crate::wire::{Reply, Request};

/// A refusal: `{"error": "…"}`.
pub(super) struct Refusal(u16, String);

impl Refusal {
    pub(super) fn new(status: u16, message: impl Into<String>) -> Self {
        Self(status, message.into())
    }

    pub(super) fn reply(self) -> Reply {
        Reply::json(self.0, &json!({"error": self.1}))
    }
}

/// An object of known keys.
pub(super) fn body(request: &Request, known: &[&str]) -> Result<Map<String, Value>, Refusal> {
    if !request.says_json() {
        return Err(Refusal::new(400, "Content-Type must be application/json"));
    }
    let Ok(Value::Object(body)) = request.json() else {
        return Err(Refusal::new(400, "Invalid JSON body"));
    };
    if let Some(name) = body.keys().find(|name| !known.contains(&name.as_str())) {
        return Err(Refusal::new(400, format!("Unknown field {name}")));
    }
    Ok(body)
}

pub(super) fn required<'a>(body: &'a Map<String, Value>, name: &str) -> Result<&'a str, Refusal> {
    body.get(name)
        .and_then(Value::as_str)
        .ok_or(Refusal::new(400, format!("Missing or invalid {name}")))
}

pub(super) fn optional_bool(body: &Map<String, Value>, name: &str) -> Result<bool, Refusal> {
    match body.get(name) {
        None => Ok(false),
        Some(Value::Bool(value)) => Ok(*value),
        Some(_) => Err(Refusal::new(400, format!("Invalid {name}"))),
    }
}
