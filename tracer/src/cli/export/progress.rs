//! What an export says on stderr: while it runs, where that is a terminal, and when it is done.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;

use super::super::gaps;
use crate::export::Account;
use crate::filter::Filter;
use crate::format::nothing_matches;
use crate::format::{bytes, count, short};
use crate::recording::{Ended, Gap, Trace};
use crate::stdio;

const EVERY: Duration = Duration::from_millis(200);

/// How far it is.
pub(super) struct Line {
    line: stdio::Line,
    began: Instant,
    shown: Instant,
    first: u64,
    last: u64,
}

impl Line {
    pub(super) fn new(trace: &Trace) -> Self {
        let now = Instant::now();
        Self {
            line: stdio::Line::default(),
            began: now,
            shown: now,
            first: trace.first_event(),
            last: trace.events(),
        }
    }

    /// How far it is: the number of the next event, and bytes written.
    pub(super) fn show(&mut self, next: u64, size: u64) {
        if !self.line.is_seen() || self.shown.elapsed() < EVERY {
            return;
        }
        self.shown = Instant::now();
        let (read, all) = (next.saturating_sub(self.first), self.last.saturating_sub(self.first));
        let rate = read as f64 / self.began.elapsed().as_secs_f64();
        let percent = (read.min(all) * 100).checked_div(all).unwrap_or(100);
        let line = format!(
            "exporting: {percent}%, {} of {} events, {}/s, {}",
            short(read as f64),
            short(all as f64),
            short(rate),
            bytes(size),
        );
        self.line.show(&line);
    }

    /// Room for something else.
    pub(super) fn clear(&mut self) {
        self.line.clear();
    }
}

/// The last word: what was written where, and everything that is missing in it.
///
/// `said`: what is to be said before that; `filter`: which sockets were asked for.
pub(super) fn tell(
    account: &Account,
    said: Vec<String>,
    filter: &Filter,
    gaps: &[Gap],
    trace: &Trace,
    zone: &TimeZone,
    written: Option<&(PathBuf, u64)>,
) {
    if let Some((path, size)) = written {
        let each = match account.rows {
            0 => String::new(),
            rows => format!(" ({:.1} bytes an event)", *size as f64 / rows as f64),
        };
        let (rows, size) = (count(account.rows), bytes(*size));
        let path = path.to_string_lossy();
        stdio::last_words(format_args!("sockflow: exported {rows} events to {path}: {size}{each}"));
    }
    for text in said.into_iter().chain(notes(account, filter, gaps, trace, zone)) {
        stdio::note(text);
    }
}

fn notes(
    account: &Account,
    filter: &Filter,
    gaps: &[Gap],
    trace: &Trace,
    zone: &TimeZone,
) -> Vec<String> {
    let clock = |at| trace.run().anchor.wall(at).clock_micros(zone);
    let mut notes = gaps::notes(gaps, trace, zone);
    let (missing, all_known) = account.missing();
    if missing > 0 || !all_known {
        let least = if all_known { "" } else { "at least " };
        notes.push(format!(
            "everything whole is exported; {least}{} events of the trace are missing in it",
            count(missing)
        ));
    }
    match (trace.ended(), trace.last()) {
        (Ended::NotClosed { .. }, _) => notes.extend(gaps::not_closed(trace, zone)),
        (Ended::Growing, Some(last)) => notes.push(format!(
            "the trace is still written; exported is what was there, up to {}",
            clock(last)
        )),
        _ => {}
    }
    if account.lost > 0 {
        notes.push(format!(
            "recording lost {} events (the ring was full): rows are missing, totals were not affected",
            count(account.lost)
        ));
    }
    let detail = trace.run().detail.as_str();
    if !matches!(detail, "all" | "") {
        notes.push(format!("recorded with --detail {detail}: other events are not in the trace"));
    }
    if account.rows == 0 {
        notes.push(match (filter.is_empty(), account.selected.as_str()) {
            (false, _) => nothing_matches(&filter.describe()),
            (true, "") => "the trace has no events".to_owned(),
            (true, selected) => format!("the trace has no events {selected}"),
        });
    }
    notes
}
