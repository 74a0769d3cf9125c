//! What templates can name: the event, the pipeline, what was deployed, the deploy job, and of the environment what is
//! open to them.

use std::{collections::BTreeMap, rc::Rc};

use serde_json::{Map, Value, json};

use super::{Event, variables::EventVariables};
use crate::{
    credentials,
    environment::{DEFAULT_SUFFIX, Environment},
    gitlab::{
        outcome::Outcome,
        pipeline::{self, FACTS, PREDEFINED},
    },
    problem::{Problem, Unmade},
    template::{Scope, Template},
    text::matches,
    variables::{Group as _, Renderer, Variable},
};

/// What the event has beside its own variables and [`OF_JOBS`].
const DERIVED: &[&str] = &["time", "action_source", "schema_version"];

/// Which of the event's fields only GitLab's jobs can tell, where this is no `after_script`.
const OF_JOBS: &[&str] = &[
    "started_at",
    "finished_at",
    "duration",
    "queued",
    "job",
    "job_url",
    "started_by",
    "attempt",
];

/// What `job.` leads to.
const OF_JOB: &[&str] = &["name", "matrix"];

/// Something that has to be known before a template with a certain name in it can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    /// What became of the pipeline's jobs.
    Jobs,
    /// The deploy job's name.
    JobName,
    /// What was deployed since the last time.
    Changes,
}

/// What has to be asked before `name` can be told, beside what the event's own variables need. `event.action` is not
/// among it: it may be set.
pub fn fact_of(name: &str) -> Option<Fact> {
    let (root, rest) = name.split_once('.').unwrap_or((name, ""));
    let field = rest.split('.').next().unwrap_or_default();
    match root {
        "changes" => Some(Fact::Changes),
        "job" => Some(Fact::JobName),
        "event" if field.is_empty() || OF_JOBS.contains(&field) => Some(Fact::Jobs),
        _ => None,
    }
}

/// Whether GitLab's jobs may be what tells `name`.
fn is_of_jobs(name: &str) -> bool {
    matches!(fact_of(name), Some(Fact::Jobs | Fact::JobName))
}

/// Whether `name` tells the event's action.
pub fn is_action(name: &str) -> bool {
    matches!(
        name,
        "event" | "event.action" | "event.action_source" | "env.EVENT_ACTION"
    )
}

/// The event's variables that have to be known before `name` can be told, by their fields.
pub fn fields_of(name: &str) -> Vec<&'static str> {
    let all = EventVariables::VARIABLES.iter();
    if name == "event" {
        return all.map(|variable| variable.field).collect();
    }
    if is_action(name) {
        return vec!["action"];
    }
    all.filter(|variable| {
        let path = match name.split_once('.') {
            Some(("event", path)) => path,
            Some(("env", path)) => return path == variable.name,
            _ => return false,
        };
        path.split('.').next() == Some(variable.field)
    })
    .map(|variable| variable.field)
    .collect()
}

/// Which variables of the environment templates may read.
struct Reach {
    /// Those that have a value.
    values: Map<String, Value>,
    /// Those that were opened and can't be read, with the reason.
    wrong: BTreeMap<String, String>,
    /// Those that were opened by name, whether they are set or not.
    opened: Vec<String>,
    /// The declared credentials, under all of their names, which nothing opens.
    credentials: Vec<String>,
}

impl Reach {
    /// `open` are the words of `NOTIFY_TEMPLATE_ENV`, `declared` every variable that the program reads.
    fn new(environment: &Environment, open: &[String], declared: &[&'static Variable]) -> Self {
        let credentials: Vec<String> = declared
            .iter()
            .filter(|variable| variable.is_secret())
            .flat_map(|variable| [variable.name.to_owned(), format!("{}{DEFAULT_SUFFIX}", variable.name)])
            .collect();
        let secrets: Vec<String> = credentials
            .iter()
            .filter_map(|name| Some(environment.find(name, true).ok()??.value))
            .collect();
        let mut reach = Self {
            values: Map::new(),
            wrong: BTreeMap::new(),
            opened: open.to_vec(),
            credentials,
        };
        for name in PREDEFINED {
            if let Some(value) = environment.predefined(name) {
                reach.add(name, value, &secrets);
            }
        }
        let of_ours = declared.iter().filter(|variable| variable.is_own());
        let of_ours: Vec<&str> = of_ours.map(|variable| variable.name).collect();
        let others = environment.all().map(|(name, _)| name);
        for name in others
            .filter(|name| !of_ours.contains(name))
            .chain(of_ours.iter().copied())
        {
            let is_named = open.iter().any(|word| word == name);
            if !open.iter().any(|word| opens(word, name)) {
                continue;
            }
            let found = if of_ours.contains(&name) {
                environment.find_or_default(name, true)
            } else {
                environment.find(name, true)
            };
            match found {
                Ok(Some(found)) if !is_named && credentials::looks_like_credential(&found.value) => {
                    let why = "holds what looks like a credential, which a pattern does not open";
                    reach.wrong.insert(name.to_owned(), format!("`env.{name}` {why}"));
                }
                Ok(Some(found)) => reach.add(name, &found.value, &secrets),
                Ok(None) => {}
                Err(problem) => drop(reach.wrong.insert(name.to_owned(), problem.to_string())),
            }
        }
        reach
    }

    fn add(&mut self, name: &str, value: &str, secrets: &[String]) {
        if self.is_credential(name) {
            return;
        }
        if secrets.iter().any(|secret| value.contains(secret.as_str())) {
            let why = format!("`env.{name}` holds a credential, which templates can't reach");
            self.wrong.insert(name.to_owned(), why);
        } else {
            self.values.insert(name.to_owned(), value.into());
        }
    }

    /// Whether a name is that of a credential: one of ours, or one of GitLab's own.
    fn is_credential(&self, name: &str) -> bool {
        let is_gitlabs_own = name.starts_with("CI_") || name.starts_with("GITLAB_");
        self.credentials.iter().any(|credential| credential == name)
            || (is_gitlabs_own && credentials::is_credential(name))
    }

    /// Why no template may name a variable, whatever it holds.
    fn refuses(&self, name: &str) -> Option<String> {
        if self.is_credential(name) {
            return Some(format!("`env.{name}` is a credential, which templates can't reach"));
        }
        if let Some(why) = self.wrong.get(name) {
            return Some(why.clone());
        }
        let is_events = EventVariables::VARIABLES.iter().any(|variable| variable.name == name);
        let is_open = PREDEFINED.contains(&name)
            || is_events
            || self.values.contains_key(name)
            || self.opened.iter().any(|word| opens(word, name));
        (!is_open).then(|| {
            format!(
                "`env.{name}` is out of a template's reach: GitLab's predefined variables and EVENT_* are open, \
                 credentials excepted; list others in NOTIFY_TEMPLATE_ENV"
            )
        })
    }

    /// Why no template may name `path` at all, whatever filter follows.
    fn refusal(&self, path: &str) -> Option<String> {
        let (root, rest) = path.split_once('.').unwrap_or((path, ""));
        let name = rest.split('.').next().unwrap_or_default();
        let none = |what: &str, names: Vec<&str>| Some(format!("there is no `{path}`; {what} {}", names.join(", ")));
        match root {
            "env" if name.is_empty() => None,
            "env" => self.refuses(name),
            "changes" => None,
            "event" => {
                let names: Vec<&str> = EventVariables::VARIABLES
                    .iter()
                    .map(|variable| variable.field)
                    .chain(DERIVED.iter().chain(OF_JOBS).copied())
                    .collect();
                let is_there = name.is_empty() || names.contains(&name);
                if is_there { None } else { none("the event has", names) }
            }
            "pipeline" => {
                let names: Vec<&str> = FACTS.iter().map(|fact| fact.name).collect();
                let is_there = name.is_empty() || names.contains(&name);
                if is_there {
                    None
                } else {
                    none("the pipeline has", names)
                }
            }
            "job" if name.is_empty() || OF_JOB.contains(&name) => None,
            "job" => none("the job has", OF_JOB.to_vec()),
            _ => none(
                "names start with",
                vec!["event.", "pipeline.", "changes.", "job.", "env."],
            ),
        }
    }
}

/// Whether a word of `NOTIFY_TEMPLATE_ENV` opens a variable. An asterisk opens no credential: those have to be named one
/// by one.
fn opens(word: &str, name: &str) -> bool {
    let looks_secret = credentials::is_credential(name) || name.ends_with("KEY");
    word == name || (matches(word, name) && !looks_secret)
}

/// The names that templates know, with their values as far as they are known by now.
pub struct Names {
    scope: Scope,
    /// Why nothing happened that could be told, if so.
    nothing: Option<String>,
    /// Why `changes` has no value, if it was asked for and can't be had.
    no_changes: Option<String>,
    /// Why the action is not known, if it isn't.
    no_action: Option<Unmade>,
}

impl Names {
    /// The names in `environment`, of which `open` are the words of `NOTIFY_TEMPLATE_ENV`; `declared` is every variable
    /// that the program reads.
    pub fn new(environment: &Environment, open: &[String], declared: &[&'static Variable]) -> Self {
        let reach = Rc::new(Reach::new(environment, open, declared));
        let mut roots = Map::new();
        roots.insert("event".to_owned(), json!({}));
        roots.insert("pipeline".to_owned(), Value::Object(pipeline::pipeline(environment)));
        roots.insert("changes".to_owned(), json!({}));
        // Where no job is reported on, no name has brackets either.
        roots.insert("job".to_owned(), json!({ "matrix": [] }));
        roots.insert("env".to_owned(), Value::Object(reach.values.clone()));
        Self {
            scope: Scope::new(roots, Box::new(move |path| reach.refusal(path))),
            nothing: None,
            no_changes: None,
            no_action: None,
        }
    }

    /// Takes in what became of the jobs.
    pub fn set_outcome(&mut self, outcome: &Outcome) {
        if let Outcome::Nothing(why) = outcome {
            self.nothing = Some(why.clone());
        }
    }

    /// Takes in what was deployed, or why that can't be had.
    pub fn set_changes(&mut self, changes: &Result<Value, String>) {
        match changes {
            Ok(changes) => self.set("changes", without_nulls(changes)),
            Err(why) => self.no_changes = Some(why.clone()),
        }
    }

    /// Takes in one field of the event, and the variable of that name.
    pub fn set_field(&mut self, field: &str, value: &Value) {
        if value.is_null() {
            return;
        }
        self.scope.roots["event"][field] = value.clone();
        if let Some(variable) = EventVariables::VARIABLES
            .iter()
            .find(|variable| variable.field == field)
        {
            self.scope.roots["env"][variable.name] = value.clone();
        }
        if field == "job"
            && let Some(name) = value.as_str()
        {
            self.set_job_name(name);
        }
    }

    /// Takes in the deploy job's name.
    pub fn set_job_name(&mut self, name: &str) {
        self.set("job", json!({ "name": name, "matrix": matrix(name) }));
    }

    /// Takes in why the action is not known.
    pub fn set_no_action(&mut self, why: &Unmade) {
        self.no_action = Some(why.clone());
    }

    fn set(&mut self, root: &str, value: Value) {
        self.scope.roots.insert(root.to_owned(), value);
    }
}

/// What `job.matrix` is, for who asks for what it does not have.
const OF_MATRIX: &str = "job.matrix is the list of values between the brackets of the deploy job's name, which \
    `parallel: matrix` puts there; it is empty where there are none";

impl Renderer for Names {
    fn render(&self, variable: &str, template: &Template) -> Result<Value, Unmade> {
        let tells_action = template.names().iter().any(|name| is_action(name) && name != "event");
        if let Some(why) = self.no_action.as_ref().filter(|_| tells_action) {
            return Err(why.clone());
        }
        template.render(&self.scope).map_err(|error| {
            let undefined = error.undefined.clone().unwrap_or_default();
            let undefined = undefined.as_str();
            if let Some(why) = self.nothing.as_ref().filter(|_| is_of_jobs(undefined)) {
                return Unmade::Nothing(why.clone());
            }
            let error = match &self.no_changes {
                Some(why) if fact_of(undefined) == Some(Fact::Changes) => {
                    error.because(&format!("`{undefined}` can't be had: {why}"))
                }
                _ if undefined.contains("job.matrix") => {
                    let message = format!("{}. {OF_MATRIX}", error.message);
                    error.because(&message)
                }
                _ => error,
            };
            Problem::new(variable, format!("has a {error}")).into()
        })
    }
}

/// What templates can name in a replay: the event as it was kept, and of this job what is open to them.
pub fn names_of(event: &Event, environment: &Environment, open: &[String], declared: &[&'static Variable]) -> Names {
    let mut names = Names::new(environment, open, declared);
    if let Value::Object(fields) = event.to_json() {
        for (field, value) in &fields {
            names.set_field(field, value);
        }
    }
    if let Err(why) = &event.action {
        names.set_no_action(why);
    }
    names
}

/// The values between the brackets of a job's name, as `parallel: matrix` makes them: `deploy: [eu, production]`.
fn matrix(job: &str) -> Vec<&str> {
    let inside = job.split_once(": [").and_then(|(_, rest)| rest.strip_suffix(']'));
    inside.map(|inside| inside.split(", ").collect()).unwrap_or_default()
}

/// What is null is absent, so that a name without a value is undefined.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let members = members.iter().filter(|(_, member)| !member.is_null());
            members.map(|(name, member)| (name.clone(), member.clone())).collect()
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_is_between_the_brackets() {
        assert_eq!(matrix("deploy: [eu, production]"), ["eu", "production"]);
        assert!(matrix("deploy 1/3").is_empty() && matrix("deploy").is_empty());
    }

    #[test]
    fn names_tell_what_has_to_be_asked() {
        assert_eq!(fact_of("changes.count"), Some(Fact::Changes));
        assert_eq!(fact_of("event.started_at"), Some(Fact::Jobs));
        assert_eq!(fact_of("event"), Some(Fact::Jobs));
        assert_eq!(fact_of("job.matrix"), Some(Fact::JobName));
        assert_eq!(fact_of("event.id"), None);
        assert_eq!(fact_of("pipeline.job_name"), None);
        assert!(is_action("event.action") && !is_action("event.id"));
        assert_eq!(fields_of("event.properties.team"), ["properties"]);
        assert_eq!(fields_of("env.EVENT_ID"), ["id"]);
        assert!(fields_of("event.time").is_empty() && fields_of("env.CI_COMMIT_SHA").is_empty());
    }
}
