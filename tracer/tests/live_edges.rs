//! The edges of a connection's life, one socket at a time: every way to let go of one, sockets
//! with two holders, sockets nobody accepted, connects that fail.

#![allow(
    clippy::expect_used,
    reason = "a test's steps must succeed; clippy knows only functions marked as tests"
)]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use socket2::{Domain, SockRef, Socket, Type};
use support::{
    Guarded, Namespace, PORT, Top, assert_balanced, assert_complete, ended, ends, eventually,
    find_row, host_orphans, live, number, row, turn,
};

/// A namespace of its own and `top` beside it.
struct Edge {
    namespace: Namespace,
    top: Top,
    orphans_before: u64,
}

impl Edge {
    fn new() -> Self {
        let namespace = Namespace::new();
        let orphans_before = host_orphans();
        let name = namespace.name();
        let top = Top::start(&["--netns", &name, "--interval", "100ms"]);
        let exact = &top.snapshots[0]["fidelity"]["orphan_begin"];
        assert_eq!(exact, "exact", "no hook on close(): shutdown() cannot be told from it");
        Self { namespace, top, orphans_before }
    }

    fn listen(&self) -> TcpListener {
        self.namespace.inside(|| TcpListener::bind((Ipv4Addr::LOCALHOST, PORT)).expect("listen"))
    }

    fn connect(&self) -> TcpStream {
        self.namespace.inside(|| TcpStream::connect((Ipv4Addr::LOCALHOST, PORT)).expect("connect"))
    }

    /// A listener, and both ends of a connection to it: server, client.
    fn pair(&self) -> (TcpListener, TcpStream, TcpStream) {
        let listener = self.listen();
        let client = self.connect();
        let (server, _) = listener.accept().expect("accept");
        (listener, server, client)
    }

    /// Waits until the row of a direction is so, and returns it.
    fn until(&mut self, what: &str, direction: &str, like: impl Fn(&Value) -> bool) -> Value {
        let snapshot =
            self.top.until(what, |snapshot| find_row(snapshot, PORT, direction).is_some_and(&like));
        assert_eq!(snapshot["orphans"]["drift"], 0, "{snapshot}");
        row(&snapshot, PORT, direction).clone()
    }

    /// The row of a direction now.
    fn now(&mut self, direction: &str) -> Value {
        row(self.top.now(), PORT, direction).clone()
    }

    /// The end: nothing is left of full sockets, and of orphans what there was before.
    fn finish(self) -> Value {
        let before = self.orphans_before;
        eventually("no orphans", || host_orphans() == before);
        let last = self.top.last();
        assert_complete(&last);
        assert_eq!(last["orphans"]["drift"], 0, "{last}");
        assert_eq!(number(&last, "/orphans/tracked"), 0, "{last}");
        for state in ["listen", "syn_sent", "syn_recv", "established", "close_wait", "last_ack"] {
            assert_eq!(last["states"][state], 0, "{state} of {last}");
        }
        last
    }
}

fn total(row: &Value, name: &str) -> u64 {
    number(row, &format!("/totals/{name}"))
}

/// Exactly these totals, the others 0.
#[track_caller]
fn assert_totals(row: &Value, expected: &[(&str, u64)]) {
    for name in ["opened", "closed", "standing", "orphaned", "time_wait", "resets_in", "resets_out"]
    {
        let expected = expected.iter().find(|(known, _)| *known == name).map_or(0, |(_, n)| *n);
        assert_eq!(total(row, name), expected, "{name} of {row}");
    }
}

fn read_to_end(stream: &mut TcpStream) -> usize {
    stream.set_read_timeout(Some(support::PATIENCE)).expect("a timeout");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("read");
    bytes.len()
}

/// Writes until nothing more fits, also after the peer has had time to say so.
fn fill(stream: &mut TcpStream) {
    stream.set_nonblocking(true).expect("nonblocking");
    let payload = [b'.'; 4096];
    for _ in 0..5 {
        loop {
            match stream.write(&payload) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        std::thread::sleep(Duration::from_millis(60));
    }
    stream.set_nonblocking(false).expect("blocking");
}

#[test]
fn half_closed_then_closed() {
    let _turn = turn();
    let mut edge = Edge::new();
    let (listener, server, mut client) = edge.pair();
    server.shutdown(Shutdown::Write).expect("shutdown");
    assert_eq!(read_to_end(&mut client), 0);
    let row = edge.until("FIN_WAIT2", "in", |row| row["states"]["fin_wait2"] == 1);
    assert_totals(&row, &[("opened", 1)]);
    assert_eq!(number(&row, "/orphans"), 0, "{row}");
    // In FIN_WAIT2 the socket that is let go of becomes a minisocket at once.
    drop(server);
    let row = edge.until("closed", "in", |row| row["totals"]["closed"] == 1);
    assert_totals(&row, &[("opened", 1), ("closed", 1), ("orphaned", 1), ("time_wait", 1)]);
    assert_eq!(ends(&row), ended("time_wait", 1), "{row}");
    edge.until("a minisocket", "in", |row| row["states"]["fin_wait2"] == 1);
    drop((client, listener));
    edge.until("TIME_WAIT", "in", |row| row["states"]["time_wait"] == 1);
    let last = edge.finish();
    let client = row_of(&last, "out");
    assert_totals(&client, &[("opened", 1), ("closed", 1), ("orphaned", 1)]);
    assert_eq!(ends(&client), ended("acked", 1), "{client}");
}

fn row_of(snapshot: &Value, direction: &str) -> Value {
    let row = row(snapshot, PORT, direction).clone();
    assert_eq!(number(&row, "/orphans"), 0, "{row}");
    row
}

/// `shutdown(SHUT_RDWR)` looks like `close()` to TCP; the socket is no orphan before the real one.
#[test]
fn shut_down_both_ways_then_closed() {
    let _turn = turn();
    let mut edge = Edge::new();
    let (listener, server, mut client) = edge.pair();
    server.shutdown(Shutdown::Both).expect("shutdown");
    assert_eq!(read_to_end(&mut client), 0);
    edge.until("FIN_WAIT2", "in", |row| row["states"]["fin_wait2"] == 1);
    std::thread::sleep(Duration::from_millis(200));
    let row = edge.now("in");
    assert_totals(&row, &[("opened", 1)]);
    assert_eq!(number(&row, "/orphans"), 0, "{row}");
    assert_eq!(live(&row), 1, "{row}");
    drop(server);
    let row = edge.until("closed", "in", |row| row["totals"]["closed"] == 1);
    assert_totals(&row, &[("opened", 1), ("closed", 1), ("orphaned", 1), ("time_wait", 1)]);
    assert_eq!(ends(&row), ended("time_wait", 1), "{row}");
    drop((client, listener));
    edge.finish();
}

/// Straight to CLOSE, with a RST: never an orphan, and no TIME_WAIT on either side.
fn aborted(let_go: impl FnOnce(TcpStream, &mut TcpStream)) {
    let _turn = turn();
    let edge = Edge::new();
    let (listener, server, mut client) = edge.pair();
    let_go(server, &mut client);
    let mut byte = [0];
    client.set_read_timeout(Some(support::PATIENCE)).expect("a timeout");
    let error = client.read(&mut byte).expect_err("a reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    drop((client, listener));
    let last = edge.finish();
    let (server, client) = (row_of(&last, "in"), row_of(&last, "out"));
    assert_totals(&server, &[("opened", 1), ("closed", 1), ("resets_out", 1)]);
    assert_totals(&client, &[("opened", 1), ("closed", 1), ("resets_in", 1)]);
    assert_eq!(number(&last, "/states/time_wait"), 0, "{last}");
    assert_balanced(&server);
}

#[test]
fn closed_with_data_unread() {
    aborted(|server, client| {
        client.write_all(b"unread").expect("write");
        assert_eq!(server.peek(&mut [0; 16]).expect("peek"), 6);
        drop(server);
    });
}

#[test]
fn closed_with_linger_zero() {
    aborted(|server, _| {
        SockRef::from(&server).set_linger(Some(Duration::ZERO)).expect("linger");
        drop(server);
    });
}

/// `close()` that waits for the FIN to be acknowledged: what it leaves is a minisocket.
#[test]
fn closed_with_a_linger_that_is_not_used_up() {
    let _turn = turn();
    let edge = Edge::new();
    let (listener, server, client) = edge.pair();
    SockRef::from(&server).set_linger(Some(Duration::from_secs(5))).expect("linger");
    drop(server);
    drop((client, listener));
    let last = edge.finish();
    let server = row_of(&last, "in");
    assert_eq!(total(&server, "closed"), 1, "{server}");
    assert_eq!(total(&server, "time_wait"), 1, "{server}");
    assert_eq!(number(&server, "/states/time_wait"), 1, "{server}");
    assert_balanced(&server);
}

/// A process that is killed does not wait, whatever its sockets ask for: they are orphans at once.
#[test]
fn killed_with_a_linger() {
    let _turn = turn();
    let mut edge = Edge::new();
    let (listener, mut server, mut client) = edge.pair();
    for stream in [&server, &client] {
        SockRef::from(stream).set_send_buffer_size(4096).expect("a buffer");
        SockRef::from(stream).set_recv_buffer_size(4096).expect("a buffer");
    }
    fill(&mut server);
    SockRef::from(&server).set_linger(Some(Duration::from_secs(60))).expect("linger");
    let mut command = Command::new("sleep");
    command.arg("600").stdin(Stdio::from(OwnedFd::from(server)));
    drop(Guarded::start(command));
    let before = edge.orphans_before;
    eventually("an orphan", || host_orphans() == before + 1);
    let row = edge.now("in");
    assert_eq!(number(&row, "/orphans"), 1, "{row}");
    assert_totals(&row, &[("opened", 1), ("orphaned", 1)]);
    assert!(read_to_end(&mut client) > 0);
    drop((client, listener));
    let last = edge.finish();
    let server = row_of(&last, "in");
    assert_eq!(ends(&server), ended("time_wait", 1), "{server}");
}

/// Both FINs wait behind a closed window; the one that comes first finds the other unacknowledged.
#[test]
fn both_close_at_once() {
    let _turn = turn();
    let mut edge = Edge::new();
    let (listener, mut server, mut client) = edge.pair();
    for stream in [&server, &client] {
        SockRef::from(stream).set_send_buffer_size(4096).expect("a buffer");
        SockRef::from(stream).set_recv_buffer_size(4096).expect("a buffer");
    }
    fill(&mut server);
    fill(&mut client);
    server.shutdown(Shutdown::Write).expect("shutdown");
    client.shutdown(Shutdown::Write).expect("shutdown");
    let row = edge.until("FIN_WAIT1", "in", |row| row["states"]["fin_wait1"] == 1);
    assert_eq!(total(&row, "orphaned"), 0, "{row}");
    assert!(read_to_end(&mut server) > 0);
    let row = edge.until("CLOSING", "in", |row| row["states"]["closing"] == 1);
    assert_eq!(number(&row, "/orphans"), 0, "{row}");
    drop(server);
    let row = edge.until("an orphan", "in", |row| row["orphans"] == 1);
    assert_eq!(number(&row, "/orphans_by_state/closing"), 1, "{row}");
    assert_eq!(host_orphans(), edge.orphans_before + 1);
    assert_totals(&row, &[("opened", 1), ("orphaned", 1)]);
    assert!(read_to_end(&mut client) > 0);
    drop((client, listener));
    let last = edge.finish();
    let (server, client) = (row_of(&last, "in"), row_of(&last, "out"));
    assert_eq!(ends(&server), ended("time_wait", 1), "{server}");
    for row in [&server, &client] {
        assert_eq!(total(row, "closed"), 1, "{row}");
        assert_eq!(total(row, "time_wait"), 1, "{row}");
    }
    assert_eq!(number(&last, "/states/time_wait"), 2, "{last}");
}

#[test]
fn a_duplicate_keeps_the_socket() {
    let _turn = turn();
    let mut edge = Edge::new();
    let (listener, server, client) = edge.pair();
    let twin = server.try_clone().expect("dup");
    drop(server);
    let row = edge.now("in");
    assert_eq!(number(&row, "/states/established"), 1, "{row}");
    assert_totals(&row, &[("opened", 1)]);
    drop(twin);
    let row = edge.until("closed", "in", |row| row["totals"]["closed"] == 1);
    assert_totals(&row, &[("opened", 1), ("closed", 1), ("orphaned", 1), ("time_wait", 1)]);
    drop((client, listener));
    edge.finish();
}

/// The process that closes last is the owner, whoever accepted.
#[test]
fn a_child_that_inherits_the_socket_owns_its_end() {
    let _turn = turn();
    let mut edge = Edge::new();
    let (listener, server, client) = edge.pair();
    let mut command = Command::new("sleep");
    command.arg("600").stdin(Stdio::from(OwnedFd::from(server)));
    let child = Guarded::start(command);
    let row = edge.now("in");
    assert_eq!(number(&row, "/states/established"), 1, "{row}");
    assert_totals(&row, &[("opened", 1)]);
    let pid = child.pid();
    drop(child);
    let row = edge.until("closed", "in", |row| row["totals"]["closed"] == 1);
    assert_totals(&row, &[("opened", 1), ("closed", 1), ("orphaned", 1), ("time_wait", 1)]);
    drop((client, listener));
    let last = edge.finish();
    let rows = last["processes"].as_array().expect("processes");
    let child = rows.iter().find(|row| row["pid"] == pid).expect("a row of the child");
    assert_eq!(child["comm"], "sleep", "{child}");
    assert_eq!(child["alive"], false, "{child}");
    assert_eq!(total(child, "orphaned"), 1, "{child}");
    assert_eq!(total(child, "closed"), 1, "{child}");
    let us = rows.iter().find(|row| row["pid"] == std::process::id()).expect("a row of ours");
    // The server's opening and the client's whole life.
    assert_eq!((total(us, "opened"), total(us, "closed")), (2, 1), "{us}");
}

/// Connections that nobody accepted are reset with their listener.
#[test]
fn a_listener_is_closed_with_its_queue_full() {
    const QUEUED: u64 = 5;
    let _turn = turn();
    let mut edge = Edge::new();
    let listener = edge.namespace.inside(|| {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
        listener.bind(&address.into()).expect("bind");
        // One more than the backlog fits.
        listener.listen(QUEUED as i32 - 1).expect("listen");
        listener
    });
    let clients: Vec<_> = (0..QUEUED).map(|_| edge.connect()).collect();
    let row = edge.until("a full queue", "in", |row| row["states"]["established"] == QUEUED);
    assert_eq!(number(&row, "/orphans"), 0, "what waits to be accepted is no orphan: {row}");
    drop(listener);
    let row = edge.until("closed", "in", |row| row["totals"]["closed"] == QUEUED);
    assert_eq!(total(&row, "opened"), QUEUED, "{row}");
    assert_eq!(total(&row, "resets_out"), QUEUED, "{row}");
    assert_eq!(live(&row), 0, "{row}");
    drop(clients);
    let last = edge.finish();
    let client = row_of(&last, "out");
    assert_totals(&client, &[("opened", QUEUED), ("closed", QUEUED), ("resets_in", QUEUED)]);
}

/// Nobody listens: never a connection. The same socket may try again.
#[test]
fn a_connect_that_is_refused_and_one_that_is_tried_again() {
    let _turn = turn();
    let mut edge = Edge::new();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)).into();
    let client = edge.namespace.inside(|| {
        let client = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let error = client.connect(&address).expect_err("nobody listens");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let other = TcpStream::connect((Ipv4Addr::LOCALHOST, PORT)).expect_err("nobody listens");
        assert_eq!(other.kind(), ErrorKind::ConnectionRefused);
        client
    });
    let refused = edge.until("two resets", "out", |row| row["totals"]["resets_in"] == 2);
    assert_totals(&refused, &[("resets_in", 2)]);
    assert_eq!(number(&refused, "/states/syn_sent"), 0, "{refused}");
    let listener = edge.listen();
    client.connect(&address).expect("connect");
    let (server, _) = listener.accept().expect("accept");
    let row = edge.until("connected", "out", |row| row["states"]["established"] == 1);
    assert_totals(&row, &[("opened", 1), ("resets_in", 2)]);
    drop(server);
    drop((client, listener));
    let last = edge.finish();
    let client = row_of(&last, "out");
    assert_totals(&client, &[("opened", 1), ("closed", 1), ("orphaned", 1), ("resets_in", 2)]);
    assert_eq!(ends(&client), ended("acked", 1), "{client}");
}

/// An IPv4 client of an IPv6 socket is one of IPv4's addresses, on an IPv6 socket.
#[test]
fn an_ipv4_client_of_an_ipv6_listener() {
    let _turn = turn();
    let edge = Edge::new();
    let name = edge.namespace.name();
    let tops: Vec<_> =
        [(&["--addr", "127.0.0.0/8"][..], 1), (&["--addr", "::1"], 0), (&["-6"], 1), (&["-4"], 0)]
            .into_iter()
            .map(|(filter, expected)| {
                let arguments = [&["--netns", &name, "--port", "9981"], filter].concat();
                (filter, expected, Top::start(&arguments))
            })
            .collect();
    let listener = edge.namespace.inside(|| {
        let listener = Socket::new(Domain::IPV6, Type::STREAM, None).expect("a socket");
        listener.set_only_v6(false).expect("dual stack");
        let address: SocketAddr = format!("[::]:{PORT}").parse().expect("an address");
        listener.bind(&address.into()).expect("bind");
        listener.listen(8).expect("listen");
        TcpListener::from(listener)
    });
    let client = edge.connect();
    let (server, peer) = listener.accept().expect("accept");
    assert!(peer.is_ipv6(), "{peer}");
    drop(server);
    drop((client, listener));
    let last = edge.finish();
    let server = row_of(&last, "in");
    assert_totals(&server, &[("opened", 1), ("closed", 1), ("orphaned", 1), ("time_wait", 1)]);
    assert_eq!(number(&server, "/states/time_wait"), 1, "{server}");
    for (filter, expected, top) in tops {
        let last = top.last();
        let seen = find_row(&last, PORT, "in").map_or(0, |row| total(row, "closed"));
        assert_eq!(seen, expected, "{filter:?}: {last}");
    }
}
