//! GitLab's records, each of one job's deployment by one pipeline, and the receipts that tell where its entity is.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, SystemTime},
};

use futures_util::{StreamExt as _, stream};

use super::{AT_ONCE, Scene};
use crate::{
    event::Action,
    facts::record::{Left, Recorder, Untold},
    gitlab::{
        api::GitLab,
        deployment::{Deployment, Meaning, meaning},
        job::Job,
        outcome::is_part,
    },
    receipts::receipt::{Entry, Receipt},
    report::class::Class,
};

/// More jobs of a pipeline than this are not looked into for receipts.
const MOST_JOBS: usize = 100;

/// The deployments of one job of one pipeline to one environment: its attempts.
#[derive(Debug)]
pub struct Record {
    /// Its place among all records.
    pub number: usize,
    /// The place of its project among all projects.
    pub project: usize,
    /// The pipeline's id.
    pub pipeline: u64,
    /// The environment's name.
    pub environment: String,
    /// The job's name.
    pub job: String,
    /// The attempts, in the order of their ids.
    pub attempts: Vec<Deployment>,
    /// Whether it is to be compared; the others only tell what is newer.
    pub is_wanted: bool,
}

impl Record {
    /// What it means.
    pub fn meaning(&self, now: SystemTime) -> Meaning<'_> {
        meaning(&self.attempts, now)
    }

    /// What it is called where no entity is known.
    pub fn name(&self, scene: &Scene<'_>) -> String {
        self.name_at(scene, None)
    }

    /// What it is called: by its entity, and else by what it is of.
    pub fn name_at(&self, scene: &Scene<'_>, place: Option<&(String, String)>) -> String {
        if let Some((_, identifier)) = place {
            return identifier.clone();
        }
        let project = &scene.projects[self.project].0.path;
        format!("{project} #{}, `{}` to {}", self.pipeline, self.job, self.environment)
    }

    /// Whether it is of the same pipeline as another one.
    pub fn is_of_pipeline_of(&self, other: &Self) -> bool {
        (self.project, self.pipeline) == (other.project, other.pipeline)
    }

    /// Whether it is of the same pipeline and environment as another one.
    pub fn is_of_place_of(&self, other: &Self) -> bool {
        self.is_of_pipeline_of(other) && self.environment == other.environment
    }

    /// Whether it is the same as another one, read at another time.
    pub fn is_that_of(&self, other: &Self) -> bool {
        self.is_of_place_of(other) && self.job == other.job
    }

    /// Nothing of it was made before this.
    pub fn begins(&self) -> SystemTime {
        let of_one = |one: &Deployment| {
            let of_pipeline = one.made_by.as_ref().and_then(|by| by.pipeline_created_at);
            of_pipeline.or(one.created_at)
        };
        let first = self.attempts.iter().map(of_one).min().flatten();
        let first = first.and_then(|first| first.checked_sub(Duration::from_mins(1)));
        first.unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// Whether the record still says the same, by all deployments to its environment as they are `now`.
    pub fn is_still(&self, now: &[Deployment], deployment: &Deployment, action: &Action, moment: SystemTime) -> bool {
        let is_ours = |one: &&Deployment| {
            let by = one.made_by.as_ref();
            by.is_some_and(|by| by.pipeline == self.pipeline && by.job.name == self.job)
        };
        let attempts: Vec<Deployment> = now.iter().filter(is_ours).cloned().collect();
        let is_same = |one: &Deployment, other: &Action| {
            let times = |one: &Deployment| one.made_by.as_ref().map(|by| by.deploy_job(action, 1));
            one.id == deployment.id && other == action && times(one) == times(deployment)
        };
        match meaning(&attempts, moment) {
            Meaning::Happened(one, other) | Meaning::Unstarted(one, other) => is_same(one, &other),
            Meaning::Nothing | Meaning::Unclear(_) => false,
        }
    }
}

/// The records that the deployments of a project are. `is_wanted` says of one by pipeline, environment and job whether it is
/// to be compared. And how many there are whose job is deleted.
pub fn records(
    project: usize,
    deployments: Vec<Deployment>,
    is_wanted: impl Fn(u64, &str, &str) -> bool,
) -> (Vec<Record>, usize) {
    let mut gone = 0;
    let mut by_job: BTreeMap<(u64, String, String), Vec<Deployment>> = BTreeMap::new();
    for deployment in deployments {
        match &deployment.made_by {
            Some(by) => {
                let key = (by.pipeline, deployment.environment.clone(), by.job.name.clone());
                by_job.entry(key).or_default().push(deployment);
            }
            None => gone += 1,
        }
    }
    let records = by_job
        .into_iter()
        .map(|((pipeline, environment, job), attempts)| Record {
            number: 0,
            project,
            pipeline,
            is_wanted: is_wanted(pipeline, &environment, &job),
            environment,
            job,
            attempts,
        });
    (records.collect(), gone)
}

/// What a receipt speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// The very job.
    OfJob,
    /// The environment, and no job: it is the job's as long as no other one deploys there.
    OfEnvironment,
}

/// What receipts tell of records, by the number of each.
#[derive(Debug, Default)]
pub struct Receipts {
    /// The receipts that tell of it, the one that counts most first.
    pub told: BTreeMap<usize, Vec<(Says, Receipt)>>,
    /// Why it can't be known now whether one tells of it: a later run will.
    pub unread: BTreeMap<usize, String>,
}

/// The receipts that tell where the entities of `missing` records are at a destination, for each by its number, the one that counts most
/// first: of its own job; else of a report that names this job; else of a report of its environment that names no job,
/// where no other job deploys there. Each holds what it says of this record, and nothing else.
pub async fn receipts(scene: &Scene<'_>, missing: Vec<&Record>, destination: &str) -> Receipts {
    let own = stream::iter(missing.iter().copied()).map(|record| async move {
        let gitlab = &scene.projects[record.project].1;
        (record, own_receipt(scene.recorder, gitlab, record).await)
    });
    let own: Vec<(&Record, Result<Option<Receipt>, String>)> = own.buffer_unordered(AT_ONCE).collect().await;
    let names_it = |receipt: &Receipt| {
        let mut entries = receipt.entries();
        entries.any(|entry| entry.destination == destination && entry.names_entity())
    };
    let mut pipelines: BTreeMap<(usize, u64), Vec<&Record>> = BTreeMap::new();
    let Receipts { mut told, mut unread } = Receipts::default();
    for (record, receipt) in own {
        let receipt = receipt.unwrap_or_else(|why| {
            unread.insert(record.number, why);
            None
        });
        if !receipt.as_ref().is_some_and(names_it) {
            pipelines
                .entry((record.project, record.pipeline))
                .or_default()
                .push(record);
        }
        let own = receipt.map(|receipt| (Says::OfJob, receipt));
        told.entry(record.number).or_default().extend(own);
    }
    let reports = stream::iter(pipelines).map(|((project, pipeline), records)| async move {
        let gitlab = &scene.projects[project].1;
        (records, all_receipts(scene.recorder, gitlab, pipeline).await)
    });
    let reports: Vec<_> = reports.buffer_unordered(AT_ONCE).collect().await;
    for (records, (receipts, why)) in reports {
        for record in records {
            if let Some(why) = &why {
                unread.insert(record.number, why.clone());
            }
            let is_of_run = |entry: &Entry| {
                let page = entry.deploy_run.as_ref().and_then(|run| run.job_url.as_deref());
                let pages = record
                    .attempts
                    .iter()
                    .filter_map(|one| one.made_by.as_ref()?.job.web_url.as_deref());
                page.is_some_and(|page| pages.into_iter().any(|own| own == page))
            };
            let names_job = |receipt: &Receipt| {
                let job = receipt.event.as_ref().and_then(|event| event["job"].as_str());
                job.is_some_and(|job| job == record.job || is_part(&record.job, job))
            };
            // Filters leave jobs out of the comparison, not out of the environment. But a job that left the receipt reports,
            // whatever GitLab takes it for.
            let is_by = |other: &Record, receipt: &Receipt| {
                let jobs = other.attempts.iter().filter_map(|one| one.made_by.as_ref());
                jobs.map(|by| by.job.id.to_string())
                    .any(|id| receipt.origin.job_id.as_deref() == Some(&id))
            };
            let of_environment = |receipt: &&Receipt| {
                let says = |field: &str| receipt.event.as_ref().and_then(|event| event[field].as_str());
                let mut others = scene.records.iter().filter(|other| other.is_of_place_of(record));
                says("environment") == Some(&record.environment)
                    && says("job").is_none()
                    && others.all(|other| other.job == record.job || is_by(other, receipt))
            };
            let of_run = receipts.iter().map(|receipt| only(receipt, is_of_run));
            let of_job = receipts.iter().filter(|receipt| names_job(receipt)).map(of_last);
            let of_job = of_run.chain(of_job).map(|receipt| (Says::OfJob, receipt));
            let of_environment = receipts.iter().filter(of_environment).map(of_last);
            let of_environment = of_environment.map(|receipt| (Says::OfEnvironment, receipt));
            let named = told.entry(record.number).or_default();
            named.extend(of_job.chain(of_environment));
        }
    }
    Receipts { told, unread }
}

/// What a receipt says of the event that its last run was about.
fn of_last(receipt: &Receipt) -> Receipt {
    let id = receipt.event.as_ref().and_then(|event| event["id"].as_str());
    only(receipt, |entry| entry.event_id.as_deref() == id)
}

fn only(receipt: &Receipt, is: impl Fn(&Entry) -> bool) -> Receipt {
    let mut receipt = receipt.clone();
    receipt.earlier.retain(&is);
    receipt.destinations.retain(&is);
    receipt
}

/// Why a receipt can't be read now, if a later run may read it: what is refused, or is no receipt, tells nothing.
fn passing(untold: &Untold) -> Option<String> {
    let is_passing = untold.class == Class::Unavailable && !untold.is_refusal();
    is_passing.then(|| untold.why.clone())
}

/// The receipt of the deploy job itself: of its attempts the last that left one.
///
/// # Errors
/// Why it can't be known now whether there is one.
async fn own_receipt(recorder: &Recorder<'_>, gitlab: &GitLab, record: &Record) -> Result<Option<Receipt>, String> {
    let jobs = record
        .attempts
        .iter()
        .rev()
        .filter_map(|one| Some(&one.made_by.as_ref()?.job));
    for (place, job) in jobs.enumerate() {
        // GitLab says of a job whether it has an archive; of the last attempt it is tried all the same.
        if place > 0 && !job.has_artifacts {
            continue;
        }
        match recorder.receipt(gitlab, job.id).await {
            Left::There((receipt, _)) => return Ok(Some(receipt)),
            Left::Unknown(untold) if let Some(why) = passing(&untold) => return Err(why),
            Left::Missing | Left::Unknown(_) => {}
        }
    }
    Ok(None)
}

/// All receipts that the jobs of a pipeline left, the last first, and why there may be more, if so.
async fn all_receipts(recorder: &Recorder<'_>, gitlab: &GitLab, pipeline: u64) -> (Vec<Receipt>, Option<String>) {
    let mut jobs: Vec<Job> = match recorder.jobs(gitlab, &pipeline.to_string()).await {
        Ok(jobs) => jobs,
        Err(untold) => return (Vec::new(), passing(&untold)),
    };
    jobs.retain(|job| job.has_artifacts);
    jobs.sort_by_key(|job| std::cmp::Reverse(job.id));
    jobs.truncate(MOST_JOBS);
    let reading = stream::iter(jobs).map(|job| async move { recorder.receipt(gitlab, job.id).await });
    let read: Vec<Left<(Receipt, &Path)>> = reading.buffered(AT_ONCE).collect().await;
    let (mut receipts, mut more) = (Vec::new(), None);
    for left in read {
        match left {
            Left::There((receipt, _)) => receipts.push(receipt),
            Left::Missing => {}
            Left::Unknown(untold) => more = more.or(passing(&untold)),
        }
    }
    (receipts, more)
}
