//! Rely.io's public API, as docs/vendors/rely.md describes it.
//!
//! State: `{"blueprints": {id: {"properties": {name: schema}, "relations": [name]}}, "entities": {id: entity}}`,
//! an entity being the object of docs/vendors/rely.md 2, and `"tasks": {id: task}` for bulk writes.

mod blueprints;
mod bulk;
mod request;
mod shape;
mod store;

use serde_json::{Map, Value, json};

use crate::options::Options;
use crate::stand_in::{CredentialsIn, Declaration, StandIn, Variable};
use crate::wire::{Reply, Request};
use request::{Refusal, body, fastapi_bool, refuse_query};
use shape::text;
use store::{Rules, Store};

pub(super) const DECLARATION: Declaration = Declaration {
    name: "rely",
    title: "Rely.io",
    address: ("RELY_API_URL", ""),
    variables: &[Variable::secret("RELY_API_TOKEN", |known| &known.rely_token)],
    credentials_in: CredentialsIn::STANDARD_HEADERS,
    fixed_state: &["blueprints"],
    reported_state: "/entities",
    start: |options| Box::new(Rely::new(options)),
};

/// More is answered with 413 (docs/vendors/rely.md 5). The size itself is unknown: this is the sandbox's choice.
const BODY_LIMIT: usize = 1 << 20;

struct Rely {
    token: String,
    put_creates: bool,
    duplicate: u16,
    created: u16,
    store: Store,
}

impl Rely {
    fn new(options: &Options) -> Self {
        Self {
            token: options.credentials.rely_token.clone(),
            put_creates: options.rely_put_creates,
            duplicate: options.rely_duplicate,
            created: options.rely_created,
            store: Store::initial(),
        }
    }

    fn route(&mut self, request: &Request) -> Result<Reply, Refusal> {
        let segments = request.segments().ok_or(Refusal::new(404, "Not Found"))?;
        let segments = segments.iter().map(String::as_str).collect::<Vec<_>>();
        let ["api", "v1", rest @ ..] = segments.as_slice() else {
            return Err(Refusal::new(404, "Not Found"));
        };
        match request.bearer() {
            None => return Err(Refusal::new(401, "Not authenticated")),
            Some(token) if token != self.token => return Err(Refusal::new(401, "Invalid or expired API key")),
            Some(_) => {}
        }
        if request.body.len() > BODY_LIMIT {
            return Err(Refusal::new(413, "Request body too large"));
        }
        match (request.method.as_str(), rest) {
            ("POST", ["entities"]) => self.create(request),
            ("GET", ["entities"]) => self.list(request),
            ("PUT", ["entities", "bulk"]) => self.store.write_list(request),
            ("PUT", ["entities", id]) => self.put(id, request),
            ("GET", ["entities", id]) => self.read(id, request),
            ("POST", ["tasks"]) => self.store.start_task(request),
            ("GET", ["tasks", id]) => self.store.poll_task(id),
            ("GET", ["blueprints", id]) => self.read_blueprint(id, request),
            (_, ["entities" | "tasks"] | ["entities" | "tasks", _]) => Err(Refusal::new(405, "Method Not Allowed")),
            _ => Err(Refusal::new(404, "Not Found")),
        }
    }

    /// `POST /api/v1/entities`.
    fn create(&mut self, request: &Request) -> Result<Reply, Refusal> {
        refuse_query(request, &[])?;
        let rules = Rules {
            patch: false,
            ignore_unmapped: false,
        };
        let entity = self.store.check(body(request)?, rules)?;
        let id = text(&entity, "id");
        if self.store.entities.contains_key(&id) {
            return Err(Refusal::new(
                self.duplicate,
                &format!("Entity with id {id} already exists"),
            ));
        }
        Ok(Reply::json(self.created, &self.store.write(&id, entity, rules)))
    }

    /// `PUT /api/v1/entities/{id}[?patch=true]`.
    fn put(&mut self, id: &str, request: &Request) -> Result<Reply, Refusal> {
        // Whether `unmappedProperties` works here is unknown (docs/vendors/rely.md 7), so that nobody may count on it.
        refuse_query(request, &["patch"])?;
        let patch = match request.query().get("patch") {
            None => false,
            Some(value) => fastapi_bool(value).ok_or(Refusal::query("patch", "Input should be a valid boolean"))?,
        };
        let existing = self.store.entities.get(id);
        if existing.is_none() && !self.put_creates {
            return Err(Refusal::new(404, &format!("Entity with id {id} not found")));
        }
        // A patch that creates needs what a creation needs.
        let rules = Rules {
            patch: patch && existing.is_some(),
            ignore_unmapped: false,
        };
        let entity = self.store.check(body(request)?, rules)?;
        if text(&entity, "id") != id {
            return Err(Refusal::new(400, "The id in the body is not the id in the path"));
        }
        Ok(Reply::json(200, &self.store.write(id, entity, rules)))
    }

    /// `GET /api/v1/entities/{id}`.
    fn read(&self, id: &str, request: &Request) -> Result<Reply, Refusal> {
        refuse_query(request, &[])?;
        let entity = self
            .store
            .entities
            .get(id)
            .ok_or(Refusal::new(404, &format!("Entity with id {id} not found")))?;
        Ok(Reply::json(200, entity))
    }

    /// `GET /api/v1/blueprints/{id}`, in the form that the vendor's client gives them (docs/vendors/rely.md 3, 4).
    fn read_blueprint(&self, id: &str, request: &Request) -> Result<Reply, Refusal> {
        refuse_query(request, &[])?;
        let blueprint = self
            .store
            .blueprints
            .get(id)
            .ok_or(Refusal::new(404, &format!("Blueprint with id {id} not found")))?;
        let relations = blueprint["relations"].as_array().into_iter().flatten();
        let relations: Map<String, Value> = relations
            .filter_map(|name| Some((name.as_str()?.to_owned(), json!({"title": name}))))
            .collect();
        let reply = json!({
            "id": id, "title": id, "schemaProperties": {"type": "object", "properties": blueprint["properties"]},
            "relations": relations,
        });
        Ok(Reply::json(200, &reply))
    }

    /// `GET /api/v1/entities`. Filters are documented for a sibling route only, so they are refused.
    fn list(&self, request: &Request) -> Result<Reply, Refusal> {
        refuse_query(request, &[])?;
        let items = self.store.entities.values().collect::<Vec<_>>();
        let reply = json!({
            "items": items, "total": items.len(), "current_page": null, "current_page_backwards": null,
            "previous_page": null, "next_page": null,
        });
        Ok(Reply::json(200, &reply))
    }
}

impl StandIn for Rely {
    fn answer(&mut self, request: &Request) -> Reply {
        self.route(request).unwrap_or_else(Refusal::reply)
    }

    fn error_reply(&self, status: u16, message: &str) -> Reply {
        Refusal::new(status, message).reply()
    }

    fn state(&mut self) -> Value {
        self.store.show()
    }

    fn seed(&mut self, state: Value) -> Result<(), String> {
        self.store.seed(state)
    }
}
