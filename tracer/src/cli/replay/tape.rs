//! A trace file as a tape.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use jiff::tz::TimeZone;

use super::super::fold::{ALL, Fold};
use super::super::gaps::{self, Gaps};
use super::kept::Kept;
use crate::aggregate::snapshot::Snapshot;
use crate::error::Failure;
use crate::event::{Event, Input};
use crate::playback::goto::{Base, Found, Goto};
use crate::playback::{Missing, Point, Tape, Timeline, View};
use crate::recording::narrow::Narrowing;
use crate::recording::{Ended, Gap, Sink, Trace, Want};
use crate::stdio;
use crate::time::Monotonic;

/// How long a call of [`Tape::poll`] may read ahead for the ruler, so that keys are answered.
const SURVEY_FOR: Duration = Duration::from_millis(20);
/// How often a file that is still written is looked at.
const REFRESH_EVERY: Duration = Duration::from_millis(200);

/// A trace file, open.
pub(in crate::cli) struct FileTape {
    trace: Trace,
    zone: TimeZone,
    /// What of the trace is shown.
    narrowing: Narrowing,
    /// The trace's own checkpoints are of everything: a narrowed one has these.
    kept: Kept,
    timeline: Arc<Timeline>,
    /// On its way through the whole trace, for the ruler.
    survey: Fold,
    /// Ticks of the trace that are in the timeline.
    told: usize,
    /// Ticks of which the survey knows whether they can be had.
    surveyed: usize,
    /// Ticks known to be damaged, ascending: they are promised by a header and left out of the
    /// timeline's moments.
    damaged: Vec<usize>,
    gaps: Gaps,
    /// Gaps that the timeline has.
    told_gaps: usize,
    /// Where the last view was taken.
    shown: Option<(Fold, View)>,
    refreshed: Instant,
}

impl FileTape {
    /// The tape of a whole trace; times in `zone`.
    #[must_use]
    pub(in crate::cli) fn new(trace: Trace, zone: TimeZone) -> Self {
        Self::narrowed(trace, zone, Narrowing::default())
    }

    /// The tape of what `narrowing` lets through of a trace.
    #[must_use]
    pub(in crate::cli) fn narrowed(trace: Trace, zone: TimeZone, narrowing: Narrowing) -> Self {
        let survey = Fold::begin(&trace, None, &narrowing);
        let mut tape = Self {
            trace,
            zone,
            timeline: Arc::default(),
            survey,
            told: 0,
            surveyed: 0,
            damaged: Vec::new(),
            gaps: Gaps::default(),
            told_gaps: 0,
            shown: None,
            narrowing,
            kept: Kept::default(),
            refreshed: Instant::now(),
        };
        tape.told_by_headers();
        tape
    }

    /// What it was made of, and the gaps that were met so far.
    pub(in crate::cli) fn into_parts(self) -> (Trace, Gaps) {
        (self.trace, self.gaps)
    }

    /// The tick of the moment that is meant, read ahead as far as it takes: one that can be had.
    /// `option` is where it was asked for.
    ///
    /// # Errors
    ///
    /// There is no such moment; a file cannot be read.
    pub(in crate::cli) fn find(&mut self, place: &Goto, option: &str) -> Result<usize> {
        self.tell_if_twice(place, option);
        loop {
            let Self { trace, timeline, zone, damaged, .. } = &*self;
            let event = |number| trace.tick_of_event(number).map(|tick| moment_of(damaged, tick));
            match place.find(timeline, Base::Edges, zone, event) {
                Found::Moment(moment) => {
                    let tick = tick_of(damaged, moment);
                    if tick < self.surveyed || self.is_whole(tick)? {
                        return Ok(tick);
                    }
                    // Who meets damage wants to know of all of it.
                    while self.survey()? {}
                }
                Found::NotYet if self.survey()? => {}
                Found::NotYet => return Err(gaps::no_moment(&self.trace)),
                Found::Nowhere(why) => {
                    return Err(Failure::usage(why)
                        .hint(format!("look at all of it: leave `{option}` out"))
                        .into());
                }
            }
        }
    }

    /// A time that the clock showed twice is taken for the first: says so, and how to get the other.
    pub(in crate::cli) fn tell_if_twice(&self, place: &Goto, option: &str) {
        if let Some(second) = place.second_time(&self.timeline, &self.zone) {
            stdio::note(format_args!(
                "the clock was set back and showed {place} twice; {option} takes the \
                 first time, {option} {second} the second"
            ));
        }
    }

    /// Whether the sample of a tick can be had.
    fn is_whole(&mut self, tick: usize) -> Result<bool> {
        let Some(at) = self.trace.ticks().get(tick) else { return Ok(false) };
        let mut cursor = self.trace.cursor_before_tick(tick);
        let mut sink = Ticks::default();
        while cursor.ticks() <= tick && self.trace.read(&mut cursor, Want::NoEvents, &mut sink)? {}
        Ok(sink.0 == Some(*at))
    }

    /// What the headers of the frames say of the whole.
    fn told_by_headers(&mut self) {
        let anchor = self.trace.run().anchor;
        let timeline = Arc::make_mut(&mut self.timeline);
        let ticks = self.trace.ticks();
        timeline.moments.extend(ticks[self.told..].iter().map(|tick| anchor.wall(*tick)));
        self.told = ticks.len();
        timeline.growing = matches!(self.trace.ended(), Ended::Growing);
        self.gaps.extend(self.trace.gaps());
        self.tell_gaps();
    }

    /// Brings new gaps into the timeline; whether there are any.
    fn tell_gaps(&mut self) -> bool {
        if self.gaps.len() == self.told_gaps {
            return false;
        }
        self.told_gaps = self.gaps.len();
        let missing = |gap: &Gap| {
            let (after, before) = gaps::between(gap, &self.trace);
            Missing { after, before, text: gaps::words(gap, &self.trace, &self.zone) }
        };
        let list = self.gaps.list();
        Arc::make_mut(&mut self.timeline).gaps = list.iter().map(missing).collect();
        true
    }

    /// A fold that has not yet taken this moment in.
    fn fold_before(&self, moment: usize) -> Result<Fold> {
        if let Some(saved) = self.kept.before(moment)
            && let Some(fold) = Fold::before_from(&self.trace, moment, &self.narrowing, saved)?
        {
            return Ok(fold);
        }
        Fold::before(&self.trace, moment, &self.narrowing)
    }

    /// Whether going on from `fold` is no longer than from the nearest state.
    fn is_near(&self, fold: &Fold, moment: usize) -> bool {
        if self.narrowing.is_empty() {
            let checkpoint = self.trace.cursor_before_tick(moment);
            return checkpoint.next_event() <= fold.next_event();
        }
        self.kept.before(moment).is_none_or(|saved| saved.ticks() <= fold.ticks())
    }

    /// Reads ahead for a while; whether anything was read.
    fn survey(&mut self) -> Result<bool> {
        let began = Instant::now();
        let before = self.surveyed;
        let mut points = Vec::new();
        let mut damaged = Vec::new();
        let mut last: Option<Arc<Snapshot>> = None;
        // What is kept on the way is a whole state, events and all.
        let want = if self.narrowing.is_empty() { Want::NoEvents } else { Want::Everything };
        while began.elapsed() < SURVEY_FOR && self.surveyed < self.told {
            let Self { survey, trace, gaps, .. } = self;
            let snapshot = survey.next_seen(trace, want, ALL, gaps)?;
            // At the end, what headers promise and was not met is not there any more.
            let reached = match (&snapshot, survey.moment()) {
                (Some(_), Some(moment)) => moment.max(self.surveyed),
                _ => self.told,
            };
            damaged.extend(self.surveyed..reached.min(self.told));
            self.surveyed = (reached + usize::from(snapshot.is_some())).min(self.told);
            if let Some(snapshot) = snapshot {
                if !self.narrowing.is_empty() {
                    self.kept.offer(&self.survey);
                }
                points.push(Point::of(&snapshot));
                last = Some(snapshot);
            }
        }
        if self.surveyed == before {
            return Ok(false);
        }
        self.leave_out(&damaged);
        let timeline = Arc::make_mut(&mut self.timeline);
        timeline.points.extend(points);
        // The log is bounded and its last entries may still be told anew; older marks stay.
        if let Some(first) = last.as_ref().and_then(|last| last.anomalies.first()) {
            timeline.marks.retain(|mark| mark.time < first.time);
            timeline.marks.extend(last.iter().flat_map(|last| last.anomalies.iter().cloned()));
        }
        self.tell_gaps();
        Ok(true)
    }

    /// Takes ticks that turned out to be damaged out of the timeline.
    fn leave_out(&mut self, ticks: &[usize]) {
        if ticks.is_empty() {
            return;
        }
        let timeline = Arc::make_mut(&mut self.timeline);
        let points = timeline.points.len();
        let mut moment = 0;
        let mut keep_point = vec![true; points];
        let gone = |tick: usize| ticks.binary_search(&tick).is_ok();
        timeline.moments.retain(|_| {
            let keep = !gone(tick_of(&self.damaged, moment));
            if let Some(kept) = keep_point.get_mut(moment) {
                *kept = keep;
            }
            moment += 1;
            keep
        });
        let mut kept = keep_point.into_iter();
        timeline.points.retain(|_| kept.next().unwrap_or(true));
        self.damaged.extend(ticks);
        self.damaged.sort_unstable();
        self.damaged.dedup();
    }

    /// The view of a tick; `None` where it is damaged.
    fn view_of(&mut self, tick: usize) -> Result<Option<View>> {
        let mut fold = match self.shown.take() {
            Some((fold, _)) if fold.ticks() <= tick && self.is_near(&fold, tick) => fold,
            _ => self.fold_before(tick)?,
        };
        let Self { trace, gaps, .. } = self;
        let mut snapshot = None;
        while let Some(next) = fold.next_seen(trace, Want::Everything, tick + 1, gaps)? {
            snapshot = Some(next);
        }
        let Some(snapshot) = snapshot.filter(|_| fold.moment() == Some(tick)) else {
            // On to the next that can be had: a long damaged stretch is read once.
            let next = fold.next_seen(trace, Want::NoEvents, ALL, gaps)?.and(fold.moment());
            let damaged: Vec<usize> = (tick..next.unwrap_or(trace.ticks().len())).collect();
            self.leave_out(&damaged);
            if next.is_none() {
                while self.survey()? {}
            }
            self.tell_gaps();
            return Ok(None);
        };
        let (events, event_number) = fold.events();
        let anchor = self.trace.run().anchor;
        let doctor = fold.report().map(Arc::new);
        let view = View { snapshot, events: Arc::new(events), event_number, anchor, doctor };
        self.shown = Some((fold, view.clone()));
        self.tell_gaps();
        Ok(Some(view))
    }
}

/// The tick of a moment: between them are those that are damaged.
fn tick_of(damaged: &[usize], moment: usize) -> usize {
    let (mut low, mut high) = (0, damaged.len());
    while low < high {
        let middle = low.midpoint(high);
        // Moments before the damaged tick.
        if damaged[middle] - middle <= moment { low = middle + 1 } else { high = middle }
    }
    moment + low
}

/// The moment of a tick; of a damaged one, that of the next whole one.
fn moment_of(damaged: &[usize], tick: usize) -> usize {
    tick - damaged.partition_point(|it| *it < tick)
}

/// The last tick that was read.
#[derive(Default)]
struct Ticks(Option<Monotonic>);

impl Sink for Ticks {
    fn event(&mut self, _: u64, _: &Event) {}

    fn input(&mut self, input: Input) {
        if let Input::Tick(at) = input {
            self.0 = Some(at);
        }
    }
}

impl Tape for FileTape {
    fn timeline(&self) -> Arc<Timeline> {
        Arc::clone(&self.timeline)
    }

    fn view(&mut self, moment: usize) -> Result<Option<View>> {
        let tick = tick_of(&self.damaged, moment);
        if let Some((fold, view)) = &self.shown
            && fold.moment() == Some(tick)
        {
            return Ok(Some(view.clone()));
        }
        self.view_of(tick)
    }

    fn moment_of_event(&mut self, number: u64) -> Option<usize> {
        self.trace.tick_of_event(number).map(|tick| moment_of(&self.damaged, tick))
    }

    fn poll(&mut self) -> Result<bool> {
        let mut news = self.tell_gaps();
        if self.timeline.growing && self.refreshed.elapsed() >= REFRESH_EVERY {
            self.refreshed = Instant::now();
            if self.trace.refresh()? {
                self.told_by_headers();
                news = true;
            }
        }
        Ok(self.survey()? || news)
    }
}
