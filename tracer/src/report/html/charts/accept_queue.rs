//! Accept queues, and handshakes dropped.

use maud::{Markup, html};

use super::super::Page;
use super::super::plot::{Values, legend};
use super::{Chart, figure};
use crate::format::{count, short};
use crate::report::model::Point;
use crate::report::words;

impl Page<'_> {
    pub(super) fn accept_queue(&self) -> Markup {
        let title = "Accept queues, and handshakes dropped";
        let impact = &self.report.impact;
        let queues = || self.points().iter().filter_map(|point| point.accept_queue);
        let has_queues = queues().next().is_some();
        let fullest = queues().max_by(|a, b| a.share().total_cmp(&b.share()));
        let told = match fullest {
            None => words::NO_QUEUES.to_owned(),
            Some(it) if it.queue == 0 => "Nobody waited for accept() at any look.".to_owned(),
            Some(it) => format!(
                "The fullest queue held {} of {} (:{}).",
                count(it.queue.into()),
                count(it.backlog.into()),
                it.port
            ),
        };
        let dropped = format!(
            "{} handshakes dropped, {} of them at full accept queues.",
            count(impact.listen_drops),
            count(impact.listen_overflows)
        );
        let say = format!("{dropped} {told}");
        if impact.listen_drops == 0 && fullest.is_none_or(|it| it.queue == 0) {
            return html! {
                figure id="accept-chart" class="plain" { figcaption { h3 { (title) } p { (say) } } }
            };
        }
        let queue = |point: &Point| point.accept_queue.unwrap_or_default();
        let highest = self.highest(|point| {
            // Drawn with its backlog only where that is near.
            let it = queue(point);
            let near = if it.queue * 4 >= it.backlog { it.backlog } else { 0 };
            point.listen_drops_per_s.max(it.queue.max(near).into())
        });
        let plot = self.plot("accept", highest);
        let drops = self.values(|point| point.listen_drops_per_s);
        let length = self.values(|point| queue(point).queue.into());
        // Of an empty queue nobody asks how long it may be.
        let waited = self.points().iter().filter(|point| queue(point).queue > 0);
        let backlog: Values =
            waited.map(|point| (point.elapsed_s, queue(point).backlog.into())).collect();
        let full = self.bars(|point| point.listen_overflows_per_s);
        let mut lines: Vec<(&str, &[(f64, f64)])> = vec![("drops", &drops)];
        let mut items = vec![
            ("killed", false, "dropped a second, accept queue full".to_owned()),
            ("drops", true, "dropped a second, for any reason".to_owned()),
        ];
        if has_queues {
            lines.extend([("limit", backlog.as_slice()), ("waiting", length.as_slice())]);
            items.extend([
                ("waiting", true, "waiting in the fullest queue".to_owned()),
                ("limit", true, "its backlog".to_owned()),
            ]);
        }
        let shapes = html! { (plot.bars("killed", &full)) (plot.lines(&lines)) };
        let cells = |it: &Point| [it.listen_overflows_per_s, it.listen_drops_per_s].map(short);
        let waiting = |it: &Point| {
            it.accept_queue.map_or_else(
                || "-".to_owned(),
                |it| format!("{} of {}", count(it.queue.into()), count(it.backlog.into())),
            )
        };
        let hits = self.hits(|it| {
            let [full, all] = cells(it);
            format!("waiting {}, queue full {full}/s, all drops {all}/s", waiting(it))
        });
        let columns = [("fullest queue", true), ("queue full/s", true), ("all drops/s", true)];
        let table =
            self.rows(&columns, |it| std::iter::once(waiting(it)).chain(cells(it)).collect());
        let plot = self.drawn(&plot, title, &say, &shapes, &hits);
        figure(&Chart { id: "accept", title, say, legend: legend(&items), plot, table })
    }
}
