//! Time under control: what a screen shows when it is not simply the newest.
//!
//! A [`Tape`] has moments, one a tick, each with its snapshot: the last minutes of a live run, or
//! a trace file. Everything here works on either and reads no clock.

use std::sync::Arc;

use anyhow::Result;

use crate::aggregate::snapshot::{Anomaly, Severity, Snapshot};
use crate::event::Event;
use crate::time::Wall;

/// Something that was watched and can be looked at again.
pub trait Tape: Send {
    /// What is known of the whole of it. Cheap: called for every picture.
    fn timeline(&self) -> Arc<Timeline>;

    /// What was known at a moment.
    ///
    /// # Errors
    ///
    /// The trace cannot be read (any more).
    fn view(&mut self, moment: usize) -> Result<View>;

    /// The moment in which the event of this number fell (counted from 0 over the whole tape);
    /// the nearest there is.
    fn moment_of_event(&mut self, number: u64) -> Option<usize>;

    /// Looks for news: whether [`Tape::timeline`] changed.
    ///
    /// # Errors
    ///
    /// The trace cannot be read (any more).
    fn poll(&mut self) -> Result<bool>;
}

/// The whole of a tape, for the ruler over the chart.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    /// The moments, ascending; an index into it names one.
    pub moments: Vec<Wall>,
    /// What is known of the moments so far, from the first on; the rest is still being read.
    pub points: Vec<Point>,
    /// Anomalies so far, ascending.
    pub marks: Vec<Anomaly>,
    /// Whether more can come: live, or a file that is still written.
    pub growing: bool,
    /// What of the trace is not whole, in words for people: `5 s missing after 16:41:52`.
    pub gaps: Vec<String>,
}

/// One moment on the ruler.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// The host's orphans.
    pub orphans: u64,
    /// The verdict then.
    pub severity: Severity,
}

/// One moment, whole.
#[derive(Clone, Debug)]
pub struct View {
    /// What was known.
    pub snapshot: Arc<Snapshot>,
    /// The events just before the moment, oldest first; bounded. Empty where none were taken in.
    pub events: Arc<Vec<Event>>,
    /// How many events there were up to this moment: the number of the next, `@N` to go there.
    pub event_number: u64,
}
