//! A trace's events for other tools: Parquet, CSV, JSON lines.
//!
//! Owns how an event is spelt in each. Must not know where events come from nor where the bytes go:
//! whoever composes it hands in [`Event`]s and a [`std::io::Write`]. Memory is bounded whatever the
//! number of events.
//!
//! * [`schema`]: THE table of columns, and the words of an event;
//! * [`sides`]: which side of its connection a socket is on, and of which service; [`workloads`]: where
//!   its owner belongs;
//! * [`jsonl`]: JSON lines, and `sockflow.event/1`, which `trace --json` prints;
//! * [`csv`]; [`parquet`], whose file says in its metadata what [`About`] and [`Account`] hold;
//! * `stamp`: many moments as text, quickly.
#![forbid(unsafe_code)]

pub mod csv;
pub mod jsonl;
pub mod parquet;
pub mod schema;
pub mod sides;
mod stamp;
#[cfg(test)]
pub(crate) mod tests;
pub mod workloads;

use std::io;

use crate::event::{Direction, Event};
use crate::time::{ClockAnchor, Wall};

/// What holds for every event of a trace.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// Both clocks at one moment: gives events their wall time.
    pub anchor: ClockAnchor,
    /// The machine's name. Anybody can choose it.
    pub host: String,
    /// Its kernel's release.
    pub kernel: String,
    /// What the kernel calls this boot: cookies and monotonic times compare within one.
    pub boot_id: String,
    /// The version of sockflow that recorded.
    pub recorded_by: String,
    /// The trace's number.
    pub trace: u64,
    /// The filter it was recorded with, for people; empty without one.
    pub filter: String,
    /// Which events were recorded: `ends`, `orphans` or `all`.
    pub detail: String,
}

/// What has to be known of the rows to trust them; known when all are written.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// Rows written.
    pub rows: u64,
    /// Which of the trace's events were asked for, for people; empty for all.
    pub selected: String,
    /// How the trace ends: `finished`, `growing`, …
    pub ended: String,
    /// Events that recording lost because the ring was full, as far as is known.
    pub lost: u64,
    /// Where the trace is damaged.
    pub gaps: Vec<Hole>,
}

impl Account {
    /// Events missing in all gaps, and whether that is all of them.
    #[must_use]
    pub fn missing(&self) -> (u64, bool) {
        let known = self.gaps.iter().filter_map(|gap| gap.events);
        (known.fold(0, u64::saturating_add), self.gaps.iter().all(|gap| gap.events.is_some()))
    }
}

/// A place where the trace is damaged.
#[derive(Clone, Debug)]
pub struct Hole {
    /// The last moment known before it.
    pub after: Option<Wall>,
    /// The first moment known after it.
    pub before: Option<Wall>,
    /// Events missing; `None` where that cannot be known.
    pub events: Option<u64>,
    /// Why.
    pub why: &'static str,
}

/// What is known of an event's socket beside the event.
#[derive(Clone, Copy, Debug, Default)]
pub struct Context<'a> {
    /// Which side of its connection it is on.
    pub side: Option<Direction>,
    /// Its owner's container, pod or systemd unit.
    pub workload: Option<&'a str>,
}

/// Makes a file of events.
pub trait Writer {
    /// Takes the next event, of whose socket so much is known.
    ///
    /// # Errors
    ///
    /// The output cannot be written.
    fn event(&mut self, event: &Event, context: Context<'_>) -> io::Result<()>;

    /// Writes what is left. Without it a Parquet file has no footer and cannot be read.
    ///
    /// # Errors
    ///
    /// As [`Writer::event`].
    fn finish(self: Box<Self>, account: &Account) -> io::Result<()>;
}
