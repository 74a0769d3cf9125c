//! What GitLab knows of the pipeline that this runs in: its variables, and what its API is asked. Without I/O.

pub mod api;
pub mod changes;
pub mod deployment;
pub mod job;
pub mod outcome;
pub mod pipeline;
pub mod slug;
