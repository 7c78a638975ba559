//! `sockflow replay`: a trace as if one had been watching.

mod kept;
pub(super) mod tape;

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use jiff::tz::TimeZone;

use super::driver;
use super::filter::{self, FilterArgs};
use super::fold::{ALL, Fold, by_port_alone};
use super::gaps::{self, Gaps};
use super::line;
use super::screen::{self, ScreenArgs};
use super::units::parse_interval;
use super::zone;
use crate::format::nothing_matches;
use crate::playback::goto::Goto;
use crate::playback::transport::Begin;
use crate::playback::{Mode, Speed};
use crate::recording::narrow::Narrowing;
use crate::recording::{Trace, Want};
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
  As `top` would have shown one server:
      sockflow replay incident.sockflow --port 9981
  The orphans of each second, for a script:
      sockflow replay incident.sockflow --json | jq .orphans.host";

/// Look at a trace as if one had been watching
///
/// On a terminal this is the screen of `top`, paused at the first anomaly, with a timeline; `?` there
/// shows the keys. Where stdin or stdout is no terminal it prints a line an interval.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES, mut_args(filter::briefly))]
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
    #[command(flatten)]
    filter: FilterArgs,
}

impl ReplayArgs {
    /// Shows the trace.
    ///
    /// # Errors
    ///
    /// See [`Trace::open`] and [`FilterArgs::of_totals`]; or the output cannot be written.
    pub fn run(self) -> Result<()> {
        let trace = Trace::open(&self.file)?;
        let narrowing = Narrowing::new(self.filter.of_totals(&trace, &self.file)?, &trace)?;
        let zone = zone::reader();
        if !self.json && screen::is_possible() {
            self.screen(trace, zone, narrowing)
        } else {
            self.lines(trace, &zone, &narrowing)
        }
    }

    fn screen(self, trace: Trace, zone: TimeZone, narrowing: Narrowing) -> Result<()> {
        let options =
            self.screen.options(format!("replay {}", sanitize(&self.file.to_string_lossy())));
        let begin = Begin {
            first_anomaly: self.at.is_none() && self.speed.is_none(),
            at: self.at,
            mode: if self.speed.is_some() { Mode::Playing } else { Mode::Paused },
            speed: self.speed.unwrap_or_default(),
        };
        driver::run(FileTape::narrowed(trace, zone, narrowing), begin, options)
    }

    /// Everything from `--at` on, as fast as it can be read.
    fn lines(&self, trace: Trace, zone: &TimeZone, narrowing: &Narrowing) -> Result<()> {
        if trace.ticks().is_empty() {
            return Err(gaps::no_moment(&trace));
        }
        let mut tape = FileTape::new(trace, zone.clone());
        let begin = self.at.as_ref().map_or(Ok(0), |place| tape.find(place, "--at"))?;
        let (trace, mut gaps) = tape.into_parts();
        let mut out = std::io::BufWriter::new(stdio::out());
        let mut fold = if self.interval.is_none() {
            Fold::before(&trace, begin, narrowing)?
        } else {
            // What lies before decides which moments an interval meets.
            Fold::begin(&trace, self.interval, narrowing)
        };
        let mut matched = false;
        while let Some(snapshot) = fold.next_seen(&trace, Want::Everything, ALL, &mut gaps)? {
            if fold.ticks() <= begin {
                continue;
            }
            matched |= filter::has_rows(&snapshot);
            line::print(&mut out, &snapshot, self.json, zone)?;
        }
        out.flush()?;
        let mut notes = filter::notes(narrowing, &trace);
        notes.extend(by_port_alone(narrowing.filter()).filter(|_| matched).map(str::to_owned));
        if !matched && !narrowing.is_empty() {
            notes.push(nothing_matches(&narrowing.filter().describe()));
        }
        for note in notes {
            stdio::note(note);
        }
        tell_what_is_missing(&trace, gaps, zone);
        Ok(())
    }
}

/// On stderr: how the trace ends and where it is not whole.
fn tell_what_is_missing(trace: &Trace, gaps: Gaps, zone: &TimeZone) {
    for note in gaps::notes(&gaps.into_list(), trace, zone) {
        stdio::note(note);
    }
    if let Some(note) = gaps::not_closed(trace, zone) {
        stdio::note(note);
    }
}

#[cfg(test)]
mod tests;
