//! A line on stderr that is written over again and again, where that is a terminal.

use std::io::{IsTerminal as _, Write as _};

pub(super) struct Progress {
    is_terminal: bool,
    /// Bytes of the line that stands there.
    written: usize,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { is_terminal: std::io::stderr().is_terminal(), written: 0 }
    }

    /// Whether anybody sees it.
    pub(super) const fn is_seen(&self) -> bool {
        self.is_terminal
    }

    pub(super) fn show(&mut self, line: &str) {
        if self.is_terminal {
            // Blanks over what a longer line has left.
            let _ = write!(std::io::stderr(), "\r{line:<width$}", width = self.written);
            self.written = line.len();
        }
    }

    /// Room for something else.
    pub(super) fn clear(&mut self) {
        if self.written > 0 {
            let _ = write!(std::io::stderr(), "\r{:width$}\r", "", width = self.written);
            self.written = 0;
        }
    }
}
