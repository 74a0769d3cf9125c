//! The parameters of a query.

use super::model::JOB_STATUSES;
use super::refusal::Refusal;
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
