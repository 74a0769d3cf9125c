//! Rely.io's stand-in against docs/vendors/rely.md.

mod common;

use common::{rely, with};
use sandbox::{Sandbox, Service};
use serde_json::{Value, json};

fn deployment() -> Value {
    json!({"id": "deploy-acme-shop-8812", "blueprintId": "deployment", "title": "acme/shop #8812 (production)",
        "properties": {"status": "IN_PROGRESS", "link": "https://gitlab.example.com/acme/shop/-/pipelines/8812",
            "createdAt": "2025-03-01T10:00:00Z"},
        "relations": {"service": {"value": "shop.service"}}})
}

fn changed(pointer: &str, value: Value) -> Value {
    let mut entity = deployment();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    entity.pointer_mut(parent).unwrap()[name] = value;
    entity
}

#[test]
fn a_blueprint_can_be_read() {
    let sandbox = Sandbox::start();
    let rely = rely(&sandbox);
    let blueprint = rely.get("/api/v1/blueprints/deployment").json();
    assert_eq!(
        blueprint["schemaProperties"]["properties"]["duration"]["type"],
        "number"
    );
    assert!(blueprint["relations"].get("service").is_some());
    assert_eq!(rely.get("/api/v1/blueprints/nope").status, 404);
}

#[test]
fn an_entity_is_created_patched_and_read() {
    let sandbox = Sandbox::start();
    let rely = rely(&sandbox);
    let created = rely.send(
        "PUT",
        "/api/v1/entities/deploy-acme-shop-8812?patch=true",
        &deployment(),
    );
    assert_eq!(created.status, 200, "{}", created.text);
    let again = rely.post("/api/v1/entities", &changed("/title", json!("lost")));
    assert_eq!(again.status, 409, "{}", again.text);
    let end = json!({"id": "deploy-acme-shop-8812", "blueprintId": "deployment",
        "properties": {"status": "SUCCESS", "successful": true}});
    let patched = rely
        .send("PUT", "/api/v1/entities/deploy-acme-shop-8812?patch=true", &end)
        .json();
    let read = rely.get("/api/v1/entities/deploy-acme-shop-8812").json();
    assert_eq!(patched, read);
    assert_eq!(read["title"], "acme/shop #8812 (production)");
    assert_eq!(read["properties"]["status"], "SUCCESS");
    assert_eq!(read["properties"]["createdAt"], "2025-03-01T10:00:00Z");
    assert_eq!(read["relations"]["service"]["value"], "shop.service");
    assert_eq!(read["createdBy"], 17);
    assert_eq!(sandbox.state(Service::Rely)["entities"]["deploy-acme-shop-8812"], read);
    assert_eq!(rely.get("/api/v1/entities").json()["total"], 1);
}

#[test]
fn a_put_without_patch_replaces() {
    let sandbox = Sandbox::start();
    let rely = rely(&sandbox);
    assert_eq!(rely.post("/api/v1/entities", &deployment()).status, 200);
    let bare = json!({"id": "deploy-acme-shop-8812", "blueprintId": "deployment", "title": "new"});
    let replaced = rely.send("PUT", "/api/v1/entities/deploy-acme-shop-8812", &bare).json();
    assert_eq!(replaced["properties"], json!({}));
    assert_eq!(replaced["relations"], json!({}));
}

#[test]
fn a_missing_entity_is_created_by_put_or_not_as_chosen() {
    let sandbox = with(|options| {
        options.rely_put_creates = false;
        options.rely_created = 201;
        options.rely_duplicate = 422;
    });
    let rely = rely(&sandbox);
    let missing = rely.send(
        "PUT",
        "/api/v1/entities/deploy-acme-shop-8812?patch=true",
        &deployment(),
    );
    assert_eq!(missing.status, 404);
    assert_eq!(
        missing.json()["detail"],
        "Entity with id deploy-acme-shop-8812 not found"
    );
    assert_eq!(rely.post("/api/v1/entities", &deployment()).status, 201);
    let duplicate = rely.post("/api/v1/entities", &deployment());
    assert_eq!(
        (
            duplicate.status,
            duplicate.json()["detail"].as_str().unwrap().contains("already exists")
        ),
        (422, true)
    );
}

#[test]
fn what_is_wrong_with_a_body_is_refused() {
    let sandbox = Sandbox::start();
    let rely = rely(&sandbox);
    let long = "x".repeat(1 << 20);
    let cases = [
        (changed("/id", json!("Deploy")), 422, r#"["body","id"]"#),
        (changed("/id", json!("a b")), 422, r#"["body","id"]"#),
        (changed("/id", Value::Null), 422, r#"["body","id"]"#),
        (changed("/title", json!(7)), 422, r#"["body","title"]"#),
        (changed("/isVirtual", json!(true)), 422, r#"["body","isVirtual"]"#),
        (
            changed("/relations/service", json!("shop.service")),
            422,
            r#"["body","relations","service"]"#,
        ),
        (
            changed("/relations/service", json!({"value": null})),
            422,
            r#"["body","relations","service","value"]"#,
        ),
        (
            changed("/relations/service", json!({"value": "A B"})),
            422,
            r#"["body","relations","service","value"]"#,
        ),
        (
            changed("/relations/owner", json!({"value": "a"})),
            400,
            "Relation owner is not defined",
        ),
        (
            changed("/properties/failureReason", Value::Null),
            422,
            r#"["body","properties","failureReason"]"#,
        ),
        (
            changed("/properties/branch", json!("main")),
            400,
            "Property branch is not defined",
        ),
        (
            changed("/properties/duration", json!("12")),
            422,
            r#"["body","properties","duration"]"#,
        ),
        (changed("/properties/closedAt", json!("yesterday")), 422, "date-time"),
        (
            changed("/blueprintId", json!("nothing")),
            400,
            "Blueprint with id nothing not found",
        ),
        (changed("/description", json!(long)), 413, "too large"),
    ];
    for (body, status, part) in cases {
        let refused = rely.post("/api/v1/entities", &body);
        assert_eq!(refused.status, status, "{part}: {}", refused.text);
        assert!(refused.text.contains(part), "{part}: {}", refused.text);
    }
    for name in ["id", "blueprintId", "title"] {
        let mut body = deployment();
        body.as_object_mut().unwrap().remove(name);
        let refused = rely.post("/api/v1/entities", &body);
        assert_eq!(refused.json()["detail"][0]["loc"], json!(["body", name]));
        assert_eq!(refused.json()["detail"][0]["type"], "missing");
    }
    assert_eq!(sandbox.state(Service::Rely)["entities"], json!({}));
}

#[test]
fn what_is_wrong_with_a_request_is_refused() {
    let sandbox = Sandbox::start();
    let rely = rely(&sandbox);
    let anonymous = rely.with("authorization", None).post("/api/v1/entities", &deployment());
    assert_eq!(
        (anonymous.status, anonymous.json()),
        (401, json!({"detail": "Not authenticated"}))
    );
    assert_eq!(
        rely.with("authorization", Some("Bearer x"))
            .post("/api/v1/entities", &deployment())
            .status,
        401
    );
    assert_eq!(
        rely.with("content-type", None)
            .post("/api/v1/entities", &deployment())
            .status,
        422
    );
    let broken = rely.bytes("POST", "/api/v1/entities", b"{\"id\": ");
    assert_eq!(
        (broken.status, broken.json()["detail"][0]["type"].clone()),
        (422, json!("json_invalid"))
    );
    assert_eq!(rely.post("/api/v1/entity", &deployment()).status, 404);
    assert_eq!(rely.send("PATCH", "/api/v1/entities/a", &deployment()).status, 405);
    assert_eq!(rely.bytes("DELETE", "/api/v1/entities/a", b"").status, 405);
    assert_eq!(
        rely.send("PUT", "/api/v1/entities/other?patch=true", &deployment())
            .status,
        400
    );
    assert_eq!(
        rely.send(
            "PUT",
            "/api/v1/entities/deploy-acme-shop-8812?patch=maybe",
            &deployment()
        )
        .status,
        422
    );
    assert_eq!(
        rely.send(
            "PUT",
            "/api/v1/entities/deploy-acme-shop-8812?upsert=true",
            &deployment()
        )
        .status,
        422
    );
    assert_eq!(rely.get("/api/v1/entities/nothing").status, 404);
}

#[test]
fn bulk_writes_happen_as_a_whole_or_not_at_all() {
    let sandbox = Sandbox::start();
    let rely = rely(&sandbox);
    let path = "/api/v1/entities/bulk?unmappedProperties=ignore&patch=True";
    let stored = rely.send("PUT", path, &json!([deployment(), changed("/id", json!("b"))]));
    assert_eq!((stored.status, stored.json().as_array().unwrap().len()), (200, 2));
    let task = |entities: Value| json!({"type": "bulk", "data": {"payload": entities, "parameters": {"patch": true}}});
    let bad = task(json!([changed("/id", json!("c")), changed("/id", json!("BAD"))]));
    let id = rely.post("/api/v1/tasks", &bad).json()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(rely.get(&format!("/api/v1/tasks/{id}")).json()["status"], "running");
    let ended = rely.get(&format!("/api/v1/tasks/{id}")).json();
    assert_eq!((&ended["status"], &ended["outcome"]), (&json!("failed"), &Value::Null));
    assert!(sandbox.state(Service::Rely)["entities"].get("c").is_none());
    let good = rely
        .post("/api/v1/tasks", &task(json!([changed("/id", json!("c"))])))
        .json();
    let path = format!("/api/v1/tasks/{}", good["id"].as_str().unwrap());
    rely.get(&path);
    assert_eq!(rely.get(&path).json()["status"], "success");
    assert!(sandbox.state(Service::Rely)["entities"].get("c").is_some());
}

#[test]
fn a_seeded_entity_can_be_patched() {
    let sandbox = Sandbox::start();
    sandbox.seed(
        Service::Rely,
        json!({"entities": {"deploy-acme-shop-8812": {"properties": {"status": "OLD"}}}}),
    );
    let end = json!({"id": "deploy-acme-shop-8812", "blueprintId": "deployment", "properties": {"duration": 4.5}});
    let patched = rely(&sandbox)
        .send("PUT", "/api/v1/entities/deploy-acme-shop-8812?patch=true", &end)
        .json();
    assert_eq!(patched["properties"], json!({"status": "OLD", "duration": 4.5}));
}
