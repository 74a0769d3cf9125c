//! The program's command line, with stand-ins for notify-event that only succeed or fail, and what it shows with the real
//! one.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

fn program(arguments: &[&str], binary: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_notify-event-sandbox"));
    command
        .args(arguments)
        .env("NOTIFY_EVENT_BIN", binary)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

#[test]
fn once_ends_as_notify_event_did() {
    let good = program(&["--once", "--listen", "127.0.0.1:0"], "/bin/true")
        .output()
        .unwrap();
    assert_eq!(good.status.code(), Some(0));
    let shown = String::from_utf8(good.stdout).unwrap();
    for service in sandbox::Service::DESTINATIONS {
        assert!(shown.contains(&format!("── {} now holds", service.name())), "{shown}");
    }
    let bad = program(&["--once", "--listen", "127.0.0.1:0", "--tls"], "/bin/false")
        .output()
        .unwrap();
    assert_eq!(bad.status.code(), Some(1));
    assert!(
        String::from_utf8(bad.stderr)
            .unwrap()
            .contains("notify-event failed in: release, deploy started")
    );
    let none = program(&["--once", "--listen", "127.0.0.1:0"], "/nowhere/notify-event")
        .output()
        .unwrap();
    assert_eq!(none.status.code(), Some(1));
}

#[test]
fn a_deployment_whose_runner_dies_is_put_right() {
    let own = Path::new(env!("CARGO_BIN_EXE_notify-event-sandbox"));
    let mut command = program(&["--once", "--listen", "127.0.0.1:0", "--tls"], "");
    // Built with this one where all of the workspace is tested; where only this is, the program has it built.
    match own.with_file_name("notify-event") {
        built if built.exists() => command.env("NOTIFY_EVENT_BIN", built),
        _ => command.env_remove("NOTIFY_EVENT_BIN"),
    };
    let ended = command.output().unwrap();
    let (shown, told) = (
        String::from_utf8(ended.stdout).unwrap(),
        String::from_utf8(ended.stderr).unwrap(),
    );
    assert_eq!(ended.status.code(), Some(0), "{shown}\n{told}");
    let states = shown.lines().filter(|line| line.contains(" shows "));
    let expected = [
        "Rely.io shows IN_PROGRESS, Port shows IN_PROGRESS",
        "Rely.io shows FAILED, Port shows FAILURE",
    ];
    assert_eq!(states.collect::<Vec<_>>(), expected, "{told}");
    assert!(told.contains("2 repaired"), "{told}");
}

#[test]
fn a_wrong_command_line_is_refused_with_the_usage() {
    for wrong in [
        &["--bogus"][..],
        &["--listen"],
        &["--listen", "8080"],
        &["--latency"],
        &["--latency", "soon"],
        &["--once", "--serve"],
    ] {
        let refused = program(wrong, "/bin/true").output().unwrap();
        assert_eq!(refused.status.code(), Some(2), "{wrong:?}");
        assert!(
            String::from_utf8(refused.stderr)
                .unwrap()
                .contains("usage: notify-event-sandbox")
        );
    }
    let help = program(&["--help"], "/bin/true").output().unwrap();
    assert!(help.status.success() && String::from_utf8(help.stdout).unwrap().starts_with("usage:"));
}

#[test]
fn a_taken_address_is_said_to_be_taken() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let taken = program(&["--serve", "--listen", &address], "/bin/true")
        .output()
        .unwrap();
    assert_eq!(taken.status.code(), Some(1));
    assert!(
        String::from_utf8(taken.stderr)
            .unwrap()
            .contains(&format!("{address} is taken"))
    );
}

/// A pipe whose reader is gone before anything is written: `notify-event-sandbox | head -0`.
fn unread() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[test]
fn a_demonstration_that_nobody_reads_ends_as_notify_event_did() {
    for (binary, code, complaint) in [
        ("/bin/true", 0, ""),
        ("/bin/false", 1, "notify-event failed in: release"),
    ] {
        let ended = program(&["--once", "--listen", "127.0.0.1:0"], binary)
            .stdout(unread())
            .output()
            .unwrap();
        let complaints = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(code), "{complaints}");
        assert!(
            complaints.contains(complaint) && !complaints.contains("panicked"),
            "{complaints}"
        );
    }
    // What notify-event itself prints is thrown away then.
    let printing = program(&["--once", "--listen", "127.0.0.1:0"], "/bin/echo")
        .stdout(unread())
        .output()
        .unwrap();
    let complaints = String::from_utf8(printing.stderr).unwrap();
    assert_eq!((printing.status.code(), complaints.as_str()), (Some(0), ""));
}

#[test]
fn a_server_whose_output_nobody_reads_goes_on_serving() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let mut serving = program(&["--serve", "--listen", &address], "/bin/false")
        .stdout(unread())
        .stderr(unread())
        .spawn()
        .unwrap();
    let health = format!("http://{address}/_sandbox/health");
    let answered = (0..500).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        ureq::get(&health).call().is_ok()
    });
    // By now all of the announcement has been written, or the program has ended over it.
    std::thread::sleep(std::time::Duration::from_millis(200));
    let ended = serving.try_wait().unwrap();
    serving.kill().unwrap();
    serving.wait().unwrap();
    assert!(answered);
    assert_eq!(ended, None);
}

#[test]
fn the_usage_names_every_service() {
    let help = program(&["--help"], "/bin/true").output().unwrap();
    let usage = String::from_utf8(help.stdout).unwrap();
    for service in sandbox::Service::ALL {
        assert!(usage.contains(service.title()), "{usage}");
    }
    let unread = program(&["--help"], "/bin/true").stdout(unread()).output().unwrap();
    assert_eq!((unread.status.code(), unread.stderr.len()), (Some(0), 0));
}

#[test]
fn serving_goes_on_until_it_is_told_to_stop() {
    for signal in ["INT", "TERM"] {
        // The demonstration would fail with this binary: it isn't run.
        let mut serving = program(&["--serve", "--listen", "127.0.0.1:0"], "/bin/false")
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(serving.stdout.take().unwrap()).lines();
        let first = lines.next().unwrap().unwrap();
        let url = first.strip_prefix("The sandbox serves on ").unwrap();
        let mut health = ureq::get(format!("{url}_sandbox/health")).call().unwrap();
        assert_eq!(health.body_mut().read_to_string().unwrap(), r#"{"ok":true}"#);
        assert!(lines.any(|line| line.unwrap().contains("Ctrl-C ends it")));
        let told = Command::new("kill")
            .args(["-s", signal, &serving.id().to_string()])
            .status()
            .unwrap();
        assert!(told.success());
        assert_eq!(serving.wait().unwrap().code(), Some(0), "{signal}");
        let mut complaints = String::new();
        serving.stderr.unwrap().read_to_string(&mut complaints).unwrap();
        assert_eq!(complaints, "");
    }
}
