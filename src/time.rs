//! Times as text: written in one form, read in every form that GitLab and the services write.

use std::time::{Duration, SystemTime};

/// A time in RFC 3339, UTC, to the second.
pub fn timestamp(time: SystemTime) -> String {
    // Times before 1970 or after 9999 can't be written so; no clock of a pipeline shows one.
    let time = time
        .max(SystemTime::UNIX_EPOCH)
        .min(SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_799));
    humantime::format_rfc3339_seconds(time).to_string()
}

/// A time in whole seconds since 1970.
pub fn unix(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// A time in RFC 3339, with a fraction or without, in UTC or with an offset: GitLab writes `2025-03-01T10:00:00.000Z`,
/// and `+01:00` where the instance has a time zone.
pub fn parse(time: &str) -> Option<SystemTime> {
    if let Ok(time) = humantime::parse_rfc3339(time) {
        return Some(time);
    }
    let start = time.len().checked_sub("+00:00".len())?;
    let (local, offset) = time.split_at_checked(start)?;
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let part = |text: &str, end: u64| text.parse::<u64>().ok().filter(|part| text.len() == 2 && *part < end);
    let ahead = Duration::from_secs(part(hours, 24)? * 3600 + part(minutes, 60)? * 60);
    let local = humantime::parse_rfc3339(&format!("{local}Z")).ok()?;
    match offset.as_bytes()[0] {
        b'+' => local.checked_sub(ahead),
        b'-' => local.checked_add(ahead),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_fractions_and_offsets() {
        for (text, expected) in [
            ("2025-03-01T10:00:00Z", "2025-03-01T10:00:00Z"),
            ("2025-03-01T10:00:00.999Z", "2025-03-01T10:00:00Z"),
            ("2025-03-01T10:00:00.123456Z", "2025-03-01T10:00:00Z"),
            ("2025-03-01T00:30:00.000+01:00", "2025-02-28T23:30:00Z"),
            ("2025-02-28T23:30:00-05:30", "2025-03-01T05:00:00Z"),
            ("2025-03-01T10:00:00+00:00", "2025-03-01T10:00:00Z"),
        ] {
            assert_eq!(parse(text).map(timestamp).as_deref(), Some(expected), "{text}");
        }
        for text in [
            "",
            "Z",
            "2025-03-01",
            "2025-03-01T10:00:00",
            "2025-03-01T10:00:00+0100",
            "2025-03-01T10:00:00+25:00",
            "2025-03-01T10:00:00é01:00",
            "yesterday",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
