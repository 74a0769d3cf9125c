//! What became of an event, by class and exit code: how the job ends, in whose words, and what counts as a reply.

use sandbox::{Fault, Sandbox, Service};

use crate::support::{
    faults::{fail, reply, status},
    held::cto_events,
    operations::{OPERATIONS, prepared, ready, sent, service_of},
    secrets::credentials,
};

// Classes, exit codes and policies

/// Class, fault, variables, exit code under `warn`, and words that are said.
type Case<'a> = (&'a str, Option<Fault>, &'a [(&'a str, &'a str)], i32, &'a str);

#[test]
fn each_class_exits_as_the_policy_says() {
    let unavailable = || status(503);
    let rejected = || reply(400, &[], r#"{"detail":"the vendor's own words"}"#);
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
            assert_eq!(cto_events(&sandbox).len(), 1);
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

// What a service refuses

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
            "direktiv:sync",
            Service::Direktiv,
            r#"{"error":{"code":"resource_locked","message":"no mirror"}}"#,
            "resource_locked: no mirror",
        ),
        (
            "direktiv",
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
            "cdevents",
            Service::CdEvents,
            r#"{"error":"no such trigger"}"#,
            "no such trigger",
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
            fail(&sandbox, service, 9, &reply(code, &[], body));
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
    // A webhook's have a form, without which they are misconfigured (see `webhook`).
    for credential in credentials().into_iter().filter(|one| one.destination != "webhook") {
        let (destination, variable) = (credential.destination, credential.variable);
        let sandbox = ready();
        prepared(&sandbox, &[destination])
            .var(variable, "a-token-nobody-made")
            .run()
            .exits(76)
            .says_of(destination, variable)
            .hides("a-token-nobody-made");
        assert_eq!(sandbox.requests_to(service_of(destination)).len(), 1, "{variable}");
    }
}

#[test]
fn what_port_calls_a_failed_request_is_shown() {
    let sandbox = Sandbox::start();
    let ran = prepared(&sandbox, &["port:patch"]).run().exits(76);
    let id = ran.stderr.split_once("request id ").map(|(_, rest)| rest.len());
    assert!(id.is_some_and(|length| length > 36), "{}", ran.stderr);
}

// Replies that are none

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
    for (operation, service) in OPERATIONS.iter() {
        for (fault, words) in [
            (Fault::Html, "an HTML page"),
            (Fault::NotJson, "something that is not JSON"),
            (Fault::Oversize(limit(operation) + 1), "more than the"),
        ] {
            // A webhook and a broker may answer with anything but a page.
            if matches!(*operation, "webhook" | "cdevents") && fault == Fault::NotJson {
                continue;
            }
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
    let long = format!(
        r#"{{"id":"acme-shop-8812-production","description":"{}"}}"#,
        "x".repeat(2 << 20)
    );
    sandbox.fail(Service::Rely, 2, reply(200, &[], &long));
    let ran = prepared(&sandbox, &["rely:get"]).run().exits(0);
    assert!(
        ran.json()["description"]
            .as_str()
            .is_some_and(|text| text.len() > 2_000_000)
    );
    prepared(&sandbox, &["rely"]).run().exits(76);
}

#[test]
fn a_redirect_is_shown_and_not_followed() {
    let elsewhere = Sandbox::start();
    for (operation, service) in OPERATIONS.iter() {
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
