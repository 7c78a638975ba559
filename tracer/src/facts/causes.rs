//! Facts about causes: what sock_diag and `/proc/PID/fd` show of the sockets of every network
//! namespace that could be asked, as sums. No sum is a conclusion.
//!
//! Every list is bounded to [`MOST_ROWS`], most first; the sums over all sockets beside it are
//! not. Ages are lower bounds: a socket is as old as our knowledge of it.

use std::net::{IpAddr, SocketAddr};

use super::{Known, Unknown};
use crate::time::Monotonic;

/// Rows of a list.
pub const MOST_ROWS: usize = 16;
/// Changes of settings that are kept; of more, the newest.
pub const MOST_CHANGES: usize = 64;

/// Process id and name of who holds a socket.
pub type Owner = (u32, String);

/// What all TCP sockets say about causes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Causes {
    /// Orphans by what they wait for.
    pub orphans: OrphanCauses,
    /// Full sockets in CLOSE_WAIT, all of them.
    pub close_wait: u64,
    /// Those by service and owner.
    pub close_waits: Vec<CloseWait>,
    /// Full sockets in FIN_WAIT2 that still have a file: the application shut down its sending
    /// side and keeps the socket. All of them.
    pub fin_wait2: u64,
    /// Those by service and owner.
    pub fin_wait2s: Vec<KeptOpen>,
    /// TCP sockets that are in no hash table.
    pub closed_fds: Known<ClosedFds>,
    /// Whose sockets hold TCP's memory.
    pub memory: MemoryHeld,
    /// Half-open connections (request sockets), all of them.
    pub half_open: u64,
    /// Those by listening address: the SYN queues.
    pub half_opens: Vec<HalfOpen>,
    /// Local ports in use by local address.
    pub sources: Vec<SourcePorts>,
    /// How the search for owners went.
    pub owners: OwnerSearch,
}

impl Default for Causes {
    fn default() -> Self {
        Self {
            orphans: OrphanCauses::default(),
            close_wait: 0,
            close_waits: Vec::new(),
            fin_wait2: 0,
            fin_wait2s: Vec::new(),
            closed_fds: Err(Unknown::not_looked_at()),
            memory: MemoryHeld::default(),
            half_open: 0,
            half_opens: Vec::new(),
            sources: Vec::new(),
            owners: OwnerSearch::default(),
        }
    }
}

/// A service: sockets are grouped by the listening side's port, as in `ports[]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceAt {
    /// Its network namespace; 0 where the number is not known.
    pub netns: u32,
    /// The local port of accepted sockets, the peer's port of connecting ones.
    pub port: u16,
    /// Whether the sockets were accepted (direction `in`).
    pub accepted: bool,
}

/// Some sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// How many.
    pub count: u64,
    /// Memory charged for them, bytes.
    pub bytes: u64,
    /// Since when the oldest of them is known to be so, milliseconds: at least.
    pub oldest_ms: u64,
}

/// Orphans by what they wait for. The three parts add up to all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OrphanParts {
    /// The peer's window is closed and the kernel probes it (timer 4, `ICSK_TIME_PROBE0`).
    pub closed_window: Part,
    /// Retransmitted at least once, without an answer (timer 1 with retransmits).
    pub unanswered: Part,
    /// Neither: sent, and not yet overdue; or nothing to send (FIN_WAIT2).
    pub in_flight: Part,
}

impl OrphanParts {
    /// How many of all three.
    #[must_use]
    pub const fn count(&self) -> u64 {
        let [a, b, c] = [self.closed_window.count, self.unanswered.count, self.in_flight.count];
        a.saturating_add(b).saturating_add(c)
    }

    /// Memory of all three, bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        let [a, b, c] = [self.closed_window.bytes, self.unanswered.bytes, self.in_flight.bytes];
        a.saturating_add(b).saturating_add(c)
    }
}

/// Orphans by what they wait for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrphanCauses {
    /// All.
    pub all: OrphanParts,
    /// By service.
    pub services: Vec<(ServiceAt, OrphanParts)>,
    /// By the peer's network, by its first address: IPv4 /24, IPv6 /64.
    pub peers: Vec<(IpAddr, OrphanParts)>,
}

/// Sockets in CLOSE_WAIT of one service and owner: the peer closed, the application did not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CloseWait {
    /// The service.
    pub service: ServiceAt,
    /// Who holds them; of those never accepted, who holds the listener.
    pub owner: Option<Owner>,
    /// No `accept()` took them yet.
    pub never_accepted: Part,
    /// Data is in the receive queue, not read.
    pub unread_data: Part,
    /// Only the FIN is in it: all data is read, and no `recv()` has returned 0 yet.
    pub eof_unread: Part,
    /// Nothing is left to read, and the socket is not closed. Mostly the application got the end of
    /// the stream; not if the FIN came in the segment of the last data.
    pub not_closed: Part,
    /// Bytes of data in their receive queues.
    pub unread_bytes: u64,
}

impl CloseWait {
    /// How many of all four.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.parts().iter().fold(0, |sum, part| part.count.saturating_add(sum))
    }

    /// Age of the oldest, milliseconds: at least.
    #[must_use]
    pub fn oldest_ms(&self) -> u64 {
        self.parts().iter().map(|part| part.oldest_ms).max().unwrap_or(0)
    }

    const fn parts(&self) -> [&Part; 4] {
        [&self.never_accepted, &self.unread_data, &self.eof_unread, &self.not_closed]
    }
}

/// Sockets that an application keeps open, of one service and owner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptOpen {
    /// The service.
    pub service: ServiceAt,
    /// Who holds them.
    pub owner: Option<Owner>,
    /// How many, their memory and age.
    pub part: Part,
}

/// TCP sockets that are in no hash table, though they have a file: closed by a reset or after
/// `TIME_WAIT`, and the descriptor is kept; or made by `socket()` and never connected nor listening.
/// The kernel shows no difference between the two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClosedFds {
    /// On the whole host: TCP sockets allocated (sockstat `alloc`) minus those that the dumps of all
    /// namespaces showed. Namespaces that could not be asked count as if all of theirs were such.
    pub host: u64,
    /// By process. Only descriptors that were seen to be so twice, one look apart, or confirmed.
    pub processes: Vec<ClosedFdsOf>,
    /// Descriptors of sockets whose protocol was not asked for, because there were too many: the
    /// numbers by process are then lower bounds.
    pub unchecked: u64,
}

/// Those of one process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClosedFdsOf {
    /// The process.
    pub owner: Owner,
    /// How many sockets.
    pub count: u64,
    /// Since when the oldest is known to be so, milliseconds: at least.
    pub oldest_ms: u64,
}

/// Memory of some sockets, bytes; see `sk_mem_charge` in include/net/sock.h.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queues {
    /// How many sockets.
    pub sockets: u64,
    /// What is charged to TCP's memory (`tcp_mem`): both queues and the reserve.
    pub charged: u64,
    /// Buffers of the receive queues (`rmem_alloc`): what came and was not read.
    pub receive: u64,
    /// Buffers of the send queues (`wmem_queued`): not sent or not acknowledged.
    pub send: u64,
}

impl Queues {
    /// Charged, and used by nothing at the moment (`fwd_alloc`).
    #[must_use]
    pub const fn reserve(&self) -> u64 {
        self.charged.saturating_sub(self.receive).saturating_sub(self.send)
    }
}

/// Whose sockets hold TCP's memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryHeld {
    /// All full sockets.
    pub all: Queues,
    /// By service; its owner is the process that holds most of it, orphans have none.
    pub services: Vec<(ServiceAt, Option<Owner>, Queues)>,
    /// By process.
    pub processes: Vec<(Owner, Queues)>,
    /// Of sockets that no process has: orphans, and connections not accepted yet.
    pub unowned: Queues,
    /// Of sockets whose process was not found: see [`Causes::owners`].
    pub unknown: Queues,
}

/// The SYN queue of the listeners at one address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HalfOpen {
    /// The service.
    pub service: ServiceAt,
    /// Where they listen; the address that was called where no listener was found.
    pub local: Option<SocketAddr>,
    /// Request sockets of all of them.
    pub requests: u64,
    /// How many listeners share it (SO_REUSEPORT). 0: none was found.
    pub listeners: u32,
    /// The smallest backlog among them.
    pub backlog: u32,
    /// Who holds one of them.
    pub owner: Option<Owner>,
}

/// Local ports in use at one of our addresses. `bind()` to the address without a port (and without
/// IP_BIND_ADDRESS_NO_PORT) needs a port that nobody uses there, whatever the destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourcePorts {
    /// The network namespace.
    pub netns: u32,
    /// Our address.
    pub local: IpAddr,
    /// Distinct local ports in use that are in [`Self::range`]. Sockets bound and not connected are
    /// not among them: sock_diag does not show those.
    pub ports: u64,
    /// Those of them that only TIME_WAIT holds.
    pub time_wait: u64,
    /// Distinct destinations (address and port) of the connections that hold them.
    pub destinations: u64,
    /// The namespace's `ip_local_port_range`; all ports where it could not be read.
    pub range: (u16, u16),
}

/// How the search for owners went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnerSearch {
    /// Processes whose descriptors we may not see (`CAP_SYS_PTRACE`): their sockets have no owner.
    pub denied: u64,
    /// Whether it was ended because there were too many descriptors.
    pub cut: bool,
}

/// What is known of the process behind a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HolderState {
    /// State of the process as in `/proc/PID/stat`: `R`, `S`, `D`, `T` (stopped by a signal), `t`
    /// (stopped by a debugger), `Z` …
    pub state: char,
    /// Since when it is known to be in that state, milliseconds: at least. 0 for `R`, `S` and `D`,
    /// between which processes change all the time.
    pub for_ms: u64,
    /// How many processes hold the listener; any of them may accept.
    pub holders: u32,
    /// How many of those are stopped or dead (`T`, `t`, `Z`).
    pub stopped: u32,
}

/// A UDP socket that dropped datagrams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpSocket {
    /// The network namespace.
    pub netns: u32,
    /// Where it is bound.
    pub local: SocketAddr,
    /// Who holds it.
    pub owner: Option<Owner>,
    /// Datagrams dropped since watching began (`sk_drops`), for whatever reason, mostly a full
    /// receive buffer.
    pub drops: u64,
    /// Dropped since it was made; wraps at 2^32.
    pub drops_ever: u32,
    /// Memory of datagrams that wait to be read (`rmem_alloc`), bytes.
    pub receive: u32,
    /// Limit of that (`SO_RCVBUF`), bytes.
    pub limit: u32,
}

/// A setting that changed while it was watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingChange {
    /// Its name (`net.ipv4.tcp_max_orphans`).
    pub name: String,
    /// Its value before; `None` where it was not there.
    pub from: Option<String>,
    /// Its value since; `None` where it is gone.
    pub to: Option<String>,
    /// When it was last seen with the former value.
    pub after: Monotonic,
    /// When it was first seen with the new one: the change lies between the two.
    pub seen: Monotonic,
}
