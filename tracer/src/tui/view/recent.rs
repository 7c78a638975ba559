//! What happened lately and matters, newest first.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::paint::{put, put_all, span, wrap};
use crate::aggregate::snapshot::Anomaly;
use crate::sanitize::width;
use crate::tui::model::{Looks, Model};

/// The newest that find room in `area`.
pub(crate) fn draw(model: &Model, area: Rect, buf: &mut Buffer) {
    let looks = &model.looks;
    let anomalies = model.shown().map_or(&[] as &[_], |shown| &shown.anomalies);
    if anomalies.is_empty() {
        let line = Line::from(span(" nothing out of the ordinary", looks.theme.dim));
        put(buf, area, 0, &line);
        return;
    }
    let rows = usize::from(area.height);
    let kinds = anomalies.iter().rev().take(rows);
    let kind_width = kinds.map(|it| width(it.kind)).max().unwrap_or(0).min(18);
    let cells = usize::from(area.width);
    let all = |each: usize| -> Vec<Line<'static>> {
        let newest = anomalies.iter().rev().take(rows);
        newest.flat_map(|anomaly| entry(looks, anomaly, kind_width, cells, each)).collect()
    };
    // All of them in as many words as it takes, or more of them in fewer.
    let complete = all(2);
    let lines = if complete.len() <= rows { complete } else { all(1) };
    put_all(buf, area, &lines);
}

/// `16:41:58 CRIT orphan-growth  :9981 +297/s for 30 s`, in up to `rows` lines.
fn entry(
    looks: &Looks,
    anomaly: &Anomaly,
    kind_width: usize,
    cells: usize,
    rows: usize,
) -> Vec<Line<'static>> {
    let clock = anomaly.time.clock(&looks.zone);
    let kind = looks.symbols.cut(anomaly.kind, kind_width);
    let text = looks.symbols.clean(&anomaly.text);
    let severity = anomaly.severity;
    let before = format!(" {clock} ");
    let word = format!("{:<4} ", severity.word());
    let mut kind = format!("{kind:<kind_width$} ");
    // Enough room for words beside the kind, or they do without it.
    if cells < width(&before) + width(&word) + width(&kind) + 30 {
        kind.clear();
    }
    let indent = width(&before) + width(&word) + width(&kind);
    let mut words = wrap(looks, &text, cells.saturating_sub(indent + 1), rows).into_iter();
    let mut lines = vec![Line::from(vec![
        span(before, looks.theme.dim),
        span(word, looks.theme.severity(severity)),
        span(kind, looks.theme.dim),
        span(words.next().unwrap_or_default(), looks.theme.text),
    ])];
    lines.extend(words.map(|text| {
        let text = format!("{}{text}", " ".repeat(indent));
        Line::from(span(text, looks.theme.text))
    }));
    lines
}
