//! The program's command line, with stand-ins for notify-event that only succeed or fail.

use std::io::{BufRead, BufReader, Read};
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
fn a_wrong_command_line_is_refused_with_the_usage() {
    for wrong in [
        &["--bogus"][..],
        &["--listen"],
        &["--listen", "8080"],
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
