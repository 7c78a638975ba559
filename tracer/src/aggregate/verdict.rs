//! The one-sentence answer: how bad, how fast, how long.

use super::snapshot::{Orphans, Severity, TcpMem, Verdict};
use crate::format::{count, duration, growth, percent};

/// What a moment's numbers do not say.
#[derive(Clone, Copy, Debug)]
pub struct Lately<'a> {
    /// Whether the kernel killed orphans in the last half minute.
    pub killed: bool,
    /// Most orphans of the host in the last half minute: those that were killed are gone by now.
    pub most_orphans: u64,
    /// What full accept queues cost in the last half minute, in words.
    pub overflows: Option<&'a str>,
}

/// The verdict.
#[must_use]
pub fn verdict(orphans: &Orphans, memory: &TcpMem, lately: Lately<'_>) -> Verdict {
    // TCPAbortOnMemory counts both causes. With the limit out of reach, even at a quarter of it
    // (`tcp_out_of_resources`), it was memory.
    let for_memory = memory.pages >= memory.pressure
        && memory.pressure > 0
        && orphans.host.max(lately.most_orphans).saturating_mul(4) < orphans.limit;
    let mut memory_severity = memory.severity();
    let mut orphan_severity = orphans.severity();
    if lately.killed && for_memory {
        memory_severity = Severity::Crit;
    } else if lately.killed {
        orphan_severity = Severity::Crit;
    }
    let orphan_left = orphans.limit_in_s.unwrap_or(f64::INFINITY);
    let memory_left = memory.limit_in_s.unwrap_or(f64::INFINITY);
    // What is worse comes first; of two alike, what runs out first.
    let memory_first = memory_severity > orphan_severity
        || (memory_severity == orphan_severity
            && memory_severity > Severity::Ok
            && memory_left < orphan_left);
    let severity = memory_severity.max(orphan_severity);
    let text = if memory_first {
        format!("{}; {}", memory_text(memory), orphan_text(orphans, lately))
    } else {
        format!("{}; {}", orphan_text(orphans, lately), memory_text(memory))
    };
    match lately.overflows {
        // A server that turns clients away is not ok, whatever its orphans are.
        Some(overflows) if severity < Severity::Crit => {
            Verdict { severity: Severity::Warn, text: format!("{overflows}; {text}") }
        }
        Some(overflows) => Verdict { severity, text: format!("{text}; {overflows}") },
        None => Verdict { severity, text },
    }
}

fn orphan_text(orphans: &Orphans, lately: Lately<'_>) -> String {
    let mut text = format!(
        "orphans {} of {} ({})",
        count(orphans.host),
        count(orphans.limit),
        percent(orphans.host, orphans.limit)
    );
    let full = orphans.limit > 0 && orphans.host >= orphans.limit;
    match orphans.limit_in_s {
        _ if full => text.push_str(", limit reached"),
        Some(left) => text.push_str(&format!(
            " {}/s, limit reached in {}",
            growth(orphans.growth_per_s),
            duration(left)
        )),
        None if !lately.killed && orphans.growth_per_s == Some(0.0) => text.push_str(", steady"),
        None => {}
    }
    if lately.killed {
        // It may be over by now: the last half minute counts as recent.
        text.push_str(&format!(
            ", the kernel killed some lately: {} so far",
            count(orphans.killed)
        ));
    }
    text
}

fn memory_text(memory: &TcpMem) -> String {
    let mut text =
        format!("tcp_mem {} ({} of high)", memory.state.name(), percent(memory.pages, memory.high));
    if let Some(left) = memory.limit_in_s.filter(|_| memory.severity() > Severity::Ok) {
        text.push_str(&format!(", high reached in {}", duration(left)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::snapshot::MemState;

    const QUIET: Lately<'_> = Lately { killed: false, most_orphans: 0, overflows: None };
    const KILLED: Lately<'_> = Lately { killed: true, ..QUIET };

    fn orphans(host: u64, limit_in_s: Option<f64>) -> Orphans {
        let growth_per_s = Some(if limit_in_s.is_some() { 297.0 } else { 0.0 });
        let (limit, growth_seen_s) = (131_072, 30.0);
        Orphans { host, limit, limit_in_s, growth_per_s, growth_seen_s, ..Orphans::default() }
    }

    fn memory(state: MemState) -> TcpMem {
        TcpMem { pages: 512_340, high: 575_796, state, ..TcpMem::default() }
    }

    #[test]
    fn time_to_the_limit_decides() {
        let crit = verdict(&orphans(118_204, Some(43.3)), &memory(MemState::Pressure), QUIET);
        assert_eq!(crit.severity, Severity::Crit);
        assert_eq!(
            crit.text,
            "orphans 118,204 of 131,072 (90%) +297/s, limit reached in 43 s; \
             tcp_mem pressure (89% of high)"
        );
        let calm = verdict(&orphans(12, None), &TcpMem { high: 100, ..TcpMem::default() }, QUIET);
        assert_eq!(calm.severity, Severity::Ok);
        assert_eq!(calm.text, "orphans 12 of 131,072 (<1%), steady; tcp_mem ok (0% of high)");
    }

    #[test]
    fn only_known_and_absent_growth_is_steady() {
        let text = |growth_per_s| {
            let orphans = Orphans { growth_per_s, ..orphans(12, None) };
            verdict(&orphans, &TcpMem::default(), QUIET).text
        };
        for growing in [Some(20.0), Some(-60.0), None] {
            let text = text(growing);
            assert!(text.starts_with("orphans 12 of 131,072 (<1%); "), "{text}");
        }
        let text = text(Some(0.0));
        assert!(text.starts_with("orphans 12 of 131,072 (<1%), steady; "), "{text}");
    }

    #[test]
    fn nothing_is_ok_while_handshakes_are_dropped() {
        let lately =
            Lately { overflows: Some("accept queue full: 24 handshakes dropped"), ..QUIET };
        let told = verdict(&orphans(12, None), &TcpMem::default(), lately);
        assert_eq!(told.severity, Severity::Warn);
        assert!(told.text.starts_with("accept queue full: 24 handshakes dropped; orphans 12 "));
        let told = verdict(&orphans(118_204, Some(43.3)), &TcpMem::default(), lately);
        assert_eq!(told.severity, Severity::Crit);
        assert!(told.text.ends_with("; accept queue full: 24 handshakes dropped"), "{told:?}");
    }

    #[test]
    fn killing_is_critical_and_exhausted_memory_comes_first() {
        let text = |now, left| verdict(&orphans(now, left), &TcpMem::default(), KILLED).text;
        let killed = "the kernel killed some lately: 0 so far; tcp_mem";
        let told = text(64, None);
        assert!(told.starts_with(&format!("orphans 64 of 131,072 (<1%), {killed}")), "{told}");
        let told = text(131_075, Some(0.0));
        assert!(told.contains(&format!("(100%), limit reached, {killed}")), "{told}");
        assert_eq!(
            verdict(&orphans(64, None), &TcpMem::default(), KILLED).severity,
            Severity::Crit
        );
        let text = verdict(&orphans(64, None), &memory(MemState::Exhausted), QUIET).text;
        assert!(text.starts_with("tcp_mem exhausted"), "{text}");
    }

    #[test]
    fn killing_far_below_the_orphan_limit_is_for_memory() {
        let memory = TcpMem { pressure: 383_867, ..memory(MemState::Pressure) };
        let told = verdict(&orphans(500, None), &memory, KILLED);
        assert_eq!(told.severity, Severity::Crit);
        assert!(told.text.starts_with("tcp_mem pressure (89% of high); orphans"), "{told:?}");
        let told = verdict(&orphans(131_000, None), &memory, KILLED);
        assert!(told.text.starts_with("orphans"), "{told:?}");
        let gone = Lately { most_orphans: 131_000, ..KILLED };
        let told = verdict(&orphans(500, None), &memory, gone);
        assert!(told.text.starts_with("orphans 500 "), "those killed are gone: {told:?}");
    }
}
