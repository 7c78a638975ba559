//! A fold that is saved and goes on is the fold that was never interrupted.

use std::sync::Arc;

use proptest::prelude::*;

use super::super::snapshot::{Host, Snapshot, SourceKind};
use super::*;
use crate::event::{Event, EventKind, Input, Listening, Lost, Totals};
use crate::facts::Unknown;
use crate::facts::observer::Observer;
use crate::filter::Filter;
use crate::gauges::{Limits, MemLimits, Pages};
use crate::time::ClockAnchor;
use tracer_common::counters::{EndDetail, OrphanCause};

fn settings() -> Settings {
    Settings {
        source: SourceKind::Trace,
        host: Host::default(),
        anchor: ClockAnchor { monotonic: Monotonic(0), wall: Wall(1_795_365_730_000_000_000) },
        began: Monotonic(5),
        fidelity: BTreeMap::new(),
        unseen: Vec::new(),
        filter: String::new(),
        filtered: false,
        interval_s: 1.0,
        observer: Observer::blind(&Unknown::because("not observed")),
        about: Filter::default(),
    }
}

fn baseline() -> Gauges {
    gauges(0, 3, false)
}

fn gauges(orphans: u64, kills: u64, pressure: bool) -> Gauges {
    let mut gauges = Gauges {
        limits: Limits {
            max_orphans: Some(1000),
            tcp_mem: Some(MemLimits { low: Pages(100), pressure: Pages(200), high: Pages(300) }),
            ..Limits::default()
        },
        ..Gauges::default()
    };
    gauges.sockets.orphan = Some(orphans);
    gauges.sockets.mem = Some(Pages(orphans / 3));
    gauges.memory.pressure = Some(pressure);
    gauges.tcp_ext.insert("TCPAbortOnMemory", kills);
    gauges
}

/// One interval: what its sample says, and how an orphan ended in it.
#[derive(Clone, Debug)]
struct Interval {
    groups: Vec<(u16, u32, Vec<u64>)>,
    orphans: u64,
    kills: u64,
    pressure: bool,
    diag: Option<(u64, bool)>,
    end: u8,
    lost: u64,
}

fn interval() -> impl Strategy<Value = Interval> {
    let group = (1_u16..4, 0_u32..3, proptest::collection::vec(0_u64..50, 40));
    (
        proptest::collection::vec(group, 0..5),
        0_u64..1200,
        0_u64..3,
        any::<bool>(),
        proptest::option::of((0_u64..9, any::<bool>())),
        0_u8..6,
        0_u64..2,
    )
        .prop_map(|(groups, orphans, kills, pressure, diag, end, lost)| Interval {
            groups,
            orphans,
            kills,
            pressure,
            diag,
            end,
            lost,
        })
}

fn feed(fold: &mut Aggregator, second: u64, interval: &Interval) -> Arc<Snapshot> {
    let at = Monotonic(second * 1_000_000_000 + 7);
    let service = |port| Service { port, direction: Direction::In };
    fold.event(&Event {
        at,
        kind: EventKind::OrphanEnd {
            reason: OrphanEnd::from_number(interval.end).unwrap(),
            detail: EndDetail::None,
            cause: OrphanCause::from_number(interval.end % 4),
        },
        socket: second,
        local: ([127, 0, 0, 1].into(), 9981),
        peer: ([10, 0, 0, 7].into(), 1),
        owner: Some(Arc::new(Owner { pid: 7, comm: "httpdns".into() })),
        netns: 1,
        born: None,
    });
    fold.apply(Input::Gauges(gauges(interval.orphans, 3 + interval.kills, interval.pressure)));
    let groups = interval.groups.iter().map(|(port, pid, words)| Group {
        service: service(*port),
        owner: (*pid > 0).then(|| Owner { pid: *pid, comm: format!("p{pid}") }),
        owner_start_ticks: 1,
        cgroup: Some("/x".into()),
        workload: None,
        alive: pid % 2 == 0,
        unchecked: u64::from(*pid % 3),
        counters: GroupCounters { words: words.clone().try_into().unwrap() },
    });
    fold.apply(Input::Totals(Totals {
        groups: groups.collect(),
        orphans_outside: 1,
        lost: Lost { untracked: interval.lost, ..Lost::default() },
        ..Totals::default()
    }));
    if let Some((orphans, has_time_wait)) = interval.diag {
        let seen = DiagService {
            orphans,
            orphan_bytes: orphans * 4096,
            fin_wait2_minisockets: 2,
            time_wait: orphans + 5,
            peers: BTreeMap::from([(Network([10, 0, 0, 0].into()), (orphans, 1))]),
            listen: Some(Listening { queued: 1, backlog: 128, drops: orphans, half_open: Some(4) }),
        };
        fold.apply(Input::Diag(DiagSample {
            services: BTreeMap::from([(service(1), seen)]),
            fin_wait2_minisockets: 3,
            has_time_wait,
        }));
    }
    fold.apply(Input::Tick(at));
    fold.snapshot()
}

fn begin() -> Aggregator {
    let mut fold = Aggregator::new(settings());
    fold.apply(Input::Gauges(baseline()));
    fold
}

proptest! {
    #[test]
    fn an_interrupted_fold_goes_on_as_if_nothing_had_been(
        before in proptest::collection::vec(interval(), 1..40),
        after in proptest::collection::vec(interval(), 1..8),
    ) {
        let mut whole = begin();
        let mut second = 0;
        // What a state does not have: the facts of the half minute before it.
        let mut observer = settings().observer;
        let mut facts = Vec::new();
        for interval in &before {
            second += 1;
            feed(&mut whole, second, interval);
            let gauges = gauges(interval.orphans, 3 + interval.kills, interval.pressure);
            observer.take(&Input::Gauges(gauges));
            facts.push(observer.tick(Monotonic(second * 1_000_000_000 + 7)));
        }
        let bytes = whole.save();
        let mut resumed = Aggregator::restore(settings(), baseline(), &bytes).expect("own bytes");
        facts.drain(..facts.len().saturating_sub(31));
        facts.into_iter().for_each(|facts| resumed.remember(facts));
        resumed.resume(observer);
        for interval in &after {
            second += 1;
            let expected = feed(&mut whole, second, interval);
            let found = feed(&mut resumed, second, interval);
            prop_assert_eq!(&*found, &*expected);
        }
        prop_assert_eq!(resumed.save(), whole.save());
    }

    #[test]
    fn foreign_bytes_are_refused_without_a_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        // Whatever they mean, they mean the same twice.
        let restored = Aggregator::restore(settings(), baseline(), &bytes);
        if let Some(fold) = restored {
            prop_assert!(Aggregator::restore(settings(), baseline(), &fold.save()).is_some());
        }
    }
}

/// Traces of the same [`VERSION`] are read by any build that has it.
#[test]
fn the_bytes_change_only_with_the_version() {
    let mut fold = begin();
    for second in 1..5_u32 {
        let interval = Interval {
            groups: vec![(2, second, (0..40).collect())],
            orphans: u64::from(second) * 90,
            kills: u64::from(second / 3),
            pressure: second == 3,
            diag: Some((4, second == 2)),
            end: 4,
            lost: 1,
        };
        feed(&mut fold, u64::from(second), &interval);
    }
    let bytes = fold.save();
    assert_eq!(
        (VERSION, bytes.len(), crc32c::crc32c(&bytes)),
        (5, 753, 2_112_212_701),
        "if the bytes have another meaning now, VERSION has to go up"
    );
}
