//! JSON as the engine's values and back, with every number as it was written. By hand and not by serde: with
//! `arbitrary_precision`, a number that serde sees is an object.

use std::{fmt, sync::Arc};

use minijinja::{
    Error, ErrorKind, Value,
    value::{Object, ObjectRepr, ValueKind},
};
use serde_json::{Map, Number, Value as Json};

/// A number that the engine would write otherwise than it was written: `1.50`, `1e400`.
#[derive(Debug)]
struct AsWritten(Number);

impl Object for AsWritten {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn is_true(self: &Arc<Self>) -> bool {
        self.0.as_f64() != Some(0.0)
    }

    fn render(self: &Arc<Self>, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

/// JSON as a value. For a template that `calculates`, `1.50` is the number 1.5; for all others it is as it was written.
pub fn from_json(json: &Json, calculates: bool) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(flag) => Value::from(*flag),
        Json::Number(number) => from_number(number, calculates),
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => items.iter().map(|item| from_json(item, calculates)).collect(),
        Json::Object(members) => members
            .iter()
            .map(|(key, member)| (key.as_str(), from_json(member, calculates)))
            .collect(),
    }
}

fn from_number(number: &Number, calculates: bool) -> Value {
    let text = number.to_string();
    if let Ok(whole) = text.parse::<i128>()
        && whole.to_string() == text
    {
        return i64::try_from(whole).map_or_else(|_| Value::from(whole), Value::from);
    }
    match text.parse::<f64>() {
        Ok(float) if calculates && float.is_finite() => Value::from(float),
        _ => Value::from_object(AsWritten(number.clone())),
    }
}

/// A value as JSON.
///
/// # Errors
/// It has no value, or none that JSON can write.
pub fn to_json(value: &Value) -> Result<Json, Error> {
    if let Some(AsWritten(number)) = value.downcast_object_ref() {
        return Ok(Json::Number(number.clone()));
    }
    match value.kind() {
        ValueKind::Undefined => Err(Error::from(ErrorKind::UndefinedError)),
        ValueKind::None => Ok(Json::Null),
        ValueKind::Bool => Ok(Json::Bool(value.is_true())),
        // As text: that is how a number of any size and kind becomes one of serde_json's.
        ValueKind::Number => serde_json::from_str(&value.to_string())
            .map_err(|_| Error::new(ErrorKind::InvalidOperation, "the result is not a number")),
        ValueKind::String => Ok(Json::String(value.as_str().unwrap_or_default().to_owned())),
        ValueKind::Seq | ValueKind::Iterable => value.try_iter()?.map(|item| to_json(&item)).collect(),
        ValueKind::Map => {
            let mut members = Map::new();
            for key in value.try_iter()? {
                members.insert(key.to_string(), to_json(&value.get_item(&key)?)?);
            }
            Ok(Json::Object(members))
        }
        _ => Err(Error::new(
            ErrorKind::InvalidOperation,
            "this is not a value that can be sent",
        )),
    }
}
