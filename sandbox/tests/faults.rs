//! What the sandbox does around the services: faults, the journal, its own routes, TLS.

mod common;

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use common::{Client, aviator, cto, port, port_stranger, rely, variable};
use sandbox::{Fault, Options, Sandbox, Service};
use serde_json::{Value, json};

fn event(sandbox: &Sandbox) -> Value {
    json!({"team_id": variable(sandbox, "CTOAI_TEAM_ID"), "event_name": "deployment", "event_action": "success",
        "repo": "acme/shop", "branch": null, "commit": null, "environment": null, "image": null, "meta": {"user": "dana"}})
}

fn held(sandbox: &Sandbox) -> usize {
    sandbox.state(Service::Cto)["events"].as_array().unwrap().len()
}

/// How a connection ended that brought no reply.
fn end(sandbox: &Sandbox) -> String {
    match cto(sandbox).try_send("POST", "/", event(sandbox).to_string().as_bytes()) {
        Ok(reply) => panic!("answered {}", reply.status),
        Err(ureq::Error::Io(error)) => format!("{:?}", error.kind()),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_status_comes_as_often_as_asked_and_processes_nothing() {
    let sandbox = Sandbox::start();
    sandbox.fail(Service::Cto, 2, Fault::status_with(429, "retry-after", "1"));
    for _ in 0..2 {
        let reply = cto(&sandbox).post("/", &event(&sandbox));
        assert_eq!((reply.status, reply.header("retry-after")), (429, "1"));
    }
    assert_eq!(held(&sandbox), 0);
    assert_eq!(cto(&sandbox).post("/", &event(&sandbox)).status, 200);
    let statuses = sandbox
        .requests_to(Service::Cto)
        .iter()
        .map(|request| request.status)
        .collect::<Vec<_>>();
    assert_eq!(statuses, [Some(429), Some(429), Some(200)]);
}

#[test]
fn a_fault_can_be_for_some_requests_only() {
    let sandbox = Sandbox::start();
    sandbox.fail_on(Service::Port, "POST /v1/blueprints", 1, Fault::status(503));
    let port = port(&sandbox);
    assert_eq!(port.get("/v1/blueprints/deployment/entities").status, 200);
    let path = "/v1/blueprints/deployment/entities?upsert=true";
    assert_eq!(port.post(path, &json!({})).status, 503);
    assert_eq!(port.post(path, &json!({})).status, 201);
    sandbox.fail_on(Service::Port, "validation_only", 1, Fault::status(500));
    assert_eq!(port.post(path, &json!({})).status, 201);
    assert_eq!(
        port.post(&format!("{path}&validation_only=true"), &json!({})).status,
        500
    );
}

#[test]
fn a_reset_processes_nothing_and_the_ambiguous_one_does() {
    let sandbox = Sandbox::start();
    sandbox.fail(Service::Cto, 1, Fault::Reset);
    assert_eq!(end(&sandbox), "ConnectionReset");
    assert_eq!(held(&sandbox), 0);
    sandbox.fail(Service::Cto, 1, Fault::ProcessThenReset);
    assert_eq!(end(&sandbox), "ConnectionReset");
    assert_eq!(held(&sandbox), 1);
    let requests = sandbox.requests_to(Service::Cto);
    assert_eq!(
        (requests.len(), requests[0].status, requests[1].status),
        (2, None, None)
    );
}

#[test]
fn what_is_processed_can_be_answered_as_if_it_were_not() {
    let sandbox = Sandbox::start();
    let bad_gateway = Fault::ProcessThen(Box::new(Fault::status(502)));
    sandbox.fail(Service::Cto, 1, bad_gateway);
    assert_eq!(cto(&sandbox).post("/", &event(&sandbox)).status, 502);
    assert_eq!(held(&sandbox), 1);
}

#[test]
fn a_reply_can_end_too_early() {
    let sandbox = Sandbox::start();
    sandbox.fail(Service::Cto, 1, Fault::Truncate);
    let mut stream = std::net::TcpStream::connect(sandbox.address()).unwrap();
    let body = event(&sandbox).to_string();
    let token = variable(&sandbox, "CTOAI_EVENTS_API_TOKEN");
    write!(
        stream,
        "POST /cto/ HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\nx-ops-mechanism: gitlab-job\r\n\
        content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).ok();
    let reply = String::from_utf8(reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    // In the order that serde_json has in this build: other packages of the workspace can turn on another.
    let whole = json!({"message": "event written", "data": {}}).to_string();
    assert!(
        head.contains(&format!("content-length: {}", whole.len() + 16)),
        "{head}"
    );
    assert_eq!(body, &whole[..whole.len() / 2]);
    assert_eq!(held(&sandbox), 1);
}

#[test]
fn a_late_reply_is_of_a_request_that_was_processed_at_once() {
    let sandbox = Sandbox::start();
    sandbox.fail(Service::Cto, 1, Fault::Delay(Duration::from_millis(200)));
    let before = Instant::now();
    std::thread::scope(|scope| {
        let late = scope.spawn(|| cto(&sandbox).post("/", &event(&sandbox)).status);
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(held(&sandbox), 1);
        assert_eq!(late.join().unwrap(), 200);
    });
    assert!(before.elapsed() >= Duration::from_millis(200));
}

#[test]
fn replies_can_be_anything_but_the_vendors() {
    let sandbox = Sandbox::start();
    sandbox.fail(Service::Rely, 1, Fault::Oversize(20_000_000));
    assert_eq!(rely(&sandbox).get("/api/v1/entities").text.len(), 20_000_000);
    sandbox.fail(Service::Rely, 1, Fault::Html);
    let page = rely(&sandbox).get("/api/v1/entities");
    assert_eq!(
        (page.status, page.header("content-type")),
        (200, "text/html; charset=utf-8")
    );
    sandbox.fail(Service::Rely, 1, Fault::NotJson);
    let broken = rely(&sandbox).get("/api/v1/entities");
    assert_eq!(
        (broken.status, broken.header("content-type")),
        (200, "application/json")
    );
    assert!(serde_json::from_str::<Value>(&broken.text).is_err());
    sandbox.fail(Service::Rely, 1, Fault::Redirect("http://127.0.0.1:1/elsewhere".into()));
    let redirect = rely(&sandbox).get("/api/v1/entities");
    assert_eq!(
        (redirect.status, redirect.header("location")),
        (307, "http://127.0.0.1:1/elsewhere")
    );
}

#[test]
fn an_echo_holds_the_secrets_in_the_vendors_envelope() {
    let sandbox = Sandbox::start();
    for service in Service::ALL {
        sandbox.fail(service, 1, Fault::EchoSecrets);
        let client = Client::new(
            &sandbox,
            service,
            &[("authorization", "Bearer s3cret"), ("direktiv-token", "t0ken")],
        );
        let echo = client.post("/", &json!({"clientSecret": "b0dy"}));
        assert_eq!(echo.status, 400);
        let body = echo.json();
        let message = ["/detail", "/message", "/error/message", "/error"]
            .into_iter()
            .find_map(|pointer| {
                body.pointer(pointer)
                    .and_then(Value::as_str)
                    .filter(|text| text.len() > 20)
            })
            .unwrap_or_else(|| panic!("{body}"));
        for secret in ["s3cret", "t0ken", "b0dy"] {
            assert!(message.contains(secret), "{message}");
        }
    }
}

#[test]
fn a_hang_ends_with_the_client() {
    let sandbox = Sandbox::start();
    sandbox.fail(Service::Aviator, 1, Fault::Hang);
    let mut stream = std::net::TcpStream::connect(sandbox.address()).unwrap();
    stream
        .write_all(b"GET /aviator/api/releases HTTP/1.1\r\nhost: x\r\n\r\n")
        .unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(stream.read(&mut [0; 1]).is_err());
    drop(stream);
    assert_eq!(
        aviator(&sandbox).get("/api/releases").status,
        404,
        "the next request is answered"
    );
    assert_eq!(sandbox.requests()[0].status, None);
}

#[test]
fn sandboxes_are_apart_and_stop_when_dropped() {
    let (first, second) = (Sandbox::start(), Sandbox::start());
    assert_eq!(cto(&first).post("/", &event(&first)).status, 200);
    assert_eq!((held(&first), held(&second)), (1, 0));
    let address = first.address();
    drop(first);
    assert!(std::net::TcpStream::connect(address).is_err());
    assert_eq!(cto(&second).post("/", &event(&second)).status, 200);
}

#[test]
fn a_taken_address_is_an_error() {
    let sandbox = Sandbox::start();
    let options = Options {
        listen: sandbox.address(),
        ..Options::default()
    };
    let taken = Sandbox::try_start(options).err().expect("the address is taken");
    assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);
}

#[test]
fn the_journal_keeps_what_came() {
    let sandbox = Sandbox::start();
    let path = "/v1/blueprints/deployment/entities/acme%2Fshop?include=a%20b";
    port_stranger(&sandbox).with("x-mine", Some("Ä")).get(path);
    let request = &sandbox.requests()[0];
    assert_eq!((request.service, request.method.as_str()), (Service::Port, "GET"));
    assert_eq!(request.path, "/v1/blueprints/deployment/entities/acme%2Fshop");
    assert_eq!(
        (request.query.as_str(), request.header("x-mine"), request.status),
        ("include=a%20b", Some("Ä"), Some(401))
    );
    cto(&sandbox).post("", &event(&sandbox));
    let request = &sandbox.requests_to(Service::Cto)[0];
    assert_eq!((request.json(), request.path.as_str()), (event(&sandbox), ""));
    sandbox.reset();
    assert!(sandbox.requests().is_empty());
}

#[test]
fn everything_works_over_http_too() {
    let sandbox = Sandbox::start();
    let own = |method: &str, path: &str, body: Value| {
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", sandbox.root_url()));
        request = request.header("content-type", "application/json");
        let agent = ureq::Agent::new_with_config(ureq::Agent::config_builder().http_status_as_error(false).build());
        let mut reply = if body.is_null() {
            agent.run(request.body(()).unwrap()).unwrap()
        } else {
            agent.run(request.body(body.to_string()).unwrap()).unwrap()
        };
        (reply.status().as_u16(), reply.body_mut().read_json::<Value>().unwrap())
    };
    assert_eq!(own("GET", "/_sandbox/health", Value::Null), (200, json!({"ok": true})));
    let fault = json!({"service": "cto", "on": "POST /", "times": 1, "fault": {"kind": "status", "code": 503, "headers": {"retry-after": "2"}}});
    assert_eq!(own("POST", "/_sandbox/faults", fault).0, 200);
    assert_eq!(cto(&sandbox).post("/", &event(&sandbox)).header("retry-after"), "2");
    assert_eq!(cto(&sandbox).post("/", &event(&sandbox)).status, 200);
    for kind in [
        "reset",
        "process_then_reset",
        "truncate",
        "html",
        "not_json",
        "echo_secrets",
        "hang",
    ] {
        assert_eq!(
            own(
                "POST",
                "/_sandbox/faults",
                json!([{"service": "rely", "fault": {"kind": kind}}])
            )
            .0,
            200
        );
    }
    let nested = json!({"kind": "process_then", "fault": {"kind": "html"}});
    let change = json!({"kind": "then_seed", "service": "port", "state": {}});
    for fault in [nested, change] {
        let rule = json!({"service": "rely", "fault": fault});
        assert_eq!(own("POST", "/_sandbox/faults", rule).0, 200);
    }
    for bad in [
        json!({}),
        json!({"service": "cto", "fault": {"kind": "process_then"}}),
        json!({"service": "x", "fault": {"kind": "reset"}}),
        json!({"service": "cto", "fault": {"kind": "then_seed"}}),
        json!({"service": "cto", "fault": {"kind": "x"}}),
        json!({"service": "cto", "times": -1, "fault": {"kind": "reset"}}),
        json!({"service": "cto", "fault": {"kind": "delay"}}),
    ] {
        assert_eq!(own("POST", "/_sandbox/faults", bad.clone()).0, 400, "{bad}");
    }
    assert_eq!(
        own("GET", "/_sandbox/requests?service=cto", Value::Null)
            .1
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert_eq!(own("GET", "/_sandbox/requests?service=nobody", Value::Null).0, 404);
    assert_eq!(
        own("GET", "/_sandbox/state/cto", Value::Null).1["events"],
        json!([event(&sandbox)])
    );
    assert_eq!(
        own("GET", "/_sandbox/state", Value::Null).1["cto"]["events"],
        json!([event(&sandbox)])
    );
    assert_eq!(own("POST", "/_sandbox/seed/port", json!({"runs": {"r_1": {}}})).0, 200);
    assert_eq!(sandbox.state(Service::Port)["runs"]["r_1"]["status"], "IN_PROGRESS");
    assert_eq!(own("POST", "/_sandbox/seed/port", json!({"runs": 7})).0, 400);
    assert_eq!(own("POST", "/_sandbox/seed/nobody", json!({})).0, 404);
    assert_eq!(own("POST", "/_sandbox/reset", json!({})).0, 200);
    assert_eq!(held(&sandbox), 0);
    assert_eq!(own("GET", "/elsewhere", Value::Null).0, 404);
}

#[test]
fn the_page_escapes_and_masks() {
    let sandbox = Sandbox::start();
    let hostile = "<script>alert('x')</script>";
    let mut body = event(&sandbox);
    body["branch"] = json!(hostile);
    cto(&sandbox).post("/", &body);
    cto(&sandbox)
        .with("authorization", Some("Bearer somebodys-real-token"))
        .post("/", &body);
    let jobs = "/api/v4/projects/42/pipelines/8812/jobs";
    common::gitlab(&sandbox).get(&format!("{jobs}?job_token=somebodys-real-token"));
    common::gitlab_user(&sandbox)
        .with("job-token", Some("somebodys-real-token"))
        .get(jobs);
    let token = common::port_token(&sandbox);
    port(&sandbox).get("/v1/blueprints/deployment/entities");
    let page = ureq::get(format!("{}/", sandbox.root_url()))
        .call()
        .unwrap()
        .body_mut()
        .read_to_string()
        .unwrap();
    assert!(!page.contains("<script"), "{page}");
    assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)"));
    let mut secrets = vec![token, "somebodys-real-token".to_owned(), sandbox.gitlab_access_token()];
    secrets.extend(sandbox.gitlab_variables().into_iter().map(|(_, value)| value).nth(3));
    let names = [
        "RELY_API_TOKEN",
        "CTOAI_EVENTS_API_TOKEN",
        "DIREKTIV_TOKEN",
        "AVIATOR_API_TOKEN",
        "PORT_CLIENT_SECRET",
    ];
    secrets.extend(names.map(|name| variable(&sandbox, name)));
    for secret in secrets {
        assert!(!page.contains(&secret), "{secret}");
        assert!(!page.contains(&secret.replace('"', "&quot;")), "{secret}");
        assert!(!page.contains(&secret.replace('"', "\\&quot;")), "{secret}");
    }
    assert!(
        page.contains("http-equiv=\"refresh\" content=\"5\""),
        "it refreshes itself"
    );
}

#[test]
fn tls_is_trusted_by_its_own_root_alone() {
    let sandbox = Sandbox::start_with(Options {
        tls: true,
        ..Options::default()
    });
    let url = format!("{}/_sandbox/health", sandbox.root_url());
    assert!(url.starts_with("https://localhost:"));
    assert!(ureq::get(&url).call().is_err());
    let root = ureq::tls::Certificate::from_pem(sandbox.ca_pem().unwrap().as_bytes()).unwrap();
    let roots = ureq::tls::RootCerts::Specific(std::sync::Arc::new(vec![root.to_owned()]));
    let tls = ureq::tls::TlsConfig::builder().root_certs(roots).build();
    let agent = ureq::Agent::new_with_config(ureq::Agent::config_builder().tls_config(tls).build());
    assert_eq!(agent.get(&url).call().unwrap().status(), 200);
    sandbox.fail(Service::Cto, 1, Fault::Reset);
    assert!(agent.post(sandbox.url(Service::Cto)).send("{}").is_err());
    assert!(Sandbox::start().ca_pem().is_none());
}
