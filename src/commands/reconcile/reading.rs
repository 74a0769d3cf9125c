//! GitLab's record, read: which projects, and what was deployed in them.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use serde_json::Value;

use super::{
    Plan, Scope,
    records::{Record, records},
    table::Outcome,
};
use crate::{
    commands::setup::Setup,
    comparison::teller::Project,
    facts::record::Recorder,
    gitlab::{api::GitLab, slug},
    report::class::Class,
    text::matches,
    time,
};

/// Clocks differ: what was changed so long before the window may have been changed in it.
const SLACK: Duration = Duration::from_mins(1);

/// The projects whose deployments are compared.
pub async fn find_projects(
    setup: &Setup<'_>,
    plan: &Plan,
    gitlab: &GitLab,
    recorder: &Recorder<'_>,
    outcome: &mut Outcome,
) -> Vec<(Project, GitLab)> {
    let own = Project::of_job(setup.environment);
    let named = plan.projects.wanted();
    if matches!(plan.scope, Scope::AtEnd(_)) || named.is_empty() {
        let Some(own) = own else {
            let what = "NOTIFY_RECONCILE_PROJECTS is not set, and this is no job of GitLab, which has CI_PROJECT_ID and \
                        CI_PROJECT_PATH: name the projects";
            outcome.of_gitlab.push((Class::Misconfigured, what.to_owned()));
            return Vec::new();
        };
        let gitlab = gitlab.of_project(&own.id);
        return vec![(own, gitlab)];
    }
    let mut found: BTreeMap<String, (Project, GitLab)> = BTreeMap::new();
    for pattern in named {
        let is_of_job = |own: &&Project| own.path == *pattern || own.id == *pattern;
        if let Some(own) = own.as_ref().filter(is_of_job) {
            found.insert(own.path.clone(), (own.clone(), gitlab.of_project(&own.id)));
            continue;
        }
        let told = if let Some((before, _)) = pattern.split_once('*') {
            // Below which group it is to be looked: what stands before the part with the asterisk.
            let Some((group, _)) = before.rsplit_once('/') else {
                let what = format!("NOTIFY_RECONCILE_PROJECTS names `{pattern}`: name the group, as in `group/*`");
                outcome.of_gitlab.push((Class::Misconfigured, what));
                continue;
            };
            recorder.projects_of(gitlab, group).await
        } else {
            match recorder.about(&gitlab.of_project(pattern)).await {
                // A job token may read another project's deployments, and nothing that says what it is.
                Err(untold) if untold.is_refusal() && pattern.contains('/') => {
                    found.insert(pattern.clone(), (Project::called(pattern), gitlab.of_project(pattern)));
                    continue;
                }
                about => about.map(|project| vec![Value::clone(&project)]),
            }
        };
        match told {
            Ok(projects) => {
                let before = found.len();
                for project in projects.iter().filter_map(project_of) {
                    let fits = matches(pattern, &project.path) || project.id == *pattern;
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
                let class = untold.class_or(Class::Misconfigured);
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
pub async fn find_records(
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
    let since = since
        .and_then(|since| since.checked_sub(SLACK))
        .unwrap_or(SystemTime::UNIX_EPOCH);
    let mut all: Vec<Record> = Vec::new();
    let mut gone = 0;
    for (place, (project, gitlab)) in projects.iter().enumerate() {
        let deployments = match recorder.since(gitlab, since).await {
            Ok(deployments) => deployments,
            Err(untold) => {
                let class = untold.class_or(match plan.scope {
                    Scope::AtEnd(_) => Class::Skipped,
                    Scope::Last(_) => Class::Misconfigured,
                });
                let is_own = setup.environment.predefined("CI_PROJECT_PATH") == Some(&project.path);
                let named = if is_own {
                    ""
                } else {
                    ", which NOTIFY_RECONCILE_PROJECTS names,"
                };
                let line = format!(
                    "the deployments of {}{named} can't be read: {}",
                    project.path, untold.why
                );
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
        let of = if gone == 1 { "deployment" } else { "deployments" };
        let line = format!("left alone: {gone} {of} whose job was deleted");
        outcome.of_gitlab.push((Class::Skipped, line));
    }
    if matches!(plan.scope, Scope::AtEnd(_)) {
        // A pipeline has some of what there is, and need not have what a group's patterns name.
        return all;
    }
    let environments = all.iter().map(|record| record.environment.as_str());
    let jobs = all.iter().map(|record| record.job.as_str());
    let idle = [plan.environments.idle(environments), plan.jobs.idle(jobs)];
    outcome
        .of_gitlab
        .extend(idle.into_iter().flatten().map(|line| (Class::Skipped, line)));
    all
}
