//! What a doctor would have seen at a moment of a trace: the facts of its last half minute.
//!
//! [`look_back`] is for a moment; a [`Lookback`] goes through a trace, from moment to moment. Both
//! say the same of the same moment. Whoever wants a diagnosis hands the facts to
//! [`crate::diagnose::Watch::of`]; a part that a trace does not have is unknown and says so.

use anyhow::Result;

use super::{Cursor, Gap, Sink, Trace, Want};
use crate::event::{Event, Input};
use crate::facts::Facts;
use crate::facts::keeper::STALE_S;
use crate::facts::observer::Observer;
use crate::time::Monotonic;

/// What was known at each tick of the last `window_s` seconds before and at `tick` (an index into
/// [`Trace::ticks`]), oldest first; empty where there is no such tick.
///
/// ```no_run
/// # fn main() -> anyhow::Result<()> {
/// # use sockflow::{diagnose, recording};
/// # let trace = recording::Trace::open("incident.sockflow".as_ref())?;
/// # let tick = 0;
/// let facts = recording::lookback::look_back(&trace, tick, diagnose::WINDOW_S)?;
/// let watch = diagnose::Watch::of(facts);
/// # Ok(())
/// # }
/// ```
///
/// Costs reading the samples of that time and of the two minutes before it, without their events.
///
/// # Errors
///
/// A file cannot be read. Damage is no error: what it swallowed is unknown.
pub fn look_back(trace: &Trace, tick: usize, window_s: f64) -> Result<Vec<Facts>> {
    let Some(&at) = trace.ticks().get(tick) else { return Ok(Vec::new()) };
    let mut lookback = Lookback::before(trace, tick, window_s);
    let mut seen = Vec::new();
    while let Some(facts) = lookback.next(trace, tick + 1)? {
        if at.seconds_since(facts.at) <= window_s {
            seen.push(facts);
        }
    }
    Ok(seen)
}

/// On its way through a trace, from tick to tick.
#[derive(Debug)]
pub struct Lookback {
    cursor: Cursor,
    taker: Taker,
    moment: Option<usize>,
}

impl Lookback {
    /// From the first tick on.
    #[must_use]
    pub fn begin(trace: &Trace) -> Self {
        let observer = trace.run().observer();
        let taker = Taker { observer, ticked: None, gaps: Vec::new() };
        Self { cursor: trace.start(), taker, moment: None }
    }

    /// From far enough before `tick` that all is known that counts for the `window_s` seconds
    /// before it.
    #[must_use]
    pub fn before(trace: &Trace, tick: usize, window_s: f64) -> Self {
        let mut lookback = Self::begin(trace);
        if let Some(at) = trace.ticks().get(tick) {
            let far = ((window_s + STALE_S) * 1e9) as u64;
            let from = Monotonic(at.0.saturating_sub(far));
            let first = trace.ticks().partition_point(|tick| *tick < from);
            lookback.cursor = trace.cursor_before_tick(first);
        }
        lookback
    }

    /// Ticks passed, of all that the trace promises: the index of the next.
    #[must_use]
    pub const fn ticks(&self) -> usize {
        self.cursor.ticks()
    }

    /// Which moment, of all that the trace promises, the last facts are of.
    #[must_use]
    pub const fn moment(&self) -> Option<usize> {
        self.moment
    }

    /// What goes on observing after the last facts.
    #[must_use]
    pub fn into_observer(self) -> Observer {
        self.taker.observer
    }

    /// What was damaged on the way so far; a bounded number.
    #[must_use]
    pub fn gaps(&self) -> &[Gap] {
        &self.taker.gaps
    }

    /// What was known at the next moment up to but not including the tick `until`; `None` where
    /// there is none. Moments that cannot be had are passed over.
    ///
    /// # Errors
    ///
    /// See [`look_back`].
    pub fn next(&mut self, trace: &Trace, until: usize) -> Result<Option<Facts>> {
        while self.cursor.ticks() < until
            && trace.read(&mut self.cursor, Want::Facts, &mut self.taker)?
        {
            if let Some(at) = self.taker.ticked.take() {
                self.moment = self.cursor.ticks().checked_sub(1);
                return Ok(Some(self.taker.observer.tick(at)));
            }
        }
        Ok(None)
    }
}

#[derive(Debug)]
struct Taker {
    observer: Observer,
    ticked: Option<Monotonic>,
    gaps: Vec<Gap>,
}

impl Sink for Taker {
    fn event(&mut self, _: u64, _: &Event) {}

    fn input(&mut self, input: Input) {
        match input {
            Input::Tick(at) => self.ticked = Some(at),
            input => self.observer.take(&input),
        }
    }

    fn gap(&mut self, gap: &Gap) {
        Gap::keep(&mut self.gaps, gap);
    }
}
