//! An instance of a workflow: one run of it.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::clock::{age, later, now};
use crate::options::{DirektivVersion, Options};
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
    /// As a version of docs/vendors/direktiv.md 5 prints it: the older ones with other names for the error, the newest
    /// with its output.
    pub(super) fn show(&self, version: DirektivVersion, namespace: &str) -> Value {
        let (code, message) = if version <= DirektivVersion::V0_8_5 {
            ("error_code", "error_message")
        } else {
            ("errorCode", "errorMessage")
        };
        let said = self.error_message.as_ref().map(|text| bytes(version, text));
        let mut shown = json!({"id": self.id, "createdAt": self.created_at, "endedAt": self.ended_at,
            "status": self.status, "path": self.path, code: self.error_code, "invoker": "api", message: said,
            "flow": [], "traceId": "", "lineage": [], "namespace": namespace});
        if version == DirektivVersion::Head {
            shown["output"] = self.shown_output(version);
        }
        shown
    }

    /// The same, with its output.
    pub(super) fn show_with_output(&self, version: DirektivVersion, namespace: &str) -> Value {
        let mut shown = self.show(version, namespace);
        shown["output"] = self.shown_output(version);
        shown
    }

    fn shown_output(&self, version: DirektivVersion) -> Value {
        let output = self.output.as_ref();
        output.map_or(Value::Null, |output| json!(bytes(version, &output.to_string())))
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

/// How a version prints what it holds as bytes: in base64, but for the newest (docs/vendors/direktiv.md 5).
fn bytes(version: DirektivVersion, text: &str) -> String {
    match version {
        DirektivVersion::Head => text.to_owned(),
        _ => BASE64_STANDARD.encode(text),
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
