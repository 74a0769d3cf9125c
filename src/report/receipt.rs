//! What a run leaves behind in `NOTIFY_OUTPUT_DIR`: `receipt.json`, `receipt.env`, and what was read.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::{
    delivery::courier::Outcome,
    destinations::Target,
    environment::Problem,
    event::{Event, SCHEMA_VERSION},
    secret::Redactor,
};

/// GitLab reads this many variables from a dotenv report (gitlab.md 3.7).
const DOTENV_VARIABLES: usize = 20;
/// And this many bytes.
const DOTENV_BYTES: usize = 5 * 1024;

/// The output folder.
pub struct OutputFolder {
    path: PathBuf,
    redactor: Redactor,
}

impl OutputFolder {
    /// Makes the folder, before anything is sent.
    ///
    /// # Errors
    /// It can't be made, or nothing can be written there.
    pub fn create(path: &str, redactor: &Redactor) -> Result<Self, Problem> {
        let fail = |error: io::Error| {
            Problem::new(
                "NOTIFY_OUTPUT_DIR",
                format!("is {path}, where nothing can be written: {error}. Name a folder below $CI_PROJECT_DIR"),
            )
        };
        fs::create_dir_all(path).map_err(fail)?;
        let folder = Self {
            path: path.into(),
            redactor: redactor.clone(),
        };
        folder.write("receipt.env", "").map_err(fail)?;
        Ok(folder)
    }

    /// Writes the receipt of a run.
    ///
    /// # Errors
    /// A file can't be written.
    pub fn write_all(&self, event: Option<&Event>, results: &[(Target, Outcome)], exit_code: u8) -> io::Result<()> {
        let receipt = self.redactor.json(&receipt(event, results, exit_code));
        self.write("receipt.json", &format!("{receipt:#}\n"))?;
        self.write("receipt.env", &self.redactor.text(&dotenv(event, results)))?;
        for (target, outcome) in results {
            if let Some(json) = &outcome.json {
                let json = self.redactor.json(json);
                let file = format!("{}.json", target.destination.name);
                // A second reading of the same service in one run gets a file of its own.
                let taken = results
                    .iter()
                    .take_while(|(other, _)| {
                        other.operation != target.operation || other.destination.name != target.destination.name
                    })
                    .any(|(other, earlier)| {
                        other.destination.name == target.destination.name && earlier.json.is_some()
                    });
                let file = if taken {
                    format!("{}-{}.json", target.destination.name, target.operation.name)
                } else {
                    file
                };
                self.write(&file, &format!("{json}\n"))?;
            }
        }
        Ok(())
    }

    fn write(&self, name: &str, text: &str) -> io::Result<()> {
        fs::write(self.path.join(name), text)
    }

    /// Where the folder is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn receipt(event: Option<&Event>, results: &[(Target, Outcome)], exit_code: u8) -> Value {
    let destinations: Vec<Value> = results
        .iter()
        .map(|(target, outcome)| {
            json!({
                "destination": target.destination.name,
                "operation": target.operation.name,
                "optional": target.is_optional,
                "class": outcome.class.word(),
                "detail": outcome.detail,
                "identifier": outcome.identifier,
                "status": outcome.status,
                "attempts": outcome.attempts,
                "milliseconds": u64::try_from(outcome.elapsed.as_millis()).unwrap_or(u64::MAX),
                "request_id": outcome.request_id,
            })
        })
        .collect();
    json!({
        "schema_version": SCHEMA_VERSION,
        "notify_event": env!("CARGO_PKG_VERSION"),
        "exit_code": exit_code,
        "event": event.map(Event::to_json),
        "destinations": destinations,
    })
}

/// The results as variables that GitLab hands to later jobs: one line each, no quotes, within its limits.
fn dotenv(event: Option<&Event>, results: &[(Target, Outcome)]) -> String {
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut add = |name: String, value: Option<&str>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            pairs.push((name, one_line(value)));
        }
    };
    if let Some(event) = event {
        add("NOTIFY_EVENT_ID".to_owned(), event.id().ok());
        add(
            "NOTIFY_EVENT_ACTION".to_owned(),
            event.action().ok().map(crate::event::Action::word),
        );
    }
    for (target, outcome) in results {
        let label = target.label().to_uppercase().replace([':', '-'], "_");
        add(format!("NOTIFY_{label}_RESULT"), Some(outcome.class.word()));
        add(format!("NOTIFY_{label}_ID"), outcome.identifier.as_deref());
    }
    let mut text = String::new();
    for (name, value) in pairs.into_iter().take(DOTENV_VARIABLES) {
        let line = format!("{name}={value}\n");
        if text.len() + line.len() <= DOTENV_BYTES {
            text.push_str(&line);
        }
    }
    text
}

/// GitLab keeps quotes as they are and knows no line breaks.
fn one_line(value: &str) -> String {
    value
        .chars()
        .map(|character| if character.is_control() { ' ' } else { character })
        .collect()
}
