//! What Port holds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::request::Refusal;
use super::{entity, initial, run};
use crate::json::merge;
use crate::wire::Query;

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    pub(super) blueprints: BTreeMap<String, Value>,
    pub(super) entities: BTreeMap<String, BTreeMap<String, Value>>,
    pub(super) actions: BTreeMap<String, Value>,
    pub(super) runs: BTreeMap<String, Value>,
    pub(super) logs: BTreeMap<String, Vec<Value>>,
}

impl State {
    /// The blueprints and actions that there are from the start; no entities and no runs.
    pub(super) fn initial() -> Self {
        Self {
            blueprints: initial::blueprints(),
            entities: BTreeMap::new(),
            actions: initial::actions(),
            runs: BTreeMap::new(),
            logs: BTreeMap::new(),
        }
    }

    /// This state with a seed merged into it, and with the defaults of what the seed leaves out.
    pub(super) fn merged(&self, seed: Value) -> Result<Self, String> {
        let mut merged = json!(self);
        merge(&mut merged, seed);
        let mut seeded: Self = serde_json::from_value(merged).map_err(|error| error.to_string())?;
        for (blueprint, entities) in &mut seeded.entities {
            for (identifier, entity) in entities {
                let mut whole = entity::blank(blueprint, identifier);
                merge(&mut whole, entity.take());
                if !whole["properties"].is_object() || !whole["relations"].is_object() {
                    return Err(format!("the entity {identifier:?} is no object of objects"));
                }
                *entity = whole;
            }
        }
        for (id, run) in &mut seeded.runs {
            let mut whole = run::blank(id, "deploy");
            merge(&mut whole, run.take());
            if !whole.is_object() {
                return Err(format!("the run {id:?} is no object"));
            }
            *run = whole;
        }
        Ok(seeded)
    }

    pub(super) fn blueprint(&self, id: &str) -> Result<&Value, Refusal> {
        self.blueprints.get(id).ok_or(Refusal::missing("Blueprint", id))
    }

    pub(super) fn entity(&self, blueprint: &str, id: &str) -> Option<&Value> {
        self.entities.get(blueprint)?.get(id)
    }

    /// The run that a change is tied to; it has to exist.
    pub(super) fn run_of(&self, query: &Query) -> Result<Option<String>, Refusal> {
        match query.get("run_id") {
            Some(id) if !self.runs.contains_key(id) => Err(Refusal::missing("Run", id)),
            id => Ok(id.map(str::to_owned)),
        }
    }

    /// Notes a change in its run.
    pub(super) fn note_change(&mut self, run: Option<&str>, blueprint: &str, identifier: &str) {
        if let Some(Value::Array(changed)) = run.and_then(|id| self.runs.get_mut(id)?.get_mut("changedEntities")) {
            changed.push(json!({"blueprint": blueprint, "identifier": identifier}));
        }
    }
}
