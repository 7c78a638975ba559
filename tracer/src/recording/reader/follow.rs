//! Pieces that are begun while a trace is read.

use anyhow::Result;

use super::super::pieces;
use super::Trace;

impl Trace {
    /// Takes in pieces that were begun since the newest that is known.
    pub(super) fn follow(&mut self) -> Result<()> {
        // Between two names in a rotation, or gone for good: nothing to take in now.
        let Ok(metadata) = self.path.metadata() else { return Ok(()) };
        if self.has_piece(&metadata) {
            return Ok(());
        }
        let Ok(newest) = pieces::open(&self.path) else { return Ok(()) };
        let expected = self.scanned.sequence.unwrap_or(0);
        if newest.trace != self.trace || u64::from(newest.sequence) < expected {
            return Ok(());
        }
        let mut found = pieces::siblings(&self.path, self.trace, |piece| {
            piece.sequence < newest.sequence
                && u64::from(piece.sequence) >= expected
                && !self.has_piece(&piece.metadata)
        })?;
        found.push(newest);
        for piece in found {
            self.add(piece);
        }
        Ok(())
    }
}
