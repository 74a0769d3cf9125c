//! The pipeline as GitLab describes it in `CI_*` and `GITLAB_*` variables (gitlab.md 2.4).

use serde_json::{Map, Value};

use crate::environment::Environment;

/// One of the names under `pipeline.` in templates.
#[derive(Debug, Clone, Copy)]
pub struct Fact {
    /// The name behind `pipeline.`.
    pub name: &'static str,
    /// GitLab's variable.
    pub variable: &'static str,
    /// Whether it is a whole number.
    pub is_number: bool,
}

macro_rules! facts {
    ($($name:literal $variable:literal $kind:ident,)+) => {
        &[$(Fact { name: $name, variable: $variable, is_number: facts!(@ $kind) },)+]
    };
    (@ number) => { true };
    (@ text) => { false };
}

/// Everything that templates find under `pipeline.`.
pub const FACTS: &[Fact] = facts![
    "id" "CI_PIPELINE_ID" number,
    "iid" "CI_PIPELINE_IID" number,
    "url" "CI_PIPELINE_URL" text,
    "name" "CI_PIPELINE_NAME" text,
    "source" "CI_PIPELINE_SOURCE" text,
    "created_at" "CI_PIPELINE_CREATED_AT" text,
    "project_id" "CI_PROJECT_ID" number,
    "project_name" "CI_PROJECT_NAME" text,
    "project_path" "CI_PROJECT_PATH" text,
    "project_slug" "CI_PROJECT_PATH_SLUG" text,
    "project_url" "CI_PROJECT_URL" text,
    "default_branch" "CI_DEFAULT_BRANCH" text,
    "server_url" "CI_SERVER_URL" text,
    "ref" "CI_COMMIT_REF_NAME" text,
    "branch" "CI_COMMIT_BRANCH" text,
    "tag" "CI_COMMIT_TAG" text,
    "commit" "CI_COMMIT_SHA" text,
    "commit_short" "CI_COMMIT_SHORT_SHA" text,
    "commit_title" "CI_COMMIT_TITLE" text,
    "commit_message" "CI_COMMIT_MESSAGE" text,
    "commit_author" "CI_COMMIT_AUTHOR" text,
    "commit_at" "CI_COMMIT_TIMESTAMP" text,
    "merge_request_iid" "CI_MERGE_REQUEST_IID" number,
    "merge_request_title" "CI_MERGE_REQUEST_TITLE" text,
    "merge_request_source_branch" "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME" text,
    "merge_request_target_branch" "CI_MERGE_REQUEST_TARGET_BRANCH_NAME" text,
    "environment" "CI_ENVIRONMENT_NAME" text,
    "environment_slug" "CI_ENVIRONMENT_SLUG" text,
    "environment_url" "CI_ENVIRONMENT_URL" text,
    "environment_tier" "CI_ENVIRONMENT_TIER" text,
    "job_id" "CI_JOB_ID" number,
    "job_name" "CI_JOB_NAME" text,
    "job_stage" "CI_JOB_STAGE" text,
    "job_url" "CI_JOB_URL" text,
    "job_started_at" "CI_JOB_STARTED_AT" text,
    "user_login" "GITLAB_USER_LOGIN" text,
    "user_name" "GITLAB_USER_NAME" text,
    "user_email" "GITLAB_USER_EMAIL" text,
    "user_id" "GITLAB_USER_ID" number,
];

/// Variables under these prefixes are open to templates, credentials among them excepted (contract, section 6).
const OPEN_PREFIXES: &[&str] = &["CI_", "GITLAB_", "EVENT_"];

/// What in a name says that the value is a credential.
const CREDENTIAL_WORDS: &[&str] = &[
    "TOKEN",
    "PASSWORD",
    "PASSWD",
    "SECRET",
    "CREDENTIAL",
    "PRIVATE_KEY",
    "API_KEY",
    "APIKEY",
    "SSH_KEY",
    "JWT",
];

/// Variables whose names don't say that their values hold a credential.
const CREDENTIAL_NAMES: &[&str] = &["CI_REPOSITORY_URL", "CI_BUILD_REPO", "DOCKER_AUTH_CONFIG", "KUBECONFIG"];

/// Whether the value of a variable of this name has to be taken for a credential.
pub fn is_credential(name: &str) -> bool {
    let upper = name.to_uppercase();
    CREDENTIAL_NAMES.contains(&upper.as_str())
        || CREDENTIAL_WORDS.iter().any(|word| upper.contains(word))
        || upper.split('_').any(|word| matches!(word, "PAT" | "AUTH"))
}

/// Whether a value is part of what GitLab shows of the pipeline to everybody who sees it: the project's name in
/// `SECRET_NAME` is no secret.
pub fn is_public(environment: &Environment, value: &str) -> bool {
    let mut facts = FACTS.iter().filter_map(|fact| environment.predefined(fact.variable));
    facts.any(|fact| fact.contains(value))
}

/// Whether templates may read the variable without being told so.
pub fn is_open(name: &str) -> bool {
    OPEN_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) && !is_credential(name)
}

/// The pipeline's facts, as `pipeline.*` shows them: those that are not set are left out.
pub fn pipeline(environment: &Environment) -> Map<String, Value> {
    FACTS
        .iter()
        .filter_map(|fact| {
            let text = environment.predefined(fact.variable)?;
            let number = fact.is_number.then(|| text.parse::<u64>().ok()).flatten();
            let value = number.map_or_else(|| Value::from(text), Value::from);
            Some((fact.name.to_owned(), value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn credentials_are_out_of_reach() {
        for name in [
            "CI_JOB_TOKEN",
            "CI_REGISTRY_PASSWORD",
            "CI_REPOSITORY_URL",
            "GITLAB_TOKEN",
            "CI_JOB_JWT_V2",
        ] {
            assert!(!is_open(name), "{name}");
        }
        for name in [
            "CI_COMMIT_TITLE",
            "GITLAB_USER_LOGIN",
            "EVENT_TITLE",
            "CI_PROJECT_PATH",
            "CI_COMMIT_AUTHOR",
        ] {
            assert!(is_open(name), "{name}");
        }
        assert!(!is_open("HOME"));
    }

    #[test]
    fn facts_keep_their_type_and_absent_ones_are_absent() {
        let environment = Environment::from_variables([
            ("CI_PIPELINE_ID".into(), "8812".into()),
            ("CI_COMMIT_TITLE".into(), "$HOME sweet".into()),
            ("CI_COMMIT_TAG".into(), "".into()),
        ]);
        assert_eq!(
            Value::from(pipeline(&environment)),
            json!({"id": 8812, "commit_title": "$HOME sweet"})
        );
    }
}
