//! The story's recording, as it is replayed.

use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;

use super::tape::FileTape;
use super::*;
use crate::playback::Tape as _;
use crate::playback::transport::{Command, Transport};
use crate::tui::tests::screen;

fn recordings() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings")
}

fn story() -> Trace {
    Trace::open(&recordings().join("v1.0-story.sockflow")).unwrap()
}

/// Stands where `place` says, with the whole tape read.
fn standing_at(place: &str) -> Transport<FileTape> {
    let begin = Begin { at: Some(place.parse().unwrap()), ..Begin::default() };
    let tape = FileTape::new(story(), TimeZone::UTC);
    let mut transport =
        Transport::new(tape, TimeZone::UTC, Begin { mode: Mode::Paused, ..begin }).unwrap();
    while transport.is_being_read() {
        transport.poll().unwrap();
    }
    transport
}

#[test]
fn the_screen_at_the_worst_moment() {
    let mut transport = standing_at("max");
    let frame = transport.frame().unwrap().unwrap();
    assert_eq!(frame.view.snapshot.orphans.host, 255);
    insta::assert_snapshot!(screen(frame.clone(), 120, 40));
    insta::assert_snapshot!(screen(frame, 80, 24));
}

#[test]
fn the_doctor_speaks_of_the_moment_on_screen() {
    use crate::diagnose::State;
    let mut transport = standing_at("max");
    let mut report = || transport.frame().unwrap().unwrap().view.doctor.unwrap();
    let worst = report();
    assert_eq!(
        (worst.source, worst.verdict, worst.checks[0].id),
        ("trace", State::Crit, "orphans")
    );
    assert_eq!(worst.checks[0].now, Some(255));
    transport.command(Command::Start);
    let first = transport.frame().unwrap().unwrap().view.doctor.unwrap();
    assert_eq!(first.verdict, State::Ok);
}

#[test]
fn anomalies_are_the_storys_chapters() {
    let mut transport = standing_at("start");
    let mut chapters = String::new();
    for _ in 0..8 {
        transport.command(Command::NextMark);
        let frame = transport.frame().unwrap().unwrap();
        if frame.refused.is_some() {
            break;
        }
        let snapshot = &frame.view.snapshot;
        let mark = frame.timeline.marks.iter().rfind(|mark| mark.time <= snapshot.time).unwrap();
        chapters.push_str(&format!(
            "{:>3} s  {:<4} {}: {}\n",
            snapshot.elapsed_s as u64,
            mark.severity.word(),
            mark.kind,
            mark.text
        ));
    }
    insta::assert_snapshot!(chapters);
}

#[test]
fn every_moment_is_the_same_however_one_gets_there() {
    let trace = story();
    let mut fold = Fold::begin(&trace, None, &Narrowing::default());
    let mut forward = Vec::new();
    while let Some(snapshot) = fold.next(&trace, Want::Everything).unwrap() {
        forward.push(snapshot);
    }
    assert_eq!(forward.len(), trace.ticks().len());
    let mut tape = FileTape::new(story(), TimeZone::UTC);
    // Far and near, back and forth; a fixed sequence without pattern.
    let steps = (0..forward.len()).map(|step| (step * 17 + 5) % forward.len());
    for moment in steps {
        let view = tape.view(moment).unwrap().unwrap();
        assert_eq!(view.snapshot, forward[moment], "moment {moment}");
        assert!(view.events.iter().all(|event| event.at <= trace.ticks()[moment]));
    }
    assert!(
        (0..trace.ticks().len()).any(|tick| trace.cursor_before_tick(tick).ticks() > 0),
        "the recording has a checkpoint to go through"
    );
}

/// Files of every released version of the format stay here for ever.
#[test]
fn every_recording_there_ever_was_opens() {
    let mut seen = 0;
    for entry in std::fs::read_dir(recordings()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "sockflow") {
            continue;
        }
        let trace = Trace::open(&path).unwrap();
        let mut fold = Fold::begin(&trace, None, &Narrowing::default());
        let mut moments = 0;
        while fold.next(&trace, Want::Everything).unwrap().is_some() {
            moments += 1;
        }
        assert!(moments > 0 && moments == trace.ticks().len(), "{}", path.display());
        assert_eq!(trace.gaps(), [], "{}", path.display());
        seen += 1;
    }
    assert!(seen >= 1);
}

/// As `every_moment_is_the_same_however_one_gets_there`, of what a filter lets through: the trace's
/// checkpoints, which are of everything, must not come into it.
#[test]
fn every_narrowed_moment_is_the_same_however_one_gets_there() {
    for filter in [
        crate::filter::Filter { ports: vec![9981], ..Default::default() },
        crate::filter::Filter { pid: Some(1), ..Default::default() },
    ] {
        let narrowing = Narrowing::new(filter, &story()).unwrap();
        let trace = story();
        let mut fold = Fold::begin(&trace, None, &narrowing);
        let mut forward = Vec::new();
        while let Some(snapshot) = fold.next(&trace, Want::Everything).unwrap() {
            forward.push(snapshot);
        }
        for read_ahead in [false, true] {
            let mut tape = FileTape::narrowed(story(), TimeZone::UTC, narrowing.clone());
            while read_ahead && tape.poll().unwrap() {}
            for moment in (0..forward.len()).map(|step| (step * 17 + 5) % forward.len()) {
                let view = tape.view(moment).unwrap().unwrap();
                assert_eq!(view.snapshot, forward[moment], "moment {moment}");
            }
        }
        let has_port = narrowing.filter().ports == [9981];
        assert_eq!(forward.iter().any(|snapshot| !snapshot.ports.is_empty()), has_port);
        assert!(forward.iter().all(|snapshot| snapshot.orphans.drift.abs() < 60), "the host's");
        assert_eq!(forward.last().unwrap().orphans.killed, 274, "the host's");
    }
}

mod damaged;
