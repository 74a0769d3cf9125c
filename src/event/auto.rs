//! What `EVENT_ACTION` says, and what happened where it is `auto`: by the job's own status in its `after_script`, else by
//! GitLab's jobs, else what it names for the case that neither can be had.

use super::{Action, ActionSource};
use crate::{
    gitlab::outcome::Outcome,
    problem::{Problem, Unmade},
    variables::unknown_word,
};

const AUTO: &str = "auto";

/// What `EVENT_ACTION` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Given {
    /// What happened, in this word.
    Word(String),
    /// That it is to be found out; and what is told where GitLab's jobs can't be asked.
    Auto(Option<Action>),
}

impl Given {
    /// Reads a value; none is `auto`.
    ///
    /// # Errors
    /// A word that is a typo away from one that is known; behind `auto:`, any that is not known.
    pub fn read(value: Option<&str>) -> Result<Self, Problem> {
        let value = value.unwrap_or(AUTO).trim();
        let (first, fallback) = match value.split_once(':') {
            Some((first, fallback)) => (first.trim_end(), Some(fallback.trim())),
            None => (value, None),
        };
        match (first.eq_ignore_ascii_case(AUTO), fallback) {
            (true, None) => Ok(Self::Auto(None)),
            (true, Some(fallback)) => match Action::from_word(fallback) {
                Action::Other(word) => {
                    let what = format!("has behind `auto:` what {}", unknown_word(&word, Action::WORDS));
                    Err(Problem::new("EVENT_ACTION", what))
                }
                action => Ok(Self::Auto(Some(action))),
            },
            (false, _) => match Action::from_word(value).meant() {
                Some(meant) => {
                    let what = format!("is `{value}`, did you mean `{meant}`?");
                    Err(Problem::new("EVENT_ACTION", what))
                }
                None => Ok(Self::Word(value.to_owned())),
            },
        }
    }
}

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

    /// By the status that an `after_script` sees of its job, in the runner's words (docs/gitlab.md 12, 14), and by what the
    /// job does to its environment (`CI_ENVIRONMENT_ACTION`): most of that is no deployment (docs/gitlab.md 3.4).
    pub fn by_job_status(status: &str, environment_action: Option<&str>) -> Self {
        let action = match (environment_action, status) {
            (Some("stop"), "success") => Ok(Action::Stopped),
            (Some("stop"), _) => Err(Unmade::Nothing(format!(
                "this job stops the environment, and tells of it only where it succeeds: its status is `{status}`"
            ))),
            (Some(action @ ("prepare" | "verify" | "access")), _) => Err(Unmade::Nothing(format!(
                "this job's `environment:` has `action: {action}`, so it deploys nothing"
            ))),
            (_, "success") => Ok(Action::Success),
            (_, "failed" | "timedout" | "terminated") => Ok(Action::Failure),
            (_, "canceled") => Ok(Action::Canceled),
            _ => unknown(&format!(
                "CI_JOB_STATUS is `{status}`, which no version known here says"
            )),
        };
        Self::new(action, ActionSource::JobStatus)
    }

    /// By what GitLab's jobs tell; where they can't be asked, `fallback`; `is_open` leaves open what is not known.
    pub fn by_jobs(outcome: Option<&Outcome>, fallback: Option<&Action>, is_open: bool) -> Self {
        let (action, source) = match outcome {
            Some(Outcome::Happened(finding)) => {
                let source = ActionSource::Jobs(finding.why.clone());
                (Ok(finding.action.clone()), source)
            }
            Some(Outcome::Unasked(why)) if let Some(action) = fallback => {
                let source = ActionSource::Fallback(format!("{action}, since {why}"));
                (Ok(action.clone()), source)
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_typos_and_what_is_told_where_nothing_tells() {
        let word = |word: &str| Ok(Given::Word(word.to_owned()));
        let auto = |fallback| Ok(Given::Auto(fallback));
        for (value, read) in [
            ("auto", auto(None)),
            (" AUTO ", auto(None)),
            ("auto:success", auto(Some(Action::Success))),
            ("Auto: Failed", auto(Some(Action::Failure))),
            ("auto:rolled-back", auto(Some(Action::RolledBack))),
            ("succeeded", word("succeeded")),
            ("promoted", word("promoted")),
            ("change:merged", word("change:merged")),
            ("sucess", Err("EVENT_ACTION is `sucess`, did you mean `success`?")),
            ("auto:sucess", Err("did you mean `success`?")),
            (
                "auto:promoted",
                Err("EVENT_ACTION has behind `auto:` what is `promoted`; it can be started, "),
            ),
            ("auto:", Err("it can be started, ")),
            ("auto:auto", Err("it can be started, ")),
        ] {
            match (Given::read(Some(value)), read) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{value}"),
                (Err(problem), Err(expected)) => assert!(problem.to_string().contains(expected), "{value}: {problem}"),
                (found, _) => panic!("{value}: {found:?}"),
            }
        }
        assert_eq!(Given::read(None), Ok(Given::Auto(None)));
    }

    #[test]
    fn what_a_job_does_to_its_environment_says_what_its_status_means() {
        const STATUSES: [&str; 6] = ["success", "failed", "canceled", "timedout", "terminated", "levitating"];
        let told = |status, environment_action| match Found::by_job_status(status, environment_action).action {
            Ok(action) => action.to_string(),
            Err(Unmade::Nothing(_)) => "nothing".to_owned(),
            Err(Unmade::Wrong(_)) => "wrong".to_owned(),
        };
        for (environment_action, expected) in [
            (None, "success failure canceled failure failure wrong"),
            (Some("start"), "success failure canceled failure failure wrong"),
            (Some("stop"), "stopped nothing nothing nothing nothing nothing"),
            (Some("prepare"), "nothing nothing nothing nothing nothing nothing"),
            (Some("verify"), "nothing nothing nothing nothing nothing nothing"),
            (Some("access"), "nothing nothing nothing nothing nothing nothing"),
        ] {
            let found = STATUSES.map(|status| told(status, environment_action)).join(" ");
            assert_eq!(found, expected, "{environment_action:?}");
        }
    }

    #[test]
    fn the_fallback_counts_only_where_gitlab_could_not_be_asked() {
        let why = || "why".to_owned();
        let found = |outcome: &Outcome, is_open| {
            let Found { action, source, .. } = Found::by_jobs(Some(outcome), Some(&Action::Success), is_open);
            (action, source.to_string())
        };
        let fallback = "by EVENT_ACTION's auto:success, since why".to_owned();
        for is_open in [false, true] {
            let found = found(&Outcome::Unasked(why()), is_open);
            assert_eq!(found, (Ok(Action::Success), fallback.clone()));
        }
        assert!(matches!(
            found(&Outcome::Unknown(why()), false).0,
            Err(Unmade::Wrong(_))
        ));
        assert!(matches!(
            found(&Outcome::Nothing(why()), false).0,
            Err(Unmade::Nothing(_))
        ));
        let without = Found::by_jobs(Some(&Outcome::Unasked(why())), None, false);
        assert!(matches!(without.action, Err(Unmade::Wrong(_))));
    }
}
