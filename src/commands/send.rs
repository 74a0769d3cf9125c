//! `send`, and its dry run: the event goes to every target.

use anyhow::{Context as _, Result};

use super::{
    doubt::Doubt,
    entities,
    runner::{self, CANT_KNOW, Delivery, Runner},
    setup::Setup,
    switch::{self, Leaves},
};
use crate::{
    delivery::{curl, plan::Plan},
    destinations::{Room, Target},
    environment::Environment,
    event::{
        Event,
        resolve::Resolver,
        scope::{Names, fields_of},
    },
    facts::{self, Asker, Facts},
    needs::{Needs, Part, needs},
    problem::Unmade,
    receipts::once::{self, Attempt, Decision},
    report::{
        PROGRAM,
        class::{self, Class},
    },
    variables::{Kind, Unrendered, Values},
};

/// Sends the event, or prints what would be sent, and returns the exit code. `official_names` says that the names which
/// other tools gave to a destination's variables are read too, `deploy_job` that it tells of the deployment of one job.
///
/// # Errors
/// What no user can mend: standard output is closed, the clock or the runtime fails.
pub fn send(
    environment: &Environment,
    named: Vec<Target>,
    official_names: bool,
    dry_run: bool,
    deploy_job: bool,
) -> Result<u8> {
    let leaves = if dry_run { Leaves::Nothing } else { Leaves::Receipt };
    if let Some(code) = switch::end(environment, &named, leaves) {
        return Ok(code);
    }
    match Setup::read(environment) {
        Ok(setup) => {
            let setup = setup.with_official_names(official_names);
            runner::block_on(run(&setup, named, dry_run, deploy_job))?
        }
        Err(unusable) => Ok(runner::give_up(&unusable, "nothing was sent")),
    }
}

async fn run(setup: &Setup<'_>, named: Vec<Target>, dry_run: bool, deploy_job: bool) -> Result<u8> {
    let console = &setup.console;
    let dry_run = dry_run || setup.policy.dry_run.0;
    let (targets, mut problems) = setup.targets(named);
    let names_are_wrong = !problems.is_empty();
    let reads: Vec<Target> = targets
        .iter()
        .filter(|target| target.operation.is_read)
        .copied()
        .collect();
    let (mut runner, of_runner) = Runner::new(setup, &reads, !dry_run);
    if targets.iter().any(|target| setup.sends_entities(target)) {
        runner.limits = setup.long_limits();
    }
    let can_send = of_runner.is_empty();
    problems.extend(of_runner);
    for line in runner.folder.iter().flat_map(|folder| folder.forget_others(false, &[])) {
        console.info(&format!("  {line}"));
    }
    let asked = if can_send { targets.as_slice() } else { &[] };
    let mut resolver = setup.resolver();
    if deploy_job {
        resolver.report_deploy_job();
    }
    let prepared = Box::pin(prepare(&runner, resolver, asked, dry_run)).await;
    let event = match &prepared.event {
        Ok(event) => Some(event),
        Err(Unmade::Wrong(of_event)) => {
            problems.extend(of_event.clone());
            None
        }
        Err(Unmade::Nothing(_)) => None,
    };
    // Where there are only files to send, nothing is said of the event, neither here nor in the receipt.
    let is_of_files = !targets.is_empty() && targets.iter().all(|target| setup.sends_entities(target));
    let event = event.filter(|_| !is_of_files);
    let summary = match event {
        Some(event) => event.summary(),
        None if is_of_files => "the entities of a file, and no event".to_owned(),
        None => "no event".to_owned(),
    };
    console.info(&format!("{PROGRAM}: {summary}"));
    runner::complain(console, &problems);
    // What is wrong with the event or the folder keeps every target from being sent to; if all are optional, so is that.
    let is_all_optional = !targets.is_empty() && targets.iter().all(|target| target.is_optional) && !names_are_wrong;
    let mut classes: Vec<Class> = problems.iter().map(|_| Class::Misconfigured).collect();
    if is_all_optional {
        classes.clear();
    }
    let mut deliveries = prepared.deliveries(setup);
    runner::tell_unread(setup, &problems, &deliveries);
    entities::open(&runner, &mut deliveries).await;
    if dry_run {
        return show(setup, deliveries, classes);
    }
    let delivered = runner
        .deliver(event, deliveries, true, &|_, ended| runner::report(console, ended))
        .await?;
    classes.extend(runner::of_required(&delivered.ended));
    let worst = class::worst(classes);
    let what = delivered.summary(&runner::tally(&delivered.ended));
    delivered.leave(class::exit_code(worst, setup.policy.on_error));
    Ok(runner::conclude(console, setup.ending(), worst, &what))
}

/// The event, and what every target makes of it.
struct Prepared {
    event: Result<Event, Unmade>,
    facts: Facts,
    /// What was tried before, as far as it is known.
    attempts: Vec<Attempt>,
    /// Why the event's id is not that of the entity that is there, if so.
    no_entity: Option<String>,
    targets: Vec<Ready>,
}

/// A target, and what was read for it.
struct Ready {
    target: Target,
    values: Values,
    /// Whether it is about the entity that the event's id names.
    takes_id: bool,
    /// Why `EVENT_PROPERTIES` would not go along, if so.
    leaves_out: Option<String>,
}

impl Ready {
    fn new(target: Target, found: &Unrendered, names: &Names) -> Self {
        let operation = target.operation;
        let is_made_of = |variable: &str, field: &str| {
            let mut names = found.names_of(variable);
            names.any(|name| fields_of(name).contains(&field))
        };
        let is_of_event = operation.is_of_event(|name| found.is_given(name));
        let takes_id = operation
            .entity
            .is_some_and(|variable| is_of_event && (!found.is_given(variable) || is_made_of(variable, "id")));
        let leaves_out = match operation.properties {
            _ if !operation.tells(|name| found.is_given(name)) => None,
            Room::Always => None,
            Room::None => Some(format!("{} has no room for them", target.destination.title)),
            Room::UnlessSet(variable) => {
                let is_without = found.is_given(variable) && !is_made_of(variable, "properties");
                is_without.then(|| format!("{variable} says what is sent"))
            }
        };
        Self {
            target,
            values: found.render(names),
            takes_id,
            leaves_out,
        }
    }
}

/// Finds out what the targets need, asks for it, and makes the event and everybody's values: each once. A dry run asks
/// what a run would ask; outside GitLab, where nobody can be asked, it leaves the action open.
async fn prepare(runner: &Runner<'_>, mut resolver: Resolver<'_>, targets: &[Target], dry_run: bool) -> Prepared {
    let setup = runner.setup;
    let (found, needs) = find(setup, &mut resolver, targets);
    let gitlab = setup.gitlab_api();
    if dry_run && gitlab.is_err() {
        resolver.leave_action_open();
    }
    let facts = match &runner.clients {
        Some(clients) => {
            let courier = clients.to_gitlab(&setup.console, runner.limits);
            let asker = Asker {
                gitlab: &gitlab,
                courier: &courier,
            };
            let folder = setup.receipts_folder();
            let asking = facts::fetch(&asker, &mut resolver, needs, folder.as_deref());
            // Who is to end asks no more, and keeps what it knows.
            Box::pin(runner.stop.unless_asked(asking)).await.unwrap_or_default()
        }
        None => Facts::default(),
    };
    tell_changes(setup, &facts);
    let no_entity = resolver.no_deployer();
    let (event, names) = resolver.finish();
    let targets = found
        .iter()
        .map(|(target, found)| Ready::new(*target, found, &names))
        .collect();
    let before = runner
        .folder
        .as_ref()
        .and_then(|folder| Attempt::of_this_job(folder.begun()));
    let attempts = match &facts.attempts {
        Some(Ok(attempts)) => attempts.iter().cloned().chain(before).collect(),
        _ => before.into_iter().collect(),
    };
    Prepared {
        event,
        facts,
        attempts,
        no_entity,
        targets,
    }
}

/// The variables of these targets, and what a run needs for them. Says which of them were set to something else too.
pub fn find(setup: &Setup, resolver: &mut Resolver, targets: &[Target]) -> (Vec<(Target, Unrendered)>, Needs) {
    let found: Vec<(Target, Unrendered)> = targets
        .iter()
        .map(|target| (*target, setup.find(target.destination)))
        .collect();
    for target in targets {
        for line in setup.passed_over(target.destination) {
            setup.console.info(&format!("  {:<18} {line}", target.label()));
        }
    }
    let known = resolver.known();
    let parts: Vec<Part> = found
        .iter()
        .map(|(target, found)| Part::new(target, |name| found.is_given(name), found.names()))
        .collect();
    let needs = needs(&parts, resolver.mentioned(), setup.policy.only.is_some(), known);
    (found, needs)
}

/// Says what of `changes` can't be had, where somebody wants it.
fn tell_changes(setup: &Setup, facts: &Facts) {
    let line = match &facts.changes {
        Some(Err(why)) => format!("changes.* are absent: {why}"),
        Some(Ok(changes)) if changes["count"].is_null() => {
            "changes.count and changes.merge_requests are absent: GitLab \
             has no deployment of this pipeline to the environment, or does not show what it brought"
                .to_owned()
        }
        _ => return,
    };
    setup.console.info(&format!("  {:<18} {line}", "GitLab"));
}

impl Prepared {
    /// A plan for every target. Where an operation adds or triggers something, what earlier attempts of this job have
    /// delivered is left out.
    fn deliveries(&self, setup: &Setup) -> Vec<Delivery<'_>> {
        let event = match &self.event {
            Ok(event) => event,
            // What is wrong with the event is told once, and not again for every target.
            Err(Unmade::Wrong(_)) => return Vec::new(),
            Err(why @ Unmade::Nothing(_)) => {
                let skip = |ready: &Ready| Delivery {
                    target: ready.target,
                    event: None,
                    values: ready.values.clone(),
                    plan: Err(why.clone()),
                    in_doubt: false,
                    heading: None,
                    entities: None,
                };
                return self.targets.iter().map(skip).collect();
            }
        };
        let deliveries: Vec<Delivery> = self
            .targets
            .iter()
            .map(|ready| {
                let known = self.known(setup, &ready.target, &ready.values, event);
                let in_doubt = matches!(known, Decision::Doubt(_));
                let plan = self.plan(setup, ready, event, known);
                Delivery {
                    target: ready.target,
                    event: (!is_of_file(&ready.target, &ready.values, &plan)).then_some(event),
                    values: ready.values.clone(),
                    in_doubt,
                    plan,
                    heading: None,
                    entities: None,
                }
            })
            .collect();
        let is_concerned =
            |one: &Delivery| one.target.counts(&one.values) && one.plan.as_ref().is_ok_and(|plan| plan.skip.is_none());
        if let Some(Err(why)) = &self.facts.attempts
            && deliveries.iter().any(is_concerned)
        {
            setup.console.info(&format!("  {:<18} {CANT_KNOW}: {why}", "GitLab"));
        }
        deliveries
    }

    /// What was tried before, where it matters to `target`.
    fn attempts(&self, target: &Target, values: &Values) -> &[Attempt] {
        if target.counts(values) { &self.attempts } else { &[] }
    }

    /// What was tried before means this for a delivery.
    fn known(&self, setup: &Setup, target: &Target, values: &Values, event: &Event) -> Decision {
        let attempts = self.attempts(target, values);
        let receiver = target.receiver(values);
        let redactor = setup.console.redactor();
        once::decide(attempts, target, receiver.as_deref(), event, redactor)
    }

    fn plan(&self, setup: &Setup, ready: &Ready, event: &Event, known: Decision) -> Result<Plan, Unmade> {
        let target = &ready.target;
        if let Some(why) = self.no_entity.as_ref().filter(|_| ready.takes_id) {
            return Ok(Plan::skip(why));
        }
        let doubt = match known {
            Decision::Skip(why) => return Ok(Plan::skip(why)),
            Decision::Doubt(once::Doubt { why, since }) => Some(Doubt {
                why,
                since,
                is_wanted: false,
            }),
            Decision::Send => None,
        };
        let attempts = self.attempts(target, &ready.values);
        let receiver = target.receiver(&ready.values);
        let completed = once::completed(attempts, target, receiver.as_deref(), event, setup.console.redactor());
        let rest = ready.values.clone().without(&completed);
        let mut plan = runner::plan(setup, target, event, &rest, false, doubt.as_ref())?;
        if plan.skip.is_none() || plan.in_doubt {
            plan.completed = completed;
        }
        let left_out = ready.leaves_out.as_ref().filter(|_| !event.properties.is_empty());
        if let Some(why) = left_out.filter(|_| plan.skip.is_none()) {
            plan.notes.push(format!("EVENT_PROPERTIES do not go along: {why}"));
        }
        Ok(plan)
    }
}

/// Whether the entities of a file are sent, or would be if their variable made sense here: they are not about the event,
/// which nobody wants to replay then, and what of them is not sent has a file of its own.
fn is_of_file(target: &Target, values: &Values, plan: &Result<Plan, Unmade>) -> bool {
    let is_wrong = |name: &str| {
        let wrong = plan.as_ref().err();
        wrong.is_some_and(|why| why.variables().any(|variable| variable == name))
    };
    let mut paths = target
        .destination
        .variables()
        .filter(|variable| variable.kind == Kind::Path);
    target.operation.sends_entities(|name| values.is_given(name)) || paths.any(|variable| is_wrong(variable.name))
}

/// Prints what would be sent.
fn show(setup: &Setup, deliveries: Vec<Delivery>, mut classes: Vec<Class>) -> Result<u8> {
    let console = &setup.console;
    let mut logged_in: Vec<&str> = Vec::new();
    for Delivery {
        target, plan, entities, ..
    } in deliveries
    {
        let label = target.label();
        let (plan, more) = match (plan, entities) {
            (Ok(plan), Some(entities)) => match entities::first(&entities, &plan) {
                Ok((plan, more)) => (Ok(plan), Some(more)),
                Err(why) => (Err(why), None),
            },
            (plan, _) => (plan, None),
        };
        match plan {
            Ok(plan) => {
                for note in &plan.notes {
                    console.info(&format!("  {label:<18} {note}"));
                }
                if let Some(reason) = &plan.skip {
                    let class = if plan.in_doubt {
                        Class::Unavailable
                    } else {
                        Class::Skipped
                    };
                    console.info(&format!("  {label:<18} {}: {reason}", class.word()));
                } else {
                    let is_first = !logged_in.contains(&target.destination.name);
                    let mut commands = curl::render(&label, &plan, is_first);
                    if let Some(more) = more {
                        commands += &format!("\n# {label}: {more}");
                    }
                    console
                        .output(&commands)
                        .context("standard output can't be written to")?;
                    logged_in.push(target.destination.name);
                }
            }
            Err(Unmade::Nothing(reason)) => {
                console.info(&format!("  {label:<18} {}: {reason}", Class::Skipped.word()));
            }
            Err(Unmade::Wrong(problems)) => {
                for problem in problems {
                    console.line(&format!("  {label:<18} {}: {problem}", Class::Misconfigured.word()));
                }
                if !target.is_optional {
                    classes.push(Class::Misconfigured);
                }
            }
        }
    }
    let worst = class::worst(classes);
    Ok(runner::conclude(
        console,
        setup.ending(),
        worst,
        "dry run, nothing was sent",
    ))
}
