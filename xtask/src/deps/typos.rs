//! typos: the spelling of the sources (`typos.toml`). It comes prebuilt, from PyPI.

use std::fs;
use std::path::PathBuf;
use std::process::{self, Command};

use anyhow::{Context, Result, anyhow};

use crate::shell;
use crate::workspace::cache;

/// The version whose list of words the sources are free of.
const VERSION: &str = "1.52.0";

/// The program, installed into the cache now if need be.
pub(crate) fn install() -> Result<PathBuf> {
    let home = cache()?.join(format!("typos-{VERSION}"));
    let program = home.join("bin/typos");
    if program.is_file() {
        return Ok(program);
    }
    // Made aside and then renamed: an interrupted one leaves nothing that looks finished. Only pip knows
    // the path it was made at, and is not needed again.
    let aside = cache()?.join(format!("typos.{}.partial", process::id()));
    let made = shell::run(Command::new("python3").args(["-m", "venv"]).arg(&aside))
        .and_then(|()| {
            let mut pip = Command::new(aside.join("bin/python"));
            pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
            shell::run(pip.arg(format!("typos=={VERSION}")))
        })
        .and_then(|()| fs::rename(&aside, &home).context("cannot move typos in place"));
    let _ = fs::remove_dir_all(&aside);
    // Somebody else may have been first, which is as good.
    if program.is_file() {
        return Ok(program);
    }
    Err(made.err().unwrap_or_else(|| anyhow!("pip installed no typos")))
}
