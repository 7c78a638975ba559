//! Orphans against their limit.

use maud::{Markup, html};

use super::super::Page;
use super::super::plot::legend;
use super::{Chart, figure};
use crate::format::count;
use crate::report::words::known;

impl Page<'_> {
    pub(super) fn orphans(&self) -> Markup {
        let title = "Orphans against their limit";
        let most = self.highest(|point| point.orphans as f64);
        // A limit far above would make the orphans a line at the bottom.
        let limits =
            || self.points().iter().filter_map(|point| point.limit).map(|limit| limit as f64);
        let near = limits().filter(|limit| *limit <= most * 4.0).fold(most, f64::max);
        let plot = self.plot("orphans", near);
        let orphans = self.values(|point| point.orphans as f64);
        let least = self.values(|point| point.orphans_min as f64);
        let zero = self.values(|_| 0.0);
        let limit = self.values(|point| point.limit.unwrap_or(0) as f64);
        let tracked = self.values(|point| point.tracked as f64);
        let has_tracked =
            !self.report.filter.is_empty() || !self.report.environment.filter.is_empty();
        let mut lines: Vec<(&str, &[(f64, f64)])> = Vec::new();
        // Not to be seen in a container: no line at 0.
        if limits().next().is_some() {
            lines.push(("limit", &limit));
        }
        lines.push(("orphans", &orphans));
        let mut items = vec![
            ("orphans", false, "orphans of the host".to_owned()),
            ("limit", true, "net.ipv4.tcp_max_orphans".to_owned()),
        ];
        if has_tracked {
            lines.push(("tracked", &tracked));
            items.push(("tracked", true, "those recorded here".to_owned()));
        }
        if self.report.series.samples_per_point > 1 {
            lines.push(("least", &least));
            items.push(("least", true, "fewest of the samples in a point".to_owned()));
        }
        let shapes = html! { (plot.fill("orphans", &orphans, &zero)) (plot.lines(&lines)) };
        let worst = &self.report.impact.worst;
        let above = limits().filter(|limit| *limit > plot.top).fold(0.0, f64::max);
        let above = match (above > 0.0, limits().any(|limit| limit <= plot.top)) {
            (false, _) => String::new(),
            (true, true) => {
                format!(" Where its line leaves the chart the limit was {}.", count(above as u64))
            }
            (true, false) => " The limit is far above the chart.".to_owned(),
        };
        let say = format!(
            "At most {} at once; at the worst moment {} of {}.{above}",
            count(most as u64),
            count(worst.orphans),
            known(worst.limit)
        );
        let hits = self.hits(|it| format!("orphans {} of {}", count(it.orphans), known(it.limit)));
        let table = self.rows(
            &[("most", true), ("fewest", true), ("limit", true), ("recorded here", true)],
            |it| {
                let limit = known(it.limit);
                vec![count(it.orphans), count(it.orphans_min), limit, count(it.tracked)]
            },
        );
        let plot = self.drawn(&plot, title, &say, &shapes, &hits);
        figure(&Chart { id: "orphans", title, say, legend: legend(&items), plot, table })
    }
}
