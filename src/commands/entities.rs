//! Sends the entities of a file: several requests at a time, and every entity accounted for. What a request is, what may
//! be repeated and how long a service wants to be left alone is the courier's, as for any other delivery.

use std::{
    collections::{BTreeMap, VecDeque},
    pin::pin,
    time::Duration,
};

use futures_util::{
    StreamExt as _,
    future::{Either, select},
    stream::FuturesUnordered,
};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::{
    runner::{Delivery, Runner},
    stop::GRACE,
};
use crate::{
    delivery::{
        courier::{Courier, backoff, is_passing},
        plan::{Batch, Plan},
        result::DeliveryResult,
        session::Session,
    },
    entities::{self, Chunk, Entities, STANDARD_INPUT, Source, counted},
    problem::{Problem, Unmade},
    report::class::Class,
};

mod account;

use account::{Account, Halt};

/// So many requests are under way at the same time, to one service.
const LANES: usize = 8;
/// After so many requests that a service has not answered, each in all its attempts, it is down for this run. One that has
/// answered before gets as many as there are lanes.
const TRIES: usize = 3;
/// No more bytes of entities are under way at the same time, unless a single request has more.
const MOST_BYTES: usize = 512 * 1024;
/// How long requests that are under way may take once the run has to end: the rest of the time is for what has to be
/// written.
const LAST_REPLIES: Duration = GRACE.checked_div(2).unwrap();

/// Opens and checks the files of those deliveries that send one; what is wrong with a file takes the place of its plan.
pub async fn open(runner: &Runner<'_>, deliveries: &mut [Delivery<'_>]) {
    let mut is_taken = false;
    for delivery in deliveries {
        let Ok(plan) = &mut delivery.plan else { continue };
        let Some(batch) = plan.batch.clone().filter(|_| plan.skip.is_none()) else {
            continue;
        };
        let checked = if batch.file != STANDARD_INPUT {
            Entities::check(batch, Source::Named)
        } else if std::mem::replace(&mut is_taken, true) {
            let what = "is `-`, but standard input is the entities of another destination already; give each a file";
            Err(Problem::new(batch.variable, what))
        } else {
            spooled(runner, batch).await
        };
        match checked {
            Ok(checked) => {
                plan.notes.extend(checked.notes.iter().cloned());
                delivery.entities = Some(checked);
            }
            Err(problem) => delivery.plan = Err(problem.into()),
        }
    }
}

/// Takes standard input, as long as the run may last: somebody may never end it.
async fn spooled(runner: &Runner<'_>, batch: Batch) -> Result<Entities, Problem> {
    let reading = tokio::task::spawn_blocking(entities::spool);
    let reading = timeout_at(runner.limits.deadline, reading);
    let why = match runner.stop.unless_asked(reading).await {
        Some(Ok(Ok(Ok(spooled)))) => return Entities::check(batch, Source::Spooled(spooled)),
        Some(Ok(Ok(Err(error)))) => format!("can't be read: {error}"),
        Some(Ok(Err(error))) => format!("can't be read: {error}"),
        Some(Err(_)) => format!(
            "had not ended when the {} s {} were over",
            runner.limits.budget.as_secs_f64(),
            runner.limits.budget_is
        ),
        None => "had not ended when the run was asked to end (SIGTERM)".to_owned(),
    };
    Err(Problem::new(batch.variable, format!("is standard input, which {why}")))
}

/// The plan of the first request, for a dry run, and what is said of the others.
///
/// # Errors
/// The file has changed.
pub fn first(entities: &Entities, plan: &Plan) -> Result<(Plan, String), Unmade> {
    let wrong = |why: String| Unmade::from(Problem::new(entities.batch.variable, why));
    let chunk = entities.read().and_then(|mut reader| reader.chunk()).map_err(wrong)?;
    let chunk = chunk.unwrap_or_default();
    let rest = entities.count - chunk.items.len() as u64;
    let more = format!(
        "{} more, for the other {} in {}, {LANES} at the same time",
        counted(entities.requests - 1, "request", "requests"),
        counted(rest, "entity", "entities"),
        entities.source()
    );
    Ok((plan_of(&entities.batch, plan, &chunk), more))
}

/// The plan of one request of many.
fn plan_of(batch: &Batch, plan: &Plan, chunk: &Chunk) -> Plan {
    Plan {
        steps: vec![(batch.request)(&chunk.group, &chunk.items)],
        batch: None,
        ..plan.clone()
    }
}

/// What sends the entities of a file.
pub struct Sender<'a> {
    /// What carries requests out.
    pub courier: &'a Courier<'a>,
    /// The run, for its folder and its wish to end.
    pub runner: &'a Runner<'a>,
    /// What the destination is called: by its name in files, by its label in what is printed.
    pub destination: (&'static str, String),
}

/// What waits to be sent, once more or in part.
struct Again {
    chunk: Chunk,
    /// How often its entities have been refused for now.
    tries: u32,
}

impl Sender<'_> {
    /// Sends all of `entities` as `plan` says.
    pub async fn send(&self, plan: Plan, entities: &Entities) -> DeliveryResult {
        let (name, label) = &self.destination;
        let mut account = Account::new(self.courier.console, self.runner.folder.as_ref(), label, entities.count);
        let ended = self.send_all(&plan, entities, &mut account).await;
        account.result(name, entities, ended)
    }

    async fn send_all(&self, plan: &Plan, entities: &Entities, account: &mut Account<'_>) -> Option<Halt> {
        let mut reader = match entities.read() {
            Ok(reader) => reader,
            Err(why) => return Some(changed(&why)),
        };
        let session = Session::shared();
        let mut running = FuturesUnordered::new();
        let mut under_way: BTreeMap<u64, Again> = BTreeMap::new();
        let mut again: VecDeque<Again> = VecDeque::new();
        let mut read = 0_u64;
        let mut number = 0_u64;
        let mut failures = 0;
        let mut is_up = false;
        let mut ended: Option<Halt> = None;
        let mut last_replies: Option<Instant> = None;
        let mut is_read = false;
        loop {
            // One at a time until one is answered: what is wrong with a credential or an address shows once, and not in
            // every lane.
            let (lanes, most_failures) = if is_up { (LANES, LANES) } else { (1, TRIES) };
            while ended.is_none() && under_way.len() < lanes {
                let bytes: usize = under_way.values().map(|one| one.chunk.bytes()).sum();
                if bytes >= MOST_BYTES {
                    break;
                }
                if again.is_empty() && !is_read {
                    match next(&mut reader, entities.count, &mut read) {
                        Ok(Some(chunk)) => again.push_back(Again { chunk, tries: 0 }),
                        Ok(None) => is_read = true,
                        Err(why) => ended = Some(changed(&why)),
                    }
                }
                let fits = |one: &Again| bytes == 0 || bytes + one.chunk.bytes() <= MOST_BYTES;
                if ended.is_some() || !again.front().is_some_and(fits) {
                    break;
                }
                let Some(one) = again.pop_front() else { break };
                let plan = plan_of(&entities.batch, plan, &one.chunk);
                number += 1;
                running.push(self.deliver(number, plan, one.tries, &session));
                under_way.insert(number, one);
            }
            if running.is_empty() {
                break;
            }
            let until = last_replies;
            let stopped = async {
                match until {
                    None => self.runner.stop.asked().await,
                    Some(at) => sleep_until(at).await,
                }
            };
            match select(running.next(), pin!(stopped)).await {
                Either::Left((Some((number, result)), _)) => {
                    let Some(one) = under_way.remove(&number) else { continue };
                    account.requests += 1;
                    let is_down = result.class == Class::Unavailable;
                    failures = if is_down { failures + 1 } else { 0 };
                    is_up |= !is_down;
                    if let Some(fatal) = is_fatal(&result, failures >= most_failures) {
                        ended.get_or_insert(fatal);
                    }
                    self.take_in(account, one, result, &mut again);
                    account.tell();
                }
                Either::Right(_) if last_replies.is_none() => {
                    last_replies = Some(Instant::now() + LAST_REPLIES);
                    ended.get_or_insert(Halt {
                        class: Class::Unavailable,
                        why: "the run was asked to end (SIGTERM)".to_owned(),
                    });
                }
                Either::Left((None, _)) | Either::Right(_) => break,
            }
        }
        drop(running);
        // Whatever became of these, they can be sent again.
        for one in under_way.into_values().chain(again) {
            for item in &one.chunk.items {
                account.keep(item);
            }
        }
        while ended.is_some() && !is_read {
            match next(&mut reader, entities.count, &mut read) {
                Ok(Some(chunk)) => chunk.items.iter().for_each(|item| account.keep(item)),
                Ok(None) => is_read = true,
                Err(why) => return Some(changed(&why)),
            }
        }
        ended
    }

    async fn deliver(&self, number: u64, plan: Plan, tries: u32, session: &Session) -> (u64, DeliveryResult) {
        if tries > 0 {
            sleep(backoff(tries)).await;
        }
        let (_, label) = &self.destination;
        let result = self.courier.deliver(label, plan, session).await;
        (number, result)
    }

    /// Accounts for each entity of a request that has ended, or has it sent again.
    fn take_in(&self, account: &mut Account, one: Again, result: DeliveryResult, again: &mut VecDeque<Again>) {
        let Again { chunk, tries } = one;
        account.attempts = account.attempts.max(result.attempts);
        let status = result.status;
        if result.class == Class::Sent {
            let mut for_now = Vec::new();
            let mut refused = result.refused.into_iter().peekable();
            for (index, item) in chunk.items.into_iter().enumerate() {
                match refused.next_if(|one| one.index == index) {
                    None => account.tally.sent += 1,
                    Some(one) if one.status.is_some_and(is_passing) => {
                        if tries + 1 < self.courier.limits.attempts {
                            for_now.push(item);
                        } else {
                            account.fail(&item, Class::Unavailable, one.status, &one.why);
                        }
                    }
                    Some(one) => account.fail(&item, Class::Rejected, one.status, &one.why),
                }
            }
            if !for_now.is_empty() {
                let chunk = Chunk {
                    group: chunk.group,
                    items: for_now,
                };
                again.push_back(Again {
                    chunk,
                    tries: tries + 1,
                });
            }
            return;
        }
        // Too large together, or one of them spoils it for the others: in halves it shows.
        let is_divisible = result.class == Class::Rejected && matches!(status, Some(400 | 413 | 422));
        if is_divisible && chunk.items.len() > 1 {
            let mut first = chunk.items;
            let second = first.split_off(first.len() / 2);
            for items in [second, first] {
                let group = chunk.group.clone();
                let chunk = Chunk { group, items };
                again.push_front(Again { chunk, tries });
            }
            return;
        }
        let why = result.detail.unwrap_or_default();
        for item in &chunk.items {
            account.fail(item, result.class, status, &why);
        }
    }
}

/// The next entities, of those that were there when the file was checked.
fn next(reader: &mut entities::Reader, count: u64, read: &mut u64) -> Result<Option<Chunk>, String> {
    let Some(mut chunk) = (if *read < count { reader.chunk()? } else { None }) else {
        return match count - *read {
            0 => Ok(None),
            missing => Err(format!("its last {} are gone", counted(missing, "entity", "entities"))),
        };
    };
    // What was added since was not checked.
    let left = usize::try_from(count - *read).unwrap_or(usize::MAX);
    chunk.items.truncate(left);
    *read += chunk.items.len() as u64;
    Ok(Some(chunk))
}

fn changed(why: &str) -> Halt {
    Halt {
        class: Class::Misconfigured,
        why: format!("the file has changed since it was checked: {why}"),
    }
}

/// Why nothing more is sent after a request that ended so; `is_down` says that enough of them ended as `unavailable`, one
/// after the other.
fn is_fatal(result: &DeliveryResult, is_down: bool) -> Option<Halt> {
    let is_for_all = match result.class {
        Class::Misconfigured => true,
        Class::Rejected => matches!(result.status, Some(300..=399 | 401 | 403)),
        Class::Unavailable => is_down,
        Class::Sent | Class::Skipped => false,
    };
    is_for_all.then(|| Halt {
        class: result.class,
        why: result.detail.clone().unwrap_or_default(),
    })
}
