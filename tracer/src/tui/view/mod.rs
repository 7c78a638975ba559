//! What the model looks like: a pure function of it into a buffer.

mod chart;
mod differences;
mod doctor;
mod events;
mod footer;
mod funnel;
mod gauges;
mod header;
mod help;
mod page;
mod paint;
mod port;
mod port_details;
mod ports;
mod process;
mod raster;
mod recent;
mod ruler;
mod table;
mod top;
mod trust;

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::text::Line;

use super::model::{Focus, Model, Overlay, Page};
use paint::{put_all, split_bottom, split_top};

/// How much a terminal of some size can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// Line 2 and nothing else.
    Verdict,
    /// Numbers without a chart.
    Numbers,
    /// Everything once, one below the other.
    Compact,
    /// Side by side.
    Columns,
    /// With room for what is only sometimes needed.
    Wide,
}

impl Class {
    pub(crate) const fn of(width: u16, height: u16) -> Self {
        match (width, height) {
            (0..40, _) | (_, 0..8) => Self::Verdict,
            (0..80, _) | (_, 0..24) => Self::Numbers,
            (180.., 45..) => Self::Wide,
            (100.., 30..) => Self::Columns,
            _ => Self::Compact,
        }
    }
}

/// The parts of the screen that every page has.
struct Parts {
    class: Class,
    identity: Rect,
    verdict: Rect,
    verdict_lines: Vec<Line<'static>>,
    ruler: Rect,
    body: Rect,
    footer: Rect,
}

impl Parts {
    fn of(model: &Model, area: Rect) -> Self {
        let class = Class::of(area.width, area.height);
        let none = Rect { height: 0, ..area };
        if class == Class::Verdict {
            let verdict_lines = header::verdict(model, area.width, usize::from(area.height));
            let used = u16::try_from(verdict_lines.len()).unwrap_or(u16::MAX);
            let (verdict, rest) = split_top(area, used);
            // Whatever is left says whether to believe it.
            let (_, identity) = split_bottom(rest, 1);
            let (ruler, body, footer) = (none, none, none);
            return Self { class, identity, verdict, verdict_lines, ruler, body, footer };
        }
        // Cut off, the sentence would lose its end, and that is the time that is left.
        let rows = if area.width < 80 { 3 } else { 2 };
        let verdict_lines = header::verdict(model, area.width, rows);
        let used = u16::try_from(verdict_lines.len()).unwrap_or(1);
        let (identity, rest) = split_top(area, 1);
        let (verdict, rest) = split_top(rest, used);
        let (ruler, rest) = split_top(rest, ruler::rows(model, class, rest.height));
        let (body, footer) = split_bottom(rest, 1);
        Self { class, identity, verdict, verdict_lines, ruler, body, footer }
    }
}

/// Draws everything.
pub(crate) fn draw(model: &Model, area: Rect, buf: &mut Buffer) {
    let area = area.intersection(buf.area);
    let parts = Parts::of(model, area);
    header::identity(model, parts.identity, buf);
    put_all(buf, parts.verdict, &parts.verdict_lines);
    ruler::draw(model, parts.ruler, buf);
    footer::draw(model, parts.footer, buf);
    if parts.class == Class::Verdict {
        return;
    }
    match (model.overlay, model.page()) {
        (Some(overlay), _) => {
            let lines = overlay_lines(model, overlay, page::text_width(parts.body));
            page::overlay(model, overlay_title(overlay), &lines, parts.body, buf);
        }
        (None, Some(Page::Doctor)) => doctor::draw(model, parts.body, buf),
        (None, Some(page)) => page_of(model, page, parts.body).draw(model, parts.body, buf),
        (None, None) => top::draw(model, parts.class, parts.body, buf),
    }
}

/// How many lines can be scrolled off the page or overlay.
pub(crate) fn scroll_limit(model: &Model) -> usize {
    let area = Rect::new(0, 0, model.width, model.height);
    let parts = Parts::of(model, area);
    match (model.overlay, model.page()) {
        (Some(overlay), _) => {
            let lines = overlay_lines(model, overlay, page::text_width(parts.body));
            page::overlay_limit(lines.len(), parts.body)
        }
        (None, Some(Page::Doctor)) => doctor::scroll_limit(model, parts.body),
        (None, Some(page)) => page_of(model, page, parts.body).scroll_limit(parts.body),
        (None, None) => 0,
    }
}

/// What lies under the pointer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Target {
    /// This row of a table, of the rows as they are filtered and sorted.
    Row(Focus, usize),
    /// The head of this column.
    Head(Focus, usize),
    /// A table's frame, or where it has no rows.
    Table(Focus),
    /// A row of the doctor's.
    Check(usize),
    /// This anomaly of the timeline; the first is 1.
    Mark(usize),
    /// A time, so many seconds after the moment on screen.
    Seek(f64),
}

/// What lies at a column and row of the screen, if anything can be done with it.
pub(crate) fn target(model: &Model, column: u16, row: u16) -> Option<Target> {
    let area = Rect::new(0, 0, model.width, model.height);
    let parts = Parts::of(model, area);
    let at = Position::new(column, row);
    if parts.ruler.contains(at) {
        return ruler::target(model, parts.ruler, at);
    }
    if !parts.body.contains(at) {
        return None;
    }
    match (model.overlay, model.page()) {
        (None, None) => top::Layout::of(model, parts.class, parts.body).target(model, at),
        (None, Some(Page::Doctor)) => doctor::row_at(model, parts.body, at).map(Target::Check),
        _ => None,
    }
}

/// The rows at the top of the ports table and of the processes table.
pub(crate) fn first_rows(model: &Model) -> (usize, usize) {
    let area = Rect::new(0, 0, model.width, model.height);
    let parts = Parts::of(model, area);
    top::Layout::of(model, parts.class, parts.body).first_rows(model)
}

fn page_of(model: &Model, page: &Page, body: Rect) -> page::Contents {
    match page {
        Page::Port(key) => port::contents(model, *key, body),
        Page::Process(key) => process::contents(model, key, body),
        Page::Events => events::contents(model, body),
        Page::Differences => differences::contents(model, body),
        // Drawn by itself.
        Page::Doctor => page::Contents { chart: None, panels: Vec::new(), one_column: true },
        Page::Finding(id) => doctor::finding(model, id, body),
    }
}

fn overlay_lines(model: &Model, overlay: Overlay, cells: usize) -> Vec<Line<'static>> {
    match overlay {
        Overlay::Help => help::lines(model, cells),
        Overlay::Trust => trust::lines(model, cells),
    }
}

const fn overlay_title(overlay: Overlay) -> &'static str {
    match overlay {
        Overlay::Help => "help",
        Overlay::Trust => "what the numbers are worth",
    }
}
