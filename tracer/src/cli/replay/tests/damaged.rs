//! The story's recording with samples whose headers stand and whose payloads do not.

use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use super::*;
use crate::playback::goto::Goto;
use crate::recording::frame::{FILE_HEADER, FRAME_HEADER, FrameHeader, Kind};

/// The recording with one byte flipped in the payloads of these samples; gone when dropped.
struct Damaged(PathBuf);

impl Damaged {
    fn new(name: &str, samples: impl Fn(usize, usize) -> bool) -> Self {
        let path = std::env::temp_dir().join(format!("sockflow-{name}-{}", std::process::id()));
        let mut bytes = std::fs::read(recordings().join("v1.0-story.sockflow")).unwrap();
        let mut places = Vec::new();
        let mut at = FILE_HEADER;
        while let Some(header) = bytes.get(at..at + FRAME_HEADER) {
            let header = FrameHeader::decode(header.try_into().unwrap()).unwrap();
            if header.kind == Kind::Sample {
                places.push(at + FRAME_HEADER + 5);
            }
            at += header.size() as usize;
        }
        let all = places.len();
        for (sample, place) in places.into_iter().enumerate() {
            if samples(sample, all) {
                bytes[place] ^= 0x10;
            }
        }
        std::fs::write(&path, bytes).unwrap();
        Self(path)
    }

    fn tape(&self) -> FileTape {
        FileTape::new(Trace::open(&self.0).unwrap(), TimeZone::UTC)
    }
}

impl Drop for Damaged {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Reads the whole of it; it must come to an end.
fn surveyed(transport: &mut Transport<FileTape>) {
    for _ in 0..10_000 {
        if !transport.poll().unwrap() && !transport.is_being_read() {
            return;
        }
    }
    panic!("it is read for ever");
}

fn time(transport: &mut Transport<FileTape>) -> Option<crate::time::Wall> {
    Some(transport.frame().unwrap()?.view.snapshot.time)
}

/// Which samples are damaged.
type Pattern = (&'static str, fn(usize, usize) -> bool);

const PATTERNS: [Pattern; 6] = [
    ("the first", |sample, _| sample == 0),
    ("the last ten", |sample, all| sample + 10 >= all),
    ("every third", |sample, _| sample % 3 == 1),
    ("the midst", |sample, all| (all / 4..all * 3 / 4).contains(&sample)),
    ("all but one", |sample, _| sample != 7),
    ("none", |_, _| false),
];

#[test]
fn what_is_damaged_is_a_gap_and_the_rest_says_what_it_said() {
    let whole = story();
    let mut fold = Fold::begin(&whole, None, &Narrowing::default());
    let mut forward = Vec::new();
    while let Some(snapshot) = fold.next(&whole, Want::Everything).unwrap() {
        forward.push(snapshot.time);
    }
    for (name, pattern) in PATTERNS {
        let file = Damaged::new("gaps", pattern);
        let left: Vec<_> = (0..forward.len())
            .filter(|sample| !pattern(*sample, forward.len()))
            .map(|sample| forward[sample])
            .collect();
        let mut transport = Transport::new(file.tape(), TimeZone::UTC, Begin::default()).unwrap();
        surveyed(&mut transport);
        let frame = transport.frame().unwrap().unwrap();
        assert_eq!(frame.timeline.moments, left, "{name}");
        assert_eq!(frame.timeline.points.len(), left.len(), "{name}");
        let gone = forward.len() - left.len();
        assert_eq!(frame.timeline.gaps.len(), gone, "{name}");
        let tells = |gap: &crate::playback::Missing| gap.text.contains("1 moment, 0 events");
        assert!(frame.timeline.gaps.iter().all(tells), "{name}: {:?}", frame.timeline.gaps);

        // Every moment by its time, step by step, forwards and back.
        transport.command(Command::Start);
        let mut steps = vec![time(&mut transport).unwrap()];
        for _ in 1..left.len() {
            transport.command(Command::Step(1));
            steps.push(time(&mut transport).unwrap());
        }
        assert_eq!(steps, left, "{name}");
    }
}

#[test]
fn places_that_nobody_has_read_yet_are_found_beside_the_damage() {
    let all = story().ticks().len();
    for (name, pattern) in PATTERNS {
        let file = Damaged::new("places", pattern);
        let whole: Vec<usize> = (0..all).filter(|sample| !pattern(*sample, all)).collect();
        for place in ["start", "end", "max", "!1", "+10s", "-1s"] {
            let place: Goto = place.parse().unwrap();
            let mut tape = file.tape();
            match tape.find(&place, "--at") {
                Ok(tick) => {
                    assert!(whole.contains(&tick), "{name}: {place} is {tick}");
                    match place {
                        Goto::Start => assert_eq!(tick, whole[0], "{name}"),
                        Goto::End => assert_eq!(Some(&tick), whole.last(), "{name}"),
                        _ => {}
                    }
                }
                Err(why) => assert!(format!("{why:#}").contains("no anomaly"), "{name}: {why:#}"),
            }
            // The screen, which asks for the moment before anything was read.
            let begin = Begin { at: Some(place), ..Begin::default() };
            let mut transport = Transport::new(file.tape(), TimeZone::UTC, begin);
            if let Ok(transport) = &mut transport {
                assert!(time(transport).is_some(), "{name}");
                surveyed(transport);
                assert!(time(transport).is_some(), "{name}");
            }
        }
    }
}

#[test]
fn a_trace_without_a_whole_moment_ends_at_once_and_says_so() {
    let file = Damaged::new("all", |_, _| true);
    let mut tape = file.tape();
    let why = tape.find(&Goto::Max, "--at").unwrap_err();
    assert!(format!("{why:#}").contains("moments of the trace are damaged"), "{why:#}");
    let mut transport = Transport::new(file.tape(), TimeZone::UTC, Begin::default()).unwrap();
    assert!(transport.frame().unwrap().is_none());
    surveyed(&mut transport);
    assert!(transport.frame().unwrap().is_none());
    assert!(transport.is_void() && !transport.gaps().is_empty());
    let options = crate::tui::Options::default();
    let why = driver::run(file.tape(), Begin::default(), options).unwrap_err();
    let (text, code) = crate::error::report(&why);
    assert!(text.contains("no moment of the trace is whole") && text.contains("hint:"), "{text}");
    assert_eq!(code, 1);
}

#[test]
fn what_is_damaged_while_it_is_shown_is_left_out_too() {
    let file = Damaged::new("later", |_, _| false);
    let begin = Begin { mode: Mode::Paused, ..Begin::default() };
    let mut transport = Transport::new(file.tape(), TimeZone::UTC, begin).unwrap();
    surveyed(&mut transport);
    let all = transport.frame().unwrap().unwrap().timeline.moments.len();
    // Cut behind its tenth sample, when all of it was read.
    let handle = std::fs::OpenOptions::new().write(true).open(&file.0).unwrap();
    let mut at = FILE_HEADER as u64;
    let mut samples = 0;
    while samples < 10 {
        let mut bytes = [0; FRAME_HEADER];
        handle_read(&file.0, &mut bytes, at);
        let header = FrameHeader::decode(&bytes).unwrap();
        samples += usize::from(header.kind == Kind::Sample);
        at += header.size();
    }
    handle.set_len(at).unwrap();
    transport.command(Command::End);
    let frame = transport.frame().unwrap().unwrap();
    assert_eq!(
        (frame.position, frame.timeline.moments.len()),
        (9, 10),
        "{:?} of {all}",
        frame.timeline.gaps
    );
    assert!(frame.refused.is_some());
}

fn handle_read(path: &Path, bytes: &mut [u8], at: u64) {
    std::fs::File::open(path).unwrap().read_exact_at(bytes, at).unwrap();
}
