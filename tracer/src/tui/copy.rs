//! What `y` puts into the clipboard: the selected row with its column names, so that it can be read in
//! a ticket, or what the page says. Text alone: no colours, nothing that a terminal acts on.

use super::columns::{self, Cells, Column};
use super::message::Copied;
use super::model::{Focus, Model, Page};
use crate::diagnose::CheckRow;
use crate::format;

/// `None` while there is nothing on screen.
pub(crate) fn of(model: &Model) -> Option<Copied> {
    let snapshot = model.shown()?;
    let symbols = model.looks.symbols;
    let cells = Cells { symbols, fidelity: &snapshot.fidelity };
    let row = |what: String, text: &str| {
        let zone = &model.looks.zone;
        let time = snapshot.time;
        let (day, clock) = (format::day(time, zone), time.clock(zone));
        let host = symbols.clean(&snapshot.host.name);
        Copied { what, text: format!("{day} {clock} {} {host}  {text}", time.offset(zone)) }
    };
    let port = |at: Option<&crate::aggregate::snapshot::PortRow>| {
        let it = at?;
        let name = columns::ports::label(it.port, it.direction, &cells);
        Some(row(format!("the row of port {name}"), &text_of(columns::ports::COLUMNS, it, &cells)))
    };
    let process = |at: Option<&crate::aggregate::snapshot::ProcessRow>| {
        let it = at?;
        let name = columns::processes::name(it, &cells);
        Some(row(format!("the row of {name}"), &text_of(columns::processes::COLUMNS, it, &cells)))
    };
    let verdict = || {
        let verdict = &snapshot.verdict;
        let text = format!("{} {}", verdict.severity.word(), symbols.clean(&verdict.text));
        Some(row("the verdict".to_owned(), text.trim_start()))
    };
    if model.overlay.is_some() {
        return verdict();
    }
    match model.page() {
        None => match model.focus {
            Focus::Ports => {
                let rows = model.port_rows();
                port(rows.get(model.selected_port(&rows)).copied())
            }
            Focus::Processes => {
                let rows = model.process_rows();
                process(rows.get(model.selected_process(&rows)).copied())
            }
        }
        .or_else(verdict),
        Some(Page::Port(key)) => port(model.find_port(*key)),
        Some(Page::Process(key)) => process(model.find_process(key)),
        Some(Page::Doctor) => {
            let at = model.selected_finding();
            model.doctor()?.checks.get(at).map(|it| finding(model, it))
        }
        Some(Page::Finding(id)) => {
            model.doctor()?.checks.iter().find(|it| it.id == *id).map(|it| finding(model, it))
        }
        Some(Page::Events | Page::Differences) => verdict(),
    }
}

/// `PORT 9981  PROCESS httpdns[4121]  ESTAB 131 …`.
fn text_of<R>(columns: &[Column<R>], row: &R, cells: &Cells<'_>) -> String {
    let named = columns.iter().map(|it| format!("{} {}", it.name, it.cell(row, cells)));
    named.collect::<Vec<_>>().join("  ")
}

/// A check as its page has it: the heading, and each paragraph behind its label.
fn finding(model: &Model, finding: &CheckRow) -> Copied {
    let symbols = model.looks.symbols;
    let heading = format!("{} {}", finding.word(), finding.heading());
    let mut lines = vec![symbols.clean(&heading).into_owned()];
    for (label, text) in finding.paragraphs() {
        lines.push(format!("{label}: {}", symbols.clean(&text)));
    }
    Copied { what: format!("the check {}", finding.title), text: lines.join("\n") + "\n" }
}
