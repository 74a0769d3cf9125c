//! Reports what a GitLab pipeline did to the services a platform team uses.
mod environment;
mod event;
mod gitlab;
mod secret;
mod template;
mod variables;
fn main() {}
