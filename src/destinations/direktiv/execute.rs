//! `execute`: starts a workflow (docs/vendors/direktiv.md 5). Each call starts another instance, so a call of which it is
//! not sure that nothing came of it is never sent again.

use std::{rc::Rc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::{Settings, Version, api, api::Api};
use crate::{
    delivery::{
        plan::{Delivered, Plan, Repeat, Step, Verdict},
        reply::Reply,
        request::{Method, Request, query, segment},
    },
    problem::Problem,
    text::truncate,
};

/// The path of the workflow.
///
/// # Errors
/// There is none, or it can't be one.
pub fn workflow(settings: &Settings) -> Result<String, Problem> {
    let Some(workflow) = &settings.workflow else {
        return Err(Problem::new(
            "DIREKTIV_WORKFLOW",
            "is not set: the operation execute needs the path of the workflow in its namespace, as in /deploy.yaml",
        ));
    };
    let path = api::clean_path("DIREKTIV_WORKFLOW", workflow)?;
    if path.is_empty() {
        return Err(Problem::new(
            "DIREKTIV_WORKFLOW",
            "names the namespace and no workflow in it; write it as in /deploy.yaml",
        ));
    }
    Ok(path)
}

/// The plan of an execution.
pub fn plan(api: &Rc<Api>, workflow: String, input: Value, wait: bool) -> Plan {
    let execute = Rc::new(Execute {
        api: Rc::clone(api),
        workflow,
        input,
        wait,
    });
    let first = api.versions[0];
    let plan = Plan::new(None, vec![execute.start(first)]);
    match api.after(first) {
        Some(other) => plan.otherwise(format!("the server has no API {first}"), execute.request(other)),
        None => plan,
    }
}

struct Execute {
    api: Rc<Api>,
    /// Clean, with its leading slash.
    workflow: String,
    input: Value,
    wait: bool,
}

impl Execute {
    fn request(&self, version: Version) -> Request {
        let path = match version {
            Version::V1 => format!(
                "/tree{}?op={}",
                api::encoded_path(&self.workflow),
                if self.wait { "wait" } else { "execute" }
            ),
            Version::V2 => format!("/instances{}", query([("path", self.workflow.as_str())])),
        };
        self.api.request(version, Method::Post, &path).json(&self.input)
    }

    fn start(self: &Rc<Self>, version: Version) -> Step {
        let name = match version {
            Version::V1 => "execute v1",
            Version::V2 => "execute v2",
        };
        let execute = Rc::clone(self);
        let step = Step::new(name, self.request(version), move |reply, _| {
            execute.started(version, reply)
        })
        .repeat(Repeat::Unprocessed(&[]));
        if version == Version::V1 && self.wait {
            step.patient().large()
        } else {
            step
        }
    }

    fn started(self: &Rc<Self>, version: Version, reply: &Reply) -> Verdict {
        if let Some(verdict) = self.api.detour(version, reply, |other| self.start(other)) {
            return verdict;
        }
        if api::is_hidden_outage(version, reply) {
            let said = format!("answered 400 ({})", reply.complaint());
            return if api::is_unconnected(reply) {
                Verdict::Unavailable(said)
            } else {
                Verdict::InDoubt(format!("{said}. {UNSURE}"))
            };
        }
        if let Some(verdict) = refusal(version, reply) {
            return verdict;
        }
        match version {
            Version::V1 if self.wait => returned(reply),
            Version::V1 => match api::identifier(reply, "/instance") {
                Ok(id) => delivered(id),
                Err(verdict) => verdict,
            },
            Version::V2 => match api::identifier(reply, "/data/id") {
                Ok(id) if self.wait => Verdict::Then(self.watch(id, 0)),
                Ok(id) => delivered(id),
                Err(verdict) => verdict,
            },
        }
    }

    /// Asks how far the instance is. Its own `wait=true` would hold one connection until then, which a proxy may cut.
    fn watch(self: &Rc<Self>, id: String, round: u32) -> Step {
        let path = format!("/instances/{}", segment(&id));
        let request = self.api.request(Version::V2, Method::Get, &path);
        let execute = Rc::clone(self);
        Step::new("wait for the workflow", request, move |reply, _| {
            execute.progress(&id, round, reply)
        })
        .poll()
        .large()
    }

    /// Statuses of all versions: `pending`, `running` (after v0.10), `complete`, `failed`, `crashed`, `cancelled`.
    fn progress(self: &Rc<Self>, id: &str, round: u32, reply: &Reply) -> Verdict {
        if let Err(unexpected) = reply.expect_object() {
            return api::unseen(unexpected.into(), reply, &format!("the instance {id}"));
        }
        match reply.text_at("/data/status").unwrap_or("in an unknown state") {
            // After v0.10 the instance holds its output, and there is nothing else to read it from.
            "complete" if reply.json().is_some_and(|body| body["data"].get("output").is_some()) => {
                Verdict::Delivered(Delivered {
                    identifier: Some(id.to_owned()),
                    json: reply.json().and_then(output).map(Rc::new),
                    ..Delivered::default()
                })
            }
            "complete" => {
                let what = format!("the instance {id} is complete, its output not yet read");
                Verdict::Later(Duration::ZERO, self.output(id), what)
            }
            status @ ("failed" | "crashed" | "cancelled") => {
                // v0.8.4 and v0.8.5 have other names (docs/vendors/direktiv.md 5).
                let either = |newer: &str, older: &str| reply.text_at(newer).or_else(|| reply.text_at(older));
                let why: Vec<String> = [
                    either("/data/errorCode", "/data/error_code").map(str::to_owned),
                    either("/data/errorMessage", "/data/error_message").map(error_message),
                ]
                .into_iter()
                .flatten()
                .filter(|text| !text.is_empty())
                .collect();
                let verb = if status == "cancelled" { "was " } else { "" };
                let colon = if why.is_empty() { "" } else { ": " };
                Verdict::Rejected(format!(
                    "the instance {id} {verb}{status}{colon}{}",
                    truncate(&why.join(": "), 300)
                ))
            }
            status => {
                let what = format!("the instance {id} is {}", truncate(status, 60));
                Verdict::Later(api::pause(round + 1), self.watch(id.to_owned(), round + 1), what)
            }
        }
    }

    /// Reads the output. The workflow has done its work by then, so a failure to read it is told, and no more.
    fn output(&self, id: &str) -> Step {
        let path = format!("/instances/{}/output", segment(id));
        let id = id.to_owned();
        let read = move |reply: &Reply, _| {
            let (json, note) = match reply.expect_json() {
                Ok(body) => (output(body).map(Rc::new), None),
                Err(_) => (
                    None,
                    Some(format!("its output can't be read: it answered {}", reply.status)),
                ),
            };
            Verdict::Delivered(Delivered {
                identifier: Some(id.clone()),
                note,
                json,
            })
        };
        Step::new(
            "read the output",
            self.api.request(Version::V2, Method::Get, &path),
            read,
        )
        .large()
    }
}

fn delivered(id: String) -> Verdict {
    Verdict::Delivered(Delivered {
        identifier: Some(id),
        ..Delivered::default()
    })
}

/// The reply to `op=wait`: the workflow's output as it is; a header names the instance, from v0.6.7 on
/// (docs/vendors/direktiv.md 5).
fn returned(reply: &Reply) -> Verdict {
    match reply.expect_empty_or_json() {
        Ok(()) => Verdict::Delivered(Delivered {
            identifier: instance_of(reply).map(str::to_owned),
            json: reply.shared_json(),
            ..Delivered::default()
        }),
        Err(unexpected) => unexpected.into(),
    }
}

/// The instance that the reply to `op=wait` is about.
fn instance_of(reply: &Reply) -> Option<&str> {
    reply.header("direktiv-instance-id").filter(|id| !id.is_empty())
}

/// What is said where it is not sent again.
const UNSURE: &str = "It may have been processed all the same, so it was not sent again";

/// The verdict on a workflow that did not start, or that failed while it was waited for: a 500 with the reason, which may
/// be as plain as a wrong path, and which sending again would not mend (docs/vendors/direktiv.md 5). The newer API's
/// `internal` hides a failure of the server instead, and a 5xx without the API's JSON is some proxy's. The older API's 500
/// is any error that has no gRPC code of its own: nothing says that the workflow was not started before it.
fn refusal(version: Version, reply: &Reply) -> Option<Verdict> {
    if let Some(code) = reply
        .header("direktiv-instance-error-code")
        .filter(|code| !code.is_empty())
    {
        let message = reply.header("direktiv-instance-error-message").unwrap_or_default();
        let text = truncate(&format!("{code}: {message}"), 300);
        let what = instance_of(reply).map_or_else(|| "the workflow".to_owned(), |id| format!("the instance {id}"));
        return Some(Verdict::Failed(format!("{what} failed: {text}")));
    }
    let is_reason = version == Version::V2
        && reply.status == 500
        && reply.text_at("/error/code").is_some_and(|code| code != "internal");
    is_reason.then(|| Verdict::Rejected(format!("the workflow could not be run: {}", reply.complaint())))
}

/// The output in the reply: `data.output`, in base64 up to v0.10 and as it is after it; left out where there is none.
fn output(body: &Value) -> Option<Value> {
    let output = match body.get("data") {
        Some(Value::Object(data)) => data.get("output")?,
        Some(data) => data,
        None => body,
    };
    match output {
        Value::Null => None,
        Value::String(text) => Some(decoded(text)),
        other => Some(other.clone()),
    }
}

/// JSON, or base64 of JSON or of text, or text. A text can't be read both ways: JSON has characters that base64 lacks,
/// except for numbers, `true`, `false` and `null`, which as base64 don't yield UTF-8.
fn decoded(text: &str) -> Value {
    let parse = |text: &str| serde_json::from_str(text).ok();
    parse(text)
        .or_else(|| {
            let text = from_base64(text)?;
            Some(parse(&text).unwrap_or(Value::String(text)))
        })
        .unwrap_or_else(|| text.into())
}

/// An instance's error message: base64 of text in v0.8 to v0.10, since it is a byte slice there; text after it.
fn error_message(text: &str) -> String {
    from_base64(text)
        .filter(|text| {
            !text
                .chars()
                .any(|character| character.is_control() && !character.is_whitespace())
        })
        .unwrap_or_else(|| text.to_owned())
}

fn from_base64(text: &str) -> Option<String> {
    String::from_utf8(STANDARD.decode(text).ok()?).ok()
}
