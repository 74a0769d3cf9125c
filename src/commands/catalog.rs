//! `catalog.yml`: every component, hidden job, destination, operation and variable, for machines and for people. It
//! and `docs/reference.md` are derived from the declarations; the tests below fail when either is stale.

use serde_json::{Map, Value, json};

use super::setup::delivery_variables;
use crate::{
    destinations::{self, Destination, HiddenJob},
    event::variables::EventVariables,
    report::class::exit_codes,
    variables::{Default, Group as _, Kind, Variable},
};

/// The jobs of the component `notify-event` that are no destination's own: before the destinations' jobs, and behind.
const BEFORE: &[CommonJob] = &[CommonJob {
    name: "notify-event",
    runs: Some("notify-event"),
    description: "Reports to NOTIFY_DESTINATIONS, else to every destination whose credentials are set.",
}];
const BEHIND: &[CommonJob] = &[
    CommonJob {
        name: "notify-replay",
        runs: Some(
            "notify-event replay \"${NOTIFY_OUTPUT_DIR:-${NOTIFY_OUTPUT_DIR_DEFAULT:-.notify-event}}/undelivered\"",
        ),
        description: "Delivers what an earlier job could not.",
    },
    CommonJob {
        name: "notify-reconcile",
        runs: Some("notify-event reconcile"),
        description: "On a schedule, makes what the services hold agree with GitLab's own record.",
    },
    CommonJob {
        name: "notify-binary",
        runs: None,
        description: "Hands the program to later jobs as an artifact, for their after_script.",
    },
];

/// The forms in which every variable may be given.
const FORMS: &[(&str, &str)] = &[
    (
        "NAME",
        "The value itself; or the path of GitLab's temporary file for a variable of the type *file*; or the value in base64, behind `@b64@`.",
    ),
    ("NAME_FILE", "The path of a file that holds the value."),
    (
        "NAME_DEFAULT",
        "What counts where neither NAME nor NAME_FILE is set, and what is empty is not set: GitLab's project, group and instance variables beat those of a job, so a group sets under this name what its projects' jobs may override.",
    ),
];

/// The hidden job of the component `deployment-report`. It is a deploy job's own `after_script`.
const REPORT: CommonJob = CommonJob {
    name: "deployment-report",
    runs: Some("notify-event --deploy-job"),
    description: "Makes a deploy job that extends it tell how it ended.",
};

/// A hidden job that is no destination's own.
struct CommonJob {
    /// Its name behind the dot.
    name: &'static str,
    /// Its script; none for a job that reports nothing.
    runs: Option<&'static str>,
    description: &'static str,
}

/// The text of `catalog.yml`.
pub fn yaml() -> String {
    let mut text =
        "# Made by `notify-event catalog`. A test fails when it is stale; write it anew, don't edit it.\n".to_owned();
    write(&mut text, &catalog(), 0);
    text
}

fn catalog() -> Value {
    json!({
        "name": env!("CARGO_PKG_NAME"),
        "version": env!("CARGO_PKG_VERSION"),
        "description": env!("CARGO_PKG_DESCRIPTION"),
        "components": [
            component(
                "notify-event",
                "Hidden jobs, one for each thing to report; extend one and set variables.",
                &hidden_jobs(),
            ),
            component(
                "deployment-report",
                "Deploy jobs that extend its hidden job tell how they ended, from inside; a job in .post tells what they could not.",
                &json!([common(&REPORT)]),
            ),
            component(
                "deployment-lifecycle",
                "Reports a deploy job's start and end by jobs beside it.",
                &json!([]),
            ),
        ],
        "forms": FORMS.iter().map(|(form, description)| json!({ "name": form, "description": description })).collect::<Value>(),
        "destinations": destinations::ALL.iter().map(|destination| described(destination)).collect::<Value>(),
        "event": { "variables": variables(EventVariables::VARIABLES) },
        "delivery": { "variables": variables(delivery_variables()) },
        "exit-codes": exit_codes().into_iter().map(|(code, name, description)| {
            json!({ "code": code, "name": name, "description": description })
        }).collect::<Value>(),
    })
}

fn component(name: &str, description: &str, hidden_jobs: &Value) -> Value {
    json!({
        "name": name,
        "file": format!("templates/{name}.yml"),
        "description": description,
        "hidden-jobs": hidden_jobs,
    })
}

fn common(job: &CommonJob) -> Value {
    json!({ "name": format!(".{}", job.name), "runs": job.runs, "description": job.description })
}

/// The hidden jobs of the component `notify-event`, in the order of the template.
fn hidden_jobs() -> Value {
    let own = |job: &HiddenJob| {
        json!({
            "name": format!(".{}", job.name),
            "runs": format!("notify-event {}", job.arguments),
            "description": job.description,
        })
    };
    let of_destinations = destinations::ALL.iter().flat_map(|destination| destination.hidden_jobs);
    BEFORE
        .iter()
        .map(common)
        .chain(of_destinations.map(own))
        .chain(BEHIND.iter().map(common))
        .collect()
}

fn described(destination: &Destination) -> Value {
    json!({
        "name": destination.name,
        "title": destination.title,
        "detected-by": destination.credentials,
        "operations": destination.operations.iter().enumerate().map(|(place, operation)| {
            let mut described = json!({
                "name": operation.name,
                "default": place == 0,
                "description": operation.description,
                "repetition": operation.repetition(|_| false).word(),
            });
            if let Some((variable, repetition)) = operation.repetition_if_set() {
                described["repetition-if-set"] = json!({ variable: repetition.word() });
            }
            described
        }).collect::<Value>(),
        "variables": variables(destination.variables()),
    })
}

fn variables<'a>(variables: impl IntoIterator<Item = &'a Variable>) -> Value {
    variables.into_iter().map(variable).collect()
}

fn variable(variable: &Variable) -> Value {
    let mut fields = Map::new();
    let mut add = |key: &str, value: Value| fields.insert(key.to_owned(), value);
    add("name", variable.name.into());
    add("type", variable.kind.name().into());
    if let Kind::Choice(words) = variable.kind {
        add("values", words.into());
    }
    add("required", (variable.default == Default::Required).into());
    add("secret", variable.is_secret().into());
    if !variable.is_own() {
        add("forms", json!(["NAME", "NAME_FILE"]));
    }
    match variable.default {
        Default::Value(value) => drop(add("default", value.into())),
        Default::Derived(from) => drop(add("derived-from", from.into())),
        Default::Required | Default::None => {}
    }
    match variable.official {
        // Read under this name alone, and only where that is asked for.
        Some(official) if official == variable.name => drop(add("only-with", "--official-names".into())),
        Some(official) => drop(add("official-name", official.into())),
        None => {}
    }
    add("description", variable.description.trim().into());
    add("source", variable.source.into());
    Value::Object(fields)
}

/// Writes `value` as block YAML. Strings are written as JSON, which is YAML too, so that nothing has to be quoted by
/// rules of our own.
fn write(text: &mut String, value: &Value, depth: usize) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                *text += &format!("{indent}{key}:");
                write_behind(text, member, depth);
            }
        }
        Value::Array(items) => {
            for item in items {
                let mut block = String::new();
                if is_block(item) {
                    write(&mut block, item, depth + 1);
                    *text += &format!("{indent}- {}", block.trim_start());
                } else {
                    *text += &format!("{indent}- {item}\n");
                }
            }
        }
        scalar => *text += &format!("{indent}{scalar}\n"),
    }
}

fn write_behind(text: &mut String, value: &Value, depth: usize) {
    if is_block(value) {
        text.push('\n');
        write(text, value, depth + 1);
    } else {
        *text += &format!(" {value}\n");
    }
}

/// Lists of words fit on a line, as do empty ones.
fn is_block(value: &Value) -> bool {
    match value {
        Value::Object(members) => !members.is_empty(),
        Value::Array(items) => items.iter().any(|item| item.is_object() || item.is_array()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{env, fs, path::Path};

    /// The reference: a table for each destination, for the event and for the delivery, and the exit codes.
    fn reference() -> String {
        let mut text = "# Reference\n\nMade from the program's declarations, as [`catalog.yml`](../catalog.yml) is for machines. A test fails when \
                        it is stale; write it anew, don't edit it.\n\nEvery variable may be given in these forms:\n\n\
                        | form | what it is |\n|---|---|\n"
            .to_owned();
        for (form, description) in FORMS {
            text += &format!("| `{form}` | {description} |\n");
        }
        let foreign = crate::commands::setup::declared();
        let foreign = foreign.iter().filter(|variable| !variable.is_own());
        let foreign: Vec<String> = foreign.map(|variable| format!("`{}`", variable.name)).collect();
        text += &format!(
            "\n{} are others' names, and have no `NAME_DEFAULT`.\n",
            foreign.join(", ")
        );
        for destination in destinations::ALL {
            let operations: Vec<String> = destination
                .operations
                .iter()
                .map(|operation| format!("- `{}`: {}", operation.name, operation.description))
                .collect();
            text += &format!(
                "\n## {} (`{}`)\n\nOperations, the default first:\n\n{}\n\n",
                destination.title,
                destination.name,
                operations.join("\n")
            );
            text += &table(destination.variables());
        }
        text += "\n## The event\n\n";
        text += &table(EventVariables::VARIABLES);
        text += "\n## Delivery\n\n";
        text += &table(delivery_variables());
        text += "\n## Exit codes\n\n| code | result | meaning |\n|---|---|---|\n";
        for (code, name, description) in exit_codes() {
            text += &format!("| {code} | `{name}` | {description} |\n");
        }
        text
    }

    fn table<'a>(variables: impl IntoIterator<Item = &'a Variable>) -> String {
        let mut text = "| variable | default | what it is |\n|---|---|---|\n".to_owned();
        for variable in variables {
            let default = match variable.default {
                Default::Required => "**required**".to_owned(),
                Default::None => String::new(),
                Default::Value(value) => format!("`{value}`"),
                Default::Derived(from) => from.replace('<', "&lt;"),
            };
            let mut notes = String::new();
            if variable.is_secret() {
                notes += " Secret.";
            }
            match variable.official {
                Some(official) if official == variable.name => notes += " Read by `.cto-notify-event` only.",
                Some(official) => notes += &format!(" Where it is not set, `.cto-notify-event` reads `{official}`."),
                None => {}
            }
            if let Kind::Choice(words) = variable.kind {
                notes += &format!(" One of `{}`.", words.join("`, `"));
            }
            let description = variable.description.trim().replace('|', "\\|");
            text += &format!("| `{}` | {default} | {description}{notes} |\n", variable.name);
        }
        text
    }

    /// Compares a file with what it should hold; `UPDATE_REFERENCE=1` writes it.
    fn check(file: &str, expected: impl FnOnce(&str) -> String) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let held = fs::read_to_string(&path).unwrap_or_default();
        let expected = expected(&held);
        if env::var_os("UPDATE_REFERENCE").is_some() {
            fs::write(&path, &expected).unwrap();
        } else {
            assert!(
                held == expected,
                "{file} is stale; UPDATE_REFERENCE=1 cargo test catalog writes it"
            );
        }
    }

    #[test]
    fn the_catalog_is_not_stale() {
        check("catalog.yml", |_| yaml());
    }

    /// The part of `held` between two marks, made anew.
    fn between(held: &str, start: &str, end: &str, made: &str) -> String {
        let before = held.split(start).next().unwrap();
        let after = held.split(end).nth(1).unwrap_or("\n");
        format!("{before}{start}\n{made}{end}{after}")
    }

    #[test]
    fn the_template_has_every_destinations_hidden_jobs() {
        let prefix = "$[[ inputs.job-prefix ]]";
        let job = |job: &HiddenJob| {
            format!(
                "\n# {}\n\".{prefix}{}\":\n  extends: \".{prefix}notify-event\"\n  script:\n    - notify-event {}\n",
                job.description, job.name, job.arguments
            )
        };
        let jobs: String = destinations::ALL
            .iter()
            .flat_map(|destination| destination.hidden_jobs)
            .map(job)
            .collect();
        let start = "# --- the destinations' own: made from their declarations, and a test fails when they are stale";
        check("templates/notify-event.yml", |held| {
            between(held, start, "# --- end", &(jobs.trim_start().to_owned() + "\n"))
        });
    }

    #[test]
    fn the_reference_is_not_stale() {
        check("docs/reference.md", |_| reference());
    }

    #[test]
    fn every_variable_is_declared_once() {
        let mut names: Vec<&str> = crate::commands::setup::declared()
            .into_iter()
            .map(|variable| variable.name)
            .collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn every_description_is_a_sentence() {
        for variable in crate::commands::setup::declared() {
            assert!(variable.description.ends_with('.'), "{}", variable.name);
        }
    }
}
