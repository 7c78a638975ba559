//! Memory of sockets in the cgroup that is nearest to its `memory.max`.
//!
//! A cgroup's sockets are part of its memory and come under pressure with it, whatever `tcp_mem`
//! says (`mem_cgroup_charge_skmem`, mm/memcontrol.c).

use super::check::{Check, describe};
use super::look::Look;
use super::severity::Severity;
use super::watch::Watch;
use crate::facts::{CgroupMemory, Facts, Known};
use crate::format::{bytes, count, percent};

pub(super) struct Memcg;

/// Sockets matter from this share of a cgroup's memory: one in so many.
const SHARE: u64 = 10;

impl Check for Memcg {
    describe!("memcg", "memcg sock", "socket memory", "bytes", Cgroup);

    fn look(&self, watch: &Watch) -> Known<Look> {
        let facts = watch.last();
        let cgroups = facts.cgroups.as_ref().map_err(Clone::clone)?;
        let limited = |cgroup: &&CgroupMemory| cgroup.max.is_some_and(|max| max > 0);
        let wanted = |cgroup: &&CgroupMemory| watch.wants_cgroup(cgroup);
        let worst = cgroups.iter().filter(wanted).filter(limited).max_by(|a, b| {
            // What matters for sockets first, then the fuller one.
            matters(a).cmp(&matters(b)).then_with(|| a.share().total_cmp(&b.share()))
        });
        let Some(worst) = worst else {
            return Ok(Look {
                now: Some(cgroups.iter().filter(wanted).map(|cgroup| cgroup.sock).sum()),
                why: "No cgroup with sockets has a memory limit.".to_owned(),
                ..Look::default()
            });
        };
        let max = worst.max.unwrap_or(u64::MAX);
        let mut look = Look { now: Some(worst.sock), limit: Some(max), ..Look::default() };
        look.subject = Some(worst.path.clone());
        let hits = watch.increase(|facts| Some(of(facts, &worst.path)?.max_events)).unwrap_or(0);
        let kills = watch.increase(|facts| Some(of(facts, &worst.path)?.oom_kills)).unwrap_or(0);
        if matters(worst) && (hits > 0 || kills > 0 || worst.current >= max) {
            look.refusing();
            look.before = format!(
                "a cgroup is full ({} of {}), its sockets get no buffers",
                bytes(worst.current),
                bytes(max)
            );
        } else if matters(worst) && worst.share() >= 0.8 {
            look.at_least = Severity::Warn;
        }
        look.why = if matters(worst) {
            "When the cgroup is full, its sockets get no buffers, whatever tcp_mem allows."
        } else {
            "Sockets take little of it."
        }
        .to_owned();
        look.evidence = format!(
            "all memory of the cgroup {} of {} ({}), sockets {}",
            bytes(worst.current),
            bytes(max),
            percent(worst.current, max),
            bytes(worst.sock)
        );
        if hits > 0 || kills > 0 {
            let (hits, kills) = (count(hits), count(kills));
            look.evidence.push_str(&format!(
                "; hit its limit {hits} times, {kills} OOM kills while we watched"
            ));
        }
        look.action = format!(
            "raise memory.max of the cgroup (MemoryMax={} in its unit), or smaller buffers in the \
             server",
            bytes(max.saturating_mul(2))
        );
        look.gain = "room for buffers".to_owned();
        look.risk = "takes memory from the others".to_owned();
        look.undo = format!("memory.max back to {max}");
        Ok(look)
    }
}

fn matters(cgroup: &CgroupMemory) -> bool {
    cgroup.sock.saturating_mul(SHARE) >= cgroup.current && cgroup.sock > 0
}

fn of<'a>(facts: &'a Facts, path: &str) -> Option<&'a CgroupMemory> {
    facts.cgroups.as_ref().ok()?.iter().find(|cgroup| cgroup.path == path)
}
