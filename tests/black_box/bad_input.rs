//! Variables and arguments that can't be used: found before anything is sent, and named.

use std::os::unix::ffi::OsStrExt;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use sandbox::{Fault, Sandbox, Service};

use crate::support::{
    Ran, Run, at_once,
    catalog::{Variable, destinations, of_destinations, variables},
    folder, gitlab_file,
    held::rely_production,
    notify,
    operations::{prepared, ready, service_of},
};

/// A destination that has nothing to do with `destination`.
fn other(destination: &str) -> &'static str {
    if destination == "cto" { "rely" } else { "cto" }
}

/// Checks that a run which reports to `destination` and to another one refuses only the first, for the variable.
#[track_caller]
fn refuses(destination: &str, name: &str, change: impl Fn(Run) -> Run) -> Ran {
    let sandbox = ready();
    let other = other(destination);
    let ran = change(prepared(&sandbox, &[destination, other, "--official-names"]))
        .run()
        .exits(78)
        .says_of(destination, "misconfigured")
        .says_of(destination, name)
        .says_of(other, "sent");
    assert_eq!(sandbox.requests_to(service_of(destination)).len(), 0, "{name}");
    ran
}

/// All of these cases, a thread for each destination: each is a run of its own.
fn each(variables: &[&Variable], check: impl Fn(&Variable) + Sync) {
    let destinations = destinations().iter().map(|destination| &destination.name);
    at_once(destinations, |destination| {
        let mine = variables.iter().filter(|variable| variable.destination == *destination);
        mine.for_each(|variable| check(variable));
    });
}

// Variables of a destination

#[test]
fn a_required_variable_that_is_missing_is_named() {
    each(&of_destinations(|variable| variable.is_required), |variable| {
        let Variable { destination, name, .. } = variable;
        refuses(destination, &format!("{name} is not set"), |run| run.without(name));
        refuses(destination, &format!("{name} is not set"), |run| run.var(name, ""));
        refuses(destination, &format!("{name} is not set"), |run| run.var(name, "@b64@"));
    });
}

#[test]
fn a_reference_that_gitlab_left_is_explained_whatever_variable_it_is_in() {
    // TRIGGER_PAYLOAD is read by two operations only.
    let all = of_destinations(|variable| variable.name != "TRIGGER_PAYLOAD");
    each(&all, |variable| {
        let Variable { destination, name, .. } = variable;
        for literal in [format!("${name}"), format!("${{{name}}}"), "$SOMETHING_ELSE".to_owned()] {
            refuses(destination, name, |run| run.var(name, &literal)).says_of(destination, "undefined, or protected");
        }
    });
}

#[test]
fn an_address_that_is_none_is_named() {
    each(&of_destinations(|variable| variable.kind == "url"), |variable| {
        let Variable { destination, name, .. } = variable;
        for (value, words) in [
            ("api.example.com", "has no scheme"),
            ("api.example.com:443/v1", "has no scheme"),
            ("//api.example.com", "has no scheme"),
            ("ftp://api.example.com", "ftp"),
            ("https://", ""),
            ("https://exa mple.com", ""),
            ("https://user:hidden-pass@api.example.com", "credentials"),
            ("https://api.example.com/?key=value", "`?`"),
            ("https://api.example.com/#x", "`#`"),
        ] {
            // An address that is a credential may have all of that.
            if variable.is_secret && ["credentials", "`?`", "`#`"].contains(&words) {
                continue;
            }
            refuses(destination, name, |run| run.var(name, value))
                .says_of(destination, words)
                .hides("hidden-pass");
        }
    });
}

#[test]
fn json_that_is_none_is_named_with_line_and_column() {
    let json = |variable: &Variable| variable.kind.starts_with("json");
    each(&of_destinations(json), |variable| {
        let Variable { destination, name, .. } = variable;
        for (value, place) in [
            ("{\"a\": 1,}", "line 1, column 9"),
            ("{\n  \"a\": 1\n  \"b\": 2\n}", "line 3, column 3"),
            ("{\"a\": \"{{ event.id }}\"", "line 1, column 22"),
            ("[1, 2", "line 1, column 5"),
        ] {
            refuses(destination, name, |run| run.var(name, value)).says_of(destination, place);
        }
        if variable.kind == "json-object" {
            for value in ["[]", "\"text\"", "7", "null"] {
                refuses(destination, name, |run| run.var(name, value)).says_of(destination, "JSON object");
            }
        }
    });
}

#[test]
fn a_flag_or_a_choice_that_is_none_is_named_with_what_there_is() {
    let fits = |variable: &Variable| matches!(variable.kind.as_str(), "boolean" | "enum");
    each(&of_destinations(fits), |variable| {
        let Variable { destination, name, .. } = variable;
        for value in ["maybe", "2", "tru e", "true,false"] {
            let words = if variable.kind == "boolean" {
                "true or false"
            } else {
                "it can be"
            };
            refuses(destination, name, |run| run.var(name, value)).says_of(destination, words);
        }
    });
    refuses("aviator", "AVIATOR_STATUS", |run| run.var("AVIATOR_STATUS", "sucess"))
        .says_of("aviator", "did you mean `success`?");
}

#[test]
fn a_list_without_a_word_is_named() {
    each(&of_destinations(|variable| variable.kind == "list"), |variable| {
        refuses(&variable.destination, &variable.name, |run| {
            run.var(&variable.name, " , ,")
        });
    });
}

#[test]
fn text_that_is_no_text_is_named() {
    let all = of_destinations(|variable| variable.name != "TRIGGER_PAYLOAD");
    each(&all, |variable| {
        let bytes = std::ffi::OsStr::from_bytes(b"\xff\xfe");
        refuses(&variable.destination, &variable.name, |run| {
            run.var(&variable.name, bytes)
        });
    });
}

#[test]
fn a_credential_that_no_header_can_carry_is_named_and_not_shown() {
    for (destination, name) in [
        ("rely", "RELY_API_TOKEN"),
        ("cto", "CTOAI_EVENTS_API_TOKEN"),
        ("direktiv:sync", "DIREKTIV_TOKEN"),
        ("aviator", "AVIATOR_API_TOKEN"),
        ("cdevents", "CDEVENTS_TOKEN"),
    ] {
        for value in [
            "first-half\nsecond-half",
            "first-half\rsecond-half",
            "first-half\u{7}second-half",
        ] {
            refuses(destination, name, |run| run.var(name, value))
                .hides("first-half")
                .hides("second-half");
        }
    }
}

#[test]
fn what_a_vendors_pattern_refuses_is_found_before_it_is_sent() {
    for (destination, name, value) in [
        ("rely", "RELY_BLUEPRINT", "Deploy ment"),
        ("rely", "RELY_RELATIONS", r#"{"service": {"id": "shop"}}"#),
        ("rely", "RELY_RELATIONS", r#"{"service": true}"#),
        ("direktiv:sync", "DIREKTIV_NAMESPACE", "Demo"),
        ("direktiv:sync", "DIREKTIV_NAMESPACE", "-demo"),
        ("direktiv:sync", "DIREKTIV_DIRECTORY", "/a/../b"),
        ("direktiv:sync", "DIREKTIV_HEADER", "no header line"),
        ("direktiv:sync", "DIREKTIV_HEADER", "direktiv-token:"),
        ("direktiv:sync", "DIREKTIV_HEADER", "direktiv-token: $DIREKTIV_TOKEN"),
        (
            "direktiv:sync",
            "DIREKTIV_HEADER",
            "Authorization: Bearer ${DIREKTIV_TOKEN}",
        ),
        ("direktiv:sync", "DIREKTIV_HEADER", "bad name: value"),
        ("direktiv:execute", "DIREKTIV_WORKFLOW", ""),
        ("direktiv:execute", "DIREKTIV_WORKFLOW", "/"),
        ("cdevents", "CDEVENTS_TYPE", "pipelinerun.finishd"),
        ("cdevents", "CDEVENTS_TYPE", "dev.cdevents.pipelinerun.finished.0.2.0"),
        ("cdevents", "CDEVENTS_TYPE", "com.example.deployed"),
        (
            "cdevents",
            "CDEVENTS_ARTIFACT_ID",
            "registry.example.com/acme/shop:1.4.2",
        ),
        ("cdevents", "CDEVENTS_ARTIFACT_ID", "pkg:oci"),
        ("cdevents", "CDEVENTS_ARTIFACT_ID", "pkg:npm/@acme/shop@1"),
        ("cdevents", "CDEVENTS_SOURCE", "not a uri"),
        ("cdevents", "CDEVENTS_SOURCE", "https://x/ünï"),
        ("cdevents", "CDEVENTS_MODE", "batched"),
        ("aviator", "AVIATOR_RELEASE_CANDIDATE", "1.4.0"),
        ("aviator:release", "AVIATOR_RELEASE_CANDIDATE", "1.4.0-rc"),
        ("aviator:deployment", "AVIATOR_RELEASE_CANDIDATE", "1.4.0-rcX"),
        ("aviator:deployment", "AVIATOR_RELEASE_CANDIDATE", ""),
        ("aviator", "AVIATOR_ENVIRONMENT", ""),
        ("port", "PORT_ENTITY_ID", "a b"),
        ("port", "PORT_ENTITY_ID", ".."),
        ("port", "PORT_BLUEPRINT", "a#b"),
        ("port", "PORT_RELATIONS", r#"{"service": 7}"#),
        ("port", "PORT_REGION", "eu"),
        ("port:delete", "PORT_ENTITY_ID", ""),
        ("port:search", "PORT_QUERY", ""),
        ("port:search", "PORT_QUERY", r#"{"rules": []}"#),
        ("port:run-create", "PORT_ACTION", ""),
        ("port:run-log", "PORT_RUN_LOG", ""),
        ("port:run-log", "PORT_RUN_ID", ""),
        ("port:run-update", "PORT_RUN_LINK", "[1]"),
        ("port:patch", "PORT_VALIDATION_ONLY", "true"),
    ] {
        refuses(destination, name, |run| {
            let run = run.var(name, value);
            if name == "AVIATOR_ENVIRONMENT" {
                run.without("EVENT_ENVIRONMENT")
            } else {
                run
            }
        });
    }
}

#[test]
fn every_problem_of_a_destination_is_named_at_once() {
    refuses("port", "PORT_CLIENT_ID", |run| {
        run.without("PORT_CLIENT_ID")
            .var("PORT_CLIENT_SECRET", "$PORT_CLIENT_SECRET")
            .var("PORT_PROPERTIES", "{")
            .var("PORT_MERGE", "perhaps")
    })
    .says_of("port", "PORT_CLIENT_SECRET")
    .says_of("port", "PORT_PROPERTIES")
    .says_of("port", "PORT_MERGE");
}

#[test]
fn an_operation_that_reads_needs_no_action() {
    let sandbox = ready();
    let unknown = |arguments: &[&str]| {
        prepared(&sandbox, arguments)
            .without("EVENT_ACTION")
            .without("CI_JOB_TOKEN")
            .run()
    };
    for operation in ["rely", "cto", "aviator", "port", "direktiv", "cdevents"] {
        unknown(&[operation])
            .exits(78)
            .says_of(operation, "EVENT_ACTION")
            .says_of(operation, "started, progressing, success, failure, canceled, blocked");
    }
    assert_eq!(sandbox.requests().len(), 0);
    for operation in [
        "rely:get",
        "aviator:list",
        "aviator:release",
        "port:get",
        "direktiv:sync",
    ] {
        unknown(&[operation]).exits(0);
    }
}

// Variables of the run and of the event

#[test]
fn a_variable_of_the_run_that_is_malformed_stops_the_run() {
    let of_the_run = variables().filter(|variable| variable.destination.is_empty());
    for variable in of_the_run {
        let values: &[&str] = match variable.kind.as_str() {
            "integer" => &["five", "0", "-1", "1.5", "99999999999"],
            "seconds" => &["ten", "10s", "0", "-1", "1e9", "NaN", "inf"],
            "window" => &[
                "48",
                "h",
                "0h",
                "-1h",
                "1.5d",
                "2w",
                "99999999999999999999d",
                "pipelines",
            ],
            "boolean" => &["maybe", "2"],
            "enum" => &["maybe"],
            "json-object" => &["{", "[]"],
            "list" => &[","],
            _ => &["$UNDEFINED"],
        };
        let is_of_record = variable.name.starts_with("NOTIFY_RECONCILE");
        let arguments: &[&str] = if is_of_record { &["reconcile"] } else { &["rely", "cto"] };
        let sandbox = ready();
        for value in values {
            prepared(&sandbox, arguments)
                .var(&variable.name, value)
                .run()
                .exits(78)
                .says("misconfigured")
                .says(&variable.name);
            assert_eq!(sandbox.requests().len(), 0, "{}={value}", variable.name);
        }
    }
}

#[test]
fn the_policy_applies_to_misconfiguration_too_unless_it_is_what_is_wrong() {
    for (policy, code) in [("fail", 1), ("ignore", 0), ("warn", 78), ("FAIL", 1), ("explode", 78)] {
        for (name, value) in [
            ("NOTIFY_TIMEOUT", "soon"),
            ("RELY_PROPERTIES", "{"),
            ("EVENT_PROPERTIES", "{"),
        ] {
            prepared(&ready(), &["rely"])
                .var("NOTIFY_ON_ERROR", policy)
                .var(name, value)
                .run()
                .exits(code)
                .says("misconfigured");
        }
    }
    prepared(&ready(), &["rely"])
        .var("NOTIFY_ON_ERROR", "ignroe")
        .run()
        .exits(78)
        .says("did you mean `ignore`?");
}

#[test]
fn an_output_folder_that_can_not_be_written_stops_the_run() {
    let folder = folder("no-output");
    std::fs::write(folder.join("file"), "").expect("a file can be written");
    let sandbox = ready();
    prepared(&sandbox, &["rely"])
        .var("NOTIFY_OUTPUT_DIR", folder.join("file/below"))
        .run()
        .exits(78)
        .says("NOTIFY_OUTPUT_DIR");
    assert_eq!(sandbox.requests().len(), 0);
}

#[test]
fn only_the_actions_that_are_wanted_are_sent() {
    for (only, action, is_sent) in [
        ("success,failure", "success", true),
        ("success, failure", "failed", true),
        ("failed", "failure", true),
        ("failure", "success", false),
        ("started", "success", false),
    ] {
        let sandbox = ready();
        let ran = prepared(&sandbox, &["rely", "cto", "aviator", "port"])
            .var("NOTIFY_ONLY", only)
            .var("EVENT_ACTION", action)
            .run()
            .exits(0);
        let class = if is_sent { "sent" } else { "skipped" };
        for destination in ["rely", "cto", "aviator", "port"] {
            assert!(
                ran.stderr.contains(&format!("  {destination:<18} {class}")),
                "{}",
                ran.stderr
            );
        }
        assert_eq!(sandbox.requests().is_empty(), !is_sent, "{only} {action}");
    }
    // What reads reports no action.
    prepared(&ready(), &["rely:get"])
        .var("NOTIFY_ONLY", "failure")
        .run()
        .exits(0)
        .says_of("rely:get", "sent");
    let sandbox = ready();
    prepared(&sandbox, &["rely"])
        .var("NOTIFY_ONLY", "sucess")
        .run()
        .exits(78)
        .says("NOTIFY_ONLY")
        .says("did you mean `success`?");
    assert_eq!(sandbox.requests().len(), 0);
}

// The command line

#[test]
fn a_word_that_is_not_understood_is_answered_with_the_nearest_and_nothing_is_sent() {
    for (arguments, words) in [
        (&["rley"][..], "did you mean `rely`?"),
        (&["cto", "prot"], "did you mean `port`?"),
        (&["aviatr:status"], "did you mean `aviator`?"),
        (&["Rely"], "did you mean `rely`?"),
        (&["rely:upset"], "did you mean `upsert`?"),
        (&["port:run_update"], "did you mean `run-update`?"),
        (&["cto:send"], "there is no operation of cto `send`"),
        (&["rely:"], "there is no operation of rely ``"),
        (&["rely::get"], "there is no operation of rely `:get`"),
        (&["kubernetes"], "There are: rely, cto, direktiv, aviator, port"),
        (&[""], "there is no destination"),
        (&["?"], "there is no destination"),
        (&["cto", "--dryrun"], "did you mean `--dry-run`?"),
        (&["cto", "--dry-run=yes"], "dry-run"),
        (&["cto", "-x"], "`-x`"),
        (&["explain", "--dry-run"], "explain"),
        (&["cto", "--official-name"], "did you mean `--official-names`?"),
        (&["catalog", "--official-names"], "catalog"),
        (&["replay", "--official-names", "."], "no option"),
        (&["--all", "rely"], "`explain`"),
        (&["check", "--all"], "`explain`"),
        (&["explain", "rley"], "did you mean `rely`?"),
    ] {
        for policy in ["warn", "ignore", "fail"] {
            let sandbox = Sandbox::start();
            let ran = prepared(&sandbox, arguments).var("NOTIFY_ON_ERROR", policy).run();
            let ran = ran.exits(2).says(words).says("nothing was sent");
            assert_eq!(ran.stdout, "");
            assert_eq!(sandbox.requests().len(), 0, "{arguments:?}");
        }
    }
}

#[test]
fn a_word_in_notify_destinations_that_is_not_understood_is_misconfigured_and_the_others_are_sent() {
    for (list, words) in [
        ("rley, cto", "did you mean `rely`?"),
        ("cto,rely:upset", "did you mean `upsert`?"),
        ("cto kubernetes, cto", "cto kubernetes"),
    ] {
        let sandbox = ready();
        prepared(&sandbox, &[])
            .var("NOTIFY_DESTINATIONS", list)
            .run()
            .exits(78)
            .says("NOTIFY_DESTINATIONS")
            .says(words)
            .says_of("cto", "sent");
        assert_eq!(sandbox.requests().len(), 1, "{list}");
    }
}

#[test]
fn the_command_line_wins_over_notify_destinations() {
    let sandbox = ready();
    prepared(&sandbox, &["cto"])
        .var("NOTIFY_DESTINATIONS", "rely, nonsense")
        .run()
        .exits(0);
    assert_eq!(sandbox.requests().len(), 1);
    assert_eq!(sandbox.requests_to(Service::Cto).len(), 1);
}

#[test]
fn without_a_destination_the_credentials_decide() {
    for (names, expected) in [
        (&["RELY_API_TOKEN", "RELY_API_URL"][..], &[Service::Rely][..]),
        (
            &["CTOAI_EVENTS_API_TOKEN", "CTOAI_TEAM_ID", "CTOAI_API_URL"],
            &[Service::Cto],
        ),
        (
            &["DIREKTIV_URL", "DIREKTIV_NAMESPACE", "DIREKTIV_TOKEN"],
            &[Service::Direktiv],
        ),
        (
            &["PORT_CLIENT_ID", "PORT_CLIENT_SECRET", "PORT_API_URL"],
            &[Service::Port],
        ),
        (
            &[
                "RELY_API_TOKEN",
                "RELY_API_URL",
                "PORT_CLIENT_ID",
                "PORT_CLIENT_SECRET",
                "PORT_API_URL",
            ],
            &[Service::Rely, Service::Port],
        ),
    ] {
        let sandbox = ready();
        let variables = sandbox.variables();
        let wanted = variables.iter().filter(|(name, _)| names.contains(&name.as_str()));
        notify(&[])
            .vars(wanted.map(|(name, value)| (name.as_str(), value.as_str())))
            .run()
            .exits(0);
        for service in Service::ALL {
            assert_eq!(
                !sandbox.requests_to(service).is_empty(),
                expected.contains(&service),
                "{names:?}"
            );
        }
    }
    // One that can't be read was wanted.
    notify(&[])
        .var("RELY_API_TOKEN", "$RELY_API_TOKEN")
        .run()
        .exits(78)
        .says("RELY_API_TOKEN");
}

#[test]
fn without_any_destination_the_variables_looked_for_are_named() {
    let mut ran = notify(&[]).run().exits(78).says("NOTIFY_DESTINATIONS");
    for name in [
        "RELY_API_TOKEN",
        "CTOAI_EVENTS_API_TOKEN",
        "DIREKTIV_URL",
        "AVIATOR_API_TOKEN",
        "PORT_CLIENT_ID",
    ] {
        ran = ran.says(name);
    }
    notify(&[]).var("NOTIFY_ON_ERROR", "fail").run().exits(1);
    // Another tool's TOKEN is no destination.
    notify(&[]).var("TOKEN", "x").var("TEAM_ID", "y").run().exits(78);
    notify(&["--official-names"])
        .var("TOKEN", "x")
        .var("TEAM_ID", "y")
        .run()
        .exits(78);
}

// The forms in which GitLab hands variables over

/// Whether a run with this token delivers to Rely.
fn delivers(change: impl Fn(Run, &str) -> Run) -> Ran {
    let sandbox = ready();
    let token = sandbox
        .variables()
        .into_iter()
        .find(|(name, _)| name == "RELY_API_TOKEN");
    let (_, token) = token.expect("the sandbox has a token");
    change(prepared(&sandbox, &["rely"]).without("RELY_API_TOKEN"), &token).run()
}

#[test]
fn a_value_may_come_as_a_file_as_a_named_file_or_in_base64() {
    let folder = folder("forms");
    let file = |name: &str, content: &str| gitlab_file(&folder, name, content);
    let plain = |content: &str| {
        let path = folder.join(format!("plain-{}", content.len()));
        std::fs::write(&path, content).expect("a file can be written");
        path.to_str().expect("UTF-8").to_owned()
    };
    delivers(|run, token| run.var("RELY_API_TOKEN", file("RELY_API_TOKEN", token))).exits(0);
    delivers(|run, token| run.var("RELY_API_TOKEN", file("RELY_API_TOKEN", &format!("{token}\n")))).exits(0);
    delivers(|run, token| run.var("RELY_API_TOKEN", file("ANOTHER", &format!("{token}\r\n")))).exits(0);
    delivers(|run, token| run.var("RELY_API_TOKEN_FILE", plain(&format!("{token}\n")))).exits(0);
    delivers(|run, token| run.var("RELY_API_TOKEN", format!("@b64@{}", BASE64_STANDARD.encode(token)))).exits(0);
    delivers(|run, token| {
        let encoded = format!("@b64@{}\n", BASE64_STANDARD.encode(token));
        run.var("RELY_API_TOKEN", file("RELY_API_TOKEN", &encoded))
    })
    .exits(0);
    delivers(|run, token| run.var("RELY_API_TOKEN", "").var("RELY_API_TOKEN_FILE", plain(token))).exits(0);
    // Two newlines are one too many to be GitLab's, and no header carries what is left.
    delivers(|run, token| run.var("RELY_API_TOKEN_FILE", plain(&format!("{token}\n\n"))))
        .exits(78)
        .says("RELY_API_TOKEN");
}

#[test]
fn a_file_that_can_not_be_read_or_is_one_too_many_is_named() {
    let folder = folder("no-forms");
    let path = gitlab_file(&folder, "TOKEN", "x");
    let gone = path.replace("/TOKEN", "/RELY_API_TOKEN");
    delivers(|run, _| run.var("RELY_API_TOKEN_FILE", "/does/not/exist"))
        .exits(78)
        .says("RELY_API_TOKEN_FILE");
    delivers(|run, _| run.var("RELY_API_TOKEN_FILE", &folder))
        .exits(78)
        .says("RELY_API_TOKEN_FILE");
    delivers(|run, _| run.var("RELY_API_TOKEN_FILE", "$RELY_API_TOKEN_FILE"))
        .exits(78)
        .says("RELY_API_TOKEN_FILE");
    delivers(|run, token| run.var("RELY_API_TOKEN", token).var("RELY_API_TOKEN_FILE", &path))
        .exits(78)
        .says("RELY_API_TOKEN and RELY_API_TOKEN_FILE are both set");
    delivers(|run, _| run.var("RELY_API_TOKEN", &gone))
        .exits(78)
        .says("can't be read");
    delivers(|run, _| run.var("RELY_API_TOKEN", "@b64@not base64!"))
        .exits(78)
        .says("RELY_API_TOKEN")
        .hides("not base64!");
    delivers(|run, _| run.var("RELY_API_TOKEN_FILE", gitlab_file(&folder, "EMPTY", "\n")))
        .exits(78)
        .says("RELY_API_TOKEN is not set");
}

#[test]
fn json_and_addresses_may_come_as_files_too() {
    let folder = folder("json-forms");
    let sandbox = ready();
    let url = sandbox.url(Service::Rely);
    prepared(&sandbox, &["rely"])
        .var(
            "RELY_PROPERTIES",
            gitlab_file(&folder, "RELY_PROPERTIES", "{\"status\": \"X\"}\n"),
        )
        .var("RELY_API_URL_FILE", gitlab_file(&folder, "url", &format!("{url}\n")))
        .without("RELY_API_URL")
        .run()
        .exits(0);
    let entity = rely_production(&sandbox);
    assert_eq!(entity["properties"]["status"], "X", "{entity}");
}

#[test]
fn an_empty_variable_is_as_good_as_none() {
    let sandbox = ready();
    let names: Vec<&str> = variables()
        .filter(|variable| !variable.is_required)
        .map(|variable| variable.name.as_str())
        .filter(|name| !name.ends_with("_URL"))
        .collect();
    let fill = [
        ("AVIATOR_RELEASE_CANDIDATE", "1.4.0-rc1"),
        ("EVENT_ACTION", "success"),
        ("EVENT_ENVIRONMENT", "production"),
    ];
    prepared(&sandbox, &["rely", "cto", "aviator", "port", "direktiv"])
        .vars(names.iter().map(|name| (*name, "")))
        .var("DIREKTIV_TOKEN", sandbox::Credentials::default().direktiv_token)
        .vars(fill)
        .run()
        .exits(0);
}

#[test]
fn a_misconfigured_destination_does_not_hide_anothers_failure() {
    let sandbox = ready();
    sandbox.fail(Service::Cto, 9, Fault::status(400));
    prepared(&sandbox, &["rely", "cto"])
        .var("RELY_API_TOKEN", "")
        .run()
        .exits(78)
        .says_of("rely", "misconfigured")
        .says_of("cto", "rejected");
}

#[test]
fn a_name_of_dots_alone_leads_out_of_no_path() {
    let sandbox = Sandbox::start();
    for (arguments, variable, value) in [
        ("rely", "RELY_ENTITY_ID", ".."),
        ("rely:get", "RELY_ENTITY_ID", "."),
        ("rely", "EVENT_ID", "ÜÜ"),
        ("aviator", "AVIATOR_PROJECT", ".."),
        ("aviator:rollback", "AVIATOR_ENVIRONMENT", ".."),
    ] {
        notify(&[arguments])
            .at(&sandbox)
            .var("AVIATOR_RELEASE_CANDIDATE", "1-rc1")
            .var("EVENT_ENVIRONMENT", "production")
            .var(variable, value)
            .run()
            .exits(78)
            .says(variable);
    }
    assert!(sandbox.requests().is_empty());
}

#[test]
fn of_two_mentions_the_one_that_counts_counts() {
    let sandbox = Sandbox::start();
    for arguments in [["rely?", "rely"], ["rely", "rely?"]] {
        notify(&arguments)
            .at(&sandbox)
            .var("RELY_API_TOKEN", "not-the-right-token")
            .run()
            .exits(76);
    }
    notify(&[])
        .at(&sandbox)
        .var("NOTIFY_DESTINATIONS", " rely ? , rely : get? ")
        .run()
        .exits(0);
}

#[test]
fn an_optional_destination_never_changes_the_exit_code_whatever_is_wrong() {
    let sandbox = Sandbox::start();
    for arguments in [["rely?"].as_slice(), &["rely?", "cto"]] {
        notify(arguments)
            .at(&sandbox)
            .var("EVENT_TITLE", "{{ nope")
            .run()
            .exits(if arguments.len() == 1 { 0 } else { 78 })
            .says("EVENT_TITLE");
    }
    notify(&["chek"]).run().exits(2).says("the command `check`");
}

#[test]
fn outside_gitlab_a_call_with_nothing_at_all_gets_a_hint() {
    let set = [
        "GITLAB_CI",
        "CI_JOB_ID",
        "EVENT_ACTION",
        "NOTIFY_TIMEOUT",
        "NOTIFY_ATTEMPT_TIMEOUT",
    ];
    let bare = || set.iter().fold(notify(&[]), |run, name| run.without(name));
    let ran = bare().run().exits(2).says("this is no GitLab job").says("--help");
    assert_eq!(ran.stderr.lines().count(), 2, "{}", ran.stderr);
    for (name, value) in [("CI_JOB_ID", "9"), ("EVENT_NAME", "x"), ("RELY_TOKEN", "x")] {
        bare()
            .var(name, value)
            .run()
            .exits(78)
            .says("NOTIFY_DESTINATIONS is not set");
    }
}

#[test]
fn a_word_is_a_typo_or_one_of_the_users_own_that_few_destinations_tell() {
    let sandbox = Sandbox::start();
    let rejects = |word: &str, meant: &str| {
        notify(&["cto", "rely", "direktiv"])
            .at(&sandbox)
            .var("EVENT_ACTION", word)
            .run()
            .exits(78)
            .says(&format!("EVENT_ACTION is `{word}`, did you mean `{meant}`?"));
        assert!(sandbox.requests().is_empty(), "{word}");
    };
    for (word, meant) in [
        ("sucess", "success"),
        ("startde", "started"),
        ("Failur", "failure"),
        ("stoped", "stopped"),
        ("rolled_backk", "rolled_back"),
        ("rolledback", "rolled_back"),
    ] {
        rejects(word, meant);
    }
    let ran = notify(&[
        "cto",
        "direktiv",
        "rely",
        "port",
        "port:run-update",
        "aviator",
        "direktiv:execute",
    ])
    .at(&sandbox)
    .var("EVENT_ACTION", "promoted")
    .var("AVIATOR_RELEASE_CANDIDATE", "1-rc1")
    .var("EVENT_ENVIRONMENT", "production")
    .var("DIREKTIV_WORKFLOW", "/wf/deploy.yaml")
    .var("PORT_RUN_ID", "r_1")
    .run()
    .exits(78);
    let mut ran = ran.says_of("cto", "sent").says_of("direktiv", "sent");
    for target in ["rely", "port", "port:run-update", "aviator", "direktiv:execute"] {
        let why = "misconfigured: EVENT_ACTION is `promoted`, which only cto, direktiv, webhook can tell";
        ran = ran.says_of(target, why);
    }
    // What says it instead is the user's own business, and so is a word of the service's own.
    notify(&["rely"])
        .at(&sandbox)
        .var("EVENT_ACTION", "promoted")
        .var("RELY_PROPERTIES", r#"{"status": "{{ event.action | upper }}"}"#)
        .run()
        .exits(0);
}

#[test]
fn a_deploy_job_has_to_be_known_before_its_deployment_is_reported() {
    let sandbox = Sandbox::start();
    for arguments in [&["--deploy-job", "rely"][..], &["--dry-run", "--deploy-job", "rely"]] {
        notify(arguments)
            .at(&sandbox)
            .var("CI_JOB_NAME", "notify")
            .var("CI_JOB_STATUS", "running")
            .run()
            .exits(78)
            .says("NOTIFY_JOB is not set, and this is no after_script");
    }
    for arguments in [
        ["--deploy-job", "check"],
        ["--deploy-job", "explain"],
        ["--deploy-job", "catalog"],
    ] {
        notify(&arguments).run().exits(2);
    }
    notify(&["--deplyo-job", "rely"])
        .run()
        .exits(2)
        .says("did you mean `--deploy-job`?");
    assert!(sandbox.requests().is_empty());
}

#[test]
fn explain_shows_everything_whatever_is_wrong() {
    let ran = notify(&["explain", "rely"])
        .var("NOTIFY_TIMEOUT", "abc")
        .var("RELY_API_TOKEN", "a-token-of-rely")
        .var("RELY_PROPERTIES", "{")
        .run()
        .exits(0)
        .hides("a-token-of-rely");
    for line in ["NOTIFY_TIMEOUT", "RELY_PROPERTIES"] {
        let row = ran.stdout.lines().find(|row| row.trim_start().starts_with(line));
        assert!(row.is_some_and(|row| row.contains("misconfigured")), "{}", ran.stdout);
    }
}
