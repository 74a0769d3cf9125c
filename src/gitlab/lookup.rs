//! Asks GitLab: what became of the jobs, what earlier attempts of this job delivered, what was deployed before.
//! None of it may break a delivery: what can't be had is said, and the event goes out with what is known.

use std::{cell::RefCell, path::Path};

use serde_json::{Value, json};

use super::{
    api::GitLab,
    once::Attempt,
    outcome::{self, Job, Question, Verdict},
};
use crate::{
    delivery::{
        courier::{Courier, Outcome, Session},
        plan::Plan,
    },
    environment::Environment,
    event::Told,
    report::class::Class,
    time,
};

/// The job token's rights came with GitLab 17.10 and 18.0 (gitlab.md 2.5).
const REFUSED: &str = "an older GitLab shows a job token neither jobs nor deployments; \
                       NOTIFY_GITLAB_TOKEN with read_api may see them";

/// More earlier attempts than this are not looked into: GitLab itself retries twice.
const MOST_ATTEMPTS: usize = 10;

/// GitLab, asked at most once for each thing.
pub struct Lookup<'a> {
    gitlab: Result<GitLab, String>,
    courier: Option<&'a Courier<'a>>,
    jobs: RefCell<Option<Result<Vec<Job>, String>>>,
}

impl<'a> Lookup<'a> {
    /// Asks the GitLab that `gitlab` leads to by way of `courier`; without one, nobody is asked.
    pub fn new(gitlab: Result<GitLab, String>, courier: Option<&'a Courier<'a>>) -> Self {
        Self {
            gitlab,
            courier,
            jobs: RefCell::default(),
        }
    }

    /// What became of the watched job, or of the pipeline.
    pub async fn outcome(&self) -> Told {
        let jobs = match self.jobs().await {
            Ok(jobs) => jobs,
            Err(why) => return Told::Unknown(why),
        };
        let Ok(gitlab) = &self.gitlab else {
            return Told::Unknown("GitLab can't be asked".to_owned());
        };
        let question = Question {
            own_id: gitlab.own_id,
            own_name: gitlab.own_name.as_deref(),
            own_stage: gitlab.own_stage.as_deref(),
            watched: gitlab.watched.as_deref(),
        };
        match outcome::judge(&jobs, &question) {
            Verdict::Happened(finding) => Told::Happened(Box::new(finding)),
            Verdict::NothingToReport(why) => Told::Nothing(why),
            Verdict::Unknown(why) => Told::Unknown(why),
        }
    }

    async fn earlier_attempts(&self) -> Result<Vec<Job>, String> {
        let jobs = self.jobs().await?;
        let gitlab = self.gitlab.as_ref().map_err(Clone::clone)?;
        let (Some(id), Some(name)) = (gitlab.own_id, gitlab.own_name.as_deref()) else {
            return Err("CI_JOB_ID and CI_JOB_NAME are not set".to_owned());
        };
        Ok(outcome::earlier_attempts(&jobs, id, name)
            .into_iter()
            .cloned()
            .collect())
    }

    /// The attempts of this job before this one, newest first, with the receipts that they left in `folder`.
    ///
    /// # Errors
    /// Why they can't be known.
    pub async fn attempts(&self, folder: Option<&Path>) -> Result<Vec<Attempt>, String> {
        let mut attempts = Vec::new();
        for job in self.earlier_attempts().await?.into_iter().take(MOST_ATTEMPTS) {
            let receipt = match folder {
                Some(folder) => self.receipt(&job, folder).await,
                None => None,
            };
            attempts.push(Attempt { job, receipt });
        }
        Ok(attempts)
    }

    async fn receipt(&self, attempt: &Job, folder: &Path) -> Option<Value> {
        let gitlab = self.gitlab.as_ref().ok()?;
        let path = folder.join("receipt.json");
        let plan = gitlab.artifact(attempt.id, path.to_str()?);
        self.ask(plan).await.ok()
    }

    /// What was deployed to the event's environment since the deployment before: that commit, the merge requests
    /// since, and how long they took (gitlab.md 11).
    ///
    /// # Errors
    /// Why that can't be had.
    pub async fn changes(&self, environment: Option<&str>, now: &str) -> Result<Value, String> {
        let gitlab = self.gitlab.as_ref().map_err(Clone::clone)?;
        let environment = environment.ok_or("the event has no environment; set EVENT_ENVIRONMENT")?;
        let deployments = self.ask(gitlab.deployments(environment)).await?;
        let deployments = deployments.as_array().cloned().unwrap_or_default();
        let pipeline = gitlab.pipeline_id();
        let is_ours = |deployment: &Value| {
            deployment["deployable"]["pipeline"]["id"]
                .as_u64()
                .is_some_and(|id| Some(id) == pipeline)
        };
        let ours = deployments.iter().find(|deployment| is_ours(deployment));
        // The newest first: what is older than ours, and ended well, is what was there before.
        let before = deployments
            .iter()
            .skip_while(|deployment| ours.is_some_and(|ours| deployment["id"] != ours["id"]))
            .find(|deployment| !is_ours(deployment) && deployment["status"] == "success");
        let merge_requests = match ours.and_then(|ours| ours["id"].as_u64()) {
            // Who may see the deployments may not see these: the rest is known all the same.
            Some(id) => self.ask(gitlab.merge_requests(id)).await.unwrap_or_default(),
            None => Value::Null,
        };
        Ok(described(ours, before, &merge_requests, now))
    }

    async fn jobs(&self) -> Result<Vec<Job>, String> {
        if let Some(known) = self.jobs.borrow().as_ref() {
            return known.clone();
        }
        let jobs = match &self.gitlab {
            Ok(gitlab) => {
                let plan = gitlab.jobs();
                self.ask(plan).await.map(|jobs| {
                    let jobs = jobs.as_array().map(Vec::as_slice).unwrap_or_default();
                    jobs.iter().filter_map(Job::from_json).collect()
                })
            }
            Err(why) => Err(format!("GitLab's jobs can't be read: {why}")),
        };
        *self.jobs.borrow_mut() = Some(jobs.clone());
        jobs
    }

    async fn ask(&self, plan: Plan) -> Result<Value, String> {
        let Some(courier) = self.courier else {
            return Err("GitLab was not asked: a dry run asks nobody".to_owned());
        };
        let outcome = courier.deliver("GitLab", plan, &Session::default()).await;
        match outcome {
            Outcome {
                class: Class::Sent,
                json: Some(json),
                ..
            } => Ok(json),
            Outcome { status, detail, .. } => {
                let detail = detail.unwrap_or_default();
                let token = self.gitlab.as_ref().map(GitLab::token_variable).unwrap_or_default();
                Err(match status {
                    Some(401 | 403 | 404) => format!("GitLab does not show this to {token} ({detail}); {REFUSED}"),
                    _ => format!("GitLab did not tell: {detail}"),
                })
            }
        }
    }
}

/// The value of `changes`, for templates.
fn described(ours: Option<&Value>, before: Option<&Value>, merge_requests: &Value, now: &str) -> Value {
    let list: Vec<Value> = merge_requests
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
        .iter()
        .map(|one| {
            json!({
                "iid": one["iid"],
                "title": one["title"],
                "url": one["web_url"],
                "author": one["author"]["username"],
                "created_at": one["created_at"],
                "merged_at": one["merged_at"],
            })
        })
        .collect();
    let end = ours
        .and_then(|ours| ours["deployable"]["finished_at"].as_str())
        .unwrap_or(now);
    let mut waits: Vec<u64> = list
        .iter()
        .filter_map(|one| seconds_between(one["merged_at"].as_str()?, end))
        .collect();
    waits.sort_unstable();
    let of = |deployment: Option<&Value>, field: &str| deployment.map_or(Value::Null, |found| found[field].clone());
    json!({
        "deployment_id": of(ours, "id"),
        "previous_commit": of(before, "sha"),
        "previous_ref": of(before, "ref"),
        // GitLab shows no end of a deployment but that of its job.
        "previous_deployed_at": before.map_or(Value::Null, |found| match &found["deployable"]["finished_at"] {
            Value::Null => found["updated_at"].clone(),
            time => time.clone(),
        }),
        "count": merge_requests.is_array().then_some(list.len()),
        "merge_requests": merge_requests.is_array().then_some(&list),
        // Seconds from the merge to the deployment, the median of all: what GitLab and DORA call lead time for changes.
        "lead_time": waits.get(waits.len() / 2),
    })
}

fn seconds_between(start: &str, end: &str) -> Option<u64> {
    let (start, end) = (time::parse(start)?, time::parse(end)?);
    end.duration_since(start).ok().map(|time| time.as_secs())
}

/// The folder of the receipts as artifacts name it: relative to the project's folder. None if it is elsewhere.
pub fn artifact_folder(environment: &Environment, output_dir: &str) -> Option<std::path::PathBuf> {
    let path = Path::new(output_dir);
    let path = match environment.predefined("CI_PROJECT_DIR") {
        Some(project) => path.strip_prefix(project).unwrap_or(path),
        None => path,
    };
    let path = path.strip_prefix("./").unwrap_or(path);
    path.is_relative().then(|| path.to_owned())
}
