//! The timeline: what happened, in order, each with the command that shows it.

use std::cmp::Reverse;

use super::seconds;
use crate::aggregate::snapshot::{Anomaly, Severity, Snapshot, TcpMem};
use crate::format::{bytes, count, duration, growth, percent_of};
use crate::report::model::{Mark, Range, Timeline};
use crate::time::Wall;

/// Most marks in the report.
const MOST_MARKS: usize = 40;
/// Most anomalies and changes of limits kept while reading.
const MOST_KEPT: usize = 4096;

/// Marks so far.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// Those that the bounded log has forgotten, and its present entries.
    anomalies: Vec<Anomaly>,
    limits: Vec<(Wall, String)>,
    dropped: u64,
}

/// What marks the range itself.
pub(super) struct Around<'a> {
    pub(super) range: Range,
    pub(super) first: &'a Snapshot,
    pub(super) last: &'a Snapshot,
    pub(super) worst: &'a Snapshot,
    /// Whether anything was wrong.
    pub(super) incident: bool,
    pub(super) calm: Option<Wall>,
    pub(super) gaps: &'a [(Option<Wall>, String)],
    pub(super) ended: &'a str,
    pub(super) ended_cleanly: bool,
    pub(super) replay: &'a dyn Fn(Wall) -> String,
}

impl Marks {
    pub(super) fn moment(&mut self, now: &Snapshot, before: Option<&Snapshot>) {
        if let Some(first) = now.anomalies.first() {
            // The last entries may be told anew with a larger number; what is older stays.
            self.anomalies.retain(|anomaly| anomaly.time < first.time);
            self.anomalies.extend(now.anomalies.iter().cloned());
            if self.anomalies.len() > MOST_KEPT {
                let least = self.anomalies.iter().map(|anomaly| anomaly.severity).min();
                let at = self.anomalies.iter().position(|it| Some(it.severity) == least);
                self.anomalies.remove(at.unwrap_or(0));
                self.dropped += 1;
            }
        }
        let Some(before) = before else { return };
        let mut limit = |name: &str, from: Option<String>, to: Option<String>| {
            let (Some(from), Some(to)) = (from, to) else { return };
            if from != to && self.limits.len() < MOST_KEPT {
                self.limits.push((now.time, format!("{name} set from {from} to {to}")));
            }
        };
        let orphans = |it: &Snapshot| it.orphans.limit.map(count);
        limit("net.ipv4.tcp_max_orphans", orphans(before), orphans(now));
        let memory = |it: &Snapshot| {
            let TcpMem { low, pressure, high, .. } = it.tcp_mem;
            Some(format!("{} {} {}", low?, pressure?, high?))
        };
        limit("net.ipv4.tcp_mem", memory(before), memory(now));
    }

    pub(super) fn finish(self, around: &Around<'_>) -> Timeline {
        let range = around.range;
        let mut marks: Vec<Mark> = Vec::new();
        let mut mark = |time: Wall, severity, kind, port, text: String| {
            // A damaged place may lie before the first moment or behind the last.
            let time = time.min(range.to).max(range.from);
            marks.push(Mark {
                time,
                elapsed_s: seconds(range.from, time),
                severity,
                kind,
                port,
                text,
                replay: (around.replay)(time),
                number: 0,
            });
        };
        let begins = if range.whole { "the trace begins" } else { "this report begins" };
        let host = |it: &Snapshot| {
            let allowed = it.orphans.limit.map(|limit| format!(" of {} allowed", count(limit)));
            let orphans = count(it.orphans.host);
            format!("{orphans} orphans on the host{}", allowed.unwrap_or_default())
        };
        let start = format!("{begins}: {}", host(around.first));
        mark(range.from, Severity::Ok, "begin", None, start);
        // Changes of limits have marks of their own.
        let limits = self.limits.iter().map(|(_, text)| text.clone()).collect::<Vec<_>>();
        let is_limit = |anomaly: &Anomaly| {
            let name = anomaly.text.split(' ').next().unwrap_or_default();
            anomaly.kind == "setting_changed" && limits.iter().any(|it| it.starts_with(name))
        };
        let anomalies = self.anomalies.into_iter().filter(|it| it.time >= range.from);
        for anomaly in anomalies.filter(|it| !is_limit(it)) {
            let Anomaly { time, severity, kind, port, text } = anomaly;
            // The screen shows the kind beside it.
            let text = match kind {
                "tcp_mem" => format!("TCP memory: {text}"),
                "orphan-growth" => format!("orphans grow {text}"),
                "time-wait-overflow" => format!("TIME-WAIT: {text}"),
                _ => text,
            };
            mark(time, severity, kind, port, text);
        }
        for (time, text) in self.limits {
            mark(time, Severity::Note, "limit", None, text);
        }
        for (time, text) in around.gaps {
            mark(time.unwrap_or(range.from), Severity::Warn, "gap", None, text.clone());
        }
        let worst = around.worst;
        let (severity, text) = if around.incident {
            (worst.verdict.severity, format!("the worst moment: {}", worst.verdict.text))
        } else {
            (Severity::Ok, format!("nearest to a limit: {}", worst_words(worst)))
        };
        mark(worst.time, severity, "worst", None, text);
        if let Some(calm) = around.calm {
            let text = "calm again: no limit is near, the kernel refuses nothing".to_owned();
            mark(calm, Severity::Ok, "calm", None, text);
        }
        let (severity, end) =
            match (range.to == around.last.time && range.whole, around.ended_cleanly) {
                (true, true) => (Severity::Ok, "the trace ends".to_owned()),
                (true, false) => (Severity::Note, format!("the trace {}", around.ended)),
                (false, _) => (Severity::Ok, "this report ends".to_owned()),
            };
        mark(range.to, severity, "end", None, format!("{end}; {}", host(around.last)));

        let mut left_out = self.dropped;
        if marks.len() > MOST_MARKS {
            // The range's own marks always stay.
            let weight = |mark: &Mark| match mark.kind {
                "begin" | "worst" | "calm" | "end" => Reverse((1, mark.severity)),
                _ => Reverse((0, mark.severity)),
            };
            marks.sort_by_key(|mark| (weight(mark), mark.time));
            left_out += (marks.len() - MOST_MARKS) as u64;
            marks.truncate(MOST_MARKS);
        }
        let rank = |mark: &Mark| match mark.kind {
            "begin" => 0,
            "limit" => 1,
            "end" => 4,
            "calm" => 3,
            _ => 2,
        };
        marks.sort_by_key(|mark| (mark.time, rank(mark)));
        for (number, mark) in (1..).zip(&mut marks) {
            mark.number = number;
        }
        Timeline { marks, left_out }
    }
}

/// The worst moment in words.
fn worst_words(worst: &Snapshot) -> String {
    let orphans = &worst.orphans;
    let memory = &worst.tcp_mem;
    let mut text = super::super::words::orphans_of(orphans.host, orphans.limit);
    if orphans.bytes > 0 {
        text.push_str(&format!(", holding {}", bytes(orphans.bytes)));
    }
    text.push_str(&format!("; TCP memory {} of high", percent_of(memory.pages, memory.high)));
    if let Some(left) = orphans.limit_in_s.filter(|left| *left < 1800.0) {
        text.push_str(&format!(
            "; limit {} away at {}/s",
            duration(left),
            growth(orphans.growth_per_s)
        ));
    }
    text
}
