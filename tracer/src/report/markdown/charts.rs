//! Charts as tables, and as lines of blocks.

use std::fmt::Write as _;

use super::super::model::Point;
use super::super::words;
use super::Page;
use super::inline::blocks;
use crate::format::{count, percent, short};

/// Rows of a chart's table.
const ROWS: usize = 12;
/// Characters of a chart drawn as a line of blocks.
const BLOCKS: usize = 60;

impl Page<'_> {
    pub(super) fn charts(&mut self) {
        self.section("Over time");
        let points = words::merged(&self.report.series.points, BLOCKS);
        let bar = |value: fn(&Point) -> f64| blocks(points.iter().map(value));
        line!(self, "```text");
        for (name, value) in [
            ("orphans", (|point| point.orphans as f64) as fn(&Point) -> f64),
            ("FIN_WAIT1", |point| point.states.fin_wait1 as f64),
            ("opened/s", |point| point.opened_per_s),
            ("closed/s", |point| point.closed_per_s),
            ("killed/s", |point| point.killed_per_s),
            ("tcp_mem", |point| point.tcp_mem_pages as f64),
            ("dropped/s", |point| point.listen_drops_per_s),
        ] {
            let most = points.iter().map(value).fold(0.0, f64::max);
            line!(self, "{name:<10}{}  at most {}", bar(value), short(most));
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
                count(point.limit),
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
