//! The live tests: built once, linked statically, and run here; `vm` runs the same file in guests.
//!
//! One test is one scenario: [`Programs::scenarios`] are the rows of the table that `vm` prints.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::tally::{Tally, outcome};
use crate::shell;
use crate::workspace::Workspace;

/// Naming the target keeps the flags away from build scripts and macros.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// What was built.
pub(crate) struct Programs {
    /// The tests look for it where cargo left it.
    pub(crate) sockflow: PathBuf,
    /// `tracer/tests/live`: all live tests in one program.
    pub(crate) live: PathBuf,
    /// The names of its tests, such as `totals::client_closes`.
    pub(crate) scenarios: Vec<String>,
}

/// How one scenario ended here.
pub(crate) struct Ran {
    pub(crate) scenario: String,
    /// libtest's word: `ok`, `FAILED`, `ignored`.
    pub(crate) word: String,
    pub(crate) took: Duration,
    /// How often it was tried until the kernel skipped no runs.
    pub(crate) tries: u32,
}

/// Builds them, in release: they measure. Static, so that a guest needs no libraries of this
/// machine's, and so that what is tested here and there is the same file.
pub(crate) fn build(workspace: &Workspace) -> Result<Programs> {
    let mut cargo = cargo(workspace);
    cargo.args(["--bins", "--test", "live"]);
    // Once for people to watch, once for the paths.
    shell::run(&mut cargo)?;
    let output = cargo.arg("--message-format=json").stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        bail!("cargo built, and then did not tell what");
    }
    let (mut sockflow, mut live) = (None, None);
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let message: Value = serde_json::from_str(line).context("cargo's messages")?;
        let (Some(path), Some(name)) =
            (message["executable"].as_str(), message["target"]["name"].as_str())
        else {
            continue;
        };
        match name {
            "live" => live = Some(PathBuf::from(path)),
            "sockflow" => sockflow = Some(PathBuf::from(path)),
            _ => {}
        }
    }
    let live = live.context("cargo built no live tests")?;
    let scenarios = scenarios(&live)?;
    Ok(Programs { sockflow: sockflow.context("cargo built no sockflow")?, live, scenarios })
}

/// Builds an example as the tests are built, of what was compiled for them.
pub(crate) fn build_example(workspace: &Workspace, name: &str) -> Result<PathBuf> {
    shell::run(cargo(workspace).args(["--example", name]))?;
    Ok(workspace.path(&format!("target/{TARGET}/release/examples/{name}")))
}

fn cargo(workspace: &Workspace) -> Command {
    let mut cargo = shell::cargo();
    cargo
        .current_dir(&workspace.root)
        .args(["build", "--release", "--locked", "--package", "tracer", "--features", "live"])
        .args(["--target", TARGET])
        .env("RUSTFLAGS", "-C target-feature=+crt-static");
    cargo
}

/// The tests of a program, by its own account.
fn scenarios(program: &Path) -> Result<Vec<String>> {
    let listed = shell::read(Command::new(program).args(["--list", "--format", "terse"]))?;
    let name = |line: &str| line.strip_suffix(": test").map(str::to_owned);
    Ok(listed.lines().filter_map(name).collect())
}

/// So often a test is tried that fails while the kernel skipped runs of a program.
const TRIES: u32 = 4;
/// What a test prints that saw it: `support::Top` in `tracer/tests`.
const SKIPPED_RUNS: &str = "the kernel skipped runs: ";

/// Runs those that pass the filter into the running kernel, one at a time: they share its counters.
pub(crate) fn run(
    workspace: &Workspace,
    programs: &Programs,
    filter: &[String],
    tally: &mut Tally,
) -> Result<Vec<Ran>> {
    let wanted =
        |name: &str| filter.is_empty() || filter.iter().any(|part| name.contains(part.as_str()));
    let mut all = Vec::new();
    for scenario in programs.scenarios.iter().filter(|name| wanted(name)) {
        all.push(scenario_until_seen(workspace, &programs.live, scenario, tally)?);
    }
    print!("{}", slowest(&all));
    let failed: Vec<&str> = all
        .iter()
        .filter(|ran| !matches!(ran.word.as_str(), "ok" | "ignored"))
        .map(|ran| ran.scenario.as_str())
        .collect();
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(all)
}

/// Runs one, again where it fails because the kernel skipped runs: a softirq that comes within a few
/// instructions of a program's beginning or end is seen by nobody. sockflow says so (`lost.missed`), and
/// exact numbers can't be.
fn scenario_until_seen(
    workspace: &Workspace,
    live: &Path,
    scenario: &str,
    tally: &mut Tally,
) -> Result<Ran> {
    let mut tries = 1;
    loop {
        let mut test = Command::new(live);
        // As cargo would run it.
        test.current_dir(workspace.path("tracer")).args(["--exact", scenario]);
        let began = Instant::now();
        let output = test.output().context("cannot run the live tests")?;
        let took = began.elapsed();
        let text = String::from_utf8_lossy(&output.stdout);
        let word = text.lines().find_map(outcome).map_or("FAILED", |(_, word)| word).to_owned();
        let skipped = text.lines().any(|line| line.starts_with(SKIPPED_RUNS));
        if output.status.success() {
            let again = if tries > 1 { format!(", try {tries}") } else { String::new() };
            println!("{scenario} {word} ({:.1} s{again})", took.as_secs_f64());
        } else {
            println!("{scenario} {word}\n{text}{}", String::from_utf8_lossy(&output.stderr));
            if skipped && tries < TRIES {
                println!("{scenario}: the kernel skipped runs, which it says; trying it again");
                tries += 1;
                continue;
            }
        }
        text.lines().for_each(|line| tally.add(line));
        return Ok(Ran { scenario: scenario.to_owned(), word, took, tries });
    }
}

/// Where the time goes.
fn slowest(ran: &[Ran]) -> String {
    const SHOWN: usize = 10;
    let mut by_time: Vec<&Ran> = ran.iter().collect();
    by_time.sort_by_key(|ran| std::cmp::Reverse(ran.took));
    let rows = by_time
        .iter()
        .take(SHOWN)
        .map(|ran| format!("{:>7.1} s  {}\n", ran.took.as_secs_f64(), ran.scenario));
    rows.collect()
}
