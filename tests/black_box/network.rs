//! The way to the services: certificates, servers that are not there, plain http, proxies.

use std::net::TcpListener;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use sandbox::{Options, Sandbox, Service};

use crate::support::{Ran, Run, at_once, folder, gitlab_file, notify, operations::prepared, proxy::Proxy};

/// Every destination, with what the sandbox's stand-ins want of an event.
const DESTINATIONS: &[&str] = &["rely", "cto", "aviator:release"];

fn run(sandbox: &Sandbox, arguments: &[&str]) -> Run {
    notify(arguments)
        .at(sandbox)
        .var("AVIATOR_RELEASE_CANDIDATE", "1-rc1")
        .var("NOTIFY_ATTEMPTS", "1")
}

fn tls() -> (Sandbox, String) {
    let sandbox = Sandbox::start_with(Options {
        tls: true,
        ..Options::default()
    });
    let root = sandbox.ca_pem().expect("a sandbox behind TLS has a root");
    (sandbox, root)
}

// Certificates

#[test]
fn a_root_of_ones_own_is_given_in_any_form() {
    let (sandbox, root) = tls();
    let folder = folder("roots");
    let path = gitlab_file(&folder, "root.pem", &root);
    let path = path.as_str();
    let file_variable = gitlab_file(&folder, "NOTIFY_CA_FILE", &root);
    let crlf = root.replace('\n', "\r\n");
    let (_, another) = tls();
    let bundle = format!("# another first\n{another}\n{root}");
    for (form, name, value) in [
        ("a path", "NOTIFY_CA_FILE", path),
        ("the text", "NOTIFY_CA_FILE", &root),
        ("the text with the line ends of Windows", "NOTIFY_CA_FILE", &crlf),
        ("a bundle", "NOTIFY_CA_FILE", &bundle),
        ("a variable of the file type", "NOTIFY_CA_FILE", &file_variable),
        (
            "the text in base64",
            "NOTIFY_CA_FILE",
            &format!("@b64@{}", BASE64_STANDARD.encode(&root)),
        ),
        ("the name that curl uses", "SSL_CERT_FILE", path),
    ] {
        for destination in DESTINATIONS {
            sandbox.reset();
            let ran = run(&sandbox, &[destination]).var(name, value).run();
            assert_eq!(ran.code, 0, "{form}, {destination}: {}", ran.stderr);
        }
    }
}

#[test]
fn without_the_root_nothing_is_sent_and_the_variable_that_takes_it_is_named() {
    let (sandbox, _) = tls();
    for destination in DESTINATIONS {
        run(&sandbox, &[destination])
            .run()
            .exits(75)
            .says_of(destination, "is not trusted")
            .says_of(destination, "NOTIFY_CA_FILE");
    }
    let (_, of_another) = tls();
    run(&sandbox, &["rely"])
        .var("NOTIFY_CA_FILE", of_another)
        .run()
        .exits(75);
    assert_eq!(sandbox.requests().len(), 0);
}

#[test]
fn a_certificate_for_another_name_is_not_trusted() {
    let (sandbox, root) = tls();
    let elsewhere = sandbox.url(Service::Rely).replace("localhost", "other.localhost");
    let ran = run(&sandbox, &["rely"])
        .var("NOTIFY_CA_FILE", root)
        .var("RELY_API_URL", elsewhere)
        .run()
        .exits(75);
    assert_eq!(sandbox.requests().len(), 0, "{}", ran.stderr);
}

#[test]
fn roots_that_are_none_are_misconfigured() {
    let sandbox = Sandbox::start();
    let folder = folder("no-roots");
    let text = gitlab_file(&folder, "hello.txt", "hello");
    for (name, value, words) in [
        ("NOTIFY_CA_FILE", "/does/not/exist.pem", "readable file"),
        ("NOTIFY_CA_FILE", "certificates", "readable file"),
        ("NOTIFY_CA_FILE", text.as_str(), ""),
        ("NOTIFY_CA_FILE", "-----BEGIN NOTHING-----", "no certificate"),
        ("NOTIFY_CA_FILE", "$NOTIFY_CA_FILE", "undefined, or protected"),
        ("SSL_CERT_FILE", "/does/not/exist.pem", "readable file"),
    ] {
        run(&sandbox, DESTINATIONS)
            .var(name, value)
            .run()
            .exits(78)
            .says(name)
            .says(words);
        assert_eq!(sandbox.requests().len(), 0, "{name}={value}");
    }
}

// No server

/// An address at which nobody listens.
fn dead() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("a listener has an address");
    format!("http://{address}")
}

#[test]
fn a_dead_server_is_tried_again_and_then_unavailable() {
    let dead = dead();
    let host = dead.trim_start_matches("http://");
    at_once(
        [
            ("rely", "RELY_API_URL"),
            ("rely:create", "RELY_API_URL"),
            ("cto", "CTOAI_API_URL"),
            ("aviator:deployment", "AVIATOR_API_URL"),
            ("aviator:rollback", "AVIATOR_API_URL"),
        ],
        |(operation, variable)| {
            let sandbox = Sandbox::start();
            prepared(&sandbox, &[operation])
                .var(variable, &dead)
                .var("NOTIFY_ATTEMPTS", "2")
                .run()
                .exits(75)
                .says_of(operation, &format!("no connection to {host}"))
                .says_of(operation, "after 2 attempts");
        },
    );
}

#[test]
fn a_name_that_does_not_exist_is_unavailable_and_shown() {
    prepared(&Sandbox::start(), &["rely"])
        .var("RELY_API_URL", "https://rely.invalid")
        .var("NOTIFY_ATTEMPTS", "1")
        .run()
        .exits(75)
        .says_of("rely", "rely.invalid")
        .says_of("rely", "can't be resolved");
}

// Plain http

#[test]
fn plain_http_is_refused_off_loopback_before_anything_is_sent() {
    let sandbox = Sandbox::start();
    let proxy = Proxy::to(sandbox.address());
    for (destination, variable) in [
        ("rely", "RELY_API_URL"),
        ("cto", "CTOAI_API_URL"),
        ("aviator:release", "AVIATOR_API_URL"),
    ] {
        for host in [
            "service.invalid",
            "127.0.0.1.invalid",
            "localhost.invalid",
            "198.51.100.7",
            "[2001:db8::1]:8080",
            "0x7f.invalid",
        ] {
            run(&sandbox, &[destination])
                .var(variable, format!("http://{host}/x"))
                .var("http_proxy", proxy.url())
                .run()
                .exits(78)
                .says_of(destination, variable)
                .says_of(destination, "NOTIFY_ALLOW_HTTP");
        }
    }
    assert_eq!(proxy.heads().len(), 0);
    assert_eq!(sandbox.requests().len(), 0);
}

#[test]
fn plain_http_is_spoken_off_loopback_when_it_is_allowed() {
    let sandbox = Sandbox::start();
    let proxy = Proxy::to(sandbox.address());
    for allowed in ["true", "1", "YES", "on"] {
        run(&sandbox, &["rely"])
            .var("RELY_API_URL", "http://service.invalid/rely")
            .var("http_proxy", proxy.url())
            .var("NOTIFY_ALLOW_HTTP", allowed)
            .run()
            .exits(0);
    }
    assert_eq!(proxy.heads().len(), 4);
    assert_eq!(sandbox.requests_to(Service::Rely).len(), 4);
}

#[test]
fn plain_http_needs_no_leave_on_loopback() {
    let sandbox = Sandbox::start();
    let port = sandbox.address().port();
    for host in ["127.0.0.1", "localhost", "127.0.0.1."] {
        let ran = run(&sandbox, &["rely"])
            .var("RELY_API_URL", format!("http://{host}:{port}/rely/"))
            .run();
        assert_eq!(ran.code, 0, "{host}: {}", ran.stderr);
    }
    // The sandbox does not listen there: tried, and not reached.
    run(&sandbox, &["rely"])
        .var("RELY_API_URL", format!("http://[::1]:{port}/rely"))
        .run()
        .exits(75);
}

// Proxies

#[test]
fn a_proxy_is_used_for_what_its_variable_names() {
    let plain = Sandbox::start();
    let (secure, root) = tls();
    for (name, for_http, for_https) in [
        ("HTTP_PROXY", true, false),
        ("http_proxy", true, false),
        ("HTTPS_PROXY", false, true),
        ("https_proxy", false, true),
        ("ALL_PROXY", true, true),
        ("all_proxy", true, true),
    ] {
        for (sandbox, is_proxied) in [(&plain, for_http), (&secure, for_https)] {
            for without_scheme in [false, true] {
                let proxy = Proxy::to(sandbox.address());
                let address = if without_scheme { proxy.address() } else { proxy.url() };
                let ran = run(sandbox, &["rely"])
                    .var(name, address)
                    .var("NOTIFY_CA_FILE", &root)
                    .run()
                    .exits(0);
                let count = usize::from(is_proxied);
                assert_eq!(proxy.heads().len(), count, "{name} {}", ran.stderr);
            }
        }
    }
}

#[test]
fn https_goes_through_a_tunnel_and_the_proxy_sees_no_credential() {
    let (sandbox, root) = tls();
    let proxy = Proxy::to(sandbox.address());
    run(&sandbox, &["rely", "cto"])
        .var("HTTPS_PROXY", proxy.url())
        .var("NOTIFY_CA_FILE", root)
        .run()
        .exits(0);
    let heads = proxy.heads();
    assert_eq!(heads.len(), 2);
    for head in heads {
        assert!(head.starts_with("CONNECT localhost:"), "{head}");
        assert!(!head.contains("sandbox"), "{head}");
    }
}

#[test]
fn a_proxy_resolves_the_names() {
    let (sandbox, root) = tls();
    let port = sandbox.address().port();
    let proxy = Proxy::to(sandbox.address());
    // The certificate is not for that name, but the connection was made: no name was resolved here.
    run(&sandbox, &["rely"])
        .var("RELY_API_URL", format!("https://rely.invalid:{port}/rely"))
        .var("https_proxy", proxy.url())
        .var("NOTIFY_CA_FILE", root)
        .run()
        .exits(75)
        .says_of("rely", "is not trusted");
    assert!(proxy.heads()[0].starts_with(&format!("CONNECT rely.invalid:{port} ")));
}

#[test]
fn lower_case_wins_and_the_special_proxy_wins_over_the_general_one() {
    let sandbox = Sandbox::start();
    let wrong = || Proxy::to(sandbox.address());
    for (right, other) in [
        ("http_proxy", "HTTP_PROXY"),
        ("all_proxy", "ALL_PROXY"),
        ("http_proxy", "all_proxy"),
        ("HTTP_PROXY", "ALL_PROXY"),
    ] {
        let (used, unused) = (Proxy::to(sandbox.address()), wrong());
        run(&sandbox, &["rely"])
            .var(right, used.url())
            .var(other, unused.url())
            .run()
            .exits(0);
        assert_eq!(
            (used.heads().len(), unused.heads().len()),
            (1, 0),
            "{right} over {other}"
        );
    }
}

#[test]
fn hosts_in_no_proxy_are_reached_directly() {
    let sandbox = Sandbox::start();
    for name in ["NO_PROXY", "no_proxy"] {
        for (value, is_proxied) in [
            ("127.0.0.1", false),
            ("*", false),
            ("127.0.0.0/8", false),
            ("example.com,127.0.0.1", false),
            ("example.com, 127.0.0.1 ", false),
            ("example.com 127.0.0.1", false),
            (",", true),
            ("example.com", true),
            ("localhost", true),
            ("", true),
        ] {
            let proxy = Proxy::to(sandbox.address());
            run(&sandbox, &["rely"])
                .var("ALL_PROXY", proxy.url())
                .var(name, value)
                .run()
                .exits(0);
            assert_eq!(proxy.heads().len(), usize::from(is_proxied), "{name}={value}");
        }
    }
    // By the domain that a name belongs to.
    let port = sandbox.address().port();
    for (value, is_proxied) in [("localhost", false), (".localhost", false), ("ocalhost", true)] {
        let proxy = Proxy::to(sandbox.address());
        let ran = run(&sandbox, &["rely"])
            .var("RELY_API_URL", format!("http://localhost:{port}/rely"))
            .var("http_proxy", proxy.url())
            .var("no_proxy", value)
            .run()
            .exits(0);
        assert_eq!(
            proxy.heads().len(),
            usize::from(is_proxied),
            "no_proxy={value} {}",
            ran.stderr
        );
    }
}

#[test]
fn a_proxys_credentials_arrive_there_and_are_never_printed() {
    let sandbox = Sandbox::start();
    let proxy = Proxy::to(sandbox.address());
    let with = |host: &str| format!("http://runner:p%40ss%2Fw0rd-7@{host}");
    let basic = BASE64_STANDARD.encode("runner:p@ss/w0rd-7");
    let secrets = ["p%40ss%2Fw0rd-7", "p@ss/w0rd-7", basic.as_str()];
    let hides = |ran: Ran| secrets.iter().fold(ran, |ran, secret| ran.hides(secret));

    hides(
        run(&sandbox, &["rely"])
            .var("http_proxy", with(&proxy.address()))
            .var("NOTIFY_LOG", "debug")
            .run()
            .exits(0),
    );
    let head = proxy.heads().remove(0).to_lowercase();
    assert!(
        head.contains(&format!("proxy-authorization: basic {}", basic.to_lowercase())),
        "{head}"
    );

    // Nobody is there; an address that is none; what is explained; what is rendered as curl.
    let dead = dead();
    let dead = dead.trim_start_matches("http://");
    hides(
        run(&sandbox, &["rely"])
            .var("http_proxy", with(dead))
            .var("NOTIFY_LOG", "debug")
            .run()
            .exits(75),
    );
    hides(
        run(&sandbox, &["rely"])
            .var("https_proxy", with(dead).replace("http:", "gopher:"))
            .run()
            .exits(78)
            .says("https_proxy"),
    );
    hides(
        run(&sandbox, &["explain", "rely"])
            .var("ALL_PROXY", with(dead))
            .run()
            .exits(0),
    );
    hides(
        run(&sandbox, &["--dry-run", "rely"])
            .var("ALL_PROXY", with(dead))
            .run()
            .exits(0),
    );
}

#[test]
fn an_address_of_a_proxy_that_is_none_is_misconfigured_and_nothing_is_sent() {
    let sandbox = Sandbox::start();
    for (name, value) in [
        ("HTTPS_PROXY", "ftp://proxy.invalid"),
        ("HTTP_PROXY", "http://"),
        ("ALL_PROXY", "://proxy"),
        ("HTTPS_PROXY", "$CORPORATE_PROXY"),
    ] {
        run(&sandbox, DESTINATIONS).var(name, value).run().exits(78).says(name);
        assert_eq!(sandbox.requests().len(), 0, "{name}={value}");
    }
}

#[test]
fn a_proxy_that_refuses_is_unavailable() {
    // A service is no proxy: it answers CONNECT with an error.
    let (sandbox, _) = tls();
    let other = Sandbox::start();
    run(&sandbox, &["rely"])
        .var("HTTPS_PROXY", other.root_url())
        .run()
        .exits(75)
        .says_of("rely", "unavailable");
    assert_eq!(sandbox.requests().len(), 0);
}
