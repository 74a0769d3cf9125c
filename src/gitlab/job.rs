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

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It runs a script.
    Build,
    /// It makes a pipeline, which has this id: a trigger job, which GitLab's code calls a bridge (docs/gitlab.md 11.1).
    Trigger(u64),
    /// It does so too, and GitLab shows no pipeline that it has made: there is none, or it was deleted.
    TriggerOfNothing,
}

/// One job, as `GET /projects/:id/pipelines/:pipeline_id/jobs` shows it (docs/gitlab.md 11), or a trigger job with the end
/// of its downstream pipeline.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Its id; a retry makes a new job with a higher one.
    pub id: u64,
    /// Its name: the same in every attempt, and no two jobs of a pipeline share one.
    pub name: String,
    /// Its stage.
    pub stage: String,
    /// What it does.
    pub kind: Kind,
    /// Where it is.
    pub status: Status,
    /// Whether the pipeline passes without it. GitLab sets it when a job ends with one of `allow_failure: exit_codes`.
    pub allow_failure: bool,
    /// Whether GitLab says that no runner has taken it.
    pub is_untaken: bool,
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
    /// Whether it left files that can be read.
    pub has_artifacts: bool,
}

impl Job {
    /// A job of GitLab's reply; none if it has no id, name or status. Everything else may be missing.
    pub fn from_json(job: &Value) -> Option<Self> {
        let text = |field: &str| job[field].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        Some(Self {
            id: job["id"].as_u64()?,
            name: text("name")?,
            stage: text("stage").unwrap_or_default(),
            kind: Kind::Build,
            status: Status::from_word(job["status"].as_str()?),
            allow_failure: job["allow_failure"].as_bool().unwrap_or_default(),
            is_untaken: job.get("started_at").is_some_and(Value::is_null),
            started_at: text("started_at"),
            finished_at: text("finished_at"),
            duration: job["duration"].as_f64(),
            queued_duration: job["queued_duration"].as_f64(),
            user: job["user"]["username"].as_str().map(str::to_owned),
            web_url: text("web_url"),
            failure_reason: text("failure_reason"),
            has_artifacts: job["artifacts_file"].is_object() || has_archive(&job["artifacts"]),
        })
    }

    /// A trigger job of GitLab's reply, which ends as its downstream pipeline does: its own status is `success` as soon as
    /// that is there, unless it waits for it (docs/gitlab.md 11.1).
    pub fn from_trigger(job: &Value) -> Option<Self> {
        let own = Self::from_json(job)?;
        let downstream = &job["downstream_pipeline"];
        let Some(id) = downstream["id"].as_u64() else {
            let has_failed = matches!(own.status, Status::Failed | Status::Canceled);
            return Some(Self {
                kind: Kind::TriggerOfNothing,
                // It may have begun to make one; nothing ran.
                is_untaken: own.is_untaken || has_failed,
                ..own
            });
        };
        let status = Status::from_word(downstream["status"].as_str()?);
        // Who waits for a pipeline of which nothing runs has failed (`strategy: depend`).
        let is_empty = own.status == Status::Failed && status == Status::Skipped;
        let text = |field: &str| downstream[field].as_str().map(str::to_owned);
        Some(Self {
            kind: Kind::Trigger(id),
            status: if is_empty { Status::Failed } else { status },
            is_untaken: is_empty,
            started_at: own.started_at.or_else(|| text("created_at")),
            // What the job itself says is when the pipeline was made, unless it waits.
            finished_at: text("updated_at"),
            duration: None,
            web_url: text("web_url").or(own.web_url),
            failure_reason: None,
            ..own
        })
    }

    /// Whether it ended before a runner took it: such a job has done nothing (docs/gitlab.md 3.9).
    pub fn never_started(&self) -> bool {
        self.is_untaken && matches!(self.status, Status::Failed | Status::Canceled)
    }

    /// Whether it has done anything.
    pub(super) fn has_run(&self) -> bool {
        let may_have = !self.status.is_waiting() && !matches!(self.status, Status::Manual | Status::Skipped);
        may_have && !self.is_untaken
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
        let never_started = if self.never_started() { " before it started" } else { "" };
        let fate = match &self.status {
            Status::Success => "succeeded",
            Status::Failed => {
                let reason = self.failure_reason.as_deref().map(|reason| match in_words(reason) {
                    Some(words) if self.is_untaken => format!(" ({reason}: {words})"),
                    _ => format!(" ({reason})"),
                });
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
        write!(formatter, "`{}` ", self.name)?;
        match self.kind {
            Kind::Trigger(id) if self.never_started() => {
                write!(formatter, "failed, since nothing of its downstream pipeline {id} ran")
            }
            Kind::Trigger(id) => write!(formatter, "{} in its downstream pipeline {id}", self.fate()),
            Kind::TriggerOfNothing | Kind::Build => formatter.write_str(&self.fate()),
        }
    }
}

/// Whether a list of a job's files has the archive among them, and not its log alone.
fn has_archive(files: &Value) -> bool {
    let mut files = files.as_array().into_iter().flatten();
    files.any(|file| file["file_type"] == "archive")
}

/// What GitLab's word for a failure before the start means; none where the word says it (docs/gitlab.md 3.9).
fn in_words(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "deployment_rejected" => "its approval was refused",
        "failed_outdated_deployment_job" | "forward_deployment_failure" => "a newer deployment had begun",
        "protected_environment_failure" => "who started it may not deploy to this environment",
        "environment_creation_failure" => "the environment's name or URL is not valid",
        "missing_dependency_failure" => "artifacts that it needs have expired or were erased",
        "stuck_or_timeout_failure"
        | "no_matching_runner"
        | "stuck_pending_no_matching_runners"
        | "stuck_pending_with_matching_runners" => "no runner took it in time",
        "ci_quota_exceeded" => "no compute minutes are left",
        "downstream_bridge_project_not_found" | "insufficient_bridge_permissions" => {
            "who started it may not start a pipeline there"
        }
        _ => return None,
    })
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
            "artifacts_file": {"filename": "artifacts.zip", "size": 7},
        });
        let expected = Job {
            id: 7,
            name: "deploy".to_owned(),
            stage: "deploy".to_owned(),
            kind: Kind::Build,
            status: Status::Failed,
            allow_failure: false,
            is_untaken: false,
            started_at: Some("2025-12-24T17:54:30.733+01:00".to_owned()),
            finished_at: Some("2025-12-24T17:54:31.198Z".to_owned()),
            duration: Some(0.465),
            queued_duration: Some(0.123_478_9),
            user: Some("dana".to_owned()),
            web_url: Some("https://example.com/foo/bar/-/jobs/7".to_owned()),
            failure_reason: Some("script_failure".to_owned()),
            has_artifacts: true,
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
    fn a_trigger_job_ends_as_its_downstream_pipeline_does() {
        let trigger = |own: &str, downstream: &Value| {
            let job = json!({
                "id": 7, "name": "deploy", "status": own, "started_at": "2025-12-24T15:51:21Z",
                "finished_at": "2025-12-24T15:51:22Z", "duration": 1.0, "failure_reason": "unknown_failure",
                "web_url": "https://example.com/-/jobs/7", "downstream_pipeline": downstream,
            });
            Job::from_trigger(&job).unwrap()
        };
        // Without a strategy, with `depend`, with `mirror`.
        for (own, downstream, expected) in [
            ("success", "success", "succeeded"),
            ("success", "failed", "failed"),
            ("failed", "failed", "failed"),
            ("success", "canceled", "was canceled"),
            ("success", "running", "still runs"),
            ("running", "running", "still runs"),
            ("success", "skipped", "was skipped"),
            ("skipped", "skipped", "was skipped"),
            ("manual", "manual", "waits for somebody to start it (manual)"),
            ("success", "levitating", "is `levitating`"),
        ] {
            let pipeline =
                json!({"id": 8813, "status": downstream, "updated_at": "2025-12-24T16:00:00Z", "web_url": "x"});
            let job = trigger(own, &pipeline);
            let expected = format!("`deploy` {expected} in its downstream pipeline 8813");
            assert_eq!(job.to_string(), expected, "{own}, {downstream}");
            assert_eq!(
                (job.finished_at.as_deref(), job.duration),
                (Some("2025-12-24T16:00:00Z"), None)
            );
            assert_eq!(job.web_url.as_deref(), Some("x"));
        }
        let nothing_ran = trigger("failed", &json!({"id": 8813, "status": "skipped"}));
        assert!(nothing_ran.never_started() && nothing_ran.to_string().contains("nothing of its downstream pipeline"));
        for (own, never_started) in [
            ("failed", true),
            ("canceled", true),
            ("success", false),
            ("running", false),
        ] {
            let job = trigger(own, &Value::Null);
            assert_eq!(
                (job.kind, job.never_started()),
                (Kind::TriggerOfNothing, never_started),
                "{own}"
            );
        }
        let broken = json!({"id": 7, "name": "deploy", "status": "success", "downstream_pipeline": {"id": 1}});
        assert_eq!(Job::from_trigger(&broken), None);
    }

    #[test]
    fn what_failed_before_it_started_is_told_in_words() {
        let told = |reason: &str, started: Option<&str>| {
            let job =
                json!({"id": 7, "name": "d", "status": "failed", "failure_reason": reason, "started_at": started});
            Job::from_json(&job).unwrap().to_string()
        };
        for (reason, words) in [
            ("deployment_rejected", "its approval was refused"),
            ("failed_outdated_deployment_job", "a newer deployment had begun"),
            (
                "missing_dependency_failure",
                "artifacts that it needs have expired or were erased",
            ),
            ("stuck_pending_no_matching_runners", "no runner took it in time"),
        ] {
            assert_eq!(
                told(reason, None),
                format!("`d` failed before it started ({reason}: {words})")
            );
        }
        // Of one that ran, the same word means something else.
        assert_eq!(
            told("stuck_or_timeout_failure", Some("2025-12-24T15:51:21Z")),
            "`d` failed (stuck_or_timeout_failure)"
        );
        assert_eq!(told("a_new_word", None), "`d` failed before it started (a_new_word)");
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
