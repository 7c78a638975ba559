//! Many moments as text: events come in the order of time, so what is above the second is made anew
//! only when it changes.

use std::fmt::Write as _;

use crate::time::Wall;

const SECOND: i64 = 1_000_000_000;
/// `2026-11-22T16:42:10`.
const TO_THE_SECOND: usize = 19;

/// Spells moments in UTC, as RFC 3339 has it.
#[derive(Clone, Debug, Default)]
pub(super) struct Stamp {
    second: Option<i64>,
    text: String,
}

impl Stamp {
    /// `2026-11-22T16:42:10.123Z`: what [`Wall::rfc3339`] gives.
    pub(super) fn millis(&mut self, time: Wall) -> &str {
        self.begin(time);
        // Writing to a string cannot fail.
        let _ = write!(self.text, ".{:03}Z", time.0.rem_euclid(SECOND) / 1_000_000);
        &self.text
    }

    /// `2026-11-22T16:42:10.123456789Z`.
    pub(super) fn nanos(&mut self, time: Wall) -> &str {
        self.begin(time);
        let _ = write!(self.text, ".{:09}Z", time.0.rem_euclid(SECOND));
        &self.text
    }

    fn begin(&mut self, time: Wall) {
        let second = time.0.div_euclid(SECOND);
        if self.second != Some(second) {
            self.second = Some(second);
            self.text = time.rfc3339();
        }
        self.text.truncate(TO_THE_SECOND);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn it_spells_as_one_moment_is_spelt(
            times in proptest::collection::vec((0i64..3, 0i64..SECOND), 1..20),
            from in i64::MIN + 4 * SECOND..i64::MAX - 4 * SECOND,
        ) {
            let mut stamp = Stamp::default();
            for (seconds, nanos) in times {
                let time = Wall(from + seconds * SECOND + nanos);
                assert_eq!(stamp.millis(time), time.rfc3339());
                let millis = stamp.millis(time).trim_end_matches('Z').to_owned();
                let exact = stamp.nanos(time);
                assert!(exact.starts_with(&millis) && exact.len() == 30, "{exact}");
                assert!(exact.ends_with(&format!("{:09}Z", time.0.rem_euclid(SECOND))), "{exact}");
            }
        }
    }
}
