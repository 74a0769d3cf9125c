//! The rules that entities are searched by: `{"combinator": "and", "rules": […]}`.

use std::cmp::Ordering;

use serde_json::{Value, json};

use super::request::Refusal;
use crate::clock::parse_time;

/// Refuses what isn't `{"combinator": "and" or "or", "rules": […]}`, also where there is nothing to search.
pub(super) fn check(search: &Value) -> Result<(), Refusal> {
    if search.get("combinator").is_none() {
        return Err(Refusal::invalid("body must have required property 'combinator'"));
    }
    fits(&Value::Null, search).map(drop)
}

/// Whether an entity fits a rule, or a group of rules.
pub(super) fn fits(entity: &Value, rule: &Value) -> Result<bool, Refusal> {
    if let Some(combinator) = rule.get("combinator") {
        let rules = rule["rules"]
            .as_array()
            .ok_or(Refusal::invalid("body must have required property 'rules'"))?;
        let verdicts = rules
            .iter()
            .map(|rule| fits(entity, rule))
            .collect::<Result<Vec<_>, _>>()?;
        return match combinator.as_str() {
            Some("and") => Ok(verdicts.iter().all(|verdict| *verdict)),
            Some("or") => Ok(verdicts.contains(&true)),
            _ => Err(Refusal::invalid(
                "body/combinator must be equal to one of the allowed values: and, or",
            )),
        };
    }
    let operator = rule["operator"]
        .as_str()
        .ok_or(Refusal::invalid("a rule must have required property 'operator'"))?;
    let wanted = &rule["value"];
    if operator == "relatedTo" {
        return Ok(related(entity, wanted));
    }
    let property = rule["property"]
        .as_str()
        .ok_or(Refusal::invalid("a rule must have required property 'property'"))?;
    let actual = match property.strip_prefix('$') {
        Some(meta @ ("identifier" | "title" | "blueprint" | "team" | "createdAt" | "updatedAt")) => &entity[meta],
        Some(_) => return Err(Refusal::invalid(format!("there is no meta-property {property}"))),
        None => &entity["properties"][property],
    };
    let needs_value = !matches!(operator, "isEmpty" | "isNotEmpty");
    if needs_value && rule.get("value").is_none() {
        return Err(Refusal::invalid("a rule must have required property 'value'"));
    }
    let text = |check: fn(&str, &str) -> bool| match (actual, wanted.as_str()) {
        (Value::String(actual), Some(wanted)) => check(actual, wanted),
        (Value::Array(all), Some(wanted)) => all.iter().filter_map(Value::as_str).any(|actual| check(actual, wanted)),
        _ => false,
    };
    let empty = actual.is_null() || *actual == json!("") || *actual == json!([]);
    let listed = wanted.as_array().is_some_and(|all| all.contains(actual));
    let order = compare(actual, wanted);
    Ok(match operator {
        "=" => actual == wanted,
        "!=" => actual != wanted,
        "contains" => text(|actual, wanted| actual.contains(wanted)),
        "doesNotContain" => !text(|actual, wanted| actual.contains(wanted)),
        "beginsWith" => text(|actual, wanted| actual.starts_with(wanted)),
        "endsWith" => text(|actual, wanted| actual.ends_with(wanted)),
        "containsAny" => wanted
            .as_array()
            .into_iter()
            .flatten()
            .any(|one| actual == one || actual.as_array().is_some_and(|all| all.contains(one))),
        "in" => listed,
        "notIn" => !listed,
        "isEmpty" => empty,
        "isNotEmpty" => !empty,
        ">" => order == Some(Ordering::Greater),
        ">=" => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        "<" => order == Some(Ordering::Less),
        "<=" => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        _ => return Err(Refusal::invalid(format!("the operator {operator} is unknown here"))),
    })
}

fn compare(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.as_f64()?.partial_cmp(&right.as_f64()?),
        (Value::String(left), Value::String(right)) => Some(match (parse_time(left), parse_time(right)) {
            (Some(left), Some(right)) => left.cmp(&right),
            _ => left.cmp(right),
        }),
        _ => None,
    }
}

/// Whether one of the entity's own relations names this identifier.
fn related(entity: &Value, wanted: &Value) -> bool {
    entity["relations"]
        .as_object()
        .into_iter()
        .flatten()
        .any(|(_, value)| value == wanted || value.as_array().is_some_and(|all| all.contains(wanted)))
}
