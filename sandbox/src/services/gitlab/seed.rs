//! What follows from a seed, and what it may leave out.
//!
//! What was seeded is kept as it came, and everything else is derived from it anew each time: a default never outlives
//! the values that it was made of.

mod deployments;
mod fields;
mod jobs;
mod merge_requests;
mod pipelines;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::model::{Pipeline, Project, Record, State};
use crate::clock::stamp;
use deployments::Numbers;
use fields::{Fields, LARGEST_ID, fields, list, moment, number, read, set};
use jobs::JobIds;
use pipelines::{CREATED, SHA};

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

impl State {
    /// Everything that follows from what was seeded; or what is wrong with it.
    pub(super) fn derive(seeded: &Value) -> Result<Self, String> {
        let mut seeded = fields(seeded)?;
        let known = [
            "project",
            "current_job",
            "pipelines",
            "deployments",
            "merge_requests",
            "projects",
        ];
        if let Some(name) = seeded.keys().find(|name| !known.contains(&name.as_str())) {
            return Err(format!("unknown field {name:?}"));
        }
        let current_job = seeded.remove("current_job").unwrap_or_default();
        let others = seeded
            .remove("projects")
            .map_or_else(|| Ok(Fields::new()), |given| fields(&given));
        let others = others.map_err(|error| format!("projects: {error}"))?;
        let project = seeded.remove("project").unwrap_or_default();
        let project = project_of(&project).map_err(|error| format!("project: {error}"))?;
        let mut given = vec![(project, seeded)];
        for (id, other) in &others {
            let other = fields(other).and_then(|mut other| {
                let parts = ["pipelines", "deployments", "merge_requests"];
                let parts = parts
                    .into_iter()
                    .filter_map(|name| other.remove_entry(name))
                    .collect::<Fields>();
                if other.insert("id".to_owned(), json!(id.parse::<u64>().ok())).is_some() {
                    return Err("its \"id\" is its key".to_owned());
                }
                Ok((project_of(&Value::Object(other))?, parts))
            });
            given.push(other.map_err(|error| format!("project {id}: {error}"))?);
        }
        let pipelines = given
            .iter()
            .filter_map(|(_, parts)| parts.get("pipelines")?.as_object());
        let mut shared = Shared {
            jobs: JobIds::of(pipelines.flat_map(Fields::values))?,
            pipelines: BTreeSet::new(),
            deployments: BTreeSet::new(),
            own_jobs: BTreeMap::new(),
            numbers: Numbers::default(),
        };
        let mut records = Vec::new();
        let mut names = BTreeSet::new();
        for (turn, (project, parts)) in given.into_iter().enumerate() {
            let (id, path) = (project.id, project.path.clone());
            if !names.insert(id.to_string()) || !names.insert(path.clone()) {
                return Err(format!("there are two projects {id} or {path:?}"));
            }
            let first = if turn == 0 { 501 } else { id * 10_000 + 501 };
            let record = Record::derive(project, &parts, first, &mut shared);
            // What is wrong with the one at the top needs no project's name.
            records.push(record.map_err(|error| match turn {
                0 => error,
                _ => format!("project {id}: {error}"),
            })?);
        }
        // A pipeline's job may also be seeded as a deployment's own, but not as one of another project.
        for record in &records {
            let mut others = shared
                .own_jobs
                .iter()
                .filter(|(_, project)| **project != record.project.id);
            if let Some((id, _)) = others.find(|(id, _)| record.places.contains_key(*id)) {
                return Err(format!("there are two jobs {id}"));
            }
        }
        let mut records = records.into_iter();
        let own = records.next().expect("the first is pushed above");
        let current_job = match current_job {
            Value::Null => own.newest_running(),
            id => Some(
                id.as_u64()
                    .filter(|id| own.job(*id).is_some())
                    .ok_or(format!("current_job: no pipeline has a job {id}"))?,
            ),
        };
        let others = records.map(|record| (record.project.id, record)).collect();
        Ok(Self {
            current_job,
            own,
            others,
        })
    }
}

/// What no two projects may share.
struct Shared {
    jobs: JobIds,
    pipelines: BTreeSet<u64>,
    deployments: BTreeSet<u64>,
    /// The jobs that only deployments have, and their projects.
    own_jobs: BTreeMap<u64, u64>,
    numbers: Numbers,
}

fn project_of(given: &Value) -> Result<Project, String> {
    let mut project = fields(given)?;
    set(&mut project, "archived", || false);
    set(&mut project, "default_branch", || "main");
    set(&mut project, "job_token_access", || false);
    set(&mut project, "created_at", || "2024-01-01T10:00:00.000Z");
    moment(&mut project, "created_at")?.ok_or("\"created_at\" is null")?;
    number(&project, "id")?;
    let project: Project = read(Value::Object(project))?;
    if project.path.split('/').any(str::is_empty) || !project.path.contains('/') {
        return Err(format!("{:?} is no path of a project in a group", project.path));
    }
    Ok(project)
}

impl Record {
    fn derive(project: Project, parts: &Fields, first: u64, shared: &mut Shared) -> Result<Self, String> {
        let given = parts.get("pipelines").map_or_else(|| Ok(Fields::new()), fields);
        let given = given.map_err(|error| format!("pipelines: {error}"))?;
        let mut numbered = BTreeMap::new();
        for (id, given) in &given {
            let number = id.parse::<u64>().ok().filter(|id| *id < LARGEST_ID / 1000);
            let number = number.ok_or(format!("{id:?} is no pipeline's id"))?;
            if !shared.pipelines.insert(number) {
                return Err(format!("there are two pipelines {number}"));
            }
            numbered.insert(number, given);
        }
        let mut pipelines = BTreeMap::new();
        // A trigger job follows the pipeline that it made, which has a higher id.
        for (number, given) in numbered.into_iter().rev() {
            let pipeline = Pipeline::derive(number, given, &project, &mut shared.jobs, &pipelines);
            pipelines.insert(number, pipeline.map_err(|error| format!("pipeline {number}: {error}"))?);
        }
        let places = pipelines.iter().flat_map(|(id, pipeline): (&u64, &Pipeline)| {
            let jobs = pipeline.jobs.iter().enumerate();
            jobs.map(|(place, job)| (job.id, (*id, place)))
        });
        let mut record = Self {
            places: places.collect(),
            project,
            pipelines,
            deployments: Vec::new(),
            merge_requests: BTreeMap::new(),
        };
        record.check_downstream()?;
        let given = parts.get("merge_requests").map_or_else(|| Ok(Fields::new()), fields);
        for (iid, given) in given.map_err(|error| format!("merge_requests: {error}"))? {
            let number = iid
                .parse::<u64>()
                .map_err(|_| format!("{iid:?} is no merge request's number"))?;
            let request = merge_requests::of_project(number, &given, CREATED, &record.project);
            let request = request.map_err(|error| format!("merge request {iid}: {error}"))?;
            record.merge_requests.insert(number, request);
        }
        let given = parts.get("deployments").map_or(Ok(&[][..]), list);
        let given = given.map_err(|error| format!("deployments: {error}"))?;
        for (turn, given) in given.iter().enumerate() {
            let deployment = record.deployment(turn, given, first, &mut shared.numbers);
            let deployment = deployment.map_err(|error| format!("deployment {}: {error}", turn + 1))?;
            if !shared.deployments.insert(deployment.id) {
                return Err(format!("there are two deployments {}", deployment.id));
            }
            if let Some(job) = &deployment.own_job {
                let other = shared.own_jobs.insert(job.id, record.project.id);
                other.map_or(Ok(()), |_| Err(format!("there are two jobs {}", job.id)))?;
            }
            record.deployments.push(deployment);
        }
        Ok(record)
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
}
