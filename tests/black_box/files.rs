//! Files that other jobs leave are not trusted: links, pipes and devices, another pipeline's or job's results, and
//! undelivered events that ask for what nobody here has asked for.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use sandbox::{Fault, Sandbox, Service};
use serde_json::{Value, json};

use crate::{
    gitlab::{in_job, seed_only, writes},
    support::{
        Run, folder, gitlab_file,
        held::{cto_actions, rely_entity},
        json_of, notify,
    },
};

const QUICKLY: Duration = Duration::from_secs(5);

fn pipe(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status().expect("there is a mkfifo");
    assert!(made.success());
}

/// A run in the folder `output`.
fn run_in(output: &Path, arguments: &[&str], sandbox: &Sandbox) -> Run {
    notify(arguments)
        .at(sandbox)
        .var("NOTIFY_ATTEMPTS", "1")
        .var("NOTIFY_OUTPUT_DIR", output)
}

/// The replay job of the same pipeline, in the same folder.
fn replay_in(output: &Path, sandbox: &Sandbox) -> Run {
    let path = output.join("undelivered");
    run_in(output, &["replay", path.to_str().expect("UTF-8")], sandbox)
        .var("CI_JOB_ID", "995")
        .var("CI_JOB_NAME", "replay")
}

fn undelivered(output: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(output.join("undelivered")) else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

/// A folder with an event for Rely that job 991 could not deliver.
fn with_undelivered(name: &str, sandbox: &Sandbox) -> PathBuf {
    let output = folder(name).join("out");
    sandbox.fail(Service::Rely, 1, Fault::status(503));
    run_in(&output, &["rely"], sandbox).run().exits(75);
    assert_eq!(undelivered(&output).len(), 1);
    output
}

/// Another undelivered file beside that one, with these members changed.
fn forge(output: &Path, name: &str, changes: &Value) -> PathBuf {
    let mut forged = json_of(&undelivered(output)[0]);
    for (key, value) in changes.as_object().expect("an object") {
        forged[key] = value.clone();
    }
    let path = output.join("undelivered").join(name);
    fs::write(&path, forged.to_string()).expect("a file");
    path
}

#[test]
fn links_in_the_output_folder_are_replaced_and_nothing_behind_them_changes() {
    let sandbox = Sandbox::start();
    let home = folder("files-home");
    let output = folder("files-links");
    let kept = output.join("undelivered");
    for name in ["receipt.json", "receipt.env", "undelivered"] {
        let target = home.join(name);
        if name == "undelivered" {
            fs::create_dir(&target).expect("a folder");
            symlink(&target, &kept).expect("a link");
        } else {
            fs::write(&target, "theirs").expect("a file");
            fs::set_permissions(&target, fs::Permissions::from_mode(0o600)).expect("a mode");
            symlink(&target, output.join(name)).expect("a link");
        }
    }
    sandbox.fail(Service::Cto, 1, Fault::status(403));
    run_in(&output, &["rely", "cto"], &sandbox).run().exits(76);
    for name in ["receipt.json", "receipt.env"] {
        let theirs = home.join(name);
        assert_eq!(fs::read_to_string(&theirs).expect("a file"), "theirs");
        let mode = fs::metadata(&theirs).expect("a file").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{name}");
        let ours = fs::symlink_metadata(output.join(name)).expect("a file");
        assert!(ours.is_file(), "{name}");
        assert_eq!(
            ours.permissions().mode() & 0o777,
            0o666,
            "later jobs may write it: {name}"
        );
    }
    assert_eq!(fs::read_dir(home.join("undelivered")).expect("a folder").count(), 0);
    assert_eq!(undelivered(&output).len(), 1);
    let beside: Vec<String> = fs::read_dir(&output)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .filter(|name| name.contains(".tmp"))
        .collect();
    assert!(beside.is_empty(), "{beside:?}");
}

#[test]
fn an_output_folder_that_is_a_link_is_refused() {
    let sandbox = Sandbox::start();
    let home = folder("files-home");
    let output = folder("files-link").join("out");
    symlink(&home, &output).expect("a link");
    run_in(&output, &["rely"], &sandbox)
        .run()
        .exits(78)
        .says("NOTIFY_OUTPUT_DIR is")
        .says("it is a link or a file");
    assert_eq!(fs::read_dir(&home).expect("a folder").count(), 0);
    assert!(writes(&sandbox).is_empty());
}

#[test]
fn pipes_and_devices_in_the_output_folder_hold_nothing_up() {
    let sandbox = Sandbox::start();
    let output = with_undelivered("files-pipes", &sandbox);
    fs::remove_file(output.join("receipt.env")).expect("a file");
    pipe(&output.join("receipt.env"));
    let kept = output.join("undelivered");
    pipe(&kept.join("0-pipe.json"));
    symlink("/dev/zero", kept.join("1-zero.json")).expect("a link");
    symlink(&undelivered(&output)[2], kept.join("2-link.json")).expect("a link");
    let big = fs::File::create(kept.join("3-big.json")).expect("a file");
    big.set_len(40 * 1024 * 1024 * 1024).expect("a file with a hole");
    // A hundred times its size in memory, if it were read.
    let many = format!(
        "{{\"undelivered\": 1, \"event\": [{}0]}}",
        "{\"\":0},".repeat(1_000_000)
    );
    fs::write(kept.join("4-many.json"), many).expect("a file");
    let ran = replay_in(&output, &sandbox).run().exits(78).ends_within(QUICKLY);
    for (name, why) in [
        ("4-many", "holds more than 200000 values"),
        ("0-pipe", "no regular file"),
        ("1-zero", "is a link"),
        ("2-link", "is a link"),
        ("3-big", "bigger than"),
    ] {
        let line = ran.stderr.lines().find(|line| line.contains(name));
        assert!(line.is_some_and(|line| line.contains(why)), "{name}: {}", ran.stderr);
    }
    assert_eq!(
        rely_entity(&sandbox)["properties"]["status"],
        "SUCCESS",
        "the rest is delivered"
    );
    // The receipt itself, at a run's start.
    for is_pipe in [true, false] {
        let output = folder("files-receipt");
        let receipt = output.join("receipt.json");
        if is_pipe {
            pipe(&receipt);
        } else {
            symlink("/dev/zero", &receipt).expect("a link");
        }
        run_in(&output, &["rely"], &sandbox).run().exits(0).ends_within(QUICKLY);
        assert_eq!(json_of(&receipt)["destinations"][0]["class"], "sent");
    }
    // A folder behind a link, named or found.
    let other = folder("files-other");
    symlink(&kept, other.join("undelivered")).expect("a link");
    for path in [other.join("undelivered"), other.clone()] {
        notify(&["replay", path.to_str().expect("UTF-8")])
            .at(&sandbox)
            .run()
            .exits(78)
            .says("is a link, and links are not followed here");
    }
}

#[test]
fn a_file_that_a_variable_names_may_be_a_link_but_no_pipe() {
    let sandbox = Sandbox::start();
    let folder = folder("files-named");
    let path = |name: &str| folder.join(name);
    // As Kubernetes mounts a secret: token -> ..data/token, ..data -> a folder with a time for a name.
    fs::create_dir(path("..2025")).expect("a folder");
    let token = sandbox
        .variables()
        .into_iter()
        .find(|(name, _)| name == "RELY_API_TOKEN");
    fs::write(path("..2025").join("token"), token.expect("a token").1).expect("a file");
    symlink("..2025", path("..data")).expect("a link");
    symlink("..data/token", path("token")).expect("a link");
    let run = |file: &Path| {
        notify(&["rely"])
            .at(&sandbox)
            .without("RELY_API_TOKEN")
            .var("RELY_API_TOKEN_FILE", file)
    };
    run(&path("token")).run().exits(0);
    pipe(&path("pipe"));
    symlink(path("pipe"), path("to-pipe")).expect("a link");
    symlink("/dev/zero", path("to-zero")).expect("a link");
    for file in [path("pipe"), path("to-pipe"), path("to-zero"), "/dev/zero".into()] {
        run(&file)
            .run()
            .exits(78)
            .says("RELY_API_TOKEN_FILE names the file")
            .says("is no regular file")
            .ends_within(QUICKLY);
        notify(&["rely"])
            .at(&sandbox)
            .var("NOTIFY_CA_FILE", &file)
            .run()
            .exits(78)
            .says("NOTIFY_CA_FILE")
            .says("is no regular file")
            .ends_within(QUICKLY);
    }
    let of_gitlab = gitlab_file(&folder, "RELY_RELATIONS", "");
    fs::remove_file(&of_gitlab).expect("a file");
    pipe(Path::new(&of_gitlab));
    notify(&["rely"])
        .at(&sandbox)
        .var("RELY_RELATIONS", &of_gitlab)
        .run()
        .exits(78)
        .says("is no regular file")
        .ends_within(QUICKLY);
}

#[test]
fn what_another_pipeline_left_is_cleared_before_anything_is_asked() {
    let sandbox = Sandbox::start();
    let output = with_undelivered("files-pipeline", &sandbox);
    run_in(&output, &["rely:get"], &sandbox).run();
    run_in(&output, &["rely"], &sandbox).run().exits(0);
    run_in(&output, &["rely:get"], &sandbox).run().exits(0);
    let answer = output.join("rely.json");
    assert!(answer.exists());
    // What is the user's own stays, also where a receipt lists it.
    fs::write(output.join("Makefile"), "all:").expect("a file");
    fs::write(output.join("undelivered/notes.json"), "{}").expect("a file");
    let mut receipt = json_of(&output.join("receipt.json"));
    receipt["files"] = json!(["rely.json", "Makefile", "../out/Makefile", "undelivered/notes.json"]);
    fs::write(output.join("receipt.json"), receipt.to_string()).expect("a file");
    // A GitLab that never answers keeps it busy, until it is killed.
    sandbox.fail(Service::GitLab, 9, Fault::Hang);
    let running = in_job(&["cto"], &sandbox)
        .var("NOTIFY_OUTPUT_DIR", &output)
        .var("CI_PIPELINE_ID", "9001")
        .var("CI_JOB_ID", "1200")
        .start();
    crate::support::wait_until("the question to GitLab", || {
        !sandbox.requests_to(Service::GitLab).is_empty()
    });
    running.signal("KILL");
    running.ends();
    let receipt = json_of(&output.join("receipt.json"));
    assert_eq!(
        (&receipt["pipeline_id"], &receipt["exit_code"], &receipt["destinations"]),
        (&json!("9001"), &Value::Null, &json!([])),
        "its own, which has not ended"
    );
    assert_eq!(fs::read_to_string(output.join("receipt.env")).expect("a file"), "");
    assert!(!answer.exists());
    assert_eq!(undelivered(&output), [output.join("undelivered/notes.json")]);
    assert!(output.join("Makefile").exists());
}

#[test]
fn the_replay_of_a_folder_sends_and_keeps_only_what_this_pipeline_left() {
    let sandbox = Sandbox::start();
    let output = with_undelivered("files-foreign", &sandbox);
    let ours = undelivered(&output)[0].clone();
    let foreign = [
        forge(&output, "a.json", &json!({"pipeline_id": "8811"})),
        forge(&output, "b.json", &json!({"project_id": "43"})),
        forge(
            &output,
            "c.json",
            &json!({"pipeline_id": null, "job_id": null, "project_id": null}),
        ),
    ];
    let sent = writes(&sandbox).len();
    let ran = replay_in(&output, &sandbox).run().exits(0).says("1 sent, 3 skipped");
    assert_eq!(
        ran.stderr
            .matches("it is of another pipeline; name the file itself")
            .count(),
        3
    );
    assert_eq!(writes(&sandbox).len(), sent + 1);
    assert!(!ours.exists());
    assert!(
        foreign.iter().all(|path| !path.exists()),
        "not uploaded as this job's: {}",
        ran.stderr
    );
    // A file that is named is sent, also from the folder that is cleared.
    sandbox.fail(Service::Cto, 1, Fault::status(403));
    run_in(&output, &["cto"], &sandbox).run().exits(76);
    let named = undelivered(&output)[0].clone();
    run_in(&output, &["replay", named.to_str().expect("UTF-8")], &sandbox)
        .var("CI_PIPELINE_ID", "9001")
        .var("CI_JOB_ID", "1200")
        .run()
        .exits(0)
        .says("1 sent");
    assert!(!named.exists());
}

#[test]
fn a_file_that_is_named_in_another_way_is_sent_once_and_not_cleared_before() {
    let sandbox = Sandbox::start();
    let output = folder("files-twice").join("out");
    sandbox.fail(Service::Cto, 2, Fault::status(403));
    run_in(&output, &["cto"], &sandbox).run().exits(76);
    let replay = || {
        let name = undelivered(&output)[0].file_name().expect("a name").to_owned();
        let named = format!("undelivered/{}", name.to_str().expect("UTF-8"));
        notify(&["replay", "undelivered", &named])
            .at(&sandbox)
            .within(&output)
            .var("NOTIFY_ATTEMPTS", "1")
            .var("NOTIFY_OUTPUT_DIR", &output)
            .var("CI_PIPELINE_ID", "9001")
            .var("CI_JOB_ID", "1200")
            .run()
    };
    replay().exits(76).says("1 rejected");
    assert_eq!(undelivered(&output).len(), 1, "it is not lost");
    replay().exits(0).says("1 sent");
    assert_eq!(cto_actions(&sandbox), ["success"]);
}

#[test]
fn outside_of_gitlab_a_folder_is_replayed_whole() {
    let sandbox = Sandbox::start();
    let output = with_undelivered("files-outside", &sandbox);
    forge(&output, "a.json", &json!({"pipeline_id": "8811", "job_id": "17"}));
    let mut run = replay_in(&output, &sandbox);
    for name in [
        "GITLAB_CI",
        "CI_PROJECT_ID",
        "CI_PIPELINE_ID",
        "CI_JOB_ID",
        "CI_JOB_NAME",
        "CI_SERVER_URL",
    ] {
        run = run.without(name);
    }
    // The second is overtaken by the first, of the same entity.
    run.run()
        .exits(0)
        .says("1 sent, 1 skipped")
        .hides("of another pipeline");
    assert!(undelivered(&output).is_empty());
}

#[test]
fn a_file_does_not_choose_what_a_replay_does() {
    // Each row: what the file asks for, what this job sends to, and what is said of the file.
    let no_receipt = "there is no receipt of job 991 that says that";
    let rows: &[(&str, &str, &str, &str)] = &[
        ("cto", "event", "", no_receipt),
        ("port", "delete", "", no_receipt),
        ("rely", "replace", "", no_receipt),
        (
            "cto",
            "event",
            "rely",
            "NOTIFY_DESTINATIONS of this job does not name cto",
        ),
        (
            "rely",
            "patch",
            "rely",
            "NOTIFY_DESTINATIONS of this job does not name rely:patch",
        ),
        (
            "port",
            "delete",
            "rely,port",
            "NOTIFY_DESTINATIONS of this job does not name port:delete",
        ),
        (
            "port",
            "delete",
            "rely,port:delete",
            "port:delete deletes or triggers something",
        ),
        (
            "aviator",
            "rollback",
            "rely,aviator:rollback",
            "aviator:rollback deletes or triggers something",
        ),
        (
            "direktiv",
            "execute",
            "rely,direktiv:execute",
            "direktiv:execute deletes or triggers something",
        ),
        (
            "port",
            "run-create",
            "rely,port:run-create",
            "port:run-create deletes or triggers something",
        ),
    ];
    for (destination, operation, named, why) in rows {
        let case = format!("{destination}:{operation}, {named}");
        let sandbox = Sandbox::start();
        let output = with_undelivered("files-choice", &sandbox);
        let forged = forge(
            &output,
            "forged.json",
            &json!({"destination": destination, "operation": operation, "named": true}),
        );
        let sent = writes(&sandbox).len();
        replay_in(&output, &sandbox)
            .var("NOTIFY_DESTINATIONS", named)
            .run()
            .exits(0)
            .says("1 sent, 1 skipped")
            .says(why);
        let after = writes(&sandbox);
        assert_eq!(after.len(), sent + 1, "{case}: {after:?}");
        assert_eq!(after[sent].service, Service::Rely, "{case}");
        assert!(forged.exists(), "{case}: somebody may name it");
    }
}

#[test]
fn a_receipt_of_another_job_or_pipeline_allows_nothing() {
    for changes in [
        json!({"job_id": "17"}),
        json!({"pipeline_id": "8811"}),
        json!({"project_id": "43"}),
    ] {
        let sandbox = Sandbox::start();
        let output = with_undelivered("files-receipts", &sandbox);
        let path = output.join("receipt.json");
        let mut receipt = json_of(&path);
        for (key, value) in changes.as_object().expect("an object") {
            receipt[key] = value.clone();
        }
        fs::write(&path, receipt.to_string()).expect("a file");
        replay_in(&output, &sandbox)
            .run()
            .exits(0)
            .says("1 skipped")
            .says("there is no receipt of job 991");
        assert_eq!(undelivered(&output).len(), 1);
    }
}

#[test]
fn where_several_jobs_artifacts_meet_gitlab_is_asked_for_the_receipts_that_are_covered() {
    for is_forged in [false, true] {
        let sandbox = Sandbox::start();
        let project = folder("files-several");
        let output = project.join("out");
        sandbox.fail(Service::Rely, 1, Fault::status(503));
        run_in(&output, &["rely"], &sandbox).run().exits(75);
        let mut receipt = json_of(&output.join("receipt.json"));
        if is_forged {
            // An archive may hold what another job left in the work tree.
            receipt["job_id"] = json!("17");
        }
        seed_only(
            &sandbox,
            &[json!({"id": 991, "name": "notify", "status": "failed", "artifacts": {"out/receipt.json": receipt}})],
        );
        // The artifacts of a job that sent everything, unpacked over it.
        let other = project.join("other");
        run_in(&other, &["cto"], &sandbox)
            .var("CI_JOB_ID", "992")
            .run()
            .exits(0);
        fs::rename(other.join("receipt.json"), output.join("receipt.json")).expect("a file");
        let mut run = replay_in(&output, &sandbox);
        for (name, value) in sandbox.gitlab_variables() {
            run = run.var(&name, value);
        }
        let run = run.var("CI_JOB_ID", "995").var("CI_PROJECT_DIR", &project);
        if is_forged {
            run.run().exits(0).says("there is no receipt of job 991");
        } else {
            run.run().exits(0).says("1 sent");
            assert_eq!(rely_entity(&sandbox)["properties"]["status"], "SUCCESS");
        }
    }
}

#[test]
fn what_the_receipt_says_was_sent_is_not_sent_for_a_file_that_a_kill_left() {
    let sandbox = Sandbox::start();
    let output = folder("files-left");
    sandbox.fail(Service::Cto, 1, Fault::status(403));
    run_in(&output, &["cto"], &sandbox).run().exits(76);
    // As if it had been killed between the receipt and the file's removal.
    let path = output.join("receipt.json");
    let mut receipt = json_of(&path);
    assert_eq!(receipt["undelivered"].as_array().map(Vec::len), Some(1));
    receipt["undelivered"] = json!([]);
    receipt["destinations"][0]["class"] = json!("sent");
    fs::write(&path, receipt.to_string()).expect("a file");
    replay_in(&output, &sandbox)
        .run()
        .exits(0)
        .says("the receipt of job 991 says that it was sent");
    assert!(cto_actions(&sandbox).is_empty());
    assert!(undelivered(&output).is_empty());
}
