//! What GitLab holds.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

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

/// What GitLab says of a project itself.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Project {
    pub(super) id: u64,
    /// With those of its groups: `acme/shop`.
    pub(super) path: String,
    pub(super) archived: bool,
    pub(super) default_branch: String,
    pub(super) created_at: String,
    /// Whether the job tokens of other projects may read it (its allowlist).
    pub(super) job_token_access: bool,
}

impl Project {
    /// The full path of its group, and its own name in it.
    pub(super) fn parts(&self) -> (&str, &str) {
        self.path.rsplit_once('/').unwrap_or(("", &self.path))
    }
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
    /// The same job, read, where it is one of its own.
    #[serde(skip)]
    pub(super) own_job: Option<Job>,
    pub(super) merge_requests: Vec<Value>,
}

/// A project, and what GitLab has recorded of it.
#[derive(Clone, Serialize)]
pub(super) struct Record {
    pub(super) project: Project,
    pub(super) pipelines: BTreeMap<u64, Pipeline>,
    pub(super) deployments: Vec<Deployment>,
    /// By their numbers in the project (`iid`).
    pub(super) merge_requests: BTreeMap<u64, Value>,
    /// Where the pipelines' jobs are: the pipeline's id, and the place in its list.
    #[serde(skip)]
    pub(super) places: BTreeMap<u64, (u64, usize)>,
}

/// Everything: the job token's own project, and the others by their ids.
#[derive(Clone)]
pub(super) struct State {
    pub(super) current_job: Option<u64>,
    pub(super) own: Record,
    pub(super) others: BTreeMap<u64, Record>,
}

impl Record {
    /// A job of any pipeline, and its pipeline's id.
    pub(super) fn job(&self, id: u64) -> Option<(u64, &Job)> {
        let (pipeline, place) = *self.places.get(&id)?;
        Some((pipeline, &self.pipelines[&pipeline].jobs[place]))
    }
}

impl State {
    /// Every project's, the job token's own first.
    pub(super) fn records(&self) -> impl Iterator<Item = &Record> {
        std::iter::once(&self.own).chain(self.others.values())
    }

    /// In the shape that can be seeded: the own project's record at the top, the others' below `projects`.
    pub(super) fn held(&self) -> Value {
        let mut held = json!(self.own);
        held["current_job"] = json!(self.current_job);
        let others = self.others.iter().map(|(id, record)| {
            let mut other = json!(record);
            // Its project's own fields lie beside the others there, and its id is the key.
            if let (Some(fields), Value::Object(project)) = (other.as_object_mut(), json!(record.project)) {
                fields.remove("project");
                fields.extend(project.into_iter().filter(|(name, _)| name != "id"));
            }
            (id.to_string(), other)
        });
        held["projects"] = Value::Object(others.collect());
        held
    }
}

/// Newest first, without the attempts that were retried: of each name, the newest id is the one that counts.
pub(super) fn latest(mut jobs: Vec<&Job>) -> Vec<&Job> {
    jobs.sort_by_key(|job| std::cmp::Reverse(job.id));
    let mut names = BTreeSet::new();
    jobs.retain(|job| names.insert(job.name.as_str()));
    jobs
}

/// What starts the pipelines of a ref, unless the seed says otherwise.
pub(super) fn source_of(reference: &str) -> &'static str {
    if reference.starts_with("refs/merge-requests/") {
        "merge_request_event"
    } else {
        "push"
    }
}

/// A number of a name's own: of users and groups, whoever else is seeded.
pub(super) fn number_of(name: &str) -> u64 {
    name.bytes()
        .fold(0, |sum, byte| (sum * 31 + u64::from(byte)) % 1_000_003)
}

pub(super) fn page_url(project: &Project, kind: &str, id: u64) -> String {
    format!("{WEB}/{}/-/{kind}/{id}", project.path)
}
