//! Facts over a few seconds: the last ones are what is, the ones before tell where it goes.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::counted::{Counted, Kills};
use super::setting_changed::Change;
use super::trend::Trend;
use crate::facts::{CgroupMemory, Destination, Facts, Listener, ProcessFds};
use crate::filter::Filter;

/// What a watch that goes on remembers, and what is looked back upon in a trace: as long as a trend
/// can rest on.
pub const WINDOW_S: f64 = 30.0;

/// A shorter watch, milliseconds, says nothing of what lasts.
const LEAST_WATCHED_MS: u64 = 1_600;

/// Samples of one host, oldest first; at least one.
#[derive(Clone, Debug)]
pub struct Watch {
    before: Vec<Facts>,
    last: Facts,
    /// What is asked about: see [`Watch::about`].
    pub(super) filter: Filter,
    /// What hooks counted by now; `None` where nobody counts.
    pub(super) counted: Option<Counted>,
    /// Workloads of processes by id, as far as they are known.
    pub(super) workloads: BTreeMap<u32, String>,
    /// Orphans killed lately, as far as hooks counted them.
    pub(super) kills: Kills,
    /// Settings that changed, oldest first.
    pub(super) changes: Vec<Change>,
    /// Whether something was lost lately.
    pub(super) loses: bool,
    /// How long our count of orphans has been off the kernel's, always the same way.
    pub(super) drifts_for_s: Option<f64>,
}

impl Watch {
    /// `last` and what was seen before it, oldest first.
    #[must_use]
    pub fn new(before: Vec<Facts>, last: Facts) -> Self {
        Self {
            before,
            last,
            filter: Filter::default(),
            counted: None,
            workloads: BTreeMap::new(),
            kills: Kills::default(),
            changes: Vec::new(),
            loses: false,
            drifts_for_s: None,
        }
    }

    /// What was seen, oldest first; `None` of nothing. Of a trace: what
    /// [`crate::recording::lookback::look_back`] gives.
    #[must_use]
    pub fn of(mut samples: Vec<Facts>) -> Option<Self> {
        let last = samples.pop()?;
        Some(Self::new(samples, last))
    }

    /// Goes on to `next`, and forgets what was seen more than [`WINDOW_S`] before it.
    pub fn push(&mut self, next: Facts) {
        self.before.push(std::mem::replace(&mut self.last, next));
        let now = self.last.at;
        let old = self.before.partition_point(|facts| now.seconds_since(facts.at) > WINDOW_S);
        // With a long interval there is at least the moment before: counters are compared with it.
        self.before.drain(..old.min(self.before.len() - 1));
    }

    /// Only about the listeners, destinations, processes and cgroups that the filter lets through.
    /// Each of them is asked what it knows: a listener its port, family and owner; a destination its
    /// port, address and family, and of connections to a service the service's port; a process its id,
    /// name and workload; a cgroup its path. Limits of the host and of a namespace are everybody's.
    #[must_use]
    pub fn about(mut self, filter: Filter) -> Self {
        self.filter = filter;
        self
    }

    /// With the workloads of processes, by id.
    #[must_use]
    pub fn with_workloads(mut self, workloads: BTreeMap<u32, String>) -> Self {
        self.workloads = workloads;
        self
    }

    /// The workload of a process; `None` where it is not known.
    pub(super) fn workload_of(&self, pid: u32) -> Option<&str> {
        self.workloads.get(&pid).map(String::as_str)
    }

    /// Whether sockets of this process are asked about.
    pub(super) fn wants_owner(&self, owner: Option<(u32, &str)>) -> bool {
        self.filter.passes_process(owner) && self.wants_workload_of(owner)
    }

    fn wants_workload_of(&self, owner: Option<(u32, &str)>) -> bool {
        self.filter.passes_workload(owner.and_then(|(pid, _)| self.workload_of(pid)))
    }

    /// Whether what listens there is asked about.
    pub(super) fn wants_listening(&self, local: SocketAddr, owner: Option<(u32, &str)>) -> bool {
        self.filter.passes_listening(local, owner) && self.wants_workload_of(owner)
    }

    /// Whether a listener is asked about.
    pub(super) fn wants_listener(&self, listener: &Listener) -> bool {
        let owner = listener.owner.as_ref().map(|(pid, comm)| (*pid, comm.as_str()));
        self.wants_listening(listener.local, owner)
    }

    /// Whether a destination is asked about.
    pub(super) fn wants_destination(&self, destination: &Destination) -> bool {
        let Filter { ports, peer_ports, addr, family, .. } = &self.filter;
        let named = if peer_ports.is_empty() { ports } else { peer_ports };
        let peer = destination.peer.ip();
        (named.is_empty() || named.contains(&destination.peer.port()))
            && addr.is_none_or(|net| net.contains(&peer.to_canonical()))
            && family.is_none_or(|family| (family == 6) == peer.is_ipv6())
    }

    /// Whether a process is asked about.
    pub(super) fn wants_process(&self, process: &ProcessFds) -> bool {
        self.wants_owner(Some((process.pid, &process.comm)))
    }

    /// Whether a cgroup is asked about.
    pub(super) fn wants_cgroup(&self, cgroup: &CgroupMemory) -> bool {
        self.filter.cgroup.as_ref().is_none_or(|(wanted, _)| *wanted == cgroup.path)
            && self.filter.passes_workload_of(&cgroup.path)
    }

    /// Whether something of the newest sample is let through by the filter; `None` where nothing
    /// there could tell.
    #[must_use]
    pub fn matches(&self) -> Option<bool> {
        let Filter { ports, peer_ports, addr, pid, comm, cgroup, workload, family, .. } =
            &self.filter;
        let by_port = !ports.is_empty() || family.is_some();
        // Where nobody said whose workloads processes are, they cannot tell.
        let by_workload = workload.is_some() && !self.workloads.is_empty();
        let by_owner = pid.is_some() || comm.is_some() || by_workload;
        let by_peer = by_port || !peer_ports.is_empty() || addr.is_some();
        let last = &self.last;
        let mut answers: Vec<bool> = Vec::new();
        if let (true, Ok(listeners)) = (by_port || by_owner, &last.listeners) {
            answers.push(listeners.iter().any(|it| self.wants_listener(it)));
        }
        if let (true, Ok(sockets)) = (by_peer, &last.sockets)
            && let Ok(destinations) = &sockets.destinations
        {
            answers.push(destinations.iter().any(|it| self.wants_destination(it)));
        }
        if let (true, Ok(processes)) = (by_owner, &last.processes) {
            answers.push(processes.worst.iter().any(|it| self.wants_process(it)));
        }
        if let (true, Ok(cgroups)) = (cgroup.is_some() || workload.is_some(), &last.cgroups) {
            answers.push(cgroups.iter().any(|it| self.wants_cgroup(it)));
        }
        answers.into_iter().reduce(|any, one| any || one)
    }

    /// The newest sample.
    #[must_use]
    pub fn last(&self) -> &Facts {
        &self.last
    }

    /// How long was watched.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.before.first().map_or(0.0, |first| self.last.at.seconds_since(first.at))
    }

    /// The same times, of something else that was seen; with nothing that hooks counted.
    pub(super) fn map(&self, of: impl Fn(&Facts) -> Facts) -> Self {
        let before = self.before.iter().map(&of).collect();
        Self {
            filter: self.filter.clone(),
            workloads: self.workloads.clone(),
            ..Self::new(before, of(&self.last))
        }
    }

    pub(super) fn samples(&self) -> impl Iterator<Item = &Facts> {
        self.before.iter().chain(std::iter::once(&self.last))
    }

    /// Each sample with the one before it.
    pub(super) fn steps(&self) -> impl Iterator<Item = (&Facts, &Facts)> {
        self.samples().zip(self.samples().skip(1))
    }

    /// How many samples there are.
    pub(super) fn looks(&self) -> usize {
        self.before.len() + 1
    }

    /// In how many of them something was so.
    pub(super) fn seen(&self, is_so: impl Fn(&Facts) -> bool) -> usize {
        self.samples().filter(|facts| is_so(facts)).count()
    }

    /// Increase of a counter over the watch; `None` where it was not seen twice.
    pub fn increase(&self, value: impl Fn(&Facts) -> Option<u64>) -> Option<u64> {
        let first = self.before.iter().find_map(&value)?;
        Some(value(&self.last)?.saturating_sub(first))
    }

    /// As [`Self::increase`], of a counter of the group TcpExt; 0 where it was not seen twice.
    pub(super) fn increase_of(&self, name: &str) -> u64 {
        self.increase(|facts| facts.gauges.as_ref().ok()?.tcp_ext.get(name).copied()).unwrap_or(0)
    }

    /// How long ago a counter last went up, seconds; `None` where it did not.
    pub(super) fn last_increase(&self, value: impl Fn(&Facts) -> Option<u64>) -> Option<f64> {
        let mut last = None;
        let mut before: Option<u64> = None;
        for facts in self.samples() {
            let Some(now) = value(facts) else { continue };
            if before.is_some_and(|before| now > before) {
                last = Some(facts.at);
            }
            before = Some(now);
        }
        Some(self.last.at.seconds_since(last?))
    }

    /// A counter of the group TcpExt, as it stands.
    pub(super) fn counter(&self, name: &str) -> Option<u64> {
        self.last.gauges.as_ref().ok()?.tcp_ext.get(name).copied()
    }

    /// Growth of the host's orphans.
    pub(super) fn orphans_growth(&self) -> Trend {
        let orphans = |facts: &Facts| facts.gauges.as_ref().ok()?.sockets.orphan;
        self.counted.as_ref().map_or_else(|| self.trend(orphans), |counted| counted.orphans)
    }

    /// Growth of TCP's memory.
    pub(super) fn memory_growth(&self) -> Trend {
        let pages = |facts: &Facts| Some(facts.gauges.as_ref().ok()?.sockets.mem?.0);
        self.counted.as_ref().map_or_else(|| self.trend(pages), |counted| counted.memory)
    }

    /// Of something that only thorough observations show: one sample of each of those, as (seconds,
    /// value), oldest first.
    pub(super) fn thorough(&self, value: impl Fn(&Facts) -> Option<u64>) -> Vec<(f64, f64)> {
        let mut samples: Vec<(f64, f64)> = Vec::new();
        let mut last = None;
        let Some(first) = self.samples().find_map(|facts| facts.detail_at) else {
            return samples;
        };
        for facts in self.samples() {
            let (Some(at), Some(value)) = (facts.detail_at, value(facts)) else { continue };
            if last.replace(at) != Some(at) {
                samples.push((at.seconds_since(first), value as f64));
            }
        }
        samples
    }

    /// What counts as long for something that is only seen to last: `usual` milliseconds, or, where
    /// the watch is shorter than that, most of it.
    pub(super) fn long_ms(&self, usual: u64) -> u64 {
        let watched = (self.seconds() * 800.0) as u64;
        // From one or two observations nothing can be said of what lasts.
        if watched < LEAST_WATCHED_MS { usual } else { usual.min(watched) }
    }

    /// Growth of something over the watch.
    pub fn trend(&self, value: impl Fn(&Facts) -> Option<u64>) -> Trend {
        let Some(start) = self.samples().next().map(|first| first.at) else {
            return Trend::default();
        };
        let samples: Vec<(f64, f64)> = self
            .samples()
            .filter_map(|facts| Some((facts.at.seconds_since(start), value(facts)? as f64)))
            .collect();
        Trend::of(&samples)
    }
}
