//! The columns of the processes table.

use super::{Cells, Column, SPARE, Value, workload};
use crate::aggregate::snapshot::ProcessRow;

/// ORPHANS.
pub(crate) const DEFAULT_SORT: usize = 3;

/// From left to right.
pub(crate) const COLUMNS: &[Column<ProcessRow>] = &[
    Column {
        name: "PID",
        short: "PID",
        rank: 1,
        value: Value::Text {
            text: |row, _| row.pid.map_or_else(|| String::from("-"), |pid| pid.to_string()),
            order: |a, b| a.pid.cmp(&b.pid),
            left: false,
        },
    },
    Column {
        name: "COMM",
        short: "COMM",
        rank: 0,
        value: Value::Text { text: name, order: |a, b| a.comm.cmp(&b.comm), left: true },
    },
    count("SOCKETS", 3, |row| row.sockets),
    Column { name: "ORPHANS", short: "ORPHANS", rank: 0, value: Value::Orphans(|row| row.orphans) },
    Column { name: "+/s", short: "+/s", rank: 2, value: Value::Growth(|row| row.growth_per_s) },
    count("ESTAB", 4, |row| row.states.established),
    count("CLOSE-WAIT", 5, |row| row.states.close_wait),
    total("OPENED", 8, |row| row.totals.opened),
    total("CLOSED", 9, |row| row.totals.closed),
    Column {
        name: "PORTS",
        short: "PORTS",
        rank: 6,
        value: Value::Text { text: ports, order: |a, b| a.ports.cmp(&b.ports), left: true },
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
    Column {
        name: "CGROUP",
        short: "CGROUP",
        rank: 7,
        value: Value::Text {
            text: |row, cells| {
                let cgroup = row.cgroup.as_deref().unwrap_or("-");
                cells.symbols.clean(cgroup).into_owned()
            },
            order: |a, b| a.cgroup.cmp(&b.cgroup),
            left: true,
        },
    },
];

const fn count(name: &'static str, rank: u8, value: fn(&ProcessRow) -> u64) -> Column<ProcessRow> {
    Column { name, short: name, rank, value: Value::Count("state", value) }
}

const fn total(name: &'static str, rank: u8, value: fn(&ProcessRow) -> u64) -> Column<ProcessRow> {
    Column { name, short: name, rank, value: Value::Total("state", value) }
}

/// `httpdns`, `httpdns (gone)`, `unknown`.
pub(crate) fn name(row: &ProcessRow, cells: &Cells<'_>) -> String {
    let Some(comm) = &row.comm else {
        return String::from("unknown");
    };
    let comm = cells.symbols.clean(comm);
    let gone = if row.alive { "" } else { " (gone)" };
    cells.mark(cells.trust_in_owner(row.owner_unchecked), &format!("{comm}{gone}"))
}

/// The first few ports and how many more there are.
pub(crate) fn ports(row: &ProcessRow, _: &Cells<'_>) -> String {
    const SHOWN: usize = 4;
    let mut text: Vec<String> = row.ports.iter().take(SHOWN).map(u16::to_string).collect();
    if row.ports.len() > SHOWN {
        text.push(format!("+{}", row.ports.len() - SHOWN));
    }
    if text.is_empty() { String::from("-") } else { text.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_order_is_by_orphans() {
        assert_eq!(COLUMNS[DEFAULT_SORT].name, "ORPHANS");
    }
}
