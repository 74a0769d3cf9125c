//! The files that jobs leave behind.

use super::model::{Job, Record, latest};
use super::parameters::refuse_unknown;
use super::refusal::Refusal;
use crate::wire::{Reply, Request};

impl Record {
    /// `GET …/jobs/artifacts/:ref/raw/*path?job=`: of the newest pipeline of the ref that succeeded as a whole.
    pub(super) fn artifact_of_ref(
        &self,
        request: &Request,
        reference: &str,
        path: &[String],
    ) -> Result<Reply, Refusal> {
        let query = request.query();
        refuse_unknown(&query, &["job", "job_token"])?;
        let name = query.get("job").ok_or(Refusal::error(400, "job is missing"))?;
        let mut pipelines = self.pipelines.values().rev();
        let pipeline = pipelines.find(|pipeline| pipeline.reference == reference && pipeline.status == "success");
        let jobs = latest(pipeline.ok_or_else(Refusal::no_record)?.jobs.iter().collect());
        let job = jobs
            .into_iter()
            .find(|job| job.name == name && !job.artifacts.is_empty());
        artifact(job.ok_or_else(Refusal::no_record)?, path)
    }
}

/// A file of a job's archive. GitLab answers for a job without one; what isn't in it, the proxy in front of GitLab
/// doesn't find, which speaks no JSON (`workhorse/internal/artifacts/entry.go`).
pub(super) fn artifact(job: &Job, path: &[String]) -> Result<Reply, Refusal> {
    if job.artifacts.is_empty() {
        return Err(Refusal::new(404, "404 Not Found"));
    }
    let path = path.join("/");
    if path.split('/').any(|part| ["", ".", ".."].contains(&part)) {
        return Err(Refusal::new(400, "400 Bad request"));
    }
    let Some(content) = job.artifacts.get(&path) else {
        return Ok(Reply::text(404, "404 page not found\n"));
    };
    let name = path.rsplit('/').next().unwrap_or_default();
    let kind = match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "json" => "application/json",
        "txt" | "log" => "text/plain; charset=utf-8",
        "html" => "text/html; charset=utf-8",
        _ => "application/octet-stream",
    };
    let plain = |letter: char| {
        if letter.is_ascii_graphic() && !"\"\\".contains(letter) {
            letter
        } else {
            '_'
        }
    };
    let name = name.chars().map(plain).collect::<String>();
    Ok(Reply::bytes(200, kind, content.clone().into_bytes())
        .with("content-disposition", &format!("attachment; filename=\"{name}\"")))
}
