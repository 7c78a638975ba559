//! Populations on top of each other.

use maud::{Markup, html};

use super::super::Page;
use super::super::plot::{Values, legend};
use super::{Chart, figure};
use crate::format::count;
use crate::report::model::Point;

/// One population: its pattern, its name, how many it has; `None` where that was not observed.
pub(super) type Layer = (&'static str, &'static str, fn(&Point) -> Option<u64>);

/// A chart of several, the first at the bottom.
pub(super) struct Stack {
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    pub(super) say: &'static str,
    pub(super) layers: &'static [Layer],
}

impl Page<'_> {
    /// Layers that have nothing at any time are left out.
    pub(super) fn stacked(&self, stack: &Stack) -> Markup {
        let Stack { id, title, say, layers } = *stack;
        let present: Vec<&Layer> = layers
            .iter()
            .filter(|(_, _, of)| self.points().iter().any(|point| of(point) > Some(0)))
            .collect();
        let observed: Vec<&Point> = self
            .points()
            .iter()
            .filter(|it| layers.iter().all(|(_, _, of)| of(it).is_some()))
            .collect();
        let number = |of: &fn(&Point) -> Option<u64>, point: &Point| of(point).unwrap_or(0);
        let all = |point: &Point| layers.iter().map(|(_, _, of)| number(of, point)).sum::<u64>();
        let plot = self.plot(id, self.highest(|point| all(point) as f64));
        let mut lower: Values = observed.iter().map(|point| (point.elapsed_s, 0.0)).collect();
        let mut shapes = Vec::new();
        let mut edges = Vec::new();
        for (class, _, of) in &present {
            let upper: Values = lower
                .iter()
                .zip(&observed)
                .map(|((at, below), point)| (*at, below + number(of, point) as f64))
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
        let text = |of: &fn(&Point) -> Option<u64>, point: &Point| {
            of(point).map_or_else(|| "-".to_owned(), count)
        };
        let hits = self.hits(|point| {
            let named = present.iter().map(|(_, name, of)| format!("{name} {}", text(of, point)));
            named.collect::<Vec<_>>().join(", ")
        });
        let columns: Vec<(&str, bool)> = present.iter().map(|(_, name, _)| (*name, true)).collect();
        let table =
            self.rows(&columns, |point| present.iter().map(|(_, _, of)| text(of, point)).collect());
        let plot = self.drawn(&plot, title, say, &shapes, &hits);
        figure(&Chart { id, title, say: say.to_owned(), legend: legend(&items), plot, table })
    }
}
