//! What there is to say about a setting's value, computed from this host.

use super::lint::{Said, Word};
use super::table::{self, Life};
use crate::diagnose::State;
use crate::facts::Facts;
use crate::format::{bytes, count, percent};
use crate::gauges::Pages;

/// Adds what there is to say about `key = value`.
pub(super) fn judge(key: &str, value: &str, facts: &Facts, said: &mut Vec<Said>) {
    if let Some(Life::Inert(version)) = table::find(key).map(|known| known.life) {
        let text = format!("without effect since Linux {version}");
        said.push((Word::NoEffect, State::Warn, text));
        return;
    }
    let numbers: Option<Vec<u64>> = value.split(' ').map(|word| word.parse().ok()).collect();
    let numbers = numbers.unwrap_or_default();
    match (key, numbers.as_slice()) {
        ("net.ipv4.tcp_mem", [low, pressure, high]) => {
            let now = facts.gauges.as_ref().ok().and_then(|gauges| gauges.sockets.mem);
            ascending([*low, *pressure, *high], said);
            pages("high", *high, now, facts, said);
        }
        ("net.ipv4.udp_mem", [low, pressure, high]) => {
            let now = facts.udp.as_ref().ok().map(|udp| udp.mem);
            ascending([*low, *pressure, *high], said);
            // UDP's limit is the first: see the check.
            pages("the first", *low, now, facts, said);
        }
        ("net.ipv4.tcp_rmem" | "net.ipv4.tcp_wmem", [min, first, most]) => {
            buffers(key, [*min, *first, *most], said);
        }
        (
            "net.ipv4.tcp_mem" | "net.ipv4.udp_mem" | "net.ipv4.tcp_rmem" | "net.ipv4.tcp_wmem",
            _,
        ) => {
            said.push((Word::Malformed, State::Warn, "it takes three numbers".to_owned()));
        }
        ("net.ipv4.ip_local_port_range", [first, last]) => port_range(*first, *last, facts, said),
        (_, [number]) => one(key, *number, facts, said),
        _ => {}
    }
}

fn one(key: &str, number: u64, facts: &Facts, said: &mut Vec<Said>) {
    let gauges = facts.gauges.as_ref().ok();
    match key {
        "net.ipv4.tcp_fin_timeout" if number > 60 => said.push((
            Word::Risky,
            State::Warn,
            "above 60 the wait for the peer's FIN makes real orphans of closed sockets".to_owned(),
        )),
        "net.ipv4.tcp_fin_timeout" if number < 60 => said.push((
            Word::NoEffect,
            State::Warn,
            "does not shorten TIME_WAIT (60 s, fixed): it acts in FIN_WAIT2 only".to_owned(),
        )),
        "net.ipv4.tcp_tw_reuse" if number == 1 => said.push((
            Word::NoEffect,
            State::Ok,
            "acts on connections going out only, with timestamps; nothing for a server".to_owned(),
        )),
        "net.ipv4.tcp_timestamps" if number == 0 => said.push((
            Word::Risky,
            State::Warn,
            "without timestamps tcp_tw_reuse does nothing and old segments are told worse"
                .to_owned(),
        )),
        "net.ipv4.tcp_syncookies" if number == 0 => {
            said.push((Word::Risky, State::Warn, "a full SYN queue then drops clients".to_owned()));
        }
        "net.ipv4.tcp_abort_on_overflow" if number == 1 => {
            said.push((Word::Risky, State::Warn, "turns each short burst into errors".to_owned()));
        }
        "net.core.somaxconn" if number < 4096 => said.push((
            Word::Lowers,
            State::Warn,
            "below 4096, the kernel's own value since Linux 5.4".to_owned(),
        )),
        "net.ipv4.tcp_max_orphans" => {
            let now = gauges.and_then(|gauges| gauges.sockets.orphan);
            lowered(number, now, "orphans", facts, said);
        }
        "net.ipv4.tcp_max_tw_buckets" => {
            let now = gauges.and_then(|gauges| gauges.sockets.tw);
            lowered(number, now, "minisockets", facts, said);
        }
        "fs.file-max" => {
            if let Ok(files) = facts.files
                && files.allocated >= number
            {
                let text = format!("below the {} files open now", count(files.allocated));
                said.push((Word::Lowers, State::Crit, text));
            }
        }
        _ => {}
    }
}

/// A limit of sockets that the kernel sets to half of its hash table at boot (`tcp_init`,
/// net/ipv4/tcp.c).
fn lowered(number: u64, now: Option<u64>, what: &str, facts: &Facts, said: &mut Vec<Said>) {
    if let Some(now) = now.filter(|now| *now > 0 && *now >= number) {
        let text = format!("below the {} {what} there are now", count(now));
        said.push((Word::Lowers, State::Crit, text));
        return;
    }
    let own = facts.number("net.ipv4.tcp_ehash_entries").map(|entries| entries / 2);
    if let Some(own) = own.filter(|own| number < *own) {
        let text = format!("below {}, the kernel's own value for this host", count(own));
        said.push((Word::Lowers, State::Warn, text));
    }
}

fn ascending([low, pressure, high]: [u64; 3], said: &mut Vec<Said>) {
    if low > pressure || pressure > high {
        said.push((Word::Malformed, State::Warn, "the numbers do not ascend".to_owned()));
    }
}

/// The number of `tcp_mem` or `udp_mem` that limits, in pages. The kernel's own is nearly the same
/// share of memory for both (`tcp_init_mem`, `udp_init`).
fn pages(which: &str, limit: u64, now: Option<Pages>, facts: &Facts, said: &mut Vec<Said>) {
    let page = facts.page();
    let size = Pages(limit).bytes(page).0;
    if let Some(now) = now.filter(|now| now.0 > 0 && now.0 >= limit) {
        let text = format!("{} are pages: below the {} in use now", count(limit), count(now.0));
        said.push((Word::Lowers, State::Crit, text));
        return;
    }
    let Ok(memory) = facts.memory else { return };
    // nr_free_buffer_pages() / 16 * 3 / 4 * 2, and nearly all memory is free at boot.
    let own = memory.0 / 32 * 3;
    if size > memory.0 {
        let text = format!(
            "in pages, not bytes: {which} = {}, more than the {} this host has, so it limits nothing",
            bytes(size),
            bytes(memory.0)
        );
        said.push((Word::WrongUnit, State::Warn, text));
    } else if size < own / 10 * 9 {
        let text = format!(
            "in pages: {which} = {}, less than the {} the kernel chooses for this host",
            bytes(size),
            bytes(own)
        );
        said.push((Word::Lowers, State::Warn, text));
    } else if size > memory.0 / 5 * 2 {
        let text = format!(
            "in pages: {which} = {}, {} of this host's memory; the kernel's own choice is {}",
            bytes(size),
            percent(size, memory.0),
            bytes(own)
        );
        said.push((Word::Risky, State::Warn, text));
    }
}

/// `tcp_rmem` and `tcp_wmem`: three numbers of bytes.
fn buffers(key: &str, [min, first, most]: [u64; 3], said: &mut Vec<Said>) {
    // The kernel's own (`tcp_init`, net/ipv4/tcp.c).
    let (own, what) =
        if key.ends_with("rmem") { (131_072, "receive buffer") } else { (16_384, "send buffer") };
    if min > first || first > most {
        said.push((Word::Malformed, State::Warn, "the numbers do not ascend".to_owned()));
    } else if first < own {
        let text = format!(
            "every connection begins with a {what} of {} instead of {}",
            bytes(first),
            bytes(own)
        );
        said.push((Word::Lowers, State::Warn, text));
    }
}

fn port_range(first: u64, last: u64, facts: &Facts, said: &mut Vec<Said>) {
    if first > last || last > 65_535 {
        said.push((Word::Malformed, State::Warn, "no range of ports".to_owned()));
        return;
    }
    let listening = unreserved(first, last, facts);
    if let Some(port) = listening.first() {
        let more = match listening.len() {
            1 => String::new(),
            many => format!(" and {} more", many - 1),
        };
        let text = format!(
            "covers the listener on {port}{more}, not in ip_local_reserved_ports: a connection \
             going out can take its port while it restarts"
        );
        said.push((Word::Risky, State::Warn, text));
    } else if first < 10_000 {
        let text = "reaches down to where servers are: reserve their ports".to_owned();
        said.push((Word::Risky, State::Ok, text));
    }
}

/// Listening ports within the range that are not reserved.
fn unreserved(first: u64, last: u64, facts: &Facts) -> Vec<u64> {
    let reserved = facts.sysctls.get("net.ipv4.ip_local_reserved_ports");
    let is_reserved = |port: u64| {
        reserved.is_some_and(|list| {
            list.split(',').any(|part| {
                let (from, to) = part.split_once('-').unwrap_or((part, part));
                matches!((from.parse::<u64>(), to.parse::<u64>()), (Ok(from), Ok(to))
                    if (from..=to).contains(&port))
            })
        })
    };
    let Ok(listeners) = &facts.listeners else { return Vec::new() };
    let mut ports: Vec<u64> = listeners
        .iter()
        .map(|listener| u64::from(listener.local.port()))
        .filter(|port| (first..=last).contains(port) && !is_reserved(*port))
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}
