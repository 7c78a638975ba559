//! Quantiles of the FIN_WAIT1 times from their buckets.

use tracer_common::histogram::bucket_middle_ns;

use super::snapshot::Quantiles;

/// Quantiles in milliseconds; `buckets` are (bucket, count), ascending.
#[must_use]
pub fn quantiles_ms(buckets: &[(u32, u64)], max_ns: u64) -> Quantiles {
    let total: u64 = buckets.iter().map(|(_, count)| count).sum();
    let at = |share: f64| {
        let wanted = (total as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in buckets {
            seen += count;
            if seen >= wanted.max(1) {
                // The middle of the last bucket can lie above the longest there was.
                return bucket_middle_ns(*bucket).min(max_ns) as f64 / 1e6;
            }
        }
        0.0
    };
    if total == 0 {
        return Quantiles::default();
    }
    Quantiles { p50: at(0.5), p99: at(0.99), max: max_ns as f64 / 1e6 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracer_common::histogram::bucket_of;

    #[test]
    fn quantiles_are_within_a_bucket() {
        let buckets =
            [(bucket_of(1_000_000), 98), (bucket_of(40_000_000), 1), (bucket_of(101_000_000), 1)];
        let quantiles = quantiles_ms(&buckets, 101_000_000);
        assert!((quantiles.p50 - 1.0).abs() < 0.13, "{quantiles:?}");
        assert!((quantiles.p99 - 40.0).abs() < 5.0, "{quantiles:?}");
        assert!((quantiles.max - 101.0).abs() < f64::EPSILON);
        assert_eq!(quantiles_ms(&[], 0), Quantiles::default());
    }
}
