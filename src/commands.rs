//! What the program can be asked to do: one file a command, and the runner that those share which send requests.

pub mod catalog;
pub mod check;
pub mod dispatch;
pub mod doubt;
pub mod entities;
pub mod explain;
pub mod reconcile;
pub mod replay;
pub mod runner;
pub mod send;
pub mod setup;
pub mod stop;
pub mod switch;
pub mod unread;
