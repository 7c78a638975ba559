//! Detail events: reserve, fill, submit. They may be lost; nothing exact depends on them.
//!
//! No event wakes the reader: a wake-up costs thousands of nanoseconds in a virtual machine, the
//! record itself about sixty. User space drains on a timer.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use tracer_common::abi::{EventKind, EventRecord, GROUP_OUTSIDE, MiniRecord, SockRecord};
use tracer_common::config::{DETAIL_ALL, DETAIL_ENDS, DETAIL_ORPHANS};
use tracer_common::counters::{Loss, MiniEnd, OrphanEnd};

use crate::config::config;
use crate::maps::EVENTS;
use crate::mini::Mini;
use crate::sock::Sock;
use crate::totals::lose;

/// `BPF_RB_NO_WAKEUP`.
const NO_WAKEUP: u64 = 1;

/// Whether every event is wanted.
#[inline(always)]
pub(crate) fn all() -> bool {
    config!(detail) == DETAIL_ALL
}

/// Whether the begin and end of orphans is wanted.
#[inline(always)]
pub(crate) fn orphans() -> bool {
    config!(detail) >= DETAIL_ORPHANS
}

/// Whether the end of an orphan is wanted.
#[inline(always)]
pub(crate) fn orphan_end(end: OrphanEnd) -> bool {
    orphans()
        || (config!(detail) == DETAIL_ENDS
            && !matches!(end, OrphanEnd::Acked | OrphanEnd::TimeWait))
}

/// Now, ns, if every event is wanted; 0 otherwise (the clock costs as much as the record). All that
/// one change of state has to tell is told with this one time.
#[inline(always)]
pub(crate) fn event_time() -> u64 {
    if all() { now() } else { 0 }
}

/// The time of the change, from [`event_time`] if that asked the clock.
#[inline(always)]
pub(crate) fn time(event_time: u64) -> u64 {
    if all() { event_time } else { now() }
}

/// Now, ns of `CLOCK_MONOTONIC`.
#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: no arguments.
    unsafe { bpf_ktime_get_ns() }
}

/// Puts one event on the ring buffer. `event_time`: as [`time`] takes it.
#[inline(always)]
#[expect(
    clippy::too_many_arguments,
    reason = "always inlined; a struct would be made on the stack"
)]
pub(crate) fn emit(
    event_time: u64,
    kind: EventKind,
    sock: Sock,
    id: u64,
    record: &SockRecord,
    old: u8,
    new: u8,
    reason: u8,
) {
    emit_detailed(event_time, kind, sock, id, record, old, new, reason, 0, 0);
}

/// [`emit`], with what only the end of an orphan has.
#[inline(always)]
#[expect(
    clippy::too_many_arguments,
    reason = "always inlined; a struct would be made on the stack"
)]
pub(crate) fn emit_detailed(
    event_time: u64,
    kind: EventKind,
    sock: Sock,
    id: u64,
    record: &SockRecord,
    old: u8,
    new: u8,
    reason: u8,
    detail: u8,
    waits: u16,
) {
    let Some(mut entry) = EVENTS.reserve::<EventRecord>(0) else {
        lose(Loss::Detail);
        return;
    };
    // Field by field into the ring: up to 6.12 a program's stack, with all it calls, is 512 bytes,
    // and a record made there would be there once for every event the program can tell.
    let event = entry.as_mut_ptr();
    // SAFETY: reserved for one record; every byte of it is written, here or in `describe`.
    unsafe {
        (*event).ts_ns = time(event_time);
        (*event).born_ns = record.born_ns;
        (*event).cookie = id;
        (*event).group = record.group;
        (*event).kind = kind as u8;
        (*event).old = old;
        (*event).new = new;
        (*event).reason = reason;
        (*event).detail = detail;
        (*event).waits = waits;
        (*event).tgid = 0;
        (*event).netns = record.netns;
        sock.describe(event);
    }
    entry.submit(NO_WAKEUP);
}

/// Puts the end of a minisocket on the ring buffer.
#[inline(always)]
pub(crate) fn emit_mini_end(mini: Mini, id: u64, record: &MiniRecord, end: MiniEnd) {
    let Some(mut entry) = EVENTS.reserve::<EventRecord>(0) else {
        lose(Loss::Detail);
        return;
    };
    let event = entry.as_mut_ptr();
    // SAFETY: reserved for one record; every byte of it is written, here or in `describe`.
    unsafe {
        (*event).ts_ns = now();
        (*event).born_ns = record.born_ns;
        (*event).cookie = id;
        (*event).group = record.group;
        (*event).netns = record.netns;
        (*event).kind = EventKind::TimeWaitEnd as u8;
        (*event).old = 0;
        (*event).new = record.substate;
        (*event).reason = end as u8;
        (*event).detail = 0;
        (*event).waits = 0;
        (*event).tgid = record.tgid;
        mini.describe(event);
    }
    entry.submit(NO_WAKEUP);
}

/// Puts a change of the memory pressure on the ring buffer; it is of no socket.
#[inline(always)]
pub(crate) fn emit_pressure(began: bool) {
    let Some(mut entry) = EVENTS.reserve::<EventRecord>(0) else {
        lose(Loss::Detail);
        return;
    };
    let event = entry.as_mut_ptr();
    // SAFETY: reserved for one record; all of it is written.
    unsafe {
        let mut word = 0;
        while word < size_of::<EventRecord>() / 8 {
            event.cast::<u64>().add(word).write(0);
            word += 1;
        }
        (*event).ts_ns = now();
        (*event).family = 4;
        (*event).group = GROUP_OUTSIDE;
        (*event).kind = EventKind::Pressure as u8;
        (*event).reason = u8::from(began);
    }
    entry.submit(NO_WAKEUP);
}
