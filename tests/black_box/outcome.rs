//! What really happened: for every way in which a pipeline can go, the event that arrives is the truth, or nothing is
//! sent and the report says why: a guess is never reported (docs/gitlab.md 3, 8).

use sandbox::{Fault, GitLabAccess, Options, Sandbox, Service};
use serde_json::{Value, json};

use crate::{
    gitlab::{in_job, jobs, seed, seed_only, writes},
    support::{
        Ran, Run, asked,
        faults::{reply, status},
        folder,
        held::{cto_actions, port_deployment, rely_entity},
        notify,
    },
};

/// Rely's words for the actions (its stock blueprint).
fn rely_word(action: &str) -> &'static str {
    match action {
        "success" => "SUCCESS",
        "failure" => "FAILED",
        "canceled" => "CANCELED",
        "progressing" => "IN_PROGRESS",
        "blocked" => "BLOCKED",
        other => panic!("{other} is never found out"),
    }
}

/// Checks that this action, and nothing else, has arrived at Rely and at CTO.ai.
#[track_caller]
fn arrived(sandbox: &Sandbox, action: &str, case: &str) {
    let entity = rely_entity(sandbox);
    assert_eq!(entity["properties"]["status"], rely_word(action), "{case}: {entity}");
    let is_final = matches!(action, "success" | "failure" | "canceled");
    let successful = if is_final {
        json!(action == "success")
    } else {
        Value::Null
    };
    assert_eq!(entity["properties"]["successful"], successful, "{case}: {entity}");
    assert_eq!(
        !entity["properties"]["closedAt"].is_null(),
        is_final,
        "{case}: {entity}"
    );
    assert_eq!(cto_actions(sandbox), [action], "{case}");
}

#[track_caller]
fn nothing_arrived(sandbox: &Sandbox, case: &str) {
    let sent = writes(sandbox);
    assert!(sent.is_empty(), "{case}: {sent:?}");
}

/// Rows of `case; jobs => outcome; text that the report holds`. The outcome is an action, `nothing` (there is nothing to
/// report, and the job ends well) or `unknown` (it can't be known, and the job says what to set).
fn check(watched: Option<&str>, rows: &[&str]) {
    let sandbox = Sandbox::start();
    for (turn, row) in rows.iter().enumerate() {
        let (case, rest) = row.split_once("; ").expect("a case");
        let (list, rest) = rest.split_once(" => ").expect("an outcome");
        let (outcome, text) = rest.split_once("; ").expect("a text");
        sandbox.reset();
        seed(&sandbox, jobs(list));
        let mut run = in_job(&["rely", "cto"], &sandbox);
        if let Some(watched) = watched {
            run = run.var("NOTIFY_JOB", watched);
        }
        if turn % 2 == 1 {
            run = run.var("EVENT_ACTION", "auto");
        }
        let ran = run.run();
        let ran = match outcome {
            "unknown" => {
                nothing_arrived(&sandbox, case);
                ran.exits(78).says("EVENT_ACTION is auto, and")
            }
            "nothing" => {
                nothing_arrived(&sandbox, case);
                ran.exits(0).says("2 skipped")
            }
            action => {
                let ran = ran.exits(0).says("from GitLab's jobs: ");
                arrived(&sandbox, action, case);
                ran
            }
        };
        assert!(ran.stderr.contains(text), "{case}: {text:?} is not in:\n{}", ran.stderr);
    }
}

#[test]
fn the_watched_job_is_reported_as_it_ended() {
    check(
        Some("deploy"),
        &[
            "success; build success | deploy success => success; job `deploy` succeeded",
            "failure; build success | deploy failed => failure; job `deploy` failed (script_failure)",
            "failure behind a skipped job; build success | gate skipped | deploy failed => failure; `deploy` failed",
            "never ran, for an earlier job failed; build failed | deploy skipped => nothing; `deploy` was skipped: it never ran",
            "failure with allow_failure; build success | deploy failed? => failure; though GitLab lets it pass (allow_failure)",
            "manual, optional, not played; build success | deploy manual? => blocked; waits for somebody to start it (manual)",
            "manual, blocking, not played; build success | deploy manual | smoke created => blocked; waits for somebody",
            "manual, played; build success | deploy success? => success; job `deploy` succeeded",
            "manual, played, still runs; build success | deploy running? => progressing; still runs",
            "manual, played, failed; build success | deploy failed? => failure; job `deploy` failed",
            "canceled while it ran; deploy canceled => canceled; job `deploy` was canceled",
            "being canceled; deploy canceling => canceled; is being canceled",
            "retried once; deploy failed | deploy success => success; at attempt 2",
            "retried twice; deploy failed | deploy failed | deploy failed => failure; at attempt 3",
            "failure, then success; deploy failed | deploy canceled | deploy success => success; at attempt 3",
            "success, then failure; deploy success | deploy failed => failure; at attempt 2",
            "failure, then it runs; deploy failed | deploy running => progressing; at attempt 2",
            "needs: others still run; test running | deploy success | docs created => success; `deploy` succeeded",
            "stage order: its turn has not come; test running | deploy created => blocked; waits for other jobs",
            "another job's failure; deploy success | smoke failed => success; `deploy` succeeded",
            "no such job; build success | deplyo success => unknown; did you mean `deplyo`?",
            "no runner; build success | deploy failed! => nothing; `deploy` failed before it started (stuck_or_timeout_failure: no runner took it in time), so it deployed nothing",
            "canceled with its pipeline; deploy canceled! => nothing; was canceled before it started",
            "failed, and no runner for the retry; deploy failed | deploy failed! => failure; at attempt 1; attempt 2 of `deploy` failed before it started",
            "success, and a rollback that is refused; deploy success | deploy failed! => nothing; what was deployed before stays as it is",
            "failure, then it waits again; deploy failed | deploy pending => progressing; at attempt 2",
            "a trigger job; build success | deploy success>failed => failure; `deploy` failed in its downstream pipeline 9002",
            "a trigger job that went well; deploy success>success => success; in its downstream pipeline 9001",
        ],
    );
}

#[test]
fn parallel_and_matrix_jobs_are_reported_as_one() {
    check(
        Some("deploy"),
        &[
            "all went well; deploy 1/3 success | deploy 2/3 success | deploy 3/3 success => success; all 3 parts of `deploy` succeeded",
            "one failed; deploy 1/3 success | deploy 2/3 failed | deploy 3/3 success => failure; job `deploy 2/3` failed",
            "one failed, another runs; deploy 1/2 running | deploy 2/2 failed => failure; `deploy 2/2` failed",
            "one runs; deploy 1/2 success | deploy 2/2 running => progressing; `deploy 2/2` still runs",
            "one was retried; deploy 1/2 failed | deploy 2/2 success | deploy 1/2 success => success; all 2 parts",
            "matrix, all well; deploy: [prod, eu] success | deploy: [prod, us] success => success; all 2 parts",
            "matrix, one failed; deploy: [prod, eu] success | deploy: [prod, us] failed => failure; `deploy: [prod, us]` failed",
            "others are not parts; deploy 1/2 success | deploy 2/2 success | deploy-docs failed => success; all 2 parts",
        ],
    );
}

#[test]
fn without_notify_job_the_whole_pipeline_is_reported() {
    check(
        None,
        &[
            "success; build success | deploy success => success; all 2 other jobs that ran succeeded",
            "failure; build success | deploy failed => failure; job `deploy` failed (script_failure)",
            "failure behind a skipped job; build failed | test skipped | deploy skipped => failure; job `build` failed",
            "failure with allow_failure; build success | deploy failed? => success; which allow_failure lets pass",
            "manual, optional, not played; build success | deploy manual? => success; `deploy`, which nobody has started",
            "manual, blocking, not played; build success | deploy manual => blocked; waits for somebody",
            "manual, played, failed; build success | deploy failed => failure; job `deploy` failed",
            "canceled while it ran; build success | deploy canceled => canceled; `deploy` was canceled",
            "canceled before; build canceled | deploy canceled => canceled; was canceled",
            "canceled and failed; build failed | deploy canceled => failure; job `build` failed",
            "retried; build success | deploy failed | deploy success => success; all 2 other jobs",
            "parallel with one failed; t 1/2 success | t 2/2 failed => failure; `t 2/2` failed",
            "others still run; build success | deploy running => progressing; name it in NOTIFY_JOB",
            "peers in .post wait; deploy success | report@.post created => success; left out: `report`, of this job's stage or last",
            "a peer in .post failed; deploy success | report@.post failed => failure; job `report` failed",
            "only a peer; report@.post running => unknown; they may be notify jobs too",
            "nothing ran; deploy skipped => nothing; nothing was deployed",
            "alone;  => unknown; no job but this one that GitLab shows",
            "an allowed cancel; lint canceled? | deploy success => success; `lint` was canceled, which allow_failure lets pass",
            "an approval was refused; build success | deploy failed! => failure; `deploy` failed before it started",
            "canceled before anything ran; build canceled! | deploy canceled! => nothing; none of the pipeline's other jobs ran",
            "a trigger job that waits; build success | deploy failed>failed => failure; `deploy` failed in its downstream pipeline 9002",
            "a trigger job that does not wait; deploy success>failed => failure; in its downstream pipeline 9001",
            "a trigger job that may fail; build success | docs failed>failed? => success; which allow_failure lets pass",
            "a trigger job whose pipeline runs; build success | deploy success>running => progressing; in its downstream pipeline",
            "a parent of child pipelines; deploy success>success => success; the one other job that ran succeeded",
        ],
    );
}

#[test]
fn a_job_that_was_never_played_is_no_event_where_only_ends_are_wanted() {
    let sandbox = Sandbox::start();
    seed(&sandbox, jobs("build success | deploy manual?"));
    in_job(&["rely", "cto"], &sandbox)
        .var("NOTIFY_JOB", "deploy")
        .var("NOTIFY_ONLY", "success,failure,canceled")
        .run()
        .exits(0)
        .says("leaves blocked out");
    nothing_arrived(&sandbox, "NOTIFY_ONLY");
}

#[test]
fn a_start_that_was_told_is_taken_back_where_the_job_never_started() {
    let sandbox = Sandbox::start();
    let list = |with_receipt: Option<&Value>, status: &str| {
        let mut list = jobs(&format!("tell-start success | build success | deploy {status}"));
        list[1]["artifacts"] = json!({"build.log": "fine"});
        if let Some(receipt) = with_receipt {
            list[0]["artifacts"] = json!({".notify-event/receipt.json": receipt});
        }
        list
    };
    let run = |case: &str| {
        let project = folder(&format!("told-{case}"));
        in_job(&["rely", "cto"], &sandbox)
            .var("NOTIFY_JOB", "deploy")
            .var("NOTIFY_OUTPUT_DIR", project.join(".notify-event"))
            .var("CI_PROJECT_DIR", &project)
    };
    let receipt = |id: &str, action: &str, class: &str| {
        json!({"project_id": "42", "pipeline_id": "8812", "job_id": "1", "destinations": [{
            "destination": "rely", "operation": "upsert", "class": class, "event_id": id, "action": action,
        }]})
    };
    for (case, receipt) in [
        ("nothing", None),
        (
            "another-service",
            Some(receipt("acme-shop-8812-other", "started", "sent")),
        ),
        ("another-word", Some(receipt("acme-shop-8812", "blocked", "sent"))),
        ("undelivered", Some(receipt("acme-shop-8812", "started", "unavailable"))),
    ] {
        seed(&sandbox, list(receipt.as_ref(), "failed!"));
        run(case)
            .run()
            .exits(0)
            .says("so it deployed nothing, and no receipt that its jobs left says that its start was told")
            .says("2 skipped");
        nothing_arrived(&sandbox, case);
    }
    let told = receipt("acme-shop-8812", "started", "sent");
    for status in ["failed!", "canceled!"] {
        sandbox.reset();
        seed(&sandbox, list(Some(&told), status));
        run("told")
            .run()
            .exits(0)
            .says("before it started")
            .says("its start was told, so this is its end");
        arrived(&sandbox, "canceled", status);
        assert_eq!(rely_entity(&sandbox)["properties"]["duration"], Value::Null);
    }
    in_job(&["rely"], &sandbox)
        .var("NOTIFY_JOB", "deploy")
        .run()
        .exits(0)
        .says("whether its start was told can't be known (NOTIFY_OUTPUT_DIR names no folder of the project");
}

#[test]
fn three_services_of_a_pipeline_show_three_truths() {
    let sandbox = Sandbox::start();
    seed(
        &sandbox,
        jobs("deploy-cart failed | deploy-shop canceled | deploy-pay failed | deploy-pay success"),
    );
    for (service, word) in [("cart", "FAILED"), ("shop", "CANCELED"), ("pay", "SUCCESS")] {
        in_job(&["rely"], &sandbox)
            .var("NOTIFY_JOB", format!("deploy-{service}"))
            .var("EVENT_ID", service)
            .run()
            .exits(0);
        let entities = sandbox.state(Service::Rely)["entities"].clone();
        assert_eq!(entities[service]["properties"]["status"], word, "{service}: {entities}");
    }
    assert_eq!(asked(&sandbox, Service::GitLab).len(), 3, "no trigger job matters");
}

#[test]
fn a_timeout_is_a_failure_and_is_called_one() {
    let sandbox = Sandbox::start();
    let mut list = jobs("build success | deploy failed");
    list[1]["failure_reason"] = json!("job_execution_timeout");
    seed(&sandbox, list);
    in_job(&["rely", "cto"], &sandbox)
        .run()
        .exits(0)
        .says("job `deploy` failed (job_execution_timeout)");
    arrived(&sandbox, "failure", "timeout");
}

#[test]
fn a_jobs_own_after_script_reports_its_end() {
    for (status, action) in [("success", "success"), ("failed", "failure"), ("canceled", "canceled")] {
        // GitLab takes a canceled job's token away before its after_script runs.
        let sandbox = Sandbox::start_with(Options {
            gitlab_job_token_expired: status == "canceled",
            ..Options::default()
        });
        seed_only(&sandbox, &[json!({"id": 991, "name": "deploy", "status": "running"})]);
        let ran = in_job(&["rely", "cto"], &sandbox)
            .var("CI_JOB_NAME", "deploy")
            .var("CI_JOB_STATUS", status)
            .var("CI_JOB_STARTED_AT", "2025-03-01T10:02:02Z")
            .run()
            .exits(0)
            .says("(action from CI_JOB_STATUS)")
            .says("2 sent");
        arrived(&sandbox, action, status);
        if status == "canceled" {
            // What is sent once wants to know of earlier attempts. It can't, says so, and is sent.
            ran.says("whether an earlier attempt of this job has sent this can't be known");
        }
    }
}

#[test]
fn what_can_be_repeated_is_reported_from_an_after_script_without_gitlab() {
    let sandbox = Sandbox::start();
    in_job(&["rely"], &sandbox)
        .var("CI_JOB_STATUS", "canceled")
        .var("CI_JOB_STARTED_AT", "2025-03-01T10:02:02Z")
        .run()
        .exits(0);
    assert_eq!(rely_entity(&sandbox)["properties"]["status"], "CANCELED");
    assert_eq!(sandbox.requests_to(Service::GitLab).len(), 0);
}

#[test]
fn a_gitlab_that_refuses_is_named_and_nothing_is_guessed() {
    for status in [401, 403, 404] {
        let options = Options {
            gitlab_jobs: GitLabAccess::Refused(status),
            ..Options::default()
        };
        let sandbox = Sandbox::start_with(options);
        seed(&sandbox, jobs("deploy success"));
        in_job(&["rely", "cto"], &sandbox)
            .run()
            .exits(78)
            .says("EVENT_ACTION is auto, and GitLab does not show this to CI_JOB_TOKEN")
            .says(&status.to_string())
            .says("NOTIFY_GITLAB_TOKEN with read_api")
            .says("Set it to one of started, progressing, success, failure, canceled, blocked");
        nothing_arrived(&sandbox, "refused");
        in_job(&["rely", "cto"], &sandbox)
            .var("NOTIFY_GITLAB_TOKEN", sandbox.gitlab_access_token())
            .run()
            .exits(0)
            .hides(&sandbox.gitlab_access_token());
        arrived(&sandbox, "success", "NOTIFY_GITLAB_TOKEN");
        let asked = sandbox.requests_to(Service::GitLab);
        let last = asked.last().expect("GitLab was asked");
        assert_eq!(last.header("private-token"), Some(&*sandbox.gitlab_access_token()));
        assert_eq!(last.header("job-token"), None);
    }
}

#[test]
fn a_wrong_token_is_named() {
    let sandbox = Sandbox::start();
    seed(&sandbox, jobs("deploy success"));
    in_job(&["rely", "cto"], &sandbox)
        .var("NOTIFY_GITLAB_TOKEN", "glpat-of-somebody-else")
        .run()
        .exits(78)
        .says("GitLab does not show this to NOTIFY_GITLAB_TOKEN")
        .hides("glpat-of-somebody-else");
    nothing_arrived(&sandbox, "wrong token");
}

#[test]
fn an_outage_of_gitlab_is_no_outcome() {
    let out = |code| reply(code, &[("retry-after", "0")], "<html>maintenance</html>");
    for (case, fault, text) in [
        ("503", out(503), "503"),
        ("500", out(500), "500"),
        ("reset", Fault::Reset, "GitLab did not tell"),
        ("hang", Fault::Hang, "GitLab did not tell"),
        ("HTML", Fault::Html, "an HTML page"),
        ("no JSON", Fault::NotJson, "GitLab did not tell"),
        ("another's list", reply(200, &[], "{}"), "GitLab did not tell"),
    ] {
        let sandbox = Sandbox::start();
        seed(&sandbox, jobs("deploy success"));
        sandbox.fail(Service::GitLab, 100, fault);
        let ran = in_job(&["rely", "cto"], &sandbox)
            .var("NOTIFY_ATTEMPT_TIMEOUT", "0.3")
            .var("NOTIFY_TIMEOUT", "6")
            .run()
            .exits(78)
            .says("EVENT_ACTION is auto, and");
        assert!(ran.stderr.contains(text), "{case}: {}", ran.stderr);
        nothing_arrived(&sandbox, case);
    }
}

#[test]
fn a_gitlab_that_stumbles_is_asked_again() {
    let sandbox = Sandbox::start();
    seed(&sandbox, jobs("deploy failed"));
    sandbox.fail(Service::GitLab, 2, status(503));
    in_job(&["rely", "cto"], &sandbox).run().exits(0);
    arrived(&sandbox, "failure", "the third attempt");
}

#[test]
fn a_gitlab_that_is_down_holds_up_no_event_whose_action_is_given() {
    for fault in [Fault::Hang, Fault::Reset, Fault::status(503)] {
        let sandbox = Sandbox::start();
        sandbox.fail(Service::GitLab, 100, fault);
        in_job(&["rely", "cto"], &sandbox)
            .var("EVENT_ACTION", "failure")
            .var("NOTIFY_ATTEMPT_TIMEOUT", "2")
            .var("NOTIFY_TIMEOUT", "3")
            .run()
            .exits(0)
            .says("can't be known")
            .says("2 sent");
        arrived(&sandbox, "failure", "GitLab is down");
    }
}

#[test]
fn a_pipeline_of_many_jobs_is_read_to_its_last_page() {
    let sandbox = Sandbox::start();
    // The newest come first: the job that failed is on the third page.
    let mut list = jobs("deploy failed");
    list.extend((2..=260).map(|id| json!({"id": id, "name": format!("test {id}/260"), "stage": "test"})));
    seed(&sandbox, list);
    in_job(&["rely", "cto"], &sandbox)
        .run()
        .exits(0)
        .says("job `deploy` failed");
    arrived(&sandbox, "failure", "paging");
    let asked = sandbox.requests_to(Service::GitLab);
    assert_eq!(asked.len(), 3, "each page once: {asked:?}");
    assert!(asked.iter().all(|request| request.query.contains("per_page=100")));
}

#[test]
fn where_trigger_jobs_cant_be_read_no_success_is_known() {
    let refused = [401, 403, 404].map(GitLabAccess::Refused);
    for access in refused.into_iter().chain([GitLabAccess::Missing]) {
        let sandbox = Sandbox::start_with(Options {
            gitlab_trigger_jobs: access,
            gitlab_bridges: access,
            ..Options::default()
        });
        let run = |list: &str, watched: &str| {
            sandbox.reset();
            seed(&sandbox, jobs(list));
            in_job(&["rely", "cto"], &sandbox).var("NOTIFY_JOB", watched).run()
        };
        run("build success | child success>failed", "")
            .exits(78)
            .says("EVENT_ACTION is auto, and whether the whole pipeline went well is not known")
            .says("the pipeline's trigger jobs can't be read: GitLab does not show this to CI_JOB_TOKEN")
            .says("Name the job that deploys in NOTIFY_JOB, or set EVENT_ACTION");
        nothing_arrived(&sandbox, "unseen");
        run("build success | child success>failed", "child")
            .exits(78)
            .says("there is `build`. It may be a trigger job");
        nothing_arrived(&sandbox, "an unseen trigger job");
        run("build failed | child success>failed", "").exits(0);
        arrived(&sandbox, "failure", "a failure is known all the same");
        run("build canceled | child success>failed", "").exits(0);
        arrived(&sandbox, "canceled", "and so is a cancel");
        run("deploy success | child success>failed", "deploy").exits(0);
        arrived(&sandbox, "success", "and the end of the job that is named");
        assert_eq!(
            asked(&sandbox, Service::GitLab).len(),
            1,
            "it was not asked for trigger jobs"
        );
    }
}

#[test]
fn trigger_jobs_are_read_by_the_route_that_there_is_and_by_the_token_that_is_given() {
    for (trigger_jobs, bridges, token) in [
        (GitLabAccess::Allowed, GitLabAccess::Refused(401), None),
        (GitLabAccess::Missing, GitLabAccess::Allowed, None),
        (GitLabAccess::Refused(403), GitLabAccess::Allowed, None),
        (GitLabAccess::Missing, GitLabAccess::Refused(401), Some("a user's")),
    ] {
        let sandbox = Sandbox::start_with(Options {
            gitlab_trigger_jobs: trigger_jobs,
            gitlab_bridges: bridges,
            ..Options::default()
        });
        seed(&sandbox, jobs("build success | child success>failed"));
        let mut run = in_job(&["rely", "cto"], &sandbox);
        if token.is_some() {
            run = run.var("NOTIFY_GITLAB_TOKEN", sandbox.gitlab_access_token());
        }
        run.run()
            .exits(0)
            .says("job `child` failed in its downstream pipeline 9002");
        arrived(&sandbox, "failure", "a trigger job");
        let routes = 1 + usize::from(trigger_jobs != GitLabAccess::Allowed);
        assert_eq!(asked(&sandbox, Service::GitLab).len(), 1 + routes, "{trigger_jobs:?}");
    }
    // An outage is no missing route.
    let sandbox = Sandbox::start();
    seed(&sandbox, jobs("build success"));
    sandbox.fail_on(
        Service::GitLab,
        "GET /api/v4/projects/42/pipelines/8812/trigger_jobs",
        100,
        reply(503, &[("retry-after", "0")], "down"),
    );
    in_job(&["rely", "cto"], &sandbox)
        .run()
        .exits(78)
        .says("the pipeline's trigger jobs can't be read: GitLab did not tell");
    nothing_arrived(&sandbox, "an outage of the trigger jobs");
}

#[test]
fn a_list_without_this_job_is_not_believed() {
    let sandbox = Sandbox::start_with(Options {
        gitlab_reads_builds: false,
        ..Options::default()
    });
    seed(&sandbox, jobs("build success | deploy success"));
    for watched in ["", "deploy"] {
        in_job(&["rely", "cto"], &sandbox)
            .var("NOTIFY_JOB", watched)
            .run()
            .exits(78)
            .says("GitLab shows CI_JOB_TOKEN none of the pipeline's jobs, not even this one")
            .says("read_build");
        nothing_arrived(&sandbox, "an empty list");
    }
    // What is sent once can't know of earlier attempts then.
    in_job(&["cto"], &sandbox)
        .var("EVENT_ACTION", "success")
        .run()
        .exits(0)
        .says("can't be known")
        .says("1 sent");

    let sandbox = Sandbox::start();
    seed_only(&sandbox, &jobs("build success | deploy success"));
    in_job(&["rely", "cto"], &sandbox)
        .run()
        .exits(78)
        .says("this very job is not in GitLab's list of the pipeline's jobs");
    nothing_arrived(&sandbox, "a list that lacks this job");
    in_job(&["rely", "cto"], &sandbox)
        .var("NOTIFY_JOB", "deploy")
        .run()
        .exits(0);
    arrived(&sandbox, "success", "the job that was asked about is there");
}

#[test]
fn a_status_of_this_job_that_nobody_knows_asks_no_other_job() {
    let sandbox = Sandbox::start();
    seed(&sandbox, jobs("deploy success"));
    for watched in ["", "deploy"] {
        in_job(&["rely"], &sandbox)
            .var("CI_JOB_STATUS", "levitating")
            .var("NOTIFY_JOB", watched)
            .run()
            .exits(78)
            .says("levitating");
    }
    nothing_arrived(&sandbox, "an unknown status");
    assert_eq!(sandbox.requests_to(Service::GitLab).len(), 0);
}

#[test]
fn an_action_that_is_given_asks_nobody() {
    for action in ["started", "success", "failed", "canceled", "blocked"] {
        let sandbox = Sandbox::start();
        in_job(&["rely", "port", "direktiv"], &sandbox)
            .var("EVENT_ACTION", action)
            .run()
            .exits(0)
            .says("(action from EVENT_ACTION)");
        assert_eq!(sandbox.requests_to(Service::GitLab).len(), 0, "{action}");
    }
}

#[test]
fn reading_needs_no_action() {
    let sandbox = Sandbox::start();
    in_job(&["aviator:list"], &sandbox)
        .var("EVENT_ENVIRONMENT", "production")
        .run()
        .exits(0);
    assert_eq!(sandbox.requests_to(Service::GitLab).len(), 0);
}

#[test]
fn an_action_that_is_given_asks_once_for_a_time_or_for_what_is_sent_once() {
    for (arguments, title) in [
        (&["cto"][..], ""),
        (&["rely"], "after {{ event.duration }} s"),
        (&["rely", "cto"], "attempt {{ event.attempt }}"),
    ] {
        let sandbox = Sandbox::start();
        seed(&sandbox, jobs("deploy success"));
        in_job(arguments, &sandbox)
            .var("EVENT_ACTION", "failure")
            .var("NOTIFY_JOB", "deploy")
            .var("RELY_ENTITY_TITLE", title)
            .run()
            .exits(0)
            .says("(action from EVENT_ACTION)");
        assert_eq!(sandbox.requests_to(Service::GitLab).len(), 1, "{arguments:?}");
        if arguments.contains(&"rely") {
            assert_eq!(
                rely_entity(&sandbox)["properties"]["status"],
                "FAILED",
                "what is given wins"
            );
        }
    }
}

#[test]
fn times_are_those_of_the_watched_job() {
    let sandbox = Sandbox::start();
    let mut list = jobs("build success | deploy failed | deploy success | smoke failed");
    list[2]["duration"] = json!(57.9);
    list[2]["queued_duration"] = json!(6.6);
    seed(&sandbox, list);
    in_job(&["rely", "port"], &sandbox)
        .var("NOTIFY_JOB", "deploy")
        .var(
            "RELY_ENTITY_TITLE",
            "{{ event.duration }} s, attempt {{ event.attempt }} by {{ event.started_by }}, queued {{ event.queued }} s, \
             {{ event.job }} from {{ event.started_at }} to {{ event.finished_at }}, {{ event.job_url }}",
        )
        .run()
        .exits(0);
    let rely = rely_entity(&sandbox);
    let url = "https://gitlab.example.com/acme/shop/-/jobs/3";
    assert_eq!(
        rely["title"],
        format!(
            "58 s, attempt 2 by user3, queued 7 s, deploy from 2025-03-01T10:03:02Z to 2025-03-01T10:04:00Z, {url}"
        )
    );
    assert_eq!(rely["properties"]["closedAt"], "2025-03-01T10:04:00Z");
    assert_eq!(rely["properties"]["duration"], 58);
    let port = &port_deployment(&sandbox, "acme-shop-8812")["properties"];
    assert_eq!(port["startedAt"], "2025-03-01T10:03:02Z");
    assert_eq!(port["finishedAt"], "2025-03-01T10:04:00Z");
    assert_eq!(port["duration"], 58);
}

#[test]
fn times_of_a_whole_pipeline_go_from_its_first_start_to_its_last_end() {
    let sandbox = Sandbox::start();
    seed(&sandbox, jobs("build success | deploy success | report@.post success"));
    in_job(&["port"], &sandbox).run().exits(0);
    let port = &port_deployment(&sandbox, "acme-shop-8812")["properties"];
    assert_eq!(port["startedAt"], "2025-03-01T10:01:02Z");
    assert_eq!(
        port["finishedAt"], "2025-03-01T10:03:00Z",
        "the notify job before is no part of it"
    );
    assert_eq!(port["duration"], 118);
}

#[test]
fn a_job_that_goes_on_has_a_start_and_no_end() {
    let sandbox = Sandbox::start();
    seed(&sandbox, jobs("deploy running"));
    in_job(&["port"], &sandbox).var("NOTIFY_JOB", "deploy").run().exits(0);
    let port = &port_deployment(&sandbox, "acme-shop-8812")["properties"];
    assert_eq!(port["startedAt"], "2025-03-01T10:01:02Z");
    assert_eq!((&port["finishedAt"], &port["duration"]), (&Value::Null, &Value::Null));
}

#[test]
fn times_in_an_after_script_are_the_jobs_own() {
    let sandbox = Sandbox::start();
    in_job(&["port"], &sandbox)
        .var("CI_JOB_STATUS", "failed")
        .var("CI_JOB_STARTED_AT", "2025-03-01T10:02:02Z")
        .run()
        .exits(0);
    let port = &port_deployment(&sandbox, "acme-shop-8812")["properties"];
    assert_eq!(port["startedAt"], "2025-03-01T10:02:02Z");
    assert_eq!(
        (&port["status"], &port["successful"]),
        (&json!("FAILURE"), &json!(false))
    );
    assert!(
        port["duration"].as_u64().is_some_and(|seconds| seconds > 1_000_000),
        "{port}"
    );
}

#[test]
fn a_time_that_nobody_knows_is_misconfigured_unless_it_has_a_default() {
    let sandbox = Sandbox::start();
    seed(&sandbox, jobs("deploy running"));
    let run = |title: &str| {
        in_job(&["rely"], &sandbox)
            .var("NOTIFY_JOB", "deploy")
            .var("RELY_ENTITY_TITLE", title)
            .run()
    };
    run("{{ event.finished_at }}").exits(78).says("event.finished_at");
    nothing_arrived(&sandbox, "no end yet");
    run("{{ event.finished_at | default('not yet') }}").exits(0);
    assert_eq!(rely_entity(&sandbox)["title"], "not yet");
}

#[test]
fn gitlabs_own_root_is_trusted_for_gitlab_and_for_nobody_else() {
    let gitlab = Sandbox::start_with(Options {
        tls: true,
        ..Options::default()
    });
    let services = Sandbox::start();
    seed(&gitlab, jobs("deploy failed"));
    let folder = folder("gitlab-root");
    let root = folder.join("ca.pem");
    std::fs::write(&root, gitlab.ca_pem().expect("a root")).expect("the root can be written");
    let run = |at: &Sandbox| -> Run {
        let mut run = notify(&["rely", "cto"]).at(at).without("EVENT_ACTION");
        for (name, value) in gitlab.gitlab_variables() {
            run = run.var(&name, value);
        }
        run.var("NOTIFY_ATTEMPTS", "1")
    };
    run(&services).run().exits(78).says("GitLab did not tell");
    nothing_arrived(&services, "an unknown root");
    run(&services).var("CI_SERVER_TLS_CA_FILE", &root).run().exits(0);
    arrived(&services, "failure", "CI_SERVER_TLS_CA_FILE");
    // The same root is no reason to trust a service that shows it.
    let ran: Ran = run(&gitlab).var("CI_SERVER_TLS_CA_FILE", &root).run().exits(78);
    ran.says("from GitLab's jobs").says("2 misconfigured");
    nothing_arrived(&gitlab, "GitLab's root");
}

#[test]
fn a_dry_run_asks_gitlab_what_a_run_would_ask_and_nobody_else() {
    let sandbox = Sandbox::start();
    seed(&sandbox, jobs("build success | deploy failed"));
    let ran = in_job(&["--dry-run", "rely", "aviator:release?"], &sandbox)
        .run()
        .exits(0);
    assert!(ran.stdout.contains(r#""status":"FAILED""#), "{}", ran.stdout);
    ran.says("failure, acme-shop-8812 (action from GitLab's jobs: job `deploy` failed");
    assert_eq!(asked(&sandbox, Service::GitLab).len(), 1);
    assert_eq!(writes(&sandbox).len(), 0);
    // What can't be told there is an error here, too.
    let refusing = Sandbox::start_with(Options {
        gitlab_jobs: GitLabAccess::Refused(401),
        ..Options::default()
    });
    in_job(&["--dry-run", "rely"], &refusing)
        .run()
        .exits(78)
        .says_of("rely", "EVENT_ACTION is auto");
}

#[test]
fn outside_gitlab_a_dry_run_leaves_the_action_open() {
    let sandbox = Sandbox::start();
    let ran = notify(&[
        "--dry-run",
        "rely",
        "cto",
        "direktiv",
        "aviator",
        "port",
        "port:run-update",
    ])
    .at(&sandbox)
    .var("AVIATOR_RELEASE_CANDIDATE", "1.4.0-rc1")
    .var("EVENT_ENVIRONMENT", "production")
    .var("PORT_RUN_ID", "r_1")
    .var("EVENT_ACTION", "auto")
    .without("CI_API_V4_URL")
    .run()
    .exits(0);
    for open in [
        r#""status":"<action>""#,
        r#""event_action":"<action>""#,
        "acme-shop-8812-production-deployment--action-",
        r#""release_candidate_version":"1.4.0-rc1","status":"<action>""#,
        r#""action":"<action>""#,
        r#"{"status":"<status>"}"#,
    ] {
        assert!(ran.stdout.contains(open), "{open} is not in {}", ran.stdout);
    }
    assert!(sandbox.requests().is_empty());
    // A run asks, and says what it lacks.
    notify(&["rely"])
        .at(&sandbox)
        .var("EVENT_ACTION", "auto")
        .run()
        .exits(78)
        .says_of("rely", "CI_API_V4_URL is not set");
}

#[test]
fn a_run_whose_status_is_given_needs_nobody_to_tell_what_happened() {
    let sandbox = Sandbox::start();
    seed(&sandbox, jobs("build failed | deploy skipped"));
    sandbox.seed(Service::Port, json!({"runs": {"r_1": {}, "r_2": {}}}));
    let update = |run: &str| {
        in_job(&["port:run-update"], &sandbox)
            .var("NOTIFY_JOB", "deploy")
            .var("PORT_RUN_ID", run)
    };
    // The deploy job never ran, and its run at Port is ended all the same.
    update("r_1")
        .var("PORT_RUN_STATUS", "failure")
        .run()
        .exits(0)
        .says("1 sent");
    assert_eq!(sandbox.state(Service::Port)["runs"]["r_1"]["status"], "FAILURE");
    // What only that job could tell is not known, and so not sent.
    update("r_2")
        .run()
        .exits(0)
        .says_of("port:run-update", "skipped: `deploy` was skipped");
    // What else there is to say is said.
    update("r_2")
        .var("PORT_RUN_LINK", "https://gitlab.example.com/x")
        .run()
        .exits(0)
        .says_of("port:run-update", "the run's status is left as it is")
        .says("1 sent");
}

#[test]
fn a_template_may_use_what_only_the_jobs_tell() {
    let sandbox = Sandbox::start();
    seed(&sandbox, jobs("build success | failed success"));
    let with = |name: &str, value: &str| in_job(&["rely"], &sandbox).var("NOTIFY_JOB", "failed").var(name, value);
    // The job's name is the action's word here, and no circle.
    with("EVENT_ACTION", "{{ event.job }}")
        .run()
        .exits(0)
        .says("deployment failure");
    with("EVENT_ENVIRONMENT", "{{ event.job }}")
        .run()
        .exits(0)
        .says("acme-shop-8812-failed");
    let titles = sandbox.state(Service::Rely)["entities"]["acme-shop-8812-failed"]["title"].clone();
    assert_eq!(titles, "acme/shop #8812 (failed)");
    with("EVENT_TITLE", "{{ event.title }}")
        .run()
        .exits(78)
        .says("EVENT_TITLE would be made from itself");
}

#[test]
fn the_time_that_gitlab_gets_is_called_what_it_is() {
    let sandbox = Sandbox::start();
    sandbox.fail(Service::GitLab, 9, Fault::status_with(503, "retry-after", "3600"));
    in_job(&["rely"], &sandbox)
        .var("NOTIFY_TIMEOUT", "8")
        .run()
        .exits(78)
        .says("of the 4 s that GitLab gets of NOTIFY_TIMEOUT");
}
