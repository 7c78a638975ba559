//! Every form of a place, on timelines made by hand.

use super::*;
use crate::aggregate::snapshot::{Anomaly, Badness, Severity};
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
            .map(|at| {
                let orphans = 1_000 - at.abs_diff(160);
                Point { orphans, badness: Badness::of(&[], orphans as f64), ..Point::default() }
            })
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
    let moments = (0..200).map(|second| plus(start, SignedDuration::from_secs(second))).collect();
    let tape = Timeline { moments, ..Timeline::default() };
    let find = |text: &str, base| Goto::parse(text).unwrap().find(&tape, base, &zone(), |_| None);
    for base in [Base::Edges, Base::Moment(0), Base::Moment(199)] {
        assert_eq!(find("23:59:30", base), Found::Moment(30));
        assert_eq!(find("0:01", base), Found::Moment(120));
    }
}

fn berlin() -> TimeZone {
    TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
}

/// A moment a minute from `from` on.
fn minutes(from: &str, count: i64) -> Timeline {
    let start = from_timestamp(from.parse().unwrap()).unwrap();
    let moments = (0..count).map(|it| plus(start, SignedDuration::from_mins(it))).collect();
    Timeline { moments, ..Timeline::default() }
}

#[test]
fn an_hour_that_comes_twice_is_the_one_on_the_tape() {
    // 00:00 UTC is 02:00 +02:00, an hour later the clock is set back to 02:00.
    let both = minutes("2026-10-24T23:30:00Z", 180);
    let find = |tape: &Timeline, text: &str, base| {
        Goto::parse(text).unwrap().find(tape, base, &berlin(), |_| None)
    };
    for text in ["02:30", "2026-10-25 02:30", "2026-10-25T02:30+02:00"] {
        assert_eq!(find(&both, text, Base::Edges), Found::Moment(60), "{text}");
    }
    assert_eq!(find(&both, "2026-10-25T02:30+01:00", Base::Edges), Found::Moment(120));
    assert_eq!(find(&both, "02:30", Base::Moment(150)), Found::Moment(120), "the nearer one");
    assert_eq!(find(&both, "03:00", Base::Edges), Found::Moment(150));
    let second = |tape, text: &str| Goto::parse(text).unwrap().second_time(tape, &berlin());
    let said = second(&both, "02:30").unwrap();
    assert_eq!(said, "2026-10-25T02:30:00+01:00");
    assert_eq!(find(&both, &said, Base::Edges), Found::Moment(120), "it can be typed");
    for text in ["01:45", "03:00", "max", "2026-10-25T02:30+02:00"] {
        assert_eq!(second(&both, text), None, "{text}");
    }
    let late = minutes("2026-10-25T01:10:00Z", 60);
    for text in ["02:30", "2026-10-25 02:30"] {
        assert_eq!(find(&late, text, Base::Edges), Found::Moment(20), "{text}");
        assert_eq!(second(&late, text), None);
        let time = Goto::parse(text).unwrap().time(&late, &berlin()).unwrap();
        assert_eq!(time, late.moments[20]);
    }
    assert_eq!(
        find(&both, "04:00", Base::Edges),
        Found::Nowhere("04:00:00 +01:00 is outside: 01:30:00 +02:00 to 03:29:00 +01:00".into())
    );
}

#[test]
fn a_time_that_the_clock_skips_is_none() {
    // 01:00 UTC: 02:00 +01:00 becomes 03:00 +02:00.
    let tape = minutes("2026-03-29T00:30:00Z", 120);
    let find =
        |text: &str| Goto::parse(text).unwrap().find(&tape, Base::Edges, &berlin(), |_| None);
    assert_eq!(find("01:59"), Found::Moment(29));
    assert_eq!(find("03:00"), Found::Moment(30));
    let skipped = "there was no 02:30:00 on 2026-03-29: the clock was set forward by 1h";
    for text in ["02:30", "2026-03-29 02:30"] {
        assert_eq!(find(text), Found::Nowhere(skipped.into()), "{text}");
        assert_eq!(Goto::parse(text).unwrap().time(&tape, &berlin()), None, "{text}");
    }
    // A day of 23 hours ends where the next begins.
    let next = minutes("2026-03-29T22:00:00Z", 60);
    let find = Goto::parse("2026-03-29").unwrap();
    let found = find.find(&next, Base::Edges, &berlin(), |_| None);
    assert!(matches!(found, Found::Nowhere(_)), "{found:?}");
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
