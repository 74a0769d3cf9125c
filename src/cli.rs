//! The command line.

use std::{ffi::OsString, path::PathBuf};

use crate::{
    destinations::{self, Target},
    report::{PROGRAM, class::exit_codes},
    text::nearest,
};

/// What the command line asks for.
pub enum Command {
    /// Send the event.
    Send {
        /// What was named; empty: what the variables say.
        targets: Vec<Target>,
        /// Whether `--official-names` was given.
        official_names: bool,
        /// Whether `--dry-run` was given.
        dry_run: bool,
        /// Whether `--deploy-job` was given: what is reported is the deployment of one job.
        deploy_job: bool,
    },
    /// See whether everything is ready.
    Check {
        /// What was named; empty: what the variables say.
        targets: Vec<Target>,
        /// Whether `--official-names` was given.
        official_names: bool,
    },
    /// Show the variables that are set.
    Explain {
        /// Whether `--all` was given: those that are not set, too.
        all: bool,
        /// What was named; empty: what would be sent to, else everything.
        targets: Vec<Target>,
        /// Whether `--official-names` was given.
        official_names: bool,
    },
    /// Deliver what an earlier run could not.
    Replay {
        /// Files, and folders of files.
        paths: Vec<PathBuf>,
    },
    /// Make what the services hold agree with GitLab's record.
    Reconcile {
        /// Whether `--dry-run` was given.
        dry_run: bool,
    },
    /// Print `catalog.yml`.
    Catalog,
    /// Print the help.
    Help,
    /// Print the version.
    Version,
}

/// Reads the command line, without the program's name.
///
/// # Errors
/// What is not understood, and what there is instead.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    use lexopt::prelude::{Long, Short, Value};

    const COMMANDS: &[&str] = &["check", "explain", "replay", "reconcile", "catalog"];
    const OPTIONS: &[&str] = &["all", "dry-run", "deploy-job", "official-names", "help", "version"];
    let mut parser = lexopt::Parser::from_args(arguments);
    let mut words = Vec::new();
    let (mut dry_run, mut deploy_job) = (false, false);
    let (mut official_names, mut all) = (false, false);
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        match argument {
            Short('h') | Long("help") => return Ok(Command::Help),
            Short('V') | Long("version") => return Ok(Command::Version),
            Long("all") => all = true,
            Long("dry-run") => dry_run = true,
            Long("official-names") => official_names = true,
            Long("deploy-job") => deploy_job = true,
            Value(word) => words.push(
                word.into_string()
                    .map_err(|_| "an argument is not UTF-8 text".to_owned())?,
            ),
            Long(option) => {
                let hint = nearest(option, OPTIONS.iter().copied())
                    .map(|near| format!(", did you mean `--{near}`?"))
                    .unwrap_or_default();
                return Err(format!("there is no option `--{option}`{hint}"));
            }
            Short(option) => return Err(format!("there is no option `-{option}`")),
        }
    }
    if words.first().is_some_and(|word| word == "help") {
        return Ok(Command::Help);
    }
    if all && words.first().is_none_or(|word| word != "explain") {
        return Err("--all belongs to `explain`".to_owned());
    }
    if words.first().is_some_and(|word| word == "catalog") {
        return match words.len() {
            1 if !dry_run && !deploy_job && !official_names => Ok(Command::Catalog),
            _ => Err("`catalog` takes nothing else".to_owned()),
        };
    }
    if words.first().is_some_and(|word| word == "reconcile") {
        if words.len() > 1 || deploy_job || official_names {
            return Err(
                "`reconcile` takes no option but --dry-run; what it compares, NOTIFY_DESTINATIONS and NOTIFY_RECONCILE_* say"
                    .to_owned(),
            );
        }
        return Ok(Command::Reconcile { dry_run });
    }
    if words.first().is_some_and(|word| word == "replay") {
        let paths: Vec<PathBuf> = words[1..].iter().map(PathBuf::from).collect();
        if dry_run || deploy_job || official_names || paths.is_empty() {
            return Err(
                "`replay` takes files or folders that an earlier run left in undelivered/, and no option".to_owned(),
            );
        }
        // The folder that a run keeps undelivered events in is missing where there were none.
        let is_wrong = |path: &&PathBuf| !path.exists() && !path.ends_with("undelivered");
        if let Some(missing) = paths.iter().find(is_wrong) {
            return Err(format!("there is no file or folder {}", missing.display()));
        }
        return Ok(Command::Replay { paths });
    }
    let command = words
        .first()
        .filter(|word| ["explain", "check"].contains(&word.as_str()))
        .cloned();
    if command.is_some() {
        words.remove(0);
    }
    let mut targets: Vec<Target> = Vec::new();
    for word in &words {
        Target::parse(word)
            .map_err(|message| match nearest(word, COMMANDS.iter().copied()) {
                Some(command) if targets.is_empty() => format!("{message}; or do you mean the command `{command}`?"),
                _ => message,
            })?
            .add_to(&mut targets);
    }
    match command.as_deref() {
        None => Ok(Command::Send {
            targets,
            official_names,
            dry_run,
            deploy_job,
        }),
        Some(command) if dry_run => Err(format!("`{command}` sends nothing; it takes no --dry-run")),
        Some(command) if deploy_job => Err(format!("`{command}` reports nothing; it takes no --deploy-job")),
        Some("check") => Ok(Command::Check {
            targets,
            official_names,
        }),
        Some(_) => Ok(Command::Explain {
            all,
            targets,
            official_names,
        }),
    }
}

/// The text of `--help`.
pub fn help() -> String {
    let official: Vec<&str> = destinations::variables()
        .filter_map(|variable| variable.official)
        .collect();
    let mut text = format!(
        "{PROGRAM}
Reports what a GitLab pipeline did to the services a platform team uses.

Usage:
  notify-event [DESTINATION[:OPERATION][?]] ...   send the event that the environment describes
  notify-event --dry-run ...                      print each request as runnable curl, send nothing
  notify-event --deploy-job ...                   report one job's deployment, under an id of its own: of the job in
                                                  NOTIFY_JOB, else, in an after_script, of the job itself
  notify-event check [DESTINATION ...]            see by harmless reads whether everything is ready; writes nothing
  notify-event explain [--all] [DESTINATION ...]  every variable that is set: its value (secrets hidden) and where it came
                                                  from; with --all those that are not, too, with their defaults
  notify-event replay PATH ...                    deliver what an earlier run left in undelivered/
  notify-event reconcile [--dry-run]              make what Rely and Port hold agree with GitLab's own record of
                                                  deployments: of NOTIFY_RECONCILE_SINCE (48h), or of this pipeline
  notify-event catalog                            every component, hidden job, destination and variable, as YAML
  notify-event --help | --version

Without a DESTINATION: those in NOTIFY_DESTINATIONS, else every one whose credentials are set.
A `?` behind one makes it optional: it is tried and reported, and never changes the exit code.
With --official-names, as in `.cto-notify-event`, what is not set under its own name is read under its official template's:
{}.

Destinations and operations, the default first:
",
        official.join(", ")
    );
    for destination in destinations::ALL {
        let operations: Vec<&str> = destination.operations.iter().map(|operation| operation.name).collect();
        text += &format!("  {:<10} {}\n", destination.name, operations.join(" "));
    }
    text += "\nExit codes, under NOTIFY_ON_ERROR=warn; the highest of several failures wins:\n";
    for (code, name, description) in exit_codes() {
        text += &format!("  {code:>2}  {name:<14} {description}\n");
    }
    text += "\nEverything else is configured by variables: `notify-event explain --all` lists them with their values.";
    text
}
