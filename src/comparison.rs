//! Makes what services hold agree with GitLab's own record: what a report would have said of a deployment, compared with
//! what is there. Without I/O; `commands/reconcile.rs` asks and writes.

pub mod portrait;
pub mod scope;
pub mod teller;
