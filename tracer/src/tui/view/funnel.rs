//! Where sockets are on their way out: populations by state and how fast they change.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;
use tracer_common::state::TcpState;

use super::paint::{field, put, put_all, span};
use crate::aggregate::snapshot::{OrphanStates, Snapshot};
use crate::format;
use crate::sanitize::width;
use crate::tui::columns::Cells;
use crate::tui::model::{Looks, Model};

/// A state with its number and change.
struct Stage {
    name: &'static str,
    count: String,
    rate: String,
}

/// ESTAB, then our way out (FIN-WAIT-1, FIN-WAIT-2, TIME-WAIT), the peer's (CLOSE-WAIT,
/// LAST-ACK), and both at once (CLOSING).
fn stages(snapshot: &Snapshot, looks: &Looks) -> [Stage; 7] {
    let cells = Cells { symbols: looks.symbols, fidelity: &snapshot.fidelity };
    let (now, change) = (&snapshot.states, &snapshot.states_per_s);
    let stage = |state: TcpState, count: u64, per_second: f64| {
        let signal = if state == TcpState::TimeWait { "time_wait" } else { "state" };
        Stage {
            name: state.ss_name(),
            count: cells.count(signal, count),
            rate: cells.mark(cells.trust(signal), &format!("{}/s", format::change(per_second))),
        }
    };
    let mut time_wait = stage(TcpState::TimeWait, now.time_wait, change.time_wait);
    if is_full(snapshot) {
        time_wait.rate = String::from("FULL");
    }
    [
        stage(TcpState::Established, now.established, change.established),
        stage(TcpState::FinWait1, now.fin_wait1, change.fin_wait1),
        stage(TcpState::FinWait2, now.fin_wait2, change.fin_wait2),
        time_wait,
        stage(TcpState::CloseWait, now.close_wait, change.close_wait),
        stage(TcpState::LastAck, now.last_ack, change.last_ack),
        stage(TcpState::Closing, now.closing, change.closing),
    ]
}

/// Whether new minisockets are refused.
pub(crate) const fn is_full(snapshot: &Snapshot) -> bool {
    snapshot.tw_buckets.limit > 0 && snapshot.tw_buckets.now >= snapshot.tw_buckets.limit
}

/// Three lines: names, numbers, changes. For 80 columns and more.
pub(crate) fn compact(model: &Model, area: Rect, buf: &mut Buffer) {
    let looks = &model.looks;
    let Some(snapshot) = model.shown() else {
        return;
    };
    let stages = stages(snapshot, looks);
    let cell = (usize::from(area.width) - usize::from(area.width > 0)) / stages.len();
    let [mut names, mut counts, mut rates] = [const { Vec::new() }; 3];
    for (at, stage) in stages.iter().enumerate() {
        // The peer's way begins at CLOSE-WAIT; before it stands a bar, not an arrow.
        let arrow = match at {
            0 => " ",
            4 | 6 => looks.symbols.column(),
            _ => looks.symbols.next_state(),
        };
        let text = |text: &str| field(looks, text, cell.saturating_sub(1), true);
        names.push(span(arrow, looks.theme.border));
        names.push(span(text(stage.name), looks.theme.dim));
        counts.push(span(format!(" {}", text(&stage.count)), looks.theme.strong));
        rates.push(span(format!(" {}", text(&stage.rate)), looks.theme.text));
    }
    put_all(buf, area, &[Line::from(names), Line::from(counts), Line::from(rates)]);
}

/// Names and numbers one after the other, for narrow screens.
pub(crate) fn list(model: &Model, cells: usize) -> Vec<Line<'static>> {
    let looks = &model.looks;
    let Some(snapshot) = model.shown() else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    let mut line = Line::default();
    for stage in stages(snapshot, looks) {
        // Hardly ever there, and a line is much here.
        if stage.name == TcpState::Closing.ss_name() && snapshot.states.closing == 0 {
            continue;
        }
        let full = if stage.rate == "FULL" { " FULL" } else { "" };
        let number = format!(" {}{full}  ", stage.count);
        let needed = width(stage.name) + width(&number) - 1;
        if line.width() > 0 && line.width() + needed > cells {
            lines.push(std::mem::take(&mut line));
        }
        let lead = if line.width() == 0 { " " } else { "" };
        line.push_span(span(format!("{lead}{}", stage.name), looks.theme.dim));
        line.push_span(span(number, looks.theme.strong));
    }
    lines.push(line);
    lines
}

/// Two branches down, with arrows; stretches to the height there is.
pub(crate) fn tall(model: &Model, area: Rect, buf: &mut Buffer) {
    let looks = &model.looks;
    let Some(snapshot) = model.shown() else {
        return;
    };
    let [estab, fin_wait1, fin_wait2, time_wait, close_wait, last_ack, closing] =
        stages(snapshot, looks);
    let half = usize::from(area.width) / 2;
    let theme = &looks.theme;
    let number = |stage: &Stage| format!("{}  {}", stage.count, stage.rate);
    let pair = |left: String, right: String, style| {
        Line::from(vec![
            span(field(looks, &format!(" {left}"), half, true), style),
            span(right, style),
        ])
    };
    let names = |a: &Stage, b: &Stage| pair(a.name.to_owned(), b.name.to_owned(), theme.dim);
    let numbers = |a: &Stage, b: &Stage| {
        let text = |stage| format!("  {}", number(stage));
        pair(text(a), text(b), theme.strong)
    };
    let column = looks.symbols.column();
    let down = looks.symbols.down();
    let arrows = || pair(format!("  {down}"), format!("  {down}"), theme.border);
    let cells = Cells { symbols: looks.symbols, fidelity: &snapshot.fidelity };
    let happened = |rate| match cells.per_s("state", rate).as_str() {
        "-" => String::from("-"),
        rate => format!("{rate}/s"),
    };
    let opened = happened(snapshot.totals_per_s.opened);
    let closed = happened(snapshot.totals_per_s.closed);

    let mut lines = vec![
        Line::from(vec![
            span(format!(" {} ", estab.name), theme.dim),
            span(estab.count.clone(), theme.strong),
            span(format!("  {}  ", estab.rate), theme.text),
            span(format!("{opened} opened"), theme.dim),
        ]),
        pair(format!("  {column} we close"), format!("  {column} peer closes"), theme.border),
        arrows(),
        names(&fin_wait1, &close_wait),
        numbers(&fin_wait1, &close_wait),
        arrows(),
        names(&fin_wait2, &last_ack),
        numbers(&fin_wait2, &last_ack),
        arrows(),
        Line::from(vec![
            span(field(looks, &format!(" {}", time_wait.name), half, true), theme.dim),
            span(format!("closed {closed}"), theme.dim),
        ]),
        Line::from(span(format!("   {}", number(&time_wait)), theme.strong)),
    ];
    let orphans = orphan_shares(snapshot, looks, usize::from(area.width));
    let free = usize::from(area.height).saturating_sub(lines.len());
    if free > 1 {
        lines.push(Line::from(vec![
            span(format!(" {}", closing.name), theme.dim),
            span(format!(" {} ", closing.count), theme.strong),
            span("(both sides at once)", theme.dim),
        ]));
    }
    put_all(buf, area, &lines);
    if free > 2 {
        put(buf, area, area.height - 1, &orphans);
    }
}

/// `orphans: FIN-WAIT-1 99.8%, LAST-ACK <1%`.
fn orphan_shares(snapshot: &Snapshot, looks: &Looks, cells: usize) -> Line<'static> {
    let states = orphan_states(&snapshot.orphans.by_state);
    let total = states.iter().map(|(_, number)| *number).fold(0, u64::saturating_add);
    let shares: Vec<String> = states
        .iter()
        .filter(|(_, number)| *number > 0)
        .map(|(name, number)| format!("{name} {}", format::percent(*number, total)))
        .collect();
    let text = if shares.is_empty() {
        String::from(" no orphans")
    } else {
        let wanted = |count: usize| format!(" orphans: {}", shares[..count].join(", "));
        let fitting = (1..=shares.len()).rev().map(wanted);
        let mut fitting = fitting.skip_while(|text| width(text) > cells);
        fitting.next().unwrap_or_default()
    };
    Line::from(span(text, looks.theme.text))
}

/// The states an orphan can be in, largest share first.
pub(crate) fn orphan_states(states: &OrphanStates) -> Vec<(&'static str, u64)> {
    let mut states = vec![
        (TcpState::FinWait1.ss_name(), states.fin_wait1),
        (TcpState::LastAck.ss_name(), states.last_ack),
        (TcpState::Closing.ss_name(), states.closing),
        (TcpState::FinWait2.ss_name(), states.fin_wait2),
    ];
    states.sort_by_key(|(_, number)| std::cmp::Reverse(*number));
    states
}
