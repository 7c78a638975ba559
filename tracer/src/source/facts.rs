//! Reads [`Facts`]: what [`crate::diagnose`] looks at, from /proc, /sys and sock_diag. No
//! programs are loaded, and what a user may not see is unknown in the facts, not an error.
//!
//! - [`parse`]: files as text, pure
//! - [`sockets`]: what a dump of all sockets comes to
//! - [`descriptors`]: open files of processes
//! - [`memory_cgroups`]: memory of cgroups
//! - [`boot`]: what sysctl.conf and sysctl.d set
//!
//! A thorough sample dumps every socket (about 1 µs each) and looks at every process (some 30 µs
//! each); a brief one only reads a dozen files, the listeners and the few processes that were
//! worst.

pub mod boot;
pub mod descriptors;
pub mod memory_cgroups;
pub mod parse;
pub mod sockets;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use rustix::time::{ClockId, clock_gettime};

use super::gauges::{GaugeReader, Place};
use super::sock_diag::SockDiag;
use super::{cgroups::Cgroups, namespaces, owners, sysctls};
use crate::facts::{Conntrack, Facts, Known, Listener, ProcessFds, Unknown};
use crate::time::Monotonic;

/// How much to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// What costs next to nothing; the rest is unknown.
    Brief,
    /// Everything.
    Thorough,
}

/// Takes samples of the network namespace that it was made in.
#[derive(Debug)]
pub struct FactReader {
    gauges: Known<GaugeReader>,
    diag: Known<SockDiag>,
    cgroups: Cgroups,
    kernel: String,
    /// Where the sysctl files are looked for.
    root: PathBuf,
    /// Processes a brief sample looks at again.
    worst: Vec<ProcessFds>,
}

impl FactReader {
    /// Opens what can be opened. `root`: the folder that has `etc/sysctl.conf`, `/` for this host.
    #[must_use]
    pub fn open(root: &Path) -> Self {
        let system = rustix::system::uname();
        Self {
            gauges: GaugeReader::open(Place::Own).map_err(|error| unknown(&error)),
            diag: SockDiag::open().map_err(|error| unknown(&error)),
            cgroups: Cgroups::new(),
            kernel: system.release().to_string_lossy().into_owned(),
            root: root.to_owned(),
            worst: Vec::new(),
        }
    }

    /// Looks once.
    pub fn sample(&mut self, depth: Depth) -> Facts {
        let thorough = depth == Depth::Thorough;
        let settings =
            if thorough { Ok(boot::read(&self.root, Path::new("/proc/sys"))) } else { skipped() };
        let mut sysctls = sysctls::read();
        if let Ok(settings) = &settings {
            boot::add_runtime(&settings.lines, &mut sysctls);
        }
        let gauges = match &mut self.gauges {
            Ok(reader) => Ok(reader.sample()),
            Err(why) => Err(why.clone()),
        };
        let listeners = sockets::listeners(&mut self.diag);
        let (sockets, cgroup_ids) = match &listeners {
            Ok(listeners) if thorough => {
                let range = parse::port_range(&sysctls);
                match sockets::dump(&mut self.diag, listeners, range) {
                    Ok((sockets, ids)) => (Ok(sockets), ids),
                    Err(why) => (Err(why), HashSet::new()),
                }
            }
            Ok(_) => (skipped(), HashSet::new()),
            Err(why) => (Err(why.clone()), HashSet::new()),
        };
        let processes = if thorough {
            descriptors::all().inspect(|found| self.worst.clone_from(&found.worst))
        } else {
            Ok(descriptors::again(&self.worst))
        };
        Facts {
            at: now(),
            kernel: self.kernel.clone(),
            memory: text("/proc/meminfo").and_then(|text| {
                parse::meminfo_total(&text).ok_or_else(|| Unknown::because("no MemTotal"))
            }),
            gauges,
            first_netns: first_netns(),
            files: text("/proc/sys/fs/file-nr").and_then(|text| parse::file_nr(&text)),
            processes,
            listeners,
            sockets,
            udp: text("/proc/self/net/sockstat").and_then(|sockstat| {
                parse::udp(&sockstat, &text("/proc/self/net/snmp").unwrap_or_default())
            }),
            conntrack: conntrack(&sysctls),
            softnet: text("/proc/self/net/softnet_stat").and_then(|text| parse::softnet(&text)),
            cgroups: if thorough {
                memory_cgroups::read(&mut self.cgroups, &cgroup_ids)
            } else {
                skipped()
            },
            settings,
            sysctls,
        }
    }

    /// Fills in who holds the listeners that the eye will fall on.
    pub fn name_owners(&self, facts: &mut Facts) {
        let Ok(listeners) = &mut facts.listeners else { return };
        let troubled = |listener: &Listener| {
            listener.queue > 0 || listener.drops.is_some_and(|drops| drops > 0)
        };
        let wanted: HashSet<u64> = listeners
            .iter()
            .filter(|listener| troubled(listener) && listener.inode != 0)
            .map(|listener| listener.inode)
            .collect();
        if wanted.is_empty() {
            return;
        }
        let Ok(found) = owners::find(&wanted, owners::Search::FirstHolder) else { return };
        for listener in listeners {
            listener.owner =
                found.by_inode.get(&listener.inode).map(|holder| (holder.pid, holder.comm.clone()));
        }
    }
}

/// Left out of a brief sample.
fn skipped<T>() -> Known<T> {
    Err(Unknown::because("not looked at"))
}

fn unknown(error: &anyhow::Error) -> Unknown {
    Unknown(format!("{error:#}"))
}

fn now() -> Monotonic {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    Monotonic(seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or_default())
}

/// A file's text.
fn text(path: &str) -> Known<String> {
    let bytes = fs::read(path).map_err(|error| Unknown(format!("cannot read {path}: {error}")))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn first_netns() -> Option<bool> {
    let first = namespaces::inum_of(Path::new("/proc/1/ns/net")).ok()?;
    Some(first == namespaces::own_inum().ok()?)
}

fn conntrack(sysctls: &BTreeMap<String, String>) -> Known<Conntrack> {
    let max = sysctls.get("net.netfilter.nf_conntrack_max").and_then(|max| max.parse().ok());
    let Some(max) = max else {
        return Err(Unknown::because(
            "no net.netfilter.nf_conntrack_max: nf_conntrack is not loaded, or not visible here",
        ));
    };
    let count = text("/proc/sys/net/netfilter/nf_conntrack_count")?;
    Ok(Conntrack {
        count: count
            .trim()
            .parse()
            .map_err(|_| Unknown::because("nf_conntrack_count is no number"))?,
        max,
        dropped: text("/proc/self/net/stat/nf_conntrack")
            .ok()
            .and_then(|text| parse::conntrack_dropped(&text)),
    })
}

#[cfg(test)]
mod tests;
