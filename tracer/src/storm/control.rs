//! When to stop: the deadline, a signal, or the one who started it hanging up.

use std::os::unix::fs::FileTypeExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};
use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Why a run came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// All that was asked for was done.
    Complete,
    /// `--duration` was over first.
    Duration,
    /// SIGINT, SIGTERM or SIGHUP came.
    Signal,
    /// The pipe on standard input was closed from the other end.
    Hangup,
    /// Connections kept failing.
    Failing,
}

/// Longest nap between two looks at the flag: a signal may land on any thread, and does not
/// reliably cut short a sleep in this one.
const NAP: Duration = Duration::from_millis(20);

/// Shared by all threads of a run.
pub(super) struct Control {
    deadline: Instant,
    signal: Arc<AtomicUsize>,
    registered: Vec<SigId>,
    watches_stdin: bool,
    /// Connections done so far, for the progress line; written seldom.
    pub(super) done: AtomicU64,
}

impl Control {
    /// A control that ends after `duration` and by nothing else.
    pub(super) fn until(duration: Duration) -> Self {
        Self {
            deadline: Instant::now() + duration,
            signal: Arc::new(AtomicUsize::new(0)),
            registered: Vec::new(),
            watches_stdin: false,
            done: AtomicU64::new(0),
        }
    }

    /// Ends by signals too. The handlers replace whatever disposition was inherited, so a run
    /// started in the background of a shell, where SIGINT is ignored, can still be interrupted.
    pub(super) fn on_signals(mut self) -> anyhow::Result<Self> {
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let value = usize::try_from(signal).unwrap_or(usize::MAX);
            let id = signal_hook::flag::register_usize(signal, Arc::clone(&self.signal), value)
                .context("cannot handle signals")?;
            self.registered.push(id);
        }
        Ok(self)
    }

    /// Ends when standard input is a pipe and its other end is closed. Anything else there, such
    /// as `/dev/null`, is at its end from the beginning and says nothing.
    pub(super) fn on_hangup(mut self) -> Self {
        self.watches_stdin = std::fs::metadata("/dev/stdin")
            .is_ok_and(|stdin| stdin.file_type().is_fifo() || stdin.file_type().is_socket());
        self
    }

    /// The reason to stop now, if there is one. Cheap enough to ask once a connection.
    pub(super) fn ended(&self) -> Option<Ended> {
        if self.signal.load(Ordering::Relaxed) != 0 {
            return Some(Ended::Signal);
        }
        (Instant::now() >= self.deadline).then_some(Ended::Duration)
    }

    /// Sleeps for `time`, or until there is a reason to stop.
    pub(super) fn sleep(&self, time: Duration) -> Option<Ended> {
        let until = Instant::now() + time;
        loop {
            let ended = self.ended().or_else(|| self.hangup());
            let left = until.saturating_duration_since(Instant::now());
            if ended.is_some() || left.is_zero() {
                return ended;
            }
            std::thread::sleep(left.min(NAP));
        }
    }

    fn hangup(&self) -> Option<Ended> {
        (self.watches_stdin && stdin_is_closed()).then_some(Ended::Hangup)
    }

    /// What is left until the deadline.
    pub(super) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        for id in self.registered.drain(..) {
            signal_hook::low_level::unregister(id);
        }
    }
}

/// Whether the other end of standard input is gone; reads nothing.
pub(super) fn stdin_is_closed() -> bool {
    let stdin = std::io::stdin();
    let mut fds = [PollFd::new(&stdin, PollFlags::RDHUP)];
    let hup = PollFlags::HUP | PollFlags::RDHUP | PollFlags::ERR | PollFlags::NVAL;
    poll(&mut fds, Some(&Timespec::default())).is_ok() && fds[0].revents().intersects(hup)
}
