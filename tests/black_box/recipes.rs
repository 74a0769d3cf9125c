//! Every recipe of `docs/recipes.md`, run as it stands there against a receiver that checks what its service takes.

use std::{collections::BTreeMap, fs};

use sandbox::{Recorded, Sandbox, Service};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    gitlab::in_job,
    shared::REPOSITORY,
    support::{Ran, at_once},
};

/// A job of the page, as far as it is a recipe.
#[derive(Debug, Clone, Deserialize)]
struct Job {
    extends: Option<String>,
    #[serde(default)]
    variables: BTreeMap<String, String>,
}

/// The recipes, by the services' names, which end the jobs' names.
fn recipes() -> Vec<(String, BTreeMap<String, String>)> {
    let page = fs::read_to_string(format!("{REPOSITORY}/docs/recipes.md")).expect("docs/recipes.md can be read");
    let blocks = page
        .split("```yaml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap());
    let mut recipes = Vec::new();
    for block in blocks {
        let jobs: BTreeMap<String, Value> =
            serde_saphyr::from_str(block).unwrap_or_else(|error| panic!("{error}: {block}"));
        for (name, job) in jobs {
            let job = Job::deserialize(job)
                .ok()
                .filter(|job| job.extends.as_deref() == Some(".webhook-notify"));
            if let (Some(job), Some(service)) = (job, name.strip_prefix("notify-")) {
                recipes.push((service.to_owned(), job.variables));
            }
        }
    }
    recipes
}

/// The services that have recipes, with the variables of the project that theirs refer to. The addresses are behind the
/// receiver's own.
const SERVICES: &[(&str, &[(&str, &str)])] = &[
    (
        "slack",
        &[(
            "SLACK_WEBHOOK_URL",
            "/services/T0ACME0/B0SHOP0/qWeRtYuIoPaSdFgHjKlZxCvB",
        )],
    ),
    (
        "teams",
        &[(
            "TEAMS_WORKFLOW_URL",
            "/workflows/4be81dc90f2711ee/triggers/manual/paths/invoke?api-version=2016-06-01&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=qWeRtYuIoPaSdFgHjKlZxCvB-0",
        )],
    ),
    (
        "discord",
        &[(
            "DISCORD_WEBHOOK_URL",
            "/api/webhooks/1104321987654321001/qWeRtYuIoPaSdFgHjKlZxCvBnM1234567890qWeRtYuIoPaSdFgHjKlZxCvBnM_-",
        )],
    ),
    (
        "mattermost",
        &[("MATTERMOST_WEBHOOK_URL", "/hooks/qwertyuiopasdfghjklzxcvbnm")],
    ),
    (
        "google-chat",
        &[(
            "GOOGLE_CHAT_WEBHOOK_URL",
            "/v1/spaces/AAAAqWeRtYu/messages?key=qWeRtYuIoPaSdFgHjKl&token=zXcVbNmAsDfGhJkLqWeRtYuIoP%3D",
        )],
    ),
    (
        "grafana",
        &[("GRAFANA_TOKEN", "glsa_qWeRtYuIoPaSdFgHjKlZxCvBnM_4be81dc9")],
    ),
    ("datadog", &[("DATADOG_API_KEY", "4be81dc90f274be81dc90f274be81dc9")]),
    (
        "pagerduty",
        &[("PAGERDUTY_ROUTING_KEY", "R0UT1NG4be81dc90f274be81dc90f278")],
    ),
    ("sentry", &[("SENTRY_AUTH_TOKEN", "sntrys_qWeRtYuIoPaSdFgHjKlZxCvBnM")]),
    ("honeycomb", &[("HONEYCOMB_API_KEY", "hcaik_qWeRtYuIoPaSdFgHjKlZxCv")]),
];

/// What GitLab makes of a value: `$NAME` is what it is, here or in a job, and `$$` is a `$`.
fn expanded(value: &str, known: &[(&str, String)]) -> String {
    let mut text = value.to_owned();
    for (name, value) in known {
        text = text.replace(&format!("${name}"), value);
    }
    assert!(
        !text.replace("$$", "").contains('$'),
        "GitLab would expand something in {text}"
    );
    text.replace("$$", "$")
}

/// A recipe's variables as GitLab hands them to its job, with an address that leads to the sandbox.
fn handed_over(sandbox: &Sandbox, service: &str, recipe: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let base = format!("{}/recipes/{service}", sandbox.url(Service::Webhook));
    let (_, own) = SERVICES
        .iter()
        .find(|(name, _)| *name == service)
        .unwrap_or_else(|| panic!("{service} is unknown"));
    let mut known: Vec<(&str, String)> = vec![("CI_COMMIT_SHA", "9f2c1e7d0b4a5c6d7e8f90123456789abcdef012".to_owned())];
    for (name, value) in *own {
        let is_address = name.ends_with("_URL");
        known.push((
            name,
            if is_address {
                format!("{base}{value}")
            } else {
                (*value).to_owned()
            },
        ));
    }
    let mut variables: BTreeMap<String, String> = recipe
        .iter()
        .map(|(name, value)| (name.clone(), expanded(value, &known)))
        .collect();
    let address = variables.get_mut("WEBHOOK_URL").expect("a recipe says where it goes");
    if let Some(rest) = address.strip_prefix("https://") {
        let (_, path) = rest.split_once('/').expect("an address has a path");
        *address = format!("{base}/{path}");
    }
    variables
}

/// What nobody's JSON, mrkdwn or markdown survives that is put together by hand.
const UGLY: &str = "Say \"hello\" to <!channel> & @everyone \\ {{ .Values.tag }}\n\tand 🚀 `$(id)` *b* ";

fn sent(sandbox: &Sandbox, variables: &BTreeMap<String, String>, action: &str) -> Ran {
    in_job(&["webhook"], sandbox)
        .var("WEBHOOK_SECRET", "")
        .vars(variables.iter().map(|(name, value)| (name.as_str(), value.as_str())))
        .var("EVENT_ACTION", action)
        .var("EVENT_ENVIRONMENT", "production")
        .var("CI_COMMIT_TITLE", UGLY)
        .var("EVENT_TITLE", format!("{UGLY}{}", "x".repeat(400)))
        .run()
}

fn seeded() -> Sandbox {
    let sandbox = Sandbox::start();
    let merged: Vec<Value> = (1..40)
        .map(|iid| json!({"iid": iid, "title": format!("{UGLY}{iid}"), "author": "dana", "merged_at": "2025-03-01T08:04:00.000Z"}))
        .collect();
    sandbox.seed(
        Service::GitLab,
        json!({"deployments": [
            {"sha": "1".repeat(40), "status": "success", "environment": "production", "ref": "main"},
            {
                "sha": "9f2c1e7d0b4a5c6d7e8f90123456789abcdef012", "environment": "production",
                "deployable": {"id": 3, "pipeline": 8812, "status": "success", "finished_at": "2025-03-01T10:04:00.000Z"},
                "merge_requests": merged,
            },
        ]}),
    );
    sandbox
}

#[test]
fn every_recipe_is_what_its_service_takes() {
    let recipes = recipes();
    let mut of_page: Vec<&str> = recipes.iter().map(|(service, _)| service.as_str()).collect();
    of_page.retain(|service| *service != "ours");
    let of_tests: Vec<&str> = SERVICES.iter().map(|(service, _)| *service).collect();
    assert_eq!(
        of_page, of_tests,
        "the recipes of the page, and the services that are known here"
    );
    at_once(recipes, |(service, recipe)| {
        if service == "ours" {
            return;
        }
        let sandbox = seeded();
        let variables = handed_over(&sandbox, &service, &recipe);
        let only_success = variables.get("NOTIFY_ONLY").is_some_and(|only| only == "success");
        let mut texts = Vec::new();
        for action in ["started", "success", "failure"] {
            let ran = sent(&sandbox, &variables, action).exits(0);
            let is_sent = !only_success || action == "success";
            let ran = ran.says_of("webhook", if is_sent { "sent" } else { "skipped" });
            let (_, own) = SERVICES.iter().find(|(name, _)| *name == service).unwrap();
            let ran = own.iter().fold(ran, |ran, (_, secret)| ran.hides(secret));
            drop(ran);
            let requests = sandbox.requests_to(Service::Webhook);
            texts.extend(
                requests
                    .last()
                    .map(|last| String::from_utf8_lossy(&last.body).into_owned()),
            );
        }
        assert!(
            only_success || texts[1] != texts[2],
            "{service} tells a failure from a success"
        );
        let all: Vec<Recorded> = sandbox.requests_to(Service::Webhook);
        assert_eq!(all.len(), if only_success { 1 } else { 3 }, "{service}");
    });
}

#[test]
fn what_a_recipe_lists_is_what_was_deployed() {
    let recipes = recipes();
    for service in ["slack", "discord", "mattermost", "datadog"] {
        let (_, recipe) = recipes.iter().find(|(name, _)| name == service).unwrap();
        let sandbox = seeded();
        sent(&sandbox, &handed_over(&sandbox, service, recipe), "success").exits(0);
        let body = sandbox.requests_to(Service::Webhook)[0].json();
        let text = body["text"].as_str().or(body["content"].as_str()).unwrap();
        assert!(text.contains('\n') && text.contains("!39 Say \"hello\" to "), "{text}");
        // Where GitLab knows no deployment there is nothing to list, and nothing is wrong.
        let bare = Sandbox::start();
        sent(&bare, &handed_over(&bare, service, recipe), "success").exits(0);
    }
}

/// The receiver can say no: each recipe, with one thing of it broken, is refused.
#[test]
fn a_broken_recipe_is_refused() {
    let long = "\"x".to_owned() + &"y".repeat(50_000) + "\"";
    at_once(recipes(), |(service, recipe)| {
        if service == "ours" {
            return;
        }
        let sandbox = seeded();
        let whole = handed_over(&sandbox, &service, &recipe);
        let mut broken: Vec<BTreeMap<String, String>> = Vec::new();
        let mut with = |name: &str, value: &str| {
            let mut variables = whole.clone();
            variables.insert(name.to_owned(), value.to_owned());
            broken.push(variables);
        };
        with("WEBHOOK_BODY", "{\"unknown\": 1}");
        with("WEBHOOK_BODY", "text");
        with("WEBHOOK_METHOD", "PUT");
        let own = format!("/recipes/{service}/");
        with(
            "WEBHOOK_URL",
            &whole["WEBHOOK_URL"].replace(&own, &format!("{own}other/")),
        );
        if whole.contains_key("WEBHOOK_HEADERS") {
            with("WEBHOOK_HEADERS", "{\"X-Other\": \"qWeRtYuIoPaSdFgHjKl\"}");
        }
        let too_long = match service.as_str() {
            "discord" => Some(format!("{{\"content\": {long}}}")),
            "google-chat" | "mattermost" | "slack" => Some(format!("{{\"text\": {long}}}")),
            "datadog" => Some(format!("{{\"title\": \"t\", \"text\": {long}}}")),
            "pagerduty" => Some("{\"routing_key\": \"short\", \"payload\": {\"summary\": \"s\"}}".to_owned()),
            _ => None,
        };
        if let Some(body) = too_long {
            with("WEBHOOK_BODY", &body);
        }
        for variables in broken {
            sent(&sandbox, &variables, "success")
                .exits(76)
                .says_of("webhook", "rejected");
        }
    });
}
