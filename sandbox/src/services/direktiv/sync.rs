//! A sync of a namespace with its repository.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::clock::{age, later, now};
use crate::options::Options;

/// How Go prints the time of what hasn't ended (docs/vendors/direktiv.md 4).
const NEVER: &str = "0001-01-01T00:00:00Z";

/// A sync that runs longer is forced to `failed` by v0.10 (docs/vendors/direktiv.md 4).
const LIMIT: Duration = Duration::from_mins(5);

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

    /// Moves it to where it is by now.
    pub(super) fn advance(&mut self, options: &Options) {
        let age = age(&self.created_at);
        if !self.runs() {
            return;
        }
        if age >= LIMIT {
            self.log.push("process timed out".to_owned());
            self.finish("failed", LIMIT);
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
