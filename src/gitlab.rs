//! What GitLab knows of the pipeline that this runs in.

pub mod context;
pub mod slug;
