//! The parts of `docs/` that are made from the code, so that the two cannot disagree.
//!
//! * [`tuning`]: tables between markers, from the table of settings;
//! * [`printed`]: whole files that the product prints;
//! * [`probes`]: the page on hooks and kernels, from the binary and `kernels.toml`.

mod printed;
pub(crate) mod probes;
pub(crate) mod tuning;

use anyhow::Result;

use crate::workspace::Workspace;

/// Options of `cargo xtask docs`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write nothing, and fail if docs/PROBES.md is not what it should be
    ///
    /// Tidy and the tests look at the others.
    #[arg(long)]
    check: bool,
}

/// `cargo xtask docs`: writes them all.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    if args.check {
        return probes::check(workspace);
    }
    tuning::write(workspace)?;
    printed::write(workspace)?;
    probes::write(workspace)
}
