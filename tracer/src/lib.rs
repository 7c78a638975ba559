//! sockflow follows every TCP socket of a Linux host into orphanhood and TIME_WAIT.

pub mod aggregate;
pub mod sanitize;
pub mod time;
pub mod tui;
