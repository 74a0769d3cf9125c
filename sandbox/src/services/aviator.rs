//! Aviator Releases, as docs/vendors/aviator.md describes it.
//!
//! State: `{"releases": {candidate: {"repo", "commit", "trigger_build_workflow"}}, "environments": {name: {"frozen":
//! false, "triggered_workflows": 0, "deployments": [deployment]}}, "triggered_builds": 0}`, deployments newest first
//! and as docs/vendors/aviator.md 3 prints them. A seeded deployment needs only `release_candidate_version`.

mod request;
mod state;

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value, json};

use crate::options::Options;
use crate::stand_in::{CredentialsIn, Declaration, StandIn, Variable};
use crate::wire::{Reply, Request};
use request::{Refusal, body, optional_bool, required};
use state::{Release, STATUSES, State, release_of};

pub(super) const DECLARATION: Declaration = Declaration {
    name: "aviator",
    title: "Aviator Releases",
    address: ("AVIATOR_API_URL", ""),
    variables: &[
        Variable::secret("AVIATOR_API_TOKEN", |known| &known.aviator_token),
        Variable::open("AVIATOR_PROJECT", |_| PROJECT),
    ],
    credentials_in: CredentialsIn::STANDARD_HEADERS,
    fixed_state: &[],
    reported_state: "",
    start: |options| Box::new(Aviator::new(options)),
};

/// The project that exists. A project's name may have a space (docs/vendors/aviator.md 2), so this one has.
const PROJECT: &str = "Shop API";

struct Aviator {
    token: String,
    repo: String,
    replies: bool,
    state: State,
}

impl Aviator {
    fn new(options: &Options) -> Self {
        Self {
            token: options.credentials.aviator_token.clone(),
            repo: options.aviator_repo.clone(),
            replies: options.aviator_replies,
            state: State::initial(),
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
        self.state.expire();
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

    /// A release and its candidate.
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
        // A candidate is cut once: what another request does is undocumented (docs/vendors/aviator.md 3).
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

    /// A deployment, and the workflow that is configured for its environment.
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

    /// A status; creates the deployment if there is none of this candidate, and never triggers.
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

    /// The deployments, newest first, in pages.
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

    /// A rollback to what was there before; active deployments are canceled first.
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

    /// Releases, deployments and statuses are documented to be answered without a body (docs/vendors/aviator.md 3).
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

    fn error_reply(&self, status: u16, message: &str) -> Reply {
        Refusal::new(status, message).reply()
    }

    fn state(&mut self) -> Value {
        self.state.expire();
        json!(self.state)
    }

    fn seed(&mut self, state: Value) -> Result<(), String> {
        self.state.expire();
        self.state = self.state.merged(state)?;
        Ok(())
    }
}

/// A candidate's version is `<release>-rc<N>` (docs/vendors/aviator.md 2).
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
