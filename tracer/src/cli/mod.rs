//! The command line: what was typed, and the one place where the parts are put together.
//!
//! Each subcommand has a file: its options, and `run`, which composes source, aggregator and
//! view. [`engine`] is what everything live shares, [`driver`] what everything with a screen does.

pub mod doctor;
pub mod driver;
pub mod engine;
pub mod export;
pub mod filter;
pub mod fold;
mod gaps;
pub mod line;
mod mistyped;
mod output;
pub mod probes;
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

use std::ffi::OsString;
use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use clap::{CommandFactory as _, Parser, Subcommand};

use crate::error::{self, Failure};
use crate::stdio;
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
    stdio::print_panics();
    // A limit of file sizes is then an error that names the file, not a death without a word.
    // Without the handler it is as before; children start with the signal's default action.
    let _ = signal_hook::flag::register(libc::SIGXFSZ, Arc::default());
    run(std::env::args_os())
}

/// Runs a command line; its first word is the program's name.
#[must_use]
pub fn run<W: Into<OsString> + Clone>(words: impl IntoIterator<Item = W>) -> ExitCode {
    let result = match Cli::try_parse_from(words) {
        Ok(cli) => cli.run(),
        Err(error) => mistyped::tell(&error, &Cli::command()),
    };
    let code = result.unwrap_or_else(|error| tell(&error));
    stdio::tell_dropped();
    code
}

/// Says what went wrong, if that is anything, and returns its exit code.
fn tell(error: &anyhow::Error) -> ExitCode {
    let (text, code) = match stdio::out_failure(error) {
        // Who reads has read enough.
        Some(why) if why.kind() == ErrorKind::BrokenPipe => return ExitCode::SUCCESS,
        Some(why) => error::report(&cannot_write_to_stdout(why)),
        None => error::report(error),
    };
    stdio::lines(&text);
    ExitCode::from(code)
}

fn cannot_write_to_stdout(why: std::io::Error) -> anyhow::Error {
    let hint = match why.kind() {
        ErrorKind::StorageFull => "see which disk is full: `df -h`",
        _ => "send it elsewhere: `sockflow … | less`",
    };
    anyhow::Error::new(why).context(Failure::failed("cannot write to stdout").hint(hint))
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
    let mut out = stdio::out();
    out.write_all(text).and_then(|()| out.flush()).context("cannot write to stdout")
}

/// storm tells what cannot be asked for in its own type.
fn usage_of_storm(error: anyhow::Error) -> anyhow::Error {
    match error.downcast::<Usage>() {
        Ok(usage) => Failure::usage(usage.to_string())
            .hint("see what it takes: `sockflow storm --help`")
            .into(),
        Err(error) => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
