//! From frame to frame over the pieces of a trace, and over whatever is damaged in them.
//!
//! Only headers are read here. A [`Position`] is all the state there is, so that a walk from any
//! frame on says the same as one from the beginning.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use memchr::memmem;
use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::frame::{FRAME_HEADER, FrameHeader, Kind, MARKER};
use super::sink::Gap;
use crate::time::Monotonic;

/// Bytes searched at most for the next frame after a damaged place: more than the largest frame many
/// times over. A disk full of something else is not searched for an hour.
pub const MOST_SEARCHED: u64 = 256 << 20;

/// Bytes searched at once for the next frame after a damaged place.
const SEARCH_AT_ONCE: usize = 256 << 10;

/// No host has been up for longer: a frame's time beyond it (146 years) was made up.
pub(super) const LATEST_NS: u64 = u64::MAX >> 2;

/// One file of a trace.
#[derive(Debug)]
pub(super) struct Piece {
    /// `None` once it was deleted: an open file would hold on to the disk space.
    pub(super) file: Option<File>,
    pub(super) path: PathBuf,
    /// Where the first frame begins.
    pub(super) start: u64,
    /// How much of it is looked at: what was written since the last refresh is not.
    pub(super) len: u64,
}

/// A place between two frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) piece: usize,
    /// In the piece; 0 stands for where its first frame begins.
    pub(super) offset: u64,
    /// The number the next frame must have; `None` where any will do.
    pub(super) sequence: Option<u64>,
    /// The number of the next event.
    pub(super) event: u64,
    /// The latest moment so far.
    pub(super) last: Option<Monotonic>,
    /// The end of the last interval: the next one ends later.
    tick: Option<Monotonic>,
    /// What was passed over since the last frame.
    damage: Option<Damage>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Damage {
    piece: usize,
    offset: u64,
    bytes: u64,
    why: &'static str,
}

/// What comes next.
#[derive(Debug)]
pub(super) enum Item {
    Frame { header: FrameHeader, at: Position },
    Gap(Gap),
}

impl Position {
    /// The beginning of the first piece. `whole`: it is the first of the trace, so that what is
    /// missing at its beginning can be told.
    pub(super) const fn start(whole: bool) -> Self {
        Self {
            piece: 0,
            offset: 0,
            sequence: if whole { Some(0) } else { None },
            event: 0,
            last: None,
            tick: None,
            damage: None,
        }
    }

    /// Moves over the next item; `None` at the end of the last piece, or where nothing whole
    /// follows in it.
    pub(super) fn next(&mut self, pieces: &[Piece], trace: u64) -> io::Result<Option<Item>> {
        while let Some(piece) = pieces.get(self.piece) {
            self.offset = self.offset.max(piece.start);
            let is_last = self.piece + 1 == pieces.len();
            if let Some(file) = &piece.file {
                if let Some(header) = header_at(file, self.offset, piece.len)? {
                    return Ok(Some(self.judge(&header, pieces, trace)));
                }
                if let Some(found) = find(file, self.offset + 1, piece.len)? {
                    self.pass(found - self.offset, "damaged");
                    continue;
                }
            }
            if is_last {
                return Ok(None);
            }
            let left = piece.len.saturating_sub(self.offset);
            if left > 0 {
                let dropped = piece.file.is_none();
                self.pass(left, if dropped { "dropped for room" } else { "not closed" });
            }
            self.piece += 1;
            self.offset = 0;
        }
        Ok(None)
    }

    /// Takes a whole frame at this position for what it is.
    fn judge(&mut self, header: &FrameHeader, pieces: &[Piece], trace: u64) -> Item {
        let sequence = u64::from(header.sequence);
        if header.trace != trace {
            return self.stray(header, pieces, "a frame of another trace");
        }
        if self.sequence.is_some_and(|expected| sequence < expected) {
            return self.stray(header, pieces, "a frame that was there before");
        }
        // Event numbers never go back, whatever a frame says of itself.
        if header.events_before < self.event {
            return self.stray(header, pieces, "a frame whose numbers do not fit");
        }
        if self.sequence.is_none() && self.damage.is_none() {
            self.sequence = Some(sequence);
            self.event = header.events_before;
        }
        let fits = self.sequence == Some(sequence) && header.events_before == self.event;
        if self.damage.is_some() || !fits {
            let damage = self.damage.take().unwrap_or(Damage {
                piece: self.piece,
                offset: self.offset,
                bytes: 0,
                why: "frames are missing",
            });
            // Without a number to count from, what is missing cannot be known.
            let missing = header.events_before.saturating_sub(self.event);
            let events = self.sequence.map(|_| missing);
            let gap = self.gap(damage, events, Some(Monotonic(header.first_ns)), pieces);
            self.sequence = Some(sequence);
            self.event = header.events_before;
            return Item::Gap(gap);
        }
        let at = self.clone();
        self.offset += header.size();
        self.sequence = Some(sequence + 1);
        self.event = header.events_after();
        if let Err(why) = self.clock(header) {
            let here = Damage { piece: at.piece, offset: at.offset, bytes: header.size(), why };
            let gap = self.gap(here, Some(u64::from(header.events)), None, pieces);
            return Item::Gap(Gap { moments: moments(header), ..gap });
        }
        Item::Frame { header: *header, at }
    }

    /// Moves the clock on to where the frame ends; why not, if that cannot be. Intervals end in
    /// order, each at another time: whoever looks for a time among them relies on it.
    fn clock(&mut self, header: &FrameHeader) -> Result<(), &'static str> {
        let at = Monotonic(header.last_ns);
        if at.0 > LATEST_NS {
            return Err("a frame from later than any host has been up");
        }
        if header.kind == Kind::Sample {
            if self.tick.is_some_and(|before| at <= before) {
                return Err("a moment that is not later than the one before it");
            }
            self.tick = Some(at);
        }
        self.last = self.last.max(Some(at));
        Ok(())
    }

    /// Passes over a whole frame that does not belong here.
    fn stray(&mut self, header: &FrameHeader, pieces: &[Piece], why: &'static str) -> Item {
        let damage = Damage { piece: self.piece, offset: self.offset, bytes: header.size(), why };
        self.offset += header.size();
        Item::Gap(self.gap(damage, Some(0), None, pieces))
    }

    fn gap(
        &self,
        damage: Damage,
        events: Option<u64>,
        before: Option<Monotonic>,
        pieces: &[Piece],
    ) -> Gap {
        Gap {
            piece: pieces.get(damage.piece).map(|piece| piece.path.clone()).unwrap_or_default(),
            offset: damage.offset,
            bytes: damage.bytes,
            events,
            moments: 0,
            after: self.last,
            before,
            why: damage.why,
        }
    }

    /// Passes over bytes that are no frame; told with the next frame, which says what is missing.
    fn pass(&mut self, bytes: u64, why: &'static str) {
        let here = Damage { piece: self.piece, offset: self.offset, bytes: 0, why };
        let damage = self.damage.get_or_insert(here);
        damage.bytes = damage.bytes.saturating_add(bytes);
        self.offset = self.offset.saturating_add(bytes);
    }
}

/// Moments that a frame's header promises.
pub(super) const fn moments(header: &FrameHeader) -> u64 {
    matches!(header.kind, Kind::Sample) as u64
}

/// The header at an offset, if all of its frame lies before `len`.
pub(super) fn header_at(file: &File, offset: u64, len: u64) -> io::Result<Option<FrameHeader>> {
    if offset.saturating_add(FRAME_HEADER as u64) > len {
        return Ok(None);
    }
    let mut bytes = [0; FRAME_HEADER];
    match file.read_exact_at(&mut bytes, offset) {
        Ok(()) => {}
        // Cut off since we asked how long it is.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let whole = |header: &FrameHeader| offset.saturating_add(header.size()) <= len;
    Ok(FrameHeader::decode(&bytes).filter(whole))
}

/// Where the next whole frame begins, of whatever trace; `None` where there is none in the
/// [`MOST_SEARCHED`] bytes from there on. Holes of a sparse file are passed over and are not of them.
pub(super) fn find(file: &File, from: u64, len: u64) -> io::Result<Option<u64>> {
    let marker = memmem::Finder::new(&MARKER);
    let most = |at: u64| {
        usize::try_from(len.saturating_sub(at)).map_or(SEARCH_AT_ONCE, |n| n.min(SEARCH_AT_ONCE))
    };
    let mut buffer = vec![0; most(from)];
    let (mut at, mut left) = (from, MOST_SEARCHED);
    while at.saturating_add(FRAME_HEADER as u64) <= len && left > 0 {
        match data_from(file, at) {
            // A marker may lie across the edge of a hole that ends in its zeros; none begins there.
            Some(data) if data > at => at = data,
            Some(_) => {}
            None => break,
        }
        let wanted = most(at).min(buffer.len());
        let got = read_some(file, &mut buffer[..wanted], at)?;
        if got < FRAME_HEADER {
            break;
        }
        for found in marker.find_iter(&buffer[..got]) {
            let offset = at + found as u64;
            if header_at(file, offset, len)?.is_some() {
                return Ok(Some(offset));
            }
        }
        // A marker may lie across the end of what was read.
        let passed = (got - (MARKER.len() - 1)) as u64;
        at += passed;
        left = left.saturating_sub(passed);
    }
    Ok(None)
}

/// Where the first data lies from an offset on; `None` where only a hole follows. The offset itself
/// where the file system cannot tell.
fn data_from(file: &File, at: u64) -> Option<u64> {
    match rustix::fs::seek(file, SeekFrom::Data(at)) {
        Ok(data) => Some(data.max(at)),
        Err(Errno::NXIO) => None,
        Err(_) => Some(at),
    }
}

/// Reads what is there, up to the length of `buffer`.
pub(super) fn read_some(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match file.read_at(&mut buffer[got..], at + got as u64) {
            Ok(0) => break,
            Ok(more) => got += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}
