//! `cargo xtask vm`: the same static binary on other kernels.
//!
//! Debian's cloud kernels are booted in QEMU, the live tests run there, and what they say comes
//! back over a serial line. Nothing of this machine is touched but the cache.
//!
//! * [`matrix`]: `kernels.toml`, the kernels and what each must be able to do;
//! * [`fetch`]: the kernels, by apt; [`build`]: the programs; [`image`]: the guests' files;
//! * [`expect`]: what `sockflow probes` says against what is stated;
//! * [`guest`]: one guest's life; [`plan`]: what runs in it.

mod build;
mod expect;
mod fetch;
mod guest;
mod image;
pub(crate) mod matrix;
mod plan;

use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use self::guest::{Heard, Machine};
use self::matrix::{Kernel, Matrix};
use crate::test::tally::Tally;
use crate::workspace::Workspace;

/// Options of `cargo xtask vm`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Kernels of kernels.toml, such as 6.12; all if none is named
    kernels: Vec<String>,
    /// Fetch the newest of each series, whatever the cache has
    #[arg(long)]
    update: bool,
    /// Guests at a time; each keeps one CPU busy
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Run only tests whose name contains one of these
    #[arg(last = true)]
    filter: Vec<String>,
}

/// Every kernel, the tests that pass the filter.
pub(crate) fn all(filter: &[String]) -> Args {
    Args { kernels: Vec::new(), update: false, jobs: 2, filter: filter.to_vec() }
}

/// A guest that died for no reason of ours is booted again this often.
const BOOTS: u32 = 3;

/// Runs it as a command of its own.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let mut tally = Tally::default();
    let result = run_counted(workspace, args, &mut tally);
    println!("{tally}");
    result
}

/// Runs it and adds up what the tests in the guests say.
pub(crate) fn run_counted(workspace: &Workspace, args: &Args, tally: &mut Tally) -> Result<()> {
    let matrix = Matrix::read(workspace)?;
    let kernels = matrix.choose(&args.kernels)?;
    crate::deps::require_all(&["qemu-system-x86", "cpio", "busybox-static", "iproute2"])?;
    let programs = build::build(workspace)?;
    println!("{}", expect::native(&matrix, &programs.sockflow)?);
    let folder = workspace.path("target/vm");
    fs::create_dir_all(&folder)?;
    let common = image::common(&folder, &programs)?;
    let steps = plan::steps(&programs, &args.filter);

    let waiting: Mutex<VecDeque<Kernel>> = Mutex::new(kernels.iter().cloned().collect());
    let finished: Mutex<Vec<Finished>> = Mutex::new(Vec::new());
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    thread::scope(|scope| {
        for _ in 0..args.jobs.clamp(1, kernels.len()) {
            scope.spawn(|| {
                while let Some(kernel) = next() {
                    let began = Instant::now();
                    let result = one(&folder, &common, &kernel, args.update, &steps);
                    let done = Finished { kernel, result, took: began.elapsed() };
                    finished.lock().unwrap_or_else(PoisonError::into_inner).push(done);
                }
            });
        }
    });
    let mut finished = finished.into_inner().unwrap_or_else(PoisonError::into_inner);
    finished.sort_by_key(|done| kernels.iter().position(|kernel| kernel.name == done.kernel.name));
    conclude(&finished, tally)
}

/// One kernel's outcome.
struct Finished {
    kernel: Kernel,
    result: Result<Outcome>,
    took: Duration,
}

/// What a kernel's guests said in the end.
struct Outcome {
    heard: Heard,
    /// Boots it took.
    boots: u32,
    last_words: String,
}

fn one(
    folder: &Path,
    common: &[u8],
    kernel: &Kernel,
    update: bool,
    steps: &str,
) -> Result<Outcome> {
    let files = fetch::fetch(kernel, update)?;
    let folder = folder.join(&kernel.name);
    fs::create_dir_all(&folder)?;
    let mut bytes = common.to_vec();
    bytes.extend(image::of_kernel(&folder, &files, steps)?);
    let machine = Machine {
        vmlinuz: files.vmlinuz,
        initrd: folder.join("initrd"),
        console: folder.join("console"),
    };
    fs::write(&machine.initrd, bytes).context("cannot write the guest's files")?;
    let mut boots = 0;
    loop {
        boots += 1;
        let heard = machine.run(|step| {
            let word = if step.code == Some(0) { "ok" } else { "FAILED" };
            println!("{:<5} {:<24} {word} ({:.1} s)", kernel.name, step.name, step.seconds);
        })?;
        if boots < BOOTS && !heard.done && emulator_failed(&heard, &machine) {
            println!("{:<5} the guest died; booting again", kernel.name);
            continue;
        }
        return Ok(Outcome { heard, boots, last_words: machine.last_words() });
    }
}

/// Whether the guest ended for a reason that need not be ours: before its first step, or with an
/// oops (an emulated 6.12 does so now and then, whatever it runs).
fn emulator_failed(heard: &Heard, machine: &Machine) -> bool {
    let words = machine.last_words();
    heard.steps.is_empty() || words.contains("Oops") || words.contains("Kernel panic")
}

/// Prints what failed and a table, and fails if anything did.
fn conclude(finished: &[Finished], tally: &mut Tally) -> Result<()> {
    let mut wrong = 0;
    let mut table = String::new();
    for done in finished {
        let name = &done.kernel.name;
        let mut own = Tally::default();
        let mut failures = Vec::new();
        let mut booted = String::new();
        match &done.result {
            Err(error) => failures.push(format!("{error:#}")),
            Ok(outcome) => {
                let heard = &outcome.heard;
                if outcome.boots > 1 {
                    booted = format!(", booted {} times", outcome.boots);
                }
                for step in &heard.steps {
                    let failed_before = own.failed;
                    step.output.iter().for_each(|line| own.add(line));
                    if step.name == plan::PROBES {
                        match expect::differences(&done.kernel, &step.output.join("\n")) {
                            Ok(found) if found.is_empty() => {}
                            Ok(found) => failures.push(found.join("\n")),
                            Err(error) => failures.push(format!("{error:#}")),
                        }
                    }
                    if step.code != Some(0) {
                        let code = step.code.map_or("none".into(), |code| code.to_string());
                        let output = step.output.join("\n");
                        failures.push(format!("{} (exit code {code})\n{output}", step.name));
                        if own.failed == failed_before {
                            own.failed += 1;
                        }
                    }
                }
                if !heard.done {
                    let words = &outcome.last_words;
                    failures.push(format!("the guest did not come to its end:\n{words}"));
                }
            }
        }
        if !failures.is_empty() && own.failed == 0 {
            own.failed = 1;
        }
        for failure in &failures {
            println!("---- {name}: {failure}\n");
        }
        wrong += failures.len();
        let seconds = done.took.as_secs_f64();
        let line = format!("{name:<6} {seconds:>7.1} s  {own}{booted}\n");
        table.push_str(&line);
        tally.merge(&own);
    }
    print!("{table}");
    if wrong > 0 {
        bail!("{wrong} failure(s) on other kernels");
    }
    Ok(())
}
