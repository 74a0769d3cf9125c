//! The types of a blueprint's properties, as Rely and Port describe them: a small part of JSON Schema.

use serde_json::Value;

use crate::clock::parse_time;

/// Checks a value against `{"type": …, "format": …, "enum": […], "items": …}`; says what is wrong with it.
/// A list of types accepts any of them.
pub(crate) fn check(value: &Value, schema: &Value) -> Result<(), String> {
    let fits = |kind: &str| match kind {
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    };
    if let Some(kind) = schema["type"].as_str()
        && !fits(kind)
    {
        return Err(format!("must be {kind}"));
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        return Err("must be equal to one of the allowed values".to_owned());
    }
    if let (Some(format), Some(text)) = (schema["format"].as_str(), value.as_str()) {
        let matches = match format {
            "date-time" => parse_time(text).is_some(),
            "url" => is_url(text),
            _ => true,
        };
        if !matches {
            return Err(format!("must match format \"{format}\""));
        }
    }
    if let (Some(items), Some(values)) = (schema.get("items"), value.as_array()) {
        values.iter().try_for_each(|value| check(value, items))?;
    }
    Ok(())
}

/// An absolute URL with a scheme and something behind it, and nothing that has to be escaped in one.
fn is_url(text: &str) -> bool {
    let scheme = |scheme: &str| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme
                .chars()
                .all(|character| character.is_ascii_alphanumeric() || "+-.".contains(character))
    };
    let unsafe_in_url = |character: char| character.is_whitespace() || "\"<>\\^`{|}".contains(character);
    text.split_once("://")
        .is_some_and(|(before, after)| scheme(before) && !after.is_empty() && !after.contains(unsafe_in_url))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn types_and_formats_are_told_apart() {
        let time = json!({"type": "string", "format": "date-time"});
        assert!(check(&json!("2025-03-01T10:00:00Z"), &time).is_ok());
        assert!(check(&json!("2025-03-01T10:00:00+01:00"), &time).is_ok());
        assert_eq!(
            check(&json!("yesterday"), &time).unwrap_err(),
            "must match format \"date-time\""
        );
        assert_eq!(
            check(&json!("12"), &json!({"type": "number"})).unwrap_err(),
            "must be number"
        );
        assert!(check(&json!(["a", 1]), &json!({"type": "array", "items": {"type": "string"}})).is_err());
        assert!(check(&json!("b"), &json!({"enum": ["a"]})).is_err());
    }

    #[test]
    fn a_url_has_a_scheme_and_no_spaces() {
        assert!(is_url("https://gitlab.example.com/a/-/pipelines/1"));
        assert!(!is_url("gitlab.example.com"));
        assert!(!is_url("https://a b"));
        assert!(!is_url("1://a"));
    }
}
