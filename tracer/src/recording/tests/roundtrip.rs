//! What is said to the writer is what the reader says.

mod causes;

use std::collections::BTreeMap;
use std::net::IpAddr;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use tracer_common::counters::{GROUP_WORDS, GroupCounters, MINI_WORDS, MiniCounters};
use tracer_common::reset::ResetReason;

use crate::event;
use crate::event::{
    DiagSample, DiagService, Direction, Group, Input, Listening, Lost, Network, OwnCost, Owner,
    Service, Totals,
};
use crate::facts::elsewhere::{COUNTERS, Elsewhere, NetnsFacts};
use crate::facts::{
    CgroupMemory, Conntrack, Destination, Facts, FileNr, Known, Listener, Minisockets, Orphans,
    ProcessFds, Processes, Sockets, Softnet, Udp, Unknown, Waits,
};
use crate::gauges::{
    Bytes, Gauges, Limits, MemLimits, Pages, ProtocolMemory, SocketCounts, TCP, TCP_EXT,
};
use crate::recording::sample::SampleRecord;
use crate::time::{Monotonic, Wall};

fn service() -> impl Strategy<Value = Service> {
    (any::<u16>(), any::<bool>()).prop_map(|(port, incoming)| Service {
        port,
        direction: if incoming { Direction::In } else { Direction::Out },
    })
}

fn word() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 0..10_u64, any::<u64>(), Just(u64::MAX)]
}

fn words() -> impl Strategy<Value = GroupCounters> {
    vec(word(), GROUP_WORDS).prop_map(|words| {
        let mut counters = GroupCounters::default();
        counters.words.copy_from_slice(&words);
        counters
    })
}

fn group() -> impl Strategy<Value = Group> {
    let owner = option::of((any::<u32>(), any::<String>()));
    let text = || option::of(any::<String>());
    (service(), owner, any::<u32>(), (text(), text()), (any::<bool>(), any::<u64>()), words())
        .prop_map(
            |(
                service,
                owner,
                owner_start_ticks,
                (cgroup, workload),
                (alive, unchecked),
                counters,
            )| Group {
                service,
                owner: owner.map(|(pid, comm)| Owner { pid, comm }),
                owner_start_ticks,
                cgroup,
                workload,
                alive,
                unchecked,
                counters,
            },
        )
}

fn minisockets() -> impl Strategy<Value = event::Minisockets> {
    (any::<u64>(), vec(word(), MINI_WORDS)).prop_map(|(standing, words)| {
        let mut counters = MiniCounters::default();
        counters.words.copy_from_slice(&words);
        event::Minisockets { standing, counters }
    })
}

fn reset_reasons() -> impl Strategy<Value = BTreeMap<ResetReason, u64>> {
    let reason = (0..ResetReason::COUNT as u8).prop_filter_map("known", ResetReason::from_number);
    btree_map(reason, any::<u64>(), 0..4)
}

fn totals() -> impl Strategy<Value = Totals> {
    let fin_wait1 = btree_map(service(), vec(any::<(u32, u64)>(), 0..4), 0..3);
    let lost = any::<(u64, u64, u64, u64)>();
    let hooked = (
        option::of(btree_map(service(), minisockets(), 0..3)),
        btree_map(service(), reset_reasons(), 0..3),
        option::of(any::<u64>()),
    );
    (vec(group(), 0..4), any::<u64>(), fin_wait1, hooked, lost).prop_map(
        |(groups, orphans_outside, fin_wait1, hooked, (detail, untracked, missed, ungrouped))| {
            let (minisockets, reset_reasons, pressures) = hooked;
            Totals {
                groups,
                orphans_outside,
                fin_wait1,
                minisockets,
                reset_reasons,
                pressures,
                lost: Lost { detail, untracked, missed, ungrouped },
            }
        },
    )
}

fn named(names: &'static [&'static str]) -> impl Strategy<Value = BTreeMap<&'static str, u64>> {
    btree_map(select(names), any::<u64>(), 0..5)
}

fn gauges() -> impl Strategy<Value = Gauges> {
    let number = || option::of(any::<u64>());
    let sockets = (number(), number(), number(), number(), number(), number());
    let mem = option::of(any::<(u64, u64, u64)>());
    let rest = (number(), option::of(any::<bool>()), number(), mem, number(), any::<u64>());
    (sockets, rest, named(&TCP_EXT), named(&TCP)).prop_map(|(sockets, rest, tcp_ext, tcp)| {
        let (inuse, inuse6, orphan, tw, alloc, mem) = sockets;
        let (pages, pressure, max_orphans, tcp_mem, max_tw_buckets, page) = rest;
        Gauges {
            sockets: SocketCounts { inuse, inuse6, orphan, tw, alloc, mem: mem.map(Pages) },
            memory: ProtocolMemory { pages: pages.map(Pages), pressure },
            tcp_ext,
            tcp,
            limits: Limits {
                max_orphans,
                tcp_mem: tcp_mem.map(|(low, pressure, high)| MemLimits {
                    low: Pages(low),
                    pressure: Pages(pressure),
                    high: Pages(high),
                }),
                max_tw_buckets,
                page: Bytes(page),
            },
        }
    })
}

fn diag() -> impl Strategy<Value = DiagSample> {
    let peers = btree_map(any::<IpAddr>().prop_map(Network), any::<(u64, u64)>(), 0..4);
    let listen = option::of(any::<(u64, u64, u64, Option<u64>)>());
    let seen = (any::<(u64, u64, u64, u64)>(), peers, listen).prop_map(
        |((orphans, orphan_bytes, fin_wait2_minisockets, time_wait), peers, listen)| DiagService {
            orphans,
            orphan_bytes,
            fin_wait2_minisockets,
            time_wait,
            peers,
            listen: listen.map(|(queued, backlog, drops, half_open)| Listening {
                queued,
                backlog,
                drops,
                half_open,
            }),
        },
    );
    (btree_map(service(), seen, 0..3), any::<u64>(), any::<bool>()).prop_map(
        |(services, fin_wait2_minisockets, has_time_wait)| DiagSample {
            services,
            fin_wait2_minisockets,
            has_time_wait,
        },
    )
}

fn known<T: Clone + std::fmt::Debug>(
    part: impl Strategy<Value = T>,
) -> impl Strategy<Value = Known<T>> {
    prop_oneof![
        4 => part.prop_map(Ok),
        1 => any::<String>().prop_map(|why| Err(Unknown(why))),
        1 => Just(Err(Unknown::not_looked_at())),
    ]
}

/// A look as the watcher tells it: without what holds for the whole run, and without gauges.
fn facts() -> BoxedStrategy<Facts> {
    let processes = vec((any::<u32>(), any::<String>(), any::<(u64, u64, u64, bool)>()), 0..4);
    let processes =
        (processes, any::<(usize, usize)>()).prop_map(|(worst, (seen, denied))| {
            let worst = worst.into_iter().map(|(pid, comm, (open, soft, hard, watched))| {
                ProcessFds { pid, comm, open, soft, hard, watched }
            });
            Processes { worst: worst.collect(), seen, denied }
        });
    let owner = option::of(any::<(u32, String)>());
    let numbers = any::<(u32, u32, Option<u32>, u64, Option<u64>)>();
    let listener = (any::<(IpAddr, u16)>(), numbers, owner, causes::holder()).prop_map(
        |(local, (queue, backlog, drops, inode, oldest_wait_ms), owner, holder)| Listener {
            local: local.into(),
            queue,
            backlog,
            drops,
            inode,
            owner,
            holder,
            oldest_wait_ms,
        },
    );
    let listener = listener.boxed();
    let elsewhere = elsewhere(listener.clone());
    let waits =
        option::of(any::<(u64, u64, u64)>().prop_map(|(probing, retransmitting, last_ack)| {
            Waits { probing, retransmitting, last_ack }
        }));
    let orphans = (any::<(u64, u64)>(), waits, vec(any::<(u16, u64)>(), 0..3))
        .prop_map(|((count, bytes), waits, ports)| Orphans { count, bytes, waits, ports });
    let destinations =
        vec(any::<(IpAddr, (IpAddr, u16), u64, u64)>(), 0..3).prop_map(|all| {
            let of = |(local, peer, ports, time_wait): (IpAddr, (IpAddr, u16), u64, u64)| {
                Destination { local, peer: peer.into(), ports, time_wait }
            };
            all.into_iter().map(of).collect::<Vec<_>>()
        });
    let missing = || Unknown::because("not in this trace");
    let half_open = option::of(btree_map(any::<u16>(), any::<u64>(), 0..3));
    let minisockets = any::<Option<(u64, u64, u64)>>();
    let causes = option::of(causes::causes());
    let sockets = (orphans, half_open, minisockets, option::of(destinations), causes).prop_map(
        move |(orphans, half_open, minisockets, destinations, causes)| Sockets {
            orphans,
            half_open: half_open.ok_or_else(missing),
            minisockets: minisockets
                .map(|(accepted, connecting, fin_wait2)| Minisockets {
                    accepted,
                    connecting,
                    fin_wait2,
                })
                .ok_or_else(missing),
            destinations: destinations.ok_or_else(missing),
            namespaces_denied: 3,
            causes: causes.ok_or_else(missing),
        },
    );
    let cgroup = (any::<String>(), any::<(u64, u64, Option<u64>, u64, u64)>()).prop_map(
        |(path, (sock, current, max, max_events, oom_kills))| CgroupMemory {
            path,
            sock,
            current,
            max,
            max_events,
            oom_kills,
        },
    );
    let udp =
        any::<(u64, Option<u64>, Option<u64>)>().prop_map(|(mem, mem_errors, rcvbuf_errors)| Udp {
            mem: Pages(mem),
            mem_errors,
            rcvbuf_errors,
        });
    let conntrack = any::<(u64, u64, Option<u64>)>().prop_map(|(count, max, dropped)| Conntrack {
        count,
        max,
        dropped,
    });
    let softnet = any::<(u64, u64, u64, u64, Option<u64>)>().prop_map(
        |(cpus, processed, dropped, squeezed, backlog)| Softnet {
            cpus,
            processed,
            dropped,
            squeezed,
            backlog,
        },
    );
    let files = any::<(u64, u64)>().prop_map(|(allocated, max)| FileNr { allocated, max });
    let sysctls = btree_map(any::<String>(), any::<String>(), 0..3);
    let changes = vec(causes::change(), 0..3);
    let udp = (known(udp), known(vec(causes::udp_socket(), 0..3)));
    (
        (any::<u64>(), any::<Option<u64>>(), any::<bool>(), sysctls, changes),
        (known(files), known(processes), known(vec(listener, 0..4)), known(sockets)),
        (udp, known(conntrack), known(softnet), known(vec(cgroup, 0..3)), known(elsewhere)),
    )
        .prop_map(|((at, detail_at, sparse, sysctls, changes), first, second)| {
            let (files, processes, listeners, sockets) = first;
            let ((udp, udp_sockets), conntrack, softnet, cgroups, elsewhere) = second;
            Facts {
                detail_at: detail_at.map(Monotonic),
                sparse,
                sysctls,
                changes,
                files,
                processes,
                listeners,
                sockets,
                udp,
                udp_sockets,
                conntrack,
                elsewhere,
                softnet,
                cgroups,
                ..Facts::unseen(Monotonic(at), &Unknown::not_looked_at())
            }
        })
        .boxed()
}

fn elsewhere(listener: impl Strategy<Value = Listener>) -> impl Strategy<Value = Elsewhere> {
    let counters = btree_map(select(&COUNTERS[..]), any::<u64>(), 0..3);
    let numbers = any::<(Option<u64>, Option<u64>, Option<(u64, u64)>)>();
    let namespace = (any::<(u32, Option<String>)>(), counters, numbers, vec(listener, 0..2));
    let namespace = namespace.prop_map(
        |((netns, name), counters, (tw, max_tw_buckets, minisockets), listeners)| NetnsFacts {
            netns,
            name,
            counters,
            tw,
            max_tw_buckets,
            minisockets,
            listeners,
        },
    );
    (vec(namespace, 0..3), any::<u64>(), any::<u64>())
        .prop_map(|(namespaces, killed, unseen)| Elsewhere { namespaces, killed, unseen })
}

prop_compose! {
    /// An interval as a live source tells it: in the first, gauges from before it as well.
    fn interval()(
        first in option::of(gauges()),
        gauges in gauges(),
        totals in totals(),
        diag in option::of(diag()),
        facts in option::of(facts()),
        cpu_percent in -1e300..1e300_f64,
        events_per_s in proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL,
        rss_bytes in any::<u64>(),
        at in any::<u64>(),
    ) -> Vec<Input> {
        let mut inputs: Vec<Input> = first.map(Input::Gauges).into_iter().collect();
        inputs.push(Input::Gauges(gauges));
        inputs.push(Input::Totals(totals));
        inputs.extend(diag.map(Input::Diag));
        inputs.extend(facts.map(|facts| Input::Facts(Box::new(facts))));
        inputs.push(Input::OwnCost(OwnCost { cpu_percent, rss_bytes, events_per_s }));
        inputs.push(Input::Tick(Monotonic(at)));
        inputs
    }
}

proptest! {
    #[test]
    fn a_sample_says_what_was_said(inputs in interval(), wall in any::<i64>()) {
        let json = serde_json::to_vec(&SampleRecord::of(&inputs, Wall(wall), 7)).unwrap();
        let sample: SampleRecord = serde_json::from_slice(&json).unwrap();
        prop_assert_eq!((sample.wall_ns, sample.events), (wall, 7));
        let mut said = Vec::new();
        sample.into_inputs(|input| said.push(input));
        // What Debug shows of a float is exact, and totals have no equality of their own.
        prop_assert_eq!(format!("{said:?}"), format!("{inputs:?}"));
    }
}

#[test]
fn names_that_are_not_known_are_passed_over() {
    let text = br#"{"at_ns":5,"colour":"red","gauges":{"sockets":{"inuse":1,"half_open":2},
        "tcp_ext":{"TW":3,"TCPMoonPhase":4}},"totals":{"groups":[{"port":80,"direction":"up"},
        {"port":81,"direction":"in","counters":{"opened":9,"in_limbo":4,"in_established":-1}}]}}"#;
    let sample: SampleRecord = serde_json::from_slice(text).unwrap();
    let mut said = Vec::new();
    sample.into_inputs(|input| said.push(input));
    let [Input::Gauges(gauges), Input::Totals(totals), Input::Tick(Monotonic(5))] = &said[..]
    else {
        panic!("{said:?}");
    };
    assert_eq!(gauges.tcp_ext, BTreeMap::from([("TW", 3)]));
    assert_eq!(totals.groups.len(), 1);
    assert_eq!(totals.groups[0].counters.words[1], u64::MAX);
}
