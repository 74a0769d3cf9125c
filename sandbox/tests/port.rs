//! Port's stand-in against docs/vendors/port.md.

mod common;

use common::{Client, port, port_stranger, port_token, variable, with};
use sandbox::{Sandbox, Service, port_deployment_blueprint, port_service_blueprint};
use serde_json::{Value, json};

const ENTITIES: &str = "/v1/blueprints/deployment/entities";

fn refused(reply: &common::Reply) -> (u16, String) {
    assert_eq!(reply.json()["ok"], false, "{}", reply.text);
    assert!(reply.json()["message"].is_string());
    (reply.status, reply.json()["error"].as_str().unwrap().to_owned())
}

fn refusal(status: u16, error: &str) -> (u16, String) {
    (status, error.to_owned())
}

fn upsert(port: &Client, query: &str, body: &Value) -> common::Reply {
    port.post(&format!("{ENTITIES}?{query}"), body)
}

#[test]
fn a_token_is_the_same_until_it_expires() {
    let sandbox = with(|options| options.port_tokens_expire_after = Some(2));
    let first = port_token(&sandbox);
    assert_eq!(port_token(&sandbox), first);
    let port = port(&sandbox);
    assert_eq!(port.get(ENTITIES).status, 200);
    assert_eq!(port.get(ENTITIES).status, 200);
    assert_eq!(refused(&port.get(ENTITIES)), refusal(401, "unauthorized"));
    assert_ne!(port_token(&sandbox), first);
}

#[test]
fn a_rate_limit_is_told_in_every_reply_and_held() {
    let sandbox = with(|options| options.port_rate_limit = Some((3, std::time::Duration::from_mins(10))));
    let port = port(&sandbox);
    let told = |reply: &common::Reply| {
        let header = |name: &str| reply.header(&format!("x-ratelimit-{name}")).to_owned();
        (
            reply.status,
            header("limit"),
            header("remaining"),
            header("reset"),
            header("period"),
        )
    };
    let text = str::to_owned;
    // The login was the first.
    for (status, remaining) in [(200, "1"), (200, "0"), (429, "0"), (429, "0")] {
        assert_eq!(
            told(&port.get(ENTITIES)),
            (status, text("3"), text(remaining), text("600"), text("600"))
        );
    }
}

#[test]
fn wrong_credentials_are_refused() {
    let sandbox = Sandbox::start();
    let stranger = port_stranger(&sandbox);
    let path = "/v1/auth/access_token";
    let id = variable(&sandbox, "PORT_CLIENT_ID");
    let secret = variable(&sandbox, "PORT_CLIENT_SECRET");
    assert_eq!(
        stranger
            .post(path, &json!({"clientId": id, "clientSecret": "x"}))
            .status,
        401
    );
    assert_eq!(stranger.post(path, &json!({"clientId": id})).status, 422);
    assert_eq!(
        stranger
            .post(path, &json!({"clientId": id, "clientSecret": secret, "scope": "a"}))
            .status,
        422
    );
    assert_eq!(stranger.get(ENTITIES).status, 401);
    assert_eq!(
        stranger.with("authorization", Some("Bearer x")).get(ENTITIES).status,
        401
    );
    let right = stranger.post(path, &json!({"clientId": id, "clientSecret": secret}));
    assert_eq!(
        (&right.json()["expiresIn"], &right.json()["tokenType"]),
        (&json!(10_800), &json!("Bearer"))
    );
    assert!(!right.header("x-trace-id").is_empty());
}

#[test]
fn an_upsert_merges_or_overwrites() {
    let sandbox = Sandbox::start();
    let port = port(&sandbox);
    let started = json!({"identifier": "acme/shop-8812", "title": "shop", "team": "payments",
        "properties": {"status": "started", "branch": "fix/\"quoted\" \\ ünïcode"}, "blueprint": "deployment"});
    let created = upsert(&port, "upsert=true&merge=true", &started);
    assert_eq!((created.status, created.json()["ok"].clone()), (201, json!(true)));
    assert_eq!(created.json()["entity"]["team"], json!(["payments"]));
    let ended = json!({"identifier": "acme/shop-8812", "properties": {"status": "success", "duration": 451.0}});
    let merged = upsert(&port, "upsert=true&merge=true", &ended).json();
    assert_eq!(merged["entity"]["title"], "shop");
    assert_eq!(merged["entity"]["properties"]["branch"], "fix/\"quoted\" \\ ünïcode");
    let overwritten = upsert(&port, "upsert=true", &ended).json();
    assert_eq!(overwritten["entity"]["title"], Value::Null);
    assert_eq!(overwritten["entity"]["properties"], ended["properties"]);
    let read = port.get(&format!("{ENTITIES}/acme%2Fshop-8812"));
    assert_eq!((read.status, &read.json()["entity"]), (200, &overwritten["entity"]));
    assert_eq!(
        refused(&upsert(&port, "upsert=false", &ended)),
        refusal(409, "identifier_taken")
    );
    assert_eq!(
        refused(&upsert(&port, "merge=true", &ended)),
        refusal(422, "invalid_request")
    );
    assert_eq!(
        refused(&upsert(&port, "upsert=1", &ended)),
        refusal(422, "invalid_request")
    );
    assert_eq!(
        refused(&upsert(&port, "upsert=true&force=true", &ended)),
        refusal(422, "invalid_request")
    );
}

#[test]
fn an_upsert_may_answer_200_as_of_old() {
    let sandbox = with(|options| options.port_updated = 200);
    let port = port(&sandbox);
    let body = json!({"identifier": "a"});
    assert_eq!(upsert(&port, "upsert=true", &body).status, 201);
    assert_eq!(upsert(&port, "upsert=true", &body).status, 200);
}

#[test]
fn a_validation_changes_nothing() {
    let sandbox = Sandbox::start();
    let port = port(&sandbox);
    let query = "upsert=true&validation_only=true&create_missing_related_entities=true";
    let body = json!({"identifier": "a", "relations": {"service": "shop"}});
    assert_eq!(upsert(&port, query, &body).status, 201);
    let unknown = json!({"identifier": "a", "properties": {"nothing": 1}});
    assert_eq!(
        refused(&upsert(&port, query, &unknown)),
        refusal(422, "blueprint_schema_mismatch")
    );
    assert_eq!(sandbox.state(Service::Port)["entities"], json!({}));
}

#[test]
fn bodies_are_held_to_the_blueprint() {
    let sandbox = Sandbox::start();
    let port = port(&sandbox);
    let mismatch = refusal(422, "blueprint_schema_mismatch");
    let invalid = refusal(422, "invalid_request");
    let cases = [
        (json!({"identifier": "a", "properties": {"sha": "1"}}), mismatch.clone()),
        (
            json!({"identifier": "a", "properties": {"duration": "451"}}),
            mismatch.clone(),
        ),
        (
            json!({"identifier": "a", "properties": {"createdAt": "yesterday"}}),
            mismatch.clone(),
        ),
        (
            json!({"identifier": "a", "properties": {"url": "shop"}}),
            mismatch.clone(),
        ),
        (
            json!({"identifier": "a", "properties": {"successful": "true"}}),
            mismatch,
        ),
        (json!({"identifier": "a b"}), invalid.clone()),
        (json!({"identifier": "a#b"}), invalid.clone()),
        (json!({"identifier": ".."}), invalid.clone()),
        (json!({"identifier": "x".repeat(1001)}), invalid.clone()),
        (json!({"identifier": 8812}), invalid.clone()),
        (json!({"identifier": "a", "title": null}), invalid.clone()),
        (json!({"identifier": "a", "properties": []}), invalid.clone()),
        (json!({"identifier": "a", "relations": {"service": 7}}), invalid),
        (
            json!({"identifier": "a", "relations": {"nothing": "x"}}),
            refusal(404, "not_found"),
        ),
        (
            json!({"identifier": "a", "relations": {"service": "x"}}),
            refusal(404, "not_found"),
        ),
        (
            json!({"identifier": "a", "relations": {"service": ["x"]}}),
            refusal(422, "relation_many_violation"),
        ),
        (
            json!({"identifier": "a", "relations": {"images": "x"}}),
            refusal(422, "relation_many_violation"),
        ),
        (
            json!({"identifier": "a", "title": "x".repeat(1 << 20)}),
            refusal(413, "bad_request"),
        ),
    ];
    for (body, expected) in cases {
        assert_eq!(
            refused(&upsert(&port, "upsert=true", &body)),
            expected,
            "{:.90}",
            body.to_string()
        );
    }
    for identifier in ["x".repeat(1000), "Ünïcode/@_.+:\\=-".to_owned()] {
        assert_eq!(
            upsert(&port, "upsert=true", &json!({"identifier": identifier})).status,
            201
        );
    }
    assert_eq!(
        refused(&port.post("/v1/blueprints/none/entities?upsert=true", &json!({}))),
        refusal(404, "not_found")
    );
    assert_eq!(
        refused(&port.bytes("POST", &format!("{ENTITIES}?upsert=true"), b"{")),
        refusal(400, "bad_request")
    );
    let text = port.with("content-type", Some("text/plain"));
    assert_eq!(text.post(&format!("{ENTITIES}?upsert=true"), &json!({})).status, 422);
    assert_eq!(refused(&port.get("/v1/nothing")), refusal(404, "not_found"));
}

#[test]
fn missing_targets_can_be_created() {
    let sandbox = Sandbox::start();
    let port = port(&sandbox);
    let body = json!({"identifier": "a", "relations": {"service": "shop", "images": ["shop:1", "shop:2"]}});
    assert_eq!(
        upsert(&port, "upsert=true&create_missing_related_entities=true", &body).status,
        201
    );
    let state = sandbox.state(Service::Port);
    assert_eq!(state["entities"]["service"]["shop"]["identifier"], "shop");
    assert_eq!(state["entities"]["image"].as_object().unwrap().len(), 2);
    let query = json!({"identifier": "b", "relations": {"service":
        {"combinator": "and", "rules": [{"property": "$identifier", "operator": "=", "value": "shop"}]}}});
    assert_eq!(
        upsert(&port, "upsert=true", &query).json()["entity"]["relations"]["service"],
        "shop"
    );
}

#[test]
fn an_omitted_identifier_is_generated_each_time() {
    let sandbox = Sandbox::start();
    let port = port(&sandbox);
    let first = upsert(&port, "upsert=true", &json!({"title": "a"})).json()["entity"]["identifier"].clone();
    let second = upsert(&port, "upsert=true", &json!({"title": "a"})).json()["entity"]["identifier"].clone();
    assert_ne!(first, second);
    assert_eq!(port.get("/v1/blueprints/deployment/entities-count").json()["count"], 2);
}

#[test]
fn a_patch_merges_and_a_put_replaces() {
    let sandbox = Sandbox::start();
    let port = port(&sandbox);
    let one = format!("{ENTITIES}/a");
    assert_eq!(
        refused(&port.send("PATCH", &one, &json!({}))),
        refusal(404, "not_found")
    );
    assert_eq!(refused(&port.send("PUT", &one, &json!({}))), refusal(404, "not_found"));
    upsert(
        &port,
        "upsert=true",
        &json!({"identifier": "a", "title": "t", "properties": {"branch": "main"}}),
    );
    upsert(&port, "upsert=true", &json!({"identifier": "b"}));
    let patched = port
        .send(
            "PATCH",
            &one,
            &json!({"title": null, "properties": {"commit": "9f2c1e7"}}),
        )
        .json();
    assert_eq!(
        patched["entity"]["properties"],
        json!({"branch": "main", "commit": "9f2c1e7"})
    );
    assert_eq!(patched["entity"]["title"], Value::Null);
    assert_eq!(
        refused(&port.send("PATCH", &one, &json!({"blueprint": "x"}))),
        refusal(422, "invalid_request")
    );
    assert_eq!(
        refused(&port.send("PATCH", &one, &json!({"identifier": "b"}))),
        refusal(409, "identifier_taken")
    );
    let put = port.send(
        "PUT",
        &one,
        &json!({"identifier": "c", "blueprint": "x", "properties": {"commit": "1"}}),
    );
    assert_eq!(
        (put.status, &put.json()["entity"]["properties"]),
        (200, &json!({"commit": "1"}))
    );
    assert_eq!(port.get(&one).status, 404, "renamed");
    assert_eq!(port.get(&format!("{ENTITIES}/c")).status, 200);
}

#[test]
fn a_reply_shows_what_was_asked_for() {
    let sandbox = Sandbox::start();
    let port = port(&sandbox);
    sandbox.seed(
        Service::Port,
        json!({"entities": {"service": {"shop": {"title": "Shop"}}}}),
    );
    upsert(
        &port,
        "upsert=true",
        &json!({"identifier": "a", "properties": {"branch": "main", "version": "1"},
        "relations": {"service": "shop"}}),
    );
    let some = port
        .get(&format!("{ENTITIES}/a?include=identifier&include=properties.version"))
        .json();
    assert_eq!(
        some["entity"],
        json!({"identifier": "a", "properties": {"version": "1"}})
    );
    let others = port
        .get(&format!("{ENTITIES}/a?exclude=properties.version&exclude=relations"))
        .json();
    assert_eq!(others["entity"]["properties"], json!({"branch": "main"}));
    assert!(others["entity"].get("relations").is_none());
    let titled = port.get(&format!("{ENTITIES}/a?attach_title_to_relation=true")).json();
    assert_eq!(
        titled["entity"]["relations"]["service"],
        json!({"identifier": "shop", "title": "Shop"})
    );
    assert_eq!(port.get(&format!("{ENTITIES}/a?fields=x")).status, 422);
}

#[test]
fn dependents_are_deleted_only_when_asked() {
    let sandbox = Sandbox::start();
    let port = port(&sandbox);
    upsert(
        &port,
        "upsert=true&create_missing_related_entities=true",
        &json!({"identifier": "a", "relations": {"service": "shop"}}),
    );
    let shop = "/v1/blueprints/service/entities/shop";
    let kept = format!("{shop}?delete_dependents=false");
    assert_eq!(
        refused(&port.bytes("DELETE", shop, b"")),
        refusal(422, "invalid_request")
    );
    assert_eq!(
        refused(&port.bytes("DELETE", &kept, b"")),
        refusal(403, "has_dependents")
    );
    let deleted = port.bytes("DELETE", &format!("{shop}?delete_dependents=true"), b"");
    assert_eq!((deleted.status, deleted.json()), (200, json!({"ok": true})));
    assert_eq!(port.get(&format!("{ENTITIES}/a")).status, 404);
    assert_eq!(refused(&port.bytes("DELETE", &kept, b"")), refusal(404, "not_found"));
    for id in ["a", "b"] {
        upsert(&port, "upsert=true", &json!({"identifier": id}));
    }
    let path = "/v1/blueprints/deployment/bulk/entities/delete?delete_dependents=false";
    assert_eq!(port.post(path, &json!({"entities": ["a", "c"]})).status, 404);
    assert_eq!(port.get("/v1/blueprints/deployment/entities-count").json()["count"], 2);
    assert_eq!(
        port.post(path, &json!({"entities": ["a", "b"]})).json()["deletedEntities"],
        json!(["a", "b"])
    );
}

#[test]
fn bulk_writes_report_each_entity() {
    let sandbox = Sandbox::start();
    let port = port(&sandbox);
    let path = format!("{ENTITIES}/bulk?upsert=true&merge=true");
    let good = port.post(&path, &json!({"entities": [{"identifier": "a"}, {"identifier": "b"}]}));
    assert_eq!(
        (good.status, &good.json()["entities"][1]),
        (200, &json!({"created": true, "identifier": "b", "index": 1}))
    );
    let mixed = port.post(
        &path,
        &json!({"entities": [{"identifier": "a"}, {"identifier": "x y"}]}),
    );
    assert_eq!((mixed.status, &mixed.json()["ok"]), (207, &json!(false)));
    assert_eq!(
        mixed.json()["entities"],
        json!([{"created": false, "identifier": "a", "index": 0}])
    );
    assert_eq!(mixed.json()["errors"][0]["statusCode"], 422);
    assert_eq!(mixed.json()["errors"][0]["identifier"], "x y");
    let creating = port.post(
        &format!("{ENTITIES}/bulk?upsert=false"),
        &json!({"entities": [{"identifier": "a", "title": "lost"}, {"identifier": "c"}]}),
    );
    let taken = &creating.json()["errors"][0];
    assert_eq!((creating.status, &taken["identifier"]), (207, &json!("a")));
    assert_eq!(
        (&taken["statusCode"], &taken["error"]),
        (&json!(409), &json!("identifier_taken"))
    );
    assert_eq!(
        creating.json()["entities"],
        json!([{"created": true, "identifier": "c", "index": 1}])
    );
    let kept = port.get(&format!("{ENTITIES}/a")).json();
    assert_eq!(kept["entity"]["title"], Value::Null, "what is there stays");
    let many = (0..21)
        .map(|number| json!({"identifier": number.to_string()}))
        .collect::<Vec<_>>();
    assert_eq!(port.post(&path, &json!({"entities": many})).status, 422);
}

#[test]
fn searches_find_and_page() {
    let sandbox = Sandbox::start();
    let port = port(&sandbox);
    for number in 10..15 {
        let properties = json!({"duration": number, "branch": if number % 2 == 0 { "main" } else { "next" },
            "createdAt": format!("2025-03-{number}T10:00:00Z")});
        upsert(
            &port,
            "upsert=true",
            &json!({"identifier": number.to_string(), "properties": properties}),
        );
    }
    let search = |rules: Value| {
        let found = port
            .post("/v1/entities/search", &json!({"combinator": "and", "rules": rules}))
            .json();
        found["entities"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["identifier"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let rule = |property: &str, operator: &str, value: Value| json!({"property": property, "operator": operator, "value": value});
    assert_eq!(
        search(json!([
            rule("branch", "=", json!("main")),
            rule("duration", ">", json!(10))
        ])),
        ["12", "14"]
    );
    assert_eq!(
        search(json!([rule("$identifier", "in", json!(["11", "13"]))])),
        ["11", "13"]
    );
    assert_eq!(
        search(json!([rule("$blueprint", "=", json!("service"))])),
        Vec::<String>::new()
    );
    assert_eq!(
        search(json!([rule("createdAt", "<=", json!("2025-03-11T12:00:00+02:00"))])),
        ["10", "11"]
    );
    let either =
        json!([{"combinator": "or", "rules": [rule("duration", "=", json!(10)), rule("duration", "=", json!(14))]}]);
    assert_eq!(search(either), ["10", "14"]);
    for bad in [
        json!({"rules": []}),
        json!({"combinator": "xor", "rules": []}),
        json!({"combinator": "and"}),
        json!({"combinator": "and", "rules": [rule("a", "like", json!(1))]}),
        json!({"combinator": "and", "rules": [{"operator": "="}]}),
        json!({"combinator": "and", "rules": [], "x": 1}),
    ] {
        assert_eq!(
            refused(&port.post("/v1/entities/search", &bad)),
            refusal(422, "invalid_request"),
            "{bad}"
        );
    }
    let path = format!("{ENTITIES}/search");
    let named = json!({"query": {"combinator": "and", "rules": [rule("$identifier", "in", json!(["13", "x", "11"]))]}});
    let found = port.post(&path, &named).json();
    let found = found["entities"].as_array().unwrap().iter();
    assert_eq!(found.map(|one| &one["identifier"]).collect::<Vec<_>>(), ["11", "13"]);
    let mut seen = Vec::new();
    let mut body = json!({"limit": 2, "include": ["$identifier"]});
    loop {
        let page = port.post(&path, &body).json();
        seen.extend(
            page["entities"]
                .as_array()
                .unwrap()
                .iter()
                .map(|one| one["identifier"].clone()),
        );
        match page.get("next") {
            Some(next) => body["from"] = next.clone(),
            None => break,
        }
    }
    assert_eq!(json!(seen), json!(["10", "11", "12", "13", "14"]));
    assert_eq!(port.post(&path, &json!({"limit": 1001})).status, 422);
    assert_eq!(port.post(&path, &json!({"limit": 0})).status, 422);
    assert_eq!(port.post(&path, &json!({"from": "x"})).status, 422);
}

#[test]
fn each_search_has_words_of_its_own_for_what_is_included() {
    let sandbox = Sandbox::start();
    let port = port(&sandbox);
    upsert(
        &port,
        "upsert=true",
        &json!({"identifier": "a'b", "title": "A", "properties": {"version": "1", "branch": "main"}}),
    );
    let in_one = |include: &Value| port.post(&format!("{ENTITIES}/search"), &json!({"include": include}));
    assert_eq!(
        in_one(&json!(["$identifier", "version"])).json()["entities"],
        json!([{"identifier": "a'b", "properties": {"version": "1"}}])
    );
    for general in ["identifier", "properties.version", "$nothing", "nothing"] {
        assert_eq!(
            refused(&in_one(&json!([general]))),
            refusal(422, "invalid_request"),
            "{general}"
        );
    }
    let rules = json!({"combinator": "and", "rules": []});
    let in_all = |include: &str| port.post(&format!("/v1/entities/search?include={include}"), &rules);
    assert_eq!(in_all("identifier&include=properties.version").status, 200);
    for of_one in ["$identifier", "version"] {
        assert_eq!(in_all(of_one).status, 422, "{of_one}");
        assert_eq!(
            port.get(&format!("{ENTITIES}/a'b?include={of_one}")).status,
            422,
            "{of_one}"
        );
    }
}

#[test]
fn a_blueprint_can_be_read() {
    let sandbox = Sandbox::start();
    let port = port(&sandbox);
    let blueprint = port.get("/v1/blueprints/deployment").json()["blueprint"].clone();
    let shipped = sandbox::port_deployment_blueprint();
    assert_eq!(blueprint["schema"], shipped["schema"]);
    assert_eq!(refused(&port.get("/v1/blueprints/nope")), refusal(404, "not_found"));
}

#[test]
fn a_run_is_created_updated_and_ended_once() {
    let sandbox = Sandbox::start();
    let port = port(&sandbox);
    let created = port.post(
        "/v1/actions/deploy/runs",
        &json!({"properties": {"environment": "production"}}),
    );
    assert_eq!(
        (created.status, &created.json()["run"]["status"]),
        (202, &json!("IN_PROGRESS"))
    );
    let id = created.json()["run"]["id"].as_str().unwrap().to_owned();
    let run = format!("/v1/actions/runs/{id}");
    let labelled = port
        .send(
            "PATCH",
            &format!("{run}?version=v2"),
            &json!({"statusLabel": "deploying", "link": "https://gitlab.example.com", "externalRunId": "8812"}),
        )
        .json();
    assert_eq!(
        (&labelled["run"]["status"], &labelled["run"]["link"]),
        (&json!("IN_PROGRESS"), &json!(["https://gitlab.example.com"]))
    );
    for bad in [
        json!({"status": "IN_PROGRESS"}),
        json!({"status": "success"}),
        json!({"logMessage": "x"}),
        json!({"link": 1}),
    ] {
        assert_eq!(
            refused(&port.send("PATCH", &run, &bad)),
            refusal(422, "invalid_request"),
            "{bad}"
        );
    }
    let logged = port.post(&format!("{run}/logs"), &json!({"message": "started"}));
    assert_eq!((logged.status, &logged.json()["runLog"]["runId"]), (201, &json!(id)));
    assert_eq!(
        port.post(&format!("{run}/logs"), &json!({"statusLabel": "x"})).status,
        422
    );
    upsert(&port, &format!("upsert=true&run_id={id}"), &json!({"identifier": "a"}));
    assert_eq!(
        upsert(&port, "upsert=true&run_id=r_none", &json!({"identifier": "a"})).status,
        404
    );
    let found = port
        .get("/v1/actions/runs?version=v2&external_run_id=8812&active=true")
        .json();
    assert_eq!(found["runs"][0]["changedEntities"][0]["identifier"], "a");
    let ended = port.post(
        &format!("{run}/logs"),
        &json!({"message": "done", "terminationStatus": "SUCCESS"}),
    );
    assert_eq!(ended.status, 201);
    assert_eq!(port.get(&run).json()["run"]["status"], "SUCCESS");
    let exhausted = refusal(422, "run_exhausted");
    assert_eq!(
        refused(&port.post(&format!("{run}/logs"), &json!({"message": "late"}))),
        exhausted
    );
    assert_eq!(
        refused(&port.send("PATCH", &run, &json!({"status": "SUCCESS"}))),
        exhausted
    );
    assert_eq!(
        port.get(&format!("{run}/logs?limit=1&offset=1")).json()["runLogs"][0]["message"],
        "done"
    );
    assert_eq!(port.get("/v1/actions/runs?active=true").json()["runs"], json!([]));
}

#[test]
fn runs_are_refused_for_their_reasons() {
    let sandbox = Sandbox::start();
    let port = port(&sandbox);
    let run = |action: &str, body: Value| refused(&port.post(&format!("/v1/actions/{action}/runs"), &body));
    assert_eq!(run("nothing", json!({"properties": {}})), refusal(404, "not_found"));
    assert_eq!(run("deploy", json!({})), refusal(422, "invalid_request"));
    assert_eq!(
        run("deploy", json!({"properties": {}, "identifier": "a"})),
        refusal(422, "invalid_request")
    );
    assert_eq!(
        run("deploy", json!({"properties": {"color": "red"}})),
        refusal(422, "user_inputs_schema_invalid")
    );
    assert_eq!(
        run("restart_service", json!({"properties": {}})),
        refusal(422, "missing_self_service_action_entity")
    );
    assert_eq!(
        run("restart_service", json!({"properties": {}, "entity": "shop"})),
        refusal(404, "not_found")
    );
    sandbox.seed(
        Service::Port,
        json!({"runs": {
            "r_sync": {"synchronized": true},
            "r_wait": {"status": "WAITING_FOR_APPROVAL"},
            "r_done": {"status": "FAILURE"},
        }}),
    );
    let patch = |id: &str| {
        port.send(
            "PATCH",
            &format!("/v1/actions/runs/{id}"),
            &json!({"status": "SUCCESS"}),
        )
    };
    assert_eq!(refused(&patch("r_sync")), refusal(422, "run_synchronized_error"));
    assert_eq!(refused(&patch("r_done")), refusal(422, "run_exhausted"));
    assert_eq!(refused(&patch("r_none")), refusal(404, "not_found"));
    let approve = |id: &str| {
        port.send(
            "PATCH",
            &format!("/v1/actions/runs/{id}/approval"),
            &json!({"status": "APPROVE"}),
        )
    };
    assert_eq!((approve("r_wait").status, approve("r_done").status), (201, 422));
}

#[test]
fn an_entity_with_a_property_of_each_type_is_kept() {
    let sandbox = Sandbox::start();
    let body = json!({"identifier": "example-entity", "properties": {"myStringProp": "My value", "myNumberProp": 1,
        "myBooleanProp": true, "myArrayProp": ["myVal1", "myVal2"], "myObjectProp": {"myKey": "myVal"}}});
    let port = port(&sandbox);
    assert_eq!(
        port.post("/v1/blueprints/test-blueprint/entities?upsert=true", &body)
            .status,
        201
    );
    let read = port.get("/v1/blueprints/test-blueprint/entities/example-entity").json();
    assert_eq!(read["entity"]["properties"], body["properties"]);
}

#[test]
fn the_shipped_blueprints_are_the_sandboxs() {
    let sandbox = Sandbox::start();
    let shipped = port_deployment_blueprint();
    assert_eq!(
        sandbox.state(Service::Port)["blueprints"]["deployment"]["schema"],
        shipped["schema"]
    );
    assert_eq!(
        sandbox.state(Service::Port)["blueprints"]["service"],
        port_service_blueprint()
    );
}
