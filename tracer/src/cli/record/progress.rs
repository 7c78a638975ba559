//! What a recording says on stderr while it runs, where that is a terminal, and at its end.

use std::path::Path;

use crate::aggregate::snapshot::{Lost, Snapshot};
use crate::format::{bytes, count, duration};
use crate::recording::Progress;
use crate::sanitize::sanitize;
use crate::stdio;

/// How much there is by now.
pub(super) struct Line {
    line: stdio::Line,
    events: u64,
    elapsed_s: f64,
}

impl Line {
    pub(super) fn new() -> Self {
        Self { line: stdio::Line::default(), events: 0, elapsed_s: 0.0 }
    }

    /// Elapsed, events, size, rate, lost.
    pub(super) fn show(&mut self, snapshot: &Snapshot, progress: &Progress) {
        if !self.line.is_seen() {
            return;
        }
        let seconds = snapshot.elapsed_s - self.elapsed_s;
        let rate = if seconds > 0.0 {
            progress.events.saturating_sub(self.events) as f64 / seconds
        } else {
            0.0
        };
        (self.events, self.elapsed_s) = (progress.events, snapshot.elapsed_s);
        let line = format!(
            "recording {}: {} events, {}, {} events/s, lost {}",
            duration(snapshot.elapsed_s),
            count(progress.events),
            bytes(progress.bytes),
            count(rate as u64),
            count(all(snapshot.lost)),
        );
        self.line.show(&line);
    }

    /// Room for something else.
    pub(super) fn clear(&mut self) {
        self.line.clear();
    }
}

/// The last word; `path` is the file, if it went into one.
pub(super) fn summary(path: Option<&Path>, snapshot: &Snapshot, progress: &Progress) -> String {
    let mut text = format!(
        "sockflow: recorded {}: {} events, {}",
        duration(snapshot.elapsed_s),
        count(progress.events),
        bytes(progress.bytes),
    );
    if progress.events > 0 {
        let each = progress.bytes as f64 / progress.events as f64;
        text.push_str(&format!(" ({each:.1} bytes an event)"));
    }
    if progress.pieces > 1 {
        text.push_str(&format!(" in {} files", count(u64::from(progress.pieces))));
    }
    if progress.dropped_pieces > 0 {
        let dropped = count(u64::from(progress.dropped_pieces));
        text.push_str(&format!(", the oldest {dropped} of them dropped"));
    }
    if progress.left_out > 0 {
        let missing = count(progress.left_out);
        text.push_str(&format!(", {missing} intervals missing because the disk stalled"));
    }
    text.push_str(&format!(", lost {}\n", count(all(snapshot.lost))));
    // What went into a pipe is not there to be looked at.
    if let Some(path) = path {
        let path = path.to_string_lossy();
        text.push_str(&format!("look at it: sockflow replay {}", sanitize(&path)));
    }
    text
}

fn all(lost: Lost) -> u64 {
    lost.detail + lost.untracked + lost.missed + lost.ungrouped
}
