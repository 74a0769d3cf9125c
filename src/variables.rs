//! What a variable is: its name, type, default and description, declared once by [`variables!`](crate::variables!).
//!
//! A declaration yields the struct that the values are read into (by serde, through `envy`), and the table from which
//! `explain`, `catalog.yml` and the README's reference are derived.

use std::{fmt, net::IpAddr, time::Duration};

use serde::{Deserialize, Deserializer, de::DeserializeOwned, de::Error as _};
use serde_json::{Map, Value};
use url::{Host, Url};

use crate::{
    environment::{Environment, Found, Origin, Problem},
    secret::Secret,
    template::{self, Scope},
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
    /// A name that another tool gave it, read only where the destination was named on the command line, and then first.
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
    /// Text that somebody else wrote: it is read as it is, its templates don't run, and it is not shown.
    Foreign,
    /// An address with its scheme.
    Url,
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
    /// `true` or `false`.
    Flag,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Words with commas between.
    List,
}

impl Kind {
    /// The type's name in `catalog.yml`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text | Self::Secret | Self::Foreign => "string",
            Self::Url => "url",
            Self::Object => "json-object",
            Self::Json => "json",
            Self::JsonOrText => "json-or-string",
            Self::Count => "integer",
            Self::Seconds => "seconds",
            Self::Flag => "boolean",
            Self::Choice(_) => "enum",
            Self::List => "list",
        }
    }
}

impl Variable {
    /// Whether its value must never be shown.
    pub fn is_secret(&self) -> bool {
        self.kind == Kind::Secret
    }
}

/// A type that a variable's value can be read into.
pub trait FromVariable: DeserializeOwned {
    /// What the value has to be.
    const KIND: Kind;

    /// Told the variable that the value was read from, once it is known.
    fn came_from(&mut self, _variable: &str) {}
}

impl<T: FromVariable> FromVariable for Option<T> {
    const KIND: Kind = T::KIND;

    fn came_from(&mut self, variable: &str) {
        if let Some(value) = self {
            value.came_from(variable);
        }
    }
}

impl FromVariable for String {
    const KIND: Kind = Kind::Text;
}

impl FromVariable for Secret {
    const KIND: Kind = Kind::Secret;

    fn came_from(&mut self, variable: &str) {
        Secret::came_from(self, variable);
    }
}

/// A set of variables that are read together. Made by [`variables!`](crate::variables!).
pub trait Group: DeserializeOwned {
    /// The declarations, in the order of the struct's fields.
    const VARIABLES: &'static [Variable];

    /// Tells each value the variable it came from.
    fn came_from(&mut self, name_of: &dyn Fn(&str) -> String);
}

/// Declares variables: a struct to read them into, and the table that describes them.
///
/// ```ignore
/// variables! {
///     /// What the destination reads.
///     pub struct Settings, "vendors/rely.md 1" {
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
/// A fifth part, `official "TOKEN"`, names what another vendor's template calls it.
#[macro_export]
macro_rules! variables {
    (
        $(#[doc = $group_doc:literal])+
        pub struct $group:ident, $source:literal {
            $(
                $(#[doc = $doc:literal])+
                $field:ident: $type:ty = $name:literal, $state:ident $($default:literal)? $(, official $official:literal)?;
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
                    official: $crate::variables!(@official $($official)?),
                    check: $crate::variables::check::<$type>,
                    description: concat!($($doc),+),
                    source: $source,
                },
            )+];

            fn came_from(&mut self, name_of: &dyn Fn(&str) -> String) {
                $($crate::variables::FromVariable::came_from(&mut self.$field, &name_of(stringify!($field)));)+
            }
        }
    };
    (@default required) => { $crate::variables::Default::Required };
    (@default optional) => { $crate::variables::Default::None };
    (@default default $value:literal) => { $crate::variables::Default::Value($value) };
    (@default derived $text:literal) => { $crate::variables::Default::Derived($text) };
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
                match text.to_lowercase().as_str() {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(serde::de::Error::custom($crate::variables::unknown_word(&text, Self::WORDS))),
                }
            }
        }

        impl $crate::variables::FromVariable for $name {
            const KIND: $crate::variables::Kind = $crate::variables::Kind::Choice(Self::WORDS);
        }
    };
}

#[derive(Deserialize)]
struct One<T> {
    value: T,
}

/// Whether `value` can become a `T`, by the same way that reads it.
///
/// # Errors
/// The reason why not.
pub fn check<T: DeserializeOwned>(value: &str) -> Result<(), String> {
    match envy::from_iter::<_, One<T>>([("value".to_owned(), value.to_owned())]) {
        Ok(One { value }) => {
            drop(value);
            Ok(())
        }
        Err(envy::Error::Custom(message)) => Err(message),
        Err(envy::Error::MissingValue(_)) => unreachable!("the value is given"),
    }
}

/// The message for a word that is not one of `words`, with the nearest of them.
pub fn unknown_word(word: &str, words: &[&str]) -> String {
    let hint = nearest(word, words.iter().copied())
        .map(|near| format!(", did you mean `{near}`?"))
        .unwrap_or_default();
    format!(
        "is `{}`; it can be {}{hint}",
        template::truncate(word, 60),
        words.join(", ")
    )
}

/// The word most like `word`, if one is like it at all.
pub fn nearest<'a>(word: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    words
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&word.to_lowercase(), candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// What a value looks like, without the value.
pub fn shape(value: &str) -> String {
    let count = value.chars().count();
    let lines = value.lines().count();
    let unit = if count == 1 { "character" } else { "characters" };
    if lines > 1 {
        format!("{count} {unit} in {lines} lines")
    } else {
        format!("{count} {unit}")
    }
}

/// Reads groups of variables: cleans, renders, checks, and names every problem at once.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    /// The process's variables.
    pub environment: &'a Environment,
    /// Where templates look names up; none while the event itself is not yet known.
    pub scope: Option<&'a dyn Scope>,
    /// Whether other tools' names (`official`) are read.
    pub official_names: bool,
    /// Whether `http://` may be used off loopback.
    pub allow_http: bool,
}

/// A variable's value, ready to be read into its type or shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The value after cleaning and templates.
    pub value: String,
    /// The variable it came from.
    pub name: String,
    /// Where it came from; none for a built-in default.
    pub origin: Option<Origin>,
}

impl Reader<'_> {
    /// Reads every variable of `T`.
    ///
    /// # Errors
    /// Every variable that is missing, malformed, or names what it must not, each with what to do.
    pub fn read<T: Group>(&self) -> Result<T, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut resolved = Vec::new();
        for variable in T::VARIABLES {
            match self.resolve(variable) {
                Ok(Some(found)) => match self.check(variable, &found) {
                    Ok(()) => resolved.push((variable.field, found)),
                    Err(problem) => problems.push(problem),
                },
                Ok(None) if variable.default == Default::Required => {
                    problems.push(missing(variable, self.official_names));
                }
                Ok(None) => {}
                Err(problem) => problems.push(problem),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let pairs = resolved
            .iter()
            .map(|(field, found)| ((*field).to_owned(), found.value.clone()));
        let mut group: T = envy::from_iter(pairs).map_err(|error| vec![Problem::new("", error.to_string())])?;
        group.came_from(&|field| {
            resolved
                .iter()
                .find(|(name, _)| *name == field)
                .map(|(_, found)| found.name.clone())
                .unwrap_or_default()
        });
        Ok(group)
    }

    /// Reads one variable of `T` whose value can be had on its own, whatever is wrong with the others.
    pub fn read_one<T: Group, V: FromVariable>(&self, name: &str) -> Option<V> {
        let variable = T::VARIABLES.iter().find(|variable| variable.name == name)?;
        let value = self.resolve(variable).ok()??.value;
        envy::from_iter([("value".to_owned(), value)])
            .ok()
            .map(|One { value }| value)
    }

    /// The value that `variable` has here: its own, or its built-in default.
    ///
    /// # Errors
    /// A value that can't be cleaned or rendered.
    pub fn resolve(&self, variable: &Variable) -> Result<Option<Resolved>, Problem> {
        Ok(match self.find(variable)? {
            Some(found) => Some(Resolved {
                value: self.render(variable, &found)?,
                name: found.name,
                origin: Some(found.origin),
            }),
            None => match variable.default {
                Default::Value(value) => Some(Resolved {
                    value: value.to_owned(),
                    name: variable.name.to_owned(),
                    origin: None,
                }),
                _ => None,
            },
        })
    }

    fn find(&self, variable: &Variable) -> Result<Option<Found>, Problem> {
        if let Some(official) = variable.official.filter(|_| self.official_names)
            && let Some(found) = self.environment.find(official, variable.is_secret())?
        {
            return Ok(Some(found));
        }
        if variable.official == Some(variable.name) {
            return Ok(None);
        }
        // Proxies are named in lower case first, as curl does it.
        if variable.name.ends_with("_PROXY")
            && let Some(found) = self
                .environment
                .find(&variable.name.to_lowercase(), variable.is_secret())?
        {
            return Ok(Some(found));
        }
        self.environment.find(variable.name, variable.is_secret())
    }

    /// Runs the value's templates: in the leaves of JSON, or in the text. Credentials are taken as they are.
    fn render(&self, variable: &Variable, found: &Found) -> Result<String, Problem> {
        let fail = |error: template::TemplateError| Problem::new(&found.name, format!("has a {error}"));
        let Some(scope) = self.scope else {
            return Ok(found.value.clone());
        };
        let is_json = match variable.kind {
            Kind::Secret | Kind::Foreign => return Ok(found.value.clone()),
            Kind::Object | Kind::Json => true,
            Kind::JsonOrText => looks_like_json(&found.value),
            _ => false,
        };
        if !template::is_template(&found.value) {
            return Ok(found.value.clone());
        }
        if is_json {
            let value = parse_json(&found.value).map_err(|message| Problem::new(&found.name, message))?;
            template::render_json(value, scope)
                .map(|value| value.to_string())
                .map_err(fail)
        } else {
            template::render_text(&found.value, scope).map_err(fail)
        }
    }

    /// Whether a value is one that `variable` may have.
    ///
    /// # Errors
    /// Why it is not.
    pub fn check(&self, variable: &Variable, found: &Resolved) -> Result<(), Problem> {
        (variable.check)(&found.value).map_err(|message| Problem::new(&found.name, message))?;
        if variable.kind == Kind::Url && !self.allow_http {
            BaseUrl::parse(&found.value)
                .and_then(|url| url.require_tls())
                .map_err(|message| Problem::new(&found.name, message))?;
        }
        Ok(())
    }
}

/// The problem of a variable that has to be set and is not.
pub fn missing(variable: &Variable, official_names: bool) -> Problem {
    let or_official = match variable.official {
        Some(official) if official_names => format!(" (nor {official})"),
        _ => String::new(),
    };
    let secret = if variable.is_secret() {
        ", masked and protected; a protected variable is absent on refs that are not protected"
    } else {
        ""
    };
    Problem::new(
        variable.name,
        format!(
            "is not set{or_official}: {} Set it in the job's variables or in Settings > CI/CD > Variables{secret}",
            first_sentence(variable.description)
        ),
    )
}

/// The first sentence of a description, its full stop included.
pub fn first_sentence(description: &str) -> &str {
    let description = description.trim();
    description.find(". ").map_or(description, |end| &description[..=end])
}

/// JSON, with what is wrong, and where, if it is none. The text itself is not quoted: it may hold anything.
///
/// # Errors
/// Line and column of the first thing that is wrong.
pub fn parse_json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| {
        let what = error.to_string();
        let what = what.split(" at line ").next().unwrap_or_default();
        format!(
            "is not JSON: {what} at line {}, column {}. The value has {}",
            error.line(),
            error.column(),
            shape(text)
        )
    })
}

fn looks_like_json(text: &str) -> bool {
    text.trim_start().starts_with(['[', '{', '"'])
}

/// Text that somebody else wrote, such as what triggered the pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Foreign(pub String);

impl FromVariable for Foreign {
    const KIND: Kind = Kind::Foreign;
}

/// A JSON object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object(pub Map<String, Value>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Json::deserialize(deserializer)?.0 {
            Value::Object(members) => Ok(Self(members)),
            other => Err(D::Error::custom(format!(
                "has to be a JSON object, as in {{\"name\": \"value\"}}; it is {}",
                type_of(&other)
            ))),
        }
    }
}

impl FromVariable for Object {
    const KIND: Kind = Kind::Object;
}

/// Any JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Json(pub Value);

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_json(&text).map(Self).map_err(D::Error::custom)
    }
}

impl FromVariable for Json {
    const KIND: Kind = Kind::Json;
}

/// JSON where the value starts like an array, an object or a JSON string; text otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonOrText(pub Value);

impl<'de> Deserialize<'de> for JsonOrText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if looks_like_json(&text) {
            parse_json(&text).map(Self).map_err(D::Error::custom)
        } else {
            Ok(Self(Value::String(text)))
        }
    }
}

impl FromVariable for JsonOrText {
    const KIND: Kind = Kind::JsonOrText;
}

/// The name of a JSON value's type, with its article.
pub fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// A whole number from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count(pub u32);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.trim().parse() {
            Ok(count) if count > 0 => Ok(Self(count)),
            _ => Err(D::Error::custom(format!(
                "is `{}`; it has to be a whole number from 1",
                template::truncate(&text, 60)
            ))),
        }
    }
}

impl FromVariable for Count {
    const KIND: Kind = Kind::Count;
}

/// A time in seconds, more than none and at most a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seconds(pub Duration);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.trim().parse::<f64>() {
            Ok(seconds) if seconds > 0.0 && seconds <= 86_400.0 => Ok(Self(Duration::from_secs_f64(seconds))),
            _ => Err(D::Error::custom(format!(
                "is `{}`; it has to be a number of seconds, more than 0 and at most 86400, without a unit",
                template::truncate(&text, 60)
            ))),
        }
    }
}

impl FromVariable for Seconds {
    const KIND: Kind = Kind::Seconds;
}

/// Yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flag(pub bool);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.trim().to_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(Self(true)),
            "false" | "0" | "no" | "off" => Ok(Self(false)),
            _ => Err(D::Error::custom(format!(
                "is `{}`; it has to be true or false",
                template::truncate(&text, 60)
            ))),
        }
    }
}

impl FromVariable for Flag {
    const KIND: Kind = Kind::Flag;
}

/// Words with commas between; spaces around them don't count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List(pub Vec<String>);

impl<'de> Deserialize<'de> for List {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let words: Vec<String> = String::deserialize(deserializer)?
            .split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect();
        if words.is_empty() {
            return Err(D::Error::custom("has commas and spaces, but no word"));
        }
        Ok(Self(words))
    }
}

impl FromVariable for List {
    const KIND: Kind = Kind::List;
}

/// The address of a service: scheme, host, port, and the path behind which its API lies.
#[derive(Clone, PartialEq, Eq)]
pub struct BaseUrl(Url);

impl BaseUrl {
    /// Reads an address.
    ///
    /// # Errors
    /// An address without scheme or host, with credentials, a query or a fragment in it, or none at all.
    pub fn parse(text: &str) -> Result<Self, String> {
        let example = "as in https://api.example.com";
        let text = text.trim();
        if !text.contains("://") {
            return Err(format!("has no scheme; it has to start with https://, {example}"));
        }
        let url = Url::parse(text).map_err(|error| format!("is no address ({error}); write it {example}"))?;
        if !matches!(url.scheme(), "https" | "http") {
            return Err(format!(
                "has the scheme {}; only https and http are spoken here",
                url.scheme()
            ));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("has a user name or password in it; credentials have variables of their own".to_owned());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(format!("has a `?` or `#` in it; give the address only, {example}"));
        }
        Ok(Self(url))
    }

    /// This address followed by `path`, where the address may already end in one of `prefixes` with which every path
    /// of the API starts (`/api/v1`): people copy it with and without.
    pub fn join(&self, prefixes: &[&str], path: &str) -> String {
        let base = self.0.as_str().trim_end_matches('/');
        let base = prefixes
            .iter()
            .find_map(|prefix| base.strip_suffix(prefix))
            .unwrap_or(base);
        format!("{base}{path}")
    }

    /// Whether credentials may go there: over https, or to this machine.
    ///
    /// # Errors
    /// It is `http://` to another machine.
    pub fn require_tls(&self) -> Result<(), String> {
        let is_loopback = match self.0.host() {
            Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Some(Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
            Some(Host::Ipv6(address)) => IpAddr::from(address).is_loopback(),
            None => false,
        };
        if self.0.scheme() == "https" || is_loopback {
            return Ok(());
        }
        Err("is http://, which would send credentials in the clear; use https://, or set NOTIFY_ALLOW_HTTP=true if the \
             network between is your own"
            .to_owned())
    }
}

impl fmt::Debug for BaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0.as_str())
    }
}

impl<'de> Deserialize<'de> for BaseUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl FromVariable for BaseUrl {
    const KIND: Kind = Kind::Url;
}
