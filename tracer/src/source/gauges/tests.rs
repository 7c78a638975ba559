//! The parsers on files captured from real kernels, and on damaged ones.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use proptest::prelude::*;

use super::super::testing::InNetns;
use super::*;

macro_rules! captured {
    ($kernel:literal) => {
        Captured {
            kernel: $kernel,
            sockstat: include_str!(concat!("../../../tests/proc/", $kernel, "/sockstat")),
            sockstat6: include_str!(concat!("../../../tests/proc/", $kernel, "/sockstat6")),
            in_netns: include_str!(concat!("../../../tests/proc/", $kernel, "/netns/sockstat")),
            netstat: include_str!(concat!("../../../tests/proc/", $kernel, "/netstat")),
            protocols: include_str!(concat!("../../../tests/proc/", $kernel, "/protocols")),
            snmp: include_str!(concat!("../../../tests/proc/", $kernel, "/snmp")),
            tcp_mem: include_str!(concat!("../../../tests/proc/", $kernel, "/tcp_mem")),
            max_orphans: include_str!(concat!("../../../tests/proc/", $kernel, "/tcp_max_orphans")),
            max_tw: include_str!(concat!("../../../tests/proc/", $kernel, "/tcp_max_tw_buckets")),
        }
    };
}

struct Captured {
    kernel: &'static str,
    sockstat: &'static str,
    sockstat6: &'static str,
    in_netns: &'static str,
    netstat: &'static str,
    protocols: &'static str,
    snmp: &'static str,
    tcp_mem: &'static str,
    max_orphans: &'static str,
    max_tw: &'static str,
}

const CAPTURED: [Captured; 5] =
    [captured!("5.10"), captured!("6.1"), captured!("6.12"), captured!("6.18"), captured!("7.3")];

fn kernel(name: &str) -> &'static Captured {
    CAPTURED.iter().find(|c| c.kernel == name).unwrap()
}

#[test]
fn sockstat_of_every_kernel() {
    for c in &CAPTURED {
        let counts = parse_sockstat(c.sockstat);
        assert_eq!(counts.orphan, Some(5), "{}", c.kernel);
        assert_eq!(counts.tw, Some(7), "{}", c.kernel);
        assert_eq!(parse_sockstat6(c.sockstat6), Some(9), "{}", c.kernel);
    }
    let counts = parse_sockstat(kernel("7.3").sockstat);
    assert_eq!(
        counts,
        SocketCounts {
            inuse: Some(11),
            inuse6: None,
            orphan: Some(5),
            tw: Some(7),
            alloc: Some(20),
            mem: Some(Pages(3096)),
        }
    );
}

#[test]
fn orphans_and_memory_are_the_hosts_and_minisockets_are_not() {
    for c in &CAPTURED {
        let host = parse_sockstat(c.sockstat);
        let netns = parse_sockstat(c.in_netns);
        assert_eq!(netns.orphan, host.orphan, "{}", c.kernel);
        assert_eq!(netns.alloc, host.alloc, "{}", c.kernel);
        assert!(netns.mem.is_some(), "{}", c.kernel);
        assert_eq!(netns.inuse, Some(0), "{}", c.kernel);
        assert_eq!(netns.tw, Some(0), "{}", c.kernel);
    }
}

#[test]
fn protocols_of_every_kernel() {
    for c in &CAPTURED {
        let memory = parse_protocols(c.protocols);
        let mem = parse_sockstat(c.sockstat).mem;
        assert_eq!(memory.pages, mem, "{}", c.kernel);
        assert_eq!(memory.pressure, Some(false), "{}", c.kernel);
        let pressed = c.protocols.replace(" no ", " yes");
        assert_eq!(parse_protocols(&pressed).pressure, Some(true));
    }
}

#[test]
fn a_protocol_without_the_flag_is_unknown() {
    let text = "protocol size sockets memory press\nTCP 1 2 -1 NI\n";
    assert_eq!(parse_protocols(text), ProtocolMemory::default());
    assert_eq!(parse_protocols("protocol\nTCP"), ProtocolMemory::default());
    // MPTCP and TCPv6 are other rows.
    let text = "protocol memory press\nMPTCP 1 yes\nTCPv6 2 yes\n";
    assert_eq!(parse_protocols(text), ProtocolMemory::default());
}

#[test]
fn counters_of_every_kernel() {
    for c in &CAPTURED {
        let ext = parse_counters(c.netstat, "TcpExt:", &TCP_EXT);
        assert_eq!(ext.len(), TCP_EXT.len(), "{}: {ext:?}", c.kernel);
        assert!(ext["TCPAbortOnClose"] >= 2, "{}", c.kernel);
        assert_eq!(ext["TCPAbortOnMemory"], 0, "{}", c.kernel);
        let tcp = parse_counters(c.snmp, "Tcp:", &TCP);
        assert_eq!(tcp.len(), TCP.len(), "{}: {tcp:?}", c.kernel);
        assert!(tcp["OutRsts"] >= 2, "{}", c.kernel);
    }
    // 5.10 counts a minisocket when it ends, later kernels when it begins.
    let tw = |name| parse_counters(kernel(name).netstat, "TcpExt:", &["TW"])["TW"];
    assert_eq!((tw("5.10"), tw("6.1"), tw("7.3")), (0, 7, 7));
}

#[test]
fn counters_the_kernel_lacks_are_left_out() {
    let text = "TcpExt: TW Odd Huge\nTcpExt: 3 -1 99999999999999999999\n";
    let found = parse_counters(text, "TcpExt:", &["TW", "Odd", "Huge", "Lacking"]);
    assert_eq!(found, BTreeMap::from([("TW", 3)]));
    let found = parse_counters("TcpExt: TW\n", "TcpExt:", &["TW"]);
    assert!(found.is_empty());
}

#[test]
fn limits_of_every_kernel() {
    for c in &CAPTURED {
        let mem = parse_tcp_mem(c.tcp_mem).unwrap();
        assert!(mem.low < mem.pressure && mem.pressure < mem.high, "{}", c.kernel);
        let small = if c.kernel == "6.18" { 131_072 } else { 4096 };
        assert_eq!(parse_number(c.max_orphans), Some(small));
        assert_eq!(parse_number(c.max_tw), Some(small));
    }
    assert_eq!(
        parse_tcp_mem(kernel("7.3").tcp_mem),
        Some(MemLimits { low: Pages(10_620), pressure: Pages(14_160), high: Pages(21_240) })
    );
    assert_eq!(parse_tcp_mem("1 2"), None);
    assert_eq!(parse_tcp_mem("1 2 3 4"), None);
    assert_eq!(parse_tcp_mem("1 -2 3"), None);
}

#[test]
fn nothing_is_unknown_and_not_zero() {
    assert_eq!(parse_sockstat(""), SocketCounts::default());
    assert_eq!(SocketCounts::default().orphan, None);
    assert_eq!(parse_protocols(""), ProtocolMemory::default());
    assert_eq!(parse_tcp_mem(""), None);
    assert_eq!(parse_number("\n"), None);
    let huge = "TCP: inuse 184467440737095516160 orphan 7";
    let counts = parse_sockstat(huge);
    assert_eq!((counts.inuse, counts.orphan), (None, Some(7)));
}

#[test]
fn pages_become_bytes() {
    assert_eq!(Pages(3).bytes(Bytes(4096)), Bytes(12_288));
    assert_eq!(Pages(u64::MAX).bytes(Bytes(4096)), Bytes(u64::MAX));
}

/// Text that looks like the files: their words in any order, with odd numbers and blanks.
fn resembling() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("TCP:".to_owned()),
        Just("TCP".to_owned()),
        Just("TcpExt:".to_owned()),
        Just("protocol".to_owned()),
        Just("memory".to_owned()),
        Just("press".to_owned()),
        Just("yes".to_owned()),
        Just("orphan".to_owned()),
        Just("mem".to_owned()),
        Just("TW".to_owned()),
        any::<i128>().prop_map(|n| n.to_string()),
        any::<u64>().prop_map(|n| n.to_string()),
        "\\PC{0,5}",
    ];
    let blank = prop_oneof![Just(" "), Just("  "), Just("\n"), Just("\t"), Just("\r\n")];
    proptest::collection::vec((word, blank), 0..60)
        .prop_map(|words| words.into_iter().fold(String::new(), |t, (w, b)| t + &w + b))
}

fn parse_everything(text: &str) {
    let _ = parse_sockstat(text);
    let _ = parse_sockstat6(text);
    let _ = parse_protocols(text);
    let _ = parse_counters(text, "TcpExt:", &TCP_EXT);
    let _ = parse_tcp_mem(text);
    let _ = parse_number(text);
}

proptest! {
    #[test]
    fn any_text_is_survived(text in "(?s).{0,300}") {
        parse_everything(&text);
    }

    #[test]
    fn text_that_resembles_the_files_is_survived(text in resembling()) {
        parse_everything(&text);
    }

    #[test]
    fn a_file_cut_short_never_changes_a_number_before_the_cut(at in 0usize..4300) {
        let text = kernel("6.18").netstat;
        let at = at.min(text.len());
        let whole = parse_counters(text, "TcpExt:", &TCP_EXT);
        // The last word may be cut in the middle of a number.
        let cut = text[..at].rsplit_once(' ').map_or("", |(kept, _)| kept);
        for (name, value) in parse_counters(cut, "TcpExt:", &TCP_EXT) {
            prop_assert_eq!(whole[name], value);
        }
    }

    #[test]
    fn columns_are_found_in_any_order(
        order in Just(vec![0usize, 1, 2, 3, 4]).prop_shuffle(),
        numbers in any::<[u64; 5]>(),
    ) {
        const NAMES: [&str; 5] = ["inuse", "orphan", "tw", "alloc", "mem"];
        let line = order.iter().fold("TCP:".to_owned(), |line, &i| {
            format!("{line} {} {}", NAMES[i], numbers[i])
        });
        let counts = parse_sockstat(&format!("sockets: used 3\n{line}\nNEW: x\n"));
        prop_assert_eq!(counts, SocketCounts {
            inuse: Some(numbers[0]),
            inuse6: None,
            orphan: Some(numbers[1]),
            tw: Some(numbers[2]),
            alloc: Some(numbers[3]),
            mem: Some(Pages(numbers[4])),
        });
    }
}

#[test]
fn the_running_kernel_is_read_anew_each_time() {
    let mut reader = GaugeReader::open(Place::Own).unwrap();
    let first = reader.sample();
    assert!(first.sockets.inuse.is_some());
    assert!(first.sockets.orphan.is_some());
    assert!(first.memory.pressure.is_some());
    assert_eq!(first.tcp_ext.len(), TCP_EXT.len());
    assert!(first.limits.page >= Bytes(4096));

    // A close with unread data is counted at once.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    client.write_all(b"never read").unwrap();
    let _ = server.peek(&mut [0]).unwrap();
    drop(server);
    let second = reader.sample();
    assert!(second.tcp_ext["TCPAbortOnClose"] > first.tcp_ext["TCPAbortOnClose"]);
    assert!(second.tcp["PassiveOpens"] > first.tcp["PassiveOpens"]);
}

#[test]
fn another_namespace_is_read_by_process_and_by_path() {
    let Some(other) = InNetns::start() else {
        return;
    };
    let (pid, path) = (other.pid(), other.path());
    // Something stands in ours that must not show there.
    let _listener = TcpListener::bind("127.0.0.1:0").unwrap();
    for place in [Place::Process(pid), Place::Path(Path::new(&path))] {
        let there = GaugeReader::open(place).unwrap().sample();
        assert_eq!(there.sockets.inuse, Some(0), "{place:?}");
        assert_eq!(there.tcp["PassiveOpens"], 0, "{place:?}");
        // The limit of minisockets is the namespace's own.
        assert!(there.limits.max_tw_buckets.is_some(), "{place:?}");
        let here = GaugeReader::open(Place::Own).unwrap().sample();
        assert_eq!(there.limits.max_orphans, here.limits.max_orphans);
        assert_eq!(there.limits.tcp_mem, here.limits.tcp_mem);
    }
    // Host-wide limits cannot be opened inside it.
    let opened = namespaces::inside(Path::new(&path), || Ok(sysctl("tcp_max_orphans"))).unwrap();
    assert!(opened.is_none());
    // An open reader outlives the namespace's last process.
    let mut reader = GaugeReader::open(Place::Process(pid)).unwrap();
    drop(other);
    assert_eq!(reader.sample().sockets.inuse, Some(0));
}

#[test]
fn no_such_process_is_an_error() {
    let error = GaugeReader::open(Place::Process(u32::MAX)).unwrap_err();
    assert!(format!("{error:#}").contains("/net/sockstat"), "{error:#}");
}

#[test]
#[ignore = "a measurement"]
fn cost_of_a_sample() {
    let mut reader = GaugeReader::open(Place::Own).unwrap();
    let start = Instant::now();
    for _ in 0..1000 {
        let _ = reader.sample();
    }
    println!("{:?} a sample", start.elapsed() / 1000);
}
