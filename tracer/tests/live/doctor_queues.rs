//! `sockflow doctor` on what a network namespace runs out of: accept and SYN queue, local ports,
//! TIME_WAIT buckets, tracked connections. Each is driven to warn and crit and back, and the verdict
//! names it first.

use crate::support;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use support::doctor::*;
use support::*;

#[test]
fn an_accept_queue_that_nobody_empties() {
    let _turn = turn();
    let namespace = Namespace::new();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
    let listener = namespace.inside(|| {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        listener.bind(&address.into()).expect("bind");
        listener.listen(8).expect("listen");
        listener
    });
    let connect = |many: usize| -> Vec<Socket> {
        namespace.inside(|| {
            let one = |_| {
                let client = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
                client.set_nonblocking(true).expect("nonblocking");
                let _ = client.connect(&address.into());
                client
            };
            (0..many).map(one).collect()
        })
    };
    let look = |arguments: &[&str]| report(Some(&namespace), arguments);
    assert_state(&look(&["--watch", "0"]), "accept_queue", "ok");
    let mut clients = connect(8);
    assert_state(&look(&["--watch", "0"]), "accept_queue", "warn");
    clients.extend(connect(4));
    let full = look(&["--port", "9981"]);
    assert_state(&full, "accept_queue", "crit");
    let full = check(&full, "accept_queue");
    assert_eq!((number(full, "/now"), number(full, "/limit")), (9, 9), "{full}");
    let subject = full["subject"].as_str().expect("a subject");
    assert!(subject.ends_with("127.0.0.1:9981") && subject.contains('['), "{subject}");
    // Another port is not asked about.
    assert_eq!(check(&look(&["--port", "1"]), "accept_queue")["state"], "ok");
    listener.set_nonblocking(true).expect("nonblocking");
    let began = Instant::now();
    let mut accepted = Vec::new();
    // Those that were dropped try again after a second.
    while accepted.len() < 12 {
        accepted.extend(listener.accept().map(|(socket, _)| socket));
        assert!(began.elapsed() < PATIENCE, "{} accepted", accepted.len());
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_state(&look(&["--watch", "0"]), "accept_queue", "ok");
    drop(clients);
}

/// A SYN from an address where nobody answers.
fn syn(from: Ipv4Addr, to: SocketAddrV4, source_port: u16) -> Vec<u8> {
    let mut tcp = Vec::new();
    tcp.extend(source_port.to_be_bytes());
    tcp.extend(to.port().to_be_bytes());
    // Sequence, acknowledgement, header of 20 bytes, SYN, window, checksum, urgent.
    tcp.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
    let pseudo = [from.octets(), to.ip().octets(), [0, 6, 0, 20]].concat();
    let words = pseudo.iter().chain(&tcp).copied().collect::<Vec<u8>>();
    let mut sum: u32 =
        words.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let checksum = !u16::try_from(sum).expect("folded");
    tcp[16..18].copy_from_slice(&checksum.to_be_bytes());
    let mut ip = vec![0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, 6, 0, 0];
    ip.extend(from.octets());
    ip.extend(to.ip().octets());
    ip.extend(tcp);
    ip
}

/// Where the clients are, who never answer.
const SILENT: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 7);
/// Where they connect to.
const CALLED: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 99, 0, 1), PORT);

/// Leads a cable with nobody at its other end into a namespace; or says why that can't be.
fn silent_clients(namespace: &Namespace) -> bool {
    let script = "ip link add sf0 type veth peer name sf1 && ip addr add 10.99.0.1/24 dev sf0 && \
                  ip link set sf0 up && ip link set sf1 up && \
                  ip neigh add 10.99.0.7 lladdr 02:00:00:00:00:07 dev sf0";
    let mut shell = Command::new("sh");
    shell.args(["-c", script]);
    let made = output(namespace.enter(&shell));
    if !made.status.success() {
        skip("syn_queue", &String::from_utf8_lossy(&made.stderr));
        return false;
    }
    namespace.inside(|| {
        for (name, value) in [
            ("net.ipv4.conf.all.rp_filter", "0"),
            ("net.ipv4.conf.lo.rp_filter", "0"),
            ("net.ipv4.tcp_syncookies", "0"),
            ("net.ipv4.tcp_max_syn_backlog", "4096"),
            ("net.ipv4.tcp_synack_retries", "3"),
        ] {
            write(name, value);
        }
    });
    true
}

/// SYNs of silent clients, one from each of these ports.
fn send_syns(namespace: &Namespace, ports: std::ops::Range<u16>) {
    namespace.inside(|| {
        let raw = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255))).expect("raw");
        for port in ports {
            let packet = syn(SILENT, CALLED, port);
            raw.send_to(&packet, &SockAddr::from(CALLED)).expect("send");
        }
    });
}

/// Half open on four listeners that share a port: each has its own queue, and a quarter of them.
#[test]
fn half_open_connections_of_four_listeners_are_each_ones_own() {
    let _turn = turn();
    let namespace = Namespace::new();
    if !silent_clients(&namespace) {
        return;
    }
    let listeners: Vec<Socket> = namespace.inside(|| {
        let listen = |_| {
            let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            listener.set_reuse_port(true).expect("an option");
            listener.bind(&CALLED.into()).expect("bind");
            listener.listen(128).expect("listen");
            listener
        };
        (0..4).map(listen).collect()
    });
    let mut top = Top::start(&["--netns", &namespace.name()]);
    send_syns(&namespace, 20_000..20_120);
    let snapshot = top.until("120 half open", |it| it["states"]["syn_recv"].as_u64() == Some(120));
    let found = snapshot["findings"].as_array().expect("findings");
    assert!(found.iter().all(|it| it["check"] != "syn_queue"), "{found:?}");
    let look = report(Some(&namespace), &["--watch", "0"]);
    assert_state(&look, "syn_queue", "ok");
    let row = check(&look, "syn_queue");
    assert_eq!((number(row, "/now"), number(row, "/limit")), (30, 128), "{row}");
    top.stop();
    drop(listeners);
}

#[test]
fn a_syn_queue_that_silent_clients_fill() {
    let _turn = turn();
    let namespace = Namespace::new();
    if !silent_clients(&namespace) {
        return;
    }
    let listener = namespace.inside(|| {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        listener.bind(&CALLED.into()).expect("bind");
        listener.listen(16).expect("listen");
        listener
    });
    let send = |ports: std::ops::Range<u16>| send_syns(&namespace, ports);
    let look = |arguments: &[&str]| report(Some(&namespace), arguments);
    assert_state(&look(&["--watch", "0"]), "syn_queue", "ok");
    send(20_000..20_014);
    assert_state(&look(&["--watch", "0"]), "syn_queue", "warn");
    send(20_014..20_040);
    let full = look(&["--watch", "0"]);
    assert_state(&full, "syn_queue", "crit");
    let set = &check(&full, "syn_queue")["set"];
    assert_eq!(set[0]["sysctl"], "net.ipv4.tcp_syncookies", "{set}");
    // Dropped while it watches, and then, as advised, answered with cookies.
    let watched = |state: &str| {
        let mut process = Guarded::start({
            let command = doctor(&["--json", "--fail-on", "never", "--watch", "2s"]);
            namespace.enter(&command)
        });
        for round in 0..15 {
            send(21_000 + round * 20..21_020 + round * 20);
            std::thread::sleep(Duration::from_millis(100));
        }
        let (lines, status, talk) = process.end(PATIENCE);
        assert!(status.success(), "{talk}");
        let report: Value = serde_json::from_str(&lines.concat()).expect("JSON");
        assert_state(&report, "syn_queue", state);
        report
    };
    let dropping = watched("crit");
    assert!(check(&dropping, "syn_queue")["why"].as_str().expect("why").contains("dropped"));
    drop(listener);
    assert_state(&look(&["--watch", "0"]), "syn_queue", "ok");
}

/// Connections from loopback to itself: those that connect, and those that were accepted.
fn connections(namespace: &Namespace, listener: &TcpListener, many: usize) -> Vec<Pair> {
    namespace.inside(|| {
        let one = |_| {
            let client = TcpStream::connect(listener.local_addr().expect("an address"));
            let client = client.expect("a connection");
            (client, listener.accept().expect("accept").0)
        };
        (0..many).map(one).collect()
    })
}

type Pair = (TcpStream, TcpStream);

/// Ends it without TIME_WAIT.
fn reset((client, server): Pair) {
    let client = Socket::from(client);
    client.set_linger(Some(Duration::ZERO)).expect("linger");
    drop((client, server));
}

#[test]
fn ephemeral_ports_of_a_narrow_range() {
    let _turn = turn();
    let namespace = Namespace::new();
    let listener = namespace.inside(|| {
        write("net.ipv4.ip_local_port_range", "50000 50019");
        TcpListener::bind((Ipv4Addr::LOCALHOST, PORT)).expect("bind")
    });
    let look = || report(Some(&namespace), &["--watch", "0"]);
    let mut pairs = connections(&namespace, &listener, 10);
    assert_state(&look(), "ephemeral_ports", "ok");
    pairs.extend(connections(&namespace, &listener, 7));
    assert_state(&look(), "ephemeral_ports", "warn");
    pairs.extend(connections(&namespace, &listener, 3));
    let out = look();
    assert_state(&out, "ephemeral_ports", "crit");
    let ports = check(&out, "ephemeral_ports");
    assert_eq!((number(ports, "/now"), number(ports, "/limit")), (20, 20), "{ports}");
    assert_eq!(ports["subject"], "to 127.0.0.1:9981", "{ports}");
    // It is as it says: one more is refused; and with the range advised it is not.
    let refused = namespace.inside(|| TcpStream::connect((Ipv4Addr::LOCALHOST, PORT)));
    assert_eq!(refused.expect_err("no port").kind(), std::io::ErrorKind::AddrNotAvailable);
    namespace.inside(|| apply(ports));
    pairs.extend(connections(&namespace, &listener, 1));
    assert_state(&look(), "ephemeral_ports", "ok");
    pairs.into_iter().for_each(reset);
}

#[test]
fn time_wait_on_a_client_and_on_a_server() {
    let _turn = turn();
    let fill = |namespace: &Namespace, many: usize, client_first: bool| {
        let listener = namespace.inside(|| {
            let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            listener.set_reuse_address(true).expect("reuse");
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
            listener.bind(&address.into()).expect("bind");
            listener.listen(128).expect("listen");
            TcpListener::from(listener)
        });
        for (client, server) in connections(namespace, &listener, many) {
            // The one that closes first waits.
            let (first, second) = if client_first { (client, server) } else { (server, client) };
            drop(first);
            drop(second);
        }
        listener
    };
    let limited = || {
        let namespace = Namespace::new();
        namespace.inside(|| write("net.ipv4.tcp_max_tw_buckets", "100"));
        namespace
    };
    let look = |namespace: &Namespace| report(Some(namespace), &["--watch", "0"]);

    let client = limited();
    let _listener = fill(&client, 85, true);
    assert_state(&look(&client), "time_wait", "warn");
    drop(_listener);
    let _listener = fill(&client, 30, true);
    let full = look(&client);
    assert_state(&full, "time_wait", "crit");
    client.inside(|| apply(check(&full, "time_wait")));
    assert_state(&look(&client), "time_wait", "ok");

    // As full, and harmless: said so, and nothing advised.
    let server = limited();
    let _listener = fill(&server, 120, false);
    let full = look(&server);
    assert_state(&full, "time_wait", "ok");
    let full = check(&full, "time_wait");
    assert_eq!((number(full, "/now"), full["harmless"].as_bool()), (100, Some(true)), "{full}");
    assert_eq!(full["set"].as_array().map(Vec::len), Some(0), "{full}");
}

#[test]
fn the_file_it_prints_is_one_that_sysctl_takes() {
    let _turn = turn();
    let namespace = Namespace::new();
    let listener = namespace.inside(|| {
        write("net.ipv4.ip_local_port_range", "50000 50009");
        TcpListener::bind((Ipv4Addr::LOCALHOST, PORT)).expect("bind")
    });
    let pairs = connections(&namespace, &listener, 10);
    let done = output(namespace.enter(&doctor(&["--watch", "0", "--print-sysctl"])));
    assert_eq!(done.status.code(), Some(0));
    let text = String::from_utf8(done.stdout).expect("ASCII");
    let file = std::env::temp_dir().join(format!("sockflow-doctor-{}.conf", std::process::id()));
    fs::write(&file, &text).expect("write");
    let mut load = Command::new("sysctl");
    load.arg("-p").arg(&file);
    let loaded = output(namespace.enter(&load));
    fs::remove_file(&file).expect("clean");
    assert!(loaded.status.success(), "{text}{}", String::from_utf8_lossy(&loaded.stderr));
    let range = namespace.inside(|| fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range"));
    assert_eq!(range.expect("the range").split_whitespace().next(), Some("16384"), "{text}");
    pairs.into_iter().for_each(reset);
}

/// Connections that a rule tracks, in a namespace of their own; the limit is the host's, and
/// nobody else tracks here.
#[test]
fn tracked_connections_up_to_their_limit() {
    const MAX: &str = "net.netfilter.nf_conntrack_max";
    let _turn = turn();
    let namespace = Namespace::new();
    let mut rule = Command::new("nft");
    rule.arg(
        "add table inet t; \
         add chain inet t c { type filter hook input priority 0; }; \
         add rule inet t c ct state established accept",
    );
    let made = output(namespace.enter(&rule));
    if !made.status.success()
        || !fs::exists("/proc/sys/net/netfilter/nf_conntrack_max").is_ok_and(|is| is)
    {
        skip("conntrack", &String::from_utf8_lossy(&made.stderr));
        return;
    }
    let _keep = Keep::setting(MAX);
    write(MAX, "50");
    let listener =
        namespace.inside(|| TcpListener::bind((Ipv4Addr::LOCALHOST, PORT)).expect("bind"));
    let look = |arguments: &[&str]| report(Some(&namespace), arguments);
    assert_state(&look(&["--watch", "0"]), "conntrack", "ok");
    let mut pairs = connections(&namespace, &listener, 45);
    let near = look(&["--watch", "0"]);
    assert_state(&near, "conntrack", "warn");
    let found = check(&near, "conntrack");
    assert_eq!((number(found, "/now"), number(found, "/limit")), (45, 50), "{found}");
    pairs.extend(connections(&namespace, &listener, 5));
    assert_state(&look(&["--watch", "0"]), "conntrack", "crit");

    // It is as it says: packets of new connections are dropped, and it counts them.
    let mut process = Guarded::start(namespace.enter(&doctor(&[
        "--json",
        "--fail-on",
        "never",
        "--watch",
        "1s",
    ])));
    let began = Instant::now();
    while process.child.try_wait().expect("wait").is_none() && began.elapsed() < PATIENCE {
        let refused = namespace.inside(|| {
            let client = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            client.connect_timeout(
                &SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)).into(),
                Duration::from_millis(50),
            )
        });
        assert!(refused.is_err(), "one more was let in");
    }
    let (lines, status, talk) = process.end(PATIENCE);
    assert!(status.success(), "{talk}");
    let dropping: Value = serde_json::from_str(&lines.concat()).expect("JSON");
    assert_state(&dropping, "conntrack", "crit");
    let found = check(&dropping, "conntrack");
    assert!(found["why"].as_str().expect("why").contains("were dropped"), "{found}");
    assert_eq!(found["in_s"], 0.0, "{found}");
    // Set on the host: a namespace shows the limit and cannot change it, and where the doctor
    // could tell that it looked from one it does not propose to.
    match found["set"].as_array().map(Vec::len) {
        Some(0) => write(MAX, "100"),
        _ => apply(found),
    }
    assert_state(&look(&["--watch", "0"]), "conntrack", "ok");
    pairs.extend(connections(&namespace, &listener, 1));
    pairs.into_iter().for_each(reset);
}
