//! `cargo xtask audit`: what is wrong with the dependencies, by tools that take minutes to build.
//!
//! cargo-deny looks at licences, duplicates, sources and advisories (`deny.toml`), cargo-machete for
//! dependencies that nothing uses.

use std::process::Command;

use anyhow::Result;

use crate::deps::auditors;
use crate::shell;
use crate::workspace::Workspace;

/// Runs them all, then fails if one found something.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let (deny, machete) = (auditors::deny()?, auditors::machete()?);
    let deny = |arguments: &[&str]| {
        shell::run(Command::new(&deny).args(arguments).current_dir(&workspace.root))
    };
    let rules = deny(&["check", "bans", "licenses", "sources"]);
    // Advisories are in a repository of their own, which not every machine reaches.
    let advisories = if deny(&["fetch", "db"]).is_ok() {
        deny(&["check", "--disable-fetch", "advisories"])
    } else {
        println!("advisories: NOT CHECKED, because their database could not be fetched");
        Ok(())
    };
    let unused = shell::run(Command::new(machete).current_dir(&workspace.root));
    rules.and(advisories).and(unused)
}
