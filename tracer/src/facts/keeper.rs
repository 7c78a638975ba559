//! Makes the whole of looks that show a part each: what is known at a moment is what was seen of
//! each part last, if that is not too long ago.
//!
//! A live screen and a trace go through the same one, so that both know the same. Pure: it has no
//! clock, time is what the ticks say.

use std::collections::BTreeMap;

use super::{Facts, Known, Listener, ProcessFds, Processes, Unknown};
use crate::gauges::{Gauges, Limits, MemLimits};
use crate::time::Monotonic;

/// What was seen longer ago than that says nothing about a moment, seconds. Of the parts that cost
/// much a look comes every [`THOROUGH_S`], less often on a host where one takes long.
pub const STALE_S: f64 = 120.0;
/// Seconds between two thorough looks, where they cost little.
pub const THOROUGH_S: f64 = 5.0;

/// What is known so far.
#[derive(Clone, Debug)]
pub struct Keeper {
    now: Facts,
    /// Settings at the beginning of the run.
    sysctls: BTreeMap<String, String>,
    /// When each part was told last; of listeners and processes: when all of them were.
    seen: Seen,
    /// Why a part that was never told is not known.
    never: Unknown,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    files: Option<Monotonic>,
    processes: Option<Monotonic>,
    listeners: Option<Monotonic>,
    sockets: Option<Monotonic>,
    udp: Option<Monotonic>,
    udp_sockets: Option<Monotonic>,
    conntrack: Option<Monotonic>,
    elsewhere: Option<Monotonic>,
    softnet: Option<Monotonic>,
    cgroups: Option<Monotonic>,
}

impl Keeper {
    /// Begins with what holds for the whole of a run: kernel, memory, settings, whether it is the
    /// first namespace. All else is not known because of `never` until it is told.
    #[must_use]
    pub fn new(run: Facts, never: Unknown) -> Self {
        let mut now = Facts::unseen(run.at, &never);
        now.kernel = run.kernel;
        now.memory = run.memory;
        now.sysctls.clone_from(&run.sysctls);
        now.first_netns = run.first_netns;
        now.settings = run.settings;
        Self { now, sysctls: run.sysctls, seen: Seen::default(), never }
    }

    /// Takes the kernel's gauges in; they hold until the next tick.
    pub fn gauges(&mut self, gauges: Gauges) {
        self.now.gauges = Ok(gauges);
    }

    /// Takes a look in: parts that it left out are as they were. Of settings it tells those that are
    /// not as at the beginning, if it is a thorough one.
    pub fn look(&mut self, look: Facts) {
        let at = look.at;
        let Self { now, sysctls, seen, .. } = self;
        replace(&mut now.files, &mut seen.files, look.files, at);
        replace(&mut now.sockets, &mut seen.sockets, look.sockets, at);
        replace(&mut now.udp, &mut seen.udp, look.udp, at);
        replace(&mut now.udp_sockets, &mut seen.udp_sockets, look.udp_sockets, at);
        replace(&mut now.conntrack, &mut seen.conntrack, look.conntrack, at);
        replace(&mut now.elsewhere, &mut seen.elsewhere, look.elsewhere, at);
        replace(&mut now.softnet, &mut seen.softnet, look.softnet, at);
        replace(&mut now.cgroups, &mut seen.cgroups, look.cgroups, at);
        if look.sparse {
            // Without the others there is nothing to lay the few over.
            if let (Ok(all), Ok(few)) = (&mut now.listeners, look.listeners) {
                lay_listeners(all, few);
            }
            if let (Ok(all), Ok(few)) = (&mut now.processes, look.processes) {
                lay_processes(all, few);
            }
        } else {
            replace(&mut now.listeners, &mut seen.listeners, look.listeners, at);
            replace(&mut now.processes, &mut seen.processes, look.processes, at);
        }
        // They are told in full whenever there are any.
        if !look.changes.is_empty() {
            now.changes = look.changes;
        }
        now.detail_at = look.detail_at.or(now.detail_at);
        // A setting goes away only with its module, and then so does what it limits.
        if !look.sparse {
            now.sysctls.clone_from(sysctls);
            now.sysctls.extend(look.sysctls);
        }
    }

    /// What is known at the end of an interval.
    pub fn tick(&mut self, at: Monotonic) -> Facts {
        let Self { now, seen, never, .. } = self;
        now.at = at;
        lay_limits(now);
        forget(&mut now.files, &mut seen.files, at);
        forget(&mut now.processes, &mut seen.processes, at);
        forget(&mut now.listeners, &mut seen.listeners, at);
        forget(&mut now.sockets, &mut seen.sockets, at);
        forget(&mut now.udp, &mut seen.udp, at);
        forget(&mut now.udp_sockets, &mut seen.udp_sockets, at);
        forget(&mut now.conntrack, &mut seen.conntrack, at);
        forget(&mut now.elsewhere, &mut seen.elsewhere, at);
        forget(&mut now.softnet, &mut seen.softnet, at);
        forget(&mut now.cgroups, &mut seen.cgroups, at);
        let facts = now.clone();
        now.gauges = Err(never.clone());
        facts
    }
}

/// Gauges come with limits, more often than settings are looked at.
fn lay_limits(facts: &mut Facts) {
    let Ok(gauges) = &facts.gauges else { return };
    let Limits { max_orphans, tcp_mem, max_tw_buckets, .. } = gauges.limits;
    for (name, value) in [
        ("net.ipv4.tcp_max_orphans", max_orphans.map(|limit| limit.to_string())),
        ("net.ipv4.tcp_max_tw_buckets", max_tw_buckets.map(|limit| limit.to_string())),
        (
            "net.ipv4.tcp_mem",
            tcp_mem.map(|MemLimits { low, pressure, high }| {
                format!("{} {} {}", low.0, pressure.0, high.0)
            }),
        ),
    ] {
        if let (Some(setting), Some(value)) = (facts.sysctls.get_mut(name), value) {
            *setting = value;
        }
    }
}

fn replace<T>(part: &mut Known<T>, seen: &mut Option<Monotonic>, told: Known<T>, when: Monotonic) {
    if told.as_ref().is_err_and(Unknown::is_not_looked_at) {
        return;
    }
    (*part, *seen) = (told, Some(when));
}

fn forget<T>(part: &mut Known<T>, seen: &mut Option<Monotonic>, now: Monotonic) {
    if seen.is_some_and(|seen| now.seconds_since(seen) > STALE_S) {
        *seen = None;
        *part = Err(Unknown(format!("last seen more than {STALE_S:.0} s before")));
    }
}

/// Nobody waits for those that are not among the few.
fn lay_listeners(all: &mut Vec<Listener>, mut few: Vec<Listener>) {
    all.retain_mut(|listener| {
        let told = few
            .iter()
            .position(|it| it.inode == listener.inode && it.local == listener.local)
            .map(|at| few.swap_remove(at));
        let is_told = told.is_some();
        match told {
            Some(told) => {
                let owner = told.owner.clone().or(listener.owner.take());
                let holder = told.holder.or(listener.holder);
                // A brief sample does not know: it holds as long as nobody is seen to be accepted.
                let before = listener.oldest_wait_ms.filter(|_| told.queue >= listener.queue);
                let oldest_wait_ms = told.oldest_wait_ms.or(before);
                *listener = Listener { owner, holder, oldest_wait_ms, ..told };
            }
            None => (listener.queue, listener.oldest_wait_ms) = (0, None),
        }
        // One that has dropped somebody is told as long as it is there.
        is_told || listener.drops.is_none_or(|drops| drops == 0)
    });
    all.append(&mut few);
}

/// Those that are not among the few use less than half of their limit: as much as they did.
fn lay_processes(all: &mut Processes, few: Processes) {
    all.worst.retain(|process| !process.is_near());
    for process in few.worst {
        all.worst.retain(|former| former.pid != process.pid);
        all.worst.push(process);
    }
    all.worst.sort_by(ProcessFds::worse_first);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::fixture::{healthy, listener, process};
    use crate::facts::{Conntrack, FileNr};

    fn at(second: u64) -> Monotonic {
        Monotonic(second * 1_000_000_000)
    }

    fn keeper() -> Keeper {
        Keeper::new(healthy(), Unknown::because("not in this trace"))
    }

    /// A look that sees nothing, to be filled in.
    fn look(second: u64) -> Facts {
        Facts::unseen(at(second), &Unknown::not_looked_at())
    }

    #[test]
    fn what_was_never_told_is_unknown_and_says_why() {
        let facts = keeper().tick(at(1));
        assert_eq!(facts.kernel, "6.18.44");
        assert_eq!(facts.sysctls, healthy().sysctls);
        assert_eq!(facts.files, Err(Unknown::because("not in this trace")));
        assert_eq!(facts.gauges, Err(Unknown::because("not in this trace")));
    }

    #[test]
    fn a_part_holds_until_it_is_told_anew_or_too_old() {
        let mut keeper = keeper();
        let files = |allocated| Ok(FileNr { allocated, max: 100 });
        keeper.look(Facts { files: files(1), detail_at: Some(at(1)), ..look(1) });
        keeper.look(Facts { conntrack: Ok(Conntrack::default()), ..look(2) });
        let facts = keeper.tick(at(3));
        assert_eq!((facts.at, facts.detail_at, &facts.files), (at(3), Some(at(1)), &files(1)));
        keeper.look(Facts { conntrack: Err(Unknown::because("unloaded")), ..look(4) });
        assert_eq!(keeper.tick(at(4)).conntrack, Err(Unknown::because("unloaded")));
        assert_eq!(keeper.tick(at(121)).files, files(1));
        assert!(keeper.tick(at(122)).files.unwrap_err().0.contains("120 s before"));
        // Gauges are of their interval only; the limits among them are settings.
        let limits = Limits { max_orphans: Some(256), ..Limits::default() };
        keeper.gauges(Gauges { limits, ..Gauges::default() });
        let facts = keeper.tick(at(123));
        assert!(facts.gauges.is_ok());
        assert_eq!(facts.sysctls["net.ipv4.tcp_max_orphans"], "256");
        assert_eq!(facts.sysctls["net.ipv4.tcp_mem"], "287898 383867 575796");
        assert!(keeper.tick(at(124)).gauges.is_err());
    }

    #[test]
    fn settings_are_told_where_they_differ_from_the_beginning() {
        let mut keeper = keeper();
        let told = |second, sparse, set: &[(&str, &str)]| Facts {
            sparse,
            sysctls: set.iter().map(|(name, to)| ((*name).into(), (*to).into())).collect(),
            ..look(second)
        };
        let somaxconn = |keeper: &mut Keeper, second| {
            keeper.tick(at(second)).sysctls["net.core.somaxconn"].clone()
        };
        keeper.look(told(1, false, &[("net.core.somaxconn", "9")]));
        assert_eq!(somaxconn(&mut keeper, 1), "9");
        keeper.look(told(2, true, &[]));
        assert_eq!(somaxconn(&mut keeper, 2), "9");
        keeper.look(told(3, false, &[]));
        assert_eq!(somaxconn(&mut keeper, 3), "4096", "set back");
    }

    #[test]
    fn the_few_are_laid_over_all() {
        let mut keeper = keeper();
        let few = |listeners, processes| Facts {
            sparse: true,
            listeners: Ok(listeners),
            processes: Ok(Processes { worst: processes, ..Processes::default() }),
            ..look(2)
        };
        keeper.look(few(vec![listener(80, 3, 128)], vec![]));
        assert!(keeper.tick(at(2)).listeners.is_err(), "of how many?");
        let dropping = Listener { drops: Some(7), ..listener(443, 9, 128) };
        keeper.look(Facts {
            listeners: Ok(vec![listener(22, 5, 128), listener(80, 0, 128), dropping]),
            processes: Ok(Processes {
                worst: vec![process(7, "b", 60, 100), process(8, "c", 9, 100)],
                seen: 9,
                denied: 1,
            }),
            ..look(3)
        });
        // 443 is gone: it would be told.
        keeper.look(few(vec![listener(80, 4, 128)], vec![process(9, "d", 99, 100)]));
        let facts = keeper.tick(at(4));
        let queues: Vec<(u16, u32)> = facts
            .listeners
            .unwrap()
            .iter()
            .map(|listener| (listener.local.port(), listener.queue))
            .collect();
        assert_eq!(queues, [(22, 0), (80, 4)]);
        let processes = facts.processes.unwrap();
        let open: Vec<(u32, u64)> = processes.worst.iter().map(|it| (it.pid, it.open)).collect();
        assert_eq!(open, [(9, 99), (8, 9)]);
        assert_eq!((processes.seen, processes.denied), (9, 1));
    }
}
