//! Reports what a GitLab pipeline did to the services a platform team uses.
fn main() {}
