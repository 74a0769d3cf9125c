//! Direktiv's stand-in against docs/vendors/direktiv.md.

mod common;

use std::time::Duration;

use common::{Client, direktiv, with};
use sandbox::{DirektivAuth, DirektivVersion, Options, Sandbox, Service};
use serde_json::{Value, json};

const SYNCS: &str = "/api/v2/namespaces/demo/syncs";
const V1_SYNC: &str = "/api/namespaces/demo/tree?op=sync-mirror&force=true";

fn version(version: DirektivVersion) -> Sandbox {
    with(|options| {
        options.direktiv_version = version;
        options.direktiv_sync_takes = Duration::from_millis(400);
        options.direktiv_workflow_takes = Duration::from_millis(150);
    })
}

fn code(reply: &common::Reply) -> (u16, String) {
    (
        reply.status,
        reply.json()["error"]["code"].as_str().unwrap_or_default().to_owned(),
    )
}

fn wait_for(direktiv: &Client, id: &Value, status: &str) -> Value {
    for _ in 0..300 {
        let syncs = direktiv.get(SYNCS).json();
        let sync = syncs["data"]
            .as_array()
            .unwrap()
            .iter()
            .find(|sync| sync["id"] == *id)
            .unwrap()
            .clone();
        if sync["status"] == status {
            return sync;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("the sync never was {status}");
}

#[test]
fn a_v2_sync_runs_to_its_end() {
    let sandbox = version(DirektivVersion::V0_10);
    let direktiv = direktiv(&sandbox, "direktiv-api-key");
    let started = direktiv.post(SYNCS, &json!({}));
    assert_eq!(started.status, 200);
    let sync = &started.json()["data"];
    assert_eq!(
        (&sync["status"], &sync["endedAt"]),
        (&json!("pending"), &json!("0001-01-01T00:00:00Z"))
    );
    let busy = direktiv.post(SYNCS, &json!({}));
    assert_eq!(
        busy.json(),
        json!({"error": {"code": "internal", "message": "internal server error"}})
    );
    assert_eq!(busy.status, 500);
    wait_for(&direktiv, &sync["id"], "executing");
    let ended = wait_for(&direktiv, &sync["id"], "complete");
    assert_ne!(ended["endedAt"], "0001-01-01T00:00:00Z");
    let second = direktiv.bytes("POST", SYNCS, b"");
    assert_eq!(second.status, 200);
    let all = direktiv.get(SYNCS).json();
    assert_eq!(all["data"][0]["id"], sync["id"], "oldest first");
    assert_eq!(all["data"][1]["id"], second.json()["data"]["id"]);
}

#[test]
fn a_failed_sync_says_why_in_its_logs() {
    let sandbox = with(|options| {
        options.direktiv_sync_takes = Duration::ZERO;
        options.direktiv_sync_fails = Some("authentication required".to_owned());
    });
    let direktiv = direktiv(&sandbox, "direktiv-api-key");
    let id = direktiv.post(SYNCS, &json!({})).json()["data"]["id"].clone();
    wait_for(&direktiv, &id, "failed");
    let logs = direktiv
        .get(&format!(
            "/api/v2/namespaces/demo/logs?activity={}",
            id.as_str().unwrap()
        ))
        .json();
    let entry = &logs["data"][0];
    assert_eq!(
        (&entry["msg"], &entry["error"]),
        (&json!("mirror processing failed"), &json!("authentication required"))
    );
}

#[test]
fn a_seeded_sync_is_under_way() {
    let sandbox = version(DirektivVersion::V0_10);
    let direktiv = direktiv(&sandbox, "direktiv-api-key");
    sandbox.seed(
        Service::Direktiv,
        json!({"namespaces": {"demo": {"syncs": [{"status": "executing"}]}}}),
    );
    assert_eq!(direktiv.post(SYNCS, &json!({})).status, 500);
    std::thread::sleep(Duration::from_millis(420));
    assert_eq!(direktiv.post(SYNCS, &json!({})).status, 200);
}

#[test]
fn v2_errors_have_their_codes() {
    let sandbox = version(DirektivVersion::V0_10);
    let direktiv = direktiv(&sandbox, "direktiv-api-key");
    let not_found = (404, "resource_not_found".to_owned());
    let unknown = direktiv.post("/api/v2/namespaces/nobody/syncs", &json!({}));
    assert_eq!(code(&unknown), not_found);
    assert_eq!(
        unknown.json()["error"]["message"],
        "requested resource(namespace) is not found"
    );
    assert_eq!(
        code(&direktiv.post("/api/v2/namespaces/plain/syncs", &json!({}))),
        not_found
    );
    assert_eq!(
        code(&direktiv.post("/api/v2/namespaces/demo/sync", &json!({}))),
        (404, "request_path_not_found".into())
    );
    assert_eq!(
        code(&direktiv.post(V1_SYNC, &json!({}))),
        (404, "request_path_not_found".into())
    );
    assert_eq!(
        code(&direktiv.bytes("DELETE", SYNCS, b"")),
        (405, "request_method_not_allowed".into())
    );
    let ui = direktiv.post("/v2/namespaces/demo/syncs", &json!({}));
    assert_eq!(
        (ui.status, ui.header("content-type")),
        (200, "text/html; charset=utf-8")
    );
}

#[test]
fn v2_wants_its_own_header() {
    let sandbox = version(DirektivVersion::V0_10);
    let none = Client::new(&sandbox, Service::Direktiv, &[]);
    assert_eq!(
        code(&none.post(SYNCS, &json!({}))),
        (403, "access_token_missing".into())
    );
    assert_eq!(none.get("/api/v2/status").json()["data"]["requiresAuth"], true);
    let old = direktiv(&sandbox, "direktiv-token");
    assert_eq!(code(&old.post(SYNCS, &json!({}))), (403, "access_token_missing".into()));
    let wrong = Client::new(&sandbox, Service::Direktiv, &[("direktiv-api-key", "x")]);
    assert_eq!(
        code(&wrong.post(SYNCS, &json!({}))),
        (403, "access_token_invalid".into())
    );
    // A key sent as a token too is refused for the token (docs/vendors/direktiv.md 2).
    let both = direktiv(&sandbox, "direktiv-api-key");
    let both = both.with("direktiv-api-token", Some("5b0c7a5e-3d51-4a0a-9a3e-0d6f5f0f9d11"));
    assert_eq!(
        code(&both.post(SYNCS, &json!({}))),
        (403, "access_token_invalid".into())
    );
    assert_eq!(
        direktiv(&sandbox, "direktiv-api-key")
            .with("direktiv-token", Some("x"))
            .post(SYNCS, &json!({}))
            .status,
        200
    );
}

#[test]
fn each_accepted_header_is_the_only_one() {
    let headers = [
        (DirektivAuth::Token, "direktiv-token"),
        (DirektivAuth::ApiKey, "direktiv-api-key"),
        (DirektivAuth::ApiToken, "direktiv-api-token"),
        (DirektivAuth::Bearer, "authorization"),
        (DirektivAuth::Apikey, "apikey"),
    ];
    for (accepted, _) in headers {
        for version in [DirektivVersion::V0_10, DirektivVersion::V0_8_5] {
            let sandbox = with(|options| {
                options.direktiv_version = version;
                options.direktiv_accepts = Some(accepted);
            });
            for (auth, header) in headers {
                let status = direktiv(&sandbox, header).get(SYNCS).status;
                let refused = if version == DirektivVersion::V0_10 { 403 } else { 401 };
                assert_eq!(
                    status,
                    if auth == accepted { 200 } else { refused },
                    "{accepted:?} {header}"
                );
            }
        }
    }
    let open = with(|options| options.direktiv_accepts = Some(DirektivAuth::Open));
    assert_eq!(Client::new(&open, Service::Direktiv, &[]).get(SYNCS).status, 200);
    let denied = with(|options| options.direktiv_denies = Some("syncs".to_owned()));
    assert_eq!(
        code(&direktiv(&denied, "direktiv-api-key").get(SYNCS)),
        (403, "access_token_denied".into())
    );
}

#[test]
fn a_v1_sync_answers_nothing_and_shows_in_mirror_info() {
    for (old, message) in [
        (DirektivVersion::V0_6, "mirror operations are already underway"),
        (DirektivVersion::V0_7, "mirror operations are already underway"),
        (
            DirektivVersion::V0_8_5,
            "a mirroring process is already being executed on this namespace",
        ),
    ] {
        let sandbox = version(old);
        let direktiv = direktiv(&sandbox, "direktiv-token");
        let started = direktiv.bytes("POST", V1_SYNC, b"");
        assert_eq!((started.status, started.text.as_str()), (200, ""));
        let busy = direktiv.bytes("POST", V1_SYNC, b"");
        assert_eq!(
            (busy.status, busy.json()),
            (500, json!({"code": 500, "message": message}))
        );
        std::thread::sleep(Duration::from_millis(420));
        let info = direktiv.get("/api/namespaces/demo/tree?op=mirror-info").json();
        let activity = &info["activities"]["results"][0];
        assert_eq!(activity["status"], "complete");
        let logs = direktiv.get(&format!(
            "/api/namespaces/demo/activities/{}/logs",
            activity["id"].as_str().unwrap()
        ));
        if old == DirektivVersion::V0_8_5 {
            assert_eq!(logs.status, 404, "gone");
        } else {
            assert_eq!(logs.json()["results"][0]["msg"], "Succeeded.");
        }
    }
}

#[test]
fn v1_directories_exist_up_to_v0_7() {
    let sandbox = version(DirektivVersion::V0_7);
    let seven = direktiv(&sandbox, "direktiv-token");
    let path = "/api/namespaces/demo/tree/workflows/directory?op=sync-mirror&force=true";
    assert_eq!(seven.bytes("POST", path, b"").status, 200);
    let missing = seven.bytes(
        "POST",
        "/api/namespaces/demo/tree/nothing?op=sync-mirror&force=true",
        b"",
    );
    assert_eq!((missing.status, missing.json()["code"].clone()), (404, json!(404)));
    assert_eq!(
        sandbox.state(Service::Direktiv)["namespaces"]["demo"]["syncs"][0]["directory"],
        "/workflows/directory"
    );
    let sandbox = version(DirektivVersion::V0_8_5);
    assert_eq!(
        direktiv(&sandbox, "direktiv-token").bytes("POST", path, b"").status,
        200
    );
    assert_eq!(
        sandbox.state(Service::Direktiv)["namespaces"]["demo"]["syncs"][0]["directory"],
        ""
    );
}

#[test]
fn v1_errors_have_their_form() {
    let sandbox = version(DirektivVersion::V0_7);
    let old = direktiv(&sandbox, "direktiv-token");
    let none = Client::new(&sandbox, Service::Direktiv, &[]).bytes("POST", V1_SYNC, b"");
    assert_eq!((none.status, none.text.as_str()), (401, ""));
    assert_eq!(
        direktiv(&sandbox, "direktiv-api-key")
            .bytes("POST", V1_SYNC, b"")
            .status,
        401
    );
    assert_eq!(
        old.bytes("POST", "/api/namespaces/demo/tree?force=true", b"").status,
        404
    );
    assert_eq!(
        old.bytes("POST", "/api/namespaces/demo/tree?op=sync-mirror&force=maybe", b"")
            .status,
        400
    );
    assert_eq!(
        old.bytes("POST", "/api/namespaces/nobody/tree?op=sync-mirror", b"")
            .status,
        404
    );
    let v2 = old.bytes("POST", SYNCS, b"");
    assert_eq!(
        (v2.status, v2.header("content-type")),
        (404, "text/plain; charset=utf-8")
    );
    // The oldest take `apikey` too.
    let sandbox = version(DirektivVersion::V0_6);
    assert_eq!(direktiv(&sandbox, "apikey").bytes("POST", V1_SYNC, b"").status, 200);
}

#[test]
fn v0_8_5_has_both_apis_and_a_version() {
    let sandbox = version(DirektivVersion::V0_8_5);
    let direktiv = direktiv(&sandbox, "direktiv-token");
    assert_eq!(direktiv.get("/api/v2/version").status, 200);
    assert_eq!(direktiv.get("/api/v2/status").status, 404);
    assert_eq!(direktiv.post(SYNCS, &json!({})).status, 200);
    assert_eq!(
        code(&direktiv.post("/api/v2/namespaces/demo/events/broadcast", &json!({}))).1,
        "request_path_not_found"
    );
}

#[test]
fn v0_8_4_has_workflows_by_the_new_api_alone() {
    let sandbox = version(DirektivVersion::V0_8_4);
    let direktiv = direktiv(&sandbox, "direktiv-token");
    assert_eq!(code(&direktiv.post(SYNCS, &json!({}))).1, "request_path_not_found");
    let path = "/api/v2/namespaces/demo/instances?path=/wf/deploy.yaml";
    let started = direktiv.post(path, &json!({})).json()["data"].clone();
    assert!(
        started.get("error_code").is_some() && started.get("errorCode").is_none(),
        "{started}"
    );
    assert_eq!(direktiv.bytes("POST", V1_SYNC, b"").status, 200);
}

#[test]
fn the_newest_prints_the_output_in_the_instance_and_broadcasts_nothing() {
    let sandbox = version(DirektivVersion::Head);
    let direktiv = direktiv(&sandbox, "direktiv-api-key");
    let path = "/api/v2/namespaces/demo/instances?path=/wf/deploy.yaml";
    let started = direktiv.post(path, &json!({})).json()["data"].clone();
    let one = format!("/api/v2/namespaces/demo/instances/{}", started["id"].as_str().unwrap());
    std::thread::sleep(Duration::from_millis(170));
    let output = json!({"deployed": true, "replicas": 3});
    assert_eq!(direktiv.get(&one).json()["data"]["output"], output.to_string());
    assert_eq!(
        code(&direktiv.get(&format!("{one}/output"))).1,
        "request_path_not_found"
    );
    assert_eq!(
        direktiv.post(&format!("{path}&wait=true"), &json!({})).json(),
        json!({"data": output})
    );
    let event = json!({"id": "x", "source": "a", "type": "b"});
    assert_eq!(
        direktiv.post("/api/v2/namespaces/demo/events/broadcast", &event).status,
        200
    );
    assert_eq!(
        sandbox.state(Service::Direktiv)["namespaces"]["demo"]["events"],
        json!([])
    );
}

#[test]
fn a_v2_workflow_is_started_awaited_and_read() {
    let sandbox = version(DirektivVersion::V0_10);
    let direktiv = direktiv(&sandbox, "direktiv-api-key");
    let path = "/api/v2/namespaces/demo/instances?path=/wf/deploy.yaml";
    let started = direktiv.post(path, &json!({"version": "1.4.2"})).json()["data"].clone();
    assert_eq!(
        (&started["status"], &started["endedAt"]),
        (&json!("pending"), &Value::Null)
    );
    let one = format!("/api/v2/namespaces/demo/instances/{}", started["id"].as_str().unwrap());
    assert_eq!(direktiv.get(&one).json()["data"]["status"], "pending");
    std::thread::sleep(Duration::from_millis(170));
    assert_eq!(direktiv.get(&one).json()["data"]["status"], "complete");
    let output = json!({"deployed": true, "replicas": 3});
    let encoded = direktiv.get(&format!("{one}/output")).json()["data"]["output"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(encoded, base64(&output.to_string()));
    assert_eq!(direktiv.post(&format!("{path}&wait=true"), &json!({})).json(), output);
    assert_eq!(
        direktiv
            .post(&format!("{path}&wait=true&field=replicas"), &json!({}))
            .text,
        "3"
    );
    let whole = direktiv
        .post(&format!("{path}&wait=true&output=true"), &json!({}))
        .json();
    assert_eq!(
        (&whole["data"]["status"], &whole["data"]["output"]),
        (&json!("complete"), &json!(encoded))
    );
    assert_eq!(
        sandbox.state(Service::Direktiv)["namespaces"]["demo"]["instances"][0]["input"],
        r#"{"version":"1.4.2"}"#
    );
}

#[test]
fn a_v2_workflow_can_fail_be_cancelled_or_be_missing() {
    let sandbox = with(|options| options.direktiv_workflow_fails = Some(("deploy.failed".into(), "no quota".into())));
    let failing = direktiv(&sandbox, "direktiv-api-key");
    let path = "/api/v2/namespaces/demo/instances?path=/wf/deploy.yaml";
    let failed = failing.post(&format!("{path}&wait=true"), &json!({}));
    assert_eq!(
        (failed.status, failed.json()),
        (500, json!({"error": {"code": "deploy.failed", "message": "no quota"}}))
    );
    assert_eq!(failed.header("direktiv-instance-error-code"), "deploy.failed");
    assert_eq!(failed.header("direktiv-instance-error-message"), "no quota");
    assert_eq!(
        failing
            .post("/api/v2/namespaces/demo/instances?path=/wf/other.yaml", &json!({}))
            .status,
        500
    );
    assert_eq!(
        failing.post("/api/v2/namespaces/demo/instances", &json!({})).status,
        400
    );
    assert_eq!(failing.get("/api/v2/namespaces/demo/instances/nothing").status, 404);
    let id = failing.post(path, &json!({})).json()["data"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let one = format!("/api/v2/namespaces/demo/instances/{id}");
    assert_eq!(failing.send("PATCH", &one, &json!({"status": "cancelled"})).status, 200);
    assert_eq!(failing.get(&one).json()["data"]["status"], "cancelled");
}

#[test]
fn a_v1_workflow_is_started_and_awaited() {
    let sandbox = version(DirektivVersion::V0_7);
    let direktiv = direktiv(&sandbox, "direktiv-token");
    let started = direktiv
        .post("/api/namespaces/demo/tree/wf/deploy?op=execute&ref=latest", &json!({}))
        .json();
    assert_eq!(started["namespace"], "demo");
    assert!(started["instance"].is_string());
    let output = direktiv
        .post("/api/namespaces/demo/tree/wf/deploy?op=wait", &json!({}))
        .json();
    assert_eq!(output["deployed"], true);
    let awaited = direktiv.post("/api/namespaces/demo/tree/wf/deploy?op=wait", &json!({}));
    let instances = sandbox.state(Service::Direktiv)["namespaces"]["demo"]["instances"].clone();
    assert_eq!(
        awaited.header("direktiv-instance-id"),
        instances[2]["id"].as_str().unwrap()
    );
    assert_eq!(
        direktiv
            .bytes("POST", "/api/namespaces/demo/tree/wf/deploy?op=wait", b"{")
            .status,
        406
    );
    assert_eq!(
        direktiv
            .post("/api/namespaces/demo/tree/wf/other?op=execute", &json!({}))
            .status,
        404
    );
}

#[test]
fn a_v2_event_is_taken_once() {
    let sandbox = version(DirektivVersion::V0_10);
    let direktiv = direktiv(&sandbox, "direktiv-api-key");
    let path = "/api/v2/namespaces/demo/events/broadcast";
    let event = json!({"specversion": "1.0", "id": "gl-42-8812", "source": "https://gitlab.example.com/acme/shop",
        "type": "com.gitlab.pipeline.deploy", "datacontenttype": "application/json", "data": {"status": "success"}});
    let structured = direktiv.with("content-type", Some("application/cloudevents+json"));
    let taken = structured.post(path, &event);
    assert_eq!((taken.status, taken.text.as_str()), (200, ""));
    let again = structured.post(path, &event);
    assert_eq!(
        (again.status, again.text.trim()),
        (400, "Error appending CloudEvent to history")
    );
    assert_eq!(direktiv.post(path, &event).status, 415);
    assert_eq!(
        direktiv
            .with("content-type", Some("text/plain"))
            .post(path, &event)
            .status,
        415
    );
    for broken in [
        json!({"id": "x"}),
        json!([event]),
        json!({"id": 1, "source": "a", "type": "b"}),
        json!({"source": "a", "type": "b", "Bad_Name": 1}),
        json!({"source": "a", "type": "b", "time": "now"}),
    ] {
        let reply = structured.post(path, &broken);
        assert_eq!(
            (reply.status, reply.text.trim()),
            (400, "Error parsing CloudEvent"),
            "{broken}"
        );
    }
    // Another source's event of the same id is another one.
    let mut other = event.clone();
    other["source"] = json!("https://gitlab.example.com/acme/cart");
    assert_eq!(structured.post(path, &other).status, 200);
    let batch = direktiv.with("content-type", Some("application/cloudevents-batch+json"));
    assert_eq!(
        batch
            .post(
                path,
                &json!([{"source": "a", "type": "b"}, {"source": "a", "type": "b"}])
            )
            .status,
        200
    );
    assert_eq!(
        sandbox.state(Service::Direktiv)["namespaces"]["demo"]["events"]
            .as_array()
            .unwrap()
            .len(),
        4
    );
}

#[test]
fn a_v1_event_may_be_binary() {
    let sandbox = version(DirektivVersion::V0_7);
    let binary = Client::new(
        &sandbox,
        Service::Direktiv,
        &[
            ("direktiv-token", &Options::default().credentials.direktiv_token),
            ("content-type", "application/json"),
            ("ce-id", "a"),
            ("ce-source", "b"),
            ("ce-type", "c"),
            ("ce-specversion", "1.0"),
        ],
    );
    assert_eq!(
        binary.post("/api/namespaces/demo/broadcast", &json!({"x": 1})).status,
        200
    );
    let again = binary.post("/api/namespaces/demo/broadcast", &json!({"x": 1}));
    assert_eq!(
        (again.status, again.json()),
        (409, json!({"code": 409, "message": "resource already exists"}))
    );
    let events = sandbox.state(Service::Direktiv)["namespaces"]["demo"]["events"].clone();
    assert_eq!(
        (&events[0]["type"], &events[0]["data"]),
        (&json!("c"), &json!({"x": 1}))
    );
    assert_eq!(
        binary
            .with("ce-type", None)
            .post("/api/namespaces/demo/broadcast", &json!({}))
            .status,
        406
    );
}

fn base64(text: &str) -> String {
    use base64::Engine;
    base64::prelude::BASE64_STANDARD.encode(text)
}
