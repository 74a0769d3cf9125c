//! Many entities in one request, as a list or as a task.

use serde_json::{Value, json};

use super::request::{Refusal, body, fastapi_bool, json_body, refuse_query};
use super::shape::text;
use super::store::{Rules, Store};
use crate::json::merge;
use crate::wire::{Reply, Request};

/// The most entities of one bulk task (docs/vendors/rely.md 3); the vendor's own client never sends more.
const CHUNK: usize = 100;

impl Store {
    /// `PUT /api/v1/entities/bulk`, the old form: an array of entities (docs/vendors/rely.md 3).
    pub(super) fn write_list(&mut self, request: &Request) -> Result<Reply, Refusal> {
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

    /// `POST /api/v1/tasks`, the new bulk form (docs/vendors/rely.md 3). A task has run by the time its creation is
    /// answered, but says so to the second poll only, so that a client has to poll.
    pub(super) fn start_task(&mut self, request: &Request) -> Result<Reply, Refusal> {
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
    pub(super) fn poll_task(&mut self, id: &str) -> Result<Reply, Refusal> {
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
            .map(|(entity, rules)| self.write(&text(&entity, "id"), entity, rules))
            .collect())
    }
}
