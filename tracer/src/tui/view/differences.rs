//! What differs between two moments: A and B, or the first there was and the one on screen.

use std::collections::BTreeMap;

use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;
use tracer_common::state::TcpState;

use super::page::{Contents, Panel, panel_width};
use super::paint::{field, span, wrap};
use crate::aggregate::snapshot::{Direction, Fidelity, PortRow, Snapshot, States, Totals};
use crate::format;
use crate::sanitize::width;
use crate::time::clocks;
use crate::tui::columns::{Cells, ports};
use crate::tui::model::{Looks, Marked, Model, PortKey};

/// Ports named, those that changed most.
const PORTS: usize = 10;
/// Cells of the names on the left.
const NAMES: usize = 13;

/// One of the two moments.
struct Side<'a> {
    /// `A`, `B`, `start` or `here`.
    name: &'static str,
    snapshot: &'a Snapshot,
    /// 0 where it is not known.
    event_number: u64,
}

impl<'a> Side<'a> {
    fn of(name: &'static str, mark: &'a Marked) -> Self {
        Self { name, snapshot: &mark.snapshot, event_number: mark.event_number }
    }
}

pub(crate) fn contents(model: &Model, body: Rect) -> Contents {
    let Some(frame) = &model.frame else {
        return Contents { chart: None, panels: Vec::new(), one_column: true };
    };
    let [a, b] = &model.marks;
    let start = Side { name: "start", snapshot: &frame.first, event_number: 0 };
    let here = Side {
        name: "here",
        snapshot: &frame.view.snapshot,
        event_number: frame.view.event_number,
    };
    let a = a.as_ref().map_or(start, |mark| Side::of("A", mark));
    let b = b.as_ref().map_or(here, |mark| Side::of("B", mark));
    // Time runs forward, whatever was marked first.
    let (before, after) = if a.snapshot.time <= b.snapshot.time { (a, b) } else { (b, a) };
    let page = Page { looks: &model.looks, before, after, cells: panel_width(body).min(64) };
    Contents {
        chart: None,
        panels: vec![
            page.moments(),
            page.orphans(),
            page.ports(),
            page.memory(),
            page.states(),
            page.between(),
            page.rates(),
            page.counters(),
        ],
        one_column: false,
    }
}

struct Page<'a> {
    looks: &'a Looks,
    before: Side<'a>,
    after: Side<'a>,
    cells: usize,
}

impl Page<'_> {
    fn seconds(&self) -> f64 {
        let (from, to) = (self.before.snapshot.time.0, self.after.snapshot.time.0);
        to.saturating_sub(from) as f64 / 1e9
    }

    /// Three numbers in columns, after a name. What did not change is quiet.
    fn columns(&self, name: &str, columns: [&str; 3], style: Style) -> Line<'static> {
        let room = self.cells.saturating_sub(NAMES) / 3;
        let [before, after, change] = columns.map(|text| field(self.looks, text, room, false));
        let theme = &self.looks.theme;
        Line::from(vec![
            span(field(self.looks, name, NAMES, true), theme.dim),
            span(before, theme.text),
            span(after, theme.text),
            span(change, style),
        ])
    }

    fn heads(&self, last: &str) -> Line<'static> {
        self.columns("", [self.before.name, self.after.name, last], self.looks.theme.dim)
    }

    fn style(&self, changed: bool) -> Style {
        if changed { self.looks.theme.strong } else { self.looks.theme.dim }
    }

    /// A number at both moments and how it changed; in full where there is room.
    fn row(&self, name: &str, before: u64, after: u64) -> Line<'static> {
        let room = self.cells.saturating_sub(NAMES) / 3;
        let number = |number: u64| fitting(format::count(number), number as f64, room);
        let change = signed(before, after, room);
        let style = self.style(before != after);
        self.columns(name, [&number(before), &number(after), &change], style)
    }

    /// As [`Self::row`], in bytes.
    fn bytes(&self, name: &str, before: u64, after: u64) -> Line<'static> {
        let sign = if after > before { "+" } else { "-" };
        let change = match before.abs_diff(after) {
            0 => String::from("0"),
            change => format!("{sign}{}", format::bytes(change)),
        };
        let columns = [&*format::bytes(before), &*format::bytes(after), &change];
        self.columns(name, columns, self.style(before != after))
    }

    /// As [`Self::row`], of something a second; the last column is how many times as much.
    fn rate(&self, name: &str, before: f64, after: f64) -> Line<'static> {
        let times = if before >= 0.05 && after >= 0.05 {
            format!("x{}", format::short(after / before))
        } else {
            format::change(after - before)
        };
        let columns = [&*format::short(before), &*format::short(after), &times];
        let style = self.style(format::short(before) != format::short(after));
        self.columns(name, columns, style)
    }

    fn words(&self, name: &str, before: &str, after: &str) -> Line<'static> {
        let change = if before == after { "" } else { "changed" };
        self.columns(name, [before, after, change], self.style(before != after))
    }

    fn moments(&self) -> Panel {
        let theme = &self.looks.theme;
        let zone = &self.looks.zone;
        let day = |side: &Side<'_>| format::day(side.snapshot.time, zone);
        let same_day = day(&self.before) == day(&self.after);
        let clocks = clocks([self.before.snapshot.time, self.after.snapshot.time], zone);
        let moment = |side: &Side<'_>, clock: &str| {
            let mut text = clock.to_owned();
            if !same_day {
                text = format!("{} {text}", day(side));
            }
            if side.event_number > 0 {
                text.push_str(&format!("  @{}", side.event_number));
            }
            Line::from(vec![
                span(field(self.looks, side.name, NAMES, true), theme.key),
                span(text, theme.strong),
            ])
        };
        let apart = format::duration(self.seconds());
        let mut lines = vec![
            moment(&self.before, &clocks[0]),
            moment(&self.after, &clocks[1]),
            Line::from(vec![
                span(field(self.looks, "apart", NAMES, true), theme.dim),
                span(apart, theme.text),
            ]),
        ];
        if self.before.name == "start" || self.after.name == "here" {
            let text = "A and B mark other moments: go there and press them";
            let words = wrap(self.looks, text, self.cells, 3).into_iter();
            lines.extend(words.map(|text| Line::from(span(text, theme.dim))));
        }
        Panel { title: "compared", lines }
    }

    fn orphans(&self) -> Panel {
        let (a, b) = (&self.before.snapshot.orphans, &self.after.snapshot.orphans);
        let mut panel = Panel {
            title: "orphans",
            lines: vec![
                self.heads("change"),
                self.row("host", a.host, b.host),
                self.row("tracked", a.tracked, b.tracked),
                self.row(TcpState::FinWait1.ss_name(), a.by_state.fin_wait1, b.by_state.fin_wait1),
                self.row(TcpState::LastAck.ss_name(), a.by_state.last_ack, b.by_state.last_ack),
                self.row(TcpState::Closing.ss_name(), a.by_state.closing, b.by_state.closing),
                self.row(TcpState::FinWait2.ss_name(), a.by_state.fin_wait2, b.by_state.fin_wait2),
                self.bytes("memory", a.bytes, b.bytes),
                self.row("killed", a.killed, b.killed),
            ],
        };
        if let (Some(before), Some(after)) = (a.limit, b.limit) {
            panel.lines.push(self.row("limit", before, after));
        }
        panel
    }

    /// The services whose orphans changed most.
    fn ports(&self) -> Panel {
        let mut rows: BTreeMap<(u16, bool), (PortKey, u64, u64)> = BTreeMap::new();
        let mut note = |row: &PortRow, is_after: bool| {
            let key = PortKey::of(row);
            let outward = row.direction == Direction::Out;
            let entry = rows.entry((key.port, outward)).or_insert((key, 0, 0));
            if is_after { entry.2 = row.orphans } else { entry.1 = row.orphans }
        };
        self.before.snapshot.ports.iter().for_each(|row| note(row, false));
        self.after.snapshot.ports.iter().for_each(|row| note(row, true));
        let mut rows: Vec<(PortKey, u64, u64)> =
            rows.into_values().filter(|(_, before, after)| before != after).collect();
        rows.sort_by_key(|(_, before, after)| std::cmp::Reverse(before.abs_diff(*after)));
        let hidden = rows.len().saturating_sub(PORTS);
        let theme = &self.looks.theme;
        let fidelity = &self.after.snapshot.fidelity;
        let cells = Cells { symbols: self.looks.symbols, fidelity };
        let mut lines = vec![self.heads("change")];
        lines.extend(rows.iter().take(PORTS).map(|(key, before, after)| {
            self.row(&ports::place(key.port, key.direction, &cells), *before, *after)
        }));
        if rows.is_empty() {
            lines = vec![Line::from(span("the same on every port", theme.dim))];
        } else if hidden > 0 {
            lines.push(Line::from(span(format!("{hidden} more changed less"), theme.dim)));
        }
        Panel { title: "orphans by port", lines }
    }

    fn memory(&self) -> Panel {
        let (a, b) = (self.before.snapshot, self.after.snapshot);
        let bytes = |it: &Snapshot| it.tcp_mem.pages.saturating_mul(it.tcp_mem.page_bytes);
        Panel {
            title: "limits",
            lines: vec![
                self.heads("change"),
                self.bytes("tcp_mem", bytes(a), bytes(b)),
                self.words("its state", a.tcp_mem.state.name(), b.tcp_mem.state.name()),
                self.row("pressures", a.tcp_mem.entered, b.tcp_mem.entered),
                self.row("tw buckets", a.tw_buckets.now, b.tw_buckets.now),
            ],
        }
    }

    fn states(&self) -> Panel {
        let (a, b) = (&self.before.snapshot.states, &self.after.snapshot.states);
        type State = (TcpState, fn(&States) -> u64);
        let states: [State; 10] = [
            (TcpState::Established, |it| it.established),
            (TcpState::FinWait1, |it| it.fin_wait1),
            (TcpState::FinWait2, |it| it.fin_wait2),
            (TcpState::TimeWait, |it| it.time_wait),
            (TcpState::CloseWait, |it| it.close_wait),
            (TcpState::LastAck, |it| it.last_ack),
            (TcpState::Closing, |it| it.closing),
            (TcpState::SynSent, |it| it.syn_sent),
            (TcpState::SynRecv, |it| it.syn_recv),
            (TcpState::Listen, |it| it.listen),
        ];
        let mut lines = vec![self.heads("change")];
        lines.extend(states.iter().map(|(state, of)| self.row(state.ss_name(), of(a), of(b))));
        Panel { title: "sockets by state", lines }
    }

    /// What happened in between: the totals' difference, and how much that is a second.
    fn between(&self) -> Panel {
        let (a, b) = (&self.before.snapshot.totals, &self.after.snapshot.totals);
        let seconds = self.seconds();
        let room = self.cells.saturating_sub(NAMES) / 3;
        type Total = (&'static str, &'static str, fn(&Totals) -> u64);
        let totals: [Total; 6] = [
            ("opened", "state", |it| it.opened),
            ("closed", "state", |it| it.closed),
            ("orphaned", "orphan_begin", |it| it.orphaned),
            ("to TIME-WAIT", "time_wait", |it| it.time_wait),
            ("RST in", "reset_in", |it| it.resets_in),
            ("RST out", "reset_out", |it| it.resets_out),
        ];
        let mut lines = vec![self.columns("", ["", "sockets", "/s"], self.looks.theme.dim)];
        lines.extend(totals.iter().map(|(name, signal, of)| {
            if !self.is_counted(signal) {
                return self.columns(name, ["", "-", "-"], self.style(false));
            }
            let number = of(b).saturating_sub(of(a));
            let count = fitting(format::count(number), number as f64, room);
            let rate = if seconds > 0.0 { number as f64 / seconds } else { f64::NAN };
            self.columns(name, ["", &count, &format::short(rate)], self.style(number > 0))
        }));
        Panel { title: "in between", lines }
    }

    fn rates(&self) -> Panel {
        let (a, b) = (self.before.snapshot, self.after.snapshot);
        let (x, y) = (&a.totals_per_s, &b.totals_per_s);
        let growth = |it: &Snapshot| it.orphans.growth_per_s;
        Panel {
            title: "a second, then and then",
            lines: vec![
                self.heads("times"),
                self.total_rate("opened", "state", x.opened, y.opened),
                self.total_rate("closed", "state", x.closed, y.closed),
                self.total_rate("orphaned", "orphan_begin", x.orphaned, y.orphaned),
                match (growth(a), growth(b)) {
                    (Some(before), Some(after)) => self.rate("orphans +", before, after),
                    (before, after) => {
                        self.words("orphans +", &format::growth(before), &format::growth(after))
                    }
                },
                self.total_rate("RST in", "reset_in", x.resets_in, y.resets_in),
                self.total_rate("RST out", "reset_out", x.resets_out, y.resets_out),
            ],
        }
    }

    /// Whether a signal's occurrences are counted; else there is no number to show.
    fn is_counted(&self, signal: &str) -> bool {
        let fidelity = &self.after.snapshot.fidelity;
        let cells = Cells { symbols: self.looks.symbols, fidelity };
        cells.trust_in_total(signal) != Fidelity::Absent
    }

    fn total_rate(&self, name: &str, signal: &str, before: f64, after: f64) -> Line<'static> {
        if self.is_counted(signal) {
            self.rate(name, before, after)
        } else {
            self.columns(name, ["-", "-", "-"], self.style(false))
        }
    }

    fn counters(&self) -> Panel {
        let (a, b) = (&self.before.snapshot.counters, &self.after.snapshot.counters);
        let theme = &self.looks.theme;
        let room = self.cells.saturating_sub(12);
        // The names are longer than those of the other panels, and the difference is what counts.
        let mut lines: Vec<Line<'static>> = b
            .iter()
            .map(|(name, after)| {
                let before = a.get(name).copied().unwrap_or(0);
                let change = signed(before, *after, 12);
                Line::from(vec![
                    span(field(self.looks, name, room, true), theme.dim),
                    span(field(self.looks, &change, 12, false), self.style(before != *after)),
                ])
            })
            .collect();
        if lines.is_empty() {
            lines.push(Line::from(span("none recorded", theme.dim)));
        }
        Panel { title: "kernel counters in between", lines }
    }
}

/// The exact number, or a short one where that is too long for a column.
fn fitting(exact: String, number: f64, room: usize) -> String {
    if width(&exact) < room { exact } else { format::short(number) }
}

/// `+84,300`, `-12`, `0`.
fn signed(before: u64, after: u64, room: usize) -> String {
    let size = before.abs_diff(after);
    let sign = match before.cmp(&after) {
        std::cmp::Ordering::Less => "+",
        std::cmp::Ordering::Equal => "",
        std::cmp::Ordering::Greater => "-",
    };
    let exact = format!("{sign}{}", format::count(size));
    if width(&exact) < room { exact } else { format!("{sign}{}", format::short(size as f64)) }
}
