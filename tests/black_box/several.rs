//! Several destinations in one run: at the same time, each whatever becomes of the others, in order on one service.

use std::time::Duration;

use sandbox::{Fault, Sandbox, Service};

use crate::support::{
    Ran, Run, at_once,
    faults::status,
    folder,
    held::{cto_events, deployed, rely_entities},
    methods,
    operations::{prepared, ready},
};

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
    assert_eq!(cto_events(&sandbox).len(), 2);
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
    assert_eq!(rely_entities(&sandbox), 1);
}

/// A job in which rely hangs and cto does not, with time for one attempt.
fn beside_one_that_hangs(arguments: &[&str], sandbox: &Sandbox) -> Run {
    sandbox.fail(Service::Rely, 99, Fault::Hang);
    prepared(sandbox, arguments)
        .var("NOTIFY_TIMEOUT", "2")
        .var("NOTIFY_ATTEMPT_TIMEOUT", "2")
        .var("NOTIFY_ATTEMPTS", "1")
}

#[test]
fn a_check_and_a_replay_go_side_by_side_too() {
    let sandbox = ready();
    beside_one_that_hangs(&["check", "rely", "cto", "aviator"], &sandbox)
        .run()
        .exits(75)
        .says_of("rely", "unavailable")
        .says_of("cto", "ok")
        .says_of("aviator", "ok");

    let folder = folder("side-by-side");
    let sandbox = ready();
    for service in [Service::Rely, Service::Cto] {
        sandbox.fail(service, 9, status(503));
    }
    prepared(&sandbox, &["rely", "cto"])
        .var("NOTIFY_OUTPUT_DIR", &folder)
        .var("NOTIFY_ATTEMPTS", "1")
        .run()
        .exits(75);
    let kept = folder.join("undelivered");
    let healed = ready();
    beside_one_that_hangs(&["replay", kept.to_str().unwrap()], &healed)
        .run()
        .exits(75)
        .says_of("rely", "unavailable")
        .says_of("cto", "sent");
    assert_eq!(cto_events(&healed).len(), 1);
}
