//! What the services were asked.

use std::collections::VecDeque;

use serde_json::{Value, json};

use crate::services::Service;
use crate::wire::Request;

/// A container that serves for weeks must not grow without end.
const KEPT: usize = 10_000;

/// A request that reached a service, and the status it was answered with.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The service that was asked.
    pub service: Service,
    /// The method.
    pub method: String,
    /// The path without the service's prefix, still percent-encoded: what the vendor itself would have seen.
    pub path: String,
    /// The query, still percent-encoded; empty if there is none.
    pub query: String,
    /// The headers, names in lower case, in the order they came.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// The status that was answered; None while it isn't answered, or if the connection was cut instead.
    pub status: Option<u16>,
}

impl Recorded {
    /// The first value of a header, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body as JSON; `Null` if it isn't.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The body as text, whatever is no UTF-8 replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// All of it as JSON, for `GET /_sandbox/requests`.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "service": self.service.name(),
            "method": self.method,
            "path": self.path,
            "query": self.query,
            "headers": self.headers,
            "body": self.text(),
            "json": self.json(),
            "status": self.status,
        })
    }
}

/// The latest requests.
#[derive(Default)]
pub(crate) struct Journal {
    entries: VecDeque<Recorded>,
    /// How many entries have been dropped: the number of the oldest that is kept.
    dropped: usize,
}

impl Journal {
    /// Adds a request, and returns its number.
    pub(crate) fn add(&mut self, service: Service, request: &Request) -> usize {
        if self.entries.len() == KEPT {
            self.entries.pop_front();
            self.dropped += 1;
        }
        self.entries.push_back(Recorded {
            service,
            method: request.method.clone(),
            path: request.path.clone(),
            query: request.query.clone(),
            headers: request.headers.clone(),
            body: request.body.clone(),
            status: None,
        });
        self.dropped + self.entries.len() - 1
    }

    /// Notes what the request of this number was answered with.
    pub(crate) fn answered(&mut self, number: usize, status: u16) {
        let kept = number
            .checked_sub(self.dropped)
            .and_then(|index| self.entries.get_mut(index));
        if let Some(entry) = kept {
            entry.status = Some(status);
        }
    }

    /// What is kept, oldest first.
    pub(crate) fn entries(&self) -> Vec<Recorded> {
        self.entries.iter().cloned().collect()
    }

    /// Forgets everything; numbers go on, so that a request under way can't be mistaken for a new one.
    pub(crate) fn clear(&mut self) {
        self.dropped += self.entries.len();
        self.entries.clear();
    }
}
