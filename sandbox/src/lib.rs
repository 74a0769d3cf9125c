//! Strict stand-ins of the services that `notify-event` reports to.
