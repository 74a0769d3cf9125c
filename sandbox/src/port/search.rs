//! Searching entities, in all blueprints and in one (`vendors/port.md` §2).

use std::cmp::Ordering;

use serde_json::{Value, json};

use super::entities::{VIEW, view};
use super::{Port, Refusal, body, flag, only, query};
use crate::wire::{Reply, Request, parse_time};

/// The page of a search in a blueprint: what is the default, and what the most (§2).
const PAGE: usize = 200;
const LARGEST_PAGE: u64 = 1000;

impl Port {
    /// `POST /v1/entities/search`.
    pub(super) fn search(&self, request: &Request) -> Result<Reply, Refusal> {
        let query = query(request, &[VIEW.as_slice(), &["allow_partial_results"]].concat())?;
        for name in [
            "exclude_calculated_properties",
            "attach_title_to_relation",
            "allow_partial_results",
        ] {
            flag(&query, name)?;
        }
        let search = body(request)?;
        only(&search, &["combinator", "rules"])?;
        let search = Value::Object(search);
        check(&search)?;
        let (include, exclude) = (query.all("include"), query.all("exclude"));
        let (mut entities, mut blueprints) = (Vec::new(), Vec::new());
        for (blueprint, all) in &self.state.entities {
            for entity in all.values() {
                if fits(entity, &search)? {
                    entities.push(view(entity, &include, &exclude));
                    if blueprints.last() != Some(blueprint) {
                        blueprints.push(blueprint.clone());
                    }
                }
            }
        }
        Ok(Reply::json(
            200,
            &json!({"ok": true, "entities": entities, "matchingBlueprints": blueprints}),
        ))
    }

    /// `POST /v1/blueprints/{bp}/entities/search`, in pages.
    pub(super) fn search_in(&self, blueprint: &str, request: &Request) -> Result<Reply, Refusal> {
        query(request, &[])?;
        self.blueprint(blueprint)?;
        let body = body(request)?;
        only(&body, &["query", "include", "exclude", "limit", "from"])?;
        let names = |name: &str| match body.get(name) {
            None => Ok(Vec::new()),
            Some(value) => {
                let names = value
                    .as_array()
                    .and_then(|all| all.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
                names.ok_or(Refusal::invalid(format!("body/{name} must be an array of strings")))
            }
        };
        let (include, exclude) = (names("include")?, names("exclude")?);
        let limit = match body.get("limit") {
            None => PAGE,
            Some(limit) => {
                let limit = limit.as_u64().filter(|limit| (1..=LARGEST_PAGE).contains(limit));
                let limit = limit.ok_or(Refusal::invalid("body/limit must be between 1 and 1000"))?;
                usize::try_from(limit).expect("at most 1000")
            }
        };
        // The cursor is opaque to clients: the identifier that the last page ended with.
        let from = match body.get("from") {
            None => None,
            Some(cursor) => {
                let known = cursor.as_str().and_then(|cursor| cursor.strip_prefix("after:"));
                Some(known.ok_or(Refusal::invalid("body/from is not a cursor of this search"))?)
            }
        };
        if let Some(search) = body.get("query") {
            check(search)?;
        }
        let (mut entities, mut next) = (Vec::new(), None);
        for (identifier, entity) in self.state.entities.get(blueprint).into_iter().flatten() {
            let passed = from.is_some_and(|last| identifier.as_str() <= last);
            if passed || !body.get("query").map_or(Ok(true), |search| fits(entity, search))? {
                continue;
            }
            if entities.len() == limit {
                next = entities.last().map(|(last, _)| format!("after:{last}"));
                break;
            }
            entities.push((identifier, view(entity, &include, &exclude)));
        }
        let entities = entities.into_iter().map(|(_, entity)| entity).collect::<Vec<_>>();
        let mut reply = json!({"ok": true, "entities": entities});
        if let Some(next) = next {
            reply["next"] = json!(next);
        }
        Ok(Reply::json(200, &reply))
    }
}

/// Refuses what isn't `{"combinator": "and" or "or", "rules": […]}`, also where there is nothing to search.
fn check(search: &Value) -> Result<(), Refusal> {
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
