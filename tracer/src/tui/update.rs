//! The only place where the model changes: a pure function of model and message.

use std::sync::Arc;

use super::columns::Column;
use super::message::{Effect, Message};
use super::model::{
    DEFAULT_ZOOM, Focus, GotoPrompt, Marked, Model, Overlay, Page, PortKey, ProcessKey, ZOOMS,
};
use super::view;
use super::{columns, copy, mouse};
use crate::playback::Frame;
use crate::playback::goto::{Base, Found, Goto};
use crate::playback::transport::Command;

const PAGE_ROWS: usize = 10;

/// A step through rows or lines.
#[derive(Clone, Copy)]
pub(super) enum Step {
    Down(usize),
    Up(usize),
    First,
    Last,
}

impl Step {
    pub(super) fn from(self, at: usize, last: usize) -> usize {
        match self {
            Self::Down(by) => at.saturating_add(by).min(last),
            Self::Up(by) => at.min(last).saturating_sub(by),
            Self::First => 0,
            Self::Last => last,
        }
    }
}

/// Applies `message` and says what is to be done outside.
pub(crate) fn update(model: &mut Model, message: Message) -> Effect {
    if !matches!(message, Message::Arrived(_) | Message::Resized(..)) {
        model.notice = None;
    }
    match message {
        Message::Arrived(frame) => {
            if model.frame.is_none() {
                model.zoom = first_zoom(&frame);
            }
            model.frame = Some(frame);
            clamp_scroll(model);
        }
        Message::Resized(width, height) => {
            (model.width, model.height) = (width, height);
            clamp_scroll(model);
        }
        Message::SelectNext => step(model, Step::Down(1)),
        Message::SelectPrevious => step(model, Step::Up(1)),
        Message::SelectFirst => step(model, Step::First),
        Message::SelectLast => step(model, Step::Last),
        Message::PageDown => step(model, Step::Down(PAGE_ROWS)),
        Message::PageUp => step(model, Step::Up(PAGE_ROWS)),
        Message::Open => open(model),
        Message::Back => back(model),
        Message::Travel(command) => return Effect::Send(command),
        Message::GotoEdit => {
            model.goto = Some(GotoPrompt::default());
            model.typing = true;
        }
        Message::MarkA => mark(model, 0),
        Message::MarkB => mark(model, 1),
        Message::SortNext => sort(model, 1),
        Message::SortPrevious => sort(model, -1),
        Message::InvertSort => match model.focus {
            Focus::Ports => model.ports.inverted = !model.ports.inverted,
            Focus::Processes => model.processes.inverted = !model.processes.inverted,
        },
        Message::FocusNext => {
            model.focus = match model.focus {
                Focus::Ports => Focus::Processes,
                Focus::Processes => Focus::Ports,
            };
        }
        Message::ZoomIn => model.zoom = model.zoom.saturating_sub(1),
        Message::ZoomOut => model.zoom = (model.zoom + 1).min(ZOOMS.len() - 1),
        Message::ZoomReset => model.zoom = DEFAULT_ZOOM,
        Message::ShowTop => go(model, Vec::new()),
        Message::ShowPort => {
            let page = selected_port(model).map(Page::Port);
            go(model, page.into_iter().collect());
        }
        Message::ShowProcess => {
            let page = selected_process(model).map(Page::Process);
            go(model, page.into_iter().collect());
        }
        Message::ShowEvents => page(model, Page::Events),
        Message::ShowDifferences => page(model, Page::Differences),
        Message::ShowDoctor => page(model, Page::Doctor),
        Message::Help => toggle(model, Overlay::Help),
        Message::Trust => toggle(model, Overlay::Trust),
        Message::FilterEdit => {
            // Over the trust table there is nothing to search; the filter would change unseen.
            if model.overlay != Some(Overlay::Trust) {
                model.typing = true;
            }
        }
        Message::Type(character) => edit(model, |text| text.push(character)),
        Message::Erase => edit(model, |text| {
            text.pop();
        }),
        Message::EraseAll => edit(model, String::clear),
        Message::Paste(text) => paste(model, &text),
        Message::Click(column, row) => return mouse::click(model, column, row),
        Message::Wheel { up, at } => mouse::wheel(model, up, at),
        Message::ToggleMouse => {
            model.mouse = !model.mouse;
            let text =
                if model.mouse { "mouse on" } else { "mouse off: the terminal selects text" };
            model.notice = Some(text.to_owned());
            return Effect::Mouse(model.mouse);
        }
        Message::Copy => match copy::of(model) {
            Some(copied) => return Effect::Copy(copied),
            None => model.notice = Some("nothing here to copy".to_owned()),
        },
        Message::Copied(outcome) => {
            model.notice = Some(match outcome {
                Ok(what) => format!("copied {what}"),
                Err(why) => format!("not copied: {why}"),
            });
        }
        Message::Accept => return accept(model),
        Message::Cancel => {
            if model.goto.take().is_none() {
                edit(model, String::clear);
            }
            model.typing = false;
        }
        Message::Suspend => return Effect::Suspend,
        Message::Continued => return Effect::TakeAgain,
        Message::Quit => return Effect::Quit,
        Message::TestPanic => return Effect::TestPanic,
    }
    Effect::Draw
}

/// Takes what was typed; a place that is wrong stays, and says why.
fn accept(model: &mut Model) -> Effect {
    let Some(prompt) = &mut model.goto else {
        model.typing = false;
        return Effect::Draw;
    };
    if prompt.text.trim().is_empty() {
        model.goto = None;
        model.typing = false;
        return Effect::Draw;
    }
    let place = Goto::parse(&prompt.text);
    let wrong = match (&place, &model.frame) {
        (Err(why), _) => Some(why.clone()),
        (Ok(place), Some(frame)) => {
            let base = Base::Moment(frame.position);
            // Where an event is only the tape knows: it answers later.
            let found = place.find(&frame.timeline, base, &model.looks.zone, |_| Some(0));
            if let Found::Nowhere(why) = found { Some(why) } else { None }
        }
        (Ok(_), None) => None,
    };
    prompt.problem = wrong;
    match place {
        Ok(place) if prompt.problem.is_none() => {
            model.goto = None;
            model.typing = false;
            Effect::Send(Command::Goto(place))
        }
        _ => Effect::Draw,
    }
}

/// Remembers the moment on screen; the same moment again is forgotten.
fn mark(model: &mut Model, which: usize) {
    let (Some(frame), Some(mark)) = (&model.frame, model.marks.get_mut(which)) else {
        return;
    };
    let snapshot = &frame.view.snapshot;
    let again = mark.as_ref().is_some_and(|it| it.snapshot.time == snapshot.time);
    *mark = (!again)
        .then(|| Marked { snapshot: Arc::clone(snapshot), event_number: frame.view.event_number });
    clamp_scroll(model);
}

/// Opens a page that needs no row; the same key closes it.
fn page(model: &mut Model, page: Page) {
    model.overlay = None;
    model.scroll = 0;
    if model.page() == Some(&page) {
        model.pages.pop();
    } else {
        model.pages.retain(|it| *it != page);
        model.pages.push(page);
    }
}

/// Five minutes, or less where a whole trace is shorter.
fn first_zoom(frame: &Frame) -> usize {
    let moments = &frame.timeline.moments;
    match (moments.first(), moments.last()) {
        (Some(first), Some(last)) if !frame.timeline.growing => {
            let whole_s = (last.0.saturating_sub(first.0)) as f64 / 1e9;
            ZOOMS
                .iter()
                .position(|zoom| f64::from(*zoom) >= whole_s)
                .unwrap_or(DEFAULT_ZOOM)
                .min(DEFAULT_ZOOM)
        }
        _ => DEFAULT_ZOOM,
    }
}

/// The longest text that a paste makes of a filter or a place.
const LONGEST_PASTE: usize = 256;

/// Into the text that is being typed, as one line. Elsewhere letters are keys, which nobody meant.
fn paste(model: &mut Model, text: &str) {
    if !model.typing {
        let text = "a paste goes into a text only: / types a filter, b a place";
        model.notice = Some(text.to_owned());
        return;
    }
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim();
    let plain: String = line.chars().filter(|it| !it.is_control()).take(LONGEST_PASTE).collect();
    edit(model, |text| text.push_str(&plain));
}

/// Rows of the focused table, or lines of whatever lies over it.
pub(super) fn step(model: &mut Model, step: Step) {
    keep_first_rows(model);
    let is_row = !matches!(step, Step::Down(PAGE_ROWS) | Step::Up(PAGE_ROWS));
    if model.overlay.is_none() && model.page() == Some(&Page::Doctor) && is_row {
        let last = model.doctor().map_or(0, |report| report.checks.len().saturating_sub(1));
        let at = step.from(model.selected_finding(), last);
        model.finding = model.doctor().and_then(|report| Some(report.checks.get(at)?.id));
        model.scroll = 0;
        return;
    }
    if model.overlay.is_some() || model.page().is_some() {
        model.scroll = step.from(model.scroll, view::scroll_limit(model));
        return;
    }
    match model.focus {
        Focus::Ports => {
            let rows = model.port_rows();
            let at = step.from(model.selected_port(&rows), rows.len().saturating_sub(1));
            model.ports.selected = rows.get(at).map(|row| PortKey::of(row));
        }
        Focus::Processes => {
            let rows = model.process_rows();
            let at = step.from(model.selected_process(&rows), rows.len().saturating_sub(1));
            model.processes.selected = rows.get(at).map(|row| ProcessKey::of(row));
        }
    }
}

/// The row at the top of each table stays there as long as it can.
pub(super) fn keep_first_rows(model: &mut Model) {
    (model.ports.first, model.processes.first) = view::first_rows(model);
}

pub(super) fn open(model: &mut Model) {
    if model.overlay.is_some() {
        return;
    }
    let page = match model.page() {
        None => match model.focus {
            Focus::Ports => selected_port(model).map(Page::Port),
            Focus::Processes => selected_process(model).map(Page::Process),
        },
        Some(Page::Port(key)) => owner_of(model, *key).map(Page::Process),
        Some(Page::Doctor) => {
            let at = model.selected_finding();
            model.doctor().and_then(|report| Some(Page::Finding(report.checks.get(at)?.id)))
        }
        Some(Page::Process(_) | Page::Events | Page::Differences | Page::Finding(_)) => None,
    };
    if let Some(page) = page {
        // The row stays the selected one on the way back, wherever it has moved meanwhile.
        match &page {
            Page::Port(key) => model.ports.selected = Some(*key),
            Page::Process(key) if model.pages.is_empty() => {
                model.processes.selected = Some(key.clone());
            }
            // Nor does another check take its place.
            Page::Finding(id) => model.finding = Some(*id),
            Page::Process(_) | Page::Events | Page::Differences | Page::Doctor => {}
        }
        model.pages.push(page);
        model.scroll = 0;
    }
}

fn back(model: &mut Model) {
    if model.overlay.take().is_some() {
        model.help_search.clear();
    } else if model.pages.pop().is_none() {
        model.filter.edit(String::clear);
    }
    model.scroll = 0;
}

fn go(model: &mut Model, pages: Vec<Page>) {
    model.pages = pages;
    model.overlay = None;
    model.scroll = 0;
}

fn toggle(model: &mut Model, overlay: Overlay) {
    model.overlay = if model.overlay == Some(overlay) { None } else { Some(overlay) };
    model.help_search.clear();
    model.scroll = 0;
}

fn sort(model: &mut Model, by: isize) {
    /// The next column, either way, that has anything to show.
    fn turned<R>(sort: usize, columns: &[Column<R>], rows: &[&R], by: isize) -> usize {
        let count = columns.len().cast_signed();
        let steps = (1..=count).map(|step| (sort.cast_signed() + by * step).rem_euclid(count));
        let mut steps = steps.map(isize::cast_unsigned);
        steps.find(|at| columns[*at].is_wanted(rows)).unwrap_or(sort)
    }
    match model.focus {
        Focus::Ports => {
            let sort = turned(model.ports.sort, columns::ports::COLUMNS, &model.port_rows(), by);
            (model.ports.sort, model.ports.inverted) = (sort, false);
        }
        Focus::Processes => {
            let rows = model.process_rows();
            let sort = turned(model.processes.sort, columns::processes::COLUMNS, &rows, by);
            (model.processes.sort, model.processes.inverted) = (sort, false);
        }
    }
}

fn edit(model: &mut Model, change: impl FnOnce(&mut String)) {
    if let Some(prompt) = &mut model.goto {
        change(&mut prompt.text);
        prompt.problem = None;
    } else if model.overlay == Some(Overlay::Help) {
        change(&mut model.help_search);
        clamp_scroll(model);
    } else {
        model.filter.edit(change);
    }
}

fn clamp_scroll(model: &mut Model) {
    model.scroll = model.scroll.min(view::scroll_limit(model));
}

fn selected_port(model: &Model) -> Option<PortKey> {
    let rows = model.port_rows();
    let row = rows.get(model.selected_port(&rows))?;
    Some(PortKey::of(row))
}

/// On a port's page the process is its owner, elsewhere the selected row.
fn selected_process(model: &Model) -> Option<ProcessKey> {
    if let Some(Page::Port(key)) = model.page() {
        return owner_of(model, *key);
    }
    let rows = model.process_rows();
    let row = rows.get(model.selected_process(&rows))?;
    Some(ProcessKey::of(row))
}

/// The row of the service's owner. Threads can carry names of their own, so where no row has the
/// owner's name one with its pid will do.
fn owner_of(model: &Model, key: PortKey) -> Option<ProcessKey> {
    let owner = model.find_port(key)?.owner.as_ref()?;
    let named = ProcessKey { pid: Some(owner.pid), comm: Some(owner.comm.clone()) };
    if model.find_process(&named).is_some() {
        return Some(named);
    }
    let rows = &model.shown()?.processes;
    let same = rows.iter().find(|row| row.pid == named.pid);
    Some(same.map_or(named, ProcessKey::of))
}
