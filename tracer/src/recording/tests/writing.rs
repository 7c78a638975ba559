//! The writer on real files: rotation, limits, locks, and disks and folders that go away.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::DirEntry;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::error::report;
use crate::recording::testing::{Scratch, checkpoint, event, interval, read, read_from, run, tick};
use crate::recording::{Ended, Options, Run, Trace, Why, Writer};

fn options(path: &Path) -> Options {
    Options { path: path.to_owned(), force: false, max_bytes: None, sync: Duration::from_secs(60) }
}

fn create(path: &Path) -> Writer {
    Writer::create(options(path), bare_run()).unwrap()
}

fn refused(options: Options) -> String {
    report(&Writer::create(options, run()).err().unwrap()).0
}

fn bare_run() -> Run {
    Run { baseline: None, ..run() }
}

/// Says an interval of so many events.
fn say(writer: &mut Writer, number: u64, events: u64) -> anyhow::Result<()> {
    for event_number in number * events..(number + 1) * events {
        writer.event(&event(event_number))?;
    }
    end_interval(writer, number)
}

/// Ends an interval.
fn end_interval(writer: &mut Writer, number: u64) -> anyhow::Result<()> {
    writer.sample(&interval(number))?;
    writer.sampled(|| checkpoint(number))
}

/// What the trace takes on disk at one moment. A listing takes time, in which the writer's thread
/// moves files (one would count under both names) and drops some: two that agree saw no move.
fn on_disk(path: &Path) -> u64 {
    let folder = path.parent().unwrap();
    let listing = || -> BTreeMap<OsString, (u64, u64)> {
        let entries = std::fs::read_dir(folder).unwrap().filter_map(Result::ok);
        let file = |entry: DirEntry| {
            let file = entry.metadata().ok()?;
            Some((entry.file_name(), (file.ino(), file.len())))
        };
        entries.filter_map(file).collect()
    };
    let mut seen = listing();
    loop {
        let again = listing();
        if again == seen {
            return seen.values().map(|(_, bytes)| bytes).sum();
        }
        seen = again;
    }
}

fn older(path: &Path, age: u32) -> PathBuf {
    PathBuf::from(format!("{}.{age}", path.display()))
}

/// The trace when no one holds its lock any more. Whoever wrote it may have let it go while another
/// test was starting a process, which has a copy until it runs its own program.
fn once_unlocked(path: &Path) -> Trace {
    eventually(|| Trace::open(path).unwrap().ended() != Ended::Growing);
    Trace::open(path).unwrap()
}

/// Patient, as a disk that others write to can take its time over a sync.
#[track_caller]
fn eventually(mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(60), "waited in vain");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_is_written_is_read() {
    let scratch = Scratch::new();
    let path = scratch.path("t.sft");
    let mut writer = create(&path);
    for number in 0..10 {
        say(&mut writer, number, 100).unwrap();
    }
    let summary = writer.finish(Why::Finished).unwrap();
    assert_eq!((summary.progress.events, summary.progress.pieces), (1000, 1));
    assert_eq!(summary.progress.bytes, path.metadata().unwrap().len());
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);

    let trace = Trace::open(&path).unwrap();
    let said = read(&trace);
    assert_eq!(said.numbers(), (0..1000).collect::<Vec<u64>>());
    let spoken: Vec<String> =
        (0..10).flat_map(interval).map(|input| format!("{input:?}")).collect();
    assert_eq!(said.inputs, spoken);
    assert_eq!((&said.gaps[..], trace.gaps()), (&[][..], &[][..]));
    assert_eq!(trace.ended(), Ended::Cleanly { why: Why::Finished });
    let expected = Run { piece: 0, began_for: Why::Start, ..bare_run() };
    assert_eq!(*trace.run(), expected);
}

#[test]
fn a_frame_is_sealed_when_it_is_full_or_has_waited() {
    let scratch = Scratch::new();
    let path = scratch.path("t.sft");
    let sync = Duration::from_millis(20);
    let mut writer = Writer::create(Options { sync, ..options(&path) }, run()).unwrap();
    writer.event(&event(0)).unwrap();
    std::thread::sleep(sync);
    writer.seal_if_due().unwrap();
    eventually(|| writer.progress().events == 1);
    let trace = Trace::open(&path).unwrap();
    assert_eq!((trace.events(), trace.ended()), (1, Ended::Growing));

    let path = scratch.path("full.sft");
    let mut writer = create(&path);
    for number in 0..65_540 {
        writer.event(&event(number)).unwrap();
    }
    eventually(|| writer.progress().events == 65_536);
    // Without an end, as when something else fails: all of it is there, but not closed.
    drop(writer);
    let trace = once_unlocked(&path);
    assert_eq!((trace.events(), trace.ended()), (65_540, Ended::NotClosed { tail: 0 }));
}

#[test]
fn a_file_that_is_there_is_kept_unless_forced() {
    let scratch = Scratch::new();
    let path = scratch.path("t.sft");
    std::fs::write(&path, "precious").unwrap();
    let text = refused(options(&path));
    assert!(text.contains("is there already"), "{text}");
    assert!(text.contains("hint: name another file, or replace it: --force"), "{text}");
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    let forced = Options { force: true, ..options(&path) };
    let writer = Writer::create(forced.clone(), run()).unwrap();
    let text = refused(forced);
    assert!(text.contains("another sockflow writes to"), "{text}");
    writer.finish(Why::Finished).unwrap();
    Trace::open(&path).unwrap();
}

#[test]
fn what_cannot_be_written_to_is_refused_with_a_reason() {
    let scratch = Scratch::new();
    let text = refused(options(&scratch.path("")));
    assert!(text.contains("is a folder"), "{text}");
    let text = refused(options(&scratch.path("absent/t.sft")));
    assert!(text.contains("hint: mkdir -p"), "{text}");
    let text = refused(Options { max_bytes: Some(1000), ..options(&scratch.path("t.sft")) });
    assert!(text.contains("too little room"), "{text}");
    assert!(!scratch.path("t.sft").exists());
    // What would be dropped as an older piece must be one.
    std::fs::write(scratch.path("t.sft.3"), "precious").unwrap();
    let limited = Options { max_bytes: Some(1 << 20), ..options(&scratch.path("t.sft")) };
    assert!(refused(limited.clone()).contains("t.sft.3 is there already"));
    let text = refused(Options { force: true, ..limited });
    assert!(text.contains("is not a trace"), "{text}");
}

#[test]
fn what_is_no_disk_can_be_written_to() {
    let mut writer =
        Writer::create(Options { max_bytes: Some(1), ..options(Path::new("/dev/null")) }, run())
            .unwrap();
    for number in 0..3 {
        writer.rotate();
        say(&mut writer, number, 10).unwrap();
    }
    let summary = writer.finish(Why::Finished).unwrap();
    assert_eq!((summary.progress.pieces, summary.progress.events), (1, 30));
    assert!(!Path::new("/dev/null.1").exists());
}

#[test]
fn pieces_asked_for_are_read_as_one() {
    let scratch = Scratch::new();
    let path = scratch.path("t.sft");
    let mut writer = create(&path);
    for number in 0..12 {
        if number % 3 == 2 {
            writer.rotate();
        }
        say(&mut writer, number, 10).unwrap();
    }
    let summary = writer.finish(Why::Finished).unwrap();
    assert_eq!(summary.progress.pieces, 5);
    let trace = Trace::open(&path).unwrap();
    let said = read(&trace);
    assert_eq!(said.numbers(), (0..120).collect::<Vec<u64>>());
    assert_eq!((said.inputs.len(), &said.gaps[..]), (12 * 4, &[][..]));
    // Each piece stands alone: it begins with a state of its very beginning.
    let alone = Trace::open(&older(&path, 2)).unwrap();
    let said = read(&alone);
    assert_eq!(said.checkpoints, [checkpoint(5)]);
    assert_eq!(said.numbers(), (60..90).collect::<Vec<u64>>());
    assert_eq!(said.missing(), 0);
    // And with the gauges that counters are told since.
    assert_eq!(said.inputs[0], format!("{:?}", interval(0)[0]));
    assert_eq!(alone.ended(), Ended::Continued { why: Why::Asked });
    assert_eq!((alone.first_event(), alone.run().piece), (60, 2));
    // Without one in the midst, what is missing is told.
    std::fs::remove_file(older(&path, 2)).unwrap();
    let trace = Trace::open(&path).unwrap();
    let said = read(&trace);
    assert_eq!((said.missing(), said.events.len()), (30, 90));
    assert_eq!(trace.gaps(), said.gaps);
}

#[test]
fn a_limit_holds_at_every_moment_and_drops_the_oldest() {
    let scratch = Scratch::new();
    let path = scratch.path("t.sft");
    let most = 256 << 10;
    let limited = Options { max_bytes: Some(most), ..options(&path) };
    let mut writer = Writer::create(limited, bare_run()).unwrap();
    let mut largest = 0;
    let mut events = 0;
    for number in 0..150 {
        // Every so often an interval that is more than a piece.
        for _ in 0..if number % 20 == 7 { 5000 } else { 300 } {
            writer.event(&noise(events)).unwrap();
            events += 1;
        }
        writer.sample(&interval(number)).unwrap();
        // A disk that lags learns too late that a piece is nearly full, and begins one in the midst
        // of an interval: `a_burst_within_an_interval_begins_pieces_too`.
        eventually(|| writer.progress().intervals == number + 1);
        writer.sampled(|| checkpoint(number)).unwrap();
        let taken = on_disk(&path);
        assert!(taken <= most, "{taken}");
        largest = largest.max(taken);
    }
    let progress = writer.finish(Why::Finished).unwrap().progress;
    assert!(on_disk(&path) <= most && largest > most / 2, "{largest}");
    assert!(progress.dropped_pieces > 0);
    let trace = Trace::open(&path).unwrap();
    assert_eq!(trace.events(), events);
    let said = read(&trace);
    assert_eq!(said.gaps, trace.gaps());
    let first = trace.first_event();
    assert!(first > 0);
    assert_eq!(said.events.len() as u64, events - first);
    assert!(said.events.iter().all(|(number, event)| *event == noise(*number)));
    assert_eq!((said.checkpoints.len(), said.missing()), (1, 0));
}

#[test]
fn a_burst_within_an_interval_begins_pieces_too() {
    let scratch = Scratch::new();
    let path = scratch.path("t.sft");
    let most = 1 << 20;
    let limited = Options { max_bytes: Some(most), ..options(&path) };
    let mut writer = Writer::create(limited, bare_run()).unwrap();
    say(&mut writer, 0, 10).unwrap();
    writer.rotate();
    end_interval(&mut writer, 1).unwrap();
    for number in 10..300_000 {
        writer.event(&noise(number)).unwrap();
        if number % 10_000 == 0 {
            assert!(on_disk(&path) <= most);
        }
    }
    writer.sample(&interval(2)).unwrap();
    writer.finish(Why::Finished).unwrap();
    assert!(on_disk(&path) <= most);
    let trace = Trace::open(&path).unwrap();
    assert_eq!(trace.events(), 300_000);
    let said = read(&trace);
    assert!(trace.first_event() > 10);
    assert_eq!(said.events.len() as u64, 300_000 - trace.first_event());
    // The state is older than the piece that begins with it, and what was between is told.
    assert_eq!(said.checkpoints, [checkpoint(1)]);
    assert_eq!(said.missing(), trace.first_event() - 10);
}

/// Whoever asks for a checkpoint when one is due has lost no event that it does not know, however much
/// comes in an interval and however late the disk is.
#[test]
fn a_burst_drops_nothing_that_the_last_checkpoint_does_not_know() {
    let scratch = Scratch::new();
    let path = scratch.path("t.sft");
    let limited = Options { max_bytes: Some(1 << 20), ..options(&path) };
    let mut writer = Writer::create(limited, bare_run()).unwrap();
    for number in 0..300_000 {
        writer.event(&noise(number)).unwrap();
        // As often as whoever empties the ring does.
        if number % 4096 == 0 {
            writer.checkpoint_if_due(|| checkpoint(number)).unwrap();
        }
        // Events of a disk that is behind wait where they are.
        while writer.is_behind() {
            writer.seal_if_due().unwrap();
            std::thread::yield_now();
        }
    }
    writer.sample(&interval(0)).unwrap();
    let progress = writer.finish(Why::Finished).unwrap().progress;
    assert!(progress.dropped_pieces > 0);
    let said = read(&Trace::open(&path).unwrap());
    assert_eq!((said.checkpoints.len(), said.missing()), (1, 0), "{:?}", said.gaps);
}

#[test]
fn a_reader_follows_a_file_that_grows_and_rotates() {
    let scratch = Scratch::new();
    let path = scratch.path("t.sft");
    let mut writer = create(&path);
    say(&mut writer, 0, 10).unwrap();
    eventually(|| writer.progress().events == 10 && writer.progress().frames >= 3);
    let mut trace = Trace::open(&path).unwrap();
    assert_eq!((trace.ticks(), trace.ended()), (&[tick(0)][..], Ended::Growing));
    let mut cursor = trace.start();
    let mut said = crate::recording::testing::Said::default();
    let mut number = 1;
    for rotations in [0, 1, 3] {
        for _ in 0..rotations.max(1) {
            if rotations > 0 {
                writer.rotate();
            }
            say(&mut writer, number, 10).unwrap();
            number += 1;
        }
        // The sample of the interval comes after its events.
        eventually(|| {
            trace.refresh().unwrap();
            trace.ticks().len() as u64 == number
        });
        let everything = crate::recording::Want::Everything;
        while trace.read(&mut cursor, everything, &mut said).unwrap() {}
        assert_eq!(said.numbers(), (0..number * 10).collect::<Vec<u64>>());
    }
    // The last rotation comes after the sample.
    eventually(|| {
        trace.refresh().unwrap();
        trace.ended() == Ended::Growing
    });
    writer.finish(Why::Finished).unwrap();
    assert!(trace.refresh().unwrap());
    assert!(!trace.refresh().unwrap());
    assert_eq!(trace.ended(), Ended::Cleanly { why: Why::Finished });
    assert_eq!((said.gaps, trace.gaps()), (vec![], &[][..]));
}

#[test]
fn pieces_dropped_while_they_are_read_are_let_go() {
    let scratch = Scratch::new();
    let path = scratch.path("t.sft");
    let mut writer = create(&path);
    say(&mut writer, 0, 10).unwrap();
    writer.rotate();
    say(&mut writer, 1, 10).unwrap();
    say(&mut writer, 2, 10).unwrap();
    writer.finish(Why::Finished).unwrap();
    let mut trace = Trace::open(&path).unwrap();
    std::fs::remove_file(older(&path, 1)).unwrap();
    trace.refresh().unwrap();
    let said = read(&trace);
    assert_eq!((said.numbers().first(), said.missing()), (Some(&20), 20));
    assert_eq!(read_from(&trace, trace.cursor_before_tick(3)).numbers().first(), Some(&20));
}

#[test]
fn a_deleted_file_is_begun_anew() {
    let scratch = Scratch::new();
    let path = scratch.path("t.sft");
    let sync = Duration::from_millis(10);
    let mut writer = Writer::create(Options { sync, ..options(&path) }, bare_run()).unwrap();
    say(&mut writer, 0, 10).unwrap();
    eventually(|| writer.progress().frames >= 3);
    std::fs::remove_file(&path).unwrap();
    eventually(|| path.exists());
    say(&mut writer, 1, 10).unwrap();
    assert!(writer.take_notes()[0].contains("was deleted"));
    writer.finish(Why::Finished).unwrap();
    let trace = Trace::open(&path).unwrap();
    assert_eq!((trace.run().began_for, trace.first_event()), (Why::Deleted, 10));
    assert_eq!(read(&trace).numbers(), (10..20).collect::<Vec<u64>>());
}

#[test]
fn a_file_moved_away_is_left_when_asked() {
    let scratch = Scratch::new();
    let path = scratch.path("t.sft");
    let mut writer = create(&path);
    say(&mut writer, 0, 10).unwrap();
    std::fs::rename(&path, scratch.path("t.sft-20261122")).unwrap();
    // As logrotate does it with `create`.
    std::fs::write(&path, "").unwrap();
    writer.rotate();
    say(&mut writer, 1, 10).unwrap();
    say(&mut writer, 2, 10).unwrap();
    writer.finish(Why::Finished).unwrap();
    assert!(!older(&path, 1).exists());
    let moved = Trace::open(&scratch.path("t.sft-20261122")).unwrap();
    assert_eq!(read(&moved).numbers(), (0..20).collect::<Vec<u64>>());
    assert_eq!(read(&Trace::open(&path).unwrap()).numbers(), (20..30).collect::<Vec<u64>>());
}

#[test]
fn when_there_is_no_place_left_the_rest_is_rescued() {
    for (name, replaced) in [("is gone", false), ("somebody else's file is there", true)] {
        let scratch = Scratch::new();
        let folder = scratch.path("gone");
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("t.sft");
        let sync = Duration::from_millis(100);
        let mut writer = Writer::create(Options { sync, ..options(&path) }, bare_run()).unwrap();
        say(&mut writer, 0, 10).unwrap();
        eventually(|| writer.progress().frames >= 3);
        if replaced {
            std::fs::write(folder.join("other"), "somebody else's").unwrap();
            std::fs::rename(folder.join("other"), &path).unwrap();
        } else {
            std::fs::remove_dir_all(&folder).unwrap();
        }
        let mut error = None;
        eventually(|| {
            error = writer.seal_if_due().err();
            error.is_some()
        });
        let text = report(&error.unwrap()).0;
        assert!(text.contains(name), "{text}");
        let (_, copy) = text.split_once("sockflow replay ").unwrap();
        let copy = Path::new(copy.trim());
        assert_eq!(read(&Trace::open(copy).unwrap()).events.len(), 10);
        assert_eq!(copy.metadata().unwrap().mode() & 0o777, 0o600);
        std::fs::remove_file(copy).unwrap();
    }
}

/// A file system of its own, of so many KiB; unmounted when dropped.
struct SmallDisk(Scratch);

impl SmallDisk {
    /// `None`, with a word on stderr, where we may not mount one.
    fn mount(kib: u32) -> Option<Self> {
        let scratch = Scratch::new();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={kib}k"), "tmpfs"])
            .arg(scratch.path(""))
            .output()
            .is_ok_and(|output| output.status.success());
        if !mounted {
            eprintln!("skipped: cannot mount a small file system to fill up");
        }
        mounted.then_some(Self(scratch))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path("")).status();
    }
}

/// Events whose bytes do not shrink.
fn noise(number: u64) -> crate::event::Event {
    let mut socket = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    socket = (socket ^ (socket >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    socket = (socket ^ (socket >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    crate::event::Event { socket: socket ^ (socket >> 31), ..event(number) }
}

#[test]
fn a_full_disk_ends_the_trace_whole() {
    let Some(disk) = SmallDisk::mount(256) else { return };
    let path = disk.0.path("t.sft");
    let mut writer = create(&path);
    let mut error = None;
    for number in 0..1000 {
        for at in 0..500 {
            writer.event(&noise(number * 500 + at)).unwrap();
        }
        if let Err(because) = end_interval(&mut writer, number) {
            error = Some(because);
            break;
        }
    }
    let (text, code) = report(&error.unwrap());
    assert!(text.contains("no room for") && text.contains("No space left"), "{text}");
    assert!(text.contains("--max-size"), "{text}");
    assert_eq!(code, 1);
    let trace = Trace::open(&path).unwrap();
    let said = read(&trace);
    assert!(said.events.len() > 1000 && said.gaps.is_empty());
    assert!(
        matches!(
            trace.ended(),
            Ended::NotClosed { tail: 0 } | Ended::Cleanly { why: Why::DiskFull }
        ),
        "{:?}",
        trace.ended()
    );
}

#[test]
fn under_a_limit_a_full_disk_costs_the_oldest() {
    let Some(disk) = SmallDisk::mount(512) else { return };
    let path = disk.0.path("t.sft");
    // More than there is: nothing but the disk holds it back.
    let limited = Options { max_bytes: Some(64 << 20), ..options(&path) };
    let mut writer = Writer::create(limited, bare_run()).unwrap();
    let count = 400;
    for number in 0..count {
        for at in 0..200 {
            writer.event(&noise(number * 200 + at)).unwrap();
        }
        end_interval(&mut writer, number).unwrap();
    }
    let summary = writer.finish(Why::Finished).unwrap();
    assert!(summary.notes.iter().any(|note| note.contains("the disk is full")), "{summary:?}");
    assert!(summary.progress.dropped_pieces > 0);
    let trace = Trace::open(&path).unwrap();
    let said = read(&trace);
    assert_eq!(trace.events(), count * 200);
    assert_eq!(said.events.last().unwrap().0, count * 200 - 1);
    assert_eq!(said.events.len() as u64, trace.events() - trace.first_event());
    assert_eq!(trace.ended(), Ended::Cleanly { why: Why::Finished });
}
