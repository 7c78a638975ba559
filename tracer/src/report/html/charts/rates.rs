//! What happened a second.

use maud::{Markup, html};

use super::super::Page;
use super::super::plot::legend;
use super::{Chart, figure};
use crate::format::short;
use crate::report::model::Point;

impl Page<'_> {
    pub(super) fn rates(&self) -> Markup {
        let title = "What happened a second";
        let highest = self.highest(|point| {
            let rates = [point.opened_per_s, point.closed_per_s, point.resets_per_s];
            rates.into_iter().fold(point.killed_per_s, f64::max)
        });
        let plot = self.plot("rates", highest);
        let opened = self.values(|point| point.opened_per_s);
        let closed = self.values(|point| point.closed_per_s);
        let resets = self.values(|point| point.resets_per_s);
        let killed = self.bars(|point| point.killed_per_s);
        let shapes = html! {
            (plot.bars("killed", &killed))
            (plot.lines(&[("resets", &resets), ("closed", &closed), ("opened", &opened)]))
        };
        let items = [
            ("opened", true, "opened".to_owned()),
            ("closed", true, "closed".to_owned()),
            ("resets", true, "resets, both ways".to_owned()),
            ("killed", false, "orphans killed".to_owned()),
        ];
        let most = |value: fn(&Point) -> f64| short(self.highest(value));
        let say = format!(
            "At most {} opened, {} closed, {} resets, {} orphans killed a second.",
            most(|it| it.opened_per_s),
            most(|it| it.closed_per_s),
            most(|it| it.resets_per_s),
            most(|it| it.killed_per_s)
        );
        let cells = |it: &Point| {
            [it.opened_per_s, it.closed_per_s, it.resets_per_s, it.killed_per_s].map(short)
        };
        let hits = self.hits(|it| {
            let [opened, closed, resets, killed] = cells(it);
            format!("opened {opened}/s, closed {closed}/s, resets {resets}/s, killed {killed}/s")
        });
        let columns =
            [("opened/s", true), ("closed/s", true), ("resets/s", true), ("killed/s", true)];
        let table = self.rows(&columns, |it| cells(it).to_vec());
        let plot = self.drawn(&plot, title, &say, &shapes, &hits);
        figure(&Chart { id: "rates", title, say, legend: legend(&items), plot, table })
    }
}
