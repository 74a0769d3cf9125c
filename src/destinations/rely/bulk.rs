//! Many entities of a file: one upsert each, since Rely documents no request for several (docs/vendors/rely.md 3).

use std::rc::Rc;

use serde_json::{Map, Value};

use super::{Api, Settings, check_blueprint, register::check_id, without_nulls, wrapped};
use crate::{
    delivery::plan::{Batch, Item, Plan},
    destinations::Context,
    problem::Problem,
    variables::{FilePath, type_of},
};

/// The variable that names the file.
pub(super) const VARIABLE: &str = "RELY_ENTITIES_FILE";

/// The most bytes of an entity. Rely names no limit; its client splits what is answered with 413.
const MOST_BYTES: usize = 1024 * 1024;

/// The plan for `upsert` of the entities in a file.
pub(super) fn upsert(context: &Context, settings: &Settings, FilePath(file): &FilePath) -> Plan {
    let blueprint = settings.blueprint.clone();
    let (settings, event) = (settings.clone(), context.event.clone());
    let batch = Batch {
        variable: VARIABLE,
        file: file.clone(),
        most: 1,
        most_bytes: MOST_BYTES,
        read: Rc::new(move |members| read(members, &blueprint)),
        request: Rc::new(move |_, items| {
            let (id, json) = items.first().map_or(("", "{}"), |item| (&item.identifier, &item.json));
            // It was made of JSON just now.
            let body = serde_json::from_str(json).unwrap_or_default();
            Rc::new(Api::new(&settings, id, &body, &event)).upsert()
        }),
    };
    let mut plan = Plan {
        batch: Some(batch),
        ..Plan::default()
    };
    let of_one = [
        "RELY_ENTITY_ID",
        "RELY_ENTITY_TITLE",
        "RELY_ENTITY_DESCRIPTION",
        "RELY_PROPERTIES",
        "RELY_RELATIONS",
    ];
    let unused: Vec<&str> = of_one
        .into_iter()
        .filter(|name| context.values.is_given(name))
        .collect();
    if !unused.is_empty() {
        let what = unused.join(", ");
        plan.notes
            .push(format!("{what}: not used, the entities are those of {VARIABLE}"));
    }
    plan
}

/// Why an operation can't be done with the entities of a file.
pub(super) fn refuse(operation: &str) -> Problem {
    Problem::new(
        VARIABLE,
        format!(
            "is set, and the entities of a file are upserted, not sent by {operation}; use rely:upsert, or leave the \
             variable empty for this job"
        ),
    )
}

/// An entity of the file as Rely wants it: its blueprint its own or else `blueprint`, relations wrapped, nulls left out.
fn read(mut members: Map<String, Value>, blueprint: &str) -> Result<Item, String> {
    let identifier = match members.get("id") {
        Some(Value::String(id)) if !id.is_empty() => id.clone(),
        None | Some(Value::Null | Value::String(_)) => return Err("has no \"id\"".to_owned()),
        Some(other) => return Err(format!("has \"id\" as {}; it has to be a string", type_of(other))),
    };
    check_id(&identifier).map_err(|problem| format!("has an \"id\" that {}", problem.message))?;
    match members.get("blueprintId") {
        None | Some(Value::Null) => drop(members.insert("blueprintId".to_owned(), blueprint.into())),
        Some(Value::String(own)) => {
            check_blueprint(own).map_err(|problem| format!("has a \"blueprintId\" that {}", problem.message))?;
        }
        Some(other) => {
            return Err(format!(
                "has \"blueprintId\" as {}; it has to be a string",
                type_of(other)
            ));
        }
    }
    if let Some(other) = members
        .get("properties")
        .filter(|value| !value.is_object() && !value.is_null())
    {
        return Err(format!(
            "has \"properties\" as {}; it has to be an object",
            type_of(other)
        ));
    }
    match members.get_mut("relations") {
        None | Some(Value::Null) => {}
        Some(Value::Object(relations)) => {
            *relations = wrapped(relations).map_err(|problem| format!("in \"relations\" {}", problem.message))?;
        }
        Some(other) => {
            return Err(format!(
                "has \"relations\" as {}; it has to be an object",
                type_of(other)
            ));
        }
    }
    Ok(Item {
        identifier,
        group: String::new(),
        json: without_nulls(Value::Object(members)).to_string(),
        name: String::new(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_entity_becomes_what_rely_wants() {
        let of = |entity: &Value| read(entity.as_object().unwrap().clone(), "service");
        let item =
            of(&json!({"id": "shop.a", "title": null, "relations": {"owner": "u1", "repo": {"value": "r"}}})).unwrap();
        assert_eq!(
            item.json,
            r#"{"id":"shop.a","relations":{"owner":{"value":"u1"},"repo":{"value":"r"}},"blueprintId":"service"}"#
        );
        let own = of(&json!({"id": "a", "blueprintId": "team"})).unwrap();
        assert_eq!(own.json, r#"{"id":"a","blueprintId":"team"}"#);
        for (entity, why) in [
            (json!({"title": "x"}), "has no \"id\""),
            (json!({"id": 7}), "has \"id\" as a number"),
            (
                json!({"id": "Shop A"}),
                "has an \"id\" that is `Shop A`; Rely takes a-z, 0-9, `_`, `.` and `-`, as in `shop.a`",
            ),
            (json!({"id": ".."}), "has an \"id\" that is `..`"),
            (
                json!({"id": "a", "blueprintId": "A"}),
                "has a \"blueprintId\" that is `A`",
            ),
            (json!({"id": "a", "properties": 1}), "has \"properties\" as a number"),
            (json!({"id": "a", "relations": []}), "has \"relations\" as an array"),
            (
                json!({"id": "a", "relations": {"x": true}}),
                "in \"relations\" has \"x\" as true or false",
            ),
        ] {
            let told = of(&entity).unwrap_err();
            assert!(told.contains(why), "{entity}: {told}");
        }
    }
}
