//! Local ports towards the destination that holds most of them, of the namespace.
//!
//! The limit is per (our address, destination): two destinations can use the same local port
//! (`__inet_hash_connect`, net/ipv4/inet_hashtables.c). A server's accepted connections use none.

use std::net::IpAddr;

use super::check::{Check, describe};
use super::look::Look;
use super::severity::Severity;
use super::watch::Watch;
use crate::facts::causes::SourcePorts;
use crate::facts::{Destination, Facts, Known, Unknown};
use crate::filter::Filter;
use crate::format::{count, percent};

pub(super) struct EphemeralPorts;

impl Check for EphemeralPorts {
    describe!("ephemeral_ports", "eph. ports", "local ports", "ports", Netns);

    fn look(&self, watch: &Watch) -> Known<Look> {
        let facts = watch.last();
        let sockets = facts.sockets.as_ref().map_err(Clone::clone)?;
        let [first, last] = facts
            .numbers("net.ipv4.ip_local_port_range")
            .ok_or_else(|| Unknown::because("net.ipv4.ip_local_port_range cannot be read"))?;
        let reserved = reserved(facts, first, last);
        let limit = last.saturating_add(1).saturating_sub(first).saturating_sub(reserved);
        let wanted = |destination: &&Destination| watch.wants_destination(destination);
        let worst = sockets
            .destinations
            .as_ref()
            .map_err(Clone::clone)?
            .iter()
            .filter(wanted)
            .max_by_key(|destination| used(facts, destination));
        if let Some(look) = early_bind(watch, worst.map_or(0, |it| used(facts, it)), reserved) {
            return Ok(look);
        }
        let Some(worst) = worst else {
            return Ok(Look {
                why: "No connections go out.".to_owned(),
                evidence: range(first, last, reserved),
                ..Look::at(0, limit)
            });
        };
        let mut look = Look::at(used(facts, worst), limit).trend(watch, |then| {
            let destinations = then.sockets.as_ref().ok()?.destinations.as_ref().ok()?;
            destinations
                .iter()
                .find(|other| other.peer == worst.peer && other.local == worst.local)
                .map(|other| used(then, other))
        });
        look.subject = Some(format!("to {}", worst.peer));
        look.cause = Some("destination");
        look.port = Some(worst.peer.port());
        look.refuses = worst.ports >= limit && used(facts, worst) >= limit && limit > 0;
        look.why = if worst.ports >= limit {
            "connect() to that destination fails with EADDRNOTAVAIL; other destinations are not \
             touched."
                .to_owned()
        } else {
            "At the limit connect() to that destination fails with EADDRNOTAVAIL. The limit is \
             per destination, and for connections going out only."
                .to_owned()
        };
        look.evidence = format!(
            "{} ports from {}, {} of them held by TIME_WAIT alone{}; {}",
            count(worst.ports),
            worst.local,
            percent(worst.time_wait, worst.ports),
            if reuses(facts, worst.peer.ip()) { ", which a new connection may take" } else { "" },
            range(first, last, reserved)
        );
        advise(&mut look, facts, worst, (first, last));
        Ok(look)
    }
}

/// From this share on a source address has hardly a port left that nobody uses there.
const NEARLY_ALL: f64 = 0.95;

/// A source address with hardly a port left that nobody uses, while no destination has many
/// (`most`): then bind() before connect() fails there, which needs such a port.
fn early_bind(watch: &Watch, most: u64, reserved: u64) -> Option<Look> {
    let sockets = watch.last().sockets.as_ref().ok()?;
    // Which of the sockets there are asked about is not known of a source address.
    let asked = Filter { netns: None, ..watch.filter.clone() };
    if !asked.is_empty() {
        return None;
    }
    let sources = &sockets.causes.as_ref().ok()?.sources;
    let room = |it: &SourcePorts| {
        let (first, last) = (u64::from(it.range.0), u64::from(it.range.1));
        (last + 1).saturating_sub(first).saturating_sub(reserved)
    };
    // All ports: the range could not be read.
    let is_known = |it: &&SourcePorts| it.range.0 > 1 && room(it) > 0;
    let share = |it: &SourcePorts| it.ports as f64 / room(it).max(1) as f64;
    let worst = sources.iter().filter(is_known).max_by(|a, b| share(a).total_cmp(&share(b)))?;
    if share(worst) < NEARLY_ALL || most.saturating_mul(2) > worst.ports {
        return None;
    }
    let mut look = Look::at(worst.ports.min(room(worst)), room(worst));
    look.at_least = Severity::Warn;
    // Who lets connect() choose is not touched.
    look.at_most = Severity::Warn;
    look.cause = Some("early_bind");
    look.what = "local ports of an address used up";
    look.subject = Some(format!("{}", worst.local));
    look.behind = format!(
        "to {} destinations: bind() before connect() finds none that is free (EADDRINUSE)",
        count(worst.destinations)
    );
    "A program that binds to this address before it connects, without IP_BIND_ADDRESS_NO_PORT, needs \
     a port that no connection from there uses, whatever the destination. connect() without bind() \
     needs one that is free towards its own destination only."
        .clone_into(&mut look.why);
    "set IP_BIND_ADDRESS_NO_PORT before bind(), or leave bind() out; more addresses to bind to"
        .clone_into(&mut look.action);
    look.gain = "the whole range for each destination".to_owned();
    look.evidence = format!(
        "{} distinct local ports at {}, {} held by TIME_WAIT alone; range {} to {}",
        count(worst.ports),
        worst.local,
        count(worst.time_wait),
        worst.range.0,
        worst.range.1
    );
    Some(look)
}

fn range(first: u64, last: u64, reserved: u64) -> String {
    let mut text = format!("range {first} to {last}");
    if reserved > 0 {
        text.push_str(&format!(", {} of it reserved", count(reserved)));
    }
    text
}

/// Ports that a new connection cannot have.
fn used(facts: &Facts, destination: &Destination) -> u64 {
    if reuses(facts, destination.peer.ip()) {
        destination.ports.saturating_sub(destination.time_wait)
    } else {
        destination.ports
    }
}

/// Whether a new connection may take a port that TIME_WAIT holds (`tcp_twsk_unique`): by
/// `tcp_tw_reuse`, which needs timestamps; 2 means loopback only.
fn reuses(facts: &Facts, peer: IpAddr) -> bool {
    facts.number("net.ipv4.tcp_timestamps").is_some_and(|on| on > 0)
        && match facts.number("net.ipv4.tcp_tw_reuse") {
            Some(1) => true,
            Some(2) => peer.is_loopback(),
            _ => false,
        }
}

/// How many ports of the range are reserved.
fn reserved(facts: &Facts, first: u64, last: u64) -> u64 {
    let Some(list) = facts.sysctls.get("net.ipv4.ip_local_reserved_ports") else { return 0 };
    list.split(',')
        .filter_map(|part| {
            let (from, to) = part.trim().split_once('-').unwrap_or((part.trim(), part.trim()));
            let (from, to): (u64, u64) = (from.parse().ok()?, to.parse().ok()?);
            Some(to.min(last).saturating_add(1).saturating_sub(from.max(first)))
        })
        .fold(0, u64::saturating_add)
}

fn advise(look: &mut Look, facts: &Facts, worst: &Destination, (first, last): (u64, u64)) {
    let mut gains = Vec::new();
    let mut risks = Vec::new();
    let has_timestamps = facts.number("net.ipv4.tcp_timestamps").is_some_and(|on| on > 0);
    if worst.time_wait > worst.ports / 2
        && has_timestamps
        && !reuses(facts, worst.peer.ip())
        && look.propose(facts, "net.ipv4.tcp_tw_reuse", &1)
    {
        gains.push(format!("{} ports free after a second, not 60", count(worst.time_wait)));
        risks.push("a peer without timestamps keeps its 60 s".to_owned());
    }
    // Not down to 1024: that is where servers are.
    let wide = (first.min(16_384), 65_535);
    if wide != (first, last) && first <= last && last <= wide.1 {
        let to = format!("{} {}", wide.0, wide.1);
        // What listens in there would lose its port to a client while it restarts.
        let listening: Vec<String> = listeners_in(facts, wide, (first, last));
        if !listening.is_empty() {
            let mut list = facts.sysctls.get("net.ipv4.ip_local_reserved_ports").cloned();
            list = list.filter(|list| !list.is_empty());
            let to = list.into_iter().chain(listening).collect::<Vec<_>>().join(",");
            look.propose(facts, "net.ipv4.ip_local_reserved_ports", &to);
        }
        if look.propose(facts, "net.ipv4.ip_local_port_range", &to) {
            let more = wide.1 - wide.0 - (last - first);
            gains.push(format!("{} ports more", count(more)));
            risks.push("a server that starts later may find its port taken: reserve it".to_owned());
        }
    }
    look.action = "keep connections open (a pool); more addresses on either side; \
                   IP_BIND_ADDRESS_NO_PORT where it binds before it connects"
        .to_owned();
    look.gain = gains.join("; ");
    look.risk = risks.join("; ");
}

fn listeners_in(facts: &Facts, wide: (u64, u64), now: (u64, u64)) -> Vec<String> {
    let Ok(listeners) = &facts.listeners else { return Vec::new() };
    let mut ports: Vec<u64> = listeners
        .iter()
        .map(|listener| u64::from(listener.local.port()))
        .filter(|port| (wide.0..=wide.1).contains(port) && !(now.0..=now.1).contains(port))
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports.iter().map(u64::to_string).collect()
}
