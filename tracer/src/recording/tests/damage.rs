//! Files that are cut off, damaged, spliced or made to deceive: what is read is right, and what
//! is not read is told.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use proptest::prelude::*;

use crate::error::report;
use crate::recording::frame::{FILE_HEADER, FRAME_HEADER, FileHeader, FrameHeader, Kind};
use crate::recording::testing::{Frames, Said, Scratch, read, read_from, small, tick};
use crate::recording::{Ended, Trace, Why};

/// A reader's bound in tests.
const MOST_MOMENTS: usize = 1 << 12;

#[test]
fn what_a_reader_leaves_out_of_a_trace_that_is_too_long_is_a_gap() {
    let scratch = Scratch::new();
    let path = scratch.path("long.sockflow");
    let mut frames = small();
    frames.frames.pop();
    frames.sequence -= 1;
    for number in 5..MOST_MOMENTS as u64 {
        frames.push(Kind::Sample, 0, tick(number).0, b"{}");
    }
    std::fs::write(&path, frames.file()).unwrap();
    let whole = Trace::open(&path).unwrap();
    assert_eq!((whole.ticks().len(), whole.gaps()), (MOST_MOMENTS, &[][..]));
    let read = frames.file().len() as u64;
    frames.push(Kind::Sample, 0, tick(MOST_MOMENTS as u64).0, b"{}");
    std::fs::write(&path, frames.file()).unwrap();
    let mut cut = Trace::open(&path).unwrap();
    let left_out = |trace: &Trace| {
        let [gap] = trace.gaps() else { panic!("{:?}", trace.gaps()) };
        assert!(gap.why.starts_with("a reader takes "), "{gap:?}");
        assert_eq!((gap.offset, gap.after), (read, trace.ticks().last().copied()));
        gap.bytes
    };
    assert_eq!(cut.ticks().len(), MOST_MOMENTS);
    let more = left_out(&cut);
    assert_eq!(more, frames.file().len() as u64 - read);
    frames.push(Kind::Sample, 0, tick(MOST_MOMENTS as u64 + 1).0, b"{}");
    std::fs::write(&path, frames.file()).unwrap();
    cut.refresh().unwrap();
    assert_eq!(left_out(&cut), 2 * more, "the same gap, longer");
}

fn open(bytes: &[u8]) -> anyhow::Result<Trace> {
    let scratch = Scratch::new();
    let path = scratch.path("t.sft");
    std::fs::write(&path, bytes).unwrap();
    Trace::open(&path)
}

/// The error of opening it, with its hint.
fn refused(bytes: &[u8]) -> String {
    report(&open(bytes).unwrap_err()).0
}

fn is_part_of(part: &Said, whole: &Said) -> bool {
    let mut inputs = whole.inputs.iter();
    let mut events = whole.events.iter();
    part.inputs.iter().all(|said| inputs.any(|other| other == said))
        && part.events.iter().all(|said| events.any(|other| other == said))
}

#[test]
fn a_whole_file_says_everything() {
    let trace = open(&small().file()).unwrap();
    let said = read(&trace);
    assert_eq!(said.numbers(), (0..15).collect::<Vec<u64>>());
    assert_eq!(said.inputs.len(), 5 * 4);
    assert_eq!((&said.gaps[..], trace.gaps()), (&[][..], &[][..]));
    assert_eq!(trace.ended(), Ended::Cleanly { why: Why::Finished });
    assert_eq!((trace.events(), trace.first_event()), (15, 0));
    assert_eq!(trace.ticks(), (0..5).map(tick).collect::<Vec<_>>());
    assert_eq!(trace.run().host.name, "web-17");
    // The state is for who begins in the midst.
    assert_eq!(said.checkpoints, []);
}

#[test]
fn whatever_is_cut_off_the_rest_says_what_it_said() {
    let file = small().file();
    let whole = read(&open(&file).unwrap());
    let scratch = Scratch::new();
    let path = scratch.path("t.sft");
    std::fs::write(&path, &file).unwrap();
    let handle = OpenOptions::new().write(true).open(&path).unwrap();
    let mut least = 0;
    for len in (0..file.len()).rev() {
        handle.set_len(len as u64).unwrap();
        let Ok(trace) = Trace::open(&path) else {
            assert!(len < 2000, "{len}");
            continue;
        };
        let said = read(&trace);
        assert_eq!(said.events[..], whole.events[..said.events.len()], "{len}");
        assert_eq!(said.inputs[..], whole.inputs[..said.inputs.len()], "{len}");
        assert!(matches!(trace.ended(), Ended::NotClosed { .. }), "{len}");
        assert_eq!(said.gaps, [], "{len}");
        least = least.max(said.events.len());
    }
    assert_eq!(least, 15);
}

/// One bit of every byte; that no bit of a header passes is shown where headers are decoded.
#[test]
fn no_flipped_bit_says_anything_wrong_or_goes_untold() {
    let frames = small();
    let file = frames.file();
    let whole = read(&open(&file).unwrap());
    let mut unread = vec![false; file.len()];
    let mut at = FILE_HEADER;
    for frame in &frames.frames {
        let is_checkpoint = frame[4] == Kind::Checkpoint.number();
        unread[at + FRAME_HEADER..at + frame.len()].fill(is_checkpoint);
        at += frame.len();
    }
    let scratch = Scratch::new();
    let path = scratch.path("t.sft");
    std::fs::write(&path, &file).unwrap();
    let handle = OpenOptions::new().write(true).open(&path).unwrap();
    for (offset, byte) in file.iter().enumerate() {
        let bit = offset % 8;
        handle.write_all_at(&[byte ^ (1 << bit)], offset as u64).unwrap();
        let trace = Trace::open(&path).unwrap();
        let said = read(&trace);
        assert!(is_part_of(&said, &whole), "byte {offset} bit {bit}");
        let told = !said.gaps.is_empty()
            || !trace.gaps().is_empty()
            || trace.ended() != Ended::Cleanly { why: Why::Finished };
        assert!(told || unread[offset], "byte {offset} bit {bit} goes untold");
        let lost = whole.events.len() - said.events.len();
        assert_eq!(said.missing(), lost as u64, "byte {offset} bit {bit}");
        handle.write_all_at(&[*byte], offset as u64).unwrap();
    }
}

#[test]
fn a_damaged_state_is_not_begun_with() {
    let frames = small();
    let file = frames.file();
    let at =
        FILE_HEADER + frames.frames.iter().take_while(|it| it[4] != 4).map(Vec::len).sum::<usize>();
    let trace = open(&file).unwrap();
    // The state after the interval 1, and after the interval 3.
    for (tick, expected) in [(0, 0), (1, 0), (2, 2), (3, 2), (4, 4), (9, 4)] {
        let cursor = trace.cursor_before_tick(tick);
        assert_eq!(cursor.ticks(), expected, "{tick}");
        let said = read_from(&trace, cursor);
        assert_eq!(said.checkpoints.len(), usize::from(expected > 0));
        assert_eq!(said.numbers().first(), (expected < 5).then_some(&(3 * expected as u64)));
    }
    let mut damaged = file;
    damaged[at + FRAME_HEADER + 3] ^= 1;
    let trace = open(&damaged).unwrap();
    assert_eq!(trace.cursor_before_tick(3).ticks(), 0);
    assert_eq!(trace.cursor_before_tick(4).ticks(), 4);
}

#[test]
fn the_interval_of_an_event_is_found() {
    let trace = open(&small().file()).unwrap();
    for number in 0..15 {
        assert_eq!(trace.tick_of_event(number), Some(number as usize / 3));
    }
    assert_eq!(trace.tick_of_event(15), None);
}

#[test]
fn spliced_files_are_told_and_say_nothing_twice() {
    let whole = read(&open(&small().file()).unwrap());
    let mut foreign = Frames::new(0xbad);
    foreign.push(Kind::Host, 0, 1, b"{}");
    foreign.interval(0, 7);

    type Splice<'a> = (&'a str, Box<dyn Fn(&mut Vec<Vec<u8>>) + 'a>, u64);
    let splices: [Splice; 5] = [
        ("another trace's", Box::new(|it| it.insert(3, foreign.frames[1].clone())), 0),
        ("repeated", Box::new(|it| it.insert(4, it[1].clone())), 0),
        ("removed", Box::new(|it| drop(it.drain(3..6))), 3),
        ("swapped", Box::new(|it| it.swap(1, 3)), 3),
        ("replaced", Box::new(|it| it[1].clone_from(&foreign.frames[1])), 3),
    ];
    for (name, splice, missing) in splices {
        let mut frames = small();
        splice(&mut frames.frames);
        let trace = open(&frames.file()).unwrap();
        let said = read(&trace);
        assert!(is_part_of(&said, &whole), "{name}");
        assert!(!said.gaps.is_empty(), "{name}");
        assert_eq!(said.gaps, trace.gaps(), "{name}");
        assert_eq!(said.missing(), missing, "{name}");
        assert_eq!(said.events.len() as u64 + missing, 15, "{name}");
        said.numbers();
    }
}

#[test]
fn what_a_later_minor_version_adds_is_passed_over() {
    let mut frames = Frames::new(1);
    frames.push(Kind::Host, 0, 1, b"{}");
    frames.push(Kind::Unknown(200), 0, 1, b"what may this be");
    frames.interval(0, 3);
    let mut file = frames.file();
    let header = FileHeader { minor: 9, ..FileHeader::new(1, 0) };
    file[..FILE_HEADER].copy_from_slice(&header.encode());
    let said = read(&open(&file).unwrap());
    assert_eq!(said.numbers(), [0, 1, 2]);
    assert_eq!(said.gaps, []);
}

#[test]
fn a_flag_that_is_not_known_is_a_gap() {
    let mut frames = small();
    let frame = &mut frames.frames[1];
    let mut header = FrameHeader::decode(frame[..FRAME_HEADER].try_into().unwrap()).unwrap();
    header.flags |= 0x80;
    frame[..FRAME_HEADER].copy_from_slice(&header.encode());
    let said = read(&open(&frames.file()).unwrap());
    assert_eq!((said.events.len(), said.missing()), (12, 3));
}

#[test]
fn lengths_out_of_this_world_are_passed_over() {
    for (stored_len, raw_len) in
        [(u32::MAX, 1), (16 << 20, 1), (100, u32::MAX), (1 << 20, 64 << 20)]
    {
        let mut frames = small();
        let frame = &mut frames.frames[1];
        let header = FrameHeader::decode(frame[..FRAME_HEADER].try_into().unwrap()).unwrap();
        let header = FrameHeader { stored_len, raw_len, ..header };
        frame[..FRAME_HEADER].copy_from_slice(&header.encode());
        let said = read(&open(&frames.file()).unwrap());
        assert_eq!((said.events.len(), said.missing()), (12, 3), "{stored_len} {raw_len}");
    }
}

#[test]
fn without_a_host_frame_the_moments_are_still_right() {
    let mut frames = small();
    let last = frames.frames[0].len() - 1;
    frames.frames[0][last] ^= 1;
    let trace = open(&frames.file()).unwrap();
    assert_eq!(trace.run().anchor.monotonic, tick(0));
    assert_eq!(trace.gaps().len(), 1);
    assert_eq!(read(&trace).events.len(), 15);
}

#[test]
fn what_is_no_trace_is_refused_with_a_reason() {
    assert!(refused(b"").contains("is empty: nothing was recorded"));
    assert!(refused(b"port 9981\nand other text\n").contains("is not a trace"));
    assert!(refused(&[0; 5000]).contains("is not a trace"));
    let file = small().file();
    for len in [1, 8, 31, 32, 90] {
        assert!(refused(&file[..len]).contains("ends before its first frame"), "{len}");
    }
    let mut newer = file.clone();
    let header = FileHeader { major: 2, minor: 3, ..FileHeader::new(1, 0) };
    newer[..FILE_HEADER].copy_from_slice(&header.encode());
    let text = refused(&newer);
    assert!(text.contains("has format 2.3; this sockflow reads 1.x"), "{text}");
    assert!(text.contains("hint: replay it with the version"), "{text}");
    // Every \n became \r\n, as some transfers do.
    let mut text_mode = Vec::new();
    for byte in file {
        if byte == b'\n' {
            text_mode.push(b'\r');
        }
        text_mode.push(byte);
    }
    let frames_left = open(&text_mode);
    if let Err(error) = frames_left {
        assert!(report(&error).0.contains("text mode"));
    }
    assert!(refused(b"\x89SFL\n\x1a\n and so on").contains("a transfer in text mode"));
}

#[test]
fn what_is_no_file_is_refused_with_a_reason() {
    let scratch = Scratch::new();
    let refused = |name: &str| report(&Trace::open(&scratch.path(name)).unwrap_err()).0;
    assert!(refused("absent").contains("cannot open"));
    std::fs::write(scratch.path("moved.1"), small().file()).unwrap();
    let text = refused("moved");
    assert!(text.contains("hint: an older piece of it is there: sockflow replay"), "{text}");
    std::fs::create_dir(scratch.path("folder")).unwrap();
    assert!(refused("folder").contains("is a folder, not a trace"));
    rustix::fs::mknodat(
        rustix::fs::CWD,
        scratch.path("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    assert!(refused("fifo").contains("is not a regular file"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Several bytes at once, holes and insertions: nothing wrong, no panic, from any cursor.
    #[test]
    fn no_damage_says_anything_wrong(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 1..6),
    ) {
        let mut file = small().file();
        let whole = read(&open(&file).unwrap());
        for (index, byte, how) in edits {
            let at = index.index(file.len());
            match how {
                0 => file[at] = byte,
                1 => drop(file.drain(at..(at + usize::from(byte)).min(file.len()))),
                2 => drop(file.splice(at..at, vec![byte; usize::from(byte)])),
                _ => {
                    let copy = file[at..(at + 300).min(file.len())].to_vec();
                    drop(file.splice(at..at, copy));
                }
            }
            if file.is_empty() {
                return Ok(());
            }
        }
        if let Ok(mut trace) = open(&file) {
            prop_assert!(is_part_of(&read(&trace), &whole));
            for tick in 0..=trace.ticks().len() {
                let said = read_from(&trace, trace.cursor_before_tick(tick));
                prop_assert!(is_part_of(&said, &whole));
            }
            let gaps = trace.gaps().to_vec();
            trace.refresh().unwrap();
            prop_assert_eq!(trace.gaps(), &gaps[..]);
        }
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert!(open(&bytes).is_err());
    }
}
