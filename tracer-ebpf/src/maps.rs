//! Every map: who writes it, who reads it, how large it is, what happens when it is full.
//!
//! All are allocated when the object loads: nothing is allocated per event. The sizes of
//! `SOCKETS`, `MINISOCKETS` and `EVENTS` can be changed by the loader.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, PerCpuArray, PerCpuHashMap, Queue, RingBuf};
use tracer_common::abi::{
    self, ALL_GROUPS, CONTROL_WORDS, GROUPS, GroupInfo, GroupKey, Handover, HistogramKey,
    MiniRecord, SERVICE_GROUPS, ServiceInfo, ServiceKey, SockRecord,
};
use tracer_common::counters::{GroupCounters, HOST_WORDS, LOSS_WORDS, MiniCounters};

/// Live sockets by cookie. Written by all programs and, for those that stood before, by user
/// space; deleted when the kernel destroys the socket. Full: `Loss::Untracked`.
#[map]
pub(crate) static SOCKETS: HashMap<u64, SockRecord> = HashMap::with_max_entries(262_144, 0);

/// Who listens where. Written on LISTEN and, for the listeners that stood before, by user space.
/// Full: accepted sockets join the group of an unknown owner until they are closed.
#[map]
pub(crate) static SERVICES: HashMap<ServiceKey, ServiceInfo> = HashMap::with_max_entries(4096, 0);

/// Sockets whose holder is another process than their group's, by cookie. Written by user space before
/// it has `sf_owner` walk all sockets, deleted by that. Full: user space goes on in another walk.
#[map]
pub(crate) static HANDOVERS: HashMap<u64, Handover> = HashMap::with_max_entries(abi::HANDOVERS, 0);

/// The groups' indexes. Written by whoever first needs a group; deleted by user space when a
/// group is empty and its process gone. Has room for every index there is.
#[map]
pub(crate) static GROUP_INDEX: HashMap<GroupKey, GroupInfo> =
    HashMap::with_max_entries(ALL_GROUPS, 0);

/// Indexes no group has. Filled by user space before the programs attach. Empty: sockets join a group
/// of their service without an owner.
#[map]
pub(crate) static FREE_GROUPS: Queue<u32> = Queue::with_max_entries(GROUPS, 0);

/// The same, for groups of a service without an owner only. Empty: the sockets join `GROUP_OTHER`,
/// `Loss::Ungrouped`.
#[map]
pub(crate) static FREE_SERVICE_GROUPS: Queue<u32> = Queue::with_max_entries(SERVICE_GROUPS, 0);

/// The exact totals, by `tracer_common::abi::place_of_group`; the loader makes it as large as that.
/// Written by all programs.
#[map]
pub(crate) static TOTALS: Array<GroupCounters> = Array::with_max_entries(ALL_GROUPS, 0);

/// FIN_WAIT1 times by service and bucket. Full: `Loss::Histogram`.
#[map]
pub(crate) static FIN_WAIT1_TIMES: PerCpuHashMap<HistogramKey, u64> =
    PerCpuHashMap::with_max_entries(8192, 0);

/// Minisockets by cookie (or address). Written when one begins and, for those that stood before, by
/// user space; deleted when the kernel kills the minisocket. Full: `Loss::Minisockets`.
#[map]
pub(crate) static MINISOCKETS: HashMap<u64, MiniRecord> = HashMap::with_max_entries(8192, 0);

/// Minisockets counted by service; `bucket` is 0. Full: further services share port 0.
#[map]
pub(crate) static MINI_TOTALS: PerCpuHashMap<HistogramKey, MiniCounters> =
    PerCpuHashMap::with_max_entries(2048, 0);

/// Resets sent, by service and the kernel's number for why. Full: `Loss::Reasons`.
#[map]
pub(crate) static RESET_REASONS: PerCpuHashMap<HistogramKey, u64> =
    PerCpuHashMap::with_max_entries(4096, 0);

/// Whether the kernel is under memory pressure: one entry where it is, whose key is 0. To put it in
/// or take it out succeeds for one CPU, which counts it.
#[map]
pub(crate) static PRESSURE: HashMap<u32, u64> = HashMap::with_max_entries(1, 0);

/// What is counted for the whole host, by `tracer_common::counters::HostCounter`.
#[map]
pub(crate) static HOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(HOST_WORDS, 0);

/// What was lost, by `tracer_common::counters::Loss`.
#[map]
pub(crate) static LOSSES: PerCpuArray<u64> = PerCpuArray::with_max_entries(LOSS_WORDS, 0);

/// Whether a program is running on this CPU, by `twin::Program`. Written by the programs.
#[map]
pub(crate) static RUNNING: PerCpuArray<u32> = PerCpuArray::with_max_entries(2, 0);

/// Switches user space turns while programs run: `tracer_common::abi::CONTROL_…`.
#[map]
pub(crate) static CONTROL: Array<u32> = Array::with_max_entries(CONTROL_WORDS, 0);

/// Detail events. Drained by user space on a timer, never woken per event. Full: `Loss::Detail`.
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(4 << 20, 0);
