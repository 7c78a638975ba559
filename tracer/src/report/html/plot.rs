//! The frame of a chart and the shapes in it, for any width.
//!
//! An SVG without a view box: what has a place has it in per cent, so that text keeps its size on
//! a phone and on paper. Lines are in an inner SVG that is stretched, with strokes that are not;
//! areas are rectangles cut by a stretched path, so that their patterns are not.

use std::fmt::Write as _;

use jiff::tz::TimeZone;
use maud::{Markup, html};

use crate::format::{day, short};
use crate::time::Wall;

/// Inner units of a chart's width and height.
const UNITS: f64 = 1000.0;
/// Most labels below a chart.
const MOST_LABELS: i64 = 5;

/// A chart's frame.
pub(super) struct Plot {
    /// Unique on the page.
    pub(super) id: &'static str,
    /// The value at its top.
    pub(super) top: f64,
    /// The first moment.
    pub(super) from: Wall,
    /// Seconds across it; more than 0.
    pub(super) seconds: f64,
}

/// Values at a time: seconds since the first moment, and how many.
pub(super) type Values = Vec<(f64, f64)>;

impl Plot {
    /// With some air above the highest.
    pub(super) fn new(id: &'static str, highest: f64, from: Wall, seconds: f64) -> Self {
        let seconds = if seconds > 0.0 { seconds } else { 1.0 };
        Self { id, top: nice_top(highest), from, seconds }
    }

    fn x(&self, seconds: f64) -> f64 {
        (seconds / self.seconds).clamp(0.0, 1.0) * UNITS
    }

    fn y(&self, value: f64) -> f64 {
        // Somewhat outside, so that what leaves the frame is seen to leave it.
        (1.0 - (value / self.top).min(1.2)) * UNITS
    }

    /// Per cent from the left.
    pub(super) fn left(&self, seconds: f64) -> String {
        format!("{:.2}%", self.x(seconds) / UNITS * 100.0)
    }

    /// A line; broken where samples are missing.
    fn line(&self, values: &[(f64, f64)]) -> String {
        let mut path = String::new();
        for run in runs(values) {
            for (at, (seconds, value)) in run.iter().enumerate() {
                let step = if at == 0 { 'M' } else { 'L' };
                let _ = write!(path, "{step}{:.1} {:.1}", self.x(*seconds), self.y(*value));
            }
            if run.len() == 1 {
                path.push_str("h2");
            }
        }
        path
    }

    /// A line of what is set rather than grows: it changes at once.
    fn steps(&self, values: &[(f64, f64)]) -> String {
        let mut path = String::new();
        for run in runs(values) {
            let mut before = None;
            for (seconds, value) in run {
                let (x, y) = (self.x(*seconds), self.y(*value));
                let _ = match before {
                    None => write!(path, "M{x:.1} {y:.1}"),
                    Some(before) if before == y => write!(path, "H{x:.1}"),
                    Some(_) => write!(path, "H{x:.1}V{y:.1}"),
                };
                before = Some(y);
            }
        }
        path
    }

    /// The area between two lines that have the same times.
    fn area(&self, upper: &[(f64, f64)], lower: &[(f64, f64)]) -> String {
        let mut path = String::new();
        let mut begin = 0;
        for run in runs(upper) {
            let below = lower.get(begin..begin + run.len()).unwrap_or_default();
            begin += run.len();
            let corners = run.iter().chain(below.iter().rev());
            for (at, (seconds, value)) in corners.enumerate() {
                let step = if at == 0 { 'M' } else { 'L' };
                let _ = write!(path, "{step}{:.1} {:.1}", self.x(*seconds), self.y(*value));
            }
            path.push('Z');
        }
        path
    }

    /// An area with a pattern. `name` is unique in the chart.
    pub(super) fn fill(&self, name: &str, upper: &[(f64, f64)], lower: &[(f64, f64)]) -> Markup {
        self.cut(name, &self.area(upper, lower))
    }

    /// Bars as wide as the time they stand for: (end, width, value).
    pub(super) fn bars(&self, name: &str, bars: &[(f64, f64, f64)]) -> Markup {
        let mut path = String::new();
        for (end, width, value) in bars.iter().filter(|(_, _, value)| *value > 0.0) {
            let (left, right) = (self.x(end - width), self.x(*end));
            // A bar of a moment still shows.
            let (left, right) =
                if right - left < 3.0 { (left - 1.5, right + 1.5) } else { (left, right) };
            let _ = write!(path, "M{left:.1} 1000V{:.1}H{right:.1}V1000Z", self.y(*value));
        }
        html! { @if !path.is_empty() { (self.cut(name, &path)) } }
    }

    /// Times in which something was so, over the whole height.
    pub(super) fn shade(&self, name: &str, times: &[(f64, f64)]) -> Markup {
        let mut path = String::new();
        for (from, to) in times {
            let (left, right) = (self.x(*from), self.x(*to).max(self.x(*from) + 2.0));
            let _ = write!(path, "M{left:.1} 0H{right:.1}V1000H{left:.1}Z");
        }
        html! { @if !path.is_empty() { (self.cut(name, &path)) } }
    }

    fn cut(&self, name: &str, path: &str) -> Markup {
        let id = format!("{}-{name}", self.id);
        html! {
            clipPath id=(id) clipPathUnits="objectBoundingBox" {
                path transform="scale(.001)" d=(path) {}
            }
            rect class=(format!("fill f-{name}")) width="100%" height="100%" clip-path=(format!("url(#{id})")) {}
        }
    }

    /// Lines over everything: class and values of each. Those that are set change in steps.
    pub(super) fn lines(&self, lines: &[(&str, &[(f64, f64)])]) -> Markup {
        const SET: [&str; 4] = ["limit", "low", "mpressure", "high"];
        html! {
            svg class="lines" width="100%" height="100%" viewBox="0 0 1000 1000" preserveAspectRatio="none" {
                @for (class, values) in lines {
                    @let path = if SET.contains(class) { self.steps(values) } else { self.line(values) };
                    path class=(format!("line l-{class}")) d=(path) {}
                }
            }
        }
    }

    /// The chart with a scale at its left, `shapes` in it, and what is said of it.
    pub(super) fn draw(&self, about: &About<'_>, shapes: &Markup) -> Markup {
        let scale = html! {
            @for step in 0..=4u32 {
                @let down = format!("{}%", step * 25);
                line class="grid" x1="0" x2="100%" y1=(down) y2=(down) {}
                text class="y" x="-7" y=(down) dy=".32em" {
                    (short(self.top * f64::from(4 - step) / 4.0))
                }
            }
            (shapes)
        };
        self.draw_rows(about, &scale)
    }

    /// The chart, its scale among the shapes.
    pub(super) fn draw_rows(&self, about: &About<'_>, shapes: &Markup) -> Markup {
        let (title, text) = (format!("{}-t", self.id), format!("{}-d", self.id));
        html! {
            div class="plot" {
                svg class="canvas" role="img" aria-labelledby=(format!("{title} {text}")) {
                    title id=(title) { (about.title) }
                    desc id=(text) { (about.desc) }
                    @for (left, label) in self.labels(about.zone) {
                        line class="tick" x1=(left) x2=(left) y1="100%" y2="102%" {}
                        text class="x" x=(left) y="100%" dy="1.6em" { (label) }
                    }
                    (shapes)
                    @for (seconds, number) in apart(about.marks, self.seconds) {
                        @let left = self.left(seconds);
                        line class="mark" x1=(left) x2=(left) y1="0" y2="100%" {}
                        text class="mark" x=(left) y="0" dy="-.45em" { (number) }
                    }
                    (self.hits(about.hits))
                }
            }
        }
    }

    /// A strip for each moment: what it says shows under the pointer, without a script.
    fn hits(&self, hits: &[(f64, String)]) -> Markup {
        let edge = |index: usize| match (
            index.checked_sub(1).and_then(|at| hits.get(at)),
            hits.get(index),
        ) {
            (Some(a), Some(b)) => f64::midpoint(a.0, b.0),
            (None, Some(_)) => 0.0,
            _ => self.seconds,
        };
        html! {
            @for (index, (_, text)) in hits.iter().enumerate() {
                @let (from, to) = (self.x(edge(index)) / 10.0, self.x(edge(index + 1)) / 10.0);
                rect class="hit" x=(format!("{from:.2}%")) width=(format!("{:.2}%", to - from)) height="100%" {
                    title { (text) }
                }
            }
        }
    }

    /// Where to write which time.
    fn labels(&self, zone: &TimeZone) -> Vec<(String, String)> {
        const STEPS: [i64; 19] = [
            1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200,
            86_400, 604_800,
        ];
        let all = self.seconds.ceil() as i64;
        let step = STEPS.into_iter().find(|step| all / step <= MOST_LABELS);
        let step = step.unwrap_or(all / MOST_LABELS);
        let first = jiff::Timestamp::from_nanosecond(i128::from(self.from.0)).unwrap_or_default();
        let offset = i64::from(zone.to_offset(first).seconds());
        let local = self.from.0.div_euclid(1_000_000_000) + offset;
        let mut at = local - local.rem_euclid(step) + step;
        let mut labels = Vec::new();
        // At most so many steps fit, whatever the times are.
        for _ in 0..=MOST_LABELS + 1 {
            let wall = Wall((at - offset).saturating_mul(1_000_000_000));
            let share = wall.0.saturating_sub(self.from.0) as f64 / 1e9 / self.seconds;
            if share > 0.965 {
                break;
            }
            if share > 0.03 {
                let clock = wall.clock(zone);
                let label = match step {
                    ..60 => clock,
                    60..86_400 => clock.get(..5).unwrap_or(&clock).to_owned(),
                    _ => day(wall, zone),
                };
                labels.push((format!("{:.2}%", share * 100.0), label));
            }
            at += step;
        }
        labels
    }
}

/// What is said of a chart.
pub(super) struct About<'a> {
    pub(super) title: &'a str,
    pub(super) desc: String,
    pub(super) zone: &'a TimeZone,
    /// When, and the number in the timeline.
    pub(super) marks: &'a [(f64, usize)],
    /// When, and what to say there.
    pub(super) hits: &'a [(f64, String)],
}

/// Marks that leave room for each other's numbers, those first that come first.
fn apart(marks: &[(f64, usize)], seconds: f64) -> Vec<(f64, usize)> {
    let mut kept: Vec<(f64, usize)> = Vec::new();
    for mark in marks {
        let room = |other: &(f64, usize)| {
            let least = if other.1.max(mark.1) < 10 { 0.03 } else { 0.045 };
            (mark.0 - other.0).abs() / seconds >= least
        };
        if kept.iter().all(room) {
            kept.push(*mark);
        }
    }
    kept
}

/// Values without a hole: a hole is three times as long as is usual.
fn runs(values: &[(f64, f64)]) -> impl Iterator<Item = &[(f64, f64)]> {
    let mut steps: Vec<f64> = values.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    steps.sort_by(f64::total_cmp);
    let usual = steps.get(steps.len() / 2).copied().unwrap_or(f64::INFINITY);
    values.chunk_by(move |a, b| b.0 - a.0 <= usual * 3.0 + 1e-6)
}

/// The next of 1, 2, 2.5, 5 × 10ⁿ that leaves some air; its quarters are round too.
fn nice_top(highest: f64) -> f64 {
    let wanted = (highest * 1.08).max(1.0);
    let power = 10f64.powf(wanted.log10().floor());
    let steps = [1.0, 1.2, 1.6, 2.0, 2.4, 3.2, 4.0, 6.0, 8.0, 10.0];
    let top = steps.into_iter().map(|step| step * power).find(|top| *top >= wanted);
    top.unwrap_or(10.0 * power).max(4.0)
}

/// A piece of a legend: a line or an area as it looks in the chart, and its name.
pub(super) fn legend(items: &[(&str, bool, String)]) -> Markup {
    html! {
        ul class="legend" {
            @for (class, is_line, name) in items {
                li {
                    svg aria-hidden="true" width="26" height="12" {
                        @if *is_line {
                            line class=(format!("line l-{class}")) x1="1" x2="25" y1="6" y2="6" {}
                        } @else {
                            rect class=(format!("fill f-{class}")) width="26" height="12" {}
                        }
                    }
                    " " (name)
                }
            }
        }
    }
}

/// The patterns of areas, for the whole page: told apart also without colour.
pub(super) fn patterns() -> Markup {
    /// Name, and a drawing on 8 by 8.
    const PATTERNS: [(&str, &str); 15] = [
        ("orphans", "M-1 9L9 -1M-1 1L1 -1M7 9L9 7"),
        ("closed_window", "M-1 9L9 -1M-1 1L1 -1M7 9L9 7"),
        ("unanswered", "M0 2H8M0 6H8"),
        ("in_flight", "M1 2h2M5 6h2"),
        ("fin_wait1", "M-1 9L9 -1M-1 1L1 -1M7 9L9 7"),
        ("last_ack", "M0 2H8M0 6H8"),
        ("closing", "M0 4H8M4 0V8"),
        ("fin_wait2", "M1 2h2M5 6h2"),
        ("close_wait", "M2 0V8M6 0V8"),
        ("established", ""),
        ("time_wait", "M3 4h1"),
        ("syn", "M-1 -1L9 9M-1 7L1 9M7 -1L9 1"),
        ("killed", "M-1 -1L9 9M-1 7L1 9M7 -1L9 1"),
        ("pressure", "M0 8L8 0"),
        ("memory", ""),
    ];
    html! {
        svg class="defs" width="0" height="0" aria-hidden="true" {
            defs {
                @for (name, drawing) in PATTERNS {
                    pattern id=(format!("p-{name}")) class=(format!("p-{name}")) width="8" height="8" patternUnits="userSpaceOnUse" {
                        rect class="ground" width="8" height="8" {}
                        @if !drawing.is_empty() { path class="ink" d=(drawing) {} }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_top_is_round_and_above_the_highest() {
        for (highest, top) in [
            (0.0, 4.0),
            (3.0, 4.0),
            (255.0, 320.0),
            (256.0, 320.0),
            (1973.0, 2400.0),
            (131_072.0, 160_000.0),
        ] {
            assert!((nice_top(highest) - top).abs() < 1e-6, "{highest}: {}", nice_top(highest));
        }
    }

    #[test]
    fn a_line_is_broken_where_samples_are_missing() {
        let values = [(0.0, 1.0), (1.0, 1.0), (2.0, 1.0), (9.0, 1.0), (10.0, 1.0)];
        let lengths: Vec<usize> = runs(&values).map(<[_]>::len).collect();
        assert_eq!(lengths, [3, 2]);
        assert_eq!(runs(&values[..1]).count(), 1);
    }

    #[test]
    fn labels_are_at_whole_times_of_the_readers_zone() {
        let zone = TimeZone::fixed(jiff::tz::Offset::constant(8));
        let plot = Plot::new("x", 1.0, Wall(1_795_365_730_500_000_000), 33.0);
        let labels: Vec<String> = plot.labels(&zone).into_iter().map(|(_, label)| label).collect();
        assert_eq!(labels, ["00:42:20", "00:42:30", "00:42:40"]);
        let plot = Plot::new("x", 1.0, Wall(1_795_365_730_500_000_000), 86_400.0 * 40.0);
        assert!(plot.labels(&zone).len() <= 6);
    }
}
