//! `reconcile`: GitLab's own record of deployments is compared with what the services hold, and only differences are
//! written. At the end of a pipeline it also delivers what the pipeline's jobs could not, and tells the end of a deploy job
//! that could not tell it itself.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::Result;
use futures_util::future::join_all;
use serde_json::Value;

use super::{
    dispatch::Delivered,
    runner::{self, Runner},
    setup::{Setup, reader},
    switch::{self, Leaves},
};
use crate::{
    comparison::{
        portrait::Times,
        scope::Patterns,
        teller::{Project, Recorded, Teller},
    },
    delivery::{limits::Limits, result::DeliveryResult, session::Session},
    destinations::Target,
    environment::Environment,
    event::{Action, Event, scope::Names},
    facts::record::Recorder,
    gitlab::{api::GitLab, deployment::Deployment, slug},
    problem::{Problem, Unmade},
    report::{
        PROGRAM,
        class::{self, Class},
        console::Console,
    },
    settings::Reconciled,
    time::{self, timestamp},
    variables::{List, Window},
};

mod end;
mod lane;
mod records;
mod table;

use lane::Lane;
use records::{Record, records};
use table::{Fate, Table};

/// So many questions or writes are under way at the same time, to one service.
const AT_ONCE: usize = 8;
/// Where jobs leave their receipts, unless NOTIFY_OUTPUT_DIR says otherwise: the templates' folder.
const FOLDER: &str = ".notify-event";
/// Clocks differ: what was changed so long before the window may have been changed in it.
const SLACK: Duration = Duration::from_mins(1);

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
    console.info(&format!(
        "{PROGRAM}: reconcile, {}",
        plan.as_ref().map_or("nothing".to_owned(), Plan::told)
    ));
    runner::tell_unread(setup, &problems, &[]);
    if let Some(plan) = &plan {
        runner.limits = plan.limits(setup);
    }
    let mut outcome = Outcome::new(targets);
    runner::complain(console, &problems);
    let mut classes: Vec<Class> = problems.iter().map(|_| Class::Misconfigured).collect();
    let (Some(plan), Some(gitlab), Some(clients), true) = (&plan, &gitlab, &runner.clients, problems.is_empty()) else {
        let worst = class::worst(classes);
        let nothing = runner.deliver(None, Vec::new(), false, &|_, _| {}).await?;
        nothing.leave(class::exit_code(worst, setup.policy.on_error));
        return Ok(runner::conclude(console, setup.ending(), worst, "nothing was compared"));
    };
    let courier = clients.to_gitlab_throughout(console, runner.limits);
    let session = Session::shared();
    let recorder = Recorder {
        courier: &courier,
        session: &session,
    };
    let now = SystemTime::now();
    let asking = async {
        let projects = find_projects(setup, plan, gitlab, &recorder, &mut outcome).await;
        let records = find_records(setup, plan, &projects, &recorder, now, &mut outcome).await;
        (projects, records)
    };
    let asked = runner.stop.unless_asked(Box::pin(asking)).await;
    let (projects, records) = asked.unwrap_or_default();
    let teller = setup.teller();
    let scene = Scene {
        setup,
        teller: &teller,
        recorder: &recorder,
        projects: &projects,
        records: &records,
        now,
        is_dry,
    };
    let folder = setup.receipts_folder().unwrap_or_else(|| PathBuf::from(FOLDER));
    let left = match plan.scope {
        Scope::AtEnd(pipeline) => left_behind(&scene, &runner, pipeline, &folder, &mut outcome).await,
        Scope::Last(_) => None,
    };
    let told: Vec<end::Told> = match &left {
        Some(left) => outcome.unasked().flat_map(|target| left.ends(&scene, target)).collect(),
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
    let report = |_: usize, ended: &runner::Ended| runner::report(console, ended);
    let delivered = runner.deliver(None, deliveries, false, &report).await?;
    outcome.is_cut_off |= delivered.is_cut_off;
    let comparing = Box::pin(compare(&scene, &runner, plan, &folder, &mut outcome));
    if runner.stop.unless_asked(comparing).await.is_none() {
        outcome.is_cut_off = true;
    }
    classes.extend(outcome.report(console));
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
    folder: &Path,
    outcome: &mut Outcome,
) -> Option<end::LeftBehind> {
    let reading = Box::pin(end::LeftBehind::read(scene, runner, pipeline, folder));
    match runner.stop.unless_asked(reading).await? {
        Ok(left) => {
            let problems = left
                .problems
                .iter()
                .map(|problem| (Class::Unavailable, problem.to_string()));
            outcome.of_gitlab.extend(problems);
            Some(left)
        }
        Err(untold) => {
            let class = if untold.is_refusal {
                Class::Skipped
            } else {
                untold.class
            };
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
                minutes => format!("the last {} hours", minutes / 60),
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

/// What came of it, by target.
struct Outcome {
    targets: Vec<(Target, Table)>,
    /// What is said of GitLab, and what it means for the exit code.
    of_gitlab: Vec<(Class, String)>,
    is_cut_off: bool,
}

impl Outcome {
    fn new(targets: Vec<Target>) -> Self {
        Self {
            targets: targets.into_iter().map(|target| (target, Table::default())).collect(),
            of_gitlab: Vec::new(),
            is_cut_off: false,
        }
    }

    /// The targets that can't be compared.
    fn unasked(&self) -> impl Iterator<Item = Target> {
        let targets = self.targets.iter().map(|(target, _)| *target);
        targets.filter(|target| !Lane::fits(target))
    }

    /// Takes in what would be delivered.
    fn show(&mut self, delivery: &runner::Delivery<'_>) {
        let fate = match &delivery.plan {
            Ok(plan) => match &plan.skip {
                None => Fate::Shown(delivery.heading.clone().unwrap_or_default()),
                Some(why) => Fate::LeftAlone(why.clone()),
            },
            Err(Unmade::Nothing(why)) => Fate::LeftAlone(why.clone()),
            Err(why @ Unmade::Wrong(_)) => Fate::Failed(Class::Misconfigured, why.to_string()),
        };
        let mut tables = self.targets.iter_mut();
        let name = delivery.event.and_then(|event| event.id.clone()).unwrap_or_default();
        match tables.find(|(target, _)| target.is_like(&delivery.target)) {
            Some((_, table)) => table.add(name, fate),
            None => {
                let mut table = Table::default();
                table.add(name, fate);
                self.targets.push((delivery.target, table));
            }
        }
    }

    /// Prints the table, and tells what counts for the exit code.
    fn report(&self, console: &Console) -> Vec<Class> {
        for (class, line) in &self.of_gitlab {
            let line = if class.is_failure() {
                format!("  {:<18} {}: {line}", "GitLab", class.word())
            } else {
                format!("  {:<18} {line}", "GitLab")
            };
            console.line(&line);
        }
        for (target, table) in &self.targets {
            table.print(console, &target.label());
        }
        let of_gitlab = self.of_gitlab.iter().map(|(class, _)| *class);
        let required = self.targets.iter().filter(|(target, _)| !target.is_optional);
        let of_targets = required.map(|(_, table)| table.class());
        let of_stop = self.is_cut_off.then_some(Class::Unavailable);
        of_gitlab.chain(of_targets).chain(of_stop).collect()
    }

    /// What is written of each target into the receipt.
    fn results(&self) -> impl Iterator<Item = (Target, DeliveryResult)> {
        self.targets.iter().map(|(target, table)| {
            let detail = format!("reconcile: {}", table.counts());
            (*target, DeliveryResult::unsent(table.class(), detail, None))
        })
    }

    fn leave(&self, mut delivered: Delivered<'_>, exit_code: u8) {
        for (target, result) in self.results() {
            delivered.add(target, &result);
        }
        delivered.leave(exit_code);
    }

    fn summary(&self, is_dry: bool) -> String {
        let rows = || self.targets.iter().flat_map(|(_, table)| &table.rows);
        let count = |is: fn(&Fate) -> bool| rows().filter(|row| is(&row.fate)).count();
        let of = |is: fn(&Fate) -> bool, word: &str| format!("{} {word}", count(is));
        let repaired = if is_dry {
            of(|fate| matches!(fate, Fate::Shown(_)), "would be repaired")
        } else {
            of(|fate| matches!(fate, Fate::Repaired(_)), "repaired")
        };
        let mut parts = vec![
            of(|fate| *fate == Fate::Agreed, "agreed"),
            repaired,
            of(|fate| matches!(fate, Fate::LeftAlone(_)), "left alone"),
        ];
        let failed = count(|fate| matches!(fate, Fate::Failed(..)));
        if failed > 0 {
            parts.push(format!("{failed} failed"));
        }
        let what = if is_dry { "dry run, nothing was written: " } else { "" };
        let cut_off = if self.is_cut_off {
            "asked to end (SIGTERM): "
        } else {
            ""
        };
        format!("{cut_off}{what}{}", parts.join(", "))
    }
}

async fn compare(scene: &Scene<'_>, runner: &Runner<'_>, plan: &Plan, folder: &Path, outcome: &mut Outcome) {
    let Some(clients) = &runner.clients else { return };
    let services = clients.to_services(&scene.setup.console, runner.limits);
    let mut lanes: Vec<(usize, Lane)> = Vec::new();
    for (place, (target, table)) in outcome.targets.iter_mut().enumerate() {
        match Lane::new(scene, *target, &services) {
            Some(lane) => lanes.push((place, lane)),
            None if target.operation.is_read => {}
            None => table.add(target.destination.title, Fate::LeftAlone(unasked(target, &plan.scope))),
        }
    }
    let held = join_all(lanes.iter_mut().map(|(_, lane)| lane.begin(scene))).await;
    let mut missing: BTreeMap<usize, &Record> = BTreeMap::new();
    for ((_, lane), held) in lanes.iter().zip(&held) {
        missing.extend(lane.missing(held).map(|record| (record.number, record)));
    }
    let destinations: Vec<&str> = lanes.iter().map(|(_, lane)| lane.target.destination.name).collect();
    let missing: Vec<&Record> = missing.into_values().collect();
    let receipts = records::receipts(scene, missing, &destinations, folder).await;
    let finishing = lanes
        .iter_mut()
        .zip(held)
        .map(|((_, lane), held)| lane.finish(scene, held, &receipts));
    join_all(finishing).await;
    for (place, lane) in lanes {
        outcome.targets[place].1 = lane.table;
    }
}

/// What is said of a service that can't be compared.
fn unasked(target: &Target, scope: &Scope) -> String {
    let title = target.destination.title;
    match scope {
        Scope::AtEnd(_) => format!("{title} can't be asked what it holds"),
        Scope::Last(_) => format!(
            "{title} can't be asked what it holds; what a job could not deliver is in its artifacts: in its folder, \
             `notify-event replay {FOLDER}/undelivered` sends it"
        ),
    }
}

/// The projects whose deployments are compared.
async fn find_projects(
    setup: &Setup<'_>,
    plan: &Plan,
    gitlab: &GitLab,
    recorder: &Recorder<'_>,
    outcome: &mut Outcome,
) -> Vec<(Project, GitLab)> {
    let own = Project::of_job(setup.environment);
    let named = plan.projects.wanted();
    if matches!(plan.scope, Scope::AtEnd(_)) || named.is_empty() {
        return match own {
            Some(own) => {
                let gitlab = gitlab.of_project(&own.id);
                vec![(own, gitlab)]
            }
            None => {
                let what = "NOTIFY_RECONCILE_PROJECTS is not set, and this is no job of GitLab, which has CI_PROJECT_ID and \
                            CI_PROJECT_PATH: name the projects";
                outcome.of_gitlab.push((Class::Misconfigured, what.to_owned()));
                Vec::new()
            }
        };
    }
    let mut found: BTreeMap<String, (Project, GitLab)> = BTreeMap::new();
    for pattern in named {
        let is_of_job = |own: &&Project| own.path == *pattern || own.id == *pattern;
        if let Some(own) = own.as_ref().filter(is_of_job) {
            found.insert(own.path.clone(), (own.clone(), gitlab.of_project(&own.id)));
            continue;
        }
        let told = match pattern.split_once('*') {
            // Below which group it is to be looked: what stands before the part with the asterisk.
            Some((before, _)) => match before.rsplit_once('/') {
                Some((group, _)) => recorder.projects_of(gitlab, group).await,
                None => {
                    let what = format!("NOTIFY_RECONCILE_PROJECTS names `{pattern}`: name the group, as in `group/*`");
                    outcome.of_gitlab.push((Class::Misconfigured, what));
                    continue;
                }
            },
            None => {
                let about = recorder.about(&gitlab.of_project(pattern)).await;
                about.map(|project| vec![Value::clone(&project)])
            }
        };
        match told {
            Ok(projects) => {
                let before = found.len();
                for project in projects.iter().filter_map(project_of) {
                    let fits = crate::text::matches(pattern, &project.path) || project.id == *pattern;
                    if fits && !plan.projects.leave_out(&project.path) {
                        let gitlab = gitlab.of_project(&project.id);
                        found.insert(project.path.clone(), (project, gitlab));
                    }
                }
                if found.len() == before && pattern.contains('*') {
                    let line = format!("NOTIFY_RECONCILE_PROJECTS: `{pattern}` fits no project that can be seen");
                    outcome.of_gitlab.push((Class::Skipped, line));
                }
            }
            Err(untold) => {
                let class = if untold.is_refusal {
                    Class::Misconfigured
                } else {
                    untold.class
                };
                let line = format!("NOTIFY_RECONCILE_PROJECTS names `{pattern}`: {}", untold.why);
                outcome.of_gitlab.push((class, line));
            }
        }
    }
    found.into_values().collect()
}

fn project_of(json: &Value) -> Option<Project> {
    let path = json["path_with_namespace"].as_str()?.to_owned();
    Some(Project {
        id: json["id"].as_u64()?.to_string(),
        slug: slug::path(&path),
        url: json["web_url"].as_str().map(str::to_owned),
        path,
    })
}

/// GitLab's record of the projects. What can't be had of one is told, and the others are compared all the same.
async fn find_records(
    setup: &Setup<'_>,
    plan: &Plan,
    projects: &[(Project, GitLab)],
    recorder: &Recorder<'_>,
    now: SystemTime,
    outcome: &mut Outcome,
) -> Vec<Record> {
    let created = setup
        .environment
        .predefined("CI_PIPELINE_CREATED_AT")
        .and_then(time::parse);
    let since = match plan.scope {
        Scope::Last(window) => now.checked_sub(window),
        // GitLab says when; where it doesn't, no pipeline lasts longer.
        Scope::AtEnd(_) => created.or_else(|| now.checked_sub(Duration::from_hours(24 * 90))),
    };
    let since = timestamp(
        since
            .and_then(|since| since.checked_sub(SLACK))
            .unwrap_or(SystemTime::UNIX_EPOCH),
    );
    let mut all: Vec<Record> = Vec::new();
    let mut gone = 0;
    for (place, (project, gitlab)) in projects.iter().enumerate() {
        let deployments = match recorder.since(gitlab, &since).await {
            Ok(deployments) => deployments,
            Err(untold) => {
                let is_end = matches!(plan.scope, Scope::AtEnd(_));
                let class = match untold.is_refusal {
                    true if is_end => Class::Skipped,
                    true => Class::Misconfigured,
                    false => untold.class,
                };
                let line = format!("the deployments of {} can't be read: {}", project.path, untold.why);
                outcome.of_gitlab.push((class, line));
                continue;
            }
        };
        let is_wanted = |pipeline: u64, environment: &str, job: &str| {
            let is_of_scope = match plan.scope {
                Scope::AtEnd(own) => own == pipeline,
                Scope::Last(_) => true,
            };
            is_of_scope && plan.environments.fit(environment) && plan.jobs.fit(job)
        };
        let (records, without_job) = records(place, deployments, is_wanted);
        gone += without_job;
        if projects.len() > 1 {
            let count = records.iter().filter(|record| record.is_wanted).count();
            setup.console.info(&format!(
                "  {:<18} {}: {count} deployed by a job",
                "GitLab", project.path
            ));
        }
        all.extend(records);
    }
    for (number, record) in all.iter_mut().enumerate() {
        record.number = number;
    }
    if gone > 0 {
        let line = format!("left alone: {gone} deployments whose job was deleted");
        outcome.of_gitlab.push((Class::Skipped, line));
    }
    let environments = all.iter().map(|record| record.environment.as_str());
    let jobs = all.iter().map(|record| record.job.as_str());
    let idle = [plan.environments.idle(environments), plan.jobs.idle(jobs)];
    outcome
        .of_gitlab
        .extend(idle.into_iter().flatten().map(|line| (Class::Skipped, line)));
    all
}
