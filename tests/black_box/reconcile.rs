//! `reconcile`: what Rely and Port hold is made to agree with GitLab's record.

use std::time::Duration;

use sandbox::{Fault, Sandbox, Service};
use serde_json::{Value, json};

use crate::{
    gitlab::in_job,
    support::{
        Run,
        faults::status,
        folder, json_of,
        record::{
            ID, ago, artifacts, began, deployments, from_inside, held, hold, jobs, reconcile, recorded, report, seed,
            seed_jobs, shown, writes,
        },
        wait_until,
    },
};

/// What is said of an entity, in a line of the table.
#[track_caller]
fn lines<'r>(stderr: &'r str, id: &str) -> Vec<&'r str> {
    let is_about = |line: &&str| line.starts_with("    ") && line.contains(id);
    stderr.lines().filter(is_about).collect()
}

#[test]
fn a_record_is_told_as_its_own_report_would_have_told_it() {
    let variables = [
        ("EVENT_SERVICE", "{{ job.matrix[0] | default('shop') }}"),
        ("EVENT_PROPERTIES", r#"{"image": "say \"{{ job.name }}\" 🚀"}"#),
        ("PORT_TEAM", r#"["team-{{ event.user }}"]"#),
        (
            "RELY_ENTITY_DESCRIPTION",
            "{{ event.properties | json }} on {{ event.branch }}",
        ),
        (
            "RELY_PROPERTIES",
            r#"{"status": "{{ event.action }}", "failureReason": "{{ event.service }}", "duration": "{{ event.duration }}"}"#,
        ),
    ];
    for (name, status, extra) in [
        ("deploy", "success", &[] as &[(&str, &str)]),
        ("deploy", "failed", &[]),
        ("deploy: [eu west, 1]", "canceled", &[]),
        ("deploy", "success", &variables),
    ] {
        let row = format!("{name} production {status}");
        let (ours, theirs) = (recorded(&row), recorded(&row));
        let ran = reconcile(&ours).vars(extra.iter().copied()).run().exits(0);
        report(&theirs, name).vars(extra.iter().copied()).run().exits(0);
        let all = |sandbox: &Sandbox| {
            let mut all = json!([
                sandbox.state(Service::Rely)["entities"],
                sandbox.state(Service::Port)["entities"]
            ]);
            without_moments(&mut all);
            all
        };
        assert_eq!(all(&ours), all(&theirs), "{row}\n{}", ran.stderr);
    }
}

/// When an entity was written is another time each time.
fn without_moments(value: &mut Value) {
    if let Some(members) = value
        .as_object_mut()
        .filter(|members| members.contains_key("properties"))
    {
        members.retain(|name, _| !matches!(name.as_str(), "createdAt" | "updatedAt"));
    }
    match value {
        Value::Object(members) => members.values_mut().for_each(without_moments),
        Value::Array(items) => items.iter_mut().for_each(without_moments),
        _ => {}
    }
}

#[test]
fn what_has_a_start_is_shown_and_a_second_run_writes_nothing() {
    let sandbox = recorded(
        "deploy production failed~runner_system_failure | deploy: [eu, web] review/x success | web 1/2 production running \
         | gate production blocked | late production canceled! | web 2/2 production canceled | stuck production failed!",
    );
    let expected = [
        "acme-shop-8812-production--deploy FAILURE",
        "acme-shop-8812-production--web-1-2-s2du67 IN_PROGRESS",
        "acme-shop-8812-production--web-2-2-bf2tc5 CANCELED",
        "acme-shop-8812-review-x-n5c54v--deploy-eu-web-tzremz SUCCESS",
    ];
    reconcile(&sandbox).run().exits(0).says("8 repaired");
    assert_eq!(shown(&sandbox), expected);
    let before = writes(&sandbox);
    reconcile(&sandbox).run().exits(0).says("8 agreed, 0 repaired");
    assert_eq!(writes(&sandbox), before);
    assert_eq!(shown(&sandbox), expected);
}

#[test]
fn two_at_once_do_no_harm() {
    let rows = "deploy production failed | web production success | api staging running";
    for is_held in [false, true] {
        let sandbox = recorded(rows);
        if is_held {
            reconcile(&sandbox).run().exits(0);
            seed(
                &sandbox,
                "deploy production success | web production failed | api staging canceled",
            );
        }
        // So that both have compared before either writes.
        sandbox.fail_on(
            Service::GitLab,
            "order_by=id",
            2,
            Fault::Delay(Duration::from_millis(300)),
        );
        let both = [reconcile(&sandbox).start(), reconcile(&sandbox).start()];
        let told = both.map(|running| running.ends().exits(0).stderr).join("\n");
        let expected = if is_held {
            ["deploy SUCCESS", "web FAILURE", "api CANCELED"]
        } else {
            ["deploy FAILURE", "web SUCCESS", "api IN_PROGRESS"]
        };
        let all = shown(&sandbox);
        assert!(
            all.len() == 3 && expected.iter().all(|one| all.iter().any(|line| line.ends_with(one))),
            "{all:?}\n{told}"
        );
        let before = writes(&sandbox);
        reconcile(&sandbox).run().exits(0).says("6 agreed, 0 repaired");
        assert_eq!(writes(&sandbox), before);
    }
}

#[test]
fn what_is_held_is_amended_where_the_record_says_more_and_stays_where_it_does_not() {
    let (later, earlier) = (
        json!({"createdAt": ago(60), "startedAt": ago(60)}),
        json!({"createdAt": ago(9000), "startedAt": ago(9000)}),
    );
    let running = "deploy production running";
    let success = "deploy production success";
    let failed = "deploy production failed";
    for (first, change, second, fate, status) in [
        (running, json!({}), failed, "repaired", "FAILURE"),
        (running, json!({}), success, "repaired", "SUCCESS"),
        (running, json!({}), "deploy production canceled", "repaired", "CANCELED"),
        (running, json!({}), running, "agreed", "IN_PROGRESS"),
        (failed, json!({}), "deploy production success", "repaired", "SUCCESS"),
        // What waits for an end is told that none will come; what does not wait is not.
        (
            running,
            json!({}),
            "deploy production canceled!",
            "repaired",
            "CANCELED",
        ),
        (running, json!({}), "deploy production blocked", "repaired", "BLOCKED"),
        (success, json!({}), "deploy production canceled!", "agreed", "SUCCESS"),
        // A state that is not final replaces a final one only if it is of a later attempt.
        (success, json!({}), running, "left alone", "SUCCESS"),
        (
            success,
            json!({}),
            "deploy production success | deploy production running",
            "repaired",
            "IN_PROGRESS",
        ),
        (
            failed,
            json!({}),
            "deploy production failed | deploy production success",
            "repaired",
            "SUCCESS",
        ),
        (
            failed,
            json!({}),
            "deploy production failed | deploy production created!",
            "agreed",
            "FAILURE",
        ),
        (running, later.clone(), failed, "later attempt", "IN_PROGRESS"),
        (success, later, failed, "later attempt", "SUCCESS"),
        (success, earlier, success, "earlier attempt", "SUCCESS"),
        // Words that no report says, and what only people say.
        (running, json!({"status": "STOPPED"}), failed, "left alone", "STOPPED"),
        (
            running,
            json!({"status": "STOPPED", "action": "stopped"}),
            failed,
            "left alone",
            "STOPPED",
        ),
        (running, json!({"status": "BAKING"}), failed, "left alone", "BAKING"),
        // A time that is missing, and what somebody wrote into another property.
        (
            success,
            json!({"closedAt": null, "finishedAt": null}),
            success,
            "repaired",
            "SUCCESS",
        ),
        (success, json!({"status": null}), success, "repaired", "SUCCESS"),
        (
            success,
            json!({"link": "https://x.example.com", "url": "https://x.example.com", "triggeredBy": "eve"}),
            success,
            "agreed",
            "SUCCESS",
        ),
    ] {
        let sandbox = recorded(first);
        reconcile(&sandbox).run().exits(0);
        sandbox.seed(Service::Rely, json!({"entities": {ID: {"properties": change}}}));
        sandbox.seed(
            Service::Port,
            json!({"entities": {"deployment": {ID: {"properties": change}}}}),
        );
        seed(&sandbox, second);
        let ran = reconcile(&sandbox).run().exits(0);
        let case = format!("{first}, then {change}, then {second}\n{}", ran.stderr);
        let told = lines(&ran.stderr, ID);
        assert!(told.len() == 2 && told.iter().all(|line| line.contains(fate)), "{case}");
        assert_eq!(shown(&sandbox), [format!("{ID} {status}")], "{case}");
        let before = writes(&sandbox).len();
        let again = reconcile(&sandbox).run().exits(0);
        assert_eq!(writes(&sandbox).len(), before, "{case}\nand again\n{}", again.stderr);
    }
}

#[test]
fn the_entity_is_the_one_that_a_report_of_the_deployment_has_made() {
    let service = ("EVENT_SERVICE", "shop");
    for (row, id, variable) in [
        ("deploy production failed", ID, None),
        ("deploy production failed", "acme-shop-8812--deploy", None),
        ("deploy production failed", "acme-shop-8812-production", None),
        ("deploy production failed", "acme-shop-8812", None),
        (
            "deploy production failed",
            "acme-shop-8812-production--shop",
            Some(service),
        ),
        ("deploy production failed", "acme-shop-8812--shop", Some(service)),
        ("deploy: [eu, web] production failed", ID, None),
        ("deploy 1/3 production failed", ID, None),
    ] {
        let sandbox = recorded(row);
        hold(&sandbox, id, &json!({"status": "IN_PROGRESS", "createdAt": began(1)}));
        let ran = reconcile(&sandbox).vars(variable).run().exits(0).says("2 repaired");
        assert_eq!(
            shown(&sandbox),
            [format!("{id} FAILURE")],
            "{row}, {id}\n{}",
            ran.stderr
        );
        assert_eq!(held(&sandbox, Service::Rely, id)["title"], "t", "only amended");
    }
    // Of another environment or pipeline it is another thing, and so is the service of nobody.
    for id in [
        "acme-shop-8812-staging",
        "acme-shop-8813-production--deploy",
        "acme-shop-8812-production--shop",
    ] {
        let sandbox = recorded("deploy production failed");
        hold(&sandbox, id, &json!({"status": "IN_PROGRESS"}));
        reconcile(&sandbox).run().exits(0);
        assert_eq!(shown(&sandbox).len(), 2, "{id}: {:?}", shown(&sandbox));
    }
}

#[test]
fn a_receipt_says_where_the_entity_is() {
    const OWN: [(&str, &str); 2] = [("RELY_ENTITY_ID", "own"), ("PORT_ENTITY_ID", "own")];
    // Who left the receipt: the deploy job itself, a report that names it, a report of the environment.
    for (rows, place, says_own, leads) in [
        ("deploy production failed", 0, "inside", true),
        ("deploy production failed | notify x created!", 1, "names it", true),
        ("deploy production failed | notify x created!", 1, "environment", true),
        (
            "deploy production failed | notify x created!",
            1,
            "other environment",
            false,
        ),
        (
            "deploy production failed | notify x created! | canary production success",
            1,
            "environment",
            false,
        ),
        (
            "deploy: [a] production failed | notify x created! | deploy: [b] production success",
            1,
            "names it",
            false,
        ),
    ] {
        let sandbox = recorded(rows);
        let beside = |sandbox: &Sandbox| {
            in_job(&["rely", "port"], sandbox)
                .var("CI_JOB_ID", "2")
                .var("EVENT_ACTION", "started")
        };
        let run = match says_own {
            "inside" => from_inside(&sandbox, (1, "deploy"), "failed").var("EVENT_ACTION", "started"),
            "names it" => beside(&sandbox)
                .var("NOTIFY_JOB", "deploy")
                .var("EVENT_ENVIRONMENT", "production"),
            "environment" => beside(&sandbox).var("EVENT_ENVIRONMENT", "production"),
            _ => beside(&sandbox).var("EVENT_ENVIRONMENT", "staging"),
        };
        let (reported, left) = artifacts(run.vars(OWN));
        reported.exits(0);
        hold(
            &sandbox,
            "own",
            &json!({"status": "IN_PROGRESS", "createdAt": began(1), "startedAt": began(1)}),
        );
        let mut jobs = jobs(rows);
        jobs[place]["artifacts"] = left;
        seed_jobs(&sandbox, &jobs, &json!(deployments(rows)));
        // As long as nobody can tell where it is, none is made beside it.
        let before = writes(&sandbox);
        for unread in ["/artifacts/", "/pipelines/"].iter().take(1 + place) {
            sandbox.fail_on(Service::GitLab, unread, 1000, status(503));
            let run = reconcile(&sandbox).var("NOTIFY_ATTEMPTS", "1").run();
            run.exits(75)
                .says("whether a receipt tells where it is can't be known now");
            assert_eq!(writes(&sandbox), before, "{rows}, {says_own}, {unread}");
            sandbox.clear_faults();
        }
        let ran = reconcile(&sandbox).run().exits(0);
        let own = held(&sandbox, Service::Port, "own")["properties"]["status"].clone();
        let case = format!("{rows}, {says_own}\n{}", ran.stderr);
        assert_eq!(own == "FAILURE", leads, "{own} {case}");
        assert_eq!(
            held(&sandbox, Service::Rely, "own")["properties"]["status"] == "FAILED",
            leads,
            "{case}"
        );
        let before = writes(&sandbox);
        reconcile(&sandbox).run().exits(0);
        assert_eq!(writes(&sandbox), before, "{case}");
    }
}

#[test]
fn what_several_lead_to_is_left_alone_and_of_several_pipelines_the_newest_counts() {
    const OWN: [(&str, &str); 2] = [
        ("RELY_ENTITY_ID", "{{ event.environment }}"),
        ("PORT_ENTITY_ID", "{{ event.environment }}"),
    ];
    let sandbox = recorded("web production failed | api production success | web staging success");
    reconcile(&sandbox)
        .vars(OWN)
        .run()
        .exits(0)
        .says("several jobs or environments of this pipeline lead to this entity");
    assert_eq!(shown(&sandbox), ["staging SUCCESS"]);
    let sandbox = recorded("deploy production failed");
    let older = json!({"deployable": {
        "pipeline": 8700, "status": "success", "created_at": ago(9000), "started_at": ago(8000), "finished_at": ago(7900),
    }});
    sandbox.seed(Service::GitLab, json!({"deployments": [older, {"deployable": 1}]}));
    reconcile(&sandbox)
        .vars(OWN)
        .run()
        .exits(0)
        .says("a later pipeline, 8812, has the same entity");
    assert_eq!(shown(&sandbox), ["production FAILURE"]);
}

#[test]
fn a_deployment_of_a_merge_request_a_tag_or_another_commit_has_what_is_its_own() {
    let sandbox = recorded("deploy review/1 success | deploy production success");
    let pipeline = |reference: &str, tag: bool, job: u64| {
        json!({
            "created_at": ago(7200), "ref": reference, "tag": tag, "sha": "5".repeat(40), "user": "robin", "jobs": [{
                "id": job, "name": "deploy", "created_at": ago(7200), "started_at": ago(7100), "finished_at": ago(7000),
            }],
        })
    };
    sandbox.seed(
        Service::GitLab,
        json!({"pipelines": {"8901": pipeline("refs/merge-requests/12/head", false, 71), "8902": pipeline("1.4.2", true, 72)},
            "merge_requests": {"12": {"source_branch": "fix/\"price\" 🚀"}}}),
    );
    let deployments = [
        json!({"deployable": 71, "environment": "review/1"}),
        json!({"deployable": 72}),
        // Its job is deleted, and so nobody can tell which entity it is.
        json!({"deployable": null, "created_at": ago(7000), "updated_at": ago(7000)}),
    ];
    sandbox.seed(Service::GitLab, json!({"deployments": deployments}));
    reconcile(&sandbox)
        .run()
        .exits(0)
        .says("4 repaired")
        .says("left alone: 1 deployment whose job was deleted");
    let of = |id: &str| held(&sandbox, Service::Port, id);
    let (review, tagged) = (
        of("acme-shop-8901-review-1-8fxbic--deploy"),
        of("acme-shop-8902-production--deploy"),
    );
    assert_eq!(review["properties"]["branch"], "fix/\"price\" 🚀");
    assert_eq!(tagged["properties"]["version"], "1.4.2");
    assert_eq!(tagged["title"], "acme/shop 1.4.2 (production)");
    for entity in [review, tagged] {
        assert_eq!(entity["properties"]["commit"], "5".repeat(40));
        assert_eq!(entity["properties"]["triggeredBy"], "robin");
    }
}

#[test]
fn what_changes_meanwhile_stays() {
    // GitLab's record, between the comparison and the writing: the next run has it.
    let sandbox = recorded("deploy production running");
    let mut retried = jobs("deploy production failed | deploy production running");
    retried.push(crate::gitlab::own());
    let now = json!({"pipelines": {"8812": {"jobs": retried}}, "deployments": deployments("deploy production failed | deploy production running")});
    sandbox.seed_after(Service::Rely, "GET /", 1, Service::GitLab, now);
    let ran = reconcile(&sandbox)
        .var("NOTIFY_DESTINATIONS", "rely")
        .run()
        .exits(0)
        .says("GitLab's record has changed meanwhile");
    assert_eq!(writes(&sandbox), [""; 0], "{}", ran.stderr);
    // A report that came meanwhile is not overwritten, nor is what somebody deleted made of half an entity.
    for (service, on) in [
        (Service::Rely, "POST /api/v1/entities"),
        (Service::Port, "POST /v1/blueprints/deployment/entities"),
    ] {
        let sandbox = recorded("deploy production running");
        let success = json!({"title": "t", "blueprintId": "deployment", "properties": {"status": "SUCCESS"}});
        let state = match service {
            Service::Port => {
                json!({"entities": {"deployment": {ID: {"title": "t", "properties": {"status": "SUCCESS"}}}}})
            }
            _ => json!({"entities": {ID: success}}),
        };
        // Asked for the record once more: right before the first write.
        sandbox.seed_after(Service::GitLab, "order_by=id", 1, service, state);
        let ran = reconcile(&sandbox)
            .var("NOTIFY_DESTINATIONS", service.name())
            .run()
            .exits(0);
        assert_eq!(
            held(&sandbox, service, ID)["properties"]["status"],
            "SUCCESS",
            "{on}\n{}",
            ran.stderr
        );
        assert!(ran.stderr.contains("it appeared meanwhile"), "{}", ran.stderr);
    }
}

#[test]
fn a_dry_run_shows_and_writes_nothing() {
    let sandbox = recorded("deploy production failed | deploy staging success");
    let left = folder("dry");
    for run in [
        in_job(&["reconcile", "--dry-run"], &sandbox).var("NOTIFY_DESTINATIONS", "rely,port"),
        reconcile(&sandbox).var("NOTIFY_DRY_RUN", "true"),
    ] {
        let ran = run
            .var("NOTIFY_OUTPUT_DIR", &left)
            .run()
            .exits(0)
            .says("4 would be repaired")
            .says("nothing was written");
        assert_eq!(
            lines(&ran.stderr, &format!("{ID}: it was missing; failure")).len(),
            2,
            "{}",
            ran.stderr
        );
        assert_eq!(writes(&sandbox), [""; 0]);
    }
    assert_eq!(std::fs::read_dir(&left).map_or(0, Iterator::count), 0);
}

#[test]
fn the_end_is_that_of_any_run() {
    type Change = fn(&Sandbox, Run) -> Run;
    fn port_is_down(sandbox: &Sandbox, run: Run) -> Run {
        sandbox.fail(Service::Port, 1000, status(503));
        run
    }
    fn rotated(_: &Sandbox, run: Run) -> Run {
        run.var("RELY_API_TOKEN", "rotated")
    }
    let (both, rely, port) = ("", "rely: ", "port: ");
    let of_failure = [&*format!("{ID} FAILURE")];
    let cases: &[(&str, Change, i32, &str, Option<&str>)] = &[
        ("all is well", |_, run| run, 0, "exit 0", Some(both)),
        ("one portal is down", port_is_down, 75, "answered 503", Some(rely)),
        (
            "down, and optional",
            |sandbox, run| port_is_down(sandbox, run).var("NOTIFY_DESTINATIONS", "rely,port?"),
            0,
            "unavailable: what it holds can't be read",
            Some(rely),
        ),
        ("a rotated token", rotated, 76, "Check RELY_API_TOKEN", Some(port)),
        (
            "both",
            |sandbox, run| rotated(sandbox, port_is_down(sandbox, run)),
            76,
            "answered 503",
            None,
        ),
        (
            "red",
            |sandbox, run| rotated(sandbox, run).var("NOTIFY_ON_ERROR", "fail"),
            1,
            "exit 1 (rejected)",
            Some(port),
        ),
        (
            "ignored",
            |sandbox, run| rotated(sandbox, run).var("NOTIFY_ON_ERROR", "ignore"),
            0,
            "ignored",
            Some(port),
        ),
        (
            "nothing that can be asked",
            |_, run| run.var("NOTIFY_DESTINATIONS", "cto,webhook"),
            0,
            "`notify-event replay",
            None,
        ),
        (
            "no wanted action",
            |_, run| run.var("NOTIFY_ONLY", "success"),
            0,
            "NOTIFY_ONLY=success leaves failure out",
            None,
        ),
    ];
    for (case, change, code, says, told) in cases {
        let sandbox = recorded("deploy production failed");
        let left = folder("end");
        let run = reconcile(&sandbox)
            .var("NOTIFY_OUTPUT_DIR", &left)
            .var("NOTIFY_ATTEMPTS", "1");
        let ran = change(&sandbox, run).run().exits(*code).says(says);
        let expected: Vec<String> = told
            .iter()
            .flat_map(|at| of_failure.map(|line| format!("{at}{line}")))
            .collect();
        assert_eq!(shown(&sandbox), expected, "{case}\n{}", ran.stderr);
        let receipt = json_of(&left.join("receipt.json"));
        assert_eq!(receipt["exit_code"], *code, "{case}");
        for entry in receipt["destinations"].as_array().expect("a list") {
            let class = match (entry["destination"].as_str(), *case) {
                (Some("rely"), "a rotated token" | "both" | "red" | "ignored") => "rejected",
                (Some("port"), "one portal is down" | "down, and optional" | "both") => "unavailable",
                (_, "nothing that can be asked" | "no wanted action") => "skipped",
                _ => "sent",
            };
            assert_eq!(entry["class"], class, "{case}");
            let detail = entry["detail"].as_str().expect("text");
            let why = match class {
                "unavailable" => "answered 503",
                "rejected" => "RELY_API_TOKEN",
                "skipped" => "left alone 1",
                _ => "repaired 1",
            };
            assert!(detail.contains(why), "{case}: {detail}");
        }
    }
}

#[test]
fn a_history_is_filled_in_bulk_and_a_run_that_is_ended_is_just_run_again() {
    const BULK: &str = "POST /v1/blueprints/deployment/entities/bulk";
    let sandbox = Sandbox::start();
    let history = |turn: u64| {
        let start = 86_400 * 30 - turn * 3600;
        json!({"deployable": {
            "pipeline": 7000 + turn, "created_at": ago(start + 60), "started_at": ago(start), "finished_at": ago(start - 300),
        }})
    };
    let all: Vec<Value> = (0..230).map(history).collect();
    sandbox.seed(Service::GitLab, json!({"deployments": all}));
    let run = || {
        reconcile(&sandbox)
            .var("NOTIFY_RECONCILE_SINCE", "90d")
            .var("NOTIFY_DESTINATIONS", "port")
    };
    sandbox.fail_on(Service::Port, BULK, 1, Fault::Delay(Duration::ZERO));
    sandbox.fail_on(Service::Port, BULK, 2, Fault::Hang);
    let running = run().start();
    wait_until("the second request", || writes(&sandbox).len() > 1);
    running.signal("TERM");
    running
        .ends()
        .exits(75)
        .says("asked to end (SIGTERM)")
        .ends_within(Duration::from_secs(10));
    sandbox.clear_faults();
    let count = shown(&sandbox).len();
    assert!((1..230).contains(&count), "{count}");
    run()
        .run()
        .exits(0)
        .says(&format!("{count} agreed, {} repaired", 230 - count));
    assert_eq!(shown(&sandbox).len(), 230);
    assert!(writes(&sandbox).len() < 20, "in bulk: {:?}", writes(&sandbox));
    let before = (writes(&sandbox).len(), sandbox.requests().len());
    run().run().exits(0).says("230 agreed, 0 repaired");
    assert_eq!(writes(&sandbox).len(), before.0);
    assert!(
        sandbox.requests().len() - before.1 < 12,
        "asked in bulk: {}",
        sandbox.requests().len() - before.1
    );
}
