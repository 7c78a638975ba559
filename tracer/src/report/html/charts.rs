//! The charts, each with the table of what it shows.

use maud::{Markup, html};

use super::plot::{About, Plot, Values, legend};
use super::{Page, cell, section, table};
use crate::aggregate::snapshot::{MemState, States};
use crate::format::{bytes, count, duration, short};
use crate::report::model::{Mark, Point};
use crate::report::words;

/// Rows of a chart's table.
const ROWS: usize = 60;
/// Places in a chart where the pointer shows values.
const HITS: usize = 120;

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

    fn orphans(&self) -> Markup {
        let title = "Orphans against their limit";
        let most = self.highest(|point| point.orphans as f64);
        // A limit far above would make the orphans a line at the bottom.
        let limits = || self.points().iter().map(|point| point.limit as f64);
        let near = limits().filter(|limit| *limit <= most * 4.0).fold(most, f64::max);
        let plot = self.plot("orphans", near);
        let orphans = self.values(|point| point.orphans as f64);
        let least = self.values(|point| point.orphans_min as f64);
        let zero = self.values(|_| 0.0);
        let limit = self.values(|point| point.limit as f64);
        let tracked = self.values(|point| point.tracked as f64);
        let has_tracked = self.report.port.is_some() || !self.report.environment.filter.is_empty();
        let mut lines: Vec<(&str, &[(f64, f64)])> = vec![("limit", &limit), ("orphans", &orphans)];
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
        let above = if above > 0.0 {
            format!(" Where its line leaves the chart the limit was {}.", count(above as u64))
        } else {
            String::new()
        };
        let say = format!(
            "At most {} at once; at the worst moment {} of {}.{above}",
            count(most as u64),
            count(worst.orphans),
            count(worst.limit)
        );
        let hits = self.hits(|it| format!("orphans {} of {}", count(it.orphans), count(it.limit)));
        let table = self.rows(
            &[("most", true), ("fewest", true), ("limit", true), ("recorded here", true)],
            |it| [it.orphans, it.orphans_min, it.limit, it.tracked].map(count).to_vec(),
        );
        let plot = self.drawn(&plot, title, &say, &shapes, &hits);
        figure(&Chart { id: "orphans", title, say, legend: legend(&items), plot, table })
    }

    fn states(&self) -> Markup {
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

    fn rates(&self) -> Markup {
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

    /// (end, width, value) of each point.
    fn bars(&self, value: impl Fn(&Point) -> f64) -> Vec<(f64, f64, f64)> {
        self.points().iter().map(|point| (point.end_s, point.seconds, value(point))).collect()
    }

    fn memory(&self) -> Markup {
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

    fn accept_queue(&self) -> Markup {
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
        let backlog = self.values(|point| queue(point).backlog.into());
        let full = self.bars(|point| point.listen_overflows_per_s);
        let mut lines: Vec<(&str, &[(f64, f64)])> = vec![("drops", &drops)];
        let mut items = vec![
            ("killed", false, "dropped a second, accept queue full".to_owned()),
            ("drops", true, "dropped a second, for any reason".to_owned()),
        ];
        if has_queues {
            lines.extend([("limit", backlog.as_slice()), ("orphans", length.as_slice())]);
            items.extend([
                ("orphans", true, "waiting in the fullest queue".to_owned()),
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
