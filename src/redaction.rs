//! The one filter that keeps credentials out of everything the program prints or writes.
//!
//! A text that somebody else wrote (an error text, a header, one string of a JSON that came from outside) and that
//! carries a *trace* of a secret is dropped whole: what a hostile or careless service makes of a secret can't be
//! foreseen to the last character, and half a token is too much. A trace is any window of twelve characters of a
//! secret, of it in hexadecimal, or in base64 at each alignment; shorter secrets are traces as a whole. The text is
//! searched as it came and with each layer of escapes taken off ([`escapes`]), without white space and what can't be
//! seen, in lower case ([`matcher`]). What a public text holds too is no trace.
//!
//! Our own words are never dropped. So there are two ways in: [`Redactor::foreign`] and [`Redactor::json`] drop; they
//! are called where a foreign text enters our messages (`Reply` for everything it says to people) and where an answer
//! is written. [`Redactor::text`] and [`Redactor::record`] are the net behind them, which nothing that is printed or
//! written gets around: the console and the receipts pass everything through them, our words and others', and they cut
//! out just the stretch that the traces cover, in the original text, however it was escaped there. The exact cutting
//! that was here before knew every spelling of each character but not every mixture, and was searched anew for each
//! secret; it could miss what was escaped twice. Both ways are linear in the text, whatever the secrets are.

use std::{cell::RefCell, fmt, rc::Rc};

use serde::{Serialize, Serializer};
use serde_json::Value;

mod escapes;
mod matcher;
#[cfg(test)]
mod tests;

use matcher::Matcher;
pub use matcher::WINDOW;

/// What stands in place of a secret wherever text leaves the program, before the name of its variable.
pub const HIDDEN: &str = "[hidden]";

/// The part of an event that is not ours but the user's.
const PROPERTIES: &str = "properties";

/// What the token of nearly every issuer begins with is no secret: the header of a JWT.
const JWT_HEADERS: &[&str] = &[
    r#"{"alg":"HS256","typ":"JWT"}"#,
    r#"{"alg":"HS512","typ":"JWT"}"#,
    r#"{"alg":"RS256","typ":"JWT","kid":""#,
    r#"{"alg":"ES256","typ":"JWT","kid":""#,
    r#"{"alg":"RS256","kid":""#,
    r#"{"typ":"JWT","alg":"HS256"}"#,
    r#"{"typ":"JWT","alg":"RS256","kid":""#,
    r#"{"kid":""#,
];

/// Hides every trace of every known secret.
///
/// Cloning is cheap and shares the list: a token that is learned while the program runs is hidden everywhere from then
/// on. That is the one thing that flows backwards here, hence the one cell.
#[derive(Clone, Default)]
pub struct Redactor {
    known: Rc<RefCell<Known>>,
}

#[derive(Default)]
struct Known {
    matcher: Matcher,
    /// The variables that hold the secrets; the matcher knows them by their place here.
    variables: Vec<String>,
}

impl fmt::Debug for Redactor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Redactor")
    }
}

impl Redactor {
    /// Hides nothing yet. What stands in one of the `public` texts is never taken for a trace.
    pub fn new(public: impl IntoIterator<Item: AsRef<str>>) -> Self {
        let redactor = Self::default();
        {
            let matcher = &mut redactor.known.borrow_mut().matcher;
            for header in JWT_HEADERS {
                matcher.make_public(&jwt::encoded(header));
            }
            for text in public {
                matcher.make_public(text.as_ref());
            }
        }
        redactor
    }

    /// Hides `secret`, which `variable` holds, from now on. Of a JWT the header is none; of several lines each is one
    /// by itself, because servers echo one line.
    pub fn hide(&self, secret: &str, variable: &str) {
        let known = &mut *self.known.borrow_mut();
        let place = known.variables.iter().position(|name| name == variable);
        let place = place.unwrap_or_else(|| {
            known.variables.push(variable.to_owned());
            known.variables.len() - 1
        });
        let owner = u16::try_from(place).unwrap_or(u16::MAX);
        let secret = secret.trim();
        if let Some(parts) = jwt::secret_parts(secret) {
            for part in parts {
                known.matcher.learn(part, owner);
            }
            return;
        }
        known.matcher.learn(secret, owner);
        if secret.contains('\n') {
            // Longer lines are among the windows already.
            let lines = secret.lines().map(str::trim);
            for line in lines.filter(|line| (SHORTEST_LINE..WINDOW).contains(&line.len())) {
                known.matcher.learn(line, owner);
            }
        }
    }

    /// A text that somebody else wrote: as it is, or, where it carries a trace of a secret, only whose.
    pub fn foreign(&self, text: &str) -> String {
        let known = self.known.borrow();
        match known.matcher.first(text) {
            Some(owner) => known.note(owner),
            None => text.to_owned(),
        }
    }

    /// A text of our own, which may quote others: without the stretches that are traces.
    pub fn text(&self, text: &str) -> String {
        let known = self.known.borrow();
        // Nearly every text is clean, and it costs more to tell where something stands.
        if known.matcher.first(text).is_none() {
            return text.to_owned();
        }
        let mut traces = known.matcher.all(text);
        traces.sort_by_key(|(range, _)| range.start);
        let mut clean = String::new();
        let mut copied = 0;
        for (range, owner) in traces {
            // Windows of one stretch overlap.
            if range.start >= copied {
                clean.push_str(&text[copied..range.start]);
                clean.push_str(&known.note(owner));
            }
            copied = copied.max(range.end);
        }
        clean.push_str(&text[copied..]);
        clean
    }

    /// A JSON that somebody else wrote, with each string, key and number as [`Redactor::foreign`] has it: what is
    /// printed stays JSON. It is cleaned as it is written, for an answer may be large.
    pub fn json<'a>(&'a self, value: &'a Value) -> Clean<'a> {
        Clean {
            redactor: self,
            value,
            way: Redactor::foreign,
        }
    }

    /// A JSON of our own, a receipt or an event: its texts as [`Redactor::text`] has them. Its keys and numbers are
    /// ours, and stay what they are whatever a service calls a token; but for those of the event's properties, which
    /// are the user's.
    pub fn record(&self, value: &Value) -> Value {
        let own = |(key, member): (&String, &Value)| {
            let cleaned = match key.as_str() {
                PROPERTIES => self.properties(member),
                _ => self.record(member),
            };
            (key.clone(), cleaned)
        };
        match value {
            Value::String(text) => Value::String(self.text(text)),
            Value::Array(items) => items.iter().map(|item| self.record(item)).collect(),
            Value::Object(members) => members.iter().map(own).collect(),
            Value::Number(_) | Value::Null | Value::Bool(_) => value.clone(),
        }
    }

    fn properties(&self, value: &Value) -> Value {
        let clean = Clean {
            redactor: self,
            value,
            way: Redactor::text,
        };
        // Nothing in it can't be written as JSON.
        serde_json::to_value(clean).unwrap_or_default()
    }

    /// Whether a text carries a trace of a secret.
    pub fn is_traced(&self, text: &str) -> bool {
        self.known.borrow().matcher.first(text).is_some()
    }
}

/// Shorter lines of a secret of several are its brackets, or words.
const SHORTEST_LINE: usize = 8;

impl Known {
    fn note(&self, owner: u16) -> String {
        match self.variables.get(usize::from(owner)) {
            Some(variable) => format!("{HIDDEN} (it echoes {variable})"),
            None => HIDDEN.to_owned(),
        }
    }
}

/// A JSON that is cleaned, string by string, as it is written.
pub struct Clean<'a> {
    redactor: &'a Redactor,
    value: &'a Value,
    way: fn(&Redactor, &str) -> String,
}

impl<'a> Clean<'a> {
    fn of(&self, value: &'a Value) -> Self {
        Self { value, ..*self }
    }

    fn text(&self, text: &str) -> String {
        (self.way)(self.redactor, text)
    }
}

impl Serialize for Clean<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.value {
            Value::String(text) => serializer.serialize_str(&self.text(text)),
            Value::Array(items) => serializer.collect_seq(items.iter().map(|item| self.of(item))),
            Value::Object(members) => {
                let mut dropped: Vec<String> = Vec::new();
                serializer.collect_map(members.iter().map(|(key, member)| {
                    let mut name = self.text(key);
                    if name != *key {
                        // Two keys that were dropped are two all the same.
                        let same = dropped.iter().filter(|other| **other == name).count();
                        dropped.push(name.clone());
                        if same > 0 {
                            name = format!("{name} {}", same + 1);
                        }
                    }
                    (name, self.of(member))
                }))
            }
            Value::Number(number) => {
                let text = number.to_string();
                let cleaned = self.text(&text);
                if cleaned == text {
                    number.serialize(serializer)
                } else {
                    serializer.serialize_str(&cleaned)
                }
            }
            Value::Null | Value::Bool(_) => self.value.serialize(serializer),
        }
    }
}

impl fmt::Display for Clean<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = serde_json::to_string(self).map_err(|_| fmt::Error)?;
        formatter.write_str(&text)
    }
}

/// JSON web tokens: a header, which says nothing, and two parts that do.
mod jwt {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

    /// What every header of a token begins with: `{"`.
    const BEGINNING: &str = "eyJ";

    /// A header as it stands in tokens; of one that goes on, what does not depend on how.
    pub fn encoded(header: &str) -> String {
        let whole = if header.ends_with('}') {
            header.len()
        } else {
            header.len() / 3 * 3
        };
        URL_SAFE_NO_PAD.encode(&header.as_bytes()[..whole])
    }

    /// What of a token is secret: all behind its header, and each of the two parts, which may be echoed by itself.
    pub fn secret_parts(token: &str) -> Option<[&str; 3]> {
        let (header, rest) = token.split_once('.')?;
        let (payload, signature) = rest.split_once('.')?;
        let is_part = |part: &str| {
            let is_sign = |byte: u8| byte.is_ascii_alphanumeric() || b"-_=".contains(&byte);
            part.len() >= 6 && part.bytes().all(is_sign)
        };
        let is_token = header.starts_with(BEGINNING) && [header, payload, signature].into_iter().all(is_part);
        is_token.then_some([rest, payload, signature])
    }
}
