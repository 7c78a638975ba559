//! Where to go on a tape, as people say it: `16:41:52`, `+30s`, `@12345`, `!3`.
//!
//! Pure: a place is understood without a tape, and found on one without a clock.

mod civil;

use std::fmt;
use std::str::FromStr;

use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp, Zoned};

use super::Timeline;
use crate::time::{Wall, clocks};
use civil::TimeSpan;

/// The forms of a place, for prompts and messages; the most useful first.
pub const FORMS: [&str; 7] = ["16:41:52", "+30s", "-5m", "!3", "@12345", "max", "start"];

/// A place on a tape.
#[derive(Clone, Debug, PartialEq)]
pub enum Goto {
    /// The first moment.
    Start,
    /// The last moment.
    End,
    /// The worst moment: the one that `report` and `doctor --trace` show.
    Max,
    /// The anomaly of this number; the first is 1.
    Anomaly(usize),
    /// The event of this number.
    Event(u64),
    /// So far after the present position; on the command line after the start or before the end.
    Relative(SignedDuration),
    /// A time of day, in the reader's zone.
    Clock(Time, Precision),
    /// A day and a time, in the reader's zone.
    Date(DateTime, Precision),
    /// A moment with its offset from UTC.
    At(Wall, Precision),
}

/// How exactly a time was given: `16:41` means any moment of that minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Precision(SignedDuration);

/// What a relative place counts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// The moment of this index.
    Moment(usize),
    /// The tape's edges: `+` counts from its start, `-` from its end.
    Edges,
}

/// What became of looking for a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The index of its moment.
    Moment(usize),
    /// It may be in the part of the tape that is still being read.
    NotYet,
    /// It is not on this tape, and why.
    Nowhere(String),
}

impl Goto {
    /// Understands `text`.
    ///
    /// # Errors
    ///
    /// In a few words, what is wrong with it; for a prompt. [`FromStr`] adds the forms.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        match text.to_ascii_lowercase().as_str() {
            "" => return Err("nothing to go to".into()),
            "start" => return Ok(Self::Start),
            "end" => return Ok(Self::End),
            "max" => return Ok(Self::Max),
            _ => {}
        }
        if let Some(number) = text.strip_prefix('@') {
            // As screens group the digits.
            let number = number.replace(',', "").parse();
            return number.map(Self::Event).map_err(|_| format!("`{text}` is no event number"));
        }
        if let Some(number) = text.strip_prefix('!') {
            return match number.parse() {
                Ok(0) => Err("the first anomaly is !1".into()),
                Ok(number) => Ok(Self::Anomaly(number)),
                Err(_) => Err(format!("`{text}` is no anomaly number")),
            };
        }
        if let Some(span) = text.strip_prefix('+') {
            return duration(span).map(Self::Relative);
        }
        if let Some(span) = text.strip_prefix('-') {
            return duration(span).map(|span| Self::Relative(-span));
        }
        time(text).ok_or_else(|| format!("`{text}` is no time"))
    }

    /// Finds it on a tape: the index of a moment. `event` finds the moment of an event.
    ///
    /// A time is found in the first moment within its precision, or else in the last before it: what
    /// a screen calls 16:41:52 may have happened at 16:41:52.250.
    #[must_use]
    pub fn find(
        &self,
        timeline: &Timeline,
        base: Base,
        zone: &TimeZone,
        event: impl FnOnce(u64) -> Option<usize>,
    ) -> Found {
        let moments = &timeline.moments;
        let (Some(first), Some(last)) = (moments.first(), moments.last()) else {
            return Found::NotYet;
        };
        let end = moments.len() - 1;
        let complete = timeline.is_surveyed();
        match *self {
            Self::Start => Found::Moment(0),
            Self::End => Found::Moment(end),
            Self::Max if complete => Found::Moment(timeline.worst().unwrap_or_default().min(end)),
            Self::Anomaly(number) => match timeline.marks.get(number.saturating_sub(1)) {
                Some(mark) => Found::Moment(timeline.at_or_after(mark.time)),
                None if complete => Found::Nowhere(match timeline.marks.len() {
                    0 => "there is no anomaly".into(),
                    1 => "there is one anomaly: !1".into(),
                    count => format!("there are {count} anomalies: !1 to !{count}"),
                }),
                None => Found::NotYet,
            },
            Self::Max => Found::NotYet,
            Self::Event(number) => match event(number) {
                Some(moment) => Found::Moment(moment.min(end)),
                None => Found::Nowhere(format!("event @{number} is not here")),
            },
            Self::Relative(by) => {
                let from = match base {
                    Base::Moment(moment) => moments.get(moment).unwrap_or(last),
                    Base::Edges if by.is_negative() => last,
                    Base::Edges => first,
                };
                Found::Moment(timeline.nearest(plus(*from, by)))
            }
            Self::Clock(..) | Self::Date(..) | Self::At(..) => {
                let near = match base {
                    Base::Moment(moment) => moments.get(moment).unwrap_or(last),
                    Base::Edges => first,
                };
                let (meant, skipped) = self.times(timeline, *near, zone);
                match (meant, skipped) {
                    (Some(span), _) if timeline.overlaps(span) => timeline.find_time(span, zone),
                    (_, Some(skipped)) => Found::Nowhere(skipped),
                    (Some(span), None) => timeline.find_time(span, zone),
                    (None, None) => Found::Nowhere("there is no such time".into()),
                }
            }
        }
    }
}

impl Goto {
    /// The very time that is meant, not the moment of the tape it falls in. `None` for what is no
    /// time but a moment (`max`, `!3`, `@12345`), and for a time that never was.
    ///
    /// `+` counts from the tape's start, `-` from its end. A time without its seconds is the
    /// beginning of that minute, a day its midnight.
    #[must_use]
    pub fn time(&self, timeline: &Timeline, zone: &TimeZone) -> Option<Wall> {
        let (first, last) = (*timeline.moments.first()?, *timeline.moments.last()?);
        match *self {
            Self::Start => Some(first),
            Self::End => Some(last),
            Self::Relative(by) => Some(plus(if by.is_negative() { last } else { first }, by)),
            Self::Clock(..) | Self::Date(..) | Self::At(..) => {
                let (meant, skipped) = self.times(timeline, first, zone);
                let is_there = |span: &TimeSpan| skipped.is_none() || timeline.overlaps(*span);
                meant.filter(is_there).map(|span| span.from)
            }
            Self::Max | Self::Anomaly(_) | Self::Event(_) => None,
        }
    }
}

/// For the command line: what is wrong, and what would be right.
impl FromStr for Goto {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|what| {
            format!(
                "{what}; expected a time (`16:41`, `16:41:52.250`, `2026-11-22 16:41`), \
                 `+30s` after the start, `-5m` before the end, `@12345` (an event), `!3` (the third \
                 anomaly), `max`, `start` or `end`"
            )
        })
    }
}

/// As it can be typed.
impl fmt::Display for Goto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => f.write_str("start"),
            Self::End => f.write_str("end"),
            Self::Max => f.write_str("max"),
            Self::Anomaly(number) => write!(f, "!{number}"),
            Self::Event(number) => write!(f, "@{number}"),
            Self::Relative(by) if by.is_negative() => write!(f, "-{:#}", by.abs()),
            Self::Relative(by) => write!(f, "+{by:#}"),
            Self::Clock(time, _) => write!(f, "{time}"),
            Self::Date(date, _) => write!(f, "{date}"),
            Self::At(at, _) => f.write_str(&at.rfc3339()),
        }
    }
}

impl Timeline {
    /// Whether all of it is known: every moment has its point.
    #[must_use]
    pub fn is_surveyed(&self) -> bool {
        self.points.len() >= self.moments.len()
    }

    /// The index of the last moment at or before `at`; the first where all are later.
    #[must_use]
    pub fn at_or_before(&self, at: Wall) -> usize {
        self.moments.partition_point(|moment| *moment <= at).saturating_sub(1)
    }

    /// The index of the first moment at or after `at`; the last where all are earlier.
    #[must_use]
    pub fn at_or_after(&self, at: Wall) -> usize {
        let after = self.moments.partition_point(|moment| *moment < at);
        after.min(self.moments.len().saturating_sub(1))
    }

    /// The index of the moment nearest to `at`.
    #[must_use]
    pub fn nearest(&self, at: Wall) -> usize {
        let (before, after) = (self.at_or_before(at), self.at_or_after(at));
        let distance = |index: usize| self.moments.get(index).map_or(0, |it| it.0.abs_diff(at.0));
        if distance(after) < distance(before) { after } else { before }
    }

    /// The index of the worst point, the first of several alike.
    fn worst(&self) -> Option<usize> {
        let mut worst = None;
        for (at, point) in self.points.iter().enumerate() {
            if worst.is_none_or(|(_, most)| point.badness > most) {
                worst = Some((at, point.badness));
            }
        }
        worst.map(|(at, _)| at)
    }

    /// Whether a moment of it may be meant by `span`.
    fn overlaps(&self, span: TimeSpan) -> bool {
        match (self.moments.first(), self.moments.last()) {
            (Some(first), Some(last)) => span.until > *first && span.from <= *last,
            _ => false,
        }
    }

    fn find_time(&self, span: TimeSpan, zone: &TimeZone) -> Found {
        let (Some(first), Some(last)) = (self.moments.first(), self.moments.last()) else {
            return Found::NotYet;
        };
        if !self.overlaps(span) {
            let [wanted, first, last] = clocks([span.from, *first, *last], zone);
            return Found::Nowhere(format!("{wanted} is outside: {first} to {last}"));
        }
        let within = self.at_or_after(span.from);
        let is_within = self.moments.get(within).is_some_and(|moment| *moment < span.until);
        Found::Moment(if is_within { within } else { self.at_or_before(span.from) })
    }
}

/// `1h30m`, without its sign. A day has 24 hours.
fn duration(text: &str) -> Result<SignedDuration, String> {
    let wrong = || format!("`{text}` is no duration such as 30s or 1h30m");
    if !text.starts_with(|first: char| first.is_ascii_digit()) {
        return Err(wrong());
    }
    let span: Span = text.parse().map_err(|_| wrong())?;
    span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())
}

/// A time of day, a day with or without one, or a moment with its offset.
fn time(text: &str) -> Option<Goto> {
    let upper = text.to_ascii_uppercase();
    let clock = match upper.split_once([' ', 'T']) {
        Some((_, clock)) => clock,
        None => upper.as_str(),
    };
    let precision = precision(clock);
    if text.contains([' ', '-']) {
        // RFC 9557 first: it has the offset and the name of a zone.
        if let Ok(zoned) = text.parse::<Zoned>() {
            return Some(Goto::At(from_timestamp(zoned.timestamp())?, precision));
        }
        if let Ok(timestamp) = text.parse::<Timestamp>() {
            return Some(Goto::At(from_timestamp(timestamp)?, precision));
        }
        let date = text.parse::<DateTime>().ok()?;
        let precision = if upper.contains(':') { precision } else { DAY };
        return Some(Goto::Date(date, precision));
    }
    if !text.contains(':') {
        return None;
    }
    // `9:05` is what people type.
    let padded = if clock.find(':') == Some(1) { format!("0{clock}") } else { clock.to_owned() };
    padded.parse::<Time>().ok().map(|time| Goto::Clock(time, precision))
}

const DAY: Precision = Precision(SignedDuration::from_hours(24));

/// What the last digit of a time of day counts.
fn precision(clock: &str) -> Precision {
    let clock = clock.split(['Z', '+', '-', '[']).next().unwrap_or(clock);
    let digits = clock.split_once(['.', ',']).map(|(_, digits)| digits.len());
    Precision(match (clock.matches(':').count(), digits) {
        (0 | 1, _) => SignedDuration::from_mins(1),
        (_, None) => SignedDuration::from_secs(1),
        (_, Some(digits)) => {
            let digits = u32::try_from(digits).unwrap_or(9).min(9);
            SignedDuration::from_nanos(10i64.pow(9 - digits))
        }
    })
}

fn timestamp(at: Wall) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(at.0)).unwrap_or_default()
}

fn from_timestamp(at: Timestamp) -> Option<Wall> {
    i64::try_from(at.as_nanosecond()).ok().map(Wall)
}

/// `by` later; stays within what a [`Wall`] can say.
pub(super) fn plus(at: Wall, by: SignedDuration) -> Wall {
    let nanos = i128::from(at.0).saturating_add(by.as_nanos());
    let bounded = nanos.clamp(i128::from(i64::MIN), i128::from(i64::MAX));
    Wall(i64::try_from(bounded).unwrap_or(at.0))
}

#[cfg(test)]
mod tests;
