//! How long FIN_WAIT1 took, over time, as a map: darker and taller is more.

use maud::{Markup, html};

use super::charts::{Chart, figure};
use super::plot::About;
use super::{Page, cell, table};
use crate::format::{count, percent};
use crate::report::model::{TimeColumn, TimeMap};
use crate::report::words;

/// Steps of darkness.
const STEPS: u32 = 5;

/// Which step a count is in: by powers, for few matter beside many.
fn step(count: u64, most: u64) -> u32 {
    if count == 0 {
        return 0;
    }
    let share = (count as f64).ln_1p() / (most.max(1) as f64).ln_1p();
    ((share * f64::from(STEPS)).ceil() as u32).clamp(1, STEPS)
}

impl Page<'_> {
    pub(super) fn times(&self) -> Markup {
        let title = "Time in FIN-WAIT-1";
        let map = &self.report.fin_wait1;
        let used = used_rows(map);
        if used.is_empty() {
            return html! {
                figure id="times-chart" class="plain" {
                    figcaption { h3 { (title) } p { "No connection left FIN-WAIT-1 in this time." } }
                }
            };
        }
        let say = format!(
            "Of the {} that left it, when they did, by how long it took: darker and taller is more. What is \
             still in FIN-WAIT-1 is not in it.",
            count(map.total)
        );
        let rows: Vec<Vec<Markup>> = used
            .iter()
            .map(|row| {
                let all: u64 = map.columns.iter().filter_map(|it| it.counts.get(*row)).sum();
                let longest = map.columns.iter().rev().find(|it| it.counts.get(*row) > Some(&0));
                vec![
                    cell(words::row(&map.up_to_ms, *row)),
                    cell(count(all)),
                    cell(percent(all, map.total)),
                    cell(longest.map_or_else(String::new, |it| it.time.clock(self.zone))),
                ]
            })
            .collect();
        let columns = [("time", false), ("sockets", true), ("share", true), ("last at", false)];
        let legend = html! {
            ul class="legend" {
                li {
                    "few "
                    @for step in 1..=STEPS {
                        svg class="key" aria-hidden="true" width="12" height="14" {
                            rect class=(format!("heat h{step}")) width="11" y=(14 - 14 * step / STEPS) height=(14 * step / STEPS) {}
                        }
                    }
                    " many, up to " (count(most(map))) " a cell"
                }
            }
        };
        let plot = self.map(map, &used, title, &say);
        let table = table("Time in FIN-WAIT-1", &columns, &rows);
        figure(&Chart { id: "times", title, say, legend, plot, table })
    }

    /// The map: its own frame, for its rows are no scale.
    fn map(&self, map: &TimeMap, used: &[usize], title: &str, say: &str) -> Markup {
        let plot = self.plot("times", 1.0);
        let most = most(map);
        let height = 100.0 / used.len() as f64;
        // The longest at the top.
        let top = |index: usize| (used.len() - 1 - index) as f64 * height;
        let right = |column: &TimeColumn| column.elapsed_s / plot.seconds * 100.0;
        let lefts = std::iter::once(0.0).chain(map.columns.iter().map(right));
        let edges = lefts.zip(map.columns.iter().map(right));
        let cells = html! {
            @for (index, row) in used.iter().enumerate() {
                text class="y" x="-7" y=(format!("{:.2}%", top(index) + height / 2.0)) dy=".32em" {
                    (words::row(&map.up_to_ms, *row))
                }
                line class="grid" x1="0" x2="100%" y1=(format!("{:.2}%", top(index) + height)) y2=(format!("{:.2}%", top(index) + height)) {}
            }
            @for (column, (left, right)) in map.columns.iter().zip(edges) {
                @let width = (right - left).max(0.4);
                @for (index, row) in used.iter().enumerate() {
                    @let count = column.counts.get(*row).copied().unwrap_or(0);
                    @let step = step(count, most);
                    @if step > 0 {
                        @let tall = height * f64::from(step) / f64::from(STEPS) * 0.92;
                        rect class=(format!("heat h{step}"))
                            x=(format!("{left:.2}%")) width=(format!("{width:.2}%"))
                            y=(format!("{:.2}%", top(index) + height - tall)) height=(format!("{tall:.2}%")) {
                            title {
                                (column.time.clock(self.zone)) " · " (words::row(&map.up_to_ms, *row)) ": " (crate::format::count(count))
                            }
                        }
                    }
                }
            }
        };
        let about =
            About { title, desc: say.to_owned(), zone: self.zone, marks: &self.marks(), hits: &[] };
        plot.draw_rows(&about, &cells)
    }
}

/// From the shortest to the longest that occurred, without holes.
fn used_rows(map: &TimeMap) -> Vec<usize> {
    let occurs = |row: &usize| map.columns.iter().any(|it| it.counts.get(*row) > Some(&0));
    let all = 0..=map.up_to_ms.len();
    match (all.clone().find(occurs), all.rev().find(occurs)) {
        (Some(first), Some(last)) => (first..=last).collect(),
        _ => Vec::new(),
    }
}

fn most(map: &TimeMap) -> u64 {
    map.columns.iter().flat_map(|it| &it.counts).copied().max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_beside_a_million_still_shows() {
        assert_eq!(step(0, 1_000_000), 0);
        assert_eq!(step(1, 1_000_000), 1);
        assert_eq!(step(1_000_000, 1_000_000), STEPS);
        assert_eq!(step(1, 1), STEPS);
    }
}
