//! Minisockets one by one: how they begin, change their substate and end, against the kernel's own
//! count of them (sockstat's `tw`), its counters and sock_diag. Where no hook sees them, that this
//! is said, and that the sampled numbers still agree.

use crate::support;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use support::pairs::half_closed;
use support::{
    Guarded, Namespace, PATIENCE, PORT, Top, assert_complete, ended, ends, eventually,
    eventually_is, large, number, ports_are_random, row, sockflow, storm, turn,
};

/// Whether minisockets are counted one by one on this kernel.
fn is_hooked(snapshot: &Value) -> bool {
    let hooked = snapshot["fidelity"]["time_wait"] == "exact";
    assert_eq!(hooked, !snapshot["minisockets"].is_null(), "{snapshot}");
    if !hooked {
        assert_eq!(snapshot["fidelity"]["time_wait"], "derived", "{snapshot}");
    }
    hooked
}

/// Asserts what `/minisockets` of a snapshot or a row says: the numbers named, and 0 for the others.
#[track_caller]
fn assert_minisockets(of: &Value, expected: &[(&str, u64)]) {
    let told = of["minisockets"].as_object().unwrap_or_else(|| panic!("none in {of}"));
    let told: BTreeMap<&str, u64> =
        told.iter().map(|(name, n)| (name.as_str(), n.as_u64().expect("a number"))).collect();
    let mut all: BTreeMap<&str, u64> = told.keys().map(|name| (*name, 0)).collect();
    all.extend(expected.iter().copied());
    assert_eq!(told, all, "{of}");
    let now = told["time_wait"] + told["fin_wait2"];
    let gone = told["expired"] + told["reused"] + told["killed"];
    assert_eq!(told["standing"] + told["begun"], now + gone, "{of}");
    assert_eq!(number(of, "/states/time_wait"), told["time_wait"], "{of}");
}

fn listen(namespace: &Namespace) -> TcpListener {
    namespace.inside(|| TcpListener::bind((Ipv4Addr::LOCALHOST, PORT)).expect("listen"))
}

/// A connection from one certain port, as soon as the kernel lets it be used.
fn connect_from(port: u16) -> TcpStream {
    let connected = std::cell::RefCell::new(None);
    eventually("connected from the same port", || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_reuse_address(true).expect("SO_REUSEADDR");
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into();
        socket.bind(&at(port)).expect("bind");
        let is = socket.connect(&at(PORT)).is_ok();
        connected.replace(is.then_some(socket));
        is
    });
    connected.into_inner().expect("a socket").into()
}

#[test]
fn every_minisocket_of_a_storm_is_counted() {
    let connections = large(20_000);
    let _turn = turn();
    let namespace = Namespace::new();
    let top = Top::start(&["--netns", &namespace.name()]);
    let hooked = is_hooked(&top.snapshots[0]);
    let count = connections.to_string();
    storm(Some(&namespace), &["--mode", "server-closes", "--connections", &count]);
    let standing = namespace.settled().sockstat("tw");
    let last = top.last_at_rest(&namespace);
    assert_complete(&last);
    // All begin at the server's port, which closes first. Where clients pick their ports at random
    // one now and then meets its own minisocket, which makes way.
    if !ports_are_random() {
        assert_eq!(standing, connections);
    }
    assert_eq!(number(&last, "/states/time_wait"), standing, "{last}");
    assert_eq!(number(row(&last, PORT, "in"), "/states/time_wait"), standing, "{last}");
    assert_eq!(number(row(&last, PORT, "out"), "/states/time_wait"), 0, "{last}");
    assert_eq!(number(&last, "/totals/time_wait"), connections, "{last}");
    if hooked {
        let expected =
            [("begun", connections), ("time_wait", standing), ("reused", connections - standing)];
        assert_minisockets(&last, &expected);
        assert_minisockets(row(&last, PORT, "in"), &expected);
        assert_minisockets(row(&last, PORT, "out"), &[]);
    }
}

#[test]
fn a_minisocket_ends_in_each_way() {
    const EACH: u64 = 10;
    let _turn = turn();
    let namespace = Namespace::new();
    let mut top = Top::start(&["--netns", &namespace.name(), "--interval", "100ms"]);
    let hooked = is_hooked(&top.snapshots[0]);
    let mut trace = Guarded::start(sockflow(&["trace", "--json", "--netns", &namespace.name()]));
    // It traces when it tells of a connection, of another service.
    let other = namespace.inside(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 9982)));
    let other = other.expect("listen");
    let mut warm = 0;
    while trace.line_within(Duration::from_millis(200)).is_none() {
        drop(half_closed(&namespace, &other, 1));
        warm += 1;
        assert!(warm < 300, "trace never told of a connection");
    }
    drop(half_closed(&namespace, &other, 1));
    warm += 1;
    eventually("those are in TIME_WAIT", || namespace.sockstat("tw") == warm);
    let listener = listen(&namespace);

    let mut clients = half_closed(&namespace, &listener, 2 * EACH);
    eventually("all are minisockets", || namespace.sockstat("tw") == warm + 2 * EACH);
    let server = |snapshot: &Value| row(snapshot, PORT, "in").clone();
    // Totals are read before the gauge: in between the last of them may have become minisockets.
    let begun = |now: &Value| number(&server(now), "/minisockets/begun");
    let now = top.until("both substates", |now| {
        number(now, "/states/fin_wait2") == 2 * EACH
            && number(now, "/tw_buckets/fin_wait2") == 2 * EACH
            && (!hooked || begun(now) == 2 * EACH)
    });
    if hooked {
        assert_minisockets(&server(&now), &[("begun", 2 * EACH), ("fin_wait2", 2 * EACH)]);
    }

    // The other side closes: FIN_WAIT2 becomes TIME_WAIT, in place.
    clients.truncate(EACH as usize);
    eventually("ss has them in TIME_WAIT", || {
        namespace.ss(&["-tan", "state", "time-wait", "sport = :9981"]).len() as u64 == EACH
    });
    let now = top.until("TIME_WAIT", |now| number(now, "/states/time_wait") == warm + EACH);
    if hooked {
        let expected = [("begun", 2 * EACH), ("fin_wait2", EACH), ("time_wait", EACH)];
        assert_minisockets(&server(&now), &expected);
    }

    // It sends instead: a RST, and the minisocket goes.
    for client in &mut clients {
        client.write_all(b"x").expect("write");
    }
    eventually("those have gone", || namespace.sockstat("tw") == warm + EACH);
    // And what is waited for in vain expires.
    namespace.set("net.ipv4.tcp_fin_timeout", "1");
    let silent = half_closed(&namespace, &listener, EACH);
    eventually("they have expired", || {
        namespace.ss(&["-tan", "state", "fin-wait-2"]).is_empty()
            && namespace.sockstat("tw") == warm + EACH
    });
    drop(silent);
    let last = top.last_at_rest(&namespace);
    let standing = namespace.sockstat("tw");
    assert_eq!(standing, warm + EACH, "TIME_WAIT lasts a minute");
    trace.signal(Signal::TERM);
    let (lines, status, talk) = trace.end(PATIENCE);
    assert!(status.success(), "{talk}");
    assert_complete(&last);
    assert_eq!(number(&last, "/totals/time_wait"), warm + 3 * EACH, "{last}");
    assert_eq!(number(&last, "/states/time_wait"), standing, "{last}");
    assert_eq!(number(&last, "/states/fin_wait2"), 0, "{last}");
    let server = server(&last);
    assert_eq!(ends(&server), ended("time_wait", 3 * EACH), "{server}");
    let told = |kind: &str, name: &str| -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for line in &lines {
            let event: Value = serde_json::from_str(line).expect("JSON");
            if event["kind"] == kind && event["local"]["port"] == PORT {
                let what = event[name].as_str().unwrap_or("-").to_owned();
                *counts.entry(what).or_default() += 1;
            }
        }
        counts
    };
    let one = |name: &str, count: u64| (name.to_owned(), count);
    if hooked {
        let expected =
            [("begun", 3 * EACH), ("time_wait", EACH), ("killed", EACH), ("expired", EACH)];
        assert_minisockets(&server, &expected);
        assert_eq!(told("time_wait_begin", "new"), BTreeMap::from([one("FIN_WAIT2", 3 * EACH)]));
        let reasons = BTreeMap::from([one("killed", EACH), one("expired", EACH)]);
        assert_eq!(told("time_wait_end", "reason"), reasons);
    } else {
        assert_eq!(told("time_wait_begin", "new"), BTreeMap::from([one("-", 3 * EACH)]));
        assert_eq!(told("time_wait_end", "reason"), BTreeMap::new());
    }
}

/// The same two ends again, while a minisocket stands between them: by `connect()` at the side that
/// has it, and by a SYN at the side that has it.
#[test]
fn a_new_connection_takes_a_minisockets_place() {
    let _turn = turn();
    let namespace = Namespace::new();
    namespace.set("net.ipv4.tcp_tw_reuse", "1");
    let top = Top::start(&["--netns", &namespace.name()]);
    let hooked = is_hooked(&top.snapshots[0]);
    let listener = listen(&namespace);
    let waits = |state: &str, port: &str| {
        eventually("a minisocket stands", || {
            namespace.ss(&["-tan", "state", state, port]).len() == 1
        });
    };
    // The client closes first, twice from the same port: the kernel waits a second.
    for _ in 0..2 {
        let client = namespace.inside(|| connect_from(40_000));
        let (server, _) = listener.accept().expect("accept");
        drop(client);
        waits("fin-wait-2", "sport = :40000");
        drop(server);
        waits("time-wait", "sport = :40000");
    }
    // The server closes first, three times.
    for _ in 0..3 {
        let client = namespace.inside(|| connect_from(40_001));
        drop(listener.accept().expect("accept"));
        waits("fin-wait-2", "dport = :40001");
        drop(client);
        waits("time-wait", "dport = :40001");
        // A new SYN must be newer than what the minisocket remembers.
        std::thread::sleep(Duration::from_millis(20));
    }
    let recycled = namespace.tcp_ext("TWRecycled");
    assert_eq!(recycled, 1, "one connect() took over");
    assert_eq!(namespace.sockstat("tw"), 2);
    let last = top.last_at_rest(&namespace);
    assert_complete(&last);
    assert_eq!(number(&last, "/states/time_wait"), 2, "{last}");
    if hooked {
        let client = row(&last, PORT, "out");
        assert_minisockets(client, &[("begun", 2), ("reused", 1), ("time_wait", 1)]);
        let server = row(&last, PORT, "in");
        assert_minisockets(server, &[("begun", 3), ("reused", 2), ("time_wait", 1)]);
    }
}

#[test]
fn those_that_stood_before_are_counted_to_their_end() {
    const EACH: u64 = 12;
    let _turn = turn();
    let namespace = Namespace::new();
    let listener = listen(&namespace);
    // In FIN_WAIT2 and in TIME_WAIT, before anybody looks.
    let waiting = half_closed(&namespace, &listener, EACH);
    drop(half_closed(&namespace, &listener, EACH));
    eventually_is("what stands", &(2 * EACH, EACH), || {
        let in_time_wait = namespace.ss(&["-tan", "state", "time-wait"]).len();
        (namespace.sockstat("tw"), in_time_wait as u64)
    });
    let mut top = Top::start(&["--netns", &namespace.name(), "--interval", "100ms"]);
    let first = top.snapshots[0].clone();
    let hooked = is_hooked(&first);
    assert_eq!(number(&first, "/states/time_wait"), EACH, "{first}");
    assert_eq!(number(row(&first, PORT, "in"), "/states/fin_wait2"), EACH, "{first}");
    if hooked {
        let expected = [("standing", 2 * EACH), ("time_wait", EACH), ("fin_wait2", EACH)];
        assert_minisockets(&first, &expected);
    }
    // They change as those do that were seen to begin, and so do others.
    drop(waiting);
    drop(half_closed(&namespace, &listener, EACH));
    eventually("all are in TIME_WAIT", || {
        namespace.ss(&["-tan", "state", "time-wait"]).len() as u64 == 3 * EACH
    });
    top.now();
    let last = top.last_at_rest(&namespace);
    assert_complete(&last);
    assert_eq!(number(&last, "/states/time_wait"), namespace.sockstat("tw"), "{last}");
    assert_eq!(number(&last, "/states/time_wait"), 3 * EACH, "{last}");
    if hooked {
        let expected = [("standing", 2 * EACH), ("begun", EACH), ("time_wait", 3 * EACH)];
        assert_minisockets(&last, &expected);
    }
}

#[test]
fn where_there_is_none_to_be_had_that_is_told() {
    const ROOM: u64 = 5;
    const MORE: u64 = 15;
    let _turn = turn();
    let namespace = Namespace::new();
    namespace.set("net.ipv4.tcp_max_tw_buckets", &ROOM.to_string());
    let top = Top::start(&["--netns", &namespace.name()]);
    let hooked = is_hooked(&top.snapshots[0]);
    let listener = listen(&namespace);
    let clients = half_closed(&namespace, &listener, ROOM + MORE);
    eventually("the rest found no room", || namespace.tcp_ext("TCPTimeWaitOverflow") == MORE);
    assert_eq!(namespace.sockstat("tw"), ROOM);
    let last = top.last_at_rest(&namespace);
    drop(clients);
    assert_complete(&last);
    assert_eq!(number(&last, "/counters/TCPTimeWaitOverflow"), MORE, "{last}");
    let server = row(&last, PORT, "in");
    assert_eq!(number(server, "/totals/orphaned"), ROOM + MORE, "{server}");
    assert_eq!(number(server, "/states/fin_wait2"), ROOM, "{server}");
    if hooked {
        let expected = [("begun", ROOM), ("fin_wait2", ROOM), ("overflow", MORE)];
        assert_minisockets(server, &expected);
        assert_eq!(number(server, "/totals/time_wait"), ROOM, "{server}");
        let expected = [ended("time_wait", ROOM), ended("other", MORE)].concat();
        let told: BTreeMap<_, _> = ends(server).into_iter().collect();
        assert_eq!(told, expected.into_iter().collect(), "{server}");
    } else {
        assert_eq!(ends(server), ended("time_wait", ROOM + MORE), "{server}");
    }
}
