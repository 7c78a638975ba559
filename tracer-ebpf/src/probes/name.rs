//! Cookies for sockets, where tracing programs cannot have the kernel make them (before 5.12):
//! programs of the root cgroup can, when a socket is made and when one is accepted, before the
//! change of state that begins its record.

use aya_ebpf::helpers::generated::bpf_get_socket_cookie;
use aya_ebpf::macros::{cgroup_sock, sock_ops};
use aya_ebpf::programs::{SockContext, SockOpsContext};

/// `BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB`.
const ACCEPTED: u32 = 5;

#[cgroup_sock(sock_create)]
fn sf_name_created(ctx: SockContext) -> i32 {
    // SAFETY: the helper takes this context.
    unsafe { bpf_get_socket_cookie(ctx.sock.cast()) };
    1
}

#[sock_ops]
fn sf_name_accepted(ctx: SockOpsContext) -> u32 {
    if ctx.op() == ACCEPTED {
        // SAFETY: the helper takes this context.
        unsafe { bpf_get_socket_cookie(ctx.ops.cast()) };
    }
    1
}
