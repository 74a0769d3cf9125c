//! Finding what a path names.

use super::model::{Deployment, Job, Pipeline, State};
use super::refusal::Refusal;

impl State {
    pub(super) fn find_pipeline(&self, id: &str) -> Result<(u64, &Pipeline), Refusal> {
        let id = number(id, "pipeline_id")?;
        let pipeline = self.pipelines.get(&id).ok_or_else(Refusal::no_record)?;
        Ok((id, pipeline))
    }

    pub(super) fn find_job(&self, id: &str) -> Result<(u64, &Job), Refusal> {
        let job = self.job(number(id, "job_id")?);
        job.ok_or(Refusal::new(404, "404 Not Found"))
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
