//! The services. Each is one file or folder that translates the event into the service's words and its replies back:
//! it declares variables, operations and hidden jobs, builds requests and reads replies, and does no I/O of its own.
//! Whoever adds one writes its file, one line in [`ALL`], and its table of golden requests.

use std::time::SystemTime;

use ring::digest;

use crate::{
    delivery::plan::Plan,
    event::{Action, Event},
    problem::{Problem, Unmade},
    text::{nearest, truncate},
    time,
    variables::{Kind, Values, Variable},
};

mod aviator;
mod blueprint;
mod cdevents;
mod cloudevent;
mod cto;
mod direktiv;
mod operation;
mod port;
pub mod register;
mod rely;
#[cfg(test)]
mod testing;
mod webhook;

pub use operation::{Operation, Repetition, Room, Words};
use register::Register;

/// Every destination, in the order of the documentation.
pub const ALL: &[&Destination] = &[
    &rely::DESTINATION,
    &cto::DESTINATION,
    &direktiv::DESTINATION,
    &aviator::DESTINATION,
    &port::DESTINATION,
    &webhook::DESTINATION,
    &cdevents::DESTINATION,
];

/// Every variable of every destination.
pub fn variables() -> impl Iterator<Item = &'static Variable> {
    ALL.iter().flat_map(|destination| destination.variables())
}

/// A service that events can be sent to.
#[derive(Debug)]
pub struct Destination {
    /// Its name on the command line.
    pub name: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// What it can do; the first is the default.
    pub operations: &'static [Operation],
    /// Everything it reads.
    pub variables: &'static [&'static [Variable]],
    /// The variables one of which, if set, says that this destination is wanted. None: it is sent to only where it is named.
    pub credentials: &'static [&'static str],
    /// The jobs that the component `notify-event` has for it.
    pub hidden_jobs: &'static [HiddenJob],
    /// Makes the plan for an operation.
    pub plan: fn(&Context) -> Result<Plan, Unmade>,
    /// Makes the plan for `notify-event check`: it only reads, to see whether the service can be reached and takes the
    /// credentials.
    pub check: fn(&Context) -> Result<Plan, Unmade>,
    /// How its entities are compared with GitLab's record, where it holds one for each deployment.
    pub register: Option<&'static Register>,
}

/// A job to extend.
#[derive(Debug)]
pub struct HiddenJob {
    /// Its name behind the dot and the prefix.
    pub name: &'static str,
    /// What it gives the program as arguments.
    pub arguments: &'static str,
    /// What it is for.
    pub description: &'static str,
}

impl HiddenJob {
    /// A job that runs the program with `arguments`.
    pub const fn new(name: &'static str, arguments: &'static str, description: &'static str) -> Self {
        Self {
            name,
            arguments,
            description,
        }
    }
}

/// What a destination makes a plan from.
pub struct Context<'a> {
    /// The name of the operation: one of the destination's.
    pub operation: &'static str,
    /// What happened.
    pub event: &'a Event,
    /// The values of the destination's variables.
    pub values: &'a Values,
    /// Whether this delivers something late: what has been reported since must not be undone.
    pub is_replay: bool,
    /// Since when an earlier attempt may have done this already; none where it is certain that none has. What can be
    /// asked after is asked after, then.
    pub in_doubt_since: Option<SystemTime>,
}

impl Context<'_> {
    /// Whether an earlier attempt may have done this already.
    pub fn is_in_doubt(&self) -> bool {
        self.in_doubt_since.is_some()
    }
}

/// Whether a status that a service holds tells what became of a deployment after its run, which may have told no end.
pub fn is_after_run(status: &str) -> bool {
    Action::from_word(status).is_aftermath()
}

/// Whether a late event has been overtaken by what a service holds by now: one that does not end a deployment by any
/// newer report, one that ends it by a newer end. `updated_at` is RFC 3339.
pub fn is_overtaken(event: &Event, is_finished: bool, updated_at: Option<&str>) -> bool {
    let is_newer = match (updated_at.and_then(time::parse), time::parse(&event.time)) {
        (Some(updated), Some(reported)) => updated > reported,
        _ => false,
    };
    if event.is_final() {
        is_finished && is_newer
    } else {
        is_finished || is_newer
    }
}

impl Destination {
    /// The operation of that name.
    pub fn operation(&self, name: &str) -> Option<&'static Operation> {
        self.operations.iter().find(|operation| operation.name == name)
    }

    /// Everything that it can be asked to do.
    pub fn targets(&'static self) -> impl Iterator<Item = Target> {
        self.operations.iter().map(move |operation| Target {
            destination: self,
            operation,
            is_optional: false,
        })
    }

    /// Everything it reads.
    pub fn variables(&self) -> impl Iterator<Item = &'static Variable> {
        self.variables.iter().copied().flatten()
    }

    /// The variable that says where the service is.
    pub fn address(&self) -> Option<&'static str> {
        let mut variables = self.variables();
        variables
            .find(|variable| matches!(variable.kind, Kind::Url | Kind::SecretUrl))
            .map(|variable| variable.name)
    }
}

/// A destination as it is named on the command line or in `NOTIFY_DESTINATIONS`.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The service.
    pub destination: &'static Destination,
    /// What it is to do.
    pub operation: &'static Operation,
    /// Whether a failure must not change the exit code.
    pub is_optional: bool,
}

impl Target {
    /// Reads `DESTINATION[:OPERATION][?]`.
    ///
    /// # Errors
    /// The name that is not known, with the nearest that is.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, is_optional) = match text.trim().strip_suffix('?') {
            Some(name) => (name.trim(), true),
            None => (text.trim(), false),
        };
        let (name, operation) = match name.split_once(':') {
            Some((name, operation)) => (name.trim(), Some(operation.trim())),
            None => (name, None),
        };
        let destination = find(name)?;
        let operation = match operation {
            None => &destination.operations[0],
            Some(operation) => destination.operation(operation).ok_or_else(|| {
                unknown(
                    &format!("operation of {name}"),
                    operation,
                    destination.operations.iter().map(|operation| operation.name),
                )
            })?,
        };
        Ok(Self {
            destination,
            operation,
            is_optional,
        })
    }

    /// Whether both are the same operation of the same service.
    pub fn is_like(&self, other: &Self) -> bool {
        self.destination.name == other.destination.name && self.operation == other.operation
    }

    /// Adds this to what is to be sent. Named twice is meant once, and optional only if it is so each time.
    pub fn add_to(self, targets: &mut Vec<Self>) {
        match targets.iter_mut().find(|other| other.is_like(&self)) {
            Some(other) => other.is_optional &= self.is_optional,
            None => targets.push(self),
        }
    }

    /// How what it writes can be compared, where that is an entity that the service can be asked for.
    pub fn register(&self) -> Option<&'static Register> {
        self.destination.register.filter(|_| self.operation.writes_entity())
    }

    /// Whether doing it twice, with these values, is not the same as doing it once.
    pub fn counts(&self, values: &Values) -> bool {
        self.operation.counts(|name| values.is_given(name))
    }

    /// Which receiver these values lead to, where any address may be given that must not be shown: a few digits of its hash,
    /// by which two of them can be told apart. None where the destination is one service.
    pub fn receiver(&self, values: &Values) -> Option<String> {
        let mut variables = self.destination.variables();
        let address = variables.find(|variable| variable.kind == Kind::SecretUrl)?;
        let address = &values.get(address.name).ok()??.value;
        let hash = digest::digest(&digest::SHA256, address.trim().as_bytes());
        Some(hash.as_ref()[..4].iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The blueprint of the entity that it is about by these values, where it is about one that is held of a deployment.
    pub fn blueprint(&self, values: &Values) -> Option<String> {
        let register = self.destination.register.filter(|_| self.operation.entity.is_some())?;
        let blueprint = &values.get(register.blueprint).ok()??.value;
        (!self.operation.sends_entities(|name| values.is_given(name))).then(|| blueprint.clone())
    }

    /// `destination:operation`, or the destination alone for its default.
    pub fn label(&self) -> String {
        if self.operation == &self.destination.operations[0] {
            self.destination.name.to_owned()
        } else {
            format!("{}:{}", self.destination.name, self.operation.name)
        }
    }
}

/// The problem of a `word` of the user's own that only some operations tell, and `target` does not.
pub fn no_word_for(target: &Target, word: &str) -> Problem {
    let all = ALL.iter().flat_map(|destination| destination.targets());
    let any = all.filter(|target| target.operation.words == Words::Any);
    let any: Vec<String> = any.map(|target| target.label()).collect();
    let own = match target.operation.words {
        Words::AndOwn(own) => format!(", or one of its own ({})", own.join(", ")),
        _ => String::new(),
    };
    Problem::new(
        "EVENT_ACTION",
        format!(
            "is `{}`, which only {} can tell; for {} it has to be one of {}{own}",
            truncate(word, 60),
            any.join(", "),
            target.label(),
            Action::WORDS.join(", ")
        ),
    )
}

/// The destination of that name.
///
/// # Errors
/// The names there are, and the nearest.
pub fn find(name: &str) -> Result<&'static Destination, String> {
    ALL.iter()
        .find(|destination| destination.name == name)
        .copied()
        .ok_or_else(|| unknown("destination", name, ALL.iter().map(|destination| destination.name)))
}

fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let hint = nearest(name, known.clone()).map_or(".".to_owned(), |near| format!(", did you mean `{near}`?"));
    let known: Vec<&str> = known.collect();
    format!("there is no {what} `{name}`{hint} There are: {}", known.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{operation::ActionUse, *};

    /// From the section of each page in docs/vendors about what may be repeated.
    #[test]
    fn what_comes_of_a_second_time_is_what_the_vendors_pages_say() {
        let of = |wanted: Repetition| {
            let all = ALL.iter().flat_map(|destination| {
                let of_one = destination.operations.iter();
                of_one.map(|operation| (destination.name, operation))
            });
            let fitting = all.filter(|(_, operation)| operation.repetition(|_| false) == wanted);
            let labels: Vec<String> = fitting
                .map(|(name, operation)| format!("{name}:{}", operation.name))
                .collect();
            labels.join(" ")
        };
        assert_eq!(
            of(Repetition::Unasked),
            "cto:event direktiv:execute aviator:rollback port:run-create webhook:event"
        );
        assert_eq!(
            of(Repetition::Asked),
            "rely:create aviator:release aviator:deployment port:create port:run-update port:run-log"
        );
        assert_eq!(of(Repetition::Deduplicated), "direktiv:broadcast cdevents:event");
        let webhook = find("webhook").unwrap().operation("event").unwrap();
        assert_eq!(
            webhook.repetition(|name| name == "WEBHOOK_SECRET"),
            Repetition::Deduplicated
        );
    }

    #[test]
    fn what_a_replay_does_only_by_name_is_declared_and_never_a_report() {
        let drastic: Vec<String> = ALL
            .iter()
            .flat_map(|destination| {
                let operations = destination.operations.iter().filter(|operation| operation.is_drastic);
                operations.map(|operation| format!("{}:{}", destination.name, operation.name))
            })
            .collect();
        let expected = [
            "direktiv:execute",
            "aviator:deployment",
            "aviator:rollback",
            "port:delete",
            "port:run-create",
        ];
        assert_eq!(drastic, expected);
        for destination in ALL {
            assert!(!destination.operations[0].is_drastic, "{}", destination.name);
        }
    }

    #[test]
    fn a_late_event_is_overtaken_in_whatever_form_the_service_writes_its_time() {
        let event = |action: &str| {
            Event::from_json(&json!({
                "schema_version": 1, "name": "deployment", "action": action, "action_source": "a test",
                "time": "2025-03-01T10:00:00Z",
            }))
            .unwrap()
        };
        for (updated_at, is_newer) in [
            ("2025-03-01T10:00:01.5Z", true),
            ("2025-03-01T10:00:01.500000+00:00", true),
            ("2025-03-01T10:30:00+01:00", false),
            ("2025-03-01T09:59:59Z", false),
        ] {
            assert_eq!(
                is_overtaken(&event("progressing"), false, Some(updated_at)),
                is_newer,
                "{updated_at}"
            );
            assert_eq!(
                is_overtaken(&event("failure"), true, Some(updated_at)),
                is_newer,
                "{updated_at}"
            );
            assert!(
                !is_overtaken(&event("failure"), false, Some(updated_at)),
                "an end is sent over a start"
            );
        }
        assert!(
            is_overtaken(&event("started"), true, None),
            "what has ended is not begun again"
        );
    }

    /// What every operation of every destination needs.
    const EVERYTHING: &[(&str, &str)] = &[
        ("CI_PROJECT_PATH", "acme/shop"),
        ("CI_PIPELINE_ID", "8812"),
        ("CI_COMMIT_SHA", "9f2c1e7"),
        ("EVENT_ENVIRONMENT", "production"),
        ("RELY_API_TOKEN", "t"),
        ("CTOAI_EVENTS_API_TOKEN", "t"),
        ("CTOAI_TEAM_ID", "team"),
        ("DIREKTIV_URL", "https://direktiv.example.com"),
        ("DIREKTIV_NAMESPACE", "demo"),
        ("DIREKTIV_WORKFLOW", "/deploy.yaml"),
        ("AVIATOR_API_TOKEN", "t"),
        ("AVIATOR_PROJECT", "Shop"),
        ("AVIATOR_RELEASE_CANDIDATE", "1.4.0-rc1"),
        ("PORT_CLIENT_ID", "id"),
        ("PORT_CLIENT_SECRET", "secret"),
        ("PORT_ENTITY_ID", "shop"),
        ("PORT_QUERY", r#"{"combinator": "and", "rules": []}"#),
        ("PORT_ACTION", "deploy"),
        ("PORT_RUN_ID", "r_1"),
        ("PORT_RUN_LOG", "deployed"),
        ("WEBHOOK_URL", "https://hooks.example.com/x"),
        ("CDEVENTS_URL", "https://broker.example.com"),
    ];

    #[test]
    fn what_an_operation_says_that_it_reports_is_what_its_plan_is_made_of() {
        let instead = [
            ("RELY_PROPERTIES", "{}"),
            ("DIREKTIV_INPUT", "{}"),
            ("AVIATOR_STATUS", "success"),
            ("PORT_PROPERTIES", "{}"),
            ("PORT_RUN_STATUS", "success"),
            ("WEBHOOK_BODY", "{}"),
        ];
        for destination in ALL {
            for operation in destination.operations {
                let requests = |more: &[(&str, &str)]| {
                    let plan = testing::try_plan(destination, operation.name, EVERYTHING.iter().chain(more))?;
                    Ok::<Vec<String>, Unmade>(plan.steps.iter().map(|step| testing::wire(&step.request)).collect())
                };
                let known = |variables: &[(&'static str, &'static str)]| {
                    let with = [variables, &[("EVENT_ACTION", "success")]].concat();
                    (requests(variables), requests(&with))
                };
                let name = format!("{}:{}", destination.name, operation.name);
                let (without, with) = known(&[]);
                let with = with.unwrap_or_else(|why| panic!("{name}: {why}"));
                let is_given = |variables: &[(&str, &str)], name: &str| variables.iter().any(|(own, _)| *own == name);
                let needs = operation.needs_action(|name| is_given(EVERYTHING, name));
                assert_eq!(without != Ok(with), needs, "{name}: {without:?}");
                if let ActionUse::UnlessSet(variable) | ActionUse::UnlessSetWithout(variable, _) = operation.action {
                    assert!(is_given(&instead, variable), "{variable}");
                    let (without, with) = known(&instead);
                    assert_eq!(without, with, "{name}, where {variable} says it");
                }
            }
        }
    }
}
