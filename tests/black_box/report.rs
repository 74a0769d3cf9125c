//! What a run tells and leaves behind: the report, the receipt, what was read, `explain` and `--help`.

use std::fs;

use sandbox::{Fault, Sandbox, Service};
use serde_json::{Value, json};

use crate::support::{
    UGLY_BRANCH, catalog,
    faults::{fail, reply, status},
    folder, gitlab_file, json_of, notify,
    operations::{LOGIN, NEW_CANDIDATE, OPERATIONS, prepared, ready},
};

/// The part of a receipt about an operation.
#[track_caller]
fn part(receipt: &Value, destination: &str, operation: &str) -> Value {
    let all = receipt["destinations"].as_array().expect("a list");
    let mine = |part: &&Value| part["destination"] == destination && part["operation"] == operation;
    all.iter()
        .find(mine)
        .cloned()
        .unwrap_or_else(|| panic!("{destination}:{operation} is not in {receipt}"))
}

// The receipt

#[test]
fn the_receipt_holds_the_event_and_every_outcome() {
    let folder = folder("receipt").join("made/on/the/way");
    let sandbox = ready();
    sandbox.fail(Service::Rely, 1, status(503));
    sandbox.fail(Service::Cto, 9, Fault::status(500));
    let body = r#"{"error":{"code":"resource_locked","message":"in use"}}"#;
    let refusal = reply(422, &[("x-request-id", "req-77")], body);
    sandbox.fail(Service::Direktiv, 9, refusal);
    prepared(
        &sandbox,
        &[
            "rely",
            "cto",
            "direktiv:sync",
            "aviator:release",
            "port:get",
            "port:delete?",
        ],
    )
    .var("NOTIFY_OUTPUT_DIR", &folder)
    .var("AVIATOR_RELEASE_CANDIDATE", "none")
    .var("PORT_ENTITY_ID", "missing")
    .var("PORT_BLUEPRINT", "service")
    .run()
    .exits(78);
    let receipt = json_of(&folder.join("receipt.json"));
    assert_eq!(
        (&receipt["schema_version"], &receipt["exit_code"]),
        (&json!(1), &json!(78))
    );
    let event = &receipt["event"];
    assert_eq!(event["id"], "acme-shop-8812-production");
    assert_eq!(event["branch"], UGLY_BRANCH);
    assert_eq!(
        (&event["action"], &event["environment"]),
        (&json!("success"), &json!("production"))
    );

    let rely = part(&receipt, "rely", "upsert");
    assert_eq!(
        (&rely["class"], &rely["status"], &rely["attempts"]),
        (&json!("sent"), &json!(200), &json!(2))
    );
    assert_eq!(
        (&rely["identifier"], &rely["optional"]),
        (&json!("acme-shop-8812-production"), &json!(false))
    );
    assert!(rely["milliseconds"].is_u64());
    assert_eq!(rely["blueprint"], "deployment");

    let cto = part(&receipt, "cto", "event");
    assert_eq!(
        (&cto["class"], &cto["status"], &cto["attempts"]),
        (&json!("unavailable"), &json!(500), &json!(1))
    );
    assert_eq!(cto.get("blueprint"), None, "it is about no entity");

    let direktiv = part(&receipt, "direktiv", "sync");
    assert_eq!(
        (&direktiv["class"], &direktiv["status"]),
        (&json!("rejected"), &json!(422))
    );
    assert_eq!(direktiv["request_id"], "req-77");
    assert!(
        direktiv["detail"]
            .as_str()
            .is_some_and(|detail| detail.contains("resource_locked: in use"))
    );

    let aviator = part(&receipt, "aviator", "release");
    assert_eq!(
        (&aviator["class"], &aviator["status"]),
        (&json!("misconfigured"), &Value::Null)
    );
    assert_eq!((&aviator["attempts"], &aviator["milliseconds"]), (&json!(0), &json!(0)));
    assert!(
        aviator["detail"]
            .as_str()
            .is_some_and(|detail| detail.contains("AVIATOR_RELEASE_CANDIDATE"))
    );

    let get = part(&receipt, "port", "get");
    assert_eq!(get["blueprint"], "service", "as its own variable says");
    assert_eq!((&get["class"], &get["status"]), (&json!("rejected"), &json!(404)));
    assert_eq!(get["request_id"].as_str().map(str::len), Some(36), "{get}");

    let delete = part(&receipt, "port", "delete");
    assert_eq!(
        (&delete["class"], &delete["optional"]),
        (&json!("skipped"), &json!(true))
    );
}

#[test]
fn a_connection_that_broke_has_no_status() {
    let folder = folder("no-status");
    let sandbox = Sandbox::start();
    sandbox.fail(Service::Cto, 9, Fault::Reset);
    prepared(&sandbox, &["cto"])
        .var("NOTIFY_OUTPUT_DIR", &folder)
        .run()
        .exits(75);
    let receipt = json_of(&folder.join("receipt.json"));
    assert_eq!(part(&receipt, "cto", "event")["status"], Value::Null);
}

#[test]
fn the_dotenv_file_is_one_that_gitlab_takes() {
    let folder = folder("dotenv");
    let sandbox = ready();
    sandbox.fail(Service::Cto, 9, Fault::status(400));
    prepared(
        &sandbox,
        &["rely", "cto?", "aviator:release", "port:run-create", "direktiv:execute"],
    )
    .var("NOTIFY_OUTPUT_DIR", &folder)
    .var("AVIATOR_RELEASE_CANDIDATE", NEW_CANDIDATE)
    .run()
    .exits(0);
    let text = fs::read_to_string(folder.join("receipt.env")).expect("there is a receipt.env");
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
        line.unwrap_or_else(|| panic!("{name} is not in {text}")).to_owned()
    };
    assert_eq!(value("NOTIFY_EVENT_ID"), "acme-shop-8812-production");
    assert_eq!(value("NOTIFY_EVENT_ACTION"), "success");
    assert_eq!(value("NOTIFY_RELY_RESULT"), "sent");
    assert_eq!(value("NOTIFY_RELY_ID"), "acme-shop-8812-production");
    assert_eq!(value("NOTIFY_CTO_RESULT"), "rejected");
    assert_eq!(value("NOTIFY_AVIATOR_RELEASE_ID"), "1.4.0-rc2");
    let state = sandbox.state(Service::Port);
    let runs = state["runs"].as_object().expect("an object");
    assert!(runs.contains_key(&value("NOTIFY_PORT_RUN_CREATE_ID")), "{text}");
    assert_eq!(value("NOTIFY_DIREKTIV_EXECUTE_ID").len(), 36);
}

#[test]
fn the_dotenv_file_has_the_results_of_every_call_in_a_job() {
    let folder = folder("dotenv-calls");
    let sandbox = Sandbox::start();
    for destination in ["rely", "cto"] {
        notify(&[destination])
            .at(&sandbox)
            .var("NOTIFY_OUTPUT_DIR", &folder)
            .run()
            .exits(0);
    }
    let text = fs::read_to_string(folder.join("receipt.env")).expect("a dotenv file");
    for line in [
        "NOTIFY_RELY_RESULT=sent",
        "NOTIFY_RELY_ID=acme-shop-8812",
        "NOTIFY_CTO_RESULT=sent",
    ] {
        assert!(text.lines().any(|other| other == line), "{line} is not in {text}");
    }
    // Another job finds this one's folder among its artifacts, and starts anew.
    notify(&["cto"])
        .at(&sandbox)
        .var("NOTIFY_OUTPUT_DIR", &folder)
        .var("CI_JOB_ID", "992")
        .run()
        .exits(0);
    let text = fs::read_to_string(folder.join("receipt.env")).expect("a dotenv file");
    assert!(!text.contains("RELY"), "{text}");
}

#[test]
fn what_another_job_read_is_not_taken_for_this_ones_result() {
    let folder = folder("stale");
    let sandbox = Sandbox::start();
    let in_folder = |arguments: &[&str]| notify(arguments).at(&sandbox).var("NOTIFY_OUTPUT_DIR", &folder);
    in_folder(&["rely"]).run().exits(0);
    in_folder(&["rely:get"]).run().exits(0);
    assert!(folder.join("rely.json").exists());
    assert_eq!(
        fs::read_to_string(folder.join(".gitignore")).expect("the work tree stays clean"),
        "*\n"
    );
    in_folder(&["rely:get"])
        .var("CI_JOB_ID", "992")
        .var("RELY_ENTITY_ID", "missing")
        .run()
        .exits(76);
    assert!(!folder.join("rely.json").exists());
}

#[test]
fn the_dotenv_file_keeps_within_gitlabs_limits_whatever_the_values_are() {
    let all: Vec<&str> = OPERATIONS.iter().map(|(operation, _)| *operation).collect();
    for id in [
        "a\nB=injected\r\nC=too".to_owned(),
        "'quoted' \"id\"".to_owned(),
        "x".repeat(4000),
    ] {
        let folder = folder("dotenv-limits");
        let sandbox = ready();
        prepared(&sandbox, &all)
            .var("NOTIFY_OUTPUT_DIR", &folder)
            .var("NOTIFY_ATTEMPTS", "1")
            .var("PORT_RUN_LOG", "a line")
            .var("EVENT_ID", &id)
            .var("RELY_ENTITY_ID", "")
            .run();
        let text = fs::read_to_string(folder.join("receipt.env")).expect("there is a receipt.env");
        assert!(text.len() <= 5 * 1024, "{} bytes", text.len());
        assert!((1..=20).contains(&text.lines().count()), "{text}");
        for line in text.lines() {
            let name = line.split_once('=').map(|(name, _)| name).unwrap_or_default();
            let is_ours =
                name.starts_with("NOTIFY_") && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
            assert!(is_ours, "{line:?} in {text}");
        }
        json_of(&folder.join("receipt.json"));
    }
}

// What is read

#[test]
fn what_was_read_goes_to_standard_output_and_to_the_folder() {
    for (operation, file, pointer) in [
        ("rely:get", "rely.json", "/blueprintId"),
        ("aviator:list", "aviator.json", "/0/release_candidate_version"),
        ("port:get", "port.json", "/entity/identifier"),
        ("port:search", "port.json", "/entities/0/identifier"),
    ] {
        let folder = folder(&format!("read-{}", operation.replace(':', "-")));
        let sandbox = ready();
        let ran = prepared(&sandbox, &[operation])
            .var("NOTIFY_OUTPUT_DIR", &folder)
            .run()
            .exits(0);
        let json = ran.json();
        assert!(
            json.pointer(pointer).is_some_and(Value::is_string),
            "{operation}: {json}"
        );
        assert_eq!(json_of(&folder.join(file)), json);
        assert_eq!(ran.stdout.lines().count(), 1);
    }
}

#[test]
fn two_readings_of_one_service_are_two_lines_and_two_files() {
    let folder = folder("two-readings");
    let sandbox = ready();
    let ran = prepared(&sandbox, &["port:search", "port:get", "rely:get"])
        .var("NOTIFY_OUTPUT_DIR", &folder)
        .run()
        .exits(0);
    let lines: Vec<Value> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("each line is JSON"))
        .collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0]["entities"].is_array() && lines[1]["entity"].is_object() && lines[2]["id"].is_string());
    assert_eq!(json_of(&folder.join("port.json")), lines[0]);
    assert_eq!(json_of(&folder.join("port-get.json")), lines[1]);
    assert_eq!(json_of(&folder.join("rely.json")), lines[2]);
}

#[test]
fn standard_output_is_empty_for_everything_that_is_not_read() {
    for (operation, _) in OPERATIONS.iter() {
        let is_read = [":get", ":search", ":list"]
            .iter()
            .any(|read| operation.ends_with(read));
        let ran = prepared(&ready(), &[operation])
            .var("NOTIFY_LOG", "debug")
            .run()
            .exits(0);
        assert_eq!(ran.stdout.is_empty(), !is_read, "{operation}: {}", ran.stdout);
    }
    // Nor is there anything when a reading fails.
    for (operation, service) in OPERATIONS.iter() {
        let sandbox = ready();
        fail(&sandbox, *service, 9, &Fault::status(418));
        let ran = prepared(&sandbox, &[operation]).run().exits(76);
        assert_eq!(ran.stdout, "", "{operation}");
    }
}

#[test]
fn numbers_that_are_read_stay_as_they_were_sent() {
    let sandbox = ready();
    let body = r#"{"id":"acme-shop-8812-production","number":1.50,"big":123456789012345678901234567890}"#;
    sandbox.fail(Service::Rely, 1, reply(200, &[], body));
    let ran = prepared(&sandbox, &["rely:get"]).run().exits(0);
    assert_eq!(ran.stdout.trim_end(), body);
}

// The report

/// Arguments, fault, variables, and the last line.
type Case<'a> = (&'a [&'a str], Option<Fault>, &'a [(&'a str, &'a str)], &'a str);

#[test]
fn the_last_line_says_how_the_job_ends_and_why() {
    let cases: &[Case] = &[
        (&["rely", "cto"], None, &[], "notify-event: 2 sent; exit 0"),
        (
            &["rely", "cto"],
            None,
            &[("NOTIFY_ONLY", "failure")],
            "notify-event: 2 skipped; exit 0",
        ),
        (
            &["rely", "cto"],
            Some(Fault::status(400)),
            &[],
            "notify-event: 1 sent, 1 rejected; exit 76 (rejected): with the template's allow_failure a warning, and \
             the pipeline goes on",
        ),
        (
            &["rely", "cto"],
            Some(Fault::status(400)),
            &[("NOTIFY_ON_ERROR", "fail")],
            "notify-event: 1 sent, 1 rejected; exit 1 (rejected), because of NOTIFY_ON_ERROR=fail: the pipeline \
             fails where the job has allow_failure: false",
        ),
        (
            &["rely"],
            Some(Fault::status(400)),
            &[("CI_JOB_STATUS", "success")],
            "notify-event: 1 rejected; exit 76 (rejected): GitLab ignores the exit code of an after_script, unless \
             AFTER_SCRIPT_IGNORE_ERRORS is false",
        ),
        (
            &["rely"],
            None,
            &[
                ("CI_JOB_STATUS", "failed"),
                ("NOTIFY_ON_ERROR", "fail"),
                ("NOTIFY_TIMEOUT", "none"),
            ],
            "notify-event: nothing was sent; exit 1 (misconfigured), because of NOTIFY_ON_ERROR=fail: GitLab ignores the \
             exit code of an after_script, unless AFTER_SCRIPT_IGNORE_ERRORS is false",
        ),
        (
            &["rely", "cto"],
            Some(Fault::status(400)),
            &[("NOTIFY_ON_ERROR", "ignore")],
            "notify-event: 1 sent, 1 rejected; exit 0, the failure (rejected) ignored by NOTIFY_ON_ERROR=ignore",
        ),
        (
            &["rely?"],
            Some(Fault::status(400)),
            &[],
            "notify-event: 1 rejected; exit 0",
        ),
        (
            &["--dry-run", "rely"],
            None,
            &[],
            "notify-event: dry run, nothing was sent; exit 0",
        ),
        (
            &["rely"],
            None,
            &[("NOTIFY_ATTEMPTS", "none")],
            "notify-event: nothing was sent; exit 78 (misconfigured): with the template's allow_failure a warning, and \
             the pipeline goes on",
        ),
    ];
    for (arguments, fault, variables, expected) in cases {
        for level in ["quiet", "normal", "debug"] {
            let sandbox = ready();
            if let Some(fault) = fault {
                sandbox.fail(Service::Rely, 9, fault.clone());
            }
            let ran = prepared(&sandbox, arguments)
                .vars(variables.iter().copied())
                .var("NOTIFY_LOG", level)
                .run();
            assert_eq!(ran.last_line(), *expected, "{}", ran.stderr);
        }
    }
}

#[test]
fn quiet_shows_failures_normal_every_destination_and_debug_every_attempt() {
    let run = |level: &str| {
        let sandbox = ready();
        sandbox.fail(Service::Rely, 1, status(503));
        sandbox.fail(Service::Cto, 1, Fault::status(400));
        let ran = prepared(&sandbox, &["rely", "cto"])
            .var("NOTIFY_LOG", level)
            .run()
            .exits(76);
        let lines: Vec<String> = ran.stderr.lines().map(str::to_owned).collect();
        lines
    };
    let quiet = run("quiet");
    assert_eq!(quiet.len(), 2, "{quiet:#?}");
    assert!(quiet[0].starts_with("  cto "), "{quiet:#?}");

    let normal = run("normal");
    assert_eq!(normal.len(), 4, "{normal:#?}");
    assert!(
        normal[0].contains("deployment success, acme-shop-8812-production"),
        "{normal:#?}"
    );
    assert!(
        normal[0].contains("EVENT_ACTION"),
        "the source of the action is told: {normal:#?}"
    );

    let debug = run("debug");
    for words in ["attempt 1 of 5: 503", "again in 0.0 s", "attempt 2 of 5: 200"] {
        assert!(debug.iter().any(|line| line.contains(words)), "{words}: {debug:#?}");
    }
    assert!(debug.len() > normal.len());
}

#[test]
fn foreign_text_stays_on_its_line_and_colours_nothing() {
    let sandbox = Sandbox::start();
    let message = "one\ntwo\r\nthree \u{1b}[31mred\u{1b}[0m \u{7}\nsection_start:1:x\r\u{1b}[0Ktitle";
    for body in [json!({"detail": message}).to_string(), message.to_owned()] {
        sandbox.fail(Service::Rely, 1, reply(400, &[], &body));
        let ran = prepared(&sandbox, &["rely"]).run().exits(76);
        assert_eq!(ran.stderr.lines().count(), 3, "{}", ran.stderr);
        assert!(!ran.stderr.contains(['\u{1b}', '\r', '\u{7}']), "{:?}", ran.stderr);
    }
}

#[test]
fn a_long_message_is_cut() {
    let sandbox = Sandbox::start();
    sandbox.fail(Service::Rely, 1, reply(400, &[], &"long ".repeat(10_000)));
    let ran = prepared(&sandbox, &["rely"]).run().exits(76);
    assert!(ran.stderr.len() < 2000, "{} bytes", ran.stderr.len());
}

// What there is to ask

#[test]
fn help_lists_every_destination_operation_and_exit_code() {
    for arguments in [&["rely", "--help"][..], &["rely", "-h"], &["help"]] {
        let ran = notify(arguments).run().exits(0);
        assert_eq!(ran.stderr, "");
        for (operation, service) in OPERATIONS.iter() {
            let line = ran
                .stdout
                .lines()
                .find(|line| line.trim_start().starts_with(&format!("{} ", service.name())));
            let line = line.unwrap_or_else(|| panic!("{} is not in {}", service.name(), ran.stdout));
            if let Some((_, operation)) = operation.split_once(':') {
                assert!(
                    line.split_whitespace().any(|word| word == operation),
                    "{operation}: {line}"
                );
            }
        }
        for code in [
            "  0  ",
            "  1  ",
            "  2  ",
            " 75  unavailable",
            " 76  rejected",
            " 78  misconfigured",
        ] {
            assert!(ran.stdout.contains(code), "{code}: {}", ran.stdout);
        }
    }
}

#[test]
fn help_lists_the_operations_of_the_catalog_and_no_other() {
    let ran = notify(&["--help"]).run().exits(0);
    let start = ran
        .stdout
        .split_once("the default first:\n")
        .map(|(_, rest)| rest)
        .expect("a list");
    let mut count = 0;
    for line in start.lines().take_while(|line| !line.is_empty()) {
        let mut words = line.split_whitespace();
        let destination = words.next().expect("a destination");
        for (place, operation) in words.enumerate() {
            let label = if place == 0 {
                destination.to_owned()
            } else {
                format!("{destination}:{operation}")
            };
            assert!(
                OPERATIONS.iter().any(|(known, _)| *known == label),
                "{label} is not in catalog.yml"
            );
            count += 1;
        }
    }
    assert_eq!(count, OPERATIONS.len());
}

#[test]
fn the_version_is_one_line() {
    for option in ["--version", "-V"] {
        let ran = notify(&[option]).run().exits(0);
        assert_eq!(ran.stdout, format!("notify-event {}\n", env!("CARGO_PKG_VERSION")));
        assert_eq!(ran.stderr, "");
    }
}

/// The line of `explain` about a variable.
#[track_caller]
fn explained<'a>(stdout: &'a str, name: &str) -> &'a str {
    let start = format!("  {name} ");
    let line = stdout.lines().find(|line| line.starts_with(&start));
    line.unwrap_or_else(|| panic!("{name} is not in {stdout}"))
}

#[test]
fn explain_all_tells_every_variable_its_value_and_its_origin() {
    let folder = folder("explain");
    let sandbox = ready();
    let file = gitlab_file(&folder, "RELY_RELATIONS", "{\"service\": \"shop\"}\n");
    let named = gitlab_file(&folder, "description", "from a file\n");
    let ran = prepared(&sandbox, &["explain", "--all", "rely", "cto", "--official-names"])
        .without("CTOAI_EVENTS_API_TOKEN")
        .vars([
            ("RELY_RELATIONS", file.as_str()),
            ("RELY_ENTITY_DESCRIPTION_FILE", &named),
            ("RELY_BLUEPRINT", "$RELY_BLUEPRINT"),
            ("RELY_ENTITY_TITLE", "on {{ event.branch }}"),
            ("TOKEN", "official-token"),
            ("CTOAI_TEAM_ID", ""),
            ("IMAGE", "@b64@c2hvcDox"),
            ("NOTIFY_TIMEOUT", "30"),
        ])
        .run()
        .exits(0);
    for (name, value, origin) in [
        ("NOTIFY_TIMEOUT", "30 ", "variable NOTIFY_TIMEOUT"),
        ("NOTIFY_ON_ERROR", "warn ", "built-in"),
        ("EVENT_ACTION", "success ", "variable EVENT_ACTION"),
        ("EVENT_REPO", "acme/shop ", "CI_PROJECT_PATH"),
        ("EVENT_ID", "acme-shop-8812-production ", "CI_PIPELINE_ID"),
        ("RELY_API_TOKEN", "hidden, 23 characters", "variable RELY_API_TOKEN"),
        ("RELY_API_URL", &sandbox.url(Service::Rely), "variable RELY_API_URL"),
        ("RELY_BLUEPRINT", "!", "undefined, or protected"),
        ("RELY_ENTITY_ID", "acme-shop-8812-production", "EVENT_ID"),
        (
            "RELY_ENTITY_TITLE",
            &format!("on {UGLY_BRANCH}"),
            "variable RELY_ENTITY_TITLE",
        ),
        ("RELY_ENTITY_DESCRIPTION", "from a file", &named),
        ("RELY_RELATIONS", "{\"service\": \"shop\"}", &file),
        ("CTOAI_EVENTS_API_TOKEN", "hidden, 14 characters", "variable TOKEN"),
        ("CTOAI_TEAM_ID", "-", "required"),
        ("CTOAI_USER", "dana", "EVENT_USER"),
        ("IMAGE", "shop:1", "variable IMAGE"),
    ] {
        let line = explained(&ran.stdout, name);
        assert!(
            line.contains(value) && line.contains(origin),
            "{value:?}, {origin:?}: {line}"
        );
    }
    assert!(
        !ran.stdout.contains("PORT_CLIENT_ID"),
        "only what was asked for: {}",
        ran.stdout
    );
    assert_eq!(sandbox.requests().len(), 0);
}

#[test]
fn explain_tells_of_what_is_set_alone() {
    let ran = notify(&["explain"])
        .var("RELY_API_TOKEN", "some-token")
        .var("RELY_BLUEPRINT_DEFAULT", "release")
        .var("EVENT_ACTION", "success")
        .var("RELY_PROPERTIES", "{")
        .var("NOTIFY_DESTINATIONS", "")
        .run()
        .exits(0)
        .says("notify-event explain --all");
    for (name, origin) in [
        ("RELY_API_TOKEN", "hidden, 10 characters"),
        ("RELY_BLUEPRINT", "variable RELY_BLUEPRINT_DEFAULT"),
        ("EVENT_ACTION", "variable EVENT_ACTION"),
        ("RELY_PROPERTIES", "misconfigured"),
    ] {
        assert!(explained(&ran.stdout, name).contains(origin), "{}", ran.stdout);
    }
    for name in ["RELY_API_URL", "NOTIFY_LOG", "NOTIFY_DESTINATIONS", "EVENT_ID", "CTOAI"] {
        assert!(!ran.stdout.contains(name), "{name}: {}", ran.stdout);
    }
    let bare = notify(&["explain"])
        .without("EVENT_ACTION")
        .without("NOTIFY_TIMEOUT")
        .without("NOTIFY_ATTEMPT_TIMEOUT");
    assert_eq!(bare.run().exits(0).stdout.trim(), "", "nothing is set");
}

#[test]
fn explain_knows_every_variable_of_the_catalog() {
    let ran = notify(&["explain", "--all"]).run();
    for variable in catalog::variables() {
        explained(&ran.stdout, &variable.name);
    }
    // What a run would send to, where something is configured.
    let ran = notify(&["explain", "--all"])
        .var("RELY_API_TOKEN", "some-token")
        .run()
        .exits(0);
    explained(&ran.stdout, "RELY_API_URL");
    assert!(!ran.stdout.contains("PORT_CLIENT_ID"), "{}", ran.stdout);
}

#[test]
fn a_closed_standard_output_is_no_crash() {
    // `notify-event port:get | true`: what was sent was sent, and nothing panics.
    let sandbox = ready();
    let program = env!("CARGO_BIN_EXE_notify-event");
    let script = format!("'{program}' port:search | true");
    let output = std::process::Command::new("sh")
        .args(["-c", &script])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .envs(sandbox.variables())
        .env("PORT_QUERY", r#"{"combinator": "and", "rules": []}"#)
        .output()
        .expect("there is a shell");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!stderr.contains("panicked"), "{stderr}");
    assert!(
        sandbox
            .requests_to(Service::Port)
            .iter()
            .any(|request| request.path != LOGIN)
    );
}

#[test]
fn a_users_own_folder_is_not_touched() {
    let folder = folder("users-own");
    fs::write(folder.join(".gitignore"), "target\n").expect("a file");
    fs::write(folder.join("rely.json"), "mine").expect("a file");
    let sandbox = Sandbox::start();
    let in_folder = |arguments: &[&str]| notify(arguments).at(&sandbox).var("NOTIFY_OUTPUT_DIR", &folder);
    in_folder(&["rely"]).run().exits(0);
    in_folder(&["rely"]).var("CI_JOB_ID", "992").run().exits(0);
    let text = |name: &str| fs::read_to_string(folder.join(name)).expect("it is still there");
    assert_eq!(
        (text(".gitignore").as_str(), text("rely.json").as_str()),
        ("target\n", "mine")
    );
    // An answer would overwrite it: that is said before anything is asked.
    let before = sandbox.requests().len();
    in_folder(&["rely:get"])
        .run()
        .exits(78)
        .says("NOTIFY_OUTPUT_DIR is")
        .says("holds a rely.json that this program did not make");
    assert_eq!((text("rely.json").as_str(), sandbox.requests().len()), ("mine", before));
}
