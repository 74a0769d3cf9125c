//! Strict local stand-ins of the services that notify-event reports to, and of the GitLab that it asks.
//!
//! A [`Sandbox`] listens on one port and serves every [`Service`] under a path prefix of its own. Each behaves as its
//! vendor documents it (`docs/vendors/` is cited where a fact is used): what the vendor refuses is refused with the
//! vendor's code and body, what is undocumented is refused too where a careful client wouldn't do it, and state is
//! kept, so that what was created can be patched and read. Faults can be put in front of any service, and every request
//! is kept in a journal.
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
//!
//! # Layers
//!
//! From the bottom to the top; a module imports only from layers below its own (`tests/layers.rs` checks it):
//!
//! 1. `clock`, `json`, `options`, `wire`: times, merging, what can be chosen, requests and replies as plain values
//! 2. `schema`, `stand_in`: a blueprint's types; what a stand-in declares and can do
//! 3. `services::*`: one service each, apart from the others
//! 4. `services`: the list of them
//! 5. `faults`, `journal`: what goes wrong on the way to a service, and what it was asked
//! 6. `shared`: what a sandbox holds
//! 7. `page`: the page for people
//! 8. `control`: the sandbox's own routes
//! 9. `server`: the listener
//! 10. `sandbox`: a running sandbox
//!
//! The program, `main`, uses only what is public. Inside of a service the same holds: its parts (`services/rely/*`)
//! never import from the file that declares the service (`services/rely.rs`), which puts them together.

mod clock;
mod control;
mod faults;
mod journal;
mod json;
mod options;
mod page;
mod sandbox;
mod schema;
mod server;
mod services;
mod shared;
mod stand_in;
mod wire;

pub use faults::{Fault, FaultRule};
pub use journal::Recorded;
pub use options::{Certificate, Credentials, DirektivAuth, DirektivVersion, GitLabAccess, Options};
pub use sandbox::Sandbox;
pub use services::Service;
pub use services::port::{port_deployment_blueprint, port_service_blueprint};
