//! CTO.ai: deployment (and other) events for its Insights. Facts: docs/vendors/cto.md.

use serde_json::{Map, Value, json};

use super::{Context, Destination, HiddenJob, Operation, Repetition, Words};
use crate::{
    delivery::{
        plan::{Plan, Repeat, Step, Verdict},
        request::{Method, Request},
    },
    problem::Unmade,
    secret::Secret,
    variables,
    variables::{BaseUrl, Group as _},
};

variables! {
    /// What `cto` reads. The names of the official template are read in `.cto-notify-event` alone.
    pub struct Settings, "CTO.ai, Collect Events via API, and its GitLab template v0.0.2" {
        /// API token, made with `ops generate:token`.
        token: Secret = "CTOAI_EVENTS_API_TOKEN", required, official "TOKEN";
        /// Id of the team, shown by `ops team:info`.
        team_id: String = "CTOAI_TEAM_ID", required, official "TEAM_ID";
        /// Where events are sent.
        url: BaseUrl = "CTOAI_API_URL", default "https://events.cto.ai/";
        /// Who did it, sent as `meta.user`.
        user: Option<String> = "CTOAI_USER", derived "EVENT_USER";
        /// The branch, as the official template names it.
        branch: Option<String> = "BRANCH", derived "EVENT_BRANCH", official "BRANCH";
        /// The commit, as the official template names it.
        commit: Option<String> = "COMMIT", derived "EVENT_COMMIT", official "COMMIT";
        /// The repository, as the official template names it.
        repo: Option<String> = "REPO", derived "EVENT_REPO", official "REPO";
        /// The environment, as the official template names it.
        environment: Option<String> = "ENVIRONMENT", derived "EVENT_ENVIRONMENT", official "ENVIRONMENT";
        /// The image, as the official template names it.
        image: Option<String> = "IMAGE", derived "EVENT_IMAGE", official "IMAGE";
    }
}

/// CTO.ai.
pub const DESTINATION: Destination = Destination {
    name: "cto",
    title: "CTO.ai",
    operations: &[
        Operation::new("event", "sends the event; every call counts as one more")
            .repeated(Repetition::Unasked)
            .reports_action()
            .in_words(Words::Any),
    ],
    variables: &[Settings::VARIABLES],
    credentials: &["CTOAI_EVENTS_API_TOKEN"],
    hidden_jobs: &[HiddenJob::new(
        "cto-notify-event",
        "cto --official-names",
        "Sends an event to CTO.ai; reads the official template's variables too.",
    )],
    plan,
    check,
    register: None,
};

/// An event has no id, so nobody could tell a repetition from a second deployment: few are made (docs/vendors/cto.md 5).
const ATTEMPTS: u32 = 3;

/// Answers that say that a gateway did not pass the event on (docs/vendors/cto.md 5). A 500 is not among them.
const NOT_PASSED_ON: &[u16] = &[502, 503, 504];

/// No read is documented, and every POST is an event: that anything answers is all that can be seen.
fn check(context: &Context) -> Result<Plan, Unmade> {
    let settings: Settings = context.values.read()?;
    let request = Request::new(Method::Get, settings.url.join(&[], "/"));
    let step = Step::new("check", request, |reply, _| match reply.status {
        408 | 425 | 429 | 500.. => Verdict::ByStatus,
        _ => Verdict::noted("it answers; CTO.ai offers no way to try the token without sending an event"),
    });
    Ok(Plan::new(None, vec![step]))
}

fn plan(context: &Context) -> Result<Plan, Unmade> {
    let settings: Settings = context.values.read()?;
    let event = context.event;
    // Any name and any action (`Words::Any`): CTO.ai stores events of unknown types too (docs/vendors/cto.md 3).
    let action = event.action()?;
    let body = json!({
        "team_id": settings.team_id,
        "event_name": event.name,
        "event_action": action.word(),
        "repo": settings.repo.or_else(|| event.repo.clone()).unwrap_or_default(),
        "branch": or(settings.branch, event.branch.as_ref()),
        "commit": or(settings.commit, event.commit.as_ref()),
        "environment": or(settings.environment, event.environment.as_ref()),
        "image": or(settings.image, event.image.as_ref()),
        "meta": { "user": settings.user.or_else(|| event.user.clone()).unwrap_or_default() },
    });
    let request = Request::new(Method::Post, settings.url.join(&[], "/"))
        .bearer(&settings.token)
        .header("x-ops-mechanism", "gitlab-job")
        .json(&body);
    let step = Step::new("event", request, |reply, _| match reply.expect(WRITTEN, is_written) {
        Ok(_) => Verdict::delivered(),
        Err(unexpected) => unexpected.into(),
    })
    .repeat(Repeat::Unprocessed(NOT_PASSED_ON));
    let mut plan = Plan::new(None, vec![step]);
    plan.attempts = Some(ATTEMPTS);
    Ok(plan)
}

/// The only reply to an event that is known; a foreign JSON is not success (docs/vendors/cto.md 4).
const WRITTEN: &str = r#"{"message": "event written", "data": {}}"#;

fn is_written(body: &Map<String, Value>) -> bool {
    body.get("message").is_some_and(|message| message == "event written")
        && body.get("data").is_some_and(Value::is_object)
}

/// What is absent is null, as in the vendor's own tested client; of the repository and the user, of which no client of the
/// vendor's sends null, it is an empty text (docs/vendors/cto.md 2).
fn or(own: Option<String>, of_event: Option<&String>) -> Value {
    own.or_else(|| of_event.cloned()).map_or(Value::Null, Value::from)
}
