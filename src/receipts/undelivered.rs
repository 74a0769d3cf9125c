//! What could not be delivered, in the form in which it is kept: the event with its original times, the destination, and
//! the settings as they were read. Credentials are never kept, and neither are addresses, which may have been what was
//! wrong: a replay reads both anew, and with them what could not be read then. Of what is hidden the names are kept: a replay
//! that lacks one would send something else than was meant.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::receipt::Origin;
use crate::{
    delivery::result::DeliveryResult,
    destinations::Target,
    event::Event,
    problem::{Problem, Unmade},
    redaction::HIDDEN,
    variables::{Default, Kind, Resolved, Values, Variable},
};

/// The version of the files' form.
const VERSION: u32 = 1;

/// One delivery that is still to be made.
pub struct Undelivered {
    /// Where it has to go.
    pub target: Target,
    /// What has to go there.
    pub event: Event,
    /// Values of the destination's variables.
    pub settings: Map<String, Value>,
    /// The variables that could not be read, or that were wrong.
    pub unreadable: Vec<String>,
    /// The variables that were set and whose values are hidden: without them it would be another request.
    pub hidden: Vec<String>,
    /// Why it was not delivered.
    pub why: String,
    /// Whether it may have been processed all the same, and would then be done twice.
    pub is_in_doubt: bool,
    /// Which receiver it was for, where its destination may lead anywhere, see [`Target::receiver`].
    pub receiver: Option<String>,
    /// The job that was to report it.
    pub origin: Origin,
}

/// The file.
#[derive(Serialize, Deserialize)]
struct Form {
    undelivered: u32,
    destination: String,
    operation: String,
    #[serde(default)]
    optional: bool,
    why: String,
    #[serde(default, alias = "ambiguous")]
    in_doubt: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    receiver: Option<String>,
    #[serde(flatten)]
    origin: Origin,
    #[serde(default)]
    settings: Map<String, Value>,
    #[serde(default)]
    unreadable: Vec<String>,
    #[serde(default)]
    hidden: Vec<String>,
    event: Value,
}

impl Undelivered {
    /// What has to be kept of the delivery of `event` to `target` that ended as `result`. `values` are what was read for
    /// it, and `unmade` is why there was no plan, if so.
    pub fn new(
        target: Target,
        event: Event,
        values: &Values,
        unmade: Option<&Unmade>,
        result: &DeliveryResult,
        origin: Origin,
    ) -> Self {
        let mut settings = values.kept();
        // Nothing is left to do with these.
        settings.retain(|name, _| !result.completed.contains(&name.as_str()));
        for (name, value) in &result.found {
            settings.insert((*name).to_owned(), value.as_str().into());
        }
        let mut unreadable: Vec<String> = values.unreadable().map(str::to_owned).collect();
        let is_hidden = |variable: &&Variable| {
            variable.is_secret()
                && (values.is_given(variable.name) || unreadable.iter().any(|name| name == variable.name))
        };
        let hidden = target.destination.variables().filter(is_hidden);
        let mut hidden: Vec<String> = hidden.map(|variable| variable.name.to_owned()).collect();
        for name in unmade.into_iter().flat_map(Unmade::variables) {
            if target.destination.variables().any(|variable| variable.name == name) {
                settings.remove(name);
                // What could be read and does not go with the rest may be mended by leaving it out.
                hidden.retain(|hidden| hidden != name || unreadable.contains(hidden));
                unreadable.push(name.to_owned());
            }
        }
        unreadable.sort();
        unreadable.dedup();
        Self {
            target,
            event,
            settings,
            unreadable,
            hidden,
            is_in_doubt: result.is_ambiguous && target.counts(values),
            receiver: target.receiver(values),
            origin,
            why: format!(
                "{}: {}",
                result.class.word(),
                result.detail.as_deref().unwrap_or_default()
            ),
        }
    }

    /// A name that sorts by time, without its ending.
    pub fn file_name(&self) -> String {
        let time = self.event.time.replace(':', "");
        let label = self.target.label().replace(':', "-");
        // A job may get what several others kept, in one folder.
        let job = self.origin.job_id.as_ref().map(|job| format!("-{job}"));
        format!("{time}-{label}{}", job.unwrap_or_default())
    }

    /// The file's content.
    pub fn to_json(&self) -> Value {
        let form = Form {
            undelivered: VERSION,
            destination: self.target.destination.name.to_owned(),
            operation: self.target.operation.name.to_owned(),
            optional: self.target.is_optional,
            why: self.why.clone(),
            in_doubt: self.is_in_doubt,
            receiver: self.receiver.clone(),
            origin: self.origin.clone(),
            settings: self.settings.clone(),
            unreadable: self.unreadable.clone(),
            hidden: self.hidden.clone(),
            event: self.event.to_json(),
        };
        // Nothing in it can't be written as JSON.
        serde_json::to_value(form).unwrap_or_default()
    }

    /// Reads a file's content.
    ///
    /// # Errors
    /// What is missing, of another version, or hidden.
    pub fn from_json(json: &Value) -> Result<Self, String> {
        if json["undelivered"] != VERSION {
            return Err(format!("is no undelivered event of version {VERSION}"));
        }
        // It was written with secrets hidden, and can't be sent as it was meant.
        for part in ["event", "settings"] {
            if json[part].to_string().contains(HIDDEN) {
                return Err(format!(
                    "holds {HIDDEN} in its {part}: a value there was, or was called, a secret. It can't be delivered as it was"
                ));
            }
        }
        let form = Form::deserialize(json).map_err(|error| format!("is no undelivered event: {error}"))?;
        let mut target = Target::parse(&format!("{}:{}", form.destination, form.operation))?;
        target.is_optional = form.optional;
        Ok(Self {
            target,
            event: Event::from_json(&form.event)?,
            settings: form.settings,
            unreadable: form.unreadable,
            hidden: form.hidden,
            why: form.why,
            is_in_doubt: form.in_doubt,
            receiver: form.receiver,
            origin: form.origin,
        })
    }

    /// The values with which it is delivered: the kept ones, and of `now`, which holds all of the destination's
    /// variables, credentials, addresses and what could not be read then.
    pub fn values(&self, now: &Values) -> Values {
        let of_one = |variable: &'static Variable| {
            // An event is delivered, and no file: neither one that somebody wrote in here, nor one of this job.
            if variable.kind == Kind::Path {
                return (variable, Ok(None));
            }
            let is_unreadable = self.unreadable.iter().any(|name| name == variable.name);
            if variable.is_read_anew() || is_unreadable {
                let found = now.get(variable.name).map(Option::<&_>::cloned).map_err(Clone::clone);
                let was_set = self.hidden.iter().any(|name| name == variable.name);
                if was_set
                    && found
                        .as_ref()
                        .is_ok_and(|found| found.as_ref().is_none_or(|found| !found.is_given))
                {
                    let why = "is not set: it was when this was kept, and its value never is. Set it as it was; if it is to be \
                               left out, take its name out of `hidden` in the file";
                    return (variable, Err(Problem::new(variable.name, why).into()));
                }
                return (variable, found);
            }
            let kept = self.settings.get(variable.name).and_then(Value::as_str);
            match kept {
                Some(value) => (variable, Ok(Some(Resolved::kept(variable.name, value.to_owned())))),
                // This program keeps all that has to be set, and what is set now may mean something else.
                None if variable.default == Default::Required => {
                    let why = "has to be set, and the file does not have it: something else made or changed the file";
                    (variable, Err(Problem::new(variable.name, why).into()))
                }
                None => (variable, Ok(Resolved::default_of(variable))),
            }
        };
        Values::new(self.target.destination.variables().map(of_one).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn undelivered(more: &Value) -> Result<Undelivered, String> {
        let mut json = json!({
            "undelivered": 1, "destination": "rely", "operation": "upsert", "optional": false,
            "why": "unavailable: no", "ambiguous": false, "pipeline_id": "8812", "job_id": "991", "project_id": "42",
            "settings": {"RELY_BLUEPRINT": "release", "RELY_API_TOKEN": "theirs", "RELY_API_URL": "https://elsewhere"},
            "unreadable": ["RELY_PROPERTIES"],
            "event": {"schema_version": 1, "name": "deployment", "action": "success", "action_source": "unknown",
                "time": "2025-03-01T10:00:00Z"},
        });
        for (key, value) in more.as_object().unwrap() {
            json[key] = value.clone();
        }
        Undelivered::from_json(&json)
    }

    #[test]
    fn it_is_read_as_it_is_written() {
        let kept = undelivered(&json!({})).unwrap();
        let again = Undelivered::from_json(&kept.to_json()).unwrap();
        assert_eq!(again.to_json(), kept.to_json());
        assert_eq!(kept.file_name(), "2025-03-01T100000Z-rely-991");
    }

    #[test]
    fn credentials_addresses_and_what_was_wrong_are_read_anew() {
        let declared = |name: &str| {
            crate::destinations::variables()
                .find(|variable| variable.name == name)
                .unwrap()
        };
        let now = |name, value: &str| (declared(name), Ok(Some(Resolved::kept(name, value.to_owned()))));
        let now = Values::new(vec![
            now("RELY_API_TOKEN", "ours"),
            now("RELY_API_URL", "https://rely.example.com"),
            now("RELY_PROPERTIES", "{}"),
            now("RELY_ENTITY_ID", "not-of-this-event"),
        ]);
        let values = undelivered(&json!({})).unwrap().values(&now);
        let value = |name| values.get(name).unwrap().map(|found| found.value.as_str());
        assert_eq!(value("RELY_API_TOKEN"), Some("ours"));
        assert_eq!(value("RELY_API_URL"), Some("https://rely.example.com"));
        assert_eq!(value("RELY_PROPERTIES"), Some("{}"), "it could not be read then");
        assert_eq!(value("RELY_BLUEPRINT"), Some("release"));
        assert_eq!(value("RELY_ENTITY_ID"), None, "it was not set then");
    }

    #[test]
    fn what_has_to_be_set_and_is_not_in_the_file_is_named() {
        let kept = undelivered(&json!({"destination": "cto", "operation": "event", "settings": {}}));
        let values = kept.unwrap().values(&Values::default());
        match values.get("CTOAI_TEAM_ID") {
            Err(Unmade::Wrong(problems)) => assert_eq!(problems[0].variable, "CTOAI_TEAM_ID"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_hidden_and_was_set_has_to_be_set_again() {
        let hidden =
            |names: Value| undelivered(&json!({"destination": "webhook", "operation": "event", "hidden": names}));
        let kept = hidden(json!(["WEBHOOK_BODY", "WEBHOOK_SECRET"])).unwrap();
        let set = |names: &[&str]| {
            let variables = crate::destinations::variables().filter(|variable| names.contains(&variable.name));
            Values::new(
                variables
                    .map(|variable| (variable, Ok(Some(Resolved::kept(variable.name, "{}".to_owned())))))
                    .collect(),
            )
        };
        let wrong = |values: &Values| values.unreadable().collect::<Vec<_>>();
        let values = kept.values(&set(&["WEBHOOK_URL", "WEBHOOK_SECRET", "WEBHOOK_HEADERS"]));
        assert_eq!(wrong(&values), ["WEBHOOK_BODY"]);
        // A replay that lacks it keeps that it has to be there.
        let result = DeliveryResult::unsent(crate::report::class::Class::Misconfigured, "wrong", None);
        let unmade = Unmade::from(Problem::new("WEBHOOK_BODY", "is not set"));
        let again = Undelivered::new(
            kept.target,
            kept.event.clone(),
            &values,
            Some(&unmade),
            &result,
            Origin::default(),
        );
        assert_eq!(
            again.hidden,
            ["WEBHOOK_URL", "WEBHOOK_SECRET", "WEBHOOK_BODY", "WEBHOOK_HEADERS"]
        );
        assert_eq!(
            wrong(&again.values(&set(&["WEBHOOK_URL", "WEBHOOK_SECRET", "WEBHOOK_HEADERS"]))),
            ["WEBHOOK_BODY"]
        );
        assert_eq!(
            wrong(&kept.values(&set(&["WEBHOOK_BODY", "WEBHOOK_SECRET"]))),
            Vec::<&str>::new()
        );
        assert_eq!(
            wrong(&hidden(json!([])).unwrap().values(&set(&["WEBHOOK_URL"]))),
            Vec::<&str>::new()
        );
    }

    #[test]
    fn no_file_brings_a_credential_or_an_address_for_any_destination() {
        for variable in crate::destinations::variables().filter(|variable| variable.is_read_anew()) {
            let destination = crate::destinations::ALL
                .iter()
                .find(|destination| destination.variables().any(|own| own.name == variable.name))
                .unwrap();
            let kept = undelivered(&json!({
                "destination": destination.name,
                "operation": destination.operations[0].name,
                "settings": {variable.name: "from the file"},
            }));
            let values = kept.unwrap().values(&Values::default());
            assert_eq!(values.get(variable.name), Ok(None), "{}", variable.name);
        }
    }

    #[test]
    fn what_a_plan_found_wrong_is_read_anew_too() {
        let kept = undelivered(&json!({})).unwrap();
        let unmade = Unmade::from(vec![
            Problem::new("RELY_BLUEPRINT", "is wrong"),
            Problem::new("EVENT_ID", "is not set"),
        ]);
        let values = kept.values(&Values::default());
        let result = DeliveryResult::unsent(crate::report::class::Class::Misconfigured, "wrong", None);
        let again = Undelivered::new(
            kept.target,
            kept.event,
            &values,
            Some(&unmade),
            &result,
            Origin::default(),
        );
        assert_eq!(again.unreadable, ["RELY_BLUEPRINT"]);
        assert!(!again.settings.contains_key("RELY_BLUEPRINT"));
    }

    #[test]
    fn what_was_hidden_can_not_be_sent() {
        let hidden = undelivered(&json!({"settings": {"RELY_ENTITY_ID": "a-[hidden]"}}));
        assert!(hidden.is_err_and(|why| why.contains("[hidden]") && why.contains("settings")));
        assert!(undelivered(&json!({"undelivered": 2})).is_err());
        assert!(undelivered(&json!({"event": {}})).is_err());
    }
}
