//! Writing one entity, whichever route asks for it.

use serde_json::{Map, Value, json};

use super::entity::{blank, check_identifier, check_properties, check_required, check_shape, fill};
use super::request::Refusal;
use super::rules::fits;
use super::state::State;
use crate::clock::now;

/// How an entity is written.
#[derive(Clone, Copy)]
pub(super) enum Mode<'a> {
    /// POST: refused, overwritten or merged where the entity exists.
    Create { upsert: bool, merge: bool },
    /// PATCH of an entity that exists.
    Patch(&'a str),
    /// PUT of an entity that exists.
    Replace(&'a str),
}

/// The query parameters that all ways of writing share.
pub(super) struct Flags {
    pub(super) validation_only: bool,
    pub(super) create_missing: bool,
    pub(super) run: Option<String>,
}

/// A blueprint, and an identifier in it.
type Target = (String, String);

/// What was written.
pub(super) struct Written {
    pub(super) created: bool,
    pub(super) identifier: String,
    pub(super) entity: Value,
}

impl State {
    /// Checks a body, and writes it unless only its check was asked for.
    pub(super) fn write(
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
        let named = self.resolve_identifier(blueprint_id, body.get("identifier"))?;
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
                self.entities.entry(target).or_default().entry(id).or_insert(related);
            }
            let entities = self.entities.entry(blueprint_id.to_owned()).or_default();
            if let Mode::Patch(id) | Mode::Replace(id) = mode {
                entities.remove(id);
            }
            entities.insert(identifier.clone(), entity.clone());
            self.note_change(flags.run.as_deref(), blueprint_id, &identifier);
        }
        Ok(Written {
            created: current.is_none(),
            identifier,
            entity,
        })
    }

    /// The identifier that a body names: as text, or as a query that has to find one entity.
    fn resolve_identifier(&self, blueprint: &str, identifier: Option<&Value>) -> Result<Option<String>, Refusal> {
        match identifier {
            Some(Value::String(identifier)) => Ok(Some(identifier.clone())),
            Some(query @ Value::Object(_)) => match self.find(blueprint, query)?.as_slice() {
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
    fn find(&self, blueprint: &str, query: &Value) -> Result<Vec<String>, Refusal> {
        let mut found = Vec::new();
        for (identifier, entity) in self.entities.get(blueprint).into_iter().flatten() {
            if fits(entity, query)? {
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
                    let found = self.find(target, value)?;
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
                // A protected blueprint's entities are never created this way (docs/vendors/port.md 2).
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
}
