//! The command line: what was typed, and the one place where the parts are put together.
//!
//! Each subcommand has a file: its options, and `run`, which composes source, aggregator and
//! view. [`engine`] is what `top` in all its forms shares.

pub mod engine;
pub mod filter;
pub mod line;
pub mod probes;
pub mod storm;
pub mod top;
pub mod trace;
pub mod units;

use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory as _, Parser, Subcommand};

use crate::error;
use crate::storm::plan::Usage;

/// Follow every TCP socket into FIN_WAIT, TIME_WAIT and orphanhood
#[derive(Debug, Parser)]
#[command(name = "sockflow", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Top(top::TopArgs),
    Trace(trace::TraceArgs),
    Probes(probes::ProbesArgs),
    Storm(Box<storm::StormArgs>),
    /// Print completions for a shell, to be sourced by it
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page (roff)
    Man,
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.run() {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let (text, code) = error::report(&error);
            eprintln!("{text}");
            ExitCode::from(code)
        }
    }
}

impl Cli {
    fn run(self) -> Result<ExitCode> {
        match self.command {
            Command::Top(args) => args.run(),
            Command::Trace(args) => args.run(),
            Command::Probes(args) => args.run(),
            Command::Storm(args) => args.run().map_err(usage_of_storm),
            Command::Completions { shell } => {
                let mut command = Self::command();
                clap_complete::generate(shell, &mut command, "sockflow", &mut std::io::stdout());
                Ok(())
            }
            Command::Man => {
                clap_mangen::Man::new(Self::command()).render(&mut std::io::stdout())?;
                Ok(())
            }
        }
        .map(|()| ExitCode::SUCCESS)
    }
}

/// storm tells what cannot be asked for in its own type.
fn usage_of_storm(error: anyhow::Error) -> anyhow::Error {
    match error.downcast::<Usage>() {
        Ok(usage) => error::Failure::usage(usage.to_string())
            .hint("see what it takes: `sockflow storm --help`")
            .into(),
        Err(error) => error,
    }
}

/// The reader of our output went away: that is fine.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
