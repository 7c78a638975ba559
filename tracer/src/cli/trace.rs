//! `sockflow trace`: one line an event, for pipes.

use std::io::{self, BufWriter, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Result;
use jiff::tz::TimeZone;
use tracer_common::config::DETAIL_ALL;
use tracer_common::counters::OrphanCause;

use super::engine::TracingArgs;
use super::filter::FilterArgs;
use super::signals::stop_on_signals;
use super::units::parse_duration;
use super::zone;
use crate::bpf::probes::Signal;
use crate::event::{Event, EventKind};
use crate::export::jsonl::{Lines, pressure_name};
use crate::format::nothing_matches;
use crate::sanitize::sanitize;
use crate::source::Source as _;
use crate::source::clock;
use crate::source::live::Live;
use crate::stdio;
use crate::time::{ClockAnchor, Monotonic, Wall};

const EXAMPLES: &str = "\
Examples:
  What happens to the connections of one server:
      sudo sockflow trace --port 9981
  How orphans end, counted over ten seconds:
      sudo sockflow trace --duration 10s | grep -o 'orphan ends: .*' | sort | uniq -c
  Resets from one network, as JSON:
      sudo sockflow trace --addr 10.4.0.0/16 --json | jq -c 'select(.kind == \"reset_in\")'";

/// Print every event as a line
///
/// Each line has the time, the local end, the peer, what happened, and the owner.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct TraceArgs {
    /// Stop after this time
    #[arg(long, value_name = "D", value_parser = parse_duration)]
    duration: Option<Duration>,
    /// Print one sockflow.event/1 object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    tracing: TracingArgs,
}

/// How often the ring is looked at.
const DRAIN_EVERY: Duration = Duration::from_millis(10);
/// How often losses and the pressure flag are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

impl TraceArgs {
    /// Runs until the end of `--duration` or a signal.
    ///
    /// # Errors
    ///
    /// See [`Live::start`]; or the output cannot be written.
    pub fn run(self) -> Result<()> {
        let filter = self.filter.resolve()?;
        let mut live = Live::start(&self.tracing.options(&filter, DETAIL_ALL), &filter)?;
        for note in live.take_notes() {
            stdio::note(note);
        }
        if !filter.is_empty() && !live.has_sockets()? {
            stdio::note(nothing_matches(&filter.describe()));
        }
        let stop = stop_on_signals()?;
        let end = self.duration.map(|duration| Instant::now() + duration);
        let anchor = clock::anchor();
        let mut printer = Printer {
            out: BufWriter::with_capacity(1 << 16, stdio::out()),
            anchor,
            zone: zone::reader(),
            lines: self.json.then(|| Lines::new(anchor)),
            failed: None,
        };
        // Where a hook tells it comes as an event.
        let pressure_is_told = live.plan().is_hooked(Signal::MemPressure);
        let mut pressure = live.pressure();
        let mut look = Instant::now();
        let mut lost = 0;
        loop {
            let over = stop.load(Ordering::Relaxed) || end.is_some_and(|end| Instant::now() >= end);
            if over || Instant::now() >= look {
                look = Instant::now() + LOOK_EVERY;
                if !pressure_is_told {
                    let now = live.pressure();
                    if now != pressure {
                        printer.pressure(clock::now(), now)?;
                        pressure = now;
                    }
                }
                let missing = live.lost()?.detail;
                if missing > lost {
                    stdio::say(format_args!(
                        "sockflow: lost {} events (the ring was full)",
                        missing - lost
                    ));
                    lost = missing;
                }
            }
            live.drain(usize::MAX, &mut |event| printer.event(&event));
            if let Some(error) = printer.failed.take() {
                return Err(error.into());
            }
            printer.out.flush()?;
            if over {
                return Ok(());
            }
            std::thread::sleep(DRAIN_EVERY);
        }
    }
}

struct Printer<W: Write> {
    out: W,
    anchor: ClockAnchor,
    zone: TimeZone,
    /// With `--json`.
    lines: Option<Lines>,
    failed: Option<io::Error>,
}

impl<W: Write> Printer<W> {
    fn event(&mut self, event: &Event) {
        if self.failed.is_some() {
            return;
        }
        if let EventKind::Pressure { began } = event.kind {
            self.failed = self.pressure(event.at, Some(began)).err();
            return;
        }
        let result = match &mut self.lines {
            Some(lines) => {
                let line = lines.event(event).map_err(io::Error::from);
                line.and_then(|line| self.out.write_all(line))
            }
            None => {
                let line = text(event, self.anchor.wall(event.at), &self.zone);
                writeln!(self.out, "{line}")
            }
        };
        self.failed = result.err();
    }

    fn pressure(&mut self, at: Monotonic, now: Option<bool>) -> io::Result<()> {
        match &mut self.lines {
            Some(lines) => self.out.write_all(lines.pressure(at, now)?),
            None => {
                let clock = self.anchor.wall(at).distinct_clock_micros(&self.zone);
                writeln!(self.out, "{clock} tcp_mem pressure {}", pressure_name(now))
            }
        }
    }
}

fn text(event: &Event, time: Wall, zone: &TimeZone) -> String {
    let what = match event.kind {
        EventKind::State { old, new } => format!("{old} -> {new}"),
        EventKind::Close => "close()".to_owned(),
        EventKind::OrphanBegin { state } => format!("orphan begins in {state}"),
        EventKind::OrphanEnd { reason, detail, cause } => {
            let more = [detail.name(), cause.map(OrphanCause::words)];
            match more.into_iter().flatten().collect::<Vec<_>>().join(", ") {
                none if none.is_empty() => format!("orphan ends: {}", reason.name()),
                more => format!("orphan ends: {} ({more})", reason.name()),
            }
        }
        EventKind::TimeWaitBegin { substate: Some(substate) } => {
            format!("minisocket takes over in {substate}")
        }
        EventKind::TimeWaitBegin { substate: None } => "minisocket takes over".to_owned(),
        EventKind::TimeWaitEnd { substate, reason } => {
            format!("minisocket ends in {substate}: {}", reason.name())
        }
        EventKind::ResetIn => "RST received".to_owned(),
        EventKind::ResetOut { reason: Some(reason) } => format!("RST sent: {}", reason.name()),
        EventKind::ResetOut { reason: None } => "RST sent".to_owned(),
        EventKind::Pressure { began } => format!("tcp_mem pressure {}", pressure_name(Some(began))),
    };
    let owner = event.owner.as_ref().map_or_else(
        || "-".to_owned(),
        |owner| format!("{}[{}]", sanitize(&owner.comm), owner.pid),
    );
    let end = |(addr, port): (IpAddr, u16)| {
        // As the filter takes it: what is IPv4 on an IPv6 socket is IPv4.
        SocketAddr::new(addr.to_canonical(), port).to_string()
    };
    format!(
        "{} {:<24} {:<24} {what:<28} {owner}",
        time.distinct_clock_micros(zone),
        end(event.local),
        end(event.peer)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::tests::event;

    #[test]
    fn a_hostile_name_is_harmless() {
        let line = text(&event(EventKind::ResetIn), Wall(0), &TimeZone::UTC);
        assert!(!line.contains('\x1b') && !line.contains('\x07'), "{line:?}");
    }
}
