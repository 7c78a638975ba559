//! TCP's memory: every time the kernel's pressure begins and ends, and memory that it refuses.
//! `tcp_mem` is the host's; the guards put it back.

use crate::support;

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use socket2::SockRef;
use support::books::our_namespace;
use support::edge::fill_all;
use support::{
    Guarded, Keep, PATIENCE, PORT, Top, assert_complete, number, row, sockflow, tcp_ext, turn,
    under_pressure,
};

const TCP_MEM: &str = "/proc/sys/net/ipv4/tcp_mem";

/// More of TCP's memory, held, than the kernel's books may be off (256 pages a CPU).
struct Held {
    listener: TcpListener,
    servers: Vec<TcpStream>,
    clients: Vec<TcpStream>,
}

impl Held {
    fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 9985)).expect("listen");
        let mut held = Self { listener, servers: Vec::new(), clients: Vec::new() };
        let cpus = std::thread::available_parallelism().expect("CPUs").get();
        held.more(32 * cpus);
        held
    }

    /// Asks for more, so that the kernel looks at its limits.
    fn more(&mut self, pairs: usize) {
        let had = self.servers.len();
        for _ in 0..pairs {
            let client = TcpStream::connect((Ipv4Addr::LOCALHOST, 9985)).expect("connect");
            let (server, _) = self.listener.accept().expect("accept");
            SockRef::from(&server).set_send_buffer_size(64 << 10).expect("a buffer");
            self.servers.push(server);
            self.clients.push(client);
        }
        fill_all(&mut self.servers[had..]);
    }
}

/// The next line of `trace` that tells of the pressure, while sockets ask for memory.
fn pressure_told(trace: &mut Guarded, mut ask: impl FnMut()) -> Value {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        ask();
        while let Some(line) = trace.line_within(Duration::from_millis(100)) {
            let event: Value = serde_json::from_str(&line).expect("JSON");
            if event["kind"] == "pressure" {
                return event;
            }
        }
    }
    panic!("the pressure's change was not told");
}

#[test]
fn pressure_is_told_each_time_it_begins_and_ends() {
    const ROUNDS: u64 = 3;
    let _turn = turn();
    let limits = Keep::setting("net.ipv4.tcp_mem");
    let as_it_was = fs::read_to_string(TCP_MEM).expect("tcp_mem");
    assert!(!under_pressure());
    let before = tcp_ext("TCPMemoryPressures");
    let mut top = Top::start(&["--netns", &our_namespace(), "--interval", "100ms"]);
    let hooked = top.snapshots[0]["fidelity"]["mem_pressure"] == "exact";
    if !hooked {
        assert_eq!(top.snapshots[0]["fidelity"]["mem_pressure"], "sampled");
    }
    let mut trace = Guarded::start(sockflow(&["trace", "--json", "--port", "9981"]));
    // It traces when it tells of a connection.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT)).expect("listen");
    let mut connections = 0;
    while trace.line_within(Duration::from_millis(200)).is_none() {
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, PORT)).expect("connect"));
        drop(listener.accept().expect("accept"));
        connections += 1;
        assert!(connections < 300, "trace never told of a connection");
    }
    drop(listener);
    let mut told = Vec::new();
    for _ in 0..ROUNDS {
        // What is held is above 2 pages, and far below the usual limit.
        let mut held = Held::new();
        fs::write(TCP_MEM, "1 2 1000000").expect("tcp_mem");
        told.push(pressure_told(&mut trace, || held.more(1)));
        assert!(under_pressure());
        top.until("pressure", |snapshot| snapshot["tcp_mem"]["state"] == "pressure");
        fs::write(TCP_MEM, as_it_was.trim()).expect("tcp_mem");
        told.push(pressure_told(&mut trace, || held.more(1)));
        assert!(!under_pressure());
        top.until("no pressure", |snapshot| snapshot["tcp_mem"]["state"] == "ok");
    }
    assert!(limits.is_as_before());
    let entered = tcp_ext("TCPMemoryPressures") - before;
    trace.signal(Signal::TERM);
    let (_, status, talk) = trace.end(PATIENCE);
    assert!(status.success(), "{talk}");
    let last = top.last_at_rest_here();
    assert_complete(&last);
    let reasons: Vec<&str> =
        told.iter().map(|event| event["reason"].as_str().expect("a reason")).collect();
    assert_eq!(reasons, ["begins", "ends"].repeat(ROUNDS as usize));
    for event in &told {
        assert_eq!(event["schema"], "sockflow.event/1");
        assert_eq!(event.get("socket"), None, "it is of no socket: {event}");
    }
    assert_eq!(entered, ROUNDS);
    assert_eq!(number(&last, "/tcp_mem/entered"), ROUNDS, "{last}");
}

#[test]
fn refused_memory_is_counted_where_it_was_refused() {
    let _turn = turn();
    let _limits = Keep::setting("net.ipv4.tcp_mem");
    let held = Held::new();
    let top = Top::start(&["--netns", &our_namespace()]);
    assert_eq!(top.snapshots[0]["fidelity"]["mem_refused"], "exact");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT)).expect("listen");
    let client = TcpStream::connect((Ipv4Addr::LOCALHOST, PORT)).expect("connect");
    let (mut server, _) = listener.accept().expect("accept");
    server.set_nonblocking(true).expect("non-blocking");
    // A buffer of its own choice is not made smaller where memory is short: it is refused instead.
    SockRef::from(&server).set_send_buffer_size(256 << 10).expect("a buffer");
    fs::write(TCP_MEM, "1 2 3").expect("tcp_mem");
    // It sends as much as it may; nobody reads. Beyond what is its in any case (tcp_wmem's first
    // number) the kernel refuses.
    let mut sent = 0;
    let began = Instant::now();
    loop {
        match server.write(&[0; 65_536]) {
            Ok(some) => sent += some,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
        assert!(began.elapsed() < PATIENCE, "it could send {sent} bytes");
    }
    let last = top.last_at_rest_here();
    drop((server, client, held));
    let refused = number(row(&last, PORT, "in"), "/memory_refused");
    assert!(refused > 0, "{last}");
    assert!(number(&last, "/tcp_mem/refused") >= refused, "{last}");
}
