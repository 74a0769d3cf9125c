//! What happened, where `EVENT_ACTION` is `auto`: by the job's own status in its `after_script`, else by GitLab's jobs.

use super::{Action, ActionSource};
use crate::{
    gitlab::outcome::Outcome,
    problem::{Problem, Unmade},
};

/// What the action has come to: the action or why there is none, how that is known, and the word as it was given.
pub struct Found {
    /// The action, or why there is none.
    pub action: Result<Action, Unmade>,
    /// How it is known.
    pub source: ActionSource,
    /// The word as it was given.
    pub word: Option<String>,
    /// Whether `EVENT_ACTION` itself can't be read, rather than that nothing tells what happened.
    pub is_unreadable: bool,
}

impl Found {
    /// An action that was found out, or why it was not.
    fn new(action: Result<Action, Unmade>, source: ActionSource) -> Self {
        Self {
            action,
            source,
            word: None,
            is_unreadable: false,
        }
    }

    /// `EVENT_ACTION` can't be read.
    pub fn unreadable(why: Unmade) -> Self {
        Self {
            is_unreadable: true,
            ..Self::new(Err(why), ActionSource::Unknown)
        }
    }

    /// Somebody has set the action.
    pub fn given(word: String) -> Self {
        let found = Self::new(Ok(Action::from_word(&word)), ActionSource::Variable);
        Self {
            word: Some(word),
            ..found
        }
    }

    /// By the status that an `after_script` sees of its job, in the runner's words (docs/gitlab.md 12, 14).
    pub fn by_job_status(status: &str) -> Self {
        let action = match status {
            "success" => Ok(Action::Success),
            "failed" | "timedout" | "terminated" => Ok(Action::Failure),
            "canceled" => Ok(Action::Canceled),
            other => unknown(&format!("CI_JOB_STATUS is `{other}`, which no version known here says")),
        };
        Self::new(action, ActionSource::JobStatus)
    }

    /// By what GitLab's jobs tell; `is_open` leaves open what they don't.
    pub fn by_jobs(outcome: Option<&Outcome>, is_open: bool) -> Self {
        let (action, source) = match outcome {
            Some(Outcome::Happened(finding)) => (Ok(finding.action.clone()), ActionSource::Jobs(finding.why.clone())),
            _ if is_open => (Ok(Action::Open), ActionSource::Unknown),
            Some(Outcome::Nothing(why)) => (Err(Unmade::Nothing(why.clone())), ActionSource::Unknown),
            Some(Outcome::Unasked(why) | Outcome::Unknown(why)) => (unknown(why), ActionSource::Unknown),
            None => (unknown("GitLab's jobs were not read"), ActionSource::Unknown),
        };
        Self::new(action, source)
    }
}

fn unknown<T>(why: &str) -> Result<T, Unmade> {
    let message = format!("is auto, and {why}. Set it to one of {}", Action::WORDS.join(", "));
    Err(Problem::new("EVENT_ACTION", message).into())
}
