//! The way to the services: certificates, servers that are not there, plain http, proxies.

use std::{net::TcpListener, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use sandbox::{Certificate, Options, Sandbox, Service};

use crate::{
    gitlab,
    support::{Ran, Run, at_once, endless::Endless, folder, gitlab_file, notify, operations::prepared, proxy::Proxy},
};

/// Every destination, with what the sandbox's stand-ins want of an event.
const DESTINATIONS: &[&str] = &["rely", "cto", "aviator:release"];

fn run(sandbox: &Sandbox, arguments: &[&str]) -> Run {
    notify(arguments)
        .at(sandbox)
        .var("AVIATOR_RELEASE_CANDIDATE", "1-rc1")
        .var("NOTIFY_ATTEMPTS", "1")
}

/// A host that is not this machine, so that a proxy may be asked for it; only a proxy knows where it is.
const ELSEWHERE: &str = "service.invalid";

/// `rely` at another host, which the sandbox stands in for behind a proxy.
fn rely_at(sandbox: &Sandbox, address: &str) -> Run {
    run(sandbox, &["rely"])
        .var("RELY_API_URL", format!("{address}/rely"))
        .var("NOTIFY_ALLOW_HTTP", "true")
}

fn tls() -> (Sandbox, String) {
    let mut certificate = Certificate::default();
    certificate.names.push(ELSEWHERE.to_owned());
    tls_with(certificate)
}

fn tls_with(certificate: Certificate) -> (Sandbox, String) {
    let sandbox = Sandbox::start_with(Options {
        tls: true,
        certificate,
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
    for (destination, address) in [
        ("rely", "RELY_API_URL"),
        ("cto", "CTOAI_API_URL"),
        ("aviator:release", "AVIATOR_API_URL"),
    ] {
        run(&sandbox, &[destination])
            .run()
            .exits(78)
            .says_of(destination, "misconfigured")
            .says_of(destination, "is not trusted")
            .says_of(destination, address)
            .says_of(destination, "NOTIFY_CA_FILE");
    }
    let (_, of_another) = tls();
    run(&sandbox, &["rely"])
        .var("NOTIFY_CA_FILE", of_another)
        .run()
        .exits(78);
    assert_eq!(sandbox.requests().len(), 0);
}

#[test]
fn what_is_wrong_with_a_certificate_is_said_once_with_what_mends_just_that() {
    let ours = Certificate {
        names: vec![ELSEWHERE.to_owned()],
        ..Certificate::default()
    };
    let of_years = |begins, ends| Certificate {
        years: Some((begins, ends)),
        ..ours.clone()
    };
    let of_names = |names: &[&str]| Certificate {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        ..ours.clone()
    };
    let signing_itself = |certificate: Certificate| Certificate {
        signs_itself: true,
        ..certificate
    };
    let given_itself = |certificate: Certificate| Certificate {
        given_itself: true,
        ..certificate
    };
    let expired = "expired at 2021-01-01T00:00:00Z";
    let early = "valid from 2090-01-01T00:00:00Z on";
    let named = "for other.example.com, 10.0.0.1, not for service.invalid";
    let nameless = "for nobody (it has no subjectAltName), not for service.invalid";
    for (certificate, wrong, advice) in [
        (of_years(2020, 2021), expired, "Have it renewed there"),
        (of_years(2090, 2091), early, "this machine's clock is wrong"),
        (
            of_names(&["other.example.com", "10.0.0.1"]),
            named,
            "Correct RELY_API_URL",
        ),
        (of_names(&[]), nameless, "Correct RELY_API_URL"),
        // The same of one that signs itself, though it is given.
        (signing_itself(of_years(2020, 2021)), expired, "Have it renewed there"),
        (
            signing_itself(of_years(2090, 2091)),
            early,
            "this machine's clock is wrong",
        ),
        (
            signing_itself(of_names(&["other.example.com", "10.0.0.1"])),
            named,
            "Correct RELY_API_URL",
        ),
        (signing_itself(of_names(&[])), nameless, "Correct RELY_API_URL"),
        (given_itself(of_years(2020, 2021)), expired, "Have it renewed there"),
        (
            given_itself(of_years(2090, 2091)),
            early,
            "this machine's clock is wrong",
        ),
        (
            given_itself(of_names(&["other.example.com", "10.0.0.1"])),
            named,
            "Correct RELY_API_URL",
        ),
    ] {
        let shown = format!("{certificate:?}");
        let (sandbox, root) = tls_with(certificate);
        let proxy = Proxy::to(sandbox.address());
        rely_at(&sandbox, "https://service.invalid")
            .var("https_proxy", proxy.url())
            .var("NOTIFY_CA_FILE", root)
            .var("NOTIFY_ATTEMPTS", "5")
            .run()
            .exits(78)
            .says_of("rely", "misconfigured")
            .says_of("rely", "service.invalid:443 (RELY_API_URL) is not trusted")
            .says_of("rely", wrong)
            .says_of("rely", advice)
            .hides("NOTIFY_CA_FILE");
        assert_eq!(proxy.heads().len(), 1, "tried once: {shown}");
        assert_eq!(sandbox.requests().len(), 0, "{shown}");
    }
}

#[test]
fn a_certificate_that_signs_itself_is_trusted_where_that_very_certificate_is_given() {
    let signing_itself = || {
        tls_with(Certificate {
            signs_itself: true,
            ..Certificate::default()
        })
    };
    let (sandbox, own) = signing_itself();
    let (_, of_another) = signing_itself();
    let bundle = format!("{of_another}{own}");
    let path = gitlab_file(&folder("own"), "own.pem", &own);
    for (name, given) in [
        ("NOTIFY_CA_FILE", &own),
        ("NOTIFY_CA_FILE", &bundle),
        ("SSL_CERT_FILE", &path),
    ] {
        sandbox.reset();
        run(&sandbox, DESTINATIONS).var(name, given).run().exits(0);
    }
    sandbox.reset();
    for given in [None, Some(&of_another)] {
        let mut run = run(&sandbox, &["rely"]);
        if let Some(given) = given {
            run = run.var("NOTIFY_CA_FILE", given);
        }
        run.run()
            .exits(78)
            .says_of("rely", "signs itself")
            .says_of("rely", "give this very certificate in NOTIFY_CA_FILE");
    }
    // That one is for GitLab alone.
    run(&sandbox, &["rely"])
        .var("CI_SERVER_TLS_CA_FILE", &path)
        .run()
        .exits(78);
    assert_eq!(sandbox.requests().len(), 0);
}

#[test]
fn a_certificate_of_an_unknown_authority_is_trusted_where_that_very_certificate_is_given() {
    let given_itself = || {
        tls_with(Certificate {
            given_itself: true,
            ..Certificate::default()
        })
    };
    let (sandbox, own) = given_itself();
    let (_, of_another) = given_itself();
    run(&sandbox, DESTINATIONS)
        .var("NOTIFY_CA_FILE", format!("{of_another}{own}"))
        .run()
        .exits(0);
    sandbox.reset();
    run(&sandbox, &["rely"])
        .var("NOTIFY_CA_FILE", &of_another)
        .run()
        .exits(78)
        .says_of("rely", "signed by no root that is known here")
        .says_of("rely", "give its root in NOTIFY_CA_FILE, or the certificate itself");
    assert_eq!(sandbox.requests().len(), 0);
}

#[test]
fn a_certificate_that_has_its_name_in_the_subject_alone_is_trusted_where_it_is_given() {
    let of = |common_name: &str, signs_itself: bool| {
        tls_with(Certificate {
            names: Vec::new(),
            common_name: common_name.to_owned(),
            signs_itself,
            ..Certificate::default()
        })
    };
    for (common_name, signs_itself, code) in [
        ("localhost", true, 0),
        ("LocalHost", true, 0),
        ("localhost.example.com", true, 78),
        ("*", true, 78),
        // It is the root that is given here: what has to be trusted for others' sake needs names.
        ("localhost", false, 78),
    ] {
        let (sandbox, given) = of(common_name, signs_itself);
        let ran = run(&sandbox, &["rely"]).var("NOTIFY_CA_FILE", given).run();
        assert_eq!(ran.code, code, "{common_name}, {signs_itself}: {}", ran.stderr);
    }
}

#[test]
fn gitlabs_own_certificate_is_trusted_for_gitlab() {
    for signs_itself in [false, true] {
        let (of_gitlab, root) = tls_with(Certificate {
            signs_itself,
            ..Certificate::default()
        });
        let services = Sandbox::start();
        gitlab::seed(&of_gitlab, gitlab::jobs("deploy failed"));
        let path = gitlab_file(&folder("of-gitlab"), "CI_SERVER_TLS_CA_FILE", &root);
        gitlab::in_job(&["rely"], &of_gitlab)
            .at(&services)
            .var("CI_SERVER_TLS_CA_FILE", path)
            .run()
            .exits(0);
        assert!(!of_gitlab.requests_to(Service::GitLab).is_empty());
        assert_eq!(services.requests_to(Service::Rely).len(), 1);
        gitlab::in_job(&["rely"], &of_gitlab)
            .at(&services)
            .run()
            .exits(78)
            .says("(CI_API_V4_URL) is not trusted");
    }
}

#[test]
fn https_at_a_port_for_http_is_said_so() {
    let sandbox = Sandbox::start();
    let port = sandbox.address().port();
    run(&sandbox, &["rely"])
        .var("RELY_API_URL", format!("https://localhost:{port}/rely"))
        .var("NOTIFY_ATTEMPTS", "5")
        .run()
        .exits(78)
        .says_of("rely", "misconfigured")
        .says_of("rely", &format!("localhost:{port} (RELY_API_URL) does not speak TLS"))
        .says_of("rely", "http://")
        .hides("corrupt message");
}

#[test]
fn http_at_a_port_for_tls_is_said_so() {
    let (sandbox, _) = tls();
    let of = |body: &'static str| Proxy::answering(body).address();
    for server in [
        sandbox.address().to_string(),
        of("\x15\x03\x01\x00\x02\x02\x46"),
        of("HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"),
        of(
            "HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n<html>\r\n<head><title>400 The plain HTTP request \
            was sent to HTTPS port</title></head>",
        ),
    ] {
        run(&sandbox, &["rely"])
            .var("RELY_API_URL", format!("http://{server}/rely"))
            .var("NOTIFY_ATTEMPTS", "5")
            .run()
            .exits(78)
            .says_of("rely", "misconfigured")
            .says_of(
                "rely",
                &format!("{server} (RELY_API_URL) does not speak plain http at that port"),
            )
            .says_of("rely", "https://");
    }
    // A proxy for TLS that is asked in the clear.
    let proxy = sandbox.address();
    rely_at(&sandbox, &format!("http://{ELSEWHERE}"))
        .var("http_proxy", format!("http://{proxy}"))
        .run()
        .exits(78)
        .says_of(
            "rely",
            &format!("the proxy {proxy} (http_proxy) does not speak plain http"),
        );
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

#[test]
fn a_search_that_never_ends_is_ended() {
    let search = |service: &Endless, timeout: &str| {
        run(&Sandbox::start(), &["port:search"])
            .var("PORT_API_URL", service.url())
            .var("PORT_BLUEPRINT", "service")
            .var("PORT_QUERY", r#"{"combinator":"and","rules":[]}"#)
            .var("NOTIFY_TIMEOUT", timeout)
            .run()
    };
    search(&Endless::with_pause(Duration::ZERO), "60")
        .exits(76)
        .says_of("port:search", "more than the 1000 pages that are read");
    search(&Endless::with_pause(Duration::from_millis(50)), "1")
        .exits(75)
        .says_of("port:search", "the 1 s of NOTIFY_TIMEOUT are over")
        .ends_within(Duration::from_secs(5));
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
            "x.localhost",
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
fn this_machine_is_reached_without_a_proxy() {
    let plain = Sandbox::start();
    let (secure, root) = tls();
    let proxy = Proxy::to(plain.address());
    for (sandbox, scheme, host) in [
        (&plain, "http", "127.0.0.1"),
        (&plain, "http", "localhost"),
        (&plain, "http", "LOCALHOST"),
        (&secure, "https", "127.0.0.1"),
        (&secure, "https", "localhost"),
    ] {
        for name in ["http_proxy", "HTTPS_PROXY", "all_proxy"] {
            let ran = run(sandbox, &["rely"])
                .var(
                    "RELY_API_URL",
                    format!("{scheme}://{host}:{}/rely", sandbox.address().port()),
                )
                .var("NOTIFY_CA_FILE", &root)
                .var(name, proxy.url())
                .run();
            assert_eq!(ran.code, 0, "{scheme}://{host}, {name}: {}", ran.stderr);
        }
    }
    assert_eq!(proxy.heads().len(), 0);
}

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
        for (sandbox, scheme, is_proxied) in [(&plain, "http", for_http), (&secure, "https", for_https)] {
            for without_scheme in [false, true] {
                let proxy = Proxy::to(sandbox.address());
                let address = if without_scheme { proxy.address() } else { proxy.url() };
                let ran = rely_at(sandbox, &format!("{scheme}://{ELSEWHERE}"))
                    .var(name, address)
                    .var("NOTIFY_CA_FILE", &root)
                    .run();
                // Without the proxy nobody knows where that is.
                assert_eq!(ran.code, if is_proxied { 0 } else { 75 }, "{name} {}", ran.stderr);
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
        .var("RELY_API_URL", format!("https://{ELSEWHERE}/rely"))
        .var("CTOAI_API_URL", format!("https://{ELSEWHERE}/cto"))
        .var("HTTPS_PROXY", proxy.url())
        .var("NOTIFY_CA_FILE", root)
        .run()
        .exits(0);
    let heads = proxy.heads();
    assert_eq!(heads.len(), 2);
    for head in heads {
        assert!(head.starts_with(&format!("CONNECT {ELSEWHERE}:443 ")), "{head}");
        assert!(!head.contains("sandbox"), "{head}");
    }
}

#[test]
fn lower_case_wins_and_the_special_proxy_wins_over_the_general_one() {
    let sandbox = Sandbox::start();
    for (right, other) in [
        ("http_proxy", "HTTP_PROXY"),
        ("all_proxy", "ALL_PROXY"),
        ("http_proxy", "all_proxy"),
        ("HTTP_PROXY", "ALL_PROXY"),
    ] {
        let (used, unused) = (Proxy::to(sandbox.address()), Proxy::to(sandbox.address()));
        rely_at(&sandbox, &format!("http://{ELSEWHERE}"))
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
    let port = sandbox.address().port();
    // An address that leads to this machine, and is not loopback.
    let address = format!("http://0.0.0.0:{port}");
    for name in ["NO_PROXY", "no_proxy"] {
        for (value, is_proxied) in [
            ("0.0.0.0", false),
            ("*", false),
            ("0.0.0.0/8", false),
            ("example.com,0.0.0.0", false),
            ("example.com, 0.0.0.0 ", false),
            ("example.com 0.0.0.0", false),
            (",", true),
            ("example.com", true),
            ("localhost", true),
            ("", true),
        ] {
            let proxy = Proxy::to(sandbox.address());
            rely_at(&sandbox, &address)
                .var("ALL_PROXY", proxy.url())
                .var(name, value)
                .run()
                .exits(0);
            assert_eq!(proxy.heads().len(), usize::from(is_proxied), "{name}={value}");
        }
    }
    // By the domain that a name belongs to.
    for (value, is_proxied) in [
        ("service.invalid", false),
        (".invalid", false),
        ("ervice.invalid", true),
    ] {
        let proxy = Proxy::to(sandbox.address());
        let ran = rely_at(&sandbox, "http://service.invalid")
            .var("http_proxy", proxy.url())
            .var("no_proxy", value)
            .run();
        assert_eq!(
            (ran.code, proxy.heads().len()),
            if is_proxied { (0, 1) } else { (75, 0) },
            "no_proxy={value} {}",
            ran.stderr
        );
    }
}

#[test]
fn a_proxys_credentials_arrive_there_and_are_never_printed() {
    let sandbox = Sandbox::start();
    let proxy = Proxy::to(sandbox.address());
    let elsewhere = format!("http://{ELSEWHERE}");
    let with = |host: &str| format!("http://runner:p%40ss%2Fw0rd-7@{host}");
    let basic = BASE64_STANDARD.encode("runner:p@ss/w0rd-7");
    let secrets = ["p%40ss%2Fw0rd-7", "p@ss/w0rd-7", basic.as_str()];
    let hides = |ran: Ran| secrets.iter().fold(ran, |ran, secret| ran.hides(secret));

    hides(
        rely_at(&sandbox, &elsewhere)
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

    // Nobody is there; they are not accepted; an address that is none; what is explained; what is rendered as curl.
    let dead = dead();
    let dead = dead.trim_start_matches("http://");
    hides(
        rely_at(&sandbox, &elsewhere)
            .var("http_proxy", with(dead))
            .var("NOTIFY_LOG", "debug")
            .run()
            .exits(75)
            .says_of("rely", &format!("no connection to the proxy {dead} (http_proxy)")),
    );
    hides(
        rely_at(&sandbox, &elsewhere)
            .var("http_proxy", with(dead).trim_start_matches("http://"))
            .var("NOTIFY_LOG", "debug")
            .run()
            .exits(75)
            .says_of("rely", &format!("no connection to the proxy {dead} (http_proxy)")),
    );
    let strict = Proxy::answering(NO_CREDENTIALS);
    for scheme in ["http", "https"] {
        hides(
            rely_at(&sandbox, &format!("{scheme}://{ELSEWHERE}"))
                .var("all_proxy", with(&strict.address()))
                .var("NOTIFY_LOG", "debug")
                .run()
                .exits(78)
                .says_of("rely", "does not accept the user name and password in all_proxy"),
        );
    }
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

const NO_CREDENTIALS: &str = "HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n";

#[test]
fn a_proxy_that_is_not_there_is_named_and_not_the_service() {
    let sandbox = Sandbox::start();
    let dead = dead();
    let dead = dead.trim_start_matches("http://");
    for (scheme, variable, proxy, said) in [
        ("http", "http_proxy", format!("http://{dead}"), dead),
        ("https", "HTTPS_PROXY", format!("http://{dead}"), dead),
        ("https", "https_proxy", format!("https://{dead}"), dead),
        ("http", "all_proxy", format!("socks5h://{dead}"), dead),
        ("https", "ALL_PROXY", format!("socks4a://{dead}"), dead),
        (
            "http",
            "http_proxy",
            "http://proxy.invalid:3128".to_owned(),
            "proxy.invalid:3128",
        ),
        (
            "https",
            "all_proxy",
            "http://proxy.invalid:3128".to_owned(),
            "proxy.invalid:3128",
        ),
        // Without its scheme an address is no secret either.
        ("http", "http_proxy", dead.to_owned(), dead),
        (
            "https",
            "HTTPS_PROXY",
            "proxy.invalid:3128".to_owned(),
            "proxy.invalid:3128",
        ),
        (
            "https",
            "all_proxy",
            "socks5h://proxy.invalid".to_owned(),
            "proxy.invalid:1080",
        ),
    ] {
        let ran = rely_at(&sandbox, &format!("{scheme}://{ELSEWHERE}"))
            .var(variable, &proxy)
            .run();
        let shown = format!("the proxy {said} ({variable})");
        assert!(
            ran.code == 75 && ran.stderr.contains(&shown) && !ran.stderr.contains(ELSEWHERE),
            "{scheme} through {variable}={proxy}: {} {}",
            ran.code,
            ran.stderr
        );
    }
}

#[test]
fn a_name_that_is_looked_up_here_for_a_proxy_is_the_services() {
    rely_at(&Sandbox::start(), &format!("https://{ELSEWHERE}"))
        .var(
            "all_proxy",
            format!("socks5://{}", dead().trim_start_matches("http://")),
        )
        .run()
        .exits(75)
        .says_of("rely", &format!("the name {ELSEWHERE} can't be resolved"));
}

#[test]
fn a_gateways_error_behind_a_proxy_names_the_proxy_too() {
    let sandbox = Sandbox::start();
    for (status, head, code) in [
        (503, "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n", 75),
        (403, "HTTP/1.1 403 Forbidden\r\ncontent-length: 6\r\n\r\n<html>", 76),
    ] {
        let answering = Proxy::answering(head);
        let named = format!(
            "(it came through the proxy {} (http_proxy), which may have said that itself)",
            answering.address()
        );
        rely_at(&sandbox, &format!("http://{ELSEWHERE}"))
            .var("http_proxy", answering.url())
            .run()
            .exits(code)
            .says_of("rely", &format!("answered {status}"))
            .says_of("rely", &named);
        run(&sandbox, &["rely"])
            .var("RELY_API_URL", answering.url())
            .run()
            .exits(code)
            .hides("proxy ");
    }
}

#[test]
fn a_proxy_that_is_set_wrong_is_named_at_once() {
    let sandbox = Sandbox::start();
    for (scheme, variable) in [("http", "http_proxy"), ("https", "HTTPS_PROXY")] {
        let proxy = Proxy::answering(NO_CREDENTIALS);
        rely_at(&sandbox, &format!("{scheme}://{ELSEWHERE}"))
            .var(variable, proxy.url())
            .var("NOTIFY_ATTEMPTS", "5")
            .run()
            .exits(78)
            .says_of("rely", "misconfigured")
            .says_of(
                "rely",
                &format!("the proxy {} ({variable}) wants a user name", proxy.address()),
            )
            .says_of("rely", &format!("give them in {variable}"));
        assert_eq!(proxy.heads().len(), 1);
    }
    // One whose own certificate is not trusted.
    let (proxy, _) = tls();
    let shown = format!("the proxy {} (https_proxy) is not trusted", proxy.address());
    rely_at(&sandbox, &format!("https://{ELSEWHERE}"))
        .var("https_proxy", format!("https://{}", proxy.address()))
        .run()
        .exits(78)
        .says_of("rely", &shown)
        .says_of("rely", "NOTIFY_CA_FILE");
    // A service that says so itself is no proxy.
    let service = Proxy::answering(NO_CREDENTIALS);
    run(&sandbox, &["rely"])
        .var("RELY_API_URL", service.url())
        .run()
        .exits(76)
        .says_of("rely", "answered 407")
        .hides("proxy ");
}

#[test]
fn a_proxy_that_refuses_is_named_and_unavailable() {
    // A service is no proxy: it answers CONNECT with an error.
    let (sandbox, _) = tls();
    let other = Sandbox::start();
    let shown = format!("the proxy {} (HTTPS_PROXY)", other.address());
    rely_at(&sandbox, &format!("https://{ELSEWHERE}"))
        .var("HTTPS_PROXY", other.root_url())
        .run()
        .exits(75)
        .says_of("rely", "unavailable")
        .says_of("rely", &format!("{shown} refuses to lead to {ELSEWHERE}:443"));
    // One that hangs up instead of answering.
    let rude = Proxy::answering("");
    let shown = format!("the proxy {} (all_proxy)", rude.address());
    for scheme in ["http", "https"] {
        rely_at(&sandbox, &format!("{scheme}://{ELSEWHERE}"))
            .var("all_proxy", rude.url())
            .run()
            .exits(75)
            .says_of("rely", &shown);
    }
    assert_eq!(sandbox.requests().len(), 0);
}
