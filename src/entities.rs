//! Entities of a file, in place of the event: checked whole before any is sent, then read again piece by piece, so that
//! a file may have any length. What an entity has to be and how it is sent is the destination's to say ([`Batch`]).

use std::{collections::HashSet, hash::BuildHasher as _, io, path::Path};

use crate::{
    delivery::plan::{Batch, Item},
    files::{Long, LongReader},
    problem::Problem,
    text::grouped,
};

mod scan;

use scan::Scanner;

/// Identifiers that stand in a file twice are looked for among so many: to remember more would take more memory the
/// longer the file is.
const REMEMBERED: usize = 100_000;

/// The name of standard input as a file.
pub const STANDARD_INPUT: &str = "-";

/// A file of entities that was checked.
pub struct Entities {
    /// What to do with them.
    pub batch: Batch,
    /// How many there are.
    pub count: u64,
    /// Into how many requests they go.
    pub requests: u64,
    /// What a person should know of them before they are sent.
    pub notes: Vec<String>,
    file: Long,
}

/// Entities that go into one request.
#[derive(Debug, Default)]
pub struct Chunk {
    /// What they have in common.
    pub group: String,
    /// They themselves.
    pub items: Vec<Item>,
}

impl Chunk {
    /// How many bytes they have.
    pub fn bytes(&self) -> usize {
        self.items.iter().map(|item| item.json.len()).sum()
    }
}

/// A file's content, to be read.
pub enum Source {
    /// The file at the path that the variable names.
    Named,
    /// What came by standard input.
    Spooled(Long),
}

/// Takes all of standard input, which may take as long as somebody writes there.
///
/// # Errors
/// It can't be read, or there is no room for it.
pub fn spool() -> io::Result<Long> {
    Long::spool(io::stdin().lock())
}

impl Entities {
    /// Opens the file of `batch`, and checks all of it.
    ///
    /// # Errors
    /// It can't be read, or what of it is no entity, and where.
    pub fn check(batch: Batch, source: Source) -> Result<Self, Problem> {
        let variable = batch.variable;
        let what = shown(&batch.file);
        let wrong = |why: String| Problem::new(variable, format!("is {what}: {why}"));
        let file = match source {
            Source::Named => Long::open(Path::new(&batch.file)).map_err(|error| wrong(of_opening(&error)))?,
            Source::Spooled(file) => file,
        };
        let mut entities = Self {
            batch,
            count: 0,
            requests: 0,
            notes: Vec::new(),
            file,
        };
        let hasher = std::hash::RandomState::new();
        let mut seen: HashSet<u64> = HashSet::new();
        let (mut count, mut requests, mut twice, mut first_twice) = (0_u64, 0_u64, 0_u64, None);
        let mut reader = entities.read().map_err(wrong)?;
        while let Some(chunk) = reader.chunk().map_err(wrong)? {
            requests += 1;
            for item in chunk.items {
                count += 1;
                let hash = hasher.hash_one((&chunk.group, &item.identifier));
                if seen.contains(&hash) {
                    twice += 1;
                    first_twice.get_or_insert(item);
                } else if seen.len() < REMEMBERED {
                    seen.insert(hash);
                }
            }
        }
        if count == 0 {
            return Err(wrong("there is no entity in it".to_owned()));
        }
        entities.notes.push(format!(
            "{what}: {} to send, in {}",
            counted(count, "entity", "entities"),
            counted(requests, "request", "requests")
        ));
        if let Some(item) = first_twice {
            let more = if twice > 1 {
                format!(", and {} more", grouped(twice - 1))
            } else {
                String::new()
            };
            entities.notes.push(format!(
                "{} has the identifier `{}` of one before it{more}: which of both counts in the end is not certain",
                item.name, item.identifier
            ));
        }
        (entities.count, entities.requests) = (count, requests);
        Ok(entities)
    }

    /// Reads all of them, from the first.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn read(&self) -> Result<Reader<'_>, String> {
        let input = self
            .file
            .reader()
            .map_err(|error| format!("it can't be read: {error}"))?;
        Ok(Reader {
            scanner: Scanner::new(input, self.batch.most_bytes),
            batch: &self.batch,
            next: None,
        })
    }

    /// Whether `path` leads to the file that they are in.
    pub fn are_at(&self, path: &Path) -> bool {
        self.file.is_at(path)
    }

    /// The file, as messages name it.
    pub fn source(&self) -> String {
        shown(&self.batch.file)
    }
}

/// The file in messages.
fn shown(file: &str) -> String {
    if file == STANDARD_INPUT {
        "standard input".to_owned()
    } else {
        file.to_owned()
    }
}

fn of_opening(error: &io::Error) -> String {
    if error.to_string() == "is no regular file" {
        format!("it {error}; hand it over by standard input, with `{STANDARD_INPUT}` as the path")
    } else {
        format!("it can't be read: {error}. Wanted is the path of a file, or `{STANDARD_INPUT}` for standard input")
    }
}

/// `10,000 entities`.
pub fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { many })
}

/// Reads entities in their order.
pub struct Reader<'a> {
    scanner: Scanner<LongReader<'a>>,
    batch: &'a Batch,
    /// The one that did not fit into the chunk before.
    next: Option<Item>,
}

impl Reader<'_> {
    /// The next ones, as many as go into one request; none at the end.
    ///
    /// # Errors
    /// What of the file is no entity, and where.
    pub fn chunk(&mut self) -> Result<Option<Chunk>, String> {
        let Some(first) = self.item()? else {
            return Ok(None);
        };
        let mut chunk = Chunk {
            group: first.group.clone(),
            items: Vec::new(),
        };
        // With a comma each.
        let mut bytes = first.json.len() + 1;
        chunk.items.push(first);
        while chunk.items.len() < self.batch.most {
            let Some(item) = self.item()? else { break };
            bytes += item.json.len() + 1;
            if item.group != chunk.group || bytes > self.batch.most_bytes {
                self.next = Some(item);
                break;
            }
            chunk.items.push(item);
        }
        Ok(Some(chunk))
    }

    fn item(&mut self) -> Result<Option<Item>, String> {
        if let Some(item) = self.next.take() {
            return Ok(Some(item));
        }
        let Some(found) = self.scanner.next()? else {
            return Ok(None);
        };
        let name = found.name;
        let item = (self.batch.read)(found.members).map_err(|why| format!("{name} {why}"))?;
        if item.json.len() > self.batch.most_bytes {
            let most = grouped(self.batch.most_bytes as u64);
            return Err(format!("{name} has more than {most} bytes"));
        }
        Ok(Some(Item { name, ..item }))
    }
}
