//! The routes that are served.

/// What is served, and of which project.
pub(super) enum Route {
    CurrentJob,
    /// `GET /groups/:id/projects`, by the group's id or full path.
    GroupProjects(String),
    Of(String, Resource),
}

pub(super) enum Resource {
    Project,
    Pipeline(String),
    Jobs(String),
    TriggerJobs(String),
    Bridges(String),
    Job(String),
    Artifact { job: String, path: Vec<String> },
    ArtifactOfRef { reference: String, path: Vec<String> },
    Deployments,
    Deployment(String),
    MergeRequests(String),
    MergeRequest(String),
}

impl Route {
    /// Where a path below `/api/v4` leads. Only an artifact's path may have slashes of its own.
    pub(super) fn of(segments: &[&str]) -> Option<Self> {
        let owned = |parts: &[&str]| parts.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>();
        let (project, rest) = match *segments {
            ["job"] => return Some(Self::CurrentJob),
            ["groups", group, "projects"] => return Some(Self::GroupProjects(group.to_owned())),
            ["projects", project, ref rest @ ..] => (project, rest),
            _ => return None,
        };
        let resource = match *rest {
            [] => Resource::Project,
            ["pipelines", id] => Resource::Pipeline(id.to_owned()),
            ["pipelines", id, "jobs"] => Resource::Jobs(id.to_owned()),
            ["pipelines", id, "trigger_jobs"] => Resource::TriggerJobs(id.to_owned()),
            ["pipelines", id, "bridges"] => Resource::Bridges(id.to_owned()),
            ["jobs", "artifacts", ref rest @ ..] => {
                // A ref may have slashes that aren't encoded.
                let raw = rest.iter().skip(1).position(|part| *part == "raw")? + 1;
                Resource::ArtifactOfRef {
                    reference: rest[..raw].join("/"),
                    path: (raw + 1 < rest.len()).then(|| owned(&rest[raw + 1..]))?,
                }
            }
            ["jobs", id] => Resource::Job(id.to_owned()),
            ["jobs", id, "artifacts", ref path @ ..] if !path.is_empty() => Resource::Artifact {
                job: id.to_owned(),
                path: owned(path),
            },
            ["deployments"] => Resource::Deployments,
            ["deployments", id] => Resource::Deployment(id.to_owned()),
            ["deployments", id, "merge_requests"] => Resource::MergeRequests(id.to_owned()),
            ["merge_requests", iid] => Resource::MergeRequest(iid.to_owned()),
            _ => return None,
        };
        Some(Self::Of(project.to_owned(), resource))
    }
}
