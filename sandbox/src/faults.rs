//! What can go wrong on the way to a service and back.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::services::Service;
use crate::wire::Request;

/// One way in which a request goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is processed, and this is answered.
    Status {
        /// The status code.
        code: u16,
        /// Headers, such as `retry-after`.
        headers: Vec<(String, String)>,
        /// The body, sent as it is.
        body: String,
    },
    /// The request is processed when it comes, and the reply is that much late: a client that gives up too early and
    /// repeats finds its first attempt done.
    Delay(Duration),
    /// The request is read, nothing is processed, and the connection is reset.
    Reset,
    /// The request is processed, and the connection is reset instead of a reply: the ambiguous failure.
    ProcessThenReset,
    /// The request is processed, and then this happens instead of a reply: of the faults that answer by themselves.
    ProcessThen(Box<Fault>),
    /// The request is processed, and half of its reply is sent before the connection ends.
    Truncate,
    /// Nothing is processed, and a JSON reply of this many bytes is sent with status 200.
    Oversize(usize),
    /// Nothing is processed, and a page is answered with status 200, as a proxy's login or a UI does.
    Html,
    /// Nothing is processed, and something that calls itself JSON but isn't is answered with status 200.
    NotJson,
    /// Nothing is processed, and 307 points to this location.
    Redirect(String),
    /// Nothing is processed, and the vendor's error envelope with status 400 holds the request's credentials and body.
    EchoSecrets,
    /// The request is read, and never answered.
    Hang,
    /// The request is processed and answered, and before the answer is sent, this is merged into what a service holds
    /// (the one that was asked, or another), as [`crate::Sandbox::seed`] does: what somebody else changes between two
    /// requests. Where it can't be seeded, the reply says so with status 500.
    ThenSeed(Service, Value),
}

impl Fault {
    /// A status without headers or body.
    pub fn status(code: u16) -> Self {
        Self::Status {
            code,
            headers: Vec::new(),
            body: String::new(),
        }
    }

    /// A status with one header: `Fault::status_with(429, "retry-after", "1")`.
    pub fn status_with(code: u16, header: &str, value: &str) -> Self {
        Self::Status {
            code,
            headers: vec![(header.to_owned(), value.to_owned())],
            body: String::new(),
        }
    }
}

/// Which requests a fault is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultRule {
    /// `"METHOD part-of-path-and-query"` or `"part-of-path-and-query"`; None for every request.
    pub on: Option<String>,
    /// How many requests.
    pub times: usize,
    /// What happens to them.
    pub fault: Fault,
}

impl FaultRule {
    fn fits(&self, request: &Request) -> bool {
        let Some(on) = &self.on else { return true };
        let target = format!("{}?{}", request.path, request.query);
        match on.split_once(' ') {
            Some((method, part)) => request.method == method && target.contains(part),
            None => target.contains(on.as_str()),
        }
    }

    /// Reads a rule from what `POST /_sandbox/faults` takes:
    /// `{"service":"port","on":"POST /v1/blueprints","times":1,"fault":{"kind":"status","code":429,"headers":{},"body":""}}`.
    /// The other kinds are `delay` and its `milliseconds`, `reset`, `process_then_reset`, `process_then` and its `fault`,
    /// `truncate`, `oversize` and its `bytes`, `html`, `not_json`, `redirect` and its `location`, `echo_secrets`, `hang`,
    /// `then_seed` and its `service` and `state`.
    pub(crate) fn from_json(rule: &Value) -> Result<(Service, Self), String> {
        let service = service(rule)?;
        let on = match &rule["on"] {
            Value::Null => None,
            Value::String(on) => Some(on.clone()),
            _ => return Err("\"on\" is not text".into()),
        };
        let times = match &rule["times"] {
            Value::Null => 1,
            number => count(number, "times")?,
        };
        let fault = fault(&rule["fault"])?;
        Ok((service, Self { on, times, fault }))
    }
}

fn service(of: &Value) -> Result<Service, String> {
    let name = of["service"].as_str().ok_or("\"service\" is missing")?;
    Service::named(name).ok_or(format!("there is no service {name:?}"))
}

fn fault(fault: &Value) -> Result<Fault, String> {
    Ok(match fault["kind"].as_str().ok_or("\"fault\" has no \"kind\"")? {
        "status" => status(fault)?,
        "delay" => Fault::Delay(Duration::from_millis(
            count(&fault["milliseconds"], "milliseconds")? as u64
        )),
        "reset" => Fault::Reset,
        "process_then_reset" => Fault::ProcessThenReset,
        "process_then" => Fault::ProcessThen(Box::new(self::fault(&fault["fault"])?)),
        "truncate" => Fault::Truncate,
        "oversize" => Fault::Oversize(count(&fault["bytes"], "bytes")?),
        "html" => Fault::Html,
        "not_json" => Fault::NotJson,
        "redirect" => Fault::Redirect(fault["location"].as_str().ok_or("\"location\" is missing")?.to_owned()),
        "echo_secrets" => Fault::EchoSecrets,
        "hang" => Fault::Hang,
        "then_seed" => Fault::ThenSeed(service(fault)?, fault["state"].clone()),
        kind => return Err(format!("there is no fault {kind:?}")),
    })
}

fn count(value: &Value, name: &str) -> Result<usize, String> {
    let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
    number.ok_or(format!("\"{name}\" is not a whole number"))
}

fn status(fault: &Value) -> Result<Fault, String> {
    let code = fault["code"]
        .as_u64()
        .filter(|code| (200..600).contains(code))
        .ok_or("\"code\" is not a status")?;
    let mut headers = Vec::new();
    if let Some(given) = fault["headers"].as_object() {
        for (name, value) in given {
            let value = value.as_str().ok_or(format!("the header {name:?} is not text"))?;
            headers.push((name.clone(), value.to_owned()));
        }
    }
    let body = match &fault["body"] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        json => json.to_string(),
    };
    Ok(Fault::Status {
        code: u16::try_from(code).expect("below 600"),
        headers,
        body,
    })
}

/// The faults that wait for their requests.
#[derive(Default)]
pub(crate) struct Faults(BTreeMap<Service, Vec<FaultRule>>);

impl Faults {
    pub(crate) fn add(&mut self, service: Service, rule: FaultRule) {
        self.0.entry(service).or_default().push(rule);
    }

    /// The oldest fault that fits the request, which uses it up once.
    pub(crate) fn take(&mut self, service: Service, request: &Request) -> Option<Fault> {
        let rules = self.0.get_mut(&service)?;
        rules.retain(|rule| rule.times > 0);
        let rule = rules.iter_mut().find(|rule| rule.fits(request))?;
        rule.times -= 1;
        Some(rule.fault.clone())
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}
