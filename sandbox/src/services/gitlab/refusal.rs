//! How GitLab refuses.

use serde_json::{Value, json};

use crate::wire::Reply;

/// A refusal, in either of GitLab's envelopes.
pub(super) struct Refusal(u16, Value);

impl Refusal {
    /// GitLab's own.
    pub(super) fn new(status: u16, message: &str) -> Self {
        Self(status, json!({"message": message}))
    }

    /// That of its framework: of routes and parameters.
    pub(super) fn error(status: u16, message: impl Into<String>) -> Self {
        Self(status, json!({"error": message.into()}))
    }

    pub(super) fn of(status: u16) -> Self {
        match status {
            401 => Self::new(401, "401 Unauthorized"),
            403 => Self::new(403, "403 Forbidden"),
            404 => Self::new(404, "404 Project Not Found"),
            other => Self::new(other, &other.to_string()),
        }
    }

    /// A record that isn't there.
    pub(super) fn no_record() -> Self {
        Self::new(404, "404 Not found")
    }

    pub(super) fn reply(self) -> Reply {
        Reply::json(self.0, &self.1)
    }
}
