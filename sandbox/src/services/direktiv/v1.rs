//! The old API, of v0.6.6 to v0.8.5 (docs/vendors/direktiv.md 3, 5, 6).

use serde_json::{Map, Value, json};

use super::event::{cloud_event, is_same};
use super::instance::{Instance, failed, raw_output};
use super::namespace::{BODY_LIMIT, Namespace};
use super::refusal::Refusal;
use super::sync::Sync;
use crate::options::{DirektivVersion, Options};
use crate::wire::{Query, Reply, Request};

/// The old API in one namespace.
pub(super) struct V1<'a> {
    pub(super) options: &'a Options,
    pub(super) name: &'a str,
    pub(super) namespace: &'a mut Namespace,
}

impl V1<'_> {
    pub(super) fn route(mut self, method: &str, rest: &[&str], request: &Request) -> Result<Reply, Refusal> {
        let query = request.query();
        match (method, rest) {
            (_, ["tree", path @ ..]) => {
                let path = path.iter().flat_map(|segment| ["/", segment]).collect::<String>();
                match (method, query.get("op")) {
                    ("POST", Some("sync-mirror")) => self.sync(&path, query.get("force").unwrap_or("false")),
                    ("GET", Some("mirror-info")) => self.mirror_info(&path),
                    ("POST", Some("execute")) => {
                        let instance = self.start(&path, &query, request)?;
                        Ok(Reply::json(
                            200,
                            &json!({"namespace": self.name, "instance": instance.id}),
                        ))
                    }
                    ("POST", Some("wait")) => self.wait(&path, &query, request),
                    // Without `op` this is another handler, which no client here uses (docs/vendors/direktiv.md 3).
                    _ => Ok(Reply::text(404, "404 page not found\n")),
                }
            }
            // Gone in v0.8.4 and v0.8.5 (docs/vendors/direktiv.md 1).
            ("GET", ["activities", id, "logs"]) if self.options.direktiv_version < DirektivVersion::V0_8_4 => {
                let sync = self.namespace.syncs.iter().find(|sync| sync.id == *id);
                let sync = sync.ok_or(Refusal::v1(404, format!("activity '{id}' not found")))?;
                let lines = sync
                    .log
                    .iter()
                    .map(|line| json!({"t": sync.updated_at, "level": "info", "msg": line}));
                let lines = lines.collect::<Vec<_>>();
                let page = json!({"total": lines.len(), "limit": 0, "offset": 0});
                let logs = json!({"namespace": self.name, "activity": id, "pageInfo": page, "results": lines});
                Ok(Reply::json(200, &logs))
            }
            ("POST", ["activities", id, "cancel"]) => {
                let sync = self.namespace.syncs.iter_mut().find(|sync| sync.id == *id);
                let sync = sync.ok_or(Refusal::v1(404, format!("activity '{id}' not found")))?;
                sync.cancel();
                Ok(Reply::empty(200))
            }
            ("POST", ["broadcast"]) => self.broadcast(request),
            _ => Ok(Reply::text(404, "404 page not found\n")),
        }
    }

    /// `…/tree{dir}?op=sync-mirror`: 200 without a body.
    fn sync(&mut self, path: &str, force: &str) -> Result<Reply, Refusal> {
        // Go's ParseBool.
        let force = match force {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => true,
            "0" | "f" | "F" | "FALSE" | "false" | "False" => false,
            text => {
                return Err(Refusal::v1(
                    400,
                    format!("strconv.ParseBool: parsing \"{text}\": invalid syntax"),
                ));
            }
        };
        let directory = self.mirror(path)?.to_owned();
        if self.namespace.syncs.iter().any(Sync::runs) {
            return Err(Refusal::v1(
                500,
                match self.options.direktiv_version {
                    DirektivVersion::V0_6 | DirektivVersion::V0_7 => "mirror operations are already underway",
                    _ => "a mirroring process is already being executed on this namespace",
                },
            ));
        }
        self.namespace.syncs.push(Sync {
            directory,
            force,
            ..Sync::default()
        });
        Ok(Reply::empty(200))
    }

    /// The mirror at a path. v0.8 takes any path and syncs the namespace (docs/vendors/direktiv.md 3).
    fn mirror<'p>(&self, path: &'p str) -> Result<&'p str, Refusal> {
        let path = if self.options.direktiv_version >= DirektivVersion::V0_8_4 {
            ""
        } else {
            path
        };
        if path.is_empty() && self.namespace.mirror || self.namespace.directories.iter().any(|known| known == path) {
            return Ok(path);
        }
        Err(Refusal::v1(404, format!("mirror '{path}' not found")))
    }

    fn mirror_info(&self, path: &str) -> Result<Reply, Refusal> {
        let path = self.mirror(path)?;
        let syncs = self.namespace.syncs.iter().filter(|sync| sync.directory == path);
        let results = syncs.map(|sync| {
            json!({"id": sync.id, "type": "sync", "status": sync.status, "createdAt": sync.created_at,
                "updatedAt": sync.updated_at})
        });
        let results = results.collect::<Vec<_>>();
        let last = results.last().map(|sync| sync["updatedAt"].clone());
        let info = json!({"url": "https://gitlab.example.com/acme/workflows.git", "ref": "main", "cron": "",
            "commitId": "9f2c1e7d0b4a5c6e8f90a1b2c3d4e5f60718293a", "lastSync": last});
        let page = json!({"total": results.len(), "limit": 0, "offset": 0});
        let activities = json!({"pageInfo": page, "results": results});
        Ok(Reply::json(
            200,
            &json!({"namespace": self.name, "info": info, "activities": activities}),
        ))
    }

    /// `…/tree/{workflow}?op=execute[&ref=latest]`, JSON input.
    fn start(&mut self, path: &str, query: &Query, request: &Request) -> Result<Instance, Refusal> {
        if let Some(name) = query.unknown(&["op", "ref", "ctype", "field", "raw-output"]) {
            return Err(Refusal::v1(406, format!("unknown parameter '{name}'")));
        }
        if query.get("ref").is_some_and(|wanted| wanted != "latest") {
            return Err(Refusal::v1(404, "ref not found"));
        }
        if request.body.len() > BODY_LIMIT {
            return Err(Refusal::v1(413, "http: request body too large"));
        }
        // A workflow is known by its file, and to older versions without the suffix.
        let known = self
            .namespace
            .workflows
            .iter()
            .any(|file| file == path || file.strip_suffix(".yaml") == Some(path));
        if !known {
            return Err(Refusal::v1(404, format!("workflow '{path}' not found")));
        }
        if !request.body.is_empty() && request.json().is_err() {
            return Err(Refusal::v1(406, "input is not JSON"));
        }
        Ok(self.namespace.start(self.options, path, request))
    }

    /// `op=wait`: the raw output, when it is there. A header names the instance, not yet in v0.6.6
    /// (docs/vendors/direktiv.md 5).
    fn wait(&mut self, path: &str, query: &Query, request: &Request) -> Result<Reply, Refusal> {
        let instance = self.start(path, query, request)?;
        let takes = self.options.direktiv_workflow_takes;
        let named = |reply: Reply| match self.options.direktiv_version {
            DirektivVersion::V0_6 => reply,
            _ => reply.with("Direktiv-Instance-Id", &instance.id),
        };
        if let Some((code, message)) = &self.options.direktiv_workflow_fails {
            let reply = Reply::json(500, &json!({"code": 500, "message": message}));
            return Err(Refusal::Whole(named(failed(reply, code, message)).after(takes)));
        }
        let output = &self.options.direktiv_workflow_output;
        let reply = raw_output(output, query.get("field"), query.get("raw-output"), query.get("ctype"));
        Ok(named(reply).after(takes))
    }

    /// A `CloudEvent` in structured or binary mode (docs/vendors/direktiv.md 6). What v0.8 says to one that it knows was
    /// not read: each is kept there, so that a test sees what was sent twice.
    fn broadcast(&mut self, request: &Request) -> Result<Reply, Refusal> {
        let bad = || Refusal::v1(406, "invalid cloud event");
        let kind = request.header("content-type").unwrap_or_default();
        let event = if kind.starts_with("application/cloudevents+json") {
            request.json().ok().and_then(cloud_event).ok_or_else(bad)?
        } else {
            let attributes = request
                .headers
                .iter()
                .filter_map(|(name, value)| Some((name.strip_prefix("ce-")?, value)));
            let mut event = attributes
                .map(|(name, value)| (name.to_owned(), json!(value)))
                .collect::<Map<_, _>>();
            event.insert("datacontenttype".to_owned(), json!(kind));
            let data = request
                .json()
                .unwrap_or_else(|_| json!(String::from_utf8_lossy(&request.body)));
            event.insert("data".to_owned(), data);
            cloud_event(Value::Object(event)).ok_or_else(bad)?
        };
        let is_refused = self.options.direktiv_version < DirektivVersion::V0_8_4;
        if is_refused && self.namespace.events.iter().any(|known| is_same(known, &event)) {
            return Err(Refusal::v1(409, "resource already exists"));
        }
        self.namespace.events.push(event);
        Ok(Reply::empty(200))
    }
}
