//! Projects themselves, and those of a group (`lib/api/groups.rb`, `lib/api/entities/project.rb`).

use serde_json::{Value, json};

use super::model::{Project, State, WEB, number_of};
use super::page::page;
use super::parameters::{check, choice, flag, refuse_unknown};
use super::refusal::Refusal;
use crate::wire::{Reply, Request};

/// What the basic form of a project lacks.
const NOT_OF_BASIC: [&str; 3] = ["archived", "visibility", "empty_repo"];

impl State {
    /// `GET /groups/:id/projects`. A group is there where a project's path begins with its own.
    pub(super) fn list_group(&self, request: &Request, scheme: &str, group: &str) -> Result<Reply, Refusal> {
        let query = request.query();
        let flags = ["archived", "include_subgroups", "simple", "with_shared"];
        check(&query, &[flags.as_slice(), &["order_by", "sort"]].concat())?;
        let order = choice(
            &query,
            "order_by",
            &["created_at", "id", "name", "path", "updated_at", "last_activity_at"],
        )?;
        let sort = choice(&query, "sort", &["desc", "asc"])?;
        // Nothing is shared here, so the last makes no difference.
        let [archived, subgroups, simple, _] = flags.map(|name| flag(&query, name));
        let (archived, subgroups, simple) = (archived?, subgroups?.unwrap_or_default(), simple?.unwrap_or_default());
        flag(&query, "with_shared")?;
        // The groups that are asked for by path, or one by its id; each project is in its own and in those above.
        let is_group = |path: &str| path == group || number_of(path).to_string() == group;
        let mut known = false;
        let mut projects = Vec::new();
        for record in self.records() {
            let project = &record.project;
            let (own, _) = project.parts();
            let inside = groups_of(own).any(is_group);
            known |= inside;
            let wanted = if subgroups { inside } else { is_group(own) };
            if wanted && archived.is_none_or(|archived| project.archived == archived) {
                projects.push(project);
            }
        }
        if !known {
            return Err(Refusal::new(404, "404 Group Not Found"));
        }
        projects.sort_by(|one, other| {
            let ordering = match order {
                "id" => std::cmp::Ordering::Equal,
                "name" | "path" => one.parts().1.cmp(other.parts().1),
                _ => one.created_at.cmp(&other.created_at),
            };
            ordering.then(one.id.cmp(&other.id))
        });
        if sort == "desc" {
            projects.reverse();
        }
        page(request, scheme, &projects, |project| {
            let mut shown = show_project(project);
            if let Some(fields) = shown.as_object_mut().filter(|_| simple) {
                fields.retain(|name, _| !NOT_OF_BASIC.contains(&name.as_str()));
            }
            shown
        })
    }
}

/// `GET /projects/:id`.
pub(super) fn project(request: &Request, project: &Project) -> Result<Reply, Refusal> {
    refuse_unknown(&request.query(), &["job_token"])?;
    Ok(Reply::json(200, &show_project(project)))
}

/// A group's path, and those of the groups that it is in.
fn groups_of(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| path.rsplit_once('/').map(|(above, _)| above))
}

fn show_project(project: &Project) -> Value {
    let (group, name) = project.parts();
    let (above, group_name) = group.rsplit_once('/').unwrap_or(("", group));
    let path = &project.path;
    json!({
        "id": project.id,
        "description": null,
        "name": name,
        "name_with_namespace": path.replace('/', " / "),
        "path": name,
        "path_with_namespace": path,
        "created_at": project.created_at,
        "default_branch": project.default_branch,
        "tag_list": [],
        "topics": [],
        "ssh_url_to_repo": format!("git@gitlab.example.com:{path}.git"),
        "http_url_to_repo": format!("{WEB}/{path}.git"),
        "web_url": format!("{WEB}/{path}"),
        "readme_url": null,
        "forks_count": 0,
        "avatar_url": null,
        "star_count": 0,
        "last_activity_at": project.created_at,
        "namespace": {
            "id": number_of(group),
            "name": group_name,
            "path": group_name,
            "kind": "group",
            "full_path": group,
            "parent_id": (!above.is_empty()).then(|| number_of(above)),
            "avatar_url": null,
            "web_url": format!("{WEB}/groups/{group}"),
        },
        "archived": project.archived,
        "visibility": "private",
        "empty_repo": false,
    })
}
