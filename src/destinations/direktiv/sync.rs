//! `sync`: the mirror pulls its repository (docs/vendors/direktiv.md 3, 4). Repeating it changes nothing.

use std::{
    rc::Rc,
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};

use super::{Version, api, api::Api};
use crate::{
    delivery::{
        plan::{Delivered, Plan, Step, Verdict},
        reply::Reply,
        request::{Method, Request, query, segment},
    },
    text::truncate,
    time,
};

/// What is said where a directory is given to the newer API.
pub const NO_DIRECTORIES: &str =
    "DIREKTIV_DIRECTORY has no effect: API v2 has no mirrors of directories, and syncs the whole namespace";

/// How many lines of a failed sync's log are told, and how many characters of each.
const LINES: usize = 5;
const LINE: usize = 200;

/// The plan of a sync.
pub fn plan(api: &Rc<Api>, directory: String, wait: bool) -> Plan {
    let sync = Rc::new(Sync {
        api: Rc::clone(api),
        directory,
        wait,
    });
    let first = api.versions[0];
    let plan = Plan::new(None, vec![sync.start(first)]);
    match api.after(first) {
        Some(other) => plan.otherwise(format!("the server has no API {first}"), sync.request(other)),
        None => plan,
    }
}

/// Reads the namespace's syncs: that tells whether the credential is accepted, and the namespace a mirror.
pub fn check(api: &Rc<Api>) -> Plan {
    Plan::new(None, vec![look(api, api.versions[0])])
}

fn look(api: &Rc<Api>, version: Version) -> Step {
    let path = match version {
        Version::V1 => "/tree?op=mirror-info",
        Version::V2 => "/syncs",
    };
    let again = Rc::clone(api);
    Step::new("check", api.request(version, Method::Get, path), move |reply, _| {
        if let Some(verdict) = again.detour(version, reply, |other| look(&again, other)) {
            return verdict;
        }
        match reply.expect_object() {
            Ok(_) => Verdict::noted(format!("API {version}; credential and namespace are accepted")),
            Err(unexpected) => unexpected.into(),
        }
    })
    .large()
}

struct Sync {
    api: Rc<Api>,
    /// Clean, so empty or with its leading slash.
    directory: String,
    wait: bool,
}

impl Sync {
    fn tree(&self, operation: &str) -> String {
        format!("/tree{}?op={operation}", api::encoded_path(&self.directory))
    }

    fn request(&self, version: Version) -> Request {
        match version {
            Version::V1 => self
                .api
                .request(version, Method::Post, &self.tree("sync-mirror&force=true")),
            Version::V2 => self.api.request(version, Method::Post, "/syncs").json(&json!({})),
        }
    }

    fn start(self: &Rc<Self>, version: Version) -> Step {
        let name = match version {
            Version::V1 => "sync v1",
            Version::V2 => "sync v2",
        };
        let sync = Rc::clone(self);
        Step::new(name, self.request(version), move |reply, sent| {
            sync.started(version, reply, sent.attempts)
        })
    }

    /// A sync that already runs may have begun before the push, so it doesn't count as this one: it is waited out, and
    /// the sync asked for again (docs/vendors/direktiv.md 8).
    fn started(self: &Rc<Self>, version: Version, reply: &Reply, attempts: u32) -> Verdict {
        if let Some(verdict) = self.api.detour(version, reply, |other| self.start(other)) {
            return verdict;
        }
        if let Some(what) = occupied(version, reply) {
            let pause = Duration::from_secs((5 * u64::from(attempts)).clamp(5, 15));
            return Verdict::Later(pause, self.start(version), what);
        }
        if api::is_hidden_outage(version, reply) {
            return api::again(attempts, self.start(version), reply);
        }
        // The older API names no id (docs/vendors/direktiv.md 3).
        let id = match version {
            Version::V1 => reply.expect_nothing(200).map(|()| None).map_err(Verdict::from),
            Version::V2 => api::identifier(reply, "/data/id").map(Some),
        };
        match id {
            Err(verdict) => verdict,
            Ok(id) if self.wait => Verdict::Then(self.watch(version, id, 0)),
            Ok(id) => self.delivered(version, id),
        }
    }

    fn delivered(&self, version: Version, identifier: Option<String>) -> Verdict {
        let is_surprise = version == Version::V2 && !self.directory.is_empty() && self.api.versions.len() > 1;
        Verdict::Delivered(Delivered {
            identifier,
            note: is_surprise.then(|| NO_DIRECTORIES.to_owned()),
            json: None,
        })
    }

    /// Asks how far the sync is. No API has a way to ask for one alone (docs/vendors/direktiv.md 3, 4).
    fn watch(self: &Rc<Self>, version: Version, id: Option<String>, round: u32) -> Step {
        let path = match version {
            Version::V1 => self.tree("mirror-info"),
            Version::V2 => "/syncs".to_owned(),
        };
        let sync = Rc::clone(self);
        let request = self.api.request(version, Method::Get, &path);
        Step::new("wait for the sync", request, move |reply, _| {
            sync.progress(version, id.as_deref(), round, reply)
        })
        .poll()
        .large()
    }

    fn progress(self: &Rc<Self>, version: Version, id: Option<&str>, round: u32, reply: &Reply) -> Verdict {
        let later = |id: Option<&str>, what: String| {
            let next = self.watch(version, id.map(str::to_owned), round + 1);
            Verdict::Later(api::pause(round + 1), next, what)
        };
        if api::is_hidden_outage(version, reply) {
            return later(id, format!("it answered 400 ({})", reply.complaint()));
        }
        let body = match reply.expect_object().and(reply.expect_json()) {
            Ok(body) => body,
            Err(unexpected) => return api::unseen(unexpected.into(), reply, &label(id)),
        };
        let records = api::records(body, &["/data", "/activities/results", "/activities/edges"]);
        // The older API makes its record before it answers, and refuses while another runs: the newest is this one.
        let record = match id {
            Some(id) => records.into_iter().find(|record| record["id"].as_str() == Some(id)),
            None => records.into_iter().max_by_key(|record| created(record)),
        };
        let Some((record, id)) = record.and_then(|record| Some((record, record["id"].as_str()?))) else {
            return later(id, format!("{} is not in the list yet", label(id)));
        };
        match record["status"].as_str().unwrap_or("in an unknown state") {
            "complete" => self.delivered(version, Some(id.to_owned())),
            "failed" => Verdict::Later(Duration::ZERO, self.log(version, id), format!("the sync {id} failed")),
            status => later(Some(id), format!("the sync {id} is {}", truncate(status, 60))),
        }
    }

    /// Reads why the sync failed, which its record doesn't say. Whatever comes back, it has failed.
    fn log(&self, version: Version, id: &str) -> Step {
        let path = match version {
            Version::V1 => format!("/activities/{}/logs", segment(id)),
            Version::V2 => format!("/logs{}", query([("activity", id)])),
        };
        let id = id.to_owned();
        Step::new(
            "read the log",
            self.api.request(version, Method::Get, &path),
            move |reply, _| {
                let why = match reply.expect_json() {
                    // v0.8.4 and v0.8.5 (docs/vendors/direktiv.md 1).
                    Err(_) if version == Version::V1 && reply.status == 404 => {
                        ", and this version of Direktiv shows no logs of syncs by API v1: its UI may say why".to_owned()
                    }
                    Err(_) => format!(", and its log can't be read: it answered {}", reply.status),
                    Ok(body) => match last_lines(body) {
                        lines if lines.is_empty() => ", and its log is empty".to_owned(),
                        lines => format!(": {}", lines.join(" | ")),
                    },
                };
                Verdict::Rejected(format!("the sync {id} failed{why}"))
            },
        )
        .large()
    }
}

/// Whether the reply says that a sync is running, and how that is told to a person. The older API says so; the newer
/// one, up to v0.10, hides it behind the same 500 as a real failure (docs/vendors/direktiv.md 3, 4).
fn occupied(version: Version, reply: &Reply) -> Option<String> {
    if reply.status != 500 {
        return None;
    }
    match version {
        Version::V1 => {
            let message = reply.text_at("/message")?;
            (message.contains("mirror operations are already underway")
                || message.contains("already being executed on this namespace"))
            .then(|| format!("another sync is running, which may have begun before this push ({message})"))
        }
        Version::V2 => (reply.text_at("/error/code")? == "internal").then(|| {
            format!(
                "it answered 500 ({}), which means that another sync is running, or that it failed",
                reply.complaint()
            )
        }),
    }
}

fn label(id: Option<&str>) -> String {
    id.map_or_else(|| "the sync".to_owned(), |id| format!("the sync {id}"))
}

fn created(record: &Value) -> Option<SystemTime> {
    time::parse(record["createdAt"].as_str()?)
}

/// The last lines of a log, oldest first, whichever way it was given and whatever the version calls their fields. From
/// v0.9 on a line may be the same for every failure, with the cause beside it in `error` (docs/vendors/direktiv.md 4).
fn last_lines(body: &Value) -> Vec<String> {
    let mut entries = api::records(body, &["/data", "/results", "/edges"]);
    let time = |entry: &Value| time::parse(entry["time"].as_str().or(entry["t"].as_str())?);
    if let [first, .., last] = entries.as_slice()
        && let (Some(first), Some(last)) = (time(first), time(last))
        && first > last
    {
        entries.reverse();
    }
    let lines: Vec<String> = entries
        .into_iter()
        .map(|entry| {
            let line = entry["msg"].as_str().or(entry["message"].as_str());
            let parts = [line, entry["error"].as_str()].into_iter().flatten().map(str::trim);
            let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
            truncate(&parts.join(": "), LINE)
        })
        .filter(|line| !line.is_empty())
        .collect();
    lines[lines.len().saturating_sub(LINES)..].to_vec()
}
