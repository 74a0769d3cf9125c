//! What really happened, judged from a pipeline's jobs (docs/gitlab.md 2.4, 3, 8, 11). Pure: the jobs come in, the
//! outcome comes out.

mod pipeline;
#[cfg(test)]
mod tests;
mod watched;

use std::{collections::BTreeMap, time::Duration};

use super::job::{Job, Kind, Status};
use crate::{
    event::{Action, DeployJob},
    time::timestamp,
};
pub use watched::{is_part, whole};

/// What is asked, and by which job.
#[derive(Debug, Clone, Copy, Default)]
pub struct Question<'a> {
    /// The asking job's id (`CI_JOB_ID`).
    pub own_id: Option<u64>,
    /// Its name (`CI_JOB_NAME`); known from the jobs if its id is among them.
    pub own_name: Option<&'a str>,
    /// Its stage (`CI_JOB_STAGE`); likewise.
    pub own_stage: Option<&'a str>,
    /// The job that is asked about (`NOTIFY_JOB`); all others of the pipeline if there is none.
    pub watched: Option<&'a str>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// This happened.
    Happened(Finding),
    /// Nothing happened that could be reported: why.
    Nothing(String),
    /// GitLab could not be asked: why, and what to set. Who has said what to tell in this case (`auto:<word>`) has said it.
    Unasked(String),
    /// GitLab was asked, and what it shows leaves open what happened: why, and what to set. Any word would be a guess that
    /// what was not seen went well, so nothing is told.
    Unknown(String),
}

impl Outcome {
    /// Whether the trigger jobs may change it, which were not seen: of a whole pipeline all but the failure of something
    /// that ran, of one job only that it is not among the others.
    pub fn hangs_on_triggers(&self, question: &Question) -> bool {
        match self {
            Self::Happened(Finding { action, job, .. }) => {
                question.watched.is_none() && (*action != Action::Failure || job.started_at.is_none())
            }
            Self::Nothing(_) => question.watched.is_none(),
            Self::Unasked(_) | Self::Unknown(_) => true,
        }
    }
}

/// What happened, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What became of it.
    pub action: Action,
    /// How that is known, for the report.
    pub why: String,
    /// The job that decided it. Its name is the one that all parts share, and there is none where a whole pipeline
    /// decided; there is no page where several jobs did; the attempt is the highest of theirs. It began when the first
    /// of them did and ended when the last did, and was started by who started the one that ended last.
    pub job: DeployJob,
}

/// Judges a pipeline's `jobs`, which may be in any order and should hold earlier attempts (`include_retried=true`), and its
/// `triggers`, or why they can't be read.
pub fn judge(jobs: &[Job], triggers: Result<&[Job], &str>, question: &Question) -> Outcome {
    let seen = Seen::of(jobs, triggers, question);
    match question.watched {
        Some(watched) => watched::judge(&seen, watched),
        None => pipeline::judge(&seen),
    }
}

/// What is told of the job that is asked about if its start was told, where it ended before it started: none where it did
/// not, or where that is not what decides.
pub fn never_started(jobs: &[Job], triggers: Result<&[Job], &str>, question: &Question) -> Option<Finding> {
    let seen = Seen::of(jobs, triggers, question);
    watched::never_started(&seen, question.watched?)
}

/// The attempts of the job `own_name` before the one with the id `own_id`, newest first.
pub fn earlier_attempts<'a>(jobs: &'a [Job], own_id: u64, own_name: &str) -> Vec<&'a Job> {
    let mut earlier: Vec<&Job> = jobs
        .iter()
        .filter(|job| job.name == own_name && job.id < own_id)
        .collect();
    earlier.sort_by_key(|job| std::cmp::Reverse(job.id));
    earlier.dedup_by_key(|job| job.id);
    earlier
}

/// A job in its live attempt.
#[derive(Debug, Clone, Copy)]
struct Live<'a> {
    job: &'a Job,
    /// Which attempt that is, from 1.
    attempt: u32,
    /// The last attempt before it that has run, and which one that is.
    ran_before: Option<(&'a Job, u32)>,
}

/// What GitLab shows of a pipeline.
struct Seen<'a> {
    /// All jobs but the asking one, each in its live attempt, trigger jobs among them; in the order of their ids.
    others: Vec<Live<'a>>,
    own_name: Option<&'a str>,
    own_stage: Option<&'a str>,
    /// Why there may be more jobs than these, if so.
    unseen: Option<String>,
}

impl<'a> Seen<'a> {
    fn of(jobs: &'a [Job], triggers: Result<&'a [Job], &str>, question: &Question<'a>) -> Self {
        let is_own = |job: &Job| Some(job.id) == question.own_id || Some(job.name.as_str()) == question.own_name;
        // The asking job is one of the pipeline's: a list without it is not all there is.
        let is_whole = question.own_id.is_none() || jobs.iter().any(is_own);
        let unseen = match triggers {
            _ if !is_whole => Some(
                "this very job is not in GitLab's list of the pipeline's jobs, so others may be missing".to_owned(),
            ),
            Err(why) => Some(format!("the pipeline's trigger jobs can't be read: {why}")),
            Ok(_) => None,
        };
        // A job that shows up twice, because a new one moved the pages while they were read, is as the later page has it.
        let all = jobs.iter().chain(triggers.unwrap_or_default());
        let jobs: BTreeMap<u64, &Job> = all.map(|job| (job.id, job)).collect();
        let own = question.own_id.and_then(|id| jobs.get(&id));
        let own_name = question.own_name.or(own.map(|job| job.name.as_str()));
        let own_stage = question.own_stage.or(own.map(|job| job.stage.as_str()));

        let mut live: BTreeMap<&str, Live> = BTreeMap::new();
        for job in jobs.into_values() {
            // Ids ascend, so the last of a name is the live attempt: the reply has no `retried` (docs/gitlab.md 11).
            let before = live.get(job.name.as_str());
            let attempt = before.map_or(0, |before| before.attempt) + 1;
            let ran_before = before.and_then(|before| {
                let itself = (before.job, before.attempt);
                before.job.has_run().then_some(itself).or(before.ran_before)
            });
            live.insert(
                &job.name,
                Live {
                    job,
                    attempt,
                    ran_before,
                },
            );
        }
        let mut others: Vec<Live> = live
            .into_values()
            .filter(|live| Some(live.job.name.as_str()) != own_name && Some(live.job.id) != question.own_id)
            .collect();
        others.sort_by_key(|live| live.job.id);
        Self {
            others,
            own_name,
            own_stage,
            unseen,
        }
    }

    /// Whether the asking job is `name`, or one of its parts.
    fn is_own(&self, name: &str) -> bool {
        self.own_name.is_some_and(|own| own == name || is_part(own, name))
    }
}

fn select<'a>(jobs: &[Live<'a>], is: impl Fn(&Live) -> bool) -> Vec<Live<'a>> {
    jobs.iter().filter(|live| is(live)).copied().collect()
}

/// Whether GitLab counts it as the pipeline's failure.
fn is_fatal(job: &Job) -> bool {
    job.status == Status::Failed && !job.allow_failure
}

/// Whether it has ended otherwise than well, and GitLab lets the pipeline pass all the same (docs/gitlab.md 3.1).
fn is_allowed(job: &Job) -> bool {
    job.allow_failure && (job.status == Status::Failed || job.status.is_canceled())
}

/// The first to end first: it is the one that the others followed.
fn in_order_of_end(mut jobs: Vec<Live>) -> Vec<Live> {
    jobs.sort_by_key(|live| (live.job.finished().is_none(), live.job.finished(), live.job.id));
    jobs
}

/// That of one of `jobs` GitLab does not show how it ended.
fn unclear(jobs: &[Live]) -> Option<Outcome> {
    jobs.iter().find_map(|live| match (&live.job.status, live.job.kind) {
        (Status::Unknown(word), _) => Some(Outcome::Unknown(format!(
            "GitLab says that job `{}` is `{word}`, a status this version doesn't know: set EVENT_ACTION",
            live.job.name
        ))),
        (Status::Success, Kind::TriggerOfNothing) => Some(Outcome::Unknown(format!(
            "trigger job `{}` succeeded, which says that it made a pipeline, and GitLab shows none of whose end one could \
             tell: set EVENT_ACTION, or name another job in NOTIFY_JOB",
            live.job.name
        ))),
        _ => None,
    })
}

/// The finding of `action`, decided by the job `deciding`, with the times of all `jobs`.
fn find(action: Action, why: String, deciding: Option<&Live>, jobs: &[Live]) -> Finding {
    let first = jobs
        .iter()
        .filter_map(|live| Some((live.job.started()?, live)))
        .min_by_key(|(start, _)| *start);
    let started = first.map(|(start, _)| start);
    let ends = jobs.iter().filter_map(|live| live.job.finished());
    let finished = ends.max().filter(|_| action.is_final());
    let measured = match jobs {
        [one] => one.job.duration.filter(|_| started.is_some()).and_then(seconds),
        _ => None,
    };
    let between = || Some(finished?.duration_since(started?).ok()?.as_secs_f64());
    let duration = match finished {
        Some(_) => measured.or_else(|| between().and_then(seconds)),
        None => None,
    };
    let last = jobs
        .iter()
        .max_by_key(|live| (live.job.finished(), live.job.started(), live.job.id));
    Finding {
        action,
        why,
        job: DeployJob {
            name: deciding.map(|live| live.job.name.clone()),
            url: deciding.and_then(|live| live.job.web_url.clone()),
            attempt: jobs.iter().map(|live| live.attempt).max().unwrap_or(1),
            started_at: started.map(timestamp),
            finished_at: finished.map(timestamp),
            duration,
            // Of a job that never started it would be the time until now, which grows.
            queued: first.and_then(|(_, live)| live.job.queued_duration).and_then(seconds),
            started_by: last.and_then(|live| live.job.user.clone()),
        },
    }
}

/// What became of the first of `jobs`, and how many more there are.
fn tell(jobs: &[Live]) -> String {
    match jobs {
        [] => String::new(),
        [one] => format!("job {}", one.job),
        [first, more @ ..] => format!("job {} (and {} more like it)", first.job, more.len()),
    }
}

/// How many are in which status.
fn tally(jobs: &[Live]) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for live in jobs {
        let word = live.job.status.word();
        match counts.iter_mut().find(|(counted, _)| *counted == word) {
            Some((_, count)) => *count += 1,
            None => counts.push((word, 1)),
        }
    }
    let counts: Vec<String> = counts.iter().map(|(word, count)| format!("{count} {word}")).collect();
    counts.join(", ")
}

/// How many names a message lists.
const NAMES: usize = 5;

/// Their names, the first few of them.
fn quoted(jobs: &[Live]) -> String {
    let names: Vec<String> = jobs.iter().map(|live| format!("`{}`", live.job.name)).collect();
    shortened(&names)
}

fn shortened(names: &[String]) -> String {
    match names.len().checked_sub(NAMES) {
        None | Some(0) => names.join(", "),
        Some(more) => format!("{} and {more} more", names[..NAMES].join(", ")),
    }
}

/// Whole seconds, rounded.
pub(super) fn seconds(seconds: f64) -> Option<u64> {
    let duration = Duration::try_from_secs_f64(seconds.max(0.0)).ok()?;
    Some(duration.saturating_add(Duration::from_millis(500)).as_secs())
}
