//! Deleting entities, with or without those that depend on them.

use serde_json::{Value, json};

use super::request::{Refusal, body, only, query, required_flag};
use super::state::State;
use crate::wire::{Reply, Request};

/// The most entities that one bulk request may delete (docs/vendors/port.md 2).
const BULK_LIMIT: usize = 100;

impl State {
    /// `DELETE …/entities/{id}?delete_dependents=false`.
    pub(super) fn delete(&mut self, blueprint: &str, id: &str, request: &Request) -> Result<Reply, Refusal> {
        let query = query(request, &["delete_dependents", "run_id"])?;
        let dependents = required_flag(&query, "delete_dependents")?;
        let run = self.run_of(&query)?;
        self.blueprint(blueprint)?;
        self.deletable(blueprint, id, dependents)?;
        self.remove(blueprint, id);
        self.note_change(run.as_deref(), blueprint, id);
        Ok(Reply::json(200, &json!({"ok": true})))
    }

    /// `POST …/bulk/entities/delete?delete_dependents=false`: all or nothing.
    pub(super) fn bulk_delete(&mut self, blueprint: &str, request: &Request) -> Result<Reply, Refusal> {
        let query = query(request, &["delete_dependents"])?;
        let dependents = required_flag(&query, "delete_dependents")?;
        self.blueprint(blueprint)?;
        let body = body(request)?;
        only(&body, &["entities"])?;
        let given = body.get("entities").and_then(Value::as_array);
        let given = given.ok_or(Refusal::invalid("body must have required property 'entities'"))?;
        let ids = given.iter().map(Value::as_str).collect::<Option<Vec<_>>>();
        let ids = ids.ok_or(Refusal::invalid("body/entities must be strings"))?;
        if ids.is_empty() || ids.len() > BULK_LIMIT {
            return Err(Refusal::invalid("body/entities must have between 1 and 100 items"));
        }
        ids.iter()
            .try_for_each(|id| self.deletable(blueprint, id, dependents))?;
        for id in &ids {
            self.remove(blueprint, id);
        }
        Ok(Reply::json(200, &json!({"ok": true, "deletedEntities": ids})))
    }

    /// The entities whose relations point to this one: their blueprints and identifiers.
    fn dependents(&self, blueprint: &str, id: &str) -> Vec<(String, String)> {
        let mut dependents = Vec::new();
        for (other, entities) in &self.entities {
            let relations = self
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
        let Some(entities) = self.entities.get_mut(blueprint) else {
            return;
        };
        entities.remove(id);
        for (blueprint, id) in self.dependents(blueprint, id) {
            self.remove(&blueprint, &id);
        }
    }
}
