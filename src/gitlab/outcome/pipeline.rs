//! What became of a pipeline as a whole.

use super::{
    Kind, Live, Outcome, Seen, Status, find, in_order_of_end, is_allowed, is_fatal, quoted, select, tell, unclear,
};
use crate::event::Action;

/// What a job's `allow_failure` means when all jobs are looked at.
const ALLOWED: &str = "which allow_failure lets pass";

/// The stages that GitLab runs after all others (docs/gitlab.md 3.2).
const LAST_STAGES: &[&str] = &[".post", ".pipeline-policy-post"];

fn is_last(live: &Live) -> bool {
    LAST_STAGES.contains(&live.job.stage.as_str())
}

/// Whether it may be a notify job like this one. What a trigger job has started is none.
fn may_notify(live: &Live) -> bool {
    !matches!(live.job.kind, Kind::Trigger(_))
}

/// Of all other jobs, as GitLab itself comes to a pipeline's status (docs/gitlab.md 3.1), except that jobs which follow
/// whatever happened don't keep it open: the other notify jobs wait for this one as it would for them.
///
/// What can't be seen may have failed, so nothing but a failure or a cancel is known of what can be seen in part; nor that
/// nothing happened. That some of it still goes on is known, too.
pub(super) fn judge(seen: &Seen) -> Outcome {
    let others = seen.others.as_slice();
    if let Some(outcome) = bad_end(seen) {
        return outcome;
    }
    // One that waits in the own stage blocks too: this job ran beside it, not after it.
    let blocking = select(others, |live| {
        live.job.status == Status::Manual && !live.job.allow_failure && !(is_last(live) && may_notify(live))
    });
    if !blocking.is_empty() {
        return happened(Action::Blocked, tell(&blocking), blocking.first(), others);
    }
    let is_peer = |live: &Live| may_notify(live) && (is_last(live) || Some(live.job.stage.as_str()) == seen.own_stage);
    let running = select(others, |live| live.job.status == Status::Running);
    let waiting = select(others, |live| live.job.status.is_waiting());
    let unfinished = [running, waiting].concat();
    let (peers, unfinished): (Vec<Live>, Vec<Live>) = unfinished.iter().partition(|live| is_peer(live));
    if !unfinished.is_empty() {
        let why = format!(
            "{}: the pipeline goes on; to report on one job of it, name it in NOTIFY_JOB",
            tell(&unfinished)
        );
        return happened(Action::Progressing, why, unfinished.first(), others);
    }
    if let Some(why) = &seen.unseen {
        return Outcome::Unknown(format!(
            "whether the whole pipeline went well is not known, since {why}. Name the job that deploys in NOTIFY_JOB, or \
             set EVENT_ACTION"
        ));
    }
    if others.is_empty() {
        let why = "the pipeline has no job but this one that GitLab shows: set EVENT_ACTION";
        return Outcome::Unknown(why.to_owned());
    }
    success(others, &peers)
}

/// Who failed, or was canceled: a failure is one, whatever else there is.
fn bad_end(seen: &Seen) -> Option<Outcome> {
    let others = seen.others.as_slice();
    let failed = in_order_of_end(select(others, |live| is_fatal(live.job)));
    let canceled = in_order_of_end(select(others, |live| {
        live.job.status.is_canceled() && !live.job.allow_failure
    }));
    let (action, deciding) = match (failed.is_empty(), unclear(others)) {
        (false, _) => (Action::Failure, failed),
        (true, Some(unclear)) => return Some(unclear),
        (true, None) => (Action::Canceled, canceled),
    };
    if deciding.is_empty() {
        return None;
    }
    // A failed pipeline has failed, and what failed in it may never have started. Where nothing ran, nothing was deployed.
    let is_all = seen.unseen.is_none();
    if is_all
        && others
            .iter()
            .all(|live| !live.job.has_run() && live.ran_before.is_none())
    {
        return Some(Outcome::Nothing(format!(
            "{}, and none of the pipeline's other jobs ran, so nothing was deployed",
            tell(&deciding)
        )));
    }
    Some(happened(action, tell(&deciding), deciding.first(), others))
}

/// What ended without a failure or a cancel that counts.
fn success(others: &[Live], peers: &[Live]) -> Outcome {
    let warned = select(others, |live| is_allowed(live.job));
    let ran = select(others, |live| {
        live.job.status == Status::Success || (is_allowed(live.job) && live.job.has_run())
    });
    let manual = select(others, |live| live.job.status == Status::Manual);
    let skipped = select(others, |live| live.job.status == Status::Skipped);
    if ran.is_empty() && !peers.is_empty() {
        // They may be notify jobs like this one, or the deployment itself: nothing in the list tells which.
        return Outcome::Unknown(format!(
            "of the pipeline's other jobs none has ended, and those that have not ({}) are of this job's stage or run \
             last, so they may be notify jobs too: name the one that deploys in NOTIFY_JOB, or set EVENT_ACTION",
            quoted(peers)
        ));
    }
    let mut left_out = Vec::new();
    if !peers.is_empty() {
        left_out.push(format!("{}, of this job's stage or last", quoted(peers)));
    }
    if !manual.is_empty() {
        left_out.push(format!("{}, which nobody has started", quoted(&manual)));
    }
    if !skipped.is_empty() {
        left_out.push(format!("{}, skipped", quoted(&skipped)));
    }
    let unstarted = select(&warned, |live| !live.job.has_run());
    if !unstarted.is_empty() {
        left_out.push(format!("{}, which ended before it started", quoted(&unstarted)));
    }
    let left_out = left_out.join("; ");
    if ran.is_empty() {
        return Outcome::Nothing(format!(
            "none of the pipeline's other jobs ran, so nothing was deployed: {left_out}"
        ));
    }
    let mut why = match ran.as_slice() {
        [_] => "the one other job that ran succeeded".to_owned(),
        several => format!("all {} other jobs that ran succeeded", several.len()),
    };
    if let Some(first) = warned.first() {
        let more = if warned.len() > 1 { ", the first:" } else { ":" };
        why = format!("{why}, {} with a warning{more} {}, {ALLOWED}", warned.len(), first.job);
    }
    if !left_out.is_empty() {
        why = format!("{why}; left out: {left_out}");
    }
    if !warned.is_empty() || !manual.is_empty() {
        why = format!("{why}; if one of these is what you report on, name it in NOTIFY_JOB");
    }
    let only = ran.first().filter(|_| ran.len() == 1);
    happened(Action::Success, why, only, others)
}

fn happened(action: Action, why: String, deciding: Option<&Live>, others: &[Live]) -> Outcome {
    let before_last = select(others, |live| !is_last(live));
    // The times of a notify job that ran before this one are not the deployment's.
    let timed = if before_last.is_empty() { others } else { &before_last };
    Outcome::Happened(find(action, why, deciding, timed))
}
