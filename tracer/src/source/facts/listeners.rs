//! Who holds the listeners that somebody waits for, and what those processes do.

use rustc_hash::FxHashMap;

use super::super::processes::{self, Process};
use super::holders::Holders;
use crate::facts::Listener;
use crate::facts::causes::HolderState;
use crate::time::Monotonic;

/// Processes read in one sample, some 15 µs each.
const MOST_READ: usize = 256;

/// What the last walk through `/proc/PID/fd` found, and since when processes are stopped.
#[derive(Debug, Default)]
pub(super) struct ListenerHolders {
    /// Process ids by the listener's inode, ascending.
    by_inode: FxHashMap<u64, Vec<u32>>,
    /// When a process started, so that a process id in use again is no holder.
    started: FxHashMap<u32, u64>,
    /// Stopped and dead processes: how, and since when that is known.
    stopped: FxHashMap<u32, (char, Monotonic)>,
}

const fn is_stopped(state: char) -> bool {
    matches!(state, 'T' | 't' | 'Z' | 'X')
}

impl ListenerHolders {
    /// Takes in what a walk found.
    pub(super) fn learn(&mut self, listeners: impl Iterator<Item = u64>, holders: &Holders) {
        self.by_inode = listeners
            .map(|inode| (inode, holders.all_of(inode).collect()))
            .filter(|(_, pids): &(u64, Vec<u32>)| !pids.is_empty())
            .collect();
        let held = |pid: &u32| self.by_inode.values().any(|pids| pids.contains(pid));
        self.started.retain(|pid, _| held(pid));
        self.stopped.retain(|pid, _| held(pid));
    }

    /// Fills in who holds the listeners that somebody waits for or that dropped somebody; with
    /// `all`, who holds any.
    pub(super) fn fill(&mut self, at: Monotonic, listeners: &mut [Listener], all: bool) {
        self.fill_from(at, listeners, all, |pid| processes::process(pid).ok());
    }

    fn fill_from(
        &mut self,
        at: Monotonic,
        listeners: &mut [Listener],
        all: bool,
        read: impl Fn(u32) -> Option<Process>,
    ) {
        let Self { by_inode, started, stopped: since } = self;
        // A process may hold many listeners.
        let mut seen: FxHashMap<u32, Option<Process>> = FxHashMap::default();
        for listener in listeners.iter_mut().filter(|it| all || it.is_busy()) {
            let Some(pids) = by_inode.get(&listener.inode) else { continue };
            let mut holder: Option<HolderState> = None;
            for pid in pids {
                if seen.len() >= MOST_READ && !seen.contains_key(pid) {
                    break;
                }
                let process = seen.entry(*pid).or_insert_with(|| read(*pid));
                let Some(process) = process else { continue };
                if *started.entry(*pid).or_insert(process.start_ticks) != process.start_ticks {
                    continue;
                }
                let stopped = is_stopped(process.state);
                let since = stopped_since(since, *pid, process.state, at);
                let state = holder.get_or_insert_with(|| {
                    listener.owner = Some((*pid, process.comm.clone()));
                    HolderState {
                        state: process.state,
                        for_ms: at.0.saturating_sub(since.0) / 1_000_000,
                        holders: u32::try_from(pids.len()).unwrap_or(u32::MAX),
                        stopped: 0,
                    }
                });
                state.stopped += u32::from(stopped);
            }
            listener.holder = holder;
        }
    }
}

/// Since when a process is known to be in that state.
fn stopped_since(
    stopped: &mut FxHashMap<u32, (char, Monotonic)>,
    pid: u32,
    state: char,
    now: Monotonic,
) -> Monotonic {
    if !is_stopped(state) {
        stopped.remove(&pid);
        return now;
    }
    let (last, since) = stopped.entry(pid).or_insert((state, now));
    if *last != state {
        (*last, *since) = (state, now);
    }
    *since
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::fixture::listener;

    fn at(second: u64) -> Monotonic {
        Monotonic(second * 1_000_000_000)
    }

    fn process(state: char, start_ticks: u64) -> Option<Process> {
        let running = !is_stopped(state);
        Some(Process { comm: format!("in-{state}"), start_ticks, running, state })
    }

    #[test]
    fn the_one_that_is_stopped_is_found_among_four() {
        let mut listeners: Vec<Listener> =
            [0, 0, 129, 3].map(|queue| Listener { owner: None, ..listener(80, queue, 128) }).into();
        let mut found = Holders::default();
        for (at, listener) in listeners.iter_mut().enumerate() {
            listener.inode = 50 + at as u64;
            let process = found.add(100 + at as u32);
            found.hold(listener.inode, process);
        }
        // A second process holds the last one as well.
        let last = found.add(200);
        found.hold(53, last);
        let mut holders = ListenerHolders::default();
        holders.learn(listeners.iter().map(|it| it.inode), &found);
        let mut fill = |second, stopped: bool, start| {
            let read = |pid| match pid {
                102 if stopped => process('T', start),
                200 => process('Z', 9),
                102 => process('S', start),
                _ => process('S', 7),
            };
            holders.fill_from(at(second), &mut listeners, false, read);
            listeners.iter().map(|it| it.holder).collect::<Vec<_>>()
        };
        let state =
            |state, for_ms, holders, stopped| Some(HolderState { state, for_ms, holders, stopped });
        assert_eq!(fill(10, true, 7), [None, None, state('T', 0, 1, 1), state('S', 0, 2, 1)]);
        assert_eq!(fill(13, true, 7)[2], state('T', 3_000, 1, 1));
        assert_eq!(fill(14, false, 7)[2], state('S', 0, 1, 0));
        assert_eq!(fill(15, true, 7)[2], state('T', 0, 1, 1), "stopped again");
        // The process id is in use again.
        assert_eq!(fill(16, true, 8)[2], None);
        assert_eq!(fill(17, true, 8)[3], state('S', 0, 2, 1));
        assert_eq!(listeners[3].owner, Some((103, "in-S".into())));
    }
}
