//! What all TCP sockets say about causes: sums made while the dumps run, and who holds which of
//! them. Pure; [`super::holders`] walks `/proc/PID/fd` for the owners.
//!
//! A socket costs a few lookups in hash maps keyed by numbers, and 32 bytes while a sample lasts;
//! nothing is allocated for it.

mod listening;
mod source_ports;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use rustc_hash::FxHashMap;
use tracer_common::lifecycle::is_accepted;
use tracer_common::state::TcpState;

use self::listening::{Listening, Listens};
use self::source_ports::Sources;
use super::super::sock_diag::{Entry, Kind, SockDiag, StateMask};
use super::ages::{Ages, As};
use super::holders::Holders;
use crate::event::Network;
use crate::facts::causes::{
    Causes, CloseWait, HalfOpen, KeptOpen, MOST_ROWS, MemoryHeld, OrphanCauses, OrphanParts, Owner,
    Part, Queues, ServiceAt,
};

/// Sockets whose owner is looked for; of further ones it is unknown.
const MOST_HELD: usize = 1 << 19;
/// Services, addresses and networks told apart; sockets of further ones are in the sums of all only.
const MOST_KEYS: usize = 1 << 14;

/// No index.
const NONE: u32 = u32::MAX;

/// Adds up.
pub(super) struct Tally<'a> {
    ages: &'a mut Ages,
    netns: u32,
    listening: Listening,
    orphans: OrphanParts,
    orphan_services: FxHashMap<ServiceAt, OrphanParts>,
    /// Keyed by what peers choose, so hashed with a secret.
    orphan_peers: HashMap<Network, OrphanParts>,
    services: Vec<(ServiceAt, Queues)>,
    index: FxHashMap<ServiceAt, u32>,
    all: Queues,
    unowned: Queues,
    held: Vec<Held>,
    /// What is known of those held that are in CLOSE_WAIT or FIN_WAIT2.
    closing: Vec<Closing>,
    close_wait: u64,
    fin_wait2: u64,
    waiting: FxHashMap<(u32, SocketAddr), Waiting>,
    half_open: u64,
    requests: FxHashMap<(u32, SocketAddr), u64>,
    sources: Sources,
    /// Full sockets seen, listeners among them.
    full: u64,
    cut: bool,
}

/// A full socket with a file.
#[derive(Clone, Copy, Debug)]
struct Held {
    inode: u64,
    charged: u32,
    receive: u32,
    send: u32,
    /// Index of its service.
    service: u32,
    /// Index of its process, as soon as one is found.
    owner: u32,
    /// Index into `closing`.
    closing: u32,
}

/// One of them that is half closed.
#[derive(Clone, Copy, Debug)]
struct Closing {
    how: How,
    part: Part,
    unread: u64,
}

#[derive(Clone, Copy, Debug)]
enum How {
    UnreadData,
    EofUnread,
    NotClosed,
    KeptOpen,
}

/// Connections to one address that nobody accepted yet.
#[derive(Clone, Copy, Debug, Default)]
struct Waiting {
    oldest_ms: u64,
    /// Those of them whose peer has closed.
    close_wait: Part,
    unread: u64,
}

impl Part {
    fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.bytes += other.bytes;
        self.oldest_ms = self.oldest_ms.max(other.oldest_ms);
    }
}

impl OrphanParts {
    const fn part(&mut self, entry: &Entry) -> &mut Part {
        match entry.timer {
            Entry::TIMER_PROBE => &mut self.closed_window,
            Entry::TIMER_RETRANSMIT if entry.retransmits > 0 => &mut self.unanswered,
            _ => &mut self.in_flight,
        }
    }
}

impl Queues {
    const fn add(&mut self, charged: u64, receive: u32, send: u32) {
        self.sockets += 1;
        self.charged += charged;
        self.receive += receive as u64;
        self.send += send as u64;
    }
}

/// What one entry of `map` is, as long as there is room for a new one.
macro_rules! bounded {
    ($map:expr, $key:expr) => {
        if $map.len() < MOST_KEYS || $map.contains_key(&$key) {
            Some($map.entry($key).or_default())
        } else {
            None
        }
    };
}

/// What a descriptor's socket is to a [`Tally`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// One of the dump's.
    Known,
    /// A listener.
    Listener,
    /// Not in the dump.
    Stranger,
}

impl<'a> Tally<'a> {
    pub(super) fn new(ages: &'a mut Ages) -> Self {
        Self {
            ages,
            netns: 0,
            listening: Listening::default(),
            orphans: OrphanParts::default(),
            orphan_services: FxHashMap::default(),
            orphan_peers: HashMap::new(),
            services: Vec::new(),
            index: FxHashMap::default(),
            all: Queues::default(),
            unowned: Queues::default(),
            held: Vec::new(),
            closing: Vec::new(),
            close_wait: 0,
            fin_wait2: 0,
            waiting: FxHashMap::default(),
            half_open: 0,
            requests: FxHashMap::default(),
            sources: Sources::default(),
            full: 0,
            cut: false,
        }
    }

    /// What follows is of this namespace, whose local ports are given out from `range`. Its
    /// listeners come first.
    pub(super) fn enter(&mut self, netns: u32, range: Option<(u16, u16)>) {
        self.netns = netns;
        self.sources.enter(netns, range);
    }

    /// Before the first dump of a namespace: asks how long connections have at least been closed by
    /// one side. They got into CLOSE_WAIT, or FIN_WAIT2, with a segment that acknowledged something;
    /// so they have been there for as long as none came since.
    pub(super) fn learn_ages(&mut self, diag: &mut SockDiag) {
        let states = StateMask::of(&[TcpState::CloseWait, TcpState::FinWait2]);
        // Without an answer they are as old as our knowledge of them.
        let _ = diag.dump_last_acks(states, |entry| {
            let Some(ms) = entry.last_ack_ms.filter(|_| entry.kind == Kind::Full) else { return };
            let (cookie, ages) = (entry.cookie, &mut self.ages);
            if entry.state == TcpState::FinWait2 {
                ages.learn(cookie, As::KeptOpen, ms);
                return;
            }
            ages.learn(cookie, As::CloseWait, ms);
            if entry.inode == 0 {
                ages.learn(cookie, As::Waiting, ms);
            }
        });
    }

    /// A listener of this namespace.
    pub(super) fn listener(&mut self, local: SocketAddr, inode: u64, queue: u32, backlog: u32) {
        self.full += 1;
        self.listening.add(Listens { netns: self.netns, local, inode, queue, backlog });
    }

    /// Whether a connection came to one of our listeners. Minisockets outlive the listener that
    /// would tell; the ports then do.
    pub(super) fn is_accepted(&self, entry: &Entry) -> bool {
        let (local, peer) = (entry.local.port(), entry.peer.port());
        self.listening.has(self.netns, local)
            || (!self.listening.has(self.netns, peer) && is_accepted(local, peer))
    }

    /// Anything but a listener. `accepted`: see [`Self::is_accepted`].
    pub(super) fn add(&mut self, entry: &Entry, accepted: bool) {
        match entry.kind {
            Kind::Request => {
                self.half_open += 1;
                if let Some(count) = bounded!(self.requests, (self.netns, entry.local)) {
                    *count += 1;
                }
            }
            Kind::Minisocket => self.sources.add(entry, true),
            Kind::Full => self.add_full(entry, accepted),
        }
    }

    fn add_full(&mut self, entry: &Entry, accepted: bool) {
        self.full += 1;
        self.sources.add(entry, false);
        let port = if accepted { entry.local.port() } else { entry.peer.port() };
        let service = ServiceAt { netns: self.netns, port, accepted };
        let memory = entry.memory.unwrap_or_default();
        let (receive, send) = (memory.rmem_alloc, memory.wmem_queued);
        let charged = memory.charged().0;
        self.all.add(charged, receive, send);
        let service_index = self.service(service);
        if let Some((_, queues)) = self.services.get_mut(service_index as usize) {
            queues.add(charged, receive, send);
        }
        if entry.is_orphan() {
            self.unowned.add(charged, receive, send);
            self.orphan(entry, service, charged);
            return;
        }
        self.close_wait += u64::from(entry.state == TcpState::CloseWait);
        if entry.inode == 0 {
            self.unowned.add(charged, receive, send);
            self.wait(entry, charged);
            return;
        }
        let closing = self.closing(entry, charged);
        if self.held.len() >= MOST_HELD {
            self.cut = true;
            return;
        }
        // No socket holds 4 GiB: its queues are counted in ints.
        let charged = u32::try_from(charged).unwrap_or(u32::MAX);
        self.held.push(Held {
            inode: entry.inode,
            charged,
            receive,
            send,
            service: service_index,
            owner: NONE,
            closing,
        });
    }

    fn service(&mut self, service: ServiceAt) -> u32 {
        if let Some(at) = self.index.get(&service) {
            return *at;
        }
        let at = u32::try_from(self.services.len()).unwrap_or(NONE);
        if self.services.len() >= MOST_KEYS {
            return NONE;
        }
        self.index.insert(service, at);
        self.services.push((service, Queues::default()));
        at
    }

    fn orphan(&mut self, entry: &Entry, service: ServiceAt, bytes: u64) {
        let oldest_ms = self.ages.of_socket(entry.cookie, As::Orphan);
        let one = Part { count: 1, bytes, oldest_ms };
        self.orphans.part(entry).add(&one);
        if let Some(parts) = bounded!(self.orphan_services, service) {
            parts.part(entry).add(&one);
        }
        if let Some(parts) = bounded!(self.orphan_peers, Network::of(entry.peer.ip())) {
            parts.part(entry).add(&one);
        }
    }

    /// A connection that nobody accepted yet.
    fn wait(&mut self, entry: &Entry, bytes: u64) {
        if !matches!(entry.state, TcpState::Established | TcpState::CloseWait) {
            return;
        }
        let age = self.ages.of_socket(entry.cookie, As::Waiting);
        let Some(waiting) = bounded!(self.waiting, (self.netns, entry.local)) else { return };
        waiting.oldest_ms = waiting.oldest_ms.max(age);
        if entry.state == TcpState::CloseWait {
            let oldest_ms = self.ages.of_socket(entry.cookie, As::CloseWait);
            waiting.close_wait.add(&Part { count: 1, bytes, oldest_ms });
            waiting.unread += u64::from(entry.rqueue.saturating_sub(1));
        }
    }

    /// Where to find what is known of a socket that is half closed.
    fn closing(&mut self, entry: &Entry, bytes: u64) -> u32 {
        let (how, age) = match (entry.state, entry.rqueue) {
            // `idiag_rqueue` is `rcv_nxt - copied_seq`, in which the FIN takes one (tcp_diag_get_info,
            // tcp_fin): as long as there is data, the FIN is in it too.
            (TcpState::CloseWait, 0) => (How::NotClosed, As::CloseWait),
            (TcpState::CloseWait, 1) => (How::EofUnread, As::CloseWait),
            (TcpState::CloseWait, _) => (How::UnreadData, As::CloseWait),
            (TcpState::FinWait2, _) => (How::KeptOpen, As::KeptOpen),
            _ => return NONE,
        };
        self.fin_wait2 += u64::from(entry.state == TcpState::FinWait2);
        let oldest_ms = self.ages.of_socket(entry.cookie, age);
        let unread = match how {
            How::UnreadData => u64::from(entry.rqueue) - 1,
            _ => 0,
        };
        let at = u32::try_from(self.closing.len()).unwrap_or(NONE);
        self.closing.push(Closing { how, part: Part { count: 1, bytes, oldest_ms }, unread });
        at
    }

    /// Full sockets seen so far.
    pub(super) const fn full(&self) -> u64 {
        self.full
    }

    /// The dumps are over; [`Self::claim`] may be asked.
    pub(super) fn seal(&mut self) {
        self.held.sort_unstable_by_key(|held| held.inode);
        self.listening.seal();
    }

    /// The process with this index holds the socket with this inode; the first that says so has
    /// it.
    pub(super) fn claim(&mut self, inode: u64, process: u32) -> Claim {
        if let Ok(at) = self.held.binary_search_by_key(&inode, |held| held.inode) {
            let owner = &mut self.held[at].owner;
            if *owner == NONE {
                *owner = process;
            }
            return Claim::Known;
        }
        if self.listening.is_listener(inode) { Claim::Listener } else { Claim::Stranger }
    }

    /// Whether every socket of the dumps can be claimed.
    pub(super) const fn is_whole(&self) -> bool {
        !self.cut
    }

    /// The listener behind an address, and how long the oldest connection to it waits.
    pub(super) fn oldest_waits(&self) -> FxHashMap<u64, u64> {
        let mut oldest = FxHashMap::default();
        for ((netns, local), waiting) in &self.waiting {
            for listener in self.listening.at(*netns, *local).iter().filter(|it| it.queue > 0) {
                let age: &mut u64 = oldest.entry(listener.inode).or_default();
                *age = (*age).max(waiting.oldest_ms);
            }
        }
        oldest
    }

    /// Comes to an end. `holders`: what the search for owners found.
    pub(super) fn finish(mut self, holders: &mut Holders) -> Causes {
        let memory = self.memory(holders);
        let (close_waits, fin_wait2s) = self.closings(holders);
        Causes {
            close_wait: self.close_wait,
            close_waits,
            fin_wait2: self.fin_wait2,
            fin_wait2s,
            memory,
            half_open: self.half_open,
            half_opens: self.half_opens(holders),
            orphans: OrphanCauses {
                all: self.orphans,
                services: most(self.orphan_services, OrphanParts::count),
                peers: most(
                    self.orphan_peers.into_iter().map(|(network, parts)| (network.0, parts)),
                    OrphanParts::count,
                ),
            },
            sources: self.sources.finish(),
            owners: holders.outcome(self.cut),
            ..Causes::default()
        }
    }

    fn memory(&mut self, holders: &mut Holders) -> MemoryHeld {
        let mut processes: Vec<(u32, Queues)> = Vec::new();
        processes.resize_with(holders.len(), Default::default);
        let mut unknown = Queues::default();
        for held in &self.held {
            let queues = match processes.get_mut(held.owner as usize) {
                Some((_, queues)) => queues,
                None => &mut unknown,
            };
            queues.add(u64::from(held.charged), held.receive, held.send);
        }
        for (at, (process, _)) in processes.iter_mut().enumerate() {
            *process = u32::try_from(at).unwrap_or(NONE);
        }
        processes.retain(|(_, queues)| queues.sockets > 0);
        let processes = most(processes, |queues| queues.charged);
        // Whose most of a service's memory is, is asked for the few that are listed.
        let services = most(self.services.iter().copied(), |queues| queues.charged);
        let mut rows: FxHashMap<u32, usize> = FxHashMap::default();
        for (row, (service, _)) in services.iter().enumerate() {
            rows.extend(self.index.get(service).map(|index| (*index, row)));
        }
        let mut by_owner: FxHashMap<(usize, u32), u64> = FxHashMap::default();
        for held in self.held.iter().filter(|held| held.owner != NONE) {
            if let Some(row) = rows.get(&held.service) {
                *by_owner.entry((*row, held.owner)).or_default() += u64::from(held.charged);
            }
        }
        let mut holding: Vec<Option<(u64, u32)>> = vec![None; services.len()];
        for ((row, owner), charged) in by_owner {
            let most = &mut holding[row];
            // Of two that hold as much, the one that was found first.
            if most.is_none_or(|(bytes, first)| (bytes, first) < (charged, first.min(owner))) {
                *most = Some((charged, owner));
            }
        }
        MemoryHeld {
            all: self.all,
            services: services
                .into_iter()
                .zip(holding)
                .map(|((service, queues), most)| {
                    (service, most.and_then(|(_, owner)| holders.owner(owner)), queues)
                })
                .collect(),
            processes: processes
                .into_iter()
                .filter_map(|(process, queues)| Some((holders.owner(process)?, queues)))
                .collect(),
            unowned: self.unowned,
            unknown,
        }
    }

    fn closings(&self, holders: &mut Holders) -> (Vec<CloseWait>, Vec<KeptOpen>) {
        let mut close_waits: FxHashMap<(u32, u32), CloseWait> = FxHashMap::default();
        let mut kept: FxHashMap<(u32, u32), Part> = FxHashMap::default();
        for held in &self.held {
            let Some(closing) = self.closing.get(held.closing as usize) else { continue };
            let key = (held.service, held.owner);
            if let How::KeptOpen = closing.how {
                kept.entry(key).or_default().add(&closing.part);
                continue;
            }
            let row = close_waits.entry(key).or_default();
            row.unread_bytes += closing.unread;
            let part = match closing.how {
                How::UnreadData => &mut row.unread_data,
                How::EofUnread => &mut row.eof_unread,
                How::NotClosed | How::KeptOpen => &mut row.not_closed,
            };
            part.add(&closing.part);
        }
        let service = |index: u32| {
            let unknown = ServiceAt::default();
            self.services.get(index as usize).map_or(unknown, |(service, _)| *service)
        };
        // By service and owner, to which those that nobody accepted are added.
        let mut rows: FxHashMap<(ServiceAt, Option<Owner>), CloseWait> = FxHashMap::default();
        for ((index, owner), row) in close_waits {
            let (service, owner) = (service(index), holders.owner(owner));
            rows.insert((service, owner.clone()), CloseWait { service, owner, ..row });
        }
        for ((netns, local), waiting) in &self.waiting {
            if waiting.close_wait.count == 0 {
                continue;
            }
            let service = ServiceAt { netns: *netns, port: local.port(), accepted: true };
            let listener = self.listening.behind(*netns, *local);
            let owner = listener.and_then(|inode| holders.of_listener(inode));
            let row = rows.entry((service, owner.clone())).or_insert_with(|| CloseWait {
                service,
                owner,
                ..CloseWait::default()
            });
            row.never_accepted.add(&waiting.close_wait);
            row.unread_bytes += waiting.unread;
        }
        let mut rows: Vec<CloseWait> = rows.into_values().collect();
        rows.sort_by(|a, b| {
            (b.count().cmp(&a.count()))
                .then_with(|| a.service.cmp(&b.service))
                .then_with(|| a.owner.cmp(&b.owner))
        });
        rows.truncate(MOST_ROWS);
        let kept = most(kept, |part| part.count).into_iter().map(|((index, owner), part)| {
            KeptOpen { service: service(index), owner: holders.owner(owner), part }
        });
        (rows, kept.collect())
    }

    fn half_opens(&self, holders: &mut Holders) -> Vec<HalfOpen> {
        let mut rows: FxHashMap<(u32, SocketAddr), HalfOpen> = FxHashMap::default();
        for ((netns, local), requests) in &self.requests {
            let listeners = self.listening.at(*netns, *local);
            let address = listeners.first().map_or(*local, |listener| listener.local);
            let row = rows.entry((*netns, address)).or_insert_with(|| HalfOpen {
                service: ServiceAt { netns: *netns, port: local.port(), accepted: true },
                local: Some(address),
                requests: 0,
                listeners: u32::try_from(listeners.len()).unwrap_or(u32::MAX),
                backlog: listeners.iter().map(|listener| listener.backlog).min().unwrap_or(0),
                owner: None,
            });
            row.requests += requests;
        }
        let mut rows: Vec<HalfOpen> = rows.into_values().collect();
        rows.sort_by(|a, b| {
            (b.requests.cmp(&a.requests)).then_with(|| a.service.cmp(&b.service)).then_with(|| {
                let ip = |row: &HalfOpen| row.local.map(|local| local.ip());
                ip(a).cmp(&ip(b))
            })
        });
        rows.truncate(MOST_ROWS);
        for row in &mut rows {
            let Some(local) = row.local else { continue };
            let listeners = self.listening.at(row.service.netns, local);
            row.owner = listeners.iter().find_map(|listener| holders.of_listener(listener.inode));
        }
        rows
    }
}

/// The rows with the highest numbers, highest first.
fn most<K: Ord, T>(
    rows: impl IntoIterator<Item = (K, T)>,
    number: impl Fn(&T) -> u64,
) -> Vec<(K, T)> {
    let mut rows: Vec<(K, T)> = rows.into_iter().filter(|(_, row)| number(row) > 0).collect();
    let order =
        |a: &(K, T), b: &(K, T)| number(&b.1).cmp(&number(&a.1)).then_with(|| a.0.cmp(&b.0));
    if rows.len() > MOST_ROWS {
        rows.select_nth_unstable_by(MOST_ROWS - 1, order);
        rows.truncate(MOST_ROWS);
    }
    rows.sort_by(order);
    rows
}

/// An address of ours as listeners are bound to it: IPv4 in IPv6 is IPv4.
const fn any_of(local: &IpAddr) -> [IpAddr; 2] {
    const V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
    const V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED);
    match local {
        IpAddr::V4(_) => [V4, V6],
        IpAddr::V6(_) => [V6, V6],
    }
}

#[cfg(test)]
mod tests;
