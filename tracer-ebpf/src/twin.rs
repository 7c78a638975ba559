//! Runs that the kernel skips, made up for.
//!
//! A program that is interrupted is not run a second time on its CPU (`bpf_prog_enter`,
//! `kernel/bpf/trampoline.c`; `__bpf_trace_run`, `kernel/trace/bpf_trace.c`): a softirq that changes
//! sockets while a process does would go unseen. So each program whose every run counts has a twin on
//! the same hook, attached after it, which finds its mark standing: somebody is in the midst of it,
//! so it was skipped, and the twin does its work. Between a mark and the kernel's own there are a
//! few instructions, and a twin can be skipped as well: what neither did is `lost.missed`.

use core::ptr;

use tracer_common::counters::Loss;

use crate::maps::RUNNING;
use crate::totals::lose;

/// A program that has a twin: index into `RUNNING`.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum Program {
    State,
    Destroy,
}

/// Does the work, marked on this CPU for as long as it takes.
#[inline(always)]
pub(crate) fn first(program: Program, work: impl FnOnce()) {
    mark(program, 1);
    work();
    mark(program, 0);
}

/// Does the work if the first one was skipped.
#[inline(always)]
pub(crate) fn second(program: Program, work: impl FnOnce()) {
    let Some(running) = RUNNING.get_ptr(program as u32) else {
        return;
    };
    // SAFETY: an aligned word from the map, read as a whole.
    if unsafe { ptr::read_volatile(running) } != 0 {
        lose(Loss::Caught);
        work();
    }
}

#[inline(always)]
fn mark(program: Program, running: u32) {
    if let Some(word) = RUNNING.get_ptr_mut(program as u32) {
        // SAFETY: an aligned word from the map; only this CPU's programs touch it, and those that
        // interrupt one another leave it as they found it.
        unsafe { ptr::write_volatile(word, running) };
    }
}
