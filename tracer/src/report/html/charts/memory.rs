//! TCP's memory against `tcp_mem`.

use maud::{Markup, html};

use super::super::Page;
use super::super::plot::legend;
use super::{Chart, figure};
use crate::aggregate::snapshot::MemState;
use crate::format::{bytes, count, duration};
use crate::report::model::Point;

impl Page<'_> {
    pub(super) fn memory(&self) -> Markup {
        let title = "TCP's memory against tcp_mem";
        let page = self.report.impact.worst.page_bytes;
        let most = self.highest(|point| point.tcp_mem_pages as f64);
        let near = self
            .points()
            .iter()
            .flat_map(|it| [it.tcp_mem_low, it.tcp_mem_pressure, it.tcp_mem_high])
            .map(|pages| pages as f64)
            .filter(|pages| *pages <= most * 2.0)
            .fold(most, f64::max);
        let plot = self.plot("memory", near);
        let pages = self.values(|point| point.tcp_mem_pages as f64);
        let zero = self.values(|_| 0.0);
        let low = self.values(|point| point.tcp_mem_low as f64);
        let pressure = self.values(|point| point.tcp_mem_pressure as f64);
        let high = self.values(|point| point.tcp_mem_high as f64);
        let under = self.pressed();
        let shapes = html! {
            (plot.shade("pressure", &under))
            (plot.fill("memory", &pages, &zero))
            (plot.lines(&[("low", &low), ("mpressure", &pressure), ("high", &high), ("memory", &pages)]))
        };
        let last = self.points().iter().max_by_key(|point| point.tcp_mem_state);
        let of =
            |value: fn(&Point) -> u64| last.map_or_else(String::new, |point| count(value(point)));
        let items = [
            ("memory", true, "pages in use".to_owned()),
            ("low", true, format!("low ({})", of(|it| it.tcp_mem_low))),
            ("mpressure", true, format!("pressure ({})", of(|it| it.tcp_mem_pressure))),
            ("high", true, format!("high ({})", of(|it| it.tcp_mem_high))),
            ("pressure", false, "under pressure".to_owned()),
        ];
        let hidden = if near < self.highest(|point| point.tcp_mem_high as f64) {
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
            let pages = [it.tcp_mem_pages, it.tcp_mem_low, it.tcp_mem_pressure, it.tcp_mem_high];
            let state = it.tcp_mem_state.name().to_owned();
            pages.map(count).into_iter().chain([state]).collect()
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
