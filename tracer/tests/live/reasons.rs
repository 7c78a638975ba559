//! Why: the kernel's own reasons for the resets it sends, and what more is known of orphans that
//! it killed or did not wait for.

use crate::support;

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use socket2::SockRef;
use support::books::our_namespace;
use support::edge::fill_all;
use support::sys::set_linger2;
use support::{
    Guarded, Keep, Namespace, PATIENCE, PORT, Standing, Top, Watched, assert_complete, ended, ends,
    eventually, host_orphans, number, row, sockflow, tcp_ext, turn,
};

const KILLED: &str = "TCPAbortOnMemory";

/// A listener and so many connections to it: servers, clients.
fn pairs(
    namespace: &Namespace,
    port: u16,
    count: u64,
) -> (TcpListener, Vec<TcpStream>, Vec<TcpStream>) {
    namespace.inside(|| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("listen");
        let connect = |_| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("connect");
        let mut servers = Vec::new();
        let mut clients = Vec::new();
        for at in 0..count {
            clients.push(connect(at));
            servers.push(listener.accept().expect("accept").0);
        }
        (listener, servers, clients)
    })
}

#[test]
fn resets_have_the_kernels_own_reasons() {
    const UNREAD: u64 = 7;
    const LINGER: u64 = 5;
    let _turn = turn();
    let namespace = Namespace::new();
    let top = Top::start(&["--netns", &namespace.name()]);
    let tells = top.snapshots[0]["fidelity"]["reset_reason"] != "absent";
    let mut trace = Guarded::start(sockflow(&["trace", "--json", "--netns", &namespace.name()]));
    let (listener, mut servers, mut clients) = pairs(&namespace, PORT, UNREAD + LINGER);
    // It traces when it tells of a connection.
    let mut more = Vec::new();
    while trace.line_within(Duration::from_millis(200)).is_none() {
        more.push(
            namespace.inside(|| TcpStream::connect((Ipv4Addr::LOCALHOST, PORT)).expect("connect")),
        );
        more.push(listener.accept().expect("accept").0);
        assert!(more.len() < 600, "trace never told of a connection");
    }
    for server in servers.split_off(UNREAD as usize) {
        SockRef::from(&server).set_linger(Some(Duration::ZERO)).expect("SO_LINGER");
    }
    for (client, server) in clients.iter_mut().zip(servers) {
        client.write_all(b"nobody reads this").expect("write");
        eventually("it is there", || server.peek(&mut [0]).is_ok());
        drop(server);
    }
    let last = top.last_at_rest(&namespace);
    trace.signal(Signal::TERM);
    let (lines, status, talk) = trace.end(PATIENCE);
    assert!(status.success(), "{talk}");
    assert_complete(&last);
    let server = row(&last, PORT, "in");
    assert_eq!(number(server, "/totals/resets_out"), UNREAD + LINGER, "{server}");
    let mut reasons: Vec<(String, u64)> = Vec::new();
    for line in &lines {
        let event: Value = serde_json::from_str(line).expect("JSON");
        if event["kind"] == "reset_out" {
            let reason = event["reason"].as_str().unwrap_or("none").to_owned();
            match reasons.iter_mut().find(|(known, _)| *known == reason) {
                Some((_, count)) => *count += 1,
                None => reasons.push((reason, 1)),
            }
        }
    }
    reasons.sort();
    let expected = if tells {
        // `tcp_disconnect` gives the state as the reason for what SO_LINGER 0 does.
        assert_eq!(
            server["reset_reasons"],
            json!({"TCP_ABORT_ON_CLOSE": UNREAD, "TCP_STATE": LINGER}),
            "{server}"
        );
        vec![("TCP_ABORT_ON_CLOSE".to_owned(), UNREAD), ("TCP_STATE".to_owned(), LINGER)]
    } else {
        assert_eq!(server["reset_reasons"], json!({}), "{server}");
        vec![("none".to_owned(), UNREAD + LINGER)]
    };
    assert_eq!(reasons, expected);
}

/// What is killed at `tcp_max_orphans` is told from what is killed for memory.
#[test]
fn killed_for_the_limit() {
    const LIMIT: u64 = 64;
    const ORPHANS: u64 = 200;
    let _turn = turn();
    let limit = Keep::setting("net.ipv4.tcp_max_orphans");
    assert_eq!(host_orphans(), 0, "something else on this host leaves orphans");
    let before = tcp_ext(KILLED);
    let mut top = Top::start(&["--netns", &our_namespace(), "--interval", "200ms"]);
    let (count, setting) = (ORPHANS.to_string(), format!("net.ipv4.tcp_max_orphans={LIMIT}"));
    let arguments = ["--mode", "zero-window", "--connections", &count, "--rate", "50/s"];
    let more = ["--hold", "60s", "--sysctl", &setting];
    Standing::start(None, &[&arguments[..], &more].concat(), ORPHANS).release();
    assert!(limit.is_as_before());
    top.until("no orphans", |snapshot| number(snapshot, "/orphans/host") == 0);
    let killed = tcp_ext(KILLED) - before;
    assert!(killed >= ORPHANS - 2 * LIMIT, "{killed}");
    let last = top.last_at_rest_here();
    assert_complete(&last);
    let server = row(&last, PORT, "in");
    assert_eq!(number(server, "/orphan_ends/killed"), killed, "{server}");
    let details = json!({"killed_limit": killed, "killed_memory": 0, "linger2": 0});
    assert_eq!(server["orphan_end_details"], details, "{server}");
    // Each had waited for a peer that does not read.
    let bad = last["bad_ends"].as_array().expect("ends");
    assert!(!bad.is_empty(), "{last}");
    for end in bad {
        assert_eq!(end["cause"], "closed_window", "{end}");
    }
}

#[test]
fn killed_for_memory() {
    /// What the clients have not read is more than the kernel's books may be off (256 pages a CPU).
    const PAIRS: u64 = 32;
    let _turn = turn();
    assert_eq!(host_orphans(), 0, "something else on this host leaves orphans");
    let namespace = Namespace::new();
    let mut top = Top::start(&["--netns", &namespace.name(), "--interval", "200ms"]);
    let (_listener, mut servers, clients) = pairs(&namespace, PORT, PAIRS);
    for server in &servers {
        SockRef::from(server).set_send_buffer_size(64 << 10).expect("a buffer");
    }
    fill_all(&mut servers);
    {
        // Any use is more: each is killed as it is closed.
        let _limits = Keep::setting("net.ipv4.tcp_mem");
        fs::write("/proc/sys/net/ipv4/tcp_mem", "1 2 3").expect("a setting");
        drop(servers);
    }
    top.until("no orphans", |snapshot| number(snapshot, "/orphans/host") == 0);
    assert_eq!(namespace.tcp_ext(KILLED), PAIRS);
    drop(clients);
    let last = top.last_at_rest(&namespace);
    assert_complete(&last);
    let server = row(&last, PORT, "in");
    assert_eq!(ends(server), ended("killed", PAIRS), "{server}");
    let details = json!({"killed_limit": 0, "killed_memory": PAIRS, "linger2": 0});
    assert_eq!(server["orphan_end_details"], details, "{server}");
    let process = &last["processes"].as_array().expect("processes")[0];
    assert_eq!(process["orphan_end_details"], details, "{process}");
}

/// TCP_LINGER2 below zero: no FIN_WAIT2, the orphan ends with the acknowledgement of its FIN.
#[test]
fn a_negative_linger2_is_told() {
    const COUNT: u64 = 6;
    let _turn = turn();
    let watched = Watched::new(1, &[]);
    let port = watched.ports[0];
    let (_listener, servers, clients) = pairs(&watched.namespace, port, COUNT);
    for server in &servers {
        set_linger2(server, -1);
    }
    drop(servers);
    eventually("none is left", || {
        let sport = format!("sport = :{port}");
        watched.namespace.ss(&["-tan", "state", "connected", &sport]).is_empty()
    });
    drop(clients);
    let last = watched.last();
    assert_complete(&last);
    let server = row(&last, port, "in");
    assert_eq!(number(server, "/totals/orphaned"), COUNT, "{server}");
    assert_eq!(ends(server), ended("other", COUNT), "{server}");
    let details = json!({"killed_limit": 0, "killed_memory": 0, "linger2": COUNT});
    assert_eq!(server["orphan_end_details"], details, "{server}");
    assert_eq!(number(server, "/totals/time_wait"), 0, "{server}");
}
