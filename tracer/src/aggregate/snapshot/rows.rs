//! Rows: a service, a process, and what is in them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::{
    CloseWaitByCause, Direction, Minisockets, OrphanEndDetails, OrphanEnds, OrphanStates,
    OrphansByCause, Owner, States, Totals,
};

/// A service's listeners.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Listen {
    /// Connections that wait to be accepted.
    pub queued: u64,
    /// What the accept queues hold.
    pub backlog: u64,
    /// Connections refused since tracing began because the accept queue was full; `null` where no
    /// hook tells (`fidelity.accept_overflow`).
    pub overflows: Option<u64>,
    /// SYNs and connections dropped since tracing began, for whatever reason: the listeners' own
    /// count (`sk_drops`), looked at from time to time.
    pub drops: u64,
}

/// One service.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PortRow {
    /// The listening side's port; 0 for the row of what found no room ("other").
    pub port: u16,
    /// Which side we are on.
    pub direction: Direction,
    /// The owner of most of its sockets (orphans count); `null` where unknown.
    pub owner: Option<Owner>,
    /// Further owners beside [`Self::owner`].
    pub more_owners: usize,
    /// So many of its sockets, at most, may be another process's than the one they are counted for:
    /// they were accepted since the holders of sockets were searched for last, at a port where several
    /// processes accept.
    pub owner_unchecked: u64,
    /// Sockets by state now.
    pub states: States,
    /// Totals since tracing began.
    pub totals: Totals,
    /// Orphans now.
    pub orphans: u64,
    /// Orphans now, by state.
    pub orphans_by_state: OrphanStates,
    /// Memory the orphans hold, bytes.
    pub orphan_bytes: u64,
    /// Orphans by what they wait for; `null` where not observed ([`super::Snapshot::sockets_age_s`]).
    pub orphans_by_cause: Option<OrphansByCause>,
    /// Sockets in CLOSE_WAIT by what is left undone; `null` where not observed.
    pub close_wait_by_cause: Option<CloseWaitByCause>,
    /// Memory of all its sockets, orphans too, bytes; `null` where not observed.
    pub bytes: Option<u64>,
    /// The container, pod or systemd unit of all its owners; `null` where they are in several, or not
    /// known. Its name is somebody's choice.
    pub workload: Option<String>,
    /// Growth of orphans a second; `null` while the last samples are too few or no line.
    pub growth_per_s: Option<f64>,
    /// Opened a second, over the last interval.
    pub opened_per_s: f64,
    /// Closed a second, over the last interval.
    pub closed_per_s: f64,
    /// Resets in and out a second, over the last interval.
    pub resets_per_s: f64,
    /// Resets sent by the kernel's own reason (`TCP_ABORT_ON_CLOSE`); those it gives none for are
    /// not in it (`fidelity.reset_reason`).
    pub reset_reasons: BTreeMap<&'static str, u64>,
    /// Minisockets; `null` where no hook counts them.
    pub minisockets: Option<Minisockets>,
    /// Its listeners; `null` where nobody listens, as far as was seen.
    pub listen: Option<Listen>,
    /// Memory refused; `null` where no hook tells.
    pub memory_refused: Option<u64>,
    /// Why orphans ended.
    pub orphan_ends: OrphanEnds,
    /// What more is known of that.
    pub orphan_end_details: OrphanEndDetails,
    /// Time from FIN_WAIT1 to what came next, since tracing began.
    pub fin_wait1_ms: Quantiles,
    /// The same as a histogram: (bucket, count), ascending, see `tracer_common::histogram`. For
    /// metrics, not in JSON.
    #[serde(skip)]
    pub fin_wait1_times: Vec<(u32, u64)>,
    /// Where the orphans' peers are: /24 (IPv4) or /64 (IPv6) networks, most orphans first;
    /// at most ten; sampled by sock_diag.
    pub orphan_peers: Vec<PeerShare>,
    /// The orphans of this port over time, aligned with the end of [`Snapshot::history`](super::Snapshot::history).
    #[serde(skip)]
    pub history: Arc<Vec<u64>>,
}

/// One network of peers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PeerShare {
    /// `10.4.11.0/24`.
    pub network: String,
    /// Orphans whose peer is in it.
    pub orphans: u64,
    /// Memory they hold, bytes.
    pub bytes: u64,
}

/// A duration's distribution, milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Quantiles {
    /// Median (bucket at most 12.5 % wide).
    pub p50: f64,
    /// 99th percentile (same).
    pub p99: f64,
    /// Longest, exact.
    pub max: f64,
}

/// One process.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProcessRow {
    /// Process id; `null` for sockets whose owner is unknown.
    pub pid: Option<u32>,
    /// Its name; `null` where unknown.
    pub comm: Option<String>,
    /// Its cgroup2 path; `null` where unknown.
    pub cgroup: Option<String>,
    /// Whether it still runs.
    pub alive: bool,
    /// So many of [`Self::sockets`], at most, may be another process's: see
    /// [`PortRow::owner_unchecked`].
    pub owner_unchecked: u64,
    /// Sockets it holds (orphans are not held any more, minisockets are no sockets).
    pub sockets: u64,
    /// Orphans it left.
    pub orphans: u64,
    /// Memory of its sockets, bytes; `null` where not observed ([`super::Snapshot::sockets_age_s`]).
    pub bytes: Option<u64>,
    /// TCP sockets in CLOSE whose descriptor it keeps; `null` where not observed.
    pub closed_fds: Option<u64>,
    /// The container, pod or systemd unit it belongs to; `null` where unknown.
    pub workload: Option<String>,
    /// Growth of its orphans a second; `null` while the last samples are too few or no line.
    pub growth_per_s: Option<f64>,
    /// Sockets by state now (full sockets only).
    pub states: States,
    /// Totals since tracing began.
    pub totals: Totals,
    /// Why its orphans ended.
    pub orphan_ends: OrphanEnds,
    /// What more is known of that.
    pub orphan_end_details: OrphanEndDetails,
    /// Services it has sockets of, ascending.
    pub ports: Vec<u16>,
}
