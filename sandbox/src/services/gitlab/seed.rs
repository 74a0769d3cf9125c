//! What follows from a seed, and what it may leave out.
//!
//! What was seeded is kept as it came, and everything else is derived from it anew each time: a default never outlives
//! the values that it was made of.

mod deployments;
mod fields;
mod jobs;
mod pipelines;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::model::{Pipeline, Project, State};
use crate::clock::stamp;
use fields::{Fields, LARGEST_ID, fields, list, read};
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
        let seeded = fields(seeded)?;
        let known = ["project", "current_job", "pipelines", "deployments"];
        if let Some(name) = seeded.keys().find(|name| !known.contains(&name.as_str())) {
            return Err(format!("unknown field {name:?}"));
        }
        let project = seeded.get("project").cloned().unwrap_or_default();
        let project: Project = read(project).map_err(|error| format!("project: {error}"))?;
        let given = seeded.get("pipelines").map_or_else(|| Ok(Fields::new()), fields);
        let given = given.map_err(|error| format!("pipelines: {error}"))?;
        let mut ids = JobIds::of(&given)?;
        let mut numbered = BTreeMap::new();
        for (id, given) in &given {
            let number = id.parse::<u64>().ok().filter(|id| *id < LARGEST_ID / 1000);
            numbered.insert(number.ok_or(format!("{id:?} is no pipeline's id"))?, given);
        }
        let mut pipelines = BTreeMap::new();
        // A trigger job follows the pipeline that it made, which has a higher id.
        for (number, given) in numbered.into_iter().rev() {
            let pipeline = Pipeline::derive(number, given, &project, &mut ids, &pipelines);
            pipelines.insert(number, pipeline.map_err(|error| format!("pipeline {number}: {error}"))?);
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
