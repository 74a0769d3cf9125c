//! The blueprints that Rely.io starts everybody with.

use serde_json::{Map, Value, json};

/// The vendor's stock data model (docs/vendors/rely.md 4); types that the page doesn't name follow from the names.
pub(super) fn stock() -> Map<String, Value> {
    let properties = |typed: &[(&str, &[&str])]| {
        let mut properties = Map::new();
        for (kind, names) in typed {
            let schema = match *kind {
                "date-time" => json!({"type": "string", "format": "date-time"}),
                kind => json!({"type": kind}),
            };
            properties.extend(names.iter().map(|name| ((*name).to_owned(), schema.clone())));
        }
        Value::Object(properties)
    };
    let deployment = json!({
        "properties": properties(&[
            ("string", &["link", "status", "sourceCommit", "triggeredBy", "failureReason"]),
            ("date-time", &["createdAt", "updatedAt", "closedAt"]),
            ("number", &["duration"]),
            ("boolean", &["successful"]),
        ]),
        "relations": ["service", "targetEnvironment", "GitlabDeployment", "GitlabPipeline"],
    });
    let pipeline = json!({
        "properties": properties(&[
            ("string", &["status", "branch", "commitSHA", "webUrl", "failureReason"]),
            ("date-time", &["createdAt", "startedAt", "updatedAt", "finishedAt"]),
            ("number", &["duration"]),
            ("boolean", &["successful"]),
        ]),
        "relations": ["repository", "owner", "triggeredBy"],
    });
    let gitlab_deployment = json!({
        "properties": properties(&[
            ("string", &["status", "envLink", "outputLink", "jobLink", "pipelineLink", "branch", "commit", "jobId",
                "commitTitle", "commitMessage", "commitAuthor"]),
            ("date-time", &["createdAt", "updatedAt", "finishedAt"]),
            ("number", &["number"]),
        ]),
        "relations": ["repository", "triggeredBy", "environment", "pipeline"],
    });
    [
        ("deployment", deployment),
        ("gitlab.v1.pipeline", pipeline),
        ("gitlab.v1.deployment", gitlab_deployment),
    ]
    .map(|(id, blueprint)| (id.to_owned(), blueprint))
    .into_iter()
    .collect()
}
