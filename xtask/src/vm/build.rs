//! The programs that run in the guests: sockflow and its live tests, linked statically, so that a
//! guest needs no libraries of this machine's.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::shell;
use crate::workspace::Workspace;

/// Naming the target keeps the flags away from build scripts and macros.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// What was built.
pub(super) struct Programs {
    /// The tests look for it where cargo left it.
    pub(super) sockflow: PathBuf,
    /// Name and file of each live test.
    pub(super) tests: Vec<(String, PathBuf)>,
}

/// Builds them, in release as the native live tests are.
pub(super) fn build(workspace: &Workspace) -> Result<Programs> {
    let mut cargo = shell::cargo();
    cargo
        .current_dir(&workspace.root)
        .args(["build", "--release", "--locked", "--package", "tracer", "--features", "live"])
        .args(["--bins", "--test", "live_*", "--target", TARGET])
        .env("RUSTFLAGS", "-C target-feature=+crt-static");
    // Once for people to watch, once for the paths.
    shell::run(&mut cargo)?;
    let output = cargo.arg("--message-format=json").stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        bail!("cargo built, and then did not tell what");
    }
    let (mut sockflow, mut tests) = (None, Vec::new());
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let message: Value = serde_json::from_str(line).context("cargo's messages")?;
        let (Some(path), Some(name)) =
            (message["executable"].as_str(), message["target"]["name"].as_str())
        else {
            continue;
        };
        if name.starts_with("live_") {
            tests.push((name.to_owned(), PathBuf::from(path)));
        } else if name == "sockflow" {
            sockflow = Some(PathBuf::from(path));
        }
    }
    tests.sort();
    Ok(Programs { sockflow: sockflow.context("cargo built no sockflow")?, tests })
}

/// Copies a program without its symbols: a tenth of the size.
pub(super) fn strip(from: &Path, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        std::fs::create_dir_all(folder)?;
    }
    shell::read(Command::new("strip").arg("-o").arg(to).arg(from)).map(drop)
}
