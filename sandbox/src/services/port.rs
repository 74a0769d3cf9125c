//! Port's API, as docs/vendors/port.md describes it.
//!
//! State: `{"blueprints": {id: blueprint}, "entities": {blueprint: {identifier: entity}}, "actions": {id: {"blueprint":
//! null or an id that runs need an entity of, "userInputs": {name: schema}}}, "runs": {id: run}, "logs": {run: [log]}}`.
//! A seeded entity may leave out everything, a seeded run everything but what it should differ in (`status`,
//! `synchronized`).

mod delete;
mod entities;
mod entity;
mod initial;
mod rate;
mod request;
mod rules;
mod run;
mod runs;
mod search;
mod state;
mod view;
mod write;

use serde_json::{Value, json};

use crate::options::Options;
use crate::stand_in::{CredentialsIn, Declaration, StandIn, Variable};
use crate::wire::{Reply, Request};
pub use initial::{port_deployment_blueprint, port_service_blueprint};
use rate::Rate;
use request::{Refusal, body, only};
use state::State;

pub(super) const DECLARATION: Declaration = Declaration {
    name: "port",
    title: "Port",
    address: ("PORT_API_URL", ""),
    variables: &[
        Variable::open("PORT_CLIENT_ID", |known| &known.port_client_id),
        Variable::secret("PORT_CLIENT_SECRET", |known| &known.port_client_secret),
    ],
    credentials_in: CredentialsIn {
        fields: &["clientSecret"],
        ..CredentialsIn::STANDARD_HEADERS
    },
    fixed_state: &["blueprints", "actions"],
    reported_state: "/entities",
    start: |options| Box::new(Port::new(options)),
};

/// The limit on all requests (docs/vendors/port.md 1).
const BODY_LIMIT: usize = 1 << 20;

/// A token is valid for three hours (docs/vendors/port.md 1).
const TOKEN_SECONDS: u32 = 10_800;

struct Port {
    client_id: String,
    client_secret: String,
    tokens_expire_after: Option<usize>,
    updated: u16,
    /// The one active token of the credentials, and how often it may still be used.
    token: Option<(String, usize)>,
    state: State,
    rate: Option<Rate>,
}

impl Port {
    fn new(options: &Options) -> Self {
        Self {
            client_id: options.credentials.port_client_id.clone(),
            client_secret: options.credentials.port_client_secret.clone(),
            tokens_expire_after: options.port_tokens_expire_after,
            updated: options.port_updated,
            token: None,
            state: State::initial(),
            rate: options
                .port_rate_limit
                .map(|(requests, period)| Rate::new(requests, period)),
        }
    }

    fn route(&mut self, request: &Request) -> Result<Reply, Refusal> {
        if request.body.len() > BODY_LIMIT {
            return Err(Refusal::new(413, "bad_request", "Request body is too large"));
        }
        let no_route = || {
            Refusal::new(
                404,
                "not_found",
                format!("Route {}:{} not found", request.method, request.path),
            )
        };
        let segments = request.segments().ok_or_else(no_route)?;
        let segments = segments.iter().map(String::as_str).collect::<Vec<_>>();
        let ["v1", rest @ ..] = segments.as_slice() else {
            return Err(no_route());
        };
        let method = request.method.as_str();
        if (method, rest) == ("POST", &["auth", "access_token"]) {
            return self.authenticate(request);
        }
        self.authorise(request)?;
        match (method, rest) {
            ("GET", ["blueprints", blueprint]) => self.state.read_blueprint(blueprint, request),
            ("POST", ["blueprints", blueprint, "entities"]) => self.state.create(blueprint, request, self.updated),
            ("GET", ["blueprints", blueprint, "entities"]) => self.state.list(blueprint, request),
            ("GET", ["blueprints", blueprint, "entities-count"]) => self.state.count(blueprint, request),
            ("POST", ["blueprints", blueprint, "entities", "bulk"]) => self.state.bulk(blueprint, request),
            ("POST", ["blueprints", blueprint, "entities", "search"]) => self.state.search_in(blueprint, request),
            ("POST", ["blueprints", blueprint, "bulk", "entities", "delete"]) => {
                self.state.bulk_delete(blueprint, request)
            }
            ("GET", ["blueprints", blueprint, "entities", id]) => self.state.read(blueprint, id, request),
            ("PATCH", ["blueprints", blueprint, "entities", id]) => self.state.patch(blueprint, id, request),
            ("PUT", ["blueprints", blueprint, "entities", id]) => self.state.replace(blueprint, id, request),
            ("DELETE", ["blueprints", blueprint, "entities", id]) => self.state.delete(blueprint, id, request),
            ("POST", ["entities", "search"]) => self.state.search(request),
            ("GET", ["actions", "runs"]) => self.state.list_runs(request),
            ("GET", ["actions", "runs", id]) => self.state.read_run(id, request),
            ("PATCH", ["actions", "runs", id]) => self.state.update_run(id, request),
            ("POST", ["actions", "runs", id, "logs"]) => self.state.add_log(id, request),
            ("GET", ["actions", "runs", id, "logs"]) => self.state.read_logs(id, request),
            ("PATCH", ["actions", "runs", id, "approval"]) => self.state.approve(id, request),
            ("POST", ["actions", action, "runs"]) => self.state.create_run(action, request),
            _ => Err(no_route()),
        }
    }

    /// `POST /v1/auth/access_token`: the same token while it is valid (docs/vendors/port.md 1).
    fn authenticate(&mut self, request: &Request) -> Result<Reply, Refusal> {
        let body = body(request)?;
        only(&body, &["clientId", "clientSecret"])?;
        let field = |name: &str| {
            body.get(name)
                .and_then(Value::as_str)
                .ok_or(Refusal::invalid(format!("body must have {name} as text")))
        };
        if field("clientId")? != self.client_id || field("clientSecret")? != self.client_secret {
            return Err(Refusal::new(401, "invalid_credentials", "Client id or secret is wrong"));
        }
        let (token, _) = self.token.get_or_insert_with(|| {
            let unique = uuid::Uuid::new_v4().simple().to_string();
            let uses = self.tokens_expire_after.unwrap_or(usize::MAX);
            (format!("eyJhbGciOiJIUzI1NiJ9.eyJzYW5kYm94Ijp0cnVlfQ.{unique}"), uses)
        });
        let reply = json!({"ok": true, "accessToken": token, "expiresIn": TOKEN_SECONDS, "tokenType": "Bearer"});
        Ok(Reply::json(200, &reply))
    }

    fn authorise(&mut self, request: &Request) -> Result<(), Refusal> {
        let refuse = |message: &str| Err(Refusal::new(401, "unauthorized", message));
        let Some(bearer) = request.bearer() else {
            return refuse("Access token is missing");
        };
        match &mut self.token {
            Some((token, _)) if token != bearer => refuse("Access token is invalid"),
            None => refuse("Access token is invalid"),
            Some((_, 0)) => {
                self.token = None;
                refuse("Access token has expired")
            }
            Some((_, uses)) => {
                *uses -= 1;
                Ok(())
            }
        }
    }
}

impl StandIn for Port {
    fn answer(&mut self, request: &Request) -> Reply {
        // Every reply has one (docs/vendors/port.md 1).
        let trace = uuid::Uuid::new_v4().to_string();
        let is_allowed = self.rate.as_mut().is_none_or(Rate::take);
        let reply = if is_allowed {
            self.route(request)
        } else {
            Err(Refusal::new(429, "rate_limited", "Too many requests"))
        };
        let mut reply = reply.unwrap_or_else(Refusal::reply).with("X-Trace-Id", &trace);
        for (name, value) in self.rate.iter().flat_map(Rate::headers) {
            reply = reply.with(name, &value);
        }
        reply
    }

    fn error_reply(&self, status: u16, message: &str) -> Reply {
        let trace = uuid::Uuid::new_v4().to_string();
        Refusal::new(status, "bad_request", message)
            .reply()
            .with("X-Trace-Id", &trace)
    }

    fn state(&mut self) -> Value {
        json!(self.state)
    }

    fn seed(&mut self, state: Value) -> Result<(), String> {
        self.state = self.state.merged(state)?;
        Ok(())
    }

    fn secrets(&self) -> Vec<String> {
        self.token.iter().map(|(token, _)| token.clone()).collect()
    }
}
