//! The services that the sandbox stands in for: the one list of them.
//!
//! Each is declared in a folder or file of its own, as its `DECLARATION`. A new one needs that, and its line in the list
//! with the `mod` above it; it may start from constants of its own, and take a choice or a credential from `Options` only
//! where a test wants to set it.

mod aviator;
mod cdevents;
mod cto;
mod direktiv;
mod gitlab;
pub(crate) mod port;
mod rely;
mod webhook;

use serde_json::Value;

use crate::stand_in::Declaration;

/// Makes the enum of all services of the list, and what is derived from it.
macro_rules! services {
    (
        reported_to { $($destination:ident = $destination_module:ident: $destination_text:literal,)+ }
        asked { $($other:ident = $other_module:ident: $other_text:literal,)* }
    ) => {
        /// The services that the sandbox stands in for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Service {
            $(#[doc = $destination_text] $destination,)+
            $(#[doc = $other_text] $other,)*
        }

        impl Service {
            /// Every service.
            pub const ALL: [Self; [$($destination_text,)+ $($other_text,)*].len()] =
                [$(Self::$destination,)+ $(Self::$other,)*];

            /// The services that are reported to.
            pub const DESTINATIONS: [Self; [$($destination_text),+].len()] = [$(Self::$destination),+];

            /// What the service's own file says of it.
            pub(crate) const fn declaration(self) -> &'static Declaration {
                match self {
                    $(Self::$destination => &$destination_module::DECLARATION,)+
                    $(Self::$other => &$other_module::DECLARATION,)*
                }
            }
        }
    };
}

services! {
    reported_to {
        Rely = rely: "Rely.io's public API (docs/vendors/rely.md).",
        Cto = cto: "CTO.ai's events API (docs/vendors/cto.md).",
        Direktiv = direktiv: "A Direktiv server (docs/vendors/direktiv.md).",
        Aviator = aviator: "Aviator Releases (docs/vendors/aviator.md).",
        Port = port: "Port's API (docs/vendors/port.md).",
        Webhook = webhook: "Receivers of webhooks (docs/vendors/webhook.md, docs/recipes.md).",
        CdEvents = cdevents: "A broker that takes CDEvents (docs/vendors/cdevents.md).",
    }
    asked {
        GitLab = gitlab: "GitLab's own API (docs/gitlab.md 2.5, 11), which is asked and never reported to.",
    }
}

/// The headers of HTTP itself that carry credentials.
const CREDENTIAL_HEADERS: [&str; 3] = ["authorization", "proxy-authorization", "cookie"];

impl Service {
    /// The service's name, which is also its path prefix, and a destination's name as one.
    pub const fn name(self) -> &'static str {
        self.declaration().name
    }

    /// What the vendor calls the service.
    pub const fn title(self) -> &'static str {
        self.declaration().title
    }

    /// The service of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|service| service.name() == name)
    }

    /// The part of the service's state that a report changes.
    pub fn reported(self, state: &Value) -> &Value {
        state.pointer(self.declaration().reported_state).unwrap_or(&Value::Null)
    }
}

/// Whether a header, in lower case, carries a service's credentials. Each service's headers are known for all of them:
/// a credential can be sent to the wrong one.
pub(crate) fn is_credential_header(name: &str) -> bool {
    CREDENTIAL_HEADERS.contains(&name) || any(|service| service.credentials_in.headers.contains(&name))
}

/// The same for a parameter of a query.
pub(crate) fn is_credential_parameter(name: &str) -> bool {
    any(|service| service.credentials_in.parameters.contains(&name))
}

/// The same for the fields of a JSON body: their names.
pub(crate) fn credential_fields() -> impl Iterator<Item = &'static str> {
    let services = Service::ALL.into_iter();
    services.flat_map(|service| service.declaration().credentials_in.fields.iter().copied())
}

fn any(holds: impl Fn(&Declaration) -> bool) -> bool {
    Service::ALL.into_iter().any(|service| holds(service.declaration()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_variables_are_used_once() {
        let declarations = Service::ALL.map(Service::declaration);
        let mut names = declarations.map(|service| service.name).to_vec();
        let variables = declarations.iter().flat_map(|service| service.variables);
        names.extend(variables.map(|variable| variable.name));
        names.extend(declarations.map(|service| service.address.0));
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all, "{names:?}");
    }

    #[test]
    fn credentials_are_known_wherever_they_are_sent() {
        for header in ["authorization", "cookie", "direktiv-token", "apikey", "private-token"] {
            assert!(is_credential_header(header), "{header}");
        }
        assert!(!is_credential_header("content-type"));
        assert!(is_credential_parameter("job_token") && !is_credential_parameter("page"));
        assert_eq!(credential_fields().collect::<Vec<_>>(), ["clientSecret", "routing_key"]);
    }
}
