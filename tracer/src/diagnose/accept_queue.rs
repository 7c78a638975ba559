//! Connections that wait for `accept()`, of the listener nearest to its backlog.
//!
//! The queue is full when it is longer than the backlog (`sk_acceptq_is_full`,
//! include/net/sock.h). Then the last ACK of a handshake is dropped: the client thinks it is
//! connected.

use super::check::{Check, describe};
use super::counted::of_service;
use super::finding::Scope;
use super::look::{Happened, Look, room};
use super::severity::Severity;
use super::watch::Watch;
use crate::event::Owner;
use crate::facts::{Facts, Known, Listener};
use crate::filter::Filter;
use crate::format::{count, duration};

pub(super) struct AcceptQueue;

impl Check for AcceptQueue {
    describe!("accept_queue", "accept queue", "accept queue", "sockets", Netns);

    fn look(&self, watch: &Watch) -> Known<Look> {
        let facts = watch.last();
        let listeners = facts.listeners.as_ref().map_err(Clone::clone)?;
        let wanted = |listener: &&Listener| watch.wants_listener(listener);
        let worst = listeners.iter().filter(wanted).max_by(|a, b| {
            let drops = |listener: &Listener| dropped(watch, listener.inode);
            drops(a).cmp(&drops(b)).then_with(|| a.share().total_cmp(&b.share()))
        });
        let Some(worst) = worst else {
            let mut look = nobody(watch);
            overflows(&mut look, watch, 0);
            return Ok(look);
        };
        let inode = worst.inode;
        let mut look = Look::at(u64::from(worst.queue), limit(worst))
            .trend(watch, |facts| Some(u64::from(of(facts, inode)?.queue)));
        let owner = worst.owner.as_ref();
        look.owner = owner.map(|(pid, comm)| Owner { pid: *pid, comm: comm.clone() });
        look.port = Some(worst.local.port());
        look.scope = Some(Scope::Listener);
        let dropped = dropped(watch, inode);
        // A burst that is over is worth a word; a queue that was full when we looked is not over.
        let was_full = watch.seen(|facts| of(facts, inode).is_some_and(is_full));
        if dropped > 0 && was_full > 0 {
            look.refusing();
        } else if dropped > 0 {
            look.at_least = Severity::Warn;
        }
        if dropped > 0 {
            look.what = "accept queue full";
            look.before = format!("kernel dropped {} handshakes", count(dropped));
        }
        overflows(&mut look, watch, dropped);
        look.subject = Some(name(worst));
        look.why = if is_full(worst) || dropped > 0 {
            "Full: the last ACK of handshakes is dropped, the client thinks it is connected and \
             waits."
                .to_owned()
        } else if worst.queue > 0 {
            "Connections stand ready and wait for accept().".to_owned()
        } else {
            "Nobody waits.".to_owned()
        };
        look.evidence = format!("listen backlog {} (sock_diag)", count(u64::from(worst.backlog)));
        if let Some(drops) = worst.drops.filter(|drops| *drops > 0) {
            let since = count(u64::from(drops));
            look.evidence.push_str(&format!("; dropped {since} since it listens"));
        }
        if dropped > 0 {
            look.evidence.push_str(&format!(", {} while we watched", count(dropped)));
            look.evidence.push_str(&format!("; full in {was_full} of {} looks", watch.looks()));
        }
        let cause = cause(watch, worst, dropped, was_full);
        look.cause = cause;
        if let Some(words) = words(worst, cause) {
            look.behind = words;
        }
        if matches!(cause, Some("stopped" | "not_accepting")) {
            look.at_least = look.at_least.max(Severity::Warn);
        }
        advise(&mut look, facts, worst);
        Ok(look)
    }
}

/// `accept()` takes the oldest connection first: where one waits for so long, milliseconds, nobody
/// accepts.
const NOBODY_ACCEPTS_MS: u64 = 5_000;

/// Why connections wait, where that is known.
fn cause(watch: &Watch, it: &Listener, dropped: u64, was_full: usize) -> Option<&'static str> {
    if it.queue == 0 && dropped == 0 {
        return None;
    }
    let waits = it.oldest_wait_ms.is_some_and(|oldest| oldest >= watch.long_ms(NOBODY_ACCEPTS_MS));
    let full = |facts: &Facts| of(facts, it.inode).is_some_and(is_full);
    // One that has not been seen with room since may never have any again: too early to tell why.
    let has_recovered = !is_full(it) || watch.steps().any(|(then, now)| full(then) && !full(now));
    let mostly_full = was_full.saturating_mul(2) > watch.looks();
    match &it.holder {
        Some(holder) if holder.holders > 0 && holder.stopped >= holder.holders => Some("stopped"),
        _ if waits && it.queue > 0 => Some("not_accepting"),
        // Full now and then: bursts. Full most of the time: it never catches up.
        // It does accept, as far as it was looked at.
        Some(_) if dropped > 0 && mostly_full && it.oldest_wait_ms.is_some() => Some("too_slow"),
        _ if dropped > 0 && has_recovered => Some("too_short"),
        _ => None,
    }
}

/// The cause in a few words.
fn words(it: &Listener, cause: Option<&str>) -> Option<String> {
    let waits = it.oldest_wait_ms.map(|ms| duration(ms as f64 / 1000.0));
    Some(match cause? {
        "stopped" => {
            let state = it.holder.map_or('T', |holder| holder.state);
            format!("the process is stopped (state {state}) and does not accept")
        }
        "not_accepting" => {
            format!("nobody has accepted for {}", waits.unwrap_or_else(|| "long".to_owned()))
        }
        "too_short" => "too short for bursts".to_owned(),
        _ => "accept() is too slow".to_owned(),
    })
}

/// Nobody listens, or not what was asked about.
fn nobody(watch: &Watch) -> Look {
    let why = if watch.filter.is_empty() {
        "Nobody listens in this network namespace."
    } else {
        "No listener of this network namespace matches the filter."
    };
    Look { now: Some(0), why: why.to_owned(), ..Look::default() }
}

/// What the kernel counted of full accept queues in the namespace, whichever listener it was.
/// `dropped`: what a listener is known to have dropped.
fn overflows(look: &mut Look, watch: &Watch, dropped: u64) {
    const OVERFLOWS: &str = "ListenOverflows";
    let overflows = watch.increase_of(OVERFLOWS);
    let asks_all = Filter { netns: None, ..watch.filter.clone() }.is_empty();
    if overflows > 0 && dropped == 0 && asks_all {
        // None of the listeners we know is the one.
        look.at_least = look.at_least.max(Severity::Warn);
        look.refuses = true;
        look.what = "accept queue full";
        look.before =
            format!("kernel dropped {} handshakes at a full accept queue", count(overflows));
    }
    let total = watch.counter(OVERFLOWS).unwrap_or(0);
    if (overflows > 0 && asks_all) || dropped > 0 {
        let whose = match (look.port, dropped) {
            (Some(port), 1..) => format!(" at {}", of_service(port, look.owner.as_ref())),
            _ => String::new(),
        };
        let text = ("accept queue full: ", format!(" handshakes dropped{whose}"));
        look.happened = Some(Happened {
            kind: "listen-overflow",
            total: total.max(dropped),
            lately: overflows.max(dropped),
            text,
        });
    }
}

/// The queue holds one more than the backlog.
fn limit(listener: &Listener) -> u64 {
    u64::from(listener.backlog) + 1
}

/// As `sk_acceptq_is_full` has it.
fn is_full(listener: &Listener) -> bool {
    listener.queue > listener.backlog
}

fn of(facts: &Facts, inode: u64) -> Option<&Listener> {
    facts.listeners.as_ref().ok()?.iter().find(|listener| listener.inode == inode)
}

/// Connections it dropped while we watched.
fn dropped(watch: &Watch, inode: u64) -> u64 {
    watch.increase(|facts| Some(u64::from(of(facts, inode)?.drops?))).unwrap_or(0)
}

/// `httpdns[4121] 0.0.0.0:9981`.
pub(super) fn name(listener: &Listener) -> String {
    match &listener.owner {
        Some((pid, comm)) => format!("{comm}[{pid}] {}", listener.local),
        None => listener.local.to_string(),
    }
}

fn advise(look: &mut Look, facts: &Facts, worst: &Listener) {
    let pid = worst.owner.as_ref().map_or_else(|| "PID".to_owned(), |(pid, _)| pid.to_string());
    match look.cause {
        Some("stopped") => {
            look.action = format!(
                "let it go on (kill -CONT {pid}), or end it; a longer backlog does not help"
            );
            look.gain = "it accepts again".to_owned();
            return;
        }
        Some("not_accepting") => {
            look.action = format!(
                "see what the process does instead of accept(): cat /proc/{pid}/wchan, gdb -p {pid}; \
                 a longer backlog does not help"
            );
            return;
        }
        Some("too_short") => {}
        Some(_) => {
            look.action = "more workers that accept, or less work between two accept(); a longer \
                           backlog only makes clients wait longer"
                .to_owned();
            return;
        }
        None => {
            look.action = format!(
                "find out whether it accepts at all: strace -f -e trace=accept,accept4 -p {pid}"
            );
            return;
        }
    }
    let backlog = u64::from(worst.backlog);
    let to = room(backlog.max(u64::from(worst.queue)), 4).max(1024);
    let somaxconn = facts.number("net.core.somaxconn");
    let raise = match somaxconn {
        Some(most) if most >= to => "the setting does not cap it: listen() asked for less. ",
        _ => {
            look.propose(facts, "net.core.somaxconn", &to);
            ""
        }
    };
    look.action = format!(
        "{raise}Call listen() with {to} or more and restart the server (the backlog is fixed at \
         listen()); find out why accept() is slow"
    );
    let mut letters = look.action.chars();
    if let Some(first) = letters.next() {
        look.action = first.to_lowercase().chain(letters).collect();
    }
    look.gain = format!("{} connections may wait instead of {}", count(to), count(backlog));
    look.risk = "a longer queue is a longer wait: it helps against bursts, not against a server \
                 that is too slow; leave tcp_abort_on_overflow 0"
        .to_owned();
    look.undo = "restart the server with its old backlog".to_owned();
}
