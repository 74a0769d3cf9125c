//! `explain`: every variable that a run reads, its value, and where that came from.

use anyhow::{Context as _, Result};

use super::setup::{Setup, delivery_variables};
use crate::{
    destinations::{self, Destination, Target},
    environment::Environment,
    event::variables::EventVariables,
    report::{class::Class, console::Console},
    text::{shape, truncate},
    variables::{Default, Group as _, Kind, Reader, Resolved, Unrendered, Values, Variable},
};

/// Longer values are cut, in characters.
const SHOWN: usize = 100;

/// Prints every variable that the named destinations read; with none named, those that a run would send to; if there
/// are none, all.
///
/// # Errors
/// Standard output is closed.
pub fn explain(environment: &Environment, named: &[Target]) -> Result<u8> {
    let usable;
    let setup = match Setup::read(environment) {
        Ok(setup) => setup,
        Err(unusable) => {
            for problem in &unusable.problems {
                unusable
                    .console
                    .line(&format!("  {}: {problem}", Class::Misconfigured.word()));
            }
            // Everything else can be shown all the same, and what is wrong is marked in its place.
            let is_wrong = |name: &str| unusable.problems.iter().any(|problem| problem.variable == name);
            usable = environment.without(is_wrong);
            match Setup::read(&usable) {
                Ok(setup) => setup,
                Err(_) => return Ok(Class::Misconfigured.code()),
            }
        }
    };
    let console = &setup.console;
    let (targets, problems) = setup.targets(named.to_vec());
    for problem in &problems {
        console.line(&format!("  {}: {problem}", Class::Misconfigured.word()));
    }
    let mut resolver = setup.resolver();
    let fields = resolver.texts();
    let (_, scope) = resolver.finish();
    // What stands in for a variable: the event's own value under its name, or under the name that it is derived from.
    let default_of = |variable: &Variable| {
        let own = [Some(variable.name), derived_from(variable)];
        let mut found = own.into_iter().flatten().filter_map(|name| fields.get(name));
        found.next().cloned()
    };
    let reader = Reader {
        environment,
        official_names: false,
        allow_http: true,
        literals: &[],
    };
    let mut page = Page {
        lines: Vec::new(),
        console,
        default_of: &default_of,
    };
    let of_delivery = reader.find_plain(delivery_variables());
    page.section(
        "Delivery",
        delivery_variables(),
        &of_delivery,
        &of_delivery.render(&scope),
    );
    let of_event = reader.find(EventVariables::VARIABLES);
    page.section("Event", EventVariables::VARIABLES, &of_event, &of_event.render(&scope));
    for destination in destinations::ALL {
        if let Some(target) = shown(destination, &targets) {
            let found = setup.find(&target);
            page.section(
                destination.title,
                destination.variables(),
                &found,
                &found.render(&scope),
            );
        }
    }
    // The last section ends in an empty line too.
    page.lines.pop();
    console
        .listing(&page.lines)
        .context("standard output can't be written to")?;
    Ok(0)
}

fn derived_from(variable: &Variable) -> Option<&'static str> {
    match variable.default {
        Default::Derived(from) => Some(from),
        _ => None,
    }
}

/// The target for which a destination's variables are shown; none where others are sent to.
fn shown(destination: &'static Destination, targets: &[Target]) -> Option<Target> {
    let mut own = targets
        .iter()
        .filter(|target| target.destination.name == destination.name);
    let is_named = own.clone().any(|target| target.is_named);
    if own.next().is_none() && !targets.is_empty() {
        return None;
    }
    Some(Target {
        destination,
        operation: &destination.operations[0],
        is_optional: false,
        is_named,
    })
}

/// What is printed, in the making.
struct Page<'a> {
    lines: Vec<String>,
    console: &'a Console,
    /// Tells what stands in for a variable that is not set.
    default_of: &'a dyn Fn(&Variable) -> Option<String>,
}

impl Page<'_> {
    fn section<'v>(
        &mut self,
        title: &str,
        variables: impl IntoIterator<Item = &'v Variable>,
        found: &Unrendered,
        values: &Values,
    ) {
        self.lines.push(title.to_owned());
        for variable in variables {
            let (value, origin) = self.row(variable, found, values);
            self.lines.push(format!("  {:<38} {value}  ({origin})", variable.name));
        }
        self.lines.push(String::new());
    }

    /// The value and its origin.
    fn row(&self, variable: &Variable, found: &Unrendered, values: &Values) -> (String, String) {
        let show = |value: &str| {
            let line = value.split_whitespace().collect::<Vec<_>>().join(" ");
            truncate(&self.console.redactor().text(&line), SHOWN)
        };
        match values.get(variable.name) {
            Err(_) if !found.is_given(variable.name) => ("-".to_owned(), "not set, and required".to_owned()),
            Err(why) => ("!".to_owned(), format!("misconfigured: {why}")),
            Ok(Some(Resolved { value, origin, .. })) => {
                let shown = match variable.kind {
                    Kind::Secret | Kind::HeaderLine => format!("hidden, {}", shape(value)),
                    Kind::Foreign => format!("not shown, {}", shape(value)),
                    _ => show(value),
                };
                let origin = origin.as_ref().map_or("built-in".to_owned(), ToString::to_string);
                (shown, origin)
            }
            Ok(None) => match (variable.default, (self.default_of)(variable)) {
                (Default::Derived(from), Some(value)) => (show(&value), format!("from {from}")),
                (Default::Derived(from), None) => ("-".to_owned(), format!("not set: {from}")),
                _ => ("-".to_owned(), "not set".to_owned()),
            },
        }
    }
}
