//! What happened when: the timeline, the charts and the map of times in FIN_WAIT1.

use serde::Serialize;

use crate::aggregate::snapshot::{MemState, OrphansByCause, Severity, States};
use crate::time::Wall;

/// What happened, in order.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Timeline {
    /// The marks; bounded.
    pub marks: Vec<Mark>,
    /// Marks of less weight left out.
    pub left_out: u64,
}

/// One thing that happened.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Mark {
    /// Its number, from 1; the charts show it.
    pub number: usize,
    /// When.
    pub time: Wall,
    /// Seconds since the range began.
    pub elapsed_s: f64,
    /// How bad.
    pub severity: Severity,
    /// Which kind: `begin`, `worst`, `calm`, `limit`, `gap`, `end`, or that of an anomaly.
    pub kind: &'static str,
    /// The service it concerns.
    pub port: Option<u16>,
    /// In words.
    pub text: String,
    /// The command that shows it.
    pub replay: String,
}

/// The charts' data.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Series {
    /// Samples that one point stands for.
    pub samples_per_point: usize,
    /// The points, in order.
    pub points: Vec<Point>,
}

/// Some samples in a row. Rates and extremes are the highest of any of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Point {
    /// The moment among them with most orphans.
    pub time: Wall,
    /// The same, seconds since the range began.
    pub elapsed_s: f64,
    /// The last of the samples, seconds since the range began.
    pub end_s: f64,
    /// Seconds from the last point's last sample to this one's.
    pub seconds: f64,
    /// The host's orphans, at most.
    pub orphans: u64,
    /// The host's orphans, at least.
    pub orphans_min: u64,
    /// Orphans that the filter and the port let through, at [`Self::time`].
    pub tracked: u64,
    /// Those of the services shown by what they wait for, as last observed; `null` where it was not.
    pub orphans_by_cause: Option<OrphansByCause>,
    /// The limit of the host's orphans, at [`Self::time`]; `null` where it was not to be seen.
    pub limit: Option<u64>,
    /// Sockets by state, at [`Self::time`].
    pub states: States,
    /// Connections opened a second.
    pub opened_per_s: f64,
    /// Connections closed a second.
    pub closed_per_s: f64,
    /// Resets a second, both ways.
    pub resets_per_s: f64,
    /// Orphans killed a second, on the host.
    pub killed_per_s: f64,
    /// TCP's memory, pages, at most.
    pub tcp_mem_pages: u64,
    /// `tcp_mem`, first number.
    pub tcp_mem_low: Option<u64>,
    /// `tcp_mem`, second number.
    pub tcp_mem_pressure: Option<u64>,
    /// `tcp_mem`, third number.
    pub tcp_mem_high: Option<u64>,
    /// The worst state of memory.
    pub tcp_mem_state: MemState,
    /// The fullest accept queue; `null` where the trace does not tell.
    pub accept_queue: Option<AcceptQueue>,
    /// Handshakes dropped for a full accept queue a second.
    pub listen_overflows_per_s: f64,
    /// Handshakes dropped a second.
    pub listen_drops_per_s: f64,
}

/// A listener's accept queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AcceptQueue {
    /// The listener's port.
    pub port: u16,
    /// Connections that waited for `accept()`.
    pub queue: u32,
    /// How many may wait.
    pub backlog: u32,
}

impl AcceptQueue {
    /// How full; 1 is full.
    #[must_use]
    pub fn share(&self) -> f64 {
        // It holds one more than the backlog.
        f64::from(self.queue) / (f64::from(self.backlog) + 1.0)
    }
}

/// How long FIN_WAIT1 took, over time: exact, of all that left it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TimeMap {
    /// Upper ends of the rows, milliseconds; what is longer is in one row more.
    pub up_to_ms: Vec<f64>,
    /// The columns, in order.
    pub columns: Vec<TimeColumn>,
    /// All of them together.
    pub total: u64,
}

/// Those that left FIN_WAIT1 in some samples in a row.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TimeColumn {
    /// The last of the samples.
    pub time: Wall,
    /// The same, seconds since the range began.
    pub elapsed_s: f64,
    /// How many by how long: one number a row.
    pub counts: Vec<u64>,
}
