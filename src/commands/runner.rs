//! The runner: what `send`, `check` and `replay` have in common. It makes ready, delivers side by side (what goes to the
//! same service one after the other), reports each end in a line, writes receipts, and ends the job.

use std::{collections::BTreeMap, future::Future};

use anyhow::{Context as _, Result};
use futures_util::future::join_all;

use super::setup::{Clients, Setup, Unusable, redactor};
use crate::{
    delivery::{
        client,
        courier::{Courier, Limits, Session},
        plan::Plan,
        result::DeliveryResult,
    },
    destinations::{Context, Target},
    environment::Environment,
    event::{Action, Event},
    problem::{Problem, Unmade},
    receipts::{
        folder::{Finished, OutputFolder},
        undelivered::Undelivered,
    },
    redaction::Redactor,
    report::{
        class::{self, Class},
        console::Console,
    },
    settings::{OnError, Verbosity},
    text::nearest,
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
    conclude(&unusable.console, unusable.on_error, Class::Misconfigured, what)
}

/// Prints what is wrong with variables that concern no single destination.
pub fn complain(console: &Console, problems: &[Problem]) {
    for problem in problems {
        console.line(&format!("  {:<18} {problem}", Class::Misconfigured.word()));
    }
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
    /// A line to print when its turn comes.
    pub heading: Option<String>,
}

/// A delivery that has ended.
pub struct Ended<'e> {
    /// Where it went.
    pub target: Target,
    /// What went there.
    pub event: Option<&'e Event>,
    /// What was read for it.
    pub values: Values,
    /// Why there was no plan, if there was none.
    pub unmade: Option<Unmade>,
    /// How it ended.
    pub result: DeliveryResult,
}

impl<'a> Runner<'a> {
    /// Makes ready, and tells what is wrong with that. `reads` are the targets whose answers go into the output folder;
    /// none of it is opened where `leaves_files` is false.
    pub fn new(setup: &'a Setup<'a>, reads: &[Target], leaves_files: bool) -> (Self, Vec<Problem>) {
        let mut problems = Vec::new();
        let clients = match Clients::new(setup) {
            Ok(clients) => Some(clients),
            Err(of_network) => {
                problems.extend(of_network);
                None
            }
        };
        let folder = setup
            .policy
            .output_dir
            .as_ref()
            .filter(|_| leaves_files)
            .and_then(|path| {
                let folder = OutputFolder::create(path, setup.origin(), reads, setup.console.redactor());
                folder.map_err(|problem| problems.push(problem)).ok()
            });
        let runner = Self {
            setup,
            limits: setup.limits(),
            clients,
            folder,
        };
        (runner, problems)
    }

    /// Delivers, side by side, what goes to one service one after the other. `report` is called as each ends, with its
    /// place among `deliveries`; what comes back is in their order.
    ///
    /// # Errors
    /// Standard output is closed.
    pub async fn deliver<'e>(
        &self,
        deliveries: Vec<Delivery<'e>>,
        report: &dyn Fn(usize, &Ended<'e>),
    ) -> Result<Vec<Ended<'e>>> {
        let console = &self.setup.console;
        let Some(clients) = &self.clients else {
            return Ok(Vec::new());
        };
        let courier = clients.to_services(console, self.limits);
        let mut lanes: BTreeMap<&str, Vec<(usize, Delivery)>> = BTreeMap::new();
        for (place, delivery) in deliveries.into_iter().enumerate() {
            let lane = lanes.entry(delivery.target.destination.name).or_default();
            lane.push((place, delivery));
        }
        let lanes = lanes.into_values().map(|lane| async {
            let mut session = Session::default();
            let mut ended = Vec::new();
            for (place, delivery) in lane {
                let one = carry_out(&courier, delivery, &mut session).await;
                report(place, &one);
                ended.push((place, one));
            }
            ended
        });
        let mut ended: Vec<(usize, Ended)> = join_all(lanes).await.into_iter().flatten().collect();
        ended.sort_by_key(|(place, _)| *place);
        let ended: Vec<Ended> = ended.into_iter().map(|(_, one)| one).collect();
        for json in ended.iter().filter_map(|one| one.result.json.as_ref()) {
            let json = console.redactor().json(json);
            console
                .output(&json.to_string())
                .context("standard output can't be written to")?;
        }
        Ok(ended)
    }

    /// Writes what the run leaves behind. `event` is the one that it was about, if it was one. Nothing of this can undo
    /// what was sent, so what goes wrong is only told.
    pub fn leave(&self, event: Option<&Event>, ended: &[Ended], exit_code: u8) {
        let Some(folder) = &self.folder else { return };
        let finished: Vec<Finished> = ended
            .iter()
            .map(|one| Finished {
                target: &one.target,
                event: one.event,
                result: &one.result,
            })
            .collect();
        if let Err(error) = folder.write_receipt(event, &finished, exit_code) {
            let path = folder.path().display();
            self.setup.console.line(&format!("  NOTIFY_OUTPUT_DIR {path}: {error}"));
        }
    }

    /// Keeps what could not be delivered, for a replay.
    pub fn keep_undelivered(&self, ended: &[Ended]) {
        let Some(folder) = &self.folder else { return };
        let console = &self.setup.console;
        for one in ended {
            let is_lost = one.result.class.is_failure() && !one.result.is_accepted && !one.target.operation.is_read;
            let Some(event) = one.event.filter(|_| is_lost) else {
                continue;
            };
            let origin = self.setup.origin();
            let unmade = one.unmade.as_ref();
            let kept = Undelivered::new(one.target, event.clone(), &one.values, unmade, &one.result, origin);
            match folder.keep(&kept) {
                Ok(name) => console.info(&format!(
                    "  {:<18} kept for `notify-event replay` in {name}",
                    one.target.label()
                )),
                Err(error) => console.line(&format!(
                    "  {:<18} can't be kept for a replay in NOTIFY_OUTPUT_DIR {}: {error}",
                    one.target.label(),
                    folder.path().display()
                )),
            }
        }
    }
}

/// Sends one plan.
async fn carry_out<'e>(courier: &Courier<'_>, delivery: Delivery<'e>, session: &mut Session) -> Ended<'e> {
    let label = delivery.target.label();
    if let Some(heading) = &delivery.heading {
        courier.console.info(heading);
    }
    let (result, unmade) = match delivery.plan {
        Ok(plan) => {
            for note in &plan.notes {
                courier.console.info(&format!("  {label:<18} {note}"));
            }
            let address = delivery.target.destination.address();
            let plan = Plan { address, ..plan };
            (courier.deliver(&label, plan, session).await, None)
        }
        Err(unmade) => {
            let class = match unmade {
                Unmade::Wrong(_) => Class::Misconfigured,
                Unmade::Nothing(_) => Class::Skipped,
            };
            (DeliveryResult::unsent(class, unmade.to_string(), None), Some(unmade))
        }
    };
    Ended {
        target: delivery.target,
        event: delivery.event,
        values: delivery.values,
        unmade,
        result,
    }
}

/// What `target` has to do for `event`, by the `values` of its destination.
///
/// # Errors
/// Why that can't be said: what is wrong, or that nothing happened that could be told.
pub fn plan(setup: &Setup, target: &Target, event: &Event, values: &Values, is_replay: bool) -> Result<Plan, Unmade> {
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
    let plan = (target.destination.plan)(&Context {
        operation: target.operation.name,
        event,
        values,
        is_replay,
    })?;
    let login = plan.login.as_ref().map(|login| &login.request);
    let problems: Vec<Problem> = login
        .into_iter()
        .chain(plan.steps.iter().map(|step| &step.request))
        .filter_map(|request| client::check(request).err())
        .collect();
    if problems.is_empty() {
        Ok(plan)
    } else {
        Err(problems.into())
    }
}

/// A word for a deployment's action that nobody knows, but that looks like one that everybody does. It is sent: CTO.ai
/// takes any.
pub fn misspelled(event: &Event) -> Option<String> {
    let Ok(Action::Other(word)) = &event.action else {
        return None;
    };
    let near = nearest(word, Action::WORDS.iter().copied()).filter(|_| event.name == "deployment")?;
    Some(format!("  EVENT_ACTION is `{word}`; did you mean `{near}`?"))
}

/// The actions of `NOTIFY_ONLY`. A word that is none but looks like one would silence everything without a sound.
fn wanted(words: &[String], event_name: &str) -> Result<Vec<Action>, Problem> {
    words
        .iter()
        .map(|word| match Action::from_word(word) {
            Action::Other(other) if event_name == "deployment" => {
                Err(Problem::new("NOTIFY_ONLY", unknown_word(&other, Action::WORDS)))
            }
            action => Ok(action),
        })
        .collect()
}

/// The classes that count for the exit code.
pub fn of_required<'e>(ended: &'e [Ended]) -> impl Iterator<Item = Class> + 'e {
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
    console.line(&format!("notify-event: {what}; {end}"));
    code
}
