//! The one place where text leaves the program: everything printed or written passes its redactor.

use std::io::{self, Write};

use crate::{secret::Redactor, settings::Verbosity};

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

/// Foreign text may hold line breaks, colours or GitLab's section marks: a report stays one line, and plain.
pub fn one_line(text: &str) -> String {
    text.chars()
        .map(|character| if character.is_control() { ' ' } else { character })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_stays_on_its_line() {
        assert_eq!(one_line("a\r\n\u{1b}[31mred"), "a   [31mred");
    }
}
