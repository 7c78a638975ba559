//! Listeners whose accept queue is full: what is refused and dropped at each, against the kernel's
//! counters, which know the namespace only.

use crate::support;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde_json::Value;
use socket2::{Domain, Socket, Type};
use support::{Namespace, Top, assert_complete, eventually, find_row, number, row, turn};

const BACKLOG: u64 = 2;

fn socket(address: IpAddr) -> Socket {
    let domain = if address.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    Socket::new(domain, Type::STREAM, None).expect("a socket")
}

/// A listener with a short queue; nobody accepts.
fn listen(namespace: &Namespace, address: IpAddr, port: u16) -> Socket {
    namespace.inside(|| {
        let socket = socket(address);
        socket.bind(&SocketAddr::new(address, port).into()).expect("bind");
        socket.listen(i32::try_from(BACKLOG).expect("small")).expect("listen");
        socket
    })
}

/// Begins so many connections; whether the other side answers is not waited for.
fn knock(namespace: &Namespace, address: IpAddr, port: u16, count: u64) -> Vec<Socket> {
    namespace.inside(|| {
        let one = |_| {
            let socket = socket(address);
            socket.set_nonblocking(true).expect("non-blocking");
            let _ = socket.connect(&SocketAddr::new(address, port).into());
            socket
        };
        (0..count).map(one).collect()
    })
}

/// ListenOverflows and ListenDrops of the namespace.
fn counted(namespace: &Namespace) -> (u64, u64) {
    (namespace.tcp_ext("ListenOverflows"), namespace.tcp_ext("ListenDrops"))
}

fn listen_of(snapshot: &Value, port: u16) -> &Value {
    &row(snapshot, port, "in")["listen"]
}

fn refuses(address: IpAddr) {
    /// The queue takes one more than its backlog.
    const QUEUED: u64 = BACKLOG + 1;
    const FIRST: u64 = 4;
    const SECOND: u64 = 7;
    let _turn = turn();
    let namespace = Namespace::new();
    // A third, to which nothing happens.
    let _quiet = listen(&namespace, address, 9983);
    let mut top = Top::start(&["--netns", &namespace.name(), "--interval", "100ms"]);
    let fidelity = &top.snapshots[0]["fidelity"];
    let hooked = fidelity["accept_overflow"] == "exact";
    if !hooked {
        assert_eq!(fidelity["accept_overflow"], "sampled");
    }
    assert_eq!(fidelity["listen_drops"], "sampled");
    let _listeners = (listen(&namespace, address, 9981), listen(&namespace, address, 9982));
    let mut knocking = Vec::new();
    for (port, more) in [(9981, FIRST), (9982, SECOND)] {
        knocking.push(knock(&namespace, address, port, QUEUED));
        let filter = format!("sport = :{port}");
        eventually("the queue is full", || {
            namespace.ss(&["-tan", "state", "established", &filter]).len() as u64 == QUEUED
        });
        knocking.push(knock(&namespace, address, port, more));
    }
    eventually("all were refused", || counted(&namespace).0 >= FIRST + SECOND);
    let full = top.until("both queues full", |snapshot| {
        let queued = |port| {
            find_row(snapshot, port, "in").is_some_and(|row| row["listen"]["queued"] == QUEUED)
        };
        queued(9981) && queued(9982)
    });
    assert_eq!(number(listen_of(&full, 9981), "/backlog"), BACKLOG, "{full}");
    // A SYN that is refused is sent again after a second, and counts again; no more of them.
    drop(knocking);
    let (overflows, drops) = counted(&namespace);
    let last = top.last_at_rest(&namespace);
    assert_eq!(counted(&namespace), (overflows, drops), "nobody knocks any more");
    assert_complete(&last);
    let told = |name: &str| -> Vec<u64> {
        [9981, 9982, 9983].iter().map(|port| number(listen_of(&last, *port), name)).collect()
    };
    let at_each = told("/drops");
    assert!(at_each[0] >= FIRST && at_each[1] >= SECOND, "{last}");
    assert_eq!(at_each[2], 0, "{last}");
    assert_eq!(at_each.iter().sum::<u64>(), drops, "{last}");
    // Nothing but the full queue drops here.
    assert_eq!(overflows, drops);
    if hooked {
        assert_eq!(told("/overflows"), at_each, "{last}");
    } else {
        assert!(listen_of(&last, 9981)["overflows"].is_null(), "{last}");
    }
    assert_eq!(number(&last, "/counters/ListenOverflows"), overflows, "{last}");
}

#[test]
fn a_full_accept_queue_refuses_and_is_counted_at_its_listener() {
    refuses(Ipv4Addr::LOCALHOST.into());
}

#[test]
fn a_full_accept_queue_over_ipv6() {
    refuses(Ipv6Addr::LOCALHOST.into());
}
