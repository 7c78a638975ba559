//! Between the writer and the thread that writes: a few frames wait in the channel. A disk that stalls
//! must not hold up the samples, which nobody can take afterwards; so a bounded amount waits here.
//!
//! What finds no room: samples are left out and counted; for events the caller waits, so that the
//! kernel's ring runs full, which counts what it loses.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use super::disk::Message;
use super::frame::Kind;

/// Frames in the channel.
const CHANNEL: usize = 4;
/// Bytes that wait here: at some KiB a sample, an hour.
const MOST_BYTES: usize = 16 << 20;
/// So long the channel may have no room before a disk is said to stall.
const PATIENCE: Duration = Duration::from_millis(100);
const PAUSE: Duration = Duration::from_millis(1);

/// The thread is gone.
#[derive(Debug)]
pub(super) struct Gone;

/// The sending end.
#[derive(Debug)]
pub(super) struct Queue {
    sender: SyncSender<Message>,
    waiting: VecDeque<Message>,
    bytes: usize,
    most_bytes: usize,
    /// Samples left out that no message of the queue tells of yet.
    left_out: u64,
}

impl Queue {
    pub(super) fn new() -> (Self, Receiver<Message>) {
        let (sender, receiver) = sync_channel(CHANNEL);
        let queue = Self {
            sender,
            waiting: VecDeque::new(),
            bytes: 0,
            most_bytes: MOST_BYTES,
            left_out: 0,
        };
        (queue, receiver)
    }

    /// With room for so much only.
    #[cfg(test)]
    pub(super) const fn set_most_bytes(&mut self, most_bytes: usize) {
        self.most_bytes = most_bytes;
    }

    /// Whether the disk is behind: something waits here.
    pub(super) fn is_behind(&self) -> bool {
        !self.waiting.is_empty() || self.left_out > 0
    }

    /// Hands on what waits, as far as there is room now.
    pub(super) fn flush(&mut self) -> Result<(), Gone> {
        while let Some(message) = self.take() {
            match self.sender.try_send(message) {
                Ok(()) => {}
                Err(TrySendError::Full(message)) => {
                    self.put_back(message);
                    return Ok(());
                }
                Err(TrySendError::Disconnected(_)) => return Err(Gone),
            }
        }
        Ok(())
    }

    /// Hands on a message: at once, or after what waits.
    pub(super) fn send(&mut self, message: Message) -> Result<(), Gone> {
        self.flush()?;
        let message = if self.is_behind() {
            message
        } else {
            match self.try_for_a_while(message)? {
                Some(message) => message,
                None => return Ok(()),
            }
        };
        let (size, is_sample) = match &message {
            Message::Frame(frame) => (frame.payload.len(), frame.kind == Kind::Sample),
            _ => (0, false),
        };
        // Half is for samples alone.
        let most = if is_sample { self.most_bytes } else { self.most_bytes / 2 };
        if self.bytes + size <= most {
            self.tell_left_out();
            self.bytes += size;
            self.waiting.push_back(message);
            return Ok(());
        }
        if is_sample {
            self.left_out += 1;
            return Ok(());
        }
        self.finish()?;
        self.sender.send(message).map_err(|_| Gone)
    }

    /// Waits until nothing waits here any more.
    pub(super) fn finish(&mut self) -> Result<(), Gone> {
        while let Some(message) = self.take() {
            self.sender.send(message).map_err(|_| Gone)?;
        }
        Ok(())
    }

    /// The message, if there was no room for it.
    fn try_for_a_while(&self, mut message: Message) -> Result<Option<Message>, Gone> {
        let began = Instant::now();
        loop {
            match self.sender.try_send(message) {
                Ok(()) => return Ok(None),
                Err(TrySendError::Disconnected(_)) => return Err(Gone),
                Err(TrySendError::Full(back)) if began.elapsed() >= PATIENCE => {
                    return Ok(Some(back));
                }
                Err(TrySendError::Full(back)) => message = back,
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// The gap comes where it is in time.
    fn tell_left_out(&mut self) {
        if self.left_out > 0 {
            self.waiting
                .push_back(Message::LeftOut { samples: std::mem::take(&mut self.left_out) });
        }
    }

    fn take(&mut self) -> Option<Message> {
        if self.waiting.is_empty() {
            self.tell_left_out();
        }
        let message = self.waiting.pop_front()?;
        if let Message::Frame(frame) = &message {
            self.bytes -= frame.payload.len();
        }
        Some(message)
    }

    fn put_back(&mut self, message: Message) {
        if let Message::Frame(frame) = &message {
            self.bytes += frame.payload.len();
        }
        self.waiting.push_front(message);
    }
}
