//! What sockflow's programs are measured against: the least that any tool must pay on
//! `inet_sock_set_state`. Built and loaded by `cargo xtask bench` only.
//!
//! * `floor_empty`: being called;
//! * `floor_count`: counting by port and state in a per-CPU hash, what a one-liner does;
//! * `floor_follow`: that, and an entry for each socket from its first change to its end: without one
//!   nothing is known of who a socket belongs to, or how long it has been what it is;
//! * `floor_storage`: the entry in the kernel's socket storage instead of a hash;
//! * `floor_slot`: the entry in an array, at the low bits of the socket's cookie, whoever else has them:
//!   less than a tool that is right can do;
//! * `floor_record`: an entry in a hash, and a record of 32 bytes on a ring.
#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "reads the kernel's memory, through its helpers")]
#![allow(clippy::needless_pass_by_value, reason = "aya's macros hand the context over by value")]

use core::ffi::c_void;
use core::ptr::{self, read_volatile};

use aya_ebpf::bindings::BPF_SK_STORAGE_GET_F_CREATE;
use aya_ebpf::btf_maps::SkStorage;
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::helpers::generated::{bpf_get_socket_cookie, bpf_sk_storage_get};
use aya_ebpf::macros::{btf_map, btf_tracepoint, map};
use aya_ebpf::maps::{Array, HashMap, PerCpuHashMap, RingBuf};
use aya_ebpf::programs::BtfTracePointContext;
use tracer_common::config::sock_common as at;

/// How often a port was seen in a state.
#[map]
static COUNTS: PerCpuHashMap<u32, u64> = PerCpuHashMap::with_max_entries(65_536, 0);

/// When each socket was last seen.
#[map]
static SEEN: HashMap<u64, u64> = HashMap::with_max_entries(262_144, 0);

/// The same, kept by the kernel with the socket.
#[btf_map]
static STORED: SkStorage<u64> = SkStorage::new();

const SLOTS_LEN: u32 = 262_144;

/// The same, with the cookie of the socket that was seen.
#[map]
static SLOTS: Array<Slot> = Array::with_max_entries(SLOTS_LEN, 0);

#[repr(C)]
struct Slot {
    cookie: u64,
    at_ns: u64,
}

/// Records nobody reads: it is as large as a run needs.
#[map]
static RECORDS: RingBuf = RingBuf::with_byte_size(128 << 20, 0);

#[repr(C)]
struct Record {
    at_ns: u64,
    sk: u64,
    ports: u32,
    states: u32,
    count: u64,
}

const CLOSE: i32 = 7;
const NO_WAKEUP: u64 = 1;

#[btf_tracepoint(function = "inet_sock_set_state")]
fn floor_empty(_ctx: BtfTracePointContext) -> i32 {
    0
}

#[btf_tracepoint(function = "inet_sock_set_state")]
fn floor_count(ctx: BtfTracePointContext) -> i32 {
    count(ctx.arg(0), ctx.arg(2));
    0
}

#[btf_tracepoint(function = "inet_sock_set_state")]
fn floor_follow(ctx: BtfTracePointContext) -> i32 {
    let (sk, new) = (ctx.arg(0), ctx.arg(2));
    count(sk, new);
    follow(sk, new);
    0
}

#[btf_tracepoint(function = "inet_sock_set_state")]
fn floor_storage(ctx: BtfTracePointContext) -> i32 {
    let sk = ctx.arg(0);
    count(sk, ctx.arg(2));
    let (map, at_ns) = ((&raw const STORED).cast_mut().cast(), now());
    let create = u64::from(BPF_SK_STORAGE_GET_F_CREATE);
    // SAFETY: the typed argument of a tracing program, and a map of such entries; the verifier checks both.
    let stored = unsafe { bpf_sk_storage_get(map, sk.cast_mut(), ptr::null_mut(), create) };
    if !stored.is_null() {
        // SAFETY: an aligned word of the map.
        unsafe { *stored.cast::<u64>() = at_ns };
    }
    0
}

#[btf_tracepoint(function = "inet_sock_set_state")]
fn floor_slot(ctx: BtfTracePointContext) -> i32 {
    let (sk, new): (*const c_void, i32) = (ctx.arg(0), ctx.arg(2));
    count(sk, new);
    let at_ns = now();
    // SAFETY: the typed argument of a tracing program; the verifier checks offset and width.
    let mut cookie: u64 = unsafe { read_volatile(sk.cast::<u8>().add(at::COOKIE).cast()) };
    if cookie == 0 {
        // SAFETY: the helper takes such an argument.
        cookie = unsafe { bpf_get_socket_cookie(sk.cast_mut()) };
    }
    if let Some(slot) = SLOTS.get_ptr_mut(cookie as u32 & (SLOTS_LEN - 1)) {
        let cookie = if new == CLOSE { 0 } else { cookie };
        // SAFETY: aligned words of the map.
        unsafe { *slot = Slot { cookie, at_ns } };
    }
    0
}

#[btf_tracepoint(function = "inet_sock_set_state")]
fn floor_record(ctx: BtfTracePointContext) -> i32 {
    let sk: *const c_void = ctx.arg(0);
    let (old, new): (i32, i32) = (ctx.arg(1), ctx.arg(2));
    let (ports, count) = count(sk, new);
    let at_ns = follow(sk, new);
    if let Some(mut entry) = RECORDS.reserve::<Record>(0) {
        let record = entry.as_mut_ptr();
        // SAFETY: reserved for one record; every field of it is written.
        unsafe {
            (*record).at_ns = at_ns;
            (*record).sk = sk as u64;
            (*record).ports = ports;
            (*record).states = (old as u32) << 16 | new as u32;
            (*record).count = count;
        }
        entry.submit(NO_WAKEUP);
    }
    0
}

/// Counts, and gives the key and the count.
#[inline(always)]
fn count(sk: *const c_void, new: i32) -> (u32, u64) {
    // SAFETY: the typed argument of a tracing program; the verifier checks offset and width.
    let port: u16 = unsafe { read_volatile(sk.cast::<u8>().add(at::NUM).cast()) };
    let key = u32::from(port) << 16 | new as u32;
    if let Some(count) = COUNTS.get_ptr_mut(key) {
        // SAFETY: an aligned word of this CPU.
        unsafe {
            *count += 1;
            return (key, *count);
        }
    }
    let _ = COUNTS.insert(key, 1, 0);
    (key, 1)
}

/// Keeps when a socket was last seen, and gives when that is.
#[inline(always)]
fn follow(sk: *const c_void, new: i32) -> u64 {
    let (key, at_ns) = (sk as u64, now());
    if new == CLOSE {
        let _ = SEEN.remove(key);
    } else if let Some(seen) = SEEN.get_ptr_mut(key) {
        // SAFETY: an aligned word of the map.
        unsafe { *seen = at_ns };
    } else {
        let _ = SEEN.insert(key, at_ns, 0);
    }
    at_ns
}

#[inline(always)]
fn now() -> u64 {
    // SAFETY: no arguments.
    unsafe { bpf_ktime_get_ns() }
}

/// The verifier proves that nothing panics; this is never reached.
#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// `bpf_ktime_get_ns` is for GPL programs only; the kernel takes a dual licence for one.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
