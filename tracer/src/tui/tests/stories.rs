//! What somebody does, and what they see.

use insta::assert_snapshot;

use super::{arrived, fixture, model, picture, replay, tell};
use crate::playback::transport::Command;
use crate::tui::message::{Effect, Message};
use crate::tui::model::{Focus, Model, PortKey};
use crate::tui::symbols::Symbols;
use crate::tui::update::update;

fn begin() -> Model {
    model(fixture::crisis(), (80, 24), Symbols::UTF8)
}

fn type_in(model: &mut Model, text: &str) {
    tell(model, [Message::FilterEdit]);
    tell(model, text.chars().map(Message::Type));
}

fn ports(model: &Model) -> Vec<u16> {
    model.port_rows().iter().map(|row| row.port).collect()
}

fn selected(model: &Model) -> u16 {
    let rows = model.port_rows();
    rows[model.selected_port(&rows)].port
}

#[test]
fn sorting_goes_through_the_columns_and_back() {
    let mut model = begin();
    assert_eq!(ports(&model), [9981, 443, 5432, 9100, 22]);
    tell(&mut model, [Message::InvertSort]);
    assert_eq!(ports(&model), [5432, 9100, 22, 443, 9981]);
    // From ORPHANS round to PORT.
    tell(&mut model, (0..8).map(|_| Message::SortNext));
    assert_eq!(ports(&model), [22, 443, 5432, 9100, 9981]);
    assert_snapshot!("story_sorted_by_port", picture(&model));
    tell(&mut model, [Message::SortPrevious]);
    assert_ne!(ports(&model), [22, 443, 5432, 9100, 9981]);
}

/// A column of zeros would say nothing.
#[test]
fn killed_orphans_have_a_column_once_there_are_any() {
    let mut model = begin();
    let has_column = |model: &Model| picture(model).lines().any(|it| it.contains("KILLED"));
    assert!(!has_column(&model), "{}", picture(&model));
    let mut next = fixture::later(1);
    next.ports[0].orphan_ends.killed = 1_204;
    let port = next.ports[0].port;
    tell(&mut model, [arrived(next)]);
    assert!(has_column(&model), "{}", picture(&model));
    // From ORPHANS over its growth to it.
    tell(&mut model, (0..2).map(|_| Message::SortNext));
    assert_eq!(ports(&model)[0], port);
    assert!(picture(&model).contains("1,204"), "{}", picture(&model));
}

#[test]
fn the_selection_is_a_service_not_a_place() {
    let mut model = begin();
    tell(&mut model, [Message::SelectNext]);
    assert_eq!(selected(&model), 443);
    tell(&mut model, [Message::InvertSort]);
    assert_eq!(selected(&model), 443, "after sorting");
    let mut next = fixture::later(1);
    next.ports.reverse();
    tell(&mut model, [arrived(next.clone())]);
    assert_eq!(selected(&model), 443, "after a snapshot");
    next.ports.retain(|row| row.port != 443);
    tell(&mut model, [arrived(next)]);
    assert_eq!(model.port_rows()[0].port, selected(&model), "gone: the first");
}

#[test]
fn selection_stops_at_both_ends() {
    let mut model = begin();
    tell(&mut model, [Message::SelectPrevious]);
    assert_eq!(selected(&model), 9981);
    tell(&mut model, [Message::SelectLast, Message::SelectNext]);
    assert_eq!(selected(&model), 22);
    tell(&mut model, [Message::PageUp]);
    assert_eq!(selected(&model), 9981);
}

#[test]
fn typing_filters_at_once() {
    let mut model = begin();
    type_in(&mut model, "ngi");
    assert_eq!(ports(&model), [443]);
    assert_snapshot!("story_filter_typing", picture(&model));
    tell(&mut model, [Message::Accept]);
    assert_snapshot!("story_filter_kept", picture(&model));
    tell(&mut model, [Message::Back]);
    assert_eq!(ports(&model).len(), 5, "Esc shows all again");
}

#[test]
fn a_filter_that_is_wrong_or_finds_nothing_says_so() {
    let mut model = begin();
    type_in(&mut model, ":99999");
    assert_eq!(ports(&model).len(), 5);
    assert_snapshot!("story_filter_invalid", picture(&model));
    tell(&mut model, [Message::EraseAll]);
    type_in(&mut model, "zzz");
    assert_snapshot!("story_filter_no_match", picture(&model));
    tell(&mut model, [Message::Cancel]);
    assert_eq!(ports(&model).len(), 5);
}

#[test]
fn drilling_leaves_a_trail() {
    let mut model = begin();
    tell(&mut model, [Message::Open]);
    assert!(picture(&model).starts_with("sockflow top › :9981"));
    tell(&mut model, [Message::Open]);
    assert_snapshot!("story_port_to_owner", picture(&model));
    tell(&mut model, [Message::Back]);
    assert!(picture(&model).starts_with("sockflow top › :9981"));
    tell(&mut model, [Message::Back, Message::Back]);
    assert_eq!(model.page(), None);
}

#[test]
fn a_service_that_vanishes_leaves_a_page_that_says_so() {
    let mut model = begin();
    tell(&mut model, [Message::Open]);
    tell(&mut model, [arrived(fixture::empty())]);
    assert_snapshot!("story_port_gone", picture(&model));
}

#[test]
fn pausing_freezes_the_screen_and_says_how_old_it_is() {
    let mut model = begin();
    let space = Message::Travel(Command::PlayPause);
    assert_eq!(update(&mut model, space), Effect::Send(Command::PlayPause));
    for seconds in [1, 12] {
        tell(&mut model, [Message::Arrived(replay::frozen(fixture::crisis(), seconds))]);
    }
    assert_snapshot!("story_paused", picture(&model));
    tell(&mut model, [arrived(fixture::later(12))]);
    assert!(picture(&model).contains("16:42:22"), "the newest is shown");
}

#[test]
fn help_is_the_keymap_and_can_be_searched() {
    let mut model = begin();
    tell(&mut model, [Message::Help]);
    tell(&mut model, [Message::SelectLast]);
    assert_snapshot!("story_help_end", picture(&model));
    type_in(&mut model, "sort");
    assert_snapshot!("story_help_search", picture(&model));
    tell(&mut model, [Message::Accept, Message::Back]);
    assert!(model.filter.is_empty(), "the search is not the row filter");
    assert_eq!(model.overlay, None);
}

#[test]
fn the_other_table_has_its_own_order() {
    let mut model = begin();
    tell(&mut model, [Message::FocusNext, Message::SortNext]);
    assert_eq!(model.focus, Focus::Processes);
    assert_snapshot!("story_processes", picture(&model));
    tell(&mut model, [Message::ShowTop, Message::ShowProcess]);
    assert!(picture(&model).starts_with("httpdns[4121]"), "the place stays");
}

#[test]
fn zoom_changes_the_time_axis() {
    let mut model = begin();
    tell(&mut model, [Message::ZoomIn, Message::ZoomIn]);
    assert_snapshot!("story_zoomed", picture(&model));
    tell(&mut model, (0..99).map(|_| Message::ZoomOut));
    assert!((model.zoom_s() - 3600.0).abs() < 1e-9);
    tell(&mut model, [Message::ZoomReset]);
    assert!((model.zoom_s() - 300.0).abs() < 1e-9);
}

#[test]
fn pages_scroll_as_far_as_there_is_something() {
    let mut model = model(fixture::crisis(), (60, 15), Symbols::UTF8);
    tell(&mut model, [Message::Open]);
    tell(&mut model, (0..500).map(|_| Message::SelectNext));
    let bottom = model.scroll;
    assert_snapshot!("story_port_end_60x15", picture(&model));
    tell(&mut model, [Message::SelectPrevious]);
    assert_eq!(model.scroll, bottom - 1, "no dead travel");
    tell(&mut model, [Message::Resized(200, 50)]);
    assert_eq!(model.scroll, 0, "it all fits now");
}

#[test]
fn screens_have_numbers() {
    let mut model = begin();
    tell(&mut model, [Message::SelectNext, Message::ShowPort]);
    let expected = PortKey::of(&fixture::crisis().ports[1]);
    assert_eq!(model.page(), Some(&crate::tui::model::Page::Port(expected)));
    tell(&mut model, [Message::ShowTop]);
    assert_eq!(model.page(), None);
}

#[test]
fn leaving_and_stopping_are_for_the_loop() {
    let mut model = begin();
    assert_eq!(update(&mut model, Message::Quit), Effect::Quit);
    assert_eq!(update(&mut model, Message::Suspend), Effect::Suspend);
    assert_eq!(update(&mut model, Message::Help), Effect::Draw);
}
