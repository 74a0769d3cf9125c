//! What GitLab holds, and what a seed may leave out of it.
//!
//! What was seeded is kept as it came, and everything else is derived from it anew each time: a default never outlives
//! the values that it was made of.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use time::{Duration, OffsetDateTime};

use crate::wire::{parse_time, stamp};

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
const WEB: &str = "https://gitlab.example.com";

const SHA: &str = "9f2c1e7d0b4a5c6e8f90a1b2c3d4e5f60718293a";

/// When pipelines are created. Deployments were on the day before.
const CREATED: OffsetDateTime = time::macros::datetime!(2025-03-01 10:00:00 UTC);
const DEPLOYED: OffsetDateTime = time::macros::datetime!(2025-02-28 10:00:00 UTC);

/// More than any GitLab has counted to, and little enough to count on from.
const LARGEST_ID: u64 = 1 << 50;

/// Each job waits and runs for a minute together, one after another.
const TURN: Duration = Duration::seconds(60);
const QUEUED: Duration = Duration::seconds(2);
/// A running job's duration grows with the clock; here it is one that doesn't.
const RUNNING_FOR: f64 = 30.0;

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

/// What there is before anything is seeded: a deployment to production that went well, reported by a job that runs.
pub(super) fn initial() -> Value {
    json!({
        "project": {"id": 42, "path": "acme/shop"},
        "pipelines": {"8812": {"iid": 317, "jobs": [
            {"id": 99_103, "name": "build", "stage": "build"},
            {"id": 99_104, "name": "deploy", "stage": "deploy"},
            {"id": 99_105, "name": "notify", "stage": ".post", "status": "running"},
        ]}},
        "deployments": [
            {"id": 501, "merge_requests": ["Show the price with tax"]},
            // Its job isn't named by its id, which would have to be among those that are seeded instead.
            {"id": 502, "sha": SHA, "created_at": stamp(CREATED), "deployable": {"id": 99_104, "pipeline": 8812},
                "merge_requests": ["Let guests check out"]},
        ],
    })
}

type Fields = Map<String, Value>;

impl State {
    /// Everything that follows from what was seeded; or what is wrong with it.
    pub(super) fn derive(seeded: &Value) -> Result<Self, String> {
        let seeded = fields(seeded)?;
        let known = ["project", "current_job", "pipelines", "deployments"];
        if let Some(name) = seeded.keys().find(|name| !known.contains(&name.as_str())) {
            return Err(format!("unknown field {name:?}"));
        }
        let project = seeded.get("project").cloned().unwrap_or_default();
        let project: Project = read(project).map_err(|error| format!("project: {error}"))?;
        let given = seeded.get("pipelines").map_or_else(|| Ok(Fields::new()), fields);
        let given = given.map_err(|error| format!("pipelines: {error}"))?;
        let mut numbers = Numbers::of(&given)?;
        let mut pipelines = BTreeMap::new();
        for (id, given) in &given {
            let number = id.parse::<u64>().ok().filter(|id| *id < LARGEST_ID / 1000);
            let number = number.ok_or(format!("{id:?} is no pipeline's id"))?;
            let pipeline = Pipeline::derive(number, given, &project, &mut numbers);
            pipelines.insert(number, pipeline.map_err(|error| format!("pipeline {id}: {error}"))?);
        }
        let mut state = Self {
            project,
            current_job: None,
            pipelines,
            deployments: Vec::new(),
        };
        state.check_downstream()?;
        state.current_job = match seeded.get("current_job") {
            None | Some(Value::Null) => state.newest_running(),
            Some(id) => Some(
                id.as_u64()
                    .filter(|id| state.job(*id).is_some())
                    .ok_or(format!("current_job: no pipeline has a job {id}"))?,
            ),
        };
        let given = seeded.get("deployments").map_or(Ok(&[][..]), list);
        let given = given.map_err(|error| format!("deployments: {error}"))?;
        let mut environments = Vec::new();
        let mut titles = 0;
        for (turn, given) in given.iter().enumerate() {
            let deployment = state.deployment(turn, given, &mut environments, &mut titles);
            let deployment = deployment.map_err(|error| format!("deployment {}: {error}", turn + 1))?;
            if state.deployments.iter().any(|other| other.id == deployment.id) {
                return Err(format!("there are two deployments {}", deployment.id));
            }
            state.deployments.push(deployment);
        }
        Ok(state)
    }

    /// A job of any pipeline, and its pipeline's id.
    pub(super) fn job(&self, id: u64) -> Option<(u64, &Job)> {
        self.pipelines.iter().find_map(|(pipeline, held)| {
            let job = held.jobs.iter().find(|job| job.id == id)?;
            Some((*pipeline, job))
        })
    }

    /// The job that the job token is of, unless it is seeded.
    fn newest_running(&self) -> Option<u64> {
        let jobs = self.pipelines.values().rev().flat_map(|pipeline| &pipeline.jobs);
        jobs.filter(|job| job.status == "running").map(|job| job.id).max()
    }

    /// A downstream pipeline that is only a number has to be one of the pipelines.
    fn check_downstream(&self) -> Result<(), String> {
        for bridge in self.pipelines.values().flat_map(|pipeline| &pipeline.read_bridges) {
            match &bridge.downstream_pipeline {
                Value::Null | Value::Object(_) => {}
                id if id.as_u64().is_some_and(|id| self.pipelines.contains_key(&id)) => {}
                other => {
                    return Err(format!("bridge {}: there is no pipeline {other}", bridge.job.name));
                }
            }
        }
        Ok(())
    }

    fn deployment(
        &self,
        turn: usize,
        given: &Value,
        environments: &mut Vec<String>,
        titles: &mut u64,
    ) -> Result<Deployment, String> {
        let mut deployment = fields(given)?;
        let previous = self.deployments.last();
        set(&mut deployment, "id", || {
            previous.map_or(501, |previous| previous.id + 1)
        });
        set(&mut deployment, "iid", || {
            previous.map_or(1, |previous| previous.iid + 1)
        });
        let id = number(&deployment, "id")?;
        number(&deployment, "iid")?;
        // What it is the deployment of says the rest.
        let job = match deployment.get("deployable") {
            Some(Value::Number(number)) => {
                let job = number.as_u64().and_then(|id| self.job(id));
                Some(job.ok_or(format!("no pipeline has a job {number}"))?)
            }
            _ => None,
        };
        let pipeline = job.map(|(pipeline, _)| &self.pipelines[&pipeline]);
        set(&mut deployment, "status", || {
            job.map_or("success", |(_, job)| deployed(&job.status))
        });
        set(&mut deployment, "sha", || {
            pipeline.map_or_else(|| format!("{id:040x}"), |pipeline| pipeline.sha.clone())
        });
        set(&mut deployment, "ref", || {
            pipeline.map_or("main", |pipeline| pipeline.reference.as_str())
        });
        set(&mut deployment, "user", || {
            job.map_or_else(dana, |(_, job)| job.user.clone())
        });
        person(&mut deployment, "user")?;
        let created = DEPLOYED.saturating_add(TURN * 60 * as_factor(turn));
        set(&mut deployment, "created_at", || {
            job.map_or_else(|| stamp(created), |(_, job)| job.created_at.clone())
        });
        let created = moment(&mut deployment, "created_at")?.ok_or("\"created_at\" is null")?;
        let status = one_of(&deployment, "status", &DEPLOYMENT_STATUSES)?;
        let ended = matches!(status.as_str(), "success" | "failed" | "canceled" | "skipped");
        set(&mut deployment, "finished_at", || {
            let finished = job.and_then(|(_, job)| job.finished_at.clone());
            ended.then(|| finished.unwrap_or_else(|| stamp(created.saturating_add(TURN))))
        });
        let finished = moment(&mut deployment, "finished_at")?;
        set(&mut deployment, "updated_at", || stamp(finished.unwrap_or(created)));
        moment(&mut deployment, "updated_at")?;
        environment(&mut deployment, environments)?;
        set(&mut deployment, "deployable", || json!({}));
        if deployment["deployable"].is_object() {
            let filled = self.own_deployable(&deployment["deployable"], id, &status, created, &deployment["user"]);
            deployment["deployable"] = filled.map_err(|error| format!("deployable: {error}"))?;
        } else if !deployment["deployable"].is_null() && job.is_none() {
            return Err("\"deployable\" is neither a job nor a job's id".to_owned());
        }
        let requests = deployment.get("merge_requests").map_or(Ok(&[][..]), list);
        let requests = requests.map_err(|error| format!("merge_requests: {error}"))?;
        let requests = requests.iter().map(|given| {
            *titles += 1;
            merge_request(given, *titles, created, &self.project)
        });
        let requests = requests
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| format!("merge_requests: {error}"))?;
        deployment.insert("merge_requests".to_owned(), Value::Array(requests));
        read(Value::Object(deployment))
    }

    /// A job that no pipeline here has: of an earlier pipeline.
    fn own_deployable(
        &self,
        given: &Value,
        deployment: u64,
        status: &str,
        created: OffsetDateTime,
        user: &Value,
    ) -> Result<Value, String> {
        let mut job = fields(given)?;
        set(&mut job, "id", || 70_000 + deployment);
        set(&mut job, "name", || "deploy");
        set(&mut job, "stage", || "deploy");
        set(
            &mut job,
            "status",
            || if status == "blocked" { "manual" } else { status },
        );
        let pipeline = match job.remove("pipeline") {
            None => json!(8000 + deployment),
            Some(Value::Object(mut pipeline)) => pipeline.remove("id").unwrap_or_default(),
            Some(number) => number,
        };
        let pipeline = pipeline
            .as_u64()
            .ok_or("\"pipeline\" is neither an id nor an object with one")?;
        let mut filled = fill_job(&Value::Object(job), 0, created, user, &self.project)?;
        read::<Job>(Value::Object(filled.clone()))?;
        filled.insert("pipeline".to_owned(), json!({"id": pipeline}));
        Ok(Value::Object(filled))
    }
}

impl Pipeline {
    fn derive(id: u64, given: &Value, project: &Project, numbers: &mut Numbers) -> Result<Self, String> {
        let mut pipeline = fields(given)?;
        set(&mut pipeline, "created_at", || stamp(CREATED));
        let created = moment(&mut pipeline, "created_at")?.ok_or("\"created_at\" is null")?;
        set(&mut pipeline, "user", dana);
        person(&mut pipeline, "user")?;
        let user = pipeline["user"].clone();
        let jobs = pipeline.remove("jobs").unwrap_or(json!([]));
        let mut previous = id * 1000;
        let mut filled = Vec::new();
        for (turn, job) in list(&jobs)
            .map_err(|error| format!("jobs: {error}"))?
            .iter()
            .enumerate()
        {
            previous = numbers.next(job, previous);
            let job = numbered(job, previous).and_then(|job| fill_job(&job, turn, created, &user, project));
            let job = job.and_then(|job| read::<Job>(Value::Object(job)));
            filled.push(job.map_err(|error| format!("job {}: {error}", turn + 1))?);
        }
        let bridges = pipeline.remove("bridges").unwrap_or(json!([]));
        let (mut shown, mut read_bridges) = (Vec::new(), Vec::new());
        let mut previous = id * 1000 + 900;
        for (turn, bridge) in list(&bridges)
            .map_err(|error| format!("bridges: {error}"))?
            .iter()
            .enumerate()
        {
            previous = numbers.next(bridge, previous);
            let bridge = Bridge::derive(bridge, previous, turn, created, &user, project);
            let bridge = bridge.map_err(|error| format!("bridge {}: {error}", turn + 1))?;
            let mut fields = fields(&json!(bridge.job))?;
            fields.insert("downstream_pipeline".to_owned(), bridge.downstream_pipeline.clone());
            shown.push(Value::Object(fields));
            read_bridges.push(bridge);
        }
        let known = [
            "iid",
            "name",
            "ref",
            "tag",
            "sha",
            "source",
            "status",
            "user",
            "created_at",
            "updated_at",
            "web_url",
        ];
        if let Some(name) = pipeline.keys().find(|name| !known.contains(&name.as_str())) {
            return Err(format!("unknown field {name:?}"));
        }
        set(&mut pipeline, "status", || composite(&filled, &read_bridges));
        let ends = filled
            .iter()
            .filter_map(|job| job.finished_at.as_ref().or(job.started_at.as_ref()));
        set(&mut pipeline, "updated_at", || {
            ends.max().cloned().unwrap_or_else(|| stamp(created))
        });
        moment(&mut pipeline, "updated_at")?;
        Ok(Self {
            iid: take(&mut pipeline, "iid", || id % 1000)?,
            name: take(&mut pipeline, "name", || Value::Null)?,
            reference: take(&mut pipeline, "ref", || "main")?,
            tag: take(&mut pipeline, "tag", || false)?,
            sha: take(&mut pipeline, "sha", || SHA)?,
            source: take(&mut pipeline, "source", || "push")?,
            status: one_of(&pipeline, "status", &JOB_STATUSES)?,
            user,
            created_at: stamp(created),
            updated_at: take(&mut pipeline, "updated_at", || Value::Null)?,
            web_url: take(&mut pipeline, "web_url", || web(project, "pipelines", id))?,
            jobs: filled,
            bridges: shown,
            read_bridges,
        })
    }
}

impl Bridge {
    fn derive(
        given: &Value,
        id: u64,
        turn: usize,
        created: OffsetDateTime,
        user: &Value,
        project: &Project,
    ) -> Result<Self, String> {
        let mut bridge = fields(given)?;
        let downstream_pipeline = bridge.remove("downstream_pipeline").unwrap_or_default();
        let bridge = fill_job(&numbered(&Value::Object(bridge), id)?, turn, created, user, project)?;
        Ok(Self {
            job: read(Value::Object(bridge))?,
            downstream_pipeline,
        })
    }
}

/// The ids of jobs and bridges, which share theirs. Each is later than the one before it in its list.
struct Numbers(BTreeSet<u64>);

impl Numbers {
    /// Those that the seed names, which nothing else may get.
    fn of(pipelines: &Fields) -> Result<Self, String> {
        let mut taken = BTreeSet::new();
        let jobs = pipelines.values().flat_map(|pipeline| {
            let of = |name: &str| pipeline[name].as_array().into_iter().flatten();
            of("jobs").chain(of("bridges"))
        });
        for id in jobs.filter_map(|job| job["id"].as_u64()) {
            if !taken.insert(id) {
                return Err(format!("there are two jobs {id}"));
            }
        }
        Ok(Self(taken))
    }

    fn next(&mut self, job: &Value, previous: u64) -> u64 {
        if let Some(id) = job["id"].as_u64() {
            return id.min(LARGEST_ID);
        }
        let mut free = previous + 1;
        while !self.0.insert(free) {
            free += 1;
        }
        free
    }
}

/// The status that GitLab gives a pipeline for those of its jobs (`lib/gitlab/ci/status/composite.rb`).
fn composite(jobs: &[Job], bridges: &[Bridge]) -> String {
    let bridges = bridges.iter().map(|bridge| &bridge.job).collect::<Vec<_>>();
    let jobs = latest(jobs.iter().collect()).into_iter().chain(latest(bridges));
    let statuses = jobs.map(|job| match (job.status.as_str(), job.allow_failure) {
        ("failed" | "canceled", true) => "success",
        ("manual", true) => "skipped",
        (status, _) => status,
    });
    let statuses = statuses.collect::<BTreeSet<_>>();
    let only = |allowed: &[&str]| statuses.iter().all(|status| allowed.contains(status));
    let any = |sought: &[&str]| statuses.iter().any(|status| sought.contains(status));
    let status = if statuses.is_empty() || only(&["created"]) {
        "created"
    } else if only(&["skipped"]) {
        "skipped"
    } else if only(&["success", "skipped"]) {
        "success"
    } else if only(&["success", "skipped", "canceled"]) {
        "canceled"
    } else if only(&["created", "skipped", "pending"]) {
        "pending"
    } else if any(&["canceling"]) {
        "canceling"
    } else if any(&["running", "pending"]) {
        "running"
    } else if let Some(held) = [
        "waiting_for_resource",
        "waiting_for_callback",
        "manual",
        "scheduled",
        "preparing",
    ]
    .into_iter()
    .find(|held| statuses.contains(held))
    {
        held
    } else if any(&["created"]) {
        "running"
    } else {
        "failed"
    };
    status.to_owned()
}

/// Newest first, without the attempts that were retried: of each name, the newest id is the one that counts.
pub(super) fn latest(mut jobs: Vec<&Job>) -> Vec<&Job> {
    jobs.sort_by_key(|job| std::cmp::Reverse(job.id));
    let mut names = BTreeSet::new();
    jobs.retain(|job| names.insert(job.name.as_str()));
    jobs
}

/// What a deployment is when its job is this.
fn deployed(job: &str) -> &'static str {
    match job {
        "canceling" | "running" => "running",
        "manual" => "blocked",
        "success" => "success",
        "failed" => "failed",
        "canceled" => "canceled",
        "skipped" => "skipped",
        _ => "created",
    }
}

fn numbered(job: &Value, id: u64) -> Result<Value, String> {
    let mut job = fields(job)?;
    set(&mut job, "id", || id);
    Ok(Value::Object(job))
}

fn fill_job(
    given: &Value,
    turn: usize,
    created: OffsetDateTime,
    user: &Value,
    project: &Project,
) -> Result<Fields, String> {
    let mut job = fields(given)?;
    if !job.get("name").is_some_and(Value::is_string) {
        return Err("it has no name".to_owned());
    }
    set(&mut job, "stage", || "test");
    set(&mut job, "status", || "success");
    set(&mut job, "allow_failure", || false);
    set(&mut job, "user", || user.clone());
    person(&mut job, "user")?;
    let status = one_of(&job, "status", &JOB_STATUSES)?;
    set(&mut job, "failure_reason", || {
        (status == "failed").then_some("script_failure")
    });
    set(&mut job, "created_at", || stamp(created));
    let created = moment(&mut job, "created_at")?.ok_or("\"created_at\" is null")?;
    let lasts = job
        .get("duration")
        .and_then(Value::as_f64)
        .filter(|seconds| (0.0..1e9).contains(seconds));
    let lasts = lasts.map_or(TURN - QUEUED, Duration::seconds_f64);
    let due = created.saturating_add(TURN * as_factor(turn));
    let finish = moment(&mut job, "finished_at")?;
    let began = finish.is_some() || matches!(status.as_str(), "running" | "success" | "failed" | "canceling");
    set(&mut job, "started_at", || {
        began.then(|| stamp(finish.map_or(due.saturating_add(QUEUED), |finish| finish.saturating_sub(lasts))))
    });
    let started = moment(&mut job, "started_at")?;
    let ended = matches!(status.as_str(), "success" | "failed" | "canceled");
    // A job that is canceled before it starts is finished all the same.
    set(&mut job, "finished_at", || {
        ended.then(|| stamp(started.map_or(due, |started| started.saturating_add(lasts))))
    });
    let finished = moment(&mut job, "finished_at")?;
    set(&mut job, "duration", || {
        let started = started?;
        Some(finished.map_or(RUNNING_FOR, |finished| (finished - started).as_seconds_f64()))
    });
    set(&mut job, "queued_duration", || started.map(|_| QUEUED.as_seconds_f64()));
    let id = number(&job, "id")?;
    set(&mut job, "web_url", || web(project, "jobs", id));
    set(&mut job, "artifacts", || json!({}));
    let artifacts = job["artifacts"]
        .as_object_mut()
        .ok_or("\"artifacts\" is not an object")?;
    for content in artifacts.values_mut() {
        if !content.is_string() {
            *content = Value::from(content.to_string());
        }
    }
    Ok(job)
}

/// A name, or an object that has one. Equal names are one environment.
fn environment(deployment: &mut Fields, known: &mut Vec<String>) -> Result<(), String> {
    set(deployment, "environment", || "production");
    let mut environment = match deployment.remove("environment") {
        Some(Value::String(name)) => fields(&json!({"name": name}))?,
        Some(Value::Object(environment)) => environment,
        _ => return Err("\"environment\" is neither a name nor an object".to_owned()),
    };
    let name = environment.get("name").and_then(Value::as_str);
    let name = name.ok_or("\"environment\" has no name")?.to_owned();
    let number = known.iter().position(|other| *other == name).unwrap_or_else(|| {
        known.push(name.clone());
        known.len() - 1
    });
    set(&mut environment, "id", || number + 1);
    let slug = name
        .to_lowercase()
        .replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
    set(&mut environment, "slug", || slug);
    set(&mut environment, "external_url", || Value::Null);
    deployment.insert("environment".to_owned(), Value::Object(environment));
    Ok(())
}

/// A title, or any of a merge request's fields. It was made on the day before the deployment, and merged an hour
/// before.
fn merge_request(given: &Value, turn: u64, deployed: OffsetDateTime, project: &Project) -> Result<Value, String> {
    let mut request = match given {
        Value::String(title) => fields(&json!({"title": title}))?,
        other => fields(other)?,
    };
    set(&mut request, "iid", || turn);
    let iid = number(&request, "iid")?;
    set(&mut request, "id", || 6000 + iid);
    set(&mut request, "project_id", || project.id);
    set(&mut request, "title", || format!("Change {iid}"));
    set(&mut request, "description", || "");
    set(&mut request, "state", || "merged");
    set(&mut request, "created_at", || {
        stamp(deployed.saturating_sub(TURN * 60 * 24))
    });
    set(&mut request, "merged_at", || stamp(deployed.saturating_sub(TURN * 60)));
    moment(&mut request, "created_at")?.ok_or("\"created_at\" is null")?;
    let merged = moment(&mut request, "merged_at")?;
    set(&mut request, "updated_at", || merged.map(stamp));
    set(&mut request, "author", dana);
    person(&mut request, "author")?;
    let author = request["author"].clone();
    set(&mut request, "merge_user", || merged.map(|_| author));
    if !request["merge_user"].is_null() {
        person(&mut request, "merge_user")?;
    }
    set(&mut request, "source_branch", || format!("change-{iid}"));
    set(&mut request, "target_branch", || "main");
    set(&mut request, "labels", || json!([]));
    set(&mut request, "draft", || false);
    set(&mut request, "sha", || format!("{:040x}", 0xa000 + iid));
    set(&mut request, "merge_commit_sha", || format!("{:040x}", 0xb000 + iid));
    set(&mut request, "squash_commit_sha", || Value::Null);
    set(&mut request, "web_url", || web(project, "merge_requests", iid));
    Ok(Value::Object(request))
}

fn dana() -> Value {
    Value::from("dana")
}

/// A user is a login, or an object that has one as its `username`.
fn person(holder: &mut Fields, name: &str) -> Result<(), String> {
    let mut user = match holder.remove(name) {
        Some(Value::String(login)) => fields(&json!({"username": login}))?,
        Some(Value::Object(user)) => user,
        _ => return Err(format!("{name:?} is neither a login nor an object")),
    };
    let login = user.get("username").and_then(Value::as_str);
    let login = login.ok_or(format!("{name:?} has no username"))?.to_owned();
    // One number for each login, whoever else is seeded.
    let number = login
        .bytes()
        .fold(0_u64, |sum, byte| (sum * 31 + u64::from(byte)) % 100_000);
    set(&mut user, "id", || number);
    let mut letters = login.chars();
    let capital = letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect::<String>());
    set(&mut user, "name", || capital);
    set(&mut user, "state", || "active");
    set(&mut user, "avatar_url", || Value::Null);
    set(&mut user, "web_url", || format!("{WEB}/{login}"));
    holder.insert(name.to_owned(), Value::Object(user));
    Ok(())
}

pub(super) fn web(project: &Project, kind: &str, id: u64) -> String {
    format!("{WEB}/{}/-/{kind}/{id}", project.path)
}

fn as_factor(turn: usize) -> i32 {
    i32::try_from(turn).unwrap_or(i32::MAX / 60)
}

fn number(fields: &Fields, name: &str) -> Result<u64, String> {
    let number = fields
        .get(name)
        .and_then(Value::as_u64)
        .filter(|number| *number < LARGEST_ID);
    number.ok_or(format!("{name:?} is not a number that can count"))
}

fn fields(value: &Value) -> Result<Fields, String> {
    value.as_object().cloned().ok_or(format!("{value} is not an object"))
}

fn list(value: &Value) -> Result<&[Value], String> {
    value
        .as_array()
        .map(Vec::as_slice)
        .ok_or(format!("{value} is not a list"))
}

/// A default for what was left out. What is null was not.
fn set<T: Serialize>(fields: &mut Fields, name: &str, default: impl FnOnce() -> T) {
    if !fields.contains_key(name) {
        fields.insert(name.to_owned(), json!(default()));
    }
}

fn take<T: for<'a> Deserialize<'a>, D: Serialize>(
    fields: &mut Fields,
    name: &str,
    default: impl FnOnce() -> D,
) -> Result<T, String> {
    set(fields, name, default);
    read(fields.remove(name).unwrap_or_default()).map_err(|error| format!("{name}: {error}"))
}

fn one_of(fields: &Fields, name: &str, known: &[&str]) -> Result<String, String> {
    let text = fields.get(name).and_then(Value::as_str).unwrap_or_default();
    if known.contains(&text) {
        Ok(text.to_owned())
    } else {
        Err(format!("{name:?} is none of {}", known.join(", ")))
    }
}

/// Reads a time, and leaves it as GitLab prints it, so that times can be compared as text.
fn moment(fields: &mut Fields, name: &str) -> Result<Option<OffsetDateTime>, String> {
    let Some(given) = fields.get_mut(name).filter(|given| !given.is_null()) else {
        return Ok(None);
    };
    let time = given.as_str().and_then(parse_time);
    let time = time.and_then(|time| time.checked_to_offset(time::UtcOffset::UTC));
    let time = time.ok_or(format!("{name:?} is not a time"))?;
    *given = Value::from(stamp(time));
    Ok(Some(time))
}

fn read<T: for<'a> Deserialize<'a>>(value: Value) -> Result<T, String> {
    serde_json::from_value(value).map_err(|error| error.to_string())
}
