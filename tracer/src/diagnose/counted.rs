//! What hooks and the fold know of a moment beside [`crate::facts::Facts`]: counts by service, growth,
//! what was lost.

use std::collections::BTreeMap;

use super::trend::Trend;
use crate::event::{Direction, Fidelity, Lost, Owner};

/// Counted at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counted {
    /// Growth of the host's orphans.
    pub orphans: Trend,
    /// Growth of TCP's memory, in pages.
    pub memory: Trend,
    /// Services with orphans, or with orphans that the kernel killed since the moment before.
    pub services: Vec<ServiceCount>,
    /// Workloads of the processes that have sockets, by id, as far as they are known.
    pub workloads: BTreeMap<u32, String>,
    /// Our count of the host's orphans minus the kernel's.
    pub drift: i64,
    /// How far that count can be trusted; `None` where nobody counts.
    pub orphan_begin: Option<Fidelity>,
    /// What was lost since tracing began.
    pub lost: Lost,
    /// Why orphans can be missing from our count, in words, where that is known.
    pub unseen: Vec<String>,
}

/// A service's orphans.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceCount {
    /// The listening side's port.
    pub port: u16,
    /// Which side we are on.
    pub direction: Direction,
    /// The process with most of its sockets.
    pub owner: Option<Owner>,
    /// Orphans now.
    pub orphans: u64,
    /// Orphans killed since the moment before.
    pub killed: Killed,
}

/// Orphans that the kernel killed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Killed {
    /// For whatever reason.
    pub all: u64,
    /// Of those, because TCP's memory was used up and they held data.
    pub for_memory: u64,
    /// Of those, because there were too many.
    pub for_number: u64,
}

impl Killed {
    /// Both.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            all: self.all.saturating_add(other.all),
            for_memory: self.for_memory.saturating_add(other.for_memory),
            for_number: self.for_number.saturating_add(other.for_number),
        }
    }
}

/// What was killed lately, by service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kills {
    /// By service, with the process that had most of its sockets.
    pub by: BTreeMap<(u16, Direction), (Killed, Option<Owner>)>,
    /// All of them.
    pub all: Killed,
    /// How long ago the last was, seconds.
    pub last_s: Option<f64>,
    /// All that were killed since any time in the past: by the kernel's count, or by what hooks
    /// counted since tracing began, whichever is more.
    pub total: u64,
}

impl Kills {
    /// The service that most of them were of, of more than half.
    #[must_use]
    pub fn most(&self) -> Option<(u16, Option<&Owner>)> {
        let ((port, _), (killed, owner)) = self.by.iter().max_by_key(|(_, it)| it.0.all)?;
        (killed.all.saturating_mul(2) > self.all.all).then_some((*port, owner.as_ref()))
    }
}

impl Counted {
    /// The service that has most orphans, if it has more than half of them.
    #[must_use]
    pub fn most_orphans(&self) -> Option<&ServiceCount> {
        let all: u64 = self.services.iter().map(|it| it.orphans).sum();
        let most = self.services.iter().max_by(|a, b| {
            a.orphans
                .cmp(&b.orphans)
                .then_with(|| (b.port, b.direction).cmp(&(a.port, a.direction)))
        })?;
        (most.orphans.saturating_mul(2) > all).then_some(most)
    }
}

/// ` of :9981 httpdns[4121]`.
#[must_use]
pub(super) fn of_service(port: u16, owner: Option<&Owner>) -> String {
    match owner {
        Some(owner) => format!(":{port} {}[{}]", owner.comm, owner.pid),
        None => format!(":{port}"),
    }
}
