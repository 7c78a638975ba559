//! bpf-linker: turns the compiler's bitcode into one BPF object with BTF.
//!
//! Debian does not package it, so it is built, see [`built`].

use std::path::PathBuf;

use anyhow::{Result, bail};

use super::built;

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
    built::find("bpf-linker", VERSION)
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
    built::install("bpf-linker", VERSION, |install| {
        install
            .args(["--no-default-features", "--features", "llvm-22"])
            .env("LLVM_PREFIX", llvm_prefix());
    })
}
