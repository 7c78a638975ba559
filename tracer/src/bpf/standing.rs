//! Sockets that stood before tracing began: merged by cookie from one dump.
//!
//! The programs are attached first, then the kernel is asked for its sockets, then each is put
//! into the socket table unless it is there already. A socket that dies in between has left a
//! tombstone there ([`tracer_common::abi::FLAG_DESTROYED`]), so that it cannot come back.

mod minisockets;
mod tombstones;

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::Result;
use aya::maps::MapError;
use tracer_common::abi::{
    DIRECTION_IN, DIRECTION_OUT, FLAG_ORPHAN, FLAG_STANDING, GROUP_OTHER, GROUP_OUTSIDE, GroupInfo,
    GroupKey, ServiceInfo, ServiceKey, SockRecord,
};
use tracer_common::counters::{Counter, GroupCounters, orphans_in};
use tracer_common::lifecycle::is_accepted;
use tracer_common::state::TcpState;

use super::maps::{Maps, is_missing, some};
use crate::event::{Minisockets, Service};
use crate::filter::{Filter, SocketIdentity};
pub use minisockets::{StandingMinisocket, merge_minisockets};
pub(super) use minisockets::{mini_population, service_of};
pub use tombstones::sweep_tombstones;

/// `BPF_NOEXIST`.
const NOEXIST: u64 = 1;

/// A full socket that the dump found.
#[derive(Clone, Debug)]
pub struct StandingSocket {
    /// Its cookie.
    pub cookie: u64,
    /// Its state; never TIME_WAIT.
    pub state: TcpState,
    /// Ports, peer, family, namespace.
    pub identity: SocketIdentity,
    /// Whether no file refers to it and it is in a closing state: an orphan.
    pub orphan: bool,
    /// Who holds it; `None` where unknown.
    pub owner: Option<StandingOwner>,
}

/// The holder of a standing socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandingOwner {
    /// Process id.
    pub pid: u32,
    /// When it started, clock ticks since boot.
    pub start_ticks: u32,
    /// Its name.
    pub comm: String,
    /// Its cgroup2 id, or 0.
    pub cgroup: u64,
}

/// What the kernel's counters lack because it was there before them.
#[derive(Debug, Default)]
pub struct Base {
    /// By group index.
    pub groups: BTreeMap<u32, GroupCounters>,
    /// Standing sockets the table had no room for.
    pub untracked: u64,
    /// Standing sockets for which there was no group, not even one of their service.
    pub ungrouped: u64,
    /// Standing minisockets by service.
    pub minisockets: BTreeMap<Service, Minisockets>,
}

impl Base {
    /// One more in a word of a group's counters.
    pub fn add(&mut self, group: u32, word: usize) {
        self.change(group, word, 1);
    }

    /// One less.
    pub fn subtract(&mut self, group: u32, word: usize) {
        self.change(group, word, u64::MAX);
    }

    fn change(&mut self, group: u32, word: usize, by: u64) {
        let counters = self.groups.entry(group).or_default();
        counters.words[word] = counters.words[word].wrapping_add(by);
    }
}

/// Merges a dump into the tables.
///
/// # Errors
///
/// The kernel refuses an access to a map for another reason than that it is full.
pub fn merge(maps: &mut Maps, filter: &Filter, sockets: &[StandingSocket]) -> Result<Base> {
    let mut base = Base::default();
    let listening: HashSet<(u32, u16)> = sockets
        .iter()
        .filter(|socket| socket.state == TcpState::Listen)
        .map(|socket| (socket.identity.netns, socket.identity.local_port))
        .collect();
    // Listeners first: the sockets they accepted belong to their service.
    let (listeners, others): (Vec<_>, Vec<_>) =
        sockets.iter().partition(|socket| socket.state == TcpState::Listen);
    let mut listener_of = HashMap::new();
    for socket in listeners {
        let owner = socket.owner.as_ref();
        // A filter on peers keeps the listener out, which has none, and not what it accepts.
        let accepts = if filter.passes_listener(&socket.identity) {
            group_of(maps, filter, socket.identity.local_port, DIRECTION_IN, owner)?
        } else {
            GROUP_OUTSIDE
        };
        // First: from when it has a record, its end is taken off. If it has one already it has
        // ended since, or begun under the programs' eyes, and is not to be counted here.
        register_listener(maps, socket, accepts)?;
        if !place(maps, filter, &mut base, socket, DIRECTION_IN, owner)? {
            unregister_listener(maps, socket)?;
        }
        let key = (socket.identity.netns, socket.identity.local_port);
        listener_of.insert(key, owner);
    }
    for socket in others {
        let accepted = was_accepted(&listening, &socket.identity);
        let direction = if accepted { DIRECTION_IN } else { DIRECTION_OUT };
        let mut owner = socket.owner.as_ref();
        if owner.is_none() && accepted && !socket.orphan {
            // In the accept queue: nobody holds it, but it waits for the listener's process.
            let key = (socket.identity.netns, socket.identity.local_port);
            owner = listener_of.get(&key).copied().flatten();
        }
        place(maps, filter, &mut base, socket, direction, owner)?;
    }
    Ok(base)
}

/// Whether a connection was accepted here: somebody listens on its port, or, where the listener
/// is gone, its ports say so.
fn was_accepted(listening: &HashSet<(u32, u16)>, identity: &SocketIdentity) -> bool {
    listening.contains(&(identity.netns, identity.local_port))
        || (!listening.contains(&(identity.netns, identity.peer_port))
            && is_accepted(identity.local_port, identity.peer_port))
}

/// Puts one socket into the table and counts it; `false` if it is there already.
fn place(
    maps: &mut Maps,
    filter: &Filter,
    base: &mut Base,
    socket: &StandingSocket,
    direction: u8,
    owner: Option<&StandingOwner>,
) -> Result<bool> {
    let identity = &socket.identity;
    let port = if direction == DIRECTION_IN { identity.local_port } else { identity.peer_port };
    let group = if filter.passes_socket(identity) {
        group_of(maps, filter, port, direction, owner)?
    } else {
        GROUP_OUTSIDE
    };
    if group == GROUP_OUTSIDE && !socket.orphan {
        return Ok(true);
    }
    let connection = socket.state.is_connection();
    let record = SockRecord {
        group,
        tgid: owner.map_or(0, |owner| owner.pid),
        netns: identity.netns,
        service_port: port,
        direction,
        state: socket.state.number(),
        flags: if connection { FLAG_STANDING } else { 0 }
            | if socket.orphan { FLAG_ORPHAN } else { 0 },
        ..SockRecord::default()
    };
    match maps.sockets.insert(socket.cookie, record, NOEXIST) {
        Ok(()) => {}
        Err(error) if is_there(&error) => return Ok(false),
        Err(error) if is_full(&error) => {
            base.untracked += 1;
            return Ok(true);
        }
        Err(error) => return Err(error.into()),
    }
    if group == GROUP_OTHER {
        base.ungrouped += 1;
    }
    if group != GROUP_OUTSIDE {
        base.add(group, usize::from(socket.state.number()));
        if connection {
            base.add(group, Counter::Standing as usize);
        }
    }
    if socket.orphan {
        base.add(group, Counter::Orphans as usize);
        if let Some(word) = orphans_in(socket.state.number()) {
            base.add(group, word);
        }
    }
    Ok(true)
}

/// The group of a service and an owner, made if it is new; with none left for an owner, that of the
/// service alone.
pub(super) fn group_of(
    maps: &mut Maps,
    filter: &Filter,
    port: u16,
    direction: u8,
    owner: Option<&StandingOwner>,
) -> Result<u32> {
    let (pid, comm, cgroup) =
        owner.map_or((None, "", 0), |owner| (Some(owner.pid), owner.comm.as_str(), owner.cgroup));
    if !filter.passes_owner(pid, comm, cgroup) {
        return Ok(GROUP_OUTSIDE);
    }
    let service = GroupKey { port, direction, ..GroupKey::default() };
    let mut key = GroupKey {
        tgid: owner.map_or(0, |owner| owner.pid),
        start_ticks: owner.map_or(0, |owner| owner.start_ticks),
        ..service
    };
    if let Some(info) = lookup(maps, &key)? {
        return Ok(info.index);
    }
    let mut info = GroupInfo { cgroup, ..GroupInfo::default() };
    let index = match maps.take_free_group()? {
        Some(index) => index,
        None => {
            if let Some(info) = lookup(maps, &service)? {
                return Ok(info.index);
            }
            let Some(index) = maps.take_free_service_group()? else {
                return Ok(GROUP_OTHER);
            };
            key = service;
            info = GroupInfo::default();
            index
        }
    };
    info.index = index;
    if key.tgid != 0 {
        for (place, byte) in info.comm.iter_mut().take(15).zip(comm.bytes()) {
            *place = byte;
        }
    }
    match maps.group_index.insert(key, info, NOEXIST) {
        Ok(()) => Ok(index),
        Err(_) => {
            // A program was faster, or there is no room.
            maps.free_group(index)?;
            Ok(lookup(maps, &key)?.map_or(GROUP_OTHER, |info| info.index))
        }
    }
}

fn lookup(maps: &Maps, key: &GroupKey) -> Result<Option<GroupInfo>, MapError> {
    some(maps.group_index.get(key, 0))
}

fn service_key(socket: &StandingSocket) -> ServiceKey {
    ServiceKey {
        netns: socket.identity.netns,
        port: socket.identity.local_port,
        direction: DIRECTION_IN,
        pad: 0,
    }
}

/// Takes back [`register_listener`].
fn unregister_listener(maps: &mut Maps, socket: &StandingSocket) -> Result<()> {
    let key = service_key(socket);
    // With no room for it, it was not made known.
    if let Some(mut info) = some(maps.services.get(&key, 0))? {
        info.listeners = info.listeners.saturating_sub(1);
        maps.services.insert(key, info, 0)?;
    }
    Ok(())
}

/// Makes known who listens, so that accepted sockets join its group.
fn register_listener(maps: &mut Maps, socket: &StandingSocket, group: u32) -> Result<()> {
    let key = service_key(socket);
    let tgid = socket.owner.as_ref().map_or(0, |owner| owner.pid);
    let info = match maps.services.get(&key, 0) {
        Ok(known) if known.listeners > 0 && known.tgid != tgid => {
            // Several processes listen: who accepts is not known before close().
            ServiceInfo { group: known.group, tgid: 0, listeners: known.listeners + 1 }
        }
        Ok(known) => ServiceInfo { group, tgid, listeners: known.listeners + 1 },
        Err(error) if is_missing(&error) => ServiceInfo { group, tgid, listeners: 1 },
        Err(error) => return Err(error.into()),
    };
    match maps.services.insert(key, info, 0) {
        // Then the owner of what it accepts is unknown until it is closed.
        Err(error) if !is_full(&error) => Err(error.into()),
        _ => Ok(()),
    }
}

fn os_error(error: &MapError) -> Option<i32> {
    match error {
        MapError::SyscallError(call) => call.io_error.raw_os_error(),
        _ => None,
    }
}

fn is_there(error: &MapError) -> bool {
    os_error(error) == Some(libc::EEXIST)
}

fn is_full(error: &MapError) -> bool {
    matches!(os_error(error), Some(libc::E2BIG | libc::ENOMEM))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(local_port: u16, peer_port: u16) -> SocketIdentity {
        SocketIdentity {
            local_port,
            peer_port,
            peer: [127, 0, 0, 1].into(),
            is_ipv6: false,
            netns: 1,
        }
    }

    #[test]
    fn direction_is_told_by_the_listener_or_by_the_ports() {
        let listening = HashSet::from([(1, 9981), (1, 50_000)]);
        assert!(was_accepted(&listening, &identity(9981, 40_000)));
        assert!(!was_accepted(&listening, &identity(40_000, 9981)));
        assert!(was_accepted(&listening, &identity(50_000, 40_000)), "a high listener");
        assert!(was_accepted(&listening, &identity(443, 40_000)), "its listener is gone");
        assert!(!was_accepted(&listening, &identity(40_000, 443)));
        let other_netns = SocketIdentity { netns: 2, ..identity(50_000, 40_000) };
        assert!(!was_accepted(&listening, &other_netns));
    }
}
