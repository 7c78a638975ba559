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
    let kind_width = kinds.map(|it| width(it.kind)).max().unwrap_or(0).min(16);
    let mut lines = Vec::new();
    for anomaly in anomalies.iter().rev() {
        if lines.len() >= rows {
            break;
        }
        lines.extend(entry(looks, anomaly, kind_width, usize::from(area.width)));
    }
    put_all(buf, area, &lines);
}

/// `16:41:58 CRIT orphan-slope  :9981 +297/s for 30 s`.
fn entry(looks: &Looks, anomaly: &Anomaly, kind_width: usize, cells: usize) -> Vec<Line<'static>> {
    let clock = anomaly.time.clock(&looks.zone);
    let kind = looks.symbols.cut(anomaly.kind, kind_width);
    let text = looks.symbols.clean(&anomaly.text);
    let severity = anomaly.severity;
    let (before, word, kind) = (
        format!(" {clock} "),
        format!("{:<4} ", severity.word()),
        format!("{kind:<kind_width$} "),
    );
    let indent = width(&before) + width(&word) + width(&kind);
    // Enough room for words beside the kind, or they do without it.
    let (kind, indent) = if cells < indent + 30 {
        (String::new(), indent - width(&kind))
    } else {
        (kind, indent)
    };
    let mut words = wrap(looks, &text, cells.saturating_sub(indent), 1).into_iter();
    vec![Line::from(vec![
        span(before, looks.theme.dim),
        span(word, looks.theme.severity(severity)),
        span(kind, looks.theme.dim),
        span(words.next().unwrap_or_default(), looks.theme.text),
    ])]
}
