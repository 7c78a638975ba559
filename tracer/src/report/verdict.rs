//! What the report says in one sentence, and how far it can be trusted.

use jiff::tz::TimeZone;

use super::collect::Rest;
use super::model::{Environment, Impact, Range, Verdict};
use super::words;
use crate::aggregate::snapshot::{Lost, Snapshot};
use crate::filter::{BY_PORT_ALONE, Filter};
use crate::format::{count, duration, percent_of};

/// What the sentence is made of.
pub(super) struct Facts<'a> {
    pub(super) impact: &'a Impact,
    pub(super) worst: &'a Snapshot,
    /// Whether anything was wrong.
    pub(super) incident: bool,
    pub(super) range: Range,
    pub(super) zone: &'a TimeZone,
}

/// The sentence: the worst finding's, and what was lost.
pub(super) fn verdict(facts: &Facts<'_>) -> Verdict {
    let Facts { worst, zone, .. } = facts;
    if !facts.incident {
        return Verdict { severity: worst.verdict.severity, sentence: calm(facts) };
    }
    let (severity, text) = (worst.verdict.severity, &worst.verdict.text);
    let sentence = format!("At {}: {text}.{}", worst.time.clock(zone), lost(facts.impact));
    Verdict { severity, sentence }
}

/// What was lost in the whole range: ` In all the kernel killed 274 orphans.`
fn lost(impact: &Impact) -> String {
    let parts: Vec<String> = [
        ("killed", impact.killed, "orphans"),
        ("dropped", impact.listen_drops, "handshakes"),
        ("closed", impact.time_wait_overflows, "connections without TIME-WAIT"),
    ]
    .into_iter()
    .filter(|(_, number, _)| *number > 0)
    .map(|(did, number, what)| format!("{did} {} {what}", count(number)))
    .collect();
    match parts.as_slice() {
        [] => " The kernel killed and dropped nothing.".to_owned(),
        parts => format!(" In all the kernel {}.", parts.join(", ")),
    }
}

/// Nothing was wrong.
fn calm(facts: &Facts<'_>) -> String {
    let worst = facts.worst;
    format!(
        "Nothing ran out in {}: at most {}, and TCP's memory at {} of its limit.",
        duration(facts.range.seconds),
        words::orphans_of(worst.orphans.host, worst.orphans.limit),
        percent_of(worst.tcp_mem.pages, worst.tcp_mem.high)
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
