//! One line of text an interval: what `top` prints where there is no terminal.

use std::fmt::Write as _;
use std::io::{self, Write};

use jiff::tz::TimeZone;

use crate::aggregate::json;
use crate::aggregate::snapshot::{Direction, PortRow, Severity, Snapshot};
use crate::format::count;
use crate::sanitize::sanitize;

/// Services named on a line.
const PORTS: usize = 3;

/// Prints a snapshot: as its line, or as one `sockflow.snapshot/1` object.
///
/// # Errors
///
/// The output cannot be written.
pub fn print(
    out: &mut impl Write,
    snapshot: &Snapshot,
    json: bool,
    zone: &TimeZone,
) -> io::Result<()> {
    if json {
        writeln!(out, "{}", json::text(snapshot)?)
    } else {
        writeln!(out, "{}", line(snapshot, zone))
    }
}

/// The line of a snapshot.
#[must_use]
pub fn line(snapshot: &Snapshot, zone: &TimeZone) -> String {
    let mut out = format!(
        "{} {} {}",
        snapshot.time.distinct_clock(zone),
        match snapshot.verdict.severity {
            Severity::Ok => "ok  ",
            other => other.word(),
        },
        sanitize(&snapshot.verdict.text)
    );
    // A listener that nobody talks to is no news.
    let busy = |row: &&PortRow| {
        row.states.live_with(0) + row.states.time_wait + row.orphans + row.totals.opened > 0
    };
    let rows: Vec<&PortRow> = snapshot.ports.iter().filter(busy).collect();
    for row in rows.iter().take(PORTS) {
        let arrow = match row.direction {
            Direction::In => "",
            Direction::Out => ">",
        };
        let _ = write!(out, " | {arrow}:{}", row.port);
        if let Some(owner) = &row.owner {
            let mark = if row.owner_unchecked > 0 { "~" } else { "" };
            let _ = write!(out, " {mark}{}[{}]", sanitize(&owner.comm), owner.pid);
        }
        let states = &row.states;
        for (name, number) in [
            ("estab", states.established),
            ("fin-wait-1", states.fin_wait1),
            ("fin-wait-2", states.fin_wait2),
            ("time-wait", states.time_wait),
            ("close-wait", states.close_wait),
            ("last-ack", states.last_ack),
            ("closing", states.closing),
            ("orphans", row.orphans),
        ] {
            if number > 0 {
                let _ = write!(out, " {name} {}", count(number));
            }
        }
        if !snapshot.is_sampled() {
            let _ = write!(out, " opened {}", count(row.totals.opened));
        }
    }
    if rows.len() > PORTS {
        let _ = write!(out, " | +{} more", rows.len() - PORTS);
    }
    if snapshot.is_sampled() {
        out.push_str(" | sampled");
    } else {
        let lost = &snapshot.lost;
        let lost = lost.detail + lost.untracked + lost.missed + lost.ungrouped;
        let _ = write!(out, " | lost {lost}");
    }
    if snapshot.orphans.drift != 0 {
        let _ = write!(out, " drift {:+}", snapshot.orphans.drift);
    }
    out
}
