//! What the fuzzer has found so far, again with the ordinary compiler: every input of the corpus
//! goes through the same hands as in `fuzz/`. The corpus lies in archives, one a target.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking, in its helpers too"
)]

#[path = "fuzz/corpus.rs"]
mod corpus;
#[path = "../../fuzz/fuzz_targets/exercise.rs"]
mod exercise;

fn replay(target: &str, exercise: fn(&[u8])) {
    for input in corpus::inputs(target) {
        // Told when the test fails: which input it was.
        println!("{}", input.display());
        exercise(&std::fs::read(&input).unwrap());
    }
}

#[test]
fn the_reader_takes_every_file() {
    replay("reader", exercise::reader);
}

#[test]
fn the_decoder_takes_every_payload() {
    replay("events", exercise::events);
}
