//! Time under control: what a screen shows when it is not simply the newest.
//!
//! A [`Tape`] has moments, one a tick, each with its snapshot: the last minutes of a live run, or
//! a trace file. Everything here works on either and reads no clock.

pub mod goto;
pub mod live;
pub mod transport;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::Result;

use crate::aggregate::snapshot::{Anomaly, Badness, Severity, Snapshot};
use crate::diagnose::Report;
use crate::event::Event;
use crate::time::{ClockAnchor, Wall};

/// Something that was watched and can be looked at again.
pub trait Tape: Send {
    /// What is known of the whole of it. Cheap: called for every picture.
    fn timeline(&self) -> Arc<Timeline>;

    /// What was known at a moment; `None` where that turns out to be damaged: the timeline then no
    /// longer has it.
    ///
    /// # Errors
    ///
    /// The trace cannot be read (any more).
    fn view(&mut self, moment: usize) -> Result<Option<View>>;

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
    /// The moments, ascending; an index into it names one. A moment that a trace promises and that
    /// is damaged is left out as soon as that is known, and is in [`Self::gaps`].
    pub moments: Vec<Wall>,
    /// What is known of the moments so far, from the first on; the rest is still being read.
    pub points: Vec<Point>,
    /// Anomalies so far, ascending.
    pub marks: Vec<Anomaly>,
    /// Whether more can come: live, or a file that is still written.
    pub growing: bool,
    /// What of the trace is not whole.
    pub gaps: Vec<Missing>,
}

/// A place where something of a tape is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// The last moment known before it.
    pub after: Option<Wall>,
    /// The first moment known after it.
    pub before: Option<Wall>,
    /// In words for people: `5 s missing after 16:41:52`.
    pub text: String,
}

/// Somewhere, in these words.
impl<T: Into<String>> From<T> for Missing {
    fn from(text: T) -> Self {
        Self { text: text.into(), ..Self::default() }
    }
}

/// One moment on the ruler.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// The host's orphans.
    pub orphans: u64,
    /// The verdict then.
    pub severity: Severity,
    /// How bad that moment was.
    pub badness: Badness,
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
    /// What turns the events' times into those of a clock.
    pub anchor: ClockAnchor,
    /// What the doctor said then; `None` where nobody has looked yet.
    pub doctor: Option<Arc<Report>>,
}

/// A moment and everything around it: what a screen draws.
#[derive(Clone, Debug)]
pub struct Frame {
    /// What was known at the moment.
    pub view: View,
    /// The whole tape.
    pub timeline: Arc<Timeline>,
    /// The index of the moment in [`Timeline::moments`]; of the nearest, if the moment itself has
    /// been dropped from the tape meanwhile.
    pub position: usize,
    /// What the tape is doing.
    pub mode: Mode,
    /// The speed of playing, also while it stands.
    pub speed: Speed,
    /// The first moment there was: what others are compared with.
    pub first: Arc<Snapshot>,
    /// What the last command could not do, in words for people.
    pub refused: Option<String>,
    /// Where the tape was opened, in words for people, until the first command.
    pub note: Option<String>,
}

impl Frame {
    /// How far the moment is behind the newest, seconds.
    #[must_use]
    pub fn behind_s(&self) -> f64 {
        let at = self.view.snapshot.time;
        let newest = self.timeline.moments.last().map_or(at, |newest| (*newest).max(at));
        newest.0.saturating_sub(at.0) as f64 / 1e9
    }
}

impl Point {
    /// That of a snapshot.
    #[must_use]
    pub fn of(snapshot: &Snapshot) -> Self {
        Self {
            orphans: snapshot.orphans.host,
            severity: snapshot.verdict.severity,
            badness: snapshot.badness(),
        }
    }
}

/// What a tape is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Showing the newest as it comes.
    #[default]
    Live,
    /// Standing still.
    Paused,
    /// Going on from moment to moment.
    Playing,
}

/// How fast a tape plays: 0.1 to 100 times as fast as it was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Speed(f64);

impl Speed {
    const STEPS: [f64; 11] = [0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 100.0];

    /// The factor.
    #[must_use]
    pub const fn factor(self) -> f64 {
        self.0
    }

    /// The next step up.
    #[must_use]
    pub fn faster(self) -> Self {
        Self(Self::STEPS.into_iter().find(|step| *step > self.0 * 1.001).unwrap_or(100.0))
    }

    /// The next step down.
    #[must_use]
    pub fn slower(self) -> Self {
        let steps = Self::STEPS.into_iter().rev();
        Self(steps.into_iter().find(|step| *step < self.0 * 0.999).unwrap_or(0.1))
    }
}

impl Default for Speed {
    fn default() -> Self {
        Self(1.0)
    }
}

/// `x4`, `x0.25`.
impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "x{}", self.0)
    }
}

/// `4`, `x4`, `0.5`.
impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.trim().trim_start_matches(['x', 'X']).parse::<f64>();
        match number {
            Ok(factor) if (0.1..=100.0).contains(&factor) => Ok(Self(factor)),
            _ => Err("a speed is a number from 0.1 to 100".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_go_up_and_down_and_stop_at_both_ends() {
        let mut speed = Speed::default();
        assert_eq!(speed.slower().to_string(), "x0.5");
        for _ in 0..20 {
            speed = speed.faster();
        }
        assert_eq!(speed.to_string(), "x100");
        for _ in 0..20 {
            speed = speed.slower();
        }
        assert_eq!(speed.to_string(), "x0.1");
        assert_eq!("x3".parse::<Speed>().unwrap().faster().to_string(), "x4");
        assert!("0".parse::<Speed>().is_err() && "NaN".parse::<Speed>().is_err());
    }
}
