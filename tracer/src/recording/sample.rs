//! All that was said in one interval, but events: the payload of a sample frame, as JSON.
//!
//! The records here are the file's own, not the domain's types with a derive: those may change
//! from one day to the next, these only by adding names. What is 0 or absent is left out.

mod diag;
mod facts;

use std::collections::BTreeMap;

use diag::DiagRecord;
use facts::FactsRecord;
pub(super) use facts::SettingsRecord;
use serde::{Deserialize, Serialize};
use tracer_common::reset::ResetReason;

use super::names::{self, Number};
use crate::event::{Group, Input, Lost, Minisockets, OwnCost, Owner, Service, Totals};
use crate::gauges::{
    Bytes, Gauges, Limits, MemLimits, Pages, ProtocolMemory, SocketCounts, TCP, TCP_EXT,
};
use crate::time::{Monotonic, Wall};

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
    at_ns: u64,
    gauges: Option<GaugesRecord>,
    diag: Option<DiagRecord>,
    facts: Option<FactsRecord>,
}

impl FactsOnly {
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

/// What of a gauge the kernel did not tell is left out, like a count of 0 never is.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct GaugesRecord {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    sockets: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol_pages: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pressure: Option<bool>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tcp_ext: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tcp: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    limits: BTreeMap<String, u64>,
}

impl GaugesRecord {
    pub(super) fn of(gauges: &Gauges) -> Self {
        let Gauges { sockets, memory, tcp_ext, tcp, limits } = gauges;
        let SocketCounts { inuse, inuse6, orphan, tw, alloc, mem } = *sockets;
        let Limits { max_orphans, tcp_mem, max_tw_buckets, page } = *limits;
        Self {
            sockets: told([
                ("inuse", inuse),
                ("inuse6", inuse6),
                ("orphan", orphan),
                ("tw", tw),
                ("alloc", alloc),
                ("mem_pages", mem.map(|pages| pages.0)),
            ]),
            protocol_pages: memory.pages.map(|pages| pages.0),
            pressure: memory.pressure,
            tcp_ext: owned(tcp_ext),
            tcp: owned(tcp),
            limits: told([
                ("max_orphans", max_orphans),
                ("tcp_mem_low_pages", tcp_mem.map(|mem| mem.low.0)),
                ("tcp_mem_pressure_pages", tcp_mem.map(|mem| mem.pressure.0)),
                ("tcp_mem_high_pages", tcp_mem.map(|mem| mem.high.0)),
                ("max_tw_buckets", max_tw_buckets),
                ("page_bytes", (page.0 != 0).then_some(page.0)),
            ]),
        }
    }

    pub(super) fn into_gauges(self) -> Gauges {
        let socket = |name: &str| self.sockets.get(name).copied();
        let limit = |name: &str| self.limits.get(name).copied();
        let mem = |name: &str| limit(name).map(Pages);
        let tcp_mem = match (
            mem("tcp_mem_low_pages"),
            mem("tcp_mem_pressure_pages"),
            mem("tcp_mem_high_pages"),
        ) {
            (Some(low), Some(pressure), Some(high)) => Some(MemLimits { low, pressure, high }),
            _ => None,
        };
        Gauges {
            sockets: SocketCounts {
                inuse: socket("inuse"),
                inuse6: socket("inuse6"),
                orphan: socket("orphan"),
                tw: socket("tw"),
                alloc: socket("alloc"),
                mem: socket("mem_pages").map(Pages),
            },
            memory: ProtocolMemory {
                pages: self.protocol_pages.map(Pages),
                pressure: self.pressure,
            },
            tcp_ext: names::known(&TCP_EXT, &self.tcp_ext),
            tcp: names::known(&TCP, &self.tcp),
            limits: Limits {
                max_orphans: limit("max_orphans"),
                tcp_mem,
                max_tw_buckets: limit("max_tw_buckets"),
                page: Bytes(limit("page_bytes").unwrap_or(0)),
            },
        }
    }
}

fn told<const N: usize>(values: [(&str, Option<u64>); N]) -> BTreeMap<String, u64> {
    values.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

fn owned(values: &BTreeMap<&'static str, u64>) -> BTreeMap<String, u64> {
    values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct TotalsRecord {
    groups: Vec<GroupRecord>,
    #[serde(skip_serializing_if = "is_default")]
    orphans_outside: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fin_wait1: Vec<FinWait1Record>,
    /// Left out where no hook counts them.
    #[serde(skip_serializing_if = "Option::is_none")]
    minisockets: Option<Vec<MinisocketsRecord>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reset_reasons: Vec<ResetReasonsRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pressures: Option<u64>,
    #[serde(skip_serializing_if = "is_default")]
    lost: LostRecord,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct MinisocketsRecord {
    port: u16,
    direction: String,
    #[serde(skip_serializing_if = "is_default")]
    standing: u64,
    counters: BTreeMap<String, Number>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct ResetReasonsRecord {
    port: u16,
    direction: String,
    reasons: BTreeMap<String, u64>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct GroupRecord {
    port: u16,
    direction: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<OwnerRecord>,
    #[serde(skip_serializing_if = "is_default")]
    owner_start_ticks: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    cgroup: Option<String>,
    alive: bool,
    counters: BTreeMap<String, Number>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct OwnerRecord {
    pid: u32,
    comm: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct FinWait1Record {
    port: u16,
    direction: String,
    /// Buckets and how many fell into each, see `tracer_common::histogram`.
    buckets: Vec<(u32, u64)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct LostRecord {
    detail: u64,
    untracked: u64,
    missed: u64,
    ungrouped: u64,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The service of a record; one on a side that is not known here is none.
fn service(port: u16, direction: &str) -> Option<Service> {
    names::direction_named(direction).map(|direction| Service { port, direction })
}

impl TotalsRecord {
    fn of(totals: &Totals) -> Self {
        let Lost { detail, untracked, missed, ungrouped } = totals.lost;
        Self {
            groups: totals.groups.iter().map(GroupRecord::of).collect(),
            orphans_outside: totals.orphans_outside,
            fin_wait1: totals
                .fin_wait1
                .iter()
                .map(|(service, buckets)| FinWait1Record {
                    port: service.port,
                    direction: names::direction(service.direction).to_owned(),
                    buckets: buckets.clone(),
                })
                .collect(),
            minisockets: totals.minisockets.as_ref().map(|services| {
                let record = |(service, seen): (&Service, &Minisockets)| MinisocketsRecord {
                    port: service.port,
                    direction: names::direction(service.direction).to_owned(),
                    standing: seen.standing,
                    counters: names::mini_counters(&seen.counters),
                };
                services.iter().map(record).collect()
            }),
            reset_reasons: totals
                .reset_reasons
                .iter()
                .map(|(service, reasons)| ResetReasonsRecord {
                    port: service.port,
                    direction: names::direction(service.direction).to_owned(),
                    reasons: reasons
                        .iter()
                        .map(|(reason, count)| (reason.name().to_owned(), *count))
                        .collect(),
                })
                .collect(),
            pressures: totals.pressures,
            lost: LostRecord { detail, untracked, missed, ungrouped },
        }
    }

    fn into_totals(self) -> Totals {
        let LostRecord { detail, untracked, missed, ungrouped } = self.lost;
        Totals {
            groups: self.groups.into_iter().filter_map(GroupRecord::into_group).collect(),
            orphans_outside: self.orphans_outside,
            fin_wait1: self
                .fin_wait1
                .into_iter()
                .filter_map(|record| {
                    Some((service(record.port, &record.direction)?, record.buckets))
                })
                .collect(),
            minisockets: self.minisockets.map(|records| {
                let read = |record: MinisocketsRecord| {
                    let counters = names::mini_words(&record.counters);
                    let seen = Minisockets { standing: record.standing, counters };
                    Some((service(record.port, &record.direction)?, seen))
                };
                records.into_iter().filter_map(read).collect()
            }),
            reset_reasons: self
                .reset_reasons
                .into_iter()
                .filter_map(|record| {
                    let named =
                        |(name, count): (String, u64)| Some((ResetReason::named(&name)?, count));
                    let reasons = record.reasons.into_iter().filter_map(named).collect();
                    Some((service(record.port, &record.direction)?, reasons))
                })
                .collect(),
            pressures: self.pressures,
            lost: Lost { detail, untracked, missed, ungrouped },
        }
    }
}

impl GroupRecord {
    fn of(group: &Group) -> Self {
        Self {
            port: group.service.port,
            direction: names::direction(group.service.direction).to_owned(),
            owner: group
                .owner
                .as_ref()
                .map(|owner| OwnerRecord { pid: owner.pid, comm: owner.comm.clone() }),
            owner_start_ticks: group.owner_start_ticks,
            cgroup: group.cgroup.clone(),
            alive: group.alive,
            counters: names::counters(&group.counters),
        }
    }

    fn into_group(self) -> Option<Group> {
        Some(Group {
            service: service(self.port, &self.direction)?,
            owner: self.owner.map(|owner| Owner { pid: owner.pid, comm: owner.comm }),
            owner_start_ticks: self.owner_start_ticks,
            cgroup: self.cgroup,
            alive: self.alive,
            counters: names::words(&self.counters),
        })
    }
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
