//! Kinds of connections: IPv4 on an IPv6 socket, MPTCP, the same port in two namespaces.

use crate::support;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};
use support::edge::{Edge, assert_totals, row_of, total};
use support::pairs::close_in_turn;
use support::{
    Namespace, PORT, Top, assert_complete, emulated, ends, find_row, number, row, sockflow, storm,
    turn,
};

/// An IPv4 client of an IPv6 socket is one of IPv4's addresses, on an IPv6 socket.
#[test]
fn an_ipv4_client_of_an_ipv6_listener() {
    let _turn = turn();
    let edge = Edge::alone();
    let name = edge.namespace.name();
    let filters =
        [(&["--addr", "127.0.0.0/8"][..], 1), (&["-4"], 0), (&["--addr", "::1"], 0), (&["-6"], 1)];
    // In a guest one that lets it through and one that does not.
    let filters = &filters[..if emulated().is_some() { 2 } else { 4 }];
    let tops: Vec<_> = filters
        .iter()
        .map(|(filter, expected)| {
            let arguments = [&["--netns", &name, "--port", "9981"], *filter].concat();
            (filter, *expected, Top::start(&arguments))
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
    close_in_turn(server, client);
    drop(listener);
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

/// A connection whose subflow is a socket of the kernel's own: TCP all the same, opened and closed
/// as any other, and by nobody twice.
#[test]
fn mptcp() {
    let protocol = Some(Protocol::from(libc::IPPROTO_MPTCP));
    if let Err(error) = Socket::new(Domain::IPV4, Type::STREAM, protocol) {
        println!("n/a: {error}");
        return;
    }
    let _turn = turn();
    let mut edge = Edge::alone();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)).into();
    let (listener, mut client) = edge.namespace.inside(|| {
        let socket = || Socket::new(Domain::IPV4, Type::STREAM, protocol).expect("a socket");
        let listener = socket();
        listener.bind(&address).expect("bind");
        listener.listen(8).expect("listen");
        let client = socket();
        client.connect(&address).expect("connect");
        (listener, client)
    });
    let (mut server, _) = listener.accept().expect("accept");
    client.write_all(b"over a subflow").expect("write");
    let mut bytes = [0; 14];
    server.read_exact(&mut bytes).expect("read");
    assert_eq!(edge.namespace.ss(&["-tan", "state", "established"]).len(), 2);
    for direction in ["in", "out"] {
        let row = edge.until("established", direction, |row| row["states"]["established"] == 1);
        assert_totals(&row, &[("opened", 1)]);
    }
    drop(server);
    drop(client);
    for direction in ["in", "out"] {
        edge.until("closed", direction, |row| row["totals"]["closed"] == 1);
    }
    drop(listener);
    let last = edge.finish();
    for direction in ["in", "out"] {
        let row = row_of(&last, direction);
        assert_eq!(total(&row, "opened"), 1, "{row}");
    }
}

/// One port in two namespaces is two services, unless all are watched; the kernel's counters are
/// those of the one that is watched, its orphans the host's.
#[test]
fn the_same_port_in_two_namespaces() {
    let _turn = turn();
    let (ours, theirs) = (Namespace::new(), Namespace::new());
    let watched = Top::start(&["--netns", &ours.name(), "--interval", "100ms"]);
    let inside = Top::run(theirs.enter(&sockflow(&["top", "--json", "--interval", "100ms"])));
    let everything = Top::start(&["--port", "9981", "--interval", "100ms"]);
    // Each closes with data unread once, and the kernel of that namespace counts it.
    for (namespace, count) in [(&ours, 20), (&theirs, 30)] {
        storm(Some(namespace), &["--connections", &count.to_string()]);
        namespace.inside(|| {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT)).expect("listen");
            let mut client =
                std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, PORT)).expect("connect");
            let (server, _) = listener.accept().expect("accept");
            client.write_all(b"unread").expect("write");
            assert_eq!(server.peek(&mut [0; 16]).expect("peek"), 6);
        });
    }
    assert_eq!((ours.settled().sockstat("tw"), theirs.settled().sockstat("tw")), (20, 30));
    // What stands in the namespace that the tests run in is not theirs to know.
    let each = [
        (watched, Some(&ours), 21, Some(20)),
        (inside, None, 52, Some(30)),
        (everything, None, 52, None),
    ];
    for (top, alone, opened, time_wait) in each {
        let last = match alone {
            Some(namespace) => top.last_at_rest(namespace),
            None => top.last(),
        };
        let row = row(&last, PORT, "in");
        assert_eq!(total(row, "opened"), opened, "{last}");
        assert_eq!(total(row, "closed"), opened, "{last}");
        assert_eq!(total(row, "orphaned"), opened - opened / 21, "{last}");
        let ended: u64 = ends(row).iter().map(|(_, count)| count).sum();
        assert_eq!(ended, total(row, "orphaned"), "{row}");
        assert_eq!(last["orphans"]["drift"], 0, "{last}");
        if let Some(time_wait) = time_wait {
            assert_eq!(number(&last, "/tw_buckets/now"), time_wait, "{last}");
        }
        assert_complete(&last);
    }
}
