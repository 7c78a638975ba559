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
use crate::{bench, bpf, deps, tidy, vm};

/// Options of `cargo xtask test`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Leave out what needs root, the network or a BPF toolchain
    ///
    /// That is: deps, clippy for the BPF target, bpf check, the live tests and vm.
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
    let mut runner = Runner::default();
    let result = all(workspace, args, &mut runner, &mut tally);
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

fn all(workspace: &Workspace, args: &Args, runner: &mut Runner, tally: &mut Tally) -> Result<()> {
    let checks = args.filter.is_empty();
    let slow = !args.fast;
    if checks && slow {
        runner.step("deps", deps::install)?;
    }
    if checks {
        runner.step("fmt", || {
            let mut fmt = cargo(workspace);
            shell::run(fmt.args(["fmt", "--all", "--check"]))
        })?;
        runner.step("clippy", || clippy(workspace))?;
    }
    if checks && slow {
        runner.step("clippy (BPF target)", || bpf::clippy(workspace))?;
    }
    if checks {
        runner.step("tidy", || tidy::run(workspace))?;
    }
    if checks && slow {
        runner.step("bpf check", || bpf::check(workspace))?;
    }
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
    if slow {
        ensure!(
            is_root(),
            "the live tests load BPF programs: run this as root, or leave them out with --fast"
        );
        // The kernels come meanwhile: that takes the network and hardly a CPU.
        let programs = runner.step("build live tests", || {
            thread::scope(|scope| {
                let fetching = scope.spawn(|| vm::fetch_all(workspace));
                let programs = live::build(workspace)?;
                fetching.join().map_err(|_| anyhow!("fetching the kernels panicked"))??;
                Ok(programs)
            })
        })?;
        if checks {
            let args = bench::instructions::Args::default();
            runner.step("instructions", || bench::instructions::run(workspace, &args))?;
        }
        let ran =
            runner.step("live tests", || live::run(workspace, &programs, &args.filter, tally))?;
        runner.step("vm", || {
            vm::run_counted(workspace, &vm::all(&args.filter), &programs, &ran, tally)
        })?;
    }
    Ok(())
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
