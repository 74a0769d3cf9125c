//! The parameters of a query.

use time::UtcOffset;

use super::model::JOB_STATUSES;
use super::refusal::Refusal;
use crate::clock::{parse_time, stamp};
use crate::wire::Query;

/// The parameters of a list: its own, those of every list, and the token.
pub(super) fn check(query: &Query, own: &[&str]) -> Result<(), Refusal> {
    refuse_unknown(query, &[own, &["page", "per_page", "job_token"]].concat())
}

pub(super) fn refuse_unknown(query: &Query, known: &[&str]) -> Result<(), Refusal> {
    match query.unknown(known) {
        None => Ok(()),
        Some(name) => Err(Refusal::error(
            400,
            format!("{name} is unknown to the sandbox, and ignored by GitLab"),
        )),
    }
}

/// A boolean, as GitLab's framework reads it.
pub(super) fn flag(query: &Query, name: &str) -> Result<Option<bool>, Refusal> {
    match query.get(name) {
        None => Ok(None),
        Some("false" | "0") => Ok(Some(false)),
        Some("true" | "1") => Ok(Some(true)),
        Some(_) => Err(Refusal::error(400, format!("{name} is invalid"))),
    }
}

/// A time in RFC 3339, or a day; GitLab would also read looser forms. As times are printed, which compare as text.
pub(super) fn time(query: &Query, name: &str) -> Result<Option<String>, Refusal> {
    let Some(given) = query.get(name).filter(|given| !given.is_empty()) else {
        return Ok(None);
    };
    let time = parse_time(given).or_else(|| parse_time(&format!("{given}T00:00:00Z")));
    let time = time.and_then(|time| time.checked_to_offset(UtcOffset::UTC));
    time.map(|time| Some(stamp(time)))
        .ok_or_else(|| Refusal::error(400, format!("{name} is invalid")))
}

/// The statuses that are asked for; none for all.
pub(super) fn scope(query: &Query) -> Result<Vec<String>, Refusal> {
    let scope = [query.all("scope"), query.all("scope[]")].concat();
    if scope.iter().all(|status| JOB_STATUSES.contains(status)) {
        Ok(scope.into_iter().map(str::to_owned).collect())
    } else {
        Err(Refusal::error(400, "scope does not have a valid value"))
    }
}

/// One of the known values; the first, where there is none.
pub(super) fn choice<'a>(query: &Query, name: &str, known: &[&'a str]) -> Result<&'a str, Refusal> {
    match query.get(name) {
        None => Ok(known[0]),
        Some(value) => {
            let known = known.iter().find(|known| **known == value);
            known
                .copied()
                .ok_or_else(|| Refusal::error(400, format!("{name} does not have a valid value")))
        }
    }
}
