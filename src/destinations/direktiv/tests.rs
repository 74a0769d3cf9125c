//! The operations of Direktiv, with replies as its versions give them.

use std::{collections::BTreeMap, fs};

use serde_json::{Value, json};

use super::{
    super::testing::{in_words, reply, try_plan},
    *,
};
use crate::delivery::{
    plan::{Delivered, Plan, Repeat, Sent, Step, Verdict},
    request::Request,
};

const BASE: &[(&str, &str)] = &[
    ("CI_PROJECT_PATH", "Acme/Shop"),
    ("CI_PROJECT_PATH_SLUG", "acme-shop"),
    ("CI_PIPELINE_ID", "8812"),
    (
        "CI_PIPELINE_URL",
        "https://gitlab.example.com/Acme/Shop/-/pipelines/8812",
    ),
    ("CI_COMMIT_BRANCH", "fix/\"quoted\" \\ ünïcode"),
    ("DIREKTIV_URL", "https://direktiv.example.com"),
    ("DIREKTIV_NAMESPACE", "demo"),
    ("DIREKTIV_TOKEN", "s3cret-token"),
];
const ID: &str = "5b0c7a5e-3d51-4a0a-9a3e-0d6f5f0f9d11";
const V2: &str = "https://direktiv.example.com/api/v2/namespaces/demo";
const V1: &str = "https://direktiv.example.com/api/namespaces/demo";
const NO_V2: (u16, &str) = (
    404,
    r#"{"error":{"code":"request_path_not_found","message":"request http path is not found"}}"#,
);

/// The plan for an operation; a variable in `more` replaces that of [`BASE`], an empty one removes it.
fn tried(operation: &str, more: &[(&str, &str)]) -> Result<Plan, Unmade> {
    try_plan(&DESTINATION, operation, BASE.iter().chain(more))
}

fn planned(operation: &str, more: &[(&str, &str)]) -> Plan {
    tried(operation, more).unwrap()
}

fn problems(operation: &str, more: &[(&str, &str)]) -> Vec<String> {
    match tried(operation, more) {
        Err(Unmade::Wrong(problems)) => problems.iter().map(ToString::to_string).collect(),
        other => panic!("{other:?}"),
    }
}

/// What goes over the wire.
fn wire(request: &Request) -> Value {
    let expose = |text: &crate::delivery::request::Text| text.expose(&|_| None).unwrap();
    let headers: Vec<String> = request
        .headers
        .iter()
        .map(|(name, value)| match name.as_str() {
            "" => expose(value),
            name => format!("{name}: {}", expose(value)),
        })
        .collect();
    let body = request.body.as_ref().map(expose);
    json!({
        "request": format!("{} {}", request.method.name(), expose(&request.url)),
        "headers": headers,
        "body": body.map(|body| serde_json::from_str::<Value>(&body).unwrap()),
    })
}

fn first(operation: &'static str, more: &[(&str, &str)]) -> Value {
    wire(&planned(operation, more).steps[0].request)
}

/// What was sent and waited for, and how it ended.
struct Course {
    log: Vec<String>,
    end: String,
    delivered: Option<Delivered>,
}

impl Course {
    fn id(&self) -> Option<&str> {
        self.delivered.as_ref().expect(&self.end).identifier.as_deref()
    }
}

/// Drives a plan as the delivery does, without its clock: every request gets the next of `replies`. 5xx that are left
/// to the general rule are sent again while there are replies, where the step allows it.
fn course(plan: &Plan, replies: &[(u16, &str)]) -> Course {
    let mut log = Vec::new();
    let mut attempts: BTreeMap<&str, u32> = BTreeMap::new();
    let mut ambiguous = false;
    let mut step = plan.steps[0].clone();
    let end = |log: Vec<String>, end: String, delivered| Course { log, end, delivered };
    let mut left = replies.iter();
    while let Some((status, body)) = left.next() {
        let count = attempts.entry(step.name).or_default();
        *count += 1;
        log.push(wire(&step.request)["request"].as_str().unwrap().to_owned());
        let sent = Sent {
            attempts: *count,
            ambiguous,
        };
        let reply = reply(*status, body);
        step = match step.read(&reply, sent) {
            Verdict::Then(next) => next,
            Verdict::Later(pause, next, what) => {
                log.push(format!("{}s: {what}", pause.as_secs()));
                next
            }
            Verdict::ByStatus if *status >= 500 && matches!(step.repeat, Repeat::Freely) && left.len() > 0 => {
                ambiguous = true;
                step
            }
            Verdict::Delivered(delivered) => {
                assert_eq!(left.len(), 0, "replies are left over");
                return end(log, "delivered".to_owned(), Some(delivered));
            }
            Verdict::ByStatus => {
                let why = format!("by status: {status} {}", reply.complaint());
                return end(log, why, None);
            }
            other => {
                let (class, why) = in_words(&other)
                    .split_once(' ')
                    .map(|(class, why)| (class.to_owned(), why.to_owned()))
                    .unwrap();
                return end(log, format!("{class}: {why}"), None);
            }
        };
    }
    log.push(format!("next: {}", wire(&step.request)["request"].as_str().unwrap()));
    end(log, "unfinished".to_owned(), None)
}

fn started(status: &str) -> String {
    json!({"data": {"id": ID, "status": status, "createdAt": "2025-03-01T10:00:00.12Z"}}).to_string()
}

fn syncs(status: &str) -> String {
    json!({"data": [{"id": "older", "status": "complete"}, {"id": ID, "status": status}]}).to_string()
}

#[test]
fn a_sync_by_the_newer_api() {
    assert_eq!(
        first("sync", &[]),
        json!({
            "request": format!("POST {V2}/syncs"),
            "headers": [
                "direktiv-token: s3cret-token",
                "Direktiv-Api-Key: s3cret-token",
                "Content-Type: application/json",
            ],
            "body": {},
        })
    );
    let plan = planned("sync", &[]);
    assert_eq!(plan.identifier, None);
    let course = course(&plan, &[(200, &started("pending"))]);
    assert_eq!(course.id(), Some(ID));
}

#[test]
fn the_sync_of_the_vendors_guide() {
    let variables = [
        ("DIREKTIV_API", "v1"),
        ("DIREKTIV_DIRECTORY", ""),
        ("DIREKTIV_HEADER", "direktiv-token: s3cret-token"),
    ];
    let plan = planned("sync", &variables);
    assert_eq!(
        wire(&plan.steps[0].request),
        json!({
            "request": format!("POST {V1}/tree?op=sync-mirror&force=true"),
            "headers": ["direktiv-token: s3cret-token"],
            "body": null,
        })
    );
    assert!(plan.otherwise.is_empty() && plan.notes.is_empty());
    assert_eq!(course(&plan, &[(200, "")]).id(), None);
}

#[test]
fn the_address_may_have_the_apis_prefix() {
    for url in [
        "https://d.example:8443",
        "https://d.example:8443/",
        "https://d.example:8443/api",
        "https://d.example:8443/api/v2/",
    ] {
        let request = |api| first("sync", &[("DIREKTIV_URL", url), ("DIREKTIV_API", api)])["request"].clone();
        assert_eq!(
            request("v2"),
            "POST https://d.example:8443/api/v2/namespaces/demo/syncs"
        );
        assert_eq!(
            request("v1"),
            "POST https://d.example:8443/api/namespaces/demo/tree?op=sync-mirror&force=true"
        );
    }
}

#[test]
fn directories_are_encoded_and_start_with_a_slash() {
    for (directory, path) in [
        ("workflows/shop", "/workflows/shop"),
        ("/workflows/shop/", "/workflows/shop"),
        ("//a b//ünïcode", "/a%20b/%C3%BCn%C3%AFcode"),
        ("/a?b#c%2e", "/a%3Fb%23c%252e"),
    ] {
        assert_eq!(
            first("sync", &[("DIREKTIV_DIRECTORY", directory)])["request"],
            format!("POST {V1}/tree{path}?op=sync-mirror&force=true")
        );
    }
    // The namespace's root is no directory, so the newer API comes first.
    for root in ["/", "", " // "] {
        assert_eq!(
            first("sync", &[("DIREKTIV_DIRECTORY", root)])["request"],
            format!("POST {V2}/syncs")
        );
    }
    for climbing in ["..", "/a/../b", "/a/./b"] {
        let problem = &problems("sync", &[("DIREKTIV_DIRECTORY", climbing)])[0];
        assert!(problem.starts_with("DIREKTIV_DIRECTORY has `.` or `..`"), "{problem}");
    }
    // Other operations have no directory to get wrong.
    assert!(
        tried(
            "broadcast",
            &[("DIREKTIV_DIRECTORY", ".."), ("EVENT_ACTION", "success")]
        )
        .is_ok()
    );
}

#[test]
fn namespaces() {
    for good in ["a", "demo-namespace", "a.b_c-9"] {
        assert!(tried("sync", &[("DIREKTIV_NAMESPACE", good)]).is_ok(), "{good}");
    }
    for bad in ["Demo", "9a", "a-", "-a", "a/b", "ä", "a b", "a."] {
        let problem = &problems("sync", &[("DIREKTIV_NAMESPACE", bad)])[0];
        assert!(
            problem.starts_with(&format!("DIREKTIV_NAMESPACE is `{bad}`; a namespace has only")),
            "{problem}"
        );
    }
    let all = problems(
        "execute",
        &[("DIREKTIV_NAMESPACE", "A"), ("DIREKTIV_TOKEN", "line\nbreak")],
    );
    assert_eq!(all.len(), 3, "every problem at once: {all:?}");
    let missing = problems("sync", &[("DIREKTIV_URL", ""), ("DIREKTIV_NAMESPACE", "")]);
    assert_eq!(missing.len(), 2, "{missing:?}");
}

#[test]
fn the_token_goes_where_each_version_looks_for_it() {
    let headers = |api, auth, token| {
        let variables = [
            ("DIREKTIV_API", api),
            ("DIREKTIV_AUTH", auth),
            ("DIREKTIV_TOKEN", token),
        ];
        let mut headers: Vec<String> = serde_json::from_value(first("sync", &variables)["headers"].clone()).unwrap();
        headers.retain(|header| header != "Content-Type: application/json");
        headers
    };
    let each = |names: &[&str], token: &str| names.iter().map(|name| format!("{name}: {token}")).collect::<Vec<_>>();
    assert_eq!(headers("v1", "auto", "t1"), each(&["direktiv-token", "apikey"], "t1"));
    assert_eq!(
        headers("v2", "auto", "t1"),
        each(&["direktiv-token", "Direktiv-Api-Key"], "t1")
    );
    let all = ["direktiv-token", "Direktiv-Api-Key", "Direktiv-Api-Token"];
    assert_eq!(headers("v2", "auto", ID), each(&all, ID));
    assert_eq!(headers("v1", "auto", ID).len(), 2);
    let probe = first("sync", &[("DIREKTIV_DIRECTORY", "/wf"), ("DIREKTIV_TOKEN", "t1")]);
    assert_eq!(
        probe["headers"],
        json!(each(&["direktiv-token", "apikey", "Direktiv-Api-Key"], "t1"))
    );
    for almost in [
        "5b0c7a5e3d514a0a9a3e0d6f5f0f9d11",
        "5b0c7a5e-3d51-4a0a-9a3e-0d6f5f0f9dzz",
    ] {
        assert_eq!(headers("v2", "auto", almost).len(), 2);
    }
    for api in ["v1", "v2"] {
        assert_eq!(headers(api, "token", "t1"), ["direktiv-token: t1"]);
        assert_eq!(headers(api, "api-key", "t1"), ["Direktiv-Api-Key: t1"]);
        assert_eq!(headers(api, "api-token", "t1"), ["Direktiv-Api-Token: t1"]);
        assert_eq!(headers(api, "bearer", "t1"), ["Authorization: Bearer t1"]);
        assert_eq!(headers(api, "apikey", "t1"), ["apikey: t1"]);
        assert!(headers(api, "auto", "").is_empty());
    }
    assert!(problems("sync", &[("DIREKTIV_TOKEN", "two\nlines")])[0].starts_with("DIREKTIV_TOKEN has a line break"));
}

#[test]
fn a_header_line_is_sent_instead_of_the_token_and_never_shown() {
    let plan = planned(
        "sync",
        &[
            ("DIREKTIV_HEADER", " Direktiv-Api-Key:hidden-1 "),
            ("DIREKTIV_AUTH", "token"),
        ],
    );
    assert_eq!(
        wire(&plan.steps[0].request)["headers"],
        json!(["Direktiv-Api-Key: hidden-1", "Content-Type: application/json"])
    );
    assert!(plan.notes[0].contains("DIREKTIV_AUTH has no effect"));
    let (name, text) = &plan.steps[0].request.headers[0];
    assert_eq!(name, "");
    assert_eq!(format!("{text:?}"), "Text([Secret(Secret($DIREKTIV_HEADER), Plain)])");

    let bearer = planned("sync", &[("DIREKTIV_HEADER", "Authorization: Bearer hidden-1")]);
    assert_eq!(
        wire(&bearer.steps[0].request)["headers"][0],
        "Authorization: Bearer hidden-1"
    );
    assert!(bearer.notes.is_empty());
}

#[test]
fn a_header_line_may_hold_the_path_of_gitlabs_file_or_base64() {
    let folder = std::env::temp_dir().join(format!("notify-event-{}-direktiv", std::process::id()));
    let project = folder.join("shop.tmp");
    fs::create_dir_all(&project).unwrap();
    let file = |name: &str, text: &str| {
        fs::write(project.join(name), text).unwrap();
        format!("direktiv-token: {}", project.join(name).display())
    };
    let (full, empty) = (file("DIREKTIV_TOKEN", "from-file\n"), file("EMPTY", "\n"));
    for line in [full.as_str(), "direktiv-token: @b64@ZnJvbS1maWxl"] {
        let plan = planned("sync", &[("DIREKTIV_HEADER", line)]);
        assert_eq!(wire(&plan.steps[0].request)["headers"][0], "direktiv-token: from-file");
        assert!(plan.notes[0].starts_with("DIREKTIV_HEADER names a file"));
    }
    assert!(problems("sync", &[("DIREKTIV_HEADER", &empty)])[0].contains("that is empty"));
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_api_is_found_out() {
    let plan = planned("sync", &[]);
    let v1 = format!("POST {V1}/tree?op=sync-mirror&force=true");
    let (when, otherwise) = &plan.otherwise[0];
    assert_eq!(
        (when.as_str(), wire(otherwise)["request"].as_str().unwrap()),
        ("the server has no API v2", v1.as_str())
    );
    for absent in [
        NO_V2,
        (404, "404 page not found\n"),
        (404, "<html>not here</html>"),
        (405, ""),
        (404, r#"{"code":404,"message":"no such path"}"#),
    ] {
        let course = course(&plan, &[absent, (200, "")]);
        assert_eq!(course.log, [format!("POST {V2}/syncs"), v1.clone()]);
        assert_eq!(course.id(), None);
    }
    for real in [
        (
            404,
            r#"{"error":{"code":"resource_not_found","message":"requested resource(namespace) is not found"}}"#,
        ),
        (405, r#"{"error":{"code":"request_method_not_allowed","message":"no"}}"#),
    ] {
        let course = course(&plan, &[real, (200, "")]);
        assert_eq!(course.log.len(), 1);
        assert!(course.end.starts_with("by status: 40"), "{}", course.end);
    }
    let neither = course(&plan, &[NO_V2, (404, "404 page not found")]);
    assert!(neither.end.contains("neither API"), "{}", neither.end);
    let only = course(&planned("sync", &[("DIREKTIV_API", "v2")]), &[NO_V2]);
    assert!(
        only.end.contains("no API v2") && only.end.contains("DIREKTIV_API=auto"),
        "{}",
        only.end
    );
}

#[test]
fn directories_try_the_older_api_first() {
    let plan = planned("sync", &[("DIREKTIV_DIRECTORY", "/wf")]);
    let v1 = format!("POST {V1}/tree/wf?op=sync-mirror&force=true");
    let found = course(&plan, &[(200, "")]);
    assert_eq!((found.log, found.delivered.unwrap().note), (vec![v1.clone()], None));
    let course_ = course(&plan, &[NO_V2, (200, &started("pending"))]);
    assert_eq!(course_.log, [v1, format!("POST {V2}/syncs")]);
    assert!(
        course_
            .delivered
            .unwrap()
            .note
            .unwrap()
            .contains("DIREKTIV_DIRECTORY has no effect")
    );
    // A directory that is not there is the older API's own answer.
    let missing = course(&plan, &[(404, r#"{"code":404,"message":"not found"}"#), (200, "")]);
    assert_eq!(
        (missing.log.len(), missing.end.as_str()),
        (1, "by status: 404 not found")
    );
    let newer = planned("sync", &[("DIREKTIV_DIRECTORY", "/wf"), ("DIREKTIV_API", "v2")]);
    assert!(newer.notes[0].contains("DIREKTIV_DIRECTORY has no effect"));
    assert_eq!(
        course(&newer, &[(200, &started("pending"))]).delivered.unwrap().note,
        None,
        "said once"
    );
}

#[test]
fn a_success_has_to_be_the_apis() {
    let plan = planned("sync", &[]);
    for (body, says) in [
        ("<!doctype html><title>Direktiv</title>", "an HTML page"),
        ("", "no body"),
        ("ok", "not JSON"),
        (r#"{"data":{}}"#, "without an identifier (/data/id)"),
        ("[]", "no object"),
    ] {
        let course = course(&plan, &[(200, body)]);
        assert!(
            course.end.starts_with("undocumented: ") && course.end.contains(says),
            "{}",
            course.end
        );
    }
    let older = planned("sync", &[("DIREKTIV_API", "v1")]);
    for (status, body, says) in [
        (200, "<html>", "an HTML page"),
        (200, r#"{"code":500,"message":"boom"}"#, "but says: boom"),
        (200, "{}", "with JSON"),
        (204, "", "no body, and not 200"),
    ] {
        let end = course(&older, &[(status, body)]).end;
        assert!(end.starts_with("undocumented: ") && end.contains(says), "{end}");
    }
}

#[test]
fn refusals_say_what_was_tried() {
    let denied = r#"{"error":{"code":"access_token_denied","message":"not enough permissions"}}"#;
    for (variables, status, body, says) in [
        (
            vec![],
            403,
            denied,
            "answered 403 (access_token_denied: not enough permissions): DIREKTIV_TOKEN was sent as direktiv-token, Direktiv-Api-Key;",
        ),
        (vec![], 401, "", "answered 401: DIREKTIV_TOKEN was sent as"),
        (vec![("DIREKTIV_AUTH", "bearer")], 401, "", "sent as Authorization;"),
        (
            vec![("DIREKTIV_TOKEN", "")],
            401,
            "",
            "no credential was sent; set DIREKTIV_TOKEN",
        ),
        (
            vec![("DIREKTIV_HEADER", "a: hidden-1")],
            401,
            "",
            "check the token in DIREKTIV_HEADER",
        ),
    ] {
        let end = course(&planned("sync", &variables), &[(status, body), (200, "")]).end;
        assert!(end.starts_with("rejected: ") && end.contains(says), "{end}");
        assert!(!end.contains("s3cret") && !end.contains("hidden-1"), "{end}");
    }
}

#[test]
fn a_running_sync_is_waited_out_and_asked_for_again() {
    let internal = r#"{"error":{"code":"internal","message":"internal server error"}}"#;
    let newer = course(
        &planned("sync", &[]),
        &[
            (500, internal),
            (500, internal),
            (500, internal),
            (500, internal),
            (200, &started("pending")),
        ],
    );
    let pauses: Vec<&str> = newer
        .log
        .iter()
        .filter_map(|line| line.split_once("s: it answered 500 (internal"))
        .map(|(pause, _)| pause)
        .collect();
    assert_eq!(pauses, ["5", "10", "15", "15"]);
    assert_eq!(newer.id(), Some(ID));
    for message in [
        "mirror operations are already underway",
        "a mirroring process is already being executed on this namespace",
    ] {
        let body = json!({"code": 500, "message": message}).to_string();
        let older = course(&planned("sync", &[]), &[NO_V2, (500, &body), (200, "")]);
        let post = format!("POST {V1}/tree?op=sync-mirror&force=true");
        let pause = format!("5s: another sync is running, which may have begun before this push ({message})");
        assert_eq!(older.log[1..], [post.clone(), pause, post]);
        assert_eq!(older.end, "delivered");
    }
    // Another failure is one: the general rule decides.
    for (api, body) in [
        ("v1", r#"{"code":500,"message":"database"}"#),
        ("v2", "oops"),
        ("v2", r#"{"error":{"code":"x","message":"y"}}"#),
    ] {
        let end = course(&planned("sync", &[("DIREKTIV_API", api)]), &[(500, body)]).end;
        assert!(end.starts_with("by status: 500"), "{end}");
    }
}

#[test]
fn some_400s_of_the_older_api_are_outages() {
    let plan = planned("sync", &[("DIREKTIV_API", "v1")]);
    for message in [
        "rpc error: code = Unavailable desc = connection error: desc = \"transport: Error while dialing dial tcp\"",
        "context deadline exceeded",
    ] {
        let body = json!({"code": 400, "message": message}).to_string();
        let course = course(&plan, &[(400, &body), (400, &body), (200, "")]);
        assert!(
            course.log[1].starts_with("1s: it answered 400 (") && course.log[3].starts_with("2s: "),
            "{:?}",
            course.log
        );
        assert_eq!(course.end, "delivered");
    }
    let refused = r#"{"code":400,"message":"permission denied"}"#;
    assert_eq!(course(&plan, &[(400, refused)]).end, "by status: 400 permission denied");
    let newer = r#"{"error":{"code":"request_x","message":"unavailable"},"message":"unavailable"}"#;
    assert!(
        course(&planned("sync", &[]), &[(400, newer)])
            .end
            .starts_with("by status: 400")
    );
}

#[test]
fn a_sync_is_watched_to_its_end() {
    let plan = planned("sync", &[("DIREKTIV_WAIT", "true")]);
    let replies = [
        (200, started("pending")),
        (200, json!({"data": []}).to_string()),
        (200, syncs("pending")),
        (503, String::new()),
        (200, syncs("executing")),
        (200, syncs("reviewing")),
        (200, syncs("complete")),
    ];
    let replies: Vec<(u16, &str)> = replies.iter().map(|(status, body)| (*status, body.as_str())).collect();
    let watched = course(&plan, &replies);
    let get = format!("GET {V2}/syncs");
    assert_eq!(
        watched.log,
        [
            format!("POST {V2}/syncs"),
            get.clone(),
            format!("1s: the sync {ID} is not in the list yet"),
            get.clone(),
            format!("2s: the sync {ID} is pending"),
            get.clone(),
            get.clone(),
            format!("3s: the sync {ID} is executing"),
            get.clone(),
            format!("4s: the sync {ID} is reviewing"),
            get,
        ]
    );
    assert_eq!(watched.id(), Some(ID));
    let hidden = course(
        &plan,
        &[
            (200, &started("pending")),
            (404, r#"{"error":{"code":"resource_not_found","message":"m"}}"#),
        ],
    );
    assert!(
        hidden
            .end
            .contains("was accepted, but its progress can't be read: it answered 404"),
        "{}",
        hidden.end
    );
    let strange = course(&plan, &[(200, &started("pending")), (200, "<html>")]);
    assert!(strange.end.contains("an HTML page"));
}

#[test]
fn a_failed_sync_tells_the_end_of_its_log() {
    let plan = planned("sync", &[("DIREKTIV_WAIT", "true")]);
    let entry =
        |second: u32| json!({"time": format!("2025-03-01T10:00:0{second}.5Z"), "msg": format!("line {second}")});
    let told = format!("rejected: the sync {ID} failed: line 3 | line 4 | line 5 | line 6 | line 7");
    let oldest_first: Vec<Value> = (1..8).map(entry).collect();
    let newest_first: Vec<Value> = (1..8).rev().map(entry).collect();
    for (status, log, end) in [
        (200, json!({"data": oldest_first}).to_string(), told.clone()),
        (200, json!({"data": newest_first}).to_string(), told),
        (
            200,
            json!({"data": null}).to_string(),
            format!("rejected: the sync {ID} failed, and its log is empty"),
        ),
        (
            503,
            String::new(),
            format!("rejected: the sync {ID} failed, and its log can't be read: it answered 503"),
        ),
    ] {
        let failed = course(
            &plan,
            &[(200, &started("pending")), (200, &syncs("failed")), (status, &log)],
        );
        assert_eq!(
            failed.log[2..],
            [
                format!("0s: the sync {ID} failed"),
                format!("GET {V2}/logs?activity={ID}")
            ]
        );
        assert_eq!(failed.end, end);
    }
}

#[test]
fn the_older_api_is_watched_by_its_newest_activity() {
    let plan = planned("sync", &[("DIREKTIV_WAIT", "yes"), ("DIREKTIV_DIRECTORY", "/wf")]);
    let info = |activities: Value| json!({"namespace": "demo", "activities": activities}).to_string();
    let activity =
        |id: &str, status: &str, time: &str| json!({"id": id, "type": "sync", "status": status, "createdAt": time});
    let none = info(json!({}));
    let two = info(json!({"results": [
        activity("b", "executing", "2025-03-01T10:00:00.5Z"),
        activity("a", "complete", "2025-03-01T10:00:00Z"),
    ]}));
    // A later one, by a cron of the server's, is not this one.
    let three = info(json!({"results": [
        activity("a", "complete", "2025-03-01T10:00:00Z"),
        activity("b", "failed", "2025-03-01T10:00:00.5Z"),
        activity("c", "executing", "2025-03-01T10:00:09Z"),
    ]}));
    let outage = r#"{"code":400,"message":"rpc error: code = Unavailable"}"#;
    let log = r#"{"results":[{"t":"2025-03-01T10:00:01Z","msg":"authentication required"}]}"#;
    let failed = course(
        &plan,
        &[
            (200, ""),
            (200, &none),
            (200, &two),
            (400, outage),
            (200, &three),
            (200, log),
        ],
    );
    let get = format!("GET {V1}/tree/wf?op=mirror-info");
    assert_eq!(
        failed.log,
        [
            format!("POST {V1}/tree/wf?op=sync-mirror&force=true"),
            get.clone(),
            "1s: the sync is not in the list yet".to_owned(),
            get.clone(),
            "2s: the sync b is executing".to_owned(),
            get.clone(),
            "3s: it answered 400 (rpc error: code = Unavailable)".to_owned(),
            get,
            "0s: the sync b failed".to_owned(),
            format!("GET {V1}/activities/b/logs"),
        ]
    );
    assert_eq!(failed.end, "rejected: the sync b failed: authentication required");
    let edges = info(json!({"edges": [{"node": activity("a", "complete", "2025-03-01T10:00:00Z")}]}));
    assert_eq!(course(&plan, &[(200, ""), (200, &edges)]).id(), Some("a"));
}

const WORKFLOW: (&str, &str) = ("DIREKTIV_WORKFLOW", "deploy.yaml");

fn instance(status: &str) -> String {
    json!({"data": {"id": ID, "status": status, "path": "/deploy.yaml", "errorCode": null, "errorMessage": null}})
        .to_string()
}

#[test]
fn an_execution_by_either_api() {
    let input = (
        "DIREKTIV_INPUT",
        r#"{"branch":"{{ event.branch }}","n":12345678901234567890123}"#,
    );
    let plan = planned("execute", &[WORKFLOW, input]);
    let expected =
        serde_json::from_str::<Value>(r#"{"branch":"fix/\"quoted\" \\ ünïcode","n":12345678901234567890123}"#).unwrap();
    let newer = wire(&plan.steps[0].request);
    assert_eq!(newer["request"], format!("POST {V2}/instances?path=%2Fdeploy.yaml"));
    assert_eq!(newer["headers"][2], "Content-Type: application/json");
    assert_eq!(newer["body"], expected);
    let older = wire(&plan.otherwise[0].1);
    assert_eq!(older["request"], format!("POST {V1}/tree/deploy.yaml?op=execute"));
    assert_eq!(older["body"], expected);
    assert!(matches!(plan.steps[0].repeat, Repeat::Unprocessed(&[])));
    assert_eq!(course(&plan, &[(200, &instance("pending"))]).id(), Some(ID));
    let fallen = course(&plan, &[NO_V2, (200, r#"{"namespace":"demo","instance":"i-1"}"#)]);
    assert_eq!(fallen.id(), Some("i-1"));
    let event = first("execute", &[WORKFLOW]);
    assert_eq!(
        (&event["body"]["name"], &event["body"]["action"]),
        (&json!("deployment"), &Value::Null)
    );
}

#[test]
fn workflows() {
    let path =
        |workflow| first("execute", &[("DIREKTIV_WORKFLOW", workflow), ("DIREKTIV_API", "v1")])["request"].clone();
    assert_eq!(
        path("/ops//dé ploy/"),
        format!("POST {V1}/tree/ops/d%C3%A9%20ploy?op=execute")
    );
    for (workflow, says) in [
        ("", "DIREKTIV_WORKFLOW is not set"),
        ("/", "DIREKTIV_WORKFLOW names the namespace"),
        ("../other", "DIREKTIV_WORKFLOW has `.` or `..`"),
    ] {
        let problem = &problems("execute", &[("DIREKTIV_WORKFLOW", workflow)])[0];
        assert!(problem.starts_with(says), "{problem}");
    }
    let problem = &problems("execute", &[WORKFLOW, ("DIREKTIV_INPUT", "{\n oops")])[0];
    assert!(
        problem.starts_with("DIREKTIV_INPUT is not JSON") && problem.contains("line 2"),
        "{problem}"
    );
    assert!(tried("sync", &[("DIREKTIV_WORKFLOW", "..")]).is_ok());
}

#[test]
fn a_failure_to_start_is_told_and_not_repeated() {
    let plan = planned("execute", &[WORKFLOW]);
    for (replies, end) in [
        (
            vec![(
                500,
                r#"{"error":{"code":"file '/deploy.yaml' does not exist","message":"file '/deploy.yaml' does not exist"}}"#,
            )],
            "rejected: the workflow could not be run: file '/deploy.yaml' does not exist",
        ),
        (
            vec![(
                404,
                r#"{"error":{"code":"resource_not_found","message":"no namespace"}}"#,
            )],
            "by status: 404 resource_not_found: no namespace",
        ),
        (
            vec![(
                500,
                r#"{"error":{"code":"internal","message":"internal server error"}}"#,
            )],
            "by status: 500 internal: internal server error",
        ),
        (
            vec![(502, "<html>bad gateway</html>"), (200, "")],
            "by status: 502 an HTML page",
        ),
        (
            vec![NO_V2, (500, r#"{"code":500,"message":"boom"}"#)],
            "by status: 500 boom",
        ),
        (
            vec![NO_V2, (406, r#"{"code":406,"message":"invalid input"}"#)],
            "by status: 406 invalid input",
        ),
        (
            vec![NO_V2, (400, r#"{"code":400,"message":"context deadline exceeded"}"#)],
            "doubtful: answered 400 (context deadline exceeded). It may have been processed all the same, so it was not \
             sent again",
        ),
        (
            vec![NO_V2, (400, r#"{"code":400,"message":"dial tcp: connection refused"}"#)],
            "unavailable: answered 400 (dial tcp: connection refused)",
        ),
        (
            vec![(200, "<html>")],
            "undocumented: answered 200 with an HTML page, which this API never does: the address may lead somewhere else",
        ),
    ] {
        assert_eq!(course(&plan, &replies).end, end);
    }
}

#[test]
fn an_execution_is_watched_and_its_output_read() {
    let plan = planned("execute", &[WORKFLOW, ("DIREKTIV_WAIT", "true")]);
    let data = |output: Value| json!({"data": {"id": ID, "status": "complete", "output": output}}).to_string();
    for (body, expected) in [
        (data(json!("eyJhIjpbMSwyXX0=")), Some(json!({"a": [1, 2]}))),
        (data(json!("{\"a\":[1,2]}")), Some(json!({"a": [1, 2]}))),
        (data(json!("c8O8w58=")), Some(json!("süß"))),
        (data(json!("no JSON")), Some(json!("no JSON"))),
        (data(json!("1234")), Some(json!(1234))),
        (data(json!("null")), Some(Value::Null)),
        (data(json!({"a": 1})), Some(json!({"a": 1}))),
        (data(Value::Null), None),
        (json!({"data": {"id": ID}}).to_string(), None),
        (json!({"data": "e30="}).to_string(), Some(json!({}))),
    ] {
        let replies = [
            (200, instance("pending")),
            (200, instance("running")),
            (200, instance("complete")),
            (200, body),
        ];
        let replies: Vec<(u16, &str)> = replies.iter().map(|(status, body)| (*status, body.as_str())).collect();
        let watched = course(&plan, &replies);
        let get = format!("GET {V2}/instances/{ID}");
        assert_eq!(
            watched.log[1..],
            [
                get.clone(),
                format!("1s: the instance {ID} is running"),
                get.clone(),
                format!("0s: the instance {ID} is complete, its output not yet read"),
                format!("{get}/output"),
            ]
        );
        assert_eq!(watched.id(), Some(ID));
        assert_eq!(watched.delivered.unwrap().json, expected);
    }
    let unread = course(
        &plan,
        &[(200, &instance("pending")), (200, &instance("complete")), (503, "")],
    );
    let note = unread.delivered.unwrap().note.unwrap();
    assert_eq!(note, "its output can't be read: it answered 503");
}

#[test]
fn an_instance_that_ends_badly_is_rejected_with_its_error() {
    let plan = planned("execute", &[WORKFLOW, ("DIREKTIV_WAIT", "true")]);
    for (status, code, message, end) in [
        (
            "failed",
            json!("my.error"),
            json!("dG9vIGxhdGU="),
            "failed: my.error: too late",
        ),
        (
            "failed",
            json!("my.error"),
            json!("too late"),
            "failed: my.error: too late",
        ),
        ("crashed", json!(""), Value::Null, "crashed"),
        (
            "cancelled",
            json!("direktiv.cancels.api"),
            json!("cancelled by user"),
            "was cancelled: direktiv.cancels.api: cancelled by user",
        ),
    ] {
        let body =
            json!({"data": {"id": ID, "status": status, "errorCode": code, "errorMessage": message}}).to_string();
        let course = course(&plan, &[(200, &instance("pending")), (200, &body)]);
        assert_eq!(course.end, format!("rejected: the instance {ID} {end}"));
    }
}

#[test]
fn the_older_api_waits_by_itself() {
    let plan = planned(
        "execute",
        &[WORKFLOW, ("DIREKTIV_WAIT", "true"), ("DIREKTIV_API", "v1")],
    );
    let step: &Step = &plan.steps[0];
    assert_eq!(
        wire(&step.request)["request"],
        format!("POST {V1}/tree/deploy.yaml?op=wait")
    );
    assert!(step.is_patient && matches!(step.repeat, Repeat::Unprocessed(&[])));
    let done = course(&plan, &[(200, r#"{"a":1}"#)]).delivered.unwrap();
    assert_eq!((done.identifier, done.json), (None, Some(json!({"a": 1}))));
    assert_eq!(course(&plan, &[(200, "")]).delivered.unwrap(), Delivered::default());
    let failed = course(&plan, &[(500, r#"{"code":500,"message":"state failed"}"#)]);
    assert_eq!(failed.end, "by status: 500 state failed");
    let headers = vec![
        ("direktiv-instance-error-code".to_owned(), "my.error".to_owned()),
        ("direktiv-instance-error-message".to_owned(), "too late".to_owned()),
    ];
    match step.read(
        &crate::delivery::reply::Reply::new(500, headers, "{}".to_owned()),
        Sent::default(),
    ) {
        Verdict::Failed(why) => assert_eq!(why, "the workflow failed: my.error: too late"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_broadcast_is_a_cloud_event_with_a_stable_id() {
    let variables = [
        ("EVENT_ACTION", "success"),
        ("DIREKTIV_INPUT", r#"{"x":"{{ event.branch }}"}"#),
    ];
    let plan = planned("broadcast", &variables);
    assert_eq!(plan.identifier.as_deref(), Some("acme-shop-8812-success"));
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
                "id": "acme-shop-8812-success",
                "source": "https://gitlab.example.com/Acme/Shop/-/pipelines/8812",
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
    assert_eq!(body["source"], "https://x.example/%C3%A4%20b");
    assert_eq!(
        (body.get("subject"), &body["data"]["schema_version"]),
        (None, &json!(1))
    );
    let nowhere = first("broadcast", &[("EVENT_ACTION", "started"), ("CI_PIPELINE_URL", "")]);
    assert_eq!(nowhere["body"]["source"], "notify-event");
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
            "skipped: the namespace already received the event acme-shop-8812-success",
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
            "skipped: the namespace already received the event acme-shop-8812-success",
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
