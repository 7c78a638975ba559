//! How bad it is that something is near its limit: one rule for all that has a limit.
//!
//! It rests on three numbers: how much of the limit is used, how long it takes at the present
//! growth, and how long that growth was seen. A few seconds of growth are no emergency: most of
//! what grows (a burst of connections, buffers that fill) stops by itself.

use serde::{Deserialize, Serialize};

/// How bad it is. One word for a finding, wherever it is shown.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Nothing to do.
    #[default]
    Ok,
    /// Worth knowing.
    Note,
    /// Near a limit, or something goes wrong that does no great harm yet.
    Warn,
    /// About to reach a limit, or the kernel kills, drops or refuses already.
    Crit,
}

impl Severity {
    /// The word on screen.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "NOTE",
            Self::Warn => "WARN",
            Self::Crit => "CRIT",
        }
    }

    /// Its name in JSON and in labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warn => "warn",
            Self::Crit => "crit",
        }
    }
}

/// A limit this near in time, seconds, is critical where …
const NEAR_S: f64 = 120.0;
/// … this much of it is used …
const NEAR_USE: f64 = 0.5;
/// … and the growth was seen for this long, seconds, or where the limit is nearly full.
const NEAR_SEEN_S: f64 = 5.0;
/// A limit this near in time is worth a warning where a tenth of it is used …
const SOON_S: f64 = 1800.0;
const SOON_USE: f64 = 0.1;
/// … and worth a note below that, where growth has gone on for so long that it is no burst.
const SOON_SEEN_S: f64 = 25.0;
/// This share of a limit is nearly full, and worth a warning whatever its growth.
const FULL: f64 = 0.8;

/// How bad it is that this share of a limit is used, with `left_s` seconds to go at a growth that was
/// seen for `seen_s`.
#[must_use]
pub fn of_use(used: f64, left_s: Option<f64>, seen_s: f64) -> Severity {
    let left = left_s.unwrap_or(f64::INFINITY);
    let is_near = used >= FULL || (used >= NEAR_USE && seen_s >= NEAR_SEEN_S);
    if used >= 1.0 || (left < NEAR_S && is_near) {
        Severity::Crit
    } else if used >= FULL || (left < SOON_S && used >= SOON_USE) {
        Severity::Warn
    } else if left < SOON_S && seen_s >= SOON_SEEN_S {
        Severity::Note
    } else {
        Severity::Ok
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extrapolation_alone_is_never_critical() {
        for left in [0.5, 10.0, 119.0, 1_000.0] {
            for seen in [0.0, 4.0, 30.0, 300.0] {
                assert!(of_use(0.04, Some(left), seen) < Severity::Crit, "{left} {seen}");
            }
        }
        assert_eq!(of_use(0.04, Some(76.0), 3.0), Severity::Ok, "buffers of a few readers fill");
        assert_eq!(
            of_use(0.04, Some(76.0), 30.0),
            Severity::Note,
            "no burst, and far from the limit"
        );
        assert_eq!(of_use(0.2, Some(76.0), 3.0), Severity::Warn);
        assert_eq!(of_use(0.6, Some(76.0), 3.0), Severity::Warn, "seen for too short a time");
        assert_eq!(of_use(0.6, Some(76.0), 6.0), Severity::Crit);
        assert_eq!(of_use(0.9, Some(10.0), 1.0), Severity::Crit, "nearly full and still growing");
        assert_eq!(of_use(0.6, None, 30.0), Severity::Ok, "half a limit, and no growth");
        assert_eq!(of_use(0.8, None, 30.0), Severity::Warn);
        assert_eq!(of_use(1.0, None, 0.0), Severity::Crit);
    }
}
