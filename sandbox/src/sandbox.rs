//! A running sandbox, as its tests hold it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::faults::{Fault, FaultRule};
use crate::journal::Recorded;
use crate::options::Options;
use crate::server;
use crate::services::Service;
use crate::shared::Shared;

/// A running sandbox. It has a thread and a runtime of its own, and stops when dropped.
pub struct Sandbox {
    shared: Arc<Shared>,
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
        let shared = Arc::new(Shared::new(options));
        let server = server::run(Arc::clone(&shared))?;
        Ok(Self { shared, server })
    }

    /// The base URL of a service, with its path prefix and no trailing slash.
    /// Behind TLS its host is `localhost`, as in the certificate.
    pub fn url(&self, service: Service) -> String {
        format!("{}/{}", self.root_url(), service.name())
    }

    /// The URL of the sandbox itself: its page, and what all services' prefixes are appended to.
    pub fn root_url(&self) -> String {
        let address = self.server.address;
        match (self.shared.options.tls, address.ip().is_unspecified()) {
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
        let services = Service::DESTINATIONS.into_iter();
        services.flat_map(|service| self.variables_of(service)).collect()
    }

    /// What GitLab sets in a job for its API, of a pipeline that this sandbox's GitLab has. They are apart from
    /// [`Sandbox::variables`], because with them a report asks GitLab what happened.
    pub fn gitlab_variables(&self) -> Vec<(String, String)> {
        self.variables_of(Service::GitLab)
    }

    fn variables_of(&self, service: Service) -> Vec<(String, String)> {
        let declared = service.declaration();
        let (address, path) = declared.address;
        let mut variables = vec![(address.to_owned(), self.url(service) + path)];
        let known = &self.shared.options.credentials;
        variables.extend(
            declared
                .variables
                .iter()
                .map(|variable| (variable.name.to_owned(), (variable.value)(known).to_owned())),
        );
        variables
    }

    /// An access token of this sandbox's GitLab, for `NOTIFY_GITLAB_TOKEN`.
    pub fn gitlab_access_token(&self) -> String {
        self.shared.options.credentials.gitlab_access_token.clone()
    }

    /// Every request that reached a service, in the order of arrival (the latest 10 000).
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.journal().entries()
    }

    /// Every request that reached one service.
    pub fn requests_to(&self, service: Service) -> Vec<Recorded> {
        let mut requests = self.requests();
        requests.retain(|request| request.service == service);
        requests
    }

    /// What a service now holds. Each service's own file documents the shape.
    pub fn state(&self, service: Service) -> Value {
        self.shared.stand_ins().of(service).state()
    }

    /// Merges into what a service holds, as RFC 7396 does: objects by key, null removes, anything else replaces.
    /// The shape is that of [`Sandbox::state`]; fields left out of a new record get their defaults.
    /// Panics if the service can't hold that.
    pub fn seed(&self, service: Service, state: Value) {
        // The lock has to be gone before the panic, or every later request would meet a poisoned one.
        let seeded = self.shared.stand_ins().of(service).seed(state);
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

    /// Seeds once `times` requests of a service that fit `on` have been answered (see [`Sandbox::fail_on`]), before the
    /// last of these answers is sent: what changes between two requests, at the same service or another. As each of
    /// these requests meets a fault thereby ([`Fault::ThenSeed`]), faults that are queued later wait for others.
    pub fn seed_after(&self, asked: Service, on: &str, times: usize, seeded: Service, state: Value) {
        self.fail_on(asked, on, times.saturating_sub(1), Fault::Delay(Duration::ZERO));
        self.fail_on(asked, on, 1, Fault::ThenSeed(seeded, state));
    }

    /// Forgets the faults that still wait for their requests.
    pub fn clear_faults(&self) {
        self.shared.faults().clear();
    }

    /// As [`Sandbox::fail_on`], with the rule as one value.
    pub fn fail_rule(&self, service: Service, rule: FaultRule) {
        self.shared.faults().add(service, rule);
    }

    /// Forgets all state, faults and requests, as if just started.
    pub fn reset(&self) {
        self.shared.reset();
    }
}
