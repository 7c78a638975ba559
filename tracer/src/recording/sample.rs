//! All that was said in one interval, but events: the payload of a sample frame, as JSON.
//!
//! The records here are the file's own, not the domain's types with a derive: those may change
//! from one day to the next, these only by adding names. What is 0 or absent is left out.

mod diag;
mod facts;
mod gauges;
mod totals;

use diag::DiagRecord;
use facts::FactsRecord;
pub(super) use facts::SettingsRecord;
pub(super) use gauges::GaugesRecord;
use serde::{Deserialize, Serialize};
use totals::TotalsRecord;

use super::bounds::MOST_NUMBER;
use super::names;
use crate::event::{Input, OwnCost, Service};
use crate::time::{Monotonic, Wall};

/// Why a sample is not taken.
const TOO_MANY: &str = "it has more rows than a reader takes";
const BEYOND: &str = "a number in it is beyond reason";
const LONG: &str = "a name in it is too long";

/// Of all CPUs that a host can have.
const MOST_PERCENT: f64 = 1e6;

/// One interval.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SampleRecord {
    /// When the interval ended.
    pub(super) at_ns: u64,
    /// The wall clock then: shows steps of it, which the anchor of the run cannot know.
    pub(super) wall_ns: i64,
    /// Events of the trace so far.
    pub(super) events: u64,
    /// Gauges from before the first interval; in the first sample only.
    #[serde(skip_serializing_if = "Option::is_none")]
    baseline: Option<GaugesRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gauges: Option<GaugesRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    totals: Option<TotalsRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    diag: Option<DiagRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    facts: Option<FactsRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    own_cost: Option<OwnCostRecord>,
}

/// What of an interval a doctor looks at: the same payload, without what costs most to read.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct FactsOnly {
    pub(super) at_ns: u64,
    gauges: Option<GaugesRecord>,
    diag: Option<DiagRecord>,
    facts: Option<FactsRecord>,
}

impl FactsOnly {
    /// As [`SampleRecord::check`].
    pub(super) fn check(&self) -> Result<(), &'static str> {
        self.diag.as_ref().map_or(Ok(()), DiagRecord::check)
    }

    /// The inputs, in the order in which a live source gives them.
    pub(super) fn into_inputs(self, mut sink: impl FnMut(Input)) {
        if let Some(gauges) = self.gauges {
            sink(Input::Gauges(gauges.into_gauges()));
        }
        if let Some(diag) = self.diag {
            sink(Input::Diag(diag.into_sample()));
        }
        if let Some(facts) = self.facts {
            sink(Input::Facts(Box::new(facts.into_facts())));
        }
        sink(Input::Tick(Monotonic(self.at_ns)));
    }
}

impl SampleRecord {
    /// The record of an interval's inputs. Of several of a kind the last counts, as it does for
    /// who folds them; but the first gauges are kept beside the last.
    pub(super) fn of(inputs: &[Input], wall: Wall, events: u64) -> Self {
        let mut record = Self { wall_ns: wall.0, events, ..Self::default() };
        for input in inputs {
            match input {
                Input::Event(_) | Input::Gap(_) => {}
                Input::Totals(totals) => record.totals = Some(TotalsRecord::of(totals)),
                Input::Gauges(gauges) => {
                    let before = record.gauges.replace(GaugesRecord::of(gauges));
                    record.baseline = record.baseline.or(before);
                }
                Input::Diag(sample) => record.diag = Some(DiagRecord::of(sample)),
                Input::Facts(facts) => record.facts = Some(FactsRecord::of(facts)),
                Input::OwnCost(cost) => record.own_cost = Some(OwnCostRecord::of(*cost)),
                Input::Tick(at) => record.at_ns = at.0,
            }
        }
        record
    }

    /// Whether it can have been what a host told; why not, for people.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let is_cost = |cost: &OwnCostRecord| {
            (0.0..=MOST_PERCENT).contains(&cost.cpu_percent)
                && (0.0..=MOST_NUMBER as f64).contains(&cost.events_per_s)
        };
        if !self.own_cost.as_ref().is_none_or(is_cost) {
            return Err(BEYOND);
        }
        self.totals.as_ref().map_or(Ok(()), TotalsRecord::check)?;
        self.diag.as_ref().map_or(Ok(()), DiagRecord::check)
    }

    /// The inputs, in the order in which a live source gives them.
    pub(super) fn into_inputs(self, mut sink: impl FnMut(Input)) {
        if let Some(gauges) = self.baseline {
            sink(Input::Gauges(gauges.into_gauges()));
        }
        if let Some(gauges) = self.gauges {
            sink(Input::Gauges(gauges.into_gauges()));
        }
        if let Some(totals) = self.totals {
            sink(Input::Totals(totals.into_totals()));
        }
        if let Some(diag) = self.diag {
            sink(Input::Diag(diag.into_sample()));
        }
        if let Some(facts) = self.facts {
            sink(Input::Facts(Box::new(facts.into_facts())));
        }
        if let Some(cost) = self.own_cost {
            sink(Input::OwnCost(cost.into_cost()));
        }
        sink(Input::Tick(Monotonic(self.at_ns)));
    }
}

/// Who holds sockets.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct OwnerRecord {
    pid: u32,
    comm: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct OwnCostRecord {
    cpu_percent: f64,
    rss_bytes: u64,
    events_per_s: f64,
}

impl OwnCostRecord {
    /// JSON has no infinity; what is no number is told as 0.
    fn of(cost: OwnCost) -> Self {
        let finite = |value: f64| if value.is_finite() { value } else { 0.0 };
        Self {
            cpu_percent: finite(cost.cpu_percent),
            rss_bytes: cost.rss_bytes,
            events_per_s: finite(cost.events_per_s),
        }
    }

    const fn into_cost(self) -> OwnCost {
        OwnCost {
            cpu_percent: self.cpu_percent,
            rss_bytes: self.rss_bytes,
            events_per_s: self.events_per_s,
        }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The service of a record; one on a side that is not known here is none.
fn service(port: u16, direction: &str) -> Option<Service> {
    names::direction_named(direction).map(|direction| Service { port, direction })
}
