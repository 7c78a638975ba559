//! Reads a trace once and has the report made of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use jiff::tz::TimeZone;

use super::super::filter;
use super::super::fold::{Fold, Onlooker};
use super::super::gaps::{self, Gaps};
use super::facts;
use crate::error::Failure;
use crate::event::{Event, Input, Service};
use crate::format::nothing_matches;
use crate::recording::narrow::Narrowing;
use crate::recording::{Gap, Trace, Want};
use crate::report::model::Doctor;
use crate::report::redact::TRACE;
use crate::report::{Begin, Collector, Report};
use crate::time::Wall;

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
    let mut reading = Reading { collector, gaps: Gaps::default() };
    let mut matched = false;
    while let Some(snapshot) =
        fold.next_seen(trace, Want::Everything, part.to.saturating_add(1), &mut reading)?
    {
        matched |= filter::has_rows(&snapshot);
        reading.collector.moment(&snapshot);
    }
    let Reading { collector, gaps } = reading;
    let gaps = in_range(trace, part, gaps);
    let said = gaps::notes(&gaps, trace, &part.zone);
    let words: Vec<(Option<Wall>, String)> = gaps
        .iter()
        .map(|gap| {
            let at = gap.after.or(gap.before).map(|at| trace.run().anchor.wall(at));
            (at, gaps::words(gap, trace, &part.zone))
        })
        .collect();
    let missing = gaps.iter().filter_map(|gap| gap.events).fold(0, u64::saturating_add);
    let rest = facts::rest(trace, &part.file, words, missing)?;
    let mut notes = filter::notes(&part.narrowing, trace);
    if !matched && !part.narrowing.is_empty() {
        notes.push(nothing_matches(&part.narrowing.filter().describe()));
    }
    notes.extend(said);
    if !rest.trace.ended_cleanly {
        notes.push(format!("the trace {}", rest.trace.ended));
    }
    let Some(mut report) = collector.finish(rest) else {
        if part.to + 1 - part.from == trace.ticks().len() {
            return Err(gaps::no_moment(trace));
        }
        return Err(Failure::failed("all moments from --from to --to are damaged")
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
    // Where the moment before it is damaged, one before that has to do.
    let mut last = before;
    loop {
        let mut fold = Fold::before(trace, last, &part.narrowing)?;
        let mut counted = Counted::default();
        let mut snapshot = None;
        while let Some(next) = fold.next_seen(trace, Want::Everything, part.from, &mut counted)? {
            snapshot = Some(next);
        }
        let begin = last.saturating_sub(1 + (before - last));
        if snapshot.is_some() || last == 0 {
            return Ok((fold, snapshot, Some(counted.0)));
        }
        last = begin;
    }
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
    gaps: Gaps,
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
        self.gaps.add(gap);
    }
}

/// The gaps met while reading, and those that only headers tell of, in the range.
fn in_range(trace: &Trace, part: &Part, mut met: Gaps) -> Vec<Gap> {
    let (first, last) = (trace.ticks().get(part.from), trace.ticks().get(part.to));
    let whole = part.to + 1 == trace.ticks().len();
    let inside = |gap: &&Gap| {
        let begins =
            part.from == 0 || gap.before.as_ref().is_none_or(|before| Some(before) >= first);
        let ends = whole || gap.after.as_ref().is_none_or(|after| Some(after) <= last);
        begins && ends
    };
    met.extend(trace.gaps().iter().filter(inside));
    met.into_list()
}

/// The doctor's report of the worst moment.
fn doctor(trace: &Trace, part: &Part, report: &Report) -> Result<Doctor> {
    let worst = report.impact.worst.time;
    let anchor = trace.run().anchor;
    let tick = trace.ticks().partition_point(|tick| anchor.wall(*tick) < worst);
    Ok(match Fold::at(trace, tick, &part.narrowing)?.and_then(|fold| fold.report()) {
        Some(found) => Doctor { report: Some(found), note: String::new() },
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
