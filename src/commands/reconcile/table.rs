//! What came of it: a row for each deployment at each service, but that those which agree are counted where there are many.

use std::collections::BTreeMap;

use crate::{
    report::{
        class::{self, Class},
        console::Console,
    },
    text::grouped,
};

/// So many that agree are listed one by one.
const LISTED: usize = 10;

/// What came of one comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It was as the record has it.
    Agreed,
    /// It was written: what was wrong.
    Repaired(String),
    /// It would be written: what is wrong.
    Shown(String),
    /// It stays as it is, or was not looked for: why.
    LeftAlone(String),
    /// It could not be compared or written: why.
    Failed(Class, String),
}

/// A row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The identifier, or what stands in for it.
    pub name: String,
    /// What came of it.
    pub fate: Fate,
}

/// What came of all comparisons with one service.
#[derive(Debug, Default)]
pub struct Table {
    /// The rows.
    pub rows: Vec<Row>,
    /// Why it ended before it was done, if it did.
    pub halt: Option<(Class, String)>,
}

impl Table {
    /// Adds a row.
    pub fn add(&mut self, name: impl Into<String>, fate: Fate) {
        let name = name.into();
        self.rows.push(Row { name, fate });
    }

    /// The worst class.
    pub fn class(&self) -> Class {
        let of_rows = self.rows.iter().map(|row| match row.fate {
            Fate::Failed(class, _) => class,
            Fate::Repaired(_) => Class::Sent,
            _ => Class::Skipped,
        });
        let of_halt = self.halt.iter().map(|(class, _)| *class);
        let all: Vec<Class> = of_rows.chain(of_halt).collect();
        match class::worst(all.iter().copied()) {
            worst if worst.is_failure() => worst,
            _ if all.contains(&Class::Sent) => Class::Sent,
            _ => Class::Skipped,
        }
    }

    /// How many there are of each, in words.
    pub fn counts(&self) -> String {
        let mut counts: BTreeMap<(u8, &str), usize> = BTreeMap::new();
        for row in &self.rows {
            *counts.entry(order(&row.fate)).or_default() += 1;
        }
        let counts: Vec<String> = counts
            .into_iter()
            .map(|((_, word), count)| format!("{word} {}", grouped(count as u64)))
            .collect();
        if counts.is_empty() {
            "nothing to compare".to_owned()
        } else {
            counts.join(", ")
        }
    }

    /// Prints it under the service's `label`.
    pub fn print(&self, console: &Console, label: &str) {
        let line = format!("  {label:<18} {}", self.counts());
        if self.class().is_failure() {
            console.line(&line);
        } else {
            console.info(&line);
        }
        let mut rows: Vec<&Row> = self.rows.iter().collect();
        rows.sort_by_key(|row| (order(&row.fate).0, row.name.clone()));
        let agreed = rows.iter().filter(|row| row.fate == Fate::Agreed).count();
        for row in rows
            .into_iter()
            .filter(|row| row.fate != Fate::Agreed || agreed <= LISTED)
        {
            let (_, word) = order(&row.fate);
            let why = match &row.fate {
                Fate::Agreed => String::new(),
                Fate::Repaired(why) | Fate::Shown(why) | Fate::LeftAlone(why) => format!(": {why}"),
                Fate::Failed(class, why) => format!(": {}: {why}", class.word()),
            };
            let line = format!("    {word:<16} {}{why}", row.name);
            if matches!(row.fate, Fate::Failed(..)) {
                console.line(&line);
            } else {
                console.info(&line);
            }
        }
        if let Some((class, why)) = &self.halt {
            console.line(&format!("    {:<16} {}: {why}", "ended early", class.word()));
        }
    }
}

fn order(fate: &Fate) -> (u8, &'static str) {
    match fate {
        Fate::Agreed => (0, "agreed"),
        Fate::Repaired(_) => (1, "repaired"),
        Fate::Shown(_) => (2, "would be repaired"),
        Fate::LeftAlone(_) => (3, "left alone"),
        Fate::Failed(..) => (4, "failed"),
    }
}
