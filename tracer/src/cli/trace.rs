//! `sockflow trace`: one line an event, for pipes.

use std::io::{self, BufWriter, Write};
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Result;
use jiff::tz::TimeZone;
use serde::Serialize;
use tracer_common::config::DETAIL_ALL;
use tracer_common::reset::ResetReason;
use tracer_common::state::TcpState;

use super::engine::TracingArgs;
use super::filter::FilterArgs;
use super::top::stop_on_signals;
use super::units::parse_duration;
use crate::bpf::probes::Signal;
use crate::event::{Event, EventKind, Owner};
use crate::sanitize::sanitize;
use crate::source::live::{Live, anchor};
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
        for note in &live.notes {
            eprintln!("sockflow: note: {note}");
        }
        let stop = stop_on_signals()?;
        let end = self.duration.map(|duration| Instant::now() + duration);
        let mut printer = Printer {
            out: BufWriter::with_capacity(1 << 16, io::stdout().lock()),
            anchor: anchor(),
            zone: TimeZone::system(),
            json: self.json,
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
                        printer.pressure(crate::source::live::now(), now)?;
                        pressure = now;
                    }
                }
                let missing = live.lost()?.detail;
                if missing > lost {
                    eprintln!("sockflow: lost {} events (the ring was full)", missing - lost);
                    lost = missing;
                }
            }
            live.drain(usize::MAX, |event| printer.event(&event));
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
    json: bool,
    failed: Option<io::Error>,
}

impl<W: Write> Printer<W> {
    fn event(&mut self, event: &Event) {
        if self.failed.is_some() {
            return;
        }
        let wall = self.anchor.wall(event.at);
        if let EventKind::Pressure { began } = event.kind {
            self.failed = self.pressure(event.at, Some(began)).err();
            return;
        }
        let result = if self.json {
            serde_json::to_writer(&mut self.out, &json(event, wall))
                .map_err(io::Error::from)
                .and_then(|()| self.out.write_all(b"\n"))
        } else {
            writeln!(self.out, "{}", text(event, wall, &self.zone))
        };
        self.failed = result.err();
    }

    fn pressure(&mut self, at: Monotonic, now: Option<bool>) -> io::Result<()> {
        let reason = match now {
            Some(true) => "begins",
            Some(false) => "ends",
            None => "unknown",
        };
        let wall = self.anchor.wall(at);
        if self.json {
            let object = serde_json::json!({
                "schema": EVENT_SCHEMA, "time": wall, "ts_ns": at.0, "kind": "pressure",
                "reason": reason,
            });
            writeln!(self.out, "{object}")
        } else {
            writeln!(self.out, "{} tcp_mem pressure {reason}", wall.clock_micros(&self.zone))
        }
    }
}

const EVENT_SCHEMA: &str = "sockflow.event/1";

#[derive(Serialize)]
struct EventJson<'a> {
    schema: &'static str,
    time: Wall,
    ts_ns: u64,
    kind: &'static str,
    socket: String,
    family: u8,
    local: EndJson,
    peer: EndJson,
    #[serde(skip_serializing_if = "Option::is_none")]
    old: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new: Option<&'static str>,
    owner: Option<&'a Owner>,
    netns: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    age_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// What more is known of `reason`.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'static str>,
}

#[derive(Serialize)]
struct EndJson {
    addr: IpAddr,
    port: u16,
}

fn kind_name(kind: EventKind) -> &'static str {
    match kind {
        EventKind::State { .. } => "state",
        EventKind::Close => "close",
        EventKind::OrphanBegin { .. } => "orphan_begin",
        EventKind::OrphanEnd { .. } => "orphan_end",
        EventKind::TimeWaitBegin { .. } => "time_wait_begin",
        EventKind::TimeWaitEnd { .. } => "time_wait_end",
        EventKind::ResetIn => "reset_in",
        EventKind::ResetOut { .. } => "reset_out",
        EventKind::Pressure { .. } => "pressure",
    }
}

fn json(event: &Event, time: Wall) -> EventJson<'_> {
    let (old, new, reason) = match event.kind {
        EventKind::State { old, new } => (Some(old.kernel_name()), Some(new.kernel_name()), None),
        EventKind::OrphanBegin { state } => (None, Some(state.kernel_name()), None),
        EventKind::OrphanEnd { reason, .. } => (None, None, Some(reason.name())),
        EventKind::TimeWaitBegin { substate } => (None, substate.map(TcpState::kernel_name), None),
        EventKind::TimeWaitEnd { substate, reason } => {
            (Some(substate.kernel_name()), None, Some(reason.name()))
        }
        EventKind::ResetOut { reason } => (None, None, reason.map(ResetReason::name)),
        EventKind::Close | EventKind::ResetIn | EventKind::Pressure { .. } => (None, None, None),
    };
    let detail = match event.kind {
        EventKind::OrphanEnd { detail, .. } => detail.name(),
        _ => None,
    };
    EventJson {
        schema: EVENT_SCHEMA,
        time,
        ts_ns: event.at.0,
        kind: kind_name(event.kind),
        socket: event.socket.to_string(),
        family: if event.peer.0.is_ipv4() { 4 } else { 6 },
        local: EndJson { addr: event.local.0, port: event.local.1 },
        peer: EndJson { addr: event.peer.0, port: event.peer.1 },
        old,
        new,
        owner: event.owner.as_deref(),
        netns: event.netns,
        age_ms: event.born.map(|born| event.at.seconds_since(born) * 1000.0),
        reason,
        detail,
    }
}

fn text(event: &Event, time: Wall, zone: &TimeZone) -> String {
    let what = match event.kind {
        EventKind::State { old, new } => format!("{old} -> {new}"),
        EventKind::Close => "close()".to_owned(),
        EventKind::OrphanBegin { state } => format!("orphan begins in {state}"),
        EventKind::OrphanEnd { reason, detail } => match detail.name() {
            Some(detail) => format!("orphan ends: {} ({detail})", reason.name()),
            None => format!("orphan ends: {}", reason.name()),
        },
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
        EventKind::Pressure { began } => {
            format!("tcp_mem pressure {}", if began { "begins" } else { "ends" })
        }
    };
    let owner = event.owner.as_ref().map_or_else(
        || "-".to_owned(),
        |owner| format!("{}[{}]", sanitize(&owner.comm), owner.pid),
    );
    let end = |(addr, port): (IpAddr, u16)| std::net::SocketAddr::new(addr, port).to_string();
    format!(
        "{} {:<24} {:<24} {what:<28} {owner}",
        time.clock_micros(zone),
        end(event.local),
        end(event.peer)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tracer_common::counters::{EndDetail, MiniEnd, OrphanEnd};

    fn event(kind: EventKind) -> Event {
        Event {
            at: Monotonic(2_000_000),
            kind,
            socket: 77,
            local: ([127, 0, 0, 1].into(), 9981),
            peer: ([127, 0, 0, 1].into(), 40_000),
            owner: Some(Arc::new(Owner { pid: 7, comm: "\x1b]0;evil\x07".into() })),
            netns: 1,
            born: Some(Monotonic(500_000)),
        }
    }

    #[test]
    fn an_event_is_the_contracts_object() {
        let change = EventKind::State { old: TcpState::FinWait1, new: TcpState::FinWait2 };
        let value = serde_json::to_value(json(&event(change), Wall(0))).unwrap();
        assert_eq!(value["schema"], "sockflow.event/1");
        assert_eq!(value["kind"], "state");
        assert_eq!(value["socket"], "77");
        assert_eq!(value["family"], 4);
        assert_eq!(value["local"]["port"], 9981);
        assert_eq!((&value["old"], &value["new"]), (&"FIN_WAIT1".into(), &"FIN_WAIT2".into()));
        assert_eq!(value["age_ms"], 1.5);
        assert_eq!(value.get("reason"), None, "fields that don't apply are left out");
        let value = |kind| serde_json::to_value(json(&event(kind), Wall(0))).unwrap();
        let reason = OrphanEnd::Killed;
        let end = value(EventKind::OrphanEnd { reason, detail: EndDetail::Memory });
        assert_eq!((&end["reason"], &end["detail"]), (&"killed".into(), &"memory".into()));
        let reset = value(EventKind::ResetOut { reason: ResetReason::named("TCP_STATE") });
        assert_eq!(reset["reason"], "TCP_STATE");
        let (reason, substate) = (MiniEnd::Reused, TcpState::TimeWait);
        let end = value(EventKind::TimeWaitEnd { substate, reason });
        assert_eq!(end["kind"], "time_wait_end");
        assert_eq!((&end["old"], &end["reason"]), (&"TIME_WAIT".into(), &"reused".into()));
    }

    #[test]
    fn a_hostile_name_is_harmless() {
        let line = text(&event(EventKind::ResetIn), Wall(0), &TimeZone::UTC);
        assert!(!line.contains('\x1b') && !line.contains('\x07'), "{line:?}");
    }
}
