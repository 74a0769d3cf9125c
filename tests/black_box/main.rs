//! The real binary, in the environment of a GitLab job, against the sandbox.
//!
//! `cargo test --test black_box` runs all of it, and with a module's name behind it, that module: `golden`, `retries`.

mod gitlab;
#[path = "../shared/mod.rs"]
mod shared;
mod support;

mod bad_input;
mod changes;
mod check;
mod classes;
mod doubt;
mod dry_run;
mod entities;
mod files;
mod golden;
mod guides;
mod identity;
mod kills;
mod network;
mod once;
mod outcome;
mod portals;
mod recipes;
mod reconcile;
mod reconcile_end;
mod reconcile_model;
mod reconcile_more;
mod reconcile_read;
mod redaction;
mod replay;
mod report;
mod retries;
mod settings;
mod several;
mod values;
mod waiting;
mod webhook;
