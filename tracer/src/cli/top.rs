//! `sockflow top`: the live screen; a line an interval without a terminal; JSON for scripts.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::tz::TimeZone;

use super::attending::Attending;
use super::driver;
use super::engine::{Detail, Engine, TracingArgs};
use super::filter::FilterArgs;
use super::line;
use super::screen::ScreenArgs;
use super::units::{parse_duration, parse_interval};
use crate::playback::Mode;
use crate::playback::live::LiveTape;
use crate::playback::transport::Begin;

const EXAMPLES: &str = "\
Examples:
  The whole host, then one server:
      sudo sockflow top
      sudo sockflow top --port 9981
  A line of text every 5 seconds for a minute, into a file:
      sudo sockflow top --interval 5s --duration 1m >orphans.log
  The orphans of each second, for a script:
      sudo sockflow top --json | jq .orphans.host";

/// Watch orphans, states and memory live
///
/// On a terminal this is a screen; `?` there shows the keys. Where stdin or stdout is no terminal
/// it prints a line an interval.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct TopArgs {
    /// Time between snapshots, 100ms to 60s
    #[arg(long, value_name = "D", default_value = "1s", value_parser = parse_interval)]
    interval: Duration,
    /// Stop after this time
    #[arg(long, value_name = "D", value_parser = parse_duration)]
    duration: Option<Duration>,
    /// Print one sockflow.snapshot/1 object a line
    #[arg(long)]
    json: bool,
    /// Events to take in beside the totals: ends (orphans that ended badly), orphans, all
    #[arg(
        long,
        value_name = "WHICH",
        default_value = "ends",
        value_enum,
        hide_possible_values = true,
        hide_short_help = true
    )]
    detail: Detail,
    #[command(flatten)]
    screen: ScreenArgs,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    tracing: TracingArgs,
}

impl TopArgs {
    /// Runs until the end of `--duration`, a signal, or `q`.
    ///
    /// # Errors
    ///
    /// See [`Engine::start`]; or the output cannot be written.
    pub fn run(self) -> Result<()> {
        let engine =
            Engine::start(&self.filter, &self.tracing, self.detail, self.interval, self.duration)?;
        let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        if terminal && !self.json { self.screen(engine) } else { self.lines(engine) }
    }

    fn lines(&self, mut engine: Engine) -> Result<()> {
        for note in engine.notes() {
            eprintln!("sockflow: note: {note}");
        }
        let stop = stop_on_signals()?;
        let zone = TimeZone::system();
        let mut out = std::io::stdout().lock();
        while let Some(snapshot) = engine.next(&stop)? {
            line::print(&mut out, &snapshot, self.json, &zone)?;
            out.flush()?;
        }
        Ok(())
    }

    fn screen(&self, mut engine: Engine) -> Result<()> {
        let mut options = self.screen.options("top");
        options.ports.clone_from(&self.filter.port);
        let tape = LiveTape::default();
        let feed = tape.feed();
        let begin = Begin { mode: Mode::Live, ..Begin::default() };
        engine.watch_facts();
        // The doctor asks about one port, or all.
        let port = match self.filter.port[..] {
            [port] => Some(port),
            _ => None,
        };
        driver::run_fed(tape, begin, options, move |feeding| {
            let mut doctor = Attending::new(&engine, port);
            while let Some(snapshot) = engine.next_tapped(feeding.stop(), &mut doctor)? {
                let report = doctor.as_ref().and_then(|doctor| doctor.report.clone());
                feed.push_with(snapshot, report);
                feeding.news();
            }
            Ok(())
        })
    }
}

/// A flag that SIGINT, SIGTERM and SIGHUP set, also where the shell had them ignored.
///
/// # Errors
///
/// The handlers cannot be installed.
pub fn stop_on_signals() -> Result<Arc<AtomicBool>> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("cannot handle signals")?;
    }
    Ok(stop)
}
