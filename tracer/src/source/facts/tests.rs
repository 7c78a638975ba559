//! The parsers on files as kernels print them and on damaged ones; the reader on this host.

use std::collections::BTreeMap;
use std::net::TcpListener;

use proptest::prelude::*;

use super::super::sock_diag::{Entry, Kind, SocketMemory};
use super::*;
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

fn entry(kind: Kind, state: TcpState, local: u16, peer: &str) -> Entry {
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
    }
}

#[test]
fn a_dump_comes_to_a_summary() {
    let mut summary = sockets::Summary::new(&[9_981], (32_768, 60_999));
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
    let (seen, cgroups) = summary.finish();
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
    assert_eq!(cgroups, HashSet::from([7]));
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
