//! Entities: written one by one and in bulk, read, deleted (`vendors/port.md` §2).

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value, json};

use super::{Port, Refusal, body, flag, only, query, search};
use crate::schema;
use crate::wire::{Query, Reply, Request, now};

/// The most entities of one bulk request, and the most that one may delete (§2).
const BULK_LIMIT: usize = 20;
const BULK_DELETE_LIMIT: usize = 100;

/// The fields of an entity's body (§2).
const FIELDS: [&str; 6] = ["identifier", "title", "icon", "team", "properties", "relations"];

/// What may be asked of a reply that shows entities.
pub(super) const VIEW: [&str; 4] = [
    "include",
    "exclude",
    "exclude_calculated_properties",
    "attach_title_to_relation",
];

/// How an entity is written.
#[derive(Clone, Copy)]
enum Mode<'a> {
    /// POST: refused, overwritten or merged where the entity exists.
    Create { upsert: bool, merge: bool },
    /// PATCH of an entity that exists.
    Patch(&'a str),
    /// PUT of an entity that exists.
    Replace(&'a str),
}

/// The query parameters that all ways of writing share.
struct Flags {
    validation_only: bool,
    create_missing: bool,
    run: Option<String>,
}

/// A blueprint, and an identifier in it.
type Target = (String, String);

/// What was written.
struct Written {
    created: bool,
    identifier: String,
    entity: Value,
}

impl Port {
    /// `POST /v1/blueprints/{bp}/entities?upsert=…`.
    pub(super) fn create(&mut self, blueprint: &str, request: &Request) -> Result<Reply, Refusal> {
        let (mode, flags) = self.creation(request)?;
        let written = self.write(blueprint, &body(request)?, mode, &flags)?;
        let status = if written.created { 201 } else { self.updated };
        Ok(Reply::json(status, &json!({"ok": true, "entity": written.entity})))
    }

    /// `POST …/entities/bulk?upsert=…`: each entity by itself, 207 where some failed.
    pub(super) fn bulk(&mut self, blueprint: &str, request: &Request) -> Result<Reply, Refusal> {
        let (mode, flags) = self.creation(request)?;
        self.blueprint(blueprint)?;
        let mut body = body(request)?;
        only(&body, &["entities"])?;
        let Some(Value::Array(given)) = body.remove("entities") else {
            return Err(Refusal::invalid("body must have required property 'entities'"));
        };
        if given.is_empty() || given.len() > BULK_LIMIT {
            return Err(Refusal::invalid("body/entities must have between 1 and 20 items"));
        }
        let (mut entities, mut errors) = (Vec::new(), Vec::new());
        for (index, entity) in given.into_iter().enumerate() {
            let identifier = entity["identifier"].clone();
            let written = match entity {
                Value::Object(entity) => self.write(blueprint, &entity, mode, &flags),
                _ => Err(Refusal::invalid(format!("body/entities/{index} must be object"))),
            };
            match written {
                Ok(written) => {
                    entities
                        .push(json!({"created": written.created, "identifier": written.identifier, "index": index}));
                }
                Err(Refusal(status, error, message)) => errors.push(json!({"identifier": identifier, "index": index,
                    "statusCode": status, "error": error, "message": message})),
            }
        }
        let ok = errors.is_empty();
        Ok(Reply::json(
            if ok { 200 } else { 207 },
            &json!({"ok": ok, "entities": entities, "errors": errors}),
        ))
    }

    /// `PATCH …/entities/{id}`.
    pub(super) fn patch(&mut self, blueprint: &str, id: &str, request: &Request) -> Result<Reply, Refusal> {
        let query = query(request, &["create_missing_related_entities", "run_id"])?;
        let body = body(request)?;
        only(&body, &FIELDS)?;
        let flags = self.flags(&query)?;
        let written = self.write(blueprint, &body, Mode::Patch(id), &flags)?;
        Ok(Reply::json(200, &json!({"ok": true, "entity": written.entity})))
    }

    /// `PUT …/entities/{id}`.
    pub(super) fn replace(&mut self, blueprint: &str, id: &str, request: &Request) -> Result<Reply, Refusal> {
        let query = query(request, &["create_missing_related_entities", "run_id"])?;
        let flags = self.flags(&query)?;
        let written = self.write(blueprint, &body(request)?, Mode::Replace(id), &flags)?;
        Ok(Reply::json(200, &json!({"ok": true, "entity": written.entity})))
    }

    /// `GET …/entities/{id}`.
    pub(super) fn read(&self, blueprint: &str, id: &str, request: &Request) -> Result<Reply, Refusal> {
        let query = query(request, &VIEW)?;
        self.blueprint(blueprint)?;
        let entity = self.entity(blueprint, id).ok_or(Refusal::missing("Entity", id))?;
        Ok(Reply::json(
            200,
            &json!({"ok": true, "entity": self.view_of(entity, &query)?}),
        ))
    }

    /// `GET …/entities`.
    pub(super) fn list(&self, blueprint: &str, request: &Request) -> Result<Reply, Refusal> {
        let query = query(request, &VIEW)?;
        self.blueprint(blueprint)?;
        let entities = self
            .state
            .entities
            .get(blueprint)
            .into_iter()
            .flat_map(|entities| entities.values());
        let shown = entities
            .map(|entity| self.view_of(entity, &query))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Reply::json(200, &json!({"ok": true, "entities": shown})))
    }

    /// `GET …/entities-count`.
    pub(super) fn count(&self, blueprint: &str, request: &Request) -> Result<Reply, Refusal> {
        query(request, &[])?;
        self.blueprint(blueprint)?;
        let count = self
            .state
            .entities
            .get(blueprint)
            .map_or(0, std::collections::BTreeMap::len);
        Ok(Reply::json(200, &json!({"ok": true, "count": count})))
    }

    /// `DELETE …/entities/{id}?delete_dependents=false`.
    pub(super) fn delete(&mut self, blueprint: &str, id: &str, request: &Request) -> Result<Reply, Refusal> {
        let query = query(request, &["delete_dependents", "run_id"])?;
        let dependents = flag(&query, "delete_dependents")?;
        let run = self.run_of(&query)?;
        self.blueprint(blueprint)?;
        self.deletable(blueprint, id, dependents)?;
        self.remove(blueprint, id);
        self.tie(run.as_deref(), blueprint, id);
        Ok(Reply::json(200, &json!({"ok": true})))
    }

    /// `POST …/bulk/entities/delete?delete_dependents=false`: all or nothing.
    pub(super) fn bulk_delete(&mut self, blueprint: &str, request: &Request) -> Result<Reply, Refusal> {
        let query = query(request, &["delete_dependents"])?;
        let dependents = flag(&query, "delete_dependents")?;
        self.blueprint(blueprint)?;
        let body = body(request)?;
        only(&body, &["entities"])?;
        let given = body.get("entities").and_then(Value::as_array);
        let given = given.ok_or(Refusal::invalid("body must have required property 'entities'"))?;
        let ids = given.iter().map(Value::as_str).collect::<Option<Vec<_>>>();
        let ids = ids.ok_or(Refusal::invalid("body/entities must be strings"))?;
        if ids.is_empty() || ids.len() > BULK_DELETE_LIMIT {
            return Err(Refusal::invalid("body/entities must have between 1 and 100 items"));
        }
        ids.iter()
            .try_for_each(|id| self.deletable(blueprint, id, dependents))?;
        for id in &ids {
            self.remove(blueprint, id);
        }
        Ok(Reply::json(200, &json!({"ok": true, "deletedEntities": ids})))
    }

    /// The parameters of the two ways to create; `upsert` is required (§2).
    fn creation(&self, request: &Request) -> Result<(Mode<'static>, Flags), Refusal> {
        let known = [
            "upsert",
            "merge",
            "validation_only",
            "create_missing_related_entities",
            "run_id",
        ];
        let query = query(request, &known)?;
        if query.get("upsert").is_none() {
            return Err(Refusal::invalid("querystring must have required property 'upsert'"));
        }
        let mode = Mode::Create {
            upsert: flag(&query, "upsert")?,
            merge: flag(&query, "merge")?,
        };
        Ok((mode, self.flags(&query)?))
    }

    fn flags(&self, query: &Query) -> Result<Flags, Refusal> {
        Ok(Flags {
            validation_only: flag(query, "validation_only")?,
            create_missing: flag(query, "create_missing_related_entities")?,
            run: self.run_of(query)?,
        })
    }

    /// The run that a change is tied to; it has to exist.
    fn run_of(&self, query: &Query) -> Result<Option<String>, Refusal> {
        match query.get("run_id") {
            Some(id) if !self.state.runs.contains_key(id) => Err(Refusal::missing("Run", id)),
            id => Ok(id.map(str::to_owned)),
        }
    }

    /// Notes a change in its run.
    fn tie(&mut self, run: Option<&str>, blueprint: &str, identifier: &str) {
        if let Some(Value::Array(changed)) = run.and_then(|id| self.state.runs.get_mut(id)?.get_mut("changedEntities"))
        {
            changed.push(json!({"blueprint": blueprint, "identifier": identifier}));
        }
    }

    pub(super) fn entity(&self, blueprint: &str, id: &str) -> Option<&Value> {
        self.state.entities.get(blueprint)?.get(id)
    }

    /// Checks a body, and writes it unless only its check was asked for.
    fn write(
        &mut self,
        blueprint_id: &str,
        body: &Map<String, Value>,
        mode: Mode<'_>,
        flags: &Flags,
    ) -> Result<Written, Refusal> {
        let blueprint = self.blueprint(blueprint_id)?.clone();
        check_shape(body, matches!(mode, Mode::Patch(_)))?;
        if body.contains_key("team") && blueprint.get("teamInheritance").is_some() {
            return Err(Refusal::new(
                422,
                "team_inheritance_enabled",
                "The blueprint inherits its teams",
            ));
        }
        let named = self.named(blueprint_id, body.get("identifier"))?;
        let (current, identifier) = match mode {
            Mode::Create { .. } => {
                let identifier = named.unwrap_or_else(|| format!("e_{}", uuid::Uuid::new_v4().simple()));
                (self.entity(blueprint_id, &identifier).cloned(), identifier)
            }
            Mode::Patch(id) | Mode::Replace(id) => {
                let existing = self
                    .entity(blueprint_id, id)
                    .cloned()
                    .ok_or(Refusal::missing("Entity", id))?;
                (Some(existing), named.unwrap_or_else(|| id.to_owned()))
            }
        };
        check_identifier(&identifier)?;
        let taken = match mode {
            Mode::Create { upsert, .. } => !upsert && current.is_some(),
            Mode::Patch(id) | Mode::Replace(id) => id != identifier && self.entity(blueprint_id, &identifier).is_some(),
        };
        if taken {
            let message = format!("Entity with identifier \"{identifier}\" already exists");
            return Err(Refusal::new(409, "identifier_taken", message));
        }
        check_properties(body, &blueprint)?;
        let (relations, missing) = self.relations(body, &blueprint, flags.create_missing)?;

        let merges = matches!(mode, Mode::Patch(_) | Mode::Create { merge: true, .. });
        let mut entity = match &current {
            Some(current) if merges => current.clone(),
            _ => blank(blueprint_id, &identifier),
        };
        fill(&mut entity, body, relations);
        entity["identifier"] = json!(identifier);
        if let Some(current) = &current {
            entity["createdAt"] = current["createdAt"].clone();
        }
        entity["updatedAt"] = json!(now());
        check_required(&entity, &blueprint)?;

        if !flags.validation_only {
            for (target, id) in missing {
                let related = blank(&target, &id);
                self.state
                    .entities
                    .entry(target)
                    .or_default()
                    .entry(id)
                    .or_insert(related);
            }
            let entities = self.state.entities.entry(blueprint_id.to_owned()).or_default();
            if let Mode::Patch(id) | Mode::Replace(id) = mode {
                entities.remove(id);
            }
            entities.insert(identifier.clone(), entity.clone());
            self.tie(flags.run.as_deref(), blueprint_id, &identifier);
        }
        Ok(Written {
            created: current.is_none(),
            identifier,
            entity,
        })
    }

    /// The identifier that a body names: as text, or as a query that has to find one entity.
    fn named(&self, blueprint: &str, identifier: Option<&Value>) -> Result<Option<String>, Refusal> {
        match identifier {
            Some(Value::String(identifier)) => Ok(Some(identifier.clone())),
            Some(query @ Value::Object(_)) => match self.found(blueprint, query)?.as_slice() {
                [one] => Ok(Some(one.clone())),
                found => Err(Refusal::invalid(format!(
                    "the identifier's query finds {} entities",
                    found.len()
                ))),
            },
            _ => Ok(None),
        }
    }

    /// What a query finds in a blueprint.
    fn found(&self, blueprint: &str, query: &Value) -> Result<Vec<String>, Refusal> {
        let mut found = Vec::new();
        for (identifier, entity) in self.state.entities.get(blueprint).into_iter().flatten() {
            if search::fits(entity, query)? {
                found.push(identifier.clone());
            }
        }
        Ok(found)
    }

    /// The relations of a body, queries resolved, and the targets that have to be created for them.
    fn relations(
        &self,
        body: &Map<String, Value>,
        blueprint: &Value,
        create_missing: bool,
    ) -> Result<(Map<String, Value>, Vec<Target>), Refusal> {
        let (mut relations, mut missing) = (Map::new(), Vec::new());
        for (name, value) in body.get("relations").and_then(Value::as_object).into_iter().flatten() {
            let definition = blueprint["relations"]
                .get(name)
                .ok_or(Refusal::missing("Relation", name))?;
            let target = definition["target"].as_str().unwrap_or_default();
            let many = definition["many"] == true;
            let value = match value {
                Value::Object(_) => {
                    let found = self.found(target, value)?;
                    if many { json!(found) } else { json!(found.first()) }
                }
                value => value.clone(),
            };
            let violation = |expected: &str| {
                let message = format!("Relation \"{name}\" must be {expected}");
                Err(Refusal::new(422, "relation_many_violation", message))
            };
            let ids = match &value {
                Value::Array(_) if !many => return violation("a single identifier"),
                Value::String(_) if many => return violation("an array of identifiers"),
                Value::Array(ids) => ids.iter().filter_map(Value::as_str).collect(),
                Value::String(id) => vec![id.as_str()],
                _ => Vec::new(),
            };
            for id in ids {
                if self.entity(target, id).is_some() {
                    continue;
                }
                // §2: a protected blueprint's entities are never created this way.
                if !create_missing || target.starts_with('_') {
                    return Err(Refusal::missing(
                        &format!("Target entity of the relation \"{name}\""),
                        id,
                    ));
                }
                check_identifier(id)?;
                missing.push((target.to_owned(), id.to_owned()));
            }
            relations.insert(name.clone(), value);
        }
        Ok((relations, missing))
    }

    /// The entities whose relations point to this one.
    fn dependents(&self, blueprint: &str, id: &str) -> Vec<Target> {
        let mut dependents = Vec::new();
        for (other, entities) in &self.state.entities {
            let relations = self
                .state
                .blueprints
                .get(other)
                .and_then(|other| other["relations"].as_object());
            let pointing = relations
                .into_iter()
                .flatten()
                .filter(|(_, definition)| definition["target"] == blueprint);
            let pointing = pointing.map(|(name, _)| name).collect::<Vec<_>>();
            for (identifier, entity) in entities {
                let points = |name: &&String| match &entity["relations"][name.as_str()] {
                    Value::String(target) => target == id,
                    Value::Array(targets) => targets.iter().any(|target| target == id),
                    _ => false,
                };
                if pointing.iter().any(points) {
                    dependents.push((other.clone(), identifier.clone()));
                }
            }
        }
        dependents
    }

    fn deletable(&self, blueprint: &str, id: &str, with_dependents: bool) -> Result<(), Refusal> {
        if self.entity(blueprint, id).is_none() {
            return Err(Refusal::missing("Entity", id));
        }
        if !with_dependents && !self.dependents(blueprint, id).is_empty() {
            return Err(Refusal::new(
                403,
                "has_dependents",
                format!("Entity \"{id}\" has dependents"),
            ));
        }
        Ok(())
    }

    /// Removes an entity, and everything that depends on it.
    fn remove(&mut self, blueprint: &str, id: &str) {
        let Some(entities) = self.state.entities.get_mut(blueprint) else {
            return;
        };
        entities.remove(id);
        for (blueprint, id) in self.dependents(blueprint, id) {
            self.remove(&blueprint, &id);
        }
    }

    fn view_of(&self, entity: &Value, query: &Query) -> Result<Value, Refusal> {
        // There are no calculated properties here to leave out, but the parameter is checked all the same.
        flag(query, "exclude_calculated_properties")?;
        let titled = flag(query, "attach_title_to_relation")?;
        let entity = if titled { self.titled(entity) } else { entity.clone() };
        Ok(view(&entity, &query.all("include"), &query.all("exclude")))
    }

    /// The entity with `{"identifier", "title"}` in place of each relation's identifier.
    fn titled(&self, entity: &Value) -> Value {
        let blueprint = entity["blueprint"]
            .as_str()
            .and_then(|id| self.state.blueprints.get(id));
        let mut entity = entity.clone();
        for (name, value) in entity["relations"].as_object_mut().into_iter().flatten() {
            let target = blueprint.and_then(|blueprint| blueprint["relations"][name.as_str()]["target"].as_str());
            let titled = |id: &Value| {
                let found = id.as_str().and_then(|id| self.entity(target?, id));
                json!({"identifier": id, "title": found.map(|entity| &entity["title"])})
            };
            *value = match &*value {
                Value::Array(ids) => ids.iter().map(titled).collect(),
                Value::Null => Value::Null,
                id => titled(id),
            };
        }
        entity
    }
}

/// An entity with nothing but an identifier.
pub(super) fn blank(blueprint: &str, identifier: &str) -> Value {
    json!({"identifier": identifier, "title": null, "icon": null, "team": [], "properties": {}, "relations": {},
        "blueprint": blueprint, "createdAt": now(), "createdBy": "sandboxClientId9Qx2", "updatedAt": now(),
        "updatedBy": "sandboxClientId9Qx2"})
}

/// An entity cut down to what was included, without what was excluded: `identifier`, `properties.version`.
pub(super) fn view(entity: &Value, include: &[&str], exclude: &[&str]) -> Value {
    let mut shown = Map::new();
    for (name, value) in entity.as_object().into_iter().flatten() {
        let listed = |list: &[&str], path: &str| list.contains(&path);
        let kept = |path: &str| {
            let whole = path.split('.').next().unwrap_or(path);
            let in_list = include.is_empty() || listed(include, path) || listed(include, whole);
            in_list && !listed(exclude, path) && !listed(exclude, whole)
        };
        match value {
            Value::Object(fields) if name == "properties" || name == "relations" => {
                let fields = fields.iter().filter(|(field, _)| kept(&format!("{name}.{field}")));
                let fields = fields
                    .map(|(field, value)| (field.clone(), value.clone()))
                    .collect::<Map<_, _>>();
                let asked = kept(name) || !fields.is_empty();
                if asked {
                    shown.insert(name.clone(), Value::Object(fields));
                }
            }
            value if kept(name) => {
                shown.insert(name.clone(), value.clone());
            }
            _ => {}
        }
    }
    Value::Object(shown)
}

/// Puts a body's fields into an entity. A null takes a property away.
fn fill(entity: &mut Value, body: &Map<String, Value>, relations: Map<String, Value>) {
    for name in ["title", "icon"] {
        if let Some(value) = body.get(name) {
            entity[name] = value.clone();
        }
    }
    match body.get("team") {
        None => {}
        Some(Value::String(team)) => entity["team"] = json!([team]),
        Some(Value::Null) => entity["team"] = json!([]),
        Some(teams) => entity["team"] = teams.clone(),
    }
    let properties = entity["properties"]
        .as_object_mut()
        .expect("an entity's properties are an object");
    for (name, value) in body.get("properties").and_then(Value::as_object).into_iter().flatten() {
        if value.is_null() {
            properties.remove(name);
        } else {
            properties.insert(name.clone(), value.clone());
        }
    }
    entity["relations"]
        .as_object_mut()
        .expect("an entity's relations are an object")
        .extend(relations);
}

/// `vendors/port.md` §2: the identifier's pattern, its look-ahead spelled out, and its length.
fn check_identifier(identifier: &str) -> Result<(), Refusal> {
    static PATTERN: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"^[\p{L}0-9@_.+:\\/=-]+$").expect("a constant pattern"));
    let fits = PATTERN.is_match(identifier) && !matches!(identifier, "." | "..");
    if !fits {
        return Err(Refusal::invalid(
            r#"body/identifier must match pattern "^(?!\.{1,2}$)[\p{L}0-9@_.+:\\/=-]+$""#,
        ));
    }
    if identifier.chars().count() > 1000 {
        return Err(Refusal::invalid(
            "body/identifier must NOT have more than 1000 characters",
        ));
    }
    Ok(())
}

/// The types of a body's known fields; others are tolerated here (§2).
fn check_shape(body: &Map<String, Value>, patch: bool) -> Result<(), Refusal> {
    let text_or_query = |value: &Value| value.is_string() || value.is_object();
    let texts = |value: &Value| value.as_array().is_some_and(|all| all.iter().all(Value::is_string));
    for (name, value) in body {
        let fits = match name.as_str() {
            "identifier" => text_or_query(value),
            "title" | "icon" => value.is_string() || patch && value.is_null(),
            // A query for teams would need the `_team` blueprint, which this stand-in doesn't have.
            "team" => value.is_string() || texts(value) || patch && value.is_null(),
            "properties" => value.is_object(),
            "relations" => value.as_object().is_some_and(|relations| {
                relations
                    .values()
                    .all(|value| value.is_null() || text_or_query(value) || texts(value))
            }),
            _ => true,
        };
        if !fits {
            return Err(Refusal::invalid(format!("body/{name} has the wrong type")));
        }
    }
    Ok(())
}

/// `vendors/port.md` §4, §9: unknown and ill-typed properties are refused.
fn check_properties(body: &Map<String, Value>, blueprint: &Value) -> Result<(), Refusal> {
    let mismatch = |message: String| Err(Refusal::new(422, "blueprint_schema_mismatch", message));
    for (name, value) in body.get("properties").and_then(Value::as_object).into_iter().flatten() {
        match blueprint["schema"]["properties"].get(name) {
            None => return mismatch(format!("The blueprint has no property \"{name}\"")),
            Some(_) if value.is_null() => {}
            Some(schema) => {
                if let Err(problem) = schema::check(value, schema) {
                    return mismatch(format!("properties/{name} {problem}"));
                }
            }
        }
    }
    Ok(())
}

fn check_required(entity: &Value, blueprint: &Value) -> Result<(), Refusal> {
    let required = blueprint["schema"]["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    for name in required {
        if entity["properties"].get(name).is_none() {
            let message = format!("The property \"{name}\" is required");
            return Err(Refusal::new(422, "blueprint_schema_mismatch", message));
        }
    }
    for (name, definition) in blueprint["relations"].as_object().into_iter().flatten() {
        if definition["required"] == true && entity["relations"][name.as_str()].is_null() {
            return Err(Refusal::new(
                422,
                "required_relation",
                format!("The relation \"{name}\" is required"),
            ));
        }
    }
    Ok(())
}
