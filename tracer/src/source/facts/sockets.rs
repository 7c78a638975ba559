//! What a dump of all sockets comes to: orphans and their memory, half-open connections,
//! minisockets, ports used per destination.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use rustc_hash::{FxHashMap, FxHashSet};
use tracer_common::state::TcpState;

use super::super::namespaces;
use super::super::sock_diag::{Entry, Kind, SockDiag, StateMask};
use super::ages::Ages;
use super::causes::Tally;
use super::closed::{Closed, is_tcp};
use super::holders::Holders;
use super::udp::UdpDrops;
use super::{parse, unknown};
use crate::facts::causes::UdpSocket;
use crate::facts::{Destination, Known, Listener, Minisockets, Orphans, Sockets, Unknown, Waits};
use crate::time::Monotonic;

/// Destinations and ports named.
const NAMED: usize = 5;
/// Destinations told apart: beyond it, new ones are not looked at. One that is short of ports has
/// thousands of connections and is seen early.
const MOST_DESTINATIONS: usize = 1 << 16;
/// Other namespaces that are asked.
const MOST_NAMESPACES: usize = 256;

/// All listeners of the namespace. Cheap: the kernel walks its table of listeners only.
///
/// # Errors
/// No sock_diag.
pub fn listeners(diag: &mut Known<SockDiag>) -> Known<Vec<Listener>> {
    let mut found = Vec::new();
    dump_own(diag, StateMask::of(&[TcpState::Listen]), |entry| found.push(listener(entry)))?;
    found.sort_by_key(|listener| (listener.local.port(), listener.local.ip(), listener.inode));
    Ok(found)
}

/// A listener as the kernel tells of it; who holds it is not known yet.
pub(super) fn listener(entry: &Entry) -> Listener {
    Listener {
        local: entry.local,
        queue: entry.rqueue,
        backlog: entry.wqueue,
        drops: entry.memory.map(|memory| memory.drops),
        inode: entry.inode,
        owner: None,
        holder: None,
        oldest_wait_ms: None,
    }
}

/// What is remembered from one dump to the next.
#[derive(Debug)]
pub(super) struct Memory {
    ages: Ages,
    closed: Closed,
    udp: UdpDrops,
}

impl Memory {
    pub(super) fn new() -> Self {
        Self { ages: Ages::forgetting_after(2), closed: Closed::new(), udp: UdpDrops::default() }
    }
}

/// What a dump of everything comes to.
pub(super) struct Dumped {
    pub(super) sockets: Sockets,
    pub(super) udp: Known<Vec<UdpSocket>>,
    /// Numbers of the cgroups seen.
    pub(super) cgroups: FxHashSet<u64>,
    pub(super) holders: Holders,
    /// By the inode of a listener: how long the oldest connection waits, milliseconds.
    pub(super) oldest_waits: FxHashMap<u64, u64>,
}

/// Everything else. `range`: the local ports that are given out. `allocated`: TCP sockets of the
/// host.
///
/// # Errors
/// No sock_diag.
pub(super) fn dump(
    diag: &mut Known<SockDiag>,
    listeners: &[Listener],
    range: Option<(u16, u16)>,
    (at, allocated): (Monotonic, Option<u64>),
    memory: &mut Memory,
) -> Known<Dumped> {
    let Memory { ages, closed, udp } = memory;
    ages.begin(at);
    udp.begin();
    let is_first = ages.is_first();
    let own = namespaces::thread_inum().unwrap_or(0);
    let mut summary = Summary { range, ..Summary::new(ages) };
    summary.tally.enter(own, range);
    for it in listeners {
        summary.tally.listener(it.local, it.inode, it.queue, it.backlog);
    }
    if is_first && let Ok(diag) = diag {
        summary.tally.learn_ages(diag);
    }
    dump_own(diag, StateMask::ALL, |entry| summary.add(entry))?;
    let udp_asked = match diag {
        Ok(diag) => diag.dump_udp(|entry| udp.see(own, entry)).map(|_| ()),
        Err(_) => Ok(()),
    };
    let mut others = others(own, &mut summary.namespaces_denied);
    for (netns, range, diag) in &mut others {
        summary.tally.enter(*netns, *range);
        if is_first {
            summary.tally.learn_ages(diag);
        }
        let listens = StateMask::of(&[TcpState::Listen]);
        let dumped = diag
            .dump(listens, false, |it| {
                summary.tally.listener(it.local, it.inode, it.rqueue, it.wqueue);
            })
            .and_then(|_| diag.dump(StateMask::ALL, true, |entry| summary.add_other(entry)));
        summary.namespaces_denied += usize::from(dumped.is_err());
        // What one namespace does not tell of UDP is missing, and no more.
        let _ = diag.dump_udp(|entry| udp.see(*netns, entry));
    }
    summary.tally.seal();
    let mut holders = Holders::walk(&mut summary.tally, &udp.end());
    let udp = match udp_asked {
        Ok(()) => Ok(udp.take(&mut holders)),
        Err(error) => Err(Unknown(format!("sock_diag: {error}"))),
    };
    let full = summary.tally.full();
    let oldest_waits = summary.tally.oldest_waits();
    let is_whole = summary.tally.is_whole();
    let (mut sockets, cgroups) = summary.finish(&mut holders);
    if let Ok(causes) = &mut sockets.causes {
        causes.closed_fds = match allocated {
            _ if !is_whole => Err(Unknown::because("too many sockets to compare")),
            None => Err(Unknown::because("/proc/net/sockstat does not tell `alloc`")),
            Some(allocated) => {
                Ok(closed.count(at, allocated.saturating_sub(full), &mut holders, is_tcp, || {
                    shown(diag, &mut others)
                }))
            }
        };
    }
    ages.end();
    Ok(Dumped { sockets, udp, cgroups, holders, oldest_waits })
}

/// Another namespace: its number, its range of local ports, and a way to ask it.
type Other = (u32, Option<(u16, u16)>, SockDiag);

/// Those that can be asked.
fn others(own: u32, denied: &mut usize) -> Vec<Other> {
    let Ok(all) = namespaces::list() else { return Vec::new() };
    *denied += all.denied;
    let mut others = Vec::new();
    for other in all.found.iter().filter(|other| other.inum != own).take(MOST_NAMESPACES) {
        let opened = namespaces::inside(&other.path, || {
            // Read there, it is that namespace's.
            let range = super::text("/proc/sys/net/ipv4/ip_local_port_range").ok();
            let range = range.and_then(|text| parse::two_ports(&text));
            Ok((other.inum, range, SockDiag::open()?))
        });
        match opened {
            Ok(opened) => others.push(opened),
            Err(_) => *denied += 1,
        }
    }
    others
}

/// Inodes of all TCP sockets, asked for once more; `None` if that fails.
fn shown(diag: &mut Known<SockDiag>, others: &mut [Other]) -> Option<HashSet<u64>> {
    let mut inodes = HashSet::new();
    dump_own(diag, StateMask::ALL, |entry| {
        inodes.insert(entry.inode);
    })
    .ok()?;
    for (_, _, diag) in others {
        let insert = |entry: &Entry| {
            inodes.insert(entry.inode);
        };
        diag.dump(StateMask::ALL, false, insert).ok()?;
    }
    Some(inodes)
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
pub(super) struct Summary<'a> {
    range: Option<(u16, u16)>,
    orphans: Orphans,
    waits: Waits,
    half_open: BTreeMap<u16, u64>,
    minisockets: Minisockets,
    namespaces_denied: usize,
    orphan_ports: FxHashMap<u16, u64>,
    cgroups: FxHashSet<u64>,
    last_cgroup: Option<u64>,
    /// Ports by destination; whether more than TIME_WAIT holds each.
    ports: HashMap<(IpAddr, SocketAddr), FxHashMap<u16, bool>>,
    pub(super) tally: Tally<'a>,
}

impl<'a> Summary<'a> {
    fn new(ages: &'a mut Ages) -> Self {
        Self {
            range: None,
            orphans: Orphans::default(),
            waits: Waits::default(),
            half_open: BTreeMap::new(),
            minisockets: Minisockets::default(),
            namespaces_denied: 0,
            orphan_ports: FxHashMap::default(),
            cgroups: FxHashSet::default(),
            last_cgroup: None,
            ports: HashMap::new(),
            tally: Tally::new(ages),
        }
    }

    /// In namespace 1, where these listen.
    #[cfg(test)]
    pub(super) fn of_test(ages: &'a mut Ages, listening: &[u16], range: (u16, u16)) -> Self {
        let mut summary = Self { range: Some(range), ..Self::new(ages) };
        summary.tally.enter(1, Some(range));
        for port in listening {
            let inode = 10_000 + u64::from(*port);
            summary.tally.listener(([0, 0, 0, 0], *port).into(), inode, 0, 128);
        }
        summary
    }

    /// A socket of our own namespace.
    pub(super) fn add(&mut self, entry: &Entry) {
        if entry.state == TcpState::Listen {
            self.cgroup(entry);
            return;
        }
        let accepted = self.add_anywhere(entry);
        if entry.kind == Kind::Request {
            *self.half_open.entry(entry.local.port()).or_default() += 1;
            return;
        }
        if entry.kind == Kind::Minisocket {
            let Minisockets { accepted: ours, connecting, fin_wait2 } = &mut self.minisockets;
            *(if accepted { ours } else { connecting }) += 1;
            *fin_wait2 += u64::from(entry.state == TcpState::FinWait2);
        }
        if !accepted && entry.peer.port() != 0 {
            self.add_port(entry);
        }
    }

    /// A socket of another namespace.
    pub(super) fn add_other(&mut self, entry: &Entry) {
        if entry.state != TcpState::Listen {
            self.add_anywhere(entry);
        }
    }

    /// What counts in every namespace. Returns whether it was accepted.
    fn add_anywhere(&mut self, entry: &Entry) -> bool {
        self.cgroup(entry);
        let accepted = self.tally.is_accepted(entry);
        self.tally.add(entry, accepted);
        self.add_orphan(entry);
        accepted
    }

    fn cgroup(&mut self, entry: &Entry) {
        // Mostly that of the one before.
        if entry.cgroup_id != self.last_cgroup {
            self.last_cgroup = entry.cgroup_id;
            self.cgroups.extend(entry.cgroup_id);
        }
    }

    /// Counts it if it is an orphan.
    fn add_orphan(&mut self, entry: &Entry) {
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

    /// Comes to an end, with who holds what.
    pub(super) fn finish(self, holders: &mut Holders) -> (Sockets, FxHashSet<u64>) {
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
            causes: Ok(self.tally.finish(holders)),
        };
        (sockets, self.cgroups)
    }
}
