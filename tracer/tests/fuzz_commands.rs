//! Whole commands on the inputs that the fuzzer has found, with the ordinary compiler: none panics, and
//! each takes no longer than a person would wait. In a file of its own: what the commands print goes
//! nowhere, and so would what other tests print meanwhile.

#![expect(clippy::expect_used, reason = "a test fails by panicking, in its helpers too")]

#[path = "fuzz/corpus.rs"]
mod corpus;
#[path = "../../fuzz/fuzz_targets/exercise.rs"]
mod exercise;

use std::fs::{self, OpenOptions};
use std::panic::catch_unwind;
use std::time::{Duration, Instant};

use rustix::stdio::{dup2_stderr, dup2_stdout};

/// An optimised build takes a twentieth.
const LONGEST: Duration = Duration::from_secs(60);

#[test]
fn every_command_takes_every_trace() {
    let inputs = corpus::inputs("commands");
    let nowhere = OpenOptions::new().write(true).open("/dev/null").unwrap();
    let (out, talk) =
        (rustix::io::dup(rustix::stdio::stdout()), rustix::io::dup(rustix::stdio::stderr()));
    dup2_stdout(&nowhere).unwrap();
    dup2_stderr(&nowhere).unwrap();
    let wrong: Vec<String> = inputs
        .iter()
        .filter_map(|input| {
            let data = fs::read(input).unwrap();
            let began = Instant::now();
            let panicked = catch_unwind(|| exercise::commands(&data)).is_err();
            let took = began.elapsed();
            let name = input.display();
            (panicked || took > LONGEST).then(|| format!("{name}: panicked {panicked}, {took:?}"))
        })
        .collect();
    dup2_stdout(out.unwrap()).unwrap();
    dup2_stderr(talk.unwrap()).unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
