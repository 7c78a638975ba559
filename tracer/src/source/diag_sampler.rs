//! sock_diag, asked now and then: the memory and peers of orphans, listeners with their queues, and,
//! where no hook sees them, minisockets.
//!
//! A dump walks the kernel's whole hash table, so its cost is bounded: after one that took t, the
//! next waits 50 t.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Instant;

use anyhow::Result;
use tracer_common::lifecycle::is_accepted;
use tracer_common::state::TcpState;

use super::namespaces;
use super::own_cost::CpuTimer;
use super::sock_diag::{Entry, Kind, SockDiag, StateMask};
use crate::event::Direction;
use crate::event::{DiagSample, DiagService, Network, Service};
use crate::filter::Filter;

/// Share of a CPU that dumps may take: one in this many.
const TIME_SHARE: u32 = 50;
/// Networks of peers kept per service; further ones are not told apart.
const MAX_PEERS: usize = 4096;

/// Asks every namespace.
///
/// A socket keeps the namespace it was opened in alive, so other namespaces than our own get one
/// for each dump only: a container that stops while we trace is gone when it is gone.
#[derive(Debug)]
pub struct DiagSampler {
    own: SockDiag,
    own_inum: u32,
    /// The namespace whose gauges are read.
    watched: u32,
    filter: Filter,
    not_before: Option<Instant>,
    drops: Drops,
}

/// What listeners dropped since the first sample.
#[derive(Debug, Default)]
pub(super) struct Drops {
    /// Each listener's own count when it was last seen, and in which sample that was.
    last: HashMap<u64, (u32, u32)>,
    /// By service.
    pub(super) total: BTreeMap<Service, u64>,
    samples: u32,
}

impl Drops {
    /// So many samples a listener may be missing (its namespace could not be asked) without its
    /// count being taken for a new listener's.
    const FORGOTTEN_AFTER: u32 = 100;

    /// One listener's count in this sample. One that was not there in the first has dropped all of
    /// it since then.
    pub(super) fn see(&mut self, service: Service, cookie: u64, count: u32) {
        let known = self.last.insert(cookie, (count, self.samples));
        let before = known.map_or(if self.samples == 0 { count } else { 0 }, |(count, _)| count);
        *self.total.entry(service).or_default() += u64::from(count.wrapping_sub(before));
    }

    /// The sample is complete.
    pub(super) fn end_sample(&mut self) {
        self.samples = self.samples.wrapping_add(1);
        let now = self.samples;
        self.last.retain(|_, (_, seen)| now.wrapping_sub(*seen) <= Self::FORGOTTEN_AFTER);
    }
}

impl DiagSampler {
    /// Opens our own namespace.
    ///
    /// # Errors
    ///
    /// It has no sock_diag.
    pub fn open(filter: &Filter) -> Result<Self> {
        let own_inum = namespaces::own_inum()?;
        Ok(Self {
            own: SockDiag::open()?,
            own_inum,
            watched: filter.netns.as_ref().map_or(own_inum, |(_, netns)| *netns),
            filter: filter.clone(),
            not_before: None,
            drops: Drops::default(),
        })
    }

    /// Hands every socket of every namespace to `sink`, with the namespace; also where the filter
    /// is on one: orphans anywhere count towards the host's limit. Returns the namespaces that
    /// could be asked.
    ///
    /// # Errors
    ///
    /// Our own namespace refuses a dump.
    pub fn dump_all(&mut self, sink: impl FnMut(u32, &Entry)) -> Result<HashSet<u32>> {
        self.dump(StateMask::ALL, sink)
    }

    /// The same of the sockets in these states.
    ///
    /// # Errors
    ///
    /// Our own namespace refuses a dump.
    pub fn dump(
        &mut self,
        states: StateMask,
        mut sink: impl FnMut(u32, &Entry),
    ) -> Result<HashSet<u32>> {
        let whole = self.own.dump(states, false, |entry| sink(self.own_inum, entry))?;
        let mut asked = HashSet::new();
        if !whole.interrupted {
            asked.insert(self.own_inum);
        }
        self.ask_others(|netns, diag| {
            let whole = diag.dump(states, false, |entry| sink(netns, entry));
            if whole.is_ok_and(|dumped| !dumped.interrupted) {
                asked.insert(netns);
            }
        });
        Ok(asked)
    }

    /// A sample, or `None` when it is too early for another. `listening`: ports whose sockets
    /// were accepted here; `minisockets`: whether TIME_WAIT is asked for, which costs most.
    pub fn sample(
        &mut self,
        listening: &HashSet<u16>,
        minisockets: bool,
        thorough: bool,
    ) -> Option<DiagSample> {
        if !thorough && self.not_before.is_some_and(|not_before| Instant::now() < not_before) {
            return None;
        }
        let timer = CpuTimer::start();
        let mut sample = DiagSample { has_time_wait: minisockets, ..DiagSample::default() };
        // SYN_RECV stands for the request sockets of the SYN queues.
        let listeners = StateMask::of(&[TcpState::Listen, TcpState::SynRecv]);
        let mut states = StateMask::ORPHANS | listeners;
        if minisockets {
            states = states | StateMask::of(&[TcpState::TimeWait]);
        }
        let mut drops = std::mem::take(&mut self.drops);
        let (filter, watched) = (&self.filter, self.watched);
        let mut ask = |netns: u32, diag: &mut SockDiag| {
            diag.dump(states, true, |entry| {
                if entry.kind == Kind::Minisocket
                    && entry.state == TcpState::FinWait2
                    && netns == watched
                {
                    sample.fin_wait2_minisockets += 1;
                }
                if entry.state == TcpState::Listen {
                    listener(&mut sample.services, &mut drops, filter, netns, entry);
                } else if entry.kind == Kind::Request {
                    half_open(&mut sample.services, filter, netns, entry);
                } else {
                    count(&mut sample.services, filter, netns, listening, entry);
                }
            })
            .is_ok()
        };
        match &self.filter.netns {
            Some((path, netns)) if *netns != self.own_inum => {
                if let Ok(mut diag) = SockDiag::open_in(path.as_ref()) {
                    ask(*netns, &mut diag);
                }
            }
            only => {
                if !ask(self.own_inum, &mut self.own)
                    && let Ok(again) = SockDiag::open()
                {
                    self.own = again;
                }
                if only.is_none() {
                    self.ask_others(|netns, diag| {
                        ask(netns, diag);
                    });
                }
            }
        }
        for (service, total) in &drops.total {
            // Those that are gone by now still dropped what they dropped.
            let seen = sample.services.entry(*service).or_default();
            seen.listen.get_or_insert_default().drops = *total;
        }
        drops.end_sample();
        self.drops = drops;
        self.not_before = Some(Instant::now() + timer.used() * TIME_SHARE);
        Some(sample)
    }

    /// Asks every namespace but our own that can be entered.
    fn ask_others(&self, mut ask: impl FnMut(u32, &mut SockDiag)) {
        let found = namespaces::list().map(|list| list.found).unwrap_or_default();
        for namespace in found.iter().filter(|namespace| namespace.inum != self.own_inum) {
            if let Ok(mut diag) = SockDiag::open_in(&namespace.path) {
                ask(namespace.inum, &mut diag);
            }
        }
    }
}

fn listener(
    services: &mut BTreeMap<Service, DiagService>,
    drops: &mut Drops,
    filter: &Filter,
    netns: u32,
    entry: &Entry,
) {
    let identity = entry.identity(netns);
    if !filter.passes_listener(&identity) {
        return;
    }
    let service = Service { port: identity.local_port, direction: Direction::In };
    listens(services.entry(service).or_default(), drops, service, entry);
}

/// Counts a listener.
pub(super) fn listens(seen: &mut DiagService, drops: &mut Drops, service: Service, entry: &Entry) {
    let listen = seen.listen.get_or_insert_default();
    // Of a listener these are `sk_ack_backlog` and `sk_max_ack_backlog` (`tcp_diag_get_info`).
    listen.queued += u64::from(entry.rqueue);
    listen.backlog += u64::from(entry.wqueue);
    listen.half_open.get_or_insert(0);
    drops.see(service, entry.cookie, entry.memory.map_or(0, |memory| memory.drops));
}

/// Counts a half-open connection, if the filter takes it.
pub(super) fn half_open(
    services: &mut BTreeMap<Service, DiagService>,
    filter: &Filter,
    netns: u32,
    entry: &Entry,
) {
    let identity = entry.identity(netns);
    if filter.passes_socket(&identity) {
        let service = Service { port: identity.local_port, direction: Direction::In };
        let listen = services.entry(service).or_default().listen.get_or_insert_default();
        *listen.half_open.get_or_insert(0) += 1;
    }
}

fn count(
    services: &mut BTreeMap<Service, DiagService>,
    filter: &Filter,
    netns: u32,
    listening: &HashSet<u16>,
    entry: &Entry,
) {
    let identity = entry.identity(netns);
    if !filter.passes_socket(&identity) {
        return;
    }
    let minisocket = entry.kind == Kind::Minisocket;
    if !minisocket && !entry.is_orphan() {
        return;
    }
    // As for what stood before: minisockets outlive the listener that would tell.
    let accepted = listening.contains(&identity.local_port)
        || (!listening.contains(&identity.peer_port)
            && is_accepted(identity.local_port, identity.peer_port));
    let service = if accepted {
        Service { port: identity.local_port, direction: Direction::In }
    } else {
        Service { port: identity.peer_port, direction: Direction::Out }
    };
    add(services.entry(service).or_default(), entry);
}

/// Counts a minisocket or an orphan.
pub(super) fn add(seen: &mut DiagService, entry: &Entry) {
    match (entry.kind == Kind::Minisocket, entry.state) {
        (true, TcpState::FinWait2) => seen.fin_wait2_minisockets += 1,
        (true, _) => seen.time_wait += 1,
        (false, _) => {
            let bytes = entry.memory.map_or(0, |memory| memory.charged().0);
            seen.orphans += 1;
            seen.orphan_bytes += bytes;
            let network = Network::of(entry.peer.ip());
            if seen.peers.len() < MAX_PEERS || seen.peers.contains_key(&network) {
                let peer = seen.peers.entry(network).or_default();
                peer.0 += 1;
                peer.1 += bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_count_from_the_first_sample_on() {
        let service = Service { port: 9981, direction: Direction::In };
        let mut drops = Drops::default();
        drops.see(service, 1, 1000);
        drops.end_sample();
        assert_eq!(drops.total[&service], 0, "they were before");
        drops.see(service, 1, 1007);
        // Another listener on the port, since then.
        drops.see(service, 2, 5);
        drops.end_sample();
        assert_eq!(drops.total[&service], 12);
        // Not seen for a while, then again; the kernel's count wraps.
        drops.end_sample();
        drops.see(service, 1, u32::MAX);
        drops.end_sample();
        drops.see(service, 1, 1);
        drops.end_sample();
        assert_eq!(drops.total[&service], 12 + u64::from(u32::MAX - 1007) + 2);
        for _ in 0..=Drops::FORGOTTEN_AFTER {
            drops.end_sample();
        }
        assert!(drops.last.is_empty());
    }
}
