//! An action run by itself.

use serde_json::{Value, json};

use crate::clock::now;

/// What a run can end as.
pub(super) const ENDS: [&str; 2] = ["SUCCESS", "FAILURE"];

/// A run as it is created.
pub(super) fn blank(id: &str, action: &str) -> Value {
    json!({"id": id, "status": "IN_PROGRESS", "statusLabel": null, "action": {"identifier": action}, "entity": null,
        "properties": {}, "link": [], "summary": null, "externalRunId": null, "createdBy": "dana@example.com",
        "createdAt": now(), "updatedAt": now(), "endedAt": null, "synchronized": false, "changedEntities": []})
}

pub(super) fn ended(run: &Value) -> bool {
    run["status"]
        .as_str()
        .is_some_and(|status| ENDS.contains(&status) || status == "DECLINED")
}

/// Notes when a run was changed, and when it ended.
pub(super) fn note_times(run: &mut Value) {
    run["updatedAt"] = json!(now());
    if ended(run) && run["endedAt"].is_null() {
        run["endedAt"] = run["updatedAt"].clone();
    }
}
