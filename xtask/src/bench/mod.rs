//! `cargo xtask bench`: what sockflow costs the machine it watches.
//!
//! Everything is measured against an untraced run of the same round, because a machine that others
//! use too is noisy: ratios and their medians count, single figures do not. Nothing of the host is
//! changed that is not put back, interrupted or not ([`at_exit`]).
//!
//! * [`overhead`]: throughput and CPU of a storm under each tracer; [`kernel`]: ns per program run;
//! * [`kind`]: which tracers there are; [`tracer`]: one of them from its start over readiness to its
//!   end; [`storm`]: the load;
//! * [`instructions`]: what user space does, counted rather than timed;
//! * [`healthy`]: servers that are well, and that nothing is concluded of them;
//! * [`figures`]: medians and the table.

mod at_exit;
mod figures;
mod healthy;
pub(crate) mod instructions;
mod kernel;
mod kind;
mod overhead;
mod storm;
mod tracer;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Result, ensure};

use crate::workspace::{Workspace, is_root};
use crate::{bpf, shell};

/// `cargo xtask bench …`
#[derive(clap::Subcommand)]
pub(crate) enum Bench {
    /// Both of the following: the tables of docs/PERFORMANCE.md
    All {
        /// Rounds of each
        #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=1000))]
        pairs: u32,
    },
    /// Compare short connections untraced, under sockflow, and under other tools
    ///
    /// Each round runs `sockflow storm` untraced and under each tracer in turn, with a warm-up
    /// before and in a network namespace of its own. Printed are medians over the rounds; the
    /// throughput is compared within its round. Takes root, and a machine with little else to do.
    #[command(after_help = "Examples:
  cargo xtask bench overhead
  cargo xtask bench overhead --pairs 3 --workers 2
  cargo xtask bench overhead --peers none")]
    Overhead(overhead::Args),
    /// Time each BPF program in the kernel, beside the least that a tool can do
    ///
    /// Turns kernel.bpf_stats_enabled on for the length of the run; that itself costs some tens of
    /// nanoseconds per program run, which an empty program of the same rounds shows. With
    /// `--against` another binary is run alternately: the way to see whether a change to the
    /// programs helps.
    Kernel(kernel::Args),
    /// Put real servers that are well under full load, and see that nothing is concluded
    ///
    /// Nginx, haproxy and a Go server on port 9981, each under wrk beside `sockflow top`. Fails on whatever
    /// is concluded above a note. Takes root, wrk and the servers; which packages are missing it says.
    Healthy(healthy::Args),
    /// Count what user space does for an event, in instructions, against the checked-in baseline
    ///
    /// Takes valgrind and neither root nor a quiet machine.
    Instructions(instructions::Args),
}

impl Bench {
    /// What no word stands for.
    pub(crate) const ALL: Self = Self::All { pairs: 7 };
}

/// Where the floors' programs are, in the folder for output.
const FLOORS_OBJECT: &str = "floors.o";

/// Runs one of them.
pub(crate) fn run(workspace: &Workspace, bench: Bench) -> Result<()> {
    if let Bench::Instructions(args) = &bench {
        return instructions::run(workspace, args);
    }
    ensure!(is_root(), "tracing takes root");
    let folder = workspace.path("target/bench");
    fs::create_dir_all(&folder)?;
    let sockflow = workspace.path("target/release/sockflow");
    let floors = workspace.path("target/release/examples/floors");
    shell::run(
        shell::cargo()
            .args(["build", "--release", "--locked", "--bin", "sockflow", "--example", "floors"])
            .current_dir(&workspace.root),
    )?;
    let setup = Setup { sockflow, floors, folder };
    let build_floors = || bpf::build_floors(workspace, &setup.folder.join(FLOORS_OBJECT));
    match bench {
        Bench::All { pairs } => {
            build_floors()?;
            overhead::run(&setup, &overhead::Args::all(pairs))?;
            println!();
            kernel::run(&setup, &kernel::Args::all(pairs))
        }
        Bench::Overhead(args) => {
            if args.floors() {
                build_floors()?;
            }
            overhead::run(&setup, &args)
        }
        Bench::Healthy(args) => healthy::run(&setup, &args),
        Bench::Instructions(args) => instructions::run(workspace, &args),
        Bench::Kernel(args) => {
            if args.floors() {
                build_floors()?;
            }
            kernel::run(&setup, &args)
        }
    }
}

/// What every run needs.
struct Setup {
    sockflow: PathBuf,
    /// Attaches a program that is a floor.
    floors: PathBuf,
    /// For what tracers print.
    folder: PathBuf,
}

/// Where and when this was measured, without a name of the machine.
fn print_header(command: &str) -> Result<()> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
    let field = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split(':').nth(1)).unwrap_or_default().trim().to_owned()
    };
    let is_vm = field("flags").split(' ').any(|flag| flag == "hypervisor");
    let cpus = thread::available_parallelism()?;
    println!(
        "machine: {cpus} CPUs, {}{}",
        field("model name"),
        if is_vm { ", virtual" } else { "" }
    );
    // Not the whole release: what follows the numbers tells who built it.
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let release = release.trim().split('-').next().unwrap_or_default().to_owned();
    let arch = shell::read(Command::new("uname").arg("-m"))?;
    println!("kernel:  {release} {arch}");
    println!("date:    {}", shell::read(Command::new("date").args(["-u", "+%F"]))?);
    println!("command: {command}\n");
    Ok(())
}

/// A file in the folder for output.
fn output(folder: &Path, name: &str) -> PathBuf {
    folder.join(name.replace([' ', '/'], "-"))
}
