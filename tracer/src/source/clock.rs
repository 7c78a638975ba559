//! The host's clocks.
//!
//! Programs in the kernel know no time namespace; what a process reads of `CLOCK_MONOTONIC`, and of
//! times in `/proc/PID/stat`, is moved by its own (time_namespaces(7)). Here that is taken back.

use std::fs;
use std::sync::OnceLock;

use rustix::time::{ClockId, clock_gettime};

use crate::time::{ClockAnchor, Monotonic, Wall};

const SECOND_NS: i64 = 1_000_000_000;

/// By how much our time namespace moves clocks, nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Offsets {
    monotonic_ns: i64,
    boottime_ns: i64,
}

/// Now, on the clock of the events.
#[must_use]
pub fn now() -> Monotonic {
    let moved = nanoseconds(ClockId::Monotonic).saturating_sub(offsets().monotonic_ns);
    Monotonic(u64::try_from(moved).unwrap_or_default())
}

/// Both clocks now.
#[must_use]
pub fn anchor() -> ClockAnchor {
    ClockAnchor { monotonic: now(), wall: Wall(nanoseconds(ClockId::Realtime)) }
}

/// The host's clock ticks since boot, of those that `/proc/PID/stat` shows us.
pub(super) fn host_ticks(shown: u64) -> u64 {
    let tick_ns = SECOND_NS / i64::try_from(rustix::param::clock_ticks_per_second()).unwrap_or(100);
    shown.saturating_add_signed(-(offsets().boottime_ns / tick_ns.max(1)))
}

fn nanoseconds(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec.saturating_mul(SECOND_NS).saturating_add(time.tv_nsec)
}

/// They can only be set before a namespace has a process.
fn offsets() -> Offsets {
    static OFFSETS: OnceLock<Offsets> = OnceLock::new();
    *OFFSETS.get_or_init(|| {
        let link = |name: &str| fs::read_link(format!("/proc/self/ns/{name}")).ok();
        // The file is about the namespace of children. Where that is another than ours, ours is
        // the host's in all likelihood: one of its own gets no children elsewhere.
        if link("time") != link("time_for_children") {
            return Offsets::default();
        }
        // Before 5.6 there is no such file, and no time namespace.
        parse(&fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default())
    })
}

/// Reads `/proc/PID/timens_offsets` (`proc_timens_show_offsets`, kernel/time/namespace.c): a line a
/// clock, with seconds and nanoseconds.
fn parse(text: &str) -> Offsets {
    let of = |clock: &str| {
        text.lines().find_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let name = words.next()?;
            let (seconds, ns): (i64, i64) =
                (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            (name == clock).then(|| seconds.saturating_mul(SECOND_NS).saturating_add(ns))
        })
    };
    Offsets { monotonic_ns: of("monotonic").unwrap_or(0), boottime_ns: of("boottime").unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_read_by_name() {
        let text = "monotonic       86400         5\nboottime      -100  0\n";
        let expected =
            Offsets { monotonic_ns: 86_400 * SECOND_NS + 5, boottime_ns: -100 * SECOND_NS };
        assert_eq!(parse(text), expected);
        assert_eq!(parse(""), Offsets::default());
        assert_eq!(parse("monotonic x y\n"), Offsets::default());
    }
}
