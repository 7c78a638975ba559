//! Facts over a few seconds: the last ones are what is, the ones before tell where it goes.

use crate::aggregate::trend::Trend;
use crate::facts::Facts;

/// What a watch that goes on remembers, and what is looked back upon in a trace: as long as a trend
/// can rest on.
pub const WINDOW_S: f64 = 30.0;

/// Samples of one host, oldest first; at least one.
#[derive(Clone, Debug)]
pub struct Watch {
    before: Vec<Facts>,
    last: Facts,
    /// Only listeners on this port, and connections to and from it.
    pub(super) port: Option<u16>,
}

impl Watch {
    /// `last` and what was seen before it, oldest first.
    #[must_use]
    pub fn new(before: Vec<Facts>, last: Facts) -> Self {
        Self { before, last, port: None }
    }

    /// What was seen, oldest first; `None` of nothing. Of a trace: what
    /// [`crate::recording::lookback::look_back`] gives.
    #[must_use]
    pub fn of(mut samples: Vec<Facts>) -> Option<Self> {
        let last = samples.pop()?;
        Some(Self::new(samples, last))
    }

    /// Goes on to `next`, and forgets what was seen more than [`WINDOW_S`] before it.
    pub fn push(&mut self, next: Facts) {
        self.before.push(std::mem::replace(&mut self.last, next));
        let now = self.last.at;
        let old = self.before.partition_point(|facts| now.seconds_since(facts.at) > WINDOW_S);
        self.before.drain(..old);
    }

    /// About this port only, where one is given.
    #[must_use]
    pub fn about(mut self, port: Option<u16>) -> Self {
        self.port = port;
        self
    }

    /// The newest sample.
    #[must_use]
    pub fn last(&self) -> &Facts {
        &self.last
    }

    /// How long was watched.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.before.first().map_or(0.0, |first| self.last.at.seconds_since(first.at))
    }

    fn samples(&self) -> impl Iterator<Item = &Facts> {
        self.before.iter().chain(std::iter::once(&self.last))
    }

    /// Each sample with the one before it.
    pub(super) fn steps(&self) -> impl Iterator<Item = (&Facts, &Facts)> {
        self.samples().zip(self.samples().skip(1))
    }

    /// How many samples there are.
    pub(super) fn looks(&self) -> usize {
        self.before.len() + 1
    }

    /// In how many of them something was so.
    pub(super) fn seen(&self, is_so: impl Fn(&Facts) -> bool) -> usize {
        self.samples().filter(|facts| is_so(facts)).count()
    }

    /// Increase of a counter over the watch; `None` where it was not seen twice.
    pub fn increase(&self, value: impl Fn(&Facts) -> Option<u64>) -> Option<u64> {
        let first = self.before.iter().find_map(&value)?;
        Some(value(&self.last)?.saturating_sub(first))
    }

    /// As [`Self::increase`], of a counter of the group TcpExt; 0 where it was not seen twice.
    pub(super) fn increase_of(&self, name: &str) -> u64 {
        self.increase(|facts| facts.gauges.as_ref().ok()?.tcp_ext.get(name).copied()).unwrap_or(0)
    }

    /// Growth of something over the watch.
    pub fn trend(&self, value: impl Fn(&Facts) -> Option<u64>) -> Trend {
        let Some(start) = self.samples().next().map(|first| first.at) else {
            return Trend::default();
        };
        let samples: Vec<(f64, f64)> = self
            .samples()
            .filter_map(|facts| Some((facts.at.seconds_since(start), value(facts)? as f64)))
            .collect();
        Trend::of(&samples)
    }
}
