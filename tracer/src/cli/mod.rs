//! The command line: what each subcommand takes and how it talks to the terminal.

pub mod storm;
