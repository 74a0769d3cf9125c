//! What happened, in words: the event's own, and their synonyms.

use std::fmt;

use crate::text::is_typo;

/// Declares the actions once: variant, word, synonyms.
macro_rules! actions {
    ($($(#[doc = $doc:literal])+ $variant:ident = $word:literal, [$($synonym:literal),*];)+) => {
        /// What happened.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Action {
            $($(#[doc = $doc])+ $variant,)+
            /// Another word, for destinations that take any (CTO.ai's `change` events).
            Other(String),
            /// Left open, where a request is only shown or tried: GitLab can't be asked, or nothing has happened yet.
            Open,
        }

        impl Action {
            /// The words that are told apart, in the order of a deployment's life.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// The action that a word means. Case, and which of `-`, `_` and a space stands between words, don't count.
            pub fn from_word(word: &str) -> Self {
                match plain(word).as_str() {
                    $($word $(| $synonym)* => Self::$variant,)+
                    _ => Self::Other(word.trim().to_owned()),
                }
            }

            /// The word for it.
            pub fn word(&self) -> &str {
                match self {
                    $(Self::$variant => $word,)+
                    Self::Other(word) => word,
                    Self::Open => "<action>",
                }
            }
        }
    };
}

actions! {
    /// It has begun.
    Started = "started", ["start", "begin", "began", "initiated", "created"];
    /// It goes on.
    Progressing = "progressing", ["progress", "in_progress", "running", "deploying"];
    /// It ended well.
    Success = "success", ["succeeded", "successful", "succeed", "ok", "passed", "complete", "completed", "finished", "deployed"];
    /// It ended badly.
    Failure = "failure", ["failed", "fail", "error", "errored", "broken"];
    /// Somebody, or GitLab, ended it.
    Canceled = "canceled", ["cancelled", "cancel", "aborted"];
    /// It waits for something: a person, a runner, a freeze's end.
    Blocked = "blocked", ["pending", "waiting", "queued", "manual", "on_hold"];
    /// What had been deployed was taken down.
    Stopped = "stopped", ["torn_down", "undeployed"];
    /// What had been deployed gave way to what was there before.
    RolledBack = "rolled_back", [];
}

impl Action {
    /// Whether nothing more is to come of the deployment: nothing that happened before may undo it.
    pub fn is_final(&self) -> bool {
        self.ends_run() || self.is_aftermath()
    }

    /// Whether the deployment's run has ended with it.
    pub fn ends_run(&self) -> bool {
        matches!(self, Self::Success | Self::Failure | Self::Canceled)
    }

    /// Whether it tells what became of a deployment after its run. When that began and ended, how, and who had it done
    /// stays true then, and is not for the job to tell that stopped it or rolled it back.
    pub fn is_aftermath(&self) -> bool {
        matches!(self, Self::Stopped | Self::RolledBack)
    }

    /// The word that is meant by another one that is a typo away from it.
    pub fn meant(&self) -> Option<&'static str> {
        let Self::Other(word) = self else { return None };
        let word = plain(word);
        Self::WORDS.iter().copied().find(|meant| is_typo(&word, meant))
    }
}

/// A word as words are compared.
fn plain(word: &str) -> String {
    word.trim().to_lowercase().replace(['-', ' '], "_")
}

impl fmt::Display for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_synonyms() {
        for (word, action) in [
            ("succeeded", Action::Success),
            ("deployed", Action::Success),
            ("FAILED", Action::Failure),
            ("cancelled", Action::Canceled),
            ("in-progress", Action::Progressing),
            ("running", Action::Progressing),
            ("pending", Action::Blocked),
            ("Rolled Back", Action::RolledBack),
            ("torn-down", Action::Stopped),
            ("merge", Action::Other("merge".to_owned())),
        ] {
            assert_eq!(Action::from_word(word), action);
        }
        for word in Action::WORDS {
            assert_eq!(Action::from_word(word).word(), *word);
        }
    }

    #[test]
    fn a_typo_of_a_word_is_none_of_another_word() {
        for (word, meant) in [
            ("sucess", Some("success")),
            ("Faliure", Some("failure")),
            ("stoped", Some("stopped")),
            ("rolledback", Some("rolled_back")),
            ("rolled-bakc", Some("rolled_back")),
            ("started!", Some("started")),
            ("startedd", Some("started")),
            // Synonyms, and words that are near to a synonym alone.
            ("cancelled", None),
            ("start", None),
            ("succeded", None),
            ("promoted", None),
            ("scess", None),
        ] {
            assert_eq!(Action::from_word(word).meant(), meant, "{word}");
        }
    }

    #[test]
    fn what_ends_a_run_is_not_what_comes_after_it() {
        for word in Action::WORDS {
            let action = Action::from_word(word);
            let is_of_run = matches!(*word, "success" | "failure" | "canceled");
            let is_after = matches!(*word, "stopped" | "rolled_back");
            assert_eq!(
                (action.ends_run(), action.is_aftermath()),
                (is_of_run, is_after),
                "{word}"
            );
            assert_eq!(action.is_final(), is_of_run || is_after, "{word}");
        }
    }
}
