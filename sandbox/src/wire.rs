//! A request and a reply as plain values: what every stand-in reads and returns, with no I/O.

use std::time::Duration;

use serde_json::Value;

/// A request that was read to its end. `path` has lost the service's prefix, and is otherwise as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// The first value of a header, by its lower-case name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// What follows `Bearer ` in `Authorization`.
    pub(crate) fn bearer(&self) -> Option<&str> {
        self.header("authorization")?.strip_prefix("Bearer ")
    }

    /// The path's segments, each percent-decoded by itself, so that `%2F` stays inside its segment.
    /// None if one of them isn't valid percent-encoded UTF-8.
    pub(crate) fn segments(&self) -> Option<Vec<String>> {
        self.path
            .strip_prefix('/')
            .unwrap_or(&self.path)
            .split('/')
            .map(percent_decode)
            .collect()
    }

    /// The query's pairs, decoded, in order, repeated names kept.
    pub(crate) fn query(&self) -> Query {
        let decode = |text: &str| {
            let spaced = text.replace('+', " ");
            percent_decode(&spaced).unwrap_or(spaced)
        };
        let pairs = self.query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        });
        Query(pairs.collect())
    }

    /// Whether the body is declared to be JSON.
    pub(crate) fn says_json(&self) -> bool {
        let media_type = self.header("content-type").and_then(|value| value.split(';').next());
        media_type.is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case("application/json"))
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Result<Value, serde_json::Error> {
        serde_json::from_slice(&self.body)
    }
}

/// The decoded pairs of a query.
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// The first value of a name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// Every value of a name.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.0
            .iter()
            .filter(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// The first name that isn't one of `known`.
    pub(crate) fn unknown(&self, known: &[&str]) -> Option<&str> {
        self.0
            .iter()
            .map(|(name, _)| name.as_str())
            .find(|name| !known.contains(name))
    }
}

/// What a stand-in answers, and how long it takes to.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// How long the reply is held back (Direktiv's `wait=true`).
    pub(crate) after: Duration,
}

impl Reply {
    /// A reply without body or content type.
    pub(crate) fn empty(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            after: Duration::ZERO,
        }
    }

    /// A JSON reply.
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::bytes(status, "application/json", body.to_string().into_bytes())
    }

    /// A plain-text reply.
    pub(crate) fn text(status: u16, body: &str) -> Self {
        Self::bytes(status, "text/plain; charset=utf-8", body.as_bytes().to_vec())
    }

    /// A page.
    pub(crate) fn html(status: u16, body: &str) -> Self {
        Self::bytes(status, "text/html; charset=utf-8", body.as_bytes().to_vec())
    }

    /// A reply of any media type.
    pub(crate) fn bytes(status: u16, content_type: &str, body: Vec<u8>) -> Self {
        Self {
            body,
            ..Self::empty(status)
        }
        .with("content-type", content_type)
    }

    /// The same reply with one more header.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same reply, held back for a while.
    pub(crate) fn after(mut self, delay: Duration) -> Self {
        self.after = delay;
        self
    }
}

/// Percent-decodes one path segment or query part; None if an escape is broken or the result isn't UTF-8.
pub(crate) fn percent_decode(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let high = char::from(bytes.next()?).to_digit(16)?;
            let low = char::from(bytes.next()?).to_digit(16)?;
            decoded.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            decoded.push(byte);
        }
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoded_slash_stays_inside_its_segment() {
        let request = Request {
            method: "GET".into(),
            path: "/v1/acme%2Fshop%20%C3%BC".into(),
            query: "a=1&b=x%26y&a=2".into(),
            headers: Vec::new(),
            body: Vec::new(),
        };
        assert_eq!(request.segments().unwrap(), ["v1", "acme/shop ü"]);
        assert_eq!(request.query().all("a"), ["1", "2"]);
        assert_eq!(request.query().get("b"), Some("x&y"));
        assert_eq!(request.query().unknown(&["a"]), Some("b"));
    }

    #[test]
    fn a_broken_escape_is_not_text() {
        assert_eq!(percent_decode("%zz"), None);
        assert_eq!(percent_decode("%F"), None);
        assert_eq!(percent_decode("%FF"), None);
    }
}
