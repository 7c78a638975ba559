//! The last line: what is being typed, or the keys.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::paint::{put, put_right, span};
use crate::sanitize::width;
use crate::tui::keymap::{BINDINGS, Mode};
use crate::tui::message::Message;
use crate::tui::model::{Focus, Model, Overlay, Page};

pub(crate) fn draw(model: &Model, area: Rect, buf: &mut Buffer) {
    if model.typing {
        prompt(model, area, buf);
    } else {
        put(buf, area, 0, &hints(model, usize::from(area.width)));
    }
}

fn prompt(model: &Model, area: Rect, buf: &mut Buffer) {
    let theme = &model.looks.theme;
    let symbols = model.looks.symbols;
    let searching = model.overlay == Some(Overlay::Help);
    let text = if searching {
        symbols.clean(&model.help_search)
    } else {
        symbols.clean(model.filter.text())
    };
    let line = Line::from(vec![
        span(" /", theme.prompt),
        span(text, theme.strong),
        span(symbols.cursor(), theme.prompt),
    ]);
    put(buf, area, 0, &line);
    let (note, style) = if searching {
        (String::from("Enter keep  Esc clear "), theme.dim)
    } else {
        match (model.filter.problem(), matches(model)) {
            (Some(problem), _) => (format!("{} ", symbols.clean(&problem)), theme.invalid),
            (None, 0) => (String::from("no row matches "), theme.invalid),
            (None, 1) => (String::from("1 row  Enter keep  Esc clear "), theme.dim),
            (None, rows) => (format!("{rows} rows  Enter keep  Esc clear "), theme.dim),
        }
    };
    if line.width() + width(&note) < usize::from(area.width) {
        put_right(buf, area, 0, &Line::from(span(note, style)));
    }
}

fn matches(model: &Model) -> usize {
    match model.focus {
        Focus::Ports => model.port_rows().len(),
        Focus::Processes => model.process_rows().len(),
    }
}

/// The keymap's hints in its order, as many as fit.
fn hints(model: &Model, cells: usize) -> Line<'static> {
    let theme = &model.looks.theme;
    let mut spans: Vec<Span<'static>> = Vec::new();
    let mut used = 0;
    for binding in BINDINGS.iter().filter(|it| it.mode == Mode::Command) {
        let Some(hint) = binding.hint else { continue };
        if !applies(model, &binding.message) {
            continue;
        }
        let key = binding.keys.first().map_or(String::new(), |key| key.name());
        let cost = width(&key) + width(hint) + 3;
        if used + cost > cells + 1 {
            continue;
        }
        used += cost;
        spans.push(span(format!(" {key}"), theme.key));
        spans.push(span(format!(" {hint} "), theme.dim));
    }
    Line::from(spans)
}

/// Whether the key does anything here.
fn applies(model: &Model, message: &Message) -> bool {
    let on_top = model.pages.is_empty() && model.overlay.is_none();
    match message {
        Message::Back => !on_top || !model.filter.is_empty(),
        Message::SortNext | Message::FocusNext => on_top,
        Message::FilterEdit => on_top || model.overlay == Some(Overlay::Help),
        // A process leads nowhere and has no chart.
        Message::Open | Message::ZoomIn => {
            model.overlay.is_none() && !matches!(model.page(), Some(Page::Process(_)))
        }

        _ => true,
    }
}
