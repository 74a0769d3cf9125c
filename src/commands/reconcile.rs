//! `reconcile`: GitLab's own record of deployments is compared with what the services hold, and only differences are
//! written. At the end of a pipeline it also delivers what the pipeline's jobs could not, and tells the end of a deploy job
//! that could not tell it itself.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::Result;
use futures_util::future::{join, join_all};

use super::{
    runner::{self, Runner},
    setup::{Clients, Setup, reader},
    switch::{self, Leaves},
};
use crate::{
    comparison::{
        portrait::Times,
        scope::Patterns,
        teller::{Project, Recorded, Teller},
    },
    delivery::{courier::Courier, limits::Limits, session::Session},
    destinations::Target,
    environment::Environment,
    event::{Action, Event, scope::Names},
    facts::record::Recorder,
    gitlab::{api::GitLab, deployment::Deployment},
    problem::{Problem, Unmade},
    report::{
        PROGRAM,
        class::{self, Class},
    },
    settings::Reconciled,
    variables::{List, Window},
};

mod end;
mod lane;
mod reading;
mod records;
mod table;

use lane::Lane;
use reading::{find_projects, find_records};
use records::Record;
use table::{Fate, Outcome, Table};

/// So many questions or writes are under way at the same time, to one service.
const AT_ONCE: usize = 8;
/// Where the templates' jobs leave their receipts; those of one's own where `NOTIFY_OUTPUT_DIR` says.
const FOLDER: &str = ".notify-event";
/// What is compared.
enum Scope {
    /// The deployments of this pipeline, at its end.
    AtEnd(u64),
    /// Those that were changed within this time.
    Last(Duration),
}

/// What everything works with.
pub struct Scene<'a> {
    setup: &'a Setup<'a>,
    teller: &'a Teller<'a>,
    recorder: &'a Recorder<'a>,
    projects: &'a [(Project, GitLab)],
    records: &'a [Record],
    /// Which jobs count.
    jobs: &'a Patterns,
    now: SystemTime,
    is_dry: bool,
}

impl Scene<'_> {
    /// The event of a record's report, and the names for what is made from it.
    fn tell(
        &self,
        (record, source_branch): (&Record, Option<&str>),
        deployment: &Deployment,
        (action, times): (&Action, Times),
        id: Option<&str>,
    ) -> (Result<Event, Unmade>, Names) {
        let before = record.attempts.iter().take_while(|one| one.id < deployment.id).count();
        let recorded = Recorded {
            project: &self.projects[record.project].0,
            deployment,
            attempt: u32::try_from(before + 1).unwrap_or(u32::MAX),
            source_branch,
        };
        self.teller.tell(recorded, action, times, id)
    }

    /// The source branch of a merge request's deployment.
    async fn source_branch(&self, record: &Record, deployment: &Deployment) -> Option<String> {
        let gitlab = &self.projects[record.project].1;
        self.recorder.source_branch(gitlab, deployment.merge_request()?).await
    }

    /// Why an action is not told, if somebody said that it is not worth telling.
    fn leaves_out(&self, action: &Action) -> Option<String> {
        let List(words) = self.setup.policy.only.as_ref()?;
        let is_wanted = words.iter().any(|word| Action::from_word(word) == *action);
        (!is_wanted).then(|| format!("NOTIFY_ONLY={} leaves {action} out", words.join(",")))
    }
}

/// Compares, and repairs; `dry_run` shows what would be repaired.
///
/// # Errors
/// What no user can mend.
pub fn reconcile(environment: &Environment, dry_run: bool) -> Result<u8> {
    let leaves = if dry_run { Leaves::Nothing } else { Leaves::Receipt };
    if let Some(code) = switch::end(environment, &[], leaves) {
        return Ok(code);
    }
    match Setup::read(environment) {
        Ok(setup) => runner::block_on(run(&setup, dry_run))?,
        Err(unusable) => Ok(runner::give_up(&unusable, "nothing was compared")),
    }
}

/// What was read, and what is wrong with it.
struct Plan {
    scope: Scope,
    projects: Patterns,
    environments: Patterns,
    jobs: Patterns,
}

fn read(setup: &Setup) -> Result<Plan, Vec<Problem>> {
    let settings = reader(setup.environment).read::<Reconciled>()?;
    let projects = Patterns::new("NOTIFY_RECONCILE_PROJECTS", settings.projects.as_ref());
    let environments = Patterns::new("NOTIFY_RECONCILE_ENVIRONMENTS", settings.environments.as_ref());
    let jobs = Patterns::new("NOTIFY_RECONCILE_JOBS", settings.jobs.as_ref());
    let pipeline = setup
        .environment
        .predefined("CI_PIPELINE_ID")
        .and_then(|id| id.parse().ok());
    let scope = match (settings.since, pipeline) {
        (Window::Last(window), _) => Ok(Scope::Last(window)),
        (Window::Pipeline, Some(pipeline)) => Ok(Scope::AtEnd(pipeline)),
        (Window::Pipeline, None) => Err(Problem::new(
            "NOTIFY_RECONCILE_SINCE",
            "is `pipeline`, and CI_PIPELINE_ID is not set, as it is in every job of GitLab: give a window, as in 48h",
        )),
    };
    match (projects, environments, jobs, scope) {
        (Ok(projects), Ok(environments), Ok(jobs), Ok(scope)) => Ok(Plan {
            scope,
            projects,
            environments,
            jobs,
        }),
        (projects, environments, jobs, scope) => {
            let problems = [projects.err(), environments.err(), jobs.err(), scope.err()];
            Err(problems.into_iter().flatten().collect())
        }
    }
}

async fn run(setup: &Setup<'_>, dry_run: bool) -> Result<u8> {
    let console = &setup.console;
    let is_dry = dry_run || setup.policy.dry_run.0;
    let (targets, mut problems) = setup.targets(Vec::new());
    let plan = read(setup).map_err(|of_plan| problems.extend(of_plan)).ok();
    let gitlab = setup
        .gitlab_record()
        .map_err(|why| problems.push(Problem::new("GitLab", format!("can't be asked: {why}"))))
        .ok();
    let (mut runner, of_runner) = Runner::new(setup, &[], !is_dry);
    problems.extend(of_runner);
    let what = plan.as_ref().map(|plan| format!(", {}", plan.told()));
    console.info(&format!("{PROGRAM}: reconcile{}", what.unwrap_or_default()));
    runner::tell_unread(setup, &problems, &[]);
    if let Some(plan) = &plan {
        runner.limits = plan.limits(setup);
    }
    let outcome = Outcome::new(targets);
    runner::complain(console, &problems);
    let (Some(plan), Some(gitlab), Some(clients), true) = (&plan, &gitlab, &runner.clients, problems.is_empty()) else {
        let worst = Class::Misconfigured;
        let nothing = runner.deliver(None, Vec::new(), false, &|_, _| {}).await?;
        nothing.leave(class::exit_code(worst, setup.policy.on_error));
        return Ok(runner::conclude(console, setup.ending(), worst, "nothing was compared"));
    };
    Box::pin(work(&runner, (plan, gitlab, clients), outcome, is_dry)).await
}

/// Does it, once it is known what and how.
async fn work(
    runner: &Runner<'_>,
    (plan, gitlab, clients): (&Plan, &GitLab, &Clients),
    mut outcome: Outcome,
    is_dry: bool,
) -> Result<u8> {
    let setup = runner.setup;
    let console = &setup.console;
    let courier = clients.to_gitlab_throughout(console, runner.limits);
    let session = Session::shared();
    let mut folders: Vec<PathBuf> = setup.receipts_folder().into_iter().collect();
    if !folders.iter().any(|folder| folder == Path::new(FOLDER)) {
        folders.push(PathBuf::from(FOLDER));
    }
    let recorder = Recorder {
        courier: &courier,
        session: &session,
        folders: &folders,
    };
    let now = SystemTime::now();
    let asking = async {
        let projects = find_projects(setup, plan, gitlab, &recorder, &mut outcome).await;
        let records = find_records(setup, plan, &projects, &recorder, now, &mut outcome).await;
        (projects, records)
    };
    let asked = runner.stop.unless_asked(Box::pin(asking)).await;
    outcome.is_cut_off = asked.is_none();
    let (projects, records) = asked.unwrap_or_default();
    let teller = setup.teller();
    let scene = Scene {
        setup,
        teller: &teller,
        recorder: &recorder,
        projects: &projects,
        records: &records,
        jobs: &plan.jobs,
        now,
        is_dry,
    };
    let left = match plan.scope {
        Scope::AtEnd(pipeline) => left_behind(&scene, runner, pipeline, &mut outcome).await,
        Scope::Last(_) => None,
    };
    let told: Vec<end::Told> = match &left {
        Some(left) => {
            let unasked = outcome.unasked();
            unasked
                .flat_map(|(target, table)| left.ends(&scene, target, table))
                .collect()
        }
        None => Vec::new(),
    };
    let mut deliveries = left
        .as_ref()
        .map(|left| left.deliveries(setup, &told))
        .unwrap_or_default();
    if is_dry {
        for delivery in deliveries.drain(..) {
            outcome.show(&delivery);
        }
    }
    let services = clients.to_services(console, runner.limits);
    // They outlive the comparison: what was written before somebody asked to end is told all the same.
    let mut lanes = lanes(&scene, &services, plan, &mut outcome);
    // What was kept for a service goes there before it is compared; the others need not wait for that.
    let waits = |lane: &Lane| {
        let name = lane.target.destination.name;
        deliveries
            .iter()
            .any(|delivery| delivery.target.destination.name == name)
    };
    let (mut late, mut early): (Vec<_>, Vec<_>) = lanes.drain(..).partition(|(_, lane)| waits(lane));
    let report = |_: usize, ended: &runner::Ended| runner::report(console, ended);
    let delivering = runner.deliver(None, deliveries, false, &report);
    let (delivered, is_cut_off) = join(delivering, compare(&scene, runner, &mut early)).await;
    let delivered = delivered?;
    let is_cut_off = compare(&scene, runner, &mut late).await || is_cut_off;
    outcome.is_cut_off |= delivered.is_cut_off || is_cut_off;
    let is_unread = outcome.of_gitlab.iter().any(|(class, _)| class.is_failure());
    for (place, lane) in early.into_iter().chain(late) {
        let table = lane.end(is_cut_off);
        outcome.targets[place].1 = Table { is_unread, ..table };
    }
    let mut classes = outcome.report(console);
    classes.extend(runner::of_required(&delivered.ended));
    let worst = class::worst(classes);
    let mut what = outcome.summary(is_dry);
    if !delivered.ended.is_empty() {
        what = format!("{what}; of what was not told: {}", runner::tally(&delivered.ended));
    }
    outcome.leave(delivered, class::exit_code(worst, setup.policy.on_error));
    Ok(runner::conclude(console, setup.ending(), worst, &what))
}

/// What the pipeline's jobs left behind, as far as GitLab shows it.
async fn left_behind(
    scene: &Scene<'_>,
    runner: &Runner<'_>,
    pipeline: u64,
    outcome: &mut Outcome,
) -> Option<end::LeftBehind> {
    let reading = Box::pin(end::LeftBehind::read(scene, runner, pipeline));
    match runner.stop.unless_asked(reading).await? {
        Ok(left) => {
            outcome.of_gitlab.extend(left.notes.iter().cloned());
            Some(left)
        }
        Err(untold) => {
            let class = untold.class_or(Class::Skipped);
            let line = format!(
                "what the pipeline's jobs kept is not delivered, for they can't be listed: {}",
                untold.why
            );
            outcome.of_gitlab.push((class, line));
            None
        }
    }
}

impl Plan {
    /// What is compared, in words.
    fn told(&self) -> String {
        match self.scope {
            Scope::AtEnd(pipeline) => format!("pipeline {pipeline}"),
            Scope::Last(window) => match window.as_secs() / 60 {
                minutes if minutes % 60 > 0 => format!("the last {minutes} minutes"),
                minutes if minutes % (24 * 60) > 0 || minutes < 3 * 24 * 60 => {
                    format!("the last {} hours", minutes / 60)
                }
                minutes => format!("the last {} days", minutes / (24 * 60)),
            },
        }
    }

    fn limits(&self, setup: &Setup) -> Limits {
        match self.scope {
            Scope::AtEnd(_) => setup.limits(),
            Scope::Last(_) => setup.long_limits(),
        }
    }
}

/// The services that are compared, each with the place of its table.
fn lanes<'a>(
    scene: &Scene<'a>,
    services: &'a Courier<'a>,
    plan: &Plan,
    outcome: &mut Outcome,
) -> Vec<(usize, Lane<'a>)> {
    let mut lanes: Vec<(usize, Lane)> = Vec::new();
    for (place, (target, table)) in outcome.targets.iter_mut().enumerate() {
        let is_taken = lanes
            .iter()
            .any(|(_, lane)| lane.target.destination.name == target.destination.name);
        match Lane::new(scene, *target, services).filter(|_| !is_taken) {
            Some(lane) => lanes.push((place, lane)),
            None if target.operation.is_read || is_taken => {}
            None => {
                if let Some(why) = unasked(target, &plan.scope) {
                    table.add(target.destination.title, Fate::LeftAlone(why));
                }
            }
        }
    }
    lanes
}

/// Compares, each service by itself: one that hangs holds up no other. Whether it was cut off.
async fn compare<'a>(scene: &Scene<'a>, runner: &Runner<'_>, lanes: &mut [(usize, Lane<'a>)]) -> bool {
    let comparing = join_all(lanes.iter_mut().map(|(_, lane)| lane.run(scene)));
    runner.stop.unless_asked(Box::pin(comparing)).await.is_none()
}

/// What is said of a service that can't be compared. At the end of a pipeline, what is left to do is done by then.
fn unasked(target: &Target, scope: &Scope) -> Option<String> {
    match scope {
        Scope::AtEnd(_) => None,
        Scope::Last(_) if target.destination.register.is_some() => {
            Some(format!("{} is no report of a deployment's entity", target.label()))
        }
        Scope::Last(_) => Some(format!(
            "can't be asked what it holds, so nothing is sent; what a job could not deliver is in its artifacts: \
             with them, `notify-event replay {FOLDER}/undelivered` sends it"
        )),
    }
}
