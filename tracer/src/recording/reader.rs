//! The whole of a trace: what is in it, and reading it from any moment on.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{Checkpoint, Run, Why};
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
    /// The last moment known before it.
    pub after: Option<Monotonic>,
    /// The first moment known after it.
    pub before: Option<Monotonic>,
    /// Why, for people.
    pub why: &'static str,
}

/// How a trace ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was closed.
    Cleanly {
        /// Why recording ended.
        why: Why,
    },
    /// It is being written.
    Growing,
    /// It was not closed: the last moment is the last whole frame's.
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

/// A place in a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    ticks: usize,
}

impl Cursor {
    /// Ticks that lie before it: the index of the next.
    #[must_use]
    pub const fn ticks(&self) -> usize {
        self.ticks
    }
}

/// A trace, open.
#[derive(Debug)]
pub struct Trace {
    run: Run,
}

impl Trace {
    /// Opens a trace, with its older pieces.
    ///
    /// # Errors
    ///
    /// It is no trace, or cannot be read.
    pub fn open(_path: &Path) -> Result<Self> {
        anyhow::bail!("not written yet")
    }

    /// What holds for the whole of it.
    #[must_use]
    pub const fn run(&self) -> &Run {
        &self.run
    }

    /// When each interval ended.
    #[must_use]
    pub fn ticks(&self) -> &[Monotonic] {
        &[]
    }

    /// Events since recording began: the number of the next.
    #[must_use]
    pub const fn events(&self) -> u64 {
        0
    }

    /// The number of the first event there is: not 0 where older pieces were dropped.
    #[must_use]
    pub const fn first_event(&self) -> u64 {
        0
    }

    /// The last moment that is told.
    #[must_use]
    pub const fn last(&self) -> Option<Monotonic> {
        None
    }

    /// What of it is not whole, as far as headers show.
    #[must_use]
    pub fn gaps(&self) -> &[Gap] {
        &[]
    }

    /// How it ends.
    #[must_use]
    pub const fn ended(&self) -> Ended {
        Ended::Growing
    }

    /// Looks for what was written since; whether there was anything.
    ///
    /// # Errors
    ///
    /// A file cannot be read.
    pub fn refresh(&mut self) -> Result<bool> {
        Ok(false)
    }

    /// The beginning.
    #[must_use]
    pub const fn start(&self) -> Cursor {
        Cursor { ticks: 0 }
    }

    /// A place with a checkpoint, the last whose state is of this tick or an earlier one; else the
    /// beginning.
    #[must_use]
    pub const fn cursor_for_tick(&self, _tick: usize) -> Cursor {
        self.start()
    }

    /// The tick in whose interval the event of this number fell.
    #[must_use]
    pub const fn tick_of_event(&self, _number: u64) -> Option<usize> {
        None
    }

    /// Reads what is next at the cursor, one frame at most; `false` at the end.
    ///
    /// # Errors
    ///
    /// A file cannot be read. Damage is no error: it is told as a gap.
    pub fn read(&self, _cursor: &mut Cursor, _want: Want, _sink: &mut dyn Sink) -> Result<bool> {
        Ok(false)
    }
}
