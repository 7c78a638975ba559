//! Takes events and samples in and hands frames to the thread that writes them.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use super::{Checkpoint, Run, Why};
use crate::event::{Event, Input};

/// How to record.
#[derive(Clone, Debug)]
pub struct Options {
    /// The file.
    pub path: PathBuf,
    /// Replace a file that is there.
    pub force: bool,
    /// What the trace may take on disk, all pieces together; the oldest are dropped.
    pub max_bytes: Option<u64>,
    /// How much time may be lost in a crash: frames are sealed and brought to disk so often.
    pub sync: Duration,
}

/// What was written so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Events taken in.
    pub events: u64,
    /// Bytes on disk, all pieces that are still there.
    pub bytes: u64,
    /// Frames written.
    pub frames: u64,
    /// Pieces begun.
    pub pieces: u32,
    /// Pieces dropped for room.
    pub dropped_pieces: u32,
}

/// What a finished recording is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The newest piece.
    pub path: PathBuf,
    /// How much.
    pub progress: Progress,
    /// What happened on the way, for people.
    pub notes: Vec<String>,
}

/// A recording that goes on.
#[derive(Debug)]
pub struct Writer {
    progress: Progress,
}

impl Writer {
    /// Begins a recording.
    ///
    /// # Errors
    ///
    /// The file is there already, somebody writes to it, or it cannot be made.
    pub fn create(_options: Options, _run: Run) -> Result<Self> {
        anyhow::bail!("not written yet")
    }

    /// Takes an event in.
    ///
    /// # Errors
    ///
    /// What went before could not be written.
    pub fn event(&mut self, _event: &Event) -> Result<()> {
        Ok(())
    }

    /// Ends an interval, with what was said in it; the last of it is the tick. `checkpoint` gives
    /// the state after that tick; it is asked only when one is due.
    ///
    /// # Errors
    ///
    /// What went before could not be written.
    pub fn sample(
        &mut self,
        _inputs: &[Input],
        _checkpoint: &mut dyn FnMut() -> Option<Checkpoint>,
    ) -> Result<()> {
        Ok(())
    }

    /// Seals events that have waited for as long as [`Options::sync`] allows. To be called often.
    ///
    /// # Errors
    ///
    /// What went before could not be written.
    pub fn seal_if_due(&mut self) -> Result<()> {
        Ok(())
    }

    /// Asks for a new piece, which begins with the next sample.
    pub fn rotate(&mut self) {}

    /// What was written so far.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// What happened since this was last asked, for people.
    pub fn take_notes(&mut self) -> Vec<String> {
        Vec::new()
    }

    /// Ends the recording cleanly. Takes as long as what is not written yet needs.
    ///
    /// # Errors
    ///
    /// Something could not be written.
    pub fn finish(self, _why: Why) -> Result<Summary> {
        Ok(Summary { path: PathBuf::new(), progress: self.progress, notes: Vec::new() })
    }
}
