//! The core: a pure fold from [`Input`]s to a [`Snapshot`].
//!
//! It reads no clock, does no I/O and knows no source: time is an input, and a file feeds it as
//! the kernel does.
//!
//! * [`snapshot`]: what comes out; `rollup`: groups into services and processes;
//! * [`quantile`]: FIN_WAIT1 times; `judged`: what the judge ([`crate::diagnose::Judge`]) is given;
//! * [`verdict`]: the first line;
//! * [`checkpoint`]: the fold's state as bytes; [`json`]: the snapshot for scripts;
//! * `history`: the last minutes; `rates`: what changed since the last tick; `rows`: the rows of the
//!   snapshot.
#![forbid(unsafe_code)]

mod causes;
pub mod checkpoint;
mod history;
pub mod json;
mod judged;
pub mod quantile;
mod rates;
mod rollup;
mod rows;
pub mod snapshot;
pub mod verdict;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use causes::Observed;
use history::History;
use rates::{rate, state_rates, total_rates};
use rollup::Rollup;
use snapshot::{
    BadEnd, Fidelity, FidelityTable, Host, MemState, Namespaces, Orphans, OwnCost, Snapshot,
    SourceKind, StateRates, States, TcpMem, TotalRates, TwBuckets,
};
use tracer_common::counters::{Counter, OrphanCause, OrphanEnd};

use crate::diagnose::trend::Trend;
use crate::diagnose::{Judge, Report};
use crate::event::{DiagSample, Event, EventKind, Input, Lost, Minisockets, Totals};
use crate::facts::Facts;
use crate::facts::elsewhere::{Elsewhere, KILLED};
use crate::facts::observer::Observer;
use crate::filter::Filter;
use crate::gauges::{Gauges, MemLimits, Pages};
use crate::time::{ClockAnchor, Monotonic};

/// Orphans that ended badly, kept by name.
const BAD_ENDS: usize = 64;

/// What holds for a whole run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where inputs come from.
    pub source: SourceKind,
    /// The machine.
    pub host: Host,
    /// Both clocks at one moment.
    pub anchor: ClockAnchor,
    /// When tracing began.
    pub began: Monotonic,
    /// How far each signal can be trusted.
    pub fidelity: FidelityTable,
    /// What can't be seen at all, in words.
    pub unseen: Vec<String>,
    /// The filter, for people; empty without one.
    pub filter: String,
    /// Whether there is a filter that sockets must pass: then minisockets are counted per
    /// service rather than by the kernel's gauge.
    pub filtered: bool,
    /// The interval between ticks, seconds.
    pub interval_s: f64,
    /// Takes in what the judge looks at beside the counts.
    pub observer: Observer,
    /// What the judge is asked about: listeners, processes and cgroups that match it.
    pub about: Filter,
}

/// The fold.
#[derive(Debug)]
pub struct Aggregator {
    settings: Settings,
    /// The gauges when tracing began: counters are told since then.
    first_gauges: Option<Gauges>,
    gauges: Gauges,
    totals: Totals,
    diag: DiagSample,
    /// TIME_WAIT minisockets by service, from the last sample that counted them.
    time_wait: BTreeMap<crate::event::Service, u64>,
    own_cost: OwnCost,
    /// The other network namespaces, as they were last looked at.
    elsewhere: Option<Elsewhere>,
    history: History,
    judge: Judge,
    bad_ends: VecDeque<BadEnd>,
    last: Option<Last>,
    /// Events missing in the trace.
    gap_events: u64,
    snapshot: Arc<Snapshot>,
}

/// What the next tick's rates are measured from.
#[derive(Debug)]
struct Last {
    at: Monotonic,
    rollup: Rollup,
    states: States,
}

impl Aggregator {
    /// An empty fold.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let snapshot = Arc::new(rows::empty(&settings));
        let judge = Judge::new(settings.observer.clone(), settings.about.clone());
        Self {
            settings,
            judge,
            first_gauges: None,
            gauges: Gauges::default(),
            totals: Totals::default(),
            diag: DiagSample::default(),
            time_wait: BTreeMap::new(),
            own_cost: OwnCost::default(),
            elsewhere: None,
            history: History::default(),
            bad_ends: VecDeque::new(),
            last: None,
            gap_events: 0,
            snapshot,
        }
    }

    /// Takes one input in. Only [`Input::Tick`] makes a new snapshot.
    pub fn apply(&mut self, input: Input) {
        self.judge.take(&input);
        match input {
            Input::Event(event) => self.event(&event),
            Input::Totals(totals) => self.totals = totals,
            Input::Gauges(gauges) => {
                self.first_gauges.get_or_insert_with(|| gauges.clone());
                self.gauges = gauges;
            }
            Input::Diag(sample) => {
                if sample.has_time_wait {
                    self.time_wait = sample
                        .services
                        .iter()
                        .map(|(service, seen)| (*service, seen.time_wait))
                        .collect();
                }
                self.diag = sample;
            }
            // The rest is the judge's.
            Input::Facts(facts) => self.look_elsewhere(&facts),
            Input::OwnCost(cost) => self.own_cost = cost,
            Input::Gap(events) => self.gap_events = self.gap_events.saturating_add(events),
            Input::Tick(at) => self.tick(at),
        }
    }

    /// The snapshot of the last tick.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot)
    }

    /// The doctor's report at the last tick; `None` before the first.
    #[must_use]
    pub fn report(&self) -> Option<Report> {
        self.judge.report(&self.settings.host.name)
    }

    /// Of what was known at a moment before the next tick, after [`Self::restore`]: see
    /// [`Judge::remember`].
    pub fn remember(&mut self, facts: Facts) {
        self.look_elsewhere(&facts);
        self.judge.remember(facts);
    }

    fn look_elsewhere(&mut self, facts: &Facts) {
        if let Ok(seen) = &facts.elsewhere {
            self.elsewhere = Some(seen.clone());
        }
    }

    /// The observer that has seen all inputs before the next tick, after [`Self::restore`].
    pub fn resume(&mut self, observer: Observer) {
        self.judge.resume(observer);
    }

    /// Takes one event in. Of single events only the orphans that ended badly are kept: they name
    /// the peer.
    pub fn event(&mut self, event: &Event) {
        let EventKind::OrphanEnd { reason, cause, .. } = event.kind else { return };
        if matches!(reason, OrphanEnd::Acked | OrphanEnd::TimeWait) {
            return;
        }
        if self.bad_ends.len() == BAD_ENDS {
            self.bad_ends.pop_front();
        }
        self.bad_ends.push_back(BadEnd {
            time: self.settings.anchor.wall(event.at),
            port: event.local.1,
            peer: event.peer.into(),
            reason: reason.name(),
            cause: cause.map(OrphanCause::name),
            owner: event.owner.as_deref().cloned(),
        });
    }

    /// Increase of a TcpExt counter since tracing began.
    fn counted(&self, name: &str) -> u64 {
        let now = self.gauges.tcp_ext.get(name).copied().unwrap_or(0);
        let first = self.first_gauges.as_ref().and_then(|first| first.tcp_ext.get(name).copied());
        now.saturating_sub(first.unwrap_or(0))
    }

    fn tick(&mut self, at: Monotonic) {
        let time = self.settings.anchor.wall(at);
        let rollup = Rollup::of(&self.totals.groups);
        let states = self.states(&rollup);
        let elapsed = self.last.as_ref().map_or(0.0, |last| at.seconds_since(last.at));
        let previous = self.last.take();

        let host_orphans = self.gauges.sockets.orphan.unwrap_or(0);
        let pages = self.gauges.sockets.mem.map_or(0, |pages| pages.0);
        let opened_per_s = previous.as_ref().map_or(0.0, |last| {
            rate(last.rollup.all.total(Counter::Opened), rollup.all.total(Counter::Opened), elapsed)
        });
        self.history.record(time, host_orphans, pages, opened_per_s, &rollup);

        let orphans = self.orphans(host_orphans, &rollup);
        let mut tcp_mem = self.tcp_mem(pages, &rollup);
        let counted = self.judged(&orphans, &rollup, previous.as_ref().map(|it| &it.rollup));
        self.judge.tick(at, time, counted);
        let verdict = verdict::verdict(self.judge.findings(), &orphans, &tcp_mem);

        let mut own_cost = self.own_cost;
        own_cost.events_per_s = previous.as_ref().map_or(0.0, |last| {
            rate(
                last.rollup.all.total(Counter::Changes),
                rollup.all.total(Counter::Changes),
                elapsed,
            )
        });
        let observed = Observed::of(self.judge.facts(), &self.settings.about);
        tcp_mem.held_by = observed.held_by();
        let context = rows::Context {
            rollup: &rollup,
            previous: previous.as_ref().map(|last| &last.rollup),
            elapsed_s: elapsed,
            totals: &self.totals,
            diag: &self.diag,
            time_wait: &self.time_wait,
            history: &self.history,
            fidelity: &self.settings.fidelity,
            observed,
        };
        let ports = rows::ports(&context);
        let processes = rows::processes(&context);
        let mut counters: BTreeMap<&'static str, u64> = BTreeMap::new();
        for name in self.gauges.tcp_ext.keys() {
            counters.insert(name, self.counted(name));
        }
        self.snapshot = Arc::new(Snapshot {
            schema: snapshot::SCHEMA,
            time,
            elapsed_s: at.seconds_since(self.settings.began),
            source: self.settings.source,
            host: self.settings.host.clone(),
            states,
            states_per_s: previous.as_ref().map_or_else(StateRates::default, |last| {
                state_rates(&last.states, &states, elapsed)
            }),
            totals: rollup::totals(&rollup.all),
            totals_per_s: previous.as_ref().map_or_else(TotalRates::default, |last| {
                total_rates(
                    &rollup::totals(&last.rollup.all),
                    &rollup::totals(&rollup.all),
                    elapsed,
                )
            }),
            resets_out_unseen: self.resets_out_unseen(&rollup),
            orphans,
            tcp_mem,
            tw_buckets: TwBuckets {
                now: self.gauges.sockets.tw.unwrap_or(0),
                limit: self.gauges.limits.max_tw_buckets.unwrap_or(0),
                fin_wait2: Some(self.diag.fin_wait2_minisockets),
            },
            namespaces: self.elsewhere.as_ref().map(Namespaces::of),
            minisockets: self.minisockets().map(|sum| rollup::minisockets(&sum, &rollup.all)),
            ports,
            processes,
            counters,
            lost: Lost {
                detail: self.totals.lost.detail.saturating_add(self.gap_events),
                ..self.totals.lost
            },
            sockets_age_s: observed.age_s(at),
            fidelity: self.settings.fidelity.clone(),
            unseen: self.settings.unseen.clone(),
            own_cost,
            state_changes: rollup.all.total(Counter::Changes),
            verdict,
            filter: self.settings.filter.clone(),
            interval_s: self.settings.interval_s,
            findings: self.judge.findings().to_vec(),
            anomalies: self.judge.anomalies(),
            bad_ends: self.bad_ends.iter().cloned().collect(),
            history: self.history.points(),
        });
        self.last = Some(Last { at, rollup, states });
    }

    /// See [`Snapshot::resets_out_unseen`].
    fn resets_out_unseen(&self, rollup: &Rollup) -> Option<u64> {
        let reported = self.settings.fidelity.get("reset_out")?.of_totals();
        if self.settings.filtered || reported == Fidelity::Absent {
            return None;
        }
        let sent = |gauges: &Gauges| gauges.tcp.get("OutRsts").copied();
        let counted = sent(&self.gauges)?.saturating_sub(sent(self.first_gauges.as_ref()?)?);
        Some(counted.saturating_sub(rollup.all.total(Counter::ResetsOut)))
    }

    /// All services' minisockets; `None` where no hook counts them.
    fn minisockets(&self) -> Option<Minisockets> {
        let services = self.totals.minisockets.as_ref()?;
        let mut sum = Minisockets::default();
        services.values().for_each(|service| sum.merge(service));
        Some(sum)
    }

    /// Full sockets from the exact totals; minisockets too, or from what was sampled of them.
    fn states(&self, rollup: &Rollup) -> States {
        let mut states = rollup::states(&rollup.all);
        states.syn_recv += self.diag.services.values().map(rows::half_open).sum::<u64>();
        if let Some(minisockets) = self.minisockets() {
            let now = rollup::minisockets(&minisockets, &rollup.all);
            states.fin_wait2 += now.fin_wait2;
            states.time_wait = now.time_wait;
        } else if self.settings.filtered {
            let of = |count: fn(&crate::event::DiagService) -> u64| -> u64 {
                self.diag.services.values().map(count).sum()
            };
            states.fin_wait2 += of(|service| service.fin_wait2_minisockets);
            states.time_wait = self.time_wait.values().sum();
        } else {
            states.fin_wait2 += self.diag.fin_wait2_minisockets;
            states.time_wait =
                self.gauges.sockets.tw.unwrap_or(0).saturating_sub(self.diag.fin_wait2_minisockets);
        }
        states
    }

    fn orphans(&self, host: u64, rollup: &Rollup) -> Orphans {
        let trend = Trend::of(&self.history.series(|point| point.orphans_host));
        let tracked = rollup.all.population(Counter::Orphans);
        let limit = self.gauges.limits.max_orphans;
        let ours = tracked.saturating_add(self.totals.orphans_outside);
        Orphans {
            host,
            limit,
            tracked,
            by_state: rollup::orphan_states(&rollup.all),
            bytes: self.diag.services.values().map(|service| service.orphan_bytes).sum(),
            growth_per_s: trend.per_s,
            growth_seen_s: trend.seen_s,
            limit_in_s: trend.seconds_until(host, limit.unwrap_or(0)),
            killed: self
                .counted(KILLED)
                .saturating_add(self.elsewhere.as_ref().map_or(0, |it| it.killed)),
            drift: i64::try_from(ours).unwrap_or(i64::MAX)
                - i64::try_from(host).unwrap_or(i64::MAX),
        }
    }

    fn tcp_mem(&self, pages: u64, rollup: &Rollup) -> TcpMem {
        let limits = self.gauges.limits.tcp_mem;
        let limit = |of: fn(MemLimits) -> Pages| limits.map(|limits| of(limits).0);
        let (low, high) = (limit(|it| it.low), limit(|it| it.high));
        let trend = Trend::of(&self.history.series(|point| point.tcp_mem_pages));
        let flag = self.gauges.memory.pressure.unwrap_or(false);
        let state = if high.is_some_and(|high| high > 0 && pages > high) {
            MemState::Exhausted
        } else if flag {
            MemState::Pressure
        } else if low.is_some_and(|low| low > 0 && pages >= low) {
            MemState::Rising
        } else {
            MemState::Ok
        };
        TcpMem {
            pages,
            low,
            pressure: limit(|it| it.pressure),
            high,
            page_bytes: self.gauges.limits.page.0,
            state,
            entered: self.totals.pressures.unwrap_or_else(|| self.counted("TCPMemoryPressures")),
            refused: rows::hooked(
                &self.settings.fidelity,
                "mem_refused",
                &rollup.all,
                Counter::MemoryRefused,
            ),
            growth_per_s: trend.per_s,
            growth_seen_s: trend.seen_s,
            limit_in_s: trend.seconds_until(pages, high.unwrap_or(0)),
            held_by: None,
        }
    }
}

#[cfg(test)]
mod tests;
