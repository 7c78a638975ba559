//! Any facts about causes. The strategies are boxed: by value they are larger than a test's stack.

use std::net::IpAddr;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::facts::Unknown;
use crate::facts::causes::{
    Causes, CloseWait, ClosedFds, ClosedFdsOf, HalfOpen, HolderState, KeptOpen, MemoryHeld,
    OrphanCauses, OrphanParts, Owner, OwnerSearch, Part, Queues, ServiceAt, SettingChange,
    SourcePorts, UdpSocket,
};
use crate::time::Monotonic;

fn service() -> BoxedStrategy<ServiceAt> {
    any::<(u32, u16, bool)>()
        .prop_map(|(netns, port, accepted)| ServiceAt { netns, port, accepted })
        .boxed()
}

fn owner() -> BoxedStrategy<Option<Owner>> {
    option::of(any::<(u32, String)>()).boxed()
}

fn part() -> BoxedStrategy<Part> {
    any::<(u64, u64, u64)>()
        .prop_map(|(count, bytes, oldest_ms)| Part { count, bytes, oldest_ms })
        .boxed()
}

fn parts() -> BoxedStrategy<OrphanParts> {
    (part(), part(), part())
        .prop_map(|(closed_window, unanswered, in_flight)| OrphanParts {
            closed_window,
            unanswered,
            in_flight,
        })
        .boxed()
}

fn queues() -> BoxedStrategy<Queues> {
    any::<(u64, u64, u64, u64)>()
        .prop_map(|(sockets, charged, receive, send)| Queues { sockets, charged, receive, send })
        .boxed()
}

fn close_wait() -> BoxedStrategy<CloseWait> {
    (service(), owner(), vec(part(), 4..=4), any::<u64>())
        .prop_map(|(service, owner, parts, unread_bytes)| CloseWait {
            service,
            owner,
            never_accepted: parts[0],
            unread_data: parts[1],
            eof_unread: parts[2],
            not_closed: parts[3],
            unread_bytes,
        })
        .boxed()
}

fn closed_fds() -> BoxedStrategy<Result<ClosedFds, Unknown>> {
    let of = any::<(Owner, u64, u64)>().prop_map(|(owner, count, oldest_ms)| ClosedFdsOf {
        owner,
        count,
        oldest_ms,
    });
    prop_oneof![
        any::<String>().prop_map(|why| Err(Unknown(why))),
        (any::<(u64, u64)>(), vec(of, 0..3)).prop_map(|((host, unchecked), processes)| {
            Ok(ClosedFds { host, processes, unchecked })
        }),
    ]
    .boxed()
}

fn memory() -> BoxedStrategy<MemoryHeld> {
    (
        vec(queues(), 3..=3),
        vec((service(), owner(), queues()), 0..3),
        vec((any::<Owner>(), queues()), 0..3),
    )
        .prop_map(|(sums, services, processes)| MemoryHeld {
            all: sums[0],
            services,
            processes,
            unowned: sums[1],
            unknown: sums[2],
        })
        .boxed()
}

fn half_open() -> BoxedStrategy<HalfOpen> {
    (service(), any::<Option<(IpAddr, u16)>>(), any::<(u64, u32, u32)>(), owner())
        .prop_map(|(service, local, (requests, listeners, backlog), owner)| HalfOpen {
            service,
            local: local.map(Into::into),
            requests,
            listeners,
            backlog,
            owner,
        })
        .boxed()
}

fn source() -> BoxedStrategy<SourcePorts> {
    any::<(u32, IpAddr, (u64, u64, u64), (u16, u16))>()
        .prop_map(|(netns, local, (ports, time_wait, destinations), range)| SourcePorts {
            netns,
            local,
            ports,
            time_wait,
            destinations,
            range,
        })
        .boxed()
}

pub(super) fn causes() -> BoxedStrategy<Causes> {
    let orphans = (parts(), vec((service(), parts()), 0..3), vec((any::<IpAddr>(), parts()), 0..3))
        .prop_map(|(all, services, peers)| OrphanCauses { all, services, peers });
    let kept = (service(), owner(), part()).prop_map(|(service, owner, part)| KeptOpen {
        service,
        owner,
        part,
    });
    let lists =
        (vec(close_wait(), 0..3), vec(kept, 0..3), vec(half_open(), 0..3), vec(source(), 0..3));
    let sums = any::<(u64, u64, u64, u64, bool)>();
    (orphans, lists, sums, closed_fds(), memory())
        .prop_map(
            |(
                orphans,
                (close_waits, fin_wait2s, half_opens, sources),
                sums,
                closed_fds,
                memory,
            )| {
                let (close_wait, fin_wait2, half_open, denied, cut) = sums;
                Causes {
                    orphans,
                    close_wait,
                    close_waits,
                    fin_wait2,
                    fin_wait2s,
                    closed_fds,
                    memory,
                    half_open,
                    half_opens,
                    sources,
                    owners: OwnerSearch { denied, cut },
                }
            },
        )
        .boxed()
}

pub(super) fn holder() -> BoxedStrategy<Option<HolderState>> {
    option::of(any::<(char, u64, u32, u32)>().prop_map(|(state, for_ms, holders, stopped)| {
        HolderState { state, for_ms, holders, stopped }
    }))
    .boxed()
}

pub(super) fn udp_socket() -> BoxedStrategy<UdpSocket> {
    (any::<u32>(), any::<(IpAddr, u16)>(), owner(), any::<(u64, u32, u32, u32)>())
        .prop_map(|(netns, local, owner, (drops, drops_ever, receive, limit))| UdpSocket {
            netns,
            local: local.into(),
            owner,
            drops,
            drops_ever,
            receive,
            limit,
        })
        .boxed()
}

pub(super) fn change() -> BoxedStrategy<SettingChange> {
    any::<(String, Option<String>, Option<String>, u64, u64)>()
        .prop_map(|(name, from, to, after, seen)| SettingChange {
            name,
            from,
            to,
            after: Monotonic(after),
            seen: Monotonic(seen),
        })
        .boxed()
}
