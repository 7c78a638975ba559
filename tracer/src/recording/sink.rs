//! What a reader tells, and to whom.

use std::path::PathBuf;

use super::{Checkpoint, Why};
use crate::event::{Event, Input};
use crate::time::Monotonic;

/// A place where something is missing or damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The file.
    pub piece: PathBuf,
    /// Where in it.
    pub offset: u64,
    /// Bytes passed over there.
    pub bytes: u64,
    /// Events missing; `None` where that cannot be known.
    pub events: Option<u64>,
    /// Moments that headers promise and that cannot be had. Where headers are missing too, how
    /// many moments they would have promised cannot be known, and this is 0.
    pub moments: u64,
    /// The last moment known before it.
    pub after: Option<Monotonic>,
    /// The first moment known after it.
    pub before: Option<Monotonic>,
    /// Why, for people.
    pub why: &'static str,
}

impl Gap {
    /// Most gaps kept one by one.
    pub const MOST_KEPT: usize = 4096;

    /// Keeps a gap, in a list whose last one stands for all that follow once there are many.
    pub fn keep(gaps: &mut Vec<Self>, gap: &Self) {
        let is_full = gaps.len() >= Self::MOST_KEPT;
        match gaps.last_mut() {
            Some(last) if is_full => {
                last.bytes = last.bytes.saturating_add(gap.bytes);
                last.events = last.events.zip(gap.events).map(|(a, b)| a.saturating_add(b));
                last.moments = last.moments.saturating_add(gap.moments);
                last.before = gap.before;
            }
            _ => gaps.push(gap.clone()),
        }
    }
}

/// How a trace ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was closed.
    Cleanly {
        /// Why recording ended.
        why: Why,
    },
    /// It goes on in a later piece that is not here (yet, if recording goes on).
    Continued {
        /// Why the piece was closed.
        why: Why,
    },
    /// It is being written.
    Growing,
    /// It was not closed: what is told last is the last whole frame's.
    NotClosed {
        /// Bytes after the last whole frame.
        tail: u64,
    },
}

/// What a reader wants to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Everything.
    Everything,
    /// Not the single events: their frames are passed over unread.
    NoEvents,
    /// Everything, but frames whose events all lie before `from` or after `to` are passed over
    /// unread. Events outside may still be told: frames are told whole.
    EventsWithin {
        /// The first moment wanted.
        from: Monotonic,
        /// The last moment wanted.
        to: Monotonic,
    },
    /// Of each interval what a doctor looks at: gauges, facts, sock_diag and the tick. Reads faster.
    Facts,
}

/// Takes what is read.
pub trait Sink {
    /// An event; its number counts from 0 over the whole trace.
    fn event(&mut self, number: u64, event: &Event);
    /// Anything else that a source said.
    fn input(&mut self, input: Input);
    /// The state of the fold as the recorder had it here. Only where reading begins with one.
    fn checkpoint(&mut self, _checkpoint: Checkpoint) {}
    /// Something is missing or damaged here.
    fn gap(&mut self, _gap: &Gap) {}
}
