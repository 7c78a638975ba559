//! A trace into the aggregator: what [`super::engine`] is for a live run.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use crate::aggregate::snapshot::{Host, Snapshot, SourceKind};
use crate::aggregate::{Aggregator, Settings, checkpoint};
use crate::diagnose::{Report, WINDOW_S};
use crate::event::{Event, Input, Service};
use crate::filter::{BY_PORT_ALONE, Filter};
use crate::recording::lookback::Lookback;
use crate::recording::narrow::{Narrowed, Narrowing};
use crate::recording::{Checkpoint, Cursor, Gap, Run, Sink, Trace, Want};
use crate::time::Monotonic;

/// As far as the trace goes.
pub const ALL: usize = usize::MAX;
/// Events kept of those just before a moment.
const EVENTS_KEPT: usize = 512;

/// Who looks on while a trace goes through the aggregator: sees what that does not keep.
pub trait Onlooker {
    /// A single event.
    fn event(&mut self, _event: &Event) {}
    /// Anything else that is taken in.
    fn input(&mut self, _input: &Input) {}
    /// Something is missing or damaged.
    fn gap(&mut self, _gap: &Gap) {}
}

/// A trace on its way through the aggregator.
pub struct Fold {
    cursor: Cursor,
    taker: Taker,
    narrowing: Narrowing,
    /// See [`Narrowed::new`].
    services: BTreeSet<Service>,
    /// Ticks closer to each other than this are passed over, ns.
    interval_ns: Option<u64>,
    /// When the next tick is wanted.
    next: Option<Monotonic>,
    /// A tick that was passed over: the last of a trace is wanted whenever it is.
    passed: Option<Monotonic>,
    /// Which moment the last snapshot is of.
    moment: Option<usize>,
}

impl Fold {
    /// From the beginning, with a snapshot every `interval`; of every sample without one. Only what
    /// `narrowing` lets through is taken in.
    #[must_use]
    pub fn begin(trace: &Trace, interval: Option<Duration>, narrowing: &Narrowing) -> Self {
        let recorded_s = trace.run().interval_s;
        let interval = interval.filter(|interval| interval.as_secs_f64() > recorded_s * 1.01);
        let mut settings = narrowed(settings(trace.run()), narrowing);
        if let Some(interval) = interval {
            settings.interval_s = interval.as_secs_f64();
        }
        Self {
            cursor: trace.start(),
            taker: Taker::new(settings, trace.run()),
            narrowing: narrowing.clone(),
            services: BTreeSet::new(),
            interval_ns: interval.map(|interval| interval.as_nanos() as u64),
            next: None,
            passed: None,
            moment: None,
        }
    }

    /// Up to but not including this tick, from the nearest checkpoint before it; a narrowed fold from
    /// the beginning, because checkpoints are of everything.
    ///
    /// # Errors
    ///
    /// A file cannot be read.
    pub fn before(trace: &Trace, tick: usize, narrowing: &Narrowing) -> Result<Self> {
        let mut fold = Self::begin(trace, None, narrowing);
        fold.taker.keeps_events = true;
        if narrowing.is_empty() {
            fold.cursor = trace.cursor_before_tick(tick);
            fold.restore(trace)?;
        }
        fold.go_on_before(trace, tick)?;
        Ok(fold)
    }

    /// As [`Self::before`], from a state that [`Self::save`] gave before that tick; `None` where it
    /// cannot be used.
    ///
    /// # Errors
    ///
    /// A file cannot be read.
    pub fn before_from(
        trace: &Trace,
        tick: usize,
        narrowing: &Narrowing,
        saved: &Saved,
    ) -> Result<Option<Self>> {
        let mut fold = Self::begin(trace, None, narrowing);
        fold.taker.keeps_events = true;
        fold.taker.checkpoint(saved.checkpoint.clone());
        if !std::mem::take(&mut fold.taker.restored) {
            return Ok(None);
        }
        fold.cursor = saved.cursor.clone();
        fold.services.clone_from(&saved.services);
        fold.look_back(trace)?;
        fold.count_gaps_before(trace);
        fold.go_on_before(trace, tick)?;
        Ok(Some(fold))
    }

    /// Right after this tick; `None` where it cannot be had.
    ///
    /// # Errors
    ///
    /// A file cannot be read.
    pub fn at(trace: &Trace, tick: usize, narrowing: &Narrowing) -> Result<Option<Self>> {
        let mut fold = Self::before(trace, tick, narrowing)?;
        fold.go_on_before(trace, tick.saturating_add(1))?;
        Ok((fold.moment() == Some(tick)).then_some(fold))
    }

    fn go_on_before(&mut self, trace: &Trace, tick: usize) -> Result<()> {
        while self.advance(trace, Want::Everything, tick, None)? {}
        Ok(())
    }

    /// The state right after a tick, for [`Self::before_from`].
    #[must_use]
    pub fn save(&self) -> Saved {
        let bytes = self.taker.aggregator.save();
        Saved {
            cursor: self.cursor.clone(),
            checkpoint: Checkpoint { version: checkpoint::VERSION, bytes },
            services: self.services.clone(),
        }
    }

    /// Reads the checkpoint at the cursor; where this build cannot use it, from the beginning.
    fn restore(&mut self, trace: &Trace) -> Result<()> {
        if self.cursor == trace.start() {
            return Ok(());
        }
        trace.read(&mut self.cursor, Want::NoEvents, &mut self.taker)?;
        if !std::mem::take(&mut self.taker.restored) {
            let keeps_events = self.taker.keeps_events;
            *self = Self::begin(trace, None, &Narrowing::default());
            self.taker.keeps_events = keeps_events;
            return Ok(());
        }
        self.look_back(trace)?;
        self.count_gaps_before(trace);
        Ok(())
    }

    /// A state does not have the facts of the half minute before it: the judge is shown them again.
    fn look_back(&mut self, trace: &Trace) -> Result<()> {
        let next = self.cursor.ticks();
        let Some(last) = next.checked_sub(1) else { return Ok(()) };
        let mut lookback = Lookback::before(trace, last, WINDOW_S);
        while let Some(facts) = lookback.next(trace, next)? {
            self.taker.aggregator.remember(facts);
        }
        self.taker.aggregator.resume(lookback.into_observer());
        Ok(())
    }

    /// A state knows nothing of what became of the file.
    fn count_gaps_before(&mut self, trace: &Trace) {
        let from = self.cursor.ticks();
        let reached = from.checked_sub(1).and_then(|last| trace.ticks().get(last)).copied();
        let before = |gap: &&Gap| gap.before.is_some() && gap.before <= reached;
        let missing = trace
            .gaps()
            .iter()
            .filter(before)
            .filter_map(|gap| gap.events)
            .fold(0, u64::saturating_add);
        self.taker.aggregator.apply(Input::Gap(missing));
    }

    /// Ticks passed, of all that the trace promises: the index of the next.
    #[must_use]
    pub const fn ticks(&self) -> usize {
        self.cursor.ticks()
    }

    /// Which moment, of all that the trace promises, the last snapshot is of. That of a damaged
    /// sample has none.
    #[must_use]
    pub const fn moment(&self) -> Option<usize> {
        self.moment
    }

    /// Events taken in, of all that the trace has: the number of the next.
    #[must_use]
    pub const fn next_event(&self) -> u64 {
        self.cursor.next_event()
    }

    /// Goes on to the next snapshot; `None` at the end. Moments that cannot be had are passed over.
    ///
    /// # Errors
    ///
    /// A file cannot be read.
    pub fn next(&mut self, trace: &Trace, want: Want) -> Result<Option<Arc<Snapshot>>> {
        Ok(self.advance(trace, want, ALL, None)?.then(|| self.taker.aggregator.snapshot()))
    }

    /// As [`Self::next`], with somebody who looks on, and no further than up to but not including
    /// the tick `until`.
    ///
    /// # Errors
    ///
    /// A file cannot be read.
    pub fn next_seen(
        &mut self,
        trace: &Trace,
        want: Want,
        until: usize,
        onlooker: &mut dyn Onlooker,
    ) -> Result<Option<Arc<Snapshot>>> {
        let advanced = self.advance(trace, want, until, Some(onlooker))?;
        Ok(advanced.then(|| self.taker.aggregator.snapshot()))
    }

    fn advance(
        &mut self,
        trace: &Trace,
        want: Want,
        until: usize,
        mut onlooker: Option<&mut dyn Onlooker>,
    ) -> Result<bool> {
        while self.cursor.ticks() < until {
            let mut seen;
            let sink: &mut dyn Sink = match &mut onlooker {
                None => &mut self.taker,
                Some(onlooker) => {
                    seen = Seen { taker: &mut self.taker, onlooker: &mut **onlooker };
                    &mut seen
                }
            };
            let read = if self.narrowing.is_empty() {
                trace.read(&mut self.cursor, want, sink)?
            } else {
                let mut narrowed = Narrowed::new(&self.narrowing, &mut self.services, sink);
                trace.read(&mut self.cursor, want, &mut narrowed)?
            };
            let ticked = if read { self.taker.ticked.take() } else { self.passed.take() };
            let Some(at) = ticked else {
                if read {
                    continue;
                }
                break;
            };
            if read {
                self.moment = self.cursor.ticks().checked_sub(1);
            }
            if !read || self.is_due(at) {
                self.passed = None;
                self.taker.aggregator.apply(Input::Tick(at));
                return Ok(true);
            }
            self.passed = Some(at);
        }
        Ok(false)
    }

    /// Whether a snapshot is wanted at `at`: as `top` would have made it, the first at once.
    fn is_due(&mut self, at: Monotonic) -> bool {
        let Some(interval) = self.interval_ns else { return true };
        let next = self.next.unwrap_or(at);
        // A sample is taken a little after its time.
        if at.0.saturating_add(interval / 20) < next.0 {
            return false;
        }
        let passed = at.0.saturating_sub(next.0) / interval + 1;
        self.next = Some(Monotonic(next.0.saturating_add(passed.saturating_mul(interval))));
        true
    }

    /// The snapshot of the last tick.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.taker.aggregator.snapshot()
    }

    /// The doctor's report of the last tick; `None` before the first.
    #[must_use]
    pub fn report(&self) -> Option<Report> {
        self.taker.aggregator.report().map(|report| report.of_trace(None))
    }

    /// The last events read of those since [`Fold::before`], oldest first, and the number of the
    /// next.
    #[must_use]
    pub fn events(&self) -> (Vec<Event>, u64) {
        (self.taker.events.iter().cloned().collect(), self.cursor.next_event())
    }
}

/// The state of a [`Fold`] right after a tick, and where in the trace that was.
#[derive(Debug)]
pub struct Saved {
    cursor: Cursor,
    checkpoint: Checkpoint,
    services: BTreeSet<Service>,
}

impl Saved {
    /// Ticks that lie before it.
    #[must_use]
    pub const fn ticks(&self) -> usize {
        self.cursor.ticks()
    }
}

/// A filter on a trace adds to the one it was recorded with.
fn narrowed(mut settings: Settings, narrowing: &Narrowing) -> Settings {
    let filter = narrowing.filter();
    if filter.is_empty() {
        return settings;
    }
    if settings.filter.is_empty() {
        settings.filter = filter.describe();
    } else {
        settings.filter = format!("{} and {}", settings.filter, filter.describe());
    }
    settings.filtered = true;
    settings.about = filter.clone();
    settings.unseen.extend(by_port_alone(filter).map(str::to_owned));
    settings
}

/// What a trace's numbers mean under a filter that asks for owners.
#[must_use]
pub fn by_port_alone(filter: &Filter) -> Option<&'static str> {
    filter.names_owner().then_some(BY_PORT_ALONE)
}

/// What holds for the run of a trace.
#[must_use]
pub fn settings(run: &Run) -> Settings {
    Settings {
        source: SourceKind::Trace,
        host: Host {
            name: run.host.name.clone(),
            kernel: run.host.kernel.clone(),
            boot_id: run.host.boot_id.clone(),
        },
        anchor: run.anchor,
        began: run.began,
        fidelity: run.fidelity.clone(),
        unseen: Vec::new(),
        filter: run.filter.clone(),
        filtered: run.filtered,
        interval_s: run.interval_s,
        observer: run.observer(),
        about: Filter::default(),
    }
}

/// Puts what is read into the aggregator; a tick is held back until it is known to be wanted.
struct Taker {
    aggregator: Aggregator,
    baseline: crate::gauges::Gauges,
    settings: Settings,
    keeps_events: bool,
    events: VecDeque<Event>,
    ticked: Option<Monotonic>,
    restored: bool,
}

impl Taker {
    fn new(settings: Settings, run: &Run) -> Self {
        let mut aggregator = Aggregator::new(settings.clone());
        let baseline = run.baseline.clone().unwrap_or_default();
        if run.baseline.is_some() {
            aggregator.apply(Input::Gauges(baseline.clone()));
        }
        Self {
            aggregator,
            baseline,
            settings,
            keeps_events: false,
            events: VecDeque::new(),
            ticked: None,
            restored: false,
        }
    }
}

/// What is read goes to both.
struct Seen<'a> {
    taker: &'a mut Taker,
    onlooker: &'a mut dyn Onlooker,
}

impl Sink for Seen<'_> {
    fn event(&mut self, number: u64, event: &Event) {
        self.onlooker.event(event);
        self.taker.event(number, event);
    }

    fn input(&mut self, input: Input) {
        self.onlooker.input(&input);
        self.taker.input(input);
    }

    fn checkpoint(&mut self, checkpoint: Checkpoint) {
        self.taker.checkpoint(checkpoint);
    }

    fn gap(&mut self, gap: &Gap) {
        self.onlooker.gap(gap);
        self.taker.gap(gap);
    }
}

impl Sink for Taker {
    fn event(&mut self, _: u64, event: &Event) {
        self.aggregator.event(event);
        if self.keeps_events {
            if self.events.len() == EVENTS_KEPT {
                self.events.pop_front();
            }
            self.events.push_back(event.clone());
        }
    }

    fn input(&mut self, input: Input) {
        match input {
            Input::Tick(at) => self.ticked = Some(at),
            input => self.aggregator.apply(input),
        }
    }

    fn checkpoint(&mut self, saved: Checkpoint) {
        if saved.version != checkpoint::VERSION {
            return;
        }
        let restored =
            Aggregator::restore(self.settings.clone(), self.baseline.clone(), &saved.bytes);
        if let Some(aggregator) = restored {
            self.aggregator = aggregator;
            self.restored = true;
        }
    }

    fn gap(&mut self, gap: &Gap) {
        self.aggregator.apply(Input::Gap(gap.events.unwrap_or(0)));
    }
}
