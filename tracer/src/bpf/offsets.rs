//! Where the kernel's fields are: the table of what is needed, resolved by name from BTF.
//!
//! A field that is gone or has another width costs the signals that need it, and they say so; a
//! wrong one is never read. Without what all of them need, nothing can be traced.

use anyhow::{Result, anyhow};
use tracer_common::config::{MISSING, Offsets, sock_common};

use super::btf::Btf;
use super::probes::Signal;
use crate::event::Fidelity;

/// One field the programs read at an offset that differs between kernels.
struct Needed {
    in_struct: &'static str,
    path: &'static str,
    size: u32,
    put: fn(&mut Offsets, u32),
    /// The signals that suffer without it; empty: all do.
    costs: &'static [Cost],
}

/// What a signal is without a field.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Which signal.
    pub signal: Signal,
    /// Whether its programs cannot do without: only rungs that have none are left.
    pub hooks: bool,
    /// How far the signal can be trusted at best.
    pub at_best: Fidelity,
    /// What can't be seen then; empty: its rung says so.
    pub blind: &'static str,
}

/// The signal is worth less.
const fn worse(signal: Signal, at_best: Fidelity, blind: &'static str) -> Cost {
    Cost { signal, hooks: false, at_best, blind }
}

/// The signal's programs cannot do without it.
const fn no_hook(signal: Signal) -> Cost {
    Cost { signal, hooks: true, at_best: Fidelity::Exact, blind: "" }
}

const NO_OWNER: &[Cost] =
    &[worse(Signal::Owner, Fidelity::Absent, "whose any socket is, but those that stood before")];
const NO_ACKED: &[Cost] = &[worse(
    Signal::EndReason,
    Fidelity::Derived,
    "whether all was acknowledged: killed reads as acked or other",
)];
const NO_MEMORY: &[Cost] = &[Cost {
    signal: Signal::EndReason,
    hooks: true,
    at_best: Fidelity::Derived,
    blind: "whether a killed orphan was killed for the limit or for memory",
}];
const NO_LINGER: &[Cost] = &[worse(
    Signal::OrphanBegin,
    Fidelity::Derived,
    "that a close() waits (SO_LINGER): its socket counts as an orphan meanwhile",
)];
const NO_ERROR: &[Cost] =
    &[worse(Signal::EndReason, Fidelity::Derived, "timeouts: they read as killed")];
const NO_LINGER2: &[Cost] =
    &[worse(Signal::EndReason, Fidelity::Derived, "a negative TCP_LINGER2: it reads as time_wait")];
const NO_CAUSE: &[Cost] =
    &[worse(Signal::EndReason, Fidelity::Exact, "what an orphan waited for when it ended")];
const ICSK: &str = "inet_connection_sock";
const NO_PROTO: &[Cost] = &[
    no_hook(Signal::MemPressure),
    Cost {
        signal: Signal::EndReason,
        hooks: true,
        at_best: Fidelity::Derived,
        blind: "whether a killed orphan was killed for the limit or for memory",
    },
];

const NEEDED: &[Needed] = &[
    needed("sock", "sk_shutdown", 1, |o, at| o.sk_shutdown = at, &[]),
    needed("sock", "sk_protocol", 2, |o, at| o.sk_protocol = at, &[]),
    needed("net", "ns.inum", 4, |o, at| o.net_inum = at, &[]),
    needed("inet_sock", "inet_sport", 2, |o, at| o.inet_sport = at, &[]),
    needed("sock", "sk_err", 4, |o, at| o.sk_err = at, NO_ERROR),
    needed("sock", "sk_lingertime", 8, |o, at| o.sk_lingertime = at, NO_LINGER),
    needed("tcp_sock", "snd_una", 4, |o, at| o.snd_una = at, NO_ACKED),
    needed("tcp_sock", "write_seq", 4, |o, at| o.write_seq = at, NO_ACKED),
    needed("tcp_sock", "linger2", 4, |o, at| o.linger2 = at, NO_LINGER2),
    needed("tcp_sock", "snd_wnd", 4, |o, at| o.snd_wnd = at, NO_CAUSE),
    needed(ICSK, "icsk_retransmits", 1, |o, at| o.icsk_retransmits = at, NO_CAUSE),
    needed(ICSK, "icsk_probes_out", 1, |o, at| o.icsk_probes_out = at, NO_CAUSE),
    needed("task_struct", "flags", 4, |o, at| o.task_flags = at, NO_OWNER),
    needed("task_struct", "group_leader", 8, |o, at| o.task_group_leader = at, NO_OWNER),
    needed("task_struct", "start_boottime", 8, |o, at| o.task_start_boottime = at, NO_OWNER),
    needed("task_struct", "comm", 16, |o, at| o.task_comm = at, NO_OWNER),
    needed("sock_common", "skc_prot", 8, |o, at| o.skc_prot = at, NO_PROTO),
    needed("sock", "sk_wmem_queued", 4, |o, at| o.sk_wmem_queued = at, NO_MEMORY),
    needed("proto", "memory_allocated", 8, |o, at| o.memory_allocated = at, NO_MEMORY),
    needed("proto", "sysctl_mem", 8, |o, at| o.sysctl_mem = at, NO_MEMORY),
    needed(
        "proto",
        "memory_pressure",
        8,
        |o, at| o.memory_pressure = at,
        &[no_hook(Signal::MemPressure)],
    ),
    needed(
        "sock",
        "sk_ack_backlog",
        4,
        |o, at| o.sk_ack_backlog = at,
        &[no_hook(Signal::AcceptOverflow)],
    ),
    needed(
        "sock",
        "sk_max_ack_backlog",
        4,
        |o, at| o.sk_max_ack_backlog = at,
        &[no_hook(Signal::AcceptOverflow)],
    ),
    needed(
        "inet_timewait_sock",
        "tw_substate",
        1,
        |o, at| o.tw_substate = at,
        &[no_hook(Signal::TimeWait)],
    ),
];

const fn needed(
    in_struct: &'static str,
    path: &'static str,
    size: u32,
    put: fn(&mut Offsets, u32),
    costs: &'static [Cost],
) -> Needed {
    Needed { in_struct, path, size, put, costs }
}

/// Fields whose offsets the programs hold as constants: (name, offset, width).
const FIXED: &[(&str, usize, u32)] = &[
    ("skc_daddr", sock_common::DADDR, 4),
    ("skc_rcv_saddr", sock_common::RCV_SADDR, 4),
    ("skc_dport", sock_common::DPORT, 2),
    ("skc_num", sock_common::NUM, 2),
    ("skc_family", sock_common::FAMILY, 2),
    ("skc_state", sock_common::STATE, 1),
    ("skc_net", sock_common::NET, 8),
    ("skc_v6_daddr", sock_common::V6_DADDR, 16),
    ("skc_v6_rcv_saddr", sock_common::V6_RCV_SADDR, 16),
    ("skc_cookie", sock_common::COOKIE, 8),
    ("skc_flags", sock_common::FLAGS, 8),
];

/// Where the fields are, and what those cost that are not there.
#[derive(Clone, Debug, Default)]
pub struct Resolved {
    /// The offsets; [`MISSING`] where there is none.
    pub offsets: Offsets,
    /// What is worth less, with the field that is missing.
    pub costs: Vec<(Cost, String)>,
}

impl Resolved {
    /// Why a signal's programs cannot be used, if so.
    #[must_use]
    pub fn hooks_lack(&self, signal: Signal) -> Option<&str> {
        self.costs
            .iter()
            .find(|(cost, _)| cost.hooks && cost.signal == signal)
            .map(|(_, why)| why.as_str())
    }
}

/// Resolves every offset.
///
/// # Errors
///
/// Names the first field that every signal needs and that is missing, is a bit field, has another
/// width, or, of those held as constants, another place.
pub fn resolve(btf: &Btf) -> Result<Resolved> {
    for (name, offset, size) in FIXED {
        let field = btf.field("sock_common", name)?;
        if field.offset as usize != *offset || field.size != *size {
            return Err(anyhow!(
                "sock_common.{name} is {} bytes at {} on this kernel, not {size} at {offset}",
                field.size,
                field.offset
            ));
        }
    }
    let mut resolved = Resolved::default();
    for needed in NEEDED {
        match place(btf, needed) {
            Ok(offset) => (needed.put)(&mut resolved.offsets, offset),
            Err(error) if needed.costs.is_empty() => return Err(error),
            Err(error) => {
                (needed.put)(&mut resolved.offsets, MISSING);
                let why = error.to_string();
                resolved.costs.extend(needed.costs.iter().map(|cost| (*cost, why.clone())));
            }
        }
    }
    Ok(resolved)
}

fn place(btf: &Btf, needed: &Needed) -> Result<u32> {
    let field = btf.field(needed.in_struct, needed.path)?;
    if field.size != needed.size {
        return Err(anyhow!(
            "{}.{} is {} bytes wide on this kernel, not {}",
            needed.in_struct,
            needed.path,
            field.size,
            needed.size
        ));
    }
    Ok(field.offset)
}

/// `SOCK_MIN_SNDBUF` (include/net/sock.h): two of the smallest packets as the kernel accounts them,
/// 2048 bytes and a `struct sk_buff` in whole cache lines. `None` where its size is not known.
#[must_use]
pub fn min_sndbuf(btf: &Btf) -> Option<u32> {
    const CACHE_LINE: u32 = 64;
    Some(2 * (2048 + btf.size_of("sk_buff").ok()?.next_multiple_of(CACHE_LINE)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::btf::VMLINUX;

    fn running() -> Btf {
        // The kernel under the tests has BTF wherever sockflow can run at all.
        Btf::from_file(VMLINUX.as_ref()).unwrap()
    }

    #[test]
    fn the_running_kernel_has_every_field() {
        let btf = running();
        let resolved = resolve(&btf).unwrap();
        let offsets = resolved.offsets;
        assert!(offsets.sk_shutdown > 136, "beyond sock_common: {offsets:?}");
        assert!(offsets.inet_sport > offsets.sk_err, "inet_sock extends sock: {offsets:?}");
        assert!(resolved.costs.is_empty(), "{resolved:?}");
        assert!(min_sndbuf(&btf).unwrap() >= 2 * 2048);
    }

    #[test]
    fn a_missing_field_costs_the_signals_that_need_it() {
        let mut btf = running();
        btf.hide("tcp_sock.linger2");
        btf.hide("proto.memory_pressure");
        let resolved = resolve(&btf).unwrap();
        assert_eq!(resolved.offsets.linger2, MISSING);
        assert!(resolved.hooks_lack(Signal::MemPressure).unwrap().contains("memory_pressure"));
        assert_eq!(resolved.hooks_lack(Signal::EndReason), None, "it is worth less, not without");
        let hurt: Vec<Signal> = resolved.costs.iter().map(|(cost, _)| cost.signal).collect();
        assert_eq!(hurt, [Signal::EndReason, Signal::MemPressure]);
    }

    #[test]
    fn without_what_all_need_it_is_named() {
        let mut btf = running();
        btf.hide("net.ns.inum");
        assert!(resolve(&btf).unwrap_err().to_string().contains("net.ns.inum"));
    }
}
