//! The filters that are documented. They see what GitLab pasted in as the text that it is.

use std::sync::Arc;

use minijinja::{Environment, Error, ErrorKind, Value};

use super::{LIMIT, literals::Literals, values};
use crate::text::{plain, slug, truncate};

/// What is said of more than may be sent.
pub const TOO_LONG: &str = "comes to more than 1 MiB";

/// The filters, by name: each takes the value before it, and the arguments in its parenthesis.
pub const FILTERS: &[(&str, &str)] = &[
    (
        "default(value)",
        "the value, or this one where the name has none, or is empty",
    ),
    ("upper", "upper case"),
    ("lower", "lower case"),
    (
        "truncate(length)",
        "at most that many characters, the last one `…` where something was cut",
    ),
    (
        "slug",
        "lower case, everything but a-z and 0-9 as single dashes: for ids and addresses",
    ),
    ("json", "JSON text of the value: for JSON inside a string"),
    ("join(text)", "the items of a list, with this text between them"),
    ("replace(old, new)", "the text with every `old` as `new`"),
    ("trim", "the text without white space at its ends"),
    ("first", "the first item of a list"),
    ("last", "the last item of a list"),
    ("length", "how many items a list has, or characters a text"),
    ("int", "a whole number, to compare or calculate with"),
    ("float", "a number, to compare or calculate with"),
    ("map(attribute=name)", "that member of each item of a list"),
    (
        "selectattr(name, test, value)",
        "those items of a list whose member passes the test",
    ),
    (
        "rejectattr(name, test, value)",
        "those items of a list whose member does not pass the test",
    ),
];

/// Adds our own filters to the engine.
pub fn add(engine: &mut Environment<'static>, literals: &Arc<Literals>) {
    engine.add_filter("default", |value: Value, other: Value| {
        let is_empty = value.is_undefined() || value.is_none() || value.as_str().is_some_and(str::is_empty);
        if is_empty { other } else { value }
    });
    let of_text = |engine: &mut Environment<'static>, name: &'static str, change: fn(&str) -> String| {
        let literals = Arc::clone(literals);
        engine.add_filter(name, move |value: Value| bounded(change(&text_of(&value, &literals)?)));
    };
    of_text(engine, "upper", str::to_uppercase);
    of_text(engine, "lower", str::to_lowercase);
    of_text(engine, "slug", slug);
    let own = Arc::clone(literals);
    engine.add_filter("truncate", move |value: Value, length: Value| {
        let text = text_of(&value, &own)?;
        match length.as_usize().filter(|&length| length > 0) {
            Some(length) => bounded(truncate(&text, length)),
            None => Err(Error::new(
                ErrorKind::InvalidOperation,
                "the filter `truncate` takes a whole number of characters, as in truncate(72)",
            )),
        }
    });
    for name in ["json", "tojson"] {
        let own = Arc::clone(literals);
        engine.add_filter(name, move |value: Value| {
            let text = values::to_json(&value)?;
            let restored = super::each_leaf(text, &mut |text| Ok(own.restore(&text).into()));
            bounded(restored.unwrap_or_default().to_string())
        });
    }
}

fn text_of(value: &Value, literals: &Literals) -> Result<String, Error> {
    if value.is_undefined() {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    Ok(literals.restore(&plain(&values::to_json(value)?)))
}

fn bounded(text: String) -> Result<String, Error> {
    if text.len() > LIMIT {
        return Err(Error::new(ErrorKind::InvalidOperation, TOO_LONG));
    }
    Ok(text)
}
