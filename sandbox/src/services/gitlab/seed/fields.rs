//! The fields of a seeded record, and their defaults.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::super::model::{WEB, number_of};
use crate::clock::{parse_time, stamp};

/// More than any GitLab has counted to, and little enough to count on from.
pub(super) const LARGEST_ID: u64 = 1 << 50;

pub(super) type Fields = Map<String, Value>;

pub(super) fn default_user() -> Value {
    Value::from("dana")
}

/// A user is a login, or an object that has one as its `username`.
pub(super) fn fill_user(holder: &mut Fields, name: &str) -> Result<(), String> {
    let mut user = match holder.remove(name) {
        Some(Value::String(login)) => fields(&json!({"username": login}))?,
        Some(Value::Object(user)) => user,
        _ => return Err(format!("{name:?} is neither a login nor an object")),
    };
    let login = user.get("username").and_then(Value::as_str);
    let login = login.ok_or(format!("{name:?} has no username"))?.to_owned();
    set(&mut user, "id", || number_of(&login));
    let mut letters = login.chars();
    let capital = letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect::<String>());
    set(&mut user, "name", || capital);
    set(&mut user, "state", || "active");
    set(&mut user, "avatar_url", || Value::Null);
    set(&mut user, "web_url", || format!("{WEB}/{login}"));
    holder.insert(name.to_owned(), Value::Object(user));
    Ok(())
}

pub(super) fn number(fields: &Fields, name: &str) -> Result<u64, String> {
    let number = fields
        .get(name)
        .and_then(Value::as_u64)
        .filter(|number| *number < LARGEST_ID);
    number.ok_or(format!("{name:?} is not a number that can count"))
}

pub(super) fn fields(value: &Value) -> Result<Fields, String> {
    value.as_object().cloned().ok_or(format!("{value} is not an object"))
}

pub(super) fn list(value: &Value) -> Result<&[Value], String> {
    value
        .as_array()
        .map(Vec::as_slice)
        .ok_or(format!("{value} is not a list"))
}

/// A default for what was left out. What is null was not.
pub(super) fn set<T: Serialize>(fields: &mut Fields, name: &str, default: impl FnOnce() -> T) {
    if !fields.contains_key(name) {
        fields.insert(name.to_owned(), json!(default()));
    }
}

pub(super) fn take<T: for<'a> Deserialize<'a>, D: Serialize>(
    fields: &mut Fields,
    name: &str,
    default: impl FnOnce() -> D,
) -> Result<T, String> {
    set(fields, name, default);
    read(fields.remove(name).unwrap_or_default()).map_err(|error| format!("{name}: {error}"))
}

pub(super) fn one_of(fields: &Fields, name: &str, known: &[&str]) -> Result<String, String> {
    let text = fields.get(name).and_then(Value::as_str).unwrap_or_default();
    if known.contains(&text) {
        Ok(text.to_owned())
    } else {
        Err(format!("{name:?} is none of {}", known.join(", ")))
    }
}

/// Reads a time, and leaves it as GitLab prints it, so that times can be compared as text.
pub(super) fn moment(fields: &mut Fields, name: &str) -> Result<Option<OffsetDateTime>, String> {
    let Some(given) = fields.get_mut(name).filter(|given| !given.is_null()) else {
        return Ok(None);
    };
    let time = given.as_str().and_then(parse_time);
    let time = time.and_then(|time| time.checked_to_offset(time::UtcOffset::UTC));
    let time = time.ok_or(format!("{name:?} is not a time"))?;
    *given = Value::from(stamp(time));
    Ok(Some(time))
}

pub(super) fn read<T: for<'a> Deserialize<'a>>(value: Value) -> Result<T, String> {
    serde_json::from_value(value).map_err(|error| error.to_string())
}
