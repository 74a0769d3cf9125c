//! The output folder, `NOTIFY_OUTPUT_DIR`: the only writer of files. It touches what this program made, and nothing else
//! that lies there: the folder may be a user's own.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{
    receipt::{Entry, Origin, Receipt},
    undelivered::Undelivered,
};
use crate::{
    delivery::result::DeliveryResult, destinations::Target, event::Event, problem::Problem, redaction::Redactor,
};

/// The receipt, for programs and for later attempts of the job.
const RECEIPT: &str = "receipt.json";
/// The same for GitLab, which hands its variables to later jobs.
const DOTENV: &str = "receipt.env";
/// Where undelivered events are kept.
const UNDELIVERED: &str = "undelivered";

/// The output folder of a run.
pub struct OutputFolder {
    path: PathBuf,
    redactor: Redactor,
    origin: Origin,
    /// What earlier runs of the same job have delivered, as their receipts say.
    earlier: Vec<Entry>,
    /// The files that the program has made here, by earlier runs of the same job.
    files: Vec<String>,
}

/// The end of one delivery, as it is written down.
pub struct Finished<'a> {
    /// Where it went.
    pub target: &'a Target,
    /// What went there.
    pub event: Option<&'a Event>,
    /// How it ended.
    pub result: &'a DeliveryResult,
}

impl OutputFolder {
    /// Makes the folder, before anything is sent. `reads` are the targets whose answers will be written there.
    ///
    /// # Errors
    /// It can't be made, nothing can be written there, or somebody else's file stands where an answer has to go.
    pub fn create(path: &str, origin: Origin, reads: &[Target], redactor: &Redactor) -> Result<Self, Problem> {
        let fail = |error: io::Error| {
            Problem::new(
                "NOTIFY_OUTPUT_DIR",
                format!("is {path}, where nothing can be written: {error}. Name a folder below $CI_PROJECT_DIR"),
            )
        };
        let folder = Path::new(path);
        let is_new = !folder.exists();
        fs::create_dir_all(folder).map_err(fail)?;
        let is_empty = fs::read_dir(folder).map_err(fail)?.next().is_none();
        let found = read_receipt(folder);
        let of_this_job = |receipt: &Receipt| origin.job_id.is_some() && receipt.origin.job_id == origin.job_id;
        let (earlier, files) = match found {
            Some(receipt) if of_this_job(&receipt) => (receipt.entries().cloned().collect(), receipt.files),
            // What an earlier job left here came along with its artifacts, or with the work tree, and is not this job's.
            Some(receipt) => {
                for name in receipt.files.iter().filter(|name| is_plain(name)) {
                    let _ = fs::remove_file(folder.join(name));
                }
                let _ = fs::remove_file(folder.join(RECEIPT));
                (Vec::new(), Vec::new())
            }
            None => (Vec::new(), Vec::new()),
        };
        let output = Self {
            path: folder.to_owned(),
            redactor: redactor.clone(),
            origin,
            earlier,
            files,
        };
        for name in names_of_answers(reads) {
            if output.is_somebody_elses(&name) {
                let what = format!(
                    "is {path}, which holds a {name} that this program did not make; the answer would overwrite it. Name \
                     another folder"
                );
                return Err(Problem::new("NOTIFY_OUTPUT_DIR", what));
            }
        }
        if is_new {
            share(folder, 0o777);
        }
        if is_empty {
            // The folder may lie in the work tree of later jobs, which may want it clean. What lies in a user's own folder
            // is not ours to hide.
            output.write(".gitignore", "*\n").map_err(fail)?;
        }
        output.write(DOTENV, "").map_err(fail)?;
        Ok(output)
    }

    /// Writes how a run ended, and what was read. `event` is the one that the run was about, if it was one.
    ///
    /// # Errors
    /// A file can't be written.
    pub fn write_receipt(&self, event: Option<&Event>, finished: &[Finished], exit_code: u8) -> io::Result<()> {
        let entries = finished.iter().map(|one| Entry::new(one.target, one.event, one.result));
        let earlier = self.earlier.clone();
        let mut receipt = Receipt::new(self.origin.clone(), event, entries.collect(), earlier, exit_code);
        receipt.files.clone_from(&self.files);
        let answered: Vec<(Target, &Value)> = finished
            .iter()
            .filter_map(|one| Some((*one.target, one.result.json.as_ref()?)))
            .collect();
        let targets: Vec<Target> = answered.iter().map(|(target, _)| *target).collect();
        let mut in_the_way = Ok(());
        for (name, (_, json)) in names_of_answers(&targets).into_iter().zip(answered) {
            if self.is_somebody_elses(&name) {
                in_the_way = Err(io::Error::other(format!(
                    "{name} is not this program's, and stays as it is"
                )));
                continue;
            }
            self.write(&name, &format!("{}\n", self.redactor.json(json)))?;
            if !receipt.files.contains(&name) {
                receipt.files.push(name);
            }
        }
        self.write(RECEIPT, &format!("{:#}\n", receipt.to_json(&self.redactor)))?;
        self.write(DOTENV, &self.redactor.text(&receipt.dotenv(event)))?;
        in_the_way
    }

    /// Whether a file of that name is there that this program did not make.
    fn is_somebody_elses(&self, name: &str) -> bool {
        self.path.join(name).exists() && !self.files.iter().any(|own| own == name)
    }

    /// Keeps what could not be delivered, and tells where. The file gets a number if its name is taken: a job may report
    /// several events within a second, and none of them may be lost.
    ///
    /// # Errors
    /// It can't be written.
    pub fn keep(&self, undelivered: &Undelivered) -> io::Result<String> {
        let folder = self.path.join(UNDELIVERED);
        if !folder.exists() {
            fs::create_dir_all(&folder)?;
            share(&folder, 0o777);
        }
        let name = undelivered.file_name();
        let text = format!("{:#}\n", self.redactor.json(&undelivered.to_json()));
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
                    share(&path, 0o666);
                    return Ok(path.display().to_string());
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Removes what other jobs could not deliver, and tells of each. It came along with their artifacts, or with the work
    /// tree that the runner gave to this job; each job keeps its own, or a replay of several would deliver it more than
    /// once.
    pub fn forget_other_jobs(&self) -> Vec<String> {
        let Some(job) = &self.origin.job_id else {
            return Vec::new();
        };
        let files = json_files(&self.path.join(UNDELIVERED)).unwrap_or_default();
        let is_others = |path: &PathBuf| {
            let kept = read_undelivered(path);
            kept.is_ok_and(|kept| kept.origin.job_id.is_some_and(|theirs| theirs != *job))
        };
        let removed = files.into_iter().filter(is_others).map(|path| {
            let name = path.display().to_string();
            match fs::remove_file(path) {
                Ok(()) => format!("{name} is another job's, which keeps it: removed here"),
                Err(error) => format!("{name} is another job's, and stays: {error}"),
            }
        });
        removed.collect()
    }

    fn write(&self, name: &str, text: &str) -> io::Result<()> {
        let path = self.path.join(name);
        fs::write(&path, text)?;
        share(&path, 0o666);
        Ok(())
    }

    /// Where the folder is.
    pub fn path(&self) -> &Path {
        &self.path
    }
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

/// Whether `name` is a file's name in the folder itself: a receipt may have been written by anybody.
fn is_plain(name: &str) -> bool {
    !name.contains('/') && !matches!(name, "" | "." | "..")
}

/// Lets everybody write. The runner hands artifacts to later jobs as root's files with the modes they had, and neither
/// our image nor the user's has to run as root. What is not ours is as it is.
fn share(path: &Path, mode: u32) {
    let _ = fs::set_permissions(path, fs::Permissions::from_mode(mode));
}

fn read_receipt(folder: &Path) -> Option<Receipt> {
    let text = fs::read_to_string(folder.join(RECEIPT)).ok()?;
    Receipt::from_json(&serde_json::from_str(&text).ok()?)
}

/// What a file holds that an earlier run has kept.
///
/// # Errors
/// It can't be read, or holds nothing that can be delivered.
pub fn read_undelivered(path: &Path) -> Result<Undelivered, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("can't be read: {error}"))?;
    let json: Value = serde_json::from_str(&text).map_err(|error| format!("is no JSON: {error}"))?;
    Undelivered::from_json(&json)
}

/// The files that `paths` name: themselves, and the JSON files in folders, by name.
///
/// # Errors
/// A folder can't be listed.
pub fn undelivered_files(paths: &[PathBuf]) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            // The output folder itself is meant to be the one inside it.
            let own = path.join(UNDELIVERED);
            files.extend(json_files(if own.is_dir() { &own } else { path })?);
        } else if path.exists() {
            files.push(path.clone());
        }
    }
    Ok(files)
}

fn json_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    Ok(files)
}
