//! `NOTIFY_ENABLED: false`: how a run ends that is switched off, before anything is asked or sent, and whatever else is
//! wrong.

use std::path::PathBuf;

use super::{
    runner,
    setup::{Ending, Setup, switch, usable},
};
use crate::{
    delivery::result::DeliveryResult,
    destinations::Target,
    environment::Environment,
    receipts::{
        folder::OutputFolder,
        record::{Record, Subject},
    },
    report::{PROGRAM, class::Class, console::Console},
    settings::OnError,
    variables::Values,
};

/// What a run would have left behind.
#[derive(Clone, Copy)]
pub enum Leaves<'a> {
    /// Nothing.
    Nothing,
    /// The receipt of what it sends.
    Receipt,
    /// The receipt of a replay of these.
    ReceiptOfReplay(&'a [PathBuf]),
}

/// Ends a run that is switched off: each of its targets is skipped. The exit code; none where the run goes on.
pub fn end(environment: &Environment, named: &[Target], leaves: Leaves) -> Option<u8> {
    let switch = switch(environment)?;
    let why = format!("{switch} is false");
    // What is wrong with the rest is of no interest today.
    let (usable, _) = usable(environment);
    let setup = match Setup::read(&usable) {
        Ok(setup) => setup,
        Err(unusable) => return Some(conclude(environment, &unusable.console, &why)),
    };
    let console = &setup.console;
    console.info(&format!("{PROGRAM}: switched off"));
    let (targets, forget) = match leaves {
        Leaves::ReceiptOfReplay(paths) => (Vec::new(), Some((true, paths))),
        Leaves::Receipt if !setup.policy.dry_run.0 => (setup.targets(named.to_vec()).0, Some((false, &[][..]))),
        Leaves::Receipt | Leaves::Nothing => (setup.targets(named.to_vec()).0, None),
    };
    let folder = setup
        .policy
        .output_dir
        .as_ref()
        .zip(forget)
        .and_then(|(path, (is_replay, paths))| {
            let reads: Vec<Target> = targets
                .iter()
                .filter(|target| target.operation.is_read)
                .copied()
                .collect();
            let folder = OutputFolder::create(path, setup.origin(), &reads, console.redactor());
            let folder = folder.map_err(|problem| console.line(&format!("  {problem}"))).ok()?;
            for line in folder.forget_others(is_replay, paths) {
                console.info(&format!("  {line}"));
            }
            Some(folder)
        });
    let mut record = Record::new(folder.as_ref(), console, None, targets.len(), false);
    for (place, target) in targets.iter().enumerate() {
        let result = DeliveryResult::unsent(Class::Skipped, why.as_str(), None);
        let subject = Subject {
            target: *target,
            event: None,
            values: Values::default(),
        };
        record.end(place, &subject, None, &result);
        runner::report(
            console,
            &runner::Ended {
                target: *target,
                result,
            },
        );
    }
    record.finish(&[], Class::Skipped.code());
    Some(conclude(environment, console, &why))
}

fn conclude(environment: &Environment, console: &Console, why: &str) -> u8 {
    let what = format!("{}, because {why}: nothing was asked or sent", Class::Skipped.word());
    runner::conclude(console, Ending::new(environment, OnError::Warn), Class::Skipped, &what)
}
