//! What GitLab knows of the pipeline that this runs in.

pub mod api;
pub mod context;
pub mod slug;
