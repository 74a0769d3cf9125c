//! What Aviator holds: releases, environments and their deployments.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use crate::clock::{now, parse_time};
use crate::json::merge;

/// The statuses as of 2026-03-05 (docs/vendors/aviator.md 0).
pub(super) const STATUSES: [&str; 8] = [
    "pending",
    "in_progress",
    "success",
    "failure",
    "canceling",
    "canceled",
    "error",
    "unknown",
];

/// What may still change by itself.
pub(super) const ACTIVE: [&str; 3] = ["pending", "in_progress", "canceling"];

/// What is stuck that long becomes an error (docs/vendors/aviator.md 4).
pub(super) const STUCK_AFTER: Duration = Duration::minutes(60);

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    pub(super) releases: BTreeMap<String, Release>,
    pub(super) environments: BTreeMap<String, Environment>,
    pub(super) triggered_builds: usize,
}

impl State {
    /// Two environments, and nothing in them.
    pub(super) fn initial() -> Self {
        let environments = ["production", "staging"].map(|name| (name.to_owned(), Environment::default()));
        Self {
            releases: BTreeMap::new(),
            environments: environments.into(),
            triggered_builds: 0,
        }
    }

    /// This state with a seed merged into it, and with what follows from the seed.
    pub(super) fn merged(&self, seed: Value) -> Result<Self, String> {
        let mut merged = json!(self);
        merge(&mut merged, seed);
        let mut seeded: Self = serde_json::from_value(merged).map_err(|error| error.to_string())?;
        for (name, environment) in &mut seeded.environments {
            for deployment in &mut environment.deployments {
                if deployment.id.is_empty() {
                    deployment.id = next_id().to_string();
                }
                deployment.environment_name.clone_from(name);
                deployment.release_version = release_of(&deployment.release_candidate_version);
                if !deployment.active() && deployment.deploy_end_at.is_none() {
                    deployment.deploy_end_at = Some(now());
                }
            }
        }
        Ok(seeded)
    }

    /// Ends what is stuck.
    pub(super) fn expire(&mut self) {
        let deployments = self
            .environments
            .values_mut()
            .flat_map(|environment| &mut environment.deployments);
        for deployment in deployments.filter(|deployment| deployment.active()) {
            let started = parse_time(&deployment.deploy_start_at);
            if started.is_some_and(|started| OffsetDateTime::now_utc() - started > STUCK_AFTER) {
                deployment.set("error");
                deployment.error_message = Some("stuck for more than 60 minutes".to_owned());
            }
        }
    }
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Release {
    pub(super) repo: String,
    pub(super) commit: String,
    #[serde(default)]
    pub(super) trigger_build_workflow: bool,
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Environment {
    pub(super) frozen: bool,
    pub(super) triggered_workflows: usize,
    pub(super) deployments: Vec<Deployment>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Deployment {
    pub(super) id: String,
    pub(super) actor: Option<String>,
    pub(super) environment_name: String,
    pub(super) status: String,
    pub(super) release_version: String,
    pub(super) release_candidate_version: String,
    pub(super) from_release_version: Option<String>,
    pub(super) from_release_candidate_version: Option<String>,
    pub(super) deploy_start_at: String,
    pub(super) deploy_end_at: Option<String>,
    pub(super) error_message: Option<String>,
}

impl Default for Deployment {
    fn default() -> Self {
        Self {
            id: String::new(),
            actor: Some("dana@example.com".to_owned()),
            environment_name: String::new(),
            status: "pending".to_owned(),
            release_version: String::new(),
            release_candidate_version: String::new(),
            from_release_version: None,
            from_release_candidate_version: None,
            deploy_start_at: now(),
            deploy_end_at: None,
            error_message: None,
        }
    }
}

impl Deployment {
    pub(super) fn active(&self) -> bool {
        ACTIVE.contains(&self.status.as_str())
    }

    pub(super) fn set(&mut self, status: &str) {
        status.clone_into(&mut self.status);
        self.deploy_end_at = (!self.active()).then(now);
        self.error_message = None;
    }
}

impl Environment {
    /// Starts a deployment of a candidate, and returns it.
    pub(super) fn deploy(&mut self, environment: &str, candidate: &str, status: &str) -> &Deployment {
        let before = self
            .deployments
            .iter()
            .find(|deployment| deployment.status == "success");
        let mut deployment = Deployment {
            id: next_id().to_string(),
            environment_name: environment.to_owned(),
            release_version: release_of(candidate),
            release_candidate_version: candidate.to_owned(),
            from_release_version: before.map(|before| before.release_version.clone()),
            from_release_candidate_version: before.map(|before| before.release_candidate_version.clone()),
            ..Deployment::default()
        };
        deployment.set(status);
        self.deployments.insert(0, deployment);
        &self.deployments[0]
    }

    /// What a rollback goes to: the last success before the current candidate first came, of another candidate. Seen
    /// so, a second rollback goes further back, or has nothing to go to (docs/vendors/aviator.md 8).
    pub(super) fn rollback_target(&self) -> Option<String> {
        let current = &self.deployments.first()?.release_candidate_version;
        let first = self
            .deployments
            .iter()
            .rposition(|deployment| deployment.release_candidate_version == *current)?;
        let earlier = self.deployments[first..]
            .iter()
            .find(|deployment| deployment.status == "success" && deployment.release_candidate_version != *current);
        earlier.map(|deployment| deployment.release_candidate_version.clone())
    }
}

/// Deployments of all sandboxes of a process share their numbers: only that they differ matters.
fn next_id() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(100);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// `2025.03.01` of `2025.03.01-rc1`.
pub(super) fn release_of(candidate: &str) -> String {
    candidate
        .rsplit_once("-rc")
        .map_or(candidate, |(release, _)| release)
        .to_owned()
}
