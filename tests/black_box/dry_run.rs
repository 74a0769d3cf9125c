//! `--dry-run`: what it prints is run by a shell with the real curl, and the services must not be able to tell.

use std::process::Command;

use sandbox::{Credentials, DirektivAuth, DirektivVersion, Options, Recorded, Sandbox, Service};
use serde_json::{Value, json};

use crate::support::{
    UGLY_BRANCH, at_once, folder, gitlab_file, golden_form, notify,
    operations::{LOGIN, OPERATIONS, prepared, ready, ready_with},
};

/// Values that a shell, JSON, or curl itself would change if they were not quoted.
const UGLY: &str = "'single' \"double\" $HOME ${HOME} $(id) `id` \\ \\n %41 ! # & ; | > * ? [a-z] {a,b} ~ @file ünï 🚀\nEND_OF_BODY\n\ttab";

/// Runs a script of curl commands with these variables, as somebody would who copied it from a job's log.
#[track_caller]
fn execute(script: &str, variables: &[(String, String)]) {
    let has_curl = Command::new("curl").arg("--version").output().is_ok();
    assert!(
        has_curl,
        "curl is not installed; what a dry run prints can't be tried without it: apt-get install curl"
    );
    let folder = folder(&format!("script-{:?}", std::thread::current().id()));
    let path = folder.join("script.sh");
    std::fs::write(&path, script).expect("a script can be written");
    let output = Command::new("sh")
        .args(["-eu".as_ref(), path.as_os_str()])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").expect("there is a PATH"))
        .env("HOME", "/the/home/of/who/runs/it")
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .output()
        .expect("there is a shell");
    assert!(
        output.status.success(),
        "{}\n{}\n{script}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// What of a request has to be the same: all of it, but for the time and Port's token, which is another each time.
fn essence(sandbox: &Sandbox, request: &Recorded) -> Value {
    let mut essence = golden_form(request, sandbox);
    if let Some(Value::String(token)) = essence["headers"].get_mut("authorization")
        && token.starts_with("Bearer eyJ")
    {
        "Bearer <learned>".clone_into(token);
    }
    // To the byte, and not only as JSON; a long body comes with one more newline, which JSON does not mind.
    essence["text"] = timeless(request.text().trim_end()).into();
    essence
}

/// A text with its times taken out: `2025-03-01T10:00:00Z`.
fn timeless(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let mut clean = String::new();
    let mut index = 0;
    while index < characters.len() {
        let window = characters.get(index..index + 20);
        let is_time = window.is_some_and(|time| {
            time[4] == '-' && time[10] == 'T' && time[19] == 'Z' && time[..4].iter().all(char::is_ascii_digit)
        });
        if is_time {
            clean.push_str("<time>");
            index += 20;
        } else {
            clean.push(characters[index]);
            index += 1;
        }
    }
    clean
}

/// All requests, those to one service in their order: the services are sent to at the same time.
fn essences(sandbox: &Sandbox) -> Vec<Value> {
    let requests = Service::ALL
        .into_iter()
        .flat_map(|service| sandbox.requests_to(service));
    requests.map(|request| essence(sandbox, &request)).collect()
}

/// Checks that a dry run sends nothing, and that its script sends what a real run sends.
#[track_caller]
fn check(arguments: &[&str], options: &Options, variables: &[(&str, &str)]) {
    let real = ready_with(options.clone());
    prepared(&real, arguments)
        .vars(variables.iter().copied())
        .run()
        .exits(0);

    let dry = ready_with(options.clone());
    let ran = prepared(&dry, &[&["--dry-run"], arguments].concat())
        .vars(variables.iter().copied())
        .run()
        .exits(0)
        .says("nothing was sent");
    assert_eq!(dry.requests().len(), 0, "a dry run sends nothing");
    let by_variable = prepared(&dry, arguments)
        .vars(variables.iter().copied())
        .var("NOTIFY_DRY_RUN", "true")
        .run()
        .exits(0);
    assert_eq!(timeless(&by_variable.stdout), timeless(&ran.stdout));
    assert_eq!(dry.requests().len(), 0, "a dry run by variable sends nothing");

    let mut known = dry.variables();
    known.extend(
        variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    );
    execute(&ran.stdout, &known);
    let (real, dry) = (essences(&real), essences(&dry));
    assert!(!real.is_empty());
    assert_eq!(dry, real, "{}", ran.stdout);
}

#[test]
fn every_operation_is_sent_the_same_by_its_script() {
    at_once(OPERATIONS.iter().copied(), |(operation, _)| {
        check(&[operation], &Options::default(), &[]);
    });
}

#[test]
fn ugly_values_survive_the_shell() {
    let json = json!({"status": UGLY, "link": UGLY, "failureReason": "{{ env.CI_COMMIT_TITLE }}"}).to_string();
    let direktiv = json!({"text": UGLY, "numbers": [1.50, 1e30], "branch": "{{ event.branch }}"}).to_string();
    let port = json!({"version": UGLY, "branch": UGLY}).to_string();
    let variables = [
        ("EVENT_TITLE", UGLY),
        ("EVENT_USER", UGLY),
        ("EVENT_IMAGE", UGLY),
        ("EVENT_REPO", UGLY),
        ("RELY_PROPERTIES", json.as_str()),
        ("RELY_ENTITY_DESCRIPTION", UGLY),
        ("DIREKTIV_INPUT", &direktiv),
        ("PORT_PROPERTIES", &port),
        ("PORT_ENTITY_ID", "acme/shop\\@_.+:=-ünï"),
    ];
    let operations = ["rely", "cto", "direktiv:execute", "direktiv", "aviator", "port"];
    at_once(operations, |operation| {
        check(&[operation], &Options::default(), &variables);
    });
}

#[test]
fn a_webhooks_credentials_are_read_from_its_variables_and_its_signature_is_made_by_the_shell() {
    let headers =
        r#"{"X-Api-Key": "k3y of:the/receiver", "Authorization": "Bearer t0ken=", "X-Env": "{{ event.environment }}"}"#;
    let body = json!({
        "routing_key": "r0uting+key/of a service", "nested": {"apiToken": "t0ken \"quoted"}, "text": UGLY, "n": 1.50,
    });
    let body = body.to_string().replace("t0ken \\\"quoted", "t0ken-quoted");
    let second = format!(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw,{}",
        Credentials::default().webhook_secret
    );
    for variables in [
        vec![("WEBHOOK_BODY", body.as_str()), ("WEBHOOK_HEADERS", headers)],
        vec![
            ("WEBHOOK_BODY", UGLY),
            ("WEBHOOK_METHOD", "PUT"),
            ("WEBHOOK_SECRET", &second),
        ],
        vec![("EVENT_TITLE", UGLY)],
    ] {
        check(&["webhook"], &Options::default(), &variables);
    }
}

#[test]
fn a_body_longer_than_an_argument_may_be_is_sent_too() {
    let message = format!(
        "{UGLY}{}",
        "a 'long' message with \"quotes\" \\ and $HOME\n".repeat(4000)
    );
    assert!(message.len() > 128 * 1024);
    let folder = folder("long");
    let path = gitlab_file(&folder, "RELY_ENTITY_DESCRIPTION", &message);
    for operation in ["rely", "rely:create"] {
        check(&[operation], &Options::default(), &[("RELY_ENTITY_DESCRIPTION", &path)]);
    }
}

#[test]
fn several_operations_are_sent_in_their_order_and_port_logs_in_once() {
    let all = ["rely", "aviator:deployment", "aviator", "port", "port:get"];
    check(&all, &Options::default(), &[]);
    let sandbox = ready();
    let ran = prepared(&sandbox, &["--dry-run", "port", "port:get"]).run().exits(0);
    assert_eq!(ran.stdout.matches(LOGIN).count(), 1, "{}", ran.stdout);
}

#[test]
fn direktivs_credentials_go_the_way_they_are_set() {
    let token = Credentials::default().direktiv_token;
    let line = format!("direktiv-token: {token}");
    let accepts = |auth, version| Options {
        direktiv_accepts: Some(auth),
        direktiv_version: version,
        ..Options::default()
    };
    let (old, new) = (DirektivVersion::V0_7, DirektivVersion::V0_10);
    for (options, variables) in [
        (
            accepts(DirektivAuth::Token, old),
            vec![("DIREKTIV_HEADER", line.as_str()), ("DIREKTIV_API", "v1")],
        ),
        (
            accepts(DirektivAuth::Token, old),
            vec![("DIREKTIV_AUTH", "token"), ("DIREKTIV_API", "v1")],
        ),
        (
            accepts(DirektivAuth::Token, old),
            vec![("DIREKTIV_DIRECTORY", "/workflows/directory"), ("DIREKTIV_API", "v1")],
        ),
        (accepts(DirektivAuth::Bearer, new), vec![("DIREKTIV_AUTH", "bearer")]),
        (accepts(DirektivAuth::ApiKey, new), vec![("DIREKTIV_AUTH", "api-key")]),
        (
            accepts(DirektivAuth::ApiToken, new),
            vec![("DIREKTIV_AUTH", "api-token")],
        ),
    ] {
        check(&["direktiv:sync"], &options, &variables);
    }
}

#[test]
fn the_official_templates_variables_are_named_as_they_were_set() {
    let known = Credentials::default();
    let variables = [
        ("TOKEN", known.cto_token.as_str()),
        ("TEAM_ID", &known.cto_team),
        ("BRANCH", UGLY_BRANCH),
        ("CTOAI_EVENTS_API_TOKEN", ""),
        ("CTOAI_TEAM_ID", ""),
    ];
    check(&["cto", "--official-names"], &Options::default(), &variables);
    let sandbox = ready();
    let ran = prepared(&sandbox, &["--dry-run", "cto", "--official-names"])
        .vars(variables)
        .run()
        .exits(0);
    assert!(ran.stdout.contains("Bearer $TOKEN\""), "{}", ran.stdout);
}

#[test]
fn what_follows_only_if_is_a_comment() {
    let sandbox = ready();
    let ran = prepared(&sandbox, &["--dry-run", "rely"])
        .var("EVENT_TITLE", UGLY)
        .run()
        .exits(0);
    let commented: Vec<&str> = ran.stdout.lines().filter(|line| line.starts_with("#   ")).collect();
    assert!(
        commented.iter().any(|line| line.contains("--request POST")),
        "{}",
        ran.stdout
    );
}

#[test]
fn what_can_not_be_sent_is_told_and_the_rest_is_shown() {
    let sandbox = Sandbox::start();
    let ran = notify(&["--dry-run", "rely", "cto", "aviator?"])
        .at(&sandbox)
        .var("RELY_API_TOKEN", "")
        .run()
        .exits(78)
        .says_of("rely", "RELY_API_TOKEN is not set")
        .says_of("aviator", "AVIATOR_RELEASE_CANDIDATE");
    assert!(ran.stdout.contains("# cto: event"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("/rely/"), "{}", ran.stdout);
    notify(&["--dry-run", "aviator?", "cto"]).at(&sandbox).run().exits(0);
    // What is filtered is not shown.
    let ran = notify(&["--dry-run", "cto"])
        .at(&sandbox)
        .var("NOTIFY_ONLY", "failure")
        .run()
        .exits(0)
        .says_of("cto", "skipped");
    assert_eq!(ran.stdout, "");
    assert_eq!(sandbox.requests().len(), 0);
}

#[test]
fn a_dry_run_needs_no_network_and_leaves_nothing_behind() {
    let folder = folder("dry-output");
    let ran = notify(&["--dry-run", "rely"])
        .var("RELY_API_TOKEN", "token-of-nobody")
        .var("NOTIFY_OUTPUT_DIR", folder.join("output"))
        .var("HTTPS_PROXY", "http://127.0.0.1:1")
        .run()
        .exits(0);
    assert!(
        ran.stdout.contains("https://magneto.rely.io/api/v1/entities/"),
        "{}",
        ran.stdout
    );
    assert!(!folder.join("output/receipt.json").exists());
}

#[test]
fn the_sandbox_would_notice_a_difference() {
    // The comparison itself: another body, another header, another query.
    let sandbox = ready();
    prepared(&sandbox, &["cto"]).run().exits(0);
    prepared(&sandbox, &["cto"])
        .var("EVENT_IMAGE", "another")
        .run()
        .exits(0);
    let requests = sandbox.requests_to(Service::Cto);
    assert_ne!(essence(&sandbox, &requests[0]), essence(&sandbox, &requests[1]));
    assert_eq!(essence(&sandbox, &requests[0]), essence(&sandbox, &requests[0]));
    assert_eq!(timeless("at 2025-03-01T10:00:00Z."), "at <time>.");
}
