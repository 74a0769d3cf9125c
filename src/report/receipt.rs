//! What a run leaves behind in `NOTIFY_OUTPUT_DIR`: `receipt.json`, `receipt.env`, and what was read.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::{
    delivery::courier::Outcome,
    destinations::{self, Target},
    environment::Problem,
    event::{Event, SCHEMA_VERSION},
    report::console::one_line,
    secret::Redactor,
};

/// GitLab reads this many variables from a dotenv report (gitlab.md 3.7).
const DOTENV_VARIABLES: usize = 20;
/// And this many bytes.
const DOTENV_BYTES: usize = 5 * 1024;

/// How the delivery of one event to one target ended.
pub struct Receipt<'a> {
    /// Where it went.
    pub target: &'a Target,
    /// How it ended.
    pub outcome: &'a Outcome,
    /// What went there.
    pub event: Option<&'a Event>,
}

/// The output folder.
pub struct OutputFolder {
    path: PathBuf,
    redactor: Redactor,
    /// The job that this is, if it is one of GitLab's.
    job: Option<String>,
    /// What earlier runs of the same job have delivered, as their receipts say.
    earlier: Vec<Value>,
}

impl OutputFolder {
    /// Makes the folder, before anything is sent. `job` is the id of the job that this is, if it is one.
    ///
    /// # Errors
    /// It can't be made, or nothing can be written there.
    pub fn create(path: &str, job: Option<&str>, redactor: &Redactor) -> Result<Self, Problem> {
        let fail = |error: io::Error| {
            Problem::new(
                "NOTIFY_OUTPUT_DIR",
                format!("is {path}, where nothing can be written: {error}. Name a folder below $CI_PROJECT_DIR"),
            )
        };
        fs::create_dir_all(path).map_err(fail)?;
        open(Path::new(path), 0o777);
        let receipt = Path::new(path).join("receipt.json");
        let earlier = job.and_then(|job| earlier(&receipt, job));
        if earlier.is_none() {
            // What an earlier job left here came along with its artifacts, or with the work tree, and is not this job's.
            for name in files() {
                let _ = fs::remove_file(Path::new(path).join(name));
            }
        }
        let folder = Self {
            path: path.into(),
            redactor: redactor.clone(),
            job: job.map(str::to_owned),
            earlier: earlier.unwrap_or_default(),
        };
        folder.write("receipt.env", "").map_err(fail)?;
        // The folder may lie in the work tree of later jobs, which may want it clean.
        folder.write(".gitignore", "*\n").map_err(fail)?;
        Ok(folder)
    }

    /// Writes the receipts of a run, and what was read. `event` is the one that the run was about, if it was one.
    ///
    /// # Errors
    /// A file can't be written.
    pub fn write_receipts(&self, event: Option<&Event>, receipts: &[Receipt], exit_code: u8) -> io::Result<()> {
        let mut receipt = receipt(event, receipts, exit_code);
        receipt["job_id"] = self.job.as_deref().into();
        receipt["earlier"] = self.earlier.as_slice().into();
        let receipt = self.redactor.json(&receipt);
        self.write("receipt.json", &format!("{receipt:#}\n"))?;
        self.write(
            "receipt.env",
            &self.redactor.text(&dotenv(event, &self.earlier, receipts)),
        )?;
        let mut taken: Vec<&str> = Vec::new();
        for Receipt { target, outcome, .. } in receipts {
            let Some(json) = &outcome.json else { continue };
            let destination = target.destination.name;
            // A second reading of the same service in one run gets a file of its own.
            let file = if taken.contains(&destination) {
                format!("{destination}-{}.json", target.operation.name)
            } else {
                format!("{destination}.json")
            };
            taken.push(destination);
            self.write(&file, &format!("{}\n", self.redactor.json(json)))?;
        }
        Ok(())
    }

    /// Keeps what could not be delivered, and tells where. `name` gets a number if it is taken: a job may report
    /// several events within a second, and none of them may be lost.
    ///
    /// # Errors
    /// It can't be written.
    pub fn write_undelivered(&self, name: &str, content: &Value) -> io::Result<String> {
        let folder = self.path.join("undelivered");
        fs::create_dir_all(&folder)?;
        open(&folder, 0o777);
        let text = format!("{:#}\n", self.redactor.json(content));
        let mut number = 1_u32;
        loop {
            // Behind the first in every order, so that they are replayed as they came.
            let path = match number {
                1 => folder.join(format!("{name}.json")),
                _ => folder.join(format!("{name}_{number:04}.json")),
            };
            match fs::File::create_new(&path) {
                Ok(mut file) => {
                    io::Write::write_all(&mut file, text.as_bytes())?;
                    open(&path, 0o666);
                    return Ok(path.display().to_string());
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(error),
            }
        }
    }

    fn write(&self, name: &str, text: &str) -> io::Result<()> {
        let path = self.path.join(name);
        fs::write(&path, text)?;
        open(&path, 0o666);
        Ok(())
    }

    /// Where the folder is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The files that a run may write, but for what it keeps undelivered.
fn files() -> impl Iterator<Item = String> {
    let reads = destinations::ALL.iter().flat_map(|destination| {
        let of_operations = destination
            .operations
            .iter()
            .map(|operation| format!("{}-{}.json", destination.name, operation.name));
        of_operations.chain([format!("{}.json", destination.name)])
    });
    reads.chain(["receipt.json".to_owned()])
}

/// Lets everybody write. The runner hands artifacts to later jobs as root's files with the modes they had, and neither
/// our image nor the user's has to run as root. What is not ours is as it is.
fn open(path: &Path, mode: u32) {
    let _ = fs::set_permissions(path, fs::Permissions::from_mode(mode));
}

/// What a receipt of the same job says was delivered before: a job may report more than one event, and when it is run
/// again, none of them may be sent twice.
fn earlier(receipt: &Path, job: &str) -> Option<Vec<Value>> {
    let receipt: Value = serde_json::from_str(&fs::read_to_string(receipt).ok()?).ok()?;
    if receipt["job_id"] != job {
        return None;
    }
    let lists = [&receipt["earlier"], &receipt["destinations"]];
    Some(
        lists
            .into_iter()
            .filter_map(Value::as_array)
            .flatten()
            .cloned()
            .collect(),
    )
}

fn receipt(event: Option<&Event>, receipts: &[Receipt], exit_code: u8) -> Value {
    let destinations: Vec<Value> = receipts
        .iter()
        .map(|Receipt { target, outcome, event }| {
            json!({
                "destination": target.destination.name,
                "operation": target.operation.name,
                "optional": target.is_optional,
                "class": outcome.class.word(),
                "detail": outcome.detail,
                "identifier": outcome.identifier,
                "status": outcome.status,
                "accepted": outcome.is_accepted,
                "ambiguous": outcome.is_ambiguous,
                "attempts": outcome.attempts,
                "milliseconds": u64::try_from(outcome.elapsed.as_millis()).unwrap_or(u64::MAX),
                "request_id": outcome.request_id,
                "event_name": event.map(|event| &event.name),
                "event_id": event.and_then(Event::known_id),
                "action": event.and_then(Event::known_action),
                "occasion": event.map(Event::occasion),
                "done": done(outcome),
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

/// The variables of which nothing is left to do, although the rest failed.
fn done(outcome: &Outcome) -> Vec<&str> {
    let settled = outcome.settled.iter().filter(|(_, value)| value.is_empty());
    settled.map(|(name, _)| *name).collect()
}

/// The results as variables that GitLab hands to later jobs: one line each, no quotes, within its limits.
fn dotenv(event: Option<&Event>, earlier: &[Value], receipts: &[Receipt]) -> String {
    let mut pairs: BTreeMap<String, String> = BTreeMap::new();
    let mut add = |name: String, value: Option<&str>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            // GitLab keeps quotes as they are and knows no line breaks.
            pairs.insert(name, one_line(value));
        }
    };
    if let Some(event) = event {
        add("NOTIFY_EVENT_ID".to_owned(), event.known_id());
        add("NOTIFY_EVENT_ACTION".to_owned(), event.known_action());
    }
    // Of the same destination and operation the last one counts.
    for entry in earlier {
        let text = |field: &str| entry[field].as_str();
        let label = format!(
            "{}:{}",
            text("destination").unwrap_or_default(),
            text("operation").unwrap_or_default()
        );
        if let Ok(target) = Target::parse(&label, false) {
            add(variable(&target, "RESULT"), text("class"));
            add(variable(&target, "ID"), text("identifier"));
        }
    }
    for Receipt { target, outcome, .. } in receipts {
        add(variable(target, "RESULT"), Some(outcome.class.word()));
        add(variable(target, "ID"), outcome.identifier.as_deref());
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

/// `NOTIFY_RELY_ID`, or `NOTIFY_AVIATOR_RELEASE_ID` for an operation that is not the default.
fn variable(target: &Target, what: &str) -> String {
    format!(
        "NOTIFY_{}_{what}",
        target.label().to_uppercase().replace([':', '-'], "_")
    )
}
