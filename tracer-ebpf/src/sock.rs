//! Typed reads of a kernel `struct sock`.
//!
//! Fields within `struct sock` are loaded directly: the verifier knows the argument's type and
//! rejects a load that crosses a field or has the wrong width. Fields beyond it (`inet_sock`,
//! `tcp_sock`) go through `bpf_probe_read_kernel`, which never faults. Offsets that differ
//! between kernels come from the configuration, resolved by name from BTF.

use aya_ebpf::helpers::{bpf_probe_read_kernel, generated::bpf_get_socket_cookie};
use tracer_common::abi::EventRecord;
use tracer_common::config::{MISSING, sock_common as at};
use tracer_common::lifecycle::waits;

use crate::config::config;

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// A full TCP socket.
#[derive(Clone, Copy)]
pub(crate) struct Sock(*const u8);

impl Sock {
    /// From a tracing program's argument.
    #[inline(always)]
    pub(crate) fn new(sk: *const core::ffi::c_void) -> Self {
        Self(sk.cast())
    }

    #[inline(always)]
    fn load<T: Copy>(self, offset: usize) -> T {
        // SAFETY: `self.0` is the typed `struct sock *` of a tracing program; the verifier
        // checks offset and width against the kernel's own layout and refuses to load otherwise.
        unsafe { core::ptr::read_volatile(self.0.add(offset).cast::<T>()) }
    }

    /// A field that this kernel may lack; then 0.
    #[inline(always)]
    fn load_if<T: Copy + Default>(self, offset: u32) -> T {
        if offset == MISSING { T::default() } else { self.load(offset as usize) }
    }

    #[inline(always)]
    fn probe<T: Copy + Default>(self, offset: u32) -> T {
        // SAFETY: `bpf_probe_read_kernel` checks the address itself and fails softly.
        unsafe {
            bpf_probe_read_kernel(self.0.add(offset as usize).cast::<T>()).unwrap_or_default()
        }
    }

    /// `sk_protocol`.
    #[inline(always)]
    pub(crate) fn protocol(self) -> u16 {
        self.load(config!(offsets.sk_protocol) as usize)
    }

    /// `skc_state`.
    #[inline(always)]
    pub(crate) fn state(self) -> u8 {
        self.load(at::STATE)
    }

    /// `sk_shutdown`.
    #[inline(always)]
    pub(crate) fn shutdown(self) -> u8 {
        self.load(config!(offsets.sk_shutdown) as usize)
    }

    /// `sk_flags`.
    #[inline(always)]
    pub(crate) fn flags(self) -> u64 {
        self.load(at::FLAGS)
    }

    /// `sk_err`; 0 where it is not known.
    #[inline(always)]
    pub(crate) fn err(self) -> u32 {
        self.load_if(config!(offsets.sk_err))
    }

    /// `sk_lingertime`, jiffies; 0 where it is not known.
    #[inline(always)]
    pub(crate) fn lingertime(self) -> u64 {
        self.load_if(config!(offsets.sk_lingertime))
    }

    /// `skc_family` is AF_INET6.
    #[inline(always)]
    pub(crate) fn is_ipv6(self) -> bool {
        self.load::<u16>(at::FAMILY) == AF_INET6
    }

    /// The local port, host order. `skc_num` is 0 once an accepted or auto-bound socket is
    /// unhashed (at every change to CLOSE); `inet_sport` stays.
    #[inline(always)]
    pub(crate) fn local_port(self) -> u16 {
        let num: u16 = self.load(at::NUM);
        if num != 0 { num } else { u16::from_be(self.probe(config!(offsets.inet_sport))) }
    }

    /// The local port of a socket that begins to listen or to connect, or is accepted. Those are
    /// hashed, or have no port yet: [`Self::local_port`] would find nothing else.
    #[inline(always)]
    pub(crate) fn hashed_port(self) -> u16 {
        self.load(at::NUM)
    }

    /// The peer's port, host order.
    #[inline(always)]
    pub(crate) fn peer_port(self) -> u16 {
        u16::from_be(self.load(at::DPORT))
    }

    /// Inode number of the network namespace.
    #[inline(always)]
    pub(crate) fn netns(self) -> u32 {
        let net: usize = self.load(at::NET);
        // SAFETY: a typed pointer loaded from a typed pointer: the verifier checks the offset,
        // and a NULL would read as 0.
        unsafe {
            core::ptr::read_volatile((net + config!(offsets.net_inum) as usize) as *const u32)
        }
    }

    /// The socket's cookie: unique until reboot; 0 while nobody asked for it.
    #[inline(always)]
    pub(crate) fn cookie(self) -> u64 {
        self.load(at::COOKIE)
    }

    /// [`Self::cookie`] of a pointer that the verifier does not know as a socket (a kprobe's).
    #[inline(always)]
    pub(crate) fn probe_cookie(self) -> u64 {
        self.probe(at::COOKIE as u32)
    }

    /// Whether the family is AF_INET, of a pointer that the verifier may not know as a socket (a
    /// request socket has the same head).
    #[inline(always)]
    pub(crate) fn probe_is_ipv4(self) -> bool {
        self.probe::<u16>(at::FAMILY as u32) == AF_INET
    }

    /// Where the socket is: unique while it lives, and no cookie is as large.
    #[inline(always)]
    pub(crate) fn address(self) -> u64 {
        self.0 as u64
    }

    /// Has the kernel give the socket its cookie.
    #[inline(always)]
    pub(crate) fn new_cookie(self) -> u64 {
        // SAFETY: the helper takes the typed socket pointer (`struct sock *`, 5.12 and later).
        unsafe { bpf_get_socket_cookie(self.0.cast_mut().cast()) }
    }

    /// Whether everything sent is acknowledged, the FIN included; `true` where it is not known.
    #[inline(always)]
    pub(crate) fn all_acked(self) -> bool {
        if config!(offsets.snd_una) == MISSING || config!(offsets.write_seq) == MISSING {
            return true;
        }
        let una: u32 = self.probe(config!(offsets.snd_una));
        una == self.probe(config!(offsets.write_seq))
    }

    /// [`tracer_common::lifecycle::waits`]; 0 where that is not known.
    #[inline(always)]
    pub(crate) fn waits(self) -> u8 {
        if config!(waits) == 0 {
            return 0;
        }
        let (mut window, mut probes, mut retransmits) = (0_u32, 0_u8, 0_u8);
        // Straight to where it is wanted, without a branch for each that cannot be read.
        // SAFETY: each target is as large as what is read.
        unsafe {
            self.probe_into::<4>(config!(offsets.snd_wnd) as usize, (&raw mut window).cast());
            let at = config!(offsets.icsk_probes_out) as usize;
            self.probe_into::<1>(at, (&raw mut probes).cast());
            let at = config!(offsets.icsk_retransmits) as usize;
            self.probe_into::<1>(at, (&raw mut retransmits).cast());
        }
        waits(window, probes, retransmits)
    }

    /// `tcp_sock.linger2` is negative.
    #[inline(always)]
    pub(crate) fn linger2_negative(self) -> bool {
        config!(offsets.linger2) != MISSING && self.probe::<i32>(config!(offsets.linger2)) < 0
    }

    /// A listener's accept queue is full (`sk_acceptq_is_full`, include/net/sock.h).
    #[inline(always)]
    pub(crate) fn accept_queue_is_full(self) -> bool {
        let now: u32 = self.probe(config!(offsets.sk_ack_backlog));
        let most: u32 = self.probe(config!(offsets.sk_max_ack_backlog));
        now > most
    }

    /// Whether `tcp_out_of_memory` (net/ipv4/tcp.c) holds: it has more in its send queue than
    /// anybody may have, and TCP's memory is above `tcp_mem[2]`. `None` where that is not known.
    #[inline(always)]
    pub(crate) fn is_over_memory(self) -> Option<bool> {
        let queued = config!(offsets.sk_wmem_queued);
        let allocated = config!(offsets.memory_allocated);
        let limits = config!(offsets.sysctl_mem);
        let proto = config!(offsets.skc_prot);
        if queued == MISSING || allocated == MISSING || limits == MISSING || proto == MISSING {
            return None;
        }
        if self.probe::<i32>(queued) <= config!(min_sndbuf) as i32 {
            return Some(false);
        }
        let proto = Self(self.probe::<u64>(proto) as *const u8);
        let pages: i64 = Self(proto.probe::<u64>(allocated) as *const u8).probe(0);
        let high: i64 = Self(proto.probe::<u64>(limits) as *const u8).probe(16);
        Some(pages > high)
    }

    /// The kernel's flag for TCP memory pressure, as this socket's protocol has it.
    #[inline(always)]
    pub(crate) fn under_pressure(self) -> bool {
        let proto = Self(self.probe::<u64>(config!(offsets.skc_prot)) as *const u8);
        let flag = Self(proto.probe::<u64>(config!(offsets.memory_pressure)) as *const u8);
        flag.probe::<u64>(0) != 0
    }

    /// The peer's address as IPv6, IPv4 mapped.
    #[inline(always)]
    pub(crate) fn peer_as_ipv6(self) -> [u32; 4] {
        if self.is_ipv6() {
            self.probe(at::V6_DADDR as u32)
        } else {
            [0, 0, 0xffff_u32.to_be(), self.load(at::DADDR)]
        }
    }

    /// Fills in family, addresses and ports of an event on the ring.
    ///
    /// # Safety
    ///
    /// `event` is valid for writes, as far as the verifier can see.
    #[inline(always)]
    pub(crate) unsafe fn describe(self, event: *mut EventRecord) {
        // SAFETY: promised by the caller; `probe_into` writes 16 bytes, which both fields have.
        unsafe {
            (*event).local_port = self.local_port();
            (*event).peer_port = self.peer_port();
            let local = (&raw mut (*event).local).cast::<u32>();
            let peer = (&raw mut (*event).peer).cast::<u32>();
            if self.is_ipv6() {
                (*event).family = 6;
                self.probe_into::<16>(at::V6_RCV_SADDR, local.cast());
                self.probe_into::<16>(at::V6_DADDR, peer.cast());
            } else {
                (*event).family = 4;
                local.write(self.load(at::RCV_SADDR));
                peer.write(self.load(at::DADDR));
                let mut word = 1;
                while word < 4 {
                    local.add(word).write(0);
                    peer.add(word).write(0);
                    word += 1;
                }
            }
        }
    }

    /// Copies kernel memory straight to where it is wanted; zeros if it cannot be read.
    ///
    /// # Safety
    ///
    /// `to` is valid for writing `SIZE` bytes.
    #[inline(always)]
    unsafe fn probe_into<const SIZE: u32>(self, offset: usize, to: *mut core::ffi::c_void) {
        // SAFETY: the helper checks the source itself; the target is the caller's promise.
        unsafe {
            aya_ebpf::helpers::generated::bpf_probe_read_kernel(
                to,
                SIZE,
                self.0.add(offset).cast(),
            );
        }
    }
}
