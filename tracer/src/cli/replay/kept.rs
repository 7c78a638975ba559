//! States of a narrowed trace, so that no moment is read for from the beginning. The trace's own
//! checkpoints are of everything and cannot be narrowed.

use super::super::fold::{Fold, Saved};

/// Most states kept.
const MOST_KEPT: usize = 64;
/// Ticks between two of them at first; twice as many whenever there would be too many.
const KEEP_EVERY: usize = 32;

/// States of a fold on its way, far enough from each other to be few.
#[derive(Default)]
pub(super) struct Kept {
    states: Vec<Saved>,
    /// How often the distance was doubled.
    doubled: u32,
}

impl Kept {
    /// Keeps the state of a fold that is right after a tick, where it is far from the last kept.
    pub(super) fn offer(&mut self, fold: &Fold) {
        let distance = KEEP_EVERY << self.doubled.min(24);
        let last = self.states.last().map_or(0, Saved::ticks);
        if fold.ticks() < last + distance {
            return;
        }
        if self.states.len() == MOST_KEPT {
            let mut odd = false;
            self.states.retain(|_| {
                odd = !odd;
                odd
            });
            self.doubled += 1;
        }
        self.states.push(fold.save());
    }

    /// The nearest at or before a moment.
    pub(super) fn before(&self, moment: usize) -> Option<&Saved> {
        let after = self.states.partition_point(|saved| saved.ticks() <= moment);
        after.checked_sub(1).and_then(|at| self.states.get(at))
    }
}
