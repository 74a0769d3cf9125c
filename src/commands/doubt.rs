//! Doubt: what is done about a delivery that an earlier attempt may have made, and what is said of it. A retry of the job, a
//! job that is run again and the replay of a folder are nobody's wish that it be done a second time.

use std::time::SystemTime;

use crate::{
    delivery::{plan::Plan, result::DeliveryResult},
    destinations::{Repetition, Target},
    settings::OnDoubt,
    variables::Values,
};

/// What is not known about a delivery.
pub struct Doubt {
    /// Why it isn't.
    pub why: String,
    /// No attempt that may have delivered it began before this.
    pub since: SystemTime,
    /// Whether somebody has said that it should be sent all the same.
    pub is_wanted: bool,
}

/// What becomes of a `plan` that was made of `values` for a delivery in doubt: where the service can be asked, it asks, and says so;
/// else it is sent only if somebody said so.
pub fn resolve(plan: Plan, target: &Target, values: &Values, doubt: &Doubt, policy: OnDoubt) -> Plan {
    if plan.skip.is_some() {
        return plan;
    }
    let why = &doubt.why;
    let title = target.destination.title;
    let note = match target.operation.repetition(|name| values.is_given(name)) {
        Repetition::Harmless | Repetition::Deduplicated => return plan,
        Repetition::Asked => format!("{why}; {title} is asked first"),
        Repetition::Unasked if doubt.is_wanted => format!("{why}; it is sent, since its file was named"),
        Repetition::Unasked if policy == OnDoubt::Send => format!("{why}; it is sent, as NOTIFY_ON_DOUBT=send says"),
        Repetition::Unasked => {
            return plan.withhold(format!(
                "{why}. A second time would count twice, and {title} can't be asked, so it was not sent"
            ));
        }
    };
    let mut plan = Plan { in_doubt: true, ..plan };
    plan.notes.push(note);
    plan
}

/// Says of a delivery that ended in doubt what can be done about it.
pub fn advise(target: &Target, values: &Values, mut result: DeliveryResult) -> DeliveryResult {
    let repetition = target.operation.repetition(|name| values.is_given(name));
    if !result.is_in_doubt(target.counts(values)) {
        return result;
    }
    let title = target.destination.title;
    let advice = if repetition == Repetition::Asked {
        format!("In doubt: the next attempt of this job, or a replay, asks {title} first")
    } else {
        format!(
            "In doubt: look at {title} whether it counted. If it did not, name its file in `notify-event replay`, or run \
             this again with NOTIFY_ON_DOUBT=send"
        )
    };
    result.detail = Some(match result.detail {
        Some(detail) => format!("{}. {advice}", detail.trim_end_matches('.')),
        None => advice,
    });
    result
}
