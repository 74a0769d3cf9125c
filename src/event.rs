//! The neutral event: what happened, to what, when. Every destination is fed from it.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fmt,
    rc::Rc,
    time::SystemTime,
};

use serde_json::{Map, Value, json};

use crate::{
    environment::{Environment, Problem},
    gitlab::{context, outcome::Finding, slug},
    template::{Missing, Scope},
    time::{self, timestamp},
    variables,
    variables::{Group, Object, Reader, Variable},
};

/// The version of the event's JSON form. `schema/event.json` describes it; it grows by one when a field changes its
/// meaning or goes, not when one is added.
pub const SCHEMA_VERSION: u32 = 1;

/// Declares the actions once: variant, word, synonyms.
macro_rules! actions {
    ($($(#[doc = $doc:literal])+ $variant:ident = $word:literal, [$($synonym:literal),*];)+) => {
        /// What happened.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Action {
            $($(#[doc = $doc])+ $variant,)+
            /// Another word, for destinations that take any (CTO.ai's `change` events).
            Other(String),
        }

        impl Action {
            /// The words of the contract, in the order of a deployment's life.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// The action that a word means. Case, `-` and `_` don't count.
            pub fn from_word(word: &str) -> Self {
                match word.trim().to_lowercase().replace(['-', ' '], "_").as_str() {
                    $($word $(| $synonym)* => Self::$variant,)+
                    _ => Self::Other(word.trim().to_owned()),
                }
            }

            /// The word for it.
            pub fn word(&self) -> &str {
                match self {
                    $(Self::$variant => $word,)+
                    Self::Other(word) => word,
                }
            }
        }
    };
}

actions! {
    /// It has begun.
    Started = "started", ["start", "begin", "began", "initiated", "created"];
    /// It goes on.
    Progressing = "progressing", ["progress", "in_progress", "running", "deploying"];
    /// It ended well.
    Success = "success", ["succeeded", "successful", "succeed", "ok", "passed", "complete", "completed", "finished"];
    /// It ended badly.
    Failure = "failure", ["failed", "fail", "error", "errored", "broken"];
    /// Somebody, or GitLab, ended it.
    Canceled = "canceled", ["cancelled", "cancel", "aborted"];
    /// It waits for something: a person, a runner, a freeze's end.
    Blocked = "blocked", ["pending", "waiting", "queued", "manual", "on_hold"];
}

impl Action {
    /// Whether the deployment has ended with it.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Success | Self::Failure | Self::Canceled)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.word())
    }
}

variables! {
    /// The variables that make the event.
    pub struct EventVariables, "notify-event, README" {
        /// What kind of thing happened.
        name: String = "EVENT_NAME", default "deployment";
        /// What became of it: `started`, `progressing`, `success`, `failure`, `canceled`, `blocked`, or a synonym. `auto` finds it out: in `after_script` from `CI_JOB_STATUS`, elsewhere from the pipeline's jobs, as GitLab's API shows them (`NOTIFY_JOB` names the one that counts).
        action: String = "EVENT_ACTION", default "auto";
        /// One id for everything that this pipeline reports about this environment. It must not contain a job's id: a retried job would report something new.
        id: Option<String> = "EVENT_ID", derived "<CI_PROJECT_PATH_SLUG>-<CI_PIPELINE_ID>, and -<environment slug> when there is an environment";
        /// A title for people.
        title: Option<String> = "EVENT_TITLE", derived "<project path> #<pipeline id> (<environment>)";
        /// The repository, as group/project.
        repo: Option<String> = "EVENT_REPO", derived "CI_PROJECT_PATH";
        /// The branch.
        branch: Option<String> = "EVENT_BRANCH", derived "CI_COMMIT_BRANCH, else CI_MERGE_REQUEST_SOURCE_BRANCH_NAME, else CI_COMMIT_REF_NAME";
        /// The commit's full SHA.
        commit: Option<String> = "EVENT_COMMIT", derived "CI_COMMIT_SHA";
        /// The environment that is deployed to. Set it here rather than by `environment:`, which would make GitLab count the notify job as a deployment.
        environment: Option<String> = "EVENT_ENVIRONMENT", derived "CI_ENVIRONMENT_NAME";
        /// The image that is deployed.
        image: Option<String> = "EVENT_IMAGE", optional;
        /// The version that is deployed.
        version: Option<String> = "EVENT_VERSION", derived "CI_COMMIT_TAG";
        /// Where a person finds more.
        url: Option<String> = "EVENT_URL", derived "CI_PIPELINE_URL";
        /// Who did it.
        user: Option<String> = "EVENT_USER", derived "GITLAB_USER_LOGIN";
        /// Fields of your own, as a JSON object.
        properties: Option<Object> = "EVENT_PROPERTIES", optional;
    }
}

/// What GitLab's own jobs tell of the outcome.
#[derive(Debug, Clone, Default)]
pub enum Told {
    /// Nobody has asked: most events need no more than their variables.
    #[default]
    NotAsked,
    /// This happened.
    Happened(Box<Finding>),
    /// Nothing that is worth an event, for this reason.
    Nothing(String),
    /// It can't be known, for this reason.
    Unknown(String),
}

/// What happened, resolved.
#[derive(Debug, Clone)]
pub struct Event {
    /// Kind of thing: `deployment`.
    pub name: String,
    /// What became of it, or why that is not known; only destinations that need it care.
    action: Result<Action, Problem>,
    /// The word as it was given, for destinations with words of their own.
    pub action_word: Option<String>,
    /// How the action was found out.
    pub action_source: String,
    id: Option<String>,
    title: Option<String>,
    /// Group and project.
    pub repo: Option<String>,
    /// Branch, or the ref's name.
    pub branch: Option<String>,
    /// Full SHA.
    pub commit: Option<String>,
    /// Environment.
    pub environment: Option<String>,
    /// Image.
    pub image: Option<String>,
    /// Version.
    pub version: Option<String>,
    /// Where a person finds more.
    pub url: Option<String>,
    /// Who did it.
    pub user: Option<String>,
    /// The user's own fields.
    pub properties: Map<String, Value>,
    /// When it is reported, RFC 3339 in UTC.
    pub time: String,
    /// When the deploy job started, where that is known.
    pub started_at: Option<String>,
    /// When the deploy job ended, where that is known.
    pub finished_at: Option<String>,
    /// Seconds between the two.
    pub duration: Option<u64>,
    /// Seconds that the deploy job waited for a runner, where that is known.
    pub queued: Option<u64>,
    /// The deploy job's name, where it is known.
    pub job: Option<String>,
    /// Its page.
    pub job_url: Option<String>,
    /// Who started it.
    pub started_by: Option<String>,
    /// Which attempt of the job this tells of: 1, unless GitLab says otherwise.
    pub attempt: u32,
    /// Whether something was wanted that only GitLab's jobs could tell.
    asked: Rc<Cell<bool>>,
}

impl Event {
    /// What became of it.
    ///
    /// # Errors
    /// `EVENT_ACTION` is `auto`, and nothing here tells the outcome.
    pub fn action(&self) -> Result<&Action, Problem> {
        self.action.as_ref().map_err(|problem| {
            self.asked.set(true);
            problem.clone()
        })
    }

    /// The action's word, if it is known; nobody is asked.
    pub fn known_action(&self) -> Option<&str> {
        self.action.as_ref().ok().map(Action::word)
    }

    /// The id, if there is one.
    pub fn known_id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Whether the action was given by a variable, rather than found out.
    pub fn action_is_given(&self) -> bool {
        self.action_source == FROM_VARIABLE
    }

    /// What tells two events of the same id and action apart that are about two runs of the deploy job: a second
    /// failure is as much news as the first was.
    pub fn occasion(&self) -> Value {
        let is_final = self.action.as_ref().is_ok_and(Action::is_final);
        json!({
            "attempt": self.attempt,
            "started_at": self.started_at,
            // Of a pipeline that goes on, it is whichever job is not done yet.
            "job_url": self.job_url.as_ref().filter(|_| is_final),
        })
    }

    /// The id under which everything about this deployment is reported.
    ///
    /// # Errors
    /// Outside GitLab there is nothing to make one from.
    pub fn id(&self) -> Result<&str, Problem> {
        self.id.as_deref().ok_or_else(|| {
            Problem::new(
                "EVENT_ID",
                "is not set, and without CI_PROJECT_PATH_SLUG (or CI_PROJECT_PATH) and CI_PIPELINE_ID there is nothing \
                 to make one from; set it",
            )
        })
    }

    /// The title for people; the id where there is none.
    ///
    /// # Errors
    /// Neither a title nor an id can be had.
    pub fn title(&self) -> Result<&str, Problem> {
        self.title.as_deref().map_or_else(|| self.id(), Ok)
    }

    /// The event's JSON form, as `schema/event.json` describes it.
    pub fn to_json(&self) -> Value {
        self.asked.set(self.asked.get() || self.action.is_err());
        json!({
            "schema_version": SCHEMA_VERSION,
            "name": self.name,
            "action": self.action.as_ref().ok().map(Action::word),
            "action_source": self.action_source,
            "id": self.id,
            "title": self.title,
            "repo": self.repo,
            "branch": self.branch,
            "commit": self.commit,
            "environment": self.environment,
            "image": self.image,
            "version": self.version,
            "url": self.url,
            "user": self.user,
            "time": self.time,
            "started_at": self.started_at,
            "finished_at": self.finished_at,
            "duration": self.duration,
            "queued": self.queued,
            "job": self.job,
            "job_url": self.job_url,
            "started_by": self.started_by,
            "attempt": self.attempt,
            "properties": self.properties,
        })
    }

    /// The event of which `json` is the form that [`Event::to_json`] gave: for a replay, with its original times.
    ///
    /// # Errors
    /// What is missing, or of another version of the form.
    pub fn from_json(json: &Value) -> Result<Self, String> {
        if json["schema_version"] != SCHEMA_VERSION {
            return Err(format!(
                "its event has schema_version {}, not {SCHEMA_VERSION}",
                json["schema_version"]
            ));
        }
        let text = |field: &str| json[field].as_str().map(str::to_owned);
        let needed = |field: &str| text(field).ok_or_else(|| format!("its event has no {field}"));
        Ok(Self {
            name: needed("name")?,
            action: text("action").map(|word| Action::from_word(&word)).ok_or_else(|| {
                Problem::new(
                    "EVENT_ACTION",
                    format!(
                        "was not known when the event was kept; set it to one of {}",
                        Action::WORDS.join(", ")
                    ),
                )
            }),
            action_word: text("action"),
            action_source: needed("action_source")?,
            id: text("id"),
            title: text("title"),
            repo: text("repo"),
            branch: text("branch"),
            commit: text("commit"),
            environment: text("environment"),
            image: text("image"),
            version: text("version"),
            url: text("url"),
            user: text("user"),
            properties: json["properties"].as_object().cloned().unwrap_or_default(),
            time: needed("time")?,
            started_at: text("started_at"),
            finished_at: text("finished_at"),
            duration: json["duration"].as_u64(),
            queued: json["queued"].as_u64(),
            job: text("job"),
            job_url: text("job_url"),
            started_by: text("started_by"),
            attempt: json["attempt"]
                .as_u64()
                .and_then(|attempt| attempt.try_into().ok())
                .unwrap_or(1),
            asked: Rc::default(),
        })
    }

    /// Takes `word` for the action, if none is known: what could not be found out then is told now.
    pub fn told(&mut self, word: &str) {
        if self.action.is_err() {
            self.action = Ok(Action::from_word(word));
            self.action_word = Some(word.to_owned());
            FROM_VARIABLE.clone_into(&mut self.action_source);
        }
    }

    /// The event in one line, for the report.
    pub fn summary(&self) -> String {
        let id = self.id.as_deref().unwrap_or("without id");
        match &self.action {
            Ok(action) => format!("{} {action}, {id} (action {})", self.name, self.action_source),
            // Reads, releases and the like need none.
            Err(_) => format!("{} {id}", self.name),
        }
    }
}

/// Everything that templates can name, and the event in the making: its fields may refer to each other, so each is
/// worked out when it is first asked for.
pub struct Context<'a> {
    environment: &'a Environment,
    pipeline: Value,
    /// What `NOTIFY_TEMPLATE_ENV` opens.
    open: Vec<String>,
    /// Names of credentials that no list opens.
    credentials: Vec<&'static str>,
    now: SystemTime,
    told: Told,
    asked: Rc<Cell<bool>>,
    changes: Option<Result<Value, String>>,
    fields: RefCell<BTreeMap<&'static str, Field>>,
}

#[derive(Clone)]
enum Field {
    InTheMaking,
    Known(Value),
    Absent,
    Wrong(Problem),
}

impl<'a> Context<'a> {
    /// The context of `environment` at the time `now`. `open` are the patterns of `NOTIFY_TEMPLATE_ENV`, `credentials`
    /// the names that it can't open.
    pub fn new(
        environment: &'a Environment,
        open: Vec<String>,
        credentials: Vec<&'static str>,
        now: SystemTime,
    ) -> Self {
        Self {
            environment,
            pipeline: Value::Object(context::pipeline(environment)),
            open,
            credentials,
            now,
            told: Told::default(),
            asked: Rc::default(),
            changes: None,
            fields: RefCell::default(),
        }
    }

    /// Takes in what GitLab's jobs tell. Fields made before are made anew.
    pub fn told(&mut self, told: Told) {
        self.told = told;
        self.fields.take();
    }

    /// Takes in what was deployed since the last time, or why that can't be had.
    pub fn changed(&mut self, changes: Result<Value, String>) {
        self.changes = Some(changes);
        self.fields.take();
    }

    /// Whether something has been wanted, since this was last called, that only GitLab's jobs can tell.
    pub fn take_asked(&self) -> bool {
        self.asked.replace(false)
    }

    /// Why there is nothing to report, if so.
    pub fn nothing_to_report(&self) -> Option<&str> {
        match &self.told {
            Told::Nothing(why) => Some(why),
            _ => None,
        }
    }

    /// Resolves the whole event.
    ///
    /// # Errors
    /// Every variable of the event that is set and can't be used.
    pub fn event(&self) -> Result<Event, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut field = |name: &'static str| match self.field(name) {
            Field::Known(value) => Some(value),
            Field::Absent | Field::InTheMaking => None,
            Field::Wrong(problem) => {
                problems.push(problem);
                None
            }
        };
        let mut text = |name| field(name).map(|value| crate::template::plain(&value));
        let name = text("name").unwrap_or_default();
        let [id, title, repo, branch, commit, environment, image, version, url, user] = [
            "id",
            "title",
            "repo",
            "branch",
            "commit",
            "environment",
            "image",
            "version",
            "url",
            "user",
        ]
        .map(&mut text);
        let properties = match field("properties") {
            Some(Value::Object(members)) => members,
            _ => Map::new(),
        };
        let given = match self.variable("action") {
            Ok(word) => word,
            Err(problem) => {
                problems.push(problem);
                None
            }
        };
        if !problems.is_empty() {
            return Err(problems);
        }
        let (action, action_source) = self.action(given.as_deref());
        let time = timestamp(self.now);
        let is_after_script = self.is_after_script();
        let finding = match &self.told {
            Told::Happened(finding) => Some(finding.as_ref()),
            _ => None,
        };
        let from_script = |name: &str| {
            self.environment
                .predefined(name)
                .filter(|_| is_after_script)
                .map(str::to_owned)
        };
        let from_finding = |field: fn(&Finding) -> &Option<String>| finding.and_then(|finding| field(finding).clone());
        let started_at = from_script("CI_JOB_STARTED_AT").or_else(|| from_finding(|finding| &finding.started_at));
        let finished_at = is_after_script
            .then(|| time.clone())
            .or_else(|| from_finding(|finding| &finding.finished_at));
        let duration = started_at
            .as_deref()
            .filter(|_| is_after_script)
            .and_then(time::parse)
            .and_then(|start| self.now.duration_since(start).ok())
            .map(|duration| duration.as_secs())
            .or_else(|| finding?.duration);
        Ok(Event {
            name,
            action_word: given.filter(|_| action.is_ok() && action_source == FROM_VARIABLE),
            action,
            action_source,
            id,
            title,
            repo,
            branch,
            commit,
            environment,
            image,
            version,
            url,
            user,
            properties,
            time,
            started_at,
            finished_at,
            duration,
            queued: finding.and_then(|finding| finding.queued),
            job: from_script("CI_JOB_NAME").or_else(|| from_finding(|finding| &finding.job)),
            job_url: from_script("CI_JOB_URL").or_else(|| from_finding(|finding| &finding.job_url)),
            started_by: from_script("GITLAB_USER_LOGIN").or_else(|| from_finding(|finding| &finding.started_by)),
            attempt: finding.map_or(1, |finding| finding.attempt),
            asked: Rc::clone(&self.asked),
        })
    }

    /// Whether this runs in an `after_script`, the only place where a job's own status is known.
    fn is_after_script(&self) -> bool {
        matches!(
            self.environment.predefined("CI_JOB_STATUS"),
            Some("success" | "failed" | "canceled")
        )
    }

    /// What happened (contract, section 7), and how that was found out.
    fn action(&self, given: Option<&str>) -> (Result<Action, Problem>, String) {
        if let Some(word) = given
            && !word.eq_ignore_ascii_case("auto")
        {
            return (Ok(Action::from_word(word)), FROM_VARIABLE.to_owned());
        }
        let action = match self.environment.predefined("CI_JOB_STATUS") {
            Some("success") => Some(Action::Success),
            Some("failed") => Some(Action::Failure),
            Some("canceled") => Some(Action::Canceled),
            _ => None,
        };
        if let Some(action) = action {
            return (Ok(action), "from CI_JOB_STATUS".to_owned());
        }
        let why = match &self.told {
            Told::Happened(finding) => {
                return (
                    Ok(finding.action.clone()),
                    format!("from GitLab's jobs: {}", finding.why),
                );
            }
            Told::Nothing(why) | Told::Unknown(why) => why,
            Told::NotAsked => "GitLab's jobs were not read",
        };
        let problem = Problem::new(
            "EVENT_ACTION",
            format!("is auto, and {why}. Set it to one of {}", Action::WORDS.join(", ")),
        );
        (Err(problem), UNKNOWN.to_owned())
    }

    fn declared(name: &str) -> Option<&'static Variable> {
        EventVariables::VARIABLES.iter().find(|variable| variable.field == name)
    }

    /// The cleaned and rendered value of the event's own variable.
    fn variable(&self, name: &str) -> Result<Option<String>, Problem> {
        let Some(variable) = Self::declared(name) else {
            return Ok(None);
        };
        let reader = Reader {
            environment: self.environment,
            scope: Some(self),
            official_names: false,
            allow_http: true,
        };
        Ok(reader.resolve(variable)?.map(|resolved| resolved.value))
    }

    fn field(&self, name: &'static str) -> Field {
        if let Some(known) = self.fields.borrow().get(name) {
            return known.clone();
        }
        self.fields.borrow_mut().insert(name, Field::InTheMaking);
        let field = match self.variable(name) {
            Err(problem) => Field::Wrong(problem),
            Ok(Some(value)) if name == "properties" => match variables::check::<Object>(&value) {
                Ok(()) => variables::parse_json(&value).map_or(Field::Absent, Field::Known),
                Err(message) => Field::Wrong(Problem::new("EVENT_PROPERTIES", message)),
            },
            Ok(Some(value)) => Field::Known(value.into()),
            Ok(None) if name == "properties" => Field::Known(json!({})),
            Ok(None) => self
                .default(name)
                .map_or(Field::Absent, |value| Field::Known(value.into())),
        };
        self.fields.borrow_mut().insert(name, field.clone());
        field
    }

    /// What stands in for a field that is not set (contract, section 3).
    fn default(&self, name: &str) -> Option<String> {
        let predefined = |name: &str| self.environment.predefined(name).map(str::to_owned);
        match name {
            "id" => {
                let project = predefined("CI_PROJECT_PATH_SLUG")
                    .or_else(|| predefined("CI_PROJECT_PATH").map(|path| slug::path(&path)))?;
                let pipeline = predefined("CI_PIPELINE_ID")?;
                let environment = self.environment_slug().map(|slug| format!("-{slug}"));
                Some(format!("{project}-{pipeline}{}", environment.unwrap_or_default()))
            }
            "title" => {
                let environment = self.text("environment").map(|name| format!(" ({name})"));
                Some(format!(
                    "{} #{}{}",
                    predefined("CI_PROJECT_PATH")?,
                    predefined("CI_PIPELINE_ID")?,
                    environment.unwrap_or_default()
                ))
            }
            "branch" => predefined("CI_COMMIT_BRANCH")
                .or_else(|| predefined("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME"))
                .or_else(|| predefined("CI_COMMIT_REF_NAME")),
            // The other defaults are one of GitLab's variables each, named by the declaration itself.
            _ => match Self::declared(name)?.default {
                variables::Default::Derived(variable) => predefined(variable),
                _ => None,
            },
        }
    }

    /// The slug of the event's environment: GitLab's own where it gave one for this environment.
    fn environment_slug(&self) -> Option<String> {
        let name = self.text("environment")?;
        let is_gitlabs = self.environment.predefined("CI_ENVIRONMENT_NAME") == Some(&name);
        self.environment
            .predefined("CI_ENVIRONMENT_SLUG")
            .filter(|_| is_gitlabs)
            .map(str::to_owned)
            .or_else(|| Some(slug::environment(&name)))
    }

    fn text(&self, name: &'static str) -> Option<String> {
        match self.field(name) {
            Field::Known(value) => Some(crate::template::plain(&value)),
            _ => None,
        }
    }

    /// The value that the event's own variable has when it is not set, and what it is made from, for `explain`.
    pub fn explained_default(&self, variable: &Variable) -> Option<(String, &'static str)> {
        if !EventVariables::VARIABLES.iter().any(|own| own.name == variable.name) {
            return None;
        }
        let value = self.default(variable.field)?;
        match variable.default {
            variables::Default::Derived(from) => Some((value, from)),
            _ => None,
        }
    }

    /// The event's environment, and the time of this run: what it takes to ask what has been deployed.
    pub fn place_and_time(&self) -> (Option<String>, String) {
        (self.text("environment"), timestamp(self.now))
    }

    /// The value of the event's variable `name` (`EVENT_ID`), if it has one, for `explain`.
    pub fn explained(&self, name: &str) -> Option<String> {
        let variable = EventVariables::VARIABLES
            .iter()
            .find(|variable| variable.name == name)?;
        self.text(variable.field)
    }

    /// The value of `event.<field>`, for templates.
    fn event_value(&self, path: &str, field: &str) -> Result<Value, Missing> {
        let refuse = |problem: Problem| Missing::Refused(problem.to_string());
        let value = match field {
            "action" => {
                let given = self.variable("action").map_err(refuse)?;
                let (action, _) = self.action(given.as_deref());
                self.asked.set(self.asked.get() || action.is_err());
                return action.map(|action| action.word().into()).map_err(refuse);
            }
            "time" | "started_at" | "finished_at" | "duration" | "queued" | "job" | "job_url" | "started_by"
            | "attempt" | "action_source" | "schema_version" => {
                self.asked
                    .set(self.asked.get() || !matches!(field, "time" | "schema_version"));
                let event = self.event().map_err(|mut problems| refuse(problems.remove(0)))?;
                event.to_json()[field].clone()
            }
            _ => {
                let Some(variable) = Self::declared(field) else {
                    let names: Vec<&str> = EventVariables::VARIABLES
                        .iter()
                        .map(|variable| variable.field)
                        .collect();
                    return Err(Missing::Undefined(format!(
                        "there is no `{path}`; the event has {}, time, started_at, finished_at, duration, queued, job, job_url, started_by, attempt",
                        names.join(", ")
                    )));
                };
                match self.field(variable.field) {
                    Field::Known(value) => value,
                    Field::Absent => Value::Null,
                    Field::InTheMaking => {
                        return Err(Missing::Refused(format!("`{path}` would be made from itself")));
                    }
                    Field::Wrong(problem) => return Err(refuse(problem)),
                }
            }
        };
        if value.is_null() {
            return Err(Missing::undefined(path));
        }
        Ok(value)
    }

    fn environment_value(&self, path: &str, name: &str) -> Result<Value, Missing> {
        if self.credentials.contains(&name) {
            return Err(Missing::Refused(format!(
                "`{path}` is a credential, which templates can't reach"
            )));
        }
        let is_listed = self.open.iter().any(|pattern| {
            // An asterisk opens no credential: those have to be named one by one.
            pattern == name || (matches(pattern, name) && !context::is_credential(name))
        });
        let is_gitlabs_credential =
            context::is_credential(name) && (name.starts_with("CI_") || name.starts_with("GITLAB_"));
        if is_gitlabs_credential || !(context::is_open(name) || is_listed) {
            return Err(Missing::Refused(format!(
                "`{path}` is out of a template's reach: CI_*, GITLAB_* and EVENT_* are open, credentials excepted; list \
                 others in NOTIFY_TEMPLATE_ENV"
            )));
        }
        let value = if name.starts_with("EVENT_") {
            match EventVariables::VARIABLES.iter().find(|variable| variable.name == name) {
                Some(variable) => return self.event_value(path, variable.field),
                None => self.environment.predefined(name).map(str::to_owned),
            }
        } else if name.starts_with("CI_") || name.starts_with("GITLAB_") {
            self.environment.predefined(name).map(str::to_owned)
        } else {
            self.environment
                .find(name, true)
                .map_err(|problem| Missing::Refused(problem.to_string()))?
                .map(|found| found.value)
        };
        let is_copy = |credential: &&&str| {
            let found = self.environment.find(credential, true).ok().flatten();
            found.is_some_and(|found| Some(found.value) == value)
        };
        if self.credentials.iter().any(|credential| is_copy(&credential)) {
            return Err(Missing::Refused(format!(
                "`{path}` holds a credential, which templates can't reach"
            )));
        }
        value.map(Value::from).ok_or_else(|| Missing::undefined(path))
    }
}

impl Scope for Context<'_> {
    fn get(&self, path: &str) -> Result<Value, Missing> {
        let (root, rest) = path.split_once('.').unwrap_or((path, ""));
        let (name, inner) = rest.split_once('.').unwrap_or((rest, ""));
        let value = match root {
            "env" => return self.environment_value(path, rest),
            "event" if rest.is_empty() => self
                .event()
                .map(|event| event.to_json())
                .map_err(|mut problems| Missing::Refused(problems.remove(0).to_string()))?,
            "event" => self.event_value(path, name)?,
            "pipeline" if rest.is_empty() => self.pipeline.clone(),
            "pipeline" => match self.pipeline.get(name) {
                Some(value) => value.clone(),
                None if context::FACTS.iter().any(|fact| fact.name == name) => return Err(Missing::undefined(path)),
                None => {
                    let names: Vec<&str> = context::FACTS.iter().map(|fact| fact.name).collect();
                    let message = format!("there is no `{path}`; the pipeline has {}", names.join(", "));
                    return Err(Missing::Undefined(message));
                }
            },
            "changes" => match &self.changes {
                Some(Ok(changes)) if rest.is_empty() => changes.clone(),
                Some(Ok(changes)) => match &changes[name] {
                    Value::Null => return Err(Missing::undefined(path)),
                    value => value.clone(),
                },
                Some(Err(why)) => return Err(Missing::Undefined(format!("`{path}` can't be had: {why}"))),
                None => return Err(Missing::undefined(path)),
            },
            _ => {
                return Err(Missing::Undefined(format!(
                    "there is no `{path}`; names start with event., pipeline., changes. or env."
                )));
            }
        };
        inner
            .split('.')
            .filter(|step| !step.is_empty())
            .try_fold(value, |value, step| match &value {
                Value::Array(items) => step.parse::<usize>().ok().and_then(|index| items.get(index).cloned()),
                other => other.get(step).cloned(),
            })
            .ok_or_else(|| Missing::undefined(path))
    }
}

/// How the action was found out: the words that the report and the event's JSON use.
const FROM_VARIABLE: &str = "from EVENT_ACTION";
const UNKNOWN: &str = "unknown";

/// Whether `name` fits `pattern`, in which `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|name| {
            (0..=name.len()).any(|index| name.is_char_boundary(index) && matches(rest, &name[index..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const GITLAB: &[(&str, &str)] = &[
        ("CI_PROJECT_PATH", "Acme/Shop"),
        ("CI_PROJECT_PATH_SLUG", "acme-shop"),
        ("CI_PIPELINE_ID", "8812"),
        (
            "CI_PIPELINE_URL",
            "https://gitlab.example.com/acme/shop/-/pipelines/8812",
        ),
        ("CI_COMMIT_SHA", "9f2c1e7d0b4a5c6d7e8f90123456789abcdef012"),
        ("CI_COMMIT_REF_NAME", "fix/\"quoted\" \\ ünïcode"),
        ("CI_JOB_ID", "991"),
        ("GITLAB_USER_LOGIN", "dana"),
        ("CI_JOB_TOKEN", "job-token-value"),
    ];

    fn environment(more: &[(&str, &str)]) -> Environment {
        let variables = GITLAB.iter().chain(more);
        Environment::from_variables(variables.map(|(name, value)| (name.into(), value.into())))
    }

    fn context<'a>(environment: &'a Environment, open: &[&str]) -> Context<'a> {
        let open = open.iter().map(|&pattern| pattern.to_owned()).collect();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_740_823_651);
        Context::new(environment, open, vec!["RELY_API_TOKEN"], now)
    }

    fn event(more: &[(&str, &str)]) -> Event {
        context(&environment(more), &[]).event().unwrap()
    }

    fn problem(more: &[(&str, &str)]) -> String {
        let problems = context(&environment(more), &[]).event().unwrap_err();
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn defaults_come_from_gitlab() {
        let event = event(&[("EVENT_ACTION", "success"), ("EVENT_ENVIRONMENT", "production")]);
        assert_eq!(event.id(), Ok("acme-shop-8812-production"));
        assert_eq!(event.title(), Ok("Acme/Shop #8812 (production)"));
        assert_eq!(event.branch.as_deref(), Some("fix/\"quoted\" \\ ünïcode"));
        assert_eq!(event.user.as_deref(), Some("dana"));
        assert_eq!(event.time, "2025-03-01T10:07:31Z");
        assert_eq!((event.started_at, event.finished_at, event.attempt), (None, None, 1));
    }

    #[test]
    fn a_branch_is_found_in_merge_request_and_tag_pipelines() {
        let branch = |more| event(more).branch;
        assert_eq!(branch(&[("CI_COMMIT_BRANCH", "main")]).as_deref(), Some("main"));
        assert_eq!(
            branch(&[
                ("CI_COMMIT_BRANCH", ""),
                ("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", "topic")
            ])
            .as_deref(),
            Some("topic")
        );
    }

    #[test]
    fn every_job_comes_to_the_same_id() {
        let deploy = event(&[
            ("CI_ENVIRONMENT_NAME", "review/Feature"),
            ("CI_ENVIRONMENT_SLUG", "review-feature-qwerty"),
            ("CI_JOB_ID", "1"),
        ]);
        assert_eq!(
            deploy.id(),
            Ok("acme-shop-8812-review-feature-qwerty"),
            "GitLab's own slug is taken"
        );
        let computed = slug::environment("review/Feature");
        let notify = event(&[("EVENT_ENVIRONMENT", "review/Feature"), ("CI_JOB_ID", "2")]);
        assert_eq!(notify.id(), Ok(format!("acme-shop-8812-{computed}").as_str()));
    }

    #[test]
    fn words_and_synonyms() {
        for (word, action) in [
            ("succeeded", Action::Success),
            ("FAILED", Action::Failure),
            ("cancelled", Action::Canceled),
            ("in-progress", Action::Progressing),
            ("running", Action::Progressing),
            ("pending", Action::Blocked),
            ("merge", Action::Other("merge".to_owned())),
        ] {
            assert_eq!(Action::from_word(word), action);
        }
        for word in Action::WORDS {
            assert_eq!(Action::from_word(word).word(), *word);
        }
    }

    #[test]
    fn after_script_knows_the_outcome_and_the_times() {
        let event = event(&[
            ("CI_JOB_STATUS", "failed"),
            ("CI_JOB_STARTED_AT", "2025-03-01T10:00:01Z"),
        ]);
        assert_eq!(event.action(), Ok(&Action::Failure));
        assert_eq!(event.started_at.as_deref(), Some("2025-03-01T10:00:01Z"));
        assert_eq!(event.finished_at.as_deref(), Some("2025-03-01T10:07:31Z"));
        assert_eq!(event.duration, Some(450));
        assert!(event.summary().contains("from CI_JOB_STATUS"));
    }

    #[test]
    fn an_unknown_outcome_is_only_an_error_for_who_asks() {
        for status in ["", "running"] {
            let event = event(&[("CI_JOB_STATUS", status), ("EVENT_ACTION", "auto")]);
            let problem = event.action().unwrap_err().to_string();
            assert!(problem.starts_with("EVENT_ACTION is auto"), "{problem}");
            assert!(problem.contains("started, progressing, success"), "{problem}");
        }
    }

    #[test]
    fn fields_may_refer_to_each_other_but_not_to_themselves() {
        let event = event(&[
            (
                "EVENT_TITLE",
                "{{ event.name | upper }} {{ event.id }} try {{ event.attempt }}",
            ),
            ("EVENT_ENVIRONMENT", "{{ env.CI_COMMIT_REF_NAME | slug }}"),
            (
                "EVENT_PROPERTIES",
                r#"{"commit": "{{ event.commit }}", "n": "{{ pipeline.id }}"}"#,
            ),
        ]);
        let id = "acme-shop-8812-fix-quoted-n-code";
        assert_eq!(event.title(), Ok(format!("DEPLOYMENT {id} try 1").as_str()));
        assert_eq!(event.properties["n"], json!(8812));
        assert!(
            problem(&[("EVENT_TITLE", "{{ event.id }}"), ("EVENT_ID", "{{ event.title }}")])
                .contains("made from itself")
        );
    }

    #[test]
    fn bad_values_name_their_variable() {
        assert!(
            problem(&[("EVENT_PROPERTIES", "{\"a\": }")])
                .starts_with("EVENT_PROPERTIES is not JSON: expected value at line 1, column 7")
        );
        assert!(problem(&[("EVENT_PROPERTIES", "[1]")]).contains("it is an array"));
        assert!(
            problem(&[("EVENT_REPO", "$CI_PROJECT_PATH")]).starts_with("EVENT_REPO is literally `$CI_PROJECT_PATH`")
        );
        assert!(
            problem(&[("EVENT_TITLE", "{{ event.image }}")])
                .starts_with("EVENT_TITLE has a template at character 1: `event.image` has no value")
        );
    }

    #[test]
    fn templates_reach_what_they_may() {
        let environment = environment(&[
            ("RELY_API_TOKEN", "secret-1"),
            ("MY_TOKEN", "secret-2"),
            ("MY_TEXT", "text"),
            ("OTHER", "other"),
            ("EVENT_EXTRA", "extra"),
        ]);
        let context = context(&environment, &["MY_*", "RELY_API_TOKEN"]);
        assert_eq!(context.get("env.MY_TEXT"), Ok(json!("text")));
        assert_eq!(context.get("env.EVENT_EXTRA"), Ok(json!("extra")));
        assert_eq!(context.get("env.EVENT_REPO"), Ok(json!("Acme/Shop")));
        assert_eq!(context.get("pipeline.id"), Ok(json!(8812)));
        for refused in [
            "env.OTHER",
            "env.MY_TOKEN",
            "env.RELY_API_TOKEN",
            "env.CI_JOB_TOKEN",
            "env.HOME",
        ] {
            assert!(matches!(context.get(refused), Err(Missing::Refused(_))), "{refused}");
        }
        for undefined in [
            "env.CI_COMMIT_TAG",
            "event.nope",
            "event.image",
            "pipeline.tag",
            "nope",
            "event.properties.x",
        ] {
            assert!(
                matches!(context.get(undefined), Err(Missing::Undefined(_))),
                "{undefined}"
            );
        }
    }

    #[test]
    fn outside_gitlab_only_the_id_is_missing() {
        let environment = Environment::default();
        let context = Context::new(&environment, vec![], vec![], SystemTime::UNIX_EPOCH);
        let event = context.event().unwrap();
        assert_eq!(event.id().unwrap_err().variable, "EVENT_ID");
        assert_eq!(event.title().unwrap_err().variable, "EVENT_ID");
    }

    #[test]
    fn the_published_schema_names_every_field() {
        let schema: Value = serde_json::from_str(include_str!("../schema/event.json")).unwrap();
        let event = event(&[("EVENT_ACTION", "success")]).to_json();
        let fields: Vec<&String> = event.as_object().unwrap().keys().collect();
        for field in &fields {
            assert!(schema["properties"][field.as_str()].is_object(), "{field}");
        }
        assert_eq!(schema["properties"].as_object().unwrap().len(), fields.len());
        assert_eq!(schema["required"].as_array().unwrap().len(), fields.len());
        assert_eq!(schema["properties"]["schema_version"]["const"], SCHEMA_VERSION);
    }

    #[test]
    fn patterns() {
        assert!(matches("A_*", "A_B") && matches("*_B", "A_B") && matches("*", "") && matches("A*C*E", "ABCDE"));
        assert!(!matches("A_*", "B_A_") && !matches("A", "AB") && !matches("A*C", "AB"));
    }
}
