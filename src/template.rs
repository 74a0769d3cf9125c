//! `{{ … }}` in values: a path into the event, the pipeline or the allowed variables, and filters behind it.
//!
//! ```text
//! {{ event.title }}   {{ env.CI_COMMIT_TITLE | truncate(72) }}   {{ event.version | default("none") | upper }}
//! ```
//!
//! The language has no statements, no loops and no arithmetic: a value may hold text from a commit that GitLab pasted
//! in, so what a template can do is bounded by what is not there. JSON is parsed before templates run, and they run in
//! its string leaves only, so no text can break out of its place. What a template yields is not rendered again.
//!
//! A general engine was measured and weighed: minijinja costs 580 kB of a binary that may have 3 MB, and brings
//! statements that would have to be shut off; upon costs 156 kB and can neither default an undefined name nor keep a type.

use std::fmt;

use serde_json::Value;

/// Where names are looked up.
pub trait Scope {
    /// The value of `path` (`event.id`, `env.CI_COMMIT_TITLE`).
    ///
    /// # Errors
    /// [`Missing`] says why there is none.
    fn get(&self, path: &str) -> Result<Value, Missing>;
}

/// Why a name has no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// There is none, here or anywhere: the filter `default` can stand in.
    Undefined(String),
    /// Out of a template's reach, or itself misconfigured: nothing can stand in.
    Refused(String),
}

impl Missing {
    /// The usual reason: the name is a good one, but this pipeline has nothing under it.
    pub fn undefined(path: &str) -> Self {
        Self::Undefined(format!(
            "`{path}` has no value here; give it one, or write {{{{ {path} | default(\"…\") }}}}"
        ))
    }

    fn into_message(self) -> String {
        match self {
            Self::Undefined(message) | Self::Refused(message) => message,
        }
    }
}

/// What is wrong with a template, and where in the value.
#[derive(Debug, PartialEq, Eq)]
pub struct TemplateError {
    /// Where the expression starts, in characters from 1.
    pub column: usize,
    /// What is wrong, and what to do.
    pub message: String,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "template at character {}: {}", self.column, self.message)
    }
}

/// Whether `text` has anything to render.
pub fn is_template(text: &str) -> bool {
    text.contains("{{")
}

/// Renders `text`. Text that is one whole expression keeps the type of its value; anything else becomes a string.
///
/// # Errors
/// An expression that isn't closed, isn't understood, or names something that is not defined.
pub fn render(text: &str, scope: &dyn Scope) -> Result<Value, TemplateError> {
    let mut rendered = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("{{") {
        let column = text[..text.len() - rest.len() + start].chars().count() + 1;
        let fail = |message: String| TemplateError { column, message };
        let inside = &rest[start + 2..];
        let end = end_of_expression(inside)
            .ok_or_else(|| fail("`{{` has no `}}`. To send two braces as they are, write {{ \"{{\" }}".to_owned()))?;
        let value = evaluate(&inside[..end], scope).map_err(fail)?;
        let after = &inside[end + 2..];
        if rendered.is_empty() && rest.len() == text.len() && text[..start].trim().is_empty() && after.trim().is_empty()
        {
            return Ok(value);
        }
        rendered.push_str(&rest[..start]);
        rendered.push_str(&plain(&value));
        rest = after;
    }
    rendered.push_str(rest);
    Ok(Value::String(rendered))
}

/// Renders `text` to text, whatever the type of the value.
///
/// # Errors
/// As [`render`].
pub fn render_text(text: &str, scope: &dyn Scope) -> Result<String, TemplateError> {
    render(text, scope).map(|value| plain(&value))
}

/// Renders every string leaf of `value`; keys stay as they are.
///
/// # Errors
/// As [`render`], with the path of the leaf before the message.
pub fn render_json(value: Value, scope: &dyn Scope) -> Result<Value, TemplateError> {
    match value {
        Value::String(text) if is_template(&text) => render(&text, scope),
        Value::Array(items) => items.into_iter().map(|item| render_json(item, scope)).collect(),
        Value::Object(members) => members
            .into_iter()
            .map(|(key, member)| match render_json(member, scope) {
                Ok(member) => Ok((key, member)),
                Err(error) => Err(TemplateError {
                    message: format!("in \"{key}\": {}", error.message),
                    ..error
                }),
            })
            .collect(),
        other => Ok(other),
    }
}

/// A value as text: strings as they are, nothing for null, JSON for the rest.
pub fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Where the `}}` stands that ends the expression, `}}` in its quoted texts left out.
fn end_of_expression(inside: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (index, character) in inside.char_indices() {
        match (quote, character) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), _) if character == open => quote = None,
            (None, '"' | '\'') => quote = Some(character),
            (None, '}') if inside[index..].starts_with("}}") => return Some(index),
            _ => {}
        }
    }
    None
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Path(String),
    Literal(Value),
    Pipe,
    Open,
    Close,
    Comma,
}

fn tokens(expression: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut characters = expression.chars().peekable();
    while let Some(&character) = characters.peek() {
        match character {
            _ if character.is_whitespace() => {
                characters.next();
            }
            '|' | '(' | ')' | ',' => {
                characters.next();
                tokens.push(match character {
                    '|' => Token::Pipe,
                    '(' => Token::Open,
                    ')' => Token::Close,
                    _ => Token::Comma,
                });
            }
            '"' | '\'' => {
                characters.next();
                let mut text = String::new();
                loop {
                    match characters.next() {
                        Some('\\') => match characters.next() {
                            Some('n') => text.push('\n'),
                            Some('t') => text.push('\t'),
                            Some(other) => text.push(other),
                            None => return Err("a quoted text is not closed".to_owned()),
                        },
                        Some(other) if other == character => break,
                        Some(other) => text.push(other),
                        None => return Err("a quoted text is not closed".to_owned()),
                    }
                }
                tokens.push(Token::Literal(Value::String(text)));
            }
            _ if character.is_alphanumeric() || matches!(character, '_' | '-' | '.') => {
                let mut word = String::new();
                while let Some(&next) = characters.peek() {
                    if !(next.is_alphanumeric() || matches!(next, '_' | '-' | '.')) {
                        break;
                    }
                    word.push(next);
                    characters.next();
                }
                tokens.push(match serde_json::from_str::<Value>(&word) {
                    Ok(literal) => Token::Literal(literal),
                    Err(_) => Token::Path(word),
                });
            }
            other => return Err(format!("`{other}` has no meaning here")),
        }
    }
    Ok(tokens)
}

fn evaluate(expression: &str, scope: &dyn Scope) -> Result<Value, String> {
    let mut tokens = tokens(expression)?.into_iter().peekable();
    let mut value = match tokens.next() {
        None => return Err("`{{ }}` is empty; name a value, as in {{ event.id }}".to_owned()),
        Some(Token::Literal(literal)) => Ok(literal),
        Some(Token::Path(path)) => match scope.get(&path) {
            Ok(value) => Ok(value),
            Err(Missing::Undefined(message)) => Err(message),
            Err(Missing::Refused(message)) => return Err(message),
        },
        Some(_) => return Err("an expression starts with a name, as in {{ event.id }}".to_owned()),
    };
    while let Some(token) = tokens.next() {
        if token != Token::Pipe {
            return Err("after a value only `|` and a filter may follow".to_owned());
        }
        let Some(Token::Path(filter)) = tokens.next() else {
            return Err("`|` wants the name of a filter behind it".to_owned());
        };
        let mut arguments = Vec::new();
        if tokens.next_if_eq(&Token::Open).is_some() {
            loop {
                match tokens.next() {
                    Some(Token::Close) => break,
                    Some(Token::Comma) => {}
                    Some(Token::Literal(literal)) => arguments.push(literal),
                    Some(Token::Path(path)) => arguments.push(scope.get(&path).map_err(Missing::into_message)?),
                    _ => return Err(format!("the parenthesis behind `{filter}` is not closed")),
                }
            }
        }
        value = Ok(apply(&filter, value, &arguments)?);
    }
    value
}

/// The filters, by name: each takes the value before it, and the arguments in its parenthesis.
pub const FILTERS: &[(&str, &str)] = &[
    ("default(value)", "the value, or this one where the name has none"),
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
];

/// Applies `filter` to a value, or to the reason why there is none.
fn apply(filter: &str, value: Result<Value, String>, arguments: &[Value]) -> Result<Value, String> {
    let takes = |count: usize| {
        if arguments.len() == count {
            Ok(())
        } else {
            Err(format!(
                "the filter `{filter}` takes {count} argument(s), not {}",
                arguments.len()
            ))
        }
    };
    if filter == "default" {
        takes(1)?;
        return Ok(match value {
            Err(_) | Ok(Value::Null) => arguments[0].clone(),
            Ok(Value::String(text)) if text.is_empty() => arguments[0].clone(),
            Ok(value) => value,
        });
    }
    let value = value?;
    let text = match filter {
        "upper" | "lower" | "slug" | "json" | "tojson" => {
            takes(0)?;
            match filter {
                "upper" => plain(&value).to_uppercase(),
                "lower" => plain(&value).to_lowercase(),
                "slug" => slug(&plain(&value)),
                _ => value.to_string(),
            }
        }
        "truncate" => {
            takes(1)?;
            let length = arguments[0]
                .as_u64()
                .and_then(|length| usize::try_from(length).ok())
                .filter(|&length| length > 0)
                .ok_or("the filter `truncate` takes a whole number of characters, as in truncate(72)")?;
            truncate(&plain(&value), length)
        }
        unknown => {
            let names: Vec<&str> = FILTERS.iter().map(|(usage, _)| *usage).collect();
            return Err(format!(
                "there is no filter `{unknown}`; there are {}",
                names.join(", ")
            ));
        }
    };
    Ok(Value::String(text))
}

/// The first `length` characters; where something is cut the last of them is `…`.
pub fn truncate(text: &str, length: usize) -> String {
    if text.chars().count() <= length {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(length.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// Lower case, with each run of anything but `a-z` and `0-9` as one dash, and none at the ends.
pub fn slug(text: &str) -> String {
    let mut slug = String::new();
    for character in text.chars().flat_map(char::to_lowercase) {
        if character.is_ascii_alphanumeric() {
            slug.push(character);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    struct Names;

    impl Scope for Names {
        fn get(&self, path: &str) -> Result<Value, Missing> {
            match path {
                "event.attempt" => Ok(json!(2)),
                "event.title" => Ok(json!("it's \"quoted\" {{ event.attempt }} \\ ünïcode\n🚀")),
                "event.version" => Err(Missing::undefined(path)),
                "event.properties" => Ok(json!({"a": [1, "b"]})),
                "env.EMPTY" => Ok(json!("")),
                other => Err(Missing::Refused(format!("`{other}` is out of reach"))),
            }
        }
    }

    fn ok(text: &str) -> Value {
        render(text, &Names).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn error(text: &str) -> String {
        render(text, &Names).expect_err(text).to_string()
    }

    #[test]
    fn a_whole_expression_keeps_its_type() {
        assert_eq!(ok("{{ event.attempt }}"), json!(2));
        assert_eq!(ok("  {{event.attempt}} "), json!(2));
        assert_eq!(ok("{{ event.properties }}"), json!({"a": [1, "b"]}));
        assert_eq!(ok("{{ true }}"), json!(true));
    }

    #[test]
    fn around_other_text_it_becomes_text() {
        assert_eq!(ok("try {{ event.attempt }}!"), json!("try 2!"));
        assert_eq!(ok("{{ event.attempt }}{{ event.attempt }}"), json!("22"));
        assert_eq!(ok("p={{ event.properties }}"), json!(r#"p={"a":[1,"b"]}"#));
        assert_eq!(ok("no template } here {"), json!("no template } here {"));
    }

    #[test]
    fn what_comes_out_is_not_rendered_again() {
        assert_eq!(
            ok("<{{ event.title }}>"),
            json!("<it's \"quoted\" {{ event.attempt }} \\ ünïcode\n🚀>")
        );
    }

    #[test]
    fn filters() {
        assert_eq!(ok("{{ event.version | default(\"none\") }}"), json!("none"));
        assert_eq!(ok("{{ event.version | default(event.attempt) }}"), json!(2));
        assert_eq!(ok("{{ env.EMPTY | default('x') | upper }}"), json!("X"));
        assert_eq!(ok("{{ event.title | truncate(4) }}"), json!("it'…"));
        assert_eq!(ok("{{ \"Größe 5/XL \" | slug }}"), json!("gr-e-5-xl"));
        assert_eq!(ok("{{ 'ABC' | lower }}"), json!("abc"));
        assert_eq!(ok("{{ event.properties | json }}"), json!(r#"{"a":[1,"b"]}"#));
        assert_eq!(ok("{{ \"}}\" }} and {{ \"{{\" }}"), json!("}} and {{"));
    }

    #[test]
    fn json_leaves_are_rendered_and_nothing_breaks_out_of_them() {
        let value = json!({"{{ event.attempt }}": ["{{ event.attempt }}", {"t": "{{ event.title }}"}], "n": 1.50});
        assert_eq!(
            render_json(value, &Names).unwrap(),
            json!({"{{ event.attempt }}": [2, {"t": "it's \"quoted\" {{ event.attempt }} \\ ünïcode\n🚀"}], "n": 1.50})
        );
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        assert_eq!(
            error("ü {{ event.version }}"),
            "template at character 3: `event.version` has no value here; give it one, or write {{ event.version | default(\"…\") }}"
        );
        assert!(error("{{ env.TOKEN | default('x') }}").contains("`env.TOKEN` is out of reach"));
        assert!(error("{{ event.version | upper }}").contains("has no value"));
        assert!(error("{{ event.attempt").contains("has no `}}`"));
        assert!(error("{{ }}").contains("is empty"));
        assert!(error("{{ event.attempt | shout }}").contains("there is no filter `shout`"));
        assert!(error("{{ event.attempt | truncate }}").contains("takes 1 argument"));
        assert!(error("{{ event.attempt | truncate(0) }}").contains("whole number"));
        assert!(error("{{ event.attempt + 1 }}").contains("`+` has no meaning"));
        assert!(error("{{ event.attempt event.title }}").contains("only `|`"));
        assert!(
            render_json(json!({"a": {"b": "{{ x }}"}}), &Names)
                .unwrap_err()
                .message
                .starts_with("in \"a\": in \"b\": ")
        );
    }
}
