//! `cargo xtask test`: the steps, their order, and what the last line says.

pub(crate) mod live;
mod steps;
pub(crate) mod tally;

use std::process::{Command, ExitCode};
use std::thread;

use anyhow::{Result, anyhow, bail, ensure};

use self::steps::Runner;
use self::tally::Tally;
use crate::docs::probes;
use crate::shell;
use crate::workspace::{Workspace, is_root};
use crate::{bench, tidy, vm};

/// Options of `cargo xtask test`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Leave out what needs root, the network or a BPF toolchain
    ///
    /// That is: deps, spelling, clippy for the BPF target, bpf check, instructions, the live tests and vm.
    #[arg(long)]
    fast: bool,
    /// Run only tests whose name contains one of these, and no checks
    filter: Vec<String>,
}

/// The user side: everything but the BPF programs, which do not build for the host.
const USER_SIDE: [&str; 4] = ["--workspace", "--exclude", "tracer-ebpf", "--locked"];

/// Runs the steps; the last thing printed is always the tally.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> ExitCode {
    let mut tally = Tally::default();
    let runner = Runner::new();
    let result = all(workspace, args, &runner, &mut tally);
    runner.print_summary();
    if result.is_err() && tally.failed == 0 {
        // A step without tests failed (or the tests did not even compile): that must show.
        tally.failed = 1;
    }
    println!("{tally}");
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Fails early where that costs little, and keeps both CPUs busy: what waits for the network or for
/// timers runs beside what compiles or emulates.
fn all(workspace: &Workspace, args: &Args, runner: &Runner, tally: &mut Tally) -> Result<()> {
    let checks = args.filter.is_empty();
    let slow = !args.fast;
    if checks {
        runner.step("fmt", || {
            let mut fmt = cargo(workspace);
            shell::run(fmt.args(["fmt", "--all", "--check"]))
        })?;
        runner.step("tidy", || tidy::run(workspace))?;
        // Installing waits for the network. The tests come after it: some use what it installs.
        beside(
            || {
                if slow {
                    runner.beside(workspace, "deps", &["deps"])?;
                    runner.beside(workspace, "spelling", &["spelling"])?;
                }
                Ok(())
            },
            || runner.step("clippy", || clippy(workspace)),
        )?;
    }
    let of_bpf = || {
        if checks && slow {
            runner.step("fetch kernels", || vm::fetch_all(workspace))?;
            runner.beside(workspace, "bpf check", &["bpf", "check"])?;
            runner.beside(workspace, "clippy (BPF target)", &["bpf", "clippy"])?;
        }
        Ok(())
    };
    let mut of_user_side = || {
        runner.step("tests", || {
            let mut test = cargo(workspace);
            test.arg("test").args(USER_SIDE).arg("--no-fail-fast");
            test.arg("--").args(&args.filter);
            counted(&mut test, tally)
        })?;
        if checks {
            runner.step("docs", || docs(workspace))?;
            runner.step("docs/PROBES.md", || probes::check(workspace))?;
        }
        if !slow {
            return Ok(None);
        }
        ensure!(
            is_root(),
            "the live tests load BPF programs: run this as root, or leave them out with --fast"
        );
        let programs = runner.step("build live tests", || live::build(workspace))?;
        if checks {
            let args = bench::instructions::Args::default();
            runner.step("instructions", || bench::instructions::run(workspace, &args))?;
        }
        Ok(Some(programs))
    };
    let Some(programs) = beside(of_bpf, &mut of_user_side)? else {
        return Ok(());
    };
    let mut of_guests = Tally::default();
    // Not beside guests: those take both CPUs, and a recorder that gets none loses events.
    let mut here = Ok(());
    let ran = runner.step("live tests", || live::run(workspace, &programs, &args.filter, tally));
    let ran = ran.unwrap_or_else(|error| {
        here = Err(error);
        Vec::new()
    });
    let in_guests = runner.step("vm", || {
        vm::run_counted(workspace, &vm::all(&args.filter), &programs, || ran, &mut of_guests)
    });
    tally.merge(&of_guests);
    here.and(in_guests.map(drop))
}

/// Runs the first on a thread of its own beside the second, whose result this is if both succeed.
fn beside<T>(
    first: impl FnOnce() -> Result<()> + Send,
    second: impl FnOnce() -> Result<T>,
) -> Result<T> {
    thread::scope(|scope| {
        let first = scope.spawn(first);
        let second = second();
        first.join().map_err(|_| anyhow!("a step panicked"))??;
        second
    })
}

/// The live tests are linted too, though nothing else builds them without their feature.
fn clippy(workspace: &Workspace) -> Result<()> {
    let mut clippy = cargo(workspace);
    clippy.arg("clippy").args(USER_SIDE).arg("--all-targets");
    clippy.args(["--features", "tracer/live", "--", "-D", "warnings"]);
    shell::run(&mut clippy)
}

fn docs(workspace: &Workspace) -> Result<()> {
    let mut doc = cargo(workspace);
    doc.arg("doc").args(USER_SIDE).arg("--no-deps");
    shell::run(doc.env("RUSTDOCFLAGS", "-D warnings"))
}

/// Runs a `cargo test` and adds up what each of its test programs reports.
fn counted(test: &mut Command, tally: &mut Tally) -> Result<()> {
    let success = shell::tee(test, |line| tally.add(line))?;
    if !success {
        bail!("some tests failed, or did not compile");
    }
    Ok(())
}

fn cargo(workspace: &Workspace) -> Command {
    let mut cargo = shell::cargo();
    cargo.current_dir(&workspace.root);
    cargo
}
