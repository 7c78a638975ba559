//! The command line: what was typed, and the one place where the parts are put together.
//!
//! Each subcommand has a file: its options, and `run`, which composes source, aggregator and
//! view. [`engine`] is what everything live shares, [`driver`] what everything with a screen does.

mod attending;
pub mod doctor;
pub mod driver;
pub mod engine;
pub mod export;
pub mod filter;
pub mod fold;
pub mod line;
mod mistyped;
mod output;
pub mod probes;
mod progress;
pub mod record;
pub mod replay;
pub mod report;
pub mod screen;
pub mod serve;
mod signals;
pub mod storm;
pub mod top;
pub mod trace;
pub mod units;
mod zone;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{CommandFactory as _, Parser, Subcommand};

use crate::error;
use crate::storm::plan::Usage;

const EXAMPLES: &str = "\
Examples:
  Watch the server on port 9981:
      sudo sockflow top --port 9981
  Make something to watch, from another terminal:
      sudo sockflow storm --mode zero-window --connections 900 --rate 45/s
  Which limit of this host is reached first, and what to set:
      sudo sockflow doctor
  See how well this kernel can be traced:
      sudo sockflow probes";

/// Follow every TCP socket into FIN_WAIT, TIME_WAIT and orphanhood
#[derive(Debug, Parser)]
#[command(name = "sockflow", version, propagate_version = true, max_term_width = 100, after_long_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Top(top::TopArgs),
    Trace(trace::TraceArgs),
    Record(Box<record::RecordArgs>),
    Replay(replay::ReplayArgs),
    Report(report::ReportArgs),
    Export(export::ExportArgs),
    Doctor(doctor::DoctorArgs),
    Probes(probes::ProbesArgs),
    Serve(serve::ServeArgs),
    Storm(Box<storm::StormArgs>),
    /// Print completions for a shell, to be sourced by it
    #[command(after_long_help = "Example:\n  source <(sockflow completions bash)")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page (roff)
    #[command(after_long_help = "Example:\n  sockflow man | man -l -")]
    Man,
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return mistyped::tell(&error, &Cli::command()),
    };
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
            Command::Record(args) => return args.run(),
            Command::Replay(args) => args.run(),
            Command::Report(args) => args.run(),
            Command::Export(args) => return args.run(),
            // Its exit code is its verdict.
            Command::Doctor(args) => return args.run(),
            Command::Probes(args) => args.run(),
            Command::Serve(args) => args.run(),
            Command::Storm(args) => args.run().map_err(usage_of_storm),
            Command::Completions { shell } => {
                let mut command = Self::command();
                // Into memory first: clap_complete panics where it cannot write.
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut command, "sockflow", &mut script);
                print(&script)
            }
            Command::Man => {
                let mut page = Vec::new();
                clap_mangen::Man::new(Self::command()).render(&mut page)?;
                print(&page)
            }
        }
        .map(|()| ExitCode::SUCCESS)
    }
}

fn print(text: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text).and_then(|()| out.flush()).context("cannot write to stdout")
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
