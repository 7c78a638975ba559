//! A table of rows in columns: widths from the contents, columns that find no room named.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::paint::{field, put, span};
use crate::sanitize::width;
use crate::tui::columns::{Cells, Column, SPARE};
use crate::tui::model::Looks;

/// What a table shows.
pub(crate) struct Table<'a, R> {
    pub(crate) columns: &'a [Column<R>],
    pub(crate) rows: &'a [&'a R],
    pub(crate) selected: usize,
    /// The row at the top, if the selected one is in sight then.
    pub(crate) first: usize,
    pub(crate) sort: usize,
    pub(crate) inverted: bool,
    pub(crate) focused: bool,
}

/// A table's text, laid out for a width.
pub(crate) struct Laid {
    /// Index of each column that found room, with its width.
    shown: Vec<(usize, usize)>,
    long_names: bool,
    /// Names of those that did not.
    pub(crate) hidden: Vec<&'static str>,
    gap: usize,
}

/// No cell is wider: a long name must not push the numbers out.
const WIDEST: usize = 26;
/// Enough rows to know the widths: they should not change with every scroll.
const MEASURED: usize = 64;

impl<R> Table<'_, R> {
    /// Which columns fit into `cells`, and how wide they are.
    pub(crate) fn lay_out(&self, cells: &Cells<'_>, room: usize) -> Laid {
        let widest = |column: &Column<R>| {
            let rows = self.rows.iter().take(MEASURED);
            rows.map(|row| width(&column.cell(row, cells))).max().unwrap_or(0).min(WIDEST)
        };
        let widest: Vec<usize> = self.columns.iter().map(widest).collect();
        // The marker on the left, a blank on the right.
        let room = room.saturating_sub(3);
        let fits = |columns: &[(usize, usize)], gap: usize| {
            columns.iter().map(|(_, cells)| cells + gap).sum::<usize>() <= room + gap
        };
        // The sorted column carries the arrow in its head.
        let arrow = |at: usize| usize::from(at == self.sort);
        // What rows are sorted by has to be seen.
        let wanted = |at: usize| at == self.sort || self.columns[at].is_wanted(self.rows);
        let sized = |long: bool| -> Vec<(usize, usize)> {
            let columns = self.columns.iter().zip(&widest).enumerate();
            columns
                .filter(|(at, _)| wanted(*at))
                .map(|(at, (column, widest))| {
                    let name = if long { column.name } else { column.short };
                    (at, (*widest).max(width(name) + arrow(at)))
                })
                .collect()
        };
        let is_kept = |at: usize| self.columns[at].rank < SPARE || at == self.sort;
        // One with nothing to say is not shown either.
        let says = |at: usize| {
            self.rows.iter().take(MEASURED).any(|row| self.columns[at].cell(row, cells) != "-")
        };
        let only = |mut columns: Vec<(usize, usize)>, wanted: &dyn Fn(usize) -> bool| {
            columns.retain(|(at, _)| is_kept(*at) || wanted(*at));
            columns
        };
        let without_spare = |columns| only(columns, &|_| false);
        for long in [only(sized(true), &says), without_spare(sized(true))] {
            for gap in [4, 3, 2] {
                if fits(&long, gap) {
                    return self.laid(long, true, gap);
                }
            }
        }
        let mut shown = without_spare(sized(false));
        for gap in [2, 1] {
            if fits(&shown, gap) {
                return self.laid(shown, false, gap);
            }
        }
        // A column less is better than a crowd, so what is left keeps its distance.
        while shown.len() > 1 && !fits(&shown, 1) {
            let weakest = (0..shown.len())
                .filter(|at| shown[*at].0 != self.sort)
                .max_by_key(|at| self.columns[shown[*at].0].rank)
                .unwrap_or(0);
            shown.remove(weakest);
        }
        let gap = if fits(&shown, 2) { 2 } else { 1 };
        self.laid(shown, false, gap)
    }

    fn laid(&self, shown: Vec<(usize, usize)>, long_names: bool, gap: usize) -> Laid {
        let is_hidden = |at: &usize| {
            let column = &self.columns[*at];
            let is_missed = column.rank < SPARE && column.is_wanted(self.rows);
            is_missed && shown.iter().all(|(column, _)| column != at)
        };
        let hidden =
            (0..self.columns.len()).filter(is_hidden).map(|at| self.columns[at].short).collect();
        Laid { shown, long_names, hidden, gap }
    }

    /// Draws head and rows; scrolls so that the selected row is in sight.
    pub(crate) fn draw(
        &self,
        looks: &Looks,
        cells: &Cells<'_>,
        laid: &Laid,
        area: Rect,
        buf: &mut Buffer,
    ) {
        put(buf, area, 0, &self.head(looks, laid));
        let visible = usize::from(area.height.saturating_sub(1));
        let first = self.first_visible(area);
        let rows = self.rows.iter().enumerate().skip(first).take(visible);
        for (line, (at, row)) in (1..area.height).zip(rows) {
            let selected = at == self.selected;
            let style = match (selected, self.focused) {
                (true, true) => looks.theme.selected,
                (true, false) => looks.theme.selected_elsewhere,
                (false, _) => looks.theme.text,
            };
            let marker = if selected { looks.symbols.selected() } else { " " };
            let mut text = format!("{marker} ");
            for (place, (column, cell_width)) in laid.shown.iter().enumerate() {
                let column = &self.columns[*column];
                let cell = column.cell(row, cells);
                text.push_str(&" ".repeat(if place == 0 { 0 } else { laid.gap }));
                text.push_str(&field(looks, &cell, *cell_width, column.is_left()));
            }
            let text = field(looks, &text, usize::from(area.width), true);
            put(buf, area, line, &Line::from(span(text, style)));
        }
    }

    /// The row at the top of `area`, which has the head in its first line.
    pub(crate) fn first_visible(&self, area: Rect) -> usize {
        let visible = usize::from(area.height.saturating_sub(1)).max(1);
        let lowest = (self.selected + 1).saturating_sub(visible);
        // Rows that are gone leave no blank lines at the end.
        let last = self.rows.len().saturating_sub(visible);
        self.first.min(last).min(self.selected).max(lowest)
    }

    fn head(&self, looks: &Looks, laid: &Laid) -> Line<'static> {
        let mut spans = vec![span("  ", looks.theme.column_head)];
        for (place, (at, cells)) in laid.shown.iter().enumerate() {
            let column = &self.columns[*at];
            let name = if laid.long_names { column.name } else { column.short };
            if place > 0 {
                spans.push(span(" ".repeat(laid.gap), looks.theme.column_head));
            }
            if *at == self.sort {
                let arrow = if column.naturally_ascending() == self.inverted {
                    looks.symbols.descending()
                } else {
                    looks.symbols.ascending()
                };
                let name = format!("{name}{arrow}");
                let head = field(looks, &name, *cells, column.is_left());
                spans.push(span(head, looks.theme.sorted_head));
            } else {
                let head = field(looks, name, *cells, column.is_left());
                spans.push(span(head, looks.theme.column_head));
            }
        }
        Line::from(spans)
    }
}

impl Laid {
    /// The column whose head or cells are at this place of a line.
    pub(crate) fn column_at(&self, place: usize) -> Option<usize> {
        let mut end = 2;
        self.shown.iter().find_map(|(column, cells)| {
            end += cells;
            let found = (place < end).then_some(*column);
            end += self.gap;
            found
        })
    }

    /// `+3 cols: LASTA CLSNG P99`, shorter where there is less room, or nothing to say.
    pub(crate) fn hidden_note(&self, room: usize) -> String {
        if self.hidden.is_empty() {
            return String::new();
        }
        let noun = if self.hidden.len() == 1 { "col" } else { "cols" };
        let count = format!("+{} {noun}", self.hidden.len());
        let named = format!("{count}: {}", self.hidden.join(" "));
        if width(&named) <= room { named } else { count }
    }
}
