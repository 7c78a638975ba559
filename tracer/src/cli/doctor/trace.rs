//! The doctor over a trace: what it would have said at a moment of it.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result};
use jiff::tz::TimeZone;

use super::super::fold::{ALL, Fold};
use super::super::gaps::{self, Gaps};
use super::super::replay::tape::FileTape;
use super::super::zone;
use crate::diagnose::{Badness, Report, Watch};
use crate::event::{Event, Input};
use crate::filter::Filter;
use crate::format::count;
use crate::playback::goto::Goto;
use crate::recording::lookback::Lookback;
use crate::recording::narrow::{Narrowed, Narrowing};
use crate::recording::{Sink, Trace, Want};

/// The report of the moment that `at` means, or of the worst one.
///
/// # Errors
///
/// It has no moment, or none like that.
pub(super) fn report(
    trace: Trace,
    path: &Path,
    at: Option<&Goto>,
    narrowing: &Narrowing,
) -> Result<(Report, Vec<String>)> {
    let zone = zone::reader();
    let all = trace.ticks().len();
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let Some(place) = at else {
        let mut gaps = Gaps::of(&trace);
        let worst = worst(&trace, narrowing, &mut gaps)?;
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
    let (trace, gaps) = tape.into_parts();
    let report = Fold::at(&trace, tick, narrowing)?.and_then(|fold| fold.report());
    let report = report.context("the trace has no such moment")?;
    let notes = notes(gaps, &trace, &zone);
    let (this, all) = (count(tick as u64 + 1), count(all as u64));
    let note = format!("moment {this} of {all} of {name}");
    Ok((report.of_trace(Some(note)), notes))
}

/// What of the trace is not whole, as far as that is known.
fn notes(gaps: Gaps, trace: &Trace, zone: &TimeZone) -> Vec<String> {
    let mut notes = gaps::notes(&gaps.into_list(), trace, zone);
    notes.extend(gaps::not_closed(trace, zone));
    notes
}

/// The worst moment, the first of several alike, and its report.
fn worst(trace: &Trace, narrowing: &Narrowing, gaps: &mut Gaps) -> Result<Option<(usize, Report)>> {
    let mut fold = Fold::begin(trace, None, narrowing);
    let mut worst: Option<(Badness, usize)> = None;
    while let Some(snapshot) = fold.next_seen(trace, Want::NoEvents, ALL, gaps)? {
        let badness = snapshot.badness();
        if let Some(tick) = fold.moment()
            && worst.as_ref().is_none_or(|(most, _)| badness > *most)
        {
            worst = Some((badness, tick));
        }
    }
    let Some((_, tick)) = worst else { return Ok(None) };
    let report = Fold::at(trace, tick, narrowing)?.and_then(|fold| fold.report());
    Ok(report.map(|report| (tick, report)))
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

#[cfg(test)]
mod tests;
