//! What the fuzzer has found so far, again with the ordinary compiler: every input of the corpus
//! goes through the same hands as in `fuzz/`.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::path::Path;

#[path = "../../fuzz/fuzz_targets/exercise.rs"]
mod exercise;

fn replay(target: &str, exercise: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let mut inputs = 0;
    for entry in std::fs::read_dir(&corpus).unwrap() {
        let path = entry.unwrap().path();
        // Told when the test fails: which input it was.
        println!("{}", path.display());
        exercise(&std::fs::read(&path).unwrap());
        inputs += 1;
    }
    assert!(inputs > 0, "{} is empty", corpus.display());
}

#[test]
fn the_reader_takes_every_file() {
    replay("reader", exercise::reader);
}

#[test]
fn the_decoder_takes_every_payload() {
    replay("events", exercise::events);
}
