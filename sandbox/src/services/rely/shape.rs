//! The shape of an entity, whatever its blueprint.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value, json};

use super::request::Refusal;

/// Ids of entities and blueprints (docs/vendors/rely.md 2).
static ID: LazyLock<Regex> = LazyLock::new(|| Regex::new("^([a-z0-9_.-]+)$").expect("a constant pattern"));

/// The fields of an entity that a client may write (docs/vendors/rely.md 2).
const FIELDS: [&str; 9] = [
    "id",
    "blueprintId",
    "title",
    "description",
    "isActive",
    "isHidden",
    "properties",
    "relations",
    "sources",
];

/// An entity's optional fields as they are when not given.
pub(super) fn blank() -> Value {
    json!({"description": null, "isActive": true, "isHidden": false, "properties": {}, "relations": {}, "sources": []})
}

pub(super) fn text(entity: &Map<String, Value>, name: &str) -> String {
    entity.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Names and types of an entity's fields, relations as objects with `value`, no nulls (docs/vendors/rely.md 2).
pub(super) fn check_field(name: &str, value: &Value) -> Result<(), Refusal> {
    let wrong = |expected: &str| {
        let message = format!("Input should be a valid {expected}");
        Err(Refusal::invalid(&[name], &message, &format!("{expected}_type")))
    };
    match name {
        "id" | "blueprintId" => match value.as_str() {
            None => wrong("string"),
            Some(text) => check_id(text, &[name]),
        },
        "title" if value.as_str() == Some("") => Err(Refusal::invalid(
            &[name],
            "String should have at least 1 character",
            "string_too_short",
        )),
        "title" | "description" if !value.is_string() => wrong("string"),
        "isActive" | "isHidden" if !value.is_boolean() => wrong("boolean"),
        "sources" if !value.is_array() => wrong("list"),
        "properties" | "relations" if !value.is_object() => wrong("dictionary"),
        "properties" => match null_in(value) {
            None => Ok(()),
            Some(path) => {
                let path = std::iter::once(name).chain(path).collect::<Vec<_>>();
                Err(Refusal::invalid(&path, "Input should not be null", "none_not_allowed"))
            }
        },
        "relations" => value
            .as_object()
            .into_iter()
            .flatten()
            .try_for_each(|(key, value)| check_relation(key, value)),
        _ if FIELDS.contains(&name) => Ok(()),
        _ => Err(Refusal::invalid(
            &[name],
            "Extra inputs are not permitted",
            "extra_forbidden",
        )),
    }
}

fn check_id(id: &str, at: &[&str]) -> Result<(), Refusal> {
    if ID.is_match(id) {
        return Ok(());
    }
    Err(Refusal::invalid(
        at,
        "String should match pattern '^([a-z0-9_.-]+)$'",
        "string_pattern_mismatch",
    ))
}

/// `{"value": "id"}` or `{"value": ["id", …]}` (docs/vendors/rely.md 2).
fn check_relation(name: &str, relation: &Value) -> Result<(), Refusal> {
    let at = ["relations", name];
    let Some(fields) = relation.as_object() else {
        return Err(Refusal::invalid(&at, "Input should be a valid dictionary", "dict_type"));
    };
    let at = ["relations", name, "value"];
    match fields.get("value") {
        None => Err(Refusal::invalid(&at, "Field required", "missing")),
        Some(_) if fields.len() > 1 => Err(Refusal::invalid(
            &at[..2],
            "Extra inputs are not permitted",
            "extra_forbidden",
        )),
        Some(Value::String(id)) => check_id(id, &at),
        Some(Value::Array(ids)) => ids.iter().try_for_each(|id| match id.as_str() {
            Some(id) => check_id(id, &at),
            None => Err(Refusal::invalid(&at, "Input should be a valid string", "string_type")),
        }),
        Some(_) => Err(Refusal::invalid(
            &at,
            "Input should be a valid string or list",
            "value_error",
        )),
    }
}

/// Where there is a null, however deep: the vendor's own client removes them all (docs/vendors/rely.md 2).
fn null_in(value: &Value) -> Option<Vec<&str>> {
    let below = |name: &'static str, value| null_in(value).map(|path| [vec![name], path].concat());
    match value {
        Value::Null => Some(Vec::new()),
        Value::Array(values) => values.iter().find_map(|value| below("[]", value)),
        Value::Object(fields) => fields.iter().find_map(|(name, value)| {
            let path = null_in(value)?;
            Some(std::iter::once(name.as_str()).chain(path).collect())
        }),
        _ => None,
    }
}
