//! Anomalies: things that happened and matter, told from one sample to the next.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::snapshot::{Anomaly, Lost, MemState, Severity};
use crate::format::{change, count, duration};
use crate::time::Wall;

/// Anomalies kept.
const KEPT: usize = 64;
/// No text of an anomaly is as long.
const LONGEST_TEXT: usize = 1024;
/// A repeated anomaly within this time is the same one, with a larger number.
const SAME_WITHIN_NS: i64 = 10_000_000_000;

/// All kinds there are.
const KINDS: [&str; 6] =
    [ORPHAN_KILL, ORPHAN_GROWTH, TCP_MEM, LISTEN_OVERFLOW, TIME_WAIT_OVERFLOW, LOST];
const ORPHAN_KILL: &str = "orphan-kill";
const ORPHAN_GROWTH: &str = "orphan-growth";
const TCP_MEM: &str = "tcp_mem";
const LISTEN_OVERFLOW: &str = "listen-overflow";
const TIME_WAIT_OVERFLOW: &str = "time-wait-overflow";
const LOST: &str = "lost";

/// What is compared from sample to sample.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Watched {
    pub(super) killed: u64,
    pub(super) orphans: u64,
    pub(super) orphan_limit: u64,
    pub(super) limit_in_s: Option<f64>,
    pub(super) growth_per_s: f64,
    pub(super) memory: MemState,
    pub(super) pages: u64,
    pub(super) pressures: u64,
    pub(super) listen_overflows: u64,
    pub(super) time_wait_overflow: u64,
    pub(super) lost: Lost,
}

/// The log.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    entries: VecDeque<Anomaly>,
    last: Option<Watched>,
    /// Anomalies that may go on: kind, last time, the count before it began.
    begins: Vec<(&'static str, Wall, u64)>,
    /// Whether a growth towards the limit has been told and has not ended.
    growing: bool,
}

/// [`Log`] in a checkpoint.
#[derive(Serialize, Deserialize)]
pub(super) struct SavedLog {
    entries: Vec<SavedAnomaly>,
    last: Option<Watched>,
    begins: Vec<(String, i64, u64)>,
    growing: bool,
}

#[derive(Serialize, Deserialize)]
struct SavedAnomaly {
    time: i64,
    severity: Severity,
    kind: String,
    port: Option<u16>,
    text: String,
}

fn known(kind: &str) -> Option<&'static str> {
    KINDS.into_iter().find(|known| *known == kind)
}

impl Log {
    pub(super) fn save(&self) -> SavedLog {
        let anomaly = |anomaly: &Anomaly| SavedAnomaly {
            time: anomaly.time.0,
            severity: anomaly.severity,
            kind: anomaly.kind.to_owned(),
            port: anomaly.port,
            text: anomaly.text.clone(),
        };
        let begins = self.begins.iter();
        SavedLog {
            entries: self.entries.iter().map(anomaly).collect(),
            last: self.last,
            begins: begins.map(|(kind, at, count)| ((*kind).to_owned(), at.0, *count)).collect(),
            growing: self.growing,
        }
    }

    /// `None` for a kind that this build does not have, and for more than is ever saved.
    pub(super) fn restore(saved: SavedLog) -> Option<Self> {
        let is_long = saved.entries.iter().any(|entry| entry.text.len() > LONGEST_TEXT);
        if is_long || saved.entries.len() > KEPT || saved.begins.len() > KINDS.len() {
            return None;
        }
        let anomaly = |saved: SavedAnomaly| {
            let SavedAnomaly { time, severity, kind, port, text } = saved;
            Some(Anomaly { time: Wall(time), severity, kind: known(&kind)?, port, text })
        };
        let begin = |(kind, at, count): (String, i64, u64)| Some((known(&kind)?, Wall(at), count));
        Some(Self {
            entries: saved.entries.into_iter().map(anomaly).collect::<Option<_>>()?,
            last: saved.last,
            begins: saved.begins.into_iter().map(begin).collect::<Option<_>>()?,
            growing: saved.growing,
        })
    }

    pub(super) fn entries(&self) -> Vec<Anomaly> {
        self.entries.iter().cloned().collect()
    }

    /// Whether orphans were killed within `ns` before `now`.
    pub(super) fn killed_within(&self, now: Wall, ns: i64) -> bool {
        self.newest(ORPHAN_KILL, now, ns).is_some()
    }

    /// What full accept queues cost within `ns` before `now`, in words.
    pub(super) fn overflows_within(&self, now: Wall, ns: i64) -> Option<&str> {
        self.newest(LISTEN_OVERFLOW, now, ns).map(|anomaly| anomaly.text.as_str())
    }

    /// The newest anomaly of this kind that began or went on within `ns` before `now`.
    fn newest(&self, kind: &str, now: Wall, ns: i64) -> Option<&Anomaly> {
        let went_on = self.begins.iter().filter(|(known, ..)| *known == kind);
        let went_on = went_on.map(|(_, until, _)| until.0).max();
        let anomaly = self.entries.iter().rev().find(|anomaly| anomaly.kind == kind)?;
        let last = went_on.map_or(anomaly.time.0, |until| until.max(anomaly.time.0));
        (now.0.saturating_sub(last) < ns).then_some(anomaly)
    }

    /// Compares with the sample before. `near`: how near the limit of orphans is; `port`: the
    /// service with most orphans, if one.
    pub(super) fn watch(&mut self, time: Wall, now: Watched, near: Severity, port: Option<u16>) {
        let Some(last) = self.last.replace(now) else {
            return;
        };
        if now.killed > last.killed {
            self.tell(
                time,
                Severity::Crit,
                ORPHAN_KILL,
                port,
                |since| {
                    format!(
                        "kernel killed {} (orphans {} of {})",
                        count(now.killed.saturating_sub(since.unwrap_or(last.killed))),
                        count(now.orphans),
                        count(now.orphan_limit)
                    )
                },
                last.killed,
            );
        }
        self.growth(time, &now, near, port);
        if now.memory != last.memory {
            let (severity, text) = match now.memory {
                MemState::Exhausted => (Severity::Crit, "above high: allocations are refused"),
                MemState::Pressure => (Severity::Crit, "pressure begins"),
                MemState::Rising | MemState::Ok if last.memory >= MemState::Pressure => {
                    (Severity::Note, "pressure ends")
                }
                MemState::Rising | MemState::Ok => (Severity::Ok, ""),
            };
            if severity > Severity::Ok {
                let text = format!("{text} at {} pages", count(now.pages));
                self.push(Anomaly { time, severity, kind: TCP_MEM, port: None, text });
            }
        } else if now.pressures > last.pressures && now.memory < MemState::Pressure {
            let text = "pressure began and ended between two samples".to_owned();
            let severity = Severity::Warn;
            self.push(Anomaly { time, severity, kind: TCP_MEM, port: None, text });
        }
        if now.listen_overflows > last.listen_overflows {
            self.tell(
                time,
                Severity::Warn,
                LISTEN_OVERFLOW,
                None,
                |since| {
                    let since = since.unwrap_or(last.listen_overflows);
                    let number = now.listen_overflows.saturating_sub(since);
                    format!("accept queue full: {} handshakes dropped", count(number))
                },
                last.listen_overflows,
            );
        }
        if now.time_wait_overflow > last.time_wait_overflow {
            self.tell(
                time,
                Severity::Note,
                TIME_WAIT_OVERFLOW,
                None,
                |since| {
                    let since = since.unwrap_or(last.time_wait_overflow);
                    let number = now.time_wait_overflow.saturating_sub(since);
                    format!("table full: {} closed without TIME-WAIT", count(number))
                },
                last.time_wait_overflow,
            );
        }
        if now.lost.untracked > last.lost.untracked || now.lost.missed > last.lost.missed {
            self.tell(
                time,
                Severity::Warn,
                LOST,
                None,
                |_| {
                    format!(
                        "numbers may be off: {} sockets untracked, {} runs missed",
                        count(now.lost.untracked),
                        count(now.lost.missed)
                    )
                },
                0,
            );
        }
    }

    fn growth(&mut self, time: Wall, now: &Watched, near: Severity, port: Option<u16>) {
        match now.limit_in_s {
            Some(left) if near == Severity::Crit && !self.growing => {
                self.growing = true;
                let growth = change(now.growth_per_s);
                let text = format!("{growth}/s: limit reached in {}", duration(left));
                self.push(Anomaly { time, severity: near, kind: ORPHAN_GROWTH, port, text });
            }
            None => self.growing = false,
            Some(_) => {}
        }
    }

    /// Tells an anomaly that counts; one of the same kind just before is told again with the
    /// larger number. `begin` is the count before it, which the text is given back.
    fn tell(
        &mut self,
        time: Wall,
        severity: Severity,
        kind: &'static str,
        port: Option<u16>,
        text: impl Fn(Option<u64>) -> String,
        begin: u64,
    ) {
        let recent = self.begins.iter().position(|(known, until, _)| {
            *known == kind && time.0.saturating_sub(until.0) < SAME_WITHIN_NS
        });
        if let Some(index) = recent {
            let since = self.begins[index].2;
            self.begins[index].1 = time;
            if let Some(anomaly) = self.entries.iter_mut().rev().find(|a| a.kind == kind) {
                anomaly.text = text(Some(since));
                return;
            }
        }
        self.begins.retain(|(known, ..)| *known != kind);
        self.begins.push((kind, time, begin));
        self.push(Anomaly { time, severity, kind, port, text: text(None) });
    }

    fn push(&mut self, anomaly: Anomaly) {
        if self.entries.len() == KEPT {
            self.entries.pop_front();
        }
        self.entries.push_back(anomaly);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Wall {
        Wall(second * 1_000_000_000)
    }

    #[test]
    fn a_burst_of_kills_is_one_anomaly_with_the_whole_number() {
        let mut log = Log::default();
        for (second, killed) in [(0, 5), (1, 5), (2, 9), (3, 15), (30, 16)] {
            log.watch(
                at(second),
                Watched { killed, ..Watched::default() },
                Severity::Ok,
                Some(9981),
            );
        }
        let told: Vec<_> = log.entries().into_iter().map(|a| (a.time, a.text)).collect();
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!(told[0].0, at(2));
        assert!(told[0].1.starts_with("kernel killed 10 "), "{told:?}");
        assert!(told[1].1.starts_with("kernel killed 1 "), "{told:?}");
        assert!(log.killed_within(at(31), 30_000_000_000));
        assert!(!log.killed_within(at(90), 30_000_000_000));
    }

    #[test]
    fn pressure_is_told_when_it_begins_and_ends() {
        let mut log = Log::default();
        let states = [MemState::Ok, MemState::Rising, MemState::Pressure, MemState::Ok];
        for (second, memory) in states.into_iter().enumerate() {
            log.watch(
                at(second as i64),
                Watched { memory, ..Watched::default() },
                Severity::Ok,
                None,
            );
        }
        let texts: Vec<_> = log.entries().into_iter().map(|a| a.text).collect();
        assert_eq!(texts, ["pressure begins at 0 pages", "pressure ends at 0 pages"]);
    }

    #[test]
    fn the_log_is_bounded() {
        let mut log = Log::default();
        for second in 0..1000 {
            let memory = if second % 2 == 0 { MemState::Ok } else { MemState::Pressure };
            log.watch(at(second), Watched { memory, ..Watched::default() }, Severity::Ok, None);
        }
        assert_eq!(log.entries().len(), KEPT);
    }
}
