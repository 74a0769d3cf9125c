//! Port: entities of its software catalog, and runs of its self-service actions, by its public API. Facts:
//! docs/vendors/port.md.

use serde_json::{Map, Value};

use super::{Context, Destination, HiddenJob, Operation, Repetition};
use crate::{
    choice,
    delivery::{
        plan::{Login, Plan, Verdict},
        reply::Reply,
        request::{Form, Method, Request, Text},
    },
    problem::{Problem, Unmade},
    secret::Secret,
    text::truncate,
    variables,
    variables::{BaseUrl, FilePath, Flag, Group as _, JsonOrText, List, Object},
};

mod blueprint;
mod bulk;
mod check;
mod deployment;
mod entities;
mod include;
mod register;
mod runs;

choice! {
    /// Where Port keeps an organisation's data (docs/vendors/port.md 1).
    pub enum Region {
        /// Europe.
        Eu = "eu",
        /// The United States.
        Us = "us",
    }
}

choice! {
    /// How a run ends; Port takes no other word (docs/vendors/port.md 3).
    pub enum RunStatus {
        /// Well.
        Success = "success",
        /// Badly.
        Failure = "failure",
    }
}

impl RunStatus {
    /// Port's word for it.
    fn word(self) -> &'static str {
        match self {
            Self::Success => "SUCCESS",
            Self::Failure => "FAILURE",
        }
    }
}

variables! {
    /// What `port` reads.
    pub struct Settings, "Port, API reference" {
        /// Client id: in Port under `...` > Credentials. Those of a service account outlive the person who made them.
        client_id: Secret = "PORT_CLIENT_ID", required;
        /// Client secret that belongs to `PORT_CLIENT_ID`.
        client_secret: Secret = "PORT_CLIENT_SECRET", required;
        /// Region of the organisation: `eu` (`https://api.port.io`) or `us` (`https://api.us.port.io`).
        region: Option<Region> = "PORT_REGION", derived "eu";
        /// Where Port's API is, instead of `PORT_REGION`; with or without `/v1`.
        url: Option<BaseUrl> = "PORT_API_URL", derived "the region's";
        /// The blueprint of the entity. `search` goes through all blueprints, unless this is set.
        blueprint: String = "PORT_BLUEPRINT", default "deployment";
        /// The entity's identifier: letters, digits and `@ _ . + : \ / = ' -`. `delete` wants it spelled out; `run-create` runs the action on this entity if it is set.
        id: Option<String> = "PORT_ENTITY_ID", derived "EVENT_ID";
        /// The entity's title. Without it, only a deployment gets one: other blueprints keep the title that they have. In `patch`, `null` clears it.
        title: Option<String> = "PORT_ENTITY_TITLE", derived "EVENT_TITLE, where PORT_PROPERTIES is unset or PORT_BLUEPRINT is deployment (not in patch)";
        /// The entity's icon, by Port's name for it. In `patch`, `null` clears it.
        icon: Option<String> = "PORT_ICON", optional;
        /// The owning team: its name, a JSON array of names, or a search query as a JSON object. In `patch`, `null` clears it.
        team: Option<JsonOrText> = "PORT_TEAM", optional;
        /// The entity's properties, as a JSON object; they have to exist in the blueprint, `null` clears one, `{}` sends none. For `run-create`, the action's inputs.
        properties: Option<Object> = "PORT_PROPERTIES", derived "the fields of examples/port/deployment-blueprint.json, and EVENT_PROPERTIES; {} in run-create";
        /// The entity's relations, as a JSON object: `{"service": "shop", "images": ["a", "b"]}`.
        relations: Option<Object> = "PORT_RELATIONS", optional;
        /// Whether `upsert` leaves alone what it does not name. With `false` it overwrites the whole entity.
        merge: Flag = "PORT_MERGE", default "true";
        /// Whether entities that `PORT_RELATIONS` names and that are missing are created.
        create_missing: Option<Flag> = "PORT_CREATE_MISSING_RELATED_ENTITIES", optional;
        /// Whether `upsert` and `create` only let Port check the entity, and write nothing.
        validation_only: Option<Flag> = "PORT_VALIDATION_ONLY", optional;
        /// Whether `delete` also deletes the entities that need this one.
        delete_dependents: Flag = "PORT_DELETE_DEPENDENTS", default "false";
        /// What to search for, as Port's JSON: `{"combinator": "and", "rules": […]}`.
        query: Option<Object> = "PORT_QUERY", optional;
        /// What `get` and `search` return of an entity, as in `identifier,properties.version`, or in the words of Port's search in one blueprint, `$identifier,version`: either is translated to what the route wants. Unset, everything.
        include: Option<List> = "PORT_INCLUDE", optional;
        /// A file of entities that `upsert` sends instead of the event: its path (a variable of GitLab's file type, too), or `-` for standard input. A JSON array or an object a line, of any length, each with `identifier` and, where it is not `PORT_BLUEPRINT`, `blueprint`. Templates in it don't run.
        entities_file: Option<FilePath> = "PORT_ENTITIES_FILE", optional;
        /// The self-service action that `run-create` runs.
        action: Option<String> = "PORT_ACTION", optional;
        /// The action run to update or log to. Writes of entities are tied to it, where it is set.
        run_id: Option<String> = "PORT_RUN_ID", derived "runId in TRIGGER_PAYLOAD, for run-update and run-log";
        /// How the run ended, `SUCCESS` or `FAILURE`. Port takes no update of a run after that.
        run_status: Option<RunStatus> = "PORT_RUN_STATUS", derived "EVENT_ACTION, for run-update: SUCCESS of success, FAILURE of failure and canceled";
        /// A label for people beside the run's status.
        run_status_label: Option<String> = "PORT_RUN_STATUS_LABEL", optional;
        /// The run's summary.
        run_summary: Option<String> = "PORT_RUN_SUMMARY", optional;
        /// A link of the run, or a JSON array of links: often `$CI_PIPELINE_URL`.
        run_link: Option<JsonOrText> = "PORT_RUN_LINK", optional;
        /// A message for the run's log.
        run_log: Option<String> = "PORT_RUN_LOG", optional;
        /// What the run is called outside of Port.
        run_external_id: Option<String> = "PORT_RUN_EXTERNAL_ID", optional;
    }
}

/// Port.
pub const DESTINATION: Destination = Destination {
    name: "port",
    title: "Port",
    operations: &[
        Operation::new(
            "upsert",
            "creates the entity, or changes what is given of the one there is",
        )
        .reports_action_unless_set("PORT_PROPERTIES")
        .carries_properties_unless_set("PORT_PROPERTIES")
        .of_entity("PORT_ENTITY_ID")
        .takes_entities(bulk::VARIABLE),
        Operation::new("create", "creates the entity; one that exists is an error")
            .repeated(Repetition::Asked)
            .reports_action_unless_set("PORT_PROPERTIES")
            .carries_properties_unless_set("PORT_PROPERTIES")
            .of_entity("PORT_ENTITY_ID"),
        Operation::new(
            "replace",
            "replaces the entity: what is not given is gone; one that is missing is an error",
        )
        .reports_action_unless_set("PORT_PROPERTIES")
        .carries_properties_unless_set("PORT_PROPERTIES")
        .of_entity("PORT_ENTITY_ID"),
        Operation::new(
            "patch",
            "changes what is given of the entity; one that is missing is an error",
        )
        .reports_action_unless_set("PORT_PROPERTIES")
        .carries_properties_unless_set("PORT_PROPERTIES")
        .of_entity("PORT_ENTITY_ID"),
        Operation::reading("get", "reads the entity").of_entity("PORT_ENTITY_ID"),
        Operation::reading("search", "reads the entities that fit PORT_QUERY"),
        Operation::new("delete", "deletes the entity; one that is missing is none to delete").drastic(),
        Operation::new("run-create", "runs a self-service action")
            .repeated(Repetition::Unasked)
            .drastic(),
        Operation::new(
            "run-update",
            "logs to an action's run, then updates its status, label, links and summary",
        )
        .repeated(Repetition::Asked)
        .reports_action_unless_set("PORT_RUN_STATUS"),
        Operation::new(
            "run-log",
            "logs to an action's run, and ends it if PORT_RUN_STATUS is set",
        )
        .repeated(Repetition::Asked),
    ],
    variables: &[Settings::VARIABLES, runs::Trigger::VARIABLES],
    credentials: &["PORT_CLIENT_ID", "PORT_CLIENT_SECRET"],
    hidden_jobs: &[
        HiddenJob::new("port-entity", "port:upsert", "Creates or updates an entity in Port."),
        HiddenJob::new("port-get", "port:get", "Reads an entity from Port, for later jobs."),
        HiddenJob::new(
            "port-search",
            "port:search",
            "Searches Port's entities, for later jobs.",
        ),
        HiddenJob::new("port-delete", "port:delete", "Deletes an entity from Port."),
        HiddenJob::new(
            "port-run",
            "port:run-update",
            "Reports the progress of a Port action run.",
        ),
    ],
    plan,
    check,
    register: Some(&register::REGISTER),
};

fn plan(context: &Context) -> Result<Plan, Unmade> {
    let job = Job::new(context)?;
    let plan = match (context.operation, &job.settings.entities_file) {
        ("upsert", Some(file)) => bulk::upsert(&job, file)?,
        (operation @ ("create" | "replace" | "patch" | "delete"), Some(_)) => {
            return Err(bulk::refuse(operation).into());
        }
        _ => of_one(&job)?,
    };
    Ok(job.with_login(plan))
}

/// The plan about one entity, search or run.
fn of_one(job: &Job) -> Result<Plan, Unmade> {
    Ok(match job.context.operation {
        "get" => entities::get(job)?,
        "search" => entities::search(job)?,
        "delete" => entities::delete(job)?,
        "run-create" => runs::create(job)?,
        "run-update" => runs::update(job)?,
        "run-log" => runs::log(job)?,
        _ => entities::write(job)?,
    })
}

fn check(context: &Context) -> Result<Plan, Unmade> {
    let job = Job::new(context)?;
    let plan = match context.operation {
        "run-update" | "run-log" => runs::check(&job)?,
        _ => check::check(&job)?,
    };
    Ok(job.with_login(plan))
}

/// What a plan is made from.
struct Job<'a> {
    context: &'a Context<'a>,
    settings: Settings,
    api: Api,
}

impl<'a> Job<'a> {
    fn new(context: &'a Context<'a>) -> Result<Self, Unmade> {
        let settings: Settings = context.values.read()?;
        Ok(Self {
            context,
            api: Api::new(&settings)?,
            settings,
        })
    }

    /// The plan as every request to Port needs it.
    fn with_login(&self, plan: Plan) -> Plan {
        Plan {
            login: Some(self.api.login(&self.settings)),
            // Seconds or a point in time: `Reply::retry_after` tells them apart (docs/vendors/port.md 5).
            reset_header: Some("x-ratelimit-reset"),
            ..plan
        }
    }
}

/// The name that requests and dry runs give to the token that the login yields.
const ACCESS_TOKEN: &str = "PORT_ACCESS_TOKEN";

/// Every body may have this many bytes: 1 MiB (docs/vendors/port.md 1).
const BODY_LIMIT: usize = 1024 * 1024;

/// Where requests go.
#[derive(Clone)]
struct Api {
    /// The address, `/v1` included.
    base: String,
}

impl Api {
    fn new(settings: &Settings) -> Result<Self, Problem> {
        let base = match (&settings.url, settings.region) {
            (Some(_), Some(_)) => {
                return Err(Problem::new(
                    "PORT_REGION",
                    "and PORT_API_URL are contradictory, since each says where Port is; keep one of them",
                ));
            }
            (Some(url), None) => url.join(&["/v1"], "/v1"),
            (None, Some(Region::Us)) => "https://api.us.port.io/v1".to_owned(),
            (None, Some(Region::Eu) | None) => "https://api.port.io/v1".to_owned(),
        };
        Ok(Self { base })
    }

    /// The request that yields the token; Port takes these two keys and no other (docs/vendors/port.md 1).
    fn login(&self, settings: &Settings) -> Login {
        let body = Text::from(r#"{"clientId":""#)
            .secret(&settings.client_id, Form::InJson)
            .known(r#"","clientSecret":""#)
            .secret(&settings.client_secret, Form::InJson)
            .known(r#""}"#);
        Login {
            name: ACCESS_TOKEN,
            request: Request::new(Method::Post, format!("{}/auth/access_token", self.base))
                .body("application/json", body),
            pointer: "/accessToken",
        }
    }

    /// A request to `path`, which starts behind `/v1`.
    fn request(&self, method: Method, path: &str) -> Request {
        Request::new(method, format!("{}{path}", self.base))
            .header("Authorization", Text::from("Bearer ").learned(ACCESS_TOKEN))
    }

    /// A request with a JSON body, if the body is one that Port takes. `variable` is what makes it large, if it is.
    fn send(&self, method: Method, path: &str, body: &Value, variable: &str) -> Result<Request, Problem> {
        let text = body.to_string();
        if text.len() > BODY_LIMIT {
            return Err(Problem::new(
                variable,
                format!(
                    "is too long: it makes a request of {} bytes, and Port takes at most {BODY_LIMIT} (1 MiB)",
                    text.len()
                ),
            ));
        }
        Ok(self.request(method, path).body("application/json", text))
    }
}

/// A successful reply's object, of which each says `"ok": true` (docs/vendors/port.md 2, 3).
fn accepted(reply: &Reply) -> Result<&Map<String, Value>, Verdict> {
    let body = reply.expect_object()?;
    match body.get("ok") {
        Some(Value::Bool(true)) => Ok(body),
        Some(Value::Bool(false)) => Err(Verdict::Undocumented(format!(
            "answered {} with \"ok\": false: {}",
            reply.status,
            reply.complaint()
        ))),
        _ => Err(undocumented(reply, "\"ok\": true")),
    }
}

/// The verdict on a success that lacks what the API documents.
fn undocumented(reply: &Reply, what: &str) -> Verdict {
    Verdict::Undocumented(format!(
        "answered {} without {what}, which this API never does: the address may lead somewhere else",
        reply.status
    ))
}

/// Port's own word for what is wrong.
fn error(reply: &Reply) -> Option<&str> {
    reply.text_at("/error")
}

/// Whether Port itself says that there is no such thing: a proxy's 404 says nothing about Port.
fn is_missing(reply: &Reply) -> bool {
    reply.status == 404 && reply.json().is_some_and(|body| body["ok"] == false)
}

/// A flag as a query takes it.
fn word(Flag(flag): Flag) -> &'static str {
    if flag { "true" } else { "false" }
}

/// `value` as it is shown in a message: foreign, but never a credential.
fn shown(value: &str) -> String {
    truncate(value, 60)
}

/// Refuses what would leave the path that it is put into.
fn check_segment(variable: &str, value: &str) -> Result<(), Problem> {
    if matches!(value, "." | "..") {
        return Err(Problem::new(
            variable,
            format!("is `{value}`, which names nothing in Port"),
        ));
    }
    Ok(())
}

/// What the tests of Port's operations share.
#[cfg(test)]
mod testing {
    pub use super::super::testing::{AGAIN, FIRST, in_words, read, wire};
    use super::{
        super::testing::{self, try_plan},
        DESTINATION,
    };
    use crate::{delivery::plan::Plan, problem::Unmade};

    const JOB: &[(&str, &str)] = &[
        ("CI_PROJECT_PATH", "acme/shop"),
        ("CI_PROJECT_PATH_SLUG", "acme-shop"),
        ("CI_PIPELINE_ID", "8812"),
        (
            "CI_PIPELINE_URL",
            "https://gitlab.example.com/acme/shop/-/pipelines/8812",
        ),
        ("CI_COMMIT_SHA", "9f2c1e7"),
        ("CI_COMMIT_REF_NAME", "fix/\"quoted\" \\ ünïcode"),
        ("CI_COMMIT_TITLE", "say \"hi\"\n🚀 {{ not.a.template }}"),
        ("GITLAB_USER_LOGIN", "dana"),
        ("PORT_CLIENT_ID", "id-\"1\""),
        ("PORT_CLIENT_SECRET", "secret-\\2"),
    ];

    /// The plan of an operation in a job with these variables more.
    pub fn plan(operation: &str, more: &[(&str, &str)]) -> Plan {
        try_plan(&DESTINATION, operation, JOB.iter().chain(more)).unwrap()
    }

    /// The plan of an operation's check in a job with these variables more.
    pub fn try_check(operation: &str, more: &[(&str, &str)]) -> Result<Plan, Unmade> {
        testing::try_check(&DESTINATION, operation, JOB.iter().chain(more))
    }

    /// What is made of the context of an upsert in a job with these variables more.
    pub fn of_context<T>(more: &[(&str, &str)], make: impl FnOnce(&super::Context) -> T) -> T {
        testing::of_context(&DESTINATION, "upsert", JOB.iter().chain(more), make)
    }

    /// Why there is none, a problem a line.
    pub fn problem(operation: &str, more: &[(&str, &str)]) -> String {
        let why = try_plan(&DESTINATION, operation, JOB.iter().chain(more)).unwrap_err();
        why.to_string()
    }

    /// The requests of a plan.
    pub fn requests(operation: &str, more: &[(&str, &str)]) -> Vec<String> {
        let steps = plan(operation, more).steps;
        steps.iter().map(|step| wire(&step.request)).collect()
    }

    /// The only request of a plan.
    pub fn request(operation: &str, more: &[(&str, &str)]) -> String {
        let mut requests = requests(operation, more);
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests.remove(0)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        testing::{FIRST, in_words, plan, problem, read, wire},
        *,
    };

    #[test]
    fn one_token_is_asked_for_with_both_credentials() {
        let plan = plan("get", &[]);
        let login = plan.login.unwrap();
        assert_eq!(
            wire(&login.request),
            "POST https://api.port.io/v1/auth/access_token\n{\"clientId\":\"id-\\\"1\\\"\",\"clientSecret\":\"secret-\\\\2\"}"
        );
        assert_eq!((login.name, login.pointer), ("PORT_ACCESS_TOKEN", "/accessToken"));
        assert_eq!(login.request.learns(), None);
        assert_eq!(plan.steps[0].request.learns(), Some("PORT_ACCESS_TOKEN"));
        assert_eq!(plan.reset_header, Some("x-ratelimit-reset"));
        assert!(!format!("{:?}", login.request).contains("secret-"));
    }

    #[test]
    fn both_credentials_have_to_be_there() {
        let problem = problem(
            "get",
            &[("PORT_CLIENT_ID", ""), ("PORT_CLIENT_SECRET", "$PORT_CLIENT_SECRET")],
        );
        assert!(problem.contains("PORT_CLIENT_ID is not set: Client id"), "{problem}");
        assert!(problem.contains("PORT_CLIENT_SECRET is literally"), "{problem}");
    }

    #[test]
    fn regions_and_addresses_with_and_without_version() {
        for (variable, value, host) in [
            ("PORT_REGION", "eu", "https://api.port.io"),
            ("PORT_REGION", "US", "https://api.us.port.io"),
            ("PORT_API_URL", "https://api.getport.io", "https://api.getport.io"),
            ("PORT_API_URL", "https://api.getport.io/", "https://api.getport.io"),
            ("PORT_API_URL", "https://api.getport.io/v1", "https://api.getport.io"),
            (
                "PORT_API_URL",
                "http://127.0.0.1:8080/port/v1/",
                "http://127.0.0.1:8080/port",
            ),
        ] {
            let url = format!("GET {host}/v1/blueprints/deployment/entities/acme-shop-8812");
            assert_eq!(testing::request("get", &[(variable, value)]), url);
        }
        let both = problem("get", &[("PORT_REGION", "eu"), ("PORT_API_URL", "https://api.port.io")]);
        assert!(
            both.starts_with("PORT_REGION and PORT_API_URL are contradictory"),
            "{both}"
        );
        assert!(problem("get", &[("PORT_REGION", "asia")]).starts_with("PORT_REGION is `asia`; it can be eu, us"));
        assert!(problem("get", &[("PORT_API_URL", "http://api.port.io")]).starts_with("PORT_API_URL is http://"));
    }

    #[test]
    fn success_says_ok() {
        let step = &plan("upsert", &[("EVENT_ACTION", "success")]).steps[0];
        let verdict = |status, body| in_words(&read(step, FIRST, status, body));
        assert_eq!(
            verdict(200, r#"{"ok":false,"error":"invalid_request","message":"no"}"#),
            "undocumented answered 200 with \"ok\": false: invalid_request: no"
        );
        assert!(verdict(200, r#"{"entity":{}}"#).starts_with("undocumented answered 200 without \"ok\": true"));
        assert!(verdict(200, r#"{"ok":"true"}"#).starts_with("undocumented answered 200 without \"ok\": true"));
        assert!(verdict(200, "<html>").contains("an HTML page"));
        assert!(verdict(204, "").contains("no body"));
        assert!(verdict(200, "[]").contains("no object"));
    }

    /// The table of docs/vendors/port.md 4: none of these has a meaning of its own here, and the vendor's words are shown.
    /// What names a variable besides is the affair of `blueprint.rs`.
    #[test]
    fn documented_errors_take_the_general_rule() {
        let statuses = [
            (400, "bad_request"),
            (400, "run_exhausted"),
            (401, "unauthorized"),
            (403, "missing_permissions"),
            (403, "has_dependents"),
            (413, "bad_request"),
            (422, "invalid_request"),
            (422, "run_synchronized_error"),
            (422, "run_exhausted"),
            (422, "user_inputs_schema_invalid"),
            (429, ""),
            (500, "internal_error"),
            (503, ""),
        ];
        let variables = [
            ("EVENT_ACTION", "success"),
            ("PORT_ENTITY_ID", "e"),
            ("PORT_QUERY", r#"{"combinator":"and","rules":[]}"#),
            ("PORT_ACTION", "a"),
            ("PORT_RUN_ID", "r"),
            ("PORT_RUN_LOG", "m"),
        ];
        for operation in DESTINATION.operations {
            for step in plan(operation.name, &variables).steps {
                for (status, code) in statuses {
                    let body = format!(r#"{{"ok":false,"error":"{code}","message":"why"}}"#);
                    let verdict = read(&step, FIRST, status, &body);
                    assert!(matches!(verdict, Verdict::ByStatus), "{} {status} {code}", step.name);
                }
                for status in [404, 409] {
                    if (status, step.name) != (404, "delete") {
                        let verdict = read(&step, FIRST, status, r#"{"ok":false,"error":"identifier_taken"}"#);
                        assert!(matches!(verdict, Verdict::ByStatus), "{} {status}", step.name);
                    }
                }
            }
        }
    }
}
