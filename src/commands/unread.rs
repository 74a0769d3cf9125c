//! Names that look like the program's and that nothing reads: a typo in one must not leave a destination out or make
//! another event without a word. Their values are never shown: nobody knows what they are.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::setup::{Setup, declared, of_policy};
use crate::{
    environment::{DEFAULT_SUFFIX, Environment, FILE_SUFFIX},
    receipts::receipt,
    text::{is_typo, matches},
    variables::List,
};

/// So many are told of, a line each.
const TOLD: usize = 10;
/// What a variable's name may have behind it: each is a form in which it may be given.
const SUFFIXES: [&str; 3] = ["", FILE_SUFFIX, DEFAULT_SUFFIX];
/// How much of two names has to be alike for one to be offered in place of the other.
const ALIKE: f64 = 0.6;

/// A name that is set and that nothing reads.
pub struct Unread<'a> {
    name: &'a str,
    near: Option<&'static str>,
}

impl fmt::Display for Unread<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} is set, and nothing reads it", self.name)?;
        match self.near {
            Some(near) => write!(formatter, "; did you mean {near}?"),
            None => Ok(()),
        }
    }
}

/// The environment, in which a name that is one typo away from a variable that is looked for and not set is an error.
pub fn examined(environment: Environment) -> Environment {
    if names(&environment, &[]).is_empty() {
        return environment;
    }
    let ignored = of_policy(&environment, "NOTIFY_IGNORE").one("NOTIFY_IGNORE");
    let List(ignored) = ignored.unwrap_or(List(Vec::new()));
    let unread = names(&environment, &ignored);
    let mut mistaken = BTreeMap::new();
    for form in own_names().flat_map(forms) {
        if let Some(name) = unread.iter().find(|name| is_typo(name, &form)) {
            mistaken.insert(form, (*name).to_owned());
        }
    }
    environment.with_mistaken(mistaken)
}

/// Every name that is set and that nothing reads, but for those that are `ignored`.
pub fn all<'a>(environment: &'a Environment, ignored: &[String]) -> Vec<Unread<'a>> {
    let unread = names(environment, ignored).into_iter();
    unread.map(|name| Unread { name, near: near(name) }).collect()
}

/// Tells of the names that nothing reads, a line each, but for those that were `told` of as what is wrong.
pub fn tell(setup: &Setup, told: &[&str]) {
    let mut unread = all(setup.environment, setup.ignored());
    unread.retain(|unread| !told.contains(&unread.name));
    for unread in unread.iter().take(TOLD) {
        setup.console.info(&format!("  {:<18} {unread}", "variables"));
    }
    if let Some(more) = unread.len().checked_sub(TOLD).filter(|more| *more > 0) {
        let what = "more are set that nothing reads: `notify-event explain` lists them";
        setup.console.info(&format!("  {:<18} and {more} {what}", "variables"));
    }
}

/// Whether this is no job of GitLab's, and nothing is set that is the program's, or looks like it.
pub fn is_bare(environment: &Environment) -> bool {
    let is_gitlabs = |name: &str| matches!(name, "GITLAB_CI" | "CI_JOB_ID");
    let is_ours = looks_ours();
    !environment.names().any(|name| is_gitlabs(name) || is_ours(name))
}

/// Whether a name begins as the program's do.
fn looks_ours() -> impl Fn(&str) -> bool {
    let prefixes: BTreeSet<&str> = own_names().filter_map(prefix).collect();
    move |name| prefix(name).is_some_and(|prefix| prefixes.contains(prefix))
}

/// The variables that are ours by name.
fn own_names() -> impl Iterator<Item = &'static str> {
    let own = declared().into_iter().filter(|variable| variable.is_own());
    own.map(|variable| variable.name)
}

/// The names under which a variable may be given.
fn forms(name: &str) -> [String; 3] {
    SUFFIXES.map(|suffix| format!("{name}{suffix}"))
}

/// The part of a name that says whose it is, `RELY_`.
fn prefix(name: &str) -> Option<&str> {
    name.find('_').map(|end| &name[..=end])
}

fn names<'a>(environment: &'a Environment, ignored: &[String]) -> Vec<&'a str> {
    let is_ours = looks_ours();
    let own: Vec<&str> = own_names().collect();
    let is_form_of = |own: &str, name: &str| name.strip_prefix(own).is_some_and(|suffix| SUFFIXES.contains(&suffix));
    let is_unread = |name: &&str| {
        is_ours(name)
            && !own.iter().any(|own| is_form_of(own, name))
            && !receipt::names().any(|handed| handed == *name)
            && !ignored.iter().any(|pattern| matches(pattern, name))
    };
    environment.names().filter(is_unread).collect()
}

/// The variable that may be meant by `name`: the one most like it, if one is like it at all.
fn near(name: &str) -> Option<&'static str> {
    let candidates = own_names().map(|candidate| (likeness(name, candidate), candidate));
    let best = candidates.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 >= ALIKE).then_some(best.1)
}

/// How much two names have in common, from 0 to 2. Most where all words of one are words of the other, as in `RELY_TOKEN`
/// and `RELY_API_TOKEN`; else, of one prefix, what is behind it is compared letter by letter.
fn likeness(a: &str, b: &str) -> f64 {
    let (mut few, mut many): (Vec<&str>, Vec<&str>) = (a.split('_').collect(), b.split('_').collect());
    if few.len() > many.len() {
        std::mem::swap(&mut few, &mut many);
    }
    let is_short_for = |word: &str, other: &str| word.len() > 2 && other.starts_with(word);
    let is_like = |word: &str, other: &str| {
        word == other || is_typo(word, other) || is_short_for(word, other) || is_short_for(other, word)
    };
    let is_in = |word: &&str| many.iter().any(|other| is_like(word, other));
    if few.len() > 1 && few.iter().all(is_in) {
        return 1.0 + strsim::normalized_levenshtein(a, b);
    }
    match (prefix(a), prefix(b)) {
        (Some(of_a), Some(of_b)) if of_a == of_b => strsim::normalized_levenshtein(&a[of_a.len()..], &b[of_b.len()..]),
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gitlab::pipeline;

    fn environment(names: &[&str]) -> Environment {
        Environment::from_variables(names.iter().map(|name| ((*name).into(), "value".into())))
    }

    #[test]
    fn what_is_read_what_we_hand_on_and_what_is_gitlabs_is_known() {
        let handed: Vec<String> = receipt::names().collect();
        assert!(
            handed.iter().any(|name| name == "NOTIFY_RELY_RESULT")
                && handed.iter().any(|name| name == "NOTIFY_PORT_RUN_UPDATE_ID")
        );
        let read: Vec<String> = own_names().flat_map(forms).collect();
        let known = handed.iter().chain(&read).map(String::as_str);
        let foreign = declared().into_iter().map(|variable| variable.name);
        let others = [
            "PORT",
            "DB_PORT_5432_TCP_ADDR",
            "EVENT",
            "HTTPS_PROXY_DEFAULT",
            "TOKEN_DEFAULT",
            "TEAM",
        ];
        let all: Vec<&str> = known
            .chain(foreign)
            .chain(pipeline::PREDEFINED.iter().copied())
            .chain(others)
            .collect();
        assert_eq!(names(&environment(&all), &[]), Vec::<&str>::new());
    }

    #[test]
    fn the_nearest_is_the_one_that_is_meant() {
        for (name, meant) in [
            ("RELY_TOKEN", Some("RELY_API_TOKEN")),
            ("RELY_API_TOKN", Some("RELY_API_TOKEN")),
            ("CTOAI_TOKEN", Some("CTOAI_EVENTS_API_TOKEN")),
            ("AVIATOR_URL", Some("AVIATOR_API_URL")),
            ("PORT_SECRET", Some("PORT_CLIENT_SECRET")),
            ("NOTIFY_TIMOUTS", Some("NOTIFY_TIMEOUT")),
            ("NOTIFY_RELY_API_TOKEN", Some("RELY_API_TOKEN")),
            ("RELY_API_TOKEN_DEFAULT_FILE", Some("RELY_API_TOKEN")),
            ("EVENT_ENV", Some("EVENT_ENVIRONMENT")),
            ("NOTIFY_DEST", Some("NOTIFY_DESTINATIONS")),
            ("NOTIFY_SOCKET", None),
            ("NOTIFY_PORT_8080_TCP_PROTO", None),
            ("EVENT_GRID_TOPIC", None),
            ("PORT_8080_TCP", None),
        ] {
            assert_eq!(near(name), meant, "{name}");
        }
    }

    #[test]
    fn only_a_typo_in_a_name_that_is_looked_for_and_not_set_is_an_error() {
        let problem = |names: &[&str], wanted: &str| {
            let found = examined(environment(names)).find_or_default(wanted, true);
            found.err().map(|problem| problem.variable)
        };
        for (names, wanted, mistaken) in [
            (
                &["NOTIFY_DESTINATION"][..],
                "NOTIFY_DESTINATIONS",
                Some("NOTIFY_DESTINATION"),
            ),
            (&["EVENT_ENVIROMENT"], "EVENT_ENVIRONMENT", Some("EVENT_ENVIROMENT")),
            (&["EVENT_ENVIROMENT"], "EVENT_ID", None),
            (&["RELY_API_TOEKN"], "RELY_API_TOKEN", Some("RELY_API_TOEKN")),
            (&["RELY_API_TOEKN", "RELY_API_TOKEN"], "RELY_API_TOKEN", None),
            // The job's own, mistyped, is no reason to take the group's.
            (
                &["RELY_API_TOEKN", "RELY_API_TOKEN_DEFAULT"],
                "RELY_API_TOKEN",
                Some("RELY_API_TOEKN"),
            ),
            (&["RELY_API_TOKEN_FIEL"], "RELY_API_TOKEN", Some("RELY_API_TOKEN_FIEL")),
            (&["NOTIFY_ONLY_DEFUALT"], "NOTIFY_ONLY", Some("NOTIFY_ONLY_DEFUALT")),
            (&["NOTIFY_ONLY_DEFUALT", "NOTIFY_ONLY"], "NOTIFY_ONLY", None),
            (&["RELY_TOKEN"], "RELY_API_TOKEN", None),
            (&["NOTIFY_SOCKET"], "NOTIFY_LOG", None),
            // Handed on by a receipt.
            (&["NOTIFY_PORT_ID"], "NOTIFY_JOB", None),
        ] {
            assert_eq!(problem(names, wanted).as_deref(), mistaken, "{names:?}");
        }
        for (pattern, is_ignored) in [("NOTIFY_DESTINATION", true), ("NOTIFY_D*", true), ("EVENT_*", false)] {
            let variables = [("NOTIFY_DESTINATION", "rely"), ("NOTIFY_IGNORE", pattern)];
            let environment = Environment::from_variables(variables.map(|(name, value)| (name.into(), value.into())));
            let found = examined(environment).find_or_default("NOTIFY_DESTINATIONS", false);
            assert_eq!(found.is_ok(), is_ignored, "{pattern}");
        }
    }

    #[test]
    fn an_empty_one_is_not_set() {
        let environment = Environment::from_variables([("NOTIFY_DESTINATION".into(), "".into())]);
        assert_eq!(examined(environment).find("NOTIFY_DESTINATIONS", false), Ok(None));
    }
}
