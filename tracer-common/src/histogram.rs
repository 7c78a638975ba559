//! Buckets of the FIN_WAIT1 times: eight to a power of two, so a bucket is at most 12.5 % wide.

/// Number of buckets; the last holds everything from 2^41 ns (37 minutes) on.
pub const BUCKETS: u32 = 320;

/// The bucket of a duration.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "bounded by BUCKETS")]
pub const fn bucket_of(ns: u64) -> u32 {
    if ns < 8 {
        return ns as u32;
    }
    let power = 63 - ns.leading_zeros();
    let eighth = (ns >> (power - 3)) as u32 & 7;
    let bucket = (power - 2) * 8 + eighth;
    if bucket >= BUCKETS { BUCKETS - 1 } else { bucket }
}

/// The middle of a bucket, ns: what a quantile in it reads as.
#[must_use]
pub const fn bucket_middle_ns(bucket: u32) -> u64 {
    if bucket < 8 {
        return bucket as u64;
    }
    let power = bucket / 8 + 2;
    let width = 1_u64 << (power - 3);
    (8 + (bucket % 8) as u64) * width + width / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn middle_is_within_an_eighth(ns in 8_u64..1 << 41) {
            let middle = bucket_middle_ns(bucket_of(ns));
            let error = middle.abs_diff(ns);
            proptest::prop_assert!(error * 8 <= ns, "{ns} read back as {middle}");
        }

        #[test]
        fn order_is_kept(a in proptest::num::u64::ANY, b in proptest::num::u64::ANY) {
            let (low, high) = (a.min(b), a.max(b));
            proptest::prop_assert!(bucket_of(low) <= bucket_of(high));
            proptest::prop_assert!(bucket_of(high) < BUCKETS);
        }
    }
}
