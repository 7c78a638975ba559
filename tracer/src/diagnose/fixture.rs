//! Hosts made by hand: one that is well, and the one of the story.

use std::collections::BTreeMap;

use crate::facts::causes::Causes;
use crate::facts::elsewhere::Elsewhere;
use crate::facts::*;
use crate::gauges::*;
use crate::time::Monotonic;

/// A server with 24 GiB of memory that is well.
pub(crate) fn healthy() -> Facts {
    let sysctls = [
        ("fs.file-max", "2466170"),
        ("fs.nr_open", "1048576"),
        ("net.core.netdev_max_backlog", "1000"),
        ("net.core.somaxconn", "4096"),
        ("net.ipv4.ip_local_port_range", "32768 60999"),
        ("net.ipv4.ip_local_reserved_ports", ""),
        ("net.ipv4.tcp_ehash_entries", "262144"),
        ("net.ipv4.tcp_fin_timeout", "60"),
        ("net.ipv4.tcp_max_orphans", "131072"),
        ("net.ipv4.tcp_max_syn_backlog", "2048"),
        ("net.ipv4.tcp_max_tw_buckets", "131072"),
        ("net.ipv4.tcp_mem", "287898 383867 575796"),
        ("net.ipv4.tcp_orphan_retries", "0"),
        ("net.ipv4.tcp_rmem", "4096 131072 33554432"),
        ("net.ipv4.tcp_syncookies", "1"),
        ("net.ipv4.tcp_timestamps", "1"),
        ("net.ipv4.tcp_tw_reuse", "2"),
        ("net.ipv4.tcp_tw_reuse_delay", "1000"),
        ("net.ipv4.tcp_wmem", "4096 16384 4194304"),
        ("net.ipv4.udp_mem", "575799 767732 1151598"),
        ("net.netfilter.nf_conntrack_buckets", "65536"),
        ("net.netfilter.nf_conntrack_max", "262144"),
    ];
    Facts {
        at: Monotonic(0),
        detail_at: None,
        sparse: false,
        kernel: "6.18.44".into(),
        memory: Ok(Bytes(24_684_084 << 10)),
        gauges: Ok(Gauges {
            sockets: SocketCounts {
                inuse: Some(3_204),
                inuse6: Some(12),
                orphan: Some(96),
                tw: Some(2_010),
                alloc: Some(3_310),
                mem: Some(Pages(4_120)),
            },
            memory: ProtocolMemory { pages: Some(Pages(4_120)), pressure: Some(false) },
            tcp_ext: BTreeMap::from([
                ("TCPAbortOnMemory", 0),
                ("TCPTimeWaitOverflow", 0),
                ("TCPMemoryPressures", 0),
                ("TCPReqQFullDrop", 0),
                ("TCPReqQFullDoCookies", 0),
            ]),
            tcp: BTreeMap::new(),
            limits: Limits {
                max_orphans: Some(131_072),
                tcp_mem: Some(MemLimits {
                    low: Pages(287_898),
                    pressure: Pages(383_867),
                    high: Pages(575_796),
                }),
                max_tw_buckets: Some(131_072),
                page: Bytes(4096),
            },
        }),
        sysctls: sysctls.map(|(name, value)| (name.into(), value.into())).into(),
        changes: Vec::new(),
        first_netns: Some(true),
        files: Ok(FileNr { allocated: 9_120, max: 2_466_170 }),
        processes: Ok(Processes {
            worst: vec![process(4_121, "httpdns", 3_203, 65_536), process(1, "init", 90, 1_024)],
            seen: 212,
            denied: 0,
        }),
        listeners: Ok(vec![listener(22, 0, 128), listener(9_981, 3, 4_096)]),
        sockets: Ok(Sockets {
            orphans: Orphans {
                count: 96,
                bytes: 96 << 14,
                waits: Some(Waits { probing: 2, retransmitting: 90, last_ack: 4 }),
                ports: vec![(9_981, 96)],
            },
            half_open: Ok(BTreeMap::from([(9_981, 12)])),
            minisockets: Ok(Minisockets { accepted: 1_990, connecting: 20, fin_wait2: 300 }),
            destinations: Ok(vec![destination("192.0.2.7:5432", 212, 20)]),
            namespaces_denied: 0,
            causes: Ok(Causes::default()),
        }),
        udp_sockets: Ok(Vec::new()),
        elsewhere: Ok(Elsewhere::default()),
        udp: Ok(Udp { mem: Pages(40), mem_errors: Some(0), rcvbuf_errors: Some(0) }),
        conntrack: Ok(Conntrack { count: 54_000, max: 262_144, dropped: Some(0) }),
        softnet: Ok(Softnet {
            cpus: 2,
            processed: 200_000,
            dropped: 0,
            squeezed: 16,
            backlog: Some(0),
        }),
        cgroups: Ok(vec![CgroupMemory {
            path: "/system.slice/httpdns.service".into(),
            sock: 190 << 20,
            current: 1 << 30,
            max: Some(8 << 30),
            max_events: 0,
            oom_kills: 0,
        }]),
        settings: Ok(Settings::default()),
    }
}

pub(crate) fn process(pid: u32, comm: &str, open: u64, soft: u64) -> ProcessFds {
    ProcessFds { pid, comm: comm.into(), open, soft, hard: soft * 8, watched: false }
}

pub(crate) fn listener(port: u16, queue: u32, backlog: u32) -> Listener {
    Listener {
        local: ([0, 0, 0, 0], port).into(),
        queue,
        backlog,
        drops: Some(0),
        inode: u64::from(port) + 70_000,
        owner: (queue > 0).then(|| (4_121, "httpdns".into())),
        holder: None,
        oldest_wait_ms: None,
    }
}

pub(crate) fn destination(peer: &str, ports: u64, time_wait: u64) -> Destination {
    Destination { local: [10, 0, 0, 4].into(), peer: peer.parse().unwrap(), ports, time_wait }
}

/// The host of the story: 118,204 orphans and 297 more a second, memory in pressure, TIME_WAIT
/// full, the accept queue full, and the sysctl list of the article in its files.
pub(crate) fn story() -> Facts {
    let mut facts = healthy();
    let gauges = facts.gauges.as_mut().unwrap();
    gauges.sockets.orphan = Some(118_204);
    gauges.sockets.tw = Some(131_072);
    gauges.sockets.mem = Some(Pages(512_400));
    gauges.memory.pressure = Some(true);
    let sockets = facts.sockets.as_mut().unwrap();
    sockets.orphans = Orphans {
        count: 118_204,
        bytes: 118_204 << 14,
        waits: Some(Waits { probing: 310, retransmitting: 116_930, last_ack: 292 }),
        ports: vec![(9_981, 118_108), (443, 96)],
    };
    sockets.minisockets = Ok(Minisockets { accepted: 130_900, connecting: 172, fin_wait2: 1_204 });
    facts.listeners = Ok(vec![listener(22, 0, 128), listener(9_981, 4_097, 4_096)]);
    facts.processes.as_mut().unwrap().worst =
        vec![process(4_121, "httpdns", 60_294, 65_536), process(1, "init", 90, 1_024)];
    let text = include_str!("../../tests/sysctl/article.conf");
    let settings = facts.settings.as_mut().unwrap();
    settings.lines = lines(text);
    settings.absent =
        ["tcp_tw_recycle", "tcp_tw_timeout"].map(|name| format!("net.ipv4.{name}")).into();
    facts
}

/// The lines of a file.
pub(crate) fn lines(text: &str) -> Vec<SettingLine> {
    text.lines()
        .enumerate()
        .filter_map(|(at, line)| SettingLine::parse("/etc/sysctl.conf", at + 1, line))
        .collect()
}

/// 3 s in 13 samples that end with `last`; `step` makes a sample of so many steps before it.
pub(crate) fn watched(last: Facts, step: impl Fn(&mut Facts, u64)) -> super::Watch {
    let at = |facts: &mut Facts, back: u64| facts.at = Monotonic((12 - back) * 250_000_000);
    let before = (1..=12)
        .rev()
        .map(|back| {
            let mut facts = last.clone();
            at(&mut facts, back);
            step(&mut facts, back);
            facts
        })
        .collect();
    let mut last = last;
    at(&mut last, 0);
    super::Watch::new(before, last)
}

/// [`story`], watched.
pub(crate) fn story_watched() -> super::Watch {
    watched(story(), |facts, back| {
        let gauges = facts.gauges.as_mut().unwrap();
        gauges.sockets.orphan = Some(118_204 - back * 297 / 4);
        gauges.sockets.mem = Some(Pages(512_400 - back * 300));
        facts.listeners.as_mut().unwrap()[1].drops = Some(0);
    })
}
