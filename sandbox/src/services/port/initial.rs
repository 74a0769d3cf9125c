//! The blueprints and actions that there are from the start.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// The `deployment` blueprint that the project ships, ready to import: `examples/port/deployment-blueprint.json`.
pub fn port_deployment_blueprint() -> Value {
    let text = include_str!("../../../../examples/port/deployment-blueprint.json");
    serde_json::from_str(text).expect("the example is JSON")
}

/// The `service` blueprint that the project ships, ready to import: `examples/port/service-blueprint.json`.
pub fn port_service_blueprint() -> Value {
    let text = include_str!("../../../../examples/port/service-blueprint.json");
    serde_json::from_str(text).expect("the example is JSON")
}

/// The blueprints of the project, of Port's examples for GitLab (docs/vendors/port.md 8), one with a property of each
/// type, and two that relations point to.
pub(super) fn blueprints() -> BTreeMap<String, Value> {
    let text = || json!({"type": "string"});
    let url = || json!({"type": "string", "format": "url"});
    let number = || json!({"type": "number"});
    let blueprint = |identifier: &str, properties: Value, relations: Value| {
        let schema = json!({"properties": properties, "required": []});
        json!({"identifier": identifier, "title": identifier, "schema": schema, "relations": relations})
    };
    let one = |target: &str| json!({"target": target, "many": false, "required": false});
    let many = |target: &str| json!({"target": target, "many": true, "required": false});
    // As a customer extends the imported example, so that relations can be reported.
    let mut deployment = port_deployment_blueprint();
    deployment["relations"] =
        json!({"service": one("service"), "targetEnvironment": one("environment"), "images": many("image")});
    let all = [
        deployment,
        port_service_blueprint(),
        blueprint(
            "environment",
            json!({"type": text(), "url": url(), "region": text()}),
            json!({}),
        ),
        blueprint(
            "ciJob",
            json!({"triggeredBy": text(), "commitHash": text(), "jobBranch": url(), "runLink": url()}),
            json!({"image": many("image")}),
        ),
        blueprint(
            "image",
            json!({"imageTag": text(), "gitRepoUrl": url(), "imageRegistry": url(), "unitTestCoverage": number(),
                "integTestCoverage": number(), "size": number(), "synkHighVulnerabilities": number(),
                "synkMediumVulnerabilities": number()}),
            json!({}),
        ),
        blueprint(
            "test-blueprint",
            json!({"myStringProp": text(), "myNumberProp": number(), "myBooleanProp": {"type": "boolean"},
                "myArrayProp": {"type": "array"}, "myObjectProp": {"type": "object"}}),
            json!({}),
        ),
    ];
    all.into_iter()
        .map(|one| (one["identifier"].as_str().expect("text above").to_owned(), one))
        .collect()
}

/// An action that anyone can run, and one that needs a service.
pub(super) fn actions() -> BTreeMap<String, Value> {
    let inputs =
        json!({"environment": {"type": "string"}, "version": {"type": "string"}, "replicas": {"type": "number"}});
    let deploy = json!({"blueprint": null, "userInputs": inputs});
    let restart = json!({"blueprint": "service", "userInputs": {"reason": {"type": "string"}}});
    [("deploy".to_owned(), deploy), ("restart_service".to_owned(), restart)].into()
}
