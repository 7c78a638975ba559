//! Files of /proc as text, turned into facts. Pure; found by name where the file has names, and
//! what is no number is unknown.

use std::collections::BTreeMap;

use crate::facts::{FileNr, Known, Softnet, Udp, Unknown};
use crate::gauges::{Bytes, Pages};

/// `MemTotal` of `/proc/meminfo`.
#[must_use]
pub fn meminfo_total(text: &str) -> Option<Bytes> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(Bytes(kib.saturating_mul(1024)))
}

/// `/proc/sys/fs/file-nr`: allocated, unused (always 0), limit.
///
/// # Errors
/// Anything but three numbers.
pub fn file_nr(text: &str) -> Known<FileNr> {
    let numbers: Option<Vec<u64>> =
        text.split_ascii_whitespace().map(|word| word.parse().ok()).collect();
    match numbers.as_deref() {
        Some([allocated, _, max]) => Ok(FileNr { allocated: *allocated, max: *max }),
        _ => Err(Unknown::because("/proc/sys/fs/file-nr is not three numbers")),
    }
}

/// UDP's memory of `/proc/net/sockstat` and its drops of `/proc/net/snmp`.
///
/// # Errors
/// No row `UDP:` with `mem`.
pub fn udp(sockstat: &str, snmp: &str) -> Known<Udp> {
    let row = sockstat.lines().find_map(|line| line.strip_prefix("UDP:"));
    let mut words = row.unwrap_or_default().split_ascii_whitespace();
    let mem = words.find(|word| *word == "mem").and_then(|_| words.next()?.parse().ok());
    let counters =
        super::super::gauges::parse_counters(snmp, "Udp:", &["MemErrors", "RcvbufErrors"]);
    Ok(Udp {
        mem: Pages(mem.ok_or_else(|| Unknown::because("/proc/net/sockstat has no UDP memory"))?),
        mem_errors: counters.get("MemErrors").copied(),
        rcvbuf_errors: counters.get("RcvbufErrors").copied(),
    })
}

/// `/proc/net/softnet_stat`, summed: a row a CPU, hexadecimal columns: processed, dropped, squeezed, and
/// later ones that grew with the kernels; the twelfth is the backlog's length.
///
/// # Errors
/// A row that is not such.
pub fn softnet(text: &str) -> Known<Softnet> {
    let mut all = Softnet::default();
    for line in text.lines() {
        let columns: Option<Vec<u64>> = line
            .split_ascii_whitespace()
            .map(|word| u32::from_str_radix(word, 16).ok().map(u64::from))
            .collect();
        let Some([processed, dropped, squeezed, rest @ ..]) = columns.as_deref() else {
            return Err(Unknown::because("/proc/net/softnet_stat is not understood"));
        };
        all.cpus += 1;
        all.processed += processed;
        all.dropped += dropped;
        all.squeezed += squeezed;
        all.backlog = all.backlog.max(rest.get(8).copied());
    }
    if all.cpus == 0 {
        return Err(Unknown::because("/proc/net/softnet_stat is empty"));
    }
    Ok(all)
}

/// Packets dropped and entries thrown out early, of all CPUs (`/proc/net/stat/nf_conntrack`: a
/// header, then a row a CPU, hexadecimal).
#[must_use]
pub fn conntrack_dropped(text: &str) -> Option<u64> {
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next()?.split_ascii_whitespace().collect();
    let column = |name: &str| header.iter().position(|column| *column == name);
    let (drop, early) = (column("drop")?, column("early_drop")?);
    let mut sum = 0_u64;
    for line in lines {
        let cells: Vec<&str> = line.split_ascii_whitespace().collect();
        for at in [drop, early] {
            sum = sum.saturating_add(u64::from_str_radix(cells.get(at)?, 16).ok()?);
        }
    }
    Some(sum)
}

/// Soft and hard `Max open files` of `/proc/PID/limits`; `unlimited` is a number too.
#[must_use]
pub fn open_files_limit(limits: &str) -> Option<(u64, u64)> {
    let row = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let mut words = row.split_ascii_whitespace().map(|word| match word {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    });
    Some((words.next()??, words.next()??))
}

/// First and last port of `net.ipv4.ip_local_port_range`.
#[must_use]
pub fn port_range(sysctls: &BTreeMap<String, String>) -> Option<(u16, u16)> {
    two_ports(sysctls.get("net.ipv4.ip_local_port_range")?)
}

/// Two ports.
#[must_use]
pub fn two_ports(text: &str) -> Option<(u16, u16)> {
    let mut words = text.split_ascii_whitespace().map(str::parse);
    Some((words.next()?.ok()?, words.next()?.ok()?))
}

/// TCP sockets of the host, hashed or not: `alloc` of `/proc/net/sockstat`.
#[must_use]
pub fn tcp_allocated(sockstat: &str) -> Option<u64> {
    let row = sockstat.lines().find_map(|line| line.strip_prefix("TCP:"))?;
    let mut words = row.split_ascii_whitespace();
    words.find(|word| *word == "alloc")?;
    words.next()?.parse().ok()
}

/// The number behind `name` in a flat keyed file of a cgroup (`memory.stat`, `memory.events`).
#[must_use]
pub fn keyed(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(' ')?;
        (key == name).then(|| value.trim().parse().ok())?
    })
}
