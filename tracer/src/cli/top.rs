//! `sockflow top`: the live screen; a line an interval without a terminal; JSON for scripts.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use aya::{BtfError, EbpfError};

use super::driver;
use super::engine::{Detail, Engine, TracingArgs};
use super::filter::{FilterArgs, Unmatched};
use super::line;
use super::screen::{self, ScreenArgs};
use super::signals::stop_on_signals;
use super::units::{parse_duration, parse_interval};
use super::zone;
use crate::error::{Failure, Kind};
use crate::playback::Mode;
use crate::playback::live::LiveTape;
use crate::playback::transport::Begin;
use crate::source::Source;
use crate::stdio;

const EXAMPLES: &str = "\
Examples:
  The whole host, then one server:
      sudo sockflow top
      sudo sockflow top --port 9981
  A line of text every 5 seconds for a minute, into a file:
      sudo sockflow top --interval 5s --duration 1m >orphans.log
  The orphans of each second, for a script:
      sudo sockflow top --json | jq .orphans.host
  Without BPF, and without any privilege: what sock_diag and /proc show once a second:
      sockflow top --sampled";

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
    /// Do without BPF: only look, at sock_diag and /proc, once an interval
    ///
    /// Needs no privilege, and no BTF. Nothing is counted that comes and goes between two looks, so
    /// there are no totals; as root it sees all namespaces and owners, else its own.
    #[arg(long, conflicts_with_all = ["detail", "ring_size", "max_sockets", "btf", "verbose"])]
    sampled: bool,
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
        if self.sampled {
            return self.show(Engine::sampled(&self.filter, self.interval, self.duration)?);
        }
        let (filter, tracing) = (&self.filter, &self.tracing);
        let engine = Engine::start(filter, tracing, self.detail, self.interval, self.duration);
        self.show(engine.map_err(offer_to_look)?)
    }

    fn show<S: Source + Send + 'static>(&self, engine: Engine<S>) -> Result<()> {
        if !self.json && screen::is_possible() { self.screen(engine) } else { self.lines(engine) }
    }

    fn lines<S: Source>(&self, mut engine: Engine<S>) -> Result<()> {
        engine.watch_facts();
        for note in engine.notes() {
            stdio::note(note);
        }
        let stop = stop_on_signals()?;
        let zone = zone::reader();
        let mut out = stdio::out();
        let mut unmatched = Unmatched::default();
        while let Some(snapshot) = engine.next(&stop)? {
            line::print(&mut out, &snapshot, self.json, &zone)?;
            out.flush()?;
            if let Some(note) = unmatched.note(&snapshot) {
                stdio::note(note);
            }
        }
        Ok(())
    }

    fn screen<S: Source + Send + 'static>(&self, mut engine: Engine<S>) -> Result<()> {
        let options = self.screen.options("top");
        let tape = LiveTape::default();
        let feed = tape.feed();
        let begin = Begin { mode: Mode::Live, ..Begin::default() };
        engine.watch_facts();
        driver::run_fed(tape, begin, options, move |feeding| {
            while let Some(snapshot) = engine.next(feeding.stop())? {
                feed.push_with(snapshot, engine.report().map(Arc::new));
                feeding.news();
            }
            Ok(())
        })
    }
}

/// Where this host cannot be traced, it can still be looked at.
fn offer_to_look(mut error: anyhow::Error) -> anyhow::Error {
    const LOOK: &str = "do without BPF: `sockflow top --sampled`";
    if let Some(failure) = error.downcast_mut::<Failure>() {
        if failure.kind == Kind::Environment {
            failure.hint = Some(match failure.hint.take() {
                Some(hint) => format!("{hint}, or {LOOK}"),
                None => LOOK.to_owned(),
            });
        }
        return error;
    }
    // Privilege alone need not be enough: a sandbox or a locked kernel refuses the system call.
    let of_bpf = error.chain().any(|cause| cause.is::<EbpfError>() || cause.is::<BtfError>());
    if of_bpf {
        let failure = Failure::environment("this host refuses BPF programs");
        return error.context(failure.hint(format!("see why: `sockflow probes`, or {LOOK}")));
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_cannot_trace_is_told_how_to_look() {
        let hint = |error: anyhow::Error| crate::error::report(&offer_to_look(error));
        let plain = Failure::environment("no BTF").hint("boot another kernel");
        let (text, code) = hint(anyhow::Error::new(plain).context("cannot trace"));
        let expected = "hint: boot another kernel, or do without BPF: `sockflow top --sampled`";
        assert!(text.ends_with(expected), "{text}");
        assert_eq!(code, 3);
        let refused = anyhow::Error::new(EbpfError::FileError {
            path: "/sys/kernel/btf/vmlinux".into(),
            error: std::io::ErrorKind::PermissionDenied.into(),
        });
        let (text, code) = hint(refused.context("cannot create the BPF maps"));
        assert!(text.contains("refuses BPF") && text.ends_with("top --sampled`"), "{text}");
        assert_eq!(code, 3);
        let (text, code) = hint(Failure::usage("no such port").hint("look").into());
        assert!(!text.contains("--sampled"), "{text}");
        assert_eq!(code, 2);
    }
}
