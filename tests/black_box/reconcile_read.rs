//! `reconcile`: what is read of GitLab, of which projects, and what can't be.

use sandbox::{Fault, GitLabAccess, Options, Sandbox, Service};
use serde_json::{Value, json};

use crate::{
    gitlab::in_job,
    support::{
        GITLAB,
        faults::{reply, status},
        record::{ID, ago, began, ended, jobs, reconcile, recorded, seed, seed_jobs, shown, writes},
    },
};

#[test]
fn environments_and_jobs_are_chosen() {
    let rows =
        "deploy production success | deploy prod/eu success | deploy review/a success | notify production success";
    for (environments, jobs, count, says) in [
        ("", "", 4, ""),
        ("production,prod/*,!review/*", "", 3, ""),
        ("!review/*", "!notify*", 2, ""),
        ("prod/*", "deploy", 1, ""),
        (
            "staging,production",
            "",
            2,
            "NOTIFY_RECONCILE_ENVIRONMENTS: nothing fits `staging`; there are prod/eu, production, review/a",
        ),
        (
            "",
            "relase",
            0,
            "NOTIFY_RECONCILE_JOBS: nothing fits `relase`; there are deploy, notify",
        ),
    ] {
        let sandbox = recorded(rows);
        let ran = reconcile(&sandbox)
            .var("NOTIFY_RECONCILE_ENVIRONMENTS", environments)
            .var("NOTIFY_RECONCILE_JOBS", jobs)
            .run()
            .exits(0)
            .says(says);
        assert_eq!(shown(&sandbox).len(), count, "{environments} {jobs}\n{}", ran.stderr);
    }
}

#[test]
fn other_projects_are_compared_with_a_token() {
    let project = |path: &str, job: u64| {
        json!({"path": path, "pipelines": {(job * 100).to_string(): {"created_at": ago(900), "jobs": [
        {"id": job, "name": "deploy", "status": "failed", "created_at": ago(900), "started_at": ago(800), "finished_at": ago(700)},
    ]}}, "deployments": [{"deployable": job}]})
    };
    let with_group = || {
        let sandbox = recorded("deploy production success");
        sandbox.seed(
            Service::GitLab,
            json!({"projects": {
                "43": project("acme/api", 501), "44": project("acme/sub/web", 502), "45": project("other/api", 503),
            }}),
        );
        sandbox
    };
    let (shop, api, web) = (
        "acme-shop-8812-production--deploy SUCCESS",
        "acme-api-50100-production--deploy FAILURE",
        "acme-sub-web-50200-production--deploy FAILURE",
    );
    for (projects, expected, code, says) in [
        ("acme/*", vec![api, shop, web], 0, "acme/api: 1 deployed by a job"),
        ("acme/*,!acme/sub/*", vec![api, shop], 0, ""),
        ("acme/api", vec![api], 0, ""),
        ("acme/sub/web, acme/shop", vec![shop, web], 0, ""),
        // What is wrong with one keeps the others from nothing.
        (
            "acme/nope,acme/api",
            vec![api],
            78,
            "acme/nope, which NOTIFY_RECONCILE_PROJECTS names",
        ),
        (
            "nogroup/*,acme/api",
            vec![api],
            78,
            "NOTIFY_RECONCILE_PROJECTS names `nogroup/*`",
        ),
        ("acme/x*,acme/api", vec![api], 0, "`acme/x*` fits no project"),
        ("*,acme/api", vec![api], 78, "name the group, as in `group/*`"),
    ] {
        let sandbox = with_group();
        let ran = reconcile(&sandbox)
            .var("NOTIFY_RECONCILE_PROJECTS", projects)
            .var("NOTIFY_GITLAB_TOKEN", sandbox.gitlab_access_token())
            .run()
            .exits(code)
            .says(says);
        assert_eq!(shown(&sandbox), expected, "{projects}\n{}", ran.stderr);
    }
    let sandbox = with_group();
    reconcile(&sandbox)
        .var("NOTIFY_RECONCILE_PROJECTS", "acme/shop,acme/api")
        .run()
        .exits(78)
        .says("NOTIFY_GITLAB_TOKEN");
    assert_eq!(shown(&sandbox), [shop], "the job token reads its own project");
}

#[test]
fn by_hand_it_needs_an_address_a_token_and_projects() {
    let by_hand = |sandbox: &Sandbox| {
        let mut run = in_job(&["reconcile"], sandbox).var("NOTIFY_DESTINATIONS", "rely,port");
        for (name, _) in GITLAB.iter().filter(|(name, _)| *name != "CI_API_V4_URL") {
            run = run.without(name);
        }
        run.var("NOTIFY_GITLAB_TOKEN", sandbox.gitlab_access_token())
    };
    let sandbox = recorded("deploy production failed");
    by_hand(&sandbox)
        .run()
        .exits(78)
        .says("NOTIFY_RECONCILE_PROJECTS is not set");
    by_hand(&sandbox)
        .var("NOTIFY_RECONCILE_PROJECTS", "acme/shop")
        .without("CI_API_V4_URL")
        .run()
        .exits(78)
        .says("CI_API_V4_URL");
    by_hand(&sandbox)
        .var("NOTIFY_RECONCILE_PROJECTS", "acme/shop")
        .without("NOTIFY_GITLAB_TOKEN")
        .run()
        .exits(78)
        .says("NOTIFY_GITLAB_TOKEN");
    assert_eq!(shown(&sandbox), [""; 0]);
    by_hand(&sandbox)
        .var("NOTIFY_RECONCILE_PROJECTS", "acme/shop")
        .run()
        .exits(0);
    assert_eq!(shown(&sandbox), [format!("{ID} FAILURE")]);
}

#[test]
fn bad_input_is_told_and_nothing_is_written() {
    for (variables, says) in [
        (
            vec![("NOTIFY_RECONCILE_SINCE", "yesterday")],
            "NOTIFY_RECONCILE_SINCE is `yesterday`; it has to be a whole number of minutes",
        ),
        (vec![("NOTIFY_RECONCILE_SINCE", "0h")], "NOTIFY_RECONCILE_SINCE"),
        (vec![("NOTIFY_RECONCILE_SINCE", "99999d")], "NOTIFY_RECONCILE_SINCE"),
        (
            vec![("NOTIFY_RECONCILE_SINCE", "pipeline"), ("CI_PIPELINE_ID", "")],
            "CI_PIPELINE_ID is not set",
        ),
        (
            vec![("NOTIFY_RECONCILE_ENVIRONMENTS", "production,!")],
            "NOTIFY_RECONCILE_ENVIRONMENTS",
        ),
        (vec![("NOTIFY_RECONCILE_SINC", "90d")], "NOTIFY_RECONCILE_SINC"),
        (vec![("NOTIFY_GITLAB_TOKEN", "$GROUP_TOKEN")], "NOTIFY_GITLAB_TOKEN"),
        (vec![("EVENT_SERVICE", "{{ nope }}")], "EVENT_SERVICE"),
        (vec![("EVENT_PROPERTIES", "{{")], "EVENT_PROPERTIES"),
        (
            vec![("RELY_PROPERTIES", "[]"), ("PORT_PROPERTIES", "[]")],
            "RELY_PROPERTIES",
        ),
        (vec![("NOTIFY_DESTINATIONS", "porte")], "porte"),
    ] {
        let sandbox = recorded("deploy production failed");
        let ran = reconcile(&sandbox)
            .vars(variables.iter().copied())
            .run()
            .exits(78)
            .says(says);
        assert_eq!(writes(&sandbox), [""; 0], "{variables:?}\n{}", ran.stderr);
    }
    let sandbox = recorded("deploy production failed");
    in_job(&["reconcile", "rely"], &sandbox).run().exits(2);
    reconcile(&sandbox).var("NOTIFY_ENABLED", "false").run().exits(0);
    assert_eq!(sandbox.requests().len(), 0);
}

#[test]
fn a_record_that_lies_is_left_alone() {
    let job = |of: Value| {
        let mut job = jobs("deploy ../../x success").remove(0);
        job.as_object_mut()
            .expect("an object")
            .extend(of.as_object().expect("an object").clone());
        job
    };
    for (job, says) in [
        (
            job(json!({"started_at": "2125-03-01T10:00:00Z", "finished_at": "2125-03-01T10:05:00Z"})),
            "ended in the future",
        ),
        (
            job(json!({"started_at": ended(1), "finished_at": began(1)})),
            "ended before it started",
        ),
    ] {
        let sandbox = Sandbox::start();
        seed_jobs(
            &sandbox,
            &[job],
            &json!([{"deployable": 1, "created_at": ago(7200), "updated_at": ago(7000)}]),
        );
        let ran = reconcile(&sandbox).run().exits(0).says(says);
        assert_eq!(writes(&sandbox), [""; 0], "{}", ran.stderr);
    }
    let sandbox = recorded("deploy ../../x success");
    let ran = reconcile(&sandbox).run().exits(0);
    assert_eq!(
        shown(&sandbox),
        ["acme-shop-8812-env-x-gf3g2i--deploy SUCCESS"],
        "{}",
        ran.stderr
    );
    // Pages that never end, and what is no list at all.
    for (fault, code, says) in [
        (
            reply(
                200,
                &[("x-next-page", "2")],
                &json!([{"id": 1, "status": "success", "environment": {"name": "p"}}]).to_string(),
            ),
            76,
            "does not end",
        ),
        (reply(200, &[], r#"{"error": "x"}"#), 76, "JSON that is no list"),
        (reply(200, &[], r#"[{"id": "x"}]"#), 76, "holds something else"),
        (Fault::Html, 76, "HTML"),
        (status(503), 75, "answered 503"),
        (Fault::Oversize(40_000_000), 76, "bytes"),
    ] {
        let sandbox = recorded("deploy production failed");
        sandbox.fail_on(Service::GitLab, "/deployments", 100, fault);
        let ran = reconcile(&sandbox)
            .run()
            .exits(code)
            .says("the deployments of acme/shop can't be read")
            .says(says);
        assert_eq!(writes(&sandbox), [""; 0], "{}", ran.stderr);
    }
}

#[test]
fn a_token_that_may_not_read_deployments_is_misconfigured() {
    for code in [401, 403, 404] {
        let sandbox = Sandbox::start_with(Options {
            gitlab_deployments: GitLabAccess::Refused(code),
            ..Options::default()
        });
        seed(&sandbox, "deploy production failed");
        reconcile(&sandbox)
            .run()
            .exits(78)
            .says("the deployments of acme/shop can't be read")
            .says("NOTIFY_GITLAB_TOKEN")
            .says("not compared");
        reconcile(&sandbox)
            .var("NOTIFY_GITLAB_TOKEN", "glpat-wrong")
            .run()
            .exits(78)
            .hides("glpat-wrong");
        assert_eq!(writes(&sandbox), [""; 0]);
        reconcile(&sandbox)
            .var("NOTIFY_GITLAB_TOKEN", sandbox.gitlab_access_token())
            .run()
            .exits(0)
            .says("2 repaired");
    }
}
