//! `explain`: the variables that a run reads and that are set, their values, and where those came from; on request those that
//! are not set, too, with their defaults.

use anyhow::{Context as _, Result};

use super::{
    setup::{Setup, delivery_variables, reader, usable},
    unread,
};
use crate::{
    destinations::{self, Destination, Target},
    environment::Environment,
    event::variables::EventVariables,
    report::{class::Class, console::Console},
    text::{shape, truncate},
    variables::{Default, Group as _, Kind, Resolved, Unrendered, Values, Variable},
};

/// Longer values are cut, in characters.
const SHOWN: usize = 100;

/// Prints the variables that the named destinations read; with none named, those that a run would send to; if there
/// are none, all. `all`: those too that are not set.
///
/// # Errors
/// Standard output is closed.
pub fn explain(environment: &Environment, named: Vec<Target>, official_names: bool, all: bool) -> Result<u8> {
    // Everything else can be shown all the same, and what is wrong is marked in its place.
    let (usable, mut problems) = usable(environment);
    let Ok(setup) = Setup::read(&usable) else {
        return Ok(Class::Misconfigured.code());
    };
    let setup = setup.with_official_names(official_names);
    let console = &setup.console;
    let (targets, of_targets) = setup.targets(named);
    problems.extend(of_targets);
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
    let reader = reader(environment);
    let mut page = Page {
        lines: Vec::new(),
        all,
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
        if is_shown(destination, &targets) {
            let found = setup.find(destination);
            page.section(
                destination.title,
                destination.variables(),
                &found,
                &found.render(&scope),
            );
        }
    }
    let unread = unread::all(environment, setup.ignored());
    if !unread.is_empty() {
        page.lines.push("Read by nothing".to_owned());
        page.lines.extend(unread.iter().map(|unread| format!("  {unread}")));
        page.lines.push(String::new());
    }
    // The last section ends in an empty line too.
    page.lines.pop();
    console
        .listing(&page.lines)
        .context("standard output can't be written to")?;
    if !all {
        console.info("what is not set, and its default: notify-event explain --all");
    }
    Ok(0)
}

fn derived_from(variable: &Variable) -> Option<&'static str> {
    match variable.default {
        Default::Derived(from) => Some(from),
        _ => None,
    }
}

/// Scheme and host of an address, which are no secret.
fn host_of(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else {
        return String::new();
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    format!("{scheme}://{host}/")
}

/// Whether a destination's variables are shown: where it is sent to, or nothing is.
fn is_shown(destination: &Destination, targets: &[Target]) -> bool {
    let mut targets_of = targets.iter().map(|target| target.destination.name);
    targets.is_empty() || targets_of.any(|name| name == destination.name)
}

/// What is printed, in the making.
struct Page<'a> {
    lines: Vec<String>,
    /// Whether it has the variables that are not set, too.
    all: bool,
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
        let shown = variables
            .into_iter()
            .filter(|variable| self.all || found.is_given(variable.name));
        let rows: Vec<String> = shown
            .map(|variable| {
                let (value, origin) = self.row(variable, found, values);
                format!("  {:<38} {value}  ({origin})", variable.name)
            })
            .collect();
        if rows.is_empty() {
            return;
        }
        self.lines.push(title.to_owned());
        self.lines.extend(rows);
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
                    Kind::SecretUrl => format!("{}…, the rest hidden, {}", host_of(value), shape(value)),
                    _ if variable.is_secret() => format!("hidden, {}", shape(value)),
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
