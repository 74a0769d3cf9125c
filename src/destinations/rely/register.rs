//! Entities compared with GitLab's record: asked for one by one, since Rely documents no search by ids, created, and amended
//! (docs/vendors/rely.md 3).

use std::rc::Rc;

use serde_json::{Map, Value, json};

use super::{Api, IfThere, PATCH, Settings, check_blueprint, cut, entity, id, is_legal, is_missing, without_nulls};
use crate::{
    delivery::{
        plan::{Delivered, Plan, Step, Verdict},
        request::Method,
    },
    destinations::{
        Context,
        register::{Entity, Register},
    },
    problem::{Problem, Unmade},
    text::truncate,
};

/// Rely as a register of deployments.
pub(super) const REGISTER: Register = Register {
    blueprint: "RELY_BLUEPRINT",
    entity: made,
    most_asked: 1,
    ask,
    most_created: 1,
    create,
    amend,
};

/// The settings, as if `blueprint` were the one that they name.
fn settings(context: &Context, blueprint: &str) -> Result<Settings, Unmade> {
    check_blueprint(blueprint)?;
    Ok(Settings {
        blueprint: blueprint.to_owned(),
        ..context.values.read()?
    })
}

/// Refuses an id that Rely can't have, and that would lead somewhere else in a path.
pub(super) fn check_id(id: &str) -> Result<(), Problem> {
    if !id.is_empty() && id.chars().all(is_legal) && !matches!(id, "." | "..") {
        return Ok(());
    }
    Err(Problem::new(
        "RELY_ENTITY_ID",
        format!(
            "is `{}`; Rely takes a-z, 0-9, `_`, `.` and `-`, as in `{}`",
            truncate(id, 60),
            truncate(&cut(id), 60)
        ),
    ))
}

fn made(context: &Context) -> Result<Entity, Unmade> {
    let settings: Settings = context.values.read()?;
    check_blueprint(&settings.blueprint)?;
    let (identifier, ..) = id(&settings, context.event)?;
    let mut body = match entity(&settings, &identifier, context.event)? {
        Value::Object(body) => body,
        _ => Map::new(),
    };
    body.retain(|name, _| !matches!(name.as_str(), "id" | "blueprintId"));
    Ok(Entity {
        blueprint: settings.blueprint,
        identifier,
        body,
    })
}

fn ask(context: &Context, blueprint: &str, identifiers: &[String]) -> Result<Plan, Unmade> {
    let settings = settings(context, blueprint)?;
    // One is the most that is asked for.
    let id = identifiers.first().map_or("", String::as_str);
    check_id(id)?;
    let api = Api::new(&settings, id, &Value::Null, context.event);
    let request = api.request(Method::Get, "");
    let step = Step::new("ask", request, move |reply, _| {
        let delivered = |found: Value, note: Option<String>| {
            Verdict::Delivered(Delivered {
                json: Some(Rc::new(found)),
                note,
                ..Delivered::default()
            })
        };
        if is_missing(reply) {
            return delivered(json!([]), None);
        }
        let held = match api.held(reply) {
            Ok(held) => held,
            Err(unexpected) => return unexpected.into(),
        };
        // An id is unique across all blueprints: of another one, it is another thing.
        if let Some(other) = held.get("blueprintId").and_then(Value::as_str)
            && other != settings.blueprint
        {
            let note = format!("{} is there, of the blueprint `{}`", api.id, truncate(other, 60));
            return delivered(json!([]), Some(note));
        }
        let properties = held.get("properties").filter(|properties| properties.is_object());
        let properties = properties.cloned().unwrap_or_else(|| json!({}));
        delivered(json!([{ "identifier": api.id, "properties": properties }]), None)
    });
    Ok(Plan::new(Some(id.to_owned()), vec![step.large()]))
}

fn create(context: &Context, blueprint: &str, entities: &[Entity]) -> Result<Plan, Unmade> {
    let settings = settings(context, blueprint)?;
    let create = |entity: &Entity| {
        let id = &entity.identifier;
        check_id(id)?;
        let mut body = json!({ "id": id, "blueprintId": blueprint });
        for (name, value) in &entity.body {
            body[name] = value.clone();
        }
        Ok(Rc::new(Api::new(&settings, id, &body, context.event)).create(IfThere::Stays))
    };
    let steps = entities.iter().map(create).collect::<Result<_, Problem>>()?;
    let identifier = entities.first().map(|entity| entity.identifier.clone());
    Ok(Plan::new(identifier, steps))
}

fn amend(
    context: &Context,
    blueprint: &str,
    identifier: &str,
    properties: &Map<String, Value>,
) -> Result<Plan, Unmade> {
    let settings = settings(context, blueprint)?;
    check_id(identifier)?;
    let body = without_nulls(json!({ "id": identifier, "blueprintId": blueprint, "properties": properties }));
    let api = Rc::new(Api::new(&settings, identifier, &body, context.event));
    Ok(Plan::new(Some(identifier.to_owned()), vec![api.step("amend", PATCH)]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        delivery::plan::Repeat,
        destinations::{
            register::{APPEARED, OURS},
            testing::{AGAIN, FIRST, in_words, of_context, read, wire},
        },
    };

    const JOB: &[(&str, &str)] = &[
        ("CI_PROJECT_PATH", "acme/shop"),
        ("CI_PROJECT_PATH_SLUG", "acme-shop"),
        ("CI_PIPELINE_ID", "8812"),
        ("RELY_API_TOKEN", "t"),
        ("EVENT_ACTION", "failure"),
        ("RELY_RELATIONS", r#"{"service": "shop"}"#),
    ];
    const ENTITIES: &str = "https://magneto.rely.io/api/v1/entities";
    const MISSING: &str = r#"{"detail":"Entity not found"}"#;
    const EXISTS: &str = r#"{"detail":"Entity already exists"}"#;
    const THERE: &str = r#"{"id":"a.b","blueprintId":"deploy","title":"T","properties":{"status":"IN_PROGRESS"}}"#;

    fn in_job<T>(make: impl FnOnce(&Context) -> T) -> T {
        of_context(&super::super::DESTINATION, "upsert", JOB, make)
    }

    /// The only step of what is made.
    fn step(make: impl FnOnce(&Context) -> Result<Plan, Unmade>) -> Step {
        let mut plan = in_job(make).unwrap();
        assert_eq!((plan.steps.len(), plan.identifier.as_deref()), (1, Some("a.b")));
        plan.steps.remove(0)
    }

    fn ask_step() -> Step {
        step(|context| (REGISTER.ask)(context, "deploy", &["a.b".to_owned()]))
    }

    fn create_step() -> Step {
        let body = json!({"title": "say \"hi\"\n🚀", "properties": {"status": "FAILED"}});
        let new = Entity {
            blueprint: "deploy".to_owned(),
            identifier: "a.b".to_owned(),
            body: body.as_object().unwrap().clone(),
        };
        step(|context| (REGISTER.create)(context, "deploy", &[new]))
    }

    fn next(step: &Step, status: u16, body: &str) -> Step {
        match read(step, AGAIN, status, body) {
            Verdict::Then(step) => step,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_entity_is_the_one_that_a_report_writes() {
        let made = in_job(REGISTER.entity).unwrap();
        assert_eq!((&*made.blueprint, &*made.identifier), ("deployment", "acme-shop-8812"));
        let reported = in_job(super::super::plan).unwrap();
        let reported = wire(&reported.steps[0].request);
        let mut reported: Value = serde_json::from_str(reported.split_once('\n').unwrap().1).unwrap();
        let reported = reported.as_object_mut().unwrap();
        for (name, value) in [("id", "acme-shop-8812"), ("blueprintId", "deployment")] {
            assert_eq!(reported.shift_remove(name), Some(value.into()));
        }
        assert_eq!(made.body, *reported);
        assert_eq!(made.properties()["status"], "FAILED");
        assert_eq!(made.body["relations"], json!({"service": {"value": "shop"}}));
    }

    #[test]
    fn what_is_there_is_told_by_rely_alone() {
        let ask = ask_step();
        assert_eq!(wire(&ask.request), format!("GET {ENTITIES}/a.b"));
        for (status, body, expected) in [
            (
                200,
                THERE,
                r#"[{"identifier":"a.b","properties":{"status":"IN_PROGRESS"}}]"#,
            ),
            (
                200,
                r#"{"id":"a.b","properties":null}"#,
                r#"[{"identifier":"a.b","properties":{}}]"#,
            ),
            (
                200,
                r#"{"id":"a.b","blueprintId":"service"}"#,
                "[] a.b is there, of the blueprint `service`",
            ),
            (404, MISSING, "[]"),
        ] {
            match read(&ask, FIRST, status, body) {
                Verdict::Delivered(delivered) => {
                    let told: Vec<String> = [delivered.json.map(|json| json.to_string()), delivered.note]
                        .into_iter()
                        .flatten()
                        .collect();
                    assert_eq!(told.join(" "), expected);
                }
                other => panic!("{other:?}"),
            }
        }
        let verdict = |status, body| in_words(&read(&ask, FIRST, status, body));
        assert_eq!(verdict(404, "<html>"), "by status", "a proxy's own");
        assert!(verdict(200, r#"{"id":"other"}"#).starts_with("undocumented "));
        assert_eq!(verdict(503, ""), "by status");
    }

    #[test]
    fn what_is_there_by_now_is_never_written_over() {
        let create = create_step();
        assert_eq!(
            wire(&create.request),
            format!(
                "POST {ENTITIES}\n{{\"id\":\"a.b\",\"blueprintId\":\"deploy\",\"title\":\"say \\\"hi\\\"\\n🚀\",\
                 \"properties\":{{\"status\":\"FAILED\"}}}}"
            )
        );
        assert_eq!(in_words(&read(&create, FIRST, 201, THERE)), "delivered - -");
        for (status, body) in [(409, ""), (400, EXISTS), (422, EXISTS)] {
            assert_eq!(
                in_words(&read(&create, FIRST, status, body)),
                format!("skipped {APPEARED}")
            );
            assert_eq!(
                in_words(&read(&create, AGAIN, status, body)),
                format!("delivered - {OURS}")
            );
        }
        let refused = r#"{"detail":"Property status is not defined"}"#;
        let refused = in_words(&read(&create, FIRST, 422, refused));
        assert!(refused.contains("RELY_BLUEPRINT is `deploy`"), "{refused}");
        // After an attempt of which nobody knows the end, it is asked, whatever comes next.
        let mut create = create;
        for _ in 0..2 {
            let Repeat::Asking([], again) = &create.repeat else {
                panic!("it would be sent again")
            };
            let asked = again();
            assert_eq!(wire(&asked.request), format!("GET {ENTITIES}/a.b"));
            assert_eq!(
                in_words(&read(&asked, FIRST, 200, THERE)),
                format!("delivered - {OURS}")
            );
            assert!(in_words(&read(&asked, FIRST, 404, "<html>")).starts_with("doubtful "));
            create = next(&asked, 404, MISSING);
            assert!(wire(&create.request).starts_with(&format!("POST {ENTITIES}\n")));
        }
    }

    #[test]
    fn an_amendment_sends_the_properties_alone() {
        let properties = json!({"status": "FAILED", "closedAt": "2025-03-01T10:07:31Z"});
        let properties = properties.as_object().unwrap();
        let amend = step(|context| (REGISTER.amend)(context, "deploy", "a.b", properties));
        assert_eq!(
            wire(&amend.request),
            format!(
                "PUT {ENTITIES}/a.b?patch=true\n{{\"id\":\"a.b\",\"blueprintId\":\"deploy\",\"properties\":\
                 {{\"status\":\"FAILED\",\"closedAt\":\"2025-03-01T10:07:31Z\"}}}}"
            )
        );
        assert_eq!(in_words(&read(&amend, FIRST, 200, THERE)), "delivered - -");
        assert_eq!(in_words(&read(&amend, FIRST, 404, MISSING)), "by status", "not created");
    }

    #[test]
    fn what_would_lead_elsewhere_is_never_sent() {
        let properties = Map::new();
        for (blueprint, id, start) in [
            ("deploy", "", "RELY_ENTITY_ID is ``; Rely takes"),
            ("deploy", "..", "RELY_ENTITY_ID is `..`"),
            (
                "deploy",
                "A b",
                "RELY_ENTITY_ID is `A b`; Rely takes a-z, 0-9, `_`, `.` and `-`, as in `a.b`",
            ),
            ("A", "a.b", "RELY_BLUEPRINT is `A`"),
        ] {
            let new = Entity {
                blueprint: blueprint.to_owned(),
                identifier: id.to_owned(),
                body: Map::new(),
            };
            let plans = in_job(|context| {
                [
                    (REGISTER.ask)(context, blueprint, &[id.to_owned()]),
                    (REGISTER.create)(context, blueprint, std::slice::from_ref(&new)),
                    (REGISTER.amend)(context, blueprint, id, &properties),
                ]
            });
            for plan in plans {
                let why = plan.unwrap_err().to_string();
                assert!(why.starts_with(start), "{why}");
            }
        }
    }
}
