//! Kill it anywhere: what may count is written down before it is sent and as it ends, so that a killed run leaves files
//! that can be read, its job's next attempt and a replay lose nothing, and nothing is sent twice without a word. A run
//! that is asked to end (SIGTERM, a canceled job) ends in time and says what became of everything.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use sandbox::{Fault, Sandbox, Service};
use serde_json::{Value, json};

use crate::{
    gitlab::{OWN, in_job, seed_only},
    support::{
        KILLED, Run, folder,
        held::{cto_actions, rely_entity},
        json_of, wait_until,
    },
};

/// A job of the pipeline whose output folder is `output`.
fn job(arguments: &[&str], id: u64, sandbox: &Sandbox, output: &Path) -> Run {
    in_job(arguments, sandbox)
        .var("EVENT_ACTION", "success")
        .var("CI_JOB_ID", id.to_string())
        .var("CI_PROJECT_DIR", output.parent().expect("a folder"))
        .var("NOTIFY_OUTPUT_DIR", output)
        .var("NOTIFY_ATTEMPTS", "1")
        .var("NOTIFY_ATTEMPT_TIMEOUT", "15")
}

fn undelivered(output: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(output.join("undelivered")) else {
        return Vec::new();
    };
    let files = entries.map(|entry| entry.expect("an entry").path());
    files
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .collect()
}

fn running(id: u64) -> Value {
    json!({"id": id, "name": "notify", "status": "running"})
}

/// A job that has ended, as GitLab shows it, with what lies in `output` as its artifacts.
fn ended(id: u64, output: &Path) -> Value {
    let mut job = json!({"id": id, "name": "notify", "status": "failed"});
    let receipt = output.join("receipt.json");
    if receipt.exists() {
        job["artifacts"] = json!({"out/receipt.json": json_of(&receipt)});
    }
    job
}

/// What the receipt says of a destination; null if nothing.
fn entry(output: &Path, destination: &str) -> Value {
    let receipt = json_of(&output.join("receipt.json"));
    let entries = receipt["destinations"].as_array().expect("a list");
    let entry = entries.iter().find(|entry| entry["destination"] == destination);
    entry.cloned().unwrap_or_default()
}

fn requests(sandbox: &Sandbox, service: Service) -> usize {
    sandbox.requests_to(service).len()
}

#[test]
fn what_is_sent_is_marked_before_and_kept_until_it_is_delivered() {
    let sandbox = Sandbox::start();
    let output = folder("kills-marked").join("out");
    seed_only(&sandbox, &[running(OWN)]);
    sandbox.fail(Service::Cto, 1, Fault::Hang);
    sandbox.fail(Service::Rely, 1, Fault::Hang);
    let run = job(&["cto", "rely", "rely:patch", "direktiv"], OWN, &sandbox, &output).start();
    wait_until("both requests", || {
        requests(&sandbox, Service::Cto) == 1
            && requests(&sandbox, Service::Rely) == 1
            && undelivered(&output).len() == 3
    });
    run.signal("KILL");
    assert_eq!(run.ends().code, KILLED);
    let receipt = json_of(&output.join("receipt.json"));
    assert_eq!(
        (&receipt["exit_code"], &receipt["event"]["id"]),
        (&Value::Null, &json!("acme-shop-8812"))
    );
    let states: Vec<(&Value, &Value, &Value)> = receipt["destinations"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|entry| (&entry["class"], &entry["under_way"], &entry["ambiguous"]))
        .collect();
    let [no, yes, sent, unavailable] = [&json!(false), &json!(true), &json!("sent"), &json!("unavailable")];
    assert_eq!(
        states,
        [
            (unavailable, yes, yes),
            (unavailable, yes, yes),
            // It waits behind the other.
            (unavailable, yes, no),
            (sent, no, no),
        ]
    );
    assert_eq!(undelivered(&output).len(), 3);
    assert_eq!(receipt["undelivered"].as_array().map(Vec::len), Some(3));
    let dotenv = fs::read_to_string(output.join("receipt.env")).expect("a file");
    assert!(
        dotenv.contains("NOTIFY_DIREKTIV_RESULT=sent") && !dotenv.contains("CTO"),
        "{dotenv}"
    );
    // A replay delivers what may be repeated, and asks for a decision about the rest.
    let path = output.join("undelivered");
    let replay = |path: &Path| {
        in_job(&["replay", path.to_str().expect("UTF-8")], &sandbox)
            .var("CI_JOB_NAME", "replay")
            .var("CI_JOB_ID", "995")
            .run()
    };
    replay(&path)
        .exits(75)
        .says("it may have been processed. A second time would count twice");
    assert_eq!(rely_entity(&sandbox)["properties"]["status"], "SUCCESS");
    let [left] = &undelivered(&output)[..] else {
        panic!("one is left")
    };
    replay(left).exits(0).says("1 sent");
    assert_eq!(cto_actions(&sandbox), ["success"]);
}

#[test]
fn a_mark_without_an_end_is_in_doubt_for_the_next_attempt_and_the_next_call() {
    for id in [OWN, OWN + 1] {
        let sandbox = Sandbox::start();
        let output = folder("kills-doubt").join("out");
        seed_only(&sandbox, &[running(OWN)]);
        sandbox.fail(Service::Cto, 1, Fault::Delay(Duration::from_mins(1)));
        let run = job(&["cto"], OWN, &sandbox, &output).start();
        wait_until("the event", || !cto_actions(&sandbox).is_empty());
        run.signal("KILL");
        run.ends();
        if id == OWN {
            // The same job goes on.
            seed_only(&sandbox, &[running(OWN)]);
        } else {
            seed_only(&sandbox, &[ended(OWN, &output), running(id)]);
        }
        let ran = job(&["cto"], id, &sandbox, &output).run();
        assert!(
            ran.stderr.contains("it can't be known whether it was processed"),
            "{id}: {}",
            ran.stderr
        );
    }
}

#[test]
fn forty_kills_lose_nothing_and_double_nothing_without_a_word() {
    const KILLS: u64 = 40;
    let (mut begun, mut marked, mut known, mut doubled, mut held) = (0, 0, 0, 0, 0);
    for kill in 0..KILLS {
        let sandbox = Sandbox::start();
        let output = folder("kills-loop").join("out");
        seed_only(&sandbox, &[running(OWN)]);
        for service in [Service::Cto, Service::Rely, Service::Direktiv] {
            sandbox.fail(service, 9, Fault::Delay(Duration::from_millis(20)));
        }
        let arguments = ["cto", "rely", "direktiv"];
        let run = job(&arguments, OWN, &sandbox, &output).start();
        std::thread::sleep(Duration::from_millis(kill * 3));
        run.signal("KILL");
        let first = run.ends();
        let is_there = output.join("receipt.json").exists();
        begun += u64::from(is_there);
        let mut was_sent = false;
        if is_there {
            let receipt = json_of(&output.join("receipt.json"));
            assert_eq!(receipt["job_id"], OWN.to_string());
            let entry = entry(&output, "cto");
            was_sent = entry["class"] == "sent";
            marked += u64::from(entry["under_way"] == true);
            known += u64::from(was_sent);
            for file in undelivered(&output) {
                assert_eq!(json_of(&file)["undelivered"], 1, "{}", file.display());
            }
            if first.code == 0 {
                assert_eq!(receipt["exit_code"], 0);
            }
        }
        let before = cto_actions(&sandbox).len();
        assert!(before > 0 || !was_sent, "what the receipt calls sent was sent");
        seed_only(&sandbox, &[ended(OWN, &output), running(OWN + 1)]);
        let again = job(&arguments, OWN + 1, &sandbox, &output).run();
        let after = cto_actions(&sandbox).len();
        doubled += u64::from(after > 1);
        assert!(
            after <= 1 || (!was_sent && again.stderr.contains("it can't be known")),
            "kill {kill}: {after} events, and no word: {}",
            again.stderr
        );
        // Where nobody sends what is in doubt, it is kept for who decides.
        let is_kept = undelivered(&output)
            .iter()
            .any(|file| json_of(file)["destination"] == "cto");
        assert!(
            after >= 1 || (again.code == 75 && is_kept),
            "kill {kill}: nothing has arrived: {}",
            again.stderr
        );
        held += u64::from(after == 0);
        assert_eq!(rely_entity(&sandbox)["properties"]["status"], "SUCCESS", "kill {kill}");
    }
    println!(
        "{KILLS} kills: {begun} left a receipt, {marked} with the event in doubt, {known} with it sent; then run again: \
         {doubled} doubled, each with its word, {held} kept for somebody to decide, none lost"
    );
}

#[test]
fn a_run_that_is_asked_to_end_lets_end_what_is_under_way_and_keeps_the_rest() {
    for (policy, code) in [("warn", 75), ("fail", 1), ("ignore", 0)] {
        let sandbox = Sandbox::start();
        let output = folder("kills-term").join("out");
        seed_only(&sandbox, &[running(OWN)]);
        for service in [Service::Cto, Service::Rely] {
            sandbox.fail(service, 1, Fault::Delay(Duration::from_secs(1)));
        }
        let run = job(&["cto", "rely", "rely:patch"], OWN, &sandbox, &output)
            .var("NOTIFY_ON_ERROR", policy)
            .start();
        wait_until("both requests", || {
            requests(&sandbox, Service::Cto) == 1 && requests(&sandbox, Service::Rely) == 1
        });
        run.signal("TERM");
        let ran = run
            .ends()
            .exits(code)
            .says("asked to end (SIGTERM): nothing more is sent; what is under way has 4 s")
            .says_of("cto", "sent")
            .says_of(
                "rely:patch",
                "unavailable (acme-shop-8812): the program was ended before it was sent",
            )
            .says_of("rely:patch", "kept for `notify-event replay` in")
            .ends_within(Duration::from_secs(5));
        let last = "notify-event: asked to end (SIGTERM): 2 sent, 1 unavailable; exit ";
        assert!(ran.last_line().starts_with(last), "{}", ran.stderr);
        let receipt = json_of(&output.join("receipt.json"));
        assert_eq!(receipt["exit_code"], code);
        assert_eq!(entry(&output, "cto")["class"], "sent");
        assert_eq!(receipt["destinations"][2]["ambiguous"], false, "it was not sent");
        assert_eq!(undelivered(&output).len(), 1);
        let path = output.join("undelivered");
        in_job(&["replay", path.to_str().expect("UTF-8")], &sandbox)
            .var("CI_JOB_NAME", "replay")
            .var("CI_JOB_ID", "995")
            .run()
            .exits(0);
        assert!(undelivered(&output).is_empty());
    }
}

#[test]
fn what_does_not_end_in_time_is_in_doubt() {
    for has_folder in [true, false] {
        let sandbox = Sandbox::start();
        let output = folder("kills-grace").join("out");
        seed_only(&sandbox, &[running(OWN)]);
        sandbox.fail(Service::Cto, 1, Fault::Hang);
        let mut run = job(&["cto", "direktiv"], OWN, &sandbox, &output);
        if !has_folder {
            run = run.without("NOTIFY_OUTPUT_DIR");
        }
        let run = run.start();
        wait_until("the request", || requests(&sandbox, Service::Cto) == 1);
        run.signal("TERM");
        let ran = run
            .ends()
            .exits(75)
            .says_of("cto", "unavailable: it was being sent when the program was ended")
            .takes_at_least(Duration::from_secs(3))
            .ends_within(Duration::from_secs(9));
        assert!(
            ran.last_line()
                .starts_with("notify-event: asked to end (SIGTERM): 1 sent, 1 unavailable; exit 75"),
            "{}",
            ran.stderr
        );
        assert_eq!(output.exists(), has_folder);
        if has_folder {
            let cto = entry(&output, "cto");
            assert_eq!((&cto["ambiguous"], &cto["under_way"]), (&json!(true), &json!(false)));
            assert_eq!(undelivered(&output).len(), 1);
        }
    }
}

#[test]
fn a_run_that_is_asked_to_end_while_it_asks_gitlab_sends_nothing_and_keeps_the_event() {
    let sandbox = Sandbox::start();
    let output = folder("kills-asking").join("out");
    sandbox.fail(Service::GitLab, 1, Fault::Hang);
    let run = job(&["cto", "rely"], OWN, &sandbox, &output).start();
    wait_until("the question", || requests(&sandbox, Service::GitLab) > 0);
    run.signal("TERM");
    run.ends()
        .exits(75)
        .says("asked to end (SIGTERM): 2 unavailable; exit 75")
        .ends_within(Duration::from_secs(4));
    assert_eq!(requests(&sandbox, Service::Cto) + requests(&sandbox, Service::Rely), 0);
    seed_only(&sandbox, &[running(995)]);
    let path = output.join("undelivered");
    in_job(&["replay", path.to_str().expect("UTF-8")], &sandbox)
        .var("CI_JOB_NAME", "replay")
        .var("CI_JOB_ID", "995")
        .run()
        .exits(0)
        .says("2 sent");
    assert_eq!(cto_actions(&sandbox), ["success"]);
}

#[test]
fn a_replay_that_is_asked_to_end_leaves_its_files_and_the_next_one_delivers_them() {
    let sandbox = Sandbox::start();
    let output = folder("kills-replay").join("out");
    seed_only(&sandbox, &[running(OWN)]);
    sandbox.fail(Service::Rely, 2, Fault::status(503));
    sandbox.fail(Service::Direktiv, 1, Fault::status(503));
    job(&["rely", "rely:patch", "direktiv"], OWN, &sandbox, &output)
        .run()
        .exits(75);
    assert_eq!(undelivered(&output).len(), 3);
    sandbox.fail(Service::Rely, 1, Fault::Delay(Duration::from_secs(1)));
    let path = output.join("undelivered");
    let replay = || {
        in_job(&["replay", path.to_str().expect("UTF-8")], &sandbox)
            .var("CI_JOB_NAME", "replay")
            .var("CI_JOB_ID", "995")
    };
    let asked = requests(&sandbox, Service::Rely);
    let run = replay().start();
    wait_until("the request", || requests(&sandbox, Service::Rely) > asked);
    run.signal("TERM");
    run.ends()
        .exits(75)
        .says("asked to end (SIGTERM): 2 sent, 1 unavailable");
    assert_eq!(undelivered(&output).len(), 1);
    // Or overtaken by the one before it, which has reached the same entity.
    replay().run().exits(0);
    assert!(undelivered(&output).is_empty());
}
