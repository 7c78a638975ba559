//! sock_diag, asked now and then: the memory and peers of orphans, and minisockets, which no
//! hook on this kernel may see.
//!
//! A dump walks the kernel's whole hash table, so its cost is bounded: after one that took t, the
//! next waits 50 t.

use std::collections::{BTreeMap, HashSet};
use std::time::Instant;

use anyhow::Result;
use tracer_common::lifecycle::is_accepted;
use tracer_common::state::TcpState;

use super::namespaces;
use super::sock_diag::{Entry, Kind, SockDiag, StateMask};
use crate::event::Direction;
use crate::event::{DiagSample, DiagService, Network, Service};
use crate::filter::{Filter, SocketIdentity};

/// Share of the time that dumps may take: one in this many.
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
        })
    }

    /// Hands every socket of every namespace to `sink`, with the namespace; also where the filter
    /// is on one: orphans anywhere count towards the host's limit. Returns the namespaces that
    /// could be asked.
    ///
    /// # Errors
    ///
    /// Our own namespace refuses a dump.
    pub fn dump_all(&mut self, mut sink: impl FnMut(u32, &Entry)) -> Result<HashSet<u32>> {
        let whole = self.own.dump(StateMask::ALL, false, |entry| sink(self.own_inum, entry))?;
        let mut asked = HashSet::new();
        if !whole.interrupted {
            asked.insert(self.own_inum);
        }
        self.ask_others(|netns, diag| {
            let whole = diag.dump(StateMask::ALL, false, |entry| sink(netns, entry));
            if whole.is_ok_and(|dumped| !dumped.interrupted) {
                asked.insert(netns);
            }
        });
        Ok(asked)
    }

    /// A sample, or `None` when it is too early for another. `listening`: ports whose sockets
    /// were accepted here.
    pub fn sample(&mut self, listening: &HashSet<u16>, thorough: bool) -> Option<DiagSample> {
        let began = Instant::now();
        if !thorough && self.not_before.is_some_and(|not_before| began < not_before) {
            return None;
        }
        let mut sample = DiagSample { has_time_wait: true, ..DiagSample::default() };
        let states = StateMask::ORPHANS | StateMask::of(&[TcpState::TimeWait]);
        let (filter, watched) = (&self.filter, self.watched);
        let mut ask = |netns: u32, diag: &mut SockDiag| {
            diag.dump(states, true, |entry| {
                if entry.kind == Kind::Minisocket
                    && entry.state == TcpState::FinWait2
                    && netns == watched
                {
                    sample.fin_wait2_minisockets += 1;
                }
                count(&mut sample.services, filter, netns, listening, entry);
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
        self.not_before = Some(Instant::now() + began.elapsed() * TIME_SHARE);
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

fn count(
    services: &mut BTreeMap<Service, DiagService>,
    filter: &Filter,
    netns: u32,
    listening: &HashSet<u16>,
    entry: &Entry,
) {
    let identity = SocketIdentity {
        local_port: entry.local.port(),
        peer_port: entry.peer.port(),
        peer: entry.peer.ip(),
        is_ipv6: entry.ipv6,
        netns,
    };
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
    let seen = services.entry(service).or_default();
    match (minisocket, entry.state) {
        (true, TcpState::FinWait2) => seen.fin_wait2_minisockets += 1,
        (true, _) => seen.time_wait += 1,
        (false, _) => {
            let bytes = entry.memory.map_or(0, |memory| memory.charged().0);
            seen.orphans += 1;
            seen.orphan_bytes += bytes;
            let network = Network::of(identity.peer);
            if seen.peers.len() < MAX_PEERS || seen.peers.contains_key(&network) {
                let peer = seen.peers.entry(network).or_default();
                peer.0 += 1;
                peer.1 += bytes;
            }
        }
    }
}
