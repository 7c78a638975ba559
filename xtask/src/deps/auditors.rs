//! cargo-deny and cargo-machete: what `cargo xtask audit` runs.

use std::path::PathBuf;

use anyhow::Result;

use super::built;

/// cargo-deny, built now if need be.
pub(crate) fn deny() -> Result<PathBuf> {
    built::install("cargo-deny", "0.20.2", |_| {})
}

/// cargo-machete, built now if need be.
pub(crate) fn machete() -> Result<PathBuf> {
    built::install("cargo-machete", "0.9.2", |_| {})
}
