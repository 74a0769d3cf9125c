//! Port's API, as `vendors/port.md` describes it.
//!
//! State: `{"blueprints": {id: blueprint}, "entities": {blueprint: {identifier: entity}}, "actions": {id: {"blueprint":
//! null or an id that runs need an entity of, "userInputs": {name: schema}}}, "runs": {id: run}, "logs": {run: [log]}}`.
//! A seeded entity may leave out everything, a seeded run everything but what it should differ in (`status`,
//! `synchronized`).

mod entities;
mod runs;
mod search;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::wire::{Query, Reply, Request, merge};
use crate::{Options, StandIn};

/// `vendors/port.md` §1: the limit on all requests.
const BODY_LIMIT: usize = 1 << 20;

/// `vendors/port.md` §1: a token is valid for three hours.
const TOKEN_SECONDS: u32 = 10_800;

/// The `deployment` blueprint that the project ships, ready to import: `examples/port/deployment-blueprint.json`.
pub fn port_deployment_blueprint() -> Value {
    let text = include_str!("../../examples/port/deployment-blueprint.json");
    serde_json::from_str(text).expect("the example is JSON")
}

pub(crate) struct Port {
    client_id: String,
    client_secret: String,
    tokens_expire_after: Option<usize>,
    updated: u16,
    /// The one active token of the credentials, and how often it may still be used.
    token: Option<(String, usize)>,
    state: State,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    blueprints: BTreeMap<String, Value>,
    entities: BTreeMap<String, BTreeMap<String, Value>>,
    actions: BTreeMap<String, Value>,
    runs: BTreeMap<String, Value>,
    logs: BTreeMap<String, Vec<Value>>,
}

/// A refusal in the envelope of `vendors/port.md` §4: status, `error`, `message`.
#[derive(Debug)]
struct Refusal(u16, &'static str, String);

impl Refusal {
    fn new(status: u16, error: &'static str, message: impl Into<String>) -> Self {
        Self(status, error, message.into())
    }

    /// A request that doesn't fit the route's schema.
    fn invalid(message: impl Into<String>) -> Self {
        Self::new(422, "invalid_request", message)
    }

    fn missing(what: &str, identifier: &str) -> Self {
        Self::new(
            404,
            "not_found",
            format!("{what} with identifier \"{identifier}\" was not found"),
        )
    }

    fn envelope(&self) -> Value {
        json!({"ok": false, "error": self.1, "message": self.2})
    }

    fn reply(self) -> Reply {
        Reply::json(self.0, &self.envelope())
    }
}

impl Port {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            client_id: options.credentials.port_client_id.clone(),
            client_secret: options.credentials.port_client_secret.clone(),
            tokens_expire_after: options.port_tokens_expire_after,
            updated: options.port_updated,
            token: None,
            state: State {
                blueprints: blueprints(),
                entities: BTreeMap::new(),
                actions: actions(),
                runs: BTreeMap::new(),
                logs: BTreeMap::new(),
            },
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
            ("POST", ["blueprints", blueprint, "entities"]) => self.create(blueprint, request),
            ("GET", ["blueprints", blueprint, "entities"]) => self.list(blueprint, request),
            ("GET", ["blueprints", blueprint, "entities-count"]) => self.count(blueprint, request),
            ("POST", ["blueprints", blueprint, "entities", "bulk"]) => self.bulk(blueprint, request),
            ("POST", ["blueprints", blueprint, "entities", "search"]) => self.search_in(blueprint, request),
            ("POST", ["blueprints", blueprint, "bulk", "entities", "delete"]) => self.bulk_delete(blueprint, request),
            ("GET", ["blueprints", blueprint, "entities", id]) => self.read(blueprint, id, request),
            ("PATCH", ["blueprints", blueprint, "entities", id]) => self.patch(blueprint, id, request),
            ("PUT", ["blueprints", blueprint, "entities", id]) => self.replace(blueprint, id, request),
            ("DELETE", ["blueprints", blueprint, "entities", id]) => self.delete(blueprint, id, request),
            ("POST", ["entities", "search"]) => self.search(request),
            ("GET", ["actions", "runs"]) => self.list_runs(request),
            ("GET", ["actions", "runs", id]) => self.read_run(id, request),
            ("PATCH", ["actions", "runs", id]) => self.update_run(id, request),
            ("POST", ["actions", "runs", id, "logs"]) => self.add_log(id, request),
            ("GET", ["actions", "runs", id, "logs"]) => self.read_logs(id, request),
            ("PATCH", ["actions", "runs", id, "approval"]) => self.approve(id, request),
            ("POST", ["actions", action, "runs"]) => self.create_run(action, request),
            _ => Err(no_route()),
        }
    }

    /// `POST /v1/auth/access_token`: the same token while it is valid (§1).
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

    fn blueprint(&self, id: &str) -> Result<&Value, Refusal> {
        self.state.blueprints.get(id).ok_or(Refusal::missing("Blueprint", id))
    }
}

impl StandIn for Port {
    fn answer(&mut self, request: &Request) -> Reply {
        // §1: on every reply.
        let trace = uuid::Uuid::new_v4().to_string();
        self.route(request)
            .unwrap_or_else(Refusal::reply)
            .with("X-Trace-Id", &trace)
    }

    fn complain(&self, status: u16, message: &str) -> Reply {
        let trace = uuid::Uuid::new_v4().to_string();
        Refusal::new(status, "bad_request", message)
            .reply()
            .with("X-Trace-Id", &trace)
    }

    fn state(&mut self) -> Value {
        json!(self.state)
    }

    fn seed(&mut self, state: Value) -> Result<(), String> {
        let mut merged = self.state();
        merge(&mut merged, state);
        let mut seeded: State = serde_json::from_value(merged).map_err(|error| error.to_string())?;
        for (blueprint, entities) in &mut seeded.entities {
            for (identifier, entity) in entities {
                let mut whole = entities::blank(blueprint, identifier);
                merge(&mut whole, entity.take());
                if !whole["properties"].is_object() || !whole["relations"].is_object() {
                    return Err(format!("the entity {identifier:?} is no object of objects"));
                }
                *entity = whole;
            }
        }
        for (id, run) in &mut seeded.runs {
            let mut whole = runs::blank(id, "deploy");
            merge(&mut whole, run.take());
            if !whole.is_object() {
                return Err(format!("the run {id:?} is no object"));
            }
            *run = whole;
        }
        self.state = seeded;
        Ok(())
    }

    fn secrets(&self) -> Vec<String> {
        self.token.iter().map(|(token, _)| token.clone()).collect()
    }
}

/// The body as an object.
fn body(request: &Request) -> Result<Map<String, Value>, Refusal> {
    if !request.says_json() {
        return Err(Refusal::invalid("Content-Type must be application/json"));
    }
    match request.json() {
        Ok(Value::Object(body)) => Ok(body),
        Ok(_) => Err(Refusal::invalid("body must be object")),
        Err(error) => Err(Refusal::new(400, "bad_request", format!("body is not JSON: {error}"))),
    }
}

fn only(body: &Map<String, Value>, known: &[&str]) -> Result<(), Refusal> {
    let extra = body.keys().find(|name| !known.contains(&name.as_str()));
    extra.map_or(Ok(()), |name| {
        Err(Refusal::invalid(format!(
            "body must NOT have additional properties: {name}"
        )))
    })
}

/// The query, if it has only known names.
fn query(request: &Request, known: &[&str]) -> Result<Query, Refusal> {
    let query = request.query();
    let unknown = query
        .unknown(known)
        .map(|name| Refusal::invalid(format!("querystring has the unknown {name}")));
    unknown.map_or(Ok(query), Err)
}

/// A boolean of the query.
fn flag(query: &Query, name: &str) -> Result<bool, Refusal> {
    match query.get(name) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(Refusal::invalid(format!("querystring/{name} must be boolean"))),
    }
}

/// A number of the query or its default.
fn number(query: &Query, name: &str, default: usize) -> Result<usize, Refusal> {
    let wrong = |_| Refusal::invalid(format!("querystring/{name} must be integer"));
    query.get(name).map_or(Ok(default), |text| text.parse().map_err(wrong))
}

/// The blueprints of the project, of the GitLab documentation (`vendors/port.md` §8), of the guide, and two that
/// relations point to.
fn blueprints() -> BTreeMap<String, Value> {
    let text = || json!({"type": "string"});
    let url = || json!({"type": "string", "format": "url"});
    let number = || json!({"type": "number"});
    let blueprint = |identifier: &str, properties: Value, relations: Value| {
        let schema = json!({"properties": properties, "required": []});
        json!({"identifier": identifier, "title": identifier, "schema": schema, "relations": relations})
    };
    let one = |target: &str| json!({"target": target, "many": false, "required": false});
    let many = |target: &str| json!({"target": target, "many": true, "required": false});
    // As a customer extends the imported example, so that relations can be reported.
    let mut deployment = port_deployment_blueprint();
    deployment["relations"] =
        json!({"service": one("service"), "targetEnvironment": one("environment"), "images": many("image")});
    let all = [
        deployment,
        blueprint(
            "service",
            json!({"language": text(), "repository": url(), "lifecycle": text()}),
            json!({}),
        ),
        blueprint(
            "environment",
            json!({"type": text(), "url": url(), "region": text()}),
            json!({}),
        ),
        blueprint(
            "ciJob",
            json!({"triggeredBy": text(), "commitHash": text(), "jobBranch": url(), "runLink": url()}),
            json!({"image": many("image")}),
        ),
        blueprint(
            "image",
            json!({"imageTag": text(), "gitRepoUrl": url(), "imageRegistry": url(), "unitTestCoverage": number(),
                "integTestCoverage": number(), "size": number(), "synkHighVulnerabilities": number(),
                "synkMediumVulnerabilities": number()}),
            json!({}),
        ),
        blueprint(
            "test-blueprint",
            json!({"myStringProp": text(), "myNumberProp": number(), "myBooleanProp": {"type": "boolean"},
                "myArrayProp": {"type": "array"}, "myObjectProp": {"type": "object"}}),
            json!({}),
        ),
    ];
    all.into_iter()
        .map(|one| (one["identifier"].as_str().expect("text above").to_owned(), one))
        .collect()
}

/// An action that anyone can run, and one that needs a service.
fn actions() -> BTreeMap<String, Value> {
    let inputs =
        json!({"environment": {"type": "string"}, "version": {"type": "string"}, "replicas": {"type": "number"}});
    let deploy = json!({"blueprint": null, "userInputs": inputs});
    let restart = json!({"blueprint": "service", "userInputs": {"reason": {"type": "string"}}});
    [("deploy".to_owned(), deploy), ("restart_service".to_owned(), restart)].into()
}
