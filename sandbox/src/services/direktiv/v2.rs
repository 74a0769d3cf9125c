//! The new API, of v0.8.4 and newer (docs/vendors/direktiv.md 4, 5, 6).

use serde_json::{Value, json};

use super::event::{cloud_event, is_same};
use super::instance::{Instance, failed, raw_output};
use super::namespace::{BODY_LIMIT, Namespace};
use super::refusal::Refusal;
use super::sync::Sync;
use crate::clock::{later, now};
use crate::options::{DirektivVersion, Options};
use crate::wire::{Reply, Request};

/// The new API in one namespace.
pub(super) struct V2<'a> {
    pub(super) options: &'a Options,
    pub(super) name: &'a str,
    pub(super) namespace: &'a mut Namespace,
}

impl V2<'_> {
    pub(super) fn route(mut self, method: &str, rest: &[&str], request: &Request) -> Result<Reply, Refusal> {
        // Syncing came with v0.8.5, broadcasting with v0.8.6-rc1, and the newest has no outputs by themselves
        // (docs/vendors/direktiv.md 1).
        let version = self.options.direktiv_version;
        match (method, rest) {
            (_, ["syncs" | "logs"]) if version < DirektivVersion::V0_8_5 => Err(Refusal::no_path()),
            (_, ["events", "broadcast"]) if version < DirektivVersion::V0_10 => Err(Refusal::no_path()),
            (_, ["instances", _, "output"]) if version == DirektivVersion::Head => Err(Refusal::no_path()),
            // An empty handler: 200, and nothing happens.
            ("POST", ["events", "broadcast"]) if version == DirektivVersion::Head => Ok(Reply::empty(200)),
            ("POST", ["events", "broadcast"]) => self.broadcast(request),
            ("POST", ["syncs"]) => self.sync(),
            ("GET", ["syncs"]) => {
                let syncs = self.namespace.syncs.iter().map(Sync::show).collect::<Vec<_>>();
                Ok(Reply::json(200, &json!({"data": syncs})))
            }
            ("GET", ["logs"]) => self.logs(request),
            ("POST", ["instances"]) => self.start(request),
            ("GET", ["instances", id]) => {
                let shown = self.instance(id)?.show(version, self.name);
                Ok(Reply::json(200, &json!({"data": shown})))
            }
            ("PATCH", ["instances", id]) => self.cancel(id, request),
            ("GET", ["instances", id, "output"]) => {
                let shown = self.instance(id)?.show_with_output(version, self.name);
                Ok(Reply::json(200, &json!({"data": shown})))
            }
            (
                _,
                ["syncs" | "logs" | "instances"]
                | ["instances", _]
                | ["instances", _, "output"]
                | ["events", "broadcast"],
            ) => Err(Refusal::no_method()),
            _ => Err(Refusal::no_path()),
        }
    }

    /// `POST …/syncs`: the body is ignored.
    fn sync(&mut self) -> Result<Reply, Refusal> {
        if !self.namespace.mirror {
            return Err(Refusal::v2("resource_not_found", "requested resource is not found"));
        }
        let guarded = self.options.direktiv_version < DirektivVersion::Head;
        if guarded && self.namespace.syncs.iter().any(Sync::runs) {
            return Err(Refusal::internal());
        }
        let sync = Sync::default();
        let shown = json!({"data": sync.show()});
        self.namespace.syncs.push(sync);
        Ok(Reply::json(200, &shown))
    }

    /// `GET …/logs?activity={sync}`.
    fn logs(&self, request: &Request) -> Result<Reply, Refusal> {
        let query = request.query();
        let (Some(activity), None) = (query.get("activity"), query.unknown(&["activity"])) else {
            return Err(Refusal::v2(
                "request_data_invalid",
                "only the logs of an activity are served here",
            ));
        };
        let sync = self.namespace.syncs.iter().find(|sync| sync.id == activity);
        let version = self.options.direktiv_version;
        let lines = sync
            .into_iter()
            .flat_map(|sync| sync.log.iter().map(move |line| sync.log_entry(version, line)))
            .collect::<Vec<_>>();
        Ok(Reply::json(200, &json!({"data": lines})))
    }

    fn instance(&self, id: &str) -> Result<&Instance, Refusal> {
        let found = self.namespace.instances.iter().find(|instance| instance.id == id);
        found.ok_or(Refusal::v2("resource_not_found", "requested resource is not found"))
    }

    /// `POST …/instances?path=…[&wait=true]`.
    fn start(&mut self, request: &Request) -> Result<Reply, Refusal> {
        let query = request.query();
        let invalid = |message: &str| Refusal::v2("request_data_invalid", message);
        // `output` came with v0.9 (docs/vendors/direktiv.md 5).
        let known: &[&str] = match self.options.direktiv_version {
            DirektivVersion::Head => &["path", "wait", "fullOutput"],
            DirektivVersion::V0_10 => &["path", "wait", "output", "field", "raw", "ctype"],
            _ => &["path", "wait", "field", "raw", "ctype"],
        };
        if let Some(name) = query.unknown(known) {
            return Err(invalid(&format!("unknown parameter {name}")));
        }
        let flag = |name: &str| match query.get(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(invalid(&format!("{name} is no boolean"))),
        };
        let version = self.options.direktiv_version;
        let (wait, whole) = (flag("wait")?, flag("output")? || flag("fullOutput")?);
        if request.body.len() > BODY_LIMIT {
            return Err(invalid("http: request body too large"));
        }
        let path = query.get("path").ok_or(invalid("path is missing"))?;
        if !self.namespace.workflows.iter().any(|known| known == path) {
            // The code is the error's own text, and so the status is 500 (docs/vendors/direktiv.md 5).
            let text = format!("cannot load workflow: file '{path}' does not exist");
            return Err(Refusal::v2(&text, &text));
        }
        let mut instance = self.namespace.start(self.options, path, request);
        if !wait {
            return Ok(Reply::json(200, &json!({"data": instance.show(version, self.name)})));
        }
        let takes = self.options.direktiv_workflow_takes;
        if let Some((code, message)) = &self.options.direktiv_workflow_fails {
            let reply = Refusal::v2(code, message).reply();
            return Err(Refusal::Whole(failed(reply, code, message).after(takes)));
        }
        let output = &self.options.direktiv_workflow_output;
        if whole {
            "complete".clone_into(&mut instance.status);
            instance.ended_at = Some(later(&instance.created_at, takes));
            instance.output = Some(output.clone());
            return Ok(Reply::json(200, &json!({"data": instance.show_with_output(version, self.name)})).after(takes));
        }
        if version == DirektivVersion::Head {
            return Ok(Reply::json(200, &json!({"data": output})).after(takes));
        }
        Ok(raw_output(output, query.get("field"), query.get("raw"), query.get("ctype")).after(takes))
    }

    /// `PATCH …/instances/{id}` `{"status":"cancelled"}`.
    fn cancel(&mut self, id: &str, request: &Request) -> Result<Reply, Refusal> {
        self.instance(id)?;
        if request.json().ok() != Some(json!({"status": "cancelled"})) {
            return Err(Refusal::v2(
                "request_data_invalid",
                "only {\"status\":\"cancelled\"} is taken",
            ));
        }
        let instance = self
            .namespace
            .instances
            .iter_mut()
            .find(|instance| instance.id == id && instance.status == "pending");
        if let Some(instance) = instance {
            "cancelled".clone_into(&mut instance.status);
            instance.ended_at = Some(now());
            instance.error_code = Some("direktiv.cancels.api".to_owned());
        }
        Ok(Reply::empty(200))
    }

    /// `POST …/events/broadcast` (docs/vendors/direktiv.md 6): replies are text, a known id is refused, and so is all
    /// of its batch.
    fn broadcast(&mut self, request: &Request) -> Result<Reply, Refusal> {
        let kind = request.header("content-type").unwrap_or_default();
        let batch = kind.starts_with("application/cloudevents-batch+json");
        if !batch && !kind.starts_with("application/json") && !kind.starts_with("application/cloudevents+json") {
            return Err(Refusal::Text(415, "Unsupported Media Type\n"));
        }
        if request.body.len() > BODY_LIMIT {
            return Err(Refusal::Text(400, "Error reading request body\n"));
        }
        let bad = Refusal::Text(400, "Error parsing CloudEvent\n");
        let events = match (batch, request.json()) {
            (true, Ok(Value::Array(events))) => events,
            (false, Ok(event @ Value::Object(_))) => vec![event],
            _ => return Err(bad),
        };
        let events = events
            .into_iter()
            .map(cloud_event)
            .collect::<Option<Vec<_>>>()
            .ok_or(bad)?;
        for (index, event) in events.iter().enumerate() {
            let mut known = self.namespace.events.iter().chain(&events[..index]);
            if known.any(|known| is_same(known, event)) {
                return Err(Refusal::Text(400, "Error appending CloudEvent to history\n"));
            }
        }
        self.namespace.events.extend(events);
        Ok(Reply::empty(200))
    }
}
