//! What becomes of a command whose stdout or stderr cannot be written: each command with each stream
//! closed, on a full device, and as a pipe whose reader has gone. Nothing here needs privilege; the
//! commands that do are in `live/streams.rs`.

#![allow(
    clippy::expect_used,
    reason = "a test's steps must succeed; clippy knows only functions marked as tests"
)]

#[path = "streams/table.rs"]
mod table;

use table::{Case, Kind, Stream, assert_table};

const STORY: &str = "tests/recordings/v1.0-story.sockflow";

/// What is typed, and its exit code where all can be written. Commands that say nothing on stdout
/// do not notice what it is.
const COMMANDS: &[(&str, i32, bool)] = &[
    ("--help", 0, true),
    ("--version", 0, true),
    ("replay --help", 0, true),
    ("man", 0, true),
    ("completions bash", 0, true),
    ("probes --ladder", 0, true),
    ("replay STORY", 0, true),
    ("replay STORY --json", 0, true),
    ("replay DAMAGED", 0, true),
    ("report STORY", 0, true),
    ("report STORY --format html", 0, true),
    ("report STORY --format json", 0, true),
    ("export STORY --format csv", 0, true),
    ("export STORY --format jsonl", 0, true),
    ("export STORY --format parquet", 0, true),
    ("export DAMAGED --format jsonl", 0, true),
    ("doctor --trace STORY", 11, true),
    ("doctor --trace STORY --json", 11, true),
    ("doctor --watch 0 --fail-on never", 0, true),
    ("top --sampled --interval 100ms --duration 200ms", 0, true),
    ("top --sampled --interval 100ms --duration 200ms --json", 0, true),
    ("storm --connections 3", 0, true),
    // Each says what is wrong on stderr alone.
    ("", 2, false),
    ("tpo", 2, false),
    ("replay no-such-file", 1, false),
    ("report STORY -o /proc/nowhere/report.html", 1, false),
];

#[test]
fn no_stream_that_cannot_be_written_makes_a_command_panic() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let damaged = folder.join("streams-damaged.sockflow");
    let mut bytes = std::fs::read(STORY).expect("the story");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    bytes.truncate(bytes.len() - 20);
    std::fs::write(&damaged, bytes).expect("a file");
    let cases = COMMANDS.iter().map(|(typed, code, has_data)| Case {
        typed: typed.replace("STORY", STORY).replace("DAMAGED", &damaged.display().to_string()),
        code: *code,
        has_data: *has_data,
    });
    assert_table(cases.collect());
}

/// Where a stream is closed, the next file that is opened must not become it: a note would be written
/// into an export.
#[test]
fn what_is_said_does_not_land_in_a_file() {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("closed-stderr.csv");
    let typed = format!("export {STORY} --from -2s --force -o {}", path.display());
    let whole = table::run(&typed, &[]);
    assert_eq!(whole.code, Some(0), "{}", whole.said);
    assert!(whole.said.contains("exported"), "{}", whole.said);
    let expected = std::fs::read(&path).expect("it was written");
    let closed = [(Stream::Stderr, Kind::Closed), (Stream::Stdout, Kind::Closed)];
    assert_eq!(table::run(&typed, &closed).code, Some(0));
    assert!(std::fs::read(&path).expect("it was written") == expected, "something else is in it");
}
