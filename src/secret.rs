//! Credentials, and the one filter that keeps them out of everything the program prints or writes.
//!
//! A [`Secret`] can't be formatted: its only ways out are [`Secret::expose`], which the delivery calls when it builds
//! the bytes for the wire, and a [`Redactor`], which remembers every form of it so that no other text carries one.

use std::{cell::RefCell, fmt, rc::Rc};

use base64::{Engine as _, engine::general_purpose};
use serde::Deserialize;
use serde_json::Value;

/// What stands in place of a secret wherever text leaves the program.
pub const HIDDEN: &str = "[hidden]";

/// Shorter secrets than this are not searched for: hiding each `a` of a report would hide the report.
const SHORTEST: usize = 3;

/// What stands where a text was cut, see [`template::truncate`](crate::template::truncate).
const CUT: &str = "…";

/// Shorter secrets than this are searched for as they are, but not in base64: three letters of a base64 text say
/// nothing, and would match by chance.
const SHORTEST_ENCODED: usize = 6;

/// A credential, and the name of the variable that it came from.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct Secret {
    value: Rc<str>,
    variable: Rc<str>,
}

impl Secret {
    /// A credential read from `variable`, which is the name shown in its place.
    pub fn new(value: &str, variable: &str) -> Self {
        Self {
            value: value.into(),
            variable: variable.into(),
        }
    }

    /// The credential itself: for the wire, never for a person.
    pub fn expose(&self) -> &str {
        &self.value
    }

    /// The variable that holds it.
    pub fn variable(&self) -> &str {
        &self.variable
    }

    /// Names the variable that this secret was read from.
    pub fn came_from(&mut self, variable: &str) {
        self.variable = variable.into();
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Self {
        Self::new(&value, "")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Secret(${})", self.variable)
    }
}

/// Replaces every known form of every known secret.
///
/// Cloning is cheap and shares the list: a token that is learned while the program runs is hidden everywhere from then on.
#[derive(Clone, Default)]
pub struct Redactor {
    forms: Rc<RefCell<Vec<String>>>,
}

impl Redactor {
    /// Hides `secret` from now on, in each form in which it could come back: as it is, URL-encoded, JSON- or
    /// HTML-escaped, in hexadecimal, and in base64 (on its own or inside a longer encoded text).
    pub fn hide(&self, secret: &str) {
        // A secret of several lines (a key, a file) is also looked for line by line: servers echo one line of it.
        for part in std::iter::once(secret).chain(secret.lines()) {
            let part = part.trim();
            if part.len() >= SHORTEST && !self.forms.borrow().iter().any(|form| form == part) {
                self.forms.borrow_mut().extend(forms_of(part));
            }
        }
        // Longest first, so that a secret which contains another one is not left with its ends showing.
        self.forms
            .borrow_mut()
            .sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        self.forms.borrow_mut().dedup();
    }

    /// `text` with every form of every secret replaced.
    pub fn text(&self, text: &str) -> String {
        let mut clean = text.to_owned();
        for form in self.forms.borrow().iter() {
            if clean.contains(form.as_str()) {
                clean = clean.replace(form.as_str(), HIDDEN);
            }
        }
        if clean.contains(CUT) {
            for form in self.forms.borrow().iter() {
                clean = hide_beginnings(&clean, form);
            }
        }
        clean
    }

    /// `value` with every string, key and number cleaned, so that what is printed stays JSON.
    pub fn json(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(text)),
            Value::Array(items) => items.iter().map(|item| self.json(item)).collect(),
            Value::Object(members) => members
                .iter()
                .map(|(key, member)| (self.text(key), self.json(member)))
                .collect(),
            Value::Number(number) => {
                let text = number.to_string();
                let clean = self.text(&text);
                if clean == text {
                    value.clone()
                } else {
                    Value::String(clean)
                }
            }
            Value::Null | Value::Bool(_) => value.clone(),
        }
    }
}

/// `text` without the beginnings of `form` that a cut has left of it: texts are shortened before they get here.
fn hide_beginnings(text: &str, form: &str) -> String {
    let mut pieces: Vec<String> = text.split(CUT).map(str::to_owned).collect();
    let last = pieces.len() - 1;
    for piece in &mut pieces[..last] {
        let beginning = form
            .char_indices()
            .map(|(index, _)| &form[..index])
            .rfind(|beginning| beginning.len() >= SHORTEST && piece.ends_with(beginning));
        if let Some(beginning) = beginning {
            piece.truncate(piece.len() - beginning.len());
            piece.push_str(HIDDEN);
        }
    }
    pieces.join(CUT)
}

/// Every form of `secret` that is searched for.
fn forms_of(secret: &str) -> Vec<String> {
    let mut forms = vec![secret.to_owned()];
    let bytes = secret.as_bytes();

    forms.extend(percent_encoded(bytes));
    let json = serde_json::to_string(secret).unwrap_or_default();
    let json = json.trim_matches('"').to_owned();
    forms.push(json.replace('/', "\\/"));
    forms.push(json);
    forms.push(ascii_json(secret));
    forms.push(format!("{secret:?}").trim_matches('"').to_owned());
    // A text is shown with its white space as single spaces.
    forms.push(secret.split_whitespace().collect::<Vec<_>>().join(" "));
    // Every language escapes the quotes in its own way, or leaves one of them.
    for quote in ["\"", "&quot;", "&#34;"] {
        for apostrophe in ["'", "&#39;", "&#x27;", "&#039;", "&apos;"] {
            forms.push(html_escaped(secret, quote, apostrophe));
        }
    }

    if secret.len() >= SHORTEST_ENCODED {
        let hexadecimal: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        forms.push(hexadecimal.to_uppercase());
        forms.push(hexadecimal);
        forms.extend(base64_inside(bytes));
    }
    forms.retain(|form| form.len() >= SHORTEST);
    forms
}

/// The percent-encodings in use: strict and form, which differ in the space, with either case of digit, and the one
/// that leaves what a path may hold.
fn percent_encoded(bytes: &[u8]) -> Vec<String> {
    let encode = |kept: &[u8], space: &str, upper: bool| -> String {
        bytes
            .iter()
            .map(|&byte| match byte {
                b' ' if !space.is_empty() => space.to_owned(),
                byte if byte.is_ascii_alphanumeric() || kept.contains(&byte) => char::from(byte).to_string(),
                byte if upper => format!("%{byte:02X}"),
                byte => format!("%{byte:02x}"),
            })
            .collect()
    };
    let mut forms = Vec::new();
    for upper in [true, false] {
        forms.push(encode(b"-._~", "", upper));
        forms.push(encode(b"-._~!*'()", "", upper));
        forms.push(encode(b"-._*", "+", upper));
        forms.push(encode(b"-._~/", "", upper));
        forms.push(encode(b"-._~!$&'()*+,;=:@/", "", upper));
        forms.push(encode(b"-._~!$&'()*+,;=:@/?#", "", upper));
    }
    forms
}

/// JSON with everything beyond ASCII as `\u` escapes, as Python and others write it.
fn ascii_json(secret: &str) -> String {
    let json = serde_json::to_string(secret).unwrap_or_default();
    let mut units = [0; 2];
    json.trim_matches('"')
        .chars()
        .map(|character| {
            if character.is_ascii() {
                character.to_string()
            } else {
                character
                    .encode_utf16(&mut units)
                    .iter()
                    .map(|unit| format!("\\u{unit:04x}"))
                    .collect()
            }
        })
        .collect()
}

fn html_escaped(secret: &str, quote: &str, apostrophe: &str) -> String {
    secret
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', quote)
        .replace('\'', apostrophe)
}

/// The characters that every base64 text has in common which encodes these bytes, wherever they stand in it: the
/// first and last characters depend on the neighbours, the ones between do not. Both alphabets.
fn base64_inside(bytes: &[u8]) -> Vec<String> {
    let mut forms = Vec::new();
    for offset in 0..3_usize {
        let mut padded = vec![0; offset];
        padded.extend_from_slice(bytes);
        // The characters whose six bits lie wholly within the secret's bytes.
        let first = (offset * 8).div_ceil(6);
        let last = padded.len() * 8 / 6;
        let standard = general_purpose::STANDARD_NO_PAD.encode(&padded);
        let url_safe = general_purpose::URL_SAFE_NO_PAD.encode(&padded);
        forms.push(standard[first..last].to_owned());
        forms.push(url_safe[first..last].to_owned());
    }
    forms
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const UGLY: &str = "s3cr\"t/\\ +ü&pass";

    fn redactor() -> Redactor {
        let redactor = Redactor::default();
        redactor.hide(UGLY);
        redactor
    }

    #[test]
    fn a_secret_cannot_be_formatted() {
        assert_eq!(
            format!("{:?}", Secret::new(UGLY, "RELY_API_TOKEN")),
            "Secret($RELY_API_TOKEN)"
        );
    }

    #[test]
    fn every_form_is_hidden() {
        let redactor = redactor();
        let mut forms = vec![
            UGLY.to_owned(),
            "s3cr%22t%2F%5C%20%2B%C3%BC%26pass".to_owned(),
            "s3cr%22t%2f%5c%20%2b%c3%bc%26pass".to_owned(),
            "s3cr%22t%2F%5C+%2B%C3%BC%26pass".to_owned(),
            serde_json::to_string(UGLY).unwrap(),
            r#"s3cr\"t\/\\ +ü&pass"#.to_owned(),
            r#"s3cr\"t/\\ +\u00fc&pass"#.to_owned(),
            "s3cr&quot;t/\\ +ü&amp;pass".to_owned(),
            "7333637222742f5c202bc3bc2670617373".to_owned(),
        ];
        for prefix in ["", "u", "us", "user:"] {
            for suffix in ["", "x", "xy"] {
                let text = format!("{prefix}{UGLY}{suffix}");
                forms.push(general_purpose::STANDARD.encode(&text));
                forms.push(general_purpose::URL_SAFE_NO_PAD.encode(&text));
            }
        }
        for form in forms {
            let clean = redactor.text(&format!("before {form} after"));
            assert!(clean.contains(HIDDEN), "{form} came through");
            assert!(
                clean.starts_with("before ") && clean.ends_with(" after"),
                "too much hidden in {clean}"
            );
            assert!(!clean.contains("pass"), "a rest of {form} came through: {clean}");
        }
    }

    #[test]
    fn a_line_of_a_secret_of_several_lines_is_hidden() {
        let redactor = Redactor::default();
        redactor.hide("-----BEGIN\nabcdefgh\n");
        assert_eq!(redactor.text("got abcdefgh"), "got [hidden]");
    }

    #[test]
    fn a_secret_inside_another_leaves_no_rest() {
        let redactor = Redactor::default();
        redactor.hide("inner1");
        redactor.hide("outer-inner1-outer");
        assert_eq!(redactor.text("outer-inner1-outer inner1"), "[hidden] [hidden]");
    }

    #[test]
    fn what_a_cut_left_of_a_secret_is_hidden() {
        let redactor = redactor();
        for cut in ["s3cr…", "s3cr\"t/\\ +ü&pas…", "s3cr%22t%2F%5C%2…"] {
            let clean = redactor.text(&format!("before {cut} after"));
            assert_eq!(clean, format!("before {HIDDEN}… after"));
        }
        assert_eq!(redactor.text("as… is"), "as… is");
    }

    #[test]
    fn json_stays_json() {
        let redactor = Redactor::default();
        redactor.hide("12345678");
        let clean = redactor.json(&json!({"n": 12_345_678, "12345678": ["x12345678", 1, null, true]}));
        assert_eq!(
            clean,
            json!({"n": HIDDEN, HIDDEN: [format!("x{HIDDEN}"), 1, null, true]})
        );
    }

    #[test]
    fn one_letter_is_no_secret_worth_hiding() {
        let redactor = Redactor::default();
        redactor.hide("a");
        assert_eq!(redactor.text("a banana"), "a banana");
    }
}
