//! Fuzzing what reads files: each target for a while, then its corpus made small again.
//!
//! A corpus is thousands of small files, so each lies in an archive, `fuzz/corpus/TARGET.tar.gz`. It is
//! unpacked beside it for the run and packed again with what was found.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::deps::fuzzer;
use crate::shell;
use crate::workspace::Workspace;

/// A target: a file of that name in `fuzz/fuzz_targets`.
struct Target {
    name: &'static str,
    /// The longest input worth trying, bytes.
    longest: u32,
    /// What one input may take, seconds.
    timeout_s: u32,
    /// What libFuzzer closes: what whole commands print is nobody's.
    closes: u8,
}

const TARGETS: [Target; 3] = [
    Target { name: "reader", longest: 8192, timeout_s: 10, closes: 0 },
    Target { name: "events", longest: 2048, timeout_s: 10, closes: 0 },
    Target { name: "commands", longest: 512, timeout_s: 20, closes: 3 },
];

/// Memory that no input may make a target take, MiB.
const MOST_MIB: u32 = 512;

/// Inputs longer than this are not worth a place in the repository.
const LONGEST_KEPT: u64 = 700;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long to run each target
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u32,
    /// Only this target
    #[arg(value_parser = ["reader", "events", "commands"])]
    target: Option<String>,
}

/// Runs the targets; fails on the first input that one does not take.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let program = fuzzer::install()?;
    let mut table = Vec::new();
    for target in &TARGETS {
        if args.target.as_deref().is_some_and(|only| only != target.name) {
            continue;
        }
        let fuzz = |verb: &str| {
            let mut command = Command::new("cargo");
            // The code is safe Rust, whose own checks find what a sanitizer would, but faster.
            command
                .current_dir(workspace.path("fuzz"))
                .args(["+nightly", "fuzz", verb, "--sanitizer", "none", target.name])
                .env_remove("CARGO")
                .env_remove("RUSTUP_TOOLCHAIN");
            if let Some(folder) = program.parent() {
                let path = std::env::var_os("PATH").unwrap_or_default();
                let folders =
                    std::iter::once(folder.to_owned()).chain(std::env::split_paths(&path));
                if let Ok(path) = std::env::join_paths(folders) {
                    command.env("PATH", path);
                }
            }
            command
        };
        let corpus = Corpus::of(workspace, target.name);
        corpus.unpack()?;
        let mut stats = Stats::default();
        let mut command = fuzz("run");
        command.arg("--").args([
            format!("-max_total_time={}", args.seconds),
            format!("-max_len={}", target.longest),
            format!("-timeout={}", target.timeout_s),
            format!("-rss_limit_mb={MOST_MIB}"),
            format!("-close_fd_mask={}", target.closes),
            "-print_final_stats=1".to_owned(),
        ]);
        let passed = shell::tee_stderr(&mut command, |line| stats.read(line))?;
        if !passed {
            bail!("{} does not take an input: it lies in fuzz/artifacts/{0}", target.name);
        }
        let mut minimise = fuzz("cmin");
        minimise.arg("--").arg(format!("-close_fd_mask={}", target.closes));
        shell::run(&mut minimise)?;
        drop_long(&corpus.folder)?;
        corpus.pack()?;
        table.push((target.name, stats));
    }
    println!("target    inputs   a second  peak memory  slowest input");
    for (name, stats) in table {
        println!(
            "{name:<9} {:>7}  {:>8}  {:>7} MiB  {:>11} s",
            stats.inputs, stats.per_s, stats.mib, stats.slowest_s
        );
    }
    Ok(())
}

/// What libFuzzer says at the end.
#[derive(Default)]
struct Stats {
    inputs: u64,
    per_s: u64,
    mib: u64,
    slowest_s: u64,
}

impl Stats {
    fn read(&mut self, line: &str) {
        let Some((name, number)) = line.strip_prefix("stat::").and_then(|it| it.split_once(':'))
        else {
            return;
        };
        let Ok(number) = number.trim().parse() else { return };
        match name {
            "number_of_executed_units" => self.inputs = number,
            "average_exec_per_sec" => self.per_s = number,
            "peak_rss_mb" => self.mib = number,
            "slowest_unit_time_sec" => self.slowest_s = number,
            _ => {}
        }
    }
}

/// The inputs of a target: an archive, and the folder beside it while they are worked with.
struct Corpus {
    archive: PathBuf,
    folder: PathBuf,
}

impl Corpus {
    fn of(workspace: &Workspace, target: &str) -> Self {
        let corpora = workspace.path("fuzz/corpus");
        Self { archive: corpora.join(format!("{target}.tar.gz")), folder: corpora.join(target) }
    }

    /// What is in the folder already, from a run that broke off, stays.
    fn unpack(&self) -> Result<()> {
        let folder = &self.folder;
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        if self.archive.is_file() {
            shell::run(Command::new("tar").arg("-xzf").arg(&self.archive).arg("-C").arg(folder))?;
        }
        Ok(())
    }

    /// The same inputs give the same bytes.
    fn pack(&self) -> Result<()> {
        let mut command = Command::new("tar");
        command
            .args(["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner"])
            .args(["--mode=u=rwX,go=rX", "--use-compress-program=gzip -9n", "-cf"])
            .arg(&self.archive)
            .arg("-C")
            .arg(&self.folder)
            .arg(".");
        shell::run(&mut command)?;
        let folder = &self.folder;
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))
    }
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let cannot_read = || format!("cannot read {}", folder.display());
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).with_context(cannot_read)? {
        paths.push(entry.with_context(cannot_read)?.path());
    }
    paths.sort();
    Ok(paths)
}

fn drop_long(corpus: &Path) -> Result<()> {
    for path in entries(corpus)? {
        let cannot_read = || format!("cannot read {}", path.display());
        if path.metadata().with_context(cannot_read)?.len() > LONGEST_KEPT {
            fs::remove_file(&path).with_context(cannot_read)?;
        }
    }
    Ok(())
}
