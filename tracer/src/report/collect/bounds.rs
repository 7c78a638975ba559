//! The moments between which a report's phases lie, and what grew from one to the other.

use super::seconds;
use crate::aggregate::snapshot::{Lost, OrphanEnds, Snapshot};
use crate::report::model::Phased;
use crate::time::Wall;

/// The moments that bound the phases.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds<'a> {
    /// What was counted before the range; `None`: nothing was.
    pub(super) begin: Option<&'a Snapshot>,
    /// When the range begins.
    pub(super) from: Wall,
    pub(super) before: &'a Snapshot,
    pub(super) worst: &'a Snapshot,
    pub(super) over: &'a Snapshot,
    pub(super) after: &'a Snapshot,
}

impl<'a> Bounds<'a> {
    /// The moments whose populations are told.
    pub(super) const fn moments(&self) -> Phased<&'a Snapshot> {
        Phased { before: self.before, during: self.worst, after: self.after }
    }

    /// A total's increase a second in each phase.
    pub(super) fn rates(&self, total: impl Fn(&Snapshot) -> u64) -> Phased<f64> {
        let begin = self.begin.map_or(0, &total);
        let began = self.begin.map_or(self.from, |it| it.time);
        let rate = |from: u64, since: Wall, to: &Snapshot| {
            let elapsed = seconds(since, to.time);
            if elapsed > 0.0 { total(to).saturating_sub(from) as f64 / elapsed } else { 0.0 }
        };
        Phased {
            before: rate(begin, began, self.before),
            during: rate(total(self.before), self.before.time, self.over),
            after: rate(total(self.over), self.over.time, self.after),
        }
    }

    /// A total's increase in the whole range.
    pub(super) fn increase(&self, total: impl Fn(&Snapshot) -> u64) -> u64 {
        total(self.after).saturating_sub(self.begin.map_or(0, &total))
    }

    /// Of each kind of end of an orphan, in the whole range.
    pub(super) fn ends(&self) -> OrphanEnds {
        let (now, then) = (all_ends(self.after), self.begin.map(all_ends).unwrap_or_default());
        OrphanEnds {
            acked: now.acked.saturating_sub(then.acked),
            time_wait: now.time_wait.saturating_sub(then.time_wait),
            peer_reset: now.peer_reset.saturating_sub(then.peer_reset),
            timed_out: now.timed_out.saturating_sub(then.timed_out),
            killed: now.killed.saturating_sub(then.killed),
            other: now.other.saturating_sub(then.other),
        }
    }

    /// What was lost in the whole range.
    pub(super) fn lost(&self) -> Lost {
        Lost {
            detail: self.increase(|it| it.lost.detail),
            untracked: self.increase(|it| it.lost.untracked),
            missed: self.increase(|it| it.lost.missed),
            ungrouped: self.increase(|it| it.lost.ungrouped),
        }
    }
}

/// How orphans of all services have ended.
fn all_ends(snapshot: &Snapshot) -> OrphanEnds {
    snapshot.ports.iter().fold(OrphanEnds::default(), |sum, row| {
        let ends = &row.orphan_ends;
        OrphanEnds {
            acked: sum.acked + ends.acked,
            time_wait: sum.time_wait + ends.time_wait,
            peer_reset: sum.peer_reset + ends.peer_reset,
            timed_out: sum.timed_out + ends.timed_out,
            killed: sum.killed + ends.killed,
            other: sum.other + ends.other,
        }
    })
}
