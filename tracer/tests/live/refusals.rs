//! What the kernel refuses: a TIME_WAIT beyond `tcp_max_tw_buckets`, a connection beyond the accept
//! queue, memory beyond `tcp_mem`.

use crate::support;

use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use socket2::{Domain, SockRef, Socket, Type};
use support::edge::{Edge, fill_all, row_of, total};
use support::pairs::close_in_turn;
use support::{Keep, PORT, ended, ends, number, ports_are_random, turn};

/// Beyond the limit there is no TIME_WAIT: the socket is just gone.
#[test]
fn time_wait_beyond_its_buckets() {
    const BUCKETS: u64 = 10;
    const CONNECTIONS: u64 = 30;
    let _turn = turn();
    let edge = Edge::alone();
    edge.namespace.set("net.ipv4.tcp_max_tw_buckets", &BUCKETS.to_string());
    let listener = edge.listen();
    for _ in 0..CONNECTIONS {
        let client = edge.connect();
        close_in_turn(listener.accept().expect("accept").0, client);
    }
    drop(listener);
    let namespace = &edge.namespace;
    let minisockets = namespace.settled().sockstat("tw");
    let overflows = namespace.tcp_ext("TCPTimeWaitOverflow");
    let last = edge.finish();
    assert_eq!(overflows, CONNECTIONS - BUCKETS);
    if ports_are_random() {
        assert!(minisockets <= BUCKETS, "{minisockets}");
    } else {
        assert_eq!(minisockets, BUCKETS);
    }
    assert_eq!(number(&last, "/counters/TCPTimeWaitOverflow"), overflows, "{last}");
    assert_eq!(number(&last, "/states/time_wait"), minisockets, "{last}");
    assert_eq!(number(&last, "/tw_buckets/now"), minisockets, "{last}");
    let server = row_of(&last, "in");
    for name in ["opened", "closed", "orphaned"] {
        assert_eq!(total(&server, name), CONNECTIONS, "{name} of {server}");
    }
    // Concluded from the socket's states, a minisocket that there was no room for looks like one.
    let begun = total(&server, "time_wait");
    if last["fidelity"]["time_wait"] == "exact" {
        assert_eq!(begun, BUCKETS, "{server}");
    } else {
        assert_eq!(begun, CONNECTIONS, "{server}");
    }
}

/// Beyond the queue a SYN is dropped, and the client does not know.
#[test]
fn a_connection_beyond_the_accept_queue() {
    const BACKLOG: i32 = 3;
    // One more than the backlog fits.
    const QUEUED: u64 = BACKLOG as u64 + 1;
    let _turn = turn();
    let mut edge = Edge::alone();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)).into();
    let listener = edge.namespace.inside(|| {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        listener.bind(&address).expect("bind");
        listener.listen(BACKLOG).expect("listen");
        listener
    });
    let clients: Vec<TcpStream> = (0..QUEUED).map(|_| edge.connect()).collect();
    let beyond = edge.namespace.inside(|| {
        let client = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        client.set_nonblocking(true).expect("nonblocking");
        let error = client.connect(&address).expect_err("it must wait");
        assert_eq!(error.raw_os_error(), Some(libc::EINPROGRESS), "{error}");
        client
    });
    // Both at once: each of the others was in SYN_SENT before.
    edge.until("SYN_SENT", "out", |row| {
        row["states"]["syn_sent"] == 1 && row["states"]["established"] == QUEUED
    });
    let row = edge.until("a full queue", "in", |row| row["states"]["established"] == QUEUED);
    assert_eq!(total(&row, "opened"), QUEUED, "{row}");
    drop(beyond);
    let overflows = edge.namespace.tcp_ext("ListenOverflows");
    let drops = edge.namespace.tcp_ext("ListenDrops");
    // A SYN more is sent each second.
    assert!(overflows >= 1, "{overflows}");
    // Those that are accepted live on, the queue dies with the listener.
    let (accepted, _) = listener.accept().expect("accept");
    drop(listener);
    drop(accepted);
    drop(clients);
    let last = edge.finish();
    assert_eq!(number(&last, "/counters/ListenOverflows"), overflows, "{last}");
    // The listener's own end counts those in its queue, on some kernels.
    assert!(number(&last, "/counters/ListenDrops") >= drops, "{last}");
    let (server, client) = (row_of(&last, "in"), row_of(&last, "out"));
    for (row, resets) in [(&server, "resets_out"), (&client, "resets_in")] {
        assert_eq!(total(row, "opened"), QUEUED, "{row}");
        assert_eq!(total(row, "closed"), QUEUED, "{row}");
        assert_eq!(total(row, resets), QUEUED - 1, "{row}");
    }
}

/// Beyond `tcp_mem` an orphan with data is not kept for a moment: all are killed as they are closed.
#[test]
fn orphans_beyond_tcp_mem() {
    /// What the clients have not read is more than the kernel's books may be off (256 pages a CPU).
    const PAIRS: u64 = 32;
    let _turn = turn();
    let edge = Edge::alone();
    let listener = edge.listen();
    let (mut servers, clients): (Vec<TcpStream>, Vec<TcpStream>) = (0..PAIRS)
        .map(|_| {
            let client = edge.connect();
            let (server, _) = listener.accept().expect("accept");
            SockRef::from(&server).set_send_buffer_size(64 << 10).expect("a buffer");
            (server, client)
        })
        .unzip();
    fill_all(&mut servers);
    {
        let _limits = Keep::setting("net.ipv4.tcp_mem");
        fs::write("/proc/sys/net/ipv4/tcp_mem", "1 2 3").expect("a setting");
        drop(servers);
    }
    for mut client in clients {
        let mut rest = Vec::new();
        let error = std::io::Read::read_to_end(&mut client, &mut rest).expect_err("a reset");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    drop(listener);
    assert_eq!(edge.namespace.tcp_ext("TCPAbortOnMemory"), PAIRS);
    let last = edge.finish();
    assert_eq!(number(&last, "/orphans/killed"), PAIRS, "{last}");
    assert_eq!(number(&last, "/counters/TCPAbortOnMemory"), PAIRS, "{last}");
    let (server, client) = (row_of(&last, "in"), row_of(&last, "out"));
    for (row, resets, orphaned) in [(&server, "resets_out", PAIRS), (&client, "resets_in", 0)] {
        assert_eq!(total(row, "opened"), PAIRS, "{row}");
        assert_eq!(total(row, "closed"), PAIRS, "{row}");
        assert_eq!(total(row, "orphaned"), orphaned, "{row}");
        assert_eq!(total(row, "time_wait"), 0, "{row}");
        assert_eq!(total(row, resets), PAIRS, "{row}");
    }
    assert_eq!(ends(&server), ended("killed", PAIRS), "{server}");
}
