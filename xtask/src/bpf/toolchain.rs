//! The compiler for the BPF target: which one is here, how to call it, its versions.
//!
//! Two ways lead to a `core` for `bpfel-unknown-none`:
//!
//! * Debian's rustc-web with libstd-rust-web-dev-bpf, which has it compiled;
//! * rustup's nightly with the rust-src component, which compiles it (`-Z build-std=core`).
//!
//! Debian's is taken when it is there, because the checked-in object was made with it.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use super::TARGET;
use crate::deps::linker;
use crate::shell;
use crate::workspace::find_program;

const RUSTC: &str = "/usr/bin/rustc";
const CARGO: &str = "/usr/bin/cargo";
const CARGO_CLIPPY: &str = "/usr/bin/cargo-clippy";

/// Settings of the caller that would change the object, or make one toolchain load another's
/// libraries: xtask itself runs under rustup's cargo, which sets some of them.
const FOREIGN: &[&str] = &[
    "CARGO",
    "CARGO_BUILD_TARGET",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_INCREMENTAL",
    "CARGO_TARGET_DIR",
    "LD_LIBRARY_PATH",
    "RUSTC",
    "RUSTC_BOOTSTRAP",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
    "SOURCE_DATE_EPOCH",
];

#[derive(Clone, Copy)]
enum Kind {
    Debian,
    Nightly,
}

/// A compiler that can build for the BPF target, with the linker and LLVM that go with it.
pub(super) struct Toolchain {
    kind: Kind,
    linker: PathBuf,
    objcopy: PathBuf,
}

impl Toolchain {
    /// What is on this machine, or what to do about it.
    pub(super) fn find() -> Result<Self> {
        let kind = if has_debian() {
            Kind::Debian
        } else if has_nightly() {
            Kind::Nightly
        } else {
            bail!(
                "no Rust compiler here can build for {TARGET}. Either\n\
                 - on Debian, run `cargo xtask deps` as root, or\n\
                 - run `rustup toolchain install nightly --component rust-src,clippy` and install \
                 LLVM 22 and bpf-linker {}",
                linker::VERSION
            );
        };
        let Some(linker) = linker::find()?.or_else(|| find_program("bpf-linker")) else {
            bail!("bpf-linker is not installed; run `cargo xtask deps`");
        };
        let ours = linker::llvm_prefix().join("bin/llvm-objcopy");
        let objcopy = if ours.is_file() {
            ours
        } else if let Some(found) = find_program("llvm-objcopy") {
            found
        } else {
            bail!("llvm-objcopy is not installed; run `cargo xtask deps`, or set LLVM_PREFIX");
        };
        Ok(Self { kind, linker, objcopy })
    }

    pub(super) fn linker(&self) -> &Path {
        &self.linker
    }

    pub(super) fn objcopy(&self) -> &Path {
        &self.objcopy
    }

    /// This toolchain's cargo.
    pub(super) fn cargo(&self) -> Command {
        match self.kind {
            Kind::Debian => debian(CARGO),
            Kind::Nightly => nightly("cargo"),
        }
    }

    /// This toolchain's `cargo clippy`, without arguments yet.
    pub(super) fn clippy(&self) -> Result<Command> {
        match self.kind {
            // Called by its path: `cargo clippy` would find rustup's first, and that one cannot
            // read Debian's core.
            Kind::Debian => {
                if !Path::new(CARGO_CLIPPY).is_file() {
                    bail!("rust-web-clippy is not installed; run `cargo xtask deps`");
                }
                let mut command = debian(CARGO_CLIPPY);
                command.arg("clippy").env("CARGO", CARGO);
                Ok(command)
            }
            Kind::Nightly => {
                let mut command = nightly("cargo");
                command.arg("clippy");
                Ok(command)
            }
        }
    }

    /// Options that make cargo compile `core` when the toolchain has none for the target.
    pub(super) fn build_std(&self) -> &'static [&'static str] {
        match self.kind {
            Kind::Debian => &[],
            Kind::Nightly => &["-Zbuild-std=core"],
        }
    }

    /// Where this compiler keeps its libraries.
    pub(super) fn sysroot(&self) -> Result<PathBuf> {
        let path = shell::read(self.rustc().args(["--print", "sysroot"]))?;
        Ok(PathBuf::from(path))
    }

    /// Everything whose version has a say in the bytes.
    pub(super) fn versions(&self) -> Result<Versions> {
        let rustc = shell::read(self.rustc().arg("-vV"))?;
        let cargo = shell::read(self.cargo().arg("-vV"))?;
        let linker = shell::read(Command::new(&self.linker).arg("--version"))?;
        let objcopy = shell::read(Command::new(&self.objcopy).arg("--version"))?;
        Ok(Versions::parse(&rustc, &cargo, &linker, &objcopy))
    }

    fn rustc(&self) -> Command {
        match self.kind {
            Kind::Debian => debian(RUSTC),
            Kind::Nightly => nightly("rustc"),
        }
    }
}

/// Names and versions, as `tracer-ebpf/prebuilt/TOOLCHAIN` has them: no date, no host, no path.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Versions(Vec<(&'static str, String)>);

impl Versions {
    fn parse(rustc: &str, cargo: &str, linker: &str, objcopy: &str) -> Self {
        Self(vec![
            ("rustc", field(rustc, "release: ")),
            ("rustc-commit", field(rustc, "commit-hash: ")),
            ("rustc-llvm", field(rustc, "LLVM version: ")),
            ("cargo", field(cargo, "release: ")),
            ("bpf-linker", field(linker, "bpf-linker ")),
            // Distributions put their name before it: `Debian LLVM version 22.1.8`.
            (
                "llvm",
                objcopy
                    .split_once("LLVM version ")
                    .map_or_else(|| "unknown".to_owned(), |(_, rest)| field(rest, "")),
            ),
        ])
    }

    /// What a recorded text has otherwise, one line each.
    pub(super) fn differences(&self, recorded: &str) -> Vec<String> {
        self.0
            .iter()
            .filter_map(|(name, here)| {
                let there = field(recorded, &format!("{name} = "));
                (there != *here).then(|| format!("  {name}: recorded {there}, here {here}"))
            })
            .collect()
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# What sockflow-ebpf.o was built with. Written by `cargo xtask bpf build`.")?;
        for (name, version) in &self.0 {
            writeln!(f, "{name} = {version}")?;
        }
        Ok(())
    }
}

/// The rest of the first line that starts with `key`, up to a space.
fn field(text: &str, key: &str) -> String {
    text.lines()
        .find_map(|line| line.trim_start().strip_prefix(key))
        .and_then(|rest| rest.split_whitespace().next())
        .unwrap_or("unknown")
        .to_owned()
}

fn has_debian() -> bool {
    Path::new(CARGO).is_file()
        && shell::read(debian(RUSTC).args(["--print", "sysroot"]))
            .is_ok_and(|sysroot| Path::new(&sysroot).join("lib/rustlib").join(TARGET).is_dir())
}

fn has_nightly() -> bool {
    shell::read(nightly("rustc").args(["--print", "sysroot"]))
        .is_ok_and(|sysroot| Path::new(&sysroot).join("lib/rustlib/src/rust/library/core").is_dir())
}

fn debian(program: &str) -> Command {
    let mut command = clean(program);
    command
        .env("RUSTC", RUSTC)
        // aya-ebpf uses an unstable feature (inline assembly for BPF) on this stable compiler.
        .env("RUSTC_BOOTSTRAP", "1");
    command
}

fn nightly(program: &str) -> Command {
    let mut command = clean(program);
    command
        .env("RUSTUP_TOOLCHAIN", "nightly")
        // Looking whether it is there must not download it.
        .env("RUSTUP_AUTO_INSTALL", "0");
    command
}

/// A command that sees none of the caller's settings for compilers.
fn clean(program: &str) -> Command {
    let mut command = Command::new(program);
    for name in FOREIGN {
        command.env_remove(name);
    }
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PROFILE_") || text.starts_with("CARGO_TARGET_") {
            command.env_remove(&name);
        }
    }
    // Set to nothing rather than removed: that overrides a wrapper from cargo's configuration.
    command.env("RUSTC_WRAPPER", "");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Versions {
        Versions::parse(
            "rustc 1.96.0 (ac68faa20 2026-05-25)\ncommit-hash: ac68faa2\nhost: x86_64\n\
             release: 1.96.0\nLLVM version: 22.1.8",
            "cargo 1.96.0\nrelease: 1.96.0\nhost: x86_64",
            "bpf-linker 0.13.0",
            "llvm-objcopy, compatible with GNU objcopy\nDebian LLVM version 22.1.8\n  Optimized",
        )
    }

    #[test]
    fn the_record_has_versions_but_neither_date_nor_host() {
        let text = some().to_string();
        assert!(text.contains("rustc = 1.96.0\n"), "{text}");
        assert!(text.contains("bpf-linker = 0.13.0\n"), "{text}");
        assert!(text.contains("llvm = 22.1.8\n"), "{text}");
        assert!(!text.contains("2026") && !text.contains("x86_64"), "{text}");
    }

    #[test]
    fn a_record_agrees_with_itself() {
        let versions = some();
        assert!(versions.differences(&versions.to_string()).is_empty());
    }

    #[test]
    fn each_other_version_is_named() {
        let versions = some();
        let recorded = versions.to_string().replace("0.13.0", "0.12.0");
        assert_eq!(versions.differences(&recorded), ["  bpf-linker: recorded 0.12.0, here 0.13.0"]);
        assert_eq!(versions.differences("").len(), 6);
    }
}
