//! Addresses, credentials, which API a server has, and syncs.

use super::*;

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
            // v0.9.0 to v0.10.0: one message for all, and the cause beside it.
            json!({"data": [
                {"time": "2025-03-01T10:00:00Z", "msg": "cloning", "error": ""},
                {"time": "2025-03-01T10:00:01Z", "msg": "mirror processing failed", "error": "no such ref: 'main'"},
            ]})
            .to_string(),
            format!("rejected: the sync {ID} failed: cloning | mirror processing failed: no such ref: 'main'"),
        ),
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
    let ended = info(json!({"results": [activity("b", "failed", "2025-03-01T10:00:00.5Z")]}));
    let unlogged = course(&plan, &[(200, ""), (200, &ended), (404, "404 page not found\n")]).end;
    assert!(unlogged.contains("shows no logs of syncs by API v1"), "{unlogged}");
    let edges = info(json!({"edges": [{"node": activity("a", "complete", "2025-03-01T10:00:00Z")}]}));
    assert_eq!(course(&plan, &[(200, ""), (200, &edges)]).id(), Some("a"));
}
