//! The first line: the worst finding's sentence; where nothing is wrong, the two numbers that matter.

use super::snapshot::{Orphans, Severity, TcpMem, Verdict};
use crate::diagnose::Finding;
use crate::format::{count, of_limit, percent};

/// The verdict.
#[must_use]
pub fn verdict(findings: &[Finding], orphans: &Orphans, memory: &TcpMem) -> Verdict {
    match findings.first() {
        Some(worst) => Verdict { severity: worst.severity, text: worst.text.clone() },
        None => Verdict { severity: Severity::Ok, text: calm(orphans, memory) },
    }
}

fn calm(orphans: &Orphans, memory: &TcpMem) -> String {
    let steady = if orphans.growth_per_s == Some(0.0) { ", steady" } else { "" };
    let used = match memory.high {
        Some(high) => format!("{} ({} of high)", memory.state.name(), percent(memory.pages, high)),
        None => format!("{} pages, limit unknown", count(memory.pages)),
    };
    format!("orphans {}{steady}; tcp_mem {used}", of_limit(orphans.host, orphans.limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_and_absent_growth_is_steady() {
        let text = |growth_per_s| {
            let orphans =
                Orphans { host: 12, limit: Some(131_072), growth_per_s, ..Orphans::default() };
            verdict(&[], &orphans, &TcpMem { high: Some(100), ..TcpMem::default() }).text
        };
        for growing in [Some(20.0), Some(-60.0), None] {
            assert_eq!(text(growing), "orphans 12 of 131,072 (<1%); tcp_mem ok (0% of high)");
        }
        let steady = "orphans 12 of 131,072 (<1%), steady; tcp_mem ok (0% of high)";
        assert_eq!(text(Some(0.0)), steady);
    }
}
