//! What the program tells: to people on standard error, to programs on standard output and in the output folder, and
//! to GitLab by its exit code.

/// The program's name and version, as reports and `--version` show it.
pub const PROGRAM: &str = concat!("notify-event ", env!("CARGO_PKG_VERSION"));

pub mod class;
pub mod console;
