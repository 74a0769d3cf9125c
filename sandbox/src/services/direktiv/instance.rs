//! An instance of a workflow: one run of it.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::clock::{age, later, now};
use crate::options::Options;
use crate::wire::Reply;

#[derive(Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Instance {
    pub(super) id: String,
    pub(super) status: String,
    pub(super) path: String,
    pub(super) created_at: String,
    pub(super) ended_at: Option<String>,
    pub(super) error_code: Option<String>,
    pub(super) error_message: Option<String>,
    pub(super) input: String,
    pub(super) output: Option<Value>,
    pub(super) runs: u64,
}

impl Default for Instance {
    fn default() -> Self {
        Self {
            id: uuid::Uuid::new_v4().to_string(),
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
    /// As docs/vendors/direktiv.md 5 prints it.
    pub(super) fn show(&self, namespace: &str) -> Value {
        json!({"id": self.id, "createdAt": self.created_at, "endedAt": self.ended_at, "status": self.status,
            "path": self.path, "errorCode": self.error_code, "invoker": "api", "errorMessage": self.error_message,
            "flow": [], "traceId": "", "lineage": [], "namespace": namespace})
    }

    /// The same, with its output in base64 (docs/vendors/direktiv.md 5).
    pub(super) fn show_with_output(&self, namespace: &str) -> Value {
        let mut shown = self.show(namespace);
        shown["output"] = self
            .output
            .as_ref()
            .map_or(Value::Null, |output| json!(BASE64_STANDARD.encode(output.to_string())));
        shown
    }

    /// Moves it to where it is by now.
    pub(super) fn advance(&mut self, options: &Options) {
        let takes = Duration::from_millis(self.runs);
        if self.status != "pending" || age(&self.created_at) < takes {
            return;
        }
        self.ended_at = Some(later(&self.created_at, takes));
        if let Some((code, message)) = &options.direktiv_workflow_fails {
            "failed".clone_into(&mut self.status);
            (self.error_code, self.error_message) = (Some(code.clone()), Some(message.clone()));
        } else {
            "complete".clone_into(&mut self.status);
            self.output = Some(options.direktiv_workflow_output.clone());
        }
    }
}

/// How the failure of a workflow shows in a reply's headers (docs/vendors/direktiv.md 5).
pub(super) fn failed(reply: Reply, code: &str, message: &str) -> Reply {
    reply
        .with("Direktiv-Instance-Error-Code", code)
        .with("Direktiv-Instance-Error-Message", message)
}

/// The output without an envelope: a field of it, text without its quotes, another content type
/// (docs/vendors/direktiv.md 5).
pub(super) fn raw_output(output: &Value, field: Option<&str>, raw: Option<&str>, kind: Option<&str>) -> Reply {
    let output = field.map_or(output, |field| &output[field]);
    let body = match (output, raw) {
        (Value::String(text), Some("true")) => text.clone(),
        (output, _) => output.to_string(),
    };
    Reply::bytes(200, kind.unwrap_or("application/json"), body.into_bytes())
}
