//! What GitLab's record and the portals hold, made at random from a seed.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use sandbox::Service;

pub const BOTH: [Service; 2] = [Service::Rely, Service::Port];
pub const HOUR: i64 = 3600;

/// One deployment of a slot, and its job; times in seconds since 1970.
#[derive(Debug, Clone)]
pub struct Attempt {
    pub status: &'static str,
    pub created: i64,
    pub started: Option<i64>,
    pub finished: Option<i64>,
    /// GitLab has deleted its job.
    pub is_orphan: bool,
}

impl Attempt {
    pub fn updated(&self) -> i64 {
        self.finished.or(self.started).unwrap_or(self.created)
    }
}

/// A job of a pipeline, which deploys to an environment.
#[derive(Debug, Clone)]
pub struct Slot {
    pub pipeline: u64,
    pub environment: &'static str,
    pub job: &'static str,
    pub attempts: Vec<Attempt>,
}

/// What a job left as its receipt: who names the entity.
#[derive(Debug, Clone)]
pub struct Receipt {
    pub slot: usize,
    pub kind: ReceiptKind,
    pub portal: Service,
    pub identifier: String,
    pub blueprint: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiptKind {
    /// The deploy job's own.
    Own,
    /// A report's that names the job.
    Named,
    /// A report's of the environment.
    OfEnvironment,
    /// As `Own`, but another job's of another pipeline, which lay on the runner.
    Foreign,
}

/// What a portal's entities are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    Stock,
    /// A word of one's own and both times.
    Own,
    /// A word, and no time.
    WordOnly,
    /// Nothing of the action or the times.
    Neither,
}

/// An entity that is there.
#[derive(Debug, Clone)]
pub struct Held {
    pub portal: Service,
    pub blueprint: &'static str,
    pub word: Option<String>,
    /// The action that was reported, and how it is worded unless somebody changed that.
    pub action: &'static str,
    pub start: Option<i64>,
    pub end: Option<i64>,
}

#[derive(Debug)]
pub struct Scenario {
    pub now: i64,
    pub slots: Vec<Slot>,
    pub receipts: Vec<Receipt>,
    pub bodies: BTreeMap<Service, Body>,
    pub held: BTreeMap<(Service, String), Held>,
    /// `EVENT_SERVICE`.
    pub service: Option<&'static str>,
    pub environments: Option<&'static str>,
    pub jobs: Option<&'static str>,
    pub since: Option<&'static str>,
}

pub const PIPELINES: [u64; 3] = [8811, 8812, 8813];
const ENVIRONMENTS: [&str; 3] = ["production", "staging", "review/login"];
const JOBS: [&str; 7] = [
    "deploy",
    "deploy: [shop, eu]",
    "deploy: [api]",
    "deploy 1/3",
    "deploy 2/3",
    "canary",
    "notify",
];

pub fn pick<T: Copy>(random: &mut Rng, of: &[T]) -> T {
    of[random.usize(..of.len())]
}

/// True in so many of a hundred cases.
pub fn chance(random: &mut Rng, percent: u32) -> bool {
    random.u32(..100) < percent
}

impl Scenario {
    pub fn new(seed: u64, now: i64) -> Self {
        let random = &mut Rng::with_seed(seed);
        let mut made = Self {
            now,
            slots: Vec::new(),
            receipts: Vec::new(),
            bodies: BTreeMap::new(),
            held: BTreeMap::new(),
            service: pick(
                random,
                &[
                    None,
                    None,
                    Some("shop"),
                    Some("{{ job.matrix[0] | default(job.name) }}"),
                ],
            ),
            environments: pick(random, &[None, None, None, Some("production"), Some("*,!review/*")]),
            jobs: pick(random, &[None, None, None, Some("*,!notify"), Some("deploy*")]),
            since: pick(random, &[None, None, None, Some("pipeline")]),
        };
        for portal in BOTH {
            let body = pick(
                random,
                &[
                    Body::Stock,
                    Body::Stock,
                    Body::Stock,
                    Body::Own,
                    Body::WordOnly,
                    Body::Neither,
                ],
            );
            made.bodies.insert(portal, body);
        }
        let mut taken = BTreeSet::new();
        for _ in 0..random.usize(1..=6) {
            let (pipeline, job) = (pick(random, &PIPELINES), pick(random, &JOBS));
            // GitLab has either a job, or its parts.
            let family = |job: &'static str| job.strip_prefix("deploy").map(|rest| rest.get(..1));
            let is_other = |other: &Slot| {
                other.pipeline == pipeline
                    && family(other.job).is_some()
                    && family(job).is_some()
                    && family(other.job) != family(job)
            };
            if !made.slots.iter().any(is_other) && taken.insert((pipeline, job)) {
                let environment = pick(
                    random,
                    &[ENVIRONMENTS[0], ENVIRONMENTS[0], ENVIRONMENTS[1], ENVIRONMENTS[2]],
                );
                let attempts = attempts(random, now);
                made.slots.push(Slot {
                    pipeline,
                    environment,
                    job,
                    attempts,
                });
            }
        }
        for slot in 0..made.slots.len() {
            for portal in BOTH {
                made.add_held(random, slot, portal);
            }
        }
        made
    }

    fn add_held(&mut self, random: &mut Rng, slot: usize, portal: Service) {
        let ids = self.ids(&self.slots[slot]);
        let mut place = ids[0].clone();
        let mut blueprint = "deployment";
        match random.u32(..100) {
            0..30 => return,
            30..55 => {}
            55..80 => place.clone_from(&ids[random.usize(..ids.len())]),
            _ => {
                let kinds = [
                    ReceiptKind::Own,
                    ReceiptKind::Own,
                    ReceiptKind::Named,
                    ReceiptKind::OfEnvironment,
                    ReceiptKind::Foreign,
                ];
                let earlier = self.receipts.iter().find(|receipt| receipt.slot == slot);
                let kind = earlier.map_or_else(|| pick(random, &kinds), |earlier| earlier.kind);
                // One of the slot's own, or one that others have as well.
                (place, blueprint) = if chance(random, 50) {
                    ("the-shop".to_owned(), "deployment")
                } else {
                    (format!("own-{slot}"), pick(random, &["deployment", "release"]))
                };
                self.receipts.push(Receipt {
                    slot,
                    kind,
                    portal,
                    identifier: place.clone(),
                    blueprint,
                });
                if chance(random, 15) {
                    return;
                }
            }
        }
        let held = self.state(random, slot, portal, blueprint);
        self.held.entry((portal, place)).or_insert(held);
        // What is there as well, and is not the one.
        if chance(random, 15) {
            let other = ids[random.usize(..ids.len())].clone();
            let held = self.state(random, slot, portal, "deployment");
            self.held.entry((portal, other)).or_insert(held);
        }
    }

    /// What a report of one of the slot's attempts, or of a later one, may have left.
    pub fn state(&self, random: &mut Rng, slot: usize, portal: Service, blueprint: &'static str) -> Held {
        let attempts = &self.slots[slot].attempts;
        let mut attempt = attempts[random.usize(..attempts.len())].clone();
        if chance(random, 60) {
            attempt = attempts.last().expect("there is one").clone();
        }
        if chance(random, 8) {
            let start = attempts
                .iter()
                .filter_map(|attempt| attempt.started)
                .max()
                .unwrap_or(self.now)
                + 2 * HOUR;
            let status = pick(random, &["running", "success", "failed"]);
            let finished = (status != "running").then_some(start + 60);
            attempt = Attempt {
                status,
                created: start,
                started: Some(start),
                finished,
                is_orphan: false,
            };
        }
        let lasts = attempt
            .started
            .zip(attempt.finished)
            .map_or(60, |(start, end)| end - start);
        let jitter = random.i64(0..lasts.min(30));
        let mut action = match (attempt.status, attempt.started) {
            ("success", _) => "success",
            ("failed", Some(_)) => "failure",
            ("canceled", Some(_)) => "canceled",
            ("running", _) => pick(random, &["started", "started", "success"]),
            _ => pick(random, &["started", "blocked"]),
        };
        let (mut start, mut end) = (attempt.started.map(|start| start + jitter), attempt.finished);
        if chance(random, 25) {
            (action, end) = ("started", None);
        }
        if matches!(action, "started" | "blocked") {
            end = None;
        }
        if attempt.status == "running" && action == "success" {
            end = attempt.started.map(|start| start + 40);
        }
        let wrong = pick(
            random,
            &[action, action, action, action, "failure", "stopped", "rolled_back"],
        );
        action = wrong;
        if chance(random, 15) {
            start = None;
        }
        if chance(random, 15) {
            end = None;
        }
        let body = self.bodies[&portal];
        let mut word = Some(body.word(portal, action));
        if chance(random, 8) {
            word = pick(random, &[Some("on fire"), None]).map(str::to_owned);
        }
        if matches!(body, Body::WordOnly | Body::Neither) {
            (start, end) = (None, None);
        }
        if body == Body::Neither {
            word = None;
        }
        Held {
            portal,
            blueprint,
            word,
            action,
            start,
            end,
        }
    }
}

/// One to three attempts, of which no two starts are some two minutes apart.
fn attempts(random: &mut Rng, now: i64) -> Vec<Attempt> {
    loop {
        let mut made = Vec::new();
        let back = if chance(random, 12) {
            random.i64(60..90)
        } else {
            random.i64(4..40)
        };
        let mut at = now - back * HOUR;
        let count = random.usize(1..=3);
        for number in 1..=count {
            let mut status = pick(
                random,
                &["success", "failed", "canceled", "failed!", "canceled!", "skipped"],
            );
            if number == count {
                status = pick(
                    random,
                    &[
                        "success",
                        "success",
                        "failed",
                        "canceled",
                        "canceled!",
                        "failed!",
                        "running",
                        "running",
                        "blocked",
                        "created",
                        "skipped",
                    ],
                );
            }
            let status_given = status.trim_end_matches('!');
            let has_started =
                !status.ends_with('!') && ["success", "failed", "canceled", "running"].contains(&status_given);
            let has_ended = ["success", "failed", "canceled"].contains(&status_given);
            let started = has_started.then(|| at + random.i64(1..20));
            let lasts = if chance(random, 40) {
                random.i64(5..20)
            } else {
                random.i64(300..3000)
            };
            let finished = has_ended.then(|| started.map_or(at + 30, |started| started + lasts));
            made.push(Attempt {
                status: status_given,
                created: at,
                started,
                finished,
                is_orphan: false,
            });
            let gap = if chance(random, 40) {
                random.i64(3..10)
            } else {
                random.i64(600..2 * HOUR)
            };
            at = made.last().map_or(at, Attempt::updated) + gap;
        }
        let starts: Vec<i64> = made.iter().filter_map(|attempt| attempt.started).collect();
        let near = |one: &i64| starts.iter().any(|other| (80..160).contains(&(one - other).abs()));
        // One that is older than the window as a whole, or not at all.
        let is_astride = made.iter().any(|attempt| attempt.updated() < now - 48 * HOUR)
            && made.iter().any(|attempt| attempt.updated() > now - 49 * HOUR);
        if at < now && !starts.iter().any(near) && !is_astride {
            if chance(random, 6) {
                for attempt in &mut made {
                    attempt.is_orphan = true;
                }
            }
            return made;
        }
    }
}

pub fn sha(pipeline: u64) -> String {
    format!("{pipeline:040x}")
}

pub fn stamp(seconds: i64) -> String {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds.unsigned_abs());
    humantime::format_rfc3339_seconds(time).to_string()
}
