//! Whose hands a socket is in: on its way between processes, collected as garbage, let go of by a
//! process that is killed.

use crate::support;

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::process::Signal;
use support::edge::{Edge, assert_totals, left_in, row_of, total};
use support::{Guarded, PATIENCE, host_orphans, number, sockflow, turn};

fn unix_pair() -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None).expect("a pair")
}

/// Puts descriptors on their way (SCM_RIGHTS).
fn pass(over: &OwnedFd, what: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(what)));
    let sent = sendmsg(over, &[IoSlice::new(b"x")], &mut control, SendFlags::empty());
    assert_eq!(sent, Ok(1));
}

/// Takes one that is on its way.
fn take(over: &OwnedFd) -> OwnedFd {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(over, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)
        .expect("a message");
    let mut received = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    received.next().expect("descriptors").next().expect("one")
}

/// Nobody has it open while it is on its way, and it is no orphan.
#[test]
fn a_socket_that_is_passed_on() {
    let _turn = turn();
    let mut edge = Edge::new();
    let (listener, server, client) = edge.pair();
    let (from, to) = unix_pair();
    pass(&from, &[server.as_fd()]);
    drop(server);
    let row = edge.now("in");
    assert_eq!(number(&row, "/states/established"), 1, "{row}");
    assert_totals(&row, &[("opened", 1)]);
    assert_eq!(host_orphans(), edge.orphans_before);
    let server = take(&to);
    let row = edge.now("in");
    assert_totals(&row, &[("opened", 1)]);
    drop(server);
    edge.closes_for_good((client, listener));
}

/// Passed over a socket that is on its way itself, and nobody is left to take either: the kernel's
/// garbage collector closes it, and owns nothing by that.
#[test]
fn a_socket_that_only_the_garbage_collector_closes() {
    let _turn = turn();
    let mut edge = Edge::alone();
    let (listener, server, client) = edge.pair();
    let (from, to) = unix_pair();
    pass(&from, &[server.as_fd(), to.as_fd(), from.as_fd()]);
    drop(server);
    let row = edge.now("in");
    assert_totals(&row, &[("opened", 1)]);
    // In flight towards each other only.
    drop((from, to));
    // The collector runs when some socket of its kind is closed.
    drop(unix_pair());
    // The client stays until it has, so that it is second.
    edge.until("an orphan", "in", |row| row["totals"]["orphaned"] == 1);
    let last = edge.closes_for_good((client, listener));
    let us = std::process::id();
    for process in last["processes"].as_array().expect("processes") {
        assert!(process["pid"].is_null() || process["pid"] == us, "{process}");
    }
}

/// Killed in the middle of everything: each of its sockets is closed for it, and is its own.
#[test]
fn a_process_that_is_killed_with_its_sockets_open() {
    const PAIRS: u64 = 50;
    let _turn = turn();
    let edge = Edge::new();
    let count = PAIRS.to_string();
    let port = edge.port.to_string();
    let hold = ["--mode", "hold", "--port", &port, "--connections", &count, "--duration", "60s"];
    let hold = [&["storm"], &hold[..]].concat();
    let mut holder = Guarded::start(edge.namespace.enter(&sockflow(&hold)));
    assert_eq!(holder.line(PATIENCE), Some(format!("holding {PAIRS}")));
    let pid = holder.pid();
    holder.signal(Signal::KILL);
    let (_, status, _) = holder.end(PATIENCE);
    assert!(!status.success());
    let minisockets = edge.namespace.settled().sockstat("tw");
    let last = edge.finish();
    let (server, client) = (row_of(&last, "in"), row_of(&last, "out"));
    for row in [&server, &client] {
        for (name, expected) in [("opened", PAIRS), ("closed", PAIRS), ("orphaned", PAIRS)] {
            assert_eq!(total(row, name), expected, "{name} of {row}");
        }
        assert_eq!(row["owner"]["pid"], pid, "{row}");
        assert_eq!((total(row, "resets_in"), total(row, "resets_out")), (0, 0), "{row}");
    }
    // Of each pair one end was first, or both were.
    let time_waits = total(&server, "time_wait") + total(&client, "time_wait");
    assert!((PAIRS..=2 * PAIRS).contains(&time_waits), "{last}");
    assert_eq!(minisockets, time_waits, "{last}");
    assert_eq!(left_in(&last, "time_wait"), minisockets, "{last}");
}
