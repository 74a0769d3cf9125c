//! The pipeline as GitLab describes it in `CI_*` and `GITLAB_*` variables (docs/gitlab.md 2.4).

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

/// GitLab's documented predefined variables that hold no credential, and that templates may therefore read as `env.NAME`
/// (docs/gitlab.md 2.4). A list and not a prefix: what a user names `CI_DEPLOY_KEY` is a credential all the same.
pub const PREDEFINED: &[&str] = &[
    "CHAT_CHANNEL",
    "CI",
    "CI_API_V4_URL",
    "CI_API_GRAPHQL_URL",
    "CI_BUILDS_DIR",
    "CI_COMMIT_AUTHOR",
    "CI_COMMIT_BEFORE_SHA",
    "CI_COMMIT_BRANCH",
    "CI_COMMIT_DESCRIPTION",
    "CI_COMMIT_MESSAGE",
    "CI_COMMIT_MESSAGE_IS_TRUNCATED",
    "CI_COMMIT_REF_NAME",
    "CI_COMMIT_REF_PROTECTED",
    "CI_COMMIT_REF_SLUG",
    "CI_COMMIT_SHA",
    "CI_COMMIT_SHORT_SHA",
    "CI_COMMIT_TAG",
    "CI_COMMIT_TAG_MESSAGE",
    "CI_COMMIT_TIMESTAMP",
    "CI_COMMIT_TITLE",
    "CI_COMMIT_USER_LOGIN",
    "CI_CONCURRENT_ID",
    "CI_CONCURRENT_PROJECT_ID",
    "CI_CONFIG_PATH",
    "CI_DEBUG_SERVICES",
    "CI_DEBUG_TRACE",
    "CI_DEFAULT_BRANCH",
    "CI_DEFAULT_BRANCH_SLUG",
    "CI_DEPENDENCY_PROXY_DIRECT_GROUP_IMAGE_PREFIX",
    "CI_DEPENDENCY_PROXY_GROUP_IMAGE_PREFIX",
    "CI_DEPENDENCY_PROXY_SERVER",
    "CI_DEPLOY_FREEZE",
    "CI_DISPOSABLE_ENVIRONMENT",
    "CI_ENVIRONMENT_ACTION",
    "CI_ENVIRONMENT_ID",
    "CI_ENVIRONMENT_NAME",
    "CI_ENVIRONMENT_SLUG",
    "CI_ENVIRONMENT_TIER",
    "CI_ENVIRONMENT_URL",
    "CI_EXTERNAL_PULL_REQUEST_IID",
    "CI_EXTERNAL_PULL_REQUEST_SOURCE_BRANCH_NAME",
    "CI_EXTERNAL_PULL_REQUEST_SOURCE_BRANCH_SHA",
    "CI_EXTERNAL_PULL_REQUEST_SOURCE_REPOSITORY",
    "CI_EXTERNAL_PULL_REQUEST_TARGET_BRANCH_NAME",
    "CI_EXTERNAL_PULL_REQUEST_TARGET_BRANCH_SHA",
    "CI_EXTERNAL_PULL_REQUEST_TARGET_REPOSITORY",
    "CI_GITLAB_FIPS_MODE",
    "CI_HAS_OPEN_REQUIREMENTS",
    "CI_JOB_GROUP_NAME",
    "CI_JOB_ID",
    "CI_JOB_IMAGE",
    "CI_JOB_MANUAL",
    "CI_JOB_NAME",
    "CI_JOB_NAME_SLUG",
    "CI_JOB_STAGE",
    "CI_JOB_STARTED_AT",
    "CI_JOB_STARTED_AT_SLUG",
    "CI_JOB_STATUS",
    "CI_JOB_TIMEOUT",
    "CI_JOB_URL",
    "CI_KUBERNETES_ACTIVE",
    "CI_MERGE_REQUEST_APPROVED",
    "CI_MERGE_REQUEST_ASSIGNEES",
    "CI_MERGE_REQUEST_DESCRIPTION",
    "CI_MERGE_REQUEST_DESCRIPTION_IS_TRUNCATED",
    "CI_MERGE_REQUEST_DIFF_BASE_SHA",
    "CI_MERGE_REQUEST_DIFF_ID",
    "CI_MERGE_REQUEST_DRAFT",
    "CI_MERGE_REQUEST_EVENT_TYPE",
    "CI_MERGE_REQUEST_ID",
    "CI_MERGE_REQUEST_IID",
    "CI_MERGE_REQUEST_LABELS",
    "CI_MERGE_REQUEST_MILESTONE",
    "CI_MERGE_REQUEST_PROJECT_ID",
    "CI_MERGE_REQUEST_PROJECT_PATH",
    "CI_MERGE_REQUEST_PROJECT_URL",
    "CI_MERGE_REQUEST_REF_PATH",
    "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME",
    "CI_MERGE_REQUEST_SOURCE_BRANCH_PROTECTED",
    "CI_MERGE_REQUEST_SOURCE_BRANCH_SHA",
    "CI_MERGE_REQUEST_SOURCE_PROJECT_ID",
    "CI_MERGE_REQUEST_SOURCE_PROJECT_PATH",
    "CI_MERGE_REQUEST_SOURCE_PROJECT_URL",
    "CI_MERGE_REQUEST_SQUASH_ON_MERGE",
    "CI_MERGE_REQUEST_TARGET_BRANCH_NAME",
    "CI_MERGE_REQUEST_TARGET_BRANCH_PROTECTED",
    "CI_MERGE_REQUEST_TARGET_BRANCH_SHA",
    "CI_MERGE_REQUEST_TITLE",
    "CI_NODE_INDEX",
    "CI_NODE_TOTAL",
    "CI_OPEN_MERGE_REQUESTS",
    "CI_PAGES_DOMAIN",
    "CI_PAGES_HOSTNAME",
    "CI_PAGES_URL",
    "CI_PIPELINE_CREATED_AT",
    "CI_PIPELINE_ID",
    "CI_PIPELINE_IID",
    "CI_PIPELINE_NAME",
    "CI_PIPELINE_SCHEDULE_DESCRIPTION",
    "CI_PIPELINE_SOURCE",
    "CI_PIPELINE_TRIGGERED",
    "CI_PIPELINE_URL",
    "CI_PROJECT_CLASSIFICATION_LABEL",
    "CI_PROJECT_DESCRIPTION",
    "CI_PROJECT_DIR",
    "CI_PROJECT_ID",
    "CI_PROJECT_NAME",
    "CI_PROJECT_NAMESPACE",
    "CI_PROJECT_NAMESPACE_ID",
    "CI_PROJECT_NAMESPACE_SLUG",
    "CI_PROJECT_PATH",
    "CI_PROJECT_PATH_SLUG",
    "CI_PROJECT_REPOSITORY_LANGUAGES",
    "CI_PROJECT_ROOT_NAMESPACE",
    "CI_PROJECT_TITLE",
    "CI_PROJECT_TOPICS",
    "CI_PROJECT_URL",
    "CI_PROJECT_VISIBILITY",
    "CI_REGISTRY",
    "CI_REGISTRY_IMAGE",
    "CI_RELEASE_DESCRIPTION",
    "CI_RUNNER_DESCRIPTION",
    "CI_RUNNER_EXECUTABLE_ARCH",
    "CI_RUNNER_ID",
    "CI_RUNNER_REVISION",
    "CI_RUNNER_TAGS",
    "CI_RUNNER_VERSION",
    "CI_SERVER",
    "CI_SERVER_FQDN",
    "CI_SERVER_HOST",
    "CI_SERVER_NAME",
    "CI_SERVER_PORT",
    "CI_SERVER_PROTOCOL",
    "CI_SERVER_REVISION",
    "CI_SERVER_SHELL_SSH_HOST",
    "CI_SERVER_SHELL_SSH_PORT",
    "CI_SERVER_URL",
    "CI_SERVER_VERSION",
    "CI_SERVER_VERSION_MAJOR",
    "CI_SERVER_VERSION_MINOR",
    "CI_SERVER_VERSION_PATCH",
    "CI_SHARED_ENVIRONMENT",
    "CI_TEMPLATE_REGISTRY_HOST",
    "CI_UPSTREAM_JOB_ID",
    "CI_UPSTREAM_PIPELINE_ID",
    "CI_UPSTREAM_PROJECT_ID",
    "GITLAB_CI",
    "GITLAB_FEATURES",
    "GITLAB_USER_EMAIL",
    "GITLAB_USER_ID",
    "GITLAB_USER_LOGIN",
    "GITLAB_USER_NAME",
];

/// What people write into a commit, a merge request or a ref's name: GitLab pastes it into values that refer to it, and
/// there it is text and never a template.
const WRITTEN_BY_PEOPLE: &[&str] = &[
    "CI_COMMIT_AUTHOR",
    "CI_COMMIT_BRANCH",
    "CI_COMMIT_DESCRIPTION",
    "CI_COMMIT_MESSAGE",
    "CI_COMMIT_REF_NAME",
    "CI_COMMIT_TAG",
    "CI_COMMIT_TAG_MESSAGE",
    "CI_COMMIT_TITLE",
    "CI_MERGE_REQUEST_DESCRIPTION",
    "CI_MERGE_REQUEST_LABELS",
    "CI_MERGE_REQUEST_MILESTONE",
    "CI_MERGE_REQUEST_REF_PATH",
    "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME",
    "CI_MERGE_REQUEST_TARGET_BRANCH_NAME",
    "CI_MERGE_REQUEST_TITLE",
    "CI_RELEASE_DESCRIPTION",
    "GITLAB_USER_NAME",
];

/// The texts of this pipeline that people wrote.
pub fn written_by_people(environment: &Environment) -> Vec<&str> {
    let texts = WRITTEN_BY_PEOPLE.iter().filter_map(|name| environment.predefined(name));
    texts.collect()
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

    #[test]
    fn every_fact_is_a_predefined_variable() {
        for name in FACTS
            .iter()
            .map(|fact| fact.variable)
            .chain(WRITTEN_BY_PEOPLE.iter().copied())
        {
            assert!(PREDEFINED.contains(&name), "{name}");
        }
    }
}
