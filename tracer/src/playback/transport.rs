//! Play, pause, step and seek, as a state machine over a [`Tape`].
//!
//! It has no clock: whoever drives it says how much time went by. Commands only move the position;
//! a moment is read when [`Transport::frame`] asks for it, so that of many seeks in a row only the
//! last costs anything.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use jiff::SignedDuration;
use jiff::tz::TimeZone;

use super::goto::{Base, Found, Goto, plus};
use super::{Frame, Missing, Mode, Speed, Tape, Timeline, View};
use crate::aggregate::snapshot::Snapshot;
use crate::time::Wall;

/// Playing waits no longer than this for a moment, in the tape's own time: nobody wants to watch a
/// gap in real time.
const LONGEST_WAIT_NS: i64 = 10_000_000_000;

/// What can be asked of a tape.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Stand still or go on. What was frozen while it followed the newest follows it again, unless
    /// it has been moved meanwhile: then it plays from there.
    PlayPause,
    /// Play faster.
    Faster,
    /// Play slower.
    Slower,
    /// So many moments on, or back; and stand still.
    Step(i64),
    /// So much time on, or back; at least one moment.
    Seek(SignedDuration),
    /// To a place.
    Goto(Goto),
    /// To the next anomaly.
    NextMark,
    /// To the previous anomaly.
    PreviousMark,
    /// To the first moment.
    Start,
    /// To the last moment, and stand still.
    End,
    /// To the newest moment, and follow as more come.
    Live,
}

/// How a tape begins.
#[derive(Clone, Debug, Default)]
pub struct Begin {
    /// Where; at the start, or at the newest if it is to follow.
    pub at: Option<Goto>,
    /// Whether to go to the first anomaly as soon as it is read, unless a command comes first.
    pub first_anomaly: bool,
    /// Doing what.
    pub mode: Mode,
    /// How fast, when it plays.
    pub speed: Speed,
}

/// A tape and a position on it.
pub struct Transport<T> {
    tape: T,
    zone: TimeZone,
    timeline: Arc<Timeline>,
    /// The index of the moment, or of the nearest if it has been dropped from the tape.
    position: usize,
    /// The time of the moment: the index changes when a bounded tape drops its oldest.
    at: Option<Wall>,
    mode: Mode,
    speed: Speed,
    /// The tape's time that went by since the moment, nanoseconds.
    run_ns: f64,
    /// Whether it stands only because the newest was frozen.
    frozen: bool,
    /// The moment that was read last.
    shown: Option<(Wall, View)>,
    first: Option<Arc<Snapshot>>,
    refused: Option<String>,
    /// A place that was not known yet, and what it counts from.
    pending: Option<(Goto, Base)>,
    /// Whether that place is the first anomaly, for which nobody asked.
    opening: bool,
    note: Option<String>,
}

impl<T: Tape> Transport<T> {
    /// A tape at its beginning, or where `begin` says. Times are read in `zone`.
    ///
    /// # Errors
    ///
    /// The place is not on the tape: why, in words for people.
    pub fn new(tape: T, zone: TimeZone, begin: Begin) -> Result<Self, String> {
        let mut transport = Self {
            timeline: tape.timeline(),
            tape,
            zone,
            position: 0,
            at: None,
            mode: begin.mode,
            speed: begin.speed,
            run_ns: 0.0,
            frozen: false,
            shown: None,
            first: None,
            refused: None,
            pending: None,
            opening: false,
            note: None,
        };
        transport.settle();
        if begin.first_anomaly {
            transport.opening = true;
            transport.go(Goto::Anomaly(1), Base::Edges);
        }
        if let Some(place) = begin.at {
            transport.go(place, Base::Edges);
            if let Some(why) = transport.refused.take_if(|_| transport.pending.is_none()) {
                return Err(why);
            }
        }
        Ok(transport)
    }

    /// Does what is asked. What cannot be done is told in [`Frame::refused`].
    pub fn command(&mut self, command: Command) {
        self.refused = None;
        self.note = None;
        if std::mem::take(&mut self.opening) {
            self.pending = None;
        }
        match command {
            Command::PlayPause => self.play_or_pause(),
            Command::Faster => self.speed = self.speed.faster(),
            Command::Slower => self.speed = self.speed.slower(),
            Command::Step(by) => {
                self.stand();
                self.step(by);
            }
            Command::Seek(by) => self.seek(by),
            Command::Goto(place) => {
                let base = Base::Moment(self.position);
                self.go(place, base);
            }
            Command::NextMark => self.seek_mark(true),
            Command::PreviousMark => self.seek_mark(false),
            Command::Start => self.move_to(0),
            Command::End => {
                self.stand();
                self.move_to(self.last());
            }
            Command::Live => {
                self.move_to(self.last());
                self.mode = if self.timeline.growing { Mode::Live } else { Mode::Paused };
            }
        }
    }

    /// Lets `elapsed` go by; whether another moment came.
    pub fn advance(&mut self, elapsed: Duration) -> bool {
        if self.mode != Mode::Playing {
            return false;
        }
        self.run_ns += elapsed.as_nanos() as f64 * self.speed.factor();
        let before = self.position;
        while let Some(wait) = self.wait_ns() {
            if self.run_ns < wait {
                return self.position != before;
            }
            let left = self.run_ns - wait;
            self.set(self.following());
            self.run_ns = left;
        }
        // Caught up.
        self.run_ns = 0.0;
        self.mode = if self.timeline.growing { Mode::Live } else { Mode::Paused };
        true
    }

    /// How long until the next moment is to be shown; `None` unless it plays.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        if self.mode != Mode::Playing {
            return None;
        }
        let left_ns = self.wait_ns().unwrap_or(0.0) - self.run_ns;
        Some(Duration::from_secs_f64((left_ns / self.speed.factor() / 1e9).max(0.0)))
    }

    /// Looks whether the tape has news; whether there is something else to show.
    ///
    /// # Errors
    ///
    /// See [`Tape::poll`].
    pub fn poll(&mut self) -> Result<bool> {
        if !self.tape.poll()? {
            return Ok(false);
        }
        self.timeline = self.tape.timeline();
        self.settle();
        if let Some((place, base)) = self.pending.take() {
            self.refused = None;
            self.go(place, base);
        }
        Ok(true)
    }

    /// Whether the tape may have news: it grows, or is still being read.
    #[must_use]
    pub fn expects_news(&self) -> bool {
        self.timeline.growing || !self.timeline.is_surveyed() || self.at.is_none()
    }

    /// Whether the tape is still being read for the timeline: it gets on only while it is polled.
    #[must_use]
    pub fn is_being_read(&self) -> bool {
        !self.timeline.is_surveyed()
    }

    /// What is to be shown; `None` while the tape is empty.
    ///
    /// # Errors
    ///
    /// See [`Tape::view`].
    pub fn frame(&mut self) -> Result<Option<Frame>> {
        let Some(first) = self.first()? else { return Ok(None) };
        let Some(view) = self.shown()? else { return Ok(None) };
        Ok(Some(Frame {
            view,
            timeline: Arc::clone(&self.timeline),
            position: self.position,
            mode: self.mode,
            speed: self.speed,
            first,
            refused: self.refused.clone(),
            note: self.note.clone(),
        }))
    }

    /// Whether there is nothing to show and never will be.
    #[must_use]
    pub fn is_void(&self) -> bool {
        !self.timeline.growing && self.timeline.moments.is_empty()
    }

    /// What of the tape is not whole.
    #[must_use]
    pub fn gaps(&self) -> &[Missing] {
        &self.timeline.gaps
    }

    /// The first moment that can be had.
    fn first(&mut self) -> Result<Option<Arc<Snapshot>>> {
        while self.first.is_none() && self.at.is_some() {
            match self.tape.view(0)? {
                Some(view) => self.first = Some(view.snapshot),
                None => self.without_damaged(),
            }
        }
        Ok(self.first.clone())
    }

    /// The moment at the position; where that is damaged, the nearest after it, or before it.
    fn shown(&mut self) -> Result<Option<View>> {
        while let Some(at) = self.at {
            if let Some((time, view)) = &self.shown
                && *time == at
            {
                return Ok(Some(view.clone()));
            }
            match self.tape.view(self.position)? {
                Some(view) => self.shown = Some((at, view)),
                None => {
                    self.without_damaged();
                    let clock = at.clock(&self.zone);
                    self.refused = Some(format!("{clock} is damaged: this is the nearest moment"));
                }
            }
        }
        Ok(None)
    }

    /// Goes on without a moment that turned out to be damaged.
    fn without_damaged(&mut self) {
        self.timeline = self.tape.timeline();
        match self.at {
            Some(_) if self.timeline.moments.is_empty() => self.at = None,
            Some(at) if self.timeline.moments.binary_search(&at).is_err() => {
                let nearest = self.timeline.at_or_after(at);
                self.set(nearest);
            }
            Some(at) => self.position = self.timeline.at_or_before(at),
            None => {}
        }
    }

    fn last(&self) -> usize {
        self.timeline.moments.len().saturating_sub(1)
    }

    /// Finds the position again after the tape changed.
    fn settle(&mut self) {
        if self.mode == Mode::Live {
            self.set(self.last());
            // A file that was followed to its end is a file like any other.
            if !self.timeline.growing {
                self.mode = Mode::Paused;
            }
            return;
        }
        match self.at {
            // The moment stays on screen even when the tape has dropped it.
            Some(at) => self.position = self.timeline.at_or_before(at),
            None => self.set(0),
        }
    }

    /// Sets the position; nothing else.
    fn set(&mut self, position: usize) {
        if let Some(at) = self.timeline.moments.get(position) {
            (self.position, self.at) = (position, Some(*at));
            self.run_ns = 0.0;
        }
    }

    /// Goes somewhere on purpose: what plays goes on playing from there, all else stands.
    fn move_to(&mut self, position: usize) {
        if self.mode == Mode::Live {
            self.mode = Mode::Paused;
        }
        self.frozen = false;
        self.pending = None;
        self.set(position);
    }

    fn stand(&mut self) {
        if self.mode == Mode::Live {
            self.frozen = true;
        }
        self.mode = Mode::Paused;
    }

    fn play_or_pause(&mut self) {
        if self.mode != Mode::Paused {
            self.stand();
            return;
        }
        self.pending = None;
        let at_end = self.position >= self.last();
        match (self.timeline.growing, at_end) {
            (true, _) if self.frozen => self.follow(),
            (true, true) => self.follow(),
            (false, true) => {
                // As every player does.
                self.set(0);
                self.mode = Mode::Playing;
            }
            (_, false) => self.mode = Mode::Playing,
        }
        self.frozen = false;
    }

    fn follow(&mut self) {
        self.mode = Mode::Live;
        self.set(self.last());
    }

    /// The first moment after the position, and the last before it.
    fn neighbours(&self) -> (Option<usize>, Option<usize>) {
        let Some(at) = self.at else { return (None, None) };
        let moments = &self.timeline.moments;
        let after = moments.partition_point(|moment| *moment <= at);
        let before = moments.partition_point(|moment| *moment < at);
        ((after < moments.len()).then_some(after), before.checked_sub(1))
    }

    fn following(&self) -> usize {
        self.neighbours().0.unwrap_or(self.position)
    }

    /// The tape's time between the position and the next moment; `None` at the end.
    fn wait_ns(&self) -> Option<f64> {
        let next = self.timeline.moments.get(self.neighbours().0?)?;
        Some(next.0.saturating_sub(self.at?.0).clamp(0, LONGEST_WAIT_NS) as f64)
    }

    fn step(&mut self, by: i64) {
        let (after, before) = self.neighbours();
        let further = usize::try_from(by.unsigned_abs()).unwrap_or(usize::MAX).saturating_sub(1);
        match (by, after, before) {
            (1.., Some(after), _) => self.move_to(after.saturating_add(further).min(self.last())),
            (..=-1, _, Some(before)) => self.move_to(before.saturating_sub(further)),
            _ => self.nothing_further(by > 0),
        }
    }

    fn seek(&mut self, by: SignedDuration) {
        let Some(at) = self.at else { return };
        let (after, before) = self.neighbours();
        let nearest = self.timeline.nearest(plus(at, by));
        // Moments may be further apart than what was asked for.
        match (by.signum(), after, before) {
            (1, Some(after), _) => self.move_to(nearest.max(after)),
            (-1, _, Some(before)) => self.move_to(nearest.min(before)),
            (direction, ..) => self.nothing_further(direction > 0),
        }
    }

    fn nothing_further(&mut self, forward: bool) {
        let where_ = if forward { "last" } else { "first" };
        self.refused = Some(format!("this is the {where_} moment"));
    }

    fn go(&mut self, place: Goto, base: Base) {
        let Self { tape, timeline, zone, .. } = self;
        let event = |number| tape.moment_of_event(number);
        let found = place.find(timeline, base, zone, event);
        if self.opening {
            self.open_at(place, base, &found);
            return;
        }
        match found {
            Found::Moment(moment) => self.move_to(moment),
            Found::NotYet => {
                if self.mode == Mode::Live {
                    self.stand();
                }
                self.refused = Some(format!("{place}: still looking for it"));
                self.pending = Some((place, base));
            }
            Found::Nowhere(why) => {
                self.pending = None;
                self.refused = Some(why);
            }
        }
    }

    /// The first anomaly, or the start where there is none; says which.
    fn open_at(&mut self, place: Goto, base: Base, found: &Found) {
        let note = match *found {
            Found::Moment(moment) => {
                self.move_to(moment);
                // How many follow is known only when all is read.
                "opened at the first anomaly; ]: the next, Home: the start"
            }
            Found::NotYet => {
                self.pending = Some((place, base));
                self.note = Some("the first anomaly is being looked for".to_owned());
                return;
            }
            Found::Nowhere(_) => "no anomaly in this trace; Space plays it",
        };
        self.opening = false;
        self.note = Some(note.to_owned());
    }

    fn seek_mark(&mut self, forward: bool) {
        let Some(at) = self.at else { return };
        let timeline = &self.timeline;
        let mut stops = timeline
            .marks
            .iter()
            .map(|mark| timeline.at_or_after(mark.time))
            .filter_map(|moment| Some((*timeline.moments.get(moment)?, moment)));
        let found = if forward {
            stops.find(|(time, _)| *time > at)
        } else {
            stops.rfind(|(time, _)| *time < at)
        };
        match found {
            Some((_, moment)) => self.move_to(moment),
            None => {
                let which = if forward { "later" } else { "earlier" };
                let so_far = if forward && !timeline.is_surveyed() { " so far" } else { "" };
                self.refused = Some(format!("no {which} anomaly{so_far}"));
            }
        }
    }
}

#[cfg(test)]
mod tests;
