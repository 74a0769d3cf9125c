//! The check of entities: their blueprint is read, and compared with what would be sent (docs/vendors/port.md 2).

use serde_json::{Map, Value};

use super::{
    super::blueprint::{About, Sent},
    Job, accepted,
    blueprint::{schema, sent},
    entities::{body, entities, identifier},
    error, is_missing, undocumented,
};
use crate::{
    delivery::{
        plan::{Plan, Step, Verdict},
        request::{Method, Request, segment},
    },
    problem::{Problem, Unmade},
};

/// Reads the blueprint: that tells whether the credentials are accepted, and whether what would be sent fits.
pub(super) fn check(job: &Job) -> Result<Plan, Unmade> {
    let entities = entities(&job.settings)?;
    let operation = job.context.operation;
    // The entities of a file are checked as such.
    let is_of_file = job.settings.entities_file.is_some();
    let writes = matches!(operation, "upsert" | "create" | "replace" | "patch") && !is_of_file;
    let needs_blueprint = match operation {
        "search" => job.context.values.is_given("PORT_BLUEPRINT"),
        "run-create" => false,
        _ => true,
    };
    let sent = if writes {
        would_send(job)?
    } else {
        sent(job, &Value::Null)
    };
    let checked = Checked {
        is_whole: matches!(operation, "upsert" | "create" | "replace"),
        has_team: job.settings.team.is_some(),
        // An upsert that merges needs what is required only where there is no entity yet.
        entity: match operation {
            "upsert" if job.settings.merge.0 && writes => Some(format!("{entities}/{}", segment(&identifier(job)?))),
            _ => None,
        },
        sent,
    };
    let api = job.api.clone();
    let path = format!("/blueprints/{}", segment(&job.settings.blueprint));
    let step = Step::new("check", job.api.request(Method::Get, &path), move |reply, _| {
        match accepted(reply) {
            Err(Verdict::ByStatus) if is_missing(reply) && needs_blueprint => Verdict::Misconfigured(format!(
                "{}. {}",
                reply.complaint(),
                checked.sent.advice(About::Blueprint, "")
            )),
            Err(Verdict::ByStatus) if is_missing(reply) => Verdict::noted("the credentials are accepted"),
            // To write entities, one need not be allowed to read blueprints.
            Err(Verdict::ByStatus) if error(reply) == Some("missing_permissions") => {
                Verdict::Then(count(api.request(Method::Get, &format!("{entities}-count"))))
            }
            Err(verdict) => verdict,
            Ok(body) => match body.get("blueprint").and_then(Value::as_object) {
                None => undocumented(reply, "a \"blueprint\""),
                Some(_) if !writes => Verdict::noted(FOUND),
                Some(blueprint) => checked.compare(blueprint, |path| api.request(Method::Get, path)),
            },
        }
    });
    Ok(Plan::new(None, vec![step.large()]))
}

/// What is said of a blueprint that is there.
const FOUND: &str = "the credentials are accepted, and the blueprint is there";

/// Counts the blueprint's entities, which tells whether it is there where it can't be read.
fn count(request: Request) -> Step {
    Step::new("count", request, |reply, _| match accepted(reply) {
        Ok(_) => Verdict::noted(format!(
            "{FOUND}; these credentials may not read it, so that what is sent could not be compared with it"
        )),
        Err(verdict) => verdict,
    })
}

/// What a write would send, whatever will have happened.
fn would_send(job: &Job) -> Result<Sent, Unmade> {
    let id = identifier(job)?;
    Sent::of_any(job.context.event, |event| {
        Ok(sent(job, &body(&job.settings, job.context.operation, &id, event)?))
    })
}

/// What is compared with the blueprint.
struct Checked {
    sent: Sent,
    is_whole: bool,
    has_team: bool,
    /// The path of the entity that may do without what is required, if it is there.
    entity: Option<String>,
}

impl Checked {
    fn compare(&self, blueprint: &Map<String, Value>, get: impl Fn(&str) -> Request) -> Verdict {
        let schema = schema(blueprint);
        let inherits_teams = blueprint.contains_key("teamInheritance");
        let problems = |is_whole| {
            let mut problems = self.sent.misfits(&schema, is_whole);
            if self.has_team && inherits_teams {
                let what = "is set, and the blueprint inherits its teams: leave it unset";
                problems.push(Problem::new("PORT_TEAM", what));
            }
            problems
        };
        let of_whole = problems(self.is_whole);
        match &self.entity {
            Some(path) if !of_whole.is_empty() && problems(false).is_empty() => {
                let ask = Step::new("is it there", get(path), move |reply, _| match accepted(reply) {
                    Ok(_) => verdict(&[]),
                    Err(Verdict::ByStatus) if is_missing(reply) => verdict(&of_whole),
                    Err(verdict) => verdict,
                });
                Verdict::Then(ask)
            }
            _ => verdict(&of_whole),
        }
    }
}

fn verdict(problems: &[Problem]) -> Verdict {
    if problems.is_empty() {
        return Verdict::noted("the credentials are accepted, and what is sent fits the blueprint");
    }
    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
    Verdict::Misconfigured(problems.join("; "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::testing::{FIRST, in_words, read, try_check, wire},
        *,
    };

    const PROPERTIES: (&str, &str) = ("PORT_PROPERTIES", r#"{"size": 1}"#);
    const RELATIONS: (&str, &str) = ("PORT_RELATIONS", r#"{"service": "shop"}"#);
    const SUCCESS: (&str, &str) = ("EVENT_ACTION", "success");

    fn blueprint(schema: &Value, relations: &Value) -> String {
        json!({"ok": true, "blueprint": {"identifier": "x", "schema": schema, "relations": relations}}).to_string()
    }

    /// A blueprint that requires more than the tests send.
    fn required() -> String {
        blueprint(
            &json!({"properties": {"size": {}, "more": {}}, "required": ["more"]}),
            &json!({"service": {"target": "service", "required": true, "many": true}}),
        )
    }

    #[test]
    fn a_check_compares_what_would_be_sent_with_the_blueprint() {
        let fits = blueprint(&json!({"properties": {"size": {"type": "number"}}}), &json!({}));
        let empty = blueprint(&json!({"properties": {}}), &json!({}));
        let required = required();
        let inherits =
            r#"{"ok":true,"blueprint":{"schema":{"properties":{"size":{}}},"teamInheritance":{"path":"x"}}}"#;
        let missing = r#"{"ok":false,"error":"not_found","message":"no blueprint"}"#;
        for (operation, more, status, reply, verdict) in [
            (
                "upsert",
                &[PROPERTIES][..],
                200,
                fits.as_str(),
                "delivered - the credentials are accepted, and what is sent fits",
            ),
            (
                "upsert",
                &[PROPERTIES],
                200,
                &empty,
                "misconfigured PORT_PROPERTIES does not fit the blueprint `deployment`: \"size\" is not in it",
            ),
            ("patch", &[PROPERTIES], 200, &required, "delivered"),
            (
                "create",
                &[PROPERTIES],
                200,
                &required,
                "misconfigured PORT_PROPERTIES does not fit the blueprint `deployment`: \"more\" is required and is not sent; PORT_RELATIONS does not fit the blueprint `deployment`: \"service\" is required",
            ),
            (
                "replace",
                &[PROPERTIES, RELATIONS],
                200,
                &fits,
                "misconfigured PORT_RELATIONS does not fit the blueprint `deployment`: \"service\" is no relation",
            ),
            (
                "patch",
                &[PROPERTIES, ("PORT_TEAM", "a")],
                200,
                inherits,
                "misconfigured PORT_TEAM is set",
            ),
            (
                "upsert",
                &[SUCCESS, ("PORT_BLUEPRINT", "x")],
                200,
                &fits,
                "misconfigured PORT_BLUEPRINT is `x`, which the default fields do not fit: \"status\" is not in it",
            ),
            (
                "upsert",
                &[SUCCESS],
                404,
                missing,
                "misconfigured not_found: no blueprint. PORT_BLUEPRINT is `deployment`. The default fields",
            ),
            (
                "get",
                &[],
                404,
                missing,
                "misconfigured not_found: no blueprint. PORT_BLUEPRINT",
            ),
            (
                "get",
                &[],
                200,
                &empty,
                "delivered - the credentials are accepted, and the blueprint is there",
            ),
            (
                "run-create",
                &[("PORT_ACTION", "a")],
                404,
                missing,
                "delivered - the credentials are accepted",
            ),
            ("get", &[], 404, "<html>", "by status"),
            ("get", &[], 200, r#"{"ok":true}"#, "undocumented"),
            (
                "run-log",
                &[("PORT_RUN_ID", "r_1"), ("PORT_RUN_LOG", "m")],
                404,
                missing,
                "misconfigured PORT_RUN_ID is `r_1`, and Port has no such run",
            ),
        ] {
            let plan = try_check(operation, more).unwrap();
            let found = in_words(&read(&plan.steps[0], FIRST, status, reply));
            assert!(found.starts_with(verdict), "{operation} {more:?}: {found}");
        }
    }

    #[test]
    fn what_is_required_is_asked_after_and_what_may_not_be_read_is_counted() {
        let missing = r#"{"ok":false,"error":"not_found","message":"no entity"}"#;
        // What is required is needed by an upsert only where there is no entity yet.
        let plan = try_check("upsert", &[PROPERTIES]).unwrap();
        let Verdict::Then(ask) = read(&plan.steps[0], FIRST, 200, &required()) else {
            panic!("it asks");
        };
        assert_eq!(
            wire(&ask.request),
            "GET https://api.port.io/v1/blueprints/deployment/entities/acme-shop-8812"
        );
        assert!(in_words(&read(&ask, FIRST, 200, r#"{"ok":true,"entity":{}}"#)).starts_with("delivered"));
        assert!(in_words(&read(&ask, FIRST, 404, missing)).contains("\"more\" is required"));
        // Who may write entities need not be allowed to read blueprints.
        let refused = r#"{"ok":false,"error":"missing_permissions"}"#;
        let Verdict::Then(count) = read(&plan.steps[0], FIRST, 403, refused) else {
            panic!("it counts");
        };
        assert!(in_words(&read(&count, FIRST, 200, r#"{"ok":true,"count":0}"#)).contains("could not be compared"));
    }

    #[test]
    fn where_nothing_has_happened_yet_all_default_fields_are_compared() {
        let blueprint = json!({"ok": true, "blueprint": {"schema": {"properties": {}}}}).to_string();
        let plan = try_check("upsert", &[]).unwrap();
        let found = in_words(&read(&plan.steps[0], FIRST, 200, &blueprint));
        for name in ["createdAt", "finishedAt", "successful", "status"] {
            assert!(found.contains(&format!("\"{name}\" is not in it")), "{found}");
        }
        let shipped: Value =
            serde_json::from_str(include_str!("../../../examples/port/deployment-blueprint.json")).unwrap();
        let shipped = json!({"ok": true, "blueprint": shipped}).to_string();
        let found = in_words(&read(&plan.steps[0], FIRST, 200, &shipped));
        assert!(found.starts_with("delivered"), "{found}");
    }
}
