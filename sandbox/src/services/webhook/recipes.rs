//! What the services of docs/recipes.md take, each as its own page describes it (docs/vendors/webhook.md 6): path, method,
//! headers, and the fields of the body with their types and limits. Keys that the page does not have are refused, though
//! most services pass over them: nothing that a recipe sends may be without effect.

use serde_json::{Value, json};

use crate::clock::parse_time;
use crate::wire::{Reply, Request};

/// The headers in which these services take credentials, besides HTTP's own.
pub(super) const CREDENTIAL_HEADERS: &[&str] = &["dd-api-key", "x-honeycomb-team"];
/// The parameters.
pub(super) const CREDENTIAL_PARAMETERS: &[&str] = &["key", "token", "sig"];
/// The fields of a body.
pub(super) const CREDENTIAL_FIELDS: &[&str] = &["routing_key"];

type Taken = Result<Reply, (u16, String)>;

/// What `service` answers at `path`, which is the path at its own host.
pub(super) fn take(service: &str, path: &[&str], request: &Request) -> Taken {
    if request.method != "POST" {
        return refuse(405, "method not allowed");
    }
    if !request.says_json() {
        return refuse(415, "Content-Type must be application/json");
    }
    let body = request.json().map_err(|error| (400, format!("not JSON: {error}")))?;
    if !body.is_object() {
        return refuse(400, "the body is no object");
    }
    match service {
        "slack" => slack(path, &body),
        "teams" => teams(path, request, &body),
        "discord" => discord(path, &body),
        "mattermost" => mattermost(path, &body),
        "google-chat" => google_chat(path, request, &body),
        "grafana" => grafana(path, request, &body),
        "datadog" => datadog(path, request, &body),
        "pagerduty" => pagerduty(path, &body),
        "sentry" => sentry(path, request, &body),
        "honeycomb" => honeycomb(path, request, &body),
        _ => refuse(404, "there is no such service"),
    }
}

fn refuse<T>(status: u16, why: impl Into<String>) -> Result<T, (u16, String)> {
    Err((status, why.into()))
}

/// Checks that an object has no fields but these; a field that has to be there ends with `!`.
fn fields(object: &Value, known: &[&str]) -> Result<(), (u16, String)> {
    let Some(object) = object.as_object() else {
        return refuse(400, "an object is expected");
    };
    let names = || known.iter().map(|name| name.trim_end_matches('!'));
    if let Some(unknown) = object.keys().find(|key| !names().any(|name| name == *key)) {
        return refuse(400, format!("{unknown} is unknown"));
    }
    let needed = known.iter().filter_map(|name| name.strip_suffix('!'));
    match needed.into_iter().find(|name| !object.contains_key(*name)) {
        Some(missing) => refuse(400, format!("{missing} is missing")),
        None => Ok(()),
    }
}

/// A text of 1 to `most` characters, if it is there.
fn text(object: &Value, name: &str, most: usize) -> Result<(), (u16, String)> {
    match object.get(name) {
        Some(Value::String(text)) if text.trim().is_empty() => refuse(400, format!("{name} is empty")),
        Some(Value::String(text)) if text.chars().count() > most => {
            refuse(400, format!("{name} has more than {most} characters"))
        }
        // A template that was not run.
        Some(Value::String(text)) if text.contains("{%") => refuse(400, format!("{name} holds a template")),
        None | Some(Value::String(_)) => Ok(()),
        Some(_) => refuse(400, format!("{name} is no string")),
    }
}

fn one_of(object: &Value, name: &str, words: &[&str]) -> Result<(), (u16, String)> {
    match object.get(name).map(Value::as_str) {
        None => Ok(()),
        Some(Some(word)) if words.contains(&word) => Ok(()),
        Some(_) => refuse(400, format!("{name} has to be one of {}", words.join(", "))),
    }
}

fn texts(object: &Value, name: &str, most: usize) -> Result<(), (u16, String)> {
    match object.get(name) {
        None => Ok(()),
        Some(Value::Array(items))
            if items
                .iter()
                .all(|item| item.as_str().is_some_and(|item| item.len() <= most)) =>
        {
            Ok(())
        }
        Some(_) => refuse(400, format!("{name} is no list of short strings")),
    }
}

fn address(object: &Value, name: &str) -> Result<(), (u16, String)> {
    match object.get(name).map(Value::as_str) {
        None => Ok(()),
        Some(Some(url)) if url.starts_with("https://") => Ok(()),
        Some(_) => refuse(400, format!("{name} is no address")),
    }
}

fn time(object: &Value, name: &str) -> Result<(), (u16, String)> {
    match object.get(name).map(Value::as_str) {
        None => Ok(()),
        Some(Some(time)) if parse_time(time).is_some() => Ok(()),
        Some(_) => refuse(400, format!("{name} is no time")),
    }
}

fn bearer(request: &Request) -> Result<(), (u16, String)> {
    match request.bearer() {
        Some(token) if token.len() >= 16 && !token.contains(['$', ' ']) => Ok(()),
        _ => refuse(401, "Authorization: Bearer is missing"),
    }
}

fn key(request: &Request, header: &str) -> Result<(), (u16, String)> {
    match request.header(header) {
        Some(key) if key.len() >= 16 && !key.contains('$') => Ok(()),
        _ => refuse(403, format!("{header} is missing")),
    }
}

/// Control sequences of mrkdwn have to be escaped in what is only text: `<`, `>` and `&`; what remains are links and
/// mentions.
fn is_escaped(text: &str) -> bool {
    let mut rest = text;
    while let Some(at) = rest.find(['<', '>', '&']) {
        let tail = &rest[at..];
        rest = if let Some(entity) = ["&amp;", "&lt;", "&gt;"]
            .iter()
            .find(|entity| tail.starts_with(**entity))
        {
            &tail[entity.len()..]
        } else if tail.starts_with("<https://")
            && let Some(end) = tail.find('>')
        {
            &tail[end + 1..]
        } else {
            return false;
        };
    }
    true
}

fn slack(path: &[&str], body: &Value) -> Taken {
    let ["services", team, channel, token] = path else {
        return refuse(404, "no_service");
    };
    if !team.starts_with('T') || !channel.starts_with('B') || token.len() != 24 {
        return refuse(404, "no_service");
    }
    fields(body, &["text!", "blocks", "unfurl_links"])?;
    text(body, "text", 40_000)?;
    if !is_escaped(body["text"].as_str().unwrap_or_default()) {
        return refuse(400, "invalid_payload");
    }
    Ok(Reply::text(200, "ok"))
}

fn teams(path: &[&str], request: &Request, body: &Value) -> Taken {
    let ["workflows", _, "triggers", "manual", "paths", "invoke"] = path else {
        return refuse(404, "WorkflowNotFound");
    };
    if request.query().get("sig").is_none() || request.query().get("api-version").is_none() {
        return refuse(401, "DirectApiAuthorizationRequired");
    }
    fields(body, &["type!", "attachments!"])?;
    one_of(body, "type", &["message"])?;
    let attachments = body["attachments"].as_array().filter(|all| all.len() == 1);
    let Some([attachment]) = attachments.map(Vec::as_slice) else {
        return refuse(400, "attachments is no list of one");
    };
    fields(attachment, &["contentType!", "contentUrl", "content!"])?;
    one_of(attachment, "contentType", &["application/vnd.microsoft.card.adaptive"])?;
    let card = &attachment["content"];
    fields(card, &["$schema", "type!", "version!", "body!", "actions", "msteams"])?;
    one_of(card, "type", &["AdaptiveCard"])?;
    one_of(card, "version", &["1.2", "1.3", "1.4", "1.5"])?;
    let Some(blocks) = card["body"].as_array().filter(|blocks| !blocks.is_empty()) else {
        return refuse(400, "body is empty");
    };
    for block in blocks {
        fields(block, &["type!", "text!", "wrap", "weight", "size", "color"])?;
        one_of(block, "type", &["TextBlock"])?;
        one_of(
            block,
            "color",
            &["default", "dark", "light", "accent", "good", "warning", "attention"],
        )?;
        text(block, "text", 28 * 1024)?;
        if block.get("wrap").is_some_and(|wrap| !wrap.is_boolean()) {
            return refuse(400, "wrap is no boolean");
        }
    }
    for action in card["actions"].as_array().into_iter().flatten() {
        fields(action, &["type!", "title!", "url!"])?;
        one_of(action, "type", &["Action.OpenUrl"])?;
        text(action, "title", 100)?;
        address(action, "url")?;
    }
    if request.body.len() > 28 * 1024 {
        return refuse(413, "the message is larger than 28 KB");
    }
    Ok(Reply::empty(202))
}

fn discord(path: &[&str], body: &Value) -> Taken {
    let ["api", "webhooks", id, token] = path else {
        return refuse(404, "Unknown Webhook");
    };
    if id.parse::<u64>().is_err() || token.len() < 60 {
        return refuse(401, "Invalid Webhook Token");
    }
    fields(body, &["content!", "username", "allowed_mentions"])?;
    text(body, "content", 2000)?;
    text(body, "username", 80)?;
    if body
        .get("allowed_mentions")
        .is_some_and(|mentions| *mentions != json!({"parse": []}))
    {
        return refuse(400, "allowed_mentions is not understood");
    }
    Ok(Reply::empty(204))
}

fn mattermost(path: &[&str], body: &Value) -> Taken {
    let ["hooks", key] = path else {
        return refuse(404, "not found");
    };
    if key.len() != 26 {
        return refuse(400, "Invalid webhook.");
    }
    fields(body, &["text!", "channel", "username", "icon_emoji"])?;
    text(body, "text", 16_383)?;
    Ok(Reply::text(200, "ok"))
}

fn google_chat(path: &[&str], request: &Request, body: &Value) -> Taken {
    let ["v1", "spaces", space, "messages"] = path else {
        return refuse(404, "not found");
    };
    let query = request.query();
    if query.get("key").is_none() || query.get("token").is_none() {
        return refuse(401, "key and token are missing");
    }
    fields(body, &["text!"])?;
    text(body, "text", 4096)?;
    if request.body.len() > 32_000 {
        return refuse(400, "the message is larger than 32,000 bytes");
    }
    Ok(Reply::json(
        200,
        &json!({"name": format!("spaces/{space}/messages/m1"), "text": body["text"]}),
    ))
}

fn grafana(path: &[&str], request: &Request, body: &Value) -> Taken {
    if path != ["api", "annotations"] {
        return refuse(404, "Not found");
    }
    bearer(request)?;
    fields(body, &["text!", "tags", "time", "timeEnd", "dashboardUID", "panelId"])?;
    text(body, "text", 65_535)?;
    texts(body, "tags", 100)?;
    if ["time", "timeEnd"]
        .iter()
        .any(|name| body.get(*name).is_some_and(|time| !time.is_u64()))
    {
        return refuse(400, "time is no number of milliseconds");
    }
    Ok(Reply::json(200, &json!({"message": "Annotation added", "id": 1})))
}

fn datadog(path: &[&str], request: &Request, body: &Value) -> Taken {
    if path != ["api", "v1", "events"] {
        return refuse(404, "Not found");
    }
    key(request, "dd-api-key")?;
    fields(
        body,
        &[
            "title!",
            "text!",
            "alert_type",
            "aggregation_key",
            "source_type_name",
            "tags",
            "priority",
            "host",
        ],
    )?;
    text(body, "title", 500)?;
    text(body, "text", 4000)?;
    text(body, "aggregation_key", 100)?;
    one_of(
        body,
        "alert_type",
        &[
            "error",
            "warning",
            "info",
            "success",
            "user_update",
            "recommendation",
            "snapshot",
        ],
    )?;
    one_of(body, "priority", &["normal", "low"])?;
    texts(body, "tags", 200)?;
    Ok(Reply::json(202, &json!({"status": "ok", "event": {"id": 1}})))
}

fn pagerduty(path: &[&str], body: &Value) -> Taken {
    if path != ["v2", "change", "enqueue"] {
        return refuse(404, "Not Found");
    }
    fields(body, &["routing_key!", "payload!", "links", "images"])?;
    if body["routing_key"].as_str().is_none_or(|key| key.len() != 32) {
        return refuse(400, "'routing_key' is invalid");
    }
    let payload = &body["payload"];
    fields(payload, &["summary!", "source", "timestamp", "custom_details"])?;
    text(payload, "summary", 1024)?;
    text(payload, "source", 1024)?;
    time(payload, "timestamp")?;
    if payload
        .get("custom_details")
        .is_some_and(|details| !details.is_object())
    {
        return refuse(400, "'custom_details' is no object");
    }
    for link in body["links"].as_array().into_iter().flatten() {
        fields(link, &["href!", "text"])?;
        address(link, "href")?;
    }
    Ok(Reply::json(
        202,
        &json!({"status": "success", "message": "Change event processed"}),
    ))
}

fn sentry(path: &[&str], request: &Request, body: &Value) -> Taken {
    let ["api", "0", "organizations", _, "releases", version, "deploys", ""] = path else {
        return refuse(404, "The requested resource does not exist");
    };
    if version.is_empty() {
        return refuse(404, "The requested resource does not exist");
    }
    bearer(request)?;
    fields(
        body,
        &["environment!", "name", "url", "dateStarted", "dateFinished", "projects"],
    )?;
    text(body, "environment", 64)?;
    if body["environment"]
        .as_str()
        .is_some_and(|name| name.contains(['/', '\n']))
    {
        return refuse(400, "environment holds a slash");
    }
    text(body, "name", 64)?;
    address(body, "url")?;
    time(body, "dateStarted")?;
    time(body, "dateFinished")?;
    Ok(Reply::json(
        201,
        &json!({"id": "1", "environment": body["environment"]}),
    ))
}

fn honeycomb(path: &[&str], request: &Request, body: &Value) -> Taken {
    let ["1", "markers", _] = path else {
        return refuse(404, "not found");
    };
    key(request, "x-honeycomb-team")?;
    fields(body, &["message", "type", "url", "start_time", "end_time"])?;
    text(body, "message", 10_000)?;
    text(body, "type", 100)?;
    address(body, "url")?;
    if ["start_time", "end_time"]
        .iter()
        .any(|name| body.get(*name).is_some_and(|time| !time.is_u64()))
    {
        return refuse(400, "start_time is no number of seconds");
    }
    Ok(Reply::json(
        201,
        &json!({"id": "1", "message": body["message"], "type": body["type"]}),
    ))
}
