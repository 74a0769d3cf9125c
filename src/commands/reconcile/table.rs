//! What came of it: a row for each deployment at each service, the first ones where there are many.

use std::collections::BTreeMap;

use crate::{
    commands::{dispatch::Delivered, runner::Delivery},
    delivery::result::DeliveryResult,
    destinations::Target,
    problem::Unmade,
    report::{
        class::{self, Class},
        console::Console,
    },
    text::grouped,
};

/// So many that agree are listed one by one, and so many of every other kind: a history has thousands.
const AGREED: usize = 10;
const LISTED: usize = 200;

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
    /// Whether GitLab could not be read in whole: no row is no news then.
    pub is_unread: bool,
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
        if counts.is_empty() && (self.halt.is_some() || self.is_unread) {
            "not compared".to_owned()
        } else if counts.is_empty() {
            "nothing to do".to_owned()
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
        let mut listed: BTreeMap<&str, usize> = BTreeMap::new();
        for row in rows {
            let (_, word) = order(&row.fate);
            let count = listed.entry(word).or_default();
            *count += 1;
            if *count > most(word) {
                continue;
            }
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
        for (word, count) in listed {
            if let Some(more) = count.checked_sub(most(word)).filter(|more| *more > 0) {
                console.info(&format!("    {word:<16} and {} more", grouped(more as u64)));
            }
        }
        if let Some((class, why)) = &self.halt {
            console.line(&format!("    {:<16} {}: {why}", "ended early", class.word()));
        }
    }
}

/// What came of it, by target.
pub struct Outcome {
    /// The targets, each with its table.
    pub targets: Vec<(Target, Table)>,
    /// What is said of GitLab, and what it means for the exit code.
    pub of_gitlab: Vec<(Class, String)>,
    /// Whether it was cut off, because somebody asked it to end.
    pub is_cut_off: bool,
}

impl Outcome {
    /// Nothing yet.
    pub fn new(targets: Vec<Target>) -> Self {
        Self {
            targets: targets.into_iter().map(|target| (target, Table::default())).collect(),
            of_gitlab: Vec::new(),
            is_cut_off: false,
        }
    }

    /// The targets that can't be compared.
    pub fn unasked(&mut self) -> impl Iterator<Item = (Target, &mut Table)> {
        let targets = self.targets.iter_mut().map(|(target, table)| (*target, table));
        targets.filter(|(target, _)| target.register().is_none())
    }

    /// Takes in what would be delivered.
    pub fn show(&mut self, delivery: &Delivery<'_>) {
        let fate = match &delivery.plan {
            Ok(plan) => match &plan.skip {
                None => Fate::Shown(delivery.heading.clone().unwrap_or_default()),
                Some(why) => Fate::LeftAlone(why.clone()),
            },
            Err(Unmade::Nothing(why)) => Fate::LeftAlone(why.clone()),
            Err(why @ Unmade::Wrong(_)) => Fate::Failed(Class::Misconfigured, why.to_string()),
        };
        let mut tables = self.targets.iter_mut();
        let name = delivery.event.and_then(|event| event.id.clone()).unwrap_or_default();
        if let Some((_, table)) = tables.find(|(target, _)| target.is_like(&delivery.target)) {
            table.add(name, fate);
        } else {
            let mut table = Table::default();
            table.add(name, fate);
            self.targets.push((delivery.target, table));
        }
    }

    /// Prints the table, and tells what counts for the exit code.
    pub fn report(&self, console: &Console) -> Vec<Class> {
        for (class, line) in &self.of_gitlab {
            if class.is_failure() {
                console.line(&format!("  {:<18} {}: {line}", "GitLab", class.word()));
            } else {
                console.info(&format!("  {:<18} {line}", "GitLab"));
            }
        }
        for (target, table) in self.told() {
            table.print(console, &target.label());
        }
        let of_gitlab = self.of_gitlab.iter().map(|(class, _)| *class);
        let required = self.targets.iter().filter(|(target, _)| !target.is_optional);
        let of_targets = required.map(|(_, table)| table.class());
        let of_stop = self.is_cut_off.then_some(Class::Unavailable);
        of_gitlab.chain(of_targets).chain(of_stop).collect()
    }

    /// The targets of which there is something to say: of what can't be compared there may be nothing.
    fn told(&self) -> impl Iterator<Item = &(Target, Table)> {
        let is_told = |(target, table): &&(Target, Table)| {
            target.register().is_some() || !table.rows.is_empty() || table.halt.is_some()
        };
        self.targets.iter().filter(is_told)
    }

    /// What is written of each target into the receipt.
    fn results(&self) -> impl Iterator<Item = (Target, DeliveryResult)> {
        self.told().map(|(target, table)| {
            let why = table.halt.iter().map(|(_, why)| format!("; ended early: {why}"));
            let detail = format!("reconcile: {}{}", table.counts(), why.collect::<String>());
            (*target, DeliveryResult::unsent(table.class(), detail, None))
        })
    }

    /// Writes it into the receipt, behind what was delivered.
    pub fn leave(&self, mut delivered: Delivered<'_>, exit_code: u8) {
        for (target, result) in self.results() {
            delivered.add(target, &result);
        }
        delivered.leave(exit_code);
    }

    /// What came of it, in words.
    pub fn summary(&self, is_dry: bool) -> String {
        let rows = || self.targets.iter().flat_map(|(_, table)| &table.rows);
        let count = |is: fn(&Fate) -> bool| rows().filter(|row| is(&row.fate)).count();
        let of = |is: fn(&Fate) -> bool, word: &str| format!("{} {word}", count(is));
        let repaired = if is_dry {
            of(|fate| matches!(fate, Fate::Shown(_)), "would be repaired")
        } else {
            of(|fate| matches!(fate, Fate::Repaired(_)), "repaired")
        };
        let mut parts = vec![
            of(|fate| *fate == Fate::Agreed, "agreed"),
            repaired,
            of(|fate| matches!(fate, Fate::LeftAlone(_)), "left alone"),
        ];
        let failed = count(|fate| matches!(fate, Fate::Failed(..)));
        if failed > 0 {
            parts.push(format!("{failed} failed"));
        }
        let what = if is_dry { "dry run, nothing was written: " } else { "" };
        let cut_off = if self.is_cut_off {
            "asked to end (SIGTERM): "
        } else {
            ""
        };
        format!("{cut_off}{what}{}", parts.join(", "))
    }
}

/// So many rows of a kind are listed.
fn most(word: &str) -> usize {
    if word == order(&Fate::Agreed).1 { AGREED } else { LISTED }
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
