//! The thread that compresses, checks and writes frames; `room` decides where they go.

mod room;

use std::collections::VecDeque;
use std::fs::File;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use crc32c::crc32c;

use super::frame::{
    CARRIED, FRAME_HEADER, FileHeader, FrameHeader, Kind, MOST_RAW, MOST_STORED, ZSTD,
};
use super::payload::EndRecord;
use super::pieces;
use super::target::{self, MOST_OLDER, Target};
use super::writer::{Filled, Options, Shared, Summary};
use super::{Run, Why};
use crate::error::{Failure, Kind as Exit};
use crate::gauges::Gauges;
use crate::place;

/// The default of zstd: 65,536 events take some milliseconds.
const LEVEL: i32 = 3;
/// Payloads shorter than this do not shrink.
const WORTH_COMPRESSING: usize = 128;
/// Room that is kept for the frame that ends a piece.
const END_RESERVE: u64 = 512;
/// The smallest limit: a piece must hold what begins it and some frames.
const LEAST_LIMIT: u64 = 128 << 10;
/// Notes kept in a host frame.
const MOST_NOTES: usize = 64;
/// However often somebody wants to sync, commands come first.
const LEAST_SYNC: Duration = Duration::from_millis(10);

/// What the thread is told.
#[derive(Debug)]
pub(super) enum Message {
    Frame(Frame),
    /// The first gauges of the recording, for the pieces to come.
    Baseline(Gauges),
    /// Begin a new piece; a checkpoint of this moment follows.
    Rotate(Why),
    Finish(Why),
    /// So many samples found no room in memory while the disk stalled.
    LeftOut {
        samples: u64,
    },
    /// Take the file away again.
    Discard,
}

impl Message {
    /// Bytes that are sure to be written: samples, small as they are, may be left out on the way.
    pub(super) const fn payload_bytes(&self) -> u64 {
        match self {
            Self::Frame(frame) if !matches!(frame.kind, Kind::Sample) => frame.payload.len() as u64,
            _ => 0,
        }
    }
}

/// A frame to be written.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) events: u32,
    pub(super) first_ns: u64,
    pub(super) last_ns: u64,
    pub(super) payload: Vec<u8>,
}

/// The recording's files.
pub(super) struct Disk {
    options: Options,
    run: Run,
    trace: u64,
    target: Target,
    shared: Shared,
    compressor: zstd::bulk::Compressor<'static>,
    /// Bytes of the older pieces, the newest of them first; kept under a limit only.
    older: VecDeque<u64>,
    /// Most bytes of a piece.
    piece_limit: u64,
    /// Where what begins the piece ends.
    preamble: u64,
    is_preamble: bool,
    sequence: u32,
    events: u64,
    last_ns: u64,
    /// The last checkpoint, for a piece that begins within an interval.
    checkpoint: Option<Frame>,
    /// Where the piece was when its last sample was written.
    at_sample: u64,
    is_dirty: bool,
    synced: Instant,
    is_moved: bool,
}

impl Disk {
    /// Makes the first piece.
    pub(super) fn create(
        mut options: Options,
        stream: Option<File>,
        run: Run,
        shared: Shared,
    ) -> Result<Self> {
        let target = match stream {
            Some(stream) => Target::stream(stream, &options.path),
            None => Target::create(&options)?,
        };
        if !target.is_regular {
            options.max_bytes = None;
        }
        if options.max_bytes.is_some_and(|most| most < LEAST_LIMIT) {
            target.discard();
            let hint = format!("--max-size {}K", LEAST_LIMIT >> 10);
            return Err(Failure::usage("too little room for a trace").hint(hint).into());
        }
        options.path.clone_from(&target.path);
        options.sync = options.sync.max(LEAST_SYNC);
        let mut this = Self {
            trace: random(),
            piece_limit: options
                .max_bytes
                .map_or(u64::MAX, |most| most / u64::from(MOST_OLDER + 1)),
            options,
            run,
            target,
            shared,
            compressor: zstd::bulk::Compressor::new(LEVEL).context("cannot set up zstd")?,
            older: VecDeque::new(),
            preamble: 0,
            is_preamble: false,
            sequence: 0,
            events: 0,
            last_ns: 0,
            checkpoint: None,
            at_sample: 0,
            is_dirty: false,
            synced: Instant::now(),
            is_moved: false,
        };
        this.run.piece = 0;
        this.run.began_for = Why::Start;
        this.last_ns = this.run.began.0;
        // What could not begin leaves nothing that is in the way of the next.
        this.begin_piece().inspect_err(|_| this.target.discard())?;
        Ok(this)
    }

    /// Writes what it is told until it is told to finish.
    pub(super) fn run(mut self, receiver: &Receiver<Message>) -> Result<Summary> {
        let result = self.serve(receiver);
        if let Err(error) = &result {
            // So that a reader learns why there is no more. It may well fail for the same reason.
            let full = error.chain().any(|cause| cause.downcast_ref().is_some_and(target::is_full));
            let _ = self.end(if full { Why::DiskFull } else { Why::Failed });
            let _ = self.target.sync();
        }
        result
    }

    fn serve(&mut self, receiver: &Receiver<Message>) -> Result<Summary> {
        loop {
            let due = self.options.sync.saturating_sub(self.synced.elapsed());
            let message = receiver.recv_timeout(due);
            let payload_bytes = message.as_ref().map_or(0, Message::payload_bytes);
            match message {
                Ok(Message::Frame(frame)) => {
                    if frame.kind == Kind::Checkpoint {
                        self.checkpoint = Some(frame.clone());
                    }
                    self.write(&frame, 0)?;
                }
                Ok(Message::Baseline(gauges)) => self.run.baseline = Some(gauges),
                Ok(Message::Rotate(why)) => {
                    // The state of this moment comes next: better than the one we have.
                    self.checkpoint = None;
                    self.rotate(why)?;
                }
                Ok(Message::Finish(why)) => {
                    self.end(why)?;
                    self.sync()?;
                    return Ok(self.summary());
                }
                Ok(Message::LeftOut { samples }) => self.samples_left_out(samples)?,
                Ok(Message::Discard) => {
                    self.target.discard();
                    return Ok(self.summary());
                }
                Err(RecvTimeoutError::Timeout) => {}
                // Dropped without an end, because of a panic: the file tells that it has none.
                Err(RecvTimeoutError::Disconnected) => {
                    self.sync()?;
                    return Ok(self.summary());
                }
            }
            self.shared.lock().queued -= payload_bytes;
            if self.synced.elapsed() >= self.options.sync {
                self.sync()?;
                self.look_after()?;
            }
        }
    }

    /// How full the piece is, for whoever hands over frames.
    fn filled(&self) -> Option<Filled> {
        self.options.max_bytes?;
        Some(Filled { taken: self.target.bytes, limit: self.piece_limit })
    }

    fn summary(&self) -> Summary {
        let mut told = self.shared.lock();
        Summary {
            path: self.target.path.clone(),
            progress: told.progress.clone(),
            notes: std::mem::take(&mut told.notes),
        }
    }

    fn sync(&mut self) -> Result<()> {
        self.synced = Instant::now();
        if std::mem::take(&mut self.is_dirty) {
            self.target.sync().map_err(|error| self.cannot_write(error))?;
        }
        Ok(())
    }

    /// Begins a piece at the path, which is free now.
    fn next_piece(&mut self, why: Why) -> Result<()> {
        self.target = Target::create_new(&self.options.path)?;
        self.is_moved = false;
        self.run.piece = self.run.piece.saturating_add(1);
        self.run.began_for = why;
        self.begin_piece()
    }

    /// Writes what every piece begins with.
    fn begin_piece(&mut self) -> Result<()> {
        self.is_preamble = true;
        let payload = self.run.encode().context("cannot encode the host frame")?;
        let at = self.last_ns;
        let host = Frame { kind: Kind::Host, events: 0, first_ns: at, last_ns: at, payload };
        self.write(&host, 0)?;
        // One that leaves no room for anything else is no use.
        let carried = self.checkpoint.take_if(|_| self.run.piece > 0);
        if let Some(checkpoint) = carried {
            if (checkpoint.payload.len() as u64) < self.piece_limit / 2 {
                self.write(&checkpoint, CARRIED)?;
            }
            self.checkpoint = Some(checkpoint);
        }
        self.is_preamble = false;
        self.preamble = self.target.bytes;
        self.at_sample = self.target.bytes;
        let filled = self.filled();
        let mut told = self.shared.lock();
        told.progress.pieces += 1;
        told.is_nearly_full = false;
        told.piece = filled;
        Ok(())
    }

    /// Writes a frame, into a new piece if need be.
    fn write(&mut self, frame: &Frame, flags: u8) -> Result<()> {
        let raw_len = u32::try_from(frame.payload.len()).unwrap_or(u32::MAX);
        let packed = if frame.payload.len() >= WORTH_COMPRESSING && raw_len <= MOST_RAW {
            let packed = self.compressor.compress(&frame.payload);
            Some(packed.context("cannot compress")?).filter(|it| it.len() < frame.payload.len())
        } else {
            None
        };
        let flags = if packed.is_some() { flags | ZSTD } else { flags };
        let stored = packed.as_deref().unwrap_or(&frame.payload);
        let stored_len = u32::try_from(stored.len()).unwrap_or(u32::MAX);
        let size = (FRAME_HEADER + stored.len()) as u64;
        let fits = raw_len <= MOST_RAW && stored_len <= MOST_STORED;
        if !fits || !self.make_room(frame.kind, size)? {
            return self.leave_out(frame, size);
        }
        let payload_crc = crc32c(stored);
        loop {
            let mut bytes = Vec::with_capacity(stored.len() + 2 * FRAME_HEADER);
            // The file's header goes with the first frame: there is never one without a frame.
            if self.target.bytes == 0 {
                bytes.extend_from_slice(&FileHeader::new(self.trace, self.run.piece).encode());
            }
            let header = FrameHeader {
                kind: frame.kind,
                flags,
                trace: self.trace,
                sequence: self.sequence,
                events: frame.events,
                events_before: self.events,
                first_ns: frame.first_ns,
                last_ns: frame.last_ns,
                stored_len,
                raw_len,
                payload_crc,
            };
            bytes.extend_from_slice(&header.encode());
            bytes.extend_from_slice(stored);
            match self.target.append(&bytes) {
                Ok(()) => break,
                Err(error) if target::is_full(&error) => self.relieve(frame.kind, error)?,
                Err(error) => return Err(self.cannot_write(error)),
            }
        }
        self.count(frame, size)
    }

    /// Counts a frame as the next of the trace.
    fn count(&mut self, frame: &Frame, size: u64) -> Result<()> {
        self.is_dirty = true;
        self.sequence = self.sequence.checked_add(1).context("the trace has too many frames")?;
        self.events += u64::from(frame.events);
        self.last_ns = self.last_ns.max(frame.last_ns);
        let bytes = self.target.bytes;
        let filled = self.filled();
        let mut told = self.shared.lock();
        told.piece = filled;
        told.progress.events = self.events;
        told.progress.frames += 1;
        told.progress.bytes = bytes + self.older.iter().sum::<u64>();
        told.since_checkpoint += size;
        match frame.kind {
            Kind::Checkpoint => {
                told.since_checkpoint = 0;
                told.checkpoint = size;
            }
            Kind::Sample => {
                told.progress.intervals += 1;
                // Another such interval, twice as long to be safe, must fit: a new piece begins
                // at the end of an interval rather than in its midst.
                let interval = bytes.saturating_sub(self.at_sample);
                told.is_nearly_full = self.options.max_bytes.is_some()
                    && bytes.saturating_add(2 * interval) > self.piece_limit;
                self.at_sample = bytes;
            }
            _ => {}
        }
        Ok(())
    }

    /// A frame that fits nowhere is missing from the trace, and its number tells so.
    fn leave_out(&mut self, frame: &Frame, size: u64) -> Result<()> {
        if frame.kind == Kind::Checkpoint {
            return Ok(());
        }
        if frame.kind == Kind::Host {
            bail!("what is known of this host does not fit into {} bytes", self.piece_limit);
        }
        self.note(format!(
            "an interval is not recorded: its {size} bytes are more than may be kept"
        ));
        self.sequence = self.sequence.checked_add(1).context("the trace has too many frames")?;
        self.events += u64::from(frame.events);
        Ok(())
    }

    /// Samples that no frame holds: their number is missing, and tells so.
    fn samples_left_out(&mut self, samples: u64) -> Result<()> {
        self.note(format!("the disk stalled for too long: {samples} intervals are not recorded"));
        let frames = u32::try_from(samples).unwrap_or(u32::MAX);
        self.sequence =
            self.sequence.checked_add(frames).context("the trace has too many frames")?;
        self.shared.lock().progress.left_out += samples;
        Ok(())
    }

    /// Writes the frame that ends a piece.
    fn end(&mut self, why: Why) -> Result<()> {
        let record = EndRecord {
            why,
            frames: u64::from(self.sequence),
            events: self.events,
            dropped_pieces: self.shared.lock().progress.dropped_pieces,
        };
        let payload = serde_json::to_vec(&record).context("cannot encode the end")?;
        let at = self.last_ns;
        let end = Frame { kind: Kind::End, events: 0, first_ns: at, last_ns: at, payload };
        match self.write(&end, 0) {
            // A piece without an end is a whole piece still, and the next is about to make room.
            Err(_) if why == Why::DiskFull => Ok(()),
            result => result,
        }
    }

    fn note(&mut self, note: String) {
        if self.run.notes.len() < MOST_NOTES {
            self.run.notes.push(note.clone());
        }
        let mut told = self.shared.lock();
        if told.notes.len() < MOST_NOTES {
            told.notes.push(note);
        }
    }

    fn cannot_write(&self, error: std::io::Error) -> anyhow::Error {
        let shown = self.target.path.display();
        let hint = place::hint(&self.target.path, &error);
        // A bound does not help who has one, nor who keeps nothing, nor where one file is too long.
        let is_bounded = self.options.max_bytes.is_some()
            || !self.target.is_regular
            || error.kind() == std::io::ErrorKind::FileTooLarge;
        let (what, hint) = if error.kind() == std::io::ErrorKind::BrokenPipe {
            (format!("the reader of {shown} has gone"), hint)
        } else if !target::is_full(&error) {
            (format!("cannot write {shown}"), hint)
        } else if is_bounded {
            (format!("no room for {shown}; what was written so far is whole"), hint)
        } else {
            let hint = format!("{hint}, or bound the trace: --max-size 1G");
            (format!("no room for {shown}; what was written so far is whole"), hint)
        };
        anyhow::Error::new(error).context(failure_of(what, hint))
    }
}

fn failure_of(what: String, hint: String) -> Failure {
    Failure { kind: Exit::Failed, what, hint: Some(hint) }
}

/// A number that no other trace has: the standard library's hash keys are the kernel's randomness.
fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    hasher.finish()
}
