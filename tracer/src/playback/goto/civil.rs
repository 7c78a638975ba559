//! Which times are meant by what a clock on the wall shows: none where it was set forward over that
//! time, two where it was set back.

use jiff::SignedDuration;
use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};

use super::{DAY, Goto, Precision, from_timestamp, plus, timestamp};
use crate::playback::Timeline;
use crate::time::Wall;

/// A time as exactly as it was given: from its begin up to but not including its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimeSpan {
    pub(super) from: Wall,
    pub(super) until: Wall,
}

impl TimeSpan {
    pub(super) fn new(from: Wall, precision: Precision) -> Self {
        Self { from, until: plus(from, precision.0) }
    }
}

impl Goto {
    /// Where a clock that was set back showed this time twice within the timeline: the later one
    /// as it can be typed. [`Goto::find`] and [`Goto::time`] take the earlier one where nothing is
    /// nearer to the later one.
    #[must_use]
    pub fn second_time(&self, timeline: &Timeline, zone: &TimeZone) -> Option<String> {
        let first = *timeline.moments.first()?;
        let days = self.civil_times(timeline, first, zone);
        days.into_iter().find_map(|(time, precision)| {
            let AmbiguousOffset::Fold { before, after } =
                zone.to_ambiguous_timestamp(time).offset()
            else {
                return None;
            };
            let (first, second) =
                (from_timestamp_at(time, before)?, from_timestamp_at(time, after)?);
            let both = [first, second]
                .into_iter()
                .all(|at| timeline.overlaps(TimeSpan::new(at, precision)));
            both.then(|| format!("{time}{}", second.offset(zone)))
        })
    }

    /// The time that is meant, of those that the clock showed so the one on the timeline and
    /// nearest to `near`; and, where the clock was set forward over it, a sentence that says so.
    pub(super) fn times(
        &self,
        timeline: &Timeline,
        near: Wall,
        zone: &TimeZone,
    ) -> (Option<TimeSpan>, Option<String>) {
        if let Self::At(at, precision) = *self {
            return (Some(TimeSpan::new(at, precision)), None);
        }
        let mut spans = Vec::new();
        let mut skipped = None;
        for (time, precision) in self.civil_times(timeline, near, zone) {
            if precision == DAY {
                // A day begins when its date does, after midnight where the clock skips it, and
                // has 23 or 25 hours where the clock is set.
                let begin =
                    |day: Date| from_timestamp(day.to_zoned(zone.clone()).ok()?.timestamp());
                let next = time.date().tomorrow().ok().and_then(begin);
                if let Some(from) = begin(time.date()) {
                    let until = next.unwrap_or_else(|| plus(from, precision.0));
                    spans.push(TimeSpan { from, until });
                }
                continue;
            }
            let offsets = match zone.to_ambiguous_timestamp(time).offset() {
                AmbiguousOffset::Unambiguous { offset } => [Some(offset), None],
                AmbiguousOffset::Fold { before, after } => [Some(before), Some(after)],
                AmbiguousOffset::Gap { before, after } => {
                    let by =
                        SignedDuration::from_secs(i64::from(after.seconds() - before.seconds()));
                    let (clock, day) = (time.time(), time.date());
                    skipped.get_or_insert_with(|| {
                        format!(
                            "there was no {clock} on {day}: the clock was set forward by {by:#}"
                        )
                    });
                    [None, None]
                }
            };
            let times = offsets.into_iter().flatten();
            spans.extend(
                times
                    .filter_map(|offset| from_timestamp_at(time, offset))
                    .map(|at| TimeSpan::new(at, precision)),
            );
        }
        let outside = |span: &TimeSpan| !timeline.overlaps(*span);
        let best = spans
            .into_iter()
            .min_by_key(|span| (outside(span), span.from.0.abs_diff(near.0), span.from));
        (best, skipped)
    }

    /// What a clock and a calendar show at the time that is meant: a time of day may be that of any
    /// day of the timeline, or of a day beside `near`.
    fn civil_times(
        &self,
        timeline: &Timeline,
        near: Wall,
        zone: &TimeZone,
    ) -> Vec<(DateTime, Precision)> {
        match *self {
            Self::Clock(time, precision) => {
                let day = |at: Wall| timestamp(at).to_zoned(zone.clone()).date();
                let here = day(near);
                let beside = [here.yesterday().ok(), Some(here), here.tomorrow().ok()];
                let ends = [timeline.moments.first(), timeline.moments.last()];
                let mut days: Vec<Date> = beside.into_iter().flatten().collect();
                days.extend(ends.into_iter().flatten().map(|end| day(*end)));
                days.sort_unstable();
                days.dedup();
                days.into_iter().map(|day| (day.to_datetime(time), precision)).collect()
            }
            Self::Date(date, precision) => vec![(date, precision)],
            _ => Vec::new(),
        }
    }
}

fn from_timestamp_at(time: DateTime, offset: Offset) -> Option<Wall> {
    from_timestamp(offset.to_timestamp(time).ok()?)
}
