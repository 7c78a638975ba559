//! Orphans that the kernel kills: `tcp_check_oom` (net/ipv4/tcp.c) says so, for too many orphans or
//! for memory. Their end follows in the same context ([`super::destroy`]).

use aya_ebpf::macros::fexit;
use aya_ebpf::programs::FExitContext;
use tracer_common::abi::{MARK_KILLED, MARK_KILLED_FOR_MEMORY};

use crate::sock::Sock;
use crate::track;

/// `tcp_check_oom(sk, shift)` gave a `bool`: its byte only is meant.
#[fexit(function = "tcp_check_oom")]
fn sf_killed(ctx: FExitContext) -> i32 {
    if ctx.arg::<u64>(2) as u8 == 0 {
        return 0;
    }
    let sock = Sock::new(ctx.arg::<*const core::ffi::c_void>(0));
    if let Some((_, record)) = track::find_sock(sock, sock.cookie()) {
        record.marks |= MARK_KILLED;
        // Where it is not known the rung is not taken.
        if sock.is_over_memory() == Some(true) {
            record.marks |= MARK_KILLED_FOR_MEMORY;
        }
    }
    0
}
