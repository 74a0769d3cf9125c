//! Every operation of every destination, and a sandbox in which each finds what it is about.

use std::sync::LazyLock;

use sandbox::{Options, Recorded, Sandbox, Service};
use serde_json::json;

use super::{
    Run,
    catalog::{self, Destination},
    notify,
};

/// A candidate that is released.
pub const CANDIDATE: &str = "1.4.0-rc1";

/// A candidate that is not.
pub const NEW_CANDIDATE: &str = "1.4.0-rc2";

/// Where Port gives tokens.
pub const LOGIN: &str = "/v1/auth/access_token";

/// Every operation of the catalog, by its label, with its service.
pub static OPERATIONS: LazyLock<Vec<(&'static str, Service)>> = LazyLock::new(|| {
    let labels = |destination: &'static Destination| destination.operations.iter().map(|operation| &*operation.label);
    let all = catalog::destinations().iter().flat_map(labels);
    all.map(|label| (label, service_of(label))).collect()
});

/// What each operation needs beside what [`prepared`] always gives.
const NEEDS: &[(&str, &[(&str, &str)])] = &[
    ("rely", &[]),
    ("rely:create", &[("RELY_ENTITY_ID", "new")]),
    ("rely:replace", &[]),
    ("rely:patch", &[]),
    ("rely:get", &[]),
    ("cto", &[]),
    ("direktiv", &[]),
    ("direktiv:sync", &[]),
    ("direktiv:execute", &[]),
    ("aviator", &[]),
    ("aviator:release", &[("AVIATOR_RELEASE_CANDIDATE", NEW_CANDIDATE)]),
    ("aviator:deployment", &[]),
    ("aviator:rollback", &[]),
    ("aviator:list", &[]),
    ("port", &[]),
    ("port:create", &[("PORT_ENTITY_ID", "new")]),
    ("port:replace", &[]),
    ("port:patch", &[]),
    ("port:get", &[]),
    ("port:search", &[]),
    ("port:delete", &[]),
    ("port:run-create", &[]),
    ("port:run-update", &[]),
    ("port:run-log", &[("PORT_RUN_LOG", "a line")]),
    ("webhook", &[]),
    ("cdevents", &[]),
];

#[test]
fn what_every_operation_of_the_catalog_needs_is_known() {
    let known: Vec<&str> = NEEDS.iter().map(|(label, _)| *label).collect();
    let all: Vec<&str> = OPERATIONS.iter().map(|(label, _)| *label).collect();
    assert_eq!(known, all, "the rows of NEEDS, and the operations in catalog.yml");
}

/// The service that an operation is about.
pub fn service_of(label: &str) -> Service {
    let destination = label.split(':').next().unwrap_or_default();
    Service::named(destination).unwrap_or_else(|| panic!("the sandbox has no stand-in for {destination}"))
}

/// A call of these operations at a [`ready`] sandbox, with what they want.
pub fn prepared(sandbox: &Sandbox, arguments: &[&str]) -> Run {
    let operation = arguments.iter().find(|word| !word.starts_with('-'));
    let needs = NEEDS.iter().find(|(label, _)| operation == Some(label));
    notify(arguments)
        .at(sandbox)
        .vars([
            ("EVENT_ENVIRONMENT", "production"),
            ("AVIATOR_RELEASE_CANDIDATE", CANDIDATE),
            ("DIREKTIV_WORKFLOW", "/wf/deploy.yaml"),
            ("PORT_ENTITY_ID", "there"),
            ("PORT_QUERY", r#"{"combinator": "and", "rules": []}"#),
            ("PORT_ACTION", "deploy"),
            ("PORT_RUN_ID", "r_1"),
        ])
        .vars(needs.iter().flat_map(|(_, needs)| needs.iter().copied()))
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
