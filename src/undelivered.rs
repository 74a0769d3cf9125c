//! What could not be delivered, kept so that `notify-event replay` can deliver it later: the event with its original
//! times, the destination, and the values of its variables. Credentials are kept by name only; the replay reads them
//! anew, as it does addresses, which may have been what was wrong.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};

use crate::{
    delivery::{
        courier::{Outcome, Session},
        plan::Plan,
    },
    destinations::Target,
    environment::{Environment, Problem},
    event::Event,
    gitlab::{
        lookup::Lookup,
        once::{self, Attempt, Decision},
    },
    report::{
        class::{self, Class},
        receipt::{OutputFolder, Receipt},
    },
    run::{self, Clients},
    secret::HIDDEN,
    setup::Setup,
    variables::{Kind, Reader, Variable},
};

/// The version of the files' form.
const VERSION: u32 = 1;

/// One delivery that is still to be made.
pub struct Undelivered {
    target: Target,
    event: Event,
    /// Values of the destination's variables, rendered; no credentials.
    variables: Map<String, Value>,
    /// Why it was not delivered.
    why: String,
    /// Whether it may have been processed all the same.
    is_ambiguous: bool,
    /// The pipeline that it was to be reported in.
    pipeline: Option<String>,
    /// The job that was to report it.
    job: Option<String>,
}

impl Undelivered {
    /// What has to be kept of a delivery to `target` that ended as `outcome`.
    pub fn keep(setup: &Setup, target: &Target, event: &Event, outcome: &Outcome) -> Self {
        let reader = setup.reader(target);
        let mut variables: Map<String, Value> = target
            .destination
            .variables
            .iter()
            .copied()
            .flatten()
            .filter(|variable| !is_read_anew(variable))
            .filter_map(|variable| {
                let found = reader.resolve(variable).ok()??;
                found.origin?;
                Some((variable.name.to_owned(), Value::from(found.value)))
            })
            .collect();
        // What the plan found out by something that is not kept.
        for (name, value) in &outcome.settled {
            variables.insert((*name).to_owned(), value.as_str().into());
        }
        Self {
            target: *target,
            event: event.clone(),
            variables,
            is_ambiguous: outcome.is_ambiguous,
            pipeline: setup.pipeline_id().map(str::to_owned),
            job: setup.job_id().map(str::to_owned),
            why: format!(
                "{}: {}",
                outcome.class.word(),
                outcome.detail.as_deref().unwrap_or_default()
            ),
        }
    }

    /// A name that sorts by time, without its ending.
    pub fn file_name(&self) -> String {
        let time = self.event.time.replace(':', "");
        let label = self.target.label().replace(':', "-");
        // A job may get what several others kept, in one folder.
        let job = self.job.as_ref().map(|job| format!("-{job}")).unwrap_or_default();
        format!("{time}-{label}{job}")
    }

    /// The file's content.
    pub fn to_json(&self) -> Value {
        json!({
            "undelivered": VERSION,
            "destination": self.target.destination.name,
            "operation": self.target.operation.name,
            "optional": self.target.is_optional,
            "named": self.target.is_named,
            "why": self.why,
            "ambiguous": self.is_ambiguous,
            "pipeline_id": self.pipeline,
            "job_id": self.job,
            "variables": self.variables,
            "event": self.event.to_json(),
        })
    }

    fn from_json(json: &Value) -> Result<Self, String> {
        if json["undelivered"] != VERSION {
            return Err(format!("is no undelivered event of version {VERSION}"));
        }
        // It was written with secrets hidden, and can't be sent as it was meant.
        for part in ["event", "variables"] {
            if json[part].to_string().contains(HIDDEN) {
                return Err(format!(
                    "holds {HIDDEN} in its {part}: a value there was, or was called, a secret. It can't be delivered as it was"
                ));
            }
        }
        let text = |field: &str| json[field].as_str().ok_or_else(|| format!("has no {field}"));
        let label = format!("{}:{}", text("destination")?, text("operation")?);
        let mut target = Target::parse(&label, json["named"] == true)?;
        target.is_optional = json["optional"] == true;
        Ok(Self {
            target,
            event: Event::from_json(&json["event"])?,
            variables: json["variables"].as_object().cloned().unwrap_or_default(),
            why: text("why")?.to_owned(),
            is_ambiguous: json["ambiguous"] == true,
            pipeline: json["pipeline_id"].as_str().map(str::to_owned),
            job: json["job_id"].as_str().map(str::to_owned),
        })
    }

    /// Whether sending it could do twice what must be done once.
    fn is_doubtful(&self) -> bool {
        self.is_ambiguous && self.target.operation.is_once
    }

    /// Whether it would count twice if it had been replayed already, and is of another pipeline than this one: a runner
    /// may give a job the work tree of an earlier one, with what that left in it.
    fn is_foreign(&self, setup: &Setup) -> bool {
        let is_other = matches!((&self.pipeline, setup.pipeline_id()), (Some(theirs), Some(ours)) if theirs != ours);
        self.target.operation.is_once && is_other
    }

    /// Why it is not sent: an earlier attempt of this replay has; or it would count twice if it is of another pipeline
    /// and was replayed there, or has been processed, and nobody has said by naming its file (`is_named`) that it should
    /// be sent all the same.
    fn reason_not_to_send(
        &self,
        attempts: &[Attempt],
        is_named: bool,
        is_foreign: bool,
        setup: &Setup,
    ) -> Option<String> {
        if is_foreign && !is_named {
            return Some("it is of another pipeline; name the file itself to send it in this one".to_owned());
        }
        if !self.target.operation.is_once {
            return None;
        }
        // That an earlier attempt of a replay ended well says the same, however the event's own job named its targets.
        let target = Target {
            is_named: true,
            ..self.target
        };
        if let Decision::Skip(why) = once::decide(
            attempts,
            &target,
            &self.event,
            setup.policy.on_error,
            setup.console.redactor(),
        ) {
            return Some(why);
        }
        (self.is_doubtful() && !is_named).then(|| {
            "it may have been processed, and a second time would count twice; name the file itself to send it all the \
             same"
                .to_owned()
        })
    }

    /// The environment in which it is planned anew: the kept values, and of this one what is read anew.
    fn environment(&self, now: &Environment) -> Environment {
        let kept = self
            .variables
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect();
        let declared: Vec<&Variable> = self.target.destination.variables.iter().copied().flatten().collect();
        let is_kept = |name: &str| {
            declared
                .iter()
                .any(|variable| variable.name == name && !is_read_anew(variable))
        };
        now.with_kept(kept, is_kept)
    }
}

/// Credentials and addresses are what a replay is often about.
fn is_read_anew(variable: &Variable) -> bool {
    matches!(variable.kind, Kind::Secret | Kind::Url | Kind::Foreign)
}

/// Delivers what the files, and the files in the folders, hold: in the order of their events. What was delivered is
/// removed, so that a second replay does not deliver it again.
///
/// # Errors
/// What no user can mend.
pub fn replay(environment: &Environment, paths: &[PathBuf]) -> Result<u8> {
    let setup = match Setup::read(environment) {
        Ok(setup) => setup,
        Err((console, on_error, problems)) => {
            return Ok(run::give_up(&console, on_error, &problems, "nothing was sent"));
        }
    };
    run::block_on(replay_all(&setup, paths))?
}

async fn replay_all(setup: &Setup<'_>, paths: &[PathBuf]) -> Result<u8> {
    let console = &setup.console;
    let limits = setup.limits();
    let (files, mut problems) = kept(setup, paths)?;
    let clients = match Clients::new(setup) {
        Ok(clients) => clients,
        Err(of_network) => {
            problems.extend(of_network);
            return Ok(run::give_up(
                console,
                setup.policy.on_error,
                &problems,
                "nothing was sent",
            ));
        }
    };
    let folder = match &setup.policy.output_dir {
        Some(path) => match OutputFolder::create(path, setup.job_id(), console.redactor()) {
            Ok(folder) => Some(folder),
            Err(problem) => {
                problems.push(problem);
                None
            }
        },
        None => None,
    };
    run::complain(console, &problems);
    if files.is_empty() {
        console.info("  there is nothing to replay");
    }
    let courier = clients.to_services(console, limits);
    let to_gitlab = clients.to_gitlab(console, limits);
    let lookup = Lookup::new(setup.gitlab_api(), Some(&to_gitlab));
    let attempts = attempts(setup, &lookup, &files).await;
    let mut results = Vec::new();
    let mut events = Vec::new();
    let mut sessions: BTreeMap<&str, Session> = BTreeMap::new();
    for (path, undelivered) in files {
        let Undelivered { target, event, .. } = &undelivered;
        console.info(&format!(
            "{}: {}, {} ({})",
            path.display(),
            event.time,
            event.summary(),
            undelivered.why
        ));
        let own = undelivered.environment(setup.environment);
        let reader = Reader {
            environment: &own,
            // The values were rendered when they were kept.
            scope: None,
            official_names: target.is_named,
            allow_http: setup.network.allows_http(),
        };
        let is_named = paths.contains(&path);
        let is_foreign = undelivered.is_foreign(setup);
        let plan = match undelivered.reason_not_to_send(&attempts, is_named, is_foreign, setup) {
            Some(why) => Ok(Plan::skip(why)),
            None => run::plan(setup, target, event, &reader, true),
        };
        let session = sessions.entry(target.destination.name).or_default();
        let outcome = run::carry_out(&courier, target, plan, session).await;
        if !outcome.class.is_failure() && (is_named || !(undelivered.is_doubtful() || is_foreign)) {
            // An artifact of another job may be read-only; then the receipt is what remembers.
            if let Err(error) = fs::remove_file(&path) {
                console.info(&format!("  {} stays: {error}", path.display()));
            }
        }
        events.push(event.clone());
        results.push((*target, outcome));
    }
    let misconfigured = problems.iter().map(|_| Class::Misconfigured);
    let worst = class::worst(misconfigured.chain(run::of_required(&results)));
    let code = class::exit_code(worst, setup.policy.on_error);
    if let Some(folder) = &folder {
        let receipts: Vec<Receipt> = results
            .iter()
            .zip(&events)
            .map(|((target, outcome), event)| Receipt {
                target,
                outcome,
                event: Some(event),
            })
            .collect();
        if let Err(error) = folder.write_receipts(None, &receipts, code) {
            console.line(&format!("  NOTIFY_OUTPUT_DIR {}: {error}", folder.path().display()));
        }
    }
    Ok(run::conclude(
        console,
        setup.policy.on_error,
        worst,
        &run::tally(&results),
    ))
}

/// A file, and what it holds.
type Kept = (PathBuf, Undelivered);

/// What the files hold, in the order of their events, and which of them hold nothing that can be delivered.
fn kept(setup: &Setup, paths: &[PathBuf]) -> Result<(Vec<Kept>, Vec<Problem>)> {
    let mut files = Vec::new();
    let mut problems = Vec::new();
    let told = match setup.environment.find("EVENT_ACTION", false) {
        Ok(found) => found
            .map(|found| found.value)
            .filter(|word| !word.eq_ignore_ascii_case("auto")),
        Err(problem) => {
            problems.push(problem);
            None
        }
    };
    for path in files_of(paths).context("the files can't be listed")? {
        match read(&path) {
            Ok(mut undelivered) => {
                told.as_ref().inspect(|word| undelivered.event.told(word));
                files.push((path, undelivered));
            }
            Err(why) => problems.push(Problem::new(path.display().to_string(), why)),
        }
    }
    files.sort_by(|a, b| a.1.event.time.cmp(&b.1.event.time));
    Ok((files, problems))
}

/// What earlier attempts of this replay have delivered, where that matters and can be known.
async fn attempts(setup: &Setup<'_>, lookup: &Lookup<'_>, files: &[Kept]) -> Vec<Attempt> {
    let is_once = |(_, undelivered): &Kept| undelivered.target.operation.is_once;
    if !files.iter().any(is_once) || setup.gitlab_api().is_err() {
        return Vec::new();
    }
    match lookup.attempts(setup.receipts_folder().as_deref()).await {
        Ok(attempts) => attempts,
        Err(why) => {
            setup
                .console
                .info(&format!("  {:<18} {}: {why}", "GitLab", run::CANT_KNOW));
            Vec::new()
        }
    }
}

/// The files that `paths` name: themselves, and the JSON files in folders, by name.
fn files_of(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            // The output folder itself is meant to be the one inside it.
            let own = path.join("undelivered");
            let folder = if own.is_dir() { &own } else { path };
            let mut inside: Vec<PathBuf> = fs::read_dir(folder)?
                .filter_map(|entry| Some(entry.ok()?.path()))
                .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
                .collect();
            inside.sort();
            files.extend(inside);
        } else if path.exists() {
            files.push(path.clone());
        }
    }
    Ok(files)
}

/// Removes from `folder` what other jobs could not deliver. It came along with their artifacts, or with the work tree
/// that the runner gave to this job; each job keeps its own, or a replay of several would deliver it more than once.
pub fn forget_other_jobs(setup: &Setup, folder: &OutputFolder) {
    let Some(job) = setup.job_id() else { return };
    for path in files_of(&[folder.path().join("undelivered")]).unwrap_or_default() {
        if read(&path).is_ok_and(|undelivered| undelivered.job.is_some_and(|theirs| theirs != job)) {
            let name = path.display().to_string();
            match fs::remove_file(path) {
                Ok(()) => setup
                    .console
                    .info(&format!("  {name} is another job's, which keeps it: removed here")),
                Err(error) => setup
                    .console
                    .info(&format!("  {name} is another job's, and stays: {error}")),
            }
        }
    }
}

fn read(path: &Path) -> Result<Undelivered, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("can't be read: {error}"))?;
    let json: Value = serde_json::from_str(&text).map_err(|error| format!("is no JSON: {error}"))?;
    Undelivered::from_json(&json)
}
