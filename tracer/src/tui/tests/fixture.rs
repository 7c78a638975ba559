//! A server in trouble, and one that is not: the same on every machine and every day.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::aggregate::snapshot::*;
use crate::time::Wall;
use crate::workload::Workload;

/// 2026-11-22T08:42:10Z, which is 16:42:10 in the zone of the tests.
pub(crate) const NOW: Wall = Wall(1_795_336_930_000_000_000);

const SECOND: i64 = 1_000_000_000;

fn ago(seconds: i64) -> Wall {
    Wall(NOW.0 - seconds * SECOND)
}

/// Orphans 43 s before the limit, tcp_mem under pressure.
pub(crate) fn crisis() -> Snapshot {
    let ports = vec![
        httpdns_port(),
        PortRow {
            workload: Some("docker:3f4c1a9b0d2e".into()),
            ..port(443, Direction::In, Some((1877, "nginx")), [3_120, 214, 90, 2, 1], 96)
        },
        port(5432, Direction::Out, Some((4121, "httpdns")), [64, 0, 0, 0, 0], 0),
        port(9100, Direction::In, Some((980, "node_exporter")), [12, 0, 0, 0, 0], 0),
        port(22, Direction::In, Some((701, "sshd")), [4, 0, 0, 0, 0], 0),
    ];
    Snapshot {
        schema: SCHEMA,
        time: NOW,
        elapsed_s: 360.0,
        source: SourceKind::Live,
        host: Host {
            name: "web-17".into(),
            kernel: "6.18.44".into(),
            boot_id: "00000000-0000-0000-0000-000000000000".into(),
        },
        states: States {
            listen: 5,
            syn_sent: 0,
            syn_recv: 2,
            established: 24_680,
            fin_wait1: 118_126,
            fin_wait2: 1_294,
            close_wait: 312,
            last_ack: 293,
            closing: 0,
            time_wait: 129_778,
        },
        states_per_s: StateRates {
            established: 12.0,
            fin_wait1: 297.0,
            fin_wait2: 8.0,
            close_wait: 0.0,
            last_ack: 1.0,
            closing: 0.0,
            time_wait: 0.0,
        },
        totals: Totals {
            opened: 9_120_400,
            closed: 8_976_230,
            standing: 535,
            orphaned: 8_801_210,
            time_wait: 8_700_118,
            resets_in: 4_410,
            resets_out: 912,
        },
        resets_out_unseen: Some(0),
        totals_per_s: TotalRates {
            opened: 49_300.0,
            closed: 49_002.0,
            orphaned: 48_900.0,
            time_wait: 48_600.0,
            resets_in: 12.0,
            resets_out: 3.0,
        },
        orphans: Orphans {
            host: 118_300,
            limit: Some(131_072),
            tracked: 118_300,
            by_state: OrphanStates { fin_wait1: 118_007, last_ack: 293, closing: 0, fin_wait2: 0 },
            bytes: 2_042_000_000,
            growth_per_s: Some(297.0),
            growth_seen_s: 30.0,
            limit_in_s: Some(43.0),
            killed: 0,
            drift: 0,
        },
        tcp_mem: TcpMem {
            pages: 521_020,
            low: Some(380_304),
            pressure: Some(507_072),
            high: Some(585_100),
            page_bytes: 4096,
            state: MemState::Pressure,
            entered: 1,
            refused: None,
            growth_per_s: Some(1_209.0),
            growth_seen_s: 30.0,
            limit_in_s: Some(53.0),
            held_by: None,
        },
        namespaces: None,
        tw_buckets: TwBuckets { now: 131_072, limit: 131_072, fin_wait2: Some(1_294) },
        minisockets: None,
        ports,
        processes: processes(),
        counters: BTreeMap::from([
            ("ListenDrops", 1_204),
            ("ListenOverflows", 1_204),
            ("TCPAbortOnMemory", 0),
            ("TCPAbortOnTimeout", 172),
            ("TCPMemoryPressures", 1),
            ("TCPTimeWaitOverflow", 45_210),
        ]),
        sockets_age_s: None,
        lost: Lost::default(),
        fidelity: FidelityTable::from([
            ("state", Fidelity::Exact),
            ("orphan_begin", Fidelity::Exact),
            ("orphan_end", Fidelity::Exact),
            ("time_wait", Fidelity::Derived),
            ("mem_pressure", Fidelity::Sampled),
            ("owner", Fidelity::Exact),
        ]),
        unseen: Vec::new(),
        own_cost: OwnCost { cpu_percent: 0.9, rss_bytes: 39_845_888, events_per_s: 412_000.0 },
        state_changes: 9_301_744,
        verdict: Verdict {
            severity: Severity::Crit,
            text: "orphans 118,300 of 131,072 (90%) +297/s, limit reached in 43 s".into(),
        },
        filter: String::new(),
        interval_s: 1.0,
        findings: vec![finding()],
        anomalies: anomalies(),
        bad_ends: bad_ends(),
        history: Arc::new(history(118_300)),
    }
}

/// The same host on an ordinary day.
pub(crate) fn calm() -> Snapshot {
    let mut calm = crisis();
    calm.states.fin_wait1 = 214;
    calm.states.time_wait = 31_200;
    calm.states_per_s.fin_wait1 = 0.2;
    calm.orphans = Orphans {
        host: 310,
        limit: Some(131_072),
        tracked: 310,
        by_state: OrphanStates { fin_wait1: 306, last_ack: 4, closing: 0, fin_wait2: 0 },
        bytes: 1_310_720,
        ..Orphans::default()
    };
    calm.tcp_mem = TcpMem {
        pages: 21_000,
        state: MemState::Ok,
        entered: 0,
        growth_per_s: Some(0.0),
        limit_in_s: None,
        ..calm.tcp_mem
    };
    calm.tw_buckets.now = 31_400;
    if let Some(first) = calm.ports.first_mut() {
        first.states.fin_wait1 = 210;
        first.orphans = 214;
        first.growth_per_s = Some(0.0);
        first.orphan_bytes = 900_000;
    }
    calm.verdict =
        Verdict { severity: Severity::Ok, text: "orphans 310 of 131,072 (<1%), steady".into() };
    calm.findings.clear();
    calm.anomalies.clear();
    calm.history = Arc::new(history(310));
    calm
}

/// Nothing has connected yet.
pub(crate) fn empty() -> Snapshot {
    let mut empty = calm();
    empty.states = States { listen: 1, ..States::default() };
    empty.states_per_s = StateRates::default();
    empty.totals = Totals::default();
    empty.totals_per_s = TotalRates::default();
    empty.orphans = Orphans { limit: Some(131_072), ..Orphans::default() };
    empty.tw_buckets.now = 0;
    empty.tcp_mem.pages = 12;
    empty.ports.clear();
    empty.processes.clear();
    empty.filter = "port = 9981".into();
    empty.own_cost.events_per_s = 0.0;
    empty.history = Arc::new(Vec::new());
    empty.findings.clear();
    empty.verdict.text = "no orphans; limit 131,072".into();
    empty
}

/// The crisis as somebody with bad intentions would have it named.
pub(crate) fn hostile() -> Snapshot {
    let mut hostile = crisis();
    let evil = "\x1b]0;evil\x07";
    hostile.host.name = format!("{evil}\u{202e}host");
    hostile.filter = evil.into();
    hostile.verdict.text = format!("{evil} orphans");
    for row in &mut hostile.ports {
        if let Some(owner) = &mut row.owner {
            owner.comm = format!("\u{9b}2J{evil}");
        }
        for peer in &mut row.orphan_peers {
            peer.network = evil.into();
        }
    }
    for row in &mut hostile.processes {
        row.comm = Some(format!("a\u{200b}b{evil}"));
        row.cgroup = Some(format!("/{evil}\n"));
    }
    for anomaly in &mut hostile.anomalies {
        anomaly.text = format!("{evil}\r\n{evil}");
    }
    hostile
}

/// `later` seconds after the crisis, with the numbers a little further.
pub(crate) fn later(seconds: i64) -> Snapshot {
    let mut snapshot = crisis();
    snapshot.time = Wall(NOW.0 + seconds * SECOND);
    let more = 297 * seconds.unsigned_abs();
    snapshot.orphans.host += more;
    snapshot.verdict.text = format!(
        "orphans {} of 131,072, limit reached in {} s",
        snapshot.orphans.host,
        43 - seconds
    );
    snapshot
}

/// What is wrong in [`crisis`].
pub(crate) fn finding() -> Finding {
    Finding {
        check: "orphans",
        severity: Severity::Crit,
        cause: Some("unanswered"),
        scope: crate::diagnose::Scope::Host,
        port: Some(9981),
        owner: Some(Owner { pid: 4121, comm: "httpdns".into() }),
        netns: None,
        workload: None,
        now: Some(118_300),
        limit: Some(131_072),
        used: Some(0.902),
        unit: "sockets",
        growth_per_s: Some(297.0),
        limit_in_s: Some(43.0),
        since: ago(70),
        fidelity: Fidelity::Exact,
        refuses: false,
        what: "orphan limit near",
        subject: None,
        text: "orphans 118,300 of 131,072 (90%) +297/s, limit reached in 43 s".into(),
    }
}

fn httpdns_port() -> PortRow {
    let states = [21_480, 117_912, 1_204, 310, 292];
    let mut row = port(9981, Direction::In, Some((4121, "httpdns")), states, 118_204);
    row.states.time_wait = 128_400;
    row.orphans_by_state =
        OrphanStates { fin_wait1: 117_912, last_ack: 292, closing: 0, fin_wait2: 0 };
    row.orphan_bytes = 2_040_109_465;
    row.growth_per_s = Some(297.0);
    row.opened_per_s = 48_200.0;
    row.closed_per_s = 47_903.0;
    row.resets_per_s = 12.0;
    row.orphan_ends = OrphanEnds {
        acked: 2_140,
        time_wait: 8_598_310,
        peer_reset: 1_009,
        timed_out: 172,
        killed: 0,
        other: 3,
    };
    row.fin_wait1_ms = Quantiles { p50: 30.5, p99: 101_000.0, max: 104_213.0 };
    row.orphan_peers = [
        ("10.4.11.0/24", 41_220, 712_000_000),
        ("10.4.12.0/24", 40_118, 693_000_000),
        ("10.7.3.0/24", 21_990, 380_000_000),
        ("172.20.9.0/24", 9_870, 170_000_000),
        ("2001:db8:4:12::/64", 4_913, 84_000_000),
    ]
    .into_iter()
    .map(|(network, orphans, bytes)| PeerShare { network: network.into(), orphans, bytes })
    .collect();
    row.totals = Totals {
        opened: 8_912_350,
        closed: 8_771_544,
        standing: 392,
        orphaned: 8_719_838,
        time_wait: 8_598_310,
        resets_in: 4_120,
        resets_out: 880,
    };
    row.history = Arc::new(curve(118_204));
    row
}

fn port(
    port: u16,
    direction: Direction,
    owner: Option<(u32, &str)>,
    [established, fin_wait1, fin_wait2, close_wait, last_ack]: [u64; 5],
    orphans: u64,
) -> PortRow {
    PortRow {
        port,
        direction,
        owner: owner.map(|(pid, comm)| Owner { pid, comm: comm.into() }),
        more_owners: 0,
        owner_unchecked: 0,
        states: States {
            listen: u64::from(direction == Direction::In),
            established,
            fin_wait1,
            fin_wait2,
            close_wait,
            last_ack,
            time_wait: established / 3,
            ..States::default()
        },
        totals: Totals { opened: established * 40, closed: established * 39, ..Totals::default() },
        orphans,
        orphans_by_state: OrphanStates { fin_wait1: orphans, ..OrphanStates::default() },
        orphan_bytes: orphans * 17_000,
        orphans_by_cause: None,
        close_wait_by_cause: None,
        bytes: None,
        workload: None,
        growth_per_s: Some(if orphans > 0 { 1.0 } else { 0.0 }),
        opened_per_s: established as f64 / 3.0,
        closed_per_s: established as f64 / 3.0,
        resets_per_s: 0.0,
        reset_reasons: BTreeMap::new(),
        minisockets: None,
        listen: None,
        memory_refused: None,
        orphan_ends: OrphanEnds::default(),
        orphan_end_details: OrphanEndDetails::default(),
        fin_wait1_ms: Quantiles { p50: 0.4, p99: 190.0, max: 412.0 },
        fin_wait1_times: [
            (400_000, 9_700),
            (130_000_000, 200),
            (190_000_000, 99),
            (412_000_000, 1),
        ]
        .map(|(ns, count)| (tracer_common::histogram::bucket_of(ns), count))
        .into(),
        orphan_peers: Vec::new(),
        history: Arc::new(Vec::new()),
    }
}

fn processes() -> Vec<ProcessRow> {
    let row = |pid, comm: &str, cgroup: &str, alive, sockets, orphans, ports: &[u16]| ProcessRow {
        pid: Some(pid),
        comm: Some(comm.into()),
        cgroup: Some(cgroup.into()),
        alive,
        owner_unchecked: 0,
        sockets,
        orphans,
        bytes: None,
        closed_fds: None,
        workload: Workload::of_cgroup(cgroup).map(|it| it.to_string()),
        growth_per_s: Some(if orphans > 1_000 { 297.0 } else { 0.0 }),
        states: States { listen: 1, established: sockets, ..States::default() },
        totals: Totals {
            opened: sockets * 400,
            closed: sockets * 395,
            orphaned: sockets * 380,
            ..Totals::default()
        },
        orphan_ends: OrphanEnds {
            time_wait: sockets * 370,
            timed_out: 172,
            ..OrphanEnds::default()
        },
        orphan_end_details: OrphanEndDetails::default(),
        ports: ports.to_vec(),
    };
    let service = "/system.slice/httpdns.service";
    vec![
        row(4121, "httpdns", service, true, 21_803, 118_111, &[5432, 9981]),
        row(1877, "nginx", "/system.slice/nginx.service", true, 3_201, 96, &[443]),
        row(3050, "httpdns", service, false, 0, 93, &[9981]),
        row(980, "node_exporter", "/system.slice/node_exporter.service", true, 12, 0, &[9100]),
        row(701, "sshd", "/system.slice/ssh.service", true, 4, 0, &[22]),
    ]
}

fn anomalies() -> Vec<Anomaly> {
    let one = |at, severity, kind, port, text: &str| Anomaly {
        time: ago(at),
        severity,
        kind,
        port,
        text: text.into(),
    };
    vec![
        one(210, Severity::Note, "rate", Some(9981), ":9981 new connections 11.8k/s, now 48.2k/s"),
        one(75, Severity::Crit, "tcp_mem", None, "pressure began at 507,311 pages"),
        one(
            39,
            Severity::Warn,
            "listen-overflow",
            Some(9981),
            ":9981 accept queue full, 1,204 dropped",
        ),
        one(12, Severity::Crit, "orphan-growth", Some(9981), ":9981 +297/s for 30 s"),
    ]
}

/// Flat, then ever steeper, as a peer that stopped answering makes it.
fn curve(last: u64) -> Vec<u64> {
    (0..300u32)
        .map(|at| {
            let x = f64::from(at) / 299.0;
            let wave = f64::from(at % 17) * 0.001;
            ((0.02 + wave + 0.963 * x.powf(2.6)) * last as f64) as u64
        })
        .collect()
}

fn history(last: u64) -> Vec<HistoryPoint> {
    curve(last)
        .into_iter()
        .zip(0i64..)
        .map(|(orphans, at)| HistoryPoint {
            time: ago(299 - at),
            orphans_host: orphans,
            orphans_tracked: orphans * 9 / 10,
            tcp_mem_pages: orphans * 3,
            opened_per_s: 48_200.0,
        })
        .collect()
}

fn bad_ends() -> Vec<BadEnd> {
    let end = |seconds: i64, reason, host| BadEnd {
        time: ago(seconds),
        port: 9981,
        peer: std::net::SocketAddr::new([10, 4, 11, host].into(), 40_112),
        reason,
        cause: (reason == "timed_out").then_some("unanswered"),
        owner: None,
    };
    vec![end(14, "peer_reset", 7), end(9, "timed_out", 91), end(2, "timed_out", 14)]
}
