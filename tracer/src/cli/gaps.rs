//! Where a trace is not whole: gathered while it is read, and said in words.

use std::collections::HashSet;
use std::path::PathBuf;

use jiff::tz::TimeZone;

use super::fold::Onlooker;
use crate::error::Failure;
use crate::format::{bytes, count, millis};
use crate::recording::{Ended, Gap, MOST_SEARCHED, Sink, Trace};
use crate::time::{Monotonic, Wall};

/// Gaps said one by one; one more line sums up all of them.
const MOST_SAID: usize = 10;

/// The gaps of a trace as far as they are known, each once however often it was met: those that
/// headers show, and those that are found only when a payload is read.
#[derive(Debug, Default)]
pub(in crate::cli) struct Gaps {
    all: Vec<Gap>,
    known: HashSet<(PathBuf, u64)>,
}

impl Gaps {
    /// Those that headers show.
    pub(in crate::cli) fn of(trace: &Trace) -> Self {
        let mut gaps = Self::default();
        gaps.extend(trace.gaps());
        gaps
    }

    pub(in crate::cli) fn extend<'a>(&mut self, gaps: impl IntoIterator<Item = &'a Gap>) {
        gaps.into_iter().for_each(|gap| self.add(gap));
    }

    pub(in crate::cli) fn add(&mut self, gap: &Gap) {
        let place = (gap.piece.clone(), gap.offset);
        // Past that many, those that are not kept one by one are summed up.
        let is_new = self.known.len() >= 2 * Gap::MOST_KEPT || self.known.insert(place);
        if is_new {
            Gap::keep(&mut self.all, gap);
        }
    }

    /// How many there are.
    pub(in crate::cli) fn len(&self) -> usize {
        self.all.len()
    }

    /// In the order of the trace.
    pub(in crate::cli) fn into_list(mut self) -> Vec<Gap> {
        self.all.sort_by_key(|gap| (gap.after, gap.before));
        self.all
    }

    /// In the order of the trace.
    pub(in crate::cli) fn list(&self) -> Vec<Gap> {
        Self { all: self.all.clone(), known: HashSet::new() }.into_list()
    }
}

impl Onlooker for Gaps {
    fn gap(&mut self, gap: &Gap) {
        self.add(gap);
    }
}

impl Sink for Gaps {
    fn event(&mut self, _: u64, _: &crate::event::Event) {}
    fn input(&mut self, _: crate::event::Input) {}
    fn gap(&mut self, gap: &Gap) {
        self.add(gap);
    }
}

/// `a frame's checksum is wrong after 16:41:52: 66,010 bytes, 1 moment, 0 events, 1,000 ms missing`.
pub(in crate::cli) fn words(gap: &Gap, trace: &Trace, zone: &TimeZone) -> String {
    let anchor = trace.run().anchor;
    let clock = |at| -> String { Wall::clock(anchor.wall(at), zone) };
    let place = match (gap.after, gap.before) {
        (Some(after), _) => format!("after {}", clock(after)),
        (None, Some(before)) => format!("before {}", clock(before)),
        (None, None) => format!("at byte {}", count(gap.offset)),
    };
    let mut missing = swallowed(gap.bytes, gap.moments, gap.events);
    if let (Some(after), Some(before)) = (gap.after, gap.before) {
        missing.push(millis(before.seconds_since(after) * 1e3));
    }
    format!("{} {place}: {} missing", gap.why, missing.join(", "))
}

fn swallowed(bytes: u64, moments: u64, events: Option<u64>) -> Vec<String> {
    let mut missing = vec![format!("{} bytes", count(bytes))];
    match moments {
        0 => {}
        1 => missing.push("1 moment".to_owned()),
        many => missing.push(format!("{} moments", count(many))),
    }
    missing.push(events.map_or_else(
        || "an unknown number of events".to_owned(),
        |events| format!("{} events", count(events)),
    ));
    missing
}

/// What to say of them on stderr: the first ones one by one, and where there are more, what all of
/// them swallowed.
pub(in crate::cli) fn notes(gaps: &[Gap], trace: &Trace, zone: &TimeZone) -> Vec<String> {
    let mut notes: Vec<String> =
        gaps.iter().take(MOST_SAID).map(|gap| words(gap, trace, zone)).collect();
    if gaps.len() > MOST_SAID {
        let sum = |of: fn(&Gap) -> u64| gaps.iter().map(of).fold(0, u64::saturating_add);
        let events = gaps
            .iter()
            .map(|gap| gap.events)
            .try_fold(0_u64, |sum, events| Some(sum.saturating_add(events?)));
        let all = swallowed(sum(|gap| gap.bytes), sum(|gap| gap.moments), events);
        notes.push(format!(
            "and {} more damaged places; in all {} of them {} are missing",
            count((gaps.len() - MOST_SAID) as u64),
            count(gaps.len() as u64),
            all.join(", "),
        ));
    }
    notes
}

/// What to say of a trace that was not closed.
pub(in crate::cli) fn not_closed(trace: &Trace, zone: &TimeZone) -> Option<String> {
    let (Ended::NotClosed { tail }, Some(last)) = (trace.ended(), trace.last()) else {
        return None;
    };
    let clock = trace.run().anchor.wall(last).distinct_clock_micros(zone);
    let mut note = format!("the trace was not closed; the last moment in it is {clock}");
    if tail > MOST_SEARCHED {
        let (tail, searched) = (bytes(tail), bytes(MOST_SEARCHED));
        note.push_str(&format!("; {tail} follow, of which {searched} were searched for more"));
    } else if tail > 0 {
        note.push_str(&format!("; {} bytes at its end are no whole frame", count(tail)));
    }
    Some(note)
}

/// The one answer of every command to a trace of which no moment can be shown.
pub(in crate::cli) fn no_moment(trace: &Trace) -> anyhow::Error {
    let file = trace.pieces().next().map(|(path, _)| path.display().to_string());
    let file = file.unwrap_or_default();
    let what = match trace.ticks().len() {
        0 => format!("{file} holds no sample: there is nothing to show"),
        1 => "the only moment of the trace is damaged".to_owned(),
        all => format!("all {} moments of the trace are damaged", count(all as u64)),
    };
    let hint = match trace.ended() {
        _ if !trace.ticks().is_empty() => {
            format!("what is whole of its events: sockflow export {file} --format jsonl")
        }
        Ended::Growing => {
            "it has just begun: wait for the first interval, and try again".to_owned()
        }
        _ => format!("see how long it is: ls -l {file}"),
    };
    Failure::failed(what).hint(hint).into()
}

/// The times between which something is missing.
pub(in crate::cli) fn between(gap: &Gap, trace: &Trace) -> (Option<Wall>, Option<Wall>) {
    let wall = |at: Option<Monotonic>| at.map(|at| trace.run().anchor.wall(at));
    (wall(gap.after), wall(gap.before))
}
