//! CTO.ai's events API, as docs/vendors/cto.md describes it.
//!
//! State: `{"events": [body]}`, oldest first; each event is what was sent.

use serde_json::{Map, Value, json};

use crate::json::merge;
use crate::options::Options;
use crate::stand_in::{CredentialsIn, Declaration, StandIn, Variable};
use crate::wire::{Reply, Request};

pub(super) const DECLARATION: Declaration = Declaration {
    name: "cto",
    title: "CTO.ai",
    address: ("CTOAI_API_URL", ""),
    variables: &[
        Variable::secret("CTOAI_EVENTS_API_TOKEN", |known| &known.cto_token),
        Variable::open("CTOAI_TEAM_ID", |known| &known.cto_team),
    ],
    credentials_in: CredentialsIn::STANDARD_HEADERS,
    fixed_state: &[],
    reported_state: "/events",
    start: |options| Box::new(Cto::new(options)),
};

/// The keys that the official template sends, all of them, always (docs/vendors/cto.md 2).
const KEYS: [&str; 9] = [
    "team_id",
    "event_name",
    "event_action",
    "repo",
    "branch",
    "commit",
    "environment",
    "image",
    "meta",
];

/// What a change event may have besides (docs/vendors/cto.md 3).
const CHANGE_KEYS: [&str; 7] = ["author", "base", "created_at", "labels", "number", "target", "title"];

struct Cto {
    token: String,
    team: String,
    events: Vec<Value>,
}

/// A refusal. Codes and bodies are undocumented (docs/vendors/cto.md 4): these are the sandbox's choice.
struct Refusal(u16, String);

impl Refusal {
    fn new(status: u16, message: impl Into<String>) -> Self {
        Self(status, message.into())
    }

    fn reply(self) -> Reply {
        Reply::json(self.0, &json!({"message": self.1}))
    }
}

impl Cto {
    fn new(options: &Options) -> Self {
        let known = &options.credentials;
        Self {
            token: known.cto_token.clone(),
            team: known.cto_team.clone(),
            events: Vec::new(),
        }
    }

    fn route(&mut self, request: &Request) -> Result<Reply, Refusal> {
        if !matches!(request.path.as_str(), "" | "/") || !request.query.is_empty() {
            return Err(Refusal::new(404, "not found"));
        }
        if request.method != "POST" {
            return Err(Refusal::new(405, "method not allowed"));
        }
        if request.bearer() != Some(&self.token) {
            return Err(Refusal::new(401, "unauthorized"));
        }
        if !request.says_json() {
            return Err(Refusal::new(400, "Content-Type must be application/json"));
        }
        // What the official GitLab template calls itself (docs/vendors/cto.md 1).
        if request.header("x-ops-mechanism") != Some("gitlab-job") {
            return Err(Refusal::new(400, "x-ops-mechanism must be gitlab-job"));
        }
        let body = request
            .json()
            .map_err(|error| Refusal::new(400, format!("body is not JSON: {error}")))?;
        let event = body.as_object().ok_or(Refusal::new(400, "body is not an object"))?;
        check(event)?;
        if event["team_id"] != self.team {
            return Err(Refusal::new(403, "the token is not for this team"));
        }
        // Each POST is a new event: there is no id to know one again by (docs/vendors/cto.md 5).
        self.events.push(body);
        Ok(Reply::json(200, &json!({"message": "event written", "data": {}})))
    }
}

impl StandIn for Cto {
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

/// All nine keys with their types. Any name and action is taken (docs/vendors/cto.md 3), but not any key.
fn check(event: &Map<String, Value>) -> Result<(), Refusal> {
    let refuse = |message: String| Err(Refusal::new(400, message));
    if let Some(missing) = KEYS.iter().find(|key| !event.contains_key(**key)) {
        return refuse(format!("{missing} is missing"));
    }
    let change = event["event_name"] == "change";
    for (key, value) in event {
        let known = KEYS.contains(&key.as_str()) || change && CHANGE_KEYS.contains(&key.as_str());
        let well_typed = match key.as_str() {
            "team_id" | "event_name" | "event_action" => value.as_str().is_some_and(|text| !text.is_empty()),
            // No client of the vendor's sends null for these two (docs/vendors/cto.md 2).
            "meta" => value.get("user").is_some_and(Value::is_string),
            "repo" => value.is_string(),
            "number" => value.is_u64(),
            "labels" => value.is_array(),
            _ => value.is_string() || value.is_null(),
        };
        match (known, well_typed) {
            (false, _) => return refuse(format!("{key} is unknown")),
            (true, false) => return refuse(format!("{key} has the wrong type")),
            (true, true) => {}
        }
    }
    Ok(())
}
