//! Which variables hold credentials, and what of them has to be hidden: the declared ones, however they are given, and
//! whatever else is called a token, a password or the like.

use crate::{
    environment::{self, Environment},
    gitlab::pipeline,
    redaction::Redactor,
    variables::{Kind, Variable, header},
};

/// Credentials of variables that we do not declare are hidden from this length on: a shorter one is a switch or a word
/// that happens to be called a token.
const SHORTEST_FOREIGN: usize = 8;

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
    for variable in declared.iter().filter(|variable| variable.is_secret()) {
        for name in std::iter::once(variable.name).chain(variable.official) {
            if let Ok(Some(found)) = environment.find(name, true) {
                redactor.hide(&found.value);
                if variable.kind == Kind::HeaderLine {
                    hide_header_line(redactor, name, &found.value);
                }
            }
        }
    }
    let is_declared = |name: &str, is_secret: bool| {
        let mut named = declared.iter().filter(|variable| variable.name == name);
        named.any(|variable| variable.is_secret() == is_secret)
    };
    for (name, value) in environment.all() {
        let is_foreign = is_credential(name)
            && !is_declared(name, false)
            && value.len() >= SHORTEST_FOREIGN
            && !pipeline::is_public(environment, value);
        if (is_declared(name, true) || is_foreign) && environment::reference(value).is_none() {
            redactor.hide(value);
        }
    }
}

/// Hides a header line's value by itself, and what it becomes once files are read and base64 is decoded.
fn hide_header_line(redactor: &Redactor, name: &str, line: &str) {
    let cleaned = header::clean(name, line).map(|(line, _)| line);
    for line in [Some(line), cleaned.as_deref().ok()].into_iter().flatten() {
        for credential in header::credentials(line) {
            redactor.hide(credential);
            hide_basic(redactor, line, credential);
        }
    }
}

/// Hides what `Basic` credentials say once they are decoded: a server may name the user, or quote the password.
fn hide_basic(redactor: &Redactor, line: &str, credential: &str) {
    if !line.contains("Basic ") {
        return;
    }
    let Ok(decoded) = environment::pasted("", &format!("{}{credential}", environment::BASE64_PREFIX)) else {
        return;
    };
    redactor.hide(&decoded);
    if let Some((_, password)) = decoded.split_once(':') {
        redactor.hide(password);
    }
}

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
    fn what_is_declared_counts_more_than_what_a_name_looks_like() {
        let environment = Environment::from_variables([
            ("DIREKTIV_AUTH".into(), "api-token".into()),
            ("OTHER_AUTH".into(), "other-credential".into()),
        ]);
        let redactor = Redactor::default();
        let declared: Vec<&Variable> = crate::destinations::variables().collect();
        hide(&redactor, &environment, &declared);
        assert_eq!(redactor.text("api-token"), "api-token");
        assert!(!redactor.text("other-credential").contains("other"));
    }
}
