//! How the program behaves, whatever it sends: policy, limits and network.

use crate::{
    choice,
    secret::Secret,
    variables,
    variables::{Count, Flag, List, Seconds, Window},
};

choice! {
    /// What a failure does to the job.
    pub enum OnError {
        /// An exit code of its own: our jobs may fail, so the job turns orange and the pipeline goes on.
        Warn = "warn",
        /// Exit code 1: the job fails.
        Fail = "fail",
        /// Exit code 0; the failure is still printed.
        Ignore = "ignore",
    }
}

choice! {
    /// What is done about what may have counted already.
    pub enum OnDoubt {
        /// It is not sent again, and ends as `unavailable`.
        Skip = "skip",
        /// It is sent again.
        Send = "send",
    }
}

choice! {
    /// How much is printed.
    pub enum Verbosity {
        /// Failures, and the last line.
        Quiet = "quiet",
        /// A line a destination.
        Normal = "normal",
        /// Every attempt.
        Debug = "debug",
    }
}

variables! {
    /// What may be sent, how often, and what a failure means.
    pub struct Policy, "notify-event, README" {
        /// Where to send to: `DESTINATION[:OPERATION][?]`, with commas between. Read when the command line names none.
        destinations: Option<List> = "NOTIFY_DESTINATIONS", derived "every destination whose credentials are set";
        /// Whether anything is sent at all: `false` ends every run as `skipped`, before anything is asked or sent, and with exit code 0. A group's switch for a day on which a service is down.
        enabled: Flag = "NOTIFY_ENABLED", default "true";
        /// What a failure does: `warn` exits with 75, 76 or 78, and the job turns orange, since the templates' jobs may fail; `fail` exits with 1, which turns the pipeline red where the job says `allow_failure: false`, as the components' input `allow-failure` has it; `ignore` exits with 0 and still prints the failure.
        on_error: OnError = "NOTIFY_ON_ERROR", default "warn";
        /// Seconds for the whole run: all destinations, all attempts.
        timeout: Option<Seconds> = "NOTIFY_TIMEOUT", derived "60; 3600 where the entities of a file are sent, and for reconcile over a window";
        /// Seconds for one attempt.
        attempt_timeout: Seconds = "NOTIFY_ATTEMPT_TIMEOUT", default "10";
        /// Attempts at one request.
        attempts: Count = "NOTIFY_ATTEMPTS", default "5";
        /// What is done about what an earlier attempt may have delivered, where it would count twice, the service can't be asked and does not know it again: `skip` does not send it, and ends as `unavailable`; `send` sends it again.
        on_doubt: OnDoubt = "NOTIFY_ON_DOUBT", default "skip";
        /// The actions worth sending, with commas between; others end as `skipped`.
        only: Option<List> = "NOTIFY_ONLY", derived "all";
        /// Print each request as curl and send nothing, as `--dry-run` does.
        dry_run: Flag = "NOTIFY_DRY_RUN", default "false";
        /// A folder for `receipt.json`, `receipt.env` and what was read; it is made if it is missing.
        output_dir: Option<String> = "NOTIFY_OUTPUT_DIR", optional;
        /// More variables that templates may read as `env.NAME`, with commas between; `*` stands for any text, and opens no credentials.
        template_env: Option<List> = "NOTIFY_TEMPLATE_ENV", optional;
        /// Names of variables that look like this program's and are another tool's, with commas between; `*` stands for any text. Others that nothing reads are told, and one that is a typo away from a variable that is read and not set is `misconfigured`.
        ignore: Option<List> = "NOTIFY_IGNORE", optional;
        /// How much is printed: `quiet`, `normal` or `debug`. None of them prints a secret.
        log: Verbosity = "NOTIFY_LOG", default "normal";
    }
}

variables! {
    /// What `notify-event reconcile` compares.
    pub struct Reconciled, "notify-event, README" {
        /// Whether a scheduled pipeline reconciles: read by the `rules` of `.notify-reconcile`, which see it only as it is set in the schedule, the project or the group. The command itself is not switched by it.
        is_wanted: Flag = "NOTIFY_RECONCILE", default "false";
        /// How far back GitLab's deployments are compared: `30m`, `48h`, `90d`; or `pipeline` for this pipeline alone, as at its end.
        since: Window = "NOTIFY_RECONCILE_SINCE", default "48h";
        /// The projects, with commas between: `group/project`, or `group/*` for all below a group; `!` before one leaves it out. Other projects than this one need `NOTIFY_GITLAB_TOKEN`.
        projects: Option<List> = "NOTIFY_RECONCILE_PROJECTS", derived "this one";
        /// The environments, with commas between; `*` stands for any text, and `!` leaves out what fits, as in `production,prod/*,!review/*`.
        environments: Option<List> = "NOTIFY_RECONCILE_ENVIRONMENTS", derived "all";
        /// The deploy jobs, likewise: `deploy*,!notify*` leaves out notify jobs that carry `environment:` themselves, which GitLab counts as deployments.
        jobs: Option<List> = "NOTIFY_RECONCILE_JOBS", derived "all";
    }
}

variables! {
    /// The way to the services.
    pub struct Network, "notify-event, README" {
        /// More root certificates to trust beside the built-in ones, or a server's own certificate: a path, or the PEM text itself.
        ca_file: Option<String> = "NOTIFY_CA_FILE", optional;
        /// More root certificates, under the name that OpenSSL and curl use.
        ssl_cert_file: Option<String> = "SSL_CERT_FILE", optional, foreign;
        /// Allow `http://` to a host that is not loopback (`localhost`, 127.0.0.0/8, `[::1]`): credentials go over that network in the clear.
        allow_http: Flag = "NOTIFY_ALLOW_HTTP", default "false";
        /// Proxy for https, as curl reads it; `https_proxy` wins.
        https_proxy: Option<Secret> = "HTTPS_PROXY", optional, foreign;
        /// Proxy for http, as curl reads it; `http_proxy` wins.
        http_proxy: Option<Secret> = "HTTP_PROXY", optional, foreign;
        /// Proxy for both, as curl reads it; `all_proxy` wins.
        all_proxy: Option<Secret> = "ALL_PROXY", optional, foreign;
        /// Hosts that no proxy is used for, as curl reads it; `no_proxy` wins. Loopback goes by none anyway.
        no_proxy: Option<String> = "NO_PROXY", optional, foreign;
    }
}

impl Network {
    /// Whether `http://` may be used off loopback.
    pub fn allows_http(&self) -> bool {
        let Flag(allowed) = self.allow_http;
        allowed
    }
}
