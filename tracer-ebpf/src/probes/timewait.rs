//! Minisockets: begin (`inet_twsk_alloc`), change of substate (`tcp_timewait_state_process`), end
//! (`inet_twsk_kill`), and what ends one before its time (`inet_twsk_deschedule_put`,
//! `tcp_twsk_unique`); `net/ipv4/inet_timewait_sock.c`, `net/ipv4/tcp_minisocks.c`.
//!
//! A minisocket takes a full socket's place and its cookie. It is counted for the replaced socket's
//! service from the moment the kernel has made one, which is before the full socket's change to
//! CLOSE. `inet_twsk_kill` is what takes it off the kernel's own count (sockstat's `tw`);
//! `inet_twsk_free` is inlined on some kernels.

use aya_ebpf::macros::{fentry, fexit, kprobe, kretprobe};
use aya_ebpf::programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext};
use core::ffi::c_void;
use tracer_common::abi::{
    GROUP_OUTSIDE, MARK_FIN_WAIT2, MARK_MINISOCKET, MARK_NO_MINISOCKET, MARK_TIME_WAIT, MINI_EARLY,
    MINI_REUSED, MiniRecord, SockRecord,
};
use tracer_common::counters::{Counter, Loss, MiniCounter, MiniEnd};
use tracer_common::state::TcpState;

use crate::config::config;
use crate::emit::{self, emit_mini_end};
use crate::maps::MINISOCKETS;
use crate::mini::Mini;
use crate::sock::Sock;
use crate::totals::{MiniTotals, NOEXIST, Totals, lose};
use crate::track;

const TIME_WAIT: u8 = TcpState::TimeWait.number();
/// `TCP_TW_SYN` of `enum tcp_tw_status`: a new connection may take the minisocket's place.
const TCP_TW_SYN: u32 = 3;

/// `inet_twsk_alloc(sk, death_row, state)` gave the minisocket or NULL.
#[fexit(function = "inet_twsk_alloc")]
fn sf_mini_begin(ctx: FExitContext) -> i32 {
    let sock = Sock::new(ctx.arg::<*const c_void>(0));
    let substate: i32 = ctx.arg(2);
    let mini = Mini::new(ctx.arg::<*const c_void>(3));
    if let Some((_, record)) = track::find_sock(sock, sock.cookie()) {
        begins(mini, record, substate as u8);
    }
    0
}

/// Only the minisocket is known, and through its cookie whose place it takes.
#[kretprobe(function = "inet_twsk_alloc")]
fn sf_mini_begin_kretprobe(ctx: RetProbeContext) -> u32 {
    let mini = Mini::new(ctx.ret::<*const c_void>());
    if !mini.is_null()
        && let Some(record) = track::find(mini.cookie())
    {
        begins(mini, record, mini.substate());
    }
    0
}

#[inline(always)]
fn begins(mini: Mini, record: &mut SockRecord, substate: u8) {
    if mini.is_null() {
        record.marks |= MARK_NO_MINISOCKET;
        if record.group != GROUP_OUTSIDE
            && let Some(totals) = Totals::of(record.group)
        {
            totals.count(Counter::TimeWaitOverflow);
        }
        return;
    }
    record.marks &= !MARK_MINISOCKET;
    record.marks |= if substate == TIME_WAIT { MARK_TIME_WAIT } else { MARK_FIN_WAIT2 };
    if record.group == GROUP_OUTSIDE {
        return;
    }
    let cookie = mini.cookie();
    let id = if cookie != 0 { cookie } else { mini.address() };
    let mut new = MiniRecord {
        born_ns: record.born_ns,
        group: record.group,
        tgid: record.tgid,
        netns: record.netns,
        service_port: record.service_port,
        direction: record.direction,
        substate,
        ..MiniRecord::default()
    };
    let totals = match MiniTotals::of(new.service_port, new.direction) {
        Some(totals) => totals,
        None => {
            new.service_port = 0;
            match MiniTotals::of(0, new.direction) {
                Some(totals) => totals,
                None => {
                    lose(Loss::Minisockets);
                    return;
                }
            }
        }
    };
    // One is there already where a socket connected again after the first took its place, and only
    // one can be found by the cookie they share.
    if MINISOCKETS.insert(id, new, NOEXIST).is_err() {
        lose(Loss::Minisockets);
        return;
    }
    totals.count(MiniCounter::Begun);
    totals.count(population(substate));
}

#[inline(always)]
fn population(substate: u8) -> MiniCounter {
    if substate == TIME_WAIT { MiniCounter::TimeWait } else { MiniCounter::FinWait2 }
}

/// The record of a minisocket, and its key.
#[inline(always)]
fn find(mini: Mini) -> Option<(u64, &'static mut MiniRecord)> {
    let cookie = mini.cookie();
    if cookie != 0
        && let Some(record) = MINISOCKETS.get_ptr_mut(cookie)
    {
        // SAFETY: a value of the map; one CPU at a time has the minisocket in hand, and what two
        // could write at once are flags that tell the same end.
        return Some((cookie, unsafe { &mut *record }));
    }
    if config!(by_address) != 0 {
        // It may have got its cookie after it began.
        let address = mini.address();
        let record = MINISOCKETS.get_ptr_mut(address)?;
        // SAFETY: as above.
        return Some((address, unsafe { &mut *record }));
    }
    None
}

#[fentry(function = "inet_twsk_kill")]
fn sf_mini_end(ctx: FEntryContext) -> i32 {
    ends(Mini::new(ctx.arg::<*const c_void>(0)));
    0
}

#[kprobe(function = "inet_twsk_kill")]
fn sf_mini_end_kprobe(ctx: ProbeContext) -> u32 {
    if let Some(tw) = ctx.arg::<*const c_void>(0) {
        ends(Mini::new(tw));
    }
    0
}

#[inline(always)]
fn ends(mini: Mini) {
    let Some((id, record)) = find(mini) else {
        // It may be in the dump that user space is merging, which gives each its cookie.
        if track::merging() {
            bury(mini.cookie());
        }
        return;
    };
    if record.substate == 0 {
        return;
    }
    let end = match (record.flags & MINI_EARLY != 0, record.flags & MINI_REUSED != 0) {
        (false, _) => MiniEnd::Expired,
        (true, true) => MiniEnd::Reused,
        (true, false) => MiniEnd::Killed,
    };
    if let Some(totals) = MiniTotals::of(record.service_port, record.direction) {
        totals.uncount(population(record.substate));
        totals.ended(end as u8);
    }
    if emit::all() {
        emit_mini_end(mini, id, record, end);
    }
    if track::merging() {
        // A tombstone, so that the dump cannot bring it back.
        record.substate = 0;
    } else {
        let _ = MINISOCKETS.remove(id);
    }
}

/// Leaves a tombstone for one that never had a record.
#[inline(never)]
fn bury(cookie: u64) {
    if cookie != 0 {
        let _ = MINISOCKETS.insert(cookie, MiniRecord::default(), NOEXIST);
    }
}

/// What `tcp_timewait_state_process` made of a segment. The result lies behind the arguments, of
/// which later kernels have more; a helper finds it (5.17).
#[fexit(function = "tcp_timewait_state_process")]
fn sf_mini_segment(ctx: FExitContext) -> i32 {
    if let Ok(status) = ctx.ret::<u32>() {
        segment(Mini::new(ctx.arg::<*const c_void>(0)), status);
    }
    0
}

/// Without that helper: all kernels that lack it have three arguments.
#[fexit(function = "tcp_timewait_state_process")]
fn sf_mini_segment_3(ctx: FExitContext) -> i32 {
    segment(Mini::new(ctx.arg::<*const c_void>(0)), ctx.arg::<u32>(3));
    0
}

/// Runs before what the segment brings about: `inet_twsk_reschedule` with the new substate set.
#[kprobe(function = "__inet_twsk_schedule")]
fn sf_mini_rearmed_kprobe(ctx: ProbeContext) -> u32 {
    if let Some(tw) = ctx.arg::<*const c_void>(0) {
        segment(Mini::new(tw), 0);
    }
    0
}

#[inline(always)]
fn segment(mini: Mini, status: u32) {
    let Some((_, record)) = find(mini) else { return };
    if status == TCP_TW_SYN {
        record.flags |= MINI_REUSED;
        return;
    }
    // The peer's FIN: FIN_WAIT2 becomes TIME_WAIT, and never the other way round.
    if record.substate == TcpState::FinWait2.number() && mini.substate() == TIME_WAIT {
        record.substate = TIME_WAIT;
        if let Some(totals) = MiniTotals::of(record.service_port, record.direction) {
            totals.uncount(MiniCounter::FinWait2);
            totals.count(MiniCounter::TimeWait);
        }
    }
}

#[fentry(function = "inet_twsk_deschedule_put")]
fn sf_mini_early(ctx: FEntryContext) -> i32 {
    mark(Mini::new(ctx.arg::<*const c_void>(0)), MINI_EARLY);
    0
}

#[kprobe(function = "inet_twsk_deschedule_put")]
fn sf_mini_early_kprobe(ctx: ProbeContext) -> u32 {
    if let Some(tw) = ctx.arg::<*const c_void>(0) {
        mark(Mini::new(tw), MINI_EARLY);
    }
    0
}

/// `tcp_twsk_unique(sk, sktw, twp)`: whether a `connect()` may reuse the minisocket's port.
#[fexit(function = "tcp_twsk_unique")]
fn sf_mini_unique(ctx: FExitContext) -> i32 {
    if ctx.arg::<i32>(3) != 0 {
        mark(Mini::new(ctx.arg::<*const c_void>(1)), MINI_REUSED);
    }
    0
}

#[inline(always)]
fn mark(mini: Mini, flag: u8) {
    if let Some((_, record)) = find(mini) {
        record.flags |= flag;
    }
}
