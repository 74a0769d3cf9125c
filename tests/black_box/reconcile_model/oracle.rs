//! What must come of a scenario, by contract 11 alone. How each rule is read is in the documentation of the module above.

use std::collections::{BTreeMap, BTreeSet};

use ring::digest;
use sandbox::Service;

use super::scenario::{Attempt, BOTH, Body, HOUR, Held, ReceiptKind, Scenario, Slot};

/// What GitLab's record says of a slot.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    pub slot: usize,
    pub action: &'static str,
    pub start: Option<i64>,
    pub end: Option<i64>,
}

/// What an entity may be afterwards.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Byte for byte as before; not there, if it was not.
    Same,
    /// As before, but for times that it lacked.
    SameWord,
    /// What the record says.
    Says(Told),
}

pub type Expected = BTreeMap<(Service, String), Vec<Outcome>>;

/// Closer than this, two starts are one.
const NEAR: i64 = 120;

impl Body {
    pub fn variable(self) -> Option<&'static str> {
        match self {
            Self::Stock => None,
            Self::Own => Some(
                r#"{"note": "ours", "phase": "it is {{ event.action | upper }}", "began": "{{ event.started_at | default('') }}",
                    "ended": "{{ event.finished_at | default('') }}"}"#,
            ),
            Self::WordOnly => Some(r#"{"note": "ours", "phase": "it is {{ event.action | upper }}"}"#),
            Self::Neither => Some(r#"{"note": "{{ event.environment }}"}"#),
        }
    }

    pub fn word(self, portal: Service, action: &str) -> String {
        let word = match (portal, action) {
            _ if self != Self::Stock => return format!("it is {}", action.to_uppercase()),
            (_, "started") => "IN_PROGRESS",
            (Service::Rely, "failure") => "FAILED",
            (_, action) => return action.to_uppercase(),
        };
        word.to_owned()
    }

    pub fn status(self) -> Option<&'static str> {
        match self {
            Self::Stock => Some("status"),
            Self::Own | Self::WordOnly => Some("phase"),
            Self::Neither => None,
        }
    }

    pub fn starts(self, portal: Service) -> &'static [&'static str] {
        match (self, portal) {
            (Self::Stock, Service::Rely) => &["createdAt"],
            (Self::Stock, _) => &["createdAt", "startedAt"],
            (Self::Own, _) => &["began"],
            _ => &[],
        }
    }

    pub fn ends(self, portal: Service) -> &'static [&'static str] {
        match (self, portal) {
            (Self::Stock, Service::Rely) => &["closedAt"],
            (Self::Stock, _) => &["finishedAt"],
            (Self::Own, _) => &["ended"],
            _ => &[],
        }
    }

    /// What else is made of the action or the times.
    pub fn follows(self) -> &'static [&'static str] {
        if self == Self::Stock {
            &["action", "duration", "successful"]
        } else {
            &[]
        }
    }
}

impl Scenario {
    /// The ids of a slot's entity: the derived one first, then the others in their order.
    pub fn ids(&self, slot: &Slot) -> Vec<String> {
        let pipeline = format!("acme-shop-{}", slot.pipeline);
        let environment = format!("{pipeline}-{}", slug(slot.environment));
        let base = slot.job.split(": [").next().expect("a first");
        let base = base
            .rsplit_once(' ')
            .filter(|(_, part)| part.contains('/'))
            .map_or(base, |(base, _)| base);
        let mut ids = vec![format!("{environment}--{}", slug(slot.job))];
        let service = self.service_of(slot);
        for part in [Some(base), service.as_deref(), None] {
            let Some(part) = part else { continue };
            ids.push(format!("{environment}--{}", slug(part)));
            ids.push(format!("{pipeline}--{}", slug(part)));
        }
        ids.extend([environment, pipeline]);
        ids
    }

    pub fn service_of(&self, slot: &Slot) -> Option<String> {
        let matrix = slot
            .job
            .split_once(": [")
            .map(|(_, values)| values.trim_end_matches(']'));
        let first = matrix.and_then(|values| values.split(", ").next());
        self.service.map(|service| {
            if service == "shop" {
                service
            } else {
                first.unwrap_or(slot.job)
            }
            .to_owned()
        })
    }

    fn in_scope(&self, slot: &Slot) -> bool {
        let environment = match self.environments {
            Some("production") => slot.environment == "production",
            Some(_) => !slot.environment.starts_with("review/"),
            None => true,
        };
        let job = match self.jobs {
            Some("deploy*") => slot.job.starts_with("deploy"),
            Some(_) => slot.job != "notify",
            None => true,
        };
        let time = match self.since {
            Some(_) => slot.pipeline == 8812,
            None => slot
                .attempts
                .iter()
                .any(|attempt| attempt.updated() > self.now - 48 * HOUR),
        };
        environment && job && time && slot.attempts.iter().any(|attempt| !attempt.is_orphan)
    }

    /// What the record says of a slot: with a start, or only of an entity that is there.
    fn told(&self, at: usize) -> (Option<Told>, Option<Told>) {
        let attempts: Vec<&Attempt> = self.slots[at]
            .attempts
            .iter()
            .filter(|attempt| !attempt.is_orphan)
            .collect();
        if let Some(last) = attempts.iter().rev().find(|attempt| attempt.started.is_some()) {
            let action = match last.status {
                "running" => "started",
                "success" => "success",
                "failed" => "failure",
                _ => "canceled",
            };
            return (
                Some(Told {
                    slot: at,
                    action,
                    start: last.started,
                    end: last.finished,
                }),
                None,
            );
        }
        let last = attempts.last().expect("in scope");
        let action = match last.status {
            "blocked" => "blocked",
            "failed" | "canceled" => "canceled",
            _ => return (None, None),
        };
        (
            None,
            Some(Told {
                slot: at,
                action,
                start: None,
                end: last.finished,
            }),
        )
    }

    fn receipt_of(&self, at: usize, portal: Service) -> Option<(String, bool, bool)> {
        let slot = &self.slots[at];
        let of = |kind: ReceiptKind, fits: &dyn Fn(usize) -> bool| {
            self.receipts
                .iter()
                .find(|receipt| receipt.kind == kind && receipt.portal == portal && fits(receipt.slot))
        };
        let is_own = |other: usize| other == at;
        let here = |other: usize| {
            (self.slots[other].pipeline, self.slots[other].environment) == (slot.pipeline, slot.environment)
        };
        let others = |is: &dyn Fn(&Slot) -> bool| {
            (0..self.slots.len()).any(|other| other != at && here(other) && is(&self.slots[other]))
        };
        let found = of(ReceiptKind::Own, &is_own).or_else(|| of(ReceiptKind::Named, &is_own));
        let of_environment = of(ReceiptKind::OfEnvironment, &here).filter(|_| !others(&|other| self.in_scope(other)));
        let found = found.or(of_environment)?;
        let is_vague = found.kind == ReceiptKind::OfEnvironment && others(&|_| true);
        let id = found.identifier.clone();
        let is_there = self
            .held
            .get(&(portal, id.clone()))
            .is_some_and(|held| held.blueprint == found.blueprint);
        Some((id, is_there, is_vague))
    }

    pub fn expected(&self) -> Expected {
        let mut expected = Expected::new();
        for portal in BOTH {
            let mut leads: BTreeMap<String, Vec<usize>> = BTreeMap::new();
            // Whether what is out of the window or of the filters leads anywhere, the contract doesn't say.
            let mut vague: BTreeSet<String> = BTreeSet::new();
            for (at, slot) in self.slots.iter().enumerate().filter(|(_, slot)| self.in_scope(slot)) {
                let ids = self.ids(slot);
                let stock = |id: &String| {
                    self.held
                        .get(&(portal, id.clone()))
                        .is_some_and(|held| held.blueprint == "deployment")
                };
                let derived = &ids[0];
                let receipt = self.receipt_of(at, portal).filter(|_| !stock(derived));
                let other = || ids.iter().find(|id| stock(id)).cloned();
                let place = match receipt {
                    Some((id, true, false)) => Some(id),
                    Some((id, true, true)) => {
                        vague.extend([id.clone(), other().unwrap_or(derived.clone())]);
                        leads.entry(id).or_default().push(at);
                        other()
                    }
                    Some((id, false, _)) => {
                        // Which of the two is created, the contract doesn't say.
                        let (Some(told), _) = self.told(at) else { continue };
                        for id in [id, derived.clone()] {
                            let outcomes = expected.entry((portal, id)).or_default();
                            outcomes.extend([Outcome::Same, Outcome::Says(told.clone())]);
                        }
                        continue;
                    }
                    None => other(),
                };
                // A job that is out of the window, or of the filters, may lead to an entity that isn't derived, too.
                let is_other =
                    |other: &Slot| other.pipeline == slot.pipeline && other.job != slot.job && !self.in_scope(other);
                if place.as_ref().is_some_and(|place| place != derived) && self.slots.iter().any(is_other) {
                    vague.extend(place.clone());
                }
                leads.entry(place.unwrap_or(derived.clone())).or_default().push(at);
            }
            for (id, slots) in leads {
                let mut outcomes = self.outcomes(portal, &id, &slots);
                if vague.contains(&id) {
                    outcomes.push(Outcome::Same);
                }
                expected.insert((portal, id), outcomes);
            }
        }
        expected
    }

    fn outcomes(&self, portal: Service, id: &str, slots: &[usize]) -> Vec<Outcome> {
        // The newest pipeline is the one that deployed last: an older one may have been rolled back to.
        let start = |slot: &&usize| self.told(**slot).0.and_then(|told| told.start);
        let newest = self.slots[*slots.iter().max_by_key(start).expect("one leads there")].pipeline;
        let of_newest: Vec<usize> = slots
            .iter()
            .copied()
            .filter(|slot| self.slots[*slot].pipeline == newest)
            .collect();
        let has_start = |slot: &usize| self.told(*slot).0.is_some();
        if of_newest.iter().filter(|slot| has_start(slot)).count() > 1 {
            return vec![Outcome::Same];
        }
        let Some(held) = self.held.get(&(portal, id.to_owned())) else {
            let told = self.told(of_newest[0]).0;
            return vec![told.map_or(Outcome::Same, Outcome::Says)];
        };
        // Whether a slot of which nothing is to be told leads anywhere, the contract doesn't say.
        let is_vague = slots.len() > 1 && !slots.iter().all(has_start) || of_newest.len() > 1;
        let mut all = Vec::new();
        for slot in if is_vague { slots } else { &of_newest[..] } {
            let (told, late) = self.told(*slot);
            all.extend(match (told, late) {
                (Some(told), _) => judge(self.bodies[&portal], held, told, portal),
                (None, Some(late)) => self.judge_late(held, late, portal),
                (None, None) => vec![Outcome::Same],
            });
        }
        if is_vague {
            all.push(Outcome::Same);
        }
        all
    }

    /// No attempt has a start.
    fn judge_late(&self, held: &Held, late: Told, portal: Service) -> Vec<Outcome> {
        let body = self.bodies[&portal];
        let is = |action: &str| held.word == Some(body.word(portal, action));
        let attempts = &self.slots[late.slot].attempts;
        if body == Body::Neither || !is("started") && !is("blocked") && held.word.is_some() {
            return vec![Outcome::Same];
        }
        let created = attempts.last().expect("there is one").created;
        if held.word.is_none() || held.start.is_some_and(|start| start > created) || is(late.action) {
            return vec![Outcome::Same, Outcome::Says(late)];
        }
        vec![Outcome::Says(late)]
    }
}

fn judge(body: Body, held: &Held, told: Told, portal: Service) -> Vec<Outcome> {
    if body == Body::Neither {
        return vec![Outcome::Same];
    }
    let is = |action: &str| held.word == Some(body.word(portal, action));
    let ours = ["started", "blocked", "success", "failure", "canceled"];
    if held.word.is_some() && !ours.iter().any(|action| is(action)) {
        return vec![Outcome::Same];
    }
    let began = told.start.expect("it has a start");
    let is_final = ["success", "failure", "canceled"].iter().any(|action| is(action));
    match (held.start, held.end) {
        (Some(start), _) if start > began + NEAR => return vec![Outcome::Same],
        (Some(start), _) if start < began - NEAR => return vec![Outcome::Says(told)],
        // Of an attempt that ended before this one began, although they began nearly at the same time.
        (Some(_), Some(end)) if end < began => return vec![Outcome::Same, Outcome::Says(told)],
        (None, Some(end)) if end < began => return vec![Outcome::Says(told)],
        (None, Some(end)) if told.end.is_some_and(|told| end > told + NEAR) => {
            return vec![Outcome::Same, Outcome::Says(told)];
        }
        _ => {}
    }
    let lacks = !body.starts(portal).is_empty() && (held.start.is_none() || held.end.is_none() && told.end.is_some());
    if is_final && told.end.is_none() {
        return if lacks {
            vec![Outcome::SameWord]
        } else {
            vec![Outcome::Same]
        };
    }
    if is(told.action) && !lacks {
        vec![Outcome::Same]
    } else {
        vec![Outcome::Says(told)]
    }
}

/// As GitLab makes an environment's.
fn slug(name: &str) -> String {
    let mut slug = String::new();
    for letter in name.to_lowercase().chars() {
        let letter = if letter.is_ascii_alphanumeric() { letter } else { '-' };
        if slug.is_empty() && !letter.is_ascii_lowercase() {
            slug.push_str("env-");
        }
        if letter != '-' || !slug.ends_with('-') {
            slug.push(letter);
        }
    }
    if slug == name && slug.len() <= 24 {
        return slug.trim_end_matches('-').to_owned();
    }
    slug.truncate(17);
    let digest = digest::digest(&digest::SHA256, name.as_bytes());
    let mut rest = digest
        .as_ref()
        .iter()
        .fold(0, |rest, byte| (rest * 256 + u64::from(*byte)) % 36_u64.pow(6));
    let mut end = Vec::new();
    for _ in 0..6 {
        end.push(char::from_digit(u32::try_from(rest % 36).expect("below 36"), 36).expect("below 36"));
        rest /= 36;
    }
    format!(
        "{}-{}",
        slug.trim_end_matches('-'),
        end.iter().rev().collect::<String>()
    )
}
