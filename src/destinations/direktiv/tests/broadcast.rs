//! Broadcasts.

use super::*;

#[test]
fn a_broadcast_is_a_cloud_event_with_a_stable_id() {
    let variables = [
        ("EVENT_ACTION", "success"),
        ("DIREKTIV_INPUT", r#"{"x":"{{ event.branch }}"}"#),
    ];
    let plan = planned("broadcast", &variables);
    assert_eq!(
        plan.identifier.as_deref(),
        Some("acme-shop-8812-deployment-success-57aa1c19ad692bf3")
    );
    let newer = wire(&plan.steps[0].request);
    assert_eq!(
        newer,
        json!({
            "request": format!("POST {V2}/events/broadcast"),
            "headers": [
                "direktiv-token: s3cret-token",
                "Direktiv-Api-Key: s3cret-token",
                "Content-Type: application/cloudevents+json",
            ],
            "body": {
                "specversion": "1.0",
                "id": "acme-shop-8812-deployment-success-57aa1c19ad692bf3",
                "source": "https://gitlab.example.com/Acme/Shop",
                "type": "com.gitlab.deployment.success",
                "subject": "Acme/Shop",
                "time": "2025-03-01T10:07:31Z",
                "datacontenttype": "application/json",
                "data": {"x": "fix/\"quoted\" \\ ünïcode"},
            },
        })
    );
    let older = wire(&plan.otherwise[0].1);
    assert_eq!(older["request"], format!("POST {V1}/broadcast"));
    assert_eq!(older["body"], newer["body"]);
    assert!(matches!(plan.steps[0].repeat, Repeat::Freely));
    let sparse = [
        ("EVENT_ACTION", "On Fire!"),
        ("EVENT_NAME", "Größe/Rollout v2"),
        ("CI_PROJECT_PATH", ""),
        ("EVENT_URL", "https://x.example/ä b"),
    ];
    let body = first("broadcast", &sparse)["body"].clone();
    assert_eq!(body["type"], "com.gitlab.größe.rollout.v2.on.fire");
    assert_eq!(body["source"], "notify-event");
    assert_eq!(
        (body.get("subject"), &body["data"]["schema_version"]),
        (None, &json!(1))
    );
    let elsewhere = [
        ("EVENT_ACTION", "started"),
        ("EVENT_URL", "https://x.example/ä b"),
        ("CI_PROJECT_PATH", "Acme/Größe"),
        ("EVENT_SERVICE", "cart"),
    ];
    let body = first("broadcast", &elsewhere)["body"].clone();
    assert_eq!(
        (&body["source"], &body["subject"]),
        (&json!("Acme/Gr%C3%B6%C3%9Fe"), &json!("cart"))
    );
}

#[test]
fn a_broadcast_needs_an_id_and_an_action_and_the_others_do_not() {
    assert!(problems("broadcast", &[])[0].starts_with("EVENT_ACTION is auto"));
    let without = [("EVENT_ACTION", "success"), ("CI_PIPELINE_ID", "")];
    assert!(problems("broadcast", &without)[0].starts_with("EVENT_ID is not set"));
    assert!(tried("sync", &[("CI_PIPELINE_ID", "")]).is_ok());
    assert!(tried("execute", &[("CI_PIPELINE_ID", ""), WORKFLOW]).is_ok());
}

#[test]
fn what_a_namespace_says_to_a_broadcast() {
    let plan = planned("broadcast", &[("EVENT_ACTION", "success")]);
    let duplicate = (400, "Error appending CloudEvent to history\n");
    for (replies, end) in [
        (vec![(200, "")], "delivered"),
        (vec![NO_V2, (200, "")], "delivered"),
        (vec![(404, "404 page not found"), (503, ""), (200, "")], "delivered"),
        (vec![(503, ""), duplicate], "delivered"),
        (
            vec![duplicate],
            "skipped: the namespace already received the event acme-shop-8812-deployment-success-57aa1c19ad692bf3",
        ),
        (
            vec![(400, "Error parsing CloudEvent")],
            "by status: 400 Error parsing CloudEvent",
        ),
        (
            vec![(415, "unsupported media type")],
            "by status: 415 unsupported media type",
        ),
        (
            vec![(404, r#"{"error":{"code":"resource_not_found","message":"m"}}"#)],
            "by status: 404 resource_not_found: m",
        ),
        (
            vec![NO_V2, (400, r#"{"code":400,"message":"Unavailable"}"#), (200, "")],
            "delivered",
        ),
        (
            vec![NO_V2, (409, r#"{"code":409,"message":"resource already exists"}"#)],
            "skipped: the namespace already received the event acme-shop-8812-deployment-success-57aa1c19ad692bf3",
        ),
        (
            vec![(200, "<html>")],
            "undocumented: answered 200 with an HTML page, which this API never does: the address may lead somewhere else",
        ),
        (
            vec![(200, r#"{"error":{"code":"internal","message":"no"}}"#)],
            "undocumented: answered 200, but says: internal: no",
        ),
    ] {
        assert_eq!(course(&plan, &replies).end, end);
    }
    let through = course(&plan, &[(503, ""), duplicate]).delivered.unwrap();
    assert_eq!(
        through.note.as_deref(),
        Some("the attempt before got through after all")
    );
}
