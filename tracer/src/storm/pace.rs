//! Spacing: not faster than a rate, measured against a schedule so that sleeps do not add up.

use std::time::{Duration, Instant};

use super::units::Rate;

/// How far behind schedule it may run and still catch up: covers what a sleep oversleeps, and no
/// burst after a real stall.
const SLACK: Duration = Duration::from_millis(5);

/// Hands out turns at a rate.
pub(super) struct Pacer {
    interval: Option<Duration>,
    next: Instant,
}

impl Pacer {
    /// One of `shares` pacers that together keep to `rate`.
    pub(super) fn new(rate: Rate, shares: u32) -> Self {
        Self {
            interval: rate.0.map(|rate| Duration::from_secs(1) * shares / rate.max(1)),
            next: Instant::now(),
        }
    }

    /// Takes the next turn and says how long to wait for it.
    pub(super) fn turn(&mut self, now: Instant) -> Duration {
        let Some(interval) = self.interval else {
            return Duration::ZERO;
        };
        let turn = match now.checked_sub(SLACK) {
            Some(earliest) => self.next.max(earliest),
            None => self.next,
        };
        self.next = turn + interval;
        turn.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_come_at_the_rate_and_a_stall_makes_no_burst() {
        let mut pacer = Pacer::new(Rate(Some(1000)), 1);
        let start = pacer.next;
        assert_eq!(pacer.turn(start), Duration::ZERO);
        assert_eq!(pacer.turn(start), Duration::from_millis(1));
        assert_eq!(pacer.turn(start), Duration::from_millis(2));
        let late = start + Duration::from_secs(10);
        let free = (0..100).take_while(|_| pacer.turn(late) == Duration::ZERO).count();
        assert_eq!(free, 6, "5 ms of slack at 1 ms each, and the turn itself");
    }

    #[test]
    fn unlimited_never_waits_and_shares_split_the_rate() {
        let mut pacer = Pacer::new(Rate(None), 1);
        let now = Instant::now();
        assert!((0..1000).all(|_| pacer.turn(now) == Duration::ZERO));
        let mut half = Pacer::new(Rate(Some(1000)), 2);
        let start = half.next;
        half.turn(start);
        assert_eq!(half.turn(start), Duration::from_millis(2));
    }
}
