//! What stood before tracing began: found at once, put down to its owner, and counted to its end.

use crate::support;

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use support::{
    Namespace, PORT, Standing, Top, assert_balanced, assert_complete, emulated, ended, ends,
    host_orphans, large, live, number, row, sockflow, turn,
};

/// `top`, run inside of a namespace and for its sockets.
fn beside(namespace: &Namespace) -> Top {
    Top::run(namespace.enter(&sockflow(&["top", "--json", "--netns", &namespace.name()])))
}

fn pids(snapshot: &Value) -> BTreeSet<u64> {
    let rows = snapshot["processes"].as_array().expect("processes");
    rows.iter()
        .filter(|row| number(row, "/totals/standing") > 0)
        .map(|row| row["pid"].as_u64().unwrap_or_else(|| panic!("no owner: {row}")))
        .collect()
}

#[test]
fn connections_that_stood_before_are_all_there_at_once() {
    let _turn = turn();
    let connections = large(20_000);
    let namespace = Namespace::new();
    let count = connections.to_string();
    let arguments = ["--mode", "hold", "--connections", &count];
    let standing = Standing::start(Some(&namespace), &arguments, connections);
    let starter = standing.pid();
    let mut top = beside(&namespace);
    if !cfg!(debug_assertions) {
        // CPU time: what else the machine does must not fail this. It covers a look at the queues and the
        // owner of each of the sockets. An emulated CPU takes ten times as long for the verifier alone.
        let limit = Duration::from_secs(if emulated().is_some() { 20 } else { 4 });
        assert!(top.started_with < limit, "{:?}", top.started_with);
    }
    let first = top.snapshots[0].clone();
    for direction in ["in", "out"] {
        let row = row(&first, PORT, direction);
        assert_eq!(number(row, "/states/established"), connections, "{row}");
        assert_eq!(number(row, "/totals/standing"), connections, "{row}");
        assert_eq!(number(row, "/totals/opened"), 0, "{row}");
        assert_balanced(row);
    }
    assert_eq!(number(row(&first, PORT, "in"), "/states/listen"), 1, "{first}");
    let report = standing.release();
    assert_eq!(number(&report, "/completed"), connections, "{report}");
    let holders: BTreeSet<u64> = match report["holders"].as_array() {
        Some(holders) => holders.iter().map(|pid| pid.as_u64().expect("a pid")).collect(),
        None => BTreeSet::from([u64::from(starter)]),
    };
    assert_eq!(pids(&first), holders, "{first}");
    let rows = first["processes"].as_array().expect("processes");
    for row in rows.iter().filter(|row| number(row, "/totals/standing") > 0) {
        assert_eq!(row["comm"], "sockflow", "{row}");
        assert_eq!(row["alive"], true, "{row}");
    }

    top.until("all closed", |snapshot| {
        ["in", "out"]
            .iter()
            .all(|side| row(snapshot, PORT, side)["totals"]["closed"] == connections)
    });
    let last = top.last_at_rest(&namespace);
    for (direction, end) in [("in", "time_wait"), ("out", "acked")] {
        let row = row(&last, PORT, direction);
        assert_eq!(number(row, "/totals/closed"), connections, "{row}");
        assert_eq!(number(row, "/totals/standing"), connections, "{row}");
        assert_eq!(live(row), 0, "{row}");
        assert_balanced(row);
        assert_eq!(ends(row), ended(end, connections), "{row}");
    }
    assert_eq!(pids(&last), holders, "{last}");
    assert_complete(&last);
}

/// Makes 300 orphans, then traces with these options: all are found, and so are their ends.
fn standing_orphans_are_found(inside: bool) {
    const ORPHANS: u64 = 300;
    let _turn = turn();
    let namespace = Namespace::new();
    let before = host_orphans();
    let count = ORPHANS.to_string();
    let arguments = ["--mode", "zero-window", "--connections", &count, "--hold", "60s"];
    let standing = Standing::start(Some(&namespace), &arguments, ORPHANS);
    assert_eq!(host_orphans(), before + ORPHANS);
    let mut top = if inside { beside(&namespace) } else { Top::start(&["--port", "9981"]) };
    let first = top.snapshots[0].clone();
    assert_eq!(number(&first, "/orphans/tracked"), ORPHANS, "{first}");
    assert_eq!(first["orphans"]["drift"], 0, "{first}");
    assert_eq!(number(&first, "/orphans/by_state/fin_wait1"), ORPHANS, "{first}");
    let server = row(&first, PORT, "in");
    assert_eq!(number(server, "/orphans"), ORPHANS, "{server}");
    assert_eq!(number(server, "/totals/standing"), ORPHANS, "{server}");
    // They began before tracing did, so they are not among those it saw begin.
    assert_eq!(number(server, "/totals/orphaned"), 0, "{server}");
    assert!(number(server, "/orphan_bytes") > 0, "{server}");
    let orphans_owner = first["processes"]
        .as_array()
        .expect("processes")
        .iter()
        .find(|process| number(process, "/orphans") > 0)
        .expect("a row with the orphans");
    assert_eq!(orphans_owner["pid"], Value::Null, "{orphans_owner}");
    assert_eq!(number(orphans_owner, "/orphans"), ORPHANS, "{orphans_owner}");

    let report = standing.release();
    assert_eq!(number(&report, "/orphans/killed"), 0, "{report}");
    top.until("all ended", |snapshot| number(snapshot, "/orphans/tracked") == 0);
    let last = if inside { top.last_at_rest(&namespace) } else { top.last() };
    let server = row(&last, PORT, "in");
    assert_eq!(ends(server), ended("peer_reset", ORPHANS), "{server}");
    assert_eq!(number(server, "/totals/closed"), ORPHANS, "{server}");
    assert_balanced(server);
    assert_eq!(last["orphans"]["drift"], 0, "{last}");
    assert_complete(&last);
}

#[test]
fn orphans_that_stood_before_are_found_and_followed() {
    standing_orphans_are_found(true);
}

#[test]
fn orphans_that_stood_before_in_another_namespace_are_found_too() {
    standing_orphans_are_found(false);
}

/// The limit is the host's, so the drift is too, whatever the filter lets through.
#[test]
fn orphans_outside_the_filter_are_no_drift() {
    const ORPHANS: u64 = 100;
    let _turn = turn();
    let (theirs, ours) = (Namespace::new(), Namespace::new());
    let count = ORPHANS.to_string();
    let arguments = ["--mode", "zero-window", "--connections", &count, "--hold", "60s"];
    let standing = Standing::start(Some(&theirs), &arguments, ORPHANS);
    let name = ours.name();
    let filters = [["--comm", "nobody"], ["--port", "9982"], ["--netns", &name]];
    // By owner and by socket are two ways, in a guest those two do.
    for filter in &filters[..if emulated().is_some() { 2 } else { 3 }] {
        let first = Top::start(filter).last();
        assert_eq!(number(&first, "/orphans/tracked"), 0, "{filter:?}: {first}");
        assert_eq!(first["orphans"]["drift"], 0, "{filter:?}: {first}");
        assert!(number(&first, "/orphans/host") >= ORPHANS, "{filter:?}: {first}");
    }
    standing.release();
}
