//! What the environment says of a run before anything is known of the event: policy, network, destinations, secrets.

use std::{path::PathBuf, time::SystemTime};

use tokio::time::Instant;

use crate::{
    delivery::{client, courier::Limits},
    destinations::{self, Target},
    environment::{self, Environment, Problem},
    event::{Context, EventVariables},
    gitlab::{
        api::{self, GitLab},
        context, lookup,
    },
    report::console::Console,
    secret::Redactor,
    settings::{Network, OnError, Policy, Verbosity},
    variables::{Group, List, Reader, Variable},
};

/// Credentials of variables that we do not declare are hidden from this length on: a shorter one is a switch or a word
/// that happens to be called a token.
const SHORTEST_FOREIGN_SECRET: usize = 8;

/// Everything that the environment says of a run, whatever it sends.
pub struct Setup<'a> {
    /// The process's variables.
    pub environment: &'a Environment,
    /// The contract's section 5.
    pub policy: Policy,
    /// The way to the services.
    pub network: Network,
    /// The way to what GitLab knows.
    pub gitlab: api::Settings,
    /// What prints.
    pub console: Console,
    /// What templates see.
    pub context: Context<'a>,
}

impl<'a> Setup<'a> {
    /// Reads what applies to every destination.
    ///
    /// # Errors
    /// Every variable of section 5 that can't be used. The console that comes with them prints as far as it is known how.
    pub fn read(environment: &'a Environment) -> Result<Self, (Console, OnError, Vec<Problem>)> {
        let reader = Reader {
            environment,
            scope: None,
            official_names: false,
            allow_http: true,
        };
        let redactor = redactor(environment);
        let policy = reader.read::<Policy>();
        let network = reader.read::<Network>();
        let gitlab = reader.read::<api::Settings>();
        match (policy, network, gitlab) {
            (Ok(policy), Ok(network), Ok(gitlab)) => {
                for proxy in [&network.https_proxy, &network.http_proxy, &network.all_proxy] {
                    if let Some(password) = proxy.as_ref().and_then(client::proxy_password) {
                        redactor.hide(&password);
                    }
                }
                let open = policy.template_env.clone().map(|List(names)| names).unwrap_or_default();
                let secrets = declared().filter(|variable| variable.is_secret());
                let credentials = secrets.map(|variable| variable.name).collect();
                Ok(Self {
                    environment,
                    context: Context::new(environment, open, credentials, SystemTime::now()),
                    console: Console::new(redactor, policy.log),
                    policy,
                    network,
                    gitlab,
                })
            }
            (policy, network, gitlab) => {
                let problems = [policy.err(), network.err(), gitlab.err()];
                let problems = problems.into_iter().flatten().flatten().collect();
                // The policy on errors applies to this error too, if that variable is not the one at fault.
                let on_error = reader.read_one::<Policy, _>("NOTIFY_ON_ERROR").unwrap_or(OnError::Warn);
                let console = Console::new(redactor, Verbosity::Normal);
                Err((console, on_error, problems))
            }
        }
    }

    /// Limits of a run that begins now.
    pub fn limits(&self) -> Limits {
        Limits {
            deadline: Instant::now() + self.policy.timeout.0,
            budget: self.policy.timeout.0,
            budget_is: "of NOTIFY_TIMEOUT",
            attempt: self.policy.attempt_timeout.0,
            attempts: self.policy.attempts.0,
        }
    }

    /// GitLab's API, if the program runs in one of its jobs.
    ///
    /// # Errors
    /// What of GitLab's own variables is missing or can't be used.
    pub fn gitlab_api(&self) -> Result<GitLab, String> {
        GitLab::of(self.environment, &self.gitlab, self.network.allows_http())
    }

    /// The id of the job that this is, if it is one of GitLab's.
    pub fn job_id(&self) -> Option<&str> {
        self.environment.predefined("CI_JOB_ID")
    }

    /// The id of the pipeline that this is in, if it is one of GitLab's.
    pub fn pipeline_id(&self) -> Option<&str> {
        self.environment.predefined("CI_PIPELINE_ID")
    }

    /// Where earlier attempts left their receipts, as artifacts name it.
    pub fn receipts_folder(&self) -> Option<PathBuf> {
        lookup::artifact_folder(self.environment, self.policy.output_dir.as_deref()?)
    }

    /// Whether some value wants to know what has been deployed: then GitLab is asked before templates run.
    pub fn mentions_changes(&self) -> bool {
        declared()
            .filter(|variable| !variable.is_secret())
            .filter_map(|variable| self.environment.find(variable.name, true).ok()?)
            .any(|found| {
                let mut expressions = found.value.split("{{").skip(1);
                expressions.any(|rest| rest.split("}}").next().is_some_and(|inside| inside.contains("changes")))
            })
    }

    /// The reader for `target`'s variables.
    pub fn reader(&self, target: &Target) -> Reader<'_> {
        Reader {
            environment: self.environment,
            scope: Some(&self.context),
            official_names: target.is_named,
            allow_http: self.network.allows_http(),
        }
    }

    /// What to send to: what was named, else `NOTIFY_DESTINATIONS`, else every destination with credentials.
    ///
    /// # Errors
    /// What is named and does not exist, or that nothing is configured; the destinations that are fine come along.
    pub fn targets(&self, named: Vec<Target>) -> (Vec<Target>, Vec<Problem>) {
        if !named.is_empty() {
            return (named, Vec::new());
        }
        let mut targets: Vec<Target> = Vec::new();
        let mut problems = Vec::new();
        if let Some(List(words)) = &self.policy.destinations {
            for word in words {
                match Target::parse(word, false) {
                    Ok(target) => target.add_to(&mut targets),
                    Err(message) => problems.push(Problem::new("NOTIFY_DESTINATIONS", format!("is wrong: {message}"))),
                }
            }
            return (targets, problems);
        }
        targets.extend(self.detected());
        if targets.is_empty() {
            let looked_for: Vec<String> = destinations::ALL
                .iter()
                .map(|destination| format!("{} ({})", destination.credentials.join(" or "), destination.name))
                .collect();
            problems.push(Problem::new(
                "NOTIFY_DESTINATIONS",
                format!(
                    "is not set, no destination is named on the command line, and none of these is set: {}. A protected \
                     variable is absent on branches and tags that are not protected",
                    looked_for.join(", ")
                ),
            ));
        }
        (targets, problems)
    }

    fn detected(&self) -> impl Iterator<Item = Target> {
        destinations::ALL
            .iter()
            .filter(|destination| {
                destination.credentials.iter().any(|name| {
                    // A credential that can't be read is one that somebody wanted to be read.
                    !matches!(self.environment.find(name, true), Ok(None))
                })
            })
            .map(|destination| Target {
                destination,
                operation: &destination.operations[0],
                is_optional: false,
                is_named: false,
            })
    }
}

/// Every variable that is declared anywhere.
pub fn declared() -> impl Iterator<Item = &'static Variable> {
    let own = [
        EventVariables::VARIABLES,
        Policy::VARIABLES,
        Network::VARIABLES,
        api::Settings::VARIABLES,
    ];
    let of_destinations = destinations::ALL
        .iter()
        .flat_map(|destination| destination.variables.iter().copied());
    own.into_iter().chain(of_destinations).flatten()
}

/// What hides every credential that the environment holds: the declared ones, however they are given, and whatever
/// else is called a token, a password or the like.
pub fn redactor(environment: &Environment) -> Redactor {
    let redactor = Redactor::default();
    for variable in declared().filter(|variable| variable.is_secret()) {
        for name in std::iter::once(variable.name).chain(variable.official) {
            if let Ok(Some(found)) = environment.find(name, true) {
                redactor.hide(&found.value);
                // A whole header line: its value alone is the credential.
                if let Some((_, value)) = found.value.split_once(':').filter(|_| name.ends_with("_HEADER")) {
                    redactor.hide(value);
                    hide_basic(&redactor, value);
                }
            }
        }
    }
    for (name, value) in environment.all() {
        let is_declared = declared().any(|variable| variable.is_secret() && variable.name == name);
        let is_foreign = context::is_credential(name)
            && value.len() >= SHORTEST_FOREIGN_SECRET
            && !context::is_public(environment, value);
        if (is_declared || is_foreign) && environment::reference(value).is_none() {
            redactor.hide(value);
        }
    }
    redactor
}

/// Hides what `Basic` credentials say once they are decoded: a server may name the user, or quote the password.
fn hide_basic(redactor: &Redactor, header: &str) {
    let Some(encoded) = header.trim().strip_prefix("Basic ") else {
        return;
    };
    let Ok(decoded) = environment::pasted("", &format!("{}{encoded}", environment::BASE64_PREFIX)) else {
        return;
    };
    redactor.hide(&decoded);
    if let Some((_, password)) = decoded.split_once(':') {
        redactor.hide(password);
    }
}
