//! The columns of the ports table.

use super::{Cells, Column, SPARE, Value, workload};
use crate::aggregate::snapshot::{Direction, PortRow};

/// ORPHANS.
pub(crate) const DEFAULT_SORT: usize = 9;

/// From left to right.
pub(crate) const COLUMNS: &[Column<PortRow>] = &[
    Column {
        name: "PORT",
        short: "PORT",
        rank: 0,
        value: Value::Text {
            text: |row, cells| label(row.port, row.direction, cells),
            order: |a, b| (a.port, a.direction).cmp(&(b.port, b.direction)),
            left: false,
        },
    },
    Column {
        name: "PROCESS",
        short: "PROCESS",
        rank: 1,
        value: Value::Text { text: process, order: |a, b| comm(a).cmp(comm(b)), left: true },
    },
    state("ESTAB", "ESTAB", 4, |row| row.states.established),
    state("FIN-WAIT-1", "FINW1", 3, |row| row.states.fin_wait1),
    state("FIN-WAIT-2", "FINW2", 8, |row| row.states.fin_wait2),
    Column {
        name: "TIME-WAIT",
        short: "TIMEW",
        rank: 7,
        value: Value::Count("time_wait", |row| row.states.time_wait),
    },
    state("CLOSE-WAIT", "CLOSEW", 6, |row| row.states.close_wait),
    state("LAST-ACK", "LASTA", 9, |row| row.states.last_ack),
    state("CLOSING", "CLSNG", 14, |row| row.states.closing),
    Column { name: "ORPHANS", short: "ORPHANS", rank: 0, value: Value::Orphans(|row| row.orphans) },
    Column { name: "+/s", short: "+/s", rank: 2, value: Value::Growth(|row| row.growth_per_s) },
    Column {
        name: "KILLED",
        short: "KILLED",
        rank: 2,
        value: Value::Harm("orphan_end", |row| row.orphan_ends.killed),
    },
    Column { name: "MEMORY", short: "MEM", rank: 10, value: Value::Memory(|row| row.orphan_bytes) },
    rate("NEW/s", "NEW/s", 5, "state", |row| row.opened_per_s),
    rate("CLOSE/s", "CLS/s", 11, "state", |row| row.closed_per_s),
    rate("RST/s", "RST/s", 13, "reset", |row| row.resets_per_s),
    Column {
        name: "FIN-W-1 p99",
        short: "P99",
        rank: 12,
        value: Value::Millis(|row| measured(row, row.fin_wait1_ms.p99)),
    },
    Column {
        name: "WORKLOAD",
        short: "WORKLOAD",
        rank: SPARE,
        value: Value::Text {
            text: |row, cells| workload(row.workload.as_deref(), cells),
            order: |a, b| a.workload.cmp(&b.workload),
            left: true,
        },
    },
];

const fn state(
    name: &'static str,
    short: &'static str,
    rank: u8,
    value: fn(&PortRow) -> u64,
) -> Column<PortRow> {
    Column { name, short, rank, value: Value::Count("state", value) }
}

const fn rate(
    name: &'static str,
    short: &'static str,
    rank: u8,
    signal: &'static str,
    value: fn(&PortRow) -> f64,
) -> Column<PortRow> {
    Column { name, short, rank, value: Value::Rate(signal, value) }
}

/// A time in FIN_WAIT1, or one that reads as none: before the first socket left that state there
/// is nothing to tell, and 0 ms would be praise.
pub(crate) fn measured(row: &PortRow, ms: f64) -> f64 {
    if row.fin_wait1_ms.max > 0.0 { ms } else { -1.0 }
}

/// `9981` where we accept, `→443` where we connect, `other` for what found no room.
pub(crate) fn label(port: u16, direction: Direction, cells: &Cells<'_>) -> String {
    match (port, direction) {
        (0, _) => String::from("other"),
        (_, Direction::In) => port.to_string(),
        (_, Direction::Out) => format!("{}{port}", cells.symbols.outward()),
    }
}

/// `:9981` or `→:443` in a sentence or a path.
pub(crate) fn place(port: u16, direction: Direction, cells: &Cells<'_>) -> String {
    match (port, direction) {
        (0, _) => String::from("other"),
        (_, Direction::In) => format!(":{port}"),
        (_, Direction::Out) => format!("{}:{port}", cells.symbols.outward()),
    }
}

fn comm(row: &PortRow) -> &str {
    row.owner.as_ref().map_or("", |owner| &owner.comm)
}

fn process(row: &PortRow, cells: &Cells<'_>) -> String {
    let Some(owner) = &row.owner else {
        return String::from("-");
    };
    let comm = cells.symbols.clean(&owner.comm);
    let name = cells.mark(cells.trust_in_owner(row.owner_unchecked), &comm);
    if row.more_owners == 0 { name } else { format!("{name} +{}", row.more_owners) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_order_is_by_orphans() {
        assert_eq!(COLUMNS[DEFAULT_SORT].name, "ORPHANS");
    }
}
