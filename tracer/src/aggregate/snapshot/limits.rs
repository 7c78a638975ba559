//! What the kernel limits, its own count beside ours.

use serde::{Deserialize, Serialize};

use super::{Holder, OrphanStates};

/// Orphans of the host and of the filter.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Orphans {
    /// The kernel's count (`/proc/net/sockstat`), host-wide.
    pub host: u64,
    /// `net.ipv4.tcp_max_orphans`, host-wide; `null` where it is not to be seen, as in a container.
    pub limit: Option<u64>,
    /// Our count, as far as the filter lets them through.
    pub tracked: u64,
    /// The tracked ones by state.
    pub by_state: OrphanStates,
    /// Memory the tracked ones hold, bytes (send queue, receive queue and reserve).
    pub bytes: u64,
    /// Growth of the host's count a second, 0 where there is none beyond noise; `null` while the last
    /// samples are too few or no line.
    pub growth_per_s: Option<f64>,
    /// How long it has grown like that, seconds.
    pub growth_seen_s: f64,
    /// Seconds until the limit at this growth; `null` without a credible trend.
    pub limit_in_s: Option<f64>,
    /// `TCPAbortOnMemory` since tracing began, of every network namespace that could be entered; with
    /// `--netns` of that one.
    pub killed: u64,
    /// Our count for the whole host minus the kernel's.
    pub drift: i64,
}

/// The kernel's memory for TCP; all in pages of [`Self::page_bytes`].
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TcpMem {
    /// Pages charged now.
    pub pages: u64,
    /// `tcp_mem[0]`: pressure ends when usage falls below it; `null` as for orphans.
    pub low: Option<u64>,
    /// `tcp_mem[1]`: pressure begins above it.
    pub pressure: Option<u64>,
    /// `tcp_mem[2]`: above it allocations are refused and orphans with data are killed.
    pub high: Option<u64>,
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
    /// Growth of [`Self::pages`] a second; `null` as for orphans.
    pub growth_per_s: Option<f64>,
    /// How long it has grown like that, seconds.
    pub growth_seen_s: f64,
    /// Seconds until [`Self::high`] at this growth; `null` without a credible trend.
    pub limit_in_s: Option<f64>,
    /// The services that hold most of it, most first, at most three; `null` where not observed
    /// ([`super::Snapshot::sockets_age_s`]).
    pub held_by: Option<Vec<Holder>>,
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
