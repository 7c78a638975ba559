//! The fold's state as bytes, so that a trace can be entered in the middle.
//!
//! Nobody but this build reads them: another version replays from the start instead and gets the
//! same result. The facts of the last half minute are not in it: who restores shows them again
//! ([`Aggregator::remember`]). What every sample brings anew (gauges, totals, own cost) is not in it, except what
//! the next tick compares itself with.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use tracer_common::counters::{GroupCounters, OrphanCause, OrphanEnd};

use super::history::{History, SavedHistory};
use super::rollup::Rollup;
use super::snapshot::{BadEnd, States};
use super::{Aggregator, BAD_ENDS, Last, Settings};
use crate::diagnose::judge::SavedJudge;
use crate::event::{DiagSample, DiagService, Direction, Group, Listening, Network, Owner, Service};
use crate::gauges::Gauges;
use crate::time::{Monotonic, Wall};

/// Goes up with every change of what is in the bytes or of what the fold makes of it.
pub const VERSION: u32 = 5;

/// Most rows of a kind that a state can have.
const MOST_ROWS: usize = 16_384;

/// A service as (port, whether it is accepted).
pub(super) type SavedService = (u16, bool);

pub(super) fn service_out(service: Service) -> SavedService {
    (service.port, service.direction == Direction::In)
}

pub(super) fn service_in((port, accepted): SavedService) -> Service {
    Service { port, direction: if accepted { Direction::In } else { Direction::Out } }
}

type SavedOwner = (u32, String);

fn owner_out(owner: &Owner) -> SavedOwner {
    (owner.pid, owner.comm.clone())
}

fn owner_in((pid, comm): SavedOwner) -> Owner {
    Owner { pid, comm }
}

#[derive(Serialize, Deserialize)]
struct Saved {
    history: SavedHistory,
    judge: SavedJudge,
    bad_ends: Vec<SavedBadEnd>,
    diag: SavedDiag,
    time_wait: Vec<(SavedService, u64)>,
    last: Option<SavedLast>,
}

#[derive(Serialize, Deserialize)]
struct SavedBadEnd {
    time: i64,
    port: u16,
    peer: SocketAddr,
    reason: u8,
    /// 0: none.
    cause: u8,
    owner: Option<SavedOwner>,
}

#[derive(Serialize, Deserialize)]
struct SavedDiag {
    services: Vec<(SavedService, SavedDiagService)>,
    fin_wait2_minisockets: u64,
    has_time_wait: bool,
}

#[derive(Serialize, Deserialize)]
struct SavedDiagService {
    orphans: u64,
    orphan_bytes: u64,
    fin_wait2_minisockets: u64,
    time_wait: u64,
    peers: Vec<(IpAddr, u64, u64)>,
    listen: Option<Listening>,
}

#[derive(Serialize, Deserialize)]
struct SavedLast {
    at: u64,
    states: States,
    groups: Vec<SavedGroup>,
}

#[derive(Serialize, Deserialize)]
struct SavedGroup {
    service: SavedService,
    owner: Option<SavedOwner>,
    owner_start_ticks: u32,
    cgroup: Option<String>,
    alive: bool,
    words: Vec<u64>,
}

impl Aggregator {
    /// The state right after a tick, for [`Aggregator::restore`].
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        let saved = Saved {
            history: self.history.save(),
            judge: self.judge.save(),
            bad_ends: self.bad_ends.iter().map(bad_end_out).collect(),
            diag: diag_out(&self.diag),
            time_wait: self
                .time_wait
                .iter()
                .map(|(service, count)| (service_out(*service), *count))
                .collect(),
            last: self.last.as_ref().map(|last| SavedLast {
                at: last.at.0,
                states: last.states,
                groups: self.totals.groups.iter().map(group_out).collect(),
            }),
        };
        // Into memory, of types that have a length: it cannot fail. If it ever did, an empty
        // checkpoint is one that nobody can restore.
        postcard::to_allocvec(&saved).unwrap_or_default()
    }

    /// A fold that goes on after the tick at which `bytes` were saved by a build with the same
    /// [`VERSION`]; `baseline` are the gauges that counters are told from. `None` if the bytes
    /// are not what [`Aggregator::save`] writes.
    #[must_use]
    pub fn restore(settings: Settings, baseline: Gauges, bytes: &[u8]) -> Option<Self> {
        let saved: Saved = postcard::from_bytes(bytes).ok()?;
        let rows = saved.last.as_ref().map_or(0, |last| last.groups.len());
        let rows = rows.max(saved.diag.services.len()).max(saved.time_wait.len());
        if saved.bad_ends.len() > BAD_ENDS || rows > MOST_ROWS {
            return None;
        }
        let mut new = Self::new(settings);
        new.first_gauges = Some(baseline);
        new.history = History::restore(saved.history)?;
        new.judge = new.judge.restored(saved.judge)?;
        new.bad_ends = saved.bad_ends.into_iter().map(bad_end_in).collect::<Option<_>>()?;
        new.diag = diag_in(saved.diag);
        new.time_wait =
            saved.time_wait.into_iter().map(|(key, count)| (service_in(key), count)).collect();
        new.last = match saved.last {
            Some(last) => {
                let groups: Option<Vec<Group>> = last.groups.into_iter().map(group_in).collect();
                let rollup = Rollup::of(&groups?);
                Some(Last { at: Monotonic(last.at), rollup, states: last.states })
            }
            None => None,
        };
        Some(new)
    }
}

fn bad_end_out(end: &BadEnd) -> SavedBadEnd {
    let known = |reason: &OrphanEnd| reason.name() == end.reason;
    SavedBadEnd {
        time: end.time.0,
        port: end.port,
        peer: end.peer,
        reason: OrphanEnd::ALL.into_iter().find(known).unwrap_or(OrphanEnd::Other) as u8,
        cause: OrphanCause::ALL
            .into_iter()
            .find(|cause| Some(cause.name()) == end.cause)
            .map_or(0, |cause| cause as u8),
        owner: end.owner.as_ref().map(owner_out),
    }
}

fn bad_end_in(saved: SavedBadEnd) -> Option<BadEnd> {
    Some(BadEnd {
        time: Wall(saved.time),
        port: saved.port,
        peer: saved.peer,
        reason: OrphanEnd::from_number(saved.reason)?.name(),
        cause: OrphanCause::from_number(saved.cause).map(OrphanCause::name),
        owner: saved.owner.map(owner_in),
    })
}

fn diag_out(diag: &DiagSample) -> SavedDiag {
    let service = |(key, seen): (&Service, &DiagService)| {
        let peers =
            seen.peers.iter().map(|(network, (orphans, bytes))| (network.0, *orphans, *bytes));
        let saved = SavedDiagService {
            orphans: seen.orphans,
            orphan_bytes: seen.orphan_bytes,
            fin_wait2_minisockets: seen.fin_wait2_minisockets,
            time_wait: seen.time_wait,
            peers: peers.collect(),
            listen: seen.listen,
        };
        (service_out(*key), saved)
    };
    SavedDiag {
        services: diag.services.iter().map(service).collect(),
        fin_wait2_minisockets: diag.fin_wait2_minisockets,
        has_time_wait: diag.has_time_wait,
    }
}

fn diag_in(saved: SavedDiag) -> DiagSample {
    let service = |(key, saved): (SavedService, SavedDiagService)| {
        let peers = saved.peers.into_iter();
        let seen = DiagService {
            orphans: saved.orphans,
            orphan_bytes: saved.orphan_bytes,
            fin_wait2_minisockets: saved.fin_wait2_minisockets,
            time_wait: saved.time_wait,
            peers: peers
                .map(|(address, orphans, bytes)| (Network(address), (orphans, bytes)))
                .collect(),
            listen: saved.listen,
        };
        (service_in(key), seen)
    };
    DiagSample {
        services: saved.services.into_iter().map(service).collect(),
        fin_wait2_minisockets: saved.fin_wait2_minisockets,
        has_time_wait: saved.has_time_wait,
    }
}

fn group_out(group: &Group) -> SavedGroup {
    SavedGroup {
        service: service_out(group.service),
        owner: group.owner.as_ref().map(owner_out),
        owner_start_ticks: group.owner_start_ticks,
        cgroup: group.cgroup.clone(),
        alive: group.alive,
        words: group.counters.words.to_vec(),
    }
}

fn group_in(saved: SavedGroup) -> Option<Group> {
    Some(Group {
        service: service_in(saved.service),
        owner: saved.owner.map(owner_in),
        owner_start_ticks: saved.owner_start_ticks,
        cgroup: saved.cgroup,
        // Nothing that is compared with the tick before.
        workload: None,
        alive: saved.alive,
        unchecked: 0,
        counters: GroupCounters { words: saved.words.try_into().ok()? },
    })
}

/// A map of series as pairs: the bytes know no other keys than numbers.
pub(super) fn series_out<K: Copy, S>(
    series: &BTreeMap<K, VecDeque<u64>>,
    key: impl Fn(K) -> S,
) -> Vec<(S, Vec<u64>)> {
    series.iter().map(|(of, values)| (key(*of), values.iter().copied().collect())).collect()
}

#[cfg(test)]
mod tests;
