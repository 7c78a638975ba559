//! What the judge is given of a tick: the counts of the fold.

use tracer_common::counters::{Counter, GroupCounters, OrphanEnd};

use super::Aggregator;
use super::rollup::Rollup;
use super::snapshot::Orphans;
use crate::diagnose::Counted;
use crate::diagnose::counted::{Killed, ServiceCount};
use crate::diagnose::trend::Trend;

impl Aggregator {
    /// What was counted by now, and since the tick before.
    pub(super) fn judged(
        &self,
        orphans: &Orphans,
        rollup: &Rollup,
        previous: Option<&Rollup>,
    ) -> Counted {
        let services = rollup.services.iter().map(|(service, sum)| {
            let now = killed(&sum.counters);
            let before = previous.map(|it| {
                it.services.get(service).map_or_else(Killed::default, |sum| killed(&sum.counters))
            });
            // What was counted by the first tick may be of long before: a trace can lack its beginning.
            let before = before.unwrap_or(now);
            ServiceCount {
                port: service.port,
                direction: service.direction,
                owner: sum.owner().0,
                orphans: sum.counters.population(Counter::Orphans),
                killed: Killed {
                    all: now.all.saturating_sub(before.all),
                    for_memory: now.for_memory.saturating_sub(before.for_memory),
                    for_number: now.for_number.saturating_sub(before.for_number),
                },
            }
        });
        Counted {
            orphans: Trend::of(&self.history.series(|point| point.orphans_host)),
            memory: Trend::of(&self.history.series(|point| point.tcp_mem_pages)),
            services: services.filter(|it| it.orphans > 0 || it.killed.all > 0).collect(),
            workloads: rollup.workloads(),
            drift: orphans.drift,
            orphan_begin: self.settings.fidelity.get("orphan_begin").copied(),
            lost: self.totals.lost,
            unseen: self.settings.unseen.clone(),
        }
    }
}

fn killed(counters: &GroupCounters) -> Killed {
    Killed {
        all: counters.ended(OrphanEnd::Killed),
        for_memory: counters.total(Counter::KilledForMemory),
        for_number: counters.total(Counter::KilledForLimit),
    }
}
