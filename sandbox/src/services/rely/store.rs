//! What Rely.io holds, and how an entity gets there.

use serde_json::{Map, Value, json};

use super::blueprints;
use super::request::Refusal;
use super::shape::{blank, check_field, text};
use crate::clock::now;
use crate::json::merge;
use crate::schema;

pub(super) struct Store {
    pub(super) blueprints: Map<String, Value>,
    pub(super) entities: Map<String, Value>,
    pub(super) tasks: Map<String, Value>,
}

/// What an entity is checked for, besides its shape.
#[derive(Clone, Copy)]
pub(super) struct Rules {
    /// A patch needs no title, and merges.
    pub(super) patch: bool,
    /// Properties and relations that the blueprint doesn't know are dropped instead of refused.
    pub(super) ignore_unmapped: bool,
}

impl Store {
    /// The stock blueprints; no entities and no tasks.
    pub(super) fn initial() -> Self {
        Self {
            blueprints: blueprints::stock(),
            entities: Map::new(),
            tasks: Map::new(),
        }
    }

    pub(super) fn show(&self) -> Value {
        json!({"blueprints": self.blueprints, "entities": self.entities, "tasks": self.tasks})
    }

    /// Merges a seed into all of this.
    pub(super) fn seed(&mut self, seed: Value) -> Result<(), String> {
        let mut merged = self.show();
        merge(&mut merged, seed);
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

    /// Checks an entity's shape, and its properties and relations against its blueprint.
    pub(super) fn check(&self, mut entity: Map<String, Value>, rules: Rules) -> Result<Map<String, Value>, Refusal> {
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
    pub(super) fn write(&mut self, id: &str, entity: Map<String, Value>, rules: Rules) -> Value {
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
