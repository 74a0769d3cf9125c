//! Executions.

use super::*;

pub const WORKFLOW: (&str, &str) = ("DIREKTIV_WORKFLOW", "deploy.yaml");

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
        assert_eq!(watched.delivered.unwrap().json.as_deref(), expected.as_ref());
    }
    // After v0.10 the instance has it, and nothing else is read.
    for (output, expected) in [
        (json!("{\"a\":[1,2]}"), Some(json!({"a": [1, 2]}))),
        (Value::Null, None),
    ] {
        let watched = course(&plan, &[(200, &instance("pending")), (200, &data(output))]);
        assert_eq!(watched.log.len(), 2, "{:?}", watched.log);
        assert_eq!(watched.id(), Some(ID));
        assert_eq!(watched.delivered.unwrap().json.as_deref(), expected.as_ref());
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
    let older =
        json!({"data": {"id": ID, "status": "failed", "error_code": "my.error", "error_message": "dG9vIGxhdGU="}});
    let course = course(&plan, &[(200, &instance("pending")), (200, &older.to_string())]);
    assert_eq!(
        course.end,
        format!("rejected: the instance {ID} failed: my.error: too late")
    );
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
    assert_eq!((done.identifier, done.json), (None, Some(json!({"a": 1}).into())));
    assert_eq!(course(&plan, &[(200, "")]).delivered.unwrap(), Delivered::default());
    let failed = course(&plan, &[(500, r#"{"code":500,"message":"state failed"}"#)]);
    assert_eq!(failed.end, "by status: 500 state failed");
    let with = |status, headers: &[(&str, &str)]| {
        let headers = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let reply = crate::delivery::reply::Reply::new(status, headers.collect(), "{}".to_owned());
        in_words(&step.read(&reply, Sent::default()))
    };
    let id = ("direktiv-instance-id", "i-1");
    let code = ("direktiv-instance-error-code", "my.error");
    let message = ("direktiv-instance-error-message", "too late");
    assert_eq!(with(200, &[id]), "delivered i-1 -");
    assert_eq!(
        with(500, &[code, message]),
        "failed the workflow failed: my.error: too late"
    );
    assert_eq!(with(500, &[id, code]), "failed the instance i-1 failed: my.error: ");
}
