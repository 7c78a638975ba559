//! Our count of the host's orphans against the kernel's: a difference that stays.

use super::check::{Check, describe};
use super::look::Look;
use super::severity::Severity;
use super::watch::Watch;
use crate::event::Fidelity;
use crate::facts::{Known, Unknown};
use crate::format::{count, duration};

pub(super) struct Drift;

/// The two numbers are not read at the same time: a difference counts if it lasts so long, seconds …
const STAYS_S: f64 = 10.0;
/// … and is worth a warning from here on, for then it is no delay of any kind.
const LONG_S: f64 = 60.0;
/// Fewer than these are not worth a word.
pub(super) const LEAST: u64 = 32;

impl Check for Drift {
    describe!("drift", "drift", "difference", "sockets", Host);

    fn look(&self, watch: &Watch) -> Known<Look> {
        let Some(counted) = &watch.counted else {
            return Err(Unknown::because("nobody counts orphans one by one here"));
        };
        let mut look = Look { now: Some(counted.drift.unsigned_abs()), ..Look::default() };
        look.why = "Our count of orphans agrees with the kernel's.".to_owned();
        let Some(stays) = watch.drifts_for_s.filter(|stays| *stays >= STAYS_S) else {
            return Ok(look);
        };
        look.at_least = if stays >= LONG_S { Severity::Warn } else { Severity::Note };
        let (number, way) =
            (count(counted.drift.unsigned_abs()), if counted.drift < 0 { "fewer" } else { "more" });
        let lost = &counted.lost;
        let reason = if lost.untracked > 0 {
            format!("{} sockets had no room in the table", count(lost.untracked))
        } else if lost.missed > 0 {
            format!("the kernel skipped {} program runs", count(lost.missed))
        } else if counted.orphan_begin.is_some_and(|fidelity| fidelity != Fidelity::Exact) {
            "this kernel does not report every close()".to_owned()
        } else if let Some(reason) = counted.unseen.first() {
            reason.clone()
        } else {
            "the reason is not known: `sockflow probes` says which hook each signal uses".to_owned()
        };
        look.before = format!(
            "sockflow counts {number} orphans {way} than the kernel, for {}",
            duration(stays)
        );
        look.behind = reason.clone();
        look.why = format!("Our numbers of orphans are off by so much: {reason}.");
        look.evidence = "orphans of the totals against /proc/net/sockstat".to_owned();
        Ok(look)
    }
}
