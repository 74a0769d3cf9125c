//! Many entities of a file, in Port's own bulk form (docs/vendors/port.md 2).

use std::{collections::HashMap, rc::Rc};

use serde_json::{Map, Value};

use super::{
    Api, BODY_LIMIT, Job,
    entities::{self, check_identifier},
    undocumented,
};
use crate::{
    delivery::{
        plan::{Batch, Item, Plan, Refused, Step, Verdict},
        reply::Reply,
        request::{Method, segment},
    },
    problem::Problem,
    text::truncate,
    variables::{FilePath, Flag, type_of},
};

/// The variable that names the file.
pub(super) const VARIABLE: &str = "PORT_ENTITIES_FILE";

/// The most entities of one bulk request (docs/vendors/port.md 2).
pub(super) const MOST: usize = 20;

/// What stands around the entities of a request.
const AROUND: (&str, &str) = (r#"{"entities":["#, "]}");

/// How much of Port's message is shown, in characters.
const SHOWN: usize = 300;

/// The plan for `upsert` of the entities in a file.
pub(super) fn upsert(job: &Job, FilePath(file): &FilePath) -> Result<Plan, Problem> {
    let settings = &job.settings;
    entities::check_blueprint("PORT_BLUEPRINT", &settings.blueprint)?;
    let parameters = entities::parameters(settings, "upsert");
    let blueprint = settings.blueprint.clone();
    let api = job.api.clone();
    let batch = Batch {
        variable: VARIABLE,
        file: file.clone(),
        most: MOST,
        most_bytes: BODY_LIMIT - AROUND.0.len() - AROUND.1.len(),
        read: Rc::new(move |members| read(members, &blueprint)),
        request: Rc::new(move |blueprint, items| request(&api, blueprint, &parameters, items)),
    };
    let mut plan = Plan {
        batch: Some(batch),
        remaining_header: Some("x-ratelimit-remaining"),
        ..Plan::default()
    };
    let unused = unused(job);
    if !unused.is_empty() {
        let what = unused.join(", ");
        plan.notes
            .push(format!("{what}: not used, the entities are those of {VARIABLE}"));
    }
    if settings.validation_only == Some(Flag(true)) {
        let note = "PORT_VALIDATION_ONLY is true: the entities are only checked, nothing is written";
        plan.notes.push(note.to_owned());
    }
    Ok(plan)
}

/// Why an operation can't be done with the entities of a file.
pub(super) fn refuse(operation: &str) -> Problem {
    let instead = match operation {
        "replace" => "port:upsert with PORT_MERGE: \"false\" overwrites each entity",
        _ => "use port:upsert, or leave the variable empty for this job",
    };
    Problem::new(
        VARIABLE,
        format!("is set, and Port takes many entities at once as an upsert only, not as {operation}; {instead}"),
    )
}

/// Variables that are set, and tell of one entity only.
fn unused(job: &Job) -> Vec<&'static str> {
    let of_one = [
        "PORT_ENTITY_ID",
        "PORT_ENTITY_TITLE",
        "PORT_ICON",
        "PORT_TEAM",
        "PORT_PROPERTIES",
        "PORT_RELATIONS",
    ];
    let is_given = |name: &&str| job.context.values.is_given(name);
    of_one.into_iter().filter(is_given).collect()
}

/// An entity of the file; its blueprint is its own, or else `blueprint`.
fn read(members: Map<String, Value>, blueprint: &str) -> Result<Item, String> {
    let identifier = match members.get("identifier") {
        Some(Value::String(identifier)) if !identifier.is_empty() => identifier.clone(),
        None | Some(Value::Null | Value::String(_)) => return Err("has no \"identifier\"".to_owned()),
        Some(other) => {
            return Err(format!(
                "has \"identifier\" as {}; it has to be a string",
                type_of(other)
            ));
        }
    };
    let its = |problem: Problem| format!("has an {} that {}", problem.variable, problem.message);
    check_identifier("\"identifier\"", &identifier).map_err(its)?;
    let group = match members.get("blueprint") {
        None | Some(Value::Null) => blueprint.to_owned(),
        Some(Value::String(own)) => {
            let its = |problem: Problem| format!("has a \"blueprint\" that {}", problem.message);
            entities::check_blueprint("\"blueprint\"", own).map_err(its)?;
            own.clone()
        }
        Some(other) => {
            return Err(format!(
                "has \"blueprint\" as {}; it has to be a string",
                type_of(other)
            ));
        }
    };
    for name in ["properties", "relations"] {
        if let Some(other) = members.get(name).filter(|value| !value.is_object()) {
            return Err(format!("has \"{name}\" as {}; it has to be an object", type_of(other)));
        }
    }
    Ok(Item {
        identifier,
        group,
        json: Value::Object(members).to_string(),
        name: String::new(),
    })
}

fn request(api: &Api, blueprint: &str, parameters: &str, items: &[Item]) -> Step {
    let path = format!("/blueprints/{}/entities/bulk{parameters}", segment(blueprint));
    let all: Vec<&str> = items.iter().map(|item| item.json.as_str()).collect();
    let body = format!("{}{}{}", AROUND.0, all.join(","), AROUND.1);
    let request = api.request(Method::Post, &path).body("application/json", body);
    let identifiers: Vec<String> = items.iter().map(|item| item.identifier.clone()).collect();
    Step::new("bulk upsert", request, move |reply, _| fates(reply, &identifiers))
}

/// What became of each: 200, or 207 where some were refused; either may have `errors` (docs/vendors/port.md 2).
pub(super) fn fates(reply: &Reply, identifiers: &[String]) -> Verdict {
    let body = match reply.expect_object() {
        Ok(body) => body,
        Err(unexpected) => return unexpected.into(),
    };
    let list = |name: &str| body.get(name).and_then(Value::as_array).map(Vec::as_slice);
    let (taken, errors) = (list("entities"), list("errors"));
    if taken.is_none() && errors.is_none() {
        return if body.get("ok") == Some(&Value::Bool(false)) {
            reply.contradictory().into()
        } else {
            undocumented(reply, "\"entities\" or \"errors\"")
        };
    }
    let place = |told: &Value| {
        let named = || {
            identifiers
                .iter()
                .position(|identifier| told["identifier"] == **identifier)
        };
        let index = told["index"].as_u64().and_then(|index| usize::try_from(index).ok());
        index.filter(|index| *index < identifiers.len()).or_else(named)
    };
    let mut refused: HashMap<usize, Refused> = HashMap::new();
    for told in errors.unwrap_or_default() {
        let Some(index) = place(told) else { continue };
        let text = |name: &str| told[name].as_str().filter(|text| !text.is_empty());
        let said: Vec<&str> = ["error", "message"].into_iter().filter_map(text).collect();
        let status = told["statusCode"]
            .as_u64()
            .and_then(|status| u16::try_from(status).ok());
        let status_word = status.map_or("an error".to_owned(), |status| status.to_string());
        let why = if said.is_empty() {
            format!("answered {status_word}")
        } else {
            format!("answered {status_word}: {}", truncate(&said.join(": "), SHOWN))
        };
        refused.insert(index, Refused { index, status, why });
    }
    let mut is_told = vec![false; identifiers.len()];
    for index in taken.unwrap_or_default().iter().filter_map(place) {
        is_told[index] = true;
    }
    for index in (0..identifiers.len()).filter(|index| !is_told[*index]) {
        refused.entry(index).or_insert_with(|| Refused {
            index,
            status: None,
            why: format!("answered {} without a word of it", reply.status),
        });
    }
    let mut refused: Vec<Refused> = refused.into_values().collect();
    refused.sort_by_key(|one| one.index);
    Verdict::DoneButFor(refused)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read_json(entity: &Value) -> Result<Item, String> {
        read(entity.as_object().unwrap().clone(), "service")
    }

    #[test]
    fn an_entity_has_an_identifier_and_may_have_a_blueprint_of_its_own() {
        let item = read_json(&json!({"identifier": "acme/shop", "properties": {"size": 1}})).unwrap();
        assert_eq!(
            (&*item.group, &*item.json),
            ("service", r#"{"identifier":"acme/shop","properties":{"size":1}}"#)
        );
        let item = read_json(&json!({"identifier": "a", "blueprint": "team"})).unwrap();
        assert_eq!(item.group, "team");
        for (entity, why) in [
            (json!({}), "has no \"identifier\""),
            (json!({"identifier": ""}), "has no \"identifier\""),
            (json!({"identifier": null}), "has no \"identifier\""),
            (json!({"identifier": {"rules": []}}), "has \"identifier\" as an object"),
            (
                json!({"identifier": "a b"}),
                "has an \"identifier\" that is `a b`, with ' ' in it",
            ),
            (
                json!({"identifier": "a".repeat(1001)}),
                "of 1001 characters; Port allows 1000",
            ),
            (json!({"identifier": ".."}), "which Port refuses"),
            (
                json!({"identifier": "a", "blueprint": 7}),
                "has \"blueprint\" as a number",
            ),
            (
                json!({"identifier": "a", "blueprint": "a=b"}),
                "has a \"blueprint\" that is `a=b`",
            ),
            (
                json!({"identifier": "a", "properties": []}),
                "has \"properties\" as an array",
            ),
            (
                json!({"identifier": "a", "relations": "x"}),
                "has \"relations\" as a string",
            ),
        ] {
            let told = read_json(&entity).unwrap_err();
            assert!(told.contains(why), "{entity}: {told}");
        }
    }

    #[test]
    fn what_became_of_each_is_read_from_whatever_the_reply_says() {
        let identifiers = ["a", "b", "c"].map(str::to_owned);
        let fates =
            |status: u16, body: &Value| match fates(&Reply::new(status, Vec::new(), body.to_string()), &identifiers) {
                Verdict::DoneButFor(refused) => refused
                    .iter()
                    .map(|one| format!("{} {:?} {}", one.index, one.status, one.why))
                    .collect::<Vec<_>>()
                    .join("; "),
                other => format!("{other:?}"),
            };
        let taken = |indexes: &[u64]| -> Vec<Value> {
            indexes
                .iter()
                .map(|index| json!({"index": index, "identifier": "?"}))
                .collect()
        };
        for (status, body, expected) in [
            (
                200,
                json!({"ok": true, "entities": taken(&[0, 1, 2]), "errors": []}),
                "",
            ),
            (200, json!({"ok": true, "entities": taken(&[0, 1, 2])}), ""),
            (
                207,
                json!({"ok": false, "entities": taken(&[0, 2]), "errors": [{"identifier": "b", "index": 1, "statusCode": 422, "error": "blueprint_schema_mismatch", "message": "no such property"}]}),
                "1 Some(422) answered 422: blueprint_schema_mismatch: no such property",
            ),
            (
                200,
                json!({"ok": true, "entities": [{"identifier": "a"}, {"identifier": "c"}], "errors": [{"identifier": "b", "statusCode": 404}]}),
                "1 Some(404) answered 404",
            ),
            (
                207,
                json!({"ok": false, "entities": taken(&[0, 1, 2]), "errors": [{"index": 0, "message": "no"}, {"index": 9}, 7]}),
                "0 None answered an error: no",
            ),
            (
                207,
                json!({"ok": false, "entities": taken(&[0]), "errors": []}),
                "1 None answered 207 without a word of it; 2 None answered 207 without a word of it",
            ),
            (
                200,
                json!({"ok": true}),
                "Undocumented(\"answered 200 without \\\"entities\\\" or \\\"errors\\\", which this API never does: the address may lead somewhere else\")",
            ),
            (
                200,
                json!({"ok": false, "error": "x"}),
                "Undocumented(\"answered 200, but says: x\")",
            ),
            (413, json!({"ok": false}), "ByStatus"),
        ] {
            assert_eq!(fates(status, &body), expected, "{body}");
        }
    }
}
