//! UDP's memory against `udp_mem`, of the host: it matters where DNS is served.
//!
//! The **first** of the three numbers is the limit. UDP has no flag for pressure, so beyond the
//! first number `__sk_mem_raise_allocated` (net/core/sock.c) refuses whatever goes beyond
//! `udp_rmem_min` in a socket; the other two are never reached. Measured on 6.18: with
//! `500 100000 200000` usage stopped at 624 pages, with `100000 500 200000` at none of them. What is
//! dropped so is counted in no counter of /proc there, only at the socket.

use super::check::{Check, describe, hidden};
use super::counted::of_service;
use super::look::Look;
use super::severity::Severity;
use super::watch::Watch;
use crate::event::Owner;
use crate::facts::causes::UdpSocket;
use crate::facts::{Facts, Known};
use crate::format::{bytes, count, percent};
use crate::gauges::Pages;

pub(super) struct UdpMem;

impl Check for UdpMem {
    describe!("udp_mem", "udp_mem", "UDP memory", "pages", Host);

    fn look(&self, watch: &Watch) -> Known<Look> {
        let facts = watch.last();
        let udp = facts.udp.as_ref().map_err(Clone::clone)?;
        let Some([low, pressure, high]) = facts.numbers::<3>("net.ipv4.udp_mem") else {
            let seen = format!("{} pages in use on the host", count(udp.mem.0));
            return Err(hidden(facts, &seen, "net.ipv4.udp_mem"));
        };
        let page = facts.page();
        let mut look = Look::at(udp.mem.0, low).trend(watch, pages);
        let refused = watch.increase(|facts| facts.udp.as_ref().ok()?.mem_errors).unwrap_or(0);
        let full = watch.increase(|facts| facts.udp.as_ref().ok()?.rcvbuf_errors).unwrap_or(0);
        if refused > 0 {
            look.refusing();
            look.before =
                format!("kernel dropped {} UDP datagrams for want of memory", count(refused));
        }
        let drops = socket_drops(watch);
        if let Some((socket, number)) = &drops {
            look.at_least = look.at_least.max(Severity::Warn);
            look.refuses = true;
            look.port = Some(socket.local.port());
            look.owner =
                socket.owner.as_ref().map(|(pid, comm)| Owner { pid: *pid, comm: comm.clone() });
            let whose = of_service(socket.local.port(), look.owner.as_ref());
            let datagrams = format!("kernel dropped {} UDP datagrams of {whose}", count(*number));
            if look.before.is_empty() {
                look.before = datagrams;
            }
            look.what = "UDP datagrams dropped";
        } else if full > 0 && watch.filter.is_empty() {
            // Whose they were sock_diag would tell, which a kernel may lack for UDP.
            look.at_least = look.at_least.max(Severity::Warn);
            look.refuses = true;
            if look.before.is_empty() {
                look.before =
                    format!("kernel dropped {} UDP datagrams at full receive buffers", count(full));
            }
            look.what = "UDP datagrams dropped";
        }
        // With little of it in use, what dropped them was the socket's own limit.
        let is_memory_short = refused > 0 || udp.mem.0.saturating_mul(2) >= low;
        let of_buffer = drops.filter(|_| !is_memory_short);
        let by_buffers = !is_memory_short && (full > 0 || of_buffer.is_some());
        look.why = if refused > 0 {
            format!("{} datagrams were dropped for it while we watched.", count(refused))
        } else if by_buffers {
            if let Some((socket, _)) = &of_buffer {
                let limit = bytes(socket.limit.into());
                look.behind = format!("its receive buffer of {limit} was full");
            }
            "The receive buffer of the socket was full: its process reads more slowly than datagrams \
             come. There is enough memory for UDP."
                .to_owned()
        } else {
            "Beyond the first number of udp_mem a socket gets no more than udp_rmem_min: datagrams are \
             dropped. UDP has no pressure, so the other two numbers do nothing."
                .to_owned()
        };
        look.evidence = format!(
            "{} in use, the first number is {} (pages of {})",
            bytes(udp.mem.bytes(page).0),
            bytes(Pages(low).bytes(page).0),
            bytes(page.0)
        );
        if full > 0 {
            let drops = count(full);
            look.evidence
                .push_str(&format!("; {drops} dropped because a socket's own buffer was full"));
        }
        look.action =
            "read faster, or with more sockets (SO_REUSEPORT); find the queue: ss -uamp".to_owned();
        if by_buffers {
            let most = facts.number("net.core.rmem_max");
            let most = most.map_or(String::new(), |most| {
                format!(" (net.core.rmem_max allows {})", bytes(most.saturating_mul(2)))
            });
            look.action.push_str(&format!("; a larger SO_RCVBUF{most} for bursts"));
            return Ok(look);
        }
        let Ok(memory) = facts.memory else { return Ok(look) };
        let to = low.saturating_mul(2).max(udp.mem.0.saturating_mul(2)).min(memory.0 / 4 / page.0);
        if to > low && low > 0 {
            let scale = |pages: u64| (u128::from(pages) * u128::from(to) / u128::from(low)) as u64;
            let value = format!("{to} {} {}", scale(pressure), scale(high));
            if look.propose(facts, "net.ipv4.udp_mem", &value) {
                let new = Pages(to).bytes(page).0;
                look.gain = format!("UDP may use {}", bytes(new));
                look.risk = format!("that is {} of this host's memory", percent(new, memory.0));
            }
        }
        Ok(look)
    }
}

/// The UDP socket that dropped most while we watched, and how many.
fn socket_drops(watch: &Watch) -> Option<(UdpSocket, u64)> {
    let sockets = watch.last().udp_sockets.as_ref().ok()?;
    let drops = |it: &UdpSocket| {
        let same = |facts: &Facts| {
            let sockets = facts.udp_sockets.as_ref().ok()?;
            let is_it = |other: &&UdpSocket| other.netns == it.netns && other.local == it.local;
            Some(sockets.iter().find(is_it).map_or(0, |it| it.drops))
        };
        watch.increase(same).unwrap_or(0)
    };
    let owner = |it: &UdpSocket| it.owner.clone();
    let wanted = |it: &&UdpSocket| {
        let owner = owner(it);
        watch.wants_listening(it.local, owner.as_ref().map(|(pid, comm)| (*pid, comm.as_str())))
    };
    let dropping = sockets.iter().filter(wanted).map(|it| (it.clone(), drops(it)));
    dropping.filter(|(_, drops)| *drops > 0).max_by_key(|(_, drops)| *drops)
}

fn pages(facts: &Facts) -> Option<u64> {
    Some(facts.udp.as_ref().ok()?.mem.0)
}
