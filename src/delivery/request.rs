//! A request as data: with holes where credentials go, so that it can be shown without them.

use serde_json::Value;

use super::signature::Signing;
use crate::secret::Secret;

/// HTTP methods that the services want.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Adds, or does.
    Post,
    /// Puts in place.
    Put,
    /// Changes parts.
    Patch,
    /// Removes.
    Delete,
}

impl Method {
    /// The method's name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// How a credential is written where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// As it is.
    Plain,
    /// As JSON writes it between quotes.
    InJson,
    /// As it is; its variable holds JSON, of which it is the member of this name.
    Member(String),
    /// The same, as JSON writes it between quotes.
    MemberInJson(String),
}

/// A piece of text: known, or a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Text that may be shown.
    Known(String),
    /// A credential from a variable.
    Secret(Secret, Form),
    /// A credential that a login yields; the name is the one that a dry run gives it.
    Learned(&'static str),
}

/// Text with holes for credentials.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Text(pub Vec<Part>);

impl Text {
    /// Appends text that may be shown.
    pub fn known(mut self, text: impl Into<String>) -> Self {
        self.0.push(Part::Known(text.into()));
        self
    }

    /// This text with known text in front.
    pub fn after(mut self, text: &str) -> Self {
        match self.0.first_mut() {
            Some(Part::Known(first)) => first.insert_str(0, text),
            _ => self.0.insert(0, Part::Known(text.to_owned())),
        }
        self
    }

    /// Appends a credential.
    pub fn secret(mut self, secret: &Secret, form: Form) -> Self {
        self.0.push(Part::Secret(secret.clone(), form));
        self
    }

    /// Appends a credential that a login yields.
    pub fn learned(mut self, name: &'static str) -> Self {
        self.0.push(Part::Learned(name));
        self
    }

    /// The text with every hole filled; `learned` gives what logins yielded. `None` if one is still to be learned.
    pub fn expose(&self, learned: &dyn Fn(&str) -> Option<Secret>) -> Option<String> {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Known(known) => text.push_str(known),
                Part::Secret(secret, Form::Plain | Form::Member(_)) => text.push_str(secret.expose()),
                Part::Secret(secret, Form::InJson | Form::MemberInJson(_)) => {
                    let quoted = Value::from(secret.expose()).to_string();
                    text.push_str(&quoted[1..quoted.len() - 1]);
                }
                Part::Learned(name) => text.push_str(learned(name)?.expose()),
            }
        }
        Some(text)
    }

    fn learns(&self) -> Option<&'static str> {
        self.0.iter().find_map(|part| match part {
            Part::Learned(name) => Some(*name),
            _ => None,
        })
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::default().known(text)
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::default().known(text)
    }
}

/// An HTTP request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its method.
    pub method: Method,
    /// The whole address.
    pub url: Text,
    /// Names and values, in the order in which they are sent.
    pub headers: Vec<(String, Text)>,
    /// The body, if it has one.
    pub body: Option<Text>,
    /// How each attempt is signed, if it is.
    pub signing: Option<Signing>,
}

impl Request {
    /// A request without headers or body.
    pub fn new(method: Method, url: impl Into<Text>) -> Self {
        Self {
            method,
            url: url.into(),
            headers: Vec::new(),
            body: None,
            signing: None,
        }
    }

    /// Adds a header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Text>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Adds `Authorization: Bearer` with a credential.
    pub fn bearer(self, secret: &Secret) -> Self {
        let value = Text::from("Bearer ").secret(secret, Form::Plain);
        self.header("Authorization", value)
    }

    /// Adds a JSON body and its type.
    pub fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    /// Adds a body of the given type.
    pub fn body(mut self, content_type: &str, body: impl Into<Text>) -> Self {
        self.body = Some(body.into());
        self.header("Content-Type", content_type)
    }

    /// Has each attempt signed.
    pub fn signed(mut self, signing: Signing) -> Self {
        self.signing = Some(signing);
        self
    }

    /// The variables whose credentials this carries, each once.
    pub fn secrets(&self) -> Vec<&str> {
        let mut names = Vec::new();
        for part in self.texts().flat_map(|text| &text.0) {
            if let Part::Secret(secret, _) = part
                && !names.contains(&secret.variable())
            {
                names.push(secret.variable());
            }
        }
        names
    }

    /// The name of the credential that a login has to yield before this can be sent.
    pub fn learns(&self) -> Option<&'static str> {
        self.texts().find_map(Text::learns)
    }

    fn texts(&self) -> impl Iterator<Item = &Text> {
        std::iter::once(&self.url)
            .chain(self.headers.iter().map(|(_, value)| value))
            .chain(&self.body)
    }
}

/// `text` as one segment of a URL's path: everything but unreserved characters is percent-encoded, `/` included.
pub fn segment(text: &str) -> String {
    encoded(text)
}

/// `pairs` as a URL's query, with its `?`; nothing for no pairs.
pub fn query<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let pairs: Vec<String> = pairs
        .into_iter()
        .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)))
        .collect();
    if pairs.is_empty() {
        String::new()
    } else {
        format!("?{}", pairs.join("&"))
    }
}

/// RFC 3986: everything that is not unreserved is encoded.
fn encoded(text: &str) -> String {
    const RESERVED: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~');
    percent_encoding::utf8_percent_encode(text, RESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_and_queries_are_encoded() {
        assert_eq!(segment("Shop API/ü\"\\?#%"), "Shop%20API%2F%C3%BC%22%5C%3F%23%25");
        assert_eq!(query([("include", "a.b"), ("x", "1&2")]), "?include=a.b&x=1%262");
        assert_eq!(query([]), "");
    }

    #[test]
    fn holes_are_filled_only_for_the_wire() {
        let secret = Secret::new("a\"b", "TOKEN");
        let request = Request::new(Method::Post, "https://x/").bearer(&secret).body(
            "application/json",
            Text::from("{\"t\":\"").secret(&secret, Form::InJson).known("\"}"),
        );
        assert!(!format!("{request:?}").contains("a\"b"));
        let nothing = |_: &str| None;
        assert_eq!(request.headers[0].1.expose(&nothing).as_deref(), Some("Bearer a\"b"));
        assert_eq!(
            request.body.as_ref().unwrap().expose(&nothing).as_deref(),
            Some(r#"{"t":"a\"b"}"#)
        );
        let learned = Text::from("Bearer ").learned("PORT_ACCESS_TOKEN");
        assert_eq!(learned.expose(&nothing), None);
        assert_eq!(
            learned.expose(&|_| Some(secret.clone())).as_deref(),
            Some("Bearer a\"b")
        );
    }
}
