//! The few ways in which everything is put on screen. Each clips to its area, so that no size can
//! make a view panic.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use crate::sanitize::width;
use crate::tui::model::Looks;

/// `text` in `style`.
pub(crate) fn span(text: impl Into<String>, style: Style) -> Span<'static> {
    Span::styled(text.into(), style)
}

/// Line `row` of `area`.
pub(crate) fn put(buf: &mut Buffer, area: Rect, row: u16, line: &Line<'_>) {
    let area = area.intersection(buf.area);
    if row < area.height && area.width > 0 {
        buf.set_line(area.x, area.y + row, line, area.width);
    }
}

/// `lines` from the top of `area` on.
pub(crate) fn put_all(buf: &mut Buffer, area: Rect, lines: &[Line<'_>]) {
    for (row, line) in (0..area.height).zip(lines) {
        put(buf, area, row, line);
    }
}

/// Puts `text` at the right end of line `row`.
pub(crate) fn put_right(buf: &mut Buffer, area: Rect, row: u16, line: &Line<'_>) {
    let cells = u16::try_from(line.width()).unwrap_or(u16::MAX).min(area.width);
    let (_, right) = split_left(area, area.width - cells);
    put(buf, right, row, line);
}

/// The first `rows` of `area`, and the rest.
pub(crate) fn split_top(area: Rect, rows: u16) -> (Rect, Rect) {
    let rows = rows.min(area.height);
    let top = Rect { height: rows, ..area };
    let rest = Rect { y: area.y + rows, height: area.height - rows, ..area };
    (top, rest)
}

/// What is above the last `rows` of `area`, and those.
pub(crate) fn split_bottom(area: Rect, rows: u16) -> (Rect, Rect) {
    split_top(area, area.height.saturating_sub(rows))
}

/// The first `columns` of `area`, and the rest.
pub(crate) fn split_left(area: Rect, columns: u16) -> (Rect, Rect) {
    let columns = columns.min(area.width);
    let left = Rect { width: columns, ..area };
    let rest = Rect { x: area.x + columns, width: area.width - columns, ..area };
    (left, rest)
}

/// `── title ─────`, as wide as `cells`.
pub(crate) fn rule(looks: &Looks, title: &str, cells: usize, focused: bool) -> Line<'static> {
    let border = if focused { looks.theme.focus } else { looks.theme.border };
    let title = looks.symbols.cut(title, cells.saturating_sub(5));
    let used = width(&title) + 4;
    let dash = looks.symbols.rule();
    Line::from(vec![
        span(dash.repeat(2.min(cells)), border),
        span(format!(" {title} "), looks.theme.title),
        span(dash.repeat(cells.saturating_sub(used)), border),
    ])
}

/// Draws a box with `title` left and `note` right in its upper edge; returns what is inside.
pub(crate) fn boxed(
    buf: &mut Buffer,
    looks: &Looks,
    area: Rect,
    title: &str,
    note: &str,
    focused: bool,
) -> Rect {
    let area = area.intersection(buf.area);
    if area.width < 2 || area.height < 2 {
        return Rect { height: 0, ..area };
    }
    let style = if focused { looks.theme.focus } else { looks.theme.border };
    let set = looks.symbols.borders();
    let across = usize::from(area.width) - 2;
    let edge = |left: &str, dash: &str, right: &str| {
        Line::styled(format!("{left}{}{right}", dash.repeat(across)), style)
    };
    let top = edge(set.top_left, set.horizontal_top, set.top_right);
    put(buf, area, 0, &top);
    let bottom = edge(set.bottom_left, set.horizontal_bottom, set.bottom_right);
    put(buf, area, area.height - 1, &bottom);
    for row in 1..area.height - 1 {
        put(buf, area, row, &Line::styled(set.vertical_left, style));
        put_right(buf, area, row, &Line::styled(set.vertical_right, style));
    }
    let edge = Rect { x: area.x + 2, width: area.width.saturating_sub(4), height: 1, ..area };
    let title = looks.symbols.cut(title, across.saturating_sub(4));
    let mut free = across.saturating_sub(width(&title) + 4);
    if !title.is_empty() {
        put(buf, edge, 0, &Line::from(span(format!(" {title} "), looks.theme.title)));
    } else {
        free = across;
    }
    if !note.is_empty() && width(note) + 3 <= free {
        put_right(buf, edge, 0, &Line::from(span(format!(" {note} "), looks.theme.dim)));
    }
    Rect { x: area.x + 1, y: area.y + 1, width: area.width - 2, height: area.height - 2 }
}

/// `text` broken between words into at most `rows` lines of `cells`. What does not fit ends in an
/// ellipsis, and so does a word that is longer than a line.
pub(crate) fn wrap(looks: &Looks, text: &str, cells: usize, rows: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let gap = usize::from(!line.is_empty());
        if width(&line) + gap + width(word) <= cells {
            line.push_str(&" ".repeat(gap));
            line.push_str(word);
        } else if lines.len() + 1 < rows {
            if gap > 0 {
                lines.push(std::mem::take(&mut line));
            }
            line = looks.symbols.cut(word, cells);
        } else {
            lines.push(cut_short(looks, &line, word, cells));
            lines.truncate(rows);
            return lines;
        }
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines.truncate(rows);
    lines
}

/// The last line, when more words follow: whole words and an ellipsis.
fn cut_short(looks: &Looks, line: &str, next: &str, cells: usize) -> String {
    let tail = looks.symbols.ellipsis();
    let mut kept = line;
    while !kept.is_empty() && width(kept) + 1 + width(tail) > cells {
        kept = kept.rsplit_once(' ').map_or("", |(start, _)| start);
    }
    if kept.is_empty() {
        let first = if line.is_empty() { next } else { line };
        looks.symbols.cut(first, cells)
    } else {
        format!("{kept} {tail}")
    }
}

/// `label      value` with the value ending at `cells`.
pub(crate) fn fact(
    looks: &Looks,
    label: &str,
    value: &str,
    style: Style,
    cells: usize,
) -> Line<'static> {
    let label = looks.symbols.cut(label, cells.saturating_sub(width(value) + 1));
    let gap = cells.saturating_sub(width(&label) + width(value));
    Line::from(vec![
        span(label, looks.theme.dim),
        span(" ".repeat(gap), looks.theme.text),
        span(looks.symbols.cut(value, cells), style),
    ])
}

/// `text` in a field of `cells`, cut if it is longer.
pub(crate) fn field(looks: &Looks, text: &str, cells: usize, left: bool) -> String {
    let text = looks.symbols.cut(text, cells);
    let gap = " ".repeat(cells.saturating_sub(width(&text)));
    if left { format!("{text}{gap}") } else { format!("{gap}{text}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::tests::looks;

    fn wrapped(text: &str, cells: usize, rows: usize) -> Vec<String> {
        wrap(&looks(), text, cells, rows)
    }

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrapped("limit reached in 43 s", 13, 3), ["limit reached", "in 43 s"]);
        assert_eq!(wrapped("", 13, 3), [] as [&str; 0]);
        assert_eq!(wrapped("limit", 13, 0), [] as [&str; 0]);
    }

    #[test]
    fn what_does_not_fit_is_missed_visibly() {
        assert_eq!(wrapped("limit reached in 43 s", 16, 1), ["limit reached …"]);
        assert_eq!(wrapped("limit reached in 43 s", 14, 1), ["limit …"]);
        assert_eq!(wrapped("unbreakable", 5, 1), ["unbr…"]);
        assert_eq!(wrapped("unbreakable words", 5, 2), ["unbr…", "words"]);
        assert_eq!(wrapped("a b", 1, 1), ["a"]);
    }
}
