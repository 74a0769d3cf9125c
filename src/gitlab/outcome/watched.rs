//! What became of one job, which may be several by `parallel:`.

use super::{
    Finding, Live, Outcome, Seen, Status, find, in_order_of_end, is_fatal, select, shortened, tally, tell, unclear,
};
use crate::{event::Action, text::nearest};

/// Of the job `watched`. Its `allow_failure` doesn't count: a deployment that was allowed to fail has failed all the same.
pub(super) fn judge(seen: &Seen, watched: &str) -> Outcome {
    let live = parts(seen, watched);
    if live.is_empty() {
        return not_found(seen, watched);
    }
    if let Some(why) = unstarted(&live) {
        return Outcome::Nothing(why);
    }
    // What never started has neither deployed anything nor failed to, where another part has yet to start.
    let has_begun = live.iter().any(has_run);
    let counting = select(&live, |live| has_begun || !live.job.never_started());
    let parts: Vec<Live> = counting.iter().map(last_that_ran).collect();
    let passed_over = select(&live, |live| last_that_ran(live).attempt != live.attempt);
    let passed_over = passed_over
        .first()
        .map(|live| format!("; attempt {} of {}", live.attempt, live.job));
    let with = |is: fn(&Status) -> bool| select(&parts, |live| is(&live.job.status));
    let happened = |action, deciding: &[Live]| {
        let mut why = tell(deciding);
        if let [one] = parts.as_slice() {
            if one.job.status == Status::Failed && one.job.allow_failure {
                why = format!("{why}, though GitLab lets it pass (allow_failure)");
            }
            if one.attempt > 1 || passed_over.is_some() {
                why = format!("{why}, at attempt {}", one.attempt);
            }
        } else {
            why = format!("{why}; {} parts of `{watched}`: {}", parts.len(), tally(&parts));
        }
        let why = why + passed_over.as_deref().unwrap_or_default();
        Outcome::Happened(find(action, why, deciding.first(), &parts))
    };

    let failed = in_order_of_end(with(|status| *status == Status::Failed));
    if !failed.is_empty() {
        return happened(Action::Failure, &failed);
    }
    if let Some(unclear) = unclear(&parts) {
        return unclear;
    }
    let canceled = in_order_of_end(with(Status::is_canceled));
    if !canceled.is_empty() {
        return happened(Action::Canceled, &canceled);
    }
    let running = with(|status| *status == Status::Running);
    if !running.is_empty() {
        return happened(Action::Progressing, &running);
    }
    let succeeded = with(|status| *status == Status::Success);
    for waiting in [with(Status::is_waiting), with(|status| *status == Status::Manual)] {
        match (waiting.is_empty(), has_begun) {
            (true, _) => {}
            (false, true) => return happened(Action::Progressing, &waiting),
            (false, false) => return happened(Action::Blocked, &waiting),
        }
    }
    if succeeded.is_empty() {
        let culprit = seen.others.iter().find(|live| is_fatal(live.job));
        let culprit = culprit.map(|live| format!(" (job {})", live.job));
        return Outcome::Nothing(format!(
            "`{watched}` was skipped: it never ran, so nothing was deployed{}",
            culprit.unwrap_or_default()
        ));
    }
    if let Some(again) = passed_over {
        // Whoever reports a success reports it when it happens. Told again now, it would say that this was deployed anew.
        return Outcome::Nothing(format!(
            "{}: it deployed nothing, and what was deployed before stays as it is",
            again.trim_start_matches("; ")
        ));
    }
    if parts.len() == 1 {
        return happened(Action::Success, &succeeded);
    }
    let skipped = match parts.len() - succeeded.len() {
        0 => String::new(),
        1 => ", 1 was skipped".to_owned(),
        count => format!(", {count} were skipped"),
    };
    let all = if skipped.is_empty() {
        format!("all {}", parts.len())
    } else {
        format!("{} of {}", succeeded.len(), parts.len())
    };
    let why = format!("{all} parts of `{watched}` succeeded{skipped}");
    let mut finding = find(Action::Success, why, None, &parts);
    finding.job.name = Some(watched.to_owned());
    Outcome::Happened(finding)
}

/// What is told of `watched` if its start was told, where it ended before it started.
pub(super) fn never_started(seen: &Seen, watched: &str) -> Option<Finding> {
    let parts = parts(seen, watched);
    let why = unstarted(&parts)? + "; its start was told, so this is its end";
    Some(find(Action::Canceled, why, parts.first(), &parts))
}

/// The job of this name, else those that `parallel:` made of it.
pub(super) fn parts<'a>(seen: &Seen<'a>, watched: &str) -> Vec<Live<'a>> {
    let exact = select(&seen.others, |live| live.job.name == watched);
    if exact.is_empty() && !seen.is_own(watched) {
        return select(&seen.others, |live| is_part(&live.job.name, watched));
    }
    exact
}

/// Whether any attempt of it has run, so that waiting it waits for a further turn.
fn has_run(live: &Live) -> bool {
    live.job.has_run() || live.ran_before.is_some()
}

/// Why nothing was deployed, where all parts ended before they started, or were skipped.
fn unstarted(parts: &[Live]) -> Option<String> {
    let unstarted = select(parts, |live| live.job.never_started());
    let is_over = |live: &Live| live.job.never_started() || live.job.status == Status::Skipped;
    let is_so = !unstarted.is_empty() && parts.iter().all(|live| is_over(live) && !has_run(live));
    is_so.then(|| format!("{}, so it deployed nothing", tell(&unstarted)))
}

/// The attempt that counts: what never started has neither deployed anything nor taken anything back.
fn last_that_ran<'a>(live: &Live<'a>) -> Live<'a> {
    match live.ran_before {
        Some((job, attempt)) if live.job.never_started() => Live {
            job,
            attempt,
            ran_before: None,
        },
        _ => *live,
    }
}

fn not_found(seen: &Seen, watched: &str) -> Outcome {
    if let Some(own) = seen.own_name.filter(|_| seen.is_own(watched)) {
        return Outcome::Unknown(format!(
            "NOTIFY_JOB is `{watched}`, and this job, `{own}`, can't see its own end before it has ended: report from \
             its after_script without NOTIFY_JOB, or set EVENT_ACTION"
        ));
    }
    let mut names: Vec<&str> = seen.others.iter().map(|live| whole(&live.job.name)).collect();
    names.sort_unstable();
    names.dedup();
    let hint = match nearest(watched, names.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if names.is_empty() => "this job is alone.".to_owned(),
        None => {
            let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            format!("there is {}.", shortened(&names))
        }
    };
    match &seen.unseen {
        // It may be there all the same: who has said what to tell where GitLab can't be asked has said it.
        Some(why) => Outcome::Unasked(format!(
            "NOTIFY_JOB is `{watched}`, which is none of the pipeline's jobs that GitLab lists; {hint} It may be a trigger \
             job, or one that is not shown: {why}. Then set EVENT_ACTION"
        )),
        None => Outcome::Unknown(format!(
            "NOTIFY_JOB is `{watched}`, and GitLab lists no such job in this pipeline; {hint} The jobs of child pipelines \
             are not in that list: name the trigger job, or set EVENT_ACTION"
        )),
    }
}

/// Whether `name` is one of the jobs that `parallel:` makes of `whole`: `NAME 1/3`, `NAME: [a, b]`, or a matrix's part
/// with a number (GitLab's `Normalizer::NumberStrategy` and `MatrixStrategy`).
pub fn is_part(name: &str, whole: &str) -> bool {
    let Some(rest) = name.strip_prefix(whole) else {
        return false;
    };
    match without_number(rest) {
        Some("") => true,
        Some(matrix) => is_matrix(matrix),
        None => is_matrix(rest),
    }
}

fn is_matrix(suffix: &str) -> bool {
    suffix.starts_with(": [") && suffix.ends_with(']')
}

/// `name` without ` 1/3` at its end, if it has one.
fn without_number(name: &str) -> Option<&str> {
    let (rest, number) = name.rsplit_once(' ')?;
    let (index, total) = number.split_once('/')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(index) && is_number(total)).then_some(rest)
}

/// The name that a part's siblings share.
pub fn whole(name: &str) -> &str {
    let unnumbered = without_number(name).unwrap_or(name);
    match unnumbered.find(": [") {
        Some(start) if is_matrix(&unnumbered[start..]) => &unnumbered[..start],
        _ => unnumbered,
    }
}
