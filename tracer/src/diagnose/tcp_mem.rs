//! TCP's memory against `tcp_mem`, of the host.
//!
//! The kernel enters pressure above the second number and leaves it only at the first
//! (`sk_enter_memory_pressure`, `__sk_mem_raise_allocated`, net/core/sock.c); above the third it
//! refuses, and kills orphans with data (`tcp_check_oom`, net/ipv4/tcp.c).

use super::check::{Check, describe, hidden};
use super::counted::of_service;
use super::look::{Happened, Look};
use super::severity::Severity;
use super::watch::Watch;
use crate::event::{Fidelity, Owner};
use crate::facts::{Facts, Known, Unknown, elsewhere};
use crate::format::{bytes, count, duration, percent};
use crate::gauges::{MemLimits, Pages};

pub(super) struct TcpMem;

/// Orphans killed, for their number or for memory: the kernel counts both in one.
pub(super) const KILLED: &str = elsewhere::KILLED;

impl Check for TcpMem {
    describe!("tcp_mem", "tcp_mem", "TCP memory", "pages", Host);

    fn look(&self, watch: &Watch) -> Known<Look> {
        let facts = watch.last();
        let gauges = facts.gauges.as_ref().map_err(Clone::clone)?;
        let used =
            used(facts).ok_or_else(|| Unknown::because("/proc/net/sockstat has no TCP memory"))?;
        let Some(limits) = gauges.limits.tcp_mem else {
            let seen = format!("{} pages in use on the host", count(used));
            return Err(hidden(facts, &seen, "net.ipv4.tcp_mem"));
        };
        let pressure = gauges.memory.pressure;
        let killed = kills(watch);
        let mut look = Look::at(used, limits.high.0).growing(watch.memory_growth());
        look.fidelity = Fidelity::Exact;
        look.what = "TCP memory near its limit";
        if pressure == Some(true) {
            look.behind = "under pressure: buffers are kept small".to_owned();
            look.what = "TCP memory pressure";
            look.at_least = Severity::Warn;
        } else if Pages(used) > limits.pressure {
            look.at_least = Severity::Warn;
        }
        name_holders(&mut look, facts);
        if killed.for_memory > 0 {
            killing(&mut look, watch, &killed, killed.for_memory, " for want of TCP memory");
        } else if Pages(used) > limits.high {
            look.refuses = true;
            look.what = "TCP memory used up";
            look.before = "kernel refuses memory to sockets".to_owned();
        }
        look.why = why(facts, used, limits, pressure, watch);
        look.evidence = evidence(facts, used, limits, watch);
        advise(&mut look, facts, limits);
        Ok(look)
    }
}

fn used(facts: &Facts) -> Option<u64> {
    Some(facts.gauges.as_ref().ok()?.sockets.mem?.0)
}

/// Holders named.
const HOLDERS: usize = 3;

/// Whose sockets hold most of it.
fn name_holders(look: &mut Look, facts: &Facts) {
    let Ok(sockets) = &facts.sockets else { return };
    let Ok(causes) = &sockets.causes else { return };
    let memory = &causes.memory;
    let named: Vec<String> = memory
        .services
        .iter()
        .filter(|(_, _, held)| held.charged > 0)
        .take(HOLDERS)
        .map(|(service, owner, held)| {
            let owner = owner.as_ref().map(|(pid, comm)| Owner { pid: *pid, comm: comm.clone() });
            let way = if service.accepted { "" } else { "to " };
            format!("{way}{} {}", of_service(service.port, owner.as_ref()), bytes(held.charged))
        })
        .collect();
    if named.is_empty() {
        return;
    }
    // Both ends of a connection may be here: they are of one port.
    let most = |held: u64| held.saturating_mul(2) > memory.all.charged;
    let of_port = |port: u16| {
        let of_it = memory.services.iter().filter(|(service, _, _)| service.port == port);
        of_it.map(|(_, _, held)| held.charged).sum::<u64>()
    };
    let port = memory.services.first().map(|(service, _, _)| service.port);
    look.port = port.filter(|port| most(of_port(*port)));
    let owner = memory.processes.first().filter(|(_, held)| most(held.charged));
    look.owner = owner.map(|((pid, comm), _)| Owner { pid: *pid, comm: comm.clone() });
    if !look.behind.is_empty() {
        look.behind.push_str("; ");
    }
    look.behind.push_str(&format!("held by {}", named.join(", ")));
}

/// Orphans killed while we watched, for want of memory and for their number.
///
/// The kernel counts both in one (TCPAbortOnMemory), and in the network namespace they were in: those
/// of all that can be entered are added up. Hooks count them one by one, with the reason.
#[derive(Clone, Debug, Default)]
pub(super) struct Killings {
    pub(super) for_memory: u64,
    pub(super) for_number: u64,
    /// How long ago the last was, seconds.
    last_s: f64,
    /// All of them since any time in the past.
    total: u64,
}

fn killed_elsewhere(facts: &Facts) -> Option<u64> {
    facts.elsewhere.as_ref().ok().map(|it| it.killed)
}

/// The split of what only the kernel counted: it was memory where usage was high and the orphan limit
/// out of reach, even at a quarter of it, all the while: also for those that were killed between two
/// observations.
pub(super) fn kills(watch: &Watch) -> Killings {
    let mut found = Killings::default();
    let mut was_elsewhere = None;
    for (before, after) in watch.steps() {
        let (Ok(then), Ok(now)) = (&before.gauges, &after.gauges) else { continue };
        let (Some(was), Some(is)) = (then.tcp_ext.get(KILLED), now.tcp_ext.get(KILLED)) else {
            continue;
        };
        was_elsewhere = killed_elsewhere(before).or(was_elsewhere);
        let elsewhere = killed_elsewhere(after).zip(was_elsewhere);
        let elsewhere = elsewhere.map_or(0, |(now, then)| now.saturating_sub(then));
        let killed = is.saturating_sub(*was).saturating_add(elsewhere);
        let few = match (then.sockets.orphan.max(now.sockets.orphan), now.limits.max_orphans) {
            (Some(most), Some(limit)) => most.saturating_add(killed).saturating_mul(4) < limit,
            _ => false,
        };
        let much = match (then.sockets.mem.max(now.sockets.mem), now.limits.tcp_mem) {
            (Some(most), Some(limits)) => most >= limits.pressure,
            _ => false,
        };
        *(if few && much { &mut found.for_memory } else { &mut found.for_number }) += killed;
    }
    let counted = &watch.kills.all;
    if counted.for_memory.saturating_add(counted.for_number) > 0
        && counted.all >= found.for_memory.saturating_add(found.for_number)
    {
        // The hook's word for why: more than what can be concluded.
        found.for_memory = counted.for_memory;
        found.for_number = counted.all - counted.for_memory.min(counted.all);
    } else if counted.all > found.for_memory.saturating_add(found.for_number) {
        // In network namespaces that nobody could look into.
        found.for_number = counted.all - found.for_memory.min(counted.all);
    }
    let by_kernel = watch.last_increase(|facts| counter(facts, KILLED));
    let elsewhere = watch.last_increase(killed_elsewhere);
    let ages = [by_kernel, elsewhere, watch.kills.last_s].into_iter().flatten();
    found.last_s = ages.fold(f64::INFINITY, f64::min);
    let elsewhere = watch.samples().filter_map(killed_elsewhere).max().unwrap_or(0);
    let by_kernel = watch.counter(KILLED).unwrap_or(0);
    found.total = by_kernel.saturating_add(elsewhere).max(watch.kills.total);
    found
}

fn counter(facts: &Facts, name: &str) -> Option<u64> {
    facts.gauges.as_ref().ok()?.tcp_ext.get(name).copied()
}

/// The kernel kills again any moment for so long after it last did, seconds.
const STILL_KILLS_S: f64 = 10.0;

/// What a finding says of orphans that were killed: how many, whose, how long ago.
pub(super) fn killing(look: &mut Look, watch: &Watch, all: &Killings, killed: u64, what_for: &str) {
    let mut whose = String::new();
    if let Some((port, owner)) = watch.kills.most() {
        whose = format!(" of {}", of_service(port, owner));
        look.port = Some(port);
        look.owner = owner.cloned();
    }
    let orphans = if killed == 1 { "orphan" } else { "orphans" };
    look.what = "orphans killed";
    look.before = format!("kernel killed {} {orphans}{whose}{what_for}", count(killed));
    if all.last_s <= STILL_KILLS_S {
        look.refusing();
    } else {
        // It may be over: what is near a limit still is worth more by itself.
        look.at_least = look.at_least.max(Severity::Note);
        look.before.push_str(&format!(", the last {} ago", duration(all.last_s)));
    }
    let limit = watch.last().gauges.as_ref().ok().and_then(|it| it.limits.max_orphans);
    let now = watch.last().gauges.as_ref().ok().and_then(|it| it.sockets.orphan);
    let of = match (now, limit) {
        (Some(now), Some(limit)) => format!(" (orphans {} of {})", count(now), count(limit)),
        _ => String::new(),
    };
    look.happened = Some(Happened {
        kind: "orphan-kill",
        total: all.total,
        lately: all.for_memory.saturating_add(all.for_number),
        text: ("kernel killed ", format!("{whose}{what_for}{of}")),
    });
}

/// Bytes of orphans, where measured.
fn of_orphans(facts: &Facts) -> Option<(u64, u64)> {
    let orphans = &facts.sockets.as_ref().ok()?.orphans;
    (orphans.count > 0).then_some((orphans.count, orphans.bytes))
}

fn why(
    facts: &Facts,
    used: u64,
    limits: MemLimits,
    pressure: Option<bool>,
    watch: &Watch,
) -> String {
    let killed = kills(watch).for_memory;
    let state = if killed > 0 {
        format!(
            "Memory is used up: the kernel killed {} orphans for it while we watched.",
            count(killed)
        )
    } else if Pages(used) >= limits.high {
        "At high: the kernel refuses memory, and kills orphans that hold data.".to_owned()
    } else if pressure == Some(true) {
        "Pressure: buffers are kept small until usage is back at low.".to_owned()
    } else if Pages(used) > limits.low {
        "Above low, below pressure: nothing is held back yet.".to_owned()
    } else {
        "Below low: sockets take what they need.".to_owned()
    };
    let total = Pages(used).bytes(facts.page()).0;
    match of_orphans(facts) {
        Some((_, held)) if held > total / 2 => {
            format!("{state} Orphans hold {} of it.", percent(held.min(total), total))
        }
        _ => state,
    }
}

fn evidence(facts: &Facts, used: u64, limits: MemLimits, watch: &Watch) -> String {
    let page = facts.page();
    let size = |pages: Pages| bytes(pages.bytes(page).0);
    let mut parts = vec![format!(
        "{} in use; low {}, pressure {}, high {} (pages of {})",
        size(Pages(used)),
        size(limits.low),
        size(limits.pressure),
        size(limits.high),
        bytes(page.0)
    )];
    if let Some((number, held)) = of_orphans(facts) {
        parts.push(format!("{} orphans hold {}", count(number), bytes(held)));
    }
    let entered = watch.increase_of("TCPMemoryPressures");
    if entered > 0 {
        parts.push(format!("pressure began {} times while we watched", count(entered)));
    }
    parts.join("; ")
}

fn advise(look: &mut Look, facts: &Facts, limits: MemLimits) {
    let page = facts.page();
    let held = of_orphans(facts).map_or(0, |(_, held)| held);
    let total = Pages(look.now.unwrap_or(0)).bytes(page).0;
    let by_orphans = held > total / 2;
    if by_orphans {
        look.follows = Some("orphans");
    }
    look.action = if by_orphans {
        "end the orphans, which hold most of it: in the server TCP_USER_TIMEOUT or a deadline, and a \
         smaller SO_SNDBUF"
    } else {
        "find who does not read or send (ss -tm, largest skmem first); smaller SO_SNDBUF or \
         TCP_NOTSENT_LOWAT in the server"
    }
    .to_owned();
    // Never more than half of main memory: it is taken from everything else and not given back.
    let Ok(memory) = facts.memory else { return };
    let most = memory.0 / 2 / page.0;
    let MemLimits { low, pressure, high } = limits;
    // The share of low and pressure in high is kept.
    let to = high.0.saturating_mul(2).max(look.now.unwrap_or(0).saturating_mul(2)).min(most);
    if to <= high.0 || high.0 == 0 {
        look.risk = format!(
            "tcp_mem allows {} already, half of this host's memory or more: raising it would \
             starve the rest",
            bytes(high.bytes(page).0)
        );
        return;
    }
    let scale = |pages: Pages| (u128::from(pages.0) * u128::from(to) / u128::from(high.0)) as u64;
    if look.propose(facts, "net.ipv4.tcp_mem", &format!("{} {} {to}", scale(low), scale(pressure)))
    {
        look.gain = format!(
            "TCP may use {} instead of {}",
            bytes(Pages(to).bytes(page).0),
            bytes(high.bytes(page).0)
        );
        look.risk = format!(
            "that is {} of this host's memory, unswappable",
            percent(Pages(to).bytes(page).0, memory.0)
        );
    }
}
