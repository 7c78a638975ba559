//! Charts as tables, and as lines of blocks.

use std::fmt::Write as _;

use super::super::model::Point;
use super::super::words;
use super::Page;
use super::inline::blocks;
use crate::aggregate::snapshot::OrphansByCause;
use crate::format::{count, percent, short};

/// Rows of a chart's table.
const ROWS: usize = 12;
/// Characters of a chart drawn as a line of blocks.
const BLOCKS: usize = 60;

/// A line of blocks: its name, and what it shows of a point.
type Bar = (&'static str, fn(&Point) -> f64);

impl Page<'_> {
    pub(super) fn charts(&mut self) {
        self.section("Over time");
        let points = words::merged(&self.report.series.points, BLOCKS);
        let bar = |value: fn(&Point) -> f64| blocks(points.iter().map(value));
        line!(self, "```text");
        let mut bars: Vec<Bar> = vec![("orphans", |it| it.orphans as f64)];
        let causes: [Bar; 3] = [
            ("closed window", |it| by_cause(it).closed_window as f64),
            ("unanswered", |it| by_cause(it).unanswered as f64),
            ("in flight", |it| by_cause(it).in_flight as f64),
        ];
        bars.extend(causes.iter().filter(|(_, value)| points.iter().any(|it| value(it) > 0.0)));
        let rest: [Bar; 6] = [
            ("FIN_WAIT1", |it| it.states.fin_wait1 as f64),
            ("opened/s", |it| it.opened_per_s),
            ("closed/s", |it| it.closed_per_s),
            ("killed/s", |it| it.killed_per_s),
            ("tcp_mem", |it| it.tcp_mem_pages as f64),
            ("dropped/s", |it| it.listen_drops_per_s),
        ];
        bars.extend(rest);
        for (name, value) in bars {
            let most = points.iter().map(value).fold(0.0, f64::max);
            line!(self, "{name:<14}{}  at most {}", bar(value), short(most));
        }
        line!(self, "```\n");
        self.table(&[
            ("time", 'l'),
            ("orphans", 'r'),
            ("limit", 'r'),
            ("estab", 'r'),
            ("fin-wait-1", 'r'),
            ("time-wait", 'r'),
            ("opened/s", 'r'),
            ("closed/s", 'r'),
            ("resets/s", 'r'),
            ("killed/s", 'r'),
            ("tcp_mem pages", 'r'),
            ("memory", 'l'),
            ("dropped/s", 'r'),
        ]);
        for point in words::merged(&self.report.series.points, ROWS) {
            self.row(&[
                point.time.clock(self.zone),
                count(point.orphans),
                words::known(point.limit),
                count(point.states.established),
                count(point.states.fin_wait1),
                count(point.states.time_wait),
                short(point.opened_per_s),
                short(point.closed_per_s),
                short(point.resets_per_s),
                short(point.killed_per_s),
                count(point.tcp_mem_pages),
                point.tcp_mem_state.name().to_owned(),
                short(point.listen_drops_per_s),
            ]);
        }
        let map = &self.report.fin_wait1;
        line!(self, "\nTime in FIN_WAIT1 of the {} that left it:\n", count(map.total));
        if map.total > 0 {
            self.table(&[("time", 'l'), ("sockets", 'r'), ("share", 'r')]);
        }
        for row in 0..=map.up_to_ms.len() {
            let all: u64 = map.columns.iter().filter_map(|column| column.counts.get(row)).sum();
            if all > 0 {
                self.row(&[words::row(&map.up_to_ms, row), count(all), percent(all, map.total)]);
            }
        }
    }
}

/// All 0 where it was not observed.
fn by_cause(point: &Point) -> OrphansByCause {
    point.orphans_by_cause.unwrap_or_default()
}
