//! Rely.io's public API, as `vendors/rely.md` describes it.
//!
//! State: `{"blueprints": {id: {"properties": {name: schema}, "relations": [name]}}, "entities": {id: entity}}`,
//! an entity being the object of `vendors/rely.md` §2, and `"tasks": {id: task}` for bulk writes.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value, json};

use crate::wire::{Reply, Request, merge, now};
use crate::{Options, StandIn, schema};

/// `vendors/rely.md` §2: ids of entities and blueprints.
static ID: LazyLock<Regex> = LazyLock::new(|| Regex::new("^([a-z0-9_.-]+)$").expect("a constant pattern"));

/// The fields of an entity that a client may write (`vendors/rely.md` §2).
const FIELDS: [&str; 9] = [
    "id",
    "blueprintId",
    "title",
    "description",
    "isActive",
    "isHidden",
    "properties",
    "relations",
    "sources",
];

/// More is answered with 413 (`vendors/rely.md` §5; the size itself is unknown, this is the sandbox's choice).
const BODY_LIMIT: usize = 1 << 20;

/// The most entities of one bulk task (`vendors/rely.md` §3: the vendor's own client never sends more).
const CHUNK: usize = 100;

pub(crate) struct Rely {
    token: String,
    put_creates: bool,
    duplicate: u16,
    created: u16,
    blueprints: Map<String, Value>,
    entities: Map<String, Value>,
    tasks: Map<String, Value>,
}

/// What an entity is checked for, besides its shape.
#[derive(Clone, Copy)]
struct Rules {
    /// A patch needs no title, and merges.
    patch: bool,
    /// Properties and relations that the blueprint doesn't know are dropped instead of refused.
    ignore_unmapped: bool,
}

/// A refusal: its status and the framework's `detail`.
struct Refusal(u16, Value);

impl Refusal {
    fn new(status: u16, detail: &str) -> Self {
        Self(status, json!(detail))
    }

    /// The framework's validation error (`vendors/rely.md` §5).
    fn invalid(at: &[&str], message: &str, kind: &str) -> Self {
        let location = [&["body"], at].concat();
        Self(422, json!([{"loc": location, "msg": message, "type": kind}]))
    }

    /// The same for a query parameter.
    fn query(name: &str, message: &str) -> Self {
        Self(
            422,
            json!([{"loc": ["query", name], "msg": message, "type": "value_error"}]),
        )
    }

    fn reply(self) -> Reply {
        Reply::json(self.0, &json!({"detail": self.1}))
    }
}

impl Rely {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            token: options.credentials.rely_token.clone(),
            put_creates: options.rely_put_creates,
            duplicate: options.rely_duplicate,
            created: options.rely_created,
            blueprints: stock_blueprints(),
            entities: Map::new(),
            tasks: Map::new(),
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
            ("PUT", ["entities", "bulk"]) => self.bulk(request),
            ("PUT", ["entities", id]) => self.put(id, request),
            ("GET", ["entities", id]) => self.read(id, request),
            ("POST", ["tasks"]) => self.start_task(request),
            ("GET", ["tasks", id]) => self.poll_task(id),
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
        let entity = self.check(body(request)?, rules)?;
        let id = text(&entity, "id");
        if self.entities.contains_key(&id) {
            return Err(Refusal::new(
                self.duplicate,
                &format!("Entity with id {id} already exists"),
            ));
        }
        Ok(Reply::json(self.created, &self.store(&id, entity, rules)))
    }

    /// `PUT /api/v1/entities/{id}[?patch=true]`.
    fn put(&mut self, id: &str, request: &Request) -> Result<Reply, Refusal> {
        // Whether `unmappedProperties` works here is unknown (§7), so that nobody may count on it.
        refuse_query(request, &["patch"])?;
        let patch = match request.query().get("patch") {
            None => false,
            Some(value) => fastapi_bool(value).ok_or(Refusal::query("patch", "Input should be a valid boolean"))?,
        };
        let existing = self.entities.get(id);
        if existing.is_none() && !self.put_creates {
            return Err(Refusal::new(404, &format!("Entity with id {id} not found")));
        }
        // A patch that creates needs what a creation needs.
        let rules = Rules {
            patch: patch && existing.is_some(),
            ignore_unmapped: false,
        };
        let entity = self.check(body(request)?, rules)?;
        if text(&entity, "id") != id {
            return Err(Refusal::new(400, "The id in the body is not the id in the path"));
        }
        Ok(Reply::json(200, &self.store(id, entity, rules)))
    }

    /// `GET /api/v1/entities/{id}`.
    fn read(&self, id: &str, request: &Request) -> Result<Reply, Refusal> {
        refuse_query(request, &[])?;
        let entity = self
            .entities
            .get(id)
            .ok_or(Refusal::new(404, &format!("Entity with id {id} not found")))?;
        Ok(Reply::json(200, entity))
    }

    /// `GET /api/v1/entities`. Filters are documented for a sibling route only, so they are refused.
    fn list(&self, request: &Request) -> Result<Reply, Refusal> {
        refuse_query(request, &[])?;
        let items = self.entities.values().collect::<Vec<_>>();
        let reply = json!({
            "items": items, "total": items.len(), "current_page": null, "current_page_backwards": null,
            "previous_page": null, "next_page": null,
        });
        Ok(Reply::json(200, &reply))
    }

    /// `PUT /api/v1/entities/bulk`, the old form: an array of entities (§3).
    fn bulk(&mut self, request: &Request) -> Result<Reply, Refusal> {
        refuse_query(
            request,
            &["unmappedProperties", "patch", "updatePropertiesAndRelationsOnly"],
        )?;
        let query = request.query();
        let flag = |name: &str| {
            let value = query.get(name).map_or(Some(false), fastapi_bool);
            value.ok_or(Refusal::query(name, "Input should be a valid boolean"))
        };
        let (patch, only) = (flag("patch")?, flag("updatePropertiesAndRelationsOnly")?);
        let ignore_unmapped = match query.get("unmappedProperties") {
            None => false,
            Some("ignore") => true,
            Some(_) => return Err(Refusal::query("unmappedProperties", "Input should be 'ignore'")),
        };
        let payload = json_body(request)?;
        let stored = self.store_all(&payload, &[], patch, only, ignore_unmapped)?;
        Ok(Reply::json(200, &Value::Array(stored)))
    }

    /// `POST /api/v1/tasks`, the new bulk form (§3). A task has run by the time its creation is answered, but says so
    /// to the second poll only, so that a client has to poll.
    fn start_task(&mut self, request: &Request) -> Result<Reply, Refusal> {
        refuse_query(request, &[])?;
        let task = body(request)?;
        let payload = &task["data"]["payload"];
        if !task["type"].is_string() {
            return Err(Refusal::invalid(
                &["type"],
                "Input should be a valid string",
                "string_type",
            ));
        }
        let parameters = &task["data"]["parameters"];
        let flag = |name: &str| match &parameters[name] {
            Value::Null => Ok(false),
            Value::Bool(flag) => Ok(*flag),
            _ => Err(Refusal::invalid(
                &["data", "parameters", name],
                "Input should be a valid boolean",
                "bool_type",
            )),
        };
        let (patch, only) = (flag("patch")?, flag("update_properties_and_relations_only")?);
        let ignore_unmapped = parameters["unmapped_properties"] == "ignore";
        let outcome = self.store_all(payload, &["data", "payload"], patch, only, ignore_unmapped);
        let id = uuid::Uuid::new_v4().to_string();
        let (status, error) = match outcome {
            Ok(_) => ("success", Value::Null),
            Err(Refusal(422, detail)) if !payload.is_array() => return Err(Refusal(422, detail)),
            Err(Refusal(_, detail)) => ("failed", json!({"type": "ValidationError", "message": detail})),
        };
        let created = json!({"id": id, "type": task["type"], "status": "created", "error": null});
        let mut task = created.clone();
        task["outcome"] = json!({"status": status, "error": error});
        self.tasks.insert(id, task);
        Ok(Reply::json(200, &created))
    }

    /// `GET /api/v1/tasks/{id}`: `running`, then `success` or `failed`.
    fn poll_task(&mut self, id: &str) -> Result<Reply, Refusal> {
        let task = self
            .tasks
            .get_mut(id)
            .ok_or(Refusal::new(404, &format!("Task with id {id} not found")))?;
        if task["status"] == "created" {
            task["status"] = json!("running");
        } else {
            let outcome = task["outcome"].clone();
            merge(task, outcome);
        }
        let mut shown = task.clone();
        merge(&mut shown, json!({"outcome": null}));
        Ok(Reply::json(200, &shown))
    }

    /// Checks all entities before any is stored: a bulk write happens as a whole or not at all.
    fn store_all(
        &mut self,
        payload: &Value,
        at: &[&str],
        patch: bool,
        only_fields: bool,
        ignore_unmapped: bool,
    ) -> Result<Vec<Value>, Refusal> {
        let list = |message: &str| Refusal::invalid(at, message, "list_type");
        let entities = payload.as_array().ok_or(list("Input should be a valid list"))?;
        if entities.len() > CHUNK {
            return Err(list("List should have at most 100 items"));
        }
        let mut checked = Vec::new();
        for entity in entities {
            let id = entity["id"].as_str().unwrap_or_default();
            let rules = Rules {
                patch: patch && self.entities.contains_key(id),
                ignore_unmapped,
            };
            let fields = entity
                .as_object()
                .cloned()
                .ok_or(list("Input should be a valid dictionary"))?;
            let mut entity = self.check(fields, rules)?;
            if only_fields && self.entities.contains_key(id) {
                entity.retain(|name, _| ["id", "blueprintId", "properties", "relations"].contains(&name.as_str()));
            }
            checked.push((entity, rules));
        }
        Ok(checked
            .into_iter()
            .map(|(entity, rules)| self.store(&text(&entity, "id"), entity, rules))
            .collect())
    }

    /// Checks an entity's shape, and its properties and relations against its blueprint.
    fn check(&self, mut entity: Map<String, Value>, rules: Rules) -> Result<Map<String, Value>, Refusal> {
        let required: &[&str] = if rules.patch {
            &["id", "blueprintId"]
        } else {
            &["id", "blueprintId", "title"]
        };
        if let Some(missing) = required.iter().find(|name| !entity.contains_key(**name)) {
            return Err(Refusal::invalid(&[missing], "Field required", "missing"));
        }
        for (name, value) in &entity {
            check_field(name, value)?;
        }
        let blueprint_id = text(&entity, "blueprintId");
        let unknown = Refusal::new(400, &format!("Blueprint with id {blueprint_id} not found"));
        let blueprint = self.blueprints.get(&blueprint_id).ok_or(unknown)?;
        if let Some(existing) = self.entities.get(&text(&entity, "id"))
            && existing["blueprintId"] != blueprint_id
        {
            return Err(Refusal::new(400, "The blueprint of an entity can't be changed"));
        }
        if let Some(Value::Object(properties)) = entity.get_mut("properties") {
            if rules.ignore_unmapped {
                properties.retain(|name, _| blueprint["properties"].get(name).is_some());
            }
            for (name, value) in properties {
                let schema = blueprint["properties"].get(name).ok_or(Refusal::new(
                    400,
                    &format!("Property {name} is not defined in the blueprint {blueprint_id}"),
                ))?;
                let wrong = |problem: String| Refusal::invalid(&["properties", name], &problem, "value_error");
                schema::check(value, schema).map_err(wrong)?;
            }
        }
        if let Some(Value::Object(relations)) = entity.get_mut("relations") {
            let known = |name: &str| {
                blueprint["relations"]
                    .as_array()
                    .is_some_and(|all| all.contains(&json!(name)))
            };
            if rules.ignore_unmapped {
                relations.retain(|name, _| known(name));
            }
            if let Some(name) = relations.keys().find(|name| !known(name)) {
                let detail = format!("Relation {name} is not defined in the blueprint {blueprint_id}");
                return Err(Refusal::new(400, &detail));
            }
        }
        Ok(entity)
    }

    /// Stores a checked entity; a patch changes only what it names.
    fn store(&mut self, id: &str, entity: Map<String, Value>, rules: Rules) -> Value {
        let existing = self.entities.get(id);
        let created_at = existing.map_or_else(|| json!(now()), |entity| entity["createdAt"].clone());
        let mut stored = match existing {
            Some(existing) if rules.patch => existing.clone(),
            _ => blank(),
        };
        for (name, value) in entity {
            // Properties and relations merge by key; a property's own object value is replaced.
            match (&mut stored[&name], value) {
                (Value::Object(fields), Value::Object(changes)) if rules.patch => fields.extend(changes),
                (field, value) => *field = value,
            }
        }
        merge(
            &mut stored,
            json!({"createdAt": created_at, "createdBy": 17, "updatedAt": now(), "updatedBy": 17}),
        );
        self.entities.insert(id.to_owned(), stored.clone());
        stored
    }
}

impl StandIn for Rely {
    fn answer(&mut self, request: &Request) -> Reply {
        self.route(request).unwrap_or_else(Refusal::reply)
    }

    fn complain(&self, status: u16, message: &str) -> Reply {
        Refusal::new(status, message).reply()
    }

    fn state(&mut self) -> Value {
        json!({"blueprints": self.blueprints, "entities": self.entities, "tasks": self.tasks})
    }

    fn seed(&mut self, state: Value) -> Result<(), String> {
        let mut merged = self.state();
        merge(&mut merged, state);
        let section = |name: &str| {
            merged[name]
                .as_object()
                .cloned()
                .ok_or(format!("\"{name}\" is not an object"))
        };
        let (blueprints, mut entities, tasks) = (section("blueprints")?, section("entities")?, section("tasks")?);
        for (id, entity) in &mut entities {
            let mut whole = blank();
            merge(
                &mut whole,
                json!({"createdAt": now(), "createdBy": 17, "updatedAt": now(), "updatedBy": 17}),
            );
            merge(&mut whole, json!({"id": id, "blueprintId": "deployment", "title": id}));
            merge(&mut whole, entity.take());
            if !whole["properties"].is_object() || !whole["relations"].is_object() {
                return Err(format!("the entity {id:?} is no object of objects"));
            }
            *entity = whole;
        }
        (self.blueprints, self.entities, self.tasks) = (blueprints, entities, tasks);
        Ok(())
    }
}

/// An entity's optional fields as they are when not given.
fn blank() -> Value {
    json!({"description": null, "isActive": true, "isHidden": false, "properties": {}, "relations": {}, "sources": []})
}

fn text(entity: &Map<String, Value>, name: &str) -> String {
    entity.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// `vendors/rely.md` §2: names and types of an entity's fields, relations as objects with `value`, no nulls.
fn check_field(name: &str, value: &Value) -> Result<(), Refusal> {
    let wrong = |expected: &str| {
        let message = format!("Input should be a valid {expected}");
        Err(Refusal::invalid(&[name], &message, &format!("{expected}_type")))
    };
    match name {
        "id" | "blueprintId" => match value.as_str() {
            None => wrong("string"),
            Some(text) => check_id(text, &[name]),
        },
        "title" if value.as_str() == Some("") => Err(Refusal::invalid(
            &[name],
            "String should have at least 1 character",
            "string_too_short",
        )),
        "title" | "description" if !value.is_string() => wrong("string"),
        "isActive" | "isHidden" if !value.is_boolean() => wrong("boolean"),
        "sources" if !value.is_array() => wrong("list"),
        "properties" | "relations" if !value.is_object() => wrong("dictionary"),
        "properties" => match null_in(value) {
            None => Ok(()),
            Some(path) => {
                let path = std::iter::once(name).chain(path).collect::<Vec<_>>();
                Err(Refusal::invalid(&path, "Input should not be null", "none_not_allowed"))
            }
        },
        "relations" => value
            .as_object()
            .into_iter()
            .flatten()
            .try_for_each(|(key, value)| check_relation(key, value)),
        _ if FIELDS.contains(&name) => Ok(()),
        _ => Err(Refusal::invalid(
            &[name],
            "Extra inputs are not permitted",
            "extra_forbidden",
        )),
    }
}

fn check_id(id: &str, at: &[&str]) -> Result<(), Refusal> {
    if ID.is_match(id) {
        return Ok(());
    }
    Err(Refusal::invalid(
        at,
        "String should match pattern '^([a-z0-9_.-]+)$'",
        "string_pattern_mismatch",
    ))
}

/// `{"value": "id"}` or `{"value": ["id", …]}` (`vendors/rely.md` §2, "Relation shape").
fn check_relation(name: &str, relation: &Value) -> Result<(), Refusal> {
    let at = ["relations", name];
    let Some(fields) = relation.as_object() else {
        return Err(Refusal::invalid(&at, "Input should be a valid dictionary", "dict_type"));
    };
    let at = ["relations", name, "value"];
    match fields.get("value") {
        None => Err(Refusal::invalid(&at, "Field required", "missing")),
        Some(_) if fields.len() > 1 => Err(Refusal::invalid(
            &at[..2],
            "Extra inputs are not permitted",
            "extra_forbidden",
        )),
        Some(Value::String(id)) => check_id(id, &at),
        Some(Value::Array(ids)) => ids.iter().try_for_each(|id| match id.as_str() {
            Some(id) => check_id(id, &at),
            None => Err(Refusal::invalid(&at, "Input should be a valid string", "string_type")),
        }),
        Some(_) => Err(Refusal::invalid(
            &at,
            "Input should be a valid string or list",
            "value_error",
        )),
    }
}

/// Where there is a null, however deep: the vendor's own client removes them all (`vendors/rely.md` §2).
fn null_in(value: &Value) -> Option<Vec<&str>> {
    let below = |name: &'static str, value| null_in(value).map(|path| [vec![name], path].concat());
    match value {
        Value::Null => Some(Vec::new()),
        Value::Array(values) => values.iter().find_map(|value| below("[]", value)),
        Value::Object(fields) => fields.iter().find_map(|(name, value)| {
            let path = null_in(value)?;
            Some(std::iter::once(name.as_str()).chain(path).collect())
        }),
        _ => None,
    }
}

/// What pydantic takes for a boolean in a query.
fn fastapi_bool(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "on" | "yes" | "t" | "y" => Some(true),
        "false" | "0" | "off" | "no" | "f" | "n" => Some(false),
        _ => None,
    }
}

fn refuse_query(request: &Request, known: &[&str]) -> Result<(), Refusal> {
    request.query().unknown(known).map_or(Ok(()), |name| {
        Err(Refusal::query(name, "Extra inputs are not permitted"))
    })
}

fn json_body(request: &Request) -> Result<Value, Refusal> {
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

fn body(request: &Request) -> Result<Map<String, Value>, Refusal> {
    match json_body(request)? {
        Value::Object(fields) => Ok(fields),
        _ => Err(Refusal::invalid(
            &[],
            "Input should be a valid dictionary",
            "model_type",
        )),
    }
}

/// The vendor's stock data model (`vendors/rely.md` §4); types that the page doesn't name follow from the names.
fn stock_blueprints() -> Map<String, Value> {
    let properties = |typed: &[(&str, &[&str])]| {
        let mut properties = Map::new();
        for (kind, names) in typed {
            let schema = match *kind {
                "date-time" => json!({"type": "string", "format": "date-time"}),
                kind => json!({"type": kind}),
            };
            properties.extend(names.iter().map(|name| ((*name).to_owned(), schema.clone())));
        }
        Value::Object(properties)
    };
    let deployment = json!({
        "properties": properties(&[
            ("string", &["link", "status", "sourceCommit", "triggeredBy", "failureReason"]),
            ("date-time", &["createdAt", "updatedAt", "closedAt"]),
            ("number", &["duration"]),
            ("boolean", &["successful"]),
        ]),
        "relations": ["service", "targetEnvironment", "GitlabDeployment", "GitlabPipeline"],
    });
    let pipeline = json!({
        "properties": properties(&[
            ("string", &["status", "branch", "commitSHA", "webUrl", "failureReason"]),
            ("date-time", &["createdAt", "startedAt", "updatedAt", "finishedAt"]),
            ("number", &["duration"]),
            ("boolean", &["successful"]),
        ]),
        "relations": ["repository", "owner", "triggeredBy"],
    });
    let gitlab_deployment = json!({
        "properties": properties(&[
            ("string", &["status", "envLink", "outputLink", "jobLink", "pipelineLink", "branch", "commit", "jobId",
                "commitTitle", "commitMessage", "commitAuthor"]),
            ("date-time", &["createdAt", "updatedAt", "finishedAt"]),
            ("number", &["number"]),
        ]),
        "relations": ["repository", "triggeredBy", "environment", "pipeline"],
    });
    [
        ("deployment", deployment),
        ("gitlab.v1.pipeline", pipeline),
        ("gitlab.v1.deployment", gitlab_deployment),
    ]
    .map(|(id, blueprint)| (id.to_owned(), blueprint))
    .into_iter()
    .collect()
}
