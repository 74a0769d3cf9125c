//! A plain HTTP client: the requests here are written out, as a vendor's manual would.

#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(unreachable_pub, reason = "a module that test files share")]

use sandbox::{Options, Sandbox, Service};
use serde_json::{Value, json};

/// A reply, read to its end.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub text: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {:?}", self.text))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map_or("", |(_, value)| value)
    }
}

/// One service of a sandbox, and the headers that every request to it has.
pub struct Client<'a> {
    pub sandbox: &'a Sandbox,
    pub service: Service,
    pub headers: Vec<(String, String)>,
}

impl<'a> Client<'a> {
    pub fn new(sandbox: &'a Sandbox, service: Service, headers: &[(&str, &str)]) -> Client<'a> {
        let headers = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Client {
            sandbox,
            service,
            headers,
        }
    }

    /// Sends, or says how the connection failed.
    pub fn try_send(&self, method: &str, path: &str, body: &[u8]) -> Result<Reply, ureq::Error> {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(std::time::Duration::from_secs(5)))
            .build();
        let agent = ureq::Agent::new_with_config(config);
        let url = format!("{}{path}", self.sandbox.url(self.service));
        let mut request = ureq::http::Request::builder().method(method).uri(url);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let mut response = if matches!(method, "GET" | "DELETE") {
            agent.run(request.body(()).unwrap())?
        } else {
            agent.run(request.body(body.to_vec()).unwrap())?
        };
        let headers = response.headers().iter();
        let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned()));
        let (status, headers) = (response.status().as_u16(), headers.collect());
        let text = response.body_mut().with_config().limit(64 << 20).read_to_string()?;
        Ok(Reply { status, headers, text })
    }

    pub fn bytes(&self, method: &str, path: &str, body: &[u8]) -> Reply {
        self.try_send(method, path, body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    pub fn send(&self, method: &str, path: &str, body: &Value) -> Reply {
        self.bytes(method, path, body.to_string().as_bytes())
    }

    pub fn post(&self, path: &str, body: &Value) -> Reply {
        self.send("POST", path, body)
    }

    pub fn get(&self, path: &str) -> Reply {
        self.bytes("GET", path, b"")
    }

    /// The same client with one header set anew, or taken away.
    pub fn with(&self, name: &str, value: Option<&str>) -> Client<'a> {
        let mut headers = self.headers.clone();
        headers.retain(|(known, _)| known != name);
        headers.extend(value.map(|value| (name.to_owned(), value.to_owned())));
        Client {
            sandbox: self.sandbox,
            service: self.service,
            headers,
        }
    }
}

pub fn variable(sandbox: &Sandbox, name: &str) -> String {
    let variables = sandbox.variables();
    variables
        .into_iter()
        .find(|(known, _)| known == name)
        .map(|(_, value)| value)
        .expect("a known variable")
}

pub fn rely(sandbox: &Sandbox) -> Client<'_> {
    let bearer = format!("Bearer {}", variable(sandbox, "RELY_API_TOKEN"));
    Client::new(
        sandbox,
        Service::Rely,
        &[("authorization", &bearer), ("content-type", "application/json")],
    )
}

pub fn cto(sandbox: &Sandbox) -> Client<'_> {
    let bearer = format!("Bearer {}", variable(sandbox, "CTOAI_EVENTS_API_TOKEN"));
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
        ("x-ops-mechanism", "gitlab-job"),
    ];
    Client::new(sandbox, Service::Cto, &headers)
}

pub fn direktiv<'a>(sandbox: &'a Sandbox, header: &str) -> Client<'a> {
    let token = variable(sandbox, "DIREKTIV_TOKEN");
    let token = if header == "authorization" {
        format!("Bearer {token}")
    } else {
        token
    };
    Client::new(sandbox, Service::Direktiv, &[(header, &token)])
}

pub fn aviator(sandbox: &Sandbox) -> Client<'_> {
    let bearer = format!("Bearer {}", variable(sandbox, "AVIATOR_API_TOKEN"));
    Client::new(
        sandbox,
        Service::Aviator,
        &[("authorization", &bearer), ("content-type", "application/json")],
    )
}

/// Port without a token.
pub fn port_stranger(sandbox: &Sandbox) -> Client<'_> {
    Client::new(sandbox, Service::Port, &[("content-type", "application/json")])
}

pub fn port_token(sandbox: &Sandbox) -> String {
    let credentials = json!({
        "clientId": variable(sandbox, "PORT_CLIENT_ID"),
        "clientSecret": variable(sandbox, "PORT_CLIENT_SECRET"),
    });
    let reply = port_stranger(sandbox).post("/v1/auth/access_token", &credentials);
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply.json()["accessToken"].as_str().expect("a token").to_owned()
}

pub fn port(sandbox: &Sandbox) -> Client<'_> {
    let bearer = format!("Bearer {}", port_token(sandbox));
    Client::new(
        sandbox,
        Service::Port,
        &[("authorization", &bearer), ("content-type", "application/json")],
    )
}

/// GitLab as a job sees it.
pub fn gitlab(sandbox: &Sandbox) -> Client<'_> {
    let variables = sandbox.gitlab_variables();
    let token = variables.iter().find(|(name, _)| name == "CI_JOB_TOKEN");
    Client::new(
        sandbox,
        Service::GitLab,
        &[("job-token", &token.expect("a job token").1)],
    )
}

/// GitLab as somebody with an access token sees it.
pub fn gitlab_user(sandbox: &Sandbox) -> Client<'_> {
    Client::new(
        sandbox,
        Service::GitLab,
        &[("private-token", &sandbox.gitlab_access_token())],
    )
}

/// One field of each of a list's records.
pub fn each(reply: &Reply, field: &str) -> Vec<Value> {
    assert_eq!(reply.status, 200, "{}", reply.text);
    let listed = reply.json();
    listed
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| one[field].clone())
        .collect()
}

/// How GitLab refused.
pub fn refusal(reply: &Reply) -> (u16, Value) {
    (reply.status, reply.json())
}

/// GitLab's own refusal.
pub fn message(status: u16, text: &str) -> (u16, Value) {
    (status, json!({"message": text}))
}

/// A refusal of its framework's.
pub fn error(status: u16, text: &str) -> (u16, Value) {
    (status, json!({"error": text}))
}

pub fn with(change: impl FnOnce(&mut Options)) -> Sandbox {
    let mut options = Options::default();
    change(&mut options);
    Sandbox::start_with(options)
}
