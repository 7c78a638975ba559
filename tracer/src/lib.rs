//! sockflow follows every TCP socket of a Linux host into orphanhood and TIME_WAIT.

pub mod aggregate;
pub mod cli;
pub mod storm;
pub mod time;
