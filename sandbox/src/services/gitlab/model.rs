//! What GitLab holds.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `CommitStatus::AVAILABLE_STATUSES`: what a job can be.
pub(super) const JOB_STATUSES: [&str; 13] = [
    "created",
    "waiting_for_resource",
    "preparing",
    "waiting_for_callback",
    "pending",
    "running",
    "success",
    "failed",
    "canceling",
    "canceled",
    "skipped",
    "manual",
    "scheduled",
];

/// What a deployment can be.
pub(super) const DEPLOYMENT_STATUSES: [&str; 7] = [
    "created", "running", "success", "failed", "canceled", "skipped", "blocked",
];

/// What web pages are said to be under. None is served.
pub(super) const WEB: &str = "https://gitlab.example.com";

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Project {
    pub(super) id: u64,
    pub(super) path: String,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Job {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) stage: String,
    pub(super) status: String,
    pub(super) allow_failure: bool,
    pub(super) created_at: String,
    pub(super) started_at: Option<String>,
    pub(super) finished_at: Option<String>,
    pub(super) duration: Option<f64>,
    pub(super) queued_duration: Option<f64>,
    pub(super) user: Value,
    pub(super) failure_reason: Option<String>,
    pub(super) web_url: String,
    pub(super) artifacts: BTreeMap<String, String>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Bridge {
    pub(super) job: Job,
    pub(super) strategy: Option<String>,
    pub(super) downstream_pipeline: Value,
}

#[derive(Clone, Serialize)]
pub(super) struct Pipeline {
    pub(super) iid: u64,
    pub(super) name: Option<String>,
    #[serde(rename = "ref")]
    pub(super) reference: String,
    pub(super) tag: bool,
    pub(super) sha: String,
    pub(super) source: String,
    pub(super) status: String,
    pub(super) user: Value,
    pub(super) created_at: String,
    pub(super) updated_at: String,
    pub(super) web_url: String,
    pub(super) jobs: Vec<Job>,
    pub(super) bridges: Vec<Value>,
    /// The same bridges, read.
    #[serde(skip)]
    pub(super) read_bridges: Vec<Bridge>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Deployment {
    pub(super) id: u64,
    pub(super) iid: u64,
    #[serde(rename = "ref")]
    pub(super) reference: String,
    pub(super) sha: String,
    pub(super) status: String,
    pub(super) environment: Value,
    pub(super) user: Value,
    pub(super) created_at: String,
    pub(super) updated_at: String,
    pub(super) finished_at: Option<String>,
    /// Null, the id of a pipeline's job, or a job of its own with the id of its pipeline.
    pub(super) deployable: Value,
    pub(super) merge_requests: Vec<Value>,
}

#[derive(Clone, Serialize)]
pub(super) struct State {
    pub(super) project: Project,
    pub(super) current_job: Option<u64>,
    pub(super) pipelines: BTreeMap<u64, Pipeline>,
    pub(super) deployments: Vec<Deployment>,
}

impl State {
    /// A job of any pipeline, and its pipeline's id.
    pub(super) fn job(&self, id: u64) -> Option<(u64, &Job)> {
        self.pipelines.iter().find_map(|(pipeline, held)| {
            let job = held.jobs.iter().find(|job| job.id == id)?;
            Some((*pipeline, job))
        })
    }
}

/// Newest first, without the attempts that were retried: of each name, the newest id is the one that counts.
pub(super) fn latest(mut jobs: Vec<&Job>) -> Vec<&Job> {
    jobs.sort_by_key(|job| std::cmp::Reverse(job.id));
    let mut names = BTreeSet::new();
    jobs.retain(|job| names.insert(job.name.as_str()));
    jobs
}

pub(super) fn page_url(project: &Project, kind: &str, id: u64) -> String {
    format!("{WEB}/{}/-/{kind}/{id}", project.path)
}
