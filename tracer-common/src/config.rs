//! What user space tells the programs before they load, as one read-only global (`CONFIG`).
//!
//! The verifier sees these as constants: a filter that is off costs nothing.

/// Byte offsets of kernel fields, resolved by name from the running kernel's BTF.
///
/// `struct sock_common` is the same on every kernel from 5.10 to 7.3, so the programs hold its
/// offsets as constants ([`sock_common`]) and user space asserts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Offsets {
    /// `sock.sk_shutdown`, u8.
    pub sk_shutdown: u32,
    /// `sock.sk_protocol`, u16.
    pub sk_protocol: u32,
    /// `sock.sk_err`, u32.
    pub sk_err: u32,
    /// `sock.sk_lingertime`, unsigned long.
    pub sk_lingertime: u32,
    /// `net.ns.inum`, u32.
    pub net_inum: u32,
    /// `inet_sock.inet_sport`, be16; beyond `struct sock`.
    pub inet_sport: u32,
    /// `tcp_sock.snd_una`, u32.
    pub snd_una: u32,
    /// `tcp_sock.write_seq`, u32.
    pub write_seq: u32,
    /// `tcp_sock.linger2`, int.
    pub linger2: u32,
    /// `tcp_sock.snd_wnd`, u32.
    pub snd_wnd: u32,
    /// `inet_connection_sock.icsk_retransmits`, u8.
    pub icsk_retransmits: u32,
    /// `inet_connection_sock.icsk_probes_out`, u8.
    pub icsk_probes_out: u32,
    /// `task_struct.flags`, u32.
    pub task_flags: u32,
    /// `task_struct.group_leader`, pointer.
    pub task_group_leader: u32,
    /// `task_struct.start_boottime`, u64 ns.
    pub task_start_boottime: u32,
    /// `task_struct.comm`, 16 bytes.
    pub task_comm: u32,
    /// `sock_common.skc_prot`, pointer.
    pub skc_prot: u32,
    /// `sock.sk_wmem_queued`, int.
    pub sk_wmem_queued: u32,
    /// `sock.sk_ack_backlog`, u32.
    pub sk_ack_backlog: u32,
    /// `sock.sk_max_ack_backlog`, u32.
    pub sk_max_ack_backlog: u32,
    /// `proto.memory_allocated`, pointer to a long.
    pub memory_allocated: u32,
    /// `proto.memory_pressure`, pointer to an unsigned long.
    pub memory_pressure: u32,
    /// `proto.sysctl_mem`, pointer to three longs.
    pub sysctl_mem: u32,
    /// `inet_timewait_sock.tw_substate`, u8.
    pub tw_substate: u32,
}

impl Offsets {
    /// Whether the fields of [`crate::lifecycle::waits`] are there.
    #[must_use]
    pub const fn has_waits(&self) -> bool {
        self.snd_wnd != MISSING
            && self.icsk_probes_out != MISSING
            && self.icsk_retransmits != MISSING
    }
}

/// An offset in [`Offsets`] of a field that this kernel lacks. The programs then go without what
/// the field tells.
pub const MISSING: u32 = u32::MAX;

/// Offsets in `struct sock_common` (the head of `struct sock`), identical from 5.10 to 7.3.
pub mod sock_common {
    /// `skc_daddr`, be32.
    pub const DADDR: usize = 0;
    /// `skc_rcv_saddr`, be32.
    pub const RCV_SADDR: usize = 4;
    /// `skc_dport`, be16.
    pub const DPORT: usize = 12;
    /// `skc_num`, u16, host order.
    pub const NUM: usize = 14;
    /// `skc_family`, u16.
    pub const FAMILY: usize = 16;
    /// `skc_state`, u8.
    pub const STATE: usize = 18;
    /// `skc_net`, pointer.
    pub const NET: usize = 48;
    /// `skc_v6_daddr`, 16 bytes.
    pub const V6_DADDR: usize = 56;
    /// `skc_v6_rcv_saddr`, 16 bytes.
    pub const V6_RCV_SADDR: usize = 72;
    /// `skc_cookie`, u64; 0 until somebody asked for it.
    pub const COOKIE: usize = 88;
    /// `skc_flags` (`sk_flags`), unsigned long.
    pub const FLAGS: usize = 96;
}

/// Ports a filter can name.
pub const FILTER_PORTS: usize = 16;

/// What is let through; all of it must match. Zero means "not asked for".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Filter {
    /// Local ports, any of them; the unused are 0.
    pub ports: [u16; FILTER_PORTS],
    /// Peer's ports, any of them; the unused are 0.
    pub peer_ports: [u16; FILTER_PORTS],
    /// The peer's network, as IPv6 (IPv4 mapped to ::ffff:0:0/96), in 32-bit words of the
    /// address's own byte order.
    pub addr: [u32; 4],
    /// Its mask.
    pub addr_mask: [u32; 4],
    /// The owner's name, NUL-padded.
    pub comm: [u8; 16],
    /// The owner's cgroup2 id.
    pub cgroup: u64,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// The owner's process id.
    pub tgid: u32,
    /// 4 or 6.
    pub family: u32,
    /// How many of [`Self::ports`] count.
    pub ports_len: u32,
    /// How many of [`Self::peer_ports`] count.
    pub peer_ports_len: u32,
    /// Whether [`Self::comm`] counts.
    pub comm_on: u32,
    /// Whether [`Self::addr`] counts.
    pub addr_on: u32,
    /// Zero.
    pub pad: u32,
}

/// [`Config::detail`]: no events.
pub const DETAIL_NONE: u32 = 0;
/// [`Config::detail`]: orphans that end otherwise than by their peer's acknowledgement.
pub const DETAIL_ENDS: u32 = 1;
/// [`Config::detail`]: begin and end of every orphan.
pub const DETAIL_ORPHANS: u32 = 2;
/// [`Config::detail`]: every event.
pub const DETAIL_ALL: u32 = 3;

/// Everything the programs are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Config {
    /// Where the kernel's fields are.
    pub offsets: Offsets,
    /// `DETAIL_…`.
    pub detail: u32,
    /// Whether the fields of [`crate::lifecycle::waits`] are there.
    pub waits: u32,
    /// What is let through.
    pub filter: Filter,
    /// Whether a hook on `close()` is attached (a rung above "derived").
    pub close_hook: u32,
    /// Whether `bpf_get_socket_cookie` may be called in tracing programs (5.12 and later).
    pub cookie_helper: u32,
    /// Whether a socket without a cookie is known by its address: where nothing can give it one,
    /// or where the hook on `close()` cannot.
    pub by_address: u32,
    /// Whether `tcp_send_reset` tells why (6.10 and later).
    pub reset_reason: u32,
    /// `SOCK_MIN_SNDBUF` of this kernel, bytes: sockets with less in their send queue are not
    /// killed for memory.
    pub min_sndbuf: u32,
    /// Shards of the groups' counters, less one ([`crate::abi::shard_bits`]).
    pub last_shard: u32,
}

const _: () = {
    assert!(size_of::<Offsets>() == 96);
    assert!(size_of::<Filter>() == 152);
    assert!(size_of::<Config>() == 96 + 8 + 152 + 24);
};

// SAFETY: integers and arrays of them, `repr(C)`, sizes asserted above to have no padding.
#[cfg(feature = "user")]
#[expect(unsafe_code, reason = "a promise to aya about the layout")]
unsafe impl aya::Pod for Config {}
