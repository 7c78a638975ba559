//! Reads a trace once and has the report made of it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use anyhow::Result;
use jiff::tz::TimeZone;

use super::super::doctor::trace::Visits;
use super::super::filter;
use super::super::fold::{Fold, Onlooker};
use super::super::replay::tape::told;
use super::facts;
use crate::diagnose;
use crate::error::Failure;
use crate::event::{Event, Input, Service};
use crate::format::count;
use crate::recording::narrow::Narrowing;
use crate::recording::{Gap, Trace};
use crate::report::model::Doctor;
use crate::report::redact::TRACE;
use crate::report::{Begin, Collector, Report};
use crate::time::Wall;

/// Gaps told on stderr.
const MOST_NOTES: usize = 20;
/// Gaps kept.
const MOST_GAPS: usize = 4096;

/// Which part of a trace, and how to tell of it.
#[derive(Debug)]
pub(super) struct Part {
    /// The index of the first moment.
    pub(super) from: usize,
    /// The index of the last.
    pub(super) to: usize,
    pub(super) narrowing: Narrowing,
    pub(super) redact: bool,
    /// The trace, as typed.
    pub(super) file: String,
    pub(super) zone: TimeZone,
}

/// The report, and what to say on stderr.
pub(super) struct Gathered {
    pub(super) report: Report,
    pub(super) notes: Vec<String>,
}

/// Reads.
pub(super) fn gather(trace: &Trace, part: &Part) -> Result<Gathered> {
    let (mut fold, before, times) = begin(trace, part)?;
    let file = if part.redact { TRACE.to_owned() } else { quoted(&part.file) };
    let mut collector = Collector::new(Begin {
        filter: part.narrowing.filter().clone(),
        moments: part.to + 1 - part.from,
        beheaded: before.is_none() && trace.run().piece > 0,
        before,
        replay: format!("sockflow replay {file}"),
        zone: part.zone.clone(),
    });
    if let Some(times) = times {
        collector.fin_wait1(&times);
        collector.begins_here();
    }
    let mut reading = Reading { collector, gaps: Vec::new() };
    let mut matched = false;
    while fold.ticks() <= part.to
        && let Some(snapshot) = fold.next_seen(trace, &mut reading)?
    {
        matched |= filter::has_rows(&snapshot);
        reading.collector.moment(&snapshot);
    }
    let Reading { collector, gaps } = reading;
    let gaps = in_range(trace, part, gaps);
    let words: Vec<(Option<Wall>, String)> = gaps
        .iter()
        .map(|gap| {
            let at = gap.after.or(gap.before).map(|at| trace.run().anchor.wall(at));
            (at, told(gap, trace, &part.zone))
        })
        .collect();
    let missing = gaps.iter().filter_map(|gap| gap.events).sum();
    let rest = facts::rest(trace, &part.file, words, missing)?;
    let mut notes = filter::notes(&part.narrowing, trace);
    if !matched && !part.narrowing.is_empty() {
        notes.push(filter::nothing_matches(&part.narrowing.filter().describe()));
    }
    notes.extend(rest.gaps.iter().take(MOST_NOTES).map(|(_, words)| words.clone()));
    if rest.gaps.len() > MOST_NOTES {
        let more = rest.gaps.len() - MOST_NOTES;
        notes.push(format!("and {} more such places", count(more as u64)));
    }
    if !rest.trace.ended_cleanly {
        notes.push(format!("the trace {}", rest.trace.ended));
    }
    let Some(mut report) = collector.finish(rest) else {
        return Err(Failure::failed("the trace ends before the first moment asked for")
            .hint(format!("see what is in it: sockflow replay {file}"))
            .into());
    };
    report.doctor = doctor(trace, part, &report)?;
    Ok(Gathered { report, notes })
}

type Times = BTreeMap<Service, Vec<(u32, u64)>>;

/// A fold at the first moment, what was known at the moment before it, and what was counted of
/// FIN_WAIT1 until then.
fn begin(
    trace: &Trace,
    part: &Part,
) -> Result<(Fold, Option<Arc<crate::aggregate::snapshot::Snapshot>>, Option<Times>)> {
    let Some(before) = part.from.checked_sub(1) else {
        return Ok((Fold::begin(trace, None, &part.narrowing), None, None));
    };
    let mut fold = Fold::before(trace, before, &part.narrowing)?;
    let mut counted = Counted::default();
    let snapshot = fold.next_seen(trace, &mut counted)?;
    Ok((fold, snapshot, Some(counted.0)))
}

#[derive(Default)]
struct Counted(Times);

impl Onlooker for Counted {
    fn input(&mut self, input: &Input) {
        if let Input::Totals(totals) = input {
            self.0.clone_from(&totals.fin_wait1);
        }
    }
}

struct Reading {
    collector: Collector,
    gaps: Vec<Gap>,
}

impl Onlooker for Reading {
    fn event(&mut self, event: &Event) {
        self.collector.event(event);
    }

    fn input(&mut self, input: &Input) {
        match input {
            Input::Totals(totals) => self.collector.fin_wait1(&totals.fin_wait1),
            Input::Facts(facts) => self.collector.facts(facts),
            _ => {}
        }
    }

    fn gap(&mut self, gap: &Gap) {
        if self.gaps.len() < MOST_GAPS {
            self.gaps.push(gap.clone());
        }
    }
}

/// The gaps met while reading, and those that only headers tell of, in the range.
fn in_range(trace: &Trace, part: &Part, met: Vec<Gap>) -> Vec<Gap> {
    let known: HashSet<_> = met.iter().map(|gap| (gap.piece.clone(), gap.offset)).collect();
    let (first, last) = (trace.ticks().get(part.from), trace.ticks().get(part.to));
    let whole = part.to + 1 == trace.ticks().len();
    let inside = |gap: &&Gap| {
        let begins =
            part.from == 0 || gap.before.as_ref().is_none_or(|before| Some(before) >= first);
        let ends = whole || gap.after.as_ref().is_some_and(|after| Some(after) <= last);
        begins && ends
    };
    let unmet = trace.gaps().iter().filter(|gap| !known.contains(&(gap.piece.clone(), gap.offset)));
    let unmet: Vec<Gap> = unmet.filter(inside).cloned().collect();
    met.into_iter().chain(unmet).collect()
}

/// What the doctor would have said at the worst moment.
fn doctor(trace: &Trace, part: &Part, report: &Report) -> Result<Doctor> {
    let worst = report.impact.worst.time;
    let anchor = trace.run().anchor;
    let tick = trace.ticks().partition_point(|tick| anchor.wall(*tick) < worst);
    Ok(match Visits::new(part.narrowing.filter().clone()).at(trace, tick)? {
        Some(found) => {
            Doctor { report: Some(diagnose::Report::clone(&found)), note: String::new() }
        }
        None => Doctor { report: None, note: "What the doctor looks at cannot be read.".into() },
    })
}

/// A word for a shell, as it is typed where that is safe.
fn quoted(word: &str) -> String {
    let is_safe = |c: char| c.is_alphanumeric() || "/._-+=:@%,".contains(c);
    if !word.is_empty() && word.chars().all(is_safe) && !word.starts_with('-') {
        return word.to_owned();
    }
    // A name that begins with a dash would be an option.
    let dashed = if word.starts_with('-') { "./" } else { "" };
    format!("'{dashed}{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_word_for_a_shell() {
        assert_eq!(quoted("a/incident-1.sockflow"), "a/incident-1.sockflow");
        assert_eq!(quoted("it's $(x)"), "'it'\\''s $(x)'");
        assert_eq!(quoted("-o"), "'./-o'");
        assert_eq!(quoted(""), "''");
    }
}
