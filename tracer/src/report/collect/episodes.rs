//! When something was wrong: stretches with a finding of warn or more, and the worst moment of all.

use std::cmp::Reverse;
use std::sync::Arc;

use super::seconds;
use crate::aggregate::snapshot::{Badness, Severity, Snapshot};
use crate::report::model::Episode;
use crate::time::Wall;

/// Episodes nearer to each other than this are one, seconds.
const SAME_WITHIN_S: f64 = 60.0;
/// Most episodes listed.
const MOST_EPISODES: usize = 24;

/// One episode while it is watched.
#[derive(Clone, Debug)]
struct Watched {
    /// The moment before it.
    before: Arc<Snapshot>,
    from: Wall,
    worst: (Badness, Arc<Snapshot>),
    last: Arc<Snapshot>,
    /// The first calm moment since [`Self::last`].
    calm: Option<Wall>,
    orphans: u64,
    /// What was wrong, each with its worst severity and the order in which it was met.
    why: Vec<(&'static str, Severity)>,
}

/// The episode with the worst moment, and all others in short.
#[derive(Debug)]
pub(super) struct Main {
    pub(super) listed: Vec<Episode>,
    /// Which of those it is; `None`: nothing was ever wrong.
    pub(super) index: Option<usize>,
    pub(super) more: u64,
    pub(super) before: Arc<Snapshot>,
    pub(super) worst: Arc<Snapshot>,
    pub(super) over: Arc<Snapshot>,
    /// The first calm moment after it.
    pub(super) calm: Option<Wall>,
}

/// Episodes so far.
#[derive(Debug, Default)]
pub(super) struct Episodes {
    current: Option<Watched>,
    listed: Vec<Episode>,
    more: u64,
    main: Option<(usize, Watched)>,
    /// The worst moment, in an episode or not.
    nearest: Option<(Badness, Arc<Snapshot>)>,
}

/// What is wrong at a moment: its findings that are worth an episode.
fn wrong(now: &Snapshot) -> impl Iterator<Item = (&'static str, Severity)> {
    let findings = now.findings.iter().filter(|it| it.severity >= Severity::Warn);
    findings.map(|finding| (finding.what, finding.severity))
}

impl Episodes {
    pub(super) fn moment(&mut self, now: &Arc<Snapshot>, before: Option<&Arc<Snapshot>>) {
        let before = before.unwrap_or(now);
        let score = now.badness();
        if self.nearest.as_ref().is_none_or(|(most, _)| score > *most) {
            self.nearest = Some((score, Arc::clone(now)));
        }
        let why: Vec<_> = wrong(now).collect();
        let wrong = !why.is_empty();
        let over = |watched: &Watched| seconds(watched.last.time, now.time) > SAME_WITHIN_S;
        if let Some(ended) = self.current.take_if(|watched| over(watched)) {
            self.list(ended);
        }
        match &mut self.current {
            Some(watched) if wrong => {
                if score > watched.worst.0 {
                    watched.worst = (score, Arc::clone(now));
                }
                watched.last = Arc::clone(now);
                watched.calm = None;
                watched.orphans = watched.orphans.max(now.orphans.host);
                for (what, severity) in why {
                    match watched.why.iter_mut().find(|(known, _)| *known == what) {
                        Some((_, worst)) => *worst = severity.max(*worst),
                        None => watched.why.push((what, severity)),
                    }
                }
            }
            Some(watched) => {
                watched.calm.get_or_insert(now.time);
            }
            None if wrong => {
                self.current = Some(Watched {
                    before: Arc::clone(before),
                    from: now.time,
                    worst: (score, Arc::clone(now)),
                    last: Arc::clone(now),
                    calm: None,
                    // The kernel may have killed what was there at the moment before.
                    orphans: now.orphans.host,
                    why,
                });
            }
            None => {}
        }
    }

    fn list(&mut self, watched: Watched) {
        let counted = |it: &Snapshot, name: &str| it.counters.get(name).copied().unwrap_or(0);
        let (before, last) = (&watched.before, &watched.last);
        let mut why = watched.why.clone();
        // Of two alike the one that came first.
        why.sort_by_key(|(_, severity)| Reverse(*severity));
        let episode = Episode {
            from: watched.from,
            to: last.time,
            seconds: seconds(watched.from, last.time),
            open: watched.calm.is_none(),
            orphans: watched.orphans,
            killed: last.orphans.killed.saturating_sub(before.orphans.killed),
            dropped: counted(last, "ListenDrops").saturating_sub(counted(before, "ListenDrops")),
            why: why.into_iter().map(|(what, _)| what).collect(),
        };
        let is_main = self.main.as_ref().is_none_or(|(_, main)| watched.worst.0 > main.worst.0);
        if self.listed.len() < MOST_EPISODES {
            self.listed.push(episode);
        } else {
            self.more += 1;
            if is_main && let Some(last) = self.listed.last_mut() {
                *last = episode;
            }
        }
        if is_main {
            self.main = Some((self.listed.len() - 1, watched));
        }
    }

    /// `first` and `last` moment of the range.
    pub(super) fn finish(mut self, first: &Arc<Snapshot>, last: &Arc<Snapshot>) -> Main {
        if let Some(current) = self.current.take() {
            self.list(current);
        }
        let (listed, more) = (self.listed, self.more);
        match self.main {
            Some((index, main)) => Main {
                listed,
                more,
                index: Some(index),
                before: main.before,
                worst: main.worst.1,
                over: main.last,
                calm: main.calm,
            },
            None => {
                let worst = self.nearest.map_or_else(|| Arc::clone(last), |(_, worst)| worst);
                Main {
                    listed,
                    more,
                    index: None,
                    before: Arc::clone(first),
                    over: Arc::clone(&worst),
                    worst,
                    calm: None,
                }
            }
        }
    }
}
