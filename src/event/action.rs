//! What happened, in words: the event's own, and their synonyms.

use std::fmt;

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

            /// The action that a word means. Case, `-` and `_` don't count.
            pub fn from_word(word: &str) -> Self {
                match word.trim().to_lowercase().replace(['-', ' '], "_").as_str() {
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
    Success = "success", ["succeeded", "successful", "succeed", "ok", "passed", "complete", "completed", "finished"];
    /// It ended badly.
    Failure = "failure", ["failed", "fail", "error", "errored", "broken"];
    /// Somebody, or GitLab, ended it.
    Canceled = "canceled", ["cancelled", "cancel", "aborted"];
    /// It waits for something: a person, a runner, a freeze's end.
    Blocked = "blocked", ["pending", "waiting", "queued", "manual", "on_hold"];
}

impl Action {
    /// Whether the deployment has ended with it.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Success | Self::Failure | Self::Canceled)
    }
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
            ("FAILED", Action::Failure),
            ("cancelled", Action::Canceled),
            ("in-progress", Action::Progressing),
            ("running", Action::Progressing),
            ("pending", Action::Blocked),
            ("merge", Action::Other("merge".to_owned())),
        ] {
            assert_eq!(Action::from_word(word), action);
        }
        for word in Action::WORDS {
            assert_eq!(Action::from_word(word).word(), *word);
        }
    }
}
