//! Minisockets against `tcp_max_tw_buckets`, of the namespace.
//!
//! Full is mostly harmless: on the side that accepted, a minisocket holds no port of its own. On
//! the side that connected, an overflow means connections end without TIME_WAIT
//! (`inet_twsk_alloc` fails in `tcp_time_wait`, net/ipv4/tcp_minisocks.c), and a late segment of
//! one can then meet the next on the same ports.

use super::check::{Check, describe};
use super::look::{Happened, Look, room};
use super::watch::Watch;
use crate::event::Fidelity;
use crate::facts::{Facts, Known, Unknown};
use crate::format::{bytes, count};

pub(super) struct TimeWait;

/// What a minisocket takes: `struct tcp_timewait_sock`, 240 to 264 bytes from 5.10 to 7.3.
const EACH: u64 = 264;
const OVERFLOW: &str = "TCPTimeWaitOverflow";

impl Check for TimeWait {
    describe!("time_wait", "TIME_WAIT", "TIME_WAIT buckets", "sockets", Netns);

    fn look(&self, watch: &Watch) -> Known<Look> {
        let facts = watch.last();
        let gauges = facts.gauges.as_ref().map_err(Clone::clone)?;
        let (Some(now), Some(limit)) = (now(facts), gauges.limits.max_tw_buckets) else {
            return Err(Unknown::because("no tw in /proc/net/sockstat, or no tcp_max_tw_buckets"));
        };
        let overflows = watch.increase_of(OVERFLOW);
        let mut look = Look::at(now, limit).trend(watch, self::now);
        look.fidelity = Fidelity::Exact;
        if overflows > 0 {
            look.refusing();
            look.before =
                format!("kernel closed {} connections without TIME_WAIT", count(overflows));
            look.happened = Some(Happened {
                kind: "time-wait-overflow",
                total: watch.counter(OVERFLOW).unwrap_or(0),
                lately: overflows,
                text: ("table full: ", " closed without TIME-WAIT".to_owned()),
            });
        }
        // Not known who connected: no claim that it is harmless.
        let connecting = facts
            .sockets
            .as_ref()
            .ok()
            .and_then(|sockets| sockets.minisockets.as_ref().ok())
            .map(|mini| (mini.connecting, mini.accepted));
        look.harmless = connecting.is_some_and(|(ours, theirs)| ours < theirs);
        if look.harmless {
            look.behind =
                "harmless: most are of accepted connections, which hold no port".to_owned();
        }
        look.evidence = evidence(facts, now, overflows);
        look.why = match connecting {
            Some((ours, theirs)) if ours < theirs => {
                "Harmless here: most are of connections that came in, and those hold no port of \
                 their own. When the buckets are full, the kernel closes without TIME_WAIT."
            }
            _ if now == 0 => "There are none.",
            _ if overflows > 0 => {
                "Connections we made end without TIME_WAIT: a late segment of one can meet the \
                 next on the same ports. The wait is 60 s, fixed: tcp_fin_timeout does not \
                 shorten it."
            }
            _ => {
                "Connections we made and closed first stay for 60 s; tcp_fin_timeout does not \
                 shorten it (TCP_TIMEWAIT_LEN is fixed)."
            }
        }
        .to_owned();
        let to = room(now.max(limit), 2);
        look.action = "keep connections open, or let the other side close first".to_owned();
        if look.propose(facts, "net.ipv4.tcp_max_tw_buckets", &to) {
            look.gain = format!("room for {} minisockets", count(to));
            look.risk = format!("up to {} of kernel memory", bytes(to.saturating_mul(EACH)));
        }
        Ok(look)
    }
}

fn now(facts: &Facts) -> Option<u64> {
    facts.gauges.as_ref().ok()?.sockets.tw
}

fn evidence(facts: &Facts, now: u64, overflows: u64) -> String {
    let mut parts = vec![format!("{} minisockets (sockstat)", count(now))];
    if let Ok(sockets) = &facts.sockets
        && let Ok(mini) = &sockets.minisockets
    {
        parts.push(format!(
            "{} of accepted, {} of made connections; {} of all in FIN_WAIT2",
            count(mini.accepted),
            count(mini.connecting),
            count(mini.fin_wait2)
        ));
    }
    if overflows > 0 {
        parts.push(format!("{OVERFLOW} +{}", count(overflows)));
    }
    parts.join("; ")
}
