//! The page for people: what each service holds, and what it was asked. It is rendered here, without scripts, so that
//! a hostile branch name can only ever be text.

use std::fmt::Write;

use serde_json::Value;

use crate::journal::Recorded;
use crate::services::{Service, credential_fields, is_credential_header, is_credential_parameter};
use crate::shared::Shared;
use crate::wire::Reply;

/// How many requests are shown, and how much of each text: a page is for a glance, the JSON routes have it all.
const SHOWN_REQUESTS: usize = 100;
const SHOWN_CHARACTERS: usize = 4000;

const MASK: &str = "••••••";

const STYLE: &str = "\
    :root{color-scheme:light dark;font:15px/1.45 system-ui,sans-serif}\
    body{max-width:72rem;margin:2rem auto;padding:0 1rem}\
    h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}\
    pre{overflow:auto;max-height:24rem;padding:.75rem;border:1px solid #8884;border-radius:6px;font-size:.85em}\
    table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #8884;\
    vertical-align:top}td.path{word-break:break-all}.bad{color:#c33}summary{cursor:pointer}";

/// `GET /`.
pub(crate) fn render(shared: &Shared) -> Reply {
    let secrets = shared.secrets();
    let text = |text: &str| escape(&shorten(&mask(text, &secrets)));
    let mut page = String::from("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">");
    // A refresh by the browser itself needs no script.
    page += "<meta http-equiv=\"refresh\" content=\"5\"><title>notify-event sandbox</title><style>";
    page += STYLE;
    page += "</style></head><body><h1>notify-event sandbox</h1><p>What each service holds, and the requests it got. \
        Credentials are masked.</p>";
    let states = {
        let mut stand_ins = shared.stand_ins();
        Service::ALL.map(|service| (service, stand_ins.of(service).state()))
    };
    for (service, state) in states {
        let pretty = serde_json::to_string_pretty(&holdings(service, state)).unwrap_or_default();
        write!(
            page,
            "<h2 id=\"{0}\">{0}</h2><pre>{1}</pre>",
            service.name(),
            text(&pretty)
        )
        .ok();
    }
    let entries = shared.journal().entries();
    write!(page, "<h2 id=\"requests\">{} requests, newest first</h2><table><thead><tr><th>service<th>request<th>answer</tr></thead><tbody>", entries.len()).ok();
    for entry in entries.iter().rev().take(SHOWN_REQUESTS) {
        let query = if entry.query.is_empty() {
            String::new()
        } else {
            format!("?{}", mask_parameters(&entry.query))
        };
        let line = format!("{} {}{query}", entry.method, entry.path);
        let answer = entry
            .status
            .map_or_else(|| "none".to_owned(), |status| status.to_string());
        let class = if entry.status.is_some_and(|status| status < 400) {
            "good"
        } else {
            "bad"
        };
        write!(
            page,
            "<tr><td>{}<td class=\"path\"><details><summary>{}</summary><pre>{}</pre></details><td class=\"{class}\">{answer}</tr>",
            entry.service.name(),
            text(&line),
            text(&details(entry)),
        )
        .ok();
    }
    page += "</tbody></table></body></html>";
    // Should an escape ever be missed, nothing on the page may run or be fetched.
    Reply::html(200, &page)
        .with(
            "content-security-policy",
            "default-src 'none'; style-src 'unsafe-inline'",
        )
        .with("cache-control", "no-store")
}

/// A state without what is the same in every sandbox.
fn holdings(service: Service, mut state: Value) -> Value {
    if let Some(state) = state.as_object_mut() {
        for name in service.declaration().fixed_state {
            state.remove(*name);
        }
    }
    state
}

/// Headers and body, as one text. Headers that carry credentials are masked whatever they hold: a wrong token can be
/// somebody's real one.
fn details(entry: &Recorded) -> String {
    let mut text = String::new();
    for (name, value) in &entry.headers {
        let value = if is_credential_header(name) { MASK } else { value };
        writeln!(text, "{name}: {value}").ok();
    }
    let mut body = entry.json();
    let body = if body.is_null() {
        entry.text()
    } else {
        for field in credential_fields() {
            if let Some(secret) = body.get_mut(field) {
                *secret = Value::from(MASK);
            }
        }
        serde_json::to_string_pretty(&body).unwrap_or_default()
    };
    text + "\n" + &body
}

/// Masks the parameters that credentials are sent in.
fn mask_parameters(query: &str) -> String {
    let masked = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, _)) if is_credential_parameter(name) => format!("{name}={MASK}"),
        _ => pair.to_owned(),
    });
    masked.collect::<Vec<_>>().join("&")
}

/// Masks every known credential, also as it looks inside JSON.
fn mask(text: &str, secrets: &[String]) -> String {
    let mut masked = text.to_owned();
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        let quoted = Value::from(secret.as_str()).to_string();
        masked = masked.replace(secret, MASK).replace(&quoted[1..quoted.len() - 1], MASK);
    }
    masked
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            character => escaped.push(character),
        }
    }
    escaped
}
