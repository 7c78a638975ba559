//! What happened: findings that began, got worse or ended, and what the kernel did and counted.

use std::collections::VecDeque;

use super::onset::Onsets;
use crate::diagnose::finding::{Anomaly, Finding};
use crate::diagnose::look::Happened;
use crate::diagnose::report::Assessment;
use crate::diagnose::severity::Severity;
use crate::diagnose::{CHECKS, checks};
use crate::facts::Facts;
use crate::format::{change, count, duration};
use crate::time::Wall;

/// Anomalies kept.
pub(super) const KEPT: usize = 64;
/// No text of an anomaly is as long.
pub(super) const LONGEST_TEXT: usize = 4096;
/// What happens again within this time is the same, with a larger number.
const SAME_WITHIN_NS: i64 = 10_000_000_000;

/// All kinds there are, beside the ids of checks.
const KINDS: [&str; 6] =
    ["orphan-kill", "orphan-growth", "tcp_mem", "listen-overflow", "time-wait-overflow", "lost"];

/// A kind by its name.
pub(super) fn known(kind: &str) -> Option<&'static str> {
    let ids = CHECKS.iter().chain(&checks::OTHERS).map(|check| check.id());
    KINDS.into_iter().chain(ids).find(|known| *known == kind)
}

/// The log.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    pub(super) entries: VecDeque<Anomaly>,
    /// What happens and may go on.
    pub(super) bursts: Vec<Burst>,
    /// Counts as they stood at the last tick, by kind.
    pub(super) counts: Vec<(&'static str, u64)>,
    /// Whether the kernel was under memory pressure at the last tick.
    pub(super) pressure: Option<bool>,
    /// How often pressure had begun by then.
    pub(super) pressures: Option<u64>,
}

/// Something that happens again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Burst {
    pub(super) kind: &'static str,
    /// When it last did.
    pub(super) until: Wall,
    /// The count before it began.
    pub(super) before: u64,
}

impl Log {
    pub(super) fn entries(&self) -> Vec<Anomaly> {
        self.entries.iter().cloned().collect()
    }

    /// Compares with what was known before.
    pub(super) fn tick(
        &mut self,
        time: Wall,
        assessment: &Assessment,
        findings: &[Finding],
        onsets: &mut Onsets,
    ) {
        for finding in findings {
            let happened = assessment
                .looks()
                .find(|(check, look)| check.id() == finding.check && look.netns == finding.netns)
                .and_then(|(_, look)| look.happened.as_ref());
            let is_told = happened.is_some_and(|it| self.happened(time, finding, it));
            let Some(onset) = onsets.get_mut(finding) else { continue };
            if finding.severity > onset.marked {
                onset.marked = finding.severity;
                // What the kernel did says it already; pressure has marks of its own.
                if !is_told && happened.is_none() && finding.check != "tcp_mem" {
                    self.push(mark(time, finding));
                }
            }
        }
        for over in onsets.take_over(time) {
            // Pressure has marks of its own, and a setting that changed stays so.
            let has_none = ["tcp_mem", "setting_changed"].contains(&over.key.check);
            if over.marked < Severity::Warn || has_none {
                continue;
            }
            let lasted = (over.last.0.saturating_sub(over.since.0)) as f64 / 1e9;
            let of = if over.key.subject.is_empty() { "" } else { " of " };
            self.push(Anomaly {
                time,
                severity: Severity::Note,
                kind: over.key.check,
                port: None,
                text: format!(
                    "{}{of}{}: over after {}",
                    noun(over.key.check),
                    over.key.subject,
                    duration(lasted)
                ),
            });
        }
    }

    /// The kernel's memory pressure: its begin and its end.
    pub(super) fn memory(&mut self, time: Wall, facts: &Facts) {
        let Ok(gauges) = &facts.gauges else { return };
        let pages = gauges.sockets.mem.map_or(0, |pages| pages.0);
        let pressure = gauges.memory.pressure;
        let pressures = gauges.tcp_ext.get("TCPMemoryPressures").copied();
        let (before, began) = (self.pressure, self.pressures);
        (self.pressure, self.pressures) = (pressure.or(before), pressures.or(began));
        let (severity, text) = match (before, pressure) {
            (Some(false), Some(true)) => {
                (Severity::Warn, format!("pressure begins at {} pages", count(pages)))
            }
            (Some(true), Some(false)) => {
                (Severity::Note, format!("pressure ends at {} pages", count(pages)))
            }
            (_, Some(false)) if began.zip(pressures).is_some_and(|(then, now)| now > then) => {
                (Severity::Warn, "pressure began and ended between two samples".to_owned())
            }
            _ => return,
        };
        self.push(Anomaly { time, severity, kind: "tcp_mem", port: None, text });
    }

    /// What the kernel counts: an anomaly of the same kind just before gets the larger number. Whether
    /// there is an anomaly of it.
    fn happened(&mut self, time: Wall, finding: &Finding, now: &Happened) -> bool {
        let before = self.counts.iter_mut().find(|(kind, _)| *kind == now.kind);
        let former = match before {
            Some((_, count)) => std::mem::replace(count, now.total),
            None => {
                self.counts.push((now.kind, now.total));
                now.total.saturating_sub(now.lately)
            }
        };
        let burst = self.bursts.iter().position(|burst| {
            burst.kind == now.kind && time.0.saturating_sub(burst.until.0) < SAME_WITHIN_NS
        });
        if now.total <= former {
            return burst.is_some();
        }
        let text = |since: u64| {
            let (before, behind) = &now.text;
            format!("{before}{}{behind}", count(now.total.saturating_sub(since)))
        };
        if let Some(burst) = burst.and_then(|at| self.bursts.get_mut(at)) {
            burst.until = time;
            let since = burst.before;
            if let Some(anomaly) = self.entries.iter_mut().rev().find(|it| it.kind == now.kind) {
                anomaly.text = text(since);
                anomaly.port = finding.port.or(anomaly.port);
                anomaly.severity = anomaly.severity.max(finding.severity);
                return true;
            }
        }
        self.bursts.retain(|burst| burst.kind != now.kind);
        self.bursts.push(Burst { kind: now.kind, until: time, before: former });
        let (severity, port) = (finding.severity, finding.port);
        self.push(Anomaly { time, severity, kind: now.kind, port, text: text(former) });
        true
    }

    fn push(&mut self, anomaly: Anomaly) {
        if self.entries.len() == KEPT {
            self.entries.pop_front();
        }
        self.entries.push_back(anomaly);
    }
}

/// A finding that begins or gets worse.
fn mark(time: Wall, finding: &Finding) -> Anomaly {
    let (kind, text) = match (finding.check, finding.limit_in_s, finding.growth_per_s) {
        ("orphans", Some(left), Some(growth)) if left > 0.0 => {
            ("orphan-growth", format!("{}/s: limit reached in {}", change(growth), duration(left)))
        }
        ("orphans", ..) => ("orphan-growth", finding.text.clone()),
        (check, ..) => (check, finding.text.clone()),
    };
    Anomaly { time, severity: finding.severity, kind, port: finding.port, text }
}

fn noun(id: &str) -> &'static str {
    let all = CHECKS.iter().chain(&checks::OTHERS);
    all.map(|check| (check.id(), check.noun())).find(|(it, _)| *it == id).map_or("", |it| it.1)
}
