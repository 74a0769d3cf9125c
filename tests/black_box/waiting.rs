//! What is waited for, and how long: pauses that a service asks for and our own, the limits of an attempt and of the
//! run, and the ends of syncs and workflows.

use std::time::{Duration, SystemTime};

use sandbox::{DirektivVersion, Fault, Options, Sandbox, Service};
use serde_json::json;

use crate::support::{
    at_once,
    faults::{fail, reply},
    folder,
    held::direktiv_namespace,
    json_of, methods,
    operations::{prepared, ready, ready_with, sent},
    wait_until,
};

// Pauses and limits

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
            ("direktiv:sync", Service::Direktiv),
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
    let both = reply(429, &[("retry-after", "0"), ("x-ratelimit-reset", "300")], "");
    let sandbox = ready();
    fail(&sandbox, Service::Port, 1, &both);
    sandbox.fail(Service::Rely, 1, far);
    prepared(&sandbox, &["port", "rely"]).run().exits(0);
}

// Direktiv: a sync that runs already may have begun too early

fn syncs(sandbox: &Sandbox) -> Vec<String> {
    let namespace = direktiv_namespace(sandbox);
    let syncs = namespace["syncs"].as_array().expect("a list");
    let statuses = syncs.iter().filter_map(|sync| sync["status"].as_str());
    statuses.map(str::to_owned).collect()
}

#[test]
fn a_sync_that_runs_already_is_waited_out_and_run_again() {
    at_once([DirektivVersion::V0_7, DirektivVersion::V0_10], |version| {
        let sandbox = ready_with(Options {
            direktiv_version: version,
            direktiv_sync_takes: Duration::from_secs(1),
            ..Options::default()
        });
        prepared(&sandbox, &["direktiv:sync"]).run().exits(0);
        prepared(&sandbox, &["direktiv:sync"])
            .var("DIREKTIV_WAIT", "true")
            .run()
            .exits(0)
            .says_of("direktiv:sync", "sent");
        assert_eq!(syncs(&sandbox), ["complete", "complete"]);
    });
}

#[test]
fn a_sync_that_is_waited_for_reports_how_it_ended() {
    at_once(
        [
            DirektivVersion::V0_7,
            DirektivVersion::V0_8_4,
            DirektivVersion::V0_8_5,
            DirektivVersion::V0_10,
        ],
        |version| {
            let failing = ready_with(Options {
                direktiv_version: version,
                direktiv_sync_fails: Some("could not clone: 'main' is gone".to_owned()),
                ..Options::default()
            });
            // Without waiting, what is accepted is sent.
            prepared(&failing, &["direktiv:sync"]).run().exits(0);
            wait_until("the end of the sync", || syncs(&failing) == ["failed"]);
            prepared(&failing, &["direktiv:sync"])
                .var("DIREKTIV_WAIT", "true")
                .run()
                .exits(76)
                .says_of(
                    "direktiv:sync",
                    match version {
                        DirektivVersion::V0_8_4 => "shows no logs of syncs by API v1",
                        DirektivVersion::V0_10 => "mirror processing failed: could not clone: 'main' is gone",
                        _ => "could not clone: 'main' is gone",
                    },
                );
        },
    );
    let endless = ready_with(Options {
        direktiv_sync_takes: Duration::from_mins(1),
        ..Options::default()
    });
    prepared(&endless, &["direktiv:sync"])
        .var("DIREKTIV_WAIT", "true")
        .var("NOTIFY_TIMEOUT", "2")
        .run()
        .exits(75)
        .says_of("direktiv:sync", "the sync")
        .ends_within(Duration::from_secs(4));
}

#[test]
fn a_broadcast_that_a_server_has_is_skipped_by_whatever_words_it_says_so() {
    for version in [DirektivVersion::V0_6, DirektivVersion::V0_7, DirektivVersion::V0_10] {
        let sandbox = ready_with(Options {
            direktiv_version: version,
            ..Options::default()
        });
        prepared(&sandbox, &["direktiv"]).run().exits(0);
        prepared(&sandbox, &["direktiv"])
            .run()
            .exits(0)
            .says_of("direktiv", "the namespace already received");
        // Another source's event of the same id is another one.
        prepared(&sandbox, &["direktiv"])
            .var(
                "CI_PIPELINE_URL",
                "https://other.example.com/acme/shop/-/pipelines/8812",
            )
            .run()
            .exits(0)
            .says_of("direktiv", "sent");
        assert_eq!(direktiv_namespace(&sandbox)["events"].as_array().map(Vec::len), Some(2));
    }
}

#[test]
fn a_workflow_that_is_waited_for_reports_how_it_ended() {
    for version in [&DirektivVersion::RELEASED[..], &[DirektivVersion::Head]].concat() {
        let sandbox = ready_with(Options {
            direktiv_version: version,
            ..Options::default()
        });
        let folder = folder("direktiv-workflow");
        let ran = prepared(&sandbox, &["direktiv:execute"])
            .var("DIREKTIV_WAIT", "true")
            .var("NOTIFY_OUTPUT_DIR", &folder)
            .run()
            .exits(0);
        assert_eq!(ran.json(), json!({"deployed": true, "replicas": 3}));
        // The instance is named wherever the server names it: the oldest doesn't.
        let named = &json_of(&folder.join("receipt.json"))["destinations"][0]["identifier"];
        let instance = &direktiv_namespace(&sandbox)["instances"][0]["id"];
        assert_eq!(
            named == instance,
            version != DirektivVersion::V0_6,
            "{named} {instance}"
        );

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
