//! Reads [`Gauges`] from /proc: parsers as pure functions of text, and [`GaugeReader`], which
//! keeps the files open.
//!
//! The files differ from kernel to kernel in rows and columns, so everything is found by name;
//! what is not there, or is no number, is unknown. `tests/proc` has captures of five kernels.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};

use super::namespaces;
use super::proc_file::read_whole;
use crate::gauges::{Bytes, Gauges, Limits, MemLimits, Pages, ProtocolMemory, SocketCounts};
use crate::gauges::{TCP, TCP_EXT};

/// Reads `/proc/net/sockstat`; `inuse6` is not in it.
#[must_use]
pub fn parse_sockstat(text: &str) -> SocketCounts {
    let tcp = |name| labelled_pair(text, "TCP:", name);
    SocketCounts {
        inuse: tcp("inuse"),
        inuse6: None,
        orphan: tcp("orphan"),
        tw: tcp("tw"),
        alloc: tcp("alloc"),
        mem: tcp("mem").map(Pages),
    }
}

/// Reads [`SocketCounts::inuse6`] from `/proc/net/sockstat6`.
#[must_use]
pub fn parse_sockstat6(text: &str) -> Option<u64> {
    labelled_pair(text, "TCP6:", "inuse")
}

/// Finds the number behind `name` in the line that begins with `label`, a row of name-number
/// pairs: `TCP: inuse 1 orphan 0`.
fn labelled_pair(text: &str, label: &str, name: &str) -> Option<u64> {
    let mut words = text.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next() == Some(label)).then_some(words)
    })?;
    while let (Some(key), Some(value)) = (words.next(), words.next()) {
        if key == name {
            return value.parse().ok();
        }
    }
    None
}

/// Reads the row `TCP` of `/proc/net/protocols`, columns `memory` and `press`.
#[must_use]
pub fn parse_protocols(text: &str) -> ProtocolMemory {
    let mut lines = text.lines();
    // The header gives the columns' order. A protocol's name can have no blank in it, and every
    // column before those two is filled in every row, so words count as columns.
    let header = lines.next().unwrap_or_default();
    let column = |name| header.split_ascii_whitespace().position(|column| column == name);
    let row = lines.find(|line| line.split_ascii_whitespace().next() == Some("TCP"));
    let cell = |name| row?.split_ascii_whitespace().nth(column(name)?);
    ProtocolMemory {
        // -1 where a protocol does not account memory.
        pages: cell("memory").and_then(|cell| cell.parse().ok()).map(Pages),
        pressure: match cell("press") {
            Some("yes") => Some(true),
            Some("no") => Some(false),
            // "NI": the protocol has no such flag.
            _ => None,
        },
    }
}

/// Reads those of `names` that the group `group` (`TcpExt:`) of `/proc/net/netstat` or
/// `/proc/net/snmp` has: two lines begin with its name, the first has the names, the second the
/// values.
#[must_use]
pub fn parse_counters(
    text: &str,
    group: &str,
    names: &[&'static str],
) -> BTreeMap<&'static str, u64> {
    let mut rows = text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next() == Some(group)).then_some(words)
    });
    let (Some(keys), Some(values)) = (rows.next(), rows.next()) else {
        return BTreeMap::new();
    };
    keys.zip(values)
        .filter_map(|(key, value)| {
            let name = names.iter().find(|name| **name == key)?;
            Some((*name, value.parse().ok()?))
        })
        .collect()
}

/// Reads `/proc/sys/net/ipv4/tcp_mem`: exactly three numbers.
#[must_use]
pub fn parse_tcp_mem(text: &str) -> Option<MemLimits> {
    let mut numbers = text.split_ascii_whitespace().map(str::parse);
    let mut next = || numbers.next()?.ok().map(Pages);
    let limits = MemLimits { low: next()?, pressure: next()?, high: next()? };
    numbers.next().is_none().then_some(limits)
}

/// Reads a file of one number, as most of `/proc/sys` are.
#[must_use]
pub fn parse_number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// Which network namespace to read.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// The one this process is in.
    Own,
    /// The one a process is in. Enters it only for `tcp_max_tw_buckets`, which stays unknown
    /// where that is not allowed.
    Process(u32),
    /// The one at a path (`/run/netns/blue`), which need have no process in it.
    Path(&'a Path),
}

/// Reads [`Gauges`] again and again with the files kept open and one buffer: a sample costs about
/// 0.1 ms, nearly all of it the kernel's summing over CPUs.
///
/// As long as it lives, so does the namespace it reads: an open file of `/proc/net` holds its
/// namespace, even when the last process in it has gone.
#[derive(Debug)]
pub struct GaugeReader {
    net: NetFiles,
    max_tw_buckets: Option<File>,
    max_orphans: Option<File>,
    tcp_mem: Option<File>,
    page: Bytes,
    buffer: Vec<u8>,
}

/// The files of `/proc/net`.
#[derive(Debug)]
struct NetFiles {
    sockstat: File,
    sockstat6: Option<File>,
    protocols: Option<File>,
    netstat: Option<File>,
    snmp: Option<File>,
}

impl NetFiles {
    fn open(folder: &str) -> Result<Self> {
        let path = |name| format!("{folder}/{name}");
        let sockstat = path("sockstat");
        Ok(Self {
            sockstat: File::open(&sockstat).with_context(|| format!("cannot open {sockstat}"))?,
            sockstat6: File::open(path("sockstat6")).ok(),
            protocols: File::open(path("protocols")).ok(),
            netstat: File::open(path("netstat")).ok(),
            snmp: File::open(path("snmp")).ok(),
        })
    }
}

/// Opens a file of `/proc/sys/net/ipv4` as seen from the calling thread's namespace.
fn sysctl(name: &str) -> Option<File> {
    File::open(format!("/proc/sys/net/ipv4/{name}")).ok()
}

/// Opens a limit of the host. Those exist in the initial namespace only (`ipv4_table` in
/// net/ipv4/sysctl_net_ipv4.c), so where ours is another, the first process's is tried: a
/// container with the host's processes still finds them.
fn host_sysctl(name: &str) -> Option<File> {
    sysctl(name).or_else(|| {
        namespaces::inside(Path::new("/proc/1/ns/net"), || Ok(sysctl(name))).ok().flatten()
    })
}

impl GaugeReader {
    /// Opens the files of `place`. Only sockstat must be there; what else is missing is unknown
    /// in every sample.
    ///
    /// # Errors
    /// Where sockstat cannot be opened (no /proc, no such process) or the namespace at a path
    /// cannot be entered.
    pub fn open(place: Place<'_>) -> Result<Self> {
        const TW: &str = "tcp_max_tw_buckets";
        let (net, max_tw_buckets) = match place {
            Place::Own => (NetFiles::open("/proc/self/net")?, sysctl(TW)),
            Place::Process(pid) => (
                NetFiles::open(&format!("/proc/{pid}/net"))?,
                // /proc/sys shows the reader's namespace, whoever's /proc/PID it came through.
                namespaces::inside(Path::new(&format!("/proc/{pid}/ns/net")), || Ok(sysctl(TW)))
                    .ok()
                    .flatten(),
            ),
            Place::Path(path) => namespaces::inside(path, || {
                Ok((NetFiles::open("/proc/thread-self/net")?, sysctl(TW)))
            })?,
        };
        Ok(Self {
            net,
            max_tw_buckets,
            max_orphans: host_sysctl("tcp_max_orphans"),
            tcp_mem: host_sysctl("tcp_mem"),
            page: Bytes(rustix::param::page_size() as u64),
            buffer: Vec::with_capacity(8192),
        })
    }

    /// Reads everything once. A file that cannot be read any more makes its numbers unknown, it
    /// does not make the sample fail.
    pub fn sample(&mut self) -> Gauges {
        let buffer = &mut self.buffer;
        Gauges {
            sockets: SocketCounts {
                inuse6: with_text(self.net.sockstat6.as_ref(), buffer, parse_sockstat6),
                ..with_text(Some(&self.net.sockstat), buffer, |text| Some(parse_sockstat(text)))
                    .unwrap_or_default()
            },
            memory: with_text(self.net.protocols.as_ref(), buffer, |text| {
                Some(parse_protocols(text))
            })
            .unwrap_or_default(),
            tcp_ext: with_text(self.net.netstat.as_ref(), buffer, |text| {
                Some(parse_counters(text, "TcpExt:", &TCP_EXT))
            })
            .unwrap_or_default(),
            tcp: with_text(self.net.snmp.as_ref(), buffer, |text| {
                Some(parse_counters(text, "Tcp:", &TCP))
            })
            .unwrap_or_default(),
            limits: Limits {
                max_orphans: with_text(self.max_orphans.as_ref(), buffer, parse_number),
                tcp_mem: with_text(self.tcp_mem.as_ref(), buffer, parse_tcp_mem),
                max_tw_buckets: with_text(self.max_tw_buckets.as_ref(), buffer, parse_number),
                page: self.page,
            },
        }
    }
}

/// Reads `file` from its beginning into `buffer` and hands the text on; `None` without a file,
/// when reading fails, or when the text is not UTF-8.
fn with_text<T>(
    file: Option<&File>,
    buffer: &mut Vec<u8>,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Option<T> {
    let len = read_whole(file?, buffer).ok()?;
    parse(std::str::from_utf8(&buffer[..len]).ok()?)
}

#[cfg(test)]
mod tests;
