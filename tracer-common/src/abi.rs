//! The records that cross the kernel border: map keys and values, and ring buffer events.
//!
//! Every struct is `repr(C)` without implicit padding (asserted), because the kernel compares map
//! keys byte by byte and copies values as they are.

/// [`ServiceKey::direction`]: accepted sockets and listeners.
pub const DIRECTION_IN: u8 = 0;
/// [`ServiceKey::direction`]: connecting sockets.
pub const DIRECTION_OUT: u8 = 1;

/// Group index of the sockets outside the filter: only their orphans are counted, because the
/// host's orphans are compared with the kernel's own count.
pub const GROUP_OUTSIDE: u32 = 0;
/// Group index of the sockets whose own group found no room.
pub const GROUP_OTHER: u32 = 1;
/// First index that belongs to a group of its own.
pub const GROUP_FIRST: u32 = 2;
/// Groups of a service and an owner at the same time. Their counters are there once for each
/// shard ([`shard_bits`]).
pub const GROUPS: u32 = 2048;
/// Further groups of a service alone, for when those of owners have run out: indexes from [`GROUPS`]
/// on. Their counters are there once.
pub const SERVICE_GROUPS: u32 = 8192;
/// All groups there can be.
pub const ALL_GROUPS: u32 = GROUPS + SERVICE_GROUPS;
/// Sockets that are handed over at a time.
pub const HANDOVERS: u32 = 4096;

/// How often a group's counters are there, as a power of two: once for each possible CPU, up to 8.
/// Beyond that CPUs share them, so that memory does not grow with the CPUs that a host might have.
#[must_use]
pub const fn shard_bits(possible_cpus: u32) -> u32 {
    const MOST: u32 = 3;
    let needed = possible_cpus.next_power_of_two().trailing_zeros();
    if needed < MOST { needed } else { MOST }
}

/// Where a group's counters are in `TOTALS` for this CPU. `last_shard`: of as many as there are.
///
/// By arithmetic, so that the kernel's verifier has one path to walk and not two.
#[inline(always)]
#[must_use]
pub const fn place_of_group(group: u32, cpu: u32, last_shard: u32) -> u32 {
    let has_owner = group.wrapping_sub(GROUPS) >> 31;
    let shard = last_shard ^ (has_owner * (last_shard ^ (cpu & last_shard)));
    group + shard * GROUPS
}

/// A service in a network namespace: key of `SERVICES`, which knows who listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct ServiceKey {
    /// Inode number of the network namespace.
    pub netns: u32,
    /// The listening side's port, host order.
    pub port: u16,
    /// [`DIRECTION_IN`] or [`DIRECTION_OUT`].
    pub direction: u8,
    /// Zero.
    pub pad: u8,
}

/// What is known of a service: value of `SERVICES`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ServiceInfo {
    /// The group that a newly accepted socket joins.
    pub group: u32,
    /// The listener's process, or 0: unknown, or several processes listen (SO_REUSEPORT).
    pub tgid: u32,
    /// Listening sockets now; with none left the next listener takes the service over.
    pub listeners: u32,
}

/// Sockets that are counted together: key of `GROUP_INDEX`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct GroupKey {
    /// The listening side's port, host order.
    pub port: u16,
    /// [`DIRECTION_IN`] or [`DIRECTION_OUT`].
    pub direction: u8,
    /// Zero.
    pub pad: u8,
    /// The owner's process id (thread group id), or 0 for unknown.
    pub tgid: u32,
    /// When that process started, in clock ticks since boot (as `/proc/PID/stat` field 22): a
    /// reused process id is another owner. Wraps after 497 days; only equality matters.
    pub start_ticks: u32,
}

/// What is known of a group: value of `GROUP_INDEX`, written once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct GroupInfo {
    /// Its index in `TOTALS`.
    pub index: u32,
    /// Zero.
    pub pad: u32,
    /// The owner's cgroup2 id, or 0.
    pub cgroup: u64,
    /// The owner's name when the group began, NUL-padded.
    pub comm: [u8; 16],
}

/// [`SockRecord::flags`]: it has been ESTABLISHED under our eyes.
pub const FLAG_OPENED: u8 = 1 << 0;
/// [`SockRecord::flags`]: it stood when tracing began.
pub const FLAG_STANDING: u8 = 1 << 1;
/// [`SockRecord::flags`]: it is counted as an orphan.
pub const FLAG_ORPHAN: u8 = 1 << 2;
/// [`SockRecord::flags`]: a RST came.
pub const FLAG_RESET_IN: u8 = 1 << 3;
/// [`SockRecord::flags`]: a RST was sent.
pub const FLAG_RESET_OUT: u8 = 1 << 4;
/// [`SockRecord::marks`]: a minisocket in substate TIME_WAIT takes its place.
pub const MARK_TIME_WAIT: u8 = 1 << 0;
/// [`SockRecord::marks`]: a minisocket in substate FIN_WAIT2 takes its place.
pub const MARK_FIN_WAIT2: u8 = 1 << 1;
/// [`SockRecord::marks`]: either.
pub const MARK_MINISOCKET: u8 = MARK_TIME_WAIT | MARK_FIN_WAIT2;
/// [`SockRecord::marks`]: there was no minisocket to be had for it.
pub const MARK_NO_MINISOCKET: u8 = 1 << 2;
/// [`SockRecord::marks`]: `tcp_check_oom` decided to kill it.
pub const MARK_KILLED: u8 = 1 << 3;
/// [`SockRecord::marks`]: beside [`MARK_KILLED`]: for memory, not (only) for the orphan limit.
pub const MARK_KILLED_FOR_MEMORY: u8 = 1 << 4;

/// [`SockRecord::flags`]: destroyed while user space was still merging the first dump; kept so
/// that the dump cannot bring it back, swept afterwards.
pub const FLAG_DESTROYED: u8 = 1 << 6;

/// One socket: value of `SOCKETS`, keyed by cookie. Deleted when the kernel destroys the socket.
///
/// All fields but `closer` are written with the socket locked by the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SockRecord {
    /// When it was first seen, ns (`CLOCK_MONOTONIC`); 0 when it stood before or where no detail
    /// is asked for.
    pub born_ns: u64,
    /// When it entered FIN_WAIT1, ns.
    pub fin_wait1_ns: u64,
    /// Its group's index.
    pub group: u32,
    /// Process that called `close()`, or 0; written by the close hook, before the lock.
    pub closer: u32,
    /// Its owner's process id, as in its group's key.
    pub tgid: u32,
    /// Inode number of its network namespace; 0 while nothing is counted.
    pub netns: u32,
    /// The listening side's port.
    pub service_port: u16,
    /// [`DIRECTION_IN`] or [`DIRECTION_OUT`].
    pub direction: u8,
    /// State as counted, kernel's number; 0: nothing counted yet.
    pub state: u8,
    /// State before CLOSE.
    pub last_state: u8,
    /// `FLAG_…`.
    pub flags: u8,
    /// 1 once the `close()` event is out; there is one a socket.
    pub close_told: u8,
    /// `MARK_…`.
    pub marks: u8,
}

/// One minisocket: value of `MINISOCKETS`, keyed by its cookie, which is the replaced socket's, or
/// by its address where that had none. Deleted when the kernel kills the minisocket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct MiniRecord {
    /// When the replaced socket was first seen, ns; 0: not known.
    pub born_ns: u64,
    /// The group of the replaced socket. May have another owner by now: see [`Self::tgid`].
    pub group: u32,
    /// The owner's process id, as in the group's key then.
    pub tgid: u32,
    /// Inode number of its network namespace.
    pub netns: u32,
    /// The listening side's port.
    pub service_port: u16,
    /// [`DIRECTION_IN`] or [`DIRECTION_OUT`].
    pub direction: u8,
    /// Its substate as counted, kernel's number (TIME_WAIT or FIN_WAIT2); 0: ended while user
    /// space was still merging the first dump (a tombstone).
    pub substate: u8,
    /// `MINI_…`.
    pub flags: u8,
    /// Zero.
    pub pad: [u8; 7],
}

/// [`MiniRecord::flags`]: its end comes before its time (`inet_twsk_deschedule_put`).
pub const MINI_EARLY: u8 = 1 << 0;
/// [`MiniRecord::flags`]: a new connection between the same ends was let through.
pub const MINI_REUSED: u8 = 1 << 1;

/// Who holds a socket, as user space found out: value of `HANDOVERS`, keyed by cookie. Deleted by the
/// program that acts upon it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Handover {
    /// The group the socket was in when it was looked for; if it is in another by now, nothing is done.
    pub from: u32,
    /// The holder's group.
    pub to: u32,
    /// The holder's process id, as in that group's key.
    pub tgid: u32,
    /// Zero.
    pub pad: u32,
}

/// Bucket of a service's FIN_WAIT1 times: key of `FIN_WAIT1_TIMES`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct HistogramKey {
    /// The listening side's port, host order.
    pub port: u16,
    /// [`DIRECTION_IN`] or [`DIRECTION_OUT`].
    pub direction: u8,
    /// Zero.
    pub pad: u8,
    /// [`crate::histogram::bucket_of`].
    pub bucket: u32,
}

/// What an event tells: [`EventRecord::kind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EventKind {
    /// The state changed.
    State = 1,
    /// `close()` was called.
    Close = 2,
    /// It became an orphan.
    OrphanBegin = 3,
    /// It was an orphan and is gone; [`EventRecord::reason`] is an
    /// [`crate::counters::OrphanEnd`].
    OrphanEnd = 4,
    /// A minisocket took its place.
    TimeWaitBegin = 5,
    /// A RST came.
    ResetIn = 6,
    /// A RST was sent; [`EventRecord::reason`] is the kernel's number for why, plus one, or 0.
    ResetOut = 7,
    /// A minisocket ended; [`EventRecord::reason`] is a [`crate::counters::MiniEnd`].
    TimeWaitEnd = 8,
    /// The kernel's memory pressure for TCP began ([`EventRecord::reason`] 1) or ended (0); of no
    /// socket.
    Pressure = 9,
}

impl EventKind {
    /// All kinds.
    pub const ALL: [Self; 9] = [
        Self::State,
        Self::Close,
        Self::OrphanBegin,
        Self::OrphanEnd,
        Self::TimeWaitBegin,
        Self::ResetIn,
        Self::ResetOut,
        Self::TimeWaitEnd,
        Self::Pressure,
    ];
}

/// One event on the ring buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct EventRecord {
    /// When, ns (`CLOCK_MONOTONIC`).
    pub ts_ns: u64,
    /// When the socket was first seen, ns; 0 if it stood before.
    pub born_ns: u64,
    /// The socket's cookie.
    pub cookie: u64,
    /// Its group's index: names the owner.
    pub group: u32,
    /// Inode number of its network namespace.
    pub netns: u32,
    /// Local port, host order.
    pub local_port: u16,
    /// Peer's port, host order.
    pub peer_port: u16,
    /// [`EventKind`].
    pub kind: u8,
    /// State before, kernel's number; 0 where none applies.
    pub old: u8,
    /// State after, or a minisocket's substate, kernel's number; 0 where none applies.
    pub new: u8,
    /// See [`EventKind::OrphanEnd`].
    pub reason: u8,
    /// 4 or 6.
    pub family: u8,
    /// Of an orphan's end, a [`crate::counters::EndDetail`].
    pub detail: u8,
    /// Of an orphan's end, [`crate::lifecycle::waits`], or 0.
    pub waits: u16,
    /// Where not 0, the owner that [`Self::group`] must have to be this event's.
    pub tgid: u32,
    /// Local address: IPv4 in the first four bytes, or IPv6.
    pub local: [u8; 16],
    /// Peer's address.
    pub peer: [u8; 16],
}

/// Index 1 of `CONTROL`: 1 where the birth of minisockets is hooked, so that nobody concludes it
/// from a change of state.
pub const CONTROL_MINISOCKETS: u32 = 1;
/// Words in `CONTROL`.
pub const CONTROL_WORDS: u32 = 2;
/// Index 0 of `CONTROL`: how far the merge of what stood before has come.
pub const CONTROL_MERGING: u32 = 0;
/// [`CONTROL_MERGING`]: over: whoever is met now came since, and its begin was missed.
pub const MERGED: u32 = 0;
/// [`CONTROL_MERGING`]: destroyed sockets leave a tombstone ([`FLAG_DESTROYED`]).
pub const MERGING: u32 = 1;
/// [`CONTROL_MERGING`]: there was none, so that whoever is met may have stood before.
pub const NOT_MERGED: u32 = 2;

const _: () = {
    assert!(size_of::<ServiceKey>() == 8);
    assert!(ALL_GROUPS < 1 << 31 && place_of_group(GROUPS, 0, 7) == 8 * GROUPS);
    assert!(size_of::<ServiceInfo>() == 12);
    assert!(size_of::<GroupKey>() == 12);
    assert!(size_of::<GroupInfo>() == 32);
    assert!(size_of::<SockRecord>() == 40);
    assert!(size_of::<MiniRecord>() == 32);
    assert!(size_of::<Handover>() == 16);
    assert!(size_of::<HistogramKey>() == 8);
    assert!(size_of::<EventRecord>() == 80);
};

#[cfg(feature = "user")]
#[expect(unsafe_code, reason = "a promise to aya about the layout")]
mod pod {
    use super::{
        GroupInfo, GroupKey, Handover, HistogramKey, MiniRecord, ServiceInfo, ServiceKey,
        SockRecord,
    };
    // SAFETY: integers and arrays of them, `repr(C)`, sizes asserted above to have no padding:
    // every bit pattern is valid.
    unsafe impl aya::Pod for ServiceKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for ServiceInfo {}
    // SAFETY: as above.
    unsafe impl aya::Pod for GroupKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for GroupInfo {}
    // SAFETY: as above.
    unsafe impl aya::Pod for SockRecord {}
    // SAFETY: as above.
    unsafe impl aya::Pod for HistogramKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for MiniRecord {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Handover {}
}
