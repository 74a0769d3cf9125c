//! Jinja in values, by minijinja: over plain data, strict about names without a value, and bounded.
//!
//! ```text
//! {{ event.title }}   {{ env.CI_COMMIT_TITLE | truncate(72) }}   {{ event.version | default("none") | upper }}
//! {% for one in changes.merge_requests %}!{{ one.iid }} {{ one.title }}{% endfor %}
//! ```
//!
//! A value may hold text from a commit that GitLab pasted in: that part is text, whatever it looks like. JSON is parsed
//! before templates run, and they run in its string leaves only, so no text can break out of its place. What a template
//! yields is not rendered again. Templates see the scope's data and nothing else: no files, no other templates.

use std::{collections::BTreeSet, fmt, io, sync::Arc};

use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value as Engine, filters as builtin, functions};
use serde_json::{Map, Value};

mod filters;
mod literals;
mod source;
mod values;

pub use filters::FILTERS;
use literals::Literals;
use source::{bracketed, calculates, check_size, expression_at, inside, sliced};

/// The longest text that a template may yield, in bytes. What GitLab hands over in one variable is an eighth of it.
const LIMIT: usize = 1024 * 1024;

/// The steps that one template may take: a loop over a thousand merge requests takes half of them, and an endless one
/// ends within a second.
const FUEL: u64 = 50_000;

/// What can be called.
const FUNCTIONS: &[&str] = &["range"];

/// The longest part of a template that a message quotes, in bytes.
const LONGEST_SHOWN: usize = 60;

/// What templates can name: plain data.
pub struct Scope {
    /// The objects that names start with: `event`, `pipeline`, `changes`, `job` and `env`. What has no value is absent.
    pub roots: Map<String, Value>,
    refusal: Refusal,
}

/// Says why no template may name a path at all, if so.
pub type Refusal = Box<dyn Fn(&str) -> Option<String>>;

impl Scope {
    /// A scope of these objects. `refusal` says why no template may name a path at all (`event.nope`: there is no such
    /// field; `env.HOME`: it is out of reach), whatever filter follows. A good name may still have no value.
    pub fn new(roots: Map<String, Value>, refusal: Refusal) -> Self {
        Self { roots, refusal }
    }

    fn value(&self, name: &str) -> Option<&Value> {
        let mut steps = name.split('.');
        let root = self.roots.get(steps.next()?)?;
        steps.try_fold(root, |value, step| value.get(step))
    }
}

/// What is wrong with a template, and where in the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateError {
    /// Where the expression starts: its line, and in it the character, from 1.
    place: (usize, usize),
    /// Whether the text has more than one line.
    has_lines: bool,
    /// What is wrong, and what to do.
    pub message: String,
    /// The name that has no value, where that is what is wrong.
    pub undefined: Option<String>,
}

impl TemplateError {
    /// The same, at the same place, for a reason that is known better.
    pub fn because(self, message: &str) -> Self {
        Self {
            message: message.to_owned(),
            ..self
        }
    }
}

impl fmt::Display for TemplateError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.place;
        if self.has_lines {
            write!(formatter, "template at line {line}, column {column}: {}", self.message)
        } else {
            write!(formatter, "template at character {column}: {}", self.message)
        }
    }
}

/// Whether `text` has anything to render.
pub fn is_template(text: &str) -> bool {
    ["{{", "{%", "{#"].iter().any(|sign| text.contains(sign))
}

/// A value that holds templates: a text, or JSON in whose string leaves they run. Understood once, when it is read.
#[derive(Debug)]
pub struct Template {
    /// The value, with what GitLab pasted in replaced by marks.
    source: Value,
    literals: Literals,
    names: BTreeSet<String>,
}

impl Template {
    /// A text. `literals` are texts that GitLab may have pasted into it: where one stands, it is no template.
    ///
    /// # Errors
    /// It is not understood.
    pub fn text(text: &str, literals: &[&str]) -> Result<Self, TemplateError> {
        Self::new(Value::String(text.to_owned()), Literals::in_text(text, literals))
    }

    /// JSON, in whose string leaves templates run; keys stay as they are. `literals` as in [`Template::text`].
    ///
    /// # Errors
    /// A leaf is not understood.
    pub fn json(value: Value, literals: &[&str]) -> Result<Self, TemplateError> {
        Self::new(value, Literals::in_json(literals))
    }

    fn new(value: Value, literals: Literals) -> Result<Self, TemplateError> {
        let mut names = BTreeSet::new();
        let engine = engine(&literals);
        let source = each_leaf(value, &mut |text| {
            let source = literals.hide(&text);
            if is_template(&source) {
                names.extend(Leaf::new(&engine, &source, &literals)?.names());
            }
            Ok(Value::String(source))
        })?;
        Ok(Self {
            source,
            literals,
            names,
        })
    }

    /// What it names, as deep as it does: `event.id`, `changes.merge_requests`; `event` where it takes the whole.
    pub fn names(&self) -> &BTreeSet<String> {
        &self.names
    }

    /// What it comes to: text that is one whole expression keeps the type of its value.
    ///
    /// # Errors
    /// A name that has no value or is out of reach, or more than may be sent.
    pub fn render(&self, scope: &Scope) -> Result<Value, TemplateError> {
        let engine = engine(&self.literals);
        each_leaf(self.source.clone(), &mut |source| {
            if !is_template(&source) {
                return Ok(Value::String(self.literals.restore(&source)));
            }
            Leaf::new(&engine, &source, &self.literals)?.render(scope)
        })
    }
}

/// Every string leaf of `value` by what `change` makes of it; an error names the way to the leaf.
fn each_leaf(
    value: Value,
    change: &mut dyn FnMut(String) -> Result<Value, TemplateError>,
) -> Result<Value, TemplateError> {
    match value {
        Value::String(text) => change(text),
        Value::Array(items) => items.into_iter().map(|item| each_leaf(item, change)).collect(),
        Value::Object(members) => members
            .into_iter()
            .map(|(key, member)| match each_leaf(member, change) {
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

/// The engine, with the filters that are documented and a few more of its own, and nothing that reads files or other
/// templates.
fn engine(literals: &Literals) -> Environment<'static> {
    let mut engine = Environment::empty();
    engine.set_keep_trailing_newline(true);
    // Strict, but that `{% if event.version %}` may ask.
    engine.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    engine.set_fuel(Some(FUEL));
    engine.set_formatter(|out, state, value| {
        if value.is_undefined() && matches!(state.undefined_behavior(), UndefinedBehavior::SemiStrict) {
            return Err(Error::from(ErrorKind::UndefinedError));
        }
        out.write_str(&crate::text::plain(&values::to_json(value)?))?;
        Ok(())
    });
    engine.add_function("range", functions::range);
    engine.add_filter("join", builtin::join);
    engine.add_filter("first", builtin::first);
    engine.add_filter("last", builtin::last);
    engine.add_filter("length", builtin::length);
    engine.add_filter("replace", builtin::replace);
    engine.add_filter("trim", builtin::trim);
    engine.add_filter("int", builtin::int);
    engine.add_filter("float", builtin::float);
    engine.add_filter("map", builtin::map);
    engine.add_filter("selectattr", builtin::selectattr);
    engine.add_filter("rejectattr", builtin::rejectattr);
    engine.add_test("defined", minijinja::tests::is_defined);
    engine.add_test("undefined", minijinja::tests::is_undefined);
    engine.add_test("eq", minijinja::tests::is_eq);
    engine.add_test("in", minijinja::tests::is_in);
    engine.add_test("startingwith", minijinja::tests::is_startingwith);
    engine.add_test("endingwith", minijinja::tests::is_endingwith);
    filters::add(&mut engine, &Arc::new(literals.clone()));
    engine
}

/// A text with templates in it, understood.
struct Leaf<'e> {
    source: &'e str,
    literals: &'e Literals,
    parsed: Parsed<'e>,
}

enum Parsed<'e> {
    /// One whole expression, and where it starts in the source.
    Whole(minijinja::Expression<'e, 'e>, usize),
    /// Text with expressions and statements in it.
    Mixed(minijinja::Template<'e, 'e>),
}

impl<'e> Leaf<'e> {
    fn new(engine: &'e Environment<'static>, source: &'e str, literals: &'e Literals) -> Result<Self, TemplateError> {
        check_size(source).map_err(|(offset, message)| error_at(source, literals, offset, message, None))?;
        // A text that is several expressions is not one when its first and last braces are taken off. (The engine panics
        // over closing braces in a lone expression, so it is not shown any.)
        if let Some((expression, start)) = inside(source)
            && !["}}", "%}", "#}"].iter().any(|sign| expression.contains(sign))
            && let Ok(parsed) = engine.compile_expression(expression)
        {
            return Ok(Self {
                source,
                literals,
                parsed: Parsed::Whole(parsed, start),
            });
        }
        match engine.template_from_str(source) {
            Ok(template) => Ok(Self {
                source,
                literals,
                parsed: Parsed::Mixed(template),
            }),
            Err(error) => Err(failure(source, literals, 0, &error, &[])),
        }
    }

    fn names(&self) -> BTreeSet<String> {
        let names = match &self.parsed {
            Parsed::Whole(expression, _) => expression.undeclared_variables(true),
            Parsed::Mixed(template) => template.undeclared_variables(true),
        };
        // The engine counts its functions, and overlooks what is sliced.
        let names = names.into_iter().filter(|name| !FUNCTIONS.contains(&name.as_str()));
        names.chain(bracketed(self.source).map(str::to_owned)).collect()
    }

    fn render(&self, scope: &Scope) -> Result<Value, TemplateError> {
        let mut missing = Vec::new();
        for name in self.names() {
            if let Some(message) = (scope.refusal)(&name) {
                let offset = self.source.find(&name).unwrap_or_default();
                return Err(error_at(self.source, self.literals, offset, message, None));
            }
            if scope.value(&name).is_none() {
                missing.push(name);
            }
        }
        // The engine takes what has no value for an empty list where it is sliced.
        if let Some(name) = sliced(self.source).find(|name| missing.iter().any(|missing| missing == name)) {
            let (message, offset) = (no_value(name), self.source.find(name).unwrap_or_default());
            return Err(error_at(
                self.source,
                self.literals,
                offset,
                message,
                Some(name.to_owned()),
            ));
        }
        let calculates = calculates(self.source);
        let roots: Engine = scope
            .roots
            .iter()
            .map(|(name, value)| (name.as_str(), values::from_json(value, calculates)))
            .collect();
        match &self.parsed {
            Parsed::Whole(expression, start) => {
                let result = expression.eval(roots).and_then(|value| {
                    if value.is_undefined() {
                        return Err(Error::from(ErrorKind::UndefinedError));
                    }
                    values::to_json(&value)
                });
                let value = result.map_err(|error| failure(self.source, self.literals, *start, &error, &missing))?;
                if value.to_string().len() > LIMIT {
                    let message = filters::TOO_LONG.to_owned();
                    return Err(error_at(self.source, self.literals, 0, message, None));
                }
                each_leaf(value, &mut |text| Ok(Value::String(self.literals.restore(&text))))
            }
            Parsed::Mixed(template) => {
                let mut text = Bounded(Vec::new());
                match template.render_captured_to(roots, &mut text) {
                    Ok(_) => Ok(Value::String(self.literals.restore(&String::from_utf8_lossy(&text.0)))),
                    Err(error) => Err(failure(self.source, self.literals, 0, &error, &missing)),
                }
            }
        }
    }
}

fn no_value(name: &str) -> String {
    format!("`{name}` has no value here; give it one, or write {{{{ {name} | default(\"…\") }}}}")
}

/// The engine's error, for a person. `start` is where in `source` the engine's own text starts, `missing` are the names
/// in it that have no value.
fn failure(source: &str, literals: &Literals, start: usize, error: &Error, missing: &[String]) -> TemplateError {
    let range = error.range().map(|range| range.start + start..range.end + start);
    let offset = range.as_ref().map_or(0, |range| range.start);
    let place = range.and_then(|range| source.get(range)).map(str::trim);
    let detail = literals.restore(error.detail().unwrap_or_default());
    let mut undefined = None;
    let message = match error.kind() {
        ErrorKind::UndefinedError => {
            // The engine points to the filter that got no value, or to nothing: then it is the last name before that.
            let is_here = |name: &&String| place == Some(name.as_str());
            let before = source.get(..offset).filter(|_| offset > 0).unwrap_or(source);
            let nearest = missing
                .iter()
                .max_by_key(|name| before.rfind(name.as_str()).map_or(0, |at| at + 1));
            let named = missing.iter().find(is_here).or(nearest);
            // An item that a list does not have: the engine points to its index, to the filter behind it, or nowhere.
            let name = named.map_or_else(|| expression_at(source, offset), String::as_str);
            let name = if name.len() <= LONGEST_SHOWN {
                name
            } else {
                "an expression"
            };
            let name = literals.restore(name);
            let message = no_value(&name);
            undefined = Some(name);
            message
        }
        ErrorKind::UnknownFilter => {
            let names: Vec<&str> = FILTERS.iter().map(|(usage, _)| *usage).collect();
            let unknown = detail.trim_start_matches("filter ").trim_end_matches(" is unknown");
            format!("there is no filter `{unknown}`; there are {}", names.join(", "))
        }
        ErrorKind::WriteFailure => filters::TOO_LONG.to_owned(),
        ErrorKind::OutOfFuel => "it takes too many steps".to_owned(),
        ErrorKind::SyntaxError => format!("{detail}. To send two braces as they are, write {{{{ \"{{{{\" }}}}"),
        _ => {
            let what = if detail.is_empty() {
                error.kind().to_string()
            } else {
                detail
            };
            match place.filter(|place| !place.is_empty() && place.len() <= LONGEST_SHOWN) {
                Some(place) => format!("`{}`: {what}", literals.restore(place)),
                None => what,
            }
        }
    };
    error_at(source, literals, offset, message, undefined)
}

/// An error about the expression around `offset`.
fn error_at(
    source: &str,
    literals: &Literals,
    offset: usize,
    message: String,
    undefined: Option<String>,
) -> TemplateError {
    let mut offset = offset.min(source.len());
    while !source.is_char_boundary(offset) {
        offset -= 1;
    }
    // The expression itself starts with its braces.
    let opens = ["{{", "{%"]
        .iter()
        .filter_map(|open| source[..offset].rfind(open))
        .max();
    let before = literals.restore(&source[..opens.unwrap_or(offset)]);
    let line = before.rsplit('\n').next().unwrap_or_default();
    TemplateError {
        place: (before.matches('\n').count() + 1, line.chars().count() + 1),
        has_lines: source.trim_end().contains('\n'),
        message,
        undefined,
    }
}

/// Takes what a template yields, up to the limit.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > LIMIT {
            return Err(io::Error::other(filters::TOO_LONG));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
