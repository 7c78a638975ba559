//! Groups rolled up into services and processes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tracer_common::counters::{Counter, GroupCounters, MiniCounter, MiniEnd, OrphanEnd};
use tracer_common::state::TcpState;

use super::snapshot::{
    Minisockets, OrphanEndDetails, OrphanEnds, OrphanStates, Owner, States, Totals,
};
use crate::event::{self, Group, Service};

/// A process: its id and when it started (a reused id is another process); `None`: unknown.
pub(super) type ProcessKey = Option<(u32, u32)>;

/// All groups of one service.
#[derive(Clone, Debug, Default)]
pub(super) struct ServiceSum {
    pub(super) counters: GroupCounters,
    /// Sockets that may be another process's than their owner's.
    pub(super) unchecked: u64,
    /// Sockets (live and orphaned) and name by owner.
    owners: BTreeMap<(u32, u32), (u64, Owner)>,
    workloads: Workloads,
    /// Of those whose owner is not kept any more.
    former: Workloads,
}

/// The workloads of a service's owners.
#[derive(Clone, Debug, Default)]
enum Workloads {
    #[default]
    Unseen,
    One(Arc<str>),
    /// Several, or one that is not known.
    Others,
}

impl Workloads {
    fn add(&mut self, workload: Option<&Arc<str>>) {
        *self = match (&*self, workload) {
            (Self::Unseen, Some(workload)) => Self::One(Arc::clone(workload)),
            (Self::One(known), Some(workload)) if known == workload => return,
            _ => Self::Others,
        };
    }
}

impl ServiceSum {
    /// The owner of most of its sockets, and how many more there are.
    pub(super) fn owner(&self) -> (Option<Owner>, usize) {
        let main = self
            .owners
            .iter()
            .max_by(|a, b| a.1.0.cmp(&b.1.0).then(b.0.cmp(a.0)))
            .map(|(_, (_, owner))| owner.clone());
        (main, self.owners.len().saturating_sub(1))
    }

    /// The workload of all its owners, if they are in one.
    pub(super) fn workload(&self) -> Option<String> {
        match (&self.workloads, &self.former) {
            (Workloads::One(one), _) | (Workloads::Unseen, Workloads::One(one)) => {
                Some((**one).to_owned())
            }
            _ => None,
        }
    }
}

/// All groups of one process.
#[derive(Clone, Debug, Default)]
pub(super) struct ProcessSum {
    pub(super) counters: GroupCounters,
    pub(super) unchecked: u64,
    pub(super) owner: Option<Owner>,
    pub(super) cgroup: Option<String>,
    pub(super) workload: Option<Arc<str>>,
    pub(super) alive: bool,
    pub(super) ports: BTreeSet<u16>,
}

/// The roll-ups of one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Rollup {
    pub(super) all: GroupCounters,
    pub(super) services: BTreeMap<Service, ServiceSum>,
    pub(super) processes: BTreeMap<ProcessKey, ProcessSum>,
}

impl Rollup {
    pub(super) fn of(groups: &[Group]) -> Self {
        let mut out = Self::default();
        // Processes are many, and workloads few.
        let mut known: BTreeMap<Where<'_>, Option<Arc<str>>> = BTreeMap::new();
        for group in groups {
            let place = (group.cgroup.as_deref(), group.workload.as_deref());
            let workload = known
                .entry(place)
                .or_insert_with(|| group.workload().map(|name| Arc::from(&*name)));
            out.all.merge(&group.counters);
            let service = out.services.entry(group.service).or_default();
            service.counters.merge(&group.counters);
            service.unchecked += group.unchecked;
            let key = group.owner.as_ref().map(|owner| (owner.pid, group.owner_start_ticks));
            if let (Some(key), Some(owner)) = (key, &group.owner) {
                let held = sockets(&group.counters)
                    + group.counters.population(Counter::Orphans)
                    + group.counters.in_state(TcpState::Listen);
                // Who has nothing here any more, and belonged nobody knows where, is not asked.
                if workload.is_some() || held > 0 {
                    service.workloads.add(workload.as_ref());
                }
                // What it once had still names it when nothing is left.
                let weight = (held << 32).saturating_add(group.counters.total(Counter::Changes));
                let entry = service.owners.entry(key).or_insert_with(|| (0, owner.clone()));
                entry.0 = entry.0.saturating_add(weight);
            } else if workload.is_some() {
                service.former.add(workload.as_ref());
            }
            let process = out.processes.entry(key).or_default();
            // Each connection is its holder's; a service has all of them either way.
            let mut counters = group.counters;
            counters.settle();
            process.counters.merge(&counters);
            process.unchecked += group.unchecked;
            process.owner.clone_from(&group.owner);
            if key.is_some() {
                process.cgroup.clone_from(&group.cgroup);
                process.workload.clone_from(workload);
            }
            process.alive |= group.alive;
            process.ports.insert(group.service.port);
        }
        out
    }

    /// Workloads of processes by id; of those that had an id one after the other the one that runs.
    pub(super) fn workloads(&self) -> BTreeMap<u32, String> {
        let mut all = BTreeMap::new();
        for is_alive in [false, true] {
            for (key, sum) in self.processes.iter().filter(|(_, sum)| sum.alive == is_alive) {
                if let (Some((pid, _)), Some(workload)) = (key, &sum.workload) {
                    all.insert(*pid, (**workload).to_owned());
                }
            }
        }
        all
    }
}

/// The path of a cgroup2, and what was read beside it.
type Where<'a> = (Option<&'a str>, Option<&'a str>);

/// Connections and half-open sockets that a process still holds: all full sockets that are not
/// orphans, listeners included.
pub(super) fn sockets(counters: &GroupCounters) -> u64 {
    TcpState::ALL
        .iter()
        .map(|state| counters.in_state(*state))
        .sum::<u64>()
        .saturating_sub(counters.population(Counter::Orphans))
}

/// Full sockets by state; minisockets are not in it.
pub(super) fn states(counters: &GroupCounters) -> States {
    States {
        listen: counters.in_state(TcpState::Listen),
        syn_sent: counters.in_state(TcpState::SynSent),
        syn_recv: counters.in_state(TcpState::SynRecv),
        established: counters.in_state(TcpState::Established),
        fin_wait1: counters.in_state(TcpState::FinWait1),
        fin_wait2: counters.in_state(TcpState::FinWait2),
        close_wait: counters.in_state(TcpState::CloseWait),
        last_ack: counters.in_state(TcpState::LastAck),
        closing: counters.in_state(TcpState::Closing),
        time_wait: 0,
    }
}

pub(super) fn totals(counters: &GroupCounters) -> Totals {
    Totals {
        opened: counters.total(Counter::Opened),
        closed: counters.total(Counter::Closed),
        standing: counters.total(Counter::Standing),
        orphaned: counters.total(Counter::Orphaned),
        time_wait: counters.total(Counter::TimeWait),
        resets_in: counters.total(Counter::ResetsIn),
        resets_out: counters.total(Counter::ResetsOut),
    }
}

pub(super) fn orphan_states(counters: &GroupCounters) -> OrphanStates {
    OrphanStates {
        fin_wait1: counters.population(Counter::OrphansFinWait1),
        last_ack: counters.population(Counter::OrphansLastAck),
        closing: counters.population(Counter::OrphansClosing),
        fin_wait2: counters.population(Counter::OrphansFinWait2),
    }
}

pub(super) fn orphan_ends(counters: &GroupCounters) -> OrphanEnds {
    OrphanEnds {
        acked: counters.ended(OrphanEnd::Acked),
        time_wait: counters.ended(OrphanEnd::TimeWait),
        peer_reset: counters.ended(OrphanEnd::PeerReset),
        timed_out: counters.ended(OrphanEnd::TimedOut),
        killed: counters.ended(OrphanEnd::Killed),
        other: counters.ended(OrphanEnd::Other),
    }
}

pub(super) fn orphan_end_details(counters: &GroupCounters) -> OrphanEndDetails {
    OrphanEndDetails {
        killed_limit: counters.total(Counter::KilledForLimit),
        killed_memory: counters.total(Counter::KilledForMemory),
        linger2: counters.total(Counter::EndedByLinger2),
    }
}

/// `of`: the service's own counters, which know the sockets that got none.
pub(super) fn minisockets(seen: &event::Minisockets, of: &GroupCounters) -> Minisockets {
    let counters = &seen.counters;
    Minisockets {
        standing: seen.standing,
        begun: counters.total(MiniCounter::Begun),
        time_wait: counters.population(MiniCounter::TimeWait),
        fin_wait2: counters.population(MiniCounter::FinWait2),
        expired: counters.ended(MiniEnd::Expired),
        reused: counters.ended(MiniEnd::Reused),
        killed: counters.ended(MiniEnd::Killed),
        overflow: of.total(Counter::TimeWaitOverflow),
    }
}
