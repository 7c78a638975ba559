//! bpf-linker: turns the compiler's bitcode into one BPF object with BTF.
//!
//! Debian does not package it, so it is built once into the cache folder, under a name with its
//! version: another version of sockflow may want another one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;

use anyhow::{Context, Result, bail};

use crate::shell;
use crate::workspace::cache;

/// The version that `tracer-ebpf/prebuilt` is linked with.
pub(crate) const VERSION: &str = "0.13.0";

/// Where Debian's llvm-22 packages put themselves.
const DEBIAN_LLVM: &str = "/usr/lib/llvm-22";

/// The LLVM whose tools are used: `$LLVM_PREFIX`, else Debian's.
pub(crate) fn llvm_prefix() -> PathBuf {
    std::env::var_os("LLVM_PREFIX").map_or_else(|| PathBuf::from(DEBIAN_LLVM), PathBuf::from)
}

/// The linker, if it was installed before.
pub(crate) fn find() -> Result<Option<PathBuf>> {
    let linker = home()?.join("bin/bpf-linker");
    Ok(linker.is_file().then_some(linker))
}

/// The linker, built now if need be.
pub(super) fn install() -> Result<PathBuf> {
    if let Some(linker) = find()? {
        return Ok(linker);
    }
    let llvm = llvm_prefix();
    if !llvm.join("bin/llvm-config").is_file() {
        bail!("no LLVM 22 in {}", llvm.display());
    }
    let home = home()?;
    let cache = cache()?;
    fs::create_dir_all(&cache).with_context(|| format!("cannot create {}", cache.display()))?;
    // Built aside and then renamed: an interrupted build leaves nothing that looks finished.
    let aside = cache.join(format!("bpf-linker.{}.partial", process::id()));
    let built = build(&aside, &llvm).and_then(|()| {
        if find()?.is_none() {
            let _ = fs::remove_dir_all(&home);
        }
        fs::rename(&aside, &home).context("cannot move bpf-linker in place")
    });
    let _ = fs::remove_dir_all(&aside);
    // Somebody else's build may have come first, which is as good.
    match find()? {
        Some(linker) => Ok(linker),
        None => {
            Err(built.err().unwrap_or_else(|| anyhow::anyhow!("cargo installed no bpf-linker")))
        }
    }
}

fn build(root: &Path, llvm: &Path) -> Result<()> {
    shell::run(
        shell::cargo()
            .args(["install", "bpf-linker", "--version", VERSION, "--locked"])
            .args(["--no-default-features", "--features", "llvm-22", "--root"])
            .arg(root)
            .env("LLVM_PREFIX", llvm)
            .env_remove("CARGO_TARGET_DIR")
            .env_remove("RUSTFLAGS"),
    )
}

fn home() -> Result<PathBuf> {
    Ok(cache()?.join(format!("bpf-linker-{VERSION}")))
}
