//! Sockets that an application holds though their connection is over: in CLOSE_WAIT, in FIN_WAIT2, or
//! closed with the descriptor kept. Each takes a descriptor until the process has none left; more
//! descriptors only put that off.

use super::check::{Check, describe};
use super::counted::of_service;
use super::finding::Scope;
use super::look::Look;
use super::severity::Severity;
use super::trend::Trend;
use super::watch::Watch;
use crate::event::Owner;
use crate::facts::causes::{self, Causes, ClosedFdsOf, KeptOpen, ServiceAt};
use crate::facts::{Facts, Known};
use crate::format::{bytes, count, duration};

pub(super) struct CloseWait;
pub(super) struct FinWait2;
pub(super) struct ClosedFds;

/// Connections pass through these states: what has stood for so long, milliseconds, is held.
const HELD_MS: u64 = 10_000;
/// Observations of which none may be lower than the one before, for a short watch to call sockets held
/// that are in a state which every connection passes through …
const PASSING: usize = 3;
/// … and which none does: a process that is told of a reset closes at once.
const LASTING: usize = 2;
/// Fewer than these are not worth a word …
const SOME: u64 = 20;
/// … and from here on it is worth a warning, however slowly it grows.
const MANY: u64 = 100;

/// What the three checks have in common: `number` sockets of a process, the oldest of them so for
/// `oldest_ms`, and how many there were at each thorough observation, of which it takes `least_samples`.
fn held(
    watch: &Watch,
    owner: Option<&causes::Owner>,
    number: u64,
    oldest_ms: u64,
    samples: &[(f64, f64)],
    least_samples: usize,
) -> Look {
    let growth = Trend::of(samples);
    // A short watch cannot know that they are old; what comes and goes falls now and then.
    let never_fell =
        samples.len() >= least_samples && samples.windows(2).all(|it| it[0].1 <= it[1].1);
    let long_ms = if never_fell { watch.long_ms(HELD_MS) } else { HELD_MS };
    let process = owner.and_then(|(pid, _)| {
        let processes = watch.last().processes.as_ref().ok()?;
        processes.worst.iter().find(|process| process.pid == *pid)
    });
    let mut look = match process {
        Some(process) => Look::at(number, process.soft),
        None => Look { now: Some(number), ..Look::default() },
    };
    look.growth_per_s = growth.per_s;
    if let Some(process) = process {
        look.in_s = growth.seconds_until(process.open, process.soft);
        look.seen_s = growth.seen_s;
    }
    look.owner = owner.map(|(pid, comm)| Owner { pid: *pid, comm: comm.clone() });
    let grows = growth.per_s.is_some_and(|per_s| per_s > 0.0);
    look.at_least = match number {
        _ if oldest_ms < long_ms || number < SOME => Severity::Ok,
        MANY.. => Severity::Warn,
        _ if grows => Severity::Warn,
        _ => Severity::Note,
    };
    // Until then it is what every connection goes through.
    if look.at_least == Severity::Ok {
        look.at_most = Severity::Ok;
    }
    look
}

fn causes(facts: &Facts) -> Known<&Causes> {
    let sockets = facts.sockets.as_ref().map_err(Clone::clone)?;
    sockets.causes.as_ref().map_err(Clone::clone)
}

fn wants(watch: &Watch, service: ServiceAt, owner: Option<&causes::Owner>) -> bool {
    let owner = owner.map(|(pid, comm)| (*pid, comm.as_str()));
    watch.filter.passes_service(service.port, service.accepted) && watch.wants_owner(owner)
}

fn age(oldest_ms: u64) -> String {
    format!("the oldest for {}", duration(oldest_ms as f64 / 1000.0))
}

fn subject(service: ServiceAt, owner: Option<&causes::Owner>) -> String {
    let owner = owner.map(|(pid, comm)| Owner { pid: *pid, comm: comm.clone() });
    of_service(service.port, owner.as_ref())
}

impl Check for CloseWait {
    describe!("close_wait", "CLOSE-WAIT", "CLOSE-WAIT", "sockets", Process);

    fn look(&self, watch: &Watch) -> Known<Look> {
        let rows = &causes(watch.last())?.close_waits;
        let wanted = |row: &&causes::CloseWait| wants(watch, row.service, row.owner.as_ref());
        let Some(row) = rows.iter().filter(wanted).max_by_key(|row| row.count()) else {
            return Ok(Look { now: Some(0), ..Look::default() });
        };
        let samples = watch.thorough(|facts| {
            let rows = &causes(facts).ok()?.close_waits;
            let same = rows.iter().find(|it| it.service == row.service && it.owner == row.owner);
            Some(same.map_or(0, causes::CloseWait::count))
        });
        let oldest_ms = row.oldest_ms();
        let mut look = held(watch, row.owner.as_ref(), row.count(), oldest_ms, &samples, PASSING);
        look.port = Some(row.service.port);
        look.subject = Some(subject(row.service, row.owner.as_ref()));
        let parts = [
            ("never_accepted", row.never_accepted.count),
            ("unread_data", row.unread_data.count),
            ("eof_unread", row.eof_unread.count),
            ("not_closed", row.not_closed.count),
        ];
        let (cause, most) = parts.into_iter().max_by_key(|(_, count)| *count).unwrap_or_default();
        look.cause = Some(cause);
        let (what, why, action) = match cause {
            "never_accepted" => (
                format!("{} were never accepted, and their peers have left", count(most)),
                "They wait in the accept queue of a listener that does not accept; their peers have \
                 closed already.",
                "see what the process that listens does: the accept queue is its, not the kernel's",
            ),
            "unread_data" => (
                format!(
                    "{} hold data that nobody reads ({})",
                    count(most),
                    bytes(row.unread_bytes)
                ),
                "The peer sent data and closed; the application does not read it, so it has not met \
                 the end of the stream.",
                "see why the application does not read these connections (a lost event, a busy \
                 worker, a full pipe behind it)",
            ),
            "eof_unread" => (
                format!("of {} only the end of the stream is unread", count(most)),
                "The peer closed; all data is read, and the application has not read on to the end \
                 of the stream.",
                "the application has to read until read() returns 0, and then close()",
            ),
            _ => (
                format!("the application read all of {} and does not close", count(most)),
                "The peer closed and all is read; the application does not close its side. That is a \
                 leak in the application: no timer ends these, more descriptors only put it off.",
                "close() connections whose read() returned 0; find them: ss -tnp state close-wait",
            ),
        };
        look.behind = format!("{what}, {}", age(oldest_ms));
        why.clone_into(&mut look.why);
        action.clone_into(&mut look.action);
        look.what = "connections not closed";
        look.gain = "descriptors and memory come back".to_owned();
        look.evidence = format!(
            "sock_diag: {} in CLOSE-WAIT, {} never accepted, {} with data unread, {} with only the FIN \
             unread, {} with nothing left to read",
            count(row.count()),
            count(row.never_accepted.count),
            count(row.unread_data.count),
            count(row.eof_unread.count),
            count(row.not_closed.count)
        );
        Ok(look)
    }
}

impl Check for FinWait2 {
    describe!("fin_wait2", "FIN-WAIT-2", "FIN-WAIT-2", "sockets", Process);

    fn look(&self, watch: &Watch) -> Known<Look> {
        let rows = &causes(watch.last())?.fin_wait2s;
        let wanted = |row: &&KeptOpen| wants(watch, row.service, row.owner.as_ref());
        let Some(row) = rows.iter().filter(wanted).max_by_key(|row| row.part.count) else {
            return Ok(Look { now: Some(0), ..Look::default() });
        };
        let samples = watch.thorough(|facts| {
            let rows = &causes(facts).ok()?.fin_wait2s;
            let same = rows.iter().find(|it| it.service == row.service && it.owner == row.owner);
            Some(same.map_or(0, |row| row.part.count))
        });
        let (number, oldest_ms) = (row.part.count, row.part.oldest_ms);
        let mut look = held(watch, row.owner.as_ref(), number, oldest_ms, &samples, PASSING);
        look.port = Some(row.service.port);
        look.subject = Some(subject(row.service, row.owner.as_ref()));
        look.cause = Some("kept_open");
        look.what = "half closed connections kept";
        look.behind = format!("shut down and kept open, {}", age(oldest_ms));
        "The application shut its sending side down and keeps the socket; the peer does not close. \
         tcp_fin_timeout ends only those that no application holds any more."
            .clone_into(&mut look.why);
        "read with a deadline after shutdown(), then close()".clone_into(&mut look.action);
        look.gain =
            "descriptors come back, and the kernel ends the rest after tcp_fin_timeout".into();
        look.evidence = "full sockets in FIN-WAIT-2 that have a file (sock_diag)".to_owned();
        Ok(look)
    }
}

impl Check for ClosedFds {
    describe!("closed_fds", "closed fds", "closed sockets", "sockets", Process);

    fn look(&self, watch: &Watch) -> Known<Look> {
        let closed = |facts: &Facts| -> Known<Vec<ClosedFdsOf>> {
            let closed = causes(facts)?.closed_fds.as_ref().map_err(Clone::clone)?;
            Ok(closed.processes.clone())
        };
        let rows = closed(watch.last())?;
        let wanted = |row: &&ClosedFdsOf| {
            let ports_asked = !watch.filter.ports.is_empty();
            !ports_asked && watch.wants_owner(Some((row.owner.0, &row.owner.1)))
        };
        let Some(row) = rows.iter().filter(wanted).max_by_key(|row| row.count) else {
            return Ok(Look { now: Some(0), ..Look::default() });
        };
        let samples = watch.thorough(|facts| {
            let rows = closed(facts).ok()?;
            Some(rows.iter().find(|it| it.owner == row.owner).map_or(0, |row| row.count))
        });
        let mut look = held(watch, Some(&row.owner), row.count, row.oldest_ms, &samples, LASTING);
        look.scope = Some(Scope::Process);
        look.subject = Some(format!("{}[{}]", row.owner.1, row.owner.0));
        look.what = "closed sockets kept";
        look.behind =
            format!("the connection is over, the descriptor is kept, {}", age(row.oldest_ms));
        "TCP sockets in state CLOSE with a descriptor: reset by the peer and never closed, or made and \
         never connected. ss does not show them."
            .clone_into(&mut look.why);
        "close() connections that end with an error (ECONNRESET, EPIPE, EPOLLHUP)"
            .clone_into(&mut look.action);
        look.gain = "descriptors come back".to_owned();
        look.evidence =
            format!("descriptors of /proc/{}/fd that no dump of sock_diag shows", row.owner.0);
        Ok(look)
    }
}

/// How many sockets of a process are held so, and by which check that is a finding.
pub(super) fn held_by(watch: &Watch, pid: u32) -> Option<(&'static str, u64)> {
    let checks: [&dyn Check; 3] = [&CloseWait, &ClosedFds, &FinWait2];
    checks.into_iter().find_map(|check| {
        let look = check.look(watch).ok()?;
        let is_his = look.owner.as_ref().is_some_and(|owner| owner.pid == pid);
        (is_his && look.severity() >= Severity::Warn).then_some((check.id(), look.now.unwrap_or(0)))
    })
}
