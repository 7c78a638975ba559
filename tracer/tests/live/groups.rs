//! More owners and more services than there are groups: first a service keeps its numbers without its
//! owners, then the sockets of further services are counted together, and that is told.

use crate::support;

use serde_json::Value;
use support::{
    Namespace, PORT, SMALL, Standing, Top, assert_balanced, assert_complete, emulated, ended, ends,
    find_row, live, number, row, sockflow, storm, turn,
};

/// `top` for a namespace, with so many groups, and further groups for services alone.
pub(super) fn top_with(namespace: &Namespace, groups: u32, service_groups: u32) -> Top {
    // No snapshot between the first and the last: none of the groups is given back meanwhile.
    let arguments = ["top", "--json", "--interval", "60s", "--netns", &namespace.name()];
    let mut command = sockflow(&arguments);
    if emulated().is_some() {
        command.args(SMALL);
    }
    command.env("SOCKFLOW_GROUPS", format!("{groups},{service_groups}"));
    Top::run(command)
}

#[test]
fn more_processes_than_groups_keep_their_port() {
    const PROCESSES: u64 = 12;
    const EACH: u64 = 5;
    let _turn = turn();
    let namespace = Namespace::new();
    // Room for three processes: each listens and connects.
    let top = top_with(&namespace, 6, 2);
    let without = top_with(&namespace, 6, 0);
    for _ in 0..PROCESSES {
        storm(Some(&namespace), &["--connections", &EACH.to_string()]);
    }
    namespace.settled();
    let last = top.last_at_rest(&namespace);
    for (direction, end) in [("in", "time_wait"), ("out", "acked")] {
        let row = row(&last, PORT, direction);
        for name in ["opened", "closed", "orphaned"] {
            assert_eq!(number(row, &format!("/totals/{name}")), PROCESSES * EACH, "{name}: {row}");
        }
        assert_eq!(live(row), 0, "{row}");
        assert_balanced(row);
        assert_eq!(ends(row), ended(end, PROCESSES * EACH), "{row}");
    }
    assert_eq!(last["ports"].as_array().map(Vec::len), Some(2), "{last}");
    assert_complete(&last);
    // With none set apart for services, the others have no port, and each of their sockets is told.
    let last = without.last_at_rest(&namespace);
    for direction in ["in", "out"] {
        let row = row(&last, PORT, direction);
        assert_eq!(number(row, "/totals/opened"), 3 * EACH, "{row}");
        assert_balanced(row);
    }
    let others = PROCESSES - 3;
    let row = row(&last, 0, "in");
    assert_eq!(number(row, "/totals/opened"), others * 2 * EACH, "{row}");
    assert_balanced(row);
    assert_eq!(number(&last, "/lost/ungrouped"), others * (2 * EACH + 1), "{last}");
}

/// So many services, twice as many connections: their ports, for storm.
const SERVICES: u16 = 24;
const CONNECTIONS: u64 = 2 * SERVICES as u64;

pub(super) fn ports() -> impl Iterator<Item = u16> {
    PORT..PORT + SERVICES
}

pub(super) fn list() -> String {
    ports().map(|port| port.to_string()).collect::<Vec<_>>().join(",")
}

/// Every service is there, on both sides, and its numbers are its own.
fn assert_services(snapshot: &Value, standing: u64, opened: u64, closed: u64) {
    for port in ports() {
        for direction in ["in", "out"] {
            let row = row(snapshot, port, direction);
            assert_eq!(number(row, "/totals/standing"), standing, "{row}");
            assert_eq!(number(row, "/totals/opened"), opened, "{row}");
            assert_eq!(number(row, "/totals/closed"), closed, "{row}");
            assert_balanced(row);
        }
    }
    assert_eq!(find_row(snapshot, 0, "in"), None, "{snapshot}");
    assert_complete(snapshot);
}

#[test]
fn more_services_than_groups_that_stood_before_keep_their_ports() {
    let _turn = turn();
    let namespace = Namespace::new();
    let count = CONNECTIONS.to_string();
    let arguments = ["--mode", "hold", "--connections", &count, "--ports", &list()];
    let standing = Standing::start(Some(&namespace), &arguments, CONNECTIONS);
    let top = top_with(&namespace, 6, 2 * u32::from(SERVICES) - 6);
    assert_services(&top.snapshots[0], 2, 0, 0);
    standing.release();
    namespace.settled();
    assert_services(&top.last_at_rest(&namespace), 2, 0, 2);
}

#[test]
fn more_services_than_groups_keep_their_ports() {
    let _turn = turn();
    let namespace = Namespace::new();
    let top = top_with(&namespace, 6, 2 * u32::from(SERVICES) - 6);
    storm(Some(&namespace), &["--connections", &CONNECTIONS.to_string(), "--ports", &list()]);
    namespace.settled();
    assert_services(&top.last_at_rest(&namespace), 0, 2, 2);
}

/// With no group left even for the service, sockets share a row, which balances, and are told.
#[test]
fn sockets_without_any_group_are_told() {
    let _turn = turn();
    let namespace = Namespace::new();
    let count = CONNECTIONS.to_string();
    let arguments = ["--connections", &count, "--ports", &list()];
    let held = [&["--mode", "hold"], &arguments[..]].concat();
    let standing = Standing::start(Some(&namespace), &held, CONNECTIONS);
    let top = top_with(&namespace, 6, 10);
    let in_row = |snapshot: &Value, name: &str| {
        find_row(snapshot, 0, "in").map_or(0, |row| number(row, &format!("/totals/{name}")))
    };
    let in_all = |snapshot: &Value, name: &str| -> u64 {
        let rows = snapshot["ports"].as_array().expect("ports");
        rows.iter().map(|row| number(row, &format!("/totals/{name}"))).sum()
    };
    // Sixteen services have groups. Listeners come first, so those are of their side.
    let first = top.snapshots[0].clone();
    let listeners = u64::from(SERVICES) - 16;
    assert_eq!(in_row(&first, "standing"), CONNECTIONS - 2 * 16 + CONNECTIONS, "{first}");
    assert_eq!(in_all(&first, "standing"), 2 * CONNECTIONS, "{first}");
    let ungrouped = number(&first, "/lost/ungrouped");
    assert_eq!(ungrouped, in_row(&first, "standing") + listeners, "{first}");
    standing.release();
    namespace.settled();
    // The same once more, begun under its eyes.
    storm(Some(&namespace), &arguments);
    namespace.settled();
    let last = top.last_at_rest(&namespace);
    let row = row(&last, 0, "in");
    assert_balanced(row);
    assert_eq!(live(row), 0, "{row}");
    // The new process finds only the groups that have no owner: ten services, of those that listen.
    let shared = 2 * (u64::from(SERVICES) - 10) + CONNECTIONS;
    assert_eq!(in_row(&last, "opened"), shared, "{last}");
    assert_eq!(in_all(&last, "opened"), 2 * CONNECTIONS, "{last}");
    assert_eq!(in_all(&last, "closed"), 4 * CONNECTIONS, "{last}");
    let ungrouped = ungrouped + shared + u64::from(SERVICES) - 10;
    assert_eq!(number(&last, "/lost/ungrouped"), ungrouped, "{last}");
    assert_eq!(number(&last, "/lost/missed") + number(&last, "/lost/untracked"), 0, "{last}");
}
