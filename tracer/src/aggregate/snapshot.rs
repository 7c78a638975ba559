//! The snapshot: what is known at one moment, as an immutable value.
//!
//! It is the only thing that views, reports and exporters see. Serialised ([`super::json`]) it is
//! `sockflow.snapshot/1`, the contract with scripts: fields may be added, none may vanish or
//! change its meaning without a new schema number. Rows are sorted here, so that no output
//! depends on the order of a map.
//!
//! A number whose signal is absent ([`Snapshot::fidelity`]) is 0 here and means nothing.

mod bad_end;
mod causes;
mod counts;
mod limits;
mod namespaces;
mod rows;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

pub use crate::diagnose::{Anomaly, Badness, Finding, Severity, Verdict};
pub use crate::event::{Direction, Fidelity, FidelityTable, Lost, OwnCost, OwnProcess, Owner};
use crate::time::Wall;
pub use bad_end::BadEnd;
pub use causes::{CloseWaitByCause, Holder, OrphansByCause};
pub use counts::{
    Minisockets, OrphanEndDetails, OrphanEnds, OrphanStates, StateRates, States, TotalRates, Totals,
};
pub use limits::{MemState, Orphans, TcpMem, TwBuckets};
pub use namespaces::{Namespace, Namespaces};
pub use rows::{Listen, PeerShare, PortRow, ProcessRow, Quantiles};

/// Everything known at `time`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Snapshot {
    /// Always [`SCHEMA`].
    pub schema: &'static str,
    /// When.
    pub time: Wall,
    /// Seconds since tracing began.
    pub elapsed_s: f64,
    /// Where the data comes from.
    pub source: SourceKind,
    /// The machine.
    pub host: Host,
    /// Sockets by state now, as far as the filter lets them through.
    pub states: States,
    /// Change of [`Self::states`] a second, over the last interval.
    pub states_per_s: StateRates,
    /// Totals since tracing began, as far as the filter lets them through.
    pub totals: Totals,
    /// [`Self::totals`] a second, over the last interval.
    pub totals_per_s: TotalRates,
    /// Resets that the kernel counted as sent since tracing began (`TcpOutRsts` of one network
    /// namespace) beyond those of `totals`: answers to segments that belong to no full socket. `None`
    /// where that is not counted, or a filter makes the two incomparable. At least: what other
    /// namespaces sent is in `totals` and not in the kernel's number.
    pub resets_out_unseen: Option<u64>,
    /// Orphans: the host's and ours.
    pub orphans: Orphans,
    /// The kernel's memory for TCP: host-wide.
    pub tcp_mem: TcpMem,
    /// All minisockets (`/proc/net/sockstat` `tw`) of the namespace watched.
    pub tw_buckets: TwBuckets,
    /// The other network namespaces; `null` where they were not looked at, as with `--netns`.
    pub namespaces: Option<Namespaces>,
    /// Minisockets counted one by one, as far as the filter lets them through; `null` where no hook
    /// counts them.
    pub minisockets: Option<Minisockets>,
    /// Rows by service, most orphans first, then most live sockets, then port.
    pub ports: Vec<PortRow>,
    /// Rows by process, most orphans first, then most sockets, then pid.
    pub processes: Vec<ProcessRow>,
    /// Increase of the kernel's own counters (TcpExt) since tracing began, in the namespace
    /// watched. Those the kernel does not have are left out.
    pub counters: BTreeMap<&'static str, u64>,
    /// What was lost since tracing began.
    pub lost: Lost,
    /// How old the observation of single sockets is, seconds: `bytes`, `held_by`, `closed_fds` and what is
    /// counted by cause. `null` without one.
    pub sockets_age_s: Option<f64>,
    /// How far each signal can be trusted.
    pub fidelity: FidelityTable,
    /// What can't be seen at all, a sentence each; empty where [`Self::fidelity`] says it all.
    pub unseen: Vec<String>,
    /// What sockflow itself costs.
    pub own_cost: OwnCost,
    /// State changes counted in the kernel since tracing began. For metrics, not in JSON.
    #[serde(skip)]
    pub state_changes: u64,
    /// The one-sentence answer.
    pub verdict: Verdict,
    /// The filter as typed, for people: `port = 9981`; empty without one.
    pub filter: String,
    /// The refresh interval, seconds.
    pub interval_s: f64,
    /// What is wrong, worst first.
    pub findings: Vec<Finding>,
    /// Recent anomalies, newest last; bounded.
    pub anomalies: Vec<Anomaly>,
    /// Orphans that did not end well, newest last; bounded. Detail: may be incomplete (`lost.detail`).
    pub bad_ends: Vec<BadEnd>,
    /// The last minutes, oldest first, one point an interval; bounded. For charts, not in JSON.
    #[serde(skip)]
    pub history: Arc<Vec<HistoryPoint>>,
}

impl Snapshot {
    /// How bad this moment is, compared with others.
    #[must_use]
    pub fn badness(&self) -> Badness {
        let share = |part: u64, whole: Option<u64>| match whole {
            Some(whole @ 1..) => part as f64 / whole as f64,
            _ => 0.0,
        };
        let (orphans, memory) = (&self.orphans, &self.tcp_mem);
        // Without a limit that is known, more orphans are still worse than fewer.
        let near = share(orphans.host, orphans.limit).max(share(memory.pages, memory.high))
            + (orphans.host as f64).min(1e6) * 1e-12;
        Badness::of(&self.findings, near)
    }

    /// Whether nothing counts: what is there was looked at, what happened in between is not known.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.fidelity.get("state") == Some(&Fidelity::Sampled)
    }
}

/// The schema's name in JSON.
pub const SCHEMA: &str = "sockflow.snapshot/1";

/// Where a snapshot's data comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// The running kernel.
    Live,
    /// A trace file.
    Trace,
}

/// The machine a snapshot is of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Host {
    /// `uname -n`.
    pub name: String,
    /// `uname -r`.
    pub kernel: String,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
}

/// One point of the charts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HistoryPoint {
    /// When.
    pub time: Wall,
    /// The host's orphans.
    pub orphans_host: u64,
    /// The filter's orphans.
    pub orphans_tracked: u64,
    /// TCP memory, pages.
    pub tcp_mem_pages: u64,
    /// Connections opened a second (the filter's).
    pub opened_per_s: f64,
}
