//! `reconcile` by a model: GitLab's records, receipts and portals made at random, judged by contract 11 alone. A scenario
//! follows from its seed: `MODEL_SEED=17` tries that one, `MODEL_SEEDS=5000` so many of each kind.
//!
//! How the rules are read (`oracle.rs`):
//! - The last attempt that has a start counts. Where none has, its last attempt tells `blocked` or `canceled`, of an entity
//!   that is there and says `started` or `blocked`, and nothing else.
//! - Two starts within two minutes are one attempt's. Where the entity holds no start, an end before the record's start is
//!   an earlier attempt's, and one after the record's end may be a later one's. Where nothing tells, it is the same attempt.
//! - Of a later attempt than the record's: it stays. Of an earlier one: status and all times are written. Of the same one:
//!   what is final stays as long as the record is not; another status is written with the times; a time that is lacking is.
//! - `stopped`, `rolled_back` and foreign words stay, whatever the attempt. No status at all is one that differs.
//! - What is written is the status and the times; title, teams, relations and other properties are as before.
//! - Records of several jobs that lead to one entity: it stays, the derived one too. Of several pipelines, the newest is the
//!   one that deployed last.
//!
//! Where the contract is silent, both outcomes are allowed: whether a job without a start, out of the window or left out
//! by a filter, or one that has an entity of its own, leads to an entity that it might share; where an entity is created whose receipt names one that is missing; and
//! which of two attempts it was that began within two minutes of each other.

mod oracle;
mod races;
mod scenario;
mod seeding;

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use sandbox::{Sandbox, Service};
use serde_json::{Value, json};

use crate::{
    gitlab::{OWN, in_job},
    support::Run,
};
use oracle::{Expected, Outcome, Told};
use races::{a_kill, an_attempt_comes, an_end_comes, an_entity_appears, two_at_once};
use scenario::{Attempt, BOTH, Body, HOUR, Held, Receipt, ReceiptKind, Scenario, Slot, sha, stamp};

/// What both portals hold, by id.
type Entities = BTreeMap<(Service, String), Value>;

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    i64::try_from(now.as_secs()).expect("not so late")
}

/// Tries what the environment names, or `count` seeds from `first` on, on two threads.
fn for_seeds(first: u64, count: u64, check: fn(u64)) {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .map(|text| text.parse::<u64>().expect("a number"))
    };
    let seeds = match (number("MODEL_SEED"), number("MODEL_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, count_given) => first..first + count_given.unwrap_or(count),
    };
    let next = AtomicU64::new(seeds.start);
    let failed = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    if std::panic::catch_unwind(|| check(seed)).is_err() {
                        failed.lock().expect("it is sound").push(seed);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("it is sound");
    assert!(
        failed.is_empty(),
        "{} of {seeds:?} failed, see above; MODEL_SEED=…: {failed:?}",
        failed.len()
    );
}

fn reconcile(scenario: &Scenario, sandbox: &Sandbox) -> Run {
    let mut run = in_job(&["reconcile"], sandbox)
        .var("NOTIFY_DESTINATIONS", "rely,port")
        .var("CI_JOB_ID", (OWN * 10).to_string())
        .var("CI_JOB_NAME", "reconcile");
    for (name, value) in [
        ("EVENT_SERVICE", scenario.service),
        ("NOTIFY_RECONCILE_ENVIRONMENTS", scenario.environments),
        ("NOTIFY_RECONCILE_JOBS", scenario.jobs),
        ("NOTIFY_RECONCILE_SINCE", scenario.since),
        ("RELY_PROPERTIES", scenario.bodies[&Service::Rely].variable()),
        ("PORT_PROPERTIES", scenario.bodies[&Service::Port].variable()),
    ] {
        if let Some(value) = value {
            run = run.var(name, value);
        }
    }
    run
}

/// All entities of both portals, by id; nothing but ours and `release` is held.
fn held(sandbox: &Sandbox) -> Entities {
    let mut all = Entities::new();
    for portal in BOTH {
        let state = &sandbox.state(portal)["entities"];
        let groups: Vec<&Value> = match portal {
            Service::Port => vec![&state["deployment"], &state["release"]],
            _ => vec![state],
        };
        for (id, entity) in groups.iter().filter_map(|group| group.as_object()).flatten() {
            all.insert((portal, id.clone()), entity.clone());
        }
    }
    all
}

fn writes(sandbox: &Sandbox) -> Vec<String> {
    let requests = sandbox
        .requests()
        .into_iter()
        .filter(|request| request.service != Service::GitLab);
    let writes = requests.filter(|request| {
        request.method != "GET" && !request.path.ends_with("/search") && !request.path.contains("auth")
    });
    writes
        .map(|request| format!("{} {} {}", request.method, request.path, request.text()))
        .collect()
}

/// How many the last line counts before this word.
fn count(stderr: &str, word: &str) -> usize {
    let line = stderr.lines().last().unwrap_or_default();
    let before = line.split(word).next().filter(|before| *before != line).unwrap_or("0 ");
    before
        .split_whitespace()
        .last()
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

fn seconds(value: &Value) -> Option<i64> {
    let time = humantime::parse_rfc3339_weak(value.as_str()?).ok()?;
    i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok()
}

/// Why an entity doesn't say what the record says.
fn differs(scenario: &Scenario, portal: Service, told: &Told, before: Option<&Value>, after: &Value) -> Option<String> {
    let body = scenario.bodies[&portal];
    let (properties, mut names) = (&after["properties"], Vec::new());
    if let Some(name) = body.status() {
        names.push(name);
        if properties[name] != body.word(portal, told.action) {
            return Some(format!("{name} is {}", properties[name]));
        }
    }
    for (all, time) in [(body.starts(portal), told.start), (body.ends(portal), told.end)] {
        for name in all {
            names.push(name);
            // Closer starts are those of one attempt, and stay as they were told.
            let near = |time: i64| seconds(&properties[name]).is_some_and(|is| (is - time).abs() <= 120);
            if time.is_some_and(|time| !near(time)) {
                return Some(format!(
                    "{name} is {} and not {}",
                    properties[name],
                    stamp(time.unwrap_or_default())
                ));
            }
        }
    }
    names.extend(body.follows());
    if body == Body::Stock && told.end.is_some() && properties["successful"] != json!(told.action == "success") {
        return Some(format!("successful is {}", properties["successful"]));
    }
    let Some(before) = before else {
        return missing(scenario, portal, told, after);
    };
    let rest = |entity: &Value| {
        let mut entity = entity.clone();
        for name in ["updatedAt", "updatedBy"] {
            entity[name] = Value::Null;
        }
        for name in &names {
            entity["properties"][*name] = Value::Null;
        }
        entity
    };
    (rest(before) != rest(after)).then(|| format!("the rest was {before}"))
}

/// What is wrong with an entity that was created.
fn missing(scenario: &Scenario, portal: Service, told: &Told, after: &Value) -> Option<String> {
    let slot = &scenario.slots[told.slot];
    let service = scenario
        .service_of(slot)
        .map(|service| format!("/{service}"))
        .unwrap_or_default();
    let (version, branch) = match slot.pipeline {
        8811 => ("v1.2".to_owned(), "v1.2"),
        8813 => ("#8813".to_owned(), "login"),
        _ => ("#8812".to_owned(), "main"),
    };
    let title = format!("acme/shop{service} {version} ({})", slot.environment);
    if after["title"] != title {
        return Some(format!("its title is not {title}"));
    }
    if (portal, scenario.bodies[&portal]) == (Service::Port, Body::Stock) {
        let properties = &after["properties"];
        let is = [
            &properties["branch"],
            &properties["commit"],
            &properties["environment"],
            &properties["url"],
        ];
        let url = format!("https://gitlab.example.com/acme/shop/-/pipelines/{}", slot.pipeline);
        if is
            != [
                &json!(branch),
                &json!(sha(slot.pipeline)),
                &json!(slot.environment),
                &json!(url),
            ]
        {
            return Some("branch, commit, environment or URL".to_owned());
        }
    }
    None
}

/// Checks what the portals hold.
fn check(scenario: &Scenario, expected: &Expected, before: &Entities, after: &Entities) -> Vec<String> {
    let mut problems = Vec::new();
    let mut keys: Vec<&(Service, String)> = before.keys().chain(after.keys()).chain(expected.keys()).collect();
    keys.sort();
    keys.dedup();
    for key in keys {
        let (was, is) = (before.get(key), after.get(key));
        let same = vec![Outcome::Same];
        let outcomes = expected.get(key).unwrap_or(&same);
        let mut why = Vec::new();
        let fits = outcomes.iter().any(|outcome| match (outcome, is) {
            (Outcome::Same, is) => was == is,
            (Outcome::SameWord, Some(is)) => {
                let body = scenario.bodies[&key.0];
                let name = body.status().unwrap_or("note");
                was.is_some_and(|was| was["properties"][name] == is["properties"][name])
            }
            (Outcome::Says(told), Some(is)) => {
                let differs = differs(scenario, key.0, told, was, is);
                why.extend(differs.clone());
                differs.is_none()
            }
            (_, None) => false,
        });
        if !fits {
            let (was, is) = (
                json!(was.map(|was| &was["properties"])),
                json!(is.map(|is| &is["properties"])),
            );
            problems.push(format!(
                "{key:?}\n  allowed {outcomes:?}\n  was {was}\n  is  {is}\n  {why:?}"
            ));
        }
    }
    problems
}

fn fail(seed: u64, scenario: &Scenario, text: &str, problems: &[String]) {
    let mut shown = format!("\n===== seed {seed}\n");
    for slot in &scenario.slots {
        shown += &format!("{slot:?}\n");
    }
    for receipt in &scenario.receipts {
        shown += &format!("{receipt:?}\n");
    }
    shown += &format!(
        "now {} bodies {:?} service {:?} environments {:?} jobs {:?} since {:?}\n{}\n{text}\n",
        scenario.now,
        scenario.bodies,
        scenario.service,
        scenario.environments,
        scenario.jobs,
        scenario.since,
        scenario
            .held
            .iter()
            .map(|(key, held)| format!(
                "{:?} {} {} {:?} {:?} {:?}\n",
                key.0, key.1, held.blueprint, held.word, held.start, held.end
            ))
            .collect::<String>()
    );
    panic!("{shown}{}\n", problems.join("\n"));
}

fn a_quiet_run(seed: u64) {
    runs_quietly(seed, &Scenario::new(seed, now()));
}

fn runs_quietly(seed: u64, scenario: &Scenario) {
    let sandbox = Sandbox::start();
    scenario.seed(&sandbox);
    let expected = scenario.expected();
    let before = held(&sandbox);
    let dry = reconcile(scenario, &sandbox).var("NOTIFY_DRY_RUN", "true").run();
    let mut problems = Vec::new();
    if !writes(&sandbox).is_empty() || held(&sandbox) != before {
        problems.push(format!("the dry run writes: {:?}", writes(&sandbox)));
    }
    let ran = reconcile(scenario, &sandbox).run();
    problems.extend(check(scenario, &expected, &before, &held(&sandbox)));
    if ran.code != 0 || dry.code != 0 {
        problems.push(format!("exit {} {}", dry.code, ran.code));
    }
    let (would, did) = (
        count(&dry.stderr, " would be repaired"),
        count(&ran.stderr, " repaired"),
    );
    // What a run finds out right before it writes is not asked by a dry one, which may show more.
    if would != did {
        problems.push(format!("{would} would be repaired, {did} were:\n{}", dry.stderr));
    }
    let first = writes(&sandbox);
    let again = reconcile(scenario, &sandbox).run();
    if writes(&sandbox).len() != first.len() {
        problems.push(format!(
            "the second run writes:\n{:#?}\n{}",
            &writes(&sandbox)[first.len()..],
            again.stderr
        ));
    }
    if !problems.is_empty() {
        fail(seed, scenario, &format!("{}\n{first:#?}", ran.stderr), &problems);
    }
}

#[test]
fn the_portal_says_what_the_record_says_and_a_second_run_writes_nothing() {
    for_seeds(0, 40, a_quiet_run);
}

#[test]
fn what_comes_meanwhile_is_not_overwritten() {
    for_seeds(10_000, 12, an_attempt_comes);
    for_seeds(20_000, 12, an_entity_appears);
    for_seeds(50_000, 12, an_end_comes);
}

#[test]
fn two_runs_at_once_do_no_harm() {
    for_seeds(30_000, 8, two_at_once);
}

#[test]
fn a_killed_run_is_just_run_again() {
    for_seeds(40_000, 8, a_kill);
}

/// Of one that deployed before the window: what it is called by is no name for another job to the same environment.
#[test]
fn a_report_that_names_a_job_is_no_other_jobs() {
    let attempt = |back: i64, status: &'static str| Attempt {
        status,
        created: now() - back,
        started: Some(now() - back + 5),
        finished: (status != "running").then(|| now() - back + 500),
        is_orphan: false,
    };
    let slot = |job: &'static str, attempt: Attempt| Slot {
        pipeline: 8812,
        environment: "production",
        job,
        attempts: vec![attempt],
    };
    let [old, new] = [attempt(80 * HOUR, "success"), attempt(3 * HOUR, "running")];
    let held = |portal: Service| Held {
        portal,
        blueprint: "deployment",
        word: Some(Body::Stock.word(portal, "started")),
        action: "started",
        start: old.started,
        end: None,
    };
    let receipt = |portal: Service| Receipt {
        slot: 0,
        kind: ReceiptKind::Named,
        portal,
        identifier: "the-shop".to_owned(),
        blueprint: "deployment",
    };
    let scenario = Scenario {
        now: now(),
        receipts: BOTH.map(receipt).into(),
        bodies: BOTH.map(|portal| (portal, Body::Stock)).into(),
        held: BOTH
            .map(|portal| ((portal, "the-shop".to_owned()), held(portal)))
            .into(),
        slots: vec![slot("deploy: [api]", old.clone()), slot("deploy: [shop, eu]", new)],
        service: None,
        environments: None,
        jobs: None,
        since: None,
    };
    runs_quietly(0, &scenario);
}
