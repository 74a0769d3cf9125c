//! The one place where text leaves the program: everything printed or written passes its redactor.

use std::io::{self, Write};

use crate::{redaction::Redactor, settings::Verbosity, text::one_line};

/// Standard output and standard error, filtered. Clones share what they hide.
#[derive(Clone)]
pub struct Console {
    redactor: Redactor,
    verbosity: Verbosity,
}

impl Console {
    /// A console that hides what `redactor` knows.
    pub fn new(redactor: Redactor, verbosity: Verbosity) -> Self {
        Self { redactor, verbosity }
    }

    /// What hides secrets, for those that are learned while the program runs.
    pub fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// A line of the report that everybody should see.
    pub fn line(&self, text: &str) {
        let line = self.redactor.text(&one_line(&self.redactor.text(text)));
        // A closed standard error is no reason to stop delivering.
        let _ = writeln!(io::stderr(), "{line}");
    }

    /// A line for who did not ask for quiet.
    pub fn info(&self, text: &str) {
        if self.verbosity != Verbosity::Quiet {
            self.line(text);
        }
    }

    /// A line for who asked for everything.
    pub fn debug(&self, text: &str) {
        if self.verbosity == Verbosity::Debug {
            self.line(text);
        }
    }

    /// Standard output, for programs: as it is, but for secrets.
    ///
    /// # Errors
    /// Standard output is closed or full.
    pub fn output(&self, text: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(self.redactor.text(text).as_bytes())?;
        stdout.write_all(b"\n")?;
        stdout.flush()
    }
}
