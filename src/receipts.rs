//! What a run leaves behind in its output folder, for later jobs and for the job itself when it is run again: a receipt
//! of what was delivered, and what was not.

pub mod folder;
pub mod once;
pub mod receipt;
pub mod record;
pub mod undelivered;
