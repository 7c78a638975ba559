//! The whole of a trace: what is in it, and reading it from any moment on.
//!
//! Nothing in a file is believed: it may be cut off, damaged, or made to deceive. Opening reads
//! headers only; what is kept in memory is a time and a number for each tick, and a bounded
//! number of gaps and of places with a checkpoint.

mod follow;
mod scan;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::frame::{FRAME_HEADER, FrameHeader, Kind};
use super::payload::deliver;
use super::pieces;
use super::sink::{Ended, Gap, Sink, Want};
use super::walk::{self, Item, Piece, Position};
use super::{Run, Why};
use crate::time::Monotonic;

/// A place in a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    position: Position,
    ticks: usize,
    /// Nothing was told from here yet: a state is of use.
    is_fresh: bool,
}

impl Cursor {
    /// Ticks that lie before it: the index of the next.
    #[must_use]
    pub const fn ticks(&self) -> usize {
        self.ticks
    }

    /// The number of the next event.
    #[must_use]
    pub const fn next_event(&self) -> u64 {
        self.position.event
    }
}

/// A trace, open.
#[derive(Debug)]
pub struct Trace {
    path: PathBuf,
    trace: u64,
    pieces: Vec<Piece>,
    run: Run,
    start: Position,
    /// How far headers were looked at.
    scanned: Position,
    ticks: Vec<Monotonic>,
    /// Events before each tick.
    events_at: Vec<u64>,
    first_event: Option<u64>,
    checkpoints: Vec<Cursor>,
    gaps: Vec<Gap>,
    /// From the last frame, if that closes a piece.
    closed: Option<Why>,
    is_written: bool,
}

impl Trace {
    /// Opens a trace, with its older pieces.
    ///
    /// # Errors
    ///
    /// It is no trace, or cannot be read.
    pub fn open(path: &Path) -> Result<Self> {
        // The pieces lie beside the file itself, not beside a link to it.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let newest = pieces::open(&path)?;
        let trace = newest.trace;
        let mut found = pieces::siblings(&path, trace, |piece| piece.sequence < newest.sequence)?;
        found.push(newest);
        let start = Position::start(found.first().is_some_and(|first| first.is_first));
        let mut this = Self {
            path,
            trace,
            pieces: Vec::new(),
            run: Run::default(),
            scanned: start.clone(),
            start,
            ticks: Vec::new(),
            events_at: Vec::new(),
            first_event: None,
            checkpoints: Vec::new(),
            gaps: Vec::new(),
            closed: None,
            is_written: false,
        };
        for piece in found {
            this.add(piece);
        }
        this.scan()?;
        this.read_run()?;
        Ok(this)
    }

    /// Its number: the same in all its pieces, and in no other trace.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.trace
    }

    /// What holds for the whole of it.
    #[must_use]
    pub const fn run(&self) -> &Run {
        &self.run
    }

    /// Its files, oldest first, and how long each was when it was last looked at.
    pub fn pieces(&self) -> impl Iterator<Item = (&Path, u64)> {
        self.pieces.iter().map(|piece| (piece.path.as_path(), piece.len))
    }

    /// When each interval ended.
    #[must_use]
    pub fn ticks(&self) -> &[Monotonic] {
        &self.ticks
    }

    /// Events since recording began: the number of the next.
    #[must_use]
    pub const fn events(&self) -> u64 {
        self.scanned.event
    }

    /// The number of the first event there is: not 0 where older pieces were dropped.
    #[must_use]
    pub fn first_event(&self) -> u64 {
        self.first_event.unwrap_or(0)
    }

    /// The last moment that is told.
    #[must_use]
    pub const fn last(&self) -> Option<Monotonic> {
        self.scanned.last
    }

    /// What of it is not whole, as far as headers show: a damaged payload is found when it is
    /// read, and told to the [`Sink`].
    #[must_use]
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// How it ends.
    #[must_use]
    pub fn ended(&self) -> Ended {
        let len = self.pieces.last().map_or(0, |piece| piece.len);
        let tail = len.saturating_sub(self.scanned.offset);
        match self.closed {
            Some(why) if tail == 0 && why.is_final() => Ended::Cleanly { why },
            Some(why) if tail == 0 => Ended::Continued { why },
            _ if self.is_written => Ended::Growing,
            _ => Ended::NotClosed { tail },
        }
    }

    /// Looks for what was written since, also into newer pieces; whether there was anything.
    ///
    /// # Errors
    ///
    /// A file cannot be read.
    pub fn refresh(&mut self) -> Result<bool> {
        let before = (self.scanned.clone(), self.ended());
        self.follow()?;
        for piece in &mut self.pieces {
            let metadata = piece.file.as_ref().and_then(|file| file.metadata().ok());
            let Some(metadata) = metadata else { continue };
            piece.len = metadata.len();
            if metadata.nlink() == 0 {
                piece.file = None;
            }
        }
        self.scan()?;
        Ok(before != (self.scanned.clone(), self.ended()))
    }

    /// The beginning.
    #[must_use]
    pub fn start(&self) -> Cursor {
        Cursor { position: self.start.clone(), ticks: 0, is_fresh: true }
    }

    /// A place with a checkpoint, the last whose state does not know this tick yet; else the
    /// beginning. A checkpoint that cannot be read is none.
    #[must_use]
    pub fn cursor_before_tick(&self, tick: usize) -> Cursor {
        let after = self.checkpoints.partition_point(|place| place.ticks <= tick);
        let readable = |place: &&Cursor| {
            let mut position = place.position.clone();
            match position.next(&self.pieces, self.trace) {
                Ok(Some(Item::Frame { header, at })) => {
                    matches!(self.payload(&header, &at), Ok(Ok(_)))
                }
                _ => false,
            }
        };
        self.checkpoints[..after]
            .iter()
            .rev()
            .find(readable)
            .cloned()
            .unwrap_or_else(|| self.start())
    }

    /// The tick in whose interval the event of this number fell.
    #[must_use]
    pub fn tick_of_event(&self, number: u64) -> Option<usize> {
        let tick = self.events_at.partition_point(|events| *events <= number);
        (tick < self.events_at.len() && number >= self.first_event()).then_some(tick)
    }

    /// Reads what is next at the cursor, one frame at most; `false` at the end.
    ///
    /// # Errors
    ///
    /// A file cannot be read. Damage is no error: it is told as a gap.
    pub fn read(&self, cursor: &mut Cursor, want: Want, sink: &mut dyn Sink) -> Result<bool> {
        let next = cursor.position.next(&self.pieces, self.trace);
        match next.with_context(|| self.cannot_read(&cursor.position))? {
            None => return Ok(false),
            Some(Item::Gap(gap)) => sink.gap(&gap),
            Some(Item::Frame { header, at }) => {
                if header.kind == Kind::Sample {
                    cursor.ticks = self.index_of_tick(&header, cursor.ticks) + 1;
                }
                let is_fresh = cursor.is_fresh;
                cursor.is_fresh &= header.kind == Kind::Host;
                let skipped = match header.kind {
                    Kind::Events => match want {
                        Want::Everything => false,
                        Want::NoEvents | Want::Facts => true,
                        Want::EventsWithin { from, to } => {
                            header.last_ns < from.0 || header.first_ns > to.0
                        }
                    },
                    // Of use only to who begins here, and only in a trace without a beginning.
                    Kind::Host => !is_fresh || header.sequence == 0,
                    Kind::Checkpoint => !is_fresh || want == Want::Facts,
                    Kind::Sample => false,
                    Kind::End | Kind::Unknown(_) => true,
                };
                if !skipped {
                    let told = match self.payload(&header, &at)? {
                        Ok(payload) => deliver(&header, &payload, want, sink),
                        Err(why) => Err((u64::from(header.events), why)),
                    };
                    if let Err((missing, why)) = told {
                        sink.gap(&self.gap_at(&header, &at, missing, why));
                    }
                }
            }
        }
        Ok(true)
    }

    fn gap_at(&self, header: &FrameHeader, at: &Position, events: u64, why: &'static str) -> Gap {
        Gap {
            piece: self.pieces.get(at.piece).map(|piece| piece.path.clone()).unwrap_or_default(),
            offset: at.offset,
            bytes: header.size(),
            events: Some(events),
            moments: walk::moments(header),
            after: at.last,
            before: Some(Monotonic(header.last_ns)),
            why,
        }
    }

    /// Which of [`Trace::ticks`] a sample is of. The one after those that were read already, unless
    /// a piece was dropped, or the file cut, since its headers were looked at.
    fn index_of_tick(&self, header: &FrameHeader, expected: usize) -> usize {
        let at = Monotonic(header.last_ns);
        if self.ticks.get(expected) == Some(&at) {
            return expected;
        }
        self.ticks.partition_point(|tick| *tick < at).max(expected.min(self.ticks.len()))
    }

    /// The payload of a frame, or why it is not to be had.
    fn payload(
        &self,
        header: &FrameHeader,
        at: &Position,
    ) -> Result<std::result::Result<Vec<u8>, &'static str>> {
        let file = self.pieces.get(at.piece).and_then(|piece| piece.file.as_ref());
        let Some(file) = file else { return Ok(Err("dropped for room")) };
        let mut stored = vec![0; header.stored_len as usize];
        let place = at.offset.saturating_add(FRAME_HEADER as u64);
        let got =
            walk::read_some(file, &mut stored, place).with_context(|| self.cannot_read(at))?;
        stored.truncate(got);
        Ok(header.open(stored))
    }

    fn cannot_read(&self, at: &Position) -> String {
        let path = self.pieces.get(at.piece).map_or(&self.path, |piece| &piece.path);
        format!("cannot read {}", path.display())
    }
}
