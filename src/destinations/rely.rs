//! Rely.io: entities of its software catalog, by the public API. Facts: docs/vendors/rely.md.

use std::{
    rc::Rc,
    time::{Duration, SystemTime},
};

use serde_json::{Map, Value, json};

use super::{
    Context, Destination, HiddenJob, Operation, Repetition,
    blueprint::Sent,
    is_after_run, is_overtaken,
    register::{APPEARED, OURS},
};
use crate::{
    delivery::{
        plan::{Delivered, Plan, Repeat, Step, Verdict},
        reply::{Reply, Unexpected},
        request::{Method, Request, segment},
    },
    event::{Action, Event},
    problem::{Problem, Unmade},
    secret::Secret,
    time, variables,
    variables::{BaseUrl, FilePath, Group as _, Object, type_of},
};

mod blueprint;
mod bulk;
mod register;

variables! {
    /// What `rely` reads.
    pub struct Settings, "Rely.io, Public API" {
        /// API key: Data Model > Plugins > Public API > Generate an API key. A user has one: generating another revokes it.
        token: Secret = "RELY_API_TOKEN", required;
        /// Where Rely's API is.
        url: BaseUrl = "RELY_API_URL", default "https://magneto.rely.io";
        /// The blueprint of the entity.
        blueprint: String = "RELY_BLUEPRINT", default "deployment";
        /// The entity's id. Cut to Rely's pattern: lower case, and `.` for every character but a-z, 0-9, `_`, `-` and `.`.
        id: Option<String> = "RELY_ENTITY_ID", derived "EVENT_ID";
        /// The entity's title.
        title: Option<String> = "RELY_ENTITY_TITLE", derived "EVENT_TITLE";
        /// The entity's description.
        description: Option<String> = "RELY_ENTITY_DESCRIPTION", optional;
        /// The entity's properties, as a JSON object; they have to exist in the blueprint. Nulls are left out.
        properties: Option<Object> = "RELY_PROPERTIES", derived "the fields of Rely's stock deployment blueprint, and EVENT_PROPERTIES";
        /// The entity's relations, as a JSON object: `{"service": "shop"}`, or `{"service": {"value": "shop"}}`.
        relations: Option<Object> = "RELY_RELATIONS", optional;
        /// A file of entities that `upsert` sends instead of the event: its path (a variable of GitLab's file type, too), or `-` for standard input. A JSON array or an object a line, of any length, each with `id` and, where it is not `RELY_BLUEPRINT`, `blueprintId`. Templates in it don't run.
        entities_file: Option<FilePath> = "RELY_ENTITIES_FILE", optional;
    }
}

/// Rely.io.
pub const DESTINATION: Destination = Destination {
    name: "rely",
    title: "Rely.io",
    operations: &[
        Operation::new(
            "upsert",
            "creates the entity, or changes the given properties and relations of the one there is",
        )
        .reports_action_unless_set("RELY_PROPERTIES")
        .carries_properties_unless_set("RELY_PROPERTIES")
        .of_entity("RELY_ENTITY_ID")
        .takes_entities(bulk::VARIABLE),
        Operation::new("create", "creates the entity; one that exists is an error")
            .repeated(Repetition::Asked)
            .reports_action_unless_set("RELY_PROPERTIES")
            .carries_properties_unless_set("RELY_PROPERTIES")
            .of_entity("RELY_ENTITY_ID"),
        Operation::new("replace", "replaces the entity: what is not given is gone")
            .reports_action_unless_set("RELY_PROPERTIES")
            .carries_properties_unless_set("RELY_PROPERTIES")
            .of_entity("RELY_ENTITY_ID"),
        Operation::new(
            "patch",
            "changes the given properties and relations; an entity that is missing is an error",
        )
        .reports_action_unless_set("RELY_PROPERTIES")
        .carries_properties_unless_set("RELY_PROPERTIES")
        .of_entity("RELY_ENTITY_ID"),
        Operation::reading("get", "reads the entity").of_entity("RELY_ENTITY_ID"),
    ],
    variables: &[Settings::VARIABLES],
    credentials: &["RELY_API_TOKEN"],
    hidden_jobs: &[HiddenJob::new(
        "rely-notify",
        "rely",
        "Creates or updates an entity in Rely.io.",
    )],
    plan,
    check,
    register: Some(&register::REGISTER),
};

/// The id of the entity, the id as it was given, and the variable that gave it.
fn id<'a>(settings: &'a Settings, event: &'a Event) -> Result<(String, &'a str, &'static str), Problem> {
    let (given, variable) = match &settings.id {
        Some(id) => (id.as_str(), "RELY_ENTITY_ID"),
        None => (event.id()?, "EVENT_ID"),
    };
    let id = cut(given);
    if matches!(id.as_str(), "." | "..") {
        let what =
            format!("becomes `{id}` in Rely's pattern for ids, which names nothing; it needs a letter or a digit");
        return Err(Problem::new(variable, what));
    }
    Ok((id, given, variable))
}

fn check(context: &Context) -> Result<Plan, Unmade> {
    let settings: Settings = context.values.read()?;
    check_blueprint(&settings.blueprint)?;
    let id = match &settings.entities_file {
        // Whichever entity is asked for, the answer tells whether the token is accepted.
        Some(_) => context.event.id().map_or_else(|_| "notify-event".to_owned(), cut),
        None => id(&settings, context.event)?.0,
    };
    let api = Rc::new(Api::new(&settings, &id, &Value::Null, context.event));
    let first = if context.operation == "get" || settings.entities_file.is_some() {
        api.is_there("")
    } else {
        let sent = Sent::of_any(context.event, |event| {
            Ok(blueprint::sent(&settings, &entity(&settings, &id, event)?, event))
        })?;
        let address = format!("{}/{}", api.blueprints, segment(&settings.blueprint));
        let request = Request::new(Method::Get, address).bearer(&api.token);
        blueprint::check(request, sent, move |note| api.is_there(note))
    };
    Ok(Plan::new(Some(id), vec![first]))
}

fn plan(context: &Context) -> Result<Plan, Unmade> {
    let settings: Settings = context.values.read()?;
    check_blueprint(&settings.blueprint)?;
    match (context.operation, &settings.entities_file) {
        ("upsert", Some(file)) => return Ok(bulk::upsert(context, &settings, file)),
        (operation @ ("create" | "replace" | "patch"), Some(_)) => return Err(bulk::refuse(operation).into()),
        _ => {}
    }
    let (id, given, variable) = id(&settings, context.event)?;
    if context.operation == "get" {
        let api = Api::new(&settings, &id, &Value::Null, context.event);
        let request = api.request(Method::Get, "");
        let read = Step::new("get", request, move |reply, _| match api.held(reply) {
            Ok(_) => Verdict::Delivered(Delivered {
                json: reply.shared_json(),
                ..Delivered::default()
            }),
            Err(unexpected) => unexpected.into(),
        });
        return Ok(Plan::new(Some(id), vec![read.large()]));
    }
    let entity = entity(&settings, &id, context.event)?;
    let api = Rc::new(Api::new(&settings, &id, &entity, context.event));
    let mut plan = match (context.operation, context.in_doubt_since) {
        ("create", Some(since)) => Plan::new(None, vec![api.unless_created(Some(since), IfThere::Ours)]),
        ("create", None) => Plan::new(None, vec![api.create(IfThere::Refused)]),
        ("replace", _) => Plan::new(None, vec![api.step("replace", "")]),
        ("patch", _) => Plan::new(None, vec![api.step("patch", PATCH)]),
        _ => Plan::new(None, vec![api.upsert()]).otherwise(
            "it answers 404, for then the entity has to be created",
            api.request(Method::Post, ""),
        ),
    };
    if context.is_replay && context.operation != "create" {
        let write = plan.steps.remove(0);
        plan.steps.push(unless_overtaken(&api, write, context.event));
    }
    if id != given {
        plan.notes
            .push(format!("{variable} was cut to Rely's pattern for ids: {id}"));
    }
    plan.identifier = Some(id);
    Ok(plan)
}

/// The query that makes a PUT change only what it holds (docs/vendors/rely.md 3).
const PATCH: &str = "?patch=true";

/// The requests about one entity.
struct Api {
    token: Secret,
    entities: String,
    blueprints: String,
    id: String,
    entity: String,
    body: Value,
    sent: Sent,
}

/// What it means that an entity is there which was to be created.
#[derive(Clone, Copy, PartialEq, Eq)]
enum IfThere {
    /// Nobody said that it may be.
    Refused,
    /// Somebody has created it since it was missing: it is patched.
    Patched,
    /// An earlier attempt of ours has probably created it.
    Ours,
    /// Somebody has created it meanwhile, or an earlier attempt of ours: either way it is never written over.
    Stays,
}

impl Api {
    fn new(settings: &Settings, id: &str, body: &Value, event: &Event) -> Self {
        let at = |path: &str| settings.url.join(&["/api/v1", "/api"], path);
        let entities = at("/api/v1/entities");
        Self {
            blueprints: at("/api/v1/blueprints"),
            sent: blueprint::sent(settings, body, event),
            token: settings.token.clone(),
            id: id.to_owned(),
            entity: format!("{entities}/{}", segment(id)),
            entities,
            body: body.clone(),
        }
    }

    fn request(&self, method: Method, query: &str) -> Request {
        match method {
            Method::Get => Request::new(method, self.entity.clone()).bearer(&self.token),
            Method::Post => Request::new(method, self.entities.clone())
                .bearer(&self.token)
                .json(&self.body),
            _ => Request::new(method, format!("{}{query}", self.entity))
                .bearer(&self.token)
                .json(&self.body),
        }
    }

    /// Right whichever way the server treats a PUT of an entity that is missing: PUT; if there is none, POST; if
    /// there is one after all, PUT once more (docs/vendors/rely.md 3).
    fn upsert(self: &Rc<Self>) -> Step {
        let api = Rc::clone(self);
        Step::new(
            "upsert",
            self.request(Method::Put, PATCH),
            move |reply, _| match reply.status {
                404 => Verdict::Then(api.create(IfThere::Patched)),
                _ => api.accept(reply),
            },
        )
        .settles()
    }

    /// Reads the entity before it is created, after an attempt of which nobody knows the end. A second POST is not known to
    /// be harmless, and a PUT would undo what was reported since (docs/vendors/rely.md 6).
    /// `since` is the earliest time of that attempt, where it was not just now; `then` is for the POST.
    fn unless_created(self: &Rc<Self>, since: Option<SystemTime>, then: IfThere) -> Step {
        let api = Rc::clone(self);
        Step::new(
            "was it created",
            self.request(Method::Get, ""),
            move |reply, _| match api.held(reply) {
                Ok(entity) if since.is_some_and(|since| is_older(entity, since)) => {
                    Verdict::Rejected("it exists, and did before an earlier attempt could have created it".to_owned())
                }
                Ok(_) => Verdict::noted(OURS),
                Err(_) if is_missing(reply) => Verdict::Then(api.create(then)),
                Err(Unexpected::Status) if matches!(reply.status, 408 | 425 | 429 | 500..) => Verdict::ByStatus,
                Err(_) => Verdict::InDoubt(format!(
                    "it may have been created, and Rely does not tell: it answered {} ({}). It was not sent again",
                    reply.status,
                    reply.complaint()
                )),
            },
        )
        .settles()
    }

    /// A POST is not known to be idempotent: after an ambiguous failure the entity is patched instead, which is right
    /// if the first one got through; if it did not, the 404 leads back here (docs/vendors/rely.md 6). What nothing may be
    /// written over is read instead.
    fn create(self: &Rc<Self>, if_there: IfThere) -> Step {
        let api = Rc::clone(self);
        let again = Rc::clone(self);
        Step::new(
            "create",
            self.request(Method::Post, ""),
            move |reply, sent| match if_there {
                IfThere::Patched if exists(reply) => Verdict::Then(api.step("upsert after all", PATCH)),
                IfThere::Stays if exists(reply) && !sent.ambiguous => Verdict::Skipped(APPEARED.to_owned()),
                IfThere::Ours | IfThere::Stays if exists(reply) => Verdict::noted(OURS),
                _ => api.accept(reply),
            },
        )
        .repeat(Repeat::Asking(
            &[],
            Rc::new(move || match if_there {
                IfThere::Stays => again.unless_created(None, if_there),
                _ => again.upsert(),
            }),
        ))
    }

    /// A PUT, which repeats without harm.
    fn step(self: &Rc<Self>, name: &'static str, query: &str) -> Step {
        let api = Rc::clone(self);
        Step::new(name, self.request(Method::Put, query), move |reply, _| {
            api.accept(reply)
        })
    }

    /// Reads the entity: that tells whether the token is accepted. `note` is said besides.
    fn is_there(self: &Rc<Self>, note: &'static str) -> Step {
        let api = Rc::clone(self);
        let request = self.request(Method::Get, "");
        Step::new("is it there", request, move |reply, _| match reply.status {
            404 if reply.json().is_some() => {
                Verdict::noted(format!("the token is accepted; the entity is not there yet{note}"))
            }
            _ => match api.held(reply) {
                Ok(_) => Verdict::noted(format!("the token is accepted; the entity is there{note}")),
                Err(unexpected) => unexpected.into(),
            },
        })
    }

    fn accept(&self, reply: &Reply) -> Verdict {
        match self.held(reply) {
            Ok(_) => Verdict::delivered(),
            Err(Unexpected::Status) => blueprint::refused(&self.sent, reply),
            Err(unexpected) => unexpected.into(),
        }
    }

    /// Any 2xx with the JSON of this very entity: what Rely documents of every reply to these calls, and what no other
    /// server answers (docs/vendors/rely.md 3).
    fn held<'r>(&self, reply: &'r Reply) -> Result<&'r Map<String, Value>, Unexpected> {
        let what = format!("the entity {}", self.id);
        reply.expect(&what, |body| body.get("id").is_some_and(|id| *id == self.id))
    }
}

/// Whether an entity was there before `since`; clocks differ.
fn is_older(entity: &Map<String, Value>, since: SystemTime) -> bool {
    let created = entity.get("createdAt").and_then(Value::as_str).and_then(time::parse);
    created.is_some_and(|created| created + Duration::from_mins(1) < since)
}

/// Reads the entity before a late write: it must not undo what has been reported since.
fn unless_overtaken(api: &Rc<Api>, write: Step, event: &Event) -> Step {
    let event = event.clone();
    let request = api.request(Method::Get, "");
    let api = Rc::clone(api);
    Step::new("is it newer", request, move |reply, _| {
        if reply.status == 404 {
            return Verdict::Then(write.clone());
        }
        let entity = match api.held(reply) {
            Ok(entity) => entity,
            Err(unexpected) => return unexpected.into(),
        };
        let held = |field: &str| entity.get("properties").and_then(|properties| properties.get(field));
        let is_finished = held("closedAt").is_some_and(|time| !time.is_null())
            || held("status").and_then(Value::as_str).is_some_and(is_after_run);
        let updated_at = entity.get("updatedAt").and_then(Value::as_str);
        if is_overtaken(&event, is_finished, updated_at) {
            Verdict::Skipped("a newer report has reached the entity; this one would undo it".to_owned())
        } else {
            Verdict::Then(write.clone())
        }
    })
}

/// The code of a POST of an existing entity is not documented: 409, or 400 or 422 that says so (docs/vendors/rely.md 3, 5).
fn exists(reply: &Reply) -> bool {
    reply.status == 409 || (matches!(reply.status, 400 | 422) && reply.says_that_it_exists())
}

/// Whether Rely says that there is no such entity. Only its own 404 counts: a proxy's says nothing about the entity.
fn is_missing(reply: &Reply) -> bool {
    reply.status == 404 && reply.json().is_some()
}

/// The entity's JSON, without a null in it.
fn entity(settings: &Settings, id: &str, event: &Event) -> Result<Value, Unmade> {
    let title = match &settings.title {
        Some(title) => title.as_str(),
        None => event.title()?,
    };
    let properties = match &settings.properties {
        Some(Object(properties)) => Value::Object(properties.clone()),
        None => stock_properties(event)?,
    };
    let mut entity = json!({
        "id": id,
        "blueprintId": settings.blueprint,
        "title": title,
        "description": settings.description,
        "properties": properties,
    });
    if let Some(Object(relations)) = &settings.relations {
        entity["relations"] = Value::Object(wrapped(relations)?);
    }
    Ok(without_nulls(entity))
}

/// The fields of Rely's stock `deployment` blueprint (docs/vendors/rely.md 4), each only when this event knows it: the
/// start sends `createdAt`, the end `closedAt` and, where the deploy job's own start is known, that as `createdAt`: nobody
/// may have reported the start. What becomes of a deployment after its run changes its status alone. The blueprint has no
/// field for a service or an environment: the title names them.
fn stock_properties(event: &Event) -> Result<Value, Unmade> {
    let action = event.action()?;
    let status = match action {
        Action::Started | Action::Progressing => "IN_PROGRESS".to_owned(),
        Action::Success => "SUCCESS".to_owned(),
        Action::Failure => "FAILED".to_owned(),
        Action::Canceled => "CANCELED".to_owned(),
        Action::Blocked => "BLOCKED".to_owned(),
        Action::Stopped => "STOPPED".to_owned(),
        Action::RolledBack => "ROLLED_BACK".to_owned(),
        Action::Other(word) => word.to_uppercase(),
        Action::Open => action.word().to_owned(),
    };
    let mut properties = json!({
        "status": status,
        "link": event.url,
        "sourceCommit": event.commit,
        "triggeredBy": event.user.as_ref().filter(|_| !action.is_aftermath()),
        "createdAt": event.created_at(action),
        "closedAt": event.ended_at(action),
        "duration": event.job.duration.filter(|_| action.ends_run()),
        "successful": action.ends_run().then_some(action == &Action::Success),
    });
    // The user's own say more than the defaults.
    for (name, value) in &event.properties {
        properties[name] = value.clone();
    }
    Ok(properties)
}

/// Relations as Rely wants them: each an object with `value` (docs/vendors/rely.md 2).
fn wrapped(relations: &Map<String, Value>) -> Result<Map<String, Value>, Problem> {
    relations
        .iter()
        .map(|(name, relation)| {
            let wrapped = match relation {
                Value::Object(members) if members.get("value") == Some(&Value::Null) => Value::Null,
                Value::Object(members) if members.contains_key("value") => relation.clone(),
                Value::Object(_) | Value::Bool(_) => {
                    let what = format!(
                        "has \"{name}\" as {}; a relation is an id, a list of ids, or {{\"value\": …}} with one of them",
                        if relation.is_object() { "an object without \"value\"" } else { type_of(relation) }
                    );
                    return Err(Problem::new("RELY_RELATIONS", what));
                }
                Value::Null => Value::Null,
                flat => json!({ "value": flat }),
            };
            Ok((name.clone(), wrapped))
        })
        .collect()
}

/// Nulls are left out at every depth, as Rely's own client does it (docs/vendors/rely.md 2).
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => members
            .into_iter()
            .filter(|(_, member)| !member.is_null())
            .map(|(key, member)| (key, without_nulls(member)))
            .collect(),
        Value::Array(items) => items
            .into_iter()
            .filter(|item| !item.is_null())
            .map(without_nulls)
            .collect(),
        other => other,
    }
}

/// Makes an id fit `^([a-z0-9_.-]+)$` the way Rely's own client does it, except that `_`, which is legal, stays
/// (docs/vendors/rely.md 2).
fn cut(id: &str) -> String {
    id.to_lowercase()
        .chars()
        .map(|character| if is_legal(character) { character } else { '.' })
        .collect()
}

fn is_legal(character: char) -> bool {
    character.is_ascii_lowercase() || character.is_ascii_digit() || matches!(character, '_' | '.' | '-')
}

fn check_blueprint(blueprint: &str) -> Result<(), Problem> {
    if blueprint.chars().all(is_legal) {
        return Ok(());
    }
    Err(Problem::new(
        "RELY_BLUEPRINT",
        format!("is `{blueprint}`; a blueprint's id has only a-z, 0-9, `_`, `.` and `-`"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_cut_as_relys_own_client_does() {
        assert_eq!(cut("Acme/Shop #42_ü"), "acme.shop..42_.");
        assert_eq!(cut("gitlab.repo.42-x"), "gitlab.repo.42-x");
    }

    #[test]
    fn nulls_are_left_out_at_every_depth() {
        assert_eq!(
            without_nulls(json!({"a": null, "b": {"c": null, "d": [null, {"e": null}, 0]}, "f": ""})),
            json!({"b": {"d": [{}, 0]}, "f": ""})
        );
    }

    #[test]
    fn relations_are_wrapped() {
        let relations = |value: Value| wrapped(value.as_object().unwrap());
        assert_eq!(
            Value::Object(
                relations(json!({"a": "x", "b": ["x", "y"], "c": {"value": "z"}, "d": null, "e": {"value": null}}))
                    .unwrap()
            ),
            json!({"a": {"value": "x"}, "b": {"value": ["x", "y"]}, "c": {"value": "z"}, "d": null, "e": null})
        );
        assert!(
            relations(json!({"a": {"id": "x"}}))
                .unwrap_err()
                .to_string()
                .contains("without \"value\"")
        );
        assert!(
            relations(json!({"a": true}))
                .unwrap_err()
                .to_string()
                .contains("true or false")
        );
    }
}
