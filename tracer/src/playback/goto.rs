//! Where to go on a tape, as people say it: `16:41:52`, `+30s`, `@12345`, `!3`.
//!
//! Pure: a place is understood without a tape, and found on one without a clock.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp, Zoned};

use super::Timeline;
use crate::time::Wall;

/// The forms of a place, for prompts and messages; the most useful first.
pub const FORMS: [&str; 7] = ["16:41:52", "+30s", "-5m", "!3", "@12345", "max", "start"];

/// A place on a tape.
#[derive(Clone, Debug, PartialEq)]
pub enum Goto {
    /// The first moment.
    Start,
    /// The last moment.
    End,
    /// The moment with the most orphans.
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
            Self::Max if complete => Found::Moment(timeline.peak().unwrap_or_default().min(end)),
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
            Self::Clock(time, precision) => {
                let near = match base {
                    Base::Moment(moment) => moments.get(moment).unwrap_or(last),
                    Base::Edges => first,
                };
                let wanted = on_the_day(time, precision, timeline, *near, zone);
                timeline.find_time(wanted, precision, zone)
            }
            Self::Date(date, precision) => match wall(date, zone) {
                Some(wanted) => timeline.find_time(wanted, precision, zone),
                None => Found::Nowhere("there was no such time".into()),
            },
            Self::At(wanted, precision) => timeline.find_time(wanted, precision, zone),
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
            Self::Clock(time, precision) => {
                Some(on_the_day(time, precision, timeline, first, zone))
            }
            Self::Date(date, _) => wall(date, zone),
            Self::At(at, _) => Some(at),
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

    /// The index of the (first) point with the most orphans.
    fn peak(&self) -> Option<usize> {
        let most = self.points.iter().map(|point| point.orphans).max()?;
        self.points.iter().position(|point| point.orphans == most)
    }

    fn find_time(&self, wanted: Wall, precision: Precision, zone: &TimeZone) -> Found {
        let (Some(first), Some(last)) = (self.moments.first(), self.moments.last()) else {
            return Found::NotYet;
        };
        let until = plus(wanted, precision.0);
        if until <= *first || wanted > *last {
            let (first, last) = (*first, *last);
            return Found::Nowhere(format!(
                "{} is outside: {} to {}",
                wanted.clock(zone),
                first.clock(zone),
                last.clock(zone)
            ));
        }
        let within = self.at_or_after(wanted);
        let is_within = self.moments.get(within).is_some_and(|moment| *moment < until);
        Found::Moment(if is_within { within } else { self.at_or_before(wanted) })
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

/// A time of day as a moment: on a day of the tape if it can be, the one nearest to `near`.
fn on_the_day(
    time: Time,
    precision: Precision,
    timeline: &Timeline,
    near: Wall,
    zone: &TimeZone,
) -> Wall {
    let ends = [timeline.moments.first(), timeline.moments.last()];
    let [first, last] = ends.map(|end| end.copied().unwrap_or(near));
    let day = |at: Wall| timestamp(at).to_zoned(zone.clone()).date();
    let here = day(near);
    let candidates = [here.yesterday().unwrap_or(here), here, here.tomorrow().unwrap_or(here)]
        .into_iter()
        .chain([day(first), day(last)])
        .filter_map(|day| wall(day.to_datetime(time), zone));
    let outside = |at: &Wall| *at > last || plus(*at, precision.0) <= first;
    let best = candidates.min_by_key(|at| (outside(at), at.0.abs_diff(near.0)));
    best.unwrap_or(near)
}

fn timestamp(at: Wall) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(at.0)).unwrap_or_default()
}

fn from_timestamp(at: Timestamp) -> Option<Wall> {
    i64::try_from(at.as_nanosecond()).ok().map(Wall)
}

fn wall(at: DateTime, zone: &TimeZone) -> Option<Wall> {
    from_timestamp(at.to_zoned(zone.clone()).ok()?.timestamp())
}

/// `by` later; stays within what a [`Wall`] can say.
pub(super) fn plus(at: Wall, by: SignedDuration) -> Wall {
    let nanos = i128::from(at.0).saturating_add(by.as_nanos());
    let bounded = nanos.clamp(i128::from(i64::MIN), i128::from(i64::MAX));
    Wall(i64::try_from(bounded).unwrap_or(at.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::snapshot::{Anomaly, Severity};
    use crate::playback::Point;
    use jiff::tz::Offset;

    fn zone() -> TimeZone {
        TimeZone::fixed(Offset::constant(8))
    }

    /// 16:40:00.250 to 16:44:59.250 in the zone, a moment a second; the peak at 16:42:40.
    fn tape() -> Timeline {
        let start = "2026-11-22T16:40:00.250+08:00".parse::<Timestamp>().unwrap();
        let start = from_timestamp(start).unwrap();
        let moments: Vec<Wall> =
            (0..300).map(|second| plus(start, SignedDuration::from_secs(second))).collect();
        let mark = |second: usize| Anomaly {
            time: moments[second],
            severity: Severity::Crit,
            kind: "tcp_mem",
            port: None,
            text: String::new(),
        };
        Timeline {
            points: (0..300u64)
                .map(|at| Point { orphans: 1_000 - at.abs_diff(160), severity: Severity::Ok })
                .collect(),
            marks: vec![mark(10), mark(70), mark(200)],
            moments,
            ..Timeline::default()
        }
    }

    fn found(text: &str, base: Base) -> Found {
        let place = Goto::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let event = |number: u64| (number <= 500).then_some(7);
        place.find(&tape(), base, &zone(), event)
    }

    #[test]
    fn every_form_finds_its_moment() {
        let here = Base::Moment(100);
        for (text, moment) in [
            ("start", 0),
            ("END", 299),
            (" max ", 160),
            ("!1", 10),
            ("!3", 200),
            ("@500", 7),
            ("@0", 7),
            ("+30s", 130),
            ("-1m", 40),
            ("+1m30s", 190),
            ("+1h30m", 299),
            ("-1d", 0),
            ("+0s", 100),
            ("+250ms", 100),
            ("16:41", 60),
            ("16:41:52", 112),
            ("16:41:52.250", 112),
            ("16:41:52.249", 111),
            ("2026-11-22 16:41", 60),
            ("2026-11-22 16:41:52", 112),
            ("2026-11-22T16:41:52", 112),
            ("2026-11-22T16:41:52+08:00", 112),
            ("2026-11-22T08:41:52Z", 112),
            ("2026-11-22T08:41:52.25Z", 112),
            ("2026-11-22T16:41:52+08:00[Asia/Shanghai]", 112),
            ("2026-11-22", 0),
        ] {
            assert_eq!(found(text, here), Found::Moment(moment), "{text}");
        }
    }

    #[test]
    fn on_the_command_line_signs_count_from_the_edges() {
        assert_eq!(found("+30s", Base::Edges), Found::Moment(30));
        assert_eq!(found("-30s", Base::Edges), Found::Moment(269));
    }

    #[test]
    fn what_is_not_on_the_tape_says_what_is() {
        let nowhere = |text| match found(text, Base::Edges) {
            Found::Nowhere(why) => why,
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(nowhere("16:39:59"), "16:39:59 is outside: 16:40:00 to 16:44:59");
        assert_eq!(nowhere("16:45"), "16:45:00 is outside: 16:40:00 to 16:44:59");
        assert_eq!(nowhere("!4"), "there are 3 anomalies: !1 to !3");
        assert_eq!(nowhere("@501"), "event @501 is not here");
    }

    #[test]
    fn a_time_is_itself_and_not_the_moment_it_falls_in() {
        let time = |text: &str| {
            let time = Goto::parse(text).unwrap().time(&tape(), &zone());
            time.map(|time| time.rfc3339()[11..].to_owned())
        };
        for (text, expected) in [
            ("start", "08:40:00.250Z"),
            ("end", "08:44:59.250Z"),
            ("+30s", "08:40:30.250Z"),
            ("-1m", "08:43:59.250Z"),
            ("16:41", "08:41:00.000Z"),
            ("16:41:52.1", "08:41:52.100Z"),
            ("2026-11-22", "16:00:00.000Z"),
            ("2026-11-22 16:41", "08:41:00.000Z"),
            ("2026-11-22T08:41:52Z", "08:41:52.000Z"),
            // Outside of the tape: it is a time all the same.
            ("16:00", "08:00:00.000Z"),
        ] {
            assert_eq!(time(text).as_deref(), Some(expected), "{text}");
        }
        for text in ["max", "!1", "@12"] {
            assert_eq!(time(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_not_read_yet_may_still_come() {
        let mut tape = tape();
        tape.points.truncate(50);
        let find = |place: Goto| place.find(&tape, Base::Edges, &zone(), |_| None);
        assert_eq!(find(Goto::Max), Found::NotYet);
        assert_eq!(find(Goto::Anomaly(4)), Found::NotYet);
        assert_eq!(find(Goto::Anomaly(1)), Found::Moment(10));
        let empty = Timeline::default();
        assert_eq!(Goto::End.find(&empty, Base::Edges, &zone(), |_| None), Found::NotYet);
    }

    #[test]
    fn a_time_of_day_is_one_of_the_tapes_own_days() {
        let start = from_timestamp("2026-11-22T23:59:00+08:00".parse().unwrap()).unwrap();
        let moments =
            (0..200).map(|second| plus(start, SignedDuration::from_secs(second))).collect();
        let tape = Timeline { moments, ..Timeline::default() };
        let find =
            |text: &str, base| Goto::parse(text).unwrap().find(&tape, base, &zone(), |_| None);
        for base in [Base::Edges, Base::Moment(0), Base::Moment(199)] {
            assert_eq!(find("23:59:30", base), Found::Moment(30));
            assert_eq!(find("0:01", base), Found::Moment(120));
        }
    }

    #[test]
    fn mistakes_are_named_with_what_would_be_right() {
        for (text, what) in [
            ("", "nothing to go to"),
            ("noon", "`noon` is no time"),
            ("1641", "`1641` is no time"),
            ("16:61", "`16:61` is no time"),
            ("25:00", "`25:00` is no time"),
            ("+", "`` is no duration such as 30s or 1h30m"),
            ("+30", "`30` is no duration such as 30s or 1h30m"),
            ("--5m", "`-5m` is no duration such as 30s or 1h30m"),
            ("+1 month", "`1 month` is no duration such as 30s or 1h30m"),
            ("@x", "`@x` is no event number"),
            ("!0", "the first anomaly is !1"),
            ("!three", "`!three` is no anomaly number"),
        ] {
            assert_eq!(Goto::parse(text), Err(what.to_owned()), "{text}");
        }
        let error = "noon".parse::<Goto>().unwrap_err();
        assert!(error.contains("`+30s` after the start") && error.contains("`!3`"), "{error}");
    }

    #[test]
    fn it_prints_as_it_is_typed() {
        for text in ["start", "max", "!3", "@12345", "+30s", "-5m", "16:41:52"] {
            assert_eq!(Goto::parse(text).unwrap().to_string(), text);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_and_no_tape_panics(
            text in "[-+@!0-9:. TZmhs]{0,12}|\\PC*",
            moments in proptest::collection::vec(proptest::prelude::any::<i64>(), 0..5),
            at in 0usize..9,
        ) {
            if let Ok(place) = Goto::parse(&text) {
                let moments = moments.into_iter().map(Wall).collect();
                let tape = Timeline { moments, ..Timeline::default() };
                let _ = place.find(&tape, Base::Moment(at), &zone(), |_| Some(99));
                let _ = place.find(&tape, Base::Edges, &zone(), |_| None);
                let _ = place.to_string();
            }
        }
    }
}
