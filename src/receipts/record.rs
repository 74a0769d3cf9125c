//! The receipt in the making, and with it what is kept for a replay: the one place that writes either while a run
//! delivers. What may count is written down before it is sent, and again as it ends, so that whatever ends the run, at
//! whatever moment, the files say what was sent, what was not, and what can't be known.

use std::io;

use serde_json::Value;

use super::{
    folder::OutputFolder,
    receipt::{Entry, Receipt},
    undelivered::Undelivered,
};
use crate::{
    delivery::{plan::Plan, result::DeliveryResult},
    destinations::Target,
    event::Event,
    problem::Unmade,
    report::{class::Class, console::Console},
    variables::Values,
};

/// What is to be delivered, as it is written down.
#[derive(Clone)]
pub struct Subject<'e> {
    /// Where it goes.
    pub target: Target,
    /// What goes there.
    pub event: Option<&'e Event>,
    /// What was read for it.
    pub values: Values,
}

/// The receipt in the making. Without an output folder nothing is written.
pub struct Record<'a> {
    folder: Option<&'a OutputFolder>,
    console: &'a Console,
    /// The event that the run is about, if it is one.
    event: Option<&'a Event>,
    receipt: Receipt,
    /// What earlier runs of the job have kept.
    kept_before: Vec<String>,
    /// Each delivery's entry, and its JSON form, with secrets hidden.
    entries: Vec<Option<(Entry, Value)>>,
    /// The file in which each is kept, if it is.
    kept: Vec<Option<String>>,
    keeps: bool,
    has_complained: bool,
}

impl<'a> Record<'a> {
    /// The record of a run that delivers `count` things. `keeps` says whether it keeps what is not delivered: a replay
    /// leaves that where it is.
    pub fn new(
        folder: Option<&'a OutputFolder>,
        console: &'a Console,
        event: Option<&'a Event>,
        count: usize,
        keeps: bool,
    ) -> Self {
        let mut receipt = folder.map(|folder| folder.begun().clone()).unwrap_or_default();
        receipt.event = event.map(Event::to_json);
        // A replay may have delivered some since.
        let mut kept_before = std::mem::take(&mut receipt.undelivered);
        kept_before.retain(|name| folder.is_some_and(|folder| folder.keeps(name)));
        Self {
            folder,
            console,
            event,
            receipt,
            kept_before,
            entries: vec![None; count],
            kept: vec![None; count],
            keeps,
            has_complained: false,
        }
    }

    /// Marks that the delivery at `place` has not ended. Nothing of it may be sent before [`write`](Self::write). `mark` is
    /// how it ends if nothing more is heard of it, see [`mark`].
    pub fn mark(&mut self, place: usize, subject: &Subject, mark: &DeliveryResult) {
        let entry = Entry::new(&subject.target, subject.event, &subject.values, mark);
        self.enter(
            place,
            Entry {
                under_way: true,
                ..entry
            },
        );
        self.keep(place, subject, None, mark);
    }

    /// Writes how the delivery at `place` ended, and keeps it if it is lost. The file's name, if it is.
    pub fn end(
        &mut self,
        place: usize,
        subject: &Subject,
        unmade: Option<&Unmade>,
        result: &DeliveryResult,
    ) -> Option<String> {
        let entry = Entry::new(&subject.target, subject.event, &subject.values, result);
        self.enter(place, entry);
        // The file that an earlier run had left may be sent by now, and gone.
        if let Some(folder) = self.folder.filter(|_| result.entities.is_some()) {
            self.receipt.files.retain(|name| folder.keeps(name));
        }
        if let Some(name) = result
            .failed_file
            .as_ref()
            .filter(|name| !self.receipt.files.contains(name))
        {
            self.receipt.files.push(name.clone());
        }
        let is_lost = result.class.is_failure() && !result.is_accepted;
        if is_lost {
            self.keep(place, subject, unmade, result);
            self.write();
            return self.kept[place].clone();
        }
        // The receipt first: a file that is there beside a receipt which says that it was sent is not sent again.
        let kept = self.kept[place].take();
        self.write();
        if let (Some(folder), Some(name)) = (self.folder, kept) {
            let removed = folder.no_longer_keep(&name);
            self.complain(removed);
        }
        None
    }

    /// Writes how something ended that was not among the deliveries.
    pub fn add(&mut self, subject: &Subject, result: &DeliveryResult) {
        self.entries.push(None);
        self.kept.push(None);
        self.end(self.entries.len() - 1, subject, None, result);
    }

    /// Writes the receipt as it is now.
    pub fn write(&mut self) {
        let Some(folder) = self.folder else { return };
        self.update();
        let destinations = self.entries.iter().flatten().map(|(_, json)| json.clone()).collect();
        let json = self.receipt.to_json_with(destinations, self.console.redactor());
        let written = folder.write_as(&json, &self.receipt, self.event);
        self.complain(written);
    }

    /// Writes what was read, and that the run has ended. Nothing of this can undo what was sent, so what goes wrong is
    /// only told.
    pub fn finish(mut self, answers: &[(Target, &Value)], exit_code: u8) {
        let Some(folder) = self.folder else { return };
        let answered = folder.write_answers(answers, &mut self.receipt);
        self.complain(answered);
        self.receipt.exit_code = Some(exit_code);
        self.update();
        // Anew and whole: what was learned since may have to be hidden in what was written before.
        let written = folder.write(&self.receipt, self.event);
        self.complain(written);
    }

    fn enter(&mut self, place: usize, entry: Entry) {
        let json = entry.to_json(self.console.redactor());
        self.entries[place] = Some((entry, json));
    }

    fn update(&mut self) {
        self.receipt.destinations = self.entries.iter().flatten().map(|(entry, _)| entry.clone()).collect();
        let kept = self.kept_before.iter().chain(self.kept.iter().flatten());
        self.receipt.undelivered = kept.cloned().collect();
    }

    fn keep(&mut self, place: usize, subject: &Subject, unmade: Option<&Unmade>, result: &DeliveryResult) {
        let (Some(folder), Some(event)) = (self.folder, subject.event) else {
            return;
        };
        if subject.target.operation.is_read || !self.keeps {
            return;
        }
        let origin = self.receipt.origin.clone();
        let undelivered = Undelivered::new(subject.target, event.clone(), &subject.values, unmade, result, origin);
        let kept = match &self.kept[place] {
            Some(name) => folder.keep_again(name, &undelivered),
            None => folder.keep(&undelivered).map(|name| self.kept[place] = Some(name)),
        };
        if let Err(error) = kept {
            self.console.line(&format!(
                "  {:<18} can't be kept for a replay in NOTIFY_OUTPUT_DIR {}: {error}",
                subject.target.label(),
                folder.path().display()
            ));
        }
    }

    /// Tells once that the folder can't be written: every file of it will fail alike, and nothing that is sent depends on it.
    fn complain(&mut self, written: io::Result<()>) {
        let (Some(folder), Err(error)) = (self.folder, written) else {
            return;
        };
        if !self.has_complained {
            self.has_complained = true;
            let path = folder.path().display();
            self.console.line(&format!("  NOTIFY_OUTPUT_DIR {path}: {error}"));
        }
    }
}

/// How the delivery of `subject` by `plan` ends if nothing more is heard of it: `has_begun` says whether something of it
/// may be sent by then. What may be repeated at will is repeated all the same.
pub fn mark(subject: &Subject, plan: &Plan, has_begun: bool) -> DeliveryResult {
    let why = if has_begun {
        "it was being sent when the program was ended"
    } else {
        "the program was ended before it was sent"
    };
    DeliveryResult {
        is_ambiguous: plan.in_doubt || (has_begun && !subject.target.operation.is_read),
        completed: plan.completed.clone(),
        found: plan.found.clone(),
        ..DeliveryResult::unsent(Class::Unavailable, why, plan.identifier.clone())
    }
}
