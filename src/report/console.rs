//! The one place where text leaves the program: everything printed or written passes its redactor.

use std::io::{self, IsTerminal as _, Write};

use serde_json::Value;

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
        let line = self.shown(text);
        // A closed standard error is no reason to stop delivering.
        let _ = writeln!(io::stderr(), "{line}");
    }

    /// Whether somebody watches, who may be shown how far it has come.
    pub fn is_watched(&self) -> bool {
        self.verbosity != Verbosity::Quiet && io::stderr().is_terminal()
    }

    /// A line that the next one takes the place of, whatever that is; an empty one takes it away.
    pub fn passing(&self, text: &str) {
        let mut stderr = io::stderr().lock();
        // Back to the beginning of the line, which is cleared up to its end.
        let _ = write!(stderr, "\r\u{1b}[K{}\r", self.shown(text));
        let _ = stderr.flush();
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

    /// Standard output, for people: line by line as in the report.
    ///
    /// # Errors
    /// Standard output is closed or full.
    pub fn listing(&self, lines: &[String]) -> io::Result<()> {
        let lines: Vec<String> = lines.iter().map(|line| self.shown(line)).collect();
        print(&lines.join("\n"))
    }

    /// Standard output, for shells: as it is, but for secrets, for each character of a command counts.
    ///
    /// # Errors
    /// Standard output is closed or full.
    pub fn output(&self, text: &str) -> io::Result<()> {
        print(&self.redactor.text(text))
    }

    /// Standard output, for programs: an answer as JSON, whatever the secrets are. JSON escapes control characters
    /// itself.
    ///
    /// # Errors
    /// Standard output is closed or full.
    pub fn json(&self, answer: &Value) -> io::Result<()> {
        let mut stdout = io::BufWriter::new(io::stdout().lock());
        serde_json::to_writer(&mut stdout, &self.redactor.json(answer))?;
        stdout.write_all(b"\n")?;
        stdout.flush()
    }

    /// The one way of text to people: without secrets, on one line, and with nothing in it that a terminal or GitLab's
    /// log would carry out.
    fn shown(&self, text: &str) -> String {
        one_line(&self.redactor.text(text))
    }
}

fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.write_all(b"\n")?;
    stdout.flush()
}
