//! What each vendor's own guide does with curl or Python, done with variables alone.

use std::time::Duration;

use sandbox::{Credentials, DirektivVersion, Fault, Options, Sandbox, Service};
use serde_json::{Value, json};

use crate::support::{
    UGLY_BRANCH, asked, folder, gitlab_file,
    held::{
        aviator_production, cto_events, direktiv_namespace, port_deployment, rely_entities, rely_entity,
        rely_production,
    },
    methods, notify, wait_until,
};

// Rely.io: docs/vendors/rely.md 8

#[test]
fn rely_is_created_updated_and_patched_by_the_guides_three_calls() {
    let sandbox = Sandbox::start();
    let run = |operation: &str, properties: &str| {
        notify(&[operation])
            .at(&sandbox)
            .var("RELY_PROPERTIES", properties)
            .run()
            .exits(0);
    };
    run("rely:create", r#"{"status": "IN_PROGRESS", "sourceCommit": "9f2c1e7"}"#);
    assert_eq!(
        rely_entity(&sandbox)["properties"],
        json!({"status": "IN_PROGRESS", "sourceCommit": "9f2c1e7"})
    );
    run("rely:patch", r#"{"status": "SUCCESS"}"#);
    assert_eq!(
        rely_entity(&sandbox)["properties"],
        json!({"status": "SUCCESS", "sourceCommit": "9f2c1e7"})
    );
    run("rely:replace", r#"{"status": "REPLACED"}"#);
    assert_eq!(rely_entity(&sandbox)["properties"], json!({"status": "REPLACED"}));
    assert_eq!(
        asked(&sandbox, Service::Rely),
        [
            "POST /api/v1/entities",
            "PUT /api/v1/entities/acme-shop-8812?patch=true",
            "PUT /api/v1/entities/acme-shop-8812",
        ]
    );
    let read = notify(&["rely:get"]).at(&sandbox).run().exits(0);
    assert_eq!(read.json()["properties"]["status"], "REPLACED");
}

#[test]
fn rely_is_updated_from_pre_to_post_under_one_id() {
    for put_creates in [true, false] {
        let sandbox = Sandbox::start_with(Options {
            rely_put_creates: put_creates,
            ..Options::default()
        });
        let stage = |job: &str, action: &str| {
            notify(&["rely"])
                .at(&sandbox)
                .var("CI_JOB_ID", job)
                .var("EVENT_ACTION", action)
                .var("RELY_RELATIONS", r#"{"service": "shop.service"}"#)
                .run()
                .exits(0);
        };
        stage("1", "started");
        let begun = rely_entity(&sandbox);
        assert_eq!(begun["properties"]["status"], "IN_PROGRESS");
        assert!(begun["properties"]["createdAt"].is_string());
        stage("2", "running");
        stage("3", "success");
        let ended = rely_entity(&sandbox);
        assert_eq!(ended["properties"]["status"], "SUCCESS");
        assert_eq!(ended["properties"]["createdAt"], begun["properties"]["createdAt"]);
        assert!(ended["properties"]["closedAt"].is_string());
        assert_eq!(ended["properties"]["successful"], true);
        assert_eq!(ended["relations"], json!({"service": {"value": "shop.service"}}));
        assert_eq!(rely_entities(&sandbox), 1);
    }
}

#[test]
fn rely_takes_the_plugins_own_ids_and_a_blueprint_of_ones_own() {
    let sandbox = Sandbox::start();
    sandbox.seed(
        Service::Rely,
        json!({"blueprints": {"my.release": {"properties": {"branch": {"type": "string"}}, "relations": ["repository"]}}}),
    );
    notify(&["rely"])
        .at(&sandbox)
        .var("RELY_BLUEPRINT", "my.release")
        .var("RELY_ENTITY_ID", "GitLab_Pipeline/{{ pipeline.id }}")
        .var("RELY_ENTITY_TITLE", "Release {{ pipeline.id }}")
        .var("RELY_PROPERTIES", r#"{"branch": "{{ event.branch }}"}"#)
        .var("RELY_RELATIONS", r#"{"repository": {"value": "gitlab.repo.42"}}"#)
        .run()
        .exits(0)
        .says_of("rely", "gitlab_pipeline.8812");
    let entity = &sandbox.state(Service::Rely)["entities"]["gitlab_pipeline.8812"];
    assert_eq!(
        (&entity["blueprintId"], &entity["title"]),
        (&json!("my.release"), &json!("Release 8812"))
    );
    assert_eq!(entity["properties"], json!({"branch": UGLY_BRANCH}));
}

// CTO.ai: docs/vendors/cto.md 9

#[test]
fn the_cto_snippets_two_jobs_send_their_events() {
    let known = Credentials::default();
    for action in ["success", "failure"] {
        let sandbox = Sandbox::start();
        // `variables:` of the snippet, as GitLab expands them; `environment: name: production`.
        notify(&["cto", "--official-names"])
            .without("EVENT_ACTION")
            .vars([
                ("TEAM_ID", known.cto_team.as_str()),
                ("TOKEN", &known.cto_token),
                ("EVENT_NAME", "deployment"),
                ("EVENT_ACTION", action),
                ("CTOAI_TEAM_ID", &known.cto_team),
                ("CTOAI_EVENTS_API_TOKEN", &known.cto_token),
                ("CI_ENVIRONMENT_NAME", "production"),
                ("CI_ENVIRONMENT_SLUG", "production"),
                ("USER", "root"),
                ("CTOAI_API_URL", &sandbox.url(Service::Cto)),
            ])
            .run()
            .exits(0);
        assert_eq!(
            sandbox.state(Service::Cto)["events"],
            json!([{
                "team_id": known.cto_team,
                "event_name": "deployment",
                "event_action": action,
                "repo": "acme/shop",
                "branch": UGLY_BRANCH,
                "commit": "9f2c1e7d0b4a5c6d7e8f90123456789abcdef012",
                "environment": "production",
                "image": null,
                "meta": {"user": "dana"},
            }])
        );
    }
}

#[test]
fn the_cto_snippets_optional_variables_win_in_its_hidden_job_alone() {
    let sandbox = Sandbox::start();
    let own = [
        ("BRANCH", "own-branch"),
        ("COMMIT", "c0ffee"),
        ("REPO", "own/repo"),
        ("ENVIRONMENT", "own-environment"),
        ("IMAGE", "own/image:1"),
    ];
    let event = |arguments: &[&str]| {
        notify(arguments)
            .at(&sandbox)
            .vars(own)
            .var("NOTIFY_DESTINATIONS", "cto")
            .var("EVENT_IMAGE", "event/image:2")
            .run()
            .exits(0);
        cto_events(&sandbox).pop().expect("an event")
    };
    let of_hidden_job = event(&["cto", "--official-names"]);
    for (variable, value) in own {
        assert_eq!(of_hidden_job[variable.to_lowercase()], value);
    }
    // In a script of one's own, other tools' variables don't leak in.
    for arguments in [&["cto"][..], &["rely", "cto"], &[]] {
        let other = event(arguments);
        assert_eq!(other["branch"], UGLY_BRANCH);
        assert_eq!(other["image"], "event/image:2");
        assert_eq!(other["repo"], "acme/shop");
    }
}

#[test]
fn what_the_hidden_job_could_not_send_is_replayed_by_ctos_own_token_alone() {
    let known = Credentials::default();
    let sandbox = Sandbox::start();
    let folder = folder("cto-replay");
    let run = |arguments: &[&str]| {
        notify(arguments)
            .within(&folder)
            .var("CTOAI_API_URL", sandbox.url(Service::Cto))
            .var("NOTIFY_OUTPUT_DIR", "out")
            .vars([("TOKEN", known.cto_token.as_str()), ("NOTIFY_DESTINATIONS", "cto")])
    };
    sandbox.fail(Service::Cto, 1, Fault::status(400));
    run(&["cto", "--official-names"])
        .vars([("TEAM_ID", known.cto_team.as_str()), ("BRANCH", "own-branch")])
        .run()
        .exits(76);
    run(&["replay", "out/undelivered"])
        .run()
        .exits(78)
        .says("CTOAI_EVENTS_API_TOKEN is not set");
    run(&["replay", "out/undelivered"])
        .vars([
            ("CTOAI_EVENTS_API_TOKEN", known.cto_token.as_str()),
            ("BRANCH", "other"),
        ])
        .run()
        .exits(0);
    let events = cto_events(&sandbox);
    assert_eq!((events.len(), &events[0]["branch"]), (1, &json!("own-branch")));
    assert_eq!(events[0]["team_id"], known.cto_team);
}

#[test]
fn another_tools_token_never_reaches_cto() {
    let known = Credentials::default();
    let foreign = [("TOKEN", "another-tools-token"), ("TEAM_ID", "another-team")];
    let bearer = format!("Bearer {}", known.cto_token);
    for arguments in [&["cto"][..], &["rely", "cto"], &["cto", "--official-names"]] {
        let sandbox = Sandbox::start();
        let ran = notify(arguments).at(&sandbox).vars(foreign).run().exits(0);
        let request = &sandbox.requests_to(Service::Cto)[0];
        assert!(
            request.headers.iter().any(|(_, value)| value == &bearer),
            "{arguments:?}"
        );
        assert_eq!(request.json()["team_id"], known.cto_team);
        let is_said = ran
            .stderr
            .contains("TOKEN is set to something else than CTOAI_EVENTS_API_TOKEN: CTOAI_EVENTS_API_TOKEN is used");
        assert_eq!(is_said, arguments.contains(&"--official-names"), "{}", ran.stderr);
        ran.hides("another-tools-token").hides("another-team");
    }
    // Nor is it taken for one that is missing.
    let sandbox = Sandbox::start();
    notify(&["cto"])
        .var("CTOAI_API_URL", sandbox.url(Service::Cto))
        .vars(foreign)
        .run()
        .exits(78)
        .says("CTOAI_EVENTS_API_TOKEN is not set");
    assert!(sandbox.requests().is_empty());
    // What a group gives counts as CTO.ai's own, too.
    notify(&["cto", "--official-names"])
        .at(&sandbox)
        .without("CTOAI_EVENTS_API_TOKEN")
        .var("CTOAI_EVENTS_API_TOKEN_DEFAULT", &known.cto_token)
        .vars(foreign)
        .run()
        .exits(0)
        .says("TOKEN is set to something else than CTOAI_EVENTS_API_TOKEN_DEFAULT:");
}

#[test]
fn a_cto_variable_that_gitlab_could_not_fill_is_said_to_be_undefined() {
    let sandbox = Sandbox::start();
    notify(&["cto", "--official-names"])
        .var("CTOAI_API_URL", sandbox.url(Service::Cto))
        .var("TOKEN", "${CTOAI_EVENTS_API_TOKEN}")
        .var("TEAM_ID", "${CTOAI_TEAM_ID}")
        .run()
        .exits(78)
        .says_of("cto", "TOKEN is literally")
        .says_of("cto", "TEAM_ID is literally");
    assert_eq!(sandbox.requests().len(), 0);
}

#[test]
fn cto_takes_change_events_and_words_of_ones_own() {
    let sandbox = Sandbox::start();
    for (name, action) in [("change", "merge"), ("build", "flaky"), ("deployment", "blocked")] {
        notify(&["cto"])
            .at(&sandbox)
            .var("EVENT_NAME", name)
            .var("EVENT_ACTION", action)
            .run()
            .exits(0);
    }
    let events = &sandbox.state(Service::Cto)["events"];
    assert_eq!(
        json!([
            events[0]["event_action"],
            events[1]["event_action"],
            events[2]["event_action"]
        ]),
        json!(["merge", "flaky", "blocked"])
    );
}

// Direktiv: docs/vendors/direktiv.md 10

fn direktiv(version: DirektivVersion) -> Sandbox {
    Sandbox::start_with(Options {
        direktiv_version: version,
        ..Options::default()
    })
}

#[test]
fn direktiv_syncs_with_the_guides_variables_on_old_servers() {
    let token = Credentials::default().direktiv_token;
    for version in [DirektivVersion::V0_6, DirektivVersion::V0_7, DirektivVersion::V0_8_5] {
        let sandbox = direktiv(version);
        notify(&["direktiv:sync"])
            .vars([
                ("DIREKTIV_URL", sandbox.url(Service::Direktiv).as_str()),
                ("DIREKTIV_NAMESPACE", "demo"),
                ("DIREKTIV_DIRECTORY", ""),
                ("DIREKTIV_TOKEN", &token),
                ("DIREKTIV_HEADER", &format!("direktiv-token: {token}")),
            ])
            .run()
            .exits(0);
        let syncs = &direktiv_namespace(&sandbox)["syncs"];
        assert_eq!(syncs.as_array().map(Vec::len), Some(1), "{version:?}");
        assert_eq!(syncs[0]["directory"], "");
    }
}

#[test]
fn direktiv_syncs_a_directory_by_the_guides_call() {
    let sandbox = direktiv(DirektivVersion::V0_7);
    notify(&["direktiv:sync"])
        .at(&sandbox)
        .var("DIREKTIV_DIRECTORY", "/workflows/directory")
        .var("DIREKTIV_WAIT", "true")
        .run()
        .exits(0);
    let sync = &direktiv_namespace(&sandbox)["syncs"][0];
    assert_eq!(
        (&sync["directory"], &sync["status"]),
        (&json!("/workflows/directory"), &json!("complete"))
    );
    assert_eq!(sync["force"], true);
    assert_eq!(
        asked(&sandbox, Service::Direktiv)[0],
        "POST /api/namespaces/demo/tree/workflows/directory?op=sync-mirror&force=true"
    );
    // A server that has no such mirrors syncs the namespace, and that is said.
    let sandbox = direktiv(DirektivVersion::V0_10);
    notify(&["direktiv:sync"])
        .at(&sandbox)
        .var("DIREKTIV_DIRECTORY", "/workflows/directory")
        .run()
        .exits(0)
        .says_of("direktiv:sync", "DIREKTIV_DIRECTORY has no effect");
}

#[test]
fn direktivs_token_alone_suits_every_version_for_every_operation() {
    for version in DirektivVersion::RELEASED {
        let sandbox = direktiv(version);
        for operation in ["direktiv:execute", "direktiv", "direktiv:sync"] {
            let ran = notify(&[operation])
                .at(&sandbox)
                .var("DIREKTIV_WORKFLOW", "/wf/deploy.yaml")
                .var("DIREKTIV_INPUT", r#"{"version":"1.50"}"#)
                .run();
            assert_eq!(ran.code, 0, "{operation} on {version:?}: {}", ran.stderr);
        }
        let namespace = direktiv_namespace(&sandbox);
        for list in ["instances", "events", "syncs"] {
            assert_eq!(
                namespace[list].as_array().map(Vec::len),
                Some(1),
                "{list} on {version:?}"
            );
        }
        assert_eq!(namespace["instances"][0]["input"], r#"{"version":"1.50"}"#);
        assert_eq!(namespace["events"][0]["data"], json!({"version": "1.50"}));
        let id = namespace["events"][0]["id"].as_str().expect("an id");
        assert!(id.starts_with("acme-shop-8812-deployment-success-"), "{id}");
    }
}

#[test]
fn direktivs_old_header_on_a_new_server_is_refused_with_advice() {
    let sandbox = direktiv(DirektivVersion::V0_10);
    let token = Credentials::default().direktiv_token;
    notify(&["direktiv:sync"])
        .at(&sandbox)
        .var("DIREKTIV_HEADER", format!("direktiv-token: {token}"))
        .run()
        .exits(76)
        .says_of("direktiv:sync", "DIREKTIV_HEADER");
    notify(&["direktiv:sync"])
        .at(&sandbox)
        .var("DIREKTIV_HEADER", format!("Direktiv-Api-Key: {token}"))
        .run()
        .exits(0);
}

// Aviator: docs/vendors/aviator.md 10

#[test]
fn aviators_release_deployment_and_status_go_as_in_its_reference() {
    let sandbox = Sandbox::start();
    let run = |arguments: &[&str], action: &str| {
        notify(arguments)
            .at(&sandbox)
            .var("CI_COMMIT_TAG", "2025.03.01-rc1")
            .var("AVIATOR_ENVIRONMENT", "production")
            .var("EVENT_ACTION", action)
            .run()
            .exits(0);
    };
    run(&["aviator:release"], "started");
    let release = &sandbox.state(Service::Aviator)["releases"]["2025.03.01-rc1"];
    assert_eq!(
        *release,
        json!({
            "repo": "acme/shop",
            "commit": "9f2c1e7d0b4a5c6d7e8f90123456789abcdef012",
            "trigger_build_workflow": false,
        })
    );
    run(&["aviator:deployment"], "started");
    assert_eq!(aviator_production(&sandbox)["triggered_workflows"], 1);
    for (action, status) in [
        ("pending", "pending"),
        ("running", "in_progress"),
        ("success", "success"),
        ("failed", "failure"),
        ("canceling", "canceling"),
        ("canceled", "canceled"),
        ("error", "error"),
        ("unknown", "unknown"),
    ] {
        run(&["aviator"], action);
        assert_eq!(aviator_production(&sandbox)["deployments"][0]["status"], status);
    }
    assert_eq!(
        aviator_production(&sandbox)["triggered_workflows"],
        1,
        "a status triggers nothing"
    );
    assert_eq!(
        aviator_production(&sandbox)["deployments"].as_array().map(Vec::len),
        Some(1)
    );
}

#[test]
fn aviators_status_creates_the_deployment_and_a_rollback_goes_back() {
    let sandbox = Sandbox::start();
    for candidate in ["1.0.0-rc1", "1.1.0-rc1"] {
        notify(&["aviator:release", "aviator"])
            .at(&sandbox)
            .var("AVIATOR_RELEASE_CANDIDATE", candidate)
            .var("EVENT_ENVIRONMENT", "production")
            .run()
            .exits(0);
    }
    notify(&["aviator:rollback"])
        .at(&sandbox)
        .var("EVENT_ENVIRONMENT", "production")
        .run()
        .exits(0)
        .says_of("aviator:rollback", "back to 1.0.0-rc1");
    let ran = notify(&["aviator:list"])
        .at(&sandbox)
        .var("EVENT_ENVIRONMENT", "production")
        .run()
        .exits(0);
    let candidates: Vec<Value> = ran
        .json()
        .as_array()
        .expect("a list")
        .iter()
        .map(|deployment| deployment["release_candidate_version"].clone())
        .collect();
    assert_eq!(candidates, ["1.0.0-rc1", "1.1.0-rc1", "1.0.0-rc1"]);
    // A release that nobody cut is Aviator's own refusal.
    notify(&["aviator"])
        .at(&sandbox)
        .var("AVIATOR_RELEASE_CANDIDATE", "9-rc9")
        .var("EVENT_ENVIRONMENT", "production")
        .run()
        .exits(76)
        .says_of("aviator", "Release not found");
    assert!(methods(&sandbox, Service::Aviator).ends_with("PATCH"));
}

// Port: docs/vendors/port.md 10

#[test]
fn ports_entity_is_upserted_and_read_as_in_the_guide() {
    let sandbox = Sandbox::start();
    let properties = r#"{
        "myStringProp": "My value",
        "myNumberProp": 1,
        "myBooleanProp": true,
        "myArrayProp": ["myVal1", "myVal2"],
        "myObjectProp": {"myKey": "myVal", "myExtraKey": "myExtraVal"}
    }"#;
    let variables = [
        ("PORT_BLUEPRINT", "test-blueprint"),
        ("PORT_ENTITY_ID", "example-entity"),
    ];
    notify(&["port"])
        .at(&sandbox)
        .vars(variables)
        .var("PORT_PROPERTIES", properties)
        .run()
        .exits(0);
    let wanted: Value = serde_json::from_str(properties).expect("JSON");
    let entity = &sandbox.state(Service::Port)["entities"]["test-blueprint"]["example-entity"];
    assert_eq!(entity["properties"], wanted);
    // The guide's call would lose what it does not name; ours merges.
    notify(&["port"])
        .at(&sandbox)
        .vars(variables)
        .var("PORT_PROPERTIES", r#"{"myNumberProp": 2}"#)
        .run()
        .exits(0);
    let read = notify(&["port:get"]).at(&sandbox).vars(variables).run().exits(0);
    assert_eq!(read.json()["entity"]["properties"]["myNumberProp"], 2);
    assert_eq!(read.json()["entity"]["properties"]["myStringProp"], "My value");
    // The base URL as the guide has it.
    notify(&["port:get"])
        .at(&sandbox)
        .vars(variables)
        .var("PORT_API_URL", format!("{}/v1", sandbox.url(Service::Port)))
        .run()
        .exits(0);
}

#[test]
fn ports_action_run_is_reported_from_the_payload_that_triggered_the_pipeline() {
    let folder = folder("port-run");
    for payload in [
        json!({"context": {"runId": "r_7"}}),
        json!({"port_context": {"runId": "r_7"}, "ref": "main"}),
        json!({"runId": "r_7"}),
    ] {
        let sandbox = Sandbox::start();
        sandbox.seed(Service::Port, json!({"runs": {"r_7": {}}}));
        let path = gitlab_file(&folder, "TRIGGER_PAYLOAD", &payload.to_string());
        let run = |operation: &str, variables: &[(&str, &str)]| {
            notify(&[operation])
                .at(&sandbox)
                .var("TRIGGER_PAYLOAD", &path)
                .vars(variables.iter().copied())
                .run()
                .exits(0);
        };
        let link = "https://gitlab.example.com/acme/shop/-/pipelines/8812";
        run("port:run-log", &[("PORT_RUN_LOG", "started")]);
        run(
            "port:run-update",
            &[("EVENT_ACTION", "running"), ("PORT_RUN_LINK", link)],
        );
        run(
            "port:run-update",
            &[("PORT_RUN_LOG", "done"), ("PORT_RUN_STATUS_LABEL", "Deployed")],
        );
        let state = sandbox.state(Service::Port);
        let (ended, logs) = (&state["runs"]["r_7"], &state["logs"]["r_7"]);
        assert_eq!(
            (&ended["status"], &ended["statusLabel"]),
            (&json!("SUCCESS"), &json!("Deployed"))
        );
        assert_eq!(ended["link"], json!([link]));
        assert_eq!(
            (&logs[0]["message"], &logs[1]["message"]),
            (&json!("started"), &json!("done"))
        );
    }
}

#[test]
fn a_deployments_life_is_told_to_all_five_services_with_one_call_each_time() {
    let sandbox = Sandbox::start();
    let run = |arguments: &[&str], action: &str| {
        notify(arguments)
            .at(&sandbox)
            .var("EVENT_ACTION", action)
            .var("EVENT_ENVIRONMENT", "production")
            .var("CI_COMMIT_TAG", "1.0.0-rc1")
            .run()
            .exits(0)
    };
    run(&["aviator:release"], "started");
    let five = ["rely", "cto", "direktiv", "aviator", "port"];
    run(&five, "started");
    run(&["direktiv:sync"], "success");
    // By detection: every destination whose credentials are set.
    let ran = run(&[], "success");
    for name in five {
        assert!(ran.stderr.contains(&format!("  {name:<18} sent")), "{}", ran.stderr);
    }
    wait_until("the sync", || {
        direktiv_namespace(&sandbox)["syncs"][0]["status"] == "complete"
    });
    let port = port_deployment(&sandbox, "acme-shop-8812-production");
    assert_eq!(port["properties"]["status"], "SUCCESS");
    assert!(port["properties"]["createdAt"].is_string() && port["properties"]["finishedAt"].is_string());
    let rely = rely_production(&sandbox);
    assert_eq!(rely["properties"]["status"], "SUCCESS");
    assert_eq!(aviator_production(&sandbox)["deployments"][0]["status"], "success");
    assert_eq!(cto_events(&sandbox).len(), 2);
    assert_eq!(direktiv_namespace(&sandbox)["events"].as_array().map(Vec::len), Some(2));
    ran.ends_within(Duration::from_secs(10));
}
