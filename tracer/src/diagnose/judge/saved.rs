//! The judge's state in a checkpoint.

use serde::{Deserialize, Serialize};

use super::log::{Burst, KEPT, LONGEST_TEXT, known};
use super::onset::{Key, MOST, Onset};
use super::{Judge, KilledAt, MOST_CHANGES, MOST_KILLS};
use crate::diagnose::counted::Killed;
use crate::diagnose::finding::{Anomaly, Scope};
use crate::diagnose::setting_changed::Change;
use crate::diagnose::severity::Severity;
use crate::event::{Direction, Owner};
use crate::time::{Monotonic, Wall};

/// Longest name or value of a setting, or name of a subject, that is taken.
const LONGEST_NAME: usize = 4096;

/// What [`Judge::save`] gives.
#[derive(Serialize, Deserialize)]
pub struct SavedJudge {
    anomalies: Vec<(i64, Severity, String, Option<u16>, String)>,
    bursts: Vec<(String, i64, u64)>,
    counts: Vec<(String, u64)>,
    pressure: Option<bool>,
    pressures: Option<u64>,
    onsets: Vec<(String, u8, String, i64, i64, Severity)>,
    changes: Vec<(u64, i64, String, String, String)>,
    kills: Vec<SavedKill>,
    drifts: Option<(u64, bool)>,
    killed: (Option<u64>, u64),
    lost: (u64, Option<u64>),
}

#[derive(Serialize, Deserialize)]
struct SavedKill {
    at: u64,
    port: u16,
    accepted: bool,
    owner: Option<(u32, String)>,
    killed: (u64, u64, u64),
}

/// Scopes by their place.
const SCOPES: [Scope; 6] =
    [Scope::Host, Scope::Netns, Scope::Process, Scope::Cgroup, Scope::Service, Scope::Listener];

impl Judge {
    /// The state right after a tick, but for the facts that it looks back upon.
    #[must_use]
    pub fn save(&self) -> SavedJudge {
        let log = &self.log;
        SavedJudge {
            anomalies: log
                .entries
                .iter()
                .map(|it| (it.time.0, it.severity, it.kind.to_owned(), it.port, it.text.clone()))
                .collect(),
            bursts: log
                .bursts
                .iter()
                .map(|it| (it.kind.to_owned(), it.until.0, it.before))
                .collect(),
            counts: log.counts.iter().map(|(kind, count)| ((*kind).to_owned(), *count)).collect(),
            pressure: log.pressure,
            pressures: log.pressures,
            onsets: self
                .onsets
                .0
                .iter()
                .map(|it| {
                    let scope = SCOPES.iter().position(|scope| *scope == it.key.scope);
                    (
                        it.key.check.to_owned(),
                        scope.and_then(|at| u8::try_from(at).ok()).unwrap_or(0),
                        it.key.subject.clone(),
                        it.since.0,
                        it.last.0,
                        it.marked,
                    )
                })
                .collect(),
            changes: self
                .changes
                .iter()
                .map(|it| (it.at.0, it.time.0, it.name.clone(), it.from.clone(), it.to.clone()))
                .collect(),
            kills: self
                .kills
                .iter()
                .map(|it| SavedKill {
                    at: it.at.0,
                    port: it.port,
                    accepted: it.direction == Direction::In,
                    owner: it.owner.as_ref().map(|owner| (owner.pid, owner.comm.clone())),
                    killed: (it.killed.all, it.killed.for_memory, it.killed.for_number),
                })
                .collect(),
            drifts: self.drifts.map(|(since, less)| (since.0, less)),
            killed: self.killed,
            lost: (self.lost.0, self.lost.1.map(|at| at.0)),
        }
    }

    /// Goes on after the tick at which that was saved; `None` for what is never saved.
    #[must_use]
    pub fn restored(mut self, saved: SavedJudge) -> Option<Self> {
        let short = |text: &String| text.len() <= LONGEST_NAME;
        let fits = saved.anomalies.len() <= KEPT
            && saved.anomalies.iter().all(|it| it.4.len() <= LONGEST_TEXT)
            && saved.onsets.len() <= MOST
            && saved.onsets.iter().all(|it| short(&it.2))
            && saved.changes.len() <= MOST_CHANGES
            && saved.changes.iter().all(|it| short(&it.2) && short(&it.3) && short(&it.4))
            && saved.kills.len() <= MOST_KILLS
            && saved.kills.iter().all(|it| it.owner.as_ref().is_none_or(|(_, comm)| short(comm)))
            && saved.bursts.len().max(saved.counts.len()) <= KEPT;
        if !fits {
            return None;
        }
        let log = &mut self.log;
        for (time, severity, kind, port, text) in saved.anomalies {
            let (time, kind) = (Wall(time), known(&kind)?);
            log.entries.push_back(Anomaly { time, severity, kind, port, text });
        }
        for (kind, until, before) in saved.bursts {
            log.bursts.push(Burst { kind: known(&kind)?, until: Wall(until), before });
        }
        for (kind, count) in saved.counts {
            log.counts.push((known(&kind)?, count));
        }
        (log.pressure, log.pressures) = (saved.pressure, saved.pressures);
        for (check, scope, subject, since, last, marked) in saved.onsets {
            let (check, scope) = (known(&check)?, *SCOPES.get(usize::from(scope))?);
            let key = Key { check, scope, subject };
            self.onsets.0.push(Onset { key, since: Wall(since), last: Wall(last), marked });
        }
        let change = |(at, time, name, from, to)| Change {
            at: Monotonic(at),
            time: Wall(time),
            name,
            from,
            to,
        };
        self.changes = saved.changes.into_iter().map(change).collect();
        self.kills = saved
            .kills
            .into_iter()
            .map(|it| KilledAt {
                at: Monotonic(it.at),
                port: it.port,
                direction: if it.accepted { Direction::In } else { Direction::Out },
                owner: it.owner.map(|(pid, comm)| Owner { pid, comm }),
                killed: Killed {
                    all: it.killed.0,
                    for_memory: it.killed.1,
                    for_number: it.killed.2,
                },
            })
            .collect();
        self.drifts = saved.drifts.map(|(since, less)| (Monotonic(since), less));
        self.killed = saved.killed;
        self.lost = (saved.lost.0, saved.lost.1.map(Monotonic));
        Some(self)
    }
}
