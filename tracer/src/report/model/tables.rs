//! What the tables compare: ports, processes and peers before, during and after.

use serde::Serialize;

use crate::aggregate::snapshot::{Direction, Owner};
use crate::time::Wall;

/// What the tables compare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Phases {
    /// Whether something was wrong; else they are the start, the most and the end.
    pub incident: bool,
    /// The last moment before it.
    pub before: Wall,
    /// The worst moment.
    pub worst: Wall,
    /// The last moment in which something was wrong.
    pub over: Wall,
    /// The last moment of the range.
    pub after: Wall,
}

/// One value for each of the phases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Phased<T> {
    /// Before it.
    pub before: T,
    /// At the worst moment; rates: while it lasted.
    pub during: T,
    /// At the end; rates: since it was over.
    pub after: T,
}

/// One service.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PortRow {
    /// The listening side's port; 0 for what found no room.
    pub port: u16,
    /// Which side the host is on.
    pub direction: Direction,
    /// The owner of most of its sockets at the worst moment.
    pub owner: Option<Owner>,
    /// Further owners.
    pub more_owners: usize,
    /// Orphans.
    pub orphans: Phased<u64>,
    /// Memory they held at the worst moment, bytes (sampled).
    pub orphan_bytes: u64,
    /// Connections in ESTABLISHED.
    pub established: Phased<u64>,
    /// Connections opened a second.
    pub opened_per_s: Phased<f64>,
    /// Orphans of it killed in the range.
    pub killed: u64,
}

/// One process.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProcessRow {
    /// Process id; `null` where unknown.
    pub pid: Option<u32>,
    /// Its name.
    pub comm: Option<String>,
    /// Its cgroup2 path: tells unit and container.
    pub cgroup: Option<String>,
    /// Services it had sockets of; a few.
    pub ports: Vec<u16>,
    /// Orphans it left.
    pub orphans: Phased<u64>,
    /// Sockets it held.
    pub sockets: Phased<u64>,
    /// Connections opened a second.
    pub opened_per_s: Phased<f64>,
    /// Orphans of it killed in the range.
    pub killed: u64,
}

/// Where the peers are.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Peers {
    /// The networks that matter most.
    pub networks: Vec<PeerRow>,
    /// Networks beyond those listed.
    pub more: u64,
    /// Bad ends of networks that were not told apart, for there were too many.
    pub uncounted: u64,
}

/// Peers in one network: /24 (IPv4) or /64 (IPv6).
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PeerRow {
    /// `10.4.11.0/24`.
    pub network: String,
    /// Orphans towards it (sampled; of each service the ten largest networks).
    pub orphans: Phased<u64>,
    /// Memory they held at the worst moment, bytes.
    pub orphan_bytes: u64,
    /// Orphans towards it that were killed: from single events, as are the next two.
    pub killed: u64,
    /// Orphans towards it that were given up.
    pub timed_out: u64,
    /// Orphans towards it that it reset.
    pub peer_reset: u64,
}

/// What is not listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct More {
    /// Services.
    pub ports: u64,
    /// Processes.
    pub processes: u64,
}
