//! A scenario in the sandbox: as GitLab and the portals hold it.

use std::collections::BTreeMap;

use sandbox::{Sandbox, Service};
use serde_json::{Map, Value, json};

use super::scenario::{Body, HOUR, Held, PIPELINES, Receipt, ReceiptKind, Scenario, sha, stamp};
use crate::gitlab::OWN;

impl Scenario {
    /// What the sandbox's GitLab is seeded with.
    pub fn record(&self) -> Value {
        let mut all: Vec<(i64, usize, usize)> = Vec::new();
        for (at, slot) in self.slots.iter().enumerate() {
            all.extend(
                slot.attempts
                    .iter()
                    .enumerate()
                    .map(|(number, attempt)| (attempt.created, at, number)),
            );
        }
        all.sort_unstable();
        let mut jobs: BTreeMap<u64, Vec<Value>> = PIPELINES.map(|pipeline| (pipeline, Vec::new())).into();
        let mut deployments = Vec::new();
        for (id, (_, at, number)) in (1001_u64..).zip(&all) {
            let slot = &self.slots[*at];
            let attempt = &slot.attempts[*number];
            let mut deployment = json!({
                "deployable": id, "environment": slot.environment, "status": attempt.status,
                "created_at": stamp(attempt.created), "updated_at": stamp(attempt.updated()),
            });
            if attempt.is_orphan {
                deployment["deployable"] = Value::Null;
                deployments.push(deployment);
                continue;
            }
            deployments.push(deployment);
            let is_last = number + 1 == slot.attempts.iter().filter(|attempt| !attempt.is_orphan).count();
            let own = |receipt: &&Receipt| {
                receipt.slot == *at && is_last && matches!(receipt.kind, ReceiptKind::Own | ReceiptKind::Foreign)
            };
            let receipts: Vec<&Receipt> = self.receipts.iter().filter(own).collect();
            let mut job = json!({
                "id": id, "name": slot.job, "stage": "deploy", "created_at": stamp(attempt.created),
                "status": match attempt.status { "blocked" => "manual", status => status },
                "started_at": attempt.started.map(stamp), "finished_at": attempt.finished.map(stamp),
            });
            if !receipts.is_empty() {
                job["artifacts"] = json!({".notify-event/receipt.json": self.receipt(id, &receipts)});
            }
            jobs.get_mut(&slot.pipeline).expect("one of them").push(job);
        }
        for (id, receipt) in (5001_u64..).zip(&self.receipts) {
            if matches!(receipt.kind, ReceiptKind::Named | ReceiptKind::OfEnvironment) {
                let slot = &self.slots[receipt.slot];
                jobs.get_mut(&slot.pipeline).expect("one of them").push(json!({
                    "id": id, "name": format!("report {id}"), "stage": ".post",
                    "artifacts": {".notify-event/receipt.json": self.receipt(id, &[receipt])},
                }));
            }
        }
        jobs.get_mut(&8812)
            .expect("one of them")
            .push(json!({"id": OWN * 10, "name": "reconcile", "status": "running"}));
        let created = |jobs: &Vec<Value>| {
            let first = jobs.iter().filter_map(|job| job["created_at"].as_str()).min();
            first.map_or_else(|| stamp(self.now - 47 * HOUR), str::to_owned)
        };
        let of = |pipeline: u64| json!({"created_at": created(&jobs[&pipeline]), "jobs": jobs[&pipeline], "sha": sha(pipeline)});
        let (mut tag, mut request) = (of(8811), of(8813));
        (tag["ref"], tag["tag"]) = (json!("v1.2"), json!(true));
        request["ref"] = json!("refs/merge-requests/12/head");
        json!({
            "pipelines": {"8811": tag, "8812": of(8812), "8813": request},
            "merge_requests": {"12": {"title": "Log in", "source_branch": "login"}},
            "deployments": deployments,
        })
    }

    /// As a report writes `receipt.json`.
    fn receipt(&self, job: u64, of: &[&Receipt]) -> Value {
        let slot = &self.slots[of[0].slot];
        let is_foreign = of[0].kind == ReceiptKind::Foreign;
        let (pipeline, job) = if is_foreign { (7777, 77) } else { (slot.pipeline, job) };
        let id = format!("acme-shop-{pipeline}");
        let name = (of[0].kind != ReceiptKind::OfEnvironment).then_some(slot.job);
        let entries: Vec<Value> = of
            .iter()
            .map(|receipt| {
                json!({
                    "destination": receipt.portal.name(), "operation": "upsert", "optional": false, "class": "sent",
                    "detail": null, "identifier": receipt.identifier, "blueprint": receipt.blueprint, "status": 200,
                    "accepted": false, "ambiguous": false, "under_way": false, "in_doubt": false, "attempts": 1,
                    "milliseconds": 3, "request_id": null, "event_name": "deployment", "event_id": id,
                    "action": "success", "deploy_run": {"attempt": 1, "started_at": null, "job_url": null}, "completed": [],
                })
            })
            .collect();
        json!({
            "schema_version": 1, "notify_event": "0.1.0", "project_id": "42", "pipeline_id": pipeline.to_string(),
            "job_id": job.to_string(), "exit_code": 0,
            "event": {
                "schema_version": 1, "name": "deployment", "action": "success", "action_source": "from CI_JOB_STATUS",
                "service": null, "id": id, "title": "of its own", "repo": "acme/shop", "branch": "main",
                "commit": sha(pipeline), "environment": slot.environment, "image": null, "version": null,
                "url": format!("https://gitlab.example.com/acme/shop/-/pipelines/{pipeline}"), "user": "dana",
                "time": stamp(self.now - 30), "started_at": null, "finished_at": null, "duration": null, "queued": null,
                "job": name, "job_url": null, "started_by": "dana", "attempt": 1, "properties": {},
            },
            "destinations": entries, "earlier": [], "files": [], "undelivered": [],
        })
    }

    /// Puts everything into the sandbox.
    pub fn seed(&self, sandbox: &Sandbox) {
        let names = [
            "note",
            "phase",
            "began",
            "ended",
            "status",
            "action",
            "createdAt",
            "startedAt",
            "finishedAt",
            "closedAt",
        ]
        .iter()
        .chain(&[
            "link",
            "sourceCommit",
            "triggeredBy",
            "service",
            "repository",
            "branch",
            "commit",
            "version",
        ])
        .chain(&["image", "environment", "url", "updatedAt"]);
        let mut properties: Map<String, Value> = names
            .map(|name| ((*name).to_owned(), json!({"type": "string"})))
            .collect();
        properties.insert("duration".to_owned(), json!({"type": "number"}));
        properties.insert("successful".to_owned(), json!({"type": "boolean"}));
        let rely = json!({"properties": properties, "relations": ["service"]});
        let port = |id: &str| {
            json!({"identifier": id, "title": id, "schema": {"properties": properties, "required": []},
                "relations": {"service": {"target": "service", "many": false, "required": false}}})
        };
        sandbox.seed(
            Service::Rely,
            json!({"blueprints": {"deployment": rely, "release": rely}}),
        );
        let blueprints = json!({"deployment": port("deployment"), "release": port("release")});
        sandbox.seed(
            Service::Port,
            json!({"blueprints": blueprints, "entities": {"service": {"shop": {}}}}),
        );
        for ((portal, id), held) in &self.held {
            sandbox.seed(*portal, self.entity(id, held));
        }
        sandbox.seed(Service::GitLab, self.record());
    }

    /// An entity as its portal is seeded with it; what is no status and no time, a person has set.
    pub fn entity(&self, id: &str, held: &Held) -> Value {
        let body = self.bodies[&held.portal];
        let mut properties = json!({"note": "by hand", "triggeredBy": "a person"});
        if let Some(word) = &held.word {
            properties[body.status().unwrap_or("status")] = json!(word);
        }
        for name in body.starts(held.portal) {
            held.start.inspect(|start| properties[name] = json!(stamp(*start)));
        }
        for name in body.ends(held.portal) {
            held.end.inspect(|end| properties[name] = json!(stamp(*end)));
        }
        if let (Some(start), Some(end), Body::Stock) = (held.start, held.end, body) {
            properties["duration"] = json!(end - start);
        }
        let is_final = ["success", "failure", "canceled"].contains(&held.action);
        if body == Body::Own && !is_final {
            properties["ended"] = json!("");
        }
        if body == Body::Stock && held.word.is_some() {
            if held.portal == Service::Port {
                properties["action"] = json!(held.action);
            }
            if is_final {
                properties["successful"] = json!(held.action == "success");
            }
        }
        let relations =
            json!({"service": if held.portal == Service::Port { json!("shop") } else { json!({"value": "shop"}) }});
        if held.portal == Service::Port {
            let entity =
                json!({"title": "by hand", "team": ["payments"], "properties": properties, "relations": relations});
            json!({"entities": {held.blueprint: {id: entity}}})
        } else {
            let entity = json!({"title": "by hand", "blueprintId": held.blueprint, "properties": properties, "relations": relations});
            json!({"entities": {id: entity}})
        }
    }
}
