//! What GitLab knows of the pipeline that this runs in.

pub mod api;
pub mod context;
pub mod lookup;
pub mod once;
pub mod outcome;
pub mod slug;
