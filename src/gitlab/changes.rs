//! What GitLab's record of an environment's deployments tells: what one brought, compared with the one before it, and who
//! made it (docs/gitlab.md 11). Pure.

use serde_json::{Value, json};

use crate::time;

/// The deployment that this pipeline made, and the one before it, among an environment's `deployments`, the newest first.
pub fn ours_and_before(deployments: &[Value], pipeline: Option<u64>) -> (Option<&Value>, Option<&Value>) {
    let is_ours = |deployment: &Value| {
        let id = deployment["deployable"]["pipeline"]["id"].as_u64();
        id.is_some() && id == pipeline
    };
    let ours = deployments.iter().find(|deployment| is_ours(deployment));
    // What is older than ours, and ended well, is what was there before.
    let before = deployments
        .iter()
        .skip_while(|deployment| ours.is_some_and(|ours| deployment["id"] != ours["id"]))
        .find(|deployment| !is_ours(deployment) && deployment["status"] == "success");
    (ours, before)
}

/// The only job of this pipeline that deployed, by an environment's `deployments`. A job that never started has deployed
/// nothing, whatever record there is of it (docs/gitlab.md 16).
///
/// # Errors
/// Why they don't tell: there is none, or more than one.
pub fn deployer(deployments: &[Value], pipeline: Option<u64>) -> Result<String, String> {
    let of_ours = deployments
        .iter()
        .map(|deployment| &deployment["deployable"])
        .filter(|job| {
            let id = job["pipeline"]["id"].as_u64();
            id.is_some() && id == pipeline && !job["started_at"].is_null()
        });
    let mut names: Vec<&str> = of_ours.filter_map(|job| job["name"].as_str()).collect();
    names.sort_unstable();
    names.dedup();
    match names.as_slice() {
        [only] => Ok((*only).to_owned()),
        [] => Err("GitLab has no deployment of this pipeline to the environment".to_owned()),
        several => {
            let names: Vec<String> = several.iter().map(|name| format!("`{name}`")).collect();
            Err(format!(
                "several jobs of this pipeline have deployed to the environment: {}",
                names.join(", ")
            ))
        }
    }
}

/// The value of `changes`, for templates.
pub fn described(ours: Option<&Value>, before: Option<&Value>, merge_requests: &Value, now: &str) -> Value {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_job_can_be_the_one_that_deployed() {
        let deployment = |pipeline: u64, name: &str, has_started: bool| {
            let started_at = has_started.then_some("2025-03-01T10:00:00Z");
            json!({"deployable": {"name": name, "started_at": started_at, "pipeline": {"id": pipeline}}})
        };
        let gone = json!({"deployable": null});
        for (deployments, expected) in [
            // Retried, beside another pipeline's, one that nobody clicked, and one whose job is deleted.
            (
                vec![
                    deployment(8, "deploy: [shop]", true),
                    deployment(8, "deploy: [shop]", true),
                    deployment(9, "other", true),
                    deployment(8, "canary", false),
                    gone,
                ],
                "deploy: [shop]",
            ),
            (
                vec![deployment(8, "b", true), deployment(8, "a", true)],
                "several jobs of this pipeline have deployed to the environment: `a`, `b`",
            ),
            (
                vec![deployment(9, "deploy", true)],
                "GitLab has no deployment of this pipeline to the environment",
            ),
            (vec![], "GitLab has no deployment of this pipeline to the environment"),
        ] {
            let found = deployer(&deployments, Some(8)).unwrap_or_else(|why| why);
            assert_eq!(found, expected);
        }
        assert!(deployer(&[json!({"deployable": {"name": "deploy", "started_at": "x"}})], None).is_err());
    }
}
