//! Whether sockets still belong to who holds them: searched for again and again, at a bounded cost.
//!
//! When a connection is accepted the kernel says which listener it came to, and not which process takes
//! it: of a server whose workers share a listener they are counted for the process that opened that,
//! until a search through `/proc/PID/fd` shows who has them. So it is with sockets that are passed to
//! another process. A search that took t of a CPU's time is followed by 50 t without one, by 500 t
//! where no owner is in doubt.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

use anyhow::Result;
use aya::Ebpf;
use tracer_common::abi::{
    DIRECTION_IN, FLAG_DESTROYED, FLAG_OPENED, FLAG_ORPHAN, GROUP_OTHER, GROUP_OUTSIDE, GroupKey,
    SockRecord,
};
use tracer_common::counters::{Counter, GroupCounters};
use tracer_common::state::TcpState;

use super::diag_sampler::DiagSampler;
use super::own_cost::CpuTimer;
use super::sock_diag::{Kind, StateMask};
use super::{namespaces, owners, processes};
use crate::bpf::handover::{self, Held};
use crate::bpf::maps::{Maps, is_missing};
use crate::bpf::standing::StandingOwner;
use crate::filter::{Filter, SocketIdentity};

/// Share of a CPU that searches may take: one in this many, while owners are in doubt.
const TIME_SHARE: u32 = 50;
/// The same otherwise. A search holds up the ring, and on a host with many sockets it takes long.
const TIME_SHARE_SELDOM: u32 = 500;
/// Time between two searches while there are sockets whose holder is not known.
const SOON: Duration = Duration::from_secs(1);
/// Time between two searches otherwise: sockets may still be passed on.
const SELDOM: Duration = Duration::from_secs(5);

/// States of sockets that a process can have a descriptor of. Not CLOSE, in which they are in no dump.
const HELD: StateMask = StateMask::of(&[
    TcpState::Listen,
    TcpState::SynSent,
    TcpState::Established,
    TcpState::CloseWait,
    TcpState::FinWait1,
    TcpState::FinWait2,
    TcpState::LastAck,
    TcpState::Closing,
]);

/// The searches of a run.
#[derive(Debug, Default)]
pub struct OwnerChecks {
    /// Whether the kernel can hand sockets over.
    can_hand_over: bool,
    /// When the last search ended, and what CPU time it took.
    last: Option<(Instant, Duration)>,
    /// Whether there were sockets to search for when the groups were read last.
    doubts: bool,
    /// By group: so many of the connections it opened need not be searched for.
    checked: BTreeMap<u32, u64>,
    /// Ports whose listeners were searched for; `true`: several processes can accept there, or nobody
    /// was found.
    ports: HashMap<u16, bool>,
    /// Groups that accepted connections join until they are searched for.
    defaults: HashSet<u32>,
}

/// A socket with a record.
struct Socket {
    cookie: u64,
    /// 0: it waits to be accepted.
    inode: u64,
    identity: SocketIdentity,
    state: TcpState,
    cgroup: u64,
    record: SockRecord,
    /// The owner of its group.
    owner: GroupKey,
    holders: Holders,
}

/// Who was seen to have a descriptor of a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Holders {
    /// The first, as an index.
    first: Option<usize>,
    /// There are more.
    several: bool,
    /// The owner is among them.
    with_owner: bool,
}

impl Holders {
    fn add(&mut self, process: usize, is_owner: bool) {
        self.several |= self.first.is_some_and(|first| first != process);
        self.first.get_or_insert(process);
        self.with_owner |= is_owner;
    }
}

/// A process that has a descriptor of a socket.
struct Holder {
    pid: u32,
    comm: String,
    start_ticks: u32,
}

impl OwnerChecks {
    /// `can_hand_over`: whether the kernel can bring a socket to another group.
    #[must_use]
    pub fn new(can_hand_over: bool) -> Self {
        Self { can_hand_over, ..Self::default() }
    }

    /// Whether it is time to search.
    #[must_use]
    pub fn is_due(&self) -> bool {
        let (gap, share) =
            if self.doubts { (SOON, TIME_SHARE) } else { (SELDOM, TIME_SHARE_SELDOM) };
        self.last.is_none_or(|(at, took)| at.elapsed() >= gap.max(took * share))
    }

    /// Searches for the holders of all sockets, and hands those over that another process holds.
    ///
    /// # Errors
    ///
    /// The kernel refuses what it granted before.
    pub fn check(
        &mut self,
        ebpf: &mut Ebpf,
        maps: &mut Maps,
        diag: &mut DiagSampler,
        filter: &Filter,
    ) -> Result<()> {
        let timer = CpuTimer::start();
        let keys: HashMap<u32, GroupKey> =
            maps.groups()?.into_iter().map(|(key, info)| (info.index, key)).collect();
        let mut checked = BTreeMap::new();
        for (index, _) in keys.iter().filter(|(_, key)| key.direction == DIRECTION_IN) {
            checked.insert(*index, opened(&maps.counters(*index)?));
        }
        let mut sockets = sockets(maps, diag, filter, &keys)?;
        let holders = search(&mut sockets)?;
        self.ports = ports(&sockets);
        let strangers = sockets.iter().filter(|socket| !socket.holders.with_owner);
        for socket in strangers.filter(|socket| socket.record.flags & FLAG_OPENED != 0) {
            if let Some(count) = checked.get_mut(&socket.record.group) {
                *count = count.saturating_sub(1);
            }
        }
        if self.can_hand_over {
            for to in hand_over(ebpf, maps, filter, &sockets, &holders)? {
                *checked.entry(to).or_default() += 1;
            }
        }
        self.checked = checked;
        self.last = Some((Instant::now(), timer.used()));
        Ok(())
    }

    /// The groups are about to be read; `defaults`: those that accepted connections join.
    pub fn begin_reading(&mut self, defaults: HashSet<u32>) {
        self.defaults = defaults;
        self.doubts = false;
    }

    /// How many connections of a group may be another process's: they were accepted after the last
    /// search began, at a port where several processes can have accepted them. At most: those that
    /// were closed since are among them.
    pub fn unchecked(&mut self, index: u32, port: u16, counters: &GroupCounters) -> u64 {
        if !self.defaults.contains(&index) || self.ports.get(&port) == Some(&false) {
            return 0;
        }
        let states = TcpState::ALL.iter().filter(|state| state.is_connection());
        let live: u64 = states.map(|state| counters.in_state(*state)).sum();
        let held = live.saturating_sub(counters.population(Counter::Orphans));
        let checked = self.checked.get(&index).copied().unwrap_or(0);
        let unchecked = opened(counters).saturating_sub(checked).min(held);
        self.doubts |= unchecked > 0;
        unchecked
    }
}

/// Connections that a group opened, less those that went to other groups.
fn opened(counters: &GroupCounters) -> u64 {
    let mut settled = *counters;
    settled.settle();
    settled.total(Counter::Opened)
}

/// Every socket that is counted for a process, or would be if the filter let its process through.
fn sockets(
    maps: &Maps,
    diag: &mut DiagSampler,
    filter: &Filter,
    keys: &HashMap<u32, GroupKey>,
) -> Result<Vec<Socket>> {
    let by_owner = filter.names_owner();
    let mut found = Vec::new();
    let mut failed = None;
    diag.dump(HELD, |netns, entry| {
        if entry.kind != Kind::Full || entry.is_orphan() {
            return;
        }
        let record = match maps.sockets.get(&entry.cookie, 0) {
            Ok(record) => record,
            Err(error) if is_missing(&error) => return,
            Err(error) => {
                failed.get_or_insert(error);
                return;
            }
        };
        let identity = entry.identity(netns);
        let is_counted = match record.group {
            GROUP_OTHER => false,
            GROUP_OUTSIDE => by_owner && filter.passes_socket(&identity),
            _ => true,
        };
        if record.flags & (FLAG_ORPHAN | FLAG_DESTROYED) != 0 || record.state == 0 || !is_counted {
            return;
        }
        found.push(Socket {
            cookie: entry.cookie,
            inode: entry.inode,
            identity,
            state: entry.state,
            cgroup: entry.cgroup_id.unwrap_or(0),
            record,
            owner: keys.get(&record.group).copied().unwrap_or_default(),
            holders: Holders::default(),
        });
    })?;
    failed.map_or(Ok(found), |error| Err(error.into()))
}

/// Finds out who has descriptors of them, and returns those processes.
fn search(sockets: &mut [Socket]) -> Result<Vec<Holder>> {
    let with_file = sockets.iter().enumerate().filter(|(_, socket)| socket.inode != 0);
    let by_inode: HashMap<u64, usize> =
        with_file.map(|(index, socket)| (socket.inode, index)).collect();
    let mut holders = Vec::new();
    if by_inode.is_empty() {
        return Ok(holders);
    }
    let mut buffer = [MaybeUninit::uninit(); 16 << 10];
    let mut held: Vec<usize> = Vec::new();
    for pid in processes::pids()? {
        held.clear();
        let walked = owners::each_socket(pid, &mut buffer, |_, inode| {
            held.extend(by_inode.get(&inode));
        });
        // Whoever has ended meanwhile holds nothing, and who may not be asked is no holder.
        let (Ok(_), false) = (walked, held.is_empty()) else { continue };
        let Ok(process) = processes::process(pid) else { continue };
        let start_ticks = process.start_ticks as u32;
        for index in &held {
            let socket = &mut sockets[*index];
            let is_owner = (socket.owner.tgid, socket.owner.start_ticks) == (pid, start_ticks);
            socket.holders.add(holders.len(), is_owner);
        }
        holders.push(Holder { pid, comm: process.comm, start_ticks });
    }
    Ok(holders)
}

/// The ports that are listened on, and whether one process alone accepts there. That one is then the
/// owner of what it accepts.
fn ports(sockets: &[Socket]) -> HashMap<u16, bool> {
    let mut first: HashMap<(u32, u16), Option<usize>> = HashMap::new();
    let mut ports = HashMap::new();
    for socket in sockets.iter().filter(|socket| socket.state == TcpState::Listen) {
        let SocketIdentity { netns, local_port, .. } = socket.identity;
        let holder = socket.holders.first;
        let same = *first.entry((netns, local_port)).or_insert(holder) == holder;
        let alone = same && holder.is_some() && !socket.holders.several;
        *ports.entry(local_port).or_default() |= !alone;
    }
    ports
}

/// Hands over those whose owner does not hold them; returns the groups that took over a connection
/// each which they count as opened.
fn hand_over(
    ebpf: &mut Ebpf,
    maps: &mut Maps,
    filter: &Filter,
    sockets: &[Socket],
    holders: &[Holder],
) -> Result<Vec<u32>> {
    let own = namespaces::own_inum()?;
    let strangers = sockets.iter().filter(|socket| !socket.holders.with_owner);
    let strangers: Vec<(&Socket, &Holder)> =
        strangers.filter_map(|socket| Some((socket, &holders[socket.holders.first?]))).collect();
    let paths = if strangers.iter().any(|(socket, _)| socket.identity.netns != own) {
        let found = namespaces::list().map(|list| list.found).unwrap_or_default();
        found.into_iter().map(|namespace| (namespace.inum, namespace.path)).collect()
    } else {
        HashMap::new()
    };
    let mut held = Vec::with_capacity(strangers.len());
    for (socket, holder) in strangers {
        let netns = socket.identity.netns;
        let namespace = paths.get(&netns).filter(|_| netns != own).cloned();
        if namespace.is_some() || netns == own {
            held.push(Held {
                cookie: socket.cookie,
                record: socket.record,
                holder: StandingOwner {
                    pid: holder.pid,
                    start_ticks: holder.start_ticks,
                    comm: holder.comm.clone(),
                    cgroup: socket.cgroup,
                },
                namespace,
            });
        }
    }
    handover::hand_over(ebpf, maps, filter, &held, |path, ebpf| {
        namespaces::inside(path, || handover::begin(ebpf))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A group that opened so many connections, of which so many are established.
    fn group(opened: u64, live: u64) -> GroupCounters {
        let mut counters = GroupCounters::default();
        counters.words[Counter::Opened as usize] = opened;
        counters.words[TcpState::Established.number() as usize] = live;
        counters
    }

    #[test]
    fn in_doubt_is_what_came_since_the_search_where_several_accept() {
        const GROUP: u32 = 7;
        let mut checks = OwnerChecks::new(true);
        let unchecked = |checks: &mut OwnerChecks, defaults: &[u32], opened, live| {
            checks.begin_reading(defaults.iter().copied().collect());
            let unchecked = checks.unchecked(GROUP, 80, &group(opened, live));
            assert_eq!(checks.doubts, unchecked > 0);
            unchecked
        };
        assert_eq!(unchecked(&mut checks, &[GROUP], 40, 30), 30, "nobody was searched for yet");
        assert_eq!(unchecked(&mut checks, &[], 40, 30), 0, "it accepts nothing");
        checks.checked = BTreeMap::from([(GROUP, 40)]);
        checks.ports = HashMap::from([(80, true)]);
        assert_eq!(unchecked(&mut checks, &[GROUP], 40, 30), 0);
        assert_eq!(unchecked(&mut checks, &[GROUP], 45, 35), 5);
        assert_eq!(unchecked(&mut checks, &[GROUP], 45, 3), 3, "more there are not");
        checks.ports = HashMap::from([(80, false)]);
        assert_eq!(unchecked(&mut checks, &[GROUP], 45, 35), 0, "one alone accepts there");
    }

    #[test]
    fn connections_that_went_to_others_leave_no_doubt() {
        let mut counters = group(45, 5);
        counters.words[Counter::Moved as usize] = 0_u64.wrapping_sub(40);
        assert_eq!(opened(&counters), 5);
        let mut checks =
            OwnerChecks { checked: BTreeMap::from([(7, 2)]), ..OwnerChecks::new(true) };
        checks.begin_reading(HashSet::from([7]));
        assert_eq!(checks.unchecked(7, 80, &counters), 3);
    }

    #[test]
    fn one_process_alone_accepts_where_nobody_else_has_a_listener() {
        let listener = |port, holders: &[usize]| {
            let mut socket = Socket {
                cookie: 1,
                inode: 1,
                identity: SocketIdentity {
                    local_port: port,
                    peer_port: 0,
                    peer: [0, 0, 0, 0].into(),
                    is_ipv6: false,
                    netns: 1,
                },
                state: TcpState::Listen,
                cgroup: 0,
                record: SockRecord::default(),
                owner: GroupKey::default(),
                holders: Holders::default(),
            };
            holders.iter().for_each(|holder| socket.holders.add(*holder, false));
            socket
        };
        let found = ports(&[
            listener(1, &[5]),
            listener(2, &[5, 6]),
            listener(3, &[5]),
            listener(3, &[6]),
            listener(4, &[5, 5]),
            listener(4, &[5]),
            listener(5, &[]),
        ]);
        let expected = [(1, false), (2, true), (3, true), (4, false), (5, true)];
        assert_eq!(found, HashMap::from(expected));
    }
}
