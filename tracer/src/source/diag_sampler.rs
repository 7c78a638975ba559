//! sock_diag, asked now and then: the memory and peers of orphans, and minisockets, which no
//! hook on this kernel may see.
//!
//! A dump walks the kernel's whole hash table, so its cost is bounded: after one that took t, the
//! next waits 50 t. Every network namespace has a socket of its own.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use anyhow::Result;
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
#[derive(Debug)]
pub struct DiagSampler {
    namespaces: Vec<(u32, SockDiag)>,
    /// The namespace whose gauges are read.
    watched: u32,
    filter: Filter,
    not_before: Option<Instant>,
}

impl DiagSampler {
    /// Opens a socket in each namespace, also where the filter is on one: orphans anywhere count
    /// towards the host's limit. A namespace that cannot be entered is told in `notes`.
    ///
    /// # Errors
    ///
    /// Our own namespace has no sock_diag.
    pub fn open(filter: &Filter, notes: &mut Vec<String>) -> Result<Self> {
        let own = namespaces::own_inum()?;
        let watched = filter.netns.as_ref().map_or(own, |(_, netns)| *netns);
        let mut opened = Vec::new();
        if watched == own {
            opened.push((own, SockDiag::open()?));
        }
        let mut refused = 0;
        for namespace in namespaces::list()?.found {
            if opened.iter().any(|(inum, _)| *inum == namespace.inum) {
                continue;
            }
            match SockDiag::open_in(&namespace.path) {
                Ok(diag) => opened.push((namespace.inum, diag)),
                Err(_) => refused += 1,
            }
        }
        if refused > 0 {
            notes.push(format!(
                "{refused} network namespaces cannot be entered: what stood there before is not \
                 counted"
            ));
        }
        Ok(Self { namespaces: opened, watched, filter: filter.clone(), not_before: None })
    }

    /// From now on only namespaces that the filter lets through are asked.
    pub fn keep_filtered(&mut self) {
        if let Some((_, wanted)) = &self.filter.netns {
            self.namespaces.retain(|(netns, _)| netns == wanted);
        }
    }

    /// Hands every socket of every namespace to `sink`, with the namespace.
    ///
    /// # Errors
    ///
    /// The kernel refuses a dump.
    pub fn dump_all(&mut self, states: StateMask, mut sink: impl FnMut(u32, &Entry)) -> Result<()> {
        for (netns, diag) in &mut self.namespaces {
            diag.dump(states, false, |entry| sink(*netns, entry))?;
        }
        Ok(())
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
        self.namespaces.retain_mut(|(netns, diag)| {
            let asked = diag.dump(states, true, |entry| {
                if entry.kind == Kind::Minisocket
                    && entry.state == TcpState::FinWait2
                    && *netns == watched
                {
                    sample.fin_wait2_minisockets += 1;
                }
                count(&mut sample.services, filter, *netns, listening, entry);
            });
            // A namespace whose socket fails (it was torn down) is not asked again; our own
            // failing once is no reason to give it up.
            asked.is_ok() || *netns == watched
        });
        let took = began.elapsed();
        self.not_before = Some(Instant::now() + took * TIME_SHARE - Duration::from_millis(5));
        Some(sample)
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
    let service = if listening.contains(&identity.local_port) {
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
