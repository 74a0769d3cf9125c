//! The broker's stand-in against docs/vendors/cdevents.md.

mod common;

use common::{Client, variable};
use sandbox::{Sandbox, Service};
use serde_json::{Value, json};

const BROKER: &str = "/acme/default";
const TYPE: &str = "dev.cdevents.service.deployed.0.3.0";

fn broker(sandbox: &Sandbox) -> Client<'_> {
    let token = format!("Bearer {}", variable(sandbox, "CDEVENTS_TOKEN"));
    Client::new(sandbox, Service::CdEvents, &[("authorization", &token)])
}

fn structured(sandbox: &Sandbox) -> Client<'_> {
    broker(sandbox).with("content-type", Some("application/cloudevents+json"))
}

fn cdevent() -> Value {
    json!({
        "context": {"specversion": "0.5.1", "id": "a-1", "source": "https://gitlab.example.com/acme/shop", "type": TYPE,
            "timestamp": "2025-03-01T10:00:00Z"},
        "subject": {"id": "größe", "content": {"environment": {"id": "production"},
            "artifactId": "pkg:generic/shop@1"}},
    })
}

fn enveloped(cdevent: &Value) -> Value {
    let context = &cdevent["context"];
    json!({"specversion": "1.0", "id": context["id"], "source": context["source"], "type": context["type"],
        "time": context["timestamp"], "subject": cdevent["subject"]["id"], "datacontenttype": "application/json",
        "data": cdevent})
}

#[test]
fn an_event_is_kept_once_in_either_mode() {
    let sandbox = Sandbox::start();
    let taken = structured(&sandbox).post(BROKER, &enveloped(&cdevent()));
    assert_eq!((taken.status, taken.text.as_str()), (202, ""));
    let binary = broker(&sandbox)
        .with("content-type", Some("application/json"))
        .with("ce-specversion", Some("1.0"))
        .with("ce-id", Some("a-1"))
        .with("ce-source", Some("https://gitlab.example.com/acme/shop"))
        .with("ce-type", Some(TYPE))
        .with("ce-time", Some("2025-03-01T10:00:00Z"))
        .with("ce-subject", Some("gr%C3%B6%C3%9Fe"));
    assert_eq!(binary.post(BROKER, &cdevent()).status, 202, "known already");
    let mut other = cdevent();
    other["context"]["id"] = json!("a-2");
    assert_eq!(binary.with("ce-id", Some("a-2")).post(BROKER, &other).status, 202);
    let state = sandbox.state(Service::CdEvents);
    let events = state["events"].as_array().unwrap();
    assert_eq!(events.len(), 2);
    for event in events {
        assert_eq!(event["attributes"]["subject"], "größe");
    }
    for (header, value) in [
        ("ce-subject", "gr%C3%B6%C3%9F"),
        ("ce-subject", "gr%C3"),
        ("ce-id", "a 1"),
        ("ce-type", "dev.cdevents.service.upgraded.0.3.0"),
    ] {
        assert_eq!(
            binary.with(header, Some(value)).post(BROKER, &cdevent()).status,
            400,
            "{value}"
        );
    }
}

#[test]
fn what_is_no_valid_event_is_refused() {
    let sandbox = Sandbox::start();
    let client = structured(&sandbox);
    let changed = |pointer: &str, value: Value| {
        let mut event = cdevent();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = event.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        if value.is_null() {
            parent.remove(key);
        } else {
            parent.insert(key.to_owned(), value);
        }
        client.post(BROKER, &enveloped(&event)).status
    };
    assert_eq!(changed("/customData", json!({"team": "payments"})), 202);
    for (pointer, value) in [
        ("/context/specversion", json!("0.4.1")),
        ("/context/version", json!("0.5.1")),
        ("/context/type", json!("dev.cdevents.service.deployed.0.2.0")),
        ("/context/type", json!("dev.cdevents.service.deplored.0.3.0")),
        ("/context/timestamp", json!("yesterday")),
        ("/context/source", json!("no uri")),
        ("/context/id", json!("")),
        ("/subject/type", json!("service")),
        ("/subject/content/artifactId", Value::Null),
        ("/subject/content/artifactId", json!("shop:1")),
        ("/subject/content/environment", json!("production")),
        ("/subject/content/outcome", json!("success")),
        ("/customData", json!("text")),
        ("/more", json!(1)),
    ] {
        assert_eq!(changed(pointer, value.clone()), 400, "{pointer} {value}");
    }
    for attribute in ["id", "source", "type", "time", "subject"] {
        let mut envelope = enveloped(&cdevent());
        envelope[attribute] = json!("2025-03-01T11:00:00Z");
        assert_eq!(client.post(BROKER, &envelope).status, 400, "{attribute}");
    }
}

#[test]
fn only_who_may_posts_what_is_one() {
    let sandbox = Sandbox::start();
    let event = enveloped(&cdevent());
    let client = structured(&sandbox);
    assert_eq!(client.with("authorization", None).post(BROKER, &event).status, 401);
    assert_eq!(client.post("/acme/other", &event).status, 404);
    assert_eq!(client.get(BROKER).status, 405);
    assert_eq!(
        client
            .with("content-type", Some("application/json"))
            .post(BROKER, &event)
            .status,
        415
    );
    assert_eq!(client.bytes("POST", BROKER, b"{").status, 400);
}
