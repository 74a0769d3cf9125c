//! What a platform team sets for many projects: defaults, the switch, and names that nobody reads.

use sandbox::{Credentials, Sandbox, Service};
use serde_json::json;

use crate::support::{
    catalog::variables,
    folder, gitlab_file, json_of, notify,
    operations::{prepared, ready},
};

// NAME_DEFAULT

#[test]
fn what_a_group_gives_as_default_counts_where_a_job_says_nothing() {
    let sandbox = ready();
    let known = Credentials::default();
    let group = [
        ("NOTIFY_DESTINATIONS_DEFAULT", "rely"),
        ("EVENT_ENVIRONMENT_DEFAULT", "staging"),
    ];
    notify(&[])
        .at(&sandbox)
        .vars(group)
        .run()
        .exits(0)
        .says_of("rely", "acme-shop-8812-staging");
    assert_eq!(sandbox.requests().len(), sandbox.requests_to(Service::Rely).len());
    notify(&[])
        .at(&sandbox)
        .vars(group)
        .vars([("NOTIFY_DESTINATIONS", "cto"), ("EVENT_ENVIRONMENT", "production")])
        .run()
        .exits(0);
    assert_eq!(sandbox.requests_to(Service::Cto)[0].json()["environment"], "production");
    // A destination is found by a credential that is given so.
    let sandbox = ready();
    notify(&[])
        .var("RELY_API_TOKEN_DEFAULT", &known.rely_token)
        .var("RELY_API_URL_DEFAULT", sandbox.url(Service::Rely))
        .var("EVENT_TITLE_DEFAULT", "{{ env.EVENT_USER }} by {{ env.NOTIFY_LOG }}")
        .var("EVENT_USER_DEFAULT", "the group")
        .var("NOTIFY_LOG_DEFAULT", "debug")
        .var("NOTIFY_TEMPLATE_ENV_DEFAULT", "NOTIFY_LOG")
        .run()
        .exits(0)
        .says_of("rely", "sent");
    let entities = &sandbox.state(Service::Rely)["entities"];
    assert_eq!(entities["acme-shop-8812"]["title"], "the group by debug", "{entities}");
}

#[test]
fn every_variable_of_ours_has_a_default_and_messages_name_the_one_that_holds_the_value() {
    for variable in variables().filter(|variable| variable.has_default()) {
        let name = format!("{}_DEFAULT", variable.name);
        let ran = notify(&["explain", "--official-names"])
            .without(&variable.name)
            .var(&name, format!("${name}"))
            .run();
        let row = ran
            .stdout
            .lines()
            .find(|row| row.starts_with(&format!("  {} ", variable.name)));
        let row = row.unwrap_or_else(|| panic!("{name}: {}{}", ran.stdout, ran.stderr));
        assert!(row.contains(&format!("{name} is literally `${name}`")), "{row}");
    }
    // The names of others have none.
    notify(&["cto"])
        .at(&ready())
        .vars([
            ("HTTPS_PROXY_DEFAULT", "http://127.0.0.1:9"),
            ("TOKEN_DEFAULT", "$TOKEN"),
        ])
        .run()
        .exits(0);
    notify(&["cto"])
        .at(&ready())
        .without("NOTIFY_TIMEOUT")
        .var("NOTIFY_TIMEOUT_DEFAULT", "soon")
        .run()
        .exits(78)
        .says("NOTIFY_TIMEOUT_DEFAULT is `soon`");
}

#[test]
fn a_credential_that_is_given_as_default_is_hidden_whether_it_counts_or_not() {
    let folder = folder("default-credential");
    let sandbox = ready();
    let token = Credentials::default().rely_token;
    let file = gitlab_file(&folder, "RELY_API_TOKEN_DEFAULT", &format!("{token}\n"));
    notify(&["--dry-run", "rely"])
        .at(&sandbox)
        .without("RELY_API_TOKEN")
        .var("RELY_API_TOKEN_DEFAULT", &token)
        .var("EVENT_TITLE", format!("with {token}"))
        .run()
        .exits(0)
        .hides(&token);
    notify(&["rely"])
        .at(&sandbox)
        .without("RELY_API_TOKEN")
        .var("RELY_API_TOKEN_DEFAULT", &file)
        .run()
        .exits(0);
    for (name, value) in [
        ("RELY_API_TOKEN_DEFAULT", "the-one-that-loses"),
        ("RELY_API_TOKN", "the-one-that-loses"),
    ] {
        notify(&["--dry-run", "rely"])
            .at(&sandbox)
            .vars([(name, value), ("EVENT_TITLE", "with the-one-that-loses")])
            .run()
            .exits(0)
            .hides("the-one-that-loses");
    }
    notify(&["rely"])
        .at(&sandbox)
        .vars([
            ("RELY_API_TOKEN_DEFAULT", "the-one-that-loses"),
            ("NOTIFY_TEMPLATE_ENV", "RELY_API_TOKEN_DEFAULT"),
            ("EVENT_TITLE", "{{ env.RELY_API_TOKEN_DEFAULT }}"),
        ])
        .run()
        .exits(78)
        .says("is a credential");
}

// NOTIFY_ENABLED

#[test]
fn switched_off_every_run_ends_as_skipped_before_anything_is_asked() {
    for (name, value) in [("NOTIFY_ENABLED", "false"), ("NOTIFY_ENABLED_DEFAULT", "No")] {
        let folder = folder("switched-off");
        let sandbox = ready();
        let output = folder.join("out");
        let ran = prepared(&sandbox, &["rely", "cto?", "port:get"])
            .var("CI_API_V4_URL", format!("{}/api/v4", sandbox.url(Service::GitLab)))
            .without("EVENT_ACTION")
            .var("NOTIFY_OUTPUT_DIR", &output)
            .var(name, value)
            // Whatever else is wrong.
            .vars([
                ("NOTIFY_TIMEOUT", "soon"),
                ("NOTIFY_CA_FILE", "/does/not/exist"),
                ("RELY_API_TOKEN", ""),
                ("EVENT_TITLE", "{{"),
                ("EVENT_ENVIROMENT", "x"),
                ("NOTIFY_ON_ERROR", "fail"),
            ])
            .run()
            .exits(0)
            .says_of("rely", &format!("skipped: {name} is false"))
            .says_of("cto", "skipped")
            .says_of("port:get", "skipped");
        assert_eq!(
            ran.last_line(),
            format!("notify-event: skipped, because {name} is false: nothing was asked or sent; exit 0")
        );
        assert!(sandbox.requests().is_empty());
        let receipt = json_of(&output.join("receipt.json"));
        assert_eq!((&receipt["exit_code"], &receipt["event"]), (&json!(0), &json!(null)));
        let entries = receipt["destinations"].as_array().expect("a list");
        assert_eq!(entries.len(), 3);
        assert!(entries.iter().all(|entry| entry["class"] == "skipped"), "{receipt}");
        let dotenv = std::fs::read_to_string(output.join("receipt.env")).expect("a file");
        assert!(dotenv.contains("NOTIFY_RELY_RESULT=skipped"), "{dotenv}");
    }
}

#[test]
fn switched_off_nothing_is_checked_shown_or_replayed_and_what_is_kept_stays() {
    let folder = folder("switched-off-replay");
    let sandbox = ready();
    let run = |arguments: &[&str]| {
        notify(arguments)
            .at(&sandbox)
            .within(&folder)
            .var("NOTIFY_DESTINATIONS", "rely,cto")
            .var("NOTIFY_OUTPUT_DIR", "out")
    };
    run(&[]).var("RELY_API_TOKEN", "wrong").run().exits(76);
    let kept = |folder: &std::path::Path| {
        std::fs::read_dir(folder.join("out/undelivered"))
            .expect("a folder")
            .count()
    };
    assert_eq!(kept(&folder), 1);
    let before = sandbox.requests().len();
    for arguments in [&["check"][..], &["--dry-run"], &["replay", "out/undelivered"], &[]] {
        let ran = run(arguments)
            .var("NOTIFY_ENABLED", "false")
            .run()
            .exits(0)
            .says("skipped, because NOTIFY_ENABLED is false");
        assert_eq!(ran.stdout, "");
    }
    assert_eq!((sandbox.requests().len(), kept(&folder)), (before, 1));
    // Switched on again, the same job sends what it skipped.
    run(&["cto"])
        .var("NOTIFY_ENABLED", "true")
        .run()
        .exits(0)
        .says_of("cto", "sent");
    run(&[])
        .var("NOTIFY_ENABLED", "of")
        .run()
        .exits(78)
        .says("NOTIFY_ENABLED is `of`; it has to be true or false");
    let twice = [
        ("NOTIFY_TIMEOU", "1"),
        ("NOTIFY_TIMEOUT_FIL", "x"),
        ("NOTIFY_TIMEOUT_DEFAULT", "soon"),
    ];
    for arguments in [&["explain"][..], &["rely"]] {
        let run = run(arguments)
            .without("NOTIFY_TIMEOUT")
            .vars(twice)
            .var("NOTIFY_ENABLED", "false");
        run.run().exits(0);
    }
    let ran = run(&["explain"]).var("NOTIFY_ENABLED", "false").run().exits(0);
    assert!(ran.stdout.contains("NOTIFY_ENABLED"), "{}", ran.stdout);
}

// Names that nobody reads

#[test]
fn a_typo_in_a_name_that_counts_for_all_sends_nothing() {
    for (name, value, meant) in [
        ("NOTIFY_DESTINATION", "rely", "NOTIFY_DESTINATIONS"),
        ("NOTIFY_OLNY", "failure", "NOTIFY_ONLY"),
        ("EVENT_ENVIROMENT", "production", "EVENT_ENVIRONMENT"),
        ("EVENT_TITLE_FIL", "/does/not/exist", "EVENT_TITLE_FILE"),
        ("EVENT_TITLE_DEFAUL", "x", "EVENT_TITLE_DEFAULT"),
        ("NOTIFY_JOBS", "deploy", "NOTIFY_JOB"),
        ("NOTIFY_ALLOW_HTPP", "true", "NOTIFY_ALLOW_HTTP"),
        ("NOTIFY_ENABLE", "false", "NOTIFY_ENABLED"),
    ] {
        let sandbox = ready();
        let run = |arguments: &[&str]| notify(arguments).at(&sandbox).var(name, value);
        for arguments in [&["rely", "cto"][..], &[], &["--dry-run"], &["check"]] {
            run(arguments).run().exits(78).says(&format!(
                "{name} is set, which nothing reads: did you mean {meant}, which is not set?"
            ));
        }
        assert!(
            sandbox.requests().iter().all(|request| request.method == "GET"),
            "{name}"
        );
        let ran = run(&["explain"]).run().exits(0);
        let row = ran
            .stdout
            .lines()
            .find(|row| row.contains("misconfigured"))
            .expect("a row");
        assert!(row.contains(name) && row.contains(meant), "{row}");
        // Set, it is not missed; and who says that it is another tool's is believed.
        run(&["cto"])
            .var("NOTIFY_IGNORE", format!("OTHER,{name}"))
            .run()
            .exits(0);
    }
    let sandbox = ready();
    notify(&["cto"])
        .at(&sandbox)
        .vars([("EVENT_ENVIROMENT", "x"), ("EVENT_ENVIRONMENT", "production")])
        .run()
        .exits(0)
        .says("EVENT_ENVIROMENT is set, and nothing reads it; did you mean EVENT_ENVIRONMENT?");
    // The job's own, mistyped, is no reason to send by the group's default.
    notify(&[])
        .at(&sandbox)
        .vars([("NOTIFY_DESTINATION", "cto"), ("NOTIFY_DESTINATIONS_DEFAULT", "rely")])
        .run()
        .exits(78)
        .says("NOTIFY_DESTINATION");
    assert!(sandbox.requests_to(Service::Rely).is_empty());
}

#[test]
fn a_typo_in_a_destinations_name_keeps_that_destination_back() {
    let sandbox = ready();
    let typo = |arguments: &[&str]| {
        notify(arguments)
            .at(&sandbox)
            .without("RELY_API_TOKEN")
            .var("RELY_API_TOKN", "never-shown-value")
            .run()
            .hides("never-shown-value")
    };
    // By these credentials destinations are looked for.
    for arguments in [&["rely", "cto"][..], &[]] {
        typo(arguments)
            .exits(78)
            .says_of("rely", "misconfigured")
            .says_of("rely", "RELY_API_TOKN")
            .says_of("cto", "sent");
    }
    assert!(sandbox.requests_to(Service::Rely).is_empty());
    typo(&["rely?"]).exits(0).says_of("rely", "misconfigured, optional");
    // Read by a destination that is not sent to: a line.
    typo(&["cto"])
        .exits(0)
        .says("RELY_API_TOKN is set, and nothing reads it; did you mean RELY_API_TOKEN?");
    notify(&["rely"])
        .at(&sandbox)
        .var("RELY_BLUEPRNT", "release")
        .run()
        .exits(78)
        .says_of("rely", "did you mean RELY_BLUEPRINT");
}

#[test]
fn other_names_of_the_kind_are_told_and_keep_nothing_back() {
    let sandbox = ready();
    let ran = notify(&["cto"])
        .at(&sandbox)
        .vars([
            ("RELY_TOKEN", "never-shown-value"),
            ("NOTIFY_SOCKET", "/run/systemd/notify"),
            ("EVENT_GRID_TOPIC", "never-shown-value"),
            ("PORT_8080_TCP", "tcp://10.0.0.1:8080"),
            ("PORT", "8080"),
            // Handed on by an earlier job's receipt, or read by others than this run.
            ("NOTIFY_EVENT_ID", "x"),
            ("NOTIFY_RELY_RESULT", "sent"),
            ("NOTIFY_PORT_RUN_UPDATE_ID", "x"),
            ("PORT_BLUEPRINT", "x"),
            ("RELY_API_URL_DEFAULT", "x"),
        ])
        .run()
        .exits(0)
        .says("RELY_TOKEN is set, and nothing reads it; did you mean RELY_API_TOKEN?")
        .says("NOTIFY_SOCKET is set, and nothing reads it\n")
        .hides("never-shown-value");
    let lines: Vec<&str> = ran
        .stderr
        .lines()
        .filter(|line| line.starts_with("  variables "))
        .collect();
    assert_eq!(lines.len(), 4, "{}", ran.stderr);
    let ignoring = |patterns: &str| {
        notify(&["cto"])
            .at(&sandbox)
            .vars([("NOTIFY_SOCKET", "x"), ("RELY_TOKEN", "x"), ("NOTIFY_IGNORE", patterns)])
            .run()
            .exits(0)
    };
    ignoring("NOTIFY_SOCKET , RELY_*").hides("nothing reads");
    ignoring("NOTIFY_*").hides("NOTIFY_SOCKET").says("RELY_TOKEN");
    // Many are told in a few lines.
    let many: Vec<String> = (0..25).map(|number| format!("EVENT_GRID_{number}")).collect();
    let ran = notify(&["cto"])
        .at(&sandbox)
        .vars(many.iter().map(|name| (name.as_str(), "x")))
        .run()
        .exits(0);
    let lines = ran
        .stderr
        .lines()
        .filter(|line| line.starts_with("  variables "))
        .count();
    assert_eq!(lines, 11, "{}", ran.stderr);
    let ran = ran.says("and 15 more are set that nothing reads");
    drop(ran);
    let shown = notify(&["explain"])
        .var("RELY_TOKEN", "never-shown-value")
        .run()
        .exits(0)
        .hides("never-shown-value");
    assert!(
        shown.stdout.contains("  RELY_TOKEN is set, and nothing reads it"),
        "{}",
        shown.stdout
    );
    notify(&["check", "cto"])
        .at(&sandbox)
        .var("RELY_TOKEN", "x")
        .run()
        .exits(0)
        .says("RELY_TOKEN");
}

#[test]
fn a_missing_token_is_not_said_to_be_better_protected() {
    notify(&["rely"])
        .at(&Sandbox::start())
        .var("RELY_API_TOKEN", "")
        .run()
        .exits(78)
        .says("If it is protected, only pipelines of protected branches and tags get it");
}
