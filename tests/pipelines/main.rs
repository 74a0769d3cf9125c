//! The templates and the images, by GitLab's rules: judged by its schema, and run as whole pipelines in containers.
//!
//! `cargo test --test pipelines -- --skip containers` needs no container.

mod project;
#[path = "../shared/mod.rs"]
mod shared;

mod components;
mod containers;
mod reconcile;
mod templates;
