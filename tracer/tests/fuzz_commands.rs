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
/// The whole corpus is the fuzzer's to run: here its inputs take turns until so much time is over.
const ALL_TOGETHER: Duration = Duration::from_secs(60);
/// How far apart in the corpus those are that follow each other, so that any part of it is a sample.
const STRIDE: usize = 16;
/// However slow the machine is.
const LEAST: usize = 40;

#[test]
fn every_command_takes_every_trace() {
    let inputs = corpus::inputs("commands");
    let nowhere = OpenOptions::new().write(true).open("/dev/null").unwrap();
    let (out, talk) =
        (rustix::io::dup(rustix::stdio::stdout()), rustix::io::dup(rustix::stdio::stderr()));
    dup2_stdout(&nowhere).unwrap();
    dup2_stderr(&nowhere).unwrap();
    let all_began = Instant::now();
    let in_turns = (0..STRIDE).flat_map(|first| inputs.iter().skip(first).step_by(STRIDE));
    let wrong: Vec<String> = in_turns
        .enumerate()
        .take_while(|(done, _)| *done < LEAST || all_began.elapsed() < ALL_TOGETHER)
        .filter_map(|(_, input)| {
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
