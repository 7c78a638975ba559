//! Screen 2: one service. In which state do its sockets hang, for how long, because of whom?

use ratatui::layout::Rect;
use ratatui::text::Line;
use tracer_common::state::TcpState;

use super::chart::Chart;
use super::funnel::orphan_states;
use super::page::{Contents, Panel, panel_width};
use super::paint::{fact, field, span, wrap};
use super::port_details;
use crate::aggregate::snapshot::{
    BadEnd, Direction, Fidelity, OrphanEnds, PortRow, Snapshot, States, Totals,
};
use crate::format;
use crate::tui::columns::{Cells, ports};
use crate::tui::model::{Looks, Model, PortKey};

/// Orphans that ended badly named on the page.
const BAD_ENDS: usize = 6;

/// Everything about the service `key`.
pub(crate) fn contents(model: &Model, key: PortKey, body: Rect) -> Contents {
    let looks = &model.looks;
    let cells = panel_width(body);
    let (Some(snapshot), Some(row)) = (model.shown(), model.find_port(key)) else {
        let when = if model.is_now() { "any more" } else { "at this moment" };
        return gone(looks, &format!("no connection on port {} {when}", key.port), cells);
    };
    let write = Writer::new(looks, snapshot, cells);
    let place = ports::place(key.port, key.direction, &write.cells);
    let chart = Chart::of_port(snapshot, row, model.zoom_s()).ending(model);
    Contents {
        chart: Some((chart, format!("orphans of {place}"))),
        panels: [
            write.who(row),
            write.orphans(row),
            write.peers(row),
            write.ends(&row.orphan_ends),
            write.bad_ends(snapshot, row),
            write.fin_wait1(row),
            write.states(&row.states, true),
            write.totals(&row.totals),
        ]
        .into_iter()
        .chain(port_details::panels(&write, row))
        .collect(),
        one_column: false,
    }
}

/// A page whose subject has vanished.
pub(crate) fn gone(looks: &Looks, text: &str, cells: usize) -> Contents {
    let lines = wrap(looks, text, cells, 3);
    let line = |text| Line::from(span(text, looks.theme.dim));
    Contents {
        chart: None,
        panels: vec![Panel { title: "not there", lines: lines.into_iter().map(line).collect() }],
        one_column: false,
    }
}

/// Writes the panels that ports and processes have in common.
pub(crate) struct Writer<'a> {
    pub(crate) looks: &'a Looks,
    pub(crate) cells: Cells<'a>,
    pub(crate) width: usize,
}

impl<'a> Writer<'a> {
    pub(crate) const fn new(looks: &'a Looks, snapshot: &'a Snapshot, width: usize) -> Self {
        let cells = Cells { symbols: looks.symbols, fidelity: &snapshot.fidelity };
        Self { looks, cells, width }
    }

    pub(crate) fn fact(&self, label: &str, value: &str) -> Line<'static> {
        let style = if value == "0" || value == "-" {
            self.looks.theme.dim
        } else {
            self.looks.theme.strong
        };
        // Numbers far from their names are hard to follow on a wide screen.
        fact(self.looks, label, value, style, self.width.min(52))
    }

    /// A number with its share of `total` in a column of its own.
    pub(crate) fn shared(&self, label: &str, number: &str, part: u64, total: u64) -> Line<'static> {
        let share = if part == 0 { String::new() } else { format::percent(part, total) };
        let share = field(self.looks, &share, 7, false);
        let mut line = fact(
            self.looks,
            label,
            number,
            if part == 0 { self.looks.theme.dim } else { self.looks.theme.strong },
            self.width.min(52).saturating_sub(7),
        );
        line.push_span(span(share, self.looks.theme.dim));
        line
    }

    /// The last orphans that ended badly, and whose they were.
    fn bad_ends(&self, snapshot: &Snapshot, row: &PortRow) -> Panel {
        let ours = |end: &&BadEnd| match row.direction {
            Direction::In => end.port == row.port,
            Direction::Out => end.peer.port() == row.port,
        };
        let mut lines: Vec<Line<'static>> = snapshot
            .bad_ends
            .iter()
            .rev()
            .filter(ours)
            .take(BAD_ENDS)
            .map(|end| {
                let clock = end.time.clock(&self.looks.zone);
                let mut spans = vec![
                    span(format!("{clock} "), self.looks.theme.dim),
                    span(format!("{:<10} ", end.reason), self.looks.theme.strong),
                    span(end.peer.to_string(), self.looks.theme.text),
                ];
                if let Some(cause) = end.cause {
                    let cause = cause.replace('_', " ");
                    spans.push(span(format!(" {cause}"), self.looks.theme.dim));
                }
                Line::from(spans)
            })
            .collect();
        if lines.is_empty() {
            lines.push(Line::from(span("none lately", self.looks.theme.dim)));
        }
        Panel { title: "last bad ends", lines }
    }

    fn who(&self, row: &PortRow) -> Panel {
        let owner = row.owner.as_ref();
        let mut owner = owner.map_or(String::from("unknown"), |owner| self.cells.owner(owner));
        if row.more_owners > 0 {
            owner = format!("{owner} +{} more", row.more_owners);
        }
        if row.owner_unchecked > 0 {
            owner = format!("{owner}, {} not searched for yet", row.owner_unchecked);
        }
        let per_second = |signal: &str, rate: f64| {
            let text = format!("{}/s", format::short(rate));
            self.cells.mark(self.cells.trust_in_total(signal), &text)
        };
        let (opened, closed) =
            (per_second("state", row.opened_per_s), per_second("state", row.closed_per_s));
        let resets = per_second("reset", row.resets_per_s);
        let side = match row.direction {
            Direction::In => "in: peers connect to us",
            Direction::Out => "out: we connect to it",
        };
        let workload = row.workload.as_deref();
        let workload = workload.map(|name| self.fact("workload", &self.looks.symbols.clean(name)));
        let facts = [
            self.fact("direction", side),
            self.fact("opened / closed", &format!("{opened} / {closed}")),
            self.fact("resets", &resets),
        ];
        let lines = [self.fact("owner", &owner)].into_iter().chain(workload).chain(facts);
        Panel { title: "who", lines: lines.collect() }
    }

    fn orphans(&self, row: &PortRow) -> Panel {
        let each = row.orphan_bytes.checked_div(row.orphans).map_or("-".into(), format::bytes);
        let growth = format!("{}/s", format::growth(row.growth_per_s));
        let mut lines = vec![
            self.fact("now", &self.cells.orphans(row.orphans)),
            self.fact("growth", &self.cells.orphan_text(&growth)),
            self.fact("memory", &self.cells.orphan_text(&format::bytes(row.orphan_bytes))),
            self.fact("each", &self.cells.orphan_text(&each)),
        ];
        let states = orphan_states(&row.orphans_by_state);
        for (name, number) in states.into_iter().filter(|(_, number)| *number > 0) {
            let label = format!("in {name}");
            lines.push(self.shared(&label, &self.cells.orphans(number), number, row.orphans));
        }
        Panel { title: "orphans", lines }
    }

    pub(crate) fn ends(&self, ends: &OrphanEnds) -> Panel {
        let ways = [
            ("acked (clean)", ends.acked),
            ("became TIME-WAIT", ends.time_wait),
            ("reset by the peer", ends.peer_reset),
            ("retries used up", ends.timed_out),
            ("killed by the kernel", ends.killed),
            ("other", ends.other),
        ];
        let total = ways.iter().map(|(_, number)| *number).fold(0, u64::saturating_add);
        let trust = self.cells.trust_in_total("orphan_end");
        let line = |(label, number): &(&str, u64)| {
            let text = self.cells.mark(trust, &format::count(*number));
            self.shared(label, &text, *number, total)
        };
        Panel { title: "how orphans ended", lines: ways.iter().map(line).collect() }
    }

    fn fin_wait1(&self, row: &PortRow) -> Panel {
        let times = &row.fin_wait1_ms;
        let line = |label, ms| self.fact(label, &self.cells.millis(ports::measured(row, ms)));
        Panel {
            title: "time spent in FIN-WAIT-1",
            lines: vec![line("p50", times.p50), line("p99", times.p99), line("longest", times.max)],
        }
    }

    /// Minisockets belong to services, but to no process.
    pub(crate) fn states(&self, states: &States, minisockets: bool) -> Panel {
        let all = [
            (TcpState::Listen, states.listen, "state"),
            (TcpState::SynSent, states.syn_sent, "state"),
            (TcpState::SynRecv, states.syn_recv, "state"),
            (TcpState::Established, states.established, "state"),
            (TcpState::FinWait1, states.fin_wait1, "state"),
            (TcpState::FinWait2, states.fin_wait2, "state"),
            (TcpState::TimeWait, states.time_wait, "time_wait"),
            (TcpState::CloseWait, states.close_wait, "state"),
            (TcpState::LastAck, states.last_ack, "state"),
            (TcpState::Closing, states.closing, "state"),
        ];
        let total = all.iter().map(|(_, number, _)| *number).fold(0, u64::saturating_add);
        let line = |(state, number, signal): &(TcpState, u64, &str)| {
            let text = match state {
                // Most are request sockets, which no hook sees: sock_diag is asked from time to time.
                TcpState::SynRecv => {
                    let trust = self.cells.trust(signal).max(Fidelity::Sampled);
                    self.cells.mark(trust, &format::count(*number))
                }
                _ => self.cells.count(signal, *number),
            };
            self.shared(state.ss_name(), &text, *number, total)
        };
        // The half-open ones are there for microseconds: a line only when they are.
        let passing = |state: &TcpState| {
            matches!(state, TcpState::SynSent | TcpState::SynRecv)
                || *state == TcpState::TimeWait && !minisockets
        };
        Panel {
            title: "states now",
            lines: all
                .iter()
                .filter(|(state, number, _)| *number > 0 || !passing(state))
                .map(line)
                .collect(),
        }
    }

    pub(crate) fn totals(&self, totals: &Totals) -> Panel {
        let total = |signal, number| self.cells.total(signal, number);
        let resets_in = total("reset_in", totals.resets_in);
        let resets = format!("{resets_in} / {}", total("reset_out", totals.resets_out));
        Panel {
            title: "since tracing began",
            lines: vec![
                self.fact("stood before", &total("state", totals.standing)),
                self.fact("opened", &total("state", totals.opened)),
                self.fact("closed", &total("state", totals.closed)),
                self.fact("orphaned", &total("orphan_begin", totals.orphaned)),
                self.fact("to TIME-WAIT", &total("time_wait", totals.time_wait)),
                self.fact("resets in / out", &resets),
            ],
        }
    }

    fn peers(&self, row: &PortRow) -> Panel {
        let mark = |text: String| self.cells.mark(Fidelity::Sampled, &text);
        let mut lines: Vec<Line<'static>> = row
            .orphan_peers
            .iter()
            .map(|peer| {
                let network = self.looks.symbols.clean(&peer.network);
                let memory = format::bytes(peer.bytes);
                let text = format!("{} {memory:>6}", mark(format::count(peer.orphans)));
                self.shared(&network, &text, peer.orphans, row.orphans)
            })
            .collect();
        if lines.is_empty() {
            let text = "none seen at the last look";
            lines.push(Line::from(span(text, self.looks.theme.dim)));
        }
        Panel { title: "peers of its orphans", lines }
    }
}
