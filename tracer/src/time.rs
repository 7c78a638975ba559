//! Time as data: the core never reads a clock.
//!
//! Events carry [`Monotonic`] nanoseconds (the kernel's `CLOCK_MONOTONIC`, what
//! `bpf_ktime_get_ns` returns); a [`ClockAnchor`] taken once at the start turns them into
//! [`Wall`] time, so a step of the wall clock cannot make time run backwards.

use serde::{Serialize, Serializer};

/// Nanoseconds of `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Monotonic(pub u64);

impl Monotonic {
    /// Seconds from `earlier` to here; 0 if it is later.
    #[must_use]
    pub fn seconds_since(self, earlier: Self) -> f64 {
        self.0.saturating_sub(earlier.0) as f64 / 1e9
    }
}

/// Nanoseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wall(pub i64);

impl Wall {
    /// RFC 3339 in UTC with milliseconds: `2026-11-22T16:42:10.000Z`.
    #[must_use]
    pub fn rfc3339(self) -> String {
        self.timestamp().strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
    }

    /// `16:42:10` in the zone given (a screen shows the reader's).
    #[must_use]
    pub fn clock(self, zone: &jiff::tz::TimeZone) -> String {
        self.timestamp().to_zoned(zone.clone()).strftime("%H:%M:%S").to_string()
    }

    /// `16:42:10.123456` in the zone given.
    #[must_use]
    pub fn clock_micros(self, zone: &jiff::tz::TimeZone) -> String {
        self.timestamp().to_zoned(zone.clone()).strftime("%H:%M:%S.%6f").to_string()
    }

    fn timestamp(self) -> jiff::Timestamp {
        jiff::Timestamp::from_nanosecond(i128::from(self.0)).unwrap_or_default()
    }
}

impl Serialize for Wall {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.rfc3339())
    }
}

/// One moment on both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockAnchor {
    /// The moment on the monotonic clock.
    pub monotonic: Monotonic,
    /// The same moment on the wall clock.
    pub wall: Wall,
}

impl ClockAnchor {
    /// The wall time of a monotonic moment.
    #[must_use]
    pub fn wall(self, at: Monotonic) -> Wall {
        let delta = i128::from(at.0) - i128::from(self.monotonic.0);
        Wall(i64::try_from(i128::from(self.wall.0) + delta).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchor_maps_both_ways_around_it() {
        let anchor = ClockAnchor { monotonic: Monotonic(5_000), wall: Wall(1_000_000) };
        assert_eq!(anchor.wall(Monotonic(6_000)), Wall(1_001_000));
        assert_eq!(anchor.wall(Monotonic(4_000)), Wall(999_000));
    }

    #[test]
    fn wall_time_is_utc_with_milliseconds() {
        assert_eq!(Wall(1_795_365_730_000_000_000).rfc3339(), "2026-11-22T16:42:10.000Z");
    }
}
