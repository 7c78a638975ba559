//! A trace file as a tape.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use jiff::tz::TimeZone;

use super::super::doctor::trace::Visits;
use super::super::fold::Fold;
use super::kept::Kept;
use crate::aggregate::snapshot::Snapshot;
use crate::error::Failure;
use crate::format::{count, millis};
use crate::playback::goto::{Base, Found, Goto};
use crate::playback::{Point, Tape, Timeline, View};
use crate::recording::narrow::Narrowing;
use crate::recording::{Ended, Gap, Trace, Want};
use crate::stdio;
use crate::time::Wall;

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
    /// Where the last view was taken.
    shown: Option<(Fold, View)>,
    doctor: Visits,
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
            shown: None,
            doctor: Visits::new(narrowing.filter().clone()),
            narrowing,
            kept: Kept::default(),
            refreshed: Instant::now(),
        };
        tape.told_by_headers();
        tape
    }

    /// What it was made of.
    pub(in crate::cli) fn into_parts(self) -> (Trace, TimeZone) {
        (self.trace, self.zone)
    }

    /// The index of the moment that is meant, read ahead as far as it takes. `option` is where it
    /// was asked for.
    ///
    /// # Errors
    ///
    /// There is no such moment; a file cannot be read.
    pub(in crate::cli) fn find(&mut self, place: &Goto, option: &str) -> Result<usize> {
        self.tell_if_twice(place, option);
        loop {
            let Self { trace, timeline, zone, .. } = &*self;
            let event = |number| trace.tick_of_event(number);
            match place.find(timeline, Base::Edges, zone, event) {
                Found::Moment(moment) => return Ok(moment),
                Found::NotYet if self.survey()? => {}
                Found::NotYet => return Err(no_moment(&self.trace)),
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

    /// What the headers of the frames say of the whole.
    fn told_by_headers(&mut self) {
        let anchor = self.trace.run().anchor;
        let timeline = Arc::make_mut(&mut self.timeline);
        let known = timeline.moments.len();
        timeline.moments.extend(self.trace.ticks()[known..].iter().map(|tick| anchor.wall(*tick)));
        timeline.growing = matches!(self.trace.ended(), Ended::Growing);
        let gaps = self.trace.gaps().iter();
        timeline.gaps = gaps.map(|gap| told(gap, &self.trace, &self.zone)).collect();
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
        let mut points = Vec::new();
        let mut last: Option<Arc<Snapshot>> = None;
        // What is kept on the way is a whole state, events and all.
        let want = if self.narrowing.is_empty() { Want::NoEvents } else { Want::Everything };
        while began.elapsed() < SURVEY_FOR
            && let Some(snapshot) = self.survey.next(&self.trace, want)?
        {
            if !self.narrowing.is_empty() {
                self.kept.offer(&self.survey);
            }
            points.push(Point {
                orphans: snapshot.orphans.host,
                severity: snapshot.verdict.severity,
            });
            last = Some(snapshot);
        }
        let Some(last) = last else { return Ok(false) };
        let timeline = Arc::make_mut(&mut self.timeline);
        timeline.points.extend(points);
        // The log is bounded and its last entries may still be told anew; older marks stay.
        if let Some(first) = last.anomalies.first() {
            timeline.marks.retain(|mark| mark.time < first.time);
            timeline.marks.extend(last.anomalies.iter().cloned());
        }
        Ok(true)
    }
}

impl Tape for FileTape {
    fn timeline(&self) -> Arc<Timeline> {
        Arc::clone(&self.timeline)
    }

    fn view(&mut self, moment: usize) -> Result<View> {
        if let Some((fold, view)) = &self.shown
            && fold.ticks() == moment + 1
        {
            return Ok(view.clone());
        }
        let mut fold = match self.shown.take() {
            Some((fold, _)) if fold.ticks() <= moment && self.is_near(&fold, moment) => fold,
            _ => self.fold_before(moment)?,
        };
        let mut snapshot = None;
        while fold.ticks() <= moment
            && let Some(next) = fold.next(&self.trace, Want::Everything)?
        {
            snapshot = Some(next);
        }
        let (events, event_number) = fold.events();
        let snapshot = snapshot.unwrap_or_else(|| fold.snapshot());
        let anchor = self.trace.run().anchor;
        let doctor = self.doctor.at(&self.trace, moment)?;
        let view = View { snapshot, events: Arc::new(events), event_number, anchor, doctor };
        self.shown = Some((fold, view.clone()));
        Ok(view)
    }

    fn moment_of_event(&mut self, number: u64) -> Option<usize> {
        self.trace.tick_of_event(number)
    }

    fn poll(&mut self) -> Result<bool> {
        let mut news = false;
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

/// The one answer of every command to a trace that holds no moment to show.
pub(in crate::cli) fn no_moment(trace: &Trace) -> anyhow::Error {
    let file = trace.pieces().next().map(|(path, _)| path.display().to_string());
    let file = file.unwrap_or_default();
    let failure = Failure::failed(format!("{file} holds no sample: there is nothing to show"));
    let hint = match trace.ended() {
        Ended::Growing => {
            "it has just begun: wait for the first interval, and try again".to_owned()
        }
        _ => format!("see how long it is: ls -l {file}"),
    };
    failure.hint(hint).into()
}

/// `damaged after 16:41:52: 66,010 bytes, 1,234 events, 12 ms missing`.
pub(in crate::cli) fn told(gap: &Gap, trace: &Trace, zone: &TimeZone) -> String {
    let anchor = trace.run().anchor;
    let clock = |at| -> String { Wall::clock(anchor.wall(at), zone) };
    let place = match (gap.after, gap.before) {
        (Some(after), _) => format!("after {}", clock(after)),
        (None, Some(before)) => format!("before {}", clock(before)),
        (None, None) => format!("at byte {}", count(gap.offset)),
    };
    let mut missing = vec![format!("{} bytes", count(gap.bytes))];
    missing.push(gap.events.map_or_else(
        || "an unknown number of events".to_owned(),
        |events| format!("{} events", count(events)),
    ));
    if let (Some(after), Some(before)) = (gap.after, gap.before) {
        missing.push(millis(before.seconds_since(after) * 1e3));
    }
    format!("{} {place}: {} missing", gap.why, missing.join(", "))
}
