//! What a run has to ask GitLab: a pure function of its operations and of the names that its values mention.

use crate::{
    destinations::Target,
    event::{
        resolve::Known,
        scope::{Fact, fact_of, is_action},
    },
};

/// What has to be asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact by itself")]
pub struct Needs {
    /// What became of the pipeline's jobs.
    pub outcome: bool,
    /// What was deployed since the last time.
    pub changes: bool,
    /// What earlier attempts of this job have delivered.
    pub attempts: bool,
    /// Which job has deployed what this one stops.
    pub deployer: bool,
}

/// What one target of a run brings.
pub struct Part<'a> {
    target: &'a Target,
    reports_action: bool,
    counts: bool,
    is_of_event: bool,
    names: Vec<&'a str>,
}

impl<'a> Part<'a> {
    /// A target, for which `is_given` says which variables are set, and whose values name `names` in their templates.
    pub fn new(target: &'a Target, is_given: impl Fn(&str) -> bool, names: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            target,
            reports_action: target.operation.needs_action(&is_given),
            counts: target.operation.counts(&is_given),
            is_of_event: target.operation.is_of_event(&is_given),
            names: names.into_iter().collect(),
        }
    }
}

/// What a run needs of `parts`, and of the event, whose own templates name `names`. `is_filtered` says that only events
/// of certain actions are sent, `known` what is known without asking.
pub fn needs<'a>(
    parts: &[Part<'a>],
    names: impl IntoIterator<Item = &'a str>,
    is_filtered: bool,
    known: Known,
) -> Needs {
    let all: Vec<&str> = names
        .into_iter()
        .chain(parts.iter().flat_map(|part| part.names.iter().copied()))
        .collect();
    let names_fact = |fact| all.iter().any(|name| fact_of(name) == Some(fact));
    let reports_action = parts
        .iter()
        .any(|part| part.reports_action || (is_filtered && !part.target.operation.is_read));
    let names_action = all.iter().any(|name| is_action(name));
    Needs {
        outcome: (!known.action && (reports_action || names_action))
            || (!known.job && names_fact(Fact::Jobs))
            || (!known.job_name && names_fact(Fact::JobName)),
        changes: names_fact(Fact::Changes),
        attempts: parts.iter().any(|part| part.counts),
        deployer: !known.deployer && parts.iter().any(|part| part.is_of_event),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(target: &str, set: &[&str], names: &[&str]) -> Needs {
        let target = Target::parse(target).unwrap();
        let part = Part::new(&target, |name| set.contains(&name), names.iter().copied());
        needs(&[part], [], false, Known::default())
    }

    #[test]
    fn an_operation_that_tells_the_action_needs_the_outcome() {
        for target in [
            "rely",
            "cto",
            "direktiv:broadcast",
            "aviator",
            "port",
            "port:run-update",
        ] {
            assert!(of(target, &[], &[]).outcome, "{target}");
        }
        for target in [
            "rely:get",
            "direktiv:sync",
            "aviator:release",
            "port:delete",
            "port:run-log",
        ] {
            assert!(!of(target, &[], &[]).outcome, "{target}");
        }
    }

    #[test]
    fn a_variable_that_says_it_instead_is_enough() {
        for (target, variable) in [
            ("rely", "RELY_PROPERTIES"),
            ("direktiv:execute", "DIREKTIV_INPUT"),
            ("aviator", "AVIATOR_STATUS"),
            ("port", "PORT_PROPERTIES"),
            ("port:run-update", "PORT_RUN_STATUS"),
            ("port", "PORT_ENTITIES_FILE"),
            ("rely", "RELY_ENTITIES_FILE"),
        ] {
            assert!(!of(target, &[variable], &[]).outcome, "{target}");
        }
    }

    #[test]
    fn a_webhooks_own_body_says_it_unless_it_is_signed() {
        assert!(of("webhook", &[], &[]).outcome && of("webhook", &["WEBHOOK_SECRET"], &[]).outcome);
        assert!(!of("webhook", &["WEBHOOK_BODY"], &[]).outcome);
        assert!(of("webhook", &["WEBHOOK_BODY"], &["event.action"]).outcome);
        assert!(
            of("webhook", &["WEBHOOK_BODY", "WEBHOOK_SECRET"], &[]).outcome,
            "its id is made of the action"
        );
        assert!(of("webhook", &[], &[]).attempts && !of("webhook", &["WEBHOOK_SECRET"], &[]).attempts);
    }

    #[test]
    fn names_need_what_they_stand_for() {
        assert!(of("aviator:release", &[], &["event.action"]).outcome);
        assert!(of("aviator:release", &[], &["event.started_at"]).outcome);
        assert!(of("aviator:release", &[], &["changes.count"]).changes);
        let none = of("port:delete", &[], &["event.id", "env.CI_COMMIT_TAG"]);
        assert!(!none.outcome && !none.changes);
    }

    #[test]
    fn what_a_stop_job_stops_matters_to_what_is_told_of_it() {
        for (name, is_needed) in [
            ("rely", true),
            ("cto", true),
            ("rely:get", true),
            ("direktiv:sync", false),
            ("port:search", false),
        ] {
            assert_eq!(of(name, &[], &[]).deployer, is_needed, "{name}");
        }
    }

    #[test]
    fn what_counts_twice_needs_the_earlier_attempts() {
        assert!(of("cto", &[], &[]).attempts && of("port:run-log", &[], &[]).attempts);
        assert!(!of("rely", &[], &[]).attempts);
    }

    #[test]
    fn what_is_known_is_not_asked() {
        let target = Target::parse("cto").unwrap();
        let part = || Part::new(&target, |_| false, ["event.action", "event.duration"]);
        let action = Known {
            action: true,
            ..Known::default()
        };
        let after_script = Known { job: true, ..action };
        assert!(
            needs(&[part()], [], false, action).outcome,
            "the duration is the jobs' to tell"
        );
        assert!(
            !needs(&[part()], [], true, after_script).outcome,
            "an after_script knows"
        );
    }

    #[test]
    fn a_filter_needs_the_action_of_what_is_no_read() {
        for (name, is_needed) in [("aviator:release", true), ("rely:get", false)] {
            let target = Target::parse(name).unwrap();
            let part = Part::new(&target, |_| false, []);
            assert_eq!(needs(&[part], [], true, Known::default()).outcome, is_needed, "{name}");
        }
    }
}
