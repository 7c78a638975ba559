//! When something was wrong: episodes, and the worst moment of all.

use std::sync::Arc;

use super::seconds;
use crate::aggregate::snapshot::{MemState, Severity, Snapshot};
use crate::report::model::Episode;
use crate::time::Wall;

/// Episodes nearer to each other than this are one, seconds.
const SAME_WITHIN_S: f64 = 60.0;
/// Most episodes listed.
const MOST_EPISODES: usize = 24;

/// Words, and whether it is so at the second of two moments.
type Trouble = (&'static str, fn(&Snapshot, &Snapshot) -> bool);

/// Handshakes were dropped for it.
pub(super) const ACCEPT_QUEUE_FULL: &str = "accept queue full";

/// What can be wrong, the worst first.
const TROUBLES: [Trouble; 5] = [
    ("orphans killed", |before, now| now.orphans.killed > before.orphans.killed),
    ("TCP memory used up", |_, now| now.tcp_mem.state == MemState::Exhausted),
    (ACCEPT_QUEUE_FULL, |before, now| {
        let overflows = |it: &Snapshot| it.counters.get("ListenOverflows").copied().unwrap_or(0);
        overflows(now) > overflows(before)
    }),
    ("TCP memory pressure", |_, now| now.tcp_mem.state == MemState::Pressure),
    ("orphan limit near", |_, now| now.orphans.severity() >= Severity::Warn),
];

/// One episode while it is watched.
#[derive(Clone, Debug)]
struct Watched {
    /// The moment before it.
    before: Arc<Snapshot>,
    from: Wall,
    worst: (f64, Arc<Snapshot>),
    last: Arc<Snapshot>,
    /// The first calm moment since [`Self::last`].
    calm: Option<Wall>,
    orphans: u64,
    why: [bool; TROUBLES.len()],
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
    /// The moment nearest to a limit, in an episode or not.
    nearest: Option<(f64, Arc<Snapshot>)>,
}

/// How near to a limit; a little nearer where handshakes are dropped.
fn nearness(before: &Snapshot, now: &Snapshot) -> f64 {
    let share = |part: u64, whole: u64| if whole > 0 { part as f64 / whole as f64 } else { 0.0 };
    let drops = |it: &Snapshot| it.counters.get("ListenDrops").copied().unwrap_or(0);
    let dropped = drops(now).saturating_sub(drops(before)) as f64;
    // Without a limit that is known, more orphans are still worse than fewer.
    share(now.orphans.host, now.orphans.limit).max(share(now.tcp_mem.pages, now.tcp_mem.high))
        + (dropped + now.orphans.host as f64).min(1e6) * 1e-12
}

impl Episodes {
    pub(super) fn moment(&mut self, now: &Arc<Snapshot>, before: Option<&Arc<Snapshot>>) {
        let before = before.unwrap_or(now);
        let score = nearness(before, now);
        if self.nearest.as_ref().is_none_or(|(most, _)| score > *most) {
            self.nearest = Some((score, Arc::clone(now)));
        }
        let why = TROUBLES.map(|(_, is_so)| is_so(before, now));
        let wrong = why.contains(&true);
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
                for (all, here) in watched.why.iter_mut().zip(why) {
                    *all |= here;
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
        let why = TROUBLES.iter().zip(watched.why);
        let episode = Episode {
            from: watched.from,
            to: last.time,
            seconds: seconds(watched.from, last.time),
            open: watched.calm.is_none(),
            orphans: watched.orphans,
            killed: last.orphans.killed.saturating_sub(before.orphans.killed),
            dropped: counted(last, "ListenDrops").saturating_sub(counted(before, "ListenDrops")),
            why: why.filter(|(_, here)| *here).map(|((words, _), _)| *words).collect(),
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
