//! `cargo xtask vm`: the same static binary on other kernels.
//!
//! Debian's cloud kernels are booted in QEMU, the live tests run there, and what they say comes
//! back over a serial line. Nothing of this machine is touched but the cache.
//!
//! * [`matrix`]: `kernels.toml`, the kernels and what each must be able to do;
//! * [`fetch`]: the kernels, by apt; [`image`]: the guests' files;
//! * [`plan`]: what runs in a guest; [`guest`]: one guest's life;
//! * [`expect`]: what `sockflow probes` says against what is stated;
//!   [`budget`]: what the verifier walks against what it did before;
//! * [`mod@column`]: what one kernel's guests said, judged; [`table`]: all of it as text.

mod budget;
mod column;
mod expect;
mod fetch;
mod guest;
mod image;
pub(crate) mod matrix;
mod plan;
mod table;

use std::collections::VecDeque;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use self::budget::Budget;
use self::column::Column;
use self::fetch::Files;
use self::guest::{Heard, Machine};
use self::matrix::{Kernel, Matrix};
use self::plan::Scenario;
use crate::shell;
use crate::test::live::{self, Programs, Ran};
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
    /// Guests at a time; each keeps most of one CPU busy
    #[arg(long, default_value_t = JOBS)]
    jobs: usize,
    /// Run the whole of it so often, a line each, and stop at the first that fails
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// Write what the verifier walks now to verifier.toml, as the new budget
    #[arg(long)]
    accept_budget: bool,
    /// Run only tests whose name contains one of these
    #[arg(last = true)]
    filter: Vec<String>,
}

/// Guests at a time on two CPUs: a guest waits a third of its time, for a grace period of the kernel
/// or what a test waits for. With more, tests that wait for the kernel's timers fail now and then,
/// because what is due in a second comes too late.
const JOBS: usize = 3;

/// Guests for each kernel, one after the other or side by side: of a size that leaves no CPU
/// without work for long at the end.
const PARTS: usize = 2;

/// Every kernel, the tests that pass the filter.
pub(crate) fn all(filter: &[String]) -> Args {
    Args {
        kernels: Vec::new(),
        update: false,
        jobs: JOBS,
        repeat: 1,
        accept_budget: false,
        filter: filter.to_vec(),
    }
}

/// A kernel's guests that die for no reason of ours are booted again this often.
const BOOTS: u32 = 4;

/// Fetches the kernels that are not in the cache; something to do while other things are built.
pub(crate) fn fetch_all(workspace: &Workspace) -> Result<()> {
    for kernel in Matrix::read(workspace)?.choose(&[])? {
        fetch::fetch(&kernel, false)?;
    }
    Ok(())
}

/// Runs it as a command of its own.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let programs = live::build(workspace)?;
    let mut lines = String::new();
    let mut result = Ok(String::new());
    for number in 1..=args.repeat {
        let (began, mut tally) = (Instant::now(), Tally::default());
        result = run_counted(workspace, args, &programs, Vec::new, &mut tally);
        println!("{tally}");
        let word = if result.is_ok() { "ok" } else { "FAILED" };
        let said = result.as_ref().map_or("", String::as_str);
        let seconds = began.elapsed().as_secs_f64();
        let total = args.repeat;
        let line = format!("run {number} of {total}: {word}, {tally}{said}, {seconds:.1} s\n");
        if total > 1 {
            println!("{line}");
        }
        lines.push_str(&line);
        if result.is_err() {
            break;
        }
    }
    if args.repeat > 1 {
        print!("\n{lines}");
    }
    result.map(drop)
}

/// One at a time in a checkout: the guests' files are made anew each time. Whoever comes second waits.
fn turn(folder: &Path) -> Result<File> {
    let path = folder.join("lock");
    let lock = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    if lock.try_lock().is_err() {
        println!("waiting for the kernels that another `cargo xtask` of this checkout runs");
        lock.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    }
    Ok(lock)
}

/// Runs it and adds up what the tests in the guests say. `native` runs them here, in the place of one
/// guest, until it has ended: the tables have what it gives. Gives what else is worth a word in a summary.
pub(crate) fn run_counted(
    workspace: &Workspace,
    args: &Args,
    programs: &Programs,
    native: impl FnOnce() -> Vec<Ran>,
    tally: &mut Tally,
) -> Result<String> {
    let began = Instant::now();
    let matrix = Matrix::read(workspace)?;
    let kernels = matrix.choose(&args.kernels)?;
    crate::deps::require_all(&["qemu-system-x86", "cpio", "busybox-static", "iproute2"])?;
    let mut budget = Budget::read(workspace)?;
    let folder = workspace.path("target/vm");
    fs::create_dir_all(&folder)?;
    let _turn = turn(&folder)?;
    let common = image::common(&folder, programs)?;
    plan::all_are_there(programs, &matrix.kernels)?;
    let scenarios = plan::scenarios(programs, &args.filter);

    let column = |kernel: &Kernel| Column {
        name: kernel.name.clone(),
        stated: expect::stated(kernel),
        ..Column::default()
    };
    let mut columns: Vec<Column> = kernels.iter().map(column).collect();
    let files = kernels.iter().map(|kernel| fetch::fetch(kernel, args.update));
    let files = files.collect::<Result<Vec<_>>>()?;
    let parts = plan::parts(&scenarios, PARTS);
    // The newest first: its verifier does the most, and what takes longest shall not come last.
    let newest_first = (0..kernels.len()).rev();
    let each = newest_first.flat_map(|kernel| (0..parts.len()).map(move |part| (kernel, part)));
    let waiting: Mutex<VecDeque<(usize, usize)>> = Mutex::new(each.collect());
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let finished = Mutex::new(&mut columns);
    let boot_what_waits = || {
        while let Some((at, part)) = next() {
            let (kernel, began) = (&kernels[at], Instant::now());
            let folder = folder.join(format!("{}-{part}", kernel.name));
            let guests = Guests {
                folder: &folder,
                common: &common,
                with_probes: part == 0,
                scenarios: &parts[part],
            };
            let mut heard = column(kernel);
            if let Err(error) = guests.run(kernel, &files[at], &mut heard) {
                heard.failures.push(format!("{error:#}"));
            }
            heard.took = began.elapsed();
            finished.lock().unwrap_or_else(PoisonError::into_inner)[at].join(heard);
        }
    };
    let native = thread::scope(|scope| {
        for _ in 1..args.jobs.clamp(1, kernels.len() * parts.len()) {
            scope.spawn(boot_what_waits);
        }
        let native = native();
        boot_what_waits();
        native
    });
    if args.kernels.is_empty() {
        columns.push(here(&matrix, programs, &native)?);
    }

    for column in &mut columns {
        let name = column.name.split(' ').next().unwrap_or_default().to_owned();
        let Some(kernel) = matrix.kernels.iter().find(|kernel| kernel.name == name) else {
            continue;
        };
        if args.accept_budget {
            budget.accept(&name, &column.instructions);
        }
        column.hold_against(&budget, kernel);
    }
    if args.accept_budget {
        budget.write(workspace)?;
    }
    // What ran here is in the tally already.
    conclude(&columns, programs, kernels.len(), began.elapsed(), tally)
}

/// The running kernel.
fn here(matrix: &Matrix, programs: &Programs, native: &[Ran]) -> Result<Column> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let running = matrix.kernels.iter().find(|kernel| release.starts_with(&kernel.release));
    let mut column = Column::native(running, release.trim(), native);
    column.took = native.iter().map(|ran| ran.took).sum();
    let ask =
        |option: &str| shell::read(Command::new(&programs.sockflow).args([plan::PROBES, option]));
    column.got = expect::rungs(&ask("--json")?)?;
    column.instructions = budget::instructions(&ask("--verifier")?)?;
    Ok(column)
}

/// What the guests of one part of a kernel's scenarios are made of.
struct Guests<'a> {
    folder: &'a Path,
    common: &'a [u8],
    with_probes: bool,
    scenarios: &'a [Scenario],
}

impl Guests<'_> {
    /// Boots the kernel, again if the emulator crashed it, until every scenario came to its end.
    fn run(&self, kernel: &Kernel, files: &Files, column: &mut Column) -> Result<()> {
        fs::create_dir_all(self.folder)?;
        let machine = Machine {
            vmlinuz: files.vmlinuz.clone(),
            initrd: self.folder.join("initrd"),
            console: self.folder.join("console"),
        };
        let mut left = self.scenarios.to_vec();
        let mut fell_in: Option<String> = None;
        loop {
            let mut bytes = self.common.to_vec();
            bytes.extend(image::of_kernel(
                self.folder,
                files,
                &plan::script(&left, self.with_probes),
            )?);
            fs::write(&machine.initrd, bytes).context("cannot write the guest's files")?;
            let heard = machine.run(|step| {
                let word = if step.code == Some(0) { "ok" } else { "FAILED" };
                // What a failure said at once, too: whoever ends a run early shall have seen it.
                let mut line =
                    format!("{:<5} {:<70} {word} ({:.1} s)", kernel.name, step.name, step.seconds);
                if step.code != Some(0) {
                    line = format!("{line}\n{}", step.output.join("\n"));
                }
                println!("{line}");
            })?;
            column.cpu += heard.cpu;
            let in_step = heard.steps.iter().find(|step| step.code.is_none());
            let in_step = in_step.map(|step| step.name.clone());
            // Twice in the same scenario is no accident.
            let again = column.crashes + 1 < BOOTS
                && emulator_failed(&heard, &machine)
                && (in_step.is_none() || in_step != fell_in);
            for step in &heard.steps {
                if step.code.is_some() || !again {
                    column.step(kernel, step);
                }
            }
            if !again {
                let names: Vec<String> = self.scenarios.iter().map(Scenario::name).collect();
                column.complete(&names, &machine.last_words());
                return Ok(());
            }
            column.crashes += 1;
            left.retain(|scenario| !column.cells.contains_key(&scenario.name()));
            let during = in_step.as_deref().unwrap_or("boot");
            println!("{:<5} the guest died during {during}; booting again", kernel.name);
            fell_in = in_step;
        }
    }
}

/// Whether the guest ended before its time for a reason that need not be ours: before its first
/// step, or with an oops (an emulated 6.12 does so now and then, whatever it runs).
fn emulator_failed(heard: &Heard, machine: &Machine) -> bool {
    let words = machine.last_words();
    !heard.done
        && (heard.steps.is_empty() || words.contains("Oops") || words.contains("Kernel panic"))
}

/// Prints what failed and the tables, and fails if anything did. Of the columns, the first so many
/// are guests'.
fn conclude(
    columns: &[Column],
    programs: &Programs,
    guests: usize,
    took: Duration,
    tally: &mut Tally,
) -> Result<String> {
    for column in columns {
        for failure in &column.failures {
            println!("---- {}: {failure}\n", column.name);
        }
    }
    println!("\n{}", table::signals(columns));
    println!("{}", table::scenarios(columns, programs));
    print!("{}", table::kernels(columns));
    let of_guests = columns.iter().take(guests);
    let crashes: u32 = of_guests.clone().map(|column| column.crashes).sum();
    let again: usize = columns.iter().map(Column::tried_again).sum();
    let cpu: Duration = of_guests.clone().map(|column| column.cpu).sum();
    println!(
        "all kernels: {:.1} s (CPU {:.1} s); guests that the emulator crashed and that were booted again: \
         {crashes}; scenarios tried again because the kernel skipped runs: {again}",
        took.as_secs_f64(),
        cpu.as_secs_f64()
    );
    for column in of_guests {
        tally.merge(&column.tally());
    }
    let wrong: usize = columns.iter().map(|column| column.failures.len()).sum();
    if wrong > 0 {
        tally.failed = tally.failed.max(1);
        bail!("{wrong} failure(s) on the kernels of kernels.toml");
    }
    Ok(format!(", {again} tried again, {crashes} booted again"))
}
