//! The rows of the snapshot, and their order.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tracer_common::counters::{Counter, GroupCounters};

use super::causes::Observed;
use super::history::History;
use super::rollup::{self, ProcessKey, ProcessSum, Rollup, ServiceSum};
use super::snapshot::{
    Fidelity, FidelityTable, Listen, Lost, Orphans, OwnCost, PeerShare, PortRow, ProcessRow,
    SCHEMA, Snapshot, StateRates, States, TcpMem, TotalRates, Totals, TwBuckets, Verdict,
};
use super::{Settings, quantile, rate};
use crate::diagnose::trend::Trend;
use crate::event::{DiagSample, DiagService, Minisockets, Service};

/// Networks named per service.
const PEERS: usize = 10;

/// What the rows are made of.
pub(super) struct Context<'a> {
    pub(super) rollup: &'a Rollup,
    pub(super) previous: Option<&'a Rollup>,
    pub(super) elapsed_s: f64,
    pub(super) totals: &'a crate::event::Totals,
    pub(super) diag: &'a DiagSample,
    pub(super) time_wait: &'a BTreeMap<Service, u64>,
    pub(super) history: &'a History,
    pub(super) fidelity: &'a FidelityTable,
    pub(super) observed: Observed<'a>,
}

/// A counter of a signal that only a hook gives; `None` where there is none.
pub(super) fn hooked(
    fidelity: &FidelityTable,
    signal: &str,
    counters: &GroupCounters,
    counter: Counter,
) -> Option<u64> {
    let exact = fidelity.get(signal) == Some(&Fidelity::Exact);
    exact.then(|| counters.total(counter))
}

/// The snapshot before the first tick.
pub(super) fn empty(settings: &Settings) -> Snapshot {
    Snapshot {
        schema: SCHEMA,
        time: settings.anchor.wall(settings.began),
        elapsed_s: 0.0,
        source: settings.source,
        host: settings.host.clone(),
        states: States::default(),
        states_per_s: StateRates::default(),
        totals: Totals::default(),
        totals_per_s: TotalRates::default(),
        resets_out_unseen: None,
        orphans: Orphans::default(),
        tcp_mem: TcpMem::default(),
        tw_buckets: TwBuckets::default(),
        namespaces: None,
        minisockets: None,
        ports: Vec::new(),
        processes: Vec::new(),
        counters: BTreeMap::new(),
        lost: Lost::default(),
        sockets_age_s: None,
        fidelity: settings.fidelity.clone(),
        unseen: settings.unseen.clone(),
        own_cost: OwnCost::default(),
        state_changes: 0,
        verdict: Verdict::default(),
        filter: settings.filter.clone(),
        interval_s: settings.interval_s,
        findings: Vec::new(),
        anomalies: Vec::new(),
        bad_ends: Vec::new(),
        history: Arc::default(),
    }
}

/// Rows by service: most orphans, then most live sockets, then port.
pub(super) fn ports(context: &Context<'_>) -> Vec<PortRow> {
    let services = context.rollup.services.iter();
    let mut rows: Vec<PortRow> = services
        .filter(|(_, sum)| sum.counters != GroupCounters::default())
        .map(|(service, sum)| port(context, *service, sum))
        .collect();
    rows.extend(left_behind(context).map(|service| port(context, service, &Default::default())));
    rows.sort_by_cached_key(|row| {
        (Reverse(row.orphans), Reverse(row.states.live_with(0)), row.port, row.direction)
    });
    rows
}

/// Services of which nothing but minisockets is known: their sockets were gone before tracing began,
/// or nobody counts sockets. (Who counts those and samples minisockets knows the service of either by
/// other means, and the means may differ.)
fn left_behind(context: &Context<'_>) -> impl Iterator<Item = Service> {
    let mut services = BTreeSet::new();
    if let Some(hooked) = &context.totals.minisockets {
        let seen = hooked.iter().filter(|(_, seen)| **seen != Minisockets::default());
        services.extend(seen.map(|(service, _)| *service));
    } else if context.fidelity.get("state") == Some(&Fidelity::Sampled) {
        let time_wait = context.time_wait.iter().filter(|(_, count)| **count > 0);
        services.extend(time_wait.map(|(service, _)| *service));
        let seen = context.diag.services.iter();
        let fin_wait2 = seen.filter(|(_, seen)| seen.fin_wait2_minisockets > 0);
        services.extend(fin_wait2.map(|(service, _)| *service));
    }
    let known = |service: &Service| {
        let sum = context.rollup.services.get(service);
        sum.is_some_and(|sum| sum.counters != GroupCounters::default())
    };
    services.into_iter().filter(move |service| !known(service))
}

fn port(context: &Context<'_>, service: Service, sum: &ServiceSum) -> PortRow {
    let counters = &sum.counters;
    let before = context.previous.and_then(|previous| previous.services.get(&service));
    let per_s = |counter| {
        let before = before.map_or(0, |sum| sum.counters.total(counter));
        rate(before, counters.total(counter), context.elapsed_s)
    };
    let seen = context.diag.services.get(&service);
    let mut states = rollup::states(counters);
    states.syn_recv += seen.map_or(0, half_open);
    let minisockets = context.totals.minisockets.as_ref().map(|services| {
        rollup::minisockets(&services.get(&service).copied().unwrap_or_default(), counters)
    });
    if let Some(minisockets) = minisockets {
        states.fin_wait2 += minisockets.fin_wait2;
        states.time_wait = minisockets.time_wait;
    } else {
        states.fin_wait2 += seen.map_or(0, |seen| seen.fin_wait2_minisockets);
        states.time_wait = context.time_wait.get(&service).copied().unwrap_or(0);
    }
    let hooked = |signal, counter| hooked(context.fidelity, signal, counters, counter);
    let reasons = context.totals.reset_reasons.get(&service).into_iter().flatten();
    let (owner, more_owners) = sum.owner();
    let times = context.totals.fin_wait1.get(&service).map_or(&[][..], Vec::as_slice);
    PortRow {
        port: service.port,
        direction: service.direction,
        owner,
        more_owners,
        owner_unchecked: sum.unchecked,
        states,
        totals: rollup::totals(counters),
        orphans: counters.population(Counter::Orphans),
        orphans_by_state: rollup::orphan_states(counters),
        orphan_bytes: seen.map_or(0, |seen| seen.orphan_bytes),
        orphans_by_cause: context.observed.orphans(service),
        close_wait_by_cause: context.observed.close_wait(service),
        bytes: context.observed.bytes(service),
        workload: sum.workload(),
        growth_per_s: context
            .history
            .service_series(&service)
            .map_or(Some(0.0), |series| Trend::of(&series).per_s),
        opened_per_s: per_s(Counter::Opened),
        closed_per_s: per_s(Counter::Closed),
        resets_per_s: per_s(Counter::ResetsIn) + per_s(Counter::ResetsOut),
        reset_reasons: reasons.map(|(reason, count)| (reason.name(), *count)).collect(),
        minisockets,
        listen: seen.and_then(|seen| seen.listen).map(|listen| Listen {
            queued: listen.queued,
            backlog: listen.backlog,
            overflows: hooked("accept_overflow", Counter::AcceptOverflows),
            drops: listen.drops,
        }),
        memory_refused: hooked("mem_refused", Counter::MemoryRefused),
        orphan_ends: rollup::orphan_ends(counters),
        orphan_end_details: rollup::orphan_end_details(counters),
        fin_wait1_ms: quantile::quantiles_ms(times, counters.total(Counter::FinWait1MaxNs)),
        fin_wait1_times: times.to_vec(),
        orphan_peers: seen.map(peers).unwrap_or_default(),
        history: Arc::new(context.history.service(&service)),
    }
}

/// Half-open connections of a service, as far as they were counted.
pub(super) fn half_open(seen: &DiagService) -> u64 {
    seen.listen.and_then(|listen| listen.half_open).unwrap_or(0)
}

fn peers(seen: &DiagService) -> Vec<PeerShare> {
    let mut peers: Vec<PeerShare> = seen
        .peers
        .iter()
        .map(|(network, (orphans, bytes))| PeerShare {
            network: network.to_string(),
            orphans: *orphans,
            bytes: *bytes,
        })
        .collect();
    peers.sort_by_key(|peer| Reverse((peer.orphans, peer.bytes)));
    peers.truncate(PEERS);
    peers
}

/// Rows by process: most orphans, then most sockets, then pid.
pub(super) fn processes(context: &Context<'_>) -> Vec<ProcessRow> {
    let mut rows: Vec<ProcessRow> = context
        .rollup
        .processes
        .iter()
        .map(|(key, sum)| process(context, key, sum))
        .filter(|row| row.pid.is_some() || row.sockets > 0 || row.orphans > 0)
        .collect();
    rows.sort_by_cached_key(|row| (Reverse(row.orphans), Reverse(row.sockets), row.pid));
    rows
}

fn process(context: &Context<'_>, key: &ProcessKey, sum: &ProcessSum) -> ProcessRow {
    let counters = &sum.counters;
    let pid = sum.owner.as_ref().map(|owner| owner.pid);
    ProcessRow {
        bytes: context.observed.bytes_of(pid),
        closed_fds: context.observed.closed_fds_of(pid),
        workload: sum.workload.as_deref().map(str::to_owned),
        pid,
        comm: sum.owner.as_ref().map(|owner| owner.comm.clone()),
        cgroup: sum.cgroup.clone(),
        alive: sum.alive,
        owner_unchecked: sum.unchecked,
        sockets: rollup::sockets(counters),
        orphans: counters.population(Counter::Orphans),
        growth_per_s: context
            .history
            .process_series(key)
            .map_or(Some(0.0), |series| Trend::of(&series).per_s),
        states: rollup::states(counters),
        totals: rollup::totals(counters),
        orphan_ends: rollup::orphan_ends(counters),
        orphan_end_details: rollup::orphan_end_details(counters),
        ports: sum.ports.iter().copied().collect(),
    }
}
