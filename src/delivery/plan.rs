//! What a destination wants done: requests, what may be repeated, and how replies are to be understood. No I/O.

use std::{fmt, rc::Rc, time::Duration};

use serde_json::{Map, Value};

use super::{
    reply::{Reply, Unexpected},
    request::{Method, Request},
};

/// A reply is read up to this size, in bytes, where no more is expected.
pub const SMALL: usize = 1024 * 1024;
/// A reply to a read (`get`, `search`, `list`) may be this long, in bytes.
pub const LARGE: usize = 16 * 1024 * 1024;

/// What may be done after a failure that left open whether the service acted.
#[derive(Clone)]
pub enum Repeat {
    /// Repeating changes nothing: network failures, 408, 425, 429 and 5xx are tried again.
    Freely,
    /// Only what the service can't have acted upon: no connection was made, it answered 408, 425 or 429, or one of
    /// these statuses. Anything else ends as `unavailable`, since sending again could do it twice.
    Unprocessed(&'static [u16]),
    /// As `Unprocessed`; and since the service refuses a second one, a 5xx after which it may be sent again leaves it in
    /// doubt too, so that a later refusal is known for what it is.
    RefusedTwice(&'static [u16]),
    /// As `Unprocessed`; after any other failure this is sent instead, to find out.
    Asking(&'static [u16], Rc<dyn Fn() -> Step>),
    /// Before any repetition this is sent, to find out whether it is still wanted.
    AskingFirst(Rc<dyn Fn() -> Step>),
}

/// What a reply means.
#[derive(Debug)]
pub enum Verdict {
    /// Done.
    Delivered(Delivered),
    /// Done of several entities, but for these.
    DoneButFor(Vec<Refused>),
    /// Not done yet: this comes next.
    Then(Step),
    /// Not done yet: this comes next, after a pause. The text says what is waited for.
    Later(Duration, Step, String),
    /// The service says no; the reason is its own.
    Rejected(String),
    /// A variable has to be set right, as the service's answer to a question has shown: which one, and how.
    Misconfigured(String),
    /// The service says that it succeeded, in a reply that it does not document: what is wrong with it. Whoever sent
    /// that reply, it is not known whether the request was carried out.
    Undocumented(String),
    /// It was carried out, and failed there: sending it again would do it a second time.
    Failed(String),
    /// The service can't, for now, and has done nothing.
    Unavailable(String),
    /// The service can't, for now, and nobody knows whether it has done it all the same.
    InDoubt(String),
    /// There is nothing left to do, for this reason.
    Skipped(String),
    /// As the status says: 408, 425, 429 and 5xx may be repeated, the rest is rejected.
    ByStatus,
}

impl Verdict {
    /// Done, with something to tell.
    pub fn noted(note: impl Into<String>) -> Self {
        Self::Delivered(Delivered {
            note: Some(note.into()),
            ..Delivered::default()
        })
    }

    /// Done, with nothing to tell.
    pub fn delivered() -> Self {
        Self::Delivered(Delivered::default())
    }
}

impl From<Unexpected> for Verdict {
    fn from(unexpected: Unexpected) -> Self {
        match unexpected {
            Unexpected::Status => Self::ByStatus,
            Unexpected::Undocumented(what) => Self::Undocumented(what),
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Delivered {
    /// The identifier that the service gave, where it is not the one that was planned.
    pub identifier: Option<String>,
    /// What a person may want to know.
    pub note: Option<String>,
    /// What was asked for: the JSON of `get`, `search` and `list`.
    pub json: Option<Rc<Value>>,
}

/// An entity of several in one request that the service did not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its place among them, from 0.
    pub index: usize,
    /// The status that it would have been answered with, alone.
    pub status: Option<u16>,
    /// Why.
    pub why: String,
}

/// An entity of a file, as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What the service knows it by.
    pub identifier: String,
    /// What those have in common that may go into one request.
    pub group: String,
    /// Its JSON, on one line.
    pub json: String,
    /// Its number and place in the file, for messages.
    pub name: String,
}

/// What an object of a file is as an entity, or what is wrong with it.
pub type ReadItem = dyn Fn(Map<String, Value>) -> Result<Item, String>;
/// The request for entities of one group.
pub type RequestItems = dyn Fn(&str, &[Item]) -> Step;

/// Entities of a file, which are sent in place of the event. How each is to be understood, and what becomes of several.
#[derive(Clone)]
pub struct Batch {
    /// The variable that names the file.
    pub variable: &'static str,
    /// The file's path, or `-` for standard input.
    pub file: String,
    /// The most entities in one request.
    pub most: usize,
    /// The most bytes of an entity, and of all those of one request with a comma behind each.
    pub most_bytes: usize,
    /// What an entity is, or what is wrong with it, to be put behind its name.
    pub read: Rc<ReadItem>,
    /// The request for entities of one group.
    pub request: Rc<RequestItems>,
}

impl fmt::Debug for Batch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Batch").field(&self.file).finish()
    }
}

/// What has been sent so far under a step's name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// How often, this time included.
    pub attempts: u32,
    /// Whether an earlier one failed in a way that leaves open whether the service acted on it.
    pub ambiguous: bool,
}

type Read = Rc<dyn Fn(&Reply, Sent) -> Verdict>;

/// One request, and what is to be made of its reply.
#[derive(Clone)]
pub struct Step {
    /// What it does, in a word or two: attempts are counted by it, and reports name it.
    pub name: &'static str,
    /// What is sent.
    pub request: Request,
    /// What may be repeated.
    pub repeat: Repeat,
    /// How many bytes of a reply are read; a longer one is rejected.
    pub limit: usize,
    /// Whether it asks for progress: then repetitions without a failure are not attempts.
    pub is_poll: bool,
    /// Whether its reply may take longer than one attempt's time, because the service waits for something.
    pub is_patient: bool,
    /// The variable of which nothing is left to do once this step is done: it is not done again when the rest is.
    pub completes: Option<&'static str>,
    /// Whether it finds out what became of an earlier attempt: where it leads on, that attempt did nothing, and nothing
    /// is in doubt any more.
    pub settles: bool,
    read: Read,
}

impl Step {
    /// A step that may be repeated freely; [`Step::repeat`] says otherwise.
    pub fn new(name: &'static str, request: Request, read: impl Fn(&Reply, Sent) -> Verdict + 'static) -> Self {
        Self {
            name,
            request,
            repeat: Repeat::Freely,
            limit: SMALL,
            is_poll: false,
            is_patient: false,
            completes: None,
            settles: false,
            read: Rc::new(read),
        }
    }

    /// Says what may be repeated.
    pub fn repeat(mut self, repeat: Repeat) -> Self {
        self.repeat = repeat;
        self
    }

    /// Lets the reply be as long as a read's may be.
    pub fn large(mut self) -> Self {
        self.limit = LARGE;
        self
    }

    /// Says that this asks for progress.
    pub fn poll(mut self) -> Self {
        self.is_poll = true;
        self
    }

    /// Says that the service answers only when something has ended.
    pub fn patient(mut self) -> Self {
        self.is_patient = true;
        self
    }

    /// Says of which variable nothing is left to do once this is done.
    pub fn completes(mut self, variable: &'static str) -> Self {
        self.completes = Some(variable);
        self
    }

    /// Says that this finds out what became of an earlier attempt.
    pub fn settles(mut self) -> Self {
        self.settles = true;
        self
    }

    /// Whether it is more than a question.
    pub fn acts(&self) -> bool {
        self.request.method != Method::Get
    }

    /// What a reply means.
    pub fn read(&self, reply: &Reply, sent: Sent) -> Verdict {
        (self.read)(reply, sent)
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Step")
            .field("name", &self.name)
            .field("request", &self.request)
            .finish_non_exhaustive()
    }
}

/// The name of the step that logs in.
pub const LOGIN: &str = "login";

/// How a credential is had that requests need but no variable holds: by a request of its own, once a run, and once
/// more when the service refuses it.
#[derive(Clone)]
pub struct Login {
    /// The name that requests and dry runs give to the credential.
    pub name: &'static str,
    /// What is sent.
    pub request: Request,
    /// Where the credential is in the reply, as a JSON pointer of one step.
    pub pointer: &'static str,
}

impl Login {
    /// Sends it; what is delivered has the credential in the identifier's place.
    pub fn step(&self) -> Step {
        let pointer = self.pointer;
        Step::new(LOGIN, self.request.clone(), move |reply, _| {
            match reply.expect_object() {
                Ok(_) => match reply.text_at(pointer) {
                    Some(credential) if !credential.is_empty() => Verdict::Delivered(Delivered {
                        identifier: Some(credential.to_owned()),
                        ..Delivered::default()
                    }),
                    _ => Verdict::Rejected(format!("it answered {} without a credential", reply.status)),
                },
                Err(unexpected) => unexpected.into(),
            }
        })
    }
}

/// What one operation of one destination does.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// What the service will know it by.
    pub identifier: Option<String>,
    /// How to log in, where requests need it.
    pub login: Option<Login>,
    /// The requests, each sent when the one before was delivered. None: there is nothing to say, see `skip`.
    pub steps: Vec<Step>,
    /// Entities of a file, which are sent instead of steps.
    pub batch: Option<Batch>,
    /// Why there is nothing to send, where there is not.
    pub skip: Option<String>,
    /// Whether an earlier attempt may have done it already. With `skip`, that is why nothing is sent.
    pub in_doubt: bool,
    /// Requests that follow only if; a dry run shows them as comments.
    pub otherwise: Vec<(String, Request)>,
    /// At most this many attempts at a request, whatever `NOTIFY_ATTEMPTS` says.
    pub attempts: Option<u32>,
    /// The header in which the service says when its rate limit ends.
    pub reset_header: Option<&'static str>,
    /// The header in which it says how many requests it takes until then.
    pub remaining_header: Option<&'static str>,
    /// What a person should know before it is sent.
    pub notes: Vec<String>,
    /// Variables of which an earlier attempt of the job has left nothing to do.
    pub completed: Vec<&'static str>,
    /// The variable that says where the service is, for what is wrong with the way there.
    pub address: Option<&'static str>,
    /// Values of variables that were not set and were found elsewhere, in something that is not kept: a replay has to
    /// find them.
    pub found: Vec<(&'static str, String)>,
}

impl fmt::Debug for Login {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Login").field(&self.name).finish()
    }
}

impl Plan {
    /// A plan of these steps, about `identifier`.
    pub fn new(identifier: Option<String>, steps: Vec<Step>) -> Self {
        Self {
            identifier,
            steps,
            ..Self::default()
        }
    }

    /// A plan to send nothing, for this reason.
    pub fn skip(reason: impl Into<String>) -> Self {
        Self {
            skip: Some(reason.into()),
            ..Self::default()
        }
    }

    /// The same plan, of which nothing is sent for now: an earlier attempt may have done it, and this says what that means.
    pub fn withhold(self, reason: impl Into<String>) -> Self {
        Self {
            steps: Vec::new(),
            otherwise: Vec::new(),
            skip: Some(reason.into()),
            in_doubt: true,
            ..self
        }
    }

    /// Adds a request that follows only if; `when` completes the sentence "if …".
    pub fn otherwise(mut self, when: impl Into<String>, request: Request) -> Self {
        self.otherwise.push((when.into(), request));
        self
    }
}
