//! How a Direktiv server refuses.

use serde_json::json;

use crate::wire::Reply;

/// A refusal in the form of whichever API was asked.
pub(super) enum Refusal {
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
    pub(super) fn v2(code: &str, message: &str) -> Self {
        Self::V2(code.to_owned(), message.to_owned())
    }

    pub(super) fn v1(status: u16, message: impl Into<String>) -> Self {
        Self::V1(status, message.into())
    }

    pub(super) fn internal() -> Self {
        Self::v2("internal", "internal server error")
    }

    pub(super) fn no_path() -> Self {
        Self::v2("request_path_not_found", "request http path is not found")
    }

    pub(super) fn no_method() -> Self {
        Self::v2(
            "request_method_not_allowed",
            "request http method is not allowed for this path",
        )
    }

    pub(super) fn reply(self) -> Reply {
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

/// The status that follows from an error's code (docs/vendors/direktiv.md 4). The more special patterns go first, or
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
