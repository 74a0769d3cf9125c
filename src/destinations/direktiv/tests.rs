//! The operations of Direktiv, with replies as its versions give them.

use std::{collections::BTreeMap, fs};

use serde_json::{Value, json};

use super::{
    super::testing::{in_words, reply, try_plan},
    *,
};
use crate::delivery::{
    plan::{Delivered, Plan, Repeat, Sent, Step, Verdict},
    request::Request,
};

mod broadcast;
mod execute;
mod sync;

use execute::WORKFLOW;

const BASE: &[(&str, &str)] = &[
    ("CI_PROJECT_PATH", "Acme/Shop"),
    ("CI_PROJECT_PATH_SLUG", "acme-shop"),
    ("CI_PIPELINE_ID", "8812"),
    (
        "CI_PIPELINE_URL",
        "https://gitlab.example.com/Acme/Shop/-/pipelines/8812",
    ),
    ("CI_COMMIT_BRANCH", "fix/\"quoted\" \\ ünïcode"),
    ("DIREKTIV_URL", "https://direktiv.example.com"),
    ("DIREKTIV_NAMESPACE", "demo"),
    ("DIREKTIV_TOKEN", "s3cret-token"),
];
const ID: &str = "5b0c7a5e-3d51-4a0a-9a3e-0d6f5f0f9d11";
const V2: &str = "https://direktiv.example.com/api/v2/namespaces/demo";
const V1: &str = "https://direktiv.example.com/api/namespaces/demo";
const NO_V2: (u16, &str) = (
    404,
    r#"{"error":{"code":"request_path_not_found","message":"request http path is not found"}}"#,
);

/// The plan for an operation; a variable in `more` replaces that of [`BASE`], an empty one removes it.
fn tried(operation: &str, more: &[(&str, &str)]) -> Result<Plan, Unmade> {
    try_plan(&DESTINATION, operation, BASE.iter().chain(more))
}

fn planned(operation: &str, more: &[(&str, &str)]) -> Plan {
    tried(operation, more).unwrap()
}

fn problems(operation: &str, more: &[(&str, &str)]) -> Vec<String> {
    match tried(operation, more) {
        Err(Unmade::Wrong(problems)) => problems.iter().map(ToString::to_string).collect(),
        other => panic!("{other:?}"),
    }
}

/// What goes over the wire.
fn wire(request: &Request) -> Value {
    let expose = |text: &crate::delivery::request::Text| text.expose(&|_| None).unwrap();
    let headers: Vec<String> = request
        .headers
        .iter()
        .map(|(name, value)| match name.as_str() {
            "" => expose(value),
            name => format!("{name}: {}", expose(value)),
        })
        .collect();
    let body = request.body.as_ref().map(expose);
    json!({
        "request": format!("{} {}", request.method.name(), expose(&request.url)),
        "headers": headers,
        "body": body.map(|body| serde_json::from_str::<Value>(&body).unwrap()),
    })
}

fn first(operation: &'static str, more: &[(&str, &str)]) -> Value {
    wire(&planned(operation, more).steps[0].request)
}

/// What was sent and waited for, and how it ended.
struct Course {
    log: Vec<String>,
    end: String,
    delivered: Option<Delivered>,
}

impl Course {
    fn id(&self) -> Option<&str> {
        self.delivered.as_ref().expect(&self.end).identifier.as_deref()
    }
}

/// Drives a plan as the delivery does, without its clock: every request gets the next of `replies`. 5xx that are left
/// to the general rule are sent again while there are replies, where the step allows it.
fn course(plan: &Plan, replies: &[(u16, &str)]) -> Course {
    let mut log = Vec::new();
    let mut attempts: BTreeMap<&str, u32> = BTreeMap::new();
    let mut ambiguous = false;
    let mut step = plan.steps[0].clone();
    let end = |log: Vec<String>, end: String, delivered| Course { log, end, delivered };
    let mut left = replies.iter();
    while let Some((status, body)) = left.next() {
        let count = attempts.entry(step.name).or_default();
        *count += 1;
        log.push(wire(&step.request)["request"].as_str().unwrap().to_owned());
        let sent = Sent {
            attempts: *count,
            ambiguous,
        };
        let reply = reply(*status, body);
        step = match step.read(&reply, sent) {
            Verdict::Then(next) => next,
            Verdict::Later(pause, next, what) => {
                log.push(format!("{}s: {what}", pause.as_secs()));
                next
            }
            Verdict::ByStatus if *status >= 500 && matches!(step.repeat, Repeat::Freely) && left.len() > 0 => {
                ambiguous = true;
                step
            }
            Verdict::Delivered(delivered) => {
                assert_eq!(left.len(), 0, "replies are left over");
                return end(log, "delivered".to_owned(), Some(delivered));
            }
            Verdict::ByStatus => {
                let why = format!("by status: {status} {}", reply.complaint());
                return end(log, why, None);
            }
            other => {
                let (class, why) = in_words(&other)
                    .split_once(' ')
                    .map(|(class, why)| (class.to_owned(), why.to_owned()))
                    .unwrap();
                return end(log, format!("{class}: {why}"), None);
            }
        };
    }
    log.push(format!("next: {}", wire(&step.request)["request"].as_str().unwrap()));
    end(log, "unfinished".to_owned(), None)
}

fn started(status: &str) -> String {
    json!({"data": {"id": ID, "status": status, "createdAt": "2025-03-01T10:00:00.12Z"}}).to_string()
}

fn syncs(status: &str) -> String {
    json!({"data": [{"id": "older", "status": "complete"}, {"id": ID, "status": status}]}).to_string()
}
