//! Orphans over time against the limit, and where they will be soon.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::Style;
use ratatui::text::Line;

use super::paint::{field, put, put_right, span, split_bottom, split_left};
use super::raster::{BRAILLE, Raster};
use crate::aggregate::snapshot::{PortRow, Snapshot};
use crate::format;
use crate::sanitize::width;
use crate::tui::model::{Looks, Model};

/// What to draw.
pub(crate) struct Chart {
    /// Seconds from now (0 or less) and value, oldest first.
    points: Vec<(f64, f64)>,
    /// Of these, the filter's share, where it differs.
    part: Vec<(f64, f64)>,
    limit: u64,
    /// Change a second, if there is a credible trend towards the limit.
    growth: Option<f64>,
    /// Seconds of history on screen.
    span_s: f64,
    /// What the newest point is: now, or the time of another moment.
    end: String,
}

/// Columns of the labels on the left.
const LABELS: u16 = 9;
/// Below this share of the limit the axis follows the data: a flat line says nothing.
const NEAR: f64 = 0.25;

impl Chart {
    /// The host's orphans.
    pub(crate) fn of_host(snapshot: &Snapshot, span_s: f64) -> Self {
        let points = |value: fn(&crate::aggregate::snapshot::HistoryPoint) -> u64| {
            let history = snapshot.history.iter();
            history.map(|point| (seconds(snapshot, point.time), value(point) as f64)).collect()
        };
        let orphans = &snapshot.orphans;
        Self {
            points: points(|point| point.orphans_host),
            part: if snapshot.filter.is_empty() {
                Vec::new()
            } else {
                points(|point| point.orphans_tracked)
            },
            limit: orphans.limit.unwrap_or(0),
            growth: orphans.growth_per_s.filter(|_| orphans.limit_in_s.is_some()),
            span_s,
            end: String::from("now"),
        }
    }

    /// A service's own orphans. The limit counts the whole host's, so nothing is projected.
    pub(crate) fn of_port(snapshot: &Snapshot, row: &PortRow, span_s: f64) -> Self {
        let skipped = snapshot.history.len().saturating_sub(row.history.len());
        let times = snapshot.history.iter().skip(skipped);
        // Aligned with the end: of a longer one the start has no time any more.
        let untimed = row.history.len().saturating_sub(snapshot.history.len());
        let values = row.history.iter().skip(untimed);
        Self {
            points: times
                .zip(values)
                .map(|(point, value)| (seconds(snapshot, point.time), *value as f64))
                .collect(),
            part: Vec::new(),
            limit: snapshot.orphans.limit.unwrap_or(0),
            growth: None,
            span_s,
            end: String::from("now"),
        }
    }

    /// The chart of what `model` shows: where that is not the present, the axis says which time.
    #[must_use]
    pub(crate) fn ending(mut self, model: &Model) -> Self {
        if let Some(shown) = model.shown().filter(|_| !model.is_now()) {
            self.end = shown.time.clock(&model.looks.zone);
        }
        self
    }

    /// `last 5 m`, and the limit if it is not in the picture.
    pub(crate) fn title(&self, what: &str) -> String {
        let span = format::duration(self.span_s);
        let span = span.trim_end_matches(" 00 s");
        if self.limit > 0 && !self.is_near() {
            let limit = format::count(self.limit);
            format!("{what}, last {span} (limit {limit}, above)")
        } else {
            format!("{what}, last {span}")
        }
    }

    /// What the lines mean, for the other end of the title; as much as fits into `room`.
    pub(crate) fn legend(&self, looks: &Looks, filter: &str, room: usize) -> String {
        let mut parts = Vec::new();
        if !self.part.is_empty() {
            let part = if looks.symbols.is_utf8() { "dark" } else { "#" };
            parts.push(format!("{part} {}", looks.symbols.clean(filter)));
        }
        if self.growth.is_some() {
            parts.push(format!("{} projected", looks.symbols.projection()));
        }
        // Last, because the axis says MAX as well.
        if self.limit > 0 && self.is_near() {
            parts.push(format!("{} tcp_max_orphans", looks.symbols.limit()));
        }
        while width(&parts.join("  ")) > room {
            parts.pop();
        }
        parts.join("  ")
    }

    fn largest(&self) -> f64 {
        let visible = self.points.iter().filter(|(at, _)| *at >= -self.span_s);
        visible.map(|(_, value)| *value).fold(0.0, f64::max)
    }

    fn is_near(&self) -> bool {
        self.largest() >= self.limit as f64 * NEAR
    }

    /// The value at the top edge.
    fn top(&self) -> f64 {
        if self.limit > 0 && self.is_near() {
            nice(self.largest().max(self.limit as f64) * 1.12)
        } else {
            nice((self.largest() * 1.1).max(10.0))
        }
    }

    /// Draws plot and axes; `area` is inside of any frame.
    pub(crate) fn draw(&self, looks: &Looks, area: Rect, buf: &mut Buffer) {
        let (above, axis) = split_bottom(area, 1);
        let (labels, plot) = split_left(above, LABELS);
        let (_, axis) = split_left(axis, LABELS);
        if plot.width == 0 || plot.height == 0 {
            return;
        }
        if self.points.is_empty() {
            let line = Line::from(span(" no history yet", looks.theme.dim));
            put(buf, area, area.height / 2, &line);
            return;
        }
        let (past, future) = self.split(plot.width);
        let top = self.top();
        self.draw_labels(looks, top, labels, buf);
        self.draw_plot(looks, top, past, plot, buf);
        self.draw_axis(looks, past, future, axis, buf);
    }

    /// Columns of what was and of what comes: a fifth, if anything can be said about it.
    fn split(&self, columns: u16) -> (u16, u16) {
        let future = self.growth.map_or(0, |_| columns / 5);
        (columns - future, future)
    }

    /// The time at a place of the chart drawn into `area`: seconds after the newest point, so 0 or
    /// less. Nobody can go to what comes.
    pub(crate) fn seconds_at(&self, area: Rect, at: Position) -> Option<f64> {
        let (above, _) = split_bottom(area, 1);
        let (_, plot) = split_left(above, LABELS);
        let (past, _) = self.split(plot.width);
        let column = at.x.checked_sub(plot.x).filter(|column| *column < past)?;
        let ago = f64::from(past - 1 - column) / f64::from(past.max(2) - 1);
        plot.contains(at).then_some(-self.span_s * ago)
    }

    fn draw_labels(&self, looks: &Looks, top: f64, area: Rect, buf: &mut Buffer) {
        let rows = area.height;
        let limit_row = self.limit_row(top, rows);
        for row in 0..rows {
            let from_bottom = rows - 1 - row;
            let (text, style) = if Some(from_bottom) == limit_row {
                let text = format!("MAX {}", format::short(self.limit as f64));
                (text, looks.theme.chart_limit)
            } else if row == 0 {
                (format::short(top), looks.theme.dim)
            } else if from_bottom == 0 {
                (String::from("0"), looks.theme.dim)
            } else if rows >= 8 && from_bottom == rows / 2 {
                let middle = top * (f64::from(from_bottom) + 0.5) / f64::from(rows);
                (format::short(middle), looks.theme.dim)
            } else {
                (String::new(), looks.theme.dim)
            };
            let text = field(looks, &text, usize::from(LABELS) - 1, false);
            let line = Line::from(vec![
                span(text, style),
                span(looks.symbols.column(), looks.theme.border),
            ]);
            put(buf, area, row, &line);
        }
    }

    /// The cell row of the limit, counted from the bottom.
    fn limit_row(&self, top: f64, rows: u16) -> Option<u16> {
        let visible = self.limit > 0 && self.is_near() && top > 0.0 && rows > 0;
        let share = self.limit as f64 / top;
        (visible && share < 1.0).then(|| ((share * f64::from(rows)) as u16).min(rows - 1))
    }

    fn draw_plot(&self, looks: &Looks, top: f64, past: u16, plot: Rect, buf: &mut Buffer) {
        let utf8 = looks.symbols.is_utf8();
        let (across, up) = if utf8 { BRAILLE } else { (1, 1) };
        let dot_rows = usize::from(plot.height) * up;
        let dot_columns = usize::from(past) * across;
        let height = |value: f64| -> usize {
            let dots = (value / top * dot_rows as f64).round();
            // Saturates, and NaN is 0. Something that is there shows.
            (dots as usize).clamp(1, dot_rows)
        };
        let at = |column: usize| -> f64 {
            -self.span_s * (dot_columns - 1 - column.min(dot_columns - 1)) as f64
                / (dot_columns.max(2) - 1) as f64
        };
        let heights = |points: &[(f64, f64)]| -> Vec<usize> {
            (0..dot_columns).map(|column| value_at(points, at(column)).map_or(0, &height)).collect()
        };
        let (whole, part) = if dot_columns == 0 {
            (Vec::new(), Vec::new())
        } else {
            (heights(&self.points), heights(&self.part))
        };

        let (projected, end) = self.projection(plot.width - past, past, dot_rows, top, across);
        let end = end.map(|(step, row)| (usize::from(past) + step / across, row / up));
        let mut raster = Raster::new(plot.width, plot.height);
        if utf8 {
            for (x, height) in whole.iter().enumerate() {
                (0..*height).for_each(|y| raster.set(x, y));
            }
            // Every other dot: a dotted line.
            for (x, y) in projected.iter().enumerate().filter(|(x, _)| x % 2 == 0) {
                raster.set(dot_columns + x, *y);
            }
        }
        let limit_row = self.limit_row(top, plot.height);
        for row in 0..plot.height {
            for column in 0..plot.width {
                let from = usize::from(column) * across;
                let tallest = |heights: &[usize]| {
                    let cell = heights.iter().skip(from).take(across);
                    cell.copied().max().unwrap_or(0)
                };
                let bottom = usize::from(row) * up;
                let in_part = tallest(&part) > bottom;
                let (glyph, style) = if end == Some((usize::from(column), usize::from(row))) {
                    (looks.symbols.projection_end().chars().next(), looks.theme.chart_limit)
                } else if column < past && tallest(&whole) > bottom {
                    let style =
                        if in_part { looks.theme.chart_part } else { looks.theme.chart_area };
                    let glyph = if utf8 {
                        raster.braille(column, row)
                    } else {
                        let top_cell = tallest(&whole) == bottom + 1;
                        let text = match (top_cell, in_part) {
                            (true, _) => looks.symbols.area_top(),
                            (false, true) => looks.symbols.area_part(),
                            (false, false) => looks.symbols.area(),
                        };
                        text.chars().next()
                    };
                    (glyph, style)
                } else if !utf8
                    && column >= past
                    && projected.get(usize::from(column - past)) == Some(&usize::from(row))
                {
                    (looks.symbols.projection().chars().next(), looks.theme.chart_projection)
                } else if utf8 && column >= past && raster.braille(column, row).is_some() {
                    (raster.braille(column, row), looks.theme.chart_projection)
                } else if Some(row) == limit_row {
                    let gap = !utf8 && column % 2 == 1;
                    let glyph = looks.symbols.limit().chars().next().filter(|_| !gap);
                    (glyph, looks.theme.chart_limit)
                } else {
                    (None, Style::new())
                };
                let place = (plot.x + column, plot.y + plot.height - 1 - row);
                if let (Some(glyph), Some(cell)) = (glyph, buf.cell_mut(place)) {
                    cell.set_char(glyph).set_style(style);
                }
            }
        }
    }

    /// The dot row of each dot column of the future, on the same time scale as the past; and the dot
    /// column and row where the line ends before the picture does, at the limit or at the top.
    /// Drawn on from there it would look like a plateau.
    fn projection(
        &self,
        columns: u16,
        past: u16,
        dot_rows: usize,
        top: f64,
        across: usize,
    ) -> (Vec<usize>, Option<(usize, usize)>) {
        let (Some(growth), Some((_, last))) = (self.growth, self.points.last()) else {
            return (Vec::new(), None);
        };
        let step_s = self.span_s / (f64::from(past.max(1)) * across as f64);
        let cap = if self.limit > 0 { top.min(self.limit as f64) } else { top };
        let row = |value: f64| {
            let row = (value / top * dot_rows as f64) as usize;
            row.min(dot_rows.saturating_sub(1))
        };
        let mut rows = Vec::new();
        for step in 0..usize::from(columns) * across {
            let value = last + growth * step_s * (step + 1) as f64;
            if value >= cap {
                return (rows, Some((step, row(cap))));
            }
            rows.push(row(value));
        }
        (rows, None)
    }

    fn draw_axis(&self, looks: &Looks, past: u16, future: u16, area: Rect, buf: &mut Buffer) {
        let dim = looks.theme.dim;
        let start = format!("-{}", format::duration(self.span_s).replace(' ', ""));
        let start = start.trim_end_matches("00s").to_owned();
        put(buf, area, 0, &Line::from(span(start.clone(), dim)));
        let (history, rest) = split_left(area, past);
        if usize::from(past) > start.len() + 1 + self.end.len() {
            put_right(buf, history, 0, &Line::from(span(self.end.clone(), dim)));
        }
        let ahead = self.span_s * f64::from(future) / f64::from(past.max(1));
        let end = format!("+{}", format::duration(ahead.round()).replace(' ', ""));
        if future > 0 && end.len() + 1 < usize::from(future) {
            put_right(buf, rest, 0, &Line::from(span(end, dim)));
        }
    }
}

fn seconds(snapshot: &Snapshot, at: crate::time::Wall) -> f64 {
    at.0.saturating_sub(snapshot.time.0) as f64 / 1e9
}

/// The value that held at `at`: that of the last point before it.
fn value_at(points: &[(f64, f64)], at: f64) -> Option<f64> {
    // Half an interval of grace, or the newest column would wait for a point that is just coming.
    let after = points.partition_point(|(time, _)| *time <= at + 0.001);
    after.checked_sub(1).and_then(|before| points.get(before)).map(|(_, value)| *value)
}

/// `value` rounded up to 1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6 or 8 times a power of ten.
fn nice(value: f64) -> f64 {
    if !value.is_finite() || value <= 0.0 {
        return 10.0;
    }
    let power = 10f64.powf(value.log10().floor());
    let steps = [1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0];
    let found = steps.into_iter().find(|step| step * power >= value * 0.999);
    found.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axis_ends_are_round() {
        assert!((nice(146_800.0) - 150_000.0).abs() < 1.0);
        assert!((nice(0.0) - 10.0).abs() < 1e-9);
        assert!((nice(11.0) - 12.0).abs() < 1e-9);
        assert!((nice(f64::NAN) - 10.0).abs() < 1e-9);
    }

    #[test]
    fn a_point_holds_until_the_next() {
        let points = [(-10.0, 1.0), (-5.0, 2.0)];
        assert_eq!(value_at(&points, -11.0), None);
        assert_eq!(value_at(&points, -6.0), Some(1.0));
        assert_eq!(value_at(&points, 0.0), Some(2.0));
    }

    /// A chart that grows by `growth` from 100 on, below `limit`.
    fn growing(growth: f64, limit: u64) -> Chart {
        let points = (-300..=0).map(|at| (f64::from(at), 100.0)).collect();
        let growth = Some(growth);
        let end = String::from("now");
        Chart { points, part: Vec::new(), limit, growth, span_s: 300.0, end }
    }

    fn drawn(chart: &Chart, utf8: bool) -> Vec<String> {
        let mut looks = crate::tui::tests::looks();
        if !utf8 {
            looks.symbols = crate::tui::symbols::Symbols::ASCII;
        }
        let area = Rect::new(0, 0, 60, 12);
        let mut buffer = Buffer::empty(area);
        chart.draw(&looks, area, &mut buffer);
        let line = |y| (0..60).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        (0..12).map(line).collect()
    }

    #[test]
    fn a_projection_ends_where_it_leaves_the_chart_and_is_no_plateau() {
        for (growth, limit, row_of_mark) in [
            // To a limit in the picture, and through the top towards one that is far above.
            (5.0, 150, "MAX 150"),
            (50.0, 150, "MAX 150"),
            (5.0, 1_000_000, "120│"),
        ] {
            for (utf8, mark) in [(true, '▲'), (false, '^')] {
                let lines = drawn(&growing(growth, limit), utf8);
                let all = lines.join("\n");
                let marked: Vec<&String> = lines.iter().filter(|it| it.contains(mark)).collect();
                let [line] = marked[..] else { panic!("{growth} to {limit}:\n{all}") };
                let expected =
                    if utf8 { row_of_mark.to_owned() } else { row_of_mark.replace('│', "|") };
                assert!(line.contains(&expected), "{growth} to {limit}: {expected}\n{all}");
                // After the mark nothing but the limit's own line.
                let after = line.split(mark).nth(1).unwrap_or_default();
                assert!(after.chars().all(|it| " ╌=".contains(it)), "{after}\n{all}");
                let is_line = |it: char| ('\u{2801}'..='\u{28ff}').contains(&it) || it == '/';
                let cell = line.chars().position(|it| it == mark).unwrap();
                for other in &lines[..lines.len() - 1] {
                    assert!(!other.chars().skip(cell + 1).any(is_line), "{all}");
                }
            }
        }
        // One that stays in the picture is drawn to its end.
        let all = drawn(&growing(0.1, 150), true).join("\n");
        assert!(!all.contains('▲'), "{all}");
    }
}
