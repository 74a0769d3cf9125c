//! Which variables hold credentials, and what of them has to be hidden: the declared ones, however they are given, and
//! whatever else is called a token, a password or the like.

use std::{borrow::Cow, path::Path};

use serde_json::{Map, Value};
use url::Url;

use crate::{
    environment::{self, Environment},
    gitlab::pipeline,
    redaction::{Redactor, WINDOW},
    text::is_typo,
    variables::{Default, Kind, Variable, header},
};

/// Credentials of variables that we do not declare are hidden from this length on: a shorter one is a switch or a word
/// that happens to be called a token.
const SHORTEST_FOREIGN: usize = 8;

/// Parts of an address that is declared to be a credential are hidden from this length on.
const SHORTEST_OWN: usize = 6;

/// What in a name says that the value is a credential.
const WORDS: &[&str] = &[
    "TOKEN",
    "PASSWORD",
    "PASSWD",
    "SECRET",
    "CREDENTIAL",
    "PRIVATE_KEY",
    "API_KEY",
    "APIKEY",
    "SSH_KEY",
    "DEPLOY_KEY",
    "JWT",
    "NETRC",
];

/// The same, where it is a word of its own between underscores: `PATH` is no `PAT`.
const WHOLE_WORDS: &[&str] = &["PAT", "AUTH", "PASS", "PWD", "DSN"];

/// Variables whose names don't say that their values hold a credential.
const NAMES: &[&str] = &[
    "CI_REPOSITORY_URL",
    "CI_BUILD_REPO",
    "DOCKER_AUTH_CONFIG",
    "KUBECONFIG",
    "CI_KUBECONFIG",
];

/// Whether the value of a variable of this name, which we do not declare, has to be taken for a credential.
pub fn is_credential(name: &str) -> bool {
    let upper = name.to_uppercase();
    NAMES.contains(&upper.as_str())
        || WORDS.iter().any(|word| upper.contains(word))
        || upper.split('_').any(|word| WHOLE_WORDS.contains(&word))
}

/// The same of a member of a JSON or of a header: `routing_key`, `apiKey`, `DD-API-KEY`, `Cookie`.
pub fn is_credential_member(name: &str) -> bool {
    let mut words = String::new();
    let mut was_lower = false;
    for character in name.chars() {
        // `apiKey` is two words, `DD-API-KEY` three.
        if was_lower && character.is_uppercase() {
            words.push('_');
        }
        was_lower = character.is_lowercase();
        words.push(if character.is_alphanumeric() { character } else { '_' });
    }
    let words = words.to_uppercase();
    // `key` alone is the name of anything.
    is_credential(&words) || words.ends_with("_KEY") || ["COOKIE", "AUTHORIZATION"].contains(&words.as_str())
}

/// Headers that say how a body is written: their values are words that everybody uses.
const OPEN_HEADERS: &[&str] = &[
    "content-type",
    "accept",
    "accept-language",
    "user-agent",
    "content-language",
];

/// Whether what a header has is taken for a credential: all but a few, unless it is a word of a few letters.
pub fn is_secret_header(name: &str, value: &str) -> bool {
    let is_open = OPEN_HEADERS.iter().any(|open| name.eq_ignore_ascii_case(open));
    let is_word = value.len() < SHORTEST_FOREIGN || (value.len() < WINDOW && value.chars().all(char::is_alphabetic));
    !is_open && (is_credential_member(name) || !is_word)
}

/// Whether the text that a JSON has as the member `name` is taken for a credential.
pub fn is_secret_member(name: &str, text: &str) -> bool {
    (is_credential_member(name) && text.len() >= SHORTEST_FOREIGN) || looks_like_credential(text)
}

/// Whether a value looks like a credential, whatever its variable is called: a key in PEM form, or an address with a
/// password in it.
pub fn looks_like_credential(value: &str) -> bool {
    let has_password = |url: url::Url| url.password().is_some_and(|password| !password.is_empty());
    (value.contains("-----BEGIN") && value.contains("PRIVATE KEY"))
        || value
            .split_whitespace()
            .any(|word| url::Url::parse(word).is_ok_and(has_password))
}

/// Has `redactor` hide every credential that the environment holds. `declared` are all variables that the program
/// reads: what they say counts more than what a name looks like (`DIREKTIV_AUTH` is no credential).
pub fn hide(redactor: &Redactor, environment: &Environment, declared: &[&'static Variable]) {
    let named = |name: &str| {
        // A group sets what its projects may override under this name.
        let own = name.strip_suffix(environment::DEFAULT_SUFFIX).unwrap_or(name);
        let is_named = move |variable: &&&Variable| [name, own].contains(&variable.name);
        let is_mistaken = move |variable: &&&Variable| variable.is_secret() && is_typo(name, variable.name);
        let named = declared.iter().find(is_named);
        named.or_else(|| declared.iter().find(is_mistaken))
    };
    for variable in declared.iter().filter(|variable| variable.is_secret()) {
        for name in std::iter::once(variable.name).chain(variable.official) {
            if let Ok(Some(found)) = environment.find(name, true) {
                hide_declared(redactor, name, &found.value, variable.kind);
            }
        }
    }
    // The values as they stand there, too: what can't be read for some other reason is a credential all the same.
    for (name, value) in environment.all() {
        if environment::reference(value).is_some() {
            continue;
        }
        match named(name) {
            Some(variable) if variable.is_secret() => {
                match environment::pasted(name, value) {
                    Ok(decoded) => hide_declared(redactor, name, &decoded, variable.kind),
                    Err(_) => hide_declared(redactor, name, value, variable.kind),
                }
                if let Some(encoded) = value.strip_prefix(environment::BASE64_PREFIX) {
                    redactor.hide(encoded, name);
                }
            }
            None if is_credential(name) && value.len() >= SHORTEST_FOREIGN && !is_path(value) => {
                hide_value(redactor, name, value);
            }
            Some(_) | None => {}
        }
    }
}

/// Whether a value is where a file is, as GitLab hands over variables of the file type: no secret itself.
fn is_path(value: &str) -> bool {
    value.starts_with('/') && Path::new(value).exists()
}

/// Hides what of a declared credential is secret.
fn hide_declared(redactor: &Redactor, name: &str, value: &str, kind: Kind) {
    let value = value.trim();
    match kind {
        Kind::HeaderLine if value.contains(':') => hide_header_line(redactor, name, value),
        Kind::SecretUrl => hide_address(redactor, name, value),
        Kind::Headers | Kind::Body => match serde_json::from_str(value) {
            Ok(Value::Object(members)) if kind == Kind::Headers => hide_headers(redactor, name, &members),
            Ok(json @ (Value::Object(_) | Value::Array(_))) => hide_members(redactor, name, "", &json),
            // No JSON: as headers it is of no use, and may well be a credential; as a body it is text for everybody.
            _ if kind == Kind::Headers => hide_value(redactor, name, value),
            _ => hide_text(redactor, name, value),
        },
        _ => hide_value(redactor, name, value),
    }
}

/// Hides an address that is a credential: all that is behind its host.
fn hide_address(redactor: &Redactor, name: &str, value: &str) {
    hide_value(redactor, name, value);
    if let Ok(url) = Url::parse(value) {
        // Here nothing is a word by chance.
        let of_query = url.query().into_iter().flat_map(|query| query.split('&'));
        let values = of_query.map(|pair| pair.split_once('=').map_or(pair, |(_, value)| value));
        for part in values.chain([url.username()]).filter(|part| part.len() >= SHORTEST_OWN) {
            redactor.hide(part, name);
        }
        let mut rest = url.path().to_owned();
        rest.extend(url.query().map(|query| format!("?{query}")));
        if rest.len() >= WINDOW {
            redactor.hide(&rest, name);
        }
    }
}

/// Hides the values of headers, as far as they don't come from the event.
fn hide_headers(redactor: &Redactor, name: &str, headers: &Map<String, Value>) {
    for (header, value) in headers {
        let value = crate::text::plain(value);
        if is_secret_header(header, &value) {
            for part in outside_templates(&value) {
                hide_header_line(redactor, name, &format!("{header}: {part}"));
            }
        }
    }
}

/// Hides what of the texts in a JSON is a credential, by the names of their members or by what they look like.
fn hide_members(redactor: &Redactor, name: &str, member: &str, value: &Value) {
    match value {
        Value::String(text) if is_credential_member(member) => {
            let parts = outside_templates(text).filter(|part| part.len() >= SHORTEST_FOREIGN);
            parts.for_each(|part| hide_value(redactor, name, part));
        }
        Value::String(text) => hide_text(redactor, name, text),
        Value::Array(items) => items.iter().for_each(|item| hide_members(redactor, name, member, item)),
        Value::Object(members) => {
            // Names and values side by side: `{"name": "api_key", "value": "…"}`.
            let label = ["name", "key"].iter().find_map(|key| members.get(*key)?.as_str());
            for (key, value) in members {
                let member = if key == "value" { label.unwrap_or(key) } else { key };
                hide_members(redactor, name, member, value);
            }
        }
        _ => {}
    }
}

/// Hides the words of a text that look like a credential, and what stands behind the name of one: `token=…`.
fn hide_text(redactor: &Redactor, name: &str, text: &str) {
    if text.contains("PRIVATE KEY") {
        redactor.hide(text, name);
    }
    for word in text.split(|character: char| character.is_whitespace() || matches!(character, '&' | '?')) {
        let named = word.split_once(['=', ':']).filter(|(key, _)| is_credential_member(key));
        if looks_like_credential(word) {
            hide_value(redactor, name, word);
        } else if let Some((_, value)) = named {
            let parts = outside_templates(value).filter(|part| part.len() >= SHORTEST_FOREIGN);
            parts.for_each(|part| redactor.hide(part, name));
        }
    }
}

/// What of a text is no template.
fn outside_templates(text: &str) -> impl Iterator<Item = &str> {
    let pieces = text.split("{{").flat_map(|piece| piece.split("{%"));
    pieces.filter_map(|piece| {
        let end = [piece.rfind("}}"), piece.rfind("%}")].into_iter().flatten().max();
        let piece = piece[end.map_or(0, |end| end + 2)..].trim();
        (!piece.is_empty()).then_some(piece)
    })
}

/// Hides what of a credential is secret: of an address what only who knows it knows, of JSON its texts, of everything else
/// all.
fn hide_value(redactor: &Redactor, name: &str, value: &str) {
    let value = value.trim();
    if let Ok(json @ (Value::Object(_) | Value::Array(_))) = serde_json::from_str(value) {
        hide_json(redactor, name, "", &json);
    } else if let Some(parts) = secret_parts_of_url(&with_scheme(name, value)) {
        for part in parts {
            redactor.hide(&part, name);
        }
    } else {
        redactor.hide(value, name);
    }
}

/// A value with the scheme that it may lack where it is a proxy's address, as `proxy.example.com:3128`: its host is no
/// secret then either.
fn with_scheme<'v>(name: &str, value: &'v str) -> Cow<'v, str> {
    if name.to_ascii_lowercase().ends_with("_proxy") && !value.contains("://") {
        format!("http://{value}").into()
    } else {
        value.into()
    }
}

/// What of an address is secret: its user info, the values of its query, what is behind `#`, and long segments of its
/// path. A user beside a password and the value of a query may well be a word, which is not hidden everywhere. None
/// where the text is no address.
fn secret_parts_of_url(text: &str) -> Option<Vec<String>> {
    if text.contains(char::is_whitespace) || !text.contains("://") {
        return None;
    }
    let url = Url::parse(text).ok().filter(Url::has_host)?;
    let mut parts = Vec::new();
    if let Some(password) = url.password() {
        parts.push(password.to_owned());
        parts.extend((url.username().len() >= WINDOW).then(|| url.username().to_owned()));
    } else {
        parts.push(url.username().to_owned());
    }
    let of_query = url.query().into_iter().flat_map(|query| query.split('&'));
    let values = of_query.map(|pair| pair.split_once('=').map_or(pair, |(_, value)| value));
    let values = values
        .chain(url.fragment())
        .filter(|value| value.len() >= SHORTEST_FOREIGN);
    let segments = url.path().split('/').filter(|segment| segment.len() >= WINDOW);
    parts.extend(values.chain(segments).map(str::to_owned));
    Some(parts)
}

/// Hides the texts of a JSON: names of fields and hosts are no secret, nor is a word.
fn hide_json(redactor: &Redactor, name: &str, key: &str, value: &Value) {
    match value {
        Value::String(text) if key == "auth" => hide_basic(redactor, name, text),
        Value::String(text) if key.to_lowercase().ends_with("authorization") => {
            hide_header_line(redactor, name, &format!("{key}: {text}"));
        }
        Value::Number(number) if number.to_string().len() >= SHORTEST_FOREIGN => {
            redactor.hide(&number.to_string(), name);
        }
        Value::String(text) if text.len() >= SHORTEST_FOREIGN => hide_value(redactor, name, text),
        Value::Array(items) => items.iter().for_each(|item| hide_json(redactor, name, key, item)),
        Value::Object(members) => members
            .iter()
            .for_each(|(key, member)| hide_json(redactor, name, key, member)),
        _ => {}
    }
}

/// Hides a header line's value, as it is and as it becomes once files are read and base64 is decoded.
fn hide_header_line(redactor: &Redactor, name: &str, line: &str) {
    let cleaned = header::clean(name, line).map(|(line, _)| line);
    for line in [Some(line), cleaned.as_deref().ok()].into_iter().flatten() {
        let (scheme, credential) = header::credential(line);
        if scheme.eq_ignore_ascii_case("basic") {
            hide_basic(redactor, name, credential);
        } else {
            redactor.hide(credential, name);
        }
    }
}

/// Hides a pair of user and password, and the password, which a server may quote once it has decoded it.
fn hide_basic(redactor: &Redactor, name: &str, credential: &str) {
    redactor.hide(credential, name);
    let Ok(decoded) = environment::pasted("", &format!("{}{credential}", environment::BASE64_PREFIX)) else {
        return;
    };
    let password = decoded
        .split_once(':')
        .map_or(decoded.as_str(), |(_, password)| password);
    redactor.hide(password, name);
}

/// The texts that are no secret, whatever a secret has in common with them: what GitLab shows of the pipeline, what the
/// program says by itself, and the brackets around keys.
pub fn public(environment: &Environment, declared: &[&'static Variable]) -> Vec<String> {
    let predefined = pipeline::PREDEFINED.iter();
    let mut texts: Vec<String> = predefined
        .filter_map(|name| environment.predefined(name))
        .map(str::to_owned)
        .collect();
    // The repository's address has it so, beside the job's token.
    let path = environment.predefined("CI_PROJECT_PATH");
    texts.extend(path.map(|path| format!("{path}.git")));
    let mut own: Vec<&str> = PUBLIC.to_vec();
    for variable in declared {
        own.extend([variable.name, variable.description]);
        own.extend(variable.official);
        if let Default::Value(text) | Default::Derived(text) = variable.default {
            own.push(text);
        }
    }
    texts.extend(own.into_iter().map(str::to_owned));
    texts
}

/// Texts that stand in and around many credentials and say nothing.
const PUBLIC: &[&str] = &[
    "Authorization: Bearer",
    "Direktiv-Api-Key Direktiv-Token",
    "gitlab-ci-token",
    "-----BEGIN PRIVATE KEY-----",
    "-----END PRIVATE KEY-----",
    "-----BEGIN RSA PRIVATE KEY-----",
    "-----END RSA PRIVATE KEY-----",
    "-----BEGIN EC PRIVATE KEY-----",
    "-----END EC PRIVATE KEY-----",
    "-----BEGIN OPENSSH PRIVATE KEY-----",
    "-----END OPENSSH PRIVATE KEY-----",
    "-----BEGIN CERTIFICATE-----",
    "-----END CERTIFICATE-----",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell() {
        for name in [
            "CI_JOB_TOKEN",
            "CI_REGISTRY_PASSWORD",
            "CI_REPOSITORY_URL",
            "GITLAB_TOKEN",
            "CI_JOB_JWT_V2",
            "CI_DEPLOY_KEY",
            "GITLAB_PASS",
            "DB_PWD",
            "SENTRY_DSN",
            "CI_KUBECONFIG",
            "MY_NETRC",
        ] {
            assert!(is_credential(name), "{name}");
        }
        for name in pipeline::PREDEFINED {
            assert!(!is_credential(name), "{name}");
        }
        assert!(!is_credential("PATH") && !is_credential("HOME") && !is_credential("AUTHOR"));
    }

    #[test]
    fn values_tell() {
        assert!(looks_like_credential("postgres://app:s3cret@db.example.com/shop"));
        assert!(looks_like_credential("-----BEGIN RSA PRIVATE KEY-----\nMII"));
        assert!(!looks_like_credential("https://example.com/a:b@c"));
        assert!(!looks_like_credential("at 10:30 dana@example.com"));
    }

    #[test]
    fn of_addresses_headers_and_json_only_a_part_is_secret() {
        let environment = Environment::from_variables([
            ("CI_PROJECT_PATH".into(), "acme/shop-of-horrors".into()),
            (
                "CI_REPOSITORY_URL".into(),
                "https://gitlab-ci-token:64_x%2Dy-z-abcdef@gitlab.example.com/acme/shop-of-horrors.git".into(),
            ),
            (
                "CHAT_TOKEN".into(),
                "https://hooks.example.com/services/T0/B0123/qWeRtYuIoPaSdFgH?wait=true&key=k3y-of-12345".into(),
            ),
            (
                "DIREKTIV_HEADER_DEFAULT".into(),
                "Authorization: basic ZGVwbG95OnMzY3JldC1wYXNzd29yZA==".into(),
            ),
            (
                "MY_HEADERS_SECRET".into(),
                r#"{"Authorization":"Bearer t0ken-in-json","X-Pin":12345678901}"#.into(),
            ),
            ("CODED_TOKEN".into(), std::env::current_exe().unwrap().into_os_string()),
            ("RELY_API_TOKEN".into(), "@b64@Y29kZWQtdDBrZW4=".into()),
            (
                "DOCKER_AUTH_CONFIG".into(),
                r#"{"auths":{"registry.example.com":{"auth":"cm9ib3Q6cjBib3QtcGFzc3dvcmQ="}}}"#.into(),
            ),
        ]);
        let declared: Vec<&Variable> = crate::destinations::variables().collect();
        let redactor = Redactor::new(public(&environment, &declared));
        hide(&redactor, &environment, &declared);
        for (secret, name) in [
            ("64_x-y-z-abcdef", "CI_REPOSITORY_URL"),
            ("qWeRtYuIoPaSdFgH", "CHAT_TOKEN"),
            ("k3y-of-12345", "CHAT_TOKEN"),
            ("s3cret-password", "DIREKTIV_HEADER_DEFAULT"),
            ("ZGVwbG95OnMzY3JldC1wYXNzd29yZA", "DIREKTIV_HEADER_DEFAULT"),
            ("r0bot-password", "DOCKER_AUTH_CONFIG"),
            ("t0ken-in-json", "MY_HEADERS_SECRET"),
            ("12345678901", "MY_HEADERS_SECRET"),
            ("coded-t0ken", "RELY_API_TOKEN"),
            ("@b64@Y29kZWQtdDBrZW4", "RELY_API_TOKEN"),
        ] {
            assert!(
                redactor.foreign(secret).ends_with(&format!("(it echoes {name})")),
                "{secret}"
            );
        }
        for public in [
            "404 Project acme/shop-of-horrors.git Not Found at https://gitlab.example.com/acme/shop-of-horrors.git",
            "no gitlab-ci-token at https://hooks.example.com/services/T0/B0123/ wait=true",
            "Authorization: Basic, registry.example.com, DOCKER_AUTH_CONFIG",
            std::env::current_exe().unwrap().to_str().unwrap(),
        ] {
            assert_eq!(redactor.foreign(public), public);
        }
    }

    #[test]
    fn what_is_declared_counts_more_than_what_a_name_looks_like() {
        let environment = Environment::from_variables([
            ("DIREKTIV_AUTH".into(), "api-token".into()),
            ("OTHER_AUTH".into(), "other-credential".into()),
        ]);
        let declared: Vec<&Variable> = crate::destinations::variables().collect();
        let redactor = Redactor::new(public(&environment, &declared));
        hide(&redactor, &environment, &declared);
        assert_eq!(redactor.text("api-token"), "api-token");
        assert!(!redactor.text("other-credential").contains("other"));
    }
}
