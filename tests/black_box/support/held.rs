//! What the sandbox's services hold in the end.

use sandbox::{Sandbox, Service};
use serde_json::Value;

/// The entity that Rely holds for this pipeline; null if there is none.
pub fn rely_entity(sandbox: &Sandbox) -> Value {
    sandbox.state(Service::Rely)["entities"]["acme-shop-8812"].clone()
}

/// The entity that Rely holds for this pipeline's deployment to production; null if there is none.
pub fn rely_production(sandbox: &Sandbox) -> Value {
    sandbox.state(Service::Rely)["entities"]["acme-shop-8812-production"].clone()
}

/// How many entities Rely holds.
pub fn rely_entities(sandbox: &Sandbox) -> usize {
    let state = sandbox.state(Service::Rely);
    state["entities"].as_object().expect("an object").len()
}

/// The events that CTO.ai holds.
pub fn cto_events(sandbox: &Sandbox) -> Vec<Value> {
    let state = sandbox.state(Service::Cto);
    state["events"].as_array().expect("a list of events").clone()
}

/// The actions of the events that CTO.ai holds.
pub fn cto_actions(sandbox: &Sandbox) -> Vec<String> {
    let action = |event: &Value| event["event_action"].as_str().expect("an action").to_owned();
    cto_events(sandbox).iter().map(action).collect()
}

/// Direktiv's namespace.
pub fn direktiv_namespace(sandbox: &Sandbox) -> Value {
    sandbox.state(Service::Direktiv)["namespaces"]["demo"].clone()
}

/// Aviator's environment `production`.
pub fn aviator_production(sandbox: &Sandbox) -> Value {
    sandbox.state(Service::Aviator)["environments"]["production"].clone()
}

/// Status of the newest deployment to production.
pub fn deployed(sandbox: &Sandbox) -> String {
    let production = aviator_production(sandbox);
    let status = &production["deployments"][0]["status"];
    status.as_str().unwrap_or_default().to_owned()
}

/// How many workflows Aviator has started for production.
pub fn workflows(sandbox: &Sandbox) -> u64 {
    let count = &aviator_production(sandbox)["triggered_workflows"];
    count.as_u64().expect("a number")
}

/// The events that the broker of CDEvents holds, with their attributes.
pub fn cdevents(sandbox: &Sandbox) -> Vec<Value> {
    let state = sandbox.state(Service::CdEvents);
    state["events"].as_array().expect("a list of events").clone()
}

/// A deployment that Port holds.
pub fn port_deployment(sandbox: &Sandbox, id: &str) -> Value {
    sandbox.state(Service::Port)["entities"]["deployment"][id].clone()
}
