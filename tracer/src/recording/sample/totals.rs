//! What the kernel side counted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tracer_common::reset::ResetReason;

use super::super::names::{self, Number};
use super::{BEYOND, LONG, OwnerRecord, TOO_MANY, is_default, service};
use crate::event::{Group, Lost, Minisockets, Owner, Service, Totals};
use crate::recording::bounds::{MOST_GROUPS, MOST_NUMBER, MOST_SERVICES, is_name};

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct TotalsRecord {
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
    /// Where `cgroup` does not say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    workload: Option<String>,
    alive: bool,
    #[serde(skip_serializing_if = "is_default")]
    unchecked: u64,
    counters: BTreeMap<String, Number>,
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

impl TotalsRecord {
    pub(super) fn of(totals: &Totals) -> Self {
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

    /// Whether it can have been what the kernel side counted.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let minisockets = self.minisockets.as_deref().unwrap_or_default();
        let services = self.fin_wait1.len().max(minisockets.len()).max(self.reset_reasons.len());
        if self.groups.len() > MOST_GROUPS || services > MOST_SERVICES {
            return Err(TOO_MANY);
        }
        let is_number = |number: &Number| number.unsigned_abs() <= u128::from(MOST_NUMBER);
        let counters = self.groups.iter().map(|group| &group.counters);
        let counters = counters.chain(minisockets.iter().map(|service| &service.counters));
        let LostRecord { detail, untracked, missed, ungrouped } = self.lost;
        let lost = [detail, untracked, missed, ungrouped];
        let singly = lost.into_iter().chain([self.orphans_outside]).chain(self.pressures);
        let reasons = self.reset_reasons.iter().flat_map(|service| service.reasons.values());
        let times = self.fin_wait1.iter().flat_map(|service| &service.buckets);
        let standing = minisockets.iter().map(|service| service.standing);
        let counted = singly
            .chain(standing)
            .chain(reasons.copied())
            .chain(times.map(|(_, count)| *count))
            .all(|number| number <= MOST_NUMBER);
        if !counted || !counters.flat_map(|it| it.values()).all(is_number) {
            return Err(BEYOND);
        }
        let named = self.groups.iter().all(|group| {
            group.owner.as_ref().is_none_or(|owner| is_name(&owner.comm))
                && group.cgroup.as_deref().is_none_or(is_name)
                && group.workload.as_deref().is_none_or(is_name)
        });
        if named { Ok(()) } else { Err(LONG) }
    }

    pub(super) fn into_totals(self) -> Totals {
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
            workload: group.workload.clone(),
            alive: group.alive,
            unchecked: group.unchecked,
            counters: names::counters(&group.counters),
        }
    }

    fn into_group(self) -> Option<Group> {
        Some(Group {
            service: service(self.port, &self.direction)?,
            owner: self.owner.map(|owner| Owner { pid: owner.pid, comm: owner.comm }),
            owner_start_ticks: self.owner_start_ticks,
            cgroup: self.cgroup,
            workload: self.workload,
            alive: self.alive,
            unchecked: self.unchecked,
            counters: names::words(&self.counters),
        })
    }
}
