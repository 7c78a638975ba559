//! The services and processes that matter most, before, during and after.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::bounds::Bounds;
use crate::aggregate::snapshot::{self, Direction, Snapshot};
use crate::report::model::{More, Phased, PortRow, ProcessRow};

/// Most rows of a table.
const MOST_ROWS: usize = 10;
/// Most services named of a process.
const MOST_PORTS: usize = 6;

/// From which snapshot of three into which value of three.
type Place<T> =
    (for<'a, 'b> fn(&'a Phased<&'b Snapshot>) -> &'b Snapshot, fn(&mut Phased<T>) -> &mut T);

/// The three phases.
pub(super) const PLACES: [Place<u64>; 3] = [
    (|moments| moments.before, |value| &mut value.before),
    (|moments| moments.during, |value| &mut value.during),
    (|moments| moments.after, |value| &mut value.after),
];

type PortKey = (u16, Direction);

fn port(snapshot: &Snapshot, key: PortKey) -> Option<&snapshot::PortRow> {
    snapshot.ports.iter().find(|row| (row.port, row.direction) == key)
}

/// The services that matter most, and how many more there are.
pub(super) fn ports(bounds: &Bounds<'_>) -> (Vec<PortRow>, u64) {
    let moments = bounds.moments();
    let mut weights: BTreeMap<PortKey, (u64, u64, u64)> = BTreeMap::new();
    for (moment, _) in PLACES {
        let snapshot = moment(&moments);
        for row in &snapshot.ports {
            let weight = weights.entry((row.port, row.direction)).or_default();
            let now = if std::ptr::eq(snapshot, bounds.worst) { row.orphans } else { 0 };
            *weight = (weight.0.max(now), weight.1.max(row.orphans), row.totals.opened);
        }
    }
    let mut keys: Vec<_> = weights.into_iter().collect();
    keys.sort_by_key(|(key, weight)| (Reverse(*weight), *key));
    let more = keys.len().saturating_sub(MOST_ROWS) as u64;
    let rows = keys.into_iter().take(MOST_ROWS).map(|(key, _)| {
        let at = |value: fn(&snapshot::PortRow) -> u64| {
            let of = |snapshot| port(snapshot, key).map_or(0, value);
            Phased {
                before: of(moments.before),
                during: of(moments.during),
                after: of(moments.after),
            }
        };
        let total = |value: fn(&snapshot::PortRow) -> u64| {
            move |snapshot: &Snapshot| port(snapshot, key).map_or(0, value)
        };
        let named = [bounds.worst, bounds.after, bounds.before]
            .into_iter()
            .filter_map(|snapshot| port(snapshot, key))
            .find(|row| row.owner.is_some());
        PortRow {
            port: key.0,
            direction: key.1,
            owner: named.and_then(|row| row.owner.clone()),
            more_owners: named.map_or(0, |row| row.more_owners),
            orphans: at(|row| row.orphans),
            orphan_bytes: at(|row| row.orphan_bytes).during,
            established: at(|row| row.states.established),
            opened_per_s: bounds.rates(total(|row| row.totals.opened)),
            killed: bounds.increase(total(|row| row.orphan_ends.killed)),
        }
    });
    (rows.collect(), more)
}

type ProcessKey = (Option<u32>, Option<String>);

fn process<'a>(snapshot: &'a Snapshot, key: &ProcessKey) -> Option<&'a snapshot::ProcessRow> {
    snapshot.processes.iter().find(|row| row.pid == key.0 && row.comm == key.1)
}

/// The processes that matter most, and how many more there are.
pub(super) fn processes(bounds: &Bounds<'_>) -> (Vec<ProcessRow>, u64) {
    let moments = bounds.moments();
    let mut weights: BTreeMap<ProcessKey, (u64, u64, u64)> = BTreeMap::new();
    for (moment, _) in PLACES {
        let snapshot = moment(&moments);
        for row in &snapshot.processes {
            let weight = weights.entry((row.pid, row.comm.clone())).or_default();
            let now = if std::ptr::eq(snapshot, bounds.worst) { row.orphans } else { 0 };
            *weight = (weight.0.max(now), weight.1.max(row.orphans), row.totals.opened);
        }
    }
    let mut keys: Vec<_> = weights.into_iter().collect();
    keys.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let more = keys.len().saturating_sub(MOST_ROWS) as u64;
    let rows = keys.into_iter().take(MOST_ROWS).map(|(key, _)| {
        let at = |value: fn(&snapshot::ProcessRow) -> u64| {
            let of = |snapshot| process(snapshot, &key).map_or(0, value);
            Phased {
                before: of(moments.before),
                during: of(moments.during),
                after: of(moments.after),
            }
        };
        let total = |value: fn(&snapshot::ProcessRow) -> u64| {
            let key = key.clone();
            move |snapshot: &Snapshot| process(snapshot, &key).map_or(0, value)
        };
        let named = [bounds.worst, bounds.after, bounds.before]
            .into_iter()
            .find_map(|snapshot| process(snapshot, &key));
        ProcessRow {
            pid: key.0,
            comm: key.1.clone(),
            cgroup: named.and_then(|row| row.cgroup.clone()),
            ports: named
                .map_or_else(Vec::new, |row| row.ports.iter().copied().take(MOST_PORTS).collect()),
            orphans: at(|row| row.orphans),
            sockets: at(|row| row.sockets),
            opened_per_s: bounds.rates(total(|row| row.totals.opened)),
            killed: bounds.increase(total(|row| row.orphan_ends.killed)),
        }
    });
    (rows.collect(), more)
}

/// Both tables.
pub(super) fn tables(bounds: &Bounds<'_>) -> (Vec<PortRow>, Vec<ProcessRow>, More) {
    let (ports, more_ports) = ports(bounds);
    let (processes, more_processes) = processes(bounds);
    (ports, processes, More { ports: more_ports, processes: more_processes })
}
