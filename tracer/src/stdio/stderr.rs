//! stderr: notes, errors, a progress line. Nothing here fails or waits for long.
//!
//! Every line passes [`sanitize`]: it may name files, processes and arguments, which strangers
//! chose.

use std::fmt::{self, Display};
use std::io::IsTerminal as _;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::sanitize::{sanitize, width};

/// Messages that could not be written.
static DROPPED: AtomicU64 = AtomicU64::new(0);
/// How many of [`DROPPED`] a later message has told.
static TOLD: AtomicU64 = AtomicU64::new(0);
/// The last message found no room: the next one is not waited for.
static STUCK: AtomicBool = AtomicBool::new(false);

/// How long a message may wait for a reader that is slow (a pipe that is full, a terminal stopped
/// with Ctrl-S) while there is other work to do.
const PATIENCE: Duration = Duration::from_millis(100);
/// The same for what a command says last, when nothing else is held up.
const LAST_PATIENCE: Duration = Duration::from_secs(2);
/// PIPE_BUF: what a pipe that is ready takes at once without blocking.
const AT_ONCE: usize = 4096;

/// Something worth saying while the command goes on: `sockflow: note: …`.
pub fn note(text: impl Display) {
    send(&line(format_args!("sockflow: note: {text}")), PATIENCE);
}

/// A line as it is.
pub fn say(text: impl Display) {
    send(&line(text), PATIENCE);
}

/// A line as it is, when the command is over: a slow reader gets more time.
pub fn last_words(text: impl Display) {
    send(&line(text), LAST_PATIENCE);
}

/// Several lines when the command is over, such as the text of an error.
pub fn lines(text: &str) {
    let lines: String = text.lines().map(line).collect();
    send(&lines, LAST_PATIENCE);
}

/// How many messages could not be written so far.
#[must_use]
pub fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// At the end of a command: tells, if it can, how many messages were dropped and not told yet.
pub fn tell_dropped() {
    if dropped() > TOLD.load(Ordering::Relaxed) {
        send("", Duration::ZERO);
    }
}

/// Whether stderr is a terminal.
#[must_use]
pub fn is_terminal() -> bool {
    stream().is_terminal()
}

/// Has panics told here: the standard message, without what a terminal would act on.
pub fn print_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("without a name");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("no message");
        let mut text = format!(
            "sockflow: a bug: thread {name} panicked at {place}: {}\n  hint: with the place in the \
             code: RUST_BACKTRACE=1 sockflow …",
            sanitize(message)
        );
        let trace = std::backtrace::Backtrace::capture();
        if trace.status() == std::backtrace::BacktraceStatus::Captured {
            text.push_str(&format!("\n{trace}"));
        }
        lines(&text);
    }));
}

/// A line that is written over again and again, where stderr is a terminal.
#[derive(Debug)]
pub struct Line {
    is_seen: bool,
    /// Terminal cells of the line that stands there.
    cells: usize,
}

impl Default for Line {
    fn default() -> Self {
        Self { is_seen: is_terminal(), cells: 0 }
    }
}

impl Line {
    /// Whether anybody sees it.
    #[must_use]
    pub const fn is_seen(&self) -> bool {
        self.is_seen
    }

    /// Replaces the line. Dropped and not counted where it cannot be written: another one follows.
    pub fn show(&mut self, text: &str) {
        if self.is_seen {
            let text = sanitize(text);
            let cells = width(&text);
            // Blanks over what a longer line has left.
            let blanks = self.cells.saturating_sub(cells);
            let _ = write(&format!("\r{text}{:blanks$}", ""), Duration::ZERO);
            self.cells = cells;
        }
    }

    /// Makes room for something else.
    pub fn clear(&mut self) {
        if self.cells > 0 {
            let _ = write(&format!("\r{:cells$}\r", "", cells = self.cells), Duration::ZERO);
            self.cells = 0;
        }
    }
}

/// `text` as one harmless line.
fn line(text: impl Display) -> String {
    let text = text.to_string();
    format!("{}\n", sanitize(&text))
}

/// Writes whole lines, preceded by how many were dropped before them; or drops and counts them.
fn send(lines: &str, patience: Duration) {
    let patience = if STUCK.load(Ordering::Relaxed) { Duration::ZERO } else { patience };
    let (dropped, told) = (dropped(), TOLD.load(Ordering::Relaxed));
    let written = if dropped > told {
        let all = format!("{}{lines}", Missing(dropped - told));
        write(&all, patience).inspect(|()| TOLD.store(dropped, Ordering::Relaxed))
    } else {
        write(lines, patience)
    };
    STUCK.store(written == Err(Errno::TIMEDOUT), Ordering::Relaxed);
    if written.is_err() && !lines.is_empty() {
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

/// The line that stands for dropped ones.
struct Missing(u64);

impl Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (is_one, count) = (self.0 == 1, self.0);
        let messages = if is_one { "message" } else { "messages" };
        writeln!(f, "sockflow: note: {count} {messages} could not be written to stderr")
    }
}

fn stream() -> BorrowedFd<'static> {
    rustix::stdio::stderr()
}

/// Writes all of `text`, and waits no longer than `patience` for a reader that is slow.
fn write(text: &str, patience: Duration) -> Result<(), Errno> {
    let until = Instant::now() + patience;
    for mut rest in text.as_bytes().chunks(AT_ONCE) {
        while !rest.is_empty() {
            wait_for_room(until)?;
            match rustix::io::write(stream(), rest) {
                Ok(written) => rest = &rest[written..],
                // A descriptor that does not block, and room that is gone again.
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

fn wait_for_room(until: Instant) -> Result<(), Errno> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(|_| Errno::TIMEDOUT)?;
        match poll(&mut [PollFd::from_borrowed_fd(stream(), PollFlags::OUT)], Some(&left)) {
            Ok(0) => return Err(Errno::TIMEDOUT),
            Err(Errno::INTR) => {}
            // Ready, or broken, or nothing that can be polled: writing says which.
            Ok(_) | Err(_) => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_whatever_is_in_it() {
        assert_eq!(line("a\n  hint: rm -rf\x1b[2J"), "a\\x0a  hint: rm -rf\\x1b[2J\n");
    }

    #[test]
    fn what_was_dropped_is_said_in_words() {
        assert_eq!(
            Missing(1).to_string(),
            "sockflow: note: 1 message could not be written to stderr\n"
        );
        assert!(Missing(12).to_string().contains("12 messages"));
    }
}
