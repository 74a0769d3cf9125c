//! Blueprints: what is sent to one, what its JSON says, and what a refusal is about (docs/vendors/port.md 2, 4).

use serde_json::{Map, Value};

use super::{
    super::blueprint::{About, Portal, Relation, Schema, Sent},
    Job, error,
};
use crate::delivery::{plan::Verdict, reply::Reply};

/// The blueprint of `examples/port/deployment-blueprint.json`.
pub(super) const DEPLOYMENT: &str = "deployment";

static PORTAL: Portal = Portal {
    blueprint: "PORT_BLUEPRINT",
    properties: "PORT_PROPERTIES",
    relations: "PORT_RELATIONS",
    default: DEPLOYMENT,
    default_fields: "The default fields are those of examples/port/deployment-blueprint.json: in Port, Builder > + Blueprint \
                     > Edit JSON, paste, save",
};

/// What the body of a write sends.
pub(super) fn sent(job: &Job, body: &Value) -> Sent {
    let settings = &job.settings;
    let given = settings.properties.as_ref();
    Sent::new(&PORTAL, &settings.blueprint, body, given, job.context.event)
}

/// The verdict on a refusal of an entity, with the variable that it is about.
pub(super) fn refused(sent: &Sent, reply: &Reply) -> Verdict {
    let Some(code) = error(reply).filter(|_| matches!(reply.status, 400 | 403 | 404 | 422)) else {
        return Verdict::ByStatus;
    };
    // The code's own words are no part of what is said.
    let said = reply.text_at("/message").unwrap_or_default();
    let about = match code {
        "blueprint_schema_mismatch" => Some(About::Properties),
        "required_relation" | "relation_many_violation" => Some(About::Relations),
        "not_found" | "invalid_request" | "bad_request" => sent.about(said),
        _ => None,
    };
    let advice = match about {
        Some(about) => sent.advice(about, said),
        None if code == "team_inheritance_enabled" => "Leave PORT_TEAM unset".to_owned(),
        None if code == "not_found" => format!(
            "Compare PORT_BLUEPRINT (`{}`), PORT_ENTITY_ID and PORT_RELATIONS with what is there",
            sent.blueprint
        ),
        None => return Verdict::ByStatus,
    };
    Verdict::Rejected(format!("answered {}: {}. {advice}", reply.status, reply.complaint()))
}

/// What a blueprint's JSON says of its entities (docs/vendors/port.md 2).
pub(super) fn schema(blueprint: &Map<String, Value>) -> Schema<'_> {
    let members = |name: &str| blueprint.get(name).and_then(Value::as_object);
    let schema = members("schema");
    let required = schema.and_then(|schema| schema.get("required")?.as_array());
    let kinds = ["mirrorProperties", "calculationProperties", "aggregationProperties"];
    let relation = |definition: &Value| Relation {
        many: Some(definition["many"] == true),
        is_required: definition["required"] == true,
    };
    Schema {
        properties: schema.and_then(|schema| schema.get("properties")?.as_object()),
        calculated: kinds
            .into_iter()
            .filter_map(members)
            .flat_map(Map::keys)
            .map(String::as_str)
            .collect(),
        required: required.into_iter().flatten().filter_map(Value::as_str).collect(),
        relations: members("relations").map(|relations| {
            let relations = relations.iter();
            relations
                .map(|(name, definition)| (name.as_str(), relation(definition)))
                .collect()
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{FIRST, in_words, plan, read};

    const PROPERTIES: (&str, &str) = ("PORT_PROPERTIES", r#"{"size": 1}"#);
    const RELATIONS: (&str, &str) = ("PORT_RELATIONS", r#"{"service": "shop"}"#);
    const SUCCESS: (&str, &str) = ("EVENT_ACTION", "success");

    /// The table of docs/vendors/port.md 4, as far as it is about blueprints; what Port's messages say is not known.
    #[test]
    fn a_refusal_names_the_variable_that_it_is_about_and_keeps_ports_words() {
        let service = ("PORT_BLUEPRINT", "service");
        for (more, status, code, message, advice) in [
            (
                &[PROPERTIES][..],
                422,
                "blueprint_schema_mismatch",
                "why",
                "Compare PORT_PROPERTIES with the blueprint `deployment`",
            ),
            (
                &[PROPERTIES],
                422,
                "invalid_request",
                "body/properties/size must be string",
                "Compare PORT_PROPERTIES with",
            ),
            (
                &[],
                422,
                "blueprint_schema_mismatch",
                "no \"url\"",
                "PORT_BLUEPRINT is `deployment`. The default fields are those of examples/port/",
            ),
            (
                &[],
                404,
                "not_found",
                "Blueprint \"deployment\" was not found",
                "Builder > + Blueprint > Edit JSON",
            ),
            (
                &[PROPERTIES, service],
                404,
                "not_found",
                "Blueprint \"service\" was not found",
                "PORT_BLUEPRINT is `service`: correct it",
            ),
            (
                &[RELATIONS],
                404,
                "not_found",
                "\"service\" was not found",
                "Compare PORT_RELATIONS with",
            ),
            (
                &[RELATIONS],
                422,
                "relation_many_violation",
                "",
                "Compare PORT_RELATIONS with",
            ),
            (
                &[],
                422,
                "required_relation",
                "",
                "Give what the blueprint `deployment` wants in PORT_RELATIONS",
            ),
            (&[], 403, "required_relation", "", "in PORT_RELATIONS"),
            (
                &[("PORT_TEAM", "a")],
                422,
                "team_inheritance_enabled",
                "",
                "Leave PORT_TEAM unset",
            ),
            (
                &[],
                404,
                "not_found",
                "nothing",
                "Compare PORT_BLUEPRINT (`deployment`), PORT_ENTITY_ID and PORT_RELATIONS",
            ),
        ] {
            let body = json!({"ok": false, "error": code, "message": message}).to_string();
            let more = [more, &[SUCCESS]].concat();
            for operation in ["upsert", "create", "replace", "patch"] {
                let verdict = in_words(&read(&plan(operation, &more).steps[0], FIRST, status, &body));
                let said = format!("rejected answered {status}: {code}");
                assert!(verdict.starts_with(&said) && verdict.contains(message), "{verdict}");
                assert!(verdict.contains(advice), "{operation}: {verdict}");
            }
        }
        for (status, body) in [
            (404, "<html>"),
            (422, r#"{"message": "why"}"#),
            (500, r#"{"ok":false,"error":"not_found"}"#),
        ] {
            assert_eq!(
                in_words(&read(&plan("upsert", &[SUCCESS]).steps[0], FIRST, status, body)),
                "by status"
            );
        }
    }
}
