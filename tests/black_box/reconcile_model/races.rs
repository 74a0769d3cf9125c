//! What happens while a run reads and writes.

use std::{collections::BTreeMap, time::Duration};

use fastrand::Rng;
use sandbox::{Options, Sandbox, Service};
use serde_json::Value;

use super::{
    Entities, check, differs, fail, held, now,
    oracle::Told,
    reconcile,
    scenario::{Attempt, BOTH, Body, Held, Scenario, Slot, chance, pick},
    seconds, writes,
};
use crate::support::Running;

/// A sandbox whose replies take their time, so that something can happen between them.
fn slow() -> Sandbox {
    Sandbox::start_with(Options {
        latency: Duration::from_millis(3),
        ..Options::default()
    })
}

/// What a run finds now: a model of what the portals hold.
fn as_held(scenario: &Scenario, entities: &Entities) -> BTreeMap<(Service, String), Held> {
    let of = |(key, entity): (&(Service, String), &Value)| {
        let (portal, body) = (key.0, scenario.bodies[&key.0]);
        let time = |names: &[&str]| names.iter().find_map(|name| seconds(&entity["properties"][*name]));
        let blueprint = ["blueprint", "blueprintId"]
            .iter()
            .find_map(|name| entity[*name].as_str());
        let held = Held {
            portal,
            blueprint: if blueprint == Some("release") {
                "release"
            } else {
                "deployment"
            },
            word: body
                .status()
                .and_then(|name| entity["properties"][name].as_str())
                .map(str::to_owned),
            action: "started",
            start: time(body.starts(portal)),
            end: time(body.ends(portal)),
        };
        (key.clone(), held)
    };
    entities.iter().map(of).collect()
}

/// Two more runs: the first makes it as the record has it, whatever was before; the second writes nothing.
fn settles(scenario: &mut Scenario, sandbox: &Sandbox) -> Vec<String> {
    let before = held(sandbox);
    scenario.held = as_held(scenario, &before);
    let ran = reconcile(scenario, sandbox).run();
    let mut problems = check(scenario, &scenario.expected(), &before, &held(sandbox));
    let written = writes(sandbox).len();
    let again = reconcile(scenario, sandbox).run();
    if (ran.code, again.code) != (0, 0) {
        problems.push(format!("PROBLEM exit {} {}\n{}", ran.code, again.code, ran.stderr));
    }
    if writes(sandbox).len() != written {
        problems.push(format!(
            "the second run writes:\n{:#?}\n{}",
            &writes(sandbox)[written..],
            again.stderr
        ));
    }
    problems
}

/// While a run reads and writes, a newer attempt begins, or the one that runs ends; and its report comes.
pub fn an_attempt_comes(seed: u64) {
    let now = now();
    let mut scenario = Scenario::new(seed, now);
    let random = &mut Rng::with_seed(seed ^ 0xace);
    let sandbox = Sandbox::start();
    let (of_slot, portal) = (random.usize(..scenario.slots.len()), pick(random, &BOTH));
    let place = scenario.ids(&scenario.slots[of_slot])[0].clone();
    if chance(random, 70) {
        // So that there is something to write.
        let waits = Held {
            portal,
            blueprint: "deployment",
            word: Some(scenario.bodies[&portal].word(portal, "blocked")),
            action: "blocked",
            start: None,
            end: None,
        };
        scenario.held.insert((portal, place.clone()), waits);
    }
    scenario.seed(&sandbox);
    let last = scenario.slots[of_slot].attempts.last_mut().expect("there is one");
    if last.is_orphan || last.created > now - 600 {
        return;
    }
    if last.status == "running" && chance(random, 50) {
        (last.status, last.finished) = (pick(random, &["success", "failed"]), Some(now - 5));
    } else {
        if last.status == "running" {
            (last.status, last.finished) = ("canceled", Some(now - 300));
        }
        let status = pick(random, &["running", "success", "failed"]);
        let finished = (status != "running").then_some(now - 5);
        let attempt = Attempt {
            status,
            created: now - 100,
            started: Some(now - 90),
            finished,
            is_orphan: false,
        };
        scenario.slots[of_slot].attempts.push(attempt);
    }
    let slot = &scenario.slots[of_slot];
    let newest = slot.attempts.last().expect("there is one");
    let action = match newest.status {
        "running" => "started",
        "success" => "success",
        _ => "failure",
    };
    let report = Held {
        portal,
        blueprint: "deployment",
        word: Some(scenario.bodies[&portal].word(portal, action)),
        action,
        start: newest.started,
        end: newest.finished,
    };
    // The report comes while the run asks for the last time whether the record is still the same.
    let asks = format!("deployments?environment={}", slot.environment.replace('/', "%2F"));
    let reported = scenario.entity(&place, &report);
    sandbox.seed_after(
        Service::GitLab,
        "GET updated_after",
        1,
        Service::GitLab,
        scenario.record(),
    );
    sandbox.seed_after(Service::GitLab, &asks, 1, portal, reported);
    let ran = reconcile(&scenario, &sandbox).run();
    let has_come = sandbox
        .requests_to(Service::GitLab)
        .iter()
        .any(|request| format!("{}?{}", request.path, request.query).contains(&asks));
    sandbox.clear_faults();
    let mut problems = Vec::new();
    if has_come {
        let key = (portal, place);
        let told = Told {
            slot: of_slot,
            action,
            start: newest.started,
            end: newest.finished,
        };
        let is = &held(&sandbox)[&key];
        problems
            .extend(differs(&scenario, portal, &told, Some(is), is).map(|why| format!("{key:?} PROBLEM {why}\n {is}")));
    }
    problems.extend(settles(&mut scenario, &sandbox));
    if !problems.is_empty() {
        fail(seed, &scenario, &ran.stderr, &problems);
    }
}

/// While a run reads and writes, a job reports its end from inside: GitLab knows that later. What was only to be completed
/// does not become unfinished again.
pub fn an_end_comes(seed: u64) {
    let mut scenario = Scenario::new(seed, now());
    let sandbox = Sandbox::start();
    let runs = |slot: &&Slot| {
        slot.attempts
            .last()
            .is_some_and(|last| last.status == "running" && !last.is_orphan)
    };
    let Some(slot) = scenario.slots.iter().find(runs) else {
        return;
    };
    let place = scenario.ids(slot)[0].clone();
    let asks = format!("deployments?environment={}", slot.environment.replace('/', "%2F"));
    for portal in BOTH
        .into_iter()
        .filter(|portal| matches!(scenario.bodies[portal], Body::Stock | Body::Own))
    {
        let word = |action: &str| Some(scenario.bodies[&portal].word(portal, action));
        let held = Held {
            portal,
            blueprint: "deployment",
            word: word("started"),
            action: "started",
            start: None,
            end: None,
        };
        let end = Held {
            word: word("success"),
            action: "success",
            end: Some(scenario.now),
            ..held.clone()
        };
        scenario.held.insert((portal, place.clone()), held);
        sandbox.seed_after(Service::GitLab, &asks, 1, portal, scenario.entity(&place, &end));
    }
    scenario.seed(&sandbox);
    let ran = reconcile(&scenario, &sandbox).run();
    let asked = sandbox.requests_to(Service::GitLab);
    let asked = asked
        .iter()
        .filter(|request| format!("{}?{}", request.path, request.query).contains(&asks))
        .count();
    sandbox.clear_faults();
    let mut problems = Vec::new();
    let ended = |(key, entity): &(&(Service, String), &Value)| {
        let body = scenario.bodies[&key.0];
        key.1 == place
            && body
                .status()
                .is_some_and(|name| entity["properties"][name] == body.word(key.0, "success"))
    };
    let seeded = BOTH
        .iter()
        .filter(|portal| matches!(scenario.bodies[portal], Body::Stock | Body::Own))
        .count();
    if held(&sandbox).iter().filter(ended).count() < asked.min(seeded) {
        problems.push(format!(
            "PROBLEM {asked} asked, and an end was overwritten: {:#?}",
            held(&sandbox)
        ));
    }
    problems.extend(settles(&mut scenario, &sandbox));
    if !problems.is_empty() {
        fail(seed, &scenario, &ran.stderr, &problems);
    }
}

/// While a run reads and writes, somebody else creates what was missing.
pub fn an_entity_appears(seed: u64) {
    let mut scenario = Scenario::new(seed, now());
    let random = &mut Rng::with_seed(seed ^ 0xace);
    let sandbox = Sandbox::start();
    scenario.seed(&sandbox);
    let (of_slot, portal) = (random.usize(..scenario.slots.len()), pick(random, &BOTH));
    let slot = &scenario.slots[of_slot];
    let key = (portal, scenario.ids(slot)[0].clone());
    if scenario.held.contains_key(&key) {
        return;
    }
    let entity = scenario.entity(&key.1, &scenario.state(random, of_slot, portal, "deployment"));
    let asks = format!("deployments?environment={}", slot.environment.replace('/', "%2F"));
    sandbox.seed_after(Service::GitLab, &asks, 1, portal, entity.clone());
    let ran = reconcile(&scenario, &sandbox).run();
    sandbox.clear_faults();
    let mut problems = Vec::new();
    let asked = sandbox.requests_to(Service::GitLab);
    if asked
        .iter()
        .any(|request| format!("{}?{}", request.path, request.query).contains(&asks))
    {
        let is = &held(&sandbox)[&key];
        let seeded = if portal == Service::Port {
            &entity["entities"]["deployment"]
        } else {
            &entity["entities"]
        };
        if is["properties"] != seeded[&key.1]["properties"] || is["title"] != "by hand" || ran.code != 0 {
            problems.push(format!("PROBLEM exit {}, what appeared is {is}", ran.code));
        }
    }
    problems.extend(settles(&mut scenario, &sandbox));
    if !problems.is_empty() {
        fail(seed, &scenario, &ran.stderr, &problems);
    }
}

/// Two runs write side by side.
pub fn two_at_once(seed: u64) {
    let mut scenario = Scenario::new(seed, now());
    let sandbox = slow();
    scenario.seed(&sandbox);
    let (expected, before) = (scenario.expected(), held(&sandbox));
    let running = [
        reconcile(&scenario, &sandbox).start(),
        reconcile(&scenario, &sandbox).start(),
    ];
    let [one, two] = running.map(Running::ends);
    let mut problems = check(&scenario, &expected, &before, &held(&sandbox));
    if (one.code, two.code) != (0, 0) {
        problems.push(format!("PROBLEM exit {} {}", one.code, two.code));
    }
    problems.extend(settles(&mut scenario, &sandbox));
    if !problems.is_empty() {
        fail(seed, &scenario, &format!("{}\n{}", one.stderr, two.stderr), &problems);
    }
}

/// Two runs are killed, and the third goes to its end.
pub fn a_kill(seed: u64) {
    let mut scenario = Scenario::new(seed, now());
    let sandbox = slow();
    scenario.seed(&sandbox);
    let (expected, before) = (scenario.expected(), held(&sandbox));
    let random = &mut Rng::with_seed(seed ^ 0xace);
    for _ in 0..2 {
        let running = reconcile(&scenario, &sandbox).start();
        std::thread::sleep(Duration::from_millis(random.u64(5..120)));
        running.signal("KILL");
        running.ends();
    }
    let ran = reconcile(&scenario, &sandbox).run();
    let mut problems = check(&scenario, &expected, &before, &held(&sandbox));
    problems.extend(settles(&mut scenario, &sandbox));
    if !problems.is_empty() {
        fail(seed, &scenario, &ran.stderr, &problems);
    }
}
