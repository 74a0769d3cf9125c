//! Every operation of every destination, and a sandbox in which each finds what it is about.

use sandbox::{Fault, Options, Recorded, Sandbox, Service};
use serde_json::json;

use super::{Run, notify};

/// A candidate that is released.
pub const CANDIDATE: &str = "1.4.0-rc1";

/// A candidate that is not.
pub const NEW_CANDIDATE: &str = "1.4.0-rc2";

/// Where Port gives tokens.
pub const LOGIN: &str = "/v1/auth/access_token";

/// Every operation, by its label.
pub const OPERATIONS: &[(&str, Service)] = &[
    ("rely", Service::Rely),
    ("rely:create", Service::Rely),
    ("rely:replace", Service::Rely),
    ("rely:patch", Service::Rely),
    ("rely:get", Service::Rely),
    ("cto", Service::Cto),
    ("direktiv", Service::Direktiv),
    ("direktiv:execute", Service::Direktiv),
    ("direktiv:broadcast", Service::Direktiv),
    ("aviator", Service::Aviator),
    ("aviator:release", Service::Aviator),
    ("aviator:deployment", Service::Aviator),
    ("aviator:rollback", Service::Aviator),
    ("aviator:list", Service::Aviator),
    ("port", Service::Port),
    ("port:create", Service::Port),
    ("port:replace", Service::Port),
    ("port:patch", Service::Port),
    ("port:get", Service::Port),
    ("port:search", Service::Port),
    ("port:delete", Service::Port),
    ("port:run-create", Service::Port),
    ("port:run-update", Service::Port),
    ("port:run-log", Service::Port),
];

/// The variables that each destination can't do without, in the order in which it declares them.
pub const REQUIRED: &[(&str, &[&str])] = &[
    ("rely", &["RELY_API_TOKEN"]),
    ("cto", &["CTOAI_EVENTS_API_TOKEN", "CTOAI_TEAM_ID"]),
    ("direktiv", &["DIREKTIV_URL", "DIREKTIV_NAMESPACE"]),
    ("aviator", &["AVIATOR_API_TOKEN", "AVIATOR_PROJECT"]),
    ("port", &["PORT_CLIENT_ID", "PORT_CLIENT_SECRET"]),
];

/// A call of these operations at a [`ready`] sandbox, with what they want.
pub fn prepared(sandbox: &Sandbox, arguments: &[&str]) -> Run {
    let operation = arguments.iter().find(|word| !word.starts_with('-'));
    let run = notify(arguments).at(sandbox).vars([
        ("EVENT_ENVIRONMENT", "production"),
        ("AVIATOR_RELEASE_CANDIDATE", CANDIDATE),
        ("DIREKTIV_WORKFLOW", "/wf/deploy.yaml"),
        ("PORT_ENTITY_ID", "there"),
        ("PORT_QUERY", r#"{"combinator": "and", "rules": []}"#),
        ("PORT_ACTION", "deploy"),
        ("PORT_RUN_ID", "r_1"),
    ]);
    match operation {
        Some(&"aviator:release") => run.var("AVIATOR_RELEASE_CANDIDATE", NEW_CANDIDATE),
        Some(&"rely:create") => run.var("RELY_ENTITY_ID", "new"),
        Some(&"port:create") => run.var("PORT_ENTITY_ID", "new"),
        Some(&"port:run-log") => run.var("PORT_RUN_LOG", "a line"),
        _ => run,
    }
}

/// A sandbox in which every operation finds what it is about: a release and deployments of others, an entity, a run.
pub fn ready() -> Sandbox {
    ready_with(Options::default())
}

/// As [`ready`], with options.
pub fn ready_with(options: Options) -> Sandbox {
    let sandbox = Sandbox::start_with(options);
    let success = |candidate: &str| {
        json!({
            "release_candidate_version": candidate,
            "status": "success",
            "deploy_start_at": "2025-03-01T10:00:00.123Z",
        })
    };
    sandbox.seed(
        Service::Aviator,
        json!({
            "releases": {CANDIDATE: {"repo": "acme/shop", "commit": "9f2c1e7d0b"}},
            "environments": {"production": {"deployments": [success("1.3.0-rc2"), success("1.3.0-rc1")]}},
        }),
    );
    sandbox.seed(
        Service::Port,
        json!({"entities": {"deployment": {"there": {}}}, "runs": {"r_1": {}}}),
    );
    sandbox.seed(
        Service::Rely,
        json!({"entities": {"acme-shop-8812-production": {
            "id": "acme-shop-8812-production", "blueprintId": "deployment", "title": "t",
            "properties": {}, "relations": {},
        }}}),
    );
    sandbox
}

/// The requests to a service that are no login.
pub fn sent(sandbox: &Sandbox, service: Service) -> Vec<Recorded> {
    let requests = sandbox.requests_to(service).into_iter();
    requests.filter(|request| request.path != LOGIN).collect()
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
