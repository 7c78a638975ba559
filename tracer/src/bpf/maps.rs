//! The maps: prepared before the programs attach, read while they run.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::sync::Arc;

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::maps::{
    Array, HashMap, Map, MapData, MapError, PerCpuArray, PerCpuHashMap, Queue, RingBuf,
};
use tracer_common::abi::{
    CONTROL_MERGING, CONTROL_MINISOCKETS, DIRECTION_IN, GROUP_FIRST, GROUPS, GroupInfo, GroupKey,
    Handover, HistogramKey, MERGED, MERGING, MiniRecord, NOT_MERGED, SERVICE_GROUPS, ServiceInfo,
    ServiceKey, SockRecord, place_of_group,
};
use tracer_common::counters::{Counter, GroupCounters, HostCounter, Loss, MiniCounters};
use tracer_common::reset::ResetReason;

use super::decode;
use super::known::ResetReasons;
use crate::event::{Direction, Event, Owner, Service};

/// Whose sockets a group has.
#[derive(Clone, Debug, Default)]
pub struct GroupOwner {
    /// The process; `None` where unknown.
    pub owner: Option<Arc<Owner>>,
    /// When it started, clock ticks since boot.
    pub start_ticks: u32,
    /// Number of its cgroup2; 0 where unknown.
    pub cgroup: u64,
}

/// How many groups there may be at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Of a service and an owner.
    pub groups: u32,
    /// Beyond them, of a service without an owner.
    pub service_groups: u32,
}

impl Default for Room {
    fn default() -> Self {
        Self { groups: GROUPS - GROUP_FIRST, service_groups: SERVICE_GROUPS }
    }
}

impl Room {
    /// For tests: fewer groups than there are, as `GROUPS,SERVICE_GROUPS`.
    pub const VARIABLE: &str = "SOCKFLOW_GROUPS";

    /// As many as there are, or as few as the text says.
    ///
    /// # Errors
    ///
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let most = Self::default();
        if text.is_empty() {
            return Ok(most);
        }
        let one = |word: &str, most: u32| match word.parse() {
            Ok(number) if number <= most => Ok(number),
            _ => Err(format!("{word}: not a number up to {most}")),
        };
        let (groups, service_groups) =
            text.split_once(',').ok_or_else(|| format!("{text}: not GROUPS,SERVICE_GROUPS"))?;
        Ok(Self {
            groups: one(groups, most.groups)?,
            service_groups: one(service_groups, most.service_groups)?,
        })
    }
}

/// Fills the queues of free group indexes and turns merging on; before anything attaches.
///
/// # Errors
///
/// The object lacks a map, or the kernel refuses.
pub fn prepare(ebpf: &mut Ebpf, room: Room) -> Result<()> {
    for (queue, first, room) in [
        ("FREE_GROUPS", GROUP_FIRST, room.groups),
        ("FREE_SERVICE_GROUPS", GROUPS, room.service_groups),
    ] {
        let mut free: Queue<_, u32> = Queue::try_from(map_of(ebpf, queue)?)?;
        for index in first..first + room {
            free.push(index, 0)?;
        }
    }
    let mut control: Array<_, u32> = Array::try_from(map_of(ebpf, "CONTROL")?)?;
    control.set(CONTROL_MERGING, MERGING, 0)?;
    Ok(())
}

/// Tells the programs that a hook marks the sockets whose places minisockets take. A socket that is
/// replaced just before this is told is counted in the way that was in force.
///
/// # Errors
///
/// The object lacks a map, or the kernel refuses.
pub fn minisockets_are_hooked(ebpf: &mut Ebpf) -> Result<()> {
    let mut control: Array<_, u32> = Array::try_from(map_of(ebpf, "CONTROL")?)?;
    Ok(control.set(CONTROL_MINISOCKETS, 1, 0)?)
}

/// Tells the programs that the kernel is under memory pressure already.
///
/// # Errors
///
/// The object lacks a map, or the kernel refuses.
pub fn is_under_pressure(ebpf: &mut Ebpf) -> Result<()> {
    let mut pressure: HashMap<_, u32, u64> = HashMap::try_from(map_of(ebpf, "PRESSURE")?)?;
    Ok(pressure.insert(0, 1, 0)?)
}

fn map_of<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Map> {
    ebpf.map_mut(name).with_context(|| format!("the object has no map {name}"))
}

/// Every map that user space uses, owned.
pub struct Maps {
    /// Live sockets by cookie.
    pub sockets: HashMap<MapData, u64, SockRecord>,
    /// Minisockets by cookie.
    pub minisockets: HashMap<MapData, u64, MiniRecord>,
    /// Who listens where.
    pub services: HashMap<MapData, ServiceKey, ServiceInfo>,
    /// The groups' indexes.
    pub group_index: HashMap<MapData, GroupKey, GroupInfo>,
    /// Sockets that the next walk hands over, by cookie.
    pub handovers: HashMap<MapData, u64, Handover>,
    /// How many groups there may be.
    pub room: Room,
    free_groups: Queue<MapData, u32>,
    free_service_groups: Queue<MapData, u32>,
    totals: Array<MapData, GroupCounters>,
    /// Shards of the totals, less one.
    last_shard: u32,
    fin_wait1: PerCpuHashMap<MapData, HistogramKey, u64>,
    mini_totals: PerCpuHashMap<MapData, HistogramKey, MiniCounters>,
    reset_reasons: PerCpuHashMap<MapData, HistogramKey, u64>,
    host: PerCpuArray<MapData, u64>,
    losses: PerCpuArray<MapData, u64>,
    control: Array<MapData, u32>,
    events: RingBuf<MapData>,
}

impl Maps {
    /// Takes the maps out of the loaded object.
    ///
    /// # Errors
    ///
    /// The object lacks a map.
    pub fn take(ebpf: &mut Ebpf, room: Room, last_shard: u32) -> Result<Self> {
        let mut take = |name: &str| {
            ebpf.take_map(name).with_context(|| format!("the object has no map {name}"))
        };
        Ok(Self {
            sockets: HashMap::try_from(take("SOCKETS")?)?,
            minisockets: HashMap::try_from(take("MINISOCKETS")?)?,
            services: HashMap::try_from(take("SERVICES")?)?,
            group_index: HashMap::try_from(take("GROUP_INDEX")?)?,
            handovers: HashMap::try_from(take("HANDOVERS")?)?,
            room,
            free_groups: Queue::try_from(take("FREE_GROUPS")?)?,
            free_service_groups: Queue::try_from(take("FREE_SERVICE_GROUPS")?)?,
            totals: Array::try_from(take("TOTALS")?)?,
            last_shard,
            fin_wait1: PerCpuHashMap::try_from(take("FIN_WAIT1_TIMES")?)?,
            mini_totals: PerCpuHashMap::try_from(take("MINI_TOTALS")?)?,
            reset_reasons: PerCpuHashMap::try_from(take("RESET_REASONS")?)?,
            host: PerCpuArray::try_from(take("HOST")?)?,
            losses: PerCpuArray::try_from(take("LOSSES")?)?,
            control: Array::try_from(take("CONTROL")?)?,
            events: RingBuf::try_from(take("EVENTS")?)?,
        })
    }

    /// A group's counters, summed over the shards.
    ///
    /// # Errors
    ///
    /// The kernel refuses the read.
    pub fn counters(&self, index: u32) -> Result<GroupCounters, MapError> {
        let mut sum = GroupCounters::default();
        for place in self.places(index) {
            sum.merge(&self.totals.get(&place, 0)?);
        }
        Ok(sum)
    }

    /// Where a group's counters are, each shard's.
    fn places(&self, index: u32) -> impl Iterator<Item = u32> + use<> {
        let last_shard = self.last_shard;
        let shards = if index < GROUPS { last_shard + 1 } else { 1 };
        (0..shards).map(move |shard| place_of_group(index, shard, last_shard))
    }

    /// A loss, summed over the CPUs.
    ///
    /// # Errors
    ///
    /// The kernel refuses the read.
    pub fn loss(&self, loss: Loss) -> Result<u64, MapError> {
        Ok(self.losses.get(&(loss as u32), 0)?.iter().sum())
    }

    /// Every group there is now.
    ///
    /// # Errors
    ///
    /// The kernel refuses the read.
    pub fn groups(&self) -> Result<Vec<(GroupKey, GroupInfo)>, MapError> {
        present(self.group_index.iter())
    }

    /// Groups that accepted sockets join by default: of every port somebody listens on.
    ///
    /// # Errors
    ///
    /// The kernel refuses the read.
    pub fn default_groups(&self) -> Result<HashSet<u32>, MapError> {
        let services = present(self.services.iter())?;
        let listened = services.into_iter().filter(|(_, info)| info.listeners > 0);
        Ok(listened.map(|(_, info)| info.group).collect())
    }

    /// Makes sure that no accepted socket joins one of these groups for a listener that is gone.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn forget_services_of(&mut self, groups: &HashSet<u32>) -> Result<(), MapError> {
        for (key, info) in present(self.services.iter())? {
            if info.listeners == 0 && groups.contains(&info.group) {
                match self.services.remove(&key) {
                    Err(error) if !is_missing(&error) => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// FIN_WAIT1 times by service.
    ///
    /// # Errors
    ///
    /// The kernel refuses the read.
    pub fn fin_wait1(&self) -> Result<BTreeMap<Service, Vec<(u32, u64)>>, MapError> {
        let mut times: BTreeMap<Service, Vec<(u32, u64)>> = BTreeMap::new();
        for (key, counts) in present(self.fin_wait1.iter())? {
            times.entry(service(&key)).or_default().push((key.bucket, counts.iter().sum()));
        }
        for buckets in times.values_mut() {
            buckets.sort_unstable();
        }
        Ok(times)
    }

    /// Minisockets counted by service, summed over the CPUs.
    ///
    /// # Errors
    ///
    /// The kernel refuses the read.
    pub fn minisocket_totals(&self) -> Result<BTreeMap<Service, MiniCounters>, MapError> {
        let mut services: BTreeMap<Service, MiniCounters> = BTreeMap::new();
        for (key, cpus) in present(self.mini_totals.iter())? {
            let sum = services.entry(service(&key)).or_default();
            for cpu in cpus.iter() {
                sum.merge(cpu);
            }
        }
        Ok(services)
    }

    /// Resets sent by service and reason. Reasons newer than this build are left out.
    ///
    /// # Errors
    ///
    /// The kernel refuses the read.
    pub fn reset_reasons(
        &self,
        names: &ResetReasons,
    ) -> Result<BTreeMap<Service, BTreeMap<ResetReason, u64>>, MapError> {
        let mut services: BTreeMap<Service, BTreeMap<ResetReason, u64>> = BTreeMap::new();
        for (key, cpus) in present(self.reset_reasons.iter())? {
            if let Some(reason) = names.named(key.bucket) {
                let counts = services.entry(service(&key)).or_default();
                *counts.entry(reason).or_default() += cpus.iter().sum::<u64>();
            }
        }
        Ok(services)
    }

    /// A count for the whole host, summed over the CPUs.
    ///
    /// # Errors
    ///
    /// The kernel refuses the read.
    pub fn host(&self, counter: HostCounter) -> Result<u64, MapError> {
        Ok(self.host.get(&(counter as u32), 0)?.iter().sum())
    }

    /// An index no group has; `None` when all are taken.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn take_free_group(&mut self) -> Result<Option<u32>, MapError> {
        some(self.free_groups.pop(0))
    }

    /// The same, for a group without an owner.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn take_free_service_group(&mut self) -> Result<Option<u32>, MapError> {
        some(self.free_service_groups.pop(0))
    }

    /// Gives an index back.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn free_group(&mut self, index: u32) -> Result<(), MapError> {
        for place in self.places(index) {
            self.totals.set(place, GroupCounters::default(), 0)?;
        }
        let queue =
            if index < GROUPS { &mut self.free_groups } else { &mut self.free_service_groups };
        queue.push(index, 0)
    }

    /// The first dump is merged, or there was none: destroyed sockets leave no tombstones any more.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn end_merging(&mut self, merged: bool) -> Result<(), MapError> {
        self.control.set(CONTROL_MERGING, if merged { MERGED } else { NOT_MERGED }, 0)
    }

    /// Hands every event that waits on the ring to `sink`, at most `most`; returns how many.
    ///
    /// `owners` names them by group index; what it lacks is looked up and added.
    pub fn drain_events(
        &mut self,
        owners: &mut BTreeMap<u32, GroupOwner>,
        names: &ResetReasons,
        most: usize,
        mut sink: impl FnMut(Event, &GroupOwner),
    ) -> usize {
        let Self { events, group_index, .. } = self;
        let mut count = 0;
        while count < most
            && let Some(item) = events.next()
        {
            count += 1;
            let Some(raw) = decode::record(&item) else { continue };
            if !owners.contains_key(&raw.group) {
                learn(group_index, owners);
                owners.entry(raw.group).or_default();
            }
            let Some(group) = owners.get(&raw.group) else { continue };
            if let Some(event) = decode::event(&raw, group.owner.as_ref(), names) {
                sink(event, group);
            }
        }
        count
    }
}

fn service(key: &HistogramKey) -> Service {
    Service { port: key.port, direction: direction(key.direction) }
}

/// Adds the owners of all groups there are; a map that cannot be read leaves them unknown.
fn learn(groups: &HashMap<MapData, GroupKey, GroupInfo>, owners: &mut BTreeMap<u32, GroupOwner>) {
    for (key, info) in groups.iter().flatten() {
        let owner = (key.tgid != 0).then(|| Owner { pid: key.tgid, comm: comm_text(&info.comm) });
        owners.entry(info.index).or_insert_with(|| GroupOwner {
            owner: owner.map(Arc::new),
            start_ticks: key.start_ticks,
            cgroup: info.cgroup,
        });
    }
}

/// Collects a map's entries; one that vanishes while they are walked is no error.
fn present<K, V>(
    entries: impl Iterator<Item = Result<(K, V), MapError>>,
) -> Result<Vec<(K, V)>, MapError> {
    entries.filter(|entry| !entry.as_ref().is_err_and(is_missing)).collect()
}

/// What was there; `None` if nothing.
pub(super) fn some<T>(found: Result<T, MapError>) -> Result<Option<T>, MapError> {
    match found {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether an error of a map operation only says that the key is not there.
#[must_use]
pub fn is_missing(error: &MapError) -> bool {
    match error {
        MapError::KeyNotFound | MapError::ElementNotFound => true,
        MapError::SyscallError(call) => call.io_error.kind() == io::ErrorKind::NotFound,
        _ => false,
    }
}

/// The domain's word for an ABI direction.
#[must_use]
pub const fn direction(raw: u8) -> Direction {
    if raw == DIRECTION_IN { Direction::In } else { Direction::Out }
}

/// What [`GroupInfo::comm`] spells.
#[must_use]
pub fn comm_text(comm: &[u8; 16]) -> String {
    let end = comm.iter().position(|byte| *byte == 0).unwrap_or(comm.len());
    String::from_utf8_lossy(&comm[..end]).into_owned()
}

/// Orphans in a group now.
#[must_use]
pub fn orphans(counters: &GroupCounters) -> u64 {
    counters.population(Counter::Orphans)
}

#[cfg(test)]
mod tests {
    use tracer_common::abi::ALL_GROUPS;

    use super::*;

    #[test]
    fn fewer_groups_can_be_asked_for() {
        assert_eq!(Room::parse(""), Ok(Room::default()));
        assert_eq!(Room::parse("8,16"), Ok(Room { groups: 8, service_groups: 16 }));
        for wrong in ["8", "8,", ",8", "8,x", "2047,0", "0,8193"] {
            assert!(Room::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn each_group_has_places_of_its_own() {
        for last_shard in [0, 1, 7] {
            let mut taken = HashSet::new();
            for group in 0..ALL_GROUPS {
                for cpu in 0..=last_shard {
                    taken.insert(place_of_group(group, cpu, last_shard));
                }
            }
            let places = (last_shard + 1) * GROUPS + SERVICE_GROUPS;
            assert_eq!(taken.len() as u32, places);
            assert!(taken.iter().all(|place| *place < places));
            assert_eq!(
                place_of_group(5, 9, last_shard),
                place_of_group(5, 9 & last_shard, last_shard)
            );
        }
    }

    #[test]
    fn names_end_at_their_nul() {
        assert_eq!(comm_text(b"nginx\0garbage\0\0\0"), "nginx");
        assert_eq!(comm_text(b"exactly16bytes!!"), "exactly16bytes!!");
    }
}
