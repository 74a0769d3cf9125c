//! Compares what a service holds of a deployment with what its report would say. Which properties tell the status, and which
//! a time, is not declared anywhere: users say themselves what is sent. It is found out by saying it several times, as if
//! something else had become of the deployment, or at another time, and seeing what changes.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use serde_json::{Map, Value};

use crate::{event::Action, problem::Unmade, time};

/// Starts that are farther apart are those of two attempts: clocks differ, and who reports a start is not who starts.
const APART: Duration = Duration::from_mins(2);
/// How far a time is moved to see what is made of it: something changes in whatever form it is written.
const MOVED: Duration = Duration::from_secs(400 * 24 * 3600 + 3600 + 60 + 1);

/// Whether two starts are of one attempt.
pub fn is_near(one: SystemTime, other: SystemTime) -> bool {
    one <= other + APART && other <= one + APART
}

/// When a job started and ended.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// Its start; none where it never started.
    pub start: Option<SystemTime>,
    /// Its end, or what stands in for it as long as it runs.
    pub end: SystemTime,
    /// Seconds between the two, of their own so that what is made of them is told apart.
    pub duration: u64,
}

/// What is said of a deployment.
type Said = Map<String, Value>;

/// What a report would say of a deployment, and which of it are its status and its times.
#[derive(Debug)]
pub struct Portrait {
    /// What became of it.
    action: Action,
    /// When that was, where its run has ended.
    end: Option<SystemTime>,
    /// What is said of it.
    said: Said,
    /// The properties that are made of the action, with what each action makes of them; null where it says nothing.
    statuses: BTreeMap<String, Vec<(Action, Value)>>,
    /// The properties that are made of the job's times.
    times: BTreeSet<String>,
    /// Those of them that are its start, and when a run of any end says that it was.
    starts: BTreeMap<String, SystemTime>,
    /// Those of them that are its end.
    ends: BTreeSet<String>,
}

/// What comes of a comparison.
#[derive(Debug, Clone, PartialEq)]
pub enum Finding {
    /// It is there as the record has it.
    Agrees,
    /// It differs, and stays as it is: why.
    Stays(String),
    /// It differs: what has to be written, and why.
    Differs(Map<String, Value>, String),
}

impl Portrait {
    /// The portrait of a deployment of which `action` is what became of it at `times`; `say` says what is said of any action
    /// at any times.
    ///
    /// # Errors
    /// It can't be said.
    pub fn new(
        action: &Action,
        times: Times,
        mut say: impl FnMut(&Action, Times) -> Result<Said, Unmade>,
    ) -> Result<Self, Unmade> {
        let said = say(action, times)?;
        let end = times.end;
        // What can't be said of another action is something that no report says of it.
        let mut of = |action: &Action, times: Times| say(action, times).unwrap_or_default();
        let words = Action::WORDS.iter().map(|word| Action::from_word(word));
        let by_action: Vec<(Action, Said)> = words
            .map(|other| {
                let said = if other == *action {
                    said.clone()
                } else {
                    of(&other, times)
                };
                (other, said)
            })
            .collect();
        let mut all: BTreeSet<&String> = by_action.iter().flat_map(|(_, said)| said.keys()).collect();
        all.extend(said.keys());
        let later = |time: SystemTime| time.checked_add(MOVED).unwrap_or(time);
        let by_start = Times {
            start: times.start.map(later),
            ..times
        };
        let by_end = Times {
            end: later(times.end),
            ..times
        };
        let by_duration = Times {
            duration: times.duration + 86_399,
            ..times
        };
        let mut is_moved: [BTreeSet<String>; 3] = Default::default();
        let others = [&Action::Started, &Action::Success];
        let own = Some(action).filter(|action| !others.contains(action));
        for other in others.into_iter().chain(own) {
            let Some((_, before)) = by_action.iter().find(|(own, _)| own == other) else {
                continue;
            };
            for (moved, times) in is_moved.iter_mut().zip([by_start, by_end, by_duration]) {
                let after = of(other, times);
                let changed = all.iter().filter(|name| before.get(**name) != after.get(**name));
                moved.extend(changed.map(|name| (*name).clone()));
            }
        }
        let starts = is_moved[0].iter().filter_map(|name| {
            let mut values = by_action.iter().filter_map(|(_, said)| moment(said.get(name)?));
            Some((name.clone(), values.next()?))
        });
        let starts = starts.collect();
        let times: BTreeSet<String> = is_moved.iter().flatten().cloned().collect();
        let of_run = |action: &Action| !action.is_aftermath() && *action != Action::Progressing;
        let statuses = all.iter().filter_map(|name| {
            let made: Vec<(Action, Value)> = by_action
                .iter()
                .map(|(action, said)| (action.clone(), said.get(*name).cloned().unwrap_or_default()))
                .collect();
            let mut words: Vec<&Value> = Vec::new();
            for (_, value) in made.iter().filter(|(action, _)| of_run(action)) {
                if !words.contains(&value) {
                    words.push(value);
                }
            }
            let is_status = words.len() > 1 && !times.contains(*name);
            is_status.then(|| ((*name).clone(), made))
        });
        Ok(Self {
            statuses: statuses.collect(),
            end: action.ends_run().then_some(end),
            action: action.clone(),
            said,
            starts,
            ends: is_moved[1].clone(),
            times,
        })
    }

    /// Compares it with what a service holds.
    pub fn compare(&self, held: &Said) -> Finding {
        if self.statuses.is_empty() && self.times.is_empty() {
            return Finding::Stays("nothing of what is sent is made of the action or of the job's times".to_owned());
        }
        let (state, is_whole) = match self.state(held) {
            Ok(state) => state,
            Err(word) => return Finding::Stays(format!("it holds {word}, which no report of ours says")),
        };
        if let Some(action) = self.aftermath(held) {
            return Finding::Stays(format!("it is {action}"));
        }
        let is_known = |is: fn(&Action) -> bool| state.iter().any(|action| is(action));
        let goes_on = self.action == Action::Started && state.contains(&&Action::Progressing);
        let agrees = is_whole && (goes_on || state.contains(&&self.action));
        let is_final = is_known(Action::is_final) && !agrees;
        let (earlier, later) = self.attempt(held);
        if let Some(name) = later {
            return Finding::Stays(format!("its {name} is of a later attempt than GitLab's record has"));
        }
        if !self.action.is_final() && is_final && earlier.is_none() {
            return Finding::Stays("it has ended, and nothing tells that it has begun again".to_owned());
        }
        let lacks = |name: &&String| is_absent(held.get(*name)) && !is_absent(self.said.get(*name));
        let lacking: Vec<&String> = self.times.iter().filter(lacks).collect();
        // What is no other attempt's start stays as it is.
        let is_same_start = |name: &String| {
            let theirs = held.get(name).and_then(moment);
            let ours = self.starts.get(name);
            ours.zip(theirs).is_some_and(|(ours, theirs)| is_near(*ours, theirs))
        };
        let differs = |name: &&String| {
            !is_absent(self.said.get(*name)) && held.get(*name) != self.said.get(*name) && !is_same_start(name)
        };
        let unsaid = self.statuses.keys().filter(lacks);
        let has_status = agrees && unsaid.count() == 0;
        let (names, why): (Vec<&String>, String) = if !agrees && !self.statuses.is_empty() {
            let of_all = self.statuses.keys().chain(&self.times);
            (of_all.filter(differs).collect(), self.told(held))
        } else if let Some(name) = earlier {
            let of_all = self.statuses.keys().chain(&self.times);
            (
                of_all.filter(differs).collect(),
                format!("its {name} was an earlier attempt's"),
            )
        } else if !lacking.is_empty() || (!has_status && !self.statuses.is_empty()) {
            let of_status = self.statuses.keys().filter(lacks);
            let names: Vec<&String> = of_status.chain(lacking).collect();
            let listed: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
            let why = format!("it lacked {}", listed.join(", "));
            (names, why)
        } else {
            return Finding::Agrees;
        };
        let of_one = |name: &String| (name.clone(), self.said[name].clone());
        let written: Map<String, Value> = names.into_iter().map(of_one).collect();
        if written.is_empty() {
            // What differs is what this report would not say.
            return Finding::Agrees;
        }
        Finding::Differs(written, why)
    }

    /// Whether an entity is there that waits for an end, so that it is told that none will come.
    pub fn compare_unstarted(&self, held: &Said) -> Finding {
        let waits = |state: &[&Action]| !state.is_empty() && !state.iter().any(|action| action.is_final());
        match self.state(held) {
            Ok((state, _)) if waits(&state) => self.compare(held),
            _ => Finding::Agrees,
        }
    }

    /// What actions the held status may be, and whether all of it fits them; none where it holds none.
    ///
    /// # Errors
    /// What it holds that no action makes.
    fn state(&self, held: &Said) -> Result<(Vec<&Action>, bool), String> {
        let mut likely: Vec<(&Action, usize, bool)> = Vec::new();
        for (name, made) in &self.statuses {
            let Some(held) = held.get(name).filter(|value| !value.is_null()) else {
                continue;
            };
            if !made.iter().any(|(_, value)| value == held) {
                return Err(format!("{name} {}", crate::text::truncate(&held.to_string(), 60)));
            }
            for (action, value) in made {
                let place = likely.iter().position(|(own, _, _)| *own == action).unwrap_or_else(|| {
                    likely.push((action, 0, true));
                    likely.len() - 1
                });
                if value == held {
                    likely[place].1 += 1;
                } else if !value.is_null() {
                    likely[place].2 = false;
                }
            }
        }
        let fitting = |is: &dyn Fn(&(&Action, usize, bool)) -> bool| {
            let fitting = likely.iter().filter(|one| is(one));
            fitting.map(|(action, _, _)| *action).collect::<Vec<_>>()
        };
        let whole = fitting(&|(_, equal, fits)| *equal > 0 && *fits);
        if whole.is_empty() {
            // They contradict each other: it may be any of these.
            return Ok((fitting(&|(_, equal, _)| *equal > 0), false));
        }
        Ok((whole, true))
    }

    /// What became of it after its run, where any part of the held status says so and nothing else.
    fn aftermath(&self, held: &Said) -> Option<&Action> {
        self.statuses.iter().find_map(|(name, made)| {
            let held = held.get(name).filter(|value| !value.is_null())?;
            let mut of_it = made.iter().filter(|(_, value)| value == held).map(|(action, _)| action);
            let first = of_it.next()?;
            (first.is_aftermath() && of_it.all(Action::is_aftermath)).then_some(first)
        })
    }

    /// The name of a property that holds the time of an earlier attempt, and of one that holds that of a later one.
    fn attempt(&self, held: &Said) -> (Option<&String>, Option<&String>) {
        let (mut earlier, mut later) = (None, None);
        let mut has_start = false;
        for (name, start) in &self.starts {
            let Some(held) = held.get(name).and_then(moment) else {
                continue;
            };
            has_start = true;
            if held > *start + APART {
                // As long as an attempt runs there is no later one: who reports a start may be late.
                let is_of_ours = self.end.is_some_and(|end| held <= end);
                later = later.or(Some(name).filter(|_| !is_of_ours));
            } else if held + APART < *start {
                earlier = earlier.or(Some(name));
            }
        }
        if has_start {
            return (earlier, later);
        }
        // Where no start is held, an end tells which attempt it was.
        let ours = self.starts.values().next();
        for name in &self.ends {
            let Some(held) = held.get(name).and_then(moment) else {
                continue;
            };
            match self.said.get(name).and_then(moment) {
                Some(end) if held > end + APART => later = later.or(Some(name)),
                _ if ours.is_some_and(|start| held < *start) => earlier = earlier.or(Some(name)),
                _ => {}
            }
        }
        (earlier, later)
    }

    /// From which status to which.
    fn told(&self, held: &Said) -> String {
        let mut differing = self.statuses.keys().filter(|name| {
            let (ours, theirs) = (self.said.get(*name), held.get(*name));
            ours != theirs && !is_absent(ours)
        });
        // What is called so is where people look.
        let named = differing.clone().find(|name| name.to_lowercase().contains("stat"));
        let worst = named.or_else(|| differing.next());
        let shown = |value: Option<&Value>| match value {
            None | Some(Value::Null) => "nothing".to_owned(),
            Some(value) => crate::text::truncate(&crate::text::plain(value), 60),
        };
        match worst {
            Some(name) => format!(
                "{name} was {}, is {}",
                shown(held.get(name)),
                shown(self.said.get(name))
            ),
            None => format!("is {}", self.action),
        }
    }
}

fn is_absent(value: Option<&Value>) -> bool {
    value.is_none_or(Value::is_null)
}

fn moment(value: &Value) -> Option<SystemTime> {
    value.as_str().and_then(time::parse)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::time::timestamp;

    const START: &str = "2025-03-01T10:00:00Z";
    const END: &str = "2025-03-01T10:05:00Z";

    fn object(value: &Value) -> Said {
        value.as_object().unwrap().clone()
    }

    fn times() -> Times {
        Times {
            start: time::parse(START),
            end: time::parse(END).unwrap(),
            duration: 300,
        }
    }

    /// As the stock fields of the portals are.
    fn stock(action: &Action, times: Times) -> Said {
        let start = times.start.map(timestamp);
        let status = match action {
            Action::Started | Action::Progressing => "IN_PROGRESS".to_owned(),
            other => other.word().to_uppercase(),
        };
        object(&json!({
            "status": status,
            "action": action.word(),
            "createdAt": start.filter(|_| action.ends_run() || *action == Action::Started),
            "finishedAt": action.ends_run().then(|| timestamp(times.end)),
            "duration": action.ends_run().then_some(times.duration),
            "successful": action.ends_run().then_some(*action == Action::Success),
            "link": "https://x",
        }))
    }

    fn of(action: &Action, say: fn(&Action, Times) -> Said) -> Portrait {
        Portrait::new(action, times(), |action, times| Ok(say(action, times))).unwrap()
    }

    fn compared(action: &Action, say: fn(&Action, Times) -> Said, held: &Value) -> String {
        match of(action, say).compare(&object(held)) {
            Finding::Agrees => "agrees".to_owned(),
            Finding::Stays(why) => format!("stays: {why}"),
            Finding::Differs(written, why) => {
                let names: Vec<&str> = written.keys().map(String::as_str).collect();
                format!("{} ({why})", names.join(" "))
            }
        }
    }

    #[test]
    fn statuses_and_times_are_what_changes_with_the_action_and_the_job() {
        let portrait = of(&Action::Success, stock);
        let names = |names: Vec<&String>| names.into_iter().map(String::as_str).collect::<Vec<_>>().join(" ");
        assert_eq!(names(portrait.statuses.keys().collect()), "action status successful");
        assert_eq!(names(portrait.times.iter().collect()), "createdAt duration finishedAt");
        assert_eq!(names(portrait.starts.keys().collect()), "createdAt");
        assert_eq!(names(portrait.ends.iter().collect()), "finishedAt");
    }

    #[test]
    fn only_what_differs_is_written() {
        let whole = |status: &str, action: &str, successful: Value| {
            json!({
                "status": status, "action": action, "createdAt": START, "finishedAt": END, "duration": 300,
                "successful": successful, "link": "changed by hand",
            })
        };
        let started = json!({"status": "IN_PROGRESS", "action": "started", "createdAt": START});
        let (success, failure) = (Action::Success, Action::Failure);
        for (action, held, expected) in [
            (&success, whole("SUCCESS", "success", json!(true)), "agrees"),
            // A report's own end is some seconds later than the job's.
            (
                &success,
                json!({
                    "status": "SUCCESS", "action": "success", "successful": true, "duration": 302,
                    "createdAt": "2025-03-01T10:00:59Z", "finishedAt": "2025-03-01T10:05:20.000Z",
                }),
                "agrees",
            ),
            (
                &failure,
                started.clone(),
                "action status successful duration finishedAt (status was IN_PROGRESS, is FAILURE)",
            ),
            (&Action::Started, started.clone(), "agrees"),
            // They contradict each other.
            (
                &success,
                whole("SUCCESS", "success", json!(false)),
                "successful (successful was false, is true)",
            ),
            (
                &Action::Started,
                json!({"status": "IN_PROGRESS", "action": "progressing", "createdAt": START}),
                "agrees",
            ),
            (
                &failure,
                whole("SUCCESS", "success", json!(true)),
                "action status successful (status was SUCCESS, is FAILURE)",
            ),
            (
                &success,
                json!({"status": "SUCCESS", "action": "success", "successful": true, "finishedAt": END}),
                "createdAt duration (it lacked createdAt, duration)",
            ),
            (
                &success,
                json!({"status": "SUCCESS", "createdAt": START, "finishedAt": END, "duration": 1}),
                "action successful (it lacked action, successful)",
            ),
            (
                &success,
                json!({}),
                "action status successful createdAt duration finishedAt (status was nothing, is SUCCESS)",
            ),
        ] {
            assert_eq!(compared(action, stock, &held), expected, "{action}: {held}");
        }
    }

    #[test]
    fn attempts_are_told_apart_by_their_times() {
        let whole = |status: &str, action: &str| {
            json!({
                "status": status, "action": action, "createdAt": START, "finishedAt": END, "duration": 300,
                "successful": action == "success",
            })
        };
        let of_earlier = |status: &str, action: &str| {
            json!({
                "status": status, "action": action, "createdAt": "2025-03-01T09:00:00Z", "successful": false,
                "finishedAt": "2025-03-01T09:05:00Z", "duration": 300,
            })
        };
        let (success, failure) = (Action::Success, Action::Failure);
        for (action, held, expected) in [
            // What has ended is not begun again, but by a later attempt.
            (
                &Action::Started,
                whole("FAILURE", "failure"),
                "stays: it has ended, and nothing tells that it has begun again",
            ),
            (
                &Action::Started,
                of_earlier("FAILURE", "failure"),
                "action status createdAt (status was FAILURE, is IN_PROGRESS)",
            ),
            (
                &success,
                of_earlier("SUCCESS", "success"),
                "successful createdAt finishedAt (successful was false, is true)",
            ),
            (
                &success,
                json!({
                    "status": "SUCCESS", "action": "success", "successful": true, "duration": 300,
                    "createdAt": "2025-03-01T09:57:59Z", "finishedAt": "2025-03-01T09:59:00Z",
                }),
                "createdAt finishedAt (its createdAt was an earlier attempt's)",
            ),
            // Nothing of an earlier attempt replaces anything of a later one.
            (
                &failure,
                json!({"status": "IN_PROGRESS", "action": "started", "createdAt": "2025-03-01T10:07:00Z"}),
                "stays: its createdAt is of a later attempt than GitLab's record has",
            ),
            // Who reported the start was late: a later attempt begins when this one has ended.
            (
                &failure,
                json!({"status": "IN_PROGRESS", "action": "started", "createdAt": "2025-03-01T10:04:00Z"}),
                "action status successful createdAt duration finishedAt (status was IN_PROGRESS, is FAILURE)",
            ),
            (
                &failure,
                json!({"status": "SUCCESS", "action": "success", "finishedAt": "2025-03-01T11:00:00Z"}),
                "stays: its finishedAt is of a later attempt than GitLab's record has",
            ),
            // Where no start is held, the end tells.
            (
                &Action::Started,
                json!({"status": "SUCCESS", "action": "success", "finishedAt": "2025-03-01T09:59:00Z"}),
                "action status createdAt (status was SUCCESS, is IN_PROGRESS)",
            ),
            (
                &success,
                json!({"status": "SUCCESS", "action": "success", "successful": true, "finishedAt": "2025-03-01T09:59:00Z"}),
                "createdAt duration finishedAt (its finishedAt was an earlier attempt's)",
            ),
            (&success, whole("STOPPED", "stopped"), "stays: it is stopped"),
            // Somebody set the one and not the other.
            (&failure, whole("ROLLED_BACK", "success"), "stays: it is rolled_back"),
            (
                &success,
                whole("ROLLED_BACK", "rolled_back"),
                "stays: it is rolled_back",
            ),
            (
                &success,
                json!({"status": "PROMOTED", "createdAt": START}),
                "stays: it holds status \"PROMOTED\", which no report of ours says",
            ),
        ] {
            assert_eq!(compared(action, stock, &held), expected, "{action}: {held}");
        }
    }

    #[test]
    fn what_never_started_is_told_only_of_what_waits_for_an_end() {
        let unstarted = |action: &Action, held: &Value| {
            let times = Times { start: None, ..times() };
            let portrait = Portrait::new(action, times, |action, times| Ok(stock(action, times))).unwrap();
            match portrait.compare_unstarted(&object(held)) {
                Finding::Differs(written, _) => Value::Object(written)["status"].clone(),
                Finding::Agrees => json!("agrees"),
                Finding::Stays(why) => json!(why),
            }
        };
        let started = json!({"status": "IN_PROGRESS", "action": "started", "createdAt": START});
        assert_eq!(unstarted(&Action::Canceled, &started), "CANCELED");
        assert_eq!(unstarted(&Action::Blocked, &started), "BLOCKED");
        for held in [
            json!({"status": "SUCCESS", "action": "success"}),
            json!({"status": "STOPPED", "action": "stopped"}),
            json!({"status": "PROMOTED"}),
            json!({}),
        ] {
            assert_eq!(unstarted(&Action::Canceled, &held), "agrees", "{held}");
        }
    }

    #[test]
    fn ones_own_words_are_understood_without_being_declared() {
        let own = |action: &Action, times: Times| {
            object(&json!({
                "state": if *action == Action::Success { "up" } else { "down" },
                "since": times.start.map(timestamp),
                "text": format!("{} at {}", action.word(), timestamp(times.end)),
            }))
        };
        for (action, held, expected) in [
            (
                Action::Success,
                json!({"state": "up", "since": START, "text": "x"}),
                "agrees",
            ),
            (
                Action::Success,
                json!({"state": "down", "since": START, "text": "x"}),
                "state text (state was down, is up)",
            ),
            (
                Action::Failure,
                json!({"state": "down", "since": START, "text": "x"}),
                "agrees",
            ),
            // It may be an end: nobody can tell.
            (
                Action::Started,
                json!({"state": "up", "since": START, "text": "x"}),
                "stays: it has ended",
            ),
            (
                Action::Failure,
                json!({"state": "sideways"}),
                "stays: it holds state \"sideways\"",
            ),
        ] {
            let found = compared(&action, own, &held);
            assert!(found.starts_with(expected), "{action}: {held}: {found}");
        }
        let none = |_: &Action, _: Times| object(&json!({"team": "a"}));
        assert!(compared(&Action::Success, none, &json!({})).starts_with("stays: nothing of what is sent"));
    }
}
