//! Detail events: reserve, fill, submit. They may be lost; nothing exact depends on them.
//!
//! No event wakes the reader: a wake-up costs thousands of nanoseconds in a virtual machine, the
//! record itself about sixty. User space drains on a timer.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use tracer_common::abi::{EventKind, EventRecord, SockRecord};
use tracer_common::config::{DETAIL_ALL, DETAIL_ENDS, DETAIL_ORPHANS};
use tracer_common::counters::{Loss, OrphanEnd};

use crate::config::config;
use crate::maps::EVENTS;
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
        (*event).pad = [0; 7];
        sock.describe(event);
    }
    entry.submit(NO_WAKEUP);
}
