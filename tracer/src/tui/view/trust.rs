//! What the numbers are worth: fidelity of each signal, what was lost, what we cost.

use ratatui::text::Line;

use super::header::kinds;
use super::paint::{field, span, wrap};
use crate::aggregate::snapshot::{Fidelity, Snapshot, SourceKind};
use crate::format;
use crate::tui::model::{Looks, Model};

/// Gaps of a trace listed one by one.
const MOST_GAPS: usize = 20;

pub(crate) fn lines(model: &Model, cells: usize) -> Vec<Line<'static>> {
    let looks = &model.looks;
    let Some(snapshot) = model.shown() else {
        return vec![Line::from(span("no data yet", looks.theme.dim))];
    };
    let mut lines = unseen(looks, snapshot, cells);
    lines.extend(fidelity(looks, snapshot, cells));
    lines.push(Line::default());
    lines.extend(losses(looks, snapshot, cells));
    lines.push(Line::default());
    let gaps = model.frame.as_ref().map_or(&[] as &[_], |frame| &frame.timeline.gaps);
    if !gaps.is_empty() {
        lines.push(Line::from(span("gaps in the trace", looks.theme.title)));
        for gap in gaps.iter().take(MOST_GAPS) {
            let text = looks.symbols.clean(&gap.text);
            let words = wrap(looks, &text, cells, 3).into_iter();
            lines.extend(words.map(|text| Line::from(span(text, looks.theme.lost))));
        }
        if gaps.len() > MOST_GAPS {
            let more = format::count((gaps.len() - MOST_GAPS) as u64);
            lines.push(Line::from(span(format!("and {more} more"), looks.theme.lost)));
        }
        lines.push(Line::default());
    }
    lines.extend(cost(looks, snapshot, cells));
    lines
}

/// Name, value and words; the words below where the line is short.
fn entry(
    looks: &Looks,
    name: &str,
    value: &str,
    loud: bool,
    text: &str,
    cells: usize,
) -> Vec<Line<'static>> {
    const NAME: usize = 16;
    const VALUE: usize = 12;
    let style = if loud { looks.theme.lost } else { looks.theme.strong };
    let beside = cells >= 60;
    let indent = if beside { NAME + VALUE } else { 2 };
    let mut words = wrap(looks, text, cells.saturating_sub(indent), 4).into_iter();
    let first = if beside { words.next() } else { None };
    let mut lines = vec![Line::from(vec![
        span(field(looks, name, NAME, true), looks.theme.dim),
        span(field(looks, value, VALUE, true), style),
        span(first.unwrap_or_default(), looks.theme.text),
    ])];
    lines.extend(words.map(|text| {
        Line::from(vec![span(" ".repeat(indent), looks.theme.text), span(text, looks.theme.text)])
    }));
    lines
}

/// What no signal has: first, because it is most.
fn unseen(looks: &Looks, snapshot: &Snapshot, cells: usize) -> Vec<Line<'static>> {
    if snapshot.unseen.is_empty() {
        return Vec::new();
    }
    let title = if snapshot.is_sampled() { "not seen, without BPF" } else { "not known here" };
    let mut lines = vec![Line::from(span(title, looks.theme.title))];
    for unseen in &snapshot.unseen {
        let words = wrap(looks, unseen, cells.saturating_sub(2), 3).into_iter().enumerate();
        lines.extend(words.map(|(at, text)| {
            let lead = if at == 0 { "- " } else { "  " };
            Line::from(span(format!("{lead}{text}"), looks.theme.text))
        }));
    }
    lines.push(Line::default());
    lines
}

fn fidelity(looks: &Looks, snapshot: &Snapshot, cells: usize) -> Vec<Line<'static>> {
    let mut lines = vec![Line::from(span("signals", looks.theme.title))];
    for (signal, fidelity) in &snapshot.fidelity {
        let mark = looks.symbols.fidelity(*fidelity);
        let value = format!("{}{}{mark}", fidelity.name(), if mark.is_empty() { "" } else { " " });
        let loud = *fidelity == Fidelity::Absent;
        lines.extend(entry(looks, signal, &value, loud, affects(signal), cells));
    }
    if snapshot.fidelity.is_empty() {
        let text = "none reported";
        lines.push(Line::from(span(text, looks.theme.dim)));
    }
    lines
}

/// Which numbers rest on a signal.
fn affects(signal: &str) -> &'static str {
    match signal {
        "state" => "populations by state, opened, closed, time in FIN-WAIT-1",
        "orphan_begin" => "orphans, orphaned, their growth and memory",
        "orphan_end" => "orphans, how they ended",
        "end_reason" => "why orphans ended, for what they were killed",
        "reset_reason" => "why resets were sent",
        "time_wait" => "TIME-WAIT, FIN-WAIT-2 as minisockets",
        "time_wait_end" => "why minisockets ended",
        "mem_refused" => "memory refused to sockets",
        "accept_overflow" => "connections refused at a full accept queue",
        "listen_drops" => "what listeners dropped",
        "mem_pressure" => "the word beside the tcp_mem bar",
        "owner" => "process names, the processes table",
        "accept_owner" => "whose a socket is until it is closed",
        "reset" | "reset_in" | "reset_out" => "resets",
        _ => "",
    }
}

fn losses(looks: &Looks, snapshot: &Snapshot, cells: usize) -> Vec<Line<'static>> {
    let mut lines = vec![Line::from(span("lost since tracing began", looks.theme.title))];
    // Nothing is counted, so nothing that was is lost.
    let lost = if snapshot.is_sampled() { None } else { Some(kinds(&snapshot.lost)) };
    if lost.is_none() {
        lines = vec![Line::from(span("held against the kernel", looks.theme.title))];
    }
    for (kind, number) in lost.into_iter().flatten() {
        let affected = match kind {
            "detail" => "single events had no room; totals and states are not affected",
            "untracked" => "sockets had no room in the table; missing in states and totals",
            "missed" => "the kernel skipped a program; changes were not seen",
            _ => "sockets had no room for their group; counted in the row other",
        };
        let text = if number == 0 { "nothing" } else { affected };
        let count = format::count(number);
        lines.extend(entry(looks, kind, &count, number > 0, text, cells));
    }
    if let Some(unseen) = snapshot.resets_out_unseen.filter(|unseen| *unseen > 0) {
        let text = "sent for no full socket: in the kernel's TcpOutRsts, not in our resets sent";
        lines.extend(entry(looks, "resets", &format::count(unseen), true, text, cells));
    }
    let drift = snapshot.orphans.drift;
    let text = "our orphans minus the kernel's, whole host";
    lines.extend(entry(looks, "drift", &format!("{drift:+}"), drift != 0, text, cells));
    lines
}

fn cost(looks: &Looks, snapshot: &Snapshot, cells: usize) -> Vec<Line<'static>> {
    let cost = &snapshot.own_cost;
    let (title, text) = match snapshot.source {
        SourceKind::Live => ("own cost", "of one cpu, this process"),
        SourceKind::Trace => ("what recording cost", "of one cpu, the process that recorded"),
    };
    let mut lines = vec![Line::from(span(title, looks.theme.title))];
    let cpu = format!("{:.1}%", cost.cpu_percent);
    lines.extend(entry(looks, "cpu", &cpu, false, text, cells));
    let memory = format::bytes(cost.rss_bytes);
    lines.extend(entry(looks, "memory", &memory, false, "resident", cells));
    if !snapshot.is_sampled() {
        let events = format!("{}/s", format::short(cost.events_per_s));
        let text = "state changes counted in the kernel";
        lines.extend(entry(looks, "events", &events, false, text, cells));
    }
    lines
}
