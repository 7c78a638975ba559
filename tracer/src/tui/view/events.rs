//! Single events before the moment, newest first: what happened to which socket, and whose it was.

use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;
use tracer_common::counters::OrphanEnd;
use tracer_common::state::TcpState;

use super::header::process_name;
use super::page::{Contents, Panel};
use super::paint::{field, span, wrap};
use crate::event::{Event, EventKind};
use crate::format::count;
use crate::playback::View;
use crate::tui::model::{Looks, Model};

pub(crate) const TITLE: &str = "events before this moment, newest first";

/// The page of all of them.
pub(crate) fn contents(model: &Model, body: Rect) -> Contents {
    let cells = usize::from(body.width).saturating_sub(2);
    let mut lines = lines(model, cells, usize::MAX);
    if lines.is_empty() {
        let text = "none before this moment. A live screen keeps no single events, a trace does, as \
                    far as they were recorded";
        let words = wrap(&model.looks, text, cells, 4).into_iter();
        lines = words.map(|text| Line::from(span(text, model.looks.theme.dim))).collect();
    }
    let lost = model.shown().map_or(0, |snapshot| snapshot.lost.detail);
    if lost > 0 {
        let text = format!("{} events were lost: some are missing here", count(lost));
        lines.insert(0, Line::from(span(text, model.looks.theme.lost)));
    }
    Contents { chart: None, panels: vec![Panel { title: TITLE, lines }], one_column: true }
}

/// The newest `rows`.
pub(crate) fn lines(model: &Model, cells: usize, rows: usize) -> Vec<Line<'static>> {
    let Some(frame) = &model.frame else {
        return Vec::new();
    };
    let view = &frame.view;
    // The last has the number before the next one's.
    let numbers = (0..view.event_number).rev().map(Some).chain(std::iter::repeat(None));
    let columns = Columns::of(cells);
    let newest = view.events.iter().rev().zip(numbers).take(rows);
    newest.map(|(event, number)| columns.line(model, view, event, number)).collect()
}

/// What finds room beside the time and what happened.
struct Columns {
    /// The number to go to.
    number: bool,
    /// Cells of the peer; 0 without.
    peer: usize,
    /// Cells of what happened.
    what: usize,
    millis: bool,
    /// Cells of the owner; 0 without.
    owner: usize,
}

impl Columns {
    const fn of(cells: usize) -> Self {
        match cells {
            0..54 => Self { number: false, peer: 0, what: 20, millis: false, owner: 0 },
            54..72 => Self { number: false, peer: 21, what: 20, millis: false, owner: 0 },
            // Time, port, gaps and the rest take 64.
            72..90 => Self { number: false, peer: 21, what: 20, millis: true, owner: cells - 64 },
            90..132 => Self { number: false, peer: 27, what: 20, millis: true, owner: cells - 70 },
            _ => Self { number: true, peer: 46, what: 20, millis: true, owner: 24 },
        }
    }

    fn line(
        &self,
        model: &Model,
        view: &View,
        event: &Event,
        number: Option<u64>,
    ) -> Line<'static> {
        let looks = &model.looks;
        let at = view.anchor.wall(event.at);
        let clock = at.clock_micros(&looks.zone);
        // To the millisecond, or the second: the rest is cut off, not rounded.
        let clock: String = clock.chars().take(if self.millis { 12 } else { 8 }).collect();
        let port = format!(":{}", event.local.1);
        let mut spans = vec![
            span(format!(" {clock} "), looks.theme.dim),
            span(field(looks, &port, 7, true), looks.theme.strong),
        ];
        if self.peer > 0 {
            let (address, port) = event.peer;
            let peer = std::net::SocketAddr::new(address.to_canonical(), port).to_string();
            spans.push(span(field(looks, &peer, self.peer, true), looks.theme.text));
            spans.push(span(" ", looks.theme.text));
        }
        let (what, style) = what(looks, event.kind);
        spans.push(span(field(looks, &what, self.what, true), style));
        if self.owner > 0 {
            let owner = event.owner.as_deref();
            let owner = owner.map_or(String::from("-"), |owner| {
                process_name(model, Some(owner.pid), Some(&owner.comm))
            });
            spans.push(span(
                format!(" {}", field(looks, &owner, self.owner, true)),
                looks.theme.text,
            ));
        }
        if let Some(number) = number.filter(|_| self.number) {
            spans.push(span(format!(" @{number}"), looks.theme.dim));
        }
        Line::from(spans)
    }
}

/// As the heads of the tables have it: two of them stand in one column.
const fn brief(state: TcpState) -> &'static str {
    match state {
        TcpState::FinWait1 => "FINW1",
        TcpState::FinWait2 => "FINW2",
        TcpState::TimeWait => "TIMEW",
        TcpState::CloseWait => "CLOSEW",
        TcpState::LastAck => "LASTA",
        TcpState::Closing => "CLSNG",
        state => state.ss_name(),
    }
}

/// What happened, in words; what should not happen stands out.
fn what(looks: &Looks, kind: EventKind) -> (String, Style) {
    let theme = &looks.theme;
    match kind {
        EventKind::State { old, new } => {
            let to = looks.symbols.next_state();
            (format!("{} {to} {}", brief(old), brief(new)), theme.text)
        }
        EventKind::Close => (String::from("close()"), theme.text),
        EventKind::OrphanBegin { state } => (format!("orphan, {}", state.ss_name()), theme.note),
        EventKind::OrphanEnd { reason, detail, cause } => {
            let style = match reason {
                OrphanEnd::Killed => theme.crit,
                OrphanEnd::PeerReset | OrphanEnd::TimedOut => theme.warn,
                _ => theme.text,
            };
            let detail = detail.name().map_or_else(String::new, |detail| format!(", {detail}"));
            let cause = cause.map_or_else(String::new, |it| format!(", {}", it.words()));
            (format!("ended: {}{detail}{cause}", reason.name()), style)
        }
        EventKind::TimeWaitBegin { .. } => (String::from("becomes minisocket"), theme.text),
        EventKind::TimeWaitEnd { reason, .. } => {
            (format!("minisocket ended: {}", reason.name()), theme.text)
        }
        EventKind::ResetIn => (String::from("RST received"), theme.warn),
        EventKind::ResetOut { reason } => {
            let why = reason.map_or_else(String::new, |reason| format!(": {}", reason.name()));
            (format!("RST sent{why}"), theme.warn)
        }
        EventKind::Pressure { began } => {
            let what = if began { "begins" } else { "ends" };
            (format!("memory pressure {what}"), theme.warn)
        }
    }
}
