//! The end of a full socket: `tcp_destroy_sock`, fired once for each, right before the kernel
//! takes an orphan off its own count (`inet_csk_destroy_sock`).

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use tracer_common::abi::{
    EventKind, FLAG_ORPHAN, FLAG_RESET_IN, FLAG_RESET_OUT, GROUP_OUTSIDE, MARK_KILLED,
    MARK_KILLED_FOR_MEMORY, MARK_NO_MINISOCKET, SockRecord,
};
use tracer_common::counters::{Counter, Loss, OrphanEnd};
use tracer_common::lifecycle::{EndOfOrphan, classify_end, end_detail};
use tracer_common::state::TcpState;

use crate::emit::{self, emit_detailed};
use crate::sock::Sock;
use crate::totals::{Totals, lose};
use crate::track;
use crate::twin::{self, Program};

const IPPROTO_TCP: u16 = 6;

#[btf_tracepoint(function = "tcp_destroy_sock")]
fn sf_destroy(ctx: BtfTracePointContext) -> i32 {
    let sock = Sock::new(ctx.arg::<*const core::ffi::c_void>(0));
    twin::first(Program::Destroy, || ends(sock));
    0
}

#[btf_tracepoint(function = "tcp_destroy_sock")]
fn sf_destroy_twin(ctx: BtfTracePointContext) -> i32 {
    let sock = Sock::new(ctx.arg::<*const core::ffi::c_void>(0));
    twin::second(Program::Destroy, || ends(sock));
    0
}

#[inline(always)]
fn ends(sock: Sock) {
    let cookie = sock.cookie();
    if let Some((id, record)) = track::find_sock(sock, cookie) {
        destroyed(sock, id, record);
        track::forget(id, record);
    } else if track::merging() && cookie != 0 && sock.protocol() == IPPROTO_TCP {
        // It may be in the dump that user space is merging, which gives each socket a cookie.
        track::bury(cookie);
    }
}

#[inline(always)]
fn destroyed(sock: Sock, id: u64, record: &mut SockRecord) {
    let Some(totals) = Totals::of(record.group) else {
        return;
    };
    let closed = TcpState::Close.number();
    if record.group != GROUP_OUTSIDE && record.state != 0 && record.state != closed {
        // Its change to CLOSE was missed (`lost.missed`): the population must not keep it.
        lose(Loss::Gaps);
        totals.leave(record.state);
        record.last_state = record.state;
        if track::was_connection(record) {
            totals.count(Counter::Closed);
        }
    }
    if record.flags & FLAG_ORPHAN == 0 {
        return;
    }
    totals.orphan_leaves(record.state);
    let last = TcpState::from_number(record.last_state).unwrap_or(TcpState::Close);
    // Each is a guarded read of kernel memory, and each state asks for one of them at most.
    let ask_acked = matches!(last, TcpState::FinWait1 | TcpState::LastAck | TcpState::Closing);
    let ask_linger2 = matches!(last, TcpState::FinWait2);
    let what = EndOfOrphan {
        last,
        sk_err: sock.err(),
        reset_in: record.flags & FLAG_RESET_IN != 0,
        reset_out: record.flags & FLAG_RESET_OUT != 0,
        all_acked: ask_acked && sock.all_acked(),
        linger2_negative: ask_linger2 && sock.linger2_negative(),
        killed: record.marks & MARK_KILLED != 0,
        no_minisocket: record.marks & MARK_NO_MINISOCKET != 0,
    };
    let end = classify_end(what);
    let for_memory = if record.marks & MARK_KILLED != 0 {
        Some(record.marks & MARK_KILLED_FOR_MEMORY != 0)
    } else if matches!(end, OrphanEnd::Killed) {
        // What is in its send queue is still there, and nothing has been given back yet.
        sock.is_over_memory()
    } else {
        None
    };
    let detail = end_detail(end, what, for_memory);
    if let Some(counter) = detail.counter() {
        totals.count(counter);
    }
    totals.orphan_ended(end);
    if emit::orphan_end(end) && record.group != GROUP_OUTSIDE {
        emit_detailed(
            emit::event_time(),
            EventKind::OrphanEnd,
            sock,
            id,
            record,
            record.last_state,
            0,
            end as u8,
            detail as u8,
            sock.waits().into(),
        );
    }
}
