//! What is done with an input; `tracer/tests/fuzz_corpus.rs` does the same with the corpus.
#![allow(dead_code, reason = "each target uses its half")]

#[path = "forge.rs"]
mod forge;

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use sockflow::event::{Event, Input};
use sockflow::recording::events::{self, EventsEncoder};
use sockflow::recording::frame::{FILE_HEADER, FRAME_HEADER, MAGIC, MARKER};
use sockflow::recording::{Cursor, Gap, Sink, Trace, Want};

/// Opens the input as a trace and reads it from several places, also while it grows and after it
/// was cut. With an odd first byte its checksums are put right before: otherwise nothing behind
/// them would ever be reached.
pub(crate) fn reader(data: &[u8]) {
    let Some((mode, bytes)) = data.split_first() else { return };
    let mut bytes = bytes.to_vec();
    if mode % 2 == 1 {
        repair(&mut bytes);
    }
    let path = &path("input.sft");
    let len = bytes.len() as u64;
    let part = len * u64::from(mode >> 1) / 127;
    std::fs::write(path, &bytes).expect("cannot write the input");
    let file = OpenOptions::new().write(true).open(path).expect("cannot open the input");
    read_twice(path, &file, part, len, &bytes);
}

fn read_twice(path: &Path, file: &File, part: u64, len: u64, bytes: &[u8]) {
    // A part of it first, the rest when it is refreshed.
    file.set_len(part).expect("cannot cut the input");
    let partly = Trace::open(path);
    file.set_len(len).expect("cannot lengthen the input");
    file.write_all_at(bytes, 0).expect("cannot write the input");
    if let Ok(mut trace) = partly {
        let _ = trace.refresh();
        read_all(&trace);
    }
    let Ok(mut trace) = Trace::open(path) else { return };
    read_all(&trace);
    for tick in 0..trace.ticks().len().min(4) {
        let cursor = trace.cursor_before_tick(tick);
        assert!(cursor.ticks() <= tick + 1);
        read(&trace, cursor, Want::NoEvents);
        let _ = trace.tick_of_event(tick as u64);
    }
    // Cut after it was looked at.
    file.set_len(part).expect("cannot cut the input");
    read_all(&trace);
    let _ = trace.refresh();
    read_all(&trace);
}

fn read_all(trace: &Trace) {
    read(trace, trace.start(), Want::Everything);
}

fn read(trace: &Trace, mut cursor: Cursor, want: Want) {
    let mut count = Count::default();
    while trace.read(&mut cursor, want, &mut count).is_ok_and(|more| more) {}
}

/// Each number must be greater than the one before: no event is told twice.
#[derive(Default)]
struct Count {
    last: Option<u64>,
}

impl Sink for Count {
    fn event(&mut self, number: u64, _event: &Event) {
        assert!(self.last < Some(number) || number == u64::MAX, "event {number} is told twice");
        self.last = Some(number);
    }

    fn input(&mut self, _input: Input) {}

    fn gap(&mut self, gap: &Gap) {
        assert!(!gap.why.is_empty());
    }
}

/// Whole commands on the recording that an input describes, through the same entry as from a shell.
/// Whoever calls sees to it that nobody reads what they print.
pub(crate) fn commands(data: &[u8]) {
    const COMMANDS: [&[&str]; 10] = [
        &["replay", "FILE", "--at", "max"],
        &["replay", "FILE", "--json"],
        &["replay", "FILE", "--json", "--interval", "3s", "--at", "end"],
        &["report", "FILE", "--format", "html", "-o", "/dev/null"],
        &["report", "FILE", "--format", "md", "--to", "max", "--redact", "-o", "/dev/null"],
        &["report", "FILE", "--format", "json", "--from", "!1", "-o", "/dev/null"],
        &["export", "FILE", "--format", "jsonl", "-o", "/dev/null"],
        &["export", "FILE", "--format", "csv", "--from", "max", "-o", "/dev/null"],
        &["export", "FILE", "--format", "parquet", "--to", "end", "-o", "/dev/null"],
        &["doctor", "--trace", "FILE", "--at", "max"],
    ];
    let path = &path("commands.sockflow");
    std::fs::write(path, forge::forge(data)).expect("cannot write the input");
    let file = path.to_str().expect("a name of letters");
    for command in COMMANDS {
        let words = command.iter().map(|word| if *word == "FILE" { file } else { word });
        let _ = sockflow::cli::run(std::iter::once("sockflow").chain(words));
    }
    let _ = sockflow::cli::run(["sockflow", "doctor", "--trace", file, "--json"]);
}

/// What a decoder accepts says the same after encoding it again.
pub(crate) fn events(data: &[u8]) {
    let count = events::count(data);
    let mut said = Vec::new();
    let Ok(decoded) = events::decode(data, |event| said.push(event.clone())) else { return };
    assert_eq!(decoded.events, said.len() as u64);
    assert_eq!(count, Ok(decoded.events + decoded.unknown));
    let mut encoder = EventsEncoder::new();
    for event in &said {
        encoder.push(event);
    }
    let mut again = Vec::new();
    encoder.finish(&mut again);
    let mut index = 0;
    events::decode(&again, |event| {
        assert_eq!(*event, said[index]);
        index += 1;
    })
    .expect("what was encoded cannot be decoded");
    assert_eq!(index, said.len());
}

/// Puts the checksums of the file's header and of all frames right, where their lengths allow.
fn repair(bytes: &mut [u8]) {
    if bytes.len() >= FILE_HEADER && bytes.starts_with(&MAGIC) {
        let crc = crc32c::crc32c(&bytes[..FILE_HEADER - 4]);
        bytes[FILE_HEADER - 4..FILE_HEADER].copy_from_slice(&crc.to_le_bytes());
    }
    let mut at = 0;
    while let Some(frame) = bytes.get_mut(at..) {
        if frame.len() < FRAME_HEADER {
            break;
        }
        if !frame.starts_with(&MARKER) {
            at += 1;
            continue;
        }
        let stored = u32::from_le_bytes([frame[48], frame[49], frame[50], frame[51]]) as usize;
        if let Some(payload) = frame.get(FRAME_HEADER..FRAME_HEADER.saturating_add(stored)) {
            let crc = crc32c::crc32c(payload);
            frame[56..60].copy_from_slice(&crc.to_le_bytes());
        }
        let crc = crc32c::crc32c(&frame[..60]);
        frame[60..64].copy_from_slice(&crc.to_le_bytes());
        at += FRAME_HEADER;
    }
}

/// A file of a process and a target, in memory where that can be had: there are thousands of inputs
/// a second.
fn path(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let folder = folder.join(format!("sockflow-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("cannot make a folder for the input");
        folder
    });
    folder.join(name)
}
