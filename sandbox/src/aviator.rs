//! Aviator Releases, as `vendors/aviator.md` describes it.
//!
//! State: `{"releases": {candidate: {"repo", "commit", "trigger_build_workflow"}}, "environments": {name: {"frozen":
//! false, "triggered_workflows": 0, "deployments": [deployment]}}, "triggered_builds": 0}`, deployments newest first and
//! as §3 prints them. A seeded deployment needs only `release_candidate_version`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use time::{Duration, OffsetDateTime};

use crate::wire::{Reply, Request, merge, now, parse_time};
use crate::{Options, StandIn};

/// The project that exists. A project's name may have a space (`vendors/aviator.md` §2), so this one has.
pub(crate) const PROJECT: &str = "Shop API";

/// The statuses as of 2026-03-05 (`vendors/aviator.md` §0).
const STATUSES: [&str; 8] = [
    "pending",
    "in_progress",
    "success",
    "failure",
    "canceling",
    "canceled",
    "error",
    "unknown",
];

/// What may still change by itself.
const ACTIVE: [&str; 3] = ["pending", "in_progress", "canceling"];

/// `vendors/aviator.md` §4: what is stuck that long becomes an error.
const STUCK_AFTER: Duration = Duration::minutes(60);

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Release {
    repo: String,
    commit: String,
    #[serde(default)]
    trigger_build_workflow: bool,
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Environment {
    frozen: bool,
    triggered_workflows: usize,
    deployments: Vec<Deployment>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Deployment {
    id: String,
    actor: Option<String>,
    environment_name: String,
    status: String,
    release_version: String,
    release_candidate_version: String,
    from_release_version: Option<String>,
    from_release_candidate_version: Option<String>,
    deploy_start_at: String,
    deploy_end_at: Option<String>,
    error_message: Option<String>,
}

impl Default for Deployment {
    fn default() -> Self {
        Self {
            id: String::new(),
            actor: Some("dana@example.com".to_owned()),
            environment_name: String::new(),
            status: "pending".to_owned(),
            release_version: String::new(),
            release_candidate_version: String::new(),
            from_release_version: None,
            from_release_candidate_version: None,
            deploy_start_at: now(),
            deploy_end_at: None,
            error_message: None,
        }
    }
}

impl Deployment {
    fn active(&self) -> bool {
        ACTIVE.contains(&self.status.as_str())
    }

    fn set(&mut self, status: &str) {
        status.clone_into(&mut self.status);
        self.deploy_end_at = (!self.active()).then(now);
        self.error_message = None;
    }
}

impl Environment {
    /// Starts a deployment of a candidate, and returns it.
    fn deploy(&mut self, environment: &str, candidate: &str, status: &str) -> &Deployment {
        let before = self
            .deployments
            .iter()
            .find(|deployment| deployment.status == "success");
        let mut deployment = Deployment {
            id: next_id().to_string(),
            environment_name: environment.to_owned(),
            release_version: release_of(candidate),
            release_candidate_version: candidate.to_owned(),
            from_release_version: before.map(|before| before.release_version.clone()),
            from_release_candidate_version: before.map(|before| before.release_candidate_version.clone()),
            ..Deployment::default()
        };
        deployment.set(status);
        self.deployments.insert(0, deployment);
        &self.deployments[0]
    }

    /// What a rollback goes to: the last success before the current candidate first came, of another candidate. Seen
    /// so, a second rollback goes further back, or has nothing to go to (`vendors/aviator.md` §8).
    fn rollback_target(&self) -> Option<String> {
        let current = &self.deployments.first()?.release_candidate_version;
        let first = self
            .deployments
            .iter()
            .rposition(|deployment| deployment.release_candidate_version == *current)?;
        let earlier = self.deployments[first..]
            .iter()
            .find(|deployment| deployment.status == "success" && deployment.release_candidate_version != *current);
        earlier.map(|deployment| deployment.release_candidate_version.clone())
    }
}

pub(crate) struct Aviator {
    token: String,
    repo: String,
    replies: bool,
    state: State,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    releases: BTreeMap<String, Release>,
    environments: BTreeMap<String, Environment>,
    triggered_builds: usize,
}

/// A refusal: `{"error": "…"}`.
struct Refusal(u16, String);

impl Refusal {
    fn new(status: u16, message: impl Into<String>) -> Self {
        Self(status, message.into())
    }

    fn reply(self) -> Reply {
        Reply::json(self.0, &json!({"error": self.1}))
    }
}

impl Aviator {
    pub(crate) fn new(options: &Options) -> Self {
        let environments = ["production", "staging"].map(|name| (name.to_owned(), Environment::default()));
        Self {
            token: options.credentials.aviator_token.clone(),
            repo: options.aviator_repo.clone(),
            replies: options.aviator_replies,
            state: State {
                releases: BTreeMap::new(),
                environments: environments.into(),
                triggered_builds: 0,
            },
        }
    }

    fn route(&mut self, request: &Request) -> Result<Reply, Refusal> {
        let segments = request.segments().unwrap_or_default();
        let segments = segments.iter().map(String::as_str).collect::<Vec<_>>();
        let ["api", "releases", project, rest @ ..] = segments.as_slice() else {
            return Err(Refusal::new(404, "Not found"));
        };
        if request.bearer() != Some(&self.token) {
            return Err(Refusal::new(401, "Invalid or missing API token"));
        }
        if *project != PROJECT {
            return Err(Refusal::new(404, "Release project not found"));
        }
        self.expire();
        match (request.method.as_str(), rest) {
            ("POST", ["releases", candidate]) => self.release(candidate, request),
            ("POST", ["environments", environment, "deployments"]) => self.deploy(environment, request),
            ("PATCH", ["environments", environment, "deployments"]) => self.report(environment, request),
            ("GET", ["environments", environment, "deployments"]) => self.list(environment, request),
            ("POST", ["environments", environment, "rollback"]) => self.roll_back(environment, request),
            (_, ["releases", _] | ["environments", _, "deployments" | "rollback"]) => {
                Err(Refusal::new(405, "Method not allowed"))
            }
            _ => Err(Refusal::new(404, "Not found")),
        }
    }

    /// Call 1: a release and its candidate.
    fn release(&mut self, candidate: &str, request: &Request) -> Result<Reply, Refusal> {
        let body = body(request, &["repo", "commit", "trigger_build_workflow"])?;
        check_candidate(candidate)?;
        let commit = required(&body, "commit")?;
        let hexadecimal = commit.chars().all(|digit| digit.is_ascii_hexdigit());
        if !hexadecimal || !(7..=40).contains(&commit.len()) {
            return Err(Refusal::new(400, "Invalid commit hash"));
        }
        let repo = required(&body, "repo")?;
        if repo != self.repo {
            return Err(Refusal::new(404, "GitHub repository not found"));
        }
        let build = optional_bool(&body, "trigger_build_workflow")?;
        // Undocumented (§3): a candidate is cut once.
        if self.state.releases.contains_key(candidate) {
            return Err(Refusal::new(400, "Release candidate already exists"));
        }
        let release = Release {
            repo: repo.to_owned(),
            commit: commit.to_owned(),
            trigger_build_workflow: build,
        };
        self.state.releases.insert(candidate.to_owned(), release);
        self.state.triggered_builds += usize::from(build);
        let created = json!({"release_version": release_of(candidate), "release_candidate_version": candidate});
        Ok(self.done(201, &created))
    }

    /// Call 2: a deployment, and the workflow that is configured for its environment.
    fn deploy(&mut self, name: &str, request: &Request) -> Result<Reply, Refusal> {
        let body = body(request, &["release_candidate_version"])?;
        let candidate = candidate_of(&body)?;
        let environment = self.environment(name)?;
        self.known(&candidate)?;
        let environment = self.state.environments.get_mut(&environment).expect("found above");
        environment.triggered_workflows += 1;
        let deployment = json!(environment.deploy(name, &candidate, "pending"));
        Ok(self.done(201, &deployment))
    }

    /// Call 3: a status; creates the deployment if there is none of this candidate, and never triggers.
    fn report(&mut self, name: &str, request: &Request) -> Result<Reply, Refusal> {
        let body = body(request, &["release_candidate_version", "status"])?;
        let candidate = candidate_of(&body)?;
        let status = required(&body, "status")?;
        if !STATUSES.contains(&status) {
            return Err(Refusal::new(400, "Invalid status"));
        }
        let environment = self.environment(name)?;
        self.known(&candidate)?;
        let environment = self.state.environments.get_mut(&environment).expect("found above");
        let existing = environment
            .deployments
            .iter_mut()
            .find(|one| one.release_candidate_version == candidate);
        let deployment = if let Some(deployment) = existing {
            deployment.set(status);
            json!(deployment)
        } else {
            json!(environment.deploy(name, &candidate, status))
        };
        Ok(self.done(200, &deployment))
    }

    /// Call 4: newest first, in pages.
    fn list(&self, name: &str, request: &Request) -> Result<Reply, Refusal> {
        let query = request.query();
        if let Some(name) = query.unknown(&["page", "per_page"]) {
            return Err(Refusal::new(400, format!("Unknown parameter {name}")));
        }
        let number = |name: &str, default: usize, most: usize| match query.get(name) {
            None => Ok(default),
            Some(text) => match text.parse() {
                Ok(number) if (1..=most).contains(&number) => Ok(number),
                _ => Err(Refusal::new(400, format!("Invalid {name}"))),
            },
        };
        let (page, per_page) = (number("page", 1, usize::MAX / 100)?, number("per_page", 10, 100)?);
        let environment = &self.state.environments[&self.environment(name)?];
        let shown = environment
            .deployments
            .iter()
            .skip((page - 1) * per_page)
            .take(per_page)
            .collect::<Vec<_>>();
        Ok(Reply::json(200, &json!(shown)))
    }

    /// Call 5: back to what was there before; active deployments are canceled first.
    fn roll_back(&mut self, name: &str, request: &Request) -> Result<Reply, Refusal> {
        let body = if request.body.is_empty() {
            Map::new()
        } else {
            body(request, &["force"])?
        };
        let force = optional_bool(&body, "force")?;
        let environment = self.environment(name)?;
        let environment = self.state.environments.get_mut(&environment).expect("found above");
        if environment.frozen && !force {
            return Err(Refusal::new(400, "Environment is frozen"));
        }
        let target = environment.rollback_target();
        let target = target.ok_or(Refusal::new(404, "No previous deployment to roll back from"))?;
        for deployment in environment
            .deployments
            .iter_mut()
            .filter(|deployment| deployment.active())
        {
            deployment.set("canceled");
        }
        environment.triggered_workflows += 1;
        Ok(Reply::json(201, &json!(environment.deploy(name, &target, "pending"))))
    }

    /// The 60-minute rule.
    fn expire(&mut self) {
        let deployments = self
            .state
            .environments
            .values_mut()
            .flat_map(|environment| &mut environment.deployments);
        for deployment in deployments.filter(|deployment| deployment.active()) {
            let started = parse_time(&deployment.deploy_start_at);
            if started.is_some_and(|started| OffsetDateTime::now_utc() - started > STUCK_AFTER) {
                deployment.set("error");
                deployment.error_message = Some("stuck for more than 60 minutes".to_owned());
            }
        }
    }

    fn environment(&self, name: &str) -> Result<String, Refusal> {
        let known = self.state.environments.contains_key(name);
        if known {
            Ok(name.to_owned())
        } else {
            Err(Refusal::new(404, "Release environment not found"))
        }
    }

    fn known(&self, candidate: &str) -> Result<(), Refusal> {
        let known = self.state.releases.contains_key(candidate);
        if known {
            Ok(())
        } else {
            Err(Refusal::new(404, "Release not found"))
        }
    }

    /// Calls 1 to 3 are documented without a body (§3).
    fn done(&self, status: u16, object: &Value) -> Reply {
        if self.replies {
            Reply::json(status, object)
        } else {
            Reply::empty(status)
        }
    }
}

impl StandIn for Aviator {
    fn answer(&mut self, request: &Request) -> Reply {
        self.route(request).unwrap_or_else(Refusal::reply)
    }

    fn complain(&self, status: u16, message: &str) -> Reply {
        Refusal::new(status, message).reply()
    }

    fn state(&mut self) -> Value {
        self.expire();
        json!(self.state)
    }

    fn seed(&mut self, state: Value) -> Result<(), String> {
        let mut merged = self.state();
        merge(&mut merged, state);
        let mut seeded: State = serde_json::from_value(merged).map_err(|error| error.to_string())?;
        for (name, environment) in &mut seeded.environments {
            for deployment in &mut environment.deployments {
                if deployment.id.is_empty() {
                    deployment.id = next_id().to_string();
                }
                deployment.environment_name.clone_from(name);
                deployment.release_version = release_of(&deployment.release_candidate_version);
                if !deployment.active() && deployment.deploy_end_at.is_none() {
                    deployment.deploy_end_at = Some(now());
                }
            }
        }
        self.state = seeded;
        Ok(())
    }
}

/// Deployments of all sandboxes of a process share their numbers: only that they differ matters.
fn next_id() -> usize {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(100);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

/// `2025.03.01` of `2025.03.01-rc1`.
fn release_of(candidate: &str) -> String {
    candidate
        .rsplit_once("-rc")
        .map_or(candidate, |(release, _)| release)
        .to_owned()
}

/// `vendors/aviator.md` §2: `<release>-rc<N>`.
fn check_candidate(candidate: &str) -> Result<(), Refusal> {
    static CANDIDATE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^.+-rc[0-9]+$").expect("a constant pattern"));
    let valid = CANDIDATE.is_match(candidate);
    if valid {
        Ok(())
    } else {
        Err(Refusal::new(400, "Invalid release candidate version"))
    }
}

/// The candidate that a body names.
fn candidate_of(body: &Map<String, Value>) -> Result<String, Refusal> {
    let candidate = required(body, "release_candidate_version")?;
    check_candidate(candidate)?;
    Ok(candidate.to_owned())
}

/// An object of known keys.
fn body(request: &Request, known: &[&str]) -> Result<Map<String, Value>, Refusal> {
    if !request.says_json() {
        return Err(Refusal::new(400, "Content-Type must be application/json"));
    }
    let Ok(Value::Object(body)) = request.json() else {
        return Err(Refusal::new(400, "Invalid JSON body"));
    };
    if let Some(name) = body.keys().find(|name| !known.contains(&name.as_str())) {
        return Err(Refusal::new(400, format!("Unknown field {name}")));
    }
    Ok(body)
}

fn required<'a>(body: &'a Map<String, Value>, name: &str) -> Result<&'a str, Refusal> {
    body.get(name)
        .and_then(Value::as_str)
        .ok_or(Refusal::new(400, format!("Missing or invalid {name}")))
}

fn optional_bool(body: &Map<String, Value>, name: &str) -> Result<bool, Refusal> {
    match body.get(name) {
        None => Ok(false),
        Some(Value::Bool(value)) => Ok(*value),
        Some(_) => Err(Refusal::new(400, format!("Invalid {name}"))),
    }
}
