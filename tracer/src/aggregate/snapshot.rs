//! The snapshot: what is known at one moment, as an immutable value.
//!
//! It is the only thing that views, reports and exporters see. Serialised ([`super::json`]) it is
//! `sockflow.snapshot/1`, the contract with scripts: fields may be added, none may vanish or
//! change its meaning without a new schema number. Rows are sorted here, so that no output
//! depends on the order of a map.
//!
//! A number whose signal is absent ([`Snapshot::fidelity`]) is 0 here and means nothing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use crate::event::{Direction, Fidelity, FidelityTable, Lost, OwnCost, Owner};
use crate::time::Wall;

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
    /// Orphans: the host's and ours.
    pub orphans: Orphans,
    /// The kernel's memory for TCP: host-wide.
    pub tcp_mem: TcpMem,
    /// All minisockets (`/proc/net/sockstat` `tw`) of the namespace watched.
    pub tw_buckets: TwBuckets,
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
    /// How far each signal can be trusted.
    pub fidelity: FidelityTable,
    /// What can't be seen at all, a sentence each; empty where [`Self::fidelity`] says it all.
    pub unseen: Vec<String>,
    /// What sockflow itself costs.
    pub own_cost: OwnCost,
    /// The one-sentence answer.
    pub verdict: Verdict,
    /// The filter as typed, for people: `port = 9981`; empty without one.
    pub filter: String,
    /// The refresh interval, seconds.
    pub interval_s: f64,
    /// Recent anomalies, newest last; bounded.
    pub anomalies: Vec<Anomaly>,
    /// Orphans that did not end well, newest last; bounded. Detail: may be incomplete (`lost.detail`).
    pub bad_ends: Vec<BadEnd>,
    /// The last minutes, oldest first, one point an interval; bounded. For charts, not in JSON.
    #[serde(skip)]
    pub history: Arc<Vec<HistoryPoint>>,
}

impl Snapshot {
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

/// Sockets by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct States {
    /// LISTEN.
    pub listen: u64,
    /// SYN_SENT.
    pub syn_sent: u64,
    /// SYN_RECV as full sockets; request sockets are not in it.
    pub syn_recv: u64,
    /// ESTABLISHED.
    pub established: u64,
    /// FIN_WAIT1.
    pub fin_wait1: u64,
    /// FIN_WAIT2: full sockets plus minisockets in substate FIN_WAIT2.
    pub fin_wait2: u64,
    /// CLOSE_WAIT.
    pub close_wait: u64,
    /// LAST_ACK.
    pub last_ack: u64,
    /// CLOSING.
    pub closing: u64,
    /// Minisockets in substate TIME_WAIT.
    pub time_wait: u64,
}

impl States {
    /// Connections: what `live` means in `opened + standing = closed + live`, minisockets
    /// excepted (they are no longer full sockets).
    #[must_use]
    pub const fn live_with(&self, fin_wait2_minisockets: u64) -> u64 {
        self.established
            + self.fin_wait1
            + self.fin_wait2.saturating_sub(fin_wait2_minisockets)
            + self.close_wait
            + self.last_ack
            + self.closing
    }
}

/// Change of populations a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the fields of States, as rates")]
pub struct StateRates {
    pub established: f64,
    pub fin_wait1: f64,
    pub fin_wait2: f64,
    pub close_wait: f64,
    pub last_ack: f64,
    pub closing: f64,
    pub time_wait: f64,
}

/// Totals since tracing began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Sockets that reached ESTABLISHED.
    pub opened: u64,
    /// Connections that left for good (full socket reached CLOSE).
    pub closed: u64,
    /// Connections that stood when tracing began: `opened + standing = closed + live`.
    pub standing: u64,
    /// Sockets that became orphans and outlived their `close()`.
    pub orphaned: u64,
    /// Full sockets replaced by a minisocket (TIME_WAIT, or FIN_WAIT2 on its way there).
    pub time_wait: u64,
    /// RST received.
    pub resets_in: u64,
    /// RST sent.
    pub resets_out: u64,
}

/// Totals a second, over the last interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the fields of Totals, as rates")]
pub struct TotalRates {
    pub opened: f64,
    pub closed: f64,
    pub orphaned: f64,
    pub time_wait: f64,
    pub resets_in: f64,
    pub resets_out: f64,
}

/// Orphans of the host and of the filter.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Orphans {
    /// The kernel's count (`/proc/net/sockstat`), host-wide.
    pub host: u64,
    /// `net.ipv4.tcp_max_orphans`, host-wide.
    pub limit: u64,
    /// Our count, as far as the filter lets them through.
    pub tracked: u64,
    /// The tracked ones by state.
    pub by_state: OrphanStates,
    /// Memory the tracked ones hold, bytes (send queue, receive queue and reserve).
    pub bytes: u64,
    /// Growth of the host's count a second: the trend of the last 30 s.
    pub growth_per_s: f64,
    /// Seconds until the limit at this growth; `null` without a credible trend.
    pub limit_in_s: Option<f64>,
    /// `TCPAbortOnMemory` since tracing began.
    pub killed: u64,
    /// Our count for the whole host minus the kernel's.
    pub drift: i64,
}

/// Orphans by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "named after the states")]
pub struct OrphanStates {
    pub fin_wait1: u64,
    pub last_ack: u64,
    pub closing: u64,
    pub fin_wait2: u64,
}

/// Why orphans ended, counted since tracing began; see `tracer_common::counters::OrphanEnd`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "named after OrphanEnd")]
pub struct OrphanEnds {
    pub acked: u64,
    pub time_wait: u64,
    pub peer_reset: u64,
    pub timed_out: u64,
    pub killed: u64,
    pub other: u64,
}

/// What more is known of [`OrphanEnds`]: parts of `killed` and of `other`, not beside them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OrphanEndDetails {
    /// Of `killed`: `net.ipv4.tcp_max_orphans`.
    pub killed_limit: u64,
    /// Of `killed`: TCP's memory was above `tcp_mem[2]`, and it had data in its send queue.
    pub killed_memory: u64,
    /// Of `other`: TCP_LINGER2 is negative.
    pub linger2: u64,
}

/// Minisockets: `standing + begun = time_wait + fin_wait2 + expired + reused + killed`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Minisockets {
    /// Those that stood when tracing began.
    pub standing: u64,
    /// Those that began since, in either substate.
    pub begun: u64,
    /// Now in substate TIME_WAIT.
    pub time_wait: u64,
    /// Now in substate FIN_WAIT2.
    pub fin_wait2: u64,
    /// Ended because their time was over.
    pub expired: u64,
    /// Ended because a new connection between the same ends took their place.
    pub reused: u64,
    /// Ended before their time otherwise: a RST, data in FIN_WAIT2, `ss -K`.
    pub killed: u64,
    /// Sockets for which there was none to be had (`TCPTimeWaitOverflow`).
    pub overflow: u64,
}

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

/// The kernel's memory for TCP; all in pages of [`Self::page_bytes`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct TcpMem {
    /// Pages charged now.
    pub pages: u64,
    /// `tcp_mem[0]`: pressure ends when usage falls below it.
    pub low: u64,
    /// `tcp_mem[1]`: pressure begins above it.
    pub pressure: u64,
    /// `tcp_mem[2]`: above it allocations are refused and orphans with data are killed.
    pub high: u64,
    /// Bytes a page.
    pub page_bytes: u64,
    /// Where usage stands.
    pub state: MemState,
    /// How often pressure began since tracing did: the host's where a hook tells
    /// (`fidelity.mem_pressure`), else `TCPMemoryPressures` of the namespace.
    pub entered: u64,
    /// Memory refused to sockets that the filter lets through since tracing began; `null` where no
    /// hook tells.
    pub refused: Option<u64>,
    /// Growth of [`Self::pages`] a second: the trend of the last 30 s.
    pub growth_per_s: f64,
    /// Seconds until [`Self::high`] at this growth; `null` without a credible trend.
    pub limit_in_s: Option<f64>,
}

/// Where tcp_mem stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemState {
    /// Below low, no pressure.
    #[default]
    Ok,
    /// Between low and pressure, the flag is down.
    Rising,
    /// The kernel's pressure flag is up (`/proc/net/protocols`).
    Pressure,
    /// Above high: allocations are refused.
    Exhausted,
}

impl MemState {
    /// Its name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Rising => "rising",
            Self::Pressure => "pressure",
            Self::Exhausted => "exhausted",
        }
    }
}

/// Minisockets against their limit, in the namespace watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TwBuckets {
    /// `/proc/net/sockstat` `tw`: substates TIME_WAIT and FIN_WAIT2.
    pub now: u64,
    /// `net.ipv4.tcp_max_tw_buckets`.
    pub limit: u64,
    /// Of those, in substate FIN_WAIT2 (sampled by sock_diag); `null` where not sampled.
    pub fin_wait2: Option<u64>,
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
    /// Growth of orphans a second: the trend of the last 30 s.
    pub growth_per_s: f64,
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
    /// Where the orphans' peers are: /24 (IPv4) or /64 (IPv6) networks, most orphans first;
    /// at most ten; sampled by sock_diag.
    pub orphan_peers: Vec<PeerShare>,
    /// The orphans of this port over time, aligned with the end of [`Snapshot::history`].
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
    /// Sockets it holds (orphans are not held any more, minisockets are no sockets).
    pub sockets: u64,
    /// Orphans it left.
    pub orphans: u64,
    /// Growth of its orphans a second: the trend of the last 30 s.
    pub growth_per_s: f64,
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

/// How bad it is: from the time to the limit, not from a percentage alone.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Nothing to do.
    #[default]
    Ok,
    /// Worth knowing.
    Note,
    /// A limit within half an hour, or above 80 % of it.
    Warn,
    /// A limit within two minutes, or the kernel already kills.
    Crit,
}

impl Severity {
    /// The word on screen.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "NOTE",
            Self::Warn => "WARN",
            Self::Crit => "CRIT",
        }
    }
}

/// The one-sentence answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Verdict {
    /// How bad.
    pub severity: Severity,
    /// The sentence, without the severity word: `orphans 118,204 of 131,072 (90%) +297/s, limit
    /// reached in 43 s`.
    pub text: String,
}

/// Something that happened and matters.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Anomaly {
    /// When.
    pub time: Wall,
    /// How bad.
    pub severity: Severity,
    /// Which kind: `orphan-kill`, `orphan-growth`, `tcp_mem`, `listen-overflow`, …
    pub kind: &'static str,
    /// The service it concerns, if one.
    pub port: Option<u16>,
    /// What happened, in words.
    pub text: String,
}

/// An orphan that ended otherwise than by its peer's acknowledgement.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BadEnd {
    /// When.
    pub time: Wall,
    /// Its local port.
    pub port: u16,
    /// Its peer: address and port.
    pub peer: SocketAddr,
    /// Why it ended: `peer_reset`, `timed_out`, `killed`, `other`.
    pub reason: &'static str,
    /// Who closed it.
    pub owner: Option<Owner>,
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
