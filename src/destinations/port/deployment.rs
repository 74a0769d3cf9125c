//! The properties of a deployment, where nobody says others: those of the blueprint that the project ships.

use serde_json::{Map, Value, json};

use crate::{
    event::{Action, Event},
    problem::Unmade,
};

/// The fields of `examples/port/deployment-blueprint.json`, each only when this event knows it: the start sends
/// `createdAt`, the end `finishedAt` and, where the deploy job's own start is known, that as `createdAt`: nobody may have
/// reported the start. `status` has the words of Port's own runs, where they have one; `action` is the event's. What becomes
/// of a deployment after its run changes these two alone.
///
/// # Errors
/// It is not known what happened.
pub fn properties(event: &Event) -> Result<Map<String, Value>, Unmade> {
    let action = event.action()?;
    let status = match action {
        Action::Started | Action::Progressing => "IN_PROGRESS".to_owned(),
        Action::Success => "SUCCESS".to_owned(),
        Action::Failure => "FAILURE".to_owned(),
        Action::Canceled => "CANCELED".to_owned(),
        Action::Blocked => "BLOCKED".to_owned(),
        Action::Stopped => "STOPPED".to_owned(),
        Action::RolledBack => "ROLLED_BACK".to_owned(),
        Action::Other(word) => word.to_uppercase(),
        Action::Open => action.word().to_owned(),
    };
    let is_of_run = !action.is_aftermath();
    let fields = json!({
        "status": status,
        "action": action.word(),
        "createdAt": event.created_at(action),
        "startedAt": event.job.started_at.as_ref().filter(|_| is_of_run),
        "finishedAt": event.ended_at(action),
        "duration": event.job.duration.filter(|_| action.ends_run()),
        "service": event.service,
        "repository": event.repo,
        "branch": event.branch,
        "commit": event.commit,
        "version": event.version,
        "image": event.image,
        "environment": event.environment,
        "url": event.url,
        "triggeredBy": event.user.as_ref().filter(|_| is_of_run),
        "successful": action.ends_run().then_some(action == &Action::Success),
    });
    let Value::Object(mut fields) = fields else {
        return Ok(Map::new());
    };
    fields.retain(|_, value| !value.is_null());
    // The user's own say more than the defaults, a null among them.
    fields.extend(event.properties.clone());
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{blueprint::DEPLOYMENT, testing::request},
        *,
    };

    /// The body of an upsert, as JSON.
    fn body(more: &[(&str, &str)]) -> Value {
        let request = request("upsert", more);
        serde_json::from_str(request.split_once('\n').unwrap().1).unwrap()
    }

    #[test]
    fn what_stops_a_deployment_tells_nothing_of_its_run() {
        let stopped = [
            ("CI_JOB_STATUS", "success"),
            ("CI_JOB_STARTED_AT", "2025-03-01T10:00:01Z"),
            ("CI_ENVIRONMENT_ACTION", "stop"),
        ];
        let properties = &body(&stopped)["properties"];
        assert_eq!(
            (&properties["status"], &properties["action"]),
            (&json!("STOPPED"), &json!("stopped"))
        );
        for absent in [
            "createdAt",
            "startedAt",
            "finishedAt",
            "duration",
            "successful",
            "triggeredBy",
        ] {
            assert_eq!(properties.get(absent), None, "{absent}");
        }
    }

    #[test]
    fn the_start_and_the_end_send_times_of_their_own() {
        let properties = |more: &[(&str, &str)]| body(more)["properties"].clone();
        let started = properties(&[("EVENT_ACTION", "started")]);
        assert_eq!(
            (&started["status"], &started["createdAt"]),
            (&json!("IN_PROGRESS"), &json!("2025-03-01T10:07:31Z"))
        );
        for absent in ["finishedAt", "successful", "duration", "startedAt", "version"] {
            assert_eq!(started.get(absent), None, "{absent}");
        }
        let failed = properties(&[
            ("CI_JOB_STATUS", "failed"),
            ("CI_JOB_STARTED_AT", "2025-03-01T10:00:01Z"),
        ]);
        assert_eq!(
            (&failed["status"], &failed["action"]),
            (&json!("FAILURE"), &json!("failure"))
        );
        assert_eq!(
            (&failed["startedAt"], &failed["duration"]),
            (&json!("2025-03-01T10:00:01Z"), &json!(450))
        );
        assert_eq!(failed["successful"], false);
        assert_eq!(
            failed["createdAt"], failed["startedAt"],
            "nobody may have reported the start"
        );
        let untimed = properties(&[("CI_JOB_STATUS", "failed")]);
        assert_eq!(untimed.get("createdAt"), None, "what reported the start stays");
        for (action, status) in [
            ("progressing", "IN_PROGRESS"),
            ("canceled", "CANCELED"),
            ("blocked", "BLOCKED"),
            ("Merge", "MERGE"),
        ] {
            assert_eq!(properties(&[("EVENT_ACTION", action)])["status"], status);
        }
    }

    /// Every field that is ever sent is in the blueprint that users import, and each of it is sent at some time.
    #[test]
    fn the_shipped_blueprint_has_the_fields_that_are_sent() {
        let blueprint = include_str!("../../../examples/port/deployment-blueprint.json");
        let blueprint: Value = serde_json::from_str(blueprint).unwrap();
        assert_eq!(blueprint["identifier"], DEPLOYMENT);
        assert_eq!(blueprint["schema"]["required"], json!([]));
        let all = [
            ("CI_JOB_STARTED_AT", "2025-03-01T10:00:01Z"),
            ("EVENT_ENVIRONMENT", "e"),
            ("EVENT_IMAGE", "i"),
            ("EVENT_VERSION", "v"),
            ("EVENT_SERVICE", "s"),
        ];
        let mut sent = Map::new();
        for more in [("EVENT_ACTION", "started"), ("CI_JOB_STATUS", "success")] {
            let body = body(&[all.as_slice(), &[more]].concat());
            sent.extend(body["properties"].as_object().unwrap().clone());
        }
        let mut sent: Vec<(&str, &str)> = sent
            .iter()
            .map(|(name, value)| (name.as_str(), type_name(value)))
            .collect();
        let known = blueprint["schema"]["properties"].as_object().unwrap();
        let mut known: Vec<(&str, &str)> = known
            .iter()
            .map(|(name, schema)| (name.as_str(), schema["type"].as_str().unwrap()))
            .collect();
        sent.sort_unstable();
        known.sort_unstable();
        assert_eq!(sent, known);
    }

    fn type_name(value: &Value) -> &'static str {
        match value {
            Value::Bool(_) => "boolean",
            Value::Number(_) => "number",
            _ => "string",
        }
    }
}
