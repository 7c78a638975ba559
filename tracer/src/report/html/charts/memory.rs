//! TCP's memory against `tcp_mem`.

use maud::{Markup, html};

use super::super::Page;
use super::super::plot::legend;
use super::{Chart, figure};
use crate::aggregate::snapshot::MemState;
use crate::format::{bytes, count, duration};
use crate::report::model::Point;
use crate::report::words::known;

impl Page<'_> {
    pub(super) fn memory(&self) -> Markup {
        let title = "TCP's memory against tcp_mem";
        let page = self.report.impact.worst.page_bytes;
        let most = self.highest(|point| point.tcp_mem_pages as f64);
        let near = self
            .points()
            .iter()
            .flat_map(|it| [it.tcp_mem_low, it.tcp_mem_pressure, it.tcp_mem_high])
            .flatten()
            .map(|pages| pages as f64)
            .filter(|pages| *pages <= most * 2.0)
            .fold(most, f64::max);
        let plot = self.plot("memory", near);
        let pages = self.values(|point| point.tcp_mem_pages as f64);
        let zero = self.values(|_| 0.0);
        let threshold =
            |of: fn(&Point) -> Option<u64>| self.values(move |point| of(point).unwrap_or(0) as f64);
        let low = threshold(|point| point.tcp_mem_low);
        let pressure = threshold(|point| point.tcp_mem_pressure);
        let high = threshold(|point| point.tcp_mem_high);
        let mut lines: Vec<(&str, &[(f64, f64)])> = Vec::new();
        // Not to be seen in a container: no line at 0.
        if self.points().iter().any(|point| point.tcp_mem_high.is_some()) {
            lines.extend([("low", &low[..]), ("mpressure", &pressure[..]), ("high", &high[..])]);
        }
        lines.push(("memory", &pages));
        let under = self.pressed();
        let shapes = html! {
            (plot.shade("pressure", &under))
            (plot.fill("memory", &pages, &zero))
            (plot.lines(&lines))
        };
        let last = self.points().iter().max_by_key(|point| point.tcp_mem_state);
        let of = |value: fn(&Point) -> Option<u64>| known(last.and_then(value));
        let items = [
            ("memory", true, "pages in use".to_owned()),
            ("low", true, format!("low ({})", of(|it| it.tcp_mem_low))),
            ("mpressure", true, format!("pressure ({})", of(|it| it.tcp_mem_pressure))),
            ("high", true, format!("high ({})", of(|it| it.tcp_mem_high))),
            ("pressure", false, "under pressure".to_owned()),
        ];
        let hidden = if near < self.highest(|point| point.tcp_mem_high.unwrap_or(0) as f64) {
            " Thresholds beyond the chart are in the legend, as they were at the worst."
        } else {
            ""
        };
        let say = format!(
            "Pages of {}: at most {} ({}). Under pressure for {}.{hidden}",
            bytes(page),
            count(most as u64),
            bytes((most as u64).saturating_mul(page)),
            duration(self.report.impact.pressure_s)
        );
        let hits = self.hits(|it| {
            format!(
                "{} pages ({}), {}",
                count(it.tcp_mem_pages),
                bytes(it.tcp_mem_pages.saturating_mul(page)),
                it.tcp_mem_state.name()
            )
        });
        let columns =
            [("pages", true), ("low", true), ("pressure", true), ("high", true), ("state", false)];
        let table = self.rows(&columns, |it| {
            let limits = [it.tcp_mem_low, it.tcp_mem_pressure, it.tcp_mem_high].map(known);
            let state = it.tcp_mem_state.name().to_owned();
            [count(it.tcp_mem_pages)].into_iter().chain(limits).chain([state]).collect()
        });
        let plot = self.drawn(&plot, title, &say, &shapes, &hits);
        figure(&Chart { id: "memory", title, say, legend: legend(&items), plot, table })
    }

    /// When the host was under pressure: (from, to) in seconds.
    fn pressed(&self) -> Vec<(f64, f64)> {
        let mut times: Vec<(f64, f64)> = Vec::new();
        for point in self.points().iter().filter(|it| it.tcp_mem_state >= MemState::Pressure) {
            let (from, to) = (point.end_s - point.seconds, point.end_s);
            match times.last_mut() {
                Some(last) if from <= last.1 + point.seconds * 0.5 => last.1 = to,
                _ => times.push((from.max(0.0), to)),
            }
        }
        times
    }
}
