//! The end of a pipeline: what its jobs kept as undelivered is delivered, by the rules of a replay, and the end of a deploy
//! job that could not tell it itself is told where no service can be asked. Receipts and files are read from GitLab, job
//! by job: no artifact is downloaded, so that none that has expired can keep this job from starting.

use std::{
    path::{Component, Path, PathBuf},
    time::SystemTime,
};

use futures_util::{StreamExt as _, stream};

use super::{
    AT_ONCE, FOLDER, Scene,
    records::Record,
    table::{Fate, Table},
};
use crate::{
    commands::{
        doubt::Doubt,
        replay::{Authority, Judgement, Kept, authority, delivery, values},
        runner::{self, Delivery, Runner},
        setup::Setup,
    },
    comparison::{portrait::is_near, teller::times},
    delivery::plan::Plan,
    destinations::Target,
    event::{Action, Event},
    facts::record::{Left, Untold},
    gitlab::{deployment::Meaning, job::Job, outcome},
    receipts::{
        folder::UNDELIVERED,
        once::{self, Attempt, Decision},
        receipt::{Entry, Receipt},
        undelivered::Undelivered,
    },
    report::class::Class,
    time,
    variables::Values,
};

/// No more kept files are delivered at once.
const MOST_FILES: usize = 1000;

/// GitLab's reason that says by itself that an `after_script` had no turn.
const WITHOUT_TURN: &[&str] = &["image_pull_failure"];
/// Reasons behind which it may have had one (docs/gitlab.md 14).
const PERHAPS_WITHOUT_TURN: &[&str] = &[
    "job_execution_timeout",
    "runner_system_failure",
    "script_failure",
    "runner_external_dependency_failure",
    "runner_interrupted",
];

/// What the jobs of the pipeline left.
pub struct LeftBehind {
    /// All jobs of the pipeline.
    jobs: Vec<Job>,
    /// Each job that left a receipt, with it.
    receipts: Vec<(Job, Receipt)>,
    /// The jobs of which nobody can tell.
    unknown: Vec<u64>,
    kept: Vec<Kept>,
    authority: Authority,
    /// What is not delivered, and why.
    pub notes: Vec<(Class, String)>,
}

/// The end of a deploy job that is told to a service.
pub struct Told {
    target: Target,
    event: Event,
    values: Values,
    /// Why it may have been told already, if so.
    doubt: Option<Doubt>,
}

impl LeftBehind {
    /// Reads it.
    ///
    /// # Errors
    /// Why the pipeline's jobs can't be listed.
    pub async fn read(scene: &Scene<'_>, runner: &Runner<'_>, pipeline: u64) -> Result<Self, Untold> {
        let setup = scene.setup;
        let Some((_, gitlab)) = scene.projects.first() else {
            return Ok(Self::nothing(setup));
        };
        let jobs = scene.recorder.jobs(gitlab, &pipeline.to_string()).await?;
        let own = setup.origin().job_id.and_then(|id| id.parse::<u64>().ok());
        let with_files = jobs.iter().filter(|job| job.has_artifacts && Some(job.id) != own);
        let reading =
            stream::iter(with_files).map(|job| async move { (job, scene.recorder.receipt(gitlab, job.id).await) });
        let found: Vec<(&Job, Left<(Receipt, &Path)>)> = reading.buffered(AT_ONCE).collect().await;
        let mut left = Self::nothing(setup);
        let mut listed: Vec<(u64, PathBuf)> = Vec::new();
        for (job, receipt) in found {
            match receipt {
                Left::There((receipt, folder)) => {
                    let names = receipt.undelivered.iter().filter(|name| is_kept_name(name));
                    listed.extend(names.map(|name| (job.id, folder.join(name))));
                    left.receipts.push((job.clone(), receipt));
                }
                Left::Missing => {}
                Left::Unknown(untold) => {
                    let what = format!("the receipt of job {} can't be read: {}", job.id, untold.why);
                    left.notes.push((Class::Unavailable, what));
                    left.unknown.push(job.id);
                }
            }
        }
        left.keep(scene, listed).await;
        let name = setup.environment.predefined("CI_JOB_NAME").unwrap_or_default();
        let earlier = outcome::earlier_attempts(&jobs, own.unwrap_or_default(), name);
        let receipt_of = |job: &Job| left.receipts.iter().find(|(other, _)| other.id == job.id);
        let mut attempts: Vec<Attempt> = earlier
            .iter()
            .map(|job| Attempt {
                job: (*job).clone(),
                receipt: receipt_of(job).map(|(_, receipt)| receipt.clone()),
            })
            .collect();
        let of_others = left
            .receipts
            .iter()
            .filter(|(job, _)| !earlier.iter().any(|own| own.id == job.id));
        attempts.extend(of_others.map(|(job, receipt)| Attempt {
            job: job.clone(),
            receipt: Some(receipt.clone()),
        }));
        let before = runner.folder.iter().map(|folder| folder.begun().clone());
        attempts.extend(before.clone().filter_map(Attempt::of_calls_before));
        left.authority.attempts = attempts;
        left.jobs = jobs;
        let of_jobs = left.receipts.iter().map(|(_, receipt)| receipt.clone());
        left.authority.receipts = of_jobs.chain(before).collect();
        Ok(left)
    }

    fn nothing(setup: &Setup) -> Self {
        Self {
            jobs: Vec::new(),
            receipts: Vec::new(),
            unknown: Vec::new(),
            kept: Vec::new(),
            authority: Authority {
                targets: authority(setup).0,
                receipts: Vec::new(),
                is_of_pipeline: true,
                attempts: Vec::new(),
            },
            notes: Vec::new(),
        }
    }

    /// Reads the files that the receipts list.
    async fn keep(&mut self, scene: &Scene<'_>, listed: Vec<(u64, PathBuf)>) {
        let Some((_, gitlab)) = scene.projects.first() else {
            return;
        };
        if let Some(more) = listed.len().checked_sub(MOST_FILES).filter(|more| *more > 0) {
            let what =
                format!("{more} more than the {MOST_FILES} that are delivered at once are kept: run this job again");
            self.notes.push((Class::Unavailable, what));
        }
        let listed = listed.into_iter().take(MOST_FILES);
        let reading = stream::iter(listed).map(|(job, path)| async move {
            let file = scene.recorder.file(gitlab, job, &path).await;
            (job, path, file)
        });
        let files: Vec<_> = reading.buffered(AT_ONCE).collect().await;
        for (job, path, file) in files {
            let name = PathBuf::from(format!("job {job}: {}", path.display()));
            let undelivered = match file {
                Left::There(json) => Undelivered::from_json(&json).map_err(|why| (Class::Misconfigured, why)),
                Left::Missing => {
                    let why = "is listed in the job's receipt, and is not among its artifacts";
                    Err((Class::Misconfigured, why.to_owned()))
                }
                Left::Unknown(untold) => Err((Class::Unavailable, format!("can't be read: {}", untold.why))),
            };
            match undelivered {
                // It came with another job's artifacts, which has it too.
                Ok(undelivered) if undelivered.origin.job_id.as_deref() != Some(&job.to_string()) => {}
                Ok(undelivered) => self.kept.push(Kept {
                    path: name,
                    values: values(scene.setup, &undelivered),
                    undelivered,
                    is_named: false,
                }),
                Err((class, why)) => self.notes.push((class, format!("{} {why}", name.display()))),
            }
        }
        self.kept
            .sort_by(|a, b| a.undelivered.event.time.cmp(&b.undelivered.event.time));
    }

    /// The deliveries of what was kept, and of the ends that are `told`.
    pub fn deliveries<'e>(&'e self, setup: &Setup, told: &'e [Told]) -> Vec<Delivery<'e>> {
        let of_kept = self.kept.iter().map(|file| {
            let judgement = Judgement::new(setup, file, &self.authority);
            delivery(setup, file, &judgement)
        });
        let mut deliveries: Vec<Delivery> = of_kept.collect();
        let mut headings: Vec<String> = Vec::new();
        for one in told {
            let mut end = self.end(setup, one);
            // One end, told to several services, is introduced once.
            end.heading = end.heading.filter(|heading| !headings.contains(heading));
            headings.extend(end.heading.clone());
            deliveries.push(end);
        }
        deliveries
    }

    fn end<'e>(&self, setup: &Setup, told: &'e Told) -> Delivery<'e> {
        let Told {
            target,
            event,
            values,
            doubt,
        } = told;
        let attempts = &self.authority.attempts;
        let receiver = target.receiver(values);
        let redactor = setup.console.redactor();
        let plan = match (
            once::decide(attempts, target, receiver.as_deref(), event, redactor),
            doubt,
        ) {
            (Decision::Skip(why), _) => Ok(Plan::skip(why)),
            (Decision::Doubt(once::Doubt { why, since }), _) => {
                let doubt = Doubt {
                    why,
                    since,
                    is_wanted: false,
                };
                runner::plan(setup, target, event, values, true, Some(&doubt))
            }
            (Decision::Send, doubt) => runner::plan(setup, target, event, values, true, doubt.as_ref()),
        };
        let page = event.job.url.as_deref().unwrap_or_default();
        Delivery {
            target: *target,
            event: Some(event),
            values: values.clone(),
            in_doubt: doubt.is_some(),
            plan,
            heading: Some(format!(
                "the end that a deploy job could not tell: {} ({page})",
                event.summary()
            )),
            entities: None,
        }
    }

    /// The ends of deploy jobs that are to be told to `target`, which can't be asked what it knows. Of a failure of which it
    /// can't be said whether it was told, `table` says so.
    pub fn ends(&self, scene: &Scene<'_>, target: Target, table: &mut Table) -> Vec<Told> {
        let found = scene.setup.find(target.destination);
        if !target.operation.tells(|name| found.is_given(name)) || target.operation.is_drastic {
            return Vec::new();
        }
        let mut told = Vec::new();
        for record in scene.records.iter().filter(|record| record.is_wanted) {
            let Meaning::Happened(deployment, Action::Failure) = record.meaning(scene.now) else {
                continue;
            };
            let Some(job) = deployment.made_by.as_ref().map(|by| &by.job) else {
                continue;
            };
            let job = self.listed(job);
            let moment = times(deployment, scene.now);
            let (event, names) = scene.tell((record, None), deployment, (&Action::Failure, moment), None);
            let Ok(event) = event else { continue };
            let of_place = |other: &&Record| other.is_of_place_of(record) && other.is_wanted;
            let is_alone = scene.records.iter().filter(of_place).count() == 1;
            if self.was_told(target, job, &event, is_alone) {
                continue;
            }
            let doubt = match self.turn(record, job) {
                Turn::None => None,
                Turn::Perhaps(doubt) => Some(doubt),
                Turn::Unknown(reason) => {
                    let why = format!(
                        "job {} failed ({reason}) and left no receipt, which does not say whether it told this itself: \
                         nothing is sent",
                        job.id
                    );
                    table.add(event.id.clone().unwrap_or_default(), Fate::LeftAlone(why));
                    continue;
                }
            };
            told.push(Told {
                target,
                values: found.render(&names),
                event,
                doubt,
            });
        }
        told
    }

    /// Whether a receipt tells of it: of the job itself, which then had its turn, or of a report about this run of it; of a
    /// report that names no job, where the job `is_alone` in its environment.
    fn was_told(&self, target: Target, job: &Job, event: &Event, is_alone: bool) -> bool {
        let began = job.started_at.as_deref().and_then(time::parse);
        let of_run = |entry: &Entry, names_job: bool, told_at: Option<SystemTime>| {
            let run = entry.deploy_run.as_ref();
            let page = run.and_then(|run| run.job_url.as_deref());
            let start = run.and_then(|run| run.started_at.as_deref()).and_then(time::parse);
            let is_end = entry.action.as_deref() == event.known_action();
            match (page, start.zip(began)) {
                (Some(page), _) => Some(page) == job.web_url.as_deref(),
                (None, Some((start, began))) => is_end && is_near(start, began),
                // A report that knew no run: what it said after this one began is of this one.
                (None, None) => {
                    let is_event = names_job || entry.event_id == event.id;
                    let is_before = told_at.zip(began).is_some_and(|(told, began)| told < began);
                    is_event && !is_before && is_end
                }
            }
        };
        self.receipts.iter().any(|(other, receipt)| {
            let of_event = |name: &str| receipt.event.as_ref().and_then(|event| event[name].as_str());
            let names_job = match of_event("job") {
                Some(named) => named == job.name || outcome::is_part(&job.name, named),
                None => is_alone && of_event("environment") == event.environment.as_deref(),
            };
            let told_at = of_event("time").and_then(time::parse);
            let mut entries = receipt
                .entries()
                .filter(|entry| entry.destination == target.destination.name);
            other.id == job.id || entries.any(|entry| of_run(entry, names_job, told_at))
        })
    }

    /// The job as the pipeline's list has it: GitLab's documentation shows neither the reason of a failure nor artifacts in a
    /// deployment's job.
    fn listed<'j>(&'j self, job: &'j Job) -> &'j Job {
        self.jobs.iter().find(|listed| listed.id == job.id).unwrap_or(job)
    }

    /// Whether the job, which left no receipt, had a turn to tell its end.
    fn turn(&self, record: &Record, job: &Job) -> Turn {
        let reason = job.failure_reason.as_deref().unwrap_or_default();
        if WITHOUT_TURN.contains(&reason) {
            return Turn::None;
        }
        if !PERHAPS_WITHOUT_TURN.contains(&reason) {
            return Turn::Unknown(if reason.is_empty() { "for no reason" } else { reason }.to_owned());
        }
        let jobs = || {
            record
                .attempts
                .iter()
                .filter_map(|one| Some(self.listed(&one.made_by.as_ref()?.job)))
        };
        // Which of its attempts uploaded something, and no receipt: then its own artifacts stand in the receipts' place.
        let without = jobs().find(|job| {
            let has_receipt = self.receipts.iter().any(|(other, _)| other.id == job.id);
            (job.has_artifacts || self.unknown.contains(&job.id)) && !has_receipt
        });
        let Some(job) = without else { return Turn::None };
        Turn::Perhaps(Doubt {
            why: format!(
                "job {} failed ({reason}), and its artifacts show no receipt, so it can't be known whether it told this \
                 itself; `{FOLDER}/` among the `paths` of its artifacts would tell",
                job.id
            ),
            since: job
                .started_at
                .as_deref()
                .and_then(time::parse)
                .unwrap_or(SystemTime::UNIX_EPOCH),
            is_wanted: false,
        })
    }
}

/// Whether a job's `after_script` had a turn.
enum Turn {
    /// It had none.
    None,
    /// It may have had one, and have told its end.
    Perhaps(Doubt),
    /// GitLab's reason, this one, does not say that there was none.
    Unknown(String),
}

/// Whether a receipt may name such a file: one in the folder that is there for it.
fn is_kept_name(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    let is = |part: Option<Component>, is: &dyn Fn(&str) -> bool| match part {
        Some(Component::Normal(part)) => part.to_str().is_some_and(is),
        _ => false,
    };
    is(parts.next(), &|part| part == UNDELIVERED)
        && is(parts.next(), &|part| {
            Path::new(part).extension().is_some_and(|ending| ending == "json")
        })
        && parts.next().is_none()
}
