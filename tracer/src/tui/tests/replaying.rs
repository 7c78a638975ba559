//! Time travel: screens over a trace, and what the keys ask of the tape.

use insta::assert_snapshot;

use super::{SIZES, assert_harmless, fixture, model, model_of, picture, pictures_of, replay, tell};
use crate::playback::goto::Goto;
use crate::playback::transport::Command;
use crate::playback::{Frame, Mode, Speed};
use crate::time::Wall;
use crate::tui::message::{Effect, Message};
use crate::tui::model::{Model, Page};
use crate::tui::symbols::Symbols;
use crate::tui::update::update;

fn begin(frame: Frame, size: (u16, u16), symbols: Symbols) -> Model {
    let mut model = model_of(frame, size, symbols);
    model.title = "replay incident.sfl".into();
    model
}

fn small() -> Model {
    begin(replay::stopped(), (80, 24), Symbols::UTF8)
}

fn type_in(model: &mut Model, text: &str) {
    tell(model, [Message::GotoEdit]);
    tell(model, text.chars().map(Message::Type));
}

/// One picture for each size and glyph set.
fn everywhere(name: &str, frame: &Frame, messages: &[Message]) {
    let begin = |size, symbols| begin(frame.clone(), size, symbols);
    for (name, picture) in pictures_of(name, begin, messages) {
        assert_snapshot!(name, picture);
    }
}

#[test]
fn replay() {
    everywhere("replay", &replay::stopped(), &[]);
}

#[test]
fn goto_prompt() {
    let typed = [Message::GotoEdit, Message::Type('1'), Message::Type('6'), Message::Type(':')];
    everywhere("goto", &replay::stopped(), &typed);
}

#[test]
fn differences() {
    everywhere("differences", &replay::stopped(), &[Message::ShowDifferences]);
}

#[test]
fn events() {
    everywhere("events", &replay::stopped(), &[Message::ShowEvents]);
}

#[test]
fn damaged() {
    everywhere("damaged", &replay::damaged(), &[]);
    let mut model = begin(replay::damaged(), (80, 24), Symbols::UTF8);
    tell(&mut model, [Message::Trust, Message::SelectLast]);
    let picture = picture(&model);
    assert!(picture.contains("30 s missing after 16:38:49"), "{picture}");
    assert!(picture.contains("2 gaps"), "{picture}");
}

#[test]
fn a_place_that_is_wrong_stays_and_says_why() {
    let mut model = small();
    type_in(&mut model, "noon");
    assert_eq!(update(&mut model, Message::Accept), Effect::Draw);
    assert!(model.typing);
    assert_snapshot!("story_goto_wrong", picture(&model));
    tell(&mut model, [Message::Erase]);
    assert!(!picture(&model).contains("is no time"), "it is being mended");
    tell(&mut model, [Message::EraseAll]);
    tell(&mut model, "17:00".chars().map(Message::Type));
    assert_eq!(update(&mut model, Message::Accept), Effect::Draw);
    assert_snapshot!("story_goto_outside", picture(&model));
    tell(&mut model, [Message::EraseAll, Message::Accept]);
    assert!(!model.typing && model.goto.is_none(), "nothing typed: nowhere to go");
    type_in(&mut model, "!3");
    tell(&mut model, [Message::Cancel]);
    assert!(!model.typing && model.goto.is_none());
    assert!(model.filter.is_empty(), "what was typed is no row filter");
}

#[test]
fn a_place_that_is_right_is_asked_for() {
    for text in ["16:41:52", "+30s", "-5m", "@12345", "!3", "max", "start"] {
        let mut model = small();
        type_in(&mut model, text);
        let place = Goto::parse(text).unwrap();
        let effect = update(&mut model, Message::Accept);
        assert_eq!(effect, Effect::Send(Command::Goto(place)), "{text}");
        assert!(!model.typing && model.goto.is_none(), "{text}");
    }
}

#[test]
fn what_the_tape_refuses_is_told() {
    let mut frame = replay::stopped();
    frame.refused = Some("no later anomaly".into());
    assert_snapshot!("story_refused", picture(&begin(frame, (80, 24), Symbols::UTF8)));
}

#[test]
fn marks_are_on_the_ruler_and_compared() {
    let mut model = small();
    let mut earlier = replay::stopped();
    let mut snapshot = fixture::calm();
    snapshot.time = Wall(fixture::NOW.0 - 210_000_000_000);
    earlier.view.snapshot = std::sync::Arc::new(snapshot);
    earlier.view.event_number = 4_711;
    tell(&mut model, [Message::MarkB, Message::Arrived(earlier), Message::MarkA]);
    let mut last = replay::stopped();
    last.position = last.timeline.moments.len() - 2;
    let mut end = fixture::later(43);
    end.source = crate::aggregate::snapshot::SourceKind::Trace;
    last.view.snapshot = std::sync::Arc::new(end);
    last.mode = Mode::Playing;
    last.speed = "4".parse::<Speed>().unwrap();
    tell(&mut model, [Message::Arrived(last)]);
    assert_snapshot!("story_marked", picture(&model));
    tell(&mut model, [Message::ShowDifferences]);
    assert_snapshot!("story_compared", picture(&model));
    tell(&mut model, [Message::ShowDifferences]);
    assert_eq!(model.page(), None, "the same key closes it");
}

#[test]
fn a_mark_is_forgotten_where_it_was_set() {
    let mut model = small();
    tell(&mut model, [Message::MarkA]);
    assert!(model.marks[0].is_some());
    tell(&mut model, [Message::MarkA]);
    assert!(model.marks[0].is_none());
}

#[test]
fn marks_the_wrong_way_round_are_compared_in_order() {
    let mut model = begin(replay::stopped(), (120, 40), Symbols::UTF8);
    let mut later = replay::stopped();
    later.view.snapshot = std::sync::Arc::new(fixture::later(30));
    tell(&mut model, [Message::Arrived(later), Message::MarkA]);
    tell(&mut model, [Message::Arrived(replay::stopped()), Message::MarkB]);
    tell(&mut model, [Message::ShowDifferences]);
    let picture = picture(&model);
    let (b, a) = (
        picture.find("B            16:42:10").unwrap(),
        picture.find("A            16:42:40").unwrap(),
    );
    assert!(b < a && picture.contains("30 s"), "{picture}");
    assert!(picture.contains("+8,910"), "{picture}");
}

#[test]
fn drilling_works_at_the_moment_and_stays_while_time_moves() {
    let mut model = small();
    tell(&mut model, [Message::Open]);
    assert_snapshot!("story_replay_port", picture(&model));
    let mut start = replay::stopped();
    start.view.snapshot = std::sync::Arc::clone(&start.first);
    start.position = 0;
    tell(&mut model, [Message::Arrived(start)]);
    assert!(matches!(model.page(), Some(Page::Port(_))));
    assert!(picture(&model).contains("16:37:10"));
}

#[test]
fn the_present_has_no_ruler() {
    let before = picture(&model(fixture::crisis(), (80, 24), Symbols::UTF8));
    assert!(!before.contains('├'), "{before}");
    let frozen = replay::frozen(fixture::crisis(), 12);
    let after = picture(&begin(frozen, (80, 24), Symbols::UTF8));
    assert!(after.contains('├') && after.contains("PAUSED -12s"), "{after}");
}

#[test]
fn a_file_that_grows_is_followed_like_a_host() {
    let mut frame = replay::stopped();
    let mut timeline = crate::playback::Timeline::clone(&frame.timeline);
    timeline.growing = true;
    frame.timeline = std::sync::Arc::new(timeline);
    frame.mode = Mode::Live;
    let picture = picture(&begin(frame.clone(), (120, 40), Symbols::UTF8));
    assert!(picture.contains("LIVE") && picture.contains('▶'), "{picture}");
    assert!(!picture.contains("now "), "the newest of a file is not now: {picture}");
    frame.mode = Mode::Paused;
    let picture = super::picture(&begin(frame, (80, 24), Symbols::UTF8));
    assert!(picture.contains("PAUSED -44s"), "{picture}");
}

#[test]
fn strangers_cannot_reach_the_terminal_through_events_and_gaps() {
    let evil = "\x1b]0;evil\x07\u{202e}";
    let mut frame = replay::damaged();
    let mut events = frame.view.events.to_vec();
    for event in &mut events {
        let owner = crate::event::Owner { pid: 1, comm: evil.into() };
        event.owner = Some(std::sync::Arc::new(owner));
    }
    frame.view.events = std::sync::Arc::new(events);
    let mut timeline = crate::playback::Timeline::clone(&frame.timeline);
    timeline.gaps = vec![evil.into()];
    timeline.marks.iter_mut().for_each(|mark| mark.text = evil.into());
    frame.timeline = std::sync::Arc::new(timeline);
    frame.refused = Some(evil.into());
    let mut snapshot = fixture::hostile();
    snapshot.source = crate::aggregate::snapshot::SourceKind::Trace;
    frame.view.snapshot = std::sync::Arc::new(snapshot);
    for size in SIZES {
        for messages in [
            vec![],
            vec![Message::ShowEvents],
            vec![Message::ShowDifferences],
            vec![Message::Trust, Message::SelectLast],
        ] {
            let mut model = begin(frame.clone(), size, Symbols::UTF8);
            model.title = evil.into();
            tell(&mut model, messages);
            assert_harmless(&model);
        }
    }
}
