//! What is sent again after a failure, and what never is: nothing that a service counts may happen twice.

use std::thread;
use std::time::Duration;

use sandbox::{Fault, Options, Sandbox, Service};
use serde_json::json;

use crate::support::{
    asked, at_once,
    faults::{fail, reply, status},
    held::{cto_events, deployed, direktiv_namespace, rely_entities, rely_production, workflows},
    methods,
    operations::{CANDIDATE, LOGIN, NEW_CANDIDATE, prepared, ready, ready_with, sent},
    wait_until,
};

// What may be repeated

/// Every operation that can be repeated whatever happened, and the methods of its requests.
const FREE: &[(&str, Service, &str)] = &[
    ("rely", Service::Rely, "PUT"),
    ("rely:replace", Service::Rely, "PUT"),
    ("rely:patch", Service::Rely, "PUT"),
    ("rely:get", Service::Rely, "GET"),
    ("direktiv", Service::Direktiv, "POST"),
    ("direktiv:sync", Service::Direktiv, "POST"),
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
    ("webhook", Service::Webhook, "POST"),
    ("cdevents", Service::CdEvents, "POST"),
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
        assert_eq!(cto_events(&sandbox).len(), 1);
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
        assert_eq!(rely_entities(&sandbox), 1);
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
        assert_eq!(rely_entities(&sandbox), 1);
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
        let missing = reply(404, &[], r#"{"detail":"not found"}"#);
        sandbox.fail_on(Service::Rely, "PUT ", 1, missing);
        prepared(&sandbox, &["rely"]).run().exits(0);
        assert_eq!(methods(&sandbox, Service::Rely), "PUT POST PUT POST PUT");
        let entity = rely_production(&sandbox);
        assert_eq!(entity["properties"]["status"], "SUCCESS", "{entity}");
        assert!(
            entity["properties"]["createdAt"].is_string(),
            "the start is kept: {entity}"
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

// Direktiv: an event has an id

#[test]
fn an_event_is_broadcast_once_however_often_it_is_reported() {
    let sandbox = ready();
    prepared(&sandbox, &["direktiv"]).run().exits(0);
    prepared(&sandbox, &["direktiv"])
        .run()
        .exits(0)
        .says_of("direktiv", "skipped");
    prepared(&sandbox, &["direktiv"])
        .var("EVENT_ACTION", "failure")
        .run()
        .exits(0)
        .says_of("direktiv", "sent");
    assert_eq!(direktiv_namespace(&sandbox)["events"].as_array().map(Vec::len), Some(2));
}
