//! The doctor over a trace: what it would have said at a moment of it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use jiff::tz::TimeZone;

use super::super::gaps::{self, Gaps};
use super::super::replay::tape::FileTape;
use super::super::zone;
use crate::diagnose::{About, Report, State, WINDOW_S, Watch, examine};
use crate::event::{Event, Input};
use crate::facts::Facts;
use crate::facts::keeper::STALE_S;
use crate::filter::Filter;
use crate::format::count;
use crate::playback::goto::Goto;
use crate::recording::lookback::Lookback;
use crate::recording::narrow::{Narrowed, Narrowing};
use crate::recording::{Gap, Sink, Trace, Want};

/// The report of the moment that `at` means, or of the worst one.
///
/// # Errors
///
/// It has no moment, or none like that.
pub(super) fn report(
    trace: Trace,
    path: &Path,
    at: Option<&Goto>,
    filter: &Filter,
) -> Result<(Report, Vec<String>)> {
    let zone = zone::reader();
    let all = trace.ticks().len();
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let Some(place) = at else {
        let mut gaps = Gaps::of(&trace);
        let worst = worst(&trace, filter, &mut gaps)?;
        let notes = notes(gaps, &trace, &zone);
        let (tick, report) = worst.ok_or_else(|| gaps::no_moment(&trace))?;
        let clock = trace.run().anchor.wall(trace.ticks()[tick]).clock(&zone);
        let note = format!(
            "the worst of {} moments of {name}, at {clock}; --at looks at another",
            count(all as u64)
        );
        return Ok((report.of_trace(Some(note)), notes));
    };
    let mut tape = FileTape::new(trace, zone.clone());
    let tick = tape.find(place, "--at")?;
    let (trace, mut gaps) = tape.into_parts();
    let mut visits = Visits::new(filter.clone());
    let report = visits.at(&trace, tick)?.context("the trace has no such moment")?;
    gaps.extend(visits.gaps());
    let notes = notes(gaps, &trace, &zone);
    let (this, all) = (count(tick as u64 + 1), count(all as u64));
    let note = format!("moment {this} of {all} of {name}");
    Ok((Report::clone(&report).of_trace(Some(note)), notes))
}

/// What of the trace is not whole, as far as that is known.
fn notes(gaps: Gaps, trace: &Trace, zone: &TimeZone) -> Vec<String> {
    let mut notes = gaps::notes(&gaps.into_list(), trace, zone);
    notes.extend(gaps::not_closed(trace, zone));
    notes
}

/// The worst moment, the first of several alike, and its report.
fn worst(trace: &Trace, filter: &Filter, gaps: &mut Gaps) -> Result<Option<(usize, Report)>> {
    let mut lookback = Lookback::begin(trace);
    let mut watch = None;
    let mut worst: Option<(Badness, usize, Report)> = None;
    while let Some(facts) = lookback.next(trace, usize::MAX)? {
        let watch = go_on(&mut watch, facts, filter);
        let report = of(trace, watch);
        let badness = Badness::of(&report);
        if worst.as_ref().is_none_or(|(most, ..)| badness > *most) {
            worst = Some((badness, lookback.ticks() - 1, report));
        }
    }
    gaps.extend(lookback.gaps());
    Ok(worst.map(|(_, tick, report)| (tick, report)))
}

/// Whether the filter lets anything through of what the trace recorded: of what a doctor looks at, or
/// of the totals.
///
/// # Errors
///
/// A file cannot be read.
pub(super) fn matches(trace: &Trace, filter: &Filter) -> Result<bool> {
    let mut lookback = Lookback::begin(trace);
    while let Some(facts) = lookback.next(trace, usize::MAX)? {
        let watch = Watch::new(Vec::new(), facts).about(filter.clone());
        if watch.matches() == Some(true) {
            return Ok(true);
        }
    }
    if !filter.beyond_totals().is_empty() {
        return Ok(false);
    }
    let narrowing = Narrowing::new(filter.clone(), trace)?;
    let (mut groups, mut services) = (Groups::default(), BTreeSet::new());
    let mut cursor = trace.start();
    while !groups.0
        && trace.read(
            &mut cursor,
            Want::NoEvents,
            &mut Narrowed::new(&narrowing, &mut services, &mut groups),
        )?
    {}
    Ok(groups.0)
}

/// Whether there were any groups.
#[derive(Default)]
struct Groups(bool);

impl Sink for Groups {
    fn event(&mut self, _: u64, _: &Event) {}

    fn input(&mut self, input: Input) {
        if let Input::Totals(totals) = input {
            self.0 |= !totals.groups.is_empty();
        }
    }
}

/// What makes one moment worse than another, what weighs most first.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
struct Badness {
    critical: usize,
    /// The kernel refuses already.
    refused: usize,
    warned: usize,
    /// The highest use of a limit that does harm; where the kernel refuses, the first such moment
    /// counts, not how many are there again some seconds later.
    used: f64,
}

impl Badness {
    fn of(report: &Report) -> Self {
        // A file's lines are the same at every moment.
        let resources = || report.checks.iter().filter(|it| it.limit.is_some() && !it.harmless);
        let number = |state: State| resources().filter(|it| it.state == state).count();
        let refused = resources().filter(|it| it.in_s == Some(0.0)).count();
        let used = resources().filter_map(|it| it.used).fold(0.0, f64::max);
        Self {
            critical: number(State::Crit),
            refused,
            warned: number(State::Warn),
            used: if refused > 0 { 0.0 } else { used },
        }
    }
}

/// Goes from moment to moment of a trace, wherever a screen goes.
#[derive(Debug)]
pub(in crate::cli) struct Visits {
    filter: Filter,
    on_the_way: Option<(Lookback, Option<Watch>)>,
    last: Option<(usize, Arc<Report>)>,
}

impl Visits {
    /// About what this filter lets through, see [`Watch::about`].
    pub(in crate::cli) const fn new(filter: Filter) -> Self {
        Self { filter, on_the_way: None, last: None }
    }

    /// What was damaged on the way to the last report.
    pub(in crate::cli) fn gaps(&self) -> &[Gap] {
        self.on_the_way.as_ref().map_or(&[], |(lookback, _)| lookback.gaps())
    }

    /// The report at a tick; `None` where there is no such tick.
    ///
    /// # Errors
    ///
    /// A file cannot be read.
    pub(in crate::cli) fn at(&mut self, trace: &Trace, tick: usize) -> Result<Option<Arc<Report>>> {
        if let Some((there, report)) = &self.last
            && *there == tick
        {
            return Ok(Some(Arc::clone(report)));
        }
        let (mut lookback, mut watch) = match self.on_the_way.take() {
            Some(way) if is_near(trace, &way.0, tick) => way,
            _ => (Lookback::before(trace, tick, WINDOW_S), None),
        };
        while let Some(facts) = lookback.next(trace, tick.saturating_add(1))? {
            go_on(&mut watch, facts, &self.filter);
        }
        let reached = lookback.moment() == Some(tick);
        let report = watch.as_ref().filter(|_| reached).map(|watch| Arc::new(of(trace, watch)));
        self.on_the_way = Some((lookback, watch));
        self.last = report.clone().map(|report| (tick, report));
        Ok(report)
    }
}

/// Whether going on is no longer than beginning anew.
fn is_near(trace: &Trace, lookback: &Lookback, tick: usize) -> bool {
    let next = lookback.ticks();
    match (trace.ticks().get(next), trace.ticks().get(tick)) {
        (Some(from), Some(to)) => next <= tick && to.seconds_since(*from) <= WINDOW_S + STALE_S,
        _ => false,
    }
}

fn go_on<'a>(watch: &'a mut Option<Watch>, facts: Facts, filter: &Filter) -> &'a Watch {
    match watch {
        Some(watch) => {
            watch.push(facts);
            watch
        }
        None => watch.insert(Watch::new(Vec::new(), facts).about(filter.clone())),
    }
}

fn of(trace: &Trace, watch: &Watch) -> Report {
    let run = trace.run();
    let about = About { time: run.anchor.wall(watch.last().at), host: run.host.name.clone() };
    examine(watch, about).of_trace(None)
}

#[cfg(test)]
mod tests;
