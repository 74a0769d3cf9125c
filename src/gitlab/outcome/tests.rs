use serde_json::json;

use super::*;

const OWN: u64 = 1000;

/// Jobs in the order of their ids, from 1, as `name@stage status | …`; the stage is `main` if it isn't given, and
/// `?` behind the status means `allow_failure`, `!` that it never started. Each starts at minute `id` and ends 30 seconds
/// later, as far as its status lets it. `own>downstream` is the status of a trigger job and that of its downstream
/// pipeline, `-` if there is none. The asking job comes last.
fn listed(jobs: &str) -> (Vec<Job>, Vec<Job>) {
    let jobs = jobs.split(" | ").filter(|job| !job.trim().is_empty());
    let (mut builds, mut triggers) = (Vec::new(), Vec::new());
    for (job, id) in jobs.zip(1..) {
        let (name, status) = job.trim().rsplit_once(' ').unwrap();
        let (name, stage) = name.split_once('@').unwrap_or((name, "main"));
        let (status, never_started) = (status.trim_end_matches('!'), status.ends_with('!'));
        let word = status.trim_end_matches('?');
        let (word_of_own, downstream) = word.split_once('>').unwrap_or((word, ""));
        let has_ended = matches!(word_of_own, "success" | "failed" | "canceled");
        let has_started = !never_started && (has_ended || matches!(word_of_own, "running" | "canceling"));
        let mut job = json!({
            "id": id,
            "name": name,
            "stage": stage,
            "status": word_of_own,
            "allow_failure": word.len() < status.len(),
            "started_at": has_started.then(|| format!("2025-03-01T10:{id:02}:00.250Z")),
            "finished_at": has_ended.then(|| format!("2025-03-01T10:{id:02}:30.750Z")),
            "duration": has_started.then_some(30.5),
            "queued_duration": 2.4 + f64::from(id),
            "user": {"username": format!("user{id}")},
            "web_url": format!("https://gitlab.example.com/acme/shop/-/jobs/{id}"),
            "failure_reason": (word_of_own == "failed").then_some("script_failure"),
        });
        if downstream.is_empty() {
            builds.push(Job::from_json(&job).unwrap());
        } else {
            let pipeline =
                json!({"id": 9000 + id, "status": downstream, "updated_at": format!("2025-03-01T11:{id:02}:00Z")});
            job["downstream_pipeline"] = if downstream == "-" { json!(null) } else { pipeline };
            triggers.push(Job::from_trigger(&job).unwrap());
        }
    }
    let own = json!({"id": OWN, "name": "notify", "stage": ".post", "status": "running"});
    builds.push(Job::from_json(&own).unwrap());
    // As GitLab lists them.
    builds.reverse();
    (builds, triggers)
}

fn pipeline(jobs: &str) -> Vec<Job> {
    listed(jobs).0
}

fn question(watched: Option<&str>) -> Question<'_> {
    Question {
        own_id: Some(OWN),
        watched,
        ..Question::default()
    }
}

fn ask(jobs: &[Job], watched: Option<&str>) -> Outcome {
    judge(jobs, Ok(&[]), &question(watched))
}

fn finding(jobs: &str, watched: Option<&str>) -> Finding {
    let (jobs, triggers) = listed(jobs);
    match judge(&jobs, Ok(&triggers), &question(watched)) {
        Outcome::Happened(finding) => finding,
        other => panic!("{other:?}"),
    }
}

/// Each row: `jobs => action: text that the reason holds  // the case`, with `nothing`, `unasked` and `unknown` for
/// verdicts without an action.
fn check(watched: Option<&str>, rows: &str) {
    check_with(watched, None, rows);
}

/// The same where the trigger jobs can't be read, for the reason `unseen`.
fn check_with(watched: Option<&str>, unseen: Option<&str>, rows: &str) {
    for row in rows.trim().lines() {
        let (row, case) = row.rsplit_once("  // ").unwrap();
        let (jobs, expected) = row.split_once(" => ").unwrap();
        let (expected, reason) = expected.split_once(": ").unwrap();
        let (jobs, triggers) = listed(jobs);
        let triggers = unseen.map_or(Ok(triggers.as_slice()), Err);
        let (word, why) = match judge(&jobs, triggers, &question(watched)) {
            Outcome::Happened(finding) => (finding.action.word().to_owned(), finding.why),
            Outcome::Nothing(why) => ("nothing".to_owned(), why),
            Outcome::Unasked(why) => ("unasked".to_owned(), why),
            Outcome::Unknown(why) => ("unknown".to_owned(), why),
        };
        assert_eq!(word, expected, "{case}: {why}");
        assert!(why.contains(reason), "{case}: {why}");
    }
}

#[test]
fn a_watched_job() {
    check(
        Some("deploy"),
        "
        build success | deploy success => success: job `deploy` succeeded  // success
        deploy success | smoke failed => success: job `deploy` succeeded  // another job's failure is not the deployment's
        build success | deploy failed => failure: job `deploy` failed (script_failure)  // failure
        build failed | deploy skipped => nothing: `deploy` was skipped: it never ran, so nothing was deployed (job `build` failed (script_failure))  // skipped after a failure
        gate manual? | deploy skipped => nothing: so nothing was deployed  // skipped for another reason
        deploy failed? => failure: job `deploy` failed (script_failure), though GitLab lets it pass (allow_failure)  // failed, and allowed to
        build success | deploy manual? => blocked: job `deploy` waits for somebody to start it  // manual, optional, not played
        deploy manual | clean created => blocked: waits for somebody  // manual, blocking, not played
        deploy success? => success: job `deploy` succeeded  // manual, played, succeeded
        deploy running? => progressing: job `deploy` still runs  // manual, played, running
        deploy failed? => failure: job `deploy` failed  // manual, played, failed (issue 249524)
        deploy canceled => canceled: job `deploy` was canceled  // canceled while it ran
        deploy canceling => canceled: job `deploy` is being canceled  // being canceled
        deploy failed | deploy failed => failure: job `deploy` failed (script_failure), at attempt 2  // retried once
        deploy failed | deploy canceled | deploy success => success: job `deploy` succeeded, at attempt 3  // retried twice: failure, then success
        deploy success | deploy failed => failure: at attempt 2  // success, then a retry that fails
        deploy failed | deploy running => progressing: job `deploy` still runs, at attempt 2  // a retry that runs
        test running | deploy success | docs created => success: job `deploy` succeeded  // needs: it ended while others of its stage and before still run
        test running | deploy created => blocked: job `deploy` waits for other jobs (created)  // stage order: it has not begun
        deploy levitating => unknown: job `deploy` is `levitating`, a status this version doesn't know: set EVENT_ACTION  // a status nobody knows
        deploy success | x levitating => success: succeeded  // another job's unknown status doesn't matter
        ",
    );
    for waiting in [
        "created",
        "pending",
        "preparing",
        "waiting_for_resource",
        "waiting_for_callback",
        "scheduled",
    ] {
        let finding = finding(&format!("deploy {waiting}"), Some("deploy"));
        assert_eq!(finding.action, Action::Blocked);
        assert!(finding.why.contains(&format!("({waiting})")), "{}", finding.why);
    }
}

#[test]
fn parallel_and_matrix_jobs_are_one() {
    let table = "
        success | success | success => success: all 3 parts of `deploy` succeeded
        success | skipped | success => success: 2 of 3 parts of `deploy` succeeded, 1 was skipped
        success | failed | success => failure: job `deploy 2/3` failed (script_failure); 3 parts of `deploy`: 2 success, 1 failed
        failed | success | failed => failure: job `deploy 1/3` failed (script_failure) (and 1 more like it)
        running | failed? | success => failure: job `deploy 2/3` failed
        levitating | failed | success => failure: job `deploy 2/3` failed
        levitating | success | success => unknown: `levitating`
        canceled | failed | canceled => failure: 3 parts of `deploy`: 2 canceled, 1 failed
        canceled | success | running => canceled: job `deploy 1/3` was canceled
        success | canceling | success => canceled: is being canceled
        success | running | created => progressing: job `deploy 2/3` still runs
        created | running | manual => progressing: still runs
        success | pending | pending => progressing: job `deploy 2/3` waits for a runner
        skipped | pending | created => blocked: waits for a runner
        manual | pending | manual => blocked: waits for a runner
        manual | manual? | manual => blocked: waits for somebody
        success | manual | manual => progressing: waits for somebody
        skipped | skipped | skipped => nothing: `deploy` was skipped
    ";
    for row in table.trim().lines() {
        let (statuses, expected) = row.split_once(" => ").unwrap();
        let jobs = statuses.trim().split(" | ").zip(1..);
        let jobs: Vec<String> = jobs.map(|(status, part)| format!("deploy {part}/3 {status}")).collect();
        check(
            Some("deploy"),
            &format!("{} => {expected}  // {statuses}", jobs.join(" | ")),
        );
    }
    check(
        Some("deploy"),
        "
        deploy: [eu, blue] success | deploy: [us, [1]] 1/2 success | deploy: [us, [1]] 2/2 success | deploy docs failed | deploy: docs failed | deploy-eu 1/2 failed | redeploy 1/2 failed | deploy 1/two failed => success: all 3 parts of `deploy` succeeded  // a matrix, with a neighbour of a similar name
        deploy: [eu] success | deploy: [us] failed | deploy: [us] success => success: all 2 parts  // a part that was retried
        deploy success | deploy 1/2 failed => success: job `deploy` succeeded  // a job of exactly this name comes first
        ",
    );
    check(
        Some("deploy: [us]"),
        "
        deploy: [eu] failed | deploy: [us] success => success: job `deploy: [us]` succeeded  // one part by its own name
        ",
    );
}

#[test]
fn a_watched_job_that_is_not_there() {
    check(
        Some("deploy-prd"),
        "
        build success | deploy-prod: [eu] success => unknown: NOTIFY_JOB is `deploy-prd`, and GitLab lists no such job in this pipeline; did you mean `deploy-prod`? The jobs of child pipelines are not in that list: name the trigger job, or set EVENT_ACTION  // a slip
        build success | lint success => unknown: there is `build`, `lint`.  // nothing like it
         => unknown: this job is alone.  // nothing at all
        ",
    );
    for watched in ["notify", "deploy"] {
        let mut jobs = pipeline("deploy 1/2 success");
        let question = Question {
            own_id: Some(OWN),
            own_name: Some(if watched == "deploy" { "deploy 2/2" } else { "notify" }),
            own_stage: None,
            watched: Some(watched),
        };
        jobs[0].name = question.own_name.unwrap().to_owned();
        let verdict = judge(&jobs, Ok(&[]), &question);
        assert!(
            matches!(&verdict, Outcome::Unknown(why) if why.contains("can't see its own end")),
            "{verdict:?}"
        );
    }
}

#[test]
fn a_whole_pipeline() {
    check(
        None,
        "
        build success | deploy success => success: all 2 other jobs that ran succeeded  // 3.1: all success
        build success | test failed | deploy skipped => failure: job `test` failed (script_failure)  // 3.1: one failed, others success or skipped
        build failed | deploy skipped => failure: job `build` failed  // 3.1: one failed, one skipped
        build success | deploy failed? => success: all 2 other jobs that ran succeeded, 1 with a warning: `deploy` failed (script_failure), which allow_failure lets pass; if one of these is what you report on, name it in NOTIFY_JOB  // 3.1: failed with allow_failure
        build success | deploy manual? => success: the one other job that ran succeeded; left out: `deploy`, which nobody has started; if one of these is what you report on, name it in NOTIFY_JOB  // 3.1: manual never started, optional
        build success | deploy canceled => canceled: job `deploy` was canceled  // 3.1: canceled only
        build canceled | deploy failed => failure: job `deploy` failed  // 3.1: canceled and failed
        build canceled | deploy skipped => canceled: job `build` was canceled  // canceled and skipped
        build canceling | deploy created => canceled: is being canceled  // canceling
        build success | lint canceled? | deploy success => success: all 3 other jobs that ran succeeded, 1 with a warning: `lint` was canceled, which allow_failure lets pass  // 3.1: canceled with allow_failure
        lint canceled? | deploy failed => failure: job `deploy` failed  // an allowed cancel, and a failure
        test failed | deploy running => failure: job `test` failed  // a failure while others still run
        a failed | b failed | c failed? => failure: job `a` failed (script_failure) (and 1 more like it)  // several failures
        deploy failed | deploy failed | deploy success => success: the one other job that ran succeeded  // retried until it succeeded
        build success | deploy manual | clean created => blocked: job `deploy` waits for somebody to start it  // manual and blocking, not played
        build success | deploy failed? => success: name it in NOTIFY_JOB  // manual and optional, played and failed
        test running | deploy success => progressing: job `test` still runs: the pipeline goes on; to report on one job of it, name it in NOTIFY_JOB  // needs: it runs before earlier stages have ended
        deploy success | clean created | purge created => progressing: job `clean` waits for other jobs (created) (and 1 more like it)  // stage order: a stage after this job's own
        a pending | b running => progressing: job `b` still runs  // a running job is named before a waiting one
        deploy success | docs skipped | notify-port@.post running | notify-cto@.post pending | audit@.pipeline-policy-post created | undo@.post manual => success: the one other job that ran succeeded; left out: `notify-port`, `notify-cto`, `audit`, of this job's stage or last; `undo`, which nobody has started; `docs`, skipped  // peers in .post, and a policy's jobs after them
        test skipped | deploy manual? => nothing: none of the pipeline's other jobs ran, so nothing was deployed: `deploy`, which nobody has started; `test`, skipped  // nothing ran
         => unknown: no job but this one that GitLab shows  // alone
        deploy@.post running | a skipped => unknown: name the one that deploys in NOTIFY_JOB  // only peers, which may be anything
        build success | deploy levitating => unknown: `levitating`  // a status nobody knows
        build failed | deploy levitating => failure: job `build` failed  // a failure is one, whatever else there is
        ",
    );
}

#[test]
fn peers_of_the_own_stage_and_earlier_attempts_of_the_own_job() {
    let mut jobs = pipeline("deploy success | notify@report failed | notify-port@report created");
    let judged = |jobs: &[Job], own_stage| {
        let own_name = Some("notify");
        judge(
            jobs,
            Ok(&[]),
            &Question {
                own_id: Some(OWN),
                own_name,
                own_stage,
                watched: None,
            },
        )
    };
    let succeeded =
        |verdict: &Outcome| matches!(verdict, Outcome::Happened(finding) if finding.action == Action::Success);
    assert!(succeeded(&judged(&jobs, Some("report"))));
    jobs[0].stage = "report".to_owned();
    assert!(succeeded(&judged(&jobs, None)), "the stage is known from the list");
    // A blocking manual job beside this one has not deployed yet.
    let deploy = jobs.iter_mut().find(|job| job.name == "deploy").unwrap();
    (deploy.stage, deploy.status) = ("report".to_owned(), Status::Manual);
    let verdict = judged(&jobs, None);
    assert!(
        matches!(&verdict, Outcome::Happened(finding) if finding.action == Action::Blocked),
        "{verdict:?}"
    );

    let jobs = pipeline("notify@.post failed | x failed | notify@.post success");
    let earlier: Vec<u64> = earlier_attempts(&jobs, OWN, "notify")
        .iter()
        .map(|job| job.id)
        .collect();
    assert_eq!(earlier, [3, 1]);
    assert!(earlier_attempts(&jobs, 1, "notify").is_empty());
    let twice = [jobs.clone(), jobs].concat();
    assert_eq!(earlier_attempts(&twice, OWN, "notify").len(), 2);
}

#[test]
fn a_job_that_two_pages_show_is_one_attempt_and_the_later_page_is_right() {
    let mut jobs = pipeline("deploy running");
    jobs.extend(pipeline("deploy success"));
    let Outcome::Happened(finding) = ask(&jobs, Some("deploy")) else {
        panic!()
    };
    assert_eq!((finding.action, finding.job.attempt), (Action::Success, 1));
}

#[test]
fn a_job_that_never_started_deployed_nothing() {
    check(
        Some("deploy"),
        "
        build success | deploy failed! => nothing: job `deploy` failed before it started (script_failure), so it deployed nothing  // rejected, outdated, no runner
        build success | deploy canceled! => nothing: job `deploy` was canceled before it started, so it deployed nothing  // canceled with its pipeline
        deploy failed! | deploy failed! => nothing: failed before it started  // neither attempt
        deploy failed! | deploy success => success: at attempt 2  // the next one did
        deploy success | deploy failed! => nothing: attempt 2 of `deploy` failed before it started (script_failure): it deployed nothing, and what was deployed before stays as it is  // a rollback that is outdated
        deploy failed | deploy failed! => failure: job `deploy` failed (script_failure), at attempt 1; attempt 2 of `deploy` failed before it started  // a failure, and no runner for the retry
        deploy failed | deploy canceled! | deploy failed! => failure: job `deploy` failed (script_failure), at attempt 1; attempt 3 of  // a failure, and two attempts that never ran
        deploy failed | deploy pending => progressing: waits for a runner (pending), at attempt 2  // it has begun, and waits for its next turn
        deploy failed! | deploy pending => blocked: waits for a runner  // it has not begun
        deploy 1/2 failed! | deploy 2/2 skipped => nothing: `deploy 1/2` failed before it started  // no part of it ran
        deploy 1/2 failed! | deploy 2/2 success => failure: job `deploy 1/2` failed before it started (script_failure); 2 parts of `deploy`: 1 failed, 1 success  // half of it ran
        deploy 1/2 failed! | deploy 2/2 created => blocked: `deploy 2/2` waits for other jobs  // the other half may yet
        ",
    );
    check(
        None,
        "
        build success | deploy failed! => failure: job `deploy` failed before it started  // the pipeline failed
        build success | deploy canceled! => canceled: before it started  // the pipeline was canceled
        build failed! | deploy skipped => nothing: job `build` failed before it started (script_failure), and none of the pipeline's other jobs ran  // nothing ran
        build canceled! | deploy canceled! => nothing: (and 1 more like it), and none  // canceled before anything ran
        build failed | build failed! => failure: failed before it started  // a retry that never ran, of a job that did
        build success | lint failed?! => success: left out: `lint`, which ended before it started  // allowed not to run
        ",
    );
    let told = |jobs: &str, watched| {
        let (jobs, triggers) = listed(jobs);
        never_started(&jobs, Ok(&triggers), &question(watched))
    };
    let finding = told("build success | deploy failed!", Some("deploy")).unwrap();
    assert_eq!(finding.action, Action::Canceled);
    assert!(
        finding
            .why
            .ends_with("so it deployed nothing; its start was told, so this is its end"),
        "{}",
        finding.why
    );
    assert_eq!(
        (finding.job.name.as_deref(), finding.job.started_at),
        (Some("deploy"), None)
    );
    assert_eq!(finding.job.finished_at.as_deref(), Some("2025-03-01T10:02:30Z"));
    for (jobs, watched) in [
        ("deploy failed!", None),
        ("deploy failed", Some("deploy")),
        ("deploy skipped", Some("deploy")),
        ("deploy success | deploy failed!", Some("deploy")),
        ("build failed!", Some("deploy")),
    ] {
        assert_eq!(told(jobs, watched), None, "{jobs}");
    }
}

#[test]
fn a_job_of_which_gitlab_does_not_say_whether_it_started_did() {
    let job = json!({"id": 1, "name": "deploy", "status": "failed"});
    let jobs = [Job::from_json(&job).unwrap()];
    let question = Question {
        watched: Some("deploy"),
        ..Question::default()
    };
    let verdict = judge(&jobs, Ok(&[]), &question);
    assert!(
        matches!(&verdict, Outcome::Happened(finding) if finding.action == Action::Failure),
        "{verdict:?}"
    );
}

#[test]
fn trigger_jobs_end_as_their_downstream_pipelines() {
    check(
        Some("deploy"),
        "
        deploy success>success => success: job `deploy` succeeded in its downstream pipeline 9001  // whatever the strategy
        deploy success>failed => failure: job `deploy` failed in its downstream pipeline 9001  // it does not wait
        deploy failed>failed => failure: `deploy` failed in its downstream  // it waits
        deploy success>canceled => canceled: was canceled in its  // it does not wait, and was canceled
        deploy success>running => progressing: still runs in its downstream pipeline  // it does not wait
        deploy running>- => progressing: `deploy` still runs  // its pipeline is being made
        deploy success>manual => blocked: waits for somebody  // somebody has to click in there
        deploy success>skipped => nothing: it never ran  // nothing to do in there
        deploy failed>skipped => nothing: nothing of its downstream pipeline 9001 ran, so it deployed nothing  // it waits for nothing
        deploy failed>- => nothing: `deploy` failed before it started (script_failure), so it deployed nothing  // no pipeline could be made
        deploy success>- => unknown: trigger job `deploy` succeeded, which says that it made a pipeline  // its pipeline is gone
        deploy: [eu] success>success | deploy: [us] success>failed => failure: job `deploy: [us]` failed in its  // a matrix of trigger jobs
        deploy skipped>- => nothing: `deploy` was skipped  // its turn never came
        ",
    );
    check(
        None,
        "
        build success | deploy success>failed => failure: job `deploy` failed in its downstream pipeline 9002  // invisible among the jobs
        build success | deploy success>failed? => success: 1 with a warning: `deploy` failed in its downstream pipeline 9002, which allow_failure lets pass  // allowed to fail
        build success | deploy failed>skipped => failure: nothing of its downstream pipeline  // GitLab's own verdict
        build success | deploy success>running => progressing: in its downstream pipeline 9002: the pipeline goes on  // it goes on downstream
        build success | deploy success>success => success: all 2 other jobs that ran succeeded  // seen to the end
        deploy success>success => success: the one other job that ran succeeded  // a parent of nothing but child pipelines
        build success | deploy success>- => unknown: name another job in NOTIFY_JOB  // its pipeline is gone
        build success | docs manual>-? => success: left out: `docs`, which nobody has started  // not triggered
        build success | deploy@.post success>running => progressing: `deploy` still runs in its downstream  // last, and no notify job
        build success | deploy@.post success>manual => blocked: `deploy` waits for somebody  // the same, waiting for a click
        build success | next@.post created>- => success: left out: `next`, of this job's stage or last  // it may wait for this very job
        ",
    );
    let found = finding("build success | deploy success>success", Some("deploy"));
    assert_eq!(found.job.started_at.as_deref(), Some("2025-03-01T10:02:00Z"));
    assert_eq!(
        found.job.finished_at.as_deref(),
        Some("2025-03-01T11:02:00Z"),
        "the pipeline's end, not the job's"
    );
    assert_eq!(found.job.duration, Some(3600));
}

#[test]
fn what_was_not_seen_counts_as_no_success() {
    let unseen = Some("GitLab does not show this to CI_JOB_TOKEN");
    check_with(
        None,
        unseen,
        "
        build success | deploy success => unknown: whether the whole pipeline went well is not known, since the pipeline's trigger jobs can't be read: GitLab does not show this to CI_JOB_TOKEN. Name the job that deploys in NOTIFY_JOB, or set EVENT_ACTION  // success
        build success | deploy skipped => unknown: is not known  // nothing ran, as far as one sees
         => unknown: is not known  // nothing but trigger jobs, perhaps
        build success | deploy failed => failure: job `deploy` failed  // a failure is known all the same
        build success | deploy canceled => canceled: job `deploy` was canceled  // so is a cancel
        build success | deploy running => progressing: the pipeline goes on  // it goes on in any case
        build success | deploy manual => blocked: waits for somebody  // it waits in any case
        ",
    );
    check_with(
        Some("deploy"),
        unseen,
        "
        build failed | deploy success => success: `deploy` succeeded  // the job that was asked about is there
        build success | deplyo success => unasked: none of the pipeline's jobs that GitLab lists; did you mean `deplyo`? It may be a trigger job, or one that is not shown: the pipeline's trigger jobs can't be read  // it may be one of those
        ",
    );
    // A list without the job that asks is not all there is.
    let others = pipeline("build success | deploy success").split_off(1);
    for (watched, expected) in [(None, "unknown"), (Some("deploy"), "success"), (Some("x"), "unasked")] {
        let (word, why) = match ask(&others, watched) {
            Outcome::Happened(finding) => (finding.action.word().to_owned(), finding.why),
            Outcome::Unknown(why) => ("unknown".to_owned(), why),
            Outcome::Unasked(why) => ("unasked".to_owned(), why),
            Outcome::Nothing(why) => ("nothing".to_owned(), why),
        };
        assert_eq!(word, expected, "{why}");
        assert_eq!(
            why.contains("this very job is not in GitLab's list"),
            expected != "success",
            "{why}"
        );
    }
}

#[test]
fn trigger_jobs_are_asked_for_where_they_matter() {
    for (jobs, watched, expected) in [
        ("deploy success", None, true),
        ("deploy running", None, true),
        ("deploy skipped", None, true),
        ("build failed! | deploy skipped", None, true),
        ("deploy failed", None, false),
        ("deploy success", Some("deploy"), false),
        ("deploy failed!", Some("deploy"), false),
        ("deploy 1/2 success", Some("deploy"), false),
        ("deploy success", Some("deploy-eu"), true),
    ] {
        let question = question(watched);
        let outcome = judge(&pipeline(jobs), Err("they were not asked for"), &question);
        assert_eq!(outcome.hangs_on_triggers(&question), expected, "{jobs}: {outcome:?}");
    }
}

#[test]
fn times_of_one_job() {
    let found = finding("build success | deploy failed | deploy success", Some("deploy"));
    let expected = Finding {
        action: Action::Success,
        why: "job `deploy` succeeded, at attempt 2".to_owned(),
        job: DeployJob {
            name: Some("deploy".to_owned()),
            url: Some("https://gitlab.example.com/acme/shop/-/jobs/3".to_owned()),
            attempt: 2,
            started_at: Some("2025-03-01T10:03:00Z".to_owned()),
            finished_at: Some("2025-03-01T10:03:30Z".to_owned()),
            duration: Some(31),
            queued: Some(5),
            started_by: Some("user3".to_owned()),
        },
    };
    assert_eq!(found, expected);

    let running = finding("deploy running", Some("deploy"));
    assert_eq!(running.job.started_at.as_deref(), Some("2025-03-01T10:01:00Z"));
    assert_eq!((running.job.finished_at, running.job.duration), (None, None));
    let canceling = finding("deploy canceling", Some("deploy"));
    assert_eq!((canceling.job.finished_at, canceling.job.duration), (None, None));
}

#[test]
fn times_of_several_jobs() {
    let parts = "deploy 1/3 success | deploy 2/3 skipped | deploy 3/3 success | smoke success";
    let found = finding(parts, Some("deploy"));
    assert_eq!((found.job.name.as_deref(), found.job.url), (Some("deploy"), None));
    assert_eq!(found.job.started_at.as_deref(), Some("2025-03-01T10:01:00Z"));
    assert_eq!(found.job.finished_at.as_deref(), Some("2025-03-01T10:03:30Z"));
    assert_eq!((found.job.duration, found.job.queued), (Some(151), Some(3)));
    assert_eq!(found.job.started_by.as_deref(), Some("user3"));

    let failed = finding(
        "deploy 1/2 failed | deploy 2/2 success | deploy 1/2 failed",
        Some("deploy"),
    );
    assert_eq!(
        (failed.job.name.as_deref(), failed.job.attempt),
        (Some("deploy 1/2"), 2)
    );
    assert!(failed.job.url.unwrap().ends_with("/3"));
    assert_eq!(failed.job.started_at.as_deref(), Some("2025-03-01T10:02:00Z"));

    // A notify job that ran last before this one has no part in it.
    let whole = finding("build success | deploy success | notify-port@.post success", None);
    assert_eq!(whole.job.finished_at.as_deref(), Some("2025-03-01T10:02:30Z"));
    assert_eq!(
        (whole.job.duration, whole.job.name, whole.job.attempt),
        (Some(91), None, 1)
    );
    assert_eq!(whole.job.started_by.as_deref(), Some("user2"));
}

#[test]
fn times_are_compared_as_times() {
    assert_eq!(seconds(0.5), Some(1));
    assert_eq!((seconds(-3.0), seconds(f64::INFINITY)), (Some(0), None));
    // Offsets are compared as times, not as text.
    let mut jobs = pipeline("deploy 1/2 success | deploy 2/2 success");
    jobs[1].started_at = Some("2025-03-01T11:00:30.000+01:00".to_owned());
    let Outcome::Happened(found) = ask(&jobs, Some("deploy")) else {
        panic!()
    };
    assert_eq!(found.job.started_at.as_deref(), Some("2025-03-01T10:00:30Z"));
}
