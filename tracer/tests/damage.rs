//! Whole commands on traces that are damaged or made to deceive: each ends in time and within
//! 512 MiB, and says what is missing. The table that it prints has beside them what they did before that was
//! so: an optimised build, of the day before.
//!
//! `SOCKFLOW_UNDER_TEST=/path/to/another/sockflow` has that one do it, and only prints the table.

#![allow(
    clippy::expect_used,
    reason = "a test's steps must succeed; clippy knows only functions marked as tests"
)]

#[path = "damage/inputs.rs"]
mod inputs;
#[path = "damage/run.rs"]
mod run;

use std::path::{Path, PathBuf};

use inputs::{ALL, INPUTS, Trace};
use run::{Outcome, on_terminal, piped};

/// Commands, and their arguments behind the file's name.
const COMMANDS: [(&str, &[&str]); 9] = [
    ("replay", &["--at", "max"]),
    ("replay", &["--json"]),
    ("report", &["--format", "html"]),
    ("report", &["--format", "md", "--to", "max"]),
    ("report", &["--format", "json"]),
    ("export", &["--format", "jsonl"]),
    ("export", &["--format", "parquet", "--from", "max"]),
    ("doctor", &["--fail-on", "never"]),
    ("doctor", &["--fail-on", "never", "--at", "max"]),
];

/// What the commands did before: input, command and what became of it.
const BEFORE: &str = include_str!("damage/before.tsv");

fn folder() -> PathBuf {
    let path =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("damage-{}", std::process::id()));
    std::fs::create_dir_all(&path).expect("a folder");
    path
}

fn is_another() -> bool {
    std::env::var_os("SOCKFLOW_UNDER_TEST").is_some()
}

fn before(input: &str, command: &str) -> &'static str {
    let row = BEFORE.lines().find_map(|line| {
        let mut cells = line.split('\t');
        (cells.next()? == input && cells.next()? == command).then(|| cells.next())?
    });
    row.unwrap_or("?")
}

fn arguments(command: &str, file: &Path, rest: &[&str]) -> Vec<String> {
    let file = file.to_string_lossy().into_owned();
    let mut all = vec![command.to_owned()];
    if command == "doctor" {
        all.push("--trace".to_owned());
    }
    all.push(file);
    all.extend(rest.iter().map(|&word| word.to_owned()));
    all
}

/// Whether a command may say nothing of it: a part of the trace that the damage is not in, or what
/// the doctor does not read (events, and while it looks for the worst moment, totals).
fn may_be_silent(input: &str, words: &str) -> bool {
    let unread = ["events", "counters", "UTF-8"].iter().any(|part| input.contains(part));
    words.contains("--to ") || words.contains("--from ") || unread && words.starts_with("doctor")
}

fn check(input: &str, said: &str, command: &str, outcome: &Outcome, wrong: &mut Vec<String>) {
    let codes: &[i32] = match command {
        // Nothing can be shown, reported or found in it.
        _ if said.contains("moments of the trace") => &[0, 1, 2],
        // The story is from before there were facts: too little to call a host well.
        _ if command.starts_with("doctor") => &[0, 3],
        _ => &[0],
    };
    if !outcome.code.is_some_and(|code| codes.contains(&code)) {
        wrong.push(format!("{input}: {command}: {outcome}\n{}", outcome.talk));
    } else if !said.split('|').any(|said| outcome.talk.contains(said))
        && !may_be_silent(input, command)
    {
        wrong.push(format!("{input}: {command} does not say `{said}`:\n{}", outcome.talk));
    }
}

#[test]
fn every_command_ends_in_time_and_says_what_is_missing() {
    let folder = folder();
    let mut wrong = Vec::new();
    for input in INPUTS {
        let path = folder.join("input.sockflow");
        input.write(&path);
        for (command, rest) in COMMANDS {
            let outcome = piped(&arguments(command, &path, rest));
            let words = format!("{command} {}", rest.join(" "));
            println!("{}\t{words}\t{}\t{outcome}", input.name, before(input.name, &words));
            check(input.name, input.said, &words, &outcome, &mut wrong);
        }
        let _ = std::fs::remove_file(&path);
    }
    assert!(is_another() || wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_screen_over_damage_waits_for_a_key_and_for_nothing_else() {
    let folder = folder();
    let mut wrong = Vec::new();
    for input in &INPUTS[..5] {
        let path = folder.join("screen.sockflow");
        input.write(&path);
        for rest in [&[][..], &["--at", "max"], &["--at", "end"]] {
            let outcome = on_terminal(&arguments("replay", &path, rest));
            let words = format!("replay {} on a terminal", rest.join(" "));
            println!("{}\t{words}\t{}\t{outcome}", input.name, before(input.name, &words));
            let code = if input.name == ALL { 1 } else { 0 };
            if outcome.code != Some(code) || outcome.busy > 0.5 {
                wrong.push(format!("{}: {words}: {outcome}\n{}", input.name, outcome.talk));
            }
        }
        let _ = std::fs::remove_file(&path);
    }
    assert!(is_another() || wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Four bytes of 0xff, at forty places that a fixed sequence names. Whoever reads all of it says so,
/// but for a checkpoint, which nobody needs.
#[test]
fn forty_flips_hang_nothing_and_go_untold_nowhere() {
    let folder = folder();
    let path = folder.join("flips.sockflow");
    let (story, checkpoint) = (Trace::story().bytes(), Trace::story().checkpoint());
    let mut wrong = Vec::new();
    let mut failed = [0_u32; 3];
    let commands: [(&str, &[&str]); 3] =
        [("replay", &[]), ("replay", &["--at", "max"]), ("report", &["--to", "max"])];
    let mut random: u64 = 0x2545_f491_4f6c_dd1d;
    let places = (0..39).map(|_| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        100 + usize::try_from(random % 78_000).expect("small")
    });
    for place in std::iter::once(40_000).chain(places) {
        let mut bytes = story.clone();
        bytes[place..place + 4].fill(0xff);
        std::fs::write(&path, &bytes).expect("the input");
        for ((command, rest), failed) in commands.into_iter().zip(&mut failed) {
            let outcome = piped(&arguments(command, &path, rest));
            let told = ["missing", "damaged", "not closed"];
            let is_told = told.iter().any(|word| outcome.talk.contains(word))
                || !rest.is_empty()
                || checkpoint.contains(&place);
            if outcome.code != Some(0) || !is_told {
                *failed += 1;
                wrong.push(format!("byte {place}: {command}: {outcome}\n{}", outcome.talk));
            }
        }
    }
    for ((command, rest), failed) in commands.into_iter().zip(failed) {
        let words = format!("{command} {}", rest.join(" "));
        let before = before("40 random flips", &words);
        println!("40 random flips\t{words}\t{before}\t{failed} of 40 failed");
    }
    let _ = std::fs::remove_file(&path);
    assert!(is_another() || wrong.is_empty(), "{}", wrong.join("\n"));
}
