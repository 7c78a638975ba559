//! What the report says in one sentence, and how far it can be trusted.

use jiff::tz::TimeZone;

use super::collect::Rest;
use super::model::{Environment, Impact, PortRow, Range, Verdict};
use super::words;
use crate::aggregate::snapshot::{Lost, MemState, Severity, Snapshot};
use crate::filter::{BY_PORT_ALONE, Filter};
use crate::format::{count, duration, percent};

/// What the sentence is made of.
pub(super) struct Facts<'a> {
    pub(super) impact: &'a Impact,
    pub(super) worst: &'a Snapshot,
    /// The moment before the first kill, and the one after.
    pub(super) first_kill: Option<(&'a Snapshot, &'a Snapshot)>,
    pub(super) ports: &'a [PortRow],
    pub(super) range: Range,
    pub(super) zone: &'a TimeZone,
}

/// The sentence.
pub(super) fn verdict(facts: &Facts<'_>) -> Verdict {
    let Facts { impact, worst, zone, .. } = facts;
    if let Some((before, now)) = facts.first_kill {
        let sentence = killed(facts, before, now);
        return Verdict { severity: Severity::Crit, sentence };
    }
    let main = impact.main_episode.and_then(|index| impact.episodes.get(index));
    let (Some(episode), at) = (main, |wall: crate::time::Wall| wall.clock(zone)) else {
        return Verdict { severity: Severity::Ok, sentence: calm(facts) };
    };
    let when =
        format!("from {} to {} ({})", at(episode.from), at(episode.to), duration(episode.seconds));
    let memory = &worst.tcp_mem;
    let is = |what: &str| episode.why.contains(&what);
    let dropped = if impact.listen_overflows > 0 {
        format!("; full accept queues dropped {} handshakes", count(impact.listen_overflows))
    } else {
        String::new()
    };
    let (severity, sentence) = if memory.state == MemState::Exhausted || is("TCP memory used up") {
        let pages = format!("{} of {} pages", count(memory.pages), count(memory.high));
        (
            Severity::Crit,
            format!(
                "TCP's memory was used up ({pages} at the worst, {}) {when}: the kernel refused \
                 memory to every connection, but killed no orphan{dropped}.",
                at(worst.time)
            ),
        )
    } else if is("TCP memory pressure") {
        (
            Severity::Warn,
            format!(
                "The host was short of TCP memory for {}, {when}: at most {} of {} pages ({}); no orphan was \
                 killed{dropped}.",
                duration(impact.pressure_s),
                count(memory.pages),
                count(memory.high),
                percent(memory.pages, memory.high)
            ),
        )
    } else if is("accept queue full") {
        (
            Severity::Warn,
            format!(
                "Servers did not accept fast enough {when}: {} handshakes were dropped at full accept \
                 queues; orphans and memory were not the cause ({} orphans of {} at most).",
                count(impact.listen_overflows),
                count(worst.orphans.host),
                count(worst.orphans.limit)
            ),
        )
    } else {
        (
            Severity::Warn,
            format!(
                "Orphans{} came near their limit at {}: {} of {} ({}); none was killed.",
                whose(facts.ports),
                at(worst.time),
                count(worst.orphans.host),
                count(worst.orphans.limit),
                percent(worst.orphans.host, worst.orphans.limit)
            ),
        )
    };
    Verdict { severity, sentence }
}

/// The kernel killed.
fn killed(facts: &Facts<'_>, before: &Snapshot, now: &Snapshot) -> String {
    let impact = facts.impact;
    let memory = &before.tcp_mem;
    // The counter has both causes in it. With the limit out of reach, even at a quarter of it
    // (`tcp_out_of_resources`, net/ipv4/tcp_timer.c), it was memory.
    let most = before.orphans.host.max(now.orphans.host);
    let for_memory = memory.pressure > 0
        && memory.pages.max(now.tcp_mem.pages) >= memory.pressure
        && most.saturating_mul(4) < before.orphans.limit;
    let cause = if for_memory {
        format!(
            "TCP's memory was used up, {} of {} pages",
            count(memory.pages.max(now.tcp_mem.pages)),
            count(memory.high)
        )
    } else {
        let grew = growing_since(before)
            .map(|s| format!(", {} after they began to grow", duration(s)))
            .unwrap_or_default();
        format!(
            "there were {} of the {} that net.ipv4.tcp_max_orphans allows{grew}",
            count(most),
            count(before.orphans.limit)
        )
    };
    format!(
        "At {} the kernel began to kill orphans{}, {} in all: {cause}.",
        now.time.clock(facts.zone),
        whose(facts.ports),
        count(impact.killed)
    )
}

/// How long orphans had been growing, as far as the minutes before tell.
fn growing_since(at: &Snapshot) -> Option<f64> {
    let few = at.orphans.host / 20;
    let quiet = at.history.iter().rev().find(|point| point.orphans_host <= few)?;
    let elapsed = super::collect::seconds(quiet.time, at.time);
    (elapsed > 0.0).then_some(elapsed)
}

/// ` of :9981 (httpdns[4121])`, or `, most of them of …`.
fn whose(ports: &[PortRow]) -> String {
    let all: u64 = ports.iter().map(|row| row.orphans.during).sum();
    match ports.iter().max_by_key(|row| row.orphans.during) {
        Some(row) if row.orphans.during * 2 > all => {
            let owner = row.owner.as_ref();
            let who = owner.map(|owner| format!(" ({})", words::owner(Some(owner))));
            let most = if row.orphans.during == all { " of" } else { ", most of them of" };
            let service = words::service(row.port, row.direction);
            format!("{most} {service}{}", who.unwrap_or_default())
        }
        _ => String::new(),
    }
}

/// Nothing was wrong.
fn calm(facts: &Facts<'_>) -> String {
    let worst = facts.worst;
    format!(
        "Nothing ran out in {}: at most {} orphans of {} ({}), and TCP's memory at {} of its limit.",
        duration(facts.range.seconds),
        count(worst.orphans.host),
        count(worst.orphans.limit),
        percent(worst.orphans.host, worst.orphans.limit),
        percent(worst.tcp_mem.pages, worst.tcp_mem.high)
    )
}

/// How far the numbers can be trusted.
pub(super) fn trust(lost: &Lost, rest: &Rest, drift: i64) -> String {
    let mut doubts = Vec::new();
    if lost.untracked + lost.missed > 0 {
        doubts.push(format!(
            "{} sockets were not tracked and {} runs of the programs were skipped, so states and totals \
             are too low",
            count(lost.untracked),
            count(lost.missed)
        ));
    }
    if lost.ungrouped > 0 {
        doubts.push(format!(
            "{} sockets are counted under \"others\" for want of a row",
            count(lost.ungrouped)
        ));
    }
    if !rest.gaps.is_empty() {
        doubts.push(format!(
            "the trace has {} damaged or missing {} ({} events are missing)",
            count(rest.gaps.len() as u64),
            if rest.gaps.len() == 1 { "place" } else { "places" },
            count(rest.missing_events)
        ));
    }
    if lost.detail > rest.missing_events {
        doubts.push(format!(
            "{} single events were lost: peers and ends of single orphans are incomplete, totals are \
             not affected",
            count(lost.detail - rest.missing_events)
        ));
    }
    if drift.unsigned_abs() > 16 {
        doubts.push(format!("our count of orphans was off the kernel's by up to {drift}"));
    }
    if !rest.trace.ended_cleanly {
        doubts.push(format!(
            "the trace {}: what came after its last moment is not in it",
            rest.trace.ended
        ));
    }
    match doubts.as_slice() {
        [] => "Nothing was lost, nothing is damaged, and the count of orphans agrees with the kernel's own."
            .to_owned(),
        doubts => {
            let mut text = doubts.join("; ");
            if let Some(first) = text.get(..1) {
                text = first.to_uppercase() + &text[1..];
            }
            text + "."
        }
    }
}

/// What a trace cannot tell.
pub(super) fn limits(environment: &Environment, filter: &Filter, has_queues: bool) -> Vec<String> {
    let mut limits = vec![
        format!(
            "States, totals and ends are counted in the kernel; gauges (orphans of the host, memory, \
             counters) are read every {}: what was between two samples does not show.",
            duration(environment.interval_s)
        ),
        "TIME-WAIT, orphans' memory and their peers are sampled (sock_diag), at most a fiftieth of the \
         time."
            .to_owned(),
        "Counters of the kernel (TCPAbortOnMemory, ListenOverflows …) are those of one network namespace."
            .to_owned(),
    ];
    if !has_queues {
        limits.push(words::NO_QUEUES.to_owned());
    }
    if environment.detail != "all" && !environment.detail.is_empty() {
        limits.push(format!(
            "Single events were recorded for \"{}\" only (record --detail).",
            environment.detail
        ));
    }
    if !environment.filter.is_empty() {
        limits.push(format!(
            "Recorded with the filter \"{}\": other sockets are only in the host's numbers.",
            environment.filter
        ));
    }
    if !filter.is_empty() {
        limits.push(
            "States, rates, times and tables are of the sockets that the report is limited to; orphans \
             against the limit, memory, kills and drops are the host's."
                .to_owned(),
        );
    }
    if filter.names_owner() {
        limits.push(BY_PORT_ALONE.to_owned());
    }
    limits
}
