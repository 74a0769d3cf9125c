//! `explain`: every variable that a run reads, its value, and where that came from.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

use crate::{
    destinations::{self, Target},
    environment::Environment,
    event::EventVariables,
    gitlab::api,
    report::class::Class,
    settings::{Network, Policy},
    setup::Setup,
    template,
    variables::{Default, Group, Kind, Reader, Variable, shape},
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
        Err((console, _, problems)) => {
            for problem in &problems {
                console.line(&format!("  {}: {problem}", Class::Misconfigured.word()));
            }
            // Everything else can be shown all the same, and what is wrong is marked in its place.
            let is_wrong = |name: &str| problems.iter().any(|problem| problem.variable == name);
            usable = environment.with_kept(BTreeMap::new(), is_wrong);
            match Setup::read(&usable) {
                Ok(setup) => setup,
                Err(_) => return Ok(Class::Misconfigured.code()),
            }
        }
    };
    let (targets, problems) = setup.targets(named.to_vec());
    for problem in &problems {
        setup
            .console
            .line(&format!("  {}: {problem}", Class::Misconfigured.word()));
    }
    let mut text = String::new();
    let plain = Reader {
        environment,
        scope: None,
        official_names: false,
        allow_http: true,
    };
    section(
        &mut text,
        "Delivery",
        Policy::VARIABLES
            .iter()
            .chain(Network::VARIABLES)
            .chain(api::Settings::VARIABLES),
        &plain,
        &setup,
    );
    let of_event = Reader {
        scope: Some(&setup.context),
        ..plain
    };
    section(&mut text, "Event", EventVariables::VARIABLES, &of_event, &setup);
    let mut shown: Vec<&str> = Vec::new();
    for destination in destinations::ALL {
        let of_destination: Vec<&Target> = targets
            .iter()
            .filter(|target| target.destination.name == destination.name)
            .collect();
        if !targets.is_empty() && of_destination.is_empty() || shown.contains(&destination.name) {
            continue;
        }
        shown.push(destination.name);
        let reader = Reader {
            official_names: of_destination.iter().any(|target| target.is_named),
            ..of_event
        };
        let variables = destination.variables.iter().copied().flatten();
        section(&mut text, destination.title, variables, &reader, &setup);
    }
    setup
        .console
        .output(text.trim_end())
        .context("standard output can't be written to")?;
    Ok(0)
}

fn section<'a>(
    text: &mut String,
    title: &str,
    variables: impl IntoIterator<Item = &'a Variable>,
    reader: &Reader,
    setup: &Setup,
) {
    *text += &format!("{title}\n");
    for variable in variables {
        let (value, origin) = row(variable, reader, setup);
        *text += &format!("  {:<38} {value}  ({origin})\n", variable.name);
    }
    text.push('\n');
}

/// The value and its origin.
fn row(variable: &Variable, reader: &Reader, setup: &Setup) -> (String, String) {
    let show = |value: &str| {
        let line = value.split_whitespace().collect::<Vec<_>>().join(" ");
        template::truncate(&setup.console.redactor().text(&line), SHOWN)
    };
    match reader.resolve(variable) {
        Err(problem) => ("!".to_owned(), format!("misconfigured: {problem}")),
        Ok(Some(found)) if reader.check(variable, &found).is_err() => {
            let why = reader.check(variable, &found).err().map(|problem| problem.to_string());
            ("!".to_owned(), format!("misconfigured: {}", why.unwrap_or_default()))
        }
        Ok(Some(found)) => {
            let value = match variable.kind {
                Kind::Secret => format!("hidden, {}", shape(&found.value)),
                Kind::Foreign => format!("not shown, {}", shape(&found.value)),
                _ => show(&found.value),
            };
            (
                value,
                found.origin.map_or("built-in".to_owned(), |origin| origin.to_string()),
            )
        }
        Ok(None) => {
            if let Some((value, origin)) = setup.context.explained_default(variable) {
                return (show(&value), format!("from {origin}"));
            }
            let how = match variable.default {
                Default::Required => "not set, and required".to_owned(),
                Default::Derived(from) => match setup.context.explained(from) {
                    Some(value) => return (show(&value), format!("from {from}")),
                    None => format!("not set: {from}"),
                },
                Default::None | Default::Value(_) => "not set".to_owned(),
            };
            ("-".to_owned(), how)
        }
    }
}
