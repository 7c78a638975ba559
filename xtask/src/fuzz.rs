//! Fuzzing what reads files: each target for a while, then its corpus made small again.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::deps::fuzzer;
use crate::shell;
use crate::workspace::Workspace;

/// The targets, each a file of that name in `fuzz/fuzz_targets`, and the longest input worth
/// trying.
const TARGETS: [(&str, u32); 2] = [("reader", 8192), ("events", 2048)];

/// Inputs longer than this are not worth a place in the repository.
const LONGEST_KEPT: u64 = 700;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long to run each target
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u32,
    /// Only this target
    #[arg(value_parser = ["reader", "events"])]
    target: Option<String>,
}

/// Runs the targets; fails on the first input that one does not take.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let program = fuzzer::install()?;
    for (target, longest) in TARGETS {
        if args.target.as_deref().is_some_and(|only| only != target) {
            continue;
        }
        let fuzz = |verb: &str| {
            let mut command = Command::new("cargo");
            // The code is safe Rust, whose own checks find what a sanitizer would, but faster.
            command
                .current_dir(workspace.path("fuzz"))
                .args(["+nightly", "fuzz", verb, "--sanitizer", "none", target])
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
        shell::run(fuzz("run").arg("--").args([
            format!("-max_total_time={}", args.seconds),
            format!("-max_len={longest}"),
            "-print_final_stats=1".to_owned(),
        ]))?;
        shell::run(&mut fuzz("cmin"))?;
        drop_long(&workspace.path("fuzz/corpus").join(target))?;
    }
    Ok(())
}

fn drop_long(corpus: &Path) -> Result<()> {
    let cannot_read = || format!("cannot read {}", corpus.display());
    for entry in std::fs::read_dir(corpus).with_context(cannot_read)? {
        let entry = entry.with_context(cannot_read)?;
        if entry.metadata().with_context(cannot_read)?.len() > LONGEST_KEPT {
            std::fs::remove_file(entry.path()).with_context(cannot_read)?;
        }
    }
    Ok(())
}
