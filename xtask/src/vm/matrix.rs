//! `kernels.toml`: which kernels are booted, where they come from, and which rung each signal must
//! get on them.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::workspace::Workspace;

/// The file, below the workspace's root.
const FILE: &str = "kernels.toml";

/// Everything in the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Matrix {
    #[serde(rename = "kernel")]
    pub(crate) kernels: Vec<Kernel>,
}

/// One kernel.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kernel {
    /// What people call it: `6.12`.
    pub(crate) name: String,
    /// Where it is taken from; a kernel without it is only the running one.
    pub(crate) debian: Option<Debian>,
    /// Start of the release (`uname -r`) that this row speaks of.
    pub(crate) release: String,
    /// By signal.
    pub(crate) signals: BTreeMap<String, Expected>,
    /// Scenarios that this kernel cannot have, and why.
    #[serde(default)]
    pub(crate) absent: BTreeMap<String, String>,
}

/// A Debian suite.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Debian {
    pub(crate) suite: String,
    /// The suite that its security updates come in.
    pub(crate) security: String,
}

/// `{ exact = "fentry tcp_close" }`: one fidelity and the hook that gives it.
pub(crate) type Expected = BTreeMap<String, String>;

impl Matrix {
    pub(crate) fn read(workspace: &Workspace) -> Result<Self> {
        let text = fs::read_to_string(workspace.path(FILE))
            .with_context(|| format!("cannot read {FILE}"))?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self> {
        let matrix: Self = toml::from_str(text).with_context(|| format!("cannot read {FILE}"))?;
        for kernel in &matrix.kernels {
            for (signal, expected) in &kernel.signals {
                if expected.len() != 1 {
                    bail!("{FILE}: {}: {signal} needs exactly one fidelity", kernel.name);
                }
            }
        }
        Ok(matrix)
    }

    /// The kernels that can be booted, all or those named.
    pub(crate) fn choose(&self, names: &[String]) -> Result<Vec<Kernel>> {
        let bootable: Vec<&Kernel> =
            self.kernels.iter().filter(|kernel| kernel.debian.is_some()).collect();
        if names.is_empty() {
            return Ok(bootable.into_iter().cloned().collect());
        }
        names
            .iter()
            .map(|name| {
                let found = bootable.iter().find(|kernel| kernel.name == *name);
                found.map(|kernel| (*kernel).clone()).with_context(|| {
                    let known: Vec<&str> = bootable.iter().map(|k| k.name.as_str()).collect();
                    format!("no kernel {name} in {FILE}; there are {}", known.join(", "))
                })
            })
            .collect()
    }
}
