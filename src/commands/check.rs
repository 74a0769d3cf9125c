//! `check`: a preflight. The variables are read as a run would read them, and every service is asked by a harmless
//! read; nothing is written anywhere.

use anyhow::Result;

use super::{
    entities,
    runner::{self, Delivery, Ended, Runner},
    send::find,
    setup::{Setup, Unusable},
    switch::{self, Leaves},
};
use crate::{
    delivery::plan::Plan,
    destinations::{Context, Target},
    environment::Environment,
    event::{Action, Event},
    facts::{self, Asker, Facts},
    gitlab::outcome::Outcome,
    needs::Needs,
    problem::Unmade,
    report::class::{self, Class},
    variables::Values,
};

/// What a preflight that failed means.
const NOT_READY: &str = "nothing can be sent";

/// Checks the named destinations, or those that a run would send to.
///
/// # Errors
/// What no user can mend.
pub fn check(environment: &Environment, named: Vec<Target>, official_names: bool) -> Result<u8> {
    if let Some(code) = switch::end(environment, &named, Leaves::Nothing) {
        return Ok(code);
    }
    match Setup::read(environment) {
        Ok(setup) => runner::block_on(check_all(&setup.with_official_names(official_names), named))?,
        Err(unusable) => Ok(runner::give_up(&unusable, NOT_READY)),
    }
}

async fn check_all(setup: &Setup<'_>, named: Vec<Target>) -> Result<u8> {
    let console = &setup.console;
    let (targets, mut problems) = setup.targets(named);
    let (runner, of_runner) = Runner::new(setup, &[], false);
    problems.extend(of_runner);
    let Some(clients) = &runner.clients else {
        let unusable = Unusable {
            console: console.clone(),
            ending: setup.ending(),
            problems,
        };
        return Ok(runner::give_up(&unusable, NOT_READY));
    };
    let mut resolver = setup.resolver();
    let (found, needed) = find(setup, &mut resolver, &targets);
    // Whatever happened by now: what the run will report is still to come.
    resolver.leave_action_open();
    let fallback = resolver.fallback();
    let gitlab = setup.gitlab_api();
    let courier = clients.to_gitlab(console, runner.limits);
    let asker = Asker {
        gitlab: &gitlab,
        courier: &courier,
    };
    let everything = Needs {
        outcome: true,
        changes: true,
        attempts: false,
        ..needed
    };
    let facts = facts::fetch(&asker, &mut resolver, everything, None).await;
    let mut classes: Vec<Class> = report_gitlab(setup, &facts, needed.outcome, fallback.as_ref())
        .into_iter()
        .collect();
    let (event, scope) = resolver.finish();
    if let Err(Unmade::Wrong(of_event)) = &event {
        problems.extend(of_event.clone());
    }
    runner::complain(console, &problems);
    classes.extend(problems.iter().map(|_| Class::Misconfigured));
    let mut deliveries: Vec<Delivery> = match &event {
        Ok(event) => found
            .iter()
            .map(|(target, found)| read_of(setup, target, event, found.render(&scope)))
            .collect(),
        Err(_) => Vec::new(),
    };
    runner::tell_unread(setup, &problems, &deliveries);
    entities::open(&runner, &mut deliveries).await;
    for delivery in &mut deliveries {
        // Sent is the harmless read.
        delivery.entities = None;
    }
    let delivered = runner
        .deliver(None, deliveries, false, &|_, ended| report(setup, ended))
        .await?;
    classes.extend(runner::of_required(&delivered.ended));
    let failures = classes.iter().filter(|class| class.is_failure()).count();
    let what = match failures {
        0 => "everything is ready".to_owned(),
        1 => "1 thing is not ready".to_owned(),
        count => format!("{count} things are not ready"),
    };
    Ok(runner::conclude(
        console,
        setup.ending(),
        class::worst(classes),
        &format!("{what}, nothing was written"),
    ))
}

/// The harmless read of a target's service, if what the run itself would send is right.
fn read_of<'e>(setup: &Setup, target: &Target, event: &'e Event, values: Values) -> Delivery<'e> {
    let of_run: Result<Plan, Unmade> = runner::plan(setup, target, event, &values, false, None);
    // The entities of a file are checked as a run would check them.
    let batch = of_run.as_ref().ok().and_then(|plan| plan.batch.clone());
    let plan = match of_run {
        // Nothing has happened yet that could be told: what can be seen is whether it could be.
        Ok(_) | Err(Unmade::Nothing(_)) => (target.destination.check)(&Context {
            operation: target.operation.name,
            event,
            values: &values,
            is_replay: false,
            in_doubt_since: None,
        }),
        Err(why) => Err(why),
    };
    Delivery {
        target: *target,
        event: Some(event),
        values,
        plan: plan.map(|plan| Plan { batch, ..plan }),
        in_doubt: false,
        heading: None,
        entities: None,
    }
}

fn report(setup: &Setup, ended: &Ended) {
    if ended.result.class.is_failure() {
        return runner::report(&setup.console, ended);
    }
    let note = ended.result.detail.as_deref().unwrap_or_default();
    let status = ended.result.status.map(|status| format!(" (HTTP {status})"));
    setup.console.info(&format!(
        "  {:<18} ok{}: {note}",
        ended.target.label(),
        status.unwrap_or_default()
    ));
}

/// What GitLab's API shows of the jobs and of the deployments. Only what a run would need is a failure.
/// `fallback` is what would be told where the jobs can't be asked.
fn report_gitlab(setup: &Setup<'_>, facts: &Facts, needs_jobs: bool, fallback: Option<&Action>) -> Option<Class> {
    let console = &setup.console;
    let mut class = None;
    match &facts.outcome {
        Some(Outcome::Unasked(why)) if needs_jobs && let Some(fallback) = fallback => console.info(&format!(
            "  {:<18} not readable, so EVENT_ACTION's auto:{fallback} would be told: {why}",
            "GitLab jobs"
        )),
        Some(Outcome::Unasked(why) | Outcome::Unknown(why)) if needs_jobs => {
            class = Some(Class::Misconfigured);
            console.line(&format!(
                "  {:<18} {}: EVENT_ACTION is auto, and {why}",
                "GitLab jobs",
                Class::Misconfigured.word()
            ));
        }
        Some(Outcome::Unasked(why) | Outcome::Unknown(why)) => console.info(&format!(
            "  {:<18} not readable, and not needed here: {why}",
            "GitLab jobs"
        )),
        Some(Outcome::Happened(finding)) => {
            console.info(&format!("  {:<18} ok: {}", "GitLab jobs", finding.why));
        }
        Some(Outcome::Nothing(why)) => console.info(&format!("  {:<18} ok: {why}", "GitLab jobs")),
        None => {}
    }
    let changes = match &facts.changes {
        Some(Err(why)) => format!("not readable, so changes.* are absent: {why}"),
        _ => "ok: changes.* can be had".to_owned(),
    };
    console.info(&format!("  {:<18} {changes}", "GitLab deployments"));
    class
}
