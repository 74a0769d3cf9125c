//! What became of each entity: counted, named, and written to a file where it was not sent.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    delivery::{
        plan::Item,
        result::{DeliveryResult, Tally},
    },
    entities::{Entities, counted},
    files::Growing,
    receipts::folder::OutputFolder,
    report::{
        class::{self, Class},
        console::Console,
    },
    text::{grouped, truncate},
};

/// So many failed entities are named; the file has all of them.
const NAMED: u64 = 20;
/// A log gets a line on the way no more often than this, and no more than one for so many percent.
const LINE_EVERY: (Duration, u64) = (Duration::from_secs(5), 5);

/// How far it has come.
pub(super) struct Account<'a> {
    pub(super) console: &'a Console,
    pub(super) folder: Option<&'a OutputFolder>,
    pub(super) label: &'a str,
    pub(super) total: u64,
    pub(super) tally: Tally,
    pub(super) worst: Class,
    /// The last status that something was refused with, and the most attempts at a request.
    pub(super) status: Option<u16>,
    pub(super) attempts: u32,
    pub(super) requests: u64,
    pub(super) file: Option<Growing>,
    /// How many of those that failed are not in the file, because it can't be written or they hold a credential.
    pub(super) lost: u64,
    pub(super) begun: Instant,
    pub(super) told: (Instant, u64),
}

/// Why no more is sent.
pub(super) struct Halt {
    pub(super) class: Class,
    pub(super) why: String,
}

impl<'a> Account<'a> {
    /// Nothing is done of `total` yet.
    pub(super) fn new(console: &'a Console, folder: Option<&'a OutputFolder>, label: &'a str, total: u64) -> Self {
        let now = Instant::now();
        Self {
            console,
            folder,
            label,
            total,
            tally: Tally::default(),
            worst: Class::Sent,
            status: None,
            attempts: 0,
            requests: 0,
            file: None,
            lost: 0,
            begun: now,
            told: (now, 0),
        }
    }

    /// Accounts for an entity that the service did not take.
    pub(super) fn fail(&mut self, item: &Item, class: Class, status: Option<u16>, why: &str) {
        self.worst = class::worst([self.worst, class]);
        self.status = status.or(self.status);
        if self.tally.failed < NAMED {
            self.line(&format!(
                "{} `{}` ({}): {why}",
                class.word(),
                truncate(&item.identifier, 100),
                item.name
            ));
        } else if self.tally.failed == NAMED {
            self.line("more entities failed, which are not named here");
        }
        self.keep(item);
    }

    /// Keeps an entity that is not sent.
    pub(super) fn keep(&mut self, item: &Item) {
        self.tally.failed += 1;
        let Some(folder) = self.folder else {
            self.lost += 1;
            return;
        };
        if self.console.redactor().is_traced(&item.json) {
            self.lost += 1;
            self.line(&format!(
                "`{}` ({}) holds the text of a credential, and is not written to the file of those that failed",
                truncate(&item.identifier, 100),
                item.name
            ));
            return;
        }
        let written = match &mut self.file {
            Some(file) => file.line(&item.json),
            None => folder.begin_failed().and_then(|mut file| {
                file.line(&item.json)?;
                self.file = Some(file);
                Ok(())
            }),
        };
        if let Err(error) = written {
            self.lost += 1;
            if self.lost == 1 {
                self.line(&format!(
                    "what fails can't be written to {}: {error}",
                    folder.path().display()
                ));
            }
        }
    }

    /// A line that everybody should see.
    fn line(&self, text: &str) {
        if self.console.is_watched() {
            self.console.passing("");
        }
        self.console.line(&format!("  {:<18} {text}", self.label));
    }

    /// Tells how far it has come: all the time to who watches, and a line now and then to a log.
    pub(super) fn tell(&mut self) {
        let done = self.tally.sent + self.tally.failed;
        let percent = done * 100 / self.total.max(1);
        let failed = match self.tally.failed {
            0 => String::new(),
            failed => format!(", {} failed", grouped(failed)),
        };
        let far = format!("{} of {} ({percent} %){failed}", grouped(done), grouped(self.total));
        if self.console.is_watched() {
            let full = usize::try_from(percent / 4).unwrap_or_default();
            let bar = format!("{}{}", "#".repeat(full), ".".repeat(25 - full.min(25)));
            self.console.passing(&format!("  {:<18} [{bar}] {far}", self.label));
            return;
        }
        let (told_at, told_percent) = self.told;
        let (pause, step) = LINE_EVERY;
        if told_at.elapsed() >= pause && percent >= told_percent + step {
            self.told = (Instant::now(), percent);
            self.console.info(&format!("  {:<18} {far}", self.label));
        }
    }

    /// How it ended.
    pub(super) fn result(mut self, destination: &str, entities: &Entities, ended: Option<Halt>) -> DeliveryResult {
        if self.console.is_watched() {
            self.console.passing("");
        }
        // A file that has changed on the way has lost them.
        let gone = self.total - self.tally.sent - self.tally.failed;
        self.tally.failed += gone;
        let mut said = Vec::new();
        let all = counted(self.total, "entity", "entities");
        let requests = counted(self.requests, "request", "requests");
        if self.tally.failed == 0 {
            said.push(format!("{all} sent in {requests}"));
        } else {
            let (sent, failed) = (grouped(self.tally.sent), grouped(self.tally.failed));
            said.push(format!("{sent} of {all} sent in {requests}, {failed} failed"));
        }
        if let Some(Halt { class, why }) = ended.filter(|_| self.tally.sent < self.total) {
            self.worst = class::worst([self.worst, class]);
            said.push(format!("no more was sent after this: {why}"));
        }
        let mut failed_file = None;
        match (self.folder, self.file.take()) {
            (Some(folder), Some(file)) => match folder.put_failed(destination, file, |path| entities.are_at(path)) {
                Ok(name) => {
                    said.push(format!(
                        "{} holds them; send them with {} as its path",
                        folder.path().join(&name).display(),
                        entities.batch.variable
                    ));
                    failed_file = Some(name);
                }
                Err(error) => said.push(format!("they can't be kept in NOTIFY_OUTPUT_DIR: {error}")),
            },
            (Some(folder), None) if self.tally.failed == 0 => {
                folder.clear_failed(destination, |path| entities.are_at(path));
            }
            (None, _) if self.tally.failed > 0 => {
                said.push("set NOTIFY_OUTPUT_DIR to get a file of them that can be sent again".to_owned());
            }
            _ => {}
        }
        if gone > 0 {
            said.push(format!("{} of them can't be read any more", grouped(gone)));
        }
        if self.lost > 0 && self.folder.is_some() {
            said.push(format!("but for {} of them, see above", grouped(self.lost)));
        }
        DeliveryResult {
            status: self.status,
            attempts: self.attempts,
            elapsed: self.begun.elapsed(),
            entities: Some(self.tally),
            failed_file,
            ..DeliveryResult::unsent(self.worst, said.join("; "), None)
        }
    }
}
