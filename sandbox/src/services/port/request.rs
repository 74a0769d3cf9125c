//! What a request says, and how it is refused.

use serde_json::{Map, Value, json};

use crate::wire::{Query, Reply, Request};

/// A refusal in the envelope of docs/vendors/port.md 4: status, `error`, `message`.
#[derive(Debug)]
pub(super) struct Refusal(pub(super) u16, pub(super) &'static str, pub(super) String);

impl Refusal {
    pub(super) fn new(status: u16, error: &'static str, message: impl Into<String>) -> Self {
        Self(status, error, message.into())
    }

    /// A request that doesn't fit the route's schema.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(422, "invalid_request", message)
    }

    pub(super) fn missing(what: &str, identifier: &str) -> Self {
        Self::new(
            404,
            "not_found",
            format!("{what} with identifier \"{identifier}\" was not found"),
        )
    }

    fn envelope(&self) -> Value {
        json!({"ok": false, "error": self.1, "message": self.2})
    }

    pub(super) fn reply(self) -> Reply {
        Reply::json(self.0, &self.envelope())
    }
}

/// The body as an object.
pub(super) fn body(request: &Request) -> Result<Map<String, Value>, Refusal> {
    if !request.says_json() {
        return Err(Refusal::invalid("Content-Type must be application/json"));
    }
    match request.json() {
        Ok(Value::Object(body)) => Ok(body),
        Ok(_) => Err(Refusal::invalid("body must be object")),
        Err(error) => Err(Refusal::new(400, "bad_request", format!("body is not JSON: {error}"))),
    }
}

pub(super) fn only(body: &Map<String, Value>, known: &[&str]) -> Result<(), Refusal> {
    let extra = body.keys().find(|name| !known.contains(&name.as_str()));
    extra.map_or(Ok(()), |name| {
        Err(Refusal::invalid(format!(
            "body must NOT have additional properties: {name}"
        )))
    })
}

/// The query, if it has only known names.
pub(super) fn query(request: &Request, known: &[&str]) -> Result<Query, Refusal> {
    let query = request.query();
    let unknown = query
        .unknown(known)
        .map(|name| Refusal::invalid(format!("querystring has the unknown {name}")));
    unknown.map_or(Ok(query), Err)
}

/// A boolean of the query.
pub(super) fn flag(query: &Query, name: &str) -> Result<bool, Refusal> {
    match query.get(name) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(Refusal::invalid(format!("querystring/{name} must be boolean"))),
    }
}

/// A boolean that the query must have.
pub(super) fn required_flag(query: &Query, name: &str) -> Result<bool, Refusal> {
    if query.get(name).is_none() {
        return Err(Refusal::invalid(format!(
            "querystring must have required property '{name}'"
        )));
    }
    flag(query, name)
}

/// A number of the query or its default.
pub(super) fn number(query: &Query, name: &str, default: usize) -> Result<usize, Refusal> {
    let wrong = |_| Refusal::invalid(format!("querystring/{name} must be integer"));
    query.get(name).map_or(Ok(default), |text| text.parse().map_err(wrong))
}
