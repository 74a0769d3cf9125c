//! What can be chosen when a sandbox starts.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::{Value, json};

/// How a sandbox starts. `Options::default()` is what [`crate::Sandbox::start`] uses.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is chosen by itself")]
pub struct Options {
    /// Serve TLS, with a root made for this sandbox.
    pub tls: bool,
    /// Behind TLS: what is special about the certificate.
    pub certificate: Certificate,
    /// The address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The credentials that the services accept.
    pub credentials: Credentials,
    /// How much later than need be every reply comes, as over a network.
    pub latency: Duration,
    /// Whether Rely's PUT creates a missing entity; both readings are possible (docs/vendors/rely.md 3).
    pub rely_put_creates: bool,
    /// The status of Rely's reply to a POST of an id that exists: 409, 400 or 422; unknown (docs/vendors/rely.md 5).
    pub rely_duplicate: u16,
    /// The status of Rely's reply to a POST that created: 200 or 201; unknown (docs/vendors/rely.md 3).
    pub rely_created: u16,
    /// Which Direktiv this is (docs/vendors/direktiv.md 1).
    pub direktiv_version: DirektivVersion,
    /// Which header Direktiv takes the credential in; None for the one of its version (docs/vendors/direktiv.md 1, 2).
    pub direktiv_accepts: Option<DirektivAuth>,
    /// A topic (`syncs`, `instances`, `events`) that the credential has no permission for (docs/vendors/direktiv.md 2).
    pub direktiv_denies: Option<String>,
    /// How long a sync runs.
    pub direktiv_sync_takes: Duration,
    /// The log line that syncs fail with; None lets them complete.
    pub direktiv_sync_fails: Option<String>,
    /// How long a workflow runs.
    pub direktiv_workflow_takes: Duration,
    /// What a workflow returns.
    pub direktiv_workflow_output: Value,
    /// The error code and message that workflows fail with; None lets them complete.
    pub direktiv_workflow_fails: Option<(String, String)>,
    /// The GitHub repository that the Aviator project is tied to (docs/vendors/aviator.md 2).
    pub aviator_repo: String,
    /// Whether Aviator answers releases, deployments and statuses with an object instead of nothing; unknown
    /// (docs/vendors/aviator.md 3).
    pub aviator_replies: bool,
    /// After how many authorised requests Port's token stops being accepted; None for never (docs/vendors/port.md 1).
    pub port_tokens_expire_after: Option<usize>,
    /// How many requests Port takes in a period before it answers 429; None for any number (docs/vendors/port.md 5).
    pub port_rate_limit: Option<(usize, Duration)>,
    /// The status of Port's reply to an upsert of an entity that exists: 201, or 200 as of old
    /// (docs/vendors/port.md 2).
    pub port_updated: u16,
    /// Whether GitLab lets a job token list a pipeline's jobs; older instances don't (docs/gitlab.md 2.5).
    pub gitlab_jobs: GitLabAccess,
    /// How GitLab refuses a pipeline itself to a job token (docs/gitlab.md 2.5).
    pub gitlab_pipelines: GitLabAccess,
    /// Whether GitLab lets a job token list a pipeline's trigger jobs; older instances don't, and before 19.2 the route
    /// was missing (docs/gitlab.md 2.5, 11.1).
    pub gitlab_trigger_jobs: GitLabAccess,
    /// The same of the name that the route has had for longer.
    pub gitlab_bridges: GitLabAccess,
    /// Whether the job token has the right `read_build`. Without it a pipeline's list of jobs is empty (docs/gitlab.md 2.5).
    pub gitlab_reads_builds: bool,
    /// Whether GitLab lets a job token read deployments; older instances don't (docs/gitlab.md 11).
    pub gitlab_deployments: GitLabAccess,
    /// Whether GitLab lets a job token read the artifacts of jobs.
    pub gitlab_artifacts: GitLabAccess,
    /// Whether the job token has become invalid, as in the `after_script` of a canceled job (docs/gitlab.md 2.5).
    pub gitlab_job_token_expired: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tls: false,
            certificate: Certificate::default(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            credentials: Credentials::default(),
            latency: Duration::ZERO,
            rely_put_creates: true,
            rely_duplicate: 409,
            rely_created: 200,
            direktiv_version: DirektivVersion::V0_10,
            direktiv_accepts: None,
            direktiv_denies: None,
            direktiv_sync_takes: Duration::from_millis(300),
            direktiv_sync_fails: None,
            direktiv_workflow_takes: Duration::from_millis(200),
            direktiv_workflow_output: json!({"deployed": true, "replicas": 3}),
            direktiv_workflow_fails: None,
            aviator_repo: "acme/shop".to_owned(),
            aviator_replies: false,
            port_tokens_expire_after: None,
            port_rate_limit: None,
            port_updated: 201,
            gitlab_jobs: GitLabAccess::Allowed,
            gitlab_pipelines: GitLabAccess::Refused(404),
            gitlab_trigger_jobs: GitLabAccess::Allowed,
            gitlab_bridges: GitLabAccess::Allowed,
            gitlab_reads_builds: true,
            gitlab_deployments: GitLabAccess::Allowed,
            gitlab_artifacts: GitLabAccess::Allowed,
            gitlab_job_token_expired: false,
        }
    }
}

/// What a sandbox behind TLS shows for a certificate.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The names that it is for.
    pub names: Vec<String>,
    /// Its subject's common name, which is a server's name in old certificates only.
    pub common_name: String,
    /// Whether it signs itself and is an authority and the server's at the same time, as `openssl req -x509` makes it.
    pub signs_itself: bool,
    /// Whether clients are given this very certificate to trust, rather than the root that has signed it.
    pub given_itself: bool,
    /// The years at whose beginnings its validity begins and ends; None for one that is valid now.
    pub years: Option<(i32, i32)>,
}

impl Default for Certificate {
    fn default() -> Self {
        Self {
            names: vec!["localhost".to_owned(), "127.0.0.1".to_owned()],
            common_name: "notify-event sandbox server".to_owned(),
            signs_itself: false,
            given_itself: false,
            years: None,
        }
    }
}

/// The credentials that the services accept. They are no secrets: everyone's sandbox has the same ones.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Rely's API key.
    pub rely_token: String,
    /// CTO.ai's API token.
    pub cto_token: String,
    /// CTO.ai's team.
    pub cto_team: String,
    /// Direktiv's API key, token or JWT, as [`Options::direktiv_accepts`] says.
    pub direktiv_token: String,
    /// Aviator's API token.
    pub aviator_token: String,
    /// Port's client id.
    pub port_client_id: String,
    /// Port's client secret.
    pub port_client_secret: String,
    /// The secret that webhooks are signed with.
    pub webhook_secret: String,
    /// The token of the broker that takes CDEvents.
    pub cdevents_token: String,
    /// GitLab's job token.
    pub gitlab_job_token: String,
    /// An access token of GitLab's.
    pub gitlab_access_token: String,
}

impl Default for Credentials {
    fn default() -> Self {
        let text = str::to_owned;
        Self {
            rely_token: text("rely-sandbox-8f4e2b7a91"),
            cto_token: text("cto-sandbox-51c0d7e6fa"),
            cto_team: text("02f71e12-5b1d-4c4c-8a8a-956b425e5bee"),
            direktiv_token: text("direktiv-sandbox-c73a90be14"),
            aviator_token: text("av_uat_sandbox_3d9be0a5c2"),
            port_client_id: text("sandboxClientId9Qx2"),
            // Escaped differently in a URL, in JSON and in base64, as real ones can be.
            port_client_secret: text("port/sandbox+Secret\"e7=="),
            webhook_secret: text("whsec_c2FuZGJveC1zZWNyZXQtb2YtMzItYnl0ZXMhIQ=="),
            cdevents_token: text("cdevents-sandbox-e05b7d18c4"),
            // Not quite as long as real ones, so that no scanner takes them for any.
            gitlab_job_token: text("glcbt-sandbox-4be81d"),
            gitlab_access_token: text("glpat-sandbox-c90f27"),
        }
    }
}

/// Which Direktiv the sandbox stands in for (docs/vendors/direktiv.md 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DirektivVersion {
    /// v0.6.6: the old API; takes `apikey` and `direktiv-token`.
    V0_6,
    /// v0.7: the old API with directory mirrors; takes `direktiv-token`.
    V0_7,
    /// v0.8.4: the old API, and workflows by the new one too; takes `direktiv-token`.
    V0_8_4,
    /// v0.8.5, the only release with both sync endpoints; takes `direktiv-token`.
    V0_8_5,
    /// v0.10: the new API alone; takes `Direktiv-Api-Key`.
    V0_10,
    /// The development branch of 2026-03-12, with another engine; takes `Direktiv-Api-Key`.
    Head,
}

impl DirektivVersion {
    /// Every release, oldest first.
    pub const RELEASED: [Self; 5] = [Self::V0_6, Self::V0_7, Self::V0_8_4, Self::V0_8_5, Self::V0_10];
}

/// Which header carries the credential (docs/vendors/direktiv.md 1, 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirektivAuth {
    /// No credential is looked for, as in the pure open-source binary of v0.9 and newer.
    Open,
    /// `direktiv-token`.
    Token,
    /// `Direktiv-Api-Key`.
    ApiKey,
    /// `Direktiv-Api-Token`, a UUID made in the enterprise UI.
    ApiToken,
    /// `Authorization: Bearer`, an OIDC JWT.
    Bearer,
    /// `apikey`.
    Apikey,
}

impl DirektivAuth {
    /// The header's name in lower case; None where no header is looked for.
    pub(crate) const fn header(self) -> Option<&'static str> {
        match self {
            Self::Open => None,
            Self::Token => Some("direktiv-token"),
            Self::ApiKey => Some("direktiv-api-key"),
            Self::ApiToken => Some("direktiv-api-token"),
            Self::Bearer => Some("authorization"),
            Self::Apikey => Some("apikey"),
        }
    }
}

/// Whether GitLab lets a job token read something. An access token always may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GitLabAccess {
    /// It does.
    Allowed,
    /// It answers this status: 401, 403 or 404, as instances differ.
    Refused(u16),
    /// This version has no such route, for whatever token.
    Missing,
}
