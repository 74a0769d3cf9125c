//! GitLab's record of deployments, and what it means (docs/gitlab.md 16). Pure: records come in, what happened comes out.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::{job::Job, slug};
use crate::{
    event::{Action, DeployJob},
    time::{self, timestamp},
};

/// A time this far ahead of ours is one of another clock; what is farther ahead is no time of a record.
const AHEAD: Duration = Duration::from_mins(10);

/// A deployment as GitLab's API shows it, with the job that made it.
#[derive(Debug, Clone, PartialEq)]
pub struct Deployment {
    /// Its id; a later one is higher.
    pub id: u64,
    /// GitLab's word: it follows the job's status, but that a manual job that waits is `blocked`.
    pub status: String,
    /// The environment's name.
    pub environment: String,
    /// GitLab's own slug of it.
    pub environment_slug: String,
    /// Branch, tag or merge request, as in `refs/merge-requests/12/head`.
    pub reference: String,
    /// Whether that is a tag.
    pub is_tag: bool,
    /// The commit.
    pub sha: Option<String>,
    /// Who started it.
    pub user: Option<String>,
    /// When the record was made.
    pub created_at: Option<SystemTime>,
    /// When the record was changed.
    pub updated_at: Option<SystemTime>,
    /// What made it; none where that is deleted.
    pub made_by: Option<MadeBy>,
}

/// The job that made a deployment, and what it was made of.
#[derive(Debug, Clone, PartialEq)]
pub struct MadeBy {
    /// The job.
    pub job: Job,
    /// The id of its pipeline.
    pub pipeline: u64,
    /// The pipeline's page.
    pub pipeline_url: Option<String>,
    /// What started the pipeline.
    pub source: Option<String>,
    /// When the pipeline was made.
    pub pipeline_created_at: Option<SystemTime>,
    /// Of the commit: title, message, `Name <email>`, and time.
    pub commit: [Option<String>; 4],
}

impl Deployment {
    /// A deployment of GitLab's reply; none if it lacks what tells it apart: id, status, environment.
    pub fn from_json(json: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let moment = |value: &Value| value.as_str().and_then(time::parse);
        let environment = text(&json["environment"]["name"])?;
        let deployable = &json["deployable"];
        Some(Self {
            id: json["id"].as_u64()?,
            status: text(&json["status"])?,
            environment_slug: text(&json["environment"]["slug"]).unwrap_or_else(|| slug::environment(&environment)),
            environment,
            reference: text(&json["ref"]).unwrap_or_default(),
            is_tag: deployable["tag"].as_bool().unwrap_or_default(),
            sha: text(&json["sha"]),
            user: text(&deployable["user"]["username"]).or_else(|| text(&json["user"]["username"])),
            created_at: moment(&json["created_at"]),
            updated_at: moment(&json["updated_at"]),
            made_by: Job::from_json(deployable).and_then(|job| {
                let (pipeline, commit) = (&deployable["pipeline"], &deployable["commit"]);
                let author = text(&commit["author_name"]).zip(text(&commit["author_email"]));
                Some(MadeBy {
                    job,
                    pipeline: pipeline["id"].as_u64()?,
                    pipeline_url: text(&pipeline["web_url"]),
                    source: text(&pipeline["source"]),
                    pipeline_created_at: moment(&pipeline["created_at"]),
                    commit: [
                        text(&commit["title"]),
                        text(&commit["message"]),
                        author.map(|(name, email)| format!("{name} <{email}>")),
                        text(&commit["created_at"]),
                    ],
                })
            }),
        })
    }

    /// The number of the merge request whose pipeline it is of, if it is of one.
    pub fn merge_request(&self) -> Option<u64> {
        let rest = self.reference.strip_prefix("refs/merge-requests/")?;
        rest.split('/').next()?.parse().ok()
    }

    fn started(&self) -> Option<SystemTime> {
        self.made_by.as_ref()?.job.started()
    }
}

/// What the deployments of one job, all of its attempts, mean.
#[derive(Debug, Clone, PartialEq)]
pub enum Meaning<'a> {
    /// This happened, in this attempt.
    Happened(&'a Deployment, Action),
    /// No attempt has started: this is told only of an entity that is there and waits for an end.
    Unstarted(&'a Deployment, Action),
    /// Nothing happened that could be told.
    Nothing,
    /// The record does not tell: why.
    Unclear(String),
}

/// What `attempts` of one job mean, in the order of their ids: the last that has a start counts. Blocked, created and
/// skipped ones, and those that ended badly before they started, have deployed nothing.
pub fn meaning(attempts: &[Deployment], now: SystemTime) -> Meaning<'_> {
    let has_run = |one: &&Deployment| match one.status.as_str() {
        "blocked" | "created" | "skipped" => false,
        "failed" | "canceled" => one.made_by.as_ref().is_some_and(|by| by.job.started_at.is_some()),
        _ => true,
    };
    if let Some(last) = attempts.iter().rev().find(has_run) {
        return happened(last, now);
    }
    match attempts.last() {
        Some(last) if last.status == "blocked" => Meaning::Unstarted(last, Action::Blocked),
        Some(last) if matches!(last.status.as_str(), "failed" | "canceled") => {
            Meaning::Unstarted(last, Action::Canceled)
        }
        _ => Meaning::Nothing,
    }
}

fn happened(last: &Deployment, now: SystemTime) -> Meaning<'_> {
    let unclear = |why: &str| Meaning::Unclear(format!("GitLab's deployment {} {why}", last.id));
    let action = match last.status.as_str() {
        "running" => Action::Started,
        "success" => Action::Success,
        "failed" => Action::Failure,
        "canceled" => Action::Canceled,
        other => return unclear(&format!("is `{other}`, a status that this version does not know")),
    };
    let Some(start) = last.started() else {
        let has_none = last.made_by.as_ref().is_some_and(|by| by.job.started_at.is_none());
        return unclear(if has_none {
            "has no start"
        } else {
            "has a start that is no time"
        });
    };
    let end = last.made_by.as_ref().and_then(|by| by.job.finished_at.as_deref());
    let end = end.map(time::parse).filter(|_| action.is_final());
    match end {
        None if action.is_final() => unclear("has ended, and GitLab shows no end of its job"),
        Some(None) => unclear("has an end that is no time"),
        Some(Some(end)) if end < start => unclear("ended before it started"),
        Some(Some(end)) if end > now + AHEAD => unclear("ended in the future"),
        _ if start > now + AHEAD => unclear("started in the future"),
        _ => Meaning::Happened(last, action),
    }
}

impl MadeBy {
    /// What an event says of the job, where `action` is what became of it at this attempt.
    pub fn deploy_job(&self, action: &Action, attempt: u32) -> DeployJob {
        let job = &self.job;
        let (start, end) = (job.started(), job.finished_at.as_deref().and_then(time::parse));
        let end = end.filter(|_| action.is_final());
        let between = start.zip(end).and_then(|(start, end)| end.duration_since(start).ok());
        DeployJob {
            name: Some(job.name.clone()),
            url: job.web_url.clone(),
            attempt,
            started_at: start.map(timestamp),
            finished_at: end.map(timestamp),
            duration: between.map(|between| between.as_secs()),
            queued: job.queued_duration.and_then(super::outcome::seconds),
            started_by: job.user.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(id: u64, status: &str, start: Option<&str>, end: Option<&str>) -> Deployment {
        let json = json!({
            "id": id, "status": status, "ref": "main", "sha": "9f2c1e7", "environment": {"name": "production"},
            "created_at": "2025-03-01T10:00:00Z", "updated_at": "2025-03-01T10:05:00Z",
            "deployable": {
                "id": 70_000 + id, "name": "deploy", "status": status, "started_at": start, "finished_at": end,
                "pipeline": {"id": 8812, "web_url": "https://gitlab.example.com/-/pipelines/8812"},
                "user": {"username": "dana"}, "web_url": "https://gitlab.example.com/-/jobs/1",
            },
        });
        Deployment::from_json(&json).unwrap()
    }

    fn told(attempts: &[Deployment]) -> String {
        let now = time::parse("2025-03-01T12:00:00Z").unwrap();
        match meaning(attempts, now) {
            Meaning::Happened(one, action) => format!("{} {action}", one.id),
            Meaning::Unstarted(one, action) => format!("{} unstarted {action}", one.id),
            Meaning::Nothing => "nothing".to_owned(),
            Meaning::Unclear(why) => why,
        }
    }

    const START: Option<&str> = Some("2025-03-01T10:00:01.250Z");
    const END: Option<&str> = Some("2025-03-01T10:05:00Z");

    #[test]
    fn the_last_attempt_that_has_a_start_counts() {
        let of = deployment;
        for (attempts, expected) in [
            (vec![of(1, "success", START, END)], "1 success"),
            (vec![of(1, "running", START, None)], "1 started"),
            (
                vec![of(1, "failed", START, END), of(2, "success", START, END)],
                "2 success",
            ),
            // What is run again and has not begun, or was refused before it could, undoes nothing.
            (
                vec![of(1, "success", START, END), of(2, "created", None, None)],
                "1 success",
            ),
            (
                vec![of(1, "failed", START, END), of(2, "blocked", None, None)],
                "1 failure",
            ),
            (
                vec![of(1, "success", START, END), of(2, "failed", None, END)],
                "1 success",
            ),
            (
                vec![of(1, "canceled", START, END), of(2, "canceled", None, END)],
                "1 canceled",
            ),
            (vec![of(1, "blocked", None, None)], "1 unstarted blocked"),
            (vec![of(1, "failed", None, END)], "1 unstarted canceled"),
            (vec![of(1, "canceled", None, None)], "1 unstarted canceled"),
            (
                vec![of(1, "failed", None, END), of(2, "created", None, None)],
                "nothing",
            ),
            (vec![of(1, "skipped", None, None)], "nothing"),
            (vec![], "nothing"),
        ] {
            assert_eq!(told(&attempts), expected);
        }
    }

    #[test]
    fn a_record_that_can_not_be_is_not_believed() {
        for (one, why) in [
            (deployment(1, "levitating", START, None), "is `levitating`"),
            (
                deployment(1, "success", START, None),
                "has ended, and GitLab shows no end",
            ),
            (deployment(1, "success", Some("now"), END), "a start that is no time"),
            (deployment(1, "success", None, END), "has no start"),
            (deployment(1, "success", START, Some("then")), "an end that is no time"),
            (
                deployment(1, "failed", START, Some("2025-03-01T09:00:00Z")),
                "ended before it started",
            ),
            (
                deployment(1, "running", Some("2125-03-01T09:00:00Z"), None),
                "started in the future",
            ),
            (
                deployment(1, "success", START, Some("2125-03-01T09:00:00Z")),
                "ended in the future",
            ),
        ] {
            let told = told(&[one]);
            assert!(
                told.starts_with("GitLab's deployment 1 ") && told.contains(why),
                "{told}"
            );
        }
    }

    #[test]
    fn what_is_missing_is_missing() {
        let bare = json!({"id": 1, "status": "success", "environment": {"name": "Review/X"}, "deployable": null});
        let bare = Deployment::from_json(&bare).unwrap();
        assert_eq!((&bare.made_by, bare.reference.as_str()), (&None, ""));
        assert_eq!(
            bare.environment_slug,
            slug::environment("Review/X"),
            "GitLab's own where it says it"
        );
        for broken in [
            json!({"status": "success", "environment": {"name": "p"}}),
            json!({"id": 1, "environment": {"name": "p"}}),
            json!({"id": 1, "status": "success"}),
            json!("x"),
        ] {
            assert_eq!(Deployment::from_json(&broken), None, "{broken}");
        }
        let of = |reference: &str| {
            let one = Deployment {
                reference: reference.to_owned(),
                ..bare.clone()
            };
            one.merge_request()
        };
        assert_eq!(
            (
                of("refs/merge-requests/12/head"),
                of("main"),
                of("refs/merge-requests/x")
            ),
            (Some(12), None, None)
        );
    }

    #[test]
    fn the_jobs_times_are_those_of_a_report() {
        let one = deployment(1, "failed", START, END);
        let job = one.made_by.unwrap().deploy_job(&Action::Failure, 2);
        assert_eq!(
            (job.started_at.as_deref(), job.finished_at.as_deref(), job.duration),
            (Some("2025-03-01T10:00:01Z"), Some("2025-03-01T10:05:00Z"), Some(298))
        );
        assert_eq!((job.attempt, job.name.as_deref()), (2, Some("deploy")));
    }
}
