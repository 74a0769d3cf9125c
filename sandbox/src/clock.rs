//! Times, as the services read and print them.

use std::time::Duration;

use time::OffsetDateTime;

/// The current time as the services print it: RFC 3339, UTC, milliseconds.
pub(crate) fn now() -> String {
    stamp(OffsetDateTime::now_utc())
}

/// A time as the services print it.
pub(crate) fn stamp(moment: OffsetDateTime) -> String {
    let format =
        time::macros::format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    moment.format(format).expect("a UTC time always fits this format")
}

/// Reads a time that a service or a seed wrote.
pub(crate) fn parse_time(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).ok()
}

/// How long ago a time was; nothing for one that is ahead, or isn't one.
pub(crate) fn age(time: &str) -> Duration {
    let elapsed = parse_time(time).map(|time| OffsetDateTime::now_utc() - time);
    elapsed.and_then(|elapsed| elapsed.try_into().ok()).unwrap_or_default()
}

/// A time that is later by this much.
pub(crate) fn later(time: &str, by: Duration) -> String {
    parse_time(time).map_or_else(now, |time| stamp(time + by))
}
