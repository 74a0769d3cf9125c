//! Blueprints: what they say of an entity before it is sent, and of what was refused (docs/vendors/rely.md 5).

use serde_json::{Map, Value};

use super::{
    super::blueprint::{About, Portal, Relation, Schema, Sent},
    Settings,
};
use crate::{
    delivery::{
        plan::{Step, Verdict},
        reply::Reply,
        request::Request,
    },
    event::Event,
    problem::Problem,
};

static PORTAL: Portal = Portal {
    blueprint: "RELY_BLUEPRINT",
    properties: "RELY_PROPERTIES",
    relations: "RELY_RELATIONS",
    default: "deployment",
    default_fields: "The default fields are those of Rely's stock blueprint `deployment`",
};

/// What an entity's JSON sends.
pub(super) fn sent(settings: &Settings, entity: &Value, event: &Event) -> Sent {
    let given = settings.properties.as_ref();
    Sent::new(&PORTAL, &settings.blueprint, entity, given, event)
}

/// The verdict on a refusal of an entity, with the variable that it is about, if Rely's words tell: there are no codes.
pub(super) fn refused(sent: &Sent, reply: &Reply) -> Verdict {
    let is_relys_own = reply.json().is_some_and(|body| body.get("detail").is_some());
    let said = reply.said();
    match sent.about(&said) {
        Some(about) if is_relys_own && matches!(reply.status, 400 | 404 | 422) => Verdict::Rejected(format!(
            "answered {}: {}. {}",
            reply.status,
            reply.complaint(),
            sent.advice(about, &said)
        )),
        _ => Verdict::ByStatus,
    }
}

/// Reads the blueprint before `next`, which is given what there is to say of it. That the route is there, and what it
/// answers, is known from Rely's own client; whether an API key may use it is not, so what it refuses is no failure
/// (docs/vendors/rely.md 3).
pub(super) fn check(request: Request, sent: Sent, next: impl Fn(&'static str) -> Step + 'static) -> Step {
    Step::new("check", request, move |reply, _| {
        let blueprint = match reply.expect_object() {
            Ok(body) => body.get("schemaProperties").map(|_| body),
            Err(_) if is_missing(reply) => {
                return Verdict::Misconfigured(format!("{}. {}", reply.complaint(), sent.advice(About::Blueprint, "")));
            }
            Err(_) if matches!(reply.status, 403..=405) => None,
            Err(unexpected) => return unexpected.into(),
        };
        let Some(blueprint) = blueprint else {
            return Verdict::Then(next(
                "; the blueprint can't be read, so that what is sent was not compared with it",
            ));
        };
        let problems = sent.misfits(&schema(blueprint), false);
        if problems.is_empty() {
            return Verdict::Then(next("; what is sent fits the blueprint"));
        }
        let problems: Vec<String> = problems.iter().map(Problem::to_string).collect();
        Verdict::Misconfigured(problems.join("; "))
    })
    .large()
}

/// Whether Rely says that there is no such blueprint, rather than no such route: `FastAPI`'s own 404 says "Not Found" alone.
fn is_missing(reply: &Reply) -> bool {
    let said = reply.said().to_lowercase();
    matches!(reply.status, 400 | 404) && said.contains("blueprint") && said.contains("not found")
}

/// What a blueprint's JSON says of its entities (docs/vendors/rely.md 4). What is required is not known to be checked.
fn schema(blueprint: &Map<String, Value>) -> Schema<'_> {
    let relation = Relation {
        many: None,
        is_required: false,
    };
    let relations = blueprint.get("relations").and_then(Value::as_object);
    Schema {
        properties: blueprint
            .get("schemaProperties")
            .and_then(|schema| schema.get("properties")?.as_object()),
        relations: relations.map(|relations| relations.keys().map(|name| (name.as_str(), relation)).collect()),
        ..Schema::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{
        super::testing::{FIRST, in_words, read, try_check, try_plan, wire},
        *,
    };

    const JOB: &[(&str, &str)] = &[
        ("CI_PROJECT_PATH", "acme/shop"),
        ("CI_PROJECT_PATH_SLUG", "acme-shop"),
        ("CI_PIPELINE_ID", "8812"),
        ("RELY_API_TOKEN", "t"),
        ("EVENT_ACTION", "success"),
    ];
    const PROPERTIES: (&str, &str) = ("RELY_PROPERTIES", r#"{"size": 1}"#);
    const RELATIONS: (&str, &str) = ("RELY_RELATIONS", r#"{"service": "shop"}"#);

    #[test]
    fn a_refusal_names_the_variable_that_it_is_about_and_keeps_relys_words() {
        let property = json!([{"loc": ["body", "properties", "size"], "msg": "must be string"}]);
        for (more, status, detail, advice) in [
            (
                &[PROPERTIES][..],
                422,
                property,
                "Compare RELY_PROPERTIES with the blueprint `deployment`",
            ),
            (
                &[PROPERTIES],
                400,
                json!("Property size is not defined"),
                "Compare RELY_PROPERTIES with",
            ),
            (
                &[],
                400,
                json!("Property 'link' is not defined"),
                "The default fields are those of Rely's stock blueprint",
            ),
            (
                &[RELATIONS],
                400,
                json!("Relation service is not defined"),
                "Compare RELY_RELATIONS with",
            ),
            (
                &[PROPERTIES],
                400,
                json!("Blueprint with id deployment not found"),
                "RELY_BLUEPRINT is `deployment`: correct it",
            ),
        ] {
            let body = json!({ "detail": detail }).to_string();
            for operation in ["upsert", "create", "replace", "patch"] {
                let plan = try_plan(&DESTINATION, operation, JOB.iter().chain(more)).unwrap();
                let verdict = in_words(&read(&plan.steps[0], FIRST, status, &body));
                assert!(
                    verdict.starts_with(&format!("rejected answered {status}: ")),
                    "{verdict}"
                );
                assert!(verdict.contains(advice), "{operation}: {verdict}");
            }
        }
        let plan = try_plan(&DESTINATION, "patch", JOB).unwrap();
        for (status, body) in [
            (404, r#"{"detail":"Entity with id x not found"}"#),
            (422, r#"{"detail":"no"}"#),
            (500, r#"{"detail":"Property x"}"#),
            (400, "a blueprint of a page"),
        ] {
            assert_eq!(
                in_words(&read(&plan.steps[0], FIRST, status, body)),
                "by status",
                "{body}"
            );
        }
    }

    #[test]
    fn a_check_compares_what_would_be_sent_with_the_blueprint_where_it_can_be_read() {
        let blueprint = |properties: Value| {
            json!({"id": "deployment", "schemaProperties": {"properties": properties}, "relations": {}}).to_string()
        };
        let compared = "; what is sent fits the blueprint";
        let unread = "; the blueprint can't be read";
        for (more, status, reply, expected) in [
            (
                &[PROPERTIES][..],
                200,
                blueprint(json!({"size": {"type": "number"}})).as_str(),
                compared,
            ),
            (
                &[PROPERTIES],
                200,
                &blueprint(json!({"size": {"type": "string"}})),
                "misconfigured RELY_PROPERTIES does not fit",
            ),
            (
                &[PROPERTIES, RELATIONS],
                200,
                &blueprint(json!({"size": {}})),
                "misconfigured RELY_RELATIONS does not fit",
            ),
            (
                &[],
                200,
                &blueprint(json!({})),
                "misconfigured RELY_BLUEPRINT is `deployment`, which the default fields do not fit",
            ),
            (
                &[],
                404,
                r#"{"detail":"Blueprint with id deployment not found"}"#,
                "misconfigured Blueprint with id deployment",
            ),
            (&[], 404, r#"{"detail":"Not Found"}"#, unread),
            (&[], 403, r#"{"detail":"no"}"#, unread),
            (&[], 405, r#"{"detail":"Method Not Allowed"}"#, unread),
            (&[], 200, r#"{"id":"deployment"}"#, unread),
            (&[], 401, r#"{"detail":"no"}"#, "by status"),
            (&[], 503, "", "by status"),
            (&[], 200, "<html>", "undocumented"),
        ] {
            let plan = try_check(&DESTINATION, "upsert", JOB.iter().chain(more)).unwrap();
            let step = &plan.steps[0];
            assert_eq!(
                wire(&step.request),
                "GET https://magneto.rely.io/api/v1/blueprints/deployment"
            );
            let verdict = match read(step, FIRST, status, reply) {
                Verdict::Then(next) => in_words(&read(&next, FIRST, 404, r#"{"detail":"x"}"#)),
                verdict => in_words(&verdict),
            };
            assert!(verdict.contains(expected), "{more:?} {status}: {verdict}");
        }
        let plan = try_check(&DESTINATION, "get", JOB).unwrap();
        assert!(wire(&plan.steps[0].request).ends_with("/entities/acme-shop-8812"));
    }
}
