//! What a stand-in of a service declares, and what it can do.

use serde_json::Value;

use crate::options::{Credentials, Options};
use crate::wire::{Reply, Request};

/// A service, as its own folder declares it. All that lists the services is derived from these.
pub(crate) struct Declaration {
    /// The service's name, which is also its path prefix, and a destination's name as one.
    pub(crate) name: &'static str,
    /// What the vendor calls it.
    pub(crate) title: &'static str,
    /// The variable that holds the service's address, and what follows the service's prefix there.
    pub(crate) address: (&'static str, &'static str),
    /// The other variables that a client needs.
    pub(crate) variables: &'static [Variable],
    /// Where a request to it may hold credentials.
    pub(crate) credentials_in: CredentialsIn,
    /// The parts of the state that are the same in every sandbox, and so left out on the page.
    pub(crate) fixed_state: &'static [&'static str],
    /// A JSON pointer to the part of the state that a report changes.
    pub(crate) reported_state: &'static str,
    /// Starts the stand-in, in its initial state.
    pub(crate) start: fn(&Options) -> Box<dyn StandIn>,
}

/// A variable that a client needs to use a service.
pub(crate) struct Variable {
    pub(crate) name: &'static str,
    pub(crate) value: fn(&Credentials) -> &str,
    /// Whether no page may show the value.
    pub(crate) secret: bool,
}

impl Variable {
    /// A variable that everybody may see.
    pub(crate) const fn open(name: &'static str, value: fn(&Credentials) -> &str) -> Self {
        Self {
            name,
            value,
            secret: false,
        }
    }

    /// A variable whose value no page may show.
    pub(crate) const fn secret(name: &'static str, value: fn(&Credentials) -> &str) -> Self {
        Self {
            name,
            value,
            secret: true,
        }
    }
}

/// The places of a request that hold credentials, besides `Authorization` and other headers of HTTP itself.
pub(crate) struct CredentialsIn {
    /// Headers, in lower case.
    pub(crate) headers: &'static [&'static str],
    /// Parameters of the query.
    pub(crate) parameters: &'static [&'static str],
    /// Fields of a JSON body.
    pub(crate) fields: &'static [&'static str],
}

impl CredentialsIn {
    /// Only the headers of HTTP itself.
    pub(crate) const STANDARD_HEADERS: Self = Self {
        headers: &[],
        parameters: &[],
        fields: &[],
    };
}

/// What a stand-in can do. Each service implements it once; none of them does I/O.
pub(crate) trait StandIn: Send {
    /// Answers a request, and changes state as the service would.
    fn answer(&mut self, request: &Request) -> Reply;

    /// A message in the service's own error envelope: what `Fault::EchoSecrets` is sent in.
    fn error_reply(&self, status: u16, message: &str) -> Reply;

    /// What the service holds now.
    fn state(&mut self) -> Value;

    /// Merges into what the service holds (RFC 7396, the shape of `state`), or says what is wrong with it.
    fn seed(&mut self, state: Value) -> Result<(), String>;

    /// Credentials that are none of the declared variables, and that no page may show.
    fn secrets(&self) -> Vec<String> {
        Vec::new()
    }
}
