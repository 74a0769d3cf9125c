//! One run: which destinations, what is planned for each, how it went, how the job ends.

use std::{collections::BTreeMap, time::SystemTime};

use anyhow::{Context as _, Result};
use futures_util::future::join_all;
use tokio::time::Instant;

use crate::{
    cli,
    delivery::{
        client::{self, Client},
        courier::{Courier, Limits, Outcome, Session},
        curl,
        plan::Plan,
    },
    destinations::{self, Destination, Order, Target},
    environment::{Environment, Problem},
    event::{Action, Context, Event},
    gitlab::context,
    report::{
        class::{self, Class},
        console::Console,
        receipt::OutputFolder,
    },
    secret::Redactor,
    settings::{Network, OnError, Policy, Verbosity},
    variables::{self, Flag, Group, List, Reader, Variable},
};

/// Credentials of variables that we do not declare are hidden from this length on: a shorter one is a switch or a word
/// that happens to be called a token.
const SHORTEST_FOREIGN_SECRET: usize = 8;

/// Prints a text that holds no credentials.
///
/// # Errors
/// Standard output is closed.
pub fn print(text: &str) -> Result<u8> {
    Console::new(Redactor::default(), Verbosity::Normal)
        .output(text)
        .context("standard output can't be written to")?;
    Ok(0)
}

/// Says what of the command line was not understood.
pub fn usage_error(environment: &Environment, message: &str) {
    let console = Console::new(redactor(environment), Verbosity::Normal);
    console.line(&format!("notify-event: {message}"));
    console.line("notify-event: nothing was sent; `notify-event --help` shows what there is");
}

/// Says what should not have happened.
pub fn bug(environment: &Environment, error: &anyhow::Error) {
    Console::new(redactor(environment), Verbosity::Normal).line(&format!("notify-event: {error:#}"));
}

/// Everything that the environment says of a run, whatever it sends.
pub struct Setting<'a> {
    /// The process's variables.
    pub environment: &'a Environment,
    /// The contract's section 5.
    pub policy: Policy,
    /// The way to the services.
    pub network: Network,
    /// What prints.
    pub console: Console,
    /// What templates see.
    pub context: Context<'a>,
}

impl<'a> Setting<'a> {
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
        match (policy, network) {
            (Ok(policy), Ok(network)) => {
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
                })
            }
            (policy, network) => {
                let problems = [policy.err(), network.err()].into_iter().flatten().flatten().collect();
                // The policy on errors applies to this error too, if that variable is not the one at fault.
                let on_error = reader.read_one::<Policy, _>("NOTIFY_ON_ERROR").unwrap_or(OnError::Warn);
                let console = Console::new(redactor, Verbosity::Normal);
                Err((console, on_error, problems))
            }
        }
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
                    Ok(target) if targets.iter().any(|other| other.is_same(&target)) => {}
                    Ok(target) => targets.push(target),
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
        crate::event::EventVariables::VARIABLES,
        Policy::VARIABLES,
        Network::VARIABLES,
    ];
    let of_destinations = destinations::ALL
        .iter()
        .flat_map(|destination| destination.variables.iter().copied());
    own.into_iter().chain(of_destinations).flatten()
}

/// What hides every credential that the environment holds: the declared ones, however they are given, and whatever
/// else is called a token, a password or the like.
fn redactor(environment: &Environment) -> Redactor {
    let redactor = Redactor::default();
    for variable in declared().filter(|variable| variable.is_secret()) {
        for name in std::iter::once(variable.name).chain(variable.official) {
            if let Ok(Some(found)) = environment.find(name, true) {
                redactor.hide(&found.value);
                // A whole header line: its value alone is the credential.
                if let Some((_, value)) = found.value.split_once(':').filter(|_| name.ends_with("_HEADER")) {
                    redactor.hide(value);
                }
            }
        }
    }
    for (name, value) in environment.all() {
        let is_declared = declared().any(|variable| variable.is_secret() && variable.name == name);
        let is_foreign = context::is_credential(name) && value.len() >= SHORTEST_FOREIGN_SECRET;
        if (is_declared || is_foreign) && crate::environment::reference(value).is_none() {
            redactor.hide(value);
        }
    }
    redactor
}

/// Sends the event, or prints what would be sent, and returns the exit code.
///
/// # Errors
/// What no user can mend: standard output is closed, the clock or the runtime fails.
pub fn send(environment: &Environment, named: Vec<Target>, dry_run: bool) -> Result<u8> {
    let setting = match Setting::read(environment) {
        Ok(setting) => setting,
        Err((console, on_error, problems)) => {
            for problem in &problems {
                console.line(&format!("  {:<18} {problem}", Class::Misconfigured.word()));
            }
            return Ok(conclude(&console, on_error, Class::Misconfigured, "nothing was sent"));
        }
    };
    let console = &setting.console;
    let (targets, mut problems) = setting.targets(named);
    let event = match setting.context.event() {
        Ok(event) => Some(event),
        Err(of_event) => {
            problems.extend(of_event);
            None
        }
    };
    let folder = match &setting.policy.output_dir {
        None => None,
        Some(path) => match OutputFolder::create(path, console.redactor()) {
            Ok(folder) => Some(folder),
            Err(problem) => {
                problems.push(problem);
                None
            }
        },
    };
    let is_blocked = event.is_none() || (folder.is_none() && setting.policy.output_dir.is_some());
    console.info(&format!(
        "{}: {}",
        cli::version(),
        event.as_ref().map_or("no event".to_owned(), Event::summary)
    ));
    for problem in &problems {
        console.line(&format!("  {:<18} {problem}", Class::Misconfigured.word()));
    }
    let mut classes: Vec<Class> = problems.iter().map(|_| Class::Misconfigured).collect();
    let mut results = Vec::new();
    if let Some(event) = event.as_ref().filter(|_| !is_blocked) {
        let plans: Vec<Planned> = targets
            .iter()
            .map(|target| (*target, plan(&setting, target, event)))
            .collect();
        let Flag(dry_by_variable) = setting.policy.dry_run;
        if dry_run || dry_by_variable {
            return show(&setting, plans, classes);
        }
        results = deliver(&setting, plans)?;
    }
    classes.extend(
        results
            .iter()
            .filter(|(target, _)| !target.is_optional)
            .map(|(_, outcome)| outcome.class),
    );
    let worst = class::worst(classes);
    let code = class::exit_code(worst, setting.policy.on_error);
    if let Some(folder) = &folder
        && let Err(error) = folder.write_all(event.as_ref(), &results, code)
    {
        // Nothing of this can be undone: what was sent was sent.
        console.line(&format!("  NOTIFY_OUTPUT_DIR {}: {error}", folder.path().display()));
    }
    Ok(conclude(console, setting.policy.on_error, worst, &tally(&results)))
}

/// What a target has to do, or why it can't.
type Planned = (Target, Result<Plan, Vec<Problem>>);

/// What `target` has to do for `event`.
fn plan(setting: &Setting, target: &Target, event: &Event) -> Result<Plan, Vec<Problem>> {
    if let Some(List(words)) = setting.policy.only.as_ref().filter(|_| !target.operation.is_read) {
        let wanted = wanted(words, &event.name).map_err(|problem| vec![problem])?;
        let action = event.action().map_err(|problem| vec![problem])?;
        if !wanted.contains(action) {
            return Ok(Plan::skip(format!(
                "NOTIFY_ONLY={} leaves {action} out",
                words.join(",")
            )));
        }
    }
    let order = Order {
        operation: target.operation.name,
        event,
        reader: setting.reader(target),
    };
    let plan = (target.destination.plan)(&order)?;
    for secret in &plan.secrets {
        setting.console.redactor().hide(secret.expose());
    }
    let login = plan.login.as_ref().map(|login| &login.request);
    let problems: Vec<Problem> = login
        .into_iter()
        .chain(plan.steps.iter().map(|step| &step.request))
        .filter_map(|request| client::check(request).err())
        .collect();
    if problems.is_empty() { Ok(plan) } else { Err(problems) }
}

/// The actions of `NOTIFY_ONLY`. A word that is none but looks like one would silence everything without a sound.
fn wanted(words: &[String], event_name: &str) -> Result<Vec<Action>, Problem> {
    words
        .iter()
        .map(|word| match Action::from_word(word) {
            Action::Other(other) if event_name == "deployment" => Err(Problem::new(
                "NOTIFY_ONLY",
                variables::unknown_word(&other, Action::WORDS),
            )),
            action => Ok(action),
        })
        .collect()
}

/// Prints what would be sent.
fn show(setting: &Setting, plans: Vec<Planned>, mut classes: Vec<Class>) -> Result<u8> {
    let console = &setting.console;
    let mut logged_in: Vec<&str> = Vec::new();
    for (target, plan) in plans {
        let label = target.label();
        match plan {
            Ok(plan) => {
                for note in &plan.notes {
                    console.info(&format!("  {label:<18} {note}"));
                }
                if let Some(reason) = &plan.skip {
                    console.info(&format!("  {label:<18} {}: {reason}", Class::Skipped.word()));
                } else {
                    let is_first = !logged_in.contains(&target.destination.name);
                    console
                        .output(&curl::render(&label, &plan, is_first))
                        .context("standard output can't be written to")?;
                    logged_in.push(target.destination.name);
                }
            }
            Err(problems) => {
                for problem in problems {
                    console.line(&format!("  {label:<18} {}: {problem}", Class::Misconfigured.word()));
                }
                if !target.is_optional {
                    classes.push(Class::Misconfigured);
                }
            }
        }
    }
    let worst = class::worst(classes);
    Ok(conclude(
        console,
        setting.policy.on_error,
        worst,
        "dry run, nothing was sent",
    ))
}

/// Sends all plans: those of one destination one after the other, the destinations at the same time.
fn deliver(setting: &Setting, plans: Vec<Planned>) -> Result<Vec<(Target, Outcome)>> {
    let console = &setting.console;
    let policy = &setting.policy;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime can't be started")?;
    let client = match Client::new(&setting.network, policy.attempt_timeout.0) {
        Ok(client) => client,
        Err(problems) => {
            let why = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            return Ok(plans
                .into_iter()
                .map(|(target, _)| {
                    let outcome = Outcome::unsent(Class::Misconfigured, why.clone(), None);
                    report(console, &target, &outcome);
                    (target, outcome)
                })
                .collect());
        }
    };
    // One lane a destination: what follows may need what went before, as a deployment needs its release.
    let mut lanes: BTreeMap<usize, Vec<(usize, Planned)>> = BTreeMap::new();
    for (place, (target, plan)) in plans.into_iter().enumerate() {
        let lane = destinations::ALL
            .iter()
            .position(|destination: &&Destination| destination.name == target.destination.name)
            .unwrap_or_default();
        lanes.entry(lane).or_default().push((place, (target, plan)));
    }
    let mut results = runtime.block_on(async {
        let courier = Courier {
            client: &client,
            console,
            limits: Limits {
                deadline: Instant::now() + policy.timeout.0,
                budget: policy.timeout.0,
                attempt: policy.attempt_timeout.0,
                attempts: policy.attempts.0,
            },
        };
        let courier = &courier;
        let lanes = lanes.into_values().map(|lane| async move {
            let session = Session::default();
            let mut results = Vec::new();
            for (place, (target, plan)) in lane {
                let label = target.label();
                let outcome = match plan {
                    Ok(plan) => {
                        for note in &plan.notes {
                            console.info(&format!("  {label:<18} {note}"));
                        }
                        courier.deliver(&label, plan, &session).await
                    }
                    Err(problems) => {
                        let why = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                        Outcome::unsent(Class::Misconfigured, why, None)
                    }
                };
                report(console, &target, &outcome);
                results.push((place, target, outcome));
            }
            results
        });
        join_all(lanes).await.into_iter().flatten().collect::<Vec<_>>()
    });
    // What a request left running (a name's resolution, say) is not waited for.
    runtime.shutdown_background();
    results.sort_by_key(|(place, ..)| *place);
    for (_, _, outcome) in &results {
        if let Some(json) = &outcome.json {
            let json = console.redactor().json(json);
            console
                .output(&json.to_string())
                .context("standard output can't be written to")?;
        }
    }
    Ok(results
        .into_iter()
        .map(|(_, target, outcome)| (target, outcome))
        .collect())
}

/// One line for one destination.
fn report(console: &Console, target: &Target, outcome: &Outcome) {
    let mut facts = Vec::new();
    facts.extend(outcome.identifier.clone());
    facts.extend(outcome.status.map(|status| format!("HTTP {status}")));
    if outcome.attempts > 1 {
        facts.push(format!("{} attempts", outcome.attempts));
    }
    if outcome.attempts > 0 {
        facts.push(format!("{} ms", outcome.elapsed.as_millis()));
    }
    if outcome.class.is_failure() {
        facts.extend(outcome.request_id.as_ref().map(|id| format!("request id {id}")));
    }
    let facts = if facts.is_empty() {
        String::new()
    } else {
        format!(" ({})", facts.join(", "))
    };
    let optional = if target.is_optional && outcome.class.is_failure() {
        ", optional"
    } else {
        ""
    };
    let detail = outcome
        .detail
        .as_ref()
        .map(|detail| format!(": {detail}"))
        .unwrap_or_default();
    let line = format!(
        "  {:<18} {}{optional}{facts}{detail}",
        target.label(),
        outcome.class.word()
    );
    if outcome.class.is_failure() {
        console.line(&line);
    } else {
        console.info(&line);
    }
}

/// How many ended how.
fn tally(results: &[(Target, Outcome)]) -> String {
    let counts: Vec<String> = Class::ALL
        .iter()
        .filter_map(|class| {
            let count = results.iter().filter(|(_, outcome)| outcome.class == *class).count();
            (count > 0).then(|| format!("{count} {}", class.word()))
        })
        .collect();
    if counts.is_empty() {
        "nothing was sent".to_owned()
    } else {
        counts.join(", ")
    }
}

/// The last line: how the job ends, and why.
fn conclude(console: &Console, on_error: OnError, worst: Class, what: &str) -> u8 {
    let code = class::exit_code(worst, on_error);
    let end = if worst.is_failure() {
        match on_error {
            OnError::Warn => format!(
                "exit {code} ({}): with the template's allow_failure a warning, and the pipeline goes on",
                worst.word()
            ),
            OnError::Fail => format!("exit {code} ({}), because of NOTIFY_ON_ERROR=fail", worst.word()),
            OnError::Ignore => format!(
                "exit {code}, the failure ({}) ignored by NOTIFY_ON_ERROR=ignore",
                worst.word()
            ),
        }
    } else {
        format!("exit {code}")
    };
    let line = format!("notify-event: {what}; {end}");
    console.line(&line);
    code
}
