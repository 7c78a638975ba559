//! Packets that a CPU could not take in (`netdev_max_backlog`), of the host.
//!
//! The backlog is that of packets handed from one CPU to another (RPS), of loopback, and of
//! drivers without NAPI (`enqueue_to_backlog`, net/core/dev.c); a network card's own drops are
//! not in it.

use super::checks::{Check, describe};
use super::finding::{Look, State, room};
use super::watch::Watch;
use crate::facts::{Facts, Known, SoftnetCpu};
use crate::format::count;

pub(super) struct Softnet;

/// Fewer drops than this share are worth a warning only.
const RARE: u64 = 1000;

impl Check for Softnet {
    describe!("softnet", "backlog drop", "packet backlog", "packets", Host);

    fn look(&self, watch: &Watch) -> Known<Look> {
        let facts = watch.last();
        let cpus = facts.softnet.as_ref().map_err(Clone::clone)?;
        let longest = cpus.iter().filter_map(|cpu| cpu.backlog).max();
        let limit = facts.number("net.core.netdev_max_backlog");
        let sum = |of: fn(&SoftnetCpu) -> u32| {
            watch.increase(|facts: &Facts| {
                let cpus = facts.softnet.as_ref().ok()?;
                Some(cpus.iter().map(|cpu| u64::from(of(cpu))).sum())
            })
        };
        let dropped = sum(|cpu| cpu.dropped);
        let processed = sum(|cpu| cpu.processed).unwrap_or(0);
        let squeezed = sum(|cpu| cpu.squeezed).unwrap_or(0);
        let mut look = Look { now: longest.map(u64::from), limit, ..Look::default() };
        match dropped {
            Some(drops @ 1..) if drops.saturating_mul(RARE) > processed => look.refusing(),
            Some(1..) => look.at_least = Some(State::Warn),
            _ => {}
        }
        let ever: u64 = cpus.iter().map(|cpu| u64::from(cpu.dropped)).sum();
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
            cpus.len(),
            count(ever),
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
