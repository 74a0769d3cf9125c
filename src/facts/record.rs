//! GitLab's record of deployments, and what else `reconcile` asks of GitLab: of any project, any pipeline, in lists of any
//! length. Bounded in time by the run, in pages and bytes here.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    rc::Rc,
    time::SystemTime,
};

use serde_json::Value;

pub use super::Untold;
use super::{all_of, ask, items, receipt_of};
use crate::{
    delivery::{courier::Courier, session::Session},
    gitlab::{api::GitLab, deployment::Deployment, job::Job},
    receipts::{folder::RECEIPT, receipt::Receipt},
    report::class::Class,
    time::timestamp,
};

/// More pages of deployments than this are not read: 100,000 deployments of a project.
const PAGES: usize = 1000;

/// Asks for the record.
pub struct Recorder<'a> {
    /// What carries the questions.
    pub courier: &'a Courier<'a>,
    /// What they share: several are under way at a time, and where one is told to wait, all do.
    pub session: &'a Session,
    /// Where jobs leave their receipts, as artifacts name it: the first in which one is found counts.
    pub folders: &'a [PathBuf],
}

/// A file that a job left, or that there is none.
pub enum Left<T> {
    /// It is there.
    There(T),
    /// The job has no archive, or one without it.
    Missing,
    /// Nobody can tell.
    Unknown(Untold),
}

impl Recorder<'_> {
    async fn ask(&self, gitlab: &GitLab, plan: crate::delivery::plan::Plan) -> Result<Rc<Value>, Untold> {
        ask(self.courier, self.session, gitlab.token_variable(), plan).await
    }

    /// The deployments that were changed after `moment`, RFC 3339, in the order of their ids.
    ///
    /// # Errors
    /// Why they can't be had.
    pub async fn since(&self, gitlab: &GitLab, moment: SystemTime) -> Result<Vec<Deployment>, Untold> {
        let text = timestamp(moment);
        let page = |number| gitlab.deployments_since(&text, number);
        // Whoever overlooks what is asked for may go back for years.
        let is_since = |one: &Deployment| one.updated_at.is_none_or(|updated| updated >= moment);
        let mut all = self.pages(gitlab, page, is_since).await?;
        all.retain(is_since);
        Ok(all)
    }

    /// The deployments to an environment that were made after `since`, and those with an id from `first` on, in the order of
    /// their ids.
    ///
    /// # Errors
    /// Why they can't be had.
    pub async fn to(
        &self,
        gitlab: &GitLab,
        environment: &str,
        (first, since): (u64, SystemTime),
    ) -> Result<Vec<Deployment>, Untold> {
        let page = |number| gitlab.deployments_page(environment, number);
        // They come newest first: before the oldest that is wanted nothing is.
        let goes_on = |last: &Deployment| last.id > first || last.created_at.is_none_or(|created| created >= since);
        let mut all = self.pages(gitlab, page, goes_on).await?;
        all.retain(|one| one.environment == environment);
        Ok(all)
    }

    async fn pages(
        &self,
        gitlab: &GitLab,
        page: impl Fn(usize) -> crate::delivery::plan::Plan,
        goes_on: impl Fn(&Deployment) -> bool,
    ) -> Result<Vec<Deployment>, Untold> {
        let mut all: Vec<Deployment> = Vec::new();
        let mut seen: BTreeSet<u64> = BTreeSet::new();
        for number in 1..=PAGES {
            let listed = self.ask(gitlab, page(number)).await?;
            let found: Option<Vec<Deployment>> = items(&listed["items"]).iter().map(Deployment::from_json).collect();
            let found = found.ok_or_else(|| unlike("GitLab's list of deployments holds something else"))?;
            let may_end = found.last().is_some_and(|last| !goes_on(last));
            let before = seen.len();
            for one in found {
                // One that moved while the pages were read comes twice: the later page has it as it is now.
                if !seen.insert(one.id) {
                    all.retain(|earlier| earlier.id != one.id);
                }
                all.push(one);
            }
            if listed["has_more"] != true || may_end {
                all.sort_by_key(|one| one.id);
                return Ok(all);
            }
            if seen.len() == before {
                return Err(unlike(&format!(
                    "GitLab's list of deployments does not end: page {number} brings nothing new, and another one is said to \
                     follow"
                )));
            }
        }
        Err(unlike(&format!(
            "the deployments are more than the {} that are read; a shorter NOTIFY_RECONCILE_SINCE has fewer",
            PAGES * 100
        )))
    }

    /// What GitLab says of the project.
    ///
    /// # Errors
    /// Why that can't be had.
    pub async fn about(&self, gitlab: &GitLab) -> Result<Rc<Value>, Untold> {
        self.ask(gitlab, gitlab.about()).await
    }

    /// The projects below a group.
    ///
    /// # Errors
    /// Why they can't be had.
    pub async fn projects_of(&self, gitlab: &GitLab, group: &str) -> Result<Vec<Value>, Untold> {
        let listed = self.ask(gitlab, gitlab.projects_of(group)).await?;
        Ok(items(&listed).to_vec())
    }

    /// The source branch of a merge request; none where GitLab does not tell.
    pub async fn source_branch(&self, gitlab: &GitLab, number: u64) -> Option<String> {
        let json = self.ask(gitlab, gitlab.merge_request(number)).await.ok()?;
        json["source_branch"].as_str().map(str::to_owned)
    }

    /// All jobs of a pipeline, earlier attempts included.
    ///
    /// # Errors
    /// Why they can't be had.
    pub async fn jobs(&self, gitlab: &GitLab, pipeline: &str) -> Result<Vec<Job>, Untold> {
        let listed = self.ask(gitlab, gitlab.jobs_of(pipeline)).await?;
        all_of(&listed, Job::from_json).map_err(|why| unlike(&why))
    }

    /// The receipt that a job left among its artifacts, and the folder in which it is.
    pub async fn receipt(&self, gitlab: &GitLab, job: u64) -> Left<(Receipt, &Path)> {
        for folder in self.folders {
            match self.file(gitlab, job, &folder.join(RECEIPT)).await {
                Left::There(json) => match receipt_of(job, &json) {
                    Some(receipt) => return Left::There((receipt, folder)),
                    None => return Left::Missing,
                },
                Left::Missing => {}
                Left::Unknown(untold) => return Left::Unknown(untold),
            }
        }
        Left::Missing
    }

    /// A JSON file among a job's artifacts.
    pub async fn file(&self, gitlab: &GitLab, job: u64, path: &Path) -> Left<Rc<Value>> {
        let Some(path) = path.to_str() else {
            return Left::Missing;
        };
        match self.ask(gitlab, gitlab.artifact(job, path)).await {
            Ok(json) => Left::There(json),
            Err(Untold { status: Some(404), .. }) => Left::Missing,
            Err(untold) => Left::Unknown(untold),
        }
    }
}

/// What GitLab answers and never should.
fn unlike(why: &str) -> Untold {
    Untold {
        status: None,
        class: Class::Rejected,
        why: why.to_owned(),
    }
}
