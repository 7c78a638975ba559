//! One look at all sockets: sorted into services and owners, and counted. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use tracer_common::counters::{Counter, GroupCounters};
use tracer_common::lifecycle::is_accepted;
use tracer_common::state::TcpState;

use crate::event::{DiagSample, Direction, Service};
use crate::filter::Filter;
use crate::source::diag_sampler::{Drops, add, half_open, listens};
use crate::source::owners::Holder;
use crate::source::sock_diag::{Entry, Kind};

/// Who held a socket, and the cgroup it was made in (0: unknown).
pub(super) type Known = (Arc<Holder>, u64);

/// A look that is being taken.
#[derive(Debug)]
pub(super) struct Look<'a> {
    filter: &'a Filter,
    watched: u32,
    /// Where connections are taken for accepted: namespace and port.
    listened: HashSet<(u32, u16)>,
    listening: HashSet<(u32, u16)>,
    listeners: Vec<(u32, Entry)>,
    held: Vec<Held>,
    orphans: Vec<(Service, Entry)>,
    /// Kept only where it matters whose they were.
    minisockets: Vec<(Service, Entry)>,
    cookies: HashSet<u64>,
    sample: DiagSample,
    orphans_outside: u64,
}

/// A full socket that is no orphan, in few bytes: there may be a million.
#[derive(Clone, Copy, Debug)]
struct Held {
    service: Service,
    netns: u32,
    state: TcpState,
    cookie: u64,
    inode: u64,
    cgroup: u64,
}

/// The sockets of one service and one owner.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) service: Service,
    pub(super) holder: Option<Arc<Holder>>,
    pub(super) cgroup: u64,
    pub(super) counters: GroupCounters,
}

/// What a look comes to.
#[derive(Clone, Debug)]
pub(super) struct Drawn {
    pub(super) parts: Vec<Part>,
    pub(super) sample: DiagSample,
    pub(super) orphans_outside: u64,
    /// For the next look: a connection stays accepted when its listener is gone.
    pub(super) listened: HashSet<(u32, u16)>,
}

type Parts = BTreeMap<(Service, Option<(u32, u64)>), Part>;

impl<'a> Look<'a> {
    /// `watched`: the namespace whose gauges are read; `listened`: what the last look said.
    pub(super) fn new(filter: &'a Filter, watched: u32, listened: HashSet<(u32, u16)>) -> Self {
        Self {
            filter,
            watched,
            listened,
            listening: HashSet::new(),
            listeners: Vec::new(),
            held: Vec::new(),
            orphans: Vec::new(),
            minisockets: Vec::new(),
            cookies: HashSet::new(),
            sample: DiagSample { has_time_wait: true, ..DiagSample::default() },
            orphans_outside: 0,
        }
    }

    /// A listener; all of a namespace come before its connections.
    pub(super) fn listener(&mut self, netns: u32, entry: &Entry) {
        // Other filters keep a listener out and not what it accepts.
        self.listening.insert((netns, entry.local.port()));
        if self.filter.passes_listener(&entry.identity(netns)) && self.cookies.insert(entry.cookie)
        {
            self.listeners.push((netns, *entry));
        }
    }

    /// Anything else.
    pub(super) fn socket(&mut self, netns: u32, entry: &Entry) {
        if entry.kind == Kind::Minisocket
            && entry.state == TcpState::FinWait2
            && netns == self.watched
        {
            self.sample.fin_wait2_minisockets += 1;
        }
        // Half-open connections are no sockets yet, and nobody's: a filter on owners cannot tell.
        if entry.kind == Kind::Request {
            if !self.filter.names_owner() {
                half_open(&mut self.sample.services, self.filter, netns, entry);
            }
            return;
        }
        let orphan = entry.is_orphan();
        let identity = entry.identity(netns);
        if !self.filter.passes_socket(&identity) {
            self.orphans_outside += u64::from(orphan);
            return;
        }
        // A dump may show a socket twice.
        if entry.kind == Kind::Full && !self.cookies.insert(entry.cookie) {
            return;
        }
        let (local, peer) = (identity.local_port, identity.peer_port);
        let service = if self.was_accepted(netns, local, peer) {
            Service { port: local, direction: Direction::In }
        } else {
            Service { port: peer, direction: Direction::Out }
        };
        if service.direction == Direction::In {
            self.listened.insert((netns, local));
        }
        match entry.kind {
            Kind::Minisocket if self.filter.names_owner() => {
                self.minisockets.push((service, *entry));
            }
            Kind::Minisocket => add(self.sample.services.entry(service).or_default(), entry),
            _ if orphan => self.orphans.push((service, *entry)),
            _ => self.held.push(Held {
                service,
                netns,
                state: entry.state,
                cookie: entry.cookie,
                inode: entry.inode,
                cgroup: entry.cgroup_id.unwrap_or(0),
            }),
        }
    }

    fn was_accepted(&self, netns: u32, local: u16, peer: u16) -> bool {
        let on = |port| self.listening.contains(&(netns, port));
        let was_on = |port| self.listened.contains(&(netns, port));
        on(local) || (!on(peer) && (was_on(local) || (!was_on(peer) && is_accepted(local, peer))))
    }

    /// The inodes whose holders are wanted.
    pub(super) fn inodes(&self) -> HashSet<u64> {
        let held = self.held.iter().map(|held| held.inode);
        let listeners = self.listeners.iter().map(|(_, entry)| entry.inode);
        held.chain(listeners).filter(|inode| *inode != 0).collect()
    }

    /// Counts. `holders`: by inode; `known`: by cookie, of the last look, and then of this.
    pub(super) fn draw(
        mut self,
        holders: &HashMap<u64, Arc<Holder>>,
        known: &mut HashMap<u64, Known>,
        drops: &mut Drops,
    ) -> Drawn {
        let mut parts = Parts::new();
        let mut now: HashMap<u64, Known> = HashMap::with_capacity(known.len());
        let waiting = self.count_listeners(holders, drops, &mut parts);
        for held in std::mem::take(&mut self.held) {
            let mut holder = holders.get(&held.inode).cloned().map(|holder| (holder, held.cgroup));
            if holder.is_none() {
                // Not searched for yet; or in the accept queue, and waits for who listens.
                let before = || known.get(&held.cookie).cloned();
                let port = (held.netns, held.service.port);
                holder = match held.inode {
                    0 if held.service.direction == Direction::In => {
                        waiting.get(&port).cloned().flatten()
                    }
                    _ => before(),
                };
            }
            if let Some(part) = self.part(&mut parts, held.service, holder.as_ref(), held.cgroup) {
                part.counters.words[held.state.number() as usize] += 1;
            }
            now.extend(holder.map(|holder| (held.cookie, holder)));
        }
        for (service, entry) in std::mem::take(&mut self.orphans) {
            let holder = known.get(&entry.cookie).cloned();
            let cgroup = entry.cgroup_id.unwrap_or(0);
            match self.part(&mut parts, service, holder.as_ref(), cgroup) {
                Some(part) => {
                    count_orphan(&mut part.counters, entry.state);
                    add(self.sample.services.entry(service).or_default(), &entry);
                }
                None => self.orphans_outside += 1,
            }
            now.extend(holder.map(|holder| (entry.cookie, holder)));
        }
        for (service, entry) in std::mem::take(&mut self.minisockets) {
            let holder = known.get(&entry.cookie).cloned();
            if self.passes_owner(holder.as_ref(), 0) {
                add(self.sample.services.entry(service).or_default(), &entry);
            }
            now.extend(holder.map(|holder| (entry.cookie, holder)));
        }
        *known = now;
        let listened = self.still_listened(&parts);
        Drawn {
            parts: parts.into_values().collect(),
            sample: self.sample,
            orphans_outside: self.orphans_outside,
            listened,
        }
    }

    /// Returns who waits for connections, by namespace and port; nobody where several do.
    fn count_listeners(
        &mut self,
        holders: &HashMap<u64, Arc<Holder>>,
        drops: &mut Drops,
        parts: &mut Parts,
    ) -> HashMap<(u32, u16), Option<Known>> {
        let mut waiting: HashMap<(u32, u16), Option<Known>> = HashMap::new();
        for (netns, entry) in std::mem::take(&mut self.listeners) {
            let service = Service { port: entry.local.port(), direction: Direction::In };
            let cgroup = entry.cgroup_id.unwrap_or(0);
            let holder = holders.get(&entry.inode).cloned().map(|holder| (holder, cgroup));
            let pid = |known: &Option<Known>| known.as_ref().map(|(holder, _)| holder.pid);
            waiting
                .entry((netns, service.port))
                .and_modify(|first| {
                    if pid(first) != pid(&holder) {
                        *first = None;
                    }
                })
                .or_insert_with(|| holder.clone());
            if let Some(part) = self.part(parts, service, holder.as_ref(), cgroup) {
                part.counters.words[TcpState::Listen.number() as usize] += 1;
                let seen = self.sample.services.entry(service).or_default();
                listens(seen, drops, service, &entry);
            }
        }
        for (service, total) in &drops.total {
            // Those that are gone by now still dropped what they dropped.
            let seen = self.sample.services.entry(*service).or_default();
            seen.listen.get_or_insert_default().drops = *total;
        }
        drops.end_sample();
        waiting
    }

    fn passes_owner(&self, holder: Option<&Known>, cgroup: u64) -> bool {
        let pid = holder.map(|(holder, _)| holder.pid);
        let comm = holder.map_or("", |(holder, _)| holder.comm.as_str());
        let cgroup = if cgroup == 0 { holder.map_or(0, |(_, cgroup)| *cgroup) } else { cgroup };
        self.filter.passes_owner(pid, comm, cgroup)
    }

    /// The counters of a service and an owner; `None` where the filter is on other owners.
    fn part<'p>(
        &self,
        parts: &'p mut Parts,
        service: Service,
        holder: Option<&Known>,
        cgroup: u64,
    ) -> Option<&'p mut Part> {
        if !self.passes_owner(holder, cgroup) {
            return None;
        }
        let key = holder.map(|(holder, _)| (holder.pid, holder.start_ticks));
        Some(parts.entry((service, key)).or_insert_with(|| Part {
            service,
            holder: holder.map(|(holder, _)| Arc::clone(holder)),
            cgroup: holder.map_or(0, |(_, cgroup)| *cgroup),
            counters: GroupCounters::default(),
        }))
    }

    /// Where connections that were accepted still stand; ports of those long gone are forgotten.
    fn still_listened(&self, parts: &Parts) -> HashSet<(u32, u16)> {
        let stands = |port: u16| {
            let service = Service { port, direction: Direction::In };
            let first = parts.range((service, None)..).next();
            first.is_some_and(|((at, _), _)| *at == service)
                || self
                    .sample
                    .services
                    .get(&service)
                    .is_some_and(|seen| seen.time_wait + seen.fin_wait2_minisockets > 0)
        };
        let stand = self.listened.iter().filter(|(_, port)| stands(*port));
        self.listening.iter().chain(stand).copied().collect()
    }
}

fn count_orphan(counters: &mut GroupCounters, state: TcpState) {
    let of_state = match state {
        TcpState::FinWait1 => Some(Counter::OrphansFinWait1),
        TcpState::LastAck => Some(Counter::OrphansLastAck),
        TcpState::Closing => Some(Counter::OrphansClosing),
        TcpState::FinWait2 => Some(Counter::OrphansFinWait2),
        _ => None,
    };
    let words = [Some(Counter::Orphans as usize), of_state.map(|counter| counter as usize)];
    for word in words.into_iter().flatten().chain([state.number() as usize]) {
        counters.words[word] += 1;
    }
}

#[cfg(test)]
mod tests;
