//! Values that may hold credentials and are more than one: an address, headers, a body. Of the first two templates and
//! credentials share the place, so their messages quote nothing.

use std::fmt;

use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::Value;
use url::Url;

use super::{FromVariable, Kind, Object, Resolved, header, parse_json, type_of};
use crate::{environment, secret::Secret};

/// An address that is itself a credential: who knows it may use it. It may have a query and a user.
#[derive(Clone)]
pub struct SecretUrl {
    /// The whole address.
    pub whole: Secret,
    url: Url,
}

impl SecretUrl {
    /// Scheme, host and port, which may be shown, and a path of `/`.
    pub fn root(&self) -> String {
        format!("{}/", self.url.origin().ascii_serialization())
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.whole.fmt(formatter)
    }
}

impl<'de> Deserialize<'de> for SecretUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let text = text.trim();
        let wrong = |what: &str| Err(D::Error::custom(format!("{what}, as in https://hooks.example.com/…")));
        if text.contains("{{") || text.contains("{%") {
            return wrong(
                "has a template, which does not run in a credential; GitLab's own variables do, such as $CI_COMMIT_TAG",
            );
        }
        if !text.contains("://") {
            return wrong("has no scheme; it has to start with https://");
        }
        if text
            .chars()
            .any(|character| character.is_whitespace() || character.is_control())
        {
            return wrong("has white space in it, which no address has; paste it anew");
        }
        match Url::parse(text) {
            Err(error) => wrong(&format!("is no address ({error}); write it")),
            Ok(url) if !matches!(url.scheme(), "https" | "http") => wrong(&format!(
                "has the scheme {}; only https and http are spoken here",
                url.scheme()
            )),
            Ok(url) => Ok(Self {
                whole: Secret::from(text.to_owned()),
                url,
            }),
        }
    }
}

impl FromVariable for SecretUrl {
    const KIND: Kind = Kind::SecretUrl;

    fn came_from(&mut self, found: &Resolved) {
        self.whole.came_from(&found.name);
    }
}

/// Headers, as the members of a JSON object.
#[derive(Debug, Clone, Default)]
pub struct Headers(pub Vec<(String, Secret)>);

impl Headers {
    /// The value of a header, whatever the case of its name.
    pub fn get(&self, name: &str) -> Option<&Secret> {
        let mut named = self.0.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| value)
    }
}

/// What the client writes itself, and what would change where a request ends or goes.
const RESERVED: &[&str] = &[
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "content-encoding",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
];

/// What begins the names that signed webhooks have (docs/vendors/webhook.md 3).
const OF_SIGNATURES: &str = "webhook-";

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Object(members) = Object::deserialize(deserializer)?;
        let mut headers = Self::default();
        for (name, value) in members {
            let value = one(&name, &value).map_err(D::Error::custom)?;
            if headers.get(&name).is_some() {
                return Err(D::Error::custom(format!("has the header {name} twice")));
            }
            headers.0.push((name, Secret::from(value)));
        }
        Ok(headers)
    }
}

/// The value of the header `name`.
fn one(name: &str, value: &Value) -> Result<String, String> {
    if !header::is_name(name) {
        return Err("has a member whose name can't be a header's; write {\"Name\": \"value\"}".to_owned());
    }
    let lower = name.to_lowercase();
    if RESERVED.contains(&lower.as_str()) || lower.starts_with(OF_SIGNATURES) {
        return Err(format!("sets {name}, which the program writes itself; leave it out"));
    }
    let text = match value {
        Value::String(text) => text.trim(),
        Value::Number(_) | Value::Bool(_) => &value.to_string(),
        other => {
            return Err(format!(
                "has {} as the header {name}; it has to be a string",
                type_of(other)
            ));
        }
    };
    // `Authorization: Bearer …`: the credential is the last word.
    let last = text.split_whitespace().last().unwrap_or_default();
    if last.is_empty() || environment::reference(last).is_some() || header::is_bare_scheme(name, last) {
        return Err(format!(
            "has nothing, or a literal reference to a variable, as the value of the header {name}: GitLab had nothing to \
             put there. The variable is undefined, or protected and this branch or tag is not. See Settings > CI/CD > \
             Variables"
        ));
    }
    if !header::is_value(text) {
        return Err(format!("has a header {name} that {}", header::UNFIT));
    }
    Ok(text.to_owned())
}

impl FromVariable for Headers {
    const KIND: Kind = Kind::Headers;

    fn came_from(&mut self, found: &Resolved) {
        for (_, value) in &mut self.0 {
            value.came_from(&found.name);
        }
    }
}

/// What is sent: JSON where it starts like an object or an array, otherwise text.
#[derive(Clone)]
pub enum Body {
    /// JSON.
    Json(Value),
    /// Text of any other kind.
    Text(String),
}

impl Body {
    /// Whether a value is JSON, or else wrong: it starts like an object or an array, and not like a template, which no
    /// JSON starts with.
    pub fn looks_like_json(text: &str) -> bool {
        let text = text.trim_start();
        text.starts_with(['[', '{']) && !["{{", "{%", "{#"].iter().any(|sign| text.starts_with(sign))
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Body")
    }
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.trim_start().starts_with(['[', '{']) {
            parse_json(&text).map(Self::Json).map_err(D::Error::custom)
        } else {
            Ok(Self::Text(text))
        }
    }
}

impl FromVariable for Body {
    const KIND: Kind = Kind::Body;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::variables::check;

    #[test]
    fn an_address_is_checked_and_never_quoted() {
        assert!(check::<SecretUrl>("https://user:pw@h.example.com:8443/a/b?c=d#e").is_ok());
        for (text, says) in [
            ("hooks.example.com/s3cr3t", "has no scheme"),
            ("ftp://h/s3cr3t", "has the scheme ftp"),
            ("https://h/{{ event.s3cr3t }}", "has a template"),
            ("https://h/s3cr3t b", "has white space"),
            ("https://[s3cr3t", "is no address"),
            ("https:///", "is no address"),
        ] {
            let why = check::<SecretUrl>(text).unwrap_err();
            assert!(why.starts_with(says) && !why.contains("s3cr3t"), "{text}: {why}");
        }
    }

    #[test]
    fn headers_are_what_http_allows() {
        assert!(
            check::<Headers>(r#"{"Content-Type": "text/plain", "X-Count": 3, "Authorization": "Bearer a.b"}"#).is_ok()
        );
        for (text, says) in [
            (r#"["s3cr3t"]"#, "has to be a JSON object"),
            (r#"{"Na me": "s3cr3t"}"#, "has a member whose name"),
            (r#"{"X: s3cr3t": "x"}"#, "has a member whose name"),
            (r#"{"hOst": "s3cr3t"}"#, "sets hOst"),
            (r#"{"Content-Length": 3}"#, "sets Content-Length"),
            (r#"{"Transfer-Encoding": "chunked"}"#, "sets Transfer-Encoding"),
            (r#"{"Webhook-Id": "s3cr3t"}"#, "sets Webhook-Id"),
            (r#"{"X": ["s3cr3t"]}"#, "has an array as the header X"),
            (r#"{"X": "s3cr3t\r\nY: z"}"#, "has a header X that has a line break"),
            (r#"{"X": "s3cr3té"}"#, "has a header X that"),
            (r#"{"X": ""}"#, "has nothing, or a literal reference"),
            (
                r#"{"Authorization": "Bearer $s3cr3t"}"#,
                "has nothing, or a literal reference",
            ),
            (r#"{"Authorization": "Bearer "}"#, "has nothing, or a literal reference"),
            (r#"{"X": "s3cr3t", "x": "b"}"#, "has the header x twice"),
        ] {
            let why = check::<Headers>(text).unwrap_err();
            assert!(why.starts_with(says) && !why.contains("s3cr3t"), "{text}: {why}");
        }
    }

    #[test]
    fn what_starts_like_json_has_to_be_json() {
        for (text, says) in [
            ("{\"a\": 1,\n \"b\": s3cr3t}", "line 2, column 7"),
            ("[production] deployed", "line 1, column 2"),
        ] {
            let why = check::<Body>(text).unwrap_err();
            assert!(
                why.starts_with("is not JSON") && why.contains(says) && !why.contains("s3cr3t"),
                "{why}"
            );
        }
        assert!(check::<Body>("\"quoted\" or not").is_ok());
    }
}
