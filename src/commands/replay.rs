//! `replay`: delivers what earlier runs could not, in the order of their events. What was delivered is removed, so that a
//! second replay does not deliver it again.
//!
//! Files may have come with other jobs' artifacts. Of a folder, only this pipeline's are delivered, only where this job's
//! `NOTIFY_DESTINATIONS` or the receipt of the job that failed says so, and nothing that deletes or triggers. Who names a
//! file has decided.

use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::Result;

use super::{
    doubt::Doubt,
    runner::{self, CANT_KNOW, Delivery, Runner},
    setup::{Setup, declared},
    switch::{self, Leaves},
};
use crate::{
    delivery::plan::Plan,
    destinations::Target,
    environment::Environment,
    event::{auto::Given, scope::names_of},
    facts::Asker,
    files,
    problem::{Problem, Unmade},
    receipts::{
        folder::{Allowance, is_named, mark_in_doubt, read_undelivered, receipts_beside, undelivered_files},
        once::{self, Attempt, Decision, Told},
        receipt::Receipt,
        undelivered::Undelivered,
    },
    report::class::{self, Class},
    time,
    variables::Values,
};

/// What somebody has to do who wants all the same what a replay holds back.
const NAME_IT: &str = "name the file itself to send it all the same";

/// Delivers what the files, and the files in the folders, hold.
///
/// # Errors
/// What no user can mend.
pub fn replay(environment: &Environment, paths: &[PathBuf]) -> Result<u8> {
    if let Some(code) = switch::end(environment, &[], Leaves::ReceiptOfReplay(paths)) {
        return Ok(code);
    }
    match Setup::read(environment) {
        Ok(setup) => runner::block_on(replay_all(&setup, paths))?,
        Err(unusable) => Ok(runner::give_up(&unusable, "nothing was sent")),
    }
}

/// A file, and what it holds.
pub struct Kept {
    /// Where it is, for people.
    pub path: PathBuf,
    /// What it holds.
    pub undelivered: Undelivered,
    /// What it is delivered by.
    pub values: Values,
    /// Whether somebody named the file itself, and not only its folder.
    pub is_named: bool,
}

/// Why a file is not delivered.
struct Held {
    why: String,
    /// Whether nothing is left to do with it.
    is_settled: bool,
}

impl Held {
    fn back(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            is_settled: false,
        }
    }

    fn settled(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            is_settled: true,
        }
    }
}

/// By what it is decided which files are delivered.
pub struct Authority {
    /// What this job says that it sends to, if it says so.
    pub targets: Option<Vec<Target>>,
    /// Receipts of jobs that kept files, as far as they were found.
    pub receipts: Vec<Receipt>,
    /// Whether these are those of all jobs of the pipeline: then whichever of them sent it, it was sent.
    pub is_of_pipeline: bool,
    /// What earlier attempts of this replay have delivered.
    pub attempts: Vec<Attempt>,
}

async fn replay_all(setup: &Setup<'_>, paths: &[PathBuf]) -> Result<u8> {
    let console = &setup.console;
    // Before the output folder is made ready, which may be the one that holds all this, and clears what is not its job's.
    let (files, mut problems) = kept(setup, paths);
    let mut receipts: Vec<Receipt> = paths.iter().flat_map(|path| receipts_of(path)).collect();
    let (targets, of_targets) = authority(setup);
    problems.extend(of_targets);
    let (runner, of_runner) = Runner::new(setup, &[], true);
    problems.extend(of_runner);
    for line in runner
        .folder
        .iter()
        .flat_map(|folder| folder.forget_others(true, paths))
    {
        console.info(&format!("  {line}"));
    }
    runner::complain(console, &problems);
    if files.is_empty() && runner.clients.is_some() {
        console.info("  there is nothing to replay");
    }
    let missing = if targets.is_none() {
        jobs_without_receipt(setup, &files, &receipts)
    } else {
        Vec::new()
    };
    let (attempts, found) = ask(&runner, &files, &missing).await;
    receipts.extend(found);
    let authority = Authority {
        targets,
        receipts,
        is_of_pipeline: false,
        attempts,
    };
    let judge = |file: &Kept| Judgement::new(setup, file, &authority);
    let judgements: Vec<Judgement> = files.iter().map(judge).collect();
    let deliveries: Vec<Delivery> = files
        .iter()
        .zip(&judgements)
        .map(|(file, judgement)| delivery(setup, file, judgement))
        .collect();
    runner::tell_unread(setup, &problems, &deliveries);
    let delivered = runner
        .deliver(None, deliveries, false, &|place, ended| {
            runner::report(console, ended);
            let Kept {
                path,
                undelivered,
                values,
                ..
            } = &files[place];
            let is_settled = judgements[place].is_settled();
            let is_in_doubt = ended.result.is_in_doubt(undelivered.target.counts(values));
            // It was kept for a failure of which nothing came; of this one that is not certain.
            if is_in_doubt
                && !undelivered.is_in_doubt
                && let Err(error) = mark_in_doubt(path)
            {
                console.line(&format!("  {} can't be marked as in doubt: {error}", path.display()));
            }
            if !ended.result.class.is_failure() && is_settled {
                // An artifact of another job may be read-only; then the receipt is what remembers.
                if let Err(error) = files::remove(path)
                    && files::is_there(path)
                {
                    console.info(&format!("  {} stays: {error}", path.display()));
                }
            }
        })
        .await?;
    let misconfigured = problems.iter().map(|_| Class::Misconfigured);
    let worst = class::worst(misconfigured.chain(runner::of_required(&delivered.ended)));
    let what = delivered.summary(&runner::tally(&delivered.ended));
    delivered.leave(class::exit_code(worst, setup.policy.on_error));
    Ok(runner::conclude(console, setup.ending(), worst, &what))
}

/// The delivery of a file, as it was judged.
pub fn delivery<'e>(setup: &Setup, file: &'e Kept, judgement: &Judgement) -> Delivery<'e> {
    let Undelivered { target, event, why, .. } = &file.undelivered;
    let values = file.values.clone();
    let in_doubt = matches!(judgement.known, Known::InDoubt(_));
    let plan: Result<Plan, Unmade> = match (&judgement.held, &judgement.known) {
        (_, Known::Settled(why)) => Ok(Plan::skip(why)),
        // What is held back is not asked after either, and stays in doubt.
        (Some(held), Known::InDoubt(doubt)) => Ok(Plan::default().withhold(format!("{}; {}", doubt.why, held.why))),
        (Some(held), Known::Undelivered) => Ok(Plan::skip(&held.why)),
        (None, Known::Undelivered) => runner::plan(setup, target, event, &values, true, None),
        (None, Known::InDoubt(doubt)) => runner::plan(setup, target, event, &values, true, Some(doubt)),
    };
    Delivery {
        target: *target,
        event: Some(event),
        values,
        plan,
        in_doubt,
        heading: Some(format!(
            "{}: {}, {} ({why})",
            file.path.display(),
            event.time,
            event.summary()
        )),
        entities: None,
    }
}

/// The values that were kept, and of this job's environment what is read anew.
pub fn values(setup: &Setup, undelivered: &Undelivered) -> Values {
    let names = names_of(&undelivered.event, setup.environment, setup.open(), &declared());
    undelivered.values(&setup.find(undelivered.target.destination).render(&names))
}

/// What is known of a file's delivery.
enum Known {
    /// It was not made.
    Undelivered,
    /// There is nothing to do, for this reason.
    Settled(String),
    /// It may have been made.
    InDoubt(Doubt),
}

/// What is to be done with a file.
pub struct Judgement {
    /// Why it is not delivered, whatever is known of it.
    held: Option<Held>,
    known: Known,
}

impl Judgement {
    /// Decides by what is known.
    pub fn new(setup: &Setup, file: &Kept, authority: &Authority) -> Self {
        if !file.is_named && !setup.origin().has_pipeline_of(&file.undelivered.origin) {
            // It may have been replayed there; what this job knows does not tell.
            return Self {
                held: Some(Held::back(
                    "it is of another pipeline; name the file itself to send it in this one",
                )),
                known: Known::Undelivered,
            };
        }
        Self {
            held: held(setup, file, authority),
            known: known(setup, file, &authority.attempts),
        }
    }

    /// Whether nothing is left to do with the file once this has ended well.
    fn is_settled(&self) -> bool {
        matches!(self.known, Known::Settled(_)) || self.held.as_ref().is_none_or(|held| held.is_settled)
    }
}

/// Why a file of this pipeline is not delivered that nobody has named: it was sent in the end, or it is nothing that this
/// job or the one that failed has said should be done.
fn held(setup: &Setup, file: &Kept, authority: &Authority) -> Option<Held> {
    let Kept {
        undelivered, is_named, ..
    } = file;
    if *is_named {
        return None;
    }
    let label = undelivered.target.label();
    let job = undelivered.origin.job_id.as_deref().unwrap_or("unknown");
    let told = told(setup, file, authority);
    if told == Told::Sent {
        return Some(Held::settled(format!("the receipt of job {job} says that it was sent")));
    }
    let receiver = undelivered.target.receiver(&file.values);
    if receiver.is_some() && receiver != undelivered.receiver {
        let address = undelivered.target.destination.address().unwrap_or_default();
        return Some(Held::back(format!(
            "it was kept for another address than {address} is here; give it that address, or {NAME_IT}"
        )));
    }
    if let Some(targets) = &authority.targets {
        if !targets.iter().any(|target| target.is_like(&undelivered.target)) {
            return Some(Held::back(format!(
                "NOTIFY_DESTINATIONS of this job does not name {label}; add it, or {NAME_IT}"
            )));
        }
    } else if setup.origin().job_id.is_some() && told == Told::Nothing {
        return Some(Held::back(format!(
            "there is no receipt of job {job} that says that {label} was tried and failed; name it in NOTIFY_DESTINATIONS \
             of this job, or {NAME_IT}"
        )));
    }
    undelivered.target.operation.is_drastic.then(|| {
        Held::back(format!(
            "{label} deletes or triggers something, which the replay of a folder does not; {NAME_IT}"
        ))
    })
}

/// What the receipts of the job that kept a file, and of this job, say of it: an earlier call of this one may have tried.
fn told(setup: &Setup, file: &Kept, authority: &Authority) -> Told {
    let Undelivered {
        target, event, origin, ..
    } = &file.undelivered;
    let ours = setup.origin();
    let tells = |receipt: &&Receipt| {
        authority.is_of_pipeline
            || receipt.origin.is_job(origin)
            || (receipt.origin.is_job(&ours) && ours.has_pipeline_of(origin))
    };
    let receipts = authority.receipts.iter().filter(tells);
    let name = file.path.file_name().unwrap_or_default().to_string_lossy();
    let receiver = file.undelivered.receiver.as_deref();
    once::told(receipts, target, receiver, event, &name, setup.console.redactor())
}

/// What is known of the delivery of something that counts each time: whether an earlier attempt of this replay has made
/// it, or may have; whether the job that kept it may have, and nobody has said by naming its file that it should be sent
/// all the same.
fn known(setup: &Setup, file: &Kept, attempts: &[Attempt]) -> Known {
    let undelivered = &file.undelivered;
    if !undelivered.target.counts(&file.values) {
        return Known::Undelivered;
    }
    let redactor = setup.console.redactor();
    // Nothing of it can have been sent before the event was made.
    let since = time::parse(&undelivered.event.time).unwrap_or(SystemTime::UNIX_EPOCH);
    let receiver = undelivered.receiver.as_deref();
    match once::decide(attempts, &undelivered.target, receiver, &undelivered.event, redactor) {
        Decision::Skip(why) => Known::Settled(why),
        // Whoever named the file did not ask for it twice.
        Decision::Doubt(once::Doubt { why, .. }) => Known::InDoubt(Doubt {
            why,
            since,
            is_wanted: false,
        }),
        Decision::Send if undelivered.is_in_doubt => Known::InDoubt(Doubt {
            why: "it may have been processed".to_owned(),
            since,
            is_wanted: file.is_named,
        }),
        Decision::Send => Known::Undelivered,
    }
}

/// What this job says that it sends to, if it says so, and what is wrong with that.
pub fn authority(setup: &Setup) -> (Option<Vec<Target>>, Vec<Problem>) {
    if setup.policy.destinations.is_none() {
        return (None, Vec::new());
    }
    let (targets, problems) = setup.targets(Vec::new());
    (Some(targets), problems)
}

/// The receipts that belong to what `path` names.
fn receipts_of(path: &Path) -> Vec<Receipt> {
    let (files, _) = undelivered_files(&[path.to_owned()]);
    // All are of one folder, whatever was named.
    files
        .first()
        .and_then(|file| file.parent())
        .map(receipts_beside)
        .unwrap_or_default()
}

/// What the files hold, in the order of their events, and which of them hold nothing that can be delivered.
fn kept(setup: &Setup, paths: &[PathBuf]) -> (Vec<Kept>, Vec<Problem>) {
    let mut kept = Vec::new();
    // What could not be found out then may be set now.
    let (action, of_action) = match setup.environment.find_or_default("EVENT_ACTION", false) {
        Ok(found) => (found.map(|found| found.value), None),
        Err(problem) => (None, Some(problem)),
    };
    let (action, of_word) = match Given::read(action.as_deref()) {
        Ok(Given::Word(word)) => (Some(word), None),
        Ok(Given::Auto(_)) => (None, None),
        Err(problem) => (None, Some(problem)),
    };
    let mut allowance = Allowance::default();
    let (files, mut problems) = undelivered_files(paths);
    problems.extend(of_action.into_iter().chain(of_word));
    for path in files {
        match read_undelivered(&path, &mut allowance) {
            Ok(mut undelivered) => {
                if let Some(word) = &action {
                    undelivered.event = undelivered.event.or_action(word);
                }
                kept.push(Kept {
                    is_named: is_named(&path, paths),
                    values: values(setup, &undelivered),
                    path,
                    undelivered,
                });
            }
            Err(why) => problems.push(Problem::new(path.display().to_string(), why)),
        }
    }
    kept.sort_by(|a, b| a.undelivered.event.time.cmp(&b.undelivered.event.time));
    (kept, problems)
}

/// The jobs of this pipeline that kept files and whose receipts are not among `receipts`: where artifacts of several jobs
/// are unpacked, the last one's receipt stands in the place of the others'.
fn jobs_without_receipt(setup: &Setup, files: &[Kept], receipts: &[Receipt]) -> Vec<u64> {
    let origin = setup.origin();
    let missing = files.iter().filter(|file| {
        let theirs = &file.undelivered.origin;
        let is_there = receipts.iter().any(|receipt| receipt.origin.is_job(theirs));
        !file.is_named && !is_there && origin.job_id.is_some() && origin.has_pipeline_of(theirs)
    });
    let mut jobs: Vec<u64> = missing
        .filter_map(|file| file.undelivered.origin.job_id.as_deref()?.parse().ok())
        .collect();
    jobs.sort_unstable();
    jobs.dedup();
    jobs
}

/// What earlier attempts of this replay have delivered, where that matters and can be known, and the receipts of `jobs`.
async fn ask(runner: &Runner<'_>, files: &[Kept], jobs: &[u64]) -> (Vec<Attempt>, Vec<Receipt>) {
    let setup = runner.setup;
    let before = runner
        .folder
        .as_ref()
        .and_then(|folder| Attempt::of_this_job(folder.begun()));
    let before: Vec<Attempt> = before.into_iter().collect();
    let gitlab = setup.gitlab_api();
    let counts = files.iter().any(|file| file.undelivered.target.counts(&file.values));
    let is_needed = gitlab.is_ok() && (counts || !jobs.is_empty());
    let Some(clients) = runner.clients.as_ref().filter(|_| is_needed) else {
        return (before, Vec::new());
    };
    let courier = clients.to_gitlab(&setup.console, runner.limits);
    let asker = Asker {
        gitlab: &gitlab,
        courier: &courier,
    };
    let folder = setup.receipts_folder();
    let asking = async {
        let receipts = asker.receipts(jobs, folder.as_deref()).await;
        if !counts {
            return (Ok(Vec::new()), receipts);
        }
        let jobs = asker.jobs().await;
        (asker.attempts(&jobs, folder.as_deref()).await, receipts)
    };
    let nothing = || (Ok(Vec::new()), Vec::new());
    let (attempts, receipts) = runner.stop.unless_asked(asking).await.unwrap_or_else(nothing);
    let mut attempts = attempts.unwrap_or_else(|why| {
        setup.console.info(&format!("  {:<18} {CANT_KNOW}: {why}", "GitLab"));
        Vec::new()
    });
    attempts.extend(before);
    (attempts, receipts)
}
