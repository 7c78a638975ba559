//! The doctor: every limit against its use, the one to look at first first, and what to do about
//! the selected one.
//!
//! What it says comes with the moment on screen; where nobody has looked yet it says that.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::Style;
use ratatui::text::Line;

use super::page::{Contents, Panel, over, scroll_note};
use super::paint::{field, put, put_all, rule, span, split_bottom, split_left, split_top, wrap};
use crate::diagnose::{CheckRow, Report, State};
use crate::format::duration;
use crate::sanitize::width;
use crate::tui::model::{Looks, Model};

/// Rows of a paragraph at most.
const PARAGRAPH: usize = 12;
/// From here on the details stand beside the table.
const SIDE_BY_SIDE: u16 = 180;
const GAP: u16 = 3;

/// The page.
pub(crate) fn draw(model: &Model, body: Rect, buf: &mut Buffer) {
    let Some(report) = model.doctor() else {
        put_all(buf, body, &nothing(model, usize::from(body.width)));
        return;
    };
    let layout = Layout::of(model, report, body);
    put_all(buf, layout.head, &layout.sentence);
    table(model, report, layout.table, buf);
    let limit = over(layout.lines.len(), layout.rest.height);
    let scroll = model.scroll.min(limit);
    let (text, note) = split_bottom(layout.rest, u16::from(limit > 0));
    put_all(buf, text, layout.lines.get(scroll..).unwrap_or_default());
    scroll_note(&model.looks, (limit - scroll, scroll), ("PgDn", "PgUp"), note, buf);
}

/// How many lines below the table can be scrolled off.
pub(crate) fn scroll_limit(model: &Model, body: Rect) -> usize {
    model.doctor().map_or(0, |report| {
        let layout = Layout::of(model, report, body);
        over(layout.lines.len(), layout.rest.height)
    })
}

/// The check whose row is at a place of the page.
pub(crate) fn row_at(model: &Model, body: Rect, at: Position) -> Option<usize> {
    let report = model.doctor()?;
    let layout = Layout::of(model, report, body);
    let (rows, first) = rows(model, report, layout.table);
    let row = first + usize::from(at.y.checked_sub(rows.y)?);
    (rows.contains(at) && row < report.checks.len()).then_some(row)
}

/// Where the table's rows are, and which one is at the top.
fn rows(model: &Model, report: &Report, table: Rect) -> (Rect, usize) {
    let (_, rows) = split_top(table, u16::from(table.height >= 4));
    let room = usize::from(rows.height);
    // The selected row stays in sight.
    let first = (model.selected_finding() + 1).saturating_sub(room);
    (rows, first.min(report.checks.len().saturating_sub(room)))
}

/// The page of one check alone.
pub(crate) fn finding(model: &Model, id: &str, body: Rect) -> Contents {
    let cells = usize::from(body.width).saturating_sub(2);
    let found = model.doctor().and_then(|it| it.checks.iter().find(|finding| finding.id == id));
    let panel = match found {
        Some(finding) => {
            Panel { title: finding.title, lines: details(&model.looks, finding, cells) }
        }
        None => Panel { title: "doctor", lines: nothing(model, cells) },
    };
    Contents { chart: None, panels: vec![panel], one_column: true }
}

/// Nobody has looked.
fn nothing(model: &Model, cells: usize) -> Vec<Line<'static>> {
    let text = "the doctor has not looked at this host";
    let words = wrap(&model.looks, text, cells.saturating_sub(1), 4);
    words.into_iter().map(|it| Line::from(span(format!(" {it}"), model.looks.theme.dim))).collect()
}

/// Where things go.
struct Layout {
    head: Rect,
    sentence: Vec<Line<'static>>,
    table: Rect,
    rest: Rect,
    /// What stands in `rest`, before it is scrolled.
    lines: Vec<Line<'static>>,
}

impl Layout {
    fn of(model: &Model, report: &Report, body: Rect) -> Self {
        let sentence = sentence(&model.looks, report, body);
        let (head, below) = split_top(body, u16::try_from(sentence.len()).unwrap_or(1));
        // The rows and their head.
        let whole = u16::try_from(report.checks.len() + 1).unwrap_or(u16::MAX);
        let looks = &model.looks;
        let selected = model.selected_finding();
        if body.width >= SIDE_BY_SIDE {
            let (table, right) = split_left(below, (body.width - GAP) / 2);
            let (_, rest) = split_left(right, GAP);
            let lines = lines(looks, report, selected, usize::from(rest.width));
            return Self { head, sentence, table, rest, lines };
        }
        let (table, rest) = match below.height {
            // No room for both: Enter shows the rest.
            0..9 => split_top(below, below.height),
            height if height >= whole + 7 => split_top(below, whole),
            height => split_top(below, (height / 2).max(4)),
        };
        let lines = lines(looks, report, selected, usize::from(rest.width));
        Self { head, sentence, table, rest, lines }
    }
}

/// The verdict, and, where there is room, what else is to be known about the moment.
fn sentence(looks: &Looks, report: &Report, body: Rect) -> Vec<Line<'static>> {
    let cells = usize::from(body.width);
    let word = report.verdict.word();
    let text = format!("{word} {}", looks.symbols.clean(&report.sentence));
    let style = style(looks, report.verdict, false);
    let rows = if body.height < 12 { 1 } else { 2 };
    let mut lines: Vec<Line<'static>> = wrap(looks, &text, cells.saturating_sub(1), rows)
        .into_iter()
        .map(|it| Line::from(span(format!(" {it}"), style)))
        .collect();
    if body.height >= 16 {
        let mut parts = vec![report.counts().join("  ")];
        parts.extend(report.notes.iter().map(|note| looks.symbols.clean(note).into_owned()));
        let note = looks.symbols.cut(&parts.join("; "), cells.saturating_sub(1));
        lines.push(Line::from(span(format!(" {note}"), looks.theme.dim)));
    }
    lines
}

const fn style(looks: &Looks, state: State, harmless: bool) -> Style {
    match state {
        State::Crit => looks.theme.crit,
        State::Warn => looks.theme.warn,
        State::Ok if harmless => looks.theme.note,
        State::Ok => looks.theme.ok,
        State::Unknown => looks.theme.dim,
    }
}

fn table(model: &Model, report: &Report, area: Rect, buf: &mut Buffer) {
    let looks = &model.looks;
    let columns = Columns::of(usize::from(area.width));
    let (head, _) = split_top(area, u16::from(area.height >= 4));
    put(buf, head, 0, &columns.head(looks));
    let selected = model.selected_finding();
    let (rows, first) = rows(model, report, area);
    let shown = report.checks.iter().enumerate().skip(first);
    for (row, (at, finding)) in (0..rows.height).zip(shown) {
        put(buf, rows, row, &columns.row(looks, at, finding, at == selected));
    }
}

/// What finds room beside check and state.
struct Columns {
    cells: usize,
    number: bool,
    amounts: bool,
    /// Cells of the bar; 0 without.
    bar: usize,
    advice: bool,
}

/// Cells of each column.
const STATE: usize = 5;
const CHECK: usize = 13;
const AMOUNTS: usize = 19;
const PERCENT: usize = 5;
const LEFT: usize = 9;

impl Columns {
    const fn of(cells: usize) -> Self {
        let (number, bar) = match cells {
            0..72 => (false, 0),
            72..92 => (true, 0),
            _ => (true, 6 + (cells - 92) / 3),
        };
        // What to do is worth more than by how much.
        Self { cells, number, amounts: cells >= 72, bar, advice: cells >= 48 }
    }

    fn head(&self, looks: &Looks) -> Line<'static> {
        let mut text = String::from(" ");
        if self.number {
            text.push_str(" # ");
        }
        let mut add = |name: &str, cells: usize, left: bool| {
            text.push_str(&field(looks, name, cells, left));
            text.push(' ');
        };
        add("STATE", STATE, true);
        add("CHECK", CHECK, true);
        if self.amounts {
            add("NOW/LIMIT", AMOUNTS, true);
        }
        if self.bar > 0 {
            add("", self.bar + 2, true);
        }
        add("USE", PERCENT, false);
        add("LEFT", LEFT, false);
        if self.advice {
            text.push_str("ADVICE");
        }
        Line::from(span(looks.symbols.cut(&text, self.cells), looks.theme.column_head))
    }

    fn row(&self, looks: &Looks, at: usize, finding: &CheckRow, selected: bool) -> Line<'static> {
        let theme = &looks.theme;
        let state = style(looks, finding.state, finding.is_harmless());
        let mark = if selected { looks.symbols.selected() } else { " " };
        let mut spans = vec![span(mark, theme.key)];
        let mut add = |text: &str, cells: usize, left: bool, style: Style| {
            spans.push(span(field(looks, text, cells, left), style));
            spans.push(span(" ", theme.text));
        };
        if self.number {
            add(&(at + 1).to_string(), 2, false, theme.dim);
        }
        add(finding.word(), STATE, true, state);
        add(finding.title, CHECK, true, if selected { theme.strong } else { theme.text });
        if self.amounts {
            add(&finding.amounts(), AMOUNTS, true, theme.text);
        }
        if self.bar > 0 {
            let (open, close) = looks.symbols.bar_ends();
            match finding.used {
                Some(used) => {
                    let full = (used.clamp(0.0, 1.0) * self.bar as f64).round() as usize;
                    let full = full.min(self.bar);
                    let empty = looks.symbols.bar_empty().repeat(self.bar - full);
                    spans.extend([
                        span(open, theme.border),
                        span(looks.symbols.bar_full().repeat(full), state),
                        span(empty, theme.bar_empty),
                        span(close, theme.border),
                        span(" ", theme.text),
                    ]);
                }
                None => spans.push(span(" ".repeat(self.bar + 3), theme.text)),
            }
        }
        let mut add = |text: &str, cells: usize, style: Style| {
            spans.push(span(field(looks, text, cells, false), style));
            spans.push(span(" ", theme.text));
        };
        add(&finding.percent().unwrap_or_default(), PERCENT, theme.text);
        add(&left(finding), LEFT, state);
        if !self.advice {
            return Line::from(spans);
        }
        let used: usize = spans.iter().map(|it| width(&it.content)).sum();
        let advice = looks.symbols.clean(&finding.advice()).into_owned();
        spans.push(span(looks.symbols.cut(&advice, self.cells.saturating_sub(used)), theme.text));
        Line::from(spans)
    }
}

/// The time that is left, where that is known.
fn left(finding: &CheckRow) -> String {
    match finding.in_s {
        Some(left) if left > 0.0 => duration(left),
        Some(_) => String::from("now"),
        None => String::new(),
    }
}

/// What stands below or beside the table: the selected check, and what holds for all.
fn lines(looks: &Looks, report: &Report, selected: usize, cells: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    if let Some(finding) = report.checks.get(selected) {
        let title = format!("{} {}", selected + 1, finding.title);
        lines.push(rule(looks, &title, cells, true));
        lines.extend(details(looks, finding, cells));
    }
    let harmless: Vec<String> =
        report.harmless().map(|it| format!("{}: {}", it.title, it.why)).collect();
    section(looks, "ok* = near its limit, and harmless", &harmless, cells, &mut lines);
    let lint: Vec<String> = report
        .lint
        .iter()
        .map(|it| format!("{}={}: {}: {}", it.place(), it.value, it.word.text(), it.text))
        .collect();
    section(looks, "sysctl files", &lint, cells, &mut lines);
    let unseen: Vec<String> =
        report.unseen().map(|it| format!("{}: {}", it.title, it.why)).collect();
    section(looks, "not measured", &unseen, cells, &mut lines);
    lines
}

fn section(
    looks: &Looks,
    title: &str,
    texts: &[String],
    cells: usize,
    lines: &mut Vec<Line<'static>>,
) {
    if texts.is_empty() {
        return;
    }
    lines.push(rule(looks, title, cells, false));
    for text in texts {
        let text = looks.symbols.clean(text);
        for (row, words) in
            wrap(looks, &text, cells.saturating_sub(4), PARAGRAPH).into_iter().enumerate()
        {
            let indent = if row == 0 { " " } else { "   " };
            lines.push(Line::from(span(format!("{indent}{words}"), looks.theme.text)));
        }
    }
}

/// One check: its heading, and each paragraph behind its label.
fn details(looks: &Looks, finding: &CheckRow, cells: usize) -> Vec<Line<'static>> {
    const LABEL: usize = 7;
    let heading = format!("{} {}", finding.word(), finding.heading());
    let heading = looks.symbols.clean(&heading);
    let state = style(looks, finding.state, finding.is_harmless());
    let mut lines: Vec<Line<'static>> = wrap(looks, &heading, cells.saturating_sub(1), 2)
        .into_iter()
        .map(|it| Line::from(span(format!(" {it}"), state)))
        .collect();
    for (label, text) in finding.paragraphs() {
        let text = looks.symbols.clean(&text);
        let text_style = if label == "set" { looks.theme.strong } else { looks.theme.text };
        let words = wrap(looks, &text, cells.saturating_sub(LABEL + 1), PARAGRAPH);
        for (row, words) in words.into_iter().enumerate() {
            let label = if row == 0 { label } else { "" };
            lines.push(Line::from(vec![
                span(format!(" {}", field(looks, label, LABEL - 1, true)), looks.theme.dim),
                span(" ", looks.theme.text),
                span(words, text_style),
            ]));
        }
    }
    lines
}
