//! The exact counters.
//!
//! A program may be interrupted by another one on its CPU (softirq), and on hosts with many CPUs
//! several share a shard of the counters: every word is added to atomically.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use aya_ebpf::helpers::generated::bpf_get_smp_processor_id;
use tracer_common::abi::{GROUP_OTHER, HistogramKey, place_of_group};
use tracer_common::counters::{
    Counter, GroupCounters, HostCounter, Loss, MiniCounter, MiniCounters, OrphanEnd, orphans_in,
};
use tracer_common::histogram::bucket_of;

use crate::config::config;
use crate::maps::{FIN_WAIT1_TIMES, HOST, LOSSES, MINI_TOTALS, RESET_REASONS, TOTALS};

/// One group's counters, in this CPU's shard.
#[derive(Clone, Copy)]
pub(crate) struct Totals(*mut GroupCounters);

impl Totals {
    /// The counters of the group with this index.
    #[inline(always)]
    pub(crate) fn of(group: u32) -> Option<Self> {
        // SAFETY: no arguments.
        let cpu = unsafe { bpf_get_smp_processor_id() };
        let place = place_of_group(group, cpu, config!(last_shard));
        TOTALS.get_ptr_mut(place).or_else(|| TOTALS.get_ptr_mut(GROUP_OTHER)).map(Self)
    }

    #[inline(always)]
    fn add_at(self, word: usize, value: u64) {
        // SAFETY: the pointer comes from the map and every caller's word is below GROUP_WORDS
        // (the verifier checks it again); aligned 64-bit words, only ever added to atomically.
        unsafe {
            let word = (&raw mut (*self.0).words).cast::<u64>().add(word);
            add(word, value);
        }
    }

    /// Counts one.
    #[inline(always)]
    pub(crate) fn count(self, counter: Counter) {
        self.add_at(counter as usize, 1);
    }

    /// One less in a population.
    #[inline(always)]
    pub(crate) fn uncount(self, counter: Counter) {
        self.add_at(counter as usize, u64::MAX);
    }

    /// A connection comes here from another group; `word` is its [`moved_word`].
    ///
    /// [`moved_word`]: tracer_common::counters::moved_word
    #[inline(always)]
    pub(crate) fn takes(self, word: u64) {
        self.add_at(Counter::Moved as usize, word);
    }

    /// A connection goes to another group.
    #[inline(always)]
    pub(crate) fn gives(self, word: u64) {
        self.add_at(Counter::Moved as usize, 0_u64.wrapping_sub(word));
    }

    /// A socket enters a state.
    #[inline(always)]
    pub(crate) fn enter(self, state: u8) {
        self.add_at(bounded(state), 1);
    }

    /// A socket leaves a state.
    #[inline(always)]
    pub(crate) fn leave(self, state: u8) {
        self.add_at(bounded(state), u64::MAX);
    }

    /// An orphan enters a state.
    #[inline(always)]
    pub(crate) fn orphan_enters(self, state: u8) {
        if let Some(word) = orphans_in(bounded(state) as u8) {
            self.add_at(word, 1);
        }
    }

    /// An orphan leaves a state.
    #[inline(always)]
    pub(crate) fn orphan_leaves(self, state: u8) {
        if let Some(word) = orphans_in(bounded(state) as u8) {
            self.add_at(word, u64::MAX);
        }
    }

    /// An orphan ended.
    #[inline(always)]
    pub(crate) fn orphan_ended(self, end: OrphanEnd) {
        self.uncount(Counter::Orphans);
        self.add_at(Counter::OrphanEnds as usize + usize::from(end as u8 & 7), 1);
    }

    /// A socket left FIN_WAIT1 after `ns`.
    #[inline(always)]
    pub(crate) fn fin_wait1_took(self, port: u16, direction: u8, ns: u64) {
        // SAFETY: as in `add_at`. A lower one written in between, by an interrupt or by another CPU of
        // the shard, is seen by looking again.
        unsafe {
            let max = &raw mut (*self.0).words[Counter::FinWait1MaxNs as usize];
            if max.read_volatile() < ns {
                max.write_volatile(ns);
                if max.read_volatile() < ns {
                    max.write_volatile(ns);
                }
            }
        }
        sf_fin_wait1_took(u32::from(port), u32::from(direction), ns);
    }
}

/// A global function, which the verifier walks once and by itself.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn sf_fin_wait1_took(port: u32, direction: u32, ns: u64) -> u32 {
    let (port, direction) = (port as u16, direction as u8);
    let key = HistogramKey { port, direction, pad: 0, bucket: bucket_of(ns) };
    if let Some(count) = FIN_WAIT1_TIMES.get_ptr_mut(key) {
        // SAFETY: an aligned word from the map, only ever added to atomically.
        unsafe { add(count, 1) };
    } else if FIN_WAIT1_TIMES.insert(key, 1, NOEXIST).is_err() {
        lose(Loss::Histogram);
    }
    0
}

/// The minisocket counters of one service on this CPU.
#[derive(Clone, Copy)]
pub(crate) struct MiniTotals(*mut MiniCounters);

impl MiniTotals {
    /// Those of a service, made if it is new; `None` without room.
    #[inline(always)]
    pub(crate) fn of(port: u16, direction: u8) -> Option<Self> {
        let key = HistogramKey { port, direction, pad: 0, bucket: 0 };
        if let Some(found) = MINI_TOTALS.get_ptr_mut(key) {
            return Some(Self(found));
        }
        make_mini_totals(&key);
        MINI_TOTALS.get_ptr_mut(key).map(Self)
    }

    #[inline(always)]
    fn add_at(self, word: usize, value: u64) {
        // SAFETY: as in `Totals::add_at`.
        unsafe {
            let word = (&raw mut (*self.0).words).cast::<u64>().add(word);
            add(word, value);
        }
    }

    /// Counts one.
    #[inline(always)]
    pub(crate) fn count(self, counter: MiniCounter) {
        self.add_at(counter as usize, 1);
    }

    /// One less in a population.
    #[inline(always)]
    pub(crate) fn uncount(self, counter: MiniCounter) {
        self.add_at(counter as usize, u64::MAX);
    }

    /// A minisocket ended: `end` is a `tracer_common::counters::MiniEnd`.
    #[inline(always)]
    pub(crate) fn ended(self, end: u8) {
        self.add_at(MiniCounter::Ends as usize + usize::from(end & 3), 1);
    }
}

/// A function of its own: rare, and its stack would be added to its callers'.
#[inline(never)]
fn make_mini_totals(key: &HistogramKey) {
    let _ = MINI_TOTALS.insert(key, MiniCounters::default(), NOEXIST);
}

/// A RST was sent, for the kernel's reason number `reason`.
#[inline(always)]
pub(crate) fn reset_sent(port: u16, direction: u8, reason: u32) {
    let key = HistogramKey { port, direction, pad: 0, bucket: reason };
    if let Some(count) = RESET_REASONS.get_ptr_mut(key) {
        // SAFETY: an aligned word from the map, only ever added to atomically.
        unsafe { add(count, 1) };
    } else if RESET_REASONS.insert(key, 1, NOEXIST).is_err() {
        lose(Loss::Reasons);
    }
}

/// Counts one for the whole host.
#[inline(always)]
pub(crate) fn count_host(counter: HostCounter) {
    if let Some(count) = HOST.get_ptr_mut(counter as u32) {
        // SAFETY: an aligned word from the map, only ever added to atomically.
        unsafe { add(count, 1) };
    }
}

/// Adds atomically: one `lock add`. (`AtomicU64` has no `fetch_add` on this target, because not
/// every atomic exists on the kernels it stands for; this one does on all.)
///
/// # Safety
///
/// `word` is valid and aligned.
#[inline(always)]
unsafe fn add(word: *mut u64, value: u64) {
    // SAFETY: as promised by the caller.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(word, value) };
}

/// A state's word, with a bound that the verifier can see. The compiler knows the range of
/// `TcpState` and would drop the mask, so it must not know where the number comes from.
#[inline(always)]
fn bounded(state: u8) -> usize {
    // SAFETY: a local variable.
    usize::from(unsafe { core::ptr::read_volatile(&raw const state) } & 15)
}

/// `BPF_NOEXIST`: insert only what is not there.
pub(crate) const NOEXIST: u64 = 1;

/// Counts a loss.
#[inline(always)]
pub(crate) fn lose(loss: Loss) {
    if let Some(count) = LOSSES.get_ptr_mut(loss as u32) {
        // SAFETY: an aligned word from the map, only ever added to atomically.
        unsafe { add(count, 1) };
    }
}
