//! Looks into every other network namespace: its counters, its TIME_WAIT buckets, its busy listeners.
//!
//! Nothing of a namespace is kept open between two observations: an open socket or file of `/proc/net`
//! would keep a stopped container's namespace alive.

use std::collections::{BTreeMap, HashSet};
use std::time::Instant;

use tracer_common::state::TcpState;

use super::super::gauges::{parse_counters, parse_number, parse_sockstat};
use super::super::namespaces::{self, NetNamespace};
use super::super::own_cost::CpuTimer;
use super::super::sock_diag::{Kind, SockDiag, StateMask};
use super::{sockets, text};
use crate::facts::elsewhere::{
    COUNTERS, Elsewhere, KILLED, MOST_BUSY, MOST_NAMESPACES, NetnsFacts,
};
use crate::facts::{Known, Listener, Unknown};

/// An observation is followed by a pause of so many times the CPU time it took.
const PAUSE: u32 = 100;

type Counters = BTreeMap<&'static str, u64>;

/// Remembers where each namespace's counters began.
#[derive(Debug, Default)]
pub(super) struct ElsewhereReader {
    /// By number; `None` before the first observation.
    known: Option<BTreeMap<u32, Counted>>,
    /// Killed in those that are gone.
    killed_before: u64,
    not_before: Option<Instant>,
}

/// A namespace's counters when they were first seen, and last.
#[derive(Clone, Debug, Default)]
struct Counted {
    first: Counters,
    last: Counters,
}

impl Counted {
    fn since_first(&self) -> Counters {
        let first = |name| self.first.get(name).copied().unwrap_or(0);
        self.last.iter().map(|(name, last)| (*name, last.saturating_sub(first(name)))).collect()
    }

    fn killed(&self) -> u64 {
        self.since_first().get(KILLED).copied().unwrap_or(0)
    }
}

impl ElsewhereReader {
    /// Looks; unless `at_any_cost`, only if it is time to.
    pub(super) fn read(&mut self, at_any_cost: bool) -> Known<Elsewhere> {
        let is_early = self.not_before.is_some_and(|not_before| Instant::now() < not_before);
        if is_early && !at_any_cost {
            return Err(Unknown::not_looked_at());
        }
        let timer = CpuTimer::start();
        let own = namespaces::thread_inum().map_err(|error| Unknown(error.to_string()))?;
        let listed = namespaces::list().map_err(|error| Unknown(error.to_string()))?;
        let mut others = listed.found;
        others.retain(|it| it.inum != own);
        let found = others.len();
        others.truncate(MOST_NAMESPACES);
        // What it costs there is not in this thread's time.
        let (seen, cost) = namespaces::inside_each(&others, look);
        let unseen = found.saturating_sub(seen.len()) as u64;
        let all = self.take(seen, &others);
        self.not_before = Some(Instant::now() + (timer.used() + cost) * PAUSE);
        Ok(Elsewhere { unseen, ..all })
    }

    /// Counts on from what was seen before.
    fn take(&mut self, seen: Vec<(NetnsFacts, Counters)>, there: &[NetNamespace]) -> Elsewhere {
        let is_first = self.known.is_none();
        let known = self.known.get_or_insert_default();
        let mut namespaces = Vec::with_capacity(seen.len());
        for (mut facts, counters) in seen {
            let before = known.entry(facts.netns).or_insert_with(|| Counted {
                // One that was not there when we came has counted all of it since then.
                first: if is_first { counters.clone() } else { Counters::new() },
                last: Counters::new(),
            });
            // Numbers are given out again: another namespace, which has counted less.
            if before.last.iter().any(|(name, last)| counters.get(name).is_some_and(|it| it < last))
            {
                self.killed_before = self.killed_before.saturating_add(before.killed());
                before.first = Counters::new();
            }
            before.last = counters;
            facts.counters = before.since_first();
            namespaces.push(facts);
        }
        let is_there: HashSet<u32> = there.iter().map(|it| it.inum).collect();
        let mut gone = 0_u64;
        known.retain(|netns, counted| {
            let stays = is_there.contains(netns);
            gone = gone.saturating_add(if stays { 0 } else { counted.killed() });
            stays
        });
        self.killed_before = self.killed_before.saturating_add(gone);
        let killed = known.values().map(Counted::killed).sum::<u64>();
        Elsewhere { namespaces, killed: self.killed_before.saturating_add(killed), unseen: 0 }
    }
}

/// Looks at the namespace that the calling thread is in; `None` where it does not tell.
fn look(namespace: &NetNamespace) -> Option<(NetnsFacts, Counters)> {
    let netstat = text("/proc/thread-self/net/netstat").ok()?;
    let counters = parse_counters(&netstat, "TcpExt:", &COUNTERS);
    let sockstat = text("/proc/thread-self/net/sockstat").ok()?;
    let limit = text("/proc/sys/net/ipv4/tcp_max_tw_buckets").ok();
    let mut facts = NetnsFacts {
        netns: namespace.inum,
        name: namespace.name.as_ref().map(|name| name.to_string_lossy().into_owned()),
        tw: parse_sockstat(&sockstat).tw,
        max_tw_buckets: limit.and_then(|limit| parse_number(&limit)),
        ..NetnsFacts::default()
    };
    // Without sock_diag the rest is still worth having.
    if let Ok(mut diag) = SockDiag::open() {
        let mut listening = HashSet::new();
        facts.listeners = busy(&mut diag, &mut listening);
        if facts.has_many_minisockets() {
            facts.minisockets = minisockets(&mut diag, &listening);
        }
    }
    Some((facts, counters))
}

/// The listeners that somebody waits for, or that dropped somebody; `listening`: the ports of all.
fn busy(diag: &mut SockDiag, listening: &mut HashSet<u16>) -> Vec<Listener> {
    let mut busy = Vec::new();
    let dumped = diag.dump(StateMask::of(&[TcpState::Listen]), true, |entry| {
        listening.insert(entry.local.port());
        let listener = sockets::listener(entry);
        if listener.is_busy() {
            busy.push(listener);
        }
    });
    if dumped.is_err() {
        return Vec::new();
    }
    busy.sort_by(|a, b| b.share().total_cmp(&a.share()).then_with(|| b.drops.cmp(&a.drops)));
    busy.truncate(MOST_BUSY);
    busy
}

/// Minisockets of accepted connections, and of those that were made.
fn minisockets(diag: &mut SockDiag, listening: &HashSet<u16>) -> Option<(u64, u64)> {
    let (mut accepted, mut connecting) = (0, 0);
    diag.dump(StateMask::of(&[TcpState::TimeWait]), false, |entry| {
        if entry.kind == Kind::Minisocket {
            let came_in = listening.contains(&entry.local.port());
            *(if came_in { &mut accepted } else { &mut connecting }) += 1;
        }
    })
    .ok()?;
    Some((accepted, connecting))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there(numbers: &[u32]) -> Vec<NetNamespace> {
        let of = |inum: &u32| NetNamespace {
            inum: *inum,
            path: std::path::PathBuf::new(),
            name: None,
            pid: None,
        };
        numbers.iter().map(of).collect()
    }

    fn seen(counts: &[(u32, u64)]) -> Vec<(NetnsFacts, Counters)> {
        let of = |(netns, killed): &(u32, u64)| {
            let facts = NetnsFacts { netns: *netns, ..NetnsFacts::default() };
            (facts, Counters::from([(KILLED, *killed)]))
        };
        counts.iter().map(of).collect()
    }

    #[test]
    fn what_was_killed_is_counted_on_when_namespaces_come_and_go() {
        let mut reader = ElsewhereReader::default();
        let mut look = |counts: &[(u32, u64)], numbers: &[u32]| {
            let all = reader.take(seen(counts), &there(numbers));
            let each: Vec<u64> = all.namespaces.iter().map(|it| it.counters[KILLED]).collect();
            (all.killed, each)
        };
        // What was killed before we came is none of ours.
        assert_eq!(look(&[(1, 500), (2, 0)], &[1, 2]), (0, vec![0, 0]));
        assert_eq!(look(&[(1, 510), (2, 3)], &[1, 2]), (13, vec![10, 3]));
        // One that came later has counted all of it since.
        assert_eq!(look(&[(1, 510), (3, 7)], &[1, 2, 3]), (20, vec![10, 7]));
        // 2 could not be entered and is there again; 1 is gone, its number is another's.
        assert_eq!(look(&[(1, 4), (2, 5)], &[1, 2]), (26, vec![4, 5]));
        assert_eq!(look(&[], &[]), (26, vec![]));
        assert_eq!(look(&[(1, 1)], &[1]), (27, vec![1]));
    }
}
