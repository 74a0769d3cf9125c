//! The output folder, `NOTIFY_OUTPUT_DIR`: the only writer of files. It touches what this program made, and nothing else
//! that lies there: the folder may be a user's own. What lies there may also have come with another job's artifacts, or
//! from another pipeline, where the work tree stays: it is neither believed nor passed on.

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize as _;
use serde_json::Value;

use super::{
    receipt::{Origin, Receipt},
    undelivered::Undelivered,
};
use crate::{
    destinations::{self, Target},
    event::Event,
    files,
    problem::Problem,
    redaction::Redactor,
    text::count_of_values,
};

mod failed;

/// The receipt, for programs and for later attempts of the job.
pub const RECEIPT: &str = "receipt.json";
/// The same for GitLab, which hands its variables to later jobs.
const DOTENV: &str = "receipt.env";
/// Where undelivered events are kept.
pub const UNDELIVERED: &str = "undelivered";

/// No more files of a folder are replayed at once, and no more bytes of them: a job that lost its services keeps a few
/// dozen of some kilobytes. What is beyond that stays for the next replay.
const MOST_FILES: usize = 1000;
const MOST_BYTES_AT_ONCE: usize = 64 * 1024 * 1024;
/// Nor more values: a file of empty objects takes a hundred times its size in memory.
const MOST_VALUES_AT_ONCE: usize = 1_000_000;
/// No file may hold more than this; none that is kept does, or it could not be replayed.
const MOST_VALUES: usize = 200_000;

/// The output folder of a run.
pub struct OutputFolder {
    path: PathBuf,
    redactor: Redactor,
    /// The receipt as the run begins, with what earlier runs of the same job have left.
    begun: Receipt,
}

impl OutputFolder {
    /// Makes the folder, before anything is asked or sent, clears what another job left, and puts this run's receipt
    /// there. `reads` are the targets whose answers will be written there.
    ///
    /// # Errors
    /// It can't be made or is a link, nothing can be written there, or somebody else's file stands where an answer has to
    /// go.
    pub fn create(path: &str, origin: Origin, reads: &[Target], redactor: &Redactor) -> Result<Self, Problem> {
        let fail = |error: io::Error| {
            Problem::new(
                "NOTIFY_OUTPUT_DIR",
                format!("is {path}, where nothing can be written: {error}. Name a folder below $CI_PROJECT_DIR"),
            )
        };
        let folder = Path::new(path);
        if files::is_there(folder) && !files::is_folder(folder) {
            let what = "it is a link or a file, and what another job may have left there is not followed";
            return Err(fail(io::Error::other(what)));
        }
        files::make_folder(folder).map_err(fail)?;
        let is_empty = fs::read_dir(folder).map_err(fail)?.next().is_none();
        let undelivered = folder.join(UNDELIVERED);
        if files::is_there(&undelivered) && !files::is_folder(&undelivered) {
            // A link in its place is nobody's data, and would lead what is kept elsewhere. A file stays, and is told of.
            if fs::symlink_metadata(&undelivered).is_ok_and(|metadata| metadata.is_symlink()) {
                files::remove(&undelivered).map_err(fail)?;
            }
        }
        files::clear_unfinished(folder);
        files::clear_unfinished(&undelivered);
        let before = read_receipt(&folder.join(RECEIPT)).filter(|found| origin.is_job(&found.origin));
        if before.is_none() {
            clear(folder, &origin);
        }
        let output = Self {
            path: folder.to_owned(),
            redactor: redactor.clone(),
            begun: Receipt::begun(origin, before),
        };
        for name in names_of_answers(reads) {
            if output.is_somebody_elses(&name, &output.begun) {
                let what = format!(
                    "is {path}, which holds a {name} that this program did not make; the answer would overwrite it. Name \
                     another folder"
                );
                return Err(Problem::new("NOTIFY_OUTPUT_DIR", what));
            }
        }
        if is_empty {
            // The folder may lie in the work tree of later jobs, which may want it clean. What lies in a user's own folder
            // is not ours to hide.
            files::add(folder, ".gitignore", "*\n").map_err(fail)?;
        }
        output.write(&output.begun, None).map_err(fail)?;
        Ok(output)
    }

    /// The receipt as the run begins.
    pub fn begun(&self) -> &Receipt {
        &self.begun
    }

    /// Writes the receipt as it is now, whole or not at all. `event` is the one that the run is about, if it is one.
    ///
    /// # Errors
    /// A file can't be written.
    pub fn write(&self, receipt: &Receipt, event: Option<&Event>) -> io::Result<()> {
        self.write_as(&receipt.to_json(&self.redactor), receipt, event)
    }

    /// The same, where secrets are hidden in its `json` already.
    ///
    /// # Errors
    /// A file can't be written.
    pub fn write_as(&self, json: &Value, receipt: &Receipt, event: Option<&Event>) -> io::Result<()> {
        files::replace(&self.path, RECEIPT, &format!("{json:#}\n"))?;
        let dotenv = receipt.of_what_ended().dotenv(event, &self.redactor);
        files::replace(&self.path, DOTENV, &dotenv)
    }

    /// Writes what was read, and notes the files in `receipt`.
    ///
    /// # Errors
    /// A file can't be written, or is somebody else's; the others are there.
    pub fn write_answers(&self, answers: &[(Target, &Value)], receipt: &mut Receipt) -> io::Result<()> {
        let targets: Vec<Target> = answers.iter().map(|(target, _)| *target).collect();
        let mut in_the_way = Ok(());
        for (name, (_, json)) in names_of_answers(&targets).into_iter().zip(answers) {
            if self.is_somebody_elses(&name, receipt) {
                let why = format!("{name} is not this program's, and stays as it is");
                in_the_way = Err(io::Error::other(why));
                continue;
            }
            let mut text = serde_json::to_string(&self.redactor.json(json))?;
            text.push('\n');
            files::replace(&self.path, &name, &text)?;
            if !receipt.files.contains(&name) {
                receipt.files.push(name);
            }
        }
        in_the_way
    }

    /// Whether a file of that name is there that this program did not make.
    fn is_somebody_elses(&self, name: &str, receipt: &Receipt) -> bool {
        files::is_there(&self.path.join(name)) && !receipt.files.iter().any(|own| own == name)
    }

    /// Keeps what is not delivered, and tells in which file of this folder. The file gets a number if its name is taken:
    /// a job may report several events within a second, and none of them may be lost.
    ///
    /// # Errors
    /// It can't be written.
    pub fn keep(&self, undelivered: &Undelivered) -> io::Result<String> {
        let folder = self.path.join(UNDELIVERED);
        files::make_folder(&folder)?;
        let text = self.text_of(undelivered)?;
        let name = undelivered.file_name();
        let mut number = 1_u32;
        loop {
            // Behind the first in every order, so that they are replayed as they came.
            let name = match number {
                1 => format!("{name}.json"),
                _ => format!("{name}_{number:04}.json"),
            };
            if files::add(&folder, &name, &text)? {
                return Ok(format!("{UNDELIVERED}/{name}"));
            }
            number += 1;
        }
    }

    /// Keeps the same anew, in the file that [`keep`](Self::keep) told.
    ///
    /// # Errors
    /// It can't be written.
    pub fn keep_again(&self, name: &str, undelivered: &Undelivered) -> io::Result<()> {
        files::replace(&self.path, name, &self.text_of(undelivered)?)
    }

    /// Whether what [`keep`](Self::keep) kept is still there.
    pub fn keeps(&self, name: &str) -> bool {
        files::is_there(&self.path.join(name))
    }

    /// Removes what [`keep`](Self::keep) kept.
    ///
    /// # Errors
    /// It stays.
    pub fn no_longer_keep(&self, name: &str) -> io::Result<()> {
        files::remove(&self.path.join(name))
    }

    fn text_of(&self, undelivered: &Undelivered) -> io::Result<String> {
        let text = format!("{:#}\n", self.redactor.record(&undelivered.to_json()));
        if count_of_values(&text) > MOST_VALUES {
            return Err(io::Error::other(format!("it holds more than {MOST_VALUES} values")));
        }
        Ok(text)
    }

    /// Removes what another job could not deliver, and tells of each: of another pipeline where `is_replay`, which is
    /// there to deliver what this pipeline's jobs left, but for what is `named`; else of every other job. It came along with
    /// artifacts, or with a work tree that stays; each job keeps its own, or replays of several would deliver it.
    pub fn forget_others(&self, is_replay: bool, named: &[PathBuf]) -> Vec<String> {
        let ours = &self.begun.origin;
        if ours.job_id.is_none() {
            return Vec::new();
        }
        let mut allowance = Allowance::default();
        let mut is_others = |path: &PathBuf| {
            let is_ours = |theirs: Origin| {
                if is_replay {
                    ours.has_pipeline_of(&theirs)
                } else {
                    ours.is_job(&theirs)
                }
            };
            !is_named(path, named) && origin_of(path, &mut allowance).is_some_and(|theirs| !is_ours(theirs))
        };
        let whose = if is_replay { "pipeline" } else { "job" };
        let files = json_files(&self.path.join(UNDELIVERED)).unwrap_or_default();
        let removed = files.into_iter().filter(|path| is_others(path)).map(|path| {
            let name = path.display().to_string();
            match files::remove(&path) {
                Ok(()) => format!("{name} is another {whose}'s, which keeps it: removed here"),
                Err(error) => format!("{name} is another {whose}'s, and stays: {error}"),
            }
        });
        removed.collect()
    }

    /// Where the folder is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Removes another job's receipt, and the answers that it lists. It may have been written by anybody, so that nothing is
/// removed for its sake that could not be an answer.
fn clear(folder: &Path, origin: &Origin) {
    let Some(found) = read_receipt(&folder.join(RECEIPT)) else {
        return;
    };
    let reading = |destination: &'static destinations::Destination| {
        let reads = destination.operations.iter().filter(|operation| operation.is_read);
        reads.flat_map(|read| {
            [
                format!("{}.json", destination.name),
                format!("{}-{}.json", destination.name, read.name),
            ]
        })
    };
    let answers: Vec<String> = destinations::ALL.iter().copied().flat_map(reading).collect();
    // What another job of this pipeline could not send may be what this one is to send.
    let is_others = !origin.has_pipeline_of(&found.origin);
    let is_failed = |name: &str| is_others && failed::is_name(name);
    for name in found
        .files
        .iter()
        .filter(|name| answers.contains(name) || is_failed(name))
    {
        let _ = files::remove(&folder.join(name));
    }
    let _ = files::remove(&folder.join(RECEIPT));
}

/// The names of the files for the answers of these targets, in their order.
fn names_of_answers(targets: &[Target]) -> Vec<String> {
    let mut taken: Vec<&str> = Vec::new();
    let name = |target: &Target| {
        let destination = target.destination.name;
        let is_taken = taken.contains(&destination);
        taken.push(destination);
        if is_taken {
            // A second reading of the same service in one run gets a file of its own.
            format!("{destination}-{}.json", target.operation.name)
        } else {
            format!("{destination}.json")
        }
    };
    targets.iter().map(name).collect()
}

fn read_receipt(path: &Path) -> Option<Receipt> {
    Receipt::from_json(&Allowance::default().read(path).ok()?)
}

/// The receipts that belong to the undelivered files in `folder`: beside it, where the folder is the one in an output
/// folder, and in it, where somebody has put both together.
pub fn receipts_beside(folder: &Path) -> Vec<Receipt> {
    let beside = folder.join("..").join(RECEIPT);
    [beside, folder.join(RECEIPT)]
        .iter()
        .filter_map(|path| read_receipt(path))
        .collect()
}

/// Whether somebody has named the file itself, and not only its folder.
pub fn is_named(path: &Path, named: &[PathBuf]) -> bool {
    let place = place(path);
    named.iter().any(|one| self::place(one) == place)
}

/// Where a file lies, however its folder was written. What the file itself is does not matter: a link to another file is
/// not that file.
fn place(path: &Path) -> PathBuf {
    let Some(name) = path.file_name() else {
        return path.to_owned();
    };
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::canonicalize(folder).map_or_else(|_| path.to_owned(), |folder| folder.join(name))
}

/// The job that kept a file, if this program wrote it, in whatever version.
fn origin_of(path: &Path, allowance: &mut Allowance) -> Option<Origin> {
    let json = allowance.read(path).ok()?;
    let is_ours = json["undelivered"].is_u64() && json["event"].is_object();
    is_ours.then(|| Origin::deserialize(&json).unwrap_or_default())
}

/// What may still be read of files that anybody may have left.
pub struct Allowance {
    bytes: usize,
    values: usize,
}

impl Default for Allowance {
    fn default() -> Self {
        Self {
            bytes: MOST_BYTES_AT_ONCE,
            values: MOST_VALUES_AT_ONCE,
        }
    }
}

impl Allowance {
    /// The JSON in a file.
    fn read(&mut self, path: &Path) -> Result<Value, String> {
        let text = files::read_text(path).map_err(|error| format!("can't be read: {error}"))?;
        let values = count_of_values(&text);
        if values > MOST_VALUES {
            return Err(format!("holds more than {MOST_VALUES} values"));
        }
        match (self.bytes.checked_sub(text.len()), self.values.checked_sub(values)) {
            (Some(bytes), Some(values)) => *self = Self { bytes, values },
            _ => return Err("is left to the next replay: this one has read as much as it reads at once".to_owned()),
        }
        serde_json::from_str(&text).map_err(|error| format!("is no JSON: {error}"))
    }
}

/// What a file holds that an earlier run has kept.
///
/// # Errors
/// It can't be read, or holds nothing that can be delivered.
pub fn read_undelivered(path: &Path, allowance: &mut Allowance) -> Result<Undelivered, String> {
    Undelivered::from_json(&allowance.read(path)?)
}

/// Writes into a file that what it holds may have counted meanwhile: it was kept for a failure of which nothing came, and
/// was sent since without an answer that tells.
///
/// # Errors
/// It can't be read or written.
pub fn mark_in_doubt(path: &Path) -> io::Result<()> {
    let text = files::read_text(path)?;
    let mut json: Value = serde_json::from_str(&text)?;
    let Some(members) = json.as_object_mut() else {
        return Err(io::Error::other("it holds no object"));
    };
    // The older name for the same.
    members.shift_remove("ambiguous");
    members.insert("in_doubt".to_owned(), true.into());
    let folder = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    files::replace(folder, &name, &format!("{json:#}\n"))
}

/// The files that `paths` name: themselves, and the JSON files in folders, by name; and what is wrong with a path.
pub fn undelivered_files(paths: &[PathBuf]) -> (Vec<PathBuf>, Vec<Problem>) {
    let mut found = Vec::new();
    let mut problems = Vec::new();
    for path in paths {
        // The output folder itself is meant to be the one inside it.
        let own = path.join(UNDELIVERED);
        let folder = if files::is_folder(path) && files::is_there(&own) {
            &own
        } else {
            path
        };
        let fail = |why: String| Problem::new(folder.display().to_string(), why);
        if files::is_folder(folder) {
            match json_files(folder) {
                Ok(mut files) => {
                    if files.len() > MOST_FILES {
                        let rest = files.split_off(MOST_FILES).len();
                        problems.push(fail(format!(
                            "holds {rest} files more than the {MOST_FILES} that are replayed at once; they stay for the next"
                        )));
                    }
                    found.append(&mut files);
                }
                Err(error) => problems.push(fail(format!("can't be listed: {error}"))),
            }
        } else if folder.is_dir() {
            problems.push(fail("is a link, and links are not followed here".to_owned()));
        } else if files::is_there(folder) {
            found.push(folder.clone());
        }
    }
    // Named twice is meant once.
    let mut seen = HashSet::new();
    found.retain(|path| seen.insert(place(path)));
    (found, problems)
}

/// A folder's undelivered files, by their names; a receipt beside them is none.
fn json_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    if !files::is_folder(folder) {
        return Err(io::Error::other("is no folder"));
    }
    let mut files: Vec<PathBuf> = fs::read_dir(folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .filter(|path| !path.ends_with(RECEIPT))
        .collect();
    files.sort();
    Ok(files)
}
