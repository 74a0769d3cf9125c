//! `changes.*`: what has been deployed since the last time, and how long it took, from GitLab's deployments; no clone.

use sandbox::{Fault, GitLabAccess, Options, Sandbox, Service};
use serde_json::{Value, json};

use crate::{
    gitlab::in_job,
    support::{
        Run,
        faults::status,
        held::{cto_actions, rely_entity},
    },
};

const BEFORE: &str = "1111111111111111111111111111111111111111";
const OLDER: &str = "2222222222222222222222222222222222222222";
const OURS: &str = "9f2c1e7d0b4a5c6d7e8f90123456789abcdef012";

/// A deployment by another pipeline.
fn by_another(sha: &str, status: &str, environment: &str) -> Value {
    json!({"sha": sha, "status": status, "environment": environment, "ref": "main"})
}

/// The deployment by this pipeline, which ended at 10:04, and what it brought.
fn ours(environment: &str) -> Value {
    let merged = |iid: u64, time: &str, author: &str| json!({"iid": iid, "title": format!("Change \"{iid}\""), "author": author, "merged_at": format!("2025-03-01T{time}Z")});
    json!({
        "sha": OURS,
        "environment": environment,
        "deployable": {"id": 3, "pipeline": 8812, "status": "success", "finished_at": "2025-03-01T10:04:00.000Z"},
        "merge_requests": [
            merged(12, "08:04:00.000", "robin"), merged(11, "04:04:00.000", "dana"), merged(10, "09:04:00.000", "dana"),
        ],
    })
}

fn seeded(deployments: &Value) -> Sandbox {
    let sandbox = Sandbox::start();
    sandbox.seed(Service::GitLab, json!({"deployments": deployments}));
    sandbox
}

fn report(sandbox: &Sandbox, title: &str) -> Run {
    in_job(&["rely"], sandbox)
        .var("EVENT_ACTION", "success")
        .var("EVENT_ENVIRONMENT", "production")
        .var("RELY_ENTITY_ID", "acme-shop-8812")
        .var("RELY_ENTITY_TITLE", title)
}

fn asked(sandbox: &Sandbox) -> Vec<String> {
    let requests = sandbox.requests_to(Service::GitLab);
    requests.iter().map(|request| request.path.clone()).collect()
}

#[test]
fn the_deployment_before_and_the_merge_requests_since_are_told() {
    let sandbox = seeded(&json!([
        by_another(OLDER, "success", "production"),
        by_another(BEFORE, "success", "production"),
        by_another("3333333333333333333333333333333333333333", "failed", "production"),
        by_another("4444444444444444444444444444444444444444", "success", "staging"),
        ours("production"),
        // A pipeline that was faster than we are is not what was there before us.
        by_another("5555555555555555555555555555555555555555", "success", "production"),
    ]));
    report(
        &sandbox,
        "{{ changes.previous_commit }}..{{ event.commit }}: {{ changes.count }} in {{ changes.lead_time }} s, since \
         {{ changes.previous_deployed_at }} on {{ changes.previous_ref }}, deployment {{ changes.deployment_id }}",
    )
    .var(
        "EVENT_PROPERTIES",
        r#"{"changes": "{{ changes.merge_requests }}", "n": "{{ changes.count }}"}"#,
    )
    .var("RELY_ENTITY_DESCRIPTION", "{{ event.properties | json }}")
    .var("RELY_PROPERTIES", "{}")
    .run()
    .exits(0);
    let entity = rely_entity(&sandbox);
    // The median of one, two and six hours.
    assert_eq!(
        entity["title"],
        format!("{BEFORE}..{OURS}: 3 in 7200 s, since 2025-02-28T11:01:00.000Z on main, deployment 505")
    );
    let properties: Value = serde_json::from_str(entity["description"].as_str().expect("text")).expect("JSON");
    assert_eq!(properties["n"], 3, "a number stays one");
    let list = properties["changes"].as_array().expect("a list");
    let iids: Vec<u64> = list.iter().filter_map(|one| one["iid"].as_u64()).collect();
    assert_eq!(iids, [12, 11, 10]);
    assert_eq!(list[0]["title"], "Change \"12\"");
    assert_eq!(list[0]["author"], "robin");
    assert_eq!(list[0]["merged_at"], "2025-03-01T08:04:00.000Z");
    assert_eq!(
        list[0]["url"],
        "https://gitlab.example.com/acme/shop/-/merge_requests/12"
    );
    assert_eq!(
        asked(&sandbox),
        [
            "/api/v4/projects/42/deployments",
            "/api/v4/projects/42/deployments/505/merge_requests"
        ]
    );
    let query = &sandbox.requests_to(Service::GitLab)[0].query;
    assert!(
        query.contains("environment=production") && query.contains("sort=desc"),
        "{query}"
    );
}

#[test]
fn a_deployment_that_was_tried_before_by_this_pipeline_is_not_the_one_before() {
    let sandbox = seeded(&json!([
        by_another(BEFORE, "success", "production"),
        {"sha": OURS, "status": "success", "deployable": {"id": 2, "pipeline": 8812}},
        ours("production"),
    ]));
    report(&sandbox, "{{ changes.previous_commit }}").run().exits(0);
    assert_eq!(rely_entity(&sandbox)["title"], BEFORE);
}

#[test]
fn an_environment_of_any_name_is_asked_for() {
    let name = "review/ünï code & more";
    let sandbox = seeded(&json!([by_another(BEFORE, "success", name), ours(name)]));
    report(&sandbox, "{{ changes.previous_commit }}")
        .var("EVENT_ENVIRONMENT", name)
        .run()
        .exits(0);
    assert_eq!(rely_entity(&sandbox)["title"], BEFORE);
}

#[test]
fn more_merge_requests_than_a_page_holds_are_all_counted() {
    let mut ours = ours("production");
    ours["merge_requests"] = (1..=230).map(|number| json!(format!("Change {number}"))).collect();
    let sandbox = seeded(&json!([ours]));
    report(&sandbox, "{{ changes.count }}").run().exits(0);
    assert_eq!(rely_entity(&sandbox)["title"], "230");
}

#[test]
fn gitlab_is_asked_only_where_changes_are_mentioned() {
    let sandbox = seeded(&json!([ours("production")]));
    report(&sandbox, "some changes {{ event.environment }}").run().exits(0);
    report(&sandbox, "changes.count").run().exits(0);
    assert_eq!(asked(&sandbox), [""; 0]);
    report(&sandbox, "{{ changes.count | default(0) }}").run().exits(0);
    assert_eq!(asked(&sandbox).len(), 2);
    report(&sandbox, "")
        .var("EVENT_PROPERTIES", r#"{"duration": "{{changes.count}}"}"#)
        .run()
        .exits(0);
    assert_eq!(asked(&sandbox).len(), 4, "wherever they are");
}

/// Why they can't be had, and what is said.
fn unavailable() -> Vec<(&'static str, Sandbox, &'static str, &'static str)> {
    let refusing = |status| {
        Sandbox::start_with(Options {
            gitlab_deployments: GitLabAccess::Refused(status),
            ..Options::default()
        })
    };
    let failing = |fault| {
        let sandbox = seeded(&json!([ours("production")]));
        sandbox.fail_on(Service::GitLab, "/deployments", 100, fault);
        sandbox
    };
    let to_token = "GitLab does not show this to CI_JOB_TOKEN";
    vec![
        ("401", refusing(401), "production", to_token),
        ("403", refusing(403), "production", to_token),
        ("404", refusing(404), "production", to_token),
        (
            "503",
            failing(status(503)),
            "production",
            "GitLab did not tell: answered 503",
        ),
        ("HTML", failing(Fault::Html), "production", "an HTML page"),
        ("reset", failing(Fault::Reset), "production", "GitLab did not tell"),
        ("hang", failing(Fault::Hang), "production", "GitLab did not tell"),
        (
            "no environment",
            seeded(&json!([])),
            "",
            "the event has no environment; set EVENT_ENVIRONMENT",
        ),
    ]
}

#[test]
fn what_can_not_be_had_is_absent_and_said_and_breaks_nothing() {
    for (case, sandbox, environment, why) in unavailable() {
        let title = "{{ changes.count | default('?') }} changes in {{ changes.lead_time | default('?') }} s";
        let ran = report(&sandbox, title)
            .var("EVENT_ENVIRONMENT", environment)
            .var("NOTIFY_ATTEMPT_TIMEOUT", "0.3")
            .var("NOTIFY_TIMEOUT", "8")
            .run()
            .exits(0)
            .says("GitLab             changes.* are absent: ");
        assert!(ran.stderr.contains(why), "{case}: {}", ran.stderr);
        let entity = rely_entity(&sandbox);
        assert_eq!(entity["title"], "? changes in ? s", "{case}");
        assert_eq!(entity["properties"]["status"], "SUCCESS", "{case}");
    }
}

#[test]
fn without_a_default_what_is_absent_is_misconfigured_where_it_is_wanted_and_nowhere_else() {
    for (case, sandbox, environment, why) in unavailable() {
        let ran = report(&sandbox, "{{ changes.count }}")
            .var("EVENT_ENVIRONMENT", environment)
            .var("NOTIFY_ATTEMPT_TIMEOUT", "0.3")
            .var("NOTIFY_TIMEOUT", "8")
            .run()
            .exits(78)
            .says("RELY_ENTITY_TITLE")
            .says("`changes.count` can't be had");
        assert!(ran.stderr.contains(why), "{case}: {}", ran.stderr);
        assert_eq!(rely_entity(&sandbox), Value::Null, "{case}");
    }
    let sandbox = seeded(&json!([]));
    in_job(&["rely", "cto"], &sandbox)
        .var("EVENT_ACTION", "success")
        .var("RELY_ENTITY_TITLE", "{{ changes.count }}")
        .run()
        .exits(78)
        .says("1 sent, 1 misconfigured");
    assert_eq!(cto_actions(&sandbox), ["success"]);
}

#[test]
fn a_token_of_ones_own_may_see_what_the_job_token_does_not() {
    let sandbox = Sandbox::start_with(Options {
        gitlab_deployments: GitLabAccess::Refused(403),
        ..Options::default()
    });
    sandbox.seed(
        Service::GitLab,
        json!({"deployments": [by_another(BEFORE, "success", "production"), ours("production")]}),
    );
    report(&sandbox, "{{ changes.previous_commit }}")
        .var("NOTIFY_GITLAB_TOKEN", sandbox.gitlab_access_token())
        .run()
        .exits(0);
    assert_eq!(rely_entity(&sandbox)["title"], BEFORE);
}

#[test]
fn the_first_deployment_has_none_before_it() {
    let sandbox = seeded(&json!([ours("production")]));
    report(
        &sandbox,
        "{{ changes.previous_commit | default('the beginning') }}, {{ changes.count }}",
    )
    .run()
    .exits(0);
    assert_eq!(rely_entity(&sandbox)["title"], "the beginning, 3");
}

#[test]
fn where_gitlab_counts_no_deployment_of_this_pipeline_nothing_is_made_up() {
    // No job of it has `environment:`, so GitLab knows what was there before, and not what this one brought.
    let sandbox = seeded(&json!([by_another(BEFORE, "success", "production")]));
    let title =
        "{{ changes.previous_commit }} {{ changes.count | default('?') }} {{ changes.lead_time | default('?') }}";
    report(&sandbox, title).run().exits(0);
    assert_eq!(rely_entity(&sandbox)["title"], format!("{BEFORE} ? ?"));
    report(&sandbox, "{{ changes.count }}")
        .run()
        .exits(78)
        .says("`changes.count` has no value here");
}

#[test]
fn a_deployment_without_merge_requests_brings_none_and_has_no_lead_time() {
    let mut ours = ours("production");
    ours["merge_requests"] = json!([]);
    let sandbox = seeded(&json!([ours]));
    report(
        &sandbox,
        "{{ changes.count }} {{ changes.lead_time | default('none') }}",
    )
    .run()
    .exits(0);
    assert_eq!(rely_entity(&sandbox)["title"], "0 none");
}

#[test]
fn a_deployment_that_goes_on_is_measured_until_now() {
    let mut running = ours("production");
    running["deployable"] = json!({"id": 3, "pipeline": 8812, "status": "running"});
    running["status"] = json!("running");
    let sandbox = seeded(&json!([running]));
    report(&sandbox, "{{ changes.lead_time }}").run().exits(0);
    let title = rely_entity(&sandbox)["title"].as_str().map(str::to_owned);
    let seconds = title.and_then(|title| title.parse::<u64>().ok());
    assert!(seconds.is_some_and(|seconds| seconds > 7200), "{seconds:?}");
}
