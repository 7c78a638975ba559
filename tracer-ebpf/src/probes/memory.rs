//! TCP's memory: pressure (`tcp_enter_memory_pressure`, `tcp_leave_memory_pressure`), and what is
//! refused (tracepoint `sock_exceed_buf_limit`).
//!
//! Both functions are called again and again: one for each charge above tcp_mem's pressure, the other
//! for each below its low; the first of a series turns the flag. The programs run before it does, so
//! several CPUs can find it unturned: the map [`PRESSURE`] lets one of them count.
//!
//! A run that the kernel skips (`recursion_misses`) is likeliest where charges are small and many.
//! After one that would have told the end, the next charge below low tells it: between low and
//! pressure there are too many for a beginning to come first.

use aya_ebpf::macros::{btf_tracepoint, fentry, kprobe};
use aya_ebpf::programs::{BtfTracePointContext, FEntryContext, ProbeContext};
use core::ffi::c_void;
use tracer_common::abi::GROUP_OUTSIDE;
use tracer_common::counters::{Counter, HostCounter};

use crate::emit::{self, emit_pressure};
use crate::maps::PRESSURE;
use crate::sock::Sock;
use crate::totals::{NOEXIST, Totals, count_host};
use crate::track;

const IPPROTO_TCP: u16 = 6;

#[fentry(function = "tcp_enter_memory_pressure")]
fn sf_pressure_enter(ctx: FEntryContext) -> i32 {
    enters(Sock::new(ctx.arg::<*const c_void>(0)));
    0
}

#[kprobe(function = "tcp_enter_memory_pressure")]
fn sf_pressure_enter_kprobe(ctx: ProbeContext) -> u32 {
    if let Some(sk) = ctx.arg::<*const c_void>(0) {
        enters(Sock::new(sk));
    }
    0
}

#[fentry(function = "tcp_leave_memory_pressure")]
fn sf_pressure_leave(_: FEntryContext) -> i32 {
    leaves();
    0
}

#[kprobe(function = "tcp_leave_memory_pressure")]
fn sf_pressure_leave_kprobe(_: ProbeContext) -> u32 {
    leaves();
    0
}

#[inline(always)]
fn enters(sock: Sock) {
    // The map first: it costs less than to follow pointers to the flag. That is set without an entry
    // where the pressure is from before tracing.
    if PRESSURE.get_ptr(0).is_none()
        && !sock.under_pressure()
        && PRESSURE.insert(0, 1, NOEXIST).is_ok()
    {
        count_host(HostCounter::PressureBegun);
        tell(true);
    }
}

/// Whatever the flag was, the function leaves it unset.
#[inline(always)]
fn leaves() {
    if PRESSURE.get_ptr(0).is_some() && PRESSURE.remove(0).is_ok() {
        count_host(HostCounter::PressureEnded);
        tell(false);
    }
}

#[inline(always)]
fn tell(began: bool) {
    if emit::all() {
        emit_pressure(began);
    }
}

/// Memory refused to a socket, for tcp_mem or for its memory cgroup.
#[btf_tracepoint(function = "sock_exceed_buf_limit")]
fn sf_refused(ctx: BtfTracePointContext) -> i32 {
    let sock = Sock::new(ctx.arg::<*const c_void>(0));
    if sock.protocol() == IPPROTO_TCP
        && let Some((_, record)) = track::find_sock(sock, sock.cookie())
        && record.group != GROUP_OUTSIDE
        && let Some(totals) = Totals::of(record.group)
    {
        totals.count(Counter::MemoryRefused);
    }
    0
}
