//! What is missing in our own numbers.

use super::check::{Check, describe};
use super::look::{Happened, Look};
use super::severity::Severity;
use super::watch::Watch;
use crate::facts::{Known, Unknown};
use crate::format::count;

pub(super) struct Lost;

impl Check for Lost {
    describe!("lost", "lost", "lost", "sockets", Host);

    fn look(&self, watch: &Watch) -> Known<Look> {
        let Some(counted) = &watch.counted else {
            return Err(Unknown::because("nobody counts sockets here"));
        };
        let lost = &counted.lost;
        // Runs that were skipped are made up for later; sockets without a record stay missing.
        let at_least = match (lost.untracked, lost.missed) {
            (1.., _) => Severity::Warn,
            (0, 1..) if watch.loses => Severity::Note,
            _ => Severity::Ok,
        };
        let mut look = Look { at_least, ..Look::default() };
        look.before = format!(
            "numbers may be off: {} sockets untracked, {} runs missed",
            count(lost.untracked),
            count(lost.missed)
        );
        look.why = "Sockets that had no room are missing in states and totals until sockflow is \
                    started anew; program runs that the kernel skipped are made up for at the \
                    socket's next change."
            .to_owned();
        look.action = "start it with a larger --max-sockets".to_owned();
        look.evidence = "counters of the programs".to_owned();
        if watch.loses {
            look.happened = Some(Happened {
                kind: "lost",
                total: lost.untracked.saturating_add(lost.missed),
                lately: lost.untracked.saturating_add(lost.missed),
                text: (
                    "numbers may be off, lost: ",
                    format!(
                        " ({} sockets untracked, {} runs missed so far)",
                        count(lost.untracked),
                        count(lost.missed)
                    ),
                ),
            });
        }
        Ok(look)
    }
}
