//! Help: the keymap's own table, then what the marks and words mean.

use ratatui::text::Line;

use super::paint::{field, span, wrap};
use crate::tui::keymap::{BINDINGS, Mode};
use crate::tui::model::{Looks, Model};

/// Lines that match the search, under the heads they belong to.
pub(crate) fn lines(model: &Model, cells: usize) -> Vec<Line<'static>> {
    let looks = &model.looks;
    let search = model.help_search.to_lowercase();
    let mut lines = Vec::new();
    for (title, entries) in sections(looks, !model.is_now()) {
        let matching: Vec<&(String, String)> = entries
            .iter()
            .filter(|(key, text)| format!("{key} {text} {title}").to_lowercase().contains(&search))
            .collect();
        if matching.is_empty() {
            continue;
        }
        if !lines.is_empty() {
            lines.push(Line::default());
        }
        lines.push(Line::from(span(title, looks.theme.title)));
        for (key, text) in matching {
            lines.extend(entry(looks, key, text, cells));
        }
    }
    if lines.is_empty() {
        let text = looks.symbols.clean(&model.help_search);
        let text = format!("nothing about \"{text}\"");
        lines.push(Line::from(span(text, looks.theme.invalid)));
    }
    lines
}

/// The key in a column of its own, the words beside it, or below where that would be too narrow.
fn entry(looks: &Looks, key: &str, text: &str, cells: usize) -> Vec<Line<'static>> {
    const KEYS: usize = 18;
    let indent = if cells >= 48 { KEYS } else { 4 };
    let words = wrap(looks, text, cells.saturating_sub(indent), 6);
    let mut lines = Vec::new();
    if indent < KEYS {
        lines.push(Line::from(span(looks.symbols.cut(key, cells), looks.theme.key)));
    }
    for text in words {
        let lead = if lines.is_empty() { key } else { "" };
        lines.push(Line::from(vec![
            span(field(looks, lead, indent, true), looks.theme.key),
            span(text, looks.theme.text),
        ]));
    }
    lines
}

type Section = (&'static str, Vec<(String, String)>);

fn sections(looks: &Looks, travelling: bool) -> Vec<Section> {
    let keys = |mode: Mode, travel: bool| {
        let bindings = BINDINGS.iter();
        let bindings = bindings.filter(move |it| it.mode == mode && it.is_travel() == travel);
        bindings.map(|it| (it.key_names(), it.help.to_owned())).collect()
    };
    let mut general = vec![
        ("keys", keys(Mode::Command, false)),
        ("time: a trace, or the last minutes of a live screen", keys(Mode::Command, true)),
    ];
    // Whoever travels looks for those.
    if travelling {
        general.reverse();
    }
    let rest = [
        ("mouse", owned(&MOUSE)),
        ("while typing", keys(Mode::Typing, false)),
        ("marks", owned(&marks(looks))),
        ("words", owned(&WORDS)),
    ];
    general.into_iter().chain(rest).collect()
}

fn owned(entries: &[(&str, &str)]) -> Vec<(String, String)> {
    let own = |(key, text): &(&str, &str)| ((*key).to_owned(), (*text).to_owned());
    entries.iter().map(own).collect()
}

fn marks(looks: &Looks) -> [(&'static str, &'static str); 13] {
    use crate::aggregate::snapshot::Fidelity;
    let symbols = looks.symbols;
    [
        (
            symbols.fidelity(Fidelity::Derived),
            "before a number: derived, concluded from other exact signals",
        ),
        (
            symbols.fidelity(Fidelity::Sampled),
            "before a number: sampled, looked at from time to time",
        ),
        ("-", "in place of a number: this kernel does not tell"),
        ("SAMPLED", "in line 1: without BPF; what comes and goes between two looks is not counted"),
        ("lost N", "in line 1: what was not counted, by kind; w says what that affects"),
        ("drift N", "in line 1: our orphans minus the kernel's, when they differ"),
        (
            symbols.projection_end(),
            "on the chart: the projection reaches the limit there, or leaves the picture",
        ),
        ("L P", "on the tcp_mem bar: pressure ends below L and begins at P; the end is high"),
        ("n w C X", "on the ruler: an anomaly; NOTE, WARN, CRIT, the kernel kills orphans"),
        (symbols.here(), "on the ruler: the moment on screen; A and B are the marks"),
        (symbols.tracks(), "the ruler's line: nothing, WARN, CRIT, not read yet"),
        (
            "gap",
            "in line 1: what of the trace is not whole; w says what. The ruler has holes there",
        ),
        (symbols.outward(), "before a port: a service we connect to; without it we accept"),
    ]
}

const MOUSE: [(&str, &str); 5] = [
    ("click", "select a row; on the selected one, or twice: open it"),
    ("click a head", "sort by that column; again: the other way round"),
    ("click the ruler", "to that time; on a letter, or its entry below: to that anomaly"),
    ("click the chart", "to that time"),
    ("wheel", "through rows or lines. With Shift, or after m, the terminal selects text"),
];

const WORDS: [(&str, &str); 5] = [
    (
        "orphan",
        "a socket its process has closed and TCP has not finished: no descriptor, still memory. TIME-WAIT is not one",
    ),
    ("MAX", "net.ipv4.tcp_max_orphans, for the whole host: beyond it the kernel kills orphans"),
    (
        "CRIT WARN NOTE",
        "a limit within two minutes or kills already; within half an hour or above 80%; worth knowing",
    ),
    ("FULL", "TIME-WAIT is at tcp_max_tw_buckets: sockets skip it from here on"),
    ("cols", "columns there is no room for are named in the title of their table"),
];
