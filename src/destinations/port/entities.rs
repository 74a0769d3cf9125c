//! Entities: written, read, searched for, deleted (docs/vendors/port.md 2).

use std::rc::Rc;

use serde_json::{Map, Value, json};

use super::{
    super::{blueprint::Sent, is_after_run, is_overtaken},
    Api, Job, Settings, accepted,
    blueprint::{self, DEPLOYMENT},
    deployment, error, include, is_missing, shown, undocumented, word,
};
use crate::{
    delivery::{
        plan::{Delivered, LARGE, Plan, Step, Verdict},
        reply::Reply,
        request::{Method, Request, query, segment},
    },
    destinations::register::OURS,
    event::Event,
    problem::{Problem, Unmade},
    variables::{Flag, JsonOrText, List, Object, type_of},
};

/// The longest identifier of an entity, in characters (docs/vendors/port.md 2).
const IDENTIFIER_LIMIT: usize = 1000;

/// The longest identifier of a blueprint, in characters (docs/vendors/port.md 2).
const BLUEPRINT_LIMIT: usize = 100;

/// The most entities that one page of a search may hold (docs/vendors/port.md 2).
const PAGE: u32 = 1000;

/// More pages of a search than this are not read: a page may be empty and still name a next one.
const PAGES: usize = 1000;

/// `upsert`, `create`, `replace` and `patch`.
pub(super) fn write(job: &Job) -> Result<Plan, Unmade> {
    let settings = &job.settings;
    let entities = entities(settings)?;
    let id = identifier(job)?;
    let operation = job.context.operation;
    let is_post = matches!(operation, "upsert" | "create");
    let is_validation = settings.validation_only == Some(Flag(true));
    if is_validation && !is_post {
        return Err(Problem::new(
            "PORT_VALIDATION_ONLY",
            format!("is true, but Port can't {operation} without writing; only upsert and create can be tried"),
        )
        .into());
    }
    let (method, place) = match operation {
        "replace" => (Method::Put, format!("{entities}/{}", segment(&id))),
        "patch" => (Method::Patch, format!("{entities}/{}", segment(&id))),
        _ => (Method::Post, entities),
    };
    let body = body(settings, operation, &id, job.context.event)?;
    let sent = Rc::new(blueprint::sent(job, &body));
    let written = move |reply: &Reply, is_validation| accept(&sent, reply, is_validation);
    let request = job.api.send(
        method,
        &format!("{place}{}", parameters(settings, operation)),
        &body,
        "PORT_PROPERTIES",
    )?;
    let is_in_doubt = job.context.is_in_doubt();
    let step = match operation {
        "create" => Step::new("create", request, move |reply: &Reply, sent| {
            // An attempt of our own whose reply was lost may have created it (docs/vendors/port.md 6).
            if (sent.ambiguous || is_in_doubt) && !is_validation && is_taken(reply) {
                return Verdict::noted(OURS);
            }
            written(reply, is_validation)
        }),
        "replace" => Step::new("replace", request, move |reply, _| written(reply, false)),
        "patch" => Step::new("patch", request, move |reply, _| written(reply, false)),
        _ => Step::new("upsert", request, move |reply, _| written(reply, is_validation)),
    };
    let step = if job.context.is_replay && operation != "create" {
        unless_overtaken(job, &id, step)?
    } else {
        step
    };
    Ok(Plan::new(Some(id), vec![step]))
}

/// Reads the entity before a late write: it must not undo what has been reported since.
fn unless_overtaken(job: &Job, id: &str, write: Step) -> Result<Step, Problem> {
    let event = job.context.event.clone();
    let path = format!("{}/{}", entities(&job.settings)?, segment(id));
    Ok(Step::new(
        "is it newer",
        job.api.request(Method::Get, &path),
        move |reply, _| {
            if reply.status == 404 {
                return Verdict::Then(write.clone());
            }
            let entity = match accepted(reply) {
                Ok(body) => &body["entity"],
                Err(verdict) => return verdict,
            };
            let held = &entity["properties"];
            let is_finished = !held["finishedAt"].is_null() || held["status"].as_str().is_some_and(is_after_run);
            if is_overtaken(&event, is_finished, entity["updatedAt"].as_str()) {
                Verdict::Skipped("a newer report has reached the entity; this one would undo it".to_owned())
            } else {
                Verdict::Then(write.clone())
            }
        },
    ))
}

/// What goes along with a write.
pub(super) fn parameters(settings: &Settings, operation: &str) -> String {
    let is_upsert = operation == "upsert";
    let of_post = matches!(operation, "upsert" | "create").then_some([
        ("upsert", Some(Flag(is_upsert))),
        // Without `merge`, an upsert loses every property that it does not name (docs/vendors/port.md 2).
        ("merge", is_upsert.then_some(settings.merge)),
        ("validation_only", settings.validation_only),
    ]);
    let flags = of_post.into_iter().flatten();
    let flags = flags.chain([("create_missing_related_entities", settings.create_missing)]);
    let flags = flags.filter_map(|(name, flag)| Some((name, word(flag?))));
    query(flags.chain(settings.run_id.as_deref().map(|id| ("run_id", id))))
}

/// Whether Port says that what was to be created is there.
pub(super) fn is_taken(reply: &Reply) -> bool {
    reply.status == 409 && error(reply) == Some("identifier_taken")
}

/// The end of a write of what was `sent`.
pub(super) fn accept(sent: &Sent, reply: &Reply, is_validation: bool) -> Verdict {
    match accepted(reply) {
        Err(Verdict::ByStatus) => blueprint::refused(sent, reply),
        Err(verdict) => verdict,
        Ok(_) => written(reply, is_validation),
    }
}

/// 201 with the entity, or 200, which was documented for updates until 2025 (docs/vendors/port.md 2).
fn written(reply: &Reply, is_validation: bool) -> Verdict {
    Verdict::Delivered(Delivered {
        identifier: reply.text_at("/entity/identifier").map(str::to_owned),
        note: is_validation.then(|| "only checked, nothing written: PORT_VALIDATION_ONLY is true".to_owned()),
        json: None,
    })
}

/// `get`.
pub(super) fn get(job: &Job) -> Result<Plan, Problem> {
    let entities = entities(&job.settings)?;
    let id = identifier(job)?;
    let path = format!("{entities}/{}{}", segment(&id), included(&job.settings));
    let step = Step::new("get", job.api.request(Method::Get, &path), |reply, _| {
        match accepted(reply) {
            Ok(body) if body.get("entity").is_some_and(Value::is_object) => found(reply.shared_json()),
            Ok(_) => undocumented(reply, "an \"entity\""),
            Err(verdict) => verdict,
        }
    });
    Ok(Plan::new(Some(id), vec![step.large()]))
}

/// `search`: through all blueprints, as Port's GitHub Action does it; through one, in pages, where `PORT_BLUEPRINT`
/// says which. Its default does not count: a search for services would find nothing among deployments.
pub(super) fn search(job: &Job) -> Result<Plan, Problem> {
    let Some(Object(wanted)) = &job.settings.query else {
        return Err(Problem::new(
            "PORT_QUERY",
            r#"is not set; search needs it, as in {"combinator": "and", "rules": [{"property": "$blueprint", "operator": "=", "value": "service"}]}"#,
        ));
    };
    if !wanted.get("combinator").is_some_and(Value::is_string) || !wanted.get("rules").is_some_and(Value::is_array) {
        return Err(Problem::new(
            "PORT_QUERY",
            r#"has to be {"combinator": "and", "rules": […]} with Port's rules; it lacks one of the two"#,
        ));
    }
    let wanted = Value::Object(wanted.clone());
    if !job.context.values.is_given("PORT_BLUEPRINT") {
        let path = format!("/entities/search{}", included(&job.settings));
        let request = job.api.send(Method::Post, &path, &wanted, "PORT_QUERY")?;
        let step = Step::new("search", request, |reply, _| match entities_of(reply) {
            Ok((body, entities)) => found(Some(Rc::new(whole(body, entities.clone())))),
            Err(verdict) => verdict,
        });
        return Ok(Plan::new(None, vec![step.large()]));
    }
    let mut body = json!({ "query": wanted, "limit": PAGE });
    if let Some(List(words)) = &job.settings.include {
        body["include"] = json!(include::of_one(words)?);
    }
    let search = Rc::new(Search {
        api: job.api.clone(),
        path: format!("{}/search", entities(&job.settings)?),
        body,
        advice: "; narrow PORT_QUERY, or name in PORT_INCLUDE what you need",
    });
    let next = search.request(Some("<next>"));
    let plan = Plan::new(None, vec![search.first("PORT_QUERY")?]);
    Ok(plan.otherwise("a reply has `next`, with it in place of <next>, page by page", next))
}

/// A search in one blueprint.
pub(super) struct Search {
    pub(super) api: Api,
    /// Behind `/v1`.
    pub(super) path: String,
    /// What is sent for the first page.
    pub(super) body: Value,
    /// What to do about more than is read.
    pub(super) advice: &'static str,
}

/// What the pages of a search so far hold.
#[derive(Clone, Default)]
struct Pages {
    entities: Vec<Rc<Vec<Value>>>,
    bytes: usize,
}

impl Search {
    /// Reads all pages. `variable` is what makes the request large, if it is.
    pub(super) fn first(self: &Rc<Self>, variable: &str) -> Result<Step, Problem> {
        let request = self.api.send(Method::Post, &self.path, &self.body, variable)?;
        Ok(self.page(request, None, Pages::default()))
    }

    /// The request for the page at a cursor.
    fn request(&self, from: Option<&str>) -> Request {
        let mut body = self.body.clone();
        if let Some(from) = from {
            body["from"] = from.into();
        }
        self.api.request(Method::Post, &self.path).json(&body)
    }

    /// Reads the page that `request` asks for; pages are no attempts, so it is a poll.
    fn page(self: &Rc<Self>, request: Request, from: Option<String>, before: Pages) -> Step {
        let search = Rc::clone(self);
        Step::new("search", request, move |reply, _| {
            let (body, entities) = match entities_of(reply) {
                Ok(found) => found,
                Err(verdict) => return verdict,
            };
            let mut pages = before.clone();
            pages.entities.push(Rc::new(entities.clone()));
            pages.bytes += reply.body.len();
            if pages.bytes > LARGE {
                let advice = search.advice;
                return Verdict::Rejected(format!("found more than the {LARGE} bytes that are read{advice}"));
            }
            match reply.text_at("/next").filter(|next| !next.is_empty()) {
                Some(next) if from.as_deref() == Some(next) => {
                    Verdict::Rejected("answered twice with the same `next`, which would never end".to_owned())
                }
                Some(_) if pages.entities.len() >= PAGES => Verdict::Rejected(format!(
                    "has more than the {PAGES} pages that are read{}",
                    search.advice
                )),
                Some(next) => {
                    let next = next.to_owned();
                    Verdict::Then(search.page(search.request(Some(&next)), Some(next), pages))
                }
                None => {
                    let entities = pages.entities.iter().flat_map(|page| page.iter().cloned());
                    found(Some(Rc::new(whole(body, entities.collect()))))
                }
            }
        })
        .large()
        .poll()
    }
}

/// The reply of a search, and the entities in it.
fn entities_of(reply: &Reply) -> Result<(&Map<String, Value>, &Vec<Value>), Verdict> {
    let body = accepted(reply)?;
    match body.get("entities").and_then(Value::as_array) {
        Some(entities) => Ok((body, entities)),
        None => Err(undocumented(reply, "\"entities\"")),
    }
}

/// A search's last reply, with all entities and no further page.
fn whole(last: &Map<String, Value>, entities: Vec<Value>) -> Value {
    let mut entities = Some(entities);
    let members = last.iter().filter(|(name, _)| *name != "next");
    let whole = members.map(|(name, value)| match (name.as_str(), &mut entities) {
        ("entities", entities) => (name.clone(), entities.take().into()),
        _ => (name.clone(), value.clone()),
    });
    Value::Object(whole.collect())
}

fn found(json: Option<Rc<Value>>) -> Verdict {
    Verdict::Delivered(Delivered {
        json,
        ..Delivered::default()
    })
}

/// `delete`: only of an entity that is spelled out, never of one that a default names.
pub(super) fn delete(job: &Job) -> Result<Plan, Problem> {
    let settings = &job.settings;
    let entities = entities(settings)?;
    if settings.id.is_none() {
        return Err(Problem::new(
            "PORT_ENTITY_ID",
            "is not set; delete wants the identifier spelled out, and never takes the event's",
        ));
    }
    if settings.validation_only == Some(Flag(true)) {
        return Err(Problem::new(
            "PORT_VALIDATION_ONLY",
            "is true, but Port can't delete without writing; only upsert and create can be tried",
        ));
    }
    let id = identifier(job)?;
    let run = settings.run_id.as_deref().map(|id| ("run_id", id));
    let pairs = std::iter::once(("delete_dependents", word(settings.delete_dependents))).chain(run);
    let path = format!("{entities}/{}{}", segment(&id), query(pairs));
    let step = Step::new("delete", job.api.request(Method::Delete, &path), |reply, sent| {
        let is_missing = is_missing(reply);
        match accepted(reply) {
            Err(_) if is_missing && sent.ambiguous => Verdict::Delivered(Delivered {
                note: Some("it is gone: an earlier attempt got through, though its reply did not".to_owned()),
                ..Delivered::default()
            }),
            Err(_) if is_missing => Verdict::Skipped(format!("there is nothing to delete: {}", reply.complaint())),
            Err(verdict) => verdict,
            Ok(_) => Verdict::delivered(),
        }
    });
    Ok(Plan::new(Some(id), vec![step]))
}

/// The path of a blueprint's entities.
pub(super) fn entities(settings: &Settings) -> Result<String, Problem> {
    check_blueprint("PORT_BLUEPRINT", &settings.blueprint)?;
    Ok(format!("/blueprints/{}/entities", segment(&settings.blueprint)))
}

/// The entity's identifier: its own variable, else the event's id.
pub(super) fn identifier(job: &Job) -> Result<String, Problem> {
    let (variable, id) = match &job.settings.id {
        Some(id) => ("PORT_ENTITY_ID", id.as_str()),
        None => ("EVENT_ID", job.context.event.id()?),
    };
    check_identifier(variable, id)?;
    Ok(id.to_owned())
}

/// Whether a blueprint can be called so.
pub(super) fn check_blueprint(variable: &str, id: &str) -> Result<(), Problem> {
    check_name(variable, id, BLUEPRINT_LIMIT, "")
}

/// Whether an entity can be called so.
pub(super) fn check_identifier(variable: &str, id: &str) -> Result<(), Problem> {
    check_name(variable, id, IDENTIFIER_LIMIT, "='")
}

/// Port's pattern, `^(?!\.{1,2}$)[\p{L}0-9@_.+:\\/='-]+$`, of which blueprints lack `=` and `'` (docs/vendors/port.md 2). What
/// counts as a letter here is a little wider than `\p{L}`: a vowel sign is left for Port to refuse.
fn check_name(variable: &str, id: &str, limit: usize, also: &str) -> Result<(), Problem> {
    let is_legal = |character: char| {
        (character.is_alphabetic() && !character.is_numeric())
            || character.is_ascii_digit()
            || "@_.+:\\/-".contains(character)
            || also.contains(character)
    };
    let count = id.chars().count();
    let why = if let Some(illegal) = id.chars().find(|&character| !is_legal(character)) {
        let sign = if also.is_empty() { "" } else { " = '" };
        format!("with {illegal:?} in it; Port allows letters, digits and @ _ . + : \\ / -{sign}")
    } else if count > limit {
        format!("of {count} characters; Port allows {limit}")
    } else if matches!(id, "." | "..") {
        "which Port refuses".to_owned()
    } else {
        return Ok(());
    };
    Err(Problem::new(variable, format!("is `{}`, {why}", shown(id))))
}

/// The query that says what of an entity is wanted.
fn included(settings: &Settings) -> String {
    let words = settings.include.as_ref().map(|List(words)| include::general(words));
    query(words.iter().flatten().map(|word| ("include", word.as_str())))
}

/// The entity's JSON. A PATCH takes no other keys, and null for title, icon and team (docs/vendors/port.md 2); it does not
/// repeat the identifier, which there would be a new name.
pub(super) fn body(settings: &Settings, operation: &str, id: &str, event: &Event) -> Result<Value, Unmade> {
    let is_patch = operation == "patch";
    let text = |text: &str| {
        if is_patch && text == "null" {
            Value::Null
        } else {
            text.into()
        }
    };
    let is_deployment = settings.properties.is_none() || settings.blueprint == DEPLOYMENT;
    let title = match &settings.title {
        Some(title) => Some(text(title)),
        None if is_patch || !is_deployment => None,
        None => event.title().ok().map(Value::from),
    };
    let properties = match &settings.properties {
        Some(Object(properties)) => properties.clone(),
        None => deployment::properties(event)?,
    };
    let team = settings.team.as_ref().map(|JsonOrText(team)| match team {
        Value::String(name) => text(name),
        other => other.clone(),
    });
    let relations = match &settings.relations {
        Some(Object(relations)) => {
            check_relations(relations)?;
            Some(Value::Object(relations.clone()))
        }
        None => None,
    };
    let members = [
        ("identifier", (!is_patch).then(|| id.into())),
        ("title", title),
        ("icon", settings.icon.as_deref().map(text)),
        ("team", team),
        ("properties", Some(Value::Object(properties))),
        ("relations", relations),
    ];
    Ok(members
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect())
}

/// A relation is an identifier, a list of them, null, or a search query (docs/vendors/port.md 2).
fn check_relations(relations: &Map<String, Value>) -> Result<(), Problem> {
    let wrong = relations.iter().find_map(|(name, relation)| match relation {
        Value::Bool(_) | Value::Number(_) => Some((name, type_of(relation))),
        Value::Array(items) if !items.iter().all(Value::is_string) => Some((name, "an array of more than strings")),
        _ => None,
    });
    match wrong {
        None => Ok(()),
        Some((name, what)) => Err(Problem::new(
            "PORT_RELATIONS",
            format!(
                "has \"{name}\" as {what}; a relation is an identifier in quotes, an array of them, null, or a query"
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::testing::{AGAIN, FIRST, in_words, plan, problem, read, request, wire},
        *,
    };
    use crate::delivery::plan::{Repeat, Sent};

    const SUCCESS: (&str, &str) = ("EVENT_ACTION", "success");
    const SERVICE: (&str, &str) = ("PORT_BLUEPRINT", "service");
    const QUERY: (&str, &str) = (
        "PORT_QUERY",
        r#"{"combinator":"and","rules":[{"value":"a \"b\"\n🚀"}]}"#,
    );
    const ENTITIES: &str = "https://api.port.io/v1/blueprints/deployment/entities";

    /// The body of the only request, as JSON.
    fn body(operation: &str, more: &[(&str, &str)]) -> Value {
        let request = request(operation, more);
        serde_json::from_str(request.split_once('\n').unwrap().1).unwrap()
    }

    fn line(operation: &str, more: &[(&str, &str)]) -> String {
        request(operation, more).lines().next().unwrap().to_owned()
    }

    fn verdict(operation: &str, more: &[(&str, &str)], sent: Sent, status: u16, body: &str) -> String {
        in_words(&read(&plan(operation, more).steps[0], sent, status, body))
    }

    #[test]
    fn an_upsert_merges_the_fields_of_the_shipped_blueprint() {
        assert_eq!(
            line("upsert", &[SUCCESS]),
            format!("POST {ENTITIES}?upsert=true&merge=true")
        );
        assert_eq!(
            body(
                "upsert",
                &[
                    SUCCESS,
                    ("EVENT_ENVIRONMENT", "production"),
                    ("EVENT_VERSION", "1.4.2"),
                    ("EVENT_IMAGE", "shop:1.4.2")
                ]
            ),
            json!({
                "identifier": "acme-shop-8812-production",
                "title": "acme/shop 1.4.2 (production)",
                "properties": {
                    "status": "SUCCESS",
                    "action": "success",
                    "finishedAt": "2025-03-01T10:07:31Z",
                    "repository": "acme/shop",
                    "branch": "fix/\"quoted\" \\ ünïcode",
                    "commit": "9f2c1e7",
                    "version": "1.4.2",
                    "image": "shop:1.4.2",
                    "environment": "production",
                    "url": "https://gitlab.example.com/acme/shop/-/pipelines/8812",
                    "triggeredBy": "dana",
                    "successful": true
                }
            })
        );
        assert_eq!(plan("upsert", &[SUCCESS]).identifier.as_deref(), Some("acme-shop-8812"));
    }

    #[test]
    fn everything_that_can_be_set_is_sent() {
        let all = [
            SERVICE,
            ("PORT_ENTITY_ID", "acme/shop:ünïcode=1"),
            ("PORT_ENTITY_TITLE", "Shop \"{{ event.repo }}\""),
            ("PORT_ICON", "Service"),
            ("PORT_TEAM", r#"["a", "b"]"#),
            (
                "PORT_PROPERTIES",
                r#"{"said": "{{ pipeline.commit_title }}", "n": 1, "gone": null, "deep": {"a": [null]}}"#,
            ),
            (
                "PORT_RELATIONS",
                r#"{"one": "x", "many": ["y"], "none": null, "query": {"combinator": "and", "rules": []}}"#,
            ),
            ("PORT_MERGE", "false"),
            ("PORT_VALIDATION_ONLY", "false"),
            ("PORT_CREATE_MISSING_RELATED_ENTITIES", "true"),
            ("PORT_RUN_ID", "r_1&2"),
        ];
        let entities = "https://api.port.io/v1/blueprints/service/entities";
        let entity = format!("{entities}/acme%2Fshop%3A%C3%BCn%C3%AFcode%3D1");
        let tail = "create_missing_related_entities=true&run_id=r_1%262";
        for (operation, expected) in [
            (
                "upsert",
                format!("POST {entities}?upsert=true&merge=false&validation_only=false&{tail}"),
            ),
            (
                "create",
                format!("POST {entities}?upsert=false&validation_only=false&{tail}"),
            ),
            ("replace", format!("PUT {entity}?{tail}")),
            ("patch", format!("PATCH {entity}?{tail}")),
        ] {
            assert_eq!(line(operation, &all), expected);
            let mut json = json!({
                "identifier": "acme/shop:ünïcode=1",
                "title": "Shop \"acme/shop\"",
                "icon": "Service",
                "team": ["a", "b"],
                "properties": {
                    "said": "say \"hi\"\n🚀 {{ not.a.template }}",
                    "n": 1,
                    "gone": null,
                    "deep": {"a": [null]}
                },
                "relations": {"one": "x", "many": ["y"], "none": null, "query": {"combinator": "and", "rules": []}}
            });
            if operation == "patch" {
                json.as_object_mut().unwrap().shift_remove("identifier");
            }
            assert_eq!(body(operation, &all), json, "{operation}");
            assert!(matches!(plan(operation, &all).steps[0].repeat, Repeat::Freely));
        }
    }

    #[test]
    fn other_blueprints_keep_their_titles() {
        let properties = ("PORT_PROPERTIES", "{}");
        for operation in ["upsert", "create", "replace"] {
            let titled = json!({"identifier": "acme-shop-8812", "title": "acme/shop #8812", "properties": {}});
            assert_eq!(body(operation, &[properties]), titled);
            let untitled = json!({"identifier": "acme-shop-8812", "properties": {}});
            assert_eq!(body(operation, &[properties, SERVICE]), untitled);
        }
        assert_eq!(body("patch", &[properties]), json!({"properties": {}}));
        assert_eq!(body("patch", &[SUCCESS])["properties"]["status"], "SUCCESS");
        assert!(problem("patch", &[]).starts_with("EVENT_ACTION is auto"));
    }

    #[test]
    fn null_clears_in_a_patch_only() {
        let nulls = [
            ("PORT_ENTITY_TITLE", "null"),
            ("PORT_ICON", "null"),
            ("PORT_TEAM", "null"),
            ("PORT_PROPERTIES", r#"{"a": null}"#),
        ];
        let cleared = json!({"title": null, "icon": null, "team": null, "properties": {"a": null}});
        assert_eq!(body("patch", &nulls), cleared);
        assert_eq!(body("upsert", &nulls)["team"], "null");
    }

    #[test]
    fn identifiers_that_port_refuses_are_never_sent() {
        for (id, why) in [
            (
                "acme shop",
                "PORT_ENTITY_ID is `acme shop`, with ' ' in it; Port allows letters, digits and @ _",
            ),
            ("a#b", "with '#' in it"),
            ("100%", "with '%' in it"),
            ("a\nb", "with '\\n' in it"),
            ("a\"b", "with '\"' in it"),
            ("🚀", "with '🚀' in it"),
            ("..", "which Port refuses"),
            (".", "which Port refuses"),
        ] {
            for operation in ["upsert", "get", "delete", "patch"] {
                let problem = problem(operation, &[("PORT_ENTITY_ID", id), SUCCESS]);
                assert!(
                    problem.starts_with("PORT_ENTITY_ID is `") && problem.contains(why),
                    "{problem}"
                );
            }
        }
        assert!(problem("get", &[("PORT_ENTITY_ID", &"x".repeat(1001))]).contains("of 1001 characters"));
        assert!(problem("get", &[("EVENT_ID", "a b")]).starts_with("EVENT_ID is `a b`"));
        for id in [
            "x".repeat(1000),
            "ünïcode/日本語\\@_.+:=-...".to_owned(),
            "...".to_owned(),
        ] {
            let path = line("get", &[("PORT_ENTITY_ID", &id)]);
            assert_eq!(path, format!("GET {ENTITIES}/{}", segment(&id)));
        }
        assert!(problem("get", &[("PORT_BLUEPRINT", "a=b")]).starts_with("PORT_BLUEPRINT is `a=b`, with '=' in it"));
        assert!(problem("get", &[("PORT_BLUEPRINT", "..")]).starts_with("PORT_BLUEPRINT is `..`"));
        assert!(problem("get", &[("PORT_BLUEPRINT", &"x".repeat(101))]).contains("of 101 characters; Port allows 100"));
    }

    #[test]
    fn bad_values_name_their_variable() {
        for (name, value, why) in [
            (
                "PORT_PROPERTIES",
                "{\"a\": }",
                "PORT_PROPERTIES is not JSON: expected value at line 1, column 7",
            ),
            ("PORT_PROPERTIES", "[]", "PORT_PROPERTIES has to be a JSON object"),
            ("PORT_RELATIONS", r#"{"a": 1}"#, "PORT_RELATIONS has \"a\" as a number"),
            (
                "PORT_RELATIONS",
                r#"{"a": ["x", 1]}"#,
                "PORT_RELATIONS has \"a\" as an array of more than strings",
            ),
            ("PORT_TEAM", "[\"a\"", "PORT_TEAM is not JSON"),
            (
                "PORT_MERGE",
                "maybe",
                "PORT_MERGE is `maybe`; it has to be true or false",
            ),
            ("PORT_QUERY", "{", "PORT_QUERY is not JSON"),
            (
                "PORT_ENTITY_TITLE",
                "{{ event.nope }}",
                "PORT_ENTITY_TITLE has a template",
            ),
        ] {
            let problem = problem("upsert", &[SUCCESS, (name, value)]);
            assert!(problem.starts_with(why), "{problem}");
        }
    }

    #[test]
    fn a_body_over_one_mebibyte_is_not_sent() {
        let fits = format!(r#"{{"a":"{}"}}"#, "x".repeat(1_000_000));
        assert!(request("upsert", &[("PORT_PROPERTIES", &fits)]).len() > 1_000_000);
        let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(1_048_576));
        let problem = problem("upsert", &[("PORT_PROPERTIES", &long)]);
        assert!(
            problem.starts_with("PORT_PROPERTIES is too long") && problem.len() < 200,
            "{problem}"
        );
    }

    #[test]
    fn a_validation_writes_nothing_or_is_refused() {
        let validation = [SUCCESS, ("PORT_VALIDATION_ONLY", "true"), ("PORT_ENTITY_ID", "e")];
        let expected = format!("POST {ENTITIES}?upsert=true&merge=true&validation_only=true");
        assert_eq!(line("upsert", &validation), expected);
        assert!(verdict("upsert", &validation, FIRST, 200, r#"{"ok":true}"#).contains("nothing written"));
        let taken = r#"{"ok":false,"error":"identifier_taken"}"#;
        assert_eq!(verdict("create", &validation, AGAIN, 409, taken), "by status");
        for operation in ["replace", "patch", "delete"] {
            assert!(problem(operation, &validation).starts_with("PORT_VALIDATION_ONLY is true"));
        }
        assert!(line("get", &validation).starts_with("GET "));
    }

    #[test]
    fn the_identifier_comes_from_the_reply() {
        let reply = r#"{"ok":true,"entity":{"identifier":"e_1"}}"#;
        for (operation, status) in [
            ("upsert", 201),
            ("upsert", 200),
            ("create", 201),
            ("replace", 200),
            ("patch", 200),
        ] {
            assert_eq!(verdict(operation, &[SUCCESS], FIRST, status, reply), "delivered e_1 -");
        }
    }

    #[test]
    fn a_create_that_was_lost_is_found_again() {
        let taken = r#"{"ok":false,"error":"identifier_taken","message":"taken"}"#;
        assert_eq!(verdict("create", &[SUCCESS], FIRST, 409, taken), "by status");
        let found = verdict("create", &[SUCCESS], AGAIN, 409, taken);
        assert!(
            found.starts_with("delivered - it exists: an earlier attempt"),
            "{found}"
        );
        let other = r#"{"ok":false,"error":"SCIM_CONFLICT"}"#;
        assert_eq!(verdict("create", &[SUCCESS], AGAIN, 409, other), "by status");
        assert_eq!(verdict("upsert", &[SUCCESS], AGAIN, 409, taken), "by status");
    }

    #[test]
    fn get_returns_the_whole_reply() {
        let more = [
            ("PORT_INCLUDE", "identifier, properties.version"),
            ("PORT_ENTITY_ID", "a/b"),
        ];
        let expected = format!("GET {ENTITIES}/a%2Fb?include=identifier&include=properties.version");
        assert_eq!(request("get", &more), expected);
        let step = &plan("get", &more).steps[0];
        let reply = r#"{"ok":true,"entity":{"identifier":"a/b","properties":{"version":1.10}},"new":1}"#;
        match read(step, FIRST, 200, reply) {
            Verdict::Delivered(delivered) => assert_eq!(delivered.json.unwrap().to_string(), reply),
            other => panic!("{other:?}"),
        }
        assert!(in_words(&read(step, FIRST, 200, r#"{"ok":true}"#)).contains("without an \"entity\""));
        assert_eq!(
            in_words(&read(step, FIRST, 404, r#"{"ok":false,"error":"not_found"}"#)),
            "by status"
        );
    }

    #[test]
    fn a_search_goes_through_all_blueprints() {
        assert_eq!(
            request("search", &[QUERY, ("PORT_INCLUDE", "identifier,title")]),
            format!(
                "POST https://api.port.io/v1/entities/search?include=identifier&include=title\n{}",
                QUERY.1
            )
        );
        let step = &plan("search", &[QUERY]).steps[0];
        let reply = r#"{"ok":true,"entities":[{"identifier":"a"}],"matchingBlueprints":["service"]}"#;
        match read(step, FIRST, 200, reply) {
            Verdict::Delivered(delivered) => {
                assert_eq!(delivered.json.unwrap().to_string(), reply);
            }
            other => panic!("{other:?}"),
        }
        assert!(in_words(&read(step, FIRST, 200, r#"{"ok":true}"#)).contains("without \"entities\""));
        assert!(problem("search", &[]).starts_with("PORT_QUERY is not set"));
        for query in ["{}", r#"{"combinator":"and"}"#, r#"{"query":{}}"#] {
            assert!(problem("search", &[("PORT_QUERY", query)]).starts_with("PORT_QUERY has to be"));
        }
    }

    #[test]
    fn a_search_in_one_blueprint_reads_page_after_page() {
        let mut plan = plan(
            "search",
            &[QUERY, SERVICE, ("PORT_INCLUDE", "identifier,properties.version")],
        );
        let page = |from: &str| {
            format!(
                "POST https://api.port.io/v1/blueprints/service/entities/search\n{{\"query\":{},\"limit\":1000,\
                 \"include\":[\"$identifier\",\"version\"]{from}}}",
                QUERY.1
            )
        };
        let mut step = plan.steps.remove(0);
        assert_eq!(wire(&plan.otherwise[0].1), page(",\"from\":\"<next>\""));
        assert_eq!(wire(&step.request), page(""));
        for next in ["n1", "n2"] {
            let reply = format!(r#"{{"ok":true,"entities":[{{"identifier":"{next}"}}],"next":"{next}"}}"#);
            step = match read(&step, FIRST, 200, &reply) {
                Verdict::Then(step) => step,
                other => panic!("{other:?}"),
            };
            assert_eq!(wire(&step.request), page(&format!(",\"from\":\"{next}\"")));
            assert!(step.is_poll, "pages are no attempts");
        }
        let stuck = read(&step, FIRST, 200, r#"{"ok":true,"entities":[],"next":"n2"}"#);
        assert!(in_words(&stuck).contains("same `next`"));
        let long = format!(r#"{{"ok":true,"entities":[],"x":"{}"}}"#, "x".repeat(LARGE));
        assert!(in_words(&read(&step, FIRST, 200, &long)).contains("narrow PORT_QUERY"));
        match read(
            &step,
            FIRST,
            200,
            r#"{"ok":true,"entities":[{"identifier":"n3"}],"next":null}"#,
        ) {
            Verdict::Delivered(delivered) => assert_eq!(
                delivered.json.unwrap().to_string(),
                r#"{"ok":true,"entities":[{"identifier":"n1"},{"identifier":"n2"},{"identifier":"n3"}]}"#
            ),
            other => panic!("{other:?}"),
        }
        assert_eq!(in_words(&read(&step, FIRST, 500, "")), "by status");
    }

    #[test]
    fn a_search_that_names_ever_new_pages_ends() {
        let mut step = plan("search", &[QUERY, SERVICE]).steps.remove(0);
        for number in 1..PAGES {
            let reply = format!(r#"{{"ok":true,"entities":[],"next":"n{number}"}}"#);
            step = match read(&step, FIRST, 200, &reply) {
                Verdict::Then(step) => step,
                other => panic!("{number}: {other:?}"),
            };
        }
        let last = r#"{"ok":true,"entities":[]}"#;
        assert!(matches!(read(&step, FIRST, 200, last), Verdict::Delivered(_)));
        let more = r#"{"ok":true,"entities":[],"next":"more"}"#;
        assert!(in_words(&read(&step, FIRST, 200, more)).contains("more than the 1000 pages"));
    }

    #[test]
    fn a_delete_is_spelled_out_and_may_come_late() {
        assert!(problem("delete", &[]).starts_with("PORT_ENTITY_ID is not set; delete wants"));
        let id = ("PORT_ENTITY_ID", "a/b");
        let url = format!("DELETE {ENTITIES}/a%2Fb?delete_dependents");
        assert_eq!(request("delete", &[id]), format!("{url}=false"));
        let more = [id, ("PORT_DELETE_DEPENDENTS", "true"), ("PORT_RUN_ID", "r_1")];
        assert_eq!(request("delete", &more), format!("{url}=true&run_id=r_1"));
        assert_eq!(verdict("delete", &[id], FIRST, 200, r#"{"ok":true}"#), "delivered - -");
        let missing = r#"{"ok":false,"error":"not_found","message":"No entity"}"#;
        let skipped = "skipped there is nothing to delete: not_found: No entity";
        assert_eq!(verdict("delete", &[id], FIRST, 404, missing), skipped);
        assert!(verdict("delete", &[id], AGAIN, 404, missing).starts_with("delivered - it is gone"));
        assert_eq!(verdict("delete", &[id], AGAIN, 404, "<html>"), "by status");
    }
}
