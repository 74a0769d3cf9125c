//! `check`: a preflight that says what is wrong, by reads alone.

use std::iter;

use sandbox::{DirektivVersion, Fault, GitLabAccess, Options, Sandbox, Service};
use serde_json::Value;

use crate::{
    gitlab::{in_job, jobs, seed},
    support::{Run, catalog::destinations, folder, notify},
};

const PRODUCTION: (&str, &str) = ("EVENT_ENVIRONMENT", "production");
const CANDIDATE: (&str, &str) = ("AVIATOR_RELEASE_CANDIDATE", "1.4.0-rc1");

/// The check of every destination.
fn all() -> Vec<&'static str> {
    let names = destinations().iter().map(|destination| destination.name.as_str());
    iter::once("check").chain(names).collect()
}

fn states(sandbox: &Sandbox) -> Vec<Value> {
    Service::ALL.iter().map(|service| sandbox.state(*service)).collect()
}

/// The check of one destination, with an action that is given and whatever it needs.
fn check_of(destination: &str, sandbox: &Sandbox) -> Run {
    notify(&["check", destination])
        .at(sandbox)
        .vars([PRODUCTION, CANDIDATE])
        .var("NOTIFY_ATTEMPTS", "1")
}

/// Checks that nothing but reads, and logins, has reached anybody.
#[track_caller]
fn only_reads(sandbox: &Sandbox) {
    for request in sandbox.requests() {
        let is_login = request.method == "POST" && request.path == "/v1/auth/access_token";
        assert!(
            request.method == "GET" || is_login,
            "{} {}",
            request.method,
            request.path
        );
    }
}

#[test]
fn everything_is_ready_and_nothing_is_written() {
    let sandbox = Sandbox::start();
    seed(&sandbox, jobs("build success | deploy success"));
    let before = states(&sandbox);
    let folder = folder("check-ready");
    let ran = in_job(&all(), &sandbox)
        .vars([PRODUCTION, CANDIDATE])
        .within(&folder)
        .var("NOTIFY_OUTPUT_DIR", "receipts")
        .run()
        .exits(0)
        .says("GitLab jobs        ok: all 2 other jobs that ran succeeded")
        .says("GitLab deployments ok: changes.* can be had")
        .says("everything is ready, nothing was written; exit 0");
    for destination in &all()[1..] {
        let line = ran
            .stderr
            .lines()
            .find(|line| line.trim_start().starts_with(&format!("{destination} ")));
        assert!(
            line.is_some_and(|line| line.contains(" ok (HTTP ")),
            "{destination}: {}",
            ran.stderr
        );
    }
    assert_eq!(ran.stdout, "");
    assert_eq!(states(&sandbox), before);
    only_reads(&sandbox);
    // Of a webhook the host alone is asked.
    for service in Service::ALL.into_iter().filter(|service| *service != Service::Webhook) {
        assert!(!sandbox.requests_to(service).is_empty(), "{service:?} was asked");
    }
    assert_eq!(
        std::fs::read_dir(&folder).expect("the folder").count(),
        0,
        "no receipt of a check"
    );
}

#[test]
fn without_a_name_it_checks_what_a_run_would_send_to() {
    let sandbox = Sandbox::start();
    notify(&["check"])
        .at(&sandbox)
        .var("NOTIFY_DESTINATIONS", "rely,direktiv")
        .run()
        .exits(0)
        .says("rely               ok")
        .says("direktiv           ok");
    let asked: Vec<Service> = sandbox.requests().iter().map(|request| request.service).collect();
    assert!(
        !asked.contains(&Service::Cto) && !asked.contains(&Service::Port),
        "{asked:?}"
    );
    notify(&["check"])
        .run()
        .exits(78)
        .says("NOTIFY_DESTINATIONS is not set")
        .says("not ready, nothing was written");
}

const CLOSED: &str = "http://127.0.0.1:9";

type Row = (&'static str, &'static str, &'static str, i32, &'static [&'static str]);

/// Each row: destination, what is set instead, the exit code and what is said.
const WRONG: &[Row] = &[
    (
        "rely",
        "RELY_API_TOKEN",
        "wrong-credential",
        76,
        &["rejected (", "HTTP 401", "Check RELY_API_TOKEN: expired, revoked"],
    ),
    ("rely", "RELY_API_TOKEN", "", 78, &["RELY_API_TOKEN is not set"]),
    (
        "rely",
        "RELY_API_TOKEN",
        "$RELY_API_TOKEN",
        78,
        &["RELY_API_TOKEN is literally"],
    ),
    ("rely", "RELY_API_URL", CLOSED, 75, &["unavailable", "127.0.0.1:9"]),
    ("rely", "RELY_API_URL", "ftp://example.com", 78, &["RELY_API_URL"]),
    (
        "rely",
        "RELY_BLUEPRINT",
        "No Such!",
        78,
        &["RELY_BLUEPRINT is `No Such!`"],
    ),
    ("rely", "RELY_PROPERTIES", "{broken", 78, &["RELY_PROPERTIES"]),
    (
        "rely",
        "RELY_BLUEPRINT",
        "nope",
        78,
        &["Blueprint with id nope not found. RELY_BLUEPRINT is `nope`: correct it"],
    ),
    (
        "rely",
        "RELY_PROPERTIES",
        r#"{"duration": "long", "nope": 1}"#,
        78,
        &[
            "RELY_PROPERTIES does not fit the blueprint `deployment`: \"duration\" has to be of the type number, and is a \
             string, \"nope\" is not in it",
        ],
    ),
    (
        "rely",
        "RELY_RELATIONS",
        r#"{"nope": "a"}"#,
        78,
        &["RELY_RELATIONS does not fit the blueprint `deployment`: \"nope\" is no relation of it"],
    ),
    (
        "rely",
        "RELY_ENTITY_TITLE",
        "{{ event.nothing }}",
        78,
        &["there is no `event.nothing`"],
    ),
    (
        "cto",
        "CTOAI_EVENTS_API_TOKEN",
        "",
        78,
        &["CTOAI_EVENTS_API_TOKEN is not set"],
    ),
    ("cto", "CTOAI_TEAM_ID", "", 78, &["CTOAI_TEAM_ID is not set"]),
    ("cto", "CTOAI_API_URL", CLOSED, 75, &["unavailable", "127.0.0.1:9"]),
    (
        "direktiv",
        "DIREKTIV_TOKEN",
        "wrong-credential",
        76,
        &[
            "rejected (HTTP 403",
            "DIREKTIV_TOKEN was sent as direktiv-token, Direktiv-Api-Key; check it",
        ],
    ),
    (
        "direktiv",
        "DIREKTIV_NAMESPACE",
        "nope",
        76,
        &["rejected (HTTP 404", "resource(namespace) is not found"],
    ),
    (
        "direktiv",
        "DIREKTIV_NAMESPACE",
        "",
        78,
        &["DIREKTIV_NAMESPACE is not set"],
    ),
    ("direktiv", "DIREKTIV_URL", CLOSED, 75, &["unavailable", "127.0.0.1:9"]),
    (
        "direktiv:execute",
        "DIREKTIV_WORKFLOW",
        "",
        78,
        &["DIREKTIV_WORKFLOW is not set"],
    ),
    (
        "aviator",
        "AVIATOR_API_TOKEN",
        "wrong-credential",
        76,
        &["rejected (", "HTTP 401", "Check AVIATOR_API_TOKEN"],
    ),
    (
        "aviator",
        "AVIATOR_PROJECT",
        "Nope",
        76,
        &["rejected (", "HTTP 404", "Release project not found"],
    ),
    ("aviator", "AVIATOR_PROJECT", "", 78, &["AVIATOR_PROJECT is not set"]),
    ("aviator", "EVENT_ENVIRONMENT", "nope", 76, &["rejected (", "HTTP 404"]),
    (
        "aviator",
        "EVENT_ENVIRONMENT",
        "",
        78,
        &["AVIATOR_ENVIRONMENT is not set"],
    ),
    (
        "aviator",
        "AVIATOR_RELEASE_CANDIDATE",
        "1.4.0",
        78,
        &["AVIATOR_RELEASE_CANDIDATE is `1.4.0`"],
    ),
    (
        "aviator",
        "AVIATOR_API_URL",
        CLOSED,
        75,
        &["unavailable", "127.0.0.1:9"],
    ),
    (
        "port",
        "PORT_CLIENT_ID",
        "wrong-credential",
        76,
        &["rejected (", "HTTP 401", "Check PORT_CLIENT_ID and PORT_CLIENT_SECRET"],
    ),
    (
        "port",
        "PORT_CLIENT_SECRET",
        "wrong-credential",
        76,
        &["rejected (", "HTTP 401"],
    ),
    ("port", "PORT_CLIENT_SECRET", "", 78, &["PORT_CLIENT_SECRET is not set"]),
    (
        "port",
        "PORT_BLUEPRINT",
        "nope",
        78,
        &[
            "misconfigured (",
            "HTTP 404",
            "\"nope\"",
            "PORT_BLUEPRINT is `nope`: correct it",
        ],
    ),
    (
        "port",
        "PORT_BLUEPRINT",
        "service",
        78,
        &[
            "PORT_BLUEPRINT is `service`, which the default fields do not fit: \"status\" is not in it",
            "examples/port/deployment-blueprint.json",
        ],
    ),
    (
        "port",
        "PORT_PROPERTIES",
        r#"{"duration": "long", "url": "no address", "nope": 1, "status": null}"#,
        78,
        &[
            "PORT_PROPERTIES does not fit the blueprint `deployment`: \"duration\" has to be of the type number, and is a \
             string, \"url\" has to be of the format url, \"nope\" is not in it",
        ],
    ),
    (
        "port",
        "PORT_RELATIONS",
        r#"{"nope": "a", "images": "a", "service": ["a"]}"#,
        78,
        &[
            "PORT_RELATIONS does not fit the blueprint `deployment`: \"nope\" is no relation of it, \"images\" is a list there",
            "\"service\" is one identifier there",
        ],
    ),
    ("port", "PORT_API_URL", CLOSED, 75, &["unavailable", "127.0.0.1:9"]),
    ("port:run-update", "PORT_RUN_ID", "", 78, &["PORT_RUN_ID is not set"]),
];

#[test]
fn what_is_wrong_is_named() {
    let sandbox = Sandbox::start();
    let before = states(&sandbox);
    for (destination, variable, value, code, texts) in WRONG {
        let mut ran = check_of(destination, &sandbox)
            .var(variable, value)
            .run()
            .exits(*code)
            .says("1 thing is not ready, nothing was written")
            .hides("wrong-credential");
        for text in *texts {
            ran = ran.says(text);
        }
    }
    assert_eq!(states(&sandbox), before);
    only_reads(&sandbox);
}

#[test]
fn every_problem_is_said_at_once() {
    let sandbox = Sandbox::start();
    notify(&all())
        .at(&sandbox)
        .vars([CANDIDATE, PRODUCTION])
        .var("NOTIFY_ATTEMPTS", "1")
        .var("RELY_API_TOKEN", "wrong-credential")
        .var("CTOAI_API_URL", "http://127.0.0.1:9")
        .var("PORT_CLIENT_ID", "")
        .run()
        .exits(78)
        .says("rely               rejected")
        .says("cto                unavailable")
        .says("port               misconfigured")
        .says("aviator            ok")
        .says("direktiv           ok")
        .says("3 things are not ready");
}

#[test]
fn the_policy_and_the_question_mark_count_as_in_a_run() {
    let sandbox = Sandbox::start();
    for (destination, policy, code) in [
        ("rely", "warn", 76),
        ("rely", "fail", 1),
        ("rely", "ignore", 0),
        ("rely?", "warn", 0),
        ("rely?", "fail", 0),
    ] {
        check_of(destination, &sandbox)
            .var("RELY_API_TOKEN", "wrong-credential")
            .var("NOTIFY_ON_ERROR", policy)
            .run()
            .exits(code)
            .says("rejected");
    }
}

#[test]
fn a_permission_that_is_missing_is_named() {
    let sandbox = Sandbox::start_with(Options {
        direktiv_version: DirektivVersion::V0_10,
        direktiv_denies: Some("syncs".to_owned()),
        ..Options::default()
    });
    check_of("direktiv", &sandbox)
        .run()
        .exits(76)
        .says("HTTP 403")
        .says("not enough permissions")
        .says("DIREKTIV_TOKEN was sent as direktiv-token, Direktiv-Api-Key; check it and its permissions");
    only_reads(&sandbox);
}

#[test]
fn a_page_of_something_else_is_no_service() {
    let sandbox = Sandbox::start();
    for destination in ["rely", "direktiv", "aviator", "port"] {
        let service = Service::named(destination).expect("a service");
        sandbox.fail(service, 1, Fault::Html);
        check_of(destination, &sandbox).run().exits(76).says("an HTML page");
    }
}

#[test]
fn a_gitlab_that_refuses_fails_the_check_only_where_it_is_needed() {
    for status in [401, 403, 404] {
        let refused = GitLabAccess::Refused(status);
        let sandbox = Sandbox::start_with(Options {
            gitlab_jobs: refused,
            gitlab_deployments: refused,
            ..Options::default()
        });
        let run = || in_job(&["check", "rely"], &sandbox).vars([PRODUCTION]);
        run()
            .run()
            .exits(78)
            .says(
                "GitLab jobs        misconfigured: EVENT_ACTION is auto, and GitLab does not show this to CI_JOB_TOKEN",
            )
            .says("NOTIFY_GITLAB_TOKEN with read_api may see them")
            .says("rely               ok");
        run()
            .var("EVENT_ACTION", "success")
            .run()
            .exits(0)
            .says("GitLab jobs        not readable, and not needed here")
            .says("GitLab deployments not readable, so changes.* are absent");
        run()
            .var("NOTIFY_GITLAB_TOKEN", sandbox.gitlab_access_token())
            .run()
            .exits(0)
            .says("GitLab jobs        ok")
            .says("GitLab deployments ok")
            .hides(&sandbox.gitlab_access_token());
        only_reads(&sandbox);
    }
}

#[test]
fn changes_that_are_wanted_and_not_shown_are_a_problem_of_the_check_too() {
    let sandbox = Sandbox::start_with(Options {
        gitlab_deployments: GitLabAccess::Refused(403),
        ..Options::default()
    });
    for (title, code) in [("{{ changes.count }}", 78), ("{{ changes.count | default(0) }}", 0)] {
        in_job(&["check", "rely"], &sandbox)
            .vars([PRODUCTION, ("EVENT_ACTION", "success"), ("RELY_ENTITY_TITLE", title)])
            .run()
            .exits(code)
            .says("GitLab deployments not readable, so changes.* are absent");
    }
}

#[test]
fn changes_that_are_wanted_and_shown_are_ready() {
    let sandbox = Sandbox::start();
    in_job(&["check", "rely"], &sandbox)
        .vars([
            PRODUCTION,
            ("EVENT_ACTION", "success"),
            ("RELY_ENTITY_TITLE", "{{ changes.count }}"),
        ])
        .run()
        .exits(0)
        .says("everything is ready");
}

#[test]
fn a_check_before_the_deployment_assumes_that_it_will_succeed() {
    let sandbox = Sandbox::start();
    seed(&sandbox, jobs("deploy created"));
    in_job(&["check", "rely", "cto"], &sandbox)
        .var("NOTIFY_JOB", "deploy")
        .var("RELY_ENTITY_TITLE", "{{ event.action }}")
        .run()
        .exits(0)
        .says("GitLab jobs        ok: job `deploy` waits for other jobs");
    seed(&sandbox, jobs("deploy created"));
    in_job(&["check", "rely"], &sandbox)
        .var("NOTIFY_JOB", "deplyo")
        .run()
        .exits(78)
        .says("did you mean `deploy`?");
}

#[test]
fn an_unknown_name_is_a_mistake_of_the_command_line() {
    notify(&["check", "crelly"])
        .run()
        .exits(2)
        .says("there is no destination `crelly`");
    notify(&["check", "--dry-run", "rely"]).run().exits(2);
}
