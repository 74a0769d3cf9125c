//! A job as GitLab's API shows it.

use std::{fmt, time::SystemTime};

use serde_json::Value;

use crate::time;

/// Declares the statuses of jobs once: variant, and GitLab's word.
macro_rules! statuses {
    ($($(#[doc = $doc:literal])+ $variant:ident = $word:literal;)+) => {
        /// A job's status (`AVAILABLE_STATUSES` of GitLab's `Ci::HasStatus`).
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Status {
            $($(#[doc = $doc])+ $variant,)+
            /// A word that GitLab didn't have when this was written. Nothing may be concluded from it.
            Unknown(String),
        }

        impl Status {
            /// The status that GitLab's word means.
            pub fn from_word(word: &str) -> Self {
                match word {
                    $($word => Self::$variant,)+
                    _ => Self::Unknown(word.to_owned()),
                }
            }

            /// GitLab's word for it.
            pub fn word(&self) -> &str {
                match self {
                    $(Self::$variant => $word,)+
                    Self::Unknown(word) => word,
                }
            }
        }
    };
}

statuses! {
    /// Jobs before it have to end first.
    Created = "created";
    /// Another job holds its resource group.
    WaitingForResource = "waiting_for_resource";
    /// What it needs (a cluster's namespace) is being made.
    Preparing = "preparing";
    /// Another system has to answer.
    WaitingForCallback = "waiting_for_callback";
    /// No runner has taken it yet.
    Pending = "pending";
    /// A runner is at it.
    Running = "running";
    /// It ended well.
    Success = "success";
    /// It ended badly, or was not allowed to start.
    Failed = "failed";
    /// It is canceled, and its `after_script` runs (GitLab 17.0).
    Canceling = "canceling";
    /// It was ended, or its turn was taken away.
    Canceled = "canceled";
    /// Jobs before it ended in such a way that it doesn't run.
    Skipped = "skipped";
    /// Somebody has to start it.
    Manual = "manual";
    /// `when: delayed`: its time has not come.
    Scheduled = "scheduled";
}

impl Status {
    /// Its turn has not come, and will come without anybody's doing.
    pub(super) fn is_waiting(&self) -> bool {
        matches!(
            self,
            Self::Created
                | Self::WaitingForResource
                | Self::Preparing
                | Self::WaitingForCallback
                | Self::Pending
                | Self::Scheduled
        )
    }

    pub(super) fn is_canceled(&self) -> bool {
        matches!(self, Self::Canceled | Self::Canceling)
    }
}

/// One job, as `GET /projects/:id/pipelines/:pipeline_id/jobs` shows it (docs/gitlab.md 11).
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Its id; a retry makes a new job with a higher one.
    pub id: u64,
    /// Its name: the same in every attempt, and no two jobs of a pipeline share one.
    pub name: String,
    /// Its stage.
    pub stage: String,
    /// Where it is.
    pub status: Status,
    /// Whether the pipeline passes without it. GitLab sets it when a job ends with one of `allow_failure: exit_codes`.
    pub allow_failure: bool,
    /// When a runner took it, as GitLab writes it.
    pub started_at: Option<String>,
    /// When it ended, as GitLab writes it; a canceled job has it without having started.
    pub finished_at: Option<String>,
    /// Seconds it ran; of a running job, until now.
    pub duration: Option<f64>,
    /// Seconds it waited for a runner; of a waiting job, until now.
    pub queued_duration: Option<f64>,
    /// Login of the one who started it.
    pub user: Option<String>,
    /// Its page.
    pub web_url: Option<String>,
    /// GitLab's word for why it failed (`script_failure`, `job_execution_timeout`); only failed jobs have one.
    pub failure_reason: Option<String>,
}

impl Job {
    /// A job of GitLab's reply; none if it has no id, name or status. Everything else may be missing.
    pub fn from_json(job: &Value) -> Option<Self> {
        let text = |field: &str| job[field].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        Some(Self {
            id: job["id"].as_u64()?,
            name: text("name")?,
            stage: text("stage").unwrap_or_default(),
            status: Status::from_word(job["status"].as_str()?),
            allow_failure: job["allow_failure"].as_bool().unwrap_or_default(),
            started_at: text("started_at"),
            finished_at: text("finished_at"),
            duration: job["duration"].as_f64(),
            queued_duration: job["queued_duration"].as_f64(),
            user: job["user"]["username"].as_str().map(str::to_owned),
            web_url: text("web_url"),
            failure_reason: text("failure_reason"),
        })
    }

    pub(super) fn started(&self) -> Option<SystemTime> {
        self.started_at.as_deref().and_then(time::parse)
    }

    /// When it ended. A job that has not ended has no end, whatever the reply says.
    pub(super) fn finished(&self) -> Option<SystemTime> {
        let has_ended = matches!(self.status, Status::Success | Status::Failed | Status::Canceled);
        self.finished_at.as_deref().filter(|_| has_ended).and_then(time::parse)
    }

    /// What became of it, in words that follow its name.
    fn fate(&self) -> String {
        let never_started = if self.started_at.is_none() {
            " before it started"
        } else {
            ""
        };
        let fate = match &self.status {
            Status::Success => "succeeded",
            Status::Failed => {
                let reason = self.failure_reason.as_deref().map(|reason| format!(" ({reason})"));
                return format!("failed{never_started}{}", reason.unwrap_or_default());
            }
            Status::Canceled => return format!("was canceled{never_started}"),
            Status::Canceling => "is being canceled",
            Status::Skipped => "was skipped",
            Status::Running => "still runs",
            Status::Created => "waits for other jobs (created)",
            Status::Pending => "waits for a runner (pending)",
            Status::WaitingForResource => "waits for its resource group (waiting_for_resource)",
            Status::Preparing => "is being prepared (preparing)",
            Status::WaitingForCallback => "waits for another system's answer (waiting_for_callback)",
            Status::Scheduled => "waits for its delay to pass (scheduled)",
            Status::Manual => "waits for somebody to start it (manual)",
            Status::Unknown(word) => return format!("is `{word}`"),
        };
        fate.to_owned()
    }
}

impl fmt::Display for Job {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "`{}` {}", self.name, self.fate())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn jobs_are_read_as_gitlab_writes_them() {
        let job = json!({
            "id": 7, "status": "failed", "stage": "deploy", "name": "deploy", "ref": "main", "tag": false,
            "coverage": null, "allow_failure": false, "created_at": "2025-12-24T15:51:21.802Z",
            "started_at": "2025-12-24T17:54:30.733+01:00", "finished_at": "2025-12-24T17:54:31.198Z",
            "erased_at": null, "duration": 0.465, "queued_duration": 0.123_478_9,
            "user": {"id": 1, "name": "Dana", "username": "dana", "state": "active"},
            "commit": {"id": "0ff3ae198f8601a285adcf5c0fff204ee6fba5fd", "title": "Test"},
            "pipeline": {"id": 6, "ref": "main", "status": "failed"},
            "failure_reason": "script_failure", "web_url": "https://example.com/foo/bar/-/jobs/7",
            "project": {"ci_job_token_scope_enabled": false}, "archived": false, "runner": null,
        });
        let expected = Job {
            id: 7,
            name: "deploy".to_owned(),
            stage: "deploy".to_owned(),
            status: Status::Failed,
            allow_failure: false,
            started_at: Some("2025-12-24T17:54:30.733+01:00".to_owned()),
            finished_at: Some("2025-12-24T17:54:31.198Z".to_owned()),
            duration: Some(0.465),
            queued_duration: Some(0.123_478_9),
            user: Some("dana".to_owned()),
            web_url: Some("https://example.com/foo/bar/-/jobs/7".to_owned()),
            failure_reason: Some("script_failure".to_owned()),
        };
        assert_eq!(Job::from_json(&job), Some(expected));

        let bare = Job::from_json(&json!({"id": 1, "name": "a", "status": "weird", "user": null, "duration": null}));
        assert_eq!(bare.unwrap().status, Status::Unknown("weird".to_owned()));
        for broken in [
            json!({"name": "a", "status": "success"}),
            json!({"id": 1, "status": "success"}),
            json!({"id": 1, "name": "a", "status": null}),
            json!({"id": "1", "name": "a", "status": "success"}),
            json!({"message": "401 Unauthorized"}),
            json!([]),
            json!(null),
        ] {
            assert_eq!(Job::from_json(&broken), None, "{broken}");
        }
    }

    #[test]
    fn every_status_has_its_word() {
        for word in [
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
        ] {
            let status = Status::from_word(word);
            assert!(!matches!(status, Status::Unknown(_)), "{word}");
            assert_eq!(status.word(), word);
        }
    }
}
