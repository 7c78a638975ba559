//! Of a trace that is damaged, or to which not everything came, all that is there, and the rest told.

use std::fs;

use serde_json::json;
use sockflow::recording::frame::{FILE_HEADER, FRAME_HEADER};

use crate::support::{EVENTS_OF_STORY, STORY, ask, export, folder, orphans, readers, record};

/// Where the frames of a trace begin that hold events.
fn frames_of_events(bytes: &[u8]) -> Vec<usize> {
    let mut at = FILE_HEADER;
    let mut frames = Vec::new();
    while at < bytes.len() {
        if bytes[at + 4] == 2 {
            frames.push(at);
        }
        let stored = u32::from_le_bytes(bytes[at + 48..at + 52].try_into().unwrap());
        at += FRAME_HEADER + stored as usize;
    }
    frames
}

#[test]
fn from_a_damaged_trace_everything_whole_is_exported_and_the_rest_is_told() {
    let folder = folder("damaged");
    let trace = folder.join("damaged.sockflow");
    let mut bytes = fs::read(STORY).unwrap();
    let events = frames_of_events(&bytes);
    bytes[events[events.len() / 2] + FRAME_HEADER + 5] ^= 4;
    bytes.truncate(bytes.len() - 20);
    fs::write(&trace, bytes).unwrap();
    let said = export(&trace, &folder.join("damaged.jsonl"), &[]);
    let rows = fs::read_to_string(folder.join("damaged.jsonl")).unwrap().lines().count();
    insta::assert_snapshot!(said.replace(folder.to_str().unwrap(), "FOLDER"));
    let missing = EVENTS_OF_STORY - rows as u64;
    assert!(missing > 0 && said.contains(&format!("{missing} events of the trace")), "{said}");

    // Without its first frame the host is not known, which is told too.
    let headless = folder.join("headless.sockflow");
    let mut bytes = fs::read(STORY).unwrap();
    bytes[FILE_HEADER + FRAME_HEADER + 5] ^= 4;
    fs::write(&headless, bytes).unwrap();
    let said = export(&headless, &folder.join("headless.csv"), &[]);
    assert!(said.contains("exported 16,209 events"), "{said}");
    assert!(said.contains("the frame that describes the host and the run is damaged"), "{said}");

    // The damage is not in this part of it.
    let said = export(&trace, &folder.join("part.csv"), &["--to", "+2s"]);
    assert!(!said.contains("missing"), "{said}");

    let Some(python) = readers() else { return };
    export(&trace, &folder.join("damaged.parquet"), &[]);
    let answers = ask(
        &python,
        &folder,
        &[
            "select count(*) from 'damaged.parquet'",
            "select decode(value) from parquet_kv_metadata('damaged.parquet')
           where decode(key) in ('sockflow.missing', 'sockflow.ended') order by decode(key)",
            "select sum((gap->>'events')::int), count(gap->>'after'), count(gap->>'before') from (
               select unnest(from_json(decode(value), '[\"json\"]')) as gap
               from parquet_kv_metadata('damaged.parquet') where decode(key) = 'sockflow.gaps')",
        ],
    );
    assert_eq!(answers[0], json!([[rows]]));
    assert_eq!(answers[1], json!([["not closed"], [missing.to_string()]]));
    assert_eq!(answers[2], json!([[missing, 1, 1]]));
}

#[test]
fn what_recording_lost_is_told() {
    let folder = folder("lost");
    let trace = folder.join("lost.sockflow");
    record(&trace, "web-1", 1_234, orphans(3, 443, 0));
    let said = export(&trace, &folder.join("lost.csv"), &[]);
    assert!(said.contains("note: recording lost 1,234 events"), "{said}");
}
