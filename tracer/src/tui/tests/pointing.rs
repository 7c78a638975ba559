//! The mouse, the clipboard and pastes.

use super::{SIZES, buffer, fixture, model, model_of, picture, replay, tell};
use crate::playback::goto::Goto;
use crate::playback::transport::Command;
use crate::tui::message::{Effect, Message};
use crate::tui::model::{Focus, Model, Page};
use crate::tui::symbols::Symbols;
use crate::tui::update::update;
use crate::tui::view::{self, Target};

fn crisis(size: (u16, u16)) -> Model {
    model(fixture::crisis(), size, Symbols::UTF8)
}

fn travelling(size: (u16, u16)) -> Model {
    model_of(replay::stopped(), size, Symbols::UTF8)
}

/// Column and row of the first cell of `words`, looked for from line `from` on.
fn place(model: &Model, words: &str, from: u16) -> (u16, u16) {
    let buffer = buffer(model);
    for y in from..model.height {
        let cells: Vec<&str> = (0..model.width).map(|x| buffer[(x, y)].symbol()).collect();
        for x in 0..cells.len() {
            if cells[x..].concat().starts_with(words) {
                return (u16::try_from(x).unwrap(), y);
            }
        }
    }
    panic!("{words} is not on screen:\n{}", picture(model));
}

fn click(model: &mut Model, (x, y): (u16, u16)) -> Effect {
    update(model, Message::Click(x, y))
}

#[test]
fn a_click_selects_a_row_and_the_next_one_opens_it() {
    for size in [(60, 15), (80, 24), (120, 40), (200, 50)] {
        let mut model = crisis(size);
        let (_, head) = place(&model, "PORT", 0);
        let row = place(&model, "443 ", head);
        assert_eq!(click(&mut model, row), Effect::Draw);
        let selected = model.ports.selected.expect("a row");
        assert_eq!((selected.port, model.page()), (443, None), "{size:?}");
        assert!(picture(&model).contains("▸"), "{}", picture(&model));
        let row = place(&model, "443 ", head);
        click(&mut model, row);
        assert!(matches!(model.page(), Some(Page::Port(key)) if key.port == 443), "{size:?}");
    }
}

#[test]
fn a_click_on_the_other_table_takes_the_focus_and_opens_nothing() {
    let mut model = crisis((120, 40));
    let (_, top) = place(&model, "processes", 0);
    let row = place(&model, "▸", top + 1);
    click(&mut model, row);
    assert_eq!((model.focus, model.page()), (Focus::Processes, None));
    click(&mut model, row);
    assert!(matches!(model.page(), Some(Page::Process(_))));
}

#[test]
fn rows_stay_where_they_are_under_the_pointer() {
    let mut snapshot = fixture::crisis();
    let row = snapshot.ports[0].clone();
    snapshot.ports =
        (1..60).map(|port| crate::aggregate::snapshot::PortRow { port, ..row.clone() }).collect();
    let mut model = model(snapshot, (80, 24), Symbols::UTF8);
    tell(&mut model, [Message::SelectLast]);
    let (x, y) = place(&model, "▸", 0);
    let above = (x, y - 2);
    let target = view::target(&model, above.0, above.1);
    let before = picture(&model);
    click(&mut model, above);
    assert_eq!(view::target(&model, above.0, above.1), target, "\n{before}\n{}", picture(&model));
    assert_eq!(place(&model, "▸", 0), above);
    click(&mut model, above);
    assert!(matches!(model.page(), Some(Page::Port(key)) if key.port == 57), "{:?}", model.page());
}

#[test]
fn a_click_on_a_head_sorts_and_the_next_turns_it_round() {
    let mut model = crisis((120, 40));
    let (_, top) = place(&model, "ports", 0);
    let head = place(&model, "ESTAB", top + 1);
    click(&mut model, head);
    let sorted = place(&model, "ESTAB▼", top + 1);
    click(&mut model, sorted);
    place(&model, "ESTAB▲", top + 1);
    assert!(picture(&model).contains("sort: ESTAB"));
}

#[test]
fn a_click_on_the_timeline_goes_there() {
    let mut model = travelling((120, 40));
    let marks = model.frame.as_ref().unwrap().timeline.marks.len();
    let last = place(&model, "X", 2);
    assert_eq!(click(&mut model, last), Effect::Send(Command::Goto(Goto::Anomaly(marks))));
    let entry = place(&model, "!2 ", 2);
    assert_eq!(click(&mut model, entry), Effect::Send(Command::Goto(Goto::Anomaly(2))));
    // All of the entry leads there, its time as well as its address.
    let within = (entry.0 + 8, entry.1);
    assert_eq!(click(&mut model, within), Effect::Send(Command::Goto(Goto::Anomaly(2))));
    let (start, row) = place(&model, "├", 2);
    match click(&mut model, (start + 1, row)) {
        Effect::Send(Command::Seek(by)) => assert_eq!(by.as_secs(), -300),
        other => panic!("{other:?}"),
    }
    let here = place(&model, "◆", 2);
    let effect = click(&mut model, here);
    let near = matches!(&effect, Effect::Send(Command::Seek(by)) if by.as_secs().abs() <= 4);
    assert!(near || effect == Effect::Draw || matches!(effect, Effect::Send(Command::Goto(_))));
    assert_eq!(click(&mut model, (start, row)), Effect::Draw, "the cap is no time");
}

#[test]
fn a_click_on_the_chart_goes_to_that_time() {
    for size in [(80, 24), (120, 40)] {
        let mut model = crisis(size);
        let (now, axis) = place(&model, "now", 0);
        match click(&mut model, (now + 2, axis - 1)) {
            Effect::Draw => {}
            Effect::Send(Command::Seek(by)) => assert!(by.as_secs() >= -10, "{by:?}"),
            other => panic!("{other:?}"),
        }
        let (start, row) = place(&model, "0│", 2);
        match click(&mut model, (start + 2, row)) {
            Effect::Send(Command::Seek(by)) => assert_eq!(by.as_secs(), -300),
            other => panic!("{size:?}: {other:?}\n{}", picture(&model)),
        }
        let future = click(&mut model, (now + 4, axis - 1));
        assert_eq!(future, Effect::Draw, "nobody can go to what comes");
    }
}

#[test]
fn the_wheel_turns_through_rows_and_pages() {
    let mut model = crisis((120, 40));
    let row = place(&model, "▸", 0);
    let first = model.selected_port(&model.port_rows());
    tell(&mut model, [Message::Wheel { up: false, at: row }]);
    assert_eq!(model.selected_port(&model.port_rows()), first + 1);
    tell(&mut model, [Message::Wheel { up: true, at: row }]);
    assert_eq!(model.selected_port(&model.port_rows()), first);
    tell(&mut model, [Message::Wheel { up: false, at: (0, 0) }]);
    assert_eq!(model.selected_port(&model.port_rows()), first, "line 1 has no rows");
    tell(&mut model, [Message::Help, Message::Wheel { up: false, at: row }]);
    assert_eq!(model.scroll, 3);
    tell(&mut model, [Message::Wheel { up: true, at: row }, Message::Wheel { up: true, at: row }]);
    assert_eq!(model.scroll, 0);
}

#[test]
fn every_place_can_be_clicked_on_every_screen() {
    let pages: [&[Message]; 6] = [
        &[],
        &[Message::Help],
        &[Message::ShowPort],
        &[Message::ShowDoctor],
        &[Message::ShowEvents],
        &[Message::FocusNext],
    ];
    for size in SIZES.into_iter().chain([(40, 10), (1, 1), (20, 3)]) {
        for messages in pages {
            for mut begin in [crisis(size), travelling(size)] {
                tell(&mut begin, messages.iter().cloned());
                let rows = (begin.port_rows().len(), begin.process_rows().len());
                for (x, y) in (0..=size.0).flat_map(|x| (0..=size.1).map(move |y| (x, y))) {
                    match view::target(&begin, x, y) {
                        Some(Target::Row(Focus::Ports, at)) => assert!(at < rows.0),
                        Some(Target::Row(Focus::Processes, at)) => assert!(at < rows.1),
                        _ => {}
                    }
                }
                for (x, y) in [(0, 0), (size.0 / 2, size.1 / 2), (size.0, size.1)] {
                    tell(
                        &mut begin,
                        [Message::Click(x, y), Message::Wheel { up: false, at: (x, y) }],
                    );
                }
                picture(&begin);
            }
        }
    }
}

#[test]
fn a_paste_is_text_or_nothing() {
    let mut model = crisis((120, 40));
    let pasted = || Message::Paste("quit Q q\nsecond line\u{1b}[31m".into());
    assert_eq!(update(&mut model, pasted()), Effect::Draw);
    assert!(!model.typing && model.filter.is_empty() && model.pages.is_empty());
    assert!(picture(&model).contains("a paste goes into a text only"), "{}", picture(&model));
    tell(&mut model, [Message::FilterEdit, pasted()]);
    assert_eq!(model.filter.text(), "quit Q q", "one line of it");
    tell(&mut model, [Message::EraseAll, Message::Paste("\n \u{1b}[31m:443\t\r\n".into())]);
    assert_eq!(model.filter.text(), "[31m:443", "nothing that a terminal acts on");
    tell(&mut model, [Message::EraseAll, Message::Paste("x".repeat(1 << 20))]);
    assert_eq!(model.filter.text().len(), 256);
    tell(&mut model, [Message::Cancel, Message::GotoEdit, Message::Paste("16:41:52\n".into())]);
    assert_eq!(model.goto.as_ref().unwrap().text, "16:41:52");
}

#[test]
fn a_click_while_typing_takes_nothing_away() {
    let mut model = crisis((120, 40));
    let row = place(&model, "▸", 0);
    tell(&mut model, [Message::FilterEdit, Message::Type('4')]);
    click(&mut model, (row.0, row.1 + 1));
    assert!(model.typing && model.ports.selected.is_none());
}

fn copied(model: &mut Model) -> (String, String) {
    match update(model, Message::Copy) {
        Effect::Copy(copied) => (copied.what, copied.text),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_selected_row_can_be_copied_and_that_is_said() {
    let mut model = crisis((120, 40));
    let (what, text) = copied(&mut model);
    assert_eq!(what, "the row of port 9981");
    insta::assert_snapshot!("copied_port", text);
    tell(&mut model, [Message::Copied(Ok(what))]);
    let screen = picture(&model);
    assert!(screen.lines().last().unwrap().contains("copied the row of port 9981"), "{screen}");
    tell(&mut model, [super::arrived(fixture::crisis())]);
    assert!(picture(&model).contains("copied the row"), "until the next key");
    tell(&mut model, [Message::FocusNext]);
    assert!(!picture(&model).contains("copied the row"));
    let (what, text) = copied(&mut model);
    assert!(what.starts_with("the row of ") && text.contains("COMM "), "{what}: {text}");
    tell(&mut model, [Message::Copied(Err("tmux does not answer".into()))]);
    assert!(picture(&model).contains("not copied: tmux does not answer"));
    tell(&mut model, [Message::FocusNext, Message::Open]);
    assert_eq!(copied(&mut model).0, "the row of port 9981", "on its page too");
    tell(&mut model, [Message::ShowTop, Message::Trust]);
    let (what, text) = copied(&mut model);
    assert!(what == "the verdict" && text.contains("CRIT"), "{text}");
    let mut nothing = Model::new(super::looks());
    assert_eq!(update(&mut nothing, Message::Copy), Effect::Draw);
    assert!(nothing.notice.is_some());
}

#[test]
fn what_is_copied_is_harmless_where_it_is_pasted() {
    let mut snapshot = fixture::crisis();
    if let Some(owner) = &mut snapshot.ports[0].owner {
        owner.comm = "x\u{1b}]0;evil\u{7}\nrm -rf".into();
    }
    snapshot.host.name = "web\r\n17".into();
    let mut model = model(snapshot, (120, 40), Symbols::UTF8);
    let (_, text) = copied(&mut model);
    assert!(!text.chars().any(char::is_control), "{text:?}");
}

#[test]
fn the_mouse_can_be_left_to_the_terminal() {
    let mut model = crisis((120, 40));
    assert_eq!(update(&mut model, Message::ToggleMouse), Effect::Mouse(false));
    assert!(picture(&model).contains("mouse off: the terminal selects text"));
    assert_eq!(update(&mut model, Message::ToggleMouse), Effect::Mouse(true));
    assert!(picture(&model).contains("mouse on"));
}
