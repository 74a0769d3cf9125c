//! What only GitLab can tell, fetched once and side by side: what became of the jobs, what was deployed before, what
//! earlier attempts of this job delivered. None of it may break a delivery: what can't be had is said, and the event
//! goes out with what is known.

use std::{
    path::{Path, PathBuf},
    rc::Rc,
};

use futures_util::future::{join_all, join3};
use serde_json::Value;

use crate::{
    delivery::{courier::Courier, plan::Plan, result::DeliveryResult, session::Session},
    event::resolve::Resolver,
    gitlab::{
        api::GitLab,
        changes,
        job::Job,
        outcome::{self, Outcome},
    },
    needs::Needs,
    receipts::{folder::RECEIPT, once::Attempt, receipt::Receipt},
    report::class::Class,
};

pub mod record;

/// What GitLab shows a job token only in newer versions (docs/gitlab.md 2.5).
const REFUSED: &str = "GitLab shows a job token a pipeline's jobs from some 18.x on (18.3 at the latest), its trigger jobs \
                       from 19.2 at the latest, deployments from 17.2 on; NOTIFY_GITLAB_TOKEN with read_api may see them";

/// The variable that stands in for the job's own token.
const NOTIFY_GITLAB_TOKEN: &str = "NOTIFY_GITLAB_TOKEN";

/// More earlier attempts than this are not looked into: GitLab itself retries twice.
const MOST_ATTEMPTS: usize = 10;

/// Jobs of the pipeline, or why they can't be had.
type Jobs = Result<Vec<Job>, String>;

/// What was found out. What nobody needed was not asked for.
#[derive(Default)]
pub struct Facts {
    /// What became of the job that is reported, or of the pipeline.
    pub outcome: Option<Outcome>,
    /// What was deployed since the last time, for templates; or why that can't be had.
    pub changes: Option<Result<Value, String>>,
    /// The attempts of this job before this one, newest first; or why they can't be known.
    pub attempts: Option<Result<Vec<Attempt>, String>>,
}

/// Fetches what `needs` says, and has `resolver` take it in. `folder` is where earlier attempts left their receipts, as
/// artifacts name it.
pub async fn fetch(asker: &Asker<'_>, resolver: &mut Resolver<'_>, needs: Needs, folder: Option<&Path>) -> Facts {
    let now = resolver.time();
    // What was deployed is asked for by the environment's name, which may itself be made from what the jobs tell.
    let is_known = needs.changes && !resolver.environment_needs_jobs();
    let environment = is_known.then(|| resolver.environment());
    let own_environment = resolver.own_environment();
    let of_jobs = async {
        let wants_attempts = needs.attempts && asker.gitlab.is_ok();
        if !needs.outcome && !wants_attempts {
            return (None, None);
        }
        let jobs = asker.jobs().await;
        let attempts = if wants_attempts {
            Some(asker.attempts(&jobs, folder).await)
        } else {
            None
        };
        (needs.outcome.then_some(jobs), attempts)
    };
    let of_changes = async {
        match &environment {
            Some(environment) => Some(asker.changes(environment.as_deref(), &now).await),
            None => None,
        }
    };
    let of_deployer = async {
        if !needs.deployer {
            return None;
        }
        Some(asker.deployer(own_environment).await)
    };
    let ((jobs, attempts), mut changes, deployer) = join3(of_jobs, of_changes, of_deployer).await;
    if let Some(deployer) = deployer {
        resolver.set_deployer(deployer);
    }
    if let Some(Ok(jobs)) = &jobs {
        resolver.set_job_names(jobs.iter().map(|job| job.name.as_str()));
    }
    let outcome = match &jobs {
        Some(jobs) => Some(asker.outcome(jobs, resolver, folder).await),
        None => None,
    };
    if let Some(outcome) = &outcome {
        resolver.set_outcome(outcome.clone());
    }
    if needs.changes && changes.is_none() {
        changes = Some(asker.changes(resolver.environment().as_deref(), &now).await);
    }
    if let Some(changes) = &changes {
        resolver.set_changes(changes);
    }
    Facts {
        outcome,
        changes,
        attempts,
    }
}

/// Asks GitLab, as far as that is possible.
pub struct Asker<'a> {
    /// The API, or why there is none to ask.
    pub gitlab: &'a Result<GitLab, String>,
    /// What carries the questions.
    pub courier: &'a Courier<'a>,
}

impl Asker<'_> {
    /// All jobs of the pipeline, earlier attempts included.
    ///
    /// # Errors
    /// Why they can't be had.
    pub async fn jobs(&self) -> Jobs {
        let gitlab = self
            .gitlab()
            .map_err(|why| format!("GitLab's jobs can't be read: {why}"))?;
        let jobs = self.ask(gitlab.jobs()).await?;
        let jobs = all_of(&jobs, Job::from_json)?;
        if jobs.is_empty() {
            // This very job would be among them (docs/gitlab.md 2.5).
            return Err(format!(
                "GitLab shows {} none of the pipeline's jobs, not even this one: it may not read them (the right \
                 read_build is missing); NOTIFY_GITLAB_TOKEN with read_api, of somebody who may, would see them",
                gitlab.token_variable()
            ));
        }
        Ok(jobs)
    }

    /// The pipeline's trigger jobs, each with the end of its downstream pipeline: by the route of newer versions, else by
    /// that of older ones (docs/gitlab.md 11.1).
    async fn triggers(&self) -> Jobs {
        let gitlab = self.gitlab()?;
        let listed = match self.ask(gitlab.trigger_jobs()).await {
            Err(untold) if untold.is_refusal() => self.ask(gitlab.bridges()).await?,
            told => told?,
        };
        all_of(&listed, Job::from_trigger)
    }

    /// What became of the job that is reported, or of the pipeline, by its `jobs`, and by its trigger jobs where it hangs on
    /// them: they are another question to GitLab.
    async fn outcome(&self, jobs: &Jobs, resolver: &mut Resolver<'_>, folder: Option<&Path>) -> Outcome {
        let (jobs, gitlab) = match (jobs, self.gitlab) {
            (Ok(jobs), Ok(gitlab)) => (jobs, gitlab),
            (Err(why), _) | (_, Err(why)) => return Outcome::Unasked(why.clone()),
        };
        let question = gitlab.question();
        let mut triggers = Err("they were not asked for".to_owned());
        let mut outcome = outcome::judge(jobs, as_slice(&triggers), &question);
        if outcome.hangs_on_triggers(&question) {
            triggers = self.triggers().await;
            outcome = outcome::judge(jobs, as_slice(&triggers), &question);
        }
        match (&outcome, outcome::never_started(jobs, as_slice(&triggers), &question)) {
            (Outcome::Nothing(why), Some(finding)) => match self.told_start(jobs, resolver, folder).await {
                Ok(()) => Outcome::Happened(finding),
                Err(unknown) => Outcome::Nothing(format!("{why}, and {unknown}")),
            },
            _ => outcome,
        }
    }

    /// Whether the start of the event was told, by whichever of the pipeline's `jobs`: their receipts say so.
    ///
    /// # Errors
    /// That none does, or why none can be read.
    async fn told_start(&self, jobs: &[Job], resolver: &mut Resolver<'_>, folder: Option<&Path>) -> Result<(), String> {
        let cant_know = |why: &str| format!("whether its start was told can't be known ({why})");
        let folder = folder
            .ok_or_else(|| cant_know("NOTIFY_OUTPUT_DIR names no folder of the project, in which receipts would be"))?;
        let id = resolver.id().ok_or_else(|| cant_know("the event has no id"))?;
        let id = self.courier.console.redactor().text(&id);
        let mut with_files: Vec<&Job> = jobs.iter().filter(|job| job.has_artifacts).collect();
        with_files.sort_by(|one, other| other.finished_at.cmp(&one.finished_at));
        let ids: Vec<u64> = with_files.iter().map(|job| job.id).collect();
        let receipts = self.receipts(&ids, Some(folder)).await;
        let is_told = receipts.iter().any(|receipt| receipt.tells_start(&id));
        is_told
            .then_some(())
            .ok_or_else(|| "no receipt that its jobs left says that its start was told".to_owned())
    }

    /// The attempts of this job before this one, newest first, with the receipts that they left in `folder`.
    ///
    /// # Errors
    /// Why they can't be known.
    pub async fn attempts(&self, jobs: &Jobs, folder: Option<&Path>) -> Result<Vec<Attempt>, String> {
        let jobs = jobs.as_ref().map_err(Clone::clone)?;
        let gitlab = self.gitlab()?;
        let (Some(id), Some(name)) = (gitlab.own_id, gitlab.own_name.as_deref()) else {
            return Err("CI_JOB_ID and CI_JOB_NAME are not set".to_owned());
        };
        let earlier = outcome::earlier_attempts(jobs, id, name);
        let with_receipts = earlier.into_iter().take(MOST_ATTEMPTS).map(|job| async move {
            Attempt {
                job: job.clone(),
                receipt: self.receipt(gitlab, job.id, folder).await,
            }
        });
        Ok(join_all(with_receipts).await)
    }

    async fn receipt(&self, gitlab: &GitLab, job: u64, folder: Option<&Path>) -> Option<Receipt> {
        let path = folder?.join(RECEIPT);
        let json = self.ask(gitlab.artifact(job, path.to_str()?)).await.ok()?;
        receipt_of(job, &json)
    }

    /// The receipts that these `jobs` of the pipeline left in `folder`.
    pub async fn receipts(&self, jobs: &[u64], folder: Option<&Path>) -> Vec<Receipt> {
        let Ok(gitlab) = self.gitlab else { return Vec::new() };
        let asked = jobs
            .iter()
            .take(MOST_ATTEMPTS)
            .map(|job| self.receipt(gitlab, *job, folder));
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// What was deployed to the event's environment since the deployment before: that commit, the merge requests since,
    /// and how long they took (docs/gitlab.md 11). `now` is RFC 3339.
    ///
    /// # Errors
    /// Why that can't be had.
    pub async fn changes(&self, environment: Option<&str>, now: &str) -> Result<Value, String> {
        let gitlab = self.gitlab()?;
        let environment = environment.ok_or("the event has no environment; set EVENT_ENVIRONMENT")?;
        let deployments = self.ask(gitlab.deployments(environment)).await?;
        let (ours, before) = changes::ours_and_before(items(&deployments), gitlab.pipeline_id());
        let merge_requests = match ours.and_then(|ours| ours["id"].as_u64()) {
            // Who may see the deployments may not see these: the rest is known all the same.
            Some(id) => self.ask(gitlab.merge_requests(id)).await.unwrap_or_default(),
            None => Rc::default(),
        };
        Ok(changes::described(ours, before, &merge_requests, now))
    }

    /// The only job of this pipeline that deployed to `environment`, as GitLab names it.
    ///
    /// # Errors
    /// Why that is not known.
    pub async fn deployer(&self, environment: Option<&str>) -> Result<String, String> {
        let gitlab = self.gitlab()?;
        let environment = environment.ok_or("CI_ENVIRONMENT_NAME is not set")?;
        let deployments = self.ask(gitlab.deployments(environment)).await?;
        changes::deployer(items(&deployments), gitlab.pipeline_id())
    }

    fn gitlab(&self) -> Result<&GitLab, String> {
        self.gitlab.as_ref().map_err(Clone::clone)
    }

    async fn ask(&self, plan: Plan) -> Result<Rc<Value>, Untold> {
        let token = self.gitlab.as_ref().map(GitLab::token_variable).unwrap_or_default();
        ask(self.courier, &Session::default(), token, plan).await
    }
}

/// Asks GitLab with the token in the variable `token`.
async fn ask(courier: &Courier<'_>, session: &Session, token: &str, plan: Plan) -> Result<Rc<Value>, Untold> {
    let result = courier.deliver("GitLab", plan, session).await;
    match result {
        DeliveryResult {
            class: Class::Sent,
            json: Some(json),
            ..
        } => Ok(json),
        DeliveryResult {
            status, detail, class, ..
        } => {
            let detail = detail.unwrap_or_default();
            let is_refusal = is_refusal(status);
            let why = if is_refusal && token == NOTIFY_GITLAB_TOKEN {
                format!(
                    "GitLab does not show this to {token} ({detail}): it needs the scope read_api, and somebody who may see \
                     it; or there is no such thing"
                )
            } else if is_refusal {
                format!("GitLab does not show this to {token} ({detail}); {REFUSED}")
            } else {
                format!("GitLab did not tell: {detail}")
            };
            Err(Untold { status, class, why })
        }
    }
}

/// The receipt that `json` is, if it is that of `job`: one that died early may have uploaded what another one left in its
/// work tree.
fn receipt_of(job: u64, json: &Value) -> Option<Receipt> {
    Receipt::from_json(json).filter(|receipt| receipt.origin.job_id.as_deref() == Some(&job.to_string()))
}

/// Why GitLab did not tell.
#[derive(Debug, Clone)]
pub struct Untold {
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
    /// The class of what failed.
    pub class: Class,
    /// Why.
    pub why: String,
}

impl Untold {
    /// Whether the token may not see it, or this version has no such route.
    pub fn is_refusal(&self) -> bool {
        is_refusal(self.status)
    }

    /// The class of what failed, or `refused` where it was a refusal.
    pub fn class_or(&self, refused: Class) -> Class {
        if self.is_refusal() { refused } else { self.class }
    }
}

fn is_refusal(status: Option<u16>) -> bool {
    matches!(status, Some(401 | 403 | 404))
}

impl From<Untold> for String {
    fn from(untold: Untold) -> Self {
        untold.why
    }
}

/// The jobs of a list, each of which has to be one: what can't be understood may have failed.
fn all_of(listed: &Value, read: fn(&Value) -> Option<Job>) -> Jobs {
    let jobs: Option<Vec<Job>> = items(listed).iter().map(read).collect();
    jobs.ok_or_else(|| "GitLab did not tell: its list of jobs holds something else".to_owned())
}

/// What a list holds, which the API has made sure is one.
fn items(list: &Value) -> &[Value] {
    list.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn as_slice(jobs: &Jobs) -> Result<&[Job], &str> {
    jobs.as_deref().map_err(String::as_str)
}

/// The folder of the receipts as artifacts name it: relative to the project's folder, `project`. None if it is
/// elsewhere.
pub fn artifact_folder(project: Option<&str>, output_dir: &str) -> Option<PathBuf> {
    let path = Path::new(output_dir);
    let path = match project {
        Some(project) => path.strip_prefix(project).unwrap_or(path),
        None => path,
    };
    let path = path.strip_prefix("./").unwrap_or(path);
    path.is_relative().then(|| path.to_owned())
}
