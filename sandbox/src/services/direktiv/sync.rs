//! A sync of a namespace with its repository.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::clock::{age, later, now};
use crate::options::{DirektivVersion, Options};

/// How Go prints the time of what hasn't ended (docs/vendors/direktiv.md 4).
const NEVER: &str = "0001-01-01T00:00:00Z";

/// A sync that runs longer is forced to `failed` (docs/vendors/direktiv.md 4).
fn limit(version: DirektivVersion) -> Duration {
    Duration::from_mins(if version == DirektivVersion::Head { 2 } else { 5 })
}

/// Older records are deleted (docs/vendors/direktiv.md 4).
const KEPT: Duration = Duration::from_hours(48);

#[derive(Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Sync {
    pub(super) id: String,
    pub(super) status: String,
    pub(super) created_at: String,
    pub(super) updated_at: String,
    pub(super) ended_at: String,
    pub(super) directory: String,
    pub(super) force: bool,
    pub(super) log: Vec<String>,
}

impl Default for Sync {
    fn default() -> Self {
        Self {
            id: uuid::Uuid::new_v4().to_string(),
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
    pub(super) fn runs(&self) -> bool {
        matches!(self.status.as_str(), "pending" | "executing")
    }

    /// As docs/vendors/direktiv.md 4 prints it.
    pub(super) fn show(&self) -> Value {
        json!({"id": self.id, "status": self.status, "createdAt": self.created_at, "updatedAt": self.updated_at,
            "endedAt": self.ended_at})
    }

    /// Whether it is old enough to be deleted.
    pub(super) fn is_outdated(&self) -> bool {
        age(&self.created_at) >= KEPT
    }

    /// A line of its log as v2 prints it: v0.9 and newer say the same of every failure, with the cause beside it
    /// (docs/vendors/direktiv.md 4).
    pub(super) fn log_entry(&self, version: DirektivVersion, line: &str) -> Value {
        if self.status == "failed" && version >= DirektivVersion::V0_10 {
            json!({"time": self.updated_at, "level": "ERROR", "msg": "mirror processing failed", "error": line})
        } else {
            json!({"time": self.updated_at, "level": "INFO", "msg": line})
        }
    }

    /// Moves it to where it is by now.
    pub(super) fn advance(&mut self, options: &Options) {
        let age = age(&self.created_at);
        if !self.runs() {
            return;
        }
        let limit = limit(options.direktiv_version);
        if age >= limit {
            self.log.push("process timed out".to_owned());
            self.finish("failed", limit);
        } else if age >= options.direktiv_sync_takes {
            let (line, status) = match &options.direktiv_sync_fails {
                Some(line) => (line.as_str(), "failed"),
                None => ("Succeeded.", "complete"),
            };
            self.log.push(line.to_owned());
            self.finish(status, options.direktiv_sync_takes);
        } else if age >= options.direktiv_sync_takes / 3 {
            "executing".clone_into(&mut self.status);
        }
    }

    /// Stops it, where it still runs.
    pub(super) fn cancel(&mut self) {
        if self.runs() {
            self.log.push("cancelled".to_owned());
            self.finish("failed", age(&self.created_at));
        }
    }

    fn finish(&mut self, status: &str, ran: Duration) {
        status.clone_into(&mut self.status);
        self.ended_at = later(&self.created_at, ran);
        self.updated_at.clone_from(&self.ended_at);
    }
}
