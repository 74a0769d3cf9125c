//! What the environment says of a run before anything is known of the event: policy, network, destinations, secrets.

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use crate::{
    comparison::teller::Teller,
    credentials,
    delivery::{
        client::{self, Client},
        courier::Courier,
        limits::Limits,
    },
    destinations::{self, Destination, Target},
    environment::Environment,
    event::{Action, job, resolve::Resolver, variables::EventVariables},
    facts,
    gitlab::{
        api::{self, GitLab},
        pipeline,
    },
    problem::Problem,
    receipts::receipt::Origin,
    redaction::Redactor,
    report::{class::Class, console::Console},
    settings::{Network, OnError, Policy, Reconciled, Verbosity},
    variables::{Flag, Group as _, List, Reader, Seconds, Unrendered, Values, Variable},
};

/// The time for a whole run where `NOTIFY_TIMEOUT` is not set.
const TIMEOUT: Duration = Duration::from_mins(1);
/// The same where it sends the entities of a file, which may be any number.
const LONG_TIMEOUT: Duration = Duration::from_hours(1);

/// Everything that the environment says of a run, whatever it sends.
pub struct Setup<'a> {
    /// The process's variables.
    pub environment: &'a Environment,
    /// What may be sent, how often, and what a failure means.
    pub policy: Policy,
    /// The way to the services.
    pub network: Network,
    /// The way to what GitLab knows.
    gitlab: api::Settings,
    /// What prints.
    pub console: Console,
    /// Texts that GitLab may have pasted into values.
    literals: Vec<&'a str>,
    /// Whether the names are read that other tools gave to a destination's variables.
    official_names: bool,
}

/// What an exit code does here.
#[derive(Debug, Clone, Copy)]
pub struct Ending {
    /// What a failure does.
    pub on_error: OnError,
    /// Whether this is an `after_script`, whose exit code GitLab ignores (docs/gitlab.md 3.6).
    pub is_after_script: bool,
}

impl Ending {
    /// Of a run in `environment` that has this policy on errors.
    pub fn new(environment: &Environment, on_error: OnError) -> Self {
        Self {
            on_error,
            is_after_script: job::status(environment).is_some(),
        }
    }
}

/// What keeps a run from beginning: the variables that are wrong, and how to say so.
pub struct Unusable {
    /// Prints as far as it is known how.
    pub console: Console,
    /// What its exit code does.
    pub ending: Ending,
    /// Every variable that can't be used.
    pub problems: Vec<Problem>,
}

/// Every variable that the program reads, but for the destinations' own: the event's, and those of every delivery.
pub fn common_variables() -> impl Iterator<Item = &'static Variable> {
    EventVariables::VARIABLES.iter().chain(delivery_variables())
}

/// What every run reads, whatever it sends.
pub fn delivery_variables() -> impl Iterator<Item = &'static Variable> {
    [
        Policy::VARIABLES,
        Reconciled::VARIABLES,
        Network::VARIABLES,
        api::Settings::VARIABLES,
    ]
    .into_iter()
    .flatten()
}

/// Every variable that is declared anywhere.
pub fn declared() -> Vec<&'static Variable> {
    common_variables().chain(destinations::variables()).collect()
}

/// What hides every credential that the environment holds.
pub fn redactor(environment: &Environment) -> Redactor {
    let declared = declared();
    let own = destinations::ALL.iter().flat_map(|destination| {
        let operations = destination.operations.iter().map(|operation| operation.name);
        std::iter::once(destination.name).chain(operations)
    });
    let own = own.chain(Class::ALL.iter().map(|class| class.word()));
    let own = own.chain(Action::WORDS.iter().copied());
    let public = credentials::public(environment, &declared);
    let redactor = Redactor::new(public.into_iter().chain(own.map(str::to_owned)));
    credentials::hide(&redactor, environment, &declared);
    redactor
}

/// The variable that switches every run off, if one does, whatever else is wrong.
pub fn switch(environment: &Environment) -> Option<String> {
    let values = of_policy(environment, "NOTIFY_ENABLED");
    let is_off = values.one("NOTIFY_ENABLED") == Some(Flag(false));
    let found = values.get("NOTIFY_ENABLED").ok()?.filter(|_| is_off)?;
    Some(found.name.clone())
}

/// One variable of the policy alone, whatever is wrong with the others: none of them is read for it.
pub fn of_policy(environment: &Environment, name: &str) -> Values {
    let named = Policy::VARIABLES.iter().filter(|variable| variable.name == name);
    reader(environment).values(named)
}

/// The environment without the variables that keep a run from beginning, and what is wrong with those.
pub fn usable(environment: &Environment) -> (Environment, Vec<Problem>) {
    let mut usable = environment.clone();
    let mut problems = Vec::new();
    while let Err(unusable) = Setup::read(&usable) {
        let is_wrong = |name: &str| unusable.problems.iter().any(|problem| problem.variable == name);
        let rest = usable.without(is_wrong);
        problems.extend(unusable.problems);
        // One of a variable's forms may have stood before another one that is wrong too.
        if rest.names().count() == usable.names().count() {
            break;
        }
        usable = rest;
    }
    (usable, problems)
}

/// Reads what applies to every run.
pub fn reader(environment: &Environment) -> Reader<'_> {
    Reader {
        environment,
        official_names: false,
        allow_http: true,
        literals: &[],
    }
}

impl<'a> Setup<'a> {
    /// Reads what applies to every destination.
    ///
    /// # Errors
    /// Every variable of these that can't be used.
    pub fn read(environment: &'a Environment) -> Result<Self, Unusable> {
        let reader = reader(environment);
        let redactor = redactor(environment);
        let policy = reader.read::<Policy>();
        let network = reader.read::<Network>();
        let gitlab = reader.read::<api::Settings>();
        match (policy, network, gitlab) {
            (Ok(policy), Ok(network), Ok(gitlab)) => {
                // An address without its scheme is one only for a proxy.
                let proxies = [&network.https_proxy, &network.http_proxy, &network.all_proxy];
                for proxy in proxies.into_iter().flatten() {
                    if let Some(password) = client::proxy_password(proxy) {
                        redactor.hide(&password, proxy.variable());
                    }
                }
                Ok(Self {
                    environment,
                    official_names: false,
                    literals: pipeline::written_by_people(environment),
                    console: Console::new(redactor, policy.log),
                    policy,
                    network,
                    gitlab,
                })
            }
            (policy, network, gitlab) => {
                let problems = [policy.err(), network.err(), gitlab.err()];
                // The policy on errors applies to this error too, if that variable is not the one at fault.
                let on_error = of_policy(environment, "NOTIFY_ON_ERROR").one("NOTIFY_ON_ERROR");
                Err(Unusable {
                    console: Console::new(redactor, Verbosity::Normal),
                    ending: Ending::new(environment, on_error.unwrap_or(OnError::Warn)),
                    problems: problems.into_iter().flatten().flatten().collect(),
                })
            }
        }
    }

    /// The same, where the names that other tools gave to a destination's variables are read too, if so.
    pub fn with_official_names(self, official_names: bool) -> Self {
        Self { official_names, ..self }
    }

    /// What the run's exit code does.
    pub fn ending(&self) -> Ending {
        Ending::new(self.environment, self.policy.on_error)
    }

    /// Limits of a run that begins now.
    pub fn limits(&self) -> Limits {
        self.limits_within(TIMEOUT)
    }

    /// Limits of a run that begins now and sends the entities of a file, or compares a window of GitLab's record.
    pub fn long_limits(&self) -> Limits {
        self.limits_within(LONG_TIMEOUT)
    }

    /// Limits of a run that begins now; `default` is the time that it has where `NOTIFY_TIMEOUT` is not set.
    fn limits_within(&self, default: Duration) -> Limits {
        let budget = self.policy.timeout.map_or(default, |Seconds(seconds)| seconds);
        Limits {
            deadline: Instant::now() + budget,
            budget,
            budget_is: "of NOTIFY_TIMEOUT",
            attempt: self.policy.attempt_timeout.0,
            attempts: self.policy.attempts.0,
        }
    }

    /// Whether `target` sends the entities of a file instead of the event.
    pub fn sends_entities(&self, target: &Target) -> bool {
        let is_given = |name: &str| !matches!(self.environment.find_path(name), Ok(None));
        target.operation.sends_entities(is_given)
    }

    /// GitLab's API, if the program runs in one of its jobs.
    ///
    /// # Errors
    /// What of GitLab's own variables is missing or can't be used.
    pub fn gitlab_api(&self) -> Result<GitLab, String> {
        GitLab::of(self.environment, &self.gitlab, self.network.allows_http())
    }

    /// The same, of any project: the program may run anywhere.
    ///
    /// # Errors
    /// What is missing or can't be used: the address or the token.
    pub fn gitlab_record(&self) -> Result<GitLab, String> {
        GitLab::anywhere(self.environment, &self.gitlab, self.network.allows_http())
    }

    /// The job that this is, as far as it is one of GitLab's.
    pub fn origin(&self) -> Origin {
        let id = |name: &str| self.environment.predefined(name).map(str::to_owned);
        Origin {
            project_id: id("CI_PROJECT_ID"),
            pipeline_id: id("CI_PIPELINE_ID"),
            job_id: id("CI_JOB_ID"),
        }
    }

    /// Where earlier attempts left their receipts, as artifacts name it.
    pub fn receipts_folder(&self) -> Option<PathBuf> {
        let project = self.environment.predefined("CI_PROJECT_DIR");
        facts::artifact_folder(project, self.policy.output_dir.as_deref()?)
    }

    /// The variables that templates may read beside those that are open to all.
    pub fn open(&self) -> &[String] {
        match &self.policy.template_env {
            Some(List(names)) => names,
            None => &[],
        }
    }

    /// The names that look like ours and are others'.
    pub fn ignored(&self) -> &[String] {
        match &self.policy.ignore {
            Some(List(names)) => names,
            None => &[],
        }
    }

    /// Tells of deployments of GitLab's record.
    pub fn teller(&self) -> Teller<'_> {
        Teller::new(self.environment, &self.literals, self.open(), declared())
    }

    /// The event in the making.
    pub fn resolver(&self) -> Resolver<'_> {
        let watched = self.gitlab.job.as_deref();
        Resolver::new(
            self.environment,
            &self.literals,
            watched,
            self.open(),
            &declared(),
            SystemTime::now(),
        )
    }

    /// The variables of a destination.
    pub fn find(&self, destination: &Destination) -> Unrendered {
        let reader = Reader {
            environment: self.environment,
            official_names: self.official_names,
            allow_http: self.network.allows_http(),
            literals: &self.literals,
        };
        reader.find(destination.variables())
    }

    /// A line for each variable of a destination that is set to something else under another tool's name, which is not read.
    pub fn passed_over(&self, destination: &Destination) -> Vec<String> {
        let of_one = |variable: &Variable| {
            let official = variable
                .official
                .filter(|name| self.official_names && *name != variable.name)?;
            let own = variable.find_in(self.environment).ok()??;
            let other = self.environment.find(official, variable.is_secret()).ok()??;
            let line = || format!("{official} is set to something else than {0}: {0} is used", own.name);
            (own.value != other.value).then(line)
        };
        destination.variables().filter_map(of_one).collect()
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
                match Target::parse(word) {
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
                .filter(|destination| !destination.credentials.is_empty())
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
                let mut credentials = destination.variables();
                credentials.any(|variable| {
                    // A credential that can't be read is one that somebody wanted to be read.
                    destination.credentials.contains(&variable.name)
                        && !matches!(variable.find_in(self.environment), Ok(None))
                })
            })
            .filter_map(|destination| destination.targets().next())
    }
}

/// The HTTP clients: GitLab's own trusts GitLab's root too.
pub struct Clients {
    services: Client,
    gitlab: Client,
}

impl Clients {
    /// The clients that `setup` asks for.
    ///
    /// # Errors
    /// Roots or proxies that can't be used.
    pub fn new(setup: &Setup) -> Result<Self, Vec<Problem>> {
        let attempt = setup.policy.attempt_timeout.0;
        let of_gitlab = setup.environment.predefined("CI_SERVER_TLS_CA_FILE");
        let services = Client::new(&setup.network, attempt, None)?;
        let gitlab = match of_gitlab {
            // A root that can't be read is no reason not to try without: it is GitLab's variable, not the user's.
            Some(_) => Client::new(&setup.network, attempt, of_gitlab).unwrap_or_else(|_| services.clone()),
            None => services.clone(),
        };
        Ok(Self { services, gitlab })
    }

    /// What delivers to the services.
    pub fn to_services<'a>(&'a self, console: &'a Console, limits: Limits) -> Courier<'a> {
        Courier {
            client: &self.services,
            console,
            limits,
        }
    }

    /// What asks GitLab: within half of the time, so that a GitLab that hangs holds up no event.
    pub fn to_gitlab<'a>(&'a self, console: &'a Console, limits: Limits) -> Courier<'a> {
        Courier {
            client: &self.gitlab,
            console,
            limits: limits.of_questions(),
        }
    }

    /// The same for who does nothing but ask, and write what comes of it.
    pub fn to_gitlab_throughout<'a>(&'a self, console: &'a Console, limits: Limits) -> Courier<'a> {
        Courier {
            client: &self.gitlab,
            console,
            limits,
        }
    }
}
