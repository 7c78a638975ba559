//! The last line: what is being typed, or the keys.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::paint::{put, put_right, span, split_left};
use crate::playback;
use crate::playback::goto::FORMS;
use crate::playback::transport::Command;
use crate::sanitize::width;
use crate::tui::keymap::{BINDINGS, Mode};
use crate::tui::message::Message;
use crate::tui::model::{Focus, GotoPrompt, Model, Overlay, Page};

pub(crate) fn draw(model: &Model, area: Rect, buf: &mut Buffer) {
    match (&model.goto, model.typing) {
        (Some(typed), _) => goto(model, typed, area, buf),
        (None, true) => prompt(model, area, buf),
        (None, false) => keys(model, area, buf),
    }
}

/// What the last command did or could not do, where that does not show, and the keys.
fn keys(model: &Model, area: Rect, buf: &mut Buffer) {
    let looks = &model.looks;
    let frame = model.frame.as_ref();
    let refused = frame.and_then(|frame| frame.refused.as_deref());
    let noted = frame.and_then(|frame| frame.note.as_deref());
    let (said, style) = match (&model.notice, refused, noted) {
        (Some(notice), ..) => (notice.as_str(), looks.theme.strong),
        (None, Some(refused), _) => (refused, looks.theme.invalid),
        (None, None, Some(note)) => (note, looks.theme.strong),
        (None, None, None) => {
            put(buf, area, 0, &hints(model, usize::from(area.width)));
            return;
        }
    };
    let room = usize::from(area.width).saturating_sub(2);
    let text = looks.symbols.cut(&looks.symbols.clean(said), room);
    let note = Line::from(span(format!(" {text} "), style));
    let (_, rest) = split_left(area, u16::try_from(note.width()).unwrap_or(u16::MAX));
    put(buf, area, 0, &note);
    put(buf, rest, 0, &hints(model, usize::from(rest.width)));
}

/// The place that is typed, and what could be, or why it is wrong.
fn goto(model: &Model, typed: &GotoPrompt, area: Rect, buf: &mut Buffer) {
    let theme = &model.looks.theme;
    let symbols = model.looks.symbols;
    let line = Line::from(vec![
        span(" go to ", theme.prompt),
        span(symbols.clean(&typed.text), theme.strong),
        span(symbols.cursor(), theme.prompt),
    ]);
    let room = usize::from(area.width).saturating_sub(line.width() + 2);
    put(buf, area, 0, &line);
    let (note, style) = match &typed.problem {
        Some(problem) => (symbols.cut(&symbols.clean(problem), room), theme.invalid),
        None => {
            let fitting = (0..=FORMS.len()).rev().map(|many| FORMS[..many].join("  "));
            (fitting.into_iter().find(|it| width(it) <= room).unwrap_or_default(), theme.dim)
        }
    };
    put_right(buf, area, 0, &Line::from(span(format!("{note} "), style)));
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
        Focus::Ports => model.port_count(),
        Focus::Processes => model.process_count(),
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
        let hint = match (&binding.message, model.frame.as_ref().map(|frame| frame.mode)) {
            (Message::Travel(Command::PlayPause), Some(playback::Mode::Paused)) => "play",
            _ => hint,
        };
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
        // Other pages lead nowhere, or have no chart.
        Message::Open => {
            model.overlay.is_none()
                && matches!(model.page(), None | Some(Page::Port(_) | Page::Doctor))
        }
        Message::ZoomIn => {
            model.overlay.is_none() && matches!(model.page(), None | Some(Page::Port(_)))
        }
        Message::Travel(Command::PlayPause) => true,
        // Whoever looks at the present has other worries; help names them all the same.
        Message::Travel(_) | Message::GotoEdit | Message::ShowDifferences => !model.is_now(),
        Message::ShowEvents => {
            model.frame.as_ref().is_some_and(|frame| !frame.view.events.is_empty())
        }

        _ => true,
    }
}
