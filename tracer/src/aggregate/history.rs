//! The last minutes, one point a tick, bounded.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tracer_common::counters::Counter;

use super::checkpoint::{SavedService, series_out, service_in, service_out};
use super::rollup::{ProcessKey, Rollup};
use super::snapshot::HistoryPoint;
use crate::event::Service;
use crate::time::Wall;

/// Points kept: five minutes at the usual second.
const KEPT: usize = 300;
/// Services, and processes, with a history: more than there can be groups of sockets at one moment.
const MOST_SERIES: usize = 8192;

#[derive(Debug, Default)]
pub(super) struct History {
    points: VecDeque<HistoryPoint>,
    services: BTreeMap<Service, VecDeque<u64>>,
    processes: BTreeMap<ProcessKey, VecDeque<u64>>,
}

/// [`History`] in a checkpoint.
#[derive(Serialize, Deserialize)]
pub(super) struct SavedHistory {
    points: Vec<SavedPoint>,
    services: Vec<(SavedService, Vec<u64>)>,
    processes: Vec<(ProcessKey, Vec<u64>)>,
}

#[derive(Serialize, Deserialize)]
struct SavedPoint {
    time: i64,
    orphans_host: u64,
    orphans_tracked: u64,
    tcp_mem_pages: u64,
    opened_per_s: f64,
}

impl History {
    /// Adds a tick. A service or process without an orphan in all the time kept has no history.
    pub(super) fn record(
        &mut self,
        time: Wall,
        orphans_host: u64,
        tcp_mem_pages: u64,
        opened_per_s: f64,
        rollup: &Rollup,
    ) {
        push(
            &mut self.points,
            HistoryPoint {
                time,
                orphans_host,
                orphans_tracked: rollup.all.population(Counter::Orphans),
                tcp_mem_pages,
                opened_per_s,
            },
        );
        let length = self.points.len();
        advance(
            &mut self.services,
            length,
            rollup
                .services
                .iter()
                .map(|(key, sum)| (*key, sum.counters.population(Counter::Orphans))),
        );
        advance(
            &mut self.processes,
            length,
            rollup
                .processes
                .iter()
                .map(|(key, sum)| (*key, sum.counters.population(Counter::Orphans))),
        );
    }

    pub(super) fn save(&self) -> SavedHistory {
        let point = |point: &HistoryPoint| SavedPoint {
            time: point.time.0,
            orphans_host: point.orphans_host,
            orphans_tracked: point.orphans_tracked,
            tcp_mem_pages: point.tcp_mem_pages,
            opened_per_s: point.opened_per_s,
        };
        SavedHistory {
            points: self.points.iter().map(point).collect(),
            services: series_out(&self.services, service_out),
            processes: series_out(&self.processes, |key| key),
        }
    }

    /// `None` for what no history can have been.
    pub(super) fn restore(saved: SavedHistory) -> Option<Self> {
        let length = saved.points.len();
        let ascending = saved.points.windows(2).all(|pair| pair[0].time <= pair[1].time);
        let finite = saved.points.iter().all(|point| point.opened_per_s.is_finite());
        let many = saved.services.len().max(saved.processes.len());
        let services = saved.services.iter().map(|(_, values)| values);
        let processes = saved.processes.iter().map(|(_, values)| values);
        let fit = services.chain(processes).all(|values| values.len() <= length);
        if length > KEPT || many > MOST_SERIES || !ascending || !finite || !fit {
            return None;
        }
        let point = |saved: SavedPoint| HistoryPoint {
            time: Wall(saved.time),
            orphans_host: saved.orphans_host,
            orphans_tracked: saved.orphans_tracked,
            tcp_mem_pages: saved.tcp_mem_pages,
            opened_per_s: saved.opened_per_s,
        };
        let services = saved.services.into_iter();
        let processes = saved.processes.into_iter();
        Some(Self {
            points: saved.points.into_iter().map(point).collect(),
            services: services.map(|(key, values)| (service_in(key), values.into())).collect(),
            processes: processes.map(|(key, values)| (key, values.into())).collect(),
        })
    }

    pub(super) fn points(&self) -> Arc<Vec<HistoryPoint>> {
        Arc::new(self.points.iter().copied().collect())
    }

    /// (seconds since the first point, value), oldest first.
    pub(super) fn series(&self, value: impl Fn(&HistoryPoint) -> u64) -> Vec<(f64, f64)> {
        self.seconds().zip(self.points.iter().map(|point| value(point) as f64)).collect()
    }

    pub(super) fn service(&self, key: &Service) -> Vec<u64> {
        self.services.get(key).map(|values| values.iter().copied().collect()).unwrap_or_default()
    }

    /// The orphans of a service as a series; `None` when it had none.
    pub(super) fn service_series(&self, key: &Service) -> Option<Vec<(f64, f64)>> {
        Some(self.timed(self.services.get(key)?))
    }

    /// The orphans of a process as a series; `None` when it had none.
    pub(super) fn process_series(&self, key: &ProcessKey) -> Option<Vec<(f64, f64)>> {
        Some(self.timed(self.processes.get(key)?))
    }

    fn timed(&self, values: &VecDeque<u64>) -> Vec<(f64, f64)> {
        let skip = self.points.len().saturating_sub(values.len());
        self.seconds().skip(skip).zip(values.iter().map(|value| *value as f64)).collect()
    }

    fn seconds(&self) -> impl Iterator<Item = f64> + '_ {
        let first = self.points.front().map_or(Wall(0), |point| point.time);
        self.points.iter().map(move |point| point.time.0.saturating_sub(first.0) as f64 / 1e9)
    }
}

/// Adds one value to each series; drops those that are all zero, begins those that are not.
fn advance<K: Ord>(
    series: &mut BTreeMap<K, VecDeque<u64>>,
    length: usize,
    now: impl Iterator<Item = (K, u64)>,
) {
    let mut now: BTreeMap<K, u64> = now.collect();
    series.retain(|key, values| {
        push(values, now.remove(key).unwrap_or(0));
        values.iter().any(|value| *value > 0)
    });
    // Short-lived processes can be many: those that have no orphan now make room first.
    if series.len() + now.len() > MOST_SERIES {
        series.retain(|_, values| values.back().is_some_and(|value| *value > 0));
    }
    for (key, value) in now.into_iter().filter(|(_, value)| *value > 0) {
        // The zeros before it are part of its growth.
        let mut values: VecDeque<u64> = std::iter::repeat_n(0, length - 1).collect();
        values.push_back(value);
        series.insert(key, values);
    }
}

fn push<T>(values: &mut VecDeque<T>, value: T) {
    if values.len() == KEPT {
        values.pop_front();
    }
    values.push_back(value);
}
