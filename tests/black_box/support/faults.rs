//! Faults that several tests put in front of a service.

use sandbox::{Fault, Sandbox, Service};

/// A status that asks to be tried again at once: what is measured then is whether something is repeated, not how long
/// that waits.
pub fn status(code: u16) -> Fault {
    Fault::status_with(code, "retry-after", "0")
}

/// A whole reply instead of the service's own.
pub fn reply(code: u16, headers: &[(&str, &str)], body: &str) -> Fault {
    Fault::Status {
        code,
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        body: body.to_owned(),
    }
}

/// Lets the next requests of a service fail, logins excepted.
pub fn fail(sandbox: &Sandbox, service: Service, times: usize, fault: &Fault) {
    if service == Service::Port {
        for on in ["/v1/blueprints", "/v1/entities", "/v1/actions"] {
            sandbox.fail_on(service, on, times, fault.clone());
        }
    } else {
        sandbox.fail(service, times, fault.clone());
    }
}
