//! Entities: written one by one and in bulk, read (docs/vendors/port.md 2).

use serde_json::{Value, json};

use super::entity::FIELDS;
use super::request::{Refusal, body, flag, only, query, required_flag};
use super::state::State;
use super::view::VIEW;
use super::write::{Flags, Mode};
use crate::wire::{Query, Reply, Request};

/// The most entities of one bulk request (docs/vendors/port.md 2).
const BULK_LIMIT: usize = 20;

impl State {
    /// `POST /v1/blueprints/{bp}/entities?upsert=…`; `updated` is the status where the entity was there.
    pub(super) fn create(&mut self, blueprint: &str, request: &Request, updated: u16) -> Result<Reply, Refusal> {
        let (mode, flags) = self.creation(request)?;
        let written = self.write(blueprint, &body(request)?, mode, &flags)?;
        let status = if written.created { 201 } else { updated };
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
            .entities
            .get(blueprint)
            .into_iter()
            .flat_map(|entities| entities.values());
        let shown = entities
            .map(|entity| self.view_of(entity, &query))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Reply::json(200, &json!({"ok": true, "entities": shown})))
    }

    /// `GET /v1/blueprints/{bp}`.
    pub(super) fn read_blueprint(&self, id: &str, request: &Request) -> Result<Reply, Refusal> {
        query(request, &["exclude_calculated_properties"])?;
        Ok(Reply::json(200, &json!({"ok": true, "blueprint": self.blueprint(id)?})))
    }

    /// `GET …/entities-count`.
    pub(super) fn count(&self, blueprint: &str, request: &Request) -> Result<Reply, Refusal> {
        query(request, &[])?;
        self.blueprint(blueprint)?;
        let count = self.entities.get(blueprint).map_or(0, std::collections::BTreeMap::len);
        Ok(Reply::json(200, &json!({"ok": true, "count": count})))
    }

    /// The parameters of the two ways to create; `upsert` is required (docs/vendors/port.md 2).
    fn creation(&self, request: &Request) -> Result<(Mode<'static>, Flags), Refusal> {
        let known = [
            "upsert",
            "merge",
            "validation_only",
            "create_missing_related_entities",
            "run_id",
        ];
        let query = query(request, &known)?;
        let mode = Mode::Create {
            upsert: required_flag(&query, "upsert")?,
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
}
