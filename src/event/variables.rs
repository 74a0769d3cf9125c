//! The variables that make the event.

use crate::{variables, variables::Object};

variables! {
    /// The variables that make the event.
    pub struct EventVariables, "notify-event, README" {
        /// What kind of thing happened.
        name: String = "EVENT_NAME", default "deployment";
        /// What became of it: `started`, `progressing`, `success`, `failure`, `canceled`, `blocked`, `stopped`, `rolled_back`, or a synonym; CTO.ai and `direktiv:broadcast` take any other word too. `auto` finds it out: in `after_script` from `CI_JOB_STATUS`, elsewhere from the pipeline's jobs, as GitLab's API shows them (`NOTIFY_JOB` names the one that counts). `auto:success` says what is told where GitLab can't be asked; any of the eight words may stand there.
        action: String = "EVENT_ACTION", default "auto";
        /// What is deployed, where a pipeline deploys more than one thing: a service of a monorepo, or of a matrix, as in `{{ job.matrix[0] }}`.
        service: Option<String> = "EVENT_SERVICE", optional;
        /// One id for everything that this pipeline reports about this deployment. It must not contain a job's id: a retried job would report something new.
        id: Option<String> = "EVENT_ID", derived "<CI_PROJECT_PATH_SLUG>-<CI_PIPELINE_ID>, -<slug> of the environment, and --<slug> of the deploy job with --deploy-job, else of EVENT_SERVICE";
        /// A title for people.
        title: Option<String> = "EVENT_TITLE", derived "<project path>/<service> <version, or #pipeline id> (<environment>)";
        /// The repository, as group/project.
        repo: Option<String> = "EVENT_REPO", derived "CI_PROJECT_PATH";
        /// The branch.
        branch: Option<String> = "EVENT_BRANCH", derived "CI_COMMIT_BRANCH, else CI_MERGE_REQUEST_SOURCE_BRANCH_NAME, else CI_COMMIT_REF_NAME";
        /// The commit's full SHA.
        commit: Option<String> = "EVENT_COMMIT", derived "CI_COMMIT_SHA";
        /// The environment that is deployed to. Set it here rather than by `environment:`, which would make GitLab count the notify job as a deployment.
        environment: Option<String> = "EVENT_ENVIRONMENT", derived "CI_ENVIRONMENT_NAME";
        /// The image that is deployed.
        image: Option<String> = "EVENT_IMAGE", optional;
        /// The version that is deployed.
        version: Option<String> = "EVENT_VERSION", derived "CI_COMMIT_TAG";
        /// Where a person finds more.
        url: Option<String> = "EVENT_URL", derived "CI_PIPELINE_URL";
        /// Who did it.
        user: Option<String> = "EVENT_USER", derived "GITLAB_USER_LOGIN";
        /// Fields of your own, as a JSON object. They join the default properties at Rely.io and Port, where they have to exist in the blueprint, and win over those of the same name.
        properties: Option<Object> = "EVENT_PROPERTIES", optional;
    }
}
