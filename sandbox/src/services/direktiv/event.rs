//! `CloudEvents`.

use serde_json::{Value, json};

use crate::clock::parse_time;

/// A `CloudEvent` with its defaults (docs/vendors/direktiv.md 6), or None if it isn't one: `source` and `type` as text,
/// a known version, names in lower case and digits, no objects but in `data`.
pub(super) fn cloud_event(event: Value) -> Option<Value> {
    let Value::Object(mut event) = event else { return None };
    event.retain(|name, value| name == "data" || !value.is_null());
    event.entry("specversion").or_insert_with(|| json!("1.0"));
    event
        .entry("id")
        .or_insert_with(|| json!(uuid::Uuid::new_v4().to_string()));
    let filled = |name: &str| {
        event
            .get(name)
            .and_then(Value::as_str)
            .is_some_and(|text| !text.is_empty())
    };
    let names =
        |name: &String| name == "data_base64" || name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let scalar = |(name, value): (&String, &Value)| name == "data" || !value.is_object() && !value.is_array();
    let timed = event
        .get("time")
        .is_none_or(|time| time.as_str().and_then(parse_time).is_some());
    let good = filled("id")
        && filled("source")
        && filled("type")
        && matches!(event["specversion"].as_str(), Some("1.0" | "0.3"))
        && event.keys().all(names)
        && event.iter().all(scalar)
        && timed
        && !(event.contains_key("data") && event.contains_key("data_base64"));
    good.then_some(Value::Object(event))
}

/// Whether two are the same event: a namespace knows one by its source and its id (docs/vendors/direktiv.md 6).
pub(super) fn is_same(one: &Value, other: &Value) -> bool {
    one["source"] == other["source"] && one["id"] == other["id"]
}
