//! Sockets by state, stacked.

use maud::{Markup, html};

use super::super::Page;
use super::super::plot::{Values, legend};
use super::{Chart, figure};
use crate::aggregate::snapshot::States;
use crate::format::count;
use crate::report::model::Point;

/// The states from the bottom up, worst first: class, name, population.
type Layer = (&'static str, &'static str, fn(&States) -> u64);
const LAYERS: [Layer; 8] = [
    ("fin_wait1", "FIN-WAIT-1", |it| it.fin_wait1),
    ("last_ack", "LAST-ACK", |it| it.last_ack),
    ("closing", "CLOSING", |it| it.closing),
    ("fin_wait2", "FIN-WAIT-2", |it| it.fin_wait2),
    ("close_wait", "CLOSE-WAIT", |it| it.close_wait),
    ("established", "ESTABLISHED", |it| it.established),
    ("syn", "SYN", |it| it.syn_sent + it.syn_recv),
    ("time_wait", "TIME-WAIT", |it| it.time_wait),
];

impl Page<'_> {
    pub(super) fn states(&self) -> Markup {
        let title = "Sockets by state, stacked";
        let present: Vec<&Layer> = LAYERS
            .iter()
            .filter(|(_, _, of)| self.points().iter().any(|point| of(&point.states) > 0))
            .collect();
        let all = |point: &Point| LAYERS.iter().map(|(_, _, of)| of(&point.states)).sum::<u64>();
        let plot = self.plot("states", self.highest(|point| all(point) as f64));
        let mut lower = self.values(|_| 0.0);
        let mut shapes = Vec::new();
        let mut edges = Vec::new();
        for (class, _, of) in &present {
            let upper: Values = lower
                .iter()
                .zip(self.points())
                .map(|((at, below), point)| (*at, below + of(&point.states) as f64))
                .collect();
            shapes.push(plot.fill(class, &upper, &lower));
            edges.push(upper.clone());
            lower = upper;
        }
        let lines: Vec<(&str, &[(f64, f64)])> =
            edges.iter().map(|edge| ("edge", edge.as_slice())).collect();
        let shapes = html! { @for shape in &shapes { (shape) } (plot.lines(&lines)) };
        let items: Vec<(&str, bool, String)> =
            present.iter().map(|(class, name, _)| (*class, false, (*name).to_owned())).collect();
        let say = "Connections of the recording and minisockets; those that worry at the bottom. \
                   TIME-WAIT and part of FIN-WAIT-2 are sampled.";
        let hits = self.hits(|point| {
            let told =
                present.iter().map(|(_, name, of)| format!("{name} {}", count(of(&point.states))));
            told.collect::<Vec<_>>().join(", ")
        });
        let columns: Vec<(&str, bool)> = present.iter().map(|(_, name, _)| (*name, true)).collect();
        let table = self.rows(&columns, |point| {
            present.iter().map(|(_, _, of)| count(of(&point.states))).collect()
        });
        let plot = self.drawn(&plot, title, say, &shapes, &hits);
        let say = say.to_owned();
        figure(&Chart { id: "states", title, say, legend: legend(&items), plot, table })
    }
}
