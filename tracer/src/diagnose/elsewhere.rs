//! Network namespaces other than the one watched, each by its own limits.
//!
//! The checks of what is a namespace's look at each of them as they look at the one watched: through a
//! [`Watch`] that shows the one alone.

use std::collections::BTreeMap;

use super::accept_queue::AcceptQueue;
use super::check::Check;
use super::look::Look;
use super::severity::Severity;
use super::time_wait::TimeWait;
use super::watch::Watch;
use crate::facts::elsewhere::{COUNTERS, NetnsFacts};
use crate::facts::{Facts, Known, Listener, Minisockets, Orphans, Sockets, Unknown};
use crate::gauges::{Gauges, Limits, SocketCounts};
use crate::sanitize::sanitize;

/// The checks that look at each namespace.
const CHECKS: [&dyn Check; 2] = [&AcceptQueue, &TimeWait];

/// What each check says of each other namespace, where that is worth a word.
pub(super) fn looks(watch: &Watch) -> Vec<(&'static dyn Check, Known<Look>)> {
    let mut all = Vec::new();
    let Ok(elsewhere) = &watch.last().elsewhere else { return all };
    for namespace in elsewhere.namespaces.iter().filter(|it| is_busy(it)) {
        let inside = inside(watch, namespace.netns);
        for check in CHECKS {
            if let Ok(mut look) = check.look(&inside)
                && look.severity() > Severity::Ok
            {
                name(&mut look, namespace);
                all.push((check, Ok(look)));
            }
        }
    }
    all
}

/// Whether anything there can be worth a word.
fn is_busy(it: &NetnsFacts) -> bool {
    !it.listeners.is_empty()
        || it.counters.values().any(|count| *count > 0)
        || it.has_many_minisockets()
}

/// Says which namespace it is.
fn name(look: &mut Look, namespace: &NetnsFacts) {
    let place = format!("network namespace {}", namespace.label());
    look.netns = Some(u64::from(namespace.netns));
    // Counted by kind, and another namespace's count is another one.
    look.happened = None;
    if look.limit.is_none() {
        look.before.push_str(" in ");
        look.before.push_str(&place);
        look.subject = Some(place);
    } else {
        look.subject = Some(match &look.subject {
            Some(subject) => format!("{subject} in {place}"),
            None => place,
        });
    }
}

/// The same watch, of one of the other namespaces.
fn inside(watch: &Watch, netns: u32) -> Watch {
    // Of its listeners the busy ones are told: one that is not has nobody that waits.
    let mut known: BTreeMap<u64, Listener> = BTreeMap::new();
    let found = |facts: &Facts| facts.elsewhere.as_ref().ok().map(|all| all.find(netns).cloned());
    for it in watch.samples().filter_map(found).flatten() {
        for listener in it.listeners {
            let idle = Listener { queue: 0, drops: Some(0), oldest_wait_ms: None, ..listener };
            known.insert(idle.inode, idle);
        }
    }
    watch.map(|facts| {
        let why = Unknown::because("of another network namespace");
        let mut seen = Facts::unseen(facts.at, &why);
        seen.detail_at = facts.detail_at;
        // One that is not there yet has counted nothing.
        let Some(it) = found(facts).map(Option::unwrap_or_default) else { return seen };
        let count = |name: &'static str| (name, it.counters.get(name).copied().unwrap_or(0));
        seen.gauges = Ok(Gauges {
            sockets: SocketCounts { tw: it.tw, ..SocketCounts::default() },
            tcp_ext: COUNTERS.into_iter().map(count).collect(),
            limits: Limits { max_tw_buckets: it.max_tw_buckets, ..Limits::default() },
            ..Gauges::default()
        });
        let mut listeners = known.clone();
        listeners.extend(it.listeners.into_iter().map(|listener| (listener.inode, listener)));
        seen.listeners = Ok(listeners.into_values().collect());
        seen.sockets = Ok(Sockets {
            orphans: Orphans::default(),
            half_open: Err(why.clone()),
            minisockets: it
                .minisockets
                .map(|(accepted, connecting)| Minisockets { accepted, connecting, fin_wait2: 0 })
                .ok_or_else(|| why.clone()),
            destinations: Err(why.clone()),
            namespaces_denied: 0,
            causes: Err(why),
        });
        seen
    })
}

/// Which other namespaces were looked at, for people; `None` where there are none.
pub(super) fn note(facts: &Facts) -> Option<String> {
    /// Namespaces named.
    const NAMED: usize = 8;
    let elsewhere = facts.elsewhere.as_ref().ok()?;
    let seen = elsewhere.namespaces.len();
    let mut parts = Vec::new();
    if seen > 0 {
        let named = elsewhere.namespaces.iter().take(NAMED).map(NetnsFacts::label);
        let named = named.collect::<Vec<_>>().join(", ");
        let more = if seen > NAMED { format!(" and {} more", seen - NAMED) } else { String::new() };
        parts.push(format!("other network namespaces looked at: {named}{more}"));
    }
    if elsewhere.unseen > 0 {
        parts.push(format!("network namespaces that could not be entered: {}", elsewhere.unseen));
    }
    (!parts.is_empty()).then(|| sanitize(&parts.join("; ")).into_owned())
}
