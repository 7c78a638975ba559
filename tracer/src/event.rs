//! The domain: what sources produce and the aggregator folds. Plain values, no bytes, no I/O.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tracer_common::counters::{
    EndDetail, GroupCounters, MiniCounters, MiniEnd, OrphanCause, OrphanEnd,
};
use tracer_common::reset::ResetReason;
use tracer_common::state::TcpState;

use crate::facts::Facts;
use crate::gauges::Gauges;
use crate::time::Monotonic;
use crate::workload::Workload;

/// One thing a source has to say.
#[derive(Clone, Debug)]
pub enum Input {
    /// Something happened to one socket (detail; may be incomplete, see [`Totals::lost`]).
    Event(Event),
    /// All exact totals, absolute since tracing began.
    Totals(Totals),
    /// A sample of the kernel's own gauges.
    Gauges(Gauges),
    /// A sample of sockets by sock_diag.
    Diag(DiagSample),
    /// A look at what the doctor judges by; no snapshot depends on it.
    Facts(Box<Facts>),
    /// What sockflow itself costs.
    OwnCost(OwnCost),
    /// So many events are missing in the trace that is read (its totals are not affected).
    Gap(u64),
    /// An interval ends: everything of it has been said.
    Tick(Monotonic),
}

/// A service: connections are grouped by the listening side's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Service {
    /// The listening side's port; 0 for what found no room.
    pub port: u16,
    /// Which side we are on.
    pub direction: Direction,
}

/// The exact totals at one moment.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// One entry a service and owner.
    pub groups: Vec<Group>,
    /// Orphans outside the filter.
    pub orphans_outside: u64,
    /// FIN_WAIT1 times by service: (bucket, count), see `tracer_common::histogram`.
    pub fin_wait1: BTreeMap<Service, Vec<(u32, u64)>>,
    /// Minisockets by service, those that stood before among them; `None` where no hook counts
    /// them.
    pub minisockets: Option<BTreeMap<Service, Minisockets>>,
    /// Resets sent, by service and the kernel's reason.
    pub reset_reasons: BTreeMap<Service, BTreeMap<ResetReason, u64>>,
    /// How often the host's memory pressure began; `None` where no hook counts it.
    pub pressures: Option<u64>,
    /// What was lost so far.
    pub lost: Lost,
}

/// The minisockets of a service: `standing + begun = time_wait + fin_wait2 + ended`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Minisockets {
    /// Those that stood before tracing began.
    pub standing: u64,
    /// What was counted, with those that stood before in the populations.
    pub counters: MiniCounters,
}

impl Minisockets {
    /// Adds another service's.
    pub fn merge(&mut self, other: &Self) {
        self.standing += other.standing;
        self.counters.merge(&other.counters);
    }
}

/// The sockets of one service and one owner.
#[derive(Clone, Debug)]
pub struct Group {
    /// The service.
    pub service: Service,
    /// The owner; `None` where unknown.
    pub owner: Option<Owner>,
    /// When the owner started, clock ticks since boot: tells a reused process id apart.
    pub owner_start_ticks: u32,
    /// The owner's cgroup2 path.
    pub cgroup: Option<String>,
    /// The owner's workload, where that path does not say it: a pod by its name, or what cgroup1 has.
    pub workload: Option<String>,
    /// Whether the owner still runs.
    pub alive: bool,
    /// So many of its sockets, at most, may be another process's: they were accepted since the holders
    /// of sockets were searched for, at a port where several processes accept.
    pub unchecked: u64,
    /// Its counters, summed over the CPUs.
    pub counters: GroupCounters,
}

impl Group {
    /// The container, pod or systemd unit that the owner belongs to; `None` where unknown.
    #[must_use]
    pub fn workload(&self) -> Option<Cow<'_, str>> {
        let seen = self.workload.as_deref().map(Cow::Borrowed);
        seen.or_else(|| Some(Workload::of_cgroup(self.cgroup.as_deref()?)?.to_string().into()))
    }
}

/// What sock_diag told: orphans' memory and peers, and minisockets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DiagSample {
    /// By service, as far as the filter lets them through.
    pub services: BTreeMap<Service, DiagService>,
    /// Minisockets in substate FIN_WAIT2 in the namespace whose `tw` is read.
    pub fin_wait2_minisockets: u64,
    /// Whether TIME_WAIT minisockets were counted this time.
    pub has_time_wait: bool,
}

/// One service in a [`DiagSample`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DiagService {
    /// Orphans seen.
    pub orphans: u64,
    /// Memory they hold, bytes.
    pub orphan_bytes: u64,
    /// Minisockets in substate FIN_WAIT2.
    pub fin_wait2_minisockets: u64,
    /// Minisockets in substate TIME_WAIT; meaningful with [`DiagSample::has_time_wait`].
    pub time_wait: u64,
    /// Orphans and their bytes by the peer's network.
    pub peers: BTreeMap<Network, (u64, u64)>,
    /// Its listeners; `None` where nobody listens.
    pub listen: Option<Listening>,
}

/// What sock_diag tells of a service's listeners.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listening {
    /// Connections that wait in the accept queues (`sk_ack_backlog`).
    pub queued: u64,
    /// What the queues hold together (`sk_max_ack_backlog`; each takes one more).
    pub backlog: u64,
    /// SYNs and connections dropped since tracing began (`sk_drops`), for whatever reason.
    pub drops: u64,
    /// Half-open connections (request sockets) in the SYN queues; `None` where nobody counted.
    pub half_open: Option<u64>,
}

/// A peer's network: /24 or /64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network(pub IpAddr);

impl Network {
    /// The network an address is in. IPv4 mapped into IPv6 counts as IPv4.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => {
                let [a, b, c, _] = address.octets();
                IpAddr::from([a, b, c, 0])
            }
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                IpAddr::from([a, b, c, d, 0, 0, 0, 0])
            }
        })
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let prefix = if self.0.is_ipv4() { 24 } else { 64 };
        write!(f, "{}/{prefix}", self.0)
    }
}

/// One thing that happened to one socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Monotonic,
    /// What.
    pub kind: EventKind,
    /// The socket's cookie.
    pub socket: u64,
    /// Its local end.
    pub local: (IpAddr, u16),
    /// Its peer.
    pub peer: (IpAddr, u16),
    /// Its owner, if known; shared, because there are many events and few owners.
    pub owner: Option<Arc<Owner>>,
    /// Inode number of its network namespace.
    pub netns: u32,
    /// Since when it was seen; `None` if it stood before tracing began.
    pub born: Option<Monotonic>,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// The state changed.
    State {
        /// From (CLOSE for a new socket).
        old: TcpState,
        /// To.
        new: TcpState,
    },
    /// `close()` was called.
    Close,
    /// It became an orphan.
    OrphanBegin {
        /// In which state.
        state: TcpState,
    },
    /// It was an orphan and is gone.
    OrphanEnd {
        /// Why.
        reason: OrphanEnd,
        /// What more is known of it.
        detail: EndDetail,
        /// What it waited for; `None` where all was acknowledged, or that is not known.
        cause: Option<OrphanCause>,
    },
    /// A minisocket took its place.
    TimeWaitBegin {
        /// TIME_WAIT or FIN_WAIT2; `None` where it is not known.
        substate: Option<TcpState>,
    },
    /// A minisocket ended.
    TimeWaitEnd {
        /// TIME_WAIT or FIN_WAIT2.
        substate: TcpState,
        /// Why.
        reason: MiniEnd,
    },
    /// A RST came.
    ResetIn,
    /// A RST was sent.
    ResetOut {
        /// Why; `None` where the kernel does not tell.
        reason: Option<ResetReason>,
    },
    /// The kernel's memory pressure for TCP began or ended. Of no socket: the event's socket is 0,
    /// its ends are unspecified.
    Pressure {
        /// It began.
        began: bool,
    },
}

/// Which side of its connections a service is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// We accept: the port is local.
    In,
    /// We connect: the port is the peer's.
    Out,
}

/// A process, alive or gone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Owner {
    /// Process id (thread group id) in the initial pid namespace.
    pub pid: u32,
    /// Its name. Anybody can choose their own: sanitise before a terminal sees it.
    pub comm: String,
}

/// What was lost since tracing began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// Detail events the ring had no room for. Totals and states are not affected.
    pub detail: u64,
    /// Sockets the table had no room for: missing in states and totals.
    pub untracked: u64,
    /// Program runs that the kernel skipped (`recursion_misses`, or proved by a socket's next change):
    /// changes not seen.
    pub missed: u64,
    /// Sockets counted in the row "other" because there was no room for their group.
    pub ungrouped: u64,
}

/// How far a signal can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fidelity {
    /// Every occurrence, as the kernel does it.
    Exact,
    /// Concluded from other exact signals.
    Derived,
    /// Looked at from time to time.
    Sampled,
    /// Not to be had on this kernel.
    Absent,
}

impl Fidelity {
    /// Its name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Derived => "derived",
            Self::Sampled => "sampled",
            Self::Absent => "absent",
        }
    }

    /// How far what counts its occurrences can be trusted: what is looked at from time to time is
    /// not counted.
    #[must_use]
    pub const fn of_totals(self) -> Self {
        match self {
            Self::Sampled => Self::Absent,
            other => other,
        }
    }
}

/// Fidelity by signal name (`state`, `orphan_begin`, …).
pub type FidelityTable = BTreeMap<&'static str, Fidelity>;

/// What sockflow itself costs, over the last interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct OwnCost {
    /// CPU of this process, per cent of one CPU.
    pub cpu_percent: f64,
    /// Resident memory, bytes.
    pub rss_bytes: u64,
    /// State changes counted in the kernel a second.
    pub events_per_s: f64,
}

/// What the process of sockflow holds and has used; what could not be read is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OwnProcess {
    /// CPU time of all its threads since it began, seconds.
    pub cpu_s: Option<f64>,
    /// When it began, seconds since 1970.
    pub began_s: Option<f64>,
    /// Resident memory, bytes.
    pub resident_bytes: Option<u64>,
    /// Virtual memory, bytes.
    pub virtual_bytes: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// Open file descriptors.
    pub open_fds: Option<u64>,
    /// The most there may be of those.
    pub max_fds: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_grouped_by_network() {
        let network = |text: &str| Network::of(text.parse().unwrap()).to_string();
        assert_eq!(network("10.4.11.7"), "10.4.11.0/24");
        assert_eq!(network("::ffff:10.4.11.7"), "10.4.11.0/24");
        assert_eq!(network("2001:db8:1:2:3::9"), "2001:db8:1:2::/64");
    }
}
