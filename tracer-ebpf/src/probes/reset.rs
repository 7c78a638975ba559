//! Resets in (`tcp_receive_reset`) and out (`tcp_send_reset`), these with the kernel's reason where
//! it has one.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use tracer_common::abi::{EventKind, FLAG_RESET_IN, FLAG_RESET_OUT, GROUP_OUTSIDE};
use tracer_common::counters::Counter;
use tracer_common::state::TcpState;

use crate::config::config;
use crate::emit::{self, emit};
use crate::sock::Sock;
use crate::totals::{Totals, reset_sent};
use crate::track;

#[btf_tracepoint(function = "tcp_receive_reset")]
fn sf_reset_in(ctx: BtfTracePointContext) -> i32 {
    let sock = Sock::new(ctx.arg::<*const core::ffi::c_void>(0));
    reset(sock, FLAG_RESET_IN, Counter::ResetsIn, EventKind::ResetIn, 0);
    0
}

#[btf_tracepoint(function = "tcp_send_reset")]
fn sf_reset_out(ctx: BtfTracePointContext) -> i32 {
    let sk: *const core::ffi::c_void = ctx.arg(0);
    // No socket: a reset in answer to a stray segment. A minisocket or a request socket has only
    // the head of a full one.
    if sk.is_null() {
        return 0;
    }
    let sock = Sock::new(sk);
    let state = sock.state();
    if state != TcpState::TimeWait.number() && state != TcpState::NewSynRecv.number() {
        // (sk, skb) up to 6.9, (sk, skb, reason) since: a load beyond the last is refused, so where
        // there is none the verifier must not meet it.
        let reason =
            if config!(reset_reason) != 0 { ctx.arg::<u32>(2).saturating_add(1) } else { 0 };
        reset(sock, FLAG_RESET_OUT, Counter::ResetsOut, EventKind::ResetOut, reason);
    }
    0
}

#[inline(always)]
fn reset(sock: Sock, flag: u8, counter: Counter, kind: EventKind, reason: u32) {
    let Some((id, record)) = track::find_sock(sock, sock.cookie()) else {
        return;
    };
    record.flags |= flag;
    if record.group == GROUP_OUTSIDE {
        return;
    }
    if let Some(totals) = Totals::of(record.group) {
        totals.count(counter);
    }
    if reason != 0 {
        reset_sent(record.service_port, record.direction, reason - 1);
    }
    if emit::all() {
        let reason = if reason < 256 { reason as u8 } else { 0 };
        emit(emit::event_time(), kind, sock, id, record, record.state, 0, reason);
    }
}
