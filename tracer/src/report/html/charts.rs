//! The charts, each with the table of what it shows.

mod accept_queue;
mod causes;
mod memory;
mod orphans;
mod rates;
mod stacked;
mod states;

use maud::{Markup, html};

use super::plot::{About, Plot, Values};
use super::{Page, cell, section, table};
use crate::report::model::{Mark, Point};
use crate::report::words;

/// Rows of a chart's table.
const ROWS: usize = 60;
/// Places in a chart where the pointer shows values.
const HITS: usize = 120;

/// A chart's words and data.
pub(super) struct Chart<'a> {
    pub(super) id: &'static str,
    pub(super) title: &'a str,
    pub(super) say: String,
    pub(super) legend: Markup,
    pub(super) plot: Markup,
    pub(super) table: Markup,
}

/// A chart as a figure.
pub(super) fn figure(chart: &Chart<'_>) -> Markup {
    html! {
        figure id=(format!("{}-chart", chart.id)) {
            figcaption {
                h3 { (chart.title) }
                p { (chart.say) }
            }
            (chart.plot)
            (chart.legend)
            details class="data" {
                summary { "The numbers" }
                (chart.table)
            }
        }
    }
}

impl Page<'_> {
    pub(super) fn charts(&self) -> Markup {
        let each = self.report.series.samples_per_point;
        let body = html! {
            p class="lead" {
                "Numbers over the charts are those of the timeline. "
                @if each > 1 {
                    "A point stands for " (each) " samples: lines are the highest of them, states those \
                    at the moment with most orphans."
                }
            }
            div class="charts" {
                (self.orphans())
                (self.causes())
                (self.states())
                (self.rates())
                (self.memory())
                (self.times())
                (self.accept_queue())
            }
        };
        section("charts", "Over time", &body)
    }

    pub(super) fn points(&self) -> &[Point] {
        &self.report.series.points
    }

    pub(super) fn plot(&self, id: &'static str, highest: f64) -> Plot {
        Plot::new(id, highest, self.report.range.from, self.report.range.seconds)
    }

    fn values(&self, value: impl Fn(&Point) -> f64) -> Values {
        self.points().iter().map(|point| (point.elapsed_s, value(point))).collect()
    }

    /// The marks worth a line in every chart, the worst first.
    pub(super) fn marks(&self) -> Vec<(f64, usize)> {
        let mut marks: Vec<_> = self.report.timeline.marks.iter().collect();
        marks.retain(|mark| !matches!(mark.kind, "begin" | "end"));
        // Of two at one moment the text of the first leads to the other.
        let rank = |mark: &Mark| (mark.kind != "worst" && mark.kind != "orphan-kill", mark.number);
        marks.sort_by_key(|mark| (std::cmp::Reverse(mark.severity), rank(mark)));
        marks.into_iter().map(|mark| (mark.elapsed_s, mark.number)).collect()
    }

    /// What the pointer shows.
    fn hits(&self, say: impl Fn(&Point) -> String) -> Vec<(f64, String)> {
        words::merged(self.points(), HITS)
            .iter()
            .map(|point| {
                (point.elapsed_s, format!("{} · {}", point.time.clock(self.zone), say(point)))
            })
            .collect()
    }

    fn rows(&self, columns: &[(&str, bool)], cells: impl Fn(&Point) -> Vec<String>) -> Markup {
        let rows: Vec<Vec<Markup>> = words::merged(self.points(), ROWS)
            .iter()
            .map(|point| {
                let time = std::iter::once(point.time.clock(self.zone));
                time.chain(cells(point)).map(cell).collect()
            })
            .collect();
        let columns: Vec<(&str, bool)> =
            std::iter::once(("time", false)).chain(columns.iter().copied()).collect();
        table("The numbers of the chart", &columns, &rows)
    }

    fn highest(&self, value: impl Fn(&Point) -> f64) -> f64 {
        self.points().iter().map(value).fold(0.0, f64::max)
    }

    fn drawn(
        &self,
        plot: &Plot,
        title: &str,
        desc: &str,
        shapes: &Markup,
        hits: &[(f64, String)],
    ) -> Markup {
        let about =
            About { title, desc: desc.to_owned(), zone: self.zone, marks: &self.marks(), hits };
        plot.draw(&about, shapes)
    }

    /// (end, width, value) of each point.
    fn bars(&self, value: impl Fn(&Point) -> f64) -> Vec<(f64, f64, f64)> {
        self.points().iter().map(|point| (point.end_s, point.seconds, value(point))).collect()
    }
}
