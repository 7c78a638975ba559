//! Which events of a trace are written, and what is missing among them.

use std::io;

use anyhow::Result;
use jiff::tz::TimeZone;

use super::super::gaps;
use super::super::replay::tape::FileTape;
use crate::error::Failure;
use crate::event::{Event, Input};
use crate::export::sides::Sides;
use crate::export::workloads::Workloads;
use crate::export::{Account, Context, Hole, Writer};
use crate::filter::Filter;
use crate::playback::Tape as _;
use crate::playback::goto::Goto;
use crate::recording::narrow::Narrowing;
use crate::recording::{Cursor, Ended, Gap, Sink, Trace, Want};
use crate::time::{ClockAnchor, Monotonic, Wall};

/// A span of time: from its first moment up to but not including its last, so that two exports one
/// after the other have each event once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Window {
    from: Option<Monotonic>,
    to: Option<Monotonic>,
}

impl Window {
    /// What `--from` and `--to` mean in this trace. What is no time but a moment (`max`, `!3`,
    /// `@12345`) stands for the interval that ends with it.
    ///
    /// # Errors
    ///
    /// There is no such place, or nothing between them.
    pub(super) fn resolve(
        trace: Trace,
        from: Option<&Goto>,
        to: Option<&Goto>,
        zone: &TimeZone,
    ) -> Result<(Self, Trace)> {
        if from.is_none() && to.is_none() {
            return Ok((Self::default(), trace));
        }
        let mut tape = FileTape::new(trace, zone.clone());
        let timeline = tape.timeline();
        // All that headers promise, damaged or not: nothing was read yet.
        let promised = &timeline.moments;
        let (Some(first), Some(last)) = (timeline.moments.first(), timeline.moments.last()) else {
            return Err(gaps::no_moment(&tape.into_parts().0));
        };
        let mut place = |place: &Goto, is_end: bool| -> Result<Option<Wall>> {
            if *place == Goto::Start && !is_end || *place == Goto::End && is_end {
                return Ok(None);
            }
            if let Some(time) = place.time(&timeline, zone) {
                tape.tell_if_twice(place, if is_end { "--to" } else { "--from" });
                return Ok(Some(time));
            }
            let tick = tape.find(place, if is_end { "--to" } else { "--from" })?;
            let edge = if is_end { Some(tick) } else { tick.checked_sub(1) };
            // A moment belongs to the interval it ends.
            Ok(edge.and_then(|edge| promised.get(edge)).map(|at| Wall(at.0.saturating_add(1))))
        };
        let from_wall = from.map(|from| place(from, false)).transpose()?.flatten();
        let to_wall = to.map(|to| place(to, true)).transpose()?.flatten();
        if let (Some(begin), Some(end)) = (from_wall, to_wall)
            && begin >= end
        {
            let clock = |at: Wall| at.clock(zone);
            return Err(Failure::usage(format!(
                "there is nothing from {} to {}",
                clock(begin),
                clock(end)
            ))
            .hint("name the earlier one with --from")
            .into());
        }
        let (first, last) = (*first, *last);
        let (trace, _) = tape.into_parts();
        let began = trace.run().anchor.wall(trace.run().began).min(first);
        let ended = trace.last().map_or(last, |at| trace.run().anchor.wall(at)).max(last);
        let outside = from_wall.filter(|from| *from > ended).or(to_wall.filter(|to| *to <= began));
        if let Some(outside) = outside {
            return Err(Failure::usage(format!(
                "{} is outside: {} to {}",
                outside.clock(zone),
                began.clock(zone),
                ended.clock(zone)
            ))
            .hint("a day can be named too: --from '2026-11-22 16:41'")
            .into());
        }
        let anchor = trace.run().anchor;
        let at = |wall: Option<Wall>| wall.map(|wall| monotonic(anchor, wall));
        Ok((Self { from: at(from_wall), to: at(to_wall) }, trace))
    }

    fn contains(self, at: Monotonic) -> bool {
        self.from.is_none_or(|from| at >= from) && self.to.is_none_or(|to| at < to)
    }

    fn want(self) -> Want {
        match self {
            Self { from: None, to: None } => Want::Everything,
            Self { from, to } => Want::EventsWithin {
                from: from.unwrap_or_default(),
                to: to.unwrap_or(Monotonic(u64::MAX)),
            },
        }
    }

    /// Whether a gap may have swallowed events of it.
    fn touches(self, gap: &Gap) -> bool {
        let ends_before = gap.before.is_some_and(|end| self.from.is_some_and(|from| end < from));
        let begins_after = gap.after.is_some_and(|begin| self.to.is_some_and(|to| begin >= to));
        !ends_before && !begins_after
    }

    fn describe(self, anchor: ClockAnchor) -> Option<String> {
        let at = |at: Option<Monotonic>| at.map(|at| anchor.wall(at).rfc3339());
        match (at(self.from), at(self.to)) {
            (None, None) => None,
            (Some(from), None) => Some(format!("from {from}")),
            (None, Some(to)) => Some(format!("before {to}")),
            (Some(from), Some(to)) => Some(format!("from {from} and before {to}")),
        }
    }
}

/// The moment of a wall time; what lies before the boot is its beginning.
fn monotonic(anchor: ClockAnchor, wall: Wall) -> Monotonic {
    let delta = i128::from(wall.0) - i128::from(anchor.wall.0);
    let at = i128::from(anchor.monotonic.0) + delta;
    Monotonic(u64::try_from(at.max(0)).unwrap_or(u64::MAX))
}

/// Lets events through, and keeps account of them.
pub(super) struct Selection {
    window: Window,
    narrowing: Narrowing,
    sides: Sides,
    workloads: Workloads,
    anchor: ClockAnchor,
    rows: u64,
    lost: Lost,
    gaps: Vec<Gap>,
}

impl Selection {
    pub(super) fn new(window: Window, narrowing: Narrowing, trace: &Trace) -> Self {
        Self {
            window,
            narrowing,
            sides: Sides::default(),
            workloads: Workloads::default(),
            anchor: trace.run().anchor,
            rows: 0,
            lost: Lost { is_since_the_start: trace.first_event() == 0, ..Lost::default() },
            gaps: Vec::new(),
        }
    }

    /// Learns the services of the first sample, so that sockets that stood before it are known, and
    /// from all samples where owners belong: an event may come before the first sample of its owner.
    ///
    /// # Errors
    ///
    /// The trace cannot be read.
    pub(super) fn begin(&mut self, trace: &Trace) -> Result<()> {
        let Self { sides, workloads, .. } = self;
        let mut samples = Samples { sides, workloads, is_first: true };
        let mut cursor = trace.start();
        while trace.read(&mut cursor, Want::NoEvents, &mut samples)? {}
        Ok(())
    }

    /// Reads what is next, one frame at most; `false` at the end. Within, whether it could be
    /// written.
    ///
    /// # Errors
    ///
    /// The trace cannot be read.
    pub(super) fn read(
        &mut self,
        trace: &Trace,
        cursor: &mut Cursor,
        writer: &mut dyn Writer,
    ) -> Result<io::Result<bool>> {
        let want = self.window.want();
        let mut taker = Taker { selection: self, writer, failed: None };
        let more = trace.read(cursor, want, &mut taker)?;
        Ok(taker.failed.map_or(Ok(more), Err))
    }

    /// Where the trace is damaged, as far as that concerns what was asked for. To be asked when all
    /// is read: a damaged payload is found only then, damage of a piece's head only by opening it.
    pub(super) fn gaps(&self, trace: &Trace) -> Vec<Gap> {
        let by_opening = trace.gaps().iter();
        let not_met = by_opening.filter(|gap| self.window.touches(gap) && !self.gaps.contains(gap));
        not_met.chain(&self.gaps).cloned().collect()
    }

    /// What was written, and what is missing.
    pub(super) fn account(&self, gaps: &[Gap], trace: &Trace) -> Account {
        let wall = |at: Option<Monotonic>| at.map(|at| self.anchor.wall(at));
        let span = self.window.describe(self.anchor);
        let filter = Some(self.narrowing.filter().describe()).filter(|filter| !filter.is_empty());
        let selected: Vec<String> = span.into_iter().chain(filter).collect();
        Account {
            rows: self.rows,
            selected: selected.join(" and "),
            ended: match trace.ended() {
                Ended::Cleanly { .. } => "finished",
                Ended::Continued { .. } => "continued elsewhere",
                Ended::Growing => "still written",
                Ended::NotClosed { .. } => "not closed",
            }
            .to_owned(),
            lost: self.lost.within.saturating_sub(self.lost.before),
            gaps: gaps
                .iter()
                .map(|gap| Hole {
                    after: wall(gap.after),
                    before: wall(gap.before),
                    events: gap.events,
                    why: gap.why,
                })
                .collect(),
        }
    }

    fn lets(&self, event: &Event) -> bool {
        self.window.contains(event.at) && self.narrowing.passes(event)
    }

    /// The filter, if it let nothing through.
    pub(super) fn filter(&self) -> &Filter {
        self.narrowing.filter()
    }
}

/// Events the ring had no room for, as the samples tell them: since recording began.
#[derive(Debug, Default)]
struct Lost {
    is_since_the_start: bool,
    said: u64,
    ticked: bool,
    /// Until the window began.
    before: u64,
    /// Until it ended.
    within: u64,
    is_over: bool,
}

impl Lost {
    fn tick(&mut self, at: Monotonic, window: Window) {
        let is_before = window.from.is_some_and(|from| at < from);
        // Of what older pieces told, which are gone, nothing is exported either.
        let is_first = !std::mem::replace(&mut self.ticked, true);
        if is_before || is_first && !self.is_since_the_start {
            self.before = self.said;
        }
        if !self.is_over {
            self.within = self.said;
        }
        self.is_over |= window.to.is_some_and(|to| at >= to);
    }
}

/// Takes the services of the first sample, and the owners of all.
struct Samples<'a> {
    sides: &'a mut Sides,
    workloads: &'a mut Workloads,
    is_first: bool,
}

impl Sink for Samples<'_> {
    fn event(&mut self, _: u64, _: &Event) {}

    fn input(&mut self, input: Input) {
        match input {
            Input::Totals(totals) => {
                if self.is_first {
                    self.sides.totals(&totals);
                }
                self.workloads.totals(&totals);
            }
            Input::Tick(_) => self.is_first = false,
            _ => {}
        }
    }
}

struct Taker<'a> {
    selection: &'a mut Selection,
    writer: &'a mut dyn Writer,
    failed: Option<io::Error>,
}

impl Sink for Taker<'_> {
    fn event(&mut self, _number: u64, event: &Event) {
        if self.failed.is_some() {
            return;
        }
        // Also of events that are not written: they say what becomes of those that are.
        let side = self.selection.sides.side(event);
        if !self.selection.lets(event) {
            return;
        }
        let workloads = &self.selection.workloads;
        let workload = event.owner.as_deref().and_then(|owner| workloads.of(owner));
        match self.writer.event(event, Context { side, workload }) {
            Ok(()) => self.selection.rows += 1,
            Err(error) => self.failed = Some(error),
        }
    }

    fn input(&mut self, input: Input) {
        match input {
            Input::Totals(totals) => {
                self.selection.lost.said = totals.lost.detail;
                self.selection.sides.totals(&totals);
            }
            Input::Tick(at) => self.selection.lost.tick(at, self.selection.window),
            _ => {}
        }
    }

    fn gap(&mut self, gap: &Gap) {
        let Selection { window, gaps, .. } = &mut *self.selection;
        if !window.touches(gap) {
            return;
        }
        Gap::keep(gaps, gap);
    }
}
