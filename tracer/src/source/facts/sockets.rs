//! What a dump of all sockets comes to: orphans and their memory, half-open connections,
//! minisockets, ports used per destination.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use tracer_common::lifecycle::is_accepted;
use tracer_common::state::TcpState;

use super::super::namespaces;
use super::super::sock_diag::{Entry, Kind, SockDiag, StateMask};
use super::unknown;
use crate::facts::{Destination, Known, Listener, Minisockets, Orphans, Sockets, Unknown, Waits};

/// Destinations and ports named.
const NAMED: usize = 5;
/// Destinations told apart: beyond it, new ones are not looked at. One that is short of ports has
/// thousands of connections and is seen early.
const MOST_DESTINATIONS: usize = 1 << 16;
/// Other namespaces asked for orphans.
const MOST_NAMESPACES: usize = 256;

/// All listeners of the namespace. Cheap: the kernel walks its table of listeners only.
///
/// # Errors
/// No sock_diag.
pub fn listeners(diag: &mut Known<SockDiag>) -> Known<Vec<Listener>> {
    let mut found = Vec::new();
    dump_own(diag, StateMask::of(&[TcpState::Listen]), |entry| {
        found.push(Listener {
            local: entry.local,
            queue: entry.rqueue,
            backlog: entry.wqueue,
            drops: entry.memory.map(|memory| memory.drops),
            inode: entry.inode,
            owner: None,
            holder: None,
            oldest_wait_ms: None,
        });
    })?;
    found.sort_by_key(|listener| (listener.local.port(), listener.local.ip(), listener.inode));
    Ok(found)
}

/// Everything else, and the numbers of the cgroups seen. `range`: the local ports that are given
/// out.
///
/// # Errors
/// No sock_diag.
pub fn dump(
    diag: &mut Known<SockDiag>,
    listeners: &[Listener],
    range: Option<(u16, u16)>,
) -> Known<(Sockets, HashSet<u64>)> {
    let listening = listeners.iter().map(|listener| listener.local.port()).collect();
    let mut summary = Summary { listening, range, ..Summary::default() };
    dump_own(diag, StateMask::ALL, |entry| summary.add(entry))?;
    let own = namespaces::thread_inum().unwrap_or(0);
    if let Ok(all) = namespaces::list() {
        summary.namespaces_denied = all.denied;
        for other in all.found.iter().filter(|other| other.inum != own).take(MOST_NAMESPACES) {
            let dumped = SockDiag::open_in(&other.path).and_then(|mut diag| {
                Ok(diag.dump(StateMask::ORPHANS, true, |entry| summary.add_orphan(entry))?)
            });
            summary.namespaces_denied += usize::from(dumped.is_err());
        }
    }
    Ok(summary.finish())
}

fn dump_own(
    diag: &mut Known<SockDiag>,
    states: StateMask,
    mut sink: impl FnMut(&Entry),
) -> Known<()> {
    let socket = match diag {
        Ok(socket) => socket,
        Err(why) => return Err(why.clone()),
    };
    if let Err(error) = socket.dump(states, true, &mut sink) {
        // The kernel may think that a dump that failed half way still runs.
        *diag = SockDiag::open().map_err(|error| unknown(&error));
        return Err(Unknown(format!("sock_diag: {error}")));
    }
    Ok(())
}

/// What is added up while the dump runs.
#[derive(Default)]
pub(super) struct Summary {
    listening: HashSet<u16>,
    range: Option<(u16, u16)>,
    orphans: Orphans,
    waits: Waits,
    half_open: BTreeMap<u16, u64>,
    minisockets: Minisockets,
    namespaces_denied: usize,
    orphan_ports: BTreeMap<u16, u64>,
    cgroups: HashSet<u64>,
    /// Ports by destination; whether more than TIME_WAIT holds each.
    ports: HashMap<(IpAddr, SocketAddr), HashMap<u16, bool>>,
}

impl Summary {
    #[cfg(test)]
    pub(super) fn new(listening: &[u16], range: (u16, u16)) -> Self {
        Self {
            listening: listening.iter().copied().collect(),
            range: Some(range),
            ..Self::default()
        }
    }

    pub(super) fn add(&mut self, entry: &Entry) {
        self.cgroups.extend(entry.cgroup_id);
        match (entry.kind, entry.state) {
            (_, TcpState::Listen) => return,
            (Kind::Request, _) => {
                *self.half_open.entry(entry.local.port()).or_default() += 1;
                return;
            }
            _ => {}
        }
        self.add_orphan(entry);
        let accepted = self.is_accepted(entry);
        if entry.kind == Kind::Minisocket {
            let Minisockets { accepted: ours, connecting, fin_wait2 } = &mut self.minisockets;
            *(if accepted { ours } else { connecting }) += 1;
            *fin_wait2 += u64::from(entry.state == TcpState::FinWait2);
        }
        if !accepted && entry.peer.port() != 0 {
            self.add_port(entry);
        }
    }

    /// Counts it if it is an orphan.
    pub(super) fn add_orphan(&mut self, entry: &Entry) {
        if !entry.is_orphan() {
            return;
        }
        self.orphans.count += 1;
        self.orphans.bytes += entry.memory.map_or(0, |memory| memory.charged().0);
        let waits = &mut self.waits;
        waits.last_ack += u64::from(entry.state == TcpState::LastAck);
        waits.probing += u64::from(entry.timer == Entry::TIMER_PROBE);
        waits.retransmitting +=
            u64::from(entry.timer == Entry::TIMER_RETRANSMIT && entry.retransmits > 0);
        *self.orphan_ports.entry(entry.local.port()).or_default() += 1;
    }

    fn is_accepted(&self, entry: &Entry) -> bool {
        let (local, peer) = (entry.local.port(), entry.peer.port());
        // Minisockets outlive the listener that would tell.
        self.listening.contains(&local)
            || (!self.listening.contains(&peer) && is_accepted(local, peer))
    }

    fn add_port(&mut self, entry: &Entry) {
        let port = entry.local.port();
        if !self.range.is_none_or(|(first, last)| (first..=last).contains(&port)) {
            return;
        }
        let key = (entry.local.ip(), entry.peer);
        if self.ports.len() >= MOST_DESTINATIONS && !self.ports.contains_key(&key) {
            return;
        }
        let time_wait = entry.kind == Kind::Minisocket;
        *self.ports.entry(key).or_default().entry(port).or_default() |= !time_wait;
    }

    pub(super) fn finish(self) -> (Sockets, HashSet<u64>) {
        let mut destinations: Vec<Destination> = self
            .ports
            .iter()
            .map(|((local, peer), ports)| Destination {
                local: *local,
                peer: *peer,
                ports: ports.len() as u64,
                time_wait: ports.values().filter(|busy| !**busy).count() as u64,
            })
            .collect();
        destinations.sort_by(|a, b| {
            b.ports
                .cmp(&a.ports)
                .then_with(|| a.peer.cmp(&b.peer))
                .then_with(|| a.local.cmp(&b.local))
        });
        destinations.truncate(NAMED);
        let mut ports: Vec<(u16, u64)> = self.orphan_ports.into_iter().collect();
        ports.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        ports.truncate(NAMED);
        let sockets = Sockets {
            orphans: Orphans { ports, waits: Some(self.waits), ..self.orphans },
            half_open: Ok(self.half_open),
            minisockets: Ok(self.minisockets),
            destinations: Ok(destinations),
            namespaces_denied: self.namespaces_denied,
            causes: Err(Unknown::because("not sampled")),
        };
        (sockets, self.cgroups)
    }
}
