//! What a run may cost.

use std::time::Duration;

use tokio::time::Instant;

/// Limits of the run.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// When everything has to have ended.
    pub deadline: Instant,
    /// The same as a length, for messages.
    pub budget: Duration,
    /// What that length is, for messages.
    pub budget_is: &'static str,
    /// Time for one attempt.
    pub attempt: Duration,
    /// Attempts at one request.
    pub attempts: u32,
}

impl Limits {
    /// The limits of questions, which must leave time for the delivery that they precede.
    pub fn of_questions(self) -> Self {
        let half = self.budget / 2;
        Self {
            deadline: self.deadline.checked_sub(half).unwrap_or(self.deadline),
            budget: half,
            budget_is: "that GitLab gets of NOTIFY_TIMEOUT",
            ..self
        }
    }
}
