//! Time as data: the core never reads a clock.
//!
//! Events carry [`Monotonic`] nanoseconds (the kernel's `CLOCK_MONOTONIC`, what
//! `bpf_ktime_get_ns` returns); a [`ClockAnchor`] taken once at the start turns them into
//! [`Wall`] time, so a step of the wall clock cannot make time run backwards.

use jiff::tz::AmbiguousOffset;
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

    /// As [`Wall::clock`]; `02:30:00 +01:00` where a clock that is set back shows this time twice.
    #[must_use]
    pub fn distinct_clock(self, zone: &jiff::tz::TimeZone) -> String {
        self.with_offset_if_twice(self.clock(zone), zone)
    }

    /// As [`Wall::clock_micros`]; with the offset where a clock that is set back shows this time twice.
    #[must_use]
    pub fn distinct_clock_micros(self, zone: &jiff::tz::TimeZone) -> String {
        self.with_offset_if_twice(self.clock_micros(zone), zone)
    }

    fn with_offset_if_twice(self, clock: String, zone: &jiff::tz::TimeZone) -> String {
        let civil = self.timestamp().to_zoned(zone.clone()).datetime();
        match zone.to_ambiguous_timestamp(civil).offset() {
            AmbiguousOffset::Fold { .. } => format!("{clock} {}", self.offset(zone)),
            _ => clock,
        }
    }

    /// `+08:00`, the offset from UTC that the zone has at this time.
    #[must_use]
    pub fn offset(self, zone: &jiff::tz::TimeZone) -> String {
        self.timestamp().to_zoned(zone.clone()).strftime("%:z").to_string()
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

/// Times as a clock shows them; with their offsets from UTC where those differ. Without them the hour
/// that a clock shows twice when it is set back would be one.
#[must_use]
pub fn clocks<const N: usize>(times: [Wall; N], zone: &jiff::tz::TimeZone) -> [String; N] {
    let offsets = times.map(|at| at.offset(zone));
    let differ = offsets.windows(2).any(|pair| pair[0] != pair[1]);
    std::array::from_fn(|at| {
        let clock = times[at].clock(zone);
        if differ { format!("{clock} {}", offsets[at]) } else { clock }
    })
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
        let wall = i128::from(self.wall.0) + delta;
        // Saturates at both ends.
        Wall(i64::try_from(wall).unwrap_or(if wall < 0 { i64::MIN } else { i64::MAX }))
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
    fn the_hour_that_comes_twice_is_told_apart() {
        // 2026-10-25, 01:00 UTC: Berlin goes from 03:00 +02:00 to 02:00 +01:00.
        let berlin = jiff::tz::TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let change = 1_792_890_000_000_000_000;
        let [before, after] = clocks([Wall(change - 1), Wall(change + 1)], &berlin);
        assert_eq!((before.as_str(), after.as_str()), ("02:59:59 +02:00", "02:00:00 +01:00"));
        let both = clocks([Wall(change), Wall(change + 1_000_000_000)], &berlin);
        assert_eq!(both, ["02:00:00", "02:00:01"]);
        let hour = 3_600_000_000_000;
        for (at, shown) in [
            (change - hour - 1, "01:59:59"),
            (change - hour, "02:00:00 +02:00"),
            (change - 1, "02:59:59 +02:00"),
            (change, "02:00:00 +01:00"),
            (change + hour - 1, "02:59:59 +01:00"),
            (change + hour, "03:00:00"),
        ] {
            assert_eq!(Wall(at).distinct_clock(&berlin), shown);
        }
    }

    #[test]
    fn wall_time_is_utc_with_milliseconds() {
        assert_eq!(Wall(1_795_365_730_000_000_000).rfc3339(), "2026-11-22T16:42:10.000Z");
    }
}
