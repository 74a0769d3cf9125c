//! The rate limit of an organisation (docs/vendors/port.md 5).

use std::time::{Duration, Instant};

/// So many requests in a period, which begins with the first of them.
pub(super) struct Rate {
    limit: usize,
    period: Duration,
    /// When the period began, and how many requests are left of it.
    current: Option<(Instant, usize)>,
}

impl Rate {
    pub(super) fn new(limit: usize, period: Duration) -> Self {
        Self {
            limit,
            period,
            current: None,
        }
    }

    /// Whether a request is taken; it counts if so.
    pub(super) fn take(&mut self) -> bool {
        let current = self.current.filter(|(begun, _)| begun.elapsed() < self.period);
        let (begun, left) = current.unwrap_or_else(|| (Instant::now(), self.limit));
        self.current = Some((begun, left.saturating_sub(1)));
        left > 0
    }

    /// What every reply says of it: the reset as seconds to wait, rounded up.
    pub(super) fn headers(&self) -> [(&'static str, String); 4] {
        let (begun, left) = self.current.unwrap_or_else(|| (Instant::now(), self.limit));
        let rest = self.period.saturating_sub(begun.elapsed()).as_secs_f64().ceil();
        [
            ("x-ratelimit-period", self.period.as_secs().to_string()),
            ("x-ratelimit-limit", self.limit.to_string()),
            ("x-ratelimit-remaining", left.to_string()),
            ("x-ratelimit-reset", format!("{rest:.0}")),
        ]
    }
}
