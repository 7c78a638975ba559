//! The edges of a connection's life, one socket at a time: every way to let go of one, sockets
//! with two holders, sockets nobody accepted, connects that fail.

use crate::support;

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};
use support::edge::{Edge, assert_totals, fill, left_in, read_to_end, row_of, total};
use support::pairs::close_in_turn;
use support::sys::set_linger2;
use support::{
    Guarded, assert_balanced, ended, ends, eventually, host_orphans, live, number, turn,
};

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
    assert_eq!(left_in(&last, "time_wait"), 0, "{last}");
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
    assert_eq!(left_in(&last, "time_wait"), 2, "{last}");
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
    edge.closes_for_good((client, listener));
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
    let last = edge.closes_for_good((client, listener));
    let rows = last["processes"].as_array().expect("processes");
    let child = rows.iter().find(|row| row["pid"] == pid).expect("a row of the child");
    assert_eq!(child["comm"], "sleep", "{child}");
    assert_eq!(child["alive"], false, "{child}");
    assert_eq!(total(child, "orphaned"), 1, "{child}");
    assert_eq!(total(child, "closed"), 1, "{child}");
    let us = rows.iter().find(|row| row["pid"] == std::process::id()).expect("a row of ours");
    // A connection belongs to one process as a whole: to us the client's.
    assert_eq!((total(us, "opened"), total(us, "closed")), (1, 1), "{us}");
    assert_eq!(total(child, "opened"), 1, "{child}");
}

/// Connections that nobody accepted are reset with their listener.
#[test]
fn a_listener_is_closed_with_its_queue_full() {
    const QUEUED: u64 = 5;
    let _turn = turn();
    let mut edge = Edge::new();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, edge.port));
    let listener = edge.namespace.inside(|| {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
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
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, edge.port));
    let address = to.into();
    let client = edge.namespace.inside(|| {
        let client = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let error = client.connect(&address).expect_err("nobody listens");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let other = TcpStream::connect(to).expect_err("nobody listens");
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
    close_in_turn(server, client);
    drop(listener);
    let last = edge.finish();
    let client = row_of(&last, "out");
    assert_totals(&client, &[("opened", 1), ("closed", 1), ("orphaned", 1), ("resets_in", 2)]);
    assert_eq!(ends(&client), ended("acked", 1), "{client}");
}

/// `TCP_LINGER2` below 0 wants no FIN_WAIT2: an orphan that is there already is reset.
#[test]
fn a_negative_linger2_in_fin_wait2() {
    let _turn = turn();
    let mut edge = Edge::new();
    let (listener, server, mut client) = edge.pair();
    set_linger2(&server, -1);
    server.shutdown(Shutdown::Write).expect("shutdown");
    assert_eq!(read_to_end(&mut client), 0);
    edge.until("FIN_WAIT2", "in", |row| row["states"]["fin_wait2"] == 1);
    drop(server);
    edge.until("closed", "in", |row| row["totals"]["closed"] == 1);
    assert_eq!(edge.namespace.tcp_ext("TCPAbortOnLinger"), 1);
    drop((client, listener));
    reset_without_fin_wait2(edge);
}

/// The same, where the FIN is acknowledged only after `close()`.
#[test]
fn a_negative_linger2_before_the_fin_is_acknowledged() {
    let _turn = turn();
    let mut edge = Edge::new();
    let (listener, server, client) = edge.pair();
    set_linger2(&server, -1);
    drop(server);
    edge.until("closed", "in", |row| row["totals"]["closed"] == 1);
    // Not TCPAbortOnLinger: `tcp_rcv_state_process` counts it so.
    assert_eq!(edge.namespace.tcp_ext("TCPAbortOnData"), 1);
    drop((client, listener));
    reset_without_fin_wait2(edge);
}

fn reset_without_fin_wait2(edge: Edge) {
    assert_eq!(edge.namespace.sockstat("tw"), 0);
    let last = edge.finish();
    let (server, client) = (row_of(&last, "in"), row_of(&last, "out"));
    for (name, expected) in [("opened", 1), ("closed", 1), ("orphaned", 1), ("resets_in", 0)] {
        assert_eq!(total(&server, name), expected, "{name} of {server}");
    }
    assert_eq!(ends(&server), ended("other", 1), "{server}");
    assert_totals(&client, &[("opened", 1), ("closed", 1), ("resets_in", 1)]);
    assert_eq!(left_in(&last, "time_wait"), 0, "{last}");
    assert_eq!(left_in(&last, "fin_wait2"), 0, "{last}");
}

/// What `TCP_LINGER2` asks for beyond a minute is spent as an orphan in FIN_WAIT2, the rest as a
/// minisocket.
#[test]
fn a_linger2_above_a_minute() {
    let _turn = turn();
    let mut edge = Edge::new();
    let (listener, server, client) = edge.pair();
    set_linger2(&server, 62);
    drop(server);
    let row = edge.until("FIN_WAIT2", "in", |row| row["states"]["fin_wait2"] == 1);
    assert_eq!(number(&row, "/orphans"), 1, "{row}");
    assert_eq!(number(&row, "/orphans_by_state/fin_wait2"), 1, "{row}");
    assert_totals(&row, &[("opened", 1), ("orphaned", 1)]);
    assert_eq!(host_orphans(), edge.orphans_before + 1);
    let row = edge.until("closed", "in", |row| row["totals"]["closed"] == 1);
    assert_totals(&row, &[("opened", 1), ("closed", 1), ("orphaned", 1), ("time_wait", 1)]);
    assert_eq!(ends(&row), ended("time_wait", 1), "{row}");
    drop((client, listener));
    edge.finish();
}
