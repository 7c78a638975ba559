//! A disk that stalls: samples wait in memory, in order, and what does not fit there is counted.

use std::fs::File;
use std::io::{PipeReader, Read};
use std::time::{Duration, Instant};

use crate::recording::testing::{Scratch, event, interval, read, run};
use crate::recording::{Options, Run, Trace, Why, Writer};

/// A recording into a pipe that holds one page, and that nobody reads yet.
fn stalled(scratch: &Scratch) -> (Writer, PipeReader) {
    let (reader, pipe) = std::io::pipe().unwrap();
    rustix::pipe::fcntl_setpipe_size(&pipe, 4096).unwrap();
    let options = Options {
        path: scratch.path("pipe"),
        force: false,
        max_bytes: None,
        sync: Duration::from_secs(1),
    };
    let stream = File::from(std::os::fd::OwnedFd::from(pipe));
    let run = Run { baseline: None, ..run() };
    (Writer::into_stream(stream, options, run).unwrap(), reader)
}

/// What came out of the pipe, read as a trace.
fn trace(scratch: &Scratch, bytes: &[u8]) -> Trace {
    let path = scratch.path("read.sockflow");
    std::fs::write(&path, bytes).unwrap();
    Trace::open(&path).unwrap()
}

fn drain(mut reader: PipeReader) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

#[test]
fn no_sample_of_a_stall_is_missing_and_nobody_waits_for_the_disk() {
    // Many times what the pipe, the channel and a stall of 12 s hold at one sample a second.
    const SAMPLES: u64 = 300;
    let scratch = Scratch::new();
    let (mut writer, reader) = stalled(&scratch);
    let began = Instant::now();
    for number in 0..SAMPLES {
        if number == 0 {
            writer.event(&event(0)).unwrap();
        }
        writer.sample(&interval(number)).unwrap();
        writer.sampled(|| unreachable!("a disk that is behind needs no checkpoint")).unwrap();
        writer.seal_if_due().unwrap();
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(writer.is_behind());
    let bytes = drain(reader);
    let summary = writer.finish(Why::Finished).unwrap();
    assert_eq!((summary.progress.intervals, summary.progress.left_out), (SAMPLES, 0));
    let trace = trace(&scratch, &bytes.join().unwrap());
    assert_eq!(trace.ticks().len() as u64, SAMPLES);
    let said = read(&trace);
    assert!(said.gaps.is_empty() && trace.gaps().is_empty(), "{:?}", said.gaps);
    assert_eq!(said.numbers(), [0]);
}

#[test]
fn samples_beyond_the_bound_are_counted_and_leave_a_gap() {
    const SAMPLES: u64 = 100;
    let scratch = Scratch::new();
    let (mut writer, reader) = stalled(&scratch);
    writer.bound_queue(16 << 10);
    for number in 0..SAMPLES {
        writer.sample(&interval(number)).unwrap();
    }
    let bytes = drain(reader);
    let summary = writer.finish(Why::Finished).unwrap();
    let (kept, left_out) = (summary.progress.intervals, summary.progress.left_out);
    assert!(left_out > 0 && kept > 4, "{kept} kept, {left_out} left out");
    assert_eq!(kept + left_out, SAMPLES);
    let notes = summary.notes.concat();
    assert!(notes.contains(&format!("{left_out} intervals are not recorded")), "{notes}");
    let trace = trace(&scratch, &bytes.join().unwrap());
    assert_eq!(trace.ticks().len() as u64, kept);
    let said = read(&trace);
    assert_eq!(said.gaps.len(), 1, "{:?}", said.gaps);
}

/// A disk that is gone for good ends the recording: nothing waits for it.
#[test]
fn a_reader_that_goes_ends_the_recording_with_that_word() {
    let scratch = Scratch::new();
    let (mut writer, reader) = stalled(&scratch);
    drop(reader);
    let began = Instant::now();
    let error = loop {
        if let Err(error) = writer.sample(&interval(0)).and_then(|()| writer.seal_if_due()) {
            break error;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "it goes on");
    };
    let text = crate::error::report(&error).0;
    assert!(text.contains("the reader of") && text.contains("has gone"), "{text}");
}
