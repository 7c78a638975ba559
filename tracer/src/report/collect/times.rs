//! Times in FIN_WAIT1: from counts since tracing began to a map over time.

use std::collections::BTreeMap;

use tracer_common::histogram::{BUCKETS, bucket_middle_ns};

use crate::event::Service;
use crate::report::model::{TimeColumn, TimeMap};
use crate::time::Wall;

/// Most columns.
const MOST_COLUMNS: usize = 60;
/// Upper ends of the rows, ms; what is longer is in one more.
const UP_TO_MS: [f64; 14] = [
    0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1_000.0, 3_000.0, 10_000.0, 30_000.0,
    100_000.0,
];

/// How many in each bucket of the histogram.
type Counts = [u64; BUCKETS as usize];

/// Columns as they come.
#[derive(Debug)]
pub(super) struct Times {
    per_column: usize,
    filled: usize,
    /// At the end of the last column.
    before: Option<Box<Counts>>,
    now: Box<Counts>,
    columns: Vec<TimeColumn>,
    from: Option<Wall>,
    last: Wall,
}

impl Times {
    /// For so many samples. `from_zero`: what is counted at the first of them happened in it.
    pub(super) fn new(samples: usize, from_zero: bool) -> Self {
        let zero = || Box::new([0; BUCKETS as usize]);
        Self {
            per_column: samples.div_ceil(MOST_COLUMNS).max(1),
            filled: 0,
            before: from_zero.then(zero),
            now: zero(),
            columns: Vec::new(),
            from: None,
            last: Wall::default(),
        }
    }

    /// What is counted so far.
    pub(super) fn count(&mut self, times: &BTreeMap<Service, Vec<(u32, u64)>>) {
        self.now.fill(0);
        for buckets in times.values() {
            for (bucket, count) in buckets {
                // A trace may say anything.
                if let Some(place) = self.now.get_mut(*bucket as usize) {
                    *place = place.saturating_add(*count);
                }
            }
        }
    }

    /// The counts so far are the range's beginning.
    pub(super) fn begin(&mut self) {
        self.before = Some(self.now.clone());
    }

    /// A sample ends.
    pub(super) fn moment(&mut self, at: Wall) {
        self.from.get_or_insert(at);
        self.last = at;
        self.filled += 1;
        if self.filled >= self.per_column {
            self.column();
        }
    }

    fn column(&mut self) {
        self.filled = 0;
        let mut counts = vec![0; UP_TO_MS.len() + 1];
        let before = self.before.get_or_insert_with(|| self.now.clone());
        for (bucket, (now, before)) in (0u32..).zip(self.now.iter().zip(before.iter())) {
            let ms = bucket_middle_ns(bucket) as f64 / 1e6;
            let row = UP_TO_MS.iter().position(|up_to| ms <= *up_to).unwrap_or(UP_TO_MS.len());
            counts[row] += now.saturating_sub(*before);
        }
        before.copy_from_slice(&self.now[..]);
        let from = self.from.unwrap_or(self.last);
        self.columns.push(TimeColumn {
            time: self.last,
            elapsed_s: super::seconds(from, self.last),
            counts,
        });
    }

    pub(super) fn finish(mut self) -> TimeMap {
        if self.filled > 0 {
            self.column();
        }
        let total = self.columns.iter().flat_map(|column| &column.counts).sum();
        TimeMap { up_to_ms: UP_TO_MS.to_vec(), columns: self.columns, total }
    }
}
