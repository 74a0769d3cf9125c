//! Result classes and exit codes, declared once: `--help`, `docs/reference.md` and `catalog.yml` are derived from here.

use crate::settings::OnError;

macro_rules! classes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $word:literal, $code:literal;)+) => {
        /// How a delivery ended.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Class {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Class {
            /// Every class, in the order of its exit code.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its name in reports and receipts.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// The exit code under the policy `warn`: 0, or one that tells the classes apart.
            pub fn code(self) -> u8 {
                match self { $(Self::$variant => $code,)+ }
            }

            /// What it means.
            pub fn description(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+),)+ }
            }
        }
    };
}

classes! {
    /// The service has accepted it.
    Sent = "sent", 0;
    /// There was nothing to send: filtered, already sent, or nothing to say in the vendor's vocabulary.
    Skipped = "skipped", 0;
    /// The service could not be reached, or answered 408, 425, 429 or 5xx, to the last attempt; or an earlier attempt may have counted, and nobody can tell.
    Unavailable = "unavailable", 75;
    /// The service refused it, with its own message, or answered with something that it does not document.
    Rejected = "rejected", 76;
    /// A variable is missing, malformed or contradictory, or leads to a server whose certificate is not trusted; nothing was sent there.
    Misconfigured = "misconfigured", 78;
}

/// Exit code of a failure under the policy `fail`, and of a bug.
pub const FAILED: u8 = 1;
/// Exit code of a command line that is not understood.
pub const USAGE: u8 = 2;

/// Every exit code, its name, and what it means.
pub fn exit_codes() -> Vec<(u8, &'static str, &'static str)> {
    let mut codes = vec![
        (0, "done", "Everything was sent, or there was nothing to send."),
        (FAILED, "failed", "A failure under NOTIFY_ON_ERROR=fail, or a bug."),
        (USAGE, "usage", "The command line is not understood."),
    ];
    let failures = Class::ALL.iter().filter(|class| class.is_failure());
    codes.extend(failures.map(|class| (class.code(), class.word(), class.description().trim())));
    codes
}

impl Class {
    /// Whether it is a failure.
    pub fn is_failure(self) -> bool {
        self.code() != 0
    }
}

/// The worst of the classes: the one with the highest exit code.
pub fn worst(classes: impl IntoIterator<Item = Class>) -> Class {
    classes
        .into_iter()
        .max_by_key(|class| class.code())
        .unwrap_or(Class::Sent)
}

/// The exit code of a run whose worst class is `worst`.
pub fn exit_code(worst: Class, policy: OnError) -> u8 {
    match policy {
        _ if !worst.is_failure() => 0,
        OnError::Warn => worst.code(),
        OnError::Fail => FAILED,
        OnError::Ignore => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_code_wins() {
        let all = [Class::Sent, Class::Misconfigured, Class::Unavailable, Class::Rejected];
        assert_eq!(worst(all), Class::Misconfigured);
        assert_eq!(worst([Class::Skipped, Class::Unavailable]), Class::Unavailable);
        assert_eq!(worst([]).code(), 0);
    }

    #[test]
    fn the_policy_decides() {
        for class in Class::ALL {
            assert_eq!(exit_code(*class, OnError::Warn), class.code());
            assert_eq!(exit_code(*class, OnError::Fail), u8::from(class.is_failure()));
            assert_eq!(exit_code(*class, OnError::Ignore), 0);
        }
    }
}
