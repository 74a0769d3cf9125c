//! Entities compared with GitLab's record: searched for by their identifiers, created, and amended (docs/vendors/port.md 2).

use std::rc::Rc;

use serde_json::{Map, Value, json};

use super::{
    super::blueprint::About,
    Job,
    blueprint::{refused, sent},
    bulk,
    entities::{Search, accept, body, check_identifier, entities, identifier, is_taken, parameters},
    is_missing,
};
use crate::{
    delivery::{
        plan::{Delivered, Plan, Step, Verdict},
        request::{Method, segment},
    },
    destinations::{
        Context,
        register::{APPEARED, Entity, OURS, Register},
    },
    problem::{Problem, Unmade},
    variables::Flag,
};

/// Port as a register of deployments.
pub(super) const REGISTER: Register = Register {
    blueprint: "PORT_BLUEPRINT",
    entity: made,
    most_asked: MOST_ASKED,
    ask,
    most_created: bulk::MOST,
    create,
    amend,
};

/// The most entities that one search asks for: with the longest identifiers, its body is far below what Port takes.
const MOST_ASKED: usize = 100;

/// The job, as if `blueprint` were the one that its settings name.
fn job<'a>(context: &'a Context<'a>, blueprint: &str) -> Result<Job<'a>, Unmade> {
    let mut job = Job::new(context)?;
    blueprint.clone_into(&mut job.settings.blueprint);
    Ok(job)
}

/// The plan of one step.
fn plan(job: &Job, identifier: Option<String>, step: Step) -> Plan {
    Plan {
        remaining_header: Some("x-ratelimit-remaining"),
        ..job.with_login(Plan::new(identifier, vec![step]))
    }
}

/// Refuses to write where nothing is to be written.
fn check_writes(job: &Job) -> Result<(), Problem> {
    match job.settings.validation_only {
        Some(Flag(true)) => Err(Problem::new(
            "PORT_VALIDATION_ONLY",
            "is true, so that nothing would be repaired; leave it unset for this job",
        )),
        _ => Ok(()),
    }
}

fn made(context: &Context) -> Result<Entity, Unmade> {
    let job = Job::new(context)?;
    entities(&job.settings)?;
    let identifier = identifier(&job)?;
    let mut body = match body(&job.settings, "create", &identifier, context.event)? {
        Value::Object(body) => body,
        _ => Map::new(),
    };
    body.shift_remove("identifier");
    Ok(Entity {
        blueprint: job.settings.blueprint,
        identifier,
        body,
    })
}

fn ask(context: &Context, blueprint: &str, identifiers: &[String]) -> Result<Plan, Unmade> {
    let job = job(context, blueprint)?;
    let search = Rc::new(Search {
        api: job.api.clone(),
        path: format!("{}/search", entities(&job.settings)?),
        body: json!({
            "query": {
                "combinator": "and",
                "rules": [{ "property": "$identifier", "operator": "in", "value": identifiers }],
            },
            "limit": MOST_ASKED,
        }),
        advice: "",
    });
    let missing = sent(&job, &Value::Null).advice(About::Blueprint, "");
    let question = Rc::new((identifiers.to_vec(), missing));
    Ok(plan(&job, None, asked(search.first("PORT_BLUEPRINT")?, question)))
}

/// A page of the search, of which those that were asked for are delivered; with them goes what to do where the blueprint is
/// missing.
fn asked(page: Step, question: Rc<(Vec<String>, String)>) -> Step {
    let request = page.request.clone();
    Step::new("ask", request, move |reply, tries| {
        let (identifiers, missing) = &*question;
        match page.read(reply, tries) {
            Verdict::Then(next) => Verdict::Then(asked(next, Rc::clone(&question))),
            Verdict::Delivered(found) => Verdict::Delivered(Delivered {
                json: found.json.map(|found| Rc::new(held(&found, identifiers))),
                ..found
            }),
            Verdict::ByStatus if is_missing(reply) => {
                Verdict::Misconfigured(format!("{}. {missing}", reply.complaint()))
            }
            other => other,
        }
    })
    .large()
    .poll()
}

/// What is compared of the entities that were found and asked for.
fn held(found: &Value, identifiers: &[String]) -> Value {
    let entities = found["entities"].as_array().into_iter().flatten();
    let wanted = entities.filter(|entity| identifiers.iter().any(|wanted| entity["identifier"] == **wanted));
    let held = wanted.map(|entity| {
        let properties = entity["properties"].as_object().cloned().unwrap_or_default();
        json!({ "identifier": entity["identifier"], "properties": properties })
    });
    held.collect()
}

fn create(context: &Context, blueprint: &str, new: &[Entity]) -> Result<Plan, Unmade> {
    let job = job(context, blueprint)?;
    check_writes(&job)?;
    let mut bodies = Vec::new();
    for Entity { identifier, body, .. } in new {
        check_identifier("PORT_ENTITY_ID", identifier)?;
        let mut whole = Map::from_iter([("identifier".to_owned(), identifier.as_str().into())]);
        whole.extend(body.clone());
        bodies.push(Value::Object(whole));
    }
    let place = entities(&job.settings)?;
    let query = parameters(&job.settings, "create");
    let post = |path: &str, body: &Value| job.api.send(Method::Post, path, body, "PORT_PROPERTIES");
    if let [body] = bodies.as_slice() {
        let sent = sent(&job, body);
        let request = post(&format!("{place}{query}"), body)?;
        let step = Step::new("create", request, move |reply, tries| match is_taken(reply) {
            true if tries.ambiguous => Verdict::noted(OURS),
            true => Verdict::Skipped(APPEARED.to_owned()),
            false => accept(&sent, reply, false),
        });
        return Ok(plan(&job, Some(new[0].identifier.clone()), step));
    }
    // What is said of the whole request is about what all have in common.
    let sent = sent(&job, bodies.first().unwrap_or(&Value::Null));
    let identifiers: Vec<String> = new.iter().map(|entity| entity.identifier.clone()).collect();
    let request = post(&format!("{place}/bulk{query}"), &json!({ "entities": bodies }))?;
    let step = Step::new("bulk create", request, move |reply, tries| {
        match bulk::fates(reply, &identifiers) {
            // An attempt of our own whose reply was lost has probably created those.
            Verdict::DoneButFor(mut refused) if tries.ambiguous => {
                refused.retain(|one| one.status != Some(409));
                Verdict::DoneButFor(refused)
            }
            Verdict::ByStatus => refused(&sent, reply),
            other => other,
        }
    });
    Ok(plan(&job, None, step))
}

fn amend(
    context: &Context,
    blueprint: &str,
    identifier: &str,
    properties: &Map<String, Value>,
) -> Result<Plan, Unmade> {
    let job = job(context, blueprint)?;
    check_writes(&job)?;
    check_identifier("PORT_ENTITY_ID", identifier)?;
    let body = json!({ "properties": properties });
    let query = parameters(&job.settings, "patch");
    let path = format!("{}/{}{query}", entities(&job.settings)?, segment(identifier));
    let request = job.api.send(Method::Patch, &path, &body, "PORT_PROPERTIES")?;
    let sent = sent(&job, &body);
    let step = Step::new("amend", request, move |reply, _| accept(&sent, reply, false));
    Ok(plan(&job, Some(identifier.to_owned()), step))
}

#[cfg(test)]
mod tests {
    use super::{
        super::testing::{AGAIN, FIRST, in_words, of_context, read, wire},
        *,
    };

    const SUCCESS: (&str, &str) = ("EVENT_ACTION", "success");
    const ENTITIES: &str = "https://api.port.io/v1/blueprints/service/entities";
    const TAKEN: &str = r#"{"ok":false,"error":"identifier_taken","message":"taken"}"#;

    /// The only step of what is made in a job with these variables.
    fn step(more: &[(&str, &str)], make: impl FnOnce(&Context) -> Result<Plan, Unmade>) -> Step {
        let mut plan = of_context(more, make).unwrap();
        assert_eq!(
            (
                plan.steps.len(),
                plan.login.is_some(),
                plan.reset_header,
                plan.remaining_header
            ),
            (1, true, Some("x-ratelimit-reset"), Some("x-ratelimit-remaining"))
        );
        plan.steps.remove(0)
    }

    fn entity(identifier: &str, properties: Value) -> Entity {
        Entity {
            blueprint: "service".to_owned(),
            identifier: identifier.to_owned(),
            body: Map::from_iter([("title".to_owned(), "A".into()), ("properties".to_owned(), properties)]),
        }
    }

    fn create_step(more: &[(&str, &str)], entities: &[Entity]) -> Step {
        step(more, |context| (REGISTER.create)(context, "service", entities))
    }

    fn amend_step(more: &[(&str, &str)]) -> Step {
        let properties = json!({ "status": "FAILURE", "finishedAt": null });
        let properties = properties.as_object().unwrap();
        step(more, |context| {
            (REGISTER.amend)(context, "service", "acme/shop=1", properties)
        })
    }

    #[test]
    fn the_entity_is_the_one_that_a_report_writes() {
        let more = [
            SUCCESS,
            ("PORT_BLUEPRINT", "deploy"),
            ("PORT_RELATIONS", r#"{"service": "shop"}"#),
            ("PORT_TEAM", "a"),
            ("EVENT_PROPERTIES", r#"{"say": "\"hi\"\n🚀"}"#),
        ];
        let made = of_context(&more, REGISTER.entity).unwrap();
        assert_eq!((&*made.blueprint, &*made.identifier), ("deploy", "acme-shop-8812"));
        let reported = super::super::testing::request("create", &more);
        let mut reported: Map<String, Value> = serde_json::from_str(reported.split_once('\n').unwrap().1).unwrap();
        assert_eq!(reported.shift_remove("identifier"), Some("acme-shop-8812".into()));
        assert_eq!(made.body, reported);
        assert_eq!(made.properties()["status"], "SUCCESS");
        assert_eq!(made.properties()["say"], "\"hi\"\n🚀");
        let why = |more| of_context(more, REGISTER.entity).unwrap_err().to_string();
        assert!(why(&[]).starts_with("EVENT_ACTION is auto"), "{}", why(&[]));
        assert!(why(&[SUCCESS, ("PORT_ENTITY_ID", "a b")]).starts_with("PORT_ENTITY_ID is `a b`"));
        assert!(why(&[SUCCESS, ("PORT_BLUEPRINT", "..")]).starts_with("PORT_BLUEPRINT is `..`"));
    }

    #[test]
    fn it_asks_page_by_page_and_delivers_what_was_asked_for_alone() {
        let wanted = ["a", "b", "acme/\"c\""].map(str::to_owned);
        let mut page = step(&[], |context| (REGISTER.ask)(context, "service", &wanted));
        let request = |from: &str| {
            format!(
                "POST {ENTITIES}/search\n{{\"query\":{{\"combinator\":\"and\",\"rules\":[{{\"property\":\"$identifier\",\
                 \"operator\":\"in\",\"value\":[\"a\",\"b\",\"acme/\\\"c\\\"\"]}}]}},\"limit\":100{from}}}"
            )
        };
        assert_eq!(wire(&page.request), request(""));
        let reply =
            r#"{"ok":true,"entities":[{"identifier":"a","title":"A","properties":{"status":"x"}}],"next":"n1"}"#;
        page = match read(&page, FIRST, 200, reply) {
            Verdict::Then(page) => page,
            other => panic!("{other:?}"),
        };
        assert_eq!(wire(&page.request), request(r#","from":"n1""#));
        assert!(page.is_poll && page.limit > 1024 * 1024);
        let reply =
            r#"{"ok":true,"entities":[{"identifier":"A","properties":{}},{"identifier":"b","properties":null},7]}"#;
        match read(&page, FIRST, 200, reply) {
            Verdict::Delivered(delivered) => assert_eq!(
                delivered.json.unwrap().to_string(),
                r#"[{"identifier":"a","properties":{"status":"x"}},{"identifier":"b","properties":{}}]"#
            ),
            other => panic!("{other:?}"),
        }
        let verdict = |status, body| in_words(&read(&page, FIRST, status, body));
        assert!(verdict(200, r#"{"ok":true,"entities":[],"next":"n1"}"#).contains("same `next`"));
        assert!(verdict(200, r#"{"ok":true}"#).starts_with("undocumented answered 200 without \"entities\""));
        assert_eq!(
            verdict(404, r#"{"ok":false,"error":"not_found","message":"No blueprint"}"#),
            "misconfigured not_found: No blueprint. PORT_BLUEPRINT is `service`: correct it, or create that blueprint"
        );
        assert_eq!(verdict(404, "<html>"), "by status");
        assert_eq!(verdict(500, ""), "by status");
    }

    #[test]
    fn one_is_created_and_never_changed() {
        let new = [entity("acme/a", json!({"n": 1}))];
        let body = r#"{"identifier":"acme/a","title":"A","properties":{"n":1}}"#;
        let create = create_step(&[], &new);
        assert_eq!(wire(&create.request), format!("POST {ENTITIES}?upsert=false\n{body}"));
        let more = [
            ("PORT_CREATE_MISSING_RELATED_ENTITIES", "true"),
            ("PORT_RUN_ID", "r_1"),
            ("PORT_MERGE", "false"),
        ];
        assert_eq!(
            wire(&create_step(&more, &new).request),
            format!("POST {ENTITIES}?upsert=false&create_missing_related_entities=true&run_id=r_1\n{body}")
        );
        let verdict = |tries, status, body| in_words(&read(&create, tries, status, body));
        assert_eq!(
            verdict(FIRST, 201, r#"{"ok":true,"entity":{"identifier":"acme/a"}}"#),
            "delivered acme/a -"
        );
        assert_eq!(verdict(FIRST, 409, TAKEN), format!("skipped {APPEARED}"));
        assert_eq!(verdict(AGAIN, 409, TAKEN), format!("delivered - {OURS}"));
        assert_eq!(
            verdict(FIRST, 409, r#"{"ok":false,"error":"SCIM_CONFLICT"}"#),
            "by status"
        );
        let mismatch = r#"{"ok":false,"error":"blueprint_schema_mismatch","message":"\"n\" is not there"}"#;
        let refused = verdict(FIRST, 422, mismatch);
        assert!(
            refused.starts_with("rejected answered 422: ") && refused.contains("PORT_PROPERTIES"),
            "{refused}"
        );
    }

    #[test]
    fn several_are_created_at_once_and_those_that_are_there_are_told() {
        let new = ["a", "b", "c"].map(|id| entity(id, json!({})));
        let create = create_step(&[("PORT_RUN_ID", "r_1")], &new);
        let body: Vec<String> = new
            .iter()
            .map(|new| format!(r#"{{"identifier":"{}","title":"A","properties":{{}}}}"#, new.identifier))
            .collect();
        assert_eq!(
            wire(&create.request),
            format!(
                "POST {ENTITIES}/bulk?upsert=false&run_id=r_1\n{{\"entities\":[{}]}}",
                body.join(",")
            )
        );
        let reply = r#"{"ok":false,"entities":[{"created":true,"identifier":"c","index":2}],"errors":[
            {"identifier":"a","index":0,"statusCode":409,"error":"identifier_taken","message":"taken"},
            {"identifier":"b","index":1,"statusCode":422,"error":"x","message":"no"}]}"#;
        let refused = |tries| match read(&create, tries, 207, reply) {
            Verdict::DoneButFor(refused) => refused.iter().map(|one| (one.index, one.status)).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        assert_eq!(refused(FIRST), [(0, Some(409)), (1, Some(422))]);
        assert_eq!(refused(AGAIN), [(1, Some(422))]);
        let missing = r#"{"ok":false,"error":"not_found","message":"Blueprint \"service\" not found"}"#;
        let missing = in_words(&read(&create, FIRST, 404, missing));
        assert!(missing.contains("PORT_BLUEPRINT is `service`: correct it"), "{missing}");
        assert_eq!(in_words(&read(&create, FIRST, 503, "")), "by status");
        let large = ["a", "b"].map(|id| entity(id, json!({"x": "x".repeat(600_000)})));
        let why = of_context(&[], |context| (REGISTER.create)(context, "service", &large)).unwrap_err();
        assert!(why.to_string().starts_with("PORT_PROPERTIES is too long"), "{why}");
    }

    #[test]
    fn an_amendment_sends_the_properties_alone() {
        let amend = amend_step(&[SUCCESS, ("PORT_TEAM", "a"), ("PORT_RELATIONS", r#"{"service":"shop"}"#)]);
        assert_eq!(
            wire(&amend.request),
            format!(
                "PATCH {ENTITIES}/acme%2Fshop%3D1\n{{\"properties\":{{\"status\":\"FAILURE\",\"finishedAt\":null}}}}"
            )
        );
        let verdict = |status, body| in_words(&read(&amend, FIRST, status, body));
        assert_eq!(
            verdict(200, r#"{"ok":true,"entity":{"identifier":"acme/shop=1"}}"#),
            "delivered acme/shop=1 -"
        );
        let missing = verdict(404, r#"{"ok":false,"error":"not_found","message":"No entity"}"#);
        assert!(
            missing.starts_with("rejected answered 404: not_found: No entity. "),
            "{missing}"
        );
        assert_eq!(verdict(409, TAKEN), "by status");
        assert!(wire(&amend_step(&[("PORT_RUN_ID", "r_1")]).request).contains("?run_id=r_1\n"));
    }

    #[test]
    fn nothing_is_made_where_nothing_would_be_written_or_that_would_lead_elsewhere() {
        let new = [entity("a", json!({}))];
        let trial = [("PORT_VALIDATION_ONLY", "true")];
        let properties = Map::new();
        let of = |more: &[(&str, &str)], blueprint: &str, id: &str| {
            let new = [Entity {
                identifier: id.to_owned(),
                ..new[0].clone()
            }];
            let create = of_context(more, |context| (REGISTER.create)(context, blueprint, &new));
            let amend = of_context(more, |context| (REGISTER.amend)(context, blueprint, id, &properties));
            [create, amend].map(|plan| plan.unwrap_err().to_string())
        };
        for (whys, start) in [
            (of(&trial, "service", "a"), "PORT_VALIDATION_ONLY is true"),
            (of(&[], "..", "a"), "PORT_BLUEPRINT is `..`"),
            (of(&[], "service", ".."), "PORT_ENTITY_ID is `..`"),
        ] {
            for why in whys {
                assert!(why.starts_with(start), "{why}");
            }
        }
        let asked = of_context(&trial, |context| (REGISTER.ask)(context, "service", &["..".to_owned()]));
        assert_eq!(asked.unwrap().steps.len(), 1, "a question may be asked");
    }
}
