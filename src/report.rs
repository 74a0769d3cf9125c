//! What the program tells: to people on standard error, to programs on standard output and in the output folder, and
//! to GitLab by its exit code.

pub mod class;
pub mod console;
