//! Reads [`Facts`]: what [`crate::diagnose`] looks at, from /proc, /sys and sock_diag. No
//! programs are loaded, and what a user may not see is unknown in the facts, not an error.
//!
//! - [`parse`]: files as text, pure
//! - [`sockets`]: what a dump of all sockets comes to; `causes`: what of it says why a limit fills,
//!   with `ages`, `holders` (who has which socket), `closed` (descriptors of closed sockets), `udp`
//! - [`descriptors`]: open files of processes
//! - [`memory_cgroups`]: memory of cgroups
//! - [`boot`]: what sysctl.conf and sysctl.d set; `changes`: what changed since
//! - `elsewhere`: the other network namespaces
//! - [`watcher`]: looks again and again, for a screen or a trace
//!
//! A thorough sample dumps every socket (about 1 µs each), looks at every process (some 30 µs each)
//! and reads some hundred settings; a brief one only reads a dozen files, the listeners and the few
//! processes that were worst.

mod ages;
pub mod boot;
mod causes;
mod changes;
mod closed;
pub mod descriptors;
mod elsewhere;
mod holders;
mod listeners;
pub mod memory_cgroups;
pub mod parse;
pub mod sockets;
mod udp;
pub mod watcher;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rustc_hash::FxHashSet;

use self::changes::Changes;
use self::descriptors::Wanted;
use self::elsewhere::ElsewhereReader;
use self::listeners::ListenerHolders;
use super::clock::now;
use super::gauges::{GaugeReader, Place};
use super::sock_diag::SockDiag;
use super::{cgroups::Cgroups, namespaces, sysctls};
use crate::facts::elsewhere::Elsewhere;
use crate::facts::{Conntrack, Facts, Known, Listener, ProcessFds, Settings, Unknown};
use crate::gauges::Bytes;
use crate::time::Monotonic;

/// How much to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// What costs next to nothing; the rest is unknown.
    Brief,
    /// Everything.
    Thorough,
}

/// Takes samples of the network namespace of the thread that made it; to be used from there only.
#[derive(Debug)]
pub struct FactReader {
    /// `None` where somebody else reads them.
    gauges: Option<Known<GaugeReader>>,
    diag: Known<SockDiag>,
    cgroups: Cgroups,
    kernel: String,
    /// What the host sets at boot; read once.
    settings: Settings,
    /// Settings as the last thorough sample saw them.
    sysctls: BTreeMap<String, String>,
    /// When that was.
    detail_at: Option<Monotonic>,
    /// Processes a brief sample looks at again.
    worst: Vec<ProcessFds>,
    /// Processes that are looked at however far from their limit.
    wanted: Wanted,
    memory: sockets::Memory,
    holders: ListenerHolders,
    changes: Changes,
    /// `None` where nobody asks for the other namespaces.
    elsewhere: Option<ElsewhereReader>,
}

impl FactReader {
    /// Opens what can be opened. `root`: the folder that has `etc/sysctl.conf`, `/` for this host.
    #[must_use]
    pub fn open(root: &Path) -> Self {
        let gauges = GaugeReader::open(Place::Own);
        Self { gauges: Some(gauges.map_err(|error| unknown(&error))), ..Self::without_gauges(root) }
    }

    /// As [`Self::open`], for who has the gauges from elsewhere.
    #[must_use]
    pub fn without_gauges(root: &Path) -> Self {
        let system = rustix::system::uname();
        Self {
            gauges: None,
            diag: SockDiag::open().map_err(|error| unknown(&error)),
            cgroups: Cgroups::new(),
            kernel: system.release().to_string_lossy().into_owned(),
            settings: boot::read(root, Path::new("/proc/sys")),
            sysctls: BTreeMap::new(),
            detail_at: None,
            worst: Vec::new(),
            wanted: Wanted::default(),
            memory: sockets::Memory::new(),
            holders: ListenerHolders::default(),
            changes: Changes::default(),
            elsewhere: None,
        }
    }

    /// Also looks into the other network namespaces.
    #[must_use]
    pub fn looking_elsewhere(mut self) -> Self {
        self.elsewhere = Some(ElsewhereReader::default());
        self
    }

    /// Also keeps the processes that are asked about.
    #[must_use]
    pub fn keeping(mut self, wanted: Wanted) -> Self {
        self.wanted = wanted;
        self
    }

    /// What holds for as long as the host runs and nobody changes a setting: a look that saw
    /// nothing else.
    #[must_use]
    pub fn run(&mut self) -> Facts {
        self.read_sysctls(now());
        Facts {
            kernel: self.kernel.clone(),
            memory: memory(),
            sysctls: self.sysctls.clone(),
            first_netns: first_netns(),
            settings: Ok(self.settings.clone()),
            ..Facts::unseen(now(), &Unknown::not_looked_at())
        }
    }

    fn read_sysctls(&mut self, at: Monotonic) {
        self.sysctls = sysctls::read();
        boot::add_runtime(&self.settings.lines, &mut self.sysctls);
        self.changes.all(at, &self.sysctls);
    }

    /// Reads the few settings that decide when a limit is reached.
    fn read_limits(&mut self, at: Monotonic) {
        for name in sysctls::LIMITS {
            if let Some(value) = sysctls::read_one(name) {
                self.changes.one(at, name, &value);
            }
        }
    }

    /// Looks once.
    pub fn sample(&mut self, depth: Depth) -> Facts {
        let thorough = depth == Depth::Thorough;
        let at = now();
        if thorough {
            self.read_sysctls(at);
            self.detail_at = Some(at);
        } else {
            self.read_limits(at);
        }
        let gauges = match &mut self.gauges {
            Some(Ok(reader)) => Ok(reader.sample()),
            Some(Err(why)) => Err(why.clone()),
            None => skipped(),
        };
        let mut elsewhere = match &mut self.elsewhere {
            Some(reader) => reader.read(thorough),
            None => skipped(),
        };
        let sockstat = text("/proc/thread-self/net/sockstat");
        let mut listeners = sockets::listeners(&mut self.diag);
        let dumped = match &mut listeners {
            Ok(listeners) if thorough => {
                let others = elsewhere.as_mut().map(busy).unwrap_or_default();
                self.dump(at, listeners, others, sockstat.as_deref().ok())
            }
            Ok(_) => skipped(),
            Err(why) => Err(why.clone()),
        };
        if let Ok(listeners) = &mut listeners {
            self.holders.fill(at, listeners, false);
        }
        for listener in elsewhere.as_mut().map(busy).unwrap_or_default() {
            self.holders.fill(at, std::slice::from_mut(listener), false);
        }
        let (sockets, udp_sockets, cgroup_ids) = match dumped {
            Ok(dumped) => (Ok(dumped.sockets), dumped.udp, dumped.cgroups),
            Err(why) => (Err(why.clone()), Err(why), FxHashSet::default()),
        };
        let processes = if thorough {
            let holding = sockets.as_ref().map(descriptors::holding).unwrap_or_default();
            descriptors::all(&self.wanted, &holding)
                .inspect(|found| self.worst.clone_from(&found.worst))
        } else {
            Ok(descriptors::again(&self.worst))
        };
        Facts {
            at,
            detail_at: self.detail_at,
            sparse: false,
            kernel: self.kernel.clone(),
            memory: memory(),
            gauges,
            first_netns: first_netns(),
            files: text("/proc/sys/fs/file-nr").and_then(|text| parse::file_nr(&text)),
            processes,
            listeners,
            sockets,
            udp: sockstat.and_then(|sockstat| {
                parse::udp(&sockstat, &text("/proc/thread-self/net/snmp").unwrap_or_default())
            }),
            udp_sockets,
            conntrack: conntrack(),
            elsewhere,
            softnet: text("/proc/thread-self/net/softnet_stat")
                .and_then(|text| parse::softnet(&text)),
            cgroups: if thorough {
                memory_cgroups::read(&mut self.cgroups, &cgroup_ids)
            } else {
                skipped()
            },
            settings: if thorough { Ok(self.settings.clone()) } else { skipped() },
            sysctls: self.sysctls.clone(),
            changes: self.changes.found().to_vec(),
        }
    }

    /// Dumps every socket; completes what is known of the listeners, and of `others`, those of other
    /// namespaces.
    fn dump(
        &mut self,
        at: Monotonic,
        listeners: &mut [Listener],
        mut others: Vec<&mut Listener>,
        sockstat: Option<&str>,
    ) -> Known<sockets::Dumped> {
        let range = parse::port_range(&self.sysctls);
        let allocated = sockstat.and_then(parse::tcp_allocated);
        let (diag, memory) = (&mut self.diag, &mut self.memory);
        let dumped = sockets::dump(diag, listeners, range, (at, allocated), memory)?;
        let inodes = listeners.iter().chain(others.iter().map(|it| &**it)).map(|it| it.inode);
        self.holders.learn(inodes, &dumped.holders);
        let all = listeners.iter_mut().chain(others.iter_mut().map(|it| &mut **it));
        for listener in all.filter(|listener| listener.queue > 0) {
            listener.oldest_wait_ms = dumped.oldest_waits.get(&listener.inode).copied();
        }
        Ok(dumped)
    }

    /// Fills in who holds each listener, as the last thorough sample found it. Of those that
    /// somebody waits for, or that dropped somebody, a sample has it anyway.
    pub fn name_owners(&mut self, facts: &mut Facts) {
        if let Ok(listeners) = &mut facts.listeners {
            self.holders.fill(facts.at, listeners, true);
        }
    }
}

/// The busy listeners of other namespaces.
fn busy(elsewhere: &mut Elsewhere) -> Vec<&mut Listener> {
    elsewhere.namespaces.iter_mut().flat_map(|it| &mut it.listeners).collect()
}

/// Left out of a brief sample.
fn skipped<T>() -> Known<T> {
    Err(Unknown::not_looked_at())
}

fn unknown(error: &anyhow::Error) -> Unknown {
    Unknown(format!("{error:#}"))
}

/// A file's text.
fn text(path: &str) -> Known<String> {
    let bytes = fs::read(path).map_err(|error| Unknown(format!("cannot read {path}: {error}")))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn memory() -> Known<Bytes> {
    text("/proc/meminfo")
        .and_then(|text| parse::meminfo_total(&text).ok_or_else(|| Unknown::because("no MemTotal")))
}

fn first_netns() -> Option<bool> {
    let first = namespaces::inum_of(Path::new("/proc/1/ns/net")).ok()?;
    Some(first == namespaces::thread_inum().ok()?)
}

fn conntrack() -> Known<Conntrack> {
    let number = |name: &str| -> Known<u64> {
        let text = text(&format!("/proc/sys/net/netfilter/{name}"))?;
        text.trim().parse().map_err(|_| Unknown(format!("{name} is no number")))
    };
    let max = number("nf_conntrack_max").map_err(|_| {
        Unknown::because(
            "no net.netfilter.nf_conntrack_max: nf_conntrack is not loaded, or not visible here",
        )
    })?;
    Ok(Conntrack {
        count: number("nf_conntrack_count")?,
        max,
        dropped: text("/proc/thread-self/net/stat/nf_conntrack")
            .ok()
            .and_then(|text| parse::conntrack_dropped(&text)),
    })
}

#[cfg(test)]
mod tests;
