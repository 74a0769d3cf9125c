//! The runner: what `send`, `check` and `replay` have in common. It makes ready, reports each end in a line, and ends the
//! job; what it delivers is [`dispatch`](super::dispatch)'s.

use std::future::Future;

use anyhow::{Context as _, Result};

use super::{
    doubt::{self, Doubt},
    setup::{Clients, Ending, Setup, Unusable, redactor},
    stop::Stop,
    unread,
};
use crate::{
    delivery::{client, limits::Limits, plan::Plan, result::DeliveryResult},
    destinations::{Context, Target, no_word_for},
    entities::Entities,
    environment::Environment,
    event::{Action, ActionSource, Event},
    problem::{Problem, Unmade},
    receipts::folder::OutputFolder,
    redaction::Redactor,
    report::{
        class::{self, Class},
        console::Console,
    },
    settings::{OnError, Verbosity},
    variables::{List, Values, unknown_word},
};

/// What can't be known without GitLab's jobs.
pub const CANT_KNOW: &str = "whether an earlier attempt of this job has sent this can't be known";

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

/// Ends a run that can't begin. `what` says what it means.
pub fn give_up(unusable: &Unusable, what: &str) -> u8 {
    complain(&unusable.console, &unusable.problems);
    conclude(&unusable.console, unusable.ending, Class::Misconfigured, what)
}

/// Prints what is wrong with variables that concern no single destination.
pub fn complain(console: &Console, problems: &[Problem]) {
    for problem in problems {
        console.line(&format!("  {:<18} {problem}", Class::Misconfigured.word()));
    }
}

/// Tells of names that nothing reads, but for those that `problems` and `deliveries` tell of.
pub fn tell_unread(setup: &Setup, problems: &[Problem], deliveries: &[Delivery]) {
    let unmade = deliveries.iter().filter_map(|delivery| delivery.plan.as_ref().err());
    let wrong = problems.iter().map(|problem| problem.variable.as_str());
    let told: Vec<&str> = unmade.flat_map(Unmade::variables).chain(wrong).collect();
    unread::tell(setup, &told);
}

/// What a run works with.
pub struct Runner<'a> {
    /// What the environment says.
    pub setup: &'a Setup<'a>,
    /// What it may cost.
    pub limits: Limits,
    /// What sends; none where it can't be made.
    pub clients: Option<Clients>,
    /// Where the run leaves what it leaves, if anywhere.
    pub folder: Option<OutputFolder>,
    /// Whether somebody wants it to end.
    pub stop: Stop,
}

/// One delivery to make.
pub struct Delivery<'e> {
    /// Where it goes.
    pub target: Target,
    /// What goes there.
    pub event: Option<&'e Event>,
    /// What was read for it.
    pub values: Values,
    /// What has to be done, or why it can't.
    pub plan: Result<Plan, Unmade>,
    /// Whether an earlier attempt may have made it; a plan tells that itself, and where there is none it must not be lost.
    pub in_doubt: bool,
    /// A line to print when its turn comes.
    pub heading: Option<String>,
    /// The entities of a file that go there instead of the event, once the file is checked.
    pub entities: Option<Entities>,
}

/// A delivery that has ended.
pub struct Ended {
    /// Where it went.
    pub target: Target,
    /// How it ended.
    pub result: DeliveryResult,
}

impl<'a> Runner<'a> {
    /// Makes ready, and tells what is wrong with that. `reads` are the targets whose answers go into the output folder;
    /// where `sends` is false none of it is opened, and the run can be ended at any moment.
    pub fn new(setup: &'a Setup<'a>, reads: &[Target], sends: bool) -> (Self, Vec<Problem>) {
        let mut problems = Vec::new();
        // Before anything is written: from here on nothing may be left half done.
        let stop = if sends { Stop::listen() } else { Stop::never() };
        let clients = match Clients::new(setup) {
            Ok(clients) => Some(clients),
            Err(of_network) => {
                problems.extend(of_network);
                None
            }
        };
        let folder = setup.policy.output_dir.as_ref().filter(|_| sends).and_then(|path| {
            let folder = OutputFolder::create(path, setup.origin(), reads, setup.console.redactor());
            folder.map_err(|problem| problems.push(problem)).ok()
        });
        let runner = Self {
            setup,
            limits: setup.limits(),
            clients,
            folder,
            stop,
        };
        (runner, problems)
    }
}

/// What `target` has to do for `event`, by the `values` of its destination; `doubt` is what is not known of earlier
/// attempts at it.
///
/// # Errors
/// Why that can't be said: what is wrong, or that nothing happened that could be told.
pub fn plan(
    setup: &Setup,
    target: &Target,
    event: &Event,
    values: &Values,
    is_replay: bool,
    doubt: Option<&Doubt>,
) -> Result<Plan, Unmade> {
    if let Some(List(words)) = setup.policy.only.as_ref().filter(|_| !target.operation.is_read) {
        let wanted = wanted(words, &event.name)?;
        let action = event.action()?;
        // What is left open may become any of them.
        if !wanted.contains(action) && action != &Action::Open {
            return Ok(Plan::skip(format!(
                "NOTIFY_ONLY={} leaves {action} out",
                words.join(",")
            )));
        }
    }
    // What a job's own end says counts for everything that would tell of it, in whatever words.
    if let (Err(why @ Unmade::Nothing(_)), ActionSource::JobStatus) = (&event.action, &event.action_source)
        && target.operation.tells(|name| values.is_given(name))
    {
        return Err(why.clone());
    }
    if let Ok(Action::Other(word)) = &event.action
        && target.operation.needs_action(|name| values.is_given(name))
        && !target.operation.takes_word(word)
    {
        return Err(no_word_for(target, word).into());
    }
    let plan = (target.destination.plan)(&Context {
        operation: target.operation.name,
        event,
        values,
        is_replay,
        in_doubt_since: doubt.map(|doubt| doubt.since),
    })?;
    let login = plan.login.as_ref().map(|login| &login.request);
    let problems: Vec<Problem> = login
        .into_iter()
        .chain(plan.steps.iter().map(|step| &step.request))
        .filter_map(|request| client::check(request).err())
        .collect();
    if !problems.is_empty() {
        return Err(problems.into());
    }
    Ok(match doubt {
        Some(doubt) => doubt::resolve(plan, target, values, doubt, setup.policy.on_doubt),
        None => plan,
    })
}

/// The actions of `NOTIFY_ONLY`. A word that is none but looks like one would silence everything without a sound.
fn wanted(words: &[String], event_name: &str) -> Result<Vec<Action>, Problem> {
    words
        .iter()
        .map(|word| {
            let action = Action::from_word(word);
            let is_own = matches!(action, Action::Other(_));
            if is_own && (event_name == "deployment" || action.meant().is_some()) {
                return Err(Problem::new("NOTIFY_ONLY", unknown_word(word, Action::WORDS)));
            }
            Ok(action)
        })
        .collect()
}

/// The classes that count for the exit code.
pub fn of_required(ended: &[Ended]) -> impl Iterator<Item = Class> {
    ended
        .iter()
        .filter(|one| !one.target.is_optional)
        .map(|one| one.result.class)
}

/// One line for one delivery.
pub fn report(console: &Console, ended: &Ended) {
    let Ended { target, result, .. } = ended;
    let mut facts = Vec::new();
    facts.extend(result.identifier.clone());
    facts.extend(result.status.map(|status| format!("HTTP {status}")));
    if result.attempts > 1 {
        facts.push(format!("{} attempts", result.attempts));
    }
    if result.attempts > 0 {
        facts.push(format!("{} ms", result.elapsed.as_millis()));
    }
    if result.class.is_failure() {
        facts.extend(result.request_id.as_ref().map(|id| format!("request id {id}")));
    }
    let facts = if facts.is_empty() {
        String::new()
    } else {
        format!(" ({})", facts.join(", "))
    };
    let optional = if target.is_optional && result.class.is_failure() {
        ", optional"
    } else {
        ""
    };
    let detail = result.detail.as_ref().map(|detail| format!(": {detail}"));
    let line = format!(
        "  {:<18} {}{optional}{facts}{}",
        target.label(),
        result.class.word(),
        detail.unwrap_or_default()
    );
    if result.class.is_failure() {
        console.line(&line);
    } else {
        console.info(&line);
    }
}

/// How many ended how.
pub fn tally(ended: &[Ended]) -> String {
    let counts: Vec<String> = Class::ALL
        .iter()
        .filter_map(|class| {
            let count = ended.iter().filter(|one| one.result.class == *class).count();
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
pub fn conclude(console: &Console, ending: Ending, worst: Class, what: &str) -> u8 {
    let code = class::exit_code(worst, ending.on_error);
    let meaning = |elsewhere: &'static str| {
        if ending.is_after_script {
            "GitLab ignores the exit code of an after_script, unless AFTER_SCRIPT_IGNORE_ERRORS is false"
        } else {
            elsewhere
        }
    };
    let end = if worst.is_failure() {
        match ending.on_error {
            OnError::Warn => format!(
                "exit {code} ({}): {}",
                worst.word(),
                meaning("with the template's allow_failure a warning, and the pipeline goes on")
            ),
            OnError::Fail => format!(
                "exit {code} ({}), because of NOTIFY_ON_ERROR=fail: {}",
                worst.word(),
                meaning("the pipeline fails where the job has allow_failure: false")
            ),
            OnError::Ignore => format!(
                "exit {code}, the failure ({}) ignored by NOTIFY_ON_ERROR=ignore",
                worst.word()
            ),
        }
    } else {
        format!("exit {code}")
    };
    console.line(&format!("notify-event: {what}; {end}"));
    code
}
