//! What values are read into.

use std::time::Duration;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _},
};
use serde_json::{Map, Value};

use super::{FromVariable, Kind, Resolved};
use crate::{
    secret::Secret,
    text::{shape, truncate},
};

#[derive(Deserialize)]
struct One<T> {
    value: T,
}

/// A single value, by the same way that reads groups of them.
///
/// # Errors
/// The reason why it can't be one, to be put behind the variable's name.
pub(super) fn read_one<T: DeserializeOwned>(value: String) -> Result<T, String> {
    match envy::from_iter::<_, One<T>>([("value".to_owned(), value)]) {
        Ok(One { value }) => Ok(value),
        Err(envy::Error::Custom(message)) => Err(message),
        Err(envy::Error::MissingValue(_)) => unreachable!("the value is given"),
    }
}

impl FromVariable for String {
    const KIND: Kind = Kind::Text;
}

impl FromVariable for Secret {
    const KIND: Kind = Kind::Secret;

    fn came_from(&mut self, found: &Resolved) {
        Self::came_from(self, &found.name);
    }
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

/// Whether a value that may be either is JSON: it starts like an array, an object or a JSON string, and not like a
/// template, which no JSON starts with.
pub(super) fn looks_like_json(text: &str) -> bool {
    let text = text.trim_start();
    text.starts_with(['[', '{', '"']) && !["{{", "{%", "{#"].iter().any(|sign| text.starts_with(sign))
}

/// Text that somebody else wrote, such as what triggered the pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Foreign(pub String);

impl FromVariable for Foreign {
    const KIND: Kind = Kind::Foreign;
}

/// The path of a file, or `-` for standard input.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct FilePath(pub String);

impl FromVariable for FilePath {
    const KIND: Kind = Kind::Path;
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
                truncate(&text, 60)
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
                truncate(&text, 60)
            ))),
        }
    }
}

impl FromVariable for Seconds {
    const KIND: Kind = Kind::Seconds;
}

/// How far back something goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// To the beginning of this pipeline, and not beyond it.
    Pipeline,
    /// So long.
    Last(Duration),
}

/// The longest window: ten years.
const LONGEST_WINDOW: Duration = Duration::from_hours(24 * 3660);

impl<'de> Deserialize<'de> for Window {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let word = text.trim().to_lowercase();
        if word == "pipeline" {
            return Ok(Self::Pipeline);
        }
        let seconds = |number: &str, unit: u64| number.trim().parse::<u64>().ok()?.checked_mul(unit);
        let units = [("m", 60), ("h", 3600), ("d", 86_400)];
        let mut windows = units
            .into_iter()
            .filter_map(|(sign, unit)| seconds(word.strip_suffix(sign)?, unit).map(Duration::from_secs));
        match windows.next() {
            Some(window) if !window.is_zero() && window <= LONGEST_WINDOW => Ok(Self::Last(window)),
            _ => Err(D::Error::custom(format!(
                "is `{}`; it has to be a whole number of minutes, hours or days, as in 30m, 48h or 90d (3660d at most), or \
                 pipeline",
                truncate(&text, 60)
            ))),
        }
    }
}

impl FromVariable for Window {
    const KIND: Kind = Kind::Window;
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
                truncate(&text, 60)
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
