//! sockflow's developer commands, run as `cargo xtask …` from anywhere in the workspace.
//!
//! * [`audit`]: licences, advisories, duplicates and unused dependencies, by others' tools;
//! * [`mod@test`]: the one command that people and CI run before a merge;
//! * [`deps`]: installs what the other commands need on a Debian machine;
//! * [`bpf`]: builds the checked-in BPF object and proves that it is the one its sources give;
//! * [`fuzz`]: throws arbitrary bytes at what reads files;
//! * [`mod@bench`]: what tracing costs, against untraced runs and against other tools;
//! * [`vm`]: the live tests on other kernels, in QEMU;
//! * [`docs`]: the parts of docs/ that are made from the code;
//! * [`tidy`]: the house rules that neither rustc nor clippy can see;
//! * [`shell`] and [`workspace`]: running programs, and where things are.

mod audit;
mod bench;
mod bpf;
mod deps;
mod docs;
mod fuzz;
mod shell;
mod test;
mod tidy;
mod vm;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

/// sockflow's developer commands.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check everything, then test everything: what CI runs
    ///
    /// The steps: fmt, tidy; deps and spelling beside clippy; the kernels fetched, bpf check and
    /// clippy for the BPF target beside tests, docs, docs/PROBES.md, build live tests and instructions (what user
    /// space does for an event, counted against a baseline); the live tests beside vm (the same ones on other
    /// kernels). After the first that fails no other begins, and the exit code is not zero; a table of
    /// the steps and their times follows, and the very last line is always `N passed, N failed[, N
    /// skipped]`, added up over all tests that ran (a step that fails without a failing test counts as one
    /// failure).
    ///
    /// The live tests load the BPF programs into the running kernel, so the full run wants root.
    #[command(after_help = "Examples:
  cargo xtask test                  everything, as root
  cargo xtask test --fast           what needs neither root nor network nor a BPF toolchain
  cargo xtask test --fast snapshot  only the tests with `snapshot` in their name")]
    Test(test::Args),
    /// Install what is missing: Debian packages and bpf-linker
    ///
    /// Asks dpkg first, so a machine that has everything needs no network and no root. bpf-linker
    /// goes to $SOCKFLOW_CACHE, else $XDG_CACHE_HOME/sockflow, else ~/.cache/sockflow. The list,
    /// with a reason for each package, is in xtask/src/deps/mod.rs.
    Deps,
    /// Build or verify the BPF object that is checked in
    #[command(subcommand)]
    Bpf(Bpf),
    /// Measure what tracing costs
    ///
    /// All tables of docs/PERFORMANCE.md on it, or one of them.
    Bench {
        #[command(subcommand)]
        which: Option<bench::Bench>,
    },
    /// Fuzz the reader of traces and the decoder of events, and keep what was found
    ///
    /// Wants a nightly toolchain of rustup; cargo-fuzz is built into the cache folder. Inputs that
    /// reach something new are added to fuzz/corpus, which is then made small again; the ordinary
    /// tests replay it. An input that is not taken is kept in fuzz/artifacts.
    Fuzz(fuzz::Args),
    /// Run the live tests on other kernels, in QEMU
    ///
    /// Boots Debian's cloud kernels of kernels.toml, two at a time, and runs the same static
    /// binary and the live tests in each. The kernels come by apt, into the cache; after that no
    /// network is needed. Two tables follow: kernel by signal, and kernel by scenario.
    #[command(after_help = "Examples:
  cargo xtask vm                       every kernel, every test
  cargo xtask vm 5.10 6.12             two of them
  cargo xtask vm 6.12 -- shut_down     only tests with `shut_down` in their name
  cargo xtask vm --repeat 10           ten times in a row, a line each
  cargo xtask vm --accept-budget -- none   measure what the verifier walks, run no tests")]
    Vm(vm::Args),
    /// Write what is made from the code: docs/METRICS.md, docs/PROBES.md, tables of docs/TUNING.md
    ///
    /// Commit them together with the change that made them differ; a test fails where one is not
    /// current.
    Docs(docs::Args),
    /// Check the spelling of everything: typos, which is installed into the cache folder
    Spelling,
    /// Check the dependencies: licences, advisories, duplicates, what nothing uses
    ///
    /// cargo-deny and cargo-machete are built into the cache folder, which takes minutes once. Where the
    /// database of advisories cannot be fetched, that is said and the rest is checked.
    Audit,
    /// Check the house rules: module docs, imports, file length, dependencies, names of hosts
    ///
    /// Each finding is one line, `file:line: what is wrong`. Warnings do not fail the run.
    Tidy,
}

#[derive(Subcommand)]
enum Bpf {
    /// Build tracer-ebpf into tracer-ebpf/prebuilt/, with the versions it was made with
    ///
    /// The object keeps its BTF and loses its DWARF, and no path of this machine is in it, so that
    /// every checkout gives the same bytes. Commit the result together with the change that made
    /// it differ.
    Build,
    /// Rebuild from scratch and fail unless the result is byte for byte what is checked in
    ///
    /// Fails as well when the toolchain is not the one in tracer-ebpf/prebuilt/TOOLCHAIN: other
    /// versions give other bytes, and then nothing could be said about the sources.
    Check,
    /// Run clippy on tracer-ebpf and tracer-common for the BPF target
    Clippy,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(code) => code,
        Err(err) => {
            eprintln!("xtask: error: {err}");
            for cause in err.chain().skip(1) {
                eprintln!("  caused by: {cause}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    let workspace = Workspace::locate()?;
    match command {
        Command::Test(args) => return Ok(test::run(&workspace, &args)),
        Command::Deps => deps::install()?,
        Command::Bpf(Bpf::Build) => bpf::build(&workspace)?,
        Command::Bpf(Bpf::Check) => bpf::check(&workspace)?,
        Command::Bpf(Bpf::Clippy) => bpf::clippy(&workspace)?,
        Command::Bench { which } => bench::run(&workspace, which.unwrap_or(bench::Bench::ALL))?,
        Command::Fuzz(args) => fuzz::run(&workspace, &args)?,
        Command::Vm(args) => vm::run(&workspace, &args)?,
        Command::Docs(args) => docs::run(&workspace, &args)?,
        Command::Spelling => spelling(&workspace)?,
        Command::Audit => audit::run(&workspace)?,
        Command::Tidy => tidy::run(&workspace)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn spelling(workspace: &Workspace) -> anyhow::Result<()> {
    let mut typos = std::process::Command::new(deps::typos::install()?);
    shell::run(typos.arg("--force-exclude").current_dir(&workspace.root))
}
