//! Strict local stand-ins of the services that notify-event reports to, and of the GitLab that it asks.
//!
//! A [`Sandbox`] listens on one port and serves every [`Service`] under a path prefix of its own. Each behaves as its
//! vendor documents it (the pages in `vendors/*.md` are named where a fact is used): what the vendor refuses is refused
//! with the vendor's code and body, what is undocumented is refused too where a careful client wouldn't do it, and
//! state is kept, so that what was created can be patched and read. Faults can be put in front of any service, and
//! every request is kept in a journal.
//!
//! ```
//! use sandbox::{Fault, Sandbox, Service};
//!
//! let sandbox = Sandbox::start();
//! sandbox.fail(Service::Rely, 1, Fault::status(503));
//! for (name, value) in sandbox.variables() {
//!     println!("{name}={value}"); // what notify-event needs to report to this sandbox
//! }
//! assert!(sandbox.requests_to(Service::Rely).is_empty());
//! ```

mod aviator;
mod control;
mod cto;
mod direktiv;
mod faults;
mod gitlab;
mod journal;
mod options;
mod page;
mod port;
mod rely;
mod schema;
mod server;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::Value;

pub use direktiv::{DirektivAuth, DirektivVersion};
pub use faults::{Fault, FaultRule};
pub use gitlab::GitLabAccess;
pub use journal::Recorded;
pub use options::{Credentials, Options};
pub use port::port_deployment_blueprint;

use server::World;
use wire::{Reply, Request};

/// The services that the sandbox stands in for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// Rely.io's public API (`vendors/rely.md`).
    Rely,
    /// CTO.ai's events API (`vendors/cto.md`).
    Cto,
    /// A Direktiv server (`vendors/direktiv.md`).
    Direktiv,
    /// Aviator Releases (`vendors/aviator.md`).
    Aviator,
    /// Port's API (`vendors/port.md`).
    Port,
    /// GitLab's own API (`gitlab.md` §2.5, §11), which is asked and never reported to.
    GitLab,
}

impl Service {
    /// Every service.
    pub const ALL: [Self; 6] = [
        Self::Rely,
        Self::Cto,
        Self::Direktiv,
        Self::Aviator,
        Self::Port,
        Self::GitLab,
    ];

    /// The services that are reported to.
    pub const DESTINATIONS: [Self; 5] = [Self::Rely, Self::Cto, Self::Direktiv, Self::Aviator, Self::Port];

    /// The service's name, which is also its path prefix, and a destination's name as one.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rely => "rely",
            Self::Cto => "cto",
            Self::Direktiv => "direktiv",
            Self::Aviator => "aviator",
            Self::Port => "port",
            Self::GitLab => "gitlab",
        }
    }

    /// The service of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|service| service.name() == name)
    }
}

/// What a stand-in can do. One file implements it for each service; none of them does I/O.
pub(crate) trait StandIn: Send {
    /// Answers a request, and changes state as the service would.
    fn answer(&mut self, request: &Request) -> Reply;

    /// The service's own error envelope around a message: what [`Fault::EchoSecrets`] is wrapped in.
    fn complain(&self, status: u16, message: &str) -> Reply;

    /// What the service holds now.
    fn state(&mut self) -> Value;

    /// Merges into what the service holds (RFC 7396, the shape of `state`), or says what is wrong with it.
    fn seed(&mut self, state: Value) -> Result<(), String>;

    /// Tokens that the service has made up itself, and that no page may show.
    fn secrets(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A running sandbox. It has a thread and a runtime of its own, and stops when dropped.
pub struct Sandbox {
    world: Arc<World>,
    server: server::Running,
}

impl Sandbox {
    /// Starts on a free port of 127.0.0.1, without TLS.
    pub fn start() -> Self {
        Self::start_with(Options::default())
    }

    /// Starts as the options say; panics where [`Sandbox::try_start`] fails.
    pub fn start_with(options: Options) -> Self {
        let listen = options.listen;
        Self::try_start(options).unwrap_or_else(|error| panic!("the sandbox can't listen on {listen}: {error}"))
    }

    /// Starts as the options say; fails where the address can't be listened on.
    pub fn try_start(options: Options) -> std::io::Result<Self> {
        let world = Arc::new(World::new(options));
        let server = server::run(Arc::clone(&world))?;
        Ok(Self { world, server })
    }

    /// The base URL of a service, with its path prefix and no trailing slash.
    /// Behind TLS its host is `localhost`, as in the certificate.
    pub fn url(&self, service: Service) -> String {
        format!("{}/{}", self.root_url(), service.name())
    }

    /// The URL of the sandbox itself: its page, and what all services' prefixes are appended to.
    pub fn root_url(&self) -> String {
        let address = self.server.address;
        match (self.world.options.tls, address.ip().is_unspecified()) {
            (true, _) => format!("https://localhost:{}", address.port()),
            (false, true) => format!("http://127.0.0.1:{}", address.port()),
            (false, false) => format!("http://{address}"),
        }
    }

    /// The address that is listened on.
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// Behind TLS: the PEM of the root to trust.
    pub fn ca_pem(&self) -> Option<String> {
        self.server.ca_pem.clone()
    }

    /// The environment that points notify-event at this sandbox, with credentials that work.
    pub fn variables(&self) -> Vec<(String, String)> {
        let known = &self.world.options.credentials;
        let pairs = [
            ("RELY_API_URL", self.url(Service::Rely)),
            ("RELY_API_TOKEN", known.rely_token.clone()),
            ("CTOAI_API_URL", self.url(Service::Cto)),
            ("CTOAI_EVENTS_API_TOKEN", known.cto_token.clone()),
            ("CTOAI_TEAM_ID", known.cto_team.clone()),
            ("DIREKTIV_URL", self.url(Service::Direktiv)),
            ("DIREKTIV_NAMESPACE", direktiv::NAMESPACE.to_owned()),
            ("DIREKTIV_TOKEN", known.direktiv_token.clone()),
            ("AVIATOR_API_URL", self.url(Service::Aviator)),
            ("AVIATOR_API_TOKEN", known.aviator_token.clone()),
            ("AVIATOR_PROJECT", aviator::PROJECT.to_owned()),
            ("PORT_API_URL", self.url(Service::Port)),
            ("PORT_CLIENT_ID", known.port_client_id.clone()),
            ("PORT_CLIENT_SECRET", known.port_client_secret.clone()),
        ];
        pairs
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }

    /// What GitLab sets in a job for its API, of a pipeline that this sandbox's GitLab has. They are apart from
    /// [`Sandbox::variables`], because with them a report asks GitLab what happened.
    pub fn gitlab_variables(&self) -> Vec<(String, String)> {
        let pairs = [
            ("CI_API_V4_URL", format!("{}/api/v4", self.url(Service::GitLab))),
            ("CI_PROJECT_ID", gitlab::PROJECT.to_owned()),
            ("CI_PIPELINE_ID", gitlab::PIPELINE.to_owned()),
            ("CI_JOB_TOKEN", self.world.options.credentials.gitlab_job_token.clone()),
        ];
        pairs
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }

    /// An access token of this sandbox's GitLab, for `NOTIFY_GITLAB_TOKEN`.
    pub fn gitlab_access_token(&self) -> String {
        self.world.options.credentials.gitlab_access_token.clone()
    }

    /// Every request that reached a service, in the order of arrival (the latest 10 000).
    pub fn requests(&self) -> Vec<Recorded> {
        self.world.journal().entries()
    }

    /// Every request that reached one service.
    pub fn requests_to(&self, service: Service) -> Vec<Recorded> {
        let mut requests = self.requests();
        requests.retain(|request| request.service == service);
        requests
    }

    /// What a service now holds. Each service's file documents the shape.
    pub fn state(&self, service: Service) -> Value {
        self.world.services().of(service).state()
    }

    /// Merges into what a service holds, as RFC 7396 does: objects by key, null removes, anything else replaces.
    /// The shape is that of [`Sandbox::state`]; fields left out of a new record get their defaults.
    /// Panics if the service can't hold that.
    pub fn seed(&self, service: Service, state: Value) {
        // The lock has to be gone before the panic, or every later request would meet a poisoned one.
        let seeded = self.world.services().of(service).seed(state);
        seeded.unwrap_or_else(|problem| panic!("{} can't be seeded: {problem}", service.name()));
    }

    /// Lets the next `times` requests of a service meet a fault. Faults queue: the oldest that fits a request is used.
    pub fn fail(&self, service: Service, times: usize, fault: Fault) {
        self.fail_rule(service, FaultRule { on: None, times, fault });
    }

    /// Lets the next `times` requests that fit `on` meet a fault: `"POST /v1/blueprints"` is a method and a part of
    /// the path and query, `"/v1/auth"` only a part of these.
    pub fn fail_on(&self, service: Service, on: &str, times: usize, fault: Fault) {
        self.fail_rule(
            service,
            FaultRule {
                on: Some(on.to_owned()),
                times,
                fault,
            },
        );
    }

    /// As [`Sandbox::fail_on`], with the rule as one value.
    pub fn fail_rule(&self, service: Service, rule: FaultRule) {
        self.world.faults().add(service, rule);
    }

    /// Forgets all state, faults and requests, as if just started.
    pub fn reset(&self) {
        self.world.reset();
    }
}
