//! The entities of a file: checked whole before any is sent, sent many at a time, and every one of them accounted for.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use sandbox::{Fault, Options, Sandbox, Service};
use serde_json::{Value, json};

use crate::{
    gitlab::{in_job, seed_only},
    support::{
        Run, asked, at_once, faults::status, folder, gitlab_file, json_of, methods, notify, operations::LOGIN,
        wait_until,
    },
};

const BULK: &str = "/entities/bulk";

/// So many services as lines.
fn services(count: usize) -> String {
    let mut lines = String::new();
    for number in 0..count {
        let entity = json!({"identifier": format!("shop/{number}"), "title": format!("Größe \"{number}\" 🚀 {{{{ env.HOME }}}}"),
            "properties": {"language": "Rust", "version": "1.4.0", "repository": "https://gitlab.example.com/acme/shop"}});
        writeln!(lines, "{entity}").expect("a text");
    }
    lines
}

/// A run that sends `content` to Port as services, in a folder of its own.
struct Case {
    folder: PathBuf,
    file: PathBuf,
    output: PathBuf,
}

impl Case {
    fn new(name: &str, content: &str) -> Self {
        let folder = folder(name);
        let file = folder.join("entities.ndjson");
        fs::write(&file, content).expect("a file can be written");
        Self {
            output: folder.join("out"),
            file,
            folder,
        }
    }

    fn run(&self, sandbox: &Sandbox) -> Run {
        notify(&["port"])
            .at(sandbox)
            .without("EVENT_ACTION")
            .var("PORT_BLUEPRINT", "service")
            .var("PORT_ENTITIES_FILE", &self.file)
            .var("NOTIFY_OUTPUT_DIR", &self.output)
    }

    /// What the receipt says of Port, and the lines of the file of what failed.
    fn left(&self) -> (Value, Vec<String>) {
        let receipt = json_of(&self.output.join("receipt.json"));
        let failed = fs::read_to_string(self.failed()).unwrap_or_default();
        let is_listed = receipt["files"]
            .as_array()
            .expect("a list")
            .contains(&json!("port.failed.ndjson"));
        assert_eq!(is_listed, self.failed().exists());
        assert_eq!(receipt["undelivered"], json!([]));
        (
            receipt["destinations"][0].clone(),
            failed.lines().map(str::to_owned).collect(),
        )
    }

    fn failed(&self) -> PathBuf {
        self.output.join("port.failed.ndjson")
    }
}

fn held(sandbox: &Sandbox, blueprint: &str) -> usize {
    let state = sandbox.state(Service::Port);
    state["entities"][blueprint].as_object().map_or(0, serde_json::Map::len)
}

fn count(sandbox: &Sandbox, part: &str) -> usize {
    let asked = asked(sandbox, Service::Port);
    asked.iter().filter(|line| line.contains(part)).count()
}

// What is sent

#[test]
fn a_file_goes_to_port_in_its_bulk_form_and_its_templates_do_not_run() {
    let sandbox = Sandbox::start();
    let content = services(45) + "\n{\"identifier\": \"own\", \"blueprint\": \"deployment\"}\n" + &services(1);
    let case = Case::new("entities-sent", &content);
    case.run(&sandbox)
        .run()
        .exits(0)
        .says("the entities of a file, and no event")
        .says("47 entities to send, in 5 requests")
        .says("entity 47 in line 48, column 1 has the identifier `shop/0` of one before it")
        .says_of("port", "47 entities sent in 5 requests");
    assert_eq!((held(&sandbox, "service"), held(&sandbox, "deployment")), (45, 1));
    assert_eq!(count(&sandbox, LOGIN), 1);
    assert_eq!(
        count(&sandbox, "/v1/blueprints/service/entities/bulk?upsert=true&merge=true"),
        4
    );
    let title = &sandbox.state(Service::Port)["entities"]["service"]["shop/7"]["title"];
    assert_eq!(title, "Größe \"7\" 🚀 {{ env.HOME }}");
    let (receipt, failed) = case.left();
    assert_eq!(receipt["entities"], json!({"sent": 47, "failed": 0}));
    assert_eq!((failed.len(), &receipt["event_id"]), (0, &Value::Null));
}

#[test]
fn the_file_may_be_an_array_standard_input_or_a_variable_of_the_file_type() {
    let array = |lines: &str| format!("[\n{}]", lines.trim_end().replace('\n', ",\n"));
    let sandbox = Sandbox::start();
    let case = Case::new("entities-forms", &array(&services(25)));
    case.run(&sandbox).run().exits(0);
    assert_eq!(held(&sandbox, "service"), 25);

    let sandbox = Sandbox::start();
    let path = gitlab_file(&case.folder, "PORT_ENTITIES_FILE", &services(26));
    case.run(&sandbox).var("PORT_ENTITIES_FILE", path).run().exits(0);
    assert_eq!(held(&sandbox, "service"), 26);

    let sandbox = Sandbox::start();
    case.run(&sandbox)
        .var("PORT_ENTITIES_FILE", "-")
        .input(&services(27))
        .run()
        .exits(0)
        .says("standard input: 27 entities");
    assert_eq!(held(&sandbox, "service"), 27);
}

#[test]
fn rely_gets_an_upsert_each_whichever_way_it_treats_a_put() {
    for put_creates in [true, false] {
        let sandbox = Sandbox::start_with(Options {
            rely_put_creates: put_creates,
            ..Options::default()
        });
        let mut content = String::new();
        for number in 0..30 {
            writeln!(
                content,
                "{{\"id\": \"shop-{number}\", \"title\": \"{number}\", \"relations\": {{\"service\": \"s\"}}}}"
            )
            .expect("a text");
        }
        content += "{\"id\": \"bad\", \"title\": \"x\", \"properties\": {\"nope\": 1}}";
        let case = Case::new("entities-rely", &content);
        notify(&["rely"])
            .at(&sandbox)
            .var("RELY_ENTITIES_FILE", &case.file)
            .var("NOTIFY_OUTPUT_DIR", &case.output)
            .run()
            .exits(76)
            .says_of("rely", "rejected `bad` (entity 31 in line 31, column 1)")
            .says_of("rely", "30 of 31 entities sent");
        let state = sandbox.state(Service::Rely);
        assert_eq!(
            state["entities"]["shop-7"]["relations"],
            json!({"service": {"value": "s"}})
        );
        assert_eq!(state["entities"].as_object().map_or(0, serde_json::Map::len), 30);
        let failed = fs::read_to_string(case.output.join("rely.failed.ndjson")).expect("a file");
        assert_eq!(
            failed,
            "{\"id\":\"bad\",\"title\":\"x\",\"properties\":{\"nope\":1},\"blueprintId\":\"deployment\"}\n"
        );
    }
}

#[test]
fn the_examples_are_taken_as_they_are() {
    let sandbox = Sandbox::start();
    notify(&["port", "rely"])
        .at(&sandbox)
        .var("PORT_BLUEPRINT", "service")
        .var("PORT_ENTITIES_FILE", "examples/port/entities.ndjson")
        .var("RELY_ENTITIES_FILE", "examples/rely/entities.ndjson")
        .run()
        .exits(0);
    assert_eq!((held(&sandbox, "service"), held(&sandbox, "deployment")), (3, 1));
}

#[test]
fn gitlab_is_not_asked_what_happened() {
    let sandbox = Sandbox::start();
    seed_only(&sandbox, &[json!({"id": 7, "name": "deploy", "status": "failed"})]);
    let case = Case::new("entities-asked", &services(1));
    in_job(&["port"], &sandbox)
        .var("PORT_BLUEPRINT", "service")
        .var("PORT_ENTITIES_FILE", &case.file)
        .run()
        .exits(0);
    assert_eq!(methods(&sandbox, Service::GitLab), "");
}

#[test]
fn who_watches_sees_a_bar_and_a_log_gets_lines() {
    let sandbox = Sandbox::start();
    let case = Case::new("entities-watched", &services(40));
    let command = format!("{} port", assert_cmd::cargo::cargo_bin!("notify-event").display());
    let watched = |log: &str| {
        let output = std::process::Command::new("script")
            .args(["-qec", &command, "/dev/null"])
            .envs(sandbox.variables())
            .env("PORT_BLUEPRINT", "service")
            .env("PORT_ENTITIES_FILE", &case.file)
            .env("NOTIFY_LOG", log)
            .output()
            .expect("there is `script`, which gives a terminal");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let seen = watched("normal");
    assert!(
        seen.contains("\u{1b}[K  port               [############.............] 20 of 40 (50 %)"),
        "{seen}"
    );
    assert!(seen.contains("\r\u{1b}[K\r  port               sent"), "{seen}");
    assert!(!watched("quiet").contains('['));
    let ran = case.run(&sandbox).run().exits(0);
    assert!(!ran.stderr.contains(['\u{1b}', '\r', '[']), "{}", ran.stderr);
}

// What is wrong before anything is sent

#[test]
fn a_file_that_is_wrong_anywhere_is_told_with_the_place_and_nothing_is_sent() {
    let good = services(4710);
    let cases: Vec<(String, &str)> = vec![
        (
            format!("{good}{{\"title\": \"x\"}}\n{good}"),
            "entity 4,711 in line 4711, column 1 has no \"identifier\"",
        ),
        (
            format!("{good}{{\"identifier\": \"a b\"}}"),
            "entity 4,711 in line 4711, column 1 has an \"identifier\" that is `a b`",
        ),
        (
            format!("{good}{{\"identifier\": \"a\", \"title\": "),
            "it ends in the middle of entity 4,711 in line 4711",
        ),
        (
            format!("[{}", good.trim_end().replace('\n', ",\n")),
            "it ends in the middle, in line 4710",
        ),
        (
            format!("{good}{{\"identifier\": \"a\" \"title\": 1}}"),
            "entity 4,711 in line 4711, column 1 is not JSON: expected `,` or `}` in line 4711",
        ),
        (
            format!("{good}\"a\""),
            "entity 4,711 in line 4711, column 1 is a string, and has to be an object",
        ),
        (
            format!("{{\"identifier\": \"a\", \"title\": \"{}\"}}", "x".repeat(1 << 20)),
            "entity 1 in line 1, column 1 has more than",
        ),
        (
            "{\"identifier\": \"a\", \"properties\": 7}".to_owned(),
            "has \"properties\" as a number",
        ),
        (String::new(), "there is no entity in it"),
        ("[]".to_owned(), "there is no entity in it"),
        (
            "identifier,title\na,b\n".to_owned(),
            "entity 1 in line 1, column 1 is no JSON",
        ),
    ];
    let sandbox = Sandbox::start();
    at_once(cases, |(content, why)| {
        let case = Case::new("entities-bad", &content);
        for arguments in [&["port"][..], &["check", "port"], &["--dry-run", "port"]] {
            notify(arguments)
                .at(&sandbox)
                .var("PORT_ENTITIES_FILE", &case.file)
                .run()
                .exits(78)
                .says(why)
                .says("PORT_ENTITIES_FILE is ");
        }
    });
    assert_eq!(asked(&sandbox, Service::Port), [""; 0]);
}

#[test]
fn what_makes_no_sense_with_a_file_is_refused() {
    let sandbox = Sandbox::start();
    let case = Case::new("entities-contradictory", &services(1));
    let path = case.file.to_str().expect("UTF-8");
    let cases = [
        (
            "port:create",
            "PORT_ENTITIES_FILE",
            path,
            "as an upsert only, not as create",
        ),
        (
            "port:replace",
            "PORT_ENTITIES_FILE",
            path,
            "port:upsert with PORT_MERGE: \"false\"",
        ),
        ("port:patch", "PORT_ENTITIES_FILE", path, "not as patch"),
        ("port:delete", "PORT_ENTITIES_FILE", path, "not as delete"),
        ("rely:create", "RELY_ENTITIES_FILE", path, "not sent by create"),
        ("rely:replace", "RELY_ENTITIES_FILE", path, "use rely:upsert"),
        (
            "port",
            "PORT_ENTITIES_FILE",
            "/nowhere/x",
            "it can't be read: No such file",
        ),
        (
            "port",
            "PORT_ENTITIES_FILE",
            "$SERVICES",
            "GitLab had nothing to put there",
        ),
        (
            "port",
            "PORT_ENTITIES_FILE",
            "/dev/null",
            "hand it over by standard input",
        ),
        ("port", "PORT_ENTITIES_FILE", "/tmp", "it is no regular file"),
        (
            "port",
            "PORT_ENTITIES_FILE_FILE",
            path,
            "give the path as PORT_ENTITIES_FILE",
        ),
    ];
    for (target, variable, value, why) in cases {
        notify(&[target])
            .at(&sandbox)
            .var("PORT_ENTITY_ID", "x")
            .var(variable, value)
            .run()
            .exits(78)
            .says_of(target, why);
    }
    notify(&["port", "rely"])
        .at(&sandbox)
        .var("PORT_ENTITIES_FILE", "-")
        .var("RELY_ENTITIES_FILE", "-")
        .input("{\"identifier\": \"a\", \"blueprint\": \"service\"}")
        .run()
        .exits(78)
        .says_of("rely", "standard input is the entities of another destination already");
    assert_eq!(held(&sandbox, "service"), 1);
    // What is set for the whole project and tells of one entity is said to be of no use.
    case.run(&sandbox)
        .var("PORT_TEAM", "platform")
        .run()
        .exits(0)
        .says_of("port", "PORT_TEAM: not used");
}

#[test]
fn a_dry_run_shows_the_first_request_and_how_many_follow() {
    let sandbox = Sandbox::start();
    let case = Case::new("entities-dry", &services(45));
    let ran = notify(&["--dry-run", "port"])
        .at(&sandbox)
        .var("PORT_BLUEPRINT", "service")
        .var("PORT_ENTITIES_FILE", &case.file)
        .run()
        .exits(0);
    assert_eq!(ran.stdout.matches("{\"entities\":[").count(), 1);
    assert!(ran.stdout.contains("shop/19") && !ran.stdout.contains("shop/20"));
    assert!(
        ran.stdout
            .contains("# port: 2 requests more, for the other 25 entities in ")
    );
    assert_eq!(sandbox.requests().len(), 0);
    notify(&["check", "port"])
        .at(&sandbox)
        .var("PORT_BLUEPRINT", "service")
        .var("PORT_ENTITIES_FILE", &case.file)
        .run()
        .exits(0)
        .says("45 entities to send, in 3 requests")
        .says_of("port", "ok");
    assert_eq!(methods(&sandbox, Service::Port), "POST GET");
}

// What fails

#[test]
fn what_port_does_not_take_is_named_and_can_be_sent_again() {
    let sandbox = Sandbox::start();
    let mut content = services(30);
    for number in 0..25 {
        writeln!(
            content,
            "{{\"identifier\": \"new/{number}\", \"blueprint\": \"product\"}}"
        )
        .expect("a text");
    }
    content += "{\"identifier\": \"odd\", \"properties\": {\"language\": 7}}\n";
    let case = Case::new("entities-failed", &content);
    let ran = case
        .run(&sandbox)
        .run()
        .exits(76)
        .says_of(
            "port",
            "rejected `new/0` (entity 31 in line 31, column 1): answered 404",
        )
        .says_of("port", "more entities failed, which are not named here")
        .says_of("port", "30 of 56 entities sent")
        .says("port.failed.ndjson holds them; send them with PORT_ENTITIES_FILE as its path");
    assert_eq!(ran.stderr.matches("rejected `").count(), 20);
    let (receipt, failed) = case.left();
    assert_eq!(
        (&receipt["class"], &receipt["entities"]),
        (&json!("rejected"), &json!({"sent": 30, "failed": 26}))
    );
    assert_eq!(failed.len(), 26);

    // The blueprint is made, and what failed is sent again: by the next call of the job, from the file itself.
    let blueprint = json!({"identifier": "product", "schema": {"properties": {}, "required": []}, "relations": {}});
    sandbox.seed(Service::Port, json!({"blueprints": {"product": blueprint}}));
    let again = || case.run(&sandbox).var("PORT_ENTITIES_FILE", case.failed());
    again().run().exits(76).says_of(
        "port",
        "rejected `odd` (entity 26 in line 26, column 1): answered 422: blueprint_schema_mismatch",
    );
    assert_eq!(held(&sandbox, "product"), 25);
    let (_, failed) = case.left();
    assert_eq!(failed, ["{\"identifier\":\"odd\",\"properties\":{\"language\":7}}"]);

    // What another file of the job could not be sent is no reason to lose this.
    fs::write(
        &case.file,
        "{\"identifier\": \"other\", \"properties\": {\"language\": 8}}",
    )
    .expect("a file can be written");
    case.run(&sandbox)
        .run()
        .exits(76)
        .says("port.failed_0002.ndjson holds them");
    assert_eq!(case.left().1.len(), 1);

    fs::write(case.failed(), "{\"identifier\": \"odd\"}").expect("a file can be written");
    again().run().exits(0);
    assert!(!case.failed().exists(), "all of it is sent");
    let files = json_of(&case.output.join("receipt.json"))["files"].clone();
    assert_eq!(files, json!(["port.failed_0002.ndjson"]));
    // In another pipeline, where the work tree stays, it is not this one's.
    case.run(&sandbox)
        .var("CI_PIPELINE_ID", "9001")
        .run()
        .exits(76)
        .says("port.failed.ndjson holds them");
}

#[test]
fn a_request_that_is_refused_for_one_of_its_entities_is_divided() {
    let sandbox = Sandbox::start();
    sandbox.fail_on(Service::Port, BULK, 1, Fault::status(413));
    let case = Case::new("entities-divided", &services(20));
    case.run(&sandbox)
        .run()
        .exits(0)
        .says_of("port", "20 entities sent in 3 requests");

    // Down to those that are alone, each of which has its own reason then.
    let sandbox = Sandbox::start();
    sandbox.fail_on(Service::Port, BULK, 100, Fault::status(422));
    case.run(&sandbox)
        .run()
        .exits(76)
        .says_of("port", "0 of 20 entities sent in 39 requests, 20 failed");
    assert_eq!(case.left().1.len(), 20);
}

#[test]
fn what_a_service_can_not_take_for_now_is_tried_again() {
    let partial = r#"{"ok": false, "entities": [{"index": 0}, {"index": 2}], "errors": [{"index": 1, "statusCode": 500, "error": "internal_error"}]}"#;
    let sandbox = Sandbox::start();
    sandbox.fail_on(Service::Port, BULK, 1, crate::support::faults::reply(207, &[], partial));
    sandbox.fail_on(Service::Port, BULK, 1, status(503));
    let case = Case::new("entities-again", &services(3));
    case.run(&sandbox)
        .run()
        .exits(0)
        .says_of("port", "3 entities sent in 2 requests");
    assert!(sandbox.state(Service::Port)["entities"]["service"]["shop/1"].is_object());
}

#[test]
fn a_service_that_is_down_or_refuses_the_credential_is_left_alone_and_nothing_is_lost() {
    let sandbox = Sandbox::start();
    let case = Case::new("entities-credential", &services(1000));
    case.run(&sandbox)
        .var("PORT_CLIENT_SECRET", "another-secret")
        .run()
        .exits(76)
        .says_of(
            "port",
            "0 of 1,000 entities sent in 1 request, 1,000 failed; no more was sent after this: the login failed",
        );
    assert_eq!(asked(&sandbox, Service::Port).len(), 1);
    assert_eq!(case.left().1.len(), 1000);

    let sandbox = Sandbox::start();
    sandbox.fail_on(Service::Port, BULK, 1000, status(503));
    let case = Case::new("entities-down", &services(1000));
    case.run(&sandbox)
        .var("NOTIFY_ATTEMPTS", "2")
        .run()
        .exits(75)
        .says("1,000 failed");
    assert_eq!(count(&sandbox, BULK), 6, "three requests, in two attempts each");
    let (receipt, failed) = case.left();
    assert_eq!((&receipt["class"], failed.len()), (&json!("unavailable"), 1000));
}

#[test]
fn an_entity_with_the_text_of_a_credential_is_not_written_down() {
    let sandbox = Sandbox::start();
    let content = "{\"identifier\": \"leak\", \"properties\": {\"language\": 7, \"version\": \"rely-sandbox-8f4e2b7a91\"}}\n{\"identifier\": \"odd\", \"properties\": {\"language\": 7}}";
    let case = Case::new("entities-secret", content);
    case.run(&sandbox)
        .run()
        .exits(76)
        .hides("rely-sandbox-8f4e2b7a91")
        .says_of(
            "port",
            "`leak` (entity 1 in line 1, column 1) holds the text of a credential",
        )
        .says_of("port", "but for 1 of them");
    assert_eq!(
        case.left().1,
        ["{\"identifier\":\"odd\",\"properties\":{\"language\":7}}"]
    );
}

#[test]
fn a_replay_delivers_events_and_no_files() {
    let sandbox = Sandbox::start();
    let case = Case::new("entities-replay", &services(3));
    let event = || {
        case.run(&sandbox)
            .without("PORT_ENTITIES_FILE")
            .var("EVENT_ACTION", "success")
            .without("PORT_BLUEPRINT")
    };
    sandbox.fail(Service::Port, 1, Fault::status(400));
    event().run().exits(76);
    let kept = case.output.join("undelivered");
    let kept = fs::read_dir(kept)
        .expect("a folder")
        .next()
        .expect("a file")
        .expect("an entry")
        .path();
    let mut json = json_of(&kept);
    json["settings"]["PORT_ENTITIES_FILE"] = json!(case.file);
    fs::write(&kept, json.to_string()).expect("a file can be written");
    notify(&["replay", kept.to_str().expect("UTF-8")])
        .at(&sandbox)
        .var("PORT_ENTITIES_FILE", &case.file)
        .run()
        .exits(0);
    assert_eq!((count(&sandbox, BULK), held(&sandbox, "deployment")), (0, 1));
}

// Limits

#[test]
fn a_rate_limit_is_kept_by_all_lanes_together() {
    let sandbox = Sandbox::start_with(Options {
        port_rate_limit: Some((10, Duration::from_secs(1))),
        ..Options::default()
    });
    let case = Case::new("entities-limited", &services(500));
    case.run(&sandbox)
        .var("NOTIFY_ATTEMPTS", "2")
        .run()
        .exits(0)
        .says("500 entities sent in 25 requests");
    let refused = sandbox
        .requests_to(Service::Port)
        .iter()
        .filter(|request| request.status == Some(429))
        .count();
    assert!(refused < 20, "{refused} requests were refused");

    // One lane is told to wait, and all do.
    let sandbox = Sandbox::start();
    sandbox.fail_on(Service::Port, BULK, 1, Fault::status_with(429, "retry-after", "2"));
    case.run(&sandbox)
        .run()
        .exits(0)
        .takes_at_least(Duration::from_secs(2))
        .ends_within(Duration::from_secs(8));
    assert_eq!(count(&sandbox, BULK), 26);
}

#[test]
fn a_token_that_expires_is_renewed_by_one_lane() {
    let sandbox = Sandbox::start_with(Options {
        port_tokens_expire_after: Some(10),
        latency: Duration::from_millis(20),
        ..Options::default()
    });
    let case = Case::new("entities-token", &services(1000));
    case.run(&sandbox).run().exits(0);
    assert_eq!((held(&sandbox, "service"), count(&sandbox, LOGIN)), (1000, 5));
}

#[test]
fn a_run_that_sends_a_file_has_an_hour() {
    let sandbox = Sandbox::start();
    sandbox.fail_on(Service::Port, BULK, 1, Fault::status_with(429, "retry-after", "4000"));
    let case = Case::new("entities-hour", &services(1));
    case.run(&sandbox)
        .without("NOTIFY_TIMEOUT")
        .run()
        .exits(75)
        .says("of the 3600 s of NOTIFY_TIMEOUT");
    sandbox.fail_on(
        Service::Port,
        "/entities",
        1,
        Fault::status_with(429, "retry-after", "4000"),
    );
    notify(&["port"])
        .at(&sandbox)
        .without("NOTIFY_TIMEOUT")
        .run()
        .exits(75)
        .says("of the 60 s of NOTIFY_TIMEOUT");
}

// Ends

/// A run that is under way, with three replies behind it.
fn slow() -> Sandbox {
    Sandbox::start_with(Options {
        latency: Duration::from_millis(200),
        ..Options::default()
    })
}

fn all_are_accounted_for(case: &Case, sandbox: &Sandbox, total: u64) {
    let (receipt, failed) = case.left();
    let number = |name: &str| receipt["entities"][name].as_u64().expect("a number");
    assert_eq!(number("sent") + number("failed"), total, "{receipt}");
    assert_eq!(failed.len() as u64, number("failed"));
    assert!(number("sent") > 0 && number("failed") > 0, "{receipt}");
    sandbox.reset();
    let before = usize::try_from(number("sent")).expect("a small number");
    case.run(sandbox)
        .var("PORT_ENTITIES_FILE", case.failed())
        .run()
        .exits(0);
    assert!(held(sandbox, "service") + before >= usize::try_from(total).expect("a small number"));
}

#[test]
fn who_is_asked_to_end_writes_down_what_was_not_sent() {
    let sandbox = slow();
    let case = Case::new("entities-stopped", &services(2000));
    let running = case.run(&sandbox).start();
    wait_until("the first replies", || held(&sandbox, "service") > 100);
    running.signal("TERM");
    running
        .ends()
        .exits(75)
        .ends_within(Duration::from_secs(8))
        .says_of("port", "the run was asked to end (SIGTERM)");
    all_are_accounted_for(&case, &sandbox, 2000);
}

#[test]
fn what_the_time_was_too_short_for_is_written_down() {
    let sandbox = slow();
    let case = Case::new("entities-late", &services(2000));
    case.run(&sandbox)
        .var("NOTIFY_TIMEOUT", "1")
        .run()
        .exits(75)
        .says_of("port", "the 1 s of NOTIFY_TIMEOUT are over");
    all_are_accounted_for(&case, &sandbox, 2000);
}

#[test]
fn a_file_that_changes_while_it_is_sent_ends_cleanly() {
    let sandbox = slow();
    // Longer than what is read at once.
    let case = Case::new("entities-changed", &services(4000));
    let running = case.run(&sandbox).start();
    wait_until("the first requests", || count(&sandbox, BULK) > 1);
    let length = fs::metadata(&case.file).expect("a file").len();
    let file = fs::OpenOptions::new().write(true).open(&case.file).expect("a file");
    file.set_len(length / 2).expect("a shorter file");
    running
        .ends()
        .exits(78)
        .says_of("port", "the file has changed since it was checked")
        .says_of("port", "of 4,000 entities sent in")
        .says_of("port", "of them can't be read any more");
    let tally = &case.left().0["entities"];
    let held = held(&sandbox, "service") as u64;
    assert_eq!(
        (tally["sent"].as_u64(), tally["failed"].as_u64()),
        (Some(held), Some(4000 - held))
    );
}

#[test]
fn memory_does_not_grow_with_the_file() {
    let sandbox = Sandbox::start();
    let case = Case::new("entities-memory", &services(10_000));
    let running = case.run(&sandbox).var("NOTIFY_TIMEOUT", "300").start();
    let status = format!("/proc/{}/status", running.id());
    let mut peak = 0;
    while let Some(now) = peak_memory(Path::new(&status)) {
        peak = now;
        std::thread::sleep(Duration::from_millis(5));
    }
    running.ends().exits(0);
    // Unoptimized, and with whatever the machine's C library keeps.
    assert!((1_000..32_000).contains(&peak), "{peak} kB");
}

/// `VmHWM` of a process, in kB; none when it has ended.
fn peak_memory(status: &Path) -> Option<u64> {
    let text = fs::read_to_string(status).ok()?;
    let line = text.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
