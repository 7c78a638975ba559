//! cargo-fuzz: builds the fuzz targets and runs libFuzzer on them.

use std::path::PathBuf;

use anyhow::Result;

use super::built;

/// The version that the recipes are written for.
const VERSION: &str = "0.13.2";

/// The program, built now if need be.
pub(crate) fn install() -> Result<PathBuf> {
    built::install("cargo-fuzz", VERSION, |_| {})
}
