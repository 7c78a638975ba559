//! Tracked connections against `nf_conntrack_max`, of the namespace.

use super::check::{Check, describe};
use super::look::Look;
use super::watch::Watch;
use crate::facts::{Facts, Known};
use crate::format::{bytes, count};

pub(super) struct Conntrack;

/// What an entry takes: `struct nf_conn` with its usual extensions.
const EACH: u64 = 320;

impl Check for Conntrack {
    describe!("conntrack", "conntrack", "conntrack entries", "entries", Netns);

    fn look(&self, watch: &Watch) -> Known<Look> {
        let facts = watch.last();
        let tracked = facts.conntrack.as_ref().map_err(Clone::clone)?;
        // 0 means: no limit of this kind (`__nf_conntrack_alloc`).
        if tracked.max == 0 {
            return Ok(Look {
                now: Some(tracked.count),
                why: "nf_conntrack_max is 0: without a limit.".to_owned(),
                ..Look::default()
            });
        }
        let mut look = Look::at(tracked.count, tracked.max).trend(watch, entries);
        let dropped = watch.increase(|facts| facts.conntrack.as_ref().ok()?.dropped).unwrap_or(0);
        if dropped > 0 {
            look.refusing();
            look.before = format!("kernel dropped {} packets for want of an entry", count(dropped));
        }
        look.why = if dropped > 0 {
            format!("{} packets or entries were dropped while we watched.", count(dropped))
        } else {
            "At the limit packets of new connections are dropped.".to_owned()
        };
        look.evidence = "nf_conntrack_count; closed connections stay for \
                         nf_conntrack_tcp_timeout_time_wait"
            .to_owned();
        look.action = "do not track the service at all (NOTRACK for its port)".to_owned();
        let to = tracked.count.max(tracked.max).saturating_mul(2);
        // Other namespaces show the limit and cannot change it.
        if facts.first_netns != Some(false)
            && look.propose(facts, "net.netfilter.nf_conntrack_max", &to)
        {
            if facts.number("net.netfilter.nf_conntrack_buckets").is_some_and(|is| is < to / 4) {
                look.propose(facts, "net.netfilter.nf_conntrack_buckets", &(to / 4));
            }
            look.gain = format!("room for {} connections", count(to));
            look.risk =
                format!("about {} of kernel memory when full", bytes(to.saturating_mul(EACH)));
        }
        Ok(look)
    }
}

fn entries(facts: &Facts) -> Option<u64> {
    Some(facts.conntrack.as_ref().ok()?.count)
}
