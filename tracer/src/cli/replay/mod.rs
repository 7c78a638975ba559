//! `sockflow replay`: a trace as if one had been watching.

pub(super) mod tape;

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use jiff::tz::TimeZone;

use super::driver;
use super::fold::Fold;
use super::line;
use super::screen::ScreenArgs;
use super::units::parse_interval;
use super::zone;
use crate::playback::goto::Goto;
use crate::playback::transport::Begin;
use crate::playback::{Mode, Speed};
use crate::recording::{Ended, Trace, Want};
use crate::sanitize::sanitize;
use crate::stdio;
use tape::FileTape;

const EXAMPLES: &str = "\
Examples:
  Look at a trace; it needs no privilege:
      sockflow replay incident.sockflow
  At the moment of the third anomaly, or 30 s before the end:
      sockflow replay incident.sockflow --at '!3'
      sockflow replay incident.sockflow --at -30s
  The orphans of each second, for a script:
      sockflow replay incident.sockflow --json | jq .orphans.host";

/// Look at a trace as if one had been watching
///
/// On a terminal this is the screen of `top`, paused, with a timeline; `?` there shows the keys.
/// Where stdin or stdout is no terminal it prints a line an interval.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct ReplayArgs {
    /// The trace; FILE.1, FILE.2 … that belong to it are read too
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print one sockflow.snapshot/1 object a line
    #[arg(long)]
    json: bool,
    /// Time between snapshots, 100ms to 60s [default: as recorded]
    #[arg(long, value_name = "D", value_parser = parse_interval)]
    interval: Option<Duration>,
    /// Where to begin: 16:41:52, +30s (from the start), -5m (from the end), @EVENT, !ANOMALY, max
    #[arg(long, value_name = "WHEN", allow_hyphen_values = true)]
    at: Option<Goto>,
    /// Play at once, so much faster than it was: 0.1 to 100
    #[arg(long, value_name = "X")]
    speed: Option<Speed>,
    #[command(flatten)]
    screen: ScreenArgs,
}

impl ReplayArgs {
    /// Shows the trace.
    ///
    /// # Errors
    ///
    /// See [`Trace::open`]; or the output cannot be written.
    pub fn run(self) -> Result<()> {
        let trace = Trace::open(&self.file)?;
        let zone = zone::reader();
        let terminal = std::io::stdin().is_terminal() && stdio::out_is_terminal();
        if terminal && !self.json { self.screen(trace, zone) } else { self.lines(trace, zone) }
    }

    fn screen(self, trace: Trace, zone: TimeZone) -> Result<()> {
        let options =
            self.screen.options(format!("replay {}", sanitize(&self.file.to_string_lossy())));
        let begin = Begin {
            at: self.at,
            mode: if self.speed.is_some() { Mode::Playing } else { Mode::Paused },
            speed: self.speed.unwrap_or_default(),
        };
        driver::run(FileTape::new(trace, zone), begin, options)
    }

    /// Everything from `--at` on, as fast as it can be read.
    fn lines(&self, trace: Trace, zone: TimeZone) -> Result<()> {
        let mut tape = FileTape::new(trace, zone);
        let begin = self.at.as_ref().map_or(Ok(0), |place| tape.find(place, "--at"))?;
        let (trace, zone) = tape.into_parts();
        let mut out = std::io::BufWriter::new(stdio::out());
        let mut fold = if self.interval.is_none() {
            Fold::before(&trace, begin)?
        } else {
            // What lies before decides which moments an interval meets.
            Fold::begin(&trace, self.interval)
        };
        while let Some(snapshot) = fold.next(&trace, Want::Everything)? {
            if fold.ticks() <= begin {
                continue;
            }
            line::print(&mut out, &snapshot, self.json, &zone)?;
        }
        out.flush()?;
        tell_what_is_missing(&trace, &zone);
        Ok(())
    }
}

/// On stderr: how the trace ends and where it is not whole.
fn tell_what_is_missing(trace: &Trace, zone: &TimeZone) {
    for gap in trace.gaps() {
        stdio::note(tape::told(gap, trace, zone));
    }
    if let Ended::NotClosed { .. } = trace.ended()
        && let Some(last) = trace.last()
    {
        let clock = trace.run().anchor.wall(last).distinct_clock_micros(zone);
        stdio::note(format_args!("the trace was not closed; the last moment in it is {clock}"));
    }
}

#[cfg(test)]
mod tests;
