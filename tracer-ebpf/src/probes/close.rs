//! Who calls `close()`: a hook that runs in the caller's context before TCP acts.
//!
//! Best first: fentry on `tcp_close`, kprobe on `tcp_close`, a cgroup `sock_release` program at
//! the root of cgroup2. They only leave the caller's process id in the record; the state change
//! that `close()` makes does the rest ([`super::state`]), in the same context. Without any of
//! them, `sk_shutdown` at that change stands in for it (and cannot tell `shutdown(SHUT_RDWR)`).

use aya_ebpf::helpers::generated::bpf_get_socket_cookie;
use aya_ebpf::macros::{cgroup_sock, fentry, kprobe};
use aya_ebpf::programs::{FEntryContext, ProbeContext, SockContext};

use crate::sock::Sock;
use crate::task::current_tgid;
use crate::track;

const IPPROTO_TCP: u32 = 6;
const SOCK_STREAM: u32 = 1;

#[fentry(function = "tcp_close")]
fn sf_close_fentry(ctx: FEntryContext) -> i32 {
    let sock = Sock::new(ctx.arg::<*const core::ffi::c_void>(0));
    called(sock.id());
    0
}

#[kprobe(function = "tcp_close")]
fn sf_close_kprobe(ctx: ProbeContext) -> u32 {
    // A kprobe's argument is untyped: the record is found by what `probe_id` can read.
    if let Some(sk) = ctx.arg::<*const core::ffi::c_void>(0) {
        called(Sock::new(sk).probe_id());
    }
    0
}

#[cgroup_sock(sock_release)]
fn sf_close_cgroup(ctx: SockContext) -> i32 {
    // SAFETY: the context of a cgroup sock program is a valid `bpf_sock`; the kernel rewrites
    // these loads.
    let (kind, protocol) = unsafe { ((*ctx.sock).type_, (*ctx.sock).protocol) };
    if kind == SOCK_STREAM && protocol == IPPROTO_TCP {
        // SAFETY: the helper takes this context.
        called(unsafe { bpf_get_socket_cookie(ctx.sock.cast()) });
    }
    1
}

#[inline(always)]
fn called(id: u64) {
    if id == 0 {
        return;
    }
    // Made if missing: a socket outside the filter, or one that stood before and is not merged
    // yet. Its own state change fills it in; its destruction removes it.
    if let Some(record) = track::find(id).or_else(|| track::make(id)) {
        record.closer = current_tgid();
    }
}
