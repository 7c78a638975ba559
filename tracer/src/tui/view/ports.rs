//! The ports table and the processes table.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::paint::{boxed, put, put_right, rule, span, split_top};
use super::table::Table;
use crate::aggregate::snapshot::FidelityTable;
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

/// The table that has the focus, for screens with room for one.
pub(crate) fn focused(model: &Model, area: Rect, buf: &mut Buffer) {
    match model.focus {
        Focus::Ports => ports_table(model, Frame::Rule, area, buf),
        Focus::Processes => processes_table(model, Frame::Rule, area, buf),
    }
}

pub(crate) fn ports_table(model: &Model, frame: Frame, area: Rect, buf: &mut Buffer) {
    let rows = model.port_rows();
    let table = Table {
        columns: ports::COLUMNS,
        rows: &rows,
        selected: model.selected_port(&rows),
        sort: model.ports.sort,
        inverted: model.ports.inverted,
        focused: model.focus == Focus::Ports,
    };
    let all = model.shown().map_or(0, |shown| shown.ports.len());
    draw(model, &table, "ports", all, frame, area, buf);
}

pub(crate) fn processes_table(model: &Model, frame: Frame, area: Rect, buf: &mut Buffer) {
    let rows = model.process_rows();
    let table = Table {
        columns: processes::COLUMNS,
        rows: &rows,
        selected: model.selected_process(&rows),
        sort: model.processes.sort,
        inverted: model.processes.inverted,
        focused: model.focus == Focus::Processes,
    };
    let all = model.shown().map_or(0, |shown| shown.processes.len());
    draw(model, &table, "processes", all, frame, area, buf);
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
    match model.wanted_ports.as_slice() {
        [] => String::from("no connection yet"),
        [port] => format!("no connection on port {port} yet"),
        many => {
            let many: Vec<String> = many.iter().map(u16::to_string).collect();
            format!("no connection on ports {} yet", many.join(", "))
        }
    }
}
