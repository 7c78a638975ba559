//! The doctor's page: at every size, live and over a trace, and what the keys do there.

use std::sync::Arc;

use insta::assert_snapshot;

use super::{
    SIZES, assert_harmless, buffer, fixture, model_of, picture, pictures_of, replay, tell,
};
use crate::diagnose::fixture::{healthy, process, story_watched, watched};
use crate::diagnose::{About, Report, Watch, examine};
use crate::facts::Unknown;
use crate::playback::Frame;
use crate::tui::message::Message;
use crate::tui::model::{Model, Page};
use crate::tui::symbols::Symbols;
use crate::tui::theme::Theme;

fn report(watch: &Watch) -> Report {
    examine(watch, About { time: fixture::NOW, host: "web-17".into() })
}

fn with(mut frame: Frame, report: Report) -> Frame {
    frame.view.doctor = Some(Arc::new(report));
    frame
}

/// The crisis, live, with the doctor at hand.
pub(super) fn crisis() -> Frame {
    with(replay::live(fixture::crisis()), report(&story_watched()))
}

/// A host that is well and of which little can be seen, in a trace.
fn blind() -> Frame {
    let mut facts = healthy();
    facts.sockets = Err(Unknown::because("not in this trace"));
    facts.processes = Err(Unknown::because("not in this trace"));
    let report = report(&watched(facts, |_, _| {}));
    with(replay::stopped(), report.of_trace(Some("moment 7 of 360".into())))
}

fn page(frame: Frame, size: (u16, u16), symbols: Symbols) -> Model {
    let mut model = model_of(frame, size, symbols);
    tell(&mut model, [Message::ShowDoctor]);
    model
}

#[test]
fn at_every_size() {
    let begin = |size, symbols| page(crisis(), size, symbols);
    for (name, picture) in pictures_of("doctor", begin, &[]) {
        assert_snapshot!(name, picture);
    }
}

#[test]
fn over_a_trace_that_tells_little() {
    for size in [(80, 24), (120, 40)] {
        let picture = picture(&page(blind(), size, Symbols::UTF8));
        assert_snapshot!(format!("doctor_trace_{}x{}", size.0, size.1), picture);
    }
}

#[test]
fn one_check_alone_on_a_small_terminal() {
    for size in [(40, 8), (60, 15), (80, 24)] {
        let mut model = page(crisis(), size, Symbols::UTF8);
        tell(&mut model, [Message::SelectNext, Message::Open]);
        assert_eq!(model.page(), Some(&Page::Finding("tcp_mem")));
        assert_snapshot!(format!("finding_{}x{}", size.0, size.1), picture(&model));
        tell(&mut model, [Message::SelectLast]);
        assert!(model.scroll > 0 || size.1 == 24, "the rest can be scrolled to");
        tell(&mut model, [Message::Back]);
        assert_eq!(model.page(), Some(&Page::Doctor));
    }
}

#[test]
fn the_selected_check_stays_selected_when_ranks_change() {
    let mut model = page(crisis(), (80, 24), Symbols::UTF8);
    assert_eq!(model.selected_finding(), 0, "the first is followed");
    tell(&mut model, [Message::SelectNext, Message::SelectNext]);
    let id = model.finding.unwrap();
    let calm = with(replay::live(fixture::calm()), report(&watched(healthy(), |_, _| {})));
    tell(&mut model, [Message::Arrived(calm)]);
    assert_eq!(model.doctor().unwrap().checks[model.selected_finding()].id, id);
    // It may be the last of many rows: it is in sight.
    tell(&mut model, [Message::SelectLast, Message::Resized(80, 16)]);
    let selected = model.selected_finding();
    assert_eq!(selected, 12);
    let title = model.doctor().unwrap().checks[selected].title;
    assert!(picture(&model).contains(&format!("▸13 ok    {title}")), "{}", picture(&model));
    tell(&mut model, [Message::SelectFirst]);
    assert_eq!(model.selected_finding(), 0);
}

#[test]
fn what_is_below_the_table_scrolls() {
    let mut model = page(crisis(), (80, 24), Symbols::UTF8);
    let before = picture(&model);
    assert!(before.contains("more lines below (PgDn)"), "{before}");
    tell(&mut model, [Message::PageDown]);
    assert_ne!(picture(&model), before);
    for _ in 0..20 {
        tell(&mut model, [Message::PageDown]);
    }
    let end = picture(&model);
    assert!(end.contains("lines above (PgUp)") && !end.contains("below ("), "{end}");
    // Another check begins at its top.
    tell(&mut model, [Message::SelectNext]);
    assert_eq!(model.scroll, 0);
    tell(&mut model, [Message::ShowDoctor]);
    assert_eq!(model.page(), None, "the same key closes it");
}

#[test]
fn where_nobody_looked_it_says_so() {
    let model = page(replay::live(fixture::crisis()), (80, 24), Symbols::UTF8);
    assert!(picture(&model).contains("has not looked"), "{}", picture(&model));
    let mut model = model;
    tell(&mut model, [Message::SelectNext, Message::Open]);
    assert_eq!(model.page(), Some(&Page::Doctor));
}

#[test]
fn strangers_cannot_reach_the_terminal() {
    let evil = "a\u{1b}]0;evil\x07\u{202e}\n#b";
    let mut facts = healthy();
    facts.processes.as_mut().unwrap().worst = vec![process(7, evil, 100, 100)];
    let report = report(&watched(facts, |_, _| {})).of_trace(Some(evil.into()));
    for size in SIZES {
        for messages in [vec![], vec![Message::Open]] {
            let frame = with(replay::live(fixture::calm()), report.clone());
            let mut model = page(frame, size, Symbols::UTF8);
            tell(&mut model, messages);
            assert_harmless(&model);
        }
    }
}

/// The rows of the table with the style of their state.
#[test]
fn states_are_words_and_colours() {
    for (name, theme) in [("color", Theme::color()), ("mono", Theme::mono())] {
        let mut model = page(crisis(), (120, 40), Symbols::ASCII);
        model.looks.theme = theme;
        let buffer = buffer(&model);
        let mut seen = std::collections::BTreeMap::new();
        for y in 0..40 {
            let word: String = (4..9).map(|x| buffer[(x, y)].symbol()).collect();
            if ["CRIT ", "WARN ", "ok*  ", "ok   "].contains(&word.as_str()) {
                let style = buffer[(4, y)].style();
                seen.entry(word).or_insert((style.fg, style.add_modifier));
            }
        }
        assert_snapshot!(format!("doctor_styles_{name}"), format!("{seen:#?}"));
    }
}
