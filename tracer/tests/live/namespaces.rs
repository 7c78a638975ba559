//! Which numbers are the host's and which those of the namespace that is watched.

use crate::support;

use std::fs;
use std::net::{Ipv4Addr, TcpListener};

use support::pairs::half_closed;
use support::{
    Namespace, PORT, Standing, Top, assert_complete, eventually, host_orphans, number, row, turn,
};

fn listen(namespace: &Namespace) -> TcpListener {
    namespace.inside(|| TcpListener::bind((Ipv4Addr::LOCALHOST, PORT)).expect("listen"))
}

fn setting(name: &str) -> Vec<u64> {
    let text = fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).expect("a setting");
    text.split_whitespace().map(|word| word.parse().expect("a number")).collect()
}

#[test]
fn counters_are_the_namespaces_and_orphans_and_their_limits_the_hosts() {
    /// Of the watched namespace: room for so many minisockets, and more sockets that want one.
    const ROOM: u64 = 6;
    const MORE: u64 = 4;
    /// Of another namespace.
    const ELSEWHERE: u64 = 9;
    const ORPHANS: u64 = 5;
    let _turn = turn();
    let (watched, other) = (Namespace::new(), Namespace::new());
    watched.set("net.ipv4.tcp_max_tw_buckets", &ROOM.to_string());
    let before = host_orphans();
    let top = Top::start(&["--netns", &watched.name()]);
    let (listener_here, listener_there) = (listen(&watched), listen(&other));
    let here = half_closed(&watched, &listener_here, ROOM + MORE);
    let there = half_closed(&other, &listener_there, ELSEWHERE);
    eventually("all are minisockets", || {
        watched.sockstat("tw") == ROOM && other.sockstat("tw") == ELSEWHERE
    });
    let count = ORPHANS.to_string();
    let arguments = ["--mode", "zero-window", "--connections", &count, "--hold", "60s"];
    let orphans =
        Standing::start(Some(&other), &[&arguments[..], &["--port", "9982"]].concat(), ORPHANS);
    let last = top.last_at_rest(&watched);
    assert_eq!(host_orphans(), before + ORPHANS);
    orphans.release();
    drop((here, there));
    assert_complete(&last);
    // The namespace's: its counters, its minisockets, their limit, its connections.
    assert_eq!(number(&last, "/counters/TCPTimeWaitOverflow"), MORE, "{last}");
    assert_eq!(number(&last, "/tw_buckets/now"), ROOM, "{last}");
    assert_eq!(number(&last, "/tw_buckets/limit"), ROOM, "{last}");
    assert_eq!(number(&last, "/tw_buckets/fin_wait2"), ROOM, "{last}");
    assert_eq!(number(&last, "/states/fin_wait2"), ROOM, "{last}");
    assert_eq!(number(row(&last, PORT, "in"), "/totals/opened"), ROOM + MORE, "{last}");
    assert_eq!(number(&last, "/totals/opened"), 2 * (ROOM + MORE), "{last}");
    // The host's: its orphans, whichever namespace they are in, and its limits.
    assert_eq!(number(&last, "/orphans/host"), before + ORPHANS, "{last}");
    assert_eq!(number(&last, "/orphans/tracked"), 0, "they are elsewhere: {last}");
    assert_eq!(last["orphans"]["drift"], 0, "{last}");
    assert_eq!(vec![number(&last, "/orphans/limit")], setting("tcp_max_orphans"), "{last}");
    let tcp_mem = ["/tcp_mem/low", "/tcp_mem/pressure", "/tcp_mem/high"];
    assert_eq!(tcp_mem.map(|at| number(&last, at)).to_vec(), setting("tcp_mem"), "{last}");
}
