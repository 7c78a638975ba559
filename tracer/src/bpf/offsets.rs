//! Where the kernel's fields are: the table of what is needed, resolved by name from BTF.
//!
//! A field that is gone or has another width stops with its name; a wrong one is never read.

use anyhow::{Result, anyhow};
use tracer_common::config::{Offsets, sock_common};

use super::btf::Btf;

/// One field the programs read at an offset that differs between kernels.
struct Needed {
    in_struct: &'static str,
    path: &'static str,
    size: u32,
    put: fn(&mut Offsets, u32),
}

const NEEDED: &[Needed] = &[
    needed("sock", "sk_shutdown", 1, |o, at| o.sk_shutdown = at),
    needed("sock", "sk_protocol", 2, |o, at| o.sk_protocol = at),
    needed("sock", "sk_err", 4, |o, at| o.sk_err = at),
    needed("sock", "sk_lingertime", 8, |o, at| o.sk_lingertime = at),
    needed("net", "ns.inum", 4, |o, at| o.net_inum = at),
    needed("inet_sock", "inet_sport", 2, |o, at| o.inet_sport = at),
    needed("tcp_sock", "snd_una", 4, |o, at| o.snd_una = at),
    needed("tcp_sock", "write_seq", 4, |o, at| o.write_seq = at),
    needed("tcp_sock", "linger2", 4, |o, at| o.linger2 = at),
    needed("task_struct", "flags", 4, |o, at| o.task_flags = at),
    needed("task_struct", "group_leader", 8, |o, at| o.task_group_leader = at),
    needed("task_struct", "start_boottime", 8, |o, at| o.task_start_boottime = at),
    needed("task_struct", "comm", 16, |o, at| o.task_comm = at),
];

const fn needed(
    in_struct: &'static str,
    path: &'static str,
    size: u32,
    put: fn(&mut Offsets, u32),
) -> Needed {
    Needed { in_struct, path, size, put }
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

/// Resolves every offset.
///
/// # Errors
///
/// Names the first field that is missing, is a bit field, has another width, or, of those held
/// as constants, another place.
pub fn resolve(btf: &Btf) -> Result<Offsets> {
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
    let mut offsets = Offsets::default();
    for needed in NEEDED {
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
        (needed.put)(&mut offsets, field.offset);
    }
    Ok(offsets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::btf::VMLINUX;

    /// The kernel under the tests has BTF wherever sockflow can run at all.
    #[test]
    fn the_running_kernel_has_every_field() {
        let btf = Btf::from_file(VMLINUX.as_ref()).unwrap();
        let offsets = resolve(&btf).unwrap();
        assert!(offsets.sk_shutdown > 136, "beyond sock_common: {offsets:?}");
        assert!(offsets.inet_sport > offsets.sk_err, "inet_sock extends sock: {offsets:?}");
    }
}
