//! The FIN_WAIT1 times as a classic histogram.
//!
//! The kernel side counts them in buckets an eighth of a power of two wide. A series for each would be
//! many, so they are summed up between powers of two. Those are ends of the kernel side's buckets too,
//! so nothing is estimated: a count is exact for its `le`.

use tracer_common::histogram::bucket_of;

/// The powers of two, ns, at which one bucket ends and the next begins: from 16 us on, each from 1 ms
/// to 137 s (peers answer within milliseconds; the kernel gives silent ones up after minutes).
const POWERS: [u32; 22] =
    [14, 16, 18, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 39];

/// Buckets; the last has no upper end.
pub const BUCKETS: usize = POWERS.len() + 1;

/// How many times fell into each bucket, and into it alone.
pub type Times = [u64; BUCKETS];

/// Sums up the kernel side's buckets.
#[must_use]
pub fn times(buckets: &[(u32, u64)]) -> Times {
    let mut times = [0_u64; BUCKETS];
    for (bucket, count) in buckets {
        let at = POWERS.partition_point(|power| bucket_of(1 << *power) <= *bucket);
        times[at] = times[at].saturating_add(*count);
    }
    times
}

/// Upper ends, seconds, and counts. The upper end belongs to the bucket, so it is the nanosecond
/// before the power of two.
pub fn with_ends(times: &Times) -> impl Iterator<Item = (f64, u64)> {
    let ends = POWERS.iter().map(|power| ((1_u64 << power) - 1) as f64 / 1e9);
    ends.chain([f64::INFINITY]).zip(times.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn a_time_is_in_the_first_bucket_that_ends_at_or_after_it(ns in 0_u64..1 << 42) {
            let counted = times(&[(bucket_of(ns), 3)]);
            let s = ns as f64 / 1e9;
            let expected = with_ends(&counted).position(|(end, _)| s <= end);
            let found = counted.iter().position(|count| *count > 0);
            proptest::prop_assert_eq!(found, expected, "{} ns", ns);
            proptest::prop_assert_eq!(counted.iter().sum::<u64>(), 3);
        }
    }

    #[test]
    fn ends_are_in_seconds_and_ascend() {
        let ends: Vec<f64> = with_ends(&[0; BUCKETS]).map(|(end, _)| end).collect();
        assert!(ends.is_sorted() && ends.last() == Some(&f64::INFINITY), "{ends:?}");
        assert!((ends[0] - 16.383e-6).abs() < 1e-12 && (ends[3] - 1.048_575e-3).abs() < 1e-12);
    }
}
