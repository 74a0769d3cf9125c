//! CDEvents, as they go over the wire.

use super::{
    super::testing::{FIRST, in_words, read, try_plan, wire},
    *,
};

const BASE: &[(&str, &str)] = &[
    ("CI_PROJECT_PATH", "acme/shop"),
    ("CI_PROJECT_PATH_SLUG", "acme-shop"),
    ("CI_PIPELINE_ID", "8812"),
    (
        "CI_PIPELINE_URL",
        "https://gitlab.example.com/acme/shop/-/pipelines/8812",
    ),
    ("EVENT_ENVIRONMENT", "production"),
    ("EVENT_ACTION", "success"),
    ("CDEVENTS_URL", "https://broker.example.com/acme/default"),
];
const PURL: (&str, &str) = ("CDEVENTS_ARTIFACT_ID", "pkg:generic/acme/shop@1.4.2");

fn tried(more: &[(&str, &str)]) -> Result<Plan, Unmade> {
    try_plan(&DESTINATION, "event", BASE.iter().chain(more))
}

fn request(more: &[(&str, &str)]) -> Request {
    tried(more).unwrap().steps[0].request.clone()
}

/// The envelope in structured mode.
fn sent(more: &[(&str, &str)]) -> Value {
    let wire = wire(&request(more));
    let (line, body) = wire.split_once('\n').unwrap();
    assert_eq!(line, "POST https://broker.example.com/acme/default");
    serde_json::from_str(body).unwrap()
}

fn problems(more: &[(&str, &str)]) -> Vec<String> {
    match tried(more) {
        Err(Unmade::Wrong(problems)) => problems.iter().map(ToString::to_string).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_type_says_what_happened() {
    for (action, artifact, kind, outcome) in [
        ("started", true, "taskrun.started", None),
        ("success", false, "taskrun.finished", Some("success")),
        ("success", true, "service.deployed", None),
        ("failure", true, "taskrun.finished", Some("failure")),
        ("canceled", false, "taskrun.finished", Some("cancel")),
        ("stopped", false, "service.removed", None),
        ("rolled_back", true, "service.rolledback", None),
    ] {
        let artifact = if artifact { PURL } else { ("", "") };
        let sent = sent(&[("EVENT_ACTION", action), artifact]);
        assert_eq!(sent["type"], format!("dev.cdevents.{kind}.0.3.0"), "{action}");
        let content = &sent["data"]["subject"]["content"];
        assert_eq!(content["outcome"].as_str(), outcome, "{action}");
    }
    // Any other type would tell of a deployment that went well.
    let lacks = problems(&[("EVENT_ACTION", "rolled_back")]);
    assert!(lacks[0].starts_with("CDEVENTS_ARTIFACT_ID is not set"), "{lacks:?}");
    for action in ["progressing", "blocked"] {
        let skip = tried(&[("EVENT_ACTION", action)]).unwrap().skip.unwrap();
        assert!(
            skip.starts_with(&format!("CDEvents has no type for the action `{action}`")),
            "{skip}"
        );
        let said = sent(&[("EVENT_ACTION", action), ("CDEVENTS_TYPE", "pipelinerun.queued")]);
        assert_eq!(said["type"], "dev.cdevents.pipelinerun.queued.0.3.0");
        assert!(said["id"].as_str().unwrap().ends_with("-pipelinerun-queued"), "{said}");
    }
}

#[test]
fn the_envelope_says_what_the_event_says() {
    let sent = sent(&[
        ("EVENT_SERVICE", "cart \"ü\""),
        ("EVENT_PROPERTIES", r#"{"team": "payments", "price": 1.50}"#),
        PURL,
    ]);
    let (context, subject) = (&sent["data"]["context"], &sent["data"]["subject"]);
    for (attribute, same) in [
        ("id", &context["id"]),
        ("source", &context["source"]),
        ("type", &context["type"]),
        ("time", &context["timestamp"]),
        ("subject", &subject["id"]),
    ] {
        assert_eq!(&sent[attribute], same, "{attribute}");
    }
    assert_eq!(context["source"], "https://gitlab.example.com/acme/shop");
    assert_eq!(context["specversion"], "0.5.1");
    assert_eq!(
        subject,
        &json!({"id": "cart \"ü\"", "content": {
            "environment": {"id": "production"}, "artifactId": "pkg:generic/acme/shop@1.4.2",
        }})
    );
    assert_eq!(
        sent["data"]["customData"].to_string(),
        r#"{"team":"payments","price":1.50}"#
    );
    assert_eq!(sent["data"]["customDataContentType"], "application/json");
    // What would be sent anyway is the same event, named or not.
    let named = super::tests::sent(&[("CDEVENTS_TYPE", "taskrun.finished")]);
    assert_eq!(named, super::tests::sent(&[]));
    let own = ("CDEVENTS_SOURCE", "urn:acme:shop");
    assert_eq!(super::tests::sent(&[own])["source"], "urn:acme:shop");
}

#[test]
fn headers_carry_the_envelope_percent_encoded() {
    let request = request(&[
        ("CDEVENTS_MODE", "binary"),
        ("EVENT_SERVICE", "50% \"ü\"\n🚀"),
        ("CDEVENTS_TOKEN", "t0ken"),
    ]);
    let headers: Vec<String> = request
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.expose(&|_| None).unwrap()))
        .filter(|line| !line.starts_with("ce-id"))
        .collect();
    assert_eq!(
        headers,
        [
            "Authorization: Bearer t0ken",
            "ce-specversion: 1.0",
            "ce-source: https://gitlab.example.com/acme/shop",
            "ce-type: dev.cdevents.taskrun.finished.0.3.0",
            "ce-subject: 50%25%20%22%C3%BC%22%0A%F0%9F%9A%80",
            "ce-time: 2025-03-01T10:07:31Z",
            "Content-Type: application/json",
        ]
    );
    let body = wire(&request);
    let body: Value = serde_json::from_str(body.split_once('\n').unwrap().1).unwrap();
    assert_eq!(body["subject"]["id"], "50% \"ü\"\n🚀");
}

#[test]
fn what_a_type_wants_and_the_event_lacks_is_named() {
    let bare = [
        ("EVENT_ENVIRONMENT", ""),
        ("CI_PIPELINE_URL", ""),
        ("CDEVENTS_ARTIFACT_ID", ""),
    ];
    for (kind, lacks) in [
        ("service.deployed", &["EVENT_ENVIRONMENT", "CDEVENTS_ARTIFACT_ID"][..]),
        ("service.rolledback", &["EVENT_ENVIRONMENT", "CDEVENTS_ARTIFACT_ID"]),
        ("service.removed", &["EVENT_ENVIRONMENT"]),
        ("pipelinerun.started", &["EVENT_URL"]),
        ("environment.created", &["EVENT_ENVIRONMENT"]),
        ("incident.reported", &["EVENT_ENVIRONMENT", "EVENT_URL"]),
    ] {
        let problems = problems(&[&bare[..], &[("CDEVENTS_TYPE", kind)]].concat());
        assert_eq!(problems.len(), lacks.len(), "{problems:?}");
        for (problem, variable) in problems.iter().zip(lacks) {
            let says = format!(": a CDEvent of the type {kind} wants ");
            assert!(problem.starts_with(variable) && problem.contains(&says), "{problem}");
        }
    }
    assert!(problems(&[("CI_PROJECT_PATH", "")])[0].starts_with("EVENT_REPO is not set"));
    for (name, value) in [
        ("CDEVENTS_TYPE", "pipeline.finished"),
        ("CDEVENTS_ARTIFACT_ID", "shop:1.4.2"),
        ("CDEVENTS_SOURCE", "not a uri"),
        ("CDEVENTS_MODE", "batched"),
        ("CDEVENTS_URL", "broker.example.com"),
    ] {
        let problems = problems(&[(name, value)]);
        assert!(problems.len() == 1 && problems[0].starts_with(name), "{problems:?}");
    }
}

#[test]
fn whatever_is_no_page_says_that_it_was_taken() {
    let plan = tried(&[]).unwrap();
    for (status, body, verdict) in [
        (202, "", "delivered - -"),
        (200, "", "delivered - -"),
        (204, "", "delivered - -"),
        (200, "success", "delivered - -"),
        (200, r#"{"id": "a reply of the broker's"}"#, "delivered - -"),
        (
            200,
            "<html>",
            "undocumented answered 200 with an HTML page, as a login or a proxy does: the address may lead somewhere else",
        ),
        (404, "", "by status"),
        (503, "", "by status"),
    ] {
        assert_eq!(in_words(&read(&plan.steps[0], FIRST, status, body)), verdict);
    }
}
