//! Takes events and samples in and hands frames to the thread that writes them.
//!
//! What is handed over waits in a `Queue` of bounded size. A disk that cannot keep up leaves samples
//! there; events wait in the kernel's ring ([`Writer::is_behind`]), which counts what it loses.

use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail};

use super::disk::{Disk, Frame, Message};
use super::events::EventsEncoder;
use super::frame::Kind;
use super::payload::encode_checkpoint;
use super::queue::{Gone, Queue};
use super::sample::SampleRecord;
use super::{Checkpoint, Run, Why};
use crate::event::{Event, Input};
use crate::time::{Monotonic, Wall};

/// Most events of a frame.
const EVENTS_A_FRAME: usize = 65_536;
/// A frame is sealed earlier when its events take so much.
const BYTES_A_FRAME: usize = 8 << 20;
/// Events between two looks at the clock.
const EVENTS_A_LOOK: usize = 1024;
/// A checkpoint is due after so much time, or so many bytes on disk: what a seek has to read. A
/// megabyte are a quarter of a million events, about 10 ms.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(30);
const CHECKPOINT_BYTES: u64 = 1 << 20;
/// Frames of a bounded trace: small ones, so that little waits for the disk when a piece is full.
const FRAMES_A_BOUND: u64 = 64;

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
    /// Events written.
    pub events: u64,
    /// Bytes on disk, all pieces that are still there.
    pub bytes: u64,
    /// Frames written.
    pub frames: u64,
    /// Intervals written, each with its sample.
    pub intervals: u64,
    /// Pieces begun.
    pub pieces: u32,
    /// Pieces dropped for room.
    pub dropped_pieces: u32,
    /// Intervals that are missing because the disk stalled for too long.
    pub left_out: u64,
}

/// What a finished recording is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The newest piece.
    pub path: PathBuf,
    /// How much.
    pub progress: Progress,
    /// What happened on the way and was not asked for yet, for people.
    pub notes: Vec<String>,
}

/// What the thread tells.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) progress: Progress,
    pub(super) notes: Vec<String>,
    /// Bytes written since the last checkpoint.
    pub(super) since_checkpoint: u64,
    /// The next interval may not fit into the piece.
    pub(super) is_nearly_full: bool,
    /// Of a bounded trace: how full the piece is.
    pub(super) piece: Option<Filled>,
    /// Bytes of payloads that were handed over and are not written yet.
    pub(super) queued: u64,
    /// Bytes of the last checkpoint.
    pub(super) checkpoint: u64,
}

/// How full a piece is, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filled {
    pub(super) taken: u64,
    pub(super) limit: u64,
}

impl Told {
    /// Whether what is yet to come before anybody looks again may not fit into the piece. A state that
    /// takes much of a piece itself is not worth one more.
    fn is_full_in_the_midst(&self) -> bool {
        self.piece.is_some_and(|piece| {
            piece.taken + self.queued + piece.limit / 4 > piece.limit
                && self.checkpoint < piece.limit / 8
        })
    }
}

/// [`Told`], on both sides.
#[derive(Clone, Debug, Default)]
pub(super) struct Shared(Arc<Mutex<Told>>);

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Told> {
        // Plain numbers: a panic in between leaves them no worse than a moment earlier.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A recording that goes on.
pub struct Writer {
    /// `None` when nothing more is to come.
    queue: Option<Queue>,
    /// `None` once it has ended with an error and the error was told.
    thread: Option<JoinHandle<Result<Summary>>>,
    shared: Shared,
    sync: Duration,
    /// A frame is sealed earlier when its events take so much.
    frame_bytes: usize,
    /// The number of pieces when one was asked for that the disk has not begun yet.
    asked_at: Option<u32>,
    encoder: EventsEncoder,
    /// Of the events that are not sealed: since when they wait, and their times.
    waiting: Option<Waiting>,
    events: u64,
    /// The last moment that was told.
    last: Monotonic,
    has_baseline: bool,
    wants_rotation: bool,
    last_checkpoint: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    since: Instant,
    first: Monotonic,
    last: Monotonic,
}

impl Writer {
    /// Begins a recording.
    ///
    /// # Errors
    ///
    /// The file is there already, somebody writes to it, or it cannot be made.
    pub fn create(options: Options, run: Run) -> Result<Self> {
        Self::begin(options, None, run)
    }

    /// Begins a recording into something that is open already, such as stdout or a FIFO; the path of
    /// `options` is its name for people.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn into_stream(stream: File, options: Options, run: Run) -> Result<Self> {
        Self::begin(options, Some(stream), run)
    }

    fn begin(options: Options, stream: Option<File>, run: Run) -> Result<Self> {
        let shared = Shared::default();
        let sync = options.sync;
        let bound = options.max_bytes.unwrap_or(u64::MAX);
        let frame_bytes = usize::try_from(bound / FRAMES_A_BOUND).unwrap_or(usize::MAX);
        let has_baseline = run.baseline.is_some();
        let disk = Disk::create(options, stream, run, shared.clone())?;
        let (queue, receiver) = Queue::new();
        let thread = std::thread::Builder::new()
            .name("sockflow-disk".to_owned())
            .spawn(move || disk.run(&receiver))
            .context("cannot start the thread that writes the trace")?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
            shared,
            sync,
            frame_bytes: frame_bytes.min(BYTES_A_FRAME),
            asked_at: None,
            encoder: EventsEncoder::new(),
            waiting: None,
            events: 0,
            last: Monotonic(0),
            has_baseline,
            wants_rotation: false,
            last_checkpoint: Instant::now(),
        })
    }

    /// Takes an event in.
    ///
    /// # Errors
    ///
    /// What went before could not be written.
    pub fn event(&mut self, event: &Event) -> Result<()> {
        self.encoder.push(event);
        self.events += 1;
        let waiting = self.waiting.get_or_insert_with(|| Waiting {
            since: Instant::now(),
            first: event.at,
            last: event.at,
        });
        waiting.first = waiting.first.min(event.at);
        waiting.last = waiting.last.max(event.at);
        let is_full =
            self.encoder.len() >= EVENTS_A_FRAME || self.encoder.size_hint() >= self.frame_bytes;
        if is_full {
            return self.seal();
        }
        if self.encoder.len().is_multiple_of(EVENTS_A_LOOK) {
            return self.seal_if_due();
        }
        Ok(())
    }

    /// Ends an interval, with what was said in it; the last of it is the tick.
    ///
    /// # Errors
    ///
    /// What went before could not be written.
    pub fn sample(&mut self, inputs: &[Input]) -> Result<()> {
        for input in inputs {
            match input {
                Input::Event(event) => self.event(event)?,
                Input::Gauges(gauges) if !self.has_baseline => {
                    self.has_baseline = true;
                    self.send(Message::Baseline(gauges.clone()))?;
                }
                _ => {}
            }
        }
        let Some(Input::Tick(at)) = inputs.last() else { bail!("an interval without an end") };
        self.seal()?;
        let sample = SampleRecord::of(inputs, wall(), self.events);
        self.send(Message::Frame(Frame {
            kind: Kind::Sample,
            events: 0,
            first_ns: at.0,
            last_ns: at.0,
            payload: serde_json::to_vec(&sample).context("cannot encode a sample")?,
        }))?;
        self.last = *at;
        Ok(())
    }

    /// To be called after a sample, when it has been folded: begins a new piece if one is due, and
    /// keeps a checkpoint if one is. `checkpoint` gives the fold's state.
    ///
    /// # Errors
    ///
    /// What went before could not be written.
    pub fn sampled(&mut self, checkpoint: impl FnOnce() -> Checkpoint) -> Result<()> {
        // Both are for a disk that keeps up.
        if self.is_behind() {
            return Ok(());
        }
        if std::mem::take(&mut self.wants_rotation) {
            return self.begin_piece(Why::Asked, checkpoint);
        }
        if self.wants_piece(|told| told.is_nearly_full) {
            return self.begin_piece(Why::Size, checkpoint);
        }
        self.checkpoint_if_due(checkpoint)
    }

    /// Whether a new piece is due by what the disk tells, and none was asked for.
    fn wants_piece(&self, is_full: impl FnOnce(&Told) -> bool) -> bool {
        let told = self.shared.lock();
        self.asked_at != Some(told.progress.pieces) && is_full(&told)
    }

    /// The new piece begins with a state of this very moment.
    fn begin_piece(&mut self, why: Why, checkpoint: impl FnOnce() -> Checkpoint) -> Result<()> {
        self.seal()?;
        self.asked_at = Some(self.shared.lock().progress.pieces);
        self.send(Message::Rotate(why))?;
        self.checkpoint(&checkpoint())
    }

    /// Keeps a checkpoint if one is due, in a piece of its own where the piece is nearly full: what is
    /// dropped later with older pieces is then known to it. To be called often, also within an interval,
    /// when all events taken in have been folded. `checkpoint` gives the fold's state.
    ///
    /// # Errors
    ///
    /// What went before could not be written.
    pub fn checkpoint_if_due(&mut self, checkpoint: impl FnOnce() -> Checkpoint) -> Result<()> {
        if self.wants_piece(Told::is_full_in_the_midst) && !self.is_behind() {
            return self.begin_piece(Why::Size, checkpoint);
        }
        let is_due = self.last_checkpoint.elapsed() >= CHECKPOINT_EVERY
            || self.shared.lock().since_checkpoint >= CHECKPOINT_BYTES;
        if is_due && !self.is_behind() { self.checkpoint(&checkpoint()) } else { Ok(()) }
    }

    /// Seals events that have waited for as long as [`Options::sync`] allows. To be called often.
    ///
    /// # Errors
    ///
    /// What went before could not be written.
    pub fn seal_if_due(&mut self) -> Result<()> {
        if let Some(Err(Gone)) = self.queue.as_mut().map(Queue::flush) {
            return Err(self.failure());
        }
        if self.waiting.is_some_and(|waiting| waiting.since.elapsed() >= self.sync) {
            self.seal()?;
        }
        if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
            return Err(self.failure());
        }
        Ok(())
    }

    /// Whether the disk has not taken all that was handed over: events are better left where they
    /// are then.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.queue.as_ref().is_some_and(Queue::is_behind)
    }

    /// Lets so many bytes wait for the disk.
    #[cfg(test)]
    pub(super) fn bound_queue(&mut self, most_bytes: usize) {
        if let Some(queue) = &mut self.queue {
            queue.set_most_bytes(most_bytes);
        }
    }

    /// Asks for a new piece, which begins with the next sample.
    pub const fn rotate(&mut self) {
        self.wants_rotation = true;
    }

    /// What was written so far.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.shared.lock().progress.clone()
    }

    /// What happened since this was last asked, for people.
    pub fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.shared.lock().notes)
    }

    /// Ends the recording cleanly. Takes as long as what is not written yet needs.
    ///
    /// # Errors
    ///
    /// Something could not be written.
    pub fn finish(mut self, why: Why) -> Result<Summary> {
        self.seal()?;
        self.send(Message::Finish(why))?;
        self.flush();
        let Some(thread) = self.thread.take() else { return Err(self.failure()) };
        thread.join().map_err(|_| anyhow!("the thread that writes the trace panicked"))?
    }

    /// Ends the recording and takes its file away: what it was to record never began.
    pub fn discard(mut self) {
        self.waiting = None;
        // No room for it is no matter: then the file says that it was not closed, and goes as well.
        let _ = self.send(Message::Discard);
        self.flush();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }

    fn seal(&mut self) -> Result<()> {
        let Some(waiting) = self.waiting.take() else { return Ok(()) };
        self.last = self.last.max(waiting.last);
        let events = u32::try_from(self.encoder.len()).context("too many events for a frame")?;
        let mut payload = Vec::with_capacity(self.encoder.size_hint());
        self.encoder.finish(&mut payload);
        self.send(Message::Frame(Frame {
            kind: Kind::Events,
            events,
            first_ns: waiting.first.0,
            last_ns: waiting.last.0,
            payload,
        }))
    }

    fn checkpoint(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        // What it knows has to lie before it.
        self.seal()?;
        self.last_checkpoint = Instant::now();
        // The thread sets it to 0 when this one is written; until then it is due no more.
        self.shared.lock().since_checkpoint = 0;
        self.send(Message::Frame(Frame {
            kind: Kind::Checkpoint,
            events: 0,
            first_ns: self.last.0,
            last_ns: self.last.0,
            payload: encode_checkpoint(checkpoint, self.events),
        }))
    }

    fn send(&mut self, message: Message) -> Result<()> {
        self.shared.lock().queued += message.payload_bytes();
        match self.queue.as_mut().map(|queue| queue.send(message)) {
            Some(Ok(())) => Ok(()),
            Some(Err(Gone)) | None => Err(self.failure()),
        }
    }

    /// Hands on all that waits, however long that takes; where the thread is gone it says why.
    fn flush(&mut self) {
        let _ = self.queue.as_mut().map(Queue::finish);
    }

    /// Why the thread ended, told once.
    fn failure(&mut self) -> anyhow::Error {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(Err(error))) => error,
            Some(Ok(Ok(_))) | None => anyhow!("recording has ended"),
            Some(Err(_)) => anyhow!("the thread that writes the trace panicked"),
        }
    }
}

/// Without [`Writer::finish`], after an error or a panic: what was taken in is written, but the
/// file does not say that it is whole.
impl Drop for Writer {
    fn drop(&mut self) {
        if self.thread.is_none() {
            return;
        }
        let _ = self.seal();
        self.flush();
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The wall clock now.
fn wall() -> Wall {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Wall(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}
