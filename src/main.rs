//! Reports what a GitLab pipeline did to the services a platform team uses.
mod delivery;
mod destinations;
mod environment;
mod event;
mod gitlab;
mod secret;
mod template;
mod variables;
fn main() {}
