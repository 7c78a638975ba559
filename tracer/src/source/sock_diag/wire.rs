//! Netlink and inet_diag on the wire (include/uapi/linux/{netlink,sock_diag,inet_diag}.h):
//! little structs in the machine's byte order, ports and addresses in the network's.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tracer_common::state::TcpState;

use super::{Entry, Kind, SocketMemory, invalid};

/// `struct nlmsghdr`.
const HEADER: usize = 16;
/// `struct inet_diag_req_v2`.
const REQUEST: usize = 56;
/// `struct inet_diag_msg`.
const SOCKET: usize = 72;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const SOCK_DIAG_BY_FAMILY: u16 = 20;

const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_DUMP: u16 = 0x300;

pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
const AF_INET6: u8 = 10;

const INET_DIAG_INFO: u16 = 2;
const INET_DIAG_SKMEMINFO: u16 = 7;
const INET_DIAG_SHUTDOWN: u16 = 8;
const INET_DIAG_CGROUP_ID: u16 = 21;

/// Asks for a socket's memory.
pub(super) const MEMORY: u8 = 1 << (INET_DIAG_SKMEMINFO - 1);
/// Asks for `struct tcp_info`.
pub(super) const INFO: u8 = 1 << (INET_DIAG_INFO - 1);

/// A request for all sockets of `protocol` and `family` in one of `states` (bit n for state n).
pub(super) fn request(
    sequence: u32,
    protocol: u8,
    family: u8,
    states: u32,
    extensions: u8,
) -> [u8; HEADER + REQUEST] {
    const LEN: u32 = (HEADER + REQUEST) as u32;
    let mut bytes = [0; HEADER + REQUEST];
    bytes[0..4].copy_from_slice(&LEN.to_ne_bytes());
    bytes[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes[6..8].copy_from_slice(&(NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
    bytes[16] = family;
    bytes[17] = protocol;
    bytes[18] = extensions;
    bytes[20..24].copy_from_slice(&states.to_ne_bytes());
    // The socket's own identity stays empty: any.
    bytes
}

/// A message of an answer.
#[derive(Debug)]
pub(super) struct Message<'a> {
    /// The request's number.
    pub(super) sequence: u32,
    /// Whether the kernel says that the dump is inconsistent.
    pub(super) interrupted: bool,
    /// What it says.
    pub(super) body: Body<'a>,
}

/// What a message says.
#[derive(Debug)]
pub(super) enum Body<'a> {
    /// A socket, for [`entry`].
    Socket(&'a [u8]),
    /// The dump is complete.
    Done,
    /// The dump failed.
    Failed(io::Error),
    /// Nothing of interest.
    Other,
}

/// The messages in `answer`, ending at the first that is malformed with an error.
pub(super) fn messages(answer: &[u8]) -> impl Iterator<Item = io::Result<Message<'_>>> {
    let mut rest = answer;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some((message, len)) = first_message(rest) else {
            rest = &[];
            return Some(Err(invalid("malformed netlink message")));
        };
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(Ok(message))
    })
}

/// The message `bytes` begin with, and its length.
fn first_message(bytes: &[u8]) -> Option<(Message<'_>, usize)> {
    let len = usize::try_from(read_u32(bytes, 0)?).ok()?;
    let flags = read_u16(bytes, 6)?;
    let payload = bytes.get(HEADER..len)?;
    let body = match read_u16(bytes, 4)? {
        SOCK_DIAG_BY_FAMILY => Body::Socket(payload),
        // Both carry an errno, below zero. An error of 0 is an acknowledgement, not asked for.
        kind @ (NLMSG_DONE | NLMSG_ERROR) => match read_u32(payload, 0).map(u32::cast_signed) {
            Some(errno) if errno < 0 => {
                Body::Failed(io::Error::from_raw_os_error(errno.saturating_neg()))
            }
            _ if kind == NLMSG_DONE => Body::Done,
            _ => Body::Other,
        },
        _ => Body::Other,
    };
    let message =
        Message { sequence: read_u32(bytes, 8)?, interrupted: flags & NLM_F_DUMP_INTR != 0, body };
    Some((message, len))
}

/// Reads a socket (`struct inet_diag_msg` and its attributes); `None` where that is not possible:
/// a state not known, too few bytes.
pub(super) fn entry(payload: &[u8]) -> Option<Entry> {
    let (socket, attributes) = payload.split_first_chunk::<SOCKET>()?;
    let state = TcpState::from_number(socket[1])?;
    let ipv6 = socket[0] == AF_INET6;
    let found = Attributes::read(attributes);
    Some(Entry {
        ipv6,
        kind: kind(socket[2], &found),
        state,
        local: address(ipv6, array(socket, 4), array(socket, 8)),
        peer: address(ipv6, array(socket, 6), array(socket, 24)),
        cookie: u64::from(u32_at(socket, 44)) | u64::from(u32_at(socket, 48)) << 32,
        timer: socket[2],
        retransmits: socket[3],
        expires_ms: u32_at(socket, 52),
        rqueue: u32_at(socket, 56),
        wqueue: u32_at(socket, 60),
        uid: u32_at(socket, 64),
        inode: u64::from(u32_at(socket, 68)),
        shutdown: found.shutdown.unwrap_or(0),
        cgroup_id: found.cgroup_id,
        memory: found.memory,
        last_ack_ms: found.last_ack_ms,
    })
}

/// What a socket is. `inet_twsk_diag_fill` sets timer 3 and nothing else does (a full socket's are
/// 0, 1, 2 and 4: `inet_sk_diag_fill`); a full socket always has the attribute SHUTDOWN
/// (`inet_diag_msg_attrs_fill`), the others never.
fn kind(timer: u8, attributes: &Attributes) -> Kind {
    if timer == 3 {
        Kind::Minisocket
    } else if attributes.shutdown.is_some() {
        Kind::Full
    } else {
        Kind::Request
    }
}

/// The attributes of interest.
#[derive(Default)]
struct Attributes {
    shutdown: Option<u8>,
    cgroup_id: Option<u64>,
    memory: Option<SocketMemory>,
    last_ack_ms: Option<u32>,
}

impl Attributes {
    /// Reads `struct nlattr`s, up to the first that makes no sense.
    fn read(mut bytes: &[u8]) -> Self {
        let mut found = Self::default();
        while let (Some(len), Some(kind)) = (read_u16(bytes, 0), read_u16(bytes, 2)) {
            let len = usize::from(len);
            let Some(value) = bytes.get(4..len) else {
                break;
            };
            match kind {
                INET_DIAG_SHUTDOWN => found.shutdown = value.first().copied(),
                // `tcpi_last_ack_recv` of `struct tcp_info`.
                INET_DIAG_INFO => found.last_ack_ms = read_u32(value, 56),
                INET_DIAG_SKMEMINFO => found.memory = memory(value),
                INET_DIAG_CGROUP_ID => {
                    found.cgroup_id = value.first_chunk().copied().map(u64::from_ne_bytes);
                }
                _ => {}
            }
            bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
        found
    }
}

/// Reads the array `SK_MEMINFO_*`; later kernels may have more members.
fn memory(value: &[u8]) -> Option<SocketMemory> {
    let value: &[u8; 36] = value.first_chunk()?;
    Some(SocketMemory {
        rmem_alloc: u32_at(value, 0),
        rcvbuf: u32_at(value, 4),
        wmem_alloc: u32_at(value, 8),
        sndbuf: u32_at(value, 12),
        fwd_alloc: u32_at(value, 16).cast_signed(),
        wmem_queued: u32_at(value, 20),
        optmem: u32_at(value, 24),
        backlog: u32_at(value, 28),
        drops: u32_at(value, 32),
    })
}

/// An address of `struct inet_diag_sockid`: 16 bytes, of which IPv4 uses the first four.
fn address(ipv6: bool, port: [u8; 2], bytes: [u8; 16]) -> SocketAddr {
    let ip = if ipv6 {
        IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()
    } else {
        IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]))
    };
    SocketAddr::new(ip, u16::from_be_bytes(port))
}

fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The number at a place that is known to exist.
fn u32_at<const LEN: usize>(bytes: &[u8; LEN], at: usize) -> u32 {
    u32::from_ne_bytes(array(bytes, at))
}

/// The bytes at a place that is known to exist.
fn array<const N: usize, const LEN: usize>(bytes: &[u8; LEN], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}
