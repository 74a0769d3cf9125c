//! The entities of a file that were not sent, in a file that can be sent again.

use std::{io, path::Path};

use super::OutputFolder;
use crate::{
    destinations,
    files::{self, Growing},
};

impl OutputFolder {
    /// Begins the file for the entities that are not sent. It gets its name when it is [put](Self::put_failed).
    ///
    /// # Errors
    /// It can't be made.
    pub fn begin_failed(&self) -> io::Result<Growing> {
        Growing::new(&self.path)
    }

    /// Puts the entities that `destination` was not sent into the folder, and tells the file's name. A file that `was_read`,
    /// of which this is the rest, is replaced; any other holds other entities that were not sent, and stays.
    ///
    /// # Errors
    /// It could not be written, or can't be put there.
    pub fn put_failed(&self, destination: &str, file: Growing, was_read: impl Fn(&Path) -> bool) -> io::Result<String> {
        let mut number = 1_u32;
        let name = loop {
            let name = name_of(destination, number);
            let path = self.path.join(&name);
            if !files::is_there(&path) || was_read(&path) {
                break name;
            }
            number += 1;
        };
        file.put(&self.path.join(&name))?;
        Ok(name)
    }

    /// Removes the file of entities that `was_read`, if it is one of these: all of them are sent by now.
    pub fn clear_failed(&self, destination: &str, was_read: impl Fn(&Path) -> bool) {
        let paths = (1..).map(|number| self.path.join(name_of(destination, number)));
        let mut paths = paths.take_while(|path| files::is_there(path));
        if let Some(path) = paths.find(|path| was_read(path)) {
            let _ = files::remove(&path);
        }
    }
}

/// The file of the entities that a destination was not sent; of several, the one of this number.
pub(super) fn name_of(destination: &str, number: u32) -> String {
    match number {
        1 => format!("{destination}.failed.ndjson"),
        _ => format!("{destination}.failed_{number:04}.ndjson"),
    }
}

/// Whether a file of that name may be one of these.
pub(super) fn is_name(name: &str) -> bool {
    destinations::ALL.iter().any(|destination| {
        let rest = name.strip_prefix(destination.name);
        rest.is_some_and(|rest| rest.starts_with(".failed") && rest.ends_with(".ndjson") && !rest.contains('/'))
    })
}
