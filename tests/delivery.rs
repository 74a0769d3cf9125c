//! What becomes of an event when a service, or the way to it, fails: classes, exit codes, repetitions, limits.

mod support;

use std::{
    net::TcpListener,
    thread,
    time::{Duration, SystemTime},
};

use sandbox::{DirektivVersion, Fault, Options, Sandbox, Service};
use serde_json::json;
use support::{
    Ran, asked, at_once, methods,
    operations::{CANDIDATE, LOGIN, NEW_CANDIDATE, OPERATIONS, fail, prepared, ready, ready_with, sent},
    wait_until,
};

/// Without a pause: what is measured is whether something is repeated, not how long that waits.
const AT_ONCE: (&str, &str) = ("retry-after", "0");

/// A status that asks to be tried again at once.
fn status(code: u16) -> Fault {
    Fault::status_with(code, AT_ONCE.0, AT_ONCE.1)
}

/// Status of the newest deployment to production.
fn deployed(sandbox: &Sandbox) -> String {
    let state = sandbox.state(Service::Aviator);
    let status = &state["environments"]["production"]["deployments"][0]["status"];
    status.as_str().unwrap_or_default().to_owned()
}

fn workflows(sandbox: &Sandbox) -> u64 {
    let state = sandbox.state(Service::Aviator);
    let count = &state["environments"]["production"]["triggered_workflows"];
    count.as_u64().expect("a number")
}

fn cto_events(sandbox: &Sandbox) -> usize {
    let state = sandbox.state(Service::Cto);
    state["events"].as_array().expect("a list").len()
}

fn entities(sandbox: &Sandbox) -> usize {
    let state = sandbox.state(Service::Rely);
    state["entities"].as_object().expect("an object").len()
}

// Classes, exit codes and policies

/// Class, fault, variables, exit code under `warn`, and words that are said.
type Case<'a> = (&'a str, Option<Fault>, &'a [(&'a str, &'a str)], i32, &'a str);

#[test]
fn each_class_exits_as_the_policy_says() {
    let unavailable = || status(503);
    let rejected = || Fault::Status {
        code: 400,
        headers: Vec::new(),
        body: r#"{"detail":"the vendor's own words"}"#.to_owned(),
    };
    let cases: &[Case] = &[
        ("sent", None, &[], 0, "sent"),
        (
            "skipped",
            None,
            &[("NOTIFY_ONLY", "failure")],
            0,
            "NOTIFY_ONLY=failure leaves success out",
        ),
        (
            "unavailable",
            Some(unavailable()),
            &[("NOTIFY_ATTEMPTS", "1")],
            75,
            "answered 503",
        ),
        ("rejected", Some(rejected()), &[], 76, "the vendor's own words"),
        (
            "misconfigured",
            None,
            &[("RELY_API_TOKEN", "")],
            78,
            "RELY_API_TOKEN is not set",
        ),
    ];
    for (class, fault, variables, code, words) in cases {
        let policies = [
            (None, *code),
            (Some("warn"), *code),
            (Some("fail"), i32::from(*code != 0)),
            (Some("ignore"), 0),
        ];
        for (policy, code) in policies {
            let sandbox = Sandbox::start();
            if let Some(fault) = fault {
                sandbox.fail(Service::Rely, 1, fault.clone());
            }
            let ran = prepared(&sandbox, &["rely"])
                .vars(variables.iter().copied())
                .var("NOTIFY_ON_ERROR", policy.unwrap_or_default())
                .run()
                .exits(code)
                .says_of("rely", class)
                .says_of("rely", words);
            assert!(ran.last_line().contains(&format!("exit {code}")), "{}", ran.last_line());
        }
    }
}

#[test]
fn an_optional_destination_is_tried_and_reported_and_never_changes_the_exit_code() {
    let misconfigured = ("RELY_PROPERTIES", "{");
    for (fault, variable, class) in [
        (Some(Fault::status(400)), None, "rejected"),
        (Some(status(503)), None, "unavailable"),
        (None, Some(misconfigured), "misconfigured"),
    ] {
        for policy in ["warn", "fail"] {
            let sandbox = Sandbox::start();
            if let Some(fault) = &fault {
                sandbox.fail(Service::Rely, 9, fault.clone());
            }
            prepared(&sandbox, &["rely?", "cto"])
                .vars(variable)
                .var("NOTIFY_ON_ERROR", policy)
                .run()
                .exits(0)
                .says_of("rely", &format!("{class}, optional"))
                .says_of("cto", "sent");
            assert_eq!(cto_events(&sandbox), 1);
        }
    }
    // The same by variable, and another's failure still counts.
    let sandbox = Sandbox::start();
    sandbox.fail(Service::Rely, 9, Fault::status(400));
    sandbox.fail(Service::Cto, 9, Fault::status(500));
    prepared(&sandbox, &[])
        .var("NOTIFY_DESTINATIONS", "rely:create?, cto")
        .run()
        .exits(75)
        .says_of("rely:create", "rejected, optional")
        .says_of("cto", "unavailable");
}

#[test]
fn of_several_failures_the_highest_code_wins() {
    for (rely, cto, candidate, code) in [
        (Some(500), None, "1-rc1", 75),
        (Some(500), Some(400), "1-rc1", 76),
        (Some(400), Some(500), "1-rc1", 76),
        (Some(500), Some(400), "no candidate", 78),
        (None, None, "no candidate", 78),
    ] {
        let sandbox = Sandbox::start();
        for (service, code) in [(Service::Rely, rely), (Service::Cto, cto)] {
            if let Some(code) = code {
                sandbox.fail(service, 1, Fault::status(code));
            }
        }
        prepared(&sandbox, &["rely", "cto", "aviator:release"])
            .var("AVIATOR_RELEASE_CANDIDATE", candidate)
            .var("NOTIFY_ATTEMPTS", "1")
            .run()
            .exits(code);
    }
}

// What may be repeated

/// Every operation that can be repeated whatever happened, and the methods of its requests.
const FREE: &[(&str, Service, &str)] = &[
    ("rely", Service::Rely, "PUT"),
    ("rely:replace", Service::Rely, "PUT"),
    ("rely:patch", Service::Rely, "PUT"),
    ("rely:get", Service::Rely, "GET"),
    ("direktiv", Service::Direktiv, "POST"),
    ("direktiv:broadcast", Service::Direktiv, "POST"),
    ("aviator", Service::Aviator, "PATCH"),
    ("aviator:list", Service::Aviator, "GET"),
    ("port", Service::Port, "POST"),
    ("port:create", Service::Port, "POST"),
    ("port:replace", Service::Port, "PUT"),
    ("port:patch", Service::Port, "PATCH"),
    ("port:get", Service::Port, "GET"),
    ("port:search", Service::Port, "POST"),
    ("port:delete", Service::Port, "DELETE"),
    ("port:run-update", Service::Port, "PATCH"),
];

#[test]
fn what_changes_nothing_when_repeated_is_repeated_after_every_passing_failure() {
    for (operation, service, method) in FREE {
        let sandbox = ready();
        let codes = [408, 425, 429, 500, 502, 503, 504, 599];
        for code in codes {
            fail(&sandbox, *service, 1, &status(code));
        }
        prepared(&sandbox, &[operation])
            .var("NOTIFY_ATTEMPTS", "20")
            .run()
            .exits(0)
            .says_of(operation, "sent");
        let requests = sent(&sandbox, *service);
        assert_eq!(requests.len(), codes.len() + 1, "{operation}");
        assert!(requests.iter().all(|request| request.method == *method), "{operation}");
        let bodies: Vec<_> = requests.iter().map(|request| request.body.clone()).collect();
        assert!(
            bodies.windows(2).all(|pair| pair[0] == pair[1]),
            "{operation} repeats what it sent"
        );
    }
}

#[test]
fn what_changes_nothing_when_repeated_is_repeated_after_a_broken_connection() {
    at_once(FREE, |(operation, service, _)| {
        for fault in [Fault::Reset, Fault::ProcessThenReset, Fault::Truncate] {
            // A sync that still ran would be waited out.
            let sandbox = ready_with(Options {
                direktiv_sync_takes: Duration::ZERO,
                ..Options::default()
            });
            fail(&sandbox, *service, 1, &fault);
            prepared(&sandbox, &[operation])
                .run()
                .exits(0)
                .says_of(operation, "2 attempts");
            assert_eq!(sent(&sandbox, *service).len(), 2, "{operation} {fault:?}");
        }
    });
}

#[test]
fn what_a_service_refuses_is_sent_once_and_its_words_are_shown() {
    let bodies = [
        (
            "rely",
            Service::Rely,
            r#"{"detail":"entity is locked"}"#,
            "entity is locked",
        ),
        (
            "rely:create",
            Service::Rely,
            r#"{"detail":[{"loc":["body","id"],"msg":"bad id","type":"x"}]}"#,
            "body.id bad id",
        ),
        ("cto", Service::Cto, r#"{"message":"no such team"}"#, "no such team"),
        (
            "aviator",
            Service::Aviator,
            r#"{"error":"Release not found"}"#,
            "Release not found",
        ),
        (
            "aviator:release",
            Service::Aviator,
            r#"{"error":"slug","message":"words"}"#,
            "slug: words",
        ),
        ("aviator:deployment", Service::Aviator, "plain\ntext", "plain text"),
        (
            "aviator:rollback",
            Service::Aviator,
            r#"{"error":"Environment is frozen"}"#,
            "Environment is frozen",
        ),
        (
            "direktiv",
            Service::Direktiv,
            r#"{"error":{"code":"resource_locked","message":"no mirror"}}"#,
            "resource_locked: no mirror",
        ),
        (
            "direktiv:broadcast",
            Service::Direktiv,
            "Error parsing CloudEvent",
            "Error parsing CloudEvent",
        ),
        (
            "direktiv:execute",
            Service::Direktiv,
            r#"{"error":{"code":"request_invalid","message":"bad input"}}"#,
            "request_invalid: bad input",
        ),
        (
            "port",
            Service::Port,
            r#"{"ok":false,"error":"blueprint_schema_mismatch","message":"no such property"}"#,
            "blueprint_schema_mismatch: no such property",
        ),
        (
            "port:delete",
            Service::Port,
            r#"{"ok":false,"error":"has_dependents"}"#,
            "has_dependents",
        ),
        (
            "port:run-create",
            Service::Port,
            r#"{"ok":false,"error":"not_found"}"#,
            "not_found",
        ),
        (
            "port:run-log",
            Service::Port,
            r#"{"ok":false,"error":"run_exhausted"}"#,
            "run_exhausted",
        ),
    ];
    for (operation, service, body, words) in bodies {
        for code in [400, 401, 402, 403, 406, 410, 413, 418, 422] {
            // Port's token is renewed once, and of Direktiv's headers more is said.
            if code == 401 && service == Service::Port || matches!(code, 401 | 403) && service == Service::Direktiv {
                continue;
            }
            let sandbox = ready();
            let fault = Fault::Status {
                code,
                headers: Vec::new(),
                body: body.to_owned(),
            };
            fail(&sandbox, service, 9, &fault);
            prepared(&sandbox, &[operation])
                .run()
                .exits(76)
                .says_of(operation, "rejected")
                .says_of(operation, &format!("answered {code}: {words}"))
                .says(&format!("HTTP {code}"));
            assert_eq!(sent(&sandbox, service).len(), 1, "{operation} {code}");
        }
    }
}

#[test]
fn a_refused_credential_is_named() {
    for (operation, service, variable) in [
        ("rely", Service::Rely, "RELY_API_TOKEN"),
        ("cto", Service::Cto, "CTOAI_EVENTS_API_TOKEN"),
        ("aviator", Service::Aviator, "AVIATOR_API_TOKEN"),
        ("port", Service::Port, "PORT_CLIENT_SECRET"),
        ("direktiv", Service::Direktiv, "DIREKTIV_TOKEN"),
    ] {
        let sandbox = ready();
        prepared(&sandbox, &[operation])
            .var(variable, "a-token-nobody-made")
            .run()
            .exits(76)
            .says_of(operation, variable)
            .hides("a-token-nobody-made");
        assert_eq!(sandbox.requests_to(service).len(), 1);
    }
}

// CTO.ai: an event has no id

#[test]
fn an_event_without_an_id_is_never_sent_again_when_it_may_have_arrived() {
    at_once(
        [
            status(500),
            Fault::Reset,
            Fault::ProcessThenReset,
            Fault::Truncate,
            Fault::Delay(Duration::from_secs(2)),
        ],
        |fault| {
            let sandbox = Sandbox::start();
            sandbox.fail(Service::Cto, 1, fault.clone());
            prepared(&sandbox, &["cto"])
                .var("NOTIFY_ATTEMPT_TIMEOUT", "0.5")
                .run()
                .exits(75)
                .says_of("cto", "it was not sent again");
            assert_eq!(sandbox.requests_to(Service::Cto).len(), 1, "{fault:?}");
        },
    );
}

#[test]
fn an_event_without_an_id_is_sent_again_when_it_can_not_have_arrived() {
    for code in [408, 425, 429, 502, 503, 504] {
        let sandbox = Sandbox::start();
        sandbox.fail(Service::Cto, 2, status(code));
        prepared(&sandbox, &["cto"]).run().exits(0).says_of("cto", "3 attempts");
        assert_eq!(sandbox.requests_to(Service::Cto).len(), 3);
        assert_eq!(cto_events(&sandbox), 1);
    }
}

#[test]
fn attempts_are_as_many_as_notify_attempts_says_and_for_cto_at_most_three() {
    for (given, rely, cto) in [("1", 1, 1), ("2", 2, 2), ("3", 3, 3), ("6", 6, 3), ("", 5, 3)] {
        let sandbox = Sandbox::start();
        sandbox.fail(Service::Rely, 99, status(503));
        sandbox.fail(Service::Cto, 99, status(503));
        prepared(&sandbox, &["rely", "cto"])
            .var("NOTIFY_ATTEMPTS", given)
            .run()
            .exits(75)
            .says_of("rely", &format!("after {rely} attempt"))
            .says_of("cto", &format!("after {cto} attempt"));
        assert_eq!(sandbox.requests_to(Service::Rely).len(), rely);
        assert_eq!(sandbox.requests_to(Service::Cto).len(), cto);
    }
}

// Rely.io: a POST is not repeated

#[test]
fn a_creation_that_may_have_happened_is_healed_by_a_patch() {
    for put_creates in [true, false] {
        let sandbox = Sandbox::start_with(Options {
            rely_put_creates: put_creates,
            ..Options::default()
        });
        sandbox.fail_on(Service::Rely, "POST ", 1, Fault::ProcessThenReset);
        prepared(&sandbox, &["rely:create"]).run().exits(0);
        assert_eq!(methods(&sandbox, Service::Rely), "POST PUT");
        assert!(asked(&sandbox, Service::Rely)[1].ends_with("?patch=true"));
        assert_eq!(entities(&sandbox), 1);
    }
}

#[test]
fn a_creation_that_did_not_happen_is_made_up_for() {
    for (put_creates, expected) in [(true, "POST PUT"), (false, "POST PUT POST")] {
        let sandbox = Sandbox::start_with(Options {
            rely_put_creates: put_creates,
            ..Options::default()
        });
        sandbox.fail_on(Service::Rely, "POST ", 1, Fault::Reset);
        prepared(&sandbox, &["rely:create"]).run().exits(0);
        assert_eq!(methods(&sandbox, Service::Rely), expected);
        assert_eq!(entities(&sandbox), 1);
    }
}

#[test]
fn an_upsert_is_right_however_the_server_treats_put_and_whatever_breaks() {
    at_once([409, 400, 422], |duplicate| {
        let options = Options {
            rely_put_creates: false,
            rely_duplicate: duplicate,
            ..Options::default()
        };
        // The creation's reply is lost.
        let sandbox = Sandbox::start_with(options.clone());
        sandbox.fail_on(Service::Rely, "POST ", 1, Fault::ProcessThenReset);
        prepared(&sandbox, &["rely"]).run().exits(0);
        assert_eq!(methods(&sandbox, Service::Rely), "PUT POST PUT");

        // Another job creates it between the two: PUT answers as if there were none, POST finds it there.
        let sandbox = Sandbox::start_with(options);
        prepared(&sandbox, &["rely"])
            .var("EVENT_ACTION", "started")
            .run()
            .exits(0);
        sandbox.fail_on(
            Service::Rely,
            "PUT ",
            1,
            Fault::Status {
                code: 404,
                headers: Vec::new(),
                body: r#"{"detail":"not found"}"#.to_owned(),
            },
        );
        prepared(&sandbox, &["rely"]).run().exits(0);
        assert_eq!(methods(&sandbox, Service::Rely), "PUT POST PUT POST PUT");
        let state = sandbox.state(Service::Rely);
        let entity = &state["entities"]["acme-shop-8812-production"];
        assert_eq!(entity["properties"]["status"], "SUCCESS", "{state}");
        assert!(
            entity["properties"]["createdAt"].is_string(),
            "the start is kept: {state}"
        );
    });
}

// Aviator Releases: a deployment triggers a workflow, and a late report moves nothing back

#[test]
fn a_deployment_whose_reply_was_lost_is_found_in_the_list_and_triggers_its_workflow_once() {
    at_once(
        [Fault::ProcessThenReset, Fault::Delay(Duration::from_secs(2))],
        |fault| {
            let sandbox = ready();
            sandbox.fail_on(Service::Aviator, "POST ", 1, fault.clone());
            prepared(&sandbox, &["aviator:deployment"])
                .var("NOTIFY_ATTEMPT_TIMEOUT", "0.5")
                .run()
                .exits(0)
                .says_of("aviator:deployment", "found among the deployments");
            assert_eq!(methods(&sandbox, Service::Aviator), "POST GET", "{fault:?}");
            assert_eq!(workflows(&sandbox), 1);
        },
    );
}

#[test]
fn a_deployment_that_was_not_created_is_created_after_all() {
    at_once(
        [
            (Fault::Reset, "POST GET POST"),
            (status(500), "POST GET POST"),
            (status(502), "POST GET POST"),
            (status(429), "POST POST"),
        ],
        |(fault, expected)| {
            let sandbox = ready();
            // One from long ago is not ours.
            sandbox.seed(
                Service::Aviator,
                json!({"environments": {"production": {"deployments": [{
                    "release_candidate_version": CANDIDATE,
                    "status": "success",
                    "deploy_start_at": "2025-03-01T10:00:00.123Z",
                }]}}}),
            );
            sandbox.fail_on(Service::Aviator, "POST ", 1, fault.clone());
            prepared(&sandbox, &["aviator:deployment"]).run().exits(0);
            assert_eq!(methods(&sandbox, Service::Aviator), expected, "{fault:?}");
            assert_eq!(workflows(&sandbox), 1);
        },
    );
}

#[test]
fn a_deployment_is_not_sent_again_when_the_list_does_not_tell() {
    at_once([Fault::status(404), Fault::Html, Fault::NotJson], |list| {
        let sandbox = ready();
        sandbox.fail_on(Service::Aviator, "POST ", 1, Fault::ProcessThenReset);
        sandbox.fail_on(Service::Aviator, "GET ", 9, list.clone());
        prepared(&sandbox, &["aviator:deployment"])
            .run()
            .exits(75)
            .says_of("aviator:deployment", "not sent again");
        assert_eq!(methods(&sandbox, Service::Aviator), "POST GET", "{list:?}");
        assert_eq!(workflows(&sandbox), 1);
    });
}

#[test]
fn a_late_start_does_not_move_a_finished_deployment_back() {
    at_once(
        [("success", "success"), ("failed", "failure"), ("canceled", "canceled")],
        |(end, last)| {
            let sandbox = ready();
            sandbox.fail_on(
                Service::Aviator,
                "PATCH ",
                1,
                Fault::status_with(503, "retry-after", "1"),
            );
            let late = thread::scope(|scope| {
                let late = scope.spawn(|| prepared(&sandbox, &["aviator"]).var("EVENT_ACTION", "started").run());
                wait_until("the first report", || !sandbox.requests_to(Service::Aviator).is_empty());
                prepared(&sandbox, &["aviator"]).var("EVENT_ACTION", end).run().exits(0);
                late.join().expect("it does not panic")
            });
            late.exits(0).says_of("aviator", "skipped").says_of("aviator", last);
            assert_eq!(methods(&sandbox, Service::Aviator), "PATCH PATCH GET");
            assert_eq!(deployed(&sandbox), last);
        },
    );
}

#[test]
fn a_start_is_repeated_while_nothing_has_finished() {
    at_once([status(503), Fault::Reset, Fault::ProcessThenReset], |fault| {
        let sandbox = ready();
        sandbox.fail_on(Service::Aviator, "PATCH ", 2, fault);
        prepared(&sandbox, &["aviator"])
            .var("EVENT_ACTION", "started")
            .run()
            .exits(0)
            .says_of("aviator", "sent");
        assert_eq!(methods(&sandbox, Service::Aviator), "PATCH GET PATCH GET PATCH");
        assert_eq!(deployed(&sandbox), "in_progress");
    });
}

#[test]
fn cutting_a_release_and_rolling_back_are_repeated_only_if_nothing_was_done() {
    let success = |candidate: &str| json!({"release_candidate_version": candidate, "status": "success"});
    let cases = [
        ("aviator:release", status(429), "POST POST", 0),
        ("aviator:release", status(502), "POST POST", 0),
        ("aviator:release", status(503), "POST POST", 0),
        ("aviator:release", status(504), "POST POST", 0),
        ("aviator:release", status(500), "POST", 75),
        ("aviator:release", Fault::ProcessThenReset, "POST", 75),
        ("aviator:rollback", status(429), "POST POST", 0),
        ("aviator:rollback", status(502), "POST", 75),
        ("aviator:rollback", status(500), "POST", 75),
        ("aviator:rollback", Fault::ProcessThenReset, "POST", 75),
        ("aviator:rollback", Fault::Reset, "POST", 75),
    ];
    for (operation, fault, expected, code) in cases {
        let sandbox = Sandbox::start();
        sandbox.seed(
            Service::Aviator,
            json!({"environments": {"production": {"deployments": [success("2-rc1"), success("1-rc1")]}}}),
        );
        sandbox.fail(Service::Aviator, 1, fault.clone());
        prepared(&sandbox, &[operation]).run().exits(code);
        assert_eq!(methods(&sandbox, Service::Aviator), expected, "{operation} {fault:?}");
    }
}

#[test]
fn a_candidate_that_an_earlier_attempt_cut_is_no_failure() {
    let sandbox = Sandbox::start();
    sandbox.fail_on(
        Service::Aviator,
        "POST ",
        1,
        Fault::status_with(503, "retry-after", "1"),
    );
    let ran = thread::scope(|scope| {
        let ran = scope.spawn(|| prepared(&sandbox, &["aviator:release"]).run());
        wait_until("the first attempt", || {
            !sandbox.requests_to(Service::Aviator).is_empty()
        });
        // The gateway gave up on a request that Aviator carried out.
        sandbox.seed(
            Service::Aviator,
            json!({"releases": {NEW_CANDIDATE: {"repo": "acme/shop", "commit": "9f2c1e7d0b"}}}),
        );
        ran.join().expect("it does not panic")
    });
    ran.exits(0).says_of("aviator:release", "an earlier attempt had cut it");
    // One that was there before is said to be.
    prepared(&sandbox, &["aviator:release"])
        .run()
        .exits(76)
        .says_of("aviator:release", "already exists");
}

// Port: a token for the run, and runs that must not start twice

fn logins(sandbox: &Sandbox) -> usize {
    let requests = sandbox.requests_to(Service::Port);
    requests.iter().filter(|request| request.path == LOGIN).count()
}

fn paths(sandbox: &Sandbox) -> Vec<String> {
    let requests = sent(sandbox, Service::Port);
    requests.into_iter().map(|request| request.path).collect()
}

#[test]
fn one_token_serves_a_whole_run() {
    let sandbox = ready();
    let operations = ["port", "port:patch", "port:get", "port:run-log", "port:run-update"];
    prepared(&sandbox, &operations)
        .var("PORT_RUN_LOG", "a line")
        .run()
        .exits(0);
    assert_eq!(logins(&sandbox), 1);
    assert_eq!(sent(&sandbox, Service::Port).len(), 6, "run-update logs too");
}

#[test]
fn a_token_that_expires_is_renewed_once() {
    // It expires between two operations of the run.
    let expiring = |uses| Options {
        port_tokens_expire_after: Some(uses),
        ..Options::default()
    };
    let sandbox = ready_with(expiring(2));
    prepared(&sandbox, &["port", "port:patch", "port:get"]).run().exits(0);
    assert_eq!(logins(&sandbox), 2);
    assert_eq!(methods(&sandbox, Service::Port), "POST POST PATCH GET POST GET");

    // It is never good for anything.
    let sandbox = ready_with(expiring(0));
    prepared(&sandbox, &["port"])
        .run()
        .exits(76)
        .says_of("port", "rejected");
    assert_eq!(logins(&sandbox), 2);
    assert_eq!(sent(&sandbox, Service::Port).len(), 2);
}

#[test]
fn nothing_is_sent_without_a_token() {
    for (fault, code, attempts) in [
        (Fault::status(401), 76, 1),
        (Fault::status(404), 76, 1),
        (Fault::Html, 76, 1),
        (Fault::NotJson, 76, 1),
        (Fault::Oversize(2 << 20), 76, 1),
        (status(503), 75, 3),
    ] {
        let sandbox = ready();
        sandbox.fail_on(Service::Port, LOGIN, 99, fault.clone());
        prepared(&sandbox, &["port"])
            .var("NOTIFY_ATTEMPTS", "3")
            .run()
            .exits(code);
        assert_eq!(logins(&sandbox), attempts, "{fault:?}");
        assert_eq!(sent(&sandbox, Service::Port).len(), 0, "{fault:?}");
    }
}

#[test]
fn a_login_is_repeated_after_every_passing_failure() {
    for fault in [
        status(429),
        status(500),
        Fault::Reset,
        Fault::ProcessThenReset,
        Fault::Truncate,
    ] {
        let sandbox = ready();
        sandbox.fail_on(Service::Port, LOGIN, 1, fault);
        prepared(&sandbox, &["port"]).run().exits(0);
        assert_eq!(logins(&sandbox), 2);
        assert_eq!(sent(&sandbox, Service::Port).len(), 1);
    }
}

#[test]
fn ports_own_header_says_when_its_limit_ends() {
    let epoch = |seconds: u64| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        (now.expect("after 1970").as_secs() + seconds).to_string()
    };
    // Seconds to wait, or the time itself in whole seconds.
    at_once([(false, 2000), (true, 1900)], |(is_epoch, least)| {
        let sandbox = ready();
        let value = if is_epoch { epoch(3) } else { "2".to_owned() };
        let limited = Fault::status_with(429, "x-ratelimit-reset", &value);
        fail(&sandbox, Service::Port, 1, &limited);
        prepared(&sandbox, &["port"])
            .run()
            .exits(0)
            .says_of("port", "2 attempts")
            .takes_at_least(Duration::from_millis(least));
    });
    let sandbox = ready();
    let far = Fault::status_with(429, "x-ratelimit-reset", &epoch(300));
    fail(&sandbox, Service::Port, 1, &far);
    prepared(&sandbox, &["port:get"])
        .run()
        .exits(75)
        .says_of("port:get", "NOTIFY_TIMEOUT")
        .ends_within(Duration::from_secs(3));
    assert_eq!(sent(&sandbox, Service::Port).len(), 1);

    // `Retry-After` says it better, and elsewhere the header means nothing.
    let both = Fault::Status {
        code: 429,
        headers: vec![
            ("retry-after".to_owned(), "0".to_owned()),
            ("x-ratelimit-reset".to_owned(), "300".to_owned()),
        ],
        body: String::new(),
    };
    let sandbox = ready();
    fail(&sandbox, Service::Port, 1, &both);
    sandbox.fail(Service::Rely, 1, far);
    prepared(&sandbox, &["port", "rely"]).run().exits(0);
}

#[test]
fn a_creation_at_port_that_may_have_happened_is_no_failure() {
    let sandbox = ready();
    fail(&sandbox, Service::Port, 1, &Fault::ProcessThenReset);
    prepared(&sandbox, &["port:create"])
        .run()
        .exits(0)
        .says_of("port:create", "an earlier attempt got through");
    assert_eq!(methods(&sandbox, Service::Port), "POST POST POST");
    // One that was there before is a failure.
    prepared(&sandbox, &["port:create"])
        .run()
        .exits(76)
        .says_of("port:create", "identifier_taken");
}

#[test]
fn a_deletion_that_may_have_happened_is_no_failure() {
    let sandbox = ready();
    fail(&sandbox, Service::Port, 1, &Fault::ProcessThenReset);
    prepared(&sandbox, &["port:delete"])
        .run()
        .exits(0)
        .says_of("port:delete", "sent")
        .says_of("port:delete", "an earlier attempt got through");
    prepared(&sandbox, &["port:delete"])
        .run()
        .exits(0)
        .says_of("port:delete", "skipped");
}

/// What must not happen twice, and nothing tells whether it happened.
const ONCE: &[(&str, Service, &str)] = &[
    ("port:run-create", Service::Port, "/v1/actions"),
    ("port:run-log", Service::Port, "/v1/actions"),
    ("direktiv:execute", Service::Direktiv, "/instances"),
];

#[test]
fn a_workflow_or_an_action_is_never_started_twice_nor_logged_twice() {
    at_once(ONCE, |(operation, service, on)| {
        for fault in [
            status(500),
            status(502),
            status(503),
            Fault::Reset,
            Fault::ProcessThenReset,
            Fault::Truncate,
            Fault::Delay(Duration::from_secs(2)),
        ] {
            let sandbox = ready();
            sandbox.fail_on(*service, on, 1, fault.clone());
            prepared(&sandbox, &[operation])
                .var("NOTIFY_ATTEMPT_TIMEOUT", "0.5")
                .run()
                .exits(75)
                .says_of(operation, "not sent again");
            assert_eq!(sent(&sandbox, *service).len(), 1, "{operation} {fault:?}");
        }
        let sandbox = ready();
        sandbox.fail_on(*service, on, 1, status(429));
        prepared(&sandbox, &[operation]).run().exits(0);
        assert_eq!(sent(&sandbox, *service).len(), 2, "{operation}");
    });
}

#[test]
fn a_run_is_ended_after_its_log_and_only_once() {
    let sandbox = ready();
    sandbox.fail_on(Service::Port, "PATCH ", 1, Fault::ProcessThenReset);
    prepared(&sandbox, &["port:run-update"])
        .var("PORT_RUN_LOG", "a line")
        .run()
        .exits(0)
        .says_of("port:run-update", "an earlier attempt got through");
    let update = "/v1/actions/runs/r_1";
    let log = format!("{update}/logs");
    assert_eq!(paths(&sandbox), [log.as_str(), update, update]);

    // Without its log the update is not sent.
    let sandbox = ready();
    sandbox.fail_on(Service::Port, "/logs", 1, Fault::status(500));
    prepared(&sandbox, &["port:run-update"])
        .var("PORT_RUN_LOG", "a line")
        .run()
        .exits(75);
    assert_eq!(paths(&sandbox), [log]);
}

#[test]
fn what_port_calls_a_failed_request_is_shown() {
    let sandbox = Sandbox::start();
    let ran = prepared(&sandbox, &["port:patch"]).run().exits(76);
    let id = ran.stderr.split_once("request id ").map(|(_, rest)| rest.len());
    assert!(id.is_some_and(|length| length > 36), "{}", ran.stderr);
}

// Direktiv: a sync that runs already may have begun too early

fn syncs(sandbox: &Sandbox) -> Vec<String> {
    let state = sandbox.state(Service::Direktiv);
    let syncs = state["namespaces"]["demo"]["syncs"].as_array().expect("a list");
    let statuses = syncs.iter().filter_map(|sync| sync["status"].as_str());
    statuses.map(str::to_owned).collect()
}

fn busy(version: DirektivVersion) -> Sandbox {
    let sandbox = ready_with(Options {
        direktiv_version: version,
        direktiv_sync_takes: Duration::from_secs(1),
        ..Options::default()
    });
    prepared(&sandbox, &["direktiv"]).run().exits(0);
    sandbox
}

#[test]
fn a_sync_that_runs_already_is_waited_out_on_the_new_api() {
    let sandbox = busy(DirektivVersion::V0_10);
    prepared(&sandbox, &["direktiv"])
        .run()
        .exits(0)
        .says_of("direktiv", "2 attempts");
    assert_eq!(syncs(&sandbox).len(), 2);
}

#[test]
fn a_sync_that_runs_already_is_waited_out_on_the_old_api() {
    let sandbox = busy(DirektivVersion::V0_7);
    prepared(&sandbox, &["direktiv"])
        .var("DIREKTIV_WAIT", "true")
        .run()
        .exits(0)
        .says_of("direktiv", "sent");
    assert_eq!(syncs(&sandbox), ["complete", "complete"]);
}

#[test]
fn a_sync_that_is_waited_for_reports_how_it_ended() {
    at_once(
        [DirektivVersion::V0_7, DirektivVersion::V0_8_5, DirektivVersion::V0_10],
        |version| {
            let failing = ready_with(Options {
                direktiv_version: version,
                direktiv_sync_fails: Some("could not clone: 'main' is gone".to_owned()),
                ..Options::default()
            });
            // Without waiting, what is accepted is sent.
            prepared(&failing, &["direktiv"]).run().exits(0);
            wait_until("the end of the sync", || syncs(&failing) == ["failed"]);
            prepared(&failing, &["direktiv"])
                .var("DIREKTIV_WAIT", "true")
                .run()
                .exits(76)
                .says_of("direktiv", "could not clone: 'main' is gone");
        },
    );
    let endless = ready_with(Options {
        direktiv_sync_takes: Duration::from_mins(1),
        ..Options::default()
    });
    prepared(&endless, &["direktiv"])
        .var("DIREKTIV_WAIT", "true")
        .var("NOTIFY_TIMEOUT", "2")
        .run()
        .exits(75)
        .says_of("direktiv", "the sync")
        .ends_within(Duration::from_secs(4));
}

#[test]
fn a_workflow_that_is_waited_for_reports_how_it_ended() {
    for version in [DirektivVersion::V0_7, DirektivVersion::V0_10] {
        let sandbox = ready_with(Options {
            direktiv_version: version,
            ..Options::default()
        });
        let ran = prepared(&sandbox, &["direktiv:execute"])
            .var("DIREKTIV_WAIT", "true")
            .run()
            .exits(0);
        assert_eq!(ran.json(), json!({"deployed": true, "replicas": 3}));

        let failing = ready_with(Options {
            direktiv_version: version,
            direktiv_workflow_fails: Some(("shop.down".to_owned(), "the shop is down".to_owned())),
            ..Options::default()
        });
        prepared(&failing, &["direktiv:execute"])
            .var("DIREKTIV_WAIT", "true")
            .run()
            .exits(76)
            .says_of("direktiv:execute", "shop.down")
            .says_of("direktiv:execute", "the shop is down");
    }
}

#[test]
fn an_event_is_broadcast_once_however_often_it_is_reported() {
    let sandbox = ready();
    prepared(&sandbox, &["direktiv:broadcast"]).run().exits(0);
    prepared(&sandbox, &["direktiv:broadcast"])
        .run()
        .exits(0)
        .says_of("direktiv:broadcast", "skipped");
    prepared(&sandbox, &["direktiv:broadcast"])
        .var("EVENT_ACTION", "failure")
        .run()
        .exits(0)
        .says_of("direktiv:broadcast", "sent");
    let state = sandbox.state(Service::Direktiv);
    assert_eq!(state["namespaces"]["demo"]["events"].as_array().map(Vec::len), Some(2));
}

// Waiting

/// A date as HTTP writes it, so many seconds from now.
fn in_seconds(seconds: u64) -> String {
    httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(seconds))
}

#[test]
fn a_service_that_says_when_to_come_back_is_waited_for() {
    // Dates have whole seconds: one in three seconds is more than two away.
    let forms: [(fn() -> String, u64); 2] = [(|| "2".to_owned(), 2000), (|| in_seconds(3), 1900)];
    at_once(forms, |(value, least)| {
        let sandbox = Sandbox::start();
        sandbox.fail(Service::Rely, 1, Fault::status_with(429, "retry-after", &value()));
        prepared(&sandbox, &["rely"])
            .run()
            .exits(0)
            .says_of("rely", "2 attempts")
            .takes_at_least(Duration::from_millis(least));
        assert_eq!(sandbox.requests_to(Service::Rely).len(), 2);
    });
    // A date that has passed asks for no pause: four of our own would take seconds.
    let sandbox = Sandbox::start();
    let passed = "Sat, 01 Mar 2025 10:07:41 GMT";
    sandbox.fail(Service::Rely, 4, Fault::status_with(503, "retry-after", passed));
    prepared(&sandbox, &["rely"])
        .run()
        .exits(0)
        .says_of("rely", "5 attempts")
        .ends_within(Duration::from_secs(1));
}

#[test]
fn a_pause_longer_than_the_budget_ends_at_once() {
    for value in ["3600".to_owned(), in_seconds(3600)] {
        for (operation, service) in [
            ("rely", Service::Rely),
            ("cto", Service::Cto),
            ("aviator", Service::Aviator),
            ("port", Service::Port),
            ("direktiv", Service::Direktiv),
            ("direktiv:execute", Service::Direktiv),
        ] {
            let sandbox = ready();
            sandbox.fail(service, 9, Fault::status_with(429, "retry-after", &value));
            prepared(&sandbox, &[operation])
                .run()
                .exits(75)
                .says_of(operation, "unavailable")
                .says_of(operation, "NOTIFY_TIMEOUT")
                .ends_within(Duration::from_secs(3));
            assert_eq!(sandbox.requests_to(service).len(), 1);
        }
    }
}

#[test]
fn pauses_of_our_own_grow_but_the_first_is_short() {
    let sandbox = Sandbox::start();
    sandbox.fail(Service::Rely, 1, Fault::status(503));
    prepared(&sandbox, &["rely"])
        .run()
        .exits(0)
        .ends_within(Duration::from_secs(2));
}

#[test]
fn the_whole_run_ends_when_its_time_is_over() {
    let sandbox = ready();
    for service in [Service::Rely, Service::Cto, Service::Aviator] {
        sandbox.fail(service, 99, Fault::Hang);
    }
    let destinations = ["rely", "cto", "aviator:release", "aviator:status"];
    prepared(&sandbox, &destinations)
        .var("NOTIFY_TIMEOUT", "1.5")
        .var("NOTIFY_ATTEMPT_TIMEOUT", "10")
        .run()
        .exits(75)
        .says_of("rely", "unavailable")
        .says_of("cto", "unavailable")
        .says_of("aviator:release", "unavailable")
        .says_of("aviator", "unavailable")
        .takes_at_least(Duration::from_millis(1400))
        .ends_within(Duration::from_secs(4));
    assert_eq!(
        methods(&sandbox, Service::Aviator),
        "POST",
        "no time is left for the second"
    );
}

#[test]
fn pauses_count_against_the_time_of_the_run() {
    let sandbox = Sandbox::start();
    sandbox.fail(Service::Rely, 99, Fault::status_with(503, "retry-after", "1"));
    prepared(&sandbox, &["rely"])
        .var("NOTIFY_TIMEOUT", "2.5")
        .var("NOTIFY_ATTEMPTS", "99")
        .run()
        .exits(75)
        .ends_within(Duration::from_secs(4));
    assert_eq!(sandbox.requests_to(Service::Rely).len(), 3);
}

#[test]
fn one_attempt_ends_when_its_time_is_over_and_the_next_may_succeed() {
    let sandbox = Sandbox::start();
    sandbox.fail(Service::Rely, 1, Fault::Hang);
    prepared(&sandbox, &["rely"])
        .var("NOTIFY_ATTEMPT_TIMEOUT", "0.5")
        .run()
        .exits(0)
        .says_of("rely", "2 attempts")
        .ends_within(Duration::from_secs(4));
}

// The way there

/// An address at which nobody listens.
fn dead() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("a listener has an address");
    format!("http://{address}")
}

#[test]
fn a_dead_server_is_tried_again_and_then_unavailable() {
    let dead = dead();
    let host = dead.trim_start_matches("http://");
    at_once(
        [
            ("rely", "RELY_API_URL"),
            ("rely:create", "RELY_API_URL"),
            ("cto", "CTOAI_API_URL"),
            ("aviator:deployment", "AVIATOR_API_URL"),
            ("aviator:rollback", "AVIATOR_API_URL"),
        ],
        |(operation, variable)| {
            let sandbox = Sandbox::start();
            prepared(&sandbox, &[operation])
                .var(variable, &dead)
                .var("NOTIFY_ATTEMPTS", "2")
                .run()
                .exits(75)
                .says_of(operation, &format!("no connection to {host}"))
                .says_of(operation, "after 2 attempts");
        },
    );
}

#[test]
fn a_name_that_does_not_exist_is_unavailable_and_shown() {
    prepared(&Sandbox::start(), &["rely"])
        .var("RELY_API_URL", "https://rely.invalid")
        .var("NOTIFY_ATTEMPTS", "1")
        .run()
        .exits(75)
        .says_of("rely", "rely.invalid")
        .says_of("rely", "can't be resolved");
}

/// How many bytes of a reply are read.
fn limit(operation: &str) -> usize {
    if ["get", "search", "list"].iter().any(|read| operation.ends_with(read)) {
        16 << 20
    } else {
        1 << 20
    }
}

#[test]
fn a_success_that_does_not_look_like_one_is_none() {
    for (operation, service) in OPERATIONS {
        for (fault, words) in [
            (Fault::Html, "an HTML page"),
            (Fault::NotJson, "something that is not JSON"),
            (Fault::Oversize(limit(operation) + 1), "more than the"),
        ] {
            let sandbox = ready();
            fail(&sandbox, *service, 9, &fault);
            prepared(&sandbox, &[operation])
                .run()
                .exits(76)
                .says_of(operation, "rejected")
                .says_of(operation, words);
            assert_eq!(sent(&sandbox, *service).len(), 1, "{operation}");
        }
    }
}

#[test]
fn a_long_reply_is_read_where_one_is_asked_for_and_nowhere_else() {
    let sandbox = Sandbox::start();
    sandbox.fail(Service::Rely, 2, Fault::Oversize(2 << 20));
    let ran = prepared(&sandbox, &["rely:get"]).run().exits(0);
    assert!(
        ran.json()["padding"]
            .as_str()
            .is_some_and(|text| text.len() > 2_000_000)
    );
    prepared(&sandbox, &["rely"]).run().exits(76);
}

#[test]
fn a_redirect_is_shown_and_not_followed() {
    let elsewhere = Sandbox::start();
    for (operation, service) in OPERATIONS {
        let sandbox = ready();
        let location = format!("{}/login?token=abc#x", elsewhere.url(*service));
        fail(&sandbox, *service, 9, &Fault::Redirect(location));
        prepared(&sandbox, &[operation])
            .run()
            .exits(76)
            .says_of(operation, "answered 307")
            .says_of(operation, &format!("{}/login;", elsewhere.url(*service)))
            .hides("token=abc");
        assert_eq!(sent(&sandbox, *service).len(), 1, "{operation}");
    }
    assert_eq!(elsewhere.requests().len(), 0);
}

// Several at once

#[test]
fn a_failing_destination_does_not_stop_the_others() {
    at_once(
        [
            Fault::Hang,
            Fault::Reset,
            Fault::status(500),
            Fault::Html,
            Fault::Oversize(99 << 20),
        ],
        |fault| {
            for broken in [Service::Rely, Service::Cto, Service::Aviator] {
                let sandbox = ready();
                sandbox.fail(broken, 99, fault.clone());
                let ran = prepared(&sandbox, &["rely", "cto", "aviator"])
                    .var("NOTIFY_TIMEOUT", "2")
                    .var("NOTIFY_ATTEMPT_TIMEOUT", "0.5")
                    .var("NOTIFY_ATTEMPTS", "1")
                    .run();
                assert_ne!(ran.code, 0);
                for service in [Service::Rely, Service::Cto, Service::Aviator] {
                    let class = if service == broken {
                        ["unavailable", "rejected"]
                    } else {
                        ["sent"; 2]
                    };
                    let line = format!("  {:<18} ", service.name());
                    let end = ran.stderr.lines().find_map(|said| said.strip_prefix(&line));
                    let end = end.unwrap_or_else(|| panic!("{} is not reported in {}", service.name(), ran.stderr));
                    assert!(class.iter().any(|class| end.starts_with(class)), "{}", ran.stderr);
                }
            }
        },
    );
}

#[test]
fn operations_on_one_service_go_in_the_order_they_are_named() {
    let sandbox = Sandbox::start();
    sandbox.fail(Service::Aviator, 1, Fault::Delay(Duration::from_millis(300)));
    prepared(
        &sandbox,
        &["aviator:release", "cto", "aviator:deployment", "aviator:status"],
    )
    .run()
    .exits(0);
    assert_eq!(methods(&sandbox, Service::Aviator), "POST POST PATCH");
    let paths: Vec<String> = sandbox
        .requests_to(Service::Aviator)
        .into_iter()
        .map(|request| request.path)
        .collect();
    assert!(paths[0].ends_with("/releases/1.4.0-rc2"), "{paths:?}");
    assert!(paths[1].ends_with("/environments/production/deployments"), "{paths:?}");
    assert_eq!(deployed(&sandbox), "success");
}

#[test]
fn services_are_reported_to_at_the_same_time() {
    let sandbox = ready();
    for service in [Service::Rely, Service::Cto, Service::Aviator] {
        sandbox.fail(service, 1, Fault::Delay(Duration::from_secs(1)));
    }
    prepared(&sandbox, &["rely", "cto", "aviator"])
        .run()
        .exits(0)
        .takes_at_least(Duration::from_secs(1))
        .ends_within(Duration::from_millis(1900));
}

#[test]
fn a_destination_named_twice_is_sent_to_once() {
    let sandbox = Sandbox::start();
    prepared(&sandbox, &["cto", "cto:event", "cto?"]).run().exits(0);
    prepared(&sandbox, &[])
        .var("NOTIFY_DESTINATIONS", "cto, cto:event,cto")
        .run()
        .exits(0);
    assert_eq!(cto_events(&sandbox), 2);
}

#[test]
fn a_second_run_after_a_failure_reports_the_same_entity() {
    let sandbox = Sandbox::start();
    let retried = |job: &str| -> Ran {
        prepared(&sandbox, &["rely"])
            .var("CI_JOB_ID", job)
            .var("NOTIFY_ATTEMPTS", "1")
            .run()
    };
    sandbox.fail(Service::Rely, 1, Fault::ProcessThenReset);
    retried("1").exits(75);
    retried("2").exits(0);
    assert_eq!(entities(&sandbox), 1);
}
