//! Aviator Releases: release candidates and their deployments. Facts: docs/vendors/aviator.md.

use std::{
    rc::Rc,
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};

use super::{Context, Destination, HiddenJob, Operation, Repetition, Words};
use crate::{
    choice,
    delivery::{
        plan::{Delivered, Plan, Repeat, Step, Verdict},
        reply::Reply,
        request::{Method, Request, query, segment},
    },
    event::{Action, Event},
    problem::{Problem, Unmade},
    secret::Secret,
    text::{plain, truncate},
    time, variables,
    variables::{BaseUrl, Flag, Group as _},
};

mod deployments;

use deployments::{Deployments, create, find_or_create, is_deployment, page};

choice! {
    /// Statuses of a deployment (docs/vendors/aviator.md 0; the guide's list is incomplete).
    pub enum Status {
        /// Not begun.
        Pending = "pending",
        /// Under way.
        InProgress = "in_progress",
        /// Ended well.
        Success = "success",
        /// Ended badly.
        Failure = "failure",
        /// Being canceled.
        Canceling = "canceling",
        /// Canceled.
        Canceled = "canceled",
        /// Broken by something else than the deployment; Aviator sets it after 60 minutes without an end.
        Error = "error",
        /// Nobody knows.
        Unknown = "unknown",
    }
}

impl Status {
    fn from_word(word: &str) -> Option<Self> {
        serde_json::from_value(Value::from(word)).ok()
    }

    fn word(self) -> &'static str {
        Self::WORDS[self as usize]
    }

    /// Whether a deployment has ended with it, and must not be moved back by a late report.
    fn is_final(self) -> bool {
        matches!(self, Self::Success | Self::Failure | Self::Canceled | Self::Error)
    }
}

variables! {
    /// What `aviator` reads.
    pub struct Settings, "Aviator Releases, API Reference" {
        /// Account token, or user access token (`av_uat_…`), which expires on the date chosen for it.
        token: Secret = "AVIATOR_API_TOKEN", required;
        /// Name of the release project, case and spaces as in Aviator.
        project: String = "AVIATOR_PROJECT", required;
        /// Where Aviator's API is.
        url: BaseUrl = "AVIATOR_API_URL", default "https://api.aviator.co";
        /// Environment of the project, case as in Aviator.
        environment: Option<String> = "AVIATOR_ENVIRONMENT", derived "EVENT_ENVIRONMENT";
        /// Release candidate: the release's version and `-rc<number>`.
        candidate: Option<String> = "AVIATOR_RELEASE_CANDIDATE", derived "the version or tag, if it ends in -rc<number>";
        /// The GitHub repository that Aviator knows the project by, as org/name.
        repo: Option<String> = "AVIATOR_REPO", derived "EVENT_REPO";
        /// The commit that the release is cut at; it has to exist in that repository.
        commit: Option<String> = "AVIATOR_COMMIT", derived "EVENT_COMMIT";
        /// Whether cutting a release starts the build that is configured in Aviator.
        trigger_build: Flag = "AVIATOR_TRIGGER_BUILD", default "false";
        /// The status to report: one of Aviator's eight words.
        status: Option<Status> = "AVIATOR_STATUS", derived "EVENT_ACTION, in Aviator's words";
        /// Whether to roll back a frozen environment too.
        force: Flag = "AVIATOR_FORCE", default "false";
    }
}

/// Aviator Releases.
pub const DESTINATION: Destination = Destination {
    name: "aviator",
    title: "Aviator Releases",
    operations: &[
        Operation::new(
            "status",
            "reports the status of a deployment, which is created if there is none; triggers nothing",
        )
        .reports_action_unless_set("AVIATOR_STATUS")
        .in_words(Words::AndOwn(Status::WORDS)),
        // No read of releases is documented, but a candidate is cut once: that it exists is the answer.
        Operation::new("release", "cuts a release candidate").repeated(Repetition::Asked),
        Operation::new(
            "deployment",
            "creates a deployment, which starts the workflow that is configured in Aviator",
        )
        .repeated(Repetition::Asked)
        .drastic(),
        Operation::new("rollback", "rolls the environment back to the deployment before")
            .repeated(Repetition::Unasked)
            .drastic(),
        Operation::reading("list", "reads the environment's deployments, the newest first"),
    ],
    variables: &[Settings::VARIABLES],
    credentials: &["AVIATOR_API_TOKEN"],
    hidden_jobs: &[
        HiddenJob::new(
            "aviator-release",
            "aviator:release",
            "Cuts a release candidate in Aviator.",
        ),
        HiddenJob::new(
            "aviator-deployment",
            "aviator:deployment",
            "Has Aviator start a deployment.",
        ),
        HiddenJob::new(
            "aviator-status",
            "aviator:status",
            "Reports a deployment's status to Aviator.",
        ),
        HiddenJob::new(
            "aviator-rollback",
            "aviator:rollback",
            "Has Aviator roll an environment back.",
        ),
    ],
    plan,
    check,
    register: None,
};

/// Answers that say that a gateway did not pass the request on (docs/vendors/aviator.md 8).
const NOT_PASSED_ON: &[u16] = &[502, 503, 504];

fn plan(context: &Context) -> Result<Plan, Unmade> {
    let settings = settings(context)?;
    let event = context.event;
    match context.operation {
        "release" => Ok(release(&settings, event, context.is_in_doubt())?),
        "deployment" => Ok(deployment(&settings, context)?),
        "rollback" => Ok(rollback(&settings, event)?),
        "list" => Ok(list(&settings, event)?),
        _ => status(&settings, event, context.is_replay),
    }
}

fn settings(context: &Context) -> Result<Settings, Unmade> {
    let settings: Settings = context.values.read()?;
    check_segment("AVIATOR_PROJECT", &settings.project)?;
    Ok(settings)
}

/// Reports a status. The same one again changes nothing, but a late `in_progress` would move a finished deployment
/// back: before it is repeated, the deployments are read (docs/vendors/aviator.md 8).
fn status(settings: &Settings, event: &Event, is_replay: bool) -> Result<Plan, Unmade> {
    let (candidate, note) = candidate(settings, event)?;
    let api = Rc::new(Deployments::new(settings, event, &candidate)?);
    let body = |word: &str| json!({ "release_candidate_version": candidate, "status": word });
    if settings.status.is_none() && event.action()? == &Action::Open {
        let request = api.request(Method::Patch, "").json(&body(Action::Open.word()));
        return Ok(Plan::new(
            Some(candidate),
            vec![Step::new("status", request, |reply, _| accept(reply, REPORTED))],
        ));
    }
    let Some(status) = status_of(settings, event)? else {
        let action = event.action()?;
        return Ok(Plan::skip(format!(
            "Aviator has no status for `{action}`: its eight words end with the deployment's own end"
        )));
    };
    let body = body(status.word());
    let report = Rc::new(Report {
        request: api.request(Method::Patch, "").json(&body),
        api,
        status,
        time: event.time.clone(),
    });
    let step = if is_replay {
        report.unless_finished()
    } else {
        report.send()
    };
    let mut plan = Plan::new(Some(candidate), vec![step]);
    plan.notes.extend(note);
    Ok(plan)
}

/// The report of a status.
struct Report {
    api: Rc<Deployments>,
    request: Request,
    status: Status,
    time: String,
}

impl Report {
    fn send(self: &Rc<Self>) -> Step {
        let step = Step::new("status", self.request.clone(), |reply, _| accept(reply, REPORTED));
        if self.status.is_final() {
            return step;
        }
        let report = Rc::clone(self);
        step.repeat(Repeat::AskingFirst(Rc::new(move || report.unless_finished())))
    }

    /// Sends it unless the deployment has ended meanwhile; where Aviator does not show the deployments, it is sent.
    fn unless_finished(self: &Rc<Self>) -> Step {
        let report = Rc::clone(self);
        self.api.read("is it finished", move |all| {
            let candidate = &*report.api.candidate;
            let last = all.and_then(|all| all.iter().find(|one| one["release_candidate_version"] == candidate));
            let status = last.and_then(|one| Status::from_word(one["status"].as_str()?));
            let ended = last.and_then(|one| time::parse(one["deploy_end_at"].as_str()?));
            // An event's time is to the second: what ended within it is not newer.
            let is_newer = matches!(
                (ended, time::parse(&report.time)),
                (Some(ended), Some(reported)) if ended >= reported + Duration::from_secs(1)
            );
            match status {
                // `error` is Aviator's own guess about a deployment that it heard nothing of for an hour: the end that
                // is reported late is what really happened (docs/vendors/aviator.md 4).
                Some(Status::Error) if report.status.is_final() => Verdict::Then(report.send()),
                Some(status) if status.is_final() && (is_newer || !report.status.is_final()) => {
                    Verdict::Skipped(format!(
                        "the deployment has ended with `{}` meanwhile; a late `{}` would undo that",
                        status.word(),
                        report.status.word()
                    ))
                }
                _ => Verdict::Then(report.send()),
            }
        })
    }
}

/// The status to report; none for an action that Aviator has no word for.
fn status_of(settings: &Settings, event: &Event) -> Result<Option<Status>, Unmade> {
    if let Some(status) = settings.status {
        return Ok(Some(status));
    }
    let action = event.action()?;
    // One of Aviator's own words says more than the event's: `error` is not `failure` there.
    let own = event.action_word.as_deref().and_then(Status::from_word);
    Ok(own.or(match action {
        Action::Started | Action::Progressing => Some(Status::InProgress),
        Action::Success => Some(Status::Success),
        Action::Failure => Some(Status::Failure),
        Action::Canceled => Some(Status::Canceled),
        Action::Blocked => Some(Status::Pending),
        Action::Stopped | Action::RolledBack | Action::Other(_) | Action::Open => None,
    }))
}

/// Cuts a candidate. `is_in_doubt` says that an earlier attempt may have done so.
fn release(settings: &Settings, event: &Event, is_in_doubt: bool) -> Result<Plan, Problem> {
    let (candidate, note) = candidate(settings, event)?;
    let repo = settings.repo.as_ref().or(event.repo.as_ref());
    let commit = settings.commit.as_ref().or(event.commit.as_ref());
    let needed = |name: &str| Problem::new(name, "is not set, and GitLab tells nothing that could stand in");
    let body = json!({
        "repo": repo.ok_or_else(|| needed("AVIATOR_REPO"))?,
        "commit": commit.ok_or_else(|| needed("AVIATOR_COMMIT"))?,
        "trigger_build_workflow": settings.trigger_build.0,
    });
    let url = format!("{}/releases/{}", project(settings), segment(&candidate));
    let request = Request::new(Method::Post, url).bearer(&settings.token).json(&body);
    let step = Step::new("release", request, move |reply, sent| {
        // What Aviator says to a candidate that exists is not documented (docs/vendors/aviator.md 8).
        let exists = reply.status / 100 == 4 && reply.says_that_it_exists();
        if (sent.ambiguous || is_in_doubt) && exists {
            Verdict::Delivered(Delivered {
                note: Some("an earlier attempt had cut it".to_owned()),
                ..Delivered::default()
            })
        } else {
            accept(reply, CREATED)
        }
    })
    .repeat(Repeat::RefusedTwice(NOT_PASSED_ON));
    let mut plan = Plan::new(Some(candidate), vec![step]);
    plan.notes.extend(note);
    Ok(plan)
}

/// Creates a deployment. Each call starts a workflow, so after an ambiguous failure the deployments are read first
/// (docs/vendors/aviator.md 8).
fn deployment(settings: &Settings, context: &Context) -> Result<Plan, Problem> {
    let event = context.event;
    let (candidate, note) = candidate(settings, event)?;
    let api = Rc::new(Deployments::new(settings, event, &candidate)?);
    let made_at = time::parse(&event.time).unwrap_or(SystemTime::UNIX_EPOCH);
    let asked_at = context.in_doubt_since.map_or(made_at, |since| since.min(made_at));
    let step = if context.is_replay || context.is_in_doubt() {
        find_or_create(&api, asked_at)
    } else {
        create(&api, asked_at)
    };
    let mut plan = Plan::new(Some(candidate), vec![step]);
    plan.notes.extend(note);
    Ok(plan)
}

/// Rolls back. A second call could roll back further, so only what was not sent is repeated (docs/vendors/aviator.md 8).
fn rollback(settings: &Settings, event: &Event) -> Result<Plan, Problem> {
    let environment = environment(settings, event)?;
    let url = format!("{}/rollback", environment_url(settings, &environment));
    let request = Request::new(Method::Post, url)
        .bearer(&settings.token)
        .json(&json!({ "force": settings.force.0 }));
    let step = Step::new("rollback", request, |reply, _| {
        match reply.expect("a deployment", is_deployment) {
            Ok(deployment) => Verdict::Delivered(Delivered {
                identifier: deployment.get("id").map(plain),
                note: deployment
                    .get("release_candidate_version")
                    .map(|version| format!("back to {}", plain(version))),
                json: None,
            }),
            Err(unexpected) => unexpected.into(),
        }
    })
    .repeat(Repeat::Unprocessed(&[]));
    Ok(Plan::new(Some(environment), vec![step]))
}

fn list(settings: &Settings, event: &Event) -> Result<Plan, Problem> {
    let api = Deployments::new(settings, event, "")?;
    let step = Step::new("list", api.request(Method::Get, &page()), |reply, _| {
        match reply.expect_json() {
            Ok(deployments) if deployments.is_array() => Verdict::Delivered(Delivered {
                json: reply.shared_json(),
                ..Delivered::default()
            }),
            Ok(_) => Verdict::Undocumented(not_a_list(reply)),
            Err(unexpected) => unexpected.into(),
        }
    });
    Ok(Plan::new(Some(environment(settings, event)?), vec![step.large()]))
}

fn not_a_list(reply: &Reply) -> String {
    format!("answered {} with JSON that is no list", reply.status)
}

/// Reads one deployment: that tells whether token, project and environment are right.
fn check(context: &Context) -> Result<Plan, Unmade> {
    let (settings, event) = (&settings(context)?, context.event);
    let api = Deployments::new(settings, event, "")?;
    let request = api.request(Method::Get, &query([("page", "1"), ("per_page", "1")]));
    let step = Step::new("check", request, |reply, _| match reply.expect_json() {
        Ok(body) if !body.is_array() => Verdict::Undocumented(not_a_list(reply)),
        Ok(_) => Verdict::noted("token, project and environment are accepted"),
        Err(unexpected) => unexpected.into(),
    });
    Ok(Plan::new(Some(environment(settings, event)?), vec![step]))
}

/// The status of a success of calls 1 and 2, and of call 3 (docs/vendors/aviator.md 3).
const CREATED: u16 = 201;
const REPORTED: u16 = 200;

/// The bodies of successful replies to calls 1 to 3 are not documented: nothing, or an object. So the documented status
/// is all that tells them from another server's.
fn accept(reply: &Reply, status: u16) -> Verdict {
    if let Ok(body) = reply.expect_object()
        && reply.status == status
        && !body.contains_key("error")
    {
        return Verdict::Delivered(Delivered {
            identifier: body.get("id").map(plain),
            ..Delivered::default()
        });
    }
    match reply.expect_nothing(status) {
        Ok(()) => Verdict::delivered(),
        Err(unexpected) => unexpected.into(),
    }
}

/// Refuses what would leave the path that it is put into.
fn check_segment(variable: &str, name: &str) -> Result<(), Problem> {
    if matches!(name, "." | "..") {
        return Err(Problem::new(
            variable,
            format!("is `{name}`, which names nothing in Aviator"),
        ));
    }
    Ok(())
}

fn project(settings: &Settings) -> String {
    let prefixes = ["/api/releases", "/api/v1", "/api"];
    let path = format!("/api/releases/{}", segment(&settings.project));
    settings.url.join(&prefixes, &path)
}

fn environment_url(settings: &Settings, environment: &str) -> String {
    format!("{}/environments/{}", project(settings), segment(environment))
}

fn environment(settings: &Settings, event: &Event) -> Result<String, Problem> {
    let environment = settings
        .environment
        .as_ref()
        .or(event.environment.as_ref())
        .cloned()
        .ok_or_else(|| {
            Problem::new(
                "AVIATOR_ENVIRONMENT",
                "is not set, and neither is EVENT_ENVIRONMENT; name the environment as Aviator does",
            )
        })?;
    check_segment("AVIATOR_ENVIRONMENT", &environment)?;
    Ok(environment)
}

/// The release candidate, and what to say of it. The suffix is `-rc<number>`; the vendor's own pages also write
/// `.rc<number>`, which is let through (docs/vendors/aviator.md 2).
fn candidate(settings: &Settings, event: &Event) -> Result<(String, Option<String>), Problem> {
    let version = event.version.as_ref().filter(|version| has_suffix(version, "-rc"));
    let Some(candidate) = settings.candidate.as_ref().or(version) else {
        let tag = event.version.as_ref().map_or("there is no tag".to_owned(), |version| {
            format!("the version `{}` does not end in -rc<number>", truncate(version, 60))
        });
        return Err(Problem::new(
            "AVIATOR_RELEASE_CANDIDATE",
            format!("is not set, and {tag}; set it to the release's version and -rc<number>, as in 1.4.0-rc1"),
        ));
    };
    if has_suffix(candidate, "-rc") {
        Ok((candidate.clone(), None))
    } else if has_suffix(candidate, ".rc") {
        let note = format!("AVIATOR_RELEASE_CANDIDATE is {candidate}; Aviator's API reference wants -rc<number>");
        Ok((candidate.clone(), Some(note)))
    } else {
        Err(Problem::new(
            "AVIATOR_RELEASE_CANDIDATE",
            format!(
                "is `{}`; it has to end in -rc and a number, as in 1.4.0-rc1",
                truncate(candidate, 60)
            ),
        ))
    }
}

fn has_suffix(candidate: &str, suffix: &str) -> bool {
    candidate.rsplit_once(suffix).is_some_and(|(version, number)| {
        !version.is_empty() && !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_end_in_rc_and_a_number() {
        for good in ["1.4.0-rc1", "2025.03.01-rc12", "a-rc1-rc2"] {
            assert!(has_suffix(good, "-rc"), "{good}");
        }
        for bad in ["1.4.0", "1.4.0-rc", "1.4.0-rc1a", "-rc1", "1.4.0-RC1", "1.4.0rc1"] {
            assert!(!has_suffix(bad, "-rc"), "{bad}");
        }
    }

    #[test]
    fn the_eight_words() {
        assert_eq!(Status::WORDS.len(), 8);
        for word in Status::WORDS {
            assert_eq!(Status::from_word(word).unwrap().word(), *word);
        }
    }
}
