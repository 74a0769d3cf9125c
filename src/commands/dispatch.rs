//! Delivers side by side, what goes to the same service one after the other, and writes down each delivery before it
//! begins and as it ends. One loop owns the record: deliveries only send.

use std::{
    collections::{BTreeMap, VecDeque},
    pin::pin,
};

use anyhow::{Context as _, Result};
use futures_util::{
    StreamExt as _,
    future::{Either, select},
    stream::FuturesUnordered,
};
use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use super::{
    doubt,
    entities::Sender,
    runner::{Delivery, Ended, Runner},
    stop::GRACE,
};
use crate::{
    delivery::{courier::Courier, plan::Plan, result::DeliveryResult, session::Session},
    destinations::Target,
    entities::Entities,
    event::Event,
    problem::Unmade,
    receipts::{
        folder::OutputFolder,
        record::{self, Record, Subject},
    },
    report::{class::Class, console::Console},
    variables::Values,
};

/// What came of all deliveries.
pub struct Delivered<'e> {
    /// How each ended, in their order.
    pub ended: Vec<Ended>,
    /// Whether some were cut off, because the run was asked to end.
    pub is_cut_off: bool,
    record: Record<'e>,
}

impl Delivered<'_> {
    /// Writes that the run has ended.
    pub fn leave(self, exit_code: u8) {
        let answers: Vec<(Target, &Value)> = self
            .ended
            .iter()
            .filter_map(|one| Some((one.target, one.result.json.as_deref()?)))
            .collect();
        self.record.finish(&answers, exit_code);
    }

    /// Writes how something ended at a target that was no delivery.
    pub fn add(&mut self, target: Target, result: &DeliveryResult) {
        let subject = Subject {
            target,
            event: None,
            values: Values::default(),
        };
        self.record.add(&subject, result);
    }

    /// `tally`, and whether something was cut off.
    pub fn summary(&self, tally: &str) -> String {
        if self.is_cut_off {
            format!("asked to end (SIGTERM): {tally}")
        } else {
            tally.to_owned()
        }
    }
}

/// The deliveries of a run on their way.
struct Dispatch<'e, 'r> {
    console: &'e Console,
    folder: Option<&'e OutputFolder>,
    record: Record<'e>,
    report: &'r dyn Fn(usize, &Ended),
    keeps: bool,
    /// What is still to be begun, by service.
    lanes: Vec<VecDeque<(usize, Delivery<'e>)>>,
    /// What is on its way, by its place, and how it ends if nothing more is heard of it.
    under_way: BTreeMap<usize, (Subject<'e>, DeliveryResult)>,
    ended: BTreeMap<usize, Ended>,
}

/// What is to be sent next.
struct Next {
    lane: usize,
    place: usize,
    label: String,
    plan: Plan,
    entities: Option<Entities>,
    name: &'static str,
}

impl Runner<'_> {
    /// Delivers, side by side, what goes to one service one after the other. `event` is the one that the run is about, if
    /// it is one; `keeps` says whether what is not delivered is kept. `report` is called as each ends, with its place among
    /// `deliveries`.
    ///
    /// # Errors
    /// Standard output is closed.
    pub async fn deliver<'e>(
        &'e self,
        event: Option<&'e Event>,
        deliveries: Vec<Delivery<'e>>,
        keeps: bool,
        report: &dyn Fn(usize, &Ended),
    ) -> Result<Delivered<'e>> {
        let console = &self.setup.console;
        let folder = self.folder.as_ref();
        let record = Record::new(folder, console, event, deliveries.len(), keeps);
        let Some(clients) = &self.clients else {
            return Ok(Delivered {
                ended: Vec::new(),
                is_cut_off: false,
                record,
            });
        };
        let courier = clients.to_services(console, self.limits);
        let mut lanes: BTreeMap<&str, VecDeque<(usize, Delivery)>> = BTreeMap::new();
        for (place, delivery) in deliveries.into_iter().enumerate() {
            let lane = lanes.entry(delivery.target.destination.name).or_default();
            lane.push_back((place, delivery));
        }
        let mut dispatch = Dispatch {
            console,
            folder,
            record,
            report,
            keeps,
            lanes: lanes.into_values().collect(),
            under_way: BTreeMap::new(),
            ended: BTreeMap::new(),
        };
        let is_cut_off = dispatch.run(&courier, self).await;
        let ended: Vec<Ended> = dispatch.ended.into_values().collect();
        for json in ended.iter().filter_map(|one| one.result.json.as_deref()) {
            console.json(json).context("standard output can't be written to")?;
        }
        Ok(Delivered {
            ended,
            is_cut_off,
            record: dispatch.record,
        })
    }
}

impl<'e> Dispatch<'e, '_> {
    /// Delivers everything, or what can be until the run has to end. Whether something was cut off.
    async fn run(&mut self, courier: &Courier<'_>, runner: &Runner<'_>) -> bool {
        let mut running = FuturesUnordered::new();
        let mut idle: Vec<(usize, Session)> = (0..self.lanes.len()).map(|lane| (lane, Session::default())).collect();
        self.mark_waiting();
        let mut grace_ends: Option<Instant> = None;
        loop {
            if !idle.is_empty() && !runner.stop.is_asked() {
                let begun: Vec<(Next, Session)> = idle
                    .drain(..)
                    .filter_map(|(lane, session)| Some((self.begin(lane)?, session)))
                    .collect();
                // All marks are there before any of them is sent.
                self.record.write();
                for (next, session) in begun {
                    running.push(send(courier, runner, next, session));
                }
            }
            if running.is_empty() {
                break;
            }
            let until = grace_ends;
            let stopped = async {
                match until {
                    None => runner.stop.asked().await,
                    Some(at) => sleep_until(at).await,
                }
            };
            match select(running.next(), pin!(stopped)).await {
                Either::Left((Some((lane, place, result, session)), _)) => {
                    if let Some((subject, _)) = self.under_way.remove(&place) {
                        self.end(place, &subject, None, result);
                    }
                    idle.push((lane, session));
                }
                Either::Right(_) if grace_ends.is_none() => {
                    grace_ends = Some(Instant::now() + GRACE);
                    self.console.line(&format!(
                        "  asked to end (SIGTERM): nothing more is sent; what is under way has {} s",
                        GRACE.as_secs()
                    ));
                }
                Either::Left((None, _)) | Either::Right(_) => break,
            }
        }
        drop(running);
        self.cut_off()
    }

    /// Writes down what has to wait behind something else, so that it isn't lost if its turn never comes.
    fn mark_waiting(&mut self) {
        for (place, delivery) in self.lanes.iter().flat_map(|lane| lane.iter().skip(1)) {
            if let Some(plan) = delivery.to_send() {
                let subject = delivery.subject();
                self.record.mark(*place, &subject, &record::mark(&subject, plan, false));
            }
        }
    }

    /// Begins the next delivery of a lane, and ends those before it that send nothing.
    fn begin(&mut self, lane: usize) -> Option<Next> {
        while let Some((place, mut delivery)) = self.lanes[lane].pop_front() {
            let label = delivery.target.label();
            let entities = delivery.entities.take();
            if let Some((subject, plan)) = self.introduce(place, delivery) {
                let plan = Plan {
                    address: subject.target.destination.address(),
                    ..plan
                };
                let mark = record::mark(&subject, &plan, true);
                self.record.mark(place, &subject, &mark);
                let name = subject.target.destination.name;
                self.under_way.insert(place, (subject, mark));
                return Some(Next {
                    lane,
                    place,
                    label,
                    plan,
                    entities,
                    name,
                });
            }
        }
        None
    }

    /// Tells of a delivery whose turn has come, and ends it if it sends nothing.
    fn introduce(&mut self, place: usize, delivery: Delivery<'e>) -> Option<(Subject<'e>, Plan)> {
        if let Some(heading) = &delivery.heading {
            self.console.info(heading);
        }
        let subject = delivery.subject();
        match delivery.plan {
            Ok(plan) => {
                for note in &plan.notes {
                    self.console.info(&format!("  {:<18} {note}", subject.target.label()));
                }
                if plan.skip.is_none() {
                    return Some((subject, plan));
                }
                self.end(place, &subject, None, DeliveryResult::not_sent(plan));
            }
            Err(unmade) => {
                let class = match unmade {
                    Unmade::Wrong(_) => Class::Misconfigured,
                    Unmade::Nothing(_) => Class::Skipped,
                };
                let result = DeliveryResult {
                    is_ambiguous: delivery.in_doubt && class.is_failure(),
                    ..DeliveryResult::unsent(class, unmade.to_string(), None)
                };
                self.end(place, &subject, Some(&unmade), result);
            }
        }
        None
    }

    /// Ends what could not be ended otherwise. Whether there was any.
    fn cut_off(&mut self) -> bool {
        let mut is_any = false;
        for (place, (subject, mark)) in std::mem::take(&mut self.under_way) {
            is_any = true;
            self.end(place, &subject, None, mark);
        }
        for (place, delivery) in std::mem::take(&mut self.lanes).into_iter().flatten() {
            if let Some((subject, plan)) = self.introduce(place, delivery) {
                is_any = true;
                let result = record::mark(&subject, &plan, false);
                self.end(place, &subject, None, result);
            }
        }
        is_any
    }

    /// Writes and reports how a delivery ended.
    fn end(&mut self, place: usize, subject: &Subject, unmade: Option<&Unmade>, result: DeliveryResult) {
        let target = subject.target;
        let result = doubt::advise(&target, &subject.values, result);
        let kept = self.record.end(place, subject, unmade, &result);
        let ended = Ended { target, result };
        (self.report)(place, &ended);
        if let (Some(name), Some(folder), true) = (kept, self.folder, self.keeps) {
            self.console.info(&format!(
                "  {:<18} kept for `notify-event replay` in {}",
                target.label(),
                folder.path().join(name).display()
            ));
        }
        self.ended.insert(place, ended);
    }
}

impl<'e> Delivery<'e> {
    fn subject(&self) -> Subject<'e> {
        Subject {
            target: self.target,
            event: self.event,
            values: self.values.clone(),
        }
    }

    /// The plan, if it sends something.
    fn to_send(&self) -> Option<&Plan> {
        self.plan.as_ref().ok().filter(|plan| plan.skip.is_none())
    }
}

async fn send(
    courier: &Courier<'_>,
    runner: &Runner<'_>,
    next: Next,
    session: Session,
) -> (usize, usize, DeliveryResult, Session) {
    let result = match next.entities {
        None => courier.deliver(&next.label, next.plan, &session).await,
        Some(entities) => {
            let sender = Sender {
                courier,
                runner,
                destination: (next.name, next.label),
            };
            sender.send(next.plan, &entities).await
        }
    };
    (next.lane, next.place, result, session)
}
