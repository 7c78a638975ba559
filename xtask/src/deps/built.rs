//! Programs from crates, built once into the cache folder, under a name with their version: another
//! version of sockflow may want another one.

use std::fs;
use std::path::PathBuf;
use std::process::{self, Command};

use anyhow::{Context, Result, anyhow};

use crate::shell;
use crate::workspace::cache;

/// The program of a crate of that name, if it was installed before.
pub(super) fn find(name: &str, version: &str) -> Result<Option<PathBuf>> {
    let program = home(name, version)?.join("bin").join(name);
    Ok(program.is_file().then_some(program))
}

/// The program, built now if need be; `adjust` adds to the command that installs it.
pub(super) fn install(
    name: &str,
    version: &str,
    adjust: impl FnOnce(&mut Command),
) -> Result<PathBuf> {
    if let Some(program) = find(name, version)? {
        return Ok(program);
    }
    let home = home(name, version)?;
    let cache = cache()?;
    fs::create_dir_all(&cache).with_context(|| format!("cannot create {}", cache.display()))?;
    // Built aside and then renamed: an interrupted build leaves nothing that looks finished.
    let aside = cache.join(format!("{name}.{}.partial", process::id()));
    let mut command = shell::cargo();
    command.args(["install", name, "--version", version, "--locked", "--root"]).arg(&aside);
    command.env_remove("CARGO_TARGET_DIR").env_remove("RUSTFLAGS");
    adjust(&mut command);
    let built = shell::run(&mut command).and_then(|()| {
        if find(name, version)?.is_none() {
            let _ = fs::remove_dir_all(&home);
        }
        fs::rename(&aside, &home).with_context(|| format!("cannot move {name} in place"))
    });
    let _ = fs::remove_dir_all(&aside);
    // Somebody else's build may have come first, which is as good.
    match find(name, version)? {
        Some(program) => Ok(program),
        None => Err(built.err().unwrap_or_else(|| anyhow!("cargo installed no {name}"))),
    }
}

fn home(name: &str, version: &str) -> Result<PathBuf> {
    Ok(cache()?.join(format!("{name}-{version}")))
}
