//! Gauges: what the kernel says about TCP at one moment, as plain data.
//!
//! Some numbers are the host's, some those of one network namespace; each field says which. What
//! a kernel does not tell is `None` or left out of the map, never 0. The reader is
//! [`crate::source::gauges`].

use std::collections::BTreeMap;

/// An amount of memory in pages: the unit of `tcp_mem` and of sockstat's `mem`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pages(pub u64);

impl Pages {
    /// The same amount in bytes, where a page has `page` bytes.
    #[must_use]
    pub const fn bytes(self, page: Bytes) -> Bytes {
        Bytes(self.0.saturating_mul(page.0))
    }
}

/// An amount of memory in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

/// One sample.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// TCP sockets.
    pub sockets: SocketCounts,
    /// What `/proc/net/protocols` says of TCP's memory.
    pub memory: ProtocolMemory,
    /// Counters of `TcpExt:` in `/proc/net/netstat` that are named in [`TCP_EXT`]; of the
    /// namespace, since it began. Those the kernel does not have are left out.
    pub tcp_ext: BTreeMap<&'static str, u64>,
    /// Counters of `Tcp:` in `/proc/net/snmp` that are named in [`TCP`]; of the namespace, since
    /// it began. Those the kernel does not have are left out.
    pub tcp: BTreeMap<&'static str, u64>,
    /// What may be used.
    pub limits: Limits,
}

/// TCP sockets as `/proc/net/sockstat` counts them (`sockstat_seq_show`, net/ipv4/proc.c).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketCounts {
    /// IPv4 sockets of the namespace that are in the kernel's hash tables: listening, connecting,
    /// connected, closing; orphans too, minisockets not.
    pub inuse: Option<u64>,
    /// IPv6 sockets likewise (`/proc/net/sockstat6`); those that carry IPv4 traffic are among
    /// them.
    pub inuse6: Option<u64>,
    /// Orphans of the whole host, summed over all CPUs now (`tcp_orphan_count_sum`).
    pub orphan: Option<u64>,
    /// Minisockets of the namespace, in either substate.
    pub tw: Option<u64>,
    /// TCP sockets of the whole host, with those that are in no hash table (merely created).
    pub alloc: Option<u64>,
    /// Memory charged to TCP on the whole host. Every CPU keeps a reserve of up to
    /// `net.core.mem_pcpu_rsv` (256 pages) outside of it, so it moves in steps and can be off by
    /// so much a CPU, either way.
    pub mem: Option<Pages>,
}

/// The row `TCP` of `/proc/net/protocols` (`proto_seq_printf`, net/core/sock.c).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProtocolMemory {
    /// The same number as [`SocketCounts::mem`].
    pub pages: Option<Pages>,
    /// Whether the host is under TCP memory pressure: the kernel's own flag
    /// (`tcp_memory_pressure`). It rises when usage passes [`MemLimits::pressure`] and falls only
    /// when usage is back at [`MemLimits::low`], so it cannot be told from usage alone.
    pub pressure: Option<bool>,
}

/// What may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// `net.ipv4.tcp_max_orphans` of the host; visible in the initial namespace only. The kernel
    /// compares it with a sum up to 100 ms old, so real counts overshoot.
    pub max_orphans: Option<u64>,
    /// `net.ipv4.tcp_mem` of the host; visible in the initial namespace only.
    pub tcp_mem: Option<MemLimits>,
    /// `net.ipv4.tcp_max_tw_buckets` of the namespace.
    pub max_tw_buckets: Option<u64>,
    /// Bytes a page.
    pub page: Bytes,
}

/// The three numbers of `net.ipv4.tcp_mem`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemLimits {
    /// Pressure ends when usage is not above it.
    pub low: Pages,
    /// Pressure begins when usage is above it.
    pub pressure: Pages,
    /// Above it allocations are refused, and orphans with data in their queues are killed.
    pub high: Pages,
}

/// The counters of `TcpExt:` that are read (include/uapi/linux/snmp.h, names in net/ipv4/proc.c).
pub const TCP_EXT: [&str; 23] = [
    // Connections cut off by us: orphan limit or memory; retries used up; close() in FIN_WAIT2
    // with a negative TCP_LINGER2; SO_LINGER 0 or data after close(); close() with unread data;
    // no memory for the RST.
    "TCPAbortOnMemory",
    "TCPAbortOnTimeout",
    "TCPAbortOnLinger",
    "TCPAbortOnData",
    "TCPAbortOnClose",
    "TCPAbortFailed",
    // Minisockets: none to be had; normal ones (5.10 counts them when they end, later kernels
    // when they begin); replaced by a new connection; waits of 4 s at most.
    "TCPTimeWaitOverflow",
    "TW",
    "TWRecycled",
    "TWKilled",
    // Listeners: accept queue full; all drops, the former included; SYN queue full.
    "ListenOverflows",
    "ListenDrops",
    "TCPReqQFullDoCookies",
    "TCPReqQFullDrop",
    "SyncookiesSent",
    // Memory: pressure begun; milliseconds of it, added when it ends; what was dropped for it.
    "TCPMemoryPressures",
    "TCPMemoryPressuresChrono",
    "TCPRcvQDrop",
    "PruneCalled",
    "RcvPruned",
    "TCPZeroWindowDrop",
    "TCPBacklogDrop",
    // Retransmission timeouts.
    "TCPTimeouts",
];

/// The numbers of `Tcp:` in `/proc/net/snmp` that are read.
pub const TCP: [&str; 7] = [
    "ActiveOpens",
    "PassiveOpens",
    "AttemptFails",
    "EstabResets",
    // Not a counter: sockets now in ESTABLISHED or CLOSE_WAIT.
    "CurrEstab",
    "RetransSegs",
    "OutRsts",
];
