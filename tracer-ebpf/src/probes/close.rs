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
    let cookie = sock.cookie();
    called(sock, cookie, track::new_key(sock, cookie));
    0
}

#[kprobe(function = "tcp_close")]
fn sf_close_kprobe(ctx: ProbeContext) -> u32 {
    // A kprobe's argument is untyped, and no helper takes it: a socket without a cookie is known
    // by its address (`by_address`).
    if let Some(sk) = ctx.arg::<*const core::ffi::c_void>(0) {
        let sock = Sock::new(sk);
        let cookie = sock.probe_cookie();
        called(sock, cookie, if cookie != 0 { cookie } else { sock.address() });
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
        let cookie = unsafe { bpf_get_socket_cookie(ctx.sock.cast()) };
        if let Some(record) = track::find(cookie).or_else(|| track::make(cookie)) {
            record.closer = current_tgid();
        }
    }
    1
}

/// `key`: under which it gets a record if it has none.
#[inline(always)]
fn called(sock: Sock, cookie: u64, key: u64) {
    // Made if missing: a socket outside the filter, or one that stood before and is not merged
    // yet. Its own state change fills it in; its destruction removes it.
    let record = match track::find_sock(sock, cookie) {
        Some((_, record)) => Some(record),
        None => track::make(key),
    };
    if let Some(record) = record {
        record.closer = current_tgid();
    }
}
