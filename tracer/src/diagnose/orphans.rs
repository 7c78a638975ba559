//! Orphans against `tcp_max_orphans`, of the host.
//!
//! The kernel compares its count, doubled for an orphan whose last data is more than 240 s old
//! and doubled again for one that got an ICMP error, with the limit (`tcp_out_of_resources`,
//! net/ipv4/tcp_timer.c): so it begins to kill at a half, or a quarter, of what the setting says.

use super::check::{Check, describe, hidden};
use super::counted::{Counted, of_service};
use super::look::{Look, room};
use super::severity::Severity;
use super::tcp_mem;
use super::watch::Watch;
use crate::event::Fidelity;
use crate::facts::{Facts, Known, Unknown};
use crate::format::{bytes, count, duration, percent};

pub(super) struct Orphans;

/// The first retransmission timeout where the round trip is short (`TCP_RTO_MIN`).
const RTO_S: f64 = 0.2;
/// What 0 in `tcp_orphan_retries` stands for.
const DEFAULT_RETRIES: u64 = 8;
/// What is advised: three seconds.
const RETRIES: u64 = 3;

/// What is advised for the longest wait, where there is no other way.
const RTO_MAX_MS: u64 = 10_000;

impl Check for Orphans {
    describe!("orphans", "orphans", "orphans", "sockets", Host);

    fn look(&self, watch: &Watch) -> Known<Look> {
        let facts = watch.last();
        let gauges = facts.gauges.as_ref().map_err(Clone::clone)?;
        let now =
            now(facts).ok_or_else(|| Unknown::because("/proc/net/sockstat has no orphans"))?;
        let Some(limit) = gauges.limits.max_orphans else {
            let seen = format!("{} orphans on the host", count(now));
            return Err(hidden(facts, &seen, "net.ipv4.tcp_max_orphans"));
        };
        let killed = tcp_mem::kills(watch);
        let mut look = Look::at(now, limit).growing(watch.orphans_growth());
        look.fidelity = Fidelity::Exact;
        look.cause = cause(facts);
        look.what = "orphan limit near";
        name_service(&mut look, watch);
        if now.saturating_mul(2) > limit && now > 0 {
            look.at_least = Severity::Warn;
        }
        if killed.for_number > 0 {
            tcp_mem::killing(&mut look, watch, &killed, killed.for_number, "");
        }
        look.behind = [look.behind, waits(facts)]
            .into_iter()
            .filter(|it| !it.is_empty())
            .collect::<Vec<_>>()
            .join("; ");
        look.why = why(facts, now, limit, killed.for_number);
        look.evidence = evidence(facts, now, limit, killed.for_number);
        advise(&mut look, watch, now.saturating_add(killed.for_number), limit);
        Ok(look)
    }
}

fn now(facts: &Facts) -> Option<u64> {
    facts.gauges.as_ref().ok()?.sockets.orphan
}

/// Which service most orphans are of: as counted, or as sock_diag shows them.
fn name_service(look: &mut Look, watch: &Watch) {
    let counted = watch.counted.as_ref().and_then(Counted::most_orphans);
    let sockets = watch.last().sockets.as_ref().ok();
    if let Some(most) = counted {
        look.port = Some(most.port);
        look.owner.clone_from(&most.owner);
    } else if watch.counted.is_none()
        && let Some([(port, number), ..]) = sockets.map(|it| &it.orphans.ports[..])
        && sockets.is_some_and(|it| number.saturating_mul(2) > it.orphans.count)
    {
        look.port = Some(*port);
    }
    if let Some(port) = look.port {
        look.behind = format!("most on {}", of_service(port, look.owner.as_ref()));
    }
}

/// Orphans by what they wait for, and how long the oldest of the largest part has.
#[derive(Clone, Copy, Debug)]
struct Parts {
    all: u64,
    closed_window: u64,
    unanswered: u64,
    in_flight: u64,
    oldest_ms: u64,
}

/// `None` where it was not observed, or where there are none.
fn parts(facts: &Facts) -> Option<Parts> {
    let sockets = facts.sockets.as_ref().ok()?;
    if let Ok(causes) = &sockets.causes
        && causes.orphans.all.count() > 0
    {
        let all = &causes.orphans.all;
        let parts = [all.closed_window, all.unanswered, all.in_flight];
        let most = parts.into_iter().max_by_key(|part| part.count).unwrap_or_default();
        return Some(Parts {
            all: all.count(),
            closed_window: all.closed_window.count,
            unanswered: all.unanswered.count,
            in_flight: all.in_flight.count,
            oldest_ms: most.oldest_ms,
        });
    }
    let (waits, all @ 1..) = (sockets.orphans.waits?, sockets.orphans.count) else { return None };
    let (closed_window, unanswered) = (waits.probing, waits.retransmitting);
    let in_flight = all.saturating_sub(closed_window).saturating_sub(unanswered);
    Some(Parts { all, closed_window, unanswered, in_flight, oldest_ms: 0 })
}

/// Why most of them stand.
fn cause(facts: &Facts) -> Option<&'static str> {
    let Some(parts) = parts(facts) else {
        let count = facts.sockets.as_ref().map_or(0, |sockets| sockets.orphans.count);
        return (count > 0).then_some("unknown");
    };
    let most = |part: u64| part.saturating_mul(2) > parts.all;
    Some(match () {
        () if most(parts.closed_window) => "closed_window",
        () if most(parts.unanswered) => "unanswered",
        () if most(parts.in_flight) => "in_flight",
        () => "unknown",
    })
}

/// What most of them wait for, in a few words; empty where that is not known.
fn waits(facts: &Facts) -> String {
    let Some(parts) = parts(facts) else { return String::new() };
    let (part, what) = match cause(facts) {
        Some("closed_window") => (parts.closed_window, "behind a closed window"),
        Some("unanswered") => (parts.unanswered, "unanswered"),
        Some("in_flight") => (parts.in_flight, "in flight"),
        _ => return String::new(),
    };
    let age = match parts.oldest_ms {
        0..1_000 => String::new(),
        ms => format!(" (the oldest for {})", duration(ms as f64 / 1000.0)),
    };
    format!("{} {what}{age}", percent(part, parts.all))
}

/// Whether most orphans wait for a peer that answers but does not read.
fn mostly_probing(facts: &Facts) -> bool {
    cause(facts) == Some("closed_window")
}

fn why(facts: &Facts, now: u64, limit: u64, killed: u64) -> String {
    let mut why = String::new();
    if killed > 0 {
        why = format!("The kernel kills orphans: {} while we watched. ", count(killed));
    } else if now.saturating_mul(2) > limit {
        why.push_str("Above half the limit the kernel kills those that have been idle for 240 s. ");
    }
    let orphans = facts.sockets.as_ref().ok().map(|sockets| &sockets.orphans);
    let Some((orphans, waits)) = orphans.and_then(|orphans| Some((orphans, orphans.waits?))) else {
        return why
            + "Whether their peers are silent or have a closed window was not observed: \
               `ss -tno state fin-wait-1` shows timer:(persist) for a closed window.";
    };
    let silent = orphans.count - waits.probing.min(orphans.count);
    if orphans.count == 0 {
        why.push_str(if now == 0 { "There are none." } else { "None in sight of sock_diag." });
    } else if mostly_probing(facts) {
        why.push_str(&format!(
            "{} of them wait for peers that answer but do not read (closed window): \
             tcp_orphan_retries counts unanswered probes, tcp_fin_timeout acts in FIN_WAIT2 only: \
             neither ends those.",
            percent(waits.probing, orphans.count)
        ));
    } else {
        why.push_str(&format!(
            "{} of them wait for the ACK of our FIN or data. tcp_fin_timeout does not help: it \
             acts in FIN_WAIT2 only.",
            percent(silent, orphans.count)
        ));
    }
    why
}

fn evidence(facts: &Facts, now: u64, limit: u64, killed: u64) -> String {
    let mut parts = vec![format!(
        "{} orphans (sockstat); counted once the limit is {}, twice {}, four times {}",
        count(now),
        count(limit),
        count(limit / 2),
        count(limit / 4)
    )];
    let ever = facts.gauges.as_ref().ok().and_then(|it| it.tcp_ext.get(tcp_mem::KILLED).copied());
    if killed > 0 {
        parts.push(format!("{} +{}", tcp_mem::KILLED, count(killed)));
    } else if let Some(ever) = ever.filter(|ever| *ever > 0) {
        parts.push(format!("{} {} since boot", tcp_mem::KILLED, count(ever)));
    }
    if let Ok(sockets) = &facts.sockets {
        let orphans = &sockets.orphans;
        if let Some(each) = orphans.bytes.checked_div(orphans.count) {
            parts.push(format!("{} each (sock_diag)", bytes(each)));
            let waits = orphans.waits.unwrap_or_default();
            if waits.retransmitting > 0 {
                parts.push(format!("{} have retransmitted", count(waits.retransmitting)));
            }
            if waits.last_ack > 0 {
                parts.push(format!("{} in LAST_ACK", count(waits.last_ack)));
            }
        }
        if let [(port, most), ..] = orphans.ports[..] {
            parts.push(format!("{} on port {port}", percent(most, orphans.count)));
        }
        if sockets.namespaces_denied > 0 {
            let denied = count(sockets.namespaces_denied as u64);
            parts.push(format!("namespaces not asked: {denied}"));
        }
    }
    parts.join("; ")
}

fn advise(look: &mut Look, watch: &Watch, demand: u64, limit: u64) {
    let facts = watch.last();
    // Which remedy helps depends on what they wait for: nothing is advised on a guess.
    if look.cause.is_none_or(|cause| cause == "unknown") {
        look.action = "find out what they wait for: `ss -tno state fin-wait-1`".to_owned();
        return;
    }
    let mut gains = Vec::new();
    let mut risks = Vec::new();
    let probing = mostly_probing(facts);
    let retries = facts.number("net.ipv4.tcp_orphan_retries").map(|retries| match retries {
        0 => DEFAULT_RETRIES,
        other => other,
    });
    if let Some(retries) = retries.filter(|retries| !probing && *retries > RETRIES)
        && look.propose(facts, "net.ipv4.tcp_orphan_retries", &RETRIES)
    {
        let (before, after) = (life(retries), life(RETRIES));
        gains.push(format!(
            "a silent peer's orphan ends after about {}, not {}; about {} of them would stand",
            duration(after),
            duration(before),
            count((demand as f64 * after / before) as u64)
        ));
        risks.push("slow clients can lose the unsent end of an answer".to_owned());
    }
    let wanted = room(demand.max(limit), 2);
    match affordable(facts) {
        Some((most, each)) if most < wanted && most <= limit.saturating_add(limit / 10) => {
            risks.push(format!(
                "a higher tcp_max_orphans would not help: at {} each memory (tcp_mem) ends at {} \
                 orphans",
                bytes(each),
                count(most)
            ));
            // No room for more of them, so they have to go sooner. A setting of every connection,
            // hence only where nothing milder is left; kernels before 6.15 do not have it.
            let before = facts.number("net.ipv4.tcp_rto_max_ms").unwrap_or(0);
            if probing
                && before > RTO_MAX_MS
                && look.propose(facts, "net.ipv4.tcp_rto_max_ms", &RTO_MAX_MS)
            {
                gains.push(format!(
                    "an orphan with a closed window ends after about {}, not {}",
                    duration(closed_life(RTO_MAX_MS)),
                    duration(closed_life(before))
                ));
                risks.push(format!(
                    "every connection retransmits at least every {} s and gives up sooner",
                    RTO_MAX_MS / 1000
                ));
            }
        }
        affordable => {
            let to = affordable.map_or(wanted, |(most, _)| wanted.min(most));
            if look.propose(facts, "net.ipv4.tcp_max_orphans", &to) {
                gains.push(format!("room for {} orphans instead of {}", count(to), count(limit)));
                risks.push(match affordable {
                    Some((_, each)) => format!(
                        "that many take {} of TCP's memory at the {} each has now",
                        bytes(each.saturating_mul(to)),
                        bytes(each)
                    ),
                    None => "what each of them takes could not be measured".to_owned(),
                });
            }
        }
    }
    look.action = if probing {
        "in the server: set TCP_USER_TIMEOUT (say 10 s), or read and write with a deadline and \
         close with SO_LINGER 0 when it passes"
    } else {
        "in the server: keep connections open (keep-alive), or let the client close first"
    }
    .to_owned();
    look.gain = gains.join("; ");
    look.risk = risks.join("; ");
}

/// How long an orphan lives whose peer is silent: each of the retries waits twice as long as the
/// one before.
fn life(retries: u64) -> f64 {
    RTO_S * (2_f64.powi(i32::try_from(retries.min(20)).unwrap_or(20) + 1) - 1.0)
}

/// How long an orphan lives whose peer answers with a closed window: until the wait between
/// probes, doubled each time, has reached the longest (`tcp_probe_timer`), and once that.
fn closed_life(longest_ms: u64) -> f64 {
    let longest = longest_ms.min(1 << 40) as f64 / 1000.0;
    let (mut wait, mut life) = (RTO_S, 0.0);
    while wait < longest {
        life += wait;
        wait *= 2.0;
    }
    life + longest
}

/// How many orphans there can be before `tcp_mem` is used up, and what each takes now.
fn affordable(facts: &Facts) -> Option<(u64, u64)> {
    let orphans = &facts.sockets.as_ref().ok()?.orphans;
    let gauges = facts.gauges.as_ref().ok()?;
    let each = orphans.bytes.checked_div(orphans.count)?.max(1);
    let high = gauges.limits.tcp_mem?.high;
    let free = high.bytes(facts.page()).0.saturating_sub(gauges.sockets.mem?.bytes(facts.page()).0);
    Some((orphans.count.saturating_add(free / each), each))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives_are_those_of_the_kernels_comment() {
        // Eight retries: "about 100 seconds".
        assert!((life(8) - 102.2).abs() < 0.1);
        assert!((life(3) - 3.0).abs() < 0.1);
    }

    #[test]
    fn lives_behind_a_closed_window_are_those_measured() {
        // 3 s and 12 s on 6.18, looked at every 1.5 s.
        assert!((closed_life(1_000) - 2.4).abs() < 0.1);
        assert!((closed_life(5_000) - 11.2).abs() < 0.1);
        assert!(closed_life(u64::MAX).is_finite());
        assert!(closed_life(0) < 0.1);
    }
}
