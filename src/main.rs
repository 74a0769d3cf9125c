//! Reports what a GitLab pipeline did to the services a platform team uses.
//!
//! Data goes one way: the [`environment`] is read; what a run [`needs`] is asked for ([`facts`]); the [`event`] is made;
//! each of the [`destinations`] plans what it has to do with it; the [`delivery`] carries that out; the [`report`] and the
//! [`receipts`] tell how it ended. `docs/architecture.md` has the picture, and `tests/architecture.rs` holds the layers:
//! a module may use those that stand before it in this list, and no other.
//!
//! ```text
//! text time problem secret files | environment | template | variables | settings | redaction | report
//! gitlab::pipeline gitlab::slug | credentials | delivery::{signature request reply plan result curl}
//! event::action event::variables | event | gitlab::{job outcome deployment changes api} | event::scope event::auto event::job
//! event::resolve | delivery::{limits client session courier}
//! entities | destinations | receipts | needs | comparison | facts | commands | cli main
//! ```

mod cli;
mod commands;
mod comparison;
mod credentials;
mod delivery;
mod destinations;
mod entities;
mod environment;
mod event;
mod facts;
mod files;
mod gitlab;
mod needs;
mod problem;
mod receipts;
mod redaction;
mod report;
mod secret;
mod settings;
mod template;
mod text;
mod time;
mod variables;

use std::process::ExitCode;

use cli::Command;
use commands::{catalog, check, explain, reconcile, replay, runner, send, unread};
use environment::Environment;

fn main() -> ExitCode {
    let environment = unread::examined(Environment::of_process());
    // Somebody who looks what this is gets a hint, and no word of variables that nobody has set.
    if std::env::args_os().len() == 1 && unread::is_bare(&environment) {
        runner::usage_error(&environment, "this is no GitLab job, and none of its variables is set");
        return ExitCode::from(report::class::USAGE);
    }
    let result = match cli::parse(std::env::args_os().skip(1)) {
        Ok(Command::Help) => runner::print(&cli::help()),
        Ok(Command::Version) => runner::print(report::PROGRAM),
        Ok(Command::Catalog) => runner::print(catalog::yaml().trim_end()),
        Ok(Command::Explain {
            all,
            targets,
            official_names,
        }) => explain::explain(&environment, targets, official_names, all),
        Ok(Command::Check {
            targets,
            official_names,
        }) => check::check(&environment, targets, official_names),
        Ok(Command::Replay { paths }) => replay::replay(&environment, &paths),
        Ok(Command::Reconcile { dry_run }) => reconcile::reconcile(&environment, dry_run),
        Ok(Command::Send {
            targets,
            official_names,
            dry_run,
            deploy_job,
        }) => send::send(&environment, targets, official_names, dry_run, deploy_job),
        Err(message) => {
            runner::usage_error(&environment, &message);
            return ExitCode::from(report::class::USAGE);
        }
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            runner::bug(&environment, &error);
            ExitCode::from(report::class::FAILED)
        }
    }
}
