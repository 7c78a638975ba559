//! All TCP sockets that stand now, from the kernel's own dump (`NETLINK_SOCK_DIAG`,
//! net/ipv4/inet_diag.c): what tracing starts from, and what memory orphans hold.
//!
//! A dump walks the kernel's whole hash table twice (IPv4, then IPv6), whatever it asks for: some
//! ten milliseconds on a big host, so ask every few seconds at most. It is no snapshot: a socket
//! that changes while the dump runs is seen before or after, and one that comes or goes may be
//! missed, or in rare cases be seen twice ([`Entry::cookie`] tells).
//!
//! Messages are put together and taken apart here, in `wire`. The kernel needs some 0.2 µs a
//! minisocket and 0.7 µs a full socket; a decoder that allocates for every attribute needs another
//! 0.34 µs (measured with netlink-packet-sock-diag 0.5), this one 0.03 µs.

mod wire;

use std::io;
use std::net::SocketAddr;
use std::ops::BitOr;
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};
use tracer_common::state::TcpState;

use super::namespaces;
use crate::filter::SocketIdentity;
use crate::gauges::Bytes;

/// A set of states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateMask(u32);

impl StateMask {
    /// Every state there is.
    pub const ALL: Self = Self::of(&TcpState::ALL);

    /// The states in which an orphan can be.
    pub const ORPHANS: Self =
        Self::of(&[TcpState::FinWait1, TcpState::FinWait2, TcpState::LastAck, TcpState::Closing]);

    /// These states.
    #[must_use]
    pub const fn of(states: &[TcpState]) -> Self {
        let mut mask = 0;
        let mut i = 0;
        while i < states.len() {
            mask |= 1 << states[i].number();
            i += 1;
        }
        Self(mask)
    }

    /// Whether `state` is among them.
    #[must_use]
    pub const fn contains(self, state: TcpState) -> bool {
        self.0 & (1 << state.number()) != 0
    }
}

impl BitOr for StateMask {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What kind of object the kernel keeps for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A full socket.
    Full,
    /// What is left of a closed one (`struct inet_timewait_sock`), in substate TIME_WAIT or
    /// FIN_WAIT2.
    Minisocket,
    /// A half-open connection (`struct request_sock`), shown as SYN_RECV.
    Request,
}

/// A socket as the dump shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whether it is an IPv6 socket; those carry IPv4 as well, and then [`Self::local`] and
    /// [`Self::peer`] are IPv4 addresses.
    pub ipv6: bool,
    /// What it is.
    pub kind: Kind,
    /// Its state; of a minisocket the substate.
    pub state: TcpState,
    /// Our address and port.
    pub local: SocketAddr,
    /// The peer's; port 0 where there is none.
    pub peer: SocketAddr,
    /// The socket's inode, as `/proc/PID/fd` shows it. 0 without a file: orphans, minisockets,
    /// request sockets, and connections that nobody accepted yet.
    pub inode: u64,
    /// The cookie: unique among all sockets since boot, and a minisocket keeps the one of the
    /// socket it replaced. A socket that had none gets one by being dumped
    /// (`sock_diag_save_cookie`).
    pub cookie: u64,
    /// The user it belongs to, in the reader's user namespace; 0 for minisockets.
    pub uid: u32,
    /// Which timer runs: [`Self::TIMER_RETRANSMIT`], [`Self::TIMER_PROBE`], or another.
    pub timer: u8,
    /// Retransmissions, or probes of the window, that nobody answered yet.
    pub retransmits: u8,
    /// Milliseconds until its timer goes off, for a minisocket until it ends; 0 without one.
    pub expires_ms: u32,
    /// Bytes received and not read; of a listener, connections not accepted.
    pub rqueue: u32,
    /// Bytes written and not acknowledged; of a listener, how many may wait for `accept()`.
    pub wqueue: u32,
    /// What was shut down: bit 0 receiving, bit 1 sending (`sk_shutdown`); 0 where not full.
    pub shutdown: u8,
    /// The cgroup2 it was made in; kept by orphans. Full sockets of kernels that tell (5.7).
    pub cgroup_id: Option<u64>,
    /// Its memory; where asked for, of full sockets.
    pub memory: Option<SocketMemory>,
    /// Milliseconds since the peer acknowledged something last (`tcp_ack`); where asked for, of full
    /// sockets.
    pub last_ack_ms: Option<u32>,
}

impl Entry {
    /// Something sent is not acknowledged (`inet_sk_diag_fill`).
    pub const TIMER_RETRANSMIT: u8 = 1;
    /// The peer's window is closed, and is asked about from time to time (`ICSK_TIME_PROBE0`).
    pub const TIMER_PROBE: u8 = 4;

    /// What a filter is asked about. A listener's peer has port 0.
    #[must_use]
    pub const fn identity(&self, netns: u32) -> SocketIdentity {
        SocketIdentity {
            local_port: self.local.port(),
            peer_port: self.peer.port(),
            peer: self.peer.ip(),
            is_ipv6: self.ipv6,
            netns,
        }
    }

    /// Whether it is an orphan: closed, and still there.
    ///
    /// The dump does not show the kernel's flag for it (`SOCK_DEAD`). But a full socket without a
    /// file is either not accepted yet or closed; and while a connection waits to be accepted,
    /// nobody can have closed or shut down its sending side, which leads to these four states.
    #[must_use]
    pub const fn is_orphan(&self) -> bool {
        matches!(self.kind, Kind::Full)
            && self.inode == 0
            && StateMask::ORPHANS.contains(self.state)
    }
}

/// A full socket's memory, bytes (`SK_MEMINFO_*`, include/uapi/linux/sock_diag.h; filled by
/// `sk_get_meminfo`, net/core/sock.c).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketMemory {
    /// Buffers in the receive queue.
    pub rmem_alloc: u32,
    /// Limit of the receive queue.
    pub rcvbuf: u32,
    /// Packets on their way through the sending layers; copies that share their data with the
    /// send queue.
    pub wmem_alloc: u32,
    /// Limit of the send queue.
    pub sndbuf: u32,
    /// Reserve: charged but used by nothing. Can be below zero for a moment.
    pub fwd_alloc: i32,
    /// Buffers in the send queue: unsent and unacknowledged data.
    pub wmem_queued: u32,
    /// Options and filters.
    pub optmem: u32,
    /// Packets that wait for the owner to leave the socket.
    pub backlog: u32,
    /// Packets dropped: a count, no size.
    pub drops: u32,
}

impl SocketMemory {
    /// What the socket has charged to TCP's memory, the amount that `tcp_mem` limits: send queue,
    /// receive queue and reserve. The kernel charges whole pages (`__sk_mem_schedule`) into the
    /// reserve and moves bytes from it to the queues (`sk_mem_charge`), so the sum of the three
    /// is whole pages. The other members are not charged: `wmem_alloc` counts data of the send
    /// queue again, `backlog` is charged when it gets to the receive queue, `optmem` has its own
    /// limit.
    ///
    /// The sum over all sockets is below sockstat's `mem` by what MPTCP and each CPU's reserve
    /// hold.
    #[must_use]
    pub fn charged(&self) -> Bytes {
        let queues = i64::from(self.wmem_queued) + i64::from(self.rmem_alloc);
        Bytes(u64::try_from(queues + i64::from(self.fwd_alloc)).unwrap_or(0))
    }
}

/// How a dump went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dumped {
    /// Sockets handed to the sink.
    pub sockets: u64,
    /// Sockets left out because they cannot be understood: in a state of later kernels.
    pub unknown: u64,
    /// The kernel says the dump is inconsistent (`NLM_F_DUMP_INTR`); dumping again may help.
    pub interrupted: bool,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    protocol: u8,
    family: AddressFamily,
    states: StateMask,
    extensions: u8,
}

/// A socket to ask the kernel through. It sees the network namespace it was opened in, wherever
/// it is used from.
#[derive(Debug)]
pub struct SockDiag {
    socket: OwnedFd,
    buffer: Vec<u8>,
    sequence: u32,
}

/// The kernel puts at most 32 KiB into an answer (`netlink_dump`, net/netlink/af_netlink.c), and
/// more only where one message needs it.
const BUFFER: usize = 64 << 10;

impl SockDiag {
    /// Opens it in the network namespace we are in.
    ///
    /// # Errors
    /// Where the kernel has no sock_diag or a sandbox forbids it.
    pub fn open() -> Result<Self> {
        let socket = net::socket_with(
            AddressFamily::NETLINK,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC,
            Some(netlink::SOCK_DIAG),
        )
        .context("cannot open a sock_diag socket")?;
        Ok(Self { socket, buffer: vec![0; BUFFER], sequence: 0 })
    }

    /// Opens it in the network namespace at `path` (`/proc/PID/ns/net`, `/run/netns/NAME`).
    ///
    /// # Errors
    /// As [`Self::open`], and where that namespace cannot be entered (`CAP_SYS_ADMIN`).
    pub fn open_in(path: &Path) -> Result<Self> {
        namespaces::inside(path, Self::open)
    }

    /// Hands every TCP socket in one of `states` to `sink`; the kernel does the filtering. With
    /// `with_memory` also its memory, which costs some 50 bytes more a socket to copy.
    ///
    /// SYN_RECV stands for full sockets and request sockets, TIME_WAIT and FIN_WAIT2 for
    /// minisockets in that substate as well.
    ///
    /// # Errors
    /// What the kernel answers; `NotFound` where it has no module `tcp_diag`. Sockets before the
    /// error have been handed on. Ask again with a socket opened anew: of this one the kernel may
    /// think that the dump still runs (`EBUSY`).
    pub fn dump(
        &mut self,
        states: StateMask,
        with_memory: bool,
        sink: impl FnMut(&Entry),
    ) -> io::Result<Dumped> {
        self.dump_tcp(states, if with_memory { wire::MEMORY } else { 0 }, sink)
    }

    /// As [`Self::dump`], with the time since the last acknowledgement. For few sockets: the kernel
    /// locks each of them (`tcp_get_info`).
    ///
    /// # Errors
    /// As [`Self::dump`].
    pub fn dump_last_acks(
        &mut self,
        states: StateMask,
        sink: impl FnMut(&Entry),
    ) -> io::Result<Dumped> {
        self.dump_tcp(states, wire::INFO, sink)
    }

    fn dump_tcp(
        &mut self,
        states: StateMask,
        extensions: u8,
        mut sink: impl FnMut(&Entry),
    ) -> io::Result<Dumped> {
        let mut dumped = Dumped::default();
        for family in [AddressFamily::INET, AddressFamily::INET6] {
            let what = Wanted { protocol: wire::TCP, family, states, extensions };
            match self.dump_family(what, &mut dumped, &mut sink) {
                // No IPv6 in this kernel.
                Err(error) if family == AddressFamily::INET6 && is_missing(&error) => {}
                Err(error) if is_missing(&error) => {
                    return Err(io::Error::new(
                        io::ErrorKind::NotFound,
                        "the kernel cannot list TCP sockets: it has no module tcp_diag",
                    ));
                }
                other => other?,
            }
        }
        Ok(dumped)
    }

    /// Hands every UDP socket to `sink`, with its memory: CLOSE is the state of those that are not
    /// connected, ESTABLISHED of the others.
    ///
    /// # Errors
    /// As [`Self::dump`].
    pub fn dump_udp(&mut self, mut sink: impl FnMut(&Entry)) -> io::Result<Dumped> {
        let mut dumped = Dumped::default();
        for family in [AddressFamily::INET, AddressFamily::INET6] {
            let states = StateMask::ALL;
            let extensions = wire::MEMORY;
            let what = Wanted { protocol: wire::UDP, family, states, extensions };
            match self.dump_family(what, &mut dumped, &mut sink) {
                Err(error) if family == AddressFamily::INET6 && is_missing(&error) => {}
                Err(error) if is_missing(&error) => {
                    return Err(io::Error::new(
                        io::ErrorKind::NotFound,
                        "the kernel cannot list UDP sockets: it has no module udp_diag",
                    ));
                }
                other => other?,
            }
        }
        Ok(dumped)
    }

    fn dump_family(
        &mut self,
        what: Wanted,
        dumped: &mut Dumped,
        sink: &mut impl FnMut(&Entry),
    ) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let Wanted { protocol, family, states, extensions } = what;
        let family = u8::try_from(family.as_raw()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let request = wire::request(self.sequence, protocol, family, states.0, extensions);
        net::send(&self.socket, &request, SendFlags::empty())?;
        loop {
            // With TRUNC the true length is returned even where it is more than the buffer's.
            let (_, len) = match net::recv(&self.socket, &mut self.buffer[..], RecvFlags::TRUNC) {
                Err(rustix::io::Errno::INTR) => continue,
                other => other?,
            };
            let answer = self
                .buffer
                .get(..len)
                .ok_or_else(|| invalid("the kernel's answer is longer than it should be"))?;
            for message in wire::messages(answer) {
                let message = message?;
                // What is left of a dump that failed half way.
                if message.sequence != self.sequence {
                    continue;
                }
                dumped.interrupted |= message.interrupted;
                match message.body {
                    wire::Body::Socket(payload) => {
                        if let Some(entry) = wire::entry(payload) {
                            dumped.sockets += 1;
                            sink(&entry);
                        } else {
                            dumped.unknown += 1;
                        }
                    }
                    wire::Body::Done => return Ok(()),
                    wire::Body::Failed(error) => return Err(error),
                    wire::Body::Other => {}
                }
            }
        }
    }
}

/// Whether the kernel has no handler for what was asked (`inet_diag_lock_handler`), and found no
/// module to load that has.
fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

/// An answer that makes no sense.
fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests;
