//! CTO.ai's stand-in against docs/vendors/cto.md.

mod common;

use common::{cto, variable};
use sandbox::{Sandbox, Service};
use serde_json::{Value, json};

fn event(sandbox: &Sandbox) -> Value {
    json!({"team_id": variable(sandbox, "CTOAI_TEAM_ID"), "event_name": "deployment", "event_action": "success",
        "repo": "acme/shop", "branch": "fix/\"quoted\" \\ ünïcode", "commit": null, "environment": "production",
        "image": null, "meta": {"user": "dana"}})
}

#[test]
fn an_event_is_written_with_and_without_the_slash() {
    let sandbox = Sandbox::start();
    for path in ["", "/"] {
        let reply = cto(&sandbox).post(path, &event(&sandbox));
        assert_eq!(
            (reply.status, reply.json()),
            (200, json!({"message": "event written", "data": {}}))
        );
    }
    // Nothing tells a repeated event from a new one.
    assert_eq!(
        sandbox.state(Service::Cto)["events"],
        json!([event(&sandbox), event(&sandbox)])
    );
}

#[test]
fn unknown_names_and_changes_are_taken() {
    let sandbox = Sandbox::start();
    let mut change = event(&sandbox);
    change["event_name"] = json!("change");
    change["number"] = json!(42);
    assert_eq!(cto(&sandbox).post("/", &change).status, 200);
    change["event_name"] = json!("rollout");
    assert_eq!(cto(&sandbox).post("/", &change).status, 400);
    change.as_object_mut().unwrap().remove("number");
    assert_eq!(cto(&sandbox).post("/", &change).status, 200);
}

#[test]
fn what_the_template_never_sends_is_refused() {
    let sandbox = Sandbox::start();
    let cto = cto(&sandbox);
    for key in event(&sandbox).as_object().unwrap().keys() {
        let mut body = event(&sandbox);
        body.as_object_mut().unwrap().remove(key);
        let reply = cto.post("/", &body);
        assert_eq!(
            (reply.status, reply.json()),
            (400, json!({"message": format!("{key} is missing")}))
        );
    }
    let wrong = [
        ("image", json!(7), 400),
        ("meta", json!("dana"), 400),
        ("meta", json!({}), 400),
        ("event_action", Value::Null, 400),
        ("event_name", json!(""), 400),
        ("timestamp", json!("now"), 400),
        ("team_id", json!("02f71e12-0000-0000-0000-000000000000"), 403),
    ];
    for (key, value, status) in wrong {
        let mut body = event(&sandbox);
        body[key] = value;
        assert_eq!(cto.post("/", &body).status, status, "{key}");
    }
    assert_eq!(cto.with("authorization", None).post("/", &event(&sandbox)).status, 401);
    assert_eq!(
        cto.with("authorization", Some("Bearer no"))
            .post("/", &event(&sandbox))
            .status,
        401
    );
    assert_eq!(
        cto.with("x-ops-mechanism", None).post("/", &event(&sandbox)).status,
        400
    );
    assert_eq!(
        cto.with("content-type", Some("text/plain"))
            .post("/", &event(&sandbox))
            .status,
        400
    );
    assert_eq!(cto.bytes("POST", "/", b"{\"branch\":\"a\"b\"}").status, 400);
    assert_eq!(cto.post("/events", &event(&sandbox)).status, 404);
    assert_eq!(cto.get("/").status, 405);
    assert_eq!(sandbox.state(Service::Cto), json!({"events": []}));
}
