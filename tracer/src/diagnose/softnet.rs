//! Packets that a CPU could not take in (`netdev_max_backlog`), of the host.
//!
//! The backlog is that of packets handed from one CPU to another (RPS), of loopback, and of
//! drivers without NAPI (`enqueue_to_backlog`, net/core/dev.c); a network card's own drops are
//! not in it.

use super::check::{Check, describe};
use super::look::{Look, room};
use super::severity::Severity;
use super::watch::Watch;
use crate::facts::{Facts, Known, Softnet as Counts};
use crate::format::count;

pub(super) struct Softnet;

/// Fewer drops than this share are worth a warning only.
const RARE: u64 = 1000;

impl Check for Softnet {
    describe!("softnet", "backlog drop", "packet backlog", "packets", Host);

    fn look(&self, watch: &Watch) -> Known<Look> {
        let facts = watch.last();
        let seen = *facts.softnet.as_ref().map_err(Clone::clone)?;
        let limit = facts.number("net.core.netdev_max_backlog");
        let increase = |of: fn(&Counts) -> u64| {
            watch.increase(|facts: &Facts| facts.softnet.as_ref().ok().map(of))
        };
        let dropped = increase(|softnet| softnet.dropped);
        let processed = increase(|softnet| softnet.processed).unwrap_or(0);
        let squeezed = increase(|softnet| softnet.squeezed).unwrap_or(0);
        let mut look = Look { now: seen.backlog, limit, ..Look::default() };
        match dropped {
            Some(drops @ 1..) if drops.saturating_mul(RARE) > processed => look.refusing(),
            Some(1..) => look.at_least = Severity::Warn,
            _ => {}
        }
        if let Some(drops @ 1..) = dropped {
            look.before = format!("kernel dropped {} packets", count(drops));
            look.refuses = true;
        }
        look.why = match dropped {
            Some(drops @ 1..) => format!(
                "{} packets were dropped while we watched, of {}.",
                count(drops),
                count(processed + drops)
            ),
            _ => "No packet was dropped while we watched.".to_owned(),
        };
        look.evidence = format!(
            "softnet_stat of {} CPUs: {} dropped since boot; the budget ran out {} times while we \
             watched",
            seen.cpus,
            count(seen.dropped),
            count(squeezed)
        );
        look.action = "spread the packets over the CPUs (RPS, more queues)".to_owned();
        let to = room(limit.unwrap_or(1000), 2).max(4096);
        if look.propose(facts, "net.core.netdev_max_backlog", &to) {
            look.gain = format!("{} packets may wait for a CPU", count(to));
            look.risk = "packets wait longer, and are older when they are seen".to_owned();
        }
        Ok(look)
    }
}
