//! A Direktiv server of a chosen version, as docs/vendors/direktiv.md describes it.
//!
//! State: `{"namespaces": {"demo": {"mirror": true, "directories": ["/workflows/directory"], "workflows":
//! ["/wf/deploy.yaml"], "syncs": [sync], "instances": [instance], "events": [event]}}}`, the lists oldest first. A sync
//! is the object of docs/vendors/direktiv.md 4 plus `directory`, `force` and `log`; an instance is that of
//! docs/vendors/direktiv.md 5 plus `input`, `output` and `runs`, the milliseconds it takes.

mod access;
mod event;
mod instance;
mod namespace;
mod refusal;
mod sync;
mod v1;
mod v2;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::json::merge;
use crate::options::{DirektivAuth, DirektivVersion, Options};
use crate::stand_in::{CredentialsIn, Declaration, StandIn, Variable};
use crate::wire::{Reply, Request};
use access::{accepts, authorise};
use namespace::{Namespace, namespace_of};
use refusal::Refusal;
use v1::V1;
use v2::V2;

pub(super) const DECLARATION: Declaration = Declaration {
    name: "direktiv",
    title: "Direktiv",
    address: ("DIREKTIV_URL", ""),
    variables: &[
        Variable::open("DIREKTIV_NAMESPACE", |_| NAMESPACE),
        Variable::secret("DIREKTIV_TOKEN", |known| &known.direktiv_token),
    ],
    credentials_in: CredentialsIn {
        headers: &["direktiv-token", "direktiv-api-key", "direktiv-api-token", "apikey"],
        ..CredentialsIn::STANDARD_HEADERS
    },
    fixed_state: &[],
    reported_state: "/namespaces/demo/syncs",
    start: |options| Box::new(Direktiv::new(options)),
};

/// The namespace that exists, mirrors a repository, and has the workflow `/wf/deploy.yaml`.
const NAMESPACE: &str = "demo";

struct Direktiv {
    options: Options,
    namespaces: BTreeMap<String, Namespace>,
}

impl Direktiv {
    fn new(options: &Options) -> Self {
        let namespaces = [
            (NAMESPACE.to_owned(), Namespace::default()),
            ("plain".to_owned(), Namespace::without_mirror()),
        ]
        .into();
        Self {
            options: options.clone(),
            namespaces,
        }
    }

    fn route(&mut self, request: &Request) -> Result<Reply, Refusal> {
        let version = self.options.direktiv_version;
        let segments = request.segments().unwrap_or_default();
        let segments = segments.iter().map(String::as_str).collect::<Vec<_>>();
        let method = request.method.as_str();
        let [api, rest @ ..] = segments.as_slice() else {
            return Err(Refusal::Empty(404));
        };
        if *api != "api" {
            // The UI answers whatever isn't the API (docs/vendors/direktiv.md 4).
            return if version >= DirektivVersion::V0_10 {
                Ok(Reply::html(
                    200,
                    "<!doctype html><title>Direktiv</title><div id=\"root\"></div>",
                ))
            } else {
                Ok(Reply::text(404, "404 page not found\n"))
            };
        }
        // The status is there without a credential from v0.8.10 on (docs/vendors/direktiv.md 1).
        if version >= DirektivVersion::V0_10 && rest == ["v2", "status"] && method == "GET" {
            let requires = accepts(&self.options) != [DirektivAuth::Open];
            let status = json!({"version": "v0.10.0 5ac1bf1", "isEnterprise": true, "requiresAuth": requires});
            return Ok(Reply::json(200, &json!({"data": status})));
        }
        authorise(&self.options, request, rest)?;
        self.advance();
        match rest {
            ["v2", rest @ ..] if version >= DirektivVersion::V0_8_4 => self.v2(method, rest, request),
            ["namespaces", namespace, rest @ ..] if version <= DirektivVersion::V0_8_5 => {
                let wanted = namespace_of(&mut self.namespaces, namespace);
                let wanted = wanted.map_err(|()| Refusal::v1(404, format!("namespace '{namespace}' not found")))?;
                V1 {
                    options: &self.options,
                    name: namespace,
                    namespace: wanted,
                }
                .route(method, rest, request)
            }
            _ if version >= DirektivVersion::V0_8_4 => Err(Refusal::no_path()),
            _ => Ok(Reply::text(404, "404 page not found\n")),
        }
    }

    /// Lets time pass.
    fn advance(&mut self) {
        for namespace in self.namespaces.values_mut() {
            namespace.advance(&self.options);
        }
    }

    fn v2(&mut self, method: &str, rest: &[&str], request: &Request) -> Result<Reply, Refusal> {
        let version = self.options.direktiv_version;
        // The probe of v0.8.5 (docs/vendors/direktiv.md 1).
        if version == DirektivVersion::V0_8_5 && rest == ["version"] && method == "GET" {
            return Ok(Reply::json(200, &json!({"data": "v0.8.5"})));
        }
        let ["namespaces", name, rest @ ..] = rest else {
            return Err(Refusal::no_path());
        };
        let namespace = namespace_of(&mut self.namespaces, name);
        let unknown = |()| Refusal::v2("resource_not_found", "requested resource(namespace) is not found");
        let v2 = V2 {
            options: &self.options,
            name,
            namespace: namespace.map_err(unknown)?,
        };
        v2.route(method, rest, request)
    }
}

impl StandIn for Direktiv {
    fn answer(&mut self, request: &Request) -> Reply {
        self.route(request).unwrap_or_else(Refusal::reply)
    }

    fn error_reply(&self, status: u16, message: &str) -> Reply {
        if self.options.direktiv_version < DirektivVersion::V0_8_5 {
            return Refusal::v1(status, message).reply();
        }
        let code = if status == 400 {
            "request_data_invalid"
        } else {
            "internal"
        };
        Reply::json(status, &json!({"error": {"code": code, "message": message}}))
    }

    fn state(&mut self) -> Value {
        self.advance();
        json!({"namespaces": self.namespaces})
    }

    fn seed(&mut self, state: Value) -> Result<(), String> {
        let mut merged = self.state();
        merge(&mut merged, state);
        self.namespaces = serde_json::from_value(merged["namespaces"].take()).map_err(|error| error.to_string())?;
        Ok(())
    }
}
