//! What a variable is: its name, type, default and description, declared once by [`variables!`](crate::variables!).
//!
//! A declaration yields the struct that the values are read into (by serde, through `envy`), and the table from which
//! `explain`, `catalog.yml` and the reference are derived.

use serde::de::DeserializeOwned;

pub mod header;
mod hidden;
mod reader;
mod types;
mod url;

pub use header::HeaderLine;
pub use hidden::{Body, Headers, SecretUrl};
pub use reader::{Reader, Renderer, Unrendered, Values};
pub use types::{Count, FilePath, Flag, Foreign, Json, JsonOrText, List, Object, Seconds, Window, parse_json, type_of};
pub use url::{BaseUrl, is_loopback};

use crate::{
    environment::{Environment, Found, Origin},
    problem::Problem,
    text::{nearest, truncate},
};

/// A declared variable.
#[derive(Debug, Clone, Copy)]
pub struct Variable {
    /// Its name in the environment.
    pub name: &'static str,
    /// The struct's field that it fills.
    pub field: &'static str,
    /// What its value has to be.
    pub kind: Kind,
    /// What stands in when it is not set.
    pub default: Default,
    /// Whether its name is not ours to choose, but GitLab's or curl's.
    pub is_foreign: bool,
    /// A name that another tool gave it, read only where that is asked for, and where its own is not set.
    pub official: Option<&'static str>,
    /// Whether a value can become the field's type; if not, why, to be put behind the variable's name.
    pub check: fn(&str) -> Result<(), String>,
    /// What it is for.
    pub description: &'static str,
    /// Where the fact comes from that the vendor wants it so.
    pub source: &'static str,
}

/// What stands in for a variable that is not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Default {
    /// Nothing: it has to be set.
    Required,
    /// Nothing: it may be left out.
    None,
    /// This value.
    Value(&'static str),
    /// Something that the program works out; the text says what.
    Derived(&'static str),
}

/// What a value has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// Text that is never shown.
    Secret,
    /// A whole header line, `Name: value`, of which the value is never shown.
    HeaderLine,
    /// Text that somebody else wrote: it is read as it is, its templates don't run, and it is not shown.
    Foreign,
    /// An address with its scheme.
    Url,
    /// An address that is itself a credential: its host at most is shown.
    SecretUrl,
    /// A JSON object of headers, whose values are never shown.
    Headers,
    /// What is sent: JSON if it looks like it, otherwise text. It may hold credentials, so it is never shown.
    Body,
    /// A JSON object.
    Object,
    /// Any JSON.
    Json,
    /// JSON if it looks like it, otherwise text.
    JsonOrText,
    /// A whole number from 1.
    Count,
    /// Seconds, with a fraction if need be.
    Seconds,
    /// How far back: minutes, hours or days.
    Window,
    /// `true` or `false`.
    Flag,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Words with commas between.
    List,
    /// The path of a file, or `-` for standard input. What is in the file is not the value.
    Path,
}

impl Kind {
    /// The type's name in `catalog.yml`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text | Self::Secret | Self::HeaderLine | Self::Foreign => "string",
            Self::Url | Self::SecretUrl => "url",
            Self::Object | Self::Headers => "json-object",
            Self::Json => "json",
            Self::JsonOrText | Self::Body => "json-or-string",
            Self::Count => "integer",
            Self::Seconds => "seconds",
            Self::Window => "window",
            Self::Flag => "boolean",
            Self::Choice(_) => "enum",
            Self::List => "list",
            Self::Path => "path",
        }
    }
}

impl Variable {
    /// Whether its value must never be shown.
    pub fn is_secret(&self) -> bool {
        matches!(
            self.kind,
            Kind::Secret | Kind::HeaderLine | Kind::SecretUrl | Kind::Headers | Kind::Body
        )
    }

    /// Whether its name is the program's own: then it may be given as `NAME_DEFAULT` too.
    pub fn is_own(&self) -> bool {
        !self.is_foreign && self.official != Some(self.name)
    }

    /// What `environment` has for it under its own name.
    ///
    /// # Errors
    /// A value that can't be used.
    pub fn find_in(&self, environment: &Environment) -> Result<Option<Found>, Problem> {
        if self.kind == Kind::Path {
            environment.find_path(self.name)
        } else if self.is_own() {
            environment.find_or_default(self.name, self.is_secret())
        } else {
            environment.find(self.name, self.is_secret())
        }
    }

    /// Whether its templates run: credentials are taken as they are, and so is what somebody else wrote. What is more than
    /// a credential has them.
    pub fn has_templates(&self) -> bool {
        !matches!(
            self.kind,
            Kind::Secret | Kind::HeaderLine | Kind::SecretUrl | Kind::Foreign
        )
    }

    /// Whether a replay reads it anew instead of taking what was kept: credentials, which are never kept, and addresses,
    /// which may have been what was wrong and must not be chosen by whoever can write a file.
    pub fn is_read_anew(&self) -> bool {
        self.is_secret() || matches!(self.kind, Kind::Url | Kind::Foreign)
    }
}

/// A variable's value, ready to be read into its type or shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The value after cleaning and templates.
    pub value: String,
    /// The variable it came from.
    pub name: String,
    /// Where it came from; none for a built-in default, or what a replay has kept.
    pub origin: Option<Origin>,
    /// Whether it is set, rather than stood in for by its default.
    pub is_given: bool,
    /// Whether the variable holds just this: no file was read, nothing decoded or rendered.
    pub is_verbatim: bool,
}

impl Resolved {
    /// A value that an earlier run has read, for the variable `name`.
    pub fn kept(name: &str, value: String) -> Self {
        Self {
            value,
            name: name.to_owned(),
            origin: None,
            is_given: true,
            is_verbatim: true,
        }
    }

    /// What stands in for `variable` where it is not set, if it has a value to do so.
    pub fn default_of(variable: &Variable) -> Option<Self> {
        match variable.default {
            Default::Value(value) => Some(Self {
                is_given: false,
                ..Self::kept(variable.name, value.to_owned())
            }),
            _ => None,
        }
    }
}

/// A type that a variable's value can be read into.
pub trait FromVariable: DeserializeOwned {
    /// What the value has to be.
    const KIND: Kind;

    /// Takes in where the value was read from.
    fn came_from(&mut self, _found: &Resolved) {}
}

impl<T: FromVariable> FromVariable for Option<T> {
    const KIND: Kind = T::KIND;

    fn came_from(&mut self, found: &Resolved) {
        if let Some(value) = self {
            value.came_from(found);
        }
    }
}

/// A set of variables that are read together. Made by [`variables!`](crate::variables!).
pub trait Group: DeserializeOwned {
    /// The declarations, in the order of the struct's fields.
    const VARIABLES: &'static [Variable];

    /// Lets each value take in where it was read from; `found_of` knows by the field's name, and nothing of fields that
    /// were not set.
    fn came_from<'a>(&mut self, found_of: &dyn Fn(&str) -> Option<&'a Resolved>);
}

/// Declares variables: a struct to read them into, and the table that describes them.
///
/// ```ignore
/// variables! {
///     /// What the destination reads.
///     pub struct Settings, "Rely.io, Public API" {
///         /// The API key.
///         token: Secret = "RELY_API_TOKEN", required;
///         /// Where the API is.
///         url: BaseUrl = "RELY_API_URL", default "https://magneto.rely.io";
///         /// The id.
///         id: Option<String> = "RELY_ENTITY_ID", derived "the event's id";
///         /// More words.
///         description: Option<String> = "RELY_ENTITY_DESCRIPTION", optional;
///     }
/// }
/// ```
/// A fifth part, `official "TOKEN"`, names what another vendor's template calls it; `foreign` says that its own name is
/// somebody else's.
#[macro_export]
macro_rules! variables {
    (
        $(#[doc = $group_doc:literal])+
        pub struct $group:ident, $source:literal {
            $(
                $(#[doc = $doc:literal])+
                $field:ident: $type:ty = $name:literal, $state:ident $($default:literal)? $(, $whose:ident $($official:literal)?)?;
            )+
        }
    ) => {
        $(#[doc = $group_doc])+
        #[derive(Debug, Clone, serde::Deserialize)]
        pub struct $group {
            $(
                $(#[doc = $doc])+
                pub $field: $type,
            )+
        }

        impl $crate::variables::Group for $group {
            const VARIABLES: &'static [$crate::variables::Variable] = &[$(
                $crate::variables::Variable {
                    name: $name,
                    field: stringify!($field),
                    kind: <$type as $crate::variables::FromVariable>::KIND,
                    default: $crate::variables!(@default $state $($default)?),
                    is_foreign: $crate::variables!(@foreign $($whose)?),
                    official: $crate::variables!(@official $($($official)?)?),
                    check: $crate::variables::check::<$type>,
                    description: concat!($($doc),+),
                    source: $source,
                },
            )+];

            fn came_from<'a>(&mut self, found_of: &dyn Fn(&str) -> Option<&'a $crate::variables::Resolved>) {
                $(if let Some(found) = found_of(stringify!($field)) {
                    $crate::variables::FromVariable::came_from(&mut self.$field, found);
                })+
            }
        }
    };
    (@default required) => { $crate::variables::Default::Required };
    (@default optional) => { $crate::variables::Default::None };
    (@default default $value:literal) => { $crate::variables::Default::Value($value) };
    (@default derived $text:literal) => { $crate::variables::Default::Derived($text) };
    (@foreign) => { false };
    (@foreign official) => { false };
    (@foreign foreign) => { true };
    (@official) => { None };
    (@official $name:literal) => { Some($name) };
}

/// Declares a set of words, one of which a variable may hold.
#[macro_export]
macro_rules! choice {
    (
        $(#[doc = $doc:literal])+
        pub enum $name:ident { $($(#[doc = $word_doc:literal])+ $variant:ident = $word:literal,)+ }
    ) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[doc = $word_doc])+ $variant,)+ }

        impl $name {
            /// The words, in the order of the declaration.
            pub const WORDS: &'static [&'static str] = &[$($word),+];
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                $(if text.eq_ignore_ascii_case($word) {
                    return Ok(Self::$variant);
                })+
                Err(serde::de::Error::custom($crate::variables::unknown_word(&text, Self::WORDS)))
            }
        }

        impl $crate::variables::FromVariable for $name {
            const KIND: $crate::variables::Kind = $crate::variables::Kind::Choice(Self::WORDS);
        }
    };
}

/// Whether `value` can become a `T`, by the same way that reads it.
///
/// # Errors
/// The reason why not.
pub fn check<T: DeserializeOwned>(value: &str) -> Result<(), String> {
    types::read_one::<T>(value.to_owned()).map(drop)
}

/// The message for a word that is not one of `words`, with the nearest of them.
pub fn unknown_word(word: &str, words: &[&str]) -> String {
    let hint = nearest(word, words.iter().copied())
        .map(|near| format!(", did you mean `{near}`?"))
        .unwrap_or_default();
    format!("is `{}`; it can be {}{hint}", truncate(word, 60), words.join(", "))
}

/// The problem of a variable that has to be set and is not.
pub fn missing(variable: &Variable, official_names: bool) -> Problem {
    let or_official = match variable.official {
        Some(official) if official_names => format!(" (nor {official})"),
        _ => String::new(),
    };
    let place = if variable.is_secret() {
        "Settings > CI/CD > Variables, masked. If it is protected, only pipelines of protected branches and tags get it: \
         a report of any other, and of a merge request, lacks it"
    } else {
        "the job's variables or in Settings > CI/CD > Variables"
    };
    Problem::new(
        variable.name,
        format!(
            "is not set{or_official}: {} Set it in {place}",
            first_sentence(variable.description)
        ),
    )
}

/// The first sentence of a description, its full stop included.
pub fn first_sentence(description: &str) -> &str {
    let description = description.trim();
    description.find(". ").map_or(description, |end| &description[..=end])
}
