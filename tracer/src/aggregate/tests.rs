//! The fold on hand-made inputs.

use std::collections::BTreeMap;

use tracer_common::counters::{
    EndDetail, GroupCounters, MiniCounter, MiniCounters, MiniEnd, OrphanEnd,
};
use tracer_common::reset::ResetReason;
use tracer_common::state::TcpState;

use super::snapshot::{Fidelity, Owner, Severity};
use super::*;
use crate::event::{DiagService, Direction, Group, Listening, Network, Service};
use crate::facts::Unknown;
use crate::gauges::{Bytes, Limits, MemLimits, Pages};
use crate::time::Wall;

const WEB: Service = Service { port: 9981, direction: Direction::In };

fn aggregator(filtered: bool) -> Aggregator {
    Aggregator::new(Settings {
        source: SourceKind::Live,
        host: Host { name: "web-17".into(), ..Host::default() },
        anchor: ClockAnchor { monotonic: Monotonic(0), wall: Wall(0) },
        began: Monotonic(0),
        fidelity: BTreeMap::from([("state", Fidelity::Exact)]),
        unseen: Vec::new(),
        filter: String::new(),
        filtered,
        interval_s: 1.0,
        observer: Observer::blind(&Unknown::because("not observed")),
        about: Filter::default(),
    })
}

fn gauges(orphan: u64, aborts: u64) -> Gauges {
    let mut gauges = Gauges {
        limits: Limits {
            max_orphans: Some(1000),
            tcp_mem: Some(MemLimits { low: Pages(100), pressure: Pages(200), high: Pages(300) }),
            max_tw_buckets: Some(8192),
            page: Bytes(4096),
        },
        ..Gauges::default()
    };
    gauges.sockets.orphan = Some(orphan);
    gauges.sockets.tw = Some(50);
    gauges.sockets.mem = Some(Pages(10));
    gauges.tcp_ext.insert("TCPAbortOnMemory", aborts);
    gauges
}

fn counters(words: &[(usize, u64)]) -> GroupCounters {
    let mut counters = GroupCounters::default();
    for (word, value) in words {
        counters.words[*word] = *value;
    }
    counters
}

fn group(pid: u32, counters: GroupCounters) -> Group {
    Group {
        service: WEB,
        owner: (pid != 0).then(|| Owner { pid, comm: format!("httpdns{pid}") }),
        owner_start_ticks: 1,
        cgroup: None,
        workload: None,
        alive: true,
        unchecked: 0,
        counters,
    }
}

fn totals(groups: Vec<Group>) -> Totals {
    Totals { groups, ..Totals::default() }
}

const FW1: usize = TcpState::FinWait1 as usize;
const ESTAB: usize = TcpState::Established as usize;

#[test]
fn services_and_processes_are_two_views_of_the_same_groups() {
    let mut aggregator = aggregator(false);
    aggregator.apply(Input::Gauges(gauges(3, 0)));
    aggregator.apply(Input::Totals(totals(vec![
        group(7, counters(&[(ESTAB, 5), (Counter::Opened as usize, 5)])),
        group(
            8,
            counters(&[
                (FW1, 3),
                (Counter::Opened as usize, 4),
                (Counter::Closed as usize, 1),
                (Counter::Orphaned as usize, 3),
                (Counter::Orphans as usize, 3),
                (Counter::OrphansFinWait1 as usize, 3),
            ]),
        ),
    ])));
    aggregator.apply(Input::Tick(Monotonic(1_000_000_000)));
    let snapshot = aggregator.snapshot();
    assert_eq!(snapshot.ports.len(), 1);
    let row = &snapshot.ports[0];
    assert_eq!((row.totals.opened, row.totals.closed), (9, 1));
    assert_eq!(
        row.totals.opened + row.totals.standing,
        row.totals.closed + row.states.live_with(0)
    );
    assert_eq!(row.owner.as_ref().map(|owner| owner.pid), Some(7), "most sockets");
    assert_eq!(row.more_owners, 1);
    let by_pid: Vec<_> =
        snapshot.processes.iter().map(|row| (row.pid, row.sockets, row.orphans)).collect();
    assert_eq!(by_pid, [(Some(8), 0, 3), (Some(7), 5, 0)], "orphans are held by nobody");
    assert_eq!(snapshot.orphans.drift, 0);
    assert_eq!(snapshot.orphans.tracked, 3);
}

#[test]
fn a_port_has_a_workload_where_all_its_owners_are_in_one() {
    const NGINX: &str = "/system.slice/nginx.service";
    let held = counters(&[(ESTAB, 1)]);
    let workloads = |groups: &[(u32, &str, Option<&str>, GroupCounters)]| {
        let groups = groups.iter().map(|(pid, cgroup, workload, counters)| Group {
            cgroup: Some((*cgroup).to_owned()),
            workload: workload.map(str::to_owned),
            ..group(*pid, *counters)
        });
        let mut aggregator = aggregator(false);
        aggregator.apply(Input::Totals(totals(groups.collect())));
        aggregator.apply(Input::Tick(Monotonic(1)));
        let snapshot = aggregator.snapshot();
        let mut rows: Vec<_> =
            snapshot.processes.iter().map(|row| (row.pid, row.workload.clone())).collect();
        rows.sort();
        (snapshot.ports[0].workload.clone(), rows)
    };
    let nginx = || Some("nginx.service".to_owned());
    let (port, rows) = workloads(&[(7, NGINX, None, held), (8, NGINX, None, held)]);
    assert_eq!((port, rows), (nginx(), vec![(Some(7), nginx()), (Some(8), nginx())]));
    // What was read beside the path says more.
    let pod = Some("pod:shop/web-0");
    let (port, rows) = workloads(&[(7, "/kubepods/podx", pod, held)]);
    assert_eq!((port.as_deref(), rows[0].1.as_deref()), (pod, pod));
    let other = "/system.slice/php.service";
    assert_eq!(workloads(&[(7, NGINX, None, held), (8, other, None, held)]).0, None, "two");
    assert_eq!(workloads(&[(7, NGINX, None, held), (8, "/x", None, held)]).0, None, "or unknown");
    // Unless that one has nothing here any more.
    let opened = counters(&[(Counter::Opened as usize, 1)]);
    assert_eq!(workloads(&[(7, NGINX, None, held), (8, "/x", None, opened)]).0, nginx());
    // Processes that are gone share a place, which is nobody's, and was of one workload.
    let (port, rows) = workloads(&[(0, NGINX, None, held)]);
    assert_eq!((port, rows), (nginx(), vec![(None, None)]));
    assert_eq!(
        workloads(&[(7, other, None, held), (0, NGINX, None, held)]).0.as_deref(),
        Some("php.service")
    );
}

#[test]
fn drift_counts_orphans_outside_the_filter_as_ours() {
    let mut aggregator = aggregator(true);
    aggregator.apply(Input::Gauges(gauges(5, 0)));
    let tracked = counters(&[(Counter::Orphans as usize, 2)]);
    aggregator
        .apply(Input::Totals(Totals { orphans_outside: 4, ..totals(vec![group(7, tracked)]) }));
    aggregator.apply(Input::Tick(Monotonic(1)));
    let orphans = &aggregator.snapshot().orphans;
    assert_eq!((orphans.tracked, orphans.host, orphans.drift), (2, 5, 1));
}

#[test]
fn counters_are_told_since_tracing_began() {
    let mut aggregator = aggregator(false);
    aggregator.apply(Input::Gauges(gauges(0, 100)));
    aggregator.apply(Input::Tick(Monotonic(1)));
    assert_eq!(aggregator.snapshot().orphans.killed, 0);
    aggregator.apply(Input::Gauges(gauges(0, 138)));
    aggregator.apply(Input::Tick(Monotonic(2)));
    let snapshot = aggregator.snapshot();
    assert_eq!(snapshot.orphans.killed, 38);
    assert_eq!(snapshot.counters["TCPAbortOnMemory"], 38);
    assert_eq!(snapshot.verdict.severity, Severity::Crit);
    assert_eq!(snapshot.anomalies.last().map(|anomaly| anomaly.kind), Some("orphan-kill"));
}

#[test]
fn resets_that_the_tracepoint_does_not_report_are_the_difference_to_the_kernels_count() {
    let unseen = |filtered, fidelity, sent: &[u64], seen| {
        let mut aggregator = aggregator(filtered);
        aggregator.settings.fidelity.insert("reset_out", fidelity);
        for sent in sent {
            let mut gauges = gauges(0, 0);
            gauges.tcp.insert("OutRsts", *sent);
            aggregator.apply(Input::Gauges(gauges));
        }
        let counters = counters(&[(Counter::ResetsOut as usize, seen)]);
        aggregator.apply(Input::Totals(totals(vec![group(7, counters)])));
        aggregator.apply(Input::Tick(Monotonic(1)));
        aggregator.snapshot().resets_out_unseen
    };
    assert_eq!(unseen(false, Fidelity::Derived, &[100, 843], 692), Some(51));
    assert_eq!(unseen(false, Fidelity::Derived, &[100, 124], 3), Some(21));
    assert_eq!(unseen(false, Fidelity::Derived, &[100, 100], 3), Some(0), "another namespace's");
    assert_eq!(unseen(false, Fidelity::Absent, &[100, 124], 0), None);
    assert_eq!(unseen(true, Fidelity::Derived, &[100, 124], 3), None, "others are not comparable");
    assert_eq!(unseen(false, Fidelity::Derived, &[], 3), None, "the kernel does not tell");
}

#[test]
fn growth_is_projected_on_the_limit() {
    let mut aggregator = aggregator(false);
    for second in 0..10 {
        aggregator.apply(Input::Gauges(gauges(100 + 50 * second, 0)));
        aggregator.apply(Input::Tick(Monotonic(second * 1_000_000_000)));
    }
    let snapshot = aggregator.snapshot();
    assert_eq!(snapshot.orphans.host, 550);
    let left = snapshot.orphans.limit_in_s.unwrap();
    assert!((left - 9.0).abs() < 0.5, "{left}");
    assert_eq!(snapshot.verdict.severity, Severity::Crit);
    assert_eq!(snapshot.anomalies.last().map(|anomaly| anomaly.kind), Some("orphan-growth"));
}

#[test]
fn memory_follows_the_kernels_flag_not_the_usage() {
    let mut aggregator = aggregator(false);
    let mut state_at = |pages: u64, flag: bool| {
        let mut gauges = gauges(0, 0);
        gauges.sockets.mem = Some(Pages(pages));
        gauges.memory.pressure = Some(flag);
        aggregator.apply(Input::Gauges(gauges));
        aggregator.apply(Input::Tick(Monotonic(1)));
        aggregator.snapshot().tcp_mem.state
    };
    assert_eq!(state_at(50, false), MemState::Ok);
    assert_eq!(state_at(150, false), MemState::Rising);
    assert_eq!(state_at(150, true), MemState::Pressure, "it ends only at low");
    assert_eq!(state_at(301, true), MemState::Exhausted);
}

#[test]
fn minisockets_come_from_the_samples() {
    let sample = DiagSample {
        services: BTreeMap::from([(
            WEB,
            DiagService {
                orphans: 2,
                orphan_bytes: 8192,
                fin_wait2_minisockets: 4,
                time_wait: 30,
                peers: BTreeMap::from([(Network::of([10, 0, 0, 1].into()), (2, 8192))]),
                listen: None,
            },
        )]),
        fin_wait2_minisockets: 6,
        has_time_wait: true,
    };
    for (filtered, fin_wait2, time_wait) in [(false, 6, 44), (true, 4, 30)] {
        let mut aggregator = aggregator(filtered);
        aggregator.apply(Input::Gauges(gauges(0, 0)));
        aggregator.apply(Input::Totals(totals(vec![group(7, counters(&[(ESTAB, 1)]))])));
        aggregator.apply(Input::Diag(sample.clone()));
        // A later sample that did not count TIME_WAIT does not forget it.
        let mut short = sample.clone();
        short.has_time_wait = false;
        short.services.get_mut(&WEB).unwrap().time_wait = 0;
        aggregator.apply(Input::Diag(short));
        aggregator.apply(Input::Tick(Monotonic(1)));
        let snapshot = aggregator.snapshot();
        assert_eq!((snapshot.states.fin_wait2, snapshot.states.time_wait), (fin_wait2, time_wait));
        let row = &snapshot.ports[0];
        assert_eq!((row.states.fin_wait2, row.states.time_wait), (4, 30));
        assert_eq!(row.orphan_bytes, 8192);
        assert_eq!(row.orphan_peers[0].network, "10.0.0.0/24");
    }
}

#[test]
fn what_hooks_count_takes_the_place_of_samples() {
    let mut aggregator = aggregator(false);
    aggregator.settings.fidelity.insert("mem_refused", Fidelity::Exact);
    aggregator.apply(Input::Gauges(gauges(0, 0)));
    let mut mini = MiniCounters::default();
    for (word, value) in [
        (MiniCounter::TimeWait as usize, 20),
        (MiniCounter::FinWait2 as usize, 3),
        (MiniCounter::Begun as usize, 30),
        (MiniCounter::Ends as usize + MiniEnd::Expired as usize, 9),
        (MiniCounter::Ends as usize + MiniEnd::Reused as usize, 1),
    ] {
        mini.words[word] = value;
    }
    let reason = ResetReason::named("TCP_ABORT_ON_CLOSE").unwrap();
    let own = [
        (ESTAB, 1),
        (Counter::KilledForMemory as usize, 2),
        (Counter::TimeWaitOverflow as usize, 4),
        (Counter::MemoryRefused as usize, 6),
        (Counter::AcceptOverflows as usize, 8),
    ];
    aggregator.apply(Input::Totals(Totals {
        minisockets: Some(BTreeMap::from([(WEB, Minisockets { standing: 3, counters: mini })])),
        reset_reasons: BTreeMap::from([(WEB, BTreeMap::from([(reason, 5)]))]),
        pressures: Some(7),
        ..totals(vec![group(7, counters(&own))])
    }));
    let listen = Some(Listening { queued: 1, backlog: 128, drops: 9, half_open: Some(12) });
    let seen = DiagService { time_wait: 999, listen, ..DiagService::default() };
    aggregator.apply(Input::Diag(DiagSample {
        services: BTreeMap::from([(WEB, seen)]),
        fin_wait2_minisockets: 2,
        has_time_wait: true,
    }));
    aggregator.apply(Input::Tick(Monotonic(1)));
    let snapshot = aggregator.snapshot();
    let row = &snapshot.ports[0];
    for states in [snapshot.states, row.states] {
        assert_eq!((states.time_wait, states.fin_wait2, states.syn_recv), (20, 3, 12));
    }
    let now = row.minisockets.unwrap();
    assert_eq!(snapshot.minisockets, row.minisockets);
    let gone = now.expired + now.reused + now.killed;
    assert_eq!(now.standing + now.begun, now.time_wait + now.fin_wait2 + gone);
    assert_eq!(now.overflow, 4);
    assert_eq!(snapshot.tw_buckets.fin_wait2, Some(2), "the namespace's, as it was sampled");
    assert_eq!(snapshot.tcp_mem.entered, 7);
    assert_eq!((snapshot.tcp_mem.refused, row.memory_refused), (Some(6), Some(6)));
    assert_eq!(row.orphan_end_details.killed_memory, 2);
    assert_eq!(row.reset_reasons, BTreeMap::from([("TCP_ABORT_ON_CLOSE", 5)]));
    let listen = row.listen.unwrap();
    assert_eq!((listen.queued, listen.backlog, listen.drops), (1, 128, 9));
    assert_eq!(listen.overflows, None, "no hook counted them");
}

#[test]
fn json_is_the_contract() {
    let mut aggregator = aggregator(false);
    aggregator.apply(Input::Gauges(gauges(1, 0)));
    let ended = Counter::OrphanEnds as usize + OrphanEnd::Killed as usize;
    aggregator.apply(Input::Totals(totals(vec![group(7, counters(&[(ESTAB, 1), (ended, 2)]))])));
    aggregator.apply(Input::Tick(Monotonic(12_000_000_000)));
    let json = serde_json::to_value(&*aggregator.snapshot()).unwrap();
    for pointer in [
        "/schema",
        "/time",
        "/elapsed_s",
        "/source",
        "/host/name",
        "/host/kernel",
        "/host/boot_id",
        "/states/listen",
        "/states/time_wait",
        "/totals/opened",
        "/totals/resets_out",
        "/orphans/host",
        "/orphans/limit",
        "/orphans/tracked",
        "/orphans/by_state/fin_wait2",
        "/orphans/bytes",
        "/orphans/growth_per_s",
        "/orphans/limit_in_s",
        "/orphans/killed",
        "/orphans/drift",
        "/tcp_mem/pages",
        "/tcp_mem/page_bytes",
        "/tcp_mem/state",
        "/tcp_mem/entered",
        "/tcp_mem/limit_in_s",
        "/ports/0/port",
        "/ports/0/direction",
        "/ports/0/owner/pid",
        "/ports/0/owner/comm",
        "/ports/0/states/established",
        "/ports/0/totals/opened",
        "/ports/0/orphan_bytes",
        "/ports/0/opened_per_s",
        "/ports/0/closed_per_s",
        "/ports/0/orphan_ends/killed",
        "/ports/0/fin_wait1_ms/p99",
        "/processes/0/pid",
        "/processes/0/cgroup",
        "/processes/0/sockets",
        "/processes/0/growth_per_s",
        "/processes/0/totals/closed",
        "/counters/TCPAbortOnMemory",
        "/lost/detail",
        "/lost/untracked",
        "/lost/missed",
        "/fidelity/state",
    ] {
        assert!(json.pointer(pointer).is_some(), "{pointer} is missing in {json:#}");
    }
    assert_eq!(json["schema"], "sockflow.snapshot/1");
    assert_eq!(json["source"], "live");
    assert_eq!(json["elapsed_s"], 12.0);
    assert_eq!(json["ports"][0]["direction"], "in");
    assert_eq!(json["ports"][0]["orphan_ends"]["killed"], 2);
    assert_eq!(json["orphans"]["limit_in_s"], serde_json::Value::Null);
}

#[test]
fn orphans_that_ended_badly_are_named_and_bounded() {
    let mut aggregator = aggregator(false);
    let end = |reason, peer_port| {
        Input::Event(Event {
            at: Monotonic(5),
            kind: EventKind::OrphanEnd { reason, detail: EndDetail::None, cause: None },
            socket: 1,
            local: ([127, 0, 0, 1].into(), 9981),
            peer: ([10, 0, 0, 7].into(), peer_port),
            owner: None,
            netns: 1,
            born: None,
        })
    };
    aggregator.apply(end(OrphanEnd::Acked, 1));
    for port in 0..100 {
        aggregator.apply(end(OrphanEnd::Killed, 1000 + port));
    }
    aggregator.apply(Input::Tick(Monotonic(6)));
    let ends = &aggregator.snapshot().bad_ends;
    assert_eq!(ends.len(), BAD_ENDS);
    assert_eq!(ends.last().unwrap().peer, "10.0.0.7:1099".parse().unwrap());
    assert!(ends.iter().all(|end| end.reason == "killed"));
}

#[test]
fn what_a_trace_misses_is_lost_detail() {
    let mut aggregator = aggregator(false);
    let mut seen = totals(Vec::new());
    seen.lost.detail = 2;
    aggregator.apply(Input::Gap(5));
    aggregator.apply(Input::Totals(seen));
    aggregator.apply(Input::Tick(Monotonic(6)));
    assert_eq!(aggregator.snapshot().lost.detail, 7);
}

#[test]
fn what_is_only_looked_at_has_rows_for_minisockets_alone() {
    let sample = DiagSample {
        services: BTreeMap::from([
            (WEB, DiagService { time_wait: 4, fin_wait2_minisockets: 1, ..DiagService::default() }),
            (Service { port: 80, ..WEB }, DiagService::default()),
        ]),
        fin_wait2_minisockets: 1,
        has_time_wait: true,
    };
    for (fidelity, rows) in [(Fidelity::Exact, 0), (Fidelity::Sampled, 1)] {
        let mut aggregator = aggregator(true);
        aggregator.settings.fidelity.insert("state", fidelity);
        aggregator.apply(Input::Gauges(gauges(0, 0)));
        aggregator.apply(Input::Totals(totals(Vec::new())));
        aggregator.apply(Input::Diag(sample.clone()));
        aggregator.apply(Input::Tick(Monotonic(1_000_000_000)));
        let snapshot = aggregator.snapshot();
        assert_eq!(snapshot.is_sampled(), rows == 1);
        let seen: Vec<_> = snapshot.ports.iter().map(|row| (row.port, row.states)).collect();
        let expected = States { time_wait: 4, fin_wait2: 1, ..States::default() };
        assert_eq!(seen, vec![(9981, expected); rows]);
    }
}

/// Its sockets were gone before tracing began.
#[test]
fn a_service_of_which_only_minisockets_stood_has_a_row() {
    let mut aggregator = aggregator(false);
    aggregator.apply(Input::Gauges(gauges(0, 0)));
    let mut mini = MiniCounters::default();
    mini.words[MiniCounter::TimeWait as usize] = 20;
    let none = Minisockets::default();
    let services = BTreeMap::from([
        (WEB, Minisockets { standing: 20, counters: mini }),
        (Service { port: 80, ..WEB }, none),
    ]);
    let none_of_ours = totals(Vec::new());
    aggregator.apply(Input::Totals(Totals { minisockets: Some(services), ..none_of_ours }));
    aggregator.apply(Input::Tick(Monotonic(1)));
    let snapshot = aggregator.snapshot();
    let seen: Vec<_> = snapshot.ports.iter().map(|row| (row.port, row.states.time_wait)).collect();
    assert_eq!(seen, [(9981, 20)]);
}
