//! Looks again and again, on a thread of its own: for the doctor's page of a live screen, and for
//! a trace.
//!
//! What it may cost is bounded here: all observations together take no more than a fiftieth of a CPU. Each is
//! followed by a pause of so many times the CPU time it took; where others keep it from the CPU, it does
//! not come more rarely for that. On a usual host a brief one takes a millisecond and comes once a second,
//! a thorough one some ten milliseconds and comes every five seconds; beside 100,000 sockets it takes 0.4 s
//! and comes every 24 s.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::super::namespaces;
use super::super::own_cost::CpuTimer;
use super::{Depth, FactReader};
use crate::facts::Facts;
use crate::facts::causes::SettingChange;
use crate::facts::keeper::THOROUGH_S;

/// Brief looks come no more often than that.
const EVERY: Duration = Duration::from_secs(1);
/// A thorough observation is followed by a pause of so many times the CPU time it took, a brief one
/// likewise: 1/61 and 1/301 of a CPU are less than a fiftieth.
const PAUSE_THOROUGH: u32 = 60;
const PAUSE_BRIEF: u32 = 300;

/// A thread that looks.
#[derive(Debug)]
pub struct FactWatcher {
    run: Facts,
    seen: Arc<Mutex<Option<Facts>>>,
    /// Dropped to end the thread.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl FactWatcher {
    /// Begins to look, in the network namespace at `netns` alone, or in our own and at the others; no
    /// more often than `every`.
    ///
    /// # Errors
    ///
    /// The namespace cannot be entered, or no thread started.
    pub fn start(netns: Option<&Path>, every: Duration) -> Result<Self> {
        let seen = Arc::new(Mutex::new(None));
        let (stop, stopped) = channel();
        let (begin, begun) = channel();
        let every = every.max(EVERY);
        let netns: Option<PathBuf> = netns.map(Path::to_owned);
        let is_everywhere = netns.is_none();
        let shared = Arc::clone(&seen);
        let failed: Sender<Result<Facts>> = begin.clone();
        let work = move || {
            let reader = FactReader::without_gauges(Path::new("/"));
            let mut reader = if is_everywhere { reader.looking_elsewhere() } else { reader };
            let run = reader.run();
            // The first interval shall have it.
            let mut looks = Looks::begin(&mut reader, &run, &shared);
            let _ = begin.send(Ok(run));
            looks.go_on(&mut reader, every, &stopped, &shared);
        };
        let thread = std::thread::Builder::new()
            .name("sockflow-facts".to_owned())
            .spawn(move || match netns {
                None => work(),
                Some(path) => {
                    let inside = namespaces::inside(&path, move || {
                        work();
                        Ok(())
                    });
                    if let Err(error) = inside {
                        let _ = failed.send(Err(error));
                    }
                }
            })
            .context("cannot start a thread")?;
        let run = begun.recv().context("the thread that looks has ended")??;
        Ok(Self { run, seen, stop: Some(stop), thread: Some(thread) })
    }

    /// What holds for the whole run, see [`FactReader::run`].
    #[must_use]
    pub const fn run(&self) -> &Facts {
        &self.run
    }

    /// What was seen since this was last asked, thinned ([`Facts::thin`]).
    #[must_use]
    pub fn take(&self) -> Option<Facts> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for FactWatcher {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What decides when to look, and how.
struct Looks {
    /// Settings at the beginning.
    sysctls: BTreeMap<String, String>,
    /// The last change of a setting that was told.
    changed: Option<SettingChange>,
    next_thorough: Instant,
    /// What the last brief look took, times [`PAUSE_BRIEF`].
    pause: Duration,
}

impl Looks {
    /// Looks for the first time, thoroughly.
    fn begin(reader: &mut FactReader, run: &Facts, seen: &Mutex<Option<Facts>>) -> Self {
        let mut looks = Self {
            sysctls: run.sysctls.clone(),
            changed: None,
            next_thorough: Instant::now(),
            pause: Duration::ZERO,
        };
        looks.look(reader, seen);
        looks
    }

    /// Looks again and again until it is told to stop.
    fn go_on(
        &mut self,
        reader: &mut FactReader,
        every: Duration,
        stopped: &Receiver<()>,
        seen: &Mutex<Option<Facts>>,
    ) {
        while stopped.recv_timeout(every.max(self.pause)) == Err(RecvTimeoutError::Timeout) {
            self.look(reader, seen);
        }
    }

    fn look(&mut self, reader: &mut FactReader, seen: &Mutex<Option<Facts>>) {
        let (began, timer) = (Instant::now(), CpuTimer::start());
        let thorough = began >= self.next_thorough;
        let mut facts = reader.sample(if thorough { Depth::Thorough } else { Depth::Brief });
        if thorough {
            facts.sysctls.retain(|name, value| self.sysctls.get(name) != Some(value));
        } else {
            // Only a thorough look has read them.
            facts.sysctls.clear();
            facts.detail_at = None;
            // They are told again only if there are new ones.
            if facts.changes.last() == self.changed.as_ref() {
                facts.changes.clear();
            }
        }
        if let Some(last) = facts.changes.last() {
            self.changed = Some(last.clone());
        }
        facts.thin(thorough);
        let used = timer.used();
        if thorough {
            let pause = used * PAUSE_THOROUGH;
            self.next_thorough = began + pause.max(Duration::from_secs_f64(THOROUGH_S));
        } else {
            self.pause = used * PAUSE_BRIEF;
        }
        let mut last = seen.lock().unwrap_or_else(PoisonError::into_inner);
        // A thorough one that nobody took yet says more than the brief one after it.
        if thorough || last.as_ref().is_none_or(|last| last.sparse) {
            *last = Some(facts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_looks_at_once_and_ends_when_dropped() {
        let watcher = FactWatcher::start(None, Duration::from_secs(60)).unwrap();
        assert!(watcher.run().settings.is_ok() && !watcher.run().sysctls.is_empty());
        let began = Instant::now();
        let facts = watcher.take().unwrap();
        assert!(facts.detail_at.is_some() && !facts.sparse);
        assert!(facts.sockets.is_ok() && facts.files.is_ok());
        assert!(facts.gauges.is_err(), "somebody else has them");
        assert!(watcher.take().is_none());
        // It waits for a minute now; the end does not.
        drop(watcher);
        assert!(began.elapsed() < Duration::from_secs(50));
    }

    #[test]
    fn a_namespace_that_is_none_is_an_error() {
        assert!(FactWatcher::start(Some(Path::new("/proc/self/stat")), EVERY).is_err());
    }
}
