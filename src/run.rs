//! One run: which destinations, what is planned for each, how it went, how the job ends.

use std::{collections::BTreeMap, future::Future, io};

use anyhow::{Context as _, Result};
use futures_util::future::join_all;

use crate::{
    cli,
    delivery::{
        client::{self, Client},
        courier::{Courier, Limits, Outcome, Session},
        curl,
        plan::Plan,
    },
    destinations::{Order, Target},
    environment::{Environment, Problem},
    event::{Action, Event},
    gitlab::{
        lookup::Lookup,
        once::{self, Decision},
    },
    report::{
        class::{self, Class},
        console::Console,
        receipt::{OutputFolder, Receipt},
    },
    secret::Redactor,
    settings::{OnError, Verbosity},
    setup::{Setup, redactor},
    undelivered::{self, Undelivered},
    variables::{self, List, Reader},
};

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

/// A runtime of one thread for `work`. What a request left running (a name's resolution, say) is not waited for.
///
/// # Errors
/// The runtime can't be started.
pub fn block_on<T>(work: impl Future<Output = T>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime can't be started")?;
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    Ok(result)
}

/// Sends the event, or prints what would be sent, and returns the exit code.
///
/// # Errors
/// What no user can mend: standard output is closed, the clock or the runtime fails.
pub fn send(environment: &Environment, named: Vec<Target>, dry_run: bool) -> Result<u8> {
    match Setup::read(environment) {
        Ok(setup) => block_on(run(setup, named, dry_run))?,
        Err((console, on_error, problems)) => Ok(give_up(&console, on_error, &problems, "nothing was sent")),
    }
}

/// Ends a run that can't begin.
pub fn give_up(console: &Console, on_error: OnError, problems: &[Problem], what: &str) -> u8 {
    complain(console, problems);
    conclude(console, on_error, Class::Misconfigured, what)
}

async fn run(mut setup: Setup<'_>, named: Vec<Target>, dry_run: bool) -> Result<u8> {
    let dry_run = dry_run || setup.policy.dry_run.0;
    let limits = setup.limits();
    let (targets, mut problems) = setup.targets(named);
    let names_are_wrong = !problems.is_empty();
    let clients = match Clients::new(&setup) {
        Ok(clients) => Some(clients),
        Err(of_network) => {
            problems.extend(of_network);
            None
        }
    };
    let folder = match &setup.policy.output_dir {
        Some(path) if !dry_run => match OutputFolder::create(path, setup.job_id(), setup.console.redactor()) {
            Ok(folder) => {
                undelivered::forget_other_jobs(&setup, &folder);
                Some(folder)
            }
            Err(problem) => {
                problems.push(problem);
                None
            }
        },
        _ => None,
    };
    let can_send = clients.is_some() && (folder.is_some() || setup.policy.output_dir.is_none() || dry_run);
    let round = match &clients {
        Some(clients) if can_send => {
            let console = setup.console.clone();
            let courier = clients.to_gitlab(&console, limits);
            let lookup = Lookup::new(setup.gitlab_api(), Some(&courier).filter(|_| !dry_run));
            let mut round = Round::plan(&mut setup, &targets, &lookup).await;
            if !dry_run {
                round.leave_out_delivered(&setup, &lookup).await;
            }
            round
        }
        _ => Round::without_plans(&setup),
    };
    problems.extend(round.problems);
    let event = round.event;
    let console = &setup.console;
    console.info(&format!(
        "{}: {}",
        cli::version(),
        event.as_ref().map_or("no event".to_owned(), Event::summary)
    ));
    if let Some(hint) = event.as_ref().and_then(misspelled) {
        console.line(&hint);
    }
    complain(console, &problems);
    // What is wrong with the event or the folder keeps every target from being sent to; if all are optional, so is that.
    let is_all_optional = !targets.is_empty() && targets.iter().all(|target| target.is_optional) && !names_are_wrong;
    let mut classes: Vec<Class> = problems.iter().map(|_| Class::Misconfigured).collect();
    if is_all_optional {
        classes.clear();
    }
    if dry_run {
        return show(&setup, round.plans, classes);
    }
    let results = match &clients {
        Some(clients) => deliver(&clients.to_services(console, limits), round.plans).await?,
        None => Vec::new(),
    };
    classes.extend(of_required(&results));
    let worst = class::worst(classes);
    let code = class::exit_code(worst, setup.policy.on_error);
    if let Some(folder) = &folder {
        let receipts: Vec<Receipt> = results
            .iter()
            .map(|(target, outcome)| Receipt {
                target,
                outcome,
                event: event.as_ref(),
            })
            .collect();
        let written = folder
            .write_receipts(event.as_ref(), &receipts, code)
            .and_then(|()| keep_undelivered(&setup, folder, event.as_ref(), &results));
        if let Err(error) = written {
            // Nothing of this can be undone: what was sent was sent.
            console.line(&format!("  NOTIFY_OUTPUT_DIR {}: {error}", folder.path().display()));
        }
    }
    Ok(conclude(console, setup.policy.on_error, worst, &tally(&results)))
}

/// The classes that count for the exit code.
pub fn of_required(results: &[(Target, Outcome)]) -> impl Iterator<Item = Class> {
    results
        .iter()
        .filter(|(target, _)| !target.is_optional)
        .map(|(_, outcome)| outcome.class)
}

/// Prints what is wrong with variables that concern no single destination.
pub fn complain(console: &Console, problems: &[Problem]) {
    for problem in problems {
        console.line(&format!("  {:<18} {problem}", Class::Misconfigured.word()));
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
}

/// What a target has to do, or why it can't.
pub type Planned = (Target, Result<Plan, Vec<Problem>>);

/// The event and everybody's plan for it.
struct Round {
    event: Option<Event>,
    plans: Vec<Planned>,
    problems: Vec<Problem>,
}

impl Round {
    /// Plans for every target. Where that takes something that only GitLab's jobs can tell, they are read, and it is
    /// planned again: most events need no such question.
    async fn plan(setup: &mut Setup<'_>, targets: &[Target], lookup: &Lookup<'_>) -> Self {
        if setup.mentions_changes() {
            let (environment, now) = setup.context.place_and_time();
            let changes = lookup.changes(environment.as_deref(), &now).await;
            if changes.as_ref().is_ok_and(|changes| changes["count"].is_null()) {
                setup.console.info(&format!(
                    "  {:<18} changes.count and changes.merge_requests are absent: GitLab has no deployment of this \
                     pipeline to the environment, or does not show what it brought",
                    "GitLab"
                ));
            }
            if let Err(why) = &changes {
                setup
                    .console
                    .info(&format!("  {:<18} changes.* are absent: {why}", "GitLab"));
            }
            setup.context.changed(changes);
        }
        setup.context.take_asked();
        let (round, asked) = Self::once(setup, targets);
        if !asked.contains(&true) {
            return round;
        }
        setup.context.told(lookup.outcome().await);
        let (mut round, _) = Self::once(setup, targets);
        if let Some(why) = setup.context.nothing_to_report() {
            for ((_, plan), asked) in round.plans.iter_mut().zip(asked) {
                if asked {
                    *plan = Ok(Plan::skip(why));
                }
            }
        }
        round
    }

    /// Plans with what is known, and tells which of the targets would want to know more.
    fn once(setup: &Setup, targets: &[Target]) -> (Self, Vec<bool>) {
        let event = match setup.context.event() {
            Ok(event) => event,
            Err(problems) => {
                let round = Self {
                    event: None,
                    plans: Vec::new(),
                    problems,
                };
                return (round, vec![setup.context.take_asked(); targets.len()]);
            }
        };
        let for_all = setup.context.take_asked();
        let mut asked = Vec::new();
        let mut plans = Vec::new();
        for target in targets {
            plans.push((*target, plan(setup, target, &event, &setup.reader(target), false)));
            asked.push(setup.context.take_asked() || for_all);
        }
        let round = Self {
            event: Some(event),
            plans,
            problems: Vec::new(),
        };
        (round, asked)
    }

    /// A round in which nothing can be sent.
    fn without_plans(setup: &Setup) -> Self {
        let (event, problems) = match setup.context.event() {
            Ok(event) => (Some(event), Vec::new()),
            Err(problems) => (None, problems),
        };
        Self {
            event,
            plans: Vec::new(),
            problems,
        }
    }

    /// Where an operation adds or triggers something: leaves out what earlier attempts of this job have delivered.
    async fn leave_out_delivered(&mut self, setup: &Setup<'_>, lookup: &Lookup<'_>) {
        let is_concerned =
            |(target, plan): &Planned| target.operation.is_once && plan.as_ref().is_ok_and(|plan| plan.skip.is_none());
        let Some(event) = &self.event else { return };
        if !self.plans.iter().any(is_concerned) || setup.gitlab_api().is_err() {
            return;
        }
        let console = &setup.console;
        let attempts = match lookup.attempts(setup.receipts_folder().as_deref()).await {
            Ok(attempts) => attempts,
            Err(why) => {
                console.info(&format!("  {:<18} {CANT_KNOW}: {why}", "GitLab"));
                return;
            }
        };
        for planned in self.plans.iter_mut().filter(|planned| is_concerned(planned)) {
            let (target, plan) = planned;
            match once::decide(&attempts, target, event, setup.policy.on_error, console.redactor()) {
                Decision::Send => {}
                Decision::SendUnsure(why) => console.info(&format!("  {:<18} {why}", target.label())),
                Decision::Skip(why) => {
                    *plan = Ok(Plan::skip(why));
                    continue;
                }
            }
            let done = once::done(&attempts, target, event, console.redactor());
            if !done.is_empty() {
                let rest = setup
                    .environment
                    .with_kept(BTreeMap::new(), |name| done.contains(&name));
                let reader = Reader {
                    environment: &rest,
                    ..setup.reader(target)
                };
                *plan = self::plan(setup, target, event, &reader, false).map(|mut plan| {
                    plan.settled.extend(done.iter().map(|name| (*name, String::new())));
                    plan
                });
            }
        }
    }
}

/// What can't be known without GitLab's jobs.
pub const CANT_KNOW: &str = "whether an earlier attempt of this job has sent this can't be known";

/// What `target` has to do for `event`, by the variables that `reader` finds.
pub fn plan(
    setup: &Setup,
    target: &Target,
    event: &Event,
    reader: &Reader,
    is_replay: bool,
) -> Result<Plan, Vec<Problem>> {
    if let Some(List(words)) = setup.policy.only.as_ref().filter(|_| !target.operation.is_read) {
        let wanted = wanted(words, &event.name).map_err(|problem| vec![problem])?;
        let action = event.action().map_err(|problem| vec![problem])?;
        if !wanted.contains(action) {
            return Ok(Plan::skip(format!(
                "NOTIFY_ONLY={} leaves {action} out",
                words.join(",")
            )));
        }
    }
    let plan = ordered(setup, target, target.operation.name, event, reader, is_replay)?;
    let login = plan.login.as_ref().map(|login| &login.request);
    let problems: Vec<Problem> = login
        .into_iter()
        .chain(plan.steps.iter().map(|step| &step.request))
        .filter_map(|request| client::check(request).err())
        .collect();
    if problems.is_empty() { Ok(plan) } else { Err(problems) }
}

/// The plan of `target`'s service for an operation. Credentials that it found on the way are hidden from then on.
pub fn ordered(
    setup: &Setup,
    target: &Target,
    operation: &'static str,
    event: &Event,
    reader: &Reader,
    is_replay: bool,
) -> Result<Plan, Vec<Problem>> {
    let order = Order {
        operation,
        event,
        reader: *reader,
        is_replay,
    };
    let plan = (target.destination.plan)(&order)?;
    for secret in &plan.secrets {
        setup.console.redactor().hide(secret.expose());
    }
    Ok(plan)
}

/// A word for a deployment's action that nobody knows, but that looks like one that everybody does. It is sent: CTO.ai
/// takes any.
fn misspelled(event: &Event) -> Option<String> {
    let word = event.known_action().filter(|word| !Action::WORDS.contains(word))?;
    let near = variables::nearest(word, Action::WORDS.iter().copied()).filter(|_| event.name == "deployment")?;
    Some(format!("  EVENT_ACTION is `{word}`; did you mean `{near}`?"))
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
fn show(setup: &Setup, plans: Vec<Planned>, mut classes: Vec<Class>) -> Result<u8> {
    let console = &setup.console;
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
        setup.policy.on_error,
        worst,
        "dry run, nothing was sent",
    ))
}

/// Sends all plans: those of one destination one after the other, the destinations at the same time.
async fn deliver(courier: &Courier<'_>, plans: Vec<Planned>) -> Result<Vec<(Target, Outcome)>> {
    // One lane a destination: what follows may need what went before, as a deployment needs its release.
    let mut lanes: BTreeMap<&str, Vec<(usize, Planned)>> = BTreeMap::new();
    for (place, planned) in plans.into_iter().enumerate() {
        lanes
            .entry(planned.0.destination.name)
            .or_default()
            .push((place, planned));
    }
    let lanes = lanes.into_values().map(|lane| async move {
        let session = Session::default();
        let mut results = Vec::new();
        for (place, (target, plan)) in lane {
            results.push((place, (target, carry_out(courier, &target, plan, &session).await)));
        }
        results
    });
    let mut results: Vec<_> = join_all(lanes).await.into_iter().flatten().collect();
    results.sort_by_key(|(place, _)| *place);
    let results: Vec<_> = results.into_iter().map(|(_, result)| result).collect();
    for (_, outcome) in &results {
        if let Some(json) = &outcome.json {
            let json = courier.console.redactor().json(json);
            courier
                .console
                .output(&json.to_string())
                .context("standard output can't be written to")?;
        }
    }
    Ok(results)
}

/// Sends one plan and reports how it ended.
pub async fn carry_out(
    courier: &Courier<'_>,
    target: &Target,
    plan: Result<Plan, Vec<Problem>>,
    session: &Session,
) -> Outcome {
    let label = target.label();
    let outcome = match plan {
        Ok(plan) => {
            for note in &plan.notes {
                courier.console.info(&format!("  {label:<18} {note}"));
            }
            courier.deliver(&label, plan, session).await
        }
        Err(problems) => misconfigured(&problems),
    };
    report(courier.console, target, &outcome);
    outcome
}

/// The outcome of a target whose variables can't be used.
pub fn misconfigured(problems: &[Problem]) -> Outcome {
    let why: Vec<String> = problems.iter().map(ToString::to_string).collect();
    Outcome::unsent(Class::Misconfigured, why.join("; "), None)
}

/// Keeps what could not be delivered, for a replay.
fn keep_undelivered(
    setup: &Setup,
    folder: &OutputFolder,
    event: Option<&Event>,
    results: &[(Target, Outcome)],
) -> io::Result<()> {
    let Some(event) = event else { return Ok(()) };
    for (target, outcome) in results {
        if outcome.class.is_failure() && !outcome.is_accepted && !target.operation.is_read {
            let kept = Undelivered::keep(setup, target, event, outcome);
            let name = folder.write_undelivered(&kept.file_name(), &kept.to_json())?;
            setup.console.info(&format!(
                "  {:<18} kept for `notify-event replay` in {name}",
                target.label()
            ));
        }
    }
    Ok(())
}

/// One line for one destination.
pub fn report(console: &Console, target: &Target, outcome: &Outcome) {
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
pub fn tally(results: &[(Target, Outcome)]) -> String {
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
pub fn conclude(console: &Console, on_error: OnError, worst: Class, what: &str) -> u8 {
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
