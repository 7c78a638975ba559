//! The totals are exact: as many connections as this machine can make, ended in every way, are
//! counted one by one on both sides, and agree with the kernel's own account.

use crate::support;

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;

use serde_json::Value;
use support::pairs::half_closed;
use support::{
    Namespace, PORT, Top, Watched, assert_balanced, assert_complete, emulated, ended, ends,
    find_row, large, live, number, ports_are_random, row, sockflow, sockstat, storm, turn,
};

const CONNECTIONS: u64 = 100_000;

/// What one side of every connection is expected to be.
#[derive(Clone, Copy, Default)]
struct Side {
    /// Its orphans' end; `None`: it makes no orphans.
    orphans_end: Option<&'static str>,
    /// It keeps TIME_WAIT.
    time_wait: bool,
    resets_in: bool,
    resets_out: bool,
}

const FIRST: Side =
    Side { orphans_end: Some("time_wait"), time_wait: true, resets_in: false, resets_out: false };
const SECOND: Side =
    Side { orphans_end: Some("acked"), time_wait: false, resets_in: false, resets_out: false };
const RESETTING: Side =
    Side { orphans_end: None, time_wait: false, resets_in: false, resets_out: true };
const RESET: Side =
    Side { orphans_end: None, time_wait: false, resets_in: true, resets_out: false };

#[track_caller]
fn assert_side(snapshot: &Value, port: u16, direction: &str, side: Side, connections: u64) {
    let row = row(snapshot, port, direction);
    let times = |is: bool| if is { connections } else { 0 };
    for (name, expected) in [
        ("opened", connections),
        ("closed", connections),
        ("standing", 0),
        ("orphaned", times(side.orphans_end.is_some())),
        ("time_wait", times(side.time_wait)),
        ("resets_in", times(side.resets_in)),
        ("resets_out", times(side.resets_out)),
    ] {
        assert_eq!(number(row, &format!("/totals/{name}")), expected, "{name} of {row}");
    }
    assert_eq!(live(row), 0, "{row}");
    assert_balanced(row);
    assert_eq!(number(row, "/orphans"), 0, "{row}");
    let minisockets = number(row, "/states/time_wait");
    if ports_are_random() {
        assert!(minisockets <= times(side.time_wait), "{row}");
    } else {
        assert_eq!(minisockets, times(side.time_wait), "{row}");
    }
    let expected = side.orphans_end.map_or_else(Vec::new, |reason| ended(reason, connections));
    assert_eq!(ends(row), expected, "{row}");
}

fn assert_quiet(snapshot: &Value) {
    assert_complete(snapshot);
    assert_eq!(snapshot["orphans"]["drift"], 0, "{snapshot}");
    assert_eq!(number(snapshot, "/orphans/tracked"), 0, "{snapshot}");
}

/// One storm over so many ports in a namespace of its own, beside `top`: both sides of every port are
/// as expected, and the kernel has as many minisockets as they say.
fn storm_is_counted(ports: u16, arguments: &[&str], server: Side, client: Side) {
    let _turn = turn();
    watched_storm_is_counted(Watched::new(ports, &[]), arguments, server, client);
}

fn watched_storm_is_counted(
    watched: Watched,
    arguments: &[&str],
    server: Side,
    client: Side,
) -> Value {
    let connections = large(CONNECTIONS);
    let (ports, is_alone) = (watched.ports.clone(), watched.is_alone);
    let list: Vec<String> = ports.iter().map(ToString::to_string).collect();
    let (list, count) = (list.join(","), connections.to_string());
    let arguments = [&["--ports", &list, "--connections", &count], arguments].concat();
    let report = storm(Some(&watched.namespace), &arguments);
    assert_eq!(number(&report, "/completed"), connections, "{report}");
    let minisockets = watched.namespace.settled().sockstat("tw");
    let last = watched.last();
    let each = connections / ports.len() as u64;
    for port in &ports {
        assert_side(&last, *port, "in", server, each);
        assert_side(&last, *port, "out", client, each);
        let owner = &row(&last, *port, "in")["owner"];
        assert_eq!(owner["pid"], report["server"]["pid"], "{last}");
        assert_eq!(owner["comm"], report["server"]["comm"], "{last}");
    }
    assert_eq!(last["ports"].as_array().map(Vec::len), Some(2 * ports.len()), "{last}");
    assert_quiet(&last);
    let expected = if server.time_wait || client.time_wait { connections } else { 0 };
    if ports_are_random() {
        assert!((expected * 3 / 4..=expected).contains(&minisockets), "{minisockets}");
    } else {
        assert_eq!(minisockets, expected);
    }
    if is_alone {
        assert_eq!(number(&last, "/states/time_wait"), minisockets, "{last}");
        assert_eq!(number(&last, "/tw_buckets/now"), minisockets, "{last}");
    }
    last
}

/// IPv6 has one loopback address: this many listeners give each connection a name of its own.
const FOUR: &[u16] = &[9981, 9982, 9983, 9984];

#[test]
fn server_closes() {
    storm_is_counted(1, &["--mode", "server-closes"], FIRST, SECOND);
}

#[test]
fn client_closes() {
    storm_is_counted(1, &["--mode", "client-closes"], SECOND, FIRST);
}

#[test]
fn server_resets() {
    storm_is_counted(1, &["--mode", "reset"], RESETTING, RESET);
}

#[test]
fn client_resets() {
    storm_is_counted(1, &["--mode", "client-reset"], RESET, RESETTING);
}

#[test]
fn server_closes_over_ipv6() {
    storm_is_counted(FOUR.len() as u16, &["--mode", "server-closes", "-6"], FIRST, SECOND);
}

#[test]
fn client_closes_over_ipv6() {
    storm_is_counted(FOUR.len() as u16, &["--mode", "client-closes", "-6"], SECOND, FIRST);
}

#[test]
fn four_listeners_at_once() {
    storm_is_counted(FOUR.len() as u16, &["--mode", "server-closes"], FIRST, SECOND);
}

/// Sixteen threads on few CPUs: here the kernel skips runs of the first program, which its twin makes
/// up for; what both miss is told (`lost.missed`). Still nobody stays in the books who is gone, and
/// everybody who came is counted.
#[test]
fn skipped_runs_do_not_unbalance_the_books() {
    /// An interrupt can fall into a program and its twin at once, a few times in a hundred runs of this:
    /// that is told, and not what is tried here.
    const ATTEMPTS: u32 = 3;
    let _turn = turn();
    for attempt in 1..=ATTEMPTS {
        let (unseen, missed) = skipped_runs();
        println!("missed runs: {missed}, sockets unseen: {unseen}");
        // From 7.x a program can be preempted, and on an emulated CPU it is, for as long as whole
        // connections take: nobody sees those, and that is told.
        assert!(unseen <= missed, "{unseen} sockets were not seen, and {missed} runs missed");
        if unseen == 0 || emulated().is_some() {
            return;
        }
        println!("attempt {attempt} of {ATTEMPTS}: not exact, and said so");
    }
    panic!("never exact");
}

/// A storm of many threads: the sockets that were not seen, and the runs that were told as missed.
fn skipped_runs() -> (u64, u64) {
    let connections = large(CONNECTIONS);
    let namespace = Namespace::new();
    let top = Top::start(&["--netns", &namespace.name()]);
    let count = connections.to_string();
    let ports = ["--ports", "9981,9982,9983,9984"];
    let arguments = [&ports[..], &["--connections", &count, "--workers", "16"]].concat();
    let report = storm(Some(&namespace), &arguments);
    assert_eq!(number(&report, "/completed"), connections, "{report}");
    namespace.settled();
    let last = top.last_at_rest(&namespace);
    let mut unseen = 0;
    for port in FOUR {
        for direction in ["in", "out"] {
            let row = row(&last, *port, direction);
            for name in ["opened", "closed", "orphaned"] {
                unseen += connections / 4 - number(row, &format!("/totals/{name}"));
            }
            assert_eq!(live(row), 0, "{row}");
            assert_balanced(row);
        }
    }
    assert_eq!(number(&last, "/orphans/tracked"), 0, "{last}");
    (unseen, number(&last, "/lost/missed"))
}

#[test]
fn a_full_ring_costs_detail_and_no_totals() {
    let _turn = turn();
    let watched = Watched::alone(1, &["--ring-size", "4K", "--detail", "all"]);
    let last = watched_storm_is_counted(watched, &["--mode", "server-closes"], FIRST, SECOND);
    assert!(number(&last, "/lost/detail") > 0, "{last}");
}

/// Without `--netns` every namespace is counted, also one made after tracing began.
#[test]
fn without_a_filter_every_namespace_is_counted() {
    let _turn = turn();
    let connections = large(CONNECTIONS);
    let mut top = Top::start(&[]);
    let count = connections.to_string();
    let report = storm(None, &["--netns", "--connections", &count]);
    assert_eq!(number(&report, "/completed"), connections, "{report}");
    // Its namespace went with it: nobody can ask there whether the last segment has come.
    top.until("all have ended", |snapshot| {
        let has_ended = |side| find_row(snapshot, PORT, side).is_some_and(|row| live(row) == 0);
        has_ended("in") && has_ended("out")
    });
    let last = top.last();
    for (direction, end) in [("in", "time_wait"), ("out", "acked")] {
        let row = row(&last, PORT, direction);
        assert_eq!(number(row, "/totals/opened"), connections, "{row}");
        assert_eq!(number(row, "/totals/closed"), connections, "{row}");
        assert_eq!(live(row), 0, "{row}");
        assert_eq!(ends(row), ended(end, connections), "{row}");
    }
    assert_quiet(&last);
}

/// Minisockets in all network namespaces of this host that have a process.
fn minisockets_of_the_host() -> u64 {
    let mut namespaces = BTreeMap::new();
    for process in std::fs::read_dir("/proc").expect("/proc").flatten() {
        if let Ok(namespace) = std::fs::metadata(process.path().join("ns/net")) {
            namespaces.entry(namespace.ino()).or_insert_with(|| process.path().join("net"));
        }
    }
    // A process may be gone by now, and what it alone held with it.
    let there = namespaces.values().filter(|folder| folder.exists());
    there.map(|folder| sockstat(&folder.to_string_lossy(), "tw")).sum()
}

/// Everything in the namespace: TIME_WAIT and FIN_WAIT2 minisockets together are the kernel's `tw`.
#[test]
fn minisockets_without_a_filter_are_the_kernels() {
    const HALF_CLOSED: u64 = 40;
    let both_closed = large(5000);
    let _turn = turn();
    let namespace = Namespace::new();
    let elsewhere = minisockets_of_the_host();
    let top = Top::run(namespace.enter(&sockflow(&["top", "--json"])));
    let count = both_closed.to_string();
    storm(Some(&namespace), &["--connections", &count]);
    let in_time_wait = namespace.settled().sockstat("tw");
    if !ports_are_random() {
        assert_eq!(in_time_wait, both_closed);
    }
    let listener = namespace.inside(|| std::net::TcpListener::bind(("127.0.0.1", PORT)));
    let listener = listener.expect("listen");
    let clients = half_closed(&namespace, &listener, HALF_CLOSED);
    let minisockets = namespace.sockstat("tw");
    assert_eq!(minisockets, in_time_wait + HALF_CLOSED);
    let last = top.last();
    // Where each is seen they are the host's: what former tests left in other namespaces is counted
    // until it ends. Otherwise the kernel's number is this namespace's.
    let mut others = 0;
    if last["minisockets"].is_object() {
        let of = |name: &str| number(&last["minisockets"], &format!("/{name}"));
        assert!(of("standing") <= elsewhere, "{elsewhere} before: {last}");
        others = of("standing") - of("expired") - of("killed");
    }
    assert_eq!(number(&last, "/states/time_wait"), in_time_wait + others, "{last}");
    assert_eq!(number(&last, "/states/fin_wait2"), HALF_CLOSED, "{last}");
    assert_eq!(number(&last, "/tw_buckets/now"), minisockets, "{last}");
    assert_eq!(number(&last, "/tw_buckets/fin_wait2"), HALF_CLOSED, "{last}");
    let (server, client) = (row(&last, PORT, "in"), row(&last, PORT, "out"));
    assert_eq!(number(server, "/states/fin_wait2"), HALF_CLOSED, "{server}");
    assert_eq!(number(server, "/totals/closed"), both_closed + HALF_CLOSED, "{server}");
    assert_eq!(number(client, "/states/close_wait"), HALF_CLOSED, "{client}");
    assert_balanced(client);
    assert_complete(&last);
    assert_eq!(last["orphans"]["drift"], 0, "{last}");
    assert_eq!(number(&last, "/orphans/tracked"), 0, "{last}");
    drop((clients, listener));
}

/// With `--port` the row's TIME_WAIT are those that `ss` counts for the port.
#[test]
fn a_port_alone_is_counted_and_ss_agrees() {
    let each = large(3000);
    let _turn = turn();
    let namespace = Namespace::new();
    let name = namespace.name();
    let top = Top::start(&["--netns", &name, "--port", "9982"]);
    let count = (2 * each).to_string();
    storm(Some(&namespace), &["--ports", "9981,9982", "--connections", &count]);
    let ours = ["-tan", "state", "time-wait", "sport = :9982"];
    let seen = namespace.settled().ss(&ours).len();
    let last = top.last();
    assert_side(&last, 9982, "in", FIRST, each);
    assert_eq!(last["ports"].as_array().map(Vec::len), Some(1), "{last}");
    assert_eq!(number(&last, "/totals/opened"), each, "{last}");
    assert_eq!(number(&last, "/states/time_wait"), seen as u64, "{last}");
    assert_eq!(seen as u64, each);
    assert_quiet(&last);
}
