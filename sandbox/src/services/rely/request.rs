//! What a request says, and how it is refused.

use serde_json::{Map, Value, json};

use crate::wire::{Reply, Request};

/// A refusal: its status and the framework's `detail`.
pub(super) struct Refusal(pub(super) u16, pub(super) Value);

impl Refusal {
    pub(super) fn new(status: u16, detail: &str) -> Self {
        Self(status, json!(detail))
    }

    /// The framework's validation error (docs/vendors/rely.md 5).
    pub(super) fn invalid(at: &[&str], message: &str, kind: &str) -> Self {
        let location = [&["body"], at].concat();
        Self(422, json!([{"loc": location, "msg": message, "type": kind}]))
    }

    /// The same for a query parameter.
    pub(super) fn query(name: &str, message: &str) -> Self {
        Self(
            422,
            json!([{"loc": ["query", name], "msg": message, "type": "value_error"}]),
        )
    }

    pub(super) fn reply(self) -> Reply {
        Reply::json(self.0, &json!({"detail": self.1}))
    }
}

/// What pydantic takes for a boolean in a query.
pub(super) fn fastapi_bool(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "on" | "yes" | "t" | "y" => Some(true),
        "false" | "0" | "off" | "no" | "f" | "n" => Some(false),
        _ => None,
    }
}

pub(super) fn refuse_query(request: &Request, known: &[&str]) -> Result<(), Refusal> {
    request.query().unknown(known).map_or(Ok(()), |name| {
        Err(Refusal::query(name, "Extra inputs are not permitted"))
    })
}

pub(super) fn json_body(request: &Request) -> Result<Value, Refusal> {
    if !request.says_json() {
        return Err(Refusal::invalid(
            &[],
            "Input should be a valid dictionary; Content-Type is not JSON",
            "model_type",
        ));
    }
    request
        .json()
        .map_err(|error| Refusal::invalid(&[&error.column().to_string()], "JSON decode error", "json_invalid"))
}

pub(super) fn body(request: &Request) -> Result<Map<String, Value>, Refusal> {
    match json_body(request)? {
        Value::Object(fields) => Ok(fields),
        _ => Err(Refusal::invalid(
            &[],
            "Input should be a valid dictionary",
            "model_type",
        )),
    }
}
