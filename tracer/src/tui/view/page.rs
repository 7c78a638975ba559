//! A page of panels in columns, and an overlay of lines: both scroll.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::chart::Chart;
use super::paint::{
    boxed, put, put_all, put_right, rule, span, split_bottom, split_left, split_top,
};
use crate::tui::model::{Looks, Model};

/// A title and lines.
pub(crate) struct Panel {
    pub(crate) title: &'static str,
    pub(crate) lines: Vec<Line<'static>>,
}

/// What a page shows.
pub(crate) struct Contents {
    /// The chart and its title.
    pub(crate) chart: Option<(Chart, String)>,
    pub(crate) panels: Vec<Panel>,
    /// Whether panels have the whole width, one below the other.
    pub(crate) one_column: bool,
}

const GAP: u16 = 3;

/// How many columns of panels stand side by side.
const fn columns(body: Rect) -> u16 {
    match body.width {
        0..80 => 1,
        80..180 => 2,
        _ => 3,
    }
}

/// The width of a panel in `body`.
pub(crate) fn panel_width(body: Rect) -> usize {
    width_of(body, columns(body))
}

fn width_of(body: Rect, columns: u16) -> usize {
    usize::from(body.width.saturating_sub(GAP * (columns - 1) + 2) / columns)
}

impl Contents {
    const fn columns(&self, body: Rect) -> u16 {
        if self.one_column { 1 } else { columns(body) }
    }

    /// Where the chart goes, and what is left.
    fn split(&self, body: Rect) -> (Rect, Rect) {
        let none = Rect { height: 0, ..body };
        match (&self.chart, body.height) {
            (Some(_), 18..) if body.width >= 80 => split_top(body, (body.height / 3).min(16)),
            _ => (none, body),
        }
    }

    /// The panels stacked in columns: in order, each column about as high as the next.
    fn stacks(&self, looks: &Looks, body: Rect) -> Vec<Vec<Line<'static>>> {
        let columns = self.columns(body);
        let cells = width_of(body, columns);
        let columns = usize::from(columns);
        let heights: Vec<usize> = self.panels.iter().map(|it| it.lines.len() + 2).collect();
        let mut ends = best_split(&heights, columns).into_iter();
        let mut end = ends.next();
        let mut stacks = vec![Vec::new()];
        for (at, panel) in self.panels.iter().enumerate() {
            if end == Some(at) {
                stacks.push(Vec::new());
                end = ends.next();
            }
            let Some(stack) = stacks.last_mut() else {
                continue;
            };
            if !stack.is_empty() {
                stack.push(Line::default());
            }
            stack.push(rule(looks, panel.title, cells, false));
            stack.extend(panel.lines.iter().cloned());
        }
        stacks
    }

    pub(crate) fn scroll_limit(&self, body: Rect) -> usize {
        let (_, area) = self.split(body);
        let columns = self.columns(body);
        let heights: Vec<usize> = self.panels.iter().map(|it| it.lines.len() + 2).collect();
        let tallest = tallest(&heights, &best_split(&heights, usize::from(columns)));
        over(tallest.saturating_sub(1), area.height)
    }

    pub(crate) fn draw(&self, model: &Model, body: Rect, buf: &mut Buffer) {
        let looks = &model.looks;
        let (plot, area) = self.split(body);
        if let (Some((chart, what)), 2..) = (&self.chart, plot.height) {
            let title = chart.title(what);
            let room = usize::from(plot.width).saturating_sub(title.len() + 10);
            let legend = chart.legend(looks, "", room);
            let inner = boxed(buf, looks, plot, &title, &legend, false);
            chart.draw(looks, inner, buf);
        }
        let stacks = self.stacks(looks, body);
        let tallest = stacks.iter().map(Vec::len).max().unwrap_or(0);
        let limit = over(tallest, area.height);
        let scroll = model.scroll.min(limit);
        let (shown, note) = split_bottom(area, u16::from(limit > 0));
        let mut rest = shown;
        rest.x += 1.min(rest.width);
        rest.width = rest.width.saturating_sub(1);
        let cells = width_of(body, self.columns(body));
        let cells = u16::try_from(cells).unwrap_or(u16::MAX);
        for stack in &stacks {
            let (column, after) = split_left(rest, cells);
            put_all(buf, column, &stack[scroll.min(stack.len())..]);
            rest = split_left(after, GAP).1;
        }
        scroll_note(looks, (limit - scroll, scroll), ("j", "k"), note, buf);
    }
}

/// Lines that do not fit. When there are any, one line goes to the note that says so.
pub(crate) fn over(lines: usize, height: u16) -> usize {
    let height = usize::from(height);
    if lines <= height { 0 } else { lines - height.saturating_sub(1) }
}

/// How many lines are out of sight, below and above, and the keys that bring them.
pub(crate) fn scroll_note(
    looks: &Looks,
    (below, above): (usize, usize),
    (down, up): (&str, &str),
    area: Rect,
    buf: &mut Buffer,
) {
    if below == 0 && above == 0 {
        return;
    }
    let text = match (above, below) {
        (0, below) => format!("{below} more lines below ({down}) "),
        (above, 0) => format!("{above} lines above ({up}) "),
        (above, below) => format!("{above} lines above, {below} below ({down} {up}) "),
    };
    put_right(buf, area, 0, &Line::from(span(text, looks.theme.dim)));
}

/// Where to break a sequence of heights so that the tallest of `columns` stacks is lowest.
fn best_split(heights: &[usize], columns: usize) -> Vec<usize> {
    let none = Vec::new();
    match columns {
        2 => (1..heights.len())
            .map(|first| vec![first])
            .min_by_key(|ends| tallest(heights, ends))
            .unwrap_or(none),
        3 => (1..heights.len())
            .flat_map(|first| (first + 1..heights.len()).map(move |second| vec![first, second]))
            .min_by_key(|ends| tallest(heights, ends))
            .unwrap_or(none),
        _ => none,
    }
}

fn tallest(heights: &[usize], ends: &[usize]) -> usize {
    let starts = std::iter::once(0).chain(ends.iter().copied());
    let ends = ends.iter().copied().chain([heights.len()]);
    let stack = |(from, to): (usize, usize)| heights.get(from..to).map_or(0, |it| it.iter().sum());
    starts.zip(ends).map(stack).max().unwrap_or(0)
}

/// Text lines in an overlay are this wide.
pub(crate) fn text_width(body: Rect) -> usize {
    usize::from(overlay_area(body, 0).width).saturating_sub(4)
}

/// Lines that can be scrolled off an overlay.
pub(crate) fn overlay_limit(lines: usize, body: Rect) -> usize {
    over(lines, overlay_area(body, lines).height.saturating_sub(2))
}

/// In the middle, as wide as a line can be read, and as high as it has to be.
fn overlay_area(body: Rect, lines: usize) -> Rect {
    let width = body.width.min(96);
    let height = u16::try_from(lines.saturating_add(2)).unwrap_or(u16::MAX);
    let height = height.min(body.height);
    Rect {
        x: body.x + (body.width - width) / 2,
        y: body.y + (body.height - height) / 2,
        width,
        height,
    }
}

/// Draws `lines` over the body.
pub(crate) fn overlay(
    model: &Model,
    title: &str,
    lines: &[Line<'static>],
    body: Rect,
    buf: &mut Buffer,
) {
    let looks = &model.looks;
    let area = overlay_area(body, lines.len());
    let inner = boxed(buf, looks, area, title, "Esc closes", true);
    let limit = over(lines.len(), inner.height);
    let scroll = model.scroll.min(limit);
    let (text, note) = split_bottom(inner, u16::from(limit > 0));
    for (row, line) in (0..text.height).zip(&lines[scroll.min(lines.len())..]) {
        let (_, column) = split_left(text, 1);
        put(buf, column, row, line);
    }
    scroll_note(looks, (limit - scroll, scroll), ("j", "k"), note, buf);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_come_out_even() {
        assert_eq!(best_split(&[5, 5, 5, 5], 2), [2]);
        assert_eq!(best_split(&[9, 1, 1, 7], 2), [1]);
        assert_eq!(best_split(&[3, 3, 3], 3), [1, 2]);
        assert_eq!(best_split(&[], 3), [] as [usize; 0]);
        assert_eq!(best_split(&[4], 2), [] as [usize; 0]);
    }
}
