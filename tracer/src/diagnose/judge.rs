//! The judge: conclusions that go on from moment to moment.
//!
//! It takes the inputs of a run, live or from a trace, and at each tick what was counted, and says what
//! is wrong: the same findings for the same inputs. Between ticks it keeps when each finding began,
//! what happened (the anomalies), which settings changed, and whom the kernel killed lately; all of
//! that is in a checkpoint ([`Judge::save`]). The half minute of facts it looks at is not: whoever
//! begins in the middle of a trace shows it that again ([`Judge::remember`]).

mod log;
mod onset;
mod saved;

use std::collections::VecDeque;

use self::log::Log;
use self::onset::Onsets;
pub use self::saved::SavedJudge;
use super::counted::{Counted, Killed, Kills};
use super::drift;
use super::finding::{Anomaly, Finding};
use super::report::{About, Assessment, Report, report};
use super::setting_changed::Change;
use super::watch::{WINDOW_S, Watch};
use crate::event::{Direction, Input, Owner};
use crate::facts::Facts;
use crate::facts::observer::Observer;
use crate::filter::Filter;
use crate::time::{Monotonic, Wall};

/// Changes of settings that are remembered.
const MOST_CHANGES: usize = 64;
/// Services of which kills are remembered, times moments.
const MOST_KILLS: usize = 4096;

/// See the module.
#[derive(Clone, Debug)]
pub struct Judge {
    observer: Observer,
    filter: Filter,
    watch: Option<Watch>,
    time: Wall,
    findings: Vec<Finding>,
    onsets: Onsets,
    log: Log,
    changes: VecDeque<Change>,
    kills: VecDeque<KilledAt>,
    /// Since when our count of orphans is off the kernel's, and whether it is less.
    drifts: Option<(Monotonic, bool)>,
    /// The kernel's count of those killed at the first tick, and those that hooks counted since.
    killed: (Option<u64>, u64),
    /// What was lost, and when it last became more.
    lost: (u64, Option<Monotonic>),
}

/// Orphans of a service that were killed in an interval.
#[derive(Clone, Debug, PartialEq)]
struct KilledAt {
    at: Monotonic,
    port: u16,
    direction: Direction,
    owner: Option<Owner>,
    killed: Killed,
}

impl Judge {
    /// Nothing observed yet. `filter`: see [`Watch::about`].
    #[must_use]
    pub fn new(observer: Observer, filter: Filter) -> Self {
        Self {
            observer,
            filter,
            watch: None,
            time: Wall::default(),
            findings: Vec::new(),
            onsets: Onsets::default(),
            log: Log::default(),
            changes: VecDeque::new(),
            kills: VecDeque::new(),
            drifts: None,
            killed: (None, 0),
            lost: (0, None),
        }
    }

    /// Takes an input in.
    pub fn take(&mut self, input: &Input) {
        self.observer.take(input);
    }

    /// Of what was known at a moment before the next tick: it is looked back upon, nothing is concluded
    /// from it again.
    pub fn remember(&mut self, facts: Facts) {
        push(&mut self.watch, facts, &self.filter);
    }

    /// Goes on with an observer that has seen all inputs so far.
    pub fn resume(&mut self, observer: Observer) {
        self.observer = observer;
    }

    /// An interval ends: what is wrong now.
    pub fn tick(&mut self, at: Monotonic, time: Wall, mut counted: Counted) {
        let facts = self.observer.tick(at);
        if let Some(watch) = &self.watch {
            changes(watch.last(), &facts, time, &mut self.changes);
        }
        self.kill(at, &counted);
        self.drift(at, &counted);
        let lost = counted.lost.untracked.saturating_add(counted.lost.missed);
        if lost > self.lost.0 {
            self.lost.1 = Some(at);
        }
        self.lost.0 = lost;

        let recent = |since: Option<Monotonic>| {
            since.is_some_and(|since| at.seconds_since(since) <= WINDOW_S)
        };
        let (mut kills, loses) = (self.kills(at), recent(self.lost.1));
        let by_kernel = facts.gauges.as_ref().ok();
        let by_kernel = by_kernel.and_then(|it| it.tcp_ext.get("TCPAbortOnMemory").copied());
        let base = self.killed.0.or(by_kernel);
        self.killed.0 = base;
        kills.total = base.unwrap_or(0).saturating_add(self.killed.1);
        let watch = push(&mut self.watch, facts, &self.filter);
        watch.workloads = std::mem::take(&mut counted.workloads);
        watch.counted = Some(counted);
        watch.kills = kills;
        watch.loses = loses;
        watch.drifts_for_s = self.drifts.map(|(since, _)| at.seconds_since(since));
        watch.changes = self.changes.iter().cloned().collect();

        let assessment = Assessment::of(watch);
        let mut findings = assessment.findings(watch, time);
        for finding in &mut findings {
            finding.since = self.onsets.since(finding, time);
        }
        self.log.tick(time, &assessment, &findings, &mut self.onsets);
        self.log.memory(time, watch.last());
        self.findings = findings;
        self.time = time;
    }

    /// What was known at the last tick; `None` before the first.
    #[must_use]
    pub fn facts(&self) -> Option<&Facts> {
        self.watch.as_ref().map(Watch::last)
    }

    /// What is wrong at the last tick, worst first.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// What happened so far, newest last; bounded.
    #[must_use]
    pub fn anomalies(&self) -> Vec<Anomaly> {
        self.log.entries()
    }

    /// The doctor's report at the last tick; `None` before the first.
    #[must_use]
    pub fn report(&self, host: &str) -> Option<Report> {
        let watch = self.watch.as_ref().filter(|watch| watch.counted.is_some())?;
        let about = About { time: self.time, host: host.to_owned() };
        Some(report(watch, Assessment::of(watch), self.findings.clone(), about))
    }

    /// Remembers whom the kernel killed since the last tick.
    fn kill(&mut self, at: Monotonic, counted: &Counted) {
        for service in counted.services.iter().filter(|it| it.killed.all > 0) {
            self.killed.1 = self.killed.1.saturating_add(service.killed.all);
            if self.kills.len() == MOST_KILLS {
                self.kills.pop_front();
            }
            self.kills.push_back(KilledAt {
                at,
                port: service.port,
                direction: service.direction,
                owner: service.owner.clone(),
                killed: service.killed,
            });
        }
        self.kills.retain(|it| at.seconds_since(it.at) <= WINDOW_S);
    }

    fn kills(&self, now: Monotonic) -> Kills {
        let mut kills = Kills::default();
        for it in &self.kills {
            let entry = kills.by.entry((it.port, it.direction)).or_default();
            entry.0 = entry.0.plus(it.killed);
            entry.1 = it.owner.clone().or_else(|| entry.1.take());
            kills.all = kills.all.plus(it.killed);
            kills.last_s = Some(now.seconds_since(it.at));
        }
        kills
    }

    /// Remembers since when our count has been off, always the same way.
    fn drift(&mut self, at: Monotonic, counted: &Counted) {
        let watch = self.watch.as_ref();
        let orphans = watch.and_then(|it| it.last().gauges.as_ref().ok()?.sockets.orphan);
        // Under load the two are read at different moments of a number that changes all the time.
        let least = drift::LEAST.max(orphans.unwrap_or(0) / 4);
        let is_less = counted.drift < 0;
        self.drifts = match self.drifts {
            _ if counted.drift.unsigned_abs() <= least => None,
            Some((since, less)) if less == is_less => Some((since, less)),
            _ => Some((at, is_less)),
        };
    }
}

fn push<'a>(watch: &'a mut Option<Watch>, facts: Facts, filter: &Filter) -> &'a mut Watch {
    match watch {
        Some(watch) => {
            watch.push(facts);
            watch
        }
        None => watch.insert(Watch::new(Vec::new(), facts).about(filter.clone())),
    }
}

/// Settings that are not as at the moment before.
fn changes(before: &Facts, now: &Facts, time: Wall, changes: &mut VecDeque<Change>) {
    for (name, to) in &now.sysctls {
        let Some(from) = before.sysctls.get(name).filter(|from| *from != to) else { continue };
        if changes.len() == MOST_CHANGES {
            changes.pop_front();
        }
        let (name, from, to) = (name.clone(), from.clone(), to.clone());
        changes.push_back(Change { at: now.at, time, name, from, to });
    }
}

#[cfg(test)]
mod tests;
