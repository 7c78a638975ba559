//! The parsers on files as kernels print them and on damaged ones; the reader on this host.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};

use proptest::prelude::*;

use super::super::sock_diag::{Entry, Kind, SocketMemory};
use super::super::testing::eventually;
use super::*;
use crate::facts::causes::Causes;
use crate::facts::{FileNr, Softnet, Waits};
use crate::gauges::{Bytes, Pages};
use tracer_common::state::TcpState;

const SOFTNET_5_10: &str = "00a001be 00000001 00000008 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000\n";
const SOFTNET_6_18: &str = "04a001be 00000000 00000008 00000000 00000000 00000000 00000000 \
    00000000 00000000 00000000 00000000 00000005 00000000 00000000 00000000\n\
    04313843 0000000a 00000009 00000000 00000000 00000000 00000000 00000000 00000000 00000000 \
    00000000 00000000 00000001 00000000 00000000\n";

#[test]
fn softnet_of_old_and_new_kernels() {
    let old = parse::softnet(SOFTNET_5_10).unwrap();
    let counts = Softnet { cpus: 1, processed: 0xa0_01be, dropped: 1, squeezed: 8, backlog: None };
    assert_eq!(old, counts);
    let new = parse::softnet(SOFTNET_6_18).unwrap();
    assert_eq!((new.cpus, new.backlog, new.dropped), (2, Some(5), 10));
    assert_eq!((new.processed, new.squeezed), (0x04a0_01be + 0x0431_3843, 17));
    assert!(parse::softnet("").is_err());
    assert!(parse::softnet("00 11\n").is_err());
    assert!(parse::softnet("zz zz zz\n").is_err());
}

#[test]
fn one_line_files() {
    assert_eq!(
        parse::file_nr("595\t0\t9223372036854775807\n"),
        Ok(FileNr { allocated: 595, max: i64::MAX.cast_unsigned() })
    );
    assert!(parse::file_nr("595 0").is_err());
    assert!(parse::file_nr("a b c").is_err());
    assert_eq!(
        parse::meminfo_total("MemTotal:       24684084 kB\nMemFree: 1 kB\n"),
        Some(Bytes(24_684_084 << 10))
    );
    assert_eq!(parse::meminfo_total("MemFree: 1 kB\n"), None);
    assert_eq!(parse::keyed("anon 1\nsock 4096\nsocket 7\n", "sock"), Some(4096));
    assert_eq!(parse::keyed("sock\n", "sock"), None);
}

#[test]
fn udp_of_every_kernel() {
    let snmp = include_str!("../../../tests/proc/6.18/snmp");
    for sockstat in [
        include_str!("../../../tests/proc/5.10/sockstat"),
        include_str!("../../../tests/proc/7.3/sockstat"),
    ] {
        let udp = parse::udp(sockstat, snmp).unwrap();
        assert_eq!(udp.mem_errors, Some(0));
    }
    let udp = parse::udp("UDP: inuse 3 mem 77\nUDPLITE: inuse 0 mem 5\n", "").unwrap();
    assert_eq!((udp.mem, udp.mem_errors), (Pages(77), None));
    assert!(parse::udp("TCP: inuse 1 mem 2\n", snmp).is_err());
}

#[test]
fn limits_of_a_process() {
    let row = "Max open files            20000                unlimited            files     \n";
    assert_eq!(parse::open_files_limit(row), Some((20_000, u64::MAX)));
    assert_eq!(parse::open_files_limit("Max open files\n"), None);
    assert_eq!(parse::open_files_limit("Max open files x y\n"), None);
}

#[test]
fn conntrack_drops_are_found_by_name() {
    let text = "entries  clashres found new drop early_drop icmp_error\n\
                00000000 00000000 0000 000 0000000a 00000001 0\n\
                00000000 00000000 0000 000 00000000 00000010 0\n";
    assert_eq!(parse::conntrack_dropped(text), Some(27));
    assert_eq!(parse::conntrack_dropped("entries found\n0 0\n"), None);
    assert_eq!(parse::conntrack_dropped("drop early_drop\n0\n"), None);
}

proptest! {
    #[test]
    fn any_text_is_survived(text in "[ -~\n\t]{0,200}") {
        let _ = parse::softnet(&text);
        let _ = parse::file_nr(&text);
        let _ = parse::udp(&text, &text);
        let _ = parse::conntrack_dropped(&text);
        let _ = parse::open_files_limit(&text);
        let _ = parse::meminfo_total(&text);
        let _ = parse::keyed(&text, "sock");
        let _ = crate::facts::SettingLine::parse("f", 1, &text);
    }
}

pub(super) fn entry(kind: Kind, state: TcpState, local: u16, peer: &str) -> Entry {
    Entry {
        ipv6: false,
        kind,
        state,
        local: ([10, 0, 0, 4], local).into(),
        peer: peer.parse().unwrap(),
        inode: 1,
        cookie: 0,
        uid: 0,
        timer: 0,
        retransmits: 0,
        expires_ms: 0,
        rqueue: 0,
        wqueue: 0,
        shutdown: 0,
        cgroup_id: Some(7),
        memory: None,
        last_ack_ms: None,
    }
}

#[test]
fn a_dump_comes_to_a_summary() {
    let mut ages = ages::Ages::forgetting_after(2);
    let mut summary = sockets::Summary::of_test(&mut ages, &[9_981], (32_768, 60_999));
    let memory = SocketMemory { wmem_queued: 4_096, fwd_alloc: 96, ..SocketMemory::default() };
    let orphan = Entry {
        inode: 0,
        timer: Entry::TIMER_PROBE,
        memory: Some(memory),
        ..entry(Kind::Full, TcpState::FinWait1, 9_981, "192.0.2.7:40000")
    };
    summary.add(&orphan);
    let silent = Entry {
        timer: Entry::TIMER_RETRANSMIT,
        retransmits: 3,
        state: TcpState::LastAck,
        ..orphan
    };
    summary.add(&silent);
    summary.add(&entry(Kind::Request, TcpState::SynRecv, 9_981, "192.0.2.8:1"));
    summary.add(&entry(Kind::Minisocket, TcpState::TimeWait, 9_981, "192.0.2.8:2"));
    summary.add(&entry(Kind::Minisocket, TcpState::TimeWait, 40_000, "192.0.2.9:80"));
    summary.add(&entry(Kind::Minisocket, TcpState::FinWait2, 40_001, "192.0.2.9:80"));
    summary.add(&entry(Kind::Full, TcpState::Established, 40_001, "192.0.2.9:80"));
    // Bound by hand, outside of the range.
    summary.add(&entry(Kind::Full, TcpState::Established, 1_024, "192.0.2.9:80"));
    summary.tally.seal();
    let (seen, cgroups) = summary.finish(&mut holders::Holders::default());
    assert_eq!((seen.orphans.count, seen.orphans.bytes), (2, 2 * 4_192));
    let waits = Waits { probing: 1, retransmitting: 1, last_ack: 1 };
    assert_eq!(seen.orphans.waits, Some(waits));
    assert_eq!(seen.orphans.ports, [(9_981, 2)]);
    assert_eq!(seen.half_open, Ok(BTreeMap::from([(9_981, 1)])));
    let mini = seen.minisockets.unwrap();
    assert_eq!((mini.accepted, mini.connecting, mini.fin_wait2), (1, 2, 1));
    let destinations = seen.destinations.unwrap();
    let [destination] = &destinations[..] else { panic!("{destinations:?}") };
    assert_eq!((destination.ports, destination.time_wait), (2, 1));
    assert_eq!(cgroups, FxHashSet::from_iter([7]));
}

#[test]
fn sysctl_files_are_read_in_the_order_they_apply() {
    let root = std::env::temp_dir().join(format!("sockflow-sysctl-{}", std::process::id()));
    let write = |path: &str, text: &str| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("etc/sysctl.conf", "net.core.somaxconn=3\n");
    write("etc/sysctl.d/50-a.conf", "# a\nnet.core.somaxconn=2\nnet.ipv4.tcp_fastopen_key=12-34\n");
    // Hidden by the one of the same name in etc.
    write("usr/lib/sysctl.d/50-a.conf", "net.core.somaxconn=9\n");
    write("usr/lib/sysctl.d/10-b.conf", "net.core.somaxconn=1\nnet.ipv4.tcp_tw_recycle=1\n");
    write("usr/lib/sysctl.d/README", "net.core.somaxconn=9\n");
    write("proc/net/core/somaxconn", "4096\n");
    std::os::unix::fs::symlink("../sysctl.conf", root.join("etc/sysctl.d/99-sysctl.conf")).unwrap();
    std::os::unix::fs::symlink("nowhere", root.join("etc/sysctl.d/60-dangling.conf")).unwrap();
    let settings = boot::read(&root, &root.join("proc"));
    fs::remove_dir_all(&root).unwrap();
    let lines: Vec<String> = settings
        .lines
        .iter()
        .map(|line| format!("{}:{} {}", line.file, line.line, line.value.as_deref().unwrap()))
        .collect();
    assert_eq!(
        lines,
        [
            "/usr/lib/sysctl.d/10-b.conf:1 1",
            "/usr/lib/sysctl.d/10-b.conf:2 1",
            "/etc/sysctl.d/50-a.conf:2 2",
            "/etc/sysctl.d/50-a.conf:3 (hidden)",
            "/etc/sysctl.d/99-sysctl.conf:1 3"
        ]
    );
    let absent: Vec<&String> = settings.absent.iter().collect();
    assert_eq!(absent, ["net.ipv4.tcp_fastopen_key", "net.ipv4.tcp_tw_recycle"]);
}

#[test]
fn this_host_is_read() {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap().port();
    let mut reader = FactReader::open(Path::new("/"));
    let facts = reader.sample(Depth::Thorough);
    let brief = reader.sample(Depth::Brief);
    assert!(brief.at > facts.at);
    for facts in [&facts, &brief] {
        let listeners = facts.listeners.as_ref().unwrap();
        let listener = listeners.iter().find(|listener| listener.local.port() == port).unwrap();
        assert_eq!((listener.queue, listener.backlog), (0, 128));
        assert!(facts.gauges.is_ok() && facts.files.is_ok() && facts.softnet.is_ok());
    }
    assert!(facts.processes.as_ref().unwrap().worst.iter().all(|it| it.open > 0));
    assert!(facts.sockets.is_ok());
    assert!(brief.sockets.is_err() && brief.settings.is_err());
    drop(held);
}

/// Thorough samples, again and again, until there is something to see.
fn sampled<T>(reader: &mut FactReader, mut see: impl FnMut(&Causes, &Facts) -> Option<T>) -> T {
    eventually(|| {
        let facts = reader.sample(Depth::Thorough);
        let causes = facts.sockets.as_ref().unwrap().causes.as_ref().unwrap();
        see(causes, &facts)
    })
}

fn connect(listener: &TcpListener) -> TcpStream {
    TcpStream::connect(listener.local_addr().unwrap()).unwrap()
}

#[test]
fn this_hosts_half_closed_sockets_have_a_cause_and_an_owner() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let us = std::process::id();
    let mut kept = Vec::new();
    // Data unread; read up to the end; only the FIN unread; in the order in which they connect.
    for (sent, read) in [(&b"0123456789"[..], 4), (b"0123456789", 10), (b"", 0)] {
        let mut client = connect(&listener);
        client.write_all(sent).unwrap();
        drop(client);
        let (mut server, _) = listener.accept().unwrap();
        server.read_exact(&mut vec![0; read]).unwrap();
        kept.push(server);
    }
    // Shut down and kept, by the server and the client.
    let client = connect(&listener);
    let (server, _) = listener.accept().unwrap();
    server.shutdown(Shutdown::Write).unwrap();
    // Never accepted.
    let mut unaccepted = connect(&listener);
    unaccepted.write_all(b"12345").unwrap();
    drop(unaccepted);
    let mut reader = FactReader::open(Path::new("/"));
    let (row, fin_wait2) = sampled(&mut reader, |causes, facts| {
        let mut rows = causes.close_waits.iter().filter(|it| it.service.port == port);
        let row = rows.find(|it| it.service.accepted && it.count() == 4)?.clone();
        let mut shut = causes.fin_wait2s.iter();
        let shut = shut.find(|it| it.service.port == port && it.service.accepted)?.clone();
        let mine = facts.processes.as_ref().unwrap().worst.iter().find(|it| it.pid == us).unwrap();
        assert!(mine.watched && mine.open > 5);
        Some((row, shut))
    });
    assert_eq!(row.owner.as_ref().map(|owner| owner.0), Some(us));
    let counts = [row.never_accepted, row.unread_data, row.eof_unread, row.not_closed];
    assert_eq!(counts.map(|part| part.count), [1, 1, 1, 1], "{row:?}");
    assert_eq!(row.unread_bytes, 6 + 5);
    assert_eq!(fin_wait2.owner.map(|owner| owner.0), Some(us));
    // It waits longer and longer, at a listener of ours that is not stopped.
    let (wait, holder) = sampled(&mut reader, |_, facts| {
        let listeners = facts.listeners.as_ref().unwrap();
        let ours = listeners.iter().find(|it| it.local.port() == port).unwrap();
        assert_eq!((ours.queue, ours.owner.as_ref().map(|owner| owner.0)), (1, Some(us)));
        ours.oldest_wait_ms.filter(|age| *age > 0).zip(ours.holder)
    });
    assert!(wait < 60_000);
    assert_eq!((holder.holders, holder.stopped, holder.for_ms), (1, 0, 0));
    drop((client, server, kept));
}

#[test]
fn this_hosts_closed_sockets_are_found_at_who_keeps_them() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let us = std::process::id();
    let kept: Vec<TcpStream> = (0..40)
        .map(|_| {
            let client = connect(&listener);
            let (server, _) = listener.accept().unwrap();
            // Closed with unread data, it sends a reset.
            (&server).write_all(b"x").unwrap();
            client.peek(&mut [0]).unwrap();
            drop(client);
            server
        })
        .collect();
    // Other tests of this process open and close sockets of their own meanwhile: a sample counts
    // when it holds ours and few more.
    let count = |causes: &Causes| {
        let closed = causes.closed_fds.as_ref().ok()?;
        let ours = closed.processes.iter().find(|it| it.owner.0 == us)?;
        (closed.host >= 40 && (40..60).contains(&ours.count)).then_some(ours.oldest_ms)
    };
    // A second dump confirms them in the first sample of a reader.
    let mut reader = eventually(|| {
        let mut reader = FactReader::open(Path::new("/"));
        let facts = reader.sample(Depth::Thorough);
        let causes = facts.sockets.as_ref().unwrap().causes.as_ref().unwrap();
        count(causes).map(|_| reader)
    });
    sampled(&mut reader, |causes, _| count(causes).filter(|age_ms| *age_ms > 0));
    drop(kept);
    sampled(&mut reader, |causes, _| {
        let closed = causes.closed_fds.as_ref().unwrap();
        let ours = closed.processes.iter().find(|it| it.owner.0 == us);
        ours.is_none_or(|it| it.count < 20).then_some(())
    });
}

#[test]
fn this_hosts_memory_and_udp_drops_have_an_owner() {
    let us = std::process::id();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut client = connect(&listener);
    let (server, _) = listener.accept().unwrap();
    client.set_nonblocking(true).unwrap();
    let mut sent = 0;
    while let Ok(more) = client.write(&[7; 1 << 16]) {
        sent += more as u64;
    }
    let mut reader = FactReader::open(Path::new("/"));
    let (service, process) = sampled(&mut reader, |causes, _| {
        let memory = &causes.memory;
        let of_port = memory.services.iter().find(|it| it.0.port == port && it.0.accepted)?;
        let of_us = memory.processes.iter().find(|it| it.0.0 == us)?;
        Some((of_port.clone(), of_us.clone()))
    });
    // What the client could not send is in its queue; what it sent, in the server's.
    assert_eq!(service.1.as_ref().map(|owner| owner.0), Some(us));
    assert!(service.2.receive > 0 && service.2.send == 0, "{service:?}");
    assert!(process.1.receive + process.1.send >= sent, "{process:?} of {sent}");
    drop(server);

    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = receiver.local_addr().unwrap();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    rustix::net::sockopt::set_socket_recv_buffer_size(&receiver, 2_304).unwrap();
    let drops = sampled(&mut reader, |_, facts| {
        for _ in 0..20 {
            sender.send_to(&[7; 1_000], to).unwrap();
        }
        let sockets = facts.udp_sockets.as_ref().unwrap();
        sockets.iter().find(|it| it.local == to).cloned()
    });
    assert_eq!(drops.owner.map(|owner| owner.0), Some(us));
    assert_eq!(drops.drops, u64::from(drops.drops_ever), "all since watching began");
    assert!(drops.receive > 0 && drops.limit >= 2_304);
}

/// Established, idle and with data; CLOSE_WAIT; orphans; TIME_WAIT; a tenth connecting.
fn crowd(count: u32) -> Vec<Entry> {
    (0..count)
        .map(|number| {
            let (kind, state, inode) = match number % 20 {
                0..9 => (Kind::Full, TcpState::Established, 5 * u64::from(number) + 7),
                9..11 => (Kind::Full, TcpState::CloseWait, 5 * u64::from(number) + 7),
                11..13 => (Kind::Full, TcpState::FinWait1, 0),
                _ => (Kind::Minisocket, TcpState::TimeWait, 0),
            };
            let peer = std::net::Ipv4Addr::from(0xc000_0000 | (number & 0xffff));
            let connecting = number % 10 == 3;
            let local = if connecting { 32_768 + (number % 28_000) as u16 } else { 9_981 };
            let port = if connecting { 443 } else { 1_024 + (number % 60_000) as u16 };
            let full = kind == Kind::Full;
            Entry {
                peer: (peer, port).into(),
                inode,
                cookie: u64::from(number) + 1,
                rqueue: number % 3,
                memory: full.then_some(SocketMemory { rmem_alloc: 768, ..Default::default() }),
                ..entry(kind, state, local, "0.0.0.0:0")
            }
        })
        .collect()
}

#[test]
#[ignore = "a measurement"]
fn speed_of_a_summary() {
    const COUNT: u32 = 100_000;
    let crowd = crowd(COUNT);
    let mut ages = ages::Ages::forgetting_after(2);
    for round in 1..=5_u64 {
        ages.begin(Monotonic(round * 5_000_000_000));
        let mut summary = sockets::Summary::of_test(&mut ages, &[9_981], (32_768, 60_999));
        let began = std::time::Instant::now();
        crowd.iter().for_each(|entry| summary.add(std::hint::black_box(entry)));
        let added = began.elapsed();
        let began = std::time::Instant::now();
        summary.tally.seal();
        let mut found = holders::Holders::default();
        let process = found.add(u32::MAX - 1);
        for entry in &crowd {
            std::hint::black_box(summary.tally.claim(entry.inode, process));
        }
        let claimed = began.elapsed();
        let began = std::time::Instant::now();
        std::hint::black_box(summary.finish(&mut found));
        ages.end();
        println!(
            "{COUNT} sockets: {} ns each to add, {} ns to sort and claim, {} ns to finish",
            added.as_nanos() / u128::from(COUNT),
            claimed.as_nanos() / u128::from(COUNT),
            began.elapsed().as_nanos() / u128::from(COUNT)
        );
    }
}
