//! The groups of the socket counters: read every interval, and given back when nobody needs them.
//!
//! The kernel side has room for a fixed number of groups (service × owner). A host that starts a
//! process for every request would use them up, so an empty group whose time is over is retired:
//! its name goes first, so that no socket can join it any more; an interval later, when whoever
//! held its index is done, its counters are kept here and the index is free again.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use tracer_common::abi::{GROUP_OTHER, GROUPS, GroupInfo, GroupKey};
use tracer_common::counters::{Counter, GroupCounters};
use tracer_common::state::TcpState;

use super::cgroups::Cgroups;
use super::owner_checks::OwnerChecks;
use super::processes;
use super::workloads::Workloads;
use crate::bpf::maps::{GroupOwner, Maps, Room, comm_text, direction};
use crate::bpf::standing::Base;
use crate::event::{Direction, Group, Minisockets, Owner, Service};

/// Groups are given back only when so many in four are in use: until then the processes that are
/// gone stay on screen.
const CROWDED_QUARTERS: u32 = 3;
/// Intervals without a change before an empty group of a living process counts as idle.
const IDLE_TICKS: u32 = 10;

/// Places kept for outgoing services without a socket.
const RETIRED_SERVICES: usize = 4096;

/// Reads and retires groups.
#[derive(Debug, Default)]
pub struct Groups {
    base: Base,
    /// Whether sockets belong to who holds them.
    pub checks: OwnerChecks,
    /// Whether the filter lets through some owners only.
    by_owner: bool,
    /// Owner by group index, for events.
    pub owners: BTreeMap<u32, GroupOwner>,
    /// Changes seen, and for how many intervals there were no more.
    idle: BTreeMap<u32, (u64, u32)>,
    /// Without a name already; given back when they are still empty at the next reading.
    leaving: Vec<(u32, Group)>,
    /// Connections of groups that are gone whose service had no place any more.
    without_place: u64,
    /// What groups that are gone have counted.
    retired: BTreeMap<(Service, Option<(u32, u32)>), Group>,
}

impl Groups {
    /// With what stood before tracing began. `by_owner`: whether the filter lets through some owners
    /// only.
    #[must_use]
    pub fn new(base: Base, checks: OwnerChecks, by_owner: bool) -> Self {
        Self { base, checks, by_owner, ..Self::default() }
    }

    /// What the kernel's counters lack, to be corrected.
    pub const fn base_mut(&mut self) -> &mut Base {
        &mut self.base
    }

    /// Standing sockets that found no room.
    #[must_use]
    pub const fn untracked(&self) -> u64 {
        self.base.untracked
    }

    /// Sockets counted under port 0: those that stood before and found no group, and those of groups
    /// that are gone.
    #[must_use]
    pub const fn ungrouped(&self) -> u64 {
        self.base.ungrouped + self.without_place
    }

    /// A group's counters since tracing began, with what stood before.
    ///
    /// # Errors
    ///
    /// The map cannot be read any more.
    pub fn counters(&self, maps: &Maps, index: u32) -> Result<GroupCounters> {
        let mut counters = maps.counters(index)?;
        if let Some(base) = self.base.groups.get(&index) {
            counters.merge(base);
        }
        if self.by_owner {
            counters.settle();
        }
        Ok(counters)
    }

    /// Minisockets by service, with those that stood before.
    ///
    /// # Errors
    ///
    /// The map cannot be read any more.
    pub fn minisockets(&self, maps: &Maps) -> Result<BTreeMap<Service, Minisockets>> {
        let mut services = self.base.minisockets.clone();
        for (service, counters) in maps.minisocket_totals()? {
            services.entry(service).or_default().counters.merge(&counters);
        }
        Ok(services)
    }

    /// Every group now, those that are gone among them.
    ///
    /// # Errors
    ///
    /// A map cannot be read any more.
    pub fn read(&mut self, maps: &mut Maps, places: &mut Places) -> Result<Vec<Group>> {
        self.give_back(maps)?;
        let known = maps.groups()?;
        self.checks.begin_reading(maps.default_groups()?);
        let crowd = Crowd::of(maps.room, known.iter().map(|(_, info)| info.index));
        let mut groups = Vec::with_capacity(known.len() + self.retired.len() + 1);
        let mut spare = Vec::new();
        for (key, info) in known {
            let counters = self.counters(maps, info.index)?;
            let unchecked = self.checks.unchecked(info.index, key.port, &counters);
            let group = Group { unchecked, ..describe(&key, &info, counters, places) };
            let owner = group.owner.clone().map(Arc::new);
            let (start_ticks, cgroup) = (key.start_ticks, info.cgroup);
            self.owners.insert(info.index, GroupOwner { owner, start_ticks, cgroup });
            if crowd.is_at(info.index) && self.is_spare(info.index, &group) {
                spare.push((key, info.index, group.clone()));
            }
            groups.push(group);
        }
        groups.extend(self.leaving.iter().map(|(_, group)| group.clone()));
        groups.extend(self.retired.values().cloned());
        let other = self.counters(maps, GROUP_OTHER)?;
        if other != GroupCounters::default() {
            groups.push(overflow(other));
        }
        self.dismiss(maps, spare)?;
        Ok(groups)
    }

    /// Whether nobody would miss the group: empty, and its owner gone or idle.
    fn is_spare(&mut self, index: u32, group: &Group) -> bool {
        let changes = group.counters.total(Counter::Changes);
        let idle = self.idle.entry(index).or_insert((changes, 0));
        *idle = if idle.0 == changes { (changes, idle.1.saturating_add(1)) } else { (changes, 0) };
        let is_gone = group.owner.is_some() && !group.alive;
        is_empty(&group.counters) && (is_gone || idle.1 >= IDLE_TICKS)
    }

    /// Takes the names away. A group that accepted sockets still join by default keeps its own.
    fn dismiss(&mut self, maps: &mut Maps, spare: Vec<(GroupKey, u32, Group)>) -> Result<()> {
        if spare.is_empty() {
            return Ok(());
        }
        let defaults = maps.default_groups()?;
        let indexes = spare.iter().map(|(_, index, _)| *index);
        maps.forget_services_of(&indexes.filter(|index| !defaults.contains(index)).collect())?;
        for (key, index, group) in spare {
            if !defaults.contains(&index) && maps.group_index.remove(&key).is_ok() {
                self.leaving.push((index, group));
            }
        }
        Ok(())
    }

    /// Frees the indexes whose groups have stayed empty since their name was taken.
    fn give_back(&mut self, maps: &mut Maps) -> Result<()> {
        for (index, mut group) in std::mem::take(&mut self.leaving) {
            group.counters = self.counters(maps, index)?;
            if is_empty(&group.counters) {
                self.keep(group);
                self.base.groups.remove(&index);
                self.owners.remove(&index);
                self.idle.remove(&index);
                maps.free_group(index)?;
            } else {
                self.leaving.push((index, group));
            }
        }
        Ok(())
    }

    /// Keeps what a group has counted, so that totals never shrink. The number of places is
    /// bounded: processes that are gone share the place of their service, and past
    /// [`RETIRED_SERVICES`] so do all outgoing services, as port 0.
    fn keep(&mut self, mut group: Group) {
        let service = group.service;
        if service.direction == Direction::Out
            && self.retired.len() >= RETIRED_SERVICES
            && !self.retired.keys().any(|(known, _)| *known == service)
        {
            let counters = &group.counters;
            self.without_place +=
                counters.total(Counter::Opened) + counters.total(Counter::Standing);
            group.service.port = 0;
        }
        if !group.alive {
            group.owner = None;
            group.owner_start_ticks = 0;
        }
        let owner = group.owner.as_ref().map(|owner| (owner.pid, group.owner_start_ticks));
        match self.retired.get_mut(&(group.service, owner)) {
            Some(kept) => {
                kept.counters.merge(&group.counters);
                // The place of several processes is in a workload only if all of them were.
                if (&kept.cgroup, &kept.workload) != (&group.cgroup, &group.workload) {
                    (kept.cgroup, kept.workload) = (None, None);
                }
            }
            None => {
                self.retired.insert((group.service, owner), group);
            }
        }
    }
}

/// Where processes belong: what numbers of cgroups and ids of processes stand for.
#[derive(Debug, Default)]
pub struct Places {
    /// Paths of cgroups.
    pub cgroups: Cgroups,
    /// What those do not say.
    pub workloads: Workloads,
}

impl Places {
    /// The path of the cgroup2 with this number; 0 is none's.
    pub fn path(&mut self, cgroup: u64) -> Option<String> {
        if cgroup == 0 { None } else { self.cgroups.path(cgroup) }
    }

    /// The workload of a group's owner.
    pub fn workload(&mut self, of: &GroupOwner) -> Option<String> {
        let process = (of.owner.as_ref()?.pid, of.start_ticks);
        let cgroup = self.path(of.cgroup);
        self.workloads.of(process, true, cgroup.as_deref())
    }
}

/// Which kinds of groups are about to run out.
struct Crowd {
    groups: bool,
    service_groups: bool,
}

impl Crowd {
    fn of(room: Room, indexes: impl Iterator<Item = u32>) -> Self {
        let (groups, service_groups): (Vec<_>, Vec<_>) = indexes.partition(|index| *index < GROUPS);
        let is_crowded =
            |used: Vec<u32>, room: u32| used.len() as u32 >= room * CROWDED_QUARTERS / 4;
        Self {
            groups: is_crowded(groups, room.groups),
            service_groups: is_crowded(service_groups, room.service_groups),
        }
    }

    /// Whether the group with this index is of such a kind.
    const fn is_at(&self, index: u32) -> bool {
        if index < GROUPS { self.groups } else { self.service_groups }
    }
}

/// No socket belongs to it any more.
fn is_empty(counters: &GroupCounters) -> bool {
    counters.words[..TcpState::COUNT].iter().all(|word| *word == 0)
        && counters.total(Counter::Orphans) == 0
}

fn describe(
    key: &GroupKey,
    info: &GroupInfo,
    counters: GroupCounters,
    places: &mut Places,
) -> Group {
    let (owner, alive) = if key.tgid == 0 {
        (None, false)
    } else {
        let running = processes::process(key.tgid)
            .ok()
            .filter(|process| process.running && process.start_ticks as u32 == key.start_ticks);
        let alive = running.is_some();
        // A process may take another name after its first socket.
        let comm = running.map_or_else(|| comm_text(&info.comm), |process| process.comm);
        (Some(Owner { pid: key.tgid, comm }), alive)
    };
    let cgroup = places.path(info.cgroup);
    let process = (key.tgid, key.start_ticks);
    let workload = places.workloads.beyond(process, alive, cgroup.as_deref());
    Group {
        service: Service { port: key.port, direction: direction(key.direction) },
        owner,
        owner_start_ticks: key.start_ticks,
        cgroup,
        workload,
        alive,
        unchecked: 0,
        counters,
    }
}

/// The row of what found no room.
fn overflow(counters: GroupCounters) -> Group {
    Group {
        service: Service { port: 0, direction: Direction::In },
        owner: None,
        owner_start_ticks: 0,
        cgroup: None,
        workload: None,
        alive: false,
        unchecked: 0,
        counters,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(port: u16, direction: Direction, pid: u32, alive: bool) -> Group {
        let mut counters = GroupCounters::default();
        counters.words[Counter::Opened as usize] = 1;
        counters.words[Counter::Closed as usize] = 1;
        Group {
            service: Service { port, direction },
            owner: Some(Owner { pid, comm: "curl".into() }),
            owner_start_ticks: pid,
            cgroup: None,
            workload: None,
            alive,
            unchecked: 0,
            counters,
        }
    }

    #[test]
    fn what_is_gone_keeps_its_totals_in_few_places() {
        let mut groups = Groups::default();
        for pid in 1..=5000 {
            groups.keep(group(443, Direction::Out, pid, false));
            groups.keep(group(9981, Direction::In, pid, false));
            groups.keep(group(1000 + pid as u16, Direction::Out, 7, true));
        }
        let opened = |service: Service, owner| {
            groups.retired[&(service, owner)].counters.total(Counter::Opened)
        };
        assert_eq!(opened(Service { port: 9981, direction: Direction::In }, None), 5000);
        assert_eq!(opened(Service { port: 443, direction: Direction::Out }, None), 5000);
        let rest = opened(Service { port: 0, direction: Direction::Out }, Some((7, 7)));
        assert_eq!(rest, 5000 - (RETIRED_SERVICES as u64 - 2), "too many ports share a place");
        assert_eq!(groups.ungrouped(), rest, "and that is told");
        assert_eq!(groups.retired.len(), RETIRED_SERVICES + 1);
        let all: u64 =
            groups.retired.values().map(|kept| kept.counters.total(Counter::Opened)).sum();
        assert_eq!(all, 15_000, "nothing is forgotten");
    }

    #[test]
    fn what_is_gone_keeps_its_workload_if_it_was_one() {
        let mut groups = Groups::default();
        let mut keep = |pid, cgroup: &str| {
            let cgroup = Some(cgroup.to_owned());
            groups.keep(Group { cgroup, ..group(443, Direction::Out, pid, false) });
            let kept = groups.retired.values().next().unwrap();
            kept.workload().map(std::borrow::Cow::into_owned)
        };
        assert_eq!(keep(1, "/system.slice/a.service").as_deref(), Some("a.service"));
        assert_eq!(keep(2, "/system.slice/a.service").as_deref(), Some("a.service"));
        assert_eq!(keep(3, "/system.slice/b.service"), None);
        assert_eq!(keep(4, "/system.slice/b.service"), None);
    }

    #[test]
    fn only_an_empty_group_is_spare_and_of_a_living_process_only_when_idle() {
        let mut groups = Groups::default();
        assert!(groups.is_spare(5, &group(443, Direction::Out, 1, false)));
        let living = group(443, Direction::Out, 2, true);
        for _ in 0..=IDLE_TICKS {
            groups.is_spare(6, &living);
        }
        assert!(groups.is_spare(6, &living));
        let mut busy = living.clone();
        busy.counters.words[Counter::Changes as usize] = 9;
        assert!(!groups.is_spare(6, &busy), "it has changed");
        let mut held = group(443, Direction::Out, 3, false);
        held.counters.words[TcpState::Established as usize] = 1;
        assert!(!groups.is_spare(7, &held), "a socket belongs to it");
        let mut orphans = group(443, Direction::Out, 3, false);
        orphans.counters.words[Counter::Orphans as usize] = 1;
        assert!(!groups.is_spare(8, &orphans), "an orphan belongs to it");
    }
}
