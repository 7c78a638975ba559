//! sockflow's kernel side: programs that count every TCP socket's way into FIN_WAIT, TIME_WAIT
//! and orphanhood.
//!
//! One file a signal in [`probes`]; each holds the thin entry points, one per way to attach, and
//! the one handler they share. Everything they touch:
//!
//! * [`maps`]: what is written, by whom, and what happens when it is full;
//! * [`config`]: the constants from user space (filter, offsets, detail);
//! * [`sock`], [`mini`], [`task`]: the only readers of kernel memory;
//! * [`track`]: the record of a socket; [`group`]: which counters it belongs to;
//! * [`totals`]: the exact counters; [`emit`]: detail events, which may be lost;
//! * [`filter`]: which sockets are let through;
//! * [`twin`]: runs that the kernel skips, made up for.
#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "reads the kernel's memory, through its helpers")]
#![allow(clippy::needless_pass_by_value, reason = "aya's macros hand the context over by value")]
#![feature(core_intrinsics)]
#![expect(internal_features, reason = "atomic_xadd; see totals.rs")]

mod config;
mod emit;
mod filter;
mod group;
mod maps;
mod mini;
mod probes;
mod sock;
mod task;
mod totals;
mod track;
mod twin;

/// The verifier proves that nothing panics; this is never reached.
#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// Helpers such as `bpf_probe_read_kernel` and `bpf_ktime_get_ns` are for GPL programs only; the
/// kernel takes a dual licence for one.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
