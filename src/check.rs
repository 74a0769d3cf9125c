//! `check`: a preflight. The variables are read as a run would read them, and every service is asked by a harmless
//! read; nothing is written anywhere.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::{
    delivery::courier::Session,
    destinations::{CHECK, Target},
    environment::Environment,
    event::{Action, Told},
    gitlab::{lookup::Lookup, outcome::Finding},
    report::class::{self, Class},
    run::{self, Clients},
    setup::Setup,
};

/// Checks the named destinations, or those that a run would send to.
///
/// # Errors
/// What no user can mend.
pub fn check(environment: &Environment, named: Vec<Target>) -> Result<u8> {
    match Setup::read(environment) {
        Ok(setup) => run::block_on(check_all(setup, named)),
        Err((console, on_error, problems)) => Ok(run::give_up(&console, on_error, &problems, "nothing can be sent")),
    }
}

async fn check_all(mut setup: Setup<'_>, named: Vec<Target>) -> u8 {
    let limits = setup.limits();
    let console = setup.console.clone();
    let (targets, mut problems) = setup.targets(named);
    let clients = match Clients::new(&setup) {
        Ok(clients) => clients,
        Err(of_network) => {
            problems.extend(of_network);
            return run::give_up(&console, setup.policy.on_error, &problems, "nothing can be sent");
        }
    };
    let to_gitlab = clients.to_gitlab(&console, limits);
    let lookup = Lookup::new(setup.gitlab_api(), Some(&to_gitlab));
    let mut classes = Vec::new();
    let (place, now) = setup.context.place_and_time();
    let changes = lookup.changes(place.as_deref(), &now).await;
    let changes_line = match &changes {
        Ok(_) => "ok: changes.* can be had".to_owned(),
        Err(why) => format!("not readable, so changes.* are absent: {why}"),
    };
    setup.context.changed(changes);
    let needs_gitlab = needs_gitlab(&mut setup, &targets);
    classes.extend(check_gitlab(&setup, &lookup, needs_gitlab).await);
    console.info(&format!("  {:<18} {changes_line}", "GitLab deployments"));
    let event = match setup.context.event() {
        Ok(event) => Some(event),
        Err(of_event) => {
            problems.extend(of_event);
            None
        }
    };
    run::complain(&console, &problems);
    classes.extend(problems.iter().map(|_| Class::Misconfigured));
    let courier = clients.to_services(&console, limits);
    let mut sessions: BTreeMap<&str, Session> = BTreeMap::new();
    for target in &targets {
        let Some(event) = &event else { break };
        let reader = setup.reader(target);
        // What the run itself would send has to be right too.
        let reads = run::plan(&setup, target, event, &reader, false)
            .and_then(|_| run::ordered(&setup, target, CHECK, event, &reader, false));
        let outcome = match reads {
            Ok(plan) => {
                let session = sessions.entry(target.destination.name).or_default();
                courier.deliver(target.destination.name, plan, session).await
            }
            Err(problems) => run::misconfigured(&problems),
        };
        if outcome.class.is_failure() {
            run::report(&console, target, &outcome);
        } else {
            let note = outcome.detail.unwrap_or_default();
            let status = outcome
                .status
                .map(|status| format!(" (HTTP {status})"))
                .unwrap_or_default();
            console.info(&format!("  {:<18} ok{status}: {note}", target.label()));
        }
        if !target.is_optional {
            classes.push(outcome.class);
        }
    }
    let failures = classes.iter().filter(|class| class.is_failure()).count();
    let what = match failures {
        0 => "everything is ready".to_owned(),
        1 => "1 thing is not ready".to_owned(),
        count => format!("{count} things are not ready"),
    };
    run::conclude(
        &console,
        setup.policy.on_error,
        class::worst(classes),
        &format!("{what}, nothing was written"),
    )
}

/// Whether a run would have to ask GitLab what happened. For the check of everything else, a success is assumed then.
fn needs_gitlab(setup: &mut Setup, targets: &[Target]) -> bool {
    setup.context.take_asked();
    if let Ok(event) = setup.context.event() {
        for target in targets {
            // Only the question counts here: what else is wrong is reported later.
            let _ = run::plan(setup, target, &event, &setup.reader(target), false);
        }
    }
    let asked = setup.context.take_asked();
    if asked {
        setup.context.told(Told::Happened(Box::new(Finding {
            action: Action::Success,
            why: "assumed for the check".to_owned(),
            job: None,
            job_url: None,
            attempt: 1,
            started_at: None,
            finished_at: None,
            duration: None,
            queued: None,
            started_by: None,
        })));
    }
    asked
}

/// What GitLab's API shows of the jobs. Only what a run would need is a failure.
async fn check_gitlab(setup: &Setup<'_>, lookup: &Lookup<'_>, is_needed: bool) -> Option<Class> {
    let console = &setup.console;
    let jobs = lookup.outcome().await;
    match &jobs {
        Told::Unknown(why) if is_needed => {
            console.line(&format!(
                "  {:<18} {}: EVENT_ACTION is auto, and {why}",
                "GitLab jobs",
                Class::Misconfigured.word()
            ));
            Some(Class::Misconfigured)
        }
        Told::Unknown(why) => {
            console.info(&format!(
                "  {:<18} not readable, and not needed here: {why}",
                "GitLab jobs"
            ));
            None
        }
        Told::Happened(finding) => {
            console.info(&format!("  {:<18} ok: {}", "GitLab jobs", finding.why));
            None
        }
        Told::Nothing(why) => {
            console.info(&format!("  {:<18} ok: {why}", "GitLab jobs"));
            None
        }
        Told::NotAsked => None,
    }
}
