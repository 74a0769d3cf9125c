//! A whole header line as a value: `Name: value`, where the value holds a credential.

use serde::{Deserialize, Deserializer};

use super::{FromVariable, Kind, Resolved};
use crate::{environment, problem::Problem, secret::Secret};

/// A header line, and the credential in it.
#[derive(Debug, Clone)]
pub struct HeaderLine {
    /// The whole line, as it is sent.
    pub line: Secret,
    /// Whether the variable holds the line as it is sent: no file was read for it, and nothing decoded.
    pub is_verbatim: bool,
}

impl<'de> Deserialize<'de> for HeaderLine {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self {
            line: Secret::deserialize(deserializer)?,
            is_verbatim: true,
        })
    }
}

impl FromVariable for HeaderLine {
    const KIND: Kind = Kind::HeaderLine;

    fn came_from(&mut self, found: &Resolved) {
        self.line.came_from(&found.name);
        self.is_verbatim = found.is_verbatim;
    }
}

/// What of a header line is secret: its scheme (`Bearer`), which is none, and the rest of its value. A first word of several
/// is a scheme only where a header has one.
pub fn credential(line: &str) -> (&str, &str) {
    let (name, value) = line.split_once(':').unwrap_or(("", line));
    let value = value.trim();
    let has_scheme = name.trim().to_ascii_lowercase().ends_with("authorization");
    let is_word = |word: &str| word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    match value.split_once(char::is_whitespace) {
        Some((scheme, rest)) if is_word(scheme) && (has_scheme || !rest.trim().contains(char::is_whitespace)) => {
            (scheme, rest.trim())
        }
        _ => ("", value),
    }
}

/// Cleans a header line: GitLab pastes into it what it has, which may be nothing, a literal reference, or the path of a
/// file (docs/gitlab.md 2.3). Tells too whether the credential stands in the variable as it is. Nothing of the line is
/// quoted in a message.
///
/// # Errors
/// A line that is no header's, or that holds nothing where its credential should be.
pub fn clean(variable: &str, line: &str) -> Result<(String, bool), Problem> {
    let problem = |what: &str| Problem::new(variable, what);
    let Some((name, value)) = line.trim().split_once(':') else {
        return Err(problem("is no header line, for it has no colon; write `Name: value`"));
    };
    if !is_name(name) {
        return Err(problem(
            "is no header line: what is before the colon can't be a header's name; write `Name: value`",
        ));
    }
    let value = value.trim();
    // `Authorization: Bearer …`: the credential is the last word.
    let (scheme, pasted) = match value.rsplit_once(char::is_whitespace) {
        Some((scheme, pasted)) => (format!("{} ", scheme.trim_end()), pasted),
        None => (String::new(), value),
    };
    if pasted.is_empty() || is_bare_scheme(name, pasted) {
        return Err(problem(
            "has nothing behind its header's name: GitLab had nothing to put there. The variable that it refers to \
             is undefined, or protected and this branch or tag is not. See Settings > CI/CD > Variables",
        ));
    }
    if environment::reference(pasted).is_some() {
        return Err(problem(
            "has a literal reference to a variable where its value should be: GitLab had nothing to put there. The \
             variable is undefined, or protected and this branch or tag is not. See Settings > CI/CD > Variables",
        ));
    }
    let credential = environment::pasted(variable, pasted)?;
    let credential = credential.trim();
    if credential.is_empty() {
        return Err(problem("names a file or a text in base64 that is empty"));
    }
    if !is_value(&scheme) || !is_value(credential) {
        return Err(problem(UNFIT));
    }
    Ok((format!("{name}: {scheme}{credential}"), pasted == credential))
}

/// Why a text can't be sent.
pub const UNFIT: &str = "has a line break or another character in it that no HTTP header can carry";

/// Whether a text can be a header's name.
pub fn is_name(text: &str) -> bool {
    let is_sign = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_sign)
}

/// Whether all that the header `name` has is a scheme, without the credential behind it.
pub fn is_bare_scheme(name: &str, last_word: &str) -> bool {
    ["bearer", "basic"].contains(&last_word.to_lowercase().as_str()) && name.eq_ignore_ascii_case("authorization")
}

/// Whether a header can carry the text.
pub fn is_value(text: &str) -> bool {
    text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hidden_by_itself() {
        assert_eq!(credential("direktiv-token: abc"), ("", "abc"));
        assert_eq!(credential("Authorization: bearer  abc"), ("bearer", "abc"));
        assert_eq!(credential("X: Key abc"), ("Key", "abc"));
        assert_eq!(credential("X: of three words"), ("", "of three words"));
        assert_eq!(credential("Cookie: a=abc; b=d"), ("", "a=abc; b=d"));
        assert_eq!(credential("none"), ("", "none"));
    }

    #[test]
    fn a_line_is_written_in_one_form() {
        let clean = |line| clean("A", line).unwrap();
        assert_eq!(
            clean(" Direktiv-Api-Key:abc "),
            ("Direktiv-Api-Key: abc".to_owned(), true)
        );
        assert_eq!(
            clean("Authorization: Bearer  abc"),
            ("Authorization: Bearer abc".to_owned(), true)
        );
        assert_eq!(clean("a: @b64@YWJj"), ("a: abc".to_owned(), false));
    }

    #[test]
    fn header_lines_that_gitlab_left_empty_or_that_are_none() {
        for (line, says) in [
            ("direktiv-token: ", "has nothing behind its header's name"),
            ("direktiv-token:", "has nothing behind its header's name"),
            ("Authorization: Bearer ", "has nothing behind its header's name"),
            ("direktiv-token: $DIREKTIV_TOKEN", "has a literal reference"),
            ("direktiv-token: ${DIREKTIV_TOKEN}", "has a literal reference"),
            ("Authorization: Bearer $SOME_JWT", "has a literal reference"),
            ("s3cr3t", "is no header line, for it has no colon"),
            (": s3cr3t", "is no header line: what is before the colon"),
            (
                "\"direktiv-token: s3cr3t\"",
                "is no header line: what is before the colon",
            ),
            (
                "-H 'direktiv-token: s3cr3t'",
                "is no header line: what is before the colon",
            ),
            ("direktiv-token: s3cr3t\nX-Other: 1", "has a line break"),
            ("direktiv-token: s3cr3tü", "has a line break or another character"),
            ("direktiv-token: @b64@s3cr*t", "starts with @b64@"),
        ] {
            let problem = clean("DIREKTIV_HEADER", line).unwrap_err().to_string();
            assert!(
                problem.starts_with(&format!("DIREKTIV_HEADER {says}")),
                "{line}: {problem}"
            );
            for part in ["s3cr", "SOME_JWT", "$"] {
                assert!(!problem.contains(part), "{line} is quoted: {problem}");
            }
        }
    }
}
