//! Every screen at every size in both glyph sets, and the colours of what matters most.

use insta::assert_snapshot;

use super::{SIZES, assert_harmless, buffer, fixture, model, picture, pictures_of, tell};
use crate::aggregate::snapshot::{Fidelity, Lost, Severity, Snapshot};
use crate::tui::message::Message;
use crate::tui::model::Model;
use crate::tui::symbols::Symbols;
use crate::tui::theme::Theme;

/// One picture for each size and glyph set.
fn everywhere(name: &str, snapshot: &Snapshot, messages: &[Message]) {
    let begin = |size, symbols| model(snapshot.clone(), size, symbols);
    for (name, picture) in pictures_of(name, begin, messages) {
        assert_snapshot!(name, picture);
    }
}

#[test]
fn top() {
    everywhere("top", &fixture::crisis(), &[]);
}

#[test]
fn port() {
    everywhere("port", &fixture::crisis(), &[Message::Open]);
}

#[test]
fn process() {
    let messages = [Message::FocusNext, Message::Open];
    everywhere("process", &fixture::crisis(), &messages);
}

#[test]
fn help() {
    everywhere("help", &fixture::crisis(), &[Message::Help]);
}

#[test]
fn trust() {
    let mut snapshot = fixture::crisis();
    snapshot.lost = Lost { detail: 1_204, untracked: 0, missed: 7, ungrouped: 0 };
    snapshot.orphans.drift = -3;
    everywhere("trust", &snapshot, &[Message::Trust]);
}

/// The picture of `top` at one size, UTF-8.
fn one(name: &str, snapshot: Snapshot, size: (u16, u16)) -> Model {
    let model = model(snapshot, size, Symbols::UTF8);
    assert_snapshot!(name, picture(&model));
    model
}

#[test]
fn far_from_the_limit_the_axis_follows_the_data() {
    one("calm_80x24", fixture::calm(), (80, 24));
    one("calm_120x40", fixture::calm(), (120, 40));
}

#[test]
fn numbers_that_are_not_exact_are_marked() {
    let mut snapshot = fixture::crisis();
    for (signal, fidelity) in [
        ("state", Fidelity::Derived),
        ("orphan_begin", Fidelity::Sampled),
        ("owner", Fidelity::Derived),
        ("time_wait", Fidelity::Absent),
    ] {
        snapshot.fidelity.insert(signal, fidelity);
    }
    one("fidelity_120x40", snapshot, (120, 40));
}

#[test]
fn without_bpf_the_screen_says_so_and_shows_no_total() {
    let mut snapshot = fixture::crisis();
    for signal in ["state", "orphan_begin", "orphan_end", "time_wait", "owner"] {
        snapshot.fidelity.insert(signal, Fidelity::Sampled);
    }
    for signal in ["end_reason", "reset_in", "reset_out"] {
        snapshot.fidelity.insert(signal, Fidelity::Absent);
    }
    snapshot.orphans.drift = -3;
    snapshot.unseen = vec![
        "what comes and goes between two looks: connections opened and closed".into(),
        "whose the sockets of other users' processes are (CAP_SYS_PTRACE)".into(),
    ];
    for size in [(80, 24), (200, 50)] {
        let mut model = model(snapshot.clone(), size, Symbols::UTF8);
        assert_snapshot!(format!("sampled_{}x{}", size.0, size.1), picture(&model));
        tell(&mut model, [Message::Trust]);
        assert_snapshot!(format!("sampled_trust_{}x{}", size.0, size.1), picture(&model));
        tell(&mut model, [Message::Trust, Message::Open]);
        assert_snapshot!(format!("sampled_port_{}x{}", size.0, size.1), picture(&model));
    }
}

#[test]
fn nothing_yet_looks_deliberate() {
    for size in [(40, 8), (80, 24), (120, 40)] {
        let filter = String::from("port = 9981");
        let model = model(Snapshot { filter, ..fixture::empty() }, size, Symbols::UTF8);
        assert_snapshot!(format!("empty_{}x{}", size.0, size.1), picture(&model));
    }
}

#[test]
fn before_the_first_snapshot_there_is_a_screen() {
    let mut model = model(fixture::empty(), (80, 24), Symbols::UTF8);
    model.frame = None;
    assert_snapshot!("waiting_80x24", picture(&model));
}

#[test]
fn a_filter_shows_its_share_of_the_orphans() {
    let mut snapshot = fixture::crisis();
    snapshot.filter = "port = 9981".into();
    for (set, symbols) in [("utf8", Symbols::UTF8), ("ascii", Symbols::ASCII)] {
        let model = model(snapshot.clone(), (120, 40), symbols);
        assert_snapshot!(format!("filtered_120x40_{set}"), picture(&model));
    }
}

#[test]
fn the_smallest_terminals_get_the_verdict() {
    let sizes = [(1, 1), (10, 1), (30, 2), (39, 7), (80, 1), (200, 5)];
    let mut all = String::new();
    for size in sizes {
        let model = model(fixture::crisis(), size, Symbols::UTF8);
        all.push_str(&format!("{size:?}\n{}\n", picture(&model)));
    }
    assert_snapshot!("smallest", all);
}

#[test]
fn losses_and_drift_are_in_line_1_at_every_width() {
    let mut snapshot = fixture::crisis();
    snapshot.lost.detail = 1_204;
    snapshot.lost.missed = 7;
    snapshot.orphans.drift = -3;
    let mut all = String::new();
    for width in [40, 50, 60, 80, 100, 120, 160, 200] {
        let model = model(snapshot.clone(), (width, 24), Symbols::UTF8);
        let first = picture(&model).lines().next().map(str::to_owned);
        let first = first.unwrap_or_default();
        assert!(first.contains("lost 1"), "{width}: {first}");
        all.push_str(&format!("{width:3} {first}\n"));
    }
    assert_snapshot!("line_1", all);
}

#[test]
fn strangers_cannot_reach_the_terminal() {
    for size in SIZES {
        for messages in [
            vec![],
            vec![Message::FocusNext],
            vec![Message::Open],
            vec![Message::Open, Message::Open],
        ] {
            let mut model = model(fixture::hostile(), size, Symbols::UTF8);
            tell(&mut model, messages);
            assert_harmless(&model);
        }
    }
    one("hostile_120x40", fixture::hostile(), (120, 40));
}

/// Lines 1 and 2 with the style of each run of cells.
fn styles(model: &Model) -> String {
    let buffer = buffer(model);
    let mut text = String::new();
    for y in 0..2 {
        let mut run = String::new();
        let mut style = buffer[(0, y)].style();
        for x in 0..=model.width {
            let cell = (x < model.width).then(|| &buffer[(x, y)]);
            if cell.map(ratatui::buffer::Cell::style) != Some(style) {
                let colors = (style.fg, style.bg, style.add_modifier);
                text.push_str(&format!("{:<60} {colors:?}\n", run.trim_end()));
                run.clear();
            }
            if let Some(cell) = cell {
                style = cell.style();
                run.push_str(cell.symbol());
            }
        }
    }
    text
}

#[test]
fn severity_is_word_glyph_and_colour() {
    for (name, theme) in [("color", Theme::color()), ("mono", Theme::mono())] {
        let mut all = String::new();
        for severity in [Severity::Ok, Severity::Note, Severity::Warn, Severity::Crit] {
            let mut snapshot = fixture::crisis();
            snapshot.verdict.severity = severity;
            snapshot.lost.detail = u64::from(severity == Severity::Crit);
            let mut model = model(snapshot, (100, 24), Symbols::UTF8);
            model.looks.theme = theme;
            all.push_str(&styles(&model));
            all.push('\n');
        }
        assert_snapshot!(format!("styles_{name}"), all);
    }
}
