//! The ports table and the processes table.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::text::Line;

use super::Target;
use super::paint::{boxed, put, put_right, rule, span, split_top};
use super::table::Table;
use crate::aggregate::snapshot::{FidelityTable, PortRow, ProcessRow};
use crate::format::nothing_matches;
use crate::sanitize::width;
use crate::tui::columns::{Cells, Column, ports, processes};
use crate::tui::model::{Focus, Model};

/// How a table is framed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frame {
    Box,
    /// A line above only.
    Rule,
}

pub(crate) fn ports_table(model: &Model, frame: Frame, area: Rect, buf: &mut Buffer) {
    let all = model.shown().map_or(0, |shown| shown.ports.len());
    with_ports(model, |table| draw(model, table, "ports", all, frame, area, buf));
}

pub(crate) fn processes_table(model: &Model, frame: Frame, area: Rect, buf: &mut Buffer) {
    let all = model.shown().map_or(0, |shown| shown.processes.len());
    with_processes(model, |table| draw(model, table, "processes", all, frame, area, buf));
}

/// The ports table as the model has it.
pub(crate) fn with_ports<T>(model: &Model, with: impl FnOnce(&Table<'_, PortRow>) -> T) -> T {
    let rows = model.port_rows();
    with(&Table {
        columns: ports::COLUMNS,
        rows: &rows,
        selected: model.selected_port(&rows),
        first: model.ports.first,
        sort: model.ports.sort,
        inverted: model.ports.inverted,
        focused: model.focus == Focus::Ports,
    })
}

/// The processes table as the model has it.
pub(crate) fn with_processes<T>(
    model: &Model,
    with: impl FnOnce(&Table<'_, ProcessRow>) -> T,
) -> T {
    let rows = model.process_rows();
    with(&Table {
        columns: processes::COLUMNS,
        rows: &rows,
        selected: model.selected_process(&rows),
        first: model.processes.first,
        sort: model.processes.sort,
        inverted: model.processes.inverted,
        focused: model.focus == Focus::Processes,
    })
}

/// What is inside of a frame around `area`.
pub(crate) fn inside(frame: Frame, area: Rect) -> Rect {
    match frame {
        Frame::Box if area.width < 2 || area.height < 2 => Rect { height: 0, ..area },
        Frame::Box => {
            Rect { x: area.x + 1, y: area.y + 1, width: area.width - 2, height: area.height - 2 }
        }
        Frame::Rule => split_top(area, 1).1,
    }
}

impl<R> Table<'_, R> {
    /// The row at its top when it is drawn into `area`.
    pub(crate) fn first(&self, frame: Frame, area: Rect) -> usize {
        self.first_visible(inside(frame, area))
    }

    /// What of it lies at a place of `area`.
    pub(crate) fn target(
        &self,
        model: &Model,
        focus: Focus,
        frame: Frame,
        area: Rect,
        at: Position,
    ) -> Option<Target> {
        let inner = inside(frame, area);
        if self.rows.is_empty() || !inner.contains(at) {
            return Some(Target::Table(focus));
        }
        if at.y == inner.y {
            let snapshot = model.shown()?;
            let cells = Cells { symbols: model.looks.symbols, fidelity: &snapshot.fidelity };
            let laid = self.lay_out(&cells, usize::from(inner.width));
            let column = laid.column_at(usize::from(at.x - inner.x));
            return column.map(|column| Target::Head(focus, column));
        }
        let row = self.first_visible(inner) + usize::from(at.y - inner.y) - 1;
        let target =
            if row < self.rows.len() { Target::Row(focus, row) } else { Target::Table(focus) };
        Some(target)
    }
}

fn draw<R>(
    model: &Model,
    table: &Table<'_, R>,
    name: &str,
    all: usize,
    frame: Frame,
    area: Rect,
    buf: &mut Buffer,
) {
    let looks = &model.looks;
    let no_marks = FidelityTable::new();
    let cells = Cells {
        symbols: looks.symbols,
        fidelity: model.shown().map_or(&no_marks, |shown| &shown.fidelity),
    };
    let edges = if frame == Frame::Box { 2 } else { 0 };
    let room = usize::from(area.width.saturating_sub(edges));
    let laid = table.lay_out(&cells, room);

    let rows_visible = usize::from(area.height.saturating_sub(edges.max(1) + 1));
    let title = title(model, table, name, all, rows_visible);
    let note_room = room.saturating_sub(width(&title) + 8);
    let mut notes = Vec::new();
    let order: &Column<R> = &table.columns[table.sort.min(table.columns.len() - 1)];
    let sort = format!("sort: {}", order.name);
    // The names of hidden columns come before the order, which the arrow shows as well.
    let hidden = laid.hidden_note(note_room);
    if !hidden.is_empty() {
        notes.push(hidden);
    }
    notes.push(sort);
    let mut note = notes.join("   ");
    if width(&note) > note_room {
        note = laid.hidden_note(note_room);
    }

    let inner = match frame {
        Frame::Box => boxed(buf, looks, area, &title, &note, table.focused),
        Frame::Rule => {
            let (top, rest) = split_top(area, 1);
            put(buf, top, 0, &rule(looks, &title, room, table.focused));
            if !note.is_empty() {
                let note = Line::from(span(format!(" {note} "), looks.theme.dim));
                put_right(buf, top, 0, &note);
            }
            rest
        }
    };
    if table.rows.is_empty() {
        let line = Line::from(span(format!("  {}", nothing(model, all)), looks.theme.dim));
        // A line of air above, where there is some.
        put(buf, inner, u16::from(inner.height > 2), &line);
    } else {
        table.draw(looks, &cells, &laid, inner, buf);
    }
}

/// `ports`, with what the row filter leaves of them and where the selection is.
fn title<R>(
    model: &Model,
    table: &Table<'_, R>,
    name: &str,
    all: usize,
    rows_visible: usize,
) -> String {
    let shown = table.rows.len();
    if !model.filter.is_empty() {
        let text = model.looks.symbols.clean(model.filter.text());
        let text = model.looks.symbols.cut(&text, 24);
        return model.filter.problem().map_or_else(
            || format!("{name} with \"{text}\": {shown} of {all}"),
            |_| format!("{name}, filter \"{text}\" is not valid: all {all}"),
        );
    }
    if shown > rows_visible {
        format!("{name} {}/{shown}", table.selected + 1)
    } else {
        String::from(name)
    }
}

/// Why a table is empty.
fn nothing(model: &Model, all: usize) -> String {
    if all > 0 {
        let text = model.looks.symbols.clean(model.filter.text());
        let text = model.looks.symbols.cut(&text, 24);
        return format!("no row matches \"{text}\" (Esc shows all)");
    }
    match model.shown() {
        Some(shown) if !shown.filter.is_empty() => {
            model.looks.symbols.clean(&nothing_matches(&shown.filter)).into_owned()
        }
        _ => String::from("no connection yet"),
    }
}
