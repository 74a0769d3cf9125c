//! Finding what a path names.

use serde_json::Value;

use super::model::{Deployment, Job, Pipeline, Record, State};
use super::refusal::Refusal;

impl State {
    /// A project by its id or its full path.
    pub(super) fn find_project(&self, project: &str) -> Result<&Record, Refusal> {
        let mut records = self.records();
        records
            .find(|record| project == record.project.path || project == record.project.id.to_string())
            .ok_or(Refusal::of(404))
    }
}

impl Record {
    pub(super) fn find_pipeline(&self, id: &str) -> Result<(u64, &Pipeline), Refusal> {
        let id = number(id, "pipeline_id")?;
        let pipeline = self.pipelines.get(&id).ok_or_else(Refusal::no_record)?;
        Ok((id, pipeline))
    }

    pub(super) fn find_job(&self, id: &str) -> Result<(u64, &Job), Refusal> {
        let job = self.job(number(id, "job_id")?);
        job.ok_or(Refusal::new(404, "404 Not Found"))
    }

    /// The job whose artifacts are asked for: of a pipeline, or a deployment's own.
    pub(super) fn find_any_job(&self, id: &str) -> Result<&Job, Refusal> {
        let number = number(id, "job_id")?;
        let mut own = self
            .deployments
            .iter()
            .filter_map(|deployment| deployment.own_job.as_ref());
        match self.find_job(id) {
            Ok((_, job)) => Ok(job),
            Err(missing) => own.find(|job| job.id == number).ok_or(missing),
        }
    }

    /// A merge request by its number in the project: of the project, or one that a deployment brought.
    pub(super) fn find_merge_request(&self, iid: &str) -> Result<&Value, Refusal> {
        let iid = number(iid, "merge_request_iid")?;
        let brought = self
            .deployments
            .iter()
            .flat_map(|deployment| &deployment.merge_requests);
        self.merge_requests
            .get(&iid)
            .or_else(|| brought.into_iter().find(|request| request["iid"] == iid))
            .ok_or_else(Refusal::no_record)
    }

    pub(super) fn find_deployment(&self, id: &str) -> Result<&Deployment, Refusal> {
        let id = number(id, "deployment_id")?;
        let mut deployments = self.deployments.iter();
        deployments
            .find(|deployment| deployment.id == id)
            .ok_or_else(Refusal::no_record)
    }
}

fn number(text: &str, name: &str) -> Result<u64, Refusal> {
    text.parse()
        .map_err(|_| Refusal::error(400, format!("{name} is invalid")))
}
