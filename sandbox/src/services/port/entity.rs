//! An entity by itself: its fields, and how they are checked.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value, json};

use super::request::Refusal;
use crate::clock::now;
use crate::schema;

/// The fields of an entity's body (docs/vendors/port.md 2).
pub(super) const FIELDS: [&str; 6] = ["identifier", "title", "icon", "team", "properties", "relations"];

/// An entity with nothing but an identifier.
pub(super) fn blank(blueprint: &str, identifier: &str) -> Value {
    json!({"identifier": identifier, "title": null, "icon": null, "team": [], "properties": {}, "relations": {},
        "blueprint": blueprint, "createdAt": now(), "createdBy": "sandboxClientId9Qx2", "updatedAt": now(),
        "updatedBy": "sandboxClientId9Qx2"})
}

/// Puts a body's fields into an entity. A null takes a property away.
pub(super) fn fill(entity: &mut Value, body: &Map<String, Value>, relations: Map<String, Value>) {
    for name in ["title", "icon"] {
        if let Some(value) = body.get(name) {
            entity[name] = value.clone();
        }
    }
    match body.get("team") {
        None => {}
        Some(Value::String(team)) => entity["team"] = json!([team]),
        Some(Value::Null) => entity["team"] = json!([]),
        Some(teams) => entity["team"] = teams.clone(),
    }
    let properties = entity["properties"]
        .as_object_mut()
        .expect("an entity's properties are an object");
    for (name, value) in body.get("properties").and_then(Value::as_object).into_iter().flatten() {
        if value.is_null() {
            properties.remove(name);
        } else {
            properties.insert(name.clone(), value.clone());
        }
    }
    entity["relations"]
        .as_object_mut()
        .expect("an entity's relations are an object")
        .extend(relations);
}

/// The identifier's pattern, its look-ahead spelled out, and its length (docs/vendors/port.md 2).
pub(super) fn check_identifier(identifier: &str) -> Result<(), Refusal> {
    static PATTERN: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"^[\p{L}0-9@_.+:\\/='-]+$").expect("a constant pattern"));
    let fits = PATTERN.is_match(identifier) && !matches!(identifier, "." | "..");
    if !fits {
        return Err(Refusal::invalid(
            r#"body/identifier must match pattern "^(?!\.{1,2}$)[\p{L}0-9@_.+:\\/='-]+$""#,
        ));
    }
    if identifier.chars().count() > 1000 {
        return Err(Refusal::invalid(
            "body/identifier must NOT have more than 1000 characters",
        ));
    }
    Ok(())
}

/// The types of a body's known fields; others are tolerated here (docs/vendors/port.md 2).
pub(super) fn check_shape(body: &Map<String, Value>, patch: bool) -> Result<(), Refusal> {
    let text_or_query = |value: &Value| value.is_string() || value.is_object();
    let texts = |value: &Value| value.as_array().is_some_and(|all| all.iter().all(Value::is_string));
    for (name, value) in body {
        let fits = match name.as_str() {
            "identifier" => text_or_query(value),
            "title" | "icon" => value.is_string() || patch && value.is_null(),
            // A query for teams would need the `_team` blueprint, which this stand-in doesn't have.
            "team" => value.is_string() || texts(value) || patch && value.is_null(),
            "properties" => value.is_object(),
            "relations" => value.as_object().is_some_and(|relations| {
                relations
                    .values()
                    .all(|value| value.is_null() || text_or_query(value) || texts(value))
            }),
            _ => true,
        };
        if !fits {
            return Err(Refusal::invalid(format!("body/{name} has the wrong type")));
        }
    }
    Ok(())
}

/// Unknown and ill-typed properties are refused (docs/vendors/port.md 4, 9).
pub(super) fn check_properties(body: &Map<String, Value>, blueprint: &Value) -> Result<(), Refusal> {
    let mismatch = |message: String| Err(Refusal::new(422, "blueprint_schema_mismatch", message));
    for (name, value) in body.get("properties").and_then(Value::as_object).into_iter().flatten() {
        match blueprint["schema"]["properties"].get(name) {
            None => return mismatch(format!("The blueprint has no property \"{name}\"")),
            Some(_) if value.is_null() => {}
            Some(schema) => {
                if let Err(problem) = schema::check(value, schema) {
                    return mismatch(format!("properties/{name} {problem}"));
                }
            }
        }
    }
    Ok(())
}

pub(super) fn check_required(entity: &Value, blueprint: &Value) -> Result<(), Refusal> {
    let required = blueprint["schema"]["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    for name in required {
        if entity["properties"].get(name).is_none() {
            let message = format!("The property \"{name}\" is required");
            return Err(Refusal::new(422, "blueprint_schema_mismatch", message));
        }
    }
    for (name, definition) in blueprint["relations"].as_object().into_iter().flatten() {
        if definition["required"] == true && entity["relations"][name.as_str()].is_null() {
            return Err(Refusal::new(
                422,
                "required_relation",
                format!("The relation \"{name}\" is required"),
            ));
        }
    }
    Ok(())
}
