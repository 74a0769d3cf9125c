//! Action runs and their logs (docs/vendors/port.md 3).

use serde_json::{Map, Value, json};

use super::request::{Refusal, body, flag, number, only, query};
use super::run::{ENDS, blank, ended, note_times};
use super::state::State;
use crate::clock::now;
use crate::schema;
use crate::wire::{Reply, Request};

impl State {
    /// `POST /v1/actions/{action}/runs[?run_as=…]`.
    pub(super) fn create_run(&mut self, action: &str, request: &Request) -> Result<Reply, Refusal> {
        let query = query(request, &["run_as"])?;
        let definition = self.actions.get(action).ok_or(Refusal::missing("Action", action))?;
        let body = body(request)?;
        only(&body, &["properties", "entity"])?;
        let inputs = body.get("properties").and_then(Value::as_object);
        let inputs = inputs.ok_or(Refusal::invalid("body must have required property 'properties'"))?;
        for (name, value) in inputs {
            let unfit = |problem: &str| {
                Refusal::new(
                    422,
                    "user_inputs_schema_invalid",
                    format!("the user input \"{name}\" {problem}"),
                )
            };
            let schema = definition["userInputs"]
                .get(name)
                .ok_or(unfit("is unknown to the action"))?;
            schema::check(value, schema).map_err(|problem| unfit(&problem))?;
        }
        let entity = match body.get("entity") {
            None => None,
            Some(Value::String(entity)) => Some(entity.as_str()),
            Some(_) => return Err(Refusal::invalid("body/entity must be string")),
        };
        match (definition["blueprint"].as_str(), entity) {
            (None, _) => {}
            (Some(_), None) => {
                let message = "The action needs an entity";
                return Err(Refusal::new(422, "missing_self_service_action_entity", message));
            }
            (Some(blueprint), Some(entity)) => {
                self.entity(blueprint, entity)
                    .ok_or(Refusal::missing("Entity", entity))?;
            }
        }
        let id = format!("r_{}", &uuid::Uuid::new_v4().simple().to_string()[..16]);
        let mut run = blank(&id, action);
        run["properties"] = json!(inputs);
        run["entity"] = json!(entity);
        if let Some(user) = query.get("run_as") {
            if !user.contains('@') {
                return Err(Refusal::invalid("querystring/run_as must match format \"email\""));
            }
            run["createdBy"] = json!(user);
        }
        self.runs.insert(id, run.clone());
        Ok(Reply::json(202, &json!({"ok": true, "run": run})))
    }

    /// `GET /v1/actions/runs/{run_id}?version=v2`.
    pub(super) fn read_run(&self, id: &str, request: &Request) -> Result<Reply, Refusal> {
        versioned(request)?;
        let run = self.runs.get(id).ok_or(Refusal::missing("Run", id))?;
        Ok(Reply::json(200, &json!({"ok": true, "run": run})))
    }

    /// `GET /v1/actions/runs?version=v2&external_run_id=…&active=true&limit=…`.
    pub(super) fn list_runs(&self, request: &Request) -> Result<Reply, Refusal> {
        let query = query(request, &["version", "external_run_id", "active", "limit"])?;
        let active = flag(&query, "active")?;
        let limit = number(&query, "limit", 1000)?;
        let external = query.get("external_run_id");
        let runs = self.runs.values();
        let runs = runs.filter(|run| external.is_none_or(|wanted| run["externalRunId"] == wanted));
        let runs = runs
            .filter(|run| !active || !ended(run))
            .take(limit)
            .collect::<Vec<_>>();
        Ok(Reply::json(200, &json!({"ok": true, "runs": runs})))
    }

    /// `PATCH /v1/actions/runs/{run_id}[?version=v2]`: overwrites what it names, until the run has ended.
    pub(super) fn update_run(&mut self, id: &str, request: &Request) -> Result<Reply, Refusal> {
        versioned(request)?;
        let body = body(request)?;
        only(
            &body,
            &["status", "statusLabel", "link", "summary", "externalRunId", "message"],
        )?;
        for (name, value) in &body {
            let texts = |value: &Value| value.as_array().is_some_and(|all| all.iter().all(Value::is_string));
            let fits = match name.as_str() {
                "status" => value.as_str().is_some_and(|status| ENDS.contains(&status)),
                "link" => value.is_string() || texts(value),
                "message" => value.is_object(),
                _ => value.is_string(),
            };
            if !fits {
                return Err(Refusal::invalid(format!("body/{name} has the wrong type or value")));
            }
        }
        let run = self.open_run(id)?;
        if body.contains_key("status") && run["synchronized"] == true {
            let message = "The status of a synchronized run can't be changed";
            return Err(Refusal::new(422, "run_synchronized_error", message));
        }
        for (name, value) in body {
            run[&name] = match (name.as_str(), value) {
                ("link", link @ Value::String(_)) => json!([link]),
                (_, value) => value,
            };
        }
        note_times(run);
        Ok(Reply::json(200, &json!({"ok": true, "run": run})))
    }

    /// `POST /v1/actions/runs/{run_id}/logs`.
    pub(super) fn add_log(&mut self, id: &str, request: &Request) -> Result<Reply, Refusal> {
        query(request, &[])?;
        let body = body(request)?;
        only(&body, &["message", "terminationStatus", "statusLabel"])?;
        let message = body.get("message").and_then(Value::as_str);
        let message = message.ok_or(Refusal::invalid("body must have required property 'message' as text"))?;
        let ends = text(&body, "terminationStatus")?;
        if ends.is_some_and(|status| !ENDS.contains(&status)) {
            return Err(Refusal::invalid(
                "body/terminationStatus must be equal to one of SUCCESS, FAILURE",
            ));
        }
        let label = text(&body, "statusLabel")?;
        let run = self.open_run(id)?;
        if let Some(label) = label {
            run["statusLabel"] = json!(label);
        }
        if let Some(status) = ends {
            if run["synchronized"] == true {
                let message = "The status of a synchronized run can't be changed";
                return Err(Refusal::new(422, "run_synchronized_error", message));
            }
            run["status"] = json!(status);
        }
        note_times(run);
        let log_id = format!("log_{}", &uuid::Uuid::new_v4().simple().to_string()[..16]);
        let log = json!({"id": log_id, "runId": id, "message": message, "createdBy": run["createdBy"],
            "createdAt": now()});
        self.logs.entry(id.to_owned()).or_default().push(log.clone());
        Ok(Reply::json(201, &json!({"ok": true, "runLog": log})))
    }

    /// `GET /v1/actions/runs/{run_id}/logs?limit=&offset=`.
    pub(super) fn read_logs(&self, id: &str, request: &Request) -> Result<Reply, Refusal> {
        let query = query(request, &["limit", "offset"])?;
        let (limit, offset) = (number(&query, "limit", 1000)?, number(&query, "offset", 0)?);
        self.runs.get(id).ok_or(Refusal::missing("Run", id))?;
        let logs = self
            .logs
            .get(id)
            .into_iter()
            .flatten()
            .skip(offset)
            .take(limit)
            .collect::<Vec<_>>();
        Ok(Reply::json(200, &json!({"ok": true, "runLogs": logs})))
    }

    /// `PATCH /v1/actions/runs/{run_id}/approval`.
    pub(super) fn approve(&mut self, id: &str, request: &Request) -> Result<Reply, Refusal> {
        query(request, &[])?;
        let body = body(request)?;
        only(&body, &["status", "description"])?;
        text(&body, "description")?;
        let status = match text(&body, "status")? {
            Some("APPROVE") => "IN_PROGRESS",
            Some("DECLINE") => "DECLINED",
            _ => return Err(Refusal::invalid("body/status must be equal to one of APPROVE, DECLINE")),
        };
        let run = self.runs.get_mut(id).ok_or(Refusal::missing("Run", id))?;
        if run["status"] != "WAITING_FOR_APPROVAL" {
            return Err(Refusal::invalid("the run doesn't wait for approval"));
        }
        run["status"] = json!(status);
        note_times(run);
        Ok(Reply::json(201, &json!({"ok": true, "run": run})))
    }

    /// A run that hasn't ended: a run that has is immutable.
    fn open_run(&mut self, id: &str) -> Result<&mut Value, Refusal> {
        let run = self.runs.get_mut(id).ok_or(Refusal::missing("Run", id))?;
        if ended(run) {
            return Err(Refusal::new(
                422,
                "run_exhausted",
                format!("Run \"{id}\" has already completed"),
            ));
        }
        Ok(run)
    }
}

fn versioned(request: &Request) -> Result<(), Refusal> {
    match query(request, &["version"])?.get("version") {
        None | Some("v1" | "v2") => Ok(()),
        Some(_) => Err(Refusal::invalid("querystring/version must be equal to one of v1, v2")),
    }
}

/// An optional text of a body.
fn text<'a>(body: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, Refusal> {
    let wrong = Refusal::invalid(format!("body/{name} must be string"));
    body.get(name)
        .map_or(Ok(None), |value| value.as_str().map(Some).ok_or(wrong))
}
