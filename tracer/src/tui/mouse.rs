//! What a click or a turn of the wheel does, by what lies under it.

use jiff::SignedDuration;

use super::message::Effect;
use super::model::{Focus, Model, Page, PortKey, ProcessKey};
use super::update::{Step, keep_first_rows, open, step};
use super::view::{self, Target};
use crate::playback::goto::Goto;
use crate::playback::transport::Command;

/// Lines of a page for a notch of the wheel.
const LINES: usize = 3;

/// Selects a row, opens the selected one, sorts by a column, or goes to a time.
pub(crate) fn click(model: &mut Model, column: u16, row: u16) -> Effect {
    // Keys are text now; a click would take it away or change what it filters.
    if model.typing {
        return Effect::Draw;
    }
    match view::target(model, column, row) {
        Some(Target::Row(focus, at)) => select(model, focus, at),
        Some(Target::Head(focus, column)) => sort_by(model, focus, column),
        Some(Target::Check(at)) => {
            if model.selected_finding() == at {
                open(model);
            } else {
                model.finding = model.doctor().and_then(|report| Some(report.checks.get(at)?.id));
                model.scroll = 0;
            }
        }
        Some(Target::Mark(number)) => {
            return Effect::Send(Command::Goto(Goto::Anomaly(number)));
        }
        Some(Target::Seek(seconds)) => {
            let by = SignedDuration::try_from_secs_f64(seconds).unwrap_or_default();
            if !by.is_zero() {
                return Effect::Send(Command::Seek(by));
            }
        }
        Some(Target::Table(focus)) => model.focus = focus,
        None => {}
    }
    Effect::Draw
}

/// The second click on a row opens it, also the second of a double click.
fn select(model: &mut Model, focus: Focus, at: usize) {
    keep_first_rows(model);
    let was_focused = std::mem::replace(&mut model.focus, focus) == focus;
    let again = match focus {
        Focus::Ports => {
            let rows = model.port_rows();
            let again = model.selected_port(&rows) == at;
            model.ports.selected = rows.get(at).map(|row| PortKey::of(row));
            again
        }
        Focus::Processes => {
            let rows = model.process_rows();
            let again = model.selected_process(&rows) == at;
            model.processes.selected = rows.get(at).map(|row| ProcessKey::of(row));
            again
        }
    };
    if again && was_focused {
        open(model);
    }
}

/// As `s` and `I` do: another column, or the same one the other way round.
fn sort_by(model: &mut Model, focus: Focus, column: usize) {
    let (sort, inverted) = match focus {
        Focus::Ports => (&mut model.ports.sort, &mut model.ports.inverted),
        Focus::Processes => (&mut model.processes.sort, &mut model.processes.inverted),
    };
    *inverted = *sort == column && !*inverted;
    *sort = column;
    model.focus = focus;
}

/// Rows of the table under the pointer, or else lines of the page.
pub(crate) fn wheel(model: &mut Model, up: bool, at: (u16, u16)) {
    let by = |count| if up { Step::Up(count) } else { Step::Down(count) };
    let is_top = model.overlay.is_none() && model.page().is_none();
    let is_table = model.overlay.is_none() && model.page() == Some(&Page::Doctor);
    match view::target(model, at.0, at.1) {
        Some(Target::Row(focus, _) | Target::Head(focus, _) | Target::Table(focus)) if is_top => {
            keep_first_rows(model);
            model.focus = focus;
            step(model, by(1));
        }
        Some(Target::Check(_)) => step(model, by(1)),
        _ if is_top => {}
        _ if is_table => {
            let limit = view::scroll_limit(model);
            model.scroll = by(LINES).from(model.scroll, limit);
        }
        _ => step(model, by(LINES)),
    }
}
