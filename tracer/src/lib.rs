//! sockflow follows every TCP socket of a Linux host into orphanhood and TIME_WAIT.

pub mod aggregate;
pub mod bpf;
pub mod cli;
pub mod error;
pub mod event;
pub mod filter;
pub mod format;
pub mod gauges;
pub mod sanitize;
pub mod source;
pub mod storm;
pub mod time;
pub mod tui;
