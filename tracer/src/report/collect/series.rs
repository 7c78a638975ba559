//! Samples merged into a few hundred points that keep the extremes.

use std::sync::Arc;

use crate::aggregate::snapshot::{OrphansByCause, Snapshot};
use crate::facts::Facts;
use crate::filter::Filter;
use crate::report::model::{AcceptQueue, Point, Series};
use crate::time::Wall;

/// Most points.
pub(super) const MOST_POINTS: usize = 240;

/// Points as they come.
#[derive(Debug)]
pub(super) struct Points {
    per_point: usize,
    /// Samples in the last point.
    filled: usize,
    points: Vec<Point>,
    from: Option<Wall>,
    /// Of the coming moment.
    accept_queue: Option<AcceptQueue>,
}

impl Points {
    /// For so many samples.
    pub(super) fn new(samples: usize) -> Self {
        let per_point = samples.div_ceil(MOST_POINTS).max(1);
        Self { per_point, filled: per_point, points: Vec::new(), from: None, accept_queue: None }
    }

    /// A look at listeners before the coming moment. A sparse one leaves out those nobody waits
    /// for: then the fullest is empty.
    pub(super) fn facts(&mut self, filter: &Filter, facts: &Facts) {
        let Ok(listeners) = &facts.listeners else { return };
        let queues = listeners
            .iter()
            .filter(|it| {
                let owner = it.owner.as_ref().map(|(pid, comm)| (*pid, comm.as_str()));
                filter.passes_listening(it.local, owner)
            })
            .map(|it| AcceptQueue { port: it.local.port(), queue: it.queue, backlog: it.backlog });
        let fullest = queues.max_by(|a, b| a.share().total_cmp(&b.share()));
        self.accept_queue = Some(fullest.unwrap_or_default());
    }

    pub(super) fn add(&mut self, now: &Snapshot, before: Option<&Arc<Snapshot>>) {
        let from = *self.from.get_or_insert(now.time);
        let mut sample = sample(now, before, from);
        sample.accept_queue = self.accept_queue.take();
        if self.filled >= self.per_point {
            self.filled = 0;
            self.points.push(sample);
        } else if let Some(point) = self.points.last_mut() {
            merge(point, &sample);
        }
        self.filled += 1;
    }

    pub(super) fn finish(self) -> Series {
        Series { samples_per_point: self.per_point, points: self.points }
    }
}

/// One sample as a point.
fn sample(now: &Snapshot, before: Option<&Arc<Snapshot>>, from: Wall) -> Point {
    let elapsed = before.map_or(0.0, |before| super::seconds(before.time, now.time));
    let per_s = |count: u64| if elapsed > 0.0 { count as f64 / elapsed } else { 0.0 };
    let counted = |name: &str| {
        let at = |snapshot: &Snapshot| snapshot.counters.get(name).copied().unwrap_or(0);
        per_s(at(now).saturating_sub(before.map_or(0, |before| at(before))))
    };
    let killed = now.orphans.killed.saturating_sub(before.map_or(0, |it| it.orphans.killed));
    let rates = &now.totals_per_s;
    Point {
        time: now.time,
        elapsed_s: super::seconds(from, now.time),
        end_s: super::seconds(from, now.time),
        seconds: elapsed,
        orphans: now.orphans.host,
        orphans_min: now.orphans.host,
        tracked: now.orphans.tracked,
        orphans_by_cause: by_cause(now),
        limit: now.orphans.limit,
        states: now.states,
        opened_per_s: rates.opened,
        closed_per_s: rates.closed,
        resets_per_s: rates.resets_in + rates.resets_out,
        killed_per_s: per_s(killed),
        tcp_mem_pages: now.tcp_mem.pages,
        tcp_mem_low: now.tcp_mem.low,
        tcp_mem_pressure: now.tcp_mem.pressure,
        tcp_mem_high: now.tcp_mem.high,
        tcp_mem_state: now.tcp_mem.state,
        accept_queue: None,
        listen_overflows_per_s: counted("ListenOverflows"),
        listen_drops_per_s: counted("ListenDrops"),
    }
}

/// The orphans of all services by cause, where each service that has any was observed.
fn by_cause(now: &Snapshot) -> Option<OrphansByCause> {
    now.sockets_age_s?;
    let mut sum = OrphansByCause::default();
    for row in &now.ports {
        match row.orphans_by_cause {
            Some(of_row) => sum += of_row,
            None if row.orphans > 0 => return None,
            None => {}
        }
    }
    Some(sum)
}

/// Another sample into a point. What belongs to one moment stays that of the moment with most
/// orphans.
pub(crate) fn merge(point: &mut Point, sample: &Point) {
    let merged = Point {
        end_s: sample.end_s,
        seconds: point.seconds + sample.seconds,
        orphans: point.orphans.max(sample.orphans),
        orphans_min: point.orphans_min.min(sample.orphans_min),
        opened_per_s: point.opened_per_s.max(sample.opened_per_s),
        closed_per_s: point.closed_per_s.max(sample.closed_per_s),
        resets_per_s: point.resets_per_s.max(sample.resets_per_s),
        killed_per_s: point.killed_per_s.max(sample.killed_per_s),
        tcp_mem_pages: point.tcp_mem_pages.max(sample.tcp_mem_pages),
        tcp_mem_state: point.tcp_mem_state.max(sample.tcp_mem_state),
        accept_queue: match (point.accept_queue, sample.accept_queue) {
            (Some(a), Some(b)) if b.share() > a.share() => Some(b),
            (a, b) => a.or(b),
        },
        listen_overflows_per_s: point.listen_overflows_per_s.max(sample.listen_overflows_per_s),
        listen_drops_per_s: point.listen_drops_per_s.max(sample.listen_drops_per_s),
        ..if sample.orphans > point.orphans { *sample } else { *point }
    };
    let seen = merged.orphans_by_cause.or(point.orphans_by_cause).or(sample.orphans_by_cause);
    *point = Point { orphans_by_cause: seen, ..merged };
}
