//! `replay`: delivers what earlier runs could not, in the order of their events. What was delivered is removed, so that a
//! second replay does not deliver it again.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::{
    runner::{self, CANT_KNOW, Delivery, Runner},
    setup::{Setup, declared},
};
use crate::{
    delivery::plan::Plan,
    destinations::Target,
    environment::Environment,
    event::resolve::names_of,
    facts::Asker,
    problem::{Problem, Unmade},
    receipts::{
        folder::{read_undelivered, undelivered_files},
        once::{self, Attempt, Decision},
        undelivered::Undelivered,
    },
    report::class::{self, Class},
    variables::Values,
};

/// Delivers what the files, and the files in the folders, hold.
///
/// # Errors
/// What no user can mend.
pub fn replay(environment: &Environment, paths: &[PathBuf]) -> Result<u8> {
    match Setup::read(environment) {
        Ok(setup) => runner::block_on(replay_all(&setup, paths))?,
        Err(unusable) => Ok(runner::give_up(&unusable, "nothing was sent")),
    }
}

/// A file, and what it holds.
struct Kept {
    path: PathBuf,
    undelivered: Undelivered,
    /// Whether somebody named the file itself, and not only its folder.
    is_named: bool,
}

async fn replay_all(setup: &Setup<'_>, paths: &[PathBuf]) -> Result<u8> {
    let console = &setup.console;
    let (files, mut problems) = kept(setup, paths)?;
    let (runner, of_runner) = Runner::new(setup, &[], true);
    problems.extend(of_runner);
    runner::complain(console, &problems);
    if files.is_empty() && runner.clients.is_some() {
        console.info("  there is nothing to replay");
    }
    let attempts = attempts(&runner, &files).await;
    let deliveries = files.iter().map(|file| delivery(setup, file, &attempts)).collect();
    let ended = runner
        .deliver(deliveries, &|place, ended| {
            runner::report(console, ended);
            let Kept {
                path,
                undelivered,
                is_named,
            } = &files[place];
            let is_foreign = undelivered.is_foreign(setup.origin().pipeline_id.as_deref());
            let is_settled = *is_named || !(undelivered.is_doubtful() || is_foreign);
            if !ended.result.class.is_failure() && is_settled {
                // An artifact of another job may be read-only; then the receipt is what remembers.
                if let Err(error) = fs::remove_file(path) {
                    console.info(&format!("  {} stays: {error}", path.display()));
                }
            }
        })
        .await?;
    let misconfigured = problems.iter().map(|_| Class::Misconfigured);
    let worst = class::worst(misconfigured.chain(runner::of_required(&ended)));
    runner.leave(None, &ended, class::exit_code(worst, setup.policy.on_error));
    Ok(runner::conclude(
        console,
        setup.policy.on_error,
        worst,
        &runner::tally(&ended),
    ))
}

fn delivery<'e>(setup: &Setup, file: &'e Kept, attempts: &[Attempt]) -> Delivery<'e> {
    let Undelivered { target, event, why, .. } = &file.undelivered;
    let values = values(setup, &file.undelivered);
    let plan: Result<Plan, Unmade> = match reason_not_to_send(setup, file, attempts) {
        Some(why) => Ok(Plan::skip(why)),
        None => runner::plan(setup, target, event, &values, true),
    };
    Delivery {
        target: *target,
        event: Some(event),
        values,
        plan,
        heading: Some(format!(
            "{}: {}, {} ({why})",
            file.path.display(),
            event.time,
            event.summary()
        )),
    }
}

/// The values that were kept, and of this job's environment what is read anew.
fn values(setup: &Setup, undelivered: &Undelivered) -> Values {
    let names = names_of(&undelivered.event, setup.environment, setup.open(), &declared());
    undelivered.values(&setup.find(&undelivered.target).render(&names))
}

/// Why it is not sent: an earlier attempt of this replay has; or it would count twice if it is of another pipeline and
/// was replayed there, or has been processed, and nobody has said by naming its file that it should be sent all the same.
fn reason_not_to_send(setup: &Setup, file: &Kept, attempts: &[Attempt]) -> Option<String> {
    let Kept {
        undelivered, is_named, ..
    } = file;
    if undelivered.is_foreign(setup.origin().pipeline_id.as_deref()) && !is_named {
        return Some("it is of another pipeline; name the file itself to send it in this one".to_owned());
    }
    if !undelivered.target.operation.is_once {
        return None;
    }
    // That an earlier attempt of a replay ended well says the same, however the event's own job named its targets.
    let target = Target {
        is_named: true,
        ..undelivered.target
    };
    let redactor = setup.console.redactor();
    let decision = once::decide(attempts, &target, &undelivered.event, setup.policy.on_error, redactor);
    if let Decision::Skip(why) = decision {
        return Some(why);
    }
    (undelivered.is_doubtful() && !is_named).then(|| {
        "it may have been processed, and a second time would count twice; name the file itself to send it all the same"
            .to_owned()
    })
}

/// What the files hold, in the order of their events, and which of them hold nothing that can be delivered.
fn kept(setup: &Setup, paths: &[PathBuf]) -> Result<(Vec<Kept>, Vec<Problem>)> {
    let mut files = Vec::new();
    let mut problems = Vec::new();
    // What could not be found out then may be set now.
    let action = match setup.environment.find("EVENT_ACTION", false) {
        Ok(found) => found
            .map(|found| found.value)
            .filter(|word| !word.eq_ignore_ascii_case("auto")),
        Err(problem) => {
            problems.push(problem);
            None
        }
    };
    for path in undelivered_files(paths).context("the files can't be listed")? {
        match read_undelivered(&path) {
            Ok(mut undelivered) => {
                if let Some(word) = &action {
                    undelivered.event = undelivered.event.or_action(word);
                }
                let is_named = paths.iter().any(|named: &PathBuf| named.as_path() == Path::new(&path));
                files.push(Kept {
                    path,
                    undelivered,
                    is_named,
                });
            }
            Err(why) => problems.push(Problem::new(path.display().to_string(), why)),
        }
    }
    files.sort_by(|a, b| a.undelivered.event.time.cmp(&b.undelivered.event.time));
    Ok((files, problems))
}

/// What earlier attempts of this replay have delivered, where that matters and can be known.
async fn attempts(runner: &Runner<'_>, files: &[Kept]) -> Vec<Attempt> {
    let setup = runner.setup;
    let gitlab = setup.gitlab_api();
    let is_once = |file: &Kept| file.undelivered.target.operation.is_once;
    let Some(clients) = runner
        .clients
        .as_ref()
        .filter(|_| gitlab.is_ok() && files.iter().any(is_once))
    else {
        return Vec::new();
    };
    let courier = clients.to_gitlab(&setup.console, runner.limits);
    let asker = Asker {
        gitlab: &gitlab,
        courier: &courier,
    };
    let jobs = asker.jobs().await;
    let attempts = asker.attempts(&jobs, setup.receipts_folder().as_deref()).await;
    attempts.unwrap_or_else(|why| {
        setup.console.info(&format!("  {:<18} {CANT_KNOW}: {why}", "GitLab"));
        Vec::new()
    })
}
