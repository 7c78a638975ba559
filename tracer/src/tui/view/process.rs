//! Screen 3: one process, alive or gone.

use ratatui::layout::Rect;

use super::header::process_name;
use super::page::{Contents, Panel, panel_width};
use super::port::{Writer, gone};
use crate::aggregate::snapshot::{Fidelity, ProcessRow};
use crate::format;
use crate::tui::columns::{processes, workload};
use crate::tui::model::{Model, ProcessKey};

/// Everything about the process `key`.
pub(crate) fn contents(model: &Model, key: &ProcessKey, body: Rect) -> Contents {
    let cells = panel_width(body);
    let name = process_name(model, key.pid, key.comm.as_deref());
    let (Some(snapshot), Some(row)) = (model.shown(), model.find_process(key)) else {
        let when = if model.is_now() { " any more" } else { " at this moment" };
        let text = format!("{name} holds no socket and left no orphan{when}");
        return gone(&model.looks, &text, cells);
    };
    let write = Writer::new(&model.looks, snapshot, cells);
    Contents {
        chart: None,
        panels: vec![
            who(&write, row),
            sockets(&write, row),
            write.ends(&row.orphan_ends),
            write.states(&row.states, false),
            write.totals(&row.totals),
        ],
        one_column: false,
    }
}

fn who(write: &Writer<'_>, row: &ProcessRow) -> Panel {
    let pid = row.pid.map_or(String::from("-"), |pid| pid.to_string());
    let cgroup = row.cgroup.as_deref().unwrap_or("-");
    let cgroup = write.looks.symbols.clean(cgroup);
    let life = match (row.pid, row.alive) {
        (None, _) => "the owner of these sockets is not known",
        (Some(_), true) => "running",
        (Some(_), false) => "gone; its orphans are not",
    };
    Panel {
        title: "who",
        lines: vec![
            write.fact("process", &processes::name(row, &write.cells)),
            write.fact("pid", &pid),
            write.fact("state", life),
            write.fact("workload", &workload(row.workload.as_deref(), &write.cells)),
            write.fact("cgroup", &cgroup),
            write.fact("ports", &processes::ports(row, &write.cells)),
        ],
    }
}

fn sockets(write: &Writer<'_>, row: &ProcessRow) -> Panel {
    let growth = format!("{}/s", format::growth(row.growth_per_s));
    let sampled = |text: &str| write.cells.mark(Fidelity::Sampled, text);
    let memory = row.bytes.filter(|bytes| *bytes > 0);
    let memory = memory.map(|bytes| write.fact("their memory", &sampled(&format::bytes(bytes))));
    let closed = row.closed_fds.filter(|count| *count > 0);
    let closed = closed.map(|count| write.fact("closed, fd kept", &sampled(&format::count(count))));
    let mut lines = vec![write.fact("held", &write.cells.count("state", row.sockets))];
    lines.extend(memory);
    lines.extend(closed);
    lines.extend([
        write.fact("orphans it left", &write.cells.orphans(row.orphans)),
        write.fact("their growth", &write.cells.orphan_text(&growth)),
    ]);
    Panel { title: "sockets", lines }
}
