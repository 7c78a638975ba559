//! Half-open connections of the listener that has most of them for its size.
//!
//! Beyond the listener's backlog (`inet_csk_reqsk_queue_is_full`) the kernel answers with SYN
//! cookies, or drops where those are off; without cookies it also drops new peers above three
//! quarters of `tcp_max_syn_backlog` (`tcp_conn_request`, net/ipv4/tcp_input.c).

use super::accept_queue::name;
use super::check::{Check, describe};
use super::look::{Look, room};
use super::severity::Severity;
use super::watch::Watch;
use crate::event::Owner;
use crate::facts::{Facts, Known, Listener};
use crate::format::count;

pub(super) struct SynQueue;

impl Check for SynQueue {
    describe!("syn_queue", "SYN queue", "SYN queue", "sockets", Netns);

    fn look(&self, watch: &Watch) -> Known<Look> {
        let facts = watch.last();
        let listeners = facts.listeners.as_ref().map_err(Clone::clone)?;
        let sockets = facts.sockets.as_ref().map_err(Clone::clone)?;
        let half_open = sockets.half_open.as_ref().map_err(Clone::clone)?;
        // Of several listeners at one address (SO_REUSEPORT) each has its share.
        let shared = |listener: &Listener| {
            let rows = &sockets.causes.as_ref().ok()?.half_opens;
            let row = rows.iter().find(|row| row.local == Some(listener.local))?;
            Some(row.requests.div_ceil(u64::from(row.listeners.max(1))))
        };
        let alike = |listener: &Listener| {
            listeners.iter().filter(|other| other.local == listener.local).count().max(1) as u64
        };
        let waiting = |listener: &Listener| {
            let by_port = || half_open.get(&listener.local.port()).copied().unwrap_or(0);
            shared(listener).unwrap_or_else(|| by_port().div_ceil(alike(listener)))
        };
        let cookies = facts.number("net.ipv4.tcp_syncookies");
        let share = |listener: &Listener| {
            waiting(listener) as f64 / limit(facts, listener, cookies).max(1) as f64
        };
        let dropped = watch.increase_of("TCPReqQFullDrop");
        let sent = watch.increase_of("TCPReqQFullDoCookies");
        let wanted = |listener: &&Listener| watch.wants_listener(listener);
        let worst = listeners
            .iter()
            .filter(wanted)
            .max_by(|a, b| share(a).total_cmp(&share(b)).then_with(|| b.inode.cmp(&a.inode)));
        let Some(worst) = worst else {
            return Ok(Look {
                now: Some(0),
                why: "Nobody listens, so nothing can be half open.".to_owned(),
                ..Look::default()
            });
        };
        let mut look = Look::at(waiting(worst), limit(facts, worst, cookies));
        if dropped > 0 {
            look.refusing();
            look.before = format!("kernel dropped {} SYNs", count(dropped));
        } else if sent > 0 {
            look.at_least = Severity::Warn;
            look.before = format!("{} clients were answered with SYN cookies", count(sent));
        }
        if waiting(worst) > 0 {
            look.subject = Some(name(worst));
            look.port = Some(worst.local.port());
            let owner = worst.owner.as_ref();
            look.owner = owner.map(|(pid, comm)| Owner { pid: *pid, comm: comm.clone() });
        }
        look.why = match (dropped, sent) {
            (1.., _) => format!("SYNs are dropped: {} while we watched.", count(dropped)),
            (_, 1..) => format!(
                "Full: {} clients were answered with SYN cookies, which keep few options; none \
                 were turned away.",
                count(sent)
            ),
            _ if look.now == Some(0) => "Nothing is half open.".to_owned(),
            _ if cookies == Some(0) => "Cookies are off: what is too much is dropped.".to_owned(),
            _ => "What is too much is answered with SYN cookies.".to_owned(),
        };
        look.evidence = format!(
            "half-open connections by port (sock_diag); backlog {}, tcp_max_syn_backlog {}, \
             tcp_syncookies {}",
            count(u64::from(worst.backlog)),
            facts.sysctls.get("net.ipv4.tcp_max_syn_backlog").map_or("?", String::as_str),
            cookies.map_or("?".to_owned(), |cookies| cookies.to_string())
        );
        advise(&mut look, facts, worst, cookies);
        Ok(look)
    }
}

/// How many may be half open.
fn limit(facts: &Facts, listener: &Listener, cookies: Option<u64>) -> u64 {
    let backlog = u64::from(listener.backlog);
    match (cookies, facts.number("net.ipv4.tcp_max_syn_backlog")) {
        (Some(0), Some(most)) => backlog.min(most - most / 4),
        _ => backlog,
    }
}

fn advise(look: &mut Look, facts: &Facts, worst: &Listener, cookies: Option<u64>) {
    let to = room(u64::from(worst.backlog).max(look.now.unwrap_or(0)), 4).max(1024);
    if cookies == Some(0) {
        look.propose(facts, "net.ipv4.tcp_syncookies", &1);
        if facts.number("net.ipv4.tcp_max_syn_backlog").is_some_and(|most| most < to) {
            look.propose(facts, "net.ipv4.tcp_max_syn_backlog", &to);
        }
    }
    if facts.number("net.core.somaxconn").is_some_and(|most| most < to) {
        look.propose(facts, "net.core.somaxconn", &to);
    }
    look.action = format!(
        "call listen() with {to} or more; look where the SYNs come from (ss -tn state \
                 syn-recv)"
    );
    look.gain = "no client is turned away for want of room".to_owned();
    look.risk = "a half-open connection takes about 300 bytes; cookies keep few of TCP's options"
        .to_owned();
    look.undo = "restart the server with its old backlog".to_owned();
}
