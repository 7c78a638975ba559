//! Connections refused because a listener's accept queue is full, in the two places where the
//! kernel looks (and counts `ListenOverflows`): when a SYN comes (`tcp_conn_request`) and when the
//! handshake is complete (`tcp_v4_syn_recv_sock`, `tcp_v6_syn_recv_sock`).
//!
//! Each looks at the queue before anything else it can fail for. The programs look at the same two
//! numbers as the functions begin; unless the queue is full that is all they do.

use aya_ebpf::macros::{fentry, kprobe};
use aya_ebpf::programs::{FEntryContext, ProbeContext};
use core::ffi::c_void;
use tracer_common::abi::GROUP_OUTSIDE;
use tracer_common::counters::Counter;

use crate::sock::Sock;
use crate::totals::Totals;
use crate::track;

/// `tcp_conn_request(rsk_ops, af_ops, sk, skb)`.
#[fentry(function = "tcp_conn_request")]
fn sf_accept_syn(ctx: FEntryContext) -> i32 {
    refuses(Sock::new(ctx.arg::<*const c_void>(2)));
    0
}

#[kprobe(function = "tcp_conn_request")]
fn sf_accept_syn_kprobe(ctx: ProbeContext) -> u32 {
    if let Some(sk) = ctx.arg::<*const c_void>(2) {
        refuses(Sock::new(sk));
    }
    0
}

/// `tcp_v4_syn_recv_sock(sk, …)`: also what IPv6 listeners get over IPv4.
#[fentry(function = "tcp_v4_syn_recv_sock")]
fn sf_accept_v4(ctx: FEntryContext) -> i32 {
    refuses(Sock::new(ctx.arg::<*const c_void>(0)));
    0
}

#[kprobe(function = "tcp_v4_syn_recv_sock")]
fn sf_accept_v4_kprobe(ctx: ProbeContext) -> u32 {
    if let Some(sk) = ctx.arg::<*const c_void>(0) {
        refuses(Sock::new(sk));
    }
    0
}

/// `tcp_v6_syn_recv_sock(sk, skb, req, …)`: hands what came over IPv4 to the other.
#[fentry(function = "tcp_v6_syn_recv_sock")]
fn sf_accept_v6(ctx: FEntryContext) -> i32 {
    if !Sock::new(ctx.arg::<*const c_void>(2)).probe_is_ipv4() {
        refuses(Sock::new(ctx.arg::<*const c_void>(0)));
    }
    0
}

#[kprobe(function = "tcp_v6_syn_recv_sock")]
fn sf_accept_v6_kprobe(ctx: ProbeContext) -> u32 {
    if let (Some(sk), Some(request)) = (ctx.arg::<*const c_void>(0), ctx.arg::<*const c_void>(2))
        && !Sock::new(request).probe_is_ipv4()
    {
        refuses(Sock::new(sk));
    }
    0
}

#[inline(always)]
fn refuses(listener: Sock) {
    if listener.accept_queue_is_full()
        && let Some((_, record)) = track::find_sock(listener, listener.probe_cookie())
        && record.group != GROUP_OUTSIDE
        && let Some(totals) = Totals::of(record.group)
    {
        totals.count(Counter::AcceptOverflows);
    }
}
