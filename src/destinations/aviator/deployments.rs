//! The deployments of an environment: read, created, and looked for after an attempt of which nobody knows the end.

use std::{
    rc::Rc,
    time::{Duration, SystemTime},
};

use serde_json::{Map, Value, json};

use super::{CREATED, Settings, Status, accept, environment, environment_url};
use crate::{
    delivery::{
        plan::{Delivered, Repeat, Step, Verdict},
        reply::Reply,
        request::{Method, Request, query},
    },
    event::Event,
    problem::Problem,
    secret::Secret,
    text::plain,
    time,
};

/// The most deployments that one page holds (docs/vendors/aviator.md 3).
const PAGE: &str = "100";

/// A deployment that started this long before we asked for one may still be ours: clocks differ.
const CLOCKS_DIFFER_BY: Duration = Duration::from_mins(1);

/// The deployments of one environment, and the candidate that they are asked about.
pub struct Deployments {
    token: Secret,
    url: String,
    /// The candidate.
    pub candidate: Rc<str>,
}

impl Deployments {
    /// The deployments of the event's environment.
    ///
    /// # Errors
    /// There is none.
    pub fn new(settings: &Settings, event: &Event, candidate: &str) -> Result<Self, Problem> {
        let environment = environment(settings, event)?;
        Ok(Self {
            token: settings.token.clone(),
            url: format!("{}/deployments", environment_url(settings, &environment)),
            candidate: candidate.into(),
        })
    }

    /// A request about them.
    pub fn request(&self, method: Method, query: &str) -> Request {
        Request::new(method, format!("{}{query}", self.url)).bearer(&self.token)
    }

    /// Reads the deployments to decide what comes next; `None` where Aviator does not show them.
    pub fn read(&self, name: &'static str, decide: impl Fn(Option<&Vec<Value>>) -> Verdict + 'static) -> Step {
        Step::new(name, self.request(Method::Get, &page()), move |reply, _| {
            match reply.status {
                408 | 425 | 429 | 500.. => Verdict::ByStatus,
                _ => decide(shown(reply)),
            }
        })
        .large()
    }
}

/// The list in a reply, if it is one of deployments: another server's list tells nothing about Aviator's.
fn shown(reply: &Reply) -> Option<&Vec<Value>> {
    let all = reply.json()?.as_array().filter(|_| reply.is_success())?;
    let are_deployments = all.iter().all(|one| one.as_object().is_some_and(is_deployment));
    are_deployments.then_some(all)
}

/// The query for the newest.
pub fn page() -> String {
    query([("page", "1"), ("per_page", PAGE)])
}

/// Creates one, which starts a workflow.
pub fn create(api: &Rc<Deployments>, asked_at: SystemTime) -> Step {
    let body = json!({ "release_candidate_version": *api.candidate });
    let request = api.request(Method::Post, "").json(&body);
    let api = Rc::clone(api);
    Step::new("deployment", request, |reply, _| accept(reply, CREATED))
        .repeat(Repeat::Asking(&[], Rc::new(move || find_or_create(&api, asked_at))))
}

/// Looks for one that was asked for at `asked_at` or later, and creates it if there is none.
pub fn find_or_create(api: &Rc<Deployments>, asked_at: SystemTime) -> Step {
    let again = Rc::clone(api);
    api.read("was it created", move |all| {
        let Some(all) = all else {
            // Whether there is a doubt is known by then.
            return Verdict::Unavailable(
                "it may have been created, and Aviator does not tell; it was not sent again".to_owned(),
            );
        };
        let is_ours = |one: &&Value| one["release_candidate_version"] == *again.candidate && is_fresh(one, asked_at);
        match all.iter().find(is_ours) {
            Some(one) => Verdict::Delivered(Delivered {
                identifier: one.get("id").map(plain),
                note: Some("found among the deployments: an earlier attempt had created it".to_owned()),
                json: None,
            }),
            None => Verdict::Then(create(&again, asked_at)),
        }
    })
    .settles()
}

/// Whether a deployment can be the one that was asked for at `asked_at`.
fn is_fresh(deployment: &Value, asked_at: SystemTime) -> bool {
    match deployment["deploy_start_at"].as_str() {
        // Aviator writes UTC; whether it always says so is not documented.
        Some(start) => time::parse(start)
            .or_else(|| humantime::parse_rfc3339_weak(start).ok())
            .is_some_and(|start| start + CLOCKS_DIFFER_BY >= asked_at),
        None => !deployment["status"]
            .as_str()
            .and_then(Status::from_word)
            .is_some_and(Status::is_final),
    }
}

/// Whether an object is a deployment as calls 4 and 5 answer it; whether `id` is text or a number is not documented
/// (docs/vendors/aviator.md 3).
pub fn is_deployment(body: &Map<String, Value>) -> bool {
    let has_id = body.get("id").is_some_and(|id| id.is_string() || id.is_number());
    let is_text = |name: &str| body.get(name).is_some_and(Value::is_string);
    has_id && is_text("status") && is_text("release_candidate_version")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_deployment_is_ours() {
        let asked_at = time::parse("2025-03-01T10:00:00Z").unwrap();
        assert!(is_fresh(
            &json!({"status": "pending", "deploy_start_at": null}),
            asked_at
        ));
        assert!(is_fresh(
            &json!({"status": "success", "deploy_start_at": "2025-03-01T09:59:30.123Z"}),
            asked_at
        ));
        assert!(!is_fresh(
            &json!({"status": "in_progress", "deploy_start_at": "2025-03-01T09:00:00Z"}),
            asked_at
        ));
        assert!(!is_fresh(
            &json!({"status": "failure", "deploy_start_at": null}),
            asked_at
        ));
    }
}
