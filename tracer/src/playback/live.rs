//! The last minutes of a live run, as a tape.
//!
//! Whoever counts pushes snapshots through a [`Feed`]; whoever shows polls the tape. Between two
//! polls the tape does not change, so an index means the same moment all the while.

use std::collections::VecDeque;
use std::mem::size_of;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};

use super::{Point, Tape, Timeline, View};
use crate::aggregate::snapshot::{Anomaly, HistoryPoint, PortRow, ProcessRow, Snapshot};
use crate::diagnose::Report;
use crate::time::ClockAnchor;

/// Moments kept: ten minutes at the usual second.
pub const MOMENTS: usize = 600;
/// Memory they may take, as far as can be estimated; a host with thousands of services keeps
/// fewer moments.
pub const BYTES: usize = 64 << 20;
/// Anomalies kept.
const MARKS: usize = 1_000;

/// The last snapshots of a live run.
#[derive(Debug)]
pub struct LiveTape {
    moments: VecDeque<Moment>,
    /// The estimated size of all of them.
    bytes: usize,
    most_moments: usize,
    most_bytes: usize,
    timeline: Arc<Timeline>,
    fed: Feed,
}

/// What is kept of a moment.
#[derive(Clone, Debug)]
struct Moment {
    snapshot: Arc<Snapshot>,
    doctor: Option<Arc<Report>>,
    /// The estimated size of both.
    size: usize,
}

/// Where snapshots are pushed, from any thread.
#[derive(Clone, Debug, Default)]
pub struct Feed(Arc<Mutex<Vec<Fed>>>);

type Fed = (Arc<Snapshot>, Option<Arc<Report>>);

impl Feed {
    /// The newest snapshot.
    pub fn push(&self, snapshot: Arc<Snapshot>) {
        self.push_with(snapshot, None);
    }

    /// The newest snapshot, and what the doctor says.
    pub fn push_with(&self, snapshot: Arc<Snapshot>, doctor: Option<Arc<Report>>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((snapshot, doctor));
    }
}

impl Default for LiveTape {
    fn default() -> Self {
        Self::with_room(MOMENTS, BYTES)
    }
}

impl LiveTape {
    /// An empty tape that keeps no more than so much, but always the newest moment.
    #[must_use]
    pub fn with_room(moments: usize, bytes: usize) -> Self {
        Self {
            moments: VecDeque::new(),
            bytes: 0,
            most_moments: moments.max(1),
            most_bytes: bytes,
            timeline: Arc::new(Timeline { growing: true, ..Timeline::default() }),
            fed: Feed::default(),
        }
    }

    /// Where to push snapshots for this tape.
    #[must_use]
    pub fn feed(&self) -> Feed {
        self.fed.clone()
    }

    fn keep(&mut self, (snapshot, doctor): Fed) {
        let size = estimate(&snapshot) + doctor.as_deref().map_or(0, estimate_report);
        self.bytes += size;
        self.moments.push_back(Moment { snapshot, doctor, size });
        while self.moments.len() > self.most_moments
            || self.moments.len() > 1 && self.bytes > self.most_bytes
        {
            let Some(oldest) = self.moments.pop_front() else { break };
            self.bytes -= oldest.size;
        }
    }

    /// The timeline after `new` snapshots came.
    fn survey(&self, new: &[Fed]) -> Timeline {
        let mut marks = self.timeline.marks.clone();
        for (snapshot, _) in new {
            // A snapshot repeats what was recent before; several can share a time.
            let known = marks.last().map(|mark| mark.time);
            let is_new = |anomaly: &&Anomaly| {
                known.is_none_or(|known| anomaly.time > known)
                    || Some(anomaly.time) == known
                        && !marks
                            .iter()
                            .rev()
                            .take_while(|it| Some(it.time) == known)
                            .any(|it| it == *anomaly)
            };
            let fresh: Vec<Anomaly> = snapshot.anomalies.iter().filter(is_new).cloned().collect();
            marks.extend(fresh);
        }
        let first = self.moments.front().map(|moment| moment.snapshot.time);
        marks.retain(|mark| first.is_none_or(|first| mark.time >= first));
        marks.drain(..marks.len().saturating_sub(MARKS));
        let snapshots = || self.moments.iter().map(|moment| &moment.snapshot);
        Timeline {
            moments: snapshots().map(|snapshot| snapshot.time).collect(),
            points: snapshots().map(|snapshot| Point::of(snapshot)).collect(),
            marks,
            growing: true,
            gaps: Vec::new(),
        }
    }
}

impl Tape for LiveTape {
    fn timeline(&self) -> Arc<Timeline> {
        Arc::clone(&self.timeline)
    }

    fn view(&mut self, moment: usize) -> Result<Option<View>> {
        let kept = self.moments.get(moment).context("no such moment is kept")?;
        // The aggregator takes single events in and keeps none.
        Ok(Some(View {
            snapshot: Arc::clone(&kept.snapshot),
            events: Arc::default(),
            event_number: 0,
            anchor: ClockAnchor::default(),
            doctor: kept.doctor.clone(),
        }))
    }

    fn moment_of_event(&mut self, _: u64) -> Option<usize> {
        None
    }

    fn poll(&mut self) -> Result<bool> {
        let mut fed = self.fed.0.lock().unwrap_or_else(PoisonError::into_inner);
        let new = std::mem::take(&mut *fed);
        drop(fed);
        if new.is_empty() {
            return Ok(false);
        }
        new.iter().for_each(|fed| self.keep(fed.clone()));
        self.timeline = Arc::new(self.survey(&new));
        Ok(true)
    }
}

/// What a short text counts as.
const TEXT: usize = 48;

/// About how many bytes a snapshot takes.
fn estimate(snapshot: &Snapshot) -> usize {
    let port = |row: &PortRow| {
        size_of::<PortRow>()
            + TEXT * (1 + 2 * row.orphan_peers.len())
            + size_of::<u64>() * row.history.len()
    };
    let process = |row: &ProcessRow| size_of::<ProcessRow>() + 3 * TEXT + 2 * row.ports.len();
    size_of::<Snapshot>()
        + snapshot.ports.iter().map(port).sum::<usize>()
        + snapshot.processes.iter().map(process).sum::<usize>()
        + size_of::<HistoryPoint>() * snapshot.history.len()
        + 3 * TEXT * (snapshot.anomalies.len() + snapshot.bad_ends.len())
        + 2 * TEXT * (snapshot.counters.len() + snapshot.fidelity.len())
}

/// About how many bytes a report takes.
fn estimate_report(report: &Report) -> usize {
    // Half a dozen texts of some hundred bytes a check.
    const FINDING: usize = 1024;
    size_of::<Report>() + FINDING * report.checks.len() + 6 * TEXT * report.lint.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::snapshot::Severity;
    use crate::time::Wall;
    use crate::tui::tests::fixture;

    fn at(second: i64) -> Snapshot {
        let mut snapshot = fixture::calm();
        snapshot.time = Wall(second * 1_000_000_000);
        snapshot.orphans.host = second.unsigned_abs();
        snapshot
    }

    fn anomaly(second: i64, text: &str) -> Anomaly {
        Anomaly {
            time: Wall(second * 1_000_000_000),
            severity: Severity::Warn,
            kind: "tcp_mem",
            port: None,
            text: text.into(),
        }
    }

    fn seconds(tape: &LiveTape) -> Vec<i64> {
        tape.timeline().moments.iter().map(|at| at.0 / 1_000_000_000).collect()
    }

    #[test]
    fn only_a_poll_changes_the_tape() {
        let mut tape = LiveTape::default();
        assert!(!tape.poll().unwrap());
        assert!(tape.view(0).is_err());
        tape.feed().push(Arc::new(at(1)));
        assert!(seconds(&tape).is_empty());
        assert!(tape.poll().unwrap());
        assert!(!tape.poll().unwrap());
        assert_eq!(seconds(&tape), [1]);
        assert_eq!(tape.view(0).unwrap().unwrap().snapshot.orphans.host, 1);
    }

    #[test]
    fn the_oldest_goes_when_there_are_too_many() {
        let mut tape = LiveTape::with_room(3, usize::MAX);
        for second in 1..=5 {
            tape.feed().push(Arc::new(at(second)));
        }
        tape.poll().unwrap();
        assert_eq!(seconds(&tape), [3, 4, 5]);
        assert_eq!(tape.view(0).unwrap().unwrap().snapshot.orphans.host, 3);
    }

    #[test]
    fn memory_is_bounded_but_the_newest_stays() {
        let one = estimate(&at(0));
        let mut tape = LiveTape::with_room(600, 2 * one + one / 2);
        for second in 1..=5 {
            tape.feed().push(Arc::new(at(second)));
        }
        tape.poll().unwrap();
        assert_eq!(seconds(&tape), [4, 5]);
        assert_eq!(tape.bytes, 2 * one);
        let mut tape = LiveTape::with_room(600, 1);
        tape.feed().push(Arc::new(at(1)));
        tape.poll().unwrap();
        assert_eq!(seconds(&tape), [1]);
    }

    #[test]
    fn every_anomaly_is_marked_once() {
        let mut tape = LiveTape::with_room(2, usize::MAX);
        let told = [anomaly(1, "a"), anomaly(2, "b"), anomaly(2, "c"), anomaly(3, "d")];
        for (second, known) in [(1, 1), (2, 2), (2, 3), (3, 4), (3, 4)] {
            let mut snapshot = at(second);
            snapshot.anomalies = told[..known].to_vec();
            tape.feed().push(Arc::new(snapshot));
            tape.poll().unwrap();
        }
        let texts: Vec<String> =
            tape.timeline().marks.iter().map(|mark| mark.text.clone()).collect();
        assert_eq!(texts, ["d"], "what is older than the oldest moment goes with it");
        let mut tape = LiveTape::default();
        for (second, known) in [(1, 1), (2, 2), (2, 3), (3, 4), (4, 4)] {
            let mut snapshot = at(second);
            snapshot.anomalies = told[..known].to_vec();
            tape.feed().push(Arc::new(snapshot));
            tape.poll().unwrap();
        }
        assert_eq!(tape.timeline().marks, told);
    }
}
