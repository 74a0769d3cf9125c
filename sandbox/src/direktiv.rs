//! A Direktiv server of a chosen version, as `vendors/direktiv.md` describes it.
//!
//! State: `{"namespaces": {"demo": {"mirror": true, "directories": ["/workflows/directory"],
//! "workflows": ["/wf/deploy.yaml"], "syncs": [sync], "instances": [instance], "events": [event]}}}`, the lists oldest
//! first. A sync is the object of §4 plus `directory`, `force` and `log`; an instance is that of §5 plus `input`,
//! `output` and `runs`, the milliseconds it takes.

mod v1;
mod v2;

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use regex::Regex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::wire::{Reply, Request, merge, now, parse_time, stamp};
use crate::{Options, StandIn};
use v1::V1;
use v2::V2;

/// The namespace that exists, mirrors a repository, and has the workflow `/wf/deploy.yaml`.
pub(crate) const NAMESPACE: &str = "demo";

/// `vendors/direktiv.md` §4: how Go prints the time of what hasn't ended.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// `vendors/direktiv.md` §4: a sync that runs longer is forced to `failed` (v0.10).
const SYNC_LIMIT: Duration = Duration::from_mins(5);

/// `vendors/direktiv.md` §4: older records are deleted.
const SYNC_KEPT: Duration = Duration::from_hours(48);

/// `vendors/direktiv.md` §5, §6.
const BODY_LIMIT: usize = 32 << 20;

/// Which Direktiv the sandbox stands in for (`vendors/direktiv.md` §1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DirektivVersion {
    /// v0.6.6 and v0.6.7: the old API; takes `apikey` and `direktiv-token`.
    V0_6,
    /// v0.7: the old API with directory mirrors; takes `direktiv-token`.
    V0_7,
    /// v0.8.5, the only release with both sync endpoints; takes `direktiv-token`.
    V0_8_5,
    /// v0.10: the new API alone; takes `Direktiv-Api-Key`.
    V0_10,
}

/// Which header carries the credential (`vendors/direktiv.md` §1, §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirektivAuth {
    /// No credential is looked for, as in the pure open-source binary of v0.9 and newer.
    Open,
    /// `direktiv-token`.
    Token,
    /// `Direktiv-Api-Key`.
    ApiKey,
    /// `Direktiv-Api-Token`, a UUID made in the enterprise UI.
    ApiToken,
    /// `Authorization: Bearer`, an OIDC JWT.
    Bearer,
    /// `apikey`.
    Apikey,
}

impl DirektivAuth {
    /// The header's name in lower case; None where no header is looked for.
    const fn header(self) -> Option<&'static str> {
        match self {
            Self::Open => None,
            Self::Token => Some("direktiv-token"),
            Self::ApiKey => Some("direktiv-api-key"),
            Self::ApiToken => Some("direktiv-api-token"),
            Self::Bearer => Some("authorization"),
            Self::Apikey => Some("apikey"),
        }
    }
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Namespace {
    mirror: bool,
    directories: Vec<String>,
    workflows: Vec<String>,
    syncs: Vec<Sync>,
    instances: Vec<Instance>,
    events: Vec<Value>,
}

impl Default for Namespace {
    fn default() -> Self {
        Self {
            mirror: true,
            directories: vec!["/workflows/directory".to_owned()],
            workflows: vec!["/wf/deploy.yaml".to_owned()],
            syncs: Vec::new(),
            instances: Vec::new(),
            events: Vec::new(),
        }
    }
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Sync {
    id: String,
    status: String,
    created_at: String,
    updated_at: String,
    ended_at: String,
    directory: String,
    force: bool,
    log: Vec<String>,
}

impl Default for Sync {
    fn default() -> Self {
        Self {
            id: new_id(),
            status: "pending".to_owned(),
            created_at: now(),
            updated_at: now(),
            ended_at: NEVER.to_owned(),
            directory: String::new(),
            force: false,
            log: Vec::new(),
        }
    }
}

impl Sync {
    fn runs(&self) -> bool {
        matches!(self.status.as_str(), "pending" | "executing")
    }

    /// As §4 prints it.
    fn show(&self) -> Value {
        json!({"id": self.id, "status": self.status, "createdAt": self.created_at, "updatedAt": self.updated_at,
            "endedAt": self.ended_at})
    }
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Instance {
    id: String,
    status: String,
    path: String,
    created_at: String,
    ended_at: Option<String>,
    error_code: Option<String>,
    error_message: Option<String>,
    input: String,
    output: Option<Value>,
    runs: u64,
}

impl Default for Instance {
    fn default() -> Self {
        Self {
            id: new_id(),
            status: "pending".to_owned(),
            path: "/wf/deploy.yaml".to_owned(),
            created_at: now(),
            ended_at: None,
            error_code: None,
            error_message: None,
            input: String::new(),
            output: None,
            runs: 0,
        }
    }
}

impl Instance {
    /// As §5 prints it.
    fn show(&self, namespace: &str) -> Value {
        json!({"id": self.id, "createdAt": self.created_at, "endedAt": self.ended_at, "status": self.status,
            "path": self.path, "errorCode": self.error_code, "invoker": "api", "errorMessage": self.error_message,
            "flow": [], "traceId": "", "lineage": [], "namespace": namespace})
    }
}

pub(crate) struct Direktiv {
    options: Options,
    namespaces: BTreeMap<String, Namespace>,
}

/// A refusal in the form of whichever API was asked.
enum Refusal {
    /// v2: `{"error": {"code", "message"}}`, whose code decides the status.
    V2(String, String),
    /// v1: `{"code", "message"}`.
    V1(u16, String),
    /// The event routes answer text.
    Text(u16, &'static str),
    /// Nothing but a status.
    Empty(u16),
    /// A refusal that is a whole reply.
    Whole(Reply),
}

impl Refusal {
    fn v2(code: &str, message: &str) -> Self {
        Self::V2(code.to_owned(), message.to_owned())
    }

    fn v1(status: u16, message: impl Into<String>) -> Self {
        Self::V1(status, message.into())
    }

    fn internal() -> Self {
        Self::v2("internal", "internal server error")
    }

    fn no_path() -> Self {
        Self::v2("request_path_not_found", "request http path is not found")
    }

    fn no_method() -> Self {
        Self::v2(
            "request_method_not_allowed",
            "request http method is not allowed for this path",
        )
    }

    fn reply(self) -> Reply {
        match self {
            Self::V2(code, message) => {
                let error = json!({"error": {"code": code, "message": message}});
                Reply::json(status_of(&code), &error)
            }
            Self::V1(status, message) => Reply::json(status, &json!({"code": status, "message": message})),
            Self::Text(status, text) => Reply::text(status, text),
            Self::Empty(status) => Reply::empty(status),
            Self::Whole(reply) => reply,
        }
    }
}

/// `vendors/direktiv.md` §4: what an error's code makes of the status. The more special patterns go first, or
/// `resource_not_found` would be a 400.
fn status_of(code: &str) -> u16 {
    if code.contains("not_found") {
        404
    } else if code.contains("method_not_allowed") {
        405
    } else if code.starts_with("access") {
        403
    } else if code.starts_with("request") || code.starts_with("resource") {
        400
    } else {
        500
    }
}

impl Direktiv {
    pub(crate) fn new(options: &Options) -> Self {
        let plain = Namespace {
            mirror: false,
            directories: Vec::new(),
            ..Namespace::default()
        };
        let namespaces = [
            (NAMESPACE.to_owned(), Namespace::default()),
            ("plain".to_owned(), plain),
        ]
        .into();
        Self {
            options: options.clone(),
            namespaces,
        }
    }

    fn route(&mut self, request: &Request) -> Result<Reply, Refusal> {
        let version = self.options.direktiv_version;
        let segments = request.segments().unwrap_or_default();
        let segments = segments.iter().map(String::as_str).collect::<Vec<_>>();
        let method = request.method.as_str();
        let [api, rest @ ..] = segments.as_slice() else {
            return Err(Refusal::Empty(404));
        };
        if *api != "api" {
            // §4: the UI answers whatever isn't the API.
            return if version == DirektivVersion::V0_10 {
                Ok(Reply::html(
                    200,
                    "<!doctype html><title>Direktiv</title><div id=\"root\"></div>",
                ))
            } else {
                Ok(Reply::text(404, "404 page not found\n"))
            };
        }
        // §1: the status is there without a credential from v0.8.10 on.
        if version == DirektivVersion::V0_10 && rest == ["v2", "status"] && method == "GET" {
            let requires = self.accepts() != [DirektivAuth::Open];
            let status = json!({"version": "v0.10.0 5ac1bf1", "isEnterprise": true, "requiresAuth": requires});
            return Ok(Reply::json(200, &json!({"data": status})));
        }
        self.authorise(request, rest)?;
        self.settle();
        match rest {
            ["v2", rest @ ..] if version >= DirektivVersion::V0_8_5 => self.v2(method, rest, request),
            ["namespaces", namespace, rest @ ..] if version <= DirektivVersion::V0_8_5 => {
                let wanted = namespace_of(&mut self.namespaces, namespace);
                let wanted = wanted.map_err(|()| Refusal::v1(404, format!("namespace '{namespace}' not found")))?;
                V1 {
                    options: &self.options,
                    name: namespace,
                    namespace: wanted,
                }
                .route(method, rest, request)
            }
            _ if version >= DirektivVersion::V0_8_5 => Err(Refusal::no_path()),
            _ => Ok(Reply::text(404, "404 page not found\n")),
        }
    }

    /// The headers that are looked at.
    fn accepts(&self) -> Vec<DirektivAuth> {
        match (self.options.direktiv_accepts, self.options.direktiv_version) {
            (Some(one), _) => vec![one],
            (None, DirektivVersion::V0_6) => vec![DirektivAuth::Apikey, DirektivAuth::Token],
            (None, DirektivVersion::V0_7 | DirektivVersion::V0_8_5) => vec![DirektivAuth::Token],
            (None, DirektivVersion::V0_10) => vec![DirektivAuth::ApiKey],
        }
    }

    /// §2: legacy servers answer 401 without a body, v0.9 and newer 403 with the envelope.
    fn authorise(&self, request: &Request, rest: &[&str]) -> Result<(), Refusal> {
        let accepts = self.accepts();
        if accepts == [DirektivAuth::Open] {
            return Ok(());
        }
        let known = self.options.credentials.direktiv_token.as_str();
        let right = |auth: &DirektivAuth| match auth {
            DirektivAuth::Bearer => request.bearer() == Some(known),
            auth => auth.header().and_then(|name| request.header(name)) == Some(known),
        };
        if self.options.direktiv_version != DirektivVersion::V0_10 {
            return if accepts.iter().any(right) {
                Ok(())
            } else {
                Err(Refusal::Empty(401))
            };
        }
        // The enterprise middleware looks at a JWT, then at a token, and only then at the admin's key: a bad one of
        // the first two isn't saved by a good key.
        let order = [DirektivAuth::Bearer, DirektivAuth::ApiToken, DirektivAuth::ApiKey];
        let order = if accepts == [DirektivAuth::Token] || accepts == [DirektivAuth::Apikey] {
            accepts.clone()
        } else {
            order.to_vec()
        };
        let sent = order
            .into_iter()
            .find(|auth| auth.header().is_some_and(|name| request.header(name).is_some()));
        match sent {
            None => Err(Refusal::v2("access_token_missing", "missing api key")),
            Some(auth) if accepts.contains(&auth) && right(&auth) => self.permit(rest),
            Some(DirektivAuth::ApiKey) => Err(Refusal::v2("access_token_invalid", "invalid api key")),
            Some(_) => Err(Refusal::v2("access_token_invalid", "invalid api token")),
        }
    }

    /// §2: a token's permissions are by topic, the path segment after the namespace.
    fn permit(&self, rest: &[&str]) -> Result<(), Refusal> {
        let topic = rest.get(3).copied();
        if topic.is_some() && topic == self.options.direktiv_denies.as_deref() {
            return Err(Refusal::v2("access_token_denied", "not enough permissions"));
        }
        Ok(())
    }

    /// Lets time pass: moves syncs and instances to where they are by now.
    fn settle(&mut self) {
        let options = &self.options;
        for namespace in self.namespaces.values_mut() {
            namespace.syncs.retain(|sync| age(&sync.created_at) < SYNC_KEPT);
            for sync in namespace.syncs.iter_mut().filter(|sync| sync.runs()) {
                let age = age(&sync.created_at);
                if age >= SYNC_LIMIT {
                    sync.log.push("process timed out".to_owned());
                    finish_sync(sync, "failed", SYNC_LIMIT);
                } else if age >= options.direktiv_sync_takes {
                    match &options.direktiv_sync_fails {
                        Some(line) => sync.log.push(line.clone()),
                        None => sync.log.push("Succeeded.".to_owned()),
                    }
                    let status = if options.direktiv_sync_fails.is_some() {
                        "failed"
                    } else {
                        "complete"
                    };
                    finish_sync(sync, status, options.direktiv_sync_takes);
                } else if age >= options.direktiv_sync_takes / 3 {
                    "executing".clone_into(&mut sync.status);
                }
            }
            for instance in namespace
                .instances
                .iter_mut()
                .filter(|instance| instance.status == "pending")
            {
                let takes = Duration::from_millis(instance.runs);
                if age(&instance.created_at) < takes {
                    continue;
                }
                instance.ended_at = Some(later(&instance.created_at, takes));
                if let Some((code, message)) = &options.direktiv_workflow_fails {
                    "failed".clone_into(&mut instance.status);
                    (instance.error_code, instance.error_message) = (Some(code.clone()), Some(message.clone()));
                } else {
                    "complete".clone_into(&mut instance.status);
                    instance.output = Some(options.direktiv_workflow_output.clone());
                }
            }
        }
    }

    fn v2(&mut self, method: &str, rest: &[&str], request: &Request) -> Result<Reply, Refusal> {
        let version = self.options.direktiv_version;
        // §1: the probe of v0.8.5.
        if version == DirektivVersion::V0_8_5 && rest == ["version"] && method == "GET" {
            return Ok(Reply::json(200, &json!({"data": "v0.8.5"})));
        }
        let ["namespaces", name, rest @ ..] = rest else {
            return Err(Refusal::no_path());
        };
        let namespace = namespace_of(&mut self.namespaces, name);
        let unknown = |()| Refusal::v2("resource_not_found", "requested resource(namespace) is not found");
        let v2 = V2 {
            options: &self.options,
            name,
            namespace: namespace.map_err(unknown)?,
        };
        v2.route(method, rest, request)
    }
}

impl StandIn for Direktiv {
    fn answer(&mut self, request: &Request) -> Reply {
        self.route(request).unwrap_or_else(Refusal::reply)
    }

    fn complain(&self, status: u16, message: &str) -> Reply {
        if self.options.direktiv_version < DirektivVersion::V0_8_5 {
            return Refusal::v1(status, message).reply();
        }
        let code = if status == 400 {
            "request_data_invalid"
        } else {
            "internal"
        };
        Reply::json(status, &json!({"error": {"code": code, "message": message}}))
    }

    fn state(&mut self) -> Value {
        self.settle();
        json!({"namespaces": self.namespaces})
    }

    fn seed(&mut self, state: Value) -> Result<(), String> {
        let mut merged = self.state();
        merge(&mut merged, state);
        self.namespaces = serde_json::from_value(merged["namespaces"].take()).map_err(|error| error.to_string())?;
        Ok(())
    }
}

/// `vendors/direktiv.md` §7; an ill-formed name is as unknown as any other.
fn namespace_of<'a>(namespaces: &'a mut BTreeMap<String, Namespace>, name: &str) -> Result<&'a mut Namespace, ()> {
    static NAME: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"^(([a-z][a-z0-9_\-\.]*[a-z0-9])|([a-z]))$").expect("a constant pattern"));
    if NAME.is_match(name) {
        namespaces.get_mut(name).ok_or(())
    } else {
        Err(())
    }
}

/// Starts a workflow that is known to exist.
fn begin(options: &Options, namespace: &mut Namespace, path: &str, request: &Request) -> Instance {
    let instance = Instance {
        path: path.to_owned(),
        input: String::from_utf8_lossy(&request.body).into_owned(),
        runs: u64::try_from(options.direktiv_workflow_takes.as_millis()).unwrap_or(u64::MAX),
        ..Instance::default()
    };
    namespace.instances.push(instance.clone());
    instance
}

/// §5: how the failure of a workflow shows in a reply's headers.
fn failed(reply: Reply, code: &str, message: &str) -> Reply {
    reply
        .with("Direktiv-Instance-Error-Code", code)
        .with("Direktiv-Instance-Error-Message", message)
}

/// §5: an instance with its output in base64.
fn with_output(instance: &Instance, namespace: &str) -> Value {
    let mut shown = instance.show(namespace);
    shown["output"] = instance
        .output
        .as_ref()
        .map_or(Value::Null, |output| json!(BASE64_STANDARD.encode(output.to_string())));
    shown
}

/// §5: the output without an envelope: a field of it, text without its quotes, another content type.
fn raw_output(output: &Value, field: Option<&str>, raw: Option<&str>, kind: Option<&str>) -> Reply {
    let output = field.map_or(output, |field| &output[field]);
    let body = match (output, raw) {
        (Value::String(text), Some("true")) => text.clone(),
        (output, _) => output.to_string(),
    };
    Reply::bytes(200, kind.unwrap_or("application/json"), body.into_bytes())
}

/// A `CloudEvent` with its defaults (§6), or None if it isn't one: `source` and `type` as text, a known version, names
/// in lower case and digits, no objects but in `data`.
fn cloud_event(event: Value) -> Option<Value> {
    let Value::Object(mut event) = event else { return None };
    event.retain(|name, value| name == "data" || !value.is_null());
    event.entry("specversion").or_insert_with(|| json!("1.0"));
    event.entry("id").or_insert_with(|| json!(new_id()));
    let filled = |name: &str| {
        event
            .get(name)
            .and_then(Value::as_str)
            .is_some_and(|text| !text.is_empty())
    };
    let names =
        |name: &String| name == "data_base64" || name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let scalar = |(name, value): (&String, &Value)| name == "data" || !value.is_object() && !value.is_array();
    let timed = event
        .get("time")
        .is_none_or(|time| time.as_str().and_then(parse_time).is_some());
    let good = filled("id")
        && filled("source")
        && filled("type")
        && matches!(event["specversion"].as_str(), Some("1.0" | "0.3"))
        && event.keys().all(names)
        && event.iter().all(scalar)
        && timed
        && !(event.contains_key("data") && event.contains_key("data_base64"));
    good.then_some(Value::Object(event))
}

fn finish_sync(sync: &mut Sync, status: &str, ran: Duration) {
    status.clone_into(&mut sync.status);
    sync.ended_at = later(&sync.created_at, ran);
    sync.updated_at.clone_from(&sync.ended_at);
}

fn new_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// How long ago a time was; nothing for one that is ahead, or isn't one.
fn age(time: &str) -> Duration {
    let elapsed = parse_time(time).map(|time| OffsetDateTime::now_utc() - time);
    elapsed.and_then(|elapsed| elapsed.try_into().ok()).unwrap_or_default()
}

fn later(time: &str, by: Duration) -> String {
    parse_time(time).map_or_else(now, |time| stamp(time + by))
}
