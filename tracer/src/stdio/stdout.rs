//! stdout: what it cannot take is an error of the command, and why is remembered.

#![expect(clippy::disallowed_methods, reason = "this is the place that writes to stdout")]

use std::io::{self, ErrorKind, IsTerminal as _, Write};
use std::sync::OnceLock;

use rustix::event::{PollFd, PollFlags, poll};

/// Why stdout took no more, the first time.
static FAILURE: OnceLock<(ErrorKind, Option<i32>)> = OnceLock::new();

/// stdout, buffered up to the end of a line.
#[must_use]
pub fn out() -> Out {
    Out(io::stdout())
}

/// stdout for the screen, which draws on it whatever becomes of the drawing.
#[must_use]
pub fn screen() -> io::Stdout {
    io::stdout()
}

/// Whether stdout is a terminal.
#[must_use]
pub fn out_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Why stdout took no more, if `error` is about that: a broken pipe is the reader's good right.
#[must_use]
pub fn out_failure(error: &anyhow::Error) -> Option<io::Error> {
    let (kind, code) = FAILURE.get()?;
    let is_it = |cause: &io::Error| cause.kind() == *kind;
    let concerned = error.chain().any(|cause| cause.downcast_ref().is_some_and(is_it));
    concerned.then(|| code.map_or_else(|| (*kind).into(), io::Error::from_raw_os_error))
}

/// A writer to stdout that remembers why it failed.
#[derive(Debug)]
pub struct Out(io::Stdout);

impl Out {
    /// As often as somebody else's non-blocking pipe, which is ours too, has no room: waits.
    fn retried<T>(&mut self, work: impl Fn(&mut io::Stdout) -> io::Result<T>) -> io::Result<T> {
        loop {
            match work(&mut self.0) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let stream = rustix::stdio::stdout();
                    match poll(&mut [PollFd::from_borrowed_fd(stream, PollFlags::OUT)], None) {
                        Ok(_) | Err(rustix::io::Errno::INTR) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                Err(error) if error.kind() != ErrorKind::Interrupted => {
                    let _ = FAILURE.set((error.kind(), error.raw_os_error()));
                    return Err(error);
                }
                result => return result,
            }
        }
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.retried(|out| out.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.retried(Write::flush)
    }
}
