//! Reports what a GitLab pipeline did to the services a platform team uses.
//!
//! Data goes one way: [`environment`], [`event`], a plan of a destination ([`destinations`]), [`delivery`], [`report`].

mod catalog;
mod check;
mod cli;
mod delivery;
mod destinations;
mod environment;
mod event;
mod explain;
mod gitlab;
mod report;
mod run;
mod secret;
mod settings;
mod setup;
mod template;
mod time;
mod undelivered;
mod variables;

use std::process::ExitCode;

use cli::Command;
use environment::Environment;

fn main() -> ExitCode {
    let environment = Environment::of_process();
    let result = match cli::parse(std::env::args_os().skip(1)) {
        Ok(Command::Help) => run::print(&cli::help()),
        Ok(Command::Version) => run::print(&cli::version()),
        Ok(Command::Catalog) => run::print(catalog::yaml().trim_end()),
        Ok(Command::Explain { targets }) => explain::explain(&environment, &targets),
        Ok(Command::Check { targets }) => check::check(&environment, targets),
        Ok(Command::Replay { paths }) => undelivered::replay(&environment, &paths),
        Ok(Command::Send { targets, dry_run }) => run::send(&environment, targets, dry_run),
        Err(message) => {
            run::usage_error(&environment, &message);
            return ExitCode::from(report::class::USAGE);
        }
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            run::bug(&environment, &error);
            ExitCode::from(report::class::FAILED)
        }
    }
}
