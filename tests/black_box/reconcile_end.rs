//! `reconcile` at the end of a pipeline: what its jobs could not deliver is delivered, and the end of a deploy job that
//! could not tell it itself is told, each once.

use sandbox::{GitLabAccess, Options, Sandbox, Service};
use serde_json::{Value, json};

use crate::{
    gitlab::{OWN, in_job},
    support::{
        Ran, Run,
        faults::status,
        held::{aviator_production, cdevents, cto_actions, direktiv_namespace},
        record::{
            ID, ago, artifacts, artifacts_of, deployments, from_inside, held, hold, jobs, recorded, report, seed_jobs,
            shown, writes,
        },
    },
};

const PORTALS: &str = "rely,port";
/// The services that can't be asked what they hold.
const UNASKED: &str = "cto,webhook,cdevents,direktiv,aviator";
const ALL: &str = "rely,port,cto,webhook,cdevents,direktiv,aviator";

const ROW: &str = "deploy production failed~runner_system_failure";

/// The `.post` job of the component `deployment-report`.
fn at_end(sandbox: &Sandbox, destinations: &str) -> Run {
    in_job(&["reconcile"], sandbox)
        .var("NOTIFY_RECONCILE_SINCE", "pipeline")
        .var("CI_PIPELINE_CREATED_AT", ago(7300))
        .var("CI_JOB_NAME", "notify-reconcile")
        .var("NOTIFY_DESTINATIONS", destinations)
        .var("AVIATOR_RELEASE_CANDIDATE", "1.4.0-rc1")
        .var("NOTIFY_ATTEMPTS", "1")
}

/// Jobs and their deployments, with what the jobs left, each by its place.
fn seed(sandbox: &Sandbox, rows: &str, left: &[(usize, &Value)]) {
    let mut jobs = jobs(rows);
    for (place, artifacts) in left {
        jobs[*place]["artifacts"] = (*artifacts).clone();
    }
    seed_jobs(sandbox, &jobs, &json!(deployments(rows)));
    if !aviator_production(sandbox)["deployments"][0].is_null() {
        return;
    }
    sandbox.seed(
        Service::Aviator,
        json!({
            "releases": {"1.4.0-rc1": {"repo": "acme/shop", "commit": "9f2c1e7d"}},
            "environments": {"production": {"deployments": [{"id": "d", "release_candidate_version": "1.4.0-rc1", "status": "started"}]}},
        }),
    );
}

/// Puts another job into the pipeline, one of ours, with what it left.
fn add_job(sandbox: &Sandbox, (id, name): (u64, &str), status: &str, left: &Value) {
    let mut jobs = sandbox.state(Service::GitLab)["pipelines"]["8812"]["jobs"].clone();
    let list = jobs.as_array_mut().expect("a list");
    list.retain(|job| job["id"] != id);
    list.push(json!({"id": id, "name": name, "stage": ".post", "status": status, "artifacts": left}));
    sandbox.seed(Service::GitLab, json!({"pipelines": {"8812": {"jobs": jobs}}}));
}

/// How many events each of the services that can't be asked has taken in: CTO.ai, webhook, CDEvents, Direktiv; and the
/// status of Aviator's deployment.
fn told(sandbox: &Sandbox) -> String {
    let count = |events: &Value| events.as_array().map_or(0, Vec::len);
    format!(
        "{} {} {} {} {}",
        cto_actions(sandbox).len(),
        count(&sandbox.state(Service::Webhook)["events"]),
        cdevents(sandbox).len(),
        count(&direktiv_namespace(sandbox)["events"]),
        aviator_production(sandbox)["deployments"][0]["status"]
            .as_str()
            .unwrap_or("-"),
    )
}

const NOTHING: &str = "0 0 0 0 started";
const ONCE: &str = "1 1 1 1 failure";

/// A sandbox whose deploy job could not deliver its report to any service, and what it left.
fn undelivered() -> (Sandbox, Value) {
    undelivered_with(Options::default())
}

fn undelivered_with(options: Options) -> (Sandbox, Value) {
    let sandbox = Sandbox::start_with(options);
    seed(&sandbox, "deploy production failed", &[]);
    for service in Service::DESTINATIONS {
        sandbox.fail(service, 10, status(503));
    }
    let run = from_inside(&sandbox, (1, "deploy"), "failed")
        .var("NOTIFY_DESTINATIONS", ALL)
        .var("AVIATOR_RELEASE_CANDIDATE", "1.4.0-rc1")
        .var("NOTIFY_ATTEMPTS", "1");
    let (ran, left) = artifacts(run);
    ran.exits(75).says("7 unavailable");
    sandbox.clear_faults();
    seed(&sandbox, "deploy production failed", &[(0, &left)]);
    (sandbox, left)
}

/// A run that finds that everything was told once, and leaves it at that.
fn writes_nothing(sandbox: &Sandbox, run: Run) -> Ran {
    let before = writes(sandbox).len();
    let ran = run.run().exits(0);
    let after = (told(sandbox), writes(sandbox).len());
    assert_eq!(after, (ONCE.to_owned(), before), "{}", ran.stderr);
    ran
}

#[test]
fn what_a_job_could_not_deliver_is_delivered_once() {
    let (sandbox, _) = undelivered();
    let (ran, left) = artifacts(at_end(&sandbox, ALL));
    ran.exits(0).says("of what was not told: 7 sent");
    assert_eq!(told(&sandbox), ONCE);
    assert_eq!(shown(&sandbox), [format!("{ID} FAILURE")]);
    let (ran, left) = artifacts_of(at_end(&sandbox, ALL), &left);
    ran.exits(0);
    assert_eq!(told(&sandbox), ONCE, "called again in the same job");
    // Somebody clicks on "run again".
    add_job(&sandbox, (OWN, "notify-reconcile"), "success", &left);
    add_job(&sandbox, (992, "notify-reconcile"), "running", &json!({}));
    writes_nothing(&sandbox, at_end(&sandbox, ALL).var("CI_JOB_ID", "992")).says("7 skipped");
}

#[test]
fn what_another_job_has_replayed_is_not_delivered_again() {
    let (sandbox, left) = undelivered();
    let replay = in_job(&["replay", ".notify-event"], &sandbox)
        .var("CI_JOB_ID", "70")
        .var("CI_JOB_NAME", "replay");
    let (ran, of_replay) = artifacts_of(replay, &left);
    ran.exits(0).says("7 sent");
    assert_eq!(told(&sandbox), ONCE);
    add_job(&sandbox, (70, "replay"), "success", &of_replay);
    writes_nothing(&sandbox, at_end(&sandbox, ALL));
}

#[test]
fn what_still_can_not_be_delivered_turns_the_job_orange() {
    for (change, code, says, expected) in [
        (vec![], 75, "cto                unavailable", "0 1 1 1 failure"),
        (
            vec![("NOTIFY_ON_ERROR", "fail")],
            1,
            "NOTIFY_ON_ERROR=fail",
            "0 1 1 1 failure",
        ),
        (
            vec![("NOTIFY_ON_ERROR", "ignore")],
            0,
            "NOTIFY_ON_ERROR=ignore",
            "0 1 1 1 failure",
        ),
        (
            vec![("NOTIFY_DESTINATIONS", "rely,port,webhook")],
            0,
            "NOTIFY_DESTINATIONS of this job does not name cdevents",
            "0 1 0 0 started",
        ),
    ] {
        let (sandbox, _) = undelivered();
        sandbox.fail(Service::Cto, 10, status(503));
        let ran = at_end(&sandbox, ALL)
            .vars(change.iter().copied())
            .run()
            .exits(code)
            .says(says);
        assert_eq!(told(&sandbox), expected, "{change:?}\n{}", ran.stderr);
        assert_eq!(shown(&sandbox), [format!("{ID} FAILURE")]);
    }
    // A rotated token: the job itself saw it, and GitLab ignored that its after_script failed.
    for (on_error, code) in [("warn", 76), ("fail", 1), ("ignore", 0)] {
        let sandbox = Sandbox::start();
        let run = from_inside(&sandbox, (1, "deploy"), "success").var("NOTIFY_DESTINATIONS", "rely,cto");
        let rotated = |run: Run| run.vars([("RELY_API_TOKEN", "rotated-1"), ("CTOAI_EVENTS_API_TOKEN", "rotated-2")]);
        let (ran, left) = artifacts(rotated(run));
        ran.exits(76);
        seed(&sandbox, "deploy production success", &[(0, &left)]);
        let ran = rotated(at_end(&sandbox, "rely,cto"))
            .var("NOTIFY_ON_ERROR", on_error)
            .run()
            .exits(code);
        ran.says("Check RELY_API_TOKEN").hides("rotated-1").hides("rotated-2");
        assert_eq!((told(&sandbox).as_str(), shown(&sandbox).len()), (NOTHING, 0));
        at_end(&sandbox, "rely,cto").run().exits(0);
        assert_eq!(shown(&sandbox), [format!("rely: {ID} SUCCESS")]);
    }
}

#[test]
fn the_end_of_a_job_that_left_no_receipt_is_told_by_gitlabs_reason() {
    let own = json!({"dist/app.txt": "x"});
    let none = json!({});
    let of_reason = |reason: &str| format!("deploy production failed~{reason}");
    for (rows, left, expected, code, says) in [
        (
            of_reason("image_pull_failure"),
            &none,
            ONCE,
            0,
            "the end that a deploy job could not tell: deployment failure",
        ),
        (of_reason("job_execution_timeout"), &none, ONCE, 0, "5 sent"),
        (of_reason("runner_system_failure"), &none, ONCE, 0, "5 sent"),
        (of_reason("script_failure"), &none, ONCE, 0, "5 sent"),
        // Its own artifacts stand where its receipt would: what can't be asked and isn't deduplicated is in doubt.
        (
            of_reason("script_failure"),
            &own,
            "0 1 1 1 failure",
            75,
            "its artifacts show no receipt",
        ),
        (
            of_reason("job_execution_timeout"),
            &own,
            "0 1 1 1 failure",
            75,
            "In doubt",
        ),
        // An earlier attempt's archive tells the same.
        (
            format!(
                "{} | {}",
                of_reason("script_failure"),
                of_reason("runner_system_failure")
            ),
            &own,
            "0 1 1 1 failure",
            75,
            "In doubt",
        ),
        // Of these nothing is made up.
        (of_reason("unknown_failure"), &none, NOTHING, 0, ""),
        (of_reason("stuck_or_timeout_failure!"), &none, NOTHING, 0, ""),
        ("deploy production canceled".to_owned(), &none, NOTHING, 0, ""),
        ("deploy production success".to_owned(), &none, NOTHING, 0, ""),
        ("deploy production running".to_owned(), &none, NOTHING, 0, ""),
        ("deploy production blocked".to_owned(), &none, NOTHING, 0, ""),
        (
            format!("{} | deploy production success", of_reason("runner_system_failure")),
            &none,
            NOTHING,
            0,
            "",
        ),
    ] {
        let sandbox = Sandbox::start();
        seed(&sandbox, &rows, &[(0, left)]);
        let (ran, of_post) = artifacts(at_end(&sandbox, UNASKED));
        let case = format!("{rows}, {left}\n{}", ran.stderr);
        assert_eq!(told(&sandbox), expected, "{case}");
        let ran = ran.exits(code).says(says);
        if code == 75 {
            let sandbox = Sandbox::start();
            seed(&sandbox, &rows, &[(0, left)]);
            at_end(&sandbox, UNASKED).var("NOTIFY_ON_DOUBT", "send").run().exits(0);
            assert_eq!(told(&sandbox), ONCE, "{case}");
        }
        // A second call tells nothing twice, whatever the first one told: in the same job, and in another one.
        let (again, of_post) = artifacts_of(at_end(&sandbox, UNASKED), &of_post);
        assert_eq!(told(&sandbox), expected, "{case}\nin the same job\n{}", again.stderr);
        add_job(&sandbox, (OWN, "notify-reconcile"), "success", &of_post);
        add_job(&sandbox, (992, "notify-reconcile"), "running", &none);
        let again = at_end(&sandbox, UNASKED).var("CI_JOB_ID", "992").run();
        assert_eq!(
            told(&sandbox),
            expected,
            "{case}\nand again\n{}\n{}",
            again.stderr,
            ran.stderr
        );
    }
}

#[test]
fn what_was_told_from_inside_or_from_beside_is_not_told_again() {
    let rows = "deploy production failed~script_failure | report production created!";
    for (case, place, is_down) in [("inside", 0, false), ("beside", 1, false), ("kept beside", 1, true)] {
        let sandbox = Sandbox::start();
        seed(&sandbox, rows, &[]);
        for service in Service::DESTINATIONS {
            sandbox.fail(service, if is_down { 10 } else { 0 }, status(503));
        }
        let run = match case {
            "inside" => from_inside(&sandbox, (1, "deploy"), "failed"),
            _ => report(&sandbox, "deploy").vars([("CI_JOB_ID", "2"), ("CI_JOB_NAME", "report")]),
        };
        let run = run
            .vars([("NOTIFY_DESTINATIONS", UNASKED), ("NOTIFY_ATTEMPTS", "1")])
            .var("AVIATOR_RELEASE_CANDIDATE", "1.4.0-rc1");
        let (ran, left) = artifacts(run);
        ran.exits(if is_down { 75 } else { 0 });
        assert_eq!(told(&sandbox), if is_down { NOTHING } else { ONCE }, "{case}");
        sandbox.clear_faults();
        seed(&sandbox, rows, &[(place, &left)]);
        if is_down {
            at_end(&sandbox, UNASKED).run().exits(0).says("5 sent");
        } else {
            let before = writes(&sandbox).len();
            at_end(&sandbox, UNASKED).run().exits(0);
            assert_eq!(writes(&sandbox).len(), before, "{case}");
        }
        assert_eq!(told(&sandbox), ONCE, "{case}");
    }
}

#[test]
fn a_second_attempt_that_was_lost_is_told_though_the_first_one_told_its_own_end() {
    let sandbox = Sandbox::start();
    seed(&sandbox, "deploy production failed", &[]);
    let (ran, left) =
        artifacts(from_inside(&sandbox, (1, "deploy"), "failed").var("NOTIFY_DESTINATIONS", "cto,rely,port"));
    ran.exits(0);
    let rows = "deploy production failed~script_failure | deploy production failed~runner_system_failure";
    seed(&sandbox, rows, &[(0, &left)]);
    let (ran, left) = artifacts(at_end(&sandbox, "cto,rely,port"));
    ran.exits(0)
        .says("its createdAt was an earlier attempt's")
        .says("1 sent");
    assert_eq!(cto_actions(&sandbox), ["failure", "failure"]);
    add_job(&sandbox, (OWN, "notify-reconcile"), "success", &left);
    add_job(&sandbox, (992, "notify-reconcile"), "running", &json!({}));
    at_end(&sandbox, "cto,rely,port").var("CI_JOB_ID", "992").run().exits(0);
    assert_eq!(cto_actions(&sandbox).len(), 2);
}

#[test]
fn the_portals_are_compared_for_this_pipeline_alone() {
    let sandbox = recorded(ROW);
    let other = json!({"deployable": {
        "pipeline": 8811, "status": "failed", "created_at": ago(4000), "started_at": ago(3900), "finished_at": ago(3800),
    }});
    sandbox.seed(Service::GitLab, json!({"deployments": [{"deployable": 1}, other]}));
    hold(&sandbox, ID, &json!({"status": "IN_PROGRESS"}));
    at_end(&sandbox, PORTALS)
        .var("NOTIFY_RECONCILE_PROJECTS", "acme/other")
        .run()
        .exits(0)
        .says("2 repaired");
    assert_eq!(shown(&sandbox), [format!("{ID} FAILURE")]);
    assert_eq!(held(&sandbox, Service::Rely, ID)["title"], "t");
    // Where all was told it costs a few requests.
    let before = sandbox.requests().len();
    at_end(&sandbox, PORTALS).run().exits(0).says("2 agreed, 0 repaired");
    let asked = sandbox.requests().len() - before;
    assert!(asked <= 6, "{asked} requests");
}

#[test]
fn what_gitlab_does_not_show_is_said_and_the_job_stays_green() {
    let refused = GitLabAccess::Refused(403);
    let open = GitLabAccess::Allowed;
    for (deployments, jobs, artifacts_of_jobs, expected, portals, code, says) in [
        (
            refused,
            open,
            open,
            ONCE,
            true,
            0,
            "the deployments of acme/shop can't be read",
        ),
        (
            open,
            refused,
            open,
            NOTHING,
            true,
            0,
            "what the pipeline's jobs kept is not delivered",
        ),
        (
            refused,
            refused,
            open,
            NOTHING,
            false,
            0,
            "the deployments of acme/shop can't be read",
        ),
        (
            open,
            open,
            refused,
            NOTHING,
            true,
            75,
            "the receipt of job 1 can't be read",
        ),
    ] {
        let (sandbox, _) = undelivered_with(Options {
            gitlab_deployments: deployments,
            gitlab_jobs: jobs,
            gitlab_artifacts: artifacts_of_jobs,
            ..Options::default()
        });
        let ran = at_end(&sandbox, ALL).run();
        let case = format!("{says}\n{}", ran.stderr);
        assert_eq!(told(&sandbox), expected, "{case}");
        assert_eq!(!shown(&sandbox).is_empty(), portals, "{case}");
        ran.exits(code).says(says);
    }
}

#[test]
fn a_dry_run_shows_what_would_be_told_and_delivered() {
    let (sandbox, _) = undelivered();
    let before = writes(&sandbox).len();
    let ran = at_end(&sandbox, ALL)
        .var("NOTIFY_DRY_RUN", "true")
        .run()
        .exits(0)
        .says("nothing was written: ");
    assert_eq!(writes(&sandbox).len(), before, "{}", ran.stderr);
    let sandbox = recorded(ROW);
    at_end(&sandbox, ALL)
        .var("NOTIFY_DRY_RUN", "true")
        .run()
        .exits(0)
        .says("7 would be repaired");
    assert_eq!(writes(&sandbox), [""; 0]);
}
