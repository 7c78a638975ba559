//! What a doctor would have seen at a moment of a trace: the facts of its last half minute.
//!
//! [`look_back`] is for a moment; a [`Lookback`] goes through a trace, from moment to moment. Both
//! say the same of the same moment. Whoever wants a diagnosis hands the facts to
//! [`crate::diagnose::Watch::of`]; a part that a trace does not have is unknown and says so.

use anyhow::Result;

use super::run::not_recorded;
use super::{Cursor, Gap, Sink, Trace, Want};
use crate::event::{DiagSample, Direction, Event, Input};
use crate::facts::keeper::{Keeper, STALE_S};
use crate::facts::{Facts, Minisockets, Orphans, Sockets, Unknown};
use crate::time::Monotonic;

/// Ports named of those that orphans are on.
const NAMED: usize = 5;

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
        let run = trace.run();
        let taker = Taker {
            keeper: Keeper::new(run.facts(), not_recorded()),
            // Who tells settings tells facts.
            makes_do: run
                .settings
                .is_err()
                .then_some(MakeDo { has_minisockets: !run.filtered, ..MakeDo::default() }),
            ticked: None,
            gaps: Vec::new(),
        };
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
                return Ok(Some(self.taker.keeper.tick(at)));
            }
        }
        Ok(None)
    }
}

#[derive(Debug)]
struct Taker {
    keeper: Keeper,
    makes_do: Option<MakeDo>,
    ticked: Option<Monotonic>,
    gaps: Vec<Gap>,
}

impl Sink for Taker {
    fn event(&mut self, _: u64, _: &Event) {}

    fn input(&mut self, input: Input) {
        match input {
            Input::Gauges(gauges) => self.keeper.gauges(gauges),
            Input::Facts(facts) => self.keeper.look(*facts),
            Input::Diag(sample) => {
                if let Some(makes_do) = &mut self.makes_do {
                    makes_do.sample = Some(sample);
                }
            }
            Input::Tick(at) => {
                if let Some(sockets) = self.makes_do.as_mut().and_then(MakeDo::sockets) {
                    let unseen = Facts::unseen(at, &Unknown::not_looked_at());
                    self.keeper.look(Facts { sockets: Ok(sockets), detail_at: Some(at), ..unseen });
                }
                self.ticked = Some(at);
            }
            Input::Event(_) | Input::Totals(_) | Input::OwnCost(_) | Input::Gap(_) => {}
        }
    }

    fn gap(&mut self, gap: &Gap) {
        Gap::keep(&mut self.gaps, gap);
    }
}

/// Of a trace without facts: what sock_diag told for the snapshots.
#[derive(Debug, Default)]
struct MakeDo {
    /// Whether every minisocket was counted: a filter lets only some through.
    has_minisockets: bool,
    sample: Option<DiagSample>,
    /// They are not counted every time.
    minisockets: Option<Minisockets>,
}

impl MakeDo {
    /// What of the sockets an interval told, if anything.
    fn sockets(&mut self) -> Option<Sockets> {
        let sample = self.sample.take()?;
        let mut orphans = Orphans::default();
        let mut minisockets =
            Minisockets { fin_wait2: sample.fin_wait2_minisockets, ..Minisockets::default() };
        for (service, seen) in &sample.services {
            orphans.count += seen.orphans;
            orphans.bytes += seen.orphan_bytes;
            if service.direction == Direction::In && seen.orphans > 0 {
                orphans.ports.push((service.port, seen.orphans));
            }
            let all = seen.time_wait + seen.fin_wait2_minisockets;
            match service.direction {
                Direction::In => minisockets.accepted += all,
                Direction::Out => minisockets.connecting += all,
            }
        }
        orphans.ports.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        orphans.ports.truncate(NAMED);
        if self.has_minisockets && sample.has_time_wait {
            self.minisockets = Some(minisockets);
        }
        Some(Sockets {
            orphans,
            half_open: Err(not_recorded()),
            minisockets: self.minisockets.ok_or_else(not_recorded),
            destinations: Err(not_recorded()),
            namespaces_denied: 0,
            causes: Err(not_recorded()),
        })
    }
}
