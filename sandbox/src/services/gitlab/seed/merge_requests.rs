//! Merge requests, with what their seed leaves out.

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::super::model::{Project, page_url};
use super::fields::{default_user, fields, fill_user, moment, number, set};
use super::jobs::TURN;
use crate::clock::stamp;

/// A merge request of the project, by its number: open, unless the seed says otherwise.
pub(super) fn of_project(iid: u64, given: &Value, now: OffsetDateTime, project: &Project) -> Result<Value, String> {
    let mut request = match given {
        Value::String(title) => fields(&json!({"title": title}))?,
        other => fields(other)?,
    };
    request.insert("iid".to_owned(), json!(iid));
    set(&mut request, "state", || "opened");
    if request["state"] != "merged" {
        for name in ["merged_at", "merge_commit_sha"] {
            set(&mut request, name, || Value::Null);
        }
        set(&mut request, "updated_at", || stamp(now));
    }
    merge_request(&Value::Object(request), iid, now, project)
}

/// A title, or any of a merge request's fields. It was made on the day before the deployment, and merged an hour
/// before.
pub(super) fn merge_request(
    given: &Value,
    turn: u64,
    deployed: OffsetDateTime,
    project: &Project,
) -> Result<Value, String> {
    let mut request = match given {
        Value::String(title) => fields(&json!({"title": title}))?,
        other => fields(other)?,
    };
    set(&mut request, "iid", || turn);
    let iid = number(&request, "iid")?;
    set(&mut request, "id", || 6000 + iid);
    for name in ["project_id", "source_project_id", "target_project_id"] {
        set(&mut request, name, || project.id);
    }
    set(&mut request, "title", || format!("Change {iid}"));
    set(&mut request, "description", || "");
    set(&mut request, "state", || "merged");
    set(&mut request, "created_at", || {
        stamp(deployed.saturating_sub(TURN * 60 * 24))
    });
    set(&mut request, "merged_at", || stamp(deployed.saturating_sub(TURN * 60)));
    moment(&mut request, "created_at")?.ok_or("\"created_at\" is null")?;
    let merged = moment(&mut request, "merged_at")?;
    set(&mut request, "updated_at", || merged.map(stamp));
    set(&mut request, "author", default_user);
    fill_user(&mut request, "author")?;
    let author = request["author"].clone();
    set(&mut request, "merge_user", || merged.map(|_| author));
    if !request["merge_user"].is_null() {
        fill_user(&mut request, "merge_user")?;
    }
    set(&mut request, "source_branch", || format!("change-{iid}"));
    set(&mut request, "target_branch", || "main");
    set(&mut request, "labels", || json!([]));
    set(&mut request, "draft", || false);
    set(&mut request, "sha", || format!("{:040x}", 0xa000 + iid));
    set(&mut request, "merge_commit_sha", || format!("{:040x}", 0xb000 + iid));
    set(&mut request, "squash_commit_sha", || Value::Null);
    set(&mut request, "web_url", || page_url(project, "merge_requests", iid));
    Ok(Value::Object(request))
}
